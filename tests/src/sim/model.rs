use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use guard_agent_proto::store::{Note, StoreOp, StreamId};
use guard_agent_proto::{
    AgentConfig, BreakerState, ByKind, DrainOrder, DropReason, Endpoint, FlushId, Instant, Kind, Outcome,
    Report, RequestId, Stats, StatusLevel, TransportErrorKind,
};

use super::application::Made;
use super::invariant::Invariant;
use super::network::{Answer, Meaning};

/// Most outputs to one input: a handful of requests, store operations and news.
pub(crate) const MAX_OUTPUTS: usize = 64;
/// Most wake-ups in one second that come to nothing.
const MAX_IDLE_WAKES: usize = 100;

/// Something that must hold did not.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    details: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant `{}` does not hold: {}", self.invariant, self.details)
    }
}

pub(crate) type Checked = Result<(), Violation>;

pub(crate) fn require(holds: bool, invariant: Invariant, details: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { invariant, details: details() }) }
}

/// How much later than its time limit an answer may come before the agent takes it for lost.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// The least that a used-up quota is waited for.
const QUOTA_WAIT: Duration = Duration::from_secs(30);
/// Memory that the agent may reckon beside the JSON of a record, in bytes.
const OVERHEAD: u64 = 64;

/// What became of a record, as the world sees it.
#[derive(Debug)]
pub(crate) struct Fate {
    pub(crate) made: Made,
    /// The run of the agent that accepted it, and when.
    pub(crate) run: u32,
    pub(crate) accepted_at: Instant,
    /// First arrival at the platform that took it.
    pub(crate) taken_at: Option<Instant>,
    /// The agent knows that the journal has it.
    pub(crate) journaled: bool,
    /// The store lost it after that, or before the agent heard of it.
    pub(crate) lost: bool,
    /// It came back to the store with an operation that the agent had long given up.
    pub(crate) resurrected: bool,
    /// Where it was written to.
    pub(crate) streams: Vec<StreamId>,
    /// How often a stream that has it was adopted while its owner lived, who may keep it too.
    pub(crate) copies: u64,
    /// It was in the memory of a process that died, or nobody can know that the store lost it.
    pub(crate) died: bool,
    /// Refusals in a row that are about the content, or can be although their status blames the caller or the server.
    unclear: u32,
    /// It was refused so before.
    was_refused: bool,
    /// What its receipts said last.
    receipt: Option<Receipt>,
    /// The run that sent it last, in which batch, and what came of it.
    last: Option<(u32, u32, Ended)>,
}

impl Fate {
    pub(crate) const fn new(made: Made, run: u32, accepted_at: Instant) -> Self {
        Self {
            made,
            run,
            accepted_at,
            taken_at: None,
            journaled: false,
            lost: false,
            resurrected: false,
            streams: Vec::new(),
            copies: 0,
            died: false,
            unclear: 0,
            was_refused: false,
            receipt: None,
            last: None,
        }
    }

    /// Whether who sent it last knows that it arrived.
    pub(crate) const fn is_confirmed(&self) -> bool {
        matches!(self.last, Some((.., Ended::Confirmed)))
    }
}

/// See [`Receipt`]: at most one of each, the final one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receipt {
    Durable,
    Final,
}

/// How the last attempt to deliver a record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Not yet.
    InFlight,
    /// In a way that has nothing to do with the content: the same batch must be tried again.
    Unrelated,
    /// The platform has it.
    Confirmed,
    /// In a way that may be due to the content: other batches may be made of it.
    Content,
}

/// A request that has no answer yet.
#[derive(Debug)]
struct Flight {
    endpoint: Endpoint,
    records: Vec<u64>,
    probe: bool,
    /// When the agent gives up on a runtime that does not answer.
    lost_at: Instant,
}

/// A batch that the platform may see again.
#[derive(Debug)]
struct Seen {
    name: String,
    /// Of its bytes, as each run sent it.
    hashes: BTreeMap<u32, u64>,
    records: Vec<u64>,
}

/// What all runs of the agent did with records and batches.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) records: Vec<Fate>,
    batches: Vec<Seen>,
    /// Places among those, by name.
    places: BTreeMap<String, u32>,
    /// Batches of which the journal notes what they consist of.
    noted: BTreeSet<(StreamId, String)>,
    /// Records before this number may have two owners: the store went back to when they had another one.
    pub(crate) disputed: u64,
    /// Records may have left the agents, or the journal, in other ways than by delivery.
    pub(crate) disturbed: bool,
}

