//! The journal in a real Redis: what `guard_agent_proto::store` asks of every store.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use guard_agent_tests::redis_server::RedisServer;
use guard_agent_tokio::store::{LogWrite, Orphan, Space, StoreAnswer, StoreErrorKind, StoreOp, StreamId};
use guard_agent_tokio::{ByKind, Kind};

use self::support::*;

#[path = "support/redis.rs"]
mod support;

/// Until a short lease has run out; the only sleep here.
async fn lapse() {
    tokio::time::sleep(SHORT + Duration::from_millis(20)).await;
}

fn orphans(expected: &[(StreamId, bool)], streams: usize, foreign: usize) -> Answer {
    let orphans = expected.iter().map(|(stream, released)| Orphan { stream: *stream, released: *released });
    Ok(StoreAnswer::Orphans { orphans: orphans.collect(), streams, foreign, complete: true })
}

#[tokio::test]
async fn everything_in_one_write_is_there_afterwards() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);

    assert_eq!(agent.append(0, &[3, 5]).await, DONE);
    let mut write = agent.new_write();
    write.register = true;
    write.logs = ByKind {
        events: LogWrite { expected: seq(5), append: blocks(&[8, u64::MAX]), remove: seqs(&[3, 4]) },
        metrics: LogWrite { expected: seq(0), append: blocks(&[1]), remove: Vec::new() },
    };
    write.notes = vec![note("seal", b"\0\xff"), note("released", b"mine"), no_note("absent")];
    assert_eq!(agent.write(write).await, DONE);

    assert_eq!(agent.events().await, [5, 8, u64::MAX]);
    let metrics = StoreAnswer::Blocks { blocks: blocks(&[1]), skipped: 0 };
    assert_eq!(agent.read(Kind::Metric, 0, 10).await, Ok(metrics));
    let Ok(StoreAnswer::Adopted { mut notes, .. }) = agent.adopt().await else { panic!() };
    notes.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(notes, [note("released", b"mine"), note("seal", b"\0\xff")]);
    assert_eq!(agent.list().await, orphans(&[], 1, 0));

    let mut write = agent.new_write();
    write.notes = vec![no_note("seal"), note("released", b"")];
    assert_eq!(agent.write(write).await, DONE);
    assert_eq!(
        agent.adopt().await,
        Ok(StoreAnswer::Adopted { notes: vec![note("released", b"")], lost_logs: 0 })
    );
}

/// More than Lua takes at once.
#[tokio::test]
async fn writes_may_be_large() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    let ids: Vec<u64> = (1..=20_000).collect();
    let mut write = agent.new_append(0, &ids);
    write.notes = (0..5_000).map(|n| note(&n.to_string(), b"value")).collect();
    assert_eq!(agent.write(write).await, DONE);

    let mut write = agent.new_write();
    write.logs.events.remove = seqs(&ids[..19_999]);
    write.notes = (1..5_000).map(|n| no_note(&n.to_string())).collect();
    assert_eq!(agent.write(write).await, DONE);
    assert_eq!(agent.events().await, [20_000]);
    assert_eq!(
        agent.adopt().await,
        Ok(StoreAnswer::Adopted { notes: vec![note("0", b"value")], lost_logs: 0 })
    );

    let mut write = agent.new_write();
    let megabyte: Vec<u8> = (0..1 << 20).map(|n| n as u8).collect();
    write.logs.metrics.append = blocks(&[1]);
    write.logs.metrics.append[0].bytes = megabyte.into();
    let wrote = write.logs.metrics.append.clone();
    assert_eq!(agent.write(write).await, DONE);
    assert_eq!(agent.read(Kind::Metric, 0, 1).await, Ok(StoreAnswer::Blocks { blocks: wrote, skipped: 0 }));
}

#[tokio::test]
async fn operations_whose_replies_got_lost_are_repeated_without_harm() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    let mut write = agent.new_append(0, &[1, 2]);
    write.register = true;
    write.notes = vec![note("a", b"1")];
    for _ in 0..3 {
        assert_eq!(agent.write(write.clone()).await, DONE);
    }
    assert_eq!(agent.events().await, [1, 2]);

    let mut write = agent.new_append(2, &[3]);
    write.logs.events.remove = seqs(&[1, 2]);
    for _ in 0..3 {
        assert_eq!(agent.write(write.clone()).await, DONE);
    }
    assert_eq!(agent.events().await, [3]);

    for keep in [true, false] {
        for _ in 0..3 {
            assert_eq!(agent.close(keep).await, DONE);
        }
    }
    assert_eq!(server.cli(&["DBSIZE"]), "0");
    for _ in 0..3 {
        assert_eq!(agent.adopt().await, Ok(StoreAnswer::Adopted { notes: Vec::new(), lost_logs: 0 }));
    }
}

