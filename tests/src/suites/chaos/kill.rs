//! kill -9 at random moments, with a platform in every mood: what was acknowledged arrives.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crate::collector::{Answer, Collector};
use serde_json::json;

use super::{Dice, Journal, Worker};

/// What a worker is about when it is killed.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// It has just started, and adopts what its predecessors left.
    Adopting,
    /// Nothing can be delivered.
    Outage,
    Delivering,
    /// It is told to end, with something to hand over or not.
    Ending,
}

const PHASES: [Phase; 4] = [Phase::Adopting, Phase::Outage, Phase::Delivering, Phase::Ending];

pub fn killed_at_any_moment(journal: &Journal) {
    let mut dice = Dice::cast();
    let collector = Collector::start();
    let mut acknowledged = BTreeSet::new();
    for round in 0..super::rounds() * 16 {
        let phase = PHASES[usize::try_from(round).unwrap() % PHASES.len()];
        kill_in(phase, round, &collector, journal, &mut dice, &mut acknowledged);
    }
    all_arrives(&collector, journal, &acknowledged);
}

fn kill_in(
    phase: Phase,
    round: u64,
    collector: &Collector,
    journal: &Journal,
    dice: &mut Dice,
    acknowledged: &mut BTreeSet<String>,
) {
    let mut worker = start(&format!("victim-{round}"), collector, journal);
    match phase {
        Phase::Adopting => thread::sleep(dice.millis(700)),
        Phase::Outage => {
            collector.down();
            worker.send_evenly(dice.millis(700), 5);
        }
        Phase::Delivering => {
            collector.up();
            if dice.roll(2) == 0 {
                collector.events().answer_next(1, Answer::lost());
            }
            worker.send_evenly(dice.millis(700), 5);
        }
        Phase::Ending => {
            if dice.roll(2) == 0 {
                collector.down();
            }
            worker.send_evenly(dice.millis(400), 5);
            worker.process.signal("TERM");
            thread::sleep(dice.millis(150));
        }
    }
    let ended = worker.process.kill();
    let (acks, nacks) = super::acknowledged(&ended);
    println!("round {round}, {phase:?}: {} acknowledged, exit code {:?}", acks.len(), ended.code);
    // What is read after SIGTERM was not taken.
    assert!(nacks.iter().all(|nack| nack["reason"] == "the agent is shut down"), "{nacks:?}");
    acknowledged.extend(acks);
}

pub fn killed_while_the_platform_is_mad(journal: &Journal) {
    let mut dice = Dice::cast();
    let collector = Collector::start();
    let moods = [
        Answer::status(503),
        Answer::status(500),
        Answer::reset(),
        Answer::lost(),
        Answer::cut(),
        Answer::hang(),
        Answer::garbage(),
        Answer::endless_body(),
        Answer::endless_headers(),
        Answer::normal().trickling(Duration::from_millis(20)),
        Answer::normal().after(Duration::from_millis(300)),
        Answer::normal().twice(),
        Answer::partly(&[0, 2]),
        // Lies: it has them; it does not know what it lacks; it is somebody else.
        Answer::json(200, &json!({"success": false, "errors": ["no"]})),
        Answer::json(200, &json!({"success": false, "errors": [{"index": 99_999}]})).refusing(),
        Answer::status(200).header("content-type", "text/html").body("<html>").refusing(),
    ];
    let mut acknowledged = BTreeSet::new();
    for round in 0..super::rounds() * 4 {
        for _ in 0..4 {
            collector.events().answer_next(1, dice.pick(&moods));
        }
        let mut worker = start(&format!("victim-{round}"), &collector, journal);
        worker.send_evenly(Duration::from_secs(1) + dice.millis(1_000), 5);
        let ended = worker.process.kill();
        let (acks, nacks) = super::acknowledged(&ended);
        println!("round {round}: {} acknowledged", acks.len());
        assert_eq!(nacks, [json!(null); 0]);
        acknowledged.extend(acks);
    }
    all_arrives(&collector, journal, &acknowledged);
}

fn start(name: &str, collector: &Collector, journal: &Journal) -> Worker {
    let fields = ["journal_lease=2", "timeout=1", "connect_timeout=1", "rate_limit=100000"];
    Worker::start(name, collector, journal, &fields)
}

fn all_arrives(collector: &Collector, journal: &Journal, acknowledged: &BTreeSet<String>) {
    collector.events().answer_normally();
    collector.up();
    let mut heir = start("heir", collector, journal);
    // If they do not, its last words say why.
    heir.process.stats_until(|_| collector.read(|received| super::missing(received, acknowledged)) == 0);
    super::assert_delivered(collector, acknowledged);
    let ended = heir.finish_as_heir(journal, &[]);
    assert_eq!(ended.stats()["corrupt_entries"], 0, "{}", ended.stats());
    let (same, different) = super::repeated(collector);
    let count = acknowledged.len();
    println!("{count} acknowledged; repeated: {same} in the same batch, {different} in others");
}
