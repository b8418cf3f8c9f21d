use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use uuid::Uuid;

use super::Metadata;
use crate::Timestamp;
use crate::text::{Text, intern, intern_country};

/// Something that happened to the security of a service.
///
/// Cheap to build from the borrowed strings of a request: known words (event types, methods, common
/// actions and handlers, country codes) and addresses cost no allocation.
///
/// ```
/// use guard_agent_proto::{SecurityEvent, Timestamp, event_type};
///
/// let event = SecurityEvent::new(event_type::IP_BANNED, Timestamp::from_unix_micros(0))
///     .ip_address("192.0.2.7")
///     .method("POST")
///     .endpoint("/login")
///     .status_code(403)
///     .action_taken("request_blocked")
///     .metadata("attempts", 12);
/// assert_eq!(event.metadata.len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SecurityEvent {
    /// Recognises the event across retries; minted by the agent when absent.
    pub idempotency_key: Option<Uuid>,
    /// When it happened.
    pub timestamp: Timestamp,
    /// What happened: free text, see [`event_type`](crate::event_type) for the known ones.
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
    /// Members of the event's JSON object that have no field here; sent after `metadata`.
    pub extra: Metadata,
}

impl SecurityEvent {
    /// An event of that type ([`event_type`](crate::event_type) lists the known ones) at that time, with
    /// all else empty.
    #[must_use]
    pub fn new(event_type: impl AsRef<str>, timestamp: Timestamp) -> Self {
        Self {
            idempotency_key: None,
            timestamp,
            event_type: intern(event_type.as_ref()),
            ip_address: IpAddress::default(),
            country: None,
            user_agent: None,
            action_taken: Text::Borrowed(""),
            reason: Text::Borrowed(""),
            endpoint: None,
            method: None,
            status_code: None,
            response_time: None,
            decorator_type: None,
            rule_type: None,
            pattern_matched: None,
            handler_name: None,
            metadata: Metadata::new(),
            extra: Metadata::new(),
        }
    }

    /// An event of that type that happens now.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn now(event_type: impl AsRef<str>) -> Self {
        Self::new(event_type, Timestamp::now())
    }

    /// Sets the key that recognises the event when it arrives more than once; the agent mints one
    /// otherwise.
    #[must_use]
    pub fn idempotency_key(mut self, key: Uuid) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// Sets whose request it was; an address or any text.
    #[must_use]
    pub fn ip_address(mut self, address: impl Into<IpAddress>) -> Self {
        self.ip_address = address.into();
        self
    }

    /// Sets the two-letter country of the address.
    #[must_use]
    pub fn country(mut self, country: impl AsRef<str>) -> Self {
        self.country = Some(intern_country(country.as_ref()));
        self
    }

    /// Sets the `User-Agent` of the request.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl AsRef<str>) -> Self {
        self.user_agent = Some(owned(user_agent));
        self
    }

    /// Sets what was done about it, for example `request_blocked`.
    #[must_use]
    pub fn action_taken(mut self, action: impl AsRef<str>) -> Self {
        self.action_taken = intern(action.as_ref());
        self
    }

    /// Sets why, for people.
    #[must_use]
    pub fn reason(mut self, reason: impl AsRef<str>) -> Self {
        self.reason = owned(reason);
        self
    }

    /// Sets path and query of the request.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl AsRef<str>) -> Self {
        self.endpoint = Some(owned(endpoint));
        self
    }

    /// Sets the method of the request.
    #[must_use]
    pub fn method(mut self, method: impl AsRef<str>) -> Self {
        self.method = Some(intern(method.as_ref()));
        self
    }

    /// Sets the status code of the answer.
    #[must_use]
    pub fn status_code(mut self, status: impl Into<i64>) -> Self {
        self.status_code = Some(status.into());
        self
    }

    /// Sets the seconds until the answer. NaN and infinity make the event invalid.
    #[must_use]
    pub fn response_time(mut self, seconds: f64) -> Self {
        self.response_time = Some(seconds);
        self
    }

    /// Sets the kind of decorator that decided.
    #[must_use]
    pub fn decorator_type(mut self, decorator: impl AsRef<str>) -> Self {
        self.decorator_type = Some(intern(decorator.as_ref()));
        self
    }

    /// Sets the kind of rule that decided.
    #[must_use]
    pub fn rule_type(mut self, rule: impl AsRef<str>) -> Self {
        self.rule_type = Some(intern(rule.as_ref()));
        self
    }

    /// Sets the pattern that matched.
    #[must_use]
    pub fn pattern_matched(mut self, pattern: impl AsRef<str>) -> Self {
        self.pattern_matched = Some(owned(pattern));
        self
    }

    /// Sets the handler that decided.
    #[must_use]
    pub fn handler_name(mut self, handler: impl AsRef<str>) -> Self {
        self.handler_name = Some(intern(handler.as_ref()));
        self
    }

    /// Adds a member of `metadata`, or replaces the one of that name. A literal name costs no
    /// allocation.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<Text>, value: impl Into<Value>) -> Self {
        self.metadata.insert(key, value);
        self
    }

    /// Adds a member of the event itself, beside the fields. The name of a field makes the event
    /// invalid.
    #[must_use]
    pub fn extra(mut self, key: impl Into<Text>, value: impl Into<Value>) -> Self {
        self.extra.insert(key, value);
        self
    }

    /// Whether the agent can accept it.
    pub(crate) fn validate(&self) -> Result<(), InvalidRecord> {
        if self.response_time.is_some_and(|seconds| !seconds.is_finite()) {
            return Err(InvalidRecord::NotFinite { field: "response_time" });
        }
        for (name, _) in self.extra.iter() {
            if let Some(field) = FIELDS.iter().find(|field| **field == name) {
                return Err(InvalidRecord::FieldAsExtra { field });
            }
        }
        Ok(())
    }

    /// About how many bytes its JSON takes; cheap.
    pub(crate) fn approximate_size(&self) -> usize {
        let optional = [
            &self.country,
            &self.user_agent,
            &self.endpoint,
            &self.method,
            &self.decorator_type,
            &self.rule_type,
            &self.pattern_matched,
            &self.handler_name,
        ];
        let mut size = 384 + self.event_type.len() + self.action_taken.len() + self.reason.len();
        if let IpAddress::Text(text) = &self.ip_address {
            size += text.len();
        }
        for text in optional.into_iter().flatten() {
            size += text.len();
        }
        for (key, value) in self.metadata.iter().chain(self.extra.iter()) {
            size += key.len() + 6 + value_size(value);
        }
        size
    }
}

