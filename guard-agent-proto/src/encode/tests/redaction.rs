use super::*;

/// One member of metadata, `body`, before and after.
fn body(given: &str) -> String {
    let mut encoder = encoder(&config());
    let sent = metadata(&mut encoder, json!({ "body": given }));
    String::from(sent["body"].as_str().unwrap())
}

fn nested(levels: usize, innermost: Value) -> Value {
    (1..=levels).rev().fold(innermost, |inner, level| {
        let mut object = serde_json::Map::new();
        object.insert(alloc::format!("l{level}"), inner);
        Value::Object(object)
    })
}

#[test]
fn the_contract_s_structures() {
    let table = [
        // 1, 2
        (
            json!({"Authorization": "Bearer t", "path": "/a"}),
            json!({"Authorization": "[REDACTED]", "path": "/a"}),
        ),
        (json!({" COOKIE ": ["a", "b"]}), json!({" COOKIE ": "[REDACTED]"})),
        // 3: the reference lets both pass
        (
            json!({"x_api_key": "k", "Set-Cookie": "s"}),
            json!({"x_api_key": "[REDACTED]", "Set-Cookie": "[REDACTED]"}),
        ),
        // 4: the reference lets the pair pass
        (
            json!({"h": [["cookie", "v"], {"cookie": "v"}]}),
            json!({"h": [["cookie", "[REDACTED]"], {"cookie": "[REDACTED]"}]}),
        ),
        // 12
        (
            nested(10, json!({"cookie": "c", "k": 1})),
            nested(10, json!({"cookie": "[REDACTED]", "k": "[REDACTED]"})),
        ),
        // 13, 14, 15: as the reference but for spacing
        (nested(9, json!({"body": "{\"k\":1}"})), nested(9, json!({"body": "\"[REDACTED]\""}))),
        (nested(9, json!("{\"k\":{\"z\":1}}")), nested(9, json!("{\"k\":\"[REDACTED]\"}"))),
        (nested(8, json!("{\"k\":1}")), nested(8, json!("{\"k\":1}"))),
        // 16, 20
        (json!({"n": null, "i": 1, "f": 1.0, "t": true}), json!({"n": null, "i": 1, "f": 1.0, "t": true})),
        (json!({"cookie": null}), json!({"cookie": "[REDACTED]"})),
    ];
    for (given, expected) in table {
        assert_eq!(metadata(&mut encoder(&config()), given.clone()), expected, "{given}");
    }
}

#[test]
fn the_contract_s_texts() {
    let table = [
        // 5, 6: spelling outside of the redacted part stays
        (
            "{\"cookie\":\"c\",\"n\":1.50,\"u\":\"\\u00e9é\"}",
            "{\"cookie\":\"[REDACTED]\",\"n\":1.50,\"u\":\"\\u00e9é\"}",
        ),
        ("  [1,{\"X-Api-Key\":2}]\n", "  [1,{\"X-Api-Key\":\"[REDACTED]\"}]\n"),
        // 7: nothing secret, nothing changed
        ("{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":1,\"b\":2,\"a\":3}"),
        // 8, 9: the reference lets both pass
        ("{broken \"cookie\":\"c\"", "{broken \"cookie\":\"[REDACTED]\""),
        ("cookie=abc; x=1", "cookie=[REDACTED]"),
        // 10
        ("{\"w\":\"{\\\"cookie\\\":\\\"c\\\"}\"}", "{\"w\":\"{\\\"cookie\\\":\\\"[REDACTED]\\\"}\"}"),
        // 11: no number is a reason to rewrite or to look away
        ("{\"x\":1E400,\"y\":-0.0,\"z\":1e5}", "{\"x\":1E400,\"y\":-0.0,\"z\":1e5}"),
        // 21
        ("[REDACTED]", "[REDACTED]"),
    ];
    for (given, expected) in table {
        assert_eq!(body(given), expected, "{given}");
    }
}

