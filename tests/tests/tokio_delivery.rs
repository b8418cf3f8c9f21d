//! The tokio agent against a real collector: over sockets, with everything that goes wrong there.
//!
//! Times are limits against hanging alone, about ten times what is expected.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use guard_agent_tests::collector::{Answer, Builder, Collector, Endpoint, Keys};
use guard_agent_tokio::{
    Agent, AgentConfig, AgentConfigBuilder, Credentials, DrainOrder, HealthReason, MetricType, Secret,
    SecurityEvent, SecurityMetric, StatusLevel,
};
use serde_json::json;
use tokio::task::JoinSet;

/// Ten times what the slowest takes: ten thousand events at the default pace.
const LIMIT: Duration = Duration::from_secs(120);
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Everything ten times as fast as by default, so that retries do not take the test's time.
fn config(collector: &Collector) -> AgentConfigBuilder {
    AgentConfig::builder("test-api-key")
        .endpoint(collector.url())
        .install_id(String::from("test"))
        .rate_limit(1_000)
        .backoff_factor(Duration::from_millis(10))
        .breaker_recovery(Duration::from_millis(200))
        .breaker_recovery_max(Duration::from_millis(500))
        .timeout(Duration::from_secs(1))
}

fn start(config: AgentConfigBuilder) -> Agent {
    Agent::builder(config.build().unwrap()).start().unwrap()
}

fn send(agent: &Agent, count: usize) {
    for number in 0..count {
        agent.send_event(
            SecurityEvent::now("rate_limited").ip_address("192.0.2.7").metadata("number", number),
        );
    }
}

/// Shuts down and checks that `events` were delivered, and nothing else became of any.
async fn end(agent: Agent, collector: &Collector, events: u64) {
    let report = agent.shutdown(LIMIT).await;
    assert!(report.is_complete(), "{report:?}");
    let ledger = agent.stats().records.events;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.accepted, ledger.delivered, ledger.dropped.total()), (events, events, 0));
    assert_eq!(collector.read(|received| received.event_count), events);
    assert_eq!(collector.violations(), [""; 0]);
}

/// The numbers that [`send`] gave the events, in order of arrival.
fn numbers(collector: &Collector) -> Vec<u64> {
    collector.read(|received| {
        received.events.iter().map(|event| event.value()["metadata"]["number"].as_u64().unwrap()).collect()
    })
}

