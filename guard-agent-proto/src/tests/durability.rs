use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Bench, SECOND, event, key, numbers, record};
use crate::batch::Entry;
use crate::shell::MemoryStore;
use crate::store::{
    OwnerId, Space, StoreAnswer, StoreError, StoreErrorKind, StoreOp, StoreRequest, StreamId, Write,
};
use crate::{
    AgentConfig, AgentEvent, BatchId, DrainOrder, DropReason, FlushId, HealthReason, Input, Instant, Kind,
    Outcome, OverflowPolicy, Payload, ReceiptId, Record, Report, Seq, StoreOpId,
};

pub(crate) const LEASE: Duration = Duration::from_secs(30);

impl Bench {
    /// The store does what it was asked, and its answer is lost.
    fn lose_an_answer(&mut self) {
        let request = self.stores.pop().unwrap();
        self.store.execute_at(request.clone(), self.now.instant).unwrap();
        let lost = StoreError::new(StoreErrorKind::TimedOut, "lost");
        self.input(Input::StoreReply { id: request.id, result: Err(lost) });
    }

    pub(crate) fn journaled(adjust: impl FnOnce(&mut AgentConfig)) -> Self {
        Self::with_journal(true, adjust)
    }

    /// Another run with the same store, at the same time.
    pub(crate) fn successor(self, seed: u8, adjust: impl FnOnce(&mut AgentConfig)) -> Self {
        let mut next = Self::build(true, [seed; 32], adjust);
        (next.store, next.now) = (self.store, self.now);
        next.input(Input::Timeout);
        next
    }

    /// Lets the store do what it was asked, until it is asked for nothing.
    pub(crate) fn serve(&mut self) {
        self.serve_with(|_| None);
    }

    /// The same, with a store that `meets` some operations with a failure.
    pub(super) fn serve_with(&mut self, meets: impl Fn(&StoreOp) -> Option<StoreErrorKind>) {
        while let Some(request) = self.stores.pop() {
            assert!(self.stores.is_empty(), "one operation at a time");
            let result = match meets(&request.op) {
                Some(kind) => Err(StoreError::new(kind, "as told")),
                None => self.store.execute_at(request.clone(), self.now.instant),
            };
            self.input(Input::StoreReply { id: request.id, result });
        }
    }

    pub(crate) fn refuse(&mut self, kind: StoreErrorKind) {
        let request = self.stores.pop().unwrap();
        let result = Err(StoreError::new(kind, "refused"));
        self.input(Input::StoreReply { id: request.id, result });
    }

    /// Lets time pass with a store that works.
    fn pass_served(&mut self, time: Duration) {
        let end = self.now.instant + time;
        self.serve();
        while self.idle.0 <= end {
            self.jump(self.idle.0.since(self.now.instant));
            self.serve();
        }
        self.jump(end.since(self.now.instant));
        self.serve();
    }

    /// The same, with a platform that works; the numbers of the records that it got, batch by batch.
    pub(super) fn deliver(&mut self, time: Duration) -> Vec<Vec<usize>> {
        self.run(time, Some(200), |_| None)
    }

    /// Lets time pass with a store that works and a platform that refuses connections.
    pub(crate) fn outage(&mut self, time: Duration) {
        self.run(time, None, |_| None);
    }

    /// Lets time pass with a platform that answers with `status`, or refuses connections, and a store that `meets`
    /// some operations with a failure. The numbers of the records that were sent, batch by batch.
    pub(super) fn run(
        &mut self,
        time: Duration,
        status: Option<u16>,
        meets: impl Fn(&StoreOp) -> Option<StoreErrorKind>,
    ) -> Vec<Vec<usize>> {
        let end = self.now.instant + time;
        let mut batches = Vec::new();
        loop {
            self.serve_with(&meets);
            for request in core::mem::take(&mut self.requests) {
                if let Payload::Batch(batch) = &request.payload {
                    batches.push(numbers(batch));
                }
                match status {
                    Some(status) => self.answer(&request, status),
                    None => self.fail(&request),
                }
            }
            if !self.stores.is_empty() || !self.requests.is_empty() {
                continue;
            }
            if self.idle.0 > end || self.closed.is_some() {
                break;
            }
            self.jump(self.idle.0.since(self.now.instant));
        }
        self.jump(end.since(self.now.instant));
        batches
    }

    fn receipts(&mut self) -> Vec<(u64, Outcome)> {
        let told = core::mem::take(&mut self.events).into_iter().filter_map(|event| match event {
            AgentEvent::Receipt { id, outcome } => Some((id.as_u64(), outcome)),
            _ => None,
        });
        told.collect()
    }

    pub(super) fn errors(&self, needle: &str) -> usize {
        let told = |event: &&AgentEvent| matches!(event, AgentEvent::Error { message, .. } if message.contains(needle));
        self.events.iter().filter(told).count()
    }

    /// Leaves an orphan that some dead agent wrote.
    pub(super) fn leave_orphan(&self, seed: u64, count: usize) {
        let mut dead = Self::build(true, [seed as u8 | 128; 32], |_| {});
        dead.now = self.now;
        dead.events(count);
        while let Some(request) = dead.stores.pop() {
            let result = self.store.execute_at(request.clone(), self.now.instant);
            dead.input(Input::StoreReply { id: request.id, result });
        }
    }

    /// Some other agent adopts every stream that it can, as if all leases had run out.
    pub(super) fn be_adopted(&self) {
        let later = self.now.instant + 1_000 * SECOND;
        for stream in self.orphans(later) {
            assert!(self.execute(StoreOp::Adopt { stream, lease: LEASE }, later).is_ok());
        }
    }

    /// The streams that some other agent finds without an owner.
    pub(super) fn orphans(&self, at: Instant) -> Vec<StreamId> {
        let Ok(StoreAnswer::Orphans { orphans, .. }) =
            self.execute(StoreOp::List { space: Space::new(0) }, at)
        else {
            panic!("no list")
        };
        orphans.into_iter().map(|orphan| orphan.stream).collect()
    }

    fn execute(&self, op: StoreOp, at: Instant) -> Result<StoreAnswer, StoreError> {
        let id = StoreOpId::from_u64(0);
        self.store.execute_at(StoreRequest { id, owner: OwnerId::from_u64(1), op, timeout: SECOND }, at)
    }
}

fn flat(batches: &[Vec<usize>]) -> Vec<usize> {
    batches.iter().flatten().copied().collect()
}

fn sorted(batches: &[Vec<usize>]) -> Vec<usize> {
    let mut all = flat(batches);
    all.sort_unstable();
    all
}

#[test]
fn records_are_appended_acknowledged_and_removed_after_delivery() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(3);
    assert_eq!(bench.agent.stats().records.events.persisted, 0);
    bench.serve();
    let ledger = bench.agent.stats().records.events;
    assert_eq!((ledger.pending, ledger.persisted, ledger.in_memory), (3, 3, 3));
    assert_eq!(bench.store.blocks(), 1);
    assert_eq!(bench.deliver(SECOND), [[0, 1, 2]]);
    assert_eq!(bench.store.blocks(), 0);
    // An idle agent leaves nothing behind and does nothing for its lease.
    bench.pass_served(LEASE);
    assert_eq!(bench.store.streams(), 0);
}

#[test]
fn appends_are_group_commits() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(1);
    let first = bench.stores.pop().unwrap();
    for _ in 0..10 {
        bench.events(1);
    }
    assert!(bench.stores.is_empty(), "one operation is outstanding at a time");
    let result = bench.store.execute_at(first.clone(), bench.now.instant);
    bench.input(Input::StoreReply { id: first.id, result });
    assert!(bench.stores.is_empty(), "the next one waits for company");
    bench.jump(Duration::from_millis(50));
    let StoreOp::Write(write) = &bench.stores[0].op else { panic!("{:?}", bench.stores) };
    assert_eq!(write.logs.events.append.len(), 1);
    bench.serve();
    assert_eq!(bench.agent.stats().records.events.persisted, 11);
}

