//! Time per byte of text that is made to take long.
#![expect(clippy::disallowed_methods, reason = "the time that encoding takes is measured")]

use std::time::Instant;

use super::*;

/// What is repeated.
const SHAPES: [&str; 157] = [
    "value=1 a=\"",
    "<password a=\"b\" c ",
    "=\"a",
    "=[",
    "%41key=jwt ",
    "\"value\":\"<a",
    "<password a=",
    "%0acookie:",
    "q=password:&",
    "x-forwarded-for: a",
    "\"x-forwarded-for\":[",
    "\"x-forwarded-for\":\"a b",
    "\"ip\":\"a",
    "\"ip\":{\"v4\":",
    "<ip value=",
    "ip=a:b<c>",
    "x-forwarded-for:1.2.3.4,",
    "\"password?\":",
    "password?!:",
    "cookie:'a=",
    "cookie:!!a ",
    "password: &a ",
    "x: password: #",
    "x: password:\n",
    "cookie: A<B> = Some(\"",
    "cookie:a=Some(\"",
    "cookie:a=\"b ",
    "mysecretkey=",
    ".sk-",
    "pwd=/",
    "'pwd':'/",
    "password[$ne]=1.",
    "password:{\"$ne\":1,",
    "token:{\"$ne\":x,\"$gt\":",
    "password[$ne]=1",
    "a[0][b]=",
    "a[0]",
    "password[0][a]",
    "password=true;",
    "://a:b/@",
    ":\\/\\/a:b\\/@",
    "://a:b\\\\",
    "tokens=a",
    "tokens:[a,",
    "[\"password\",\"a",
    "(\"token\",[",
    "ip:unknown,",
    "ip:[\n",
    "ips:{",
    "<ip>1.2.3.4,\n",
    ".SG.",
    ".ghp_",
    "=eyJ",
    "cookie:'x ",
    "cookie:`x ",
    "cookie:a;'x ",
    "authorization: 'x ",
    "cookie:[",
    "cookie:/",
    "cookie:a;/",
    "a*/:",
    "\"name\":",
    "'name':'",
    "\"key\":",
    "`key\":",
    "%22name%22:",
    "\"name\":\"cookie\",",
    "\"value\":",
    "{\"value\":",
    "name=cookie&value=x&",
    "value=x name=token ",
    "{",
    "[",
    "(",
    "\"",
    "'",
    "\\",
    "\\\"",
    "{\"",
    "[\"",
    "[[\"cookie\",",
    "\"cookie\":\"",
    "'cookie':'",
    "cookie:",
    "cookie: x ",
    "cookie: a;",
    "cookie=a ",
    "token=",
    "token=a&",
    "token= ",
    "password=",
    "password: ",
    "password=\"",
    "password:[",
    "password:{\"",
    "<password",
    "<password>",
    "<password ><",
    "</password>",
    "name=\"password\"\r\n\r\n",
    "\n",
    "\r\n \r\n",
    " ",
    ",",
    ":",
    "=",
    "://",
    "a://b:c",
    "%25",
    "%2522",
    "\\u0022",
    "&quot;",
    "-----BEGIN ",
    "-----BEGIN A-----",
    "-----BEGIN A-----\nA: (",
    "-----BEGIN A-----&#10;&",
    "\n>>",
    "eyJaaaaaaaaaa.",
    "sk_",
    "Bearer ",
    "\"password\"/**/",
    "/**/:",
    "password /*",
    "\"password\" // \n",
    "password:\n- a\n",
    "- password:\n",
    "password: |\n",
    "--password ",
    "\"--password\", ",
    "--password\n",
    "s:8:\"password\";",
    "s:8:\"password\";s:6:",
    "password:string(6) \"",
    "\"password\":\"a\" ",
    "'a' \"b\" ",
    "password:a[a]",
    "password: Array\n",
    "cookie:a={",
    "cookie:a=\"",
    "cookie:a=\" ",
    "token:a=",
    "token: A = [",
    "<name>password</name>",
    "<value>a</value>",
    "<key>password</key><",
    "form-data; name=password",
    "form-data; name=password\\r\\n",
    "form-data;\n name=password;",
    "\\r\\n\\\\r\\\\n",
    "password\":a:b]=>",
    "A_PASSWORD=a&",
    "\u{a0}",
    "\u{ff1a}\u{3000}",
    "&amp;",
    "&#",
    "\\x22",
    "+",
];

/// The quicker of two runs, in nanoseconds per byte.
fn ns_per_byte(encoder: &mut Encoder, given: &str) -> f64 {
    let event = event().user_agent(given);
    let run = |_| {
        let start = Instant::now();
        core::hint::black_box(encoder.event(&event).unwrap());
        start.elapsed()
    };
    let best = [(); 2].map(run).into_iter().min().unwrap();
    best.as_nanos() as f64 / given.len() as f64
}

fn roomy() -> Encoder {
    let mut config = AgentConfig::builder("key-of-the-platform").build().unwrap();
    // So that all of it is searched.
    config.max_payload_size = 1 << 20;
    config.batch_max_bytes = 1 << 25;
    config.ip_privacy = IpPrivacy::Truncate;
    encoder(&config)
}

/// What is quadratic takes 64 times as long per byte at 1 MB as at 16 KB. The bound leaves room for a busy machine. Whether
/// a value takes the rest of the text along, which is quick, may hang on whether an odd or an even number is in front.
#[track_caller]
fn assert_is_linear(encoder: &mut Encoder, shape: &str, given: impl Fn(usize) -> String) {
    let mut time = |size: usize| ns_per_byte(encoder, &given(size));
    let small = [16 << 10, 17 << 10, 18 << 10, 19 << 10].map(&mut time).into_iter().fold(0.0, f64::max);
    let [medium, large] = [256 << 10, 1 << 20].map(time);
    assert!(
        medium.max(large) < 20.0 * small.max(50.0),
        "{shape:?}: {small:.0}, {medium:.0} and {large:.0} ns per byte"
    );
}

#[test]
fn every_byte_takes_a_bounded_time_whatever_is_repeated() {
    let mut encoder = roomy();
    for shape in SHAPES {
        assert_is_linear(&mut encoder, shape, |size| shape.repeat(size / shape.len()));
    }
}

#[test]
fn every_byte_takes_a_bounded_time_whatever_three_are_mixed() {
    let mut encoder = roomy();
    let mut rng = Rng::new([3; 32]);
    let mut pick = || SHAPES[rng.next_u32() as usize % SHAPES.len()];
    for _ in 0..24 {
        let (front, shape, other) = (pick(), pick(), pick());
        assert_is_linear(&mut encoder, &[front, shape, other].join(" | "), |size| {
            let mixed = [shape, other].concat();
            front.repeat(size / 2 / front.len()) + &mixed.repeat(size / 2 / mixed.len())
        });
    }
}

#[test]
fn a_long_value_is_cut_before_it_is_searched() {
    let mut encoder = encoder(&AgentConfig::builder("key-of-the-platform").build().unwrap());
    let mut time = |size: usize| ns_per_byte(&mut encoder, &"\"name\":".repeat(size / 7)) * size as f64;
    let (short, huge) = (time(16 << 10), time(1 << 24));
    assert!(huge < 50.0 * short, "{short} ns and {huge} ns");
}
