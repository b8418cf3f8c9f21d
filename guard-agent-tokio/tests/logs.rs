//! What the agent and everything below it says in the log while it talks to a platform in trouble.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use guard_agent_tests::collector::{Answer, Collector, Endpoint};
use guard_agent_tokio::{
    Agent, AgentConfig, AgentConfigBuilder, AgentStatus, Attempt, Batch, BoxFuture, HealthReason, MetricType,
    Response, SecurityEvent, SecurityMetric, StatusLevel, Transport, TransportError, TransportErrorKind,
    printable,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const LIMIT: Duration = Duration::from_secs(30);

/// Counts the log records of every crate at every level, and may make an event of each.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<(usize, Option<Agent>)>>);

impl Log {
    fn count(&self) -> usize {
        self.0.lock().unwrap().0
    }

    fn mirror(&self, agent: Option<Agent>) {
        self.0.lock().unwrap().1 = agent;
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        let mirror = {
            let mut state = self.0.lock().unwrap();
            state.0 += 1;
            state.1.clone()
        };
        if let Some(agent) = mirror {
            agent.send_event(SecurityEvent::now("log_record"));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn config(collector: &Collector) -> AgentConfigBuilder {
    AgentConfig::builder("key-of-the-tests")
        .endpoint(collector.url())
        .install_id(String::from("test"))
        .rate_limit(1_000)
        .backoff_factor(Duration::from_millis(10))
        .breaker_recovery(Duration::from_millis(200))
        .breaker_recovery_max(Duration::from_millis(500))
        .timeout(Duration::from_secs(1))
}

/// Keeps the agent's own messages.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "guard_agent"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push((*event.metadata().level(), message.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn the_start_and_the_end_say_what_a_person_has_to_know() {
    let lines = Lines::default();
    let _logging = tracing::subscriber::set_default(lines.clone());
    let collector = Collector::start();
    collector.down();
    let config = config(&collector)
        .flush_interval(Duration::from_secs(7 * 86_400))
        .merge_vars([("GUARD_AGENT_REDIS_URI", "redis://127.0.0.1")])
        .build()
        .unwrap();

    let agent = Agent::builder(config).start().unwrap();
    agent.send_event(SecurityEvent::now("suspicious_request"));
    agent.send_metric(SecurityMetric::now(MetricType::ErrorRate, f64::NAN));
    agent.shutdown(Duration::from_millis(200)).await;

    let told = lines.0.lock().unwrap().clone();
    for (level, message) in [
        (Level::WARN, "no field `GUARD_AGENT_REDIS_URI`; is `GUARD_AGENT_REDIS_URL` meant?"),
        (Level::WARN, "`flush_interval` is 604800 s: 86400 s is used"),
        (Level::INFO, "no rules are fetched, for there is no `project_id`"),
        (Level::WARN, "1 records were not valid"),
        (Level::WARN, "neither delivered nor in a journal"),
    ] {
        let said = told.iter().filter(|line| line.0 == level && line.1.contains(message)).count();
        assert_eq!(said, 1, "{message}: {told:?}");
    }
    let health = agent.health();
    assert_eq!(health.level, StatusLevel::Failed);
    assert_eq!(health.reasons.last(), Some(&HealthReason::Stopped));
}

#[tokio::test]
async fn a_log_that_becomes_events_comes_to_rest_over_http() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let collector = Collector::start();
    collector.events().answer_next(2, Answer::status(503));
    let agent = Agent::builder(config(&collector).build().unwrap()).start().unwrap();
    log.mirror(Some(agent.clone()));
    agent.send_event(SecurityEvent::now("suspicious_request"));
    let said = || (collector.read(|received| received.to(Endpoint::Events).count()), log.count());
    collector.until(|received| received.to(Endpoint::Events).count() > 2, LIMIT).await;
    let at_rest = async {
        loop {
            let before = said();
            // Longer than any pause between two tries.
            tokio::time::sleep(Duration::from_secs(2)).await;
            if said() == before {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, at_rest).await.unwrap();
    assert!(log.count() > 0);
    log.mirror(None);
    agent.shutdown(LIMIT).await;
}

#[tokio::test]
async fn sending_logs_nothing_on_the_callers_thread() {
    let collector = Collector::start();
    collector.down();
    let agent = Agent::builder(config(&collector).buffer_size(10).build().unwrap()).start().unwrap();
    let send = || {
        let log = Log::default();
        tracing::subscriber::with_default(log.clone(), || {
            for _ in 0..5_000 {
                agent.send_event(SecurityEvent::now("suspicious_request"));
                let _ = agent.try_send_event(SecurityEvent::now("suspicious_request"));
                agent.send_metric(SecurityMetric::now(MetricType::ErrorRate, f64::NAN));
            }
        });
        log.count()
    };
    assert_eq!(send(), 0);
    assert!(agent.stats().records.events.dropped.total() > 0);
    agent.shutdown(Duration::from_millis(100)).await;
    assert_eq!(send(), 0);
}

/// A platform behind a transport of one's own, whose every word is an attacker's.
#[derive(Debug)]
struct Hostile(String);

impl Hostile {
    fn attempt(&self) -> BoxFuture<'_, Attempt> {
        Box::pin(async { Err(TransportError::new(TransportErrorKind::Connection, self.0.clone())) })
    }
}

impl Transport for Hostile {
    fn send_events(&self, _: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        self.attempt()
    }

    fn send_metrics(&self, _: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        self.attempt()
    }

    fn send_status(&self, _: Arc<AgentStatus>) -> BoxFuture<'_, Attempt> {
        self.attempt()
    }

    fn fetch_rules(&self, _: Option<Arc<str>>) -> BoxFuture<'_, Attempt> {
        let body = format!(r#"{{"rule_id":"r","version":{}}}"#, serde_json::Value::from(self.0.as_str()));
        Box::pin(async { Ok(Response { body: body.into_bytes(), ..Response::accepted() }) })
    }
}

#[tokio::test]
async fn log_and_error_hook_get_short_clean_lines_whatever_is_said() {
    let lines = Lines::default();
    let _logging = tracing::subscriber::set_default(lines.clone());
    let hostile = "\u{1b}[2J\u{202e}planted\u{2028}\u{200b}\r\n".repeat(50_000);
    let told = Arc::new(Mutex::new(Vec::new()));
    let config = AgentConfig::builder("key-of-the-tests")
        .project_id("shop")
        .install_id("test")
        .backoff_factor(Duration::from_millis(1))
        .retry_attempts(0)
        .flush_interval(Duration::from_millis(10))
        .merge_vars([(format!("GUARD_AGENT_{hostile}"), "1")])
        .build()
        .unwrap();
    let agent = Agent::builder(config)
        .transport(Arc::new(Hostile(hostile)))
        .on_error({
            let told = Arc::clone(&told);
            move |error| told.lock().unwrap().push(error.clone())
        })
        .start()
        .unwrap();
    agent.send_event(SecurityEvent::now("suspicious_request"));
    agent.send_metric(SecurityMetric::now(MetricType::ErrorRate, 1.0));
    let begun = std::time::Instant::now();
    while told.lock().unwrap().len() < 4 {
        assert!(begun.elapsed() < LIMIT, "{told:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    agent.shutdown(Duration::from_millis(100)).await;

    let told = told.lock().unwrap().iter().map(|error| error.message.clone()).collect::<Vec<_>>();
    let logged = lines.0.lock().unwrap().iter().map(|line| line.1.clone()).collect::<Vec<_>>();
    assert!(told.iter().any(|line| line.contains("planted")), "{told:?}");
    assert!(logged.iter().any(|line| line.contains("planted")), "{logged:?}");
    let bad_rules = "bad rules: `version`: invalid type: string, expected i64";
    assert!(told.iter().any(|line| line.starts_with(bad_rules)), "{told:?}");
    for line in told.into_iter().chain(logged) {
        assert!(line.len() <= 1_024 && printable(&line) == line, "{line:?}");
    }
}
