use alloc::borrow::Cow;
use alloc::string::String;

use crate::model::event_type;

/// Text that is either a fixed word or owned.
pub(crate) type Text = Cow<'static, str>;

/// Borrowed text as a record holds it: words that every service uses cost no allocation.
pub(crate) fn intern(text: &str) -> Text {
    match known(text) {
        Some(word) => Cow::Borrowed(word),
        None => Cow::Owned(String::from(text)),
    }
}

/// A country code as a record holds it: two capital letters cost no allocation.
pub(crate) fn intern_country(code: &str) -> Text {
    if let [a @ b'A'..=b'Z', b @ b'A'..=b'Z'] = code.as_bytes() {
        let at = (usize::from(a - b'A') * 26 + usize::from(b - b'A')) * 2;
        if let Some(pair) = COUNTRIES.get(at..at + 2).and_then(|pair| core::str::from_utf8(pair).ok()) {
            return Cow::Borrowed(pair);
        }
    }
    intern(code)
}

fn known(text: &str) -> Option<&'static str> {
    let bucket = bucket(text.as_bytes());
    let (start, end) = (TABLE.starts[bucket], TABLE.starts[bucket + 1]);
    TABLE.words[usize::from(start)..usize::from(end)].iter().find(|word| **word == text).copied()
}

/// Words beside the event types: methods, actions, handlers and the kinds of decorators and rules.
const OTHER_WORDS: [&str; 48] = [
    "",
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "HEAD",
    "OPTIONS",
    "CONNECT",
    "TRACE",
    "request_blocked",
    "request_allowed",
    "blocked",
    "allowed",
    "banned",
    "unbanned",
    "logged",
    "logged_only",
    "headers_added",
    "rate_limit_exceeded",
    "redirected",
    "middleware",
    "rate_limit",
    "ip_ban",
    "ip_filter",
    "security_headers",
    "cloud",
    "cloud_provider",
    "geo",
    "geo_ip",
    "detection_engine",
    "sus_patterns",
    "behavior",
    "behavioral",
    "redis",
    "dynamic_rules",
    "access_control",
    "authentication",
    "rate_limiting",
    "content_filtering",
    "advanced",
    "country",
    "user_agent",
    "ip_blacklist",
    "ip_whitelist",
    "honeypot",
    "time_window",
    "penetration",
];

const WORDS: usize = event_type::ALL.len() + OTHER_WORDS.len();
const BUCKETS: usize = 256;

/// The words in the order of their buckets. `starts[b]..starts[b + 1]` are those of bucket `b`.
struct Table {
    words: [&'static str; WORDS],
    starts: [u8; BUCKETS + 1],
}

static TABLE: Table = table();

const fn table() -> Table {
    let mut starts = [0; BUCKETS + 1];
    let mut i = 0;
    while i < WORDS {
        starts[bucket(word(i).as_bytes()) + 1] += 1;
        i += 1;
    }
    let mut b = 0;
    while b < BUCKETS {
        starts[b + 1] += starts[b];
        b += 1;
    }
    let mut words = [""; WORDS];
    let mut next = starts;
    i = 0;
    while i < WORDS {
        let b = bucket(word(i).as_bytes());
        words[next[b] as usize] = word(i);
        next[b] += 1;
        i += 1;
    }
    Table { words, starts }
}

const fn word(i: usize) -> &'static str {
    if i < OTHER_WORDS.len() { OTHER_WORDS[i] } else { event_type::ALL[i - OTHER_WORDS.len()] }
}

/// Length and three bytes tell nearly all words apart, so that one comparison decides.
const fn bucket(text: &[u8]) -> usize {
    let len = text.len();
    if len == 0 {
        return 0;
    }
    let mixed = len * 5 + text[0] as usize * 7 + text[len / 2] as usize * 13 + text[len - 1] as usize * 29;
    mixed % BUCKETS
}

/// `AAABAC…ZZ`.
static COUNTRIES: [u8; 26 * 26 * 2] = {
    let mut pairs = [0; 26 * 26 * 2];
    let mut i = 0;
    while i < 26 * 26 {
        pairs[i * 2] = b'A' + (i / 26) as u8;
        pairs[i * 2 + 1] = b'A' + (i % 26) as u8;
        i += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_word_is_found_without_allocation() {
        for i in 0..WORDS {
            assert!(matches!(intern(word(i)), Cow::Borrowed(found) if found == word(i)), "{}", word(i));
        }
    }

    #[test]
    fn one_comparison_decides_for_nearly_all_words() {
        let longest = TABLE.starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= 3, "{longest} words share a bucket");
    }

    #[test]
    fn every_pair_of_capitals_is_a_country() {
        for a in 'A'..='Z' {
            for b in 'A'..='Z' {
                let code = String::from_iter([a, b]);
                assert!(matches!(intern_country(&code), Cow::Borrowed(found) if found == code));
            }
        }
    }

    proptest! {
        #[test]
        fn interned_text_reads_as_before(text in "\\PC{0,40}|[A-Za-z]{2}|[a-z_]{0,20}") {
            prop_assert_eq!(intern(&text), text.as_str());
            prop_assert_eq!(intern_country(&text), text.as_str());
        }
    }
}
