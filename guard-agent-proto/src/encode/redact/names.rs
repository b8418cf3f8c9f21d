//! Which names say that what stands behind them is secret.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::PLACEHOLDER;
use super::truncate::SUFFIX;
use crate::{AgentConfig, IpPrivacy};

/// Headers that are sensitive whatever the configuration says.
const ALWAYS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// Headers and members whose values are addresses of clients.
const ADDRESSES: [&str; 25] = [
    "for",
    "by",
    "x-forwarded-for",
    "x-original-forwarded-for",
    "forwarded",
    "forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "x-envoy-external-address",
    "client-ip",
    "client",
    "remote-addr",
    "remote-address",
    "remote-ip",
    "ip",
    "ip-addr",
    "ip-address",
    "ipv4",
    "ipv6",
    "peer",
];

/// Members that name another member of the same object, as in `{"name":"cookie","value":"v"}`.
const NAMING: [&str; 4] = ["name", "key", "header", "field"];

/// The members that they name.
const NAMED: [&str; 3] = ["value", "values", "content"];

/// Members of what such a name stands for that hold the addresses: `{"ip":{"v4":"192.0.2.1"}}`.
const PARTS_OF_ADDRESSES: [&str; 6] = ["v4", "v6", "value", "values", "addr", "address"];

/// Names that say too little by themselves: they count behind `=` alone, and only as they are (see
/// [`counts_with_prefix`]).
const AMBIGUOUS: [&str; 7] = ["auth", "code", "key", "pass", "session", "sig", "signature"];

/// Words that stand in front of a name in a label: `Enter your new password`.
const LABELS: [&str; 30] = [
    "a", "account", "again", "choose", "confirm", "create", "current", "enter", "input", "login", "my",
    "new", "old", "please", "provide", "re", "reenter", "repeat", "retype", "select", "set", "specify",
    "submit", "the", "type", "user", "verify", "with", "write", "your",
];

/// Words behind which a name is about a secret, and not its place: `password_attempts`.
const DESCRIPTIONS: [&str; 40] = [
    "banner",
    "consent",
    "endpoint",
    "hint",
    "label",
    "placeholder",
    "status",
    "age",
    "at",
    "date",
    "expiration",
    "keyid",
    "time",
    "ttl",
    "attempt",
    "attempts",
    "changed",
    "count",
    "enabled",
    "error",
    "errors",
    "expired",
    "expires",
    "expiry",
    "failures",
    "field",
    "invalid",
    "length",
    "limit",
    "missing",
    "name",
    "policy",
    "required",
    "reset",
    "rules",
    "strength",
    "type",
    "uri",
    "url",
    "valid",
];

/// Words with which a name asks something about a secret: `has_password`.
const QUESTIONS: [&str; 6] = ["has", "is", "needs", "requires", "should", "was"];

/// What names a secret once more at the end of a word that runs together: `mysecretkey`.
const TAILS: [&str; 5] = ["key", "keys", "value", "values", "string"];

/// Words of programs that are no secret, whatever they are called.
const WORDS: [&str; 6] = ["true", "false", "null", "None", "nil", "undefined"];

/// From this many bytes on a sensitive name also counts at the end of a word: `userpassword`.
const ENDS_WORDS: usize = 5;

/// From this many bytes on it also counts at the beginning of one: `passwordconfirmation`.
const BEGINS_WORDS: usize = 8;

/// Longest name of these two kinds, in bytes.
const SHORT: usize = 7;

/// Longest folded name that is compared, in bytes; of a longer one the end counts.
const LONGEST: usize = 64;

/// What a name says about its value, and so where that ends: see [`super::scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A header with credentials.
    Header,
    /// A secret that people choose, which may hold blanks and quotes.
    Passphrase,
    /// A secret that machines make, which holds no blank.
    Token,
    /// Secret behind `=` alone: a query parameter that says little.
    Ambiguous,
    /// Secrets that machines make, or a number of them: `tokens`. Those that look like one are secret.
    Tokens,
    /// Addresses of clients.
    Address,
}

