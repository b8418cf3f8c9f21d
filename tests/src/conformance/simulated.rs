use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_channel::oneshot;
use futures_executor::LocalPool;
use futures_util::task::LocalSpawnExt as _;
use guard_agent_proto::shell::http::{HttpAnswer, HttpClient, HttpFailure, HttpSetup};
use guard_agent_proto::shell::{
    self, Backend, BoxFuture, Handle, HttpError, Runtime as AgentRuntime, StartError, TrySendErrorKind,
};
use guard_agent_proto::wire::{Credentials, HttpRequest};
use guard_agent_proto::{
    ByKind, ConfigError, Instant, Now, Report, SecurityEvent, Timestamp, TransportErrorKind,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};

use super::wrongs::{Client, Meddler};
use super::{Launch, Runtime, Subject};
use crate::collector::{Delivered, PlainAnswer, Wire};

/// Time that only passes when everybody waits, and a platform without sockets between.
#[derive(Clone, Copy, Debug, Default)]
pub struct Simulated;

/// Longer than anything takes on virtual time, and shorter than what a wrong agent may wait.
const LONGEST: Duration = Duration::from_secs(40);
/// As much of an answer as a client reads before it sees that it has no end.
const ENOUGH: usize = 64 << 10;
/// Wall clock at the start: 2026-01-01.
const EPOCH: i64 = 1_767_225_600_000_000;

impl Runtime for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn start(&self, launch: Launch) -> Result<Box<dyn Subject>, StartError> {
        let pool = RefCell::new(LocalPool::new());
        let spawner = pool.borrow().spawner();
        let time = Time::default();
        let Some(network) = launch.network.clone() else { return Err(StartError::NoRuntime) };
        let timeout = launch.config.timeout;
        WORLD.set(Some(World { time: time.clone(), network, timeout }));
        let agent = launch.builder::<World>().start_with(|driver| {
            // The pool is there.
            let _ = spawner.spawn_local(driver);
        })?;
        Ok(Box::new(InSimulation { agent, pool, time }))
    }
}

thread_local! {
    /// The one in which the agent is that this thread is about to start.
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// What can be reached.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) platform: Wire,
    /// Where redirects lead.
    pub(super) elsewhere: Wire,
    /// Of a client that is wrong in a way.
    pub(super) meddler: Option<Meddler>,
}

#[derive(Clone)]
struct World {
    time: Time,
    network: Network,
    timeout: Duration,
}

/// Virtual time, and who waits for it.
#[derive(Clone, Default)]
struct Time(Arc<Mutex<Clock>>);

#[derive(Default)]
struct Clock {
    now: Instant,
    waiting: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

impl Time {
    fn now(&self) -> Instant {
        self.clock().now
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send + use<> {
        let time = self.clone();
        poll_fn(move |cx| {
            let mut clock = time.clock();
            if clock.now >= deadline {
                return Poll::Ready(());
            }
            clock.next += 1;
            let place = (deadline, clock.next);
            clock.waiting.insert(place, cx.waker().clone());
            Poll::Pending
        })
    }

    /// Lets time pass until the next for whom it matters, but not beyond `limit`. False if nobody waits until then.
    fn pass(&self, limit: Instant) -> bool {
        let mut clock = self.clock();
        let next = clock.waiting.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= limit);
        let Some(next) = next else {
            clock.now = clock.now.max(limit);
            return false;
        };
        clock.now = clock.now.max(next);
        let mut due = Vec::new();
        while let Some(first) = clock.waiting.first_entry().filter(|first| first.key().0 <= next) {
            due.push(first.remove());
        }
        drop(clock);
        due.into_iter().for_each(Waker::wake);
        true
    }
}

impl AgentRuntime for World {
    fn now(&self) -> Now {
        let instant = self.time.now();
        let wall = EPOCH.saturating_add_unsigned(instant.as_micros());
        Now { instant, wall: Timestamp::from_unix_micros(wall) }
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(self.time.sleep_until(deadline))
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        offload(work)
    }
}

/// On a thread of its own, as elsewhere, because it may block. What does not takes no time.
fn offload(work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
    // Real time: long enough for a machine that is busy.
    const AT_ONCE: Duration = Duration::from_secs(3);
    let (done, wait) = oneshot::channel();
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let ended = ended;
        let _ = catch_unwind(AssertUnwindSafe(work));
        // Nobody may wait for these any more. Virtual time goes on with the second one.
        let _ = done.send(());
        let _ = ended.send(());
    });
    let _ = end.recv_timeout(AT_ONCE);
    Box::pin(async move {
        let _ = wait.await;
    })
}

impl Backend for World {
    type Client = SimulatedClient;
    type Agent = shell::Agent<Self>;

    fn current() -> Result<Self, StartError> {
        WORLD.with_borrow(Clone::clone).ok_or(StartError::NoRuntime)
    }

    fn spawn(&self, _driver: BoxFuture<'static, ()>) -> Result<(), StartError> {
        Err(StartError::NoRuntime)
    }
}

struct SimulatedClient(World);

impl HttpClient for SimulatedClient {
    fn crypto() -> CryptoProvider {
        aws_lc_rs::default_provider()
    }

    fn new(_setup: &HttpSetup) -> Result<Self, HttpError> {
        let world = WORLD.with_borrow(Clone::clone);
        world.map(Self).ok_or_else(|| HttpError::Tls("there is no world".into()))
    }

