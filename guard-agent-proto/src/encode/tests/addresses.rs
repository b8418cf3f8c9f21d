//! Addresses of clients in every container, under `ip_privacy`.

use alloc::format;
use alloc::vec::Vec;

use super::*;

const V4: &str = "203.0.113.7";
const V6: &str = "2001:db8:1:2::3";

fn with(privacy: IpPrivacy) -> Encoder {
    let mut config = AgentConfig::builder("key-of-the-platform").build().unwrap();
    config.ip_privacy = privacy;
    config.ip_hash_salt = Secret::new("s");
    encoder(&config)
}

/// Text that names whose addresses these are, in what programs write.
fn texts(address: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for name in ["x-forwarded-for", "X-Real-IP", "client_ip", "HTTP_X_FORWARDED_FOR", "remoteAddr"] {
        texts.extend([
            format!("[\"{name}\",\"{address}\"]"),
            format!("[[\"host\",\"h\"],[\"{name}\",\"{address}\"]]"),
            format!("[\"host\",\"h\",\"{name}\",\"{address}\"]"),
            format!("[[b\"{name}\", b\"{address}\"]]"),
            format!("headers [(b'host', b'h'), (b'{name}', b'{address}')]"),
            format!("{{\"name\":\"{name}\",\"value\":\"{address}\"}}"),
            format!("{{\"value\":[\"{address}\"],\"name\":\"{name}\"}}"),
            format!("x {{\"name\":\"{name}\",\"value\":\"{address}\"}}"),
            format!("x {{\"value\":\"{address}\",\"name\":\"{name}\"}}"),
            format!("<header name='{name}' value='{address}'/>"),
            format!("name={name}&value={address}"),
            format!("user: b\n{name}:\n  - {address}\n  - {address}\nx: 1\n"),
            format!("{name}:\n- {address}\n- {address}"),
            format!("{{\"{name}\":[\"{address}\",\"{address}\"]}}"),
            format!("{{\"{name}\":[\n  \"{address}\",\n  \"{address}\""),
            format!("{{\"{name}\":\"unknown, {address}\"}}"),
            format!("{{\"{name}\":\"unknown, {address}"),
            format!("{name}: unknown, _hidden, {address}\r\nhost: h"),
            format!("{name}: {address}-x"),
            format!("{name}=unknown:80, <x>, fe80::1%eth0, {address}"),
            format!("{{\"{name}\":\"a b: c, {address}"),
            format!("<{name}>a b: c, {address}</{name}>"),
            format!("<{name} value=\"{address}\"/>"),
            format!("<a><{name} a='b' value = '{address}'/></a>"),
            format!("{{\"{name}\":{{\"v4\":\"{address}\",\"address\":[\"{address}\"]}}}}"),
            format!("{{\"{name}\": {{\"x\":{{}},\"V6\":\"{address}\""),
            format!("/?{name}={address}&x=1"),
            format!("/?{name}[0]={address}&{name}[last]={address}&x=1"),
            format!("{{\"/x?{name}={address}\":1}}"),
            format!("<{name}>{address}</{name}>"),
            format!("<a><{name} version=\"1\">{address}"),
            format!("<client {name}='{address}'/>"),
        ]);
    }
    // To these proxies append, so that a client writes what stands in front.
    for name in ["x-forwarded-for", "X-Forwarded-For", "Forwarded", "HTTP_X_FORWARDED_FOR"] {
        for front in [
            "<x>",
            "unknown:80",
            "fe80::1%eth0",
            "a b",
            "\"",
            "'x",
            "[",
            "}",
            "x]",
            "a: b",
            "\\",
            "%ff",
            "é",
            "a=b;c d",
        ] {
            texts.extend([
                format!("{name}: {front}, {address}"),
                format!("GET / HTTP/1.1\r\n{name}: {front}, {address}, {address}\r\nhost: h"),
                format!("{name}: a,\r\n {front}, {address}"),
                format!("x {{\"{name}\": {}", json!(format!("{front}, {address}"))),
                format!("x {{\"{name}\": [{}", json!(format!("{front}, {address}"))),
            ]);
        }
    }
    for names in ["ips", "client_ips", "ip_addresses", "remoteAddrs", "blocked-ips"] {
        texts.extend([
            format!("{{\"{names}\":[\"{address}\",\"{address}\"]}}"),
            format!("{{\"{names}\":[\"{address}\",\"{address}"),
            format!("{{\"{names}\":{{\"{address}\":5}}}}"),
            format!("{{\"{names}\":{{\"{address}\":5"),
            format!("{names}=[{address}, {address}]"),
            format!("{names}: {address}, {address}."),
        ]);
    }
    let bracketed =
        if address.contains(':') { format!("\"[{address}]:4711\"") } else { String::from(address) };
    texts.extend([
        format!("Forwarded: for={bracketed};proto=http;by={bracketed}"),
        format!("Forwarded: for=unknown, for=_hidden;host=h, for={bracketed}"),
        format!("Forwarded: for=\"_gazonk\";by=\"_b\", for={bracketed}"),
        format!("forwarded: for=192.0.2.4:_port, for={bracketed}"),
        format!("\"forwarded\": \"for={}\"", bracketed.replace('"', "\\\"")),
    ]);
    texts
}