#[test]
fn the_contract_s_long_texts() {
    let mut config = config();
    config.max_payload_size = 16_384;
    let object = |len: usize| alloc::format!("{{\"a\":\"{}\"}}", "x".repeat(len - 8));
    let table = [
        // 17, 18, 19
        (object(8_192), object(8_192)),
        (object(8_193), String::from("[REDACTED]")),
        (alloc::format!("{{{}", "x".repeat(8_192)), String::from("[REDACTED]")),
        ("x".repeat(9_000), "x".repeat(9_000)),
        // characters, not bytes
        (object(4_000).replace('x', "é"), object(4_000).replace('x', "é")),
    ];
    for (given, expected) in table {
        let sent = metadata(&mut encoder(&config), json!({ "body": given }));
        assert!(sent["body"] == expected, "{given:.20}");
    }
}

#[test]
fn what_the_reference_misses() {
    let digits = "9".repeat(500);
    let huge = alloc::format!("{{\"n\":{digits},\"cookie\":\"S3CRET\"}}");
    let table = [
        // Before JSON, in JSON, around JSON
        "\u{feff}{\"cookie\":\"S3CRET\"}",
        "body: {\"cookie\":\"S3CRET\"}",
        ")]}',\n{\"cookie\":\"S3CRET\"}",
        "{\"n\":1E400,\"cookie\":\"S3CRET\"}",
        "{\"n\":NaN,\"cookie\":\"S3CRET\"}",
        huge.as_str(),
        "{\"\\u0063ookie\":\"S3CRET\"}",
        "{\"coo\\u212aie\":\"S3CRET\"}",
        "{\"x\":\"\\ud800\",\"cookie\":\"S3CRET\"}",
        "{\"cookie\":{\"a\":[\"S3CRET\"]}}",
        "{\"w\":\"{\\\"w\\\":\\\"{\\\\\\\"cookie\\\\\\\":\\\\\\\"S3CRET\\\\\\\"}\\\"}\"}",
        "\"{\\\"cookie\\\":\\\"S3CRET\\\"}\"",
        "\"cookie\": \"S3CRET\"",
        // Pairs
        "[[\"Cookie\",\"S3CRET\"]]",
        "[\"Host\",\"h\",\"Cookie\",\"S3CRET\"]",
        "[\"set-cookie\",\"a\",\"S3CRET\"]",
        "{\"name\":\"Cookie\",\"value\":\"S3CRET\"}",
        "{\"value\":{\"a\":\"S3CRET\"},\"key\":\"Cookie\"}",
        "[(b'cookie', b'S3CRET')]",
        "x [[\"cookie\", \"S3CRET\"",
        // Broken JSON
        "{\"cookie\":\"S3CRET",
        "{\"cookie\":S3CRET",
        "{\"cookie\":\"a\"S3CRET\",\"b\":1",
        "{\"cookie\":[\"a\",\"S3CRET\"",
        "{\"a\":\"{\\\"cookie\\\":\\\"S3CRET",
        "{'cookie': 'S3CRET', 'b': 1}",
        "{'cookie': {'a': 'S3CRET'}}",
        "{cookie: \"S3CRET\"}",
        "{\"\\u0063ookie\":\"S3CRET\"",
        // Headers and cookies
        "Authorization: Bearer S3CRET",
        "GET / HTTP/1.1\r\nHost: h\r\nCookie: a=b; sid=S3CRET\r\nAccept: */*",
        "Cookie: a=b;\r\n sid=S3CRET",
        "Cookie: \"a\"; sid=S3CRET",
        "proxy_authorization=Basic S3CRET",
        "cookie=a=b; sid=S3CRET",
        "curl -H 'X-Api-Key: S3CRET' https://h/",
        "headers.cookie=S3CRET",
        "headers[cookie]=S3CRET",
        // Forms and queries
        "password=S3CRET&user=a",
        "user=a&password=S3CRET",
        "password = S3CRET",
        "password=\"S3 S3CRET\" user=a",
        "/p?a=b&ToKeN=S3CRET",
        "/p?%74oken=S3CRET",
        "/p?%2574oken=S3CRET",
        "/p?token%3DS3CRET",
        "/p?token=a%26S3CRET",
        "/p?access-token=S3CRET",
        "/p#access_token=S3CRET&x=1",
        "/p?next=https%3A%2F%2Fh%2F%3Ftoken%3DS3CRET%26a%3Db",
        "/p?next=%2F%3Ftoken%3Da%2526S3CRET",
        "/p?q=%7B%22cookie%22%3A%22S3CRET%22%7D",
        "/p?q=%7B%22cookie%22%3A%7B%22a%22%3A%22S3CRET%22%7D%7D",
        "\"GET /p?token=S3CRET HTTP/1.1\" 200",
        "https://h/?a=1;token=S3CRET;b=2",
    ];
    for given in table {
        let sent = body(given);
        assert!(!sent.contains("S3CRET"), "{given} => {sent}");
        assert!(sent.contains("[REDACTED]"), "{given} => {sent}");
        assert_eq!(body(&sent), sent, "again: {given}");
    }
}

