use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use guard_agent_proto::store::{StoreAnswer, StoreError, StoreOp, StoreRequest};
use guard_agent_proto::wire::Wire;
use guard_agent_proto::{
    AgentEvent, BreakerState, ByKind, DropReason, FlushId, Health, HealthReason, Input, Instant, Kind, Now,
    Outcome as Delivery, Output, Payload, Reason, ReceiptId, Report, Request, RequestId, Response, StoreOpId,
    Timestamp,
};

use super::application::Application;
use super::model::{Checked, Fate, MAX_OUTPUTS, Model, Step, Violation, require};
use super::network::{Answer, Back, Fault, Meaning, Network, Route, Twist, Weather};
use super::platform::{self, Platform, Read};
use super::rng::Rng;
use super::scenario::{API_KEY, Act, Scenario};
use super::schedule::Schedule;
use super::store::{Store, unavailable};
use super::subject::{Bug, Subject};
use super::trace::Trace;

/// Wall clock at the start of every world: 2026-01-01.
const EPOCH: i64 = 1_767_225_600_000_000;
/// A world that takes more steps than this is stuck.
const MAX_STEPS: u64 = 3_000_000;

/// The application, the agent, the platform, and all between them.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    now: Instant,
    wall_offset: i64,
    schedule: Schedule<Event>,
    nemesis: Rng,
    application: Application,
    network: Network,
    platform: Platform,
    store: Store,
    weather: Weather,
    faulty: bool,

    subject: Option<Subject>,
    wire: Option<Wire>,
    run: u32,
    bug: Option<Bug>,
    deadline: Instant,
    /// The process stands still until then.
    paused: Instant,
    /// What would have reached it since.
    kept: Vec<Event>,
    flushes: u64,
    model: Model,

    pub(crate) records: Vec<Fate>,
    made: u64,
    /// Batches already read, so that a retry costs nothing: name, hash, what was read.
    reads: BTreeMap<(String, u64), Arc<Read>>,
    /// When attacks were accepted whose rules are not in force yet.
    pub(crate) attacks: Vec<(Instant, i64)>,
    /// From attack to rule.
    pub(crate) reactions: Vec<Duration>,
    /// Every request of the current run.
    pub(crate) requests: Vec<Instant>,
    dropped: u64,
    dead_letters: u64,
    /// Records that a shutdown reported as pending and not persisted.
    abandoned: u64,
    steps: u64,
    trace: Trace,
}

/// How a run of the world went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Hash of the whole trace.
    pub digest: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// Records that the application made.
    pub made: u64,
    /// Records that the platform took.
    pub taken: u64,
    /// Records that the agent gave up.
    pub dropped: u64,
    /// Runs of the agent.
    pub runs: u32,
    /// From the end of the faults to peace.
    pub converged_in: Duration,
}

/// What is going to happen.
#[derive(Debug)]
enum Event {
    Start,
    /// The application makes records.
    Make,
    /// In the peace after the faults.
    Trickle,
    Weather,
    Nemesis,
    Arrive {
        run: u32,
        id: RequestId,
        read: Arc<Read>,
        twist: Twist,
        sent: Instant,
        back: Option<Back>,
    },
    Answer {
        run: u32,
        id: RequestId,
        answer: Answer,
    },
    StoreRun {
        run: u32,
        request: StoreRequest,
        reply: bool,
        error: bool,
        back: Duration,
    },
    StoreReply {
        run: u32,
        id: StoreOpId,
        op: StoreOp,
        result: Result<StoreAnswer, StoreError>,
    },
    Resume,
    FaultsEnd,
}

impl World {
    /// A world of that seed.
    #[must_use]
    pub fn new(seed: u64, bug: Option<Bug>, print: bool) -> Self {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::draw(&mut rng);
        Self::with(scenario, rng, bug, print)
    }

