//! Redis in trouble: what the store says, and that it recovers.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use guard_agent_tests::redis_server::{RedisCluster, RedisServer, eventually};
use guard_agent_tokio::store::StoreErrorKind;
use guard_agent_tokio::{AgentConfig, Kind, RedisOptions, RedisStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use self::support::*;

#[path = "support/redis.rs"]
mod support;

#[tokio::test]
async fn a_server_that_is_down_is_unreachable_until_it_is_up() {
    let mut server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    server.kill();
    assert_failed(&agent.append(0, &[1]).await, StoreErrorKind::Unreachable);
    assert_failed(&agent.list().await, StoreErrorKind::Unreachable);
    server.start_again();
    assert_eq!(agent.append(0, &[1]).await, DONE);
    server.stop();
    assert_failed(&agent.append(1, &[2]).await, StoreErrorKind::Unreachable);
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_unreachable() {
    let agent = Agent::new("redis://no-such-host.invalid", 1);
    assert_failed(&agent.renew().await, StoreErrorKind::Unreachable);
}

#[tokio::test]
async fn who_may_not_is_told_so_without_secrets() {
    let server = RedisServer::start(&[
        "requirepass right",
        "user reader on >s3cret ~* +@read +@connection",
        "user elsewhere on >s3cret ~other:* +@all",
        "user agent on >s3cret ~{guard:agent:* ~guard:agent:streams +eval +evalsha +type +pttl +getrange +set \
         +del +unlink +pexpire +hget +hset +hdel +hexists +hkeys +hlen +hstrlen +xadd +xdel +xrange +xrevrange +sadd +srem \
         +scard +sscan",
    ]);
    let port = server.port();
    for login in ["", ":wrong-s3cret@", "reader:wrong-s3cret@", "reader:s3cret@", "elsewhere:s3cret@"] {
        let agent = Agent::new(&format!("redis://{login}127.0.0.1:{port}"), 1);
        let mut write = agent.new_append(0, &[1]);
        write.register = true;
        for _ in 0..2 {
            let answer = agent.write(write.clone()).await;
            assert_failed(&answer, StoreErrorKind::Denied);
            assert!(!format!("{answer:?} {:?}", agent.store).contains("s3cret"));
        }
    }
    assert_eq!(server.cli(&["DBSIZE"]), "0");

    // The documented rights suffice for everything.
    let agent = Agent::new(&format!("redis://agent:s3cret@127.0.0.1:{port}"), 1);
    let mut write = agent.new_append(0, &[1]);
    write.register = true;
    write.notes = vec![note("a", b"1"), no_note("b")];
    assert_eq!(agent.write(write).await, DONE);
    assert_eq!(agent.events().await, [1]);
    assert!(agent.list().await.is_ok() && agent.adopt().await.is_ok());
    assert_eq!(agent.close(true).await, DONE);
    assert_eq!(agent.close(false).await, DONE);
}

/// Redis repeats arguments of commands that it does not know.
#[tokio::test]
async fn a_password_for_a_server_without_the_command_stays_secret() {
    let server = RedisServer::start(&["rename-command AUTH \"\""]);
    let agent = Agent::new(&format!("redis://:s3cret@127.0.0.1:{}", server.port()), 1);
    let answer = agent.renew().await;
    assert_failed(&answer, StoreErrorKind::Denied);
    assert!(!format!("{answer:?}").contains("s3cret"), "{answer:?}");
}

#[tokio::test]
async fn databases_are_apart_and_one_that_does_not_exist_is_an_error() {
    let server = RedisServer::start(&["databases 4"]);
    let url = |database: &str| format!("{}/{database}", server.url());
    assert_eq!(Agent::new(&url("3"), 1).append(0, &[1]).await, DONE);
    assert_eq!(Agent::new(&url(""), 2).append(0, &[2]).await, DONE);
    assert_eq!(Agent::new(&url("0"), 2).events().await, [2]);
    assert_eq!(Agent::new(&url("3"), 1).events().await, [1]);

    let answer = Agent::new(&url("4"), 1).renew().await;
    assert_failed(&answer, StoreErrorKind::Other);
    assert!(answer.unwrap_err().to_string().contains("DB index is out of range"));
}

#[tokio::test]
async fn a_socket_leads_to_the_server_too() {
    let server = RedisServer::start(&["unixsocket redis.sock", "requirepass s3cret", "databases 2"]);
    let socket = server.dir().join("redis.sock");
    let agent = Agent::new(&format!("redis+unix://{}?pass=s3cret&db=1", socket.display()), 1);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    assert_eq!(server.cli(&["-n", "1", "EXISTS", &key("e")]), "1");
    let agent = Agent::new(&format!("redis+unix://{}.absent", socket.display()), 1);
    assert_failed(&agent.renew().await, StoreErrorKind::Unreachable);
}

#[tokio::test]
async fn keys_of_another_program_are_left_alone() {
    for part in ["l", "a", "n", "e", "m"] {
        let server = RedisServer::start(&[]);
        let agent = Agent::new(&server.url(), 1);
        // Its type is that of none of our keys.
        server.cli(&["RPUSH", &key(part), "theirs"]);
        let mut write = agent.new_append(0, &[1]);
        write.logs.metrics.append = blocks(&[1]);
        write.notes = vec![note("a", b"1")];
        assert_failed(&agent.write(write).await, StoreErrorKind::WrongType);
        assert_failed(&agent.adopt().await, StoreErrorKind::WrongType);
        assert_failed(&agent.close(false).await, StoreErrorKind::WrongType);
        assert_failed(&agent.close(true).await, StoreErrorKind::WrongType);
        let kind = if part == "m" { Kind::Metric } else { Kind::Event };
        assert_failed(&agent.read(kind, 0, 1).await, StoreErrorKind::WrongType);
        assert_eq!(server.cli(&["KEYS", "*"]), key(part));
        assert_eq!(server.cli(&["LRANGE", &key(part), "0", "-1"]), "theirs");
        server.cli(&["DEL", &key(part)]);
        assert_eq!(agent.append(0, &[1]).await, DONE);
    }

    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    server.cli(&["SET", "guard:agent:streams", "theirs"]);
    let mut write = agent.new_append(0, &[1]);
    write.register = true;
    assert_failed(&agent.write(write).await, StoreErrorKind::WrongType);
    let listed = agent.list().await;
    assert_failed(&listed, StoreErrorKind::WrongType);
    assert!(listed.unwrap_err().to_string().contains("guard:agent:streams"), "the key is named");
    assert_eq!(server.cli(&["KEYS", "*"]), "guard:agent:streams");
}

#[tokio::test]
async fn a_full_server_takes_nothing_more_but_lets_go() {
    let server = RedisServer::start(&["maxmemory-policy noeviction"]);
    let agent = Agent::new(&server.url(), 1);
    assert_eq!(agent.append(0, &[1, 2]).await, DONE);
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);

    let mut write = agent.new_append(2, &[3]);
    write.logs.events.remove = seqs(&[1]);
    write.notes = vec![note("a", b"1")];
    assert_failed(&agent.write(write.clone()).await, StoreErrorKind::Full);

    // Otherwise it would stay full: reading, removing with all that goes with it, even after the lease has run
    // out, and adopting.
    assert_eq!(agent.events().await, [1, 2]);
    write.logs.events.append.clear();
    write.register = true;
    assert_eq!(agent.write(write).await, DONE);
    assert_eq!(agent.events().await, [2]);
    server.cli(&["DEL", &key("l")]);
    assert_eq!(agent.renew().await, DONE);
    assert_eq!(agent.close(true).await, DONE);
    let adopter = Agent::new(&server.url(), 2);
    assert!(adopter.adopt().await.is_ok());
    assert_eq!(adopter.events().await, [2]);
    assert_eq!(adopter.close(false).await, DONE);
}

#[tokio::test]
async fn a_replica_takes_no_writes() {
    let master = RedisServer::start(&[]);
    let replica = RedisServer::start(&[&format!("replicaof 127.0.0.1 {}", master.port())]);
    eventually("the replica is in step", || {
        replica.cli(&["INFO", "replication"]).contains("master_link_status:up").then_some(())
    });
    let agent = Agent::new(&replica.url(), 1);
    assert_failed(&agent.append(0, &[1]).await, StoreErrorKind::ReadOnly);
    assert_failed(&agent.adopt().await, StoreErrorKind::ReadOnly);
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(agent.append(0, &[1]).await, DONE);
}

#[tokio::test]
async fn a_server_that_insists_on_replicas_takes_no_writes_without() {
    let server = RedisServer::start(&["min-replicas-to-write 1"]);
    assert_failed(&Agent::new(&server.url(), 1).append(0, &[1]).await, StoreErrorKind::ReadOnly);
}

#[tokio::test]
async fn one_server_of_a_cluster_is_not_enough() {
    let cluster = RedisCluster::start(&[]);
    let in_charge = cluster.master_of(&key("l"));
    let other = (0..6).find(|node| *node != in_charge).unwrap();
    let agent = Agent::new(&cluster.nodes[other].url(), 1);
    assert_failed(&agent.append(0, &[1]).await, StoreErrorKind::Moved);
}

/// A server that says the same to every command of a connection, and on the next connection the next thing;
/// the last one for ever. With `CLOSE` it hangs up.
async fn fake(answers: &'static [&'static str]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let at = counter.fetch_add(1, Ordering::SeqCst);
            let answer = answers[at.min(answers.len() - 1)];
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while stream.read(&mut buffer).await.is_ok_and(|len| len > 0) {
                    let _ = stream.write_all(answer.as_bytes()).await;
                    if answer.ends_with("CLOSE") {
                        return;
                    }
                }
            });
        }
    });
    (url, connections)
}

