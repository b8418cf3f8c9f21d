//! Every field of the configuration changes what the agent does.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use guard_agent_tests::collector::Collector;
use guard_agent_tests::redis_server::RedisServer;
use guard_agent_tokio::store::StoreRequest;
use guard_agent_tokio::wire::{HttpRequest, Wire};
use guard_agent_tokio::{
    Agent, AgentConfig, AgentConfigBuilder, AgentStatus, Attempt, Batch, BoxFuture, CaptureTransport,
    Encoder, Endpoint, HealthReason, HttpOptions, HttpTransport, Input, Instant, Kind, Ledger, MemoryStore,
    MetricType, Now, Output, Payload, Record, Request, Response, SecurityEvent, SecurityMetric, Timestamp,
    Transport,
};
use tokio::runtime::Builder;

const SECOND: Duration = Duration::from_secs(1);
const HANG: Duration = Duration::from_secs(30);
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A field, and for each of two values what is observed then.
type Row = (&'static str, [(&'static str, &'static str); 2], fn(Knob) -> String);

const ROWS: &[Row] = &[
    ("enabled", [("true", "1 of 1"), ("false", "0 of 0")], events_taken),
    ("api_key", [("the-first-key", "the-first-key"), ("the-second-key", "the-second-key")], |knob| {
        header(knob, "x-api-key")
    }),
    ("endpoint", [("http://a", "http://a/api/v1/events"), ("https://b/c", "https://b/c/api/v1/events")], url),
    ("project_id", [("", "0 polls"), ("shop", "1 polls")], |knob| {
        let mut core = Core::new(&knob.config());
        core.pass(SECOND, |_| answer(304));
        format!("{} polls", core.asked(Endpoint::Rules))
    }),
    ("buffer_size", [("3", "3 kept"), ("5", "5 kept")], |knob| kept(knob, 100)),
    ("buffer_bytes", [("50000", "4 kept"), ("100000", "9 kept")], |knob| kept(knob, 10_000)),
    ("buffer_overflow_policy", [("drop", "the newest"), ("raise", "the oldest")], |knob| {
        let mut core = Core::new(&knob.with("buffer_size", "2").with("batch_max_records", "2").config());
        core.send(Kind::Event, 10, 10);
        let batch = core.pass(SECOND, |_| answer(200)).remove(0);
        let first = number(batch.records().next().unwrap());
        String::from(if first == 0 { "the oldest" } else { "the newest" })
    }),
    ("high_watermark_ratio", [("0.5", "sent early"), ("0.9", "not yet")], |knob| {
        let mut core = Core::new(&knob.with("buffer_size", "100").config());
        core.send(Kind::Metric, 70, 10);
        let batches = core.pass(SECOND, |_| answer(200));
        String::from(if batches.is_empty() { "not yet" } else { "sent early" })
    }),
    ("flush_interval", [("2", "2s"), ("40", "40s")], |knob| leaves_after(knob, Kind::Metric)),
    ("event_linger", [("0.01", "10ms"), ("3", "3s")], |knob| leaves_after(knob, Kind::Event)),
    ("batch_max_records", [("3", "[3, 3, 3, 1]"), ("100", "[10]")], |knob| batch_sizes(knob, 10, 10)),
    ("batch_max_bytes", [("1024", "[1, 1, 1]"), ("4096", "[3]")], |knob| batch_sizes(knob, 3, 500)),
    ("drain", [("live_first", "soon"), ("fifo", "last")], |knob| {
        let knob = knob.with("batch_max_records", "10").with("max_concurrent_flushes", "1");
        let mut core = Core::new(&knob.config());
        // More batches than the window has free requests.
        core.send(Kind::Event, 600, 10);
        core.advance(Duration::from_millis(100));
        core.send(Kind::Event, 1, 10);
        let batches = core.pass(60 * SECOND, |_| answer(200));
        let place = batches.iter().position(|batch| batch.records().any(|json| number(json) == 600));
        String::from(if place.unwrap() < 30 { "soon" } else { "last" })
    }),
    ("max_record_age", [("none", "0 expired"), ("10", "1 expired")], |knob| {
        let mut core = Core::new(&knob.config());
        core.send(Kind::Event, 1, 10);
        core.advance(SECOND);
        // One behind the other, which is not answered.
        core.send(Kind::Event, 1, 10);
        core.advance(20 * SECOND);
        let dropped = core.agent.stats().records.events.dropped;
        format!("{} expired", dropped.total())
    }),
    ("dead_letter_capacity", [("2", "2 letters"), ("5", "5 letters")], |knob| {
        let mut core = Core::new(&knob.with("batch_max_records", "1").config());
        core.send(Kind::Event, 8, 10);
        core.pass(60 * SECOND, |_| answer(413));
        format!("{} letters", core.agent.take_dead_letters().len())
    }),
    ("max_concurrent_flushes", [("1", "1 out"), ("2", "2 out")], |knob| {
        let mut core = Core::new(&knob.with("flush_interval", "0.05").config());
        core.send(Kind::Event, 1, 10);
        core.send(Kind::Metric, 1, 10);
        core.advance(SECOND);
        format!("{} out", core.out.len())
    }),
    ("rate_limit", [("10", "true"), ("100", "false")], at_most_ten_a_minute),
    ("rate_window", [("60", "true"), ("10", "false")], |knob| {
        at_most_ten_a_minute(knob.with("rate_limit", "10"))
    }),
    ("retry_attempts", [("0", "2 times whole"), ("3", "4 times whole")], |knob| {
        let mut core = Core::new(&knob.config());
        core.send(Kind::Event, 2, 10);
        // Which of the two it is, nobody says: in the end they are tried one by one.
        let unsure = |_| Response { body: br#"{"success":false}"#.to_vec(), ..answer(200) };
        let batches = core.pass(60 * SECOND, unsure);
        format!("{} times whole", batches.iter().filter(|batch| batch.records().len() == 2).count())
    }),
    ("backoff_factor", [("0.001", "quick"), ("300", "slow")], |knob| {
        retries(knob.with("breaker_threshold", "1000").with("rate_limit", "1000"), 5, 2 * SECOND)
    }),
    ("breaker_threshold", [("1", "Open"), ("2", "Closed")], |knob| {
        let mut core = Core::new(&knob.config());
        core.send(Kind::Event, 1, 10);
        core.pass(Duration::from_millis(50), |_| answer(500));
        format!("{:?}", core.agent.stats().breaker)
    }),
    ("breaker_recovery", [("1", "quick"), ("50", "slow")], |knob| {
        retries(knob.with("breaker_threshold", "1").with("breaker_recovery_max", "60"), 1, 9 * SECOND)
    }),
    ("breaker_recovery_max", [("5", "true"), ("3600", "false")], |knob| {
        let mut core = Core::new(&knob.config());
        core.send(Kind::Event, 1, 10);
        core.pass(3_600 * SECOND, |_| answer(500));
        let before = core.asked(Endpoint::Events);
        core.pass(100 * SECOND, |_| answer(500));
        (core.asked(Endpoint::Events) - before >= 10).to_string()
    }),
    ("accept_any_success", [("false", "0"), ("true", "1")], |knob| {
        let mut core = Core::new(&knob.config());
        core.send(Kind::Event, 1, 10);
        core.pass(SECOND, |_| Response { body: Vec::new(), ..answer(200) });
        core.agent.stats().records.events.delivered.to_string()
    }),
    ("timeout", [("1", "given up"), ("50", "waiting")], |knob| {
        let mut core = Core::new(&knob.with("connect_timeout", "1").config());
        core.send(Kind::Event, 1, 10);
        core.advance(20 * SECOND);
        String::from(if core.agent.stats().requests_failed > 0 { "given up" } else { "waiting" })
    }),
    ("connect_timeout", [("0.1", "given up"), ("10", "waiting")], |knob| {
        in_real_time(async move {
            // A connection to https is made by a handshake, to which nobody answers here.
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            let endpoint = format!("https://{}", silent.local_addr().unwrap());
            let mut config = knob.with("endpoint", &endpoint).config();
            let transport = HttpTransport::new(&config, "install-1", &HttpOptions::new().no_proxy()).unwrap();
            // Which of two ends first shows on a busy machine, too.
            config.connect_timeout = 2 * SECOND;
            let other = HttpTransport::new(&config, "install-1", &HttpOptions::new().no_proxy()).unwrap();
            tokio::select! {
                _ = transport.send(Payload::Rules { etag: None }) => String::from("given up"),
                _ = other.send(Payload::Rules { etag: None }) => String::from("waiting"),
            }
        })
    }),
    ("dynamic_rule_interval", [("60", "true"), ("300", "false")], |knob| {
        let mut core = Core::new(&knob.with("project_id", "shop").config());
        core.pass(600 * SECOND, |_| answer(304));
        (core.asked(Endpoint::Rules) > 5).to_string()
    }),
    ("accept_any_rules", [("false", "version 2"), ("true", "version 1")], |knob| {
        let mut core = Core::new(&knob.with("project_id", "shop").config());
        core.pass(5 * SECOND, |_| rules(2));
        core.input(Input::RefreshRules);
        core.pass(5 * SECOND, |_| rules(1));
        format!("version {}", core.agent.rules().unwrap().rules.version)
    }),
    ("informational_event_types", [("", "polled quickly"), ("rate_limited", "not polled")], |knob| {
        let config = knob.with("project_id", "shop").config();
        let mut core = Core::new(&config);
        core.pass(SECOND, |_| answer(304));
        let before = core.asked(Endpoint::Rules);
        core.input(Input::Records(vec![Encoder::new(&config, [1; 32]).unwrap().event(&event()).unwrap()]));
        core.pass(30 * SECOND, |endpoint| answer(if endpoint == Endpoint::Rules { 304 } else { 200 }));
        let quickly = core.asked(Endpoint::Rules) > before;
        String::from(if quickly { "polled quickly" } else { "not polled" })
    }),
    ("status_interval", [("60", "10 pushes"), ("300", "2 pushes")], |knob| {
        let mut core = Core::new(&knob.config());
        core.pass(600 * SECOND, |_| answer(200));
        format!("{} pushes", core.asked(Endpoint::Status))
    }),
    ("enable_events", [("true", "1 of 1"), ("false", "0 of 0")], events_taken),
    ("enable_metrics", [("true", "1 of 1"), ("false", "0 of 0")], metrics_taken),
    ("muted_event_types", [("", "sent"), ("rate_limited,other", "the event type is muted")], encoded),
    ("sample_rates", [("rate_limited=1", "sent"), ("rate_limited=0", "sampled out")], encoded),
    ("sensitive_headers", [("x-other", "planted"), ("x-mine", "[REDACTED]")], |knob| {
        let event = event().metadata("x-mine", "planted");
        member(knob, &event, "/metadata/x-mine")
    }),
    ("sensitive_query_params", [("other", "/a?mine=planted"), ("mine", "/a?mine=[REDACTED]")], |knob| {
        member(knob, &event().endpoint("/a?mine=planted"), "/endpoint")
    }),
    ("max_payload_size", [("64", "true"), ("1024", "false")], |knob| {
        (member(knob, &event().reason("x".repeat(500)), "/reason").len() <= 64).to_string()
    }),
    ("credential_rules", [("jwt", "//u:planted@h"), ("url_userinfo", "//u:[REDACTED]@h")], |knob| {
        member(knob, &event().reason("http://u:planted@h"), "/reason").replace("http:", "")
    }),
    ("ip_privacy", [("full", "203.0.113.9"), ("truncate", "203.0.113.0")], address),
    ("ip_hash_salt", [("salt", "ae5ea7f00c24e183"), ("pepper", "9c2759aedeb36a71")], |knob| {
        address(knob.with("ip_privacy", "hash"))
    }),
    (
        "project_encryption_key",
        [("", "http://h/api/v1/events"), (KEY, "http://h/api/v1/events/encrypted")],
        |knob| url(knob.with("endpoint", "http://h")),
    ),
    ("payload_signing_secret", [("", "nothing"), ("topsecret", "a signature")], |knob| {
        let signature = header(knob, "x-payload-signature");
        String::from(if signature.is_empty() { "nothing" } else { "a signature" })
    }),
    ("compression_enabled", [("true", "gzip"), ("false", "")], |knob| {
        header(knob.with("compression_threshold", "1"), "content-encoding")
    }),
    ("compression_threshold", [("50", "gzip"), ("50000", "")], |knob| header(knob, "content-encoding")),
    ("guard_version", [("1.2.3", "1.2.3"), ("4.5.6", "4.5.6")], |knob| envelope(knob, "/guard_version")),
    ("guard_core_version", [("1.2.3", "1.2.3"), ("4.5.6", "4.5.6")], |knob| {
        envelope(knob, "/guard_core_version")
    }),
    ("install_id", [("host-1", "host-1"), ("host-2", "host-2")], |knob| {
        in_real_time(async move {
            let collector = Collector::start();
            let config = knob.with("endpoint", &collector.url()).config();
            let agent = Agent::builder(config).start().unwrap();
            agent.send_event(event());
            collector.until(|received| !received.exchanges.is_empty(), HANG).await;
            collector.read(|received| received.exchanges[0].headers["x-agent-install-id"].clone())
        })
    }),
    ("redis_url", [("none", "0 of 1, none"), ("redis://127.0.0.1:1", "0 of 1, unreachable")], |knob| {
        in_real_time(async move {
            let config = knob.config();
            let has_store = config.redis_url.is_some();
            let agent = Agent::builder(config).transport(Arc::new(Silent)).start().unwrap();
            agent.send_event(event());
            let why = || {
                agent.health().reasons.into_iter().find_map(|reason| match reason {
                    HealthReason::JournalDown { why, store: _ } => Some(why.as_str()),
                    _ => None,
                })
            };
            let mut report = agent.persist(Duration::from_millis(200)).await;
            while has_store && why().is_none() {
                report = agent.persist(Duration::from_millis(200)).await;
            }
            let why = why().unwrap_or("none");
            format!("{} of {}, {why}", report.persisted.events, report.pending.events)
        })
    }),
    ("redis_key_prefix", [("a:b", "a:b:streams"), ("shop", "shop:streams")], |knob| {
        in_real_time(async move {
            let server = RedisServer::start(&[]);
            let config = knob.with("redis_url", &server.url()).config();
            let agent = Agent::builder(config).transport(Arc::new(Silent)).start().unwrap();
            agent.send_event(event());
            assert!(agent.persist(10 * SECOND).await.is_secured());
            server.cli(&["KEYS", "*:streams"]).trim().to_owned()
        })
    }),
    ("redis_ca_file", [("none", "started"), ("/nonexistent", "refused")], |knob| {
        starts(knob.with("redis_url", "rediss://127.0.0.1:1"), "redis_ca_file")
    }),
    ("journal_dir", [("none", "started"), ("/dev/null/journal", "refused")], |knob| {
        starts(knob, "journal_dir")
    }),
    ("journal_records", [("100", "100 kept"), ("200", "200 kept")], |knob| {
        journaled(knob.with("buffer_size", "40"), 10)
    }),
    ("journal_bytes", [("100000", "48 kept"), ("200000", "96 kept")], |knob| {
        journaled(knob.with("buffer_size", "40").with("buffer_bytes", "60000"), 2_000)
    }),
    ("journal_lease", [("2", "2 adopted"), ("60", "0 adopted")], |knob| {
        let config = knob.config();
        let mut dead = Core::journaled(&config, 1);
        dead.send(Kind::Event, 2, 10);
        let mut core = Core { store: dead.store.take(), ..Core::new_with(&config, true, 2) };
        core.input(Input::Timeout);
        core.advance(2 * SECOND);
        format!("{} adopted", core.agent.stats().records.events.recovered)
    }),
    ("journal_timeout", [("1", "1s"), ("0.5", "500ms")], |knob| {
        format!("{:?}", Core::new_with(&knob.config(), true, 1).operations.remove(0).timeout)
    }),
];

#[test]
fn every_field_changes_what_the_agent_does() {
    let rows: BTreeSet<_> = ROWS.iter().map(|(field, ..)| *field).collect();
    assert_eq!(rows, AgentConfig::FIELDS.iter().copied().collect(), "each field needs a row");
    for (field, cases, observe) in ROWS {
        for (value, observed) in cases {
            assert_eq!(observe(Knob::new(field, value)), *observed, "{field} = {value:?}");
        }
        assert_ne!(cases[0].1, cases[1].1, "{field}: nothing changes");
    }
}

/// A field that was set to a value; others may join it.
struct Knob(AgentConfigBuilder);

impl Knob {
    fn new(field: &str, value: &str) -> Self {
        Self(AgentConfig::builder("key-of-the-tests")).with(field, value)
    }

    fn with(self, field: &str, value: &str) -> Self {
        Self(self.0.set(field, value))
    }

    fn config(self) -> AgentConfig {
        self.0.build().unwrap()
    }
}

/// The core on virtual time.
struct Core {
    agent: guard_agent_proto::Agent,
    store: Option<MemoryStore>,
    /// What it wants of a store that is not there.
    operations: Vec<StoreRequest>,
    now: Instant,
    deadline: Instant,
    out: Vec<Request>,
    asked: Vec<Endpoint>,
    records: usize,
}

impl Core {
    fn new(config: &AgentConfig) -> Self {
        Self::new_with(config, false, 42)
    }

    fn journaled(config: &AgentConfig, seed: u8) -> Self {
        let mut core = Self { store: Some(MemoryStore::new()), ..Self::new_with(config, true, seed) };
        core.serve();
        core
    }

    fn new_with(config: &AgentConfig, journal: bool, seed: u8) -> Self {
        let mut core = Self {
            agent: guard_agent_proto::Agent::new(config, journal, [seed; 32], at(Instant::ZERO)).unwrap(),
            store: None,
            operations: Vec::new(),
            now: Instant::ZERO,
            deadline: Instant::FAR_FUTURE,
            out: Vec::new(),
            asked: Vec::new(),
            records: 0,
        };
        core.input(Input::Timeout);
        core
    }

    fn serve(&mut self) {
        while let Some(store) = &self.store
            && let Some(request) = self.operations.pop()
        {
            let id = request.id;
            let result = store.execute_at(request, self.now);
            self.input(Input::StoreReply { id, result });
        }
    }

    fn input(&mut self, input: Input) {
        self.agent.handle_input(at(self.now), input);
        loop {
            match self.agent.poll_output() {
                Output::Send(request) => {
                    self.asked.push(request.payload.endpoint());
                    self.out.push(request);
                }
                Output::Store(request) => self.operations.push(request),
                Output::Idle { deadline, .. } => {
                    self.deadline = deadline;
                    return self.serve();
                }
                _ => {}
            }
        }
    }

    /// Hands over numbered records of about that size.
    fn send(&mut self, kind: Kind, count: usize, size: usize) {
        let record = |number| {
            let json = format!(r#"{{"number":{number},"filling":"{}"}}"#, "x".repeat(size));
            Record::new(kind, false, json.into_bytes().into())
        };
        let records = (self.records..self.records + count).map(record).collect();
        self.records += count;
        self.input(Input::Records(records));
    }

    /// Lets time pass; nothing is answered.
    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while self.deadline <= end {
            self.now = self.deadline;
            self.input(Input::Timeout);
        }
        self.now = end;
        self.input(Input::Timeout);
    }

    /// Lets time pass and answers all requests at once; the batches that were sent.
    fn pass(&mut self, time: Duration, respond: fn(Endpoint) -> Response) -> Vec<Arc<Batch>> {
        let end = self.now + time;
        let mut batches = Vec::new();
        loop {
            while let Some(request) = self.out.pop() {
                let result = Ok(respond(request.payload.endpoint()));
                self.input(Input::Response { id: request.id, result });
                if let Payload::Batch(batch) = request.payload {
                    batches.push(batch);
                }
            }
            if self.deadline > end {
                self.now = end;
                return batches;
            }
            self.advance(self.deadline.since(self.now));
        }
    }

    /// Requests so far.
    fn asked(&self, endpoint: Endpoint) -> usize {
        self.asked.iter().filter(|asked| **asked == endpoint).count()
    }
}

fn answer(status: u16) -> Response {
    Response { status, ..Response::accepted() }
}

fn at(instant: Instant) -> Now {
    let micros = i64::try_from(instant.since(Instant::ZERO).as_micros()).unwrap();
    Now { instant, wall: Timestamp::from_unix_micros(1_795_342_404_000_000 + micros) }
}

fn number(json: &[u8]) -> u64 {
    serde_json::from_slice::<serde_json::Value>(json).unwrap()["number"].as_u64().unwrap()
}

/// How many of ten records fit into memory.
fn kept(knob: Knob, size: usize) -> String {
    let mut core = Core::new(&knob.config());
    core.send(Kind::Event, 10, size);
    format!("{} kept", core.agent.stats().records.events.pending)
}

/// How many of 300 records memory and journal keep together, while nothing is delivered.
fn journaled(knob: Knob, size: usize) -> String {
    let mut core = Core::journaled(&knob.config(), 1);
    for _ in 0..300 {
        core.send(Kind::Event, 1, size);
        core.advance(Duration::from_millis(60));
    }
    format!("{} kept", core.agent.stats().records.events.pending)
}

/// Whether an agent starts, or is refused because of that field.
fn starts(knob: Knob, field: &str) -> String {
    in_real_time(async move {
        match Agent::builder(knob.config()).start() {
            Ok(_) => String::from("started"),
            Err(error) => String::from(if error.to_string().contains(field) { "refused" } else { "?" }),
        }
    })
}

/// A platform that never answers.
struct Silent;

impl Transport for Silent {
    fn send_events(&self, _: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        Box::pin(std::future::pending())
    }

    fn send_metrics(&self, _: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        Box::pin(std::future::pending())
    }

    fn send_status(&self, _: Arc<AgentStatus>) -> BoxFuture<'_, Attempt> {
        Box::pin(std::future::pending())
    }

    fn fetch_rules(&self, _: Option<Arc<str>>) -> BoxFuture<'_, Attempt> {
        Box::pin(std::future::pending())
    }
}

