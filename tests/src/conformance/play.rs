use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use guard_agent_proto::shell::{Attempt, BoxFuture, CaptureTransport, MemoryStore, Store, Transport};
use guard_agent_proto::store::{StoreAnswer, StoreError, StoreErrorKind, StoreRequest};
use guard_agent_proto::wire::Credentials;
use guard_agent_proto::{
    AgentConfig, AgentStatus, Batch, Endpoint, Kind, Ledger, MetricType, Payload, Report, Secret,
    SecurityEvent, SecurityMetric,
};

use super::{Complete, Launch, Runtime, Scenario, Step, Subject, With};
use crate::collector::{Collector, Keys, Received};
use crate::redis_server::RedisServer;
use crate::scratch::Scratch;

/// Of every scenario; also the key that the collector expects at first.
const KEY: &str = "conformance-key";

/// Plays a scenario, and says what was not as it must be.
pub(super) fn play(scenario: &Scenario, runtime: &(dyn Runtime + Sync)) -> Result<(), String> {
    let mut stage = Stage::set(scenario, runtime)?;
    for (number, step) in scenario.steps.iter().enumerate() {
        stage.take(step).map_err(|problem| format!("step {}, {step:?}: {problem}", number + 1))?;
    }
    stage.strike()
}

struct Stage<'a> {
    runtime: &'a (dyn Runtime + Sync),
    collector: Collector,
    journal: Place,
    launch: Launch,
    subject: Box<dyn Subject>,
    /// Numbers of the next event and metric.
    next: u64,
    metrics: u64,
    /// Ends what blocks.
    gate: Arc<Gate>,
    violations: usize,
}

enum Place {
    None,
    Redis(RedisServer),
    Files(Scratch),
    Standing(Arc<Breakable>),
}

