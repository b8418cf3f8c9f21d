//! Requests for the reference agent to read: `tests/oracle/run`.

use std::{env, fs};

use super::*;
use crate::shell::gzip;
use crate::{Encoder, MetricType, SecurityEvent, SecurityMetric};

const SIGNING_SECRET: &str = "clé";

/// Each request as its body and an object with what else `check.py` needs.
#[test]
#[ignore = "writes files for another program"]
fn writes_bodies() {
    let dir = env::var("GUARD_ORACLE_DIR").unwrap();
    let plain = AgentConfig { compression_enabled: false, ..config() };
    let modes = [
        ("plain", plain.clone()),
        ("gzip", AgentConfig { compression_threshold: 0, ..config() }),
        (
            "signed",
            AgentConfig {
                payload_signing_secret: Some(Secret::new(SIGNING_SECRET)),
                project_id: Some("project \"1\"".to_owned()),
                guard_version: Some("7.0.1 \u{e9}".to_owned()),
                guard_core_version: Some("3.0.0".to_owned()),
                ..plain.clone()
            },
        ),
        ("encrypted", AgentConfig { project_encryption_key: Some(Secret::new(KEY)), ..plain }),
        (
            "everything",
            AgentConfig {
                payload_signing_secret: Some(Secret::new(SIGNING_SECRET)),
                compression_threshold: 0,
                ..encrypted()
            },
        ),
    ];
    for (mode, config) in modes {
        for (name, payload, sent) in payloads() {
            let request = wire(&config).encode(&payload, gzip);
            let headers = request.headers.iter().map(|(name, value)| (*name, value.expose()));
            let case = serde_json::json!({
                "url": request.url,
                "headers": headers.collect::<std::collections::BTreeMap<_, _>>(),
                "secret": config.payload_signing_secret.as_ref().map(Secret::expose),
                "key": config.project_encryption_key.as_ref().map(Secret::expose),
                "project_id": config.project_id,
                "guard_version": config.guard_version,
                "guard_core_version": config.guard_core_version,
                "kind": name,
                "sent": sent,
            });
            fs::write(format!("{dir}/{mode}-{name}.body"), &request.body).unwrap();
            fs::write(format!("{dir}/{mode}-{name}.json"), case.to_string()).unwrap();
        }
    }
}

/// Name, payload, and what the reference must read from it.
fn payloads() -> [(&'static str, Payload, Value); 3] {
    let (events, metrics) = (events(), metrics());
    let mut encoder = Encoder::new(&config(), [7; 32]).unwrap();
    let records: Vec<_> =
        events.iter().map(|event| encoder.event(event).unwrap().into_json().into()).collect();
    let event_batch = batch_of(Kind::Event, records.into_iter());
    let records: Vec<_> =
        metrics.iter().map(|metric| encoder.metric(metric).unwrap().into_json().into()).collect();
    let metric_batch = batch_of(Kind::Metric, records.into_iter());
    let status = AgentStatus {
        timestamp: Timestamp::from_unix_micros(1_767_323_045_000_000),
        status: StatusLevel::Failed,
        uptime: 1e-7,
        events_sent: u64::MAX,
        events_failed: 0,
        buffer_size: 1,
        last_flush: Some(Timestamp::from_unix_micros(1_767_323_045_000_001)),
        errors: [String::from("Buffer nearly full"), String::from("é \u{2028}")].into(),
    };
    let sent = serde_json::to_value(&status).unwrap();
    [
        ("events", Payload::Batch(Arc::new(event_batch)), serde_json::to_value(events).unwrap()),
        ("metrics", Payload::Batch(Arc::new(metric_batch)), serde_json::to_value(metrics).unwrap()),
        ("status", Payload::Status(Arc::new(status)), sent),
    ]
}

fn events() -> Vec<SecurityEvent> {
    let key = uuid::Uuid::from_u128;
    let at = Timestamp::from_unix_micros;
    Vec::from([
        SecurityEvent::new("ip_banned", at(1_767_323_045_000_000)).idempotency_key(key(1)),
        SecurityEvent::new("custom_rule_triggered", at(1_767_323_045_123_456))
            .idempotency_key(key(2))
            .ip_address("2001:db8::1")
            .country("DE")
            .user_agent("Mozilla/5.0 “x”")
            .action_taken("request_blocked")
            .reason("é 😀 \u{7f} \\ \" / \u{0} \u{2028}")
            .endpoint("/a?b=c&d=%20")
            .method("PURGE")
            .status_code(429)
            .response_time(0.125)
            .decorator_type("rate_limit")
            .rule_type("pattern")
            .pattern_matched("<script>")
            .handler_name("h")
            .metadata("list", serde_json::json!([1, 2.0, null, true, {"k": "\u{1}"}]))
            .metadata("é", i64::MIN)
            .metadata("big", u64::MAX)
            .metadata("tiny", 1e-7)
            .metadata("small", 0.00001)
            .metadata("huge", 1e300)
            .metadata("", Value::Null)
            .extra("trace", "extra")
            .extra("nested", serde_json::json!({"k": [1]})),
        SecurityEvent::new("", at(-1)).idempotency_key(key(u128::MAX)).status_code(-1).response_time(5e-324),
    ])
}

fn metrics() -> Vec<SecurityMetric> {
    let at = Timestamp::from_unix_micros(1_767_323_045_000_007);
    let values = [100.0, 1e-7, 0.1, 1e16, -2.5, -0.0, f64::MAX];
    let kinds = [
        MetricType::RequestCount,
        MetricType::ResponseTime,
        MetricType::ErrorRate,
        MetricType::BandwidthUsage,
        MetricType::ThreatLevel,
        MetricType::BlockRate,
        MetricType::CacheHitRate,
    ];
    let metric = |(kind, value)| SecurityMetric::new(kind, value, at).tag("é", "😀 \u{7f}").endpoint("/a");
    kinds.into_iter().zip(values).map(metric).collect()
}
