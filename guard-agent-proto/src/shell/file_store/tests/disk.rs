//! What the journal takes on the disk.

use std::string::String;
use std::vec::Vec;

use super::{Scratch, append, block, note};
use crate::Seq;
use crate::store::{LogWrite, StoreAnswer};

const SEGMENT: u64 = 4096;
/// The lock, the reserve, and a segment that is being filled.
const FIXED: u64 = 17 + (64 << 10) + 2 * SEGMENT;

#[test]
fn segments_roll_over_and_are_deleted_when_they_are_dead() {
    let scratch = Scratch::new();
    let agent = scratch.agent_with(1, SEGMENT);
    for id in 1..=100 {
        agent.append(id, [id as u8; 400]);
    }
    assert!((8..=14).contains(&scratch.segments().len()), "{} segments", scratch.segments().len());
    agent.remove(1..=50);
    agent.settle();
    assert!((4..=8).contains(&scratch.segments().len()), "{} segments", scratch.segments().len());
    assert_eq!(agent.ids(), ((51..=100).collect(), 0));
    agent.remove(51..=100);
    agent.settle();
    assert!(scratch.segments().len() <= 2);
    assert!(scratch.size() <= FIXED, "{} bytes", scratch.size());
}

#[test]
fn notes_and_highest_ids_outlive_the_segments_they_were_written_to() {
    let scratch = Scratch::new();
    let agent = scratch.agent_with(1, SEGMENT);
    let notes = [note("kept", "value"), note("changed", "old"), note("deleted", "old")];
    assert_eq!(agent.write_with_notes(append(1, "one"), notes.into()), Ok(StoreAnswer::Done));
    let gone = crate::store::Note { name: "deleted".into(), value: None };
    let changes = [note("changed", "new"), gone];
    assert_eq!(agent.write_with_notes(append(2, "two"), changes.into()), Ok(StoreAnswer::Done));
    for id in 3..=60 {
        agent.append(id, [0; 400]);
        agent.remove(1..=id);
    }
    agent.settle();
    assert!(scratch.segments().len() <= 2);
    drop(agent);

    let adopter = scratch.adopter(2);
    assert_eq!(adopter.adopt(), Ok([note("changed", "new"), note("kept", "value")].into()));
    let next = LogWrite { expected: Some(Seq(60)), ..append(61, "next") };
    assert_eq!(adopter.write(next), Ok(StoreAnswer::Done));
    assert_eq!(adopter.ids(), ([61].into(), 0));
}

#[test]
fn a_block_that_waits_does_not_keep_what_was_appended_later() {
    let scratch = Scratch::new();
    let agent = scratch.agent_with(1, SEGMENT);
    // One in ten waits for ever, so that each segment holds some of them.
    let waits = |id: u64| id.is_multiple_of(10);
    let bytes = |id: u64| [id as u8; 400];
    let (mut waiting, mut live) = (Vec::new(), 0);
    for id in 1..=600 {
        agent.append(id, bytes(id));
        if waits(id) {
            waiting.push(block(id, bytes(id)));
            live += 416;
        } else {
            agent.remove([id]);
        }
        agent.settle();
        assert!(scratch.size() <= 2 * live + FIXED + 2 * SEGMENT, "{} bytes for {live}", scratch.size());
    }
    assert_eq!(agent.page(0, usize::MAX), (waiting.clone(), 0));
    drop(agent);
    let adopter = scratch.adopter(2);
    assert_eq!(adopter.page(0, usize::MAX), (waiting, 0));
    adopter.remove(1..=600);
    assert_eq!(adopter.ids(), (Vec::new(), 0));
    assert_eq!(scratch.segments().len(), 1);
}

#[test]
fn many_small_blocks_take_bounded_space() {
    let scratch = Scratch::new();
    let agent = scratch.agent_with(1, SEGMENT);
    for round in 0..20 {
        let ids = || round * 1000 + 1..=round * 1000 + 1000;
        let log = LogWrite { append: ids().map(|id| block(id, "x")).collect(), ..LogWrite::default() };
        assert_eq!(agent.write(log), Ok(StoreAnswer::Done));
        for id in ids().step_by(100) {
            agent.remove(id..id + 100);
        }
        agent.settle();
        // A write of a thousand blocks is a segment of 13,000 bytes.
        assert!(scratch.size() < FIXED + 20_000, "{} bytes", scratch.size());
    }
    agent.close(false);
    assert!(!scratch.stream().exists());
}

#[test]
fn a_write_that_changes_nothing_takes_nothing() {
    let scratch = Scratch::new();
    let agent = scratch.agent(1);
    agent.append(1, "one");
    agent.settle();
    let before = scratch.size();
    for _ in 0..3 {
        agent.append(1, "one");
        assert_eq!(agent.write(LogWrite::default()), Ok(StoreAnswer::Done));
        agent.adopt().unwrap();
        assert_eq!(agent.ids(), ([1].into(), 0));
    }
    agent.settle();
    assert_eq!(scratch.size(), before);
}

#[test]
fn adopting_again_and_again_does_not_pile_up_files() {
    let scratch = Scratch::new();
    drop(scratch.agent(1));
    for owner in 1..=40 {
        let adopter = scratch.adopter(owner);
        adopter.append(owner, String::from("block"));
        adopter.remove([owner - 1]);
        adopter.settle();
        assert!(scratch.segments().len() <= 2, "{:?}", scratch.segments());
    }
}
