use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use super::object::{Extra, deserialize_object};
use super::{Metadata, read_json};
use crate::Timestamp;
use crate::text::{Text, intern, intern_country};

/// Something that happened to the security of a service.
///
/// Cheap to build from the borrowed strings of a request: known words (event types, methods, common
/// actions and handlers, country codes) and addresses cost no allocation.
///
/// ```
/// # use guard_agent_proto::{SecurityEvent, Timestamp, event_type};
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
#[derive(Clone, PartialEq)]
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
    /// Seconds until the answer; sent as null unless it is finite.
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

impl fmt::Debug for SecurityEvent {
    /// What kind of event it is; what it says may be secret or personal before it is redacted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityEvent")
            .field("idempotency_key", &self.idempotency_key)
            .field("timestamp", &self.timestamp)
            .field("event_type", &self.event_type)
            .field("status_code", &self.status_code)
            .field("metadata", &self.metadata)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

impl SecurityEvent {
    /// An event of that type ([`event_type`](crate::event_type) lists the known ones) at that time, with
    /// all else empty.
    #[inline]
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
    #[inline]
    #[must_use]
    pub fn now(event_type: impl AsRef<str>) -> Self {
        Self::new(event_type, Timestamp::now())
    }

    /// Sets the key that recognises the event when it arrives more than once; the agent mints one
    /// otherwise.
    #[inline]
    #[must_use]
    pub fn idempotency_key(mut self, key: Uuid) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// Sets whose request it was; an address or any text.
    #[inline]
    #[must_use]
    pub fn ip_address(mut self, address: impl Into<IpAddress>) -> Self {
        self.ip_address = address.into();
        self
    }

    /// Sets the two-letter country of the address.
    #[inline]
    #[must_use]
    pub fn country(mut self, country: impl AsRef<str>) -> Self {
        self.country = Some(intern_country(country.as_ref()));
        self
    }

    /// Sets the `User-Agent` of the request.
    #[inline]
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl AsRef<str>) -> Self {
        self.user_agent = Some(owned(user_agent));
        self
    }

    /// Sets what was done about it, for example `request_blocked`.
    #[inline]
    #[must_use]
    pub fn action_taken(mut self, action: impl AsRef<str>) -> Self {
        self.action_taken = intern(action.as_ref());
        self
    }

    /// Sets why, for people.
    #[inline]
    #[must_use]
    pub fn reason(mut self, reason: impl AsRef<str>) -> Self {
        self.reason = owned(reason);
        self
    }

    /// Sets path and query of the request.
    #[inline]
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl AsRef<str>) -> Self {
        self.endpoint = Some(owned(endpoint));
        self
    }

    /// Sets the method of the request.
    #[inline]
    #[must_use]
    pub fn method(mut self, method: impl AsRef<str>) -> Self {
        self.method = Some(intern(method.as_ref()));
        self
    }

    /// Sets the status code of the answer.
    #[inline]
    #[must_use]
    pub fn status_code(mut self, status: impl Into<i64>) -> Self {
        self.status_code = Some(status.into());
        self
    }

    /// Sets the seconds until the answer. NaN and infinity are sent as null.
    #[inline]
    #[must_use]
    pub fn response_time(mut self, seconds: f64) -> Self {
        self.response_time = Some(seconds);
        self
    }

    /// Sets the kind of decorator that decided.
    #[inline]
    #[must_use]
    pub fn decorator_type(mut self, decorator: impl AsRef<str>) -> Self {
        self.decorator_type = Some(intern(decorator.as_ref()));
        self
    }

    /// Sets the kind of rule that decided.
    #[inline]
    #[must_use]
    pub fn rule_type(mut self, rule: impl AsRef<str>) -> Self {
        self.rule_type = Some(intern(rule.as_ref()));
        self
    }

    /// Sets the pattern that matched.
    #[inline]
    #[must_use]
    pub fn pattern_matched(mut self, pattern: impl AsRef<str>) -> Self {
        self.pattern_matched = Some(owned(pattern));
        self
    }

    /// Sets the handler that decided.
    #[inline]
    #[must_use]
    pub fn handler_name(mut self, handler: impl AsRef<str>) -> Self {
        self.handler_name = Some(intern(handler.as_ref()));
        self
    }

    /// Adds a member of `metadata`, or replaces the one of that name. A literal name costs no
    /// allocation.
    #[inline]
    #[must_use]
    pub fn metadata(mut self, key: impl Into<Text>, value: impl Into<Value>) -> Self {
        self.metadata.insert(key, value);
        self
    }

    /// Adds a member of the event itself, beside the fields. One that has the name of a field is not sent.
    #[inline]
    #[must_use]
    pub fn extra(mut self, key: impl Into<Text>, value: impl Into<Value>) -> Self {
        self.extra.insert(key, value);
        self
    }

    /// Reads an event from JSON, as much of it as can be read: see [`read_json`](crate::read_json), and what
    /// [`Deserialize`] makes of values that do not fit.
    ///
    /// ```
    /// # use guard_agent_proto::SecurityEvent;
    ///
    /// let json = br#"{"event_type":"ip_banned","timestamp":0,"user_agent":["a","\ud800"],"status_code":1e999}"#;
    /// let event = SecurityEvent::from_json(json)?;
    /// assert_eq!(event.user_agent.as_deref(), Some("[\"a\",\"\u{fffd}\"]"));
    /// assert_eq!(event.status_code, None);
    /// assert_eq!(event.metadata.get("status_code"), Some(&"1e999".into()));
    /// # Ok::<(), guard_agent_proto::InvalidRecord>(())
    /// ```
    ///
    /// # Errors
    ///
    /// It is not a JSON object, has no `event_type` that is a string, or no `timestamp` that is a time.
    pub fn from_json(text: &[u8]) -> Result<Self, InvalidRecord> {
        read(text)
    }

    /// About how many bytes its JSON takes; cheap.
    #[cfg(feature = "std")]
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

