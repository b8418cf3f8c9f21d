use std::io::{self, BufRead, Read as _};

use guard_agent_proto::{Kind, SecurityEvent, SecurityMetric, Timestamp, read_json};
use serde::Deserialize as _;
use serde_json::{Map, Value};

/// Longest line, in bytes.
const LONGEST: usize = 16 << 20;
/// Line from which long strings are cut at once.
const LONG: usize = 1 << 20;
/// What is left of them: more than any configuration has an agent send of one.
const LONG_STRING: usize = 1 << 18;

/// A valid line.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// `{"kind":"event", …}`
    Event(Box<SecurityEvent>),
    /// `{"kind":"metric", …}`
    Metric(SecurityMetric),
    /// `{"kind":"flush"}`
    Flush,
}

impl Line {
    /// Which kind of record it is, if it is one.
    pub(super) const fn kind(&self) -> Option<Kind> {
        match self {
            Self::Event(_) => Some(Kind::Event),
            Self::Metric(_) => Some(Kind::Metric),
            Self::Flush => None,
        }
    }

    /// Reads a line. `now` becomes the timestamp of a record that has none, or one that is no time.
    ///
    /// # Errors
    ///
    /// Why it is not valid, in one line.
    pub(super) fn parse(line: &[u8], now: Timestamp) -> Result<Self, String> {
        let Value::Object(mut object) = read_json(line).map_err(|error| error.to_string())? else {
            return Err("expected an object".into());
        };
        let kind = object.remove("kind").ok_or("`kind` is missing")?;
        if line.len() > LONG {
            object.values_mut().for_each(cut);
        }
        date(&mut object, now);
        match kind.as_str() {
            Some("event") => SecurityEvent::deserialize(Value::Object(object)).map(Box::new).map(Self::Event),
            Some("metric") => SecurityMetric::deserialize(Value::Object(object)).map(Self::Metric),
            Some("flush") => Ok(Self::Flush),
            Some(_) | None => return Err(r#"`kind` must be "event", "metric" or "flush""#.into()),
        }
        .map_err(|error| error.to_string())
    }
}

/// Cuts strings of which nothing behind the cut would be sent.
fn cut(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) if text.len() > LONG_STRING => {
            text.truncate((0..=LONG_STRING).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0));
            text.shrink_to_fit();
        }
        Value::String(_) => {}
        Value::Array(items) => items.iter_mut().for_each(cut),
        Value::Object(members) => members.values_mut().for_each(cut),
    }
}

/// Dates a record. The metadata of an event keep what its timestamp was if that is no time.
fn date(object: &mut Map<String, Value>, now: Timestamp) {
    let given = object.remove("timestamp").unwrap_or_default();
    if Timestamp::deserialize(&given).is_ok() {
        object.insert("timestamp".into(), given);
        return;
    }
    object.insert("timestamp".into(), now.to_string().into());
    if !given.is_null()
        && let Value::Object(metadata) = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()))
    {
        metadata.entry("timestamp").or_insert(given);
    }
}

/// Gives every line with its number to `take` until that answers false. Blank lines are skipped.
pub(super) fn read(mut input: impl BufRead, mut take: impl FnMut(u64, Result<Line, String>) -> bool) {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let parsed = match next(&mut input, &mut line) {
            Ok(Next::End) => return,
            Ok(Next::Line) if line.trim_ascii().is_empty() => continue,
            Ok(Next::Line) => Line::parse(&line, Timestamp::now()),
            Ok(Next::TooLong) => Err(format!("longer than {LONGEST} bytes")),
            Err(error) => {
                take(number, Err(format!("reading failed: {error}")));
                return;
            }
        };
        if !take(number, parsed) {
            return;
        }
    }
}

enum Next {
    Line,
    TooLong,
    End,
}

