//! What agents of this kind are known to get wrong, where no other test shows that this one does not.
//! `tests/known-weaknesses.md` is the map.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Bench, SECOND, event, key, numbers, record};
use crate::wire::Wire;
use crate::{
    AgentConfig, AgentEvent, Batch, BreakerState, DropReason, Endpoint, ErrorStage, HealthReason, Input,
    Instant, Kind, OverflowPolicy, Payload, Record, Request, Response, Secret, StatusLevel,
};

/// The batch of a request, if it carries one.
fn batch(request: &Request) -> Option<&Batch> {
    match &request.payload {
        Payload::Batch(batch) => Some(batch),
        Payload::Status(_) | Payload::Rules { .. } => None,
    }
}

fn metric(number: usize) -> Record {
    record(Kind::Metric, number, false)
}

fn with_body(status: u16, body: &str) -> Response {
    Response { status, body: body.into(), ..Response::accepted() }
}

#[test]
fn a_failed_flush_evicts_nothing() {
    for (buffer_size, policy, delivered) in [
        (8, OverflowPolicy::Drop, 0..8),
        // What is in flight is in memory too; the newcomers find no room, whatever becomes of it.
        (5, OverflowPolicy::Drop, 0..5),
        (5, OverflowPolicy::Raise, 0..5),
    ] {
        let mut bench = Bench::new(|config| {
            config.buffer_size = buffer_size;
            config.buffer_overflow_policy = policy;
        });
        bench.events(5);
        bench.pass(SECOND);
        let request = bench.take_request();
        bench.send((5..8).map(event).collect());
        let before = bench.agent.stats().records.events.dropped;
        bench.fail(&request);
        assert_eq!(bench.agent.stats().records.events.dropped, before);
        assert_eq!(before[DropReason::Overflow], 8 - delivered.len() as u64);
        let mut arrived = vec![];
        for _ in 0..10 {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                arrived.extend(batch(&request).into_iter().flat_map(numbers));
                bench.answer(&request, 200);
            }
        }
        assert_eq!(arrived, delivered.collect::<Vec<_>>());
    }
}

#[test]
fn a_burst_at_a_healthy_platform_loses_nothing() {
    let mut bench = Bench::new(|_| {});
    let padding = "x".repeat(520);
    let typical = |number| {
        let json = alloc::format!(r#"{{"idempotency_key":"{}","x":"{padding}"}}"#, key(number));
        Record::new(Kind::Event, false, json.into_bytes().into())
    };
    bench.send((0..20_000).map(typical).collect());
    for _ in 0..60 {
        bench.pass(SECOND);
        for request in core::mem::take(&mut bench.requests) {
            bench.answer(&request, 200);
        }
    }
    assert_eq!(bench.agent.stats().records.events.delivered, 20_000);
}

#[test]
fn a_shutdown_waits_for_what_is_in_flight_and_sends_the_rest() {
    let mut bench = Bench::new(|_| {});
    bench.events(3);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.events(2);
    bench.shutdown(10);
    bench.pass(SECOND);
    assert!(bench.closed.is_none(), "a batch is in flight");
    bench.answer(&request, 200);
    let request = bench.take_request();
    assert_eq!(batch(&request).map(Batch::len), Some(2));
    bench.answer(&request, 200);
    let status = bench.take_request();
    bench.answer(&status, 200);
    assert_eq!(bench.closed.map(|report| (report.delivered.events, report.pending.events)), Some((5, 0)));
}

#[test]
fn a_shutdown_after_a_failed_flush_tries_again_at_once() {
    for failures in [1, 3, 20] {
        let mut bench = Bench::new(|_| {});
        bench.events(3);
        let mut failed = 0;
        while failed < failures {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                bench.fail(&request);
                failed += 1;
            }
        }
        let start = bench.now.instant;
        bench.shutdown(10);
        while bench.closed.is_none() {
            for request in core::mem::take(&mut bench.requests) {
                bench.answer(&request, 200);
            }
            bench.pass(Duration::from_millis(10));
        }
        assert!(bench.now.instant.since(start) < 2 * SECOND, "{failures}");
        assert_eq!(bench.closed.map(|report| report.delivered.events), Some(3), "{failures}");
    }
}

