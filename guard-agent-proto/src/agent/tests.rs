//! Tests of the bounds that the agent decides by, one by one; [`crate::tests`] has those of the whole.
#![cfg(feature = "std")]

use alloc::vec::Vec;
use core::time::Duration;

use super::stream::Path;
use crate::batch::Entry;
use crate::batcher::Room;
use crate::fair::Flow;
use crate::journal::SealedBatch;
use crate::lane::Lane;
use crate::store::{StoreError, StoreErrorKind};
use crate::tests::durability::{LEASE, backlog};
use crate::tests::{Bench, SECOND, event};
use crate::{
    Batch, BreakerState, DrainOrder, DropReason, Input, Instant, Kind, OverflowPolicy, Payload, Reason,
    Request, Response, Seq, Timestamp,
};

const EVENT: Kind = Kind::Event;

/// Bytes that an event takes in memory.
fn cost() -> usize {
    entry(0).cost()
}

fn entry(seq: u64) -> Entry {
    Entry::new(Seq::from_u64(seq), Instant::ZERO, event(0))
}

/// An agent with a memory of that many records, and as many bytes, that holds `count` events.
fn holding(count: usize, memory: usize) -> Bench {
    let mut bench = Bench::journaled(|config| {
        (config.buffer_size, config.buffer_bytes) = (memory, memory * cost());
    });
    bench.serve();
    bench.events(count);
    bench
}

/// The same with a batch of `live` in flight, and one of `backlog` that waits.
fn sending(live: usize, backlog: usize, memory: usize) -> Bench {
    let mut bench = holding(live, memory);
    bench.serve();
    bench.pass(Duration::from_millis(60));
    let (_, batch) = bench.take_batch();
    let entries = batch.entries.iter().cycle().take(backlog).cloned().collect();
    bench.agent.streams[EVENT].backlog.restore(Batch { entries, ..Batch::clone(&batch) });
    bench
}

/// A batch of nine records that comes back from a journal.
fn sealed(id: u64) -> SealedBatch {
    let (created_at, last) = (crate::Timestamp::from_unix_micros(0), Seq::from_u64(9));
    SealedBatch { id: crate::BatchId::new(id, 0), created_at, len: 9, last }
}

#[test]
fn a_batch_takes_half_of_what_others_leave_of_memory_if_there_is_a_journal() {
    let json = event(0).json().len();
    for (live, backlog) in [(20, 20), (20, 7), (10, 30)] {
        let mut bench = sending(live, backlog, 100);
        let bytes = (100 * cost() - (live + backlog) * json) / 2;
        assert_eq!(bench.agent.batch_room(EVENT), Room { records: (100 - live - backlog) / 2, bytes });
        let back = entry(1);
        let bytes = bytes - back.json.len().div_ceil(2);
        bench.agent.streams[EVENT].reassemble(sealed(1), back);
        assert_eq!(bench.agent.batch_room(EVENT), Room { records: (99 - live - backlog) / 2, bytes });
    }
    assert_eq!(sending(20, 200, 100).agent.batch_room(EVENT).records, 1, "at least one");
    assert_eq!(holding(20, 100).agent.batch_room(EVENT).records, 50, "what waits can make room");
    assert_eq!(Bench::new(|_| {}).agent.batch_room(EVENT), Room::UNLIMITED);
}

#[test]
fn retried_batches_take_three_quarters_of_memory_at_most() {
    let mut bench = sending(20, 20, 100);
    for (memory, is_committed) in [(52, true), (53, true), (54, false), (100, false)] {
        bench.agent.config.buffer_size = memory;
        assert_eq!(bench.agent.is_committed(EVENT), is_committed, "{memory}");
    }
    bench.agent.config.buffer_size = 54;
    bench.agent.streams[EVENT].reassemble(sealed(1), entry(1));
    assert!(bench.agent.is_committed(EVENT), "beside one that comes back");
    bench.agent.journal = None;
    assert!(!bench.agent.is_committed(EVENT), "only a journal needs the rest");
    let mut bench = holding(20, 100);
    bench.agent.config.buffer_size = 0;
    assert!(!bench.agent.is_committed(EVENT), "nothing is retried");
}