#[tokio::test]
async fn whatever_is_answered_nothing_is_lost() {
    let slow = || Answer::normal().after(Duration::from_secs(3));
    let table = [
        ("empty object", 1, Answer::json(200, &json!({}))),
        ("no body", 1, Answer::status(204)),
        ("202", 1, Answer::json(202, &json!({"success": true}))),
        ("failure without names", 1, Answer::json(200, &json!({"success": false})).refusing()),
        ("some refused", 1, Answer::partly(&[0, 2, 4])),
        ("HTML", 1, Answer::status(200).body("<html>maintenance</html>").refusing()),
        ("redirect", 1, Answer::status(302).header("location", "http://127.0.0.1:9/")),
        ("400", 1, Answer::status(400)),
        ("401", 1, Answer::status(401)),
        ("403", 1, Answer::status(403)),
        ("404", 1, Answer::status(404)),
        ("408", 2, Answer::status(408)),
        ("413", 2, Answer::status(413)),
        ("422", 2, Answer::status(422)),
        ("429", 2, Answer::status(429).header("retry-after", "0.2")),
        ("429 with nonsense", 1, Answer::status(429).header("retry-after", "nan")),
        ("429 in the past", 1, Answer::status(429).header("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")),
        ("500", 6, Answer::status(500)),
        ("503", 2, Answer::status(503).header("retry-after", "1")),
        ("reset", 3, Answer::reset()),
        ("lost answer", 2, Answer::lost()),
        ("cut answer", 1, Answer::cut()),
        ("garbage", 2, Answer::garbage()),
        ("answered twice", 1, Answer::normal().twice()),
        ("hanging", 1, Answer::hang()),
        ("too slow", 1, slow()),
        ("trickling", 1, Answer::normal().trickling(Duration::from_millis(50))),
        ("endless body", 1, Answer::endless_body()),
        ("endless headers", 1, Answer::endless_headers()),
    ];
    let mut cases = JoinSet::new();
    for (name, times, answer) in table {
        cases.spawn(async move {
            let collector = Collector::start();
            collector.events().answer_next(times, answer);
            let agent = start(config(&collector));
            send(&agent, 6);
            let all_taken = agent.flush(LIMIT).await;
            assert!(all_taken.is_complete(), "{name}: {all_taken:?}");
            assert_eq!(collector.events().left(), 0, "{name}");
            send(&agent, 6);
            end(agent, &collector, 12).await;
        });
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

#[tokio::test]
async fn an_outage_loses_nothing_and_keeps_the_order() {
    let collector = Collector::start();
    let agent = start(config(&collector));
    send(&agent, 10);
    assert!(agent.flush(LIMIT).await.is_complete());
    collector.down();
    for _ in 0..20 {
        send(&agent, 10);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(agent.stats().records.events.pending, 200);
    collector.up();
    collector.until(|received| received.events.len() == 210, LIMIT).await;
    let sent: Vec<u64> = std::iter::repeat_n(0..10, 21).flatten().collect();
    assert_eq!(numbers(&collector), sent);
    assert_eq!(collector.read(|received| received.duplicates), 0);
    end(agent, &collector, 210).await;
}

#[tokio::test]
async fn a_backlog_drains_in_order_if_that_is_asked_for() {
    let collector = Collector::start();
    let agent = start(config(&collector).drain(DrainOrder::Fifo).batch_max_records(50));
    collector.down();
    for _ in 0..10 {
        send(&agent, 100);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    collector.up();
    collector.until(|received| received.events.len() == 1_000, LIMIT).await;
    assert_eq!(numbers(&collector), std::iter::repeat_n(0..100, 10).flatten().collect::<Vec<u64>>());
    end(agent, &collector, 1_000).await;
}

#[tokio::test]
async fn a_burst_of_ten_thousand_loses_none() {
    let collector = Collector::start();
    let agent = start(AgentConfig::builder("test-api-key").endpoint(collector.url()));
    send(&agent, 10_000);
    collector.until(|received| received.events.len() == 10_000, LIMIT).await;
    end(agent, &collector, 10_000).await;
}

#[tokio::test]
async fn every_way_of_encoding_is_read_back() {
    let sealed =
        |builder: Builder| builder.api_key("test-api-key").signing_secret("topsecret").encryption_key(KEY);
    for encrypted in [false, true] {
        for compressed in [false, true] {
            let builder = Collector::builder().api_key("test-api-key");
            let collector = if encrypted { sealed(builder).start() } else { builder.start() };
            let mut config = config(&collector).compression_enabled(compressed).compression_threshold(0);
            if encrypted {
                config = config.project_encryption_key(KEY).payload_signing_secret("topsecret");
            }
            let agent = start(config);
            send(&agent, 100);
            agent.send_metric(SecurityMetric::now(MetricType::RequestCount, 1.0).tag("method", "GET"));
            end(agent.clone(), &collector, 100).await;
            assert_eq!(numbers(&collector), (0..100).collect::<Vec<_>>());
            let metrics = collector.read(|received| received.metrics.clone());
            assert_eq!(metrics.len(), 1);
            assert_eq!(metrics[0].value()["tags"], json!({"method": "GET"}));
            collector.read(|received| {
                for exchange in &received.exchanges {
                    let gzip = exchange.headers.get("content-encoding").is_some_and(|value| value == "gzip");
                    assert_eq!(gzip, compressed, "{exchange:?}");
                }
            });
        }
    }
}

#[tokio::test]
async fn a_retry_repeats_the_bytes() {
    let collector = Collector::start();
    collector.events().answer_next(2, Answer::status(503)).answer_next(1, Answer::lost());
    let agent = start(config(&collector));
    send(&agent, 5);
    end(agent, &collector, 5).await;
    collector.read(|received| {
        let tries: Vec<_> = received.to(Endpoint::Events).collect();
        assert_eq!(tries.len(), 4);
        assert_eq!(received.duplicates, 5);
        for again in &tries[1..] {
            assert_eq!(again.batch_id, tries[0].batch_id);
            assert_eq!(again.body_hash, tries[0].body_hash);
            assert_eq!(again.keys, tries[0].keys);
        }
    });
}

#[tokio::test]
async fn rules_are_fetched_kept_and_asked_for_by_tag() {
    let collector = Collector::start();
    collector.set_rules(&json!({"rule_id": "first", "ip_blacklist": ["192.0.2.7"]}));
    let agent = start(config(&collector).project_id("project"));
    let rule = |agent: &Agent| agent.rules().map(|document| document.rules.rule_id.clone());
    let asked = || collector.read(|received| received.to(Endpoint::Rules).count());
    let until_asked = async |count: usize| {
        let ask = async {
            // A wish is not a second request while one is on its way.
            while asked() < count || collector.rules().left() > 0 {
                agent.refresh_rules();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, ask).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    until_asked(1).await;
    let first = async {
        while rule(&agent).as_deref() != Some("first") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, first).await.unwrap();

    // Neither "not modified" nor nonsense changes them.
    for (count, answer) in [
        (2, Answer::normal()),
        (3, Answer::json(200, &json!({"detail": "maintenance"}))),
        (4, Answer::json(200, &json!({"rule_id": "bad", "ip_blacklist": "not a list"}))),
        (5, Answer::status(500)),
    ] {
        collector.rules().answer_next(1, answer);
        until_asked(count).await;
        assert_eq!(rule(&agent).as_deref(), Some("first"), "{count}");
    }
    collector.read(|received| {
        let tags: Vec<_> = received.to(Endpoint::Rules).map(|get| get.headers.get("if-none-match")).collect();
        assert_eq!(tags[0], None);
        assert!(tags[1..].iter().all(|tag| tag.is_some_and(|tag| tag == "\"rules-1\"")), "{tags:?}");
    });

    let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
    let subscription = agent.subscribe_rules(move |document| {
        told.send(document.map(|document| document.rules.rule_id.clone())).unwrap();
    });
    collector.set_rules(&json!({"rule_id": "second", "ip_blacklist": []}));
    agent.refresh_rules();
    assert_eq!(tokio::time::timeout(LIMIT, tell.recv()).await.unwrap().unwrap().as_deref(), Some("second"));
    drop(subscription);
    agent.shutdown(LIMIT).await;
}

#[tokio::test]
async fn the_status_is_told_at_the_end() {
    let collector = Collector::start();
    let agent = start(config(&collector));
    send(&agent, 3);
    end(agent, &collector, 3).await;
    let statuses = collector.read(|received| received.statuses.clone());
    assert_eq!(statuses.len(), 1, "{statuses:?}");
    assert_eq!(statuses[0]["status"], "healthy");
    assert_eq!(statuses[0]["events_sent"], 3);
}

#[tokio::test]
async fn a_shutdown_ends_in_time_whatever_the_platform_does() {
    for answer in [Answer::hang(), Answer::endless_body(), Answer::status(503), Answer::status(404)] {
        let collector = Collector::start();
        collector.events().answer_always(answer);
        let agent = start(config(&collector));
        send(&agent, 3);
        let limit = tokio::time::timeout(Duration::from_secs(10), agent.shutdown(Duration::from_secs(1)));
        assert_eq!(limit.await.unwrap().pending.events, 3);
        assert!(agent.stats().records.events.balances());
        send(&agent, 1);
        assert_eq!(agent.stats().records.events.refused, 1);
    }
}

#[tokio::test]
async fn credentials_rotate_without_a_restart() {
    let keys = |key: &str, secret: &str| Keys {
        api_key: Some(key.to_owned()),
        signing_secret: Some(secret.to_owned()),
        encryption_key: None,
    };
    let credentials =
        |key, secret| Credentials::new(Secret::new(key)).with_signing_secret(Secret::new(secret));
    let arrived = async |collector: &Collector, count| {
        collector.until(|received| received.events.len() == count, LIMIT).await;
    };
    let refused = async |collector: &Collector, reason: &str| {
        let refusals = collector.violations().len();
        collector.until(|received| received.violations.len() > refusals, LIMIT).await;
        assert!(collector.violations()[refusals].contains(reason), "{:?}", collector.violations());
    };

    let collector = Collector::start();
    collector.set_keys(keys("test-api-key", "the old secret"));
    let agent = start(config(&collector).payload_signing_secret("the old secret"));
    send(&agent, 1);
    arrived(&collector, 1).await;

    // The platform changed both, and nobody told the agent.
    collector.set_keys(keys("another-api-key", "the new secret"));
    send(&agent, 3);
    refused(&collector, "unknown API key").await;
    while agent.health().level != StatusLevel::Failed {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let held = HealthReason::Held { endpoint: Endpoint::Events, status: 401 };
    assert!(agent.health().reasons.contains(&held), "{:?}", agent.health());
    assert_eq!(agent.stats().records.events.pending, 3);

    // A key that cannot be used changes nothing: the old one is refused again.
    for unusable in ["short", "key with\nnew line", "   another-api-key"] {
        let error = agent.rotate_credentials(credentials(unusable, "the new secret")).unwrap_err();
        assert_eq!(error.problems[0].field, "api_key");
        assert!(!error.to_string().contains(unusable.trim()), "{error}");
    }
    let flushed = tokio::join!(refused(&collector, "unknown API key"), agent.flush(Duration::from_secs(1))).1;
    assert_eq!(flushed.pending.events, 3);

    // One alone is not enough.
    agent.rotate_credentials(credentials("another-api-key", "the old secret")).unwrap();
    refused(&collector, "wrong signature").await;
    assert_eq!(agent.stats().records.events.pending, 3);

    agent.rotate_credentials(credentials("another-api-key", "the new secret")).unwrap();
    arrived(&collector, 4).await;
    send(&agent, 1);
    arrived(&collector, 5).await;
    let report = agent.shutdown(LIMIT).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(agent.stats().records.events.delivered, 5);
    assert_eq!(agent.stats().health.level, StatusLevel::Healthy);
}

#[tokio::test]
async fn two_agents_in_a_process_share_nothing() {
    let (one, two) = (Collector::start(), Collector::start());
    let (first, second) = (start(config(&one)), start(config(&two)));
    one.down();
    send(&first, 3);
    send(&second, 5);
    second.flush(LIMIT).await;
    end(second, &two, 5).await;
    one.up();
    end(first, &one, 3).await;
}

#[test]
fn a_second_runtime_with_the_same_configuration_delivers() {
    let collector = Collector::start();
    let config = config(&collector).build().unwrap();
    for round in 1..=2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let agent = Agent::builder(config.clone()).start().unwrap();
            send(&agent, 3);
            assert!(agent.flush(LIMIT).await.is_complete());
        });
        assert_eq!(collector.read(|received| received.event_count), 3 * round);
    }
}