impl<'a> Stage<'a> {
    fn set(scenario: &Scenario, runtime: &'a (dyn Runtime + Sync)) -> Result<Self, String> {
        let keys = Collector::builder().api_key(KEY);
        let collector = if runtime.is_simulated() { keys.unconnected() } else { keys.start() };
        let mut builder = AgentConfig::builder(KEY).endpoint(collector.url()).install_id("conformance");
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
        {
            builder = builder.set(name, value);
        }
        let standing = || Place::Standing(Arc::default());
        let journal = match scenario.with {
            With::Redis if runtime.is_simulated() => standing(),
            With::Redis => Place::Redis(RedisServer::start(&["appendonly yes", "appendfsync always"])),
            With::Files if runtime.is_simulated() => standing(),
            With::Files => Place::Files(Scratch::new().map_err(|error| error.to_string())?),
            With::OwnStore => standing(),
            With::Nothing | With::PanickingTransport | With::PanickingHooks | With::BlockingProcessor => {
                Place::None
            }
        };
        match &journal {
            Place::Redis(server) => builder = builder.redis_url(server.url()),
            Place::Files(scratch) => builder = builder.journal_dir(scratch.path().display().to_string()),
            Place::None | Place::Standing(_) => {}
        }
        let gate = Arc::new(Gate::default());
        let launch = Launch {
            config: builder.build().map_err(|error| error.to_string())?,
            transport: (scenario.with == With::PanickingTransport)
                .then(|| Arc::new(Panicking::default()) as Arc<dyn Transport>),
            store: match &journal {
                Place::Standing(store) => Some(Arc::<Breakable>::clone(store)),
                Place::None | Place::Redis(_) | Place::Files(_) => None,
            },
            processor: match scenario.with {
                With::PanickingHooks => Some(Arc::new(|event: SecurityEvent| {
                    assert!(number_of(&event).is_none_or(|number| number % 2 == 0), "planted");
                    Some(event)
                })),
                With::BlockingProcessor => {
                    let gate = Arc::clone(&gate);
                    Some(Arc::new(move |event| {
                        gate.pass();
                        Some(event)
                    }))
                }
                With::Nothing | With::Redis | With::Files | With::OwnStore | With::PanickingTransport => None,
            },
            panicking_hook: scenario.with == With::PanickingHooks,
            wire: runtime.is_simulated().then(|| collector.wire()),
        };
        let subject = runtime.start(launch.clone()).map_err(|error| error.to_string())?;
        Ok(Self { runtime, collector, journal, launch, subject, next: 0, metrics: 0, gate, violations: 0 })
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
                    self.subject.handle().send_metric(SecurityMetric::now(MetricType::RequestCount, value));
                }
                self.metrics += count;
            }
            Step::Event(event) => self.subject.handle().send_event(event()),
            Step::Invalid => {
                self.subject.handle().send_event(SecurityEvent::now("invalid").response_time(f64::NAN));
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
            Step::Refresh => self.subject.handle().refresh_rules(),
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
                self.subject = self.runtime.start(self.launch.clone()).map_err(|error| error.to_string())?;
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
                let health = || self.subject.handle().health();
                return self.before_long(|| health().level == level, || format!("{:?}", health()));
            }
            Step::Reason(words) => {
                let reasons = || {
                    let health = self.subject.handle().health();
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
            Step::Persisted(count) => {
                let seen = || self.subject.handle().stats().records.events.persisted;
                return self.before_long(|| seen() >= count, || seen().to_string());
            }
            Step::Pending(count) => return self.counts(|ledger| ledger.pending, count),
            Step::Delivered(count) => return self.counts(|ledger| ledger.delivered, count),
            Step::Recovered(count) => return self.counts(|ledger| ledger.recovered, count),
            Step::Dropped(reason, count) => return self.counts(|ledger| ledger.dropped[reason], count),
            Step::CountedInvalid(count) => return self.counts(|ledger| ledger.invalid, count),
            Step::DeadLetters(count) => {
                return same("dead letters", self.subject.handle().take_dead_letters().len(), count);
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
            Step::SameBatch => {
                let different: BTreeSet<_> = collector.read(|received| {
                    let tries = received.to(Endpoint::Events);
                    tries.map(|exchange| (exchange.batch_id.clone(), exchange.body_hash)).collect()
                });
                return same("different batches", different.len(), 1);
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
                self.violations = count;
                let violations = collector.violations();
                return if violations.len() >= count { Ok(()) } else { Err(format!("{violations:?}")) };
            }
        }
        Ok(())
    }

    fn counts(&self, count: impl Fn(&Ledger) -> u64, expected: u64) -> Result<(), String> {
        let seen = || count(&self.subject.handle().stats().records.events);
        self.before_long(|| seen() == expected, || seen().to_string())
    }

    /// What always holds at the end.
    fn strike(self) -> Result<(), String> {
        self.gate.open();
        let handle = self.subject.handle();
        for kind in Kind::ALL {
            let ledger = handle.stats().records[kind];
            if !ledger.balances() {
                return Err(format!("the {kind}s do not balance: {ledger:?}"));
            }
        }
        self.subject.shutdown(Duration::from_millis(200));
        let violations = self.collector.violations();
        let told = violations.len().saturating_sub(self.violations);
        if told > 0 && self.violations == 0 {
            return Err(format!("against the contract: {violations:?}"));
        }
        Ok(())
    }

    fn send(&mut self, count: u64, event_type: &str) {
        for number in self.next..self.next + count {
            self.subject.handle().send_event(event(number, event_type));
        }
        self.next += count;
    }

    /// A call that may wait: it must not take longer than it was given.
    fn timed(
        &self,
        limit: Duration,
        complete: Complete,
        call: impl FnOnce(&dyn Subject) -> Report,
        is_done: impl FnOnce(&Report) -> bool,
    ) -> Result<(), String> {
        // Generous, for the machine may be busy; but far below what anything here waits for.
        const SLACK: Duration = Duration::from_secs(5);
        let before = self.subject.now();
        let report = call(self.subject.as_ref());
        let took = self.subject.now().saturating_sub(before);
        if took > limit + SLACK {
            return Err(format!("it took {took:?}"));
        }
        same("complete", is_done(&report), complete == Complete::Yes)
            .map_err(|problem| format!("{problem}: {report:?}"))
    }

    fn before_long(&self, mut is_so: impl FnMut() -> bool, seen: impl Fn() -> String) -> Result<(), String> {
        if self.subject.until(&mut is_so) {
            Ok(())
        } else {
            Err(format!("it did not come to that: {}", seen()))
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.gate.open();
    }
}

fn in_order(received: &Received) -> Result<(), String> {
    let numbers: Vec<_> =
        received.events.iter().map(|event| event.value()["metadata"]["number"].as_u64()).collect();
    if numbers.is_sorted() { Ok(()) } else { Err(format!("{numbers:?}")) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, must: T) -> Result<(), String> {
    if is == must { Ok(()) } else { Err(format!("{what}: {is:?}, not {must:?}")) }
}

fn event(number: u64, event_type: &str) -> SecurityEvent {
    SecurityEvent::now(event_type).ip_address("192.0.2.7").metadata("number", number)
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
}

impl Panicking {
    fn attempt(&self, payload: Payload) -> BoxFuture<'_, Attempt> {
        match self.calls.fetch_add(1, Ordering::SeqCst) {
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
}

impl Store for Breakable {
    fn execute(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>> {
        if self.down.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::new(StoreErrorKind::Unreachable, "as told")) });
        }
        self.store.execute(request)
    }
}
