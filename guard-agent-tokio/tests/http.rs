//! What the HTTP client puts on the wire, and what it makes of whatever comes back: see
//! `guard_agent_tests::suites::http`.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use guard_agent_tests::suites::http::{OK, batch, recorder, transport};
use guard_agent_tokio::{Kind, Payload, ReqwestClient, Transport as _};

guard_agent_tests::http_suite!(guard_agent_tokio::ReqwestClient, 1);

#[test]
fn a_large_batch_is_encoded_beside_the_async_workers() {
    let threads = Arc::new(AtomicUsize::new(0));
    let started = Arc::clone(&threads);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(move || {
            started.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        let (server, _requests) = recorder(OK).await;
        let transport = transport::<ReqwestClient>(&server.url());
        for (count, expected) in [(1, 0), (1_000, 1)] {
            transport.send(Payload::Batch(batch(Kind::Event, count))).await.unwrap();
            assert_eq!(threads.load(Ordering::SeqCst), expected, "{count} records");
        }
    });
}