#[test]
fn every_field_is_redacted() {
    let secret = "/p?token=S3CRET";
    let full = SecurityEvent::new(secret, Timestamp::default())
        .ip_address(secret)
        .country(secret)
        .user_agent(secret)
        .action_taken(secret)
        .reason(secret)
        .endpoint(secret)
        .method(secret)
        .decorator_type(secret)
        .rule_type(secret)
        .pattern_matched(secret)
        .handler_name(secret)
        .metadata("m", secret)
        .metadata("name", "cookie")
        .metadata("value", "S3CRET")
        .extra("Authorization", "S3CRET")
        .extra("e", json!({"x-api-key": ["S3CRET"]}));
    let record = encoder(&config()).event(&full).unwrap();
    assert!(!text(&record).contains("S3CRET"), "{}", text(&record));
    assert_eq!(text(&record).matches("/p?token=[REDACTED]").count(), 13, "{}", text(&record));

    let metric = SecurityMetric::new(MetricType::BlockRate, 1.0, Timestamp::default())
        .endpoint(secret)
        .tag("cookie", "S3CRET")
        .tag("t", secret);
    let record = encoder(&config()).metric(&metric).unwrap();
    assert!(!text(&record).contains("S3CRET"), "{}", text(&record));
}

#[test]
fn text_without_secrets_stays_as_it_is() {
    let table = [
        "",
        "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
        "/search?q=cookie&page=2#top",
        "status code: 403, key: none",
        "authorization failed for user 7",
        "token= & code=",
        "rate limit exceeded: 120 requests in 60s",
        "2026-01-02T03:04:05Z [info] [a b] {x} \"quoted\" [1, 2",
        "(?i)<script[^>]*>[\\s\\S]*?</script>",
        "100%25 of %7B and \\u0041",
        "{\"a\" : 1.50, \"b\":\"\\u00e9\\/\", \"a\":1e5}",
        "[[[[[[[[[[[[[[[[[[[[[[[[",
        "\u{feff}",
    ];
    for given in table {
        assert_eq!(body(given), given);
    }
}

#[test]
fn redaction_does_not_grow_what_is_not_secret() {
    let mut config = config();
    config.max_payload_size = 65_536;
    let given = alloc::format!("{{\"cookie\":\"c\",\"u\":\"{}\"}}", "é".repeat(3_000));
    let sent = metadata(&mut encoder(&config), json!({ "body": given }));
    assert_eq!(sent["body"].as_str().unwrap().len(), given.len() + "[REDACTED]".len() - "c".len());
    assert_eq!(metadata(&mut encoder(&config), sent.clone()), sent);
}

#[test]
fn configured_names_count() {
    let mut config = config();
    config.sensitive_headers = vec![String::from(" X-Tenant "), String::from("")];
    config.sensitive_query_params = vec![String::from("pin")];
    let given = json!({"x_TENANT": "S3CRET", "pin": 1, "": "empty", "u": "/?pin=S3CRET&token=t"});
    assert_eq!(
        metadata(&mut encoder(&config), given),
        json!({"x_TENANT": "[REDACTED]", "pin": "[REDACTED]", "": "empty", "u": "/?pin=[REDACTED]&token=t"})
    );
}

#[test]
fn members_named_like_credentials_are_redacted_unless_the_name_is_ambiguous() {
    let given = json!({"user": {"password": "S3CRET", "code": 7}, "accessToken": ["S3CRET"], "key": "k", "form.token": "S3CRET"});
    assert_eq!(
        metadata(&mut encoder(&config()), given),
        json!({"user": {"password": "[REDACTED]", "code": 7}, "accessToken": "[REDACTED]", "key": "k", "form.token": "[REDACTED]"})
    );
}
