mod block;
mod codec;
mod log;
mod note;
mod orphans;
mod spans;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use self::block::BlockFormat;
pub(crate) use self::block::Unwritten;
pub use self::block::{BlockReader, StoredRecord};
use self::log::Log;
use self::note::{Content, Seal};
use self::orphans::{Orphans, Search};
use self::spans::Spans;
use crate::backoff::Backoff;
use crate::rng::Rng;
use crate::store::{
    Block, LogWrite, Note, OwnerId, Space, StoreAnswer, StoreError, StoreErrorKind, StoreOp, StoreRequest,
    StreamId, Write,
};
use crate::wire::Cipher;
use crate::{AgentConfig, Batch, BatchId, ByKind, ConfigError, Instant, Kind, Reason, Seq, StoreOpId};

/// Write-ahead log of what waits: append, wait for the acknowledgement, remove once settled.
///
/// What was acknowledged may leave memory and be read again later, so that a backlog is as large as the store
/// allows. The streams of agents that died are adopted and read the same way. One operation is outstanding at
/// a time, and a change that failed is repeated as it was until it is known to be done. A store that fails
/// never stops delivery: records stay in memory, and what is still undelivered is appended when the store
/// is back.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    format: BlockFormat,
    space: Space,
    owner: OwnerId,
    lease: Lease,
    timeout: Duration,
    /// Largest block, in bytes of JSON and in records: a part of what memory may hold.
    block_limit: (usize, usize),

    next_op: u64,
    outstanding: Option<(StoreOpId, Outstanding)>,
    /// A change that is not known to be done.
    writing: Option<Writing>,
    /// No operation starts before that.
    gate: Option<Instant>,
    backoff: Backoff,
    trouble: Option<StoreErrorKind>,

    /// Bytes accepted and not yet appended, and since when.
    waiting: Option<(usize, Instant)>,
    /// Somebody waits for durability.
    urgent: bool,
    /// No change starts before that (group commit).
    next_commit: Instant,
    /// The last operation was a change: reading goes next.
    read_next: bool,

    /// Our own stream under 0, adopted ones under their number.
    streams: BTreeMap<u16, Stream>,
    /// Our own records before these places were acknowledged.
    acknowledged: ByKind<Seq>,
    orphans: Orphans,
    /// Records that were read and are still to be taken.
    pages: ByKind<VecDeque<Paged>>,
    /// Blocks to ask for at once.
    read_limit: usize,
    /// The store went back in time, so that what is stored may be gone.
    doubt: ByKind<bool>,
    next_origin: u16,
    /// Records in streams that were given up with their content: here and stored.
    released: ByKind<(u64, u64)>,
    closing: bool,
}

/// A stream that is ours.
#[derive(Clone, Debug)]
struct Stream {
    id: StreamId,
    logs: ByKind<Log>,
    /// Highest ids that the store has acknowledged.
    last: ByKind<Seq>,
    /// The store may not know of it, or may have forgotten.
    register: bool,
    /// Of an adopted stream: nothing new is to be read any more.
    ended: ByKind<bool>,
    renew_at: Instant,
    lapses_at: Instant,
    /// Batches that may have been sent.
    seals: Vec<SealState>,
    /// Seals whose batches are gone.
    unsealed: Vec<(Kind, BatchId)>,
    /// Notes that did not get through.
    notes: Vec<Note>,
}

#[derive(Clone, Debug)]
struct SealState {
    seal: Seal,
    /// The store has it, or is about to have it.
    noted: bool,
    /// The batch waits for that.
    awaited: bool,
}

#[derive(Clone, Debug)]
enum Outstanding {
    Write,
    List,
    Adopt(StreamId),
    Read { origin: u16, kind: Kind, from: Seq, limit: usize },
    Close { origin: u16, keep: bool },
}

#[derive(Clone, Debug)]
struct Writing {
    origin: u16,
    write: Write,
    /// What the appended blocks consist of.
    appended: ByKind<Vec<(Seq, Spans)>>,
    /// Records of them that were settled meanwhile.
    settled: ByKind<Vec<Seq>>,
    seals: Vec<(Kind, BatchId)>,
}

/// A stored record on its way back into memory.
#[derive(Clone, Debug)]
struct Paged {
    origin: u16,
    block: Seq,
    total: u64,
    record: StoredRecord,
}