/// Kind of the strings in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Shape {
    Any,
    /// Tokens, or something else: see [`is_like_token`].
    Token,
    /// Addresses, in the names of members too.
    Address,
}

impl Shape {
    /// What strings are of which a name says that; `None` where the whole value is secret.
    pub(super) const fn of(class: Option<Class>) -> Option<Self> {
        match class {
            Some(Class::Header | Class::Passphrase | Class::Token) => None,
            Some(Class::Tokens) => Some(Self::Token),
            Some(Class::Address) => Some(Self::Address),
            Some(Class::Ambiguous) | None => Some(Self::Any),
        }
    }

    /// What the names of members are.
    pub(super) const fn of_names(self) -> Self {
        match self {
            Self::Any | Self::Token => Self::Any,
            Self::Address => Self::Address,
        }
    }
}

/// The sensitive names, folded: without case, `-`, `_` and surrounding white space.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Ordered by their last byte, so that those that may end a name are found at once.
    folded: Vec<(Box<[u8]>, Class)>,
    /// Of each, which letters it holds: most other names lack one.
    letters: Vec<u32>,
    /// Bit `l` is set when a name ends with a byte whose low five bits, which are the same for both cases of a
    /// letter, are `l`.
    ends: u32,
    /// The same for the beginnings of those that count there.
    begins: u32,
}

impl Class {
    /// Whether all that stands behind such a name is secret.
    pub(super) const fn is_secret(self) -> bool {
        match self {
            Self::Header | Self::Passphrase | Self::Token => true,
            Self::Ambiguous | Self::Tokens | Self::Address => false,
        }
    }

    /// Whether such a name says something about what another member of its object, or another element of its list, holds.
    pub(super) const fn says_of_others(self) -> bool {
        self.is_secret() || matches!(self, Self::Address)
    }
}

impl Names {
    pub(super) fn new(config: &AgentConfig) -> Self {
        let mut names = Self { folded: Vec::new(), letters: Vec::new(), ends: 0, begins: 0 };
        for header in ALWAYS.into_iter().chain(config.sensitive_headers.iter().map(String::as_str)) {
            names.add(header, |_| Class::Header);
        }
        for param in &config.sensitive_query_params {
            names.add(param, class_of_param);
        }
        if config.ip_privacy != IpPrivacy::Full {
            for name in ADDRESSES {
                names.add(name, |_| Class::Address);
            }
        }
        names.folded.sort_unstable_by_key(|(name, _)| name.last().copied());
        names
    }

    /// A name that is known already stays what it is.
    fn add(&mut self, name: &str, class: impl FnOnce(&[u8]) -> Class) {
        let folded = Folded::of(name.as_bytes());
        let name = folded.bytes();
        let (Some(first), Some(last)) = (name.first(), name.last()) else { return };
        if self.folded.iter().any(|(known, _)| **known == *name) {
            return;
        }
        self.letters.push(letters(name));
        self.ends |= bit(*last);
        if name.len() >= BEGINS_WORDS {
            self.begins |= bit(*first);
        }
        self.folded.push((Box::from(name), class(name)));
    }

