//! What other programs put into a Redis where a journal is: nothing that they put there is larger in a reply than what an
//! agent writes. How a whole agent fares among it is in the suite `chaos::shared`.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;

use guard_agent_tests::redis_server::RedisServer;
use guard_agent_tokio::Kind;
use guard_agent_tokio::store::{Space, StoreAnswer, StoreErrorKind, StreamId};

use self::support::*;

#[path = "support/redis.rs"]
mod support;

/// More than any block has.
const GIANT: &str = "9437184";
const STREAMS: &str = "guard:agent:streams";

/// Runs a script on one key.
fn eval(server: &RedisServer, script: &str, key: &str, args: &[&str]) -> String {
    server.cli(&[&["EVAL", script, "1", key], args].concat())
}

fn page(ids: &[u64], skipped: u64) -> Answer {
    Ok(StoreAnswer::Blocks { blocks: blocks(ids), skipped })
}

#[tokio::test]
async fn entries_that_are_too_large_are_skipped_and_counted() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    let giant = |id: &str, field: &str| {
        let script = "redis.call('XADD', KEYS[1], ARGV[1], ARGV[2], string.rep('x', ARGV[3]))";
        eval(&server, script, &key("e"), &[id, field, GIANT]);
    };
    for id in ["2-0", "2-1", "3-0"] {
        giant(id, "b");
    }
    giant("4-0", "other");
    // One of many fields that are large together.
    let many = "redis.call('XADD', KEYS[1], '5-0', 'b', 'x', 'c', string.rep('x', ARGV[1]))";
    eval(&server, many, &key("e"), &[GIANT]);
    assert_eq!(agent.append(5, &[6, 7]).await, DONE);

    assert_eq!(agent.read(Kind::Event, 0, 100).await, page(&[1], 0));
    assert_eq!(agent.read(Kind::Event, 2, 100).await, page(&[6, 7], 5));
    assert_eq!(agent.read(Kind::Event, 8, 100).await, page(&[], 0));
}

#[tokio::test]
async fn a_page_ends_where_it_is_large_enough() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    let script =
        "for id = 1, 20 do redis.call('XADD', KEYS[1], id .. '-0', 'b', string.rep('x', 1000000)) end";
    eval(&server, script, &key("e"), &[]);
    let Ok(StoreAnswer::Blocks { blocks, skipped: 0 }) = agent.read(Kind::Event, 0, 512).await else {
        panic!()
    };
    assert!((8..=9).contains(&blocks.len()), "{} blocks", blocks.len());
    let Ok(StoreAnswer::Blocks { blocks, .. }) = agent.read(Kind::Event, 15, 512).await else { panic!() };
    assert_eq!(blocks.len(), 6);
}

#[tokio::test]
async fn any_number_of_entries_of_others_is_passed_in_one_operation() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    let script = "for part = 1, 30000 do redis.call('XADD', KEYS[1], '1-' .. part, 'other', 'x') end";
    eval(&server, script, &key("e"), &[]);
    for id in ["1-18446744073709551615", "9999-9", "18446744073709551615-18446744073709551615"] {
        server.cli(&["XADD", &key("e"), id, "other", "x"]);
    }
    assert_eq!(agent.read(Kind::Event, 0, 4).await, page(&[], 30_003));
}

#[tokio::test]
async fn notes_that_are_too_large_are_left_out_and_too_many_are_anothers() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    let mut write = agent.new_append(0, &[1]);
    write.notes = vec![note("a", b"1")];
    assert_eq!(agent.write(write).await, DONE);
    let script = "redis.call('HSET', KEYS[1], ARGV[1], string.rep('x', ARGV[2]))";
    eval(&server, script, &key("n"), &["note:giant", "300000"]);
    eval(&server, script, &key("n"), &["another program's", GIANT]);
    let long = "redis.call('HSET', KEYS[1], 'note:' .. string.rep('x', ARGV[1]), 'value')";
    eval(&server, long, &key("n"), &[GIANT]);
    let Ok(StoreAnswer::Adopted { mut notes, lost_logs: 0 }) = agent.adopt().await else { panic!() };
    notes.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(notes.len(), 3);
    assert_eq!(notes[..2], [note("a", b"1"), note("giant", b"")]);
    assert!(notes[2].name.len() < 128 && notes[2].value.as_deref() == Some(b""));
    // Those that are in order one by one are not all sent, if they are too much together.
    let script = "for id = 1, 100 do redis.call('HSET', KEYS[1], 'note:' .. id, string.rep('x', 260000)) end";
    eval(&server, script, &key("n"), &[]);
    let Ok(StoreAnswer::Adopted { notes, .. }) = agent.adopt().await else { panic!() };
    assert_eq!(notes.len(), 103);
    let bytes: usize = notes.iter().filter_map(|note| note.value.as_ref()).map(|value| value.len()).sum();
    assert!(bytes <= 16 << 20, "{bytes}");

    let script = "for id = 1, 70000 do redis.call('HSET', KEYS[1], id, '') end";
    eval(&server, script, &key("n"), &[]);
    let answer = agent.adopt().await;
    assert_failed(&answer, StoreErrorKind::WrongType);
    assert!(answer.unwrap_err().message.contains(&key("n")), "the key is named");
}

