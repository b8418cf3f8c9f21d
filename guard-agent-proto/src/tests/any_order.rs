use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::{Bench, record};
use crate::shell::MemoryStore;
use crate::store::{Block, Note, Orphan, Space, StoreAnswer, StoreError, StoreErrorKind, StreamId};
use crate::{
    ByKind, DrainOrder, DropReason, FlushId, Input, Instant, Kind, OverflowPolicy, RequestId, Response, Seq,
    StoreOpId, TransportError, TransportErrorKind,
};

/// What may happen, in any order.
#[derive(Clone, Debug)]
enum Step {
    /// Time stands still, passes, or jumps by days; on the wall it may also go back.
    Pass {
        micros: u64,
        wall_micros: i64,
    },
    UntilDeadline,
    Records {
        kind: Kind,
        count: usize,
        attack: bool,
    },
    Large(usize),
    /// An answer to one of the requests so far: outstanding, answered already, or never made.
    Answer {
        request: usize,
        result: Result<Response, TransportError>,
    },
    /// An answer to one of the operations so far that has nothing to do with it.
    StoreReply {
        op: usize,
        result: Result<StoreAnswer, StoreError>,
    },
    /// The store does what it was asked, or not, and answers, or not.
    Store(Service),
    /// Another agent's lease ran out, ours did, or the store forgot everything.
    Orphan,
    Adopted,
    StoreLost,
    Lost(Kind, u64),
    Invalid(Kind, u64),
    Flush(u64),
    RefreshRules,
    CredentialsChanged,
    Shutdown(u64),
}

#[derive(Clone, Copy, Debug)]
enum Service {
    Done,
    AnswerLost,
    Refused(StoreErrorKind),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Event), Just(Kind::Metric)]
}

fn result() -> impl Strategy<Value = Result<Response, TransportError>> {
    let status = prop_oneof![
        4 => Just(200u16),
        1 => prop::sample::select(vec![201, 202, 204, 301, 304, 400, 401, 403, 404, 408, 409, 413, 422, 425, 429, 500, 503]),
        1 => any::<u16>(),
    ];
    let body = prop::sample::select(vec![
        "",
        "{}",
        "<html>",
        "null",
        "[]",
        r#"{"success":false}"#,
        r#"{"errors":["bad"]}"#,
        r#"{"errors":[{"index":0},{"index":999}]}"#,
        r#"{"errors":[{"idempotency_key":"00000000-0000-4000-8000-000000000001"}]}"#,
        r#"{"rule_id":"r","version":1,"ttl":-5,"ip_blacklist":["1.2.3.4"]}"#,
        r#"{"rule_id":"r","version":2,"ttl":9223372036854775807,"expires_at":"2020-01-01T00:00:00Z"}"#,
        r#"{"rule_id":"r","version":3,"ttl":0,"expires_at":"9999-12-31T23:59:59Z"}"#,
        r#"{"rule_id":7}"#,
    ]);
    let retry_after = prop::sample::select(vec![
        None,
        Some("0"),
        Some("nan"),
        Some("-5"),
        Some("1e300"),
        Some("30"),
        Some("Thu, 01 Jan 1970 00:00:00 GMT"),
    ]);
    let response = (status, body, retry_after).prop_map(|(status, body, retry_after)| {
        Ok(Response {
            status,
            retry_after: retry_after.map(Into::into),
            etag: Some("tag".into()),
            date: Some("Sun, 06 Nov 1994 08:49:37 GMT".into()),
            body: body.as_bytes().to_vec(),
            ..Response::default()
        })
    });
    let error = Just(Err(TransportError::new(TransportErrorKind::Timeout, "too slow")));
    prop_oneof![3 => response, 1 => error]
}