#[test]
fn a_late_answer_to_other_credentials_forgets_no_quota() {
    let mut bench = Bench::new(|_| {});
    let batches = |bench: &mut Bench| -> Vec<Request> {
        let sent = core::mem::take(&mut bench.requests).into_iter();
        sent.filter(|request| matches!(request.payload, Payload::Batch(_))).collect()
    };
    let quota = || Response { status: 402, ..Response::default() };
    bench.events(1);
    bench.pass(SECOND);
    bench.events(1);
    let stream = &mut bench.agent.streams[EVENT];
    stream.live.spill_into(&mut stream.backlog, &[Flow::ONE]);
    bench.pass(SECOND);
    let old = batches(&mut bench);
    assert_eq!(old.len(), 2, "one of each lane");
    bench.input(Input::CredentialsChanged);
    bench.answer_with(&old[0], quota());
    bench.pass(SECOND);
    let new = batches(&mut bench);
    bench.answer_with(&new[0], quota());
    bench.answer_with(&old[1], quota());
    bench.pass(25 * SECOND);
    assert!(batches(&mut bench).is_empty(), "the new account has none left either");
}

#[test]
fn a_new_batch_leaves_a_quarter_of_memory_free_beside_those_that_are_retried() {
    for (memory, room) in [(100, 30), (80, 20), (60, 5), (56, 2), (52, 1)] {
        let mut bench = sending(20, 20, 100);
        bench.agent.config.buffer_size = memory;
        assert_eq!(bench.agent.batch_room(EVENT).records, room, "{memory}");
    }
}

#[test]
fn the_fill_is_that_of_the_journal_unless_it_is_down() {
    let mut bench = holding(20, 100);
    (bench.agent.config.journal_records, bench.agent.config.journal_bytes) = (400, 1_000 * cost() as u64);
    assert_eq!(bench.agent.fill_permille(EVENT), 50);
    bench.agent.config.journal_bytes = 100 * cost() as u64;
    assert_eq!(bench.agent.fill_permille(EVENT), 200);
    bench.refuse(StoreErrorKind::Full);
    bench.agent.config.buffer_size = 50;
    assert_eq!(bench.agent.fill_permille(EVENT), 400);
    bench.agent.config.buffer_bytes = 25 * cost();
    assert_eq!(bench.agent.fill_permille(EVENT), 800);
    let mut stored = backlog(DrainOrder::LiveFirst, 300);
    (stored.agent.config.journal_records, stored.agent.config.journal_bytes) = (1_000, 1 << 40);
    assert_eq!(stored.agent.fill_permille(EVENT), 300);
    stored.agent.config.journal_bytes = 600 * cost() as u64;
    assert_eq!(stored.agent.fill_permille(EVENT), 500);
}

#[test]
fn half_of_memory_is_for_what_is_read_back_and_a_quarter_stays_free() {
    for (memory, in_backlog, records) in
        [(100, false, 49), (101, false, 50), (60, false, 24), (100, true, 29)]
    {
        let mut bench = holding(20, memory);
        let stream = &mut bench.agent.streams[EVENT];
        if in_backlog {
            stream.live.spill_into(&mut stream.backlog, &[Flow::ONE]);
        }
        let has_room = |records, bytes| bench.agent.has_room_behind(EVENT, records, bytes);
        assert!(has_room(records, 0) && !has_room(records + 1, 0), "{memory} {in_backlog}");
    }
    // The same by bytes: half of them behind, three quarters in all.
    for (memory, in_backlog, bytes) in [(100, false, 50), (60, false, 25), (100, true, 30)] {
        let mut bench = holding(20, memory);
        bench.agent.config.buffer_size = 1_000;
        let stream = &mut bench.agent.streams[EVENT];
        if in_backlog {
            stream.live.spill_into(&mut stream.backlog, &[Flow::ONE]);
        }
        let has_room = |bytes| bench.agent.has_room_behind(EVENT, 0, bytes);
        assert!(has_room(bytes * cost()) && !has_room(bytes * cost() + 1), "{memory} {in_backlog}");
    }
    let agent = holding(20, 100).agent;
    assert!(agent.has_room_behind(Kind::Metric, 0, usize::MAX), "alone it always may");
    assert!(!agent.has_room_behind(Kind::Metric, 1, 1_000 * cost()));
}

