//! Where the value of a name ends, by how it begins.
//!
//! | value | begins with | ends |
//! | --- | --- | --- |
//! | quoted | a quote | at the next such quote, escaped as often, behind which a value can end; else with the text, or behind a bare name with the line. Literals that follow go on with it: behind a quoted name, and behind `+` or `.` |
//! | quoted with its length | `string(6) "`, `s:6:"` | there, if a quote is there; else as quoted |
//! | bracketed | `{` `[` `(`, or a type in front of one | with its bracket; else with the text |
//! | of a block of YAML | the end of the line, or `|` `>` in front of it | with the last line that is indented more than the name, or is an item of a list at its column |
//! | of a header with a bare name | a letter, a digit, a quote, a bracket, or a mark in front of one | at the first blank that is not behind `;`, `,` or the scheme, and not before another `;`; at a tag; what is quoted or bracketed behind `=` is passed over, to the end of the text where that cut it off |
//! | of a declaration | a type and `=` | with what stands behind `=` |
//! | of an option | | at a blank |
//! | of an element | `>` | at its end tag; else with the text |
//! | of a part of multipart | an empty line | at the next boundary; else with the text |
//! | of a form or a query, where no blank is in front | | at `&`, the end of the line, and a blank before another name with its separator |
//! | of a passphrase elsewhere | | there, and at `,` `;` before another member, and at a quote or bracket behind which a value can end |
//! | of a token elsewhere | | there, and at any blank or `<` |
//!
//! A line goes on in the next one where that is indented more than the name. Behind `:` in a query (`q=cookie:v&x=1`) a
//! value ends before the next parameter. What is percent-encoded more deeply than the separator belongs to the value,
//! except the end of a line if that in front of the name is encoded so (`%0d%0aCookie: v%0d%0a`). So does an `&` behind a
//! name in upper case that is no parameter, unless another name follows. Comments and blanks of any script may stand in
//! front of a value, and so may the tag and the anchor of YAML behind `:`.

use core::ops::Range;

use super::super::json;
use super::PLACEHOLDER;
use super::names::{Class, is_of_name};
use super::scan::{LOOKAHEAD, Scan, Separator};

/// How many quotes and brackets that nothing closes are passed over in a header, each after a search for its end.
const MOST_UNCLOSED: usize = 16;