    /// What the name of a member says about its value. Text of more than two words is no name unless a form writes it so:
    /// behind the words of labels in front at most two are left (`Enter your password:`), which is not so in prose (`user
    /// forgot the password`). Of two names with `/` between the last one counts (`user/password`), but a path is none
    /// (`/reset/password`). A name that was cut, or redacted itself, says nothing any more: else it could say another
    /// thing than before.
    pub(super) fn class_of_member(&self, name: &str) -> Option<Class> {
        if self.lacks_letters(name.as_bytes()) {
            return None;
        }
        if name.is_ascii() && name.bytes().all(is_of_name) {
            return self.class(name.as_bytes());
        }
        let is_around =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{feff}' | '?' | '*' | '!');
        let name = name.trim_matches(is_around);
        let name = match name.split_once('/') {
            Some((group, last)) if !group.is_empty() && group.bytes().chain(last.bytes()).all(is_of_name) => {
                last
            }
            Some(_) => return None,
            None => name,
        };
        let mut blanks = 0;
        let is_name = name.bytes().all(|byte| {
            blanks += u8::from(byte == b' ');
            blanks < 6
                && (is_of_name(byte) || matches!(byte, b' ' | b'[' | b']' | b'$' | b'@' | b':' | ..=0x1f))
        });
        let is_rewritten = name.contains(']') && (name.contains(PLACEHOLDER) || name.contains(SUFFIX));
        if !is_name || is_rewritten {
            return None;
        }
        // Two words may be the name: `access token`.
        let is_label = |word: &&str| LABELS.iter().any(|label| label.eq_ignore_ascii_case(word));
        let words = || name.split([' ', '-']).filter(|word| !word.is_empty());
        if blanks > 1 && words().skip_while(is_label).count() > 2 {
            return None;
        }
        self.class(name.as_bytes())
    }

    /// What `name` says about its value.
    pub(super) fn class(&self, name: &[u8]) -> Option<Class> {
        if self.lacks_letters(name) {
            return None;
        }
        let folded = Folded::of(name);
        let name = folded.bytes();
        let mut found = None;
        let mut end = name.len();
        while end > 0 {
            // A word in front may say more: `secret.key`.
            if found.is_none_or(|(class, _)| class == Class::Ambiguous) {
                found = self
                    .ending(end, &folded)
                    .filter(|(class, _)| found.is_none() || class.is_secret())
                    .or(found);
            }
            end = folded.word_before(end);
        }
        let mut end = if found.is_none() { name.len() } else { 0 };
        while end > 0 {
            found = found.or_else(|| self.ending_with_tail(end, &folded));
            end = folded.word_before(end);
        }
        if found.is_none() && name.first().is_some_and(|first| self.begins & bit(*first) != 0) {
            let begins = |(known, _): &&(Box<[u8]>, Class)| {
                known.len() >= BEGINS_WORDS && name.len() > known.len() && name.starts_with(known)
            };
            found = self.folded.iter().find(begins).map(|(_, class)| (*class, false));
        }
        let (class, exact) = found?;
        let describes = || DESCRIPTIONS.iter().any(|word| folded.ends_with_word(word.as_bytes()));
        let asks = || QUESTIONS.iter().any(|word| folded.begins_with_word(word.as_bytes()));
        (exact || !(describes() || asks())).then_some(class)
    }

    /// Whether each sensitive name holds a letter that this one does not.
    fn lacks_letters(&self, name: &[u8]) -> bool {
        let found = letters(name);
        name.is_ascii() && !self.letters.iter().fold(false, |any, letters| any | (letters & !found == 0))
    }

    /// What the sensitive name says with which a word ends at `end`, and whether that is all of the name.
    fn ending(&self, end: usize, folded: &Folded) -> Option<(Class, bool)> {
        let word = &folded.bytes()[..end];
        let last = *word.last()?;
        if self.ends & bit(last) == 0 && last != b's' {
            return None;
        }
        let from = self.folded.partition_point(|(known, _)| known.last().copied() < Some(last));
        let candidates = self.folded[from..].iter().take_while(|(known, _)| known.last() == Some(&last));
        let found = candidates.filter_map(|(known, class)| {
            let begin = word.strip_suffix(&**known)?.len();
            // What stands behind a dot is a name of its own.
            let exact = end == folded.len && (begin == 0 || folded.follows_dot(begin));
            let counts = match class {
                Class::Ambiguous => {
                    exact || (begin > 0 && folded.begins_word(begin) && counts_with_prefix(known))
                }
                Class::Address | Class::Tokens => exact || folded.begins_word(begin),
                Class::Header | Class::Passphrase | Class::Token => {
                    folded.begins_word(begin) || known.len() >= ENDS_WORDS
                }
            };
            let class = if *class == Class::Ambiguous && !exact && **known == *b"pass" {
                Class::Passphrase
            } else {
                *class
            };
            counts.then_some((class, exact))
        });
        let found = found.min_by_key(|(class, exact)| (*class, !exact));
        found.or_else(|| if last == b's' { self.plural(end, folded) } else { None })
    }

