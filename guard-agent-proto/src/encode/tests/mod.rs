#![allow(clippy::unwrap_used)]

mod addresses;
#[cfg(feature = "std")]
mod cost;
mod evidence;
mod properties;
mod redaction;
mod secrets;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use core::net::IpAddr;

use serde_json::{Value, json};

use super::*;
use crate::{IpPrivacy, MetricType, Secret, Timestamp};

fn config() -> AgentConfig {
    let mut config = AgentConfig::builder("key-of-the-platform").build().unwrap();
    config.sensitive_query_params =
        ["token", "access_token", "password", "key", "code"].map(String::from).to_vec();
    config
}

fn encoder(config: &AgentConfig) -> Encoder {
    Encoder::new(config, [1; 32]).unwrap()
}

fn event() -> SecurityEvent {
    SecurityEvent::new("ip_banned", Timestamp::from_unix_micros(1_767_323_045_123_456))
}

fn text(record: &Record) -> &str {
    core::str::from_utf8(record.json()).unwrap()
}

/// What is sent of that metadata.
fn metadata(encoder: &mut Encoder, members: Value) -> Value {
    let Value::Object(members) = members else { panic!("not an object") };
    let mut event = event();
    event.metadata = members.into_iter().collect();
    let sent: Value = serde_json::from_slice(encoder.event(&event).unwrap().json()).unwrap();
    sent["metadata"].clone()
}

#[test]
fn event_members_in_the_order_of_the_wire() {
    let key = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
    let full = event()
        .idempotency_key(key)
        .ip_address("192.0.2.7")
        .country("DE")
        .user_agent("Mozilla/5.0 \"é\"\u{7f}")
        .action_taken("request_blocked")
        .reason("too many")
        .endpoint("/a?b=c")
        .method("POST")
        .status_code(403)
        .response_time(1.0)
        .decorator_type("d")
        .rule_type("r")
        .pattern_matched("p")
        .handler_name("h")
        .metadata("z", 1)
        .metadata("a", json!([null, true, false, -1, 1.5, {"x": "/"}]))
        .extra("more", "e");
    let record = encoder(&config()).event(&full).unwrap();
    assert_eq!(
        text(&record),
        concat!(
            r#"{"idempotency_key":"12345678-9abc-4def-8123-456789abcdef","#,
            r#""timestamp":"2026-01-02T03:04:05.123456Z","event_type":"ip_banned","#,
            r#""ip_address":"192.0.2.7","country":"DE","user_agent":"Mozilla/5.0 \"é\""#,
            "\u{7f}",
            r#"","action_taken":"request_blocked","reason":"too many","endpoint":"/a?b=c","#,
            r#""method":"POST","status_code":403,"response_time":1.0,"decorator_type":"d","#,
            r#""rule_type":"r","pattern_matched":"p","handler_name":"h","#,
            r#""metadata":{"z":1,"a":[null,true,false,-1,1.5,{"x":"/"}]},"more":"e"}"#,
        )
    );
    assert_eq!(record.kind(), Kind::Event);
}

#[test]
fn absent_members_are_null() {
    let empty = event().idempotency_key(Uuid::nil());
    assert_eq!(
        text(&encoder(&config()).event(&empty).unwrap()),
        concat!(
            r#"{"idempotency_key":"00000000-0000-0000-0000-000000000000","#,
            r#""timestamp":"2026-01-02T03:04:05.123456Z","event_type":"ip_banned","ip_address":"","#,
            r#""country":null,"user_agent":null,"action_taken":"","reason":"","endpoint":null,"#,
            r#""method":null,"status_code":null,"response_time":null,"decorator_type":null,"#,
            r#""rule_type":null,"pattern_matched":null,"handler_name":null,"metadata":{}}"#,
        )
    );
}

