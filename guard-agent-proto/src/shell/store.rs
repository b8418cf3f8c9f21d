use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use super::BoxFuture;
use crate::{Seq, StoreAnswer, StoreEntry, StoreError, StoreOp, StreamId};

/// A journal's store: Redis, files, or memory for tests.
///
/// It decides nothing: the core asks for one operation at a time and copes with any error.
pub trait Store: Send + Sync + 'static {
    /// Makes one operation. It may be repeated, and dropped before it ends.
    fn execute(&self, op: StoreOp) -> BoxFuture<'_, Result<StoreAnswer, StoreError>>;
}

/// A journal that lasts as long as the process: for tests.
///
/// Streams of agents that are gone become orphans by [`MemoryStore::orphan`].
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Streams>);

#[derive(Debug, Default)]
struct Streams {
    entries: BTreeMap<StreamId, BTreeMap<Seq, StoreEntry>>,
    orphans: BTreeSet<StreamId>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every stream that is there now an orphan, as if its owner had died.
    pub fn orphan(&self) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.orphans = streams.entries.keys().copied().collect();
    }

    /// How many entries it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entries.values().map(BTreeMap::len).sum()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn apply(&self, op: StoreOp) -> StoreAnswer {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match op {
            StoreOp::Append { stream, entries } => {
                let kept = streams.entries.entry(stream).or_default();
                kept.extend(entries.into_iter().map(|entry| (entry.seq, entry)));
                StoreAnswer::Done
            }
            StoreOp::Remove { stream, seqs } => {
                if let Some(kept) = streams.entries.get_mut(&stream) {
                    for seq in seqs {
                        kept.remove(&seq);
                    }
                    if kept.is_empty() {
                        streams.entries.remove(&stream);
                        streams.orphans.remove(&stream);
                    }
                }
                StoreAnswer::Done
            }
            StoreOp::ListOrphans => StoreAnswer::Orphans(streams.orphans.iter().copied().collect()),
            StoreOp::Adopt { stream } => {
                streams.orphans.remove(&stream);
                StoreAnswer::Done
            }
            StoreOp::Read { stream, after, limit } => {
                let kept = streams.entries.get(&stream).into_iter().flatten();
                let unread = kept.filter(|(seq, _)| after.is_none_or(|after| **seq > after));
                let entries: Vec<_> = unread.take(limit).map(|(_, entry)| entry.clone()).collect();
                let last = entries.last().map(|entry| entry.seq);
                StoreAnswer::Entries { entries, last, skipped: 0 }
            }
        }
    }
}

impl Store for MemoryStore {
    fn execute(&self, op: StoreOp) -> BoxFuture<'_, Result<StoreAnswer, StoreError>> {
        Box::pin(std::future::ready(Ok(self.apply(op))))
    }
}
