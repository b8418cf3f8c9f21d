//! Secrets in text that is one JSON value as a whole: where each value ends is known.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::super::json;
use super::Place;
use super::edits::Edit;
use super::names::{
    Class, Names, Shape, is_directory, is_named, is_naming, is_operator, is_part_of_addresses,
    is_spelled_as_header, is_word,
};
use super::text::TextRedactor;

/// Operators of a query that are seen in each other, which is how deep an object is walked twice.
pub(super) const OPERATORS: usize = 3;

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
    let end = document.value(start, place.deeper(), Shape::Any)?;
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
    fn value(&mut self, at: usize, place: Place, shape: Shape) -> Option<usize> {
        if place.is_too_deep() {
            return self.deep(at, place);
        }
        match self.bytes.get(at)? {
            b'{' => self.object(at, place, shape.of_names()),
            b'[' => self.array(at, place, shape),
            b'"' => {
                let end = json::skip_literal(self.bytes, at)?;
                self.string(at + 1..end - 1, place, shape)?;
                Some(end)
            }
            _ => self.scalar(at),
        }
    }

    /// Walks the value at `at`, of which a name says that.
    fn value_of(&mut self, class: Option<Class>, at: usize, place: Place) -> Option<usize> {
        match Shape::of(class) {
            Some(shape) => self.value(at, place, shape),
            None if class == Some(Class::Header) => self.secret(at),
            None => self.of_person(at, OPERATORS),
        }
    }

    /// Redacts the value at `at`, which is no header, except what is no secret: words, nothing, and the operators of a
    /// query, which are an attack: of those the strings are redacted.
    fn of_person(&mut self, at: usize, depth: usize) -> Option<usize> {
        let is_object = self.bytes.get(at)? == &b'{' && depth > 0;
        if is_object && let Some(end) = self.operators(at, depth) {
            return Some(end);
        }
        let end = json::skip_value(self.bytes, at)?;
        if !(is_word(&self.bytes[at..end]) || self.bytes[at..end] == *b"\"\"") {
            self.edits.push(Edit::new(at..end, QUOTED));
        }
        Some(end)
    }

    /// Redacts the strings in the object at `at`; `None` if it holds anything but operators.
    fn operators(&mut self, at: usize, depth: usize) -> Option<usize> {
        let mark = self.edits.len();
        let end = self.operands(at, depth);
        if end.is_none() {
            self.edits.truncate(mark);
        }
        end
    }

    fn operands(&mut self, at: usize, depth: usize) -> Option<usize> {
        let mut at = json::skip_space(self.bytes, at + 1);
        loop {
            let end = Some(at).filter(|at| self.bytes.get(*at) == Some(&b'"'));
            let end = json::skip_literal(self.bytes, end?)?;
            let colon = json::skip_space(self.bytes, end);
            if !is_operator(self.bytes.get(at + 1..end - 1)?) || self.bytes.get(colon)? != &b':' {
                return None;
            }
            let value = json::skip_space(self.bytes, colon + 1);
            let end = match self.bytes.get(value)? {
                b'"' | b'{' | b'[' => self.of_person(value, depth - 1)?,
                _ => self.scalar(value)?,
            };
            at = json::skip_space(self.bytes, end);
            match self.bytes.get(at)? {
                b',' => at = json::skip_space(self.bytes, at + 1),
                b'}' => return Some(at + 1),
                _ => return None,
            }
        }
    }

    /// Redacts the number at `at` if it is a credential.
    fn scalar(&mut self, at: usize) -> Option<usize> {
        let end = json::skip_scalar(self.bytes, at)?;
        if self.redactor.credentials().include_number(&self.bytes[at..end]) {
            self.edits.push(Edit::new(at..end, QUOTED));
        }
        Some(end)
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
    fn string(&mut self, inside: Range<usize>, place: Place, shape: Shape) -> Option<()> {
        let literal = self.text.get(inside.clone())?;
        if shape == Shape::Any && !self.redactor.is_suspicious(literal) {
            return Some(());
        }
        let text = json::unescape(literal);
        let shaped = self.redactor.shaped(&text, shape);
        let sent = self.redactor.redact(shaped.as_deref().unwrap_or(&text), place, false);
        if let Some(sent) = sent.or(shaped) {
            self.replace(inside, &sent);
        }
        Some(())
    }

    fn replace(&mut self, inside: Range<usize>, text: &str) {
        let mut escaped = Vec::with_capacity(text.len());
        json::escape(&mut escaped, text);
        self.edits.push(Edit::new(inside, String::from_utf8_lossy(&escaped).into_owned()));
    }

    fn object(&mut self, at: usize, place: Place, shape: Shape) -> Option<usize> {
        let mark = self.edits.len();
        let mut named = Vec::new();
        let mut said: Option<Class> = None;
        let mut pair = IndexedPair::default();
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
            let mut class = self.redactor.names().class_of_member(&name);
            if class.is_some() && is_directory(name.as_bytes(), self.bytes.get(at + 1..).unwrap_or_default())
            {
                class = None;
            }
            if class.is_none() && shape == Shape::Address && is_part_of_addresses(name.as_bytes()) {
                class = Some(Class::Address);
            }
            if !class.is_some_and(Class::says_of_others) {
                self.string(literal, place, shape)?;
            }
            let end = self.value_of(class, at, place.deeper())?;
            if is_naming(name.as_bytes()) {
                said = said.into_iter().chain(self.said_by(at..end)).min();
            }
            if is_named(name.as_bytes()) {
                named.push(at..end);
            }
            pair.passed(&name, at..end);
            at = json::skip_space(self.bytes, end);
            match self.bytes.get(at)? {
                b',' => at = json::skip_space(self.bytes, at + 1),
                b'}' => break,
                _ => return None,
            }
        }
        if let Some((first, second)) = pair.both() {
            said = self.said_by(first);
            named.push(second);
        }
        if said.is_some() {
            self.edit_named(said, mark, named, place.deeper())?;
        }
        Some(at + 1)
    }

    /// Edits these values, of which a name beside them says that, in the place of what was edited in them since `mark`.
    fn edit_named(
        &mut self,
        said: Option<Class>,
        mark: usize,
        mut named: Vec<Range<usize>>,
        place: Place,
    ) -> Option<()> {
        if !said.is_some_and(Class::is_secret) {
            // Objects in it have names of their own, and are not walked twice at each depth.
            let bytes = self.bytes;
            named.retain(|value| !bytes[value.clone()].contains(&b'{'));
        }
        let edits = self.edits.split_off(mark);
        let mut named = named.into_iter().peekable();
        let mut edited = 0;
        for edit in edits {
            while let Some(value) = named.next_if(|value| value.start <= edit.range.start) {
                edited = self.value_of(said, value.start, place)?;
            }
            if edit.range.start >= edited {
                self.edits.push(edit);
            }
        }
        for value in named {
            self.value_of(said, value.start, place)?;
        }
        Some(())
    }

    fn array(&mut self, at: usize, place: Place, shape: Shape) -> Option<usize> {
        let mut pairs = Pairs::default();
        let mut at = json::skip_space(self.bytes, at + 1);
        if self.bytes.get(at)? == &b']' {
            return Some(at + 1);
        }
        loop {
            let end = match pairs.next() {
                None => self.value(at, place.deeper(), shape)?,
                said => self.value_of(said, at, place.deeper())?,
            };
            let name = self.name_in(at..end);
            pairs.passed(self.redactor.names(), name.as_deref(), || self.is_last_but_one(end));
            at = json::skip_space(self.bytes, end);
            match self.bytes.get(at)? {
                b',' => at = json::skip_space(self.bytes, at + 1),
                b']' => return Some(at + 1),
                _ => return None,
            }
        }
    }

    /// The class that a value gives to others as their name, if it is a string.
    fn said_by(&self, value: Range<usize>) -> Option<Class> {
        let class = self.redactor.names().class_of_member(&self.name_in(value)?);
        class.filter(|class| class.says_of_others())
    }

    /// The string that a value is.
    fn name_in(&self, value: Range<usize>) -> Option<Cow<'_, str>> {
        let inside = self.text.get(value)?.strip_prefix('"')?.strip_suffix('"')?;
        Some(json::unescape(inside))
    }

    /// Whether one element follows the one that ends at `end`.
    fn is_last_but_one(&self, end: usize) -> bool {
        let comma = json::skip_space(self.bytes, end);
        let next = json::skip_space(self.bytes, comma + 1);
        let behind = json::skip_value(self.bytes, next).map(|end| json::skip_space(self.bytes, end));
        behind.is_some_and(|behind| self.bytes.get(behind) == Some(&b']'))
    }
}

