//! What the HTTP client puts on the wire, and what it makes of whatever comes back: see
//! `guard_agent_tests::suites::http`.

guard_agent_tests::http_suite!(guard_agent_tokio::ReqwestClient, 1);