impl History {
    pub(crate) fn record(&mut self, number: u64) -> Option<&mut Fate> {
        usize::try_from(number).ok().and_then(|index| self.records.get_mut(index))
    }

    /// A note was written, or deleted.
    pub(crate) fn note(&mut self, stream: StreamId, note: &Note) {
        let Some(batch) = note.name.strip_prefix("s-e-").or_else(|| note.name.strip_prefix("s-m-")) else {
            return;
        };
        if note.value.is_some() {
            self.noted.insert((stream, String::from(batch)));
        } else {
            self.noted.remove(&(stream, String::from(batch)));
        }
    }

    fn place(&mut self, name: &str, records: &[u64]) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = u32::try_from(self.batches.len()).unwrap_or(u32::MAX);
        self.batches.push(Seen {
            name: String::from(name),
            hashes: BTreeMap::new(),
            records: records.to_vec(),
        });
        self.places.insert(String::from(name), place);
        place
    }

    /// The batch in which another run sent that record, if it must be sent in the same one again.
    fn sealed(&self, number: u64, run: u32) -> Option<u32> {
        let record = |number: u64| self.records.get(usize::try_from(number).ok()?);
        let (_, place, _) = record(number)?.last.filter(|(of, _, _)| *of != run)?;
        let batch = self.batches.get(place as usize)?;
        let intact = |number: &u64| {
            record(*number).is_some_and(|record| {
                let noted = |stream: &StreamId| self.noted.contains(&(*stream, batch.name.clone()));
                let unanswered = |(_, of, ended): (u32, u32, Ended)| {
                    of == place && matches!(ended, Ended::InFlight | Ended::Unrelated)
                };
                record.last.is_some_and(unanswered) && !record.resurrected && record.streams.iter().all(noted)
            })
        };
        (!self.disturbed && batch.records.iter().all(intact)).then_some(place)
    }
}

/// What must be true of one run of the agent, from its start to its end.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) run: u32,
    config: AgentConfig,
    accepted: ByKind<u64>,
    invalid: ByKind<u64>,
    delivered: ByKind<u64>,
    /// Bytes of what was accepted and not delivered.
    held_bytes: u64,
    strays: u64,
    sends: VecDeque<Instant>,
    sent: u64,
    in_flight: BTreeMap<RequestId, Flight>,
    highest_request: Option<RequestId>,
    /// Names of the batches that it sent, and what was in them.
    batches: BTreeSet<String>,
    sent_records: BTreeSet<u64>,
    /// Streams of other runs that it took over.
    pub(crate) adopted: BTreeSet<StreamId>,
    /// The store lost something in its time.
    pub(crate) bereft: bool,
    /// Something was refused, and stays in memory to be tried again.
    refused: bool,
    /// It was told that a stream is another's.
    pub(crate) fenced: bool,
    /// The journal was down, as far as it knew: then nothing waits for it.
    journal_was_down: bool,
    journal_is_down: bool,
    /// When the store was asked last, and whether it was to renew a lease.
    store_asked: Instant,
    renews: bool,
    /// More came than memory holds, before it was durable: then records leave out of order rather than being lost.
    squeezed: bool,
    /// Another agent adopted a journal of its.
    pub(crate) dispossessed: bool,
    /// The newest records that went, by type.
    tails: BTreeMap<(Kind, u8), [Option<u64>; 2]>,
    /// It was refused what may be good: then the newest record may go alone, for comparison.
    compares: bool,
    streak: u32,
    not_before: BTreeMap<Endpoint, Instant>,
    /// Until when the quota of an endpoint is waited for, and the requests from which on the present credentials are used.
    quota: BTreeMap<Endpoint, Instant>,
    credentials_since: Option<RequestId>,
    flushes: BTreeMap<FlushId, Instant>,
    shutdown: Option<Instant>,
    rules: Option<i64>,
    announced: StatusLevel,
    /// Records whose last receipt came: delivered, and given up.
    receipts: ByKind<(u64, u64)>,
    idle_wakes: VecDeque<Instant>,
    /// As of the last step.
    pub(crate) stats: Stats,
}

