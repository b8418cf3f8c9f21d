//! A synchronous agent inside an async main: made, used and dropped there.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use guard_agent_blocking::{Agent, AgentConfig, OverflowPolicy, SecurityEvent};
use guard_agent_tests::collector::Collector;

const HANG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn it_is_made_used_and_dropped_inside_a_runtime() {
    let collector = Collector::start();
    let agent = start(&collector, OverflowPolicy::Drop, 1_000);
    agent.send_event(SecurityEvent::now("first"));
    assert!(agent.flush(HANG).is_complete());
    assert!(agent.persist(HANG).is_secured());
    agent.send_event(SecurityEvent::now("second"));
    drop(agent);
    collector.until(|received| received.event_count == 2, HANG).await;
}

#[test]
fn with_the_policy_block_a_stopped_agent_counts_what_it_refuses() {
    let collector = Collector::start();
    collector.down();
    let agent = start(&collector, OverflowPolicy::Block, 4);
    let sender = send_until_full(&agent, 10, 4);
    agent.shutdown(Duration::from_millis(1));
    sender.join().unwrap();
    let ledger = agent.stats().records.events;
    assert_eq!((ledger.accepted, ledger.refused), (4, 6), "{ledger:?}");
}

#[test]
fn with_the_policy_block_a_processor_does_not_wait_for_itself() {
    let collector = Collector::start();
    let config = AgentConfig::builder("0123456789").endpoint(collector.url()).install_id("inside-async");
    let config = config.buffer_size(4).buffer_overflow_policy(OverflowPolicy::Block).build().unwrap();
    let slot = Arc::new(OnceLock::<Agent>::new());
    let inner = Arc::clone(&slot);
    let builder = Agent::builder(config).event_processor(move |event| {
        if event.event_type == "first" {
            inner.wait().send_event(SecurityEvent::now("second"));
        }
        Some(event)
    });
    let agent = builder.start().unwrap();
    assert!(slot.set(agent.clone()).is_ok());
    for _ in 0..40 {
        agent.send_event(SecurityEvent::now("first"));
    }
    agent.shutdown(HANG);
    let ledger = agent.stats().records.events;
    assert_eq!(ledger.accepted, ledger.delivered + ledger.dropped.total());
    assert!(ledger.delivered >= 40, "{ledger:?}");
}

#[test]
fn with_the_policy_block_a_caller_waits_for_room() {
    let collector = Collector::start();
    collector.down();
    let agent = start(&collector, OverflowPolicy::Block, 10);
    let sender = send_until_full(&agent, 30, 10);
    assert!(!sender.is_finished());
    collector.up();
    sender.join().unwrap();
    assert!(agent.shutdown(HANG).is_complete());
    let ledger = agent.stats().records.events;
    assert_eq!((ledger.accepted, ledger.delivered), (30, 30), "{ledger:?}");
}

/// A thread that sends `count` events, and waits for room once the agent has `capacity` of them.
fn send_until_full(agent: &Agent, count: usize, capacity: u64) -> JoinHandle<()> {
    let sender = thread::spawn({
        let agent = agent.clone();
        move || (0..count).for_each(|_| agent.send_event(SecurityEvent::now("one of many")))
    });
    while agent.stats().records.events.accepted < capacity {
        thread::yield_now();
    }
    sender
}

fn start(collector: &Collector, policy: OverflowPolicy, capacity: usize) -> Agent {
    let config = AgentConfig::builder("0123456789").endpoint(collector.url()).install_id("test");
    let config = config.buffer_overflow_policy(policy).buffer_size(capacity);
    let config = config.breaker_recovery(Duration::from_millis(200));
    Agent::builder(config.build().unwrap()).start().unwrap()
}
