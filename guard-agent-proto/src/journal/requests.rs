use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::block;
use super::orphans::Search;
use super::spans::Spans;
use super::stream::Stream;
use super::trouble::Part;
use super::{
    CopyOf, GROUP_BYTES, Journal, JournalRoom, MOST_BLOCKS, Outstanding, Spoilt, Unwritten, Writing,
};
use crate::rng::Rng;
use crate::store::{Block, LogWrite, StoreOp, StoreRequest, StreamId, Write};
use crate::{ByKind, Instant, Kind, Reason, Seq, StoreOpId};

/// The next change starts at least that long after the last one...
const GROUP_COMMIT: Duration = Duration::from_millis(50);
/// Most bytes of JSON in one change.
const APPEND_BYTES: usize = 512 << 10;
/// Of a stream that is closed and not ours any more.
const NO_ORIGIN: u16 = u16::MAX;
/// Most streams that are adopted and not finished.
const MOST_ADOPTED: usize = 64;

/// What is appended to a log.
#[derive(Debug, Default)]
pub(super) struct Appends {
    pub(super) blocks: Vec<Block>,
    /// Ids of the blocks, and what they consist of.
    pub(super) contents: Vec<(Seq, Spans)>,
}

impl Journal {
    /// When the next operation is due; `None` while one is outstanding or there is nothing to do.
    pub(crate) fn due_at(&self, room: JournalRoom) -> Option<(Instant, Reason)> {
        if self.outstanding.is_some() {
            return None;
        }
        let due =
            [self.append_at(), self.change_at(), self.read_at(room), self.search_at(room), self.close_at()];
        Some((due.into_iter().flatten().min()?, Reason::Journal))
    }

    fn gated(&self, part: Part, at: Option<Instant>) -> Option<Instant> {
        at.map(|at| at.max(self.troubles.gate(part)))
    }

    fn append_at(&self) -> Option<Instant> {
        let repeated = self.unsure.as_ref().map(|_| Instant::ZERO);
        let at = repeated.or_else(|| {
            let (bytes, since) = self.waiting?;
            let awaited = self.streams.get(&0).is_some_and(|own| own.is_awaited(false));
            let at_once = bytes >= GROUP_BYTES || self.urgent || self.closing || awaited;
            Some(self.commit_at(since, at_once))
        });
        let at = at.map(|at| if self.closing { at } else { at.max(self.evasion.gate()) });
        self.gated(Part::Append, at)
    }

    fn change_at(&self) -> Option<Instant> {
        let changes = self.streams.values().filter(|stream| stream.has_changes());
        let changes =
            changes.map(|stream| self.commit_at(Instant::ZERO, self.closing || stream.is_awaited(true)));
        let renewals = self.streams.values().filter(|stream| stream.is_known()).map(|stream| stream.renew_at);
        self.gated(Part::Change, changes.chain(renewals).min())
    }

    /// When what waits since then is written.
    fn commit_at(&self, since: Instant, at_once: bool) -> Instant {
        if at_once { since } else { self.next_commit.max(since) }
    }

    fn read_at(&self, room: JournalRoom) -> Option<Instant> {
        let wanted = Kind::ALL.iter().any(|kind| self.unread(*kind, room).is_some());
        self.gated(Part::Read, wanted.then_some(Instant::ZERO))
    }

    pub(super) fn search_at(&self, room: JournalRoom) -> Option<Instant> {
        let (at, search) = self.orphans.due();
        let has_room = search == Search::List || room.read.events && room.read.metrics;
        self.gated(Part::Search, (room.others && has_room && self.may_adopt()).then_some(at))
    }

    fn may_adopt(&self) -> bool {
        !self.closing && self.streams.len() <= MOST_ADOPTED
    }

    /// Whether a stream of another agent is to be adopted now, if there is room for what is in it.
    pub(crate) fn wants_to_adopt(&self, now: Instant) -> bool {
        let (at, search) = self.orphans.due();
        search != Search::List && self.may_adopt() && at.max(self.troubles.gate(Part::Search)) <= now
    }

    fn close_at(&self) -> Option<Instant> {
        let wanted = self.spoilt.iter().any(|spoilt| self.is_over(spoilt)) || self.closable().is_some();
        self.gated(Part::Close, wanted.then_some(Instant::ZERO))
    }

    /// The stream to be read next; what was set aside comes last.
    fn unread(&self, kind: Kind, room: JournalRoom) -> Option<u16> {
        self.ahead(kind, room).or_else(|| {
            let aside = |(_, stream): &(&u16, &Stream)| stream.logs[kind].has_unread();
            self.readable(kind, room).find(aside).map(|(origin, _)| *origin)
        })
    }

