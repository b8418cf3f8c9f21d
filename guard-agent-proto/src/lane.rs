use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::backoff::Backoff;
use crate::batch::Entry;
use crate::batcher::{Batcher, Room};
use crate::buffer::Buffer;
use crate::rng::Rng;
use crate::wire::{ItemRef, Verdict};
use crate::{AgentConfig, Batch, BatchId, DropReason, Instant, Kind, Now, Reason, RequestId, Seq};

/// Records of one kind on their way out, in order: waiting, sealed, in flight, or set aside.
///
/// A batch that fails stays in front and is tried again as it is. What the platform says decides what
/// happens to it: see [`Lane::on_verdict`].
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    batcher: Batcher,
    queue: Buffer,
    /// Batches that go before anything in `queue`.
    sealed: VecDeque<Work>,
    in_flight: Option<(RequestId, Work)>,
    /// Records that were refused alone. Once anything else gets through they are tried again, and what
    /// is refused then is poison.
    parked: Vec<Entry>,
    /// Parked records that make us think that the endpoint refuses everything.
    park_limit: usize,
    /// Nothing leaves before that.
    gate: Option<(Instant, Reason)>,
    quick: Backoff,
    slow: Backoff,
    retry_attempts: u32,
    /// Endings that were no success since the last one, or since the lane was hurried.
    strikes: u32,
    hold: Option<Hold>,
    refusal: (u16, String),
    len: usize,
    cost: usize,
}

/// A sealed batch.
#[derive(Clone, Debug)]
struct Work {
    batch: Arc<Batch>,
    /// How often its outcome was unclear.
    tries: u32,
    /// It was sent, so it must not change any more.
    sent: bool,
    /// Its records were refused alone, and others got through since.
    retrial: bool,
    /// It waits until its seal is durable.
    held: bool,
    /// Some of its records are from the other lane, which waits for them.
    borrowed: bool,
}

/// A batch that leaves.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) batch: Arc<Batch>,
    /// What the other lane got of it.
    pub(crate) share: Share,
}

/// What the other lane got of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// What was left of it.
    Rest,
    /// Nothing: it is full, or was sealed before.
    NoRoom,
    /// Nothing, although there was room.
    NoRecords,
}

/// Why a lane only tries now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Status code of the refusal.
    pub(crate) status: u16,
    /// Every record was refused, one by one.
    pub(crate) everything: bool,
}

/// Records that left a lane.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) delivered: Vec<Entry>,
    pub(crate) dead: Vec<Dead>,
}

/// A record that was given up.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) entry: Entry,
    pub(crate) reason: DropReason,
    pub(crate) status: u16,
    pub(crate) message: String,
}

/// Parked records before a first success that let us suspect the endpoint.
const PARK_LIMIT: usize = 16;
/// The suspicion needs ever more of them when it repeats, so that no run of poison blocks a lane for ever.
const PARK_LIMIT_MAX: usize = 4_096;
const QUICK_CAP: Duration = Duration::from_secs(60);
const SLOW_BASE: Duration = Duration::from_secs(10);
const SLOW_CAP: Duration = Duration::from_secs(300);
/// A slow retry is never quicker than this.
const SLOW_FLOOR: Duration = Duration::from_secs(5);

impl Lane {
    pub(crate) fn new(kind: Kind, config: &AgentConfig) -> Self {
        Self {
            batcher: Batcher::new(kind, config),
            queue: Buffer::default(),
            sealed: VecDeque::new(),
            in_flight: None,
            parked: Vec::new(),
            park_limit: PARK_LIMIT,
            gate: None,
            quick: Backoff::new(config.backoff_factor, QUICK_CAP),
            slow: Backoff::new(SLOW_BASE, SLOW_CAP),
            retry_attempts: config.retry_attempts,
            strikes: 0,
            hold: None,
            refusal: (0, String::new()),
            len: 0,
            cost: 0,
        }
    }