#[test]
fn a_shutdown_does_not_wait_for_what_cannot_be_sent() {
    type Trouble = fn(&mut Bench);
    let told_to_wait: Trouble = |bench| {
        bench.events(1);
        bench.send(vec![metric(0)]);
        bench.flush(1);
        for request in core::mem::take(&mut bench.requests) {
            let retry_after = Some("9999".into());
            bench.answer_with(&request, Response { status: 429, retry_after, ..Response::accepted() });
        }
    };
    let out_of_requests: Trouble = |bench| {
        for number in 0..10 {
            bench.events(1);
            bench.flush(1);
            if number == 9 {
                // The last one is not for flushes.
                bench.pass(20 * SECOND);
            }
            let request = bench.take_request();
            bench.answer(&request, 200);
        }
        bench.events(1);
    };
    for trouble in [told_to_wait, out_of_requests] {
        let mut bench = Bench::new(|config| config.rate_limit = 10);
        trouble(&mut bench);
        assert!(bench.requests.is_empty());
        let start = bench.now.instant;
        bench.shutdown(20);
        while bench.closed.is_none() {
            for request in core::mem::take(&mut bench.requests) {
                assert_eq!(request.payload.endpoint(), Endpoint::Status);
                bench.answer(&request, 200);
            }
            bench.pass(Duration::from_millis(10));
        }
        assert!(bench.now.instant.since(start) <= SECOND);
        assert_eq!(bench.closed.map(|report| report.pending.events), Some(1));
    }
}

#[test]
fn a_shutdown_tries_until_its_deadline_while_connections_are_refused() {
    for seed in 0..50 {
        let mut bench = Bench::build(false, [seed; 32], |_| {});
        bench.events(1);
        let start = bench.now.instant;
        bench.shutdown(10);
        let mut last = start;
        while bench.closed.is_none() {
            for request in core::mem::take(&mut bench.requests) {
                last = bench.now.instant;
                bench.fail(&request);
            }
            bench.pass(Duration::from_millis(10));
        }
        let (tried, ended) = (last.since(start), bench.now.instant.since(start));
        assert!(
            tried >= 8 * SECOND,
            "seed {seed}: the last attempt was after {tried:?}, the end after {ended:?}"
        );
    }
}

#[test]
fn a_half_that_arrived_is_not_sent_again_and_does_not_wait_for_the_other() {
    let mut bench = Bench::new(|config| config.rate_limit = 10_000);
    bench.events(4);
    let mut arrivals = vec![];
    for _ in 0..60 {
        bench.pass(SECOND);
        for request in core::mem::take(&mut bench.requests) {
            let Some(batch) = batch(&request) else { continue };
            let numbers = numbers(batch);
            // The left half fails three times.
            let failures = arrivals.iter().filter(|earlier| **earlier == [0, 1]).count();
            arrivals.push(numbers.clone());
            let status = match &*numbers {
                [_, _, _, _] => 413,
                [0, 1] if failures < 3 => 500,
                _ => 200,
            };
            bench.answer(&request, status);
        }
    }
    let expected: [&[usize]; 6] = [&[0, 1, 2, 3], &[0, 1], &[2, 3], &[0, 1], &[0, 1], &[0, 1]];
    assert_eq!(arrivals, expected);
    assert_eq!(bench.agent.stats().records.events.delivered, 4);
}

#[test]
fn a_retried_batch_of_metrics_keeps_its_id() {
    let mut bench = Bench::new(|config| config.flush_interval = SECOND);
    bench.send((0..3).map(metric).collect());
    bench.pass(SECOND);
    let (mut request, first) = bench.take_batch();
    for status in [500, 429, 401, 200] {
        bench.send(vec![metric(9)]);
        bench.answer(&request, status);
        if status != 200 {
            bench.pass(30 * SECOND);
            let (again, repeated) = bench.take_batch();
            assert_eq!((repeated.kind(), &repeated), (Kind::Metric, &first), "{status}");
            request = again;
        }
    }
}

