//! The values of records, without their secrets and within a size.

use alloc::format;
use alloc::vec::Vec;

use serde_json::{Number, Value};

use super::super::ip::Addresses;
use super::super::json;
use super::Place;
use super::document::{OPERATORS, Pairs};
use super::names::{Class, Shape, is_directory, is_named, is_naming, is_operator, is_part_of_addresses};
use super::text::{MAX_NAME, MOST_DIGITS, TextRedactor, placeholder};
use crate::AgentConfig;

/// What is written behind the last member that fits into an object, at most: how many were left out, and brackets.
const TO_CLOSE: usize = 48;

/// Writes the values of records without their secrets.
#[derive(Clone, Debug)]
pub(in super::super) struct Redactor(TextRedactor);

impl Redactor {
    pub(in super::super) fn new(config: &AgentConfig, addresses: Addresses) -> Self {
        Self(TextRedactor::new(config, addresses))
    }

    pub(in super::super) fn write_to<'a>(&'a self, out: &'a mut Vec<u8>, limits: Limits) -> Writer<'a> {
        Writer { redactor: &self.0, out, limits }
    }
}

/// How large what is written becomes.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Limits {
    /// Longest string, in bytes.
    pub(in super::super) text: usize,
    /// Most bytes of a record.
    pub(in super::super) record: usize,
    /// Whether what does not fit into the record is left out; else nothing more is written once it is too large.
    pub(in super::super) leave_out: bool,
}

/// Appends values to a record.
pub(in super::super) struct Writer<'a> {
    redactor: &'a TextRedactor,
    pub(in super::super) out: &'a mut Vec<u8>,
    limits: Limits,
}

impl Writer<'_> {
    /// Appends a string of that shape.
    fn shaped(&mut self, text: &str, place: Place, shape: Shape) {
        match self.redactor.shaped(text, shape) {
            Some(sent) => self.string(&sent, place),
            None => self.string(text, place),
        }
    }

    /// Appends a string.
    pub(in super::super) fn string(&mut self, text: &str, place: Place) {
        if place.is_too_deep() && place.is_metadata {
            self.placeholder();
        } else if self.redactor.is_plain(text, self.limits.text) {
            self.plain(text);
        } else {
            json::string(self.out, &self.redactor.clean(text, place, self.limits.text));
        }
    }

    /// Appends an object of these members, which are what may be left out of the record.
    pub(in super::super) fn object<'a, V, I>(&mut self, members: I, place: Place)
    where
        V: Member + 'a,
        I: Iterator<Item = (&'a str, &'a V)> + Clone,
    {
        self.out.push(b'{');
        let end = self.limits.record.saturating_sub(2 * TO_CLOSE);
        self.members(members, place, Shape::Any, false, end);
        self.out.push(b'}');
    }

    /// Appends these members behind others of the record.
    pub(in super::super) fn more<'a, V, I>(&mut self, members: I, place: Place)
    where
        V: Member + 'a,
        I: Iterator<Item = (&'a str, &'a V)> + Clone,
    {
        self.members(members, place, Shape::Any, true, self.limits.record.saturating_sub(TO_CLOSE));
    }

    /// Appends members as long as the record does not grow beyond `end`, and how many are left out.
    fn members<'a, V, I>(&mut self, members: I, place: Place, shape: Shape, mut behind: bool, end: usize)
    where
        V: Member + 'a,
        I: Iterator<Item = (&'a str, &'a V)> + Clone,
    {
        let names = self.redactor.names();
        let (said, is_pair) = self.said_by(members.clone());
        let mut left_out = 0_usize;
        let mut rewritten = 0_usize;
        for (name, value) in members {
            if self.is_over() {
                return;
            }
            let start = self.out.len();
            if behind {
                self.out.push(b',');
            }
            self.name(name, shape, &mut rewritten);
            self.out.push(b':');
            let mut class = names.class_of_member(name);
            if class.is_some()
                && value.text().is_some_and(|text| is_directory(name.as_bytes(), text.as_bytes()))
            {
                class = None;
            }
            if class.is_none() && shape == Shape::Address && is_part_of_addresses(name.as_bytes()) {
                class = Some(Class::Address);
            }
            if said.is_some() && (is_named(name.as_bytes()) || (is_pair && name == "1")) {
                class = class.into_iter().chain(said).min();
            }
            self.value_of(class, value, place, end);
            if self.limits.leave_out && self.out.len() > end {
                self.out.truncate(start);
                left_out += 1;
            } else {
                behind = true;
            }
        }
        if left_out > 0 {
            self.out.extend_from_slice(if behind { b",\"[TRUNCATED]\":" } else { b"\"[TRUNCATED]\":" });
            json::display(self.out, left_out);
        }
    }

    /// The class that a member gives to others that it names, and whether it does so as the first of a pair: `{"0":"cookie","1":"v"}`.
    fn said_by<'a, V, I>(&self, members: I) -> (Option<Class>, bool)
    where
        V: Member + 'a,
        I: Iterator<Item = (&'a str, &'a V)> + Clone,
    {
        let mut said = (None, false);
        for (name, value) in members.clone() {
            let is_first = name == "0";
            if !is_first && !is_naming(name.as_bytes()) {
                continue;
            }
            let class = value.text().and_then(|text| self.redactor.names().class_of_member(text));
            let class = class.filter(|class| class.says_of_others());
            if class.is_some() && (!is_first || members.clone().count() == 2) {
                said = (class.into_iter().chain(said.0).min(), is_first);
            }
        }
        said
    }

    /// Appends the name of a member. Those that are cut or redacted are numbered, since they may be the same then.
    fn name(&mut self, name: &str, shape: Shape, rewritten: &mut usize) {
        let shaped = self.redactor.shaped(name, shape);
        if shaped.is_none() && self.redactor.is_plain(name, MAX_NAME) {
            return self.plain(name);
        }
        let sent = self.redactor.clean_name(shaped.as_deref().unwrap_or(name));
        if *sent == *name {
            return json::string(self.out, &sent);
        }
        *rewritten += 1;
        if *rewritten == 1 || sent.len() + MOST_DIGITS > MAX_NAME {
            return json::string(self.out, &sent);
        }
        json::string(self.out, &format!("#{rewritten} {sent}"));
    }

    /// Appends a value of which a name says that.
    fn value_of(&mut self, class: Option<Class>, value: &impl Member, place: Place, end: usize) {
        match Shape::of(class) {
            Some(shape) => value.write(self, place, half(self.out.len(), end), shape),
            None if class == Some(Class::Header) => self.placeholder(),
            None => value.write_of_person(self, OPERATORS),
        }
    }

    fn array(&mut self, items: &[Value], place: Place, end: usize, shape: Shape) {
        let mut pairs = Pairs::default();
        let mut left_out = 0_usize;
        self.out.push(b'[');
        for item in items {
            if self.is_over() {
                return;
            }
            let start = self.out.len();
            if self.out.last() != Some(&b'[') {
                self.out.push(b',');
            }
            match pairs.next() {
                None => item.write(self, place, half(self.out.len(), end), shape),
                said => self.value_of(said, item, place, end),
            }
            pairs.passed(self.redactor.names(), item.text(), || items.len() == 2);
            if self.limits.leave_out && self.out.len() > end {
                self.out.truncate(start);
                left_out += 1;
            }
        }
        if left_out > 0 {
            let is_first = self.out.last() == Some(&b'[');
            self.out.extend_from_slice(if is_first { b"\"[TRUNCATED] " } else { b",\"[TRUNCATED] " });
            json::display(self.out, left_out);
            self.out.push(b'"');
        }
        self.out.push(b']');
    }

    fn plain(&mut self, text: &str) {
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
    }

    fn number(&mut self, number: &Number) {
        let start = self.out.len();
        json::display(self.out, number);
        if self.redactor.credentials().include_number(&self.out[start..]) {
            self.out.truncate(start);
            self.placeholder();
        }
    }

    fn placeholder(&mut self) {
        json::string(self.out, &placeholder(self.limits.text));
    }

    const fn is_over(&self) -> bool {
        !self.limits.leave_out && self.out.len() > self.limits.record
    }
}

