//! A store that does some of what it is asked for, and refuses the rest.

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::durability::LEASE;
use super::{Bench, SECOND, event};
use crate::store::{StoreAnswer, StoreErrorKind, StoreOp};
use crate::{AgentEvent, ByKind, DrainOrder, ErrorStage, HealthReason, Input, Report, Seq};

impl Bench {
    /// Lets time pass with a platform that works.
    fn pass_with(&mut self, time: Duration, meets: impl Fn(&StoreOp) -> Option<StoreErrorKind>) {
        self.run(time, Some(200), meets);
    }

    fn told_of_the_journal(&mut self) -> Vec<String> {
        let told = core::mem::take(&mut self.events).into_iter().filter_map(|event| match event {
            AgentEvent::Error { stage: ErrorStage::Journal, message } => Some(message),
            _ => None,
        });
        told.collect()
    }
}

/// Of a store that has no room.
fn full(op: &StoreOp) -> Option<StoreErrorKind> {
    let StoreOp::Write(write) = op else { return None };
    write.appends().then_some(StoreErrorKind::Full)
}

/// Of a store where only the names of streams can be had.
fn all_but_lists(why: StoreErrorKind) -> impl Fn(&StoreOp) -> Option<StoreErrorKind> {
    move |op| (!matches!(op, StoreOp::List { .. })).then_some(why)
}

#[test]
fn a_full_store_is_emptied_of_what_is_delivered() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(2);
    bench.serve();
    assert_eq!(bench.store.blocks(), 1);
    bench.send((2..20).map(event).collect());
    bench.pass_with(20 * SECOND, full);
    assert_eq!(bench.agent.stats().records.events.delivered, 20);
    assert_eq!(bench.store.blocks(), 0);
    assert!(bench.agent.health().reasons.is_empty(), "nothing is left to append");
    assert_eq!(bench.told_of_the_journal(), ["full: as told"]);
}

#[test]
fn a_lease_is_kept_in_a_full_store() {
    let mut bench = Bench::journaled(|config| config.journal_lease = LEASE);
    bench.serve();
    bench.events(1);
    bench.serve();
    bench.send(vec![event(1)]);
    let end = bench.now.instant + 3 * LEASE;
    while bench.now.instant < end {
        // Nothing is delivered either.
        for request in core::mem::take(&mut bench.requests) {
            bench.fail(&request);
        }
        bench.serve_with(full);
        bench.jump(SECOND);
        assert_eq!(bench.orphans(bench.now.instant), [], "at {:?}", bench.now.instant);
    }
    assert!(
        bench
            .agent
            .health()
            .reasons
            .contains(&HealthReason::JournalDown { why: StoreErrorKind::Full, store: None })
    );
}

#[test]
fn what_cannot_be_adopted_holds_up_no_other() {
    let mut bench = Bench::journaled(|_| {});
    bench.leave_orphan(1, 1);
    let spoilt = bench.orphans(bench.now.instant + 10 * LEASE);
    bench.leave_orphan(2, 1);
    let meets = |op: &StoreOp| match op {
        StoreOp::Adopt { stream, .. } if spoilt.contains(stream) => Some(StoreErrorKind::WrongType),
        _ => None,
    };
    bench.pass_with(10 * LEASE, meets);
    let stats = bench.agent.stats();
    assert_eq!((stats.adopted_journals, stats.records.events.delivered), (1, 1));
    assert!(bench.agent.health().reasons.is_empty());
    assert_eq!(bench.told_of_the_journal().len(), 1, "it is told once");
    bench.pass_with(10 * LEASE, |_| None);
    assert_eq!(bench.agent.stats().records.events.delivered, 2, "it is tried again");
}

#[test]
fn what_comes_and_goes_is_told_once_a_minute() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    for second in 0..150 {
        bench.send(vec![event(second)]);
        bench.pass_with(Duration::from_millis(500), |op| (second % 2 == 0).then(|| full(op))?);
        bench.pass_with(Duration::from_millis(500), |_| None);
    }
    let told = bench.told_of_the_journal();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], "full: as told");
    assert!(told[1].starts_with("full: as told [and ") && told[1].ends_with(" more like it since the last]"));
}