#[test]
fn no_more_batches_are_out_than_allowed() {
    for (allowed, expected) in [(1, 1), (2, 2), (4, 2)] {
        let mut bench = Bench::new(|config| {
            config.max_concurrent_flushes = allowed;
            config.flush_interval = SECOND;
        });
        bench.events(1);
        bench.send(vec![metric(0)]);
        bench.flush(60);
        bench.pass(10 * SECOND);
        assert_eq!(bench.requests.len(), expected, "{allowed} allowed");
    }
}

/// Two hundred agents lose the platform at the same moment: neither their quick retries nor their probes
/// fall into step.
#[test]
fn a_fleet_does_not_retry_in_step() {
    let mut by_second = vec![0_u32; 120];
    let mut worst_tenth = vec![0_u32; 1_200];
    for agent in 0..200_u8 {
        let mut bench = Bench::seeded([agent; 32], |_| {});
        bench.events(1);
        while bench.now.instant < Instant::ZERO + 120 * SECOND {
            for request in core::mem::take(&mut bench.requests) {
                let micros = bench.now.instant.since(Instant::ZERO).as_micros();
                by_second[usize::try_from(micros / 1_000_000).unwrap()] += 1;
                worst_tenth[usize::try_from(micros / 100_000).unwrap()] += 1;
                bench.fail(&request);
            }
            let next = bench.idle.0.since(bench.now.instant);
            bench.jump(next.min(120 * SECOND));
        }
    }
    // All begin together; ten seconds later they are spread over every tenth of a second.
    let steady: u32 = by_second[10..].iter().sum::<u32>() / 110;
    assert!((10..=100).contains(&steady), "{steady} requests per second of 200 agents");
    let peak = by_second[10..].iter().max().copied().unwrap_or(0);
    assert!(peak <= 2 * steady, "{peak} in a second, {steady} on average");
    let peak = worst_tenth[100..].iter().max().copied().unwrap_or(0);
    assert!(peak <= 5 + steady / 2, "{peak} in a tenth of a second, {steady} per second on average");
}

/// Whatever is answered for an hour, the platform is asked neither in a tight loop nor never again, and
/// only what says that it is in trouble opens the breaker.
#[test]
fn no_answer_makes_it_hammer_the_platform() {
    for (status, body, breaker) in [
        (200, r#"{"success":false}"#, BreakerState::Closed),
        (200, r#"{"errors":["bad"]}"#, BreakerState::Closed),
        (200, "<html>", BreakerState::Closed),
        (301, "", BreakerState::Closed),
        (400, "", BreakerState::Closed),
        (401, "", BreakerState::Closed),
        (402, "", BreakerState::Closed),
        (403, "", BreakerState::Closed),
        (404, "", BreakerState::Closed),
        (405, "", BreakerState::Closed),
        (408, "", BreakerState::Open),
        (409, "", BreakerState::Closed),
        (410, "", BreakerState::Closed),
        (422, "", BreakerState::Closed),
        (425, "", BreakerState::Open),
        (429, "", BreakerState::Closed),
        (500, "", BreakerState::Open),
        (503, "", BreakerState::Open),
    ] {
        let mut bench = Bench::new(|_| {});
        bench.events(40);
        let mut attempts = 0;
        for _ in 0..3_600 {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                attempts += u32::from(batch(&request).is_some());
                bench.answer_with(&request, with_body(status, body));
            }
        }
        assert!((12..=300).contains(&attempts), "{status} {body}: {attempts} attempts in an hour");
        let stats = bench.agent.stats();
        assert_eq!(stats.breaker, breaker, "{status} {body}");
        assert_eq!(stats.records.events.pending, 40, "{status} {body}: {:?}", stats.records.events);
        assert_ne!(stats.health.level, StatusLevel::Healthy, "{status} {body}");
    }
}

#[test]
fn an_endpoint_that_fails_stops_no_other() {
    for failing in [Endpoint::Events, Endpoint::Metrics, Endpoint::Status, Endpoint::Rules] {
        let mut bench = Bench::new(|config| config.project_id = Some("p".into()));
        let mut answered = Vec::new();
        for second in 0..3_600 {
            if second % 10 == 0 {
                bench.events(1);
                bench.send(vec![metric(second)]);
            }
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                let endpoint = request.payload.endpoint();
                if endpoint == failing {
                    bench.answer(&request, 500);
                } else {
                    answered.push(endpoint);
                    bench.answer(&request, if endpoint == Endpoint::Rules { 304 } else { 200 });
                }
            }
        }
        for endpoint in [Endpoint::Events, Endpoint::Metrics, Endpoint::Status, Endpoint::Rules] {
            let count = answered.iter().filter(|answered| **answered == endpoint).count();
            assert!((count >= 10) == (endpoint != failing), "{failing} fails: {endpoint} {count} times");
        }
        let stats = bench.agent.stats();
        for (kind, endpoint) in [(Kind::Event, Endpoint::Events), (Kind::Metric, Endpoint::Metrics)] {
            let late = if endpoint == failing { 360 } else { 20 };
            assert!(stats.records[kind].pending <= late, "{failing} fails: {:?}", stats.records[kind]);
        }
    }
}

