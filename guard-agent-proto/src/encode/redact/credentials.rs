//! Credentials that are known by their shape, whatever they are called.

use core::ops::Range;

use crate::CredentialRule;

/// Whether that is an early byte of one of them, and rare elsewhere: `B` of `Bearer`, `J` of `eyJ`, the last one of a
/// prefix. Card numbers begin with any digit.
pub(super) const fn is_trigger(byte: u8) -> bool {
    matches!(byte, b':' | b'-' | b'_' | b'B' | b'b' | b'J' | b'I' | b'G' | b'9')
}

/// Neighbours that are rare elsewhere, a byte and those behind it: each text with a credential that [`is_trigger`] finds
/// and no `:` holds two of them.
const RARE: [(u8, &[u8]); 13] = [
    (b'B', b"aAeE"),
    (b'b', b"aAeE"),
    (b'-', b"-"),
    (b'_', b"apv"),
    (b'I', b"Az"),
    (b'S', b"G"),
    (b'g', b"hl"),
    (b'h', b"fps"),
    (b'k', b"-_"),
    (b'p', b"m"),
    (b'q', b"0"),
    (b'x', b"ao"),
    (b'y', b"-Jap"),
];

/// Which pairs of [`RARE`] a byte begins, and which it ends, as bits.
pub(super) const fn neighbours(byte: u8) -> (u32, u32) {
    let (mut begun, mut ended, mut pair) = (0, 0, 0);
    while pair < RARE.len() {
        let (first, mut seconds) = RARE[pair];
        if first == byte {
            begun |= 1 << pair;
        }
        while let [second, rest @ ..] = seconds {
            if *second == byte {
                ended |= 1 << pair;
            }
            seconds = rest;
        }
        pair += 1;
    }
    (begun, ended)
}

/// Most bytes in which it has to show that something is a key.
const LONGEST: usize = 256;

/// Most backslashes in front of what they escape: text in JSON in JSON has three.
const MOST_ESCAPES: usize = 16;

/// Fewest bytes of text with one of them.
const SHORTEST: usize = 12;

/// Prefixes of keys that services hand out, by their last two bytes, and the fewest bytes that follow.
const fn prefixes(end: [u8; 2]) -> &'static [(&'static [u8], usize)] {
    match &end {
        b"p_" => &[(b"ghp_", 20)],
        b"o_" => &[(b"gho_", 20)],
        b"u_" => &[(b"ghu_", 20)],
        b"s_" => &[(b"ghs_", 20), (b"shpss_", 20)],
        b"r_" => &[(b"ghr_", 20)],
        b"t_" => {
            &[(b"github_pat_", 20), (b"dckr_pat_", 20), (b"shpat_", 20), (b"sk_test_", 10), (b"rk_test_", 10)]
        }
        b"e_" => &[(b"sk_live_", 10), (b"rk_live_", 10), (b"pk_live_", 10)],
        b"c_" => &[(b"whsec_", 16)],
        b"m_" => &[(b"npm_", 30)],
        b"f_" => &[(b"hf_", 30)],
        b"1_" => &[(b"dop_v1_", 30)],
        b"a_" => &[(b"glsa_", 20)],
        b"i_" => &[(b"lin_api_", 20)],
        b"t-" => &[(b"glpat-", 16), (b"gldt-", 16), (b"glrt-", 16), (b"sk-ant-", 16)],
        b"j-" => &[(b"sk-proj-", 16)],
        b"k-" => &[(b"sk-", 20)],
        b"b-" => &[(b"xoxb-", 10)],
        b"p-" => &[(b"xoxp-", 10), (b"xapp-", 10), (b"sq0csp-", 20)],
        b"a-" => &[(b"xoxa-", 10)],
        b"r-" => &[(b"xoxr-", 10)],
        b"s-" => &[(b"xoxs-", 10)],
        b"i-" => &[(b"pypi-", 30)],
        b"y-" => &[(b"tskey-", 16)],
        _ => &[],
    }
}

/// Finds the secret of which the byte at a place in text is an early one, which may be cut off.
type Find = fn(&[u8], usize, bool) -> Option<Range<usize>>;

/// The rules that are on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credentials(u8);

