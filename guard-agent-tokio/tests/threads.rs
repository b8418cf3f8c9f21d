//! An agent whose runtime has no thread, or no timer, when it is asked for one.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guard_agent_tokio::shell::http::{HttpAnswer, HttpClient, HttpFailure, HttpSetup, HttpTransport};
use guard_agent_tokio::shell::{Handle, Hooks, Runtime, launch, wall_clock};
use guard_agent_tokio::wire::HttpRequest;
use guard_agent_tokio::{
    AgentConfig, AgentError, BoxFuture, CaptureTransport, Endpoint, ErrorStage, HealthReason, HttpError,
    HttpOptions, Instant, Now, SecurityEvent, StatusLevel, Transport, TransportError, TransportErrorKind,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio::time::{sleep, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

/// What a runtime does that has no thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Nothing,
    Drops,
    Panics,
}

/// The virtual time of a tokio runtime, with threads and timers that may be lacking.
#[derive(Clone)]
struct Poor {
    zero: tokio::time::Instant,
    lack: Arc<Mutex<Lack>>,
    /// How often it was asked for a thread.
    asked: Arc<AtomicUsize>,
    /// How many timers panic.
    broken_timers: Arc<AtomicUsize>,
}

impl Poor {
    fn new() -> Self {
        Self {
            zero: tokio::time::Instant::now(),
            lack: Arc::new(Mutex::new(Lack::Nothing)),
            asked: Arc::default(),
            broken_timers: Arc::default(),
        }
    }

    fn lack(&self, lack: Lack) {
        *self.lack.lock().unwrap() = lack;
    }

    fn start(&self, transport: Arc<dyn Transport>, hooks: Hooks) -> Handle {
        let config = AgentConfig::builder("key-of-the-tests").build().unwrap();
        let (handle, driver) = launch(&config, self.clone(), transport, None, hooks).unwrap();
        tokio::spawn(driver);
        handle
    }
}

impl Runtime for Poor {
    fn now(&self) -> Now {
        Now { instant: Instant::ZERO + self.zero.elapsed(), wall: wall_clock() }
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let left = self.broken_timers.load(Ordering::SeqCst);
        if left > 0 {
            self.broken_timers.store(left - 1, Ordering::SeqCst);
            panic!("planted: no timer");
        }
        Box::pin(sleep_until(self.zero + deadline.since(Instant::ZERO)))
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let lack = *self.lack.lock().unwrap();
        match lack {
            Lack::Nothing => work(),
            Lack::Drops => drop(work),
            Lack::Panics => panic!("planted: no thread"),
        }
        Box::pin(ready(()))
    }
}

/// Hooks that write down each error, and a processor.
fn hooks(errors: &Arc<Mutex<Vec<AgentError>>>, processor: bool) -> Hooks {
    let mut hooks = Hooks::new();
    let told = Arc::clone(errors);
    hooks.on_error(move |error| told.lock().unwrap().push(error.clone()));
    if processor {
        hooks.event_processor(|event| Some(event.handler_name("processed")));
    }
    hooks
}

fn of_runtime(errors: &Mutex<Vec<AgentError>>) -> usize {
    errors.lock().unwrap().iter().filter(|error| error.stage == ErrorStage::Runtime).count()
}

#[tokio::test(start_paused = true)]
async fn what_a_processor_is_to_see_waits_for_a_thread_without_a_busy_loop() {
    for lack in [Lack::Drops, Lack::Panics] {
        let (runtime, errors) = (Poor::new(), Arc::default());
        let transport = CaptureTransport::new();
        let agent = runtime.start(Arc::new(transport.clone()), hooks(&errors, true));
        runtime.lack(lack);
        for _ in 0..300 {
            agent.send_event(SecurityEvent::now("ip_banned"));
        }
        sleep(12 * SECOND).await;
        assert_eq!((transport.events().len(), of_runtime(&errors)), (0, 0), "{lack:?}");
        let asked = runtime.asked.load(Ordering::SeqCst);
        assert!((8..=40).contains(&asked), "asked {asked} times in 12 s");
        let ledger = agent.stats().records.events;
        assert!(ledger.balances() && ledger.pending == 300, "{ledger:?}");

        runtime.lack(Lack::Nothing);
        sleep(5 * SECOND).await;
        let sent = transport.events();
        assert_eq!((sent.len(), of_runtime(&errors)), (300, 1), "{lack:?}");
        assert!(sent.iter().all(|event| event.handler_name.as_deref() == Some("processed")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_has_no_thread_holds_up_no_delivery_and_is_called_later() {
    for lack in [Lack::Drops, Lack::Panics] {
        let (runtime, errors) = (Poor::new(), Arc::default());
        let transport = CaptureTransport::new();
        for _ in 0..3 {
            let failure = TransportError::new(TransportErrorKind::Connect, "planted");
            transport.push_answer(Endpoint::Events, Err(failure));
        }
        let agent = runtime.start(Arc::new(transport.clone()), hooks(&errors, false));
        runtime.lack(lack);
        for _ in 0..1_500 {
            agent.send_event(SecurityEvent::now("ip_banned"));
        }
        sleep(60 * SECOND).await;
        assert_eq!((transport.events().len(), errors.lock().unwrap().len()), (1_500, 0), "{lack:?}");

        runtime.lack(Lack::Nothing);
        sleep(2 * SECOND).await;
        assert_eq!(of_runtime(&errors), 1, "{errors:?}");
        assert!(errors.lock().unwrap().iter().any(|error| error.stage == ErrorStage::TransportSend));
        assert_eq!(agent.health().level, StatusLevel::Healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_goes_on_and_says_so() {
    let (runtime, errors) = (Poor::new(), Arc::default());
    let transport = CaptureTransport::new();
    let agent = runtime.start(Arc::new(transport.clone()), hooks(&errors, false));
    for count in 1..=3 {
        runtime.broken_timers.store(2, Ordering::SeqCst);
        agent.send_event(SecurityEvent::now("ip_banned"));
        sleep(120 * SECOND).await;
        assert_eq!(transport.events().len(), count);
    }
    let ledger = agent.stats().records.events;
    assert!(ledger.balances() && ledger.delivered == 3, "{ledger:?}");
    assert!(of_runtime(&errors) > 0);
    assert!(!agent.health().reasons.contains(&HealthReason::DriverGone));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_cannot_go_on_ends_loudly() {
    let (runtime, errors) = (Poor::new(), Arc::default());
    let agent = runtime.start(Arc::new(CaptureTransport::new()), hooks(&errors, false));
    sleep(SECOND).await;
    runtime.broken_timers.store(usize::MAX, Ordering::SeqCst);
    agent.send_event(SecurityEvent::now("ip_banned"));
    sleep(SECOND).await;
    assert!(agent.health().reasons.contains(&HealthReason::DriverGone));
    assert_eq!(agent.health().level, StatusLevel::Failed);
    let last = errors.lock().unwrap().last().cloned().unwrap();
    assert!(last.stage == ErrorStage::Runtime && last.message.contains("has ended"), "{last}");
    let ledger = agent.stats().records.events;
    assert!(ledger.balances() && ledger.pending == 0, "{ledger:?}");
}

/// A client that has no thread to encode on, and an answer for everything.
struct PoorClient;

impl HttpClient for PoorClient {
    fn crypto() -> CryptoProvider {
        aws_lc_rs::default_provider()
    }

    fn new(_: &HttpSetup) -> Result<Self, HttpError> {
        Ok(Self)
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        assert!(request.url.ends_with("/events") && request.body.len() > 1_000);
        let mut answer = HttpAnswer::new(200, [("content-type", b"application/json".as_slice())]);
        answer.push(br#"{"success":true,"message":"stored","errors":[]}"#);
        Ok(answer)
    }

    fn offload(&self, _: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        panic!("planted: no thread")
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_batch_is_encoded_in_place_where_there_is_no_thread() {
    let config = AgentConfig::builder("key-of-the-tests").enable_metrics(false);
    let config = config.endpoint("https://guard.example").build().unwrap();
    let transport = HttpTransport::<PoorClient>::new(&config, "install", &HttpOptions::new()).unwrap();
    let agent = Poor::new().start(Arc::new(transport), Hooks::new());
    for n in 0..500 {
        agent.send_event(SecurityEvent::now("ip_banned").reason(format!("{n}: {}", "x".repeat(100))));
    }
    sleep(10 * SECOND).await;
    let ledger = agent.stats().records.events;
    assert_eq!(ledger.delivered, 500, "{ledger:?}");
}
