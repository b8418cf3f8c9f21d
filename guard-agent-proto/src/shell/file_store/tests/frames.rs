//! Frames as bytes.

use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::frame::{Change, Frame, Piece, encode, pieces};
use super::note;
use crate::{ByKind, Seq};

const MARK: u32 = 0x5f0c_3d21;

fn frame(id: u64, bytes: &[u8]) -> Vec<u8> {
    let last = ByKind { events: Seq(0), metrics: Seq(0) };
    let append = ByKind { events: Vec::from([(Seq(id), bytes)]), metrics: Vec::new() };
    encode(MARK, last, core::iter::empty(), &Change { append, ..Change::default() }).unwrap()
}

/// Ids of events, and how many pieces are damaged.
fn take_apart(segment: &[u8]) -> (Vec<u64>, usize) {
    let (mut ids, mut damage) = (Vec::new(), 0);
    for piece in pieces(MARK, segment) {
        match piece {
            Piece::Frame(frame) => ids.extend(frame.logs.events.append.iter().map(|(id, _)| id.as_u64())),
            Piece::Damage => damage += 1,
        }
    }
    (ids, damage)
}

#[test]
fn what_was_written_is_read() {
    let notes = [note("a", "changed"), crate::store::Note { name: "gone".into(), value: None }];
    let change = Change {
        append: ByKind { events: [(Seq(5), &b"five"[..]), (Seq(7), b"")].into(), metrics: Vec::new() },
        remove: ByKind { events: &[], metrics: &[Seq(2), Seq(6)] },
        notes: &notes,
    };
    let last = ByKind { events: Seq(4), metrics: Seq(6) };
    let bytes = encode(MARK, last, [("a", &b"kept"[..])].into_iter(), &change).unwrap();
    let all: Vec<_> = pieces(MARK, &bytes).collect();
    let [Piece::Frame(Frame { last, notes, logs })] = &all[..] else { panic!("{all:?}") };
    assert_eq!(*last, ByKind { events: Seq(7), metrics: Seq(6) });
    assert_eq!(notes[..], [("a", Some(&b"kept"[..])), ("a", Some(b"changed")), ("gone", None)]);
    let events: Vec<_> = logs.events.append.iter().map(|(id, range)| (*id, &bytes[range.clone()])).collect();
    assert_eq!(events, change.append.events);
    assert_eq!(logs.metrics.remove, [Seq(2), Seq(6)]);
}

#[test]
fn a_frame_within_a_record_is_no_frame() {
    // Whoever writes records does not know the mark of the segment.
    let inner =
        encode(MARK + 1, ByKind { events: Seq(9), metrics: Seq(9) }, [].into_iter(), &Change::default());
    let mut segment = frame(1, &inner.unwrap());
    segment[4] ^= 1;
    segment.extend(frame(2, b"next"));
    assert_eq!(take_apart(&segment), ([2].into(), 1));
}

#[test]
fn bytes_between_frames_are_one_damage() {
    for filler in [&b"x"[..], &[0; 4096], &MARK.to_le_bytes()] {
        let segment = [&frame(1, b"one"), filler, &frame(2, b"two"), filler].concat();
        assert_eq!(take_apart(&segment), ([1, 2].into(), 2));
    }
    assert_eq!(take_apart(&[]), (Vec::new(), 0));
}

proptest! {
    #[test]
    fn any_bytes_are_taken_apart(bytes in vec(any::<u8>(), 0..300), mark in any::<u32>()) {
        pieces(mark, &bytes).for_each(drop);
    }

    #[test]
    fn any_change_of_a_frame_is_noticed(
        bytes in vec(any::<u8>(), 0..60),
        place in any::<proptest::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        let damaged = frame(2, &bytes);
        let place = place.index(damaged.len());
        let mut segment = [frame(1, b"one"), damaged, frame(3, b"three")].concat();
        let start = frame(1, b"one").len();
        segment[start + place] ^= flip;
        prop_assert_eq!(take_apart(&segment), ([1, 3].into(), 1));
    }

    #[test]
    fn what_has_a_checksum_and_no_sense_is_damage(payload in vec(any::<u8>(), 0..80)) {
        let mut bytes = Vec::new();
        for word in [MARK, payload.len() as u32, crc32fast::hash(&payload)] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend(&payload);
        bytes.extend(frame(3, b"three"));
        let (ids, damage) = take_apart(&bytes);
        prop_assert_eq!((ids.last(), damage <= 1), (Some(&3), true));
    }
}