/// What one step of the agent did, for the checks after it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) now: Instant,
    /// It was woken by time alone.
    pub(crate) timeout: bool,
    /// Its deadline had come.
    pub(crate) due: bool,
    pub(crate) outputs: usize,
    pub(crate) sends: usize,
    pub(crate) deadline: Instant,
    /// Records and bytes that came in, per kind.
    pub(crate) came: ByKind<(u64, u64)>,
    /// Whether the journal may have brought records, or records were lost before the agent.
    pub(crate) may_overflow: bool,
}

impl Model {
    pub(crate) fn new(run: u32, config: AgentConfig) -> Self {
        Self {
            run,
            config,
            accepted: ByKind::default(),
            invalid: ByKind::default(),
            delivered: ByKind::default(),
            held_bytes: 0,
            strays: 0,
            sends: VecDeque::new(),
            sent: 0,
            in_flight: BTreeMap::new(),
            highest_request: None,
            batches: BTreeSet::new(),
            sent_records: BTreeSet::new(),
            adopted: BTreeSet::new(),
            bereft: false,
            refused: false,
            fenced: false,
            journal_was_down: false,
            journal_is_down: false,
            store_asked: Instant::ZERO,
            renews: false,
            squeezed: false,
            dispossessed: false,
            tails: BTreeMap::new(),
            compares: false,
            streak: 0,
            not_before: BTreeMap::new(),
            quota: BTreeMap::new(),
            credentials_since: None,
            flushes: BTreeMap::new(),
            shutdown: None,
            rules: None,
            announced: StatusLevel::Healthy,
            receipts: ByKind::default(),
            idle_wakes: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    pub(crate) fn accepts(&mut self, kind: Kind, count: u64) {
        self.accepted[kind] += count;
    }

    pub(crate) fn holds(&mut self, bytes: usize) {
        self.held_bytes += bytes as u64;
    }

    pub(crate) fn refuses(&mut self, kind: Kind, count: u64) {
        self.invalid[kind] += count;
    }

    /// It ends the agent's own waiting, as a shutdown does.
    pub(crate) fn flush(&mut self, id: FlushId, deadline: Instant) {
        self.flushes.insert(id, deadline);
        self.quota.clear();
    }

    pub(crate) fn shutdown(&mut self, deadline: Instant) {
        self.shutdown = Some(deadline);
        self.quota.clear();
        self.not_before.remove(&Endpoint::Status);
    }

    /// The agent asks the store for something.
    pub(crate) fn asks_store(&mut self, op: &StoreOp, now: Instant) {
        self.store_asked = now;
        self.renews = matches!(op, StoreOp::Write(_));
    }

    /// It hears what became of that. What took longer than a lease lasts is as good as a failure, unless it slept. A
    /// store that works renews leases.
    pub(crate) fn store_answered(&mut self, worked: bool, now: Instant, paused: Instant) {
        let lease = self.config.journal_lease;
        let slept = paused.since(self.store_asked) > self.config.journal_timeout + lease / 8;
        let slow = now.since(self.store_asked) >= lease / 5 * 2 && !slept;
        let worked = worked && !slow;
        self.journal_is_down = !worked || self.journal_is_down && !self.renews;
        self.journal_was_down |= !worked;
    }

    /// Records and bytes come, per kind.
    pub(crate) fn comes(&mut self, came: &ByKind<(u64, u64)>) {
        for kind in Kind::ALL {
            let (before, (records, bytes)) = (self.stats.records[kind], came[kind]);
            let full = before.in_memory + records > self.config.buffer_size as u64
                || before.memory_bytes + bytes + records * OVERHEAD > self.config.buffer_bytes as u64;
            self.squeezed |= full;
        }
    }

    /// Whether it must do without the journal: then nobody can tell whose the records are.
    pub(crate) const fn journal_failed(&self) -> bool {
        self.journal_is_down
    }

    /// Whether it was told that another has a stream of its own, by a store that failed at some time.
    pub(crate) const fn may_be_robbed(&self) -> bool {
        self.journal_was_down && self.fenced
    }

    pub(crate) const fn is_stopping(&self) -> bool {
        self.shutdown.is_some()
    }

    /// Another account, perhaps: nothing is known of its quota.
    pub(crate) fn credentials_changed(&mut self) {
        self.quota.clear();
        self.credentials_since = self.highest_request;
    }

    /// The application asked for the rules.
    pub(crate) fn refresh(&mut self) {
        self.not_before.remove(&Endpoint::Rules);
    }

    pub(crate) fn flushed(&mut self, id: FlushId, now: Instant, paused: Instant) -> Checked {
        let deadline = self.flushes.remove(&id);
        require(deadline.is_some(), Invariant::FlushedOnce, || format!("flush {id} was not waiting"))?;
        let deadline = deadline.unwrap_or(Instant::ZERO).max(paused);
        require(now <= deadline, Invariant::FlushesInTime, || format!("flush {id} was due at {deadline:?}"))
    }

    /// The agent makes a request.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        id: RequestId,
        endpoint: Endpoint,
        batch: Option<(&str, u64, &[u64])>,
        timeout: Duration,
        history: &mut History,
    ) -> Checked {
        require(self.highest_request < Some(id), Invariant::RequestId, || {
            format!("request {id} comes after {:?}", self.highest_request)
        })?;
        self.highest_request = Some(id);
        self.sent += 1;

        self.sends.push_back(now);
        if self.sends.len() > self.config.rate_limit {
            let first = self.sends.pop_front().unwrap_or(Instant::ZERO);
            let window = self.config.rate_window;
            require(now.since(first) >= window, Invariant::RateLimit, || {
                format!("{} requests since {first:?}", self.sends.len() + 1)
            })?;
        }

        let wait = self.not_before.get(&endpoint).copied().unwrap_or(Instant::ZERO);
        require(wait <= now, Invariant::RetryAfter, || format!("{endpoint} asked for quiet until {wait:?}"))?;

        let wait = self.quota.get(&endpoint).copied().unwrap_or(Instant::ZERO);
        require(wait <= now, Invariant::Quota, || {
            format!("the quota of {endpoint} was used up before {wait:?}")
        })?;

        let same_endpoint = self.in_flight.values().filter(|flight| flight.endpoint == endpoint).count();
        let most = match endpoint {
            // The live lane and the backlog.
            Endpoint::Events | Endpoint::Metrics => 1,
            Endpoint::Status | Endpoint::Rules => 0,
        };
        require(same_endpoint <= most, Invariant::OnePerLane, || {
            format!("{same_endpoint} requests to {endpoint} in flight already")
        })?;
        let batches = self.in_flight.values().filter(|flight| !flight.records.is_empty()).count();
        require(
            batch.is_none() || batches < self.config.max_concurrent_flushes,
            Invariant::Concurrency,
            || format!("{batches} batches in flight already"),
        )?;

        let ids = match batch {
            Some((name, hash, ids)) => {
                self.send_batch(name, hash, ids, history)?;
                ids.to_vec()
            }
            None => Vec::new(),
        };
        self.in_flight.insert(
            id,
            Flight { endpoint, records: ids, probe: false, lost_at: now + timeout + ANSWER_GRACE },
        );
        Ok(())
    }

    fn send_batch(&mut self, name: &str, hash: u64, ids: &[u64], history: &mut History) -> Checked {
        require(ids.len() <= self.config.batch_max_records, Invariant::BatchSize, || {
            format!("{} records", ids.len())
        })?;
        let retried = !self.batches.insert(String::from(name));
        let number = history.place(name, ids);
        let seen = &mut history.batches[number as usize];
        let encrypted = self.config.project_encryption_key.is_some();
        let ours = seen.hashes.entry(self.run).or_insert(hash);
        if encrypted && self.fenced && self.bereft {
            // A batch came back in a stream that somebody had taken away.
            *ours = hash;
        }
        let ours = *ours;
        // What another run encrypted is encrypted anew, under another nonce.
        let others = |(run, other): (&u32, &u64)| *run == self.run || (*other == hash) != encrypted;
        let same = ours == hash && seen.records == ids && seen.hashes.iter().all(others);
        require(same, Invariant::RetryBytes, || {
            format!("batch {name} of {ids:?} had other bytes before, of {:?}", seen.records)
        })?;
        for id in ids {
            let sealed = history.sealed(*id, self.run).filter(|sealed| *sealed != number);
            let again = !self.sent_records.insert(*id);
            let fits =
                sealed.is_none_or(|sealed| self.has_room_for(&history.batches[sealed as usize], history));
            // Without an answer of the store nobody can tell that others may have sent it.
            let known = history.record(*id).is_some_and(|record| record.run != self.run || record.journaled);
            let excused = again || !fits || !known || self.journal_is_down;
            require(sealed.is_none() || excused, Invariant::SealedBatch, || {
                format!("record {id} goes out in batch {name}, but was sealed in {sealed:?}")
            })?;
            let record = history.record(*id);
            require(record.is_some(), Invariant::MadeByUs, || format!("nobody made record {id}"))?;
            let Some(record) = record else { continue };
            let adopted = record.resurrected || record.streams.iter().any(|id| self.adopted.contains(id));
            match record.last {
                // It left, and came back.
                _ if adopted => {}
                Some((run, batch, ended)) if run == self.run => {
                    require(ended != Ended::InFlight, Invariant::SentOnce, || {
                        format!("record {id} goes out in batch {name} while it is in flight")
                    })?;
                    require(ended != Ended::Confirmed, Invariant::SentAfterConfirmation, || {
                        format!("record {id} goes out again in batch {name}")
                    })?;
                    require(batch == number || ended == Ended::Content, Invariant::StableBatch, || {
                        format!("record {id} was in another batch than {name} before, which was not refused")
                    })?;
                }
                // Sent by another run, perhaps.
                _ if self.compares && ids.len() == 1 => {}
                Some(_) | None if record.run == self.run && !self.squeezed && !retried && !again => {
                    let strict = self.config.drain == DrainOrder::Fifo && !self.journal_was_down;
                    let event_type = match self.config.drain {
                        DrainOrder::LiveFirst => record.made.event_type,
                        DrainOrder::Fifo => 0,
                    };
                    let tail = self.tails.entry((record.made.kind, event_type)).or_default();
                    in_order(tail, strict, *id)?;
                }
                Some(_) | None => {}
            }
            record.last = Some((self.run, number, Ended::InFlight));
        }
        Ok(())
    }

    /// Whether memory has room for all of a batch beside what it holds: a part of one that cannot be completed is sent in
    /// other batches.
    fn has_room_for(&self, batch: &Seen, history: &History) -> bool {
        let known = |number: &u64| history.records.get(usize::try_from(*number).ok()?);
        let made = || batch.records.iter().filter_map(known).map(|record| record.made);
        let Some(kind) = made().next().map(|made| made.kind) else { return true };
        let bytes: usize = made().map(|made| made.bytes).sum();
        let ledger = self.stats.records[kind];
        let (most, most_bytes) = (self.config.buffer_size as u64, self.config.buffer_bytes as u64);
        ledger.in_memory + made().count() as u64 <= most - most / 4
            && ledger.memory_bytes + bytes as u64 <= most_bytes - most_bytes / 4
    }

    /// Whether it tries that batch again.
    pub(crate) fn has_sent(&self, batch: &str) -> bool {
        self.batches.contains(batch)
    }

    /// An answer is about to be given to the agent.
    pub(crate) fn answer(&mut self, now: Instant, id: RequestId, answer: &Answer, records: &mut [Fate]) {
        let Some(flight) = self.in_flight.remove(&id) else {
            self.strays += 1;
            return;
        };
        let mut ended = Ended::Unrelated;
        let mut confirmed: BTreeSet<u64> = BTreeSet::new();
        match &answer.meaning {
            Meaning::Taken { records: taken, named } => {
                self.streak = 0;
                if let Some(kind) = kind_of(flight.endpoint) {
                    self.delivered[kind] += taken.len() as u64;
                }
                confirmed.extend(taken);
                if *named {
                    ended = Ended::Content;
                    self.refused = true;
                }
            }
            Meaning::Rules(version) => {
                self.streak = 0;
                self.rules = Some(*version);
            }
            Meaning::NotModified => self.streak = 0,
            Meaning::Failure => {
                let was_refused = |id: &u64| {
                    usize::try_from(*id).is_ok_and(|id| records.get(id).is_some_and(|it| it.was_refused))
                };
                // A trial of records that were refused so before says nothing about the platform.
                let may_be_trial = answer.may_blame_content()
                    && self.stats.breaker == BreakerState::Closed
                    && flight.records.iter().any(was_refused);
                self.streak += u32::from(!may_be_trial);
            }
            Meaning::Unsure | Meaning::Content => {
                ended = Ended::Content;
                self.refused = true;
                self.neutral();
            }
            Meaning::SlowDown(wait) => {
                if let Some(wait) = wait {
                    self.not_before.insert(flight.endpoint, now + *wait);
                }
                self.neutral();
            }
            Meaning::Hold => self.neutral(),
            Meaning::Quota => {
                if Some(id) > self.credentials_since && kind_of(flight.endpoint).is_some() {
                    self.quota.insert(flight.endpoint, now + QUOTA_WAIT);
                }
                self.neutral();
            }
        }
        let unclear = match answer.meaning {
            Meaning::Failure | Meaning::Hold | Meaning::Quota => answer.may_blame_content(),
            Meaning::Taken { named, .. } => named,
            Meaning::Unsure => true,
            Meaning::Content | Meaning::SlowDown(_) | Meaning::Rules(_) | Meaning::NotModified => false,
        };
        self.compares |= unclear || matches!(answer.meaning, Meaning::Content);
        for id in flight.records {
            let record = usize::try_from(id).ok().and_then(|index| records.get_mut(index));
            let Some(Fate { made, last, unclear: refusals, was_refused, .. }) = record else { continue };
            *was_refused |= unclear;
            // What was refused by name is tried again with others, and divided from them at the next refusal.
            if unclear || matches!(answer.meaning, Meaning::Content) {
                *refusals += 1;
            } else if answer.result.is_err() {
                *refusals = 0;
            }
            // The first may have been a passing one; later ones are compared with how other batches fare.
            let ended = if unclear && *refusals > 1 { Ended::Content } else { ended };
            let taken = confirmed.contains(&id);
            if taken {
                self.held_bytes = self.held_bytes.saturating_sub(made.bytes as u64);
            }
            // Another run may have sent it since.
            if let Some((run, _, last)) = last
                && *run == self.run
            {
                *last = if taken { Ended::Confirmed } else { ended };
            }
        }
    }

    /// The agent looked at the clock: what was not answered long ago is lost.
    pub(crate) fn lose_overdue(&mut self, now: Instant, records: &mut [Fate]) {
        let overdue: Vec<_> =
            self.in_flight.iter().filter(|(_, flight)| flight.lost_at <= now).map(|(id, _)| *id).collect();
        for id in overdue {
            self.answer(now, id, &Answer::error(TransportErrorKind::Timeout), records);
        }
    }

    pub(crate) fn awaits_answers(&self) -> bool {
        !self.in_flight.is_empty()
    }

    pub(crate) fn waits_for(&self, id: RequestId) -> bool {
        self.in_flight.contains_key(&id)
    }

    /// An answer that counts neither as a failure nor as a success: to a probe it says that the platform
    /// is there.
    fn neutral(&mut self) {
        if self.stats.breaker != BreakerState::Closed {
            self.streak = 0;
        }
    }

    /// What must hold after every step.
    pub(crate) fn check(&mut self, step: &Step, stats: Stats, level: StatusLevel) -> Checked {
        self.check_accounting(&stats)?;
        self.check_memory(step, &stats)?;
        self.check_breaker(step, &stats)?;
        // Expired records go one by one, without an output each.
        self.check_progress(step, stats.records == self.stats.records)?;
        if let Some((id, deadline)) = self.flushes.iter().find(|(_, deadline)| **deadline < step.now)
            && step.due
        {
            return require(false, Invariant::FlushesInTime, || {
                format!("flush {id} was due at {deadline:?}")
            });
        }
        require(level == self.announced, Invariant::HealthAnnounced, || {
            format!("health is {level:?}, but {:?} was announced", self.announced)
        })?;
        self.stats = stats;
        Ok(())
    }

    fn check_accounting(&self, stats: &Stats) -> Checked {
        for kind in Kind::ALL {
            let ledger = stats.records[kind];
            require(ledger.balances(), Invariant::Balance, || format!("{kind}s: {ledger:?}"))?;
            require(ledger.accepted == self.accepted[kind], Invariant::Accepted, || {
                format!("{} {kind}s were given, {ledger:?}", self.accepted[kind])
            })?;
            require(ledger.delivered == self.delivered[kind], Invariant::Delivered, || {
                format!("{} {kind}s were confirmed, {ledger:?}", self.delivered[kind])
            })?;
            require(ledger.invalid == self.invalid[kind], Invariant::Invalid, || {
                format!("{} {kind}s were invalid, {ledger:?}", self.invalid[kind])
            })?;
            require(ledger.persisted <= ledger.pending, Invariant::Persisted, || {
                format!("{kind}s: {ledger:?}")
            })?;
        }
        require(stats.stray_replies == self.strays, Invariant::Strays, || {
            format!("{} strays instead of {}", stats.stray_replies, self.strays)
        })?;
        require(stats.requests_sent == self.sent, Invariant::Requests, || {
            format!("{} requests instead of {}", stats.requests_sent, self.sent)
        })?;
        require(stats.requests_failed <= stats.requests_sent, Invariant::Requests, || format!("{stats:?}"))
    }

    fn check_memory(&self, step: &Step, stats: &Stats) -> Checked {
        let limit = self.config.buffer_bytes as u64;
        require(stats.memory_bytes <= 2 * limit, Invariant::Memory, || {
            format!("{} bytes", stats.memory_bytes)
        })?;
        let all_here = Kind::ALL.into_iter().all(|kind| {
            let ledger = stats.records[kind];
            ledger.dropped.total() == 0
                && ledger.recovered == 0
                && ledger.handed_over == 0
                && ledger.in_memory == ledger.pending
        });
        let pending: u64 = Kind::ALL.into_iter().map(|kind| stats.records[kind].pending).sum();
        let real = self.held_bytes..=self.held_bytes + pending * OVERHEAD;
        require(!all_here || real.contains(&stats.memory_bytes), Invariant::Memory, || {
            format!("{} bytes are said to be held, not {real:?}", stats.memory_bytes)
        })?;
        for kind in Kind::ALL {
            let (before, after) = (self.stats.records[kind], stats.records[kind]);
            let most = self.config.buffer_size as u64;
            require(after.in_memory <= most, Invariant::Memory, || {
                format!("{} {kind}s of {most}", after.in_memory)
            })?;

            let (records, bytes) = step.came[kind];
            let overflowed = after.dropped[DropReason::Overflow] > before.dropped[DropReason::Overflow];
            // What is durable may leave memory, but for batches that are to be sent again.
            let (stuck, most, most_bytes) = if before.persisted > 0 && !self.refused {
                (before.pending - before.persisted, most / 4, limit / 4)
            } else {
                (before.pending, most, limit)
            };
            let quota = self.config.journal_records.max(self.config.buffer_size as u64);
            let full = stuck + records > most
                || before.memory_bytes + bytes + records * OVERHEAD > most_bytes
                || before.pending + records + (after.recovered - before.recovered) > quota;
            require(!overflowed || full || step.may_overflow, Invariant::Overflow, || {
                format!("{kind}s overflowed at {} of {} records", before.pending, self.config.buffer_size)
            })?;
        }
        Ok(())
    }

    fn check_breaker(&mut self, step: &Step, stats: &Stats) -> Checked {
        let (before, after) = (self.stats.breaker, stats.breaker);
        require(step.sends == 0 || after != BreakerState::Open, Invariant::Breaker, || {
            String::from("a request while it is open")
        })?;
        require(
            self.streak < self.config.breaker_threshold || after != BreakerState::Closed,
            Invariant::Breaker,
            || format!("closed after {} failures in a row", self.streak),
        )?;
        if after == BreakerState::HalfOpen {
            let probing = before == BreakerState::HalfOpen && self.in_flight.values().any(|f| f.probe);
            require(step.sends <= usize::from(!probing), Invariant::Breaker, || {
                format!("{} probes at once", step.sends + usize::from(probing))
            })?;
            if step.sends == 1
                && let Some(mut probe) = self.in_flight.last_entry()
            {
                probe.get_mut().probe = true;
            }
        }
        Ok(())
    }

    fn check_progress(&mut self, step: &Step, unchanged: bool) -> Checked {
        require(step.deadline > step.now, Invariant::DeadlinePassed, || {
            format!("the next deadline is {:?}", step.deadline)
        })?;
        require(!step.timeout || step.due || step.outputs == 0, Invariant::LateDeadline, || {
            format!("woken early it had {} outputs ready", step.outputs)
        })?;
        if step.timeout && step.due && step.outputs == 0 && unchanged {
            self.idle_wakes.push_back(step.now);
            while self.idle_wakes.front().is_some_and(|at| step.now.since(*at) > Duration::from_secs(1)) {
                self.idle_wakes.pop_front();
            }
            require(self.idle_wakes.len() <= MAX_IDLE_WAKES, Invariant::BusyLoop, || {
                format!("{} wake-ups for nothing in a second", self.idle_wakes.len())
            })?;
        }
        Ok(())
    }

    /// A record's receipt came.
    pub(crate) fn receipt(&mut self, outcome: Outcome, record: &mut Fate) -> Checked {
        let told = record.receipt;
        require(told != Some(Receipt::Final), Invariant::Receipt, || {
            format!("{outcome:?} after the final one")
        })?;
        match outcome {
            Outcome::Durable => {
                record.receipt = Some(Receipt::Durable);
                require(told.is_none() && (record.journaled || record.lost), Invariant::Receipt, || {
                    format!("durable, but the journal says {}, and before came {told:?}", record.journaled)
                })
            }
            Outcome::Delivered => {
                record.receipt = Some(Receipt::Final);
                self.receipts[record.made.kind].0 += 1;
                require(record.taken_at.is_some(), Invariant::Receipt, || {
                    String::from("delivered, but it never arrived")
                })
            }
            Outcome::Dropped(_) => {
                record.receipt = Some(Receipt::Final);
                self.receipts[record.made.kind].1 += 1;
                Ok(())
            }
            Outcome::HandedOver => {
                record.receipt = Some(Receipt::Final);
                require(record.journaled || record.lost, Invariant::Receipt, || {
                    String::from("handed over, but it was not durable")
                })
            }
        }
    }

    /// Every record asks for receipts, so they say what the statistics say.
    pub(crate) fn check_receipts(&self) -> Checked {
        for kind in Kind::ALL {
            let ledger = self.stats.records[kind];
            let (delivered, dropped) = self.receipts[kind];
            // What an earlier run accepted has no receipt, nor what was lost before the agent had it.
            let complete = delivered + ledger.recovered >= ledger.delivered;
            require(
                complete && delivered <= ledger.delivered && dropped <= ledger.dropped.total(),
                Invariant::Receipt,
                || format!("{delivered} {kind}s delivered and {dropped} dropped, but {ledger:?}"),
            )?;
        }
        Ok(())
    }

    pub(crate) fn announce(&mut self, level: StatusLevel) {
        self.announced = level;
    }

    pub(crate) fn check_rules(&self, version: Option<i64>) -> Checked {
        require(version == self.rules, Invariant::Rules, || {
            format!("version {version:?} is in force, {:?} came last", self.rules)
        })
    }

    pub(crate) fn check_closed(&self, now: Instant, paused: Instant, closed: bool) -> Checked {
        let late = self.shutdown.is_some_and(|deadline| deadline.max(paused) <= now);
        require(closed || !late, Invariant::ClosesInTime, || format!("it was due at {:?}", self.shutdown))
    }

    pub(crate) fn check_report(&self, report: &Report, stats: &Stats) -> Checked {
        for kind in Kind::ALL {
            let ledger = stats.records[kind];
            require(
                report.pending[kind] == ledger.pending && report.persisted[kind] == ledger.persisted,
                Invariant::Report,
                || format!("{report:?} against {ledger:?}"),
            )?;
        }
        require(self.flushes.is_empty(), Invariant::FlushesInTime, || {
            format!("left waiting: {:?}", self.flushes)
        })
    }
}

/// First requests of a type, or of all where order counts, go in the order of acceptance; while a backlog drains beside new events, and where a journal
/// that is down holds nothing up, in two such orders side by side.
fn in_order(tails: &mut [Option<u64>; 2], strict: bool, id: u64) -> Checked {
    let [newest, second] = tails;
    if *newest < Some(id) {
        *newest = Some(id);
        return Ok(());
    }
    require(!strict && *second < Some(id), Invariant::Order, || {
        format!("record {id} after {newest:?} and {second:?}")
    })?;
    *second = Some(id);
    Ok(())
}

const fn kind_of(endpoint: Endpoint) -> Option<Kind> {
    match endpoint {
        Endpoint::Events => Some(Kind::Event),
        Endpoint::Metrics => Some(Kind::Metric),
        Endpoint::Status | Endpoint::Rules => None,
    }
}
