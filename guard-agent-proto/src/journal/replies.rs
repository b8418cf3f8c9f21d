use alloc::boxed::Box;
use alloc::vec::Vec;

use super::block;
use super::json;
use super::log::Log;
use super::note::{self, Content, Seal};
use super::stream::{SealState, Stream, Told};
use super::trouble::Part;
use super::{
    CopyOf, GROUP_BYTES, Journal, JournalNews, LeftBecause, LeftStream, MOST_BLOCKS, MOST_NOTED_BYTES,
    MOST_RANGES, MOST_SEALS, MOST_SPOILT, Outstanding, Paged, Spoilt, StoredRecord, Writing,
};
use crate::rng::Rng;
use crate::store::{Block, Note, StoreAnswer, StoreError, StoreErrorKind, StreamId};
use crate::{ByKind, Instant, Kind, Seq, StoreOpId};

/// Most bytes to read at once, about.
const READ_BYTES: usize = 512 << 10;
/// Adopted streams are numbered up to this; by then the first ones are long finished.
const LAST_ORIGIN: u16 = 8_191;

impl Journal {
    /// An operation ended. `None` if it is not the outstanding one.
    pub(crate) fn on_reply(
        &mut self,
        id: StoreOpId,
        result: Result<StoreAnswer, StoreError>,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<JournalNews> {
        let (_, asked_at, done) = self.outstanding.take_if(|(outstanding, ..)| *outstanding == id)?;
        let mut news = JournalNews::default();
        if let Some(stream) = done.origin().and_then(|origin| self.streams.get_mut(&origin)) {
            stream.overwritten = matches!(&result, Err(error) if error.kind == StoreErrorKind::WrongType);
        }
        match result {
            Ok(answer) => {
                self.troubles.on_done(done.part());
                // No lease can be kept in a store that takes longer than it lasts; giving one up takes its time.
                let awake = id.as_u64() >= self.fresh_from && !self.closing;
                if awake && now.since(asked_at) >= self.lease.ttl {
                    self.troubles.on_slow();
                }
                self.on_done(done, answer, asked_at, now, rng, &mut news);
            }
            Err(error) if error.kind == StoreErrorKind::Fenced => {
                self.troubles.on_done(done.part());
                self.on_fenced(&done, now, rng, &mut news);
            }
            Err(error) => {
                let is_news = id.as_u64() >= self.fresh_from && self.blame(&done, error.kind, now, rng);
                self.on_failed(done, error.kind, now);
                if !error.kind.is_refusal() {
                    self.streams.values_mut().for_each(|stream| stream.register_at = asked_at);
                }
                if !self.takes_seals() {
                    // Whoever waits for a seal would wait for the store.
                    news.sealed = self.streams.values_mut().flat_map(Stream::wait_for_no_seal).collect();
                }
                news.error = is_news.then_some(error);
            }
        }
        Some(news)
    }

    /// What a failed operation holds up. True if that is news.
    pub(super) fn blame(
        &mut self,
        failed: &Outstanding,
        why: StoreErrorKind,
        now: Instant,
        rng: &mut Rng,
    ) -> bool {
        match failed {
            // One that cannot be adopted, or may not be, says nothing of the others.
            Outstanding::Adopt(stream) if why.may_be_of_one_stream() => self.orphans.put_off(*stream, now),
            Outstanding::Adopt(stream) => {
                self.orphans.on_unanswered(*stream, now);
                self.troubles.on_failed(Part::Search, why, now, rng)
            }
            Outstanding::Write(_)
            | Outstanding::List
            | Outstanding::Read { .. }
            | Outstanding::Close { .. } => self.troubles.on_failed(failed.part(), why, now, rng),
        }
    }

    /// What of a failed operation is due again.
    pub(super) fn on_failed(&mut self, failed: Outstanding, why: StoreErrorKind, now: Instant) {
        let Outstanding::Write(mut writing) = failed else { return };
        let Some(stream) = self.streams.get_mut(&writing.origin) else { return };
        stream.tell_again(&writing.write, &writing.told);
        if writing.part() == Part::Change {
            return;
        }
        if why.is_refusal() && !writing.repeated {
            // It is appended anew, as far as it still waits then.
            self.waiting = Some((GROUP_BYTES, now));
        } else {
            writing.write.notes.clear();
            Kind::ALL.iter().for_each(|kind| writing.write.logs[*kind].remove.clear());
            writing.told = Told::default();
            writing.repeated = true;
            self.unsure = Some(writing);
        }
    }

    pub(super) fn on_done(
        &mut self,
        done: Outstanding,
        answer: StoreAnswer,
        // Leases run from then on, at the least.
        asked_at: Instant,
        now: Instant,
        rng: &mut Rng,
        news: &mut JournalNews,
    ) {
        match (done, answer) {
            (Outstanding::Write(writing), StoreAnswer::Diverged { last }) => {
                self.on_diverged(&writing, last, asked_at, rng, news);
            }
            (Outstanding::Write(writing), _) => self.on_written(*writing, asked_at, news),
            (Outstanding::List, StoreAnswer::Orphans { orphans, streams, foreign, complete }) => {
                let (owned, strange): (Vec<_>, Vec<_>) =
                    orphans.into_iter().partition(|orphan| self.owns(orphan.stream));
                // One that is ours is among the others as long as its lease runs.
                let ours = self.streams.values().filter(|stream| stream.is_known()).count();
                let leased = streams.saturating_sub(strange.len() + ours.max(owned.len()));
                news.others = Some((strange.len() as u64, leased as u64));
                if complete {
                    news.foreign = self.orphans.on_listed(&strange, streams, foreign, now, rng);
                } else {
                    self.orphans.on_listed_in_part(&strange, streams, now, rng);
                }
            }
            (Outstanding::List, _) => {
                self.orphans.on_listed(&[], 0, 0, now, rng);
            }
            (Outstanding::Adopt(id), StoreAnswer::Adopted { notes, lost_logs }) => {
                news.lost_logs = lost_logs;
                self.on_adopted(id, &notes, asked_at, news);
            }
            (Outstanding::Adopt(id), _) => self.orphans.on_taken(id),
            // Records before that place were left to the store meanwhile: it is read again from there.
            (Outstanding::Read { origin, kind, from, .. }, _) if !self.reads_on_from(origin, kind, from) => {}
            (Outstanding::Read { origin, kind, limit, .. }, StoreAnswer::Blocks { blocks, skipped }) => {
                news.corrupt = news.corrupt.saturating_add(skipped);
                self.on_read(origin, kind, limit, blocks, asked_at, news);
            }
            (Outstanding::Read { origin, kind, .. }, _) => {
                // An answer of another kind has no blocks either.
                self.on_read(origin, kind, 0, Vec::new(), asked_at, news);
            }
            (Outstanding::Close { origin, keep }, _) => {
                let stream = self.streams.remove(&origin).filter(|_| keep);
                self.given_up.extend(stream.map(|stream| (origin, stream.logs)));
            }
        }
    }

    fn reads_on_from(&self, origin: u16, kind: Kind, from: Seq) -> bool {
        self.streams.get(&origin).is_some_and(|stream| stream.logs[kind].next() == from)
    }

    fn owns(&self, id: StreamId) -> bool {
        self.streams.values().any(|stream| stream.id == id)
    }

    pub(super) fn on_written(&mut self, writing: Writing, asked_at: Instant, news: &mut JournalNews) {
        let Writing { origin, write, appended, settled, told, .. } = writing;
        let Some(stream) = self.streams.get_mut(&origin) else { return };
        if write.register {
            stream.register_at = asked_at + self.lease.renewal;
        }
        stream.renew(asked_at, self.lease);
        if Kind::ALL.iter().any(|kind| !appended[*kind].is_empty()) {
            for spoilt in self.spoilt.iter_mut().filter(|spoilt| spoilt.copy == CopyOf::Appended) {
                spoilt.copy = CopyOf::Acknowledged;
            }
        }
        for kind in Kind::ALL {
            let Some((last, _)) = appended[kind].last() else { continue };
            let last = *last;
            for (id, records) in &appended[kind] {
                stream.logs[kind].on_appended(*id, records.clone());
            }
            news.durable[kind] = Some(self.acknowledged[kind]..last.next());
            self.acknowledged[kind] = last.next();
            stream.last[kind] = last;
            for seq in &settled[kind] {
                stream.logs[kind].settle(*seq);
            }
        }
        news.sealed = told.seals;
    }

    /// The store is not where we left it.
    pub(super) fn on_diverged(
        &mut self,
        writing: &Writing,
        last: ByKind<Seq>,
        asked_at: Instant,
        rng: &mut Rng,
        news: &mut JournalNews,
    ) {
        let Some(stream) = self.streams.get_mut(&writing.origin) else { return };
        let ahead = Kind::ALL.iter().any(|kind| last[*kind] > stream.last[*kind]);
        if ahead || writing.origin > 0 {
            // Somebody else writes into it. Where all of it is here nobody has to adopt it: it goes once another stream has
            // that. Whoever adopts the rest skips what is not ours.
            let keep = writing.origin > 0 || Kind::ALL.iter().any(|kind| stream.logs[*kind].stored() > 0);
            let spoilt = Spoilt { stream: stream.id, keep, copy: CopyOf::Nothing };
            self.spoilt.push(spoilt);
            if let Some(oldest) = self.spoilt.len().checked_sub(MOST_SPOILT + 1) {
                self.spoilt[oldest].keep = true;
            }
            return self.leave_stream(writing.origin, LeftBecause::Intruded, asked_at, rng, news);
        }
        stream.register_at = asked_at;
        stream.renew(asked_at, self.lease);
        stream.tell_again(&writing.write, &writing.told);
        for kind in Kind::ALL {
            if last[kind] < stream.last[kind] {
                self.doubt[kind] |= stream.logs[kind].has_unread();
                stream.logs[kind].on_lost_after(last[kind]);
                self.acknowledged[kind] = last[kind].next().max(self.lost[kind]);
                stream.last[kind] = last[kind];
                if let Some(paged) = self.pages[kind].front().filter(|paged| paged.origin == 0) {
                    stream.logs[kind].read_again(paged.record.seq);
                    self.pages[kind].clear();
                }
            }
        }
        for state in &mut stream.seals {
            state.due = true;
        }
        news.error = Some(StoreError::new(
            StoreErrorKind::Other,
            "the store lost what it had acknowledged; what is still in memory is appended again",
        ));
        // All of it, however much that is.
        self.waiting = Some((GROUP_BYTES, asked_at));
    }

    pub(super) fn on_fenced(
        &mut self,
        done: &Outstanding,
        now: Instant,
        rng: &mut Rng,
        news: &mut JournalNews,
    ) {
        if let Outstanding::Adopt(stream) = done {
            self.orphans.on_taken(*stream);
        }
        if let Some(origin) = done.origin() {
            let why = match (self.may_be_adopted(origin, now), self.was_kept_waiting(origin)) {
                (false, _) => LeftBecause::Stolen,
                (true, false) => LeftBecause::Adopted,
                (true, true) => LeftBecause::Claimed,
            };
            self.leave_stream(origin, why, now, rng, news);
        }
    }

    /// Whether another agent can have adopted that stream. None does while its lease runs, nor in the grace after that,
    /// even if the store forgot the lease as soon as it was renewed. A clock that stood still says nothing.
    pub(super) fn may_be_adopted(&self, origin: u16, now: Instant) -> bool {
        let held_at = self.streams.get(&origin).and_then(|stream| stream.held_at);
        held_at.is_none_or(|held_at| {
            now.since(held_at) >= self.lease.grace
                || self.leapt_at.is_some_and(|leapt_at| leapt_at >= held_at)
        })
    }

    /// Whether the store was asked in time, and has not kept that stream for us: it did not answer, or refused what it would
    /// have been renewed by, whatever else it did. Nobody who can write there can bring about that we sleep instead.
    pub(super) fn was_kept_waiting(&self, origin: u16) -> bool {
        let asked = self.streams.get(&origin).and_then(|stream| stream.held_at.zip(stream.asked_since));
        asked.is_some_and(|(held_at, asked_at)| {
            let slept = self.leapt_at.max(self.woke_at).is_some_and(|at| at >= held_at);
            !slept && asked_at < held_at + self.lease.grace
        })
    }

    /// The stream is not ours any more.
    pub(super) fn leave_stream(
        &mut self,
        origin: u16,
        why: LeftBecause,
        now: Instant,
        rng: &mut Rng,
        news: &mut JournalNews,
    ) {
        let Some(stream) = self.streams.remove(&origin) else { return };
        let stored = ByKind { events: stream.logs.events.stored(), metrics: stream.logs.metrics.stored() };
        for kind in Kind::ALL {
            self.pages[kind].retain(|paged| paged.origin != origin);
        }
        news.sealed.extend(stream.seals.iter().map(|state| (state.seal.kind, state.seal.id)));
        news.left = Some(LeftStream { origin, stored, why });
        if origin == 0 {
            match why {
                LeftBecause::Adopted => self.lost = self.acknowledged,
                LeftBecause::Claimed => {
                    self.lost.metrics = self.acknowledged.metrics;
                    self.acknowledged.events = self.lost.events;
                }
                // All that is in memory goes into another stream.
                LeftBecause::Stolen | LeftBecause::Intruded => {
                    self.acknowledged = self.lost;
                    self.evasion.on_intruded(now, rng);
                }
            }
            self.unsure = None;
        } else if matches!(why, LeftBecause::Stolen | LeftBecause::Claimed) {
            // Records that are here are not in a journal any more, and still to be delivered.
            self.given_up.insert(origin, ByKind { events: Log::adopted(), metrics: Log::adopted() });
            if why == LeftBecause::Claimed {
                self.claimed.insert(origin);
            }
        }
        // A shutdown leaves to others what it can.
        if origin == 0 && (why != LeftBecause::Adopted || !self.closing) {
            let fresh = self.fresh_stream(rng);
            self.streams.insert(0, fresh);
            self.waiting = Some((GROUP_BYTES, now));
        }
    }

    pub(super) fn on_adopted(
        &mut self,
        id: StreamId,
        notes: &[Note],
        asked_at: Instant,
        news: &mut JournalNews,
    ) {
        self.orphans.on_taken(id);
        let origin = self.next_origin;
        self.next_origin = if origin < LAST_ORIGIN { origin + 1 } else { 1 };
        let mut stream = Stream::adopted(id, self.key.as_ref());
        stream.renew(asked_at, self.lease);
        let mut seals = Vec::new();
        let mut room = MOST_NOTED_BYTES;
        for note in notes {
            // Nothing is read any more once there is no room: somebody may have planted any number of them.
            let content = if room > 0 { note::read(note, &stream.envelope) } else { None };
            let content = content.filter(|content| {
                let fits = content.memory() <= room;
                room = room.saturating_sub(content.memory());
                fits
            });
            match content {
                Some(Content::Seal(seal)) => seals.push(seal),
                Some(Content::Settled { kind, block, records }) => stream.logs[kind].on_noted(block, records),
                None => news.corrupt += 1,
            }
        }
        // A change that was carried out late may have brought an old one back: the records were in the newer batch last.
        seals.sort_unstable_by_key(|seal| seal.id);
        // Somebody may have planted any number of them, and each is compared with all before.
        let mut ranges = 0;
        let is_bearable = |seal: &&Seal| {
            ranges += seal.records.iter().count();
            ranges <= MOST_RANGES
        };
        let newest = seals.iter().rev().take(MOST_SEALS).take_while(is_bearable).count();
        for seal in seals.split_off(seals.len() - newest) {
            stream.break_seals(seal.kind, &seal.records);
            stream.seals.push(SealState { seal, noted: true, due: false, awaited: false });
        }
        self.streams.insert(origin, stream);
    }

    pub(super) fn on_read(
        &mut self,
        origin: u16,
        kind: Kind,
        limit: usize,
        mut blocks: Vec<Block>,
        asked_at: Instant,
        news: &mut JournalNews,
    ) {
        let Some(stream) = self.streams.get_mut(&origin) else { return };
        stream.renew(asked_at, self.lease);
        if origin == 0 {
            // Behind that is what may have been appended, and is to be appended again.
            blocks.retain(|block| block.id <= stream.last[kind]);
        }
        let is_first = Kind::ALL.iter().all(|kind| stream.logs[*kind].is_unmet());
        let log = &mut stream.logs[kind];
        // Behind the last number of all there is nothing to read on from.
        let is_ahead = |last: &Seq| *last >= log.next() && log.next() < Seq::from_u64(u64::MAX);
        let Some(last) = blocks.last().map(|block| block.id).filter(is_ahead) else {
            // Beyond the last block: what was not met does not exist.
            stream.ended[kind] = true;
            news.lost[kind] = log.end();
            self.doubt[kind] &= origin > 0;
            return;
        };
        // One without blocks may have been finished by another that adopted it before us.
        news.adopted = origin > 0 && is_first;
        let bytes: usize = blocks.iter().map(|block| block.bytes.len()).sum();
        self.read_limit = (limit.max(1) * READ_BYTES / bytes.max(1)).clamp(1, MOST_BLOCKS).min(limit * 2);
        // Blocks of ours do not overlap.
        let mut end = Seq::from_u64(0);
        for block in blocks {
            let Some(records) = block::decode(&stream.envelope, kind, &block) else {
                news.corrupt += 1;
                log.discard(block.id);
                continue;
            };
            log.on_met(block.id, &records);
            let total = records.len() as u64;
            let mut is_stored = false;
            let stored_here = |record: &StoredRecord| record.seq > end && log.is_stored(block.id, record.seq);
            for mut record in records.into_iter().filter(stored_here) {
                is_stored = true;
                let is_sound = json::is_record(&record.json);
                // What is too large for us another agent may have taken. A block has one of them at most.
                let is_plausible = is_sound || record.json.len() > json::MOST_BYTES;
                if !is_sound {
                    news.corrupt += 1;
                    record.json = Box::default();
                }
                self.pages[kind].push_back(Paged {
                    origin,
                    block: block.id,
                    total,
                    record,
                    is_sound,
                    is_plausible,
                });
            }
            if !is_stored && log.is_spent(block.id, total) {
                log.discard(block.id);
            }
            end = block.id;
        }
        log.read_on_after(last);
    }
}
