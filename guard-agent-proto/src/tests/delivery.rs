use alloc::vec;
use core::time::Duration;

use super::{Bench, SECOND, event, key, numbers, record};
use crate::{
    AgentEvent, BreakerState, DrainOrder, DropReason, Endpoint, HealthReason, Input, Instant, Kind,
    OverflowPolicy, Payload, Reason, Record, Response, StatusLevel,
};

#[test]
fn an_event_leaves_after_the_linger_and_is_delivered() {
    let mut bench = Bench::new(|_| {});
    bench.events(1);
    assert_eq!(bench.idle, (Instant::ZERO + Duration::from_millis(50), Reason::Linger));
    bench.pass(Duration::from_millis(50));
    let (request, batch) = bench.take_batch();
    assert_eq!(numbers(&batch), [0]);
    bench.answer(&request, 200);
    let ledger = bench.agent.stats().records.events;
    assert_eq!((ledger.delivered, ledger.pending), (1, 0));
}

#[test]
fn a_retry_repeats_the_batch_as_it_was() {
    let mut bench = Bench::new(|_| {});
    bench.events(3);
    bench.pass(SECOND);
    let (request, first) = bench.take_batch();
    bench.events(2);
    bench.fail(&request);
    bench.pass(2 * SECOND);
    let (request, second) = bench.take_batch();
    assert_eq!(first, second);
    bench.answer(&request, 200);
    bench.pass(SECOND);
    assert_eq!(bench.take_batch().1.len(), 2);
}

/// One row per status of the contract: what becomes of a batch of one, and how the agent feels.
#[test]
fn what_an_answer_means_for_a_single_event() {
    let healthy = StatusLevel::Healthy;
    let degraded = StatusLevel::Degraded;
    let failed = StatusLevel::Failed;
    for (status, body, pending, dropped, level) in [
        (200, "", 1, None, degraded),
        (200, "{}", 1, None, degraded),
        (200, r#"{"success":true}"#, 0, None, healthy),
        (201, "", 0, None, healthy),
        (202, "", 0, None, healthy),
        (204, "", 0, None, healthy),
        (200, "<html>", 1, None, degraded),
        (200, r#"{"success":false}"#, 1, None, healthy),
        (301, "", 1, None, degraded),
        (400, "", 1, None, degraded),
        (401, "", 1, None, failed),
        (402, "", 1, None, degraded),
        (403, "", 1, None, failed),
        (404, "", 1, None, failed),
        (405, "", 1, None, degraded),
        (413, "", 0, Some(DropReason::TooLarge), degraded),
        (422, "", 1, None, degraded),
        (429, "", 1, None, degraded),
        (500, "", 1, None, healthy),
        (503, "", 1, None, degraded),
    ] {
        let mut bench = Bench::new(|_| {});
        bench.events(1);
        bench.pass(SECOND);
        let request = bench.take_request();
        bench.answer_with(&request, Response { status, body: body.into(), ..Response::accepted() });
        let ledger = bench.agent.stats().records.events;
        assert_eq!(ledger.pending, pending, "{status} {body}");
        assert_eq!(ledger.dropped.total(), u64::from(dropped.is_some()), "{status} {body}");
        if let Some(reason) = dropped {
            assert_eq!(ledger.dropped[reason], 1, "{status} {body}");
        }
        assert_eq!(bench.agent.health().level, level, "{status} {body}");
    }
}

#[test]
fn a_refused_record_alone_becomes_a_dead_letter() {
    for (status, drain) in [(400, DrainOrder::Fifo), (422, DrainOrder::LiveFirst)] {
        let mut bench = Bench::new(|config| {
            config.rate_limit = 10_000;
            config.drain = drain;
        });
        bench.events(100);
        let mut delivered = vec![];
        for _ in 0..40 {
            bench.pass(SECOND);
            let Some(request) = bench.requests.pop() else { break };
            let crate::Payload::Batch(batch) = &request.payload else { panic!() };
            let numbers = numbers(batch);
            if numbers.contains(&57) {
                bench.answer(&request, status);
            } else {
                delivered.extend(numbers);
                bench.answer(&request, 200);
            }
        }
        let expected: vec::Vec<_> = (0..100).filter(|number| *number != 57).collect();
        if drain == DrainOrder::LiveFirst {
            delivered.sort_unstable();
        }
        assert_eq!(delivered, expected, "{drain:?} keeps the order around the poison");
        let stats = bench.agent.stats();
        assert_eq!(stats.records.events.dropped[DropReason::DeadLetter], 1);
        assert!(stats.requests_sent <= 3 + 2 * 7, "{} requests", stats.requests_sent);
        assert_eq!(stats.breaker, BreakerState::Closed);
        let letters = bench.agent.take_dead_letters();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].record, event(57));
        assert_eq!((letters[0].status, letters[0].reason), (status, DropReason::DeadLetter));
        assert!(bench.agent.take_dead_letters().is_empty());
    }
}