impl Credentials {
    pub(super) fn new(rules: &[CredentialRule]) -> Self {
        Self(rules.iter().fold(0, |set, rule| set | 1 << *rule as u8))
    }

    pub(super) const fn include(self, rule: CredentialRule) -> bool {
        self.0 >> rule as u8 & 1 == 1
    }

    /// Whether what JSON writes as a number is that of a card.
    pub(super) fn include_number(self, number: &[u8]) -> bool {
        self.include(CredentialRule::CardNumber)
            && number.first().is_some_and(u8::is_ascii_digit)
            && self.at(number, 0, false).is_some()
    }

    /// Whether the text holds any.
    pub(super) fn are_in(self, bytes: &[u8]) -> bool {
        if bytes.len() < SHORTEST {
            return false;
        }
        let digits = self.include(CredentialRule::CardNumber);
        let is_early = |byte: u8| is_trigger(byte) || (digits && byte.is_ascii_digit());
        let finds = |(at, byte): (usize, &u8)| is_early(*byte) && self.at(bytes, at, false).is_some();
        bytes.iter().enumerate().any(finds)
    }

    /// The secret of which the byte at `at` is an early one. Where the text `is_cut` off, what may become one at
    /// its end is one.
    pub(super) fn at(self, bytes: &[u8], at: usize, is_cut: bool) -> Option<Range<usize>> {
        let (rule, find): (_, Find) = match bytes[at] {
            b':' => (CredentialRule::UrlUserinfo, userinfo),
            b'B' | b'b' => (CredentialRule::AuthorizationScheme, authorization),
            b'J' => (CredentialRule::Jwt, jwt),
            b'-' if bytes[at..].starts_with(BEGIN) => (CredentialRule::PemBlock, pem),
            b'-' | b'_' => (CredentialRule::KeyPrefix, prefixed),
            b'I' | b'G' | b'9' => (CredentialRule::KeyPrefix, unusual_prefix),
            byte if byte.is_ascii_digit() => (CredentialRule::CardNumber, card_number),
            _ => return None,
        };
        if self.include(rule) { find(bytes, at, is_cut) } else { None }
    }
}

const BEGIN: &[u8] = b"-----BEGIN";
const END: &[u8] = b"-----END";
const DASHES: &[u8] = b"-----";

/// The password in `scheme://user:password@host`, or the token in `scheme://token@host`. What stands behind a host and a
/// port is a path or a query, which may hold an `@`, too; else the password goes on behind a `/`. JSON may escape each `/`.
fn userinfo(bytes: &[u8], at: usize, is_cut: bool) -> Option<Range<usize>> {
    let start = skip_slash(bytes, skip_slash(bytes, at + 1)?)?;
    let is_escaped = start > at + 3;
    let rest = &bytes[start..];
    let len = rest.iter().take_while(|byte| !ends_url(**byte) && !matches!(byte, b'/' | b'?' | b'#')).count();
    let authority = &rest[..len];
    let colon = authority.iter().position(|byte| *byte == b':');
    if let Some(end) = authority.iter().rposition(|byte| *byte == b'@') {
        let user = &authority[..colon.unwrap_or(end).min(end)];
        // Regular expressions escape it, too: `:\/\/[^:]+:[^@]+@`.
        if is_escaped && user.contains(&b'[') {
            return None;
        }
        return match colon.filter(|colon| *colon < end) {
            // Hosts of repositories demand this behind a token.
            Some(colon)
                if !matches!(&authority[colon + 1..end], b"" | b"x-oauth-basic") || !is_token(user) =>
            {
                Some(start + colon + 1..start + end)
            }
            Some(_) | None => is_token(user).then_some(start..start + end),
        };
    }
    let colon = colon?;
    let password = &rest[colon + 1..];
    let digits = run(password, 0, |byte| byte.is_ascii_digit()).len();
    let is_port = match rest.get(colon + 1 + digits) {
        None => true,
        Some(byte) => {
            ends_url(*byte)
                || matches!(byte, b'/' | b'?' | b'#' | b'.' | b',' | b';' | b':')
                || matches!(byte, b')' | b']' | b'}' | b'|' | b'&')
        }
    };
    if is_port {
        return None;
    }
    let goes_on =
        |(at, byte): &(usize, &u8)| !ends_url(**byte) || (is_escaped && skip_slash(password, *at).is_some());
    let near = &password[..password.len().min(LONGEST)];
    let near = &near[..near.iter().enumerate().take_while(goes_on).count()];
    let at_end = || {
        if near.len().max(len - colon - 1) < password.len() {
            return None;
        }
        let is_user = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%+".contains(byte);
        let is_template = |byte: &u8| matches!(byte, b'$' | b'{' | b'}' | b'(' | b')');
        let is_one = authority[..colon].iter().all(is_user) && !password.iter().any(is_template);
        (is_cut || is_one).then_some(start + colon + 1..bytes.len())
    };
    if len == rest.len() {
        return at_end();
    }
    // The `@` behind which a host stands, and not more of the password.
    let is_of_host =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'[' | b']');
    let mut from = 0;
    while let Some(found) = near[from..].iter().position(|byte| *byte == b'@') {
        let end = from + found;
        let host = run(near, end + 1, is_of_host).len();
        if host > 0 && near.get(end + 1 + host) != Some(&b'@') {
            return Some(start + colon + 1..start + colon + 1 + end);
        }
        from = end + 1;
    }
    at_end()
}

