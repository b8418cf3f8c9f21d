use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::{BatchId, Instant, Kind, Record, Seq, Timestamp};

/// A sealed batch: it never changes, so that every retry of this run of the agent sends the same bytes under the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub(crate) id: BatchId,
    pub(crate) kind: Kind,
    pub(crate) created_at: Timestamp,
    pub(crate) nonce: [u8; 12],
    pub(crate) entries: Vec<Entry>,
}

impl Batch {
    /// Identity on the wire.
    #[must_use]
    pub const fn id(&self) -> BatchId {
        self.id
    }

    /// The kind of all its records.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// When it was sealed.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The nonce of its encryption, fixed at sealing so that a retry repeats the same ciphertext. A batch that comes back
    /// from a journal has the same id, time and records, and another nonce: it was sealed by another run.
    #[must_use]
    pub const fn nonce(&self) -> &[u8; 12] {
        &self.nonce
    }

    /// How many records it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none; a batch that is sent never does.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Its records as encoded JSON, in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.entries.iter().map(|entry| &*entry.json)
    }

    /// Sum of the encoded lengths of its records, in bytes.
    #[must_use]
    pub fn json_len(&self) -> usize {
        self.records().map(<[u8]>::len).sum()
    }

    /// Whether it holds an attack-class event.
    #[must_use]
    pub fn is_attack(&self) -> bool {
        self.entries.iter().any(Entry::is_attack)
    }
}

/// A record that waits: its bytes and, packed because every waiting record pays for it, where it
/// stands.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Sequence number and whether it is an attack.
    tag: u64,
    pub(crate) accepted_at: Instant,
    pub(crate) json: Box<[u8]>,
}

impl Entry {
    /// Memory of an entry beside its JSON, in bytes: itself and the allocator's share.
    pub(crate) const OVERHEAD: usize = size_of::<Self>() + 16;

    pub(crate) fn new(seq: Seq, accepted_at: Instant, record: Record) -> Self {
        Self { tag: seq.as_u64() << 1 | u64::from(record.is_attack()), accepted_at, json: record.into_json() }
    }

    pub(crate) const fn seq(&self) -> Seq {
        Seq::from_u64(self.tag >> 1)
    }

    pub(crate) const fn is_attack(&self) -> bool {
        self.tag & 1 == 1
    }

    /// What it costs in memory, in bytes.
    pub(crate) const fn cost(&self) -> usize {
        self.json.len() + Self::OVERHEAD
    }

    pub(crate) fn into_record(self, kind: Kind) -> Record {
        Record::new(kind, self.is_attack(), self.json)
    }
}

impl fmt::Debug for Entry {
    /// Sizes only: a record may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}, {} bytes)", self.seq(), self.json.len())
    }
}
