//! The Guard agent on plain threads: **planned, nothing here works yet**.
//!
//! Use `guard-agent-tokio` today. This crate will drive the same core (`guard-agent-proto`) from
//! one background thread, with no async runtime anywhere in it, and will be published when it
//! passes the conformance scenarios of the workspace.
#![forbid(unsafe_code)]
