mod event;
pub mod event_type;
mod lenient;
mod members;
mod metric;
mod object;
mod read_json;
mod rules;
mod status;
mod timestamp;

pub(crate) use event::FIELDS;
pub use event::{InvalidRecord, IpAddress, SecurityEvent};
pub use members::{Metadata, Tags};
pub use metric::{MetricType, SecurityMetric};
pub use read_json::{ReadJsonError, read_json};
pub use rules::{DynamicRules, RateLimit};
pub use status::{AgentStatus, StatusLevel};
pub use timestamp::{Timestamp, TimestampError};
