use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde_json::{Map, Number, Value};

use super::members::{MAX_DEPTH, TOO_DEEP};
use crate::encode::json::{skip_literal, skip_scalar, skip_space, skip_value, unescape};

/// Reads a JSON value that may hold what JSON, or this machine, cannot say.
///
/// Records are read so because much of them is an attacker's, who must not be able to make the report of an
/// attack unreadable:
///
/// * A surrogate without its pair, and bytes that are not UTF-8, become U+FFFD. An unknown escape stands for
///   itself, a control character too.
/// * A number beyond what a double holds, and Python's `NaN` and `Infinity`, become the text that they are.
/// * A value more than 128 deep becomes the text `[TOO DEEP]`.
/// * A name given twice counts as last given.
///
/// ```
/// # use guard_agent_proto::read_json;
///
/// let value = read_json(br#"{"agent":"\ud800","time":NaN,"size":1e400}"#)?;
/// assert_eq!(value, serde_json::json!({"agent": "\u{fffd}", "time": "NaN", "size": "1e400"}));
/// # Ok::<(), guard_agent_proto::ReadJsonError>(())
/// ```
///
/// # Errors
///
/// It is not JSON: a bracket, comma, colon, quote or value is missing, or something follows the value.
pub fn read_json(text: &[u8]) -> Result<Value, ReadJsonError> {
    // Nearly all that comes is plain JSON, which `serde_json` reads several times as quickly.
    serde_json::from_slice(text).or_else(|_| {
        let text = String::from_utf8_lossy(text);
        Reader { text: &text, at: 0 }.whole()
    })
}

/// Text that is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadJsonError {
    at: usize,
    expected: &'static str,
}

impl fmt::Display for ReadJsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {}", self.expected, self.at)
    }
}

