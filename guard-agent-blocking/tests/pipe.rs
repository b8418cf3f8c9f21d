//! The example `pipe-blocking` as a process of its own, against a collector.
#![cfg(unix)]

guard_agent_tests::pipe_suite!("pipe-blocking");