#[test]
fn no_address_leaks_under_a_name_of_addresses_in_any_container() {
    let mut leaked = Vec::new();
    for privacy in [IpPrivacy::Truncate, IpPrivacy::Hash] {
        let mut encoder = with(privacy);
        for address in [V4, V6] {
            for given in texts(address) {
                let json: Value = serde_json::from_str(&given).unwrap_or(Value::Null);
                let record = encoder
                    .event(&event().reason(&*given).metadata("m", json).idempotency_key(Uuid::nil()))
                    .unwrap();
                if text(&record).contains(address) {
                    leaked.push(format!("{given} => {}", text(&record)));
                }
                let again = encoder.event(&read_back(&record)).unwrap();
                assert_eq!(text(&again), text(&record));
            }
        }
    }
    assert!(leaked.is_empty(), "{} leak:\n{}", leaked.len(), leaked.join("\n"));
}

#[test]
fn what_is_no_address_of_a_client_stays() {
    let mut encoder = with(IpPrivacy::Truncate);
    for (given, sent) in [
        ("ip=203.0.113.7 v=203.0.113.9", "ip=203.0.113.0 v=203.0.113.9"),
        ("ips: unknown, none\nversion: 203.0.113.9", "ips: unknown, none\nversion: 203.0.113.9"),
        ("{\"203.0.113.7\":1}", "{\"203.0.113.7\":1}"),
        ("{\"client\":{\"version\":\"203.0.113.9\"}}", "{\"client\":{\"version\":\"203.0.113.9\"}}"),
        ("[\"version\",\"203.0.113.9\",\"x\"]", "[\"version\",\"203.0.113.9\",\"x\"]"),
        (
            "Forwarded: for=\"[2001:db8:1:2::3]:4711\";proto=http",
            "Forwarded: for=\"2001:db8:1::\";proto=http",
        ),
        ("Forwarded: for=203.0.113.7:_port", "Forwarded: for=203.0.113.0:_port"),
        ("ips=[203.0.113.7, 203.0.113.8]", "ips=[203.0.113.0, 203.0.113.0]"),
        ("client:\n  version: 203.0.113.9", "client:\n  version: 203.0.113.9"),
        ("chips: 203.0.113.9", "chips: 203.0.113.9"),
        ("x-forwarded-for: a b\nv: 203.0.113.9", "x-forwarded-for: a b\nv: 203.0.113.9"),
        ("client: 203.0.113.7, server: 203.0.113.9", "client: 203.0.113.0, server: 203.0.113.9"),
        ("<ip/> 203.0.113.9", "<ip/> 203.0.113.9"),
        ("<v value='203.0.113.9'/>", "<v value='203.0.113.9'/>"),
        ("x {\"name\":\"v\",\"value\":\"203.0.113.9\"}", "x {\"name\":\"v\",\"value\":\"203.0.113.9\"}"),
        ("ips:\n- 203.0.113.7\nv: 203.0.113.9", "ips:\n- 203.0.113.0\nv: 203.0.113.9"),
        (
            "x {\"ip\":{\"version\":\"203.0.113.9\"}, \"v4\":\"203.0.113.9",
            "x {\"ip\":{\"version\":\"203.0.113.9\"}, \"v4\":\"203.0.113.9",
        ),
    ] {
        let record = encoder.event(&event().reason(given)).unwrap();
        assert_eq!(&*read_back(&record).reason, sent);
    }
    // The names of members under a name of addresses are addresses, and stay apart.
    let given = json!({ "ips": { "203.0.113.7": 1, "203.0.113.8": { "203.0.113.9": 2 } } });
    assert_eq!(
        metadata(&mut encoder, given),
        json!({ "ips": { "203.0.113.0": 1, "#2 203.0.113.0": { "203.0.113.9": 2 } } })
    );
}

#[test]
fn an_address_hides_no_secret() {
    let mut encoder = with(IpPrivacy::Truncate);
    for given in [
        "{\"ip\":\"password=S3CR3T\"}",
        "{\"forwarded\":[\"for=203.0.113.7;token=S3CR3T\"]}",
        "[{\"ip\":\"ip=203.0.113.7]\",\"name\":\"cookie\",\"value\":\"S3CR3T\"",
        "ip: a, cookie:S3CR3T, 203.0.113.7",
        "x-forwarded-for: a, cookie:S3CR3T, 203.0.113.7",
        "x-forwarded-for: a token=S3CR3T203.0.113.7, 203.0.113.7 password=203.0.113.7S3CR3T",
        "ip: [203.0.113.7,\n 203.0.113.8], password: S3CR3T",
        "{\"name\":\"ip\",\"key\":\"cookie\",\"value\":\"S3CR3T\"}",
    ] {
        let json: Value = serde_json::from_str(given).unwrap_or(Value::Null);
        let record = encoder.event(&event().reason(given).metadata("m", json)).unwrap();
        assert!(!text(&record).contains("S3CR3T"), "{}", text(&record));
    }
}
