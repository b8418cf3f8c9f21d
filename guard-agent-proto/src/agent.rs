use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::backoff::Backoff;
use crate::batch::Entry;
use crate::batcher::permille;
use crate::breaker::Breaker;
use crate::flush::{Flush, Flushes};
use crate::health::Decided;
use crate::journal::{Journal, Page};
use crate::lane::{Dead, Lane, Settled};
use crate::pacer::{Class, Pacer};
use crate::rng::Rng;
use crate::rules::{Rules, Update};
use crate::soonest::Soonest;
use crate::status::StatusPush;
use crate::wire::{self, Verdict};
use crate::{
    AgentConfig, AgentEvent, AgentStatus, BreakerState, ByKind, ConfigError, DeadLetter, DrainOrder,
    DropReason, Endpoint, ErrorStage, Health, HealthReason, Input, Instant, Kind, Ledger, Now, Outcome,
    Output, OverflowPolicy, Payload, Pressure, Reason, ReceiptId, Record, Request, RequestId, Response,
    RulesDocument, Seq, Stats, StatusLevel, StoreAnswer, StoreEntry, StoreError, StoreOpId, TransportError,
    TransportErrorKind,
};

/// The agent: one state machine made of small ones, which this file only wires.
///
/// See the [crate] page for how to drive it.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    started: Instant,
    now: Now,
    rng: Rng,
    streams: ByKind<Stream>,
    next_seq: Seq,
    next_request: u64,
    /// Requests before this one were made with credentials that have changed since.
    credentials_since: u64,
    in_flight: BTreeMap<RequestId, Flight>,
    pacer: Pacer,
    breaker: Breaker,
    /// Who sent the last probe.
    probed: Option<Sender>,
    rules: Rules,
    status: StatusPush,
    journal: Option<Journal>,
    flushes: Flushes,
    shutdown: Option<Flush>,
    closed: bool,
    decided: Decided,
    dead_letters: VecDeque<DeadLetter>,
    /// Records whose outcome somebody waits for.
    receipts: BTreeMap<Seq, ReceiptId>,
    /// Failures that were told and have not ended yet.
    episodes: BTreeSet<(ErrorStage, Endpoint)>,
    /// Drops since they were last told, and when that was.
    untold: BTreeMap<DropReason, (u64, Option<Instant>)>,
    last_health: Health,
    counters: Stats,
    outputs: VecDeque<Output>,
}

/// One kind of records: its lanes, what they share, and the accounting.
#[derive(Debug)]
struct Stream {
    live: Lane,
    backlog: Lane,
    /// The platform asked this endpoint's clients to wait until then.
    retry_after: Option<Instant>,
    /// Whose turn it is when both lanes want the same slot.
    backlog_next: bool,
    ledger: Ledger,
}

/// A request that is out.
#[derive(Clone, Copy, Debug)]
struct Flight {
    sender: Sender,
    /// When a runtime that still has not answered is taken to have lost it.
    deadline: Instant,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Lane(Kind, Path),
    Rules,
    Status,
}

/// New records, or those that wait behind an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Live,
    Backlog,
}

/// How much longer than its time limit a request may take to be answered by the runtime.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// Time limit of the last status push.
const LAST_STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// Drops of one reason are told at most that often.
const TELL_DROPS_EVERY: Duration = Duration::from_secs(60);

