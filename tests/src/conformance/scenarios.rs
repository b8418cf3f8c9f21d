use std::time::Duration;

use guard_agent_proto::Endpoint::{Events, Metrics, Rules, Status};
use guard_agent_proto::shell::gzip;
use guard_agent_proto::wire::Content;
use guard_agent_proto::{DropReason, SecurityEvent, StatusLevel};
use serde_json::json;

use super::Complete::{No, Yes};
use super::Step::{
    Always, Answered, AnsweredUnasked, Answers, Apart, Arrived, AtMost, Attacks, Blocks, Captured,
    CountedInvalid, DeadLetters, Delivered, Down, Dropped, Duplicates, Elsewhere, Expects, Flooded, Flush,
    Header, Health, InForce, InOrder, Invalid, Just, Lasted, MetricsArrived, MetricsDelivered, Normally,
    NotBefore, Pause, Pending, Persist, Persisted, Prompt, Reason, Recovered, Redirects, Refresh, Requested,
    Rotate, RulesWere, SameBatch, Shutdown, Spread, Start, Statuses, StoreDown, StoreUp, Up, Violations,
    Within,
};
use super::{Scenario, Step, With};
use crate::collector::Answer;

const SECOND: Duration = Duration::from_secs(1);
/// Only a hang takes that long.
const LONG: Duration = Duration::from_secs(120);
/// Less than any hold, more than any backoff of these agents.
const HELD: Duration = Duration::from_secs(4);
/// Far more than the buffers of two sockets, and far less than there is to read.
const BUFFERED: usize = 64 << 20;

/// Of the time limit of a request.
const HALF_A_LIMIT: Duration = Duration::from_millis(2_500);

/// A scenario in which nothing of the agent is special.
const fn plain(name: &'static str, shows: &'static str, steps: &'static [Step]) -> Scenario {
    Scenario { name, shows, fields: &[], with: With::Nothing, steps }
}

/// Six events go out, the platform answers like that, and in the end all of them are delivered, and six more.
/// Steps beside those look at how the agent came to that.
macro_rules! delivered_after {
    ($name:literal, $shows:literal, $times:literal, $answer:expr $(, $step:expr)* $(,)?) => {
        plain(
            $name,
            $shows,
            &[
                Answers(Events, $times, || $answer),
                Step::Events(6),
                Flush(Yes, LONG),
                Answered(Events),
                $($step,)*
                Step::Events(6),
                Shutdown(Yes, LONG),
                Delivered(12),
                Arrived(12),
            ],
        )
    };
}

/// The platform answers like that once, and nothing more is sent for a while, new events included.
macro_rules! held_after {
    ($name:literal, $shows:literal, $time:expr, $answer:expr) => {
        plain(
            $name,
            $shows,
            &[
                Answers(Events, 1, || $answer),
                Step::Events(6),
                Requested(Events, 1),
                Step::Events(6),
                Arrived(12),
                Apart(Events, 2, $time),
                Duplicates(0),
                Shutdown(Yes, LONG),
                Delivered(12),
            ],
        )
    };
}

/// The platform answers like that to every batch with one bad event: it is found and given up, and none but it.
macro_rules! bisected {
    ($name:literal, $shows:literal, $answer:expr) => {
        plain(
            $name,
            $shows,
            &[
                Always(Events, || $answer.if_it_has("poison")),
                Step::Events(40),
                Step::Event(poison),
                Step::Events(23),
                Arrived(63),
                // Of the halves, not of the events.
                AtMost(Events, 40),
                Step::Events(1),
                Dropped(DropReason::DeadLetter, 1),
                DeadLetters(1),
                Shutdown(Yes, LONG),
                Delivered(64),
                Step::Text("poison", false),
                Duplicates(0),
            ],
        )
    };
}

