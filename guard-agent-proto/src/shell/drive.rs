use std::boxed::Box;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::string::{String, ToString};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec::Vec;

use futures_channel::oneshot;
use futures_util::future::{Either, FutureExt, poll_fn, select};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::handle::{Shared, Snapshot};
use super::hooks::Notices;
use super::inbox::{Control, Intake, Losses, Progress};
use super::log::{self, Log};
use super::offload::{Shortage, offload};
use super::receipt::{Promise, is_final};
use super::workbench::{Chunk, Encoded, Workbench};
use super::{AgentError, BoxFuture, Handle, Hooks, Store, Transport};
use crate::store::{StoreError, StoreErrorKind, StoreRequest};
use crate::{
    Agent, AgentConfig, AgentEvent, ByKind, ConfigError, ConfigProblem, DropReason, Encoder, ErrorStage,
    FlushId, Input, Instant, Kind, Now, Outcome, Output, OverflowPolicy, ReceiptId, Report, Request,
    TransportError, TransportErrorKind,
};

/// How long the driver leaves the inbox alone after it found something: short against the linger of
/// events (50 ms), long against a drain, so that a busy caller never has to wake anybody.
const DRAIN_INTERVAL: Duration = Duration::from_millis(10);
/// Queue length at which the driver is woken even so, since a burst must not outgrow the handover.
const URGENT_RECORDS: usize = 512;
/// Wake-ups that the driver serves before it lets the executor's other tasks run.
const BUDGET: u32 = 64;
/// Fewer promises than this are kept whether somebody waits or not.
const PROMISES: usize = 4_096;
/// Time for what is left when the application dropped every handle without a shutdown.
const ABANDONED_GRACE: Duration = Duration::from_secs(2);
/// How often a driver that panicked is started again, and after what time at first: that doubles.
const RESTARTS: u32 = 12;
const RESTART_PAUSE: Duration = Duration::from_millis(50);

/// What a runtime lends the driver.
pub trait Runtime: Send + Sync + 'static {
    /// Whether callers may be made to wait: those of an async runtime must not.
    const MAY_BLOCK: bool = false;

    /// Reads both clocks. The monotonic one must never go back.
    fn now(&self) -> Now;

    /// Ends at `deadline` or later; the driver decides by the clock.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// Starts `work`, which may block, away from the threads that run futures, and at once: dropping
    /// the future does not stop it. The future ends with the work. Where there is no thread for it, the work is dropped
    /// and the future ends; it is offered again later, or done in place.
    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// Why an agent did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchError {
    /// The configuration cannot be used.
    Config(ConfigError),
    /// The operating system gave no randomness.
    Randomness(String),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Randomness(error) => write!(f, "no randomness from the operating system: {error}"),
        }
    }
}

impl std::error::Error for LaunchError {}

impl From<ConfigError> for LaunchError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Makes an agent: its handle, and the future that drives it, for the runtime to spawn.
///
/// The future ends after a shutdown, or soon after the last handle was dropped. If it is dropped before,
/// the handles know: nothing waits for it any more, and what was not delivered is accounted for.
///
/// # Errors
///
/// The configuration cannot be used, for example because its overflow policy would block an async task.
pub fn launch<R: Runtime>(
    config: &AgentConfig,
    runtime: R,
    transport: Arc<dyn Transport>,
    store: Option<Arc<dyn Store>>,
    hooks: Hooks,
) -> Result<(Handle, impl Future<Output = ()> + Send + 'static), LaunchError> {
    let (handle, driver) = assemble(config, runtime, transport, store, hooks)?;
    Ok((handle, driver.run()))
}

