use alloc::format;
use alloc::string::ToString;

use proptest::prelude::*;

use super::*;

/// Pieces that redaction reacts to, in orders that nobody thought of.
fn fragments() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "\"", "\\", "\\\"", "{", "}", "[", "]", "(", ":", "=", ",", ", ", ": ", "&", ";", "?", "'", "`", " ",
            "\n", "\r\n ", "%", "%22", "%3D", "%3a", "%2522", "%5B", "%7B", "\\u0022", "\\u003d", "\\ud800",
            "\u{feff}", "cookie", "Set_Cookie", "token", "name", "value", "\"cookie\":", "\"name\":\"cookie\"",
            "\"value\":", "Authorization: ", "token=", "cookie=", "[\"cookie\",", "[REDACTED]", "[REDACTED]\"",
            "...[TRUNCATED]", "1E400", "null", "1", "x", "é", "𝄞", "abcdefghij",
        ]).prop_map(String::from),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn values(text: impl Strategy<Value = String> + Clone + 'static) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(12, 48, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn events(text: impl Strategy<Value = String> + Clone + 'static) -> impl Strategy<Value = SecurityEvent> {
    let members = || prop::collection::btree_map(text.clone(), values(text.clone()), 0..3);
    (
        prop::collection::vec(text.clone(), 6),
        members(),
        members(),
        prop::option::of(prop::num::f64::NORMAL),
        prop::option::of(any::<i64>()),
    )
        .prop_map(|(texts, metadata, extra, response_time, status_code)| {
            let mut event = SecurityEvent::new(&texts[0], Timestamp::from_unix_micros(7))
                .idempotency_key(Uuid::from_u128(7))
                .ip_address(texts[1].as_str())
                .user_agent(&texts[2])
                .reason(&texts[3])
                .endpoint(&texts[4])
                .pattern_matched(&texts[5]);
            event.metadata = metadata.into_iter().collect();
            event.extra = extra.into_iter().filter(|(name, _)| !FIELDS.contains(&name.as_str())).collect();
            event.response_time = response_time;
            event.status_code = status_code;
            event
        })
}

fn longest_string(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(longest_string).max().unwrap_or(0),
        Value::Object(members) => members.values().map(longest_string).max().unwrap_or(0),
    }
}

/// A sensitive name as it may be spelled: of a header, or only of a query parameter.
fn names(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    (prop::sample::select(choices), any::<u32>()).prop_map(|(name, spelling)| {
        let respell = |(at, c): (usize, char)| match (c, spelling >> (at % 32) & 1) {
            ('-', 1) => '_',
            ('_', 1) => '-',
            (c, 1) => c.to_ascii_uppercase(),
            (c, _) => c,
        };
        name.char_indices().map(respell).collect()
    })
}