    async fn exchange(&self, mut request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        let Some(meddler) = &self.0.network.meddler else {
            return self.attempt(&request).await.map(response);
        };
        meddler.on_request(&mut request);
        if meddler.client() == Some(Client::TellsNoStatus) && request.url.ends_with("/status") {
            return Ok(response(PlainAnswer { status: 201, ..PlainAnswer::default() }));
        }
        let mut answer = self.attempt(&request).await;
        if meddler.client() == Some(Client::SendsTwice) {
            answer = self.attempt(&request).await;
        }
        while meddler.client() == Some(Client::RepeatsStatus)
            && request.url.ends_with("/status")
            && answer.as_ref().is_ok_and(|answer| answer.status >= 400)
            && self.0.time.now() < Instant::ZERO + LONGEST
        {
            answer = self.attempt(&request).await;
        }
        meddler.on_answer(&request, &mut answer);
        answer.map(response)
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        // What encodes does not block.
        work();
        Box::pin(async {})
    }
}

/// An answer as a client reads it.
fn response(plain: PlainAnswer) -> HttpAnswer {
    let headers = plain.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let mut answer = HttpAnswer::new(plain.status, headers);
    answer.push(&plain.body);
    answer
}

impl SimulatedClient {
    async fn attempt(&self, request: &HttpRequest) -> Result<PlainAnswer, HttpFailure> {
        let World { time, network, timeout } = &self.0;
        let wrong = network.meddler.as_ref().and_then(Meddler::client);
        let deadline = time.now() + *timeout;
        let way = Duration::from_millis(1);
        time.sleep_until(time.now() + way).await;
        let now = || time.now().since(Instant::ZERO);
        let lost = |kind, cause: &str| Err(HttpFailure::Failed(kind, cause.to_owned()));
        let mut delivered = network.platform.deliver(request, now());
        if wrong == Some(Client::FollowsRedirects)
            && matches!(&delivered, Delivered::Answered { answer, .. } if answer.status / 100 == 3)
            && request.method == "POST"
        {
            delivered = network.elsewhere.deliver(request, now());
        }
        match delivered {
            Delivered::Refused => lost(TransportErrorKind::Connect, "connection refused"),
            Delivered::Broken(kind) => lost(kind, "the connection broke"),
            Delivered::Silence => {
                time.sleep_until(deadline).await;
                Err(HttpFailure::TimedOut)
            }
            Delivered::Endless { headers_end } => {
                let all = wrong == Some(Client::ReadsToTheEnd);
                network.platform.read_on(if all { usize::MAX } else { ENOUGH });
                if headers_end {
                    return Ok(PlainAnswer {
                        status: 200,
                        body: vec![b'x'; ENOUGH],
                        ..PlainAnswer::default()
                    });
                }
                lost(TransportErrorKind::Protocol, "headers without end")
            }
            Delivered::Answered { answer, after } => {
                let at = time.now() + after + way;
                time.sleep_until(at.min(deadline)).await;
                if at > deadline { Err(HttpFailure::TimedOut) } else { Ok(answer) }
            }
        }
    }
}

struct InSimulation {
    agent: shell::Agent<World>,
    pool: RefCell<LocalPool>,
    time: Time,
}

impl InSimulation {
    /// Lives until the future has ended.
    fn live<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Option<T> {
        let result: Rc<Cell<Option<T>>> = Rc::default();
        let give = Rc::clone(&result);
        let spawner = self.pool.borrow().spawner();
        let spawned = spawner.spawn_local(async move { give.set(Some(future.await)) });
        spawned.ok()?;
        let mut ended = None;
        self.live_until(&mut || {
            ended = result.take();
            ended.is_some()
        });
        ended
    }

    fn live_until(&self, is_so: &mut dyn FnMut() -> bool) -> bool {
        let limit = self.time.now() + LONGEST;
        loop {
            self.pool.borrow_mut().run_until_stalled();
            if is_so() {
                return true;
            }
            if !self.time.pass(limit) {
                return false;
            }
        }
    }
}

/// The report of a call that does not end: an empty one would count as a success.
fn unfinished() -> Report {
    let mut report = Report::default();
    report.pending = ByKind { events: u64::MAX, metrics: u64::MAX };
    report
}

impl Subject for InSimulation {
    fn handle(&self) -> &Handle {
        &self.agent
    }

    /// Nothing else happens on virtual time.
    fn slack(&self) -> Duration {
        Duration::ZERO
    }

    fn flush(&self, timeout: Duration) -> Report {
        self.live(self.agent.flush(timeout)).unwrap_or_else(unfinished)
    }

    fn persist(&self, timeout: Duration) -> Report {
        self.live(self.agent.persist(timeout)).unwrap_or_else(unfinished)
    }

    fn shutdown(&self, timeout: Duration) -> Report {
        self.live(self.agent.shutdown(timeout)).unwrap_or_else(unfinished)
    }

    fn send_event_within(&self, event: SecurityEvent, timeout: Duration) -> Result<(), TrySendErrorKind> {
        let agent = self.agent.clone();
        let sent = self
            .live(async move { agent.send_event_within(event, timeout).await.map_err(|error| error.kind) });
        sent.unwrap_or(Err(TrySendErrorKind::Closed))
    }

    fn rotate(&self, credentials: Credentials) -> Result<(), ConfigError> {
        self.agent.rotate_credentials(credentials)
    }

    fn until(&self, is_so: &mut dyn FnMut() -> bool) -> bool {
        self.live_until(is_so)
    }

    fn pause(&self, time: Duration) {
        let end = self.time.now() + time;
        loop {
            self.pool.borrow_mut().run_until_stalled();
            if !self.time.pass(end) {
                self.pool.borrow_mut().run_until_stalled();
                return;
            }
        }
    }

    fn now(&self) -> Duration {
        self.time.now().since(Instant::ZERO)
    }
}

impl fmt::Debug for InSimulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.agent.fmt(f)
    }
}
