//! The example `pipe-smol` as a process of its own, against a collector.
#![cfg(unix)]

mod smol {
    guard_agent_tests::pipe_suite!("pipe-smol");
}

#[cfg(feature = "async-std")]
mod async_std {
    guard_agent_tests::pipe_suite!("pipe-smol", "--executor", "async-std");
}
