//! A whole agent whose Redis is in trouble: delivery goes on, the status says why, and what is still undelivered is
//! journaled when Redis is back. What each operation meets is in `redis_trouble.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::collector::Collector;
use crate::pipe_process::{HANG, Pipe};
use crate::redis_server::RedisServer;

use super::{Journal, Place, Worker};

/// What happens to a server, how it ends, and what the status says of it.
struct Trouble {
    name: &'static str,
    begin: fn(&mut RedisServer),
    end: fn(&mut RedisServer),
    told: &'static [&'static str],
}

const TROUBLES: &[Trouble] = &[
    Trouble {
        name: "killed, and back with its data",
        begin: RedisServer::kill,
        end: RedisServer::start_again,
        told: &["unreachable"],
    },
    Trouble {
        name: "killed, and back with nothing",
        begin: RedisServer::kill,
        // Before it is back: what it takes first is not to be lost after all.
        end: RedisServer::wipe,
        told: &["unreachable"],
    },
    Trouble {
        name: "suspended",
        begin: |server| server.pause(),
        end: |server| server.resume(),
        told: &["timed out", "unreachable"],
    },
    Trouble {
        name: "slower than the time limit",
        begin: |server| drop(server.cli(&["CLIENT", "PAUSE", "2000"])),
        end: |_| {},
        told: &["timed out", "unreachable"],
    },
    Trouble {
        name: "full",
        begin: |server| drop(server.cli(&["CONFIG", "SET", "maxmemory", "1"])),
        end: |server| drop(server.cli(&["CONFIG", "SET", "maxmemory", "0"])),
        told: &["full"],
    },
    Trouble {
        name: "a replica",
        begin: |server| drop(server.cli(&["REPLICAOF", "127.0.0.1", "1"])),
        end: |server| drop(server.cli(&["REPLICAOF", "NO", "ONE"])),
        told: &["read-only"],
    },
    Trouble {
        name: "closed to us",
        begin: |server| drop(server.cli(&["ACL", "SETUSER", "default", "-evalsha", "-eval"])),
        end: |server| drop(server.cli(&["ACL", "SETUSER", "default", "+evalsha", "+eval"])),
        told: &["access denied"],
    },
    Trouble {
        name: "used by another program",
        begin: |server| {
            server.cli(&["RENAME", STREAMS, "set-aside"]);
            server.cli(&["SET", STREAMS, "foreign"]);
        },
        end: |server| {
            assert_eq!(server.cli(&["GET", STREAMS]), "foreign", "nothing is overwritten");
            server.cli(&["RENAME", "set-aside", STREAMS]);
        },
        told: &["another program's data"],
    },
];

/// The set that names the streams.
const STREAMS: &str = "guard:agent:streams";

pub fn no_trouble_of_redis_holds_up_delivery(pipe: Pipe) {
    for trouble in TROUBLES {
        println!("{}", trouble.name);
        let collector = Collector::start();
        let mut journal = Journal::redis(pipe);
        let mut worker = start("worker", &collector, &journal);
        collector.down();
        worker.send(50);
        worker.wait_for_persisted(50);
        collector.up();

        (trouble.begin)(server(&mut journal));
        worker.send_evenly(Duration::from_millis(300), 2);
        collector.wait_for(|received| received.event_count == worker.sent(), HANG);
        let told = worker.process.stats_until(|stats| {
            let reason = super::journal_trouble(stats).unwrap_or_default();
            trouble.told.iter().any(|words| reason.contains(words))
        });
        assert_eq!(told["health"], "degraded", "{told}");
        // What is accepted meanwhile, and not delivered either, is journaled later.
        collector.down();
        worker.send(50);
        (trouble.end)(server(&mut journal));
        worker.wait_for_no_trouble();
        worker.wait_for_persisted(50);
        inherit(worker, &collector, &journal);
    }
}

pub fn a_redis_that_is_down_at_the_start_is_used_once_it_is_up(pipe: Pipe) {
    let collector = Collector::start();
    let mut journal = Journal::redis(pipe);
    server(&mut journal).kill();
    let mut worker = start("worker", &collector, &journal);
    worker.send(50);
    collector.wait_for(|received| received.event_count == 50, HANG);
    worker.wait_for_trouble("unreachable");
    collector.down();
    worker.send(50);
    server(&mut journal).start_again();
    worker.wait_for_persisted(50);
    worker.wait_for_no_trouble();
    inherit(worker, &collector, &journal);
}