#[test]
fn who_asks_for_a_receipt_hears_of_durability_delivery_and_loss() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.send(vec![event(1).with_receipt(ReceiptId::from_u64(71)), event(2)]);
    assert!(bench.receipts().is_empty());
    bench.serve();
    assert_eq!(bench.receipts(), [(71, Outcome::Durable)]);
    bench.deliver(SECOND);
    assert_eq!(bench.receipts(), [(71, Outcome::Delivered)]);
    bench.send(vec![event(3).with_receipt(ReceiptId::from_u64(72))]);
    bench.pass_served(SECOND);
    let request = bench.take_request();
    bench.answer(&request, 413);
    assert_eq!(bench.receipts(), [(72, Outcome::Durable), (72, Outcome::Dropped(DropReason::TooLarge))]);
}

#[test]
fn a_store_that_fails_neither_stops_delivery_nor_is_forgotten() {
    for kind in [StoreErrorKind::Unreachable, StoreErrorKind::Full, StoreErrorKind::Denied] {
        let mut bench = Bench::journaled(|_| {});
        bench.serve();
        bench.events(2);
        bench.refuse(kind);
        assert_eq!(bench.agent.health().reasons, [HealthReason::JournalDown { why: kind, store: None }]);
        bench.pass(Duration::from_millis(60));
        let request = bench.take_request();
        bench.events(1);
        bench.answer(&request, 200);
        assert_eq!(bench.agent.stats().records.events.delivered, 2);
        bench.pass_served(SECOND);
        assert!(bench.agent.health().reasons.is_empty());
        assert_eq!(bench.agent.stats().records.events.persisted, 1, "what is undelivered is appended");
        bench.deliver(2 * SECOND);
        assert_eq!(bench.store.blocks(), 0);
    }
}

#[test]
fn an_answer_that_was_lost_costs_a_repetition() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(2);
    bench.lose_an_answer();
    bench.deliver(2 * SECOND);
    assert_eq!(bench.agent.stats().records.events.delivered, 2);
    assert_eq!(bench.store.blocks(), 0);
}

#[test]
fn the_journal_of_a_dead_agent_is_adopted_delivered_and_removed() {
    let mut dead = Bench::journaled(|_| {});
    dead.serve();
    dead.events(5);
    dead.serve();
    let mut bench = dead.successor(7, |_| {});
    let started = bench.now.instant;
    while bench.agent.stats().records.events.recovered == 0 {
        assert!(bench.now.instant.since(started) < LEASE, "within the lease");
        bench.jump(SECOND);
        bench.serve();
    }
    let stats = bench.agent.stats();
    let ledger = stats.records.events;
    assert_eq!((ledger.recovered, ledger.persisted, stats.adopted_journals), (5, 5, 1));
    assert_eq!(flat(&bench.deliver(5 * SECOND)), [0, 1, 2, 3, 4]);
    bench.pass_served(LEASE);
    assert_eq!((bench.store.streams(), bench.store.blocks()), (0, 0));
}

#[test]
fn a_journal_that_another_adopted_and_finished_meanwhile_is_not_adopted_again() {
    let mut dead = Bench::journaled(|_| {});
    dead.serve();
    dead.events(5);
    dead.serve();
    let mut bench = dead.successor(7, |_| {});
    let stream = loop {
        match bench.stores.last().map(|request| &request.op) {
            Some(StoreOp::Adopt { stream, .. }) => break *stream,
            Some(_) => bench.serve(),
            None => bench.jump(bench.idle.0.since(bench.now.instant)),
        }
    };
    bench.be_adopted();
    let later = bench.now.instant + 1_000 * SECOND;
    bench.execute(StoreOp::Close { stream, keep: false }, later).unwrap();
    bench.pass_served(LEASE);
    assert_eq!((bench.agent.stats().adopted_journals, bench.store.streams()), (0, 0));
}

#[test]
fn an_orphan_that_another_was_quicker_to_adopt_costs_nothing_of_our_own() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(3);
    bench.leave_orphan(1, 1);
    bench.run(3 * LEASE, None, |op| matches!(op, StoreOp::Adopt { .. }).then_some(StoreErrorKind::Fenced));
    let ledger = bench.agent.stats().records.events;
    assert_eq!((ledger.persisted, ledger.handed_over), (3, 0));
    assert_eq!(bench.errors("another agent adopted the journal"), 0);
}

#[test]
fn a_journal_whose_lease_cannot_be_renewed_is_no_orphan_to_its_owner() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(3);
    bench.serve();
    bench.run(5 * LEASE, None, |op| matches!(op, StoreOp::Write(_)).then_some(StoreErrorKind::Full));
    let stats = bench.agent.stats();
    assert_eq!((stats.adopted_journals, stats.orphaned_journals, stats.leased_journals), (0, 0, 0));
    assert_eq!(sorted(&bench.deliver(60 * SECOND)), [0, 1, 2]);
}

#[test]
fn an_adopted_journal_that_goes_to_another_leaves_our_own() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(3);
    let StoreOp::Write(Write { stream: own, .. }) = bench.stores[0].op else { panic!("{:?}", bench.stores) };
    bench.leave_orphan(1, 2);
    bench.outage(3 * LEASE);
    assert_eq!(bench.agent.stats().records.events.pending, 5);
    let is_anothers = |op: &StoreOp| match op {
        StoreOp::Write(write) => write.stream != own,
        StoreOp::Adopt { .. } => true,
        _ => false,
    };
    let meets = |op: &StoreOp| is_anothers(op).then_some(StoreErrorKind::Fenced);
    // It slept, for else nobody could have adopted it.
    bench.jump(LEASE);
    bench.run(LEASE, None, meets);
    let ledger = bench.agent.stats().records.events;
    assert_eq!((ledger.handed_over, ledger.pending, ledger.persisted), (2, 3, 3));
    assert_eq!(sorted(&bench.run(60 * SECOND, Some(200), meets)), [0, 1, 2]);
    assert_eq!(bench.store.blocks(), 1, "what is the other's stays");
}

#[test]
fn a_journal_that_cannot_look_for_others_says_so() {
    let mut bench = Bench::journaled(|_| {});
    let why = StoreErrorKind::WrongType;
    bench.run(LEASE, Some(200), |op| matches!(op, StoreOp::List { .. }).then_some(why));
    let reasons = bench.agent.health().reasons;
    assert!(
        matches!(reasons[..], [HealthReason::JournalImpaired { why: told, .. }] if told == why),
        "{reasons:?}"
    );
    bench.deliver(LEASE);
    assert!(bench.agent.health().reasons.is_empty());
}

#[test]
fn several_journals_are_adopted_beside_each_other() {
    let mut bench = Bench::journaled(|_| {});
    for seed in 1..=4 {
        bench.leave_orphan(seed, seed as usize);
    }
    bench.outage(3 * LEASE);
    let stats = bench.agent.stats();
    assert_eq!((stats.adopted_journals, stats.records.events.recovered), (4, 10));
    assert_eq!(bench.store.streams(), 4);
    assert_eq!(bench.deliver(60 * SECOND).concat().len(), 10);
    assert_eq!((bench.store.streams(), bench.store.blocks()), (0, 0));
}