#[test]
fn an_endpoint_that_refuses_everything_loses_nothing() {
    let mut bench = Bench::new(|config| config.rate_limit = 10_000);
    bench.events(100);
    for _ in 0..200 {
        bench.pass(SECOND);
        for request in core::mem::take(&mut bench.requests) {
            bench.answer(&request, 422);
        }
    }
    let refuses = HealthReason::RefusesEverything { endpoint: Endpoint::Events, status: 422 };
    let health = bench.agent.health();
    assert_eq!(health.level, StatusLevel::Failed);
    assert!(health.reasons.contains(&refuses), "{health:?}");
    assert_eq!(bench.agent.stats().records.events.pending, 100);
    for _ in 0..400 {
        bench.pass(SECOND);
        for request in core::mem::take(&mut bench.requests) {
            bench.answer(&request, 200);
        }
    }
    let ledger = bench.agent.stats().records.events;
    assert_eq!(ledger.delivered, 100, "{ledger:?}");

    assert_eq!(bench.agent.health().level, StatusLevel::Healthy);
}

#[test]
fn a_run_of_bad_records_longer_than_the_quarantine_is_passed_in_the_end() {
    let mut bench = Bench::new(|config| config.rate_limit = 10_000);
    bench.events(60);
    for second in 0..3_000 {
        // Without a success of others nobody can know that these are bad.
        if second % 100 == 99 {
            bench.send(vec![event(100 + second)]);
        }
        bench.pass(SECOND);
        for request in core::mem::take(&mut bench.requests) {
            let crate::Payload::Batch(batch) = &request.payload else { continue };
            let poisoned = numbers(batch).iter().any(|number| *number < 50);
            bench.answer(&request, if poisoned { 422 } else { 200 });
        }
    }
    let ledger = bench.agent.stats().records.events;
    assert_eq!((ledger.delivered, ledger.dropped[DropReason::DeadLetter]), (40, 50));
}

#[test]
fn a_batch_that_is_too_large_is_halved_and_the_size_remembered() {
    let mut bench = Bench::new(|config| config.rate_limit = 10_000);
    let large = |number| {
        let json = alloc::format!(r#"{{"idempotency_key":"{}","x":"{}"}}"#, key(number), "x".repeat(1_000));
        Record::new(Kind::Event, false, json.into_bytes().into())
    };
    let mut refused = 0;
    for round in 0..5 {
        bench.send((0..200).map(large).collect());
        for _ in 0..100 {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                let crate::Payload::Batch(batch) = &request.payload else { continue };
                let too_large = batch.json_len() > 60_000;
                refused += u32::from(too_large);
                bench.answer(&request, if too_large { 413 } else { 200 });
            }
        }
        assert_eq!(bench.agent.stats().records.events.delivered, 200 * (round + 1));
    }
    assert!(refused <= 4, "{refused} times refused");
    assert_eq!(bench.agent.stats().breaker, BreakerState::Closed);
}