#[tokio::test]
async fn each_error_of_a_server_has_its_kind() {
    for (answer, kind) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", StoreErrorKind::Loading),
        ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", StoreErrorKind::Full),
        ("-MISCONF Errors writing to the AOF file: No space left on device\r\n", StoreErrorKind::Full),
        ("-MISCONF Redis is configured to save RDB snapshots, but\r\n", StoreErrorKind::ReadOnly),
        ("-CLUSTERDOWN The cluster is down\r\n", StoreErrorKind::ReadOnly),
        ("-NOREPLICAS Not enough good replicas to write.\r\n", StoreErrorKind::ReadOnly),
        ("-MASTERDOWN Link with MASTER is down\r\n", StoreErrorKind::ReadOnly),
        ("-NOAUTH Authentication required.\r\n", StoreErrorKind::Denied),
        ("-DENIED Redis is running in protected mode\r\n", StoreErrorKind::Denied),
        ("-MOVED 3999 127.0.0.1:6381\r\n", StoreErrorKind::Moved),
        ("-ASK 3999 127.0.0.1:6381\r\n", StoreErrorKind::Moved),
        ("-CROSSSLOT Keys in request don't hash to the same slot\r\n", StoreErrorKind::Moved),
        ("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", StoreErrorKind::Moved),
        // Inside scripts, before Redis 7.
        (
            "-ERR Error running script (call to f_abc): @user_script:9: @user_script: 9: -OOM command not\r\n",
            StoreErrorKind::Full,
        ),
        (
            "-ERR Error running script (call to f_abc): @user_script:9: @user_script: 9: -READONLY You\r\n",
            StoreErrorKind::ReadOnly,
        ),
        ("-ERR max number of clients reached\r\n", StoreErrorKind::Other),
        ("-\r\n", StoreErrorKind::Other),
        ("+OK\r\n", StoreErrorKind::Other),
        ("$-1\r\n", StoreErrorKind::Other),
        ("*0\r\n", StoreErrorKind::Other),
        ("*1\r\n$4\r\ngone\r\n", StoreErrorKind::Other),
        ("*2\r\n$8\r\ndiverged\r\n$1\r\nx\r\n", StoreErrorKind::Other),
        // What is no Redis at all.
        ("HTTP/1.1 400 Bad Request\r\n\r\n", StoreErrorKind::Unreachable),
        // A script that is not known even when it was just sent.
        ("-NOSCRIPT No matching script. Please use EVAL.\r\n", StoreErrorKind::Other),
    ] {
        let (url, connections) = fake(Box::leak(Box::new([answer]))).await;
        let agent = Agent::new(&url, 1);
        for attempt in 1..=2 {
            let result = agent.renew().await;
            assert!(result.as_ref().is_err_and(|error| error.kind == kind), "{answer}: {result:?}");
            assert_failed(&result, kind);
            // Of what may be no Redis it is asked what it is.
            let each = if kind == StoreErrorKind::Unreachable { 2 } else { 1 };
            assert_eq!(connections.load(Ordering::SeqCst), each * attempt, "{answer}");
        }
    }
}

