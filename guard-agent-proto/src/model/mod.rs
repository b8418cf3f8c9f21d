mod event;
pub mod event_type;
mod members;
mod metric;
mod object;
mod rules;
mod status;
mod timestamp;

pub(crate) use event::FIELDS;
pub use event::{InvalidRecord, IpAddress, SecurityEvent};
pub use members::{Metadata, Tags};
pub use metric::{MetricType, SecurityMetric};
pub use rules::{DynamicRules, RateLimit};
pub use status::{AgentStatus, StatusLevel};
pub use timestamp::{Timestamp, TimestampError};
