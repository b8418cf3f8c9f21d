//! The collector itself: what it accepts, what it refuses and how it fails.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use guard_agent_tests::collector::{Answer, Collector};
use serde_json::json;

const HEADERS: &str = "user-agent: test\r\ncontent-type: application/json\r\nx-api-key: test-api-key\r\n\
                       x-agent-install-id: test\r\n";
const LIMIT: Duration = Duration::from_secs(10);

fn connect(collector: &Collector) -> TcpStream {
    let stream = TcpStream::connect(collector.addr()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends one request on a connection of its own; answers all that comes back until it closes.
fn exchange(collector: &Collector, head: &str, body: &str) -> std::io::Result<String> {
    let mut stream = connect(collector);
    write!(stream, "{head} HTTP/1.1\r\n{HEADERS}content-length: {}\r\n\r\n{body}", body.len())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn batch(id: &str, keys: &[u128]) -> String {
    let events: Vec<_> = keys
        .iter()
        .map(|key| {
            let key = format!("{:08x}-0000-4000-8000-000000000000", key);
            json!({"idempotency_key": key, "timestamp": "2026-01-02T03:04:05Z", "event_type": "ip_banned"})
        })
        .collect();
    json!({
        "project_id": "default", "events": events, "metrics": [], "batch_id": id,
        "created_at": "2026-01-02T03:04:05Z", "compressed": false, "agent_version": "1",
        "guard_version": null, "guard_core_version": null,
    })
    .to_string()
}

fn post(collector: &Collector, body: &str) -> String {
    exchange(collector, "POST /api/v1/events", body).unwrap()
}

#[test]
fn a_batch_arrives_once() {
    let collector = Collector::start();
    assert!(post(&collector, &batch("1-a", &[1, 2])).starts_with("HTTP/1.1 200"));
    assert!(post(&collector, &batch("1-a", &[1, 2])).starts_with("HTTP/1.1 200"));
    collector.wait_for(|received| received.duplicates == 2, LIMIT);
    assert_eq!(collector.read(|received| (received.events.len(), received.event_count)), (2, 2));
    assert_eq!(collector.violations(), [""; 0]);
}

#[test]
fn breaches_of_the_contract_are_refused_and_told() {
    let collector = Collector::builder().api_key("test-api-key").start();
    let table = [
        ("POST /api/v2/events", batch("1-a", &[1]), "404", "no such endpoint: POST /api/v2/events"),
        ("POST /api/v1/events", batch("1-a", &[]), "422", "events: empty batch 1-a"),
        ("POST /api/v1/metrics", batch("1-b", &[1]), "422", "metrics: batch of events"),
        ("POST /api/v1/events/encrypted", batch("1-c", &[1]), "400", "events: encrypted without a key"),
        ("POST /api/v1/status", String::from("{"), "422", "status: EOF while parsing"),
        ("POST /api/v1/events", " ".repeat(262_145), "413", "/api/v1/events: body above 262144 bytes"),
    ];
    for (head, body, status, message) in table {
        let answer = exchange(&collector, head, &body).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
        assert!(collector.violations().last().unwrap().starts_with(message), "{:?}", collector.violations());
    }
    assert_eq!(collector.read(|received| received.event_count), 0);

    collector.set_keys(guard_agent_tests::collector::Keys {
        api_key: Some(String::from("another-api-key")),
        ..Default::default()
    });
    assert!(post(&collector, &batch("1-d", &[1])).starts_with("HTTP/1.1 401"));
}

#[test]
fn a_batch_id_with_other_bytes_is_a_breach() {
    let collector = Collector::start();
    post(&collector, &batch("1-a", &[1]));
    assert!(post(&collector, &batch("1-a", &[2])).starts_with("HTTP/1.1 400"));
    assert_eq!(collector.violations(), ["events: batch id 1-a came with other bytes before"]);
}

#[test]
fn answers_are_given_in_the_order_of_the_script() {
    let collector = Collector::start();
    collector.events().answer_next(1, Answer::status(503).header("retry-after", "7"));
    collector.events().answer_next(1, Answer::partly(&[1]));
    collector.events().answer_always(Answer::status(404).body("<html>"));

    let unavailable = post(&collector, &batch("1-a", &[1, 2, 3]));
    assert!(unavailable.starts_with("HTTP/1.1 503") && unavailable.contains("retry-after: 7\r\n"));
    assert_eq!(collector.read(|received| received.event_count), 0);

    assert!(post(&collector, &batch("1-a", &[1, 2, 3])).contains(r#""index":1"#));
    assert_eq!(collector.read(|received| received.event_count), 2);

    for _ in 0..2 {
        assert!(post(&collector, &batch("1-b", &[4])).ends_with("<html>"));
    }
    collector.events().answer_normally();
    assert!(post(&collector, &batch("1-b", &[4])).contains(r#""success":true"#));
    assert_eq!(collector.read(|received| received.event_count), 3);
}

#[test]
fn an_answer_may_be_for_some_batches_alone() {
    let collector = Collector::start();
    collector.events().answer_always(Answer::status(422).if_longer_than(2));
    assert!(post(&collector, &batch("1-a", &[1, 2, 3])).starts_with("HTTP/1.1 422"));
    assert!(post(&collector, &batch("1-b", &[1, 2])).starts_with("HTTP/1.1 200"));

    collector.events().answer_always(Answer::status(400).if_it_has("00000005-"));
    assert!(post(&collector, &batch("1-c", &[4, 5])).starts_with("HTTP/1.1 400"));
    assert!(post(&collector, &batch("1-d", &[4])).starts_with("HTTP/1.1 200"));
    assert_eq!(collector.read(|received| (received.event_count, received.duplicates)), (3, 0));
}

#[test]
fn every_second_record_may_be_named_as_failed() {
    let collector = Collector::start();
    collector.events().answer_next(1, Answer::every_second());
    let answer = post(&collector, &batch("1-a", &[1, 2, 3]));
    assert!(answer.contains(r#""index":0"#) && answer.contains(r#""index":2"#), "{answer}");
    assert!(answer.contains(r#""success":false"#) && !answer.contains(r#""index":1"#), "{answer}");
    assert_eq!(collector.read(|received| received.event_count), 1);
}

#[test]
fn faults_look_as_they_should() {
    let collector = Collector::start();
    let body = batch("1-a", &[1]);
    let answer_with = |answer: Answer| {
        collector.events().answer_next(1, answer);
        exchange(&collector, "POST /api/v1/events", &body)
    };

    assert!(answer_with(Answer::reset()).is_err());
    assert_eq!(collector.read(|received| received.event_count), 0);
    assert!(answer_with(Answer::lost()).is_err());
    assert_eq!(collector.read(|received| received.event_count), 1);
    assert!(answer_with(Answer::cut()).unwrap().contains("content-length: 4096"));
    assert!(!answer_with(Answer::garbage()).unwrap().starts_with("HTTP"));
    assert_eq!(answer_with(Answer::normal().twice()).unwrap().matches("HTTP/1.1 200").count(), 2);

    let started = Instant::now();
    answer_with(Answer::normal().after(Duration::from_millis(50))).unwrap();
    answer_with(Answer::status(204).trickling(Duration::from_millis(1))).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(70));

    collector.events().answer_next(1, Answer::hang());
    let mut stream = connect(&collector);
    write!(stream, "POST /api/v1/events HTTP/1.1\r\n{HEADERS}content-length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");

    for endless in [Answer::endless_body(), Answer::endless_headers()] {
        collector.events().answer_next(1, endless);
        let mut stream = connect(&collector);
        write!(
            stream,
            "POST /api/v1/events HTTP/1.1\r\n{HEADERS}content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut sink = vec![0; 8 << 20];
        stream.read_exact(&mut sink).unwrap();
    }
}

#[test]
fn it_goes_down_and_comes_back_on_the_same_port() {
    let collector = Collector::start();
    let mut open = connect(&collector);
    post(&collector, &batch("1-a", &[1]));
    collector.down();
    assert!(TcpStream::connect(collector.addr()).is_err());
    assert!(matches!(open.read(&mut [0]), Ok(0) | Err(_)), "open connections break");
    collector.up();
    assert!(post(&collector, &batch("1-b", &[2])).starts_with("HTTP/1.1 200"));
    assert_eq!(collector.read(|received| received.event_count), 2);
}

#[test]
fn rules_carry_an_entity_tag() {
    let collector = Collector::start();
    let get = |etag: &str| {
        let mut stream = connect(&collector);
        write!(stream, "GET /api/v1/rules HTTP/1.1\r\n{HEADERS}if-none-match: {etag}\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("x").contains("etag: \"rules-0\"\r\n"));
    assert!(get("\"rules-0\"").starts_with("HTTP/1.1 304"));
    collector.set_rules(&json!({"rule_id": "ban", "ip_blacklist": ["192.0.2.7"]}));
    assert!(get("\"rules-0\"").ends_with(r#"{"ip_blacklist":["192.0.2.7"],"rule_id":"ban"}"#));
    collector.send_etags(false);
    assert!(!get("\"rules-1\"").contains("etag"));
}
