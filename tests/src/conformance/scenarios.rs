use std::time::Duration;

use guard_agent_proto::Endpoint::{Events, Metrics, Rules, Status};
use guard_agent_proto::{DropReason, SecurityEvent, StatusLevel};
use serde_json::json;

use super::Complete::{No, Yes};
use super::Step::{
    Always, Answered, AnsweredUnasked, Answers, Arrived, AtMost, Attacks, CountedInvalid, DeadLetters,
    Delivered, Down, Dropped, Duplicates, Expects, Flush, Header, Health, InForce, InOrder, Invalid,
    MetricsArrived, Normally, Pause, Pending, Persist, Persisted, Reason, Recovered, Refresh, Requested,
    Rotate, SameBatch, Shutdown, Start, Statuses, StoreDown, StoreUp, Up, Violations, Within,
};
use super::{Scenario, Step, With};
use crate::collector::Answer;

const SECOND: Duration = Duration::from_secs(1);
/// Only a hang takes that long.
const LONG: Duration = Duration::from_secs(40);

/// A scenario in which nothing of the agent is special.
const fn plain(name: &'static str, shows: &'static str, steps: &'static [Step]) -> Scenario {
    Scenario { name, shows, fields: &[], with: With::Nothing, steps }
}

/// Six events go out, the platform answers like that, and in the end all of them are delivered, and six more.
macro_rules! delivered_after {
    ($name:literal, $shows:literal, $times:literal, $answer:expr) => {
        plain(
            $name,
            $shows,
            &[
                Answers(Events, $times, || $answer),
                Step::Events(6),
                Flush(Yes, LONG),
                Answered(Events),
                Step::Events(6),
                Shutdown(Yes, LONG),
                Delivered(12),
                Arrived(12),
            ],
        )
    };
}

