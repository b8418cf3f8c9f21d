use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use super::Agent;
use super::stream::{Path, Stream};
use crate::batch::Entry;
use crate::batcher::Room;
use crate::journal::Journal;
use crate::lane::{Dead, Settled};
use crate::soonest::Soonest;
use crate::{
    AgentEvent, ByKind, DeadLetter, DropReason, Endpoint, ErrorStage, Kind, Ledger, Outcome, Output,
    OverflowPolicy, Reason, Seq,
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

    /// Keeps what is held within memory and quota.
    pub(super) fn make_room(&mut self, kind: Kind) {
        self.leave_to_journal(kind);
        while self.is_beyond_quota(kind) {
            let stream = &mut self.streams[kind];
            let evicted = stream.evict_parked().or_else(|| match self.config.buffer_overflow_policy {
                // What only the journal holds is older than what is live, and given up when it is read.
                OverflowPolicy::Drop => stream.backlog.evict().or_else(|| {
                    let stored = self.journal.as_ref().map_or(0, |journal| journal.stored(kind));
                    if stored == 0 { stream.live.evict() } else { None }
                }),
                OverflowPolicy::Raise | OverflowPolicy::Block => stream.live.evict_newest(),
            });
            let Some(entry) = evicted else { break };
            self.give_up(kind, entry.seq(), DropReason::Overflow);
        }
        while self.streams[kind].len() > self.config.buffer_size
            || self.streams[kind].cost() > self.config.buffer_bytes
        {
            let stream = &mut self.streams[kind];
            // Rather out of order than lost.
            if let Some(journal) = &mut self.journal
                && let Some(entry) =
                    stream.backlog.release_before(journal.acknowledged(kind), |seq| journal.holds(kind, seq))
            {
                journal.release(kind, entry.seq(), entry.cost());
                continue;
            }
            let evicted = stream.evict_parked().or_else(|| match self.config.buffer_overflow_policy {
                OverflowPolicy::Drop => stream.backlog.evict().or_else(|| stream.live.evict()),
                OverflowPolicy::Raise | OverflowPolicy::Block => stream.live.evict_newest(),
            });
            let Some(entry) = evicted else { return };
            self.give_up(kind, entry.seq(), DropReason::Overflow);
        }
    }

    /// Leaves records to the journal alone that it holds, from three quarters of the memory on, so that there is
    /// always room for new ones: the oldest live ones, so that new events stay quick, then those that were read
    /// back last. Once there are such records, half of the memory is for reading them back.
    fn leave_to_journal(&mut self, kind: Kind) {
        let Some(journal) = &mut self.journal else { return };
        let stream = &mut self.streams[kind];
        let (most, most_bytes) = (self.config.buffer_size, self.config.buffer_bytes);
        let is_full =
            |stream: &Stream| stream.len() > most - most / 4 || stream.cost() > most_bytes - most_bytes / 4;
        let share = |journal: &Journal, stream: &Stream| {
            let (records, bytes) = stream.live.waiting();
            journal.stored(kind) > 0 && (records > most / 2 || bytes > most_bytes / 2)
        };
        while is_full(stream) {
            let Some(entry) = stream.backlog.release_newest(|seq| journal.holds(kind, seq)) else { break };
            journal.release(kind, entry.seq(), entry.cost());
        }
        while is_full(stream) || share(journal, stream) {
            let Some(entry) = stream.live.release_oldest(|seq| journal.holds(kind, seq)) else { break };
            journal.release(kind, entry.seq(), entry.cost());
        }
    }

    /// Whether memory and journal together hold more than they may.
    pub(super) fn is_beyond_quota(&self, kind: Kind) -> bool {
        let Some(journal) = &self.journal else { return false };
        let stream = &self.streams[kind];
        let records = stream.len() as u64 + journal.stored(kind);
        let bytes = stream.cost() as u64 + journal.stored_bytes(kind);
        records > self.config.journal_records.max(self.config.buffer_size as u64)
            || bytes > self.config.journal_bytes.max(self.config.buffer_bytes as u64)
    }

    /// Whether what only the journal holds is to be given up when it is read.
    pub(super) fn has_surplus(&self, kind: Kind) -> bool {
        self.config.buffer_overflow_policy == OverflowPolicy::Drop && self.is_beyond_quota(kind)
    }

    /// What a new batch of that kind may hold. With a journal, batches that wait for another attempt must not
    /// fill memory, or nothing new could be taken and appended.
    pub(super) fn batch_room(&self, kind: Kind) -> Room {
        if self.journal.is_none() {
            return Room::UNLIMITED;
        }
        let stream = &self.streams[kind];
        let (live, backlog) = (stream.live.committed(), stream.backlog.committed());
        let half = |most: usize, taken: usize| (most.saturating_sub(taken) / 2).max(1);
        Room {
            records: half(self.config.buffer_size, live.records + backlog.records),
            bytes: half(self.config.buffer_bytes, live.bytes + backlog.bytes),
        }
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
        if let Some(id) = self.streams[kind].receipts.remove(&seq) {
            self.outputs.push_back(Output::Event(AgentEvent::Receipt { id, outcome }));
        }
    }

    /// Tells of records that are not here any more, but for those that left one by one.
    pub(super) fn settle_absent(&mut self, kind: Kind, outcome: Outcome) {
        let Stream { live, backlog, receipts, .. } = &mut self.streams[kind];
        let all = Seq::from_u64(0);
        let here: BTreeSet<_> = live.from(all).chain(backlog.from(all)).map(Entry::seq).collect();
        let (kept, gone) = core::mem::take(receipts).into_iter().partition(|(seq, _)| here.contains(seq));
        *receipts = kept;
        let gone: BTreeMap<_, _> = gone;
        let told = gone.into_values().map(|id| AgentEvent::Receipt { id, outcome });
        self.outputs.extend(told.map(Output::Event));
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
            let in_memory = stream.len() as u64;
            let journal = self.journal.as_ref();
            let pending = in_memory + journal.map_or(0, |journal| journal.stored(kind));
            let persisted = journal.map_or(0, |journal| journal.persisted(kind));
            Ledger { pending, in_memory, memory_bytes: stream.cost() as u64, persisted, ..stream.ledger }
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

    pub(super) fn take_seq(&mut self, kind: Kind) -> Seq {
        let next = self.streams[kind].next_seq;
        core::mem::replace(&mut self.streams[kind].next_seq, next.next())
    }

    /// Later than everything that was accepted so far.
    pub(super) fn marks(&self) -> ByKind<Seq> {
        ByKind { events: self.streams.events.next_seq, metrics: self.streams.metrics.next_seq }
    }

    pub(super) fn lanes_in_flight(&self) -> usize {
        let lanes = Kind::ALL.iter().flat_map(|kind| Path::ALL.map(|path| self.streams[*kind].lane(path)));
        lanes.filter(|lane| lane.in_flight()).count()
    }

    /// How full it is with records of that kind, by number or bytes, whichever is higher: memory, or what the
    /// journal may hold as long as that takes more.
    pub(super) fn fill_permille(&self, kind: Kind) -> usize {
        let stream = &self.streams[kind];
        let fill =
            |used: u64, most: u64| usize::try_from(used.saturating_mul(1_000) / most.max(1)).unwrap_or(1_000);
        let (records, bytes) = (stream.len() as u64, stream.cost() as u64);
        match &self.journal {
            Some(journal) if !journal.is_down() => {
                let by_number = fill(records + journal.stored(kind), self.config.journal_records);
                by_number.max(fill(bytes + journal.stored_bytes(kind), self.config.journal_bytes))
            }
            Some(_) | None => {
                let by_number = fill(records, self.config.buffer_size as u64);
                by_number.max(fill(bytes, self.config.buffer_bytes as u64))
            }
        }
    }
}