impl Scan<'_> {
    /// Where the value is that a name of that class has there.
    pub(super) fn value(&mut self, separator: Separator, class: Class) -> Option<Range<usize>> {
        let bytes = self.bytes;
        let start = self.skip_filler(separator.end, separator.name_is_quoted);
        bytes.get(start)?;
        if let Some(end) = self.block(separator) {
            return Some(start.min(end)..end);
        }
        let node = self.skip_properties(separator, start);
        if node > start
            && self.initial_value(separator, start).is_none()
            && let Some(value) = self.value_at(separator, class, node)
        {
            return Some(start..value.end);
        }
        self.value_at(separator, class, start)
    }

    /// The same of a value that begins at `start`, behind what may stand in front.
    fn value_at(&mut self, separator: Separator, class: Class, start: usize) -> Option<Range<usize>> {
        let bytes = self.bytes;
        let byte = *bytes.get(start)?;
        let is_header =
            class == Class::Header && !separator.name_is_quoted && !self.is_block(separator, start);
        if is_header && (separator.byte == b':' || matches!(byte, b'[' | b'{')) {
            return self.header(separator, start);
        }
        if let Some(counted) = self.counted(start) {
            return Some(counted);
        }
        if let Some(quote) = self.quote(self.skip_folded(separator, start)) {
            return Some(self.quoted(separator, quote));
        }
        if is_header {
            return self.header(separator, start);
        }
        let mut from = start;
        if bytes[start..].starts_with(PLACEHOLDER.as_bytes()) {
            from += PLACEHOLDER.len();
        } else if let Some(bracket) = self.bracket(start)
            && (!separator.is_equals_sign() || self.quote(bracket + 1).is_some())
        {
            let Some(end) = self.balanced(bracket, bytes.len()) else { return Some(start..bytes.len()) };
            if self.may_end_before(end) {
                return Some(start..end);
            }
            from = end;
        }
        let is_in_query = self.is_in_query(separator);
        if !is_in_query && let Some(initial) = self.initial_value(separator, start) {
            if let Some(quote) = self.quote(initial) {
                return Some(start..self.quoted(separator, quote).end);
            }
            from = initial;
            if initial < bytes.len()
                && let Some(bracket) = self.bracket(initial)
            {
                from = self.balanced(bracket, bytes.len()).unwrap_or(bytes.len());
            }
        }
        Some(start..self.bare(separator, class, start, from))
    }

    /// What a declaration gives to the name whose type begins at `start`: `$token: String! = "v"`. The type is a part of
    /// the value, since a password may look like one.
    fn initial_value(&self, separator: Separator, start: usize) -> Option<usize> {
        if separator.byte != b':' {
            return None;
        }
        let near = &self.bytes[start..self.bytes.len().min(start + LOOKAHEAD)];
        let sign = near.iter().position(|byte| matches!(byte, b'=' | b'\n'))?;
        if near[sign] != b'=' || matches!(near.get(sign + 1), None | Some(b'=' | b'>' | b'~')) {
            return None;
        }
        let is_part = |byte: &u8| is_of_name(*byte) || b"!?[]<>&*':|, \t".contains(byte);
        // Words behind each other are the value and another name.
        let is_joint = |byte: u8| matches!(byte, b'|' | b'&' | b',');
        let opened = |word: &[u8]| {
            word.iter().fold(0, |open, byte| match byte {
                b'<' | b'[' => open + 1,
                b'>' | b']' => open - 1,
                _ => open,
            })
        };
        let mut words =
            near[..sign].split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        let mut last = words.next()?;
        let mut open: i32 = opened(last);
        let is_type = near[..sign].iter().all(is_part)
            && words.all(|word| {
                let goes_on = open > 0 || is_joint(last[last.len() - 1]) || last[0] == b'&' || word == b"|";
                last = word;
                open += opened(word);
                goes_on
            })
            && open == 0;
        is_type.then(|| self.skip_filler(start + sign + 1, false))
    }

    /// The literal that a declaration gives to a header whose type begins at `start` and has parts, which no header has.
    fn literal_of_type(&self, separator: Separator, start: usize) -> Option<usize> {
        let initial = self.initial_value(separator, start)?;
        let has_parts =
            self.bytes[start..initial].iter().any(|byte| matches!(byte, b'<' | b'[' | b'|' | b'&'));
        (has_parts && (self.quote(initial).is_some() || self.wrapper(initial).is_some())).then_some(initial)
    }

    /// The bracket around a literal, with what is in front of it from `start` on: `Some("`, `["`.
    fn wrapper(&self, start: usize) -> Option<usize> {
        self.bytes.get(start)?;
        self.bracket(start).filter(|bracket| self.quote(bracket + 1).is_some())
    }

    /// Where the node begins of which YAML says the tag or the anchor in front: `!!str v`, `&a v`.
    fn skip_properties(&self, separator: Separator, start: usize) -> usize {
        let mut at = start;
        while separator.byte == b':' && at < start + LOOKAHEAD {
            let near = &self.bytes[at..self.bytes.len().min(at + LOOKAHEAD)];
            let run = |rest: &[u8], marks: &[u8]| {
                rest.iter().take_while(|byte| is_of_name(**byte) || marks.contains(byte)).count()
            };
            let len = match near {
                [b'!', b'<', ..] => run(&near[1..], b"<>:,/"),
                [b'!', rest @ ..] => run(rest, b"!:/"),
                [b'&', rest @ ..] => run(rest, b""),
                _ => 0,
            };
            let node = skip_blanks(self.bytes, at + 1 + len);
            if len == 0 || node == at + 1 + len || matches!(self.bytes.get(node), None | Some(b'\r' | b'\n'))
            {
                break;
            }
            at = node;
        }
        at
    }

    /// The inside of the quotes that open at `quote`, and of those that go on behind them.
    pub(super) fn quoted(&self, separator: Separator, quote: usize) -> Range<usize> {
        let (mut inside, mut behind) = self.literal(separator, quote);
        while let Some(next) = behind.and_then(|behind| self.next_literal(separator, behind)) {
            let (more, end) = self.literal(separator, next);
            inside.end = more.end;
            behind = end;
        }
        inside
    }

    /// The inside of the quotes that open at `quote`, and what stands behind them unless they are cut off.
    fn literal(&self, separator: Separator, quote: usize) -> (Range<usize>, Option<usize>) {
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
                    return (start..at, Some(at + 3));
                }
            } else if bytes[at] == mark
                && self.view.width(at) <= self.view.width(quote)
                && own <= escapes
                && (self.may_end_before(at + 1) || self.ends_attribute(at + 1))
            {
                return (start..at - own, Some(at + 1));
            } else if !separator.name_is_quoted && self.is_line_end(separator, at) {
                return (start..at, None);
            }
            at += 1;
        }
        (start..bytes.len(), None)
    }

    /// The quote of a literal that is a part of the one that ends in front of `at`: `"a" "b"`, `"a" + "b"`.
    fn next_literal(&self, separator: Separator, at: usize) -> Option<usize> {
        let next = self.skip_filler(at, true);
        let operator = match self.bytes.get(next..)? {
            [b'+' | b'.', ..] => 1,
            [b'\\', b'\r' | b'\n', ..] if separator.name_is_quoted => 1,
            _ if separator.name_is_quoted && next > at => 0,
            _ => return None,
        };
        let next = self.skip_filler(next + operator, true);
        let quote = self.quote(next)?;
        let inside = &self.bytes[quote + 1..];
        let name = inside.iter().take(LOOKAHEAD).take_while(|byte| is_of_name(**byte)).count();
        let is_name = inside.get(name).is_some_and(|byte| is_closing(&byte)) && self.is_name_at(next);
        (!is_name).then_some(quote)
    }

    /// The inside of quotes behind their length, as PHP shows strings: `string(6) "…"`, `s:6:"…"`.
    fn counted(&self, start: usize) -> Option<Range<usize>> {
        let near = self.bytes.get(start..self.bytes.len().min(start + LOOKAHEAD))?;
        let digits = start + near.iter().position(u8::is_ascii_digit)?;
        let count = self.bytes[digits..].iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
        let behind = &self.bytes[digits + count..];
        let blanks = match (&self.bytes[start..digits], behind) {
            (b"string(", [b')', b' ', ..]) => 2,
            (b"s:", [b':', ..]) => 1,
            _ => return None,
        };
        let start = digits + count + blanks;
        let quote = self.quote(start)?;
        let digits = &self.bytes[digits..digits + count];
        let len = digits.iter().fold(0, |len, digit| 10 * len + usize::from(digit - b'0'));
        let end = quote + 1 + len;
        let escaped =
            |at: usize| self.bytes.get(at..at + quote - start + 1) == Some(&self.bytes[start..=quote]);
        if escaped(end) {
            return Some(quote + 1..end);
        }
        let separator = Separator { start, end: start, byte: b':', name_start: start, name_is_quoted: true };
        Some(self.quoted(separator, quote))
    }

    /// The bracket at `start`, which may have its type in front.
    fn bracket(&self, start: usize) -> Option<usize> {
        let is_bracket = matches!(self.bytes[start], b'{' | b'[' | b'(');
        self.typed_bracket(start).or_else(|| is_bracket.then_some(start))
    }

    /// The bracket behind its type: `[]string{`, `array(1) {`, `a:1:{`, `Some("`.
    fn typed_bracket(&self, start: usize) -> Option<usize> {
        let bytes = self.bytes;
        let mut at = start;
        while at < start + LOOKAHEAD {
            let byte = *bytes.get(at)?;
            at += match byte {
                b'{' => return Some(at),
                b'(' | b'[' if at == start && bytes.get(at + 1) != Some(&b']') => return None,
                b'(' | b'[' if self.quote(at + 1).is_some() => return Some(at),
                b'(' | b'[' => {
                    let inside =
                        bytes[at + 1..].iter().take(LOOKAHEAD).take_while(|byte| is_of_name(**byte)).count();
                    match bytes.get(at + 1 + inside)? {
                        b')' if inside > 0 => inside + 2,
                        b']' => inside + 2,
                        _ => return None,
                    }
                }
                // The class of a serialized object.
                b'"' if at > start && bytes[at - 1] == b':' => {
                    let name = bytes[at + 1..].iter().take(LOOKAHEAD).position(|byte| *byte == b'"')?;
                    if bytes.get(at + name + 2) != Some(&b':') {
                        return None;
                    }
                    name + 2
                }
                b' ' | b'\r' | b'\n'
                    if [&b"Array"[..], b"Object"].iter().any(|word| bytes[start..at].ends_with(word)) =>
                {
                    let next = json::skip_space(bytes, at);
                    return (bytes.get(next) == Some(&b'(')).then_some(next);
                }
                b' ' if at > start && bytes[at + 1..].starts_with(b"Object") => 1,
                b' ' if at > start && matches!(bytes.get(at + 1), Some(b'{' | b'(')) => 1,
                b'&' | b'*' => 1,
                b':' | b'<' | b'>' | b'#' if at > start => 1,
                _ if is_of_name(byte) => 1,
                _ => return None,
            };
        }
        None
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
        let widths = self.widths(separator);
        let from = self.literal_of_type(separator, start).unwrap_or(start);
        let mut at = from;
        if let Some(bracket) = self.bracket(from).filter(|bracket| *bracket > from || bytes[from] != b'(') {
            let inside = self.view.skip_space(bracket + 1);
            match self.balanced(bracket, from + 8 * LOOKAHEAD) {
                Some(end) if bytes.get(end) == Some(&b';') => at = end,
                Some(end) => return Some(start..end),
                None if bracket == from => at = from + 1,
                None if self.quote(inside).is_some() || self.is_name_at(inside) => {
                    return Some(start..bytes.len());
                }
                None => {}
            }
        }
        let is_empty = separator.byte == b'='
            && match bytes.get(at) {
                Some(b'&') => true,
                Some(b'#') => self.is_param(separator),
                Some(_) | None => false,
            };
        let is_deeper = at < bytes.len() && self.view.width(at) > widths.of(bytes[at]);
        if !is_deeper && (is_empty || (bytes.get(at) != Some(&b';') && !self.begins_credential(at))) {
            return None;
        }
        let is_param = separator.byte == b'=';
        let is_in_query = self.is_in_query(separator);
        let mut unclosed = 0;
        let mut is_first = true;
        loop {
            let run = at;
            if let Some(quote) = self.quote(at) {
                at = self.quoted(separator, quote).end;
            }
            while let Some(byte) = bytes.get(at) {
                let ends = self.view.width(at) <= widths.of(*byte)
                    && match byte {
                        b' ' | b'\t' | b';' | b',' | b'\r' | b'\n' => true,
                        b'&' => is_param || is_in_query,
                        b'<' => self.is_tag(at),
                        _ => false,
                    };
                if ends {
                    break;
                }
                let param = if *byte == b'=' && unclosed < MOST_UNCLOSED {
                    self.skip_param(at + 1)
                } else {
                    Some(at + 1)
                };
                unclosed += usize::from(param.is_none());
                at = param.unwrap_or(at + 1);
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
                Some(_) if next > at && bytes.get(next) == Some(&b'=') => at = next,
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

    /// Where a quoted or bracketed value of a parameter ends that begins at `at`, which is where it is no such value;
    /// `None` where it does not end.
    fn skip_param(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes;
        let start = skip_blanks(bytes, at);
        match bytes.get(start) {
            Some(b'[' | b'{') => self.balanced(start, start + 8 * LOOKAHEAD),
            Some(_) => match (self.quote(start), self.wrapper(start)) {
                (Some(quote), _) => {
                    self.closed(quote).or_else(|| self.cut_off(quote).filter(|_| bytes[quote] == b'"'))
                }
                (None, Some(bracket)) => self.balanced(bracket, start + 8 * LOOKAHEAD),
                (None, None) => Some(at),
            },
            None => Some(at),
        }
    }

    /// Where what is quoted from `quote` on ends, if it does so soon and in the line.
    pub(super) fn closed(&self, quote: usize) -> Option<usize> {
        let near = self.bytes[quote + 1..].iter().take(4 * LOOKAHEAD).take_while(|byte| **byte != b'\n');
        let mut ends = near
            .enumerate()
            .filter(|(_, byte)| **byte == self.bytes[quote])
            .map(|(at, _)| quote + 1 + at + 1);
        ends.find(|end| self.may_end_before(*end))
    }

    /// The end of the line, where what is quoted from `quote` on is cut off there, and holds nothing that no cookie does.
    fn cut_off(&self, quote: usize) -> Option<usize> {
        let inside = &self.bytes[quote + 1..];
        let is_foreign = |byte: &u8| {
            matches!(byte, b'"' | b'\'' | b'`' | b'\n' | b'<' | b'>' | b'(' | b')' | b'{' | b'}' | b'$')
        };
        let len = inside.iter().position(is_foreign).unwrap_or(inside.len());
        let line = &inside[..len];
        let is_cut = matches!(inside.get(len), None | Some(b'\n'));
        is_cut.then_some(quote + 1 + line.strip_suffix(b"\r").unwrap_or(line).len())
    }

    /// Whether a cookie begins behind the quote at `quote` and is cut off with its line.
    fn begins_cut_off(&self, quote: usize) -> bool {
        let inside = &self.bytes[quote + 1..];
        let name = inside.iter().take(LOOKAHEAD).take_while(|byte| is_of_name(**byte)).count();
        name > 0 && inside.get(name) == Some(&b'=') && self.cut_off(quote).is_some()
    }

    /// Whether credentials of a header may begin at `at`.
    fn begins_credential(&self, at: usize) -> bool {
        let is_of_word = |at: usize| self.bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
        match self.bytes.get(at) {
            None => false,
            Some(b'\'' | b'`') => self.closed(at).is_some() || self.begins_cut_off(at),
            Some(b'-' | b'.' | b'$' | b'~' | b'!' | b'*' | b'^' | b'#' | b'&' | b'@') => is_of_word(at + 1),
            // Base64 may begin with any of its marks.
            Some(b'/') => {
                let near = self.bytes[at..].iter().take(LOOKAHEAD);
                is_of_word(at + near.take_while(|byte| matches!(byte, b'/' | b'+')).count())
            }
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
        let widths = self.widths(separator);
        let is_form = separator.byte == b'=' && self.is_bare_line(separator.name_start);
        let is_block = self.is_block(separator, from);
        let is_in_query = self.is_in_query(separator);
        let holds_blanks = is_form || is_block || class == Class::Passphrase;
        // Behind a placeholder or a bracket the value has begun.
        let mut at = if from == start { self.skip_folded(separator, from) } else { from };
        while at < bytes.len() {
            let next = at + 1;
            if self.view.width(at) > widths.of(bytes[at]) {
                at = next;
                continue;
            }
            let ends = match bytes[at] {
                b'&' if is_in_query => true,
                b'&' => separator.byte == b'=' && (self.is_name_at(next) || !self.is_variable(separator)),
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
                b'>' => class != Class::Passphrase || (separator.byte == b'=' && self.is_in_tag()),
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

    /// How wide is what may end the value behind that separator.
    fn widths(&self, separator: Separator) -> Widths {
        let of_others = self.view.width(separator.start);
        let in_front = self.line + indent(self.bytes, self.line);
        let of_lines = match self.line.checked_sub(1) {
            Some(end) if in_front == separator.name_start => self.view.width(end),
            Some(_) | None => 0,
        };
        Widths { of_others, of_lines: of_lines.max(of_others) }
    }

    /// Whether the name is one of the environment: in upper case, and no parameter behind another.
    fn is_variable(&self, separator: Separator) -> bool {
        let name = &self.bytes[separator.name_start..separator.start];
        !self.is_param(separator) && !name.iter().any(u8::is_ascii_lowercase)
    }

    /// Whether the name is that of a parameter of a query or of a form, and not the first of that.
    fn is_param(&self, separator: Separator) -> bool {
        let in_front = separator.name_start.checked_sub(1).map(|at| self.bytes[at]);
        matches!(in_front, Some(b'?' | b'&' | b'#' | b'['))
    }

    /// Where a block of YAML ends: the lines behind the name's that are indented more, or are items of a list that is
    /// indented as much.
    pub(super) fn block(&self, separator: Separator) -> Option<usize> {
        let bytes = self.bytes;
        let column = self.column(separator)?;
        let near = bytes.get(separator.end..)?.iter().take(4 * LOOKAHEAD);
        let first = separator.end + near.copied().position(|byte| byte == b'\n')?;
        let head = bytes[separator.end..first].trim_ascii();
        let is_marked = matches!(head.first(), Some(b'|' | b'>'))
            && head[1..].iter().take_while(|byte| **byte != b'#').all(|byte| b"+- 123456789".contains(byte));
        if !is_marked && !matches!(head.first(), None | Some(b'#' | b'!' | b'&')) {
            return None;
        }
        let text = json::skip_space(bytes, first);
        let is_list = |at: usize| matches!(bytes.get(at..at + 2), Some([b'-', b' ' | b'\t' | b'\r' | b'\n']));
        if !is_marked && (self.quote(text).is_some() || matches!(bytes.get(text), Some(b'{' | b'[' | b'('))) {
            return None;
        }
        let mut end = None;
        let mut line = first + 1;
        while line < bytes.len() {
            let depth = indent(bytes, line);
            let is_part = depth > column || (depth == column && !is_marked && is_list(line + depth));
            // What is no part is not searched for its end: names in front may share this line.
            let blank = skip_blanks(bytes, line);
            let is_empty = matches!(bytes.get(blank), None | Some(b'\r' | b'\n'));
            if !is_part && !is_empty {
                break;
            }
            let len = bytes[line..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - line);
            if is_part {
                end = Some(line + len);
            }
            line += len + 1;
        }
        end
    }

    /// The column of a name with nothing in front of it in its line except quotes and the marks of lists, or that of
    /// the line where something else ends there, as a log writes it in front of what it shows: `[info] body: password:`.
    fn column(&self, separator: Separator) -> Option<usize> {
        if separator.byte != b':' {
            return None;
        }
        let front = self.bytes.get(self.line..separator.name_start)?;
        let is_part = |byte: &u8| matches!(byte, b' ' | b'\t' | b'-' | b'"' | b'\'');
        let quotes = front.iter().rev().take_while(|byte| matches!(byte, b'"' | b'\'')).count();
        let front = &front[..front.len() - quotes];
        if front.len() <= LOOKAHEAD && front.iter().all(is_part) {
            return Some(front.len());
        }
        let ends = matches!(front.trim_ascii_end().last(), Some(b':' | b'=' | b']' | b'>' | b'|'));
        ends.then(|| indent(self.bytes, self.line))
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

    /// Whether the separator stands in a parameter of a query or of a form: `q=password:v`.
    fn is_in_query(&self, separator: Separator) -> bool {
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-_.~%+/?&=#:@!*$()".contains(byte);
        let front = self.bytes[..separator.name_start].iter().rev().take(4 * LOOKAHEAD);
        let query =
            &self.bytes[separator.name_start - front.take_while(is_part).count()..separator.name_start];
        let name = query.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let begins_form = name > 0 && query.get(name) == Some(&b'=');
        separator.byte == b':' && (begins_form || query.iter().any(|byte| matches!(byte, b'?' | b'&')))
    }

    /// Whether a tag stands at `at`.
    fn is_tag(&self, at: usize) -> bool {
        let near = self.bytes[at + 1..].iter().take(LOOKAHEAD);
        let is_first = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'!' | b'?');
        near.clone().next().is_some_and(is_first)
            && near.copied().find(|byte| matches!(byte, b'<' | b'>')) == Some(b'>')
    }

    /// Whether a line ends at `at`, and does not go on in the next one.
    pub(super) fn is_line_end(&self, separator: Separator, at: usize) -> bool {
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
        let next = self.view.skip_space(at);
        match self.bytes.get(next) {
            None => true,
            Some(b',' | b';' | b'}' | b']' | b')' | b'&' | b'"' | b'\'' | b'\\' | b'>' | b'|' | b'#') => true,
            Some(b'/') => matches!(self.bytes.get(next + 1), Some(b'/' | b'*' | b'>')),
            Some(b'<') => next == at,
            Some(_) => next > at && (self.bytes[at..next].contains(&b'\n') || self.is_name_at(next)),
        }
    }

    /// Whether nothing but words follow in the tag: `<input value="v" required>`.
    fn ends_attribute(&self, at: usize) -> bool {
        let near = self.bytes[at..].iter().take(LOOKAHEAD);
        let is_part = |byte: &&u8| is_of_name(**byte) || byte.is_ascii_whitespace();
        self.is_in_tag()
            && self.bytes.get(at).is_some_and(u8::is_ascii_whitespace)
            && matches!(self.bytes.get(at + near.take_while(is_part).count()), Some(b'>' | b'/' | b'='))
    }

    /// Whether what stands behind a `,` or `;` is not a part of the value in front.
    fn member_follows(&self, at: usize) -> bool {
        let next = self.view.skip_space(at);
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

    /// Where the blanks and comments end that begin at `at`, on one line or on several.
    pub(super) fn skip_filler(&self, at: usize, lines: bool) -> usize {
        let farthest = at + 4 * LOOKAHEAD;
        let mut at = at;
        loop {
            at = if lines { self.view.skip_space(at) } else { self.view.skip_blanks(at) };
            match self.skip_comment(at, farthest, lines) {
                Some(end) => at = end,
                None => return at,
            }
        }
    }

    /// Where the comment that may stand at `at` ends.
    fn skip_comment(&self, at: usize, farthest: usize, lines: bool) -> Option<usize> {
        let rest = self.bytes.get(at..farthest.min(self.bytes.len()))?;
        let end: &[u8] = match rest {
            [b'/', b'*', ..] => b"*/",
            [b'/', b'/', ..] | [b'#', b' ', ..] if lines => b"\n",
            _ => return None,
        };
        let found = rest.windows(end.len()).position(|window| window == end)?;
        let is_comment = lines || !rest[..found].contains(&b'\n');
        is_comment.then_some(at + found + end.len())
    }
}

/// How many bytes something is written with that counts, and is not encoded more deeply.
#[derive(Clone, Copy)]
struct Widths {
    of_others: usize,
    /// That of the end of the line in front, too: `%0d%0aCookie: v%0d%0a`.
    of_lines: usize,
}

impl Widths {
    const fn of(self, byte: u8) -> usize {
        if matches!(byte, b'\r' | b'\n') { self.of_lines } else { self.of_others }
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