    pub(crate) fn with(scenario: Scenario, mut rng: Rng, bug: Option<Bug>, print: bool) -> Self {
        let mut schedule = Schedule::new();
        schedule.at(Instant::ZERO, Event::Start);
        let mut trace = Trace::new(print);
        trace.line(Instant::ZERO, format_args!("{scenario:?}"));
        Self {
            now: Instant::ZERO,
            wall_offset: EPOCH,
            schedule,
            nemesis: rng.fork(),
            application: Application::new(rng.fork(), scenario.mix),
            network: Network::new(rng.fork(), scenario.faults.clone(), scenario.slowest),
            platform: Platform::new(rng.fork(), scenario.body_limit, scenario.tags),
            store: Store::new(&scenario.config),
            weather: Weather::Fair,
            faulty: true,
            subject: None,
            wire: None,
            run: 0,
            bug,
            deadline: Instant::FAR_FUTURE,
            paused: Instant::ZERO,
            kept: Vec::new(),
            flushes: 0,
            model: Model::new(0, scenario.config.clone()),
            records: Vec::new(),
            made: 0,
            reads: BTreeMap::new(),
            attacks: Vec::new(),
            reactions: Vec::new(),
            requests: Vec::new(),
            dropped: 0,
            dead_letters: 0,
            abandoned: 0,
            steps: 0,
            trace,
            scenario,
        }
    }

    /// Bad weather, then peace.
    ///
    /// # Panics
    ///
    /// When an invariant does not hold, with the end of the trace.
    pub fn live(mut self) -> Outcome {
        match self.phases() {
            Ok(outcome) => outcome,
            Err(violation) => panic!("{}", self.describe(&violation)),
        }
    }

    fn describe(&self, violation: &Violation) -> String {
        format!(
            "at {:?}: {violation}\n  health {:?}\n  {:?}\n  the last steps:\n{}",
            self.now,
            self.subject.as_ref().map(Subject::health),
            self.model.stats.records,
            self.trace
        )
    }

    fn phases(&mut self) -> Result<Outcome, Violation> {
        self.schedule.at(Instant::ZERO, Event::Make);
        self.schedule.at(Instant::ZERO + self.scenario.weather_every, Event::Weather);
        self.schedule.at(Instant::ZERO + self.scenario.nemesis_every, Event::Nemesis);
        self.schedule.at(Instant::ZERO + self.scenario.faulty, Event::FaultsEnd);
        while self.faulty {
            self.step()?;
        }

        let peace = self.now;
        let limit = self.patience();
        while !self.at_peace() {
            self.step()?;
            require(self.now.since(peace) <= limit, "convergence", || {
                format!("no peace after {limit:?}; {}", self.store)
            })?;
        }
        let converged_in = self.now.since(peace);
        self.close()?;
        self.check_loss()?;
        Ok(Outcome {
            digest: self.trace.digest(),
            lines: self.trace.lines(),
            made: self.made,
            taken: self.records.iter().filter(|record| record.taken_at.is_some()).count() as u64,
            dropped: self.dropped,
            runs: self.run,
            converged_in,
        })
    }