fn assemble<R: Runtime>(
    config: &AgentConfig,
    runtime: R,
    transport: Arc<dyn Transport>,
    store: Option<Arc<dyn Store>>,
    hooks: Hooks,
) -> Result<(Handle, Driver<R>), LaunchError> {
    if config.buffer_overflow_policy == OverflowPolicy::Block && !R::MAY_BLOCK {
        let bound = "`drop` or `raise` on an async runtime, whose tasks must not block; to wait for room \
                     call `send_event_within` or `send_metric_within`";
        let problem = ConfigProblem {
            field: "buffer_overflow_policy",
            value: String::from("block"),
            bound: String::from(bound),
        };
        return Err(ConfigError { problems: std::vec![problem] }.into());
    }
    let mut core = Agent::new(config, store.is_some(), seed()?, runtime.now())?;
    // An application's store that panics is not named.
    let place = catch_unwind(AssertUnwindSafe(|| store.as_ref()?.place())).ok().flatten();
    place.into_iter().for_each(|place| core.name_store(place));
    let encoder = Encoder::new(config, seed()?)?;
    let shared = Arc::new(Shared::new(config, store.is_some(), Snapshot::of(&core, transport.as_ref())));
    let driver = Driver {
        presence: Presence(Arc::clone(&shared)),
        runtime: Arc::new(runtime),
        shortage: Shortage::default(),
        is_short: false,
        core,
        core_deadline: Instant::FAR_FUTURE,
        transport,
        store,
        under_way: FuturesUnordered::new(),
        urgent_records: URGENT_RECORDS.min(config.buffer_size / 2).max(1),
        intake: Intake::default(),
        next_drain: None,
        workbench: Some(Box::new(Workbench::new(encoder, hooks.processors))),
        encoding: None,
        told: ByKind::default(),
        promises: BTreeMap::new(),
        promises_at_most: PROMISES,
        news: Vec::new(),
        uncovered: Vec::new(),
        covered: Vec::new(),
        flushes: BTreeMap::new(),
        next_flush: 0,
        closing: None,
        report: None,
        answers: Vec::new(),
        notices: Notices::new(hooks.error),
        timer: None,
        log: Log::default(),
    };
    Ok((Handle::new(shared), driver))
}

fn seed() -> Result<[u8; 32], LaunchError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| LaunchError::Randomness(error.to_string()))?;
    Ok(seed)
}

/// Fresh randomness; `None` where the operating system has none any more, and what it gave at the start has to do.
pub(super) fn entropy() -> Option<[u8; 32]> {
    seed().ok()
}

/// Carries inputs to the core and its outputs into the world. It decides nothing about retry, size,
/// order or loss.
struct Driver<R> {
    /// First, so that handles learn of the end before the replies they wait for are dropped.
    presence: Presence,
    runtime: Arc<R>,
    /// What waits for a thread of the runtime, and whether that was reported.
    shortage: Shortage,
    is_short: bool,
    core: Agent,
    core_deadline: Instant,
    transport: Arc<dyn Transport>,
    store: Option<Arc<dyn Store>>,
    /// Requests and store operations, each ending in the core's input.
    under_way: FuturesUnordered<BoxFuture<'static, Input>>,

    urgent_records: usize,
    intake: Intake,
    /// When to look into the inbox again; `None` when the next record wakes the driver.
    next_drain: Option<Instant>,
    /// Away while `encoding`.
    workbench: Option<Box<Workbench>>,
    encoding: Option<Offloaded>,
    told: ByKind<Losses>,
    /// Of records that the core holds and somebody waits for.
    promises: BTreeMap<ReceiptId, Promise>,
    /// Their number at which those that nobody waits for are let go: a backlog in a journal may be long, and
    /// most who wait do so for durability.
    promises_at_most: usize,
    /// Told once the statistics that go with it are published.
    news: Vec<(ReceiptId, Outcome)>,

    /// Controls whose preceding records may still be in the inbox.
    uncovered: Vec<Control>,
    /// Controls whose preceding records were taken out of it.
    covered: Vec<Control>,
    flushes: BTreeMap<FlushId, (oneshot::Sender<Report>, ByKind<usize>)>,
    next_flush: u64,
    /// Who asked for the shutdown, once one was asked for.
    closing: Option<Vec<oneshot::Sender<Report>>>,
    /// How the shutdown ended.
    report: Option<Report>,
    /// Given once the statistics that go with them are published.
    answers: Vec<(oneshot::Sender<Report>, Report)>,

