//! The Guard agent for tokio services.
#![forbid(unsafe_code)]
