//! Text as it is searched: as it stands, or decoded, with the way back to where it stands.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;

use super::super::json;

/// Entities of HTML with names, for what separates names from values.
const ENTITIES: [(&[u8], u8); 9] = [
    (b"quot;", b'"'),
    (b"apos;", b'\''),
    (b"lt;", b'<'),
    (b"gt;", b'>'),
    (b"amp;", b'&'),
    (b"nbsp;", b' '),
    (b"equals;", b'='),
    (b"colon;", b':'),
    (b"semi;", b';'),
];

/// Text in which secrets are looked for.
pub(super) struct View<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Where each byte, and the end, is in the source; empty when it is there as it is here.
    sources: Vec<usize>,
    /// Whether some of it is percent-encoded.
    is_form: bool,
}

impl<'a> View<'a> {
    pub(super) fn plain(text: &'a str) -> Self {
        Self { bytes: Cow::Borrowed(text.as_bytes()), sources: Vec::new(), is_form: false }
    }

    /// With `%XX` and entities of HTML, at any level of encoding, `\uXXXX`, `\xXX` and full-width letters decoded; `None`
    /// when there are none.
    pub(super) fn decoded(text: &str) -> Option<Self> {
        let source = text.as_bytes();
        // A fold without early exit is vectorised, and most text has none of these.
        let may_be =
            source.iter().fold(false, |found, byte| found | matches!(byte, b'%' | b'\\' | b'&' | 0xef));
        let is_encoded = |pair: &[u8]| match pair {
            [b'%', _] => true,
            [b'\\', next] => matches!(next, b'u' | b'x'),
            [b'&', next] => matches!(next, b'#' | b'a'..=b'z'),
            [0xef, next] => matches!(next, 0xbc | 0xbd),
            _ => false,
        };
        if !may_be || !source.windows(2).any(is_encoded) {
            return None;
        }
        let mut bytes = Vec::with_capacity(source.len());
        let mut sources = Vec::with_capacity(source.len() + 1);
        let (mut at, mut is_form) = (0, false);
        while let Some(byte) = source.get(at) {
            let mut utf8 = [0; 4];
            let rest = &source[at..];
            let encoded = match byte {
                b'%' => percent(rest).map(|(byte, len)| (char::from(byte), len)),
                b'\\' if rest.get(1) == Some(&b'x') => hex(rest, 2).map(|byte| (char::from(byte), 4)),
                b'\\' => json::unicode(&rest[1..]).map(|(c, len)| (c, 1 + len)),
                0xef => full_width(rest),
                b'&' => entity(rest),
                _ => None,
            };
            let (decoded, len): (&[u8], usize) = match encoded {
                // A byte that is written as `%XX` may be a part of a character.
                Some((c, len)) if *byte == b'%' => {
                    is_form = true;
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
        (bytes.len() < source.len()).then_some(Self { bytes: Cow::Owned(bytes), sources, is_form })
    }

    /// Where that part is in the source.
    pub(super) fn source(&self, part: Range<usize>) -> Range<usize> {
        self.place(part.start)..self.place(part.end)
    }

    /// How many bytes the byte at `at` is written with.
    pub(super) fn width(&self, at: usize) -> usize {
        if self.sources.is_empty() { 1 } else { self.place(at + 1) - self.place(at) }
    }

    /// Where the blanks that begin at `at` end: those of any script, and the `+` of forms.
    pub(super) fn skip_blanks(&self, at: usize) -> usize {
        self.skip(at, |byte| matches!(byte, b' ' | b'\t'))
    }

    /// The same with the ends of lines.
    pub(super) fn skip_space(&self, at: usize) -> usize {
        self.skip(at, u8::is_ascii_whitespace)
    }

    fn skip(&self, mut at: usize, is_blank: fn(&u8) -> bool) -> usize {
        while let Some(byte) = self.bytes.get(at) {
            at += match byte {
                byte if is_blank(byte) || self.is_plus(at) => 1,
                byte if byte.is_ascii() => break,
                _ => match wide_blank(&self.bytes[at..]) {
                    0 => break,
                    len => len,
                },
            };
        }
        at
    }

    /// Whether a form writes a blank there: the `+` that it means is written as `%2B`.
    fn is_plus(&self, at: usize) -> bool {
        self.is_form && self.bytes[at] == b'+' && self.width(at) == 1
    }

    fn place(&self, at: usize) -> usize {
        self.sources.get(at).copied().unwrap_or(at)
    }
}

/// How long the blank beyond ASCII is with which that begins.
pub(super) fn wide_blank(bytes: &[u8]) -> usize {
    match bytes {
        [0xc2, 0x85 | 0xa0, ..] => 2,
        [0xe1, 0x9a, 0x80, ..]
        | [0xe2, 0x80, 0x80..=0x8f | 0xa8 | 0xa9 | 0xaf, ..]
        | [0xe2, 0x81, 0x9f | 0xa0, ..]
        | [0xe3, 0x80, 0x80, ..]
        | [0xef, 0xbb, 0xbf, ..] => 3,
        _ => 0,
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

/// An entity of HTML, whose `&` may be written as one.
fn entity(source: &[u8]) -> Option<(char, usize)> {
    let mut at = 1;
    while source[at..].starts_with(b"amp;") && matches!(source.get(at + 4), Some(b'#' | b'a'..=b'z')) {
        at += 4;
    }
    let name = &source[at..];
    let found = match name.strip_prefix(b"#") {
        Some(number) => numbered(number).map(|(c, len)| (c, 1 + len)),
        None => ENTITIES
            .iter()
            .find(|(entity, _)| name.starts_with(entity))
            .map(|(entity, byte)| (char::from(*byte), entity.len())),
    };
    found.map(|(c, len)| (c, at + len)).or_else(|| (at > 1).then_some(('&', at)))
}

/// The character of that number, in decimal or behind an `x`, up to its `;`.
fn numbered(number: &[u8]) -> Option<(char, usize)> {
    let (radix, start) = if matches!(number, [b'x' | b'X', ..]) { (16, 1) } else { (10, 0) };
    let len = number.iter().take(10).position(|byte| *byte == b';')?;
    let digits = core::str::from_utf8(number.get(start..len)?).ok()?;
    Some((char::from_u32(u32::from_str_radix(digits, radix).ok()?)?, len + 1))
}

/// The letter that a full-width one shows.
fn full_width(source: &[u8]) -> Option<(char, usize)> {
    let c = char::from_u32(
        u32::from(source[0] & 0xf) << 12
            | u32::from(source.get(1)? & 0x3f) << 6
            | u32::from(source.get(2)? & 0x3f),
    )?;
    let ascii = u32::from(c).checked_sub(0xfee0)?;
    matches!(ascii, 0x21..=0x7e).then(|| char::from_u32(ascii)).flatten().map(|c| (c, 3))
}
