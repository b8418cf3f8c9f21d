//! What is in memory, what the journal alone holds, and what is given up because neither has room.

use core::time::Duration;

use super::Agent;
use super::stream::{Path, Stream};
use crate::batch::Entry;
use crate::batcher::Room;
use crate::buffer::Buffer;
use crate::journal::{Journal, Returned};
use crate::{DrainOrder, DropReason, Instant, Kind, OverflowPolicy, Record, Timestamp};

impl Agent {
    /// Keeps what is held within memory and quota.
    pub(super) fn make_room(&mut self, kind: Kind) {
        self.leave_to_journal(kind);
        while self.is_beyond_quota(kind) {
            let stream = &mut self.streams[kind];
            let evicted = stream.evict_quarantined().or_else(|| match self.config.buffer_overflow_policy {
                // What only the journal holds is older than what is live, and given up when it is read.
                OverflowPolicy::Drop => {
                    let stored = self.journal.as_ref().map_or(0, |journal| journal.stored(kind));
                    if stored == 0 { stream.evict_largest() } else { stream.backlog.evict_largest() }
                }
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
            if let Some(journal) = &mut self.journal
                && let Some(entry) = stream.live.release_any(|seq| journal.holds(kind, seq))
            {
                journal.release(kind, entry.seq(), entry.cost());
                continue;
            }
            if self.set_aside(kind) {
                continue;
            }
            let stream = &mut self.streams[kind];
            let evicted = stream.evict_quarantined().or_else(|| match self.config.buffer_overflow_policy {
                OverflowPolicy::Drop => stream.evict_largest(),
                OverflowPolicy::Raise | OverflowPolicy::Block => stream.live.evict_newest(),
            });
            let Some(entry) = evicted else { return };
            stream.overflows = true;
            self.give_up(kind, entry.seq(), DropReason::Overflow);
        }
    }

    /// Leaves records of the largest flow to the journal alone that it holds, from three quarters of the memory on, so
    /// that there is always room for new ones: those that were read back last, then the oldest live ones, so that new
    /// events stay quick. Once there are such records, half of the memory is for reading them back.
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

    /// Sets records apart that no longer fit the next live batch, the largest flows first, so that new events do not wait
    /// behind them: in the journal if there are older ones already, else in memory.
    pub(super) fn spill(&mut self) {
        match self.config.drain {
            DrainOrder::LiveFirst => {
                for kind in Kind::ALL {
                    let room = self.batch_room(kind);
                    let Stream { live, backlog, .. } = &mut self.streams[kind];
                    if !live.is_congested(room) {
                        continue;
                    }
                    let flows = live.surplus(room);
                    match &mut self.journal {
                        Some(journal) if journal.stored(kind) > 0 => {
                            for flow in flows {
                                while let Some(entry) =
                                    live.release_oldest_of(flow, |seq| journal.holds(kind, seq))
                                {
                                    journal.release(kind, entry.seq(), entry.cost());
                                }
                            }
                        }
                        Some(_) | None => live.spill_into(backlog, &flows),
                    }
                }
            }
            DrainOrder::Fifo => {}
        }
    }

    /// A memory full of records that cannot be sent must not keep the others in the journal, nor those of an agent that
    /// is gone. Those that were refused alone go there too, behind the others; new ones go there if older ones come
    /// first. Batches that cannot be completed even so are sent in others. Whether there is more room now.
    fn make_way(&mut self, kind: Kind) -> bool {
        let may_send = |path| self.streams[kind].lane(path).sendable() > 0 && self.may_go_first(kind, path);
        let next = self.journal.as_ref().and_then(|journal| journal.peek(kind));
        let wanted = next.map_or(1, |record| record.json.len() + Entry::OVERHEAD);
        if Path::ALL.into_iter().any(may_send) || self.has_room_behind(kind, 0, wanted) {
            return false;
        }
        let now = self.now.instant;
        let others = |journal: &Journal| self.shutdown.is_none() && journal.wants_to_adopt(now);
        if !self.journal.as_ref().is_some_and(|journal| journal.is_unread(kind) || others(journal)) {
            return false;
        }
        let before = self.streams[kind].len();
        self.set_aside(kind);
        let Some(journal) = &mut self.journal else { return false };
        let stream = &mut self.streams[kind];
        while let Some(entry) = stream.live.release_newest(|seq| journal.holds(kind, seq)) {
            journal.release(kind, entry.seq(), entry.cost());
        }
        if stream.len() == before {
            stream.dissolve_partial();
        }
        stream.len() < before
    }

    /// Leaves what was refused alone to the journal, as far as it holds that. Whether there is more room now.
    fn set_aside(&mut self, kind: Kind) -> bool {
        let Some(journal) = &mut self.journal else { return false };
        let stream = &mut self.streams[kind];
        let before = stream.len();
        for path in Path::ALL {
            let lane = stream.lane_mut(path);
            for entry in lane.set_aside(|seq| journal.holds(kind, seq), self.now, &mut self.rng) {
                journal.set_aside(kind, entry.seq(), entry.cost());
            }
        }
        stream.len() < before
    }

    /// Takes records back from the journal, as many as there is room for.
    pub(super) fn read_back(&mut self) {
        for kind in Kind::ALL {
            self.take_back(kind);
            while self.make_way(kind) {
                self.take_back(kind);
            }
        }
    }

    fn take_back(&mut self, kind: Kind) {
        let mut came = Buffer::default();
        while let Some((returned, surplus)) = self.next_returned(kind, &came) {
            let Returned { seq, record, is_sound, recovered, is_planted, sealed } = returned;
            if is_planted {
                // It is counted among the entries that are skipped, and is no record that could be lost.
                self.journal.iter_mut().for_each(|journal| journal.on_settled(kind, seq));
                continue;
            }
            self.streams[kind].ledger.recovered += u64::from(recovered);
            if !is_sound {
                self.give_up(kind, seq, DropReason::StoreLost);
                continue;
            }
            if surplus {
                self.give_up(kind, seq, DropReason::Overflow);
                continue;
            }
            if self.is_expired(record.accepted_at) {
                self.give_up(kind, seq, DropReason::Expired);
                continue;
            }
            let micros = record.accepted_at.as_unix_micros().saturating_sub(self.epoch);
            let accepted_at = Instant::from_micros(u64::try_from(micros).unwrap_or(0)).min(self.now.instant);
            let entry = Entry::new(seq, accepted_at, Record::new(kind, record.attack, record.json));
            match sealed {
                Some(sealed) => self.streams[kind].reassemble(sealed, entry),
                None => came.push(entry),
            }
        }
        let Some(journal) = &self.journal else { return };
        let stream = &mut self.streams[kind];
        stream.backlog.merge(came);
        stream.restore(kind, |seq| journal.may_return(kind, seq), &mut self.rng);
    }

    /// The next record of the journal, if there is room for it, even behind those that `came`, or if it is to
    /// be given up, and whether it is.
    fn next_returned(&mut self, kind: Kind, came: &Buffer) -> Option<(Returned, bool)> {
        let json = self.journal.as_ref()?.peek(kind)?.json.len();
        let (records, bytes) = (came.len(), came.cost());
        let surplus = self.has_surplus(kind);
        if surplus || self.has_room_behind(kind, records, bytes + json + Entry::OVERHEAD) {
            Some((self.journal.as_mut()?.take(kind)?, surplus))
        } else {
            None
        }
    }

    /// Whether memory can take another record back beside as many that are about to come; alone it always may,
    /// else it would never be delivered.
    pub(super) fn has_room_behind(&self, kind: Kind, records: usize, bytes: usize) -> bool {
        let stream = &self.streams[kind];
        let (most, most_bytes) = (self.config.buffer_size, self.config.buffer_bytes);
        let behind = stream.len() - stream.live.len() + records;
        let behind_bytes = stream.cost() - stream.live.cost() + bytes;
        stream.len() + records == 0
            || behind < most.div_ceil(2)
                && behind_bytes <= most_bytes / 2
                && stream.len() + records < most - most / 4
                && stream.cost() + bytes <= most_bytes - most_bytes / 4
    }

    pub(super) fn is_expired(&self, accepted_at: Timestamp) -> bool {
        let age = self.now.wall.as_unix_micros().saturating_sub(accepted_at.as_unix_micros());
        let age = Duration::from_micros(u64::try_from(age).unwrap_or(0));
        self.config.max_record_age.is_some_and(|most| age > most)
    }

    /// Whether memory and journal together hold more than they may.
    fn is_beyond_quota(&self, kind: Kind) -> bool {
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
    /// fill memory, or nothing new could be taken and appended. Without one they leave a quarter of a memory that overflows:
    /// while they are out, what comes could push out nothing but itself.
    pub(super) fn batch_room(&self, kind: Kind) -> Room {
        if self.journal.is_none() {
            let overflows = self.streams[kind].overflows;
            let most = |most: usize| if overflows { most - most / 4 } else { usize::MAX };
            return Room { records: most(self.config.buffer_size), bytes: most(self.config.buffer_bytes) };
        }
        let stream = &self.streams[kind];
        let (live, backlog) = (stream.live.committed(), stream.backlog.committed());
        let partial = stream.partial().map(|entry| entry.json.len());
        let share = |most: usize, taken: usize| {
            let half = most.saturating_sub(taken) / 2;
            half.min((most - most / 4).saturating_sub(taken)).max(1)
        };
        Room {
            records: share(self.config.buffer_size, live.records + backlog.records + partial.clone().count()),
            bytes: share(self.config.buffer_bytes, live.bytes + backlog.bytes + partial.sum::<usize>()),
        }
    }

    /// Whether batches that wait for another attempt, beside those that come back, leave no more than a quarter of memory
    /// for what a journal takes.
    pub(super) fn is_committed(&self, kind: Kind) -> bool {
        let stream = &self.streams[kind];
        let retried = stream.live.retried() + stream.backlog.retried();
        self.journal.is_some()
            && retried > 0
            && retried + stream.partial().count() >= self.config.buffer_size - self.config.buffer_size / 4
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
