use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::parse_retry_after;
use crate::message::shown;
use crate::{Response, Timestamp, read_json};

/// Stands for an answer that is not quoted.
const CONFIDENTIAL: &str = "[not quoted: it may hold credentials]";
/// Most characters of an answer that are shown to people.
const MAX_MESSAGE: usize = 200;
/// Members that name a record by its place in the batch.
const INDEX_MEMBERS: [&str; 4] = ["index", "position", "item", "event_index"];
/// Lists of the body that a path to a record goes through.
const LISTS: [&str; 2] = ["events", "metrics"];
/// Members whose text is the server's own. Beside them some quote what they refuse, which an attacker may have written.
const MESSAGE_MEMBERS: [&str; 10] =
    ["code", "description", "detail", "error", "errors", "message", "msg", "reason", "title", "type"];
/// A word that alone makes a message one about the account, and those of which it takes two different ones: a field
/// has a limit, too.
const QUOTA_WORDS: [&str; 2] = ["quota", "quotas"];
const ACCOUNT_WORDS: [&str; 19] = [
    "account",
    "billing",
    "daily",
    "exhausted",
    "expired",
    "hourly",
    "left",
    "limit",
    "limits",
    "monthly",
    "plan",
    "rate",
    "reached",
    "remaining",
    "subscription",
    "tier",
    "upgrade",
    "usage",
    "used",
];
/// Members that name a record by its idempotency key.
const KEY_MEMBERS: [&str; 3] = ["idempotency_key", "key", "id"];

/// What an answer to a POST means for the batch (or status) that it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The platform's acknowledgement. `invalid_timestamps` from its body.
    Delivered { invalid_timestamps: u64 },
    /// A success that names records it did not take (by index in the batch, or by idempotency key):
    /// the others are delivered. The names are the platform's word: they may be those of no record.
    Partly { failed: Vec<ItemRef>, message: String },
    /// A success whose body reports failure without naming records.
    Unsure { message: String },
    /// 413.
    TooLarge,
    /// 400, 422: about the content. `named` are the records that every entry of the answer is about; empty
    /// where one of them names none. They are the platform's word, as for `Partly`.
    Refused { named: Vec<ItemRef>, message: String },
    /// 402, or a failure that names no record and speaks of quota, plan or limit: about the account, whatever the content.
    Quota { message: String },
    /// 429.
    SlowDown { retry_after: Option<Duration> },
    /// 408, 425, 5xx: counts for the breaker.
    Failed { retry_after: Option<Duration> },
    /// No connection was made. Counts for the breaker.
    Unsent,
    /// It was sent, and no whole answer came. Counts for the breaker.
    Unanswered { message: String },
    /// 401, 403, 404, 3xx, every other status, and a 2xx that is not the platform's (HTML, not JSON, a 200 that
    /// says nothing).
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

/// Reads an answer to a POST. `lenient` takes every 2xx that reports no failure for an acknowledgement.
pub(crate) fn judge(response: &Response, wall: Timestamp, lenient: bool) -> Verdict {
    match Class::of(response.status) {
        Class::Success => acknowledgement(response, lenient),
        Class::TooLarge => Verdict::TooLarge,
        Class::Refused => refusal(response),
        Class::SlowDown => Verdict::SlowDown { retry_after: retry_after(response, wall) },
        Class::Failed => Verdict::Failed { retry_after: retry_after(response, wall) },
        Class::Other if response.status == 402 || response.status == 403 && blames_quota(response) => {
            Verdict::Quota { message: describe(response) }
        }
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

/// The first line with something in it, cleaned as messages are and cut to [`MAX_MESSAGE`].
fn first_line(body: &[u8]) -> String {
    // Four bytes are the longest character, so this is enough for the message.
    let body = body.trim_ascii_start();
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_MESSAGE * 4)]);
    let line = text.lines().next().unwrap_or_default();
    let line: String = line.chars().filter_map(shown).take(MAX_MESSAGE).collect();
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