#[tokio::test]
async fn a_log_that_is_elsewhere_is_left_alone() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    let mut write = agent.new_append(0, &[5]);
    write.logs.metrics = LogWrite { expected: None, append: blocks(&[2]), remove: Vec::new() };
    assert_eq!(agent.write(write).await, DONE);

    for (expected, ids) in [(4, &[6_u64, 7][..]), (6, &[7]), (0, &[]), (0, &[5, 6]), (5, &[4]), (5, &[6, 6])]
    {
        let mut write = agent.new_append(expected, ids);
        write.logs.events.remove = seqs(&[5]);
        write.logs.metrics.remove = seqs(&[2]);
        write.notes = vec![note("a", b"1")];
        assert_eq!(agent.write(write).await, diverged(5, 2), "{expected} {ids:?}");
    }
    assert_eq!(agent.events().await, [5]);
    assert_eq!(agent.adopt().await, Ok(StoreAnswer::Adopted { notes: Vec::new(), lost_logs: 0 }));

    // Digits, not numbers that Lua can count.
    assert_eq!(agent.append(5, &[9_007_199_254_740_993]).await, DONE);
    assert_eq!(
        agent.append(9_007_199_254_740_992, &[9_007_199_254_740_994]).await,
        diverged(9_007_199_254_740_993, 2)
    );

    // What was removed counts, too.
    let mut write = agent.new_write();
    write.logs.events.remove = seqs(&[5, 9_007_199_254_740_993]);
    assert_eq!(agent.write(write).await, DONE);
    assert_eq!(agent.append(0, &[6]).await, diverged(9_007_199_254_740_993, 2));
}

#[tokio::test]
async fn a_divergence_renews_the_lease_all_the_same() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    assert_eq!(agent.append(7, &[8]).await, diverged(0, 0));
    assert_failed(&Agent::new(&server.url(), 2).renew().await, StoreErrorKind::Fenced);
}

#[tokio::test]
async fn a_running_lease_keeps_others_off() {
    let server = RedisServer::start(&[]);
    let (owner, other) = (Agent::new(&server.url(), 1), Agent::new(&server.url(), 2));
    assert_eq!(owner.append(0, &[1]).await, DONE);

    assert_failed(&other.append(1, &[2]).await, StoreErrorKind::Fenced);
    assert_failed(&other.adopt().await, StoreErrorKind::Fenced);
    assert_failed(&other.read(Kind::Event, 0, 1).await, StoreErrorKind::Fenced);
    assert_failed(&other.close(true).await, StoreErrorKind::Fenced);
    assert_failed(&other.close(false).await, StoreErrorKind::Fenced);
    assert_eq!(owner.events().await, [1]);
}

#[tokio::test]
async fn an_owner_who_is_late_takes_its_stream_back_unless_it_was_adopted() {
    let server = RedisServer::start(&[]);
    let owner = Agent::new(&server.url(), 1).lease(SHORT);
    assert_eq!(owner.append(0, &[1]).await, DONE);
    lapse().await;
    assert_eq!(owner.append(1, &[2]).await, DONE);
    lapse().await;
    assert_eq!(owner.events().await, [1, 2]);
    lapse().await;

    let adopter = Agent::new(&server.url(), 2).lease(SHORT);
    assert_eq!(adopter.adopt().await, Ok(StoreAnswer::Adopted { notes: Vec::new(), lost_logs: 0 }));
    assert_eq!(adopter.events().await, [1, 2]);
    // The adopter is late, too: the stream is still its own, until a third one adopts it.
    lapse().await;
    assert_failed(&owner.append(2, &[3]).await, StoreErrorKind::Fenced);
    assert_failed(&owner.read(Kind::Event, 0, 1).await, StoreErrorKind::Fenced);
    assert_failed(&owner.close(true).await, StoreErrorKind::Fenced);
    assert_eq!(adopter.append(2, &[3]).await, DONE);
    lapse().await;
    let third = Agent::new(&server.url(), 3);
    assert_eq!(third.adopt().await, Ok(StoreAnswer::Adopted { notes: Vec::new(), lost_logs: 0 }));
    assert_failed(&adopter.renew().await, StoreErrorKind::Fenced);
    assert_eq!(third.events().await, [1, 2, 3]);
}

