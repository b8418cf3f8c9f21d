//! The journal in a real Redis Cluster, and behind real sentinels.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use guard_agent_tests::redis_server::{RedisCluster, RedisServer, eventually};
use guard_agent_tokio::store::{Orphan, StoreAnswer, StoreErrorKind, StoreOp, StreamId, Write};

use self::support::*;

#[path = "support/redis.rs"]
mod support;

/// Repeats an operation while the servers sort themselves out, as the core does.
async fn until_answered(agent: &Agent, op: StoreOp) -> StoreAnswer {
    for _ in 0..200 {
        match agent.ask_within(Duration::from_secs(3), op.clone()).await {
            Ok(answer) => return answer,
            Err(error) => assert_ne!(error.kind, StoreErrorKind::Fenced, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no answer to {op:?}");
}

/// Appends, and appends again what the servers lost though they had said that it is done.
async fn append_again(agent: &Agent, last: &mut u64, kept: &mut Vec<u64>) {
    loop {
        let write = agent.new_append(*last, &[*last + 1]);
        match until_answered(agent, StoreOp::Write(write)).await {
            StoreAnswer::Done => {
                *last += 1;
                kept.push(*last);
                return;
            }
            StoreAnswer::Diverged { last: at } => {
                *last = at.events.as_u64();
                kept.retain(|id| id <= last);
            }
            answer @ (StoreAnswer::Orphans { .. }
            | StoreAnswer::Adopted { .. }
            | StoreAnswer::Blocks { .. }) => {
                panic!("{answer:?}")
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_each_stream_together() {
    let cluster = RedisCluster::start(&[]);
    let agent = Agent::new(&cluster.url(), 1);
    let streams: Vec<_> = (0..32).map(|id| StreamId::new(SPACE, id)).collect();
    for stream in &streams {
        let write = Write { stream: *stream, register: true, ..agent.new_append(0, &[1, 2]) };
        assert_eq!(agent.write(write).await, DONE);
        assert_eq!(agent.ask(StoreOp::Close { stream: *stream, keep: true }).await, DONE);
    }
    let with_data = cluster.nodes.iter().filter(|node| node.cli(&["DBSIZE"]) != "0").count();
    assert!(with_data > 2, "streams are on more than one master");

    let adopter = Agent::new(&cluster.url(), 2);
    let Ok(StoreAnswer::Orphans { mut orphans, .. }) = adopter.list().await else { panic!() };
    orphans.sort_by_key(|orphan| orphan.stream);
    let expected: Vec<_> = streams.iter().map(|stream| Orphan { stream: *stream, released: true }).collect();
    assert_eq!(orphans, expected);
    for stream in &streams {
        assert!(adopter.ask(StoreOp::Adopt { stream: *stream, lease: LONG }).await.is_ok());
    }
    assert_eq!(adopter.events().await, [1, 2]);
    assert_failed(&agent.renew().await, StoreErrorKind::Fenced);
    assert_eq!(adopter.close(false).await, DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_a_master_costs_nothing_that_is_not_told() {
    let mut cluster = RedisCluster::start(&[]);
    let agent = Agent::new(&cluster.url(), 1);
    let (mut last, mut kept) = (0, Vec::new());
    for _ in 0..10 {
        append_again(&agent, &mut last, &mut kept).await;
    }

    let lost = cluster.master_of(&key("l"));
    cluster.nodes[lost].kill();
    for _ in 0..10 {
        append_again(&agent, &mut last, &mut kept).await;
    }
    assert_eq!(agent.events().await, kept);
    assert_ne!(cluster.master_of(&key("l")), lost);

    // It comes back as a replica, which the client finds out by itself.
    cluster.nodes[lost].start_again();
    for _ in 0..10 {
        append_again(&agent, &mut last, &mut kept).await;
    }
    assert_eq!(agent.events().await, kept);
}

/// Nobody is in charge of the stream's keys any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_has_lost_a_part_says_so() {
    let mut cluster = RedisCluster::start(&[]);
    let agent = Agent::new(&cluster.url(), 1);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    for node in &mut cluster.nodes {
        node.kill();
    }
    assert_failed(&agent.append(1, &[2]).await, StoreErrorKind::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_lead_to_the_master_and_to_its_successor() {
    let mut master = RedisServer::start(&["requirepass s3cret", "masterauth s3cret"]);
    let replica = RedisServer::start(&[
        "requirepass s3cret",
        "masterauth s3cret",
        &format!("replicaof 127.0.0.1 {}", master.port()),
    ]);
    let monitor = format!("sentinel monitor journal 127.0.0.1 {} 2", master.port());
    let sentinels: Vec<_> = (0..3)
        .map(|_| {
            RedisServer::start_sentinel(&[
                &monitor,
                "sentinel auth-pass journal s3cret",
                "sentinel down-after-milliseconds journal 1000",
                "sentinel failover-timeout journal 5000",
            ])
        })
        .collect();
    eventually("the sentinels know each other and the replica", || {
        let knows = |sentinel: &RedisServer| {
            let state = sentinel.cli(&["SENTINEL", "MASTER", "journal"]);
            let lines: Vec<_> = state.lines().collect();
            let is = |name, value| lines.windows(2).any(|pair| pair == [name, value]);
            is("num-other-sentinels", "2") && is("num-slaves", "1")
        };
        sentinels.iter().all(knows).then_some(())
    });

    let hosts: Vec<_> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
    let url = format!("redis+sentinel://:s3cret@127.0.0.1:1,{}/journal", hosts.join(","));
    let agent = Agent::new(&url, 1);
    let (mut last, mut kept) = (0, Vec::new());
    append_again(&agent, &mut last, &mut kept).await;
    assert_eq!(master.cli(&["EXISTS", &key("e")]), "1");

    master.kill();
    // One that hangs must not use up all the time.
    sentinels[0].pause();
    for _ in 0..10 {
        append_again(&agent, &mut last, &mut kept).await;
    }
    assert_eq!(agent.events().await, kept);
    assert_eq!(replica.cli(&["EXISTS", &key("e")]), "1");

    let stranger = Agent::new(&url.replace("/journal", "/unknown"), 1);
    assert_failed(&stranger.renew().await, StoreErrorKind::Unreachable);
}
