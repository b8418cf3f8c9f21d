//! Through which proxy the endpoint is reached: decided once, here, so that the spellings of `NO_PROXY` mean the same
//! on every runtime. The clients are given the result, and do not look at the environment.

use std::ffi::OsString;
use std::fmt;
use std::format;
use std::net::IpAddr;
use std::string::String;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::Origin;
use crate::Secret;

/// A proxy, and who we are to it.
#[derive(Clone)]
pub struct ProxyServer {
    origin: Origin,
    /// User name and password, decoded.
    user: Option<(Secret, Secret)>,
}

impl ProxyServer {
    /// The proxy of a URL with scheme `http` or `https`.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (origin, user) = Origin::parse(url)?;
        let decoded = |text: &str| Secret::new(percent_decode_str(text).decode_utf8_lossy().into_owned());
        let user = user.filter(|user| !user.is_empty()).map(|user| {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            (decoded(user), decoded(password))
        });
        Some(Self { origin, user })
    }

    /// Where it is.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its URL, with user name and password percent-encoded.
    #[must_use]
    pub fn url(&self) -> Secret {
        let encoded = |text: &Secret| format!("{}", utf8_percent_encode(text.expose(), NON_ALPHANUMERIC));
        let scheme = if self.origin.is_tls { "https" } else { "http" };
        let user =
            self.user.as_ref().map(|(user, password)| format!("{}:{}@", encoded(user), encoded(password)));
        Secret::new(format!("{scheme}://{}{}", user.unwrap_or_default(), self.origin.authority()))
    }

    /// Value for `Proxy-Authorization`.
    #[must_use]
    pub fn authorization(&self) -> Option<Secret> {
        let (user, password) = self.user.as_ref()?;
        let credentials = STANDARD.encode(format!("{}:{}", user.expose(), password.expose()));
        Some(Secret::new(format!("Basic {credentials}")))
    }
}

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyServer").finish_non_exhaustive()
    }
}

/// The proxy that the environment names for an endpoint, as curl reads it: variables in lower case come first, empty ones
/// count as not set.
///
/// An error is the variable whose value is no proxy that can be used: blank and what is no text too, since what was meant
/// to go through a proxy must not go past it. Its value may hold a password.
pub(super) fn from_environment(
    endpoint: &Origin,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<ProxyServer>, &'static str> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let names: &[&'static str] = if endpoint.is_tls {
        &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    } else if variable("REQUEST_METHOD").is_some() {
        // A CGI gets `HTTP_PROXY` from its client as the header `Proxy`.
        &["http_proxy", "all_proxy", "ALL_PROXY"]
    } else {
        &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
    };
    let Some((name, url)) = names.iter().find_map(|name| Some((*name, set(name)?))) else { return Ok(None) };
    let is_blank = |value: &OsString| value.to_str().is_some_and(|value| value.trim().is_empty());
    let exceptions =
        ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| set(name).filter(|value| !is_blank(value)));
    if is_excepted(endpoint, &exceptions.unwrap_or_default().to_string_lossy()) {
        return Ok(None);
    }
    let url = url.to_str().map(str::trim).ok_or(name)?;
    let url = if url.contains("://") { String::from(url) } else { format!("http://{url}") };
    ProxyServer::parse(&url).map(Some).ok_or(name)
}

/// Whether a value of `NO_PROXY` names that origin. Names are compared as they are: nothing is looked up.
fn is_excepted(origin: &Origin, exceptions: &str) -> bool {
    exceptions.split([',', ' ', '\t', '\r', '\n']).any(|exception| names(exception, origin))
}

fn names(exception: &str, origin: &Origin) -> bool {
    if exception == "*" || is_in_network(exception, origin) {
        return true;
    }
    match exception.rsplit_once(':') {
        Some((host, port)) => {
            port.parse() == Ok(origin.port) && (is_in_network(host, origin) || is_in_domain(host, origin))
        }
        None => is_in_domain(exception, origin),
    }
}