    /// The same, but for what was set aside.
    fn ahead(&self, kind: Kind, room: JournalRoom) -> Option<u16> {
        if self.closing {
            return self.streams.keys().copied().find(|origin| self.may_be_spent(*origin, kind));
        }
        let ahead = |(_, stream): &(&u16, &Stream)| stream.logs[kind].has_ahead() || !stream.ended[kind];
        self.readable(kind, room).find(ahead).map(|(origin, _)| *origin)
    }

    /// The streams that may be read: our own records come first.
    fn readable(&self, kind: Kind, room: JournalRoom) -> impl Iterator<Item = (&u16, &Stream)> {
        let wanted = !self.closing && room.read[kind] && self.pages[kind].is_empty();
        self.streams.iter().filter(move |(origin, _)| wanted && (**origin == 0 || room.others))
    }

    /// Whether an adopted stream has nothing left but for what may come to light: if nothing does, it is not for
    /// others to adopt.
    fn may_be_spent(&self, origin: u16, kind: Kind) -> bool {
        self.is_readable()
            && !self.is_paged(origin)
            && self.streams.get(&origin).is_some_and(|stream| {
                !stream.ended[kind] && Kind::ALL.iter().all(|kind| stream.logs[*kind].holds_nothing())
            })
    }

    /// A stream that is to be given up, and whether its content stays.
    pub(super) fn closable(&self) -> Option<(u16, bool)> {
        if self.closing {
            // Whoever has it next must not take for pending what is settled.
            let is_told = |stream: &Stream| !stream.has_changes() && self.unsure.is_none();
            let settled = self.unsure.as_deref().is_none_or(Writing::is_settled);
            let closable = |(origin, stream): (&u16, &Stream)| {
                let keep = !stream.is_spent() || *origin == 0 && !settled;
                (!keep || is_told(stream)).then_some((*origin, keep))
            };
            return self.streams.iter().find_map(closable);
        }
        let finished = |(origin, stream): &(&u16, &Stream)| **origin > 0 && stream.is_finished();
        let (origin, _) = self.streams.iter().find(finished)?;
        (!self.is_paged(*origin)).then_some((*origin, false))
    }

    /// Whether nothing is waited for that concerns a stream which somebody else wrote into.
    const fn is_over(&self, spoilt: &Spoilt) -> bool {
        spoilt.keep || matches!(spoilt.copy, CopyOf::Acknowledged) || self.closing
    }

    /// Whether records of it were read and not taken yet.
    fn is_paged(&self, origin: u16) -> bool {
        Kind::ALL.iter().any(|kind| self.pages[*kind].iter().any(|paged| paged.origin == origin))
    }

