use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::{Kind, Seq, StoreOpId, StreamId};

/// One operation on the journal's store. Answer it with [`Input::StoreReply`](crate::Input).
///
/// Every operation may be repeated without harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRequest {
    /// Carried back by the answer.
    pub id: StoreOpId,
    /// What to do.
    pub op: StoreOp,
}

/// What a journal store must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOp {
    /// Make these durable, in order, in our own stream. Answered by [`StoreAnswer::Done`].
    Append {
        /// Our own stream.
        stream: StreamId,
        /// In ascending order of `seq`.
        entries: Vec<StoreEntry>,
    },
    /// Remove these. Answered by [`StoreAnswer::Done`]; absent ones are no error.
    Remove {
        /// Our own stream or an adopted one.
        stream: StreamId,
        /// In ascending order.
        seqs: Vec<Seq>,
    },
    /// List streams whose owner is gone. Answered by [`StoreAnswer::Orphans`].
    ListOrphans,
    /// Become the owner of an orphan. Answered by [`StoreAnswer::Done`], or by
    /// [`StoreErrorKind::Fenced`] if somebody else was faster.
    Adopt {
        /// The orphan.
        stream: StreamId,
    },
    /// Read on after `after`, at most `limit` entries. Answered by [`StoreAnswer::Entries`]; fewer
    /// than `limit` means the end.
    Read {
        /// An adopted stream.
        stream: StreamId,
        /// Exclusive; `None` = from the start.
        after: Option<Seq>,
        /// At least 1.
        limit: usize,
    },
}

/// A record in a journal.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreEntry {
    /// Place in its stream.
    pub seq: Seq,
    /// Event or metric.
    pub kind: Kind,
    /// See [`Record::is_attack`](crate::Record::is_attack).
    pub attack: bool,
    /// The encoded record.
    pub json: Box<[u8]>,
}

impl fmt::Debug for StoreEntry {
    /// Sizes only: a record may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreEntry({} {}, {} bytes)", self.kind, self.seq, self.json.len())
    }
}

/// The answer to a store operation that worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAnswer {
    /// It is done, and durable if it was an append.
    Done,
    /// Streams without an owner.
    Orphans(Vec<StreamId>),
    /// What was read. `skipped` counts entries that could not be understood.
    Entries {
        /// In ascending order of `seq`.
        entries: Vec<StoreEntry>,
        /// Last place read, including skipped ones; `None` if the stream has no more.
        last: Option<Seq>,
        /// Corrupt or foreign entries.
        skipped: u64,
    },
}

/// A store operation that failed; whether it took effect may be unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// What went wrong, as far as the core cares.
    pub kind: StoreErrorKind,
    /// One line for people, without secrets.
    pub message: Cow<'static, str>,
}

/// Kinds of store failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Not reachable, too slow, or refusing for now: try again later.
    Unavailable,
    /// The stream belongs to somebody else.
    Fenced,
}
