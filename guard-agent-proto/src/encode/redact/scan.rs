//! Secrets in text of any kind, whole, broken or cut off: one pass over names, separators and values.
//!
//! What is a secret is said by this table. A *name* is what [`Names`] knows; it may begin anywhere, and quotes,
//! brackets, indices, blanks of any script, comments and the marks of a label (`password?:`) may stand between it and its
//! separator.
//!
//! | separator | written by | name |
//! | --- | --- | --- |
//! | `=` `=>` `:=` `==` | forms, queries, cookies, XML attributes, Ruby, PHP, Python, shells | any |
//! | `:`, but not `::` or `://` | headers, JSON, YAML, Python, JavaScript, GraphQL | any but an ambiguous one |
//! | `,` | pairs: `["cookie", "v"]`, `("cookie", "v")`, but no call except of a setter | quoted, the first of two in its brackets; of a header, of any number |
//! | `;` | serialized PHP: `s:6:"cookie";` | quoted, behind its length |
//! | a blank, NUL or what is between quotes | options of commands: `--cookie v`, `"--cookie", "v"` | any behind two dashes that begin a word |
//! | `>` of a tag | XML elements | the tag's |
//! | members `name` and `value` | JSON, YAML, XML, multipart, forms | the value of `name` |
//! | elements `name` and `value`, or `key` and the next | XML, property lists | the content of `name` |
//!
//! Where a value ends is said by the table in [`super::value`]. Each byte is looked at a bounded number of times: bytes
//! that were searched for the end of a value are a part of it, or at most eight times [`LOOKAHEAD`].

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::super::ip::Addresses;
use super::PLACEHOLDER;
use super::credentials::{Credentials, is_trigger, neighbours};
use super::edits::{Edit, push};
use super::names::{
    Class, Names, is_appended_to, is_directory, is_like_token, is_named, is_naming, is_of_name, is_operator,
    is_part_of_addresses, is_spelled_as_header, is_word,
};
use super::value::skip_blanks;
use super::view::{View, wide_blank};
use crate::CredentialRule;

/// How far is looked ahead for what ends a value, or goes before it, in bytes.
pub(super) const LOOKAHEAD: usize = 64;

/// What says that a part of multipart is named, in any case, in front of a dash and behind it; the first may be cut off,
/// the second another disposition.
const PART: [(&[u8], &[u8]); 2] = [(b"content", b"disposition"), (b"form", b"data")];

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
        masked: Vec::new(),
        masked_until: 0,
        opens_addresses: None,
        groups: heapless::Vec::new(),
        deeper: 0,
        root: Group::default(),
        part: None,
        empty_line: None,
        element_is_secret: false,
        element: None,
        content: None,
        literal_end: 0,
        literals_from: 0,
        line: 0,
        bare_until: 0,
        is_bare: true,
    };
    let looked_at = looked_at(search.credentials);
    let mut at = 0;
    while let Some(found) = next(scan.bytes, at, looked_at) {
        at = scan.step(found);
    }
    if let Some(part) = scan.part {
        scan.part(part);
    }
    if let Some(content) = scan.content.take() {
        scan.content(content, scan.bytes.len());
    }
    merge(scan.edits, scan.masked)
}

/// Both edits in order, except of addresses in what is replaced anyway.
fn merge(secrets: Vec<Edit>, addresses: Vec<Edit>) -> Vec<Edit> {
    if addresses.is_empty() {
        return secrets;
    }
    let mut merged: Vec<Edit> = Vec::with_capacity(secrets.len() + addresses.len());
    let mut secrets = secrets.into_iter().peekable();
    for address in addresses {
        while let Some(secret) = secrets.next_if(|secret| secret.range.start < address.range.end) {
            merged.push(secret);
        }
        if merged.last().is_none_or(|last| last.range.end <= address.range.start) {
            merged.push(address);
        }
    }
    merged.extend(secrets);
    merged
}