    /// Adds the newest record.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.len += 1;
        self.cost += entry.cost();
        self.queue.push(entry);
    }

    /// Whether another batch is ahead of the unsealed records, and one more cannot hold them all.
    pub(crate) fn is_congested(&self, room: Room) -> bool {
        self.has_sealed() && self.batcher.overflows(&self.queue, room)
    }

    /// Moves all unsealed records into `backlog`.
    pub(crate) fn spill_into(&mut self, backlog: &mut Self) {
        let moved = core::mem::take(&mut self.queue);
        let cost = moved.json_bytes() + moved.len() * Entry::OVERHEAD;
        self.len -= moved.len();
        self.cost -= cost;
        backlog.merge(moved);
    }

    /// Adds records that may be older than those that wait.
    pub(crate) fn merge(&mut self, mut records: Buffer) {
        self.len += records.len();
        self.cost += records.json_bytes() + records.len() * Entry::OVERHEAD;
        self.queue.merge(&mut records);
    }

    /// Adds a batch that another run of the agent may have sent.
    pub(crate) fn restore(&mut self, batch: Batch) {
        self.len += batch.len();
        self.cost += batch.entries.iter().map(Entry::cost).sum::<usize>();
        self.sealed.push_back(Work { sent: true, ..Work::new(Arc::new(batch)) });
    }

    /// Takes out the oldest unsealed record if it `may_go`.
    pub(crate) fn release_oldest(&mut self, may_go: impl Fn(Seq) -> bool) -> Option<Entry> {
        if may_go(self.queue.first()?.seq()) { self.evict() } else { None }
    }

    /// Takes out the newest unsealed record if it `may_go`.
    pub(crate) fn release_newest(&mut self, may_go: impl Fn(Seq) -> bool) -> Option<Entry> {
        if may_go(self.queue.last()?.seq()) { self.evict_newest() } else { None }
    }

    /// Takes out the newest unsealed record before `mark` that `may_go`, past newer ones that may not.
    pub(crate) fn release_before(&mut self, mark: Seq, may_go: impl Fn(Seq) -> bool) -> Option<Entry> {
        let entry = self.queue.take_before(mark, may_go)?;
        self.forget(&entry);
        Some(entry)
    }

    /// Takes out all records that are `gone`, except for what is in flight, and for batches that were sent and of
    /// which others are not: they are sent as they are. What is left of one that was not sent waits to be sealed
    /// anew: whoever has the rest may know it by that name, and send it whole.
    pub(crate) fn hand_over(&mut self, gone: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut out = self.queue.extract(&gone);
        out.extend(self.parked.extract_if(.., |entry| gone(entry)));
        for work in core::mem::take(&mut self.sealed) {
            let gone_of_it = work.batch.entries.iter().filter(|entry| gone(entry)).count();
            if gone_of_it == 0 || work.sent && gone_of_it < work.batch.len() {
                self.sealed.push_back(work);
                continue;
            }
            let (theirs, left) = Arc::unwrap_or_clone(work.batch).entries.into_iter().partition(&gone);
            out.extend::<Vec<_>>(theirs);
            self.queue.merge(&mut Vec::into_iter(left).collect());
        }
        for entry in &out {
            self.forget(entry);
        }
        out
    }

    /// Gives up the oldest record that is not sealed.
    pub(crate) fn evict(&mut self) -> Option<Entry> {
        let entry = self.queue.pop()?;
        self.forget(&entry);
        Some(entry)
    }

    /// Gives up the oldest parked record.
    pub(crate) fn evict_parked(&mut self) -> Option<Entry> {
        let oldest = (0..self.parked.len()).min_by_key(|index| self.parked[*index].seq())?;
        let entry = self.parked.remove(oldest);
        self.forget(&entry);
        Some(entry)
    }

    /// Gives up the newest record that is not sealed.
    pub(crate) fn evict_newest(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_newest()?;
        self.forget(&entry);
        Some(entry)
    }

    /// Gives up the oldest unsealed record if it was accepted before `limit`.
    pub(crate) fn expire(&mut self, limit: Instant) -> Option<Entry> {
        if self.queue.oldest()? < limit { self.evict() } else { None }
    }

    /// When the oldest unsealed record was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.queue.oldest()
    }

    /// When the next batch may leave as far as this lane is concerned, and what it waits for. `None`
    /// while one is in flight or when there is nothing to send.
    pub(crate) fn ready_at(&self, urgent: Seq) -> Option<(Instant, Reason)> {
        if self.in_flight.is_some() {
            return None;
        }
        let ready = match self.sealed.front() {
            Some(work) if work.held => return None,
            Some(work) => (work.batch.entries.first()?.accepted_at, Reason::Backoff),
            None => self.batcher.ready_at(&self.queue, urgent)?,
        };
        Some(self.gate.map_or(ready, |gate| gate.max(ready)))
    }

    /// Seals the next batch, and holds it until [`Lane::on_seal_durable`].
    pub(crate) fn seal_ahead(&mut self, room: Room, now: Now, rng: &mut Rng) -> Option<Arc<Batch>> {
        if self.has_sealed() || self.queue.is_empty() {
            return None;
        }
        let batch = self.batcher.seal(&mut self.queue, room, now.wall, rng);
        self.sealed.push_back(Work { held: true, ..Work::new(Arc::clone(&batch)) });
        Some(batch)
    }

    /// Whether the next batch waits for its seal.
    pub(crate) fn awaits_seal(&self) -> bool {
        self.sealed.front().is_some_and(|work| work.held)
    }

    /// The seal of that batch is durable, or nobody waits for it any more.
    pub(crate) fn on_seal_durable(&mut self, id: BatchId) {
        for work in self.sealed.iter_mut().filter(|work| work.batch.id() == id) {
            work.held = false;
        }
    }

    /// Takes the next batch out; only when [`Lane::ready_at`] says so. A new one holds what there is `room`
    /// for; what room is left is filled with the oldest of `others`.
    pub(crate) fn depart(
        &mut self,
        id: RequestId,
        room: Room,
        others: Option<&mut Self>,
        now: Now,
        rng: &mut Rng,
    ) -> Option<Departure> {
        while let Some(work) = self.sealed.pop_front() {
            if work.sent || !self.batcher.is_too_large(&work.batch) {
                self.sealed.push_front(work);
                break;
            }
            self.split(work, now, rng);
        }
        let (mut work, share) = match self.sealed.pop_front() {
            Some(work) => (work, Share::NoRoom),
            None if self.queue.is_empty() => return None,
            None => self.fill(room, others, now, rng),
        };
        work.sent = true;
        let batch = Arc::clone(&work.batch);
        self.in_flight = Some((id, work));
        Some(Departure { batch, share })
    }

    /// A new batch, and what the others got of it.
    fn fill(&mut self, room: Room, others: Option<&mut Self>, now: Now, rng: &mut Rng) -> (Work, Share) {
        let Room { records, bytes } = self.batcher.within(room);
        let own = self.queue.take(records, bytes);
        let taken: usize = own.iter().map(|entry| entry.json.len() + 1).sum();
        let left = Room { records: records.saturating_sub(own.len()), bytes: bytes.saturating_sub(taken) };
        let is_full = left.records == 0 || !self.queue.is_empty();
        let (mut entries, share) = match others.map(|others| others.lend(left)) {
            None | Some((_, Share::NoRecords)) if is_full => (Vec::new(), Share::NoRoom),
            None => (Vec::new(), Share::NoRecords),
            Some(lent) => lent,
        };
        for entry in &entries {
            self.len += 1;
            self.cost += entry.cost();
        }
        let borrowed = !entries.is_empty();
        entries.extend(own);
        (Work { borrowed, ..Work::new(self.batcher.batch(entries, now.wall, rng)) }, share)
    }

    /// The oldest unsealed records, as many as there is room for.
    fn lend(&mut self, room: Room) -> (Vec<Entry>, Share) {
        let Some(first) = self.queue.first().filter(|_| !self.has_sealed()) else {
            return (Vec::new(), Share::NoRecords);
        };
        if room.records == 0 || first.json.len() >= room.bytes {
            return (Vec::new(), Share::NoRoom);
        }
        let entries = self.queue.take(room.records, room.bytes);
        for entry in &entries {
            self.forget(entry);
        }
        (entries, Share::Rest)
    }

    /// Reads the answer to the request in flight. What it says about the batch and about the lane's
    /// next attempt is decided here, in one place:
    ///
    /// | verdict | batch | next attempt |
    /// | --- | --- | --- |
    /// | delivered | leaves; parked records are tried again | at once |
    /// | partly | what the answer names is tried again, then bisected | backoff |
    /// | unsure | tried again, then bisected | backoff |
    /// | too large | split; a single record is given up | at once |
    /// | refused | bisected; a single record is parked, or given up if others got through since | at once |
    /// | slow down, failed | stays | backoff, unless breaker or `Retry-After` decide |
    /// | hold | stays | slow |
    pub(crate) fn on_verdict(&mut self, verdict: Verdict, status: u16, now: Now, rng: &mut Rng) -> Settled {
        let mut settled = Settled::default();
        let Some((_, work)) = self.in_flight.take() else {
            return settled;
        };
        self.strikes = self.strikes.saturating_add(1);
        match verdict {
            Verdict::Delivered { .. } => {
                settled.delivered = Arc::unwrap_or_clone(work.batch).entries;
                self.on_success(now, rng);
            }
            Verdict::Partly { failed, message } => {
                self.refusal = (status, message);
                self.on_partly(work, &failed, now, rng, &mut settled);
            }
            Verdict::Unsure { message } => {
                self.refusal = (status, message);
                self.on_unsure(work, now, rng, &mut settled);
            }
            Verdict::TooLarge => {
                self.batcher.on_too_large(work.batch.json_len());
                if work.batch.len() > 1 {
                    self.split(work, now, rng);
                } else {
                    settled.dead.extend(Arc::unwrap_or_clone(work.batch).entries.into_iter().map(|entry| {
                        Dead {
                            entry,
                            reason: DropReason::TooLarge,
                            status,
                            message: String::from("the platform finds this record alone too large"),
                        }
                    }));
                }
            }
            Verdict::Refused { message } => {
                self.refusal = (status, message);
                self.on_refused(work, now, rng, &mut settled);
            }
            Verdict::SlowDown { .. } | Verdict::Failed { .. } => {
                self.retry(work, now, rng);
            }
            Verdict::Hold { .. } => {
                self.sealed.push_front(work);
                self.hold(Hold { status, everything: false }, now, rng);
            }
        }
        for entry in settled.delivered.iter().chain(settled.dead.iter().map(|dead| &dead.entry)) {
            self.len -= 1;
            self.cost -= entry.cost();
        }
        settled
    }

    /// Somebody else decides when the next attempt is due: the breaker or a `Retry-After`.
    pub(crate) fn clear_backoff(&mut self) {
        if matches!(self.gate, Some((_, Reason::Backoff))) {
            self.gate = None;
        }
    }

    /// Our own waiting after a failure ends by then.
    pub(crate) fn shorten_backoff(&mut self, until: Instant) {
        if let Some((at, Reason::Backoff)) = &mut self.gate {
            *at = (*at).min(until);
        }
    }

    /// The application wants it now, or the credentials changed: our own waiting ends.
    pub(crate) fn hurry(&mut self) {
        self.gate = None;
        self.strikes = 0;
    }

    /// Another lane of this endpoint got through: there is no reason to hold, and what we parked
    /// deserves another trial.
    pub(crate) fn on_endpoint_alive(&mut self, now: Now, rng: &mut Rng) {
        if self.hold.take().is_some() {
            self.hurry();
        }
        self.retry_parked(now, rng);
    }

    /// Whether it failed as often as a quick schedule allows since it was hurried.
    pub(crate) const fn is_exhausted(&self) -> bool {
        self.strikes > self.retry_attempts
    }

    /// Whether the endpoint still refuses what it is sent, since the lane was hurried.
    pub(crate) const fn is_refused(&self) -> bool {
        self.hold.is_some() && self.strikes > 0
    }

    pub(crate) const fn held(&self) -> Option<Hold> {
        self.hold
    }

    /// The records that are in flight.
    pub(crate) fn flying(&self) -> &[Entry] {
        self.in_flight.as_ref().map_or(&[], |(_, work)| &work.batch.entries)
    }

    pub(crate) const fn in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether a batch goes before the records that wait.
    pub(crate) fn has_sealed(&self) -> bool {
        self.in_flight.is_some() || !self.sealed.is_empty()
    }

    /// Whether it has records of the other lane, which must not overtake them.
    pub(crate) fn has_borrowed(&self) -> bool {
        self.works().any(|work| work.borrowed)
    }

    /// Records that are not sealed, and their memory in bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.json_bytes() + self.queue.len() * Entry::OVERHEAD)
    }

    /// Records that cannot leave memory, and bytes of their JSON.
    pub(crate) fn committed(&self) -> Room {
        let records = self.len - self.queue.len();
        let bytes = self.cost - self.queue.json_bytes() - self.len * Entry::OVERHEAD;
        Room { records, bytes }
    }

    /// Records here, wherever they stand.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Records that can be sent at all.
    pub(crate) fn sendable(&self) -> usize {
        self.len - self.parked.len()
    }

    /// Memory of the records here, in bytes.
    pub(crate) const fn cost(&self) -> usize {
        self.cost
    }

    /// How many records came before `mark`; parked ones only if asked for.
    pub(crate) fn count_before(&self, mark: Seq, with_parked: bool) -> usize {
        let parked = if with_parked { &*self.parked } else { &[] };
        let batches = self.batches().flat_map(|batch| &batch.entries);
        self.queue.count_before(mark) + batches.chain(parked).filter(|entry| entry.seq() < mark).count()
    }

    /// The records from `mark` on, in no particular order.
    pub(crate) fn from(&self, mark: Seq) -> impl Iterator<Item = &Entry> {
        let sealed = self.batches().flat_map(|batch| &batch.entries).chain(&self.parked);
        sealed.filter(move |entry| entry.seq() >= mark).chain(self.queue.from(mark))
    }

    fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.works().map(|work| &*work.batch)
    }

    fn works(&self) -> impl Iterator<Item = &Work> {
        self.in_flight.iter().map(|(_, work)| work).chain(&self.sealed)
    }

    fn on_success(&mut self, now: Now, rng: &mut Rng) {
        self.batcher.on_delivered();
        self.quick.reset();
        self.slow.reset();
        self.gate = None;
        self.strikes = 0;
        self.hold = None;
        self.retry_parked(now, rng);
    }

    /// The endpoint took something: what was parked deserves another trial.
    fn retry_parked(&mut self, now: Now, rng: &mut Rng) {
        self.park_limit = PARK_LIMIT;
        let mut parked = Buffer::default();
        parked.push_front(core::mem::take(&mut self.parked));
        let mut trials = VecDeque::new();
        while !parked.is_empty() {
            let batch = self.batcher.seal(&mut parked, Room::UNLIMITED, now.wall, rng);
            trials.push_back(Work { tries: self.retry_attempts, retrial: true, ..Work::new(batch) });
        }
        trials.append(&mut self.sealed);
        self.sealed = trials;
    }

    fn on_partly(&mut self, work: Work, failed: &[ItemRef], now: Now, rng: &mut Rng, settled: &mut Settled) {
        let named = named(&work.batch, failed).unwrap_or_default();
        // All or none of them leaves nothing to tell apart.
        if named.iter().all(|named| *named) || !named.contains(&true) {
            return self.on_unsure(work, now, rng, settled);
        }
        let Work { tries, retrial, borrowed, .. } = work;
        let (mut rest, mut delivered) = (Vec::new(), Vec::new());
        for (entry, failed) in Arc::unwrap_or_clone(work.batch).entries.into_iter().zip(named) {
            if failed { rest.push(entry) } else { delivered.push(entry) }
        }
        settled.delivered = delivered;
        self.on_success(now, rng);
        let batch = self.batcher.batch(rest, now.wall, rng);
        self.on_unsure(Work { tries, retrial, borrowed, ..Work::new(batch) }, now, rng, settled);
    }

    fn on_unsure(&mut self, mut work: Work, now: Now, rng: &mut Rng, settled: &mut Settled) {
        work.tries += 1;
        if work.tries <= self.retry_attempts {
            self.retry(work, now, rng);
        } else {
            self.on_refused(work, now, rng, settled);
        }
    }

    fn on_refused(&mut self, work: Work, now: Now, rng: &mut Rng, settled: &mut Settled) {
        if work.batch.len() > 1 {
            return self.split(work, now, rng);
        }
        let retrial = work.retrial;
        let entries = Arc::unwrap_or_clone(work.batch).entries;
        if retrial {
            let (status, message) = &self.refusal;
            return settled.dead.extend(entries.into_iter().map(|entry| Dead {
                entry,
                reason: DropReason::DeadLetter,
                status: *status,
                message: message.clone(),
            }));
        }
        self.parked.extend(entries);
        if self.parked.len() >= self.park_limit {
            self.park_limit = (self.park_limit * 2).min(PARK_LIMIT_MAX);
            self.unpark();
            self.hold(Hold { status: self.refusal.0, everything: true }, now, rng);
        }
    }

    /// Takes out the parked records that `may_go`, as many as there are: the endpoint seems to refuse everything.
    pub(crate) fn set_aside(&mut self, may_go: impl Fn(Seq) -> bool, now: Now, rng: &mut Rng) -> Vec<Entry> {
        let entries: Vec<_> = self.parked.extract_if(.., |entry| may_go(entry.seq())).collect();
        for entry in &entries {
            self.forget(entry);
        }
        if !entries.is_empty() {
            self.hold(Hold { status: self.refusal.0, everything: true }, now, rng);
        }
        entries
    }

    /// Puts parked and sealed records back in the queue, except for batches that were sent: those do not change.
    fn unpark(&mut self) {
        let mut entries = core::mem::take(&mut self.parked);
        for work in core::mem::take(&mut self.sealed) {
            if work.sent || work.held {
                self.sealed.push_back(work);
            } else {
                entries.extend(Arc::unwrap_or_clone(work.batch).entries);
            }
        }
        entries.sort_by_key(Entry::seq);
        self.queue.merge(&mut entries.into_iter().collect());
    }

    fn split(&mut self, work: Work, now: Now, rng: &mut Rng) {
        let Work { tries, retrial, borrowed, .. } = work;
        let mut left = Arc::unwrap_or_clone(work.batch).entries;
        let right = left.split_off(left.len() / 2);
        for half in [right, left] {
            let batch = self.batcher.batch(half, now.wall, rng);
            self.sealed.push_front(Work { tries, retrial, borrowed, ..Work::new(batch) });
        }
    }

    fn retry(&mut self, work: Work, now: Now, rng: &mut Rng) {
        self.sealed.push_front(work);
        self.gate = Some((now.instant + self.quick.next(rng), Reason::Backoff));
    }

    fn hold(&mut self, hold: Hold, now: Now, rng: &mut Rng) {
        self.hold = Some(hold);
        self.strikes = u32::MAX;
        self.gate = Some((now.instant + SLOW_FLOOR + self.slow.next(rng), Reason::Held));
    }

    fn forget(&mut self, entry: &Entry) {
        self.len -= 1;
        self.cost -= entry.cost();
    }
}

