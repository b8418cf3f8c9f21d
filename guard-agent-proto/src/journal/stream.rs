use alloc::vec::Vec;

use super::envelope::Envelope;
use super::log::Log;
use super::note::{self, Seal};
use super::spans::Spans;
use super::{Lease, SealedBatch};
use crate::rng::Rng;
use crate::store::{Note, StreamId, Write};
use crate::wire::ProjectKey;
use crate::{BatchId, ByKind, Instant, Kind, Seq};

/// A stream that is ours.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) envelope: Envelope,
    pub(super) logs: ByKind<Log>,
    /// Highest ids that the store has acknowledged; in an adopted stream all there can be.
    pub(super) last: ByKind<Seq>,
    /// When the store is to be told of it: it may not know of it, or forget it.
    pub(super) register_at: Instant,
    /// A key of it holds another program's data: nobody can tell what is left.
    pub(super) overwritten: bool,
    /// Of an adopted stream: nothing new is to be read any more.
    pub(super) ended: ByKind<bool>,
    /// When the store was asked for what it did last.
    pub(super) held_at: Option<Instant>,
    /// When it was asked for anything since then, by whatever operation.
    pub(super) asked_since: Option<Instant>,
    pub(super) renew_at: Instant,
    pub(super) lapses_at: Instant,
    /// Batches that may have been sent.
    pub(super) seals: Vec<SealState>,
    /// Seals whose batches are gone.
    pub(super) unsealed: Vec<(Kind, BatchId)>,
}

/// What a change says of a stream, beside what it appends and removes.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) notes: Vec<Note>,
    /// Blocks of which more is settled.
    pub(super) changed: ByKind<Vec<Seq>>,
    pub(super) seals: Vec<(Kind, BatchId)>,
    pub(super) unsealed: Vec<(Kind, BatchId)>,
}

#[derive(Clone, Debug)]
pub(super) struct SealState {
    pub(super) seal: Seal,
    /// The store may have it.
    pub(super) noted: bool,
    /// The store is to be told of it.
    pub(super) due: bool,
    /// The batch waits for that.
    pub(super) awaited: bool,
}

impl SealState {
    /// Whether all records of its batch are in a store that has them up to `last`. Without them the seal is of no use.
    fn is_covered(&self, last: &ByKind<Seq>) -> bool {
        self.seal.records.last().is_none_or(|record| record <= last[self.seal.kind])
    }
}

impl Stream {
    pub(super) fn own(id: StreamId, key: Option<&ProjectKey>) -> Self {
        let logs = ByKind { events: Log::own(), metrics: Log::own() };
        Self { ended: ByKind { events: true, metrics: true }, ..Self::new(id, key, logs) }
    }

    pub(super) fn adopted(id: StreamId, key: Option<&ProjectKey>) -> Self {
        let last = Seq::from_u64(u64::MAX);
        Self {
            last: ByKind { events: last, metrics: last },
            ..Self::new(id, key, ByKind { events: Log::adopted(), metrics: Log::adopted() })
        }
    }

    fn new(id: StreamId, key: Option<&ProjectKey>, logs: ByKind<Log>) -> Self {
        Self {
            id,
            envelope: Envelope::new(key, id),
            logs,
            last: ByKind { events: Seq::from_u64(0), metrics: Seq::from_u64(0) },
            register_at: Instant::ZERO,
            overwritten: false,
            ended: ByKind::default(),
            held_at: None,
            asked_since: None,
            renew_at: Instant::FAR_FUTURE,
            lapses_at: Instant::FAR_FUTURE,
            seals: Vec::new(),
            unsealed: Vec::new(),
        }
    }

    pub(super) fn renew(&mut self, asked_at: Instant, lease: Lease) {
        self.held_at = Some(asked_at);
        self.asked_since = None;
        self.renew_at = asked_at + lease.renewal;
        self.lapses_at = asked_at + lease.ttl;
    }