#[tokio::test]
async fn a_long_message_is_cut_and_cleaned() {
    let answer = Box::leak(format!("-ERR \x1b[31m\u{2014}{}\r\n", "\u{e9}".repeat(1_000)).into_boxed_str());
    let (url, _) = fake(Box::leak(Box::new([&*answer]))).await;
    assert_failed(&Agent::new(&url, 1).renew().await, StoreErrorKind::Other);
}

#[tokio::test]
async fn a_reply_that_is_cut_off_is_a_lost_connection() {
    for answer in ["*1\r\n$4\r\ndoCLOSE", "CLOSE", "$100\r\nCLOSE"] {
        let (url, _) = fake(Box::leak(Box::new([answer, "*1\r\n$4\r\ndone\r\n"]))).await;
        let agent = Agent::new(&url, 1);
        let result = agent.renew().await;
        assert!(result.is_err(), "{answer}");
        assert_eq!(agent.renew().await, DONE, "after {answer}: {result:?}");
    }
}

/// The server is suspended, the call is dropped, the server goes on and answers into the void.
#[tokio::test]
async fn a_late_reply_is_nobodys() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    server.pause();
    for _ in 0..2 {
        let write = guard_agent_tokio::store::StoreOp::Write(agent.new_append(1, &[2]));
        let answer = agent.ask_within(Duration::from_millis(50), write).await;
        assert_failed(&answer, StoreErrorKind::TimedOut);
    }
    server.resume();
    assert_eq!(agent.append(1, &[2]).await, DONE);
    assert_eq!(agent.events().await, [1, 2]);
    // Connections of dropped calls are closed.
    eventually("one connection is left", || {
        let clients = server.cli(&["CLIENT", "LIST", "TYPE", "normal"]);
        (clients.lines().filter(|client| !client.contains("cmd=client")).count() == 1).then_some(())
    });
}

