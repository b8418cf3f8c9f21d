use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Bench, SECOND, numbers};
use crate::{
    AgentEvent, DropReason, HealthReason, Input, Kind, Outcome, ReceiptId, Seq, StoreAnswer, StoreEntry,
    StoreError, StoreErrorKind, StoreOp, StoreRequest, StreamId,
};

fn bench() -> Bench {
    let mut bench = Bench::with_journal(true, |_| {});
    let list = take_op(&mut bench);
    assert_eq!(list.op, StoreOp::ListOrphans);
    reply(&mut bench, &list, StoreAnswer::Orphans(vec![]));
    bench
}

fn take_op(bench: &mut Bench) -> StoreRequest {
    assert_eq!(bench.stores.len(), 1, "{:?}", bench.stores);
    bench.stores.remove(0)
}

fn reply(bench: &mut Bench, request: &StoreRequest, answer: StoreAnswer) {
    bench.input(Input::StoreReply { id: request.id, result: Ok(answer) });
}

fn refuse(bench: &mut Bench, request: &StoreRequest) {
    let error = StoreError { kind: StoreErrorKind::Unavailable, message: "down".into() };
    bench.input(Input::StoreReply { id: request.id, result: Err(error) });
}

fn seqs(request: &StoreRequest) -> Vec<u64> {
    match &request.op {
        StoreOp::Append { entries, .. } => entries.iter().map(|entry| entry.seq.as_u64()).collect(),
        StoreOp::Remove { seqs, .. } => seqs.iter().map(|seq| seq.as_u64()).collect(),
        op => panic!("{op:?}"),
    }
}

#[test]
fn records_are_appended_acknowledged_and_removed_after_delivery() {
    let mut bench = bench();
    bench.events(3);
    let append = take_op(&mut bench);
    assert_eq!(seqs(&append), [1, 2, 3]);
    assert_eq!(bench.agent.stats().records.events.persisted, 0);
    reply(&mut bench, &append, StoreAnswer::Done);
    assert_eq!(bench.agent.stats().records.events.persisted, 3);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.answer(&request, 200);
    let remove = take_op(&mut bench);
    assert_eq!(seqs(&remove), [1, 2, 3]);
    reply(&mut bench, &remove, StoreAnswer::Done);
    bench.pass(SECOND);
    assert!(bench.stores.is_empty());
}

#[test]
fn who_asks_for_a_receipt_hears_of_durability_delivery_and_loss() {
    let receipts = |bench: &mut Bench| -> Vec<(u64, Outcome)> {
        let told = core::mem::take(&mut bench.events).into_iter().filter_map(|event| match event {
            AgentEvent::Receipt { id, outcome } => Some((id.as_u64(), outcome)),
            _ => None,
        });
        told.collect()
    };
    let mut bench = bench();
    bench.send(vec![super::event(1).with_receipt(ReceiptId::from_u64(71)), super::event(2)]);
    let append = take_op(&mut bench);
    assert!(receipts(&mut bench).is_empty());
    reply(&mut bench, &append, StoreAnswer::Done);
    assert_eq!(receipts(&mut bench), [(71, Outcome::Durable)]);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.answer(&request, 200);
    assert_eq!(receipts(&mut bench), [(71, Outcome::Delivered)]);
    bench.send(vec![super::event(3).with_receipt(ReceiptId::from_u64(72))]);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.answer(&request, 413);
    assert_eq!(receipts(&mut bench), [(72, Outcome::Dropped(DropReason::TooLarge))]);
}

#[test]
fn appends_are_group_commits() {
    let mut bench = bench();
    bench.events(1);
    let first = take_op(&mut bench);
    for _ in 0..10 {
        bench.events(1);
    }
    assert!(bench.stores.is_empty(), "one append is outstanding at a time");
    reply(&mut bench, &first, StoreAnswer::Done);
    assert!(bench.stores.is_empty(), "the next one waits for company");
    bench.pass(Duration::from_millis(50));
    assert_eq!(seqs(&take_op(&mut bench)).len(), 10);
}

#[test]
fn a_store_that_fails_neither_stops_delivery_nor_is_forgotten() {
    let mut bench = bench();
    bench.events(2);
    let append = take_op(&mut bench);
    refuse(&mut bench, &append);
    assert_eq!(bench.agent.health().reasons, [HealthReason::JournalDown]);
    bench.pass(Duration::from_millis(60));
    let request = bench.take_request();
    bench.events(1);
    bench.pass(SECOND);
    let again = take_op(&mut bench);
    assert_eq!(seqs(&again), [1, 2, 3], "what is undelivered is appended again");
    bench.answer(&request, 200);
    reply(&mut bench, &again, StoreAnswer::Done);
    assert!(bench.agent.health().reasons.is_empty());
    assert_eq!(bench.agent.stats().records.events.persisted, 1);
    bench.pass(Duration::from_millis(50));
    assert_eq!(seqs(&take_op(&mut bench)), [1, 2], "delivered while the append was under way");
}

