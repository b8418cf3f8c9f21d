use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::response::{Class, describe, is_truthy, quote, retry_after, without_mark};
use crate::message::without_value;
use crate::{DynamicRules, Response, Timestamp, read_json};

const ID: &str = "rule_id";
/// Members that make an object a rules document. Dates, versions and messages are in many other
/// documents too.
const RULE_MEMBERS: [&str; 21] = [
    ID,
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
    EMERGENCY,
    "emergency_whitelist",
    "emergency_whitelist_only",
];
/// Those that list what is refused, let through or counted.
const LISTS: [&str; 9] = [
    "ip_blacklist",
    "ip_whitelist",
    "blocked_countries",
    "whitelist_countries",
    "blocked_cloud_providers",
    "blocked_user_agents",
    "suspicious_patterns",
    "endpoint_rate_limits",
    "emergency_whitelist",
];
const EMERGENCY: &str = "emergency_mode";
/// Members of an error envelope, when they say anything.
const ERROR_MEMBERS: [&str; 3] = ["error", "errors", "detail"];

/// What an answer to a GET of the rules means. Only [`RulesAnswer::Rules`] may replace the last rules.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RulesAnswer {
    /// A rules document.
    Rules { rules: Box<DynamicRules>, named: Named },
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

/// What a rules document names, empty or not. What it does not name has its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// Nothing but what it is, from when and for how long.
    Nothing,
    /// Settings alone, and not `emergency_mode`.
    Settings,
    /// Settings alone, `emergency_mode` among them.
    Emergency,
    /// A list, whatever else.
    Lists,
}

/// Reads an answer to a GET of the rules.
pub(crate) fn parse_rules(response: &Response, wall: Timestamp) -> RulesAnswer {
    match Class::of(response.status) {
        Class::Success => read_document(response),
        Class::SlowDown => RulesAnswer::SlowDown { retry_after: retry_after(response, wall) },
        Class::Failed => RulesAnswer::Failed { retry_after: retry_after(response, wall) },
        Class::Other if response.status == 304 => RulesAnswer::NotModified,
        Class::TooLarge | Class::Refused | Class::Other => RulesAnswer::Hold { message: describe(response) },
    }
}

fn read_document(response: &Response) -> RulesAnswer {
    match read_json(without_mark(&response.body)) {
        Ok(Value::Object(document)) if bears_rules(&document) => read_rules(&document, response),
        _ => RulesAnswer::NotRules { message: format!("not a rules document: {}", quote(response)) },
    }
}

/// Whether it says anything that a rules document says, and nothing that an error envelope says.
fn bears_rules(document: &Map<String, Value>) -> bool {
    document.get("success") != Some(&Value::Bool(false))
        && !ERROR_MEMBERS.iter().any(|name| is_truthy(document.get(*name)))
        && RULE_MEMBERS.iter().any(|name| document.contains_key(*name))
}

fn named(document: &Map<String, Value>) -> Named {
    let names = |name: &str| document.contains_key(name);
    if LISTS.into_iter().any(names) {
        Named::Lists
    } else if names(EMERGENCY) {
        Named::Emergency
    } else if RULE_MEMBERS.into_iter().any(|name| name != ID && names(name)) {
        Named::Settings
    } else {
        Named::Nothing
    }
}