/// Every field, in the order of the wire.
const FIELDS: [&str; 17] = [
    "idempotency_key",
    "timestamp",
    "event_type",
    "ip_address",
    "country",
    "user_agent",
    "action_taken",
    "reason",
    "endpoint",
    "method",
    "status_code",
    "response_time",
    "decorator_type",
    "rule_type",
    "pattern_matched",
    "handler_name",
    "metadata",
];

fn owned(text: impl AsRef<str>) -> Text {
    Text::Owned(String::from(text.as_ref()))
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| value_size(item) + 1).sum::<usize>() + 2,
        Value::Object(members) => {
            members.iter().map(|(key, value)| key.len() + 4 + value_size(value)).sum::<usize>() + 2
        }
    }
}

/// An address as an event carries it. Two are equal when they read alike.
///
/// ```
/// use core::net::Ipv4Addr;
/// use guard_agent_proto::IpAddress;
///
/// assert_eq!(IpAddress::from("192.0.2.7"), IpAddress::from(Ipv4Addr::new(192, 0, 2, 7)));
/// ```
#[derive(Clone, Debug, Eq)]
pub enum IpAddress {
    /// Parsed: no allocation.
    Addr(IpAddr),
    /// As given; may be empty or a word such as `system`.
    Text(Text),
}

impl Default for IpAddress {
    fn default() -> Self {
        Self::Text(Text::Borrowed(""))
    }
}

impl fmt::Display for IpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl PartialEq for IpAddress {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Addr(a), Self::Addr(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Addr(addr), Self::Text(text)) | (Self::Text(text), Self::Addr(addr)) => {
                addr.to_string() == *text
            }
        }
    }
}

impl From<&str> for IpAddress {
    fn from(text: &str) -> Self {
        // IPv4 has one spelling, so that the text comes back as it was; IPv6 has many.
        match text.parse::<Ipv4Addr>() {
            Ok(addr) => Self::Addr(addr.into()),
            Err(_) => Self::Text(Text::Owned(String::from(text))),
        }
    }
}

impl From<String> for IpAddress {
    fn from(text: String) -> Self {
        Self::Text(Text::Owned(text))
    }
}

impl From<IpAddr> for IpAddress {
    fn from(addr: IpAddr) -> Self {
        Self::Addr(addr)
    }
}

impl From<Ipv4Addr> for IpAddress {
    fn from(addr: Ipv4Addr) -> Self {
        Self::Addr(addr.into())
    }
}

impl From<Ipv6Addr> for IpAddress {
    fn from(addr: Ipv6Addr) -> Self {
        Self::Addr(addr.into())
    }
}

/// A record that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// A number is NaN or infinite, which JSON cannot say.
    NotFinite {
        /// Name of the field.
        field: &'static str,
    },
    /// An extra member of an event has the name of a field.
    FieldAsExtra {
        /// Name of the field.
        field: &'static str,
    },
    /// Not one of the metric types.
    UnknownMetricType {
        /// What it is instead.
        metric_type: String,
    },
}

impl fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite { field } => write!(f, "`{field}` must be a finite number"),
            Self::FieldAsExtra { field } => write!(f, "`{field}` is a field and cannot be an extra member"),
            Self::UnknownMetricType { metric_type } => {
                write!(f, "`metric_type` must be one of ")?;
                for (i, known) in super::MetricType::ALL.iter().enumerate() {
                    write!(f, "{}{known}", if i == 0 { "" } else { ", " })?;
                }
                write!(f, ", not {metric_type:?}")
            }
        }
    }
}

impl core::error::Error for InvalidRecord {}
