//! Text as it is searched: as it stands, or decoded, with the way back to where it stands.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;

use super::super::json;

/// Characters that HTML writes as entities and that separate names from values.
const ENTITIES: [(&[u8], u8); 12] = [
    (b"&quot;", b'"'),
    (b"&#34;", b'"'),
    (b"&#x22;", b'"'),
    (b"&apos;", b'\''),
    (b"&#39;", b'\''),
    (b"&#x27;", b'\''),
    (b"&lt;", b'<'),
    (b"&gt;", b'>'),
    (b"&amp;", b'&'),
    (b"&#61;", b'='),
    (b"&equals;", b'='),
    (b"&colon;", b':'),
];

/// Text in which secrets are looked for.
pub(super) struct View<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Where each byte, and the end, is in the source; empty when it is there as it is here.
    sources: Vec<usize>,
}

impl<'a> View<'a> {
    pub(super) fn plain(text: &'a str) -> Self {
        Self { bytes: Cow::Borrowed(text.as_bytes()), sources: Vec::new() }
    }

    /// With `%XX`, at any level of encoding, `\uXXXX` and entities of HTML decoded; `None` when there are none.
    pub(super) fn decoded(text: &str) -> Option<Self> {
        let source = text.as_bytes();
        // A fold without early exit is vectorised, and most text has none of these.
        let may_be = source.iter().fold(false, |found, byte| found | matches!(byte, b'%' | b'\\' | b'&'));
        let is_encoded = |pair: &[u8]| matches!(pair, [b'%', _] | b"\\u" | [b'&', b'#' | b'a'..=b'z']);
        if !may_be || !source.windows(2).any(is_encoded) {
            return None;
        }
        let mut bytes = Vec::with_capacity(source.len());
        let mut sources = Vec::with_capacity(source.len() + 1);
        let mut at = 0;
        while let Some(byte) = source.get(at) {
            let mut utf8 = [0; 4];
            let rest = &source[at..];
            let encoded = match byte {
                b'%' => percent(rest).map(|(byte, len)| (char::from(byte), len)),
                b'\\' => json::unicode(&rest[1..]).map(|(c, len)| (c, 1 + len)),
                b'&' => entity(rest),
                _ => None,
            };
            let (decoded, len): (&[u8], usize) = match encoded {
                // A byte that is written as `%XX` may be a part of a character.
                Some((c, len)) if *byte == b'%' => {
                    utf8[0] = c as u8;
                    (&utf8[..1], len)
                }
                Some((c, len)) => (c.encode_utf8(&mut utf8).as_bytes(), len),
                None => (core::slice::from_ref(byte), 1),
            };
            bytes.extend_from_slice(decoded);
            sources.extend(decoded.iter().map(|_| at));
            at += len;
        }
        sources.push(source.len());
        (bytes.len() < source.len()).then_some(Self { bytes: Cow::Owned(bytes), sources })
    }

    /// Where that part is in the source.
    pub(super) fn source(&self, part: Range<usize>) -> Range<usize> {
        self.place(part.start)..self.place(part.end)
    }

    /// How many bytes the byte at `at` is written with.
    pub(super) fn width(&self, at: usize) -> usize {
        if self.sources.is_empty() { 1 } else { self.place(at + 1) - self.place(at) }
    }

    fn place(&self, at: usize) -> usize {
        self.sources.get(at).copied().unwrap_or(at)
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

fn entity(source: &[u8]) -> Option<(char, usize)> {
    let found = ENTITIES.iter().find(|(entity, _)| source.starts_with(entity));
    found.map(|(entity, byte)| (char::from(*byte), entity.len()))
}
