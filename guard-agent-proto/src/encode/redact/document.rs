//! Secrets in text that is one JSON value as a whole: where each value ends is known.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::super::json;
use super::Place;
use super::edits::Edit;
use super::names::{Class, is_named, is_naming};
use super::text::TextRedactor;

/// The placeholder as a JSON string.
const QUOTED: &str = "\"[REDACTED]\"";

/// What to replace in the text; `None` if it is not one JSON value.
pub(super) fn edits(redactor: &TextRedactor, text: &str, place: Place) -> Option<Vec<Edit>> {
    let json = trim(text);
    if !json.starts_with(['{', '[', '"']) {
        return None;
    }
    let start = text.len() - text.trim_start_matches(is_around).len();
    let mut document = Document { redactor, text, bytes: text.as_bytes(), edits: Vec::new() };
    let end = document.value(start, place.deeper())?;
    (end == start + json.len()).then_some(document.edits)
}

/// The text without what may stand around JSON.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_around)
}

fn is_around(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '\u{feff}'
}

struct Document<'a> {
    redactor: &'a TextRedactor,
    text: &'a str,
    bytes: &'a [u8],
    edits: Vec<Edit>,
}

impl Document<'_> {
    /// Walks the value at `at`; where it ends, unless it is broken.
    fn value(&mut self, at: usize, place: Place) -> Option<usize> {
        if place.is_too_deep() {
            return self.deep(at, place);
        }
        match self.bytes.get(at)? {
            b'{' => self.object(at, place),
            b'[' => self.array(at, place),
            b'"' => {
                let end = json::skip_literal(self.bytes, at)?;
                self.string(at + 1..end - 1, place)?;
                Some(end)
            }
            _ => json::skip_scalar(self.bytes, at),
        }
    }

    fn deep(&mut self, at: usize, place: Place) -> Option<usize> {
        if place.is_metadata {
            return self.secret(at);
        }
        let end = json::skip_value(self.bytes, at)?;
        if let Some(redacted) = self.redactor.redact_any(self.text.get(at..end)?, false) {
            self.edits.push(Edit::new(at..end, redacted));
        }
        Some(end)
    }

    /// Redacts the value at `at`.
    fn secret(&mut self, at: usize) -> Option<usize> {
        let end = json::skip_value(self.bytes, at)?;
        self.edits.push(Edit::new(at..end, QUOTED));
        Some(end)
    }

    /// Redacts what is secret inside of a literal.
    fn string(&mut self, inside: Range<usize>, place: Place) -> Option<()> {
        let literal = self.text.get(inside.clone())?;
        if self.redactor.is_suspicious(literal)
            && let Some(redacted) = self.redactor.redact(&json::unescape(literal), place, false)
        {
            self.replace(inside, &redacted);
        }
        Some(())
    }

    fn replace(&mut self, inside: Range<usize>, text: &str) {
        let mut escaped = Vec::with_capacity(text.len());
        json::escape(&mut escaped, text);
        self.edits.push(Edit::new(inside, String::from_utf8_lossy(&escaped).into_owned()));
    }

    fn object(&mut self, at: usize, place: Place) -> Option<usize> {
        let mark = self.edits.len();
        let mut named = Vec::new();
        let mut names_a_secret = false;
        let mut at = json::skip_space(self.bytes, at + 1);
        if self.bytes.get(at)? == &b'}' {
            return Some(at + 1);
        }
        loop {
            if self.bytes.get(at)? != &b'"' {
                return None;
            }
            let end = json::skip_literal(self.bytes, at)?;
            let literal = at + 1..end - 1;
            let text = self.text;
            let name = json::unescape(text.get(literal.clone())?);
            let colon = json::skip_space(self.bytes, end);
            if self.bytes.get(colon)? != &b':' {
                return None;
            }
            at = json::skip_space(self.bytes, colon + 1);
            let class = self.redactor.names().class_of_member(&name);
            let end = match class {
                Some(Class::Header | Class::Passphrase | Class::Token) => self.secret(at)?,
                Some(Class::Address) => self.address(at, place.deeper())?,
                Some(Class::Ambiguous) | None => {
                    self.string(literal, place)?;
                    self.value(at, place.deeper())?
                }
            };
            names_a_secret |= is_naming(name.as_bytes()) && self.is_secret_name(at..end);
            if is_named(name.as_bytes()) {
                named.push(at..end);
            }
            at = json::skip_space(self.bytes, end);
            match self.bytes.get(at)? {
                b',' => at = json::skip_space(self.bytes, at + 1),
                b'}' => break,
                _ => return None,
            }
        }
        if names_a_secret {
            self.redact_named(mark, named);
        }
        Some(at + 1)
    }

    /// Redacts these values, in the place of what was edited in them since `mark`.
    fn redact_named(&mut self, mark: usize, named: Vec<Range<usize>>) {
        let edits = self.edits.split_off(mark);
        let mut named = named.into_iter().peekable();
        let mut redacted = 0;
        for edit in edits {
            while let Some(value) = named.next_if(|value| value.start <= edit.range.start) {
                redacted = value.end;
                self.edits.push(Edit::new(value, QUOTED));
            }
            if edit.range.start >= redacted {
                self.edits.push(edit);
            }
        }
        self.edits.extend(named.map(|value| Edit::new(value, QUOTED)));
    }

    fn address(&mut self, at: usize, place: Place) -> Option<usize> {
        if self.bytes.get(at)? != &b'"' {
            return self.value(at, place);
        }
        let end = json::skip_literal(self.bytes, at)?;
        let text = json::unescape(self.text.get(at + 1..end - 1)?);
        if let Some(sent) = self.redactor.addresses().mask(&text) {
            self.replace(at + 1..end - 1, &sent);
        }
        Some(end)
    }

    fn array(&mut self, at: usize, place: Place) -> Option<usize> {
        let mut pairs = Pairs::default();
        let mut at = json::skip_space(self.bytes, at + 1);
        if self.bytes.get(at)? == &b']' {
            return Some(at + 1);
        }
        loop {
            let end = if pairs.next_is_secret() { self.secret(at)? } else { self.value(at, place.deeper())? };
            pairs.passed(self.is_secret_name(at..end));
            at = json::skip_space(self.bytes, end);
            match self.bytes.get(at)? {
                b',' => at = json::skip_space(self.bytes, at + 1),
                b']' => return Some(at + 1),
                _ => return None,
            }
        }
    }

    /// Whether a value is a string that is a sensitive name.
    fn is_secret_name(&self, value: Range<usize>) -> bool {
        let value = self.text.get(value).unwrap_or_default();
        let inside = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        inside.is_some_and(|inside| self.redactor.names().is_member(&json::unescape(inside)))
    }
}

/// Which elements of an array are values of sensitive names: what follows one, and all that follows
/// one in front (pairs, and flat lists of names and values).
#[derive(Debug, Default)]
pub(super) struct Pairs {
    passed: bool,
    named: bool,
    all: bool,
}

impl Pairs {
    pub(super) const fn next_is_secret(&self) -> bool {
        self.named || self.all
    }

    pub(super) const fn passed(&mut self, is_secret_name: bool) {
        self.named = is_secret_name;
        self.all |= is_secret_name && !self.passed;
        self.passed = true;
    }
}