#[test]
fn metric_members_in_the_order_of_the_wire() {
    let at = Timestamp::from_unix_micros(0);
    let metric = SecurityMetric::new(MetricType::RequestCount, 100.0, at).tag("b", "2").tag("a", "1");
    let record = encoder(&config()).metric(&metric).unwrap();
    assert_eq!(
        text(&record),
        concat!(
            r#"{"timestamp":"1970-01-01T00:00:00Z","metric_type":"request_count","value":100.0,"#,
            r#""endpoint":null,"tags":{"b":"2","a":"1"}}"#,
        )
    );
    assert_eq!((record.kind(), record.is_attack()), (Kind::Metric, false));

    for (value, written) in [(1e-7, "1e-7"), (1e16, "1e+16"), (-0.0, "-0.0"), (0.1, "0.1")] {
        let metric = SecurityMetric::new(MetricType::RequestCount, value, at);
        let record = encoder(&config()).metric(&metric).unwrap();
        let sent: Value = serde_json::from_slice(record.json()).unwrap();
        assert!(sent["value"].is_f64(), "{}", text(&record));
        assert!(text(&record).contains(&alloc::format!("\"value\":{written},")), "{}", text(&record));
    }
}

#[test]
fn keys_are_minted_from_the_seed() {
    let mut first = encoder(&config());
    let mut again = encoder(&config());
    let mut other = Encoder::new(&config(), [2; 32]).unwrap();
    let key = |encoder: &mut Encoder| {
        let sent: Value = serde_json::from_slice(encoder.event(&event()).unwrap().json()).unwrap();
        sent["idempotency_key"].as_str().unwrap().parse::<Uuid>().unwrap()
    };
    let minted = key(&mut first);
    assert_eq!(minted.get_version_num(), 4);
    assert_eq!(minted.get_variant(), uuid::Variant::RFC4122);
    assert_eq!(minted, key(&mut again));
    assert_ne!(minted, key(&mut first));
    assert_ne!(minted, key(&mut other));
}

#[test]
fn a_clone_of_the_machine_mints_other_keys() {
    let [mut original, mut clone] = [(); 2].map(|()| encoder(&config()));
    let key = |encoder: &mut Encoder| encoder.event(&event()).unwrap().json().to_vec();
    assert_eq!(key(&mut original), key(&mut clone));
    original.reseed([1; 32]);
    clone.reseed([2; 32]);
    assert_ne!(key(&mut original), key(&mut clone));
}

#[test]
fn muted_and_sampled_types_are_filtered() {
    let mut config = config();
    config.muted_event_types = vec![String::from("path_excluded")];
    config.sample_rates = BTreeMap::from([
        (String::from("never"), 0.0),
        (String::from("always"), 1.0),
        (String::from("some"), 0.25),
    ]);
    let mut encoder = encoder(&config);
    let mut count = |event_type: &str| {
        let event = SecurityEvent::new(event_type, Timestamp::default());
        (0..4_000).filter(|_| encoder.event(&event).is_ok()).count()
    };
    assert_eq!(count("path_excluded"), 0);
    assert_eq!(count("never"), 0);
    assert_eq!(count("always"), 4_000);
    assert_eq!(count("other"), 4_000);
    assert!((900..1_100).contains(&count("some")));
    let muted = SecurityEvent::new("path_excluded", Timestamp::default());
    let error = encoder.event(&muted).unwrap_err();
    assert_eq!((error, error.reason()), (EncodeError::Muted, DropReason::Filtered));
}

#[test]
fn every_type_is_an_attack_but_the_informational() {
    let mut config = config();
    config.informational_event_types = vec![String::from("path_excluded")];
    let mut encoder = encoder(&config);
    for (event_type, attack) in [("path_excluded", false), ("ip_banned", true), ("unheard_of", true)] {
        let event = SecurityEvent::new(event_type, Timestamp::default());
        assert_eq!(encoder.event(&event).unwrap().is_attack(), attack, "{event_type}");
    }
}

#[test]
fn a_record_that_fits_is_sent_whole_and_a_larger_one_cut() {
    let mut config = config();
    config.max_payload_size = usize::MAX;
    let budget = crate::wire::record_budget(&config);
    let mut encoder = encoder(&config);
    let mut reason = |len: usize| {
        let record = encoder.event(&event().reason("x".repeat(len))).unwrap();
        (record.json().len(), read_back(&record).reason.len())
    };
    let (empty, _) = reason(0);
    assert_eq!(reason(budget - empty), (budget, budget - empty));
    let (bytes, len) = reason(budget - empty + 1);
    assert!(bytes <= budget && len >= 4_096, "{len} of {budget}");
    assert_eq!(reason(1), (empty + 1, 1), "nothing is left of the one before");
}

