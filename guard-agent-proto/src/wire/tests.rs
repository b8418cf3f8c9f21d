#![allow(clippy::unwrap_used)]

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use proptest::prelude::*;
use serde_json::Value;

use super::encrypt::{Cipher, ProjectKey};
use super::*;

#[cfg(feature = "std")]
mod oracle;
mod vectors;

use crate::batch::Entry;
use crate::{AgentStatus, BatchId, Instant, Record, Seq, StatusLevel, Timestamp};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn config() -> AgentConfig {
    AgentConfig::builder("0123456789").build().unwrap()
}

fn wire(config: &AgentConfig) -> Wire {
    Wire::new(config, "install-1").unwrap()
}

fn encrypted() -> AgentConfig {
    AgentConfig { project_encryption_key: Some(Secret::new(KEY)), ..config() }
}

fn batch(kind: Kind, records: &[&str]) -> Batch {
    batch_of(kind, records.iter().map(|record| Vec::from(record.as_bytes())))
}

fn batch_of(kind: Kind, records: impl Iterator<Item = Vec<u8>>) -> Batch {
    let entry = |json: Vec<u8>| {
        Entry::new(Seq::from_u64(0), Instant::ZERO, Record::new(kind, false, json.into_boxed_slice()))
    };
    Batch {
        id: BatchId::new(1_795_342_404_872, 0xd2e6_21ed),
        kind,
        created_at: Timestamp::from_unix_micros(1_767_323_045_123_456),
        nonce: [0x5a; 12],
        entries: records.map(entry).collect(),
    }
}

fn payload(kind: Kind, records: &[&str]) -> Payload {
    Payload::Batch(Arc::new(batch(kind, records)))
}

fn no_gzip(_: &[u8], _: Content) -> Vec<u8> {
    panic!("compressed although it should not")
}

fn mark_gzip(body: &[u8], content: Content) -> Vec<u8> {
    match content {
        Content::Json => [b"gz:", body].concat(),
        Content::Ciphertext => [b"stored:", body].concat(),
    }
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    let mut values = request.headers.iter().filter(|(known, _)| *known == name);
    let value = values.next()?;
    assert!(values.next().is_none(), "{name} twice");
    Some(value.1.expose())
}

fn text(request: &HttpRequest) -> &str {
    core::str::from_utf8(&request.body).unwrap()
}

