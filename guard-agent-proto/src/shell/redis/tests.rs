#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::format;
use std::string::String;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Arg, ErrorKind, RedisError};

use super::call::{ADOPT, CLOSE, READ, WRITE};
use super::*;
use crate::store::{Block, LogWrite, Note, OwnerId, Space, Write};
use crate::{ByKind, Kind, Secret, Seq, StoreOpId};

/// Every command with every option that may be sent, and the version of Redis that brought it.
const COMMANDS: [(&str, &str, (u32, u32)); 35] = [
    ("DEL", "", (1, 0)),
    ("EVAL", "", (2, 6)),
    ("EVALSHA", "", (2, 6)),
    ("GETRANGE", "", (2, 4)),
    ("HDEL", "", (2, 4)), // several fields
    ("HEXISTS", "", (2, 0)),
    ("HGET", "", (2, 0)),
    ("HKEYS", "", (2, 0)),
    ("HLEN", "", (2, 0)),
    ("HSTRLEN", "", (3, 2)),
    ("HSET", "", (4, 0)), // several fields
    ("PEXPIRE", "", (2, 6)),
    ("PTTL", "", (2, 6)),
    ("SADD", "", (1, 0)),
    ("SCARD", "", (1, 0)),
    ("SENTINEL", "", (2, 6)),
    ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", (2, 8)),
    ("SET", "", (1, 0)),
    ("SET", "PX", (2, 6)),
    ("SREM", "", (1, 0)),
    ("SSCAN", "", (2, 8)),
    ("SSCAN", "COUNT", (2, 8)),
    ("SSCAN", "MATCH", (2, 8)),
    ("TYPE", "", (1, 0)),
    ("UNLINK", "", (4, 0)),
    ("XADD", "", (5, 0)),
    ("XDEL", "", (5, 0)),
    ("XRANGE", "", (5, 0)),
    ("XRANGE", "COUNT", (5, 0)),
    ("XREVRANGE", "", (5, 0)),
    ("XREVRANGE", "COUNT", (5, 0)),
    // By the client, while connecting and in a cluster.
    ("ASKING", "", (3, 0)),
    ("AUTH", "", (6, 0)), // with a user
    ("CLUSTER", "SLOTS", (3, 0)),
    ("SELECT", "", (1, 0)),
];

#[test]
fn every_command_and_option_exists_in_redis_6() {
    let mut sent = BTreeSet::new();
    for program in [&WRITE, &ADOPT, &READ, &CLOSE] {
        sent.extend(pairs_of_script(program.code));
    }
    for command in all_commands() {
        sent.extend(pairs_of_command(&command));
    }
    let listed: BTreeSet<_> =
        COMMANDS.iter().map(|(command, option, _)| (String::from(*command), String::from(*option))).collect();
    let unlisted: Vec<_> = sent.difference(&listed).collect();
    assert!(unlisted.is_empty(), "not in the table: {unlisted:?}");
    let not_ours = ["ASKING", "AUTH", "CLUSTER", "SELECT"];
    let unsent: Vec<_> =
        listed.difference(&sent).filter(|(command, _)| !not_ours.contains(&command.as_str())).collect();
    assert!(unsent.is_empty(), "never sent: {unsent:?}");
    for (command, option, since) in COMMANDS {
        assert!(since <= (6, 0), "{command} {option}");
    }
}

#[test]
fn the_search_finds_what_is_sent() {
    let script =
        "redis.call('XADD', key, 'NOMKSTREAM', '*') -- redis.call('KEYS')\ncall_with('XTRIM', a, 'MINID')";
    let found = [("XADD", ""), ("XADD", "NOMKSTREAM"), ("XTRIM", ""), ("XTRIM", "MINID")];
    assert_eq!(pairs_of_script(script), found.map(|(a, b)| (a.into(), b.into())));
    let command = ::redis::cmd("SET").arg("key").arg("value").arg("GET").take();
    assert_eq!(pairs_of_command(&command), [("SET", ""), ("SET", "GET")].map(|(a, b)| (a.into(), b.into())));
}

/// What is a call of Redis, with the capitals among its text. There is no other way to call Redis.
fn pairs_of_script(code: &str) -> Vec<(String, String)> {
    let code: Vec<_> = code.lines().map(|line| line.split("--").next().unwrap()).collect();
    let code = code.join("\n");
    let ways = code.matches("redis.").count();
    assert_eq!(ways, code.matches("redis.call(").count() + code.matches("redis.error_reply(").count());
    let mut pairs = Vec::new();
    for (i, text) in code.split('\'').enumerate() {
        let before = code.split('\'').nth(i.wrapping_sub(1)).unwrap_or_default();
        if i % 2 == 0 || !is_word(text.as_bytes()) {
            continue;
        }
        if before.ends_with("redis.call(") || before.ends_with("call_with(") {
            pairs.push((text.into(), String::new()));
        } else {
            let command = pairs.last().map(|(command, _): &(String, _)| command.clone()).unwrap();
            pairs.push((command, text.into()));
        }
    }
    let literal = code.matches("redis.call('").count() + code.matches("redis.call(command,").count();
    assert_eq!(literal, code.matches("redis.call(").count(), "commands are named where they are called");
    pairs
}