#[test]
fn the_quota_is_that_of_journal_or_memory_whichever_is_larger() {
    for (records, bytes, is_beyond) in [(20, 20, false), (19, 20, true), (20, 19, true), (30, 30, false)] {
        let mut bench = holding(20, 100);
        let config = &mut bench.agent.config;
        (config.buffer_size, config.buffer_bytes) = (1, cost());
        (config.journal_records, config.journal_bytes) = (records, bytes * cost() as u64);
        for (policy, surplus) in [(OverflowPolicy::Drop, is_beyond), (OverflowPolicy::Raise, false)] {
            bench.agent.config.buffer_overflow_policy = policy;
            assert_eq!(bench.agent.has_surplus(EVENT), surplus, "{records} {bytes}");
        }
        let config = &mut bench.agent.config;
        config.buffer_overflow_policy = OverflowPolicy::Drop;
        (config.buffer_size, config.buffer_bytes) = (20, 20 * cost());
        assert!(!bench.agent.has_surplus(EVENT));
    }
    let mut stored = backlog(DrainOrder::LiveFirst, 300);
    for (records, bytes, is_beyond) in [(300, 300, false), (299, 300, true), (300, 299, true)] {
        let config = &mut stored.agent.config;
        config.buffer_bytes = 1;
        (config.journal_records, config.journal_bytes) = (records, bytes * cost() as u64);
        assert_eq!(stored.agent.has_surplus(EVENT), is_beyond, "{records} {bytes}");
    }
}

#[test]
fn new_records_leave_half_of_memory_once_older_ones_are_in_the_journal_alone() {
    for by_bytes in [false, true] {
        let mut bench = Bench::journaled(|config| {
            config.drain = DrainOrder::Fifo;
            if by_bytes {
                config.buffer_bytes = 100 * cost();
            } else {
                config.buffer_size = 100;
            }
        });
        bench.serve();
        for number in (0..300).step_by(10) {
            bench.send((number..number + 10).map(event).collect());
            bench.outage(Duration::from_millis(100));
        }
        assert_eq!(bench.agent.streams[EVENT].live.waiting(), (50, 50 * cost()), "{by_bytes}");
    }
}

#[test]
fn what_an_adopted_journal_brings_takes_half_of_memory() {
    for by_bytes in [false, true] {
        let mut next = backlog(DrainOrder::LiveFirst, 300).successor(7, |config| {
            if by_bytes {
                config.buffer_bytes = 100 * cost();
            } else {
                config.buffer_size = 100;
            }
        });
        next.outage(LEASE);
        let ledger = next.agent.stats().records.events;
        assert_eq!((ledger.recovered, ledger.in_memory), (50, 50), "{by_bytes}");
    }
}

#[test]
fn in_strict_order_what_only_the_journal_holds_goes_first() {
    let mut agent = backlog(DrainOrder::Fifo, 300).agent;
    let stored = agent.journal.as_ref().map_or(0, |journal| journal.stored(EVENT));
    assert!(stored > 0 && agent.streams[EVENT].live.has_sealed());
    assert!(agent.may_go_first(EVENT, Path::Live), "what is sealed is older");
    assert!(!agent.may_go_first(EVENT, Path::Backlog));
    // As if all that is in memory had been delivered.
    agent.streams[EVENT].live = Lane::new(EVENT, &agent.config);
    agent.streams[EVENT].backlog = Lane::of_backlog(EVENT, &agent.config);
    assert!(!agent.may_go_first(EVENT, Path::Live), "the rest is still to be read");
    assert!(agent.may_go_first(EVENT, Path::Backlog));
    agent.journal = None;
    assert!(agent.may_go_first(EVENT, Path::Live));
}

#[test]
fn a_record_expires_when_it_is_older_than_that_and_not_before() {
    let mut bench = Bench::new(|config| config.max_record_age = Some(10 * SECOND));
    let accepted = bench.now.wall;
    let after = |micros: i64| Timestamp::from_unix_micros(accepted.as_unix_micros() + micros);
    for (micros, is_expired) in [(-1, false), (0, false), (10_000_000, false), (10_000_001, true)] {
        bench.agent.now.wall = after(micros);
        assert_eq!(bench.agent.is_expired(accepted), is_expired, "{micros}");
    }
    bench.agent.config.max_record_age = None;
    assert!(!bench.agent.is_expired(accepted));
}