#[test]
fn what_is_read_at_once_is_bounded_by_its_bytes() {
    let mut dead = Bench::journaled(|config| config.buffer_bytes = 64 << 20);
    dead.serve();
    for number in 0..64 {
        let json = format!(r#"{{"idempotency_key":"{}","x":"{}"}}"#, key(number), "x".repeat(100_000));
        dead.send(vec![Record::new(Kind::Event, false, json.into_bytes().into())]);
        dead.outage(Duration::from_millis(60));
    }
    let mut bench = dead.successor(7, |_| {});
    let (mut most, mut reads) = (0, 0);
    while bench.now.instant < Instant::ZERO + 3 * LEASE {
        while let Some(request) = bench.stores.pop() {
            let result = bench.store.execute_at(request.clone(), bench.now.instant);
            if let Ok(StoreAnswer::Blocks { blocks, .. }) = &result {
                most = most.max(blocks.iter().map(|block| block.bytes.len()).sum());
                reads += usize::from(!blocks.is_empty());
            }
            bench.input(Input::StoreReply { id: request.id, result });
        }
        for request in core::mem::take(&mut bench.requests) {
            bench.answer(&request, 200);
        }
        bench.jump(Duration::from_millis(100));
    }
    assert_eq!(bench.agent.stats().records.events.delivered, 64);
    assert!(most <= 1 << 20 && reads <= 20, "{most} bytes, {reads} reads");
}

#[test]
fn a_living_agent_keeps_its_journal() {
    let mut first = Bench::journaled(|_| {});
    first.serve();
    first.events(3);
    first.serve();
    let store = core::mem::take(&mut first.store);
    let mut second = Bench::build(true, [7; 32], |_| {});
    (second.store, second.now) = (store, first.now);
    for _ in 0..200 {
        for _ in 0..2 {
            core::mem::swap(&mut first.store, &mut second.store);
            core::mem::swap(&mut first, &mut second);
            for request in core::mem::take(&mut first.requests) {
                first.fail(&request);
            }
            // The store is with the second.
            core::mem::swap(&mut first.store, &mut second.store);
            first.jump(SECOND);
            first.serve();
            core::mem::swap(&mut first.store, &mut second.store);
        }
    }
    for bench in [&first, &second] {
        let ledger = bench.agent.stats().records.events;
        assert_eq!((ledger.recovered, ledger.handed_over), (0, 0));
    }
}

#[test]
fn a_batch_that_may_have_been_sent_is_sent_again_as_it_was() {
    for kind in Kind::ALL {
        let mut dead = Bench::journaled(|config| config.flush_interval = SECOND);
        dead.serve();
        dead.send((0..5).map(|n| record(kind, n, false)).collect());
        dead.pass_served(2 * SECOND);
        let (_, batch) = dead.take_batch();
        // Records that came later are not in it.
        dead.send((5..8).map(|n| record(kind, n, false)).collect());
        dead.pass_served(SECOND);
        let mut bench = dead.successor(7, |config| config.flush_interval = SECOND);
        bench.pass_served(LEASE);
        let (request, again) = bench.take_batch();
        assert_eq!(
            (again.id(), again.created_at(), numbers(&again)),
            (batch.id(), batch.created_at(), numbers(&batch))
        );
        assert_ne!(again.nonce(), batch.nonce(), "whoever can write to the store would choose it");
        bench.answer(&request, 200);
        assert_eq!(bench.deliver(LEASE), [[5, 6, 7]]);
        assert_eq!((bench.store.streams(), bench.store.blocks()), (0, 0));
    }
}

#[test]
fn a_clone_of_the_machine_draws_nothing_that_the_original_draws() {
    // Two of one seed and the same inputs are one and its clone.
    let [mut original, mut clone, mut other] = [(); 3].map(|()| Bench::journaled(|_| {}));
    let drawn = |bench: &mut Bench| {
        bench.events(1);
        bench.serve();
        let mut streams = Vec::new();
        bench.store.for_each_block(|stream, _, _| streams.push(stream));
        bench.pass_served(SECOND);
        let (request, batch) = bench.take_batch();
        bench.answer(&request, 200);
        // With nothing left it deletes its stream, and makes another with the next record.
        bench.pass_served(LEASE);
        bench.requests.clear();
        (batch.id().random(), *batch.nonce(), streams)
    };
    let [first, same, _] = [&mut original, &mut clone, &mut other].map(drawn);
    assert_eq!(first, same);
    original.agent.reseed([1; 32]);
    clone.agent.reseed([1; 32]);
    other.agent.reseed([2; 32]);
    for round in 0..3 {
        let [one, same, another] = [&mut original, &mut clone, &mut other].map(drawn);
        assert_eq!(one, same);
        assert!(one.0 != another.0 && one.1 != another.1);
        assert_eq!(one.2 == another.2, round == 0, "{:?} {:?}", one.2, another.2);
    }
}

#[test]
fn a_batch_of_which_a_part_is_settled_is_sent_in_another() {
    let mut dead = Bench::journaled(|_| {});
    dead.serve();
    dead.events(4);
    dead.pass_served(SECOND);
    let (request, batch) = dead.take_batch();
    // Halved: the first half is delivered, the second is not.
    dead.answer(&request, 413);
    dead.pass_served(SECOND);
    let (half, _) = dead.take_batch();
    dead.answer(&half, 200);
    dead.pass_served(SECOND);
    let (_, second) = dead.take_batch();
    let mut bench = dead.successor(7, |_| {});
    bench.pass_served(LEASE);
    let (request, again) = bench.take_batch();
    assert_eq!(numbers(&again), [2, 3]);
    assert_eq!(again.id(), second.id());
    assert_ne!(again.id(), batch.id());
    bench.answer(&request, 200);
    bench.pass_served(LEASE);
    assert_eq!((bench.store.streams(), bench.store.blocks()), (0, 0));
}

#[test]
fn a_batch_that_lacks_its_last_record_and_fills_half_of_memory_is_sent_in_others() {
    let mut dead = Bench::journaled(|_| {});
    dead.serve();
    dead.events(4);
    dead.serve();
    dead.send(vec![event(4)]);
    dead.serve();
    dead.jump(SECOND);
    let mut seal = dead.stores.pop().unwrap();
    if let StoreOp::Write(write) = &mut seal.op {
        assert_eq!(write.notes.len(), 1);
        write.logs.events.remove.push(Seq::from_u64(5));
    }
    dead.store.execute_at(seal, dead.now.instant).unwrap();

    let mut bench = dead.successor(7, |config| config.buffer_size = 8);
    assert_eq!(sorted(&bench.deliver(4 * LEASE)), [0, 1, 2, 3]);
    assert_eq!((bench.store.streams(), bench.store.blocks()), (0, 0));
}

#[test]
fn a_note_of_what_is_gone_keeps_no_journal_alive() {
    let mut dead = Bench::journaled(|_| {});
    dead.serve();
    dead.events(4);
    dead.pass_served(SECOND);
    let (request, _) = dead.take_batch();
    // Halved: that a part of the block is settled is noted.
    dead.answer(&request, 413);
    dead.pass_served(SECOND);
    let (half, _) = dead.take_batch();
    dead.answer(&half, 200);
    dead.jump(SECOND);
    let noted = dead.stores[0].clone();
    assert!(
        matches!(&noted.op, StoreOp::Write(write) if write.notes.iter().any(|note| note.name == "d-e-4"))
    );
    dead.deliver(3 * SECOND);
    assert_eq!(dead.store.blocks(), 0);
    // The same change again, late: somebody had given up waiting for it.
    dead.store.execute_at(noted, dead.now.instant).unwrap();
    let mut bench = dead.successor(7, |_| {});
    bench.pass_served(2 * LEASE);
    assert_eq!((bench.agent.stats().adopted_journals, bench.store.streams()), (0, 0));
}

#[test]
fn metrics_wait_for_their_seal_while_the_store_works() {
    let mut bench = Bench::journaled(|config| config.flush_interval = SECOND);
    bench.serve();
    bench.send(vec![record(Kind::Metric, 1, false)]);
    bench.serve();
    bench.pass(2 * SECOND);
    assert!(bench.requests.is_empty(), "the seal is not acknowledged");
    assert!(matches!(&bench.stores[0].op, StoreOp::Write(write) if write.notes.len() == 1));
    bench.serve();
    assert_eq!(bench.requests.len(), 1);
    // A store that fails holds nothing up.
    let mut bench = Bench::journaled(|config| config.flush_interval = SECOND);
    bench.serve();
    bench.send(vec![record(Kind::Metric, 1, false)]);
    bench.serve();
    bench.pass(2 * SECOND);
    bench.refuse(StoreErrorKind::TimedOut);
    bench.pass(SECOND);
    assert_eq!(bench.requests.len(), 1);
}

/// In an outage that lasts, memory holds a fraction of what waits.
pub(crate) fn backlog(drain: DrainOrder, count: usize) -> Bench {
    let mut bench = Bench::journaled(|config| {
        config.buffer_size = 100;
        config.drain = drain;
    });
    bench.serve();
    for number in (0..count).step_by(10) {
        bench.send((number..number + 10).map(event).collect());
        bench.outage(Duration::from_millis(100));
        let ledger = bench.agent.stats().records.events;
        assert!(ledger.in_memory <= 100, "{ledger:?}");
        assert_eq!((ledger.pending, ledger.dropped.total()), (number as u64 + 10, 0));
    }
    bench
}

#[test]
fn what_the_journal_holds_leaves_a_quarter_of_memory_free_by_number_and_by_bytes() {
    let cost = Entry::new(Seq::from_u64(0), Instant::ZERO, event(0)).cost();
    for by_bytes in [false, true] {
        let mut bench = Bench::journaled(|config| {
            if by_bytes {
                config.buffer_bytes = 100 * cost;
            } else {
                config.buffer_size = 100;
            }
        });
        bench.serve();
        for number in (0..300).step_by(10) {
            bench.send((number..number + 10).map(event).collect());
            bench.outage(Duration::from_millis(100));
            let ledger = bench.agent.stats().records.events;
            assert!((10..=75).contains(&ledger.in_memory), "{by_bytes}: {ledger:?}");
        }
        let ledger = bench.agent.stats().records.events;
        assert!(ledger.in_memory >= 25 && ledger.pending == 300, "{by_bytes}: {ledger:?}");
        assert!(bench.agent.pressure().fill_permille < 500, "the journal takes more: {by_bytes}");
    }
}

#[test]
fn a_backlog_is_larger_than_memory() {
    let mut bench = backlog(DrainOrder::LiveFirst, 2_000);
    let batches = bench.deliver(600 * SECOND);
    assert_eq!(sorted(&batches), (0..2_000).collect::<Vec<_>>(), "each once");
    let ledger = bench.agent.stats().records.events;
    assert_eq!((ledger.delivered, ledger.pending, ledger.recovered), (2_000, 0, 0));
    assert_eq!(bench.store.blocks(), 0);
    // Two lanes, each in order: what was live at the end of the outage, and the rest.
    let (mut live, mut rest) = (None, None);
    for number in flat(&batches) {
        let tail = if live.is_none_or(|live| live < number) { &mut live } else { &mut rest };
        assert!(tail.is_none_or(|tail| tail < number), "{number} in {batches:?}");
        *tail = Some(number);
    }
}

#[test]
fn a_backlog_is_delivered_in_strict_order_if_that_is_wanted() {
    let mut bench = backlog(DrainOrder::Fifo, 2_000);
    let mut batches = Vec::new();
    for number in 2_000..2_050 {
        bench.send(vec![event(number)]);
        batches.extend(bench.deliver(SECOND));
    }
    batches.extend(bench.deliver(600 * SECOND));
    assert_eq!(flat(&batches), (0..2_050).collect::<Vec<_>>());
    assert_eq!(bench.store.blocks(), 0);
}

#[test]
fn a_memory_full_of_what_was_refused_holds_up_no_backlog() {
    let mut bench = backlog(DrainOrder::LiveFirst, 300);
    bench.run(7_200 * SECOND, Some(422), |_| None);
    assert_eq!(bench.agent.stats().records.events.pending, 300);
    let batches = bench.deliver(1_200 * SECOND);
    assert_eq!(sorted(&batches), (0..300).collect::<Vec<_>>());
}

#[test]
fn a_memory_full_of_what_was_refused_holds_up_no_adoption() {
    // With more than memory holds, and with what fills half of it.
    for (count, time) in [(300, 5_400 * SECOND), (60, 1_200 * SECOND)] {
        let mut bench = backlog(DrainOrder::LiveFirst, count);
        bench.run(time, Some(422), |_| None);
        bench.leave_orphan(1, 1);
        bench.run(time, Some(422), |_| None);
        assert_eq!(bench.agent.stats().adopted_journals, 1, "{count}");
    }
}

#[test]
fn new_events_are_quick_while_a_backlog_drains() {
    let mut bench = backlog(DrainOrder::LiveFirst, 2_000);
    bench.deliver(10 * SECOND);
    assert!(bench.agent.stats().records.events.pending > 500);
    for number in 2_000..2_020 {
        bench.send(vec![event(number)]);
        let batches = bench.deliver(Duration::from_millis(790));
        assert!(flat(&batches).contains(&number), "{number} {batches:?}");
    }
    assert!(bench.agent.stats().records.events.pending > 0, "it still drains");
    bench.deliver(600 * SECOND);
    assert_eq!(bench.agent.stats().records.events.delivered, 2_020);
}

#[test]
fn every_new_event_is_quick_while_a_backlog_drains() {
    // Events every 20 ms, with a memory of a hundred or of a thousand.
    for (memory, at_once) in [(100, 1), (1_000, 1), (1_000, 3), (1_000, 6), (1_000, 8)] {
        live_beside_backlog(memory, at_once);
    }
}

/// Answers take a while, so that batches are in flight when new events come.
fn live_beside_backlog(memory: usize, at_once: usize) {
    const TICK: Duration = Duration::from_millis(20);
    let old = 40 * memory;
    let mut bench = Bench::journaled(|config| config.buffer_size = memory);
    bench.serve();
    for number in (0..old).step_by(memory / 10) {
        bench.send((number..number + memory / 10).map(event).collect());
        bench.outage(Duration::from_millis(100));
    }
    let (mut flights, mut sent, mut slow) = (Vec::new(), Vec::new(), Vec::new());
    for tick in 0..2_000 {
        let next = old + sent.len();
        bench.send((next..next + at_once).map(event).collect());
        sent.extend(core::iter::repeat_n(bench.now.instant, at_once));
        bench.serve();
        flights.extend(core::mem::take(&mut bench.requests).into_iter().map(|request| (tick + 3, request)));
        for (_, request) in flights.extract_if(.., |(due, _)| *due <= tick) {
            if let Payload::Batch(batch) = &request.payload {
                let new = numbers(batch).into_iter().filter_map(|number| number.checked_sub(old));
                slow.extend(new.filter(|number| bench.now.instant.since(sent[*number]) >= SECOND));
            }
            bench.answer(&request, 200);
        }
        bench.jump(TICK);
    }
    // The breaker takes a while to notice that the platform is back.
    let first = sent.len() / 4;
    slow.retain(|number| *number > first);
    assert!(slow.is_empty(), "with {memory} and {at_once}, {} are slow: {slow:?}", slow.len());
    let ledger = bench.agent.stats().records.events;
    assert!(ledger.delivered > 2_000 && ledger.pending > 500, "{ledger:?}");
    assert_eq!(ledger.dropped.total(), 0);
}

#[test]
fn beyond_the_quota_the_policy_gives_up_and_counts() {
    let cost = Entry::new(Seq::from_u64(0), Instant::ZERO, event(0)).cost();
    for (policy, by_bytes, kept) in [
        (OverflowPolicy::Drop, false, 500..700),
        (OverflowPolicy::Drop, true, 500..700),
        (OverflowPolicy::Raise, false, 0..200),
        (OverflowPolicy::Raise, true, 0..200),
    ] {
        let mut bench = Bench::journaled(|config| {
            if by_bytes {
                (config.buffer_bytes, config.journal_bytes) = (50 * cost, 200 * cost as u64);
            } else {
                (config.buffer_size, config.journal_records) = (50, 200);
            }
            config.buffer_overflow_policy = policy;
            config.rate_limit = 10_000;
        });
        bench.serve();
        for number in (0..700).step_by(10) {
            bench.send((number..number + 10).map(event).collect());
            bench.outage(Duration::from_millis(100));
            let ledger = bench.agent.stats().records.events;
            assert!(ledger.pending <= 260, "{ledger:?}");
        }
        let ledger = bench.agent.stats().records.events;
        assert_eq!(ledger.pending + ledger.dropped[DropReason::Overflow], 700);
        assert!((200..=260).contains(&ledger.pending), "{ledger:?}");
        let batches = bench.deliver(600 * SECOND);
        let rest = sorted(&batches);
        let inside = rest.iter().filter(|number| kept.contains(*number)).count();
        assert!(inside * 10 >= rest.len() * 7, "{policy:?} {by_bytes}: {rest:?}");
        assert_eq!(bench.store.blocks(), 0);
    }
}

#[test]
fn memory_is_bounded_while_what_is_beyond_the_quota_is_read_and_given_up() {
    let mut bench = Bench::journaled(|config| {
        config.buffer_size = 8;
        config.journal_records = 8;
        config.drain = DrainOrder::Fifo;
    });
    bench.serve();
    for number in 0..20 {
        bench.send(vec![event(number)]);
        bench.outage(Duration::from_millis(100));
    }
    // The lease is being renewed while memory fills with what is not durable.
    bench.jump(LEASE / 8);
    bench.send((20..40).map(event).collect());
    while let Some(request) = bench.stores.pop() {
        let result = bench.store.execute_at(request.clone(), bench.now.instant);
        bench.input(Input::StoreReply { id: request.id, result });
        let ledger = bench.agent.stats().records.events;
        assert!(ledger.in_memory <= 8, "{ledger:?}");
    }
}

#[test]
fn durability_is_told_once() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.send(vec![event(1).with_receipt(ReceiptId::from_u64(71))]);
    bench.serve();
    bench.store = MemoryStore::new();
    bench.send(vec![event(2).with_receipt(ReceiptId::from_u64(72))]);
    bench.pass_served(SECOND);
    assert_eq!(bench.agent.stats().records.events.persisted, 2, "it was appended again");
    assert_eq!(bench.receipts(), [(71, Outcome::Durable), (72, Outcome::Durable)]);
}