#[test]
fn a_delivered_record_that_was_never_appended_needs_no_store() {
    let mut bench = bench();
    bench.events(1);
    let first = take_op(&mut bench);
    bench.events(1);
    bench.pass(Duration::from_millis(60));
    let request = bench.take_request();
    bench.answer(&request, 200);
    reply(&mut bench, &first, StoreAnswer::Done);
    bench.pass(SECOND);
    assert_eq!(seqs(&take_op(&mut bench)), [1]);
}

#[test]
fn an_earlier_run_is_adopted_read_delivered_and_removed() {
    let mut bench = Bench::with_journal(true, |_| {});
    let list = take_op(&mut bench);
    let orphan = StreamId::from_u64(99);
    reply(&mut bench, &list, StoreAnswer::Orphans(vec![orphan]));
    let adopt = take_op(&mut bench);
    assert_eq!(adopt.op, StoreOp::Adopt { stream: orphan });
    reply(&mut bench, &adopt, StoreAnswer::Done);
    let read = take_op(&mut bench);
    let entry = |seq| StoreEntry {
        seq: Seq::from_u64(seq),
        kind: Kind::Event,
        attack: false,
        json: super::event(seq as usize).json().into(),
    };
    let last = Some(Seq::from_u64(9));
    reply(&mut bench, &read, StoreAnswer::Entries { entries: vec![entry(4), entry(9)], last, skipped: 1 });
    let read = take_op(&mut bench);
    assert!(matches!(read.op, StoreOp::Read { after: Some(after), .. } if after == Seq::from_u64(9)));
    reply(&mut bench, &read, StoreAnswer::Entries { entries: vec![], last: None, skipped: 0 });
    let stats = bench.agent.stats();
    assert_eq!((stats.records.events.recovered, stats.records.events.persisted), (2, 2));
    assert_eq!(stats.corrupt_entries, 1);
    bench.pass(SECOND);
    let (request, batch) = bench.take_batch();
    assert_eq!(numbers(&batch), [4, 9]);
    bench.answer(&request, 200);
    let remove = take_op(&mut bench);
    assert_eq!(remove.op, StoreOp::Remove { stream: orphan, seqs: vec![Seq::from_u64(4), Seq::from_u64(9)] });
}

#[test]
fn an_orphan_that_somebody_else_adopted_is_left_alone() {
    let mut bench = Bench::with_journal(true, |_| {});
    let list = take_op(&mut bench);
    reply(&mut bench, &list, StoreAnswer::Orphans(vec![StreamId::from_u64(1)]));
    let adopt = take_op(&mut bench);
    let error = StoreError { kind: StoreErrorKind::Fenced, message: "taken".into() };
    bench.input(Input::StoreReply { id: adopt.id, result: Err(error) });
    bench.pass(29 * SECOND);
    assert!(bench.stores.is_empty());
    bench.pass(31 * SECOND);
    assert_eq!(take_op(&mut bench).op, StoreOp::ListOrphans, "the lease of a dead run outlives it");
}

#[test]
fn what_has_no_room_in_memory_is_read_again_later() {
    let mut bench = Bench::with_journal(true, |config| config.buffer_size = 2);
    let list = take_op(&mut bench);
    let orphan = StreamId::from_u64(99);
    reply(&mut bench, &list, StoreAnswer::Orphans(vec![orphan]));
    let adopt = take_op(&mut bench);
    reply(&mut bench, &adopt, StoreAnswer::Done);
    let read = take_op(&mut bench);
    let entry = |seq| StoreEntry {
        seq: Seq::from_u64(seq),
        kind: Kind::Event,
        attack: false,
        json: super::event(seq as usize).json().into(),
    };
    let entries = vec![entry(4), entry(6), entry(9)];
    let last = Some(Seq::from_u64(9));
    reply(&mut bench, &read, StoreAnswer::Entries { entries, last, skipped: 0 });
    assert_eq!(bench.agent.stats().records.events.recovered, 2);
    bench.pass(SECOND);
    let (request, batch) = bench.take_batch();
    assert_eq!(numbers(&batch), [4, 6]);
    bench.answer(&request, 200);
    let remove = take_op(&mut bench);
    reply(&mut bench, &remove, StoreAnswer::Done);
    let read = take_op(&mut bench);
    assert!(matches!(read.op, StoreOp::Read { after: Some(after), .. } if after == Seq::from_u64(6)));
}