#[test]
fn type_address_endpoint_and_reason_go_whatever_the_size() {
    let huge = "\u{1}".repeat(1 << 17);
    for max_payload_size in [64, 1_024, usize::MAX] {
        for batch_max_bytes in [2_048, 262_144] {
            let mut config = config();
            (config.max_payload_size, config.batch_max_bytes) = (max_payload_size, batch_max_bytes);
            let mut large = event().ip_address("192.0.2.7").endpoint("/login").reason("sqli");
            large =
                large.user_agent(&huge).country(&huge).method(&huge).action_taken(&huge).handler_name(&huge);
            large = large.decorator_type(&huge).rule_type(&huge).pattern_matched(&huge);
            for i in 0..300 {
                large = large
                    .metadata(alloc::format!("p{i}"), "x".repeat(1_024))
                    .extra(alloc::format!("q{i}"), &*huge);
            }
            large = large.metadata(huge.clone(), 1).extra(huge.clone(), json!({ &*huge: &*huge }));

            let record = encoder(&config).event(&large).unwrap();

            assert!(record.json().len() <= crate::wire::record_budget(&config));
            let sent = read_back(&record);
            assert_eq!(sent.event_type, "ip_banned");
            assert_eq!(sent.ip_address, IpAddress::from("192.0.2.7"));
            assert_eq!((sent.endpoint.as_deref(), &*sent.reason), (Some("/login"), "sqli"));
        }
    }
}

#[test]
fn what_does_not_fit_into_a_member_is_summed_up_in_it() {
    let params: serde_json::Map<_, _> =
        (0..300).map(|i| (alloc::format!("p{i}"), json!("x".repeat(1_024)))).collect();
    let mut encoder = encoder(&config());
    let sent =
        metadata(&mut encoder, json!({ "params": params, "list": vec!["x".repeat(1_024); 300], "last": 1 }));
    for (part, kept) in [
        ("params", sent["params"].as_object().unwrap().len() as u64 - 1),
        ("list", sent["list"].as_array().unwrap().len() as u64 - 1),
    ] {
        let left_out = match sent[part].get("[TRUNCATED]") {
            Some(left_out) => left_out.as_u64().unwrap(),
            None => {
                let last = sent[part][kept as usize].as_str().unwrap();
                last.strip_prefix("[TRUNCATED] ").unwrap().parse().unwrap()
            }
        };
        assert!(kept > 20, "{kept} of {part}");
        assert_eq!(kept + left_out, 300, "{part}");
    }
    assert_eq!(sent["last"], 1);
}

#[test]
fn tags_do_not_suppress_a_metric_by_their_size() {
    let mut metric = SecurityMetric::new(MetricType::BlockRate, 1.0, Timestamp::default()).endpoint("/login");
    for i in 0..300 {
        metric = metric.tag(alloc::format!("{i:0>60000}"), "x".repeat(2_000));
    }
    let config = config();
    let record = encoder(&config).metric(&metric).unwrap();
    assert!(record.json().len() <= crate::wire::record_budget(&config));
    let sent: Value = serde_json::from_slice(record.json()).unwrap();
    assert_eq!((&sent["endpoint"], &sent["value"]), (&json!("/login"), &json!(1.0)));
}

#[test]
fn names_of_members_are_cleaned_and_cut_as_text_is() {
    let mut encoder = encoder(&config());
    let long = "n".repeat(300_000);
    let given = json!({
        "/login?token=S3CR3T": 3, "/login?token=S3CR4T": 4, &*long: 5, "/plain?a=b": 6,
        "nested": [{ "Authorization: Bearer S3CR3T": 7 }], "json": "{\"/a?token=S3CR3T\":8}",
    });
    let sent = metadata(&mut encoder, given);
    assert!(!sent.to_string().contains("S3CR"), "{sent}");
    assert_eq!(sent["/login?token=[REDACTED]"], 3);
    assert_eq!(sent["#2 /login?token=[REDACTED]"], 4);
    assert_eq!(sent["/plain?a=b"], 6);
    assert_eq!(sent["json"], "{\"/a?token=[REDACTED]\":8}");
    assert!(sent.as_object().unwrap().keys().all(|name| name.len() <= 266));
}

