//! The example `server-smol` as a process of its own, with a client and a collector.
#![cfg(unix)]

use guard_agent_tests::suites::server;

#[test]
fn it_reports_and_ends_in_order() {
    server::it_reports_and_ends_in_order("server-smol", &[]);
}

#[cfg(feature = "async-std")]
#[test]
fn it_does_so_on_async_std() {
    server::it_reports_and_ends_in_order("server-smol", &["--executor", "async-std"]);
}
