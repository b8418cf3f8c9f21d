use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::backoff::Backoff;
use crate::batch::Entry;
use crate::batcher::{Batcher, Room};
use crate::buffer::Buffer;
use crate::fair::Flow;
use crate::quarantine::{Quarantine, Refusal, is_of_server};
use crate::rng::Rng;
use crate::wire::{ItemRef, Verdict};
use crate::{AgentConfig, Batch, BatchId, DrainOrder, DropReason, Instant, Kind, Now, Reason, Seq};

/// Records of one kind on their way out: waiting, sealed, in flight, under suspicion, or quarantined.
///
/// A batch that fails is tried again as it is. What the platform says decides what happens to it, and who is to
/// blame for a refusal: see [`Lane::on_verdict`].
///
/// Records that wait have their share of the next batch by flow, which is an event type: equal parts of its bytes (see
/// [`Buffer`]). What leaves the lane unsent leaves from the largest flow. Where order counts, all are one flow.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    batcher: Batcher,
    queue: Buffer,
    /// Batches that go before anything in `queue`.
    sealed: VecDeque<Work>,
    /// Batches that may hold what is refused. They go when nothing better can, or first where order counts.
    suspects: VecDeque<Work>,
    in_flight: Option<Work>,
    quarantine: Quarantine,
    /// Nothing leaves before that.
    gate: Option<(Instant, Reason)>,
    /// No batch under suspicion does, but for trials.
    search_gate: Option<(Instant, Reason)>,
    quick: Backoff,
    slow: Backoff,
    retry_attempts: u32,
    in_order: bool,
    /// Endings that were no success since the last one, or since our waiting was cut short.
    consecutive_failures: u32,
    /// Successes of this endpoint: a batch that is refused before and after one is to blame itself.
    successes: u64,
    /// Successes when quarantined records were set aside last.
    set_aside_after: Option<u64>,
    /// Refusals since the last success that are a batch's or everybody's fault.
    unexplained: u32,
    /// How many different batches these are of.
    compared: u32,
    /// Batches that left since a suspect did, up to [`MOST_PASSED_OVER`].
    passed_over: u8,
    /// The last suspect that left was no trial.
    owes_trial: bool,
    hold: Option<Hold>,
    refusal: (u16, String),
    len: usize,
    cost: usize,
}

/// A sealed batch.
#[derive(Clone, Debug)]
struct Work {
    batch: Arc<Batch>,
    past: Past,
    not_before: Option<(Instant, Reason)>,
    /// It was sent, so it must not change any more.
    sent: bool,
    /// It waits until its seal is durable.
    held: bool,
}

/// What happened to the records of a batch, in this one or in one that it is a part of.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    /// Equal refusals in a row that need not be the content's fault, and their status.
    refusals: u32,
    status: Option<u16>,
    /// Successes of the endpoint when they were refused last.
    successes: u64,
    /// They are a part of a batch that was refused.
    is_part: bool,
    /// They were refused often enough to be compared with other content.
    is_compared: bool,
    /// Others passed, and that batch did not.
    is_convicted: bool,
    /// The platform named them in an answer that took the others.
    is_named: bool,
    /// Answers in a row that named others in the same batch.
    names: u32,
    /// They were refused alone before.
    is_trial: bool,
    /// The application asked for a trial while this one was on its way.
    is_asked_again: bool,
    /// Some of them are from the other lane, which waits for them.
    borrowed: bool,
}

/// How long to wait after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Quick,
    /// Slow once it repeats.
    QuickThenSlow,
    Slow,
}

/// The lane whose records fill up a batch.
#[derive(Debug)]
pub(crate) struct Others<'a> {
    pub(crate) lane: &'a mut Lane,
    /// It would send a batch of its own now.
    pub(crate) is_their_turn: bool,
}

/// A batch that leaves.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) batch: Arc<Batch>,
    /// What the other lane got of it.
    pub(crate) share: Share,
}

/// Where the next batch comes from, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A batch that was sealed before.
    Sealed,
    /// The records that wait.
    Queue,
    /// A batch under suspicion, or records that were refused alone.
    Suspects,
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
    pub(crate) cause: HoldCause,
}

/// What a lane that holds takes to be the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HoldCause {
    /// The caller or the route.
    Refusal,
    /// Every record was refused, one by one.
    Everything,
    /// The account.
    Quota,
}

/// Records that left a lane, and what else an answer did.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) delivered: Vec<Entry>,
    pub(crate) dead: Vec<Dead>,
    /// A record was refused alone for the first time.
    pub(crate) quarantined: bool,
}

/// A record that was given up.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) entry: Entry,
    pub(crate) reason: DropReason,
    pub(crate) status: u16,
    pub(crate) message: String,
}

const QUICK_CAP: Duration = Duration::from_secs(60);
const SLOW_BASE: Duration = Duration::from_secs(10);
const SLOW_CAP: Duration = Duration::from_secs(300);
/// A slow retry is never quicker than this.
const SLOW_FLOOR: Duration = Duration::from_secs(5);
/// Equal refusals of the caller or the route after which a batch is compared with different content.
const HOLD_PATIENCE: u32 = 2;
/// Unexplained refusals from which on the lane waits between them: it is hardly the content.
const QUICK_COMPARISONS: u32 = 3;
/// Answers in a row that name records of a batch and are believed.
const MOST_NAMES: u32 = 4;
/// Batches that are compared at a time; the rest waits in the queue, where it may leave memory.
const MOST_COMPARED: usize = 2;
/// Refusals in a row from which on a search is finished before new records take part in it.
const DENSE: u32 = 8;
/// Parts that refused batches are split into for comparison.
const MOST_PARTS: usize = 16;
/// Other batches that may leave in a row while a suspect could, too.
const MOST_PASSED_OVER: u8 = 3;

impl Lane {
    pub(crate) fn new(kind: Kind, config: &AgentConfig) -> Self {
        let in_order = config.drain == DrainOrder::Fifo;
        Self {
            batcher: Batcher::new(kind, config),
            queue: if in_order { Buffer::in_order() } else { Buffer::default() },
            sealed: VecDeque::new(),
            suspects: VecDeque::new(),
            in_flight: None,
            quarantine: Quarantine::new(),
            gate: None,
            search_gate: None,
            quick: Backoff::new(config.backoff_factor, QUICK_CAP),
            slow: Backoff::new(SLOW_BASE, SLOW_CAP),
            retry_attempts: config.retry_attempts,
            in_order,
            consecutive_failures: 0,
            successes: 0,
            set_aside_after: None,
            unexplained: 0,
            compared: 0,
            passed_over: 0,
            owes_trial: false,
            hold: None,
            refusal: (0, String::new()),
            len: 0,
            cost: 0,
        }
    }

    /// A lane of records that have waited before.
    pub(crate) fn of_backlog(kind: Kind, config: &AgentConfig) -> Self {
        Self { batcher: Batcher::of_backlog(kind, config), ..Self::new(kind, config) }
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

    /// The largest flows of unsealed records, without which one batch can hold the rest.
    pub(crate) fn surplus(&self, room: Room) -> Vec<Flow> {
        self.queue.surplus(self.batcher.within(room))
    }

    /// Moves all unsealed records of these flows into `backlog`.
    pub(crate) fn spill_into(&mut self, backlog: &mut Self, flows: &[Flow]) {
        let moved = self.queue.split_off(flows);
        self.len -= moved.len();
        self.cost -= moved.cost();
        backlog.merge(moved);
    }

    /// Adds records that may be older than those that wait.
    pub(crate) fn merge(&mut self, mut records: Buffer) {
        self.len += records.len();
        self.cost += records.cost();
        self.queue.merge(&mut records);
    }

    /// Adds a batch that another run of the agent may have sent.
    pub(crate) fn restore(&mut self, batch: Batch) {
        self.len += batch.len();
        self.cost += batch.entries.iter().map(Entry::cost).sum::<usize>();
        self.sealed.push_back(Work { sent: true, ..Work::new(Arc::new(batch), Past::default()) });
    }

    /// Takes out the oldest unsealed record of the largest flow if it `may_go`.
    pub(crate) fn release_oldest(&mut self, may_go: impl Fn(Seq) -> bool) -> Option<Entry> {
        self.release_oldest_of(self.queue.largest()?, may_go)
    }

    /// Takes out the oldest unsealed record of a flow that `may_go`, of the largest one that has such.
    pub(crate) fn release_any(&mut self, may_go: impl Fn(Seq) -> bool) -> Option<Entry> {
        let queue = &self.queue;
        let flow = queue.largest_of(|flow| queue.first_of(flow).is_some_and(|first| may_go(first.seq())))?;
        self.evict_of(flow)
    }

    /// Takes out the oldest unsealed record of that flow if it `may_go`.
    pub(crate) fn release_oldest_of(&mut self, flow: Flow, may_go: impl Fn(Seq) -> bool) -> Option<Entry> {
        if may_go(self.queue.first_of(flow)?.seq()) { self.evict_of(flow) } else { None }
    }

    /// Takes out the newest unsealed record of the largest flow if it `may_go`.
    pub(crate) fn release_newest(&mut self, may_go: impl Fn(Seq) -> bool) -> Option<Entry> {
        if may_go(self.queue.last_of(self.queue.largest()?)?.seq()) { self.evict_newest() } else { None }
    }

    /// Takes out the newest unsealed record before `mark` that `may_go`, past newer ones that may not, of the largest
    /// flow that has one.
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
        out.extend(self.quarantine.extract(&gone));
        for works in [&mut self.sealed, &mut self.suspects] {
            for work in core::mem::take(works) {
                let gone_of_it = work.batch.entries.iter().filter(|entry| gone(entry)).count();
                if gone_of_it == 0 || work.sent && gone_of_it < work.batch.len() {
                    works.push_back(work);
                    continue;
                }
                let (theirs, left) = Arc::unwrap_or_clone(work.batch).entries.into_iter().partition(&gone);
                out.extend::<Vec<_>>(theirs);
                self.queue.merge(&mut Vec::into_iter(left).collect());
            }
        }
        for entry in &out {
            self.forget(entry);
        }
        out
    }

