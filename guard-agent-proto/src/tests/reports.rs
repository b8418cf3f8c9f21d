//! What a person hears of the agent, and how often.

use super::*;
use crate::{Endpoint, ErrorStage, HealthReason, StatusLevel};

fn messages(bench: &Bench, stage: ErrorStage) -> Vec<&str> {
    let of_stage = |event| match event {
        &AgentEvent::Error { stage: told, ref message } if told == stage => Some(message.as_str()),
        _ => None,
    };
    bench.events.iter().filter_map(of_stage).collect()
}

#[test]
fn invalid_records_are_reported_at_once_and_then_summed_up() {
    let mut bench = Bench::new(|_| {});
    for count in [1, 2, 3] {
        bench.input(Input::Invalid { kind: Kind::Metric, count });
    }
    bench.pass(60 * SECOND);
    let told = messages(&bench, ErrorStage::Drop);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("1 records were not valid") && told[1].starts_with("5 "), "{told:?}");
}

#[test]
fn the_end_reports_the_losses_that_are_not_reported_yet() {
    let mut bench = Bench::new(|_| {});
    for count in [1, 2, 3] {
        bench.input(Input::Lost { kind: Kind::Event, reason: crate::DropReason::Overflow, count });
    }
    bench.shutdown(1);
    bench.pass(2 * SECOND);
    assert!(bench.closed.is_some());
    assert_eq!(
        messages(&bench, ErrorStage::Drop),
        ["1 records given up: overflow", "5 records given up: overflow"]
    );
}

#[test]
fn a_failure_of_the_platform_says_whom_it_is_about() {
    let mut bench = Bench::new(|_| {});
    bench.events(1);
    bench.pass(SECOND);
    let request = bench.take_request();
    let peer = Some("https://platform:443".into());
    bench.answer_with(&request, Response { status: 500, peer, ..Response::default() });
    let told = messages(&bench, ErrorStage::TransportSend);
    assert_eq!(told, ["the events endpoint answered 500 (https://platform:443)"]);
}

/// Each of its answers names a request, and every other one is a success.
#[test]
fn a_platform_that_fails_in_other_words_each_time_is_told_every_ten_seconds() {
    let mut bench = Bench::new(|config| config.flush_interval = SECOND);
    for second in 0..60 {
        bench.events(1);
        bench.pass(SECOND);
        for request in core::mem::take(&mut bench.requests) {
            let peer = Some(alloc::format!("https://platform:{second}").into());
            let status = if second % 2 == 0 { 500 } else { 200 };
            bench.answer_with(&request, Response { status, peer, ..Response::accepted() });
        }
    }
    let told = messages(&bench, ErrorStage::TransportSend);
    assert!((3..=6).contains(&told.len()), "{told:?}");
    assert!(told.iter().any(|message| message.ends_with(" more like it since the last]")), "{told:?}");
}

#[test]
fn ten_seconds_without_an_answer_count_against_the_health() {
    let mut bench = Bench::new(|_| {});
    bench.events(1);
    let nothing = HealthReason::NothingDelivered { endpoint: Endpoint::Events };
    for second in 1..20 {
        bench.pass(SECOND);
        assert_eq!(bench.agent.health().reasons.contains(&nothing), second > 10, "{second}");
    }
    let [request] = &core::mem::take(&mut bench.requests)[..] else { panic!("one is on its way") };
    bench.answer(request, 200);
    assert_eq!(bench.agent.health().level, StatusLevel::Healthy);
}

#[test]
fn ten_seconds_without_a_delivery_count_against_the_health_as_long_as_they_last() {
    for status in [500, 422, 409] {
        let mut bench = Bench::new(|config| {
            config.breaker_threshold = 1_000;
            config.retry_attempts = 1_000;
        });
        let told = |bench: &Bench| {
            bench
                .agent
                .health()
                .reasons
                .contains(&HealthReason::NothingDelivered { endpoint: Endpoint::Events })
        };
        bench.events(1);
        for second in 0..30 {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                bench.answer(&request, status);
            }
            assert_eq!(told(&bench), second >= 10, "{status} {second}");
        }
        assert!(bench.agent.health().level >= StatusLevel::Degraded);
        // What was refused alone goes with the next success.
        bench.events(1);
        for _ in 0..600 {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                bench.answer(&request, 200);
            }
        }
        assert!(!told(&bench), "{status}");
    }
}

#[test]
fn one_failed_poll_is_one_error() {
    let mut bench = Bench::new(|config| config.project_id = Some(String::from("p")));
    let request = bench.take_request();
    bench.fail(&request);
    let told = bench.events.iter().filter(|event| matches!(event, AgentEvent::Error { .. })).count();
    assert_eq!(told, 1, "{:?}", bench.events);
}

