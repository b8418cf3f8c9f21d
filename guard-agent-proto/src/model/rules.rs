use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::object::{Ignored, deserialize_object};
use crate::Timestamp;

/// Declares the document once: type, wire name and default of each member.
macro_rules! rules {
    ($(#[$model_doc:meta])* $model:ident { $($(#[$doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$model_doc])*
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[non_exhaustive]
        pub struct $model {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for $model {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        deserialize_object! {
            $model, "an object of dynamic rules",
            required: {},
            optional: { $($field),* },
            lenient: {},
            unknown: Ignored,
            start: $model::default(),
            check: $model::check,
        }
    };
}

rules! {
    /// Dynamic security rules, as the platform gives them out.
    ///
    /// # When they are asked for
    ///
    /// Only with a `project_id`. At the start; then after each `ttl`, but no sooner than 30 s and no later than
    /// `dynamic_rule_interval`; at once and 1, 2.5, 6 and 15 s after an event was delivered whose type is not one of
    /// `informational_event_types`; and on `refresh_rules`. After a failure the last good document stays in force, and
    /// the next attempt is made after a backoff of at most 60 s, or when the platform says.
    ///
    /// # What they mean
    ///
    /// The agent brings the document and applies none of it: that is the work of an engine, or of the application.
    /// What is said of each member is how the Guard engine (guard-core 4.4) reads it, so that the same document means
    /// the same everywhere:
    ///
    /// * A document replaces the one before it: each is applied to the application's own settings, not to what
    ///   the last one made of them. A member that is empty or null leaves the application's setting alone.
    /// * In an emergency nothing else counts: who is not on `emergency_whitelist` is refused before any other
    ///   check. Then come bans and address lists, countries, cloud providers, user agents, rate limits, and the search
    ///   for attacks; the first that refuses decides.
    /// * An address on both lists is let through: `ip_whitelist` lifts bans, also those of `ip_blacklist`.
    /// * Regular expressions are Python's (`re`), searched anywhere in the text, without regard to case, and with
    ///   `^` and `$` at every line. Most are the same in the `regex` crate with `(?im)` in front; look-around and
    ///   back-references are not.
    ///
    /// # What does not replace the last ones
    ///
    /// An answer that is no rules document or has a member of the wrong type; one that ended before it came; an older
    /// `version` under the same `rule_id` than the one in force; a document with nothing but an id where the one in force
    /// says something; and one that names no list, not even an empty one, where the one in force has lists. For lists are
    /// emptied by naming one of them, `"ip_blacklist":[]`. The last three are taken with `accept_any_rules`. Each is
    /// reported as an error of the stage [`Rules`](crate::ErrorStage::Rules).
    ///
    /// An emergency must not wait for that: a document that names no list takes effect if it switches `emergency_mode` on,
    /// or off by name, and has the lists of the one before it, `endpoint_rate_limits` included, until its own end. With
    /// `accept_any_rules` it has none.
    ///
    /// # Reading
    ///
    /// Reading is tolerant of what is absent (defaults) and unknown (ignored), and strict about types: one
    /// wrong member refuses the document, with an error that names it.
    ///
    /// ```
    /// # use guard_agent_proto::DynamicRules;
    ///
    /// let rules: DynamicRules = serde_json::from_str(r#"{"ip_blacklist":["192.0.2.0/24"],"novelty":1}"#)?;
    /// assert_eq!((rules.ip_blacklist.len(), rules.ttl), (1, 300));
    ///
    /// let error = serde_json::from_str::<DynamicRules>(r#"{"ttl":"60"}"#).unwrap_err();
    /// assert!(error.to_string().starts_with("`ttl`: invalid type: string"));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    DynamicRules {
        /// Names the document. Of two with the same name the engine takes the one with the higher `version`, and so does the
        /// agent, except that equal ones replace each other. Under another name every version replaces what is in force:
        /// versions of different documents say nothing about each other.
        rule_id: String = String::from("default-rule"),
        /// Grows with each change of the document. A document without is the first version.
        version: i64 = 1,
        /// When it was made.
        timestamp: Timestamp = Timestamp::default(),
        /// Hard end of its validity.
        expires_at: Option<Timestamp> = None,
        /// Freshness in seconds; zero or less means that it is never fresh.
        ttl: i64 = 300,
        /// Addresses, or networks as `192.0.2.0/24`, that are banned for `ip_ban_duration` from when the document is
        /// applied.
        ip_blacklist: Vec<String> = Vec::new(),
        /// Addresses whose bans are lifted, of whatever origin. It refuses nobody else.
        ip_whitelist: Vec<String> = Vec::new(),
        /// Seconds that a ban of `ip_blacklist` lasts.
        ip_ban_duration: i64 = 3600,
        /// Blocked countries, as two letters of any case.
        blocked_countries: Vec<String> = Vec::new(),
        /// The only countries that are let through, if any, as two letters of any case.
        whitelist_countries: Vec<String> = Vec::new(),
        /// Requests per window of a client, over all endpoints; it holds beside `endpoint_rate_limits`, which are
        /// looked at first. Zero is none.
        global_rate_limit: Option<i64> = None,
        /// Seconds of that window; without it the application's window stays.
        global_rate_window: Option<i64> = None,
        /// Limits of single endpoints, for each client. A key is the path of a request exactly as it came, such as
        /// `/api/login`: without method, host and query, and no pattern or template of a route.
        endpoint_rate_limits: BTreeMap<String, RateLimit> = BTreeMap::new(),
        /// Blocked cloud providers: `AWS`, `GCP`, `Azure` and so on, spelled so. What follows a `:!` is a part of the
        /// provider that is not blocked.
        blocked_cloud_providers: BTreeSet<String> = BTreeSet::new(),
        /// Regular expressions; a user agent in which one is found is blocked.
        blocked_user_agents: Vec<String> = Vec::new(),
        /// Regular expressions that the search for attacks looks for beside its own.
        suspicious_patterns: Vec<String> = Vec::new(),
        /// Whether requests are searched for attacks; `None` leaves the application's setting alone.
        enable_penetration_detection: Option<bool> = None,
        /// Whether addresses are banned; `None` leaves the application's setting alone.
        enable_ip_banning: Option<bool> = None,
        /// Whether rates are limited; `None` leaves the application's setting alone.
        enable_rate_limiting: Option<bool> = None,
        /// Whether exceeding a rate leads to a ban; `None` leaves the application's setting alone.
        enable_rate_limit_auto_ban: Option<bool> = None,
        /// Offences until a ban, at least 1.
        auto_ban_threshold: Option<i64> = None,
        /// Seconds of such a ban, at least 1.
        auto_ban_duration: Option<i64> = None,
        /// Whether there is an emergency: everybody who is not on `emergency_whitelist` is refused (the engine answers
        /// 503), and `auto_ban_threshold` counts half. It does so without `emergency_whitelist_only` too.
        emergency_mode: bool = false,
        /// Addresses and networks that are let through in an emergency.
        emergency_whitelist: Vec<String> = Vec::new(),
        /// Whether the platform means nobody else to be let through. The engine does not look at it, for
        /// `emergency_mode` alone says so, and without that it means nothing.
        emergency_whitelist_only: bool = false,
        /// For people.
        message: Option<String> = None,
    }
}

impl DynamicRules {
    /// Has the lists of another document instead of its own.
    pub(crate) fn take_lists(&mut self, other: &Self) {
        macro_rules! take {
            ($($list:ident),*) => {
                $(self.$list.clone_from(&other.$list);)*
            };
        }
        take!(
            ip_blacklist,
            ip_whitelist,
            blocked_countries,
            whitelist_countries,
            blocked_cloud_providers,
            blocked_user_agents,
            suspicious_patterns,
            endpoint_rate_limits,
            emergency_whitelist
        );
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.auto_ban_threshold.is_some_and(|offences| offences < 1) {
            return Err("`auto_ban_threshold`: must be at least 1");
        }
        if self.auto_ban_duration.is_some_and(|seconds| seconds < 1) {
            return Err("`auto_ban_duration`: must be at least 1");
        }
        Ok(())
    }
}

/// So many requests per window: `[requests, window]` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(i64, i64)", into = "(i64, i64)")]
pub struct RateLimit {
    /// Requests that are let through.
    pub requests: i64,
    /// Seconds of the window.
    pub window: i64,
}

impl From<(i64, i64)> for RateLimit {
    fn from((requests, window): (i64, i64)) -> Self {
        Self { requests, window }
    }
}

impl From<RateLimit> for (i64, i64) {
    fn from(limit: RateLimit) -> Self {
        (limit.requests, limit.window)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloc::format;
    use alloc::string::ToString;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Result<DynamicRules, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_the_contracts() {
        assert_eq!(read("{}").unwrap(), DynamicRules::default());
        assert_eq!(
            serde_json::to_value(DynamicRules::default()).unwrap(),
            json!({
                "rule_id": "default-rule", "version": 1, "ttl": 300,
                "timestamp": "1970-01-01T00:00:00Z", "expires_at": null,
                "ip_blacklist": [], "ip_whitelist": [], "ip_ban_duration": 3600,
                "blocked_countries": [], "whitelist_countries": [],
                "blocked_user_agents": [], "suspicious_patterns": [], "emergency_whitelist": [],
                "blocked_cloud_providers": [],
                "global_rate_limit": null, "global_rate_window": null, "endpoint_rate_limits": {},
                "enable_penetration_detection": null, "enable_ip_banning": null,
                "enable_rate_limiting": null, "enable_rate_limit_auto_ban": null,
                "auto_ban_threshold": null, "auto_ban_duration": null,
                "emergency_mode": false, "emergency_whitelist_only": false, "message": null,
            })
        );
    }

    #[test]
    fn null_is_legal_only_where_it_is_the_default() {
        let Value::Object(defaults) = serde_json::to_value(DynamicRules::default()).unwrap() else {
            unreachable!()
        };
        for (name, default) in defaults {
            let answer = read(&format!(r#"{{"{name}":null}}"#));
            if default.is_null() {
                assert_eq!(answer, Ok(DynamicRules::default()), "{name}");
            } else {
                assert!(answer.unwrap_err().starts_with(&format!("`{name}`: ")), "{name}");
            }
        }
    }

    #[test]
    fn errors_name_the_member() {
        for (member, value) in [
            ("ttl", "\"60\""),
            ("ttl", "1.5"),
            ("version", "[]"),
            ("timestamp", "\"soon\""),
            ("expires_at", "true"),
            ("ip_blacklist", "\"192.0.2.7\""),
            ("ip_blacklist", "[1]"),
            ("blocked_cloud_providers", "{}"),
            ("endpoint_rate_limits", r#"{"/a":[1]}"#),
            ("endpoint_rate_limits", r#"{"/a":[1,2,3]}"#),
            ("endpoint_rate_limits", r#"{"/a":[1,"2"]}"#),
            ("endpoint_rate_limits", r#"{"/a":null}"#),
            ("enable_ip_banning", "1"),
            ("auto_ban_threshold", "0"),
            ("auto_ban_duration", "-1"),
            ("emergency_mode", "\"true\""),
            ("message", "1"),
        ] {
            let error = read(&format!(r#"{{"unknown":{{}},"{member}":{value}}}"#)).unwrap_err();
            assert!(error.starts_with(&format!("`{member}`: ")), "{error}");
        }
        for document in ["[]", "null", "1", "\"\""] {
            assert!(read(document).unwrap_err().contains("an object of dynamic rules"), "{document}");
        }
    }

    #[test]
    fn odd_but_legal_documents_are_read() {
        let rules = read(
            r#"{"ttl":-5,"timestamp":"2026-01-02 03:04:05+02:00","expires_at":"2026-01-02T03:04:05",
                "blocked_cloud_providers":["aws","gcp","aws"],"endpoint_rate_limits":{"/a":[5,60]},
                "auto_ban_threshold":1,"auto_ban_duration":1,"ttl":-6}"#,
        )
        .unwrap();
        assert_eq!(rules.ttl, -6);
        assert_eq!(rules.timestamp.to_string(), "2026-01-02T01:04:05Z");
        assert_eq!(rules.expires_at.unwrap().to_string(), "2026-01-02T03:04:05Z");
        assert!(rules.blocked_cloud_providers.iter().eq(["aws", "gcp"]));
        assert_eq!(rules.endpoint_rate_limits["/a"], RateLimit { requests: 5, window: 60 });
    }

    proptest! {
        #[test]
        fn rules_come_back_as_written(
            numbers in any::<[i64; 3]>(),
            expires_at in any::<Option<i64>>(),
            texts in prop::collection::vec("\\PC{0,9}", 0..4),
            switch in any::<Option<bool>>(),
            count in prop::option::of(1..i64::MAX),
            message in prop::option::of("\\PC{0,9}"),
        ) {
            let rules = DynamicRules {
                version: numbers[0],
                ttl: numbers[1],
                expires_at: expires_at.map(Timestamp::from_unix_micros),
                ip_blacklist: texts.clone(),
                blocked_cloud_providers: texts.iter().cloned().collect(),
                endpoint_rate_limits: texts
                    .iter()
                    .map(|path| (path.clone(), RateLimit { requests: numbers[0], window: numbers[2] }))
                    .collect(),
                enable_ip_banning: switch,
                auto_ban_threshold: count,
                message,
                ..DynamicRules::default()
            };
            prop_assert_eq!(read(&serde_json::to_string(&rules).unwrap()).unwrap(), rules);
        }
    }
}