#[test]
fn waiting_for_the_rate_limit_is_no_attempt() {
    let mut bench = Bench::new(|config| {
        config.rate_limit = 10;
        config.retry_attempts = 0;
    });
    for second in 0..120 {
        if second < 30 {
            bench.events(1);
        }
        bench.flush(1);
        bench.pass(SECOND);
        for request in core::mem::take(&mut bench.requests) {
            bench.answer(&request, 200);
        }
    }
    let stats = bench.agent.stats();
    assert_eq!((stats.records.events.delivered, stats.requests_failed), (30, 0));
}

#[test]
fn the_wall_clock_moves_no_timer() {
    let departures = |wall: fn(i64) -> i64| {
        let mut bench = Bench::new(|config| config.project_id = Some("p".into()));
        let start = bench.now.wall.as_unix_micros();
        let mut departures = Vec::new();
        bench.events(1);
        bench.send(vec![metric(0)]);
        for step in 0..6_000 {
            bench.now.wall = crate::Timestamp::from_unix_micros(start + wall(step));
            for request in core::mem::take(&mut bench.requests) {
                departures.push((bench.now.instant, request.payload.endpoint()));
                if step > 3_000 { bench.answer(&request, 200) } else { bench.fail(&request) }
            }
            bench.now.instant = bench.now.instant + Duration::from_millis(100);
            bench.input(Input::Timeout);
        }
        assert_eq!(bench.agent.stats().breaker, BreakerState::Closed);
        departures
    };
    const HOUR: i64 = 3_600_000_000;
    let steady = departures(|step| step * 100_000);
    assert!(steady.len() > 10);
    assert_eq!(departures(|step| step * 100_000 - if step > 100 { HOUR } else { 0 }), steady);
    assert_eq!(departures(|step| step * 100_000 + (step % 3) * 100_000 * HOUR), steady);
    assert_eq!(departures(|_| 0), steady);
}

