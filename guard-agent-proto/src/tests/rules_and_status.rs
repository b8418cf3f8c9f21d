use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Bench, SECOND, record};
use crate::{
    AgentEvent, AgentStatus, Endpoint, HealthReason, Input, Instant, Kind, Payload, Reason, Request,
    Response, StatusLevel,
};

fn bench() -> Bench {
    Bench::new(|config| config.project_id = Some(String::from("p")))
}

fn rules(body: &str) -> Response {
    Response { status: 200, etag: Some(String::from("\"v1\"")), body: body.into(), ..Response::accepted() }
}

fn blacklist(bench: &Bench) -> Option<Vec<String>> {
    bench.agent.rules().map(|document| document.rules.ip_blacklist.clone())
}

fn polled(bench: &mut Bench) -> Request {
    let request = bench.take_request();
    assert_eq!(request.payload.endpoint(), Endpoint::Rules);
    request
}

const DOCUMENT: &str = r#"{"rule_id":"r1","version":1,"ttl":600,"ip_blacklist":["192.0.2.1"]}"#;

#[test]
fn without_a_project_there_is_nothing_to_poll() {
    let mut bench = Bench::new(|_| {});
    bench.input(Input::RefreshRules);
    assert!(bench.requests.is_empty());
}

#[test]
fn polled_at_start_then_by_interval_conditionally() {
    let mut bench = bench();
    let first = polled(&mut bench);
    assert!(matches!(first.payload, Payload::Rules { etag: None }));
    bench.answer_with(&first, rules(DOCUMENT));
    assert_eq!(blacklist(&bench), Some(vec![String::from("192.0.2.1")]));
    bench.pass(299 * SECOND);
    bench.requests.retain(|request| request.payload.endpoint() == Endpoint::Rules);
    assert!(bench.requests.is_empty());
    bench.pass(SECOND);
    bench.requests.retain(|request| request.payload.endpoint() == Endpoint::Rules);
    let second = polled(&mut bench);
    assert!(matches!(&second.payload, Payload::Rules { etag: Some(etag) } if &**etag == "\"v1\""));
    bench.answer(&second, 304);
    assert!(blacklist(&bench).is_some());
    let news = bench.events.iter().filter(|event| matches!(event, AgentEvent::Rules(_))).count();
    assert_eq!(news, 1);
}

