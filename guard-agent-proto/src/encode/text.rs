//! Secrets in text: JSON, headers, forms, cookies and URLs, whole or broken, inside any string.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::json;
use super::names::{Class, Names, is_named, is_naming};
use super::truncate::truncate;

/// What stands for a redacted value.
pub(super) const PLACEHOLDER: &str = "[REDACTED]";

/// Deepest value that is looked at; deeper ones are redacted whole.
pub(super) const MAX_DEPTH: usize = 10;

/// Longest JSON text that is looked at, in characters; longer ones are redacted whole.
const MAX_JSON_CHARS: usize = 8_192;

/// How often text that does not parse as JSON may be tried again further on: bounds the time that
/// `[[[[…` takes.
const MAX_FALSE_STARTS: usize = 8;

/// Passes after which text that still changes is redacted whole.
const MAX_PASSES: usize = 4;

/// Redacts, then truncates the string values of records.
#[derive(Clone, Debug)]
pub(super) struct TextRedactor {
    names: Names,
    limit: usize,
}

impl TextRedactor {
    /// Strings become at most `limit` bytes.
    pub(super) const fn new(names: Names, limit: usize) -> Self {
        Self { names, limit }
    }

    pub(super) const fn names(&self) -> &Names {
        &self.names
    }

    /// What is sent of a string value at that depth. What comes back once comes back for ever.
    pub(super) fn clean<'a>(&self, text: &'a str, depth: usize) -> Cow<'a, str> {
        if !is_suspicious(text) {
            let fits = text.len() <= self.limit;
            return if fits { Cow::Borrowed(text) } else { truncate(Cow::Borrowed(text), self.limit) };
        }
        let mut text = Cow::Borrowed(text);
        for _ in 0..MAX_PASSES {
            // Cutting may break what was whole and a replacement may be longer than what it replaces,
            // so only text that a pass leaves alone is known to be final.
            let next = match self.redact(&text, depth) {
                Some(redacted) => truncate(Cow::Owned(redacted), self.limit),
                None if text.len() <= self.limit => return text,
                None => Cow::Owned(truncate(Cow::Borrowed(&*text), self.limit).into_owned()),
            };
            if next == text {
                return text;
            }
            text = next;
        }
        self.placeholder()
    }

    /// The placeholder within the limit.
    pub(super) fn placeholder(&self) -> Cow<'static, str> {
        truncate(Cow::Borrowed(PLACEHOLDER), self.limit)
    }

    /// The suspicious text without its secrets; `None` when it holds none.
    fn redact(&self, text: &str, depth: usize) -> Option<String> {
        let json = trim_json(text);
        if json.starts_with(['{', '[', '"'])
            && json.len() > MAX_JSON_CHARS
            && json.chars().count() > MAX_JSON_CHARS
        {
            return Some(String::from(PLACEHOLDER));
        }
        let mut edits = Vec::new();
        let whole = self.scan(text, depth, &mut edits);
        let plain = apply(text, edits);
        if whole {
            return plain;
        }
        let Some(decoded) = View::decoded(plain.as_deref().unwrap_or(text)) else { return plain };
        let mut edits = Vec::new();
        let mut at = 0;
        while at < decoded.bytes.len() {
            at = match self.secret_behind(&decoded, at) {
                Some(secret) => {
                    edits.push(Edit::new(
                        decoded.source(secret.start)..decoded.source(secret.end),
                        PLACEHOLDER,
                    ));
                    secret.end
                }
                None => at + 1,
            };
        }
        apply(plain.as_deref().unwrap_or(text), edits).or(plain)
    }

    /// Finds what to replace; whether all of the text was one JSON value.
    fn scan(&self, text: &str, depth: usize, edits: &mut Vec<Edit>) -> bool {
        let view = View::plain(text);
        let bytes = text.as_bytes();
        let json = trim_json(text);
        let start = text.len() - text.trim_start_matches(is_around_json).len();
        let mut false_starts = 0;
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let opens = match byte {
                b'{' | b'[' => true,
                b'"' => at == start,
                b'=' | b':' | b',' => false,
                _ => {
                    at += 1;
                    continue;
                }
            };
            if opens && false_starts < MAX_FALSE_STARTS {
                let mark = edits.len();
                match self.value(text, at, depth + 1, edits) {
                    Some(end) if at == start && end == start + json.len() => return true,
                    // A quoted name in front of its value is no value.
                    Some(end) if *byte != b'"' => {
                        at = end;
                        continue;
                    }
                    _ => {
                        edits.truncate(mark);
                        false_starts += 1;
                    }
                }
            }
            match self.secret_behind(&view, at) {
                Some(secret) => {
                    at = secret.end;
                    redact_range(secret, edits);
                }
                None => at += 1,
            }
        }
        false
    }

    /// Walks the JSON value at `at`; where it ends, unless it is broken.
    fn value(&self, text: &str, at: usize, depth: usize, edits: &mut Vec<Edit>) -> Option<usize> {
        let bytes = text.as_bytes();
        if depth > MAX_DEPTH {
            return redact_value(bytes, at, edits);
        }
        match bytes.get(at)? {
            b'{' => self.object(text, at, depth, edits),
            b'[' => self.array(text, at, depth, edits),
            b'"' => {
                let end = json::skip_literal(bytes, at)?;
                let inside = text.get(at + 1..end - 1)?;
                if is_suspicious(inside)
                    && let Some(redacted) = self.redact(&json::unescape(inside), depth)
                {
                    edits.push(Edit::new(at + 1..end - 1, escaped(&redacted)));
                }
                Some(end)
            }
            _ => json::skip_scalar(bytes, at),
        }
    }

    fn object(&self, text: &str, at: usize, depth: usize, edits: &mut Vec<Edit>) -> Option<usize> {
        let bytes = text.as_bytes();
        let mark = edits.len();
        let mut named = Vec::new();
        let mut names_a_secret = false;
        let mut at = json::skip_space(bytes, at + 1);
        if bytes.get(at)? == &b'}' {
            return Some(at + 1);
        }
        loop {
            if bytes.get(at)? != &b'"' {
                return None;
            }
            let end = json::skip_literal(bytes, at)?;
            let name = json::unescape(text.get(at + 1..end - 1)?);
            let colon = json::skip_space(bytes, end);
            if bytes.get(colon)? != &b':' {
                return None;
            }
            at = json::skip_space(bytes, colon + 1);
            let end = if self.names.is_member(&name) {
                redact_value(bytes, at, edits)?
            } else {
                self.value(text, at, depth + 1, edits)?
            };
            names_a_secret |= is_naming(name.as_bytes()) && self.is_secret_name(text.get(at..end)?);
            if is_named(name.as_bytes()) {
                named.push(at..end);
            }
            at = json::skip_space(bytes, end);
            match bytes.get(at)? {
                b',' => at = json::skip_space(bytes, at + 1),
                b'}' => break,
                _ => return None,
            }
        }
        if names_a_secret {
            for value in named {
                let inside = |edit: &Edit| value.start <= edit.range.start && edit.range.end <= value.end;
                let mut index = mark;
                while index < edits.len() {
                    if inside(&edits[index]) { drop(edits.remove(index)) } else { index += 1 }
                }
                edits.push(Edit::new(value, QUOTED));
            }
            edits[mark..].sort_unstable_by_key(|edit| edit.range.start);
        }
        Some(at + 1)
    }

    fn array(&self, text: &str, at: usize, depth: usize, edits: &mut Vec<Edit>) -> Option<usize> {
        let bytes = text.as_bytes();
        let mut pairs = Pairs::default();
        let mut at = json::skip_space(bytes, at + 1);
        if bytes.get(at)? == &b']' {
            return Some(at + 1);
        }
        loop {
            let end = if pairs.next_is_secret() {
                redact_value(bytes, at, edits)?
            } else {
                self.value(text, at, depth + 1, edits)?
            };
            pairs.passed(self.is_secret_name(text.get(at..end)?));
            at = json::skip_space(bytes, end);
            match bytes.get(at)? {
                b',' => at = json::skip_space(bytes, at + 1),
                b']' => return Some(at + 1),
                _ => return None,
            }
        }
    }

    /// Whether a JSON value is a string that is a sensitive name.
    fn is_secret_name(&self, value: &str) -> bool {
        let inside = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        inside.is_some_and(|inside| self.names.is_member(&json::unescape(inside)))
    }

    /// Where the value is, if a `=`, `:` or `,` at `at` stands between a sensitive name and its value.
    fn secret_behind(&self, view: &View<'_>, at: usize) -> Option<Range<usize>> {
        let separator = *view.bytes.get(at)?;
        if !matches!(separator, b'=' | b':' | b',') {
            return None;
        }
        let name = name_before(&view.bytes, at);
        if separator == b',' && !name.opens_pair {
            return None;
        }
        let name_bytes = view.bytes.get(name.range)?;
        if separator == b':' && name.quoted && is_naming(name_bytes) {
            return self.object_around(view, at);
        }
        let class = self.names.class(name_bytes)?;
        if separator != b'=' && class == Class::Param {
            return None;
        }
        view.value(at, class, name.quoted).filter(|value| !value.is_empty())
    }

    /// The members around a `:` that says that a `value` beside it is secret. What it is a part of
    /// does not parse, so nothing says where it ends.
    fn object_around(&self, view: &View<'_>, at: usize) -> Option<Range<usize>> {
        let name = view.value(at, Class::Header, true)?;
        if self.names.class(view.bytes.get(name)?) != Some(Class::Header) {
            return None;
        }
        let mut closed = 0_usize;
        let start = view.bytes[..at].iter().rposition(|byte| match byte {
            b'{' if closed == 0 => true,
            b'{' => {
                closed -= 1;
                false
            }
            b'}' => {
                closed += 1;
                false
            }
            _ => false,
        });
        Some(start.map_or(0, |start| start + 1)..view.bytes.len())
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

/// The placeholder as a JSON string.
const QUOTED: &str = "\"[REDACTED]\"";

/// A replacement of a part of a text.
#[derive(Debug)]
struct Edit {
    range: Range<usize>,
    with: Cow<'static, str>,
}

impl Edit {
    fn new(range: Range<usize>, with: impl Into<Cow<'static, str>>) -> Self {
        Self { range, with: with.into() }
    }
}

/// The text with the replacements made, which are in order and apart; `None` if that changes nothing.
fn apply(text: &str, edits: Vec<Edit>) -> Option<String> {
    if edits.iter().all(|edit| text.get(edit.range.clone()) == Some(&*edit.with)) {
        return None;
    }
    let mut edited = String::with_capacity(text.len());
    let mut kept = 0;
    for edit in edits {
        edited.push_str(text.get(kept..edit.range.start).unwrap_or_default());
        edited.push_str(&edit.with);
        kept = edit.range.end;
    }
    edited.push_str(text.get(kept..).unwrap_or_default());
    Some(edited)
}

/// Redacts a part that may start within what was edited already.
fn redact_range(mut range: Range<usize>, edits: &mut Vec<Edit>) {
    while let Some(last) = edits.pop_if(|last| last.range.end > range.start) {
        range.start = range.start.min(last.range.start);
    }
    edits.push(Edit::new(range, PLACEHOLDER));
}

fn redact_value(text: &[u8], at: usize, edits: &mut Vec<Edit>) -> Option<usize> {
    let end = json::skip_value(text, at)?;
    edits.push(Edit::new(at..end, QUOTED));
    Some(end)
}

fn escaped(text: &str) -> String {
    let mut escaped = Vec::with_capacity(text.len());
    json::escape(&mut escaped, text);
    String::from_utf8_lossy(&escaped).into_owned()
}

fn is_around_json(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '\u{feff}'
}

fn trim_json(text: &str) -> &str {
    text.trim_matches(is_around_json)
}

/// Text without any of these bytes holds no name with a value, and no JSON.
fn is_suspicious(text: &str) -> bool {
    // A fold without early exit is vectorised.
    text.bytes()
        .fold(false, |found, byte| found | matches!(byte, b'=' | b':' | b'{' | b'[' | b'"' | b'%' | b'\\'))
}

/// Text in which separators are looked for, decoded or as it is.
struct View<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where each byte, and the end, is in the source; empty when it is there as it is here.
    sources: Vec<usize>,
}

