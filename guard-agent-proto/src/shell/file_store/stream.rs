use std::fs::{self, File};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::vec::Vec;

use super::error::is_full;
use super::frame::{self, Change, Piece};
use super::index::{Index, Place};
use super::lock::Lock;
use super::segment::{self, BlockReader, LARGEST_WRITE, Name, Segment};
use crate::shell::private_files::{FileId, PrivateDir};
use crate::store::{Block, LogWrite, Note, OwnerId, StoreAnswer, Write};
use crate::{ByKind, Kind, Seq};

/// Room for removals when the disk is full, without which it might stay full.
const RESERVE: usize = 64 << 10;
const RESERVE_NAME: &str = "reserve";

/// Blocks move to another segment in writes of so many bytes, about.
const MOVE_BYTES: usize = 1 << 20;

/// Most segments that are deleted between two operations: each takes as long as the disk takes to make it durable.
const DELETIONS: usize = 16;

/// Blocks in memory.
type Blocks = ByKind<Vec<(Seq, Arc<[u8]>)>>;

/// A stream that is ours.
#[derive(Debug)]
pub(super) struct Stream {
    dir: Arc<PrivateDir>,
    lock: Lock,
    index: Index,
    segment_bytes: u64,
    /// `None` until the first write, and after a failed one.
    current: Option<Segment>,
    /// Number of the next segment: never used before, not even by one that could not be written.
    next: u32,
    has_reserve: bool,
    /// Its owner is still to learn that it lost what was acknowledged.
    went_back: bool,
}

impl Stream {
    /// Reads what is there. Writes nothing: a full disk must not hinder an adoption.
    pub(super) fn load(dir: PrivateDir, lock: Lock, segment_bytes: u64) -> io::Result<Self> {
        let mut index = Index::new();
        for name in segment::names(&dir)?.into_values() {
            let (file, bytes) = segment::load(&dir, name)?;
            let meta = file.metadata()?;
            if meta.len() > bytes.len() as u64 {
                index.note_damage();
            }
            index.set_segment(name, FileId::of(&meta), bytes.len() as u64);
            index.keep(name.number, || Some(file));
            for piece in frame::pieces(name.mark, &bytes) {
                match piece {
                    Piece::Frame(frame) => index.apply(name.number, 0, &frame),
                    Piece::Damage => index.note_damage(),
                }
            }
        }
        let next = index.segments.last_key_value().map_or(1, |(number, _)| number.saturating_add(1));
        Ok(Self {
            dir: Arc::new(dir),
            lock,
            index,
            segment_bytes,
            current: None,
            next,
            has_reserve: false,
            went_back: false,
        })
    }

    pub(super) fn is_owned_by(&self, owner: OwnerId) -> bool {
        self.lock.is_owned_by(owner)
    }

    /// Whether somebody deleted it under our hands.
    pub(super) fn is_gone(&self) -> bool {
        !self.lock.is_in_place()
    }

    /// It takes the place of one that was deleted under its owner's hands.
    pub(super) fn replaces_a_lost_one(&mut self) {
        self.went_back = true;
    }

    pub(super) fn notes(&self) -> Vec<Note> {
        let notes = self.index.notes.iter();
        notes.map(|(name, value)| Note { name: name.clone(), value: Some(value.clone()) }).collect()
    }