/// A lease without an end, a log that was evicted, and a key of another type: no such are ours.
#[tokio::test]
async fn what_others_did_to_keys_is_noticed() {
    let server = RedisServer::start(&[]);
    let owner = Agent::new(&server.url(), 1);
    let mut write = owner.new_append(0, &[1]);
    write.register = true;
    assert_eq!(owner.write(write).await, DONE);
    let other = Agent::new(&server.url(), 2);
    assert_eq!(other.list().await, orphans(&[], 1, 0));
    server.cli(&["PERSIST", &key("l")]);
    assert_eq!(other.list().await, orphans(&[(STREAM, false)], 1, 0));
    assert_eq!(other.adopt().await, Ok(StoreAnswer::Adopted { notes: Vec::new(), lost_logs: 0 }));
    assert_failed(&owner.append(1, &[2]).await, StoreErrorKind::Fenced);

    server.cli(&["DEL", &key("l"), &key("e")]);
    assert_eq!(other.adopt().await, Ok(StoreAnswer::Adopted { notes: Vec::new(), lost_logs: 1 }));

    server.cli(&["DEL", &key("l")]);
    server.cli(&["RPUSH", &key("l"), "another program's"]);
    assert_eq!(other.list().await, orphans(&[(STREAM, false)], 1, 0));
}

/// Whoever adopts says so beside the lease.
#[tokio::test]
async fn a_lease_that_somebody_wrote_takes_no_stream_away() {
    let server = RedisServer::start(&[]);
    let (owner, other) = (Agent::new(&server.url(), 1), Agent::new(&server.url(), 2));
    assert_eq!(owner.append(0, &[1]).await, DONE);
    server.cli(&["SET", &key("l"), "stolen", "PX", "60000"]);
    assert_failed(&other.adopt().await, StoreErrorKind::Fenced);
    assert_eq!(owner.append(1, &[2]).await, DONE);
    assert_eq!(owner.events().await, [1, 2]);

    server.cli(&["DEL", &key("e"), &key("n")]);
    server.cli(&["SET", &key("l"), "stolen", "PX", "60000"]);
    assert_eq!(owner.append(2, &[3]).await, diverged(0, 0));
    assert_eq!(owner.append(0, &[3]).await, DONE);
    assert_eq!(owner.events().await, [3]);
    assert_failed(&other.renew().await, StoreErrorKind::Fenced);
}

#[tokio::test]
async fn one_of_many_adopts() {
    let server = RedisServer::start(&[]);
    let owner = Agent::new(&server.url(), 1);
    assert_eq!(owner.append(0, &[1]).await, DONE);
    assert_eq!(owner.close(true).await, DONE);

    let adopters: Vec<_> = (2..10)
        .map(|id| {
            let agent = Agent::new(&server.url(), id);
            tokio::spawn(async move { agent.adopt().await.is_ok() })
        })
        .collect();
    let mut adopted = 0;
    for adopter in adopters {
        adopted += usize::from(adopter.await.unwrap());
    }
    assert_eq!(adopted, 1);
}

#[tokio::test]
async fn an_owner_who_wakes_after_its_adopter_has_finished_is_fenced() {
    let server = RedisServer::start(&[]);
    let (owner, adopter) = (Agent::new(&server.url(), 1).lease(SHORT), Agent::new(&server.url(), 2));
    assert_eq!(owner.append(0, &[1]).await, DONE);
    lapse().await;
    assert!(adopter.adopt().await.is_ok());
    server.cli(&["PEXPIRE", &key("a"), "60000"]);
    assert_eq!(adopter.close(false).await, DONE);

    assert_eq!(server.cli(&["KEYS", "*"]), key("a"));
    // Remembered from the end on, however long the adoption took.
    assert!(server.cli(&["PTTL", &key("a")]).parse::<u64>().unwrap() > 29 * 24 * 60 * 60 * 1_000);
    assert_failed(&owner.append(1, &[2]).await, StoreErrorKind::Fenced);
    assert_failed(&owner.append(0, &[1]).await, StoreErrorKind::Fenced);
    assert_eq!(server.cli(&["KEYS", "*"]), key("a"));
}