/// Where a value that begins at `start` has to end, so that it leaves the same again to those behind it.
const fn half(start: usize, end: usize) -> usize {
    start + end.saturating_sub(start) / 2
}

/// A value of an object's member.
pub(in super::super) trait Member {
    /// The value if it is a string.
    fn text(&self) -> Option<&str>;

    /// Appends the value, in which strings are of that shape; of an object or array as much as ends before `end`.
    fn write(&self, writer: &mut Writer<'_>, place: Place, end: usize, shape: Shape);

    /// Appends what is sent of a secret value that is no header: words, nothing and the operators of a query are none.
    fn write_of_person(&self, writer: &mut Writer<'_>, _depth: usize) {
        match self.text() {
            Some("") => writer.plain(""),
            Some(_) | None => writer.placeholder(),
        }
    }
}

impl Member for crate::text::Text {
    fn text(&self) -> Option<&str> {
        Some(self)
    }

    fn write(&self, writer: &mut Writer<'_>, place: Place, _end: usize, shape: Shape) {
        writer.shaped(self, place, shape);
    }
}

impl Member for Value {
    fn text(&self) -> Option<&str> {
        self.as_str()
    }

    fn write(&self, writer: &mut Writer<'_>, place: Place, end: usize, shape: Shape) {
        if place.is_too_deep() {
            return writer.placeholder();
        }
        match self {
            Self::Null => writer.out.extend_from_slice(b"null"),
            Self::Bool(true) => writer.out.extend_from_slice(b"true"),
            Self::Bool(false) => writer.out.extend_from_slice(b"false"),
            Self::Number(number) => writer.number(number),
            Self::String(text) => writer.shaped(text, place, shape),
            Self::Array(items) => writer.array(items, place.deeper(), end.saturating_sub(TO_CLOSE), shape),
            Self::Object(members) => {
                let members = members.iter().map(|(name, value)| (name.as_str(), value));
                let shape = shape.of_names();
                writer.out.push(b'{');
                writer.members(members, place.deeper(), shape, false, end.saturating_sub(TO_CLOSE));
                writer.out.push(b'}');
            }
        }
    }

    fn write_of_person(&self, writer: &mut Writer<'_>, depth: usize) {
        match self {
            Self::Null => writer.out.extend_from_slice(b"null"),
            Self::Bool(value) => json::display(writer.out, value),
            Self::String(text) if text.is_empty() => writer.plain(""),
            Self::Object(members)
                if depth > 0
                    && !members.is_empty()
                    && members.keys().all(|name| is_operator(name.as_bytes())) =>
            {
                for (index, (name, operand)) in members.iter().enumerate() {
                    writer.out.push(if index == 0 { b'{' } else { b',' });
                    writer.plain(name);
                    writer.out.push(b':');
                    if let Self::Number(number) = operand {
                        writer.number(number);
                    } else {
                        operand.write_of_person(writer, depth - 1);
                    }
                }
                writer.out.push(b'}');
            }
            Self::Number(_) | Self::String(_) | Self::Array(_) | Self::Object(_) => writer.placeholder(),
        }
    }
}