fn acknowledgement(response: &Response, lenient: bool) -> Verdict {
    const DELIVERED: Verdict = Verdict::Delivered { invalid_timestamps: 0 };
    // The platform answers 200 with an object; these statuses say by themselves that the batch was taken.
    let lenient = lenient || matches!(response.status, 201 | 202 | 204);
    match read_json(json(&response.body)) {
        Ok(Value::Object(answer)) if !answer.is_empty() => read_object(&answer, response),
        // The reference takes both for success, but neither reads like one.
        Ok(Value::Bool(false) | Value::String(_)) => Verdict::Unsure { message: quote(response) },
        Ok(_) if lenient => DELIVERED,
        Err(_) if lenient && !looks_like_a_page(&response.body) => DELIVERED,
        Ok(_) | Err(_) => {
            Verdict::Hold { message: format!("not the platform's answer: {}", described_body(response)) }
        }
    }
}

/// A body without what some servers put around its JSON.
fn json(body: &[u8]) -> &[u8] {
    without_mark(body).trim_ascii()
}

/// Whether a body is one for people: a portal or a proxy answers instead of the backend.
fn looks_like_a_page(body: &[u8]) -> bool {
    json(body).starts_with(b"<")
}

fn described_body(response: &Response) -> String {
    match quote(response) {
        line if line.is_empty() => String::from("an empty body"),
        line => line,
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
        _ if speaks_of_quota(answer) => Verdict::Quota { message },
        _ => Verdict::Unsure { message },
    }
}

/// 400 and 422: FastAPI lists under `detail` what it found where; others call the list `errors`.
fn refusal(response: &Response) -> Verdict {
    let message = message(response);
    let named = match read_json(json(&response.body)) {
        Ok(Value::Object(answer)) => {
            let errors = ["detail", "errors"].iter().filter_map(|name| answer.get(*name));
            let named = errors.filter(|errors| is_truthy(Some(errors))).find_map(named_items);
            if named.is_none() && speaks_of_quota(&answer) {
                return Verdict::Quota { message };
            }
            named
        }
        Ok(Value::Array(errors)) if !errors.is_empty() => named_items(&Value::Array(errors)),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) | Err(_) => {
            None
        }
    };
    Verdict::Refused { named: named.unwrap_or_default(), message }
}

fn blames_quota(response: &Response) -> bool {
    matches!(read_json(json(&response.body)), Ok(Value::Object(answer)) if speaks_of_quota(&answer))
}

