//! Several workers that share a journal: some die, some are suspended, some are replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use crate::collector::{Collector, Received};

use super::{Journal, Place, Worker};

pub fn the_living_send_their_own_records_alone(journal: &Journal) {
    let collector = Collector::start();
    let mut workers: Vec<_> =
        (0..4).map(|number| start(&format!("worker-{number}"), &collector, journal)).collect();
    // Longer than a lease, with and without the platform.
    for _ in 0..3 {
        collector.down();
        workers.iter_mut().for_each(|worker| worker.send_evenly(Duration::from_millis(300), 3));
        collector.up();
        workers.iter_mut().for_each(|worker| worker.send_evenly(Duration::from_millis(100), 3));
    }
    let sent: u64 = workers.iter().map(Worker::sent).sum();
    for worker in workers {
        assert_eq!(worker.finish().stats()["adopted_journals"], 0);
    }
    collector.read(|received| {
        assert_eq!(received.event_count, sent);
        assert!(senders(received).iter().all(|(of, by)| of == by));
    });
    // Whose answers were cut off comes again as it was.
    assert_eq!(super::repeated(&collector).1, 0);
    super::assert_cleaned_up(journal);
}

pub fn the_dead_are_adopted_by_one(journal: &Journal) {
    let collector = Collector::start();
    let mut others: Vec<_> =
        (0..3).map(|number| start(&format!("other-{number}"), &collector, journal)).collect();
    for other in &mut others {
        other.process.stats_until(|_| true);
    }
    collector.down();
    let mut victim = start("victim", &collector, journal);
    victim.send(200);
    victim.wait_for_persisted(200);
    victim.process.answers_until(200);
    let (acknowledged, _) = super::acknowledged(&victim.process.kill());
    let died = Instant::now();
    assert_eq!(acknowledged.len(), 200);
    collector.up();
    super::assert_delivered(&collector, &acknowledged);
    println!("adopted and delivered {:?} after the death; the lease is 3 s", died.elapsed());

    let ended: Vec<_> = others.into_iter().map(Worker::finish).collect();
    let adopted = ended.iter().map(|other| other.stats()["adopted_journals"].as_u64().unwrap());
    assert_eq!(adopted.sum::<u64>(), 1, "{ended:#?}");
    collector.read(|received| {
        assert_eq!(received.duplicates, 0);
        let heirs: BTreeSet<_> = senders(received).into_iter().map(|(_, by)| by).collect();
        assert_eq!(heirs.len(), 1, "{heirs:?}");
    });
    super::assert_cleaned_up(journal);
}

/// Redis gives its records to another worker meanwhile; files stay with a process that lives.
pub fn a_worker_that_was_suspended_goes_on(journal: &Journal) {
    let collector = Collector::start();
    collector.down();
    let mut sleeper = start("sleeper", &collector, journal);
    sleeper.send(200);
    sleeper.wait_for_persisted(200);
    sleeper.process.signal("STOP");
    let mut other = start("other", &collector, journal);
    match &journal.place {
        Place::Redis(_) => {
            other.process.stats_until(|stats| stats["adopted_journals"] == 1);
        }
        Place::Files(_) => thread::sleep(Duration::from_secs(3)),
    }
    sleeper.process.signal("CONT");
    sleeper.send(100);
    sleeper.process.stats_until(|stats| stats["accepted"]["events"] == 300);
    collector.up();
    sleeper.process.stats_until(|stats| stats["pending"]["events"] == 0);
    other.process.stats_until(|stats| stats["pending"]["events"] == 0);

    let fenced = sleeper.finish();
    let (acknowledged, nacks) = super::acknowledged(&fenced);
    assert_eq!((acknowledged.len(), nacks.len()), (300, 0));
    super::assert_delivered(&collector, &acknowledged);
    let adopted = other.finish().stats()["adopted_journals"].clone();
    assert_eq!(adopted, u64::from(matches!(journal.place, Place::Redis(_))), "{}", fenced.stats());
    // What was in flight when it fell asleep may come twice, under the same key.
    let (same, different) = super::repeated(&collector);
    println!("repeated: {same} in the same batch, {different} in others; {}", fenced.stats());
    super::assert_cleaned_up(journal);
}

fn start(name: &str, collector: &Collector, journal: &Journal) -> Worker {
    let fields = ["journal_lease=3", "timeout=1", "connect_timeout=1", "rate_limit=100000"];
    let mut worker = Worker::start(name, collector, journal, &fields);
    worker.process.stats_until(|_| true);
    worker
}

/// Whose event it was, and who sent it, of each event that was taken.
fn senders(received: &Received) -> Vec<(String, String)> {
    let workers = super::arrived(received).into_iter().map(|(worker, _)| worker);
    let keys = received.events.iter().map(|event| event.key.unwrap());
    let owners: BTreeMap<_, _> = keys.zip(workers).collect();
    let taken = received.exchanges.iter().filter(|exchange| exchange.taken);
    let sent = taken.flat_map(|exchange| {
        exchange.keys.iter().map(|key| (owners[key].clone(), exchange.headers["x-agent-install-id"].clone()))
    });
    sent.collect()
}