/// Somebody planted their names, each with another reason why it cannot be adopted.
#[test]
fn of_any_number_of_journals_that_cannot_be_adopted_a_few_lines_tell() {
    let mut bench = Bench::journaled(|_| {});
    for seed in 0..100 {
        bench.leave_orphan(seed, 1);
    }
    bench.pass_with(100 * SECOND, |op| {
        matches!(op, StoreOp::Adopt { .. }).then_some(StoreErrorKind::WrongType)
    });
    assert_eq!(bench.told_of_the_journal(), ["a key holds another program's data: as told"]);
}

/// What is in memory too is not left to be adopted and sent again, but moved.
#[test]
fn a_stream_that_somebody_else_wrote_into_is_adopted_anew() {
    for (count, adopted) in [(10, 0), (1_000, 1)] {
        let mut bench = super::durability::backlog(DrainOrder::LiveFirst, count);
        bench.send(vec![event(count)]);
        bench.jump(Duration::from_millis(50));
        let stored = bench.agent.stats().records.events;
        let stored = stored.pending - stored.in_memory;
        assert_eq!(stored > 0, adopted > 0);
        let request = bench.stores.pop().unwrap();
        let last = ByKind { events: Seq::from_u64(1 << 40), metrics: Seq::from_u64(0) };
        bench.input(Input::StoreReply { id: request.id, result: Ok(StoreAnswer::Diverged { last }) });
        assert!(bench.told_of_the_journal()[0].contains("somebody else wrote"));
        let mut sent: Vec<_> = bench.run(120 * SECOND, Some(200), |_| None).concat();
        sent.sort_unstable();
        sent.dedup();
        assert_eq!(sent, (0..=count).collect::<Vec<_>>());
        let stats = bench.agent.stats();
        let ledger = stats.records.events;
        assert_eq!((stats.adopted_journals, ledger.handed_over, ledger.pending), (adopted, stored, 0));
        assert!(ledger.recovered >= stored && (ledger.recovered > 0) == (adopted > 0), "{ledger:?}");
        assert_eq!(bench.store.blocks(), 0);
    }
}

#[test]
fn messages_name_the_store_except_to_the_platform() {
    let mut bench = Bench::journaled(|_| {});
    bench.agent.name_store("redis://127.0.0.1:6379/0");
    bench.events(1);
    bench.serve_with(full);
    assert!(bench.told_of_the_journal().iter().all(|told| told.ends_with(" (redis://127.0.0.1:6379/0)")));
    let reason = bench.agent.health().reasons[0].to_string();
    assert!(
        reason.starts_with("The journal in redis://127.0.0.1:6379/0 is not available (full)"),
        "{reason}"
    );
    let errors = bench.agent.status().errors;
    assert!(errors[0].starts_with("The journal is not available (full)"), "{errors:?}");
}

#[test]
fn a_shutdown_tells_the_journal_what_was_delivered_as_soon_as_it_can() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(3);
    bench.serve();
    bench.pass_with(SECOND, |_| Some(StoreErrorKind::Unreachable));
    assert_eq!((bench.agent.stats().records.events.delivered, bench.store.blocks()), (3, 1));
    bench.shutdown(10);
    bench.pass_with(5 * SECOND, |_| Some(StoreErrorKind::Unreachable));
    assert!(bench.closed.is_none(), "the next run would send them again");
    bench.pass_with(5 * SECOND, |_| None);
    assert!(bench.closed.as_ref().is_some_and(Report::is_complete));
    assert_eq!(bench.store.streams(), 0);
}

