use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::response::{Class, describe, first_line, is_truthy, retry_after};
use crate::{DynamicRules, Response, Timestamp};

/// Members that make an object a rules document. Dates, versions and messages are in many other
/// documents too.
const RULE_MEMBERS: [&str; 21] = [
    "rule_id",
    "ip_blacklist",
    "ip_whitelist",
    "ip_ban_duration",
    "blocked_countries",
    "whitelist_countries",
    "blocked_cloud_providers",
    "blocked_user_agents",
    "suspicious_patterns",
    "global_rate_limit",
    "global_rate_window",
    "endpoint_rate_limits",
    "enable_penetration_detection",
    "enable_ip_banning",
    "enable_rate_limiting",
    "enable_rate_limit_auto_ban",
    "auto_ban_threshold",
    "auto_ban_duration",
    "emergency_mode",
    "emergency_whitelist",
    "emergency_whitelist_only",
];
/// Members of an error envelope, when they say anything.
const ERROR_MEMBERS: [&str; 3] = ["error", "errors", "detail"];

/// What an answer to a GET of the rules means. Only [`RulesAnswer::Rules`] replaces the last rules.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RulesAnswer {
    /// A rules document.
    Rules(Box<DynamicRules>),
    /// 304: the last ones still hold.
    NotModified,
    /// A success that carries no rules: not JSON, empty, or an error envelope.
    NotRules { message: String },
    /// A rules document with a member of the wrong type, which `message` names.
    Invalid { message: String },
    /// 429.
    SlowDown { retry_after: Option<Duration> },
    /// 408, 425, 5xx: counts for the breaker.
    Failed { retry_after: Option<Duration> },
    /// Every other status.
    Hold { message: String },
}

/// Reads an answer to a GET of the rules.
pub(crate) fn parse_rules(response: &Response, wall: Timestamp) -> RulesAnswer {
    match Class::of(response.status) {
        Class::Success => read_document(&response.body),
        Class::SlowDown => RulesAnswer::SlowDown { retry_after: retry_after(response, wall) },
        Class::Failed => RulesAnswer::Failed { retry_after: retry_after(response, wall) },
        Class::Other if response.status == 304 => RulesAnswer::NotModified,
        Class::TooLarge | Class::Refused | Class::Other => RulesAnswer::Hold { message: describe(response) },
    }
}

fn read_document(body: &[u8]) -> RulesAnswer {
    match serde_json::from_slice(body) {
        Ok(Value::Object(document)) if bears_rules(&document) => read_rules(document),
        _ => RulesAnswer::NotRules { message: format!("not a rules document: {}", first_line(body)) },
    }
}

/// Whether it says anything that a rules document says, and nothing that an error envelope says.
fn bears_rules(document: &Map<String, Value>) -> bool {
    document.get("success") != Some(&Value::Bool(false))
        && !ERROR_MEMBERS.iter().any(|name| is_truthy(document.get(*name)))
        && RULE_MEMBERS.iter().any(|name| document.contains_key(*name))
}

fn read_rules(document: Map<String, Value>) -> RulesAnswer {
    match DynamicRules::deserialize(&document) {
        Ok(rules) => RulesAnswer::Rules(Box::new(rules)),
        Err(error) => RulesAnswer::Invalid { message: name_culprit(document, &error) },
    }
}

/// The error with the member that it is about: the first that is no rules document on its own.
fn name_culprit(document: Map<String, Value>, error: &serde_json::Error) -> String {
    let culprit = document.into_iter().find_map(|(name, value)| {
        let error = DynamicRules::deserialize(&Map::from_iter([(name.clone(), value)])).err()?;
        Some(format!("rules with a bad `{name}`: {error}"))
    });
    culprit.unwrap_or_else(|| format!("bad rules: {error}"))
}
