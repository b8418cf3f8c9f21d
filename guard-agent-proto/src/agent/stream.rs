use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::batch::Entry;
use crate::fair::Flow;
use crate::journal::SealedBatch;
use crate::lane::Lane;
use crate::rng::Rng;
use crate::{Batch, Endpoint, Instant, Kind, Ledger, ReceiptId, Seq};

/// One kind of records: its lanes, what they share, and the accounting.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) live: Lane,
    pub(super) backlog: Lane,
    /// The platform asked this endpoint's clients to wait until then.
    pub(super) retry_after: Option<Instant>,
    /// Answers in a row that the account's quota is used up.
    pub(super) quota_refusals: u32,
    /// The next try after these.
    pub(super) quota_until: Option<Instant>,
    /// Live batches in a row that had no room for others. From [`LIVE_TURNS`] on the backlog goes first.
    pub(super) live_turns: u8,
    /// Memory had no room for all that came since the last batch.
    pub(super) overflows: bool,
    pub(super) ledger: Ledger,
    pub(super) next_seq: Seq,
    /// Records whose outcome somebody waits for.
    pub(super) receipts: BTreeMap<Seq, ReceiptId>,
    /// Of those before this place it was told that they are durable.
    pub(super) told_durable: Seq,
    /// Batches of other runs of the agent that come back from the journal, record by record.
    pub(super) partial: Vec<(SealedBatch, Vec<Entry>)>,
}

/// How often new records that fill their batches may go first in a row: a lane that fell behind catches up.
pub(super) const LIVE_TURNS: u8 = 3;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Lane(Kind, Path),
    Rules,
    Status,
}

/// New records, or those that wait behind an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Live,
    Backlog,
}

impl Stream {
    pub(super) fn lane(&self, path: Path) -> &Lane {
        match path {
            Path::Live => &self.live,
            Path::Backlog => &self.backlog,
        }
    }

    pub(super) fn lane_mut(&mut self, path: Path) -> &mut Lane {
        match path {
            Path::Live => &mut self.live,
            Path::Backlog => &mut self.backlog,
        }
    }

    /// The credentials changed: what the account may use, too.
    pub(super) fn forget_quota(&mut self) {
        (self.quota_refusals, self.quota_until) = (0, None);
    }

    /// Nothing is sent before.
    pub(super) fn quiet_until(&self) -> Option<Instant> {
        self.retry_after.max(self.quota_until)
    }

    /// Records in memory.
    pub(super) fn len(&self) -> usize {
        self.live.len() + self.backlog.len() + self.partial().count()
    }

    /// What they cost, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.live.cost() + self.backlog.cost() + self.partial().map(Entry::cost).sum::<usize>()
    }

    pub(super) fn partial(&self) -> impl Iterator<Item = &Entry> + Clone {
        self.partial.iter().flat_map(|(_, entries)| entries)
    }

    /// Gives up the oldest record that was refused alone: memory, or a quota, full of such would let nothing through
    /// for ever.
    pub(super) fn evict_quarantined(&mut self) -> Option<Entry> {
        self.backlog.evict_quarantined().or_else(|| self.live.evict_quarantined())
    }

    /// Gives up the oldest unsealed record of the flow that takes most memory.
    pub(super) fn evict_largest(&mut self) -> Option<Entry> {
        let cost = |flow: &Flow| self.live.cost_of(*flow) + self.backlog.cost_of(*flow);
        let flow = self.backlog.flows().chain(self.live.flows()).max_by_key(cost)?;
        self.backlog.evict_of(flow).or_else(|| self.live.evict_of(flow))
    }

    /// Adds a record of a batch that was sealed by another run of the agent.
    pub(super) fn reassemble(&mut self, sealed: SealedBatch, entry: Entry) {
        match self.partial.iter_mut().find(|(batch, _)| *batch == sealed) {
            Some((_, entries)) => entries.push(entry),
            None => self.partial.push((sealed, alloc::vec![entry])),
        }
    }

    /// Gives up batches that are not complete.
    pub(super) fn dissolve_partial(&mut self) {
        for (_, entries) in self.partial.drain(..) {
            self.backlog.merge(entries.into_iter().collect());
        }
    }

    /// Sends batches again of which all records came back, as they were except the nonce: one that was read from where
    /// others can write could be one that was used. One of which a record is missing does not exist any more: its
    /// records are sent in others.
    pub(super) fn restore(&mut self, kind: Kind, may_return: impl Fn(Seq) -> bool, rng: &mut Rng) {
        let complete = |(sealed, entries): &mut (SealedBatch, Vec<Entry>)| {
            entries.len() as u64 == sealed.len || !may_return(sealed.last)
        };
        for (sealed, entries) in self.partial.extract_if(.., complete) {
            let SealedBatch { id, created_at, len, .. } = sealed;
            if entries.len() as u64 == len {
                let nonce = rng.nonce();
                self.backlog.restore(Batch { id, kind, created_at, nonce, entries });
            } else {
                self.backlog.merge(entries.into_iter().collect());
            }
        }
    }
}

impl Path {
    pub(super) const ALL: [Self; 2] = [Self::Live, Self::Backlog];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Live => Self::Backlog,
            Self::Backlog => Self::Live,
        }
    }
}

pub(super) const fn endpoint(kind: Kind) -> Endpoint {
    match kind {
        Kind::Event => Endpoint::Events,
        Kind::Metric => Endpoint::Metrics,
    }
}
