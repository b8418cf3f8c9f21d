//! Where the value of a name ends, by how it begins.
//!
//! | value | begins with | ends |
//! | --- | --- | --- |
//! | quoted | a quote | at the next such quote, escaped as often, behind which a value can end; else with the text, or behind a bare name with the line |
//! | bracketed | `{` `[` `(` | with its bracket; else with the text |
//! | of a header with a bare name | a letter, a digit, a quote, or a mark in front of one | at the first blank that is not behind `;`, `,` or the scheme, and not before another `;` |
//! | of an element | `>` | at its end tag; else with the text |
//! | of a part of multipart | an empty line | at the next boundary; else with the text |
//! | of a form or a query, where no blank is in front | | at `&`, the end of the line, and a blank before another name with its separator |
//! | of a passphrase elsewhere | | there, and at `,` `;` before another member, and at a quote or bracket behind which a value can end |
//! | of a token elsewhere | | there, and at any blank or `<` |
//!
//! A line goes on in the next one where that is indented more than the name. What is percent-encoded more
//! deeply than the separator belongs to the value.

use core::ops::Range;

use super::super::json;
use super::PLACEHOLDER;
use super::names::{Class, is_of_name};
use super::scan::{LOOKAHEAD, Scan, Separator};

impl Scan<'_> {
    /// Where the value is that a name of that class has there.
    pub(super) fn value(&mut self, separator: Separator, class: Class) -> Option<Range<usize>> {
        let bytes = self.bytes;
        let start = if separator.name_is_quoted {
            json::skip_space(bytes, self.skip_comment(json::skip_space(bytes, separator.end)))
        } else {
            skip_blanks(bytes, separator.end)
        };
        let byte = *bytes.get(start)?;
        let is_header =
            class == Class::Header && !separator.name_is_quoted && !self.is_block(separator, start);
        if is_header
            && matches!(byte, b'[' | b'{')
            && let Some(end) = self.balanced(start, start + 8 * LOOKAHEAD)
        {
            return Some(start..end);
        }
        if is_header && separator.byte == b':' {
            return self.header(separator, start);
        }
        if let Some(quote) = self.quote(start) {
            return Some(self.quoted(separator, quote));
        }
        if is_header {
            return self.header(separator, start);
        }
        let mut from = start;
        if bytes[start..].starts_with(PLACEHOLDER.as_bytes()) {
            from += PLACEHOLDER.len();
        } else if matches!(byte, b'{' | b'[' | b'(')
            && (separator.byte != b'=' || self.quote(start + 1).is_some())
        {
            let Some(end) = self.balanced(start, bytes.len()) else { return Some(start..bytes.len()) };
            if self.may_end_before(end) {
                return Some(start..end);
            }
            from = end;
        }
        Some(start..self.bare(separator, class, start, from))
    }

    /// The inside of the quotes that open at `quote`.
    fn quoted(&self, separator: Separator, quote: usize) -> Range<usize> {
        let bytes = self.bytes;
        let mark = bytes[quote];
        let escapes = bytes[separator.end..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        let is_triple = escapes == 0 && bytes[quote..].starts_with(&[mark; 3]);
        let start = if is_triple { quote + 3 } else { quote + 1 };
        let mut run = 0;
        let mut at = start;
        while at < bytes.len() {
            if bytes[at] == b'\\' {
                run += 1;
                at += 1;
                continue;
            }
            let own = run % (2 * (escapes + 1));
            run = 0;
            if is_triple {
                if bytes[at..].starts_with(&[mark; 3]) {
                    return start..at;
                }
            } else if bytes[at] == mark
                && self.view.width(at) <= self.view.width(quote)
                && own <= escapes
                && self.may_end_before(at + 1)
            {
                return start..at - own;
            } else if !separator.name_is_quoted && self.is_line_end(separator, at) {
                return start..at;
            }
            at += 1;
        }
        start..bytes.len()
    }

    /// Where the bracket that opens at `start` is closed before `end`.
    pub(super) fn balanced(&self, start: usize, end: usize) -> Option<usize> {
        let bytes = &self.bytes[..end.min(self.bytes.len())];
        let mut open = 0_usize;
        let mut at = start;
        while at < bytes.len() {
            match bytes[at] {
                b'{' | b'[' | b'(' => open += 1,
                b'}' | b']' | b')' => {
                    open -= 1;
                    if open == 0 {
                        return Some(at + 1);
                    }
                }
                mark @ (b'"' | b'\'' | b'`') => {
                    let escapes = bytes[start..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                    let mut run = 0;
                    let close = bytes[at + 1..].iter().position(|byte| {
                        let closes = *byte == mark && run % (2 * (escapes + 1)) <= escapes;
                        run = if *byte == b'\\' { run + 1 } else { 0 };
                        closes
                    });
                    at += 1 + close?;
                }
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// The value of a header in text: credentials behind a scheme, or what stands between `;` and `,`.
    fn header(&self, separator: Separator, start: usize) -> Option<Range<usize>> {
        let bytes = self.bytes;
        if !self.begins_credential(start) {
            return None;
        }
        let width = self.view.width(separator.start);
        let mut at = start;
        let mut is_first = true;
        loop {
            let run = at;
            if let Some(quote) = self.quote(at) {
                at = self.quoted(separator, quote).end;
            }
            while let Some(byte) = bytes.get(at) {
                let ends = self.view.width(at) <= width
                    && (matches!(byte, b' ' | b'\t' | b';' | b',' | b'\r' | b'\n')
                        || (*byte == b'&' && separator.byte == b'='));
                if ends {
                    break;
                }
                at += 1;
            }
            let next = self.skip_folded(separator, at);
            match bytes.get(at) {
                Some(b';' | b',') => {
                    let next = self.skip_folded(separator, at + 1);
                    if !self.begins_credential(next) {
                        return Some(start..at);
                    }
                    at = next;
                }
                Some(_)
                    if next > at
                        && self.begins_credential(next)
                        && (is_first && is_scheme(&bytes[run..at]) || self.list_goes_on(next)) =>
                {
                    at = next;
                }
                Some(_) | None => return Some(start..at),
            }
            is_first = false;
        }
    }

    /// Whether credentials of a header may begin at `at`.
    fn begins_credential(&self, at: usize) -> bool {
        let is_of_word = |at: usize| self.bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
        match self.bytes.get(at) {
            None => false,
            Some(mark @ (b'\'' | b'`')) => {
                let near = self.bytes[at + 1..].iter().take(4 * LOOKAHEAD);
                let inside = near.take_while(|byte| **byte != b'\n').position(|byte| byte == mark);
                inside.is_some_and(|inside| self.may_end_before(at + 1 + inside + 1))
            }
            Some(b'-' | b'.' | b'$') => is_of_word(at + 1),
            Some(byte) => {
                byte.is_ascii_alphanumeric()
                    || matches!(byte, b'"' | b'\\' | b'_' | b'%' | b'+' | b'=')
                    || !byte.is_ascii()
            }
        }
    }

    /// Whether another `;` follows soon, with nothing between that no credential holds.
    fn list_goes_on(&self, at: usize) -> bool {
        let ahead = self.bytes[at..].iter().take(LOOKAHEAD);
        let end = ahead.copied().find(|byte| {
            matches!(byte, b';' | b'\n' | b'<' | b'>' | b'(' | b')' | b'{' | b'}' | b'\'' | b'`' | b'$')
        });
        end == Some(b';')
    }

    /// Where a bare value ends, which is searched from `from` on.
    fn bare(&mut self, separator: Separator, class: Class, start: usize, from: usize) -> usize {
        let bytes = self.bytes;
        let width = self.view.width(separator.start);
        let is_form = separator.byte == b'=' && self.is_bare_line(separator.name_start);
        let is_block = self.is_block(separator, from);
        let holds_blanks = is_form || is_block || class == Class::Passphrase;
        // Behind a placeholder or a bracket the value has begun.
        let mut at = if from == start { self.skip_folded(separator, from) } else { from };
        while at < bytes.len() {
            let next = at + 1;
            if self.view.width(at) > width {
                at = next;
                continue;
            }
            let ends = match bytes[at] {
                b'&' => separator.byte == b'=',
                b'\r' | b'\n' => self.is_line_end(separator, at),
                b' ' | b'\t' if holds_blanks => {
                    let end = skip_blanks(bytes, at);
                    if self.is_name_at(end) {
                        break;
                    }
                    at = end;
                    continue;
                }
                b' ' | b'\t' => true,
                _ if is_form => false,
                b',' | b';' => self.member_follows(next),
                b'"' | b'\'' | b'`' | b'}' | b']' | b')' => self.may_end_before(next),
                b'<' => class != Class::Passphrase || bytes.get(next) == Some(&b'/'),
                b'>' => class != Class::Passphrase,
                _ => false,
            };
            if ends {
                break;
            }
            at = next;
        }
        while at > start
            && (matches!(bytes[at - 1], b';' | b',' | b'\\') || bytes[at - 1].is_ascii_whitespace())
        {
            at -= 1;
        }
        at
    }

    /// Whether a block or a list of YAML begins at `at`.
    fn is_block(&self, separator: Separator, at: usize) -> bool {
        let begins = self.skip_folded(separator, at);
        let is_marked = matches!(self.bytes.get(begins), Some(b'|' | b'>'));
        is_marked || self.bytes.get(at..begins).is_some_and(|skipped| skipped.contains(&b'\n'))
    }

    /// Whether the line holds neither a blank nor a quote before `end`: it is a form, a query or a path.
    fn is_bare_line(&mut self, end: usize) -> bool {
        let unseen = self.bytes.get(self.bare_until..end).unwrap_or_default();
        self.is_bare &= !unseen.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'`'));
        self.bare_until = self.bare_until.max(end);
        self.is_bare
    }

    /// Whether a line ends at `at`, and does not go on in the next one.
    fn is_line_end(&self, separator: Separator, at: usize) -> bool {
        match self.bytes[at] {
            b'\r' if self.bytes.get(at + 1) == Some(&b'\n') => self.is_line_end(separator, at + 1),
            b'\r' => true,
            b'\n' => indent(self.bytes, at + 1) <= self.indent_of(separator),
            _ => false,
        }
    }

    /// How far the line of a name is indented.
    fn indent_of(&self, separator: Separator) -> usize {
        if self.line <= separator.name_start { indent(self.bytes, self.line) } else { 0 }
    }

    /// Skips blanks, and the ends of lines that go on.
    fn skip_folded(&self, separator: Separator, at: usize) -> usize {
        let mut at = skip_blanks(self.bytes, at);
        while matches!(self.bytes.get(at), Some(b'\r' | b'\n')) && !self.is_line_end(separator, at) {
            at = json::skip_space(self.bytes, at);
        }
        at
    }

    /// Whether a value may end before `at`: at the end of the text or of a line, before what separates or closes, and
    /// before another name with its separator.
    fn may_end_before(&self, at: usize) -> bool {
        let next = json::skip_space(self.bytes, at);
        match self.bytes.get(next) {
            None => true,
            Some(b',' | b';' | b'}' | b']' | b')' | b'&' | b'"' | b'\'' | b'\\' | b'>' | b'|' | b'#') => true,
            Some(b'/') => matches!(self.bytes.get(next + 1), Some(b'/' | b'*' | b'>')),
            Some(b'<') => next == at,
            Some(_) => next > at && (self.bytes[at..next].contains(&b'\n') || self.is_name_at(next)),
        }
    }

    /// Whether what stands behind a `,` or `;` is not a part of the value in front.
    fn member_follows(&self, at: usize) -> bool {
        let next = json::skip_space(self.bytes, at);
        match self.bytes.get(next) {
            None | Some(b'"' | b'\'' | b'`' | b'{' | b'[' | b'(' | b'}' | b']' | b')' | b'\\') => true,
            Some(_) => self.is_name_at(next),
        }
    }

    /// Whether a name with a separator behind it begins at `at`.
    fn is_name_at(&self, at: usize) -> bool {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let is_around = |byte: &&u8| matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b':' | b'$' | b'@');
        let opened = rest.iter().take(4).take_while(is_around).count();
        let name = rest[opened..].iter().take(LOOKAHEAD).take_while(|byte| is_of_name(**byte)).count();
        let behind = &rest[opened + name..];
        let closed = behind.iter().take(4).take_while(is_closing).count();
        name > 0
            && match behind.get(closed..) {
                Some([b':', b'/', b'/', ..] | [b':', b':', ..]) => false,
                Some([b'=' | b':', ..]) => true,
                Some(_) | None => false,
            }
    }

    /// The quote at `at`, which may have backslashes or the letters of a kind of literal in front.
    pub(super) fn quote(&self, at: usize) -> Option<usize> {
        let rest = self.bytes.get(at..)?;
        let letters = rest
            .iter()
            .take(2)
            .take_while(|byte| matches!(byte.to_ascii_lowercase(), b'b' | b'f' | b'r' | b'u'));
        let letters = letters.count();
        let is_quote = |byte: Option<&u8>| matches!(byte, Some(b'"' | b'\'' | b'`'));
        if is_quote(rest.get(letters)) {
            return Some(at + letters);
        }
        let escapes = rest.iter().take_while(|byte| **byte == b'\\').count();
        is_quote(rest.get(escapes)).then_some(at + escapes)
    }

    /// Where the comment that may stand at `at` ends.
    fn skip_comment(&self, at: usize) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let end: &[u8] = if rest.starts_with(b"/*") {
            b"*/"
        } else if rest.starts_with(b"//") {
            b"\n"
        } else {
            return at;
        };
        let found = rest.windows(end.len()).take(4 * LOOKAHEAD).position(|window| window == end);
        found.map_or(at, |found| at + found + end.len())
    }
}

fn is_closing(byte: &&u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b']') || byte.is_ascii_whitespace()
}

/// Whether that may be the name of an authentication scheme.
fn is_scheme(run: &[u8]) -> bool {
    run.len() <= LOOKAHEAD && run.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

pub(super) fn skip_blanks(bytes: &[u8], at: usize) -> usize {
    at + bytes[at.min(bytes.len())..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// How many blanks are there, up to some.
fn indent(bytes: &[u8], at: usize) -> usize {
    bytes[at.min(bytes.len())..]
        .iter()
        .take(LOOKAHEAD)
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count()
}