    notices: Notices,
    timer: Option<(Instant, BoxFuture<'static, ()>)>,
    log: Log,
}

/// Records on their way through processors that may block.
struct Offloaded {
    records: ByKind<usize>,
    result: BoxFuture<'static, Option<(Box<Workbench>, Encoded)>>,
}

/// How the work of a driver ends.
enum Work {
    /// With a report.
    Done,
    /// The runtime ends, and does not do what it was asked for.
    Refused,
}

enum Wake {
    /// Look around: a deadline passed, or the inbox calls.
    Look {
        inbox: bool,
    },
    Ended(Input),
    Encoded(Option<(Box<Workbench>, Encoded)>),
}

impl<R: Runtime> Driver<R> {
    async fn run(mut self) {
        let mut restarts = 0;
        let why = loop {
            // What was being done is left; the core takes any input after any other.
            match AssertUnwindSafe(self.work()).catch_unwind().await {
                Ok(Work::Done) => return self.finish().await,
                Ok(Work::Refused) => break "its runtime does not do what it was asked for",
                Err(_) if restarts < RESTARTS => self.restart(restarts).await,
                Err(_) => break "it panicked again and again",
            }
            restarts += 1;
        };
        self.give_up(why);
    }

    /// Goes on after a panic, with what is there.
    async fn restart(&mut self, restarts: u32) {
        let message = "the agent's driver panicked, see the message on standard error; it goes on";
        self.notices.error(AgentError::new(ErrorStage::Runtime, message));
        self.timer = None;
        let pause = async {
            let until = self.runtime.now().instant + RESTART_PAUSE * 2_u32.pow(restarts);
            tracing::error!(target: "guard_agent", restarts, "{message}");
            self.runtime.sleep_until(until).await;
        };
        // What cannot be logged, or waited for, was the reason perhaps: it goes on all the same.
        let _ = AssertUnwindSafe(pause).catch_unwind().await;
    }

    /// Ends a driver that cannot go on, and says so in every way there is: the application may have no other sign.
    fn give_up(self, why: &str) {
        let Self { presence, notices, .. } = self;
        drop(presence);
        let message = std::format!("the agent's driver has ended, and nothing is delivered any more: {why}");
        let error = AgentError::new(ErrorStage::Runtime, message);
        notices.error_at_once(&error);
        tracing::error!(target: "guard_agent", "{}", error.message);
    }

    async fn work(&mut self) -> Work {
        self.perform();
        let mut budget = BUDGET;
        let mut inbox_calls = true;
        while self.report.is_none() {
            self.take_in(inbox_calls);
            self.publish();
            if self.report.is_some() {
                break;
            }
            let mut waited = false;
            let wake = poll_fn(|cx| {
                let wake = if budget == 0 {
                    self.poll_yield(&mut waited, cx)
                } else {
                    self.poll_wake(&mut waited, cx)
                };
                budget = if wake.is_pending() { BUDGET } else { budget.saturating_sub(1) };
                wake
            });
            inbox_calls = false;
            match wake.await {
                Wake::Look { inbox } => inbox_calls = inbox,
                Wake::Ended(input) => self.step(input),
                Wake::Encoded(Some((workbench, encoded))) => {
                    self.encoding = None;
                    self.workbench = Some(workbench);
                    self.hand_over(encoded);
                }
                Wake::Encoded(None) => return Work::Refused,
            }
            self.report_shortage();
            if self.runtime.now().instant >= self.core_deadline {
                self.step(Input::Timeout);
            }
        }
        Work::Done
    }

    /// Reports once that threads are lacking, and that they are not any more.
    fn report_shortage(&mut self) {
        let is_short = self.shortage.is_felt();
        if is_short == self.is_short {
            return;
        }
        self.is_short = is_short;
        if is_short {
            let message = "there is no thread for processors and hooks: they wait until there is one";
            let error = AgentError::new(ErrorStage::Runtime, message);
            self.log.error(self.runtime.now().instant, &error);
            self.notices.error(error);
        } else {
            tracing::info!(target: "guard_agent", "there are threads for processors and hooks again");
        }
    }

