//! From a record of the application to the bytes that are sent and journaled.

mod ip;
pub(crate) mod json;
mod redact;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use uuid::Uuid;

use self::ip::{Addresses, Sent};
use self::redact::{Limits, Place, Redactor, Writer};
use crate::model::FIELDS;
use crate::rng::Rng;
use crate::text::Text;
use crate::{AgentConfig, ConfigError, DropReason, IpAddress, Kind, Record, SecurityEvent, SecurityMetric};

/// Shortest limit of a string to which the fields of a record that is too large are cut, in bytes.
const SHORTEST: usize = 16;

/// Turns records of the application into [`Record`]s: sampled, redacted, truncated, encoded once.
///
/// Pure work over an owned record: the runtime calls it off the caller's thread and outside every
/// lock. Encoding what an encoder made once more changes nothing except the order of members whose names it redacted.
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
    addresses: Addresses,
    max_text: usize,
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
        let addresses = Addresses::new(config);
        Ok(Self {
            redactor: Redactor::new(config, addresses.clone()),
            addresses,
            max_text: config.max_payload_size,
            muted: config.muted_event_types.clone(),
            sample_rates: config.sample_rates.clone(),
            informational: config.informational_event_types.clone(),
            max_bytes: crate::wire::record_budget(config),
            rng: Rng::new(seed),
            scratch: Vec::new(),
        })
    }

    /// Mixes fresh randomness from the operating system in, so that the keys of a clone or a snapshot of the machine are not
    /// those of others: see [`Agent::reseed`](crate::Agent::reseed). Best before each few records.
    pub fn reseed(&mut self, entropy: [u8; 32]) {
        self.rng.reseed(entropy);
    }

    /// Encodes an event. What JSON cannot say is null; of an event that is too large for any batch, members of
    /// `metadata` and `extra` that do not fit are left out, and `[TRUNCATED]` says how many. Then its fields are cut.
    ///
    /// # Errors
    ///
    /// It is muted, sampled out, or does not fit however short its fields are cut.
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
        self.fit(Kind::Event, attack, |encoder, writer| encoder.write_event(writer, event, key))
    }

    /// Encodes a metric. One that is too large for any batch is made to fit like an event.
    ///
    /// # Errors
    ///
    /// It is not representable, or does not fit however short its texts are cut.
    pub fn metric(&mut self, metric: &SecurityMetric) -> Result<Record, EncodeError> {
        if !metric.value.is_finite() {
            return Err(EncodeError::NotFinite { field: "value" });
        }
        self.fit(Kind::Metric, false, |encoder, writer| encoder.write_metric(writer, metric))
    }

    /// Writes a record, again and with less of it where it is too large: who attacks must not be able to suppress
    /// the report by its size.
    fn fit(
        &mut self,
        kind: Kind,
        attack: bool,
        write: impl Fn(&Self, &mut Writer<'_>),
    ) -> Result<Record, EncodeError> {
        let mut out = core::mem::take(&mut self.scratch);
        let mut limits = Limits { text: self.max_text, record: self.max_bytes, leave_out: false };
        loop {
            out.clear();
            write(self, &mut self.redactor.write_to(&mut out, limits));
            if out.len() <= self.max_bytes || limits.text <= SHORTEST {
                break;
            }
            if limits.leave_out {
                limits.text = (limits.text / 8).min(self.max_bytes / 32).max(SHORTEST);
            }
            limits.leave_out = true;
        }
        let record = if out.len() > self.max_bytes {
            Err(EncodeError::TooLarge { bytes: out.len(), limit: self.max_bytes })
        } else {
            Ok(Record::new(kind, attack, Box::from(out.as_slice())))
        };
        self.scratch = out;
        record
    }

    fn write_event(&self, writer: &mut Writer<'_>, event: &SecurityEvent, key: Uuid) {
        writer.out.extend_from_slice(b"{\"idempotency_key\":\"");
        writer.out.extend_from_slice(key.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        writer.out.extend_from_slice(b"\",\"timestamp\":\"");
        event.timestamp.write_rfc3339(writer.out);
        writer.out.push(b'"');
        text(writer, ",\"event_type\":", &event.event_type);
        writer.out.extend_from_slice(b",\"ip_address\":");
        self.ip_address(writer, &event.ip_address);
        optional(writer, ",\"country\":", event.country.as_ref());
        optional(writer, ",\"user_agent\":", event.user_agent.as_ref());
        text(writer, ",\"action_taken\":", &event.action_taken);
        text(writer, ",\"reason\":", &event.reason);
        optional(writer, ",\"endpoint\":", event.endpoint.as_ref());
        optional(writer, ",\"method\":", event.method.as_ref());
        writer.out.extend_from_slice(b",\"status_code\":");
        match event.status_code {
            Some(status) => json::display(writer.out, status),
            None => writer.out.extend_from_slice(b"null"),
        }
        writer.out.extend_from_slice(b",\"response_time\":");
        number(writer.out, event.response_time);
        optional(writer, ",\"decorator_type\":", event.decorator_type.as_ref());
        optional(writer, ",\"rule_type\":", event.rule_type.as_ref());
        optional(writer, ",\"pattern_matched\":", event.pattern_matched.as_ref());
        optional(writer, ",\"handler_name\":", event.handler_name.as_ref());
        writer.out.extend_from_slice(b",\"metadata\":");
        writer.object(event.metadata.iter(), Place::METADATA);
        // The name of a field is its own.
        writer.more(event.extra.iter().filter(|(name, _)| !FIELDS.contains(name)), Place::FIELD);
        writer.out.push(b'}');
    }

    fn write_metric(&self, writer: &mut Writer<'_>, metric: &SecurityMetric) {
        writer.out.extend_from_slice(b"{\"timestamp\":\"");
        metric.timestamp.write_rfc3339(writer.out);
        writer.out.extend_from_slice(b"\",\"metric_type\":\"");
        writer.out.extend_from_slice(metric.metric_type.as_str().as_bytes());
        writer.out.extend_from_slice(b"\",\"value\":");
        number(writer.out, Some(metric.value));
        optional(writer, ",\"endpoint\":", metric.endpoint.as_ref());
        writer.out.extend_from_slice(b",\"tags\":");
        writer.object(metric.tags.iter(), Place::METADATA);
        writer.out.push(b'}');
    }

    fn ip_address(&self, writer: &mut Writer<'_>, address: &IpAddress) {
        match self.addresses.sent(address) {
            Sent::Address(address) => {
                writer.out.push(b'"');
                json::address(writer.out, address);
                writer.out.push(b'"');
            }
            Sent::Text(text) => writer.string(&text, Place::FIELD),
        }
    }
}

impl fmt::Debug for Encoder {
    /// Without the generator, whose state foretells idempotency keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("addresses", &self.addresses)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

fn text(writer: &mut Writer<'_>, member: &str, text: &str) {
    writer.out.extend_from_slice(member.as_bytes());
    writer.string(text, Place::FIELD);
}

fn optional(writer: &mut Writer<'_>, member: &str, text: Option<&Text>) {
    match text {
        Some(text) => self::text(writer, member, text),
        None => {
            writer.out.extend_from_slice(member.as_bytes());
            writer.out.extend_from_slice(b"null");
        }
    }
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