impl<'a> View<'a> {
    fn plain(text: &'a str) -> Self {
        Self { bytes: Cow::Borrowed(text.as_bytes()), sources: Vec::new() }
    }

    /// With `%XX`, at any level of encoding, and `\uXXXX` decoded; `None` when there are none.
    fn decoded(text: &str) -> Option<Self> {
        let source = text.as_bytes();
        if !source.windows(2).any(|pair| matches!(pair, [b'%', _] | b"\\u")) {
            return None;
        }
        let mut bytes = Vec::with_capacity(source.len());
        let mut sources = Vec::with_capacity(source.len() + 1);
        let mut at = 0;
        while let Some(byte) = source.get(at) {
            let start = at;
            let mut utf8 = [0; 4];
            let percent = (*byte == b'%').then(|| percent(&source[at..])).flatten();
            let unicode = (*byte == b'\\').then(|| json::unicode(&source[at + 1..])).flatten();
            let (decoded, len): (&[u8], usize) = match (&percent, unicode) {
                (Some((decoded, len)), _) => (core::slice::from_ref(decoded), *len),
                (None, Some((c, len))) => (c.encode_utf8(&mut utf8).as_bytes(), 1 + len),
                (None, None) => (core::slice::from_ref(byte), 1),
            };
            at += len;
            bytes.extend_from_slice(decoded);
            sources.extend(decoded.iter().map(|_| start));
        }
        sources.push(source.len());
        (bytes.len() < source.len()).then_some(Self { bytes: Cow::Owned(bytes), sources })
    }