#[test]
fn what_json_cannot_say_is_null_or_no_metric() {
    let mut encoder = encoder(&config());
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let record = encoder.event(&event().response_time(number)).unwrap();
        assert!(text(&record).contains(r#""response_time":null"#), "{}", text(&record));
        let metric = SecurityMetric::new(MetricType::ErrorRate, number, Timestamp::default());
        let error = encoder.metric(&metric).unwrap_err();
        assert_eq!(error, EncodeError::NotFinite { field: "value" });
        assert_eq!(error.reason(), DropReason::Processor);
    }
}

#[test]
fn size_does_not_suppress_an_event() {
    let config = config();
    let budget = crate::wire::record_budget(&config);
    let mut encoder = encoder(&config);
    let mut event = event().metadata("name", "Cookie").metadata("large", vec!["x".repeat(1_000); 1_000]);
    for i in 0..1_000 {
        event = event.metadata(alloc::format!("{i:0>1000}"), i).extra(alloc::format!("x{i:0>1000}"), i);
    }
    event = event.metadata("value", "sid=31337").extra("own", 1);

    let record = encoder.event(&event).unwrap();

    assert!(record.json().len() <= budget, "{}", record.json().len());
    assert!(record.json().len() > budget - 2_000, "{}", record.json().len());
    let sent: Value = serde_json::from_slice(record.json()).unwrap();
    let metadata = sent["metadata"].as_object().unwrap();
    assert_eq!((&metadata["name"], &metadata["value"]), (&json!("Cookie"), &json!("[REDACTED]")));
    let of_large = metadata["large"].as_array().unwrap();
    assert!((50..1_000).contains(&of_large.len()), "{}", of_large.len());
    let left_out = metadata["[TRUNCATED]"].as_u64().unwrap();
    assert_eq!(metadata.len() as u64 - 1 + left_out, 1_003);
    assert_eq!((&sent["own"], &sent["[TRUNCATED]"]), (&json!(1), &json!(1_000)));
    assert_eq!(text(&encoder.event(&read_back(&record)).unwrap()), text(&record));
}

#[test]
fn extra_members_never_repeat_a_field() {
    let mut event = event();
    for field in FIELDS {
        event = event.extra(field, "again");
    }
    let record = encoder(&config()).event(&event.extra("own", 1)).unwrap();
    assert!(!text(&record).contains("again"));
    assert!(text(&record).ends_with(r#""metadata":{},"own":1}"#));
}

#[test]
fn addresses_are_private() {
    let (v4, v6): (IpAddr, IpAddr) = ("1.2.3.4".parse().unwrap(), "::ffff:1.2.3.4".parse().unwrap());
    let table = [
        (IpPrivacy::Full, IpAddress::from(v4), "1.2.3.4"),
        (IpPrivacy::Full, IpAddress::from(v6), "::ffff:1.2.3.4"),
        (IpPrivacy::Full, IpAddress::from("unix:/run/x"), "unix:/run/x"),
        (IpPrivacy::Truncate, IpAddress::from(v4), "1.2.3.0"),
        (IpPrivacy::Truncate, IpAddress::from(v6), "1.2.3.0"),
        (IpPrivacy::Truncate, IpAddress::from("[2001:db8:1:2::3]:80"), "2001:db8:1::"),
        (IpPrivacy::Truncate, IpAddress::from("unix:/run/x"), "[REDACTED]"),
        (IpPrivacy::Hash, IpAddress::from(v4), "871602288455ee6d"),
        (IpPrivacy::Hash, IpAddress::from(v6), "871602288455ee6d"),
        (IpPrivacy::Hash, IpAddress::from("1.2.3.4:5"), "871602288455ee6d"),
        (IpPrivacy::Hash, IpAddress::from("system"), "system"),
    ];
    for (privacy, address, expected) in table {
        let mut config = config();
        config.ip_privacy = privacy;
        config.ip_hash_salt = Secret::new("s");
        let record = encoder(&config).event(&event().ip_address(address.clone())).unwrap();
        let sent: Value = serde_json::from_slice(record.json()).unwrap();
        assert_eq!(sent["ip_address"], expected, "{privacy:?} {address}");
    }
}

#[test]
fn addresses_of_clients_are_private_in_headers_and_queries() {
    let given = json!({
        "X-Forwarded-For": "203.0.113.9, 2001:db8:1:2::3", "forwarded": "for=\"[2001:db8:1:2::3]:80\";proto=http",
        "headers": [{ "HTTP_X_REAL_IP": ["203.0.113.9:80"] }], "client_ip": "203.0.113.9", "score": "203.0.113.9",
        "json": "{\"x-real-ip\":\"203.0.113.9\",\"version\":\"203.0.113.9\"}",
        "log": "x-forwarded-for: 203.0.113.9, 2001:db8:1:2::3\nuser-agent: Chrome/203.0.113.9",
        "query": "/?ip=203.0.113.9&v=203.0.113.9",
    });
    let mut config = config();
    assert_eq!(metadata(&mut encoder(&config), given.clone()), given);
    config.ip_privacy = IpPrivacy::Truncate;
    let sent = metadata(&mut encoder(&config), given.clone());
    assert_eq!(
        sent,
        json!({
            "X-Forwarded-For": "203.0.113.0, 2001:db8:1::", "forwarded": "for=\"2001:db8:1::\";proto=http",
            "headers": [{ "HTTP_X_REAL_IP": ["203.0.113.0"] }], "client_ip": "203.0.113.0", "score": "203.0.113.9",
            "json": "{\"x-real-ip\":\"203.0.113.0\",\"version\":\"203.0.113.9\"}",
            "log": "x-forwarded-for: 203.0.113.0, 2001:db8:1::\nuser-agent: Chrome/203.0.113.9",
            "query": "/?ip=203.0.113.0&v=203.0.113.9",
        })
    );
    assert_eq!(metadata(&mut encoder(&config), sent.clone()), sent);
    config.ip_privacy = IpPrivacy::Hash;
    config.ip_hash_salt = Secret::new("s");
    let sent = metadata(&mut encoder(&config), given).to_string();
    for hidden in [sent.matches("203.0.113.9").count() == 4, !sent.contains("2001:db8")] {
        assert!(hidden, "{sent}");
    }
}

#[test]
fn strings_are_truncated_between_characters() {
    let mut config = config();
    let table: [(usize, &str, &str); 8] = [
        (20, "exactly twenty bytes", "exactly twenty bytes"),
        (20, "more than twenty bytes", "more t...[TRUNCATED]"),
        (20, "ééééééééééé", "ééé...[TRUNCATED]"),
        (19, "ééééééééééé", "éé...[TRUNCATED]"),
        (14, "more than fourteen", "...[TRUNCATED]"),
        (5, "more than five", "...[T"),
        (0, "more than none", ""),
        (24, "password=abcdefghijklmnopqrstuvwxyz", "password=[REDACTED]"),
    ];
    for (limit, given, expected) in table {
        config.max_payload_size = limit;
        let event = event().metadata("m", given).extra("e", given).reason(given);
        let record = encoder(&config).event(&event).unwrap();
        let sent: Value = serde_json::from_slice(record.json()).unwrap();
        assert_eq!(sent["reason"], expected, "{limit} {given}");
        assert_eq!(sent["metadata"]["m"], expected, "{limit} {given}");
        assert_eq!(sent["e"], expected, "{limit} {given}");
    }
}

#[test]
fn debug_says_nothing_of_the_salt() {
    let mut config = config();
    config.ip_hash_salt = Secret::new("hunter2");
    let encoder = encoder(&config);
    assert!(!alloc::format!("{encoder:?}").contains("hunter2"));
}

#[test]
fn encoding_again_changes_nothing() {
    for privacy in [IpPrivacy::Full, IpPrivacy::Truncate, IpPrivacy::Hash] {
        let mut config = config();
        config.ip_privacy = privacy;
        config.max_payload_size = 32;
        let mut encoder = encoder(&config);
        let first = encoder.event(
            &event()
                .ip_address("2001:db8::1")
                .reason("Authorization: Basic of someone who is not here")
                .metadata("body", r#"{"a":"0123456789","cookie":"0123456789","b":1}"#)
                .extra("pairs", json!([["cookie", 1]])),
        );
        let first = first.unwrap();
        let second = encoder.event(&read_back(&first)).unwrap();
        assert_eq!(text(&first), text(&second));
    }
}

fn read_back(record: &Record) -> SecurityEvent {
    serde_json::from_slice(record.json()).unwrap()
}
