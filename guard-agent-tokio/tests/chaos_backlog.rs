//! Outages with a backlog that is larger than memory. `CHAOS_ROUNDS` above 1 makes them a minute long.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::time::{Duration, Instant};

use guard_agent_tests::collector::{Collector, Received};
use guard_agent_tests::pipe_process::{HANG, Pipe};
use guard_agent_tests::redis_server::eventually;
use guard_agent_tests::suites::chaos::{self, Journal, Place, Worker};
use guard_agent_tokio::{Agent, AgentConfig, DropReason, SecurityEvent};
use serde_json::Value;

const PIPE: Pipe = Pipe { name: "pipe-tokio", flags: &[] };

guard_agent_tests::with_each_journal!(
    crate::PIPE,
    crate::more_than_memory_is_delivered_live_first as more_than_memory_is_delivered_live_first,
    crate::more_than_memory_is_delivered_in_strict_order as more_than_memory_is_delivered_in_strict_order,
    crate::beyond_the_quota_the_oldest_are_dropped_and_counted
        as beyond_the_quota_the_oldest_are_dropped_and_counted,
    crate::what_is_too_old_expires_and_is_counted as what_is_too_old_expires_and_is_counted,
    crate::a_deploy_during_an_outage_hands_over_at_once as a_deploy_during_an_outage_hands_over_at_once,
);

const MEMORY: u64 = 1_000;
/// What may wait beside it to be taken over by the driver.
const HANDOVER: u64 = 1_024;

fn more_than_memory_is_delivered_live_first(journal: &Journal) {
    let (collector, sent, first_after) = outage(journal, "live_first");
    collector.read(|received| {
        let numbers = numbers(received);
        let depth = longest_fall(&numbers);
        assert!(depth <= 2, "two lanes, each in order, give no {depth} numbers that fall");
        let overtakes = numbers.iter().position(|number| *number >= first_after)
            < numbers.iter().rposition(|number| *number < first_after);
        assert!(overtakes, "no new event arrived before the last one of the outage");
        assert_eq!(numbers.len() as u64, sent);

        // The first second belongs to the breaker.
        let mut waits: Vec<_> = (received.events.iter().zip(&numbers))
            .filter(|(_, number)| **number > first_after + 100)
            .map(|(event, _)| event.propagation().unwrap())
            .collect();
        waits.sort_unstable();
        let at = |permille: usize| waits[(waits.len() - 1) * permille / 1_000];
        println!("new events meanwhile: p50 {:?}, p99 {:?}, max {:?}", at(500), at(990), at(1_000));
        assert!(at(500) < Duration::from_secs(10), "{:?}", at(500));
    });
}

fn more_than_memory_is_delivered_in_strict_order(journal: &Journal) {
    let (collector, sent, _) = outage(journal, "fifo");
    collector.read(|received| assert_eq!(numbers(received), Vec::from_iter(0..sent)));
}

/// 833 events a second while the platform refuses connections, then 100 a second until all is drained. The
/// collector, how many were sent, and how many of them in the outage.
fn outage(journal: &Journal, drain: &str) -> (Collector, u64, u64) {
    let long = Duration::from_secs(if chaos::rounds() > 1 { 60 } else { 8 });
    let collector = Collector::start();
    collector.down();
    let (size, drain) = (format!("buffer_size={MEMORY}"), format!("drain={drain}"));
    let mut worker = start("worker", &collector, journal, &[&size, &drain]);
    let start = Instant::now();
    while start.elapsed() < long {
        worker.send_evenly(Duration::from_millis(60), 9);
        worker.send_evenly(Duration::from_millis(60), 8);
    }
    let in_outage = worker.sent();
    let stats = worker.wait_for_persisted(in_outage);
    assert_eq!(stats["health"], "degraded", "{stats}");
    assert!(stats["in_memory"]["events"].as_u64() <= Some(MEMORY + HANDOVER), "{stats}");

    collector.up();
    let recovered = Instant::now();
    while collector.read(|received| received.event_count) < in_outage {
        assert!(recovered.elapsed() < HANG, "{} of {in_outage}", collector.read(|r| r.event_count));
        worker.send_evenly(Duration::from_millis(200), 1);
    }
    worker.send_evenly(Duration::from_secs(2), 1);
    println!("{in_outage} of the outage, drained {:?} after it; {}", recovered.elapsed(), memory(&worker));

    let sent = worker.sent();
    let ended = worker.finish();
    assert_eq!(ended.stats()["delivered"]["events"], sent, "{}", ended.stats());
    let largest =
        stats_lines(&ended.output).map(|stats| stats["in_memory"]["events"].as_u64().unwrap()).max();
    assert!(largest <= Some(MEMORY + HANDOVER), "{largest:?} in memory");
    assert_eq!(collector.read(|received| received.duplicates), 0);
    assert_eq!(collector.violations(), [""; 0]);
    chaos::assert_cleaned_up(journal);
    (collector, sent, in_outage)
}

