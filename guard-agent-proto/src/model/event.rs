use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use serde_json::Value;
use uuid::Uuid;

use crate::Timestamp;
use crate::text::Text;

/// A security event (contract 2.2).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SecurityEvent {
    /// Recognises the event across retries; minted by the agent when absent.
    pub idempotency_key: Option<Uuid>,
    /// When it happened.
    pub timestamp: Timestamp,
    /// What happened: free text, see [`event_type`] for the known ones.
    pub event_type: Text,
    /// Whose request it was.
    pub ip_address: IpAddress,
    /// Two-letter country of the address.
    pub country: Option<Text>,
    /// `User-Agent` of the request.
    pub user_agent: Option<Text>,
    /// What was done about it.
    pub action_taken: Text,
    /// Why, for people.
    pub reason: Text,
    /// Path and query of the request.
    pub endpoint: Option<Text>,
    /// Method of the request.
    pub method: Option<Text>,
    /// Status code of the answer.
    pub status_code: Option<i64>,
    /// Seconds until the answer; must be finite.
    pub response_time: Option<f64>,
    /// Kind of decorator that decided.
    pub decorator_type: Option<Text>,
    /// Kind of rule that decided.
    pub rule_type: Option<Text>,
    /// Pattern that matched.
    pub pattern_matched: Option<Text>,
    /// Handler that decided.
    pub handler_name: Option<Text>,
    /// Anything else.
    pub metadata: Metadata,
    /// Members that the contract does not know; sent after `metadata`.
    pub extra: Metadata,
}

/// An address as an event carries it: parsed where the caller has it so (no allocation), else text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IpAddress {
    /// Parsed.
    Addr(IpAddr),
    /// As given; may be empty or a word such as `system`.
    Text(Text),
}

/// Ordered members of a JSON object; a repeated name replaces the earlier value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(pub(crate) Vec<(Text, Value)>);

/// A record that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// A number is NaN or infinite, which JSON cannot say.
    NotFinite {
        /// Name of the field.
        field: &'static str,
    },
}

impl fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite { field } => write!(f, "`{field}` must be a finite number"),
        }
    }
}

impl core::error::Error for InvalidRecord {}

/// The event types the platform knows; any other text is accepted too.
pub mod event_type {}
