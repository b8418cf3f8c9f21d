//! Messages about the store of a journal: see `guard_agent_tests::suites::store`.
#![cfg(all(unix, feature = "redis"))]

guard_agent_tests::store_suite!("pipe-tokio");