/// The platform answers like that to the first fetch of rules; those in force stay, and the next ones come.
macro_rules! rules_survive {
    ($name:literal, $shows:literal, $answer:expr) => {
        Scenario {
            name: $name,
            shows: $shows,
            fields: &[("project_id", "project")],
            with: With::Nothing,
            steps: &[
                Step::Rules(r#"{"rule_id":"first","ttl":300}"#),
                Refresh,
                InForce("first"),
                Answers(Rules, 1, || $answer),
                Refresh,
                Answered(Rules),
                Pause(Duration::from_millis(50)),
                InForce("first"),
                Step::Rules(r#"{"rule_id":"second","ttl":300}"#),
                Refresh,
                InForce("second"),
                Shutdown(Yes, LONG),
            ],
        }
    };
}

/// What every runtime must do.
pub const SCENARIOS: &[Scenario] = &[
    // 4.1: answers to batches.
    delivered_after!("a 200 with any object is a success", "4.1", 1, Answer::json(200, &json!({"x": 1}))),
    delivered_after!("an empty object is a success", "4.1, W29", 1, Answer::json(200, &json!({}))),
    delivered_after!("a 200 that is no object is a success", "4.1", 1, Answer::json(200, &json!(null))),
    delivered_after!("201 is a success", "4.1, W37", 1, Answer::status(201)),
    delivered_after!("202 is a success", "4.1, W29, W37", 1, Answer::json(202, &json!({"success": true}))),
    delivered_after!("204 is a success", "4.1, W29, W37", 1, Answer::status(204)),
    delivered_after!(
        "a 200 that says no and names nothing is tried again",
        "4.1, W16",
        1,
        Answer::json(200, &json!({"success": false})).refusing()
    ),
    delivered_after!(
        "what a 200 names as failed is tried again, alone",
        "4.1, W16",
        1,
        Answer::partly(&[0, 2, 4])
    ),
    delivered_after!(
        "a page of HTML is no success",
        "4.1, W37",
        1,
        Answer::status(200).body("<html>maintenance</html>").refusing()
    ),
    delivered_after!(
        "a redirect is not followed",
        "4.1, W29",
        1,
        Answer::status(302).header("location", "http://127.0.0.1:9/")
    ),
    delivered_after!("400 is bisected", "4.1, W7", 1, Answer::status(400)),
    delivered_after!("401 holds", "4.1, W31", 1, Answer::status(401)),
    delivered_after!("403 holds", "4.1, W31", 1, Answer::status(403)),
    delivered_after!("404 holds", "4.1", 1, Answer::status(404)),
    delivered_after!("408 is a failure", "4.1, W29", 2, Answer::status(408)),
    delivered_after!("409 is no verdict", "4.1, W29", 1, Answer::status(409)),
    delivered_after!("413 splits", "4.1, W15", 2, Answer::status(413)),
    delivered_after!("422 is bisected", "4.1, W7", 2, Answer::status(422)),
    delivered_after!(
        "429 waits as long as it says",
        "4.1, 5.3",
        2,
        Answer::status(429).header("retry-after", "0.2")
    ),
    delivered_after!("500 is a failure", "4.1", 6, Answer::status(500)),
    delivered_after!(
        "503 with Retry-After is heeded",
        "4.1, W30",
        2,
        Answer::status(503).header("retry-after", "1")
    ),
    delivered_after!("a reset is a failure", "4.1", 3, Answer::reset()),
    delivered_after!("a lost answer repeats the batch", "4.1", 2, Answer::lost()),
    delivered_after!("a cut answer is a failure", "4.1", 1, Answer::cut()),
    delivered_after!("bytes that are not HTTP are a failure", "hostile", 2, Answer::garbage()),
    delivered_after!("an answer that comes twice counts once", "hostile", 1, Answer::normal().twice()),
    delivered_after!("a platform that hangs costs a time limit", "4.1, UA-03", 1, Answer::hang()),
    delivered_after!(
        "an answer that is too slow is none",
        "4.1",
        1,
        Answer::normal().after(Duration::from_secs(8))
    ),
    delivered_after!(
        "an answer that trickles is none",
        "hostile",
        1,
        Answer::normal().trickling(Duration::from_millis(50))
    ),
    delivered_after!("a body without end is not read to its end", "hostile", 1, Answer::endless_body()),
    delivered_after!("headers without end are refused", "hostile", 1, Answer::endless_headers()),
    plain(
        "one bad event does not destroy its batch",
        "4.1, W7, W13",
        &[
            // The batch, then halves, until the last is refused alone; and then once more.
            Answers(Events, 1, || Answer::status(422)),
            Answers(Events, 1, || Answer::status(422)),
            Answers(Events, 1, || Answer::status(422)),
            Step::Events(4),
            Arrived(3),
            Shutdown(Yes, LONG),
            Delivered(4),
        ],
    ),
    plain(
        "what is refused again and again becomes a dead letter",
        "4.1, W16",
        &[
            Always(Events, || Answer::status(422)),
            Step::Events(1),
            Requested(Events, 1),
            Normally(Events),
            Step::Events(1),
            Arrived(1),
            Shutdown(Yes, LONG),
            Pending(0),
        ],
    ),
    plain(
        "metrics are answered on their own",
        "4.1, W26",
        &[
            Always(Events, || Answer::status(503)),
            Step::Events(3),
            Step::Metrics(3),
            MetricsArrived(3),
            Normally(Events),
            Flush(Yes, LONG),
            Shutdown(Yes, LONG),
        ],
    ),
    // 5.3: what `Retry-After` may say.
    delivered_after!(
        "Retry-After: nan does not hold",
        "5.3, W30",
        1,
        Answer::status(429).header("retry-after", "nan")
    ),
    delivered_after!(
        "Retry-After: a negative number is no wait",
        "5.3, W30",
        1,
        Answer::status(429).header("retry-after", "-5")
    ),
    delivered_after!(
        "Retry-After: a date in the past is no wait",
        "5.3, W30",
        1,
        Answer::status(429).header("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")
    ),
    delivered_after!(
        "Retry-After: a number with spaces and a sign",
        "5.3",
        1,
        Answer::status(429).header("retry-after", " +0.1 ")
    ),
    plain(
        "Retry-After: quiet is kept",
        "5.3",
        &[
            Answers(Events, 1, || Answer::status(429).header("retry-after", "2")),
            Step::Events(1),
            Requested(Events, 1),
            Pause(SECOND),
            AtMost(Events, 1),
            Arrived(1),
            Shutdown(Yes, LONG),
        ],
    ),
    plain(
        "Retry-After: the longest wait is bounded by the deadline of a shutdown",
        "5.3, W23",
        &[
            Always(Events, || Answer::status(429).header("retry-after", "9999")),
            Step::Events(1),
            Requested(Events, 1),
            Shutdown(No, SECOND),
            Pending(1),
        ],
    ),
    // 4.2: status.
    plain(
        "the status is told at the end",
        "4.2, W49",
        &[Step::Events(3), Shutdown(Yes, LONG), Statuses(1, "healthy")],
    ),
    plain(
        "a status that is refused holds nothing up",
        "4.2",
        &[Always(Status, || Answer::status(404)), Step::Events(3), Shutdown(Yes, LONG), Delivered(3)],
    ),
    // 4.3: rules.
    rules_survive!(
        "rules: nonsense in a 200 changes nothing",
        "4.3, W47",
        Answer::json(200, &json!({"detail": "maintenance"}))
    ),
    rules_survive!("rules: an empty object changes nothing", "4.3, W47", Answer::json(200, &json!({}))),
    rules_survive!("rules: what is no object changes nothing", "4.3", Answer::json(200, &json!([]))),
    rules_survive!("rules: a 500 changes nothing", "4.3, W48", Answer::status(500)),
    rules_survive!("rules: a 404 changes nothing", "4.3", Answer::status(404)),
    rules_survive!("rules: a reset changes nothing", "4.3", Answer::reset()),
    rules_survive!("rules: a 429 changes nothing", "4.3", Answer::status(429).header("retry-after", "0.1")),
    Scenario {
        name: "rules: they are asked for by tag",
        shows: "4.3, UA",
        fields: &[("project_id", "project")],
        with: With::Nothing,
        steps: &[
            Step::Rules(r#"{"rule_id":"first","ttl":300}"#),
            Refresh,
            InForce("first"),
            Answers(Rules, 1, Answer::normal),
            Refresh,
            Answered(Rules),
            Header(Rules, "if-none-match", Some("\"rules-1\"")),
            Shutdown(Yes, LONG),
        ],
    },
    Scenario {
        name: "rules: an attack is followed by a fetch",
        shows: "UA",
        fields: &[("project_id", "project")],
        with: With::Nothing,
        steps: &[
            Step::Rules(r#"{"rule_id":"before","ttl":300}"#),
            Refresh,
            InForce("before"),
            Step::Rules(r#"{"rule_id":"after","ttl":300}"#),
            Attacks(1),
            InForce("after"),
            Shutdown(Yes, LONG),
        ],
    },
    // Outages, order, duplicates.
    plain(
        "an outage loses nothing and keeps the order",
        "W1, W2",
        &[
            Step::Events(10),
            Flush(Yes, LONG),
            Down,
            Step::Events(50),
            Pause(Duration::from_millis(100)),
            Step::Events(50),
            Pending(100),
            Up,
            Arrived(110),
            InOrder,
            Duplicates(0),
            Shutdown(Yes, LONG),
            Delivered(110),
        ],
    ),
    Scenario {
        name: "a backlog drains in order if that is asked for",
        shows: "W20",
        fields: &[("drain", "fifo"), ("batch_max_records", "20")],
        with: With::Nothing,
        steps: &[
            Down,
            Step::Events(100),
            Pause(Duration::from_millis(100)),
            Step::Events(100),
            Up,
            Step::Events(100),
            Arrived(300),
            InOrder,
            Shutdown(Yes, LONG),
        ],
    },
    plain(
        "a retry repeats the bytes",
        "W19",
        &[
            Answers(Events, 2, || Answer::status(503)),
            Answers(Events, 1, Answer::lost),
            Step::Events(5),
            Shutdown(Yes, LONG),
            Duplicates(5),
            SameBatch,
        ],
    ),
    plain(
        "a burst of ten thousand loses none",
        "W4",
        &[Step::Events(10_000), Shutdown(Yes, LONG), Delivered(10_000), Arrived(10_000)],
    ),
    plain(
        "an event is not kept waiting for an interval",
        "W38, UA",
        &[Step::Events(1), Arrived(1), Shutdown(Yes, LONG)],
    ),
    plain(
        "the breaker opens, and closes when the platform is back",
        "5.4, W32, W34",
        &[
            Down,
            Step::Events(3),
            Health(StatusLevel::Degraded),
            Up,
            Arrived(3),
            Health(StatusLevel::Healthy),
            Shutdown(Yes, LONG),
        ],
    ),
    Scenario {
        name: "a full memory gives up the oldest, counted",
        shows: "W2",
        fields: &[("buffer_size", "10")],
        with: With::Nothing,
        steps: &[
            Down,
            Step::Events(15),
            Dropped(DropReason::Overflow, 5),
            Pending(10),
            Up,
            Shutdown(Yes, LONG),
            Delivered(10),
        ],
    },
    Scenario {
        name: "who would rather wait than lose waits for room",
        shows: "W3, W22",
        fields: &[("buffer_size", "10"), ("buffer_overflow_policy", "raise")],
        with: With::Nothing,
        steps: &[
            Down,
            Step::Events(10),
            Pause(Duration::from_millis(200)),
            Within(Duration::from_millis(100), false),
            Up,
            Within(LONG, true),
            Shutdown(Yes, LONG),
            Delivered(11),
        ],
    },
    plain(
        "what is not valid is counted, and the rest goes on",
        "W11, W45",
        &[Invalid, Step::Events(2), Shutdown(Yes, LONG), Delivered(2), CountedInvalid(1)],
    ),
    // Lifecycle.
    plain(
        "a shutdown ends in time with a wedged platform",
        "W23, UA",
        &[Always(Events, Answer::hang), Step::Events(3), Shutdown(No, SECOND), Pending(3)],
    ),
    plain(
        "a flush ends in time with a wedged platform",
        "W23, UA",
        &[
            Always(Events, Answer::hang),
            Step::Events(3),
            Flush(No, SECOND),
            Pending(3),
            Normally(Events),
            Flush(Yes, LONG),
            Shutdown(Yes, LONG),
        ],
    ),
    plain(
        "a shutdown waits for what is in flight, and sends the rest",
        "W5",
        &[
            Answers(Events, 1, || Answer::normal().after(Duration::from_millis(300))),
            Step::Events(3),
            Requested(Events, 1),
            Step::Events(3),
            Shutdown(Yes, LONG),
            Arrived(6),
            Duplicates(0),
        ],
    ),
    plain(
        "an answer that nobody asked for is nobody's",
        "UA",
        &[
            Answers(Events, 1, || Answer::normal().again_after(Duration::from_millis(20))),
            Step::Events(3),
            Arrived(3),
            AnsweredUnasked(1),
            Pause(Duration::from_millis(100)),
            Answers(Events, 1, || Answer::status(503)),
            Step::Events(3),
            Shutdown(Yes, LONG),
            Delivered(6),
            Arrived(6),
        ],
    ),
    plain(
        "a shutdown uses its time while the platform is away",
        "W23",
        &[
            Down,
            Step::Events(3),
            Reason("breaker is open"),
            Shutdown(No, SECOND),
            Pending(3),
            Dropped(DropReason::Closed, 0),
        ],
    ),
    plain(
        "a shutdown after a failed flush tries again",
        "W6",
        &[Down, Step::Events(3), Flush(No, SECOND), Up, Shutdown(Yes, LONG), Arrived(3)],
    ),
    plain(
        "an agent can be started again",
        "W50",
        &[Step::Events(1), Shutdown(Yes, LONG), Start, Step::Events(1), Shutdown(Yes, LONG), Arrived(2)],
    ),
    plain(
        "credentials rotate without a restart",
        "4.1, UA",
        &[
            Step::Events(1),
            Arrived(1),
            Expects("another-api-key"),
            Step::Events(3),
            Health(StatusLevel::Failed),
            Pending(3),
            Rotate("short", false),
            Pending(3),
            Rotate("another-api-key", true),
            Arrived(4),
            Health(StatusLevel::Healthy),
            Shutdown(Yes, LONG),
            Violations(1),
        ],
    ),
    // The application's own code.
    Scenario {
        name: "a transport that panics costs an attempt",
        shows: "UA",
        fields: &[],
        with: With::PanickingTransport,
        steps: &[Step::Events(3), Flush(Yes, LONG), Delivered(3), Shutdown(Yes, LONG)],
    },
    Scenario {
        name: "a processor that panics costs its event, a hook that panics nothing",
        shows: "W13, W46",
        fields: &[],
        with: With::PanickingHooks,
        steps: &[
            Answers(Events, 6, || Answer::status(500)),
            Step::Events(6),
            Flush(No, LONG),
            Dropped(DropReason::Processor, 3),
            Delivered(3),
            Shutdown(Yes, LONG),
        ],
    },
    Scenario {
        name: "a processor that blocks does not hold up a shutdown",
        shows: "W24",
        fields: &[],
        with: With::BlockingProcessor,
        steps: &[Step::Events(3), Shutdown(No, SECOND)],
    },
    Scenario {
        name: "what is sent is encrypted, signed and compressed as configured",
        shows: "3, W36",
        fields: &[("compression_threshold", "0")],
        with: With::Nothing,
        steps: &[
            Step::Events(100),
            Step::Metrics(10),
            Shutdown(Yes, LONG),
            Header(Events, "content-encoding", Some("gzip")),
            Header(Metrics, "content-encoding", Some("gzip")),
            Delivered(100),
        ],
    },
    Scenario {
        name: "no secret leaves, whatever field it is in",
        shows: "W41, W42",
        fields: &[],
        with: With::Nothing,
        steps: &[
            Step::Event(|| {
                SecurityEvent::now("authentication_failed")
                    .endpoint("/login?token=hunter2&page=1")
                    .reason("api_key=hunter2")
                    .metadata(
                        "headers",
                        json!([["Authorization", "Bearer hunter2"], ["accept", "text/html"]]),
                    )
                    .metadata("body", r#"{"password":"hunter2","name":"ann"}"#)
                    .extra("headers", json!({"set-cookie": "sid=hunter2", "x_api_key": "hunter2"}))
            }),
            Shutdown(Yes, LONG),
            Step::Text("hunter2", false),
            Step::Text("page=1", true),
            Step::Text("text/html", true),
            Step::Text("ann", true),
        ],
    },
    Scenario {
        name: "long text is cut, and what is no secret stays as it is",
        shows: "W40, W43",
        fields: &[("max_payload_size", "64")],
        with: With::Nothing,
        steps: &[
            Step::Event(|| {
                SecurityEvent::now("suspicious_request")
                    .metadata("long", "x".repeat(5_000))
                    .metadata("text", r#"{"größe": 1.50, "größe":  2}"#)
            }),
            Shutdown(Yes, LONG),
            Step::Text("xxxxxxxxxxxxxxxxxxxxxxxx", true),
            Step::Text("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", false),
            Step::Text(r#"{\"größe\": 1.50, \"größe\":  2}"#, true),
        ],
    },
    // The journal.
    Scenario {
        name: "a journal in Redis outlives the agent",
        shows: "W8, W10, W39",
        fields: &[],
        with: With::Redis,
        steps: HANDED_ON,
    },
    Scenario {
        name: "a journal in files outlives the agent",
        shows: "W8, W10",
        fields: &[],
        with: With::Files,
        steps: HANDED_ON,
    },
    Scenario {
        name: "a journal in a store of one's own outlives the agent",
        shows: "W8",
        fields: &[],
        with: With::OwnStore,
        steps: HANDED_ON,
    },
    Scenario {
        name: "a backlog may be larger than memory",
        shows: "W1, W10",
        fields: &[("buffer_size", "40"), ("journal_records", "10000")],
        with: With::Redis,
        steps: &[
            Down,
            Step::Events(30),
            Persisted(30),
            Step::Events(10),
            Persisted(40),
            Step::Events(10),
            Persisted(50),
            Step::Events(10),
            Persisted(60),
            Step::Events(10),
            Persisted(70),
            Step::Events(10),
            Persisted(80),
            Dropped(DropReason::Overflow, 0),
            Up,
            Arrived(80),
            Duplicates(0),
            Shutdown(Yes, LONG),
            Delivered(80),
        ],
    },
    Scenario {
        name: "a store that is away costs durability alone",
        shows: "W8, W21",
        fields: &[("journal_timeout", "0.5")],
        with: With::Redis,
        steps: &[
            Step::Events(3),
            Arrived(3),
            StoreDown,
            Step::Events(3),
            Arrived(6),
            Reason("journal"),
            StoreUp,
            Down,
            Step::Events(3),
            Persisted(3),
            Health(StatusLevel::Degraded),
            Up,
            Arrived(9),
            Health(StatusLevel::Healthy),
            Shutdown(Yes, LONG),
        ],
    },
    Scenario {
        name: "who asks for durability gets it while the platform is away",
        shows: "W12",
        fields: &[],
        with: With::Redis,
        steps: &[
            Down,
            Step::Events(3),
            Persist(Yes, LONG),
            Pending(3),
            Up,
            Shutdown(Yes, LONG),
            Delivered(3),
        ],
    },
    plain(
        "without a journal durability is delivery",
        "W12",
        &[
            Step::Events(3),
            Persist(Yes, LONG),
            Delivered(3),
            Down,
            Step::Events(1),
            Persist(No, SECOND),
            Up,
            Shutdown(Yes, LONG),
            DeadLetters(0),
        ],
    ),
];

/// An outage, a deploy in the midst of it, and the end of it.
const HANDED_ON: &[Step] = &[
    Down,
    Step::Events(20),
    Persisted(20),
    Shutdown(No, SECOND),
    Up,
    Start,
    Arrived(20),
    Duplicates(0),
    Shutdown(Yes, LONG),
    Recovered(20),
    Delivered(20),
];