/// The next byte that is looked at. A loop of its own is unrolled.
#[inline(never)]
fn next(bytes: &[u8], at: usize, looked_at: &[bool; 256]) -> Option<usize> {
    bytes[at..].iter().position(|byte| looked_at[usize::from(*byte)]).map(|found| at + found)
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
    /// Two dashes, which begin the options of commands.
    const OPTION: u32 = (neighbours(b'-').0 & neighbours(b'-').1) << 8;

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
            || (holds(Self::BACKSLASH) && text.as_bytes().windows(2).any(|pair| matches!(pair, b"\\u" | b"\\x")))
            || holds(Self::OPTION)
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
            // The last begins full-width letters.
            b'=' | b':' | b'<' | b'%' | b'&' | 0xef => Hints::SEPARATOR,
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
            b'=' | b':' | b',' | b'-' | b'<' | b'>' | b'{' | b'}' | b'[' | b']' | b'(' | b')' | b'\n'
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
    /// What to replace of addresses, in order, and how far they were looked for.
    masked: Vec<Edit>,
    masked_until: usize,
    /// The bracket behind a name of addresses.
    opens_addresses: Option<usize>,
    /// The open brackets and tags, innermost last, and how many more are open.
    groups: heapless::Vec<Group, MOST_GROUPS>,
    deeper: usize,
    /// Members in no bracket.
    root: Group,
    /// Where the secret content of the part of multipart begins whose head this is.
    part: Option<usize>,
    /// What stands behind the next empty line, where it was looked for.
    empty_line: Option<usize>,
    /// An element of XML said that a `value` behind it is secret.
    element_is_secret: bool,
    /// What is in the last element `value`, which may be called a secret later.
    element: Option<usize>,
    /// The secret content of the element whose tag this is.
    content: Option<Content>,
    /// How far a quoted member goes of an object that says what is secret: a bracket in it is none of that object.
    literal_end: usize,
    /// From where on the end of another is searched.
    literals_from: usize,
    /// Where the line begins.
    pub(super) line: usize,
    /// How far it was searched for blanks and quotes, and whether there are none.
    pub(super) bare_until: usize,
    pub(super) is_bare: bool,
}

/// The content of an element: where it begins, and the name in the tag.
struct Content {
    start: usize,
    name: Range<usize>,
}

