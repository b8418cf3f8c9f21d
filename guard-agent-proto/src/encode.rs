use core::fmt;

use crate::{AgentConfig, ConfigError, DropReason, Record, SecurityEvent, SecurityMetric};

/// Turns records of the application into [`Record`]s: sampled, redacted, truncated, encoded once.
///
/// Pure work over an owned record: the runtime calls it off the caller's thread and outside every
/// lock.
#[derive(Clone, Debug)]
pub struct Encoder {}

/// Why a record does not become one to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError {
    /// What it is counted under: `filtered` or `too_large`.
    pub reason: DropReason,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.as_str())
    }
}

impl core::error::Error for EncodeError {}

impl Encoder {
    /// An encoder with that configuration. `seed` is for idempotency keys and sampling; it must be
    /// random and differ from the agent's.
    ///
    /// # Errors
    ///
    /// A bad encryption key, which decides how large a record may be.
    pub fn new(_config: &AgentConfig, _seed: [u8; 32]) -> Result<Self, ConfigError> {
        Ok(Self {})
    }

    /// Encodes an event.
    ///
    /// # Errors
    ///
    /// It is muted, sampled out or too large for any batch.
    pub fn event(&mut self, _event: &SecurityEvent) -> Result<Record, EncodeError> {
        Err(EncodeError { reason: DropReason::Filtered })
    }

    /// Encodes a metric.
    ///
    /// # Errors
    ///
    /// It is too large for any batch.
    pub fn metric(&mut self, _metric: &SecurityMetric) -> Result<Record, EncodeError> {
        Err(EncodeError { reason: DropReason::Filtered })
    }
}