pub fn what_cannot_be_understood_is_skipped_and_counted(pipe: Pipe) {
    let collector = Collector::start();
    collector.down();
    let mut journal = Journal::redis(pipe);
    let mut worker = start("worker", &collector, &journal);
    worker.send(50);
    worker.wait_for_persisted(50);
    let (acknowledged, _) = super::acknowledged(&worker.process.kill());

    let server = server(&mut journal);
    let log = journal_keys(server).into_iter().find(|key| key.ends_with(":e")).unwrap();
    for entry in [["b", "garbage"], ["b", ""], ["another-field", "of another program"]] {
        server.cli(&["XADD", &log, "*", entry[0], entry[1]]);
    }
    server.cli(&["SADD", STREAMS, "not a stream", "v9-00000000-0000000000000001"]);

    let heir = start("heir", &collector, &journal);
    collector.up();
    super::assert_delivered(&collector, &acknowledged);
    let ended = heir.finish_as_heir(&journal, &[STREAMS]);
    assert_eq!(ended.stats()["corrupt_entries"], 3, "{}", ended.stats());
    assert_eq!(ended.stats()["recovered"]["events"], 50);
}

pub fn requests_are_few_and_harmless(pipe: Pipe) {
    let collector = Collector::start();
    let mut journal = Journal::redis(pipe);
    let mut worker = start("worker", &collector, &journal);
    server(&mut journal).cli(&["CONFIG", "RESETSTAT"]);
    worker.send_evenly(Duration::from_secs(4), 10);
    let sent = worker.sent();
    worker.process.stats_until(|stats| stats["delivered"]["events"] == sent);
    let calls = calls(server(&mut journal));
    worker.finish();

    // Everything else is only called by scripts, or by this test.
    let requests: u64 = ["evalsha", "eval", "sadd", "srem", "scard", "sscan"]
        .iter()
        .filter_map(|name| calls.get(*name))
        .sum();
    println!("{requests} requests for {sent} events: {calls:?}");
    assert!(requests > 0);
    assert!((requests as f64) < sent as f64 * 0.05, "{requests} for {sent}: {calls:?}");
    let harmful = |name: &str| {
        matches!(name, "keys" | "scan" | "flushall" | "flushdb" | "wait")
            || name.starts_with('b') && name != "bgsave"
    };
    assert!(!calls.keys().any(|name| harmful(name)), "{calls:?}");
}

fn start(name: &str, collector: &Collector, journal: &Journal) -> Worker {
    let fields =
        ["journal_lease=2", "journal_timeout=0.5", "timeout=1", "connect_timeout=1", "rate_limit=100000"];
    let mut worker = Worker::start(name, collector, journal, &fields);
    worker.process.stats_until(|_| true);
    worker
}

/// Kills a worker, all of whose records are delivered or durable, and lets another one deliver the rest.
fn inherit(worker: Worker, collector: &Collector, journal: &Journal) {
    let sent = worker.sent();
    let (_, nacks) = super::acknowledged(&worker.process.kill());
    assert_eq!(nacks.len(), 0);
    let heir = start("heir", collector, journal);
    collector.up();
    collector.wait_for(|received| received.event_count == sent, HANG);
    heir.finish_as_heir(journal, &[]);
    assert_eq!(collector.violations(), [""; 0]);
}

fn server(journal: &mut Journal) -> &mut RedisServer {
    match &mut journal.place {
        Place::Redis(server) => server,
        Place::Files(_) => unreachable!("it is in Redis"),
    }
}

fn journal_keys(server: &RedisServer) -> Vec<String> {
    server.cli(&["KEYS", "*"]).lines().map(str::to_owned).collect()
}

/// How often each command was called.
fn calls(server: &RedisServer) -> BTreeMap<String, u64> {
    let info = server.cli(&["INFO", "commandstats"]);
    let lines = info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    lines.map(|(name, rest)| (name.to_owned(), rest.split(',').next().unwrap().parse().unwrap())).collect()
}
