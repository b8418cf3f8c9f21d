//! What an agent of any runtime says of the store of its journal.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, reason = "tests")]

use std::fs;

use crate::collector::Collector;
use crate::pipe_process::Pipe;
use crate::redis_server::{RedisServer, TlsFiles};
use crate::scratch::Scratch;

use super::chaos::journal_trouble;

/// The tests of what the pipe of that name says of its store.
#[macro_export]
macro_rules! store_suite {
    ($pipe:literal) => {
        $crate::store_suite! { @ $pipe,
            messages_say_which_redis,
            messages_say_which_folder,
            tls_to_a_plain_port_is_recognized,
            plain_text_to_a_tls_port_is_recognized,
            an_http_server_is_recognized,
        }
    };
    (@ $pipe:literal, $($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            $crate::suites::store::$name($crate::pipe_process::Pipe { name: $pipe, flags: &[] });
        })*
    };
}

pub fn messages_say_which_redis(pipe: Pipe) {
    for (url, place) in [
        ("redis://reporter:s3cret@127.0.0.1:1/2", "redis://127.0.0.1:1/2"),
        ("rediss://:s3cret@localhost:1", "rediss://localhost:1/0"),
        ("redis+cluster://:s3cret@127.0.0.1:1,[::1]:1", "redis+cluster://127.0.0.1:1,[::1]:1"),
        (
            "redis+sentinel://:s3cret@127.0.0.1:1,127.0.0.1:2/journal/3",
            "redis+sentinel://127.0.0.1:1,127.0.0.1:2/journal/3",
        ),
        ("redis+unix:///nowhere/redis.sock?db=4&pass=s3cret", "redis+unix:///nowhere/redis.sock?db=4"),
    ] {
        let (reason, errors) = trouble(pipe, &["--redis", url]);
        assert!(reason.contains(&format!("The journal in {place} is not available")), "{url}: {reason}");
        assert!(errors.contains(&format!("({place})")), "{url}: {errors}");
        assert!(!reason.contains("s3cret") && !errors.contains("s3cret"), "{url}: {reason}\n{errors}");
        assert!(!errors.contains("reporter"), "{url}: {errors}");
    }
}

pub fn messages_say_which_folder(pipe: Pipe) {
    let scratch = Scratch::new().unwrap();
    let folder = scratch.path().join("journal");
    let collector = Collector::start();
    let flags = ["--journal", folder.to_str().unwrap(), "--stats-every", "0.1", "--shutdown-timeout", "0.2"];
    let mut process = pipe.start(&collector.url(), &flags);
    process.stats_until(|_| true);
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "not a folder").unwrap();
    collector.down();
    process.write("{\"kind\":\"event\",\"event_type\":\"ip_banned\"}\n");

    let stats = process.stats_until(|stats| journal_trouble(stats).is_some());

    let place = folder.display();
    let reason = journal_trouble(&stats).unwrap();
    assert!(reason.contains(&format!("The journal in {place} is not available")), "{reason}");
    process.end_input();
    let errors = process.wait().errors;
    assert!(errors.contains(&format!("({place})")), "{errors}");
}

pub fn tls_to_a_plain_port_is_recognized(pipe: Pipe) {
    let server = RedisServer::start(&["requirepass s3cret"]);
    let url = server.url().replacen("redis", "rediss", 1);
    let told = told(pipe, &url);
    assert!(told.contains("that port speaks Redis without TLS"), "{told}");
    assert!(told.contains("`redis://` instead of `rediss://`"), "{told}");
}

pub fn plain_text_to_a_tls_port_is_recognized(pipe: Pipe) {
    let server = RedisServer::start_tls(&["requirepass s3cret"], &TlsFiles::issue("127.0.0.1"));
    let url = server.tls_url().replacen("rediss", "redis", 1);
    let told = told(pipe, &url);
    assert!(told.contains("that port speaks TLS"), "{told}");
    assert!(told.contains("`rediss://` instead of `redis://`"), "{told}");
}

pub fn an_http_server_is_recognized(pipe: Pipe) {
    let server = Collector::start();
    for scheme in ["redis", "rediss", "redis+cluster", "redis+sentinel"] {
        let end = if scheme == "redis+sentinel" { "/journal" } else { "" };
        let url = server.url().replacen("http", scheme, 1) + end;
        let told = told(pipe, &url);
        assert!(told.contains("an HTTP server answers there, not Redis"), "{url}: {told}");
    }
}

/// The first line about the journal, with the place in it.
fn told(pipe: Pipe, url: &str) -> String {
    let (_, errors) = trouble(pipe, &["--redis", url]);
    errors.lines().find(|line| line.contains("journal:")).unwrap_or(&errors).to_owned()
}

/// What the health says of the journal, and all that was told, while nothing can be delivered.
fn trouble(pipe: Pipe, flags: &[&str]) -> (String, String) {
    let collector = Collector::start();
    collector.down();
    let own = ["--stats-every", "0.1", "--set", "journal_timeout=2", "--shutdown-timeout", "0.2"];
    let mut process = pipe.start(&collector.url(), &[flags, &own].concat());
    process.write("{\"kind\":\"event\",\"event_type\":\"ip_banned\"}\n");
    let stats = process.stats_until(|stats| journal_trouble(stats).is_some());
    let reason = journal_trouble(&stats).unwrap().to_owned();
    process.end_input();
    (reason, process.wait().errors)
}
