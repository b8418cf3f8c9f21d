mod block;
mod codec;
mod envelope;
mod json;
mod log;
mod note;
mod orphans;
mod replies;
mod requests;
mod spans;
mod stream;
#[cfg(test)]
mod tests;
mod trouble;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

pub(crate) use self::block::Unwritten;
pub use self::block::{BlockReader, StoredRecord};
use self::log::Log;
use self::note::Seal;
use self::orphans::Orphans;
use self::spans::Spans;
use self::stream::{Stream, Told};
use self::trouble::{Evasion, Part, Troubles};
use crate::rng::Rng;
use crate::store::{OwnerId, Space, StoreError, StoreErrorKind, StreamId, Write};
use crate::wire::ProjectKey;
use crate::{
    AgentConfig, Batch, BatchId, ByKind, ConfigError, Instant, Kind, Now, Seq, StoreOpId, Timestamp,
};

/// Write-ahead log of what waits: append, wait for the acknowledgement, remove once settled.
///
/// What was acknowledged may leave memory and be read again later, so that a backlog is as large as the store
/// allows. The streams of agents that died are adopted and read the same way. One operation is outstanding at
/// a time. What of a failed one is not known to be done is due again; an append of which nobody knows is repeated
/// as it was. A store that fails never stops delivery: records stay in memory, and what is still undelivered is
/// appended when the store is back.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    key: Option<ProjectKey>,
    space: Space,
    owner: OwnerId,
    lease: Lease,
    timeout: Duration,
    /// Largest block, in bytes of JSON and in records: a part of what memory may hold.
    block_limit: (usize, usize),

    next_op: u64,
    /// What the store was asked for, and when.
    outstanding: Option<(StoreOpId, Instant, Outstanding)>,
    /// When it last heard of the time.
    awake_at: Instant,
    awake_wall: Timestamp,
    /// When the wall clock went on while the other one stood still: the machine slept, perhaps.
    leapt_at: Option<Instant>,
    /// When it woke up too late for what was due.
    woke_at: Option<Instant>,
    /// How an operation before this one ended says nothing about the store now: we slept meanwhile.
    fresh_from: u64,
    /// An append that may have been made.
    unsure: Option<Box<Writing>>,
    troubles: Troubles,

    /// Bytes accepted and not yet appended, and since when.
    waiting: Option<(usize, Instant)>,
    /// Somebody waits for durability.
    urgent: bool,
    /// No change starts before that (group commit).
    next_commit: Instant,
    /// The last operation was a write: another kind goes next.
    others_next: bool,

    /// Our own stream under 0, adopted ones under their number.
    streams: BTreeMap<u16, Stream>,
    /// Our own records before these places were acknowledged.
    acknowledged: ByKind<Seq>,
    /// Those before these went with a stream that another agent adopted.
    lost: ByKind<Seq>,
    orphans: Orphans,
    /// Streams that somebody else wrote into, to be given up.
    spoilt: Vec<Spoilt>,
    evasion: Evasion,
    /// Records that were read and are still to be taken.
    pages: ByKind<VecDeque<Paged>>,
    /// Blocks to ask for at once.
    read_limit: usize,
    /// The store went back in time, so that what is stored may be gone.
    doubt: ByKind<bool>,
    next_origin: u16,
    /// Logs of streams that were given up with their content: some of it may still be delivered.
    given_up: BTreeMap<u16, ByKind<Log>>,
    /// Those of them whose metrics are another agent's.
    claimed: BTreeSet<u16>,
    closing: bool,
}

#[derive(Clone, Debug)]
enum Outstanding {
    Write(Box<Writing>),
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
    told: Told,
    /// It was tried before, and may have been made then.
    repeated: bool,
}

/// A stream that somebody else wrote into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spoilt {
    stream: StreamId,
    /// It is left to whoever adopts it. Otherwise all that it held is here, and it is deleted.
    keep: bool,
    copy: CopyOf,
}

