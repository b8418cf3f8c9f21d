use alloc::vec::Vec;

use super::log::Log;
use super::note::Seal;
use super::spans::Spans;
use super::{Lease, SealedBatch};
use crate::rng::Rng;
use crate::store::{Note, Space, StreamId};
use crate::{BatchId, ByKind, Instant, Kind, Seq};

/// A stream that is ours.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) logs: ByKind<Log>,
    /// Highest ids that the store has acknowledged.
    pub(super) last: ByKind<Seq>,
    /// The store may not know of it, or may have forgotten.
    pub(super) register: bool,
    /// Of an adopted stream: nothing new is to be read any more.
    pub(super) ended: ByKind<bool>,
    pub(super) renew_at: Instant,
    pub(super) lapses_at: Instant,
    /// Batches that may have been sent.
    pub(super) seals: Vec<SealState>,
    /// Seals whose batches are gone.
    pub(super) unsealed: Vec<(Kind, BatchId)>,
    /// Notes that did not get through.
    pub(super) notes: Vec<Note>,
}

#[derive(Clone, Debug)]
pub(super) struct SealState {
    pub(super) seal: Seal,
    /// The store has it, or is about to have it.
    pub(super) noted: bool,
    /// The batch waits for that.
    pub(super) awaited: bool,
}

impl Stream {
    pub(super) fn own(space: Space, rng: &mut Rng) -> Self {
        let logs = ByKind { events: Log::own(), metrics: Log::own() };
        Self {
            register: true,
            ended: ByKind { events: true, metrics: true },
            ..Self::new(StreamId::new(space, rng.next_u64()), logs)
        }
    }

    pub(super) fn adopted(id: StreamId) -> Self {
        Self::new(id, ByKind { events: Log::adopted(), metrics: Log::adopted() })
    }

    fn new(id: StreamId, logs: ByKind<Log>) -> Self {
        Self {
            id,
            logs,
            last: ByKind { events: Seq::from_u64(0), metrics: Seq::from_u64(0) },
            register: false,
            ended: ByKind::default(),
            renew_at: Instant::FAR_FUTURE,
            lapses_at: Instant::FAR_FUTURE,
            seals: Vec::new(),
            unsealed: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn renew(&mut self, asked_at: Instant, lease: Lease) {
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
            || !self.notes.is_empty()
            || self.seals.iter().any(|state| !state.noted)
    }

    /// A batch of its records is about to be sent, perhaps again.
    pub(super) fn seal(&mut self, seal: Seal, awaited: bool) {
        if self.seals.iter().all(|state| state.seal.id != seal.id) {
            self.break_seals(seal.kind, &seal.records);
            self.seals.push(SealState { seal, noted: false, awaited });
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
            nonce: seal.nonce,
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