#[test]
fn what_is_durable_makes_room_for_what_is_not() {
    let mut bench = Bench::journaled(|config| {
        config.buffer_size = 40;
        config.max_concurrent_flushes = 1;
    });
    bench.serve();
    // A batch is on its way, and what comes meanwhile is more than the next one may hold.
    bench.events(1);
    bench.pass_served(SECOND);
    bench.send((1..15).map(event).collect());
    bench.pass_served(SECOND);
    bench.send((15..26).map(event).collect());
    bench.jump(SECOND);
    assert_eq!(bench.agent.stats().records.events.persisted, 15);
    // The store is slow, and memory is full: of what is durable already, some is left to the store.
    bench.send((26..50).map(event).collect());
    let ledger = bench.agent.stats().records.events;
    assert_eq!((ledger.dropped.total(), ledger.pending), (0, 50));
    assert!(ledger.in_memory <= 40, "{ledger:?}");
    bench.deliver(60 * SECOND);
    assert_eq!(bench.agent.stats().records.events.delivered, 50);
}

#[test]
fn what_was_refused_and_is_durable_makes_room_for_what_is_not() {
    let mut bench = Bench::journaled(|config| config.buffer_size = 16);
    bench.serve();
    bench.events(4);
    bench.run(60 * SECOND, Some(422), |_| None);
    bench.send((4..19).map(event).collect());
    let ledger = bench.agent.stats().records.events;
    assert_eq!((ledger.pending, ledger.dropped.total()), (19, 0), "{ledger:?}");
    assert_eq!(sorted(&bench.deliver(1_200 * SECOND)), (0..19).collect::<Vec<_>>());
}