/// Whether another stream of ours holds what a spoilt one does, as far as that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CopyOf {
    Nothing,
    /// An append of the rest is under way.
    Appended,
    Acknowledged,
}

/// A stored record on its way back into memory.
#[derive(Clone, Debug)]
struct Paged {
    origin: u16,
    block: Seq,
    total: u64,
    record: StoredRecord,
    is_sound: bool,
    /// It may be a record that an agent accepted.
    is_plausible: bool,
}

/// A stored record that came back.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) seq: Seq,
    pub(crate) record: StoredRecord,
    /// It is one JSON object. Otherwise its bytes are gone already.
    pub(crate) is_sound: bool,
    /// It is met for the first time: another run of the agent accepted it.
    pub(crate) recovered: bool,
    /// Nobody ever accepted it: it is neither ours nor what a record can be.
    pub(crate) is_planted: bool,
    /// The batch in which it may have been sent.
    pub(crate) sealed: Option<SealedBatch>,
}

/// A batch of another run of the agent: its records are sent together again, under its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealedBatch {
    pub(crate) id: BatchId,
    pub(crate) created_at: crate::Timestamp,
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
    /// Logs of an adopted stream that are gone.
    pub(crate) lost_logs: u64,
    /// Known streams of other versions of the agent, or with another key, if their number changed.
    pub(crate) foreign: Option<usize>,
    /// Streams of others that were found: those whose leases have run out, and the rest.
    pub(crate) others: Option<(u64, u64)>,
    /// The first blocks of an adopted stream came.
    pub(crate) adopted: bool,
    /// A stream is not ours any more.
    pub(crate) left: Option<LeftStream>,
    /// Stored records that the store lost.
    pub(crate) lost: ByKind<u64>,
    /// Why the operation failed.
    pub(crate) error: Option<StoreError>,
}