/// In this process, since the pipe waits for room instead.
fn beyond_the_quota_the_oldest_are_dropped_and_counted(journal: &Journal) {
    const QUOTA: u64 = 2_000;
    const SENT: u64 = 6_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let collector = Collector::start();
    collector.down();
    let config = AgentConfig::builder("0123456789").endpoint(collector.url()).rate_limit(100_000);
    let config = config.buffer_size(400).journal_records(QUOTA).breaker_recovery(Duration::from_millis(200));
    let config = match &journal.place {
        Place::Redis(server) => config.redis_url(server.url()),
        Place::Files(folder) => config.journal_dir(folder.path().to_str().unwrap()),
    };
    let agent = {
        let _entered = runtime.enter();
        Agent::builder(config.build().unwrap()).start().unwrap()
    };
    for number in 0..SENT {
        let event = SecurityEvent::now("ip_banned").metadata("worker", "one").metadata("number", number);
        agent.send_event(event);
        // No faster than the journal takes it, or memory drops what the quota would have room for.
        if number % 20 == 0 {
            eventually("the journal keeps up", || {
                let ledger = agent.stats().records.events;
                (ledger.accepted > number && ledger.pending - ledger.persisted < 100).then_some(())
            });
        }
    }
    let full = eventually("all are counted", || {
        Some(agent.stats().records.events)
            .filter(|ledger| ledger.accepted == SENT && ledger.dropped.total() > 0)
    });
    assert!(full.balances(), "{full:?}");
    collector.up();
    let drained = eventually("nothing is left", || {
        Some(agent.stats().records.events).filter(|ledger| ledger.pending == 0)
    });
    assert!(drained.balances(), "{drained:?}");
    assert_eq!(drained.dropped[DropReason::Overflow], SENT - drained.delivered, "{drained:?}");
    println!("{SENT} sent, {} delivered", drained.delivered);
    // Meanwhile some more may be on their way.
    assert!((QUOTA - 400..=QUOTA + 400 + HANDOVER).contains(&drained.delivered), "{drained:?}");
    collector.read(|received| {
        let numbers = numbers(received);
        let newest = numbers.iter().filter(|number| **number >= SENT - QUOTA / 2).count() as u64;
        assert_eq!(newest, QUOTA / 2);
    });
    assert!(runtime.block_on(agent.shutdown(HANG)).is_complete());
    chaos::assert_cleaned_up(journal);
}

fn what_is_too_old_expires_and_is_counted(journal: &Journal) {
    let collector = Collector::start();
    collector.down();
    let mut worker = start("worker", &collector, journal, &["buffer_size=400", "max_record_age=5"]);
    worker.send_evenly(Duration::from_secs(1), 20);
    let old = worker.sent();
    worker.process.stats_until(|stats| stats["accepted"]["events"] == old);
    std::thread::sleep(Duration::from_secs(6));
    collector.up();
    worker.send(50);
    worker
        .process
        .stats_until(|stats| stats["pending"]["events"] == 0 && stats["accepted"]["events"] == old + 50);
    worker.process.end_input();
    let ended = worker.process.wait();
    let stats = ended.stats();
    assert_balanced(&stats);
    // What was sent and not answered may have arrived: that goes on.
    let expired = stats["dropped"]["events"]["expired"].as_u64().unwrap();
    assert_eq!(chaos::dropped(&stats), expired, "{stats}");
    assert_eq!(stats["delivered"]["events"], old + 50 - expired, "{stats}");
    assert!((old - 400..=old).contains(&expired), "{stats}");
    chaos::assert_cleaned_up(journal);
}

