mod event;
mod metric;
mod rules;
mod status;
mod timestamp;

pub use event::{InvalidRecord, IpAddress, Metadata, SecurityEvent, event_type};
pub use metric::{MetricType, SecurityMetric, Tags};
pub use rules::DynamicRules;
pub use status::{AgentStatus, StatusLevel};
pub use timestamp::{Timestamp, TimestampError};