    /// Runs a fair world for that long: for measuring.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.schedule.at(Instant::ZERO, Event::Make);
        let end = self.now + duration;
        while self.now < end {
            if let Err(violation) = self.step() {
                panic!("{}", self.describe(&violation));
            }
        }
    }

    /// How long the peace may take: every record alone in the worst case, at the allowed rate.
    fn patience(&mut self) -> Duration {
        let records = self.model.stats.records;
        let waiting = records.events.pending
            + records.metrics.pending
            + self.store.held(Kind::Event)
            + self.store.held(Kind::Metric);
        let requests = u32::try_from(waiting).unwrap_or(u32::MAX).saturating_mul(3);
        Duration::from_secs(3_600) + self.scenario.config.flush_interval * 8 + self.slot() * requests
    }

    /// How long a request takes at least, one after the other.
    fn slot(&self) -> Duration {
        let config = &self.scenario.config;
        let unit = config.rate_window / u32::try_from(config.rate_limit).unwrap_or(1);
        Duration::from_secs(1).max(unit).mul_f64(1.5)
    }

    fn at_peace(&self) -> bool {
        let stats = &self.model.stats;
        // The pace comes back with successes, of which a quiet service has few.
        let healthy = |health: Health| health.reasons.iter().all(|reason| *reason == HealthReason::Slowed);
        self.subject.as_ref().is_some_and(|subject| healthy(subject.health()))
            && stats.records.events.pending == 0
            && stats.records.metrics.pending == 0
            && stats.breaker == BreakerState::Closed
            && self.store.blocks() == 0
            && !self.model.is_stopping()
    }

    /// A shutdown in peace leaves nothing behind.
    fn close(&mut self) -> Checked {
        self.shutdown(Duration::from_secs(60))?;
        while self.subject.is_some() {
            self.step()?;
        }
        require(self.abandoned_in_peace() == 0, "clean-shutdown", || {
            format!("{:?}", self.model.stats.records)
        })
    }

    fn abandoned_in_peace(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.model.stats.records[kind].pending).sum()
    }

    /// What the platform never took, the agent has counted, but for the memory of processes that died.
    fn check_loss(&self) -> Checked {
        let missing = self.records.iter().filter(|record| record.taken_at.is_none() && !record.died).count();
        let poison = self.platform.poison.len() as u64;
        // A journal may bring one back and have it refused again.
        let innocent = !self.scenario.may_blame_content() && !self.scenario.journal;
        require(!innocent || self.dead_letters <= poison, "dead-letters", || {
            format!("{} records were set aside, {poison} were bad", self.dead_letters)
        })?;
        let counted = self.dropped + self.abandoned;
        require(missing as u64 <= counted, "loss", || {
            let first = self.records.iter().position(|record| record.taken_at.is_none() && !record.died);
            format!("{missing} records never arrived, {counted} were counted; the first is {first:?}")
        })
    }

    fn step(&mut self) -> Checked {
        self.steps += 1;
        require(self.steps <= MAX_STEPS, "steps", || String::from("the world does not come to an end"))?;
        let timer = if self.subject.is_some() { self.deadline.max(self.paused) } else { Instant::FAR_FUTURE };
        let next = self.schedule.next_time().unwrap_or(Instant::FAR_FUTURE);
        if timer < next || (timer == next && self.scenario.timer_first) {
            require(timer != Instant::FAR_FUTURE, "steps", || String::from("nothing will ever happen"))?;
            self.now = self.now.max(timer);
            return self.feed(Input::Timeout);
        }
        let Some((time, event)) = self.schedule.pop() else {
            return require(false, "steps", || String::from("nothing will ever happen"));
        };
        self.now = self.now.max(time);
        self.happen(event)
    }

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Arrive { run, id, read, twist, sent, back } => {
                self.arrive(run, id, &read, twist, sent, back);
                Ok(())
            }
            Event::StoreRun { run, request, reply, error, back } => {
                let mut result = if error && !reply {
                    Err(unavailable())
                } else {
                    self.store.execute(request.clone(), self.now)
                };
                if error && reply {
                    result = Err(unavailable());
                }
                let event = Event::StoreReply { run, id: request.id, op: request.op, result };
                self.schedule.at(self.now + back, event);
                Ok(())
            }
            Event::Weather => {
                if self.faulty {
                    self.weather = self.network.weather();
                    self.trace.line(self.now, format_args!("weather {:?}", self.weather));
                    let gap = self.nemesis.exponential(self.scenario.weather_every);
                    self.schedule.at(self.now + gap, Event::Weather);
                }
                Ok(())
            }
            Event::FaultsEnd => {
                self.trace.line(self.now, format_args!("the faults end"));
                self.faulty = false;
                self.resume();
                self.weather = Weather::Fair;
                self.application.mix.poison = 0;
                self.application.mix.attacks = 0;
                self.schedule.at(self.now, Event::Trickle);
                Ok(())
            }
            // The rest reaches the process, which may stand still.
            event if self.now < self.paused => {
                self.kept.push(event);
                Ok(())
            }
            Event::Resume => {
                self.resume();
                Ok(())
            }
            Event::Start => self.start(),
            Event::Make => self.make(),
            Event::Trickle => {
                // Rare enough that they get through one by one, also where few requests are allowed.
                let pause = self.scenario.config.flush_interval * 2 + self.slot() * 40;
                self.schedule.at(self.now + pause, Event::Trickle);
                self.give(6)
            }
            Event::Nemesis => {
                if self.faulty {
                    let gap = self.nemesis.exponential(self.scenario.nemesis_every);
                    self.schedule.at(self.now + gap, Event::Nemesis);
                    let act = self.nemesis.weighted(&self.scenario.nemesis);
                    return self.act(act);
                }
                Ok(())
            }
            Event::Answer { run, id, answer } => {
                if run == self.run && self.subject.is_some() {
                    self.model.answer(self.now, id, &answer, &mut self.records);
                    return self.feed(Input::Response { id, result: answer.result });
                }
                Ok(())
            }
            Event::StoreReply { run, id, op, result } => {
                if run == self.run && self.subject.is_some() {
                    if matches!(result, Ok(StoreAnswer::Done)) {
                        for number in self.store.appended(&op) {
                            if let Some(record) = self.record(number) {
                                record.journaled = true;
                            }
                        }
                    }
                    self.feed(Input::StoreReply { id, result })?;
                    return self.check_persisted();
                }
                Ok(())
            }
        }
    }

    fn resume(&mut self) {
        self.paused = self.paused.min(self.now);
        for event in self.kept.drain(..) {
            self.schedule.at(self.now, event);
        }
    }

    fn start(&mut self) -> Checked {
        if self.subject.is_some() {
            return Ok(());
        }
        self.run += 1;
        self.paused = Instant::ZERO;
        self.deadline = self.now;
        self.requests.clear();
        self.model = Model::new(self.run, self.scenario.config.clone());
        self.trace.line(self.now, format_args!("start {}", self.run));
        let config = &self.scenario.config;
        let subject =
            Subject::new(config, self.scenario.journal, self.nemesis.bytes(), self.clocks(), self.bug);
        let wire = Wire::new(config, "simulated");
        match (subject, wire) {
            (Ok(subject), Ok(wire)) => {
                self.subject = Some(subject);
                self.wire = Some(wire);
            }
            (subject, wire) => {
                return require(false, "configuration", || format!("{:?} {:?}", subject.err(), wire.err()));
            }
        }
        self.feed(Input::Timeout)
    }

    fn make(&mut self) -> Checked {
        if !self.faulty {
            return Ok(());
        }
        let (gap, count) = self.application.next(self.scenario.arrivals);
        self.schedule.at(self.now + gap, Event::Make);
        let count = count.min(self.scenario.records.saturating_sub(self.made));
        self.give(count)
    }

    fn give(&mut self, count: u64) -> Checked {
        if count == 0 || self.subject.is_none() {
            return Ok(());
        }
        let mut records = Vec::new();
        for number in self.made..self.made + count {
            let (record, made) = self.application.make(number);
            if made.poison {
                self.platform.poison.insert(number);
            }
            self.model.accepts(made.kind, 1);
            self.model.holds(made.bytes);
            self.records.push(Fate::new(made, self.run, self.now));
            let receipts = self.scenario.receipts;
            records.push(if receipts { record.with_receipt(ReceiptId::from_u64(number)) } else { record });
        }
        self.made += count;
        self.feed(Input::Records(records))
    }

    fn act(&mut self, act: Act) -> Checked {
        if self.subject.is_none() {
            return Ok(());
        }
        self.trace.line(self.now, format_args!("act {act:?}"));
        match act {
            Act::Flush => {
                self.flushes += 1;
                let id = FlushId::from_u64(self.flushes);
                let deadline = self.now + Duration::from_millis(self.nemesis.pick(&[0, 1, 1_000, 30_000]));
                self.model.flush(id, deadline);
                self.feed(Input::Flush { id, deadline })
            }
            Act::RefreshRules => {
                self.model.refresh();
                self.feed(Input::RefreshRules)
            }
            Act::CredentialsChanged => {
                self.model.refresh();
                self.feed(Input::CredentialsChanged)
            }
            Act::Nudge => self.feed(Input::Timeout),
            Act::Stutter => {
                for _ in 0..3 {
                    self.feed(Input::Timeout)?;
                }
                Ok(())
            }
            Act::Suspend => {
                let pause = self.nemesis.pick(&[1, 40, 400, 90_000]);
                self.paused = self.now + Duration::from_secs(pause);
                self.schedule.at(self.paused, Event::Resume);
                Ok(())
            }
            Act::SetClock => {
                let jump = self.nemesis.pick(&[-400_000_000_i64, -3_600, -1, 1, 3_600, 400_000_000]);
                self.wall_offset += jump * 1_000_000;
                Ok(())
            }
            Act::StrayAnswer => {
                let id = RequestId::from_u64(self.nemesis.pick(&[0, 1, 1 << 40, u64::MAX]));
                let answer = Answer {
                    result: Ok(Response::accepted()),
                    meaning: Meaning::Taken { records: Vec::new(), named: false },
                };
                if self.model.waits_for(id) {
                    return Ok(());
                }
                self.model.answer(self.now, id, &answer, &mut self.records);
                self.feed(Input::Response { id, result: answer.result })
            }
            Act::LostBefore => {
                let kind = self.nemesis.pick(&Kind::ALL);
                let count = self.nemesis.between(1, 50);
                let reason =
                    self.nemesis.pick(&[DropReason::Filtered, DropReason::Processor, DropReason::TooLarge]);
                self.model.accepts(kind, count);
                self.feed(Input::Lost { kind, reason, count })?;
                self.model.refuses(kind, count);
                self.feed(Input::Invalid { kind, count })
            }
            Act::ChangeRules => {
                self.platform.rules_version += 1;
                Ok(())
            }
            Act::Restart => {
                let deadline = self.nemesis.pick(&[0, 1, 5, 60]);
                self.shutdown(Duration::from_secs(deadline))
            }
            Act::Crash => {
                self.reckon();
                for record in &mut self.records {
                    record.died |= record.run == self.run && record.taken_at.is_none() && !record.journaled;
                }
                self.end_process();
                Ok(())
            }
        }
    }

    fn shutdown(&mut self, timeout: Duration) -> Checked {
        let deadline = self.now + timeout;
        self.trace.line(self.now, format_args!("shutdown until {deadline:?}"));
        self.model.shutdown(deadline);
        self.feed(Input::Shutdown { deadline })
    }

    /// Takes down what this run gave up.
    fn reckon(&mut self) {
        for kind in Kind::ALL {
            let dropped = self.model.stats.records[kind].dropped;
            self.dropped += dropped.total();
            self.dead_letters += dropped[DropReason::DeadLetter];
        }
    }

    /// The process is gone; it comes back, unless this is the end of the world.
    fn end_process(&mut self) {
        self.subject = None;
        self.wire = None;
        self.attacks.clear();
        let pause = Duration::from_millis(self.nemesis.between(0, 30_000));
        self.schedule.at(self.now + pause, Event::Start);
    }

    /// One input, all outputs, all checks.
    fn feed(&mut self, input: Input) -> Checked {
        let Some(mut subject) = self.subject.take() else { return Ok(()) };
        let timeout = matches!(input, Input::Timeout);
        let due = self.deadline <= self.now;
        let mut came: ByKind<(u64, u64)> = ByKind::default();
        if let Input::Records(records) = &input {
            for record in records {
                came[record.kind()].0 += 1;
                came[record.kind()].1 += record.json().len() as u64;
            }
        }
        let may_overflow = matches!(input, Input::StoreReply { .. } | Input::Lost { .. });
        self.trace_input(&input);
        subject.handle_input(self.clocks(), input);

        self.model.lose_overdue(self.now, &mut self.records);
        let (mut outputs, mut sends) = (0, 0);
        let mut closed = None;
        loop {
            let output = subject.poll_output();
            match output {
                Output::Idle { deadline, reason } => {
                    self.idle(deadline, reason);
                    break;
                }
                Output::Send(request) => {
                    sends += 1;
                    self.send(&request)?;
                }
                Output::Store(request) => self.store_operation(request),
                Output::Event(AgentEvent::Receipt { id, outcome }) => {
                    // One per record: not counted among the outputs, which are few.
                    self.receipt(id, outcome)?;
                    continue;
                }
                Output::Event(event) => self.news(event)?,
                Output::Closed(report) => closed = Some(report),
                output => return require(false, "known-output", || format!("{output:?}")),
            }
            outputs += 1;
            require(outputs <= MAX_OUTPUTS, "endless-outputs", || format!("{outputs} to one input"))?;
        }

        let step =
            Step { now: self.now, timeout, due, outputs, sends, deadline: self.deadline, came, may_overflow };
        self.model.check(&step, subject.stats(), subject.health().level)?;
        if self.scenario.receipts {
            self.model.check_receipts()?;
        }
        self.model.check_rules(subject.rules_version())?;
        self.model.check_closed(self.now, self.paused, closed.is_some())?;
        require(closed.is_some() == subject.is_closed(), "closed", || format!("{closed:?}"))?;
        match closed {
            Some(report) => self.closed(subject, &report),
            None => {
                self.subject = Some(subject);
                Ok(())
            }
        }
    }

    fn closed(&mut self, mut subject: Subject, report: &Report) -> Checked {
        self.trace.line(self.now, format_args!("closed {report:?}"));
        let stats = subject.stats();
        self.model.check_report(report, &stats)?;
        for kind in Kind::ALL {
            self.abandoned += report.pending[kind] - report.persisted[kind];
        }
        self.reckon();
        for input in [Input::Timeout, Input::RefreshRules, Input::CredentialsChanged] {
            subject.handle_input(self.clocks(), input);
            let output = subject.poll_output();
            require(
                matches!(output, Output::Idle { deadline: Instant::FAR_FUTURE, .. }),
                "quiet-after-close",
                || format!("{output:?}"),
            )?;
        }
        self.end_process();
        Ok(())
    }

    fn idle(&mut self, deadline: Instant, reason: Reason) {
        self.deadline = deadline;
        self.trace.line(self.now, format_args!("  idle until {deadline:?} for {reason:?}"));
    }

    fn send(&mut self, request: &Request) -> Checked {
        let endpoint = request.payload.endpoint();
        require(request.timeout <= self.scenario.config.timeout, "timeout", || {
            format!("{:?}", request.timeout)
        })?;
        let Some(wire) = &self.wire else { return Ok(()) };
        let http = wire.encode(&request.payload, |body, _| body.to_vec());
        let hash = hash(&http.body);
        let read = match &request.payload {
            Payload::Batch(batch) => self.reads.get(&(batch.id().to_string(), hash)).cloned(),
            Payload::Status(_) | Payload::Rules { .. } => None,
        };
        let encrypted = self.scenario.config.project_encryption_key.is_some();
        let read = match read {
            Some(read) => read,
            None => match platform::read(&request.payload, &http, encrypted) {
                Ok(read) => Arc::new(read),
                Err(problem) => return require(false, "contract", || format!("{endpoint}: {problem}")),
            },
        };
        let batch = match &*read {
            Read::Batch { id, records, bytes, .. } => {
                // One record alone may be larger, if a journal brings it from another configuration.
                let fits = *bytes <= self.scenario.config.batch_max_bytes;
                require(fits || records.len() == 1, "batch-bytes", || {
                    format!("{bytes} bytes in batch {id}")
                })?;
                self.reads.insert((id.clone(), hash), Arc::clone(&read));
                Some((id.as_str(), hash, records.as_slice()))
            }
            Read::Status | Read::Rules { .. } => None,
        };
        self.requests.push(self.now);
        self.model.send(self.now, request.id, endpoint, batch, request.timeout, &mut self.records)?;

        let (fault, route) = self.network.route(self.weather, request.timeout);
        self.trace_send(request, endpoint, &read, hash, fault);
        self.dispatch(request, read, route);
        Ok(())
    }

    fn dispatch(&mut self, request: &Request, read: Arc<Read>, route: Route) {
        let (run, id, sent) = (self.run, request.id, self.now);
        match route {
            Route::Nowhere(after, answer) => {
                self.schedule.at(sent + after.min(request.timeout), Event::Answer { run, id, answer });
            }
            Route::There { after, again, back, twist } => {
                if let Back::Lost(at, kind) | Back::Late(at, kind, _) = back {
                    let answer = Answer::error(kind);
                    self.schedule.at(sent + at, Event::Answer { run, id, answer });
                }
                if let Some(again) = again {
                    let read = Arc::clone(&read);
                    self.schedule.at(sent + again, Event::Arrive { run, id, read, twist, sent, back: None });
                }
                self.schedule
                    .at(sent + after, Event::Arrive { run, id, read, twist, sent, back: Some(back) });
            }
        }
    }

    fn arrive(
        &mut self,
        run: u32,
        id: RequestId,
        read: &Read,
        twist: Twist,
        sent: Instant,
        back: Option<Back>,
    ) {
        let answer = self.platform.answer(read, twist);
        if let Meaning::Taken { records, .. } = &answer.meaning {
            let now = self.now;
            for number in records {
                let rules_on_attack = self.scenario.rules_on_attack;
                let Some(record) = self.record(*number) else { continue };
                if record.taken_at.is_some() {
                    continue;
                }
                record.taken_at = Some(now);
                let accepted_at = record.accepted_at;
                if record.made.attack && rules_on_attack {
                    self.platform.rules_version += 1;
                    self.attacks.push((accepted_at, self.platform.rules_version));
                }
            }
        }
        self.trace.line(self.now, format_args!("platform answers {id} with {}", status_of(&answer)));
        let event = |answer| Event::Answer { run, id, answer };
        match back {
            Some(Back::After(after)) => self.schedule.at(self.now + after, event(answer)),
            Some(Back::Twice(first, second)) => {
                self.schedule.at(self.now + first, event(answer.clone()));
                self.schedule.at(self.now + first + second, event(answer));
            }
            Some(Back::Late(_, _, at)) => self.schedule.at(sent + at, event(answer)),
            Some(Back::Lost(..)) | None => {}
        }
    }

    fn store_operation(&mut self, request: StoreRequest) {
        let faults = if self.faulty { self.scenario.store_faults } else { 0 };
        let slowest = if self.faulty { self.scenario.store_slowest } else { Duration::from_millis(2) };
        let error = self.nemesis.chance(faults);
        // A failed operation may have been carried out.
        let reply = error && self.nemesis.chance(500);
        let there = self.nemesis.duration(Duration::from_micros(100), slowest);
        let back = self.nemesis.duration(Duration::from_micros(100), slowest);
        self.trace.line(self.now, format_args!("  store {} {}", request.id, brief(&request.op)));
        let event = Event::StoreRun { run: self.run, request, reply, error, back };
        self.schedule.at(self.now + there, event);
    }

    fn news(&mut self, event: AgentEvent) -> Checked {
        self.trace.line(self.now, format_args!("  news {event:?}"));
        match event {
            AgentEvent::Rules(document) => {
                if let Some(document) = document {
                    let version = document.rules.version;
                    let now = self.now;
                    let reactions = &mut self.reactions;
                    self.attacks.retain(|(accepted_at, awaited)| {
                        let reacted = *awaited <= version;
                        if reacted {
                            reactions.push(now.since(*accepted_at));
                        }
                        !reacted
                    });
                }
                Ok(())
            }
            AgentEvent::Health(health) => {
                self.model.announce(health.level);
                Ok(())
            }
            AgentEvent::Error { message, .. } => {
                require(!message.contains(API_KEY) && !message.contains('\n'), "message", || message.clone())
            }
            AgentEvent::Flushed { id, .. } => self.model.flushed(id, self.now, self.paused),
            event @ (AgentEvent::Receipt { .. } | _) => require(false, "asked-for", || format!("{event:?}")),
        }
    }

    fn receipt(&mut self, id: ReceiptId, outcome: Delivery) -> Checked {
        self.trace.line(self.now, format_args!("  receipt {} {outcome:?}", id.as_u64()));
        let record = usize::try_from(id.as_u64()).ok().and_then(|index| self.records.get_mut(index));
        match record {
            Some(record) if self.scenario.receipts => self.model.receipt(outcome, record),
            Some(_) | None => require(false, "receipt", || format!("{id:?} was not asked for")),
        }
    }

    fn check_persisted(&mut self) -> Checked {
        for kind in Kind::ALL {
            let persisted = self.model.stats.records[kind].persisted;
            let held = self.store.held(kind);
            require(self.subject.is_none() || persisted <= held, "persisted", || {
                format!("{persisted} {kind}s are said to be in the journal, which holds {held}")
            })?;
        }
        Ok(())
    }

    fn record(&mut self, number: u64) -> Option<&mut Fate> {
        usize::try_from(number).ok().and_then(|index| self.records.get_mut(index))
    }

    fn clocks(&self) -> Now {
        let wall = self.wall_offset.saturating_add_unsigned(self.now.as_micros());
        Now { instant: self.now, wall: Timestamp::from_unix_micros(wall) }
    }

    fn trace_input(&mut self, input: &Input) {
        match input {
            Input::Records(records) => {
                let bytes: usize = records.iter().map(|record| record.json().len()).sum();
                let first = self.made - records.len() as u64;
                self.trace
                    .line(self.now, format_args!("{} records from {first} on, {bytes} bytes", records.len()));
            }
            Input::Response { id, result } => match result {
                Ok(response) => {
                    let body = String::from_utf8_lossy(&response.body[..response.body.len().min(100)]);
                    let retry_after = &response.retry_after;
                    self.trace.line(
                        self.now,
                        format_args!("answer {id}: {} {retry_after:?} {body}", response.status),
                    );
                }
                Err(error) => self.trace.line(self.now, format_args!("answer {id}: {error}")),
            },
            Input::StoreReply { id, result } => match result {
                Ok(StoreAnswer::Blocks { blocks, .. }) => {
                    self.trace.line(self.now, format_args!("store reply {id}: {} blocks", blocks.len()));
                }
                Ok(
                    StoreAnswer::Done
                    | StoreAnswer::Diverged { .. }
                    | StoreAnswer::Orphans { .. }
                    | StoreAnswer::Adopted { .. },
                )
                | Err(_) => {
                    self.trace.line(self.now, format_args!("store reply {id}: {result:?}"));
                }
            },
            Input::Timeout
            | Input::Lost { .. }
            | Input::Invalid { .. }
            | Input::Flush { .. }
            | Input::RefreshRules
            | Input::CredentialsChanged
            | Input::Shutdown { .. }
            | _ => self.trace.line(self.now, format_args!("{input:?}")),
        }
    }

    fn trace_send(
        &mut self,
        request: &Request,
        endpoint: guard_agent_proto::Endpoint,
        read: &Read,
        hash: u64,
        fault: Option<Fault>,
    ) {
        let id = request.id;
        match read {
            Read::Batch { id: batch, records, bytes, .. } => {
                let (first, last) = (records.first(), records.last());
                self.trace.line(
                    self.now,
                    format_args!(
                        "  send {id} to {endpoint}: {batch} of {} records ({first:?} to {last:?}), {bytes} \
                         bytes {hash:016x}, {fault:?}",
                        records.len()
                    ),
                );
            }
            Read::Status | Read::Rules { .. } => {
                self.trace.line(self.now, format_args!("  send {id} to {endpoint}: {hash:016x}, {fault:?}"));
            }
        }
    }
}

fn status_of(answer: &Answer) -> u16 {
    answer.result.as_ref().map_or(0, |response| response.status)
}

fn brief(op: &StoreOp) -> String {
    match op {
        StoreOp::Write(write) => {
            let logs = Kind::ALL.map(|kind| {
                let log = &write.logs[kind];
                format!("{:?} -{:?} at {:?}", log.append, log.remove, log.expected)
            });
            format!("write {} to {}, notes {:?}", logs.join(" and "), write.stream, write.notes)
        }
        StoreOp::List { .. } => String::from("list"),
        StoreOp::Adopt { stream, .. } => format!("adopt {stream}"),
        StoreOp::Read { stream, kind, from, limit, .. } => {
            format!("read {limit} {kind} blocks of {stream} from {from}")
        }
        StoreOp::Close { stream, keep } => format!("close {stream}, keep: {keep}"),
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
