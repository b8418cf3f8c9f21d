//! JSON as it is written, and a reader of JSON text that tolerates what others write.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

/// Appends what is displayed.
pub(super) fn display(out: &mut Vec<u8>, value: impl fmt::Display) {
    struct Appender<'a>(&'a mut Vec<u8>);

    impl fmt::Write for Appender<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }

    // Appending to a vector cannot fail.
    let _ = fmt::Write::write_fmt(&mut Appender(out), format_args!("{value}"));
}

/// Appends an address.
pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else { return display(out, address) };
    // Several times as quick as its formatter.
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

/// Appends a string literal.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// Appends the inside of a string literal: raw UTF-8, escapes only where JSON demands them.
pub(super) fn escape(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    // A fold without early exit is vectorised, and most text is clean.
    if !bytes.iter().fold(false, |found, byte| found | matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        return out.extend_from_slice(bytes);
    }
    let mut written = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0..=0x1f => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 0xf));
            out.extend_from_slice(&[b'0', b'0', HEX[high], HEX[low]]);
        }
    }
    out.extend_from_slice(&bytes[written..]);
}

/// The inside of a string literal as text. A lone surrogate reads as U+FFFD and a bad escape as itself.
pub(crate) fn unescape(inside: &str) -> Cow<'_, str> {
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(escaped) = rest.chars().next() else {
            text.push('\\');
            break;
        };
        if escaped == 'u'
            && let Some((c, len)) = unicode(rest.as_bytes())
        {
            text.push(c);
            rest = &rest[len..];
            continue;
        }
        rest = &rest[escaped.len_utf8()..];
        text.push(match escaped {
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'f' => '\u{c}',
            'r' => '\r',
            other => other,
        });
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character that `uXXXX` (or two such for a pair of surrogates) stands for, and its length there.
pub(super) fn unicode(escape: &[u8]) -> Option<(char, usize)> {
    let first = unit(escape)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c, 5));
    }
    let low = escape.get(5..).filter(|rest| rest.first() == Some(&b'\\')).and_then(|rest| unit(&rest[1..]));
    match low {
        Some(low @ 0xdc00..=0xdfff) if first < 0xdc00 => {
            let c = 0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00);
            Some((char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER), 11))
        }
        _ => Some((char::REPLACEMENT_CHARACTER, 5)),
    }
}

fn unit(escape: &[u8]) -> Option<u32> {
    let [b'u', digits @ ..] = escape else { return None };
    digits.get(..4)?.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// Where the white space that starts at `at` ends.
pub(crate) fn skip_space(text: &[u8], at: usize) -> usize {
    at + text[at.min(text.len())..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Where the string literal that starts at `at` ends, its quotes included.
pub(crate) fn skip_literal(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    loop {
        match text.get(end)? {
            b'"' => return Some(end + 1),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
}

/// Where the number or word that starts at `at` ends. Any length and any exponent is one.
pub(crate) fn skip_scalar(text: &[u8], at: usize) -> Option<usize> {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let len = text[at.min(text.len())..].iter().take_while(is_part).count();
    (len > 0).then_some(at + len)
}

/// Where the value that starts at `at` ends, whatever is inside of it.
pub(crate) fn skip_value(text: &[u8], at: usize) -> Option<usize> {
    if !matches!(text.get(at)?, b'{' | b'[') {
        return if text[at] == b'"' { skip_literal(text, at) } else { skip_scalar(text, at) };
    }
    let (mut end, mut open) = (at, 0_usize);
    loop {
        match text.get(end)? {
            b'"' => {
                end = skip_literal(text, end)?;
                continue;
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' => open -= 1,
            _ => {}
        }
        end += 1;
        if open == 0 {
            return Some(end);
        }
    }
}
