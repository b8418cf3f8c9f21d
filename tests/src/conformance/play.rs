use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use guard_agent_proto::shell::{
    Attempt, BoxFuture, CaptureTransport, MemoryStore, RulesSubscription, Store, Transport,
};
use guard_agent_proto::store::{StoreAnswer, StoreError, StoreErrorKind, StoreRequest};
use guard_agent_proto::wire::Credentials;
use guard_agent_proto::{
    AgentConfig, AgentStatus, Batch, Endpoint, Kind, Ledger, MetricType, Payload, Report, Response, Secret,
    SecurityEvent, SecurityMetric,
};

use super::simulated::Network;
use super::wrongs::{Meddler, Wrong};
use super::{Complete, Launch, Runtime, Scenario, Step, Subject, With};
use crate::collector::{Answer, Collector, Exchange, Keys, Received};
use crate::redis_server::RedisServer;
use crate::scratch::Scratch;

/// Of every scenario; also the key that the collector expects at first.
const KEY: &str = "conformance-key";
pub(super) const SIGNING_SECRET: &str = "conformance-secret";
/// Of the rules that the collector has without being told any.
const FIRST_RULES: &str = "default-rule";
const ENCRYPTION_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Plays a scenario, with an agent that is wrong in a way or with the right one, and says what was not as it must be.
pub(super) fn play(
    scenario: &Scenario,
    runtime: &(dyn Runtime + Sync),
    wrong: Option<&'static Wrong>,
) -> Result<(), String> {
    let mut stage = Stage::set(scenario, runtime, wrong.map(Meddler::new))?;
    for (number, step) in scenario.steps.iter().enumerate() {
        stage.take(step).map_err(|problem| format!("step {}, {step:?}: {problem}", number + 1))?;
    }
    stage.strike()
}

struct Stage<'a> {
    runtime: &'a (dyn Runtime + Sync),
    /// Of a wrong agent.
    meddler: Option<Meddler>,
    collector: Collector,
    /// Where redirects lead.
    elsewhere: Collector,
    journal: Place,
    launch: Launch,
    subject: Box<dyn Subject>,
    /// Numbers of the next event and metric.
    next: u64,
    metrics: u64,
    /// Ends what blocks.
    gate: Arc<Gate>,
    violations: usize,
    /// The transport of the application's own.
    transport: Option<Arc<Panicking>>,
    /// How long the last call took that may wait.
    lasted: Duration,
    /// Ids of the rules that came into force.
    rules: Arc<Mutex<Vec<String>>>,
    _subscription: RulesSubscription,
}

enum Place {
    None,
    Redis(RedisServer),
    Files(Scratch),
    Standing(Arc<Breakable>),
}