impl Agent {
    /// An agent that has not sent anything yet. `journal` says whether the runtime answers
    /// [`Output::Store`]. `seed` must come from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// Every problem of the configuration, should it have changed since it was built.
    pub fn new(config: &AgentConfig, journal: bool, seed: [u8; 32], now: Now) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut rng = Rng::new(seed);
        let stream = |kind| Stream {
            live: Lane::new(kind, config),
            backlog: Lane::new(kind, config),
            retry_after: None,
            backlog_next: false,
            ledger: Ledger::default(),
        };
        Ok(Self {
            started: now.instant,
            now,
            streams: ByKind { events: stream(Kind::Event), metrics: stream(Kind::Metric) },
            next_seq: Seq::from_u64(1),
            next_request: 1,
            credentials_since: 1,
            in_flight: BTreeMap::new(),
            pacer: Pacer::new(config),
            breaker: Breaker::new(config),
            probed: None,
            rules: Rules::new(config, now.instant),
            status: StatusPush::new(config, now.instant),
            journal: journal.then(|| Journal::new(&mut rng)),
            flushes: Flushes::default(),
            shutdown: None,
            closed: false,
            decided: Decided::new(now.instant),
            dead_letters: VecDeque::new(),
            receipts: BTreeMap::new(),
            episodes: BTreeSet::new(),
            untold: BTreeMap::new(),
            last_health: Health::default(),
            counters: Stats::default(),
            outputs: VecDeque::new(),
            rng,
            config: config.clone(),
        })
    }

    /// Takes in what happened at `now`.
    ///
    /// Call [`Agent::poll_output`] until it answers [`Output::Idle`] before the next input. A clock that
    /// stands still or went back is read as standing still.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.now = Now { instant: self.now.instant.max(now.instant), wall: now.wall };
        match input {
            Input::Timeout => {}
            Input::Records(records) => self.on_records(records),
            Input::Lost { kind, reason, count } => {
                self.streams[kind].ledger.accepted += count;
                self.count_drops(kind, reason, count);
            }
            Input::Invalid { kind, count } => self.streams[kind].ledger.invalid += count,
            Input::Response { id, result } => self.on_response(id, result),
            Input::StoreReply { id, result } => self.on_store_reply(id, result),
            Input::Flush { id, deadline } => {
                self.hurry();
                let flush = Flush::new(id, self.next_seq, deadline, &self.ledgers());
                self.flushes.push(flush);
            }
            Input::RefreshRules => self.rules.refresh(self.now.instant),
            Input::CredentialsChanged => {
                self.credentials_since = self.next_request;
                self.hurry();
                self.rules.refresh(self.now.instant);
            }
            Input::Shutdown { deadline } => self.on_shutdown(deadline),
        }
        self.tell_health();
    }

    /// What to do next; call until it answers [`Output::Idle`].
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            if self.closed {
                return Output::Idle { deadline: Instant::FAR_FUTURE, reason: Reason::Nothing };
            }
            let next = self.advance();
            if self.outputs.is_empty() {
                return Output::Idle { deadline: next.at, reason: next.reason };
            }
        }
    }

    /// The statistics as of the last input.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let records = self.ledgers();
        Stats {
            records,
            memory_bytes: records.events.pending_bytes + records.metrics.pending_bytes,
            breaker: self.breaker.state(),
            health: self.health(),
            ..self.counters.clone()
        }
    }

    /// The health as of the last input.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut level = StatusLevel::Healthy;
        let mut reasons = Vec::new();
        if self.breaker.state() != BreakerState::Closed {
            reasons.push(HealthReason::BreakerOpen);
        }
        let nearly_full = permille(self.config.high_watermark_ratio);
        if Kind::ALL.iter().any(|kind| self.fill_permille(*kind) >= nearly_full) {
            reasons.push(HealthReason::BufferNearlyFull);
        }
        if let Some(permille) = self.decided.failing_permille() {
            reasons.push(HealthReason::HighFailureRate { permille });
        }
        if self.pacer.is_slowed() {
            reasons.push(HealthReason::Slowed);
        }
        for kind in Kind::ALL {
            let endpoint = endpoint(kind);
            let Stream { live, backlog, .. } = &self.streams[kind];
            let Some(hold) = live.held().or_else(|| backlog.held()) else { continue };
            let status = hold.status;
            if hold.everything || matches!(status, 401 | 403 | 404) {
                level = StatusLevel::Failed;
            }
            reasons.push(if hold.everything {
                HealthReason::RefusesEverything { endpoint, status }
            } else {
                HealthReason::Held { endpoint, status }
            });
        }
        if self.rules.is_failing() {
            reasons.push(HealthReason::RulesFailing);
        }
        if self.journal.as_ref().is_some_and(Journal::is_down) {
            reasons.push(HealthReason::JournalDown);
        }
        if !reasons.is_empty() {
            level = level.max(StatusLevel::Degraded);
        }
        Health { level, reasons }
    }

    /// The status as it would be pushed.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        let health = self.health();
        let ledgers = self.ledgers();
        let dropped = ledgers.events.dropped;
        AgentStatus {
            timestamp: self.now.wall,
            status: health.level,
            uptime: self.now.instant.since(self.started).as_secs_f64(),
            events_sent: ledgers.events.delivered,
            events_failed: dropped.total() - dropped[DropReason::Filtered],
            buffer_size: ledgers.events.pending + ledgers.metrics.pending,
            last_flush: self.counters.last_flush,
            errors: health.reasons.iter().map(ToString::to_string).collect(),
        }
    }

    /// Fill level and pace as of the last input.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let fill = Kind::ALL.map(|kind| self.fill_permille(kind)).into_iter().max().unwrap_or(0);
        Pressure {
            fill_permille: u16::try_from(fill).unwrap_or(u16::MAX),
            slowed: self.pacer.is_slowed(),
            breaker: self.breaker.state(),
        }
    }

    /// The rules in force.
    #[must_use]
    pub const fn rules(&self) -> Option<&Arc<RulesDocument>> {
        self.rules.current()
    }

    /// Takes the dead letters out, oldest first: the last ones that were refused or too large, at most
    /// `dead_letter_capacity`.
    pub fn take_dead_letters(&mut self) -> Vec<DeadLetter> {
        core::mem::take(&mut self.dead_letters).into()
    }

    /// Whether [`Output::Closed`] was given out.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    // Inputs.

    fn on_records(&mut self, records: Vec<Record>) {
        for record in records {
            let kind = record.kind();
            self.streams[kind].ledger.accepted += 1;
            let seq = self.take_seq();
            if let Some(receipt) = record.receipt() {
                self.receipts.insert(seq, receipt);
            }
            if let Some(journal) = &mut self.journal {
                journal.on_accepted(kind, record.json().len(), self.now.instant);
            }
            if self.closed {
                self.give_up(kind, seq, DropReason::Closed);
                continue;
            }
            if record.is_attack() {
                self.pacer.on_attack(self.now.instant);
            }
            self.streams[kind].live.push(Entry::new(seq, self.now.instant, false, record));
            self.make_room(kind);
        }
    }

    fn on_response(&mut self, id: RequestId, result: Result<Response, TransportError>) {
        let Some(Flight { sender, .. }) = self.in_flight.remove(&id) else {
            self.counters.stray_replies += 1;
            return;
        };
        match sender {
            Sender::Lane(kind, path) => self.on_batch_answered(id, kind, path, result),
            Sender::Rules => self.on_rules_answered(id, result),
            Sender::Status => self.on_status_answered(id, result),
        }
    }

    fn on_batch_answered(
        &mut self,
        id: RequestId,
        kind: Kind,
        path: Path,
        result: Result<Response, TransportError>,
    ) {
        let (verdict, status) = self.read_answer(id, endpoint(kind), result);
        let retry_after = match &verdict {
            Verdict::SlowDown { retry_after } | Verdict::Failed { retry_after } => *retry_after,
            Verdict::Delivered { invalid_timestamps } => {
                self.counters.invalid_timestamps += invalid_timestamps;
                None
            }
            Verdict::Partly { .. }
            | Verdict::Unsure { .. }
            | Verdict::TooLarge
            | Verdict::Refused { .. }
            | Verdict::Hold { .. } => None,
        };
        let trouble = trouble(&verdict, status);
        let outdated = matches!(verdict, Verdict::Hold { .. }) && id.as_u64() < self.credentials_since;
        let alive = matches!(verdict, Verdict::Delivered { .. });
        let partly = matches!(verdict, Verdict::Partly { .. });
        let stream = &mut self.streams[kind];
        let settled = stream.lane_mut(path).on_verdict(verdict, status, self.now, &mut self.rng);
        if alive {
            stream.lane_mut(path.other()).on_endpoint_alive(self.now, &mut self.rng);
        }
        if let Some(wait) = retry_after {
            // A little later each, so that a fleet does not come back in step.
            let wait = wait.max(Backoff::FLOOR) + self.rng.duration(Duration::ZERO, wait / 10);
            stream.retry_after = stream.retry_after.max(Some(self.now.instant + wait));
            stream.lane_mut(path).clear_backoff();
        }
        if self.breaker.state() != BreakerState::Closed {
            stream.lane_mut(path).clear_backoff();
        }
        if outdated {
            stream.lane_mut(path).hurry();
        }
        let lane = stream.lane(path);
        let lasting = partly || lane.is_exhausted() || lane.held().is_some();
        if alive {
            self.counters.last_flush = Some(self.now.wall);
        } else if let (true, Some(message)) = (lasting, trouble) {
            self.tell(flush_stage(kind), endpoint(kind), message);
        }
        self.settle(kind, settled);
    }

    fn on_rules_answered(&mut self, id: RequestId, result: Result<Response, TransportError>) {
        let update = match result {
            Ok(response) => {
                let answer = wire::parse_rules(&response, self.now.wall);
                let (ok, failed) = match &answer {
                    wire::RulesAnswer::Rules(_) | wire::RulesAnswer::NotModified => (true, false),
                    wire::RulesAnswer::Failed { .. } => (false, true),
                    wire::RulesAnswer::NotRules { .. }
                    | wire::RulesAnswer::Invalid { .. }
                    | wire::RulesAnswer::SlowDown { .. }
                    | wire::RulesAnswer::Hold { .. } => (false, false),
                };
                self.on_answered(id, Endpoint::Rules, response.status, ok, failed);
                let refused = matches!(answer, wire::RulesAnswer::Hold { .. });
                let update = self.rules.on_answer(answer, response.etag, self.now, &mut self.rng);
                if refused && id.as_u64() < self.credentials_since {
                    self.rules.refresh(self.now.instant);
                }
                update
            }
            Err(error) => {
                self.on_unanswered(id, Endpoint::Rules, &error);
                self.rules.on_no_answer(self.now.instant, &mut self.rng);
                Update::Failed { message: error.to_string() }
            }
        };
        match update {
            Update::Unchanged => self.end_episodes(Endpoint::Rules),
            Update::Taken { changed } => {
                self.end_episodes(Endpoint::Rules);
                self.counters.rules_fetched += 1;
                if changed {
                    self.outputs.push_back(Output::Event(AgentEvent::Rules(self.rules.current().cloned())));
                }
            }
            Update::Failed { message } => {
                self.counters.rules_failed += 1;
                self.tell(ErrorStage::Rules, Endpoint::Rules, message);
            }
        }
    }

    fn on_status_answered(&mut self, id: RequestId, result: Result<Response, TransportError>) {
        self.status.on_answer();
        let (verdict, status) = self.read_answer(id, Endpoint::Status, result);
        if let Verdict::SlowDown { retry_after: Some(wait) } | Verdict::Failed { retry_after: Some(wait) } =
            &verdict
        {
            self.status.wait_until(self.now.instant + *wait);
        }
        if let Some(message) = trouble(&verdict, status) {
            self.counters.status_failed += 1;
            self.tell(ErrorStage::Status, Endpoint::Status, message);
        }
    }

    /// What an answer to a POST means, with its effects on breaker and pace.
    fn read_answer(
        &mut self,
        id: RequestId,
        endpoint: Endpoint,
        result: Result<Response, TransportError>,
    ) -> (Verdict, u16) {
        match result {
            Ok(response) => {
                let verdict = wire::judge(&response, self.now.wall);
                let ok = matches!(verdict, Verdict::Delivered { .. } | Verdict::Partly { .. });
                let failed = matches!(verdict, Verdict::Failed { .. });
                self.on_answered(id, endpoint, response.status, ok, failed);
                if matches!(verdict, Verdict::Delivered { .. }) {
                    self.end_episodes(endpoint);
                }
                (verdict, response.status)
            }
            Err(error) => {
                self.on_unanswered(id, endpoint, &error);
                (Verdict::Failed { retry_after: None }, 0)
            }
        }
    }

    fn on_answered(&mut self, id: RequestId, endpoint: Endpoint, status: u16, ok: bool, failed: bool) {
        if failed {
            self.breaker.on_failure(self.now.instant, id, &mut self.rng);
        } else {
            self.breaker.on_alive(ok);
        }
        if matches!(status, 429 | 503) {
            self.pacer.slow_down();
        }
        if ok {
            self.pacer.speed_up();
        } else if status != 304 {
            self.counters.requests_failed += 1;
            if failed {
                let message = format!("the {endpoint} endpoint answered {status}");
                self.tell(ErrorStage::TransportSend, endpoint, message);
            }
        }
    }

    fn on_unanswered(&mut self, id: RequestId, endpoint: Endpoint, error: &TransportError) {
        self.counters.requests_failed += 1;
        self.breaker.on_failure(self.now.instant, id, &mut self.rng);
        self.tell(
            ErrorStage::TransportSend,
            endpoint,
            format!("request to the {endpoint} endpoint: {error}"),
        );
    }

    fn on_store_reply(&mut self, id: StoreOpId, result: Result<StoreAnswer, StoreError>) {
        let now = self.now.instant;
        let news = self.journal.as_mut().and_then(|journal| journal.on_reply(id, result, now, &mut self.rng));
        let Some(news) = news else {
            self.counters.stray_replies += 1;
            return;
        };
        self.counters.corrupt_entries += news.corrupt;
        if let Some(durable) = news.durable {
            let told = self.receipts.range(durable).map(|(_, id)| *id);
            let told = told.map(|id| AgentEvent::Receipt { id, outcome: Outcome::Durable });
            self.outputs.extend(told.map(Output::Event));
        }
        match news.error {
            Some(error) => self.tell(ErrorStage::Journal, Endpoint::Events, error.message.into_owned()),
            None => self.episodes.retain(|(stage, _)| *stage != ErrorStage::Journal),
        }
        if let Some(page) = news.page {
            self.on_recovered(page);
        }
    }

    /// Takes over as much of a page as there is room for.
    fn on_recovered(&mut self, Page { stream, mut after, entries }: Page) {
        for StoreEntry { seq: there, kind, attack, json } in entries {
            let record = Record::new(kind, attack, json);
            let has_room = self.has_room_for(&record);
            let seq = self.take_seq();
            let Some(journal) = &mut self.journal else { return };
            if !has_room {
                return journal.read_again(stream, after);
            }
            journal.on_recovered(seq, stream, there);
            after = Some(there);
            self.streams[kind].ledger.recovered += 1;
            self.streams[kind].backlog.push(Entry::new(seq, self.now.instant, true, record));
        }
    }

    fn on_shutdown(&mut self, deadline: Instant) {
        if self.closed {
            return;
        }
        match &mut self.shutdown {
            Some(shutdown) => shutdown.deadline = shutdown.deadline.min(deadline),
            None => {
                self.hurry();
                self.shutdown = Some(Flush::shutdown(deadline, &self.ledgers()));
            }
        }
    }

    /// Ends our own waiting, but not what the platform asked for.
    fn hurry(&mut self) {
        for kind in Kind::ALL {
            self.streams[kind].live.hurry();
            self.streams[kind].backlog.hurry();
        }
        self.breaker.hurry(self.now.instant);
    }

    // What is due now.

    /// Does what is due; answers what comes next if that produced no output.
    fn advance(&mut self) -> Soonest {
        let mut next = Soonest::NEVER;
        self.lose_overdue(&mut next);
        self.expire_records(&mut next);
        self.spill();
        self.expire_rules(&mut next);
        self.end_flushes(&mut next);
        self.send(&mut next);
        self.log(&mut next);
        self.close(&mut next);
        self.tell_losses(&mut next);
        self.tell_health();
        next
    }

    /// A runtime that forgot to answer must not stop a lane for ever.
    fn lose_overdue(&mut self, next: &mut Soonest) {
        let now = self.now.instant;
        let overdue: Vec<_> =
            self.in_flight.iter().filter(|(_, flight)| flight.deadline <= now).map(|(id, _)| *id).collect();
        for id in overdue {
            let error =
                TransportError::new(TransportErrorKind::Timeout, "the runtime did not answer in time");
            self.on_response(id, Err(error));
        }
        for flight in self.in_flight.values() {
            next.consider(Some((flight.deadline, Reason::RequestTimeout)));
        }
    }

    fn expire_records(&mut self, next: &mut Soonest) {
        let Some(age) = self.config.max_record_age else { return };
        let limit = Instant::ZERO + self.now.instant.since(Instant::ZERO + age);
        for kind in Kind::ALL {
            for path in Path::ALL {
                let lane = self.streams[kind].lane_mut(path);
                let expired: Vec<_> = core::iter::from_fn(|| lane.expire(limit)).collect();
                let oldest = lane.oldest();
                for entry in expired {
                    self.give_up(kind, entry.seq(), DropReason::Expired);
                }
                next.consider(oldest.map(|oldest| (oldest + age + Duration::from_micros(1), Reason::Expiry)));
            }
        }
    }

    /// What no longer fits the next live batch waits apart, so that new events do not wait behind it.
    fn spill(&mut self) {
        match self.config.drain {
            DrainOrder::LiveFirst => {
                for kind in Kind::ALL {
                    let Stream { live, backlog, .. } = &mut self.streams[kind];
                    live.spill_into(backlog);
                }
            }
            DrainOrder::Fifo => {}
        }
    }

    fn expire_rules(&mut self, next: &mut Soonest) {
        if self.rules.expire(self.now.wall) {
            self.outputs.push_back(Output::Event(AgentEvent::Rules(None)));
        }
        next.consider(self.rules.expires_at(self.now));
    }

    fn end_flushes(&mut self, next: &mut Soonest) {
        let streams = &self.streams;
        let ledgers = self.ledgers();
        let ended = self.flushes.end(self.now.instant, &ledgers, |kind, mark, with_parked| {
            Path::ALL.map(|path| streams[kind].lane(path).count_before(mark, with_parked) as u64).iter().sum()
        });
        self.outputs.extend(ended.into_iter().map(Output::Event));
        next.consider(self.flushes.deadline());
    }

    /// Sends everything that may leave now.
    fn send(&mut self, next: &mut Soonest) {
        loop {
            let mut sent = false;
            let mut waiting = Soonest::NEVER;
            for sender in self.senders() {
                match self.allowed_at(sender) {
                    Some((at, _, class)) if at <= self.now.instant => {
                        self.depart(sender, class);
                        sent = true;
                        break;
                    }
                    other => waiting.consider(other.map(|(at, reason, _)| (at, reason))),
                }
            }
            if !sent {
                next.consider(Some((waiting.at, waiting.reason)));
                return;
            }
        }
    }

    /// Everybody who sends, in order of preference. Probes take turns: an endpoint that alone fails must
    /// not use up all of them.
    fn senders(&self) -> [Sender; 6] {
        let [events, metrics] = Kind::ALL.map(|kind| {
            let paths = if self.streams[kind].backlog_next { [Path::Backlog, Path::Live] } else { Path::ALL };
            paths.map(|path| Sender::Lane(kind, path))
        });
        let mut senders = [events[0], events[1], Sender::Rules, Sender::Status, metrics[0], metrics[1]];
        let last = senders.iter().position(|sender| self.probed == Some(*sender));
        if let (Some(last), BreakerState::Open, None) = (last, self.breaker.state(), &self.shutdown) {
            senders.rotate_left(last + 1);
        }
        senders
    }

    /// When that sender may send, what it waits for until then, and what it is paced as.
    fn allowed_at(&self, sender: Sender) -> Option<(Instant, Reason, Class)> {
        let now = self.now.instant;
        let (ready, class) = match sender {
            Sender::Lane(kind, path) => {
                let stream = &self.streams[kind];
                let behind = self.config.drain == DrainOrder::Fifo && path == Path::Live;
                if behind && stream.backlog.sendable() > 0
                    || self.lanes_in_flight() >= self.config.max_concurrent_flushes
                {
                    return None;
                }
                let urgent =
                    self.shutdown.as_ref().map_or_else(|| self.flushes.mark(), |shutdown| shutdown.mark);
                let mut ready = stream.lane(path).ready_at(urgent)?;
                if let Some(at) = stream.retry_after {
                    ready = ready.max((at, Reason::RetryAfter));
                }
                (ready, self.class(kind, path, urgent))
            }
            Sender::Rules if self.shutdown.is_none() => (self.rules.due_at()?, Class::Rules),
            Sender::Status => (self.status.due_at()?, Class::Status),
            Sender::Rules => return None,
        };
        let probe = self.breaker.allowed_at();
        if probe == Instant::FAR_FUTURE {
            return None;
        }
        let (at, reason) = ready.max((probe, Reason::BreakerProbe)).max(self.pacer.allowed_at(class, now));
        Some((at, reason, class))
    }

    /// A flush may use requests that the pace would keep for later.
    fn class(&self, kind: Kind, path: Path, urgent: Seq) -> Class {
        let paced = match kind {
            Kind::Event => Class::Events,
            Kind::Metric => Class::Metrics,
        };
        let now = self.now.instant;
        let hurried = self.streams[kind].lane(path).count_before(urgent, false) > 0
            && self.pacer.allowed_at(Class::Urgent, now) < self.pacer.allowed_at(paced, now);
        if hurried { Class::Urgent } else { paced }
    }

    fn depart(&mut self, sender: Sender, class: Class) {
        let now = self.now.instant;
        let id = RequestId::from_u64(self.next_request);
        let mut timeout = self.config.timeout;
        let payload = match sender {
            Sender::Lane(kind, path) => {
                let stream = &mut self.streams[kind];
                stream.backlog_next = path == Path::Live;
                let Some(batch) = stream.lane_mut(path).depart(id, self.now, &mut self.rng) else { return };
                Payload::Batch(batch)
            }
            Sender::Rules => Payload::Rules { etag: self.rules.depart(id, now) },
            Sender::Status => {
                // An agent without traffic does not stay degraded for ever.
                self.decided.halve(now);
                self.status.depart(id, now);
                if self.shutdown.is_some() {
                    timeout = timeout.min(LAST_STATUS_TIMEOUT);
                }
                Payload::Status(Arc::new(self.status()))
            }
        };
        self.next_request += 1;
        if self.breaker.state() == BreakerState::Open {
            self.probed = Some(sender);
        }
        self.breaker.on_sent(id);
        self.pacer.on_sent(class, now);
        self.counters.requests_sent += 1;
        self.in_flight.insert(id, Flight { sender, deadline: now + timeout + ANSWER_GRACE });
        self.outputs.push_back(Output::Send(Request { id, payload, timeout }));
    }

    fn log(&mut self, next: &mut Soonest) {
        let Some(journal) = &mut self.journal else { return };
        let streams = &self.streams;
        // A recovered page must not push out what is already here.
        let room = Kind::ALL.iter().all(|kind| {
            streams[*kind].len() < self.config.buffer_size.div_ceil(2)
                && streams[*kind].cost() < self.config.buffer_bytes / 2
        });
        let request = journal.poll(self.now.instant, room && self.shutdown.is_none(), |from, bytes| {
            unwritten(streams, from, bytes)
        });
        next.consider(journal.due_at(room && self.shutdown.is_none()));
        self.outputs.extend(request.map(Output::Store));
    }

    /// Ends the shutdown when nothing more can be done for it.
    fn close(&mut self, next: &mut Soonest) {
        let Some(shutdown) = &self.shutdown else { return };
        let deadline = shutdown.deadline;
        if self.now.instant < deadline {
            next.consider(Some((deadline, Reason::ShutdownDeadline)));
            if self.lanes_in_flight() > 0 || self.may_still_send(deadline) {
                return;
            }
            self.status.want_last();
            match self.allowed_at(Sender::Status) {
                Some((at, _, class)) if at <= self.now.instant => self.depart(Sender::Status, class),
                Some(_) => self.status.skip_last(),
                None if self.breaker.state() != BreakerState::Closed => self.status.skip_last(),
                None => {}
            }
            let logged =
                self.journal.as_ref().is_none_or(|journal| journal.is_settled() || journal.is_down());
            if !self.status.is_done() || !logged {
                return;
            }
        }
        let ledgers = self.ledgers();
        let Some(shutdown) = self.shutdown.take() else { return };
        let reports = self.flushes.end_all(&ledgers);
        self.outputs.extend(reports.into_iter().map(Output::Event));
        let pending = ByKind { events: ledgers.events.pending, metrics: ledgers.metrics.pending };
        self.outputs.push_back(Output::Closed(shutdown.report(pending, &ledgers)));
        self.closed = true;
    }

    /// Whether some record may still get an attempt before `deadline`.
    fn may_still_send(&self, deadline: Instant) -> bool {
        let struck_out = |lane: &Lane| {
            lane.is_exhausted() || self.breaker.state() != BreakerState::Closed && lane.strikes() > 0
        };
        Kind::ALL.iter().any(|kind| {
            Path::ALL.iter().any(|path| {
                !struck_out(self.streams[*kind].lane(*path))
                    && self.allowed_at(Sender::Lane(*kind, *path)).is_some_and(|(at, ..)| at < deadline)
            })
        })
    }

    // Accounting.

    /// Books what left a lane.
    fn settle(&mut self, kind: Kind, settled: Settled) {
        let Settled { delivered, dead } = settled;
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
                message,
            });
            if self.dead_letters.len() > self.config.dead_letter_capacity {
                self.dead_letters.pop_front();
            }
        }
    }

    fn make_room(&mut self, kind: Kind) {
        while self.streams[kind].len() > self.config.buffer_size
            || self.streams[kind].cost() > self.config.buffer_bytes
        {
            let Stream { live, backlog, .. } = &mut self.streams[kind];
            // What was refused alone goes first: memory full of it would let nothing through for ever.
            let refused = backlog.evict_parked().or_else(|| live.evict_parked());
            let evicted = refused.or_else(|| match self.config.buffer_overflow_policy {
                OverflowPolicy::Drop => backlog.evict().or_else(|| live.evict()),
                OverflowPolicy::Raise | OverflowPolicy::Block => live.evict_newest(),
            });
            let Some(entry) = evicted else { return };
            self.give_up(kind, entry.seq(), DropReason::Overflow);
        }
    }

    /// Whether memory can hold that record too; alone it always may, else it would never be recovered.
    fn has_room_for(&self, record: &Record) -> bool {
        let stream = &self.streams[record.kind()];
        stream.len() == 0
            || stream.len() < self.config.buffer_size
                && stream.cost() + record.json().len() + Entry::OVERHEAD <= self.config.buffer_bytes
    }

    /// A record that left its lane is lost.
    fn give_up(&mut self, kind: Kind, seq: Seq, reason: DropReason) {
        self.count_drops(kind, reason, 1);
        self.on_settled(kind, seq, Outcome::Dropped(reason));
    }

    /// A record left us for good.
    fn on_settled(&mut self, kind: Kind, seq: Seq, outcome: Outcome) {
        if let Some(journal) = &mut self.journal {
            journal.on_settled(kind, seq);
        }
        if let Some(id) = self.receipts.remove(&seq) {
            self.outputs.push_back(Output::Event(AgentEvent::Receipt { id, outcome }));
        }
    }

    fn count_drops(&mut self, kind: Kind, reason: DropReason, count: u64) {
        self.streams[kind].ledger.dropped[reason] += count;
        if reason == DropReason::Filtered || count == 0 {
            return;
        }
        self.decided.on_dropped(count, self.now.instant);
        self.untold.entry(reason).or_default().0 += count;
        let mut later = Soonest::NEVER;
        self.tell_losses(&mut later);
    }

    /// The first loss is told at once, those that follow are summed up.
    fn tell_losses(&mut self, next: &mut Soonest) {
        let now = self.now.instant;
        for (reason, (untold, told_at)) in self.untold.iter_mut().filter(|(_, (untold, _))| *untold > 0) {
            match *told_at {
                Some(at) if now.since(at) < TELL_DROPS_EVERY => {
                    next.consider(Some((at + TELL_DROPS_EVERY, Reason::LossSummary)));
                }
                _ => {
                    let message = format!("{untold} records given up: {}", reason.as_str());
                    (*untold, *told_at) = (0, Some(now));
                    let event = AgentEvent::Error { stage: ErrorStage::Drop, message };
                    self.outputs.push_back(Output::Event(event));
                }
            }
        }
    }

    fn ledgers(&self) -> ByKind<Ledger> {
        let [events, metrics] = Kind::ALL.map(|kind| {
            let stream = &self.streams[kind];
            let pending = stream.len() as u64;
            let persisted = self.journal.as_ref().map_or(0, |journal| pending - journal.volatile()[kind]);
            Ledger { pending, pending_bytes: stream.cost() as u64, persisted, ..stream.ledger }
        });
        ByKind { events, metrics }
    }

    // News.

    /// Tells of a failure, once until it ends.
    fn tell(&mut self, stage: ErrorStage, endpoint: Endpoint, message: String) {
        if self.episodes.insert((stage, endpoint)) {
            self.outputs.push_back(Output::Event(AgentEvent::Error { stage, message }));
        }
    }

    fn end_episodes(&mut self, endpoint: Endpoint) {
        self.episodes.retain(|(_, failing)| *failing != endpoint);
    }

    fn tell_health(&mut self) {
        let health = self.health();
        if health != self.last_health {
            self.last_health = health.clone();
            self.outputs.push_back(Output::Event(AgentEvent::Health(health)));
        }
    }

    fn take_seq(&mut self) -> Seq {
        let seq = self.next_seq;
        self.next_seq = Seq::from_u64(seq.as_u64() + 1);
        seq
    }

    fn lanes_in_flight(&self) -> usize {
        let lanes = Kind::ALL.iter().flat_map(|kind| Path::ALL.map(|path| self.streams[*kind].lane(path)));
        lanes.filter(|lane| lane.in_flight()).count()
    }

    /// How full memory is with records of that kind, by number or bytes, whichever is higher.
    fn fill_permille(&self, kind: Kind) -> usize {
        let stream = &self.streams[kind];
        let by_number = stream.len() * 1_000 / self.config.buffer_size.max(1);
        let by_bytes = stream.cost() * 1_000 / self.config.buffer_bytes.max(1);
        by_number.max(by_bytes)
    }
}

