use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::ser::{Error, SerializeStruct};
use serde::{Deserialize, Serialize, Serializer};

use serde_json::Value;

use super::lenient::Lenient as _;
use super::object::{Ignored, deserialize_object};
use super::{InvalidRecord, Tags, event};
use crate::Timestamp;
use crate::text::Text;

/// A measured value.
///
/// ```
/// # use guard_agent_proto::{MetricType, SecurityMetric, Timestamp};
///
/// let metric = SecurityMetric::new(MetricType::RequestCount, 128.0, Timestamp::from_unix_micros(0))
///     .endpoint("/login")
///     .tag("region", "eu");
/// assert_eq!(metric.tags.len(), 1);
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct SecurityMetric {
    /// When it was measured.
    pub timestamp: Timestamp,
    /// What was measured.
    pub metric_type: MetricType,
    /// The value; must be finite.
    pub value: f64,
    /// Which endpoint it is about.
    pub endpoint: Option<Text>,
    /// Labels.
    pub tags: Tags,
}

impl fmt::Debug for SecurityMetric {
    /// Without the endpoint and the values of tags, which may be secret or personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityMetric")
            .field("timestamp", &self.timestamp)
            .field("metric_type", &self.metric_type)
            .field("value", &self.value)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

impl SecurityMetric {
    /// A value measured at that time. NaN and infinity make the metric invalid.
    #[must_use]
    pub const fn new(metric_type: MetricType, value: f64, timestamp: Timestamp) -> Self {
        Self { timestamp, metric_type, value, endpoint: None, tags: Tags::new() }
    }

    /// A value measured now.
    #[cfg(feature = "std")]
    #[inline]
    #[must_use]
    pub fn now(metric_type: MetricType, value: f64) -> Self {
        Self::new(metric_type, value, Timestamp::now())
    }

    /// Sets which endpoint it is about.
    #[inline]
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl AsRef<str>) -> Self {
        self.endpoint = Some(Text::Owned(String::from(endpoint.as_ref())));
        self
    }

    /// Adds a label, or replaces the one of that name. Literals cost no allocation.
    #[inline]
    #[must_use]
    pub fn tag(mut self, key: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.tags.insert(key, value);
        self
    }

    /// Reads a metric from JSON, as much of it as can be read: see [`read_json`](crate::read_json). A label that is
    /// not a string becomes the JSON that it is.
    ///
    /// # Errors
    ///
    /// It is not a JSON object; its `metric_type` is none, its `timestamp` no time or its `value` no finite number.
    pub fn from_json(text: &[u8]) -> Result<Self, InvalidRecord> {
        event::read(text)
    }

    /// Whether the agent can accept it.
    pub(crate) fn validate(&self) -> Result<(), InvalidRecord> {
        if !self.value.is_finite() {
            return Err(InvalidRecord::NotFinite { field: "value" });
        }
        Ok(())
    }

    /// About how many bytes its JSON takes; cheap.
    #[cfg(feature = "std")]
    pub(crate) fn approximate_size(&self) -> usize {
        let mut size = 128 + self.endpoint.as_ref().map_or(0, |endpoint| endpoint.len());
        for (key, value) in self.tags.iter() {
            size += key.len() + value.len() + 6;
        }
        size
    }
}

impl Serialize for SecurityMetric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.validate().map_err(S::Error::custom)?;
        let mut object = serializer.serialize_struct("SecurityMetric", 5)?;
        object.serialize_field("timestamp", &self.timestamp)?;
        object.serialize_field("metric_type", &self.metric_type)?;
        object.serialize_field("value", &self.value)?;
        object.serialize_field("endpoint", &self.endpoint)?;
        object.serialize_field("tags", &self.tags)?;
        object.end()
    }
}

deserialize_object! {
    SecurityMetric, "a security metric",
    required: { timestamp, metric_type, value },
    optional: {},
    lenient: { endpoint, tags },
    unknown: Ignored,
    start: SecurityMetric::new(metric_type, finite(value), timestamp),
    check: SecurityMetric::validate,
}

/// The value of a metric; NaN, which is refused, where it is no number.
fn finite(value: Value) -> f64 {
    Option::of(value).0.unwrap_or(f64::NAN)
}

