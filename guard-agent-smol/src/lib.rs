//! The Guard agent on smol and async-std: **planned, nothing here works yet**.
//!
//! Use `guard-agent-tokio` today. This crate will supply a clock, isahc for HTTP and the redis
//! client's smol flavour to the same core (`guard-agent-proto`) that the tokio crate drives, and
//! will be published when it passes the conformance scenarios of the workspace.
#![forbid(unsafe_code)]
