//! A flood of some event types keeps no other waiting, and crowds none out.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::{Bench, SECOND, key, numbers};
use crate::{AgentConfig, DrainOrder, DropReason, Instant, Kind, OverflowPolicy, Payload, Record, Request};

/// How long the platform takes to answer.
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// Numbers of the rare ones begin here.
const RARE: usize = 1_000_000;

fn typed(number: usize, event_type: &str) -> Record {
    let json = alloc::format!(
        r#"{{"idempotency_key":"{}","timestamp":"2026-01-02T03:04:05Z","event_type":"{event_type}"}}"#,
        key(number)
    );
    Record::new(Kind::Event, true, json.into_bytes().into())
}

/// Records of a flood of that many types.
fn flood(numbers: core::ops::Range<usize>, types: usize) -> Vec<Record> {
    numbers.map(|number| typed(number, &alloc::format!("flood_{}", number % types))).collect()
}

fn rare(number: usize) -> Record {
    typed(RARE + number, "penetration_attempt")
}

/// What of four events every 10 ms, many times what leaves, and one of a rare type every 1.1 s arrives, and when.
fn arrivals(types: usize, adjust: impl FnOnce(&mut AgentConfig)) -> (BTreeMap<usize, Duration>, Bench) {
    let mut bench = Bench::new(|config| {
        config.batch_max_records = 20;
        adjust(config);
    });
    let (mut sent_at, mut arrived) = (BTreeMap::<usize, Instant>::new(), BTreeMap::new());
    let mut out: Vec<(Instant, Request)> = vec![];
    for step in 0..6_000 {
        let mut records = flood(step * 4..step * 4 + 4, types);
        if step % 110 == 109 {
            records.insert(step % 5, rare(step));
            sent_at.insert(RARE + step, bench.now.instant);
        }
        sent_at.extend((step * 4..step * 4 + 4).map(|number| (number, bench.now.instant)));
        bench.send(records);
        bench.pass(Duration::from_millis(10));
        let now = bench.now.instant;
        out.extend(
            core::mem::take(&mut bench.requests).into_iter().map(|request| (now + ROUND_TRIP, request)),
        );
        while out.first().is_some_and(|(at, _)| *at <= now) {
            let (_, request) = out.remove(0);
            if let Payload::Batch(batch) = &request.payload {
                arrived
                    .extend(numbers(batch).into_iter().map(|number| (number, now.since(sent_at[&number]))));
            }
            bench.answer(&request, 200);
        }
    }
    (arrived, bench)
}

#[test]
fn a_flood_keeps_a_rare_type_waiting_for_a_slot_at_most() {
    for (types, buffer_size) in [(1, 65_536), (1, 200), (40, 65_536), (40, 1_000)] {
        let (arrived, bench) = arrivals(types, |config| {
            config.buffer_size = buffer_size;
            // Each type has a share of more than a record.
            config.batch_max_records = 20 + 2 * types;
        });
        let rare: Vec<_> = arrived.range(RARE..).map(|(_, delay)| *delay).collect();
        assert!(rare.len() >= 53, "{types} {buffer_size}: {}", rare.len());
        let slowest = rare.into_iter().max().unwrap();
        assert!(slowest <= Duration::from_millis(1_200), "{types} {buffer_size}: {slowest:?}");
        // The others leave all the same.
        let others = arrived.range(..RARE).count();
        assert!(others > 1_000, "{types} {buffer_size}: {others}");
        let ledger = bench.agent.stats().records.events;
        assert_eq!(ledger.dropped.total(), ledger.dropped[DropReason::Overflow]);
    }
}

#[test]
fn types_that_flood_share_what_leaves() {
    let (arrived, _) = arrivals(4, |config| config.buffer_size = 500);
    let mut got = [0_usize; 4];
    arrived.range(..RARE).for_each(|(number, _)| got[number % 4] += 1);
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(most - least <= most / 10, "{got:?}");
}

