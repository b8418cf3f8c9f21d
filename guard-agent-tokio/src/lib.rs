//! The Guard agent for tokio services.
#![forbid(unsafe_code)]

mod http;
mod http_options;

pub use http::HttpTransport;
pub use http_options::{HttpError, HttpOptions};
