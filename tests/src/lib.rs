//! The world around the agent, for its tests: a real collector, and a simulated one.
#![forbid(unsafe_code)]

pub mod collector;
pub mod fuzz;
pub mod pipe;
pub mod pipe_process;
pub mod redis_server;
pub mod scratch;
pub mod sim;
pub mod store_suite;
