use alloc::vec::Vec;

use crate::{AgentEvent, ByKind, DropReason, FlushId, Instant, Kind, Ledger, Reason, Report, Seq};

/// Flushes that somebody waits for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flushes(Vec<Flush>);

/// A wish that everything before `mark` be delivered by `deadline`.
#[derive(Clone, Debug)]
pub(crate) struct Flush {
    id: FlushId,
    pub(crate) mark: Seq,
    pub(crate) deadline: Instant,
    /// The accounting when it began.
    began: ByKind<Ledger>,
}

impl Flush {
    pub(crate) const fn new(id: FlushId, mark: Seq, deadline: Instant, now: &ByKind<Ledger>) -> Self {
        Self { id, mark, deadline, began: *now }
    }

    /// A shutdown is a flush of everything, whenever it was accepted.
    pub(crate) const fn shutdown(deadline: Instant, now: &ByKind<Ledger>) -> Self {
        Self::new(FlushId::from_u64(u64::MAX), Seq::from_u64(u64::MAX), deadline, now)
    }

    /// What became of it.
    pub(crate) fn report(&self, pending: ByKind<u64>, now: &ByKind<Ledger>) -> Report {
        let mut report = Report { pending, ..Report::default() };
        for kind in Kind::ALL {
            let (began, now) = (&self.began[kind], &now[kind]);
            report.delivered[kind] = now.delivered - began.delivered;
            report.persisted[kind] = now.persisted.min(pending[kind]);
            for reason in DropReason::ALL {
                report.dropped[kind][reason] = now.dropped[reason] - began.dropped[reason];
            }
        }
        report
    }
}

impl Flushes {
    pub(crate) fn push(&mut self, flush: Flush) {
        self.0.push(flush);
    }

    /// Records before this are wanted.
    pub(crate) fn mark(&self) -> Seq {
        self.0.iter().map(|flush| flush.mark).max().unwrap_or(Seq::from_u64(0))
    }

    /// When the first of them gives up.
    pub(crate) fn deadline(&self) -> Option<(Instant, Reason)> {
        self.0.iter().map(|flush| (flush.deadline, Reason::FlushDeadline)).min()
    }

    /// Ends those that are complete or out of time. `pending(kind, mark, with_parked)` counts records.
    pub(crate) fn end(
        &mut self,
        now: Instant,
        ledgers: &ByKind<Ledger>,
        pending: impl Fn(Kind, Seq, bool) -> u64,
    ) -> Vec<AgentEvent> {
        let done = |flush: &mut Flush| {
            flush.deadline <= now || Kind::ALL.iter().all(|kind| pending(*kind, flush.mark, false) == 0)
        };
        let ended = self.0.extract_if(.., done).map(|flush| {
            let pending = ByKind {
                events: pending(Kind::Event, flush.mark, true),
                metrics: pending(Kind::Metric, flush.mark, true),
            };
            AgentEvent::Flushed { id: flush.id, report: flush.report(pending, ledgers) }
        });
        ended.collect()
    }

    /// Ends all of them.
    pub(crate) fn end_all(&mut self, ledgers: &ByKind<Ledger>) -> Vec<AgentEvent> {
        let pending = ByKind { events: ledgers.events.pending, metrics: ledgers.metrics.pending };
        let ended = self
            .0
            .drain(..)
            .map(|flush| AgentEvent::Flushed { id: flush.id, report: flush.report(pending, ledgers) });
        ended.collect()
    }
}