    /// Whether nothing of it is left.
    pub(super) fn is_finished(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.ended[*kind] && self.logs[*kind].is_empty())
    }

    pub(super) fn has_changes(&self) -> bool {
        Kind::ALL.iter().any(|kind| self.logs[*kind].has_changes())
            || !self.unsealed.is_empty()
            || self.seals.iter().any(|state| state.due && state.is_covered(&self.last))
    }

    /// Whether a batch waits for its seal; `covered` says whether its records are in the store.
    pub(super) fn is_awaited(&self, covered: bool) -> bool {
        let awaited = |state: &SealState| state.due && state.awaited;
        self.seals.iter().any(|state| awaited(state) && state.is_covered(&self.last) == covered)
    }

    /// Whether neither a record of it is left nor one may come to light.
    pub(super) fn is_spent(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.ended[*kind] && self.logs[*kind].holds_nothing())
    }

    /// Whether the store ever heard of it.
    pub(super) fn is_known(&self) -> bool {
        self.renew_at < Instant::FAR_FUTURE
    }

    /// What the store is to be told of it now, when it has records up to `last`: which blocks to remove, and the rest.
    pub(super) fn tell(
        &mut self,
        last: &ByKind<Seq>,
        most_blocks: usize,
        rng: &mut Rng,
    ) -> (ByKind<Vec<Seq>>, Told) {
        let mut told = Told { unsealed: core::mem::take(&mut self.unsealed), ..Told::default() };
        for (kind, id) in &told.unsealed {
            told.notes.push(Note { name: Seal::name(*kind, *id), value: None });
        }
        for state in self.seals.iter_mut().filter(|state| state.due && state.is_covered(last)) {
            (state.noted, state.due) = (true, false);
            told.notes.push(state.seal.note(&self.envelope, rng));
            told.seals.push((state.seal.kind, state.seal.id));
        }
        let mut remove = ByKind::<Vec<Seq>>::default();
        for kind in Kind::ALL {
            let log = &mut self.logs[kind];
            for (block, settled) in log.take_changed(most_blocks) {
                told.notes.push(note::settled_note(kind, block, &settled, &self.envelope, rng));
                told.changed[kind].push(block);
            }
            for (block, noted) in log.take_removable(most_blocks) {
                if noted {
                    told.notes.push(Note { name: note::settled_name(kind, block), value: None });
                }
                remove[kind].push(block);
            }
        }
        (remove, told)
    }

    /// That did not get through, or is not known to have.
    pub(super) fn tell_again(&mut self, write: &Write, told: &Told) {
        self.unsealed.extend(&told.unsealed);
        for state in
            self.seals.iter_mut().filter(|state| told.seals.contains(&(state.seal.kind, state.seal.id)))
        {
            state.due = true;
        }
        for kind in Kind::ALL {
            self.logs[kind].change_again(&told.changed[kind]);
            self.logs[kind].remove_again(&write.logs[kind].remove);
        }
    }

    /// A batch of its records is about to be sent, perhaps again.
    pub(super) fn seal(&mut self, seal: Seal, awaited: bool) {
        if self.seals.iter().all(|state| state.seal.id != seal.id) {
            self.break_seals(seal.kind, &seal.records);
            self.seals.push(SealState { seal, noted: false, due: true, awaited });
        }
    }

    /// These records left for good, or are in another batch: those in which they were will not be sent again.
    pub(super) fn break_seals(&mut self, kind: Kind, records: &Spans) {
        let broken = |state: &mut SealState| state.seal.kind == kind && state.seal.records.overlaps(records);
        for state in self.seals.extract_if(.., broken) {
            if state.noted {
                self.unsealed.push((kind, state.seal.id));
            }
        }
    }

    pub(super) fn seal_of(&self, kind: Kind, seq: Seq) -> Option<SealedBatch> {
        let mut seals = self.seals.iter().map(|state| &state.seal);
        let seal = seals.find(|seal| seal.kind == kind && seal.records.contains(seq))?;
        Some(SealedBatch {
            id: seal.id,
            created_at: seal.created_at,
            len: seal.records.len(),
            last: seal.records.last()?,
        })
    }

    /// Nobody waits for seals any more; whose seals that were.
    pub(super) fn wait_for_no_seal(&mut self) -> Vec<(Kind, BatchId)> {
        let awaited = self.seals.iter_mut().filter(|state| state.awaited);
        let told = awaited.map(|state| {
            state.awaited = false;
            (state.seal.kind, state.seal.id)
        });
        told.collect()
    }
}
