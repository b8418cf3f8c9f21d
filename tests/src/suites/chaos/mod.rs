//! Workers, each an agent in a process of its own, with a journal that may be in Redis or in files.
#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    reason = "tests"
)]

pub mod files;
pub mod kill;
pub mod redis;
pub mod shared;
pub mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::collector::{Collector, Received};
use crate::pipe_process::{Ended, HANG, Pipe, PipeProcess};
use crate::redis_server::RedisServer;
use crate::scratch::Scratch;

/// The scenarios of one file, with each journal.
#[macro_export]
macro_rules! with_each_journal {
    ($pipe:expr, $($scenario:path as $name:ident),* $(,)?) => {
        mod redis {
            $(#[test]
            fn $name() {
                $scenario(&$crate::suites::chaos::Journal::redis($pipe));
            })*
        }

        mod files {
            $(#[test]
            fn $name() {
                $scenario(&$crate::suites::chaos::Journal::files($pipe));
            })*
        }
    };
}

/// The scenarios that kill, suspend and replace the pipe of that name.
#[macro_export]
macro_rules! chaos_suite {
    ($pipe:literal) => {
        $crate::with_each_journal!(
            $crate::pipe_process::Pipe { name: $pipe, flags: &[] },
            $crate::suites::chaos::kill::killed_at_any_moment as killed_at_any_moment,
            $crate::suites::chaos::kill::killed_while_the_platform_is_mad as killed_while_the_platform_is_mad,
            $crate::suites::chaos::workers::the_living_send_their_own_records_alone as the_living_send_their_own_records_alone,
            $crate::suites::chaos::workers::the_dead_are_adopted_by_one as the_dead_are_adopted_by_one,
            $crate::suites::chaos::workers::a_worker_that_was_suspended_goes_on as a_worker_that_was_suspended_goes_on,
        );

        $crate::chaos_suite! { @ $pipe, files:
            what_was_acknowledged_survives_the_loss_of_segments_and_a_kill,
            the_oldest_segment_of_more_than_memory_holds_may_be_taken_away,
            what_was_lost_with_segments_is_counted,
            what_was_lost_in_the_midst_is_counted_when_it_is_read,
        }

        $crate::chaos_suite! { @ $pipe, redis:
            no_trouble_of_redis_holds_up_delivery,
            a_redis_that_is_down_at_the_start_is_used_once_it_is_up,
            what_cannot_be_understood_is_skipped_and_counted,
            requests_are_few_and_harmless,
        }

        $crate::chaos_suite! { @ $pipe, shared:
            giants_in_redis_cost_neither_memory_nor_time,
            a_hundred_thousand_names_in_redis_cost_no_time,
            a_hundred_thousand_names_in_a_directory_cost_no_time,
        }
    };
    (@ $pipe:literal, $module:ident: $($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            $crate::suites::chaos::$module::$name($crate::pipe_process::Pipe { name: $pipe, flags: &[] });
        })*
    };
}

/// Which pipe the workers are, and where they keep what waits.
pub struct Journal {
    pub pipe: Pipe,
    pub place: Place,
}

pub enum Place {
    Redis(RedisServer),
    Files(Scratch),
}

impl Journal {
    /// A server that loses nothing when it is killed.
    pub fn redis(pipe: Pipe) -> Self {
        let server = RedisServer::start(&["appendonly yes", "appendfsync always"]);
        Self { pipe, place: Place::Redis(server) }
    }

    pub fn files(pipe: Pipe) -> Self {
        Self { pipe, place: Place::Files(Scratch::new().unwrap()) }
    }

    pub fn flags(&self) -> [String; 2] {
        match &self.place {
            Place::Redis(server) => ["--redis".into(), server.url()],
            Place::Files(folder) => ["--journal".into(), folder.path().to_str().unwrap().into()],
        }
    }