#[tokio::test]
async fn a_server_that_forgot_is_noticed() {
    let mut server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    server.save();
    assert_eq!(agent.append(1, &[2, 3]).await, DONE);

    // It returns to an older state.
    server.kill();
    server.start_again();
    assert_failed(&agent.append(3, &[4]).await, StoreErrorKind::Unreachable);
    assert_eq!(agent.append(3, &[4]).await, diverged(1, 0));
    assert_eq!(agent.append(1, &[4]).await, DONE);
    assert_eq!(agent.events().await, [1, 4]);

    // It has lost everything.
    server.cli(&["FLUSHALL"]);
    assert_eq!(agent.append(4, &[5]).await, diverged(0, 0));
    assert_failed(&Agent::new(&server.url(), 2).renew().await, StoreErrorKind::Fenced);
    assert_eq!(agent.append(0, &[5]).await, DONE);

    // It has lost one key of several.
    server.cli(&["DEL", &key("e")]);
    assert_eq!(agent.append(5, &[6]).await, diverged(0, 0));
    assert_eq!(agent.append(0, &[6]).await, DONE);
    server.cli(&["DEL", &key("n")]);
    assert_eq!(agent.append(0, &[7]).await, diverged(6, 0));
    assert_eq!(agent.append(6, &[7]).await, DONE);
    assert_eq!(agent.events().await, [6, 7]);
}

#[tokio::test]
async fn what_a_server_with_a_log_of_writes_said_is_there_after_a_kill() {
    let mut server = RedisServer::start(&["appendonly yes", "appendfsync always"]);
    let agent = Agent::new(&server.url(), 1);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    let mut write = agent.new_append(1, &[2, 3]);
    write.logs.events.remove = seqs(&[1, 2, 3]);
    assert_eq!(agent.write(write).await, DONE);
    server.kill();
    server.start_again();
    assert_failed(&agent.renew().await, StoreErrorKind::Unreachable);
    // The log is empty, but knows where it is.
    assert_eq!(agent.append(3, &[4]).await, DONE);
    assert_eq!(agent.events().await, [4]);
}

#[tokio::test]
async fn streams_without_owners_are_found() {
    let server = RedisServer::start(&[]);
    let owned = Agent::new(&server.url(), 1);
    let mut write = owned.new_write();
    write.register = true;
    assert_eq!(owned.write(write.clone()).await, DONE);
    assert_eq!(owned.list().await, orphans(&[], 1, 0));

    let lapsed = StreamId::new(SPACE, 2);
    let late = Agent::new(&server.url(), 2);
    write.stream = lapsed;
    write.lease = SHORT;
    assert_eq!(late.write(write.clone()).await, DONE);
    lapse().await;
    assert_eq!(owned.list().await, orphans(&[(lapsed, false)], 2, 0));

    assert_eq!(owned.close(true).await, DONE);
    let Ok(StoreAnswer::Orphans { mut orphans, .. }) = owned.list().await else { panic!() };
    orphans.sort_by_key(|orphan| orphan.stream);
    assert_eq!(orphans.iter().map(|orphan| orphan.released).collect::<Vec<_>>(), [true, false]);

    // Adopted and taken back by their owners, they are released no more.
    assert!(late.adopt().await.is_ok());
    server.cli(&["DEL", &key("l")]);
    assert_eq!(late.close(true).await, DONE);
    assert_eq!(late.renew().await, DONE);
    server.cli(&["DEL", &key("l")]);
    let Ok(StoreAnswer::Orphans { orphans, .. }) = late.list().await else { panic!() };
    assert!(orphans.iter().all(|orphan| !orphan.released), "{orphans:?}");

    // Streams of other keys and versions are counted.
    for name in
        ["v1-00000000-0000000000000001", "v2-00000000-1", "", "\u{fc}", "v2-0000002a-0000000000000001"]
    {
        server.cli(&["SADD", "guard:agent:streams", name]);
    }
    // One that cannot be used hides no other, and is not hidden: who adopts it hears why.
    server.cli(&["DEL", &key("n")]);
    server.cli(&["SET", &key("n"), "another program's"]);
    let both = [lapsed, STREAM];
    let found = late.list().await.map(|answer| {
        let StoreAnswer::Orphans { orphans, streams, foreign, complete: true } = answer else { panic!() };
        assert!(orphans.iter().all(|orphan| both.contains(&orphan.stream) && !orphan.released));
        (orphans.len(), streams, foreign)
    });
    assert_eq!(found, Ok((2, 2, 5)));
    let other = Space::new(42);
    let found = Orphan { stream: StreamId::new(other, 1), released: false };
    let answer = StoreAnswer::Orphans { orphans: vec![found], streams: 1, foreign: 6, complete: true };
    assert_eq!(late.ask(StoreOp::List { space: other }).await, Ok(answer));
}

