use alloc::format;
use alloc::string::String;
use core::time::Duration;

use super::Agent;
use super::stream::{Path, Stream};
use crate::batch::Entry;
use crate::lane::{Dead, Settled};
use crate::soonest::Soonest;
use crate::{
    AgentEvent, ByKind, DeadLetter, DropReason, Endpoint, ErrorStage, Kind, Ledger, Outcome, Output,
    OverflowPolicy, Reason, Record, Seq,
};

/// Drops of one reason are told at most that often.
const TELL_DROPS_EVERY: Duration = Duration::from_secs(60);

impl Agent {
    /// Books what left a lane.
    pub(super) fn settle(&mut self, kind: Kind, settled: Settled) {
        let Settled { delivered, dead } = settled;
        if delivered.iter().any(Entry::is_attack) {
            self.rules.on_attack_delivered(self.now.instant);
        }
        self.streams[kind].ledger.delivered += delivered.len() as u64;
        self.decided.on_delivered(delivered.len() as u64, self.now.instant);
        for entry in &delivered {
            self.on_settled(kind, entry.seq(), Outcome::Delivered);
        }
        for Dead { entry, reason, status, message } in dead {
            self.give_up(kind, entry.seq(), reason);
            self.dead_letters.push_back(DeadLetter {
                record: entry.into_record(kind),
                reason,
                status,
                message,
            });
            if self.dead_letters.len() > self.config.dead_letter_capacity {
                self.dead_letters.pop_front();
            }
        }
    }

    pub(super) fn make_room(&mut self, kind: Kind) {
        while self.streams[kind].len() > self.config.buffer_size
            || self.streams[kind].cost() > self.config.buffer_bytes
        {
            let Stream { live, backlog, .. } = &mut self.streams[kind];
            // What was refused alone goes first: memory full of it would let nothing through for ever.
            let refused = backlog.evict_parked().or_else(|| live.evict_parked());
            let evicted = refused.or_else(|| match self.config.buffer_overflow_policy {
                OverflowPolicy::Drop => backlog.evict().or_else(|| live.evict()),
                OverflowPolicy::Raise | OverflowPolicy::Block => live.evict_newest(),
            });
            let Some(entry) = evicted else { return };
            self.give_up(kind, entry.seq(), DropReason::Overflow);
        }
    }

    /// Whether memory can hold that record too; alone it always may, else it would never be recovered.
    pub(super) fn has_room_for(&self, record: &Record) -> bool {
        let stream = &self.streams[record.kind()];
        stream.len() == 0
            || stream.len() < self.config.buffer_size
                && stream.cost() + record.json().len() + Entry::OVERHEAD <= self.config.buffer_bytes
    }

    /// A record that left its lane is lost.
    pub(super) fn give_up(&mut self, kind: Kind, seq: Seq, reason: DropReason) {
        self.count_drops(kind, reason, 1);
        self.on_settled(kind, seq, Outcome::Dropped(reason));
    }

    /// A record left us for good.
    fn on_settled(&mut self, kind: Kind, seq: Seq, outcome: Outcome) {
        if let Some(journal) = &mut self.journal {
            journal.on_settled(kind, seq);
        }
        if let Some(id) = self.receipts.remove(&seq) {
            self.outputs.push_back(Output::Event(AgentEvent::Receipt { id, outcome }));
        }
    }

    pub(super) fn count_drops(&mut self, kind: Kind, reason: DropReason, count: u64) {
        self.streams[kind].ledger.dropped[reason] += count;
        if reason == DropReason::Filtered || count == 0 {
            return;
        }
        self.decided.on_dropped(count, self.now.instant);
        self.untold.entry(reason).or_default().0 += count;
        let mut later = Soonest::NEVER;
        self.tell_losses(&mut later);
    }

    /// The first loss is told at once, those that follow are summed up.
    pub(super) fn tell_losses(&mut self, next: &mut Soonest) {
        let now = self.now.instant;
        for (reason, (untold, told_at)) in self.untold.iter_mut().filter(|(_, (untold, _))| *untold > 0) {
            match *told_at {
                Some(at) if now.since(at) < TELL_DROPS_EVERY => {
                    next.consider(Some((at + TELL_DROPS_EVERY, Reason::LossSummary)));
                }
                _ => {
                    let message = format!("{untold} records given up: {}", reason.as_str());
                    (*untold, *told_at) = (0, Some(now));
                    let event = AgentEvent::Error { stage: ErrorStage::Drop, message };
                    self.outputs.push_back(Output::Event(event));
                }
            }
        }
    }

    pub(super) fn ledgers(&self) -> ByKind<Ledger> {
        let [events, metrics] = Kind::ALL.map(|kind| {
            let stream = &self.streams[kind];
            let pending = stream.len() as u64;
            let persisted = self.journal.as_ref().map_or(0, |journal| pending - journal.volatile()[kind]);
            Ledger { pending, pending_bytes: stream.cost() as u64, persisted, ..stream.ledger }
        });
        ByKind { events, metrics }
    }

    /// Tells of a failure, once until it ends.
    pub(super) fn tell(&mut self, stage: ErrorStage, endpoint: Endpoint, message: String) {
        if self.episodes.insert((stage, endpoint)) {
            self.outputs.push_back(Output::Event(AgentEvent::Error { stage, message }));
        }
    }

    pub(super) fn end_episodes(&mut self, endpoint: Endpoint) {
        self.episodes.retain(|(_, failing)| *failing != endpoint);
    }

    pub(super) fn tell_health(&mut self) {
        let health = self.health();
        if health != self.last_health {
            self.last_health = health.clone();
            self.outputs.push_back(Output::Event(AgentEvent::Health(health)));
        }
    }

    pub(super) fn take_seq(&mut self) -> Seq {
        let seq = self.next_seq;
        self.next_seq = Seq::from_u64(seq.as_u64() + 1);
        seq
    }

    pub(super) fn lanes_in_flight(&self) -> usize {
        let lanes = Kind::ALL.iter().flat_map(|kind| Path::ALL.map(|path| self.streams[*kind].lane(path)));
        lanes.filter(|lane| lane.in_flight()).count()
    }

    /// How full memory is with records of that kind, by number or bytes, whichever is higher.
    pub(super) fn fill_permille(&self, kind: Kind) -> usize {
        let stream = &self.streams[kind];
        let by_number = stream.len() * 1_000 / self.config.buffer_size.max(1);
        let by_bytes = stream.cost() * 1_000 / self.config.buffer_bytes.max(1);
        by_number.max(by_bytes)
    }
}
