//! Who is to blame for a refusal: the content, the caller, the account or the server, alone, mixed, and changing in the
//! midst of a search.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Bench, SECOND, event, numbers};
use crate::quarantine::is_of_server;
use crate::{
    AgentEvent, DropReason, Endpoint, ErrorStage, HealthReason, Input, Instant, Payload, Request, Response,
    StatusLevel, TransportErrorKind,
};

/// The answer to a request for events with these numbers.
type Front<'a> = &'a mut dyn FnMut(&[usize]) -> Response;

const ROUND_TRIP: Duration = Duration::from_millis(50);

impl Bench {
    /// Lets time pass with a platform that answers within 50 ms; returns how many batches it saw.
    fn meet(&mut self, time: Duration, front: Front<'_>) -> usize {
        let end = self.now.instant + time;
        let mut asked = 0;
        while self.now.instant < end {
            let next = if self.requests.is_empty() { self.idle.0 } else { self.now.instant + ROUND_TRIP };
            self.jump(next.min(end).since(self.now.instant));
            for request in core::mem::take(&mut self.requests) {
                asked += usize::from(self.answer_as(&request, front));
            }
        }
        asked
    }

    fn answer_as(&mut self, request: &Request, front: Front<'_>) -> bool {
        match &request.payload {
            Payload::Batch(batch) => {
                match front(&numbers(batch)) {
                    Response { status: 0, .. } => self.fail_as(request, TransportErrorKind::Connection),
                    response => self.answer_with(request, response),
                }
                true
            }
            Payload::Status(_) | Payload::Rules { .. } => {
                self.answer(request, 200);
                false
            }
        }
    }

    fn delivered(&self) -> u64 {
        self.agent.stats().records.events.delivered
    }

    fn pending(&self) -> u64 {
        self.agent.stats().records.events.pending
    }

    fn dropped(&self) -> u64 {
        self.agent.stats().records.events.dropped.total()
    }
}

fn ok() -> Response {
    Response::accepted()
}

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response { status, body: body.into(), ..Response::default() }
}

fn page(status: u16) -> Response {
    answer(status, "<html>Request blocked</html>")
}