    /// Lets other tasks run before looking around.
    fn poll_yield(&self, waited: &mut bool, cx: &Context<'_>) -> Poll<Wake> {
        if mem::replace(waited, true) {
            return Poll::Ready(Wake::Look { inbox: false });
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_wake(&mut self, waited: &mut bool, cx: &mut Context<'_>) -> Poll<Wake> {
        self.notices.poll(&self.runtime, &self.shortage, &self.presence.0.subscribers, cx);
        if let Some(offloaded) = &mut self.encoding
            && let Poll::Ready(done) = offloaded.result.as_mut().poll(cx)
        {
            return Poll::Ready(Wake::Encoded(done));
        }
        if let Poll::Ready(Some(input)) = self.under_way.poll_next_unpin(cx) {
            return Poll::Ready(Wake::Ended(input));
        }
        if self.shortage.is_felt() != self.is_short {
            return Poll::Ready(Wake::Look { inbox: false });
        }
        let wake_at = match (self.is_encoding(), self.next_drain) {
            (true, _) => usize::MAX,
            (false, Some(_)) => self.urgent_records,
            (false, None) => 1,
        };
        if self.presence.0.inbox.poll_ready(wake_at, cx).is_ready() {
            return Poll::Ready(Wake::Look { inbox: true });
        }
        if self.poll_timer(cx).is_ready() {
            return Poll::Ready(Wake::Look { inbox: false });
        }
        if self.encoding.is_none() && !self.intake.is_empty() {
            return self.poll_yield(waited, cx);
        }
        Poll::Pending
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.next_deadline();
        if deadline == Instant::FAR_FUTURE {
            self.timer = None;
            return Poll::Pending;
        }
        loop {
            if self.runtime.now().instant >= deadline {
                return Poll::Ready(());
            }
            let timer = match &mut self.timer {
                Some((at, timer)) if *at == deadline => timer,
                timer => &mut timer.insert((deadline, self.runtime.sleep_until(deadline))).1,
            };
            match timer.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                // Whether it was early, the clock tells.
                Poll::Ready(()) => self.timer = None,
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let drain = if self.is_encoding() { None } else { self.next_drain };
        let controls = self.uncovered.iter().chain(&self.covered).filter_map(Control::deadline);
        controls.chain(drain).fold(self.core_deadline, Instant::min)
    }

    fn is_encoding(&self) -> bool {
        self.encoding.is_some() || !self.intake.is_empty()
    }

    /// Takes controls and records from the inbox and moves the records on towards the core.
    ///
    /// A control takes effect after every record that was accepted before it, or when its deadline
    /// comes and a processor still sits on those records.
    fn take_in(&mut self, inbox_calls: bool) {
        self.uncovered.extend(self.presence.0.inbox.take_controls());
        if !self.is_encoding() {
            self.apply_covered();
            let now = self.runtime.now().instant;
            if inbox_calls || !self.uncovered.is_empty() || self.next_drain.is_none_or(|at| now >= at) {
                self.drain(now);
            }
        }
        if self.encoding.is_none() && !self.intake.is_empty() {
            self.encode();
        }
        if !self.is_encoding() {
            self.apply_covered();
        }
        self.apply_overdue();
    }

    fn drain(&mut self, now: Instant) {
        self.presence.0.inbox.drain(&mut self.intake);
        self.covered.append(&mut self.uncovered);
        self.next_drain = (!self.intake.is_empty()).then(|| now + DRAIN_INTERVAL);
        for kind in Kind::ALL {
            let known = mem::replace(&mut self.told[kind], self.intake.losses[kind]);
            let overflow = self.intake.losses[kind].overflow - known.overflow;
            if overflow > 0 {
                self.step(Input::Lost { kind, reason: DropReason::Overflow, count: overflow });
            }
            let invalid = self.intake.losses[kind].invalid - known.invalid;
            if invalid > 0 {
                self.step(Input::Invalid { kind, count: invalid });
            }
        }
    }

    /// Encodes the next few records: here, or, where processors of the application may block or a record is very large,
    /// where long work goes.
    fn encode(&mut self) {
        let Some(mut workbench) = self.workbench.take() else { return };
        let chunk = Chunk::take(&mut self.intake);
        if !workbench.has_processors() && !chunk.is_long() {
            let encoded = workbench.encode(chunk);
            self.workbench = Some(workbench);
            return self.hand_over(encoded);
        }
        let records = chunk.len();
        let may_block = workbench.has_processors();
        let (give, take) = oneshot::channel();
        let encode = move || {
            let encoded = workbench.encode(chunk);
            // Nobody takes it when the driver is gone.
            let _ = give.send((workbench, encoded));
        };
        let work = if may_block {
            self.shortage.insist(&self.runtime, encode)
        } else {
            let runtime = Arc::clone(&self.runtime);
            let attempt = offload(move |job| runtime.offload(job), encode);
            // What only takes long is done here where there is no thread.
            Box::pin(attempt.map(|done| done.unwrap_or_else(|encode| encode())))
        };
        let result = Box::pin(async move {
            work.await;
            take.await.ok()
        });
        self.encoding = Some(Offloaded { records, result });
    }

    fn hand_over(&mut self, encoded: Encoded) {
        self.promises.extend(encoded.promises);
        if self.promises.len() >= self.promises_at_most {
            self.promises.retain(|_, promise| !promise.is_abandoned());
            self.promises_at_most = PROMISES.max(self.promises.len() * 2);
        }
        self.news.extend(encoded.news);
        if !encoded.records.is_empty() {
            self.step(Input::Records(encoded.records));
        }
        for kind in Kind::ALL {
            for (reason, count) in encoded.lost[kind].iter().filter(|(_, count)| *count > 0) {
                self.step(Input::Lost { kind, reason, count });
            }
        }
    }

    fn apply_covered(&mut self) {
        for control in mem::take(&mut self.covered) {
            self.apply(control);
        }
    }

    fn apply_overdue(&mut self) {
        let now = self.runtime.now().instant;
        let overdue = |control: &mut Control| control.deadline().is_some_and(|deadline| deadline <= now);
        let mut due: Vec<_> = self.covered.extract_if(.., overdue).collect();
        due.extend(self.uncovered.extract_if(.., overdue));
        for control in due {
            self.apply(control);
        }
    }

    fn apply(&mut self, control: Control) {
        match control {
            Control::Flush { deadline, reply } => {
                let id = self.await_flush(reply);
                self.step(Input::Flush { id, deadline });
            }
            Control::Persist { deadline, reply } => {
                let id = self.await_flush(reply);
                self.step(Input::Persist { id, deadline });
            }
            Control::Shutdown { deadline, reply } => match &mut self.closing {
                Some(asked) => asked.push(reply),
                None => {
                    self.closing = Some(std::vec![reply]);
                    self.step(Input::Shutdown { deadline });
                }
            },
            Control::Abandon if self.closing.is_some() => {}
            Control::Abandon => {
                self.closing = Some(Vec::new());
                let deadline = self.runtime.now().instant + ABANDONED_GRACE;
                self.step(Input::Shutdown { deadline });
            }
            Control::RefreshRules => self.step(Input::RefreshRules),
            Control::CredentialsChanged => self.step(Input::CredentialsChanged),
        }
    }

    fn await_flush(&mut self, reply: oneshot::Sender<Report>) -> FlushId {
        let id = FlushId::from_u64(self.next_flush);
        self.next_flush += 1;
        self.flushes.insert(id, (reply, self.transit()));
        id
    }

    fn step(&mut self, input: Input) {
        let now = self.runtime.now();
        // After the clock was read: whatever a clone of the machine does differently from here on, it draws otherwise.
        if let Some(entropy) = entropy() {
            self.core.reseed(entropy);
        }
        self.core.handle_input(now, input);
        self.perform();
    }

    /// Does what the core wants done, until it wants nothing.
    fn perform(&mut self) {
        loop {
            match self.core.poll_output() {
                Output::Send(request) => self.under_way.push(self.send(request)),
                Output::Store(request) => self.under_way.push(self.store(request)),
                Output::Event(event) => self.tell(event),
                Output::Closed(report) => self.report = Some(report),
                Output::Idle { deadline, .. } => {
                    self.core_deadline = deadline;
                    return;
                }
            }
        }
    }

    fn send(&self, Request { id, payload, timeout }: Request) -> BoxFuture<'static, Input> {
        let transport = Arc::clone(&self.transport);
        let limit = self.limit(timeout);
        Box::pin(async move {
            let peer = transport.peer().map_or_else(String::new, |peer| std::format!(" ({peer})"));
            let attempt = AssertUnwindSafe(async move { transport.send(payload).await }).catch_unwind();
            let result = match select(pin!(attempt), limit).await {
                Either::Left((Ok(result), _)) => result,
                Either::Left((Err(_), _)) => Err(TransportError::new(
                    TransportErrorKind::Panicked,
                    "see the message of the panic on standard error",
                )),
                Either::Right(_) => Err(TransportError::new(
                    TransportErrorKind::Timeout,
                    std::format!("no answer within {timeout:?}{peer}"),
                )),
            };
            Input::Response { id, result }
        })
    }

    /// Ends after that time, or at once where the runtime has no timer any more: what was asked for has an answer always.
    fn limit(&self, time: Duration) -> BoxFuture<'static, ()> {
        let (runtime, until) = (Arc::clone(&self.runtime), self.runtime.now().instant + time);
        let slept = AssertUnwindSafe(async move { runtime.sleep_until(until).await }).catch_unwind();
        Box::pin(async move {
            // A panic is the end, too.
            let _ = slept.await;
        })
    }

    fn store(&self, request: StoreRequest) -> BoxFuture<'static, Input> {
        let (id, timeout) = (request.id, request.timeout);
        let store = self.store.clone();
        let limit = self.limit(timeout);
        Box::pin(async move {
            let attempt = AssertUnwindSafe(async move {
                match store {
                    Some(store) => store.execute(request).await,
                    None => Err(StoreError::new(StoreErrorKind::Unreachable, "there is no store")),
                }
            });
            let result = match select(pin!(attempt.catch_unwind()), limit).await {
                Either::Left((Ok(result), _)) => result,
                Either::Left((Err(_), _)) => {
                    Err(StoreError::new(StoreErrorKind::Other, "the store panicked"))
                }
                Either::Right(_) => Err(StoreError::new(
                    StoreErrorKind::TimedOut,
                    std::format!("no answer within {timeout:?}"),
                )),
            };
            Input::StoreReply { id, result }
        })
    }