    /// Flows of the records that are not sealed.
    pub(crate) fn flows(&self) -> impl ExactSizeIterator<Item = Flow> {
        self.queue.flows()
    }

    /// Memory of the unsealed records of that flow, in bytes.
    pub(crate) fn cost_of(&self, flow: Flow) -> usize {
        self.queue.cost_of(flow)
    }

    /// Gives up the oldest record of the largest flow that is not sealed.
    pub(crate) fn evict_largest(&mut self) -> Option<Entry> {
        self.evict_of(self.queue.largest()?)
    }

    /// Gives up the oldest record of that flow that is not sealed.
    pub(crate) fn evict_of(&mut self, flow: Flow) -> Option<Entry> {
        let entry = self.queue.pop_of(flow)?;
        self.forget(&entry);
        Some(entry)
    }

    /// Gives up the oldest quarantined record.
    pub(crate) fn evict_quarantined(&mut self) -> Option<Entry> {
        let entry = self.quarantine.evict()?;
        self.forget(&entry);
        Some(entry)
    }

    /// Gives up the newest record of the largest flow that is not sealed.
    pub(crate) fn evict_newest(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_newest_of(self.queue.largest()?)?;
        self.forget(&entry);
        Some(entry)
    }

    /// Gives up the oldest unsealed record if it was accepted before `limit`.
    pub(crate) fn expire(&mut self, limit: Instant) -> Option<Entry> {
        if self.queue.oldest()? >= limit {
            return None;
        }
        let entry = self.queue.pop()?;
        self.forget(&entry);
        Some(entry)
    }