#[test]
fn what_an_answer_names_is_tried_again_alone() {
    let mut bench = Bench::new(|_| {});
    bench.events(4);
    bench.pass(SECOND);
    let request = bench.take_request();
    let body = alloc::format!(r#"{{"errors":[{{"index":1}},{{"idempotency_key":"{}"}}]}}"#, key(3));
    bench.answer_with(&request, Response { status: 200, body: body.into(), ..Response::accepted() });
    assert_eq!(bench.agent.stats().records.events.delivered, 2);
    bench.pass(3 * SECOND);
    assert_eq!(numbers(&bench.take_batch().1), [1, 3]);
}

#[test]
fn an_answer_that_names_what_is_not_there_delivers_nothing() {
    let mut bench = Bench::new(|_| {});
    bench.events(4);
    bench.pass(SECOND);
    let request = bench.take_request();
    let body = r#"{"errors":[{"index":1},{"index":4}]}"#;
    bench.answer_with(&request, Response { status: 200, body: body.into(), ..Response::accepted() });
    assert_eq!(bench.agent.stats().records.events.pending, 4);
}

#[test]
fn a_success_that_reports_errors_does_not_loop_for_ever() {
    let mut bench = Bench::new(|_| {});
    bench.events(8);
    for second in 0..1_800 {
        if second >= 60 {
            bench.send(vec![event(100 + second)]);
        }
        bench.pass(SECOND);
        for request in core::mem::take(&mut bench.requests) {
            let crate::Payload::Batch(batch) = &request.payload else { continue };
            let body =
                if numbers(batch).contains(&5) { r#"{"success":false}"# } else { r#"{"success":true}"# };
            bench.answer_with(&request, Response { status: 200, body: body.into(), ..Response::accepted() });
        }
        let ledger = bench.agent.stats().records.events;
        assert!(second < 70 || ledger.pending <= 4, "{ledger:?}");
    }
    let stats = bench.agent.stats();
    assert_eq!(stats.records.events.dropped[DropReason::DeadLetter], 1);
    assert_eq!(stats.records.events.delivered + stats.records.events.pending, 7 + 1_740);
    assert!(stats.requests_sent < 1_740 + 40, "{}", stats.requests_sent);
}

#[test]
fn retry_after_is_kept_on_429_and_503_and_slows_the_pace() {
    for status in [429, 503] {
        let mut bench = Bench::new(|_| {});
        bench.events(1);
        bench.pass(SECOND);
        let request = bench.take_request();
        bench.answer_with(
            &request,
            Response { status, retry_after: Some("20".into()), ..Response::accepted() },
        );
        assert_eq!(bench.agent.health().reasons, [HealthReason::Slowed]);
        bench.pass(19 * SECOND);
        assert!(bench.requests.is_empty(), "{status}");
        bench.pass(4 * SECOND);
        let request = bench.take_request();
        for number in 0..10 {
            if number > 0 {
                bench.events(1);
                bench.pass(20 * SECOND);
            }
            let request = if number == 0 { request.clone() } else { bench.take_request() };
            bench.answer(&request, 200);
        }
        assert!(!bench.agent.pressure().slowed);
    }
}

#[test]
fn a_retry_after_date_is_relative_to_the_date_of_its_answer() {
    // Far from the bench's clock.
    let date = Some("Sun, 22 Nov 2026 20:00:00 GMT".into());
    for status in [429, 503] {
        let mut bench = Bench::new(|_| {});
        bench.events(1);
        bench.pass(SECOND);
        let request = bench.take_request();
        let retry_after = Some("Sun, 22 Nov 2026 20:00:20 GMT".into());
        let answer = Response { status, retry_after, date: date.clone(), ..Response::accepted() };
        bench.answer_with(&request, answer);
        bench.pass(19 * SECOND);
        assert!(bench.requests.is_empty(), "{status}");
        bench.pass(4 * SECOND);
        bench.take_request();
    }
}

#[test]
fn a_retry_after_of_one_kind_does_not_hold_the_other() {
    let mut bench = Bench::new(|config| config.flush_interval = SECOND);
    bench.events(1);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.answer_with(
        &request,
        Response { status: 429, retry_after: Some("60".into()), ..Response::accepted() },
    );
    bench.send(vec![record(Kind::Metric, 1, false)]);
    bench.pass(2 * SECOND);
    let (request, batch) = bench.take_batch();
    assert_eq!(batch.kind(), Kind::Metric);
    bench.answer(&request, 200);
    assert_eq!(bench.agent.stats().records.metrics.delivered, 1);
}

#[test]
fn an_outage_opens_the_breaker_and_one_probe_ends_it() {
    let mut bench = Bench::new(|_| {});
    bench.events(1);
    let mut attempts = 0;
    for _ in 0..60 {
        bench.pass(SECOND);
        for request in core::mem::take(&mut bench.requests) {
            attempts += 1;
            bench.fail(&request);
        }
    }
    assert!((10..=40).contains(&attempts), "{attempts} attempts in a minute");
    assert_ne!(bench.agent.stats().breaker, BreakerState::Closed);
    assert!(bench.agent.health().reasons.contains(&HealthReason::BreakerOpen));
    bench.events(5);
    bench.pass(5 * SECOND);
    let request = bench.take_request();
    assert_eq!(bench.agent.stats().breaker, BreakerState::HalfOpen);
    bench.answer(&request, 200);
    assert_eq!(bench.agent.stats().breaker, BreakerState::Closed);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.answer(&request, 200);
    assert_eq!(bench.agent.stats().records.events.delivered, 6);
}

#[test]
fn a_held_lane_does_not_stop_the_others() {
    let mut bench = Bench::new(|config| config.flush_interval = SECOND);
    bench.events(1);
    bench.send(vec![record(Kind::Metric, 1, false)]);
    bench.pass(2 * SECOND);
    for request in core::mem::take(&mut bench.requests) {
        let status = if request.payload.endpoint() == Endpoint::Events { 401 } else { 200 };
        bench.answer(&request, status);
    }
    let stats = bench.agent.stats();
    assert_eq!((stats.records.events.pending, stats.records.metrics.delivered), (1, 1));
    assert_eq!(stats.breaker, BreakerState::Closed);
}

#[test]
fn new_credentials_end_the_holding() {
    let mut bench = Bench::new(|_| {});
    bench.events(1);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.answer(&request, 401);
    bench.pass(4 * SECOND);
    assert!(bench.requests.is_empty());
    bench.input(Input::CredentialsChanged);
    let request = bench.take_request();
    bench.answer(&request, 200);
    assert_eq!(bench.agent.stats().records.events.delivered, 1);
    assert_eq!(bench.agent.health().level, StatusLevel::Healthy);
}

#[test]
fn a_refusal_of_the_old_credentials_does_not_hold_the_new_ones() {
    let mut bench = Bench::new(|config| config.project_id = Some("shop".into()));
    let rules = bench.take_request();
    bench.events(1);
    bench.pass(SECOND);
    let events = bench.take_request();
    bench.input(Input::CredentialsChanged);
    for request in [&events, &rules] {
        bench.answer(request, 401);
    }
    bench.pass(3 * SECOND);
    let requests = core::mem::take(&mut bench.requests);
    assert_eq!(requests.len(), 2, "{requests:?}");
    // These were made with the new ones.
    for request in requests {
        bench.answer(&request, 401);
    }
    bench.pass(Duration::from_millis(90));
    assert!(bench.requests.is_empty(), "{:?}", bench.requests);
}

#[test]
fn new_events_pass_a_backlog_unless_order_is_wanted() {
    for (drain, position) in [(DrainOrder::LiveFirst, 1), (DrainOrder::Fifo, 10)] {
        let mut bench = Bench::new(|config| {
            config.drain = drain;
            config.batch_max_records = 10;
            config.max_concurrent_flushes = 1;
        });
        bench.events(100);
        bench.pass(Duration::from_millis(100));
        let first = bench.take_request();
        bench.send(vec![event(1_000)]);
        bench.answer(&first, 200);
        let mut batches = vec![];
        while batches.len() < 10 {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                let crate::Payload::Batch(batch) = &request.payload else { continue };
                batches.push(numbers(batch));
                bench.answer(&request, 200);
            }
        }
        let found = batches.iter().position(|batch| batch.contains(&1_000)).unwrap_or(usize::MAX);
        assert!(found.abs_diff(position) <= 1, "{drain:?}: {batches:?}");
    }
}

#[test]
fn what_overflows_is_the_policys_choice() {
    for (policy, kept) in [(OverflowPolicy::Drop, 7..10), (OverflowPolicy::Raise, 0..3)] {
        let mut bench = Bench::new(|config| {
            config.buffer_size = 3;
            config.buffer_overflow_policy = policy;
        });
        bench.events(10);
        assert_eq!(bench.agent.stats().records.events.dropped[DropReason::Overflow], 7);
        assert_eq!(bench.agent.pressure().fill_permille, 1_000);
        bench.pass(SECOND);
        assert_eq!(numbers(&bench.take_batch().1), kept.collect::<vec::Vec<_>>());
    }
}

#[test]
fn memory_is_bounded_by_bytes_too() {
    let mut bench = Bench::new(|config| config.buffer_bytes = 100_000);
    bench.send((0..50).map(|_| Record::new(Kind::Event, false, vec![b'x'; 10_000].into())).collect());
    let stats = bench.agent.stats();
    assert!(stats.memory_bytes <= 100_000);
    assert_eq!(stats.records.events.pending, 9);
    assert_eq!(stats.records.events.dropped[DropReason::Overflow], 41);
}

#[test]
fn an_age_limit_expires_what_waits() {
    let mut bench = Bench::new(|config| config.max_record_age = Some(10 * SECOND));
    bench.events(1);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.events(2);
    bench.pass(9 * SECOND);
    assert_eq!(bench.agent.stats().records.events.dropped.total(), 0);
    assert!(bench.idle.0 <= bench.now.instant + 2 * SECOND, "it wakes for that: {:?}", bench.idle);
    bench.pass(2 * SECOND);
    assert_eq!(bench.agent.stats().records.events.dropped[DropReason::Expired], 2);
    bench.answer(&request, 200);
    assert_eq!(bench.agent.stats().records.events.delivered, 1);
}

#[test]
fn a_flush_does_not_wait_for_linger_interval_or_pace() {
    let mut bench = Bench::new(|_| {});
    for _ in 0..5 {
        bench.events(1);
        bench.send(vec![record(Kind::Metric, 1, false)]);
        bench.flush(5);
        let requests = core::mem::take(&mut bench.requests);
        assert_eq!(requests.len(), 2);
        for request in requests {
            bench.answer(&request, 200);
        }
        let flushed = bench.events.pop();
        let Some(AgentEvent::Flushed { report, .. }) = flushed else { panic!("{flushed:?}") };
        assert!(report.is_complete());
        assert_eq!((report.delivered.events, report.delivered.metrics), (1, 1));
    }
}

#[test]
fn a_flush_ends_at_its_deadline_and_says_what_is_left() {
    let mut bench = Bench::new(|_| {});
    bench.events(3);
    bench.flush(5);
    bench.take_request();
    bench.events(2);
    bench.pass(5 * SECOND);
    let flushed = bench.events.pop();
    let Some(AgentEvent::Flushed { report, .. }) = flushed else { panic!("{flushed:?}") };
    assert_eq!(report.pending.events, 3);
}

#[test]
fn an_empty_shutdown_says_its_status_and_ends() {
    let mut bench = Bench::new(|_| {});
    bench.shutdown(10);
    let request = bench.take_request();
    assert_eq!(request.payload.endpoint(), Endpoint::Status);
    assert!(bench.closed.is_none() && !bench.agent.is_closed());
    bench.answer(&request, 200);
    assert!(bench.closed.take().is_some_and(|report| report.is_complete()));
    assert!(bench.agent.is_closed());
    assert_eq!(bench.idle, (Instant::FAR_FUTURE, Reason::Nothing));
    bench.events(2);
    assert_eq!(bench.agent.stats().records.events.dropped[DropReason::Closed], 2);
}

#[test]
fn a_shutdown_does_not_spend_its_time_on_our_own_waiting() {
    let mut bench = Bench::new(|_| {});
    bench.events(1);
    let mut attempts = 0;
    let mut refuse = |bench: &mut Bench| {
        for request in core::mem::take(&mut bench.requests) {
            attempts += usize::from(matches!(request.payload, Payload::Batch(_)));
            bench.answer(&request, 429);
        }
        attempts
    };
    for _ in 0..600 {
        bench.pass(SECOND);
        refuse(&mut bench);
    }
    let before = refuse(&mut bench);
    bench.shutdown(20);
    for _ in 0..200 {
        refuse(&mut bench);
        bench.pass(Duration::from_millis(100));
    }
    assert!(refuse(&mut bench) - before >= 5, "{} attempts", refuse(&mut bench) - before);
}

#[test]
fn dates_that_the_platform_found_invalid_are_counted() {
    let mut bench = Bench::new(|_| {});
    for count in [2, 3] {
        bench.events(1);
        bench.pass(SECOND);
        let request = bench.take_request();
        let body = alloc::format!(r#"{{"success":true,"events_dropped_invalid_timestamp":{count}}}"#);
        bench.answer_with(&request, Response { body: body.into_bytes(), ..Response::accepted() });
    }
    assert_eq!(bench.agent.stats().invalid_timestamps, 5);
}

#[test]
fn a_shutdown_delivers_what_is_left() {
    let mut bench = Bench::new(|_| {});
    bench.events(3);
    bench.shutdown(10);
    let request = bench.take_request();
    bench.answer(&request, 200);
    let request = bench.take_request();
    bench.answer(&request, 200);
    assert_eq!(bench.closed.map(|report| (report.delivered.events, report.is_complete())), Some((3, true)));
}

#[test]
fn a_shutdown_against_a_silent_platform_ends_at_its_deadline() {
    let mut bench = Bench::new(|_| {});
    bench.events(3);
    bench.shutdown(10);
    bench.take_request();
    bench.pass(Duration::from_millis(9_999));
    assert!(bench.closed.is_none());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.closed.map(|report| report.pending.events), Some(3));
}

#[test]
fn a_shutdown_in_an_outage_goes_on_trying_until_its_deadline() {
    for back in [false, true] {
        let mut bench = Bench::new(|_| {});
        bench.events(3);
        for _ in 0..300 {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                bench.fail(&request);
            }
        }
        let start = bench.now.instant;
        bench.shutdown(60);
        let mut attempts = 0;
        while bench.closed.is_none() {
            for request in core::mem::take(&mut bench.requests) {
                attempts += 1;
                if back && bench.now.instant.since(start) > 20 * SECOND {
                    bench.answer(&request, 200);
                } else {
                    bench.fail(&request);
                }
            }
            bench.pass(Duration::from_millis(100));
        }
        let took = bench.now.instant.since(start);
        assert!((2..=30).contains(&attempts), "{attempts}");
        assert_eq!(took < 50 * SECOND, back, "{took:?}");
        assert_eq!(bench.closed.is_some_and(|report| report.is_complete()), back);
    }
}