    fn tell(&mut self, event: AgentEvent) {
        let now = self.runtime.now().instant;
        match event {
            AgentEvent::Rules(rules) => {
                log::rules(rules.as_deref());
                self.notices.rules(rules);
            }
            AgentEvent::Health(health) => self.log.health(now, &health),
            AgentEvent::Error { stage, message } => {
                let error = AgentError::new(stage, message);
                self.log.error(now, &error);
                self.notices.error(error);
            }
            AgentEvent::Notice(message) => log::notice(&message),
            AgentEvent::Receipt { id, outcome } => self.news.push((id, outcome)),
            AgentEvent::Flushed { id, mut report } => {
                if let Some((reply, withheld)) = self.flushes.remove(&id) {
                    for kind in Kind::ALL {
                        report.pending[kind] += withheld[kind] as u64;
                    }
                    self.answers.push((reply, report));
                }
            }
        }
    }

    /// Records taken from the inbox that the core does not know yet.
    fn transit(&self) -> ByKind<usize> {
        let away = self.encoding.as_ref().map(|offloaded| offloaded.records).unwrap_or_default();
        ByKind {
            events: self.intake.events.len() + away.events,
            metrics: self.intake.metrics.len() + away.metrics,
        }
    }

    fn publish(&mut self) {
        let shared = &self.presence.0;
        shared.keep_dead_letters(self.core.take_dead_letters());
        let snapshot = Arc::new(Snapshot::of(&self.core, self.transport.as_ref()));
        let progress = Progress { snapshot, transit: self.transit(), told: self.told };
        shared.inbox.publish(progress, &self.intake);
        for (id, outcome) in self.news.drain(..) {
            if let Some(promise) = self.promises.get(&id) {
                promise.tell(outcome);
            }
            if is_final(outcome) {
                self.promises.remove(&id);
            }
        }
        for (reply, report) in self.answers.drain(..) {
            // Nobody may wait any more.
            let _ = reply.send(report);
        }
    }