const HEADERS: &[&str] = &["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];
const PARAMS: &[&str] = &["token", "access_token", "password", "key", "cookie", "x-api-key"];
const SECRET: &str = "S3CRET";

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// A text with the secret under a sensitive name, several layers deep.
fn texts_with_secret() -> impl Strategy<Value = String> {
    let header = (names(HEADERS), 0..9_usize).prop_map(|(name, form)| match form {
        0 => format!("{name}: {SECRET}"),
        1 => format!("{name}: a=b, c d; e={SECRET}"),
        2 => json!({ name: SECRET }).to_string(),
        3 => json!([[name, SECRET]]).to_string(),
        4 => json!({"name": name, "value": {"x": [SECRET]}}).to_string(),
        5 => json!({ name: ["a", SECRET, 1] }).to_string(),
        6 => format!("{{'{name}': '{SECRET}'}}"),
        7 => format!("{{\"{name}\": \"{SECRET}"),
        _ => format!("{{\"n\": 1E400, \"{name}\" :\t\"{SECRET}\"}}"),
    });
    let param = (names(PARAMS), 0..5_usize).prop_map(|(name, form)| match form {
        0 => format!("{name}={SECRET}&user=a"),
        1 => format!("/p?a=b&{name}={SECRET}"),
        2 => format!("https://h/p#{name}={SECRET}"),
        3 => format!("/p?{}={SECRET}", name.bytes().map(|b| format!("%{b:02x}")).collect::<String>()),
        _ => format!("user=a; {name}=\"{SECRET}\""),
    });
    prop_oneof![header, param].prop_recursive(4, 4, 1, |inner| {
        (inner, 0..7_usize).prop_map(|(text, layer)| match layer {
            0 => json!({ "w": text, "n": 1 }).to_string(),
            1 => json!(["a", text]).to_string(),
            2 => json!(text).to_string(),
            3 => format!("/p?next={}", percent_encoded(&text)),
            4 => format!("\u{feff}{text}"),
            5 => format!("body is {text}"),
            _ => format!("[info] {{x}} {text}"),
        })
    })
}

/// Builds an event around what holds the secret.
fn events_with_secret() -> impl Strategy<Value = SecurityEvent> {
    let plain = || SecurityEvent::new("ip_banned", Timestamp::default());
    let in_text = (texts_with_secret(), 0..12_usize, 0..4_usize).prop_map(move |(secret, field, depth)| {
        let wrapped = || (0..depth).fold(Value::from(secret.as_str()), |value, _| json!({ "a": [value] }));
        match field {
            0 => SecurityEvent::new(&secret, Timestamp::default()),
            1 => plain().ip_address(secret.as_str()),
            2 => plain().user_agent(&secret),
            3 => plain().reason(&secret),
            4 => plain().endpoint(&secret),
            5 => plain().method(&secret),
            6 => plain().pattern_matched(&secret),
            7 => plain().handler_name(&secret),
            8 => plain().country(&secret),
            9 => plain().action_taken(&secret),
            10 => plain().extra("e", wrapped()),
            _ => plain().metadata("m", wrapped()),
        }
    });
    let in_value = (names(HEADERS), 0..6_usize, 0..9_usize).prop_map(move |(name, form, depth)| {
        let wrap = |value| {
            (0..depth).fold(value, |value, level| match level % 2 {
                0 => json!({ "a": value }),
                _ => json!([1, value]),
            })
        };
        match form {
            0 => plain().metadata(name, wrap(json!(SECRET))),
            1 => plain().extra(name, wrap(json!([SECRET]))),
            2 => plain().metadata("m", wrap(json!({ name: { "x": SECRET } }))),
            3 => plain().metadata("m", wrap(json!([[name, SECRET, SECRET]]))),
            4 => plain().extra("e", wrap(json!(["host", "h", name, { "x": SECRET }]))),
            _ => plain().metadata("m", wrap(json!({ "key": name, "value": [SECRET] }))),
        }
    });
    prop_oneof![in_text, in_value]
}

fn roomy() -> AgentConfig {
    let mut config = config();
    config.max_payload_size = 4_096;
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * ProptestConfig::default().cases))]

    #[test]
    fn no_secret_gets_out(event in events_with_secret(), limit in prop_oneof![Just(4_096_usize), 0..80_usize]) {
        let mut config = config();
        config.max_payload_size = limit;
        let record = encoder(&config).event(&event).unwrap();
        prop_assert!(!text(&record).contains(SECRET), "{}", text(&record));
    }

    #[test]
    fn no_secret_gets_out_of_metrics(secret in texts_with_secret(), name in names(HEADERS)) {
        let metric = SecurityMetric::new(MetricType::BlockRate, 1.0, Timestamp::default())
            .endpoint(&secret)
            .tag(name, SECRET)
            .tag("t", secret);
        let record = encoder(&roomy()).metric(&metric).unwrap();
        prop_assert!(!text(&record).contains(SECRET), "{}", text(&record));
    }

    #[test]
    fn a_second_pass_changes_nothing(
        event in events(fragments().boxed()),
        limit in prop_oneof![Just(4_096_usize), 16..200_usize],
        privacy in prop::sample::select(vec![IpPrivacy::Full, IpPrivacy::Truncate, IpPrivacy::Hash]),
    ) {
        let mut config = config();
        config.max_payload_size = limit;
        config.ip_privacy = privacy;
        let mut encoder = encoder(&config);
        let first = encoder.event(&event).unwrap();
        let second = encoder.event(&read_back(&first)).unwrap();
        // The order of members whose names were redacted is another one when they are read.
        let [sent, again]: [Value; 2] = [&first, &second].map(|record| serde_json::from_slice(record.json()).unwrap());
        prop_assert_eq!(&sent, &again);
        let Value::Object(mut sent) = sent else { panic!("not an object") };
        sent.remove("idempotency_key");
        sent.remove("timestamp");
        prop_assert!(longest_string(&Value::Object(sent)) <= limit);
    }

    #[test]
    fn what_holds_no_secret_arrives_as_it_was(event in events("[a-z é\"\\\\\u{1}/]{0,40}".boxed())) {
        let record = encoder(&roomy()).event(&event).unwrap();
        prop_assume!(!text(&record).contains("[REDACTED]"));
        let arrived = read_back(&record);
        prop_assert_eq!(arrived, event);
    }
}