/// Whether a message of the answer is about what an account may use.
fn speaks_of_quota(answer: &Map<String, Value>) -> bool {
    any_message(answer, 4, &|text| {
        let has = |word: &&str| words(text).any(|it| it.eq_ignore_ascii_case(word));
        QUOTA_WORDS.iter().any(has) || ACCOUNT_WORDS.iter().filter(|word| has(word)).count() > 1
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
}

fn any_message(answer: &Map<String, Value>, depth: usize, matches: &impl Fn(&str) -> bool) -> bool {
    let mut messages = MESSAGE_MEMBERS.iter().filter_map(|name| answer.get(*name));
    messages.any(|value| any_text(value, depth, matches))
}

fn any_text(value: &Value, depth: usize, matches: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => matches(text),
        Value::Array(items) => depth > 0 && items.iter().any(|item| any_text(item, depth - 1, matches)),
        Value::Object(members) => depth > 0 && any_message(members, depth - 1, matches),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
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
    let by_key = || KEY_MEMBERS.iter().find_map(|name| key(error.get(*name)?.as_str()?));
    by_index.or_else(by_key).or_else(|| located(error.get("loc").or_else(|| error.get("path"))?))
}

/// The place behind `events` or `metrics` in a path such as `["body","events",77,"ip_address"]`,
/// `body.events.77` or `/events/77`.
fn located(path: &Value) -> Option<ItemRef> {
    match path {
        Value::Array(steps) => {
            let list =
                steps.iter().position(|step| step.as_str().is_some_and(|step| LISTS.contains(&step)))?;
            match steps.get(list + 1)? {
                Value::Number(number) => usize::try_from(number.as_u64()?).ok().map(ItemRef::Index),
                Value::String(text) => index(text),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            }
        }
        Value::String(path) => {
            let mut steps = path.split(['.', '/', '[', ']']).filter(|step| !step.is_empty());
            steps.find(|step| LISTS.contains(step))?;
            index(steps.next()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
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
        judge(&answer(status, body), Timestamp::default(), false)
    }

    const DELIVERED: Verdict = Verdict::Delivered { invalid_timestamps: 0 };

    #[test]
    fn the_platforms_acknowledgement_is_an_object_that_reports_no_failure() {
        for body in [
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
            // Servers in Python write NaN and lone surrogates.
            r#"{"success":true,"took":NaN}"#,
            r#"{"success":true,"message":"\ud800"}"#,
        ] {
            for status in [200, 201, 202, 204, 206, 299] {
                assert_eq!(verdict(status, body), DELIVERED, "{status} {body}");
            }
        }
    }

    #[test]
    fn a_success_that_says_nothing_is_the_platforms_where_its_status_says_so_or_a_setting() {
        for body in ["", " \r\n", "{}", "[]", "[1]", "null", "true", "7", "OK"] {
            let lenient = |status| judge(&answer(status, body), Timestamp::default(), true);
            for status in [201, 202, 204] {
                assert_eq!(
                    (verdict(status, body), lenient(status)),
                    (DELIVERED, DELIVERED),
                    "{status} {body}"
                );
            }
            for status in [200, 203, 206, 299] {
                assert!(matches!(verdict(status, body), Verdict::Hold { .. }), "{status} {body}");
                assert_eq!(lenient(status), DELIVERED, "{status} {body}");
            }
        }
    }

    #[test]
    fn a_page_is_nobodys_acknowledgement() {
        for status in [200, 201, 202, 204] {
            for lenient in [false, true] {
                let page = answer(status, " <!doctype html>");
                assert!(
                    matches!(judge(&page, Timestamp::default(), lenient), Verdict::Hold { .. }),
                    "{status}"
                );
            }
        }
    }

    #[test]
    fn answers_about_the_account_are_told_from_those_about_content() {
        for (status, body) in [
            (200, r#"{"success": false, "errors": ["Event quota exceeded for this month"]}"#),
            (200, r#"{"success":false,"message":"Plan: 0 events left"}"#),
            (200, r#"{"errors":{"detail":["daily Limit reached"]}}"#),
            (403, r#"{"detail":"the limit of your plan is reached"}"#),
            (400, r#"{"detail":"Event quota exceeded"}"#),
            (422, r#"{"detail":"Plan limit reached"}"#),
            (422, r#"{"detail":[{"loc":["body"],"msg":"monthly limit reached"}]}"#),
            (402, ""),
            (402, "<html>pay</html>"),
        ] {
            assert!(matches!(verdict(status, body), Verdict::Quota { .. }), "{status} {body}");
        }
        for (status, body) in [
            (200, r#"{"success":false,"errors":["explanation missing"]}"#),
            (200, r#"{"success":false,"errors":[{"index":1,"message":"limit of length"}]}"#),
            (403, "<html>your limit</html>"),
            (422, r#"{"detail":"limit of 10 characters"}"#),
            (200, r#"{"success":false,"errors":["user_agent exceeds the limit of 512 characters"]}"#),
            (422, r#"{"detail":[{"loc":["body","events",7,"reason"],"msg":"over the plan's limit"}]}"#),
            (403, r#"{"error":"blocked","matched":"1' UNION SELECT password FROM users LIMIT 1 --"}"#),
            (403, r#"{"error":"blocked","matched":"plan B exceeds the quota"}"#),
            (422, r#"{"detail":[{"loc":["body","events"],"msg":"too long","input":[{"reason":"quota"}]}]}"#),
        ] {
            assert!(!matches!(verdict(status, body), Verdict::Quota { .. }), "{status} {body}");
        }
    }

    #[test]
    fn refusals_name_records_as_fastapi_and_others_do() {
        let at = |places: &[usize]| places.iter().map(|place| ItemRef::Index(*place)).collect::<Vec<_>>();
        for (body, named) in [
            (r#"{"detail":[{"type":"t","loc":["body","events",77,"ip_address"],"msg":"m"}]}"#, at(&[77])),
            (r#"{"detail":[{"loc":["body","events","3","x"]},{"loc":["body","events",9]}]}"#, at(&[3, 9])),
            (r#"{"detail":[{"loc":["body","metrics",0,"value"],"msg":"m"}]}"#, at(&[0])),
            (r#"{"errors":[{"loc":["events",5]}]}"#, at(&[5])),
            (r#"{"detail":"bad","errors":[{"path":"/events/5/ip"}]}"#, at(&[5])),
            (r#"[{"path":"body.events[12].ip"}]"#, at(&[12])),
            (r#"{"detail":[{"loc":["body","events",7]},{"loc":["body","batch_id"]}]}"#, at(&[])),
            (r#"{"detail":[{"loc":["body","events","ip"]}]}"#, at(&[])),
            (r#"{"detail":"events 7 is bad"}"#, at(&[])),
            (r#"{"detail":[]}"#, at(&[])),
            ("[]", at(&[])),
            ("no", at(&[])),
        ] {
            for status in [400, 422] {
                let expected = Verdict::Refused { named: named.clone(), message: body.to_owned() };
                assert_eq!(verdict(status, body), expected, "{status} {body}");
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
            let refused = |message| Verdict::Refused { named: vec![], message };
            assert_eq!(verdict(status, "no"), refused("no".to_owned()));
            assert_eq!(verdict(status, " "), refused(format!("HTTP {status}")));
        }
        assert_eq!(verdict(413, "no"), Verdict::TooLarge);
        for status in [0, 100, 301, 302, 304, 308, 401, 403, 404, 405, 409, 410, 418, 451, 600, u16::MAX] {
            assert_eq!(verdict(status, "no"), held(status));
        }
        assert_eq!(verdict(404, ""), Verdict::Hold { message: "HTTP 404".to_owned() });
        let wait = Some(Duration::from_secs(7));
        for (header, retry_after) in [(None, None), (Some("7"), wait), (Some("nan"), None)] {
            let response = |status| Response { retry_after: header.map(str::to_owned), ..answer(status, "") };
            let wall = Timestamp::default();
            assert_eq!(judge(&response(429), wall, false), Verdict::SlowDown { retry_after });
            for status in [408, 425, 500, 502, 503, 504, 599] {
                assert_eq!(judge(&response(status), wall, false), Verdict::Failed { retry_after });
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
            let hidden = judge(&confidential, Timestamp::default(), false);
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
            lenient: bool,
        ) {
            let response = Response { status, retry_after, body, ..Response::default() };
            judge(&response, Timestamp::from_unix_micros(wall), lenient);
        }

        /// JSON that looks like an answer reaches further than arbitrary bytes.
        #[test]
        fn no_answer_panics(body in
            r#"\{("(success|errors|index|id|0)":(true|false|null|-?[0-9]{1,30}|"[a-f0-9-]{0,40}"|\[\{"(index|key)":("?[0-9]{1,30}"?|null)\}\]|\{"[0-9]{1,3}":1\}),?){1,3}\}"#
        ) {
            judge(&answer(200, &body), Timestamp::default(), false);
            judge(&answer(422, body), Timestamp::default(), true);
        }
    }
}
