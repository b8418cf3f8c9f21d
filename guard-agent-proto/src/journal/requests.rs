use alloc::vec::Vec;
use core::time::Duration;

use super::block::BlockFormat;
use super::note;
use super::orphans::Search;
use super::spans::Spans;
use super::stream::Stream;
use super::{GROUP_BYTES, Journal, JournalRoom, MOST_BLOCKS, Outstanding, Seal, Unwritten, Writing};
use crate::rng::Rng;
use crate::store::{Block, LogWrite, Note, StoreOp, StoreRequest, StreamId, Write};
use crate::{ByKind, Instant, Kind, Reason, Seq, StoreOpId};

/// The next change starts at least that long after the last one...
const GROUP_COMMIT: Duration = Duration::from_millis(50);
/// Most bytes of JSON in one change.
const APPEND_BYTES: usize = 512 << 10;
/// Most streams that are adopted and not finished.
const MOST_ADOPTED: usize = 64;

/// What is appended to a log.
#[derive(Debug, Default)]
struct Appends {
    blocks: Vec<Block>,
    /// Ids of the blocks, and what they consist of.
    contents: Vec<(Seq, Spans)>,
}

impl Journal {
    /// When the next operation is due; `None` while one is outstanding or there is nothing to do.
    pub(crate) fn due_at(&self, room: JournalRoom) -> Option<(Instant, Reason)> {
        if self.outstanding.is_some() {
            return None;
        }
        let due = [self.write_at(), self.read_at(room), self.search_at(room), self.close_at()];
        let due = due.into_iter().flatten().min()?;
        Some((self.gate.map_or(due, |gate| gate.max(due)), Reason::Journal))
    }

    fn write_at(&self) -> Option<Instant> {
        if self.writing.is_some() {
            return Some(Instant::ZERO);
        }
        let commit =
            |since: Instant, at_once: bool| if at_once { since } else { self.next_commit.max(since) };
        let append = self
            .waiting
            .map(|(bytes, since)| commit(since, bytes >= GROUP_BYTES || self.urgent || self.closing));
        let awaited = |stream: &Stream| stream.seals.iter().any(|state| state.awaited && !state.noted);
        let changes = self.streams.values().filter(|stream| stream.has_changes());
        let changes = changes.map(|stream| commit(Instant::ZERO, self.closing || awaited(stream)));
        let renewals = self.streams.values().map(|stream| stream.renew_at);
        append.into_iter().chain(changes).chain(renewals).filter(|at| *at < Instant::FAR_FUTURE).min()
    }

    fn read_at(&self, room: JournalRoom) -> Option<Instant> {
        Kind::ALL.iter().any(|kind| self.unread(*kind, room).is_some()).then_some(Instant::ZERO)
    }

    fn search_at(&self, room: JournalRoom) -> Option<Instant> {
        let wanted = room.others && room.read.events && room.read.metrics && !self.closing;
        (wanted && self.streams.len() <= MOST_ADOPTED).then(|| self.orphans.due().0)
    }

    fn close_at(&self) -> Option<Instant> {
        self.closable().is_some().then_some(Instant::ZERO)
    }

    /// The stream to be read next: our own records come first, and what was set aside comes last.
    fn unread(&self, kind: Kind, room: JournalRoom) -> Option<u16> {
        if !room.read[kind] || !self.pages[kind].is_empty() {
            return None;
        }
        let ours = || self.streams.iter().filter(|(origin, _)| **origin == 0 || room.others);
        let ahead = |(_, stream): &(&u16, &Stream)| stream.logs[kind].has_ahead() || !stream.ended[kind];
        let unread = |(_, stream): &(&u16, &Stream)| stream.logs[kind].has_unread();
        ours().find(ahead).or_else(|| ours().find(unread)).map(|(origin, _)| *origin)
    }

    /// A stream that is to be given up, and whether its content stays.
    fn closable(&self) -> Option<(u16, bool)> {
        if self.closing {
            let (origin, stream) = self.streams.first_key_value()?;
            return Some((*origin, !stream.is_finished()));
        }
        let finished = |(origin, stream): &(&u16, &Stream)| **origin > 0 && stream.is_finished();
        let (origin, _) = self.streams.iter().find(finished)?;
        let paged =
            Kind::ALL.iter().any(|kind| self.pages[*kind].iter().any(|paged| paged.origin == *origin));
        (!paged).then_some((*origin, false))
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
        self.gate = None;
        let reading = self.read_at(room).is_some();
        if self.writing.is_none() && self.read_next && reading {
            return self.read(room);
        }
        if self.writing.is_none() && self.write_at().is_some_and(|at| at <= now) {
            self.writing = self.next_write(now, rng, unwritten);
            if self.writing.is_none() && self.streams.get(&0).is_some_and(|own| own.renew_at <= now) {
                return Some(self.close_own(rng));
            }
        }
        if let Some(writing) = &self.writing {
            let op = StoreOp::Write(writing.write.clone());
            self.next_commit = now + GROUP_COMMIT;
            self.read_next = true;
            return Some(self.start(op, Outstanding::Write));
        }
        if reading {
            return self.read(room);
        }
        if let Some((origin, keep)) = self.closable()
            && let Some(stream) = self.streams.get(&origin)
        {
            let op = StoreOp::Close { stream: stream.id, keep };
            return Some(self.start(op, Outstanding::Close { origin, keep }));
        }
        if self.search_at(room)? > now {
            return None;
        }
        Some(match self.orphans.due().1 {
            Search::List => self.start(StoreOp::List { space: self.space }, Outstanding::List),
            Search::Adopt(stream) => {
                self.start(StoreOp::Adopt { stream, lease: self.lease.ttl }, Outstanding::Adopt(stream))
            }
        })
    }

