//! The agent on whatever executor there is, and what the end of its HTTP client costs an executor.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use guard_agent_smol::{Agent, AgentConfig, BoxFuture, SecurityEvent};
use guard_agent_tests::collector::{Answer, Collector};
use smol::{Executor, LocalExecutor, Timer, future};

const HANG: Duration = Duration::from_secs(20);

fn config(collector: &Collector) -> AgentConfig {
    let config = AgentConfig::builder("0123456789").endpoint(collector.url()).install_id("test");
    config.build().unwrap()
}

async fn works(agent: Agent, collector: &Collector) {
    agent.send_event(SecurityEvent::now("an event"));
    // When it is time, and not because somebody asks for it.
    collector.until(|received| received.event_count == 1, HANG).await;
    assert!(agent.shutdown(HANG).await.is_complete());
}

#[test]
fn on_the_global_executor() {
    let collector = Collector::start();
    smol::block_on(async { works(Agent::builder(config(&collector)).start().unwrap(), &collector).await });
}

#[test]
fn on_a_local_executor() {
    let collector = Collector::start();
    let executor = LocalExecutor::new();
    let spawn = |driver: BoxFuture<'static, ()>| executor.spawn(driver).detach();
    let agent = Agent::builder(config(&collector)).start_with(spawn).unwrap();
    future::block_on(executor.run(works(agent, &collector)));
}

#[test]
fn on_an_executor_with_one_thread_of_its_own() {
    let collector = Collector::start();
    let executor = Arc::new(Executor::new());
    let agent =
        Agent::builder(config(&collector)).start_with(|driver| executor.spawn(driver).detach()).unwrap();
    let running = Arc::clone(&executor);
    std::thread::spawn(move || future::block_on(running.run(future::pending::<()>())));
    future::block_on(works(agent, &collector));
}

#[test]
fn with_another_executors_block_on() {
    let collector = Collector::start();
    futures_executor::block_on(works(Agent::builder(config(&collector)).start().unwrap(), &collector));
}

/// An executor must not wait for the end of a request that is under way.
#[test]
fn the_end_of_the_client_holds_up_no_executor() {
    let collector = Collector::start();
    collector.events().answer_always(Answer::hang());
    let executor = LocalExecutor::new();
    let spawn = |driver: BoxFuture<'static, ()>| executor.spawn(driver).detach();
    let agent = Agent::builder(config(&collector)).start_with(spawn).unwrap();
    let longest = future::block_on(executor.run(async {
        agent.send_event(SecurityEvent::now("an event"));
        collector.until(|received| !received.exchanges.is_empty(), HANG).await;
        let end = agent.shutdown(Duration::from_millis(100));
        drop(agent);
        let beats = async {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            for _ in 0..100 {
                Timer::after(Duration::from_millis(5)).await;
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            longest
        };
        future::zip(end, beats).await.1
    }));
    // Far beyond a beat of a busy machine, and far below the time limit of the request.
    assert!(longest < Duration::from_secs(5), "a beat took {longest:?}");
}