impl<'a> Stage<'a> {
    fn set(
        scenario: &Scenario,
        runtime: &'a (dyn Runtime + Sync),
        meddler: Option<Meddler>,
    ) -> Result<Self, String> {
        let mut keys = Collector::builder().api_key(KEY);
        if scenario.with == With::Keys {
            keys = keys.signing_secret(SIGNING_SECRET).encryption_key(ENCRYPTION_KEY);
        }
        let collector = if runtime.is_simulated() { keys.unconnected() } else { keys.start() };
        let is_redirected = scenario.steps.iter().any(|step| matches!(step, Step::Redirects(..)));
        let elsewhere = if is_redirected && !runtime.is_simulated() {
            Collector::start()
        } else {
            Collector::builder().port(2).unconnected()
        };
        let mut builder = AgentConfig::builder(KEY).endpoint(collector.url()).install_id("conformance");
        if scenario.with == With::Keys {
            builder = builder
                .set("payload_signing_secret", SIGNING_SECRET)
                .set("project_encryption_key", ENCRYPTION_KEY);
        }
        // Ten times as fast as by default, so that retries do not take the test's time.
        for (name, value) in [
            ("rate_limit", "1000"),
            ("backoff_factor", "0.01"),
            ("breaker_recovery", "0.2"),
            ("breaker_recovery_max", "0.5"),
            // Far more than an answer takes on a busy machine: what is late is sent again.
            ("timeout", "5"),
            ("flush_interval", "0.5"),
            ("journal_lease", "1"),
        ]
        .iter()
        .chain(scenario.fields)
        .chain(meddler.as_ref().map_or(&[][..], Meddler::fields))
        {
            builder = builder.set(name, value);
        }
        let standing =
            || Place::Standing(Arc::new(Breakable { meddler: meddler.clone(), ..Breakable::default() }));
        let journal = match scenario.with {
            With::Redis if runtime.is_simulated() => standing(),
            With::Redis => Place::Redis(RedisServer::start(&["appendonly yes", "appendfsync always"])),
            With::Files if runtime.is_simulated() => standing(),
            With::Files => Place::Files(Scratch::new().map_err(|error| error.to_string())?),
            With::OwnStore => standing(),
            With::Nothing
            | With::PanickingTransport
            | With::PanickingHooks
            | With::BlockingProcessor
            | With::Keys => Place::None,
        };
        match &journal {
            Place::Redis(server) => builder = builder.redis_url(server.url()),
            Place::Files(scratch) => builder = builder.journal_dir(scratch.path().display().to_string()),
            Place::None | Place::Standing(_) => {}
        }
        let gate = Arc::new(Gate::default());
        let forgives = meddler.as_ref().is_some_and(Meddler::forgives_panics);
        let transport = (scenario.with == With::PanickingTransport)
            .then(|| Arc::new(Panicking { forgives, ..Panicking::default() }));
        let launch = Launch {
            config: builder.build().map_err(|error| error.to_string())?,
            transport: transport.clone().map(|transport| transport as Arc<dyn Transport>),
            store: match &journal {
                Place::Standing(store) => Some(Arc::<Breakable>::clone(store)),
                Place::None | Place::Redis(_) | Place::Files(_) => None,
            },
            processor: match scenario.with {
                With::PanickingHooks => {
                    let meddler = meddler.clone();
                    Some(Arc::new(move |event| match &meddler {
                        Some(meddler) => meddler.process(event, panic_at_odd),
                        None => panic_at_odd(event),
                    }))
                }
                With::BlockingProcessor => {
                    let gate = Arc::clone(&gate);
                    Some(Arc::new(move |event| {
                        gate.pass();
                        Some(event)
                    }))
                }
                With::Nothing
                | With::Redis
                | With::Files
                | With::OwnStore
                | With::PanickingTransport
                | With::Keys => None,
            },
            panicking_hook: scenario.with == With::PanickingHooks,
            network: runtime.is_simulated().then(|| Network {
                platform: collector.wire(),
                elsewhere: elsewhere.wire(),
                meddler: meddler.clone(),
            }),
        };
        let subject = start(runtime, &launch, meddler.as_ref())?;
        let rules = Arc::<Mutex<Vec<_>>>::default();
        let history = Arc::clone(&rules);
        let subscription = subject.handle().subscribe_rules(move |document| {
            let id = document.map_or("none", |document| &document.rules.rule_id);
            history.lock().unwrap_or_else(PoisonError::into_inner).push(id.to_owned());
        });
        Ok(Self {
            runtime,
            meddler,
            collector,
            elsewhere,
            journal,
            launch,
            subject,
            next: 0,
            metrics: 0,
            gate,
            violations: 0,
            transport,
            lasted: Duration::ZERO,
            rules,
            _subscription: subscription,
        })
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        let collector = &self.collector;
        match *step {
            Step::Answers(endpoint, count, answer) => {
                collector.endpoint(endpoint).answer_next(count, answer());
            }
            Step::Always(endpoint, answer) => {
                collector.endpoint(endpoint).answer_always(answer());
            }
            Step::Normally(endpoint) => {
                collector.endpoint(endpoint).answer_normally();
            }
            Step::Redirects(endpoint, status) => {
                let answer = Answer::status(status).header("location", &self.elsewhere.url());
                collector.endpoint(endpoint).answer_next(1, answer);
            }
            Step::Down => collector.down(),
            Step::Up => collector.up(),
            Step::Expects(key) => {
                collector.set_keys(Keys { api_key: Some(key.to_owned()), ..Keys::default() });
            }
            Step::Rules(json) => {
                let rules: serde_json::Value =
                    serde_json::from_str(json).map_err(|error| error.to_string())?;
                collector.set_rules(&rules);
            }
            Step::StoreDown => match &self.journal {
                Place::Redis(server) => server.pause(),
                Place::Standing(store) => store.down.store(true, Ordering::SeqCst),
                Place::None | Place::Files(_) => return Err("there is no store to break".into()),
            },
            Step::StoreUp => match &self.journal {
                Place::Redis(server) => server.resume(),
                Place::Standing(store) => store.down.store(false, Ordering::SeqCst),
                Place::None | Place::Files(_) => return Err("there is no store to mend".into()),
            },
            Step::Events(count) => self.send(count, "rate_limited"),
            Step::Attacks(count) => self.send(count, "penetration_attempt"),
            Step::Metrics(count) => {
                for number in self.metrics..self.metrics + count {
                    let value = f64::from(u32::try_from(number).unwrap_or(0));
                    self.subject.send_metric(SecurityMetric::now(MetricType::RequestCount, value));
                }
                self.metrics += count;
            }
            Step::Event(event) => self.subject.send_event(event()),
            Step::Invalid => {
                self.subject.send_metric(SecurityMetric::now(MetricType::RequestCount, f64::NAN));
            }
            Step::Flush(complete, limit) => {
                return self.timed(limit, complete, |subject| subject.flush(limit), Report::is_complete);
            }
            Step::Persist(complete, limit) => {
                return self.timed(limit, complete, |subject| subject.persist(limit), Report::is_secured);
            }
            Step::Shutdown(complete, limit) => {
                return self.timed(limit, complete, |subject| subject.shutdown(limit), Report::is_complete);
            }
            Step::Refresh => self.subject.refresh_rules(),
            Step::Rotate(key, accepted) => {
                let rotated = self.subject.rotate(Credentials::new(Secret::new(key)));
                return same("accepted", rotated.is_ok(), accepted);
            }
            Step::Within(limit, taken) => {
                let event = event(self.next, "rate_limited");
                let result = self.subject.send_event_within(event, limit);
                self.next += u64::from(result.is_ok());
                return same("taken", result.is_ok(), taken);
            }
            Step::Start => {
                self.subject = start(self.runtime, &self.launch, self.meddler.as_ref())?;
            }
            Step::Pause(time) => self.subject.pause(time),
            Step::Arrived(count) => {
                let seen = || collector.read(|received| received.event_count);
                return self.before_long(|| seen() >= count, || seen().to_string());
            }
            Step::MetricsArrived(count) => {
                let seen = || collector.read(|received| received.metric_count);
                return self.before_long(|| seen() >= count, || seen().to_string());
            }
            Step::Requested(endpoint, count) => {
                let seen = || collector.read(|received| received.to(endpoint).count());
                return self.before_long(|| seen() >= count, || seen().to_string());
            }
            Step::Answered(endpoint) => {
                let left = || collector.endpoint(endpoint).left();
                return self.before_long(|| left() == 0, || format!("{} are left", left()));
            }
            Step::AnsweredUnasked(count) => {
                let seen = || collector.read(|received| received.unasked);
                return self.before_long(|| seen() >= count, || seen().to_string());
            }
            Step::Health(level) => {
                let health = || self.subject.health();
                return self.before_long(|| health().level == level, || format!("{:?}", health()));
            }
            Step::Reason(words) => {
                let reasons = || {
                    let health = self.subject.health();
                    health.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
                };
                return self.before_long(|| reasons().contains(words), reasons);
            }
            Step::InForce(id) => {
                let rules = || {
                    let document = self.subject.handle().rules();
                    document.map(|document| document.rules.rule_id.to_string())
                };
                return self.before_long(|| rules().as_deref() == Some(id), || format!("{:?}", rules()));
            }
            Step::RulesWere(ids) => {
                let seen = || {
                    let mut history = self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    // Those of the start may have come before anybody listened.
                    history.drain(..usize::from(history.first().is_some_and(|id| id == FIRST_RULES)));
                    history
                };
                return self.before_long(|| seen() == ids, || format!("{:?}", seen()));
            }
            Step::Persisted(count) => {
                let seen = || self.subject.stats().records.events.persisted;
                return self.before_long(|| seen() >= count, || seen().to_string());
            }
            Step::Blocks(count) => {
                let Place::Standing(store) = &self.journal else {
                    return Err("there is no store of the application's own".into());
                };
                let seen = || store.store.blocks();
                return self.before_long(|| seen() == count, || seen().to_string());
            }
            Step::Pending(count) => return self.counts(|ledger| ledger.pending, count),
            Step::MetricsDelivered(count) => {
                let seen = || self.subject.stats().records.metrics.delivered;
                return self.before_long(|| seen() == count, || seen().to_string());
            }
            Step::Delivered(count) => return self.counts(|ledger| ledger.delivered, count),
            Step::Recovered(count) => return self.counts(|ledger| ledger.recovered, count),
            Step::Dropped(reason, count) => return self.counts(|ledger| ledger.dropped[reason], count),
            Step::CountedInvalid(count) => {
                let seen = || {
                    let records = self.subject.stats().records;
                    records.events.invalid + records.metrics.invalid
                };
                return self.before_long(|| seen() == count, || seen().to_string());
            }
            Step::DeadLetters(count) => {
                return same("dead letters", self.subject.take_dead_letters().len(), count);
            }
            Step::Duplicates(count) => {
                return collector.read(|received| same("duplicates", received.duplicates, count));
            }
            Step::Text(text, expected) => {
                let is_there = |received: &Received| {
                    received.events.iter().any(|e| e.value().to_string().contains(text))
                };
                return same("there", collector.read(is_there), expected);
            }
            Step::InOrder => return collector.read(in_order),
            Step::Just(from, to) => {
                let numbers: BTreeSet<_> = collector.read(|received| numbers(received).flatten().collect());
                return same("numbers", numbers, (from..to).collect());
            }
            Step::Captured(count) => {
                let transport = self.transport.as_ref().ok_or("there is no transport of its own")?;
                return same("captured", transport.delivered.events().len() as u64, count);
            }
            Step::SameBatch => return collector.read(same_batch),
            Step::Elsewhere(count) => {
                let seen = self.elsewhere.read(|received| received.exchanges.len());
                return same("requests elsewhere", seen, count);
            }
            Step::Apart(endpoint, count, time) => return self.are_apart(endpoint, count, time),
            Step::Spread(endpoint, most, window) => return self.are_spread(endpoint, most, window),
            Step::NotBefore(endpoint, number, time) => {
                let at = collector.read(|received| received.to(endpoint).nth(number - 1).map(|e| e.time));
                let at = at.ok_or("there was no such request")?;
                return if at >= time { Ok(()) } else { Err(format!("it came after {at:?}")) };
            }
            Step::Lasted(time) if self.lasted < time => {
                return Err(format!("it took {:?}", self.lasted));
            }
            Step::Prompt(time) if self.lasted > time + self.subject.slack() => {
                return Err(format!("it took {:?}", self.lasted));
            }
            Step::Lasted(_) | Step::Prompt(_) => {}
            Step::Flooded(most) => {
                let seen = collector.read(|received| received.flooded);
                return if seen <= most { Ok(()) } else { Err(format!("{seen} bytes were read")) };
            }
            Step::AtMost(endpoint, count) => {
                let seen = collector.read(|received| received.to(endpoint).count());
                return if seen <= count { Ok(()) } else { Err(format!("there were {seen}")) };
            }
            Step::Header(endpoint, name, expected) => {
                let last = collector.read(|received| received.to(endpoint).last().cloned());
                let last = last.ok_or("there was no request")?;
                return same("value", last.headers.get(name).map(String::as_str), expected);
            }
            Step::Statuses(count, level) => {
                let statuses = collector.read(|received| received.statuses.clone());
                same("statuses", statuses.len(), count)?;
                return same(
                    "level",
                    statuses.last().map(|status| status["status"].clone()),
                    Some(level.into()),
                );
            }
            Step::Violations(count) => {
                let violations = collector.violations();
                self.violations = violations.len();
                return if violations.len() >= count { Ok(()) } else { Err(format!("{violations:?}")) };
            }
        }
        Ok(())
    }