#[tokio::test]
async fn thousands_of_streams_are_no_problem() {
    let server = RedisServer::start(&[]);
    let names: Vec<_> = (0..3_000).map(|id| StreamId::new(SPACE, id).to_string()).collect();
    for names in names.chunks(500) {
        let command: Vec<_> =
            ["SADD", "guard:agent:streams"].into_iter().chain(names.iter().map(String::as_str)).collect();
        server.cli(&command);
    }
    let Ok(StoreAnswer::Orphans { orphans, streams, foreign, complete: true }) =
        Agent::new(&server.url(), 1).list().await
    else {
        panic!()
    };
    assert_eq!((orphans.len(), streams, foreign), (3_000, 3_000, 0));
}

#[tokio::test]
async fn a_closed_stream_leaves_what_it_should() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    let mut write = agent.new_append(0, &[1]);
    write.register = true;
    write.notes = vec![note("a", b"1")];
    assert_eq!(agent.write(write).await, DONE);
    assert_eq!(agent.close(true).await, DONE);
    assert_eq!(agent.list().await, orphans(&[(STREAM, true)], 1, 0));

    let adopter = Agent::new(&server.url(), 2);
    assert_eq!(
        adopter.adopt().await,
        Ok(StoreAnswer::Adopted { notes: vec![note("a", b"1")], lost_logs: 0 })
    );
    assert_eq!(adopter.events().await, [1]);
    assert_eq!(adopter.close(false).await, DONE);
    assert_eq!(server.cli(&["KEYS", "*"]), key("a"));
    assert_eq!(adopter.list().await, orphans(&[], 0, 0));
}

#[tokio::test]
async fn logs_are_read_in_pages_and_what_others_wrote_is_skipped() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    let log = key("e");
    let add = |id: &str, field: &str| server.cli(&["XADD", &log, id, field, "x"]);
    // Somebody else writes in between, and more than a page of it.
    add("1-1", "b");
    for part in 0..7 {
        add(&format!("2-{part}"), if part == 0 { "other" } else { "b" });
    }
    assert_eq!(agent.append(0, &[3]).await, diverged(2, 0));
    assert_eq!(agent.append(2, &[3, 5, 6]).await, DONE);
    add("6-1", "b");
    add("7-0", "other");

    let page = |ids: &[u64], skipped| Ok(StoreAnswer::Blocks { blocks: blocks(ids), skipped });
    assert_eq!(agent.read(Kind::Event, 0, 2).await, page(&[3, 5], 8));
    assert_eq!(agent.read(Kind::Event, 3, 1).await, page(&[3], 0));
    assert_eq!(agent.read(Kind::Event, 4, 100).await, page(&[5, 6], 1));
    assert_eq!(agent.read(Kind::Event, 7, 1).await, page(&[], 1));
    assert_eq!(agent.read(Kind::Event, 8, 0).await, page(&[], 0));
    assert_eq!(agent.read(Kind::Event, u64::MAX, 10).await, page(&[], 0));
    assert_eq!(agent.read(Kind::Metric, 0, 10).await, page(&[], 0));

    // Above ours there is more than we wrote: that is no place of ours.
    assert_eq!(agent.append(6, &[7]).await, diverged(7, 0));
    assert_eq!(agent.append(7, &[8]).await, DONE);
}

#[tokio::test]
async fn reading_renews_the_lease() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1).lease(SHORT);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    let agent = agent.lease(LONG);
    assert_eq!(agent.events().await, [1]);
    lapse().await;
    assert_failed(&Agent::new(&server.url(), 2).adopt().await, StoreErrorKind::Fenced);
}

#[tokio::test]
async fn a_server_that_restarted_is_taught_the_scripts_again() {
    let mut server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    server.cli(&["SCRIPT", "FLUSH"]);
    assert_eq!(agent.append(1, &[2]).await, DONE);
    server.restart();
    assert_failed(&agent.append(2, &[3]).await, StoreErrorKind::Unreachable);
    assert_eq!(agent.append(2, &[3]).await, DONE);
    assert_eq!(agent.events().await, [1, 2, 3]);
}