#[cfg(feature = "std")]
#[test]
fn a_backlog_of_an_agent_that_died_is_reported_while_it_waits_and_when_it_is_adopted() {
    use crate::store::{Orphan, Space, StoreAnswer, StoreOp, StreamId};

    let mut bench = Bench::with_journal(true, |_| {});
    let notices = |bench: &Bench| -> Vec<String> {
        let notice = |event: &AgentEvent| match event {
            AgentEvent::Notice(message) => Some(message.clone()),
            _ => None,
        };
        bench.events.iter().filter_map(notice).collect()
    };
    let orphan = Orphan { stream: StreamId::new(Space::new(0), 7), released: false };
    for (orphans, streams) in [(Vec::new(), 2), (alloc::vec![orphan], 2), (alloc::vec![orphan], 2)] {
        let list = loop {
            if let Some(at) = bench.stores.iter().position(|store| matches!(store.op, StoreOp::List { .. })) {
                break bench.stores.remove(at);
            }
            bench.pass(SECOND);
        };
        let result = Ok(StoreAnswer::Orphans { orphans, streams, foreign: 0, complete: true });
        bench.input(Input::StoreReply { id: list.id, result });
    }
    let told = notices(&bench);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("2 other journals are leased"), "{told:?}");
    assert!(told[1].starts_with("1 journals of agents that are gone wait"), "{told:?}");
    let stats = bench.agent.stats();
    assert_eq!((stats.orphaned_journals, stats.leased_journals), (1, 1));
}

#[cfg(feature = "std")]
#[test]
fn of_journals_that_are_not_there_nothing_is_reported() {
    use crate::store::{StoreAnswer, StoreOp};

    let mut bench = Bench::with_journal(true, |_| {});
    for foreign in [0, 2, 2, 0] {
        let list = loop {
            if let Some(at) = bench.stores.iter().position(|store| matches!(store.op, StoreOp::List { .. })) {
                break bench.stores.remove(at);
            }
            bench.pass(SECOND);
        };
        let result = Ok(StoreAnswer::Orphans { orphans: Vec::new(), streams: 0, foreign, complete: true });
        bench.input(Input::StoreReply { id: list.id, result });
    }
    let notices = bench.events.iter().filter(|event| matches!(event, AgentEvent::Notice(_)));
    assert_eq!(notices.count(), 0, "no journal of an agent is there");
    let told = messages(&bench, ErrorStage::Journal);
    assert!(told.len() == 1 && told[0].starts_with("2 journals of other versions"), "{told:?}");
}

#[test]
fn the_end_of_one_failure_is_not_that_of_another() {
    let mut bench = Bench::new(|config| config.project_id = Some(String::from("p")));
    bench.events(1);
    bench.pass(SECOND);
    let told = |bench: &Bench, endpoint: &str| {
        messages(bench, ErrorStage::TransportSend).iter().filter(|message| message.contains(endpoint)).count()
    };
    for round in 1..=3 {
        for request in core::mem::take(&mut bench.requests) {
            bench.answer(&request, 500);
        }
        assert_eq!((told(&bench, "events"), told(&bench, "rules")), (1, round));
        // The rules recover, and fail again more than a minute after that was told.
        let mut recovered = false;
        while !recovered || bench.requests.is_empty() {
            bench.pass(SECOND);
            for request in core::mem::take(&mut bench.requests) {
                let is_rules = request.payload.endpoint() == Endpoint::Rules;
                bench.answer(&request, if is_rules { 304 } else { 500 });
                recovered |= is_rules;
            }
            if recovered {
                bench.input(crate::Input::RefreshRules);
                bench.pass(60 * SECOND);
                bench.requests.retain(|request| request.payload.endpoint() == Endpoint::Rules);
            }
        }
    }
}

#[test]
fn one_failed_status_is_one_error_and_says_what_failed() {
    for (status, stage) in [(500, ErrorStage::TransportSend), (400, ErrorStage::Status)] {
        let mut bench = Bench::new(|_| {});
        bench.pass(300 * SECOND);
        let request = bench.take_request();
        bench.answer(&request, status);
        for of in [ErrorStage::TransportSend, ErrorStage::Status] {
            assert_eq!(messages(&bench, of).len(), usize::from(of == stage), "{status} {of:?}");
        }
    }
}

#[test]
fn without_an_answer_none_is_cited() {
    let mut bench = Bench::new(|_| {});
    bench.events(1);
    while messages(&bench, ErrorStage::FlushEvents).is_empty() {
        bench.pass(SECOND);
        assert!(bench.now.instant < Instant::ZERO + 600 * SECOND);
        for request in core::mem::take(&mut bench.requests) {
            bench.fail(&request);
        }
    }
    let told = messages(&bench, ErrorStage::FlushEvents);
    assert!(told[0].starts_with("no answer"), "{told:?}");
}

#[test]
fn the_status_counts_what_was_lost_and_what_waits() {
    let mut bench = Bench::new(|_| {});
    let lost = |reason, count| crate::Input::Lost { kind: Kind::Event, reason, count };
    bench.input(lost(crate::DropReason::Filtered, 2));
    bench.input(lost(crate::DropReason::Overflow, 3));
    bench.events(4);
    bench.send(alloc::vec![record(Kind::Metric, 1, false)]);
    let status = bench.agent.status();
    assert_eq!((status.events_failed, status.buffer_size), (3, 5));
}
