//! No secret comes out by a log, a message or `Debug`, whatever the platform and the network do.
//!
//! One test, since it takes over the log of the whole process.
#![allow(clippy::unwrap_used)]

use std::fmt::{self, Debug, Display, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use guard_agent_tests::collector::{Answer, Collector};
use guard_agent_tests::redis_server::RedisServer;
use guard_agent_tokio::shell::http;
use guard_agent_tokio::shell::redis::{Address, Target};
use guard_agent_tokio::wire::{Credentials, HttpRequest, Wire};
use guard_agent_tokio::{
    Agent, AgentConfig, AgentConfigBuilder, BoxFuture, CaptureTransport, Encoder, HttpError, HttpOptions,
    HttpTransport, Input, MemoryStore, MetricType, Payload, RedisOptions, RedisStore, Secret, SecurityEvent,
    SecurityMetric,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::field::{Field, Visit};
use tracing::span;

/// All secrets begin with a word that nothing else holds; this one has to be escaped in JSON.
const API_KEY: &str = "planted-api-key-\"7\"";
const NEW_API_KEY: &str = "planted-new-api-key";
const SIGNING_SECRET: &str = "planted signing secret";
/// Base64 of 32 bytes all the same.
const ENCRYPTION_KEY: &str = "plantedEncryptionKeyAAAAAAAAAAAAAAAAAAAAAAA=";
const PROXY_PASSWORD: &str = "planted-proxy-password";
/// `user:planted-proxy-password` in base64, as the proxy is told.
const PROXY_CREDENTIALS: &str = "dXNlcjpwbGFudGVkLXByb3h5LXBhc3N3b3Jk";
const LIMIT: Duration = Duration::from_secs(60);
/// Of a call while nothing is delivered: long enough for what is to be shown meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Everything that was logged or shown, by anybody, a line each.
static SHOWN: Mutex<String> = Mutex::new(String::new());

fn show(line: fmt::Arguments<'_>) {
    writeln!(SHOWN.lock().unwrap(), "{line}").unwrap();
}

/// `Debug`, both ways.
fn debug(value: &dyn Debug) {
    show(format_args!("{value:?} {value:#?}"));
}

/// An error in all its forms.
fn error(error: &(impl Display + Debug)) {
    show(format_args!("{error} {error:?}"));
}

/// Takes all that is logged through `tracing`, spans included.
struct Tracing;

impl tracing::Subscriber for Tracing {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut Fields(attributes.metadata().target()));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Fields("span"));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Fields(event.metadata().target()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Fields(&'static str);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        show(format_args!("tracing {} {field}={value:?}", self.0));
    }
}

/// The same for `log`, through which the HTTP client speaks.
struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        show(format_args!("log {} {}", record.target(), record.args()));
    }

    fn flush(&self) {}
}

fn config(endpoint: &str) -> AgentConfigBuilder {
    AgentConfig::builder(API_KEY)
        .endpoint(endpoint)
        .project_id("shop")
        .install_id("test")
        .payload_signing_secret(SIGNING_SECRET)
        .project_encryption_key(ENCRYPTION_KEY)
        .ip_hash_salt("planted-salt")
        .rate_limit(1_000)
        .backoff_factor(Duration::from_millis(1))
        .flush_interval(Duration::from_millis(10))
        .retry_attempts(0)
        .timeout(Duration::from_millis(500))
}

fn event() -> SecurityEvent {
    SecurityEvent::now("suspicious_request")
        .endpoint("/login?token=planted-token&page=2")
        .reason("password=planted-password in the query")
        .user_agent("curl/8.0 https://host/?key=planted-key")
        .metadata("authorization", "Bearer planted-bearer")
        .metadata("headers", json!([["Cookie", "sid=planted-cookie"], ["Set-Cookie", "planted-set-cookie"]]))
        .metadata("nested", json!({"x_api_key": "planted-header-key"}))
}