    /// When the oldest unsealed record was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.queue.oldest()
    }

    /// When a batch from `source` may leave as far as this lane is concerned, and what it waits for. `None`
    /// while one is in flight or when there is nothing to send.
    pub(crate) fn ready_at(&self, source: Source, urgent: Seq) -> Option<(Instant, Reason)> {
        if self.in_flight.is_some() {
            return None;
        }
        let is_searching = self.in_order && !self.suspects.is_empty();
        let ready = match source {
            Source::Sealed if is_searching => None,
            Source::Sealed => self.next_sealed().map(|(_, ready)| ready),
            Source::Queue if is_searching || !self.sealed.is_empty() => None,
            Source::Queue if self.in_order && self.is_comparing_enough() => None,
            Source::Queue => self.batcher.ready_at(&self.queue, urgent),
            Source::Suspects => self.suspects_ready_at(),
        }?;
        Some(self.gate.map_or(ready, |gate| gate.max(ready)))
    }

    /// The sealed batch that may leave first. A part of a batch that fails does not hold up the others, unless
    /// order counts; one that waits for its seal holds up all.
    fn next_sealed(&self) -> Option<(usize, (Instant, Reason))> {
        let first = self.sealed.front().filter(|work| !work.held)?;
        if self.in_order {
            return Some((0, first.ready_at()?));
        }
        let free = self.sealed.iter().enumerate().filter(|(_, work)| !work.held);
        let (place, work) = free.min_by_key(|(_, work)| work.not_before)?;
        Some((place, work.ready_at()?))
    }

    fn suspects_ready_at(&self) -> Option<(Instant, Reason)> {
        let next = [false, true].map(|is_trial| self.suspect_ready_at(self.next_suspect(is_trial)?));
        let due = self.quarantine.due().map(|due| (due, Reason::Backoff));
        if self.in_order { next[0].or(due) } else { next.into_iter().flatten().chain(due).min() }
    }

    fn suspect_ready_at(&self, place: usize) -> Option<(Instant, Reason)> {
        let work = &self.suspects[place];
        let ready = work.ready_at()?;
        let gate = self.search_gate.filter(|_| !work.past.is_trial);
        Some(gate.map_or(ready, |gate| gate.max(ready)))
    }

    /// Whether so many batches were refused in a row that another one would show little: then the newest record goes alone,
    /// for an attacker's may fill all the rest. Of a record that is alone already there is nothing more to find out but
    /// whether others pass: were they to wait for it, none ever would.
    fn is_comparing_enough(&self) -> bool {
        let is_open = |work: &&Work| work.batch.len() > 1 || !work.past.is_compared;
        let open = || self.suspects.iter().filter(is_open);
        let compared = open().filter(|work| work.past.is_compared).count();
        self.unexplained > 0 && (compared >= MOST_COMPARED || self.parts() >= MOST_PARTS)
            || self.unexplained >= DENSE && open().next().is_some()
    }

    /// Batches under suspicion that are no trials.
    fn parts(&self) -> usize {
        self.suspects.iter().filter(|work| !work.past.is_trial).count()
    }

    /// Seals the next batch, and holds it until [`Lane::on_seal_durable`].
    pub(crate) fn seal_ahead(&mut self, room: Room, now: Now, rng: &mut Rng) -> Option<Arc<Batch>> {
        if self.has_sealed() || self.queue.is_empty() {
            return None;
        }
        let batch = match self.sample(now, rng) {
            Some(batch) => batch,
            None => self.batcher.seal(&mut self.queue, room, now.wall, rng),
        };
        self.sealed.push_back(Work { held: true, ..Work::new(Arc::clone(&batch), Past::default()) });
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

    /// Takes the next batch of `source` out; only when [`Lane::ready_at`] says so. A new one holds what there is
    /// `room` for; what room is left is filled with the oldest of `others`. Where it is their turn, all but a quarter is
    /// theirs.
    pub(crate) fn depart(
        &mut self,
        source: Source,
        room: Room,
        others: Option<Others<'_>>,
        now: Now,
        rng: &mut Rng,
    ) -> Option<Departure> {
        let (mut work, share) = match source {
            Source::Sealed => (self.take_sealed(now, rng)?, Share::NoRoom),
            Source::Queue if self.queue.is_empty() => return None,
            Source::Queue => self.fill(room, others, now, rng),
            Source::Suspects => (self.take_suspect(now, rng)?, Share::NoRoom),
        };
        self.passed_over = match source {
            Source::Suspects => 0,
            Source::Sealed | Source::Queue => (self.passed_over + 1).min(MOST_PASSED_OVER),
        };
        (work.sent, work.not_before) = (true, None);
        let batch = Arc::clone(&work.batch);
        self.in_flight = Some(work);
        Some(Departure { batch, share })
    }

    /// Whether other batches went first often enough for a suspect to have its turn.
    pub(crate) const fn owes_suspects(&self) -> bool {
        self.passed_over >= MOST_PASSED_OVER
    }

    fn take_sealed(&mut self, now: Now, rng: &mut Rng) -> Option<Work> {
        loop {
            let (place, _) = self.next_sealed()?;
            let work = self.sealed.remove(place)?;
            if work.sent || !self.batcher.is_too_large(&work.batch) {
                return Some(work);
            }
            self.split_sealed(work, now, rng);
        }
    }

    /// A new batch, and what the others got of it.
    fn fill(&mut self, room: Room, others: Option<Others<'_>>, now: Now, rng: &mut Rng) -> (Work, Share) {
        if let Some(sample) = self.sample(now, rng) {
            return (Work::new(sample, Past::default()), Share::NoRoom);
        }
        let room = self.batcher.within(room);
        let is_their_turn = others.as_ref().is_some_and(|others| others.is_their_turn);
        let share = if is_their_turn { room.quarter() } else { room };
        let mut own = self.queue.take(share.records, share.bytes);
        let left = room.beside(&own);
        let is_full = left.records == 0 || !self.queue.is_empty();
        let (lent, share) = match others.map(|others| others.lane.lend(left)) {
            None | Some((_, Share::NoRecords)) if is_full => (Vec::new(), Share::NoRoom),
            None => (Vec::new(), Share::NoRecords),
            Some(lent) => lent,
        };
        for entry in &lent {
            self.len += 1;
            self.cost += entry.cost();
        }
        let past = Past { borrowed: !lent.is_empty(), ..Past::default() };
        if is_their_turn {
            let left = left.beside(&lent);
            own.extend(self.queue.take_fitting(left.records, left.bytes));
        }
        own.extend(lent);
        (Work::new(self.batcher.batch(own, now.wall, rng), past), share)
    }

    /// The newest record, where no more than that is compared.
    fn sample(&mut self, now: Now, rng: &mut Rng) -> Option<Arc<Batch>> {
        if !self.is_comparing_enough() {
            return None;
        }
        let sample = self.queue.pop_newest()?;
        Some(self.batcher.batch(alloc::vec![sample], now.wall, rng))
    }

    /// The oldest unsealed records, as many as there is room for.
    fn lend(&mut self, room: Room) -> (Vec<Entry>, Share) {
        if !self.may_lend() {
            return (Vec::new(), Share::NoRecords);
        }
        let entries = self.queue.take_fitting(room.records, room.bytes);
        for entry in &entries {
            self.forget(entry);
        }
        let share = if entries.is_empty() { Share::NoRoom } else { Share::Rest };
        (entries, share)
    }

    /// Whether it has records that the other lane may take along.
    pub(crate) fn may_lend(&self) -> bool {
        !self.queue.is_empty() && !self.has_sealed()
    }

    /// Whether records of several flows wait that one batch cannot hold.
    pub(crate) fn is_contended(&self, room: Room) -> bool {
        self.queue.flows().len() > 1 && self.batcher.overflows(&self.queue, room)
    }

    /// Reads the answer to the request in flight. What it says about the batch, who is to blame for a refusal, and
    /// when the next attempt is due is decided here, in one place:
    ///
    /// | verdict | to blame | batch | next attempt |
    /// | --- | --- | --- | --- |
    /// | delivered | nobody | leaves; suspects and quarantined records are tried again | at once |
    /// | partly | content | what is named is tried again, then quarantined | backoff; others at once |
    /// | too large | content | split; a single record is given up | at once |
    /// | refused | content | what is named is quarantined; without names, or after too many, it is split, a single record quarantined | at once |
    /// | quota | account | stays, halved at every other refusal | the agent's |
    /// | slow down, unsent | server | stays | backoff, unless breaker or `Retry-After` decide |
    /// | failed, unanswered | server, or as [`Lane::on_unclear`] finds | stays | backoff, unless breaker or `Retry-After` decide |
    /// | unsure | as [`Lane::on_unclear`] finds | stays | backoff, then slow |
    /// | hold | caller, or as [`Lane::on_unclear`] finds | stays | slow |
    pub(crate) fn on_verdict(&mut self, verdict: Verdict, status: u16, now: Now, rng: &mut Rng) -> Settled {
        let mut settled = Settled::default();
        let Some(mut work) = self.in_flight.take() else {
            return settled;
        };
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        let is_refusal = matches!(
            verdict,
            Verdict::Refused { .. }
                | Verdict::Unsure { .. }
                | Verdict::Hold { .. }
                | Verdict::Failed { .. }
                | Verdict::Unanswered { .. }
        );
        if core::mem::take(&mut work.past.is_asked_again) && is_refusal {
            self.put_first(work);
            return settled;
        }
        match verdict {
            Verdict::Delivered { .. } => {
                settled.delivered = Arc::unwrap_or_clone(work.batch).entries;
                self.on_success(now, &mut settled);
            }
            Verdict::Partly { failed, message } => {
                self.refusal = (status, message);
                self.on_partly(work, &failed, now, rng, &mut settled);
            }
            Verdict::Unsure { message } => {
                self.refusal = (status, message);
                self.on_unclear(work, Pace::QuickThenSlow, now, rng, &mut settled);
            }
            Verdict::TooLarge => {
                self.batcher.on_too_large(work.batch.json_len());
                if work.batch.len() > 1 {
                    self.split_sealed(work, now, rng);
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
            Verdict::Refused { named, message } => {
                self.refusal = (status, message);
                self.on_refused(work, &named, now, rng, &mut settled);
            }
            Verdict::Quota { message } => {
                self.refusal = (status, message);
                self.on_quota(work, now, rng);
            }
            Verdict::Failed { .. } => {
                self.refusal = (status, alloc::format!("HTTP {status}"));
                self.on_unclear(work, Pace::Quick, now, rng, &mut settled);
            }
            Verdict::Unanswered { message } => {
                self.refusal = (status, message);
                self.on_unclear(work, Pace::Quick, now, rng, &mut settled);
            }
            Verdict::SlowDown { .. } | Verdict::Unsent => self.retry(work.afresh(), now, rng),
            Verdict::Hold { message } => {
                self.refusal = (status, message);
                self.on_unclear(work, Pace::Slow, now, rng, &mut settled);
            }
        }
        for entry in settled.delivered.iter().chain(settled.dead.iter().map(|dead| &dead.entry)) {
            self.len -= 1;
            self.cost -= entry.cost();
            self.quarantine.forget(entry.seq());
        }
        settled
    }

    /// Somebody else decides when the next attempt is due: the breaker or a `Retry-After`.
    pub(crate) fn clear_backoff(&mut self) {
        for gate in self.gates() {
            if matches!(gate, Some((_, Reason::Backoff))) {
                *gate = None;
            }
        }
    }

    /// Our own waiting after a failure ends by then.
    pub(crate) fn shorten_backoff(&mut self, until: Instant) {
        for gate in self.gates() {
            if let Some((at, Reason::Backoff)) = gate {
                *at = (*at).min(until);
            }
        }
    }

    /// The application wants it now, or the credentials changed: our own waiting ends, and quarantined records are
    /// tried again.
    pub(crate) fn hurry(&mut self, now: Now, rng: &mut Rng) {
        for gate in self.gates() {
            *gate = None;
        }
        self.consecutive_failures = 0;
        // A trial that is on its way was sent before the application asked: it has another try.
        if let Some(work) = &mut self.in_flight {
            work.past.is_asked_again = work.past.is_trial;
        }
        let released = self.quarantine.release_all();
        self.try_again(released, now, rng);
    }

    fn gates(&mut self) -> impl Iterator<Item = &mut Option<(Instant, Reason)>> {
        let works = self.sealed.iter_mut().chain(&mut self.suspects);
        works.map(|work| &mut work.not_before).chain([&mut self.gate, &mut self.search_gate])
    }

    /// Another lane of this endpoint got through: there is no reason to hold, and quarantined records deserve
    /// another trial, unless that proves them bad.
    pub(crate) fn on_endpoint_alive(&mut self, now: Now) -> Settled {
        if self.hold.take().is_some() {
            self.gate = None;
            self.consecutive_failures = 0;
        }
        let mut settled = Settled::default();
        self.on_other_success(now, &mut settled);
        for dead in &settled.dead {
            self.forget(&dead.entry);
        }
        settled
    }

    /// Whether it failed as often as a quick schedule allows since it was hurried.
    pub(crate) const fn is_exhausted(&self) -> bool {
        self.consecutive_failures > self.retry_attempts
    }

    /// Whether the endpoint still refuses what it is sent, since the lane was hurried.
    pub(crate) const fn is_refused(&self) -> bool {
        self.hold.is_some() && self.consecutive_failures > 0
    }

    pub(crate) const fn held(&self) -> Option<Hold> {
        self.hold
    }

    /// The status of a record's refusal since which nothing passed.
    pub(crate) fn unresolved(&self) -> Option<u16> {
        self.quarantine.unresolved()
    }

    /// The records that are in flight.
    pub(crate) fn flying(&self) -> &[Entry] {
        self.in_flight.as_ref().map_or(&[], |work| &work.batch.entries)
    }

    /// Whether what is in flight was refused with that status before, while others passed: once more says nothing about
    /// the platform.
    pub(crate) fn expects(&self, status: u16) -> bool {
        let is_trial = |entry: &Entry| self.quarantine.status(entry.seq()) == Some(status);
        self.in_flight.as_ref().is_some_and(|Work { batch, past, .. }| {
            past.is_convicted && past.status == Some(status)
                || past.is_trial && batch.entries.iter().any(is_trial)
        })
    }

    pub(crate) const fn in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether a batch goes before the records that wait.
    pub(crate) fn has_sealed(&self) -> bool {
        self.in_flight.is_some() || !self.sealed.is_empty()
    }

    /// Whether the records that wait fill several batches.
    pub(crate) fn holds_several_batches(&self) -> bool {
        self.batcher.holds_several(&self.queue)
    }

    /// Whether it has records of the other lane, which must not overtake them.
    pub(crate) fn has_borrowed(&self) -> bool {
        self.works().any(|work| work.past.borrowed)
    }

    /// Records that are not sealed, and their memory in bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.cost())
    }

    /// Records that cannot leave memory, and bytes of their JSON.
    pub(crate) fn committed(&self) -> Room {
        let records = self.len - self.queue.len();
        let bytes = self.cost - self.queue.json_bytes() - self.len * Entry::OVERHEAD;
        Room { records, bytes }
    }

    /// Records in batches that wait for another attempt, or for their answer.
    pub(crate) fn retried(&self) -> usize {
        self.sendable() - self.queue.len()
    }

    /// Records here, wherever they stand.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Records that can be sent at all.
    pub(crate) fn sendable(&self) -> usize {
        self.len - self.quarantine.records().len()
    }

    /// Memory of the records here, in bytes.
    pub(crate) const fn cost(&self) -> usize {
        self.cost
    }

    /// How many records came before `mark`; quarantined ones only if asked for.
    pub(crate) fn count_before(&self, mark: Seq, with_quarantined: bool) -> usize {
        let quarantined = if with_quarantined { self.quarantine.records() } else { &[] };
        let batches = self.batches().flat_map(|batch| &batch.entries);
        self.queue.count_before(mark) + batches.chain(quarantined).filter(|entry| entry.seq() < mark).count()
    }

    /// The records from `mark` on, in no particular order.
    pub(crate) fn from(&self, mark: Seq) -> impl Iterator<Item = &Entry> {
        let sealed = self.batches().flat_map(|batch| &batch.entries).chain(self.quarantine.records());
        sealed.filter(move |entry| entry.seq() >= mark).chain(self.queue.from(mark))
    }

    fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.works().map(|work| &*work.batch)
    }

    fn works(&self) -> impl Iterator<Item = &Work> {
        self.in_flight.iter().chain(&self.sealed).chain(&self.suspects)
    }

    fn on_success(&mut self, now: Now, settled: &mut Settled) {
        self.batcher.on_delivered();
        self.quick.reset();
        self.slow.reset();
        self.gate = None;
        self.consecutive_failures = 0;
        self.hold = None;
        self.on_other_success(now, settled);
    }

    /// The endpoint took something: quarantined records deserve another trial, unless that proves them bad.
    fn on_other_success(&mut self, now: Now, settled: &mut Settled) {
        self.successes += 1;
        (self.unexplained, self.compared, self.search_gate) = (0, 0, None);
        let dead = self.quarantine.on_success(now.instant);
        settled.dead.extend(dead.into_iter().map(Dead::letter));
    }

    fn on_partly(&mut self, work: Work, failed: &[ItemRef], now: Now, rng: &mut Rng, settled: &mut Settled) {
        let Some(is_failed) = some_named(&work.batch, failed) else {
            return self.on_unclear(work, Pace::QuickThenSlow, now, rng, settled);
        };
        let past = Past { is_part: true, is_convicted: true, is_named: true, refusals: 0, ..work.past };
        let (failed, delivered) = divide(work.batch, &is_failed);
        settled.delivered = delivered;
        self.on_success(now, settled);
        let rest = Work::new(self.batcher.batch(failed, now.wall, rng), past);
        self.on_unclear(rest, Pace::QuickThenSlow, now, rng, settled);
    }

    /// A refusal of the content. Records that the platform names are quarantined, and the others are sent again;
    /// without names the culprit is searched for by halves.
    fn on_refused(&mut self, work: Work, named: &[ItemRef], now: Now, rng: &mut Rng, settled: &mut Settled) {
        let is_trial = work.past.is_trial;
        if !is_trial {
            self.unexplained = self.unexplained.saturating_add(1);
        }
        // A platform that names other records of what is left, again and again, may count in another way than we do. And a
        // record on trial is given up for its own refusal, not for its name among several.
        let is_believed = !is_trial && work.past.names < MOST_NAMES;
        if is_believed && let Some(is_named) = some_named(&work.batch, named) {
            let past = Past { names: work.past.names + 1, ..work.past };
            let (named, rest) = divide(work.batch, &is_named);
            let rest = Work::new(self.batcher.batch(rest, now.wall, rng), past);
            self.put_first(rest.afresh());
            return self.quarantine(named, true, now, rng, settled);
        }
        let are_all_named = is_named(&work.batch, named).is_some_and(|named| named.iter().all(|it| *it));
        if work.batch.len() > 1 && (is_trial || !are_all_named) {
            // In depth: among many bad records a search in breadth meets the first good one late.
            let [left, right] = self.halves(work.afresh(), now, rng);
            self.suspects.push_front(right);
            self.suspects.push_front(left);
        } else {
            let proven = settled.dead.len();
            self.quarantine(Arc::unwrap_or_clone(work.batch).entries, true, now, rng, settled);
            let is_explained = !is_trial && settled.dead.len() > proven;
            self.unexplained = self.unexplained.saturating_sub(u32::from(is_explained));
        }
        if !is_trial {
            self.acquit_if_everything_is_refused(now, rng);
        }
    }

    /// A refusal that can be about the content, although its status blames the caller, the account or the server: a
    /// firewall in front of the platform answers so. A batch that is refused again and again is compared with
    /// different content: what waits behind it, or parts of it. If that passes and the batch still does not, it is
    /// the content, and the search begins. If nothing passes, it is not, and the lane holds or backs off. Where order
    /// counts only parts are compared, for nothing may overtake a record that could be good.
    fn on_unclear(&mut self, mut work: Work, pace: Pace, now: Now, rng: &mut Rng, settled: &mut Settled) {
        let (status, _) = self.refusal;
        if work.past.is_trial {
            return self.on_unclear_trial(work, now, rng, settled);
        }
        self.quarantine.on_refusal();
        let others_passed = self.successes > work.past.successes;
        work.past.refuse(status, self.successes);
        if work.past.refusals < self.patience(pace) && (self.unexplained == 0 || work.past.is_part) {
            return match pace {
                Pace::Slow => {
                    self.put_first(work);
                    self.hold(HoldCause::Refusal, now, rng);
                }
                Pace::Quick | Pace::QuickThenSlow => self.retry(work, now, rng),
            };
        }
        self.unexplained = self.unexplained.saturating_add(1);
        let is_equal = work.past.refusals > 1;
        let is_convicted = work.past.is_convicted;
        let is_searched = is_convicted && self.unexplained <= QUICK_COMPARISONS;
        // A record alone that was compared long enough makes room for another comparison.
        let is_over = work.batch.len() == 1 && self.parts() >= MOST_PARTS;
        if is_equal && (others_passed || is_searched || is_over) {
            return self.convict(work, now, rng, settled);
        }
        let is_alone = self.queue.is_empty() && self.suspects.is_empty();
        let has_comparison = !(self.in_order || is_alone) || self.may_split(&work);
        self.compared += u32::from(!work.past.is_compared && !is_convicted);
        (work.past.borrowed, work.past.is_compared) = (false, true);
        // A record of it goes next, alone.
        let has_sample = is_convicted && self.may_split(&work);
        self.suspect(work);
        if self.unexplained < QUICK_COMPARISONS && has_comparison || has_sample {
            self.gate = None;
            return;
        }
        let gate = match pace {
            Pace::Quick => (now.instant + self.quick.next(rng), Reason::Backoff),
            Pace::QuickThenSlow | Pace::Slow => self.slow_gate(now, rng),
        };
        // A batch that others passed beside holds up nothing that comes, nor one beside which too little was tried.
        if is_convicted || self.compared < QUICK_COMPARISONS && !self.in_order {
            self.search_gate = Some(gate);
        } else {
            self.gate = Some(gate);
        }
        if !is_convicted && pace != Pace::Quick {
            self.hold = Some(Hold { status, cause: HoldCause::Refusal });
            self.consecutive_failures = u32::MAX;
        }
    }

    /// Equal refusals in a row after which a batch is compared.
    const fn patience(&self, pace: Pace) -> u32 {
        match pace {
            Pace::Quick | Pace::QuickThenSlow if self.retry_attempts >= HOLD_PATIENCE => {
                self.retry_attempts + 1
            }
            Pace::Quick | Pace::QuickThenSlow | Pace::Slow => HOLD_PATIENCE,
        }
    }

    /// Quarantined records are refused again. Once is enough where they were refused so before; another refusal says
    /// something about them only if it repeats.
    fn on_unclear_trial(&mut self, mut work: Work, now: Now, rng: &mut Rng, settled: &mut Settled) {
        let (status, _) = self.refusal;
        let is_equal = |entry: &Entry| self.quarantine.status(entry.seq()) == Some(status);
        if work.batch.entries.iter().any(is_equal) {
            work.past.refusals += 1;
        } else {
            work.past.refuse(status, self.successes);
        }
        if work.past.refusals < HOLD_PATIENCE {
            return self.retry(work, now, rng);
        }
        self.convict(work, now, rng, settled);
    }

    /// The content is to blame.
    fn convict(&mut self, mut work: Work, now: Now, rng: &mut Rng, settled: &mut Settled) {
        if work.batch.len() > 1 {
            work.past.is_convicted = true;
            // In breadth: others that pass are what tells it from a refusal of everything.
            let [left, right] = self.halves(work, now, rng);
            return if self.in_order {
                self.suspects.push_front(right);
                self.suspects.push_front(left);
            } else {
                self.suspects.extend([left, right]);
            };
        }
        let is_of_content = work.past.is_named;
        self.quarantine(Arc::unwrap_or_clone(work.batch).entries, is_of_content, now, rng, settled);
    }

    fn quarantine(
        &mut self,
        entries: Vec<Entry>,
        is_of_content: bool,
        now: Now,
        rng: &mut Rng,
        settled: &mut Settled,
    ) {
        let (status, message) = &self.refusal;
        for entry in entries {
            settled.quarantined |= self.quarantine.status(entry.seq()).is_none();
            let refusal = Refusal { status: *status, message: message.clone(), is_of_content };
            let refused = self.quarantine.refuse(entry, refusal, now.instant, rng);
            settled.dead.extend(refused.err().map(Dead::letter));
        }
    }

    /// Refusals of content without a single success do not mean that all of it is bad.
    fn acquit_if_everything_is_refused(&mut self, now: Now, rng: &mut Rng) {
        if !self.quarantine.is_full(self.unexplained as usize, now.instant) {
            return;
        }
        let mut entries = self.quarantine.acquit(now.instant);
        for works in [&mut self.sealed, &mut self.suspects] {
            // A batch that was sent does not change.
            for work in core::mem::take(works) {
                if work.sent || work.held {
                    works.push_back(work);
                } else {
                    entries.extend(Arc::unwrap_or_clone(work.batch).entries);
                }
            }
        }
        entries.sort_by_key(Entry::seq);
        self.queue.merge(&mut entries.into_iter().collect());
        (self.unexplained, self.compared) = (0, 0);
        self.hold(HoldCause::Everything, now, rng);
    }

    /// A refusal that is about the account: the next attempt is the agent's to time. A smaller batch may fit what is
    /// left of a quota.
    fn on_quota(&mut self, mut work: Work, now: Now, rng: &mut Rng) {
        let (status, _) = self.refusal;
        self.hold = Some(Hold { status, cause: HoldCause::Quota });
        self.consecutive_failures = u32::MAX;
        self.quarantine.on_refusal();
        work.past.refuse(status, self.successes);
        if work.past.refusals.is_multiple_of(2) && work.batch.len() > 1 {
            self.split_sealed(work, now, rng);
        } else {
            self.put_first(work);
        }
    }

    /// Takes out the quarantined records that `may_go`, as many as there are. If nothing passed since the last time, the
    /// endpoint seems to refuse everything.
    pub(crate) fn set_aside(&mut self, may_go: impl Fn(Seq) -> bool, now: Now, rng: &mut Rng) -> Vec<Entry> {
        let entries = self.quarantine.set_aside(may_go);
        for entry in &entries {
            self.forget(entry);
        }
        if !entries.is_empty() && self.set_aside_after.replace(self.successes) == Some(self.successes) {
            self.hold(HoldCause::Everything, now, rng);
        }
        entries
    }

    /// The trial, or the other suspect, that goes next: what was not refused yet as it is, then what waited longest.
    fn next_suspect(&self, is_trial: bool) -> Option<usize> {
        if self.in_order {
            return (!self.suspects.is_empty()).then_some(0);
        }
        let key = |work: &Work| (work.not_before.map(|(at, _)| at), work.sent);
        let places = (0..self.suspects.len()).filter(|place| self.suspects[*place].past.is_trial == is_trial);
        places.min_by_key(|place| key(&self.suspects[*place]))
    }

    fn take_suspect(&mut self, now: Now, rng: &mut Rng) -> Option<Work> {
        let due = self.quarantine.release(now.instant);
        self.try_again(due, now, rng);
        // In turns: of trials there may be as many as the platform has time for.
        let kinds = [self.owes_trial, !self.owes_trial].into_iter();
        let ready = |place: &usize| self.suspect_ready_at(*place).is_some_and(|(at, _)| at <= now.instant);
        let place = kinds.filter_map(|is_trial| self.next_suspect(is_trial)).find(ready)?;
        let work = self.suspects.remove(place)?;
        self.owes_trial = !work.past.is_trial;
        let is_unexplained = work.past.is_compared && work.past.successes == self.successes;
        if !(is_unexplained && work.sent && self.may_split(&work)) {
            return Some(work);
        }
        let [first, rest] =
            if self.in_order { self.halves(work, now, rng) } else { self.sample_of(work, now, rng) };
        self.suspects.push_front(rest);
        Some(first)
    }

    /// Whether parts of it may be compared. Metrics are known by their batch alone, which must not change unless
    /// it is to blame. A server that fails is hardly the batch's fault.
    fn may_split(&self, work: &Work) -> bool {
        let patience = if work.past.status.is_some_and(is_of_server) {
            2 * self.patience(Pace::Quick)
        } else {
            HOLD_PATIENCE
        };
        work.batch.len() > 1
            && work.past.refusals >= patience
            && self.batcher.kind() == Kind::Event
            && (self.in_order || work.past.is_convicted || self.sealed.len() + self.parts() < MOST_PARTS)
    }

    /// Makes trials of records that were quarantined.
    fn try_again(&mut self, records: Vec<Entry>, now: Now, rng: &mut Rng) {
        let mut released: Buffer = records.into_iter().collect();
        let past = Past { refusals: HOLD_PATIENCE - 1, is_part: true, is_trial: true, ..Past::default() };
        let mut trials = VecDeque::new();
        while !released.is_empty() {
            let batch = self.batcher.seal(&mut released, Room::UNLIMITED, now.wall, rng);
            trials.push_back(Work::new(batch, past));
        }
        if self.in_order {
            core::mem::swap(&mut trials, &mut self.suspects);
        }
        self.suspects.append(&mut trials);
    }

    fn suspect(&mut self, work: Work) {
        if self.in_order { self.suspects.push_front(work) } else { self.suspects.push_back(work) }
    }

    fn split_sealed(&mut self, work: Work, now: Now, rng: &mut Rng) {
        let is_part = work.past.is_part;
        for mut half in self.halves(work, now, rng).into_iter().rev() {
            half.past.is_part = is_part;
            self.put_first(half.afresh());
        }
    }

    fn halves(&self, work: Work, now: Now, rng: &mut Rng) -> [Work; 2] {
        let past = Past { is_part: true, ..work.past };
        let mut left = Arc::unwrap_or_clone(work.batch).entries;
        let right = left.split_off(left.len() / 2);
        [left, right].map(|half| Work::new(self.batcher.batch(half, now.wall, rng), past))
    }

    /// The newest record of a batch, which others are hardly like, and the rest, which waits for what becomes of it.
    fn sample_of(&self, work: Work, now: Now, rng: &mut Rng) -> [Work; 2] {
        let past = Past { is_part: true, ..work.past };
        let mut rest = Arc::unwrap_or_clone(work.batch).entries;
        let sample = rest.split_off(rest.len().saturating_sub(1));
        let [sample, rest] =
            [sample, rest].map(|part| Work::new(self.batcher.batch(part, now.wall, rng), past));
        [sample, Work { sent: true, ..rest }]
    }

    fn retry(&mut self, mut work: Work, now: Now, rng: &mut Rng) {
        work.not_before = Some((now.instant + self.quick.next(rng), Reason::Backoff));
        self.put_first(work);
    }

    fn slow_gate(&mut self, now: Now, rng: &mut Rng) -> (Instant, Reason) {
        (now.instant + SLOW_FLOOR + self.slow.next(rng), Reason::Held)
    }

    fn put_first(&mut self, work: Work) {
        if work.past.is_part { self.suspects.push_front(work) } else { self.sealed.push_front(work) }
    }

    fn hold(&mut self, cause: HoldCause, now: Now, rng: &mut Rng) {
        self.hold = Some(Hold { status: self.refusal.0, cause });
        self.consecutive_failures = u32::MAX;
        self.gate = Some(self.slow_gate(now, rng));
    }

    fn forget(&mut self, entry: &Entry) {
        self.len -= 1;
        self.cost -= entry.cost();
        self.quarantine.forget(entry.seq());
    }
}