#[test]
fn plain_bodies_follow_the_member_order_of_the_contract() {
    let config = AgentConfig {
        project_id: Some("p\"1".to_owned()),
        guard_version: Some("7.0.1".to_owned()),
        ..config()
    };
    let created_at = String::from_utf8(body::json(&batch(Kind::Event, &[]).created_at())).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let tail = format!(
        r#""batch_id":"1795342404872-d2e621ed","created_at":{created_at},"compressed":false,"agent_version":"{version}","guard_version":"7.0.1","guard_core_version":null}}"#
    );

    let events = wire(&config).encode(&payload(Kind::Event, &[r#"{"a":1}"#, r#"{"b":"é"}"#]), no_gzip);
    let expected = format!(r#"{{"project_id":"p\"1","events":[{{"a":1}},{{"b":"é"}}],"metrics":[],{tail}"#);
    assert_eq!((events.method, events.url.as_str()), ("POST", "https://api.guard-core.com/api/v1/events"));
    assert_eq!(text(&events), expected);

    let metrics = wire(&config).encode(&payload(Kind::Metric, &[r#"{"a":1}"#]), no_gzip);
    assert_eq!(metrics.url, "https://api.guard-core.com/api/v1/metrics");
    assert_eq!(text(&metrics), format!(r#"{{"project_id":"p\"1","events":[],"metrics":[{{"a":1}}],{tail}"#));
}

#[test]
fn project_is_default_and_in_no_header_when_unset_or_empty() {
    for project_id in [None, Some(String::new())] {
        let request =
            wire(&AgentConfig { project_id, ..config() }).encode(&payload(Kind::Event, &["{}"]), no_gzip);
        assert!(text(&request).starts_with(r#"{"project_id":"default","#));
        assert_eq!(header(&request, "x-project-id"), None);
    }
}

#[test]
fn headers_follow_the_contract() {
    let config = AgentConfig {
        project_id: Some("project-1".to_owned()),
        payload_signing_secret: Some(Secret::new("topsecret")),
        compression_threshold: 1,
        ..config()
    };
    let always = [
        ("user-agent", concat!("guard-agent-rust/", env!("CARGO_PKG_VERSION"))),
        ("accept", "*/*"),
        ("accept-encoding", "identity"),
        ("content-type", "application/json"),
        ("x-api-key", "0123456789"),
        ("x-agent-install-id", "install-1"),
        ("x-project-id", "project-1"),
    ];
    let post = wire(&config).encode(&payload(Kind::Event, &["{}"]), mark_gzip);
    let get = wire(&config).encode(&Payload::Rules { etag: Some("W/\"1\"".into()) }, no_gzip);
    for (name, value) in always {
        assert_eq!(header(&post, name), Some(value));
        assert_eq!(header(&get, name), Some(value));
    }
    let names = |request: &HttpRequest| -> Vec<_> {
        request.headers.iter().skip(always.len()).map(|(name, _)| *name).collect()
    };
    assert_eq!(names(&post), ["x-payload-signature", "content-encoding"]);
    assert_eq!(header(&post, "content-encoding"), Some("gzip"));
    assert_eq!(names(&get), ["if-none-match"]);
    assert_eq!(header(&get, "if-none-match"), Some("W/\"1\""));
    assert_eq!((get.method, get.url.as_str()), ("GET", "https://api.guard-core.com/api/v1/rules"));
    assert!(get.body.is_empty());
}

#[test]
fn an_entity_tag_that_no_header_can_carry_is_left_out() {
    for etag in ["\"1\"\r\nx-evil: 1", "\"é\"", ""] {
        let request = wire(&config()).encode(&Payload::Rules { etag: Some(etag.into()) }, no_gzip);
        assert_eq!(header(&request, "if-none-match"), None, "{etag:?}");
    }
}

#[test]
fn the_status_is_signed_and_compressed_but_never_encrypted() {
    let status = AgentStatus {
        timestamp: Timestamp::from_unix_micros(1_767_323_045_000_000),
        status: StatusLevel::Degraded,
        uptime: 12.5,
        events_sent: 3,
        events_failed: 0,
        buffer_size: 1,
        last_flush: None,
        errors: [String::from("Buffer nearly full")].into(),
    };
    let json = body::json(&status);
    let config = AgentConfig {
        payload_signing_secret: Some(Secret::new("topsecret")),
        compression_threshold: json.len(),
        ..encrypted()
    };
    let request = wire(&config).encode(&Payload::Status(Arc::new(status)), mark_gzip);
    assert_eq!(request.url, "https://api.guard-core.com/api/v1/status");
    assert_eq!(request.body, mark_gzip(&json, Content::Json));
    let expected = Signer::new(Some(&Secret::new("topsecret"))).unwrap().sign(&json);
    assert_eq!(header(&request, "x-payload-signature"), Some(expected.expose()));
}

#[test]
fn compression_starts_at_the_threshold() {
    let payload = payload(Kind::Event, &["{}"]);
    let len = wire(&config()).encode(&payload, no_gzip).body.len();
    for (enabled, threshold, compressed) in
        [(true, len, true), (true, len + 1, false), (true, 0, true), (false, 0, false)]
    {
        let config =
            AgentConfig { compression_enabled: enabled, compression_threshold: threshold, ..config() };
        let request = wire(&config).encode(&payload, mark_gzip);
        assert_eq!(request.body.starts_with(b"gz:"), compressed, "{enabled} {threshold}");
        assert_eq!(header(&request, "content-encoding"), compressed.then_some("gzip"));
    }
}

#[test]
fn signatures_match_the_vectors() {
    for (secret, body, expected) in [
        (
            "topsecret",
            r#"{"batch_id":"b1","events":[]}"#,
            "v1=343c2e2e511a0c6ecd7493da43118af24676b493d77c2f05f467c2a559ad2474",
        ),
        ("clé", r#"{"k":"é"}"#, "v1=e2394c258dbf91618afc67ce55a5eb2183f5e14ea2d2e5ba051e3246e9925236"),
    ] {
        let signer = Signer::new(Some(&Secret::new(secret))).unwrap();
        assert_eq!(signer.sign(body.as_bytes()).expose(), expected);
    }
}

#[test]
fn an_empty_secret_does_not_sign() {
    let config = AgentConfig { payload_signing_secret: Some(Secret::new("")), ..config() };
    let request = wire(&config).encode(&payload(Kind::Event, &["{}"]), no_gzip);
    assert_eq!(header(&request, "x-payload-signature"), None);
}

#[test]
fn ciphertexts_match_the_vectors() {
    let key = ProjectKey::from_config(&encrypted()).unwrap().unwrap();
    let cipher = key.wire();
    for (nonce, plaintext, expected) in [
        (
            [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab],
            concat!(
                r#"{"events":[{"event_type":"ip_banned","ip_address":"192.0.2.7","metadata":"#,
                r#"{"a":[1,2.0,null,true],"z":"\u00e9\ud83d\ude00"},"response_time":0.125,"#,
                r#""status_code":429}],"metrics":[]}"#
            ),
            concat!(
                "oKGio6SlpqeoqaqrnToZWyCldsxAX9yoJR-2ux7YBmTrxydOpixP9iDJFG-8EyPdgwA6TQD9YKx7H_CKZSFkeVvi",
                "NE5vbCVphlyn3dHI5AtR0YXCzpndea30l4vhOYWU6a_sFoJZSujE_xC4rf4JkSHy-quuvj8M8OzVG0AMFMq7Base",
                "UuP81tEmgiKrYtUgpyvtchVjzqUjeKT6qqrZCsqlidOeotmQjf0AGf9lQp2UByVi8GNIUU3o7bwKo-eF4_llHYB_",
                "V0f5EOQ8tw=="
            ),
        ),
        (
            [0x5a; 12],
            concat!(
                r#"{"events":[],"metrics":[{"endpoint":null,"metric_type":"response_time","tags":"#,
                r#"{"k":"<\u007f/>"},"timestamp":"2026-01-02T03:04:05+00:00","value":1e-07}]}"#
            ),
            concat!(
                "WlpaWlpaWlpaWlpa_BKBKNdWNyMsQ9Qqr7T-ZQjsicbUBvz_yWWdcKEgxE6D_xaeosahd605xu-HPYBBLSx8D3Ew",
                "ACJlfR05yoKMdeh3kICZmMRF5rk9__ZyMimfhUJCvBlvQW-ZqAmD87zzBNXcsslr5QB0hI17wKNc_VGug1kkkd4g",
                "VwOJJfhc0arI3xXomp3TZuUPNK2S1c_LX5r13c4kh1C-BZ7NaJdzthIgUJKRvcYt"
            ),
        ),
    ] {
        let mut sealed = [&nonce, plaintext.as_bytes()].concat();
        cipher.seal(b"", &mut sealed, 0);
        assert_eq!(cipher.open(b"", &sealed).as_deref(), Some(plaintext.as_bytes()));
        let mut text = String::new();
        Cipher::push_text(&sealed, &mut text);
        assert_eq!(text, expected);
    }
}

#[test]
fn the_envelope_matches_vector_b() {
    let record = concat!(
        r#"{"endpoint":null,"metric_type":"response_time","tags":{"k":"<\u007f/>"},"#,
        r#""timestamp":"2026-01-02T03:04:05+00:00","value":1e-07}"#
    );
    let request = wire(&encrypted()).encode(&payload(Kind::Metric, &[record]), no_gzip);
    assert_eq!(request.url, "https://api.guard-core.com/api/v1/events/encrypted");
    let version = env!("CARGO_PKG_VERSION");
    let expected = concat!(
        r#"{"encrypted_payload":"WlpaWlpaWlpaWlpa_BKBKNdWNyMsQ9Qqr7T-ZQjsicbUBvz_yWWdcKEgxE6D_xaeosahd605x"#,
        "u-HPYBBLSx8D3EwACJlfR05yoKMdeh3kICZmMRF5rk9__ZyMimfhUJCvBlvQW-ZqAmD87zzBNXcsslr5QB0hI17wKNc_VGug1k",
        "kkd4gVwOJJfhc0arI3xXomp3TZuUPNK2S1c_LX5r13c4kh1C-BZ7NaJdzthIgUJKRvcYt",
        r#"","batch_id":"1795342404872-d2e621ed","agent_version":""#
    );
    assert_eq!(
        text(&request),
        format!(r#"{expected}{version}","guard_version":null,"guard_core_version":null}}"#)
    );
}

#[test]
fn a_compressor_is_told_of_ciphertext() {
    let config = AgentConfig { compression_threshold: 0, ..encrypted() };
    let request = wire(&config).encode(&payload(Kind::Event, &["{}"]), mark_gzip);
    assert!(request.body.starts_with(b"stored:{\"encrypted_payload\":"));
}

#[test]
fn encryption_keys() {
    let unpadded = KEY.trim_end_matches('=');
    for (key, configured) in [
        (KEY, true),
        (unpadded, true),
        (&format!(" {KEY}\n"), true),
        ("-_-_AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", true),
        ("+/+/AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", true),
        ("", false),
    ] {
        let config = AgentConfig { project_encryption_key: Some(Secret::new(key)), ..config() };
        let cipher = ProjectKey::from_config(&config).unwrap();
        assert_eq!(cipher.is_some(), configured, "{key:?}");
        assert_eq!(ProjectKey::is_configured(&config), configured, "{key:?}");
    }
    for key in ["  ", "AAECAw==", "not base64!", &format!("{KEY}!!"), &format!("{unpadded}AAAA"), "é"] {
        let config = AgentConfig { project_encryption_key: Some(Secret::new(key)), ..config() };
        let error = Wire::new(&config, "install-1").unwrap_err();
        assert_eq!(fields(&error), ["project_encryption_key"]);
        assert!(!error.to_string().contains(key), "{error}");
    }
}

fn fields(error: &ConfigError) -> Vec<&'static str> {
    error.problems.iter().map(|problem| problem.field).collect()
}

#[test]
fn construction_names_every_problem() {
    let config = AgentConfig {
        api_key: Secret::new("short"),
        project_id: Some("a\nb".to_owned()),
        project_encryption_key: Some(Secret::new("bad")),
        ..config()
    };
    let error = Wire::new(&config, "\u{e9}").unwrap_err();
    assert_eq!(fields(&error), ["api_key", "project_id", "install_id", "project_encryption_key"]);
}

#[test]
fn a_blank_key_or_secret_is_no_reason_to_do_without() {
    for blank in [" ", "\n", "\t\r\n "] {
        let config = AgentConfig {
            project_encryption_key: Some(Secret::new(blank)),
            payload_signing_secret: Some(Secret::new(blank)),
            ..config()
        };
        let error = Wire::new(&config, "install-1").unwrap_err();
        assert_eq!(fields(&error), ["payload_signing_secret", "project_encryption_key"]);
    }
    let config = AgentConfig { payload_signing_secret: Some(Secret::new("topsecret")), ..config() };
    let mut wire = wire(&config);
    for blank in ["", " ", "\r\n", "sesame\n", " sesame"] {
        let unusable = Credentials::new(Secret::new("9876543210")).with_signing_secret(Secret::new(blank));
        assert_eq!(fields(&wire.set_credentials(unusable).unwrap_err()), ["payload_signing_secret"]);
        let request = wire.encode(&payload(Kind::Event, &["{}"]), no_gzip);
        assert!(header(&request, "x-payload-signature").is_some(), "the old one stays");
        assert_ne!(header(&request, "x-api-key"), Some("9876543210"));
    }
    wire.set_credentials(Credentials::new(Secret::new("9876543210"))).unwrap();
    let request = wire.encode(&payload(Kind::Event, &["{}"]), no_gzip);
    assert_eq!(header(&request, "x-payload-signature"), None, "nothing was given");
}

#[test]
fn credentials_change_from_the_next_request_on() {
    let mut wire = wire(&config());
    let good = Credentials::new(Secret::new("9876543210")).with_signing_secret(Secret::new("topsecret"));
    wire.set_credentials(good).unwrap();
    for bad in ["123456789", "0123456789\r\nx-evil: 1", " 0123456789", "0123456789\u{e9}"] {
        let error = wire.set_credentials(Credentials::new(Secret::new(bad))).unwrap_err();
        assert_eq!(fields(&error), ["api_key"]);
        assert!(!error.to_string().contains(bad));
    }
    let request = wire.encode(&payload(Kind::Event, &["{}"]), no_gzip);
    assert_eq!(header(&request, "x-api-key"), Some("9876543210"));
    assert!(header(&request, "x-payload-signature").is_some());
}

#[test]
fn debug_shows_no_secret_and_no_record() {
    let config = AgentConfig { payload_signing_secret: Some(Secret::new("topsecret")), ..encrypted() };
    let wire = wire(&config);
    let request = wire.encode(&payload(Kind::Event, &[r#"{"a":"personal"}"#]), no_gzip);
    let shown = format!("{wire:?} {request:?}");
    let body_as_numbers = format!("{:?}", &request.body[..8]);
    for secret in ["0123456789", "topsecret", &KEY[..40], "v1=", body_as_numbers.trim_end_matches(']')] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

/// Records of at most that many bytes together, commas included.
fn within(budget: usize, lens: &[usize]) -> Vec<Vec<u8>> {
    let mut left = budget + 1;
    let mut records = Vec::new();
    for len in lens {
        let Some(rest) = left.checked_sub(len + 1) else { break };
        left = rest;
        records.push(json_of(*len));
    }
    if left > 1 {
        records.push(json_of(left - 1));
    }
    records
}

fn json_of(len: usize) -> Vec<u8> {
    let mut json = Vec::from_iter(core::iter::repeat_n(b'1', len));
    if let [first, .., last] = &mut json[..] {
        (*first, *last) = (b'"', b'"');
    }
    json
}

proptest! {
    #[test]
    fn bodies_within_the_budget_are_within_the_limit(
        lens in proptest::collection::vec(1_usize..9_000, 0..40),
        limit in 1_000_usize..262_145,
        project_id in proptest::option::of("[ -~]{1,40}"),
        guard_version in proptest::option::of(".{0,20}"),
        encrypt: bool,
        metrics: bool,
        millis: u64,
        random: u32,
        micros: i64,
    ) {
        let config = AgentConfig {
            batch_max_bytes: limit,
            project_id: project_id.map(|id| id.trim().to_owned()),
            guard_version,
            compression_enabled: false,
            ..if encrypt { encrypted() } else { config() }
        };
        let budget = record_budget(&config);
        let kind = if metrics { Kind::Metric } else { Kind::Event };
        let batch = Batch {
            id: BatchId::new(millis, random),
            created_at: Timestamp::from_unix_micros(micros),
            ..batch_of(kind, within(budget, &lens).into_iter())
        };
        // A separator may be all that still fits.
        let used = batch.json_len() + batch.len().saturating_sub(1);
        prop_assert!(used == budget || used + 1 == budget, "{used} of {budget}");
        let body = wire(&config).encode(&Payload::Batch(Arc::new(batch)), no_gzip).body;
        prop_assert!(body.len() <= limit, "{} bytes of {}", body.len(), limit);
        prop_assert!(body.len() + 64 > limit, "{} bytes of {}", body.len(), limit);
        let body: Value = serde_json::from_slice(&body).unwrap();
        prop_assert_eq!(body["agent_version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn same_payload_same_bytes(json in ".{0,200}", encrypt: bool) {
        let config = if encrypt { encrypted() } else { config() };
        let payload = payload(Kind::Event, &[&json]);
        prop_assert_eq!(
            wire(&config).encode(&payload, mark_gzip),
            wire(&config).encode(&payload, mark_gzip)
        );
    }
}

#[test]
fn answers_that_repeat_a_secret_are_recognised() {
    let mut config = encrypted();
    config.payload_signing_secret = Some(Secret::new("sign \"this\""));
    let mut wire = wire(&config);
    for (answer, repeats) in [
        ("", false),
        ("unknown key", false),
        ("unknown key 012345678", false),
        ("unknown key 0123456789, go away", true),
        ("{\"detail\":\"0123456789\"}", true),
        ("01234\u{0}56789", true),
        ("\u{fffd}0123456789", true),
        (KEY, true),
        ("not sign \"this\"!", true),
        (r#"{"detail":"sign \"this\""}"#, true),
        ("/login?secret=sign%20%22this%22", true),
        ("<p>sign &quot;this&quot;</p>", true),
        (r"sign\u0020\u0022this\u0022", true),
        ("sign this", false),
        ("sign here, and sign there, and then this", false),
    ] {
        assert_eq!(wire.repeats_secret(answer.as_bytes()), repeats, "{answer}");
    }
    assert!(wire.repeats_secret(b"\xff0123456789\xfe"));

    wire.set_credentials(Credentials::new(Secret::new("another-api-key"))).unwrap();
    assert!(wire.repeats_secret(b"another-api-key") && !wire.repeats_secret(b"0123456789"));
}
