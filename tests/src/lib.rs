//! The world around the agent, for its tests: a real collector, and a simulated one.
#![forbid(unsafe_code)]

pub mod collector;
#[cfg(feature = "suites")]
pub mod conformance;
pub mod fuzz;
pub mod pipe;
pub mod pipe_process;
#[cfg(feature = "suites")]
pub mod raw_server;
pub mod redis_server;
pub mod scratch;
pub mod service;
pub mod sim;
pub mod store_suite;
#[cfg(feature = "suites")]
pub mod suites;