/// Runs an agent against what is at `endpoint`, and shows all that it says and is.
async fn run(config: AgentConfigBuilder, options: HttpOptions) {
    debug(&config);
    let config = config.build().unwrap();
    debug(&config);
    debug(&options);
    let builder = Agent::builder(config).http(options).on_error(error);
    debug(&builder);
    let agent = builder.start().unwrap();
    let subscription =
        agent.subscribe_rules(|rules| show(format_args!("rules {:?}", rules.map(|r| r.rules.version))));
    for _ in 0..3 {
        let (event, metric) = (event(), SecurityMetric::now(MetricType::ErrorRate, 0.5));
        debug(&event);
        debug(&metric);
        agent.send_event(event);
        agent.send_metric(metric.endpoint("/login?token=planted-token"));
        debug(&agent.flush(PATIENCE).await);
        agent.refresh_rules();
    }
    let invalid = SecurityMetric::now(MetricType::ErrorRate, f64::NAN).endpoint("/login?token=planted-token");
    error(&agent.try_send_metric(invalid).unwrap_err());
    error(&agent.rotate_credentials(Credentials::new(Secret::new("planted\n"))).unwrap_err());
    let new = Credentials::new(Secret::new(NEW_API_KEY)).with_signing_secret(Secret::new(SIGNING_SECRET));
    debug(&new);
    agent.rotate_credentials(new).unwrap();
    debug(&agent.flush(PATIENCE).await);
    debug(&(agent.stats(), agent.status(), agent.health(), agent.pressure(), agent.take_dead_letters()));
    debug(&agent);
    debug(&subscription);
    debug(&agent.shutdown(Duration::from_millis(500)).await);
    error(&agent.try_send_event(event()).unwrap_err());
}

/// A proxy that refuses everybody and repeats what it was told.
async fn proxy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 16 << 10];
            let length = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..length]).replace("\r\n", " ");
            assert!(head.contains(PROXY_CREDENTIALS), "{head}");
            let echo = format!("{PROXY_CREDENTIALS} {PROXY_PASSWORD}");
            let answer = format!(
                "HTTP/1.1 407 {echo}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{echo}",
                echo.len()
            );
            // The client may have gone.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address.to_string()
}

