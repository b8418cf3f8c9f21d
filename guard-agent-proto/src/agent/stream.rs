use crate::lane::Lane;
use crate::{Endpoint, Instant, Kind, Ledger};

/// One kind of records: its lanes, what they share, and the accounting.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) live: Lane,
    pub(super) backlog: Lane,
    /// The platform asked this endpoint's clients to wait until then.
    pub(super) retry_after: Option<Instant>,
    /// Whose turn it is when both lanes want the same slot.
    pub(super) backlog_next: bool,
    pub(super) ledger: Ledger,
}

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

    pub(super) fn len(&self) -> usize {
        self.live.len() + self.backlog.len()
    }

    pub(super) fn cost(&self) -> usize {
        self.live.cost() + self.backlog.cost()
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