#[test]
fn a_sealed_batch_comes_back_whole_or_its_records_are_sent_in_others() {
    for (len, may_return, sealed, partial, loose) in
        [(2, true, true, 0, 0), (2, false, true, 0, 0), (3, true, false, 2, 0), (3, false, false, 0, 2)]
    {
        let mut agent = Bench::new(|_| {}).agent;
        let stream = &mut agent.streams[EVENT];
        let [id, other] = [1, 2].map(|id| crate::BatchId::new(id, 0));
        let batch = |id, len| SealedBatch { id, created_at: agent.now.wall, len, last: Seq::from_u64(9) };
        stream.reassemble(batch(id, len), entry(1));
        stream.reassemble(batch(other, 5), entry(2));
        stream.reassemble(batch(id, len), entry(3));
        assert_eq!(stream.partial.len(), 2);
        let may_come = |seq| {
            assert_eq!(seq, Seq::from_u64(9));
            may_return
        };
        stream.restore(EVENT, may_come, &mut agent.rng);
        // The other one comes back later, or is given up.
        let others = if may_return { (1, 0) } else { (0, 1) };
        assert_eq!(stream.backlog.has_sealed(), sealed, "{len} {may_return}");
        assert_eq!(stream.partial().count(), partial + others.0, "{len} {may_return}");
        assert_eq!(stream.backlog.waiting().0, loose + others.1, "{len} {may_return}");
        assert_eq!(stream.len(), 3);
    }
}

#[test]
fn what_was_filtered_is_counted_and_no_loss() {
    let mut bench = Bench::new(|_| {});
    let decided = alloc::format!("{:?}", bench.agent.decided);
    bench.agent.count_drops(EVENT, DropReason::Filtered, 3);
    bench.agent.count_drops(EVENT, DropReason::Overflow, 0);
    assert_eq!(bench.agent.reporter.topics(), 0);
    assert_eq!(alloc::format!("{:?}", bench.agent.decided), decided);
    assert_eq!(bench.agent.streams[EVENT].ledger.dropped[DropReason::Filtered], 3);
    bench.agent.count_drops(EVENT, DropReason::Overflow, 2);
    assert_eq!(bench.agent.reporter.topics(), 1);
}

#[test]
fn a_shutdown_with_a_journal_wakes_up_to_hand_over() {
    let mut bench = holding(20, 100);
    bench.serve();
    bench.pass(Duration::from_millis(60));
    bench.take_batch();
    bench.shutdown(20);
    bench.serve();
    let at = bench.agent.hand_over_at;
    assert!(bench.now.instant < at && at < bench.now.instant + 20 * SECOND);
    while bench.idle.0 < at {
        bench.pass(bench.idle.0.since(bench.now.instant));
        bench.serve();
    }
    assert_eq!(bench.idle, (at, Reason::ShutdownDeadline));
    assert!(!bench.agent.is_handing_over());
    bench.pass(at.since(bench.now.instant));
    assert!(bench.agent.is_handing_over());
    bench.agent.journal = None;
    assert!(!bench.agent.is_handing_over());
}

#[test]
fn a_shutdown_in_an_outage_waits_for_the_answer_to_a_probe_and_for_nothing_else() {
    let mut bench = holding(20, 100);
    while bench.agent.stats().breaker == BreakerState::Closed {
        bench.outage(SECOND);
    }
    assert!(bench.agent.is_handing_over());
    while bench.agent.lanes_in_flight() == 0 {
        bench.pass(bench.idle.0.since(bench.now.instant));
        bench.serve();
    }
    assert!(!bench.agent.is_handing_over());
}

#[test]
fn an_agent_without_a_lease_sleeps_through_nothing() {
    let mut bench = Bench::journaled(|_| {});
    bench.pass(SECOND);
    let id = bench.stores.pop().unwrap().id;
    bench
        .input(Input::StoreReply { id, result: Err(StoreError::new(StoreErrorKind::TimedOut, "no answer")) });
    let journal = bench.agent.journal.as_mut().unwrap();
    journal.on_time(crate::Now { instant: bench.now.instant + 60 * SECOND, wall: bench.now.wall });
    assert_eq!(journal.down(), Some(StoreErrorKind::TimedOut));
}

#[test]
fn a_short_shutdown_spends_three_quarters_of_its_time_before_it_hands_over() {
    for (millis, before) in [(200, 150), (2_000, 1_500), (20_000, 19_500)] {
        let mut bench = holding(20, 100);
        let now = bench.now.instant;
        bench.input(Input::Shutdown { deadline: now + Duration::from_millis(millis) });
        assert_eq!(bench.agent.hand_over_at, now + Duration::from_millis(before), "{millis}");
    }
}

#[test]
fn batches_that_cannot_be_completed_give_their_records_back() {
    let mut agent = Bench::new(|_| {}).agent;
    let stream = &mut agent.streams[EVENT];
    for (id, seq) in [(1, 1), (2, 2), (1, 3)] {
        stream.reassemble(sealed(id), entry(seq));
    }
    stream.dissolve_partial();
    assert_eq!((stream.partial().count(), stream.backlog.waiting().0, stream.len()), (0, 3, 3));
}