#[test]
fn what_waits_too_long_expires_wherever_it_waits() {
    let mut bench = Bench::journaled(|config| {
        config.buffer_size = 50;
        config.max_record_age = Some(60 * SECOND);
    });
    bench.serve();
    for number in (0..300).step_by(10) {
        bench.send((number..number + 10).map(event).collect());
        bench.outage(Duration::from_millis(100));
    }
    bench.outage(30 * SECOND);
    assert_eq!(bench.agent.stats().records.events.dropped.total(), 0);
    bench.outage(60 * SECOND);
    let ledger = bench.agent.stats().records.events;
    // A batch that was sent is not changed.
    assert!(
        ledger.dropped[DropReason::Expired] + ledger.pending == 300 && ledger.pending <= 50,
        "{ledger:?}"
    );
    // Records of a dead agent expire too.
    let mut bench = backlog(DrainOrder::LiveFirst, 100).successor(7, |config| {
        config.max_record_age = Some(60 * SECOND);
    });
    bench.jump(60 * SECOND);
    bench.outage(60 * SECOND);
    let ledger = bench.agent.stats().records.events;
    assert!(ledger.recovered > 0 && ledger.dropped[DropReason::Expired] > 0, "{ledger:?}");
}

#[test]
fn an_agent_that_was_away_too_long_starts_anew() {
    let mut bench = backlog(DrainOrder::LiveFirst, 1_000);
    bench.be_adopted();
    bench.events(0);
    bench.jump(1_000 * SECOND);
    bench.send((1_000..1_003).map(event).collect());
    bench.outage(SECOND);
    let ledger = bench.agent.stats().records.events;
    assert!(ledger.handed_over >= 900, "{ledger:?}");
    assert_eq!(ledger.handed_over + ledger.pending, 1_003);
    assert_eq!(ledger.dropped.total(), 0);
    assert_eq!(bench.errors("another agent adopted the journal"), 1);
    let batches = bench.deliver(120 * SECOND);
    assert!(flat(&batches).starts_with(&[1_000, 1_001, 1_002]), "{batches:?}");
    // The other one is gone as well by now, so that the rest comes back.
    assert_eq!(sorted(&batches), (0..1_003).collect::<Vec<_>>());
}

#[test]
fn who_is_robbed_of_its_journal_sends_what_is_in_memory_and_counts_the_rest() {
    for (count, closes) in [(50, false), (1_000, false), (50, true)] {
        let mut bench = backlog(DrainOrder::LiveFirst, count);
        let before = bench.agent.stats().records.events;
        // A moment ago the lease was renewed: nobody adopts anything then.
        bench.be_adopted();
        bench.send(vec![event(count)]);
        if closes {
            bench.input(Input::Shutdown { deadline: bench.now.instant + 20 * SECOND });
            bench.outage(10 * SECOND);
            let report = bench.closed.unwrap();
            assert_eq!((report.pending.events, report.persisted.events), (51, 51), "{report:?}");
            let mut next = bench.successor(9, |_| {});
            assert_eq!(sorted(&next.deliver(60 * SECOND)), (0..=count).collect::<Vec<_>>());
            continue;
        }
        bench.outage(SECOND);
        let ledger = bench.agent.stats().records.events;
        let lost = ledger.dropped[DropReason::StoreLost];
        assert_eq!((ledger.handed_over, lost + ledger.pending), (0, count as u64 + 1), "{ledger:?}");
        // The new event may have taken the place of one that was in the journal, too.
        assert!((ledger.in_memory, ledger.pending) == (ledger.pending, ledger.persisted), "{ledger:?}");
        assert!(before.in_memory <= ledger.pending && ledger.pending <= before.in_memory + 1);
        assert_eq!(bench.errors("who cannot have adopted it"), 1);
        let sent = flat(&bench.deliver(60 * SECOND));
        assert_eq!(sent.len() as u64, ledger.pending);
        assert_eq!(bench.agent.stats().records.events.delivered, ledger.pending);
    }
}