impl Work {
    const fn new(batch: Arc<Batch>) -> Self {
        Self { batch, tries: 0, sent: false, retrial: false, held: false, borrowed: false }
    }
}

/// Which records of the batch an answer names, by place or by idempotency key; `None` if it names one
/// that is not there, because then it may count in another way than we do.
fn named(batch: &Batch, items: &[ItemRef]) -> Option<Vec<bool>> {
    let mut named = alloc::vec![false; batch.len()];
    for item in items {
        let place = match item {
            ItemRef::Index(index) => Some(*index),
            ItemRef::Key(key) => {
                batch.records().position(|json| idempotency_key(json) == Some(key.as_bytes()))
            }
        };
        *named.get_mut(place?)? = true;
    }
    Some(named)
}

/// The key of an encoded event: its first member, as the encoder writes it.
fn idempotency_key(json: &[u8]) -> Option<&[u8]> {
    json.strip_prefix(br#"{"idempotency_key":""#)?.split(|byte| *byte == b'"').next()
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;
    use crate::{Record, Timestamp};

    /// A lane with a clock, and all that ever left it.
    struct Bench {
        lane: Lane,
        now: Now,
        rng: Rng,
        next: u64,
        delivered: Vec<u64>,
        dead: Vec<u64>,
    }

    impl Bench {
        fn new() -> Self {
            let mut config = AgentConfig::builder("0123456789").build().unwrap();
            config.batch_max_records = 8;
            let now = Now { instant: Instant::ZERO, wall: Timestamp::from_unix_micros(0) };
            let lane = Lane::new(Kind::Event, &config);
            Self { lane, now, rng: Rng::new([5; 32]), next: 1, delivered: vec![], dead: vec![] }
        }

        fn push(&mut self, count: u64) {
            for _ in 0..count {
                let record = Record::new(Kind::Event, false, vec![b'x'; 10].into());
                self.lane.push(Entry::new(Seq::from_u64(self.next), self.now.instant, record));
                self.next += 1;
            }
        }

        /// The next batch once it is due; `None` while one is in flight or when there is none.
        fn depart(&mut self) -> Option<Arc<Batch>> {
            let (at, _) = self.lane.ready_at(Seq::from_u64(0))?;
            self.now.instant = self.now.instant.max(at);
            let departure =
                self.lane.depart(RequestId::from_u64(1), Room::UNLIMITED, None, self.now, &mut self.rng);
            departure.map(|departure| departure.batch)
        }

        fn answer(&mut self, verdict: Verdict) {
            let Settled { delivered, dead } = self.lane.on_verdict(verdict, 422, self.now, &mut self.rng);
            self.delivered.extend(delivered.iter().map(|entry| entry.seq().as_u64()));
            self.dead.extend(dead.iter().map(|dead| dead.entry.seq().as_u64()));
        }
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        let message = || String::from("no");
        let items = prop::collection::vec((0usize..12).prop_map(ItemRef::Index), 0..4);
        prop_oneof![
            4 => Just(Verdict::Delivered { invalid_timestamps: 0 }),
            2 => items.prop_map(move |failed| Verdict::Partly { failed, message: message() }),
            2 => Just(Verdict::Unsure { message: message() }),
            2 => Just(Verdict::TooLarge),
            4 => Just(Verdict::Refused { message: message() }),
            1 => Just(Verdict::SlowDown { retry_after: None }),
            1 => Just(Verdict::Failed { retry_after: None }),
            1 => Just(Verdict::Hold { message: message() }),
        ]
    }

    proptest! {
        /// Whatever the platform says in whatever order, every record is in the lane, delivered once,
        /// or dead; and a retry repeats its batch.
        #[test]
        fn records_are_kept_in_order_and_none_is_lost(
            steps in prop::collection::vec((0u64..10, verdict()), 1..80),
        ) {
            let mut bench = Bench::new();
            let mut repeated: Option<Arc<Batch>> = None;
            for (count, verdict) in steps {
                bench.push(count);
                let Some(batch) = bench.depart() else { continue };
                if let Some(expected) = repeated.take() {
                    prop_assert_eq!(&expected, &batch);
                }
                prop_assert!(batch.entries.is_sorted_by_key(Entry::seq));
                prop_assert!((1..=8).contains(&batch.len()));
                if matches!(verdict, Verdict::Failed { .. } | Verdict::SlowDown { .. } | Verdict::Hold { .. }) {
                    repeated = Some(batch);
                }
                bench.answer(verdict);
                let left = bench.lane.from(Seq::from_u64(0)).map(|entry| entry.seq().as_u64());
                let mut all: Vec<_> =
                    left.chain(bench.delivered.iter().copied()).chain(bench.dead.iter().copied()).collect();
                all.sort_unstable();
                prop_assert_eq!(all, (1..bench.next).collect::<Vec<_>>());
                prop_assert_eq!(bench.lane.len(), bench.lane.count_before(Seq::from_u64(u64::MAX), true));
                let cost: usize = bench.lane.from(Seq::from_u64(0)).map(Entry::cost).sum();
                prop_assert_eq!(cost, bench.lane.cost());
            }
        }
    }

    #[test]
    fn trials_of_what_was_parked_are_no_larger_than_other_batches() {
        let mut bench = Bench::new();
        bench.lane.batcher = Batcher::new(
            Kind::Event,
            &AgentConfig { batch_max_records: 1, ..AgentConfig::builder("0123456789").build().unwrap() },
        );
        for _ in 0..2 {
            bench.push(1);
            bench.depart();
            bench.answer(Verdict::Refused { message: String::from("bad") });
        }
        bench.push(1);
        bench.depart();
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 });
        for seq in [1, 2] {
            let again = bench.depart().unwrap();
            assert_eq!((again.len(), again.entries[0].seq()), (1, Seq::from_u64(seq)));
            bench.answer(Verdict::Delivered { invalid_timestamps: 0 });
        }
    }

    #[test]
    fn what_was_parked_waits_where_it_belongs() {
        let mut bench = Bench::new();
        bench.push(PARK_LIMIT as u64);
        while let Some(batch) = bench.depart() {
            // Older ones come back from a journal before the last of these is refused.
            if batch.len() == 1 && bench.lane.parked.len() + 1 == PARK_LIMIT {
                let record = Record::new(Kind::Event, false, vec![b'x'; 10].into());
                let entry = Entry::new(Seq::from_u64(0), bench.now.instant, record);
                bench.lane.merge([entry].into_iter().collect());
            }
            bench.answer(Verdict::Refused { message: String::from("no") });
            if bench.lane.held().is_some() {
                break;
            }
        }
        let waiting = bench.lane.queue.from(Seq::from_u64(0)).map(|entry| entry.seq().as_u64());
        assert_eq!(waiting.collect::<Vec<_>>(), (0..=PARK_LIMIT as u64).collect::<Vec<_>>());
        assert_eq!(bench.lane.queue.count_before(Seq::from_u64(1)), 1);
    }

    #[test]
    fn an_endpoint_that_refuses_everything_changes_no_batch_that_was_sent_before() {
        let mut bench = Bench::new();
        bench.push(1);
        let sent = Batch::clone(&bench.depart().unwrap());
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 });
        bench.push(PARK_LIMIT as u64);
        while bench.lane.held().is_none() {
            bench.depart().unwrap();
            // Another run may have sent it: a journal brings it before the last of the others is refused.
            if bench.lane.parked.len() + 1 == PARK_LIMIT {
                bench.lane.restore(sent.clone());
            }
            bench.answer(Verdict::Refused { message: String::from("no") });
        }
        assert_eq!(*bench.depart().unwrap(), sent);
    }

    #[test]
    fn what_is_left_of_a_batch_that_never_left_is_not_sent_under_its_name() {
        for durable in [false, true] {
            let mut bench = Bench::new();
            bench.push(4);
            let batch = bench.lane.seal_ahead(Room::UNLIMITED, bench.now, &mut bench.rng).unwrap();
            if durable {
                bench.lane.on_seal_durable(batch.id());
            }
            let gone = bench.lane.hand_over(|entry| entry.seq() < Seq::from_u64(3));
            assert_eq!(gone.len(), 2);
            let rest = bench.depart().unwrap();
            assert_eq!((rest.len(), rest.entries[0].seq()), (2, Seq::from_u64(3)));
            assert_ne!(rest.id(), batch.id(), "durable: {durable}");
        }
    }

    #[test]
    fn the_oldest_parked_record_can_make_room() {
        let mut bench = Bench::new();
        for _ in 0..2 {
            bench.push(1);
            bench.depart();
            bench.answer(Verdict::Refused { message: String::from("bad") });
        }
        assert_eq!(bench.lane.evict_parked().map(|entry| entry.seq()), Some(Seq::from_u64(1)));
        assert_eq!((bench.lane.len(), bench.lane.sendable()), (1, 0));
    }

    #[test]
    fn room_that_is_left_is_lent_to_the_backlog() {
        let mut bench = Bench::new();
        let mut backlog = bench.lane.clone();
        bench.push(20);
        bench.lane.spill_into(&mut backlog);
        bench.push(2);
        let seqs = |batch: &Batch| batch.entries.iter().map(|entry| entry.seq().as_u64()).collect::<Vec<_>>();
        let depart = |bench: &mut Bench, backlog: &mut Lane, id, room| {
            bench.lane.depart(RequestId::from_u64(id), room, Some(backlog), bench.now, &mut bench.rng)
        };
        let Departure { batch, share } = depart(&mut bench, &mut backlog, 1, Room::UNLIMITED).unwrap();
        assert_eq!((seqs(&batch), share), (vec![1, 2, 3, 4, 5, 6, 21, 22], Share::Rest));
        assert!(bench.lane.has_borrowed());
        assert_eq!((bench.lane.len(), backlog.len()), (8, 14));
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 });
        assert!(!bench.lane.has_borrowed());
        bench.push(3);
        let room = Room { records: 4, bytes: usize::MAX };
        let Departure { batch, share } = depart(&mut bench, &mut backlog, 2, room).unwrap();
        assert_eq!((seqs(&batch), share), (vec![7, 23, 24, 25], Share::Rest));
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 });
        bench.push(4);
        let Departure { batch, share } = depart(&mut bench, &mut backlog, 3, room).unwrap();
        assert_eq!((seqs(&batch), share), (vec![26, 27, 28, 29], Share::NoRoom));
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 });
        backlog.queue.take(usize::MAX, usize::MAX);
        for (id, count, expected) in [(4, 3, Share::NoRecords), (5, 4, Share::NoRoom), (6, 5, Share::NoRoom)]
        {
            bench.push(count);
            assert_eq!(depart(&mut bench, &mut backlog, id, room).unwrap().share, expected, "of {count}");
            bench.answer(Verdict::Delivered { invalid_timestamps: 0 });
        }
    }

    #[test]
    fn a_held_batch_waits_for_its_seal() {
        let mut bench = Bench::new();
        bench.push(3);
        let batch = bench.lane.seal_ahead(Room::UNLIMITED, bench.now, &mut bench.rng).unwrap();
        assert!(bench.lane.seal_ahead(Room::UNLIMITED, bench.now, &mut bench.rng).is_none());
        assert!(bench.depart().is_none());
        bench.lane.on_seal_durable(batch.id());
        assert_eq!(bench.depart().unwrap(), batch);
    }

    #[test]
    fn a_hold_ends_when_another_lane_gets_through() {
        let mut bench = Bench::new();
        bench.push(1);
        bench.depart();
        bench.answer(Verdict::Hold { message: String::from("who?") });
        assert!(bench.lane.held().is_some());
        bench.lane.on_endpoint_alive(bench.now, &mut bench.rng);
        assert!(bench.lane.held().is_none());
        assert!(bench.depart().is_some());
    }

    #[test]
    fn what_was_parked_gets_one_more_trial_after_a_success() {
        let refuse = || Verdict::Refused { message: String::from("bad") };
        let mut bench = Bench::new();
        bench.push(1);
        bench.depart();
        bench.answer(refuse());
        assert!(bench.depart().is_none(), "it is parked");
        bench.push(1);
        bench.depart();
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 });
        let again = bench.depart().unwrap();
        assert_eq!(again.entries[0].seq(), Seq::from_u64(1));
        bench.answer(refuse());
        assert_eq!((bench.delivered, bench.dead), (vec![2], vec![1]));
    }

    #[test]
    fn each_verdict_gates_the_next_attempt_its_way() {
        let none = None;
        for (verdict, gate) in [
            (Verdict::Delivered { invalid_timestamps: 0 }, none),
            (Verdict::TooLarge, none),
            (Verdict::Refused { message: String::new() }, none),
            (Verdict::Unsure { message: String::new() }, Some(Reason::Backoff)),
            (Verdict::SlowDown { retry_after: None }, Some(Reason::Backoff)),
            (Verdict::Failed { retry_after: None }, Some(Reason::Backoff)),
            (Verdict::Hold { message: String::new() }, Some(Reason::Held)),
        ] {
            let mut bench = Bench::new();
            bench.push(2);
            bench.depart();
            let shown = format!("{verdict:?}");
            bench.answer(verdict);
            assert_eq!(bench.lane.gate.map(|(_, reason)| reason), gate, "{shown}");
            let slow = bench.lane.gate.is_some_and(|(at, _)| at - bench.now.instant >= SLOW_FLOOR);
            assert_eq!(slow, gate == Some(Reason::Held), "{shown}");
        }
    }

    #[test]
    fn spilling_keeps_the_order() {
        let mut bench = Bench::new();
        let mut backlog = bench.lane.clone();
        bench.push(20);
        assert!(!bench.lane.is_congested(Room::UNLIMITED), "nothing is ahead of what waits");
        bench.depart();
        assert!(bench.lane.is_congested(Room::UNLIMITED));
        bench.lane.spill_into(&mut backlog);
        assert_eq!((bench.lane.len(), backlog.len()), (8, 12));
        assert!(backlog.from(Seq::from_u64(0)).is_sorted_by_key(Entry::seq));
    }
}
