//! From a record of the application to the bytes that are sent and journaled.

mod ip;
pub(crate) mod json;
mod names;
mod redact;
mod text;
mod truncate;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use uuid::Uuid;

use self::names::Names;
use self::redact::Redactor;
use self::text::TextRedactor;
use crate::model::FIELDS;
use crate::rng::Rng;
use crate::text::Text;
use crate::{
    AgentConfig, ConfigError, DropReason, IpAddress, IpPrivacy, Kind, Record, Secret, SecurityEvent,
    SecurityMetric,
};

/// What is written behind the last member that fits into an event, at most: two notes of what was left out.
const ROOM_TO_CLOSE: usize = 96;

/// Turns records of the application into [`Record`]s: sampled, redacted, truncated, encoded once.
///
/// Pure work over an owned record: the runtime calls it off the caller's thread and outside every
/// lock. Encoding what an encoder made once more gives the same bytes.
///
/// ```
/// # use guard_agent_proto::{AgentConfig, Encoder, SecurityEvent, Timestamp};
///
/// let config = AgentConfig::builder("key-of-the-platform").build()?;
/// let mut encoder = Encoder::new(&config, [7; 32])?;
/// let event = SecurityEvent::new("rate_limited", Timestamp::from_unix_micros(0))
///     .metadata("headers", serde_json::json!([["Cookie", "sid=31337"]]));
/// let record = encoder.event(&event)?;
/// let json = core::str::from_utf8(record.json())?;
/// assert!(json.contains(r#"{"headers":[["Cookie","[REDACTED]"]]}"#));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Encoder {
    redactor: Redactor,
    ip_privacy: IpPrivacy,
    ip_salt: Secret,
    muted: Vec<String>,
    sample_rates: BTreeMap<String, f64>,
    informational: Vec<String>,
    max_bytes: usize,
    rng: Rng,
    /// Reused, so that a record costs one allocation of its exact size.
    scratch: Vec<u8>,
}

/// Why a record does not become one to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// Its event type is muted.
    Muted,
    /// Its event type is sampled, and it was not among those that are sent.
    SampledOut,
    /// The value of a metric is NaN or infinite, which JSON cannot say.
    NotFinite {
        /// Name of the field.
        field: &'static str,
    },
    /// It fits into no batch.
    TooLarge {
        /// Bytes of its JSON.
        bytes: usize,
        /// Most bytes that fit.
        limit: usize,
    },
}

impl EncodeError {
    /// What it is counted under.
    #[must_use]
    pub const fn reason(&self) -> DropReason {
        match self {
            Self::Muted | Self::SampledOut => DropReason::Filtered,
            // The caller's NaN is refused at the door: this one was made by a processor.
            Self::NotFinite { .. } => DropReason::Processor,
            Self::TooLarge { .. } => DropReason::TooLarge,
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Muted => f.write_str("the event type is muted"),
            Self::SampledOut => f.write_str("sampled out"),
            Self::NotFinite { field } => write!(f, "`{field}` must be a finite number"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "the record takes {bytes} bytes but a batch has room for {limit}")
            }
        }
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
    pub fn new(config: &AgentConfig, seed: [u8; 32]) -> Result<Self, ConfigError> {
        let text = TextRedactor::new(Names::new(config), config.max_payload_size);
        Ok(Self {
            redactor: Redactor::new(text),
            ip_privacy: config.ip_privacy,
            ip_salt: config.ip_hash_salt.clone(),
            muted: config.muted_event_types.clone(),
            sample_rates: config.sample_rates.clone(),
            informational: config.informational_event_types.clone(),
            max_bytes: crate::wire::record_budget(config),
            rng: Rng::new(seed),
            scratch: Vec::new(),
        })
    }

    /// Encodes an event. What JSON cannot say is null; of an event that is too large for any batch, members of
    /// `metadata` and `extra` that do not fit are left out, and `[TRUNCATED]` says how many.
    ///
    /// # Errors
    ///
    /// It is muted, sampled out, or its fields alone are too large for any batch.
    pub fn event(&mut self, event: &SecurityEvent) -> Result<Record, EncodeError> {
        let event_type = &*event.event_type;
        if self.muted.iter().any(|muted| muted == event_type) {
            return Err(EncodeError::Muted);
        }
        if self.sample_rates.get(event_type).is_some_and(|rate| unit_interval(&mut self.rng) >= *rate) {
            return Err(EncodeError::SampledOut);
        }
        let attack = !self.informational.iter().any(|informational| informational == event_type);
        let key = event.idempotency_key.unwrap_or_else(|| self.rng.uuid());
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        self.write_event(&mut out, event, key, usize::MAX);
        if out.len() > self.max_bytes {
            // Who attacks must not be able to suppress the report by its size.
            out.clear();
            self.write_event(&mut out, event, key, self.max_bytes.saturating_sub(ROOM_TO_CLOSE));
        }
        self.finish(out, Kind::Event, attack)
    }

    /// Encodes a metric.
    ///
    /// # Errors
    ///
    /// It is not representable or too large for any batch.
    pub fn metric(&mut self, metric: &SecurityMetric) -> Result<Record, EncodeError> {
        if !metric.value.is_finite() {
            return Err(EncodeError::NotFinite { field: "value" });
        }
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        self.write_metric(&mut out, metric);
        self.finish(out, Kind::Metric, false)
    }