/// Where the `/` ends that begins at `at`, with the backslashes that escape it.
fn skip_slash(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let escapes = rest.iter().take(MOST_ESCAPES).take_while(|byte| **byte == b'\\').count();
    (rest.get(escapes) == Some(&b'/')).then_some(at + escapes + 1)
}

/// Whether no URL goes on with that byte.
const fn ends_url(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\')
}

/// Whether the name of a user is a token: long, of a machine's characters, with a digit.
fn is_token(user: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    user.len() >= 16 && user.iter().all(is_part) && user.iter().any(u8::is_ascii_digit)
}

/// What stands behind `Bearer` and `Basic`, unless it is a word.
fn authorization(bytes: &[u8], at: usize, is_cut: bool) -> Option<Range<usize>> {
    let rest = &bytes[at..];
    let is_scheme = |scheme: &&[u8]| {
        rest.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && matches!(rest.get(scheme.len()), Some(b' ' | b'\t' | b'+'))
    };
    let scheme = [&b"bearer"[..], b"basic"].into_iter().find(is_scheme)?;
    if !begins_word(bytes, at) {
        return None;
    }
    let blanks = rest[scheme.len()..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'+')).count();
    let start = at + scheme.len() + blanks;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    let token = run(bytes, start, is_part);
    let any = |is: fn(&u8) -> bool| token.iter().any(is);
    let is_mixed = any(u8::is_ascii_lowercase) && token.iter().skip(1).any(u8::is_ascii_uppercase);
    let is_token = any(u8::is_ascii_digit) || (is_mixed && token.len() >= 12) || token.len() >= 20;
    let end = start + token.len();
    (is_token || (is_cut && end == bytes.len() && end > start)).then_some(start..end)
}

/// Two or three parts in base64, of which the first is a JSON object: `eyJ` reads `{"`.
fn jwt(bytes: &[u8], at: usize, is_cut: bool) -> Option<Range<usize>> {
    let start = at.checked_sub(2).filter(|start| bytes[*start..].starts_with(b"eyJ"))?;
    if !begins_word(bytes, start) {
        return None;
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut end = start;
    for part in 0..3 {
        let len = run(bytes, end, is_part).len();
        end += len;
        if end == bytes.len() && is_cut {
            break;
        }
        if part == 0 && (len < 10 || bytes.get(end) != Some(&b'.')) || part == 1 && len < 2 {
            return None;
        }
        if part < 2 && bytes.get(end) == Some(&b'.') {
            end += 1;
        } else {
            break;
        }
    }
    Some(start..end)
}

/// A block of PEM, in whose lines text may be quoted and comments may stand; of one that is cut off, what may be a part of
/// it. Forms, literals and XML write its blanks and the ends of its lines in their way.
fn pem(bytes: &[u8], at: usize, _is_cut: bool) -> Option<Range<usize>> {
    let label = at + BEGIN.len();
    let is_label =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b' ' | b'+');
    let body = label + run(bytes, label, is_label).len();
    if !bytes[body..].starts_with(DASHES) || !matches!(bytes[label], b' ' | b'+') {
        return None;
    }
    let is_part =
        |byte: u8| byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/=:,.\\%".contains(&byte);
    let mut end = skip_headers(bytes, body + DASHES.len());
    loop {
        end += run(bytes, end, is_part).len();
        let rest = &bytes[end..];
        if rest.starts_with(END) {
            let label = run(bytes, end + END.len(), is_label).len();
            let dashes = run(bytes, end + END.len() + label, |byte| byte == b'-').len();
            return Some(at..end + END.len() + label + dashes.min(DASHES.len()));
        }
        end += match rest {
            // `Proc-Type` and `DEK-Info`, in front of an encrypted key.
            [b'-', next, ..] if next.is_ascii_alphanumeric() => 1,
            [b'&', ..] => match end_of_line(rest) {
                0 => return Some(at..end),
                len => len,
            },
            [byte, ..] if is_mark(*byte) && ends_line(&bytes[..end]) => 1,
            _ => return Some(at..end),
        };
    }
}

