//! The agent on tokio, with transports in the process: what the shell promises whatever the core decides.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use guard_agent_tokio::{
    Agent, AgentConfig, CaptureTransport, Kind, MetricType, SecurityEvent, SecurityMetric,
};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> AgentConfig {
    AgentConfig::builder("key-of-the-tests").build().unwrap()
}

fn event(n: usize) -> SecurityEvent {
    SecurityEvent::now("suspicious_request").reason(n.to_string())
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_arrives_in_order() {
    let transport = CaptureTransport::new();
    let agent = Agent::builder(config()).transport(Arc::new(transport.clone())).start().unwrap();
    for n in 0..1_000 {
        agent.send_event(event(n));
    }
    agent.send_metric(SecurityMetric::now(MetricType::ResponseTime, 0.25));
    let report = agent.shutdown(10 * SECOND).await;

    assert_eq!(
        (report.delivered.events, report.delivered.metrics),
        (1_000, 1),
        "{report:?} {:?}",
        agent.stats()
    );
    assert!(report.is_complete());
    let reasons: Vec<_> = transport.events().into_iter().map(|event| event.reason.into_owned()).collect();
    assert_eq!(reasons, (0..1_000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(transport.metrics().len(), 1);
    for kind in Kind::ALL {
        assert!(agent.stats().records[kind].balances());
    }
}