/// What a metric measures: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricType {
    /// Number of requests.
    RequestCount,
    /// Seconds per request.
    ResponseTime,
    /// Share of requests that failed.
    ErrorRate,
    /// Bytes per second.
    BandwidthUsage,
    /// Threat level.
    ThreatLevel,
    /// Share of requests that were blocked.
    BlockRate,
    /// Share of cache hits.
    CacheHitRate,
}

impl MetricType {
    /// Every type.
    pub const ALL: [Self; 7] = [
        Self::RequestCount,
        Self::ResponseTime,
        Self::ErrorRate,
        Self::BandwidthUsage,
        Self::ThreatLevel,
        Self::BlockRate,
        Self::CacheHitRate,
    ];

    /// The name on the wire, for example `request_count`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestCount => "request_count",
            Self::ResponseTime => "response_time",
            Self::ErrorRate => "error_rate",
            Self::BandwidthUsage => "bandwidth_usage",
            Self::ThreatLevel => "threat_level",
            Self::BlockRate => "block_rate",
            Self::CacheHitRate => "cache_hit_rate",
        }
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MetricType {
    type Err = InvalidRecord;

    fn from_str(text: &str) -> Result<Self, InvalidRecord> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| InvalidRecord::UnknownMetricType { metric_type: String::from(text) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloc::format;
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<SecurityMetric, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_wire_has_every_member_in_order_and_a_float() {
        let metric = SecurityMetric::new(MetricType::BlockRate, 100.0, Timestamp::default())
            .tag("b", "1")
            .tag("a", "2");
        assert_eq!(
            serde_json::to_string(&metric).unwrap(),
            r#"{"timestamp":"1970-01-01T00:00:00Z","metric_type":"block_rate","value":100.0,"endpoint":null,"tags":{"b":"1","a":"2"}}"#
        );
    }

    #[test]
    fn errors_name_the_field() {
        for (member, value) in [
            ("timestamp", "null"),
            ("metric_type", "\"requests\""),
            ("metric_type", "null"),
            ("value", "null"),
            ("value", "\"one\""),
            ("value", "NaN"),
            ("value", "1e999"),
        ] {
            let text = format!(
                r#"{{"timestamp":0,"metric_type":"error_rate","value":1,"unknown":[],"{member}":{value}}}"#
            );
            let error = SecurityMetric::from_json(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{member}`")), "{error}");
        }
        assert!(
            read(r#"{"timestamp":0,"metric_type":"error_rate"}"#)
                .unwrap_err()
                .contains("missing field `value`")
        );
    }

    #[test]
    fn labels_of_any_type_are_text() {
        let text = br#"{"timestamp":0,"metric_type":"error_rate","value":"1","endpoint":7,"tags":{"a":1,"b":"\ud800","c":null}}"#;
        let expected = SecurityMetric::new(MetricType::ErrorRate, 1.0, Timestamp::default())
            .endpoint("7")
            .tag("a", "1")
            .tag("b", "\u{fffd}")
            .tag("c", "");
        assert_eq!(SecurityMetric::from_json(text), Ok(expected));
    }

    #[test]
    fn types_read_as_they_are_written() {
        for metric_type in MetricType::ALL {
            assert_eq!(metric_type.to_string().parse(), Ok(metric_type));
            assert_eq!(serde_json::to_value(metric_type).unwrap(), metric_type.as_str());
        }
        let error = "requests".parse::<MetricType>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`metric_type` must be one of request_count, response_time, error_rate, bandwidth_usage, threat_level, \
             block_rate, cache_hit_rate, not \"requests\""
        );
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let metric = SecurityMetric::new(MetricType::ErrorRate, value, Timestamp::default());
            assert_eq!(metric.validate(), Err(InvalidRecord::NotFinite { field: "value" }));
            assert!(serde_json::to_string(&metric).unwrap_err().to_string().contains("`value`"));
        }
    }

    proptest! {
        #[test]
        fn metrics_come_back_as_written(
            micros in any::<i64>(),
            which in 0..MetricType::ALL.len(),
            value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO,
            endpoint in prop::option::of("\\PC{0,9}"),
            tags in prop::collection::vec(("\\PC{0,9}", "\\PC{0,9}"), 0..30),
        ) {
            let mut metric =
                SecurityMetric::new(MetricType::ALL[which], value, Timestamp::from_unix_micros(micros));
            metric.endpoint = endpoint.map(Text::Owned);
            metric.tags = tags.into_iter().collect();
            let text = serde_json::to_string(&metric).unwrap();
            prop_assert_eq!(read(&text).unwrap(), metric);
        }
    }
}
