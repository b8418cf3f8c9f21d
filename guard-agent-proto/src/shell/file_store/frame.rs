//! Frames: the changes of one write, in bytes.
//!
//! All numbers are little-endian.
//!
//! ```text
//! header   mark u32 (the segment's), length of the payload u32, its CRC-32 u32, CRC-32 of these 12 bytes u32
//! payload  highest ids: event u64, metric u64
//!          notes u32, then each: length u32, name, length of the value u32 (2^32 - 1 deletes it), value
//!          for events, then for metrics:
//!            appended blocks u32, then each: id u64, length u32, bytes
//!            removed blocks u32, then each: id u64
//! ```
//!
//! The mark is random and in the name of the file, so that nobody can have written bytes into a record that pass
//! for a frame when a damaged file is searched for the next one.

use core::ops::Range;
use std::io;
use std::vec::Vec;

use crate::store::Note;
use crate::{ByKind, Kind, Seq};

const HEADER: usize = 16;

/// Stands for the length of a value that is deleted.
const DELETED: u32 = u32::MAX;

/// Changes to be written.
#[derive(Default)]
pub(super) struct Change<'a> {
    pub(super) append: ByKind<Vec<(Seq, &'a [u8])>>,
    pub(super) remove: ByKind<&'a [Seq]>,
    pub(super) notes: &'a [Note],
}

impl Change<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty() && !self.appends() && Kind::ALL.iter().all(|kind| self.remove[*kind].is_empty())
    }

    /// What it appends and notes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let blocks = |kind: &Kind| self.append[*kind].iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let note = |note: &Note| note.name.len() + note.value.as_ref().map_or(0, |value| value.len());
        Kind::ALL.iter().map(blocks).sum::<usize>() + self.notes.iter().map(note).sum::<usize>()
    }

    pub(super) fn appends(&self) -> bool {
        Kind::ALL.iter().any(|kind| !self.append[*kind].is_empty())
    }
}

/// Makes a frame of changes that follow the highest ids and the notes given.
///
/// # Errors
///
/// If something is too large for its length.
pub(super) fn encode<'a>(
    mark: u32,
    last: ByKind<Seq>,
    notes: impl Iterator<Item = (&'a str, &'a [u8])>,
    change: &Change<'_>,
) -> io::Result<Vec<u8>> {
    let mut frame = Vec::from([0; HEADER]);
    for kind in Kind::ALL {
        let appended = change.append[kind].iter().map(|(id, _)| *id);
        let last = appended.fold(last[kind], Seq::max);
        frame.extend(last.as_u64().to_le_bytes());
    }

    let count = frame.len();
    frame.extend([0; 4]);
    let changed = change.notes.iter().map(|note| (note.name.as_str(), note.value.as_deref()));
    let notes = notes.map(|(name, value)| (name, Some(value))).chain(changed);
    let mut written = 0;
    for (name, value) in notes {
        put_bytes(&mut frame, name.as_bytes())?;
        match value {
            Some(value) => put_bytes(&mut frame, value)?,
            None => frame.extend(DELETED.to_le_bytes()),
        }
        written += 1;
    }
    frame[count..count + 4].copy_from_slice(&length(written)?.to_le_bytes());

    for kind in Kind::ALL {
        frame.extend(length(change.append[kind].len())?.to_le_bytes());
        for (id, bytes) in &change.append[kind] {
            frame.extend(id.as_u64().to_le_bytes());
            put_bytes(&mut frame, bytes)?;
        }
        frame.extend(length(change.remove[kind].len())?.to_le_bytes());
        for id in change.remove[kind] {
            frame.extend(id.as_u64().to_le_bytes());
        }
    }

    let payload = length(frame.len() - HEADER)?;
    let checksum = crc32fast::hash(&frame[HEADER..]);
    frame[..4].copy_from_slice(&mark.to_le_bytes());
    frame[4..8].copy_from_slice(&payload.to_le_bytes());
    frame[8..12].copy_from_slice(&checksum.to_le_bytes());
    let checksum = crc32fast::hash(&frame[..12]);
    frame[12..HEADER].copy_from_slice(&checksum.to_le_bytes());
    Ok(frame)
}