/// A stored record that came back.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) seq: Seq,
    pub(crate) record: StoredRecord,
    /// It is met for the first time: another run of the agent accepted it.
    pub(crate) recovered: bool,
    /// The batch in which it may have been sent.
    pub(crate) sealed: Option<SealedBatch>,
}

/// A batch of another run of the agent, to be sent as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealedBatch {
    pub(crate) id: BatchId,
    pub(crate) created_at: crate::Timestamp,
    pub(crate) nonce: [u8; 12],
    pub(crate) len: u64,
    /// Its last record.
    pub(crate) last: Seq,
}

/// What a reply brought.
#[derive(Debug, Default)]
pub(crate) struct JournalNews {
    /// Our own records that became durable.
    pub(crate) durable: ByKind<Option<Range<Seq>>>,
    /// Batches whose seals are durable.
    pub(crate) sealed: Vec<(Kind, BatchId)>,
    /// Blocks, notes and entries that could not be understood.
    pub(crate) corrupt: u64,
    /// Known streams of other versions of the agent, or with another key, if their number changed.
    pub(crate) foreign: Option<usize>,
    /// A stream was adopted.
    pub(crate) adopted: bool,
    /// Another agent has that stream now, 0 for our own; stored records went with it.
    pub(crate) fenced: Option<(u16, ByKind<u64>)>,
    /// Stored records that the store lost.
    pub(crate) lost: ByKind<u64>,
    /// Why the operation failed.
    pub(crate) error: Option<StoreError>,
}

/// What memory has room for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JournalRoom {
    /// Stored records may be read.
    pub(crate) read: ByKind<bool>,
    /// So may streams of other runs of the agent, and more of them may be adopted.
    pub(crate) others: bool,
}

/// How the time until an orphan is adopted is divided. All is over within the configured lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// Time to live in the store.
    ttl: Duration,
    /// How often it is renewed, and orphans are looked for.
    renewal: Duration,
    /// How long one that ran out is left alone.
    grace: Duration,
}

/// The next change starts at least that long after the last one...
const GROUP_COMMIT: Duration = Duration::from_millis(50);
/// ... unless that many bytes wait.
const GROUP_BYTES: usize = 64 << 10;
/// Most bytes of JSON in one change.
const APPEND_BYTES: usize = 512 << 10;
/// Most bytes of JSON in a block, if it has more than one record.
const BLOCK_BYTES: usize = 128 << 10;
/// Most bytes to read at once, about.
const READ_BYTES: usize = 512 << 10;
/// Most blocks to read, or to remove, at once.
const MOST_BLOCKS: usize = 512;
/// Adopted streams are numbered up to this; by then the first ones are long finished.
const LAST_ORIGIN: u16 = 8_191;
/// Most streams that are adopted and not finished.
const MOST_ADOPTED: usize = 64;

impl Lease {
    pub(crate) fn new(lease: Duration) -> Self {
        Self { ttl: lease.mul_f32(0.4), renewal: lease / 8, grace: lease / 4 }
    }
}