/// Where the headers of a block end that begin behind the line that ends at `at`: `Version: GnuPG v2 (GNU/Linux)`.
fn skip_headers(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let line = at + end_of_line(&bytes[at..]);
        let line = line + end_of_line(&bytes[line..]);
        let start = line + run(bytes, line, |byte| is_mark(byte) || byte == b' ').len();
        let name = run(bytes, start, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if line == at || name.is_empty() || bytes.get(start + name.len()) != Some(&b':') {
            return at;
        }
        let rest = &bytes[start..];
        let is_end = |len: &usize| end_of_line(&rest[*len..]) > 0;
        let near = rest.len().min(LONGEST);
        match (0..near).find(is_end) {
            Some(len) => at = start + len,
            None if near == rest.len() => return bytes.len(),
            None => return at,
        }
    }
}

/// How long the end of a line is with which that begins, as it is, or as literals, forms and XML write it.
fn end_of_line(bytes: &[u8]) -> usize {
    let written = |spellings: &[&[u8]]| {
        let is_there = |spelling: &&&[u8]| {
            bytes.get(..spelling.len()).is_some_and(|start| start.eq_ignore_ascii_case(spelling))
        };
        spellings.iter().find(is_there).map_or(0, |spelling| spelling.len())
    };
    match bytes.first() {
        Some(b'\r') => written(&[b"\r\n", b"\r"]),
        Some(b'\n') => 1,
        Some(b'%') => written(&[b"%0D%0A", b"%0A", b"%0D"]),
        Some(b'&') => written(&[b"&#10;", b"&#13;", b"&#xA;", b"&#xD;"]),
        Some(b'\\') => {
            let escapes = bytes.iter().take(MOST_ESCAPES).take_while(|byte| **byte == b'\\').count();
            if matches!(bytes.get(escapes), Some(b'r' | b'n')) { escapes + 1 } else { 0 }
        }
        Some(_) | None => 0,
    }
}

/// Whether that may stand in front of each line of a text that is quoted or commented out.
const fn is_mark(byte: u8) -> bool {
    matches!(byte, b'>' | b'#' | b'|' | b'*' | b';')
}

/// Whether only blanks and marks stand in the line that ends there.
fn ends_line(in_front: &[u8]) -> bool {
    let near = &in_front[in_front.len().saturating_sub(MOST_ESCAPES)..];
    let around = near.iter().rev().take_while(|byte| is_mark(**byte) || matches!(byte, b' ' | b'\t')).count();
    let near = &near[..near.len() - around];
    [&b"\n"[..], b"\r", b"\\n", b"\\r"].into_iter().any(|end| near.ends_with(end))
}

/// A key with a prefix that ends at `at`.
fn prefixed(bytes: &[u8], at: usize, is_cut: bool) -> Option<Range<usize>> {
    let before = *bytes.get(at.checked_sub(1)?)?;
    let ends_here = |(prefix, _): &&(&[u8], usize)| {
        bytes[..=at].ends_with(prefix) && begins_word(bytes, at + 1 - prefix.len())
    };
    let (prefix, least) = prefixes([before, bytes[at]]).iter().find(ends_here)?;
    key(bytes, at + 1 - prefix.len(), prefix.len(), *least, is_cut)
}