#[test]
fn strict_order_keeps_everybody_waiting() {
    let (arrived, _) = arrivals(1, |config| config.drain = DrainOrder::Fifo);
    let rare: Vec<_> = arrived.range(RARE..).map(|(number, _)| *number).collect();
    assert!(rare.len() < 10, "{rare:?}");
}

#[test]
fn the_largest_type_is_given_up_first_and_counted() {
    for (policy, kept) in [(OverflowPolicy::Drop, 94..100), (OverflowPolicy::Raise, 0..6)] {
        let mut bench = Bench::new(|config| {
            config.buffer_size = 10;
            config.buffer_overflow_policy = policy;
        });
        // One of the rare ones is older and one newer than all of the flood, and another type is smaller.
        let others = [200, 201].map(|number| typed(number, "access_denied"));
        let records = [vec![rare(0)], flood(0..50, 1), others.to_vec(), flood(50..100, 1), vec![rare(1)]];
        bench.send(records.concat());
        assert_eq!(bench.agent.stats().records.events.dropped[DropReason::Overflow], 94);
        let mut found = vec![];
        while bench.agent.stats().records.events.pending > 0 {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                if let Payload::Batch(batch) = &request.payload {
                    found.extend(numbers(batch));
                }
                bench.answer(&request, 200);
            }
        }
        found.sort_unstable();
        let others = [200, 201, RARE, RARE + 1];
        assert_eq!(found, kept.chain(others).collect::<Vec<_>>(), "{policy:?}");
    }
}

#[test]
fn a_full_memory_keeps_room_for_what_comes_while_a_batch_is_out() {
    let mut bench = Bench::new(|config| config.buffer_size = 100);
    bench.send(flood(0..200, 1));
    bench.pass(SECOND);
    let (request, batch) = bench.take_batch();
    assert_eq!(batch.len(), 75);
    bench.send(vec![rare(0)]);
    bench.send(flood(200..400, 1));
    bench.answer(&request, 200);
    bench.pass(SECOND);
    let (_, batch) = bench.take_batch();
    assert!(numbers(&batch).contains(&RARE));
}

/// An outage with a flood beyond memory, and another type that is rare: what came first of that one leaves first.
#[cfg(feature = "std")]
#[test]
fn a_flood_that_the_journal_holds_pushes_no_other_type_out_of_memory() {
    for (journal_records, dropped) in [(1 << 22, 0..=0), (200, 700..=920)] {
        let mut bench = Bench::journaled(|config| {
            config.buffer_size = 100;
            config.journal_records = journal_records;
        });
        bench.serve();
        for step in 0..40 {
            let rare = (step % 8 == 0).then(|| rare(step));
            bench.send(rare.into_iter().chain(flood(step * 25..step * 25 + 25, 1)).collect());
            bench.outage(Duration::from_millis(100));
            assert!(bench.agent.stats().records.events.in_memory <= 100);
        }
        let lost = bench.agent.stats().records.events.dropped;
        assert!(dropped.contains(&lost.total()) && lost.total() == lost[DropReason::Overflow], "{lost:?}");
        let first = bench.run(20 * SECOND, Some(200), |_| None).concat();
        let place = |number| first.iter().position(|found| *found == number);
        let rare: Vec<_> = (0..40).step_by(8).map(|step| place(RARE + step)).collect();
        assert!(
            rare.iter().all(|place| place.is_some_and(|place| place < 120)),
            "{journal_records}: {rare:?}"
        );
        assert!(rare.is_sorted(), "{journal_records}: {rare:?}");
    }
}