/// The platform names the one bad event of a batch by its place: all others of the batch are in the next request.
macro_rules! named {
    ($name:literal, $as_text:literal) => {
        plain(
            $name,
            "4.1, W7, W13",
            &[
                Always(Events, || Answer::naming("poison", $as_text)),
                // So that most of it is one batch.
                Down,
                Step::Events(40),
                Step::Event(poison),
                Step::Events(23),
                Pending(64),
                Up,
                Arrived(63),
                // At most one before it, the batch, the rest of it, and the bad event once more: halves would take ten.
                AtMost(Events, 4),
                Dropped(DropReason::DeadLetter, 1),
                DeadLetters(1),
                Shutdown(Yes, LONG),
                Delivered(63),
                Duplicates(0),
            ],
        )
    };
}

/// A firewall before the platform refuses like that whatever quotes an attack.
macro_rules! firewall {
    ($name:literal, $answer:expr, $reason:literal) => {
        plain(
            $name,
            "UA, W13",
            &[
                Always(Events, || $answer.if_it_has("poison")),
                Step::Events(40),
                Step::Event(poison),
                Step::Events(23),
                Arrived(63),
                Reason($reason),
                Pending(1),
                Step::Events(2),
                Arrived(65),
                DeadLetters(0),
                Duplicates(0),
                Normally(Events),
                Shutdown(Yes, LONG),
                Delivered(66),
                Step::Text("poison", true),
            ],
        )
    };
}

/// The platform, or a proxy in its place, answers 200 with that body: held, and said, until it answers as usual.
macro_rules! empty_answer {
    ($name:literal, $body:literal) => {
        plain(
            $name,
            "4.1, W37",
            &[
                Always(Events, || Answer::status(200).body($body).refusing()),
                Step::Events(6),
                Reason("answers 200 without an acknowledgement"),
                Pending(6),
                Delivered(0),
                Normally(Events),
                Arrived(6),
                Duplicates(0),
                Shutdown(Yes, LONG),
                Delivered(6),
            ],
        )
    };
}

