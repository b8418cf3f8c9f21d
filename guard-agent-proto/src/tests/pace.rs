//! What the pace does with the requests of the window that are free.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Bench, SECOND, key};
use crate::{Instant, Kind, Record, Request};

/// How long the platform takes to answer.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// An event of 585 bytes, as a web service makes them.
fn event(number: usize, attack: bool) -> Record {
    let json = alloc::format!(r#"{{"idempotency_key":"{}","reason":"{}"}}"#, key(number), "x".repeat(514));
    Record::new(Kind::Event, attack, json.into_bytes().into())
}

/// Requests that are out, and when they are answered.
#[derive(Default)]
struct Platform {
    out: Vec<(Instant, Request)>,
    departures: Vec<Instant>,
}

impl Platform {
    /// Lets time pass; connections are refused unless the platform `is_up`.
    fn pass(&mut self, bench: &mut Bench, time: Duration, is_up: bool) {
        let end = bench.now.instant + time;
        loop {
            for request in core::mem::take(&mut bench.requests) {
                self.departures.push(bench.now.instant);
                self.out.push((bench.now.instant + ROUND_TRIP, request));
            }
            let answer_at = self.out.first().map_or(Instant::FAR_FUTURE, |(at, _)| *at);
            let next = answer_at.min(bench.idle.0).min(end);
            bench.jump(next.since(bench.now.instant));
            if answer_at == next {
                let (_, request) = self.out.remove(0);
                if is_up { bench.answer(&request, 200) } else { bench.fail(&request) }
            } else if next == end {
                return;
            }
        }
    }
}

#[test]
fn a_backlog_leaves_at_once_after_an_outage() {
    for attack in [false, true] {
        let mut bench = Bench::new(|_| {});
        let mut platform = Platform::default();
        for tick in 0..200 {
            bench.send((0..25).map(|number| event(tick * 25 + number, attack)).collect());
            platform.pass(&mut bench, SECOND / 10, false);
        }
        let delivered = |bench: &Bench| bench.agent.stats().records.events.delivered;
        let mut first = None;
        while delivered(&bench) < 5_000 {
            platform.pass(&mut bench, SECOND / 100, true);
            if delivered(&bench) > 0 {
                first = first.or(Some(bench.now.instant));
            }
        }
        let took = bench.now.instant.since(first.unwrap());
        assert!(took <= 3 * SECOND, "{took:?}, attack {attack}: {:?}", platform.departures);
    }
}
