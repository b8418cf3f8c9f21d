//! What the example server of every runtime must do.
#![allow(missing_docs, clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::collector::Collector;
use crate::pipe_process::{HANG, example};

/// Logs in, fails to, asks too often, and ends it.
pub fn it_reports_and_ends_in_order(name: &str, args: &[&str]) {
    let collector = Collector::start();
    let mut server = Command::new(example(name))
        .args(args)
        .env("GUARD_AGENT_API_KEY", "0123456789")
        .env("GUARD_AGENT_ENDPOINT", collector.url())
        .env("NO_PROXY", "127.0.0.1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
    let get = |path: &str, authorization: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    assert_eq!(get("/private", "Bearer open-sesame"), 200);
    assert_eq!(get("/private", "Bearer guess"), 401);
    let answers: Vec<_> = (0..20).map(|_| get("/", "")).collect();
    assert_eq!(answers[..18], [200; 18]);
    assert_eq!(answers[18..], [429; 2]);
    collector.wait_for(|received| received.event_count == 3, HANG);

    let id = server.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    assert!(server.wait().unwrap().success());
    collector.read(|received| {
        let mut types: Vec<_> =
            received.events.iter().map(|event| event.value()["event_type"].clone()).collect();
        types.sort_by_key(ToString::to_string);
        assert_eq!(types, [json!("authentication_failed"), json!("rate_limited"), json!("rate_limited")]);
        assert_eq!(received.metric_count, 44);
        assert_eq!(received.statuses.last().unwrap()["status"], "healthy");
    });
    assert_eq!(collector.violations(), [""; 0]);
}
