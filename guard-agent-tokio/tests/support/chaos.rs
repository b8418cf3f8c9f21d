//! Workers, each an agent in a process of its own, with a journal that may be in Redis or in files.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared by several tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use guard_agent_tests::collector::{Collector, Received};
use guard_agent_tests::pipe_process::{Ended, HANG, PipeProcess};
use guard_agent_tests::redis_server::RedisServer;
use guard_agent_tests::scratch::Scratch;
use serde_json::Value;

/// Runs each scenario with each journal.
#[allow(unused_macros, reason = "shared by several tests")]
macro_rules! with_each_journal {
    ($($scenario:ident),* $(,)?) => {
        mod redis {
            $(#[test]
            fn $scenario() {
                super::$scenario(&crate::chaos::Journal::redis());
            })*
        }

        mod files {
            $(#[test]
            fn $scenario() {
                super::$scenario(&crate::chaos::Journal::files());
            })*
        }
    };
}
#[allow(unused_imports, reason = "shared by several tests")]
pub(crate) use with_each_journal;

/// Where workers keep what waits.
pub enum Journal {
    Redis(RedisServer),
    Files(Scratch),
}

impl Journal {
    /// A server that loses nothing when it is killed.
    pub fn redis() -> Self {
        Self::Redis(RedisServer::start(&["appendonly yes", "appendfsync always"]))
    }

    pub fn files() -> Self {
        Self::Files(Scratch::new().unwrap())
    }

    pub fn flags(&self) -> [String; 2] {
        match self {
            Self::Redis(server) => ["--redis".into(), server.url()],
            Self::Files(folder) => ["--journal".into(), folder.path().to_str().unwrap().into()],
        }
    }

    /// What is left of streams; adoptions are remembered for longer.
    pub fn rest(&self) -> Vec<String> {
        match self {
            Self::Redis(server) => {
                let keys = server.cli(&["KEYS", "*"]);
                keys.lines().filter(|key| !key.is_empty() && !key.ends_with(":a")).map(Into::into).collect()
            }
            Self::Files(folder) => {
                let entries = std::fs::read_dir(folder.path()).unwrap();
                let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                names.filter(|name| name.starts_with("v1-")).collect()
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
    pub fn start(name: &str, collector: &Collector, journal: &[String], fields: &[&str]) -> Self {
        let install_id = format!("install_id={name}");
        let quick = ["breaker_recovery=0.2", "backoff_factor=0.1", &install_id];
        let mut flags: Vec<_> = journal.iter().map(String::as_str).collect();
        flags.extend(["--ack", "--stats-every", "0.1"]);
        flags.extend(quick.iter().chain(fields).flat_map(|field| ["--set", field]));
        let process = PipeProcess::start("pipe-tokio", &collector.url(), &flags);
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

/// Waits until every acknowledged event has arrived, and sees that none arrived under two keys.
pub fn assert_delivered(collector: &Collector, acknowledged: &BTreeSet<String>) {
    let missing = |received: &Received| {
        let keys: BTreeSet<_> = received.event_keys().iter().map(ToString::to_string).collect();
        acknowledged.difference(&keys).count()
    };
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
    pub fn new() -> Self {
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