impl Stream {
    fn lane(&self, path: Path) -> &Lane {
        match path {
            Path::Live => &self.live,
            Path::Backlog => &self.backlog,
        }
    }

    fn lane_mut(&mut self, path: Path) -> &mut Lane {
        match path {
            Path::Live => &mut self.live,
            Path::Backlog => &mut self.backlog,
        }
    }

    fn len(&self) -> usize {
        self.live.len() + self.backlog.len()
    }

    fn cost(&self) -> usize {
        self.live.cost() + self.backlog.cost()
    }
}

impl Path {
    const ALL: [Self; 2] = [Self::Live, Self::Backlog];

    const fn other(self) -> Self {
        match self {
            Self::Live => Self::Backlog,
            Self::Backlog => Self::Live,
        }
    }
}

const fn endpoint(kind: Kind) -> Endpoint {
    match kind {
        Kind::Event => Endpoint::Events,
        Kind::Metric => Endpoint::Metrics,
    }
}

const fn flush_stage(kind: Kind) -> ErrorStage {
    match kind {
        Kind::Event => ErrorStage::FlushEvents,
        Kind::Metric => ErrorStage::FlushMetrics,
    }
}

/// What to tell of an answer that is no success.
fn trouble(verdict: &Verdict, status: u16) -> Option<String> {
    match verdict {
        Verdict::Delivered { .. } => None,
        Verdict::Partly { message, .. } | Verdict::Unsure { message } => {
            Some(format!("answered {status} and reports errors: {message}"))
        }
        Verdict::TooLarge => Some(format!("answered {status}: too large")),
        Verdict::Refused { message } | Verdict::Hold { message } => {
            Some(format!("answered {status}: {message}"))
        }
        Verdict::SlowDown { .. } => Some(format!("answered {status}: asks to slow down")),
        Verdict::Failed { .. } => Some(match status {
            0 => String::from("no answer"),
            _ => format!("answered {status}"),
        }),
    }
}

/// Pending records that came after `from` and are in no store, ascending, about `bytes` of them.
fn unwritten(streams: &ByKind<Stream>, from: Seq, bytes: usize) -> Vec<StoreEntry> {
    let mut entries: Vec<(Kind, &Entry)> = Vec::new();
    for kind in Kind::ALL {
        for path in Path::ALL {
            let pending = streams[kind].lane(path).from(from).filter(|entry| !entry.is_recovered());
            entries.extend(pending.map(|entry| (kind, entry)));
        }
    }
    entries.sort_unstable_by_key(|(_, entry)| entry.seq());
    let mut taken = 0;
    let fitting = entries.into_iter().take_while(|(_, entry)| {
        let fits = taken < bytes;
        taken += entry.json.len();
        fits
    });
    let written = |(kind, entry): (Kind, &Entry)| StoreEntry {
        seq: entry.seq(),
        kind,
        attack: entry.is_attack(),
        json: entry.json.clone(),
    };
    fitting.map(written).collect()
}
