//! The example `server-blocking` as a process of its own, with a client and a collector.
#![cfg(unix)]

use guard_agent_tests::suites::server;

#[test]
fn it_reports_and_ends_in_order() {
    server::it_reports_and_ends_in_order("server-blocking", &[]);
}
