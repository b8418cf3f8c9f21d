//! The bytes on the wire (contract 1 to 4): requests, and what answers mean.

mod response;

pub(crate) use response::{Verdict, judge, parse_retry_after};

use alloc::string::String;
use alloc::vec::Vec;

use crate::{AgentConfig, ConfigError, Payload, Secret};

/// Turns [`Payload`]s into HTTP requests: paths, headers, envelope, encryption, compression, signature.
///
/// Pure and deterministic: the same payload gives the same bytes.
#[derive(Clone, Debug)]
pub struct Wire {}

/// An HTTP request, ready to be sent to the configured endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `POST` or `GET`.
    pub method: &'static str,
    /// Base URL and path.
    pub url: String,
    /// Names in lower case, in a fixed order.
    pub headers: Vec<(&'static str, Secret)>,
    /// The body as sent; empty for `GET`.
    pub body: Vec<u8>,
}

/// What can be rotated without a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// Key of the platform's API.
    pub api_key: Secret,
    /// Secret of the signature.
    pub payload_signing_secret: Option<Secret>,
}

impl Wire {
    /// The wire of that configuration and install id.
    ///
    /// # Errors
    ///
    /// A key or an id that cannot be used.
    pub fn new(_config: &AgentConfig, _install_id: &str) -> Result<Self, ConfigError> {
        Ok(Self {})
    }

    /// Uses these credentials from the next request on.
    ///
    /// # Errors
    ///
    /// A key that cannot be used; the old ones stay.
    pub fn set_credentials(&mut self, _credentials: Credentials) -> Result<(), ConfigError> {
        Ok(())
    }

    /// The HTTP request that delivers `payload`. `gzip` compresses where the configuration asks for it.
    #[must_use]
    pub fn encode(&self, _payload: &Payload, _gzip: fn(&[u8]) -> Vec<u8>) -> HttpRequest {
        HttpRequest { method: "POST", url: String::new(), headers: Vec::new(), body: Vec::new() }
    }
}

/// Bytes that the records of one batch may take together, separators included, so that the body stays
/// within `batch_max_bytes` (the encrypted one too).
pub(crate) fn record_budget(config: &AgentConfig) -> usize {
    config.batch_max_bytes
}