    pub(super) fn write(&mut self, write: &Write) -> io::Result<StoreAnswer> {
        self.look_for_losses()?;
        let last = self.index.last();
        let goes_on = write.appends() || Kind::ALL.iter().any(|kind| write.logs[*kind].expected.is_some());
        if goes_on && core::mem::take(&mut self.went_back) {
            return Ok(StoreAnswer::Diverged { last });
        }
        if Kind::ALL.iter().any(|kind| !is_where_expected(last[*kind], &write.logs[*kind])) {
            return Ok(StoreAnswer::Diverged { last });
        }
        let append = |kind: Kind| {
            // In a repetition there are none.
            let new = write.logs[kind].append.iter().filter(move |block| block.id > last[kind]);
            new.map(|block| (block.id, &*block.bytes)).collect()
        };
        let change = Change {
            append: ByKind { events: append(Kind::Event), metrics: append(Kind::Metric) },
            remove: ByKind { events: &write.logs.events.remove, metrics: &write.logs.metrics.remove },
            notes: &write.notes,
        };
        match self.log(&change) {
            Err(error) if is_full(&error) && !change.appends() && self.give_up_reserve() => {
                self.log(&change)?
            }
            done => done?,
        }
        // A file without a name is gone with us.
        self.look_for_losses()?;
        if !change.is_empty() && self.current.is_none() || self.is_gone() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "somebody deleted or renamed it"));
        }
        Ok(StoreAnswer::Done)
    }

    /// Notices what somebody else deleted, renamed, replaced or cut off: cleaners of temporary files and rotations of
    /// logs do.
    fn look_for_losses(&mut self) -> io::Result<()> {
        let gone = self.restore()?;
        if gone.iter().any(|number| self.is_current(*number)) {
            self.current = None;
        }
        self.went_back |= !gone.is_empty() && self.index.give_up(&gone);
        Ok(())
    }

    /// Writes again what was deleted, renamed or replaced; answers the segments for which that is not possible.
    fn restore(&mut self) -> io::Result<Vec<u32>> {
        let mut gone = Vec::new();
        for (number, usage) in &mut self.index.segments {
            let length = match fs::symlink_metadata(self.dir.path_of(&usage.name.text())) {
                Ok(file) if FileId::of(&file) == usage.file => file.len(),
                Ok(_) => 0,
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(error),
            };
            if length >= usage.bytes {
                continue;
            }
            let is_whole = |file: &&File| file.metadata().is_ok_and(|file| file.len() >= usage.bytes);
            let Some(kept) = usage.kept.as_ref().filter(is_whole) else {
                gone.push(*number);
                continue;
            };
            let is_current = self.current.take_if(|segment| segment.name.number == *number).is_some();
            let segment = Segment::restore(usage.name, &self.dir, kept, usage.bytes)?;
            (usage.file, usage.kept) = (segment.id, segment.keep());
            if is_current {
                self.current = Some(segment);
            }
        }
        Ok(gone)
    }

    pub(super) fn read(&mut self, kind: Kind, from: Seq, limit: usize) -> io::Result<StoreAnswer> {
        let mut reader = BlockReader::default();
        let (mut blocks, mut skipped, mut gone) = (Vec::new(), 0, 0);
        let mut next = from;
        while blocks.len() < limit
            && let Some((id, place)) = self.index.logs[kind].blocks.range(next..).next()
        {
            let (id, place) = (*id, *place);
            match self.read_block(&mut reader, place)? {
                Some(bytes) => {
                    blocks.push(Block { id, bytes });
                    skipped += core::mem::take(&mut gone);
                }
                None => gone += 1,
            }
            next = id.next();
        }
        let log = &self.index.logs[kind];
        // What is missing after the last block is counted at the end of the log, once.
        let skipped = match blocks.last() {
            Some(last) => skipped + log.damage(from, last.id),
            None => gone + log.damage(from, Seq(u64::MAX)),
        };
        Ok(StoreAnswer::Blocks { blocks, skipped })
    }

    fn read_block(&mut self, reader: &mut BlockReader, place: Place) -> io::Result<Option<Arc<[u8]>>> {
        if let Some(bytes) = reader.read(&self.dir, self.segment(place.segment), place)? {
            return Ok(Some(bytes));
        }
        self.restore()?;
        *reader = BlockReader::default();
        reader.read(&self.dir, self.segment(place.segment), place)
    }

    /// Deletes all of it.
    pub(super) fn delete(&mut self) -> io::Result<()> {
        self.current = None;
        while let Some((number, _)) = self.index.segments.first_key_value() {
            self.delete_segment(*number)?;
        }
        match fs::remove_dir_all(self.dir.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What can wait until the caller has its answer. What fails is tried again after the next operation.
    pub(super) fn tidy(&mut self) {
        if self.current.is_none() {
            return;
        }
        if self.index.is_wasteful(self.segment_bytes) && self.move_oldest().is_err() {
            return;
        }
        for _ in 0..DELETIONS {
            match self.index.segments.first_key_value() {
                // The current one begins with what the others may hold beside blocks.
                Some((number, usage)) if usage.blocks == 0 && !self.is_current(*number) => {
                    if self.delete_segment(*number).is_err() {
                        return;
                    }
                }
                _ => break,
            }
        }
        if !self.has_reserve {
            self.has_reserve = true;
            make_reserve(&self.dir);
        }
    }

    /// Makes changes durable, then known.
    fn log(&mut self, change: &Change<'_>) -> io::Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        if change.bytes() > LARGEST_WRITE {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too much for one write"));
        }
        let mut segment = match self.current.take() {
            Some(segment) if segment.bytes() < self.segment_bytes => segment,
            _ => self.create_segment()?,
        };
        let (name, offset) = (segment.name, segment.bytes());
        let all = self.index.notes.iter().map(|(name, value)| (name.as_str(), &**value));
        let notes = all.take(if offset == 0 { usize::MAX } else { 0 });
        let frame = frame::encode(name.mark, self.index.last(), notes, change)?;
        segment.append(&frame)?;
        self.index.set_segment(name, segment.id, segment.bytes());
        self.index.keep(name.number, || segment.keep());
        if let Some(frame) = frame::decode(&frame) {
            self.index.apply(name.number, offset, &frame);
        }
        self.current = Some(segment);
        Ok(())
    }

    fn create_segment(&mut self) -> io::Result<Segment> {
        let number = self.next;
        self.next = number.saturating_add(1);
        self.has_reserve = false;
        Segment::create(&self.dir, number)
    }

    /// Copies the blocks of the oldest segment to the newest.
    fn move_oldest(&mut self) -> io::Result<()> {
        let Some((oldest, _)) = self.index.segments.first_key_value() else { return Ok(()) };
        let (oldest, mut reader) = (*oldest, BlockReader::default());
        if self.is_current(oldest) {
            return Ok(());
        }
        let (mut live, mut bytes) = (Blocks::default(), 0);
        for (kind, id, place) in self.index.blocks_in(oldest) {
            match self.read_block(&mut reader, place)? {
                Some(block) => {
                    bytes += block.len();
                    live[kind].push((id, block));
                }
                None => self.index.lose(kind, id),
            }
            if bytes > MOVE_BYTES {
                self.move_here(&core::mem::take(&mut live))?;
                bytes = 0;
            }
        }
        self.move_here(&live)
    }

    fn move_here(&mut self, live: &Blocks) -> io::Result<()> {
        let append = |kind: Kind| live[kind].iter().map(|(id, bytes)| (*id, &**bytes)).collect();
        let append = ByKind { events: append(Kind::Event), metrics: append(Kind::Metric) };
        self.log(&Change { append, ..Change::default() })
    }

    /// To be done from the oldest on: if we die on the way, a removal must not be forgotten before what it removed.
    fn delete_segment(&mut self, number: u32) -> io::Result<()> {
        if let Some((name, _)) = self.segment(number) {
            match self.dir.remove_file(&name.text()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.dir.sync()?;
        self.index.segments.remove(&number);
        Ok(())
    }

    fn is_current(&self, number: u32) -> bool {
        self.current.as_ref().is_some_and(|segment| segment.name.number == number)
    }

    fn segment(&self, number: u32) -> Option<(Name, FileId)> {
        self.index.segments.get(&number).map(|usage| (usage.name, usage.file))
    }

    fn give_up_reserve(&self) -> bool {
        self.dir.remove_file(RESERVE_NAME).is_ok()
    }
}

/// The log may be where it is expected, or have had this very write.
fn is_where_expected(last: Seq, write: &LogWrite) -> bool {
    let repeated = write.append.last().is_some_and(|block| block.id == last);
    repeated || write.expected.is_none_or(|expected| expected == last)
}

/// As well as may be: without it the journal works too.
fn make_reserve(stream: &PrivateDir) {
    let Ok(mut file) = stream.create_file(RESERVE_NAME) else { return };
    if file.write_all(&[0; RESERVE]).and_then(|()| file.sync_data()).is_err() {
        let _ = stream.remove_file(RESERVE_NAME);
    }
}
