use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{InvalidRecord, Tags};
use crate::Timestamp;
use crate::text::Text;

/// A measured value.
///
/// ```
/// use guard_agent_proto::{MetricType, SecurityMetric, Timestamp};
///
/// let metric = SecurityMetric::new(MetricType::RequestCount, 128.0, Timestamp::from_unix_micros(0))
///     .endpoint("/login")
///     .tag("region", "eu");
/// assert_eq!(metric.tags.len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq)]
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

impl SecurityMetric {
    /// A value measured at that time. NaN and infinity make the metric invalid.
    #[must_use]
    pub const fn new(metric_type: MetricType, value: f64, timestamp: Timestamp) -> Self {
        Self { timestamp, metric_type, value, endpoint: None, tags: Tags::new() }
    }

    /// A value measured now.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn now(metric_type: MetricType, value: f64) -> Self {
        Self::new(metric_type, value, Timestamp::now())
    }

    /// Sets which endpoint it is about.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl AsRef<str>) -> Self {
        self.endpoint = Some(Text::Owned(String::from(endpoint.as_ref())));
        self
    }

    /// Adds a label, or replaces the one of that name. Literals cost no allocation.
    #[must_use]
    pub fn tag(mut self, key: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.tags.insert(key, value);
        self
    }

    /// Whether the agent can accept it.
    pub(crate) fn validate(&self) -> Result<(), InvalidRecord> {
        if !self.value.is_finite() {
            return Err(InvalidRecord::NotFinite { field: "value" });
        }
        Ok(())
    }

    /// About how many bytes its JSON takes; cheap.
    pub(crate) fn approximate_size(&self) -> usize {
        let mut size = 128 + self.endpoint.as_ref().map_or(0, |endpoint| endpoint.len());
        for (key, value) in self.tags.iter() {
            size += key.len() + value.len() + 6;
        }
        size
    }
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
