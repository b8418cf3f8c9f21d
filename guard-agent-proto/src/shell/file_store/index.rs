use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::fs::File;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use super::frame::Frame;
use super::segment::Name;
use crate::shell::private_files::FileId;
use crate::{ByKind, Kind, Seq};

/// What a block takes beside its bytes in a segment with many.
const BLOCK_OVERHEAD: u64 = 16;

/// Most segments of a stream that are kept open: the host has other uses for file descriptors.
const MOST_KEPT: usize = 16;

/// What the frames of a stream add up to.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) logs: ByKind<Log>,
    pub(super) notes: BTreeMap<String, Arc<[u8]>>,
    /// By number.
    pub(super) segments: BTreeMap<u32, Usage>,
}

#[derive(Debug)]
pub(super) struct Log {
    /// The highest id that was ever appended.
    pub(super) last: Seq,
    pub(super) blocks: BTreeMap<Seq, Place>,
    /// What is missing, by the lowest id that it may have had; ascending.
    pub(super) damage: Vec<Seq>,
}

/// Where the bytes of a block are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) length: u32,
    pub(super) offset: u64,
}

/// How much of a segment is in use.
#[derive(Debug)]
pub(super) struct Usage {
    pub(super) name: Name,
    pub(super) file: FileId,
    /// The file, open in case that somebody takes its name away.
    pub(super) kept: Option<File>,
    pub(super) bytes: u64,
    pub(super) blocks: u64,
    block_bytes: u64,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { logs: ByKind::default(), notes: BTreeMap::new(), segments: BTreeMap::new() }
    }

    pub(super) fn last(&self) -> ByKind<Seq> {
        ByKind { events: self.logs.events.last, metrics: self.logs.metrics.last }
    }

    /// The segment is there, and so long now.
    pub(super) fn set_segment(&mut self, name: Name, file: FileId, bytes: u64) {
        let new = || Usage { name, file, kept: None, bytes, blocks: 0, block_bytes: 0 };
        self.segments.entry(name.number).or_insert_with(new).bytes = bytes;
    }

    /// Keeps a segment's file open, unless there are too many.
    pub(super) fn keep(&mut self, number: u32, file: impl FnOnce() -> Option<File>) {
        let kept = self.segments.values().filter(|usage| usage.kept.is_some()).count();
        if let Some(usage) =
            self.segments.get_mut(&number).filter(|usage| usage.kept.is_none() && kept < MOST_KEPT)
        {
            usage.kept = file();
        }
    }

    /// Applies a frame that begins at that offset of a segment.
    pub(super) fn apply(&mut self, segment: u32, offset: u64, frame: &Frame<'_>) {
        for (name, value) in &frame.notes {
            match value {
                Some(value) => self.notes.insert((*name).to_owned(), Arc::from(*value)),
                None => self.notes.remove(*name),
            };
        }
        for kind in Kind::ALL {
            self.logs[kind].last = self.logs[kind].last.max(frame.last[kind]);
            for (id, range) in &frame.logs[kind].append {
                let place =
                    Place { segment, length: range.len() as u32, offset: offset + range.start as u64 };
                self.remove(kind, *id);
                self.logs[kind].blocks.insert(*id, place);
                if let Some(usage) = self.segments.get_mut(&segment) {
                    usage.blocks += 1;
                    usage.block_bytes += place.bytes();
                }
            }
            for id in &frame.logs[kind].remove {
                self.remove(kind, *id);
            }
        }
    }

    fn remove(&mut self, kind: Kind, id: Seq) {
        let Some(place) = self.logs[kind].blocks.remove(&id) else { return };
        if let Some(usage) = self.segments.get_mut(&place.segment) {
            usage.blocks -= 1;
            usage.block_bytes -= place.bytes();
        }
    }

    /// Frames that cannot be read may have been of either kind, or none: they count as one block of an event.
    pub(super) fn note_damage(&mut self) {
        let log = &mut self.logs.events;
        log.damage.push(Seq(log.last.as_u64().saturating_add(1)));
    }

    /// The block is gone from the disk.
    pub(super) fn lose(&mut self, kind: Kind, id: Seq) {
        self.remove(kind, id);
        let damage = &mut self.logs[kind].damage;
        damage.insert(damage.partition_point(|other| *other < id), id);
    }

    /// These segments are not what they were: nothing in them counts as there. True if a log ends earlier now than it did;
    /// what is missing before that end is met when it is read.
    pub(super) fn give_up(&mut self, segments: &[u32]) -> bool {
        for number in segments {
            if let Some(usage) = self.segments.get_mut(number) {
                usage.bytes = 0;
            }
        }
        let mut ends_earlier = false;
        for kind in Kind::ALL {
            while let Some((id, place)) =
                self.logs[kind].blocks.last_key_value().map(|(id, place)| (*id, *place))
                && !self.is_there(place)
            {
                self.remove(kind, id);
                ends_earlier = true;
                let log = &mut self.logs[kind];
                log.last = log.blocks.last_key_value().map_or(Seq(0), |(id, _)| *id);
                log.damage.retain(|id| *id < log.last);
            }
        }
        ends_earlier
    }

    fn is_there(&self, place: Place) -> bool {
        self.segments.get(&place.segment).is_some_and(|usage| usage.bytes > 0)
    }

    /// The blocks in a segment.
    pub(super) fn blocks_in(&self, segment: u32) -> Vec<(Kind, Seq, Place)> {
        let blocks = Kind::ALL
            .iter()
            .flat_map(|kind| self.logs[*kind].blocks.iter().map(move |(id, place)| (*kind, *id, *place)));
        blocks.filter(|(_, _, place)| place.segment == segment).collect()
    }

    /// Whether more than half of the files is dead, but for two segments.
    pub(super) fn is_wasteful(&self, segment_bytes: u64) -> bool {
        let sum = |part: fn(&Usage) -> u64| self.segments.values().map(part).sum::<u64>();
        sum(|usage| usage.bytes) > 2 * (sum(|usage| usage.block_bytes) + segment_bytes)
    }
}

impl Log {
    /// How many are missing from one id to another.
    pub(super) fn damage(&self, from: Seq, to: Seq) -> u64 {
        self.damage.iter().filter(|id| (from..=to).contains(id)).count() as u64
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { last: Seq(0), blocks: BTreeMap::new(), damage: Vec::new() }
    }
}

impl Place {
    const fn bytes(self) -> u64 {
        self.length as u64 + BLOCK_OVERHEAD
    }
}