/// The members of an object that is a pair by its names: `{"0":"cookie","1":"v"}`.
#[derive(Debug, Default)]
struct IndexedPair {
    passed: usize,
    values: [Option<Range<usize>>; 2],
}

impl IndexedPair {
    fn passed(&mut self, name: &str, value: Range<usize>) {
        match name {
            "0" => self.values[0] = Some(value),
            "1" => self.values[1] = Some(value),
            _ => {}
        }
        self.passed += 1;
    }

    fn both(self) -> Option<(Range<usize>, Range<usize>)> {
        let [first, second] = self.values;
        first.zip(second).filter(|_| self.passed == 2)
    }
}

/// Which elements of an array are values of sensitive names.
///
/// A list of names is no list of secrets (`["username","password","email"]`), so a name says something of what follows
/// where both are all of the array, or it is an option of a command (`["--password","v"]`). Headers, which are written as
/// flat lists too, say it of what follows anywhere, and where they come first of all that follows.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    passed: usize,
    named: Option<Class>,
    all: Option<Class>,
}

impl Pairs {
    /// The class that the names in front give to the next element.
    pub(super) fn next(&self) -> Option<Class> {
        self.named.or(self.all)
    }

    /// Passes an element, which may be a name, and the last but one.
    pub(super) fn passed(
        &mut self,
        names: &Names,
        name: Option<&str>,
        is_last_but_one: impl FnOnce() -> bool,
    ) {
        let is_first = self.passed == 0;
        let class = name.and_then(|name| names.class_of_member(name)).filter(|class| class.says_of_others());
        let is_header = match class {
            Some(Class::Header | Class::Address) => true,
            Some(Class::Passphrase | Class::Token) => {
                self.passed.is_multiple_of(2) && name.is_some_and(is_spelled_as_header)
            }
            Some(Class::Ambiguous | Class::Tokens) | None => false,
        };
        let is_option = name.is_some_and(|name| name.starts_with("--"));
        let names_next = class.is_some() && (is_header || is_option || (is_first && is_last_but_one()));
        self.named = if names_next { class } else { None };
        if is_first && matches!(class, Some(Class::Header | Class::Address)) {
            self.all = class;
        }
        self.passed += 1;
    }
}