fn pairs_of_command(command: &Cmd) -> Vec<(String, String)> {
    let words: Vec<_> = command
        .args_iter()
        .filter_map(|arg| if let Arg::Simple(arg) = arg { Some(arg) } else { None })
        .filter(|arg| is_word(arg))
        .map(|arg| String::from_utf8(arg.to_vec()).unwrap())
        .collect();
    let options = core::iter::once(String::new()).chain(words[1..].iter().cloned());
    options.map(|option| (words[0].clone(), option)).collect()
}

fn is_word(text: &[u8]) -> bool {
    text.len() > 1 && text.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-')
}

fn all_commands() -> Vec<Cmd> {
    let mut commands = Vec::new();
    let mut collect = |turn| {
        let Turn::Send(sent, conversation) = turn else { panic!("{turn:?}") };
        commands.extend(sent);
        conversation
    };
    let mut write = write();
    let conversation = collect(open(StoreOp::Write(write.clone())));
    let conversation = collect(conversation.hear(vec![Ok(Value::Int(1))]));
    collect(conversation.hear(vec![Err(unknown_script())]));
    write.register = false;
    collect(open(StoreOp::Write(write)));
    collect(open(StoreOp::Adopt { stream: STREAM, lease: LEASE }));
    let (kind, from) = (Kind::Event, Seq(1));
    collect(open(StoreOp::Read { stream: STREAM, kind, from, limit: 1, lease: LEASE }));
    for keep in [true, false] {
        let conversation = collect(open(StoreOp::Close { stream: STREAM, keep }));
        if !keep {
            collect(conversation.hear(vec![Ok(words(&["done"]))]));
        }
    }
    let conversation = collect(open(StoreOp::List { space: STREAM.space() }));
    let name = format!("{STREAM}");
    let conversation = collect(conversation.hear(vec![Ok(Value::Int(1)), Ok(names("1", &[&name]))]));
    collect(conversation.hear(vec![Ok(names("0", &[&name]))]));

    let url = Secret::new("redis+sentinel://host/master");
    let Ok(Address::Sentinels(sentinels)) = Address::parse(&url) else { panic!() };
    commands.push(sentinels.question());
    for command in &commands {
        // No command waits, and none looks at keys of others.
        let packed = command.get_packed_command();
        assert!(!packed.windows(5).any(|text| text == b"BLOCK"), "{}", String::from_utf8_lossy(&packed));
    }
    commands
}

const STREAM: StreamId = StreamId::new(Space::new(0), 1);
const LEASE: Duration = Duration::from_secs(30);

fn open(op: StoreOp) -> Turn {
    let request = StoreRequest { id: StoreOpId(1), owner: OwnerId::from_u64(1), op, timeout: LEASE };
    Conversation::open("p", &SearchPlace::default(), request)
}

fn write() -> Write {
    let bytes: Arc<[u8]> = Arc::from(&b"personal data"[..]);
    let log = LogWrite {
        expected: Some(Seq(0)),
        append: vec![Block { id: Seq(1), bytes: Arc::clone(&bytes) }],
        remove: vec![Seq(1)],
    };
    let note = |name: &str, value| Note { name: name.into(), value };
    Write {
        stream: STREAM,
        register: true,
        lease: LEASE,
        logs: ByKind { events: log.clone(), metrics: log },
        notes: vec![note("a", Some(bytes)), note("b", None)],
    }
}

fn words(words: &[&str]) -> Value {
    Value::Array(words.iter().map(|word| Value::BulkString(word.as_bytes().to_vec())).collect())
}

/// Names of streams, and from where to go on.
fn names(next: &str, names: &[&str]) -> Value {
    Value::Array(vec![Value::BulkString(next.into()), words(names)])
}

fn unknown_script() -> RedisError {
    (::redis::ServerErrorKind::NoScript.into(), "no script").into()
}

fn sent(turn: Turn) -> (Vec<Cmd>, Conversation) {
    let Turn::Send(commands, conversation) = turn else { panic!("{turn:?}") };
    (commands, conversation)
}

