use alloc::vec::Vec;

use serde_json::Value;

use super::json;
use super::names::{is_named, is_naming};
use super::text::{MAX_DEPTH, Pairs, TextRedactor};

/// Writes the values of records without their secrets.
#[derive(Clone, Debug)]
pub(super) struct Redactor {
    text: TextRedactor,
}

impl Redactor {
    pub(super) const fn new(text: TextRedactor) -> Self {
        Self { text }
    }

    /// Appends an object of these members, whose values are `depth` deep.
    pub(super) fn object<'a, V, I>(&self, out: &mut Vec<u8>, members: I, depth: usize)
    where
        V: Member + 'a,
        I: Iterator<Item = (&'a str, &'a V)> + Clone,
    {
        out.push(b'{');
        self.members(out, members, depth, false, usize::MAX);
        out.push(b'}');
    }

    /// Appends these members, behind others of the object or in front, without those that would make `out` longer
    /// than `limit`.
    pub(super) fn members<'a, V, I>(
        &self,
        out: &mut Vec<u8>,
        members: I,
        depth: usize,
        mut behind: bool,
        limit: usize,
    ) where
        V: Member + 'a,
        I: Iterator<Item = (&'a str, &'a V)> + Clone,
    {
        let is_secret_name = |value: &V| value.text().is_some_and(|text| self.text.names().is_member(text));
        let mut naming = members.clone().filter(|(name, _)| is_naming(name.as_bytes()));
        let names_a_secret = naming.any(|(_, value)| is_secret_name(value));
        let mut left_out = 0_usize;
        for (name, value) in members {
            let start = out.len();
            if behind {
                out.push(b',');
            }
            json::string(out, name);
            out.push(b':');
            if self.text.names().is_member(name) || (names_a_secret && is_named(name.as_bytes())) {
                self.placeholder(out);
            } else {
                value.write(self, out, depth);
            }
            if out.len() > limit {
                out.truncate(start);
                left_out += 1;
            } else {
                behind = true;
            }
        }
        if left_out > 0 {
            out.extend_from_slice(if behind { b",\"[TRUNCATED]\":" } else { b"\"[TRUNCATED]\":" });
            json::display(out, left_out);
        }
    }

    /// Appends a string.
    pub(super) fn string(&self, out: &mut Vec<u8>, text: &str, depth: usize) {
        if depth > MAX_DEPTH {
            self.placeholder(out);
        } else {
            json::string(out, &self.text.clean(text, depth));
        }
    }

    fn array(&self, out: &mut Vec<u8>, items: &[Value], depth: usize) {
        let mut pairs = Pairs::default();
        out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if pairs.next_is_secret() {
                self.placeholder(out);
            } else {
                item.write(self, out, depth);
            }
            pairs.passed(item.text().is_some_and(|text| self.text.names().is_member(text)));
        }
        out.push(b']');
    }

    fn placeholder(&self, out: &mut Vec<u8>) {
        json::string(out, &self.text.placeholder());
    }
}

/// A value of an object's member.
pub(super) trait Member {
    /// The value if it is a string.
    fn text(&self) -> Option<&str>;

    /// Appends the value, which is `depth` deep.
    fn write(&self, redactor: &Redactor, out: &mut Vec<u8>, depth: usize);
}

impl Member for crate::text::Text {
    fn text(&self) -> Option<&str> {
        Some(self)
    }

    fn write(&self, redactor: &Redactor, out: &mut Vec<u8>, depth: usize) {
        redactor.string(out, self, depth);
    }
}

impl Member for Value {
    fn text(&self) -> Option<&str> {
        self.as_str()
    }

    fn write(&self, redactor: &Redactor, out: &mut Vec<u8>, depth: usize) {
        if depth > MAX_DEPTH {
            return redactor.placeholder(out);
        }
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(number) => json::display(out, number),
            Self::String(text) => redactor.string(out, text, depth),
            Self::Array(items) => redactor.array(out, items, depth + 1),
            Self::Object(members) => {
                let members = members.iter().map(|(name, value)| (name.as_str(), value));
                redactor.object(out, members, depth + 1);
            }
        }
    }
}