impl Serialize for SecurityEvent {
    /// As on the wire, but without an idempotency key where there is none yet.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(key) = &self.idempotency_key {
            map.serialize_entry("idempotency_key", key)?;
        }
        map.serialize_entry("timestamp", &self.timestamp)?;
        map.serialize_entry("event_type", &self.event_type)?;
        map.serialize_entry("ip_address", &self.ip_address)?;
        map.serialize_entry("country", &self.country)?;
        map.serialize_entry("user_agent", &self.user_agent)?;
        map.serialize_entry("action_taken", &self.action_taken)?;
        map.serialize_entry("reason", &self.reason)?;
        map.serialize_entry("endpoint", &self.endpoint)?;
        map.serialize_entry("method", &self.method)?;
        map.serialize_entry("status_code", &self.status_code)?;
        map.serialize_entry("response_time", &self.response_time.filter(|seconds| seconds.is_finite()))?;
        map.serialize_entry("decorator_type", &self.decorator_type)?;
        map.serialize_entry("rule_type", &self.rule_type)?;
        map.serialize_entry("pattern_matched", &self.pattern_matched)?;
        map.serialize_entry("handler_name", &self.handler_name)?;
        map.serialize_entry("metadata", &self.metadata)?;
        for (key, value) in self.extra.iter().filter(|(name, _)| !FIELDS.contains(name)) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

// A value that does not fit a field is made to: text is the JSON of what is no string, null where it was no number of
// that kind or no UUID, in which case `metadata` keeps it under the name of the field. Only `event_type` and
// `timestamp`, which no attacker writes, have to be what they are.
deserialize_object! {
    SecurityEvent, "a security event",
    required: { timestamp, event_type },
    optional: {},
    lenient: {
        idempotency_key, ip_address, country, user_agent, action_taken, reason, endpoint, method, status_code,
        response_time, decorator_type, rule_type, pattern_matched, handler_name, metadata
    },
    unknown: Extra,
    start: SecurityEvent { event_type, ..SecurityEvent::new("", timestamp) },
    check: |_: &SecurityEvent| Ok::<(), &str>(()),
}

