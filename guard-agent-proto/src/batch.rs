use alloc::vec::Vec;

use crate::{BatchId, Kind, Record, Seq, Timestamp};

/// A sealed batch: it never changes, so that every retry sends the same bytes under the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub(crate) id: BatchId,
    pub(crate) kind: Kind,
    pub(crate) created_at: Timestamp,
    pub(crate) nonce: [u8; 12],
    pub(crate) entries: Vec<Entry>,
}

/// A record with what the core knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) seq: Seq,
    pub(crate) accepted_at: crate::Instant,
    pub(crate) record: Record,
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

    /// The nonce of its encryption, fixed at sealing so that a retry repeats the same ciphertext.
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
        self.entries.iter().map(|entry| entry.record.json())
    }

    /// Sum of the encoded lengths of its records, in bytes.
    #[must_use]
    pub fn json_len(&self) -> usize {
        self.records().map(<[u8]>::len).sum()
    }
}