fn put_bytes(frame: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    frame.extend(length(bytes.len())?.to_le_bytes());
    frame.extend(bytes);
    Ok(())
}

fn length(length: usize) -> io::Result<u32> {
    let length = u32::try_from(length).ok().filter(|length| *length != DELETED);
    length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "more than 4 GiB in one write"))
}

/// What a segment consists of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Frame(Frame<'a>),
    /// Bytes that are no frame, up to the next one or the end.
    Damage,
}

/// Changes that were written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) last: ByKind<Seq>,
    /// In this order, later ones over earlier ones.
    pub(super) notes: Vec<(&'a str, Option<&'a [u8]>)>,
    pub(super) logs: ByKind<LogChange>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LogChange {
    /// Ids, and where in the segment their bytes are.
    pub(super) append: Vec<(Seq, Range<usize>)>,
    pub(super) remove: Vec<Seq>,
}

/// Takes a segment apart. Never fails: what is no frame is [`Piece::Damage`].
pub(super) fn pieces(mark: u32, segment: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        if at == segment.len() {
            return None;
        }
        let Some(payload) = payload(mark, segment, at) else {
            at = next_header(mark, segment, at + 1);
            return Some(Piece::Damage);
        };
        let intact = crc32fast::hash(segment.get(payload.clone())?) == number(segment, at + 8)?;
        let frame = if intact { payload_of(segment, payload.clone()) } else { None };
        at = payload.end;
        Some(frame.map_or(Piece::Damage, Piece::Frame))
    })
}

/// Where the payload of the frame at that place is, if there is the header of a whole one.
fn payload(mark: u32, segment: &[u8], at: usize) -> Option<Range<usize>> {
    let header = segment.get(at..at.checked_add(12)?)?;
    if number(segment, at)? != mark || number(segment, at + 12)? != crc32fast::hash(header) {
        return None;
    }
    let start = at + HEADER;
    let end = start.checked_add(usize::try_from(number(segment, at + 4)?).ok()?)?;
    (end <= segment.len()).then_some(start..end)
}

fn next_header(mark: u32, segment: &[u8], from: usize) -> usize {
    (from..segment.len()).find(|at| payload(mark, segment, *at).is_some()).unwrap_or(segment.len())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// What is in a frame that is whole and alone.
pub(super) fn decode(frame: &[u8]) -> Option<Frame<'_>> {
    payload_of(frame, HEADER..frame.len())
}

fn payload_of(segment: &[u8], payload: Range<usize>) -> Option<Frame<'_>> {
    let mut reader = Reader { bytes: segment.get(..payload.end)?, at: payload.start };
    let last = ByKind { events: reader.seq()?, metrics: reader.seq()? };
    let mut frame = Frame { last, notes: Vec::new(), logs: ByKind::default() };
    for _ in 0..reader.u32()? {
        let length = reader.u32()?;
        let name = core::str::from_utf8(reader.bytes(length)?).ok()?;
        let value = match reader.u32()? {
            DELETED => None,
            length => Some(reader.bytes(length)?),
        };
        frame.notes.push((name, value));
    }
    for kind in Kind::ALL {
        for _ in 0..reader.u32()? {
            let id = reader.seq()?;
            let length = reader.u32()?;
            frame.logs[kind].append.push((id, reader.range(length)?));
        }
        for _ in 0..reader.u32()? {
            frame.logs[kind].remove.push(reader.seq()?);
        }
    }
    (reader.at == payload.end).then_some(frame)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn u32(&mut self) -> Option<u32> {
        let number = number(self.bytes, self.at)?;
        self.at += 4;
        Some(number)
    }

    fn seq(&mut self) -> Option<Seq> {
        let bytes = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += 8;
        Some(Seq(u64::from_le_bytes(*bytes)))
    }

    fn bytes(&mut self, length: u32) -> Option<&'a [u8]> {
        let range = self.range(length)?;
        self.bytes.get(range)
    }

    fn range(&mut self, length: u32) -> Option<Range<usize>> {
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        let range = self.at..end;
        self.at = end;
        (end <= self.bytes.len()).then_some(range)
    }
}
