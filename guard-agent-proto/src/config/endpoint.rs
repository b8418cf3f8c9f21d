use alloc::format;
use alloc::string::String;

/// The base URL that requests are made of: scheme in lower case, without trailing slashes and without
/// the `/api/v1` that the agent adds itself. An error says what it must be.
pub(super) fn normalize(text: &str) -> Result<String, &'static str> {
    let Parts { scheme, authority, path } = parse(text.trim())?;
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix("/api/v1").unwrap_or(path).trim_end_matches('/');
    Ok(format!("{scheme}://{authority}{path}"))
}

/// Whether paths can be appended to it. Normalizing again would take off one `/api/v1` more.
pub(super) fn check(base: &str) -> Result<(), &'static str> {
    let Parts { path, .. } = parse(base)?;
    if path.ends_with('/') { Err("a URL without trailing slash") } else { Ok(()) }
}

/// A URL that cannot be used, for messages: without user, password, query and fragment, wherever they may be.
pub(crate) fn show(text: &str) -> String {
    const HIDDEN: &str = super::HIDDEN;
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest))
            if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) =>
        {
            (format!("{scheme}://"), rest)
        }
        Some(_) | None => (String::new(), text),
    };
    let query = rest.find(['?', '#']);
    let shown = match (rest.rfind('@'), query) {
        // A password may have a `?`, a query an `@`.
        (Some(at), Some(query)) if query < at => String::from(HIDDEN),
        (Some(at), Some(query)) => format!("{HIDDEN}{}{HIDDEN}", rest.get(at..=query).unwrap_or_default()),
        (Some(at), None) => format!("{HIDDEN}{}", rest.get(at..).unwrap_or_default()),
        (None, Some(query)) => format!("{}{HIDDEN}", rest.get(..=query).unwrap_or_default()),
        // A word alone may be a key in the wrong place.
        (None, None) if scheme.is_empty() && !rest.is_empty() && !rest.contains(['.', ':', '/']) => {
            String::from(HIDDEN)
        }
        (None, None) => String::from(rest),
    };
    let shown: String = scheme.chars().chain(shown.chars()).take(200).collect();
    format!("{shown:?}")
}

struct Parts<'a> {
    scheme: &'static str,
    authority: &'a str,
    path: &'a str,
}

fn parse(text: &str) -> Result<Parts<'_>, &'static str> {
    const SCHEME: &str = "a URL that starts with http:// or https://";
    let (scheme, rest) = text.split_once("://").ok_or(SCHEME)?;
    let scheme =
        ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known)).ok_or(SCHEME)?;
    if rest.contains(['?', '#']) {
        return Err("a URL without query and fragment");
    }
    if rest.bytes().any(|byte| !byte.is_ascii_graphic() || b"\"<>\\^`{|}".contains(&byte)) {
        return Err("a URL of ASCII characters; others are percent-encoded, or punycode in the host");
    }
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err("a URL without user name and password");
    }
    if !is_authority(authority) {
        return Err("a URL with a host and, if any, a port of 1 to 65535");
    }
    Ok(Parts { scheme, authority, path })
}

fn is_authority(authority: &str) -> bool {
    // The colons of an IPv6 address stand in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host_ok = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<core::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '[', ']', '%']),
    };
    let port_ok = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    host_ok && port_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_normalized() {
        for (given, base) in [
            ("https://api.guard-core.com", "https://api.guard-core.com"),
            (" https://h/ ", "https://h"),
            ("https://h///", "https://h"),
            ("https://h/base/api/v1/", "https://h/base"),
            ("https://h/api/v1//", "https://h"),
            ("https://h//api/v1", "https://h"),
            ("https://h/api/v1/api/v1", "https://h/api/v1"),
            ("https://h/api/v2", "https://h/api/v2"),
            ("https://h/xapi/v1", "https://h/xapi/v1"),
            ("https://api/v1", "https://api/v1"),
            ("HTTPS://X.com", "https://X.com"),
            ("hTTp://127.0.0.1:8080/a", "http://127.0.0.1:8080/a"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[::1]/", "http://[::1]"),
        ] {
            assert_eq!(normalize(given).as_deref(), Ok(base), "{given}");
            assert_eq!(check(base), Ok(()));
        }
    }

    #[test]
    fn what_is_shown_has_no_credentials() {
        for (given, shown) in [
            ("htps://api.guard-core.com", r#""htps://api.guard-core.com""#),
            ("api.guard-core.com/x", r#""api.guard-core.com/x""#),
            ("https://user:hunter2@h:0/x", r#""https://[secret]@h:0/x""#),
            ("https://user:hun@ter2@h", r#""https://[secret]@h""#),
            ("user:hunter2@h", r#""[secret]@h""#),
            ("user:hunter2://x@h", r#""[secret]@h""#),
            ("https://h/x?token=hunter2", r#""https://h/x?[secret]""#),
            ("https://u:hunter2@h/x?token=hunter2#a", r#""https://[secret]@h/x?[secret]""#),
            ("https://h?mail=a@hunter2", r#""https://[secret]""#),
            ("https://h\n", r#""https://h\n""#),
            ("hunter2", r#""[secret]""#),
            ("", r#""""#),
        ] {
            assert_eq!(show(given), shown, "{given}");
        }
    }

    #[test]
    fn what_no_request_can_be_made_of_is_refused() {
        for given in [
            "",
            "h",
            "h.com/api",
            "ftp://h",
            "https:/h",
            "https://",
            "https:///path",
            "https://:80",
            "https://h:",
            "https://h:0",
            "https://h:65536",
            "https://h:+80",
            "https://h:8x",
            "https://user@h",
            "https://user:password@h/x",
            "https://h?x=1",
            "https://h/x?",
            "https://h/#x",
            "https://h h",
            "https://h/\nx",
            "https://h/a b",
            "https://bücher.example",
            "https://::1",
            "https://[::1",
            "https://[zz]",
            "https://h\\x",
            "https://h%20",
            " https:// h",
        ] {
            assert!(normalize(given).is_err(), "{given}");
        }
    }
}