/// Somebody kept the store busy for longer than nobody adopts anything, and said then that he did.
#[test]
fn who_may_have_been_robbed_while_the_store_failed_sends_the_events_in_memory() {
    for count in [50, 1_000] {
        let mut bench = backlog(DrainOrder::LiveFirst, count);
        let metric = record(Kind::Metric, 5_000, false);
        bench.send(vec![metric]);
        bench.outage(SECOND);
        bench.run(LEASE / 2, None, |_| Some(StoreErrorKind::TimedOut));
        let before = bench.agent.stats().records.events;
        bench.be_adopted();
        bench.outage(20 * SECOND);
        assert_eq!(bench.errors("the store failed for a while and says now"), 1);
        let stats = bench.agent.stats();
        let ledger = stats.records.events;
        let stored = before.pending - before.in_memory;
        assert_eq!((ledger.handed_over, ledger.dropped.total()), (stored, 0), "{ledger:?}");
        assert_eq!((ledger.pending, ledger.persisted), (before.in_memory, before.in_memory), "{ledger:?}");
        assert_eq!(stats.records.metrics.handed_over, 1, "it has no key");
        bench.store = MemoryStore::new();
        let sent = flat(&bench.deliver(60 * SECOND));
        assert_eq!(sent.len() as u64, before.in_memory);
    }
}

#[test]
fn who_finds_somebody_else_in_its_journal_sends_what_is_in_memory() {
    let mut bench = backlog(DrainOrder::LiveFirst, 50);
    bench.send(vec![event(50)]);
    bench.jump(Duration::from_millis(50));
    let request = bench.stores.pop().unwrap();
    let last = crate::ByKind { events: Seq::from_u64(999_999), metrics: Seq::from_u64(0) };
    bench.input(Input::StoreReply { id: request.id, result: Ok(StoreAnswer::Diverged { last }) });
    assert_eq!(bench.errors("somebody else wrote into the journal"), 1);
    // Whoever wrote there deletes what is left.
    bench.store = MemoryStore::new();
    assert_eq!(sorted(&bench.deliver(60 * SECOND)), (0..=50).collect::<Vec<_>>());
    let ledger = bench.agent.stats().records.events;
    assert_eq!((ledger.delivered, ledger.handed_over, ledger.pending), (51, 0, 0));
}

#[test]
fn who_is_robbed_of_what_it_adopted_sends_what_is_in_memory() {
    let mut bench = Bench::journaled(|_| {});
    bench.leave_orphan(1, 5);
    bench.outage(2 * LEASE);
    let ledger = bench.agent.stats().records.events;
    assert_eq!((ledger.recovered, ledger.in_memory), (5, 5));
    bench.be_adopted();
    bench.outage(LEASE / 8);
    assert_eq!(bench.errors("who cannot have adopted it"), 1);
    assert_eq!(sorted(&bench.deliver(60 * SECOND)), (0..5).collect::<Vec<_>>());
    let ledger = bench.agent.stats().records.events;
    assert_eq!((ledger.delivered, ledger.handed_over, ledger.pending), (5, 0, 0));
}

/// Its monotonic clock stands still while a machine sleeps.
#[test]
fn who_slept_without_noticing_believes_that_it_was_adopted() {
    let mut bench = backlog(DrainOrder::LiveFirst, 50);
    bench.be_adopted();
    let wall = bench.now.wall.as_unix_micros() + 60_000_000;
    bench.now.wall = crate::Timestamp::from_unix_micros(wall);
    bench.send(vec![event(50)]);
    bench.outage(SECOND);
    assert_eq!(bench.agent.stats().records.events.handed_over, 50);
}

/// Whether the operation that was out when it fell asleep failed, or was done before another agent adopted the journal.
#[test]
fn who_slept_past_its_lease_asks_before_it_sends_however_the_last_operation_ended() {
    for failed in [true, false] {
        let mut bench = Bench::journaled(|_| {});
        bench.serve();
        bench.events(3);
        bench.outage(SECOND);
        while bench.stores.is_empty() {
            bench.jump(SECOND);
            bench.requests.clear();
        }
        let request = bench.stores.pop().unwrap();
        let done = bench.store.execute_at(request.clone(), bench.now.instant);
        let lost = Err(StoreError::new(StoreErrorKind::TimedOut, "lost"));
        bench.be_adopted();
        bench.jump(1_000 * SECOND);
        bench.input(Input::StoreReply { id: request.id, result: if failed { lost } else { done } });
        assert!(bench.requests.iter().all(|request| !matches!(request.payload, Payload::Batch(_))));
        bench.serve();
        assert_eq!(bench.agent.stats().records.events.handed_over, 3);
    }
}

#[test]
fn a_store_that_is_slower_than_the_lease_holds_up_no_delivery() {
    let mut bench = Bench::journaled(|config| config.journal_lease = 5 * SECOND);
    bench.serve();
    bench.events(3);
    for _ in 0..4 {
        let request = bench.stores.pop().unwrap();
        let result = bench.store.execute_at(request.clone(), bench.now.instant);
        bench.pass(3 * SECOND);
        bench.input(Input::StoreReply { id: request.id, result });
    }
    assert!(bench.requests.iter().any(|request| matches!(request.payload, Payload::Batch(_))));
    let down = HealthReason::JournalDown { why: StoreErrorKind::TimedOut, store: None };
    assert!(bench.agent.health().reasons.contains(&down));
}

#[test]
fn who_waits_for_a_record_hears_that_it_was_handed_over() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.send(vec![event(1).with_receipt(ReceiptId::from_u64(71))]);
    bench.serve();
    bench.be_adopted();
    bench.jump(1_000 * SECOND);
    bench.serve();
    assert_eq!(bench.receipts(), [(71, Outcome::Durable), (71, Outcome::HandedOver)]);
}

#[test]
fn what_the_store_lost_is_appended_again_or_counted() {
    let mut bench = backlog(DrainOrder::LiveFirst, 1_000);
    bench.store = MemoryStore::new();
    bench.send(vec![event(1_000)]);
    bench.outage(5 * SECOND);
    assert!(bench.errors("the store lost what it had acknowledged") > 0);
    let batches = bench.deliver(60 * SECOND);
    let ledger = bench.agent.stats().records.events;
    assert!(ledger.dropped[DropReason::StoreLost] > 800, "{ledger:?}");
    assert_eq!(ledger.delivered + ledger.dropped[DropReason::StoreLost], 1_001);
    assert_eq!(flat(&batches).len() as u64, ledger.delivered);
    assert_eq!(bench.store.blocks(), 0);
}

#[test]
fn what_was_removed_and_is_back_is_removed_again() {
    let mut bench = backlog(DrainOrder::LiveFirst, 300);
    let before = bench.store.clone();
    let mut batches = bench.deliver(5 * SECOND);
    let delivered = bench.agent.stats().records.events.delivered;
    assert!((10..290).contains(&delivered), "{delivered}");
    // Another server takes over, which has not heard of the last changes.
    bench.store = before;
    batches.extend(bench.deliver(600 * SECOND));
    assert_eq!(sorted(&batches), (0..300).collect::<Vec<_>>(), "each once");
    bench.pass_served(LEASE);
    assert_eq!((bench.store.streams(), bench.store.blocks()), (0, 0));
}

#[test]
fn what_is_left_to_the_store_during_a_read_is_read_again() {
    let mut bench = backlog(DrainOrder::LiveFirst, 300);
    let mut sent = 300;
    let mut batches = Vec::new();
    for _ in 0..100 {
        while let Some(request) = bench.stores.pop() {
            let result = bench.store.execute_at(request.clone(), bench.now.instant);
            if sent < 600 && matches!(request.op, StoreOp::Read { .. }) {
                // Memory fills meanwhile.
                bench.send((sent..sent + 35).map(event).collect());
                sent += 35;
            }
            bench.input(Input::StoreReply { id: request.id, result });
        }
        for request in core::mem::take(&mut bench.requests) {
            if let Payload::Batch(batch) = &request.payload {
                batches.push(numbers(batch));
            }
            bench.answer(&request, 200);
        }
        bench.jump(Duration::from_millis(100));
    }
    batches.extend(bench.deliver(600 * SECOND));
    assert_eq!(bench.agent.stats().records.events.dropped.total(), 0);
    assert_eq!(sorted(&batches), (0..sent).collect::<Vec<_>>());
}

