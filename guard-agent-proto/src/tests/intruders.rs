//! Somebody else writes where the journal is.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::durability::LEASE;
use super::{Bench, SECOND, event, numbers};
use crate::store::{Block, LogWrite, OwnerId, StoreErrorKind, StoreOp, StoreRequest, StreamId, Write};
use crate::{AgentEvent, ByKind, HealthReason, Kind, Payload, Seq, StoreOpId};

const TICK: Duration = Duration::from_millis(10);

/// What is put behind the last block of each stream.
#[derive(Clone, Copy, Debug)]
enum Planted {
    Garbage,
    /// One of our own blocks, under another id.
    Copy,
}

impl Bench {
    /// Somebody writes into every log that has something, whoever has its lease.
    fn intrude(&self, owner: OwnerId, planted: Planted) {
        let mut logs = BTreeMap::<(StreamId, Kind), Block>::new();
        self.store.for_each_block(|stream, kind, block| {
            logs.insert((stream, kind), block);
        });
        let released = self.orphans(self.now.instant);
        for ((stream, kind), last) in logs {
            let bytes = match planted {
                Planted::Garbage => b"x"[..].into(),
                Planted::Copy => last.bytes,
            };
            let id = Seq::from_u64(last.id.as_u64().max(999_999) + 1);
            let log = LogWrite { expected: None, append: vec![Block { id, bytes }], remove: Vec::new() };
            let mut logs = ByKind::<LogWrite>::default();
            logs[kind] = log;
            let lease = LEASE;
            let write = Write { stream, register: true, lease, logs, notes: Vec::new() };
            let ops = [StoreOp::Write(write), StoreOp::Close { stream, keep: true }];
            for op in ops.into_iter().take(1 + usize::from(released.contains(&stream))) {
                let request = StoreRequest { id: StoreOpId::from_u64(0), owner, op, timeout: SECOND };
                assert!(self.store.execute_at(request, self.now.instant).is_ok());
            }
        }
    }
}

#[test]
fn who_writes_into_the_journal_again_and_again_delays_no_new_event_and_makes_few_lines() {
    for planted in [Planted::Garbage, Planted::Copy] {
        let mut bench = Bench::journaled(|config| config.buffer_size = 1_000);
        let owner = bench.stores[0].owner;
        bench.serve();
        let (mut flights, mut sent, mut delays) = (Vec::new(), Vec::new(), BTreeMap::new());
        // Ten events a second and twenty entries, for a minute.
        for tick in 0..6_100_u32 {
            if tick % 10 == 0 && tick < 6_000 {
                bench.send(vec![event(sent.len())]);
                sent.push(bench.now.instant);
            }
            if tick % 5 == 0 {
                bench.intrude(owner, planted);
            }
            bench.serve();
            flights
                .extend(core::mem::take(&mut bench.requests).into_iter().map(|request| (tick + 3, request)));
            for (_, request) in flights.extract_if(.., |(due, _)| *due <= tick) {
                if let Payload::Batch(batch) = &request.payload {
                    for number in numbers(batch) {
                        let delay = bench.now.instant.since(sent[number]);
                        assert!(delays.insert(number, delay).is_none(), "{number} comes twice");
                    }
                }
                bench.answer(&request, 200);
            }
            bench.jump(TICK);
        }
        assert_eq!(delays.len(), sent.len());
        let longest = delays.values().max().copied();
        assert!(longest < Some(SECOND), "{planted:?}: {longest:?}");
        let ledger = bench.agent.stats().records.events;
        assert_eq!((ledger.delivered, ledger.recovered, ledger.dropped.total()), (600, 0, 0), "{ledger:?}");
        assert!(bench.store.streams() <= 2, "{} are left behind", bench.store.streams());
        assert!((1..=2).contains(&bench.errors("somebody else wrote into the journal")));
        let told = |event: &&AgentEvent| matches!(event, AgentEvent::Error { .. } | AgentEvent::Health(_));
        let told: Vec<_> = bench.events.iter().filter(told).collect();
        assert!(told.len() <= 4, "{told:?}");
        let down = HealthReason::JournalImpaired { why: StoreErrorKind::WrongType, store: None };
        assert!(bench.agent.health().reasons.contains(&down));
        bench.deliver(2 * LEASE);
        assert!(bench.agent.health().reasons.is_empty(), "{:?}", bench.agent.health());
    }
}
