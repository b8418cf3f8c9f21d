//! Files that are not as they were written.

use std::format;
use std::fs;
use std::path::Path;
use std::string::String;
use std::vec;
use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Scratch, append, block, note};
use crate::Seq;
use crate::store::{LogWrite, StoreAnswer};

#[test]
fn a_torn_tail_is_skipped_wherever_it_is_torn() {
    let scratch = Scratch::new();
    let agent = scratch.agent(1);
    agent.append(1, "one");
    agent.append(2, "two");
    let path = scratch.segments().remove(0);
    let whole = fs::metadata(&path).unwrap().len();
    agent.append(3, "three");
    drop(agent);
    let bytes = fs::read(&path).unwrap();

    for (owner, length) in (whole..=bytes.len() as u64).enumerate() {
        for later in scratch.segments() {
            fs::remove_file(later).unwrap();
        }
        fs::write(&path, &bytes[..length as usize]).unwrap();
        let adopter = scratch.adopter(2 * owner as u64 + 10);
        let expected = if length == bytes.len() as u64 {
            ([1, 2, 3].into(), 0)
        } else {
            ([1, 2].into(), u64::from(length > whole))
        };
        assert_eq!(adopter.ids(), expected, "{length} of {} bytes", bytes.len());
        // What is written afterwards does not suffer from it.
        adopter.append(4, "four");
        drop(adopter);
        let (ids, skipped) = scratch.adopter(2 * owner as u64 + 11).ids();
        assert_eq!((ids.last(), skipped), (Some(&4), expected.1));
    }
}

#[test]
fn damage_is_counted_once_by_a_reader_that_pages() {
    let scratch = Scratch::new();
    let agent = scratch.agent(1);
    let path = || scratch.segments().remove(0);
    let mut ends = Vec::new();
    for id in 1..=6 {
        agent.append(id, "block");
        ends.push(fs::metadata(path()).unwrap().len() as usize);
    }
    drop(agent);
    let mut bytes = fs::read(path()).unwrap();
    for damaged in [1, 4, 6] {
        bytes[ends[damaged - 1] - 9] ^= 1;
    }
    fs::write(path(), bytes).unwrap();

    let adopter = scratch.adopter(2);
    for limit in 1..=4 {
        let (mut from, mut ids, mut skipped) = (1, Vec::new(), 0);
        loop {
            let page = adopter.page(from, limit);
            assert_eq!(page, adopter.page(from, limit), "a page may be read again");
            skipped += page.1;
            let Some(last) = page.0.last() else { break };
            from = last.id.as_u64() + 1;
            ids.extend(page.0.iter().map(|block| block.id.as_u64()));
        }
        assert_eq!((ids, skipped), ([2, 3, 5].into(), 3), "by {limit}");
    }
}

#[test]
fn a_segment_that_is_cut_off_is_skipped_and_does_not_end_the_log() {
    let scratch = Scratch::new();
    let agent = scratch.agent_with(1, 1000);
    for id in 1..=5 {
        agent.append(id, [id as u8; 1000]);
    }
    let segments = scratch.segments();
    assert_eq!(segments.len(), 5);
    for cut_off in [0, 1, 4] {
        fs::write(&segments[cut_off], "").unwrap();
    }
    assert_eq!(agent.page(1, 1), ([block(3, [3; 1000])].into(), 2));
    assert_eq!(agent.page(4, 9), ([block(4, [4; 1000])].into(), 0));
    assert_eq!(agent.page(5, 9), ([].into(), 1));
    agent.remove(1..=5);
    assert_eq!(agent.ids(), (Vec::new(), 0));
}

#[test]
fn a_stream_that_is_deleted_by_hand_is_a_new_one() {
    let scratch = Scratch::new();
    let agent = scratch.agent(1);
    agent.append(1, "one");
    fs::remove_dir_all(scratch.stream()).unwrap();
    let lost = agent.write(LogWrite { expected: Some(Seq(1)), ..append(2, "two") });
    let last = crate::ByKind { events: Seq(0), metrics: Seq(0) };
    assert_eq!(lost, Ok(StoreAnswer::Diverged { last }));
    agent.append(2, "two");
    fs::remove_dir_all(&scratch.0).unwrap();
    assert_eq!(agent.write(append(3, "three")), Ok(StoreAnswer::Diverged { last }), "whatever is expected");
    agent.append(3, "three");
    assert_eq!(agent.ids(), ([3].into(), 0));
}