fn next(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Next> {
    let limit = LONGEST as u64 + 1;
    if input.take(limit).read_until(b'\n', line)? == 0 {
        return Ok(Next::End);
    }
    if line.ends_with(b"\n") || line.len() <= LONGEST {
        return Ok(Next::Line);
    }
    input.skip_until(b'\n')?;
    Ok(Next::TooLong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_000_000);

    #[test]
    fn records_are_filled_in_and_otherwise_as_given() {
        let key = "3b241101-e2bb-4255-8caf-4136c566a962";
        let line = format!(r#"{{"kind":"event","event_type":"ip_banned","idempotency_key":"{key}","x":1}}"#);
        let Line::Event(event) = Line::parse(line.as_bytes(), NOW).unwrap() else { panic!() };
        assert_eq!((event.timestamp, event.event_type.as_ref()), (NOW, "ip_banned"));
        assert_eq!(event.idempotency_key.unwrap().to_string(), key);
        assert_eq!(serde_json::to_value(&event.extra).unwrap(), serde_json::json!({"x": 1}));

        let line =
            r#"{"kind":"metric","metric_type":"error_rate","value":0.5,"timestamp":"1970-01-01T00:00:02Z"}"#;
        let Line::Metric(metric) = Line::parse(line.as_bytes(), NOW).unwrap() else { panic!() };
        assert_eq!(metric.timestamp, Timestamp::from_unix_micros(2_000_000));

        assert_eq!(Line::parse(br#"{"kind":"flush"}"#, NOW), Ok(Line::Flush));
    }

    #[test]
    fn an_invalid_line_says_what_is_wrong() {
        let cases = [
            ("", "expected a value"),
            ("[]", "expected an object"),
            ("{}", "`kind` is missing"),
            (r#"{"kind":1}"#, "`kind` must be"),
            (r#"{"kind":"trace"}"#, "`kind` must be"),
            (r#"{"kind":"event"}"#, "event_type"),
            (r#"{"kind":"event","event_type":"a""#, "expected `,` or `}` at byte"),
            (r#"{"kind":"metric","metric_type":"weather","value":1}"#, "metric_type"),
            (r#"{"kind":"metric","metric_type":"error_rate","value":null}"#, "value"),
            (r#"{"kind":"metric","metric_type":"error_rate","value":NaN}"#, "value"),
        ];
        for (line, reason) in cases {
            let error = Line::parse(line.as_bytes(), NOW).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn an_invalid_line_is_told_without_what_it_says() {
        let lines = [
            r#""hunter2""#,
            r#"["hunter2"]"#,
            r#"{"hunter2""#,
            r#"{"kind":"hunter2"}"#,
            r#"{"kind":{"hunter2":1}}"#,
            r#"{"kind":"event","event_type":["hunter2"]}"#,
            r#"{"kind":"event","event_type":{"hunter2":"hunter2"}}"#,
            r#"{"kind":"event","hunter2":"hunter2"}"#,
            r#"{"kind":"event","event_type":"a","hunter2":hunter2}"#,
            r#"{"kind":"metric","metric_type":"hunter2","value":1}"#,
            r#"{"kind":"metric","metric_type":"a, expected b hunter2","value":1}"#,
            r#"{"kind":"metric","metric_type":"error_rate","value":"hunter2"}"#,
            r#"{"kind":"metric","metric_type":"error_rate","value":{"hunter2":1}}"#,
            r#"{"kind":"metric","metric_type":"error_rate","value":1,"tags":"hunter2"}"#,
            r#"{"kind":"metric","metric_type":"error_rate","hunter2":1}"#,
        ];
        let mut told = 0;
        for line in lines {
            let Err(reason) = Line::parse(line.as_bytes(), NOW) else { continue };
            assert!(!reason.contains("hunter2"), "{line}: {reason}");
            told += 1;
        }
        assert!(told >= lines.len() - 1, "{told}");
    }

    #[test]
    fn a_record_without_a_time_is_of_now() {
        for (given, kept) in [("null", None), ("\"soon\"", Some("soon")), ("1e400", Some("1e400"))] {
            let line =
                format!(r#"{{"kind":"event","event_type":"a","timestamp":{given},"metadata":{{"a":1}}}}"#);
            let Line::Event(event) = Line::parse(line.as_bytes(), NOW).unwrap() else { panic!() };
            assert_eq!(event.timestamp, NOW);
            assert_eq!(event.metadata.get("timestamp").and_then(Value::as_str), kept);
        }
    }

    #[test]
    fn a_long_line_is_read_and_its_strings_are_cut() {
        let long = "é".repeat(LONG);
        let line =
            format!(r#"{{"kind":"event","event_type":"a","reason":"{long}","metadata":{{"a":["{long}"]}}}}"#);
        let Line::Event(event) = Line::parse(line.as_bytes(), NOW).unwrap() else { panic!() };
        assert_eq!(event.reason.len(), LONG_STRING);
        let inside = event.metadata.get("a").and_then(|value| value[0].as_str()).unwrap();
        assert_eq!(inside.len(), LONG_STRING);
    }

    #[test]
    fn lines_are_numbered_and_a_bad_one_does_not_stop_the_rest() {
        let flush = r#"{"kind":"flush"}"#;
        let input = format!("{flush}\n\nnonsense\n{}\n{flush}\r\n{flush}", "x".repeat(LONGEST + 1));
        let mut seen = Vec::new();
        read(input.as_bytes(), |number, line| {
            seen.push((number, line.is_ok()));
            true
        });
        assert_eq!(seen, [(1, true), (3, false), (4, false), (5, true), (6, true)]);

        let mut taken = 0;
        read(input.as_bytes(), |_, _| {
            taken += 1;
            taken < 2
        });
        assert_eq!(taken, 2);
    }
}