    /// The same where a tail stands behind the sensitive name in that word.
    fn ending_with_tail(&self, end: usize, folded: &Folded) -> Option<(Class, bool)> {
        let word = &folded.bytes()[..end];
        let tail = TAILS.iter().find(|tail| word.ends_with(tail.as_bytes()))?;
        let end = end - tail.len();
        let found = if end > 0 { self.ending(end, folded) } else { None };
        found.filter(|(class, _)| class.is_secret())
    }

    /// The same for several of them: `cookies`, `ip_addresses`. Tokens are counted, too, where no secrets are meant.
    fn plural(&self, end: usize, folded: &Folded) -> Option<(Class, bool)> {
        let one = |end| if end > 0 { self.ending(end, folded) } else { None };
        let (class, _) = one(end - 1).or_else(|| {
            let of_addresses = folded.bytes()[..end].ends_with(b"addresses");
            if of_addresses { one(end - 2) } else { None }
        })?;
        match class {
            Class::Header | Class::Passphrase | Class::Address => Some((class, false)),
            Class::Token => Some((Class::Tokens, false)),
            Class::Ambiguous | Class::Tokens => None,
        }
    }
}

pub(super) const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') || !byte.is_ascii()
}

/// Whether that ambiguous name says enough with words in front: `DB_PASS`, `X-Amz-Signature`.
fn counts_with_prefix(folded: &[u8]) -> bool {
    matches!(folded, b"pass" | b"signature")
}

fn class_of_param(folded: &[u8]) -> Class {
    const OF_MACHINES: [&[u8]; 5] = [b"token", b"jwt", b"apikey", b"sessionid", b"accesskey"];
    if AMBIGUOUS.iter().any(|known| known.as_bytes() == folded) {
        Class::Ambiguous
    } else if OF_MACHINES.iter().any(|known| folded.ends_with(known)) {
        Class::Token
    } else {
        Class::Passphrase
    }
}

/// Whether a member of that name says what the `value` beside it is.
pub(super) fn is_naming(name: &[u8]) -> bool {
    is_one_of(&NAMING, name)
}

/// Whether a member of that name is named by another one.
pub(super) fn is_named(name: &[u8]) -> bool {
    is_one_of(&NAMED, name)
}

/// Whether a member of that name holds addresses in what another name calls addresses.
pub(super) fn is_part_of_addresses(name: &[u8]) -> bool {
    is_one_of(&PARTS_OF_ADDRESSES, name)
}

/// Whether proxies append to a header of that name, so that a client may write what stands in front.
pub(super) fn is_appended_to(name: &[u8]) -> bool {
    const WORD: &[u8] = b"forwarded";
    name.windows(WORD.len()).any(|window| window.eq_ignore_ascii_case(WORD))
}

/// Whether a value that is not quoted is a word of programs: `null` is the secret of nobody.
pub(super) fn is_word(value: &[u8]) -> bool {
    WORDS.iter().any(|word| word.as_bytes() == value)
}

/// Whether that is a directory, under a name that means one as well as a password.
pub(super) fn is_directory(name: &[u8], value: &[u8]) -> bool {
    value.first() == Some(&b'/') && name.eq_ignore_ascii_case(b"pwd")
}

/// Whether the name of a member is an operator of a query: `{"password":{"$ne":null}}`.
pub(super) fn is_operator(name: &[u8]) -> bool {
    matches!(name, [b'$', rest @ ..] if !rest.is_empty() && rest.len() <= LONGEST && rest.iter().all(u8::is_ascii_alphabetic))
}

