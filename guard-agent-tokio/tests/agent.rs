//! The agent on tokio, with transports in the process: what the shell promises whatever the core decides.
#![allow(clippy::unwrap_used)]

use std::future::{pending, ready};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use guard_agent_tokio::{
    Agent, AgentConfig, AgentStatus, Attempt, Batch, BoxFuture, CaptureTransport, DropReason, DynamicRules,
    Endpoint, ErrorStage, HealthReason, Kind, MetricType, OverflowPolicy, Payload, Response, SecurityEvent,
    SecurityMetric, StartError, StatusLevel, Transport, TransportError, TransportErrorKind, TrySendErrorKind,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const HANG: Duration = Duration::from_secs(30);

fn config() -> AgentConfig {
    AgentConfig::builder("key-of-the-tests").build().unwrap()
}

fn small(buffer_size: usize, policy: OverflowPolicy) -> AgentConfig {
    let builder = AgentConfig::builder("key-of-the-tests").buffer_size(buffer_size);
    builder.buffer_overflow_policy(policy).build().unwrap()
}

fn event(n: usize) -> SecurityEvent {
    SecurityEvent::now("suspicious_request").reason(n.to_string())
}

fn start(config: AgentConfig, transport: impl Transport) -> Agent {
    Agent::builder(config).transport(Arc::new(transport)).start().unwrap()
}

#[track_caller]
fn assert_balanced(agent: &Agent) {
    let stats = agent.stats();
    for kind in Kind::ALL {
        assert!(stats.records[kind].balances(), "{kind}: {:?}", stats.records[kind]);
    }
}

/// A transport that is one function.
struct Script<F>(F);

impl<F: Fn(Payload) -> BoxFuture<'static, Attempt> + Send + Sync + 'static> Transport for Script<F> {
    fn send_events(&self, batch: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        (self.0)(Payload::Batch(batch))
    }

    fn send_metrics(&self, batch: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        (self.0)(Payload::Batch(batch))
    }

    fn send_status(&self, status: Arc<AgentStatus>) -> BoxFuture<'_, Attempt> {
        (self.0)(Payload::Status(status))
    }

    fn fetch_rules(&self, etag: Option<Arc<str>>) -> BoxFuture<'_, Attempt> {
        (self.0)(Payload::Rules { etag })
    }

    fn peer(&self) -> Option<Arc<str>> {
        Some("https://platform:443".into())
    }
}