#[test]
fn a_short_ttl_is_fetched_sooner_but_not_without_end() {
    for (ttl, secs) in [(60, 60), (1, 30), (600, 300), (0, 300), (-5, 300)] {
        let mut bench = bench();
        let request = polled(&mut bench);
        bench.answer_with(&request, rules(&alloc::format!(r#"{{"rule_id":"r","ttl":{ttl}}}"#)));
        assert_eq!(bench.idle, (Instant::ZERO + Duration::from_secs(secs), Reason::RulesPoll), "{ttl}");
    }
}

#[test]
fn the_last_good_rules_survive_everything_but_their_end() {
    let mut bench = bench();
    let request = polled(&mut bench);
    bench.answer_with(&request, rules(DOCUMENT));
    for (status, body) in [
        (200, r#"{"detail":"maintenance"}"#),
        (200, "{}"),
        (200, "<html>"),
        (200, r#"{"rule_id":"r2","ip_blacklist":7}"#),
        (200, r#"{"rule_id":"r1","version":0,"ip_blacklist":[]}"#),
        (200, r#"{"rule_id":"r2","version":2}"#),
        (200, r#"{"rule_id":"r2","expires_at":"2020-01-01T00:00:00Z"}"#),
        (404, ""),
        (500, ""),
    ] {
        bench.input(Input::RefreshRules);
        bench.pass(5 * SECOND);
        let request = polled(&mut bench);
        bench.answer_with(&request, Response { status, body: body.into(), ..Response::accepted() });
        assert_eq!(blacklist(&bench), Some(vec![String::from("192.0.2.1")]), "{status} {body}");
    }
    let stats = bench.agent.stats();
    assert_eq!((stats.rules_fetched, stats.rules_failed), (1, 9));
    assert!(bench.agent.health().reasons.contains(&HealthReason::RulesFailing));
    let told = bench.events.iter().filter(|event| matches!(event, AgentEvent::Error { .. })).count();
    assert_eq!(told, 2, "one for the rules, one for the 500: {:?}", bench.events);
}

#[test]
fn a_platform_that_goes_back_and_forth_is_reported_once_a_minute() {
    let mut bench = bench();
    let mut versions = [5, 4, 5, 3, 5, 4, 1].into_iter().cycle();
    let start = bench.now.instant;
    while bench.now.instant.since(start) < 300 * SECOND {
        for request in core::mem::take(&mut bench.requests) {
            if request.payload.endpoint() == Endpoint::Rules {
                let version = versions.next().unwrap();
                let body =
                    alloc::format!(r#"{{"rule_id":"r","version":{version},"ip_blacklist":["{version}"]}}"#);
                bench.answer_with(&request, Response { body: body.into(), ..Response::accepted() });
            } else {
                bench.answer(&request, 200);
            }
        }
        bench.input(Input::RefreshRules);
        bench.pass(SECOND);
        assert_eq!(blacklist(&bench), Some(vec![String::from("5")]));
    }
    assert!(bench.agent.stats().rules_failed > 50, "{:?}", bench.agent.stats());
    let told = bench.events.iter().filter(|event| matches!(event, AgentEvent::Error { .. })).count();
    assert!((1..=6).contains(&told), "{told}");
}

#[test]
fn rules_end_at_their_hard_end() {
    let mut bench = bench();
    let request = polled(&mut bench);
    // The bench's clock reads 2026-11-22T16:53:24Z at its start.
    let end = bench.now.wall.as_unix_micros() + 120_000_000;
    let end = crate::Timestamp::from_unix_micros(end);
    bench.answer_with(&request, rules(&alloc::format!(r#"{{"rule_id":"r","expires_at":"{end}"}}"#)));
    bench.pass(119 * SECOND);
    assert!(bench.agent.rules().is_some());
    bench.pass(2 * SECOND);
    assert!(bench.agent.rules().is_none());
    assert!(matches!(bench.events.last(), Some(AgentEvent::Rules(None))));
}

#[test]
fn a_delivered_attack_is_followed_by_quick_polls() {
    let mut bench = bench();
    let request = polled(&mut bench);
    bench.answer_with(&request, rules(DOCUMENT));
    bench.pass(10 * SECOND);
    bench.send(vec![record(Kind::Event, 1, true)]);
    bench.pass(Duration::from_millis(50));
    let request = bench.take_request();
    bench.answer(&request, 200);
    let start = bench.now.instant;
    let mut polls = Vec::new();
    for _ in 0..200 {
        for request in core::mem::take(&mut bench.requests) {
            assert_eq!(request.payload.endpoint(), Endpoint::Rules);
            polls.push(bench.now.instant.since(start).as_millis());
            bench.answer(&request, 304);
        }
        bench.pass(Duration::from_millis(100));
    }
    assert_eq!(polls, [0, 1_000, 2_500, 6_000, 15_000]);
}

#[test]
fn informational_events_poll_nothing() {
    let mut bench = bench();
    let request = polled(&mut bench);
    bench.answer_with(&request, rules(DOCUMENT));
    bench.events(1);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.answer(&request, 200);
    bench.pass(30 * SECOND);
    assert!(bench.requests.is_empty());
}

#[test]
fn the_status_tells_what_the_contract_asks_for() {
    let mut bench = Bench::new(|_| {});
    bench.events(2);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.answer(&request, 401);
    bench.pass(3 * SECOND);
    bench.input(Input::CredentialsChanged);
    let request = bench.take_request();
    bench.answer(&request, 200);
    bench.pass(296 * SECOND);
    let request = bench.take_request();
    let Payload::Status(status) = &request.payload else { panic!("{request:?}") };
    let expected = AgentStatus {
        timestamp: bench.now.wall,
        status: StatusLevel::Healthy,
        uptime: 300.0,
        events_sent: 2,
        events_failed: 0,
        buffer_size: 0,
        last_flush: bench.agent.stats().last_flush,
        errors: vec![],
    };
    assert_eq!(**status, expected);
    bench.answer(&request, 500);
    assert_eq!(bench.agent.stats().status_failed, 1);
    bench.pass(299 * SECOND);
    assert!(bench.requests.is_empty(), "a failed push waits for the next one");
}

#[test]
fn the_hard_end_of_rules_is_relative_to_the_date_of_their_answer() {
    let mut bench = bench();
    let request = polled(&mut bench);
    // For the bench's clock they ended hours ago.
    let document = rules(r#"{"rule_id":"r","expires_at":"2026-11-22T12:02:00Z"}"#);
    let date = Some("Sun, 22 Nov 2026 12:00:00 GMT".into());
    bench.answer_with(&request, Response { date, ..document });
    bench.pass(119 * SECOND);
    assert!(bench.agent.rules().is_some());
    bench.pass(2 * SECOND);
    assert!(bench.agent.rules().is_none());
}