    /// A change of our own stream if there is anything to append, else of the stream that needs one.
    fn next_write<'a>(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        unwritten: impl Fn(Kind, Seq, usize) -> Vec<Unwritten<'a>>,
    ) -> Option<Writing> {
        let urgent = core::mem::take(&mut self.urgent) || self.closing;
        if !self.streams.contains_key(&0) {
            self.waiting = None;
        }
        if let Some((bytes, since)) = self.waiting
            && (bytes >= GROUP_BYTES || urgent || self.next_commit.max(since) <= now)
        {
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
            // What was settled meanwhile counts no more.
            self.waiting = (!is_all).then(|| (bytes.saturating_sub(appended), now));
            if appended > 0 {
                return self.write(0, logs);
            }
        }
        let needs = |(_, stream): &(&u16, &Stream)| stream.has_changes() || stream.renew_at <= now;
        let (origin, stream) = self.streams.iter().find(needs)?;
        if *origin == 0 && !stream.has_changes() && stream.is_finished() {
            return None;
        }
        self.write(*origin, ByKind::default())
    }

    /// Divides records into blocks.
    fn blocks(&self, kind: Kind, records: &[Unwritten<'_>], rng: &mut Rng) -> Appends {
        let mut appends = Appends::default();
        let Some(own) = self.streams.get(&0) else { return appends };
        let (most_bytes, most_records) = self.block_limit;
        let mut rest = records;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(most_records).take_while(|record| {
                bytes += record.json.len() + BlockFormat::OVERHEAD;
                bytes <= most_bytes
            });
            let count = fits.count().max(1);
            let (these, others) = rest.split_at(count);
            rest = others;
            if let Some(block) = self.format.encode(own.id, kind, these, rng) {
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

    fn write(&mut self, origin: u16, logs: ByKind<Appends>) -> Option<Writing> {
        let stream = self.streams.get_mut(&origin)?;
        let ByKind { events, metrics } = logs;
        let mut notes = core::mem::take(&mut stream.notes);
        let mut seals = Vec::new();
        for (kind, id) in stream.unsealed.drain(..) {
            notes.push(Note { name: Seal::name(kind, id), value: None });
        }
        for state in stream.seals.iter_mut().filter(|state| !state.noted) {
            state.noted = true;
            notes.push(state.seal.note());
            seals.push((state.seal.kind, state.seal.id));
        }
        let last = stream.last;
        let mut log = |kind: Kind, append: Vec<Block>| {
            let log = &mut stream.logs[kind];
            for (block, settled) in log.take_changed(MOST_BLOCKS) {
                notes.push(note::settled_note(kind, block, &settled));
            }
            let mut remove = Vec::new();
            for (block, noted) in log.take_removable(MOST_BLOCKS) {
                if noted {
                    notes.push(Note { name: note::settled_name(kind, block), value: None });
                }
                remove.push(block);
            }
            LogWrite { expected: (origin == 0).then_some(last[kind]), append, remove }
        };
        let logs =
            ByKind { events: log(Kind::Event, events.blocks), metrics: log(Kind::Metric, metrics.blocks) };
        let write =
            Write { stream: stream.id, register: stream.register, lease: self.lease.ttl, logs, notes };
        let appended = ByKind { events: events.contents, metrics: metrics.contents };
        Some(Writing { origin, write, appended, settled: ByKind::default(), seals })
    }

    /// Our stream is empty and its lease to be renewed: an idle agent keeps nothing in the store.
    fn close_own(&mut self, rng: &mut Rng) -> StoreRequest {
        let fresh = Stream::own(self.space, rng);
        let old = self.streams.insert(0, fresh).map_or_else(|| StreamId::new(self.space, 0), |old| old.id);
        self.start(
            StoreOp::Close { stream: old, keep: false },
            Outstanding::Close { origin: u16::MAX, keep: false },
        )
    }

    fn read(&mut self, room: JournalRoom) -> Option<StoreRequest> {
        self.read_next = false;
        let (kind, origin) =
            Kind::ALL.into_iter().find_map(|kind| self.unread(kind, room).map(|origin| (kind, origin)))?;
        let limit = self.read_limit;
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
        StoreRequest { id, owner: self.owner, op, timeout: self.timeout }
    }
}