/// Members between two brackets, as far as they are known.
#[derive(Clone, Copy, Default)]
struct Group {
    opener: u8,
    names_a_secret: bool,
    holds_addresses: bool,
    /// The tag of an element that is a secret by its own name.
    is_of_secret: bool,
    /// That of one without content.
    is_void: bool,
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

impl Separator {
    /// Whether it is `=`, which forms write in front of anything.
    pub(super) const fn is_equals_sign(self) -> bool {
        self.byte == b'=' && self.end == self.start + 1
    }
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
        if let Some(part) = self.part.take_if(|part| *part <= at) {
            return self.part(part).max(at);
        }
        if let Some(content) = self.content.take_if(|content| content.start <= at)
            && let Some(end) = self.content(content, at)
        {
            return end;
        }
        let byte = self.bytes[at];
        let found = match byte {
            b'=' | b':' | b',' => self.separator(at),
            b'{' | b'[' | b'(' if at >= self.literal_end => {
                let holds_addresses = self.opens_addresses == Some(at);
                self.open(Group { opener: byte, holds_addresses, ..Group::default() });
                None
            }
            b'}' | b']' | b')' if at >= self.literal_end => {
                self.close(byte);
                None
            }
            b'<' => self.tag(at),
            b'>' => self.end_of_tag(at),
            b'-' if self.bytes[at..].starts_with(b"--") => self.option(at),
            b'\n' => {
                self.begin_line(at + 1);
                None
            }
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

    fn open(&mut self, group: Group) {
        if self.groups.push(group).is_err() {
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

    pub(super) fn is_in_tag(&self) -> bool {
        self.groups.last().is_some_and(|group| group.opener == b'<')
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
        if name_bytes.is_empty()
            || (byte == b',' && !self.is_pair(&name, separator))
            || self.is_behind_encoded_line(&name.range)
        {
            return None;
        }
        let class = self.search.names.class(name_bytes);
        let Some(class) = class.or_else(|| self.class_of_indexed(byte, &name.range)) else {
            let of_operator = if byte == b'=' { self.class_of_operator(&name.range) } else { None };
            if let Some(class) = of_operator {
                let value = self.value(separator, class)?;
                let is_secret = !value.is_empty() && !is_operand(&self.bytes[value.clone()]);
                return is_secret.then(|| self.redact(value));
            }
            if self.group().holds_addresses && is_part_of_addresses(&self.bytes[name.range.clone()]) {
                self.addresses(separator);
            }
            return match byte {
                b',' => None,
                b':' if name_bytes.iter().all(u8::is_ascii_digit) => self.serialized(separator),
                _ => self.member(separator, name.range),
            };
        };
        if byte == b':' && self.bracket_goes_on(separator) {
            return None;
        }
        match class {
            Class::Ambiguous if byte != b'=' || self.class_of_named(separator, &name.range).is_some() => {
                self.member(separator, name.range)
            }
            Class::Address => {
                self.addresses(separator);
                None
            }
            Class::Tokens => self.tokens(separator),
            Class::Header | Class::Passphrase | Class::Token | Class::Ambiguous => {
                if self.is_report(separator) || self.is_of_directory(separator, &name.range) {
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
                if class != Class::Header && is_bare && is_word(bytes) {
                    return None;
                }
                (!value.is_empty()).then(|| self.redact(value))
            }
        }
    }

    /// Whether a sensitive name is behind the end of a line that is encoded in this view: the end of the value is only
    /// seen where that is decoded.
    fn is_behind_encoded_line(&self, name: &Range<usize>) -> bool {
        self.bytes[..name.start].ends_with(b"%") && {
            let mut digits = &self.bytes[name.clone()];
            while let Some(deeper) = digits.strip_prefix(b"25") {
                digits = deeper;
            }
            match digits {
                [b'0', b'a' | b'd' | b'A' | b'D', name @ ..] => self.search.names.class(name).is_some(),
                _ => false,
            }
        }
    }

    /// Whether what begins behind the separator is a directory. That is said before its end is searched, since it is not
    /// passed then.
    fn is_of_directory(&self, separator: Separator, name: &Range<usize>) -> bool {
        let start = self.skip_filler(separator.end, separator.name_is_quoted);
        let start = self.quote(start).map_or(start, |quote| quote + 1);
        is_directory(&self.bytes[name.clone()], self.bytes.get(start..).unwrap_or_default())
    }

    /// Whether the bracket around a name ends in front of `=>`: PHP shows behind the name who may see the property.
    fn bracket_goes_on(&self, separator: Separator) -> bool {
        let rest = &self.bytes[separator.end..];
        let is_part = |byte: &&u8| is_of_name(**byte) || matches!(byte, b':' | b'"' | b'\\');
        let len = rest.iter().take(LOOKAHEAD).take_while(is_part).count();
        rest[len..].strip_prefix(b"]").is_some_and(|behind| {
            let blanks = behind.iter().take(LOOKAHEAD).take_while(|byte| byte.is_ascii_whitespace()).count();
            behind[blanks..].starts_with(b"=>")
        })
    }

    /// The value behind a name that PHP has serialized: `s:8:"password";s:6:"…";`.
    fn serialized(&mut self, separator: Separator) -> Option<usize> {
        let _ = self.bytes[..separator.name_start].strip_suffix(b"s:")?;
        let quote = self.quote(separator.end)?;
        let inside = &self.bytes[quote + 1..];
        let len = inside.iter().take(4 * LOOKAHEAD).position(|byte| matches!(byte, b'"' | b'\\'))?;
        // The class of a property stands in front of its name.
        let name = inside[..len].rsplit(|byte| *byte == 0).next()?;
        let class = self.search.names.class(name).filter(|class| class.is_secret())?;
        let start = self.quote(quote + 1 + len)? + 1;
        if self.bytes.get(start) != Some(&b';') {
            return None;
        }
        let value =
            Separator { start, end: start + 1, byte: b':', name_start: quote + 1, name_is_quoted: true };
        let value = self.value(value, class)?;
        (!value.is_empty()).then(|| self.redact(value))
    }

    /// The value behind the option of a command: `--password S3CR3T`, `"--password", "S3CR3T"`.
    #[cold]
    fn option(&mut self, at: usize) -> Option<usize> {
        let name = self.bytes[at..].strip_prefix(b"--")?;
        let before = at.checked_sub(1).map(|before| self.bytes[before]);
        let begins_word = !before.is_some_and(|byte| byte == b'-' || is_of_name(byte));
        if !begins_word || !name.first().is_some_and(u8::is_ascii_alphabetic) {
            return None;
        }
        let end = at + 2 + name.iter().take(LOOKAHEAD).take_while(|byte| is_of_name(**byte)).count();
        let class = self.search.names.class(&self.bytes[at + 2..end])?;
        let start = self.end_of_option(end)?;
        let separator =
            Separator { start: end, end: start, byte: b' ', name_start: at + 2, name_is_quoted: false };
        if class == Class::Address {
            self.addresses(separator);
            return None;
        }
        if self.bytes.get(start).is_none_or(|byte| *byte == b'-') {
            return None;
        }
        let value = self.value(separator, Class::Token)?;
        (!value.is_empty()).then(|| self.redact(value))
    }

    /// Where the next argument begins behind the name of an option that ends at `at`.
    fn end_of_option(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes;
        match bytes.get(at)? {
            b' ' | b'\t' => Some(self.view.skip_blanks(at)),
            0 => Some(at + 1),
            b'\n' | b'\r' => {
                let next = self.view.skip_space(at);
                bytes[next..].starts_with(b"- ").then(|| self.view.skip_blanks(next + 1))
            }
            b'"' | b'\'' | b'`' | b'\\' => {
                let behind = self.view.skip_space(self.quote(at)? + 1);
                let next = self.view.skip_space(behind + usize::from(bytes.get(behind) == Some(&b',')));
                self.quote(next).map(|_| next)
            }
            _ => None,
        }
    }

    /// Remembers a member that says that a `value` beside it is secret, or that may be that value.
    fn member(&mut self, separator: Separator, name_range: Range<usize>) -> Option<usize> {
        let name = &self.bytes[name_range.clone()];
        if is_naming(name) {
            let class = self.class_of_named(separator, &name_range);
            let names_a_secret = class.is_some_and(Class::is_secret);
            if names_a_secret && self.is_in_part(separator) {
                self.part = self.empty_line(separator.end);
            }
            let group = self.group();
            group.names_a_secret = names_a_secret;
            if class == Some(Class::Address) {
                group.holds_addresses = true;
                if let Some(before) = group.value {
                    self.addresses(before);
                }
                return None;
            }
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
        let is_named = is_named(name);
        let group = self.group();
        if group.opener == b'<' && separator.byte != b'=' {
            return None;
        }
        if !is_named || !group.names_a_secret {
            if is_named {
                group.value = Some(separator);
            }
            if group.names_a_secret || group.value.is_some() {
                self.remember_literal(separator);
            }
            return None;
        }
        let value = self.value(separator, Class::Passphrase)?;
        (!value.is_empty()).then(|| self.redact(value))
    }

    /// Remembers how far the quoted value goes that begins behind the separator.
    fn remember_literal(&mut self, separator: Separator) {
        let start = self.skip_filler(separator.end, true);
        if separator.start >= self.literals_from
            && let Some(quote) = self.quote(start)
        {
            let end = self.closed(quote);
            self.literal_end = end.unwrap_or(self.literal_end);
            self.literals_from = end.unwrap_or(quote + 4 * LOOKAHEAD);
        }
    }

    /// What a member of that name says of the `value` beside it, if it is secret or an address.
    fn class_of_named(&self, separator: Separator, name: &Range<usize>) -> Option<Class> {
        if !is_naming(&self.bytes[name.clone()]) {
            return None;
        }
        let name = &self.bytes[self.name_behind(separator)];
        // A word of its own begins behind a bracket.
        let last = name.rsplit(|byte| *byte == b'[').next().unwrap_or(name);
        let is_told = |class: &Class| class.is_secret() || *class == Class::Address;
        [name, last].into_iter().find_map(|name| self.search.names.class(name).filter(is_told))
    }

    fn is_secret(&self, name: &[u8]) -> bool {
        self.search.names.class(name).is_some_and(Class::is_secret)
    }

    /// Whether a part of multipart is named there.
    fn is_in_part(&self, separator: Separator) -> bool {
        let near = &self.bytes[separator.name_start.saturating_sub(4 * LOOKAHEAD)..separator.name_start];
        // A head goes on in the next line where that is indented.
        let is_end = |pair: &[u8]| matches!(pair, [b'\n', next] if !matches!(next, b' ' | b'\t'));
        let line = near.windows(2).rposition(is_end).map_or(near, |end| &near[end + 1..]);
        let says = |dash: usize, (front, back): (&[u8], &[u8])| {
            let start = dash.checked_sub(front.len());
            start.is_some_and(|start| line[start..dash].eq_ignore_ascii_case(front))
                && line.get(dash + 1..dash + 1 + back.len()).is_some_and(|end| end.eq_ignore_ascii_case(back))
        };
        let mut dashes = (0..line.len()).filter(|at| line[*at] == b'-');
        dashes.any(|dash| PART.iter().any(|part| says(dash, *part)))
    }

    /// What stands behind the next empty line.
    fn empty_line(&mut self, from: usize) -> Option<usize> {
        if self.empty_line.is_none_or(|behind| behind < from) {
            let behind = |at| skip_end_of_line(self.bytes, skip_end_of_line(self.bytes, at)?);
            let found = (from..self.bytes.len()).find_map(behind);
            self.empty_line = Some(found.unwrap_or(self.bytes.len()));
        }
        self.empty_line
    }

    /// Redacts the content of a part of multipart; where to go on.
    fn part(&mut self, start: usize) -> usize {
        self.part = None;
        self.groups.clear();
        self.deeper = 0;
        let is_end = |at: &usize| {
            skip_end_of_line(self.bytes, *at).is_some_and(|line| self.bytes[line..].starts_with(b"--"))
        };
        let end = (start..self.bytes.len()).find(is_end).unwrap_or(self.bytes.len());
        self.redact(start..end)
    }

    /// The name behind the separator, as far as it may be a sensitive one.
    fn name_behind(&self, separator: Separator) -> Range<usize> {
        let start = self.skip_filler(separator.end, true);
        let mut start = self.quote(start).map_or(start, |quote| quote + 1);
        let is_part = |byte: &&u8| is_of_name(**byte) || matches!(byte, b'[' | b']');
        let len = |start: usize| self.bytes[start..].iter().take(4 * LOOKAHEAD).take_while(is_part).count();
        // The charset and the language of a parameter: `name*=utf-8''password`.
        for _ in 0..2 {
            let end = start + len(start);
            if self.bytes[..separator.start].ends_with(b"*") && self.bytes.get(end) == Some(&b'\'') {
                start = end + 1;
            }
        }
        start..start + len(start)
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

    /// What a form says of an element of an array: `password[0]=v`, `user[password][first]=v`.
    fn class_of_indexed(&self, separator: u8, index: &Range<usize>) -> Option<Class> {
        let name = self.indexed(index).filter(|_| separator != b',')?;
        if is_under_operator(name) {
            return None;
        }
        // A word of its own begins behind a bracket.
        let brackets = (0..name.len()).filter(|at| name[*at] == b'[').map(|at| at + 1);
        [0].into_iter().chain(brackets.take(4)).find_map(|start| self.search.names.class(&name[start..]))
    }

    /// What a form says of the value of an operator: `password[$ne]=1`, `password[$in][0]=v`.
    fn class_of_operator(&self, index: &Range<usize>) -> Option<Class> {
        let name = self.indexed(index).filter(|name| is_under_operator(name))?;
        let class = self.search.names.class(name)?;
        matches!(class, Class::Passphrase | Class::Token).then_some(class)
    }

    /// The name with brackets of which that is the last index; the numbers of elements say nothing.
    fn indexed(&self, index: &Range<usize>) -> Option<&[u8]> {
        let front = &self.bytes[..index.start];
        let _ = front.strip_suffix(b"$").unwrap_or(front).strip_suffix(b"[")?;
        let is_part = |byte: &&u8| is_of_name(**byte) || matches!(byte, b'[' | b']' | b'$');
        let len = front.iter().rev().take(4 * LOOKAHEAD).take_while(is_part).count();
        let mut name = &self.bytes[index.start - len..index.end];
        while let Some(bracket) = name.iter().rposition(|byte| *byte == b'[')
            && name[bracket + 1..].iter().all(u8::is_ascii_digit)
        {
            name = &name[..bracket];
            name = name.strip_suffix(b"]").unwrap_or(name);
        }
        // Logs begin with what is in brackets.
        name.first().is_some_and(|byte| *byte != b'[').then_some(name)
    }

    /// Redacts the strings behind the operators of a query, and goes on behind them; `None` where there are none.
    fn operators(&mut self, separator: Separator, class: Class) -> Option<usize> {
        let bytes = self.bytes;
        let opener = self.view.skip_space(separator.end);
        if bytes.get(opener) != Some(&b'{') {
            return None;
        }
        let mut end = None;
        let mut at = opener + 1;
        loop {
            let Some(operator) = self.operator(at) else { return end };
            if end.is_none() {
                self.open(Group { opener: b'{', ..Group::default() });
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
        let name_start = self.quote(self.view.skip_space(at))? + 1;
        let near = &bytes[name_start..bytes.len().min(name_start + LOOKAHEAD)];
        let len = run(near, |byte| !is_quote(byte) && byte != b'\\');
        if !is_operator(&near[..len]) {
            return None;
        }
        let closed = name_start + len + run(&near[len..], |byte| is_quote(byte) || byte == b'\\');
        let start = self.view.skip_space(closed);
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
            let end = self.element_end(self.view.skip_space(separator.end));
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
        let next = self.view.skip_space(at);
        let next = match self.bytes.get(next) {
            Some(b',') => self.view.skip_space(next + 1),
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

    /// Masks the addresses in the value behind the separator, which is searched for secrets all the same.
    fn addresses(&mut self, separator: Separator) {
        // A value in one that is masked already.
        if separator.end < self.masked_until {
            return;
        }
        let start = self.skip_filler(separator.end, separator.name_is_quoted);
        let opener = self.bytes.get(start);
        if opener == Some(&b'{') {
            self.opens_addresses = Some(start);
        }
        let quoted = self.quote(start).map(|quote| self.quoted(separator, quote).end);
        let name = &self.bytes[separator.name_start..separator.start];
        let end = if !is_appended_to(name) {
            quoted
        } else if separator.name_is_quoted && opener == Some(&b'[') {
            self.balanced(start, self.bytes.len()).or(Some(self.bytes.len()))
        } else if separator.byte == b':' && !(separator.name_is_quoted && quoted.is_some()) {
            Some(self.end_of_line(separator, start))
        } else {
            quoted
        };
        let is_list = self.bytes.get(self.view.skip_space(separator.end)) == Some(&b'-');
        let list = if is_list { self.block(separator) } else { None };
        let ends = [end, list].into_iter().flatten();
        self.mask(separator.end..ends.fold(self.end_of_list(separator.end), usize::max));
    }

    fn end_of_line(&self, separator: Separator, start: usize) -> usize {
        let is_end = |at: &usize| self.is_line_end(separator, *at);
        (start..self.bytes.len()).find(is_end).unwrap_or(self.bytes.len())
    }

    /// Masks the addresses in that part, which begins no sooner than the one before.
    fn mask(&mut self, part: Range<usize>) {
        let mut start = part.start.max(self.masked_until);
        let Some(bytes) = self.bytes.get(start..part.end) else { return };
        self.masked_until = part.end;
        for chunk in bytes.utf8_chunks() {
            self.search.addresses.each_in(chunk.valid(), |address, sent| {
                let place = self.view.source(start + address.start..start + address.end);
                self.masked.push(Edit::new(place, sent));
            });
            start += chunk.valid().len() + chunk.invalid().len();
        }
    }

    /// Where a list of addresses ends: of all that is written with their characters, and of what stands in front of a
    /// `,` in their place (`unknown, 203.0.113.7`).
    fn end_of_list(&self, start: usize) -> usize {
        let bytes = self.bytes;
        let mut end = start;
        let mut open = 0_usize;
        let mut goes_on = false;
        while let Some(byte) = bytes.get(end) {
            let mut len = 1;
            match byte {
                b' ' => {}
                b'\t' | b'\r' | b'\n' if goes_on => {}
                b'[' | b'{' => open += 1,
                b']' | b'}' if open > 0 => open -= 1,
                b'"' | b'\'' | b'\\' | b',' => {}
                _ => match self.address_or_element(end) {
                    0 => break,
                    element => len = element,
                },
            }
            goes_on = matches!(byte, b'[' | b'{' | b',') || (goes_on && byte.is_ascii_whitespace());
            end += len;
        }
        end
    }

    /// How long the address is that may stand at `at`, or what stands in front of a `,`; 0 where neither does.
    fn address_or_element(&self, at: usize) -> usize {
        let near = &self.bytes[at..self.bytes.len().min(at + LOOKAHEAD)];
        let is_of_address = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'%');
        let address = run(near, is_of_address);
        if address > 0 && !near.get(address).is_some_and(u8::is_ascii_alphanumeric) {
            return address;
        }
        let is_of_element =
            |byte: u8| !byte.is_ascii_whitespace() && !is_quote(byte) && !b",;=&\\{}[]".contains(&byte);
        let element = run(near, is_of_element);
        let is_listed = self.bytes.get(skip_blanks(self.bytes, at + element)) == Some(&b',');
        if is_listed { element } else { 0 }
    }

    fn tag(&mut self, at: usize) -> Option<usize> {
        let rest = &self.bytes[at + 1..];
        if !rest.first().is_some_and(u8::is_ascii_alphabetic) {
            return None;
        }
        let name_len =
            rest.iter().take(LOOKAHEAD).take_while(|byte| is_of_name(**byte) || **byte == b':').count();
        let name = &rest[..name_len];
        let local = name.rsplit(|byte| *byte == b':').next().unwrap_or(name);
        let class = self.search.names.class(local);
        let names_a_secret = class.is_some_and(Class::is_secret);
        let ends_name = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>' | b'\\');
        if name_len < LOOKAHEAD && !rest.get(name_len).is_none_or(ends_name) {
            return None;
        }
        if at < self.literal_end && !self.bytes[at..self.literal_end].contains(&b'>') {
            return None;
        }
        self.open(Group {
            opener: b'<',
            names_a_secret,
            holds_addresses: class == Some(Class::Address),
            is_of_secret: names_a_secret,
            is_void: begins_void(local),
            value: None,
        });
        if !names_a_secret && !is_naming(local) && !is_named(local) {
            return None;
        }
        let name_end = at + 1 + name_len;
        let content = self.end_of_opening(name_end)?;
        if names_a_secret || (is_named(local) && self.element_is_secret) {
            self.content = Some(Content { start: content, name: at + 1..name_end });
            return None;
        }
        if is_named(local) {
            self.element = Some(content);
            return None;
        }
        let is_key = local.eq_ignore_ascii_case(b"key");
        let behind = self.naming_element(at, content)?;
        if is_key { self.element_behind(behind) } else { None }
    }

    /// Where the content of an element begins, of which the name in the tag ends at `at`.
    fn end_of_opening(&self, at: usize) -> Option<usize> {
        let is_end = |byte: &u8| matches!(byte, b'<' | b'>');
        let near = &self.bytes[at..self.bytes.len().min(at + 4 * LOOKAHEAD)];
        let mut open = None;
        let len = near.iter().enumerate().position(|(at, byte)| match open {
            Some(quote) => {
                open = Some(quote).filter(|quote| quote != byte);
                false
            }
            None if is_quote(*byte) && at > 0 && matches!(near[at - 1], b'=' | b'\\') => {
                open = Some(*byte);
                false
            }
            None => is_end(byte),
        });
        // A quote may be cut off.
        let end = at + len.or_else(|| self.bytes[at..].iter().position(is_end))?;
        (self.bytes[end] == b'>' && self.bytes[end - 1] != b'/').then_some(end + 1)
    }

    /// Remembers whether an element with that content says that a `value` beside it is secret; then where it ends.
    fn naming_element(&mut self, tag: usize, content: usize) -> Option<usize> {
        let near = &self.bytes[content..self.bytes.len().min(content + 4 * LOOKAHEAD)];
        let len = near.iter().position(|byte| *byte == b'<').unwrap_or(near.len());
        let name = near[..len].trim_ascii();
        let is_closed = near[len..].starts_with(b"</") || content + len + 1 >= self.bytes.len();
        let is_name = is_closed && name.iter().all(|byte| is_of_name(*byte));
        self.element_is_secret = is_name && self.is_secret(name);
        let before = self.element.take();
        if !self.element_is_secret {
            return None;
        }
        // A `value` right in front.
        if let Some(before) = before {
            let front = self.bytes[before..tag].trim_ascii_end();
            let end =
                front.iter().rposition(|byte| *byte == b'<').filter(|end| front[*end..].starts_with(b"</"));
            if let Some(len) = end {
                self.redact(before..before + len);
            }
        }
        near[len..].iter().position(|byte| *byte == b'>').map(|end| content + len + end + 1)
    }

    /// Redacts what is in the element that follows there.
    fn element_behind(&mut self, at: usize) -> Option<usize> {
        let start = self.view.skip_space(at) + 1;
        let tag = self.bytes.get(start..)?;
        let is_part = |byte: &&u8| is_of_name(**byte) || **byte == b':';
        let name = &tag[..tag.iter().take(LOOKAHEAD).take_while(is_part).count()];
        if self.bytes[start - 1] != b'<' || name.is_empty() {
            return None;
        }
        let content = self.end_of_opening(start + name.len())?;
        self.close(b'<');
        Some(self.element(content, name))
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
        let group = *self.groups.last().filter(|group| group.opener == b'<')?;
        self.close(b'<');
        let has_content = !group.is_of_secret && self.bytes[at - 1] != b'/';
        if !has_content || !(group.names_a_secret || group.holds_addresses) {
            return None;
        }
        let rest = &self.bytes[at + 1..];
        let len = rest.iter().position(|byte| *byte == b'<').unwrap_or(rest.len());
        if group.is_void && !rest[len..].strip_prefix(b"</").is_some_and(begins_void) {
            return None;
        }
        if group.names_a_secret {
            return Some(self.element(at + 1, b""));
        }
        self.mask(at + 1..at + 1 + len);
        None
    }

    /// Redacts that content, where that was not passed already together with something in the tag; where to go on.
    fn content(&mut self, content: Content, at: usize) -> Option<usize> {
        let name = &self.bytes[content.name];
        let is_end =
            |from: usize| self.bytes[from..at].strip_prefix(b"</").is_some_and(|tag| tag.starts_with(name));
        let was_passed = (content.start..at).any(is_end);
        (!was_passed).then(|| self.element(content.start, name).max(at))
    }

    /// Where a name ends in front of `at`.
    fn end_of_name(&self, at: usize) -> usize {
        let farthest = at.saturating_sub(4 * LOOKAHEAD);
        let mut behind = at;
        loop {
            let end = self.skip_back(behind);
            let is_comment = self.bytes[..end].ends_with(b"/") || self.bytes[end..behind].contains(&b'\n');
            match if is_comment { self.comment_before(end, behind) } else { None } {
                Some(start) if start >= farthest => behind = start,
                Some(_) | None => return end,
            }
        }
    }

    /// Where the quotes, brackets and blanks begin that end at `end`.
    fn skip_back(&self, mut end: usize) -> usize {
        let is_around = |byte: &u8| {
            matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b'+' | b'*' | b'[' | b']')
                || byte.is_ascii_whitespace()
        };
        loop {
            let front = &self.bytes[..end];
            end -= match front.last() {
                Some(byte) if is_around(byte) => 1,
                // Marks of a label, or of a type that may be missing: `"password?":`.
                Some(b'?' | b'!')
                    if matches!(
                        self.bytes.get(end),
                        Some(b'"' | b'\'' | b'`' | b'\\' | b'*' | b'?' | b'!' | b':')
                    ) =>
                {
                    1
                }
                Some(byte) if !byte.is_ascii() => {
                    let is_blank = |len: &usize| end >= *len && wide_blank(&front[end - len..]) == *len;
                    match [2, 3].into_iter().find(is_blank) {
                        Some(len) => len,
                        None => return end,
                    }
                }
                Some(_) | None => return end,
            };
        }
    }

    /// Where the comment begins that ends at `end`, or with the line if that ends before `behind`.
    fn comment_before(&self, end: usize, behind: usize) -> Option<usize> {
        let front = &self.bytes[end.saturating_sub(2 * LOOKAHEAD)..end];
        let base = end - front.len();
        if let Some(inside) = front.strip_suffix(b"*/") {
            return inside.windows(2).rposition(|window| window == b"/*").map(|start| base + start);
        }
        if !self.bytes[end..behind].contains(&b'\n') {
            return None;
        }
        let line = front.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let is_start = |at: &usize| match &front[*at..] {
            [b'/', b'/', ..] => *at == 0 || front[*at - 1] != b':',
            [b'#', ..] => *at > line && front[*at - 1].is_ascii_whitespace(),
            _ => false,
        };
        (line..front.len()).find(is_start).map(|start| base + start)
    }

    /// Where the name ends of a property of which PHP shows in brackets who may see it: `["password":protected]`.
    fn end_of_property(&self, end: usize) -> usize {
        let front = &self.bytes[end.saturating_sub(LOOKAHEAD)..end];
        let is_part = |byte: &u8| is_of_name(*byte) || matches!(byte, b':' | b'"' | b'\\');
        let Some(open) = front.iter().rposition(|byte| !is_part(byte)).filter(|open| front[*open] == b'[')
        else {
            return end;
        };
        let len = front[open..].iter().position(|byte| *byte == b':');
        len.map_or(end, |len| self.skip_back(end - front.len() + open + len))
    }

    /// The name in front of a separator, without the quotes, brackets, blanks and comments around it.
    fn name_before(&self, at: usize) -> NameBefore {
        let bytes = self.bytes;
        let mut end = self.end_of_name(at);
        if bytes[at..].starts_with(b"=>") && bytes[end..at].contains(&b']') {
            end = self.end_of_property(end);
        }
        let mut start = end - bytes[..end].iter().rev().take_while(|byte| is_of_name(**byte)).count();
        // The end of a line as a literal writes it.
        if start > 0 && bytes[start - 1] == b'\\' && matches!(bytes.get(start), Some(b'n' | b'r' | b't')) {
            start += usize::from(start < end);
        }
        let quoted = bytes[end..at].iter().any(|byte| matches!(byte, b'"' | b'\'' | b'`'));
        let in_front = bytes[..start].trim_ascii_end();
        let opens_pair = if !quoted || bytes[end..at].contains(&b']') {
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

/// Whether that begins with the name of an element of HTML that has no content.
fn begins_void(tag: &[u8]) -> bool {
    let name = &tag[..run(tag, |byte| is_of_name(byte) || byte == b':')];
    let local = name.rsplit(|byte| *byte == b':').next().unwrap_or(name);
    [&b"input"[..], b"meta", b"img"].iter().any(|void| void.eq_ignore_ascii_case(local))
}

const fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// Whether one of the indices behind a name is an operator of a query.
fn is_under_operator(name: &[u8]) -> bool {
    name.windows(2).any(|pair| pair == b"[$")
}

/// Whether the operand of an operator is no text: numbers and words.
fn is_operand(value: &[u8]) -> bool {
    is_word(value) || value.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

fn run(bytes: &[u8], is_part: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is_part(**byte)).count()
}

/// What stands behind the end of a line at `at`, as it is or as a literal writes it.
fn skip_end_of_line(bytes: &[u8], at: usize) -> Option<usize> {
    let skip = |at: usize, byte: u8, letter: u8| {
        let rest = bytes.get(at..)?;
        let escapes = rest.iter().take(8).take_while(|byte| **byte == b'\\').count();
        let is_there = rest.get(escapes) == Some(if escapes > 0 { &letter } else { &byte });
        is_there.then_some(at + escapes + 1)
    };
    skip(skip(at, b'\r', b'r').unwrap_or(at), b'\n', b'n')
}
