use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use sha2::{Digest, Sha256};

use super::redact::PLACEHOLDER;
use crate::{AgentConfig, IpAddress, IpPrivacy, Secret};

/// Hex digits of a hashed address.
const HASH_DIGITS: usize = 16;

/// What is sent of addresses.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    privacy: IpPrivacy,
    salt: Secret,
}

/// What stands for the address of an event.
pub(super) enum Sent<'a> {
    Address(IpAddr),
    /// What may hold anything.
    Text(Cow<'a, str>),
}

impl Addresses {
    pub(super) fn new(config: &AgentConfig) -> Self {
        Self { privacy: config.ip_privacy, salt: config.ip_hash_salt.clone() }
    }

    /// What is sent of the address of an event.
    pub(super) fn sent<'a>(&self, address: &'a IpAddress) -> Sent<'a> {
        let salt = self.salt.expose();
        match (self.privacy, address) {
            (IpPrivacy::Full, IpAddress::Addr(address)) => Sent::Address(*address),
            (IpPrivacy::Full, IpAddress::Text(text)) => Sent::Text(Cow::Borrowed(text)),
            (IpPrivacy::Truncate, IpAddress::Addr(address)) => Sent::Address(network(*address)),
            (IpPrivacy::Truncate, IpAddress::Text(text)) => Sent::Text(network_of_text(text)),
            (IpPrivacy::Hash, IpAddress::Addr(address)) => Sent::Text(hash_of_address(*address, salt).into()),
            (IpPrivacy::Hash, IpAddress::Text(text)) => Sent::Text(hash_of_text(text, salt)),
        }
    }

    /// The text with what is sent of the addresses in it; `None` if that is the text.
    pub(super) fn mask(&self, text: &str) -> Option<String> {
        let mut masked = None;
        let mut kept = 0;
        self.each_in(text, |address, sent| {
            let masked: &mut String = masked.get_or_insert_default();
            masked.push_str(&text[kept..address.start]);
            masked.push_str(&sent);
            kept = address.end;
        });
        masked.map(|masked| masked + &text[kept..])
    }

    /// Calls `found` with the place of each address in the text that is not sent as it is, and with what is sent of it.
    pub(super) fn each_in(&self, text: &str, mut found: impl FnMut(Range<usize>, String)) {
        let mut at = 0;
        // Ports and brackets belong to what is parsed.
        let is_delimiter = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '%' | '[' | ']'));
        for word in text.split(is_delimiter) {
            // A list around it, the end of a sentence, or an obfuscated port behind it.
            let opened = word.trim_start_matches('[');
            let bare = opened.trim_end_matches([']', '.', ':']);
            let (address, start, word_sent) = match parse(bare) {
                Some(address) => (Some(address), at + word.len() - opened.len(), bare),
                None => (parse(word), at, word),
            };
            let sent = address.and_then(|address| match self.privacy {
                IpPrivacy::Full => None,
                IpPrivacy::Truncate => Some(network(address).to_string()),
                IpPrivacy::Hash => Some(hash_of_address(address, self.salt.expose())),
            });
            if let Some(sent) = sent.filter(|sent| sent != word_sent) {
                found(start..start + word_sent.len(), sent);
            }
            at += word.len();
            at += text[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
}

/// The network of an address: /24 of IPv4, /48 of IPv6.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    }
}

/// First 16 hex digits of SHA-256 over the address and the salt.
fn hash(address: &str, salt: &str) -> String {
    let digest = Sha256::new().chain_update(address).chain_update(salt).finalize();
    digest.iter().take(HASH_DIGITS / 2).fold(String::with_capacity(HASH_DIGITS), |mut hex, byte| {
        // Appending to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The hash of an address, the same for an IPv4 address and its mapping to IPv6.
pub(super) fn hash_of_address(address: IpAddr, salt: &str) -> String {
    hash(&address.to_canonical().to_string(), salt)
}

/// The network of an address in text; what stands for one (nothing, `system`) stays.
pub(super) fn network_of_text(text: &str) -> Cow<'_, str> {
    if names_nobody(text) {
        return Cow::Borrowed(text);
    }
    parse(text).map_or(Cow::Borrowed(PLACEHOLDER), |address| network(address).to_string().into())
}

/// The hash of an address in text, or of the text if it is none; what stands for an address, or is a
/// hash already, stays.
pub(super) fn hash_of_text<'a>(text: &'a str, salt: &str) -> Cow<'a, str> {
    if names_nobody(text) || is_hash(text) {
        return Cow::Borrowed(text);
    }
    match parse(text) {
        Some(address) => hash_of_address(address, salt).into(),
        None => hash(text.trim(), salt).into(),
    }
}

fn names_nobody(text: &str) -> bool {
    matches!(text, "" | "system")
}

fn is_hash(text: &str) -> bool {
    text.len() == HASH_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// An address that may have a port, brackets or a zone.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => host,
            _ => text,
        },
    };
    host.split_once('%').map_or(host, |(host, _)| host).parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn contract_vectors() {
        assert_eq!(hash("1.2.3.4", ""), "6694f83c9f476da3");
        assert_eq!(hash("1.2.3.4", "s"), "871602288455ee6d");
    }

    #[test]
    fn text_is_understood() {
        let table = [
            ("1.2.3.4", "1.2.3.0"),
            ("1.2.3.4:80", "1.2.3.0"),
            (" 1.2.3.4 ", "1.2.3.0"),
            ("::ffff:1.2.3.4", "1.2.3.0"),
            ("[::ffff:1.2.3.4]:443", "1.2.3.0"),
            ("2001:db8:1:2:3::4", "2001:db8:1::"),
            ("[2001:db8:1:2:3::4]", "2001:db8:1::"),
            ("[2001:db8:1:2:3::4%eth0]:8", "2001:db8:1::"),
            ("fe80::1%eth0", "fe80::"),
            ("", ""),
            ("system", "system"),
            ("bob@example.com", "[REDACTED]"),
            ("1.2.3.4, 5.6.7.8", "[REDACTED]"),
        ];
        for (text, network) in table {
            assert_eq!(network_of_text(text), network, "{text}");
            let once = network_of_text(text).into_owned();
            assert_eq!(network_of_text(&once), once, "{text} again");
            let once = hash_of_text(text, "s").into_owned();
            assert_eq!(hash_of_text(&once, "s"), once, "{text} hashed again");
        }
    }

    #[test]
    fn spellings_of_an_address_have_one_hash() {
        let hashed = hash("1.2.3.4", "s");
        for text in ["1.2.3.4", "1.2.3.4:80", "::ffff:1.2.3.4", "[::ffff:1.2.3.4]:80", "::ffff:102:304"] {
            assert_eq!(hash_of_text(text, "s"), hashed, "{text}");
        }
        assert_eq!(hash_of_text("system", "s"), "system");
        assert_eq!(hash_of_text("", "s"), "");
        assert_eq!(hash_of_text("bob", "s"), hash("bob", "s"));
    }

    #[test]
    fn parsed_and_text_agree() {
        for text in ["9.8.7.6", "2001:db8::1", "::ffff:9.8.7.6"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(network(address).to_string(), network_of_text(text));
        }
    }
}
