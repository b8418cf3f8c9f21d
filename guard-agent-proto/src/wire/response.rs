use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::parse_retry_after;
use crate::{Response, Timestamp};

/// Stands for an answer that is not quoted.
const CONFIDENTIAL: &str = "[not quoted: it may hold credentials]";
/// Most characters of an answer that are shown to people.
const MAX_MESSAGE: usize = 200;
/// Members that name a record by its place in the batch.
const INDEX_MEMBERS: [&str; 4] = ["index", "position", "item", "event_index"];
/// Members that name a record by its idempotency key.
const KEY_MEMBERS: [&str; 3] = ["idempotency_key", "key", "id"];

/// What an answer to a POST means for the batch (or status) that it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Any 2xx without sign of failure. `invalid_timestamps` from the acknowledgement body.
    Delivered { invalid_timestamps: u64 },
    /// A success that names records it did not take (by index in the batch, or by idempotency key):
    /// the others are delivered. The names are the platform's word: they may be those of no record.
    Partly { failed: Vec<ItemRef>, message: String },
    /// A success whose body reports failure without naming records.
    Unsure { message: String },
    /// 413.
    TooLarge,
    /// 400, 422: about the content.
    Refused { message: String },
    /// 429.
    SlowDown { retry_after: Option<Duration> },
    /// 408, 425, 5xx: counts for the breaker.
    Failed { retry_after: Option<Duration> },
    /// 401, 403, 404, 3xx, every other status, and a 2xx that is not the platform's (HTML, not JSON).
    Hold { message: String },
}

/// A record named by an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ItemRef {
    /// Zero-based place in the batch.
    Index(usize),
    /// Idempotency key as records spell it: hyphenated, in lower case.
    Key(String),
}

/// Reads an answer to a POST.
pub(crate) fn judge(response: &Response, wall: Timestamp) -> Verdict {
    match Class::of(response.status) {
        Class::Success => acknowledgement(response),
        Class::TooLarge => Verdict::TooLarge,
        Class::Refused => Verdict::Refused { message: message(response) },
        Class::SlowDown => Verdict::SlowDown { retry_after: retry_after(response, wall) },
        Class::Failed => Verdict::Failed { retry_after: retry_after(response, wall) },
        Class::Other => Verdict::Hold { message: describe(response) },
    }
}

/// What a status code is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Success,
    TooLarge,
    Refused,
    SlowDown,
    Failed,
    Other,
}

impl Class {
    pub(super) const fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            413 => Self::TooLarge,
            400 | 422 => Self::Refused,
            429 => Self::SlowDown,
            408 | 425 | 500..=599 => Self::Failed,
            _ => Self::Other,
        }
    }
}

pub(super) fn retry_after(response: &Response, wall: Timestamp) -> Option<Duration> {
    parse_retry_after(response.retry_after.as_deref()?, wall)
}

/// Status and first line of an answer, for people.
pub(super) fn describe(response: &Response) -> String {
    match quote(response) {
        line if line.is_empty() => format!("HTTP {}", response.status),
        line => format!("HTTP {}: {line}", response.status),
    }
}

/// The first line of an answer, for people.
pub(super) fn quote(response: &Response) -> String {
    if response.confidential { String::from(CONFIDENTIAL) } else { first_line(&response.body) }
}

/// The first line with something in it, without control characters and cut to [`MAX_MESSAGE`].
fn first_line(body: &[u8]) -> String {
    // Four bytes are the longest character, so this is enough for the message.
    let body = body.trim_ascii_start();
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_MESSAGE * 4)]);
    let line = text.lines().next().unwrap_or_default();
    let line: String = line.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
    line.trim_end().to_owned()
}

/// Whether a member says anything: not absent, null, false, zero or empty.
pub(super) fn is_truthy(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
    }
}

fn message(response: &Response) -> String {
    match quote(response) {
        line if line.is_empty() => describe(response),
        line => line,
    }
}

fn acknowledgement(response: &Response) -> Verdict {
    let body = without_mark(&response.body).trim_ascii();
    if body.is_empty() {
        return Verdict::Delivered { invalid_timestamps: 0 };
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(answer)) => read_object(&answer, response),
        // The reference takes both for success, but neither reads like one.
        Ok(Value::Bool(false) | Value::String(_)) => Verdict::Unsure { message: quote(response) },
        Ok(Value::Null | Value::Bool(true) | Value::Number(_) | Value::Array(_)) => {
            Verdict::Delivered { invalid_timestamps: 0 }
        }
        Err(_) => Verdict::Hold { message: format!("not the platform's answer: {}", quote(response)) },
    }
}

/// A body without the byte order mark that some servers put before their JSON.
pub(super) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn read_object(answer: &Map<String, Value>, response: &Response) -> Verdict {
    let errors = answer.get("errors").filter(|errors| is_truthy(Some(errors)));
    if answer.get("success") != Some(&Value::Bool(false)) && errors.is_none() {
        let invalid = answer.get("events_dropped_invalid_timestamp").and_then(Value::as_u64);
        return Verdict::Delivered { invalid_timestamps: invalid.unwrap_or(0) };
    }
    let message = quote(response);
    match errors.and_then(named_items) {
        Some(failed) if !took_nothing(answer) => Verdict::Partly { failed, message },
        _ => Verdict::Unsure { message },
    }
}

