//! A place that others can write to, and have filled: live events pass as before, in a memory as before.

use std::fs;
use std::time::Duration;

use guard_agent_proto::store::{Space, StreamId};
use serde_json::Value;

use crate::collector::Collector;
use crate::pipe_process::{Ended, Pipe};
use crate::redis_server::RedisServer;
use crate::scratch::Scratch;

use super::{Journal, Place, Worker, acknowledged, assert_delivered};

/// Ten times what live events take to arrive.
const LATE: Duration = Duration::from_secs(10);

/// Several times what an agent takes, and less than one of what is planted.
const MOST_MEMORY: u64 = 150 << 20;

const NAMES: u64 = 100_000;

/// While Redis copies what is planted, a lease that is shorter would run out, and delivery would wait until it is renewed.
const USUAL: &str = "journal_lease=30";
/// So that names are taken for those of streams to adopt.
const SHORT: &str = "journal_lease=8";

/// What cannot be sent in a command is made by a script.
const PLANT_GIANTS: &str = r"
    local piece = string.rep('x', 2 ^ 20)
    local function giant(megabytes)
        local pieces = {}
        for i = 1, megabytes do
            pieces[i] = piece
        end
        return table.concat(pieces)
    end
    redis.call('SADD', KEYS[1], giant(300))
    local entry = giant(200)
    for _, stream in ipairs(ARGV) do
        local prefix = '{guard:agent:' .. stream .. '}:'
        for id = 1, 3 do
            redis.call('XADD', prefix .. 'e', id .. '-0', 'b', entry)
        end
        redis.call('HSET', prefix .. 'n', 'note:s-e-1', entry, 'released', '1')
        redis.call('SADD', KEYS[1], stream)
    end
";

/// Names of streams of ours that nobody has, some of another key, and some that are none.
const PLANT_NAMES: &str = r"
    for id = 1, tonumber(ARGV[1]) do
        redis.call('SADD', KEYS[1], string.format('v2-00000000-%016x', id))
        if id % 5 == 0 then
            redis.call('SADD', KEYS[1], string.format('v2-0000002a-%016x', id), 'garbage ' .. id)
        end
    end
";

pub fn giants_in_redis_cost_neither_memory_nor_time(pipe: Pipe) {
    let server = RedisServer::start(&[]);
    let streams = [1, 2].map(|id| StreamId::new(Space::new(0), id).to_string());
    server.cli(&["EVAL", PLANT_GIANTS, "1", STREAMS, &streams[0], &streams[1]]);
    let ended = live_events_pass(&Journal { pipe, place: Place::Redis(server) }, USUAL, |stats| {
        stats["corrupt_entries"].as_u64() >= Some(8)
    });
    assert!(ended.errors.contains("damaged or foreign entries were skipped"), "{}", ended.errors);
}

pub fn a_hundred_thousand_names_in_redis_cost_no_time(pipe: Pipe) {
    let server = RedisServer::start(&[]);
    server.cli(&["EVAL", PLANT_NAMES, "1", STREAMS, &NAMES.to_string()]);
    live_events_pass(&Journal { pipe, place: Place::Redis(server) }, SHORT, |_| true);
}

pub fn a_hundred_thousand_names_in_a_directory_cost_no_time(pipe: Pipe) {
    let scratch = Scratch::in_memory().unwrap();
    for id in 1..=NAMES {
        fs::create_dir(scratch.path().join(StreamId::new(Space::new(0), id).to_string())).unwrap();
    }
    live_events_pass(&Journal { pipe, place: Place::Files(scratch) }, SHORT, |_| true);
}

/// The set that names the streams.
const STREAMS: &str = "guard:agent:streams";

/// What is delivered meanwhile, and what was left by an agent that died among all that.
fn live_events_pass(journal: &Journal, lease: &str, is_over: impl Fn(&Value) -> bool) -> Ended {
    let collector = Collector::start();
    let fields = [lease, "journal_timeout=30"];
    let mut worker = Worker::start("worker", &collector, journal, &fields);
    worker.send_evenly(Duration::from_secs(8), 1);
    let sent = worker.sent();
    let stats = worker.process.stats_until(|stats| is_over(stats) && stats["delivered"]["events"] == sent);
    let (slowest, usual) =
        collector.read(|received| (received.propagation(1000).unwrap(), received.propagation(500).unwrap()));
    let (memory, processor) = (peak_memory(worker.process.id()), processor_time(worker.process.id()));
    println!(
        "propagation at most {slowest:?}, half within {usual:?}; {} MiB at most, {processor:?} of a processor; \
         {} journals adopted",
        memory >> 20,
        stats["adopted_journals"]
    );
    assert!(slowest < LATE, "{slowest:?}");
    assert!(memory < MOST_MEMORY, "{memory} bytes");
    worker.process.end_input();
    let ended = worker.process.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_delivered(&collector, &acknowledged(&ended).0);
    ended
}

/// Most bytes that a process ever had in memory; 0 where the system does not say.
fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    peak.and_then(|peak| peak.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// How long a process computed; nothing where the system does not say.
fn processor_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<u64> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // By a clock of 100 Hz, everywhere by now.
    Duration::from_millis(10 * fields.iter().skip(11).take(2).sum::<u64>())
}
