mod acts;
mod journal;
mod narration;
mod process;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use guard_agent_proto::store::{StoreAnswer, StoreError, StoreRequest};
use guard_agent_proto::wire::Wire;
use guard_agent_proto::{
    AgentConfig, BreakerState, DrainOrder, Endpoint, Health, HealthReason, Input, Instant, Kind, Now,
    RequestId, StoreOpId, Timestamp,
};

use super::application::Application;
use super::bug::Bug;
use super::invariant::Invariant;
use super::model::{Checked, Fate, History, Model, Violation, require};
use super::network::{Answer, Back, Network, Twist, Weather};
use super::platform::{Platform, Read};
use super::rng::Rng;
use super::scenario::{Scenario, swarm};
use super::schedule::Schedule;
use super::store::{Store, StoreWeather, Visit};
use super::subject::Subject;
use super::trace::Trace;

/// Wall clock at the start of every world: 2026-01-01.
const EPOCH: i64 = 1_767_225_600_000_000;
/// A world that takes more steps than this is stuck.
const MAX_STEPS: u64 = 10_000_000;

/// The application, the agents, the platform, and all between them.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    now: Instant,
    wall_offset: i64,
    schedule: Schedule<Event>,
    nemesis: Rng,
    /// What somebody does in the store, and how often, who can write there. He has chances of his own, so that worlds without
    /// him are what they were.
    visits: Vec<(Visit, u32)>,
    visits_every: Duration,
    visitor: Rng,
    application: Application,
    network: Network,
    platform: Platform,
    store: Store,
    weather: Weather,
    faulty: bool,

    store_weather: StoreWeather,
    /// When the store last did not do what it must, or not in time.
    store_trouble_at: Option<Instant>,
    /// Operations that it will carry out although nobody waits for them any more.
    belated: u32,
    /// It carried out one of those.
    store_was_late: bool,

    pub(crate) workers: Vec<Worker>,
    runs: u32,
    bug: Option<Bug>,
    flushes: u64,
    pub(crate) history: History,
    made: u64,
    /// Batches already read, so that a retry costs nothing: name, hash, what was read.
    reads: BTreeMap<(String, u64), Arc<Read>>,
    /// When attacks were accepted, and how long it took until a rule against them was in force.
    pub(crate) reactions: Vec<(Instant, Duration)>,
    dropped: u64,
    handed_over: u64,
    /// Messages for people.
    told: u64,
    dead_letters: u64,
    /// Records that a shutdown reported as pending and not persisted.
    abandoned: u64,
    /// No worker comes back.
    ending: bool,
    /// Effects of all agents so far, and after which one of them a process ends.
    effects: u64,
    crash_after: Option<u64>,
    steps: u64,
    trace: Trace,
}

/// A process with an agent in it, again and again.
#[derive(Debug)]
pub(crate) struct Worker {
    subject: Option<Subject>,
    wire: Option<Wire>,
    /// Which run of all workers' it is.
    run: u32,
    deadline: Instant,
    /// The process stands still until then.
    paused: Instant,
    /// What would have reached it since.
    kept: Vec<Event>,
    /// After how many effects it ends.
    dies_after: Option<u64>,
    model: Model,
    /// When attacks were accepted whose rules are not in force yet.
    attacks: Vec<(Instant, i64)>,
    /// Every request of the current run.
    pub(crate) requests: Vec<(Instant, Endpoint)>,
}

impl Worker {
    /// Events that its agent gave up.
    pub(crate) fn dropped(&self) -> u64 {
        self.model.stats.records.events.dropped.total()
    }
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
    /// Effects of the agents until then.
    pub effects: u64,
    /// From the end of the faults to peace.
    pub converged_in: Duration,
}

/// What is going to happen.
#[derive(Debug)]
enum Event {
    Start {
        worker: usize,
    },
    /// The application makes records.
    Make {
        worker: usize,
    },
    /// In the peace after the faults.
    Trickle {
        worker: usize,
    },
    Weather,
    Nemesis {
        worker: usize,
    },
    Trouble,
    /// Of somebody who can write to the store.
    Visit,
    StoreHeals,
    Arrive {
        worker: usize,
        run: u32,
        id: RequestId,
        read: Arc<Read>,
        twist: Twist,
        sent: Instant,
        back: Option<Back>,
    },
    Answer {
        worker: usize,
        run: u32,
        id: RequestId,
        answer: Answer,
    },
    StoreRun {
        worker: usize,
        run: u32,
        request: StoreRequest,
        /// The agent does not count on it any more.
        late: bool,
        /// When the agent has the answer, if it comes to that.
        reply_at: Option<Instant>,
    },
    StoreReply {
        worker: usize,
        run: u32,
        id: StoreOpId,
        /// The records that were appended, and how often the store had lost something by then.
        appended: Vec<u64>,
        losses: u32,
        result: Result<StoreAnswer, StoreError>,
    },
    Resume {
        worker: usize,
    },
    FaultsEnd,
}