/// Whether the answer counts what it took, and took nothing: then naming some records does not mean
/// that the others are delivered.
fn took_nothing(answer: &Map<String, Value>) -> bool {
    let mut counts =
        ["events_processed", "metrics_processed"].iter().filter_map(|name| answer.get(*name)).peekable();
    counts.peek().is_some() && counts.all(|count| !is_truthy(Some(count)))
}

/// The records that `errors` names, if it is about named records and nothing else: an error that
/// names none may be about any.
fn named_items(errors: &Value) -> Option<Vec<ItemRef>> {
    match errors {
        Value::Array(errors) => errors.iter().map(|error| named_item(error.as_object()?)).collect(),
        Value::Object(errors) => match named_item(errors) {
            Some(item) => Some(Vec::from([item])),
            None => errors.keys().map(|name| index(name).or_else(|| key(name))).collect(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn named_item(error: &Map<String, Value>) -> Option<ItemRef> {
    let by_index = INDEX_MEMBERS.iter().filter_map(|name| error.get(*name)).find_map(|value| match value {
        Value::Number(number) => usize::try_from(number.as_u64()?).ok().map(ItemRef::Index),
        Value::String(text) => index(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    by_index.or_else(|| KEY_MEMBERS.iter().find_map(|name| key(error.get(*name)?.as_str()?)))
}

fn index(text: &str) -> Option<ItemRef> {
    text.parse().ok().map(ItemRef::Index)
}

fn key(text: &str) -> Option<ItemRef> {
    Uuid::try_parse(text).ok().map(|key| ItemRef::Key(key.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "0b54e1a3-7a0e-4f63-9a1b-2f8f4ad1c0de";

    fn answer(status: u16, body: impl AsRef<[u8]>) -> Response {
        Response { status, body: body.as_ref().to_vec(), ..Response::default() }
    }

    fn verdict(status: u16, body: impl AsRef<[u8]>) -> Verdict {
        judge(&answer(status, body), Timestamp::default())
    }

    const DELIVERED: Verdict = Verdict::Delivered { invalid_timestamps: 0 };

    #[test]
    fn successes_without_sign_of_failure() {
        for body in [
            "",
            " \r\n",
            "{}",
            r#"{"success":true}"#,
            "\u{feff}{\"success\":true}\r\n",
            r#"{"x":1}"#,
            r#"{"success":null}"#,
            r#"{"success":0}"#,
            r#"{"success":true,"errors":null}"#,
            r#"{"errors":[]}"#,
            r#"{"errors":{}}"#,
            r#"{"errors":""}"#,
            r#"{"errors":0}"#,
            r#"{"errors":false}"#,
            "[]",
            "[1]",
            "null",
            "true",
            "7",
        ] {
            for status in [200, 201, 202, 204, 206, 299] {
                assert_eq!(verdict(status, body), DELIVERED, "{status} {body}");
            }
        }
    }

    #[test]
    fn records_with_an_invalid_date_are_told() {
        for (count, invalid_timestamps) in
            [("3", 3), ("0", 0), ("null", 0), ("-1", 0), ("\"3\"", 0), ("1.5", 0)]
        {
            let body = format!(r#"{{"success":true,"events_dropped_invalid_timestamp":{count}}}"#);
            assert_eq!(verdict(200, body), Verdict::Delivered { invalid_timestamps });
        }
    }

    #[test]
    fn successes_that_report_failure_without_naming_records() {
        for body in [
            r#"{"success":false}"#,
            r#"{"success":false,"errors":[]}"#,
            r#"{"errors":["bad"]}"#,
            r#"{"success":true,"errors":"bad"}"#,
            r#"{"errors":1}"#,
            r#"{"errors":true}"#,
            r#"{"errors":{"message":"bad","code":7}}"#,
            r#"{"errors":[{"message":"bad"}]}"#,
            r#"{"errors":[{"index":-1}]}"#,
            r#"{"errors":[{"index":1.5}]}"#,
            r#"{"errors":[{"id":"not-a-key"}]}"#,
            r#"{"errors":[{"index":1},"and more"]}"#,
            r#"{"errors":{"0":"bad","detail":"and more"}}"#,
            r#"{"success":false,"events_processed":0,"metrics_processed":0,"errors":[{"index":1}]}"#,
            "false",
            r#""error""#,
            r#""""#,
        ] {
            assert_eq!(verdict(200, body), Verdict::Unsure { message: body.to_owned() }, "{body}");
        }
    }

    #[test]
    fn successes_that_name_records() {
        let index = |index| vec![ItemRef::Index(index)];
        let key = || vec![ItemRef::Key(KEY.to_owned())];
        let upper = KEY.to_uppercase();
        for (errors, failed) in [
            (r#"[{"index":1,"message":"bad"}]"#.to_owned(), index(1)),
            (r#"[{"position":0}]"#.to_owned(), index(0)),
            (r#"[{"item":2}]"#.to_owned(), index(2)),
            (r#"[{"event_index":"3"}]"#.to_owned(), index(3)),
            (r#"[{"index":null,"position":4}]"#.to_owned(), index(4)),
            (r#"{"index":5,"message":"bad"}"#.to_owned(), index(5)),
            (r#"{"6":"bad"}"#.to_owned(), index(6)),
            (r#"[{"index":1},{"index":7}]"#.to_owned(), vec![ItemRef::Index(1), ItemRef::Index(7)]),
            (format!(r#"[{{"idempotency_key":"{KEY}"}}]"#), key()),
            (format!(r#"[{{"key":"{upper}"}}]"#), key()),
            (format!(r#"[{{"id":"{KEY}","message":"bad"}}]"#), key()),
            (format!(r#"{{"{KEY}":["bad"]}}"#), key()),
        ] {
            for rest in [
                r#""success":false"#,
                r#""success":true,"events_processed":4,"metrics_processed":0"#,
                r#""events_processed":0,"metrics_processed":1"#,
            ] {
                let message = format!(r#"{{{rest},"errors":{errors}}}"#);
                let expected = Verdict::Partly { failed: failed.clone(), message: message.clone() };
                assert_eq!(verdict(200, &message), expected);
            }
        }
    }

    #[test]
    fn successes_of_someone_else() {
        for body in ["<html>login</html>", "OK", "{\"success\":tr", "{} {}", "\0"] {
            assert!(matches!(verdict(200, body), Verdict::Hold { .. }), "{body}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(verdict(200, deep), Verdict::Hold { .. }));
    }

    #[test]
    fn statuses_that_are_no_success() {
        let held = |status| Verdict::Hold { message: format!("HTTP {status}: no") };
        for status in [400, 422] {
            assert_eq!(verdict(status, "no"), Verdict::Refused { message: "no".to_owned() });
            assert_eq!(verdict(status, " "), Verdict::Refused { message: format!("HTTP {status}") });
        }
        assert_eq!(verdict(413, "no"), Verdict::TooLarge);
        for status in [0, 100, 301, 302, 304, 308, 401, 402, 403, 404, 405, 409, 410, 418, 451, 600, u16::MAX]
        {
            assert_eq!(verdict(status, "no"), held(status));
        }
        assert_eq!(verdict(404, ""), Verdict::Hold { message: "HTTP 404".to_owned() });
        let wait = Some(Duration::from_secs(7));
        for (header, retry_after) in [(None, None), (Some("7"), wait), (Some("nan"), None)] {
            let response = |status| Response { retry_after: header.map(str::to_owned), ..answer(status, "") };
            let wall = Timestamp::default();
            assert_eq!(judge(&response(429), wall), Verdict::SlowDown { retry_after });
            for status in [408, 425, 500, 502, 503, 504, 599] {
                assert_eq!(judge(&response(status), wall), Verdict::Failed { retry_after });
            }
        }
    }

    #[test]
    fn messages_are_one_short_printable_line() {
        for (body, line) in [
            (&b"\n\n  bad ip \t\r\nmore"[..], "bad ip"),
            (b"a\x1b[31m\x00b\x7f", "a[31mb"),
            (b"bad \xff byte", "bad \u{fffd} byte"),
            (b"", ""),
        ] {
            assert_eq!(first_line(body), line);
        }
        let long = "é😀".repeat(1_000);
        assert_eq!(first_line(long.as_bytes()).chars().count(), MAX_MESSAGE);
    }

    #[test]
    fn what_repeats_our_credentials_is_read_but_not_quoted() {
        for (status, body) in [
            (200, "the key"),
            (200, "\"the key\""),
            (200, r#"{"success":false,"message":"the key"}"#),
            (200, r#"{"errors":[{"index":0,"message":"the key"}]}"#),
            (400, "the key"),
            (401, "the key"),
        ] {
            let plain = verdict(status, body);
            let confidential = Response { confidential: true, ..answer(status, body) };
            let hidden = judge(&confidential, Timestamp::default());
            assert_eq!(core::mem::discriminant(&plain), core::mem::discriminant(&hidden), "{status} {body}");
            assert!(format!("{plain:?}").contains("the key"), "{plain:?}");
            let hidden = format!("{hidden:?}");
            assert!(hidden.contains(CONFIDENTIAL) && !hidden.contains("the key"), "{hidden}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            status in prop_oneof![Just(200_u16), Just(503), any::<u16>()],
            body: Vec<u8>,
            retry_after in proptest::option::of(".*"),
            wall: i64,
        ) {
            let response = Response { status, retry_after, body, ..Response::default() };
            judge(&response, Timestamp::from_unix_micros(wall));
        }

        /// JSON that looks like an answer reaches further than arbitrary bytes.
        #[test]
        fn no_answer_panics(body in
            r#"\{("(success|errors|index|id|0)":(true|false|null|-?[0-9]{1,30}|"[a-f0-9-]{0,40}"|\[\{"(index|key)":("?[0-9]{1,30}"?|null)\}\]|\{"[0-9]{1,3}":1\}),?){1,3}\}"#
        ) {
            judge(&answer(200, body), Timestamp::default());
        }
    }
}
