//! What the agent and everything below it says in the log while it talks to a platform in trouble.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use guard_agent_tests::collector::{Answer, Collector, Endpoint};
use guard_agent_tokio::{
    Agent, AgentConfig, AgentConfigBuilder, HealthReason, MetricType, SecurityEvent, SecurityMetric,
    StatusLevel,
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
