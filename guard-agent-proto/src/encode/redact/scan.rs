//! Secrets in text of any kind, whole, broken or cut off: one pass over names, separators and values.
//!
//! What is a secret is said by this table. A *name* is what [`Names`] knows; it may begin anywhere, and quotes,
//! brackets, blanks and comments may stand between it and its separator.
//!
//! | separator | written by | name |
//! | --- | --- | --- |
//! | `=` `=>` `:=` `==` | forms, queries, cookies, XML attributes, Ruby, PHP, Python, shells | any |
//! | `:`, but not `::` or `://` | headers, JSON, YAML, Python, JavaScript, GraphQL | any but an ambiguous one |
//! | `,` | pairs: `["cookie", "v"]`, `("cookie", "v")`, but no call except of a setter | quoted, the first of two in its brackets; of a header, of any number |
//! | `>` of a tag | XML elements | the tag's |
//! | members `name` and `value` | JSON, YAML, XML, multipart, forms | the value of `name` |
//!
//! Where a value ends is said by the table in [`super::value`]. Each byte is looked at a bounded number of times: bytes
//! that were searched for the end of a value are a part of it, or at most eight times [`LOOKAHEAD`].

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::super::ip::Addresses;
use super::super::json;
use super::PLACEHOLDER;
use super::credentials::{Credentials, is_trigger, neighbours};
use super::edits::{Edit, push};
use super::names::{
    Class, Names, is_directory, is_like_token, is_named, is_naming, is_of_name, is_operator,
    is_spelled_as_header, is_word,
};
use super::value::skip_blanks;
use super::view::View;
use crate::CredentialRule;

/// How far is looked ahead for what ends a value, or goes before it, in bytes.
pub(super) const LOOKAHEAD: usize = 64;

/// What says that a part of multipart is named.
const PART: &[u8] = b"form-data";

/// What the engine of the family (guard-core) says about a parameter behind its name: `Query param 'password': Threat detected`.
const REPORTS: [&[u8]; 5] = [
    b"Value matched pattern",
    b"Semantic attack: ",
    b"Pattern exceeded scan time budget: ",
    b"Scan time budget exhausted",
    b"Threat detected",
];

/// The words in front of that name.
const DESCRIBING: [&[u8]; 8] =
    [b"param", b"parameter", b"header", b"field", b"cookie", b"key", b"name", b"argument"];

/// Deepest bracket whose `name` and `value` are seen as members of one object.
const MOST_GROUPS: usize = 16;

/// Names and shapes that are looked for in text.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) names: &'a Names,
    pub(super) credentials: Credentials,
    pub(super) addresses: &'a Addresses,
    /// Whether the text goes on behind its end: then what may become a secret is one.
    pub(super) is_cut: bool,
}

/// What to replace in that text, in order.
pub(super) fn scan(search: Search<'_>, view: &View<'_>) -> Vec<Edit> {
    let mut scan = Scan {
        search,
        view,
        bytes: &view.bytes,
        edits: Vec::new(),
        groups: heapless::Vec::new(),
        deeper: 0,
        root: Group::default(),
        part_is_secret: false,
        line: 0,
        bare_until: 0,
        is_bare: true,
    };
    let looked_at = looked_at(search.credentials);
    let mut at = 0;
    while let Some(found) = scan.bytes[at..].iter().position(|byte| looked_at[usize::from(*byte)]) {
        at = scan.step(at + found);
    }
    scan.edits
}

/// Kinds of bytes that a text holds, found in one quick pass.
#[derive(Clone, Copy)]
pub(super) struct Hints(u32);

impl Hints {
    const SEPARATOR: u32 = 1;
    const COMMA: u32 = 2;
    const QUOTE: u32 = 4;
    const BACKSLASH: u32 = 8;
    const ESCAPED: u32 = 16;
    /// Those of one byte. Of the others any says that a credential may be there.
    const SINGLE: u32 = 0xff;