fn quota() -> Response {
    answer(200, r#"{"success": false, "errors": ["Event quota exceeded"]}"#)
}

fn quota_refusal(status: u16) -> Response {
    answer(status, r#"{"detail":"Event quota exceeded"}"#)
}

/// A front that refuses any batch with one of these; with status 0 it breaks the connection.
fn firewall(status: u16, bad: &[usize]) -> impl FnMut(&[usize]) -> Response {
    let bad = bad.to_vec();
    move |numbers| if numbers.iter().any(|number| bad.contains(number)) { page(status) } else { ok() }
}

#[test]
fn a_search_through_a_full_batch_keeps_nothing_else_for_more_than_three_seconds() {
    for status in [400, 422] {
        let mut bench = Bench::new(|_| {});
        let mut front = firewall(status, &[1_234]);
        bench.events(2_000);
        let start = bench.now.instant;
        while bench.delivered() < 1_999 {
            bench.meet(ROUND_TRIP, &mut front);
            assert!(bench.now.instant < start + 60 * SECOND, "{status}: {} arrived", bench.delivered());
        }
        let took = bench.now.instant.since(start);
        assert!(took <= 3 * SECOND, "{status}: {took:?}");
    }
}

#[test]
fn a_front_that_refuses_content_holds_up_nothing_else() {
    for status in [403, 406, 500, 503, 0] {
        let mut bench = Bench::new(|_| {});
        let mut front = firewall(status, &[77]);
        bench.events(200);
        let mut asked = bench.meet(20 * SECOND, &mut front);
        // A server that fails at random must not cost a record: against it more has to be shown.
        let others = if is_of_server(status) { 900 } else { 400 };
        for number in 0..others {
            bench.send(vec![event(1_000 + number)]);
            asked += bench.meet(SECOND, &mut front);
            assert!(number < 40 || status == 503 || bench.pending() <= 8, "{status}");
        }
        // A 503 slows the pace, too: then others pass too late to prove anything.
        let is_slow = status == 503;
        bench.meet(if is_slow { 600 * SECOND } else { 20 * SECOND }, &mut front);
        let ledger = bench.agent.stats().records.events;
        let dropped = u64::from(!is_slow);
        assert_eq!((ledger.delivered, ledger.dropped.total()), (199 + others as u64, dropped), "{status}");
        assert!(asked < others + 100, "{status}: {asked} requests");
        if !is_slow {
            let letter = bench.agent.take_dead_letters().remove(0);
            assert_eq!((letter.record, letter.status), (event(77), status));
            let reason = if status == 0 { String::from("connection lost") } else { format!("{status}") };
            assert!(letter.message.contains(&reason), "{}", letter.message);
        }
    }
}

#[test]
fn a_front_that_keeps_silent_delays_what_comes_by_no_more_than_one_time_limit() {
    const TIME_LIMIT: Duration = Duration::from_secs(30);
    let mut bench = Bench::new(|_| {});
    bench.events(10);
    let mut silent: Vec<(Instant, Request)> = vec![];
    for second in 0..1_200 {
        bench.send(vec![event(1_000 + second)]);
        for _ in 0..20 {
            bench.jump(ROUND_TRIP);
            let now = bench.now.instant;
            for request in core::mem::take(&mut bench.requests) {
                match &request.payload {
                    Payload::Batch(batch) if numbers(batch).contains(&7) => {
                        silent.push((now + TIME_LIMIT, request))
                    }
                    Payload::Batch(_) | Payload::Status(_) | Payload::Rules { .. } => {
                        bench.answer(&request, 200)
                    }
                }
            }
            for (_, request) in silent.extract_if(.., |(end, _)| *end <= now).collect::<Vec<_>>() {
                bench.fail_as(&request, TransportErrorKind::Timeout);
            }
        }
        // Four attempts show that it is more than a passing failure.
        let waited_for = if second < 200 { 210 } else { 35 };
        assert!(bench.pending() <= waited_for, "{} after {second} s", bench.pending());
    }
    assert_eq!((bench.delivered(), bench.dropped()), (1_209, 1));
}

#[test]
fn a_front_that_refuses_content_is_found_out_without_other_traffic() {
    for status in [403, 500, 0] {
        let mut bench = Bench::new(|_| {});
        bench.events(200);
        bench.meet(if status == 403 { 60 } else { 300 } * SECOND, &mut firewall(status, &[77]));
        assert_eq!((bench.delivered(), bench.pending()), (199, 1), "{status}");
        // Nothing may be dropped that others did not pass beside.
        bench.meet(3_600 * SECOND, &mut firewall(status, &[77]));
        assert_eq!((bench.pending(), bench.dropped()), (1, 0), "{status}");
        assert_eq!(bench.agent.health().level, StatusLevel::Degraded);
        // The front learns.
        bench.meet(400 * SECOND, &mut |_| ok());
        assert_eq!(bench.delivered(), 200, "{status}");
        assert_eq!(bench.agent.health().level, StatusLevel::Healthy);
    }
}

#[test]
fn culprits_of_a_long_refusal_hold_up_nothing_that_comes_later() {
    for status in [403, 500, 0] {
        for culprits in 1..=3 {
            let mut bench = Bench::new(|_| {});
            let bad: Vec<_> = (0..culprits).collect();
            for number in &bad {
                bench.send(vec![event(*number)]);
                bench.meet(60 * SECOND, &mut |_| page(status));
            }
            bench.meet(3_600 * SECOND, &mut |_| page(status));
            for number in 0..600 {
                bench.send(vec![event(1_000 + number)]);
                bench.meet(SECOND, &mut firewall(status, &bad));
            }
            bench.meet(60 * SECOND, &mut firewall(status, &bad));
            assert_eq!(bench.delivered(), 600, "{status}, {culprits}: {:?}", bench.agent.health());
        }
    }
}

#[test]
fn what_a_front_says_of_one_event_is_told_once() {
    for status in [200, 403, 422] {
        let mut bench = Bench::new(|_| {});
        bench.events(200);
        let mut front = firewall(status, &[77]);
        bench.meet(50 * SECOND, &mut front);
        assert_eq!(bench.delivered(), 199);
        let is_told =
            |event: &&AgentEvent| matches!(event, AgentEvent::Error { stage: ErrorStage::FlushEvents, .. });
        let told: Vec<_> = bench.events.iter().filter(is_told).collect();
        assert_eq!(told.len(), 1, "{status}: {told:?}");
    }
}

#[test]
fn several_culprits_are_all_found() {
    let bad = [3, 50, 51, 120, 199];
    for status in [403, 422, 500, 0] {
        let mut bench = Bench::new(|_| {});
        let mut front = firewall(status, &bad);
        bench.events(200);
        for number in 0..300 {
            bench.send(vec![event(1_000 + number)]);
            bench.meet(SECOND, &mut front);
        }
        assert_eq!(bench.delivered(), 495, "{status}");
        assert_eq!(bench.pending() + bench.dropped(), 5, "{status}");
    }
}

#[test]
fn a_burst_that_a_front_refuses_holds_up_nothing_that_comes_later() {
    for (status, one_in) in [(403, 1), (500, 1), (0, 1), (403, 20), (500, 20), (0, 20)] {
        let mut bench = Bench::new(|_| {});
        let bad: Vec<_> = (0..200).step_by(one_in).collect();
        let good = 200 - bad.len() as u64;
        let mut front = firewall(status, &bad);
        bench.events(200);
        let mut later = 0;
        while bench.delivered() < good + later || later < 20 {
            bench.send(vec![event(1_000)]);
            later += 1;
            bench.meet(10 * SECOND, &mut front);
            assert!(later < 120, "{status}, {one_in}: {} of {good} and {later}", bench.delivered());
        }
        // More seldom: the culprits are still searched for, and tried again.
        for _ in 0..20 {
            bench.meet(60 * SECOND, &mut front);
            let (before, sent) = (bench.delivered(), bench.now.instant);
            bench.send(vec![event(1_000)]);
            while bench.delivered() == before {
                bench.meet(ROUND_TRIP, &mut front);
                let waited = bench.now.instant.since(sent);
                assert!(waited <= 2 * SECOND, "{status}, {one_in}: {:?}", bench.agent.health());
            }
        }
    }
}

/// Nothing else comes that could be compared: its own records are.
#[test]
fn a_burst_with_many_culprits_and_nothing_behind_it_is_searched() {
    for (status, minutes) in [(403, 4), (401, 4), (500, 8), (0, 8)] {
        let mut bench = Bench::new(|_| {});
        let bad: Vec<_> = (0..200).filter(|number| number % 20 == 7).collect();
        bench.events(200);
        bench.meet(minutes * 60 * SECOND, &mut firewall(status, &bad));
        assert_eq!(bench.delivered(), 190, "{status}");
    }
}

#[test]
fn what_comes_while_a_single_event_is_refused_does_not_wait_for_it() {
    for status in [401, 403] {
        let mut bench = Bench::new(|_| {});
        let mut front = firewall(status, &[0]);
        bench.events(1);
        bench.meet(240 * SECOND, &mut front);
        for number in 1..10 {
            bench.send(vec![event(number)]);
            bench.meet(2 * SECOND, &mut front);
            assert_eq!(bench.delivered(), number as u64, "{status}");
        }
    }
}

#[test]
fn records_that_were_refused_for_another_reason_are_told_from_a_culprit() {
    for status in [403, 500, 0] {
        let mut bench = Bench::new(|_| {});
        bench.events(6);
        bench.meet(60 * SECOND, &mut |_| answer(422, "no"));
        assert_eq!(bench.pending(), 6);
        for number in 0..120 {
            bench.send(vec![event(1_000 + number)]);
            bench.meet(SECOND, &mut firewall(status, &[3]));
        }
        assert_eq!(bench.delivered(), 125, "{status}");
    }
}

#[test]
fn a_culprit_in_every_batch_stops_nothing() {
    let mut front = |numbers: &[usize]| {
        if numbers.iter().any(|number| number % 40 == 7) { page(403) } else { ok() }
    };
    let mut bench = Bench::new(|_| {});
    for second in 0..600 {
        bench.send((0..2).map(|number| event(second * 2 + number)).collect());
        bench.meet(SECOND, &mut front);
    }
    bench.meet(60 * SECOND, &mut front);
    let bad = (0..1_200).filter(|number| number % 40 == 7).count() as u64;
    assert_eq!(bench.delivered(), 1_200 - bad);
    assert_eq!(bench.pending() + bench.dropped(), bad);
}

#[test]
fn what_the_platform_names_is_quarantined_and_the_rest_leaves_at_once() {
    let entry =
        |place: usize| format!(r#"{{"type":"t","loc":["body","events",{place},"ip_address"],"msg":"m"}}"#);
    for (status, member, bad) in [(422, "detail", vec![77]), (400, "errors", vec![3, 4, 199])] {
        let mut bench = Bench::new(|_| {});
        bench.events(200);
        bench.send((200..2_000).map(event).collect());
        let mut sizes = vec![];
        let mut front = |numbers: &[usize]| {
            sizes.push(numbers.len());
            let places = (0..numbers.len()).filter(|place| bad.contains(&numbers[*place]));
            let named: Vec<_> = places.map(entry).collect();
            if named.is_empty() {
                return ok();
            }
            answer(status, format!(r#"{{"{member}":[{}]}}"#, named.join(",")))
        };
        bench.meet(Duration::from_millis(900), &mut front);
        let bad = bad.len();
        assert_eq!(sizes[..2], [2_000, 2_000 - bad], "{status}");
        assert_eq!(bench.delivered(), 2_000 - bad as u64, "{status}");
        let told = bench
            .events
            .iter()
            .filter(|event| matches!(event, AgentEvent::Error { stage: ErrorStage::FlushEvents, .. }));
        assert_eq!(told.count(), 1, "{status}");
    }
}

#[test]
fn names_that_do_not_fit_the_batch_are_not_believed() {
    for body in [
        r#"{"detail":[{"loc":["body","events",200,"ip_address"],"msg":"m"}]}"#,
        r#"{"detail":[{"loc":["body","events",7]},{"loc":["body","batch_id"]}]}"#,
        r#"{"detail":"one of them is bad"}"#,
    ] {
        let mut bench = Bench::new(|_| {});
        bench.events(200);
        let mut front = |numbers: &[usize]| if numbers.contains(&77) { answer(422, body) } else { ok() };
        bench.meet(60 * SECOND, &mut front);
        assert_eq!(bench.delivered(), 199, "{body}");
    }
}

#[test]
fn a_platform_that_names_the_wrong_records_costs_no_good_one() {
    let name = |place: usize| {
        answer(422, format!(r#"{{"detail":[{{"loc":["body","events",{place}],"msg":"m"}}]}}"#))
    };
    for counts_from_one in [true, false] {
        let mut bench = Bench::new(|_| {});
        bench.events(300);
        let mut front = |numbers: &[usize]| match numbers.iter().position(|number| *number == 150) {
            Some(place) => name(if counts_from_one { place + 1 } else { 0 }),
            None => ok(),
        };
        for number in 0..120 {
            bench.send(vec![event(1_000 + number)]);
            bench.meet(SECOND, &mut front);
        }
        assert_eq!(bench.delivered(), 299 + 120, "{counts_from_one}: {} dropped", bench.dropped());
    }
}

#[test]
fn what_is_not_under_suspicion_goes_first() {
    let mut bench = Bench::new(|_| {});
    bench.events(2_000);
    let mut front = firewall(422, &[77]);
    bench.meet(Duration::from_millis(100), &mut front);
    for number in 0..20 {
        let before = bench.now.instant;
        bench.send(vec![event(5_000 + number)]);
        let mut arrived = false;
        let mut watch = |numbers: &[usize]| {
            arrived |= numbers.contains(&(5_000 + number));
            front(numbers)
        };
        bench.meet(Duration::from_millis(1_500), &mut watch);
        assert!(arrived, "{number} sent at {before:?}");
    }
    assert_eq!(bench.delivered(), 2_019);
}

#[test]
fn a_used_up_quota_is_waited_for_without_a_search() {
    for refusal in [quota(), answer(402, ""), quota_refusal(400), quota_refusal(403), quota_refusal(422)] {
        let mut bench = Bench::new(|_| {});
        bench.events(300);
        let asked = bench.meet(420 * SECOND, &mut |_| refusal.clone());
        assert!((4..=7).contains(&asked), "{asked} requests in seven minutes: {refusal:?}");
        assert_eq!((bench.pending(), bench.dropped()), (300, 0));
        let used_up = HealthReason::QuotaUsedUp { endpoint: Endpoint::Events, status: refusal.status };
        assert!(bench.agent.health().reasons.contains(&used_up));
        bench.meet(600 * SECOND, &mut |_| ok());
        assert_eq!(bench.delivered(), 300);
        assert_eq!(bench.agent.health().level, StatusLevel::Healthy);
    }
}

#[test]
fn new_credentials_forget_the_quota_and_not_what_the_platform_asked_for() {
    let mut bench = Bench::new(|_| {});
    bench.events(10);
    bench.meet(SECOND, &mut |_| quota());
    bench.meet(60 * SECOND, &mut |_| Response { retry_after: Some("300".into()), ..answer(429, "") });
    bench.input(Input::CredentialsChanged);
    assert_eq!(bench.meet(200 * SECOND, &mut |_| ok()), 0);
    assert_eq!(bench.meet(200 * SECOND, &mut |_| ok()), 1);

    bench.events(10);
    bench.meet(SECOND, &mut |_| quota());
    bench.input(Input::CredentialsChanged);
    assert_eq!(bench.meet(10 * SECOND, &mut |_| ok()), 1);
}

#[test]
fn a_quota_that_opens_for_a_few_at_a_time_loses_nothing() {
    let unclear = answer(200, r#"{"success":false,"errors":["try later"]}"#);
    for answer in [quota(), unclear.clone(), answer(402, ""), quota_refusal(400), quota_refusal(422)] {
        let mut bench = Bench::new(|_| {});
        bench.events(200);
        let (mut window, mut left, mut taken) = (0, 5, 0);
        for step in 0..7_200 {
            if step / 20 > window {
                (window, left) = (step / 20, 5);
            }
            if step % 5 == 0 && step < 600 {
                bench.send(vec![event(1_000 + step)]);
            }
            let mut front = |numbers: &[usize]| {
                if numbers.len() > left {
                    return answer.clone();
                }
                left -= numbers.len();
                taken += numbers.len();
                ok()
            };
            bench.meet(SECOND, &mut front);
        }
        assert_eq!(bench.dropped(), 0, "{answer:?}");
        // Only where the answer speaks of a quota are batches made to fit what is left of it.
        let least = if answer == unclear { 0 } else { 40 };
        assert!(taken >= least, "{answer:?}: {taken} taken in two hours");
        bench.meet(900 * SECOND, &mut |_| ok());
        assert_eq!(bench.delivered(), 320, "{answer:?}");
    }
}

#[test]
fn a_lone_refused_record_is_tried_again_by_time_and_by_flush() {
    for refusal in [answer(400, "no"), answer(422, "no"), quota()] {
        let mut bench = Bench::new(|_| {});
        bench.events(1);
        bench.meet(SECOND, &mut |_| refusal.clone());
        assert_eq!(bench.pending(), 1);
        assert_eq!(bench.agent.health().level, StatusLevel::Degraded, "{refusal:?}");
        assert!(bench.events.iter().any(|event| matches!(event, AgentEvent::Error { .. })), "{refusal:?}");
        bench.meet(60 * SECOND, &mut |_| ok());
        assert_eq!(bench.delivered(), 1, "{refusal:?}");
    }
    for refusal in [answer(400, "no"), quota(), answer(402, "")] {
        let mut bench = Bench::new(|_| {});
        bench.events(1);
        bench.meet(SECOND, &mut |_| refusal.clone());
        bench.flush(5);
        bench.meet(SECOND, &mut |_| ok());
        assert_eq!(bench.delivered(), 1, "{refusal:?}");
        bench.events(1);
        bench.meet(SECOND, &mut |_| refusal.clone());
        bench.shutdown(5);
        bench.meet(SECOND, &mut |_| ok());
        assert_eq!(bench.closed.map(|report| report.is_complete()), Some(true), "{refusal:?}");
    }
}

#[test]
fn a_lone_refused_record_is_never_dropped_without_a_success_of_others() {
    for refusal in [answer(400, "no"), page(403), page(500), page(0), answer(200, "")] {
        let mut bench = Bench::new(|_| {});
        bench.events(1);
        bench.meet(7_200 * SECOND, &mut |_| refusal.clone());
        assert_eq!((bench.pending(), bench.dropped()), (1, 0), "{refusal:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_read_holds_up_its_batch_alone() {
    for body in ["", "{}", "<html>", "{\"success\":tr"] {
        let mut bench = Bench::new(|_| {});
        let mut front = |numbers: &[usize]| if numbers.contains(&7) { answer(200, body) } else { ok() };
        bench.events(20);
        for number in 0..120 {
            bench.send(vec![event(1_000 + number)]);
            bench.meet(SECOND, &mut front);
        }
        assert_eq!(bench.delivered(), 139, "{body}");
        // A front that answers so to everything swallows nothing.
        let mut bench = Bench::new(|_| {});
        bench.events(20);
        bench.meet(600 * SECOND, &mut |_| answer(200, body));
        assert_eq!((bench.delivered(), bench.pending()), (0, 20), "{body}");
        let held = HealthReason::Held { endpoint: Endpoint::Events, status: 200 };
        assert!(bench.agent.health().reasons.contains(&held), "{body}");
        let mut lenient = Bench::new(|config| config.accept_any_success = true);
        lenient.events(20);
        lenient.meet(SECOND, &mut |_| answer(200, body));
        assert_eq!(lenient.delivered(), if body.starts_with('<') { 0 } else { 20 }, "{body}");
    }
}

#[test]
fn a_part_that_fails_does_not_hold_up_the_other() {
    for status in [500, 503, 408] {
        let mut bench = Bench::new(|_| {});
        bench.events(4);
        let mut front = |numbers: &[usize]| match numbers {
            [0, 1, 2, 3] => answer(413, ""),
            [0, ..] => answer(status, ""),
            _ => ok(),
        };
        bench.meet(Duration::from_millis(1_600), &mut front);
        assert_eq!(bench.delivered(), 2, "{status}");
    }
}

/// An outage, a revoked key and a quota begin while a culprit is searched for, and end after a while.
#[test]
fn what_begins_during_a_search_ends_it_without_loss() {
    for other in
        [page(503), page(403), answer(401, "{}"), quota(), page(407), answer(302, ""), page(200), page(0)]
    {
        for culprit in [403, 422, 500, 0] {
            for begins in 1..12 {
                let mut bench = Bench::new(|_| {});
                bench.events(200);
                let (mut asked, mut search) = (0, firewall(culprit, &[77, 150]));
                let mut front = |numbers: &[usize]| {
                    asked += 1;
                    if (begins..begins + 6).contains(&asked) { other.clone() } else { search(numbers) }
                };
                bench.meet(1_800 * SECOND, &mut front);
                let context = format!("{culprit}, then {} from request {begins} on", other.status);
                assert_eq!(bench.delivered(), 198, "{context}");
                assert_eq!(bench.pending() + bench.dropped(), 2, "{context}");
            }
        }
    }
}

#[test]
fn a_caller_that_is_refused_pays_few_requests_for_the_comparison() {
    for status in [401, 403, 404, 407, 302] {
        let mut bench = Bench::new(|_| {});
        bench.events(200);
        let mut asked = bench.meet(60 * SECOND, &mut |_| answer(status, "{}"));
        for number in 0..600 {
            bench.send(vec![event(1_000 + number)]);
            asked += bench.meet(SECOND, &mut |_| answer(status, "{}"));
        }
        assert!(asked <= 30, "{status}: {asked} requests in eleven minutes");
        assert_eq!((bench.pending(), bench.dropped()), (800, 0));
        bench.input(Input::CredentialsChanged);
        assert!(bench.meet(SECOND, &mut |_| ok()) > 0, "{status}: new credentials are tried at once");
        bench.meet(29 * SECOND, &mut |_| ok());
        assert_eq!(bench.delivered(), 800, "{status}");
    }
}

#[test]
fn who_refuses_everything_is_told_apart_from_a_server_that_fails() {
    for (status, refuses) in [(500, false), (0, false), (200, true), (403, true)] {
        let mut bench = Bench::new(|_| {});
        bench.events(200);
        bench.meet(600 * SECOND, &mut |_| page(status));
        let held = HealthReason::Held { endpoint: Endpoint::Events, status };
        assert_eq!(bench.agent.health().reasons.contains(&held), refuses, "{status}");
    }
}

#[test]
fn servers_that_fail_at_random_cost_no_record() {
    for (status, permille) in
        [500, 0].into_iter().flat_map(|status| [100, 300, 500, 800].map(|it| (status, it)))
    {
        let mut bench = Bench::new(|_| {});
        let mut state = 1_u64;
        let mut front = |_: &[usize]| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (state >> 33) % 1_000 < permille { page(status) } else { ok() }
        };
        for number in 0..1_800 {
            bench.send(vec![event(number)]);
            bench.meet(SECOND, &mut front);
        }
        bench.meet(1_800 * SECOND, &mut |_| ok());
        assert_eq!((bench.delivered(), bench.dropped()), (1_800, 0), "{status}, {permille}");
    }
}

#[test]
fn what_an_answer_says_is_in_the_dead_letter() {
    let mut bench = Bench::new(|_| {});
    bench.events(2);
    let mut front =
        |numbers: &[usize]| if numbers.contains(&1) { answer(422, "no such address") } else { ok() };
    bench.meet(SECOND, &mut front);
    bench.send(vec![event(2)]);
    bench.meet(9 * SECOND, &mut front);
    let letter = bench.agent.take_dead_letters().remove(0);
    assert_eq!(letter.reason, DropReason::DeadLetter);
    assert_eq!((letter.status, letter.message), (422, String::from("no such address")));
}