#[test]
fn no_body_is_larger_than_the_platform_takes() {
    for encryption in [None, Some(Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="))] {
        let adjust = |config: &mut AgentConfig| config.project_encryption_key = encryption.clone();
        let mut bench = Bench::new(adjust);
        let mut config = AgentConfig::builder("0123456789").build().unwrap();
        adjust(&mut config);
        let wire = Wire::new(&config, "install").unwrap();
        let large = |number: usize| {
            let padding = "x".repeat(number * 150);
            let json = alloc::format!(r#"{{"idempotency_key":"{}","x":"{padding}"}}"#, key(number));
            Record::new(Kind::Event, false, json.into_bytes().into())
        };
        bench.send((0..200).map(large).collect());
        let mut largest = 0;
        for _ in 0..120 {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                let body = wire.encode(&request.payload, |body, _| body.to_vec()).body.len();
                assert!(body <= 262_144, "{body} bytes");
                largest = largest.max(body);
                bench.answer(&request, 200);
            }
        }
        assert_eq!(bench.agent.stats().records.events.delivered, 200);
        assert!(largest > 200_000, "the space is used: {largest} bytes");
    }
}

#[test]
fn every_lasting_trouble_is_told_once() {
    for (status, body) in [
        (200, r#"{"success":false}"#),
        (200, r#"{"errors":[{"index":0}]}"#),
        (200, "<html>"),
        (302, ""),
        (401, ""),
        (404, ""),
        (409, ""),
        (422, ""),
        (429, ""),
        (500, ""),
    ] {
        for (kind, stage) in
            [(Kind::Event, ErrorStage::FlushEvents), (Kind::Metric, ErrorStage::FlushMetrics)]
        {
            let mut bench = Bench::new(|config| config.flush_interval = SECOND);
            bench.send((0..40).map(|number| record(kind, number, false)).collect());
            for _ in 0..1_800 {
                bench.pass(SECOND);
                for request in core::mem::take(&mut bench.requests) {
                    match request.payload.endpoint() {
                        Endpoint::Events | Endpoint::Metrics => {
                            bench.answer_with(&request, with_body(status, body));
                        }
                        Endpoint::Status | Endpoint::Rules => bench.answer(&request, 200),
                    }
                }
            }
            let told = |event: &&AgentEvent| matches!(event, AgentEvent::Error { stage: told, .. } if *told == stage);
            assert_eq!(bench.events.iter().filter(told).count(), 1, "{status} {body}: {:?}", bench.events);
        }
    }
}

#[test]
fn losses_are_told_at_once_and_then_summed_up() {
    let mut bench = Bench::new(|config| config.buffer_size = 10);
    bench.events(11);
    bench.events(500);
    bench.pass(3_600 * SECOND);
    let mut told = bench.events.iter().filter_map(|event| match event {
        AgentEvent::Error { stage: ErrorStage::Drop, message } => {
            message.split(' ').next()?.parse::<u64>().ok()
        }
        _ => None,
    });
    assert_eq!(told.next(), Some(1));
    assert_eq!(told.next(), Some(bench.agent.stats().records.events.dropped[DropReason::Overflow] - 1));
    assert_eq!(told.next(), None);
}

#[test]
fn nearly_full_is_a_matter_of_one_kind_and_passes() {
    let nearly_full = |events: usize, metrics: usize| {
        let mut bench = Bench::new(|config| config.buffer_size = 100);
        bench.events(events);
        bench.send((0..metrics).map(metric).collect());
        let told = bench.agent.health().reasons.contains(&HealthReason::BufferNearlyFull);
        for _ in 0..60 {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                bench.answer(&request, 200);
            }
        }
        assert_eq!(bench.agent.health().level, StatusLevel::Healthy);
        told
    };
    assert!(!nearly_full(45, 45));
    assert!(!nearly_full(79, 79));
    assert!(nearly_full(80, 0));
    assert!(nearly_full(0, 80));
}

/// The platform knows the first three by their words.
#[test]
fn the_status_says_why_in_the_contracts_words() {
    let errors = |bench: &Bench| bench.agent.status().errors;
    let mut bench = Bench::new(|config| config.breaker_threshold = 1);
    bench.events(1);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.fail(&request);
    assert_eq!(errors(&bench), ["Transport circuit breaker is open"]);

    let mut bench = Bench::new(|config| config.buffer_size = 100);
    bench.events(80);
    assert_eq!(errors(&bench), ["Buffer nearly full"]);

    let mut bench = Bench::new(|_| {});
    bench.input(Input::Lost { kind: Kind::Metric, reason: DropReason::Processor, count: 3 });
    assert_eq!(errors(&bench), ["High failure rate: 100.0%"]);

    let mut bench = Bench::new(|_| {});
    bench.events(1);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.answer(&request, 403);
    let status = bench.agent.status();
    assert_eq!(status.status, StatusLevel::Failed);
    assert_eq!(status.errors.len(), 1);
    assert!(status.errors[0].contains("403"), "{:?}", status.errors);
}