    /// What is left of streams; adoptions are remembered for longer.
    pub fn rest(&self) -> Vec<String> {
        match &self.place {
            Place::Redis(server) => {
                let keys = server.cli(&["KEYS", "*"]);
                keys.lines().filter(|key| !key.is_empty() && !key.ends_with(":a")).map(Into::into).collect()
            }
            Place::Files(folder) => {
                let entries = std::fs::read_dir(folder.path()).unwrap();
                let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                names.filter(|name| name.starts_with("v2-")).collect()
            }
        }
    }
}

/// An agent in a process of its own. Its events are numbered.
pub struct Worker {
    pub process: PipeProcess,
    name: String,
    padding: String,
    next: u64,
}

impl Worker {
    /// Starts one. What it sends is named after it, and so are its requests.
    pub fn start(name: &str, collector: &Collector, journal: &Journal, fields: &[&str]) -> Self {
        let install_id = format!("install_id={name}");
        let quick = ["breaker_recovery=0.2", "backoff_factor=0.1", &install_id];
        let own = journal.flags();
        let mut flags: Vec<_> = own.iter().map(String::as_str).collect();
        flags.extend(["--ack", "--stats-every", "0.1"]);
        flags.extend(quick.iter().chain(fields).flat_map(|field| ["--set", field]));
        let process = journal.pipe.start(&collector.url(), &flags);
        Self { process, name: name.into(), padding: String::new(), next: 0 }
    }

    /// Makes each event that many bytes larger.
    pub fn pad(mut self, bytes: usize) -> Self {
        self.padding = "x".repeat(bytes);
        self
    }

    /// How many events were sent.
    pub fn sent(&self) -> u64 {
        self.next
    }

    pub fn send(&mut self, count: u64) {
        let mut lines = String::new();
        for number in self.next..self.next + count {
            let (name, padding) = (&self.name, &self.padding);
            writeln!(
                lines,
                r#"{{"kind":"event","event_type":"ip_banned","reason":"{padding}","metadata":{{"worker":"{name}","number":{number}}}}}"#
            )
            .unwrap();
        }
        self.next += count;
        self.process.write(&lines);
    }

    /// Sends events evenly for that long, as many each 10 ms.
    pub fn send_evenly(&mut self, time: Duration, each: u64) {
        let start = Instant::now();
        let mut ticks = 0;
        while start.elapsed() < time {
            self.send(each);
            ticks += 1;
            thread::sleep(
                (start + ticks * Duration::from_millis(10)).saturating_duration_since(Instant::now()),
            );
        }
    }

    /// Waits for that many acknowledged events.
    pub fn wait_for_persisted(&mut self, count: u64) -> Value {
        self.process.stats_until(|stats| stats["persisted"]["events"].as_u64() >= Some(count))
    }

    /// Waits until the journal is named among the reasons of the health, with these words.
    pub fn wait_for_trouble(&mut self, why: &str) -> Value {
        self.process.stats_until(|stats| journal_trouble(stats).is_some_and(|reason| reason.contains(why)))
    }

    /// Waits until the journal is not named among them.
    pub fn wait_for_no_trouble(&mut self) -> Value {
        self.process.stats_until(|stats| journal_trouble(stats).is_none())
    }

    /// Ends it by the end of its input; nothing may be lost.
    pub fn finish(mut self) -> Ended {
        self.process.end_input();
        let ended = self.process.wait();
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.stats(), ended.errors);
        assert_eq!(dropped(&ended.stats()), 0, "{}", ended.stats());
        ended
    }
}

impl Worker {
    /// Ends it once nothing is left of the streams of those that died, which it adopts as their leases end.
    pub fn finish_as_heir(mut self, journal: &Journal, foreign: &[&str]) -> Ended {
        self.process.stats_until(|_| journal.rest() == foreign);
        let ended = self.finish();
        assert_eq!(journal.rest(), foreign);
        ended
    }
}