#[test]
fn a_shutdown_does_not_wait_for_an_endpoint_that_refuses() {
    let mut bench = Bench::new(|_| {});
    bench.events(3);
    bench.shutdown(60);
    let request = bench.take_request();
    bench.answer(&request, 401);
    let request = bench.take_request();
    assert_eq!(request.payload.endpoint(), Endpoint::Status);
    bench.answer(&request, 401);
    assert_eq!(bench.closed.map(|report| report.pending.events), Some(3));
}

#[test]
fn an_answer_that_never_comes_does_not_stop_the_lane() {
    let mut bench = Bench::new(|_| {});
    bench.events(1);
    bench.pass(SECOND);
    let lost = bench.take_request();
    bench.pass(60 * SECOND);
    assert!(!bench.requests.is_empty());
    bench.answer(&lost, 200);
    assert_eq!(bench.agent.stats().stray_replies, 1);
}

#[test]
fn failures_are_told_once_per_episode() {
    let mut bench = Bench::new(|_| {});
    for _ in 0..2 {
        bench.events(1);
        for attempt in 0..40 {
            bench.pass(10 * SECOND);
            for request in core::mem::take(&mut bench.requests) {
                if attempt < 20 { bench.fail(&request) } else { bench.answer(&request, 200) }
            }
        }
    }
    let told = bench.events.iter().filter(|event| matches!(event, AgentEvent::Error { .. })).count();
    assert_eq!(told, 4, "{:?}", bench.events);
}