#[test]
fn a_shutdown_in_an_outage_hands_over_at_once() {
    let mut bench = backlog(DrainOrder::LiveFirst, 1_000);
    let started = bench.now.instant;
    bench.shutdown(60);
    while bench.closed.is_none() {
        bench.outage(Duration::from_millis(10));
    }
    assert!(bench.now.instant.since(started) < 2 * SECOND);
    let Report { pending, persisted, .. } = bench.closed.unwrap();
    assert_eq!((pending.events, persisted.events), (1_000, 1_000));
    assert!(bench.closed.unwrap().is_secured());
    let mut next = bench.successor(7, |config| config.rate_limit = 10_000);
    let batches = next.deliver(60 * SECOND);
    assert_eq!(sorted(&batches), (0..1_000).collect::<Vec<_>>());
    assert_eq!(next.agent.stats().records.events.recovered, 1_000);
    next.pass_served(LEASE);
    assert_eq!((next.store.streams(), next.store.blocks()), (0, 0));
}

#[test]
fn a_shutdown_leaves_to_others_what_it_adopted_and_did_not_deliver_and_nothing_else() {
    // Memory holds 100 records. That nothing comes after the last ones is not known when they are delivered.
    for delivered in [900, 500] {
        let mut next = backlog(DrainOrder::LiveFirst, 1_000).successor(7, |config| {
            config.buffer_size = 100;
            config.rate_limit = 10_000;
        });
        let mut batches = Vec::new();
        next.serve();
        while next.agent.stats().records.events.delivered < delivered {
            let Some(request) = next.requests.pop() else {
                next.jump(next.idle.0.since(next.now.instant));
                next.serve();
                continue;
            };
            if let Payload::Batch(batch) = &request.payload {
                batches.push(numbers(batch));
            }
            next.answer(&request, 200);
            next.serve();
        }
        next.shutdown(10);
        batches.extend(next.deliver(SECOND));
        assert!(next.closed.unwrap().is_complete(), "{:?}", next.closed);
        assert_eq!(next.store.streams(), usize::from(delivered < 900));

        let mut last = next.successor(8, |config| config.rate_limit = 10_000);
        batches.extend(last.deliver(60 * SECOND));
        assert_eq!(sorted(&batches), (0..1_000).collect::<Vec<_>>(), "each once");
        last.pass_served(LEASE);
        assert_eq!((last.store.streams(), last.store.blocks()), (0, 0));
    }
}

#[test]
fn a_shutdown_with_nothing_left_leaves_nothing_behind() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(3);
    bench.serve();
    bench.shutdown(10);
    bench.deliver(SECOND);
    assert!(bench.closed.unwrap().is_complete());
    assert_eq!((bench.store.streams(), bench.store.blocks()), (0, 0));
}

#[test]
fn a_record_that_arrives_after_its_stream_was_given_up_is_not_persisted_any_more() {
    let mut bench = Bench::journaled(|_| {});
    bench.leave_orphan(1, 3);
    bench.pass_served(LEASE);
    bench.requests.clear();
    bench.events(3);
    bench.pass_served(SECOND);
    let request = bench.take_request();
    bench.shutdown(10);
    bench.serve();
    bench.jump(10 * SECOND - Duration::from_millis(400));
    bench.serve();
    let status = bench.take_request();
    bench.answer(&status, 200);
    let mut given_up = false;
    while !given_up {
        let request = bench.stores.pop().unwrap();
        given_up = matches!(request.op, StoreOp::Close { keep: true, .. });
        let result = bench.store.execute_at(request.clone(), bench.now.instant);
        bench.input(Input::StoreReply { id: request.id, result });
    }
    assert!(bench.closed.is_none(), "another stream is still to be given up");
    let persisted = bench.agent.stats().records.events.persisted;
    bench.answer(&request, 200);
    let Payload::Batch(batch) = &request.payload else { panic!("{request:?}") };
    assert_eq!(bench.agent.stats().records.events.persisted, persisted - batch.len() as u64);
}

#[test]
fn a_shutdown_waits_for_an_answer_about_a_lease() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(1);
    bench.deliver(SECOND);
    // The store takes longer than the lease lasts.
    bench.pass(LEASE / 2);
    assert_eq!(bench.stores.len(), 1);
    bench.events(3);
    bench.shutdown(60);
    assert!(bench.requests.is_empty(), "not the last status either: {:?}", bench.requests);
    assert_eq!(sorted(&bench.deliver(10 * SECOND)), [0, 1, 2]);
    assert!(bench.closed.unwrap().is_complete(), "{:?}", bench.closed);
}

#[test]
fn a_shutdown_keeps_what_an_append_without_an_answer_may_have_written() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(2);
    bench.lose_an_answer();
    bench.shutdown(10);
    // Nothing is to be won by waiting for this platform.
    bench.run(11 * SECOND, Some(401), |op| {
        matches!(op, StoreOp::Write(_)).then_some(StoreErrorKind::TimedOut)
    });
    assert_eq!(bench.closed.unwrap().pending.events, 2);
    let mut next = bench.successor(7, |_| {});
    assert_eq!(next.deliver(2 * LEASE), [[0, 1]]);
}

#[test]
fn a_shutdown_waits_for_seals() {
    let mut bench = Bench::journaled(|config| {
        config.batch_max_records = 2;
        config.drain = DrainOrder::Fifo;
    });
    bench.serve();
    bench.send((0..6).map(|n| record(Kind::Metric, n, false)).collect());
    bench.serve();
    bench.shutdown(60);
    assert_eq!(sorted(&bench.deliver(10 * SECOND)), [0, 1, 2, 3, 4, 5]);
    assert!(bench.closed.unwrap().is_complete(), "{:?}", bench.closed);
}

#[test]
fn a_wish_for_durability_is_granted_at_once() {
    let mut bench = Bench::journaled(|_| {});
    bench.serve();
    bench.events(1);
    bench.serve();
    bench.events(2);
    assert!(bench.stores.is_empty());
    let id = FlushId::from_u64(3);
    bench.input(Input::Persist { id, deadline: bench.now.instant + SECOND });
    bench.serve();
    let flushed = bench.events.iter().find_map(|event| match event {
        AgentEvent::Flushed { report, .. } => Some(*report),
        _ => None,
    });
    let report = flushed.unwrap();
    assert_eq!((report.pending.events, report.persisted.events), (3, 3));
    assert!(report.is_secured() && !report.is_complete());
}

#[test]
fn a_flush_waits_for_what_only_the_journal_holds() {
    let mut bench = backlog(DrainOrder::LiveFirst, 300);
    let id = FlushId::from_u64(3);
    bench.input(Input::Flush { id, deadline: bench.now.instant + 600 * SECOND });
    let flushed =
        |bench: &Bench| bench.events.iter().any(|event| matches!(event, AgentEvent::Flushed { .. }));
    while !flushed(&bench) {
        let delivered = bench.agent.stats().records.events.delivered;
        bench.deliver(Duration::from_millis(10));
        assert!(delivered < 300, "it ends with the last one");
    }
    assert_eq!(bench.agent.stats().records.events.delivered, 300);
}

#[test]
fn damaged_entries_are_skipped_counted_and_told() {
    let mut dead = Bench::journaled(|_| {});
    dead.serve();
    dead.events(3);
    let mut request = dead.stores.pop().unwrap();
    if let StoreOp::Write(write) = &mut request.op {
        let block = &mut write.logs.events.append[0];
        let mut bytes = block.bytes.to_vec();
        bytes[9] ^= 1;
        block.bytes = bytes.into();
    }
    dead.store.execute_at(request, dead.now.instant).unwrap();
    let mut bench = dead.successor(7, |_| {});
    bench.deliver(2 * LEASE);
    assert_eq!(bench.agent.stats().corrupt_entries, 1);
    assert_eq!(bench.errors("1 damaged or foreign entries were skipped"), 1);
    assert_eq!((bench.store.streams(), bench.store.blocks()), (0, 0));
}