impl Work {
    const fn new(batch: Arc<Batch>, past: Past) -> Self {
        Self { batch, past, not_before: None, sent: false, held: false }
    }

    /// With no refusals in a row.
    const fn afresh(mut self) -> Self {
        self.past.refusals = 0;
        self
    }

    fn ready_at(&self) -> Option<(Instant, Reason)> {
        Some(self.not_before.unwrap_or((self.batch.entries.first()?.accepted_at, Reason::Backoff)))
    }
}

impl Past {
    /// They are refused with `status`, after that many successes of others.
    fn refuse(&mut self, status: u16, successes: u64) {
        self.refusals = if self.status == Some(status) { self.refusals.saturating_add(1) } else { 1 };
        (self.status, self.successes) = (Some(status), successes);
    }
}

impl Dead {
    fn letter((entry, refusal): (Entry, Refusal)) -> Self {
        let Refusal { status, message, .. } = refusal;
        Self { entry, reason: DropReason::DeadLetter, status, message }
    }
}

/// Which records of the batch an answer names, by place or by idempotency key; `None` if it names one
/// that is not there, because then it may count in another way than we do.
fn is_named(batch: &Batch, items: &[ItemRef]) -> Option<Vec<bool>> {
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

/// The same where it names some of them: all or none leaves nothing to tell apart.
fn some_named(batch: &Batch, items: &[ItemRef]) -> Option<Vec<bool>> {
    is_named(batch, items).filter(|named| named.contains(&true) && named.contains(&false))
}

/// The records that are named, and the others.
fn divide(batch: Arc<Batch>, is_named: &[bool]) -> (Vec<Entry>, Vec<Entry>) {
    let entries = Arc::unwrap_or_clone(batch).entries.into_iter().zip(is_named);
    let (named, rest): (Vec<_>, Vec<_>) = entries.partition(|(_, is_named)| **is_named);
    let entries = |records: Vec<(Entry, &bool)>| records.into_iter().map(|(entry, _)| entry).collect();
    (entries(named), entries(rest))
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
            let sources = [Source::Sealed, Source::Queue, Source::Suspects].into_iter();
            let ready = sources.filter_map(|source| {
                Some((self.lane.ready_at(source, Seq::from_u64(0))?.0.max(self.now.instant), source))
            });
            let (at, source) = ready.min_by_key(|(at, _)| *at)?;
            self.now.instant = at;
            let departure = self.lane.depart(source, Room::UNLIMITED, None, self.now, &mut self.rng);
            departure.map(|departure| departure.batch)
        }

        fn answer(&mut self, verdict: Verdict, status: u16) {
            let Settled { delivered, dead, .. } =
                self.lane.on_verdict(verdict, status, self.now, &mut self.rng);
            self.delivered.extend(delivered.iter().map(|entry| entry.seq().as_u64()));
            self.dead.extend(dead.iter().map(|dead| dead.entry.seq().as_u64()));
        }
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        let message = || String::from("no");
        let items = prop::collection::vec((0usize..12).prop_map(ItemRef::Index), 0..4);
        prop_oneof![
            4 => Just(Verdict::Delivered { invalid_timestamps: 0 }),
            2 => items.clone().prop_map(move |failed| Verdict::Partly { failed, message: message() }),
            2 => Just(Verdict::Unsure { message: message() }),
            2 => Just(Verdict::TooLarge),
            3 => Just(Verdict::Refused { named: vec![], message: message() }),
            2 => items.prop_map(move |named| Verdict::Refused { named, message: message() }),
            1 => Just(Verdict::SlowDown { retry_after: None }),
            1 => Just(Verdict::Failed { retry_after: None }),
            2 => Just(Verdict::Hold { message: message() }),
            1 => Just(Verdict::Quota { message: message() }),
        ]
    }

    fn status() -> impl Strategy<Value = u16> {
        prop_oneof![Just(0), Just(403), Just(422), Just(500)]
    }

    proptest! {
        /// Whatever the platform says in whatever order, every record is in the lane, delivered once,
        /// or dead; and a batch that was sent never changes.
        #[test]
        fn records_are_kept_in_order_and_none_is_lost(
            steps in prop::collection::vec((0u64..10, verdict(), status()), 1..80),
            in_order: bool,
        ) {
            let mut bench = Bench::new();
            bench.lane.in_order = in_order;
            let mut sent: Vec<Arc<Batch>> = vec![];
            for (count, verdict, status) in steps {
                bench.push(count);
                let Some(batch) = bench.depart() else { continue };
                let before = sent.iter().find(|before| before.id() == batch.id());
                prop_assert!(before.is_none_or(|before| *before == batch));
                sent.push(Arc::clone(&batch));
                prop_assert!(batch.entries.is_sorted_by_key(Entry::seq));
                prop_assert!((1..=8).contains(&batch.len()));
                bench.answer(verdict, status);
                let left = bench.lane.from(Seq::from_u64(0)).map(|entry| entry.seq().as_u64());
                let mut all: Vec<_> =
                    left.chain(bench.delivered.iter().copied()).chain(bench.dead.iter().copied()).collect();
                all.sort_unstable();
                prop_assert_eq!(all, (1..bench.next).collect::<Vec<_>>());
                prop_assert_eq!(bench.lane.len(), bench.lane.count_before(Seq::from_u64(u64::MAX), true));
                let cost: usize = bench.lane.from(Seq::from_u64(0)).map(Entry::cost).sum();
                prop_assert_eq!(cost, bench.lane.cost());
                let queued: Vec<_> = bench.lane.queue.from(Seq::from_u64(0)).map(Entry::cost).collect();
                prop_assert_eq!(bench.lane.waiting(), (queued.len(), queued.iter().sum()));
                let batches: usize = bench.lane.batches().map(Batch::len).sum();
                prop_assert_eq!(bench.lane.retried(), batches);
                let quarantined = bench.lane.quarantine.records().len();
                prop_assert_eq!(bench.lane.sendable(), batches + queued.len());
                let Room { records, bytes } = bench.lane.committed();
                // Each is ten bytes long.
                prop_assert_eq!((records, bytes), (batches + quarantined, 10 * (batches + quarantined)));
            }
        }
    }

    /// A batch of that many records with that past.
    fn work(bench: &mut Bench, len: u64, past: Past) -> Work {
        bench.push(len);
        let batch =
            bench.lane.batcher.seal(&mut bench.lane.queue, Room::UNLIMITED, bench.now.wall, &mut bench.rng);
        Work::new(batch, past)
    }

    #[test]
    fn two_compared_batches_are_enough_or_any_suspect_of_a_dense_search() {
        for (unexplained, len, compared, others, enough) in [
            (0, 2, 2, 0, false),
            (1, 2, 1, 1, false),
            (1, 2, 2, 0, true),
            (2, 2, 2, 1, true),
            (1, 2, 3, 0, true),
            (7, 2, 0, 1, false),
            (8, 2, 0, 1, true),
            (9, 2, 1, 0, true),
            (8, 2, 0, 0, false),
            // Nothing more is to be found out about a record alone.
            (7, 1, 15, 0, false),
            (9, 1, 2, 0, false),
            (1, 1, 16, 0, true),
            (0, 1, 16, 0, false),
        ] {
            let mut bench = Bench::new();
            bench.lane.unexplained = unexplained;
            for place in 0..compared + others {
                let suspect =
                    work(&mut bench, len, Past { is_compared: place < compared, ..Past::default() });
                bench.lane.suspect(suspect);
            }
            assert_eq!(bench.lane.is_comparing_enough(), enough, "{unexplained} {len} {compared} {others}");
        }
    }

    #[test]
    fn a_batch_is_compared_after_its_retries_but_never_after_one_refusal() {
        let mut lane = Bench::new().lane;
        for (attempts, quick) in [(0, 2), (1, 2), (2, 3), (3, 4), (10, 11)] {
            lane.retry_attempts = attempts;
            let patience = [Pace::Quick, Pace::QuickThenSlow, Pace::Slow].map(|pace| lane.patience(pace));
            assert_eq!(patience, [quick, quick, 2], "{attempts}");
        }
        lane.retry_attempts = 3;
        let exhausted = [0, 3, 4, 5, u32::MAX].map(|failures| {
            lane.consecutive_failures = failures;
            lane.is_exhausted()
        });
        assert_eq!(exhausted, [false, false, true, true, true]);
    }

    #[test]
    fn what_may_be_split_for_comparison() {
        let mut bench = Bench::new();
        bench.lane.retry_attempts = 3;
        for (len, status, refusals, may) in [
            (2, 403, 1, false),
            (2, 403, 2, true),
            (2, 403, 3, true),
            (1, 403, 3, false),
            (2, 499, 2, true),
            (2, 500, 7, false),
            (2, 500, 8, true),
            (2, 503, 7, false),
            (2, 0, 7, false),
            (2, 0, 8, true),
        ] {
            let suspect = work(&mut bench, len, Past { status: Some(status), refusals, ..Past::default() });
            assert_eq!(bench.lane.may_split(&suspect), may, "{len} {status} {refusals}");
        }
        let suspect = work(&mut bench, 2, Past { status: Some(403), refusals: 2, ..Past::default() });
        bench.lane.sealed.extend((0..8).map(|_| suspect.clone()));
        bench.lane.suspects.extend((0..7).map(|_| suspect.clone()));
        assert!(bench.lane.may_split(&suspect), "fifteen parts");
        bench.lane.suspects.push_back(suspect.clone());
        assert!(!bench.lane.may_split(&suspect), "sixteen parts");
        bench.lane.in_order = true;
        assert!(bench.lane.may_split(&suspect), "nothing may overtake it");
        let config = AgentConfig::builder("0123456789").build().unwrap();
        bench.lane.batcher = Batcher::new(Kind::Metric, &config);
        assert!(!bench.lane.may_split(&suspect), "metrics are known by their batch");
    }

    #[test]
    fn a_batch_is_halved_at_every_other_refusal_for_a_quota() {
        let mut bench = Bench::new();
        bench.push(8);
        let mut lens = vec![];
        for _ in 0..7 {
            lens.push(bench.depart().unwrap().len());
            bench.answer(Verdict::Quota { message: String::from("no more") }, 402);
        }
        assert_eq!(lens, [8, 8, 4, 4, 2, 2, 1]);
        assert!(bench.lane.is_refused() && bench.lane.is_exhausted());
    }

    #[test]
    fn a_comparison_pauses_from_the_third_unexplained_refusal_on() {
        let mut bench = Bench::new();
        bench.push(80);
        let gates = [(); 6].map(|()| {
            bench.depart().unwrap();
            bench.answer(Verdict::Hold { message: String::from("no") }, 403);
            bench.lane.gate.is_some()
        });
        // The first refusal alone holds; then two other batches go at once.
        assert_eq!(gates, [true, false, false, true, true, true]);
    }

    #[test]
    fn a_trial_that_names_a_record_again_proves_it_bad_once_others_passed() {
        let partly = || Verdict::Partly { failed: vec![ItemRef::Index(0)], message: String::from("bad") };
        let refused = || Verdict::Refused { named: vec![], message: String::from("bad") };
        let mut bench = Bench::new();
        bench.push(2);
        while bench.lane.quarantine.records().len() < 2 {
            bench.depart().unwrap();
            bench.answer(refused(), 422);
        }
        bench.push(1);
        bench.depart().unwrap();
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 }, 200);
        let mut requests = 0;
        while bench.dead.is_empty() {
            let batch = bench.depart().unwrap();
            assert!(batch.entries.iter().any(|entry| entry.seq() == Seq::from_u64(1)), "{batch:?}");
            bench.answer(partly(), 422);
            requests += 1;
            assert!(requests < 10);
        }
        assert_eq!((bench.delivered, bench.dead, requests), (vec![3, 2], vec![1], 2));
    }

    #[test]
    fn trials_of_quarantined_records_are_no_larger_than_other_batches() {
        let mut bench = Bench::new();
        bench.lane.batcher = Batcher::new(
            Kind::Event,
            &AgentConfig { batch_max_records: 1, ..AgentConfig::builder("0123456789").build().unwrap() },
        );
        for _ in 0..2 {
            bench.push(1);
            bench.depart();
            bench.answer(Verdict::Refused { named: vec![], message: String::from("bad") }, 422);
        }
        bench.push(1);
        bench.depart();
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 }, 422);
        for seq in [1, 2] {
            let again = bench.depart().unwrap();
            assert_eq!((again.len(), again.entries[0].seq()), (1, Seq::from_u64(seq)));
            bench.answer(Verdict::Delivered { invalid_timestamps: 0 }, 422);
        }
    }

    #[test]
    fn what_is_acquitted_waits_where_it_belongs() {
        let mut bench = Bench::new();
        bench.push(16);
        for asked in 0.. {
            let batch = bench.depart().unwrap();
            assert!(asked < 40, "{batch:?}");
            if asked == 10 {
                // An older one comes back from a journal.
                let record = Record::new(Kind::Event, false, vec![b'x'; 10].into());
                let entry = Entry::new(Seq::from_u64(0), bench.now.instant, record);
                bench.lane.merge([entry].into_iter().collect());
            }
            bench.answer(Verdict::Refused { named: vec![], message: String::from("no") }, 422);
            if bench.lane.held().is_some() {
                break;
            }
        }
        let waiting = bench.lane.queue.from(Seq::from_u64(0)).map(|entry| entry.seq().as_u64());
        assert_eq!(waiting.collect::<Vec<_>>(), (0..=16).collect::<Vec<_>>());
        assert_eq!(bench.lane.queue.count_before(Seq::from_u64(1)), 1);
    }

    #[test]
    fn an_endpoint_that_refuses_everything_changes_no_batch_that_was_sent_before() {
        let mut bench = Bench::new();
        bench.push(1);
        let sent = Batch::clone(&bench.depart().unwrap());
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 }, 200);
        bench.push(16);
        while bench.lane.held().is_none() {
            bench.depart().unwrap();
            // Another run may have sent it: a journal brings it before the last of the others is refused.
            if bench.lane.quarantine.records().len() == 15 {
                bench.lane.restore(sent.clone());
            }
            bench.answer(Verdict::Refused { named: vec![], message: String::from("no") }, 422);
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
    fn the_oldest_quarantined_record_can_make_room() {
        let mut bench = Bench::new();
        for _ in 0..2 {
            bench.push(1);
            bench.depart();
            bench.answer(Verdict::Refused { named: vec![], message: String::from("bad") }, 422);
        }
        assert_eq!(bench.lane.evict_quarantined().map(|entry| entry.seq()), Some(Seq::from_u64(1)));
        assert_eq!((bench.lane.len(), bench.lane.sendable()), (1, 0));
    }

    #[test]
    fn what_was_set_aside_is_known_when_it_comes_back() {
        let refuse = || Verdict::Refused { named: vec![], message: String::from("bad") };
        let mut bench = Bench::new();
        bench.push(1);
        bench.depart();
        bench.answer(refuse(), 422);
        let set_aside = bench.lane.set_aside(|_| true, bench.now, &mut bench.rng);
        bench.push(1);
        bench.depart();
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 }, 422);
        bench.lane.merge(set_aside.into_iter().collect());
        bench.depart();
        bench.answer(refuse(), 422);
        assert_eq!((bench.delivered, bench.dead), (vec![2], vec![1]));
    }

    #[test]
    fn a_lane_that_sets_records_aside_holds_once_nothing_passes() {
        let mut bench = Bench::new();
        let set_aside = |bench: &mut Bench| {
            bench.push(1);
            bench.depart();
            bench.answer(Verdict::Refused { named: vec![], message: String::from("bad") }, 422);
            assert_eq!(bench.lane.set_aside(|_| true, bench.now, &mut bench.rng).len(), 1);
            bench.lane.held().is_some()
        };
        assert!(!set_aside(&mut bench));
        bench.push(1);
        bench.depart();
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 }, 200);
        assert!(!set_aside(&mut bench), "others pass");
        assert!(set_aside(&mut bench));
    }

    #[test]
    fn room_that_is_left_is_lent_to_the_backlog() {
        let mut bench = Bench::new();
        let mut backlog = bench.lane.clone();
        bench.push(20);
        bench.lane.spill_into(&mut backlog, &[Flow::ONE]);
        bench.push(2);
        let seqs = |batch: &Batch| batch.entries.iter().map(|entry| entry.seq().as_u64()).collect::<Vec<_>>();
        let depart = |bench: &mut Bench, backlog: &mut Lane, room| {
            bench.lane.depart(
                Source::Queue,
                room,
                Some(Others { lane: backlog, is_their_turn: false }),
                bench.now,
                &mut bench.rng,
            )
        };
        let Departure { batch, share } = depart(&mut bench, &mut backlog, Room::UNLIMITED).unwrap();
        assert_eq!((seqs(&batch), share), (vec![1, 2, 3, 4, 5, 6, 21, 22], Share::Rest));
        assert!(bench.lane.has_borrowed());
        assert_eq!((bench.lane.len(), backlog.len()), (8, 14));
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 }, 422);
        assert!(!bench.lane.has_borrowed());
        bench.push(3);
        let room = Room { records: 4, bytes: usize::MAX };
        let Departure { batch, share } = depart(&mut bench, &mut backlog, room).unwrap();
        assert_eq!((seqs(&batch), share), (vec![7, 23, 24, 25], Share::Rest));
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 }, 422);
        bench.push(4);
        let Departure { batch, share } = depart(&mut bench, &mut backlog, room).unwrap();
        assert_eq!((seqs(&batch), share), (vec![26, 27, 28, 29], Share::NoRoom));
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 }, 422);
        backlog.queue.take(usize::MAX, usize::MAX);
        for (count, expected) in [(3, Share::NoRecords), (4, Share::NoRoom), (5, Share::NoRoom)] {
            bench.push(count);
            assert_eq!(depart(&mut bench, &mut backlog, room).unwrap().share, expected, "of {count}");
            bench.answer(Verdict::Delivered { invalid_timestamps: 0 }, 422);
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
        bench.answer(Verdict::Hold { message: String::from("who?") }, 422);
        assert!(bench.lane.held().is_some());
        bench.lane.on_endpoint_alive(bench.now);
        assert!(bench.lane.held().is_none());
        assert!(bench.depart().is_some());
    }

    #[test]
    fn a_quarantined_record_gets_one_more_trial_after_a_success() {
        let refuse = || Verdict::Refused { named: vec![], message: String::from("bad") };
        let mut bench = Bench::new();
        bench.push(1);
        bench.depart();
        bench.answer(refuse(), 422);
        assert_eq!(bench.lane.sendable(), 0, "it is quarantined");
        bench.push(1);
        bench.depart();
        bench.answer(Verdict::Delivered { invalid_timestamps: 0 }, 422);
        let again = bench.depart().unwrap();
        assert_eq!(again.entries[0].seq(), Seq::from_u64(1));
        bench.answer(refuse(), 422);
        assert_eq!((bench.delivered, bench.dead), (vec![2], vec![1]));
    }

    #[test]
    fn each_verdict_gates_the_next_attempt_its_way() {
        let none = None;
        for (verdict, gate) in [
            (Verdict::Delivered { invalid_timestamps: 0 }, none),
            (Verdict::TooLarge, none),
            (Verdict::Refused { named: vec![], message: String::new() }, none),
            (Verdict::Unsure { message: String::new() }, Some(Reason::Backoff)),
            (Verdict::SlowDown { retry_after: None }, Some(Reason::Backoff)),
            (Verdict::Failed { retry_after: None }, Some(Reason::Backoff)),
            (Verdict::Hold { message: String::new() }, Some(Reason::Held)),
        ] {
            let mut bench = Bench::new();
            bench.push(2);
            bench.depart();
            let shown = format!("{verdict:?}");
            bench.answer(verdict, 422);
            let sources = [Source::Sealed, Source::Suspects].into_iter();
            let ready = sources.filter_map(|source| bench.lane.ready_at(source, Seq::from_u64(0))).min();
            let ready = ready.filter(|(at, _)| *at > bench.now.instant);
            assert_eq!(ready.map(|(_, reason)| reason), gate, "{shown}");
            let slow = ready.is_some_and(|(at, _)| at - bench.now.instant >= SLOW_FLOOR);
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
        bench.lane.spill_into(&mut backlog, &[Flow::ONE]);
        assert_eq!((bench.lane.len(), backlog.len()), (8, 12));
        assert!(backlog.from(Seq::from_u64(0)).is_sorted_by_key(Entry::seq));
    }

    fn refused() -> Verdict {
        Verdict::Refused { named: vec![], message: String::from("bad") }
    }

    fn forbidden() -> Verdict {
        Verdict::Hold { message: String::from("no") }
    }

    const DELIVERED: Verdict = Verdict::Delivered { invalid_timestamps: 0 };
    const UNANSWERED: Verdict = Verdict::Unanswered { message: String::new() };

    #[test]
    fn an_empty_lane_sends_nothing() {
        let mut bench = Bench::new();
        let mut depart =
            |source| bench.lane.depart(source, Room::UNLIMITED, None, bench.now, &mut bench.rng).is_none();
        assert!(depart(Source::Sealed) && depart(Source::Queue) && depart(Source::Suspects));
    }

    #[test]
    fn a_backlog_of_metrics_does_not_wait_for_the_flush_interval_again() {
        let config = AgentConfig::builder("0123456789").build().unwrap();
        let ready = |mut lane: Lane| {
            let record = Record::new(Kind::Metric, false, vec![b'x'; 10].into());
            lane.push(Entry::new(Seq::from_u64(1), Instant::ZERO, record));
            lane.ready_at(Source::Queue, Seq::from_u64(0)).unwrap()
        };
        let (live, backlog) = (Lane::new(Kind::Metric, &config), Lane::of_backlog(Kind::Metric, &config));
        assert_eq!(ready(live), (Instant::ZERO + config.flush_interval, Reason::FlushInterval));
        assert_eq!(ready(backlog), (Instant::ZERO + config.event_linger, Reason::Linger));
    }

    #[test]
    fn a_batch_that_was_sent_stays_whole_when_a_part_of_it_goes_to_others() {
        for (gone, whole) in [(3, true), (4, false)] {
            let mut bench = Bench::new();
            bench.push(4);
            let batch = bench.depart().unwrap();
            bench.answer(UNANSWERED, 0);
            let handed_over = bench.lane.hand_over(|entry| entry.seq() <= Seq::from_u64(gone));
            assert_eq!(handed_over.len(), if whole { 0 } else { 4 });
            assert_eq!(bench.depart(), whole.then_some(batch), "{gone}");
        }
    }

    #[test]
    fn a_suspect_has_its_turn_after_three_others() {
        let mut bench = Bench::new();
        bench.push(1);
        bench.depart();
        bench.answer(refused(), 422);
        let mut owes = vec![];
        for _ in 0..4 {
            bench.push(1);
            bench.lane.depart(Source::Queue, Room::UNLIMITED, None, bench.now, &mut bench.rng).unwrap();
            bench.answer(DELIVERED, 200);
            owes.push(bench.lane.owes_suspects());
        }
        assert_eq!(owes, [false, true, true, true], "it was the first of them itself");
        bench.lane.depart(Source::Suspects, Room::UNLIMITED, None, bench.now, &mut bench.rng).unwrap();
        assert!(!bench.lane.owes_suspects());
    }

    #[test]
    fn a_trial_that_is_on_its_way_is_repeated_for_who_hurries() {
        for (verdict, status) in [(forbidden(), 403), (refused(), 422)] {
            let mut bench = Bench::new();
            bench.push(1);
            while bench.lane.quarantine.records().is_empty() {
                bench.depart().unwrap();
                bench.answer(refused(), status);
            }
            bench.push(1);
            bench.depart();
            bench.answer(DELIVERED, 200);
            bench.depart().unwrap();
            bench.lane.hurry(bench.now, &mut bench.rng);
            let mut left = vec![];
            for _ in 0..2 {
                bench.answer(verdict.clone(), status);
                left.push(bench.lane.sendable());
                bench.depart();
            }
            assert_eq!(left, [1, 0], "{status}");
        }
    }

    #[test]
    fn who_hurries_tries_an_endpoint_that_refused_before() {
        let mut bench = Bench::new();
        bench.push(1);
        bench.depart();
        bench.answer(forbidden(), 403);
        assert!(bench.lane.is_refused() && bench.lane.is_exhausted());
        bench.lane.hurry(bench.now, &mut bench.rng);
        assert!(!bench.lane.is_refused() && !bench.lane.is_exhausted());
        let before = bench.now;
        assert!(bench.depart().is_some() && bench.now.instant == before.instant);
        bench.answer(forbidden(), 403);
        assert!(bench.lane.is_refused(), "it still does");
    }

    /// Records are tried again apart from the others that an answer named, that are a half, or that are a trial.
    #[test]
    fn what_was_refused_and_fails_then_holds_up_nothing_that_waits() {
        let partly = Verdict::Partly { failed: vec![ItemRef::Index(0)], message: String::from("bad") };
        for (first, count, trial) in [(partly, 3, false), (refused(), 4, false), (refused(), 1, true)] {
            let mut bench = Bench::new();
            bench.push(count);
            bench.depart();
            let shown = format!("{first:?}");
            bench.answer(first, 422);
            if trial {
                bench.push(1);
                bench.depart();
                bench.answer(DELIVERED, 200);
            }
            if shown.contains("Refused") {
                bench.depart().unwrap();
                bench.answer(UNANSWERED, 0);
            }
            bench.push(1);
            let ready = bench.lane.ready_at(Source::Queue, Seq::from_u64(100));
            assert!(ready.is_some_and(|(at, _)| at <= bench.now.instant), "{shown}: {ready:?}");
        }
    }

    #[test]
    fn a_record_that_is_named_again_and_again_is_quarantined_without_a_witness() {
        let partly = || Verdict::Partly { failed: vec![ItemRef::Index(0)], message: String::from("bad") };
        let mut bench = Bench::new();
        bench.push(3);
        let mut requests = 0;
        while bench.lane.quarantine.records().is_empty() {
            bench.depart().unwrap();
            bench.answer(partly(), 422);
            requests += 1;
            assert!(requests < 10);
        }
        assert_eq!(requests, bench.lane.retry_attempts + 1, "its retries");
        assert_eq!((bench.delivered, bench.dead.len()), (vec![2, 3], 0));
    }

    #[test]
    fn a_proof_explains_a_refusal_and_nothing_else_does() {
        let mut bench = Bench::new();
        bench.push(1);
        bench.depart();
        bench.answer(refused(), 422);
        assert_eq!(bench.lane.unexplained, 1, "one record may be bad, or everything");
        let set_aside = bench.lane.set_aside(|_| true, bench.now, &mut bench.rng);
        bench.push(1);
        bench.depart();
        bench.answer(DELIVERED, 200);
        bench.lane.merge(set_aside.into_iter().collect());
        bench.depart();
        bench.answer(refused(), 422);
        assert_eq!((bench.dead.len(), bench.lane.unexplained), (1, 0));
    }

    #[test]
    fn no_batch_is_to_blame_for_a_single_refusal_however_others_fared() {
        let mut bench = Bench::new();
        bench.push(8);
        bench.depart();
        bench.answer(DELIVERED, 200);
        bench.push(16);
        for gated in [true, false, false] {
            bench.depart().unwrap();
            bench.answer(forbidden(), 403);
            assert_eq!(bench.lane.gate.is_some(), gated, "a comparison goes on at once");
        }
        let suspects: Vec<_> = bench.lane.suspects.iter().map(|work| work.batch.len()).collect();
        assert_eq!(suspects, [8, 8], "one was refused twice and one once");
        assert!(bench.lane.suspects.iter().all(|work| !work.past.is_convicted));
    }

    #[test]
    fn a_trial_is_believed_at_once_only_if_it_is_refused_as_before() {
        let mut bench = Bench::new();
        bench.push(1);
        bench.depart();
        bench.answer(refused(), 422);
        let mut trial = |answers: &[(Verdict, u16)]| {
            bench.push(1);
            bench.depart();
            bench.answer(DELIVERED, 200);
            let mut waits = vec![];
            for (verdict, status) in answers {
                assert_eq!(bench.depart().unwrap().entries[0].seq(), Seq::from_u64(1));
                bench.answer(verdict.clone(), *status);
                waits.push(bench.lane.quarantine.records().len());
            }
            waits
        };
        assert_eq!(trial(&[(forbidden(), 422)]), [1]);
        assert_eq!(trial(&[(UNANSWERED, 0), (forbidden(), 422)]), [0, 1]);
        assert_eq!(trial(&[(forbidden(), 403)]), [0], "another refusal says nothing about it");
    }

    #[test]
    fn a_search_in_strict_order_lets_nothing_pass() {
        for in_order in [true, false] {
            let mut bench = Bench::new();
            bench.lane.in_order = in_order;
            bench.push(8);
            bench.depart();
            bench.answer(refused(), 422);
            bench.push(3);
            assert_eq!(bench.lane.ready_at(Source::Queue, Seq::from_u64(100)).is_none(), in_order);
            let batch = bench.lane.seal_ahead(Room::UNLIMITED, bench.now, &mut bench.rng).unwrap();
            bench.lane.on_seal_durable(batch.id());
            assert_eq!(bench.lane.ready_at(Source::Sealed, Seq::from_u64(100)).is_none(), in_order);
            assert!(bench.lane.ready_at(Source::Suspects, Seq::from_u64(100)).is_some());
        }
    }

    #[test]
    fn one_batch_is_sealed_ahead_and_none_of_nothing() {
        let mut bench = Bench::new();
        assert!(bench.lane.seal_ahead(Room::UNLIMITED, bench.now, &mut bench.rng).is_none());
        bench.push(20);
        assert!(bench.lane.seal_ahead(Room::UNLIMITED, bench.now, &mut bench.rng).is_some());
        assert!(bench.lane.seal_ahead(Room::UNLIMITED, bench.now, &mut bench.rng).is_none());
    }

    #[test]
    fn what_is_lent_fits_the_room_with_its_separators() {
        // Each takes ten bytes, and a separator before the next one.
        for (bytes, len) in [(31, 2), (32, 3), (42, 3), (43, 4)] {
            let mut bench = Bench::new();
            let mut backlog = bench.lane.clone();
            bench.push(5);
            bench.lane.spill_into(&mut backlog, &[Flow::ONE]);
            bench.push(2);
            let room = Room { records: 8, bytes };
            let departure = bench.lane.depart(
                Source::Queue,
                room,
                Some(Others { lane: &mut backlog, is_their_turn: false }),
                bench.now,
                &mut bench.rng,
            );
            assert_eq!(departure.unwrap().batch.len(), len, "{bytes}");
        }
    }

    #[test]
    fn what_came_before_a_mark_is_counted_wherever_it_stands() {
        let mut bench = Bench::new();
        bench.push(1);
        bench.depart();
        bench.answer(refused(), 422);
        bench.push(12);
        bench.depart();
        // One is quarantined, eight are in flight, and four wait.
        for (mark, before) in [(1, 0), (2, 0), (5, 3), (9, 7), (10, 8), (11, 9), (100, 12)] {
            let mark = Seq::from_u64(mark);
            assert_eq!(bench.lane.count_before(mark, false), before, "{mark}");
            let quarantined = usize::from(mark > Seq::from_u64(1));
            assert_eq!(bench.lane.count_before(mark, true), before + quarantined, "{mark}");
        }
    }

    #[test]
    fn several_records_that_are_named_are_told_of() {
        for named in [vec![0], vec![0, 1], vec![0, 1, 2]] {
            let mut bench = Bench::new();
            bench.push(4);
            bench.depart();
            let named: Vec<_> = named.into_iter().map(ItemRef::Index).collect();
            let verdict = Verdict::Refused { named: named.clone(), message: String::from("bad") };
            let settled = bench.lane.on_verdict(verdict, 422, bench.now, &mut bench.rng);
            assert!(settled.quarantined, "{named:?}");
        }
    }

    #[test]
    fn what_waits_leaves_from_both_ends_if_it_may() {
        let mut bench = Bench::new();
        bench.push(4);
        let seq = |entry: Option<Entry>| entry.map(|entry| entry.seq().as_u64());
        assert_eq!(seq(bench.lane.release_newest(|seq| seq < Seq::from_u64(4))), None);
        assert_eq!(seq(bench.lane.release_newest(|_| true)), Some(4));
        assert_eq!(seq(bench.lane.release_oldest(|seq| seq > Seq::from_u64(1))), None);
        assert_eq!(seq(bench.lane.release_oldest(|_| true)), Some(1));
        assert_eq!((bench.lane.len(), bench.lane.waiting().0), (2, 2));
    }

    #[test]
    fn more_than_one_full_batch_is_several() {
        let mut bench = Bench::new();
        let several = [8, 1, 8].map(|count| {
            bench.push(count);
            bench.lane.holds_several_batches()
        });
        assert_eq!((several[0], several[2]), (false, true));
    }
}