    async fn finish(mut self) {
        self.publish();
        self.presence.0.inbox.close(true);
        log::ended(&self.presence.0.inbox.stats());
        // Who waits for a receipt knows by the time the shutdown is reported.
        self.promises.clear();
        self.intake = Intake::default();
        self.notices.finish(&self.runtime, &self.shortage, &self.presence.0.subscribers).await;
        let report = self.report.unwrap_or_default();
        let flushes = mem::take(&mut self.flushes).into_values().map(|(reply, _)| reply);
        for reply in flushes.chain(self.closing.take().into_iter().flatten()) {
            // Nobody may wait any more.
            let _ = reply.send(report);
        }
    }
}

impl Control {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Flush { deadline, .. }
            | Self::Persist { deadline, .. }
            | Self::Shutdown { deadline, .. } => Some(*deadline),
            Self::RefreshRules | Self::CredentialsChanged | Self::Abandon => None,
        }
    }
}

impl Snapshot {
    fn of(core: &Agent, transport: &dyn Transport) -> Self {
        let mut stats = core.stats();
        // A getter of the application's that panics costs this figure and nothing else.
        stats.bytes_sent = catch_unwind(AssertUnwindSafe(|| transport.bytes_sent())).unwrap_or(0);
        Self { stats, status: core.status(), pressure: core.pressure(), rules: core.rules().cloned() }
    }
}