impl Journal {
    pub(crate) fn new(config: &AgentConfig, now: Instant, rng: &mut Rng) -> Result<Self, ConfigError> {
        let format = BlockFormat::from_config(config)?;
        let space = Space::new(format.cipher.as_ref().map_or(0, Cipher::fingerprint));
        let lease = Lease::new(config.journal_lease);
        let owner = OwnerId::from_u64(rng.next_u64());
        let own = Stream::own(space, rng);
        Ok(Self {
            format,
            space,
            owner,
            lease,
            timeout: config.journal_timeout,
            block_limit: (BLOCK_BYTES.min(config.buffer_bytes / 8).max(1), (config.buffer_size / 8).max(1)),
            next_op: 0,
            outstanding: None,
            writing: None,
            gate: None,
            // Quick enough for a lease to be renewed within the grace.
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(15).min(lease.grace / 2)),
            trouble: None,
            waiting: None,
            urgent: false,
            next_commit: Instant::ZERO,
            read_next: false,
            streams: BTreeMap::from([(0, own)]),
            acknowledged: ByKind { events: FIRST, metrics: FIRST },
            orphans: Orphans::new(lease, now),
            pages: ByKind::default(),
            read_limit: 4,
            doubt: ByKind::default(),
            next_origin: 1,
            released: ByKind::default(),
            closing: false,
        })
    }

    /// A record of our own was accepted.
    pub(crate) fn on_accepted(&mut self, bytes: usize, now: Instant) {
        let (waiting, since) = self.waiting.unwrap_or((0, now));
        self.waiting = Some((waiting + bytes, since));
    }

    /// A record in memory was delivered or given up.
    pub(crate) fn on_settled(&mut self, kind: Kind, seq: Seq) {
        let place = seq.place();
        let Some(stream) = self.streams.get_mut(&seq.origin()) else { return };
        stream.break_seals(kind, place);
        if seq.origin() > 0 || place < self.acknowledged[kind] {
            stream.logs[kind].settle(place);
        } else if let Some(writing) = &mut self.writing
            && writing.appended[kind].last().is_some_and(|(last, _)| place <= *last)
        {
            writing.settled[kind].push(place);
        }
    }

    /// Whether the store has that record, which is in memory.
    pub(crate) fn holds(&self, kind: Kind, seq: Seq) -> bool {
        self.streams.get(&seq.origin()).is_some_and(|stream| stream.logs[kind].has(seq.place()))
    }

    /// Leaves a record that the store has to the store alone.
    pub(crate) fn release(&mut self, kind: Kind, seq: Seq, bytes: usize) {
        let Some(stream) = self.streams.get_mut(&seq.origin()) else { return };
        let log = &mut stream.logs[kind];
        let place = seq.place();
        log.release(place, bytes);
        // What was read behind it comes after it again.
        if self.pages[kind]
            .front()
            .is_some_and(|paged| paged.origin == seq.origin() && place < paged.record.seq)
        {
            for paged in self.pages[kind].drain(..) {
                log.read_again(paged.record.seq);
            }
        }
    }

    /// A batch is about to be sent, or to be sent once its seal is durable. Batches of several streams
    /// have no seal.
    pub(crate) fn on_sealed(&mut self, batch: &Batch, awaited: bool) -> bool {
        let kind = batch.kind();
        let mut records = Spans::default();
        let mut origins = batch.entries.iter().map(|entry| entry.seq().origin());
        let Some(origin) = origins.next().filter(|first| origins.all(|origin| origin == *first)) else {
            return false;
        };
        for entry in &batch.entries {
            records.insert(entry.seq().place());
        }
        let Some(stream) = self.streams.get_mut(&origin) else { return false };
        if stream.seals.iter().any(|state| state.seal.id == batch.id()) {
            return true;
        }
        let (id, created_at, nonce) = (batch.id(), batch.created_at(), *batch.nonce());
        let seal = Seal { kind, id, created_at, nonce, records };
        stream.seals.push(SealState { seal, noted: false, awaited });
        true
    }

    /// Whether somebody waits for everything so far to be durable.
    pub(crate) fn hurry(&mut self) {
        self.urgent = true;
    }

    /// Gives streams up, once nothing is left to write: those with content are for others to adopt at once.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// Whether that is done, or cannot be done now.
    pub(crate) fn is_closed(&self) -> bool {
        self.closing && (self.is_down() || self.outstanding.is_none() && self.streams.is_empty())
    }

    /// The next stored record of that kind, if it was read.
    pub(crate) fn peek(&self, kind: Kind) -> Option<&StoredRecord> {
        self.pages[kind].front().map(|paged| &paged.record)
    }

    /// Takes it.
    pub(crate) fn take(&mut self, kind: Kind) -> Option<Returned> {
        let Paged { origin, block, total, record } = self.pages[kind].pop_front()?;
        let stream = self.streams.get_mut(&origin)?;
        let bytes = record.json.len() + crate::batch::Entry::OVERHEAD;
        let recovered = stream.logs[kind].take(block, total, record.seq, bytes);
        let sealed = if origin > 0 { stream.seal_of(kind, record.seq) } else { None };
        let sealed = sealed.map(|seal| SealedBatch { last: seal.last.from_origin(origin), ..seal });
        Some(Returned { seq: record.seq.from_origin(origin), record, recovered, sealed })
    }

    /// Whether records up to that one may still come back.
    pub(crate) fn may_return(&self, kind: Kind, seq: Seq) -> bool {
        let paged = |paged: &Paged| paged.origin == seq.origin() && paged.record.seq <= seq.place();
        let unread = |stream: &Stream| {
            let log = &stream.logs[kind];
            log.next() <= seq.place() && (log.has_unread() || !stream.ended[kind])
        };
        self.pages[kind].iter().any(paged) || self.streams.get(&seq.origin()).is_some_and(unread)
    }

    /// Known records that only the store holds.
    pub(crate) fn stored(&self, kind: Kind) -> u64 {
        self.streams.values().map(|stream| stream.logs[kind].stored()).sum::<u64>() + self.released[kind].1
    }

    /// Their memory, were they here.
    pub(crate) fn stored_bytes(&self, kind: Kind) -> u64 {
        self.streams.values().map(|stream| stream.logs[kind].stored_bytes()).sum()
    }

    /// Records of our own before `mark` that only the store holds.
    pub(crate) fn stored_before(&self, kind: Kind, mark: Seq) -> u64 {
        match self.streams.get(&0) {
            Some(_) if mark == Seq::from_u64(u64::MAX) => self.stored(kind),
            Some(own) => own.logs[kind].stored_before(mark),
            None => 0,
        }
    }

    /// Known records that are in the store, in memory or not.
    pub(crate) fn persisted(&self, kind: Kind) -> u64 {
        let logs = || self.streams.values().map(|stream| &stream.logs[kind]);
        let stored = if self.doubt[kind] { 0 } else { self.stored(kind) };
        logs().map(Log::here).sum::<u64>() + self.released[kind].0 + stored
    }

    /// Our own records of that kind before this place were acknowledged.
    pub(crate) fn acknowledged(&self, kind: Kind) -> Seq {
        self.acknowledged[kind]
    }

    /// Why the last operation failed, if it did.
    pub(crate) const fn trouble(&self) -> Option<StoreErrorKind> {
        self.trouble
    }

    pub(crate) const fn is_down(&self) -> bool {
        self.trouble.is_some()
    }

    /// Whether others may have our records: we gave them up, or our lease has run out as far as we know. Without
    /// an answer of the store nobody can tell, and then it does not count.
    pub(crate) fn is_in_doubt(&self, now: Instant) -> bool {
        self.closing || !self.is_down() && self.streams.values().any(|stream| stream.lapses_at <= now)
    }

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

    /// The stream to be read next: our own records come first.
    fn unread(&self, kind: Kind, room: JournalRoom) -> Option<u16> {
        if !room.read[kind] || !self.pages[kind].is_empty() {
            return None;
        }
        let unread = |(origin, stream): &(&u16, &Stream)| {
            (stream.logs[kind].has_unread() || !stream.ended[kind]) && (**origin == 0 || room.others)
        };
        self.streams.iter().find(unread).map(|(origin, _)| *origin)
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
            let mut logs: ByKind<(Vec<Block>, Vec<(Seq, Spans)>)> = ByKind::default();
            for kind in Kind::ALL {
                let records = unwritten(kind, self.acknowledged[kind], APPEND_BYTES);
                appended += records.iter().map(|record| record.json.len()).sum::<usize>();
                logs[kind] = self.blocks(kind, &records, rng);
            }
            self.waiting =
                bytes.checked_sub(appended).filter(|rest| *rest > 0 && appended > 0).map(|rest| (rest, now));
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
    fn blocks(
        &self,
        kind: Kind,
        records: &[Unwritten<'_>],
        rng: &mut Rng,
    ) -> (Vec<Block>, Vec<(Seq, Spans)>) {
        let (mut blocks, mut contents) = (Vec::new(), Vec::new());
        let Some(own) = self.streams.get(&0) else { return (blocks, contents) };
        let (most_bytes, most_records) = self.block_limit;
        let mut rest = records;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(most_records).take_while(|record| {
                bytes += record.json.len();
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
                contents.push((block.id, spans));
                blocks.push(block);
            }
        }
        (blocks, contents)
    }

    fn write(&mut self, origin: u16, logs: ByKind<(Vec<Block>, Vec<(Seq, Spans)>)>) -> Option<Writing> {
        let stream = self.streams.get_mut(&origin)?;
        let ByKind { events: (events, event_contents), metrics: (metrics, metric_contents) } = logs;
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
        let logs = ByKind { events: log(Kind::Event, events), metrics: log(Kind::Metric, metrics) };
        let write =
            Write { stream: stream.id, register: stream.register, lease: self.lease.ttl, logs, notes };
        let appended = ByKind { events: event_contents, metrics: metric_contents };
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
        let stream = self.streams.get(&origin)?;
        let limit = self.read_limit;
        let (from, lease) = (stream.logs[kind].next(), self.lease.ttl);
        Some(self.start(
            StoreOp::Read { stream: stream.id, kind, from, limit, lease },
            Outstanding::Read { origin, kind, from, limit },
        ))
    }

    fn start(&mut self, op: StoreOp, outstanding: Outstanding) -> StoreRequest {
        let id = StoreOpId::from_u64(self.next_op);
        self.next_op += 1;
        self.outstanding = Some((id, outstanding));
        StoreRequest { id, owner: self.owner, op, timeout: self.timeout }
    }

    /// An operation ended. `None` if it is not the outstanding one.
    pub(crate) fn on_reply(
        &mut self,
        id: StoreOpId,
        result: Result<StoreAnswer, StoreError>,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<JournalNews> {
        let (_, done) = self.outstanding.take_if(|(outstanding, _)| *outstanding == id)?;
        let mut news = JournalNews::default();
        match result {
            Ok(answer) => {
                self.backoff.reset();
                self.trouble = None;
                self.on_done(done, answer, now, rng, &mut news);
            }
            Err(error) if error.kind == StoreErrorKind::Fenced => {
                self.backoff.reset();
                self.trouble = None;
                self.on_fenced(&done, now, rng, &mut news);
            }
            Err(error) => {
                self.gate = Some(now + self.backoff.next(rng));
                self.trouble = Some(error.kind);
                self.streams.values_mut().for_each(|stream| stream.register = true);
                if let Some(writing) = &mut self.writing {
                    writing.write.register = true;
                }
                // Whoever waits for a seal would wait for the store.
                news.sealed = self.streams.values_mut().flat_map(Stream::wait_for_no_seal).collect();
                news.error = Some(error);
            }
        }
        Some(news)
    }

    fn on_done(
        &mut self,
        done: Outstanding,
        answer: StoreAnswer,
        now: Instant,
        rng: &mut Rng,
        news: &mut JournalNews,
    ) {
        match (done, answer) {
            (Outstanding::Write, StoreAnswer::Diverged { last }) => self.on_diverged(last, now, rng, news),
            (Outstanding::Write, _) => self.on_written(now, news),
            (Outstanding::List, StoreAnswer::Orphans { orphans, streams, foreign }) => {
                let strange: Vec<_> =
                    orphans.into_iter().filter(|orphan| !self.owns(orphan.stream)).collect();
                news.foreign = self.orphans.on_listed(&strange, streams, foreign, now, rng);
            }
            (Outstanding::List, _) => {
                self.orphans.on_listed(&[], 0, 0, now, rng);
            }
            (Outstanding::Adopt(id), StoreAnswer::Adopted { notes }) => {
                self.on_adopted(id, &notes, now, news)
            }
            (Outstanding::Adopt(id), _) => self.orphans.on_taken(id),
            // Records before that place were left to the store meanwhile: it is read again from there.
            (Outstanding::Read { origin, kind, from, .. }, _) if !self.reads_on_from(origin, kind, from) => {}
            (Outstanding::Read { origin, kind, limit, .. }, StoreAnswer::Blocks { blocks, skipped }) => {
                news.corrupt += skipped;
                self.on_read(origin, kind, limit, blocks, now, news);
            }
            (Outstanding::Read { origin, kind, .. }, _) => {
                // An answer of another kind has no blocks either.
                self.on_read(origin, kind, 0, Vec::new(), now, news);
            }
            (Outstanding::Close { origin, keep }, _) => {
                let Some(stream) = self.streams.remove(&origin).filter(|_| keep) else { return };
                for kind in Kind::ALL {
                    self.released[kind].0 += stream.logs[kind].here();
                    self.released[kind].1 += stream.logs[kind].stored();
                }
            }
        }
    }

    fn reads_on_from(&self, origin: u16, kind: Kind, from: Seq) -> bool {
        self.streams.get(&origin).is_some_and(|stream| stream.logs[kind].next() == from)
    }

    fn owns(&self, id: StreamId) -> bool {
        self.streams.values().any(|stream| stream.id == id)
    }

    fn on_written(&mut self, now: Instant, news: &mut JournalNews) {
        let Some(Writing { origin, appended, settled, seals, .. }) = self.writing.take() else { return };
        let Some(stream) = self.streams.get_mut(&origin) else { return };
        stream.register = false;
        stream.renew(now, self.lease);
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
        news.sealed = seals;
    }

    /// The store is not where we left it.
    fn on_diverged(&mut self, last: ByKind<Seq>, now: Instant, rng: &mut Rng, news: &mut JournalNews) {
        let Some(writing) = self.writing.take() else { return };
        let Some(stream) = self.streams.get_mut(&writing.origin) else { return };
        let ahead = Kind::ALL.iter().any(|kind| last[*kind] > stream.last[*kind]);
        if ahead || writing.origin > 0 {
            // Somebody else writes as if they were us: leave it to them.
            return self.lose_stream(writing.origin, now, rng, news);
        }
        stream.register = true;
        stream.renew(now, self.lease);
        stream.notes = writing.write.notes;
        for kind in Kind::ALL {
            stream.logs[kind].remove_again(&writing.write.logs[kind].remove);
            if last[kind] < stream.last[kind] {
                self.doubt[kind] |= stream.logs[kind].has_unread();
                stream.logs[kind].on_lost_after(last[kind]);
                self.acknowledged[kind] = last[kind].next();
                stream.last[kind] = last[kind];
                if let Some(paged) = self.pages[kind].front().filter(|paged| paged.origin == 0) {
                    stream.logs[kind].read_again(paged.record.seq);
                    self.pages[kind].clear();
                }
            }
        }
        for state in &mut stream.seals {
            state.noted = false;
        }
        news.error = Some(StoreError::new(
            StoreErrorKind::Other,
            "the store lost what it had acknowledged; what is still in memory is appended again",
        ));
        // All of it, however much that is.
        self.waiting = Some((GROUP_BYTES, now));
    }

    fn on_fenced(&mut self, done: &Outstanding, now: Instant, rng: &mut Rng, news: &mut JournalNews) {
        match done {
            Outstanding::Write => {
                if let Some(writing) = self.writing.take() {
                    self.lose_stream(writing.origin, now, rng, news);
                }
            }
            Outstanding::Read { origin, .. } | Outstanding::Close { origin, .. } => {
                self.lose_stream(*origin, now, rng, news);
            }
            Outstanding::Adopt(stream) => self.orphans.on_taken(*stream),
            Outstanding::List => {}
        }
    }

    /// Another agent adopted the stream.
    fn lose_stream(&mut self, origin: u16, now: Instant, rng: &mut Rng, news: &mut JournalNews) {
        let Some(stream) = self.streams.remove(&origin) else { return };
        let stored = ByKind { events: stream.logs.events.stored(), metrics: stream.logs.metrics.stored() };
        for kind in Kind::ALL {
            self.pages[kind].retain(|paged| paged.origin != origin);
        }
        news.sealed.extend(stream.seals.iter().map(|state| (state.seal.kind, state.seal.id)));
        news.fenced = Some((origin, stored));
        if origin == 0 && !self.closing {
            self.streams.insert(0, Stream::own(self.space, rng));
            self.waiting = Some((GROUP_BYTES, now));
        }
    }

    /// The agent has taken out what went with our own stream; the rest is to be appended to the new one.
    pub(crate) fn start_anew(&mut self) {
        self.acknowledged = ByKind { events: FIRST, metrics: FIRST };
    }

    fn on_adopted(&mut self, id: StreamId, notes: &[Note], now: Instant, news: &mut JournalNews) {
        self.orphans.on_taken(id);
        let origin = self.next_origin;
        self.next_origin = if origin < LAST_ORIGIN { origin + 1 } else { 1 };
        let mut stream = Stream::adopted(id);
        stream.renew(now, self.lease);
        for note in notes {
            match note::read(note) {
                Some(Content::Seal(seal)) => {
                    stream.seals.push(SealState { seal, noted: true, awaited: false });
                }
                Some(Content::Settled { kind, block, records }) => stream.logs[kind].on_noted(block, records),
                None => news.corrupt += 1,
            }
        }
        // The newest first: it tells how a record was sent last.
        stream.seals.sort_by_key(|state| core::cmp::Reverse((state.seal.created_at, state.seal.id)));
        self.streams.insert(origin, stream);
        news.adopted = true;
    }

    fn on_read(
        &mut self,
        origin: u16,
        kind: Kind,
        limit: usize,
        blocks: Vec<Block>,
        now: Instant,
        news: &mut JournalNews,
    ) {
        let Some(stream) = self.streams.get_mut(&origin) else { return };
        stream.renew(now, self.lease);
        let log = &mut stream.logs[kind];
        let Some(last) = blocks.last().map(|block| block.id).filter(|last| *last >= log.next()) else {
            // Beyond the last block: what was not met does not exist.
            stream.ended[kind] = true;
            news.lost[kind] = log.end();
            self.doubt[kind] &= origin > 0;
            return;
        };
        let bytes: usize = blocks.iter().map(|block| block.bytes.len()).sum();
        self.read_limit = (limit.max(1) * READ_BYTES / bytes.max(1)).clamp(1, MOST_BLOCKS).min(limit * 2);
        for block in blocks {
            let Some(records) = self.format.decode(stream.id, kind, &block) else {
                news.corrupt += 1;
                log.discard(block.id);
                continue;
            };
            let total = records.len() as u64;
            let mut stored = 0;
            for record in records.into_iter().filter(|record| log.is_stored(block.id, record.seq)) {
                stored += 1;
                self.pages[kind].push_back(Paged { origin, block: block.id, total, record });
            }
            if stored == 0 && log.is_spent(block.id, total) {
                log.discard(block.id);
            }
        }
        log.read_on_after(last);
    }
}

/// The first place in a log.
const FIRST: Seq = Seq::from_u64(1);

impl Stream {
    fn own(space: Space, rng: &mut Rng) -> Self {
        let logs = ByKind { events: Log::own(), metrics: Log::own() };
        Self {
            register: true,
            ended: ByKind { events: true, metrics: true },
            ..Self::new(StreamId::new(space, rng.next_u64()), logs)
        }
    }

    fn adopted(id: StreamId) -> Self {
        Self::new(id, ByKind { events: Log::adopted(), metrics: Log::adopted() })
    }

    fn new(id: StreamId, logs: ByKind<Log>) -> Self {
        Self {
            id,
            logs,
            last: ByKind { events: Seq::from_u64(0), metrics: Seq::from_u64(0) },
            register: false,
            ended: ByKind::default(),
            renew_at: Instant::FAR_FUTURE,
            lapses_at: Instant::FAR_FUTURE,
            seals: Vec::new(),
            unsealed: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn renew(&mut self, now: Instant, lease: Lease) {
        self.renew_at = now + lease.renewal;
        self.lapses_at = now + lease.ttl;
    }

    /// Whether nothing of it is left.
    fn is_finished(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.ended[*kind] && self.logs[*kind].is_empty())
    }

    fn has_changes(&self) -> bool {
        Kind::ALL.iter().any(|kind| self.logs[*kind].has_changes())
            || !self.unsealed.is_empty()
            || !self.notes.is_empty()
            || self.seals.iter().any(|state| !state.noted)
    }

    /// A record of it left for good: batches with it will not be sent again as they were.
    fn break_seals(&mut self, kind: Kind, seq: Seq) {
        let broken = |state: &mut SealState| state.seal.kind == kind && state.seal.records.contains(seq);
        for state in self.seals.extract_if(.., broken) {
            if state.noted {
                self.unsealed.push((kind, state.seal.id));
            }
        }
    }

    fn seal_of(&self, kind: Kind, seq: Seq) -> Option<SealedBatch> {
        let mut seals = self.seals.iter().map(|state| &state.seal);
        let seal = seals.find(|seal| seal.kind == kind && seal.records.contains(seq))?;
        Some(SealedBatch {
            id: seal.id,
            created_at: seal.created_at,
            nonce: seal.nonce,
            len: seal.records.len(),
            last: seal.records.last()?,
        })
    }

    /// Nobody waits for seals any more; whose seals that were.
    fn wait_for_no_seal(&mut self) -> Vec<(Kind, BatchId)> {
        let awaited = self.seals.iter_mut().filter(|state| state.awaited);
        let told = awaited.map(|state| {
            state.awaited = false;
            (state.seal.kind, state.seal.id)
        });
        told.collect()
    }
}