/// Whether it is that address, or in that block of addresses: `10.0.0.1`, `10.0.0.0/8`, `::1`, `[::1]`, `fd00::/8`.
fn is_in_network(network: &str, origin: &Origin) -> bool {
    let Some(ip) = origin.ip().map(|ip| ip.to_canonical()) else { return false };
    let network = network.replace(['[', ']'], "");
    let (address, length) = match network.split_once('/') {
        Some((address, length)) => (address, length.parse::<u32>().ok()),
        None => (network.as_str(), Some(u128::BITS)),
    };
    let (Ok(address), Some(length)) = (address.parse::<IpAddr>(), length) else { return false };
    let is_single = !network.contains('/');
    let same_bits =
        |bits, differing: u128| length <= bits && (length == 0 || differing >> (bits - length) == 0);
    match (if is_single { address.to_canonical() } else { address }, ip) {
        (address, ip) if is_single => address == ip,
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            same_bits(u32::BITS, (network.to_bits() ^ ip.to_bits()).into())
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => same_bits(u128::BITS, network.to_bits() ^ ip.to_bits()),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Whether it is that name or one below it: `example.com`, `.example.com` and `*.example.com` say the same.
fn is_in_domain(domain: &str, origin: &Origin) -> bool {
    let domain = domain.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(domain);
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    let domain = domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase();
    let host = origin.host.strip_suffix('.').unwrap_or(&origin.host);
    if domain.is_empty() || origin.ip().is_some() {
        return false;
    }
    host.strip_suffix(domain.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::string::ToString as _;

    use proptest::prelude::*;

    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::parse(url).unwrap().0
    }

    fn chosen(endpoint: &str, variables: &[(&str, &str)]) -> Result<Option<String>, &'static str> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let proxy = from_environment(&origin(endpoint), variable)?;
        Ok(proxy.map(|proxy| proxy.url().expose().to_string()))
    }

    #[test]
    fn every_spelling_of_no_proxy_means_the_same_as_elsewhere() {
        for (endpoint, bypassed, kept) in [
            (
                "http://api.example.com",
                &[
                    "*",
                    "example.com",
                    ".example.com",
                    "*.example.com",
                    "api.example.com",
                    "API.Example.COM",
                    "api.example.com.",
                    "example.com.",
                    ".example.com.",
                    "com",
                    "api.example.com:80",
                    "example.com:80",
                    ".example.com:80",
                    "*.example.com:80",
                    "other.org,example.com",
                    "other.org, example.com",
                    "other.org example.com",
                    " other.org ,\texample.com ,",
                    "other.org,,*",
                    "10.0.0.0/8 example.com",
                ][..],
                &[
                    "",
                    ",",
                    " ",
                    ".",
                    "*.",
                    "ample.com",
                    "*ample.com",
                    "xapi.example.com",
                    "v1.api.example.com",
                    "*.api.example.com.org",
                    "example.org",
                    "api.example.com:443",
                    "example.com:8080",
                    "example.com:",
                    "example.com:http",
                    "api",
                    "0.0.0.0/0",
                    "::/0",
                    "192.0.2.1",
                ][..],
            ),
            (
                "https://example.com",
                &["example.com", ".example.com", "*.example.com", "example.com:443", "*"],
                &["api.example.com", "www.example.com", "example.com:80", "e.com"],
            ),
            (
                "http://example.com.:8080",
                &["example.com", "example.com.:8080", "example.com:8080"],
                &["example.com:80"],
            ),
            (
                "http://10.1.2.3:8080",
                &[
                    "10.1.2.3",
                    "10.1.2.3:8080",
                    "10.0.0.0/8",
                    "10.1.2.0/24",
                    "10.1.2.3/32",
                    "10.1.2.99/24",
                    "0.0.0.0/0",
                    "10.0.0.0/8:8080",
                    "::ffff:10.1.2.3",
                    "192.168.0.0/16,10.0.0.0/8",
                    "localhost 127.0.0.0/8 10.0.0.0/8 .cluster.local .svc",
                    "*",
                ],
                &[
                    "10.1.2.4",
                    "10.1.2.3:80",
                    "10.2.0.0/16",
                    "10.1.2.0/33",
                    "10.1.2.0/-1",
                    "10.1.2.0/x",
                    "10.1.2.0/",
                    "10",
                    "10.",
                    "1.2.3",
                    ".3",
                    "*.3",
                    "2.3",
                    "::/0",
                    "10.1.2",
                ],
            ),
            ("http://10.1.2.131", &["10.1.2.128/25"], &["10.1.2.0/25"]),
            (
                "https://[fd00::1]:8443",
                &[
                    "fd00::1",
                    "[fd00::1]",
                    "[fd00::1]:8443",
                    "FD00:0:0::1",
                    "fd00::/8",
                    "[fd00::]/8",
                    "[fd00::/8]",
                    "fd00::1/128",
                    "::/0",
                    "*",
                ],
                &[
                    "fd00::2",
                    "[fd00::1]:443",
                    "fe80::/10",
                    "fd00::/129",
                    "0.0.0.0/0",
                    "[fd00::2]:8443",
                    "1",
                    "::1",
                ],
            ),
            ("http://[::ffff:10.1.2.3]", &["10.1.2.3", "10.0.0.0/8", "::ffff:10.1.2.3"], &["10.1.2.4"]),
            ("http://localhost", &["localhost", "LOCALHOST", "localhost:80"], &["127.0.0.1", "::1", "host"]),
            (
                "http://collector.guard.svc.cluster.local:8080",
                &[
                    ".cluster.local",
                    "cluster.local",
                    "svc.cluster.local",
                    "collector.guard.svc.cluster.local",
                ],
                &[".svc", "collector", "guard.svc"],
            ),
        ] {
            for (exceptions, is_bypassed) in
                bypassed.iter().map(|text| (text, true)).chain(kept.iter().map(|text| (text, false)))
            {
                for no_proxy in ["no_proxy", "NO_PROXY"] {
                    let variables = [("ALL_PROXY", "http://proxy"), (no_proxy, *exceptions)];
                    let proxy = chosen(endpoint, &variables).unwrap();
                    assert_eq!(proxy.is_none(), is_bypassed, "{endpoint} with {no_proxy}={exceptions:?}");
                }
            }
        }
    }

    #[test]
    fn variables_have_an_order() {
        let all = |names: &[&'static str]| -> std::vec::Vec<(&'static str, String)> {
            names.iter().map(|name| (*name, format!("http://{}", name.replace('_', "-")))).collect()
        };
        for (endpoint, set, chosen_by) in [
            ("http://h", &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"][..], Some("http_proxy")),
            ("http://h", &["HTTP_PROXY", "all_proxy", "ALL_PROXY"], Some("http_proxy")),
            ("http://h", &["all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"], Some("all_proxy")),
            ("http://h", &["ALL_PROXY"], Some("all_proxy")),
            ("http://h", &["https_proxy", "HTTPS_PROXY"], None),
            ("https://h", &["https_proxy", "HTTPS_PROXY", "all_proxy", "http_proxy"], Some("https_proxy")),
            ("https://h", &["HTTPS_PROXY", "all_proxy"], Some("https_proxy")),
            ("https://h", &["ALL_PROXY", "http_proxy"], Some("all_proxy")),
            ("https://h", &["http_proxy", "HTTP_PROXY"], None),
            // Set by a web server for its CGI.
            ("http://h", &["HTTP_PROXY", "REQUEST_METHOD"], None),
            ("http://h", &["http_proxy", "HTTP_PROXY", "REQUEST_METHOD"], Some("http_proxy")),
            ("https://h", &["HTTPS_PROXY", "REQUEST_METHOD"], Some("https_proxy")),
            ("http://h", &[], None),
        ] {
            let set = all(set);
            let set: std::vec::Vec<_> = set.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let expected = chosen_by.map(|name| format!("http://{}:80", name.replace('_', "-")));
            assert_eq!(chosen(endpoint, &set), Ok(expected), "{endpoint} {set:?}");
        }
        let empty =
            [("http_proxy", ""), ("HTTP_PROXY", "http://proxy"), ("no_proxy", " "), ("NO_PROXY", "other")];
        assert_eq!(chosen("http://h", &empty), Ok(Some("http://proxy:80".into())));
        for endpoint in ["http://h", "https://h"] {
            let all = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
            assert_eq!(chosen(endpoint, &all.map(|name| (name, ""))), Ok(None), "{endpoint}");
        }
        let lower = [("HTTP_PROXY", "http://proxy"), ("no_proxy", "other"), ("NO_PROXY", "h")];
        assert_eq!(chosen("http://h", &lower), Ok(Some("http://proxy:80".into())));
    }

    #[test]
    fn proxies_have_many_spellings() {
        for (value, url, authorization) in [
            ("http://proxy:3128", "http://proxy:3128", None),
            ("HTTP://Proxy:3128/", "http://proxy:3128", None),
            ("proxy:3128", "http://proxy:3128", None),
            ("proxy", "http://proxy:80", None),
            (" http://proxy ", "http://proxy:80", None),
            ("https://proxy", "https://proxy:443", None),
            ("10.0.0.1:3128", "http://10.0.0.1:3128", None),
            ("http://[::1]:3128", "http://[::1]:3128", None),
            ("[::1]:3128", "http://[::1]:3128", None),
            ("http://user:hunter2@proxy", "http://user:hunter2@proxy:80", Some("Basic dXNlcjpodW50ZXIy")),
            ("user:hunter2@proxy", "http://user:hunter2@proxy:80", Some("Basic dXNlcjpodW50ZXIy")),
            ("http://user@proxy", "http://user:@proxy:80", Some("Basic dXNlcjo=")),
            ("http://us%40er:p%3a%25@proxy", "http://us%40er:p%3A%25@proxy:80", Some("Basic dXNAZXI6cDol")),
            ("http://user:p@ss@proxy", "http://user:p%40ss@proxy:80", Some("Basic dXNlcjpwQHNz")),
        ] {
            let proxy =
                from_environment(&origin("http://h"), |name| (name == "http_proxy").then(|| value.into()));
            let proxy = proxy.unwrap().unwrap();
            assert_eq!(proxy.url().expose(), url, "{value}");
            assert_eq!(proxy.authorization().as_ref().map(Secret::expose), authorization, "{value}");
            assert!(!format!("{proxy:?} {}", proxy.origin()).contains("hunter2"));
        }
        for value in [
            "socks5://proxy:1080",
            "socks5h://user:hunter2@proxy",
            "ftp://proxy",
            "http://",
            "http://proxy:x",
            ":3128",
            " ",
            "\n",
            "\t \r\n",
        ] {
            assert_eq!(chosen("http://h", &[("ALL_PROXY", value)]), Err("ALL_PROXY"), "{value}");
            // What is not used need not be usable.
            assert_eq!(chosen("http://h", &[("ALL_PROXY", value), ("NO_PROXY", "h")]), Ok(None), "{value}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_no_text_is_no_reason_to_go_past_the_proxy() {
        use std::os::unix::ffi::OsStringExt as _;

        let no_text = |wanted: &'static str| {
            move |name: &str| (name == wanted).then(|| OsString::from_vec(b"http://proxy\xff".to_vec()))
        };
        let chosen = from_environment(&origin("https://h"), no_text("https_proxy"));
        assert_eq!(chosen.err(), Some("https_proxy"));
        let exceptions = from_environment(&origin("https://h"), |name| match name {
            "ALL_PROXY" => Some("http://proxy".into()),
            _ => no_text("NO_PROXY")(name),
        });
        assert!(exceptions.unwrap().is_some());
    }

    proptest! {
        #[test]
        fn no_text_panics(
            url in "(https?://)?([a-z.]{0,5}|\\[?[0-9a-f:.]{0,9}\\]?)(:[0-9]{0,6})?",
            exceptions in "([a-z*.]{0,4}|[0-9a-f:./\\[\\]]{0,12}|[, :])*",
        ) {
            let variable = |name: &str| match name {
                "no_proxy" => Some(exceptions.as_str().into()),
                "all_proxy" => Some(url.as_str().into()),
                _ => None,
            };
            for endpoint in ["http://h.example", "http://10.1.2.3", "https://[fd00::1]"] {
                let _ = from_environment(&origin(endpoint), variable);
            }
        }
    }
}