#[test]
fn a_journal_that_could_not_be_told_is_told_of() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(3);
    bench.serve();
    bench.shutdown(10);
    bench.pass_with(10 * SECOND, |_| Some(StoreErrorKind::Unreachable));
    assert!(bench.closed.as_ref().is_some_and(Report::is_complete));
    let told = bench.told_of_the_journal();
    assert!(told.last().is_some_and(|message| message.contains("again")), "{told:?}");
}

#[test]
fn a_shutdown_does_not_wait_for_a_store_that_never_had_anything() {
    for kind in [StoreErrorKind::Unreachable, StoreErrorKind::Denied] {
        let mut bench = Bench::journaled(|_| {});
        bench.events(3);
        bench.pass_with(SECOND, |_| Some(kind));
        bench.shutdown(10);
        bench.pass_with(SECOND, |_| Some(kind));
        assert!(bench.closed.as_ref().is_some_and(Report::is_complete), "{kind}");
    }
}

#[test]
fn a_store_that_takes_no_changes_is_told_once_whatever_meets_it() {
    let mut bench = Bench::journaled(|_| {});
    bench.leave_orphan(1, 1);
    bench.leave_orphan(2, 1);
    bench.pass_with(3 * LEASE, all_but_lists(StoreErrorKind::ReadOnly));
    let told = bench.told_of_the_journal();
    assert!(
        told.len() <= 2 && told.iter().all(|message| message.starts_with("read-only: as told")),
        "{told:?}"
    );
    bench.pass_with(10 * LEASE, |_| None);
    assert_eq!(bench.agent.stats().adopted_journals, 2);
}

#[test]
fn a_log_that_the_store_lost_is_counted_and_told() {
    let mut bench = Bench::journaled(|_| {});
    bench.leave_orphan(1, 3);
    while bench.agent.stats().adopted_journals == 0 {
        let Some(request) = bench.stores.pop() else {
            bench.jump(SECOND);
            continue;
        };
        let mut result = bench.store.execute_at(request.clone(), bench.now.instant);
        if let Ok(StoreAnswer::Adopted { lost_logs, .. }) = &mut result {
            *lost_logs = 1;
        }
        bench.input(Input::StoreReply { id: request.id, result });
    }
    assert_eq!(bench.agent.stats().corrupt_entries, 1);
    assert!(bench.told_of_the_journal()[0].contains("lost a log"));
}

#[test]
fn nothing_is_durable_in_a_stream_that_somebody_overwrote() {
    let mut bench = Bench::journaled(|config| config.buffer_size = 8);
    bench.serve();
    for number in 0..14 {
        bench.send(vec![event(number)]);
        bench.outage(SECOND);
    }
    assert_eq!(bench.agent.stats().records.events.persisted, 14);
    bench.pass_with(60 * SECOND, all_but_lists(StoreErrorKind::WrongType));
    bench.shutdown(10);
    bench.pass_with(10 * SECOND, all_but_lists(StoreErrorKind::WrongType));
    let Report { pending, persisted, .. } = bench.closed.unwrap();
    assert!(pending.events > 0 && persisted.events == 0, "{:?}", bench.closed);
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_goes_on() {
    let mut bench = Bench::journaled(|config| config.buffer_size = 8);
    bench.serve();
    for number in 0..14 {
        bench.send(vec![event(number)]);
        bench.outage(SECOND);
    }
    let spoilt = |op: &StoreOp| matches!(op, StoreOp::Read { .. }).then_some(StoreErrorKind::Other);
    bench.pass_with(400 * SECOND, spoilt);
    assert_eq!(
        bench.agent.health().reasons,
        [HealthReason::JournalImpaired { why: StoreErrorKind::Other, store: None }]
    );
    bench.send(vec![event(14)]);
    bench.pass_with(2 * SECOND, spoilt);
    let ledger = bench.agent.stats().records.events;
    assert!(ledger.pending > 0 && ledger.delivered + ledger.pending == 15, "{ledger:?}");
    bench.pass_with(60 * SECOND, |_| None);
    assert_eq!(bench.agent.stats().records.events.delivered, 15);
    assert!(bench.agent.health().reasons.is_empty());
}