fn leaves_after(knob: Knob, kind: Kind) -> String {
    let mut core = Core::new(&knob.config());
    core.send(kind, 1, 10);
    while core.out.is_empty() {
        core.advance(core.deadline.since(core.now));
    }
    format!("{:?}", core.now.since(Instant::ZERO))
}

/// Into how many and how large batches ten records, or three large ones, are put.
fn batch_sizes(knob: Knob, count: usize, size: usize) -> String {
    let mut core = Core::new(&knob.config());
    core.send(Kind::Event, count, size);
    let batches = core.pass(60 * SECOND, |_| answer(200));
    format!("{:?}", batches.iter().map(|batch| batch.records().len()).collect::<Vec<_>>())
}

fn rules(version: u32) -> Response {
    let body = format!(r#"{{"rule_id":"a","version":{version},"ip_blacklist":["192.0.2.7"]}}"#);
    Response { body: body.into_bytes(), ..answer(200) }
}

/// Whether a load that never ends keeps within ten requests in its first minute.
fn at_most_ten_a_minute(knob: Knob) -> String {
    let mut core = Core::new(&knob.config());
    for _ in 0..600 {
        core.send(Kind::Event, 1, 10);
        core.pass(Duration::from_millis(100), |_| answer(200));
    }
    (core.asked.len() <= 10).to_string()
}

/// Whether that many retries of what fails come within `limit`.
fn retries(knob: Knob, count: usize, limit: Duration) -> String {
    let mut core = Core::new(&knob.config());
    core.send(Kind::Event, 1, 10);
    core.pass(limit, |_| answer(500));
    String::from(if core.asked(Endpoint::Events) > count { "quick" } else { "slow" })
}

fn event() -> SecurityEvent {
    SecurityEvent::new("rate_limited", Timestamp::from_unix_micros(0)).ip_address("203.0.113.9")
}

/// What the encoder says of an event.
fn encoded(knob: Knob) -> String {
    let mut encoder = Encoder::new(&knob.config(), [1; 32]).unwrap();
    encoder.event(&event()).map_or_else(|error| error.to_string(), |_| String::from("sent"))
}

/// A member of an encoded event.
fn member(knob: Knob, event: &SecurityEvent, pointer: &str) -> String {
    let record = Encoder::new(&knob.config(), [1; 32]).unwrap().event(event).unwrap();
    text(record.json(), pointer)
}

fn address(knob: Knob) -> String {
    member(knob, &event(), "/ip_address")
}

fn text(json: &[u8], pointer: &str) -> String {
    let value: serde_json::Value = serde_json::from_slice(json).unwrap();
    value.pointer(pointer).unwrap().as_str().unwrap().to_owned()
}

/// The first request that a record leads to.
fn request(knob: Knob) -> HttpRequest {
    let config = knob.config();
    let mut core = Core::new(&config);
    core.send(Kind::Event, 1, 10);
    core.advance(SECOND);
    let batch = core.out.iter().find(|request| request.payload.endpoint() == Endpoint::Events).unwrap();
    Wire::new(&config, "install-1").unwrap().encode(&batch.payload, |body, _| body.to_vec())
}

/// A member of that request's body.
fn envelope(knob: Knob, pointer: &str) -> String {
    text(&request(knob).body, pointer)
}

fn url(knob: Knob) -> String {
    request(knob).url
}

/// A header of that request; empty if it has none.
fn header(knob: Knob, name: &str) -> String {
    let headers = request(knob).headers;
    headers.iter().find(|(n, _)| *n == name).map_or_else(String::new, |(_, value)| value.expose().to_owned())
}

/// How many of one event the agent says it took and delivered.
fn events_taken(knob: Knob) -> String {
    taken(knob, Kind::Event)
}

fn metrics_taken(knob: Knob) -> String {
    taken(knob, Kind::Metric)
}

/// How many of one record of each kind arrive.
fn taken(knob: Knob, kind: Kind) -> String {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let transport = CaptureTransport::new();
        let agent = Agent::builder(knob.config()).transport(Arc::new(transport.clone())).start().unwrap();
        agent.send_event(event());
        agent.send_metric(SecurityMetric::now(MetricType::ErrorRate, 0.5));
        agent.shutdown(SECOND).await;
        let Ledger { accepted, .. } = agent.stats().records[kind];
        let arrived = match kind {
            Kind::Event => transport.events().len(),
            Kind::Metric => transport.metrics().len(),
        };
        format!("{arrived} of {accepted}")
    })
}

/// Over sockets.
fn in_real_time(observation: impl Future<Output = String>) -> String {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(HANG, observation).await.unwrap() })
}