/// The platform answers like that to a fetch of rules; those in force stay until the next ones come.
macro_rules! rules_survive {
    ($name:literal, $shows:literal, $answer:expr) => {
        Scenario {
            name: $name,
            shows: $shows,
            fields: &[("project_id", "project")],
            with: With::Nothing,
            steps: &[
                InForce("default-rule"),
                Step::Rules(r#"{"rule_id":"first","version":5,"ttl":300,"ip_blacklist":["192.0.2.7"]}"#),
                Refresh,
                InForce("first"),
                Answers(Rules, 1, || $answer),
                Step::Rules(r#"{"rule_id":"second","ttl":300,"ip_blacklist":[]}"#),
                Refresh,
                Answered(Rules),
                InForce("second"),
                RulesWere(&["first", "second"]),
                Shutdown(Yes, LONG),
            ],
        }
    };
}

/// What every runtime must do.
pub const SCENARIOS: &[Scenario] = &[
    // 4.1: answers to batches.
    delivered_after!(
        "a 200 with any object is a success",
        "4.1",
        1,
        Answer::json(200, &json!({"x": 1})),
        Duplicates(0),
    ),
    delivered_after!("201 is a success", "4.1, W37", 1, Answer::status(201), Duplicates(0)),
    delivered_after!(
        "202 is a success",
        "4.1, W29, W37",
        1,
        Answer::json(202, &json!({"success": true})),
        Duplicates(0),
    ),
    delivered_after!("204 is a success", "4.1, W29, W37", 1, Answer::status(204), Duplicates(0)),
    delivered_after!(
        "an acknowledgement is read through gzip that nobody asked for",
        "4.1",
        1,
        Answer::status(200)
            .header("content-encoding", "gzip")
            .body(gzip(br#"{"success":true}"#, Content::Json)),
        Duplicates(0),
    ),
    delivered_after!(
        "an acknowledgement is read behind a byte order mark",
        "4.1",
        1,
        Answer::status(200).body("\u{feff}{\"success\":true}\r\n"),
        Duplicates(0),
    ),
    delivered_after!(
        "an acknowledgement is read behind two hundred headers",
        "4.1",
        1,
        (0..200)
            .fold(Answer::json(200, &json!({"success": true})), |answer, _| answer.header("x-filler", "1")),
        Duplicates(0),
    ),
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
        Answer::every_second(),
        Duplicates(0),
    ),
    delivered_after!(
        "a page of HTML is no success",
        "4.1, W37",
        1,
        Answer::status(200).body("<html>maintenance</html>").refusing()
    ),
    plain(
        "a redirect is not followed, and holds",
        "4.1, W29",
        &[
            Redirects(Events, 302),
            Redirects(Events, 307),
            Step::Events(6),
            Arrived(6),
            Elsewhere(0),
            Apart(Events, 3, HELD),
            Shutdown(Yes, LONG),
            Delivered(6),
        ],
    ),
    bisected!("400 is bisected", "4.1, W7, W13", Answer::status(400)),
    held_after!("401 holds", "4.1, W31", HELD, Answer::status(401)),
    held_after!("403 holds", "4.1, W31", HELD, Answer::status(403)),
    held_after!("404 holds", "4.1", HELD, Answer::status(404)),
    delivered_after!("408 is a failure", "4.1, W29", 2, Answer::status(408), SameBatch),
    held_after!("409 holds", "4.1, W29", HELD, Answer::status(409)),
    plain(
        "413 splits, and what proved too large is not tried again",
        "4.1, W15",
        &[
            Always(Events, || Answer::status(413).if_longer_than(8)),
            Step::Events(64),
            Arrived(64),
            Duplicates(0),
            AtMost(Events, 40),
            Shutdown(Yes, LONG),
            Delivered(64),
        ],
    ),
    bisected!("422 is bisected", "4.1, W7, W13", Answer::status(422)),
    named!("422 that names a record by its place costs one more request", false),
    named!("422 that names a record by its place as text costs one more request", true),
    firewall!(
        "a firewall that answers 403 to what an event quotes holds up that event alone",
        Answer::blocked(403),
        "refused a record with 403"
    ),
    firewall!(
        "a firewall that answers 500 to what an event quotes holds up that event alone",
        Answer::blocked(500),
        "refused a record with 500"
    ),
    firewall!(
        "a firewall that breaks the connection at what an event quotes holds up that event alone",
        Answer::reset(),
        "does not answer to a record"
    ),
    plain(
        "a used-up quota is waited for, without a search",
        "UA, W13",
        &[
            Always(Events, || {
                Answer::json(
                    200,
                    &json!({"success": false, "errors": ["Event quota exceeded for this month"]}),
                )
                .refusing()
            }),
            Step::Events(50),
            Reason("the quota is used up"),
            Step::Events(5),
            // Far below the 30 seconds after which it is asked again, and far above what a search takes.
            Pause(Duration::from_secs(3)),
            AtMost(Events, 1),
            Pending(55),
            Normally(Events),
            // A new key may be of another account.
            Rotate("conformance-key", true),
            Arrived(55),
            InOrder,
            DeadLetters(0),
            Shutdown(Yes, LONG),
            Delivered(55),
        ],
    ),
    plain(
        "a lone refused record is said, and a flush tries it again",
        "4.1, W16",
        &[
            Answers(Events, 1, || Answer::status(422)),
            Step::Events(1),
            Reason("refused a record with 422"),
            Pending(1),
            Flush(Yes, Duration::from_secs(5)),
            Delivered(1),
            DeadLetters(0),
            Shutdown(Yes, LONG),
        ],
    ),
    empty_answer!("a 200 without a body is no acknowledgement", ""),
    empty_answer!("a 200 with an object that says nothing is no acknowledgement", "{}"),
    Scenario {
        name: "a 200 without a body is an acknowledgement if that is configured",
        shows: "4.1, W37",
        fields: &[("accept_any_success", "true")],
        with: With::Nothing,
        steps: &[
            Always(Events, || Answer::status(200)),
            Step::Events(6),
            Shutdown(Yes, LONG),
            Delivered(6),
            Duplicates(0),
        ],
    },
    delivered_after!(
        "429 waits as long as it says, in a flush too",
        "4.1, 5.3",
        2,
        Answer::status(429).header("retry-after", "1"),
        Apart(Events, 3, SECOND),
    ),
    delivered_after!("500 is a failure", "4.1", 6, Answer::status(500), SameBatch),
    delivered_after!(
        "503 with Retry-After is heeded",
        "4.1, W30",
        2,
        Answer::status(503).header("retry-after", "1"),
        Apart(Events, 3, SECOND),
    ),
    delivered_after!("a reset is a failure", "4.1", 3, Answer::reset(), SameBatch),
    delivered_after!(
        "a lost answer repeats the batch",
        "4.1",
        2,
        Answer::lost(),
        Requested(Events, 3),
        SameBatch,
    ),
    delivered_after!(
        "a cut answer repeats the batch",
        "4.1",
        1,
        Answer::cut(),
        Requested(Events, 2),
        SameBatch,
    ),
    delivered_after!("bytes that are not HTTP are a failure", "hostile", 2, Answer::garbage(), SameBatch),
    plain(
        "an answer that comes twice is not taken for that to the next request",
        "hostile",
        &[
            Answers(Events, 1, || Answer::normal().twice()),
            Step::Events(6),
            Flush(Yes, LONG),
            Answers(Events, 1, || Answer::status(503)),
            Step::Events(6),
            Shutdown(Yes, LONG),
            Delivered(12),
            Arrived(12),
            Duplicates(0),
        ],
    ),
    delivered_after!(
        "a platform that hangs costs a time limit",
        "4.1, UA-03",
        1,
        Answer::hang(),
        Apart(Events, 2, HALF_A_LIMIT),
    ),
    delivered_after!(
        "an answer that is too slow is none",
        "4.1",
        1,
        Answer::normal().after(Duration::from_secs(8)),
        Requested(Events, 2),
        SameBatch,
        Apart(Events, 2, HALF_A_LIMIT),
    ),
    delivered_after!(
        "an answer that trickles is none",
        "hostile",
        1,
        Answer::normal().trickling(Duration::from_millis(50)),
        Requested(Events, 2),
        SameBatch,
        Apart(Events, 2, HALF_A_LIMIT),
    ),
    delivered_after!(
        "a body without end is not read to its end",
        "hostile",
        1,
        Answer::endless_body(),
        Flooded(BUFFERED),
    ),
    delivered_after!(
        "headers without end are not read to their end",
        "hostile",
        1,
        Answer::endless_headers(),
        Flooded(BUFFERED),
    ),
    plain(
        "what is refused for a while is delivered in the end",
        "4.1, W7, W13",
        &[
            // The batch, then halves, until the last is refused alone; and then once more.
            Answers(Events, 3, || Answer::status(422)),
            Step::Events(4),
            Arrived(3),
            Shutdown(Yes, LONG),
            Delivered(4),
            DeadLetters(0),
        ],
    ),
    plain(
        "what is refused alone, and again after a success of others, becomes a dead letter",
        "4.1, W16",
        &[
            Always(Events, || Answer::status(422).if_it_has("poison")),
            Step::Event(poison),
            Requested(Events, 1),
            Pending(1),
            Step::Events(3),
            Dropped(DropReason::DeadLetter, 1),
            DeadLetters(1),
            Shutdown(Yes, LONG),
            Delivered(3),
            Arrived(3),
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
            MetricsDelivered(3),
            Normally(Events),
            Flush(Yes, LONG),
            Shutdown(Yes, LONG),
        ],
    ),
    // 5.3: what `Retry-After` may say.
    delivered_after!(
        "Retry-After: nan is no wait",
        "5.3, W30",
        1,
        Answer::status(429).header("retry-after", "nan"),
        Prompt(Duration::from_secs(5)),
    ),
    delivered_after!(
        "Retry-After: a negative number is no wait",
        "5.3, W30",
        1,
        Answer::status(429).header("retry-after", "-5"),
        Prompt(Duration::from_secs(5)),
    ),
    delivered_after!(
        "Retry-After: a date in the past is no wait",
        "5.3, W30",
        1,
        Answer::status(429).header("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"),
        Prompt(Duration::from_secs(5)),
    ),
    delivered_after!(
        "Retry-After: a number with spaces and a sign is read",
        "5.3",
        1,
        Answer::status(429).header("retry-after", " +1.5 "),
        Apart(Events, 2, Duration::from_millis(1_500)),
    ),
    delivered_after!(
        "Retry-After: a date is relative to that of its answer",
        "5.3, W30",
        1,
        Answer::status(429)
            .header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
            .header("retry-after", "Sun, 06 Nov 1994 08:49:39 GMT"),
        Apart(Events, 2, Duration::from_secs(2)),
    ),
    held_after!(
        "Retry-After: quiet is kept, for new events too",
        "5.3",
        Duration::from_secs(2),
        Answer::status(429).header("retry-after", "2")
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
        "a status that is refused is not repeated, and holds nothing up",
        "4.2",
        &[
            Always(Status, || Answer::status(404)),
            Step::Events(3),
            Shutdown(Yes, LONG),
            Delivered(3),
            Requested(Status, 1),
            AtMost(Status, 1),
        ],
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
    rules_survive!(
        "rules: an older version changes nothing",
        "W47",
        Answer::json(200, &json!({"rule_id": "first", "version": 4, "ip_blacklist": ["198.51.100.1"]}))
    ),
    rules_survive!(
        "rules: nothing but an id changes nothing",
        "W47",
        Answer::json(200, &json!({"rule_id": "first", "version": 6, "ttl": 300}))
    ),
    rules_survive!(
        "rules: settings without a list change nothing",
        "W47",
        Answer::json(200, &json!({"rule_id": "first", "version": 6, "emergency_mode": false}))
    ),
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
            // The fetch of the start is over, and the next one is due in five minutes.
            InForce("default-rule"),
            Step::Rules(r#"{"rule_id":"after","ttl":300}"#),
            Attacks(1),
            InForce("after"),
            Shutdown(Yes, LONG),
        ],
    },
    plain(
        "rules: without a project nobody asks",
        "4.3",
        &[Refresh, Attacks(3), Arrived(3), Refresh, Shutdown(Yes, LONG), AtMost(Rules, 0)],
    ),
    Scenario {
        name: "requests say which project they are of",
        shows: "1",
        fields: &[("project_id", "project")],
        with: With::Nothing,
        steps: &[
            Refresh,
            Step::Events(1),
            Step::Metrics(1),
            Requested(Rules, 1),
            Shutdown(Yes, LONG),
            Header(Rules, "x-project-id", Some("project")),
            Header(Events, "x-project-id", Some("project")),
            Header(Metrics, "x-project-id", Some("project")),
            Header(Status, "x-project-id", Some("project")),
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
            Step::Events(300),
            Pause(Duration::from_millis(100)),
            // Slowly, so that there is still a backlog when new ones come.
            Always(Events, || Answer::normal().after(Duration::from_millis(50))),
            Up,
            Arrived(20),
            Step::Events(20),
            Arrived(100),
            Step::Events(20),
            Arrived(340),
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
            Flush(Yes, LONG),
            Requested(Events, 4),
            SameBatch,
            Shutdown(Yes, LONG),
            Delivered(5),
        ],
    ),
    plain(
        "a burst of ten thousand loses none",
        "W4",
        &[Step::Events(10_000), Shutdown(Yes, LONG), Delivered(10_000), Arrived(10_000)],
    ),
    Scenario {
        name: "an event is not kept waiting for an interval",
        shows: "W38, UA",
        // Far longer than anybody waits here.
        fields: &[("flush_interval", "86400")],
        with: With::Nothing,
        steps: &[Step::Events(1), Arrived(1), Shutdown(Yes, LONG)],
    },
    Scenario {
        name: "no window has more requests than the limit",
        shows: "5.2, W33",
        fields: &[("rate_limit", "10"), ("rate_window", "1"), ("batch_max_records", "1")],
        with: With::Nothing,
        steps: &[
            Step::Events(40),
            Arrived(40),
            NotBefore(Events, 11, SECOND),
            NotBefore(Events, 31, Duration::from_secs(3)),
            Spread(Events, 10, SECOND),
            Shutdown(Yes, LONG),
        ],
    },
    plain(
        "the breaker opens, and closes when the platform is back",
        "5.4, W32, W34",
        &[
            Down,
            Step::Events(3),
            Health(StatusLevel::Degraded),
            Reason("breaker is open"),
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
            Just(5, 15),
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
            Shutdown(No, Duration::from_secs(2)),
            // That is, not before the end of its time.
            Lasted(SECOND),
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
        steps: &[Step::Events(3), Flush(Yes, LONG), Delivered(3), Captured(3), Shutdown(Yes, LONG)],
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
            Arrived(3),
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
        // The platform reads and verifies it, and refuses what is neither.
        with: With::Keys,
        steps: &[
            Step::Events(100),
            Step::Metrics(10),
            Shutdown(Yes, LONG),
            Header(Events, "content-encoding", Some("gzip")),
            Header(Metrics, "content-encoding", Some("gzip")),
            Header(Status, "content-encoding", Some("gzip")),
            Delivered(100),
            Arrived(100),
            MetricsArrived(10),
            Just(0, 100),
        ],
    },
    Scenario {
        name: "no secret leaves, whatever text of an event it is in",
        shows: "W41, W42",
        fields: &[],
        with: With::Nothing,
        steps: &[
            Step::Event(|| {
                SecurityEvent::now("authentication_failed")
                    .endpoint("/login?token=hunter2&page=1")
                    .reason("api_key=hunter2")
                    .user_agent("curl/8 (token=hunter2)")
                    .pattern_matched("secret=hunter2")
                    .handler_name("login?password=hunter2")
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
        name: "what was delivered leaves the journal",
        shows: "W27",
        fields: &[],
        with: With::OwnStore,
        steps: &[
            Down,
            Step::Events(20),
            Persisted(20),
            Up,
            Delivered(20),
            // What is not delivered stays, so that the journal is not deleted as a whole.
            Down,
            Step::Events(1),
            Persist(Yes, LONG),
            Blocks(1),
            Pending(1),
            Up,
            Delivered(21),
            Blocks(0),
            Shutdown(Yes, LONG),
        ],
    },
    Scenario {
        name: "a batch is the same one after a restart",
        shows: "W19",
        fields: &[],
        with: With::OwnStore,
        steps: &[
            Always(Events, Answer::lost),
            Step::Events(5),
            Requested(Events, 2),
            Persist(Yes, LONG),
            Shutdown(No, SECOND),
            Normally(Events),
            Start,
            Delivered(5),
            Recovered(5),
            SameBatch,
            Shutdown(Yes, LONG),
        ],
    },
    Scenario {
        name: "a backlog may be larger than memory",
        shows: "W1, W10",
        // An agent that loses its lease, on a machine that is too busy, begins anew with a memory that is full already.
        fields: &[("buffer_size", "40"), ("journal_records", "10000"), ("journal_lease", "30")],
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
    Scenario {
        name: "durability is not claimed while the store is away",
        shows: "W8, W12",
        fields: &[("journal_timeout", "0.5")],
        with: With::OwnStore,
        steps: &[
            Down,
            StoreDown,
            Step::Events(3),
            Persist(No, SECOND),
            StoreUp,
            Persist(Yes, LONG),
            Up,
            Arrived(3),
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
    InOrder,
    Duplicates(0),
    Shutdown(Yes, LONG),
    Recovered(20),
    Delivered(20),
];

/// An event that a platform may refuse for its text.
fn poison() -> SecurityEvent {
    SecurityEvent::now("rate_limited").ip_address("192.0.2.7").reason("poison")
}