    /// The next operation. `unwritten(kind, from, bytes)` answers pending records of our own from that place
    /// on, in ascending order, about that many bytes of them.
    pub(crate) fn poll<'a>(
        &mut self,
        now: Instant,
        room: JournalRoom,
        rng: &mut Rng,
        unwritten: impl Fn(Kind, Seq, usize) -> Vec<Unwritten<'a>>,
    ) -> Option<StoreRequest> {
        if self.due_at(room)?.0 > now {
            return None;
        }
        let searching = self.search_at(room).is_some_and(|at| at <= now);
        // What others left may be taken by the platform; what was set aside was refused, and soon fills memory again.
        let reading = self.read_at(room).is_some_and(|at| at <= now)
            && (!searching || Kind::ALL.iter().any(|kind| self.ahead(*kind, room).is_some()));
        // An agent that cannot renew its leases in time adopts no more.
        let is_behind = self.orphans.due().1 != Search::List
            && self.streams.values().any(|stream| self.is_overdue(stream, now));
        if self.others_next
            && (reading || !self.closing)
            && let Some(other) = self.next_other(now, room, reading, searching && !is_behind)
        {
            return Some(other);
        }
        let is_idle = |own: &Stream| own.is_known() && own.renew_at <= now && own.is_finished();
        let is_idle = self.unsure.is_none() && self.streams.get(&0).is_some_and(is_idle);
        // An append that is due renews the lease of our own stream instead.
        if is_idle && self.append_at().is_none_or(|at| at > now) {
            return Some(self.close_own(rng));
        }
        if let Some(writing) = self.next_write(now, rng, unwritten) {
            let op = StoreOp::Write(writing.write.clone());
            self.next_commit = now + GROUP_COMMIT;
            self.others_next = true;
            return Some(self.start(op, Outstanding::Write(writing)));
        }
        if is_idle {
            return Some(self.close_own(rng));
        }
        self.next_other(now, room, reading, searching)
    }

    /// The next operation other than a write.
    fn next_other(
        &mut self,
        now: Instant,
        room: JournalRoom,
        reading: bool,
        searching: bool,
    ) -> Option<StoreRequest> {
        self.others_next = false;
        if reading {
            return self.read(room);
        }
        if self.close_at().is_some_and(|at| at <= now) {
            return self.close_next();
        }
        if !searching {
            return None;
        }
        Some(match self.orphans.due().1 {
            Search::List => self.start(StoreOp::List { space: self.space }, Outstanding::List),
            Search::Adopt(stream) => {
                self.start(StoreOp::Adopt { stream, lease: self.lease.ttl }, Outstanding::Adopt(stream))
            }
        })
    }

    /// The next append to our own stream, or the change of a stream that needs one. Changes go first while nothing can be
    /// appended, and when a renewal is so late that appends without a pause could cost the lease.
    pub(super) fn next_write<'a>(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        unwritten: impl Fn(Kind, Seq, usize) -> Vec<Unwritten<'a>>,
    ) -> Option<Box<Writing>> {
        // An append renews the lease of our own stream.
        let mut adopted = self.streams.range(1..).map(|(_, stream)| stream);
        if (self.is_down() || adopted.any(|stream| self.is_overdue(stream, now)))
            && let Some(change) = self.next_change(now, rng)
        {
            return Some(change);
        }
        if self.append_at().is_some_and(|at| at <= now) {
            match self.unsure.take() {
                None => {
                    if let Some(append) = self.next_append(now, rng, unwritten) {
                        return Some(append);
                    }
                    self.troubles.on_idle(Part::Append);
                }
                Some(mut unsure) => {
                    unsure.write.register = true;
                    return Some(unsure);
                }
            }
        }
        self.next_change(now, rng)
    }

    /// Whether its lease should have been renewed a whole interval ago.
    fn is_overdue(&self, stream: &Stream, now: Instant) -> bool {
        stream.is_known() && stream.renew_at + self.lease.renewal <= now
    }

    fn next_append<'a>(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        unwritten: impl Fn(Kind, Seq, usize) -> Vec<Unwritten<'a>>,
    ) -> Option<Box<Writing>> {
        self.urgent = false;
        let (bytes, _) = self.waiting.take().filter(|_| self.streams.contains_key(&0))?;
        let mut appended = 0;
        let mut is_all = true;
        let mut logs = ByKind::<Appends>::default();
        for kind in Kind::ALL {
            let records = unwritten(kind, self.acknowledged[kind], APPEND_BYTES);
            let taken: usize = records.iter().map(|record| record.json.len()).sum();
            is_all &= taken < APPEND_BYTES;
            appended += taken;
            logs[kind] = self.blocks(kind, &records, rng);
        }
        let copy = match (is_all, appended) {
            (false, _) => CopyOf::Nothing,
            (true, 0) => CopyOf::Acknowledged,
            (true, _) => CopyOf::Appended,
        };
        for spoilt in self.spoilt.iter_mut().filter(|spoilt| spoilt.copy != CopyOf::Acknowledged) {
            spoilt.copy = copy;
        }
        // What was settled meanwhile counts no more.
        self.waiting = (!is_all).then(|| (bytes.saturating_sub(appended), now));
        if appended > 0 { self.write(0, logs, rng) } else { None }
    }

    pub(super) fn next_change(&mut self, now: Instant, rng: &mut Rng) -> Option<Box<Writing>> {
        if self.change_at()? > now {
            return None;
        }
        let needs = |(origin, stream): &(&u16, &Stream)| {
            let is_late = stream.is_known() && stream.renew_at <= now;
            stream.has_changes()
                || is_late && (**origin > 0 || !stream.is_finished() || self.unsure.is_some())
        };
        // The stream whose lease was renewed longest ago goes first: with many streams and a slow store the first of all
        // would be due again before the last has its turn.
        let (origin, _) = self.streams.iter().filter(needs).min_by_key(|(_, stream)| stream.renew_at)?;
        self.write(*origin, ByKind::default(), rng)
    }

    /// Divides records into blocks.
    pub(super) fn blocks(&self, kind: Kind, records: &[Unwritten<'_>], rng: &mut Rng) -> Appends {
        let mut appends = Appends::default();
        let Some(own) = self.streams.get(&0) else { return appends };
        let (most_bytes, most_records) = self.block_limit;
        let mut rest = records;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(most_records).take_while(|record| {
                bytes += record.json.len() + block::OVERHEAD;
                bytes <= most_bytes
            });
            let count = fits.count().max(1);
            let (these, others) = rest.split_at(count);
            rest = others;
            if let Some(block) = block::encode(&own.envelope, kind, these, rng) {
                let mut spans = Spans::default();
                for record in these {
                    spans.push(record.seq, record.seq);
                }
                appends.contents.push((block.id, spans));
                appends.blocks.push(block);
            }
        }
        appends
    }

    pub(super) fn write(
        &mut self,
        origin: u16,
        logs: ByKind<Appends>,
        rng: &mut Rng,
    ) -> Option<Box<Writing>> {
        let stream = self.streams.get_mut(&origin)?;
        let ByKind { events, metrics } = logs;
        let last = stream.last;
        let behind = |appends: &Appends, last: Seq| appends.blocks.last().map_or(last, |block| block.id);
        let covered =
            ByKind { events: behind(&events, last.events), metrics: behind(&metrics, last.metrics) };
        let (mut remove, mut told) = stream.tell(&covered, MOST_BLOCKS, rng);
        // An append that may have been made moved the end of its log, or did not.
        let is_sure = origin == 0 && self.unsure.is_none();
        let mut log = |kind: Kind, append: Vec<Block>| LogWrite {
            expected: is_sure.then_some(last[kind]),
            append,
            remove: core::mem::take(&mut remove[kind]),
        };
        let logs =
            ByKind { events: log(Kind::Event, events.blocks), metrics: log(Kind::Metric, metrics.blocks) };
        let notes = core::mem::take(&mut told.notes);
        let register = stream.register_at <= self.awake_at;
        let write = Write { stream: stream.id, register, lease: self.lease.ttl, logs, notes };
        let appended = ByKind { events: events.contents, metrics: metrics.contents };
        let settled = ByKind::default();
        Some(Box::new(Writing { origin, write, appended, settled, told, repeated: false }))
    }

    fn close_next(&mut self) -> Option<StoreRequest> {
        let spoilt = self.spoilt.iter().position(|spoilt| self.is_over(spoilt));
        let (stream, origin, keep) = match spoilt.map(|place| self.spoilt.remove(place)) {
            Some(Spoilt { stream, keep, copy }) => (stream, NO_ORIGIN, keep || copy != CopyOf::Acknowledged),
            None => {
                let (origin, keep) = self.closable()?;
                (self.streams.get(&origin)?.id, origin, keep)
            }
        };
        Some(self.start(StoreOp::Close { stream, keep }, Outstanding::Close { origin, keep }))
    }

    /// Our stream is empty and its lease to be renewed: an idle agent keeps nothing in the store.
    fn close_own(&mut self, rng: &mut Rng) -> StoreRequest {
        let fresh = self.fresh_stream(rng);
        let old = self.streams.insert(0, fresh).map_or_else(|| StreamId::new(self.space, 0), |old| old.id);
        self.start(
            StoreOp::Close { stream: old, keep: false },
            Outstanding::Close { origin: NO_ORIGIN, keep: false },
        )
    }

    fn read(&mut self, room: JournalRoom) -> Option<StoreRequest> {
        let (kind, origin) =
            Kind::ALL.into_iter().find_map(|kind| self.unread(kind, room).map(|origin| (kind, origin)))?;
        let limit = if self.closing { 1 } else { self.read_limit };
        let lease = self.lease.ttl;
        let stream = self.streams.get_mut(&origin)?;
        let (id, log) = (stream.id, &mut stream.logs[kind]);
        if stream.ended[kind] && !log.has_ahead() {
            log.rewind();
        }
        let from = log.next();
        Some(self.start(
            StoreOp::Read { stream: id, kind, from, limit, lease },
            Outstanding::Read { origin, kind, from, limit },
        ))
    }

    fn start(&mut self, op: StoreOp, outstanding: Outstanding) -> StoreRequest {
        let id = StoreOpId::from_u64(self.next_op);
        self.next_op += 1;
        self.outstanding = Some((id, self.awake_at, outstanding));
        for stream in self.streams.values_mut() {
            stream.asked_since.get_or_insert(self.awake_at);
        }
        StoreRequest { id, owner: self.owner, op, timeout: self.timeout }
    }
}