    fn are_spread(&self, endpoint: Endpoint, most: usize, window: Duration) -> Result<(), String> {
        let times: Vec<_> =
            self.collector.read(|received| received.to(endpoint).map(|exchange| exchange.time).collect());
        let spans = times.windows(most + 1).map(|times| times[most].saturating_sub(times[0]));
        match spans.min() {
            Some(least) if least + self.subject.slack() < window => {
                Err(format!("{} came within {least:?}", most + 1))
            }
            _ => Ok(()),
        }
    }

    fn are_apart(&self, endpoint: Endpoint, count: usize, time: Duration) -> Result<(), String> {
        let times: Vec<_> = self
            .collector
            .read(|received| received.to(endpoint).map(|exchange| exchange.time).take(count).collect());
        same("requests", times.len(), count)?;
        match times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).min() {
            Some(least) if least < time => Err(format!("two of them came within {least:?}")),
            _ => Ok(()),
        }
    }

    fn counts(&self, count: impl Fn(&Ledger) -> u64, expected: u64) -> Result<(), String> {
        let seen = || count(&self.subject.stats().records.events);
        self.before_long(|| seen() == expected, || seen().to_string())
    }

    /// What always holds at the end.
    fn strike(self) -> Result<(), String> {
        self.gate.open();
        for kind in Kind::ALL {
            let ledger = self.subject.stats().records[kind];
            if !ledger.balances() {
                return Err(format!("the {kind}s do not balance: {ledger:?}"));
            }
        }
        self.subject.shutdown(Duration::from_millis(200));
        let numbers: Vec<_> = self.collector.read(|received| numbers(received).flatten().collect());
        let different = numbers.iter().collect::<BTreeSet<_>>().len();
        same("events that arrived under two keys", numbers.len() - different, 0)?;
        let violations = self.collector.violations();
        let told = violations.len().saturating_sub(self.violations);
        if told > 0 {
            return Err(format!("against the contract: {violations:?}"));
        }
        Ok(())
    }

    fn send(&mut self, count: u64, event_type: &str) {
        for number in self.next..self.next + count {
            self.subject.send_event(event(number, event_type));
        }
        self.next += count;
    }

    /// A call that may wait: it must not take longer than it was given.
    fn timed(
        &mut self,
        limit: Duration,
        complete: Complete,
        call: impl FnOnce(&dyn Subject) -> Report,
        is_done: impl FnOnce(&Report) -> bool,
    ) -> Result<(), String> {
        let before = self.subject.now();
        let report = call(self.subject.as_ref());
        let took = self.subject.now().saturating_sub(before);
        self.lasted = took;
        if took > limit + self.subject.slack() {
            return Err(format!("it took {took:?}"));
        }
        same("complete", is_done(&report), complete == Complete::Yes)
            .map_err(|problem| format!("{problem}: {report:?}"))
    }

    fn before_long(&self, mut is_so: impl FnMut() -> bool, seen: impl Fn() -> String) -> Result<(), String> {
        if self.subject.until(&mut is_so) {
            Ok(())
        } else {
            let stats = self.subject.stats();
            let reasons: Vec<_> = stats.health.reasons.iter().map(ToString::to_string).collect();
            let seen = seen();
            Err(format!("it did not come to that: {seen}; {reasons:?}, {:?}", stats.records))
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.gate.open();
    }
}