#[test]
fn a_message_about_an_answer_says_who_gave_it() {
    let mut bench = Bench::new(|_| {});
    bench.events(1);
    bench.pass(SECOND);
    let request = bench.take_request();
    let peer = Some("https://api.example:443 via http://proxy.example:3128".into());
    bench.answer_with(&request, Response { status: 404, peer, ..Response::accepted() });
    let told = bench.events.iter().find_map(|event| match event {
        AgentEvent::Error { message, .. } => Some(message.as_str()),
        _ => None,
    });
    let told = told.unwrap();
    assert!(told.ends_with("(https://api.example:443 via http://proxy.example:3128)"), "{told}");
}

#[test]
fn as_many_dead_letters_are_kept_as_configured_the_last_ones() {
    let mut bench = Bench::new(|config| config.dead_letter_capacity = 2);
    for number in 0..3 {
        bench.send(vec![event(number)]);
        bench.pass(SECOND);
        let request = bench.take_request();
        bench.answer(&request, 413);
    }
    let letters = bench.agent.take_dead_letters();
    assert_eq!(
        letters.into_iter().map(|letter| letter.record).collect::<vec::Vec<_>>(),
        [event(1), event(2)]
    );
}

#[test]
fn the_statistics_say_the_health() {
    let mut bench = Bench::new(|_| {});
    bench.events(1);
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.answer(&request, 403);
    assert_eq!(bench.agent.stats().health.level, StatusLevel::Failed);
    assert_eq!(bench.agent.stats().health, bench.agent.health());
}

