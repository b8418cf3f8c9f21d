use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use super::Agent;
use super::reporter::Topic;
use super::stream::{Path, Stream};
use crate::batch::Entry;
use crate::lane::{Dead, Settled};
use crate::message::printable;
use crate::soonest::Soonest;
use crate::{
    AgentEvent, ByKind, DeadLetter, DropReason, Endpoint, ErrorStage, Instant, Kind, Ledger, Outcome, Output,
    Seq,
};

/// A failure that was told, and may be over.
#[derive(Debug)]
pub(super) struct Episode {
    message: String,
    told_at: Instant,
    is_over: bool,
}

/// A failure that ended is told again after that time, or in other words.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl Agent {
    /// Books what left a lane.
    pub(super) fn settle(&mut self, kind: Kind, settled: Settled) {
        let Settled { delivered, dead, .. } = settled;
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
                message: printable(message),
            });
            if self.dead_letters.len() > self.config.dead_letter_capacity {
                self.dead_letters.pop_front();
            }
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
        let journal = self.journal.as_ref();
        let is_kept =
            |seq: &Seq| here.contains(seq) || journal.is_some_and(|journal| journal.stores(kind, *seq));
        let (kept, gone) = core::mem::take(receipts).into_iter().partition(|(seq, _)| is_kept(seq));
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
        self.report(Topic::Dropped(reason), count, String::new());
    }

    pub(super) fn count_invalid(&mut self, kind: Kind, count: u64) {
        self.streams[kind].ledger.invalid += count;
        self.report(Topic::Invalid, count, String::new());
    }

    /// Tells people of it, `count` times: at once or later, in one message with others like it, or never where another tells the same.
    pub(super) fn report(&mut self, topic: Topic, count: u64, message: String) {
        let told = self.reporter.note(topic, count, message, self.now.instant);
        self.outputs.extend(told.map(Output::Event));
    }

    /// Tells the sums that were held back, at the latest when the agent ends.
    pub(super) fn tell_what_is_due(&mut self, next: &mut Soonest) {
        while let Some(event) = self.reporter.take(self.now.instant, self.closed, next) {
            self.outputs.push_back(Output::Event(event));
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

    /// Tells of a failure, once until it ends, and in the same words once a minute.
    pub(super) fn tell(&mut self, stage: ErrorStage, endpoint: Endpoint, message: String) {
        let (now, message) = (self.now.instant, printable(message));
        if let Some(last) = self.episodes.get_mut(&(stage, endpoint)) {
            let goes_on = last.message == message && now < last.told_at + TELL_AGAIN_AFTER;
            if !last.is_over || goes_on {
                last.is_over = false;
                return;
            }
        }
        let episode = Episode { message: message.clone(), told_at: now, is_over: false };
        self.episodes.insert((stage, endpoint), episode);
        self.report(Topic::Failure(stage, endpoint), 1, message);
    }

    /// Says once that journals of others wait, so that nobody takes their records for lost.
    pub(super) fn report_others(&mut self, orphaned: u64, leased: u64) {
        let known = (self.counters.orphaned_journals, self.counters.leased_journals);
        (self.counters.orphaned_journals, self.counters.leased_journals) = (orphaned, leased);
        let lease = self.config.journal_lease.as_secs_f64();
        let (topic, message) = if orphaned > known.0 {
            let message = format!(
                "{orphaned} journals of agents that are gone wait to be adopted, for {lease} s at most"
            );
            (Topic::Orphaned, message)
        } else if leased > 0 && !self.leased_reported {
            // Whether their agents live shows when the leases run out.
            let message = format!(
                "{leased} other journals are leased: of agents that run, or died less than {lease} s ago and are adopted then"
            );
            (Topic::Leased, message)
        } else {
            return;
        };
        self.leased_reported = true;
        self.tell_of_journal(topic, message);
    }

    pub(super) fn end_episodes(&mut self, endpoint: Endpoint) {
        for (_, episode) in self.episodes.iter_mut().filter(|((_, failing), _)| *failing == endpoint) {
            episode.is_over = true;
        }
    }

    pub(super) fn tell_health(&mut self) {
        let health = self.health();
        if health != self.last_health && !self.closed {
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
}