fn start(
    runtime: &(dyn Runtime + Sync),
    launch: &Launch,
    meddler: Option<&Meddler>,
) -> Result<Box<dyn Subject>, String> {
    let subject = runtime.start(launch.clone()).map_err(|error| error.to_string())?;
    Ok(match meddler {
        Some(meddler) => meddler.start(subject),
        None => subject,
    })
}

fn in_order(received: &Received) -> Result<(), String> {
    let numbers: Vec<_> = numbers(received).collect();
    if numbers.is_sorted() { Ok(()) } else { Err(format!("{numbers:?}")) }
}

/// The numbers of the events that arrived, in that order.
fn numbers(received: &Received) -> impl Iterator<Item = Option<u64>> {
    received.events.iter().map(|event| event.value()["metadata"]["number"].as_u64())
}

fn same_batch(received: &Received) -> Result<(), String> {
    let mut batches: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for Exchange { keys, batch_id, body_hash, .. } in received.to(Endpoint::Events) {
        for key in keys {
            batches.entry(key).or_default().insert((batch_id, body_hash));
        }
    }
    let most = batches.values().map(BTreeSet::len).max();
    same("batches of an event", most, Some(1))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, must: T) -> Result<(), String> {
    if is == must { Ok(()) } else { Err(format!("{what}: {is:?}, not {must:?}")) }
}