#[test]
fn a_success_ends_the_holding_of_what_waits_apart() {
    let mut bench = Bench::new(|config| config.batch_max_records = 2);
    bench.events(2);
    let live = bench.take_request();
    bench.send((2..5).map(event).collect());
    bench.pass(5 * SECOND);
    let (backlog, batch) = bench.take_batch();
    assert_eq!(numbers(&batch), [2, 3]);
    bench.answer(&backlog, 403);
    let held = HealthReason::Held { endpoint: Endpoint::Events, status: 403 };
    assert_eq!(bench.agent.health().reasons, [held]);
    bench.answer(&live, 200);
    assert!(bench.agent.health().reasons.is_empty());
}

#[test]
fn a_batch_of_metrics_takes_none_of_those_that_wait_apart() {
    let mut bench = Bench::new(|config| {
        config.batch_max_records = 2;
        config.max_concurrent_flushes = 1;
        config.flush_interval = SECOND;
    });
    let metric = |number| record(Kind::Metric, number, false);
    bench.send((0..2).map(metric).collect());
    bench.pass(SECOND);
    let request = bench.take_request();
    bench.send((2..5).map(metric).collect());
    bench.send(vec![metric(5)]);
    bench.pass(5 * SECOND);
    bench.answer(&request, 200);
    let mut batches = vec![];
    for _ in 0..100 {
        for request in core::mem::take(&mut bench.requests) {
            if let Payload::Batch(batch) = &request.payload {
                batches.push(numbers(batch));
            }
            bench.answer(&request, 200);
        }
        bench.pass(SECOND);
    }
    batches.sort();
    assert_eq!(batches, [vec![2, 3], vec![4], vec![5]]);
}