/// The error names the member.
fn read_rules(document: &Map<String, Value>, response: &Response) -> RulesAnswer {
    match DynamicRules::deserialize(document) {
        Ok(rules) => RulesAnswer::Rules { rules: Box::new(rules), named: named(document) },
        Err(_) if response.confidential => {
            RulesAnswer::Invalid { message: format!("bad rules: {}", quote(response)) }
        }
        Err(error) => RulesAnswer::Invalid { message: format!("bad rules: {}", without_value(error)) },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloc::borrow::ToOwned;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: impl AsRef<[u8]>) -> RulesAnswer {
        let body = body.as_ref().to_vec();
        parse_rules(&Response { status, body, ..Response::default() }, Timestamp::default())
    }

    #[test]
    fn what_repeats_our_credentials_is_not_quoted() {
        for (status, body, quoted) in [
            (200, "the key", true),
            (200, r#"{"error":"the key"}"#, true),
            (200, r#"{"rule_id":"a","version":"the key"}"#, false),
            (401, "the key", true),
        ] {
            let plain = format!("{:?}", answer(status, body));
            assert_eq!(plain.contains("the key"), quoted, "{plain}");
            let body = body.as_bytes().to_vec();
            let response = Response { status, body, confidential: true, ..Response::default() };
            let hidden = format!("{:?}", parse_rules(&response, Timestamp::default()));
            assert!(hidden.contains("credentials") && !hidden.contains("the key"), "{hidden}");
        }
    }

    #[test]
    fn documents_with_a_rule_are_rules() {
        for (body, blacklist) in [
            (r#"{"ip_blacklist":["192.0.2.7"]}"#, &["192.0.2.7"][..]),
            (r#"{"rule_id":"r1","ttl":60,"unknown":[1],"ip_blacklist":[]}"#, &[]),
            (
                r#"{"rule_id":"r1","error":null,"errors":[],"detail":"","success":true,"emergency_mode":false}"#,
                &[],
            ),
            (" {\"emergency_mode\":false}\n", &[]),
            ("\u{feff}{\"emergency_mode\":false}", &[]),
        ] {
            let RulesAnswer::Rules { rules, .. } = answer(200, body) else {
                panic!("{body}");
            };
            assert_eq!(rules.ip_blacklist, blacklist, "{body}");
        }
    }

    #[test]
    fn documents_are_told_apart_by_what_they_name() {
        let named_by = |body: &str| {
            let RulesAnswer::Rules { rules, named } = answer(200, body) else { panic!("{body}") };
            assert_eq!(rules.rule_id, "r1");
            named
        };
        for body in [
            r#"{"rule_id":"r1"}"#,
            r#"{"rule_id":"r1","version":7,"ttl":60,"unknown":[1]}"#,
            r#"{"rule_id":"r1","error":null,"errors":[],"detail":"","success":true}"#,
            r#"{"rule_id":"r1","message":"none","expires_at":null,"timestamp":"2026-01-02T03:04:05Z"}"#,
        ] {
            assert_eq!(named_by(body), Named::Nothing, "{body}");
        }
        let Value::Object(document) = serde_json::to_value(DynamicRules::default()).unwrap() else {
            panic!("not an object");
        };
        for (name, value) in document.iter().filter(|(name, _)| RULE_MEMBERS[1..].contains(&name.as_str())) {
            let named = named_by(&format!(r#"{{"rule_id":"r1","version":5,"{name}":{value}}}"#));
            let expected = if value.is_array() || value.is_object() {
                Named::Lists
            } else if name == "emergency_mode" {
                Named::Emergency
            } else {
                Named::Settings
            };
            assert_eq!(named, expected, "{name}");
        }
        assert_eq!(named_by(r#"{"rule_id":"r1","emergency_mode":true,"ip_whitelist":[]}"#), Named::Lists);
        let RulesAnswer::Invalid { .. } = answer(200, r#"{"rule_id":"r1","ttl":"soon"}"#) else { panic!() };
    }

    #[test]
    fn what_is_no_rules_document_never_replaces_rules() {
        for body in [
            "",
            "{}",
            "[]",
            "null",
            r#""rules""#,
            "<html>",
            r#"{"detail":"maintenance"}"#,
            r#"{"success":false,"ip_blacklist":[]}"#,
            r#"{"error":"x","ip_blacklist":[]}"#,
            r#"{"errors":["x"],"ip_blacklist":[]}"#,
            r#"{"detail":{"code":1},"ip_blacklist":[]}"#,
            r#"{"message":"hello","timestamp":"2026-01-02T03:04:05Z","ttl":1,"expires_at":null,"version":2}"#,
            r#"{"ip_blacklist":["192.0.2.7"]"#,
        ] {
            for status in [200, 201, 204] {
                let message = format!("not a rules document: {}", body.trim());
                assert_eq!(answer(status, body), RulesAnswer::NotRules { message }, "{body}");
            }
        }
    }

    #[test]
    fn a_member_of_the_wrong_type_is_named() {
        for (body, member) in [
            (r#"{"ip_blacklist":null}"#, "ip_blacklist"),
            (r#"{"rule_id":"r1","ttl":"soon"}"#, "ttl"),
            (r#"{"rule_id":"r1","timestamp":"soon"}"#, "timestamp"),
            (r#"{"emergency_mode":null,"ip_blacklist":["192.0.2.7"]}"#, "emergency_mode"),
            (r#"{"auto_ban_threshold":0}"#, "auto_ban_threshold"),
        ] {
            let RulesAnswer::Invalid { message } = answer(200, body) else {
                panic!("{body}");
            };
            assert!(message.contains(&format!("`{member}`")), "{message}");
        }
    }

    #[test]
    fn other_statuses() {
        assert_eq!(answer(304, ""), RulesAnswer::NotModified);
        for status in [0, 301, 400, 401, 403, 404, 413, 422] {
            assert_eq!(answer(status, "no"), RulesAnswer::Hold { message: format!("HTTP {status}: no") });
        }
        let slow = |status| {
            let retry_after = Some("7".to_owned());
            parse_rules(&Response { status, retry_after, ..Response::default() }, Timestamp::default())
        };
        let retry_after = Some(Duration::from_secs(7));
        assert_eq!(slow(429), RulesAnswer::SlowDown { retry_after });
        for status in [408, 425, 500, 503] {
            assert_eq!(slow(status), RulesAnswer::Failed { retry_after });
        }
    }

    #[test]
    fn every_member_of_the_model_is_classed() {
        let Value::Object(document) = serde_json::to_value(DynamicRules::default()).unwrap() else {
            panic!("not an object");
        };
        let others = ["version", "timestamp", "expires_at", "ttl", "message"];
        let mut known = Vec::from_iter(RULE_MEMBERS.into_iter().chain(others).map(|name| name.to_string()));
        known.sort();
        let mut members = Vec::from_iter(document.into_iter().map(|(name, _)| name));
        members.sort();
        assert_eq!(known, members);
    }

    #[test]
    fn large_documents_are_read_or_refused_without_harm() {
        let addresses: Vec<_> =
            (0..300_000_u32).map(|n| format!("{}.{}.{}.1", n >> 16, n >> 8 & 255, n & 255)).collect();
        let document = serde_json::json!({"rule_id": "r", "ip_blacklist": addresses}).to_string();
        let RulesAnswer::Rules { rules, .. } = answer(200, &document) else { panic!() };
        assert_eq!(rules.ip_blacklist.len(), 300_000);
        // Cut off as answers are.
        assert!(document.len() > Response::MAX_BODY);
        let cut = answer(200, &document[..Response::MAX_BODY]);
        assert!(matches!(cut, RulesAnswer::NotRules { .. }));
        let wrong = document.replace("\"r\"", "7");
        let RulesAnswer::Invalid { message } = answer(200, wrong) else { panic!() };
        assert_eq!(message, "bad rules: `rule_id`: invalid type: integer, expected a string");
        for open in ["[", "{\"rule_id\":", "[{\"a\":", "\"", "{\"ip_blacklist\":[\"a\",[["] {
            let deep = open.repeat((1 << 20) / open.len());
            let RulesAnswer::NotRules { message } = answer(200, deep) else { panic!("{open}") };
            assert!(message.len() < 1_000, "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(status in prop_oneof![Just(200_u16), any::<u16>()], body: Vec<u8>) {
            answer(status, body);
        }

        #[test]
        fn no_document_panics(body in
            r#"\{"(ip_blacklist|ttl|timestamp|endpoint_rate_limits|version|expires_at)":(-?[0-9]{1,25}(\.5|e300)?|null|\["a"\]|\{"/a":\[-?[0-9]{1,20},1\]\}|"[0-9T:. Z+-]{0,32}")\}"#
        ) {
            answer(200, body);
        }
    }
}
