use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What the agent tells the platform about itself (contract 2.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