impl Event {
    /// The process that it reaches, if it reaches one.
    const fn reaches(&self) -> Option<usize> {
        match self {
            Self::Start { worker }
            | Self::Make { worker }
            | Self::Trickle { worker }
            | Self::Nemesis { worker }
            | Self::Answer { worker, .. }
            | Self::StoreReply { worker, .. }
            | Self::Resume { worker } => Some(*worker),
            Self::Weather
            | Self::Trouble
            | Self::Visit
            | Self::StoreHeals
            | Self::Arrive { .. }
            | Self::StoreRun { .. }
            | Self::FaultsEnd => None,
        }
    }
}

/// Of a lane that is refused everything.
const LONGEST_HOLD: Duration = Duration::from_secs(305);

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
        for worker in 0..scenario.workers {
            schedule.at(Instant::ZERO, Event::Start { worker });
        }
        let mut trace = Trace::new(print);
        trace.line(Instant::ZERO, format_args!("{scenario:?}"));
        Self {
            now: Instant::ZERO,
            wall_offset: EPOCH,
            schedule,
            visits: Vec::new(),
            visits_every: Duration::ZERO,
            visitor: Rng::new(0),
            nemesis: rng.fork(),
            application: Application::new(rng.fork(), scenario.mix),
            network: Network::new(rng.fork(), scenario.faults.clone(), scenario.slowest),
            platform: Platform::new(rng.fork(), &scenario),
            store: Store::new(&scenario.config, scenario.store_clock, scenario.may_lose()),
            weather: Weather::Fair,
            faulty: true,
            store_weather: StoreWeather::Fair,
            store_trouble_at: None,
            belated: 0,
            store_was_late: false,
            workers: (0..scenario.workers).map(|_| Worker::new(0, &scenario.config)).collect(),
            runs: 0,
            bug,
            flushes: 0,
            history: History::default(),
            made: 0,
            reads: BTreeMap::new(),
            reactions: Vec::new(),
            dropped: 0,
            handed_over: 0,
            told: 0,
            dead_letters: 0,
            abandoned: 0,
            ending: false,
            effects: 0,
            crash_after: None,
            steps: 0,
            trace,
            scenario,
        }
    }

    /// Somebody can write to the store, and does.
    #[must_use]
    pub(crate) fn visited(self, seed: u64) -> Self {
        let mut visitor = Rng::new(!seed);
        let visits = swarm(&mut visitor, &Visit::ALL);
        let visits_every =
            visitor.pick(&[Duration::from_millis(50), Duration::from_secs(2), self.scenario.faulty / 5]);
        // From the first to the last thousand or so.
        let visits_every = visits_every.max(self.scenario.faulty / 2_000);
        Self { visits, visits_every, visitor, ..self }
    }

    /// Whether there is a journal in it.
    pub(crate) const fn has_journal(&self) -> bool {
        self.scenario.journal
    }

    /// Ends a process after that effect.
    pub(crate) fn crash_after(self, effect: u64) -> Self {
        Self { crash_after: Some(effect), ..self }
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

    /// The same: which invariant did not hold, if one did not.
    #[must_use]
    pub fn first_violation(mut self) -> Option<Invariant> {
        self.phases().err().map(|violation| violation.invariant)
    }

    fn describe(&self, violation: &Violation) -> String {
        let workers = self.workers.iter().map(|worker| {
            let health = worker.subject.as_ref().map(Subject::health);
            format!("  run {}: {health:?}\n  {:?}\n", worker.run, worker.model.stats.records)
        });
        let workers: String = workers.collect();
        let crash =
            self.crash_after.map(|effect| format!(" (crash after effect {effect})")).unwrap_or_default();
        format!("at {:?}{crash}: {violation}\n{workers}  the last steps:\n{}", self.now, self.trace)
    }

    fn phases(&mut self) -> Result<Outcome, Violation> {
        for worker in 0..self.workers.len() {
            self.schedule.at(Instant::ZERO, Event::Make { worker });
            self.schedule.at(Instant::ZERO + self.scenario.nemesis_every, Event::Nemesis { worker });
        }
        self.schedule.at(Instant::ZERO + self.scenario.weather_every, Event::Weather);
        if let (true, Some(pause)) = (self.scenario.journal, self.scenario.trouble_every) {
            self.schedule.at(Instant::ZERO + pause, Event::Trouble);
        }
        if !self.visits.is_empty() {
            self.schedule.at(Instant::ZERO + self.visits_every, Event::Visit);
        }
        self.schedule.at(Instant::ZERO + self.scenario.faulty, Event::FaultsEnd);
        while self.faulty {
            self.step()?;
        }

        let peace = self.now;
        // First a firewall may still refuse what it refuses, which holds up nothing else, and then it learns.
        if self.platform.front.is_some_and(|front| front.is_on) {
            self.wait_for("all that nobody refuses", Self::has_only_refused)?;
            self.trace.line(self.now, format_args!("the firewall learns"));
            self.platform.front = None;
        }
        self.wait_for("peace", |world| world.at_peace())?;
        let converged_in = self.now.since(peace);
        let effects = self.effects;
        self.close()?;
        self.check_loss()?;
        self.check_told()?;
        Ok(Outcome {
            digest: self.trace.digest(),
            lines: self.trace.lines(),
            made: self.made,
            taken: self.history.records.iter().filter(|record| record.taken_at.is_some()).count() as u64,
            dropped: self.dropped,
            runs: self.runs,
            effects,
            converged_in,
        })
    }

    /// Runs the world in that weather for so long: for measuring.
    pub(crate) fn run_for(&mut self, duration: Duration, weather: Weather) {
        if self.steps == 0 {
            self.schedule.at(Instant::ZERO, Event::Make { worker: 0 });
        }
        self.weather = weather;
        let end = self.now + duration;
        while self.now < end {
            if let Err(violation) = self.step() {
                panic!("{}", self.describe(&violation));
            }
        }
    }

    fn wait_for(&mut self, what: &str, is_done: impl Fn(&mut Self) -> bool) -> Checked {
        let (start, limit) = (self.now, self.patience());
        while !is_done(self) {
            self.step()?;
            require(self.now.since(start) <= limit, Invariant::Convergence, || {
                format!("no {what} after {limit:?}; {}", self.store)
            })?;
        }
        Ok(())
    }

    /// Whether agents hold no more than what a firewall refuses, and every journal is an agent's.
    fn has_only_refused(&mut self) -> bool {
        let Some(front) = self.platform.front else { return true };
        let waiting: u64 = self.workers.iter().map(Worker::pending).sum();
        let is_refused = |(number, record): &(u64, &Fate)| {
            let is_settled = record.is_confirmed() && record.copies == 0;
            front.dislikes(*number) && record.made.kind == Kind::Event && !is_settled
        };
        // A record that is in several streams waits several times, and so does one that two agents have, or that a late write
        // brought back.
        let times = |(_, record): (u64, &Fate)| {
            record.streams.len().max(1) as u64 + record.copies + u64::from(record.resurrected)
        };
        let refused: u64 = (0..).zip(&self.history.records).filter(is_refused).map(times).sum();
        let has_agent =
            |run: u32| self.workers.iter().any(|worker| worker.run == run && worker.subject.is_some());
        waiting <= refused && self.store.is_owned(has_agent)
    }

    /// How long the peace may take: every record alone in the worst case, at the allowed rate.
    fn patience(&mut self) -> Duration {
        let held: u64 = Kind::ALL.into_iter().map(|kind| self.store.held(kind, None)).sum();
        let waiting: u64 = self.workers.iter().map(Worker::pending).sum();
        // Who is refused is found by halving, set aside, and tried again.
        let each = 3 + 6 * self.scenario.refused() / 1_000;
        let requests = u32::try_from((waiting + held) * each).unwrap_or(u32::MAX);
        let config = &self.scenario.config;
        // As many as memory holds at a time, and then it waits whether others are refused too.
        let refused = (waiting + held) * self.scenario.refused() / 1_000;
        let rounds = u32::try_from(refused / (config.buffer_size as u64 / 4).max(1)).unwrap_or(u32::MAX);
        Duration::from_secs(3_600)
            + LONGEST_HOLD * rounds
            + config.flush_interval * 8
            + config.journal_lease * 4
            + self.slot() * requests
    }

    /// How long a request takes at least, one after the other.
    fn slot(&self) -> Duration {
        let config = &self.scenario.config;
        let unit = config.rate_window / u32::try_from(config.rate_limit).unwrap_or(1);
        Duration::from_secs(1).max(unit).mul_f64(1.5)
    }

    fn at_peace(&self) -> bool {
        self.workers.iter().all(Worker::is_at_peace)
            && self.belated == 0
            && self.store.blocks() == 0
            && self.store.streams() == 0
    }

    /// A shutdown in peace delivers what came last, and leaves nothing behind.
    fn close(&mut self) -> Checked {
        self.ending = true;
        // Longer than a platform may ask for quiet, and than the pace may take.
        let deadline = LONGEST_HOLD * 2 + self.slot() * 40;
        for w in 0..self.workers.len() {
            self.give(w, 2)?;
            self.shutdown(w, deadline)?;
            while self.workers[w].subject.is_some() {
                self.step()?;
            }
            require(self.workers[w].pending() == 0, Invariant::CleanShutdown, || {
                format!("{:?}", self.workers[w].model.stats.records)
            })?;
        }
        // One that was adopted and then lost is empty, but its new owner had no time to look.
        let clean = self.store.streams() == 0 || self.history.disturbed && self.store.blocks() == 0;
        require(clean, Invariant::CleanShutdown, || self.store.to_string())
    }

    /// However often somebody makes them happen, people are told of few things.
    fn check_told(&self) -> Checked {
        // Kinds of messages, about; most are told once a minute, those of endpoints every ten seconds.
        const KINDS: u64 = 30;
        let minutes = 1 + self.now.since(Instant::ZERO).as_secs() / 60;
        let most = KINDS * u64::from(self.runs) + KINDS * minutes * self.workers.len() as u64;
        require(self.told <= most, Invariant::Message, || {
            format!("{} messages in {minutes} minutes of {} runs", self.told, self.runs)
        })
    }

    /// What the platform never took, the agent has counted, but for the memory of processes that died.
    fn check_loss(&self) -> Checked {
        let missing = |record: &Fate| record.taken_at.is_none() && !record.died;
        let first = self.history.records.iter().position(missing);
        let missing = self.history.records.iter().filter(|record| missing(record)).count();
        let is_disliked = |number: &u64| self.scenario.front.is_some_and(|front| front.dislikes(*number));
        let disliked = (0..self.made).filter(is_disliked).count();
        let poison = (self.platform.poison.len() + disliked) as u64;
        // A journal may bring one back and have it refused again.
        let innocent = !self.scenario.may_blame_content() && !self.scenario.journal;
        require(!innocent || self.dead_letters <= poison, Invariant::DeadLetters, || {
            format!("{} records were set aside, {poison} were bad", self.dead_letters)
        })?;
        // Whoever says that he adopted a journal may be believed.
        let counted =
            self.dropped + self.abandoned + if self.visits.is_empty() { 0 } else { self.handed_over };
        require(missing as u64 <= counted, Invariant::Loss, || {
            format!("{missing} records never arrived, {counted} were counted; the first is {first:?}")
        })
    }

    fn step(&mut self) -> Checked {
        self.steps += 1;
        require(self.steps <= MAX_STEPS, Invariant::Convergence, || {
            String::from("the world does not come to an end")
        })?;
        let wakes = self.workers.iter().enumerate().map(|(w, worker)| (worker.wakes_at(), w));
        let (timer, w) = wakes.min().unwrap_or((Instant::FAR_FUTURE, 0));
        let next = self.schedule.next_time().unwrap_or(Instant::FAR_FUTURE);
        if timer < next || (timer == next && self.scenario.timer_first) {
            require(timer != Instant::FAR_FUTURE, Invariant::Convergence, || {
                String::from("nothing will ever happen")
            })?;
            self.now = self.now.max(timer);
            return self.feed(w, Input::Timeout);
        }
        let Some((time, event)) = self.schedule.pop() else {
            return require(false, Invariant::Convergence, || String::from("nothing will ever happen"));
        };
        self.now = self.now.max(time);
        if let Some(worker) = event.reaches().map(|w| &mut self.workers[w])
            && self.now < worker.paused
        {
            worker.kept.push(event);
            return Ok(());
        }
        self.happen(event)
    }

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Arrive { worker, run, id, read, twist, sent, back } => {
                self.arrive(worker, run, id, &read, twist, sent, back);
            }
            Event::StoreRun { worker, run, request, late, reply_at } => {
                return self.store_run(worker, run, request, late, reply_at);
            }
            Event::StoreReply { worker, run, id, appended, losses, result } => {
                return self.store_reply(worker, run, id, &appended, losses, result);
            }
            Event::Weather if self.faulty => {
                self.weather = self.network.weather();
                self.trace.line(self.now, format_args!("weather {:?}", self.weather));
                if let Some(front) = self.platform.front.as_mut().filter(|front| front.shifts) {
                    front.is_on = !front.is_on;
                }
                let gap = self.nemesis.exponential(self.scenario.weather_every);
                self.schedule.at(self.now + gap, Event::Weather);
            }
            Event::Trouble if self.faulty => {
                if let Some(pause) = self.scenario.trouble_every {
                    let gap = self.nemesis.exponential(pause);
                    self.schedule.at(self.now + gap, Event::Trouble);
                }
                self.trouble();
            }
            Event::Visit if self.faulty => {
                let gap = self.visitor.exponential(self.visits_every);
                self.schedule.at(self.now + gap, Event::Visit);
                let visit = self.visitor.weighted(&self.visits);
                self.visit(visit);
            }
            Event::StoreHeals => self.store_weather = StoreWeather::Fair,
            Event::FaultsEnd => self.end_faults(),
            Event::Resume { worker } => self.resume(worker),
            Event::Start { worker } => return self.start(worker),
            Event::Make { worker } => return self.make(worker),
            Event::Trickle { worker } => {
                // Rare enough that they get through one by one, also where few requests are allowed.
                let pause = self.scenario.config.flush_interval * 2 + self.slot() * 40;
                self.schedule.at(self.now + pause, Event::Trickle { worker });
                // What comes at the end need not be delivered: it may be left to the journal.
                return if self.ending { Ok(()) } else { self.give(worker, 6) };
            }
            Event::Nemesis { worker } if self.faulty => {
                let gap = self.nemesis.exponential(self.scenario.nemesis_every);
                self.schedule.at(self.now + gap, Event::Nemesis { worker });
                let act = self.nemesis.weighted(&self.scenario.nemesis);
                return self.act(worker, act);
            }
            Event::Weather | Event::Trouble | Event::Visit | Event::Nemesis { .. } => {}
            Event::Answer { worker: w, run, id, answer } => {
                if run == self.workers[w].run && self.workers[w].subject.is_some() {
                    self.workers[w].model.answer(self.now, id, &answer, &mut self.history.records);
                    return self.feed(w, Input::Response { id, result: answer.result });
                }
            }
        }
        Ok(())
    }

    fn end_faults(&mut self) {
        self.trace.line(self.now, format_args!("the faults end"));
        self.faulty = false;
        self.weather = Weather::Fair;
        self.store_weather = StoreWeather::Fair;
        // Its clock may be set by that.
        self.store_trouble_at = self.store_trouble_at.max(Some(self.now));
        self.history.disputed = self.made;
        self.store.repair(self.now);
        self.platform.quota = None;
        if let Some(front) = &mut self.platform.front {
            // Where order counts it holds up what comes after a record that it refuses.
            front.is_on = self.scenario.front_stays && self.scenario.config.drain == DrainOrder::LiveFirst;
            front.until = self.made;
        }
        self.application.mix.poison = 0;
        self.application.mix.attacks = 0;
        for worker in 0..self.workers.len() {
            self.workers[worker].dies_after = None;
            self.resume(worker);
            self.schedule.at(self.now, Event::Trickle { worker });
        }
    }

    fn resume(&mut self, w: usize) {
        let worker = &mut self.workers[w];
        worker.paused = worker.paused.min(self.now);
        for event in worker.kept.drain(..) {
            self.schedule.at(self.now, event);
        }
    }

    fn clocks(&self) -> Now {
        let wall = self.wall_offset.saturating_add_unsigned(self.now.as_micros());
        Now { instant: self.now, wall: Timestamp::from_unix_micros(wall) }
    }
}

impl Worker {
    fn new(run: u32, config: &AgentConfig) -> Self {
        Self {
            subject: None,
            wire: None,
            run,
            deadline: Instant::FAR_FUTURE,
            paused: Instant::ZERO,
            kept: Vec::new(),
            dies_after: None,
            model: Model::new(run, config.clone()),
            attacks: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn pending(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.model.stats.records[kind].pending).sum()
    }

    fn is_at_peace(&self) -> bool {
        // The pace comes back with successes, of which a quiet service has few.
        let healthy = |health: Health| health.reasons.iter().all(|reason| *reason == HealthReason::Slowed);
        self.subject.as_ref().is_some_and(|subject| healthy(subject.health()))
            && self.pending() == 0
            && self.model.stats.breaker == BreakerState::Closed
            && !self.model.is_stopping()
            // A request that left before may still fail.
            && !self.model.awaits_answers()
    }

    /// When it wakes up by itself.
    fn wakes_at(&self) -> Instant {
        if self.subject.is_some() { self.deadline.max(self.paused) } else { Instant::FAR_FUTURE }
    }
}