fn store_result() -> impl Strategy<Value = Result<StoreAnswer, StoreError>> {
    let blocks = prop::collection::vec(0u64..50, 0..5).prop_map(|ids| StoreAnswer::Blocks {
        blocks: ids.into_iter().map(|id| Block { id: Seq::from_u64(id), bytes: b"{}"[..].into() }).collect(),
        skipped: 1,
    });
    let orphans = prop::collection::vec((0u64..4, any::<bool>()), 0..3).prop_map(|orphans| {
        let orphan = |(id, released)| Orphan { stream: StreamId::new(Space::new(0), id), released };
        StoreAnswer::Orphans {
            orphans: orphans.into_iter().map(orphan).collect(),
            streams: 9,
            foreign: 1,
            complete: true,
        }
    });
    let adopted = any::<bool>().prop_map(|note| StoreAnswer::Adopted {
        notes: note
            .then(|| Note { name: "s-e-1".into(), value: Some(b"?"[..].into()) })
            .into_iter()
            .collect(),
        lost_logs: 1,
    });
    let diverged = (0u64..30, 0u64..30).prop_map(|(events, metrics)| StoreAnswer::Diverged {
        last: ByKind { events: Seq::from_u64(events), metrics: Seq::from_u64(metrics) },
    });
    prop_oneof![
        4 => Just(Ok(StoreAnswer::Done)),
        1 => orphans.prop_map(Ok),
        1 => adopted.prop_map(Ok),
        1 => diverged.prop_map(Ok),
        1 => blocks.prop_map(Ok),
        1 => prop::sample::select(vec![StoreErrorKind::Unreachable, StoreErrorKind::Fenced])
            .prop_map(|kind| Err(StoreError::new(kind, "no"))),
    ]
}

fn service() -> impl Strategy<Value = Service> {
    prop_oneof![
        8 => Just(Service::Done),
        1 => Just(Service::AnswerLost),
        1 => prop::sample::select(vec![StoreErrorKind::Full, StoreErrorKind::TimedOut]).prop_map(Service::Refused),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let micros = prop_oneof![
        Just(0u64),
        0u64..100_000,
        0u64..60_000_000,
        Just(86_400_000_000 * 3),
        Just(86_400_000_000 * 36_500),
    ];
    let wall = prop_oneof![4 => 0i64..60_000_000, 1 => any::<i64>()];
    prop_oneof![
        3 => (micros, wall).prop_map(|(micros, wall_micros)| Step::Pass { micros, wall_micros }),
        6 => Just(Step::UntilDeadline),
        4 => (kind(), 1usize..40, any::<bool>())
            .prop_map(|(kind, count, attack)| Step::Records { kind, count, attack }),
        1 => (1usize..400_000).prop_map(Step::Large),
        8 => (0usize..6, result()).prop_map(|(request, result)| Step::Answer { request, result }),
        1 => (0usize..3, store_result()).prop_map(|(op, result)| Step::StoreReply { op, result }),
        12 => service().prop_map(Step::Store),
        1 => Just(Step::Orphan),
        1 => Just(Step::Adopted),
        1 => Just(Step::StoreLost),
        1 => (kind(), 0u64..5).prop_map(|(kind, count)| Step::Lost(kind, count)),
        1 => (kind(), 0u64..5).prop_map(|(kind, count)| Step::Invalid(kind, count)),
        1 => (0u64..100).prop_map(Step::Flush),
        1 => Just(Step::RefreshRules),
        1 => Just(Step::CredentialsChanged),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2 * ProptestConfig::default().cases))]

    /// No input in any order panics, unbalances the accounting, or makes the agent spin; `Bench` checks
    /// the last two after every input.
    #[test]
    fn no_order_of_inputs_does_harm(
        mut steps in prop::collection::vec(step(), 1..120),
        end in prop::option::of(0u64..30),
        tail in prop::collection::vec(step(), 0..20),
        journal: bool,
        buffer_size in 1usize..60,
        policy in prop::sample::select(vec![OverflowPolicy::Drop, OverflowPolicy::Raise]),
        drain in prop::sample::select(vec![DrainOrder::LiveFirst, DrainOrder::Fifo]),
        age in prop::option::of(1u64..100),
    ) {
        let mut bench = Bench::with_journal(journal, |config| {
            config.project_id = Some("p".into());
            config.buffer_size = buffer_size;
            config.buffer_overflow_policy = policy;
            config.drain = drain;
            config.max_record_age = age.map(Duration::from_secs);
        });
        steps.extend(end.map(Step::Shutdown));
        steps.extend(tail);
        let mut departures: Vec<Instant> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            let sent = bench.requests.len();
            apply(&mut bench, step, number);
            departures.extend(bench.requests[sent..].iter().map(|_| bench.now.instant));
            let stats = bench.agent.stats();
            for kind in Kind::ALL {
                prop_assert!(stats.records[kind].pending <= buffer_size as u64 || journal);
                prop_assert!(stats.records[kind].persisted <= stats.records[kind].pending);
            }
            let _ = (bench.agent.status(), bench.agent.pressure(), bench.agent.rules());
        }
        for (i, start) in departures.iter().enumerate() {
            let within = departures[i..].iter().filter(|d| d.since(*start) <= Duration::from_secs(60)).count();
            prop_assert!(within <= 100, "{within} requests in the minute from {start:?}");
        }
    }
}

