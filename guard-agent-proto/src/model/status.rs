use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::object::{Ignored, deserialize_object};
use crate::Timestamp;

/// What the agent tells the platform about itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentStatus {
    /// When it was taken.
    pub timestamp: Timestamp,
    /// Overall level.
    pub status: StatusLevel,
    /// Seconds since the agent started.
    pub uptime: f64,
    /// Events confirmed by the platform.
    pub events_sent: u64,
    /// Events given up.
    pub events_failed: u64,
    /// Events and metrics in memory.
    pub buffer_size: u64,
    /// When the platform last confirmed a batch.
    pub last_flush: Option<Timestamp>,
    /// Why it is not healthy.
    pub errors: Vec<String>,
}

deserialize_object! {
    AgentStatus, "the status of an agent",
    required: { timestamp, status, uptime, events_sent, events_failed, buffer_size },
    optional: { last_flush, errors },
    lenient: {},
    unknown: Ignored,
    start: AgentStatus {
        timestamp, status, uptime, events_sent, events_failed, buffer_size, last_flush: None, errors: Vec::new()
    },
    check: |_: &AgentStatus| Ok::<(), &str>(()),
}

/// Overall level of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusLevel {
    /// All is well.
    #[default]
    Healthy,
    /// Working, with something to look at.
    Degraded,
    /// Records of a kind are not getting through.
    Failed,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    #[test]
    fn the_wire_has_every_member_in_order() {
        let status = AgentStatus {
            timestamp: Timestamp::from_unix_micros(1_500_000),
            status: StatusLevel::Degraded,
            uptime: 60.0,
            events_sent: 3,
            events_failed: 1,
            buffer_size: 2,
            last_flush: None,
            errors: vec![String::from("Buffer nearly full")],
        };
        let text = r#"{"timestamp":"1970-01-01T00:00:01.500000Z","status":"degraded","uptime":60.0,"events_sent":3,"events_failed":1,"buffer_size":2,"last_flush":null,"errors":["Buffer nearly full"]}"#;
        assert_eq!(serde_json::to_string(&status).unwrap(), text);
        assert_eq!(serde_json::from_str::<AgentStatus>(text).unwrap(), status);
    }

    #[test]
    fn errors_name_the_member() {
        let text = r#"{"timestamp":0,"status":"error","uptime":0,"events_sent":0,"events_failed":0,"buffer_size":0}"#;
        let error = serde_json::from_str::<AgentStatus>(text).unwrap_err().to_string();
        assert!(error.starts_with("`status`: unknown variant, expected one of `healthy`"), "{error}");
    }
}