#[test]
fn rules_are_polled_at_once_when_the_refused_poll_had_the_old_credentials() {
    let mut bench = Bench::new(|config| config.project_id = Some("shop".into()));
    let rules = bench.take_request();
    bench.input(Input::CredentialsChanged);
    bench.answer(&rules, 401);
    let again = bench.take_request();
    assert_eq!(again.payload.endpoint(), Endpoint::Rules);
    bench.answer(&again, 401);
    assert!(bench.requests.is_empty(), "these were the new ones");
}

#[test]
fn the_statistics_count_what_failed_and_what_nobody_asked_for() {
    let mut bench = Bench::new(|_| {});
    bench.events(1);
    for failures in 1..=3 {
        while bench.requests.is_empty() {
            bench.pass(SECOND);
        }
        let request = bench.take_request();
        if failures == 2 {
            bench.fail(&request)
        } else {
            bench.answer(&request, 500)
        }
        assert_eq!(bench.agent.stats().requests_failed, failures);
        bench.answer(&request, 200);
        assert_eq!(bench.agent.stats().stray_replies, failures);
    }
    for invalid in [2, 4] {
        bench.input(Input::Invalid { kind: Kind::Metric, count: 2 });
        assert_eq!(bench.agent.stats().records.metrics.invalid, invalid);
    }
}