fn apply(bench: &mut Bench, step: Step, number: usize) {
    match step {
        Step::Pass { micros, wall_micros } => {
            bench.now.instant = bench.now.instant + Duration::from_micros(micros);
            let wall = bench.now.wall.as_unix_micros().saturating_add(wall_micros);
            bench.now.wall = crate::Timestamp::from_unix_micros(wall);
            if bench.now.instant < Instant::FAR_FUTURE {
                bench.input(Input::Timeout);
            }
        }
        Step::UntilDeadline if bench.idle.0 < Instant::FAR_FUTURE => {
            bench.now.instant = bench.now.instant.max(bench.idle.0);
            bench.input(Input::Timeout);
        }
        Step::UntilDeadline => {}
        Step::Records { kind, count, attack } => {
            bench.send((0..count).map(|i| record(kind, number * 100 + i, attack)).collect());
        }
        Step::Large(len) => {
            let json = alloc::format!(r#"{{"x":"{}"}}"#, "x".repeat(len));
            bench.send(vec![crate::Record::new(Kind::Event, false, json.into_bytes().into())]);
        }
        Step::Answer { request, result } => {
            let newest = bench.requests.len() as u64;
            let id = RequestId::from_u64(newest.saturating_sub(request as u64));
            bench.input(Input::Response { id, result });
        }
        Step::StoreReply { op, result } => {
            let newest = bench.stores.len() as u64;
            let id = StoreOpId::from_u64(newest.wrapping_sub(1).saturating_sub(op as u64));
            bench.input(Input::StoreReply { id, result });
        }
        Step::Store(service) => {
            // The last one alone can be outstanding.
            let Some(request) = bench.stores.last().cloned() else { return };
            let (id, now) = (request.id, bench.now.instant);
            let result = match service {
                Service::Done => bench.store.execute_at(request, now),
                Service::AnswerLost => {
                    let _ = bench.store.execute_at(request, now);
                    Err(StoreError::new(StoreErrorKind::TimedOut, "lost"))
                }
                Service::Refused(kind) => Err(StoreError::new(kind, "refused")),
            };
            bench.input(Input::StoreReply { id, result });
        }
        Step::Orphan => bench.leave_orphan(number as u64, 5),
        Step::Adopted => bench.be_adopted(),
        Step::StoreLost => bench.store = MemoryStore::new(),
        Step::Lost(kind, count) => bench.input(Input::Lost { kind, reason: DropReason::Filtered, count }),
        Step::Invalid(kind, count) => bench.input(Input::Invalid { kind, count }),
        Step::Flush(secs) => {
            let deadline = bench.now.instant + Duration::from_secs(secs);
            bench.input(Input::Flush { id: FlushId::from_u64(number as u64), deadline });
        }
        Step::RefreshRules => bench.input(Input::RefreshRules),
        Step::CredentialsChanged => bench.input(Input::CredentialsChanged),
        Step::Shutdown(secs) => bench.shutdown(secs),
    }
}
