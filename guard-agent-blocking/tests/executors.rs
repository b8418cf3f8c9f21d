//! The driver on an executor that knows nothing of our timers: it sends when it is time, and nobody asks for it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::thread;
use std::time::Duration;

use guard_agent_blocking::{Agent, AgentConfig, SecurityEvent};
use guard_agent_proto::shell::BoxFuture;
use guard_agent_tests::collector::Collector;

const HANG: Duration = Duration::from_secs(20);

#[test]
fn on_threads_of_tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    delivers_in_time(|driver| drop(runtime.spawn(driver)));
}

#[test]
fn on_a_thread_of_futures() {
    delivers_in_time(|driver| drop(thread::spawn(move || futures_executor::block_on(driver))));
}

fn delivers_in_time(spawn: impl FnOnce(BoxFuture<'static, ()>)) {
    let collector = Collector::start();
    let config = AgentConfig::builder("0123456789").endpoint(collector.url()).install_id("executors");
    let agent = Agent::builder(config.build().unwrap()).start_with(spawn).unwrap();
    for count in 1..=3 {
        agent.send_event(SecurityEvent::now("an event"));
        collector.wait_for(|received| received.event_count == count, HANG);
    }
    assert!(agent.shutdown(HANG).is_complete());
    assert_eq!(collector.violations(), [""; 0]);
}