/// The driver's presence, as the handles see it: it ends with the driver, however that ends.
struct Presence(Arc<Shared>);

impl Drop for Presence {
    fn drop(&mut self) {
        if !self.0.inbox.close(false) {
            return;
        }
        let records = self.0.inbox.stats().records;
        let lost: u64 = Kind::ALL.iter().map(|kind| records[*kind].dropped[DropReason::Closed]).sum();
        if lost > 0 {
            // Perhaps while a panic unwinds: a second one would end the program.
            let _ = catch_unwind(|| {
                tracing::error!(target: "guard_agent", lost, "the driver ended before the records were delivered");
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Attempt;
    use crate::{AgentStatus, Batch, Timestamp};

    /// A runtime on which no time passes.
    struct Still;

    impl Still {
        const NOW: Now = Now { instant: Instant::ZERO, wall: Timestamp::from_unix_micros(0) };
    }

    impl Runtime for Still {
        fn now(&self) -> Now {
            Self::NOW
        }

        fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }

        fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
            Box::pin(async { work() })
        }
    }

    impl Transport for Still {
        fn send_events(&self, _: Arc<Batch>) -> BoxFuture<'_, Attempt> {
            Box::pin(std::future::pending())
        }

        fn send_metrics(&self, _: Arc<Batch>) -> BoxFuture<'_, Attempt> {
            Box::pin(std::future::pending())
        }

        fn send_status(&self, _: Arc<AgentStatus>) -> BoxFuture<'_, Attempt> {
            Box::pin(std::future::pending())
        }

        fn fetch_rules(&self, _: Option<Arc<str>>) -> BoxFuture<'_, Attempt> {
            Box::pin(std::future::pending())
        }
    }

    /// Else clones of a machine would draw the same for different records.
    #[test]
    fn each_input_comes_with_fresh_randomness() {
        let config = AgentConfig::builder("0123456789").build().unwrap();
        let assembled = assemble(&config, Still, Arc::new(Still), None, Hooks::default());
        let (_handle, mut driver) = assembled.unwrap_or_else(|error| panic!("{error}"));
        driver.step(Input::Timeout);
        let before = driver.core.next_random();
        driver.core.handle_input(Still::NOW, Input::Timeout);
        assert_eq!(driver.core.next_random(), before, "the input itself draws nothing");
        let mut drawn = std::collections::BTreeSet::from([before]);
        for _ in 0..4 {
            driver.step(Input::Timeout);
            assert!(drawn.insert(driver.core.next_random()));
        }
    }
}