    fn finish(&mut self, out: Vec<u8>, kind: Kind, attack: bool) -> Result<Record, EncodeError> {
        let record = if out.len() > self.max_bytes {
            Err(EncodeError::TooLarge { bytes: out.len(), limit: self.max_bytes })
        } else {
            Ok(Record::new(kind, attack, Box::from(out.as_slice())))
        };
        self.scratch = out;
        record
    }

    /// Members of `metadata` and `extra` are left out where `out` would become longer than `limit`.
    fn write_event(&self, out: &mut Vec<u8>, event: &SecurityEvent, key: Uuid, limit: usize) {
        out.extend_from_slice(b"{\"idempotency_key\":\"");
        out.extend_from_slice(key.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        out.extend_from_slice(b"\",\"timestamp\":\"");
        event.timestamp.write_rfc3339(out);
        out.push(b'"');
        self.text(out, ",\"event_type\":", &event.event_type);
        out.extend_from_slice(b",\"ip_address\":");
        self.ip_address(out, &event.ip_address);
        self.optional(out, ",\"country\":", event.country.as_ref());
        self.optional(out, ",\"user_agent\":", event.user_agent.as_ref());
        self.text(out, ",\"action_taken\":", &event.action_taken);
        self.text(out, ",\"reason\":", &event.reason);
        self.optional(out, ",\"endpoint\":", event.endpoint.as_ref());
        self.optional(out, ",\"method\":", event.method.as_ref());
        out.extend_from_slice(b",\"status_code\":");
        match event.status_code {
            Some(status) => json::display(out, status),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"response_time\":");
        number(out, event.response_time);
        self.optional(out, ",\"decorator_type\":", event.decorator_type.as_ref());
        self.optional(out, ",\"rule_type\":", event.rule_type.as_ref());
        self.optional(out, ",\"pattern_matched\":", event.pattern_matched.as_ref());
        self.optional(out, ",\"handler_name\":", event.handler_name.as_ref());
        out.extend_from_slice(b",\"metadata\":");
        out.push(b'{');
        self.redactor.members(out, event.metadata.iter(), 1, false, limit);
        out.push(b'}');
        // The name of a field is its own.
        let extra = event.extra.iter().filter(|(name, _)| !FIELDS.contains(name));
        self.redactor.members(out, extra, 1, true, limit);
        out.push(b'}');
    }

    fn write_metric(&self, out: &mut Vec<u8>, metric: &SecurityMetric) {
        out.extend_from_slice(b"{\"timestamp\":\"");
        metric.timestamp.write_rfc3339(out);
        out.extend_from_slice(b"\",\"metric_type\":\"");
        out.extend_from_slice(metric.metric_type.as_str().as_bytes());
        out.extend_from_slice(b"\",\"value\":");
        number(out, Some(metric.value));
        self.optional(out, ",\"endpoint\":", metric.endpoint.as_ref());
        out.extend_from_slice(b",\"tags\":");
        self.redactor.object(out, metric.tags.iter(), 1);
        out.push(b'}');
    }

    fn text(&self, out: &mut Vec<u8>, member: &str, text: &str) {
        out.extend_from_slice(member.as_bytes());
        self.redactor.string(out, text, 1);
    }

    fn optional(&self, out: &mut Vec<u8>, member: &str, text: Option<&Text>) {
        match text {
            Some(text) => self.text(out, member, text),
            None => {
                out.extend_from_slice(member.as_bytes());
                out.extend_from_slice(b"null");
            }
        }
    }

    fn ip_address(&self, out: &mut Vec<u8>, address: &IpAddress) {
        let salt = self.ip_salt.expose();
        match (self.ip_privacy, address) {
            (IpPrivacy::Full, IpAddress::Addr(address)) => quoted(out, *address),
            (IpPrivacy::Full, IpAddress::Text(text)) => self.redactor.string(out, text, 1),
            (IpPrivacy::Truncate, IpAddress::Addr(address)) => quoted(out, ip::network(*address)),
            (IpPrivacy::Truncate, IpAddress::Text(text)) => {
                self.redactor.string(out, &ip::network_of_text(text), 1);
            }
            (IpPrivacy::Hash, IpAddress::Addr(address)) => {
                self.redactor.string(out, &ip::hash_of_address(*address, salt), 1);
            }
            (IpPrivacy::Hash, IpAddress::Text(text)) => {
                self.redactor.string(out, &ip::hash_of_text(text, salt), 1);
            }
        }
    }
}

impl fmt::Debug for Encoder {
    /// Without the generator, whose state foretells idempotency keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("ip_privacy", &self.ip_privacy)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

fn quoted(out: &mut Vec<u8>, address: IpAddr) {
    out.push(b'"');
    json::address(out, address);
    out.push(b'"');
}

/// A number with a fraction or an exponent, so that it reads as a float everywhere.
fn number(out: &mut Vec<u8>, number: Option<f64>) {
    match number.and_then(serde_json::Number::from_f64) {
        Some(number) => json::display(out, number),
        None => out.extend_from_slice(b"null"),
    }
}

/// Uniform in [0, 1).
fn unit_interval(rng: &mut Rng) -> f64 {
    f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests;
