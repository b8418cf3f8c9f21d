//! Receipts: what the application hears of the records that it waits for.
#![allow(clippy::unwrap_used)]

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use guard_agent_proto::shell::MemoryStore;
use guard_agent_tokio::{
    Agent, AgentConfig, AgentConfigBuilder, AgentStatus, Attempt, Batch, BoxFuture, CaptureTransport,
    DropReason, Endpoint, MetricType, Outcome, Receipt, Response, SecurityEvent, SecurityMetric, Transport,
    TrySendErrorKind,
};
use tokio::runtime::Builder;
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);
const HANG: Duration = Duration::from_secs(60);

fn config() -> AgentConfigBuilder {
    AgentConfig::builder("key-of-the-tests")
}

fn event(n: usize) -> SecurityEvent {
    SecurityEvent::now("suspicious_request").reason(n.to_string())
}

fn metric() -> SecurityMetric {
    SecurityMetric::now(MetricType::ResponseTime, 0.25)
}

fn start(config: AgentConfigBuilder, transport: impl Transport) -> Agent {
    Agent::builder(config.build().unwrap()).transport(Arc::new(transport)).start().unwrap()
}

async fn settled(mut receipt: Receipt) -> Option<Outcome> {
    timeout(HANG, receipt.settled()).await.unwrap()
}

/// Answers nothing, ever.
struct Hanging;

impl Transport for Hanging {
    fn send_events(&self, _: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        Box::pin(pending())
    }

    fn send_metrics(&self, _: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        Box::pin(pending())
    }

    fn send_status(&self, _: Arc<AgentStatus>) -> BoxFuture<'_, Attempt> {
        Box::pin(pending())
    }

    fn fetch_rules(&self, _: Option<Arc<str>>) -> BoxFuture<'_, Attempt> {
        Box::pin(pending())
    }
}

#[tokio::test(start_paused = true)]
async fn each_receipt_tells_of_its_own_record() {
    let transport = CaptureTransport::new();
    let agent = start(config().muted_event_types(["muted"]), transport.clone());
    let mut receipts = Vec::new();
    for n in 0..500 {
        agent.send_event(event(n));
        let delivered = agent.try_send_event_with_receipt(event(n)).unwrap();
        let muted = agent.try_send_event_with_receipt(SecurityEvent::now("muted")).unwrap();
        receipts.push((delivered, muted));
    }
    let refused = Response { status: 413, ..Response::default() };
    for (delivered, muted) in receipts {
        assert_eq!(settled(muted).await, Some(Outcome::Dropped(DropReason::Filtered)));
        assert_eq!(settled(delivered).await, Some(Outcome::Delivered));
    }
    let ledger = agent.stats().records.events;
    assert_eq!((ledger.delivered, ledger.dropped[DropReason::Filtered]), (1_000, 500), "as the receipts say");

    let metric = agent.try_send_metric_with_receipt(metric()).unwrap();
    transport.push_answer(Endpoint::Events, Ok(refused));
    let poison = agent.try_send_event_with_receipt(event(500)).unwrap();
    assert_eq!(settled(poison).await, Some(Outcome::Dropped(DropReason::TooLarge)));
    assert!(agent.shutdown(10 * SECOND).await.pending.metrics == 0);
    assert_eq!(settled(metric).await, Some(Outcome::Delivered));
    assert_eq!(transport.events().len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn durable_comes_before_delivered() {
    let start = |transport: Arc<dyn Transport>| {
        let builder = Agent::builder(config().build().unwrap()).transport(transport);
        builder.store(Arc::new(MemoryStore::new())).start().unwrap()
    };
    let agent = start(Arc::new(CaptureTransport::new()));
    let mut receipt = agent.try_send_event_with_receipt(event(0)).unwrap();
    assert_eq!(timeout(HANG, receipt.secured()).await.unwrap(), Some(Outcome::Durable));
    assert_eq!(agent.stats().records.events.persisted, 1, "as the receipt says");
    assert_eq!(settled(receipt).await, Some(Outcome::Delivered));

    let agent = start(Arc::new(Hanging));
    let mut receipt = agent.try_send_event_with_receipt(event(0)).unwrap();
    assert_eq!(timeout(HANG, receipt.secured()).await.unwrap(), Some(Outcome::Durable));
    let (settled, report) = tokio::join!(settled(receipt), agent.shutdown(SECOND));
    assert_eq!((settled, report.persisted.events), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_at_the_end_is_told_as_unknown() {
    let agent = start(config(), Hanging);
    let mut receipt = agent.try_send_event_with_receipt(event(0)).unwrap();
    assert!(timeout(10 * SECOND, receipt.secured()).await.is_err(), "nothing to tell yet");
    agent.shutdown(SECOND).await;
    assert_eq!(receipt.secured().await, None);
    assert_eq!(receipt.settled().await, None);
    assert_eq!(agent.try_send_event_with_receipt(event(1)).unwrap_err().kind, TrySendErrorKind::Closed);
}

#[test]
fn receipts_outlive_the_runtime() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let agent = {
        let _entered = runtime.enter();
        start(config(), Hanging)
    };
    let known = agent.try_send_event_with_receipt(event(0)).unwrap();
    runtime.block_on(agent.flush(Duration::from_millis(1)));
    let waiting = agent.try_send_event_with_receipt(event(1)).unwrap();
    drop(runtime);

    let elsewhere = Builder::new_current_thread().enable_time().build().unwrap();
    elsewhere.block_on(async {
        assert_eq!(settled(known).await, None);
        assert_eq!(settled(waiting).await, Some(Outcome::Dropped(DropReason::Closed)));
    });
}

#[tokio::test(start_paused = true)]
async fn room_is_waited_for_with_a_receipt_too() {
    let agent = start(config().buffer_size(1), CaptureTransport::new());
    let mut receipts = Vec::new();
    for n in 0..20 {
        receipts.push(agent.send_event_with_receipt_within(event(n), HANG).await.unwrap());
        receipts.push(agent.send_metric_with_receipt_within(metric(), HANG).await.unwrap());
    }
    agent.shutdown(60 * SECOND).await;
    for receipt in receipts {
        assert_eq!(settled(receipt).await, Some(Outcome::Delivered));
    }
}