fn event(number: u64, event_type: &str) -> SecurityEvent {
    SecurityEvent::now(event_type).ip_address("192.0.2.7").metadata("number", number)
}

/// A processor of the application's own.
fn panic_at_odd(event: SecurityEvent) -> Option<SecurityEvent> {
    assert!(number_of(&event).is_none_or(|number| number % 2 == 0), "planted");
    Some(event)
}

fn number_of(event: &SecurityEvent) -> Option<u64> {
    event.metadata.get("number")?.as_u64()
}

/// Holds up whoever passes until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(open, |open| !*open));
    }

    fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}

/// A transport of the application's own, which panics in the call and in the future before it works.
#[derive(Default)]
struct Panicking {
    calls: AtomicU64,
    delivered: CaptureTransport,
    /// It answers a success instead, as a wrong agent makes of it.
    forgives: bool,
}

impl Panicking {
    fn attempt(&self, payload: Payload) -> BoxFuture<'_, Attempt> {
        match self.calls.fetch_add(1, Ordering::SeqCst) {
            0 | 1 if self.forgives => Box::pin(async { Ok(Response::accepted()) }),
            0 => panic!("planted in the call"),
            1 => Box::pin(async { panic!("planted in the future") }),
            _ => self.delivered.send(payload),
        }
    }
}