    pub(super) fn of(text: &str) -> Self {
        let look = |(found, shown): (u32, u32), byte: &u8| {
            let at = usize::from(*byte);
            (found | HINTS[at] & shown, SHOWN_BEHIND[at])
        };
        // In chunks, since one byte takes no longer than what a loop does around it.
        let (chunks, rest) = text.as_bytes().as_chunks::<8>();
        let begun = chunks.iter().fold((0, Self::SINGLE), |begun, chunk| chunk.iter().fold(begun, look));
        Self(rest.iter().fold(begun, look).0)
    }

    /// Whether the text, of which these are the hints, may hold a secret.
    #[inline]
    pub(super) fn are_suspicious(self, text: &str, credentials: Credentials) -> bool {
        let any_digit = credentials.include(CredentialRule::CardNumber);
        (self.0 & !Self::ESCAPED != 0 || any_digit) && self.may_be_of_secret(text, credentials)
    }

    fn may_be_of_secret(self, text: &str, credentials: Credentials) -> bool {
        let holds = |hint: u32| self.0 & hint == hint;
        holds(Self::SEPARATOR)
            // A pair is quoted, and a backslash only begins a character.
            || holds(Self::COMMA | Self::QUOTE)
            || (holds(Self::BACKSLASH) && text.contains("\\u"))
            || (self.0 > Self::SINGLE || credentials.include(CredentialRule::CardNumber))
                && credentials.are_in(text.as_bytes())
    }

    /// Whether JSON writes the text as it is.
    pub(super) const fn are_plain(self) -> bool {
        self.0 & Self::ESCAPED == 0
    }
}

/// What each byte hints at; in the upper half, if the byte in front shows it.
static HINTS: [u32; 256] = {
    let mut hints = [0; 256];
    let mut at = 0;
    while at < hints.len() {
        let byte = at as u8;
        let single = match byte {
            b'=' | b':' | b'<' | b'%' | b'&' => Hints::SEPARATOR,
            b',' => Hints::COMMA,
            b'"' => Hints::QUOTE | Hints::ESCAPED,
            b'\'' | b'`' => Hints::QUOTE,
            b'\\' => Hints::BACKSLASH | Hints::ESCAPED,
            0..=0x1f => Hints::ESCAPED,
            _ => 0,
        };
        hints[at] = single | neighbours(byte).1 << 8;
        at += 1;
    }
    hints
};

/// Which hints of the next byte each byte shows.
static SHOWN_BEHIND: [u32; 256] = {
    let mut shown = [Hints::SINGLE; 256];
    let mut at = 0;
    while at < shown.len() {
        shown[at] |= neighbours(at as u8).0 << 8;
        at += 1;
    }
    shown
};

/// Bytes at which a secret may be found.
fn looked_at(credentials: Credentials) -> &'static [bool; 256] {
    static WITHOUT_DIGITS: [bool; 256] = table(false);
    static WITH_DIGITS: [bool; 256] = table(true);
    if credentials.include(CredentialRule::CardNumber) { &WITH_DIGITS } else { &WITHOUT_DIGITS }
}

const fn table(with_digits: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = u8::MAX;
    while byte > 0 {
        let is_structure = matches!(
            byte,
            b'=' | b':' | b',' | b'<' | b'>' | b'{' | b'}' | b'[' | b']' | b'(' | b')' | b'\n'
        );
        table[byte as usize] = is_structure || is_trigger(byte) || (with_digits && byte.is_ascii_digit());
        byte -= 1;
    }
    table
}

pub(super) struct Scan<'a> {
    search: Search<'a>,
    pub(super) view: &'a View<'a>,
    pub(super) bytes: &'a [u8],
    edits: Vec<Edit>,
    /// The open brackets and tags, innermost last, and how many more are open.
    groups: heapless::Vec<Group, MOST_GROUPS>,
    deeper: usize,
    /// Members in no bracket.
    root: Group,
    /// The part of multipart whose head this is holds a secret.
    part_is_secret: bool,
    /// Where the line begins.
    pub(super) line: usize,
    /// How far it was searched for blanks and quotes, and whether there are none.
    pub(super) bare_until: usize,
    pub(super) is_bare: bool,
}

/// Members between two brackets, as far as they are known.
#[derive(Clone, Copy, Default)]
struct Group {
    opener: u8,
    names_a_secret: bool,
    holds_addresses: bool,
    /// The separator behind `value`, which may be called a secret later.
    value: Option<Separator>,
}