#[tokio::test]
async fn owners_that_are_too_large_are_others() {
    let script = "redis.call('SET', KEYS[1], string.rep('0', ARGV[1]))";
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    eval(&server, script, &key("l"), &[GIANT]);
    assert_eq!(agent.renew().await, DONE, "a lease alone makes nobody an owner");
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    eval(&server, script, &key("a"), &[GIANT]);
    assert_failed(&agent.renew().await, StoreErrorKind::Fenced);
    assert!(agent.adopt().await.is_ok());
    assert_eq!(agent.renew().await, DONE);
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    eval(&server, "redis.call('HSET', KEYS[1], 'owner', string.rep('0', ARGV[1]))", &key("n"), &[GIANT]);
    assert_failed(&agent.renew().await, StoreErrorKind::Fenced);
    assert!(agent.adopt().await.is_ok());
    assert_eq!(agent.renew().await, DONE);
}

#[tokio::test]
async fn names_that_are_none_are_counted_and_not_sent() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    eval(&server, "redis.call('SADD', KEYS[1], string.rep('x', ARGV[1]))", STREAMS, &[GIANT]);
    server.cli(&[
        "SADD",
        STREAMS,
        &STREAM.to_string(),
        "v2-0000002a-0000000000000001",
        "v2-0000000z-????????????????",
    ]);
    let answer = agent.list().await;
    let Ok(StoreAnswer::Orphans { orphans, streams: 1, foreign: 3, complete: true }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(orphans.len(), 1);
}

#[tokio::test]
async fn of_very_many_names_each_has_its_turn() {
    let server = RedisServer::start(&[]);
    let script =
        "for id = 1, 20000 do redis.call('SADD', KEYS[1], string.format('v2-00000000-%016x', id), id) end";
    eval(&server, script, STREAMS, &[]);
    let agent = Agent::new(&server.url(), 1);
    let (mut met, mut lists) = (BTreeSet::new(), 0);
    while met.len() < 20_000 {
        let Ok(StoreAnswer::Orphans { orphans, streams, foreign: 0, complete: false }) = agent.list().await
        else {
            panic!()
        };
        assert_eq!(orphans.len(), streams);
        assert!(streams < 8_000, "{streams}");
        met.extend(orphans.iter().map(|orphan| orphan.stream));
        lists += 1;
        assert!(lists < 12, "{} after {lists} lists", met.len());
    }
    assert!(met.contains(&StreamId::new(Space::new(0), 20_000)));
    // Once there are few again, all are looked at.
    server.cli(&["DEL", STREAMS]);
    server.cli(&["SADD", STREAMS, &STREAM.to_string()]);
    agent.list().await.unwrap();
    assert!(matches!(agent.list().await, Ok(StoreAnswer::Orphans { streams: 1, complete: true, .. })));
}

#[tokio::test]
async fn a_stream_that_is_left_is_found_although_the_names_of_all_were_deleted() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    server.cli(&["DEL", STREAMS]);
    assert_eq!(agent.close(true).await, DONE);
    let list = Agent::new(&server.url(), 2).list().await;
    let Ok(StoreAnswer::Orphans { orphans, .. }) = list else { panic!("{list:?}") };
    assert_eq!(orphans.iter().map(|orphan| orphan.stream).collect::<Vec<_>>(), [STREAM]);
}
