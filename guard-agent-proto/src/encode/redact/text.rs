//! The text of a record, without its secrets and cut to its limit.

use alloc::borrow::Cow;
use alloc::string::String;

use super::super::ip::Addresses;
use super::credentials::Credentials;
use super::edits::apply;
use super::names::{Names, Shape, is_like_token};
use super::scan::{Hints, Search, scan};
use super::truncate::{beginning, cut, truncate};
use super::view::View;
use super::{PLACEHOLDER, Place, document};
use crate::AgentConfig;

/// Longest JSON text of metadata that is looked at, in characters; longer ones are redacted whole.
const MAX_JSON_CHARS: usize = 8_192;

/// Most bytes of a text that are searched, as a multiple of what is sent of it: what is redacted makes it shorter.
const SEARCHED: usize = 4;

/// Longest name of a member, in bytes.
pub(super) const MAX_NAME: usize = 266;

/// What the number of a name that is cut takes of that, at most.
pub(super) const MOST_DIGITS: usize = 10;

/// Passes after which text that still changes is given up from there on.
const MAX_PASSES: usize = 4;

/// Redacts, then truncates the string values of records.
#[derive(Clone, Debug)]
pub(super) struct TextRedactor {
    names: Names,
    credentials: Credentials,
    addresses: Addresses,
}

impl TextRedactor {
    pub(super) fn new(config: &AgentConfig, addresses: Addresses) -> Self {
        Self { names: Names::new(config), credentials: Credentials::new(&config.credential_rules), addresses }
    }

    pub(super) const fn names(&self) -> &Names {
        &self.names
    }

    pub(super) const fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// What is sent of a text of that shape, which is searched for secrets yet; `None` if that is the text.
    pub(super) fn shaped(&self, text: &str, shape: Shape) -> Option<String> {
        match shape {
            Shape::Any => None,
            Shape::Token => is_like_token(text.as_bytes()).then(|| PLACEHOLDER.into()),
            Shape::Address => self.addresses.mask(text),
        }
    }

    /// What is sent of a string value in at most `limit` bytes. What comes back once comes back for ever.
    pub(super) fn clean<'a>(&self, text: &'a str, place: Place, limit: usize) -> Cow<'a, str> {
        if place.is_metadata && is_long_json(text) {
            return placeholder(limit);
        }
        // Behind what is searched nothing is sent, and a secret that begins there is one for the cut.
        let searched = beginning(text, limit.saturating_mul(SEARCHED).max(MAX_JSON_CHARS));
        let mut is_cut = searched.len() < text.len();
        if !self.is_suspicious(searched) {
            return if is_cut { cut(searched, limit) } else { truncate(Cow::Borrowed(searched), limit) };
        }
        let mut before = Cow::Borrowed(searched);
        let mut kept = 0;
        for _ in 0..MAX_PASSES {
            // Cutting may break what was whole and a replacement may be longer than what it replaces,
            // so only text that a pass leaves alone is known to be final.
            let after = match self.redact(&before, place, is_cut) {
                Some(redacted) if is_cut => cut(&redacted, limit),
                Some(redacted) => truncate(Cow::Owned(redacted), limit),
                None if is_cut || before.len() > limit => cut(&before, limit),
                None => return before,
            };
            is_cut = false;
            kept = before.bytes().zip(after.bytes()).take_while(|(before, after)| before == after).count();
            if kept == before.len() && kept == after.len() {
                return before;
            }
            before = after;
        }
        let mut settled = String::from(beginning(&before, kept));
        settled.push_str(PLACEHOLDER);
        truncate(Cow::Owned(settled), limit)
    }

    /// Whether the text is sent as it is, and JSON writes it so: most is.
    pub(super) fn is_plain(&self, text: &str, limit: usize) -> bool {
        if text.len() > limit.min(MAX_JSON_CHARS) {
            return false;
        }
        let hints = Hints::of(text);
        hints.are_plain() && !hints.are_suspicious(text, self.credentials)
    }

    /// What is sent of the name of a member.
    pub(super) fn clean_name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let limit = if name.len() > MAX_NAME { MAX_NAME - MOST_DIGITS } else { MAX_NAME };
        self.clean(name, Place::FIELD, limit)
    }

    /// The text without its secrets; `None` when it holds none.
    pub(super) fn redact(&self, text: &str, place: Place, is_cut: bool) -> Option<String> {
        let whole = if is_cut { None } else { document::edits(self, text, place) };
        whole.map_or_else(|| self.redact_any(text, is_cut), |edits| apply(text, edits))
    }

    /// The same of text that is no JSON value, or is not to be read as one.
    pub(super) fn redact_any(&self, text: &str, is_cut: bool) -> Option<String> {
        let plain = apply(text, scan(self.search(is_cut), &View::plain(text)));
        let text = plain.as_deref().unwrap_or(text);
        let decoded = View::decoded(text).and_then(|view| apply(text, scan(self.search(is_cut), &view)));
        decoded.or(plain)
    }

    fn search(&self, is_cut: bool) -> Search<'_> {
        Search { names: &self.names, credentials: self.credentials, addresses: &self.addresses, is_cut }
    }

    pub(super) fn is_suspicious(&self, text: &str) -> bool {
        Hints::of(text).are_suspicious(text, self.credentials)
    }
}

/// The placeholder within the limit.
pub(super) fn placeholder(limit: usize) -> Cow<'static, str> {
    truncate(Cow::Borrowed(PLACEHOLDER), limit)
}

fn is_long_json(text: &str) -> bool {
    if text.len() <= MAX_JSON_CHARS {
        return false;
    }
    let json = document::trim(text);
    json.len() > MAX_JSON_CHARS
        && json.starts_with(['{', '[', '"'])
        && json.chars().nth(MAX_JSON_CHARS).is_some()
}
