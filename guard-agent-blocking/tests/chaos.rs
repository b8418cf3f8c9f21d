//! Workers that are killed, suspended and replaced, and a Redis in trouble: see `guard_agent_tests::suites::chaos`.
#![cfg(all(unix, feature = "redis"))]

guard_agent_tests::chaos_suite!("pipe-blocking");