/// A stream that we lost, or left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeftStream {
    /// 0 for our own.
    pub(crate) origin: u16,
    /// Stored records that went with it.
    pub(crate) stored: ByKind<u64>,
    pub(crate) why: LeftBecause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LeftBecause {
    /// Another agent adopted it.
    Adopted,
    /// The store says so, and failed or kept us waiting for long enough that it can be true, or made up by who kept it busy.
    /// Events in memory stay ours, since who gets them twice knows them by their keys.
    Claimed,
    /// The store says that it is another's, and nobody can have adopted it: somebody wrote that there. What is in memory
    /// stays ours.
    Stolen,
    /// Somebody else wrote into it.
    Intruded,
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

/// Bytes that are appended without waiting for more.
const GROUP_BYTES: usize = 64 << 10;
/// Most bytes in a block, about, if it has more than one record. With what Redis adds it fits an allocation of
/// 128 KiB; the next larger one has 160.
const BLOCK_BYTES: usize = 127 << 10;
/// Most blocks to read, or to remove, at once.
const MOST_BLOCKS: usize = 512;
/// Batches of an adopted stream that are sent as they were, at most, the newest: more than an agent has on its way.
const MOST_SEALS: usize = 256;
/// Sequence ranges of all of them, at most.
const MOST_RANGES: usize = 1 << 16;
/// Bytes that the notes of an adopted stream may take here, about: some hundred blocks of which every other record is
/// settled.
const MOST_NOTED_BYTES: usize = 4 << 20;
/// Most streams that somebody else wrote into and that wait for their content to be in another.
const MOST_SPOILT: usize = 8;

/// The first place in a log.
const FIRST: Seq = Seq::from_u64(1);

impl Lease {
    pub(crate) fn new(lease: Duration) -> Self {
        Self { ttl: lease / 5 * 2, renewal: lease / 8, grace: lease / 4 }
    }
}

impl Writing {
    fn part(&self) -> Part {
        let appends = Kind::ALL.iter().any(|kind| !self.appended[*kind].is_empty());
        if appends { Part::Append } else { Part::Change }
    }

    /// Whether everything that it appends is settled.
    fn is_settled(&self) -> bool {
        Kind::ALL.iter().all(|kind| {
            let appended: u64 = self.appended[*kind].iter().map(|(_, records)| records.len()).sum();
            appended == self.settled[*kind].len() as u64
        })
    }
}

impl Outstanding {
    /// Of which stream of ours it is.
    const fn origin(&self) -> Option<u16> {
        match self {
            Self::Write(writing) => Some(writing.origin),
            Self::Read { origin, .. } | Self::Close { origin, .. } => Some(*origin),
            Self::List | Self::Adopt(_) => None,
        }
    }

    fn part(&self) -> Part {
        match self {
            Self::Write(writing) => writing.part(),
            Self::List | Self::Adopt(_) => Part::Search,
            Self::Read { .. } => Part::Read,
            Self::Close { .. } => Part::Close,
        }
    }
}

impl Journal {
    pub(crate) fn new(config: &AgentConfig, now: Now, rng: &mut Rng) -> Result<Self, ConfigError> {
        let key = ProjectKey::from_config(config)
            .map_err(|problem| ConfigError { problems: alloc::vec![problem] })?;
        let space = Space::new(key.as_ref().map_or(0, ProjectKey::fingerprint));
        let lease = Lease::new(config.journal_lease);
        let owner = OwnerId::from_u64(rng.next_u64());
        let own = Stream::own(StreamId::new(space, rng.next_u64()), key.as_ref());
        // Quick enough for a lease to be renewed within the grace.
        let longest_wait = Duration::from_secs(15).min(lease.grace / 2);
        Ok(Self {
            key,
            space,
            owner,
            lease,
            timeout: config.journal_timeout,
            block_limit: (BLOCK_BYTES.min(config.buffer_bytes / 8).max(1), (config.buffer_size / 8).max(1)),
            next_op: 0,
            outstanding: None,
            awake_at: now.instant,
            awake_wall: now.wall,
            leapt_at: None,
            woke_at: None,
            fresh_from: 0,
            unsure: None,
            troubles: Troubles::new(longest_wait),
            waiting: None,
            urgent: false,
            next_commit: Instant::ZERO,
            others_next: false,
            streams: BTreeMap::from([(0, own)]),
            acknowledged: ByKind { events: FIRST, metrics: FIRST },
            lost: ByKind { events: FIRST, metrics: FIRST },
            orphans: Orphans::new(lease, now.instant),
            spoilt: Vec::new(),
            evasion: Evasion::new(longest_wait, config.journal_lease),
            pages: ByKind::default(),
            read_limit: 4,
            doubt: ByKind::default(),
            next_origin: 1,
            given_up: BTreeMap::new(),
            claimed: BTreeSet::new(),
            closing: false,
        })
    }

    /// A stream of our own that nobody had before.
    fn fresh_stream(&self, rng: &mut Rng) -> Stream {
        Stream::own(StreamId::new(self.space, rng.next_u64()), self.key.as_ref())
    }

    /// It is that late. Whoever slept does not know any more whether the store is down, and has to ask.
    pub(crate) fn on_time(&mut self, Now { instant: now, wall }: Now) {
        let by_wall = wall.as_unix_micros().saturating_sub(self.awake_wall.as_unix_micros());
        let by_wall = Duration::from_micros(u64::try_from(by_wall).unwrap_or(0));
        if by_wall.saturating_sub(now.since(self.awake_at)) >= self.lease.grace {
            self.leapt_at = Some(now);
        }
        self.awake_wall = wall;
        // While a lease is ours, something is due sooner than that, or an answer is; without either nobody need wake up.
        let is_awaited = self.outstanding.is_some() || self.streams.values().any(Stream::is_known);
        if is_awaited && now.since(self.awake_at) > self.timeout + self.lease.renewal {
            self.fresh_from = self.next_op;
            self.woke_at = Some(now);
            self.troubles.forget();
        }
        self.awake_at = now;
    }

    /// A record of our own was accepted.
    pub(crate) fn on_accepted(&mut self, bytes: usize, now: Instant) {
        let (waiting, since) = self.waiting.unwrap_or((0, now));
        self.waiting = Some((waiting + bytes, since));
    }

    /// A record in memory was delivered or given up.
    pub(crate) fn on_settled(&mut self, kind: Kind, seq: Seq) {
        let place = seq.place();
        let Some(stream) = self.streams.get_mut(&seq.origin()) else {
            self.given_up.get_mut(&seq.origin()).into_iter().for_each(|logs| logs[kind].settle(place));
            return;
        };
        stream.break_seals(kind, &Spans::from_ends(place, place));
        // A store that said that it lost a record may bring it all the same.
        if stream.logs[kind].has(place) {
            stream.logs[kind].settle(place);
        } else if let Some(writing) = self.appending()
            && writing.appended[kind].last().is_some_and(|(last, _)| place <= *last)
        {
            writing.settled[kind].push(place);
        }
    }

    /// The append that is under way, or may have been made.
    fn appending(&mut self) -> Option<&mut Writing> {
        match &mut self.outstanding {
            Some((.., Outstanding::Write(writing))) if writing.part() == Part::Append => Some(writing),
            _ => self.unsure.as_deref_mut(),
        }
    }

    /// Whether the store has that record, which is in memory.
    pub(crate) fn holds(&self, kind: Kind, seq: Seq) -> bool {
        self.streams.get(&seq.origin()).is_some_and(|stream| stream.logs[kind].has(seq.place()))
    }

    /// Whether only the store has that record, as far as it is known.
    pub(crate) fn stores(&self, kind: Kind, seq: Seq) -> bool {
        self.streams.get(&seq.origin()).is_some_and(|stream| stream.logs[kind].stores(seq.place()))
    }

    /// Whether that record, which is in memory, is in a stream that another agent adopted.
    pub(crate) fn is_lost(&self, kind: Kind, seq: Seq) -> bool {
        match seq.origin() {
            0 => seq < self.lost[kind],
            origin => {
                let is_given_up = self.given_up.contains_key(&origin);
                let is_claimed = kind == Kind::Metric && self.claimed.contains(&origin);
                !self.streams.contains_key(&origin) && (!is_given_up || is_claimed)
            }
        }
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

    /// Leaves a record that the store has to the store alone, to be read again after all others.
    pub(crate) fn set_aside(&mut self, kind: Kind, seq: Seq, bytes: usize) {
        if let Some(stream) = self.streams.get_mut(&seq.origin()) {
            stream.logs[kind].set_aside(seq.place(), bytes);
        }
    }

    /// A batch is about to be sent, or waits to be sent once its seal is durable. False for batches of several
    /// streams, which have none.
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
        let (id, created_at) = (batch.id(), batch.created_at());
        stream.seal(Seal { kind, id, created_at, records }, awaited);
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

    /// Whether it was told to.
    pub(crate) const fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether that is done, or there is nothing to be won by it.
    pub(crate) fn is_closed(&self) -> bool {
        let done = self.outstanding.is_none() && self.streams.is_empty();
        self.closing && (done || self.troubles.why(Part::Close).is_some() && !self.owes_news())
    }

    /// Whether the store may hold records that are settled, or that others could have at once.
    pub(crate) fn owes_news(&self) -> bool {
        let telling = matches!(&self.outstanding, Some((.., Outstanding::Write(_)))) || self.unsure.is_some();
        let owes =
            |stream: &Stream| stream.is_known() && (telling || !stream.is_finished() || stream.has_changes());
        self.streams.values().any(owes)
    }

    /// The next stored record of that kind, if it was read. What is given up stays where it is.
    pub(crate) fn peek(&self, kind: Kind) -> Option<&StoredRecord> {
        self.pages[kind].front().filter(|_| !self.closing).map(|paged| &paged.record)
    }

    /// Takes it.
    pub(crate) fn take(&mut self, kind: Kind) -> Option<Returned> {
        let Paged { origin, block, total, record, is_sound, is_plausible } = self.pages[kind].pop_front()?;
        let stream = self.streams.get_mut(&origin)?;
        let bytes = record.json.len() + crate::batch::Entry::OVERHEAD;
        let recovered = stream.logs[kind].take(block, total, record.seq, bytes);
        let sealed = if origin > 0 { stream.seal_of(kind, record.seq) } else { None };
        let sealed = sealed.map(|seal| SealedBatch { last: seal.last.at_origin(origin), ..seal });
        let is_planted = recovered && !is_plausible;
        let seq = record.seq.at_origin(origin);
        Some(Returned { seq, record, is_sound, recovered, is_planted, sealed })
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

    /// Whether records of that kind are to be read, or an end behind which there are none.
    pub(crate) fn is_unread(&self, kind: Kind) -> bool {
        self.streams.values().any(|stream| stream.logs[kind].has_unread() || !stream.ended[kind])
    }

    /// Known records that only the store holds.
    pub(crate) fn stored(&self, kind: Kind) -> u64 {
        let given_up = self.given_up.values();
        let logs = self.streams.values().map(|stream| &stream.logs).chain(given_up);
        logs.map(|logs| logs[kind].stored()).sum()
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
        let sound = self.streams.values().filter(|stream| !stream.overwritten).map(|stream| &stream.logs);
        let logs = sound.chain(self.given_up.values()).map(|logs| &logs[kind]);
        logs.map(|log| log.here() + if self.doubt[kind] { 0 } else { log.stored() }).sum()
    }

    /// Our own records of that kind before this place were acknowledged.
    pub(crate) fn acknowledged(&self, kind: Kind) -> Seq {
        self.acknowledged[kind]
    }

    /// Why new records cannot be appended, if they cannot.
    pub(crate) fn down(&self) -> Option<StoreErrorKind> {
        self.troubles.why(Part::Append)
    }

    /// Why anything else cannot be done, if so.
    pub(crate) fn impaired(&self) -> Option<StoreErrorKind> {
        let unread = Kind::ALL.into_iter().any(|kind| self.is_unread(kind));
        let parts = [Part::Change, Part::Search, Part::Close, Part::Read];
        parts
            .into_iter()
            .filter(|part| unread || *part != Part::Read)
            .find_map(|part| self.troubles.why(part))
            .or_else(|| self.evades().then_some(StoreErrorKind::WrongType))
    }

    /// Whether somebody else writes into our streams again and again. Delivery does not wait for the journal meanwhile.
    fn evades(&self) -> bool {
        self.evasion.is_under_way(self.awake_at)
    }

    /// When it is not impaired any more by somebody who wrote into our streams.
    pub(crate) fn calm_at(&self) -> Option<Instant> {
        self.evasion.ends_at().filter(|at| *at > self.awake_at)
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down().is_some()
    }

    /// Whether records and their seals can be written.
    pub(crate) fn takes_seals(&self) -> bool {
        let works = |part| self.troubles.why(part).is_none();
        [Part::Append, Part::Change].into_iter().all(works) && !self.evades()
    }

    /// Whether what only the store holds can be read, as far as it is known.
    pub(crate) fn is_readable(&self) -> bool {
        self.troubles.why(Part::Read).is_none()
    }

    /// Whether others may have our records: we gave them up, or a lease has lapsed.
    pub(crate) fn is_in_doubt(&self, now: Instant) -> bool {
        self.closing || self.has_lapsed(now)
    }

    /// Whether a lease of ours has run out as far as we know. While none can be renewed nobody can tell, and then it
    /// does not count.
    pub(crate) fn has_lapsed(&self, now: Instant) -> bool {
        let renewable = self.troubles.why(Part::Change).is_none();
        !self.closing && renewable && self.streams.values().any(|stream| stream.lapses_at <= now)
    }
}
