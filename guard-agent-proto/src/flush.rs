use alloc::vec::Vec;

use crate::{AgentEvent, ByKind, DropReason, FlushId, Instant, Kind, Ledger, Reason, Report, Seq};

/// Flushes that somebody waits for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flushes(Vec<Flush>);

/// A wish that everything before `mark` be delivered, or at least durable, by `deadline`.
#[derive(Clone, Debug)]
pub(crate) struct Flush {
    id: FlushId,
    goal: Goal,
    pub(crate) mark: ByKind<Seq>,
    pub(crate) deadline: Instant,
    /// The accounting when it began.
    began: ByKind<Ledger>,
}

/// What is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    Delivered,
    /// Delivered, or in the journal.
    Durable,
}

/// Which pending records count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    /// But for those that were refused and wait for another trial.
    Sendable,
    /// Those that are in no journal.
    Volatile,
}

/// Later than every record.
const EVERYTHING: ByKind<Seq> = ByKind { events: Seq::from_u64(u64::MAX), metrics: Seq::from_u64(u64::MAX) };

impl Flush {
    pub(crate) const fn new(
        id: FlushId,
        goal: Goal,
        mark: ByKind<Seq>,
        deadline: Instant,
        now: &ByKind<Ledger>,
    ) -> Self {
        Self { id, goal, mark, deadline, began: *now }
    }

    /// A shutdown is a flush of everything, whenever it was accepted.
    pub(crate) const fn shutdown(deadline: Instant, now: &ByKind<Ledger>) -> Self {
        Self::new(FlushId::from_u64(u64::MAX), Goal::Delivered, EVERYTHING, deadline, now)
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
    pub(crate) fn mark(&self, kind: Kind) -> Seq {
        let sent = self.0.iter().filter(|flush| flush.goal == Goal::Delivered);
        sent.map(|flush| flush.mark[kind]).max().unwrap_or(Seq::from_u64(0))
    }

    /// When the first of them gives up.
    pub(crate) fn deadline(&self) -> Option<(Instant, Reason)> {
        self.0.iter().map(|flush| (flush.deadline, Reason::FlushDeadline)).min()
    }

    /// Ends those that are complete or out of time. `pending` counts records of that kind before that mark.
    pub(crate) fn end(
        &mut self,
        now: Instant,
        ledgers: &ByKind<Ledger>,
        pending: impl Fn(Kind, Seq, Which) -> u64,
    ) -> Vec<AgentEvent> {
        let done = |flush: &mut Flush| {
            let which = match flush.goal {
                Goal::Delivered => Which::Sendable,
                Goal::Durable => Which::Volatile,
            };
            flush.deadline <= now
                || Kind::ALL.iter().all(|kind| pending(*kind, flush.mark[*kind], which) == 0)
        };
        let ended = self.0.extract_if(.., done).map(|flush| {
            let pending = ByKind {
                events: pending(Kind::Event, flush.mark.events, Which::All),
                metrics: pending(Kind::Metric, flush.mark.metrics, Which::All),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    fn flush(id: u64, mark: u64, deadline: u64) -> Flush {
        Flush::new(FlushId::from_u64(id), Goal::Delivered, marks(mark), at(deadline), &ByKind::default())
    }

    fn marks(mark: u64) -> ByKind<Seq> {
        ByKind { events: Seq::from_u64(mark), metrics: Seq::from_u64(mark) }
    }

    fn ended(events: &[AgentEvent]) -> Vec<(u64, u64)> {
        let report = |event: &AgentEvent| {
            let AgentEvent::Flushed { id, report } = event else { panic!("{event:?}") };
            (id.as_u64(), report.pending.events)
        };
        events.iter().map(report).collect()
    }

    #[test]
    fn a_flush_ends_when_what_came_before_its_mark_is_gone_or_at_its_deadline() {
        let mut flushes = Flushes::default();
        flushes.push(flush(1, 10, 5));
        flushes.push(flush(2, 20, 3));
        assert_eq!(flushes.mark(Kind::Event), Seq::from_u64(20));
        assert_eq!(flushes.deadline(), Some((at(3), Reason::FlushDeadline)));
        // Record 15 is the only one left.
        let pending = |kind, mark: Seq, _: Which| u64::from(kind == Kind::Event && mark > Seq::from_u64(15));
        assert_eq!(ended(&flushes.end(at(1), &ByKind::default(), pending)), [(1, 0)]);
        assert_eq!(ended(&flushes.end(at(2), &ByKind::default(), pending)), []);
        assert_eq!(ended(&flushes.end(at(3), &ByKind::default(), pending)), [(2, 1)]);
        assert_eq!((flushes.mark(Kind::Event), flushes.deadline()), (Seq::from_u64(0), None));
    }

    #[test]
    fn parked_records_do_not_hold_a_flush_up_but_are_told() {
        let mut flushes = Flushes::default();
        flushes.push(flush(1, 10, 5));
        let pending = |kind, _: Seq, which: Which| u64::from(kind == Kind::Event && which == Which::All);
        assert_eq!(ended(&flushes.end(at(1), &ByKind::default(), pending)), [(1, 1)]);
    }

    #[test]
    fn what_is_to_be_durable_is_not_hurried_to_the_platform() {
        let mut flushes = Flushes::default();
        flushes.push(Flush::new(FlushId::from_u64(1), Goal::Durable, marks(9), at(5), &ByKind::default()));
        assert_eq!(flushes.mark(Kind::Event), Seq::from_u64(0));
        let volatile = |count| {
            move |kind, _: Seq, which: Which| match which {
                Which::All | Which::Sendable => 3,
                Which::Volatile => {
                    if kind == Kind::Event {
                        count
                    } else {
                        0
                    }
                }
            }
        };
        assert_eq!(ended(&flushes.end(at(1), &ByKind::default(), volatile(1))), []);
        assert_eq!(ended(&flushes.end(at(1), &ByKind::default(), volatile(0))), [(1, 3)]);
    }

    #[test]
    fn at_the_end_every_flush_ends_with_what_is_left() {
        let mut flushes = Flushes::default();
        (1..=2).for_each(|id| flushes.push(flush(id, 10, 5)));
        let mut ledgers = ByKind::<Ledger>::default();
        (ledgers.events.pending, ledgers.metrics.pending) = (3, 4);
        let events = flushes.end_all(&ledgers);
        assert_eq!(ended(&events), [(1, 3), (2, 3)]);
        assert!(
            matches!(&events[..], [AgentEvent::Flushed { report, .. }, _] if report.pending.metrics == 4)
        );
        assert_eq!(flushes.deadline(), None);
    }

    #[test]
    fn a_report_counts_from_the_beginning_of_the_flush() {
        let mut ledgers = ByKind::<Ledger>::default();
        ledgers.events.delivered = 5;
        ledgers.events.dropped[DropReason::Overflow] = 2;
        let flush = Flush::shutdown(at(1), &ledgers);
        ledgers.events.delivered = 9;
        ledgers.events.dropped[DropReason::Overflow] = 3;
        ledgers.events.persisted = 8;
        let report = flush.report(ByKind { events: 4, metrics: 0 }, &ledgers);
        assert_eq!((report.delivered.events, report.dropped.events.total()), (4, 1));
        assert_eq!((report.persisted.events, report.is_complete()), (4, false));
    }
}
