use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Dynamic security rules (contract 2.6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DynamicRules {
    /// Names the document.
    pub rule_id: String,
    /// Grows with each change of the document.
    pub version: i64,
    /// When it was made.
    pub timestamp: Timestamp,
    /// Hard end of its validity.
    pub expires_at: Option<Timestamp>,
    /// Freshness in seconds.
    pub ttl: i64,
    /// Blocked addresses.
    pub ip_blacklist: Vec<String>,
    // the rest of contract 2.6 follows
}

impl Default for DynamicRules {
    fn default() -> Self {
        Self {
            rule_id: String::from("default-rule"),
            version: 1,
            timestamp: Timestamp::default(),
            expires_at: None,
            ttl: 300,
            ip_blacklist: Vec::new(),
        }
    }
}
