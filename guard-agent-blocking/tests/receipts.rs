//! Receipts without futures: a thread waits for them, for as long as it wants.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use guard_agent_blocking::{
    Agent, AgentConfig, DropReason, MetricType, Outcome, SecurityEvent, SecurityMetric,
};
use guard_agent_tests::collector::Collector;

const HANG: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(20);

fn start(collector: &Collector) -> Agent {
    let config = AgentConfig::builder("0123456789").endpoint(collector.url()).install_id("receipts");
    let config = config.breaker_recovery(MOMENT);
    Agent::builder(config.build().unwrap()).start().unwrap()
}

#[test]
fn a_thread_waits_for_its_records() {
    let collector = Collector::start();
    collector.down();
    let agent = start(&collector);
    let mut event = agent.try_send_event_with_receipt(SecurityEvent::now("awaited")).unwrap();
    let metric = SecurityMetric::now(MetricType::RequestCount, 1.0);
    let mut metric = agent.send_metric_with_receipt_within(metric, HANG).unwrap();
    assert_eq!((event.secured_within(MOMENT), metric.settled_within(MOMENT)), (None, None));
    collector.up();
    assert_eq!(event.secured(), Some(Outcome::Delivered));
    assert!(agent.shutdown(HANG).is_complete());
    assert_eq!(metric.settled(), Some(Outcome::Delivered));
}

#[test]
fn the_end_of_the_agent_is_an_answer() {
    let collector = Collector::start();
    collector.down();
    let agent = start(&collector);
    let mut receipt = agent.send_event_with_receipt_within(SecurityEvent::now("awaited"), HANG).unwrap();
    assert!(!agent.shutdown(MOMENT).is_complete());
    let closed = Some(Outcome::Dropped(DropReason::Closed));
    assert!([None, closed].contains(&receipt.settled()), "{receipt:?}");
}