/// A key whose prefix ends in no `-` or `_`.
fn unusual_prefix(bytes: &[u8], at: usize, is_cut: bool) -> Option<Range<usize>> {
    let (prefix, before, least): (&[u8], _, _) = match (bytes[at], bytes.get(at + 1)) {
        (b'I', Some(b'A')) if at >= 2 && bytes[at - 2..at] == *b"AK" => (b"AKIA", 2, 16),
        (b'I', Some(b'A')) if at >= 2 && bytes[at - 2..at] == *b"AS" => (b"ASIA", 2, 16),
        (b'I', Some(b'z')) => (b"AIza", 1, 30),
        (b'G', Some(b'.')) => (b"SG.", 1, 20),
        (b'9', Some(b'.')) => (b"ya29.", 3, 20),
        _ => return None,
    };
    let start = at.checked_sub(before)?;
    if !bytes[start..].starts_with(prefix) || !begins_word(bytes, start) {
        return None;
    }
    key(bytes, start, prefix.len(), least, is_cut)
}

fn key(bytes: &[u8], start: usize, prefix: usize, least: usize, is_cut: bool) -> Option<Range<usize>> {
    // Of these two the dot in the prefix is one of several.
    let has_dots = bytes[start + prefix - 1] == b'.';
    let is_part =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (has_dots && byte == b'.');
    let near = &bytes[..bytes.len().min(start + prefix + LONGEST)];
    let tail = run(near, start + prefix, is_part);
    let end = start + prefix + tail.len();
    let digits = tail.iter().filter(|byte| byte.is_ascii_digit()).count();
    // Classes of style sheets begin so, too: `sk-fading-circle-2x`.
    let is_short = bytes[start..start + prefix] == *b"sk-";
    let is_mixed = || tail.iter().any(u8::is_ascii_uppercase) && tail.iter().any(u8::is_ascii_lowercase);
    let is_whole = tail.len() >= least && digits > 0 && (!is_short || digits > 1 || is_mixed());
    if is_whole {
        return Some(start..end + run(bytes, end, is_part).len());
    }
    (is_cut && end == bytes.len()).then_some(start..end)
}

/// A number of 13 to 19 digits with a valid check digit, in groups or not.
fn card_number(bytes: &[u8], at: usize, _is_cut: bool) -> Option<Range<usize>> {
    if !begins_word(bytes, at) {
        return None;
    }
    let mut digits = [0_u8; 19];
    let (mut count, mut end) = (0, at);
    while let Some(digit) = bytes.get(end).filter(|byte| byte.is_ascii_digit()) {
        *digits.get_mut(count)? = digit - b'0';
        count += 1;
        end += 1;
        let is_grouped =
            matches!(bytes.get(end..end + 2), Some([b' ' | b'-', next]) if next.is_ascii_digit());
        end += usize::from(is_grouped);
    }
    let sum: u32 = digits[..count]
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let weighted = u32::from(*digit) << (place % 2);
            weighted / 10 + weighted % 10
        })
        .sum();
    (count >= 13 && sum.is_multiple_of(10)).then_some(at..end)
}

fn run(bytes: &[u8], start: usize, is_part: impl Fn(u8) -> bool) -> &[u8] {
    let rest = bytes.get(start..).unwrap_or_default();
    &rest[..rest.iter().take_while(|byte| is_part(**byte)).count()]
}

fn begins_word(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    !before.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn what_begins_a_credential_holds_rare_neighbours() {
        let mut begin: Vec<&[u8]> = [
            &b"Bearer"[..],
            b"bearer",
            b"BASIC",
            b"basic",
            b"eyJ",
            BEGIN,
            b"AKIA",
            b"ASIA",
            b"AIza",
            b"SG.",
            b"ya29.",
        ]
        .into();
        for byte in 0..0x80 {
            begin.extend(
                [b'_', b'-'].into_iter().flat_map(|end| prefixes([byte, end])).map(|(prefix, _)| *prefix),
            );
        }
        assert!(begin.len() > 40);
        for text in begin {
            let are_rare = |pair: &[u8]| neighbours(pair[0]).0 & neighbours(pair[1]).1 != 0;
            assert!(text.windows(2).any(are_rare), "{}", text.escape_ascii());
        }
    }
}