fn hanging() -> impl Transport {
    Script(|_| -> BoxFuture<'static, Attempt> { Box::pin(pending()) })
}

fn runtimes() -> [Runtime; 3] {
    [
        Builder::new_current_thread().enable_all().build().unwrap(),
        Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
        Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap(),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_arrives_in_order() {
    let transport = CaptureTransport::new();
    let agent = start(config(), transport.clone());
    for n in 0..1_000 {
        agent.send_event(event(n));
    }
    agent.send_metric(SecurityMetric::now(MetricType::ResponseTime, 0.25));
    let report = agent.shutdown(10 * SECOND).await;

    assert_eq!((report.delivered.events, report.delivered.metrics), (1_000, 1));
    assert!(report.is_complete());
    let reasons: Vec<_> = transport.events().into_iter().map(|event| event.reason.into_owned()).collect();
    assert_eq!(reasons, (0..1_000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(transport.metrics().len(), 1);
    assert_balanced(&agent);
}

#[tokio::test(start_paused = true)]
async fn a_lone_event_is_sent_without_a_flush() {
    let transport = CaptureTransport::new();
    let agent = start(config(), transport.clone());
    agent.send_event(event(0));
    sleep(SECOND).await;
    assert_eq!(transport.events().len(), 1);
}

#[test]
fn misuse_is_an_error_at_start() {
    let start = |config| Agent::builder(config).transport(Arc::new(CaptureTransport::new())).start();
    assert_eq!(start(config()).unwrap_err(), StartError::NoRuntime);

    let timeless = Builder::new_current_thread().build().unwrap();
    assert_eq!(timeless.block_on(async { start(config()) }).unwrap_err(), StartError::NoTimer);

    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let error = start(small(10, OverflowPolicy::Block)).unwrap_err();
    assert!(matches!(&error, StartError::Config(_)));
    assert!(error.to_string().contains("send_event_within"), "{error}");
}

#[test]
fn a_disabled_agent_has_the_same_interface_and_needs_no_runtime() {
    let config = AgentConfig::builder("key-of-the-tests").enabled(false).build().unwrap();
    let agent = Agent::builder(config).start().unwrap();
    agent.send_event(event(0));
    let refused = agent.try_send_event(event(7)).unwrap_err();
    assert_eq!((refused.kind, refused.record.reason.as_ref()), (TrySendErrorKind::Disabled, "7"));
    agent.refresh_rules();
    assert!(futures_now(agent.flush(SECOND)).is_complete());
    assert!(futures_now(agent.shutdown(SECOND)).is_complete());
    assert_eq!(agent.stats().records.events.accepted, 0);
    assert_eq!(agent.status().status, StatusLevel::Healthy);
}

/// The value of a future that waits for nothing.
fn futures_now<T>(future: impl Future<Output = T>) -> T {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut cx) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn flush_and_shutdown_work_on_every_runtime() {
    for runtime in runtimes() {
        let transport = CaptureTransport::new();
        runtime.block_on(async {
            let agent = start(config(), transport.clone());
            for n in 0..20 {
                agent.send_event(event(n));
                let report = timeout(HANG, agent.flush(HANG)).await.unwrap();
                // What was accepted just before is included.
                assert!(report.is_complete(), "{report:?}");
                assert_eq!(agent.stats().records.events.delivered, n as u64 + 1);
                if n == 2 {
                    break;
                }
            }
            let report = timeout(HANG, agent.shutdown(HANG)).await.unwrap();
            assert!(report.is_complete());
        });
        assert_eq!(transport.events().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_with_nothing_to_do_waits_for_nothing() {
    let agent = start(config(), CaptureTransport::new());
    let began = Instant::now();
    assert!(agent.shutdown(60 * SECOND).await.is_complete());
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());

    agent.send_event(event(0));
    assert_eq!(agent.try_send_event(event(1)).unwrap_err().kind, TrySendErrorKind::Closed);
    assert_eq!(agent.stats().records.events.refused, 1);
    assert!(agent.shutdown(SECOND).await.is_complete());
    assert!(agent.flush(SECOND).await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn deadlines_hold_while_the_transport_hangs() {
    // Full, too.
    let agent = start(small(10, OverflowPolicy::Raise), hanging());
    for n in 0..2_000 {
        agent.send_event(event(n));
    }
    let began = Instant::now();
    let report = agent.flush(2 * SECOND).await;
    assert!(began.elapsed() <= Duration::from_millis(2_100), "{:?}", began.elapsed());
    assert_eq!((report.delivered.events, report.pending.events), (0, 10));

    let began = Instant::now();
    let (one, two) = tokio::join!(agent.shutdown(3 * SECOND), agent.clone().shutdown(5 * SECOND));
    assert!(began.elapsed() <= Duration::from_millis(3_100), "{:?}", began.elapsed());
    assert_eq!((one.pending.events, two.pending.events), (10, 10));
    assert_balanced(&agent);
}

#[tokio::test(start_paused = true)]
async fn each_request_has_a_time_limit_and_a_panic_is_a_failed_attempt() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let delivered = CaptureTransport::new();
    let (count, inner) = (Arc::clone(&attempts), delivered.clone());
    let errors = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&errors);
    let transport = Script(move |payload| -> BoxFuture<'static, Attempt> {
        let inner = inner.clone();
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Box::pin(pending()),
            1 => Box::pin(async { panic!("in the future") }),
            2 => panic!("in the call"),
            _ => Box::pin(async move { inner.send(payload).await }),
        }
    });
    let agent = Agent::builder(config())
        .transport(Arc::new(transport))
        .on_error(move |error| told.lock().unwrap().push(error.clone()))
        .start()
        .unwrap();
    agent.send_event(event(0));
    let report = agent.flush(600 * SECOND).await;
    assert_eq!(report.delivered.events, 1, "{report:?}");
    assert_eq!(delivered.events().len(), 1);
    assert_eq!(agent.stats().requests_failed, 3);
    sleep(SECOND).await;
    let errors = errors.lock().unwrap();
    assert!(errors[0].message.ends_with("no answer within 30s (https://platform:443)"), "{errors:?}");
}

#[test]
fn dropped_without_shutdown_it_delivers_in_the_background_and_ends() {
    for runtime in runtimes() {
        let transport = Arc::new(CaptureTransport::new());
        runtime.block_on(async {
            let agent = Agent::builder(config()).transport(Arc::clone(&transport) as _).start().unwrap();
            agent.send_event(event(0));
            let clone = agent.clone();
            drop(agent);
            clone.send_event(event(1));
            drop(clone);
            let ended = async {
                while Arc::strong_count(&transport) > 1 {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(HANG, ended).await.unwrap();
        });
        assert_eq!(transport.events().len(), 2);
    }
}

#[test]
fn an_agent_outlives_its_runtime_without_harm() {
    for runtime in runtimes() {
        let agent = runtime.block_on(async { start(config(), hanging()) });
        agent.send_event(event(0));
        drop(runtime);

        agent.send_event(event(1));
        assert_eq!(agent.try_send_event(event(2)).unwrap_err().kind, TrySendErrorKind::Closed);
        assert_eq!(agent.health().level, StatusLevel::Failed);
        assert!(agent.health().reasons.contains(&HealthReason::DriverGone));
        assert_eq!(agent.status().status, StatusLevel::Failed);
        assert_balanced(&agent);
        let ledger = agent.stats().records.events;
        assert_eq!((ledger.accepted, ledger.delivered, ledger.refused), (1, 0, 1));
        assert_eq!((ledger.pending, ledger.dropped[DropReason::Closed]), (0, 1));
        // Answered at once, wherever it is awaited, and with what went with the runtime.
        assert!(!futures_now(agent.flush(HANG)).is_complete());
        let next = Builder::new_current_thread().enable_all().build().unwrap();
        assert!(!next.block_on(agent.shutdown(HANG)).is_complete());
        assert!(next.block_on(agent.send_event_within(event(3), HANG)).is_err());
    }
}

#[test]
fn one_runtime_after_the_other() {
    for runtime in runtimes() {
        let report = runtime.block_on(async {
            let agent = start(config(), CaptureTransport::new());
            agent.send_event(event(0));
            agent.shutdown(HANG).await
        });
        assert_eq!(report.delivered.events, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn processors_change_filter_and_fail_one_record_each() {
    let transport = CaptureTransport::new();
    let agent = Agent::builder(config())
        .transport(Arc::new(transport.clone()))
        .event_processor(|event| (event.reason != "1").then_some(event))
        .event_processor(|event| {
            assert!(event.reason != "2", "planted");
            Some(event.handler_name("processed"))
        })
        .event_processor(|event| {
            Some(if event.reason == "3" { event.response_time(f64::NAN) } else { event })
        })
        .metric_processor(|metric| (metric.value > 0.0).then_some(metric))
        .metric_processor(|metric| Some(SecurityMetric::now(metric.metric_type, f64::NAN)))
        .start()
        .unwrap();
    for n in 0..5 {
        agent.send_event(event(n));
    }
    for value in [0.0, 0.5] {
        agent.send_metric(SecurityMetric::now(MetricType::ErrorRate, value));
    }
    let report = agent.shutdown(10 * SECOND).await;

    let sent = transport.events();
    assert_eq!(sent.iter().map(|event| event.reason.as_ref()).collect::<Vec<_>>(), ["0", "3", "4"]);
    assert!(sent.iter().all(|event| event.handler_name.as_deref() == Some("processed")));
    assert_eq!(report.dropped.events[DropReason::Filtered], 1);
    assert_eq!(report.dropped.events[DropReason::Processor], 1);
    assert_eq!(report.dropped.metrics[DropReason::Filtered], 1);
    assert_eq!(
        report.dropped.metrics[DropReason::Processor],
        1,
        "what is no number is the processor's fault"
    );
    assert_balanced(&agent);
}

#[tokio::test(start_paused = true)]
async fn muted_and_sampled_types_count_as_filtered() {
    let transport = CaptureTransport::new();
    let mut config = config();
    config.muted_event_types = vec![String::from("path_excluded")];
    config.sample_rates = [(String::from("route_unresolved"), 0.0)].into();
    let agent = start(config, transport.clone());
    for event_type in ["path_excluded", "route_unresolved", "ip_banned"] {
        agent.send_event(SecurityEvent::now(event_type));
    }
    let report = agent.shutdown(10 * SECOND).await;
    assert_eq!((report.delivered.events, report.dropped.events[DropReason::Filtered]), (1, 2));
    assert_eq!(transport.events()[0].event_type, "ip_banned");
    assert_eq!(agent.stats().health.level, StatusLevel::Healthy);
}

#[tokio::test(start_paused = true)]
async fn hooks_may_call_the_agent_back() {
    let transport = CaptureTransport::new();
    transport.push_answer(Endpoint::Events, Err(TransportError::new(TransportErrorKind::Connect, "planted")));
    let slot = Arc::new(Mutex::new(None::<Agent>));
    let (in_hook, in_processor) = (Arc::clone(&slot), Arc::clone(&slot));
    let again = AtomicBool::new(true);
    let agent = Agent::builder(config())
        .transport(Arc::new(transport.clone()))
        .on_error(move |_| {
            if let Some(agent) = in_hook.lock().unwrap().as_ref() {
                agent.send_event(event(101));
                let _ = (agent.stats(), agent.rules());
            }
            panic!("planted");
        })
        .event_processor(move |event| {
            if again.swap(false, Ordering::SeqCst) {
                in_processor.lock().unwrap().as_ref().unwrap().send_event(self::event(100));
            }
            Some(event)
        })
        .start()
        .unwrap();
    *slot.lock().unwrap() = Some(agent.clone());
    agent.send_event(event(0));
    sleep(60 * SECOND).await;
    let mut sent: Vec<_> = transport.events().into_iter().map(|event| event.reason.into_owned()).collect();
    sent.sort();
    sent.dedup();
    assert_eq!(sent, ["0", "100", "101"]);
    slot.lock().unwrap().take();
    assert!(agent.shutdown(10 * SECOND).await.is_complete());
}

#[test]
fn a_processor_that_blocks_does_not_hold_up_a_shutdown() {
    for runtime in runtimes() {
        let (release, blocked) = mpsc::channel::<()>();
        let blocked = Mutex::new(blocked);
        runtime.block_on(async {
            let agent = Agent::builder(config())
                .transport(Arc::new(CaptureTransport::new()))
                .event_processor(move |event| {
                    // Until the sender is dropped.
                    let _ = blocked.lock().unwrap().recv();
                    Some(event)
                })
                .start()
                .unwrap();
            agent.send_event(event(0));
            let report = timeout(HANG, agent.flush(Duration::from_millis(100))).await.unwrap();
            assert_eq!(report.pending.events, 1, "{report:?}");
            let report = timeout(HANG, agent.shutdown(Duration::from_millis(100))).await.unwrap();
            assert_eq!(report.dropped.events[DropReason::Closed] + report.pending.events, 1, "{report:?}");
            assert_balanced(&agent);
        });
        drop(release);
    }
}

#[test]
fn an_error_hook_that_blocks_does_not_hold_up_delivery() {
    for runtime in runtimes() {
        let (release, blocked) = mpsc::channel::<()>();
        let blocked = Mutex::new(blocked);
        let transport = CaptureTransport::new();
        let refusal = TransportError::new(TransportErrorKind::Connect, "planted");
        transport.push_answer(Endpoint::Events, Err(refusal));
        runtime.block_on(async {
            let config = AgentConfig::builder("key-of-the-tests").backoff_factor(Duration::from_millis(10));
            let agent = Agent::builder(config.build().unwrap())
                .transport(Arc::new(transport.clone()))
                .on_error(move |_| {
                    let _ = blocked.lock().unwrap().recv();
                })
                .start()
                .unwrap();
            agent.send_event(event(0));
            let report = timeout(HANG, agent.shutdown(HANG)).await.unwrap();
            assert_eq!(report.delivered.events, 1, "{report:?}");
        });
        drop(release);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_not_taken_comes_back() {
    let agent = start(small(2, OverflowPolicy::Raise), hanging());
    let invalid = SecurityMetric::now(MetricType::ErrorRate, f64::NAN);
    let refused = agent.try_send_metric(invalid.clone()).unwrap_err();
    assert!(matches!(refused.kind, TrySendErrorKind::Invalid(_)));
    agent.try_send_event(event(0).response_time(f64::NAN)).unwrap();
    agent.try_send_event(event(1)).unwrap();
    let full = agent.try_send_event(event(2)).unwrap_err();
    assert_eq!((full.kind, full.record.reason.as_ref()), (TrySendErrorKind::Full, "2"));
    // Full it stays, wherever the records are.
    sleep(SECOND).await;
    assert_eq!(agent.try_send_event(event(2)).unwrap_err().kind, TrySendErrorKind::Full);
    assert_eq!(agent.pressure().fill_permille, 1_000);
    // The other kind has room of its own.
    agent.try_send_metric(SecurityMetric::now(MetricType::ErrorRate, 0.5)).unwrap();

    agent.send_event(event(3));
    agent.send_metric(invalid);
    assert_eq!(agent.stats().records.metrics.invalid, 2);
    let ledger = agent.stats().records.events;
    assert_eq!((ledger.accepted, ledger.pending, ledger.invalid), (3, 2, 0));
    assert_eq!(ledger.dropped[DropReason::Overflow], 1);
    assert_balanced(&agent);

    let began = Instant::now();
    let late = agent.send_event_within(event(5), 2 * SECOND).await.unwrap_err();
    assert_eq!((late.kind, late.record.reason.as_ref()), (TrySendErrorKind::Full, "5"));
    assert_eq!(began.elapsed(), 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_gets_it_when_records_leave() {
    let transport = CaptureTransport::new();
    let agent = start(small(1, OverflowPolicy::Drop), transport.clone());
    for n in 0..20 {
        agent.send_event_within(event(n), HANG).await.unwrap();
    }
    agent.shutdown(60 * SECOND).await;
    assert_eq!(transport.events().len(), 20);

    // A shutdown ends the wait too.
    let agent = start(small(1, OverflowPolicy::Drop), hanging());
    agent.send_event(event(0));
    let (waited, _) = tokio::join!(agent.send_event_within(event(1), HANG), agent.shutdown(SECOND));
    assert_eq!(waited.unwrap_err().kind, TrySendErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_events_at_a_platform_that_hangs_are_all_accounted_for() {
    let agent = start(small(5_000, OverflowPolicy::Drop), hanging());
    for n in 0..100_000 {
        agent.send_event(event(n));
        if n % 9_973 == 0 {
            sleep(Duration::from_millis(11)).await;
            assert_balanced(&agent);
        }
    }
    sleep(SECOND).await;
    let ledger = agent.stats().records.events;
    assert_eq!(ledger.accepted, 100_000);
    assert_eq!(ledger.pending + ledger.dropped[DropReason::Overflow], 100_000);
    assert!(ledger.pending >= 5_000 && ledger.pending <= 6_024, "{ledger:?}");
    assert_balanced(&agent);
}

#[test]
fn accounting_balances_while_threads_send() {
    const EACH: usize = 5_000;
    for runtime in runtimes() {
        let transport = CaptureTransport::new();
        let agent = runtime.block_on(async { start(small(1_000, OverflowPolicy::Drop), transport.clone()) });
        let done = AtomicBool::new(false);
        let (agent, done) = (&agent, &done);
        let report = thread::scope(|scope| {
            let senders: Vec<_> = (0..8)
                .map(|_| scope.spawn(move || (0..EACH).for_each(|n| agent.send_event(event(n)))))
                .collect();
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    assert_balanced(agent);
                }
            });
            let report = runtime.block_on(async {
                while !senders.iter().all(thread::ScopedJoinHandle::is_finished) {
                    sleep(Duration::from_millis(1)).await;
                }
                timeout(HANG, agent.shutdown(HANG)).await.unwrap()
            });
            done.store(true, Ordering::SeqCst);
            report
        });
        assert_eq!(report.pending.events, 0);
        assert_balanced(agent);
        let ledger = agent.stats().records.events;
        assert_eq!(ledger.accepted, 8 * EACH as u64);
        assert_eq!(ledger.delivered, transport.events().len() as u64);
    }
}

/// Whatever the others do at the same time, a flush covers what its caller sent before it.
#[test]
fn a_flush_covers_what_its_caller_sent_before() {
    for runtime in runtimes() {
        let transport = CaptureTransport::new();
        let mut config = config();
        config.rate_limit = 100_000;
        runtime.block_on(async {
            let agent = start(config, transport.clone());
            let callers: Vec<_> = (0..4)
                .map(|caller| {
                    let (agent, transport) = (agent.clone(), transport.clone());
                    tokio::task::spawn_blocking(move || {
                        let waiting = Builder::new_current_thread().build().unwrap();
                        for n in 0..50 {
                            let number = caller * 1_000 + n;
                            agent.send_event(event(number));
                            let report = waiting.block_on(agent.flush(HANG));
                            assert!(report.is_complete(), "{report:?}");
                            let arrived = transport.events();
                            assert!(arrived.iter().any(|event| event.reason == number.to_string()));
                        }
                    })
                })
                .collect();
            for caller in callers {
                timeout(HANG, caller).await.unwrap().unwrap();
            }
            timeout(HANG, agent.shutdown(HANG)).await.unwrap();
        });
        assert_eq!(transport.events().len(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn subscribers_hear_of_rules_until_they_are_dropped() {
    let transport = CaptureTransport::new();
    let config = AgentConfig::builder("key-of-the-tests").project_id("project").build().unwrap();
    let agent = start(config, transport.clone());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let versions = Arc::clone(&heard);
    let subscription = agent.subscribe_rules(move |rules| {
        versions.lock().unwrap().push(rules.map(|document| document.rules.version));
        panic!("planted");
    });
    let rules = |version| {
        let mut rules = DynamicRules::default();
        rules.version = version;
        rules
    };
    transport.set_rules(&rules(2));
    agent.refresh_rules();
    sleep(5 * SECOND).await;
    assert_eq!(*heard.lock().unwrap(), [Some(2)]);
    assert_eq!(agent.rules().unwrap().rules.version, 2);

    drop(subscription);
    transport.set_rules(&rules(3));
    agent.refresh_rules();
    sleep(5 * SECOND).await;
    assert_eq!(heard.lock().unwrap().len(), 1);
    assert_eq!(agent.rules().unwrap().rules.version, 3);
}

/// Turns every log record, at every level and of every target, into an event.
struct Mirror(Arc<Mutex<Option<Agent>>>, Arc<AtomicUsize>);

impl tracing::Subscriber for Mirror {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        if let Some(agent) = self.0.lock().unwrap().as_ref() {
            agent.send_event(event(0));
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_log_that_becomes_events_comes_to_rest() {
    let slot = Arc::new(Mutex::new(None));
    let logged = Arc::new(AtomicUsize::new(0));
    let _log = tracing::subscriber::set_default(Mirror(Arc::clone(&slot), Arc::clone(&logged)));
    let transport = CaptureTransport::new();
    for _ in 0..3 {
        transport.push_answer(Endpoint::Events, Ok(Response { status: 503, ..Response::default() }));
    }
    let agent = start(config(), transport.clone());
    *slot.lock().unwrap() = Some(agent.clone());
    agent.send_event(event(0));
    sleep(120 * SECOND).await;
    assert!(logged.load(Ordering::SeqCst) > 0, "the failures are logged");
    let settled = (transport.attempts(Endpoint::Events), logged.load(Ordering::SeqCst));
    sleep(120 * SECOND).await;
    assert_eq!((transport.attempts(Endpoint::Events), logged.load(Ordering::SeqCst)), settled);
    slot.lock().unwrap().take();
}

#[test]
fn who_hears_of_the_end_has_heard_of_the_errors() {
    for runtime in runtimes() {
        let (tell, told) = mpsc::channel();
        let transport = Script(|_| -> BoxFuture<'static, Attempt> {
            Box::pin(ready(Ok(Response { status: 401, ..Response::default() })))
        });
        runtime.block_on(async {
            let agent = Agent::builder(config())
                .transport(Arc::new(transport))
                .on_error(move |error| tell.send(error.stage).unwrap())
                .start()
                .unwrap();
            agent.send_event(event(0));
            agent.shutdown(SECOND).await;
            assert!(told.try_recv().is_ok());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_hook_is_told_of_a_refusal_once_per_episode() {
    let errors = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&errors);
    let transport = Script(|_| -> BoxFuture<'static, Attempt> {
        Box::pin(ready(Ok(Response { status: 401, ..Response::default() })))
    });
    let agent = Agent::builder(config())
        .transport(Arc::new(transport))
        .on_error(move |error| told.lock().unwrap().push(error.stage))
        .start()
        .unwrap();
    for n in 0..100 {
        agent.send_event(event(n));
        sleep(SECOND).await;
    }
    let stages = errors.lock().unwrap().clone();
    for stage in [ErrorStage::TransportSend, ErrorStage::FlushEvents] {
        assert!(stages.iter().filter(|told| **told == stage).count() <= 1, "{stages:?}");
    }
    assert!(!stages.is_empty());
    assert_ne!(agent.health().level, StatusLevel::Healthy);
}