impl core::error::Error for ReadJsonError {}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn whole(mut self) -> Result<Value, ReadJsonError> {
        self.at = self.text.len() - self.text.trim_start_matches('\u{feff}').len();
        self.space();
        let value = self.value(0)?;
        self.space();
        if self.at == self.text.len() { Ok(value) } else { Err(self.expected("the end")) }
    }

    /// The value here, which is inside of `depth` others.
    fn value(&mut self, depth: usize) -> Result<Value, ReadJsonError> {
        match self.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => {
                self.at = self.end(skip_value, "the end of what begins")?;
                Ok(Value::from(TOO_DEEP))
            }
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::String(self.string()?.into_owned())),
            Some(_) | None => self.scalar(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, ReadJsonError> {
        let mut members = Map::new();
        self.step();
        if self.passes(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            let name = self.string()?.into_owned();
            self.space();
            if !self.passes(b':') {
                return Err(self.expected("`:`"));
            }
            members.insert(name, self.value(depth + 1)?);
            self.space();
            if self.passes(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.passes(b',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, ReadJsonError> {
        let mut items = Vec::new();
        self.step();
        if self.passes(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.passes(b']') {
                return Ok(Value::Array(items));
            }
            if !self.passes(b',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, ReadJsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a string"));
        }
        let end = self.end(skip_literal, "the end of the string")?;
        let inside = self.text.get(self.at + 1..end - 1).unwrap_or_default();
        self.at = end;
        Ok(unescape(inside))
    }

    fn scalar(&mut self) -> Result<Value, ReadJsonError> {
        const EXPECTED: &str = "a value";
        let end = self.end(skip_scalar, EXPECTED)?;
        let word = self.text.get(self.at..end).unwrap_or_default();
        let value = match word {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => match word.parse::<Number>() {
                Ok(number) => Value::Number(number),
                Err(_) if is_number_elsewhere(word) => Value::from(word),
                Err(_) => return Err(self.expected(EXPECTED)),
            },
        };
        self.at = end;
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes the byte here, and the white space behind it.
    fn step(&mut self) {
        self.at += 1;
        self.space();
    }

    fn passes(&mut self, byte: u8) -> bool {
        let passes = self.peek() == Some(byte);
        if passes {
            self.step();
        }
        passes
    }

    fn space(&mut self) {
        self.at = skip_space(self.text.as_bytes(), self.at);
    }

    fn end(
        &self,
        skip: fn(&[u8], usize) -> Option<usize>,
        expected: &'static str,
    ) -> Result<usize, ReadJsonError> {
        skip(self.text.as_bytes(), self.at).ok_or_else(|| self.expected(expected))
    }

    const fn expected(&self, expected: &'static str) -> ReadJsonError {
        ReadJsonError { at: self.at, expected }
    }
}

/// A number of a language with more of them than JSON has.
fn is_number_elsewhere(word: &str) -> bool {
    let digits = word.trim_start_matches(['+', '-']);
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || ["nan", "inf", "infinity"].iter().any(|name| digits.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloc::format;
    use alloc::string::ToString;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_json_cannot_say_is_replaced_cut_or_turned_into_text() {
        let huge = "1".repeat(400);
        for (text, value) in [
            (r#""\ud800""#, json!("\u{fffd}")),
            (r#""\udc00\ud800x""#, json!("\u{fffd}\u{fffd}x")),
            (r#"["\ud83d\ude00", "\x41\q", "\u12"]"#, json!(["😀", "x41q", "u12"])),
            ("[1e400, -1e400, NaN]", json!(["1e400", "-1e400", "NaN"])),
            ("[-Infinity, 007, .5, 0x1F]", json!(["-Infinity", "007", ".5", "0x1F"])),
            (&format!("[{huge}]"), json!([huge])),
            ("\u{feff}{\"a\": \"\u{1}\n\", \"a\" : \"\t\" } ", json!({"a": "\t"})),
            (
                "[{}, [], {\"a\": [true, false, null, 1.5, NaN]}]",
                json!([{}, [], {"a": [true, false, null, 1.5, "NaN"]}]),
            ),
        ] {
            assert_eq!(read_json(text.as_bytes()), Ok(value), "{text}");
        }
        assert_eq!(read_json(b"{\"a\":\"\xff\xc3\"}"), Ok(json!({"a": "\u{fffd}\u{fffd}"})));
    }

    #[test]
    fn a_value_that_is_too_deep_is_cut_whatever_is_inside() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"]":"#, "}]")] {
            for depth in [130, 10_000] {
                let inside = format!("{}0{}", open.repeat(depth), close.repeat(depth));
                let value = read_json(format!(r#"{{"deep":{inside},"next":1}}"#).as_bytes()).unwrap();
                assert_eq!(value["next"], 1);
                assert!(value.to_string().contains(TOO_DEEP));
                assert!(value.to_string().len() < 2_000);
            }
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_the_place() {
        for (text, told) in [
            ("", "expected a value at byte 0"),
            ("nonsense", "expected a value at byte 0"),
            ("{\"a\":1", "expected `,` or `}` at byte 6"),
            ("{\"a\" 1}", "expected `:` at byte 5"),
            ("{a:1}", "expected a string at byte 1"),
            ("[1 2]", "expected `,` or `]` at byte 3"),
            ("[1,]", "expected a value at byte 3"),
            ("{\"a\":\"1}", "expected the end of the string at byte 5"),
            ("{} {}", "expected the end at byte 3"),
        ] {
            assert_eq!(read_json(text.as_bytes()).unwrap_err().to_string(), told, "{text}");
        }
        let unclosed = "[".repeat(100_000);
        assert!(read_json(unclosed.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_json(&text);
            let _ = Reader { text: &String::from_utf8_lossy(&text), at: 0 }.whole();
        }

        #[test]
        fn near_json_is_read_or_refused(text in r#"([\[\]{}:,"\\ ]|null|1e|\\u|d800|NaN|"a":){0,30}"#) {
            let lenient = Reader { text: &text, at: 0 }.whole();
            if let Ok(strict) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(lenient, Ok(strict));
            }
        }
    }
}