#[tokio::test]
async fn no_secret_is_shown() {
    tracing::subscriber::set_global_default(Tracing).unwrap();
    log::set_logger(&Log).unwrap();
    log::set_max_level(log::LevelFilter::Trace);

    let echo = format!("{API_KEY} {NEW_API_KEY} {SIGNING_SECRET} {ENCRYPTION_KEY}");
    let echo_json = json!({"success": false, "errors": [{"index": 0, "message": echo}]});
    let hidden = "x".repeat(195) + &echo;
    let answers = [
        Answer::normal(),
        Answer::status(401),
        Answer::status(500),
        Answer::hang(),
        Answer::reset(),
        Answer::garbage(),
        Answer::cut(),
        Answer::status(401).body(echo.clone()),
        Answer::status(403).body(hidden),
        Answer::json(404, &echo_json),
        Answer::status(400).body(echo.clone()),
        Answer::json(422, &echo_json),
        Answer::status(500).body(echo.clone()),
        Answer::status(200).body(format!("<html>{echo}")).refusing(),
        Answer::json(200, &json!(echo)).refusing(),
        Answer::json(200, &echo_json).refusing(),
        Answer::json(200, &json!({"rule_id": echo, "version": 2})).header("etag", API_KEY),
        Answer::json(200, &json!({"rule_id": "a", "version": echo})),
        Answer::status(302).header("location", API_KEY).header("retry-after", API_KEY),
    ];
    let mut runs = JoinSet::new();
    for answer in answers {
        let collector = Collector::builder().encryption_key(ENCRYPTION_KEY).start();
        for script in [collector.events(), collector.metrics(), collector.status(), collector.rules()] {
            script.answer_always(answer.clone());
        }
        runs.spawn(async move { run(config(&collector.url()), HttpOptions::new().no_proxy()).await });
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    runs.spawn(run(config(&format!("http://{nobody}")), HttpOptions::new().no_proxy()));
    for scheme in ["http", "https"] {
        let options = HttpOptions::new().proxy(format!("http://user:{PROXY_PASSWORD}@{}", proxy().await));
        runs.spawn(run(config(&format!("{scheme}://platform.invalid")), options));
    }
    // A Redis that refuses the password, one that takes it, and nobody.
    let redis = RedisServer::start(&["requirepass planted-redis-password"]);
    let port = redis.url().rsplit(':').next().unwrap().to_owned();
    let collector = Collector::builder().encryption_key(ENCRYPTION_KEY).start();
    for (password, port) in
        [("planted-wrong-password", &*port), ("planted-redis-password", &port), ("planted", "1")]
    {
        let url = format!("redis://:{password}@127.0.0.1:{port}");
        let config = config(&collector.url()).redis_url(url);
        debug(&config);
        runs.spawn(run(config, HttpOptions::new().no_proxy()));
    }
    while let Some(run) = tokio::time::timeout(LIMIT, runs.join_next()).await.unwrap() {
        run.unwrap();
    }
    misuse();
    show_all();

    let shown = SHOWN.lock().unwrap();
    for line in shown.lines() {
        for secret in ["planted", PROXY_CREDENTIALS] {
            assert!(!line.to_lowercase().contains(&secret.to_lowercase()), "{line}");
        }
    }
    // It did take in what is searched.
    for logged in [
        "tracing guard_agent",
        "tracing hyper_util",
        "log reqwest",
        "answered 401: HTTP 401",
        "not quoted",
        "HTTP 407",
        "Connect",
        "rules Some(2)",
        "access denied",
    ] {
        assert!(shown.contains(logged), "{logged} was never shown");
    }
}

/// What cannot be used is told without showing it.
fn misuse() {
    let error_of = |builder: AgentConfigBuilder| error(&builder.build().unwrap_err());
    let builder = || config("http://127.0.0.1");
    error_of(builder().api_key("planted\n"));
    error_of(builder().project_encryption_key("planted"));
    error_of(builder().endpoint("http://user:planted@host"));
    error_of(builder().endpoint("http://host/?key=planted"));
    error_of(builder().set("endpoint", "planted"));
    for url in
        ["redis://user:planted@", "wrong://:planted@host", "redis://planted@[", "rediss://:planted@host/x"]
    {
        let config = builder().redis_url(url).build().unwrap();
        debug(&config);
        debug(&RedisOptions::new(&config));
        error(&RedisStore::new(&RedisOptions::new(&config)).unwrap_err());
    }
    error(&AgentConfig::from_json(br#"{"api_key": ["planted"], "endpoint": {"a": "planted"}}"#).unwrap_err());
    error(&AgentConfig::from_json(br#"{"api_key": "planted"#).unwrap_err());

    let config = builder().build().unwrap();
    for options in [
        HttpOptions::new().proxy(format!("socks5://user:{PROXY_PASSWORD}@host")),
        HttpOptions::new().proxy(format!("http://user:{PROXY_PASSWORD}@[")),
        HttpOptions::new().root_certificates("planted"),
        HttpOptions::new().client_identity("planted", "planted"),
    ] {
        debug(&options);
        error(&HttpTransport::new(&config, "test", &options).unwrap_err());
    }
    let mut broken = config.clone();
    broken.endpoint = String::from("http://user:planted@[");
    error(&HttpTransport::new(&broken, "test", &HttpOptions::new()).unwrap_err());

    debug(&HttpTransport::new(&config, "test", &HttpOptions::new().no_proxy()).unwrap());
    let wire = Wire::new(&config, "test").unwrap();
    debug(&wire);
    debug(&wire.encode(&Payload::Rules { etag: None }, |body, _| body.to_vec()));
    let mut encoder = Encoder::new(&config, [1; 32]).unwrap();
    debug(&encoder);
    let record = encoder.event(&event()).unwrap();
    debug(&record);
    show(format_args!("{}", String::from_utf8_lossy(record.json())));
}

/// Every type of the public interface that can hold a secret and did not come out so far.
fn show_all() {
    for url in [
        "rediss://planted-user:planted-redis-password@h/3",
        "redis+unix:///run/redis.sock?user=planted-user&pass=planted-redis-password",
        "redis+cluster://planted-user:planted-redis-password@a,b:7000",
        "redis+sentinel://planted-user:planted-redis-password@a,b/primary/3",
    ] {
        let config = config("http://127.0.0.1").redis_url(format!("{url}\n")).build().unwrap();
        debug(&config.warnings);
        show(format_args!("{}", config.warnings[0]));
        let options = RedisOptions::new(&config);
        let target = Target::new(&options).unwrap();
        debug(&target);
        show(format_args!("{}", target.address));
        if let Address::Sentinels(sentinels) = &target.address {
            debug(sentinels);
        }
        debug(&RedisStore::new(&options).unwrap());
    }
    let options = HttpOptions::new().proxy(format!("http://user:{PROXY_PASSWORD}@proxy"));
    let config = config("https://platform.invalid").build().unwrap();
    debug(&http::HttpTransport::<Client>::new(&config, "test", &options).unwrap());

    let capture = CaptureTransport::new();
    let mut encoder = Encoder::new(&config, [1; 32]).unwrap();
    let record = encoder.event(&event()).unwrap();
    debug(&Input::Records(vec![record]));
    debug(&capture);
    debug(&MemoryStore::new());
}

/// Shows what a client is given.
struct Client;

impl http::HttpClient for Client {
    fn crypto() -> rustls::crypto::CryptoProvider {
        <guard_agent_tokio::ReqwestClient as http::HttpClient>::crypto()
    }

    fn new(setup: &http::HttpSetup) -> Result<Self, HttpError> {
        debug(setup);
        let proxy = setup.proxy.as_ref().unwrap();
        debug(proxy);
        debug(&(proxy.url(), proxy.authorization(), proxy.origin()));
        Ok(Self)
    }

    async fn exchange(&self, _: HttpRequest) -> Result<http::HttpAnswer, http::HttpFailure> {
        Err(http::HttpFailure::TimedOut)
    }

    fn offload(&self, _: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}
