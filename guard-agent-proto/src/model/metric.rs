use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::text::Text;

/// A measured value (contract 2.3).
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

/// Labels of a metric, in the order they were added; a repeated name replaces the earlier value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tags(pub(crate) Vec<(Text, Text)>);