impl Transport for Panicking {
    fn send_events(&self, batch: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        self.attempt(Payload::Batch(batch))
    }

    fn send_metrics(&self, batch: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        self.delivered.send_metrics(batch)
    }

    fn send_status(&self, status: Arc<AgentStatus>) -> BoxFuture<'_, Attempt> {
        self.delivered.send_status(status)
    }

    fn fetch_rules(&self, etag: Option<Arc<str>>) -> BoxFuture<'_, Attempt> {
        self.delivered.fetch_rules(etag)
    }
}

/// A store that may be away.
#[derive(Default)]
struct Breakable {
    store: MemoryStore,
    down: AtomicBool,
    meddler: Option<Meddler>,
}

impl Store for Breakable {
    fn execute(&self, mut request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>> {
        if let Some(meddler) = &self.meddler {
            meddler.on_operation(&mut request);
        }
        let op = request.op.clone();
        let is_down = self.down.load(Ordering::SeqCst);
        Box::pin(async move {
            let mut answer = if is_down {
                Err(StoreError::new(StoreErrorKind::Unreachable, "as told"))
            } else {
                self.store.execute(request).await
            };
            if let Some(meddler) = &self.meddler {
                meddler.on_stored(&op, &mut answer);
            }
            answer
        })
    }
}