    fn source(&self, at: usize) -> usize {
        self.sources.get(at).copied().unwrap_or(at)
    }

    /// How many bytes it is written with.
    fn width(&self, at: usize) -> usize {
        self.source(at + 1) - self.source(at)
    }

    /// The value behind the separator at `at`. What is encoded more deeply than the separator belongs to
    /// the value.
    fn value(&self, at: usize, class: Class, name_is_quoted: bool) -> Option<Range<usize>> {
        let bytes = &*self.bytes;
        let separator = bytes[at];
        // A quote behind the bare name of a header is a part of the value: `Cookie: "a"; b=c`.
        if (name_is_quoted || class == Class::Param)
            && let Some(quote) = self.quote(json::skip_space(bytes, at + 1))
        {
            return Some(quote + 1..self.closing(at + 1, quote, class));
        }
        let blanks = bytes[at + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let start = at + 1 + blanks;
        let rest = &bytes[start..];
        if let Some(behind) = rest.strip_prefix(PLACEHOLDER.as_bytes())
            && matches!(behind.first(), None | Some(b'"' | b'\'' | b'\\' | b'&'))
        {
            return None;
        }
        if separator != b'=' && matches!(rest.first(), Some(b'{' | b'[' | b'(')) {
            // Broken JSON, or another language's: nothing says where it ends.
            return Some(start..bytes.len());
        }
        let width = self.width(at);
        let ends = |at: usize| {
            self.width(at) <= width
                && match (separator, class) {
                    (b'=', Class::Header) => bytes[at] == b'&' || is_line_end(bytes, at),
                    (b'=', Class::Param) => {
                        matches!(bytes[at], b'&' | b'"' | b'\'' | b'<' | b'>')
                            || bytes[at].is_ascii_whitespace()
                    }
                    (_, _) => is_line_end(bytes, at),
                }
        };
        let mut end = (start..bytes.len()).find(|at| ends(*at)).unwrap_or(bytes.len());
        while end > start && matches!(bytes[end - 1], b';' | b',' | b'\\') {
            end -= 1;
        }
        Some(start..end)
    }

    /// The quote at `at`, which may have backslashes in front.
    fn quote(&self, at: usize) -> Option<usize> {
        let escapes = self.bytes.get(at..)?.iter().take_while(|byte| **byte == b'\\').count();
        let quote = at + escapes;
        matches!(self.bytes.get(quote)?, b'"' | b'\'' | b'`').then_some(quote)
    }

    /// Where the text inside of that quote ends, whose backslashes do not start before `from`: a quote
    /// inside of it has more of them. A quoted member ends only where another one or nothing follows.
    fn closing(&self, from: usize, quote: usize, class: Class) -> usize {
        let bytes = &*self.bytes;
        let escapes = bytes[from..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        let mut run = 0;
        for at in quote + 1..bytes.len() {
            if bytes[at] == b'\\' {
                run += 1;
                continue;
            }
            let own = run % (2 * (escapes + 1));
            if bytes[at] == bytes[quote]
                && self.width(at) <= self.width(quote)
                && own <= escapes
                && (class == Class::Param || is_member_end(bytes, at + 1))
            {
                return at - own;
            }
            run = 0;
        }
        bytes.len()
    }
}

fn is_member_end(bytes: &[u8], at: usize) -> bool {
    let next = bytes.get(json::skip_space(bytes, at));
    matches!(next, None | Some(b',' | b'}' | b']' | b')' | b'&' | b'"' | b'\'' | b'\\'))
}

/// A line of a header goes on in the next one if that starts with a blank.
fn is_line_end(bytes: &[u8], at: usize) -> bool {
    match bytes[at] {
        b'\n' => !matches!(bytes.get(at + 1), Some(b' ' | b'\t')),
        b'\r' => !matches!(bytes.get(at + 1), Some(b' ' | b'\t' | b'\n')),
        _ => false,
    }
}

fn percent(source: &[u8]) -> Option<(u8, usize)> {
    let mut at = 1;
    while source.get(at..at + 2) == Some(b"25") && hex(source, at + 2).is_some() {
        at += 2;
    }
    hex(source, at).map(|byte| (byte, at + 2))
}

fn hex(source: &[u8], at: usize) -> Option<u8> {
    let digit = |at| char::from(*source.get(at)?).to_digit(16);
    u8::try_from(digit(at)? << 4 | digit(at + 1)?).ok()
}

struct NameBefore {
    range: Range<usize>,
    quoted: bool,
    /// It is quoted and the first in its brackets.
    opens_pair: bool,
}

/// The name in front of a separator, without the quotes, brackets and blanks around it.
fn name_before(bytes: &[u8], at: usize) -> NameBefore {
    let is_around = |byte: &&u8| {
        matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b'+' | b'[' | b']') || byte.is_ascii_whitespace()
    };
    let is_part =
        |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') || !byte.is_ascii();
    let end = at - bytes[..at].iter().rev().take_while(is_around).count();
    let start = end - bytes[..end].iter().rev().take_while(is_part).count();
    let quoted = bytes[end..at].iter().any(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    let in_front = bytes[..start].trim_ascii_end();
    let opens_pair = quoted && {
        // `b'…'` is how bytes are shown.
        let quotes =
            in_front.iter().rev().take_while(|byte| matches!(byte, b'"' | b'\'' | b'`' | b'\\')).count();
        let in_front = &in_front[..in_front.len() - quotes];
        let in_front = in_front.strip_suffix(b"b").unwrap_or(in_front).trim_ascii_end();
        matches!(in_front.last(), Some(b'[' | b'('))
    };
    NameBefore { range: start..end, quoted, opens_pair }
}