pub fn journal_trouble(stats: &Value) -> Option<&str> {
    stats["reasons"].as_array().unwrap().iter().filter_map(Value::as_str).find(|r| r.contains("journal"))
}

/// Events that were given up, for any reason.
pub fn dropped(stats: &Value) -> u64 {
    stats["dropped"]["events"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

/// The keys of what was acknowledged, and what was said to be lost.
pub fn acknowledged(ended: &Ended) -> (BTreeSet<String>, Vec<Value>) {
    let (acks, nacks): (Vec<_>, Vec<_>) =
        ended.answers().into_iter().partition(|answer| answer["ack"].is_string());
    (acks.iter().map(|answer| answer["ack"].as_str().unwrap().to_owned()).collect(), nacks)
}

/// The worker and the number of each event, in order of arrival.
pub fn arrived(received: &Received) -> Vec<(String, u64)> {
    let origin = |metadata: &Value| {
        (metadata["worker"].as_str().unwrap().to_owned(), metadata["number"].as_u64().unwrap())
    };
    received.events.iter().map(|event| origin(&event.value()["metadata"])).collect()
}

/// How many of the acknowledged events have not arrived.
pub fn missing(received: &Received, acknowledged: &BTreeSet<String>) -> usize {
    let keys: BTreeSet<_> = received.event_keys().iter().map(ToString::to_string).collect();
    acknowledged.difference(&keys).count()
}

/// Waits until every acknowledged event has arrived, and sees that none arrived under two keys.
pub fn assert_delivered(collector: &Collector, acknowledged: &BTreeSet<String>) {
    let missing = |received: &Received| missing(received, acknowledged);
    let mut seen = 0;
    let arrived_all = |received: &Received| {
        // Looking is slow, so only when there is news.
        received.event_count > std::mem::replace(&mut seen, received.event_count) && missing(received) == 0
    };
    if collector.read(missing) > 0 {
        collector.wait_for(arrived_all, HANG);
    }
    collector.read(|received| {
        let events = arrived(received);
        let different: BTreeSet<_> = events.iter().collect();
        assert_eq!(different.len(), events.len(), "an event has two keys");
    });
    assert_eq!(collector.violations(), [""; 0]);
}

/// Of the records that came more than once: how many in the same batch each time, and how many not.
pub fn repeated(collector: &Collector) -> (usize, usize) {
    let mut batches = BTreeMap::<_, Vec<_>>::new();
    collector.read(|received| {
        for exchange in received.exchanges.iter().filter(|exchange| exchange.taken) {
            for key in &exchange.keys {
                batches.entry(*key).or_default().push(exchange.batch_id.clone());
            }
        }
    });
    let repeated = batches.values().filter(|ids| ids.len() > 1);
    let (same, different): (Vec<_>, Vec<_>) = repeated.partition(|ids| ids.iter().all(|id| *id == ids[0]));
    (same.len(), different.len())
}

/// Waits until nothing is left of any stream.
pub fn assert_cleaned_up(journal: &Journal) {
    let deadline = Instant::now() + HANG;
    while !journal.rest().is_empty() {
        assert!(Instant::now() < deadline, "the journal still has {:?}", journal.rest());
        thread::sleep(Duration::from_millis(10));
    }
}

/// How many times as long as usual: `CHAOS_ROUNDS`, 1 by default.
pub fn rounds() -> u64 {
    std::env::var("CHAOS_ROUNDS").map_or(1, |text| text.parse().unwrap())
}

/// Random choices, to be repeated with `CHAOS_SEED`.
pub struct Dice(u64);

impl Dice {
    pub fn cast() -> Self {
        let clock = || u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
        let seed = std::env::var("CHAOS_SEED").map_or_else(|_| clock(), |text| text.parse().unwrap());
        println!("CHAOS_SEED={seed}");
        Self(seed)
    }

    /// A number below `bound`.
    pub fn roll(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.roll(bound))
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()].clone()
    }
}