#[test]
fn a_stream_is_known_before_it_is_written() {
    let (commands, conversation) = sent(open(StoreOp::Write(write())));
    assert_eq!(commands.len(), 1);
    assert!(String::from_utf8_lossy(&commands[0].get_packed_command()).contains("SADD"));
    let Turn::End(Err(error)) = conversation.hear(vec![Err((ErrorKind::Io, "lost").into())]) else {
        panic!()
    };
    assert_eq!(error.kind, StoreErrorKind::Unreachable);
}

#[test]
fn a_script_is_sent_in_full_once() {
    let (_, conversation) = sent(open(StoreOp::Adopt { stream: STREAM, lease: LEASE }));
    let (commands, conversation) = sent(conversation.hear(vec![Err(unknown_script())]));
    let text = String::from_utf8(commands[0].get_packed_command()).unwrap();
    assert!(text.contains("EVAL\r\n") && text.contains(ADOPT.code));
    assert!(matches!(conversation.hear(vec![Err(unknown_script())]), Turn::End(Err(_))));
}

#[test]
fn replies_that_do_not_come_are_a_lost_connection() {
    for op in [StoreOp::List { space: STREAM.space() }, StoreOp::Close { stream: STREAM, keep: true }] {
        let (_, conversation) = sent(open(op));
        let Turn::End(Err(error)) = conversation.hear(Vec::new()) else { panic!() };
        assert_eq!(error.kind, StoreErrorKind::Unreachable);
    }
}

#[test]
fn nothing_shows_what_is_written() {
    let shown = format!("{:?}", open(StoreOp::Write(Write { register: false, ..write() })));
    assert!(!shown.contains("personal"), "{shown}");
}

#[test]
fn urls_lead_where_they_say() {
    let parse = |url: &str| Address::parse(&Secret::new(url)).unwrap();
    let show = |one: &::redis::ConnectionInfo| {
        let settings = one.redis_settings();
        format!("{} {:?} {:?} {}", one.addr(), settings.username(), settings.password(), settings.db())
    };

    let Address::One(one) = parse("redis://u:p%2F%40%3A@[::1]/3") else { panic!() };
    assert_eq!(show(&one), "::1:6379 Some(\"u\") Some(\"p/@:\") 3");
    assert!(!parse("redis://host").is_tls() && parse("rediss://host:1").is_tls());

    let cluster = parse("rediss+cluster://:p@a:1,b,[::1]:2");
    assert!(cluster.is_tls());
    assert_eq!(cluster.password(), Some("p"));
    let Address::Cluster(nodes) = cluster else { panic!() };
    let shown: Vec<_> = nodes.iter().map(show).collect();
    let expected = ["a:1", "b:6379", "::1:2"].map(|node| format!("{node} None Some(\"p\") 0"));
    assert_eq!(shown, expected);

    let sentinels = parse("rediss+sentinel://u:p@a,b:26379/the-master/2");
    assert!(sentinels.is_tls());
    let Address::Sentinels(sentinels) = sentinels else { panic!() };
    let shown: Vec<_> = sentinels.nodes().iter().map(show).collect();
    assert_eq!(shown, ["a:6379 None None 0", "b:26379 None None 0"]);
    let master = sentinels.master(Ok(words(&["10.0.0.1", "7000"]))).unwrap();
    assert_eq!(show(&master), "10.0.0.1:7000 Some(\"u\") Some(\"p\") 2");
    assert!(matches!(master.addr(), ::redis::ConnectionAddr::TcpTls { insecure: false, .. }));
    assert!(sentinels.master(Ok(Value::Nil)).is_err());
    assert!(!format!("{:?}", parse("redis://user:hunter2@host")).contains("user"));

    // What is encrypted by its URL is so on each connection.
    for url in ["rediss://h", "rediss+cluster://a,b:1,[::1]", "rediss+sentinel://a,b/master"] {
        let address = parse(url);
        assert!(format!("{address}").starts_with("rediss"), "{address}");
        for node in address.nodes() {
            let addr = node.addr();
            assert!(
                matches!(addr, ::redis::ConnectionAddr::TcpTls { insecure: false, .. }),
                "{url}: {addr:?}"
            );
        }
    }
    for spelling in
        ["REDISS://h", "Rediss://h", "redis s://h", "redisS://h", "rediss:h", "rediss+unix:///s", "", " "]
    {
        assert!(Address::parse(&Secret::new(spelling)).is_err(), "{spelling}");
    }

    for database in ["-1", "2147483648", "one"] {
        for url in [format!("redis://host/{database}"), format!("redis+sentinel://host/master/{database}")] {
            let problem = Address::parse(&Secret::new(&*url)).unwrap_err();
            assert!(problem.bound.contains("number of"), "{url}: {problem:?}");
        }
    }
}