#[derive(Clone, Copy)]
pub(super) struct Separator {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) byte: u8,
    pub(super) name_start: usize,
    pub(super) name_is_quoted: bool,
}

struct NameBefore {
    range: Range<usize>,
    quoted: bool,
    /// The bracket in which it is the first and quoted.
    opens_pair: Option<usize>,
}

impl Scan<'_> {
    /// Looks at the byte at `at`; where to go on.
    fn step(&mut self, at: usize) -> usize {
        let byte = self.bytes[at];
        let found = match byte {
            b'=' | b':' | b',' => self.separator(at),
            b'{' | b'[' | b'(' => {
                self.open(byte);
                None
            }
            b'}' | b']' | b')' => {
                self.close(byte);
                None
            }
            b'<' => self.tag(at),
            b'>' => self.end_of_tag(at),
            b'\n' => self.end_of_line(at),
            _ => None,
        };
        if let Some(end) = found {
            return end;
        }
        let credential = self.search.credentials.at(self.bytes, at, self.search.is_cut);
        credential.map_or(at + 1, |secret| self.redact(secret))
    }

    /// Redacts that part; where to go on.
    fn redact(&mut self, part: Range<usize>) -> usize {
        let end = part.end;
        let is_placeholder = self.bytes[part.clone()] == *PLACEHOLDER.as_bytes();
        if !part.is_empty() && !is_placeholder {
            self.replace(part.clone(), PLACEHOLDER.into());
        }
        self.pass(part);
        end
    }

    fn replace(&mut self, part: Range<usize>, with: String) {
        push(&mut self.edits, Edit::new(self.view.source(part), with));
    }

    /// Keeps track of lines in what is not looked at.
    fn pass(&mut self, part: Range<usize>) {
        let end = self.bytes[part.clone()].iter().rposition(|byte| *byte == b'\n');
        if let Some(line) = end.map(|end| part.start + end + 1)
            && line > self.line
        {
            self.begin_line(line);
        }
    }

    fn begin_line(&mut self, at: usize) {
        self.line = at;
        self.bare_until = at;
        self.is_bare = true;
    }

    fn open(&mut self, opener: u8) {
        if self.groups.push(Group { opener, ..Group::default() }).is_err() {
            self.deeper += 1;
        }
    }

    fn close(&mut self, closer: u8) {
        let opener = match closer {
            b'}' => b'{',
            b']' => b'[',
            b')' => b'(',
            _ => closer,
        };
        if self.deeper > 0 {
            self.deeper -= 1;
        } else if let Some(innermost) = self.groups.iter().rposition(|group| group.opener == opener) {
            self.groups.truncate(innermost);
        }
    }

    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().unwrap_or(&mut self.root)
    }

    fn separator(&mut self, at: usize) -> Option<usize> {
        let byte = self.bytes[at];
        let mut end = at + 1;
        match (byte, self.bytes.get(end)) {
            (b':', Some(b':')) => return Some(end + 1),
            (b':', Some(b'/')) if self.bytes.get(end + 1) == Some(&b'/') => return None,
            (b':' | b'=', Some(b'=')) | (b'=', Some(b'>')) => end += 1,
            _ => {}
        }
        let name = self.name_before(at);
        let separator =
            Separator { start: at, end, byte, name_start: name.range.start, name_is_quoted: name.quoted };
        let name_bytes = &self.bytes[name.range.clone()];
        if name_bytes.is_empty() || (byte == b',' && !self.is_pair(&name, separator)) {
            return None;
        }
        let Some(class) = self.search.names.class(name_bytes) else {
            let of_operator = if byte == b'=' { self.class_of_operator(&name.range) } else { None };
            return match of_operator {
                Some(class) => {
                    let value = self.value(separator, class)?;
                    let is_secret = !value.is_empty() && !is_operand(&self.bytes[value.clone()]);
                    is_secret.then(|| self.redact(value))
                }
                None if byte == b',' => None,
                None => self.member(separator, name.range),
            };
        };
        match class {
            Class::Ambiguous if byte != b'=' || self.names_a_secret(separator, &name.range) => {
                self.member(separator, name.range)
            }
            Class::Address => self.addresses(separator.end),
            Class::Tokens => self.tokens(separator),
            Class::Header | Class::Passphrase | Class::Token | Class::Ambiguous => {
                if self.is_report(separator) {
                    return None;
                }
                if class != Class::Header
                    && let Some(end) = self.operators(separator, class)
                {
                    return Some(end);
                }
                let value = self.value(separator, class)?;
                let bytes = &self.bytes[value.clone()];
                let is_bare = value.start.checked_sub(1).is_none_or(|at| !is_quote(self.bytes[at]));
                if class != Class::Header && is_bare && is_word(bytes)
                    || is_directory(&self.bytes[name.range], bytes)
                {
                    return None;
                }
                (!value.is_empty()).then(|| self.redact(value))
            }
        }
    }

    /// Remembers a member that says that a `value` beside it is secret, or that may be that value.
    fn member(&mut self, separator: Separator, name_range: Range<usize>) -> Option<usize> {
        let name = &self.bytes[name_range.clone()];
        if is_naming(name) {
            let names_a_secret = self.names_a_secret(separator, &name_range);
            self.part_is_secret |= names_a_secret && self.is_in_part(separator);
            let group = self.group();
            group.names_a_secret = names_a_secret;
            if names_a_secret
                && let Some(before) = group.value.take()
                && let Some(value) = self.value(before, Class::Passphrase)
                && !value.is_empty()
            {
                let end = self.redact(value);
                return (end > separator.end).then_some(end);
            }
            return None;
        }
        if !is_named(name) {
            return None;
        }
        let group = self.group();
        if !group.names_a_secret {
            group.value = Some(separator);
            return None;
        }
        let value = self.value(separator, Class::Passphrase)?;
        (!value.is_empty()).then(|| self.redact(value))
    }

    /// Whether a member of that name says that the `value` beside it is secret.
    fn names_a_secret(&self, separator: Separator, name: &Range<usize>) -> bool {
        is_naming(&self.bytes[name.clone()]) && {
            let class = self.search.names.class(&self.bytes[self.name_behind(separator)]);
            matches!(class, Some(Class::Header | Class::Passphrase | Class::Token))
        }
    }

    /// Whether a part of multipart is named there.
    fn is_in_part(&self, separator: Separator) -> bool {
        let near = &self.bytes[separator.name_start.saturating_sub(LOOKAHEAD)..separator.name_start];
        near.windows(PART.len()).any(|window| window == PART)
    }

    /// The name behind the separator, as far as it may be a sensitive one.
    fn name_behind(&self, separator: Separator) -> Range<usize> {
        let start = json::skip_space(self.bytes, separator.end);
        let start = self.quote(start).map_or(start, |quote| quote + 1);
        let is_part = |byte: &&u8| is_of_name(**byte) || matches!(byte, b'[' | b']');
        start..start + self.bytes[start..].iter().take(LOOKAHEAD).take_while(is_part).count()
    }

    /// Whether what follows is no value of a parameter but what the engine says about it: see [`REPORTS`].
    fn is_report(&self, separator: Separator) -> bool {
        let says = |behind: &[u8]| REPORTS.iter().any(|report| behind.starts_with(report));
        separator.byte == b':'
            && self.bytes[separator.end..].strip_prefix(b" ").is_some_and(says)
            && self.bytes[..separator.name_start].strip_suffix(b" '").is_some_and(|in_front| {
                let len = in_front.iter().rev().take(LOOKAHEAD).take_while(|byte| is_of_name(**byte)).count();
                let word = &in_front[in_front.len() - len..];
                DESCRIBING.iter().any(|known| known.eq_ignore_ascii_case(word))
            })
    }

    /// What a form says of the value of an operator: `password[$ne]=1`.
    fn class_of_operator(&self, name: &Range<usize>) -> Option<Class> {
        let in_front = self.bytes[..name.start].strip_suffix(b"[$")?;
        let len = in_front.iter().rev().take(LOOKAHEAD).take_while(|byte| is_of_name(**byte)).count();
        let class = self.search.names.class(&in_front[in_front.len() - len..])?;
        matches!(class, Class::Passphrase | Class::Token).then_some(class)
    }

    /// Redacts the strings behind the operators of a query, and goes on behind them; `None` where there are none.
    fn operators(&mut self, separator: Separator, class: Class) -> Option<usize> {
        let bytes = self.bytes;
        let opener = json::skip_space(bytes, separator.end);
        if bytes.get(opener) != Some(&b'{') {
            return None;
        }
        let mut end = None;
        let mut at = opener + 1;
        loop {
            let Some(operator) = self.operator(at) else { return end };
            if end.is_none() {
                self.open(b'{');
            }
            let Some(value) = self.value(operator, class) else { return Some(operator.end) };
            at = value.end;
            if !value.is_empty() && !is_operand(&bytes[value.clone()]) {
                at = self.redact(value);
            }
            end = Some(at);
            let is_around = |byte: u8| is_quote(byte) || byte == b'\\' || byte.is_ascii_whitespace();
            at += run(&bytes[at..bytes.len().min(at + LOOKAHEAD)], is_around);
            if bytes.get(at) != Some(&b',') {
                return end;
            }
            at += 1;
        }
    }

    /// The separator behind the operator at `at`.
    fn operator(&self, at: usize) -> Option<Separator> {
        let bytes = self.bytes;
        let name_start = self.quote(json::skip_space(bytes, at))? + 1;
        let near = &bytes[name_start..bytes.len().min(name_start + LOOKAHEAD)];
        let len = run(near, |byte| !is_quote(byte) && byte != b'\\');
        if !is_operator(&near[..len]) {
            return None;
        }
        let closed = name_start + len + run(&near[len..], |byte| is_quote(byte) || byte == b'\\');
        let start = json::skip_space(bytes, closed);
        let is_separator = bytes.get(start) == Some(&b':');
        is_separator.then_some(Separator {
            start,
            end: start + 1,
            byte: b':',
            name_start,
            name_is_quoted: true,
        })
    }

    /// Whether the name is the first of two elements, or what follows it is cut off. What is called is a function, whose
    /// first argument may name a thing without its value, unless it sets one: `set("token", "v")`.
    fn is_pair(&self, name: &NameBefore, separator: Separator) -> bool {
        let Some(bracket) = name.opens_pair else { return false };
        if self.bytes[bracket] == b'(' && !sets_a_value(&self.bytes[..bracket]) {
            return false;
        }
        let name = &self.bytes[name.range.clone()];
        let is_header = matches!(self.search.names.class(name), Some(Class::Header | Class::Address));
        is_header || core::str::from_utf8(name).is_ok_and(is_spelled_as_header) || {
            let end = self.element_end(json::skip_space(self.bytes, separator.end));
            end.is_none_or(|end| self.ends_list(end))
        }
    }

    /// Where the element of a list ends that begins at `start`, if that is near.
    fn element_end(&self, start: usize) -> Option<usize> {
        let near = &self.bytes[..self.bytes.len().min(start + 8 * LOOKAHEAD)];
        let Some(quote) = self.quote(start).filter(|quote| *quote < near.len()) else {
            return match near.get(start)? {
                b'[' | b'{' | b'(' => self.balanced(start, near.len()),
                _ => near[start..]
                    .iter()
                    .position(|byte| matches!(byte, b',' | b']' | b')'))
                    .map(|len| start + len),
            };
        };
        let escapes = near[start..quote].iter().filter(|byte| **byte == b'\\').count();
        let mut escaped = 0;
        let inside = near[quote + 1..].iter().position(|byte| {
            let closes = *byte == near[quote] && escaped <= escapes;
            escaped = if *byte == b'\\' { escaped + 1 } else { 0 };
            closes
        });
        inside.map(|inside| quote + 1 + inside + 1)
    }

    /// Whether no more than a `,` stands between `at` and the end of the list or of the text.
    fn ends_list(&self, at: usize) -> bool {
        let next = json::skip_space(self.bytes, at);
        let next = match self.bytes.get(next) {
            Some(b',') => json::skip_space(self.bytes, next + 1),
            _ => next,
        };
        matches!(self.bytes.get(next), None | Some(b']' | b')'))
    }

    /// Redacts what looks like a token in a list, or alone.
    fn tokens(&mut self, separator: Separator) -> Option<usize> {
        let bytes = self.bytes;
        let is_between = |byte: u8| {
            matches!(byte, b'[' | b']' | b'"' | b'\'' | b'\\' | b',') || byte.is_ascii_whitespace()
        };
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/%".contains(&byte);
        let mut redacted = None;
        let mut at = separator.end;
        while at < redacted.unwrap_or(separator.end) + 8 * LOOKAHEAD {
            let start = at + run(&bytes[at.min(bytes.len())..bytes.len().min(at + LOOKAHEAD)], is_between);
            let is_listed = at == separator.end || bytes[at..start].contains(&b',');
            let len = run(&bytes[start..], is_part);
            if !is_listed || len == 0 {
                break;
            }
            at = start + len;
            if is_like_token(&bytes[start..at]) {
                at += run(&bytes[at..], |byte| byte == b'=');
                redacted = Some(self.redact(start..at));
            }
        }
        redacted
    }

    /// Replaces the addresses of a list: all that is written with their characters, and identifiers that stand for one
    /// in front of others (`unknown, 203.0.113.7`).
    fn addresses(&mut self, start: usize) -> Option<usize> {
        let bytes = self.bytes;
        let mut end = start;
        let mut open = 0_usize;
        let mut goes_on = false;
        while let Some(byte) = bytes.get(end) {
            let mut len = 1;
            match byte {
                b' ' => {}
                b'\t' | b'\r' | b'\n' if goes_on => {}
                b'[' | b'{' => {
                    self.open(*byte);
                    open += 1;
                }
                b']' | b'}' if open > 0 => {
                    self.close(*byte);
                    open -= 1;
                }
                b'"' | b'\'' | b'\\' | b',' => {}
                _ => match self.address_or_identifier(end) {
                    0 => break,
                    element => len = element,
                },
            }
            goes_on = matches!(byte, b'[' | b'{' | b',') || (goes_on && byte.is_ascii_whitespace());
            end += len;
        }
        let list = start..end;
        let text = core::str::from_utf8(&bytes[list.clone()]).ok()?;
        let addresses = self.search.addresses;
        addresses.each_in(text, |address, sent| {
            self.replace(start + address.start..start + address.end, sent);
        });
        self.pass(list.clone());
        (!list.is_empty()).then_some(list.end)
    }

    /// How long the address is that may stand at `at`, or the identifier in front of a `,`; 0 where neither does.
    fn address_or_identifier(&self, at: usize) -> usize {
        let near = &self.bytes[at..self.bytes.len().min(at + LOOKAHEAD)];
        let is_of_address = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'%');
        let address = run(near, is_of_address);
        if address > 0 && !near.get(address).is_some_and(u8::is_ascii_alphanumeric) {
            return address;
        }
        let identifier = run(near, is_of_name);
        let is_listed = self.bytes.get(skip_blanks(self.bytes, at + identifier)) == Some(&b',');
        if is_listed { identifier } else { 0 }
    }

    fn tag(&mut self, at: usize) -> Option<usize> {
        let rest = &self.bytes[at + 1..];
        if !rest.first().is_some_and(u8::is_ascii_alphabetic) {
            return None;
        }
        self.open(b'<');
        let name_len =
            rest.iter().take(LOOKAHEAD).take_while(|byte| is_of_name(**byte) || **byte == b':').count();
        let name = &rest[..name_len];
        let local = name.rsplit(|byte| *byte == b':').next().unwrap_or(name);
        let class = self.search.names.class(local)?;
        if matches!(class, Class::Ambiguous | Class::Address) {
            self.group().holds_addresses = class == Class::Address;
            return None;
        }
        let attributes = at + 1 + name_len;
        let len = self.bytes[attributes..].iter().position(|byte| matches!(byte, b'<' | b'>'))?;
        let end = attributes + len;
        if self.bytes[end] == b'<' || self.bytes[end - 1] == b'/' {
            return None;
        }
        self.close(b'<');
        Some(self.element(end + 1, name))
    }

    /// Redacts what is in the element of that name; where to go on.
    fn element(&mut self, start: usize, name: &[u8]) -> usize {
        let rest = &self.bytes[start..];
        let is_end = |at: &usize| {
            rest[*at..].strip_prefix(b"</").is_some_and(|tag| name.is_empty() || tag.starts_with(name))
        };
        let len = (0..rest.len()).find(is_end).unwrap_or(rest.len());
        self.redact(start..start + len)
    }

    fn end_of_tag(&mut self, at: usize) -> Option<usize> {
        let group = self.groups.last().filter(|group| group.opener == b'<')?;
        let holds_a_secret = group.names_a_secret && self.bytes[at - 1] != b'/';
        let holds_addresses = group.holds_addresses;
        self.close(b'<');
        if holds_a_secret {
            return Some(self.element(at + 1, b""));
        }
        if holds_addresses { self.addresses(at + 1) } else { None }
    }

    /// The end of a line, which may be the empty one in front of the content of a part.
    fn end_of_line(&mut self, at: usize) -> Option<usize> {
        self.begin_line(at + 1);
        let is_empty = matches!(self.bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]);
        if !is_empty || !core::mem::take(&mut self.part_is_secret) {
            return None;
        }
        self.groups.clear();
        self.deeper = 0;
        let start = at + 1 + self.bytes[at + 1..].iter().position(|byte| *byte == b'\n')? + 1;
        let ends = |at: &usize| self.bytes[*at..].starts_with(b"\n--");
        let end = (start..self.bytes.len()).find(ends).unwrap_or(self.bytes.len());
        Some(self.redact(start..end))
    }

    /// The name in front of a separator, without the quotes, brackets, blanks and comments around it.
    fn name_before(&self, at: usize) -> NameBefore {
        let bytes = self.bytes;
        let is_around = |byte: &&u8| {
            matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b'+' | b'[' | b']') || byte.is_ascii_whitespace()
        };
        let around = |at: usize| at - bytes[..at].iter().rev().take_while(is_around).count();
        let mut end = around(at);
        if let Some(inside) = bytes[..end].strip_suffix(b"*/") {
            let opener = inside.windows(2).rev().take(LOOKAHEAD).position(|window| window == b"/*");
            if let Some(back) = opener {
                end = around(inside.len() - 2 - back);
            }
        }
        let mut start = end - bytes[..end].iter().rev().take_while(|byte| is_of_name(**byte)).count();
        // The end of a line as a literal writes it.
        if start > 0 && bytes[start - 1] == b'\\' && matches!(bytes.get(start), Some(b'n' | b'r' | b't')) {
            start += usize::from(start < end);
        }
        let quoted = bytes[end..at].iter().any(|byte| matches!(byte, b'"' | b'\'' | b'`'));
        let in_front = bytes[..start].trim_ascii_end();
        let opens_pair = if !quoted {
            None
        } else {
            // `b'…'` is how bytes are shown.
            let quotes =
                in_front.iter().rev().take_while(|byte| matches!(byte, b'"' | b'\'' | b'`' | b'\\')).count();
            let in_front = &in_front[..in_front.len() - quotes];
            let in_front = in_front.strip_suffix(b"b").unwrap_or(in_front).trim_ascii_end();
            in_front.len().checked_sub(1).filter(|last| matches!(in_front[*last], b'[' | b'('))
        };
        NameBefore { range: start..end, quoted, opens_pair }
    }
}

/// Whether a bracket behind that is no call, or one of a function that sets a value under a name.
fn sets_a_value(in_front: &[u8]) -> bool {
    let len = in_front.iter().rev().take(LOOKAHEAD).take_while(|byte| is_of_name(**byte)).count();
    let path = &in_front[in_front.len() - len..];
    let function = path.rsplit(|byte| *byte == b'.').next().unwrap_or(path);
    let begins =
        |verb: &&[u8]| function.get(..verb.len()).is_some_and(|start| start.eq_ignore_ascii_case(verb));
    function.is_empty() || [&b"set"[..], b"put", b"add", b"append"].iter().any(begins)
}

const fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// Whether the operand of an operator is no text: numbers and words.
fn is_operand(value: &[u8]) -> bool {
    is_word(value) || value.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

fn run(bytes: &[u8], is_part: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is_part(**byte)).count()
}