#[tokio::test]
async fn the_store_keeps_one_connection() {
    let server = RedisServer::start(&[]);
    let agent = Agent::new(&server.url(), 1);
    for last in 0..20 {
        assert_eq!(agent.append(last, &[last + 1]).await, DONE);
    }
    let stats = server.cli(&["INFO", "stats"]);
    let connections =
        stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    // One of ours, one to see that the server is ready (or more), one of redis-cli.
    let clients = server.cli(&["CLIENT", "LIST", "TYPE", "normal"]);
    assert_eq!(clients.lines().count(), 2, "{connections} in all: {clients}");
}

#[test]
fn what_cannot_be_used_is_named_without_being_shown() {
    let error = |url: &str, ca_file: Option<&str>, pem: Option<&str>| {
        let mut config = AgentConfig::builder("key-of-the-project").redis_url(url).build().unwrap();
        config.redis_ca_file = ca_file.map(str::to_owned);
        let options = RedisOptions::new(&config);
        let options = pem.into_iter().fold(options, RedisOptions::root_certificates);
        assert!(!format!("{options:?}").contains("s3cret"));
        let error = RedisStore::new(&options).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("s3cret"), "{error}");
        error.problems.iter().map(|problem| problem.field).collect::<Vec<_>>()
    };
    for url in [
        "s3cret",
        "reids://:s3cret@host",
        "http://u:s3cret@host",
        "redis://",
        "redis://:s3cret@",
        "redis://:s3cret@host:port",
        "redis://:s3cret@host/one",
        "redis://:s3cret@one,two",
        "redis://:s3cret@host?protocol=resp3",
        "rediss://:s3cret@host/#insecure",
        "redis://:s3#cret@host",
        "redis+cluster://:s3cret@one,two/1",
        "redis+cluster://:s3cret@one,,two",
        "redis+sentinel://:s3cret@one,two",
        "redis+sentinel://:s3cret@one,two/",
        "redis+sentinel://:s3cret@one,two/master/db",
        "redis+other://:s3cret@host",
    ] {
        assert_eq!(error(url, None, None), ["redis_url"], "{url}");
    }
    assert_eq!(error("rediss://host", Some("/no/such/file"), None), ["redis_ca_file"]);
    assert_eq!(error("rediss://host", Some("/dev/null"), None), ["redis_ca_file"]);
    assert_eq!(error("rediss://host", None, Some("no PEM")), ["root_certificates"]);
    assert_eq!(error("redis:host", Some("/no/such/file"), None), ["redis_url", "redis_ca_file"]);

    let none = AgentConfig::builder("key-of-the-project").build().unwrap();
    assert!(RedisStore::new(&RedisOptions::new(&none)).is_err());
}

#[tokio::test]
async fn an_error_of_the_start_names_the_variable_that_the_value_is_from() {
    let variables = [("GUARD_AGENT_REDIS_URL", "redis:host"), ("GUARD_AGENT_REDIS_CA_FILE", "/no/such/file")];
    let config = AgentConfig::builder("key-of-the-project").merge_vars(variables).build().unwrap();
    let error = guard_agent_tokio::Agent::builder(config).start().unwrap_err().to_string();
    for told in
        ["is [secret] (from GUARD_AGENT_REDIS_URL)", "is /no/such/file (from GUARD_AGENT_REDIS_CA_FILE)"]
    {
        assert!(error.contains(told), "{error}");
    }
}