fn a_deploy_during_an_outage_hands_over_at_once(journal: &Journal) {
    let collector = Collector::start();
    collector.down();
    let mut old = start("old", &collector, journal, &["buffer_size=400"]);
    old.send(3_000);
    old.process.stats_until(|stats| stats["accepted"]["events"] == 3_000);
    let asked = Instant::now();
    old.process.signal("TERM");
    let ended = old.process.wait();
    let took = asked.elapsed();
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stats(), ended.errors);
    println!("handed over after {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?} of the 10 s that it had");

    let new = start("new", &collector, journal, &["buffer_size=400"]);
    collector.up();
    collector.wait_for(|received| received.event_count == 3_000, HANG);
    new.finish();
    assert_eq!(collector.read(|received| received.duplicates), 0);
    chaos::assert_cleaned_up(journal);
}

/// A caller that asks for durability waits for Redis, and nobody else does.
#[test]
fn a_redis_that_hangs_holds_up_acknowledgements_alone() {
    let journal = Journal::redis(PIPE);
    let Place::Redis(server) = &journal.place else { unreachable!() };
    let collector = Collector::start();
    collector.down();
    let mut worker = start("worker", &collector, &journal, &["journal_timeout=0.5"]);
    worker.send(100);
    worker.wait_for_persisted(100);
    server.pause();
    worker.send_evenly(Duration::from_secs(2), 5);
    let sent = worker.sent();
    let stats = worker.process.stats_until(|stats| stats["accepted"]["events"] == sent);
    assert!(stats["persisted"]["events"].as_u64() < Some(sent), "{stats}");
    worker.wait_for_trouble("");
    server.resume();
    worker.wait_for_persisted(sent);
    worker.wait_for_no_trouble();
    worker.process.answers_until(usize::try_from(sent).unwrap());
    let ended = worker.process.kill();
    let (acks, nacks) = chaos::acknowledged(&ended);
    assert_eq!((acks.len() as u64, nacks), (sent, vec![]));

    let heir = start("heir", &collector, &journal, &[]);
    collector.up();
    chaos::assert_delivered(&collector, &acks);
    heir.finish_as_heir(&journal, &[]);
}

fn start(name: &str, collector: &Collector, journal: &Journal, fields: &[&str]) -> Worker {
    let own = ["journal_lease=1", "timeout=2", "connect_timeout=1", "rate_limit=100000"];
    let mut worker = Worker::start(name, collector, journal, &[&own, fields].concat());
    // From now on what it says is read, so that it never waits for us.
    worker.process.stats_until(|_| true);
    worker
}

/// In order of arrival.
fn numbers(received: &Received) -> Vec<u64> {
    chaos::arrived(received).into_iter().map(|(_, number)| number).collect()
}

/// How many numbers there are, not necessarily side by side, of which each is lower than the one before.
fn longest_fall(numbers: &[u64]) -> usize {
    // Patience sorting: each pile rises, and the piles are as few as possible.
    let mut tops = Vec::<u64>::new();
    for number in numbers {
        match tops.iter_mut().find(|top| **top < *number) {
            Some(top) => *top = *number,
            None => tops.push(*number),
        }
    }
    tops.len()
}

fn assert_balanced(stats: &Value) {
    let of = |name: &str| stats[name]["events"].as_u64().unwrap();
    assert_eq!(
        of("accepted") + of("recovered"),
        of("delivered") + of("pending") + of("handed_over") + chaos::dropped(stats),
        "{stats}"
    );
}

fn stats_lines(output: &str) -> impl Iterator<Item = Value> {
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["accepted"].is_object())
}

/// What the process has taken of memory at most, where that can be known.
fn memory(worker: &Worker) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", worker.process.id())).unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().replace('\t', " ")
}
