//! A journal in files from which somebody else takes segments: a cleaner of temporary files, a rotation of logs.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::collector::Collector;
use crate::pipe_process::{Ended, HANG, Pipe};

use super::{Journal, Place, Worker};

/// They leave the file as it is.
const TAKEN_AWAY: [fn(&Path); 2] =
    [|path| fs::remove_file(path).unwrap(), |path| fs::rename(path, path.with_extension("log.1")).unwrap()];

fn cut_off(path: &Path) {
    fs::write(path, "").unwrap();
}

pub fn what_was_acknowledged_survives_the_loss_of_segments_and_a_kill(pipe: Pipe) {
    for take_away in [TAKEN_AWAY[0], TAKEN_AWAY[1], cut_off] {
        let journal = Journal::files(pipe);
        let collector = Collector::start();
        collector.down();
        let mut worker = start("victim", &collector, &journal, &["buffer_size=1000"]);
        worker.send(300);
        worker.process.answers_until(300);
        each_segment(&journal, take_away);
        worker.send(300);
        worker.process.answers_until(600);

        // All of it was still in memory, and was journaled again.
        let (acknowledged, nacks) = super::acknowledged(&worker.process.kill());
        assert_eq!((acknowledged.len(), nacks.len()), (600, 0));
        collector.up();
        let heir = start("heir", &collector, &journal, &["buffer_size=1000"]);
        super::assert_delivered(&collector, &acknowledged);
        heir.finish();
    }
}

pub fn the_oldest_segment_of_more_than_memory_holds_may_be_taken_away(pipe: Pipe) {
    for take_away in TAKEN_AWAY {
        let journal = Journal::files(pipe);
        let collector = Collector::start();
        collector.down();
        let small = ["buffer_size=50", "max_payload_size=131072"];
        let mut worker = start("victim", &collector, &journal, &small).pad(60_000);
        worker.send(320);
        worker.wait_for_persisted(320);
        take_away(&segments(&journal)[0]);
        worker.send(20);
        worker.process.answers_until(340);
        let (acknowledged, nacks) = super::acknowledged(&worker.process.kill());
        assert_eq!((acknowledged.len(), nacks.len()), (340, 0));
        collector.up();
        let heir = start("heir", &collector, &journal, &["buffer_size=1000"]);
        super::assert_delivered(&collector, &acknowledged);
        heir.finish();
    }
}

pub fn what_was_lost_with_segments_is_counted(pipe: Pipe) {
    let journal = Journal::files(pipe);
    let collector = Collector::start();
    collector.down();
    let mut worker = start("loser", &collector, &journal, &["buffer_size=400"]);
    worker.send(2_000);
    worker.wait_for_persisted(2_000);
    each_segment(&journal, cut_off);
    worker.send(100);
    worker.process.answers_until(2_100);
    collector.up();
    // An end during the outage would leave all to another agent, unread.
    collector.wait_for(|received| received.event_count > 0, HANG);
    worker.process.end_input();
    let ended = worker.process.wait();
    assert_lost(&ended, 2_100, 1_001..=1_900, "the store lost what it had acknowledged");
}

/// Nothing tells the agent of it before: the store answers each write by where its logs end.
pub fn what_was_lost_in_the_midst_is_counted_when_it_is_read(pipe: Pipe) {
    let journal = Journal::files(pipe);
    let collector = Collector::start();
    collector.down();
    // More than two segments, and far more than memory takes.
    let mut worker =
        start("loser", &collector, &journal, &["buffer_size=50", "max_payload_size=131072"]).pad(60_000);
    worker.send(320);
    worker.wait_for_persisted(320);
    let segments = segments(&journal);
    assert!(segments.len() > 2, "{segments:?}");
    cut_off(&segments[1]);
    worker.send(20);
    worker.process.answers_until(340);
    collector.up();
    // Only the end of what there is to read tells how much is missing.
    worker.process.stats_until(|stats| stats["pending"]["events"] == 0);
    worker.process.end_input();
    let ended = worker.process.wait();
    assert_lost(&ended, 340, 51..=199, "damaged or foreign entries were skipped");
}

/// Of `all` events the store lost so many, the others were delivered, and the pipe says why.
fn assert_lost(ended: &Ended, all: u64, lost: RangeInclusive<u64>, why: &str) {
    let stats = ended.stats();
    let count = |count: &serde_json::Value| count.as_u64().unwrap();
    let store_lost = count(&stats["dropped"]["events"]["store_lost"]);
    assert_eq!(ended.code, Some(3), "{stats}");
    assert!(lost.contains(&store_lost), "{stats}");
    assert_eq!(count(&stats["delivered"]["events"]) + store_lost, all, "{stats}");
    assert!(ended.errors.contains(why), "{}", ended.errors);
}

fn start(name: &str, collector: &Collector, journal: &Journal, fields: &[&str]) -> Worker {
    let usual = ["journal_lease=2", "timeout=1", "connect_timeout=1", "rate_limit=100000"];
    Worker::start(name, collector, journal, &[&usual, fields].concat())
}

fn each_segment(journal: &Journal, take_away: fn(&Path)) {
    let segments = segments(journal);
    assert!(!segments.is_empty(), "there are no segments");
    segments.iter().for_each(|path| take_away(path));
}

/// The segments of all streams, the oldest first.
fn segments(journal: &Journal) -> Vec<PathBuf> {
    let Place::Files(folder) = &journal.place else { panic!("a journal in files") };
    let streams = fs::read_dir(folder.path()).unwrap();
    let files = streams.flat_map(|stream| fs::read_dir(stream.unwrap().path()).unwrap());
    let files = files.map(|file| file.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "log")).collect();
    segments.sort();
    segments
}