/// What somebody put in the place of records that were journaled.
const FORGED: [&str; 4] = [r#"{}],"project_id":"x","events":[{}"#, "{}{}", "[]", ""];

#[test]
fn what_is_no_record_is_not_taken_back_from_a_journal_but_counted_and_told() {
    let key = crate::Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    for key in [None, Some(key)] {
        let adjust = |config: &mut AgentConfig| config.project_encryption_key = key.clone();
        let mut dead = Bench::journaled(adjust);
        dead.serve();
        let forged = |json: &str| Record::new(Kind::Event, false, json.as_bytes().into());
        dead.send(FORGED.map(forged).into_iter().chain((0..3).map(event)).collect());
        dead.serve();
        // Some of them in a batch that was noted.
        dead.pass_served(SECOND);
        dead.send(FORGED.map(forged).into_iter().chain((3..6).map(event)).collect());
        dead.pass_served(SECOND);
        let mut bench = dead.successor(7, adjust);
        let batches = bench.deliver(2 * LEASE);
        assert_eq!(sorted(&batches), (0..6).collect::<Vec<_>>());
        let stats = bench.agent.stats();
        let ledger = &stats.records.events;
        assert_eq!((ledger.recovered, ledger.delivered, ledger.pending), (6, 6, 0));
        // None of them ever was a record of ours that could be lost.
        assert_eq!((ledger.dropped[DropReason::StoreLost], stats.corrupt_entries), (0, 8));
        assert_eq!(bench.errors("damaged or foreign entries were skipped"), 1);
        assert_eq!((bench.store.streams(), bench.store.blocks()), (0, 0));
    }
}

#[test]
fn agents_with_other_keys_leave_each_other_alone() {
    let mut dead = Bench::journaled(|_| {});
    dead.serve();
    dead.events(3);
    dead.serve();
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let encrypt = |config: &mut AgentConfig| config.project_encryption_key = Some(crate::Secret::new(key));
    let mut bench = dead.successor(7, encrypt);
    bench.deliver(4 * LEASE);
    assert_eq!((bench.agent.stats().adopted_journals, bench.store.blocks()), (0, 1));
    assert_eq!(bench.errors("1 journals of other versions"), 1);
    // Its own kind adopts.
    bench.events(2);
    bench.serve();
    assert_eq!(bench.store.blocks(), 2);
    let mut next = bench.successor(9, encrypt);
    next.deliver(2 * LEASE);
    assert_eq!((next.agent.stats().records.events.delivered, next.store.blocks()), (2, 1));
}

#[test]
fn ids_and_keys_stay_what_they_are() {
    let stream = StreamId::new(Space::new(7), 0xc0ffee);
    assert_eq!(alloc::format!("{stream}"), "v2-00000007-0000000000c0ffee");
    assert_eq!("v2-00000007-0000000000c0ffee".parse(), Ok(stream));
    for foreign in ["v1-00000007-0000000000c0ffee", "v2-7-c0ffee", "v2-00000007-0000000000C0FFEE", ""] {
        assert!(foreign.parse::<StreamId>().is_err(), "{foreign}");
    }
    assert_eq!(key(1).len(), 36);
    assert_eq!(alloc::format!("{}", BatchId::new(5, 1)), "5-00000001");
}

/// Whoever waits for room gets it, although nothing is delivered.
#[test]
fn there_is_room_for_new_records_as_long_as_the_journal_takes_more() {
    let mut bench = Bench::journaled(|config| config.buffer_size = 100);
    bench.serve();
    let mut sent = 0;
    for _ in 0..100 {
        let room = 100 - bench.agent.stats().records.events.in_memory as usize;
        bench.send((sent..sent + room).map(event).collect());
        sent += room;
        bench.outage(Duration::from_millis(100));
    }
    assert!(sent > 2_000, "{sent}");
    assert_eq!(bench.agent.stats().records.events.pending, sent as u64);
}

#[test]
fn what_was_delivered_first_does_not_hurry_the_journal() {
    // Batches of ten leave at once.
    let mut bench = Bench::journaled(|config| {
        config.rate_limit = 100_000;
        config.batch_max_records = 10;
    });
    bench.serve();
    let mut writes = 0;
    for step in 0..1_500 {
        bench.jump(Duration::from_millis(10));
        bench.events(25);
        while let Some(request) = bench.stores.pop() {
            writes += u32::from(step >= 1_400 && matches!(request.op, StoreOp::Write(_)));
            let result = bench.store.execute_at(request.clone(), bench.now.instant);
            bench.input(Input::StoreReply { id: request.id, result });
        }
        for request in core::mem::take(&mut bench.requests) {
            bench.answer(&request, 200);
        }
    }
    assert!((10..=20).contains(&writes), "{writes} changes in a second");
}

#[test]
fn what_was_in_flight_when_another_adopted_it_is_theirs_unless_it_arrives() {
    for arrives in [false, true] {
        let mut bench = Bench::journaled(|_| {});
        bench.serve();
        bench.events(3);
        bench.pass_served(SECOND);
        let (request, _) = bench.take_batch();
        bench.be_adopted();
        bench.jump(LEASE / 4);
        bench.pass_served(SECOND);
        assert_eq!(bench.errors("another agent adopted the journal"), 1);
        let before = bench.agent.stats().records.events;
        assert_eq!((before.pending, before.handed_over), (3, 0), "nobody knows yet");
        if arrives {
            bench.answer(&request, 200);
        } else {
            bench.fail(&request);
        }
        let after = bench.agent.stats().records.events;
        assert_eq!((after.pending, after.delivered), (0, if arrives { 3 } else { 0 }));
        assert_eq!(after.handed_over, if arrives { 0 } else { 3 });
    }
}

#[test]
fn one_append_takes_half_a_mebibyte_and_the_rest_follows() {
    let mut bench = Bench::journaled(|config| config.buffer_bytes = 64 << 20);
    bench.serve();
    let json = |number| format!(r#"{{"idempotency_key":"{}","x":"{}"}}"#, key(number), "x".repeat(100_000));
    bench.send((0..20).map(|n| Record::new(Kind::Event, false, json(n).into_bytes().into())).collect());
    let mut appended = Vec::new();
    while let Some(request) = bench.stores.pop() {
        if let StoreOp::Write(write) = &request.op {
            let bytes = write.logs.events.append.iter().map(|block| block.bytes.len()).sum::<usize>();
            appended.extend((bytes > 0).then_some(bytes));
        }
        let result = bench.store.execute_at(request.clone(), bench.now.instant);
        bench.input(Input::StoreReply { id: request.id, result });
        bench.jump(Duration::from_millis(60));
    }
    assert!(appended.iter().all(|bytes| *bytes < 640 << 10), "{appended:?}");
    assert!(appended[0] > 500_000, "{appended:?}");
    assert_eq!(bench.agent.stats().records.events.persisted, 20);
}

#[test]
fn a_shutdown_delivers_what_only_the_journal_holds() {
    let mut bench = backlog(DrainOrder::LiveFirst, 1_000);
    while bench.agent.stats().records.events.delivered == 0 {
        bench.deliver(Duration::from_millis(10));
    }
    bench.shutdown(600);
    bench.deliver(600 * SECOND);
    assert!(bench.closed.unwrap().is_complete(), "{:?}", bench.closed);
    assert_eq!(bench.agent.stats().records.events.delivered, 1_000);
}

#[test]
fn a_store_that_lost_something_settles_nothing_that_is_still_in_memory() {
    let mut bench = backlog(DrainOrder::LiveFirst, 300);
    bench.send(vec![event(300).with_receipt(ReceiptId::from_u64(71))]);
    bench.store = MemoryStore::new();
    bench.outage(5 * SECOND);
    bench.deliver(60 * SECOND);
    assert!(bench.agent.stats().records.events.dropped[DropReason::StoreLost] > 0);
    assert_eq!(bench.receipts(), [(71, Outcome::Durable), (71, Outcome::Delivered)]);
}

#[test]
fn answers_of_a_store_that_nobody_asked_for_are_counted() {
    for journal in [false, true] {
        let mut bench = Bench::with_journal(journal, |_| {});
        for strays in 1..=2 {
            bench.input(Input::StoreReply { id: StoreOpId::from_u64(99), result: Ok(StoreAnswer::Done) });
            assert_eq!(bench.agent.stats().stray_replies, strays);
        }
    }
}