/// Every field, in the order of the wire.
pub(crate) const FIELDS: [&str; 17] = [
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

#[cfg(feature = "std")]
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
/// # use guard_agent_proto::IpAddress;
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
        Self::from(text.as_str())
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

impl Serialize for IpAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IpAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::from(text.as_str()))
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
    /// JSON that is no record.
    Unreadable {
        /// What is wrong with which field, or where.
        reason: String,
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
            Self::Unreadable { reason } => f.write_str(reason),
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

/// Reads a record, leniently.
pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, InvalidRecord> {
    if let Ok(record) = serde_json::from_slice(text) {
        return Ok(record);
    }
    let value = read_json(text).map_err(|error| InvalidRecord::Unreadable { reason: error.to_string() })?;
    T::deserialize(value).map_err(|error| InvalidRecord::Unreadable { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloc::format;
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<SecurityEvent, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_wire_has_every_member_in_order() {
        let event = SecurityEvent::new("ip_banned", Timestamp::from_unix_micros(0))
            .idempotency_key(Uuid::nil())
            .extra("z", 1)
            .metadata("b", 1)
            .metadata("a", [1.5]);
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"idempotency_key":"00000000-0000-0000-0000-000000000000","timestamp":"1970-01-01T00:00:00Z","#
                .to_string()
                + r#""event_type":"ip_banned","ip_address":"","country":null,"user_agent":null,"action_taken":"","#
                + r#""reason":"","endpoint":null,"method":null,"status_code":null,"response_time":null,"#
                + r#""decorator_type":null,"rule_type":null,"pattern_matched":null,"handler_name":null,"#
                + r#""metadata":{"b":1,"a":[1.5]},"z":1}"#
        );
    }

    #[test]
    fn setters_set_their_field() {
        let event = SecurityEvent::new("x", Timestamp::from_unix_micros(1))
            .idempotency_key(Uuid::from_u128(7))
            .ip_address("2001:DB8::1")
            .country("DE")
            .user_agent("ua")
            .action_taken("banned")
            .reason("why")
            .endpoint("/a?b=c")
            .method("GET")
            .status_code(-1)
            .response_time(0.25)
            .decorator_type("deco")
            .rule_type("rule")
            .pattern_matched("pat")
            .handler_name("hand")
            .metadata("k", "v")
            .extra("more", true);
        assert_eq!(
            serde_json::to_value(&event).unwrap(),
            json!({
                "idempotency_key": "00000000-0000-0000-0000-000000000007",
                "timestamp": "1970-01-01T00:00:00.000001Z",
                "event_type": "x",
                "ip_address": "2001:DB8::1",
                "country": "DE",
                "user_agent": "ua",
                "action_taken": "banned",
                "reason": "why",
                "endpoint": "/a?b=c",
                "method": "GET",
                "status_code": -1,
                "response_time": 0.25,
                "decorator_type": "deco",
                "rule_type": "rule",
                "pattern_matched": "pat",
                "handler_name": "hand",
                "metadata": {"k": "v"},
                "more": true,
            })
        );
    }

    #[test]
    fn only_type_and_time_are_required() {
        let event =
            read(r#"{"event_type":"custom_rule_triggered","timestamp":"2026-01-02 03:04:05"}"#).unwrap();
        assert_eq!(
            event,
            SecurityEvent::new("custom_rule_triggered", "2026-01-02T03:04:05Z".parse().unwrap())
        );
        assert!(read(r#"{"event_type":"x"}"#).unwrap_err().contains("missing field `timestamp`"));
        assert!(read(r#"{"timestamp":0}"#).unwrap_err().contains("missing field `event_type`"));
    }

    #[test]
    fn errors_name_the_field() {
        for (member, value) in [
            ("timestamp", "null"),
            ("timestamp", "\"yesterday\""),
            ("event_type", "null"),
            ("event_type", "1"),
        ] {
            let error =
                read(&format!(r#"{{"event_type":"x","timestamp":0,"{member}":{value}}}"#)).unwrap_err();
            assert!(error.starts_with(&format!("`{member}`: ")), "{error}");
        }
    }

    #[test]
    fn a_value_that_does_not_fit_its_field_is_made_to() {
        let event = || SecurityEvent::new("x", Timestamp::default());
        let key = "3b241101-e2bb-4255-8caf-4136c566a962";
        for (member, value, expected) in [
            ("idempotency_key", "null", event()),
            ("idempotency_key", "\"of the request\"", event().metadata("idempotency_key", "of the request")),
            ("idempotency_key", &format!("\"{key}\""), event().idempotency_key(key.parse().unwrap())),
            ("ip_address", "null", event()),
            ("ip_address", "[\"1.2.3.4\"]", event().ip_address("[\"1.2.3.4\"]")),
            ("country", "1", event().country("1")),
            ("user_agent", "[\"a\",2]", event().user_agent("[\"a\",2]")),
            ("action_taken", "null", event()),
            ("reason", "NaN", event().reason("NaN")),
            ("endpoint", "{\"a\":[]}", event().endpoint("{\"a\":[]}")),
            ("method", "true", event().method("true")),
            ("status_code", "-5", event().status_code(-5)),
            ("status_code", "70000", event().status_code(70_000)),
            ("status_code", "403.0", event().status_code(403)),
            ("status_code", "\"403\"", event().status_code(403)),
            ("status_code", "1.5", event().metadata("status_code", 1.5)),
            ("status_code", "1e400", event().metadata("status_code", "1e400")),
            (
                "status_code",
                "9223372036854775808",
                event().metadata("status_code", 9_223_372_036_854_775_808_u64),
            ),
            ("response_time", "\"0.5\"", event().response_time(0.5)),
            ("response_time", "NaN", event().metadata("response_time", "NaN")),
            ("response_time", "1e999", event().metadata("response_time", "1e999")),
            ("response_time", "[]", event().metadata("response_time", Value::Array(Vec::new()))),
            ("metadata", "null", event()),
            ("metadata", "[1]", event().metadata("value", [1])),
            ("metadata", "{\"a\":1,\"a\":-Infinity}", event().metadata("a", "-Infinity")),
            ("more", "\"\\ud800\"", event().extra("more", "\u{fffd}")),
        ] {
            let text = format!(r#"{{"event_type":"x","timestamp":0,"{member}":{value}}}"#);
            assert_eq!(SecurityEvent::from_json(text.as_bytes()), Ok(expected), "{text}");
        }
        let text = br#"{"event_type":"x","timestamp":0,"status_code":"no","metadata":{"status_code":1}}"#;
        assert_eq!(SecurityEvent::from_json(text), Ok(event().metadata("status_code", 1)));
    }

    #[test]
    fn repeated_members_count_as_last_given() {
        let event = read(r#"{"event_type":"x","x":1,"timestamp":0,"event_type":"y","x":2}"#).unwrap();
        assert_eq!(event, SecurityEvent::new("y", Timestamp::default()).extra("x", 2));
    }

    #[test]
    fn what_json_cannot_say_is_null_and_a_field_is_never_repeated() {
        let event = SecurityEvent::new("x", Timestamp::default());
        let text = serde_json::to_string(&event).unwrap();
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(serde_json::to_string(&event.clone().response_time(seconds)).unwrap(), text);
        }
        for field in FIELDS {
            assert_eq!(serde_json::to_string(&event.clone().extra(field, 1)).unwrap(), text);
        }
    }

    #[test]
    fn fields_are_those_of_the_wire() {
        let event = SecurityEvent::new("x", Timestamp::default()).idempotency_key(Uuid::nil());
        let text = serde_json::to_string(&event).unwrap();
        let mut places: Vec<_> = FIELDS.map(|field| text.find(&format!("\"{field}\":")).unwrap()).into();
        assert!(places.is_sorted());
        places.dedup();
        assert_eq!(places.len(), serde_json::to_value(&event).unwrap().as_object().unwrap().len());
    }

    #[test]
    fn addresses_are_equal_when_they_read_alike() {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(IpAddress::from(v6), IpAddress::from("2001:db8::1"));
        assert_ne!(IpAddress::from(v6), IpAddress::from("2001:DB8::1"));
        assert_eq!(IpAddress::from(String::from("192.0.2.7")), IpAddress::Addr("192.0.2.7".parse().unwrap()));
        assert_eq!(IpAddress::from("192.0.2.07"), IpAddress::Text("192.0.2.07".into()));
    }

    /// The inside of a JSON string, as someone may write it who wants it to be unreadable.
    fn attacks() -> impl Strategy<Value = String> {
        let parts = prop_oneof![
            "\\\\u[dD][89a-fA-F][0-9a-f]{2}",
            "\\\\u[0-9a-fA-F]{0,4}",
            "\\\\[^\"\\\\]",
            Just(String::from("\\\\")),
            Just(String::from("\\\"")),
            "[^\"\\\\]{0,8}",
        ];
        prop::collection::vec(parts, 0..8).prop_map(|parts| parts.concat())
    }

    fn texts() -> impl Strategy<Value = String> {
        "\\PC{0,12}|[a-z_]{1,20}|\"\\\\\u{0}\n\u{7f}"
    }

    prop_compose! {
        fn events()(
            (micros, key) in (Timestamp::MIN.as_unix_micros()..=Timestamp::MAX.as_unix_micros(), any::<Option<u128>>()),
            text in prop::collection::vec(texts(), 11),
            optional in prop::collection::vec(any::<bool>(), 10),
            address in prop_oneof![any::<IpAddr>().prop_map(IpAddress::from), texts().prop_map(IpAddress::from)],
            status_code in any::<Option<i64>>(),
            response_time in prop::option::of(-1e300..1e300),
            metadata in prop::collection::vec((texts(), values()), 0..20),
            extra in prop::collection::vec(("[A-Z]{0,4}", values()), 0..20),
        ) -> SecurityEvent {
            let opt = |i: usize| optional[i].then(|| Text::Owned(text[i].clone()));
            SecurityEvent {
                idempotency_key: key.map(Uuid::from_u128),
                timestamp: Timestamp::from_unix_micros(micros),
                event_type: text[8].clone().into(),
                ip_address: address.clone(),
                country: opt(0),
                user_agent: opt(1),
                action_taken: text[9].clone().into(),
                reason: text[10].clone().into(),
                endpoint: opt(2),
                method: opt(3),
                status_code,
                response_time,
                decorator_type: opt(4),
                rule_type: opt(5),
                pattern_matched: opt(6),
                handler_name: opt(7),
                metadata: metadata.into_iter().collect(),
                extra: extra.into_iter().collect(),
            }
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            texts().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(texts(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn debug_shows_no_content() {
        let event = SecurityEvent::new("ip_banned", Timestamp::default())
            .user_agent("planted")
            .endpoint("/?token=planted")
            .reason("planted")
            .metadata("authorization", "planted")
            .extra("cookie", "planted");
        let shown = alloc::format!("{event:?}");
        assert!(shown.contains("ip_banned") && shown.contains("authorization"), "{shown}");
        assert!(!shown.contains("planted"), "{shown}");
    }

    proptest! {
        #[test]
        fn whatever_an_attacker_writes_the_event_is_read(
            texts in prop::collection::vec(attacks(), 5),
            numbers in prop::collection::vec("-?[1-9][0-9]{0,400}(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,9})?|-?Infinity|NaN", 3),
            depth in 0..10_000_usize,
        ) {
            let [endpoint, user_agent, reason, header, name] = &texts[..] else { unreachable!() };
            let [status, time, size] = &numbers[..] else { unreachable!() };
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let text = format!(
                r#"{{"event_type":"penetration_attempt","timestamp":0,"endpoint":"{endpoint}","user_agent":["{user_agent}"],"#
            ) + &format!(r#""reason":"{reason}","status_code":{status},"response_time":{time},"metadata":{{"#)
                + &format!(r#""size":{size},"{name}":{{"h":"{header}"}},"{name}":{open}"{header}"{close}}},"own":{size}}}"#);
            let event = SecurityEvent::from_json(text.as_bytes()).unwrap();
            prop_assert_eq!(&*event.event_type, "penetration_attempt");
            prop_assert!(event.endpoint.is_some() && event.user_agent.is_some());
            prop_assert!(event.metadata.get("size").is_some() || !event.metadata.is_empty());
        }
    }

    proptest! {
        #[test]
        fn events_come_back_as_written(event in events()) {
            let text = serde_json::to_string(&event).unwrap();
            prop_assert_eq!(&read(&text).unwrap(), &event);
            prop_assert_eq!(serde_json::to_string(&read(&text).unwrap()).unwrap(), text);
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,64}") {
            let _ = read(&text);
        }

        #[cfg(feature = "std")]
        #[test]
        fn the_size_is_about_that_of_the_json(event in events()) {
            let size = event.approximate_size();
            let json = serde_json::to_string(&event).unwrap().len();
            // Escapes make six bytes of one.
            prop_assert!(size <= json + 400 && json <= size * 6, "{} for {}", size, json);
        }
    }
}