#[test]
fn segments_that_were_taken_away_are_written_again() {
    type Way = (&'static str, fn(&Path));
    let ways: [Way; 3] = [
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("renamed", |path| fs::rename(path, path.with_extension("log.1")).unwrap()),
        ("replaced", |path| {
            fs::rename(path, path.with_extension("log.1")).unwrap();
            fs::write(path, "").unwrap();
        }),
    ];
    for (way, take_away) in ways {
        // One segment, or one each; all, or the oldest.
        for (segment_bytes, all) in [(1 << 20, true), (1, true), (1, false)] {
            for reads_first in [false, true] {
                let scratch = Scratch::new();
                let agent = scratch.agent_with(1, segment_bytes);
                (1..=5).for_each(|id| agent.append(id, "one"));
                // The segments of an earlier owner are restored, too.
                drop(agent);
                let agent = scratch.adopter_with(2, segment_bytes);
                (6..=9).for_each(|id| agent.append(id, "two"));
                let segments = scratch.segments();
                segments.iter().take(if all { usize::MAX } else { 2 }).for_each(|path| take_away(path));
                if reads_first {
                    assert_eq!(agent.ids(), ((1..=9).collect(), 0), "{way}");
                }
                let next = LogWrite { expected: Some(Seq(9)), ..append(10, "three") };
                assert_eq!(agent.write(next), Ok(StoreAnswer::Done), "{way}");
                agent.append(11, "four");
                assert_eq!(agent.ids(), ((1..=11).collect(), 0), "{way}");
                drop(agent);
                assert_eq!(scratch.adopter(3).ids(), ((1..=11).collect(), 0), "{way}");
            }
        }
    }
}

#[test]
fn segments_that_were_cut_off_are_noticed_before_anything_more_is_acknowledged() {
    type Way = (&'static str, fn(&Path));
    let ways: [Way; 2] = [
        ("copied and cut off", |path| fs::write(path, "").unwrap()),
        ("cut in the middle", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
        }),
    ];
    for (way, take_away) in ways {
        // One segment, or one each.
        for segment_bytes in [1 << 20, 1] {
            for expected in [Some(Seq(2)), None] {
                let scratch = Scratch::new();
                let agent = scratch.agent_with(1, segment_bytes);
                agent.append(1, "one");
                agent.append(2, "two");
                scratch.segments().iter().for_each(|path| take_away(path));

                let answer = agent.write(LogWrite { expected, ..append(3, "three") });
                let Ok(StoreAnswer::Diverged { last }) = answer else { panic!("{way}: {answer:?}") };
                // The store may have moved the oldest block on before its segment was taken away.
                assert!(last.events < Seq(2) && last.metrics == Seq(0), "{way}: {last:?}");
                let mut again = vec![block(1, "one"), block(2, "two"), block(3, "three")];
                again.retain(|block| block.id > last.events);
                let again = LogWrite { expected: Some(last.events), append: again, remove: Vec::new() };
                assert_eq!(agent.write(again), Ok(StoreAnswer::Done), "{way}");
                assert_eq!(agent.ids(), ([1, 2, 3].into(), 0), "{way}");
                drop(agent);
                assert_eq!(scratch.adopter(2).ids().0, [1, 2, 3], "{way}");
            }
        }
    }
}

#[test]
fn what_is_not_in_a_log_goes_on_without_the_segments_that_held_it() {
    let scratch = Scratch::new();
    let agent = scratch.agent(1);
    agent.write_with_notes(append(1, "one"), [note("a", "note")].into()).unwrap();
    agent.remove([1]);
    scratch.segments().iter().for_each(|path| fs::remove_file(path).unwrap());
    let next = agent.write(LogWrite { expected: Some(Seq(1)), ..append(2, "two") });
    assert_eq!(next, Ok(StoreAnswer::Done));
    drop(agent);
    let adopter = scratch.adopter(2);
    assert_eq!(adopter.adopt(), Ok([note("a", "note")].into()));
    assert_eq!(adopter.ids(), ([2].into(), 0));
}

#[test]
fn nonsense_in_the_lock_does_not_hinder_an_adoption() {
    let scratch = Scratch::new();
    let agent = scratch.agent(1);
    agent.append(1, "one");
    drop(agent);
    drop(scratch.adopter(2));
    fs::write(scratch.stream().join("lock"), [0xff; 1000]).unwrap();
    let adopter = scratch.adopter(3);
    assert_eq!(adopter.ids(), ([1].into(), 0));
    adopter.close(false);
    assert_eq!(adopter.list(), (0, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(48)))]

    #[test]
    fn flipped_bytes_cost_the_frames_that_they_are_in(
        flips in vec((any::<proptest::sample::Index>(), 1..=u8::MAX), 1..4),
    ) {
        let text = |id: u64| -> String { (0..id * 3).map(|_| format!("{id} ")).collect() };
        let scratch = Scratch::new();
        let agent = scratch.agent(1);
        let path = || scratch.segments().remove(0);
        let mut ends = Vec::new();
        for id in 1..=9 {
            let written = agent.write_with_notes(append(id, text(id)), [note("n", &text(id))].into());
            prop_assert_eq!(written, Ok(StoreAnswer::Done));
            ends.push(fs::metadata(path()).unwrap().len() as usize);
        }
        drop(agent);
        let mut bytes = fs::read(path()).unwrap();
        for (place, flip) in flips {
            bytes[place.index(ends[8])] ^= flip;
        }
        let written = fs::read(path()).unwrap();
        fs::write(path(), &bytes).unwrap();

        let starts = [0].into_iter().chain(ends.iter().copied());
        let intact = starts.zip(&ends).map(|(start, end)| bytes[start..*end] == written[start..*end]);
        let intact: Vec<u64> = (1..).zip(intact).filter(|(_, intact)| *intact).map(|(id, _)| id).collect();
        let (blocks, skipped) = scratch.adopter(2).all();
        let expected: Vec<_> = intact.iter().map(|id| block(*id, text(*id))).collect();
        prop_assert_eq!(blocks, expected);
        // Damaged frames side by side may count as one.
        prop_assert!(skipped <= 9 - intact.len() as u64);
        prop_assert_eq!(skipped == 0, intact.len() == 9);
    }
}