#[test]
fn probes_take_turns() {
    let mut bench = Bench::new(|config| config.project_id = Some("shop".into()));
    bench.events(1);
    bench.send(vec![record(Kind::Metric, 1, false)]);
    let mut probes = vec![];
    for _ in 0..1_200 {
        bench.pass(SECOND);
        for request in core::mem::take(&mut bench.requests) {
            if bench.agent.stats().breaker == BreakerState::HalfOpen {
                probes.push(request.payload.endpoint());
            }
            bench.fail(&request);
        }
    }
    for endpoint in [Endpoint::Events, Endpoint::Metrics, Endpoint::Rules] {
        let count = probes.iter().filter(|probed| **probed == endpoint).count();
        assert!(count * 5 > probes.len(), "{endpoint}: {count} of {}", probes.len());
    }
}

#[test]
fn who_shuts_down_polls_no_rules() {
    let mut bench = Bench::new(|config| config.project_id = Some("shop".into()));
    let rules = bench.take_request();
    bench.answer(&rules, 304);
    bench.events(1);
    bench.pass(SECOND);
    let events = bench.take_request();
    bench.shutdown(20);
    bench.input(Input::RefreshRules);
    bench.pass(5 * SECOND);
    assert!(bench.requests.is_empty(), "{:?}", bench.requests);
    bench.answer(&events, 200);
    assert_eq!(bench.take_request().payload.endpoint(), Endpoint::Status);
}

#[test]
fn the_last_status_is_skipped_where_the_platform_asked_for_quiet() {
    let mut bench = Bench::new(|_| {});
    bench.pass(300 * SECOND);
    let status = bench.take_request();
    bench.answer_with(
        &status,
        Response { status: 429, retry_after: Some("600".into()), ..Response::accepted() },
    );
    bench.shutdown(20);
    assert!(bench.requests.is_empty() && bench.closed.is_some(), "{:?}", bench.requests);
}
