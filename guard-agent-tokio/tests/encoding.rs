//! Where batches are encoded. In a program of its own, because it counts threads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;

use guard_agent_tests::suites::http::{OK, batch, recorder, transport};
use guard_agent_tokio::{Kind, Payload, ReqwestClient, Transport as _};

#[test]
fn a_large_batch_is_encoded_beside_the_async_workers() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (server, _requests) = recorder(OK).await;
        let transport = transport::<ReqwestClient>(&server.url());
        for (count, expected) in [(1, 0), (1_000, 1)] {
            transport.send(Payload::Batch(batch(Kind::Event, count))).await.unwrap();
            assert_eq!(workers(), expected, "{count} records");
        }
    });
}

/// Threads of the agent's own for what takes long.
fn workers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "guard-agent-io").count()
}