/// At the turn of the backlog a batch is shared where several types have come: three quarters are the backlog's, and
/// no live event waits for another slot. Of one type alone it is the backlog's as a whole.
#[test]
fn the_turn_of_a_backlog_is_shared_where_several_types_wait() {
    for several in [false, true] {
        let mut bench = Bench::new(|config| config.batch_max_records = 20);
        let mut counts = vec![];
        for step in 0..600 {
            bench.send(flood(step * 30..step * 30 + 30, 1));
            if several && step % 4 == 0 {
                bench.send(vec![rare(step)]);
            }
            bench.pass(Duration::from_millis(100));
            for request in core::mem::take(&mut bench.requests) {
                if let Payload::Batch(batch) = &request.payload {
                    // A live one is younger than the pace of the slots.
                    let is_late = |number: &usize| *number < RARE && number / 30 + 12 < step;
                    counts.push(numbers(batch).into_iter().filter(is_late).count());
                }
                bench.answer(&request, 200);
            }
        }
        // Once the free requests are used up.
        let counts = &counts[counts.len() / 2..];
        assert_eq!(counts.contains(&15), several, "{counts:?}");
        assert!(counts.iter().all(|count| [0, 15, 20].contains(count)), "{counts:?}");
        assert!(counts.iter().filter(|count| **count > 0).count() >= counts.len() / 5, "{counts:?}");
    }
}

#[test]
fn nobody_waits_for_company_in_a_memory_that_is_nearly_full() {
    for by_bytes in [false, true] {
        let mut bench = Bench::new(|config| {
            config.event_linger = SECOND;
            let cost = crate::batch::Entry::new(crate::Seq::from_u64(0), Instant::ZERO, rare(0)).cost();
            if by_bytes { config.buffer_bytes = 100 * cost } else { config.buffer_size = 100 }
        });
        // The 80 of the watermark.
        bench.send((0..79).map(rare).collect());
        assert!(bench.requests.is_empty(), "{by_bytes}");
        bench.send(vec![rare(79)]);
        assert_eq!(bench.take_batch().1.len(), 80, "{by_bytes}");
    }
}

/// What the platform does with a request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Takes,
    IsBusy,
    TooLarge,
    Breaks,
}

proptest! {
    /// Whatever comes when, records of a type leave for the first time in the order in which they came: those that are
    /// live, and those that wait behind them. Where order counts, all do.
    #[test]
    fn order_holds_within_a_type(
        steps in prop::collection::vec(
            (
                prop::collection::vec(0usize..5, 0..40),
                0u64..1_500,
                prop::sample::select(vec![Answer::Takes, Answer::Takes, Answer::IsBusy, Answer::TooLarge, Answer::Breaks]),
            ),
            1..40,
        ),
        drain in prop::sample::select(vec![DrainOrder::LiveFirst, DrainOrder::Fifo]),
    ) {
        let mut bench = Bench::new(|config| {
            config.batch_max_records = 10;
            config.drain = drain;
        });
        let mut types = vec![];
        let mut sent = vec![];
        let mut tails = BTreeMap::<usize, [Option<usize>; 2]>::new();
        for (made, millis, answer) in steps {
            let records = made.iter().enumerate();
            let records = records.map(|(n, event_type)| typed(types.len() + n, &alloc::format!("type_{event_type}")));
            bench.send(records.collect());
            types.extend(made);
            bench.pass(Duration::from_millis(millis));
            for request in core::mem::take(&mut bench.requests) {
                if let Payload::Batch(batch) = &request.payload {
                    let numbers = numbers(batch);
                    prop_assert!(numbers.is_sorted());
                    for number in numbers {
                        if sent.contains(&number) {
                            continue;
                        }
                        sent.push(number);
                        let event_type = if drain == DrainOrder::Fifo { 0 } else { types[number] };
                        let [newest, second] = tails.entry(event_type).or_default();
                        if *newest < Some(number) {
                            *newest = Some(number);
                            continue;
                        }
                        prop_assert!(drain == DrainOrder::LiveFirst && *second < Some(number), "{number} {newest:?} {second:?}");
                        *second = Some(number);
                    }
                }
                match answer {
                    Answer::Takes => bench.answer(&request, 200),
                    Answer::IsBusy => bench.answer(&request, 503),
                    Answer::TooLarge => bench.answer(&request, 413),
                    Answer::Breaks => bench.fail(&request),
                }
            }
        }
    }
}
