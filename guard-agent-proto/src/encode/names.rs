use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::AgentConfig;

/// Names that are sensitive whatever the configuration says.
const ALWAYS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// Members that name another member of the same object, as in `{"name":"cookie","value":"v"}`.
const NAMING: [&str; 3] = ["name", "key", "header"];

/// The members that they name.
const NAMED: [&str; 2] = ["value", "values"];

/// Query parameters whose names say too little to redact a member of that name.
const AMBIGUOUS: [&str; 6] = ["auth", "code", "key", "session", "sig", "signature"];

/// Longest folded name that is compared without allocation, in bytes.
const SHORT: usize = 64;

/// What a name says about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A sensitive header or member: its value is redacted wherever it stands.
    Header,
    /// A sensitive query parameter: its value is redacted behind an `=`, and as a member unless the name
    /// is ambiguous.
    Param,
}

/// The sensitive names, folded: without case, `-`, `_` and surrounding white space.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Ordered by length, then by bytes.
    folded: Vec<(Box<[u8]>, Class)>,
    ends: Ends,
}

/// How folded names start and end: most names are none of these, and are not looked at further.
///
/// Bit `l` of entry `f` is set when a name starts with a byte whose low five bits, which are the same for
/// both cases of a letter, are `f`, and ends with one whose are `l`.
#[derive(Clone, Debug)]
struct Ends([u32; 32]);

impl Names {
    pub(super) fn new(config: &AgentConfig) -> Self {
        let headers = ALWAYS.into_iter().chain(config.sensitive_headers.iter().map(String::as_str));
        let params = config.sensitive_query_params.iter().map(String::as_str);
        let mut names: Vec<(Box<[u8]>, Class)> = Vec::new();
        for (name, class) in
            headers.map(|name| (name, Class::Header)).chain(params.map(|name| (name, Class::Param)))
        {
            let folded = with_folded(name.as_bytes(), |folded| Box::<[u8]>::from(folded));
            // Headers come first: a name in both lists is one.
            if !folded.is_empty() && names.iter().all(|(known, _)| *known != folded) {
                names.push((folded, class));
            }
        }
        names.sort_unstable_by(|(a, _), (b, _)| order(a, b));
        let ends = names.iter().fold(Ends([0; 32]), |ends, (name, _)| ends.with(name));
        Self { folded: names, ends }
    }

    /// Whether the value of an object's member of that name is redacted.
    pub(super) fn is_member(&self, name: &str) -> bool {
        match self.class(name.as_bytes()) {
            Some(Class::Header) => true,
            Some(Class::Param) => !is_one_of(&AMBIGUOUS, last_part(name.as_bytes())),
            None => false,
        }
    }

    /// What `name` says about its value, or the part of it behind the last dot.
    pub(super) fn class(&self, name: &[u8]) -> Option<Class> {
        let last = last_part(name);
        let whole = self.exact(name);
        if last.len() == name.len() { whole } else { whole.or_else(|| self.exact(last)) }
    }

    fn exact(&self, name: &[u8]) -> Option<Class> {
        if !self.ends.may_include(name) {
            return None;
        }
        with_folded(name, |folded| {
            let found = self.folded.binary_search_by(|(known, _)| order(known, folded)).ok()?;
            self.folded.get(found).map(|(_, class)| *class)
        })
    }
}

impl Ends {
    const fn of(names: &[&str]) -> Self {
        let mut ends = Self([0; 32]);
        let mut index = 0;
        while index < names.len() {
            ends = ends.with(names[index].as_bytes());
            index += 1;
        }
        ends
    }

    const fn with(mut self, folded: &[u8]) -> Self {
        if let ([first, ..], [.., last]) = (folded, folded) {
            self.0[(*first & 0x1f) as usize] |= 1 << (*last & 0x1f);
        }
        self
    }

    /// Whether one of the names may be that one, which is not folded.
    fn may_include(&self, name: &[u8]) -> bool {
        let is_kept = |byte: &&u8| !is_dropped(**byte) && **byte != b' ';
        if !name.is_ascii() {
            return true;
        }
        match (name.iter().find(is_kept), name.iter().rev().find(is_kept)) {
            (Some(first), Some(last)) => self.0[usize::from(first & 0x1f)] & 1 << (last & 0x1f) != 0,
            (None, _) | (_, None) => false,
        }
    }
}

fn last_part(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b'.').next().unwrap_or(name)
}

/// Whether a member of that name says what the `value` beside it is.
pub(super) fn is_naming(name: &[u8]) -> bool {
    static ENDS: Ends = Ends::of(&NAMING);
    ENDS.may_include(name) && is_one_of(&NAMING, name)
}

/// Whether a member of that name is named by another one.
pub(super) fn is_named(name: &[u8]) -> bool {
    static ENDS: Ends = Ends::of(&NAMED);
    ENDS.may_include(name) && is_one_of(&NAMED, name)
}

fn is_one_of(names: &[&str], name: &[u8]) -> bool {
    name.len() <= SHORT && with_folded(name, |folded| names.iter().any(|known| known.as_bytes() == folded))
}

fn order(a: &[u8], b: &[u8]) -> core::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn with_folded<R>(name: &[u8], use_it: impl FnOnce(&[u8]) -> R) -> R {
    if name.len() > SHORT || !name.is_ascii() {
        return use_it(&fold_any(name));
    }
    let mut folded = [0; SHORT];
    let mut len = 0;
    for byte in name.trim_ascii() {
        if !is_dropped(*byte) {
            folded[len] = byte.to_ascii_lowercase();
            len += 1;
        }
    }
    use_it(&folded[..len])
}

/// Lower case by Unicode: the Kelvin sign reads as a `k`.
fn fold_any(name: &[u8]) -> Vec<u8> {
    let name = String::from_utf8_lossy(name);
    let trimmed = name.trim_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}');
    trimmed.to_lowercase().bytes().filter(|byte| !is_dropped(*byte)).collect()
}

const fn is_dropped(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | 0..=0x1f)
}
