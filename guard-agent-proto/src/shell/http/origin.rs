use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::string::String;

/// Where a connection goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Whether TLS is spoken there.
    pub is_tls: bool,
    /// A name in lower case, or an address, without brackets.
    pub host: String,
    /// The port, as given or that of the scheme.
    pub port: u16,
}

impl Origin {
    /// The origin of a URL and, if any, what stands before the `@`; `None` for schemes other than `http` and `https`.
    pub(super) fn parse(url: &str) -> Option<(Self, Option<&str>)> {
        let (scheme, rest) = url.split_once("://")?;
        let is_tls = match () {
            () if scheme.eq_ignore_ascii_case("http") => false,
            () if scheme.eq_ignore_ascii_case("https") => true,
            () => return None,
        };
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return None;
        }
        let authority = rest.split(['/', '?', '#']).next()?;
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
            _ => (address, if is_tls { 443 } else { 80 }),
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => String::from(address.parse::<Ipv6Addr>().is_ok().then_some(address)?),
            None if host.is_empty() || host.contains([':', '[', ']']) => return None,
            None => host.to_ascii_lowercase(),
        };
        Some((Self { is_tls, host, port }, user))
    }

    /// The host if it is an address.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Host and port, as in `CONNECT`.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { std::format!("[{host}]:{port}") } else { std::format!("{host}:{port}") }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn urls_have_an_origin() {
        for (url, origin, user) in [
            ("http://h", "http://h:80", None),
            ("HTTPS://H.Example/path?q#f", "https://h.example:443", None),
            ("http://h:8080/", "http://h:8080", None),
            ("http://[::1]", "http://[::1]:80", None),
            ("https://[FD00::1]:8443/x", "https://[FD00::1]:8443", None),
            ("http://user:p@ss@h:1", "http://h:1", Some("user:p@ss")),
            ("http://@h", "http://h:80", Some("")),
        ] {
            let (found, before) = Origin::parse(url).unwrap_or_else(|| panic!("{url}"));
            assert_eq!((found.to_string().as_str(), before), (origin, user), "{url}");
        }
        for url in [
            "",
            "h",
            "h:80",
            "socks5://h",
            "http://",
            "http://:80",
            "http://h:",
            "http://h:x",
            "http://h:0",
            "http://[::1",
            "http://::1",
            "http://h h",
        ] {
            assert_eq!(Origin::parse(url), None, "{url}");
        }
    }
}
