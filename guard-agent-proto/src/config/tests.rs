#![allow(clippy::unwrap_used)]

use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const KEY: &str = "0123456789";

fn defaults() -> AgentConfig {
    AgentConfig::builder(KEY).build().unwrap()
}

fn from_json(mut members: Value) -> Result<AgentConfig, ConfigError> {
    members.as_object_mut().unwrap().entry("api_key").or_insert(json!(KEY));
    AgentConfig::from_json(members.to_string())
}

fn fields(error: &ConfigError) -> Vec<&'static str> {
    error.problems.iter().map(|problem| problem.field).collect()
}

/// For every field a value other than its default, in JSON and in text.
const OTHERS: &[(&str, &str, &str)] = &[
    ("enabled", "false", "0"),
    ("api_key", "\"another-key\"", "another-key"),
    ("endpoint", "\"http://h:1/x\"", "http://h:1/x"),
    ("project_id", "\"shop\"", "shop"),
    ("buffer_size", "10", "10"),
    ("buffer_bytes", "4096", "4096"),
    ("buffer_overflow_policy", "\"raise\"", "raise"),
    ("high_watermark_ratio", "0.5", "0.5"),
    ("flush_interval", "0.25", "0.25"),
    ("event_linger", "0", "0"),
    ("batch_max_records", "7", "7"),
    ("batch_max_bytes", "2048", "2048"),
    ("drain", "\"fifo\"", "fifo"),
    ("max_record_age", "3600", "3600"),
    ("dead_letter_capacity", "0", "0"),
    ("max_concurrent_flushes", "1", "1"),
    ("rate_limit", "50", "50"),
    ("rate_window", "30", "30"),
    ("retry_attempts", "0", "0"),
    ("backoff_factor", "0.5", "0.5"),
    ("breaker_threshold", "2", "2"),
    ("breaker_recovery", "1.5", "1.5"),
    ("breaker_recovery_max", "90", "90"),
    ("accept_any_success", "true", "1"),
    ("timeout", "20", "20"),
    ("connect_timeout", "3", "3"),
    ("dynamic_rule_interval", "60", "60"),
    ("accept_any_rules", "true", "1"),
    ("informational_event_types", "[\"a\",\"b\"]", "a, b"),
    ("status_interval", "61", "61"),
    ("enable_events", "false", "false"),
    ("enable_metrics", "false", "FALSE"),
    ("muted_event_types", "[\"a\"]", ",a,"),
    ("sample_rates", "{\"a\":0.5,\"b\":0}", "a=0.5, b = 0"),
    ("sensitive_headers", "[\"x-token\"]", "x-token"),
    ("sensitive_query_params", "[\"q\"]", "q"),
    ("max_payload_size", "64", "64"),
    ("credential_rules", "[\"jwt\",\"card_number\"]", "jwt, card_number"),
    ("ip_privacy", "\"truncate\"", "truncate"),
    ("ip_hash_salt", "\"pepper\"", "pepper"),
    (
        "project_encryption_key",
        "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    ),
    ("payload_signing_secret", "\"topsecret\"", "topsecret"),
    ("compression_enabled", "false", "false"),
    ("compression_threshold", "0", "0"),
    ("guard_version", "\"1.0\"", "1.0"),
    ("guard_core_version", "\"2.0\"", "2.0"),
    ("install_id", "\"host-1\"", "host-1"),
    ("redis_url", "\"redis://h\"", "redis://h"),
    ("redis_key_prefix", "\"shop\"", "shop"),
    ("redis_ca_file", "\"/ca.pem\"", "/ca.pem"),
    ("journal_dir", "\"/journal\"", "/journal"),
    ("journal_records", "70000", "70000"),
    ("journal_bytes", "70000000", "70000000"),
    ("journal_lease", "2.5", "2.5"),
    ("journal_timeout", "0.5", "0.5"),
];

#[test]
fn the_table_of_the_tests_has_every_field() {
    assert!(OTHERS.iter().map(|(field, ..)| field).eq(AgentConfig::FIELDS));
}

#[test]
fn every_field_is_read_from_json_and_text_alike() {
    for (field, json, text) in OTHERS {
        let member: Value = serde_json::from_str(json).unwrap();
        let mut read = from_json(json!({ *field: member })).unwrap();
        assert_ne!(read, defaults(), "{field}");
        let var = format!("GUARD_AGENT_{}", field.to_ascii_uppercase());
        let vars = AgentConfigBuilder::default().api_key(KEY).merge_vars([(var.as_str(), *text)]).build();
        let set = AgentConfig::builder(KEY).set(field, text).build();
        assert_eq!(vars, set, "{field}");
        if *field == "project_encryption_key" {
            // The texts differ in padding only.
            read.project_encryption_key = set.as_ref().unwrap().project_encryption_key.clone();
        }
        assert_eq!(Ok(read), set, "{field}");
    }
}

#[test]
fn setters_and_json_agree() {
    let built = AgentConfig::builder(KEY)
        .enabled(false)
        .endpoint("http://h/api/v1")
        .project_id("p")
        .buffer_size(1)
        .buffer_overflow_policy(OverflowPolicy::Block)
        .flush_interval(secs(1))
        .max_record_age(secs(5))
        .muted_event_types(["a"])
        .sample_rates([("b", 0.25)])
        .payload_signing_secret("s")
        .build();
    let read = from_json(json!({
        "enabled": false, "endpoint": "http://h", "project_id": "p", "buffer_size": 1,
        "buffer_overflow_policy": "block", "flush_interval": 1, "max_record_age": 5,
        "muted_event_types": ["a"], "sample_rates": {"b": 0.25}, "payload_signing_secret": "s",
    }));
    assert_eq!(built, read);
}

#[test]
fn hashing_addresses_demands_a_salt() {
    for salt in ["", " ", "\n"] {
        let error =
            AgentConfig::builder(KEY).ip_privacy(IpPrivacy::Hash).ip_hash_salt(salt).build().unwrap_err();
        assert!(error.to_string().contains("`ip_hash_salt`"), "{error}");
        assert!(AgentConfig::builder(KEY).ip_privacy(IpPrivacy::Truncate).ip_hash_salt(salt).build().is_ok());
    }
    assert!(AgentConfig::builder(KEY).ip_privacy(IpPrivacy::Hash).ip_hash_salt("s").build().is_ok());
}

#[test]
fn wrong_types_are_reported_together_by_field() {
    let error = from_json(json!({
        "enabled": "true", "endpoint": 1, "project_id": [], "buffer_size": 1.5, "buffer_bytes": -1,
        "buffer_overflow_policy": "grow", "high_watermark_ratio": "1", "flush_interval": "30",
        "event_linger": -0.1, "retry_attempts": null, "muted_event_types": "a", "sample_rates": {"a": "b"},
        "sensitive_headers": [1], "timeout": 1e300, "api_key": 1_234_567_890,
    }))
    .unwrap_err();
    let mut named = fields(&error);
    named.sort_unstable();
    assert_eq!(
        named,
        [
            "api_key",
            "buffer_bytes",
            "buffer_overflow_policy",
            "buffer_size",
            "enabled",
            "endpoint",
            "event_linger",
            "flush_interval",
            "high_watermark_ratio",
            "muted_event_types",
            "project_id",
            "retry_attempts",
            "sample_rates",
            "sensitive_headers",
            "timeout",
        ]
    );
    assert!(error.to_string().contains("`buffer_size` is 1.5 but must be a whole number of 0 or more"));
    assert!(!error.to_string().contains("1234567890"), "{error}");
}

#[test]
fn null_is_for_what_may_be_absent() {
    for field in AgentConfig::FIELDS {
        let answer = from_json(json!({ *field: null }));
        if matches!(
            *field,
            "project_id"
                | "max_record_age"
                | "project_encryption_key"
                | "payload_signing_secret"
                | "guard_version"
                | "guard_core_version"
                | "install_id"
                | "redis_url"
                | "redis_ca_file"
                | "journal_dir"
        ) {
            assert_eq!(answer, Ok(defaults()), "{field}");
        } else {
            assert_eq!(fields(&answer.unwrap_err()), [*field]);
        }
    }
}

/// Field, the last value within its bounds, the first beyond them.
const BOUNDS: &[(&str, &str, &str)] = &[
    ("buffer_size", "1", "0"),
    ("buffer_bytes", "1024", "1023"),
    ("buffer_bytes", "2147483648", "2147483649"),
    ("high_watermark_ratio", "1", "NaN"),
    ("flush_interval", "0.01", "0.009"),
    ("event_linger", "60", "60.001"),
    ("batch_max_records", "1", "0"),
    ("batch_max_records", "100000", "100001"),
    ("batch_max_bytes", "1024", "1023"),
    ("batch_max_bytes", "262144", "262145"),
    ("max_record_age", "1", "0.9"),
    ("max_record_age", "315360000", "315360001"),
    ("dead_letter_capacity", "65536", "65537"),
    ("rate_limit", "10", "9"),
    ("rate_limit", "100000", "100001"),
    ("rate_window", "1", "0.5"),
    ("rate_window", "3600", "3601"),
    ("backoff_factor", "0.001", "0"),
    ("breaker_threshold", "1", "0"),
    ("breaker_threshold", "1000000", "1000001"),
    ("breaker_recovery", "0.01", "0.001"),
    ("breaker_recovery", "60", "60.5"),
    ("breaker_recovery_max", "5", "4.9"),
    ("breaker_recovery_max", "86400", "86401"),
    ("timeout", "0.001", "0"),
    ("connect_timeout", "0.001", "0"),
    ("connect_timeout", "30", "30.1"),
    ("dynamic_rule_interval", "60", "59"),
    ("status_interval", "60", "59.999"),
    ("sample_rates", "a=0,b=1", "a=1.1"),
    ("sample_rates", "a=0.5", "a=-0.1"),
    ("sample_rates", "a=0.5", "a=NaN"),
    ("redis_key_prefix", "a:b", "a b"),
    ("redis_key_prefix", "a", ""),
    ("redis_key_prefix", "a", "{a}"),
    ("journal_records", "1", "0"),
    ("journal_records", "4294967296", "4294967297"),
    ("journal_bytes", "1024", "1023"),
    ("journal_bytes", "1099511627776", "1099511627777"),
    ("journal_lease", "1", "0.9"),
    ("journal_lease", "86400", "86401"),
    ("journal_timeout", "0.001", "0"),
    ("journal_timeout", "3600", "3601"),
    ("api_key", "0123456789", "012345678"),
    ("api_key", "0123 456789", "0123\n456789"),
    ("api_key", "0123456789", "0123456789é"),
    ("project_id", "a b", "a\rb"),
    ("install_id", "~", "ü"),
    ("endpoint", "http://h", "ftp://h"),
    (
        "project_encryption_key",
        "//////////////////////////////////////////8=",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==",
    ),
    ("project_encryption_key", " AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8 ", "not base64!"),
];

#[test]
fn a_journal_holds_no_less_than_memory() {
    let small =
        || AgentConfig::builder("0123456789").journal_records(99).journal_bytes(4_096).buffer_size(100);
    assert!(small().build().is_ok(), "without a journal they are without effect");
    let error = small().journal_dir("journal").build().unwrap_err();
    assert_eq!(fields(&error), ["journal_records", "journal_bytes"]);
    assert!(error.to_string().contains("at least `buffer_size`, 100"), "{error}");
    assert!(small().buffer_size(99).buffer_bytes(4_096).journal_dir("journal").build().is_ok());
}

#[test]
fn every_bound_is_kept_and_named() {
    for (field, inside, outside) in BOUNDS {
        let good = AgentConfig::builder(KEY).set(field, inside).build();
        assert!(good.is_ok(), "{field}={inside}: {good:?}");
        let error = AgentConfig::builder(KEY).set(field, outside).build().unwrap_err();
        assert!(
            fields(&error).contains(field) || *field == "breaker_recovery_max",
            "{field}={outside}: {error}"
        );
    }
    for (field, most) in [("project_id", 256), ("install_id", 4_096)] {
        assert!(AgentConfig::builder(KEY).set(field, &"x".repeat(most)).build().is_ok());
        let error = AgentConfig::builder(KEY).set(field, &"x".repeat(most + 1)).build().unwrap_err();
        let long = most + 1;
        assert_eq!(
            error.to_string(),
            format!(
                "invalid configuration: `{field}` is {long} bytes long but must be at most {most} bytes long"
            )
        );
    }
}

#[test]
fn what_the_reference_takes_is_brought_into_bounds_with_a_warning() {
    for (field, given, used) in [
        ("buffer_size", "100000000", "16777216"),
        ("flush_interval", "604800", "86400"),
        ("dynamic_rule_interval", "31536000", "2592000"),
        ("status_interval", "31536000", "2592000"),
        ("timeout", "7200", "3600"),
        ("retry_attempts", "5000", "1000"),
        ("backoff_factor", "600", "300"),
        ("backoff_factor", "0.0001", "0.001"),
        ("high_watermark_ratio", "0", "0.01"),
        ("high_watermark_ratio", "-1", "0.01"),
        ("high_watermark_ratio", "5", "1"),
        ("max_concurrent_flushes", "0", "1"),
        ("max_concurrent_flushes", "-1", "1"),
        ("max_concurrent_flushes", "100", "64"),
        ("compression_threshold", "-1", "0"),
        ("max_payload_size", "0", "64"),
        ("max_payload_size", "-5", "64"),
        ("max_payload_size", "1000000", "131072"),
    ] {
        let from_text = AgentConfig::builder(KEY).set(field, given).build().unwrap();
        let number: Value = serde_json::from_str(given).unwrap();
        assert_eq!(from_json(json!({ field: number })).as_ref(), Ok(&from_text), "{field}={given}");
        assert_eq!(from_text.validate(), Ok(()));
        let within = AgentConfig::builder(KEY).set(field, used).build().unwrap();
        assert_eq!(AgentConfig { warnings: Vec::new(), ..from_text.clone() }, within, "{field}={given}");
        assert!(
            from_text
                .warnings
                .iter()
                .all(|warning| warning.to_string().starts_with(&format!("`{field}` is")))
        );
        assert!(!from_text.warnings.is_empty() && within.warnings.is_empty(), "{field}={given}");
    }
    let config = AgentConfig::builder(KEY).guard_version("é".repeat(300)).build().unwrap();
    assert_eq!(config.guard_version.unwrap().len(), 256);
    assert_eq!(
        config.warnings[0].to_string(),
        "`guard_version` is 600 bytes long: its beginning of 256 bytes is used"
    );
}

#[test]
fn the_redis_of_the_reference_is_read() {
    let config = from_json(json!({
        "redis": {"url": "redis://h", "key_prefix": "shop", "command_timeout_ms": 250, "colour": 1}
    }))
    .unwrap();
    assert_eq!(config.redis_url.unwrap().expose(), "redis://h");
    assert_eq!((config.redis_key_prefix.as_str(), config.journal_timeout), ("shop", millis(250)));
    assert_eq!(config.unknown_fields, ["redis.colour"]);

    assert_eq!(from_json(json!({ "redis": null })), Ok(defaults()));
    let ours = from_json(json!({ "redis": {"url": "redis://a"}, "redis_url": "redis://b" })).unwrap();
    assert_eq!(ours.redis_url.unwrap().expose(), "redis://b");
    for wrong in [json!("redis://:hunter2@h"), json!(1), json!({"url": ["hunter2"]})] {
        let error = from_json(json!({ "redis": wrong })).unwrap_err();
        assert!(error.problems[0].field.starts_with("redis"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    for without in [json!({}), json!({"host": "h", "port": 6379}), json!({"url": null, "key_prefix": "shop"})]
    {
        let error = from_json(json!({ "redis": without })).unwrap_err();
        assert_eq!(error.problems[0].field, "redis");
    }
    let elsewhere = from_json(json!({"redis": {"key_prefix": "shop"}, "redis_url": "redis://h"})).unwrap();
    assert_eq!((elsewhere.redis_key_prefix.as_str(), elsewhere.redis_url.is_some()), ("shop", true));
}

#[test]
fn an_error_names_the_variable_that_the_value_is_from() {
    let vars =
        [("GUARD_AGENT_BUFFER_SIZE", "0"), ("GUARD_AGENT_RATE_LIMIT", "many"), ("GUARD_AGENT_TIMEOUT", "0")];
    let builder = || AgentConfig::builder(KEY).merge_vars(vars);
    let error = builder().build().unwrap_err();
    for told in [
        "`buffer_size` is 0 (from GUARD_AGENT_BUFFER_SIZE) but",
        "`rate_limit` is \"many\" (from GUARD_AGENT_RATE_LIMIT) but",
        "`timeout` is 0 s (from GUARD_AGENT_TIMEOUT) but",
    ] {
        assert!(error.to_string().contains(told), "{error}");
    }
    // A value that comes later is not the variable's.
    let later = builder().timeout(secs(0)).set("rate_limit", "1").merge_json(r#"{"buffer_size":0}"#);
    let error = later.build().unwrap_err();
    assert!(error.problems.iter().filter(|problem| problem.value.contains("from")).count() == 1, "{error}");
    assert_eq!(format!("{error:?}"), error.to_string(), "`main` may return it");
}

#[test]
fn an_unknown_name_is_answered_with_the_one_that_may_be_meant() {
    let config = AgentConfigBuilder::default()
        .merge_json(format!(r#"{{"api_key":"{KEY}","bufer_size":1,"agent_project_id":"a","colour":1}}"#))
        .merge_vars([("GUARD_AGENT_REDIS_URI", "redis://h"), ("GUARD_AGENT_X", "1")])
        .build()
        .unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "the configuration has no field `agent_project_id`; is `project_id` meant?",
            "the configuration has no field `bufer_size`; is `buffer_size` meant?",
            "the configuration has no field `colour`",
            "the configuration has no field `GUARD_AGENT_REDIS_URI`; is `GUARD_AGENT_REDIS_URL` meant?",
            "the configuration has no field `GUARD_AGENT_X`",
        ]
    );
    assert_eq!(config.unknown_fields[3..], ["GUARD_AGENT_REDIS_URI", "GUARD_AGENT_X"]);
}

#[test]
fn problems_come_together_and_read_well() {
    let error = AgentConfig::builder("short")
        .buffer_size(0)
        .status_interval(secs(1))
        .connect_timeout(secs(40))
        .endpoint("https://user:hunter2@h")
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid configuration: `buffer_size` is 0 but must be between 1 and 16777216; \
         `status_interval` is 1 s but must be between 60 s and 2592000 s; \
         `endpoint` is \"https://[secret]@h\" but must be a URL without user name and password; \
         `api_key` is [secret] but must be at least 10 printable ASCII characters without space around them; \
         `connect_timeout` is 40 s but must be at most `timeout`, 30 s"
    );
}

#[test]
fn what_was_changed_after_building_is_checked_again() {
    let mut config = defaults();
    assert_eq!(config.validate(), Ok(()));
    config.rate_limit = 0;
    config.endpoint.push('/');
    assert_eq!(fields(&config.validate().unwrap_err()), ["rate_limit", "endpoint"]);
}

#[test]
fn blank_ids_and_empty_secrets_are_none() {
    let config = AgentConfig::builder(KEY)
        .project_id(" ")
        .install_id("\t")
        .project_encryption_key("")
        .payload_signing_secret("")
        .sensitive_headers(["", " ", "x"])
        .build()
        .unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "`project_encryption_key` is empty: records are not encrypted",
            "`payload_signing_secret` is empty: requests are not signed",
        ]
    );
    let config = AgentConfig { warnings: Vec::new(), ..config };
    assert_eq!(config, AgentConfig { sensitive_headers: vec![String::from("x")], ..defaults() });
    let trimmed = AgentConfig::builder(KEY).project_id(" shop ").build().unwrap();
    assert_eq!(trimmed.project_id.as_deref(), Some("shop"));
}

#[test]
fn a_blank_value_of_what_protects_is_an_error_that_names_it() {
    for (field, _) in PROTECTING {
        let variable = format!("GUARD_AGENT_{}", field.to_ascii_uppercase());
        for blank in [" ", "\n", "\t \r\n", "\u{a0}"] {
            let from_variable = AgentConfig::builder(KEY).merge_vars([(variable.as_str(), blank)]).build();
            let error = from_variable.unwrap_err();
            assert_eq!(fields(&error), [field], "{blank:?}");
            assert!(error.to_string().contains(&format!("blank (from {variable})")), "{error}");
            let set = AgentConfig::builder(KEY).set(field, blank).build().unwrap_err();
            assert_eq!(fields(&set), [field], "{blank:?}");
            assert_eq!(fields(&from_json(json!({ field: blank })).unwrap_err()), [field], "{blank:?}");
        }
    }
    for field in ["redis_url", "redis_ca_file", "journal_dir"] {
        assert_eq!(fields(&from_json(json!({ field: "" })).unwrap_err()), [field]);
        assert_eq!(fields(&AgentConfig::builder(KEY).set(field, "").build().unwrap_err()), [field]);
    }
    assert_eq!(fields(&from_json(json!({ "redis": {"url": ""} })).unwrap_err()), ["redis_url"]);
    let mut changed = defaults();
    changed.project_encryption_key = Some(Secret::new(" "));
    changed.payload_signing_secret = Some(Secret::new("\n"));
    changed.redis_ca_file = Some(String::new());
    let problems = changed.validate().unwrap_err();
    assert_eq!(fields(&problems), ["project_encryption_key", "payload_signing_secret", "redis_ca_file"]);
}

#[test]
fn white_space_around_a_secret_is_taken_off_with_a_warning() {
    for (field, secret) in [
        ("api_key", "sesame sesame"),
        ("ip_hash_salt", "sesame sesame"),
        ("project_encryption_key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ("payload_signing_secret", "sesame sesame"),
        ("redis_url", "redis://:sesame@h"),
    ] {
        let plain = AgentConfig::builder(KEY).set(field, secret).build().unwrap();
        let variable = format!("GUARD_AGENT_{}", field.to_ascii_uppercase());
        for padded in [format!("{secret}\n"), format!("{secret}\r\n"), format!(" \t{secret}\u{a0}")] {
            for (from, builder) in [
                ("", AgentConfig::builder(KEY).set(field, &padded)),
                ("", AgentConfig::builder(KEY).merge_json(json!({ field: &padded }).to_string())),
                (
                    &format!(" (from {variable})"),
                    AgentConfig::builder(KEY).merge_vars([(&variable, &padded)]),
                ),
            ] {
                let config = builder.build().unwrap();
                let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
                let told = format!(
                    "`{field}` has white space around it, such as a line end{from}: it is used without"
                );
                assert_eq!(warnings, [told], "{padded:?}");
                assert_eq!(AgentConfig { warnings: Vec::new(), ..config }, plain, "{padded:?}");
            }
        }
    }
    let padded = AgentConfig::builder("0123456789\n").payload_signing_secret("sesame\n").build().unwrap();
    assert_eq!((padded.api_key.expose(), padded.warnings.len()), ("0123456789", 2));
    let mut changed = defaults();
    changed.api_key = Secret::new("0123456789\n");
    changed.payload_signing_secret = Some(Secret::new(" sesame"));
    assert_eq!(fields(&changed.validate().unwrap_err()), ["api_key", "payload_signing_secret"]);
}

#[test]
fn an_empty_value_of_what_protects_is_none_with_a_warning() {
    for (field, effect) in PROTECTING {
        let variable = format!("GUARD_AGENT_{}", field.to_ascii_uppercase());
        let empty = || AgentConfig::builder(KEY).merge_vars([(variable.as_str(), "")]);
        let config = empty().build().unwrap();
        let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [format!("`{field}` is empty (from {variable}): {effect}")]);
        assert_eq!(AgentConfig { warnings: Vec::new(), ..config }, defaults());
        let (_, _, other) = OTHERS.iter().find(|(name, ..)| *name == field).unwrap();
        assert!(empty().set(field, other).build().unwrap().warnings.is_empty(), "{field}");
        assert!(AgentConfig::builder(KEY).set(field, "none").build().unwrap().warnings.is_empty(), "{field}");
    }
    for field in [ENCRYPTION_KEY, SIGNING_SECRET] {
        for config in [AgentConfig::builder(KEY).set(field, "").build(), from_json(json!({ field: "" }))] {
            let config = config.unwrap();
            assert!(
                matches!(config.warnings[..], [ConfigWarning::Empty { field: told, .. }] if told == field)
            );
            assert_eq!(AgentConfig { warnings: Vec::new(), ..config }, defaults());
        }
    }
}

#[test]
fn connecting_never_takes_longer_than_the_request_by_default() {
    let config = AgentConfig::builder(KEY).timeout(secs(5)).build().unwrap();
    assert_eq!(config.connect_timeout, secs(5));
    assert_eq!(defaults().connect_timeout, secs(10));
}

#[test]
fn a_disabled_agent_needs_no_key() {
    assert!(AgentConfigBuilder::default().enabled(false).build().is_ok());
    assert_eq!(fields(&AgentConfigBuilder::default().build().unwrap_err()), ["api_key"]);
}

#[test]
fn unknown_names_are_listed() {
    let config = AgentConfigBuilder::default()
        .merge_json(format!(r#"{{"api_key":"{KEY}","bufer_size":1}}"#))
        .merge_vars([
            ("GUARD_AGENT_NO", "1"),
            ("GUARD_AGENT_EMPTY", ""),
            ("HOME", "/"),
            ("guard_agent_x", "1"),
        ])
        .build()
        .unwrap();
    assert_eq!(config.unknown_fields, ["bufer_size", "GUARD_AGENT_NO"]);
    let error = AgentConfig::builder(KEY).set("bufer_size", "1").build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid configuration: `field name` is \"bufer_size\" but must be that of a configuration field, \
         such as `buffer_size`"
    );
}

#[test]
fn later_wins_and_empty_variables_do_not_count() {
    let config = AgentConfigBuilder::default()
        .merge_vars([("GUARD_AGENT_API_KEY", KEY), ("GUARD_AGENT_TIMEOUT", "")])
        .merge_json(r#"{"buffer_size":1,"buffer_size":2,"max_record_age":9}"#)
        .set("buffer_size", "3")
        .set("max_record_age", "none")
        .set("sensitive_headers", "")
        .build()
        .unwrap();
    let expected = AgentConfig { buffer_size: 3, sensitive_headers: Vec::new(), ..defaults() };
    assert_eq!(config, expected);
}

#[test]
fn what_is_not_an_object_is_refused() {
    for json in ["", "[]", "null", "{", "\u{0}", r#"{"api_key":}"#] {
        let error = AgentConfig::builder(KEY).merge_json(json).build().unwrap_err();
        assert_eq!(fields(&error), ["JSON"], "{json}");
    }
}

#[test]
fn secrets_never_show() {
    const SECRET: &str = "hunter2-hunter2\n";
    let builder = |name| AgentConfig::builder(KEY).set(name, SECRET);
    for name in ["api_key", "ip_hash_salt", "project_encryption_key", "payload_signing_secret", "redis_url"] {
        let shown = match builder(name).build() {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!format!("{:?}", builder(name)).contains("hunter2"));
        let wrong_type = from_json(json!({ name: ["hunter2"] })).unwrap_err();
        assert!(!format!("{wrong_type} {wrong_type:?}").contains("hunter2"));
    }
    for endpoint in ["https://hunter2@h", "https://h?token=hunter2"] {
        let builder = AgentConfig::builder(KEY).endpoint(endpoint);
        assert!(!format!("{builder:?}").contains("hunter2"));
        let error = builder.build().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[test]
fn defaults_are_those_of_the_promises() {
    let config = defaults();
    assert_eq!((config.rate_limit, config.rate_window), (100, secs(60)));
    assert_eq!((config.buffer_size, config.batch_max_bytes), (65_536, 262_144));
    assert!(config.informational_event_types.iter().all(|name| event_type::ALL.contains(&name.as_str())));
    assert_eq!(config.sensitive_headers, ["authorization", "proxy-authorization", "cookie", "x-api-key"]);
    assert!(config.sensitive_query_params.iter().any(|name| name == "access_token"));
}

#[test]
fn an_endpoint_is_normalized_once() {
    for (given, base) in [("HTTPS://h/api/v1/", "https://h"), ("https://h/api/v1/api/v1", "https://h/api/v1")]
    {
        let config = AgentConfig::builder(KEY).endpoint(given).build().unwrap();
        assert_eq!(config.endpoint, base);
        assert_eq!(config.validate(), Ok(()));
    }
}

#[cfg(feature = "std")]
#[test]
fn the_environment_is_read() {
    assert_eq!(AgentConfig::from_env(), AgentConfigBuilder::default().merge_vars(std::env::vars()).build());
}

proptest! {
    #[test]
    fn no_input_panics(
        json in "\\PC{0,40}",
        name in prop::sample::select(AgentConfig::FIELDS),
        text in "\\PC{0,20}|-?[0-9.e]{1,20}|[a-z]=[0-9.]{1,4}",
        endpoint in "https?://[a-z@:/?#\\[\\]0-9.]{0,20}",
    ) {
        let _ = AgentConfig::from_json(&json);
        let _ = AgentConfig::builder(KEY).set(name, &text).build();
        let _ = AgentConfig::builder(KEY).merge_json(json!({ name: text }).to_string()).build();
        if let Ok(config) = AgentConfig::builder(KEY).endpoint(endpoint).build() {
            prop_assert_eq!(config.validate(), Ok(()));
        }
    }
}

/// A field that `Serialize` forgets, or writes in a way that is not read back, shows here: the rows of
/// the other tests give each field a value other than its default.
#[test]
fn a_configuration_is_read_back_as_it_was_written() {
    for (field, _, text) in OTHERS {
        let config = AgentConfigBuilder::default().api_key(KEY).set(field, text).build().unwrap();
        let json = serde_json::to_value(&config).unwrap();
        assert!(AgentConfig::FIELDS.iter().all(|field| json.get(field).is_some()));
        assert_eq!(serde_json::from_value::<AgentConfig>(json).unwrap(), config, "{field}");
    }
}