/// Whether a name is written as those of headers are: `X-Auth-Token`, `Private-Token`.
pub(super) fn is_spelled_as_header(name: &str) -> bool {
    matches!(name.as_bytes(), [b'x', b'-', ..] | [b'A'..=b'Z', ..]) && name.contains('-')
}

/// Whether a value under a name of [`Class::Tokens`] is one, and no number, unit or word.
pub(super) fn is_like_token(value: &[u8]) -> bool {
    let any = |is: fn(&u8) -> bool| value.iter().any(is);
    let is_mixed = any(u8::is_ascii_digit) && any(u8::is_ascii_alphabetic);
    let is_one = !any(u8::is_ascii_whitespace) && *value != *PLACEHOLDER.as_bytes();
    is_one && ((value.len() >= 6 && is_mixed) || value.len() >= 20)
}

fn is_one_of(names: &[&str], name: &[u8]) -> bool {
    let name = name.trim_ascii();
    let begins = |known: &&str| name.first().is_some_and(|first| first | 0x20 == known.as_bytes()[0]);
    name.len() <= 2 * SHORT && names.iter().any(begins) && {
        let folded = Folded::of(name);
        names.iter().any(|known| known.as_bytes() == folded.bytes())
    }
}

fn letters(name: &[u8]) -> u32 {
    name.iter().fold(0, |letters, byte| letters | bit(*byte))
}

const fn bit(byte: u8) -> u32 {
    1 << (byte & 0x1f)
}

/// The end of a name, folded, and where its words begin.
struct Folded {
    bytes: [u8; LONGEST],
    len: usize,
    /// Bit `i` is set when a word begins at byte `i`, and the same for what stands behind a dot.
    words: u64,
    dots: u64,
}

impl Folded {
    fn of(name: &[u8]) -> Self {
        let mut folded = Self { bytes: [0; LONGEST], len: 0, words: 1, dots: 1 };
        if name.is_ascii() {
            folded.push_all(name);
        } else {
            // Lower case by Unicode: the Kelvin sign reads as a `k`.
            let name = String::from_utf8_lossy(name);
            let name = name.trim_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}');
            folded.push_all(name.to_lowercase().as_bytes());
        }
        folded
    }

    fn push_all(&mut self, name: &[u8]) {
        let name = name.trim_ascii();
        let name = &name[name.len().saturating_sub(LONGEST)..];
        let mut before = 0;
        for &byte in name {
            let is_joint = matches!(byte, b'-' | b'_' | b'.' | b' ' | b'[' | b']' | b'$' | b'@' | b':');
            if byte == b'.' {
                self.dots |= 1_u64.checked_shl(self.len as u32).unwrap_or(0);
            }
            let begins = matches!(before, b'-' | b'_' | b'.' | b' ' | b'[' | b']' | b'$' | b'@' | b':')
                || (byte.is_ascii_uppercase() && !before.is_ascii_uppercase())
                || byte.is_ascii_digit() != before.is_ascii_digit();
            if begins {
                self.words |= 1_u64.checked_shl(self.len as u32).unwrap_or(0);
            }
            before = byte;
            if !is_joint && byte > 0x1f && self.len < LONGEST {
                self.bytes[self.len] = byte.to_ascii_lowercase();
                self.len += 1;
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn begins_word(&self, at: usize) -> bool {
        self.words >> at & 1 == 1
    }

    fn follows_dot(&self, at: usize) -> bool {
        self.dots >> at & 1 == 1
    }

    /// Where the word begins that ends at `end`, which is not 0.
    fn word_before(&self, end: usize) -> usize {
        let before = self.words & (u64::MAX >> (LONGEST - end));
        before.checked_ilog2().map_or(0, |at| at as usize)
    }

    fn begins_with_word(&self, word: &[u8]) -> bool {
        self.bytes().starts_with(word) && self.begins_word(word.len())
    }

    fn ends_with_word(&self, word: &[u8]) -> bool {
        self.bytes().strip_suffix(word).is_some_and(|rest| self.begins_word(rest.len()))
    }
}
