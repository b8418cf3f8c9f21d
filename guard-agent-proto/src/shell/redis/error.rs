use std::format;
use std::string::{String, ToString as _};

use ::redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::{StoreError, StoreErrorKind};

/// What an error of Redis, or of the way there, means to the core.
#[must_use]
pub fn store_error(error: &RedisError) -> StoreError {
    StoreError::new(kind(error), message(error))
}

/// The server does not know a script by its name, because it restarted or another one took over.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn kind(error: &RedisError) -> StoreErrorKind {
    if error.is_timeout() {
        return StoreErrorKind::TimedOut;
    }
    let kind = error.kind();
    if kind == ErrorKind::AuthenticationFailed {
        StoreErrorKind::Denied
    } else if matches!(kind, ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound) {
        StoreErrorKind::Unreachable
    } else {
        by_text(error)
    }
}

/// By the code of the server's error. An error inside a script has the code `ERR` before Redis 7, and its own
/// one later in the text, after a hyphen; one while connecting has lost it.
fn by_text(error: &RedisError) -> StoreErrorKind {
    let detail = error.detail().unwrap_or_default();
    if detail.contains("No space left") {
        return StoreErrorKind::Full;
    }
    let inner = detail.split_ascii_whitespace().filter_map(|word| word.strip_prefix('-'));
    let by_code = error.code().into_iter().chain(inner).find_map(by_code);
    by_code.unwrap_or_else(|| {
        let denied = ["Authentication required", "permissions"].iter().any(|text| detail.contains(text));
        if denied { StoreErrorKind::Denied } else { StoreErrorKind::Other }
    })
}

fn by_code(code: &str) -> Option<StoreErrorKind> {
    match code {
        "LOADING" => Some(StoreErrorKind::Loading),
        "OOM" => Some(StoreErrorKind::Full),
        "READONLY" | "CLUSTERDOWN" | "MASTERDOWN" | "NOREPLICAS" | "MISCONF" => {
            Some(StoreErrorKind::ReadOnly)
        }
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => Some(StoreErrorKind::Denied),
        "WRONGTYPE" => Some(StoreErrorKind::WrongType),
        "MOVED" | "ASK" | "CROSSSLOT" | "TRYAGAIN" => Some(StoreErrorKind::Moved),
        _ => None,
    }
}

/// One line of at most 200 bytes. Of what the server says, nothing that repeats what we said: that may be a
/// password.
fn message(error: &RedisError) -> String {
    const LONGEST: usize = 200;
    let text = match (error.code(), error.detail()) {
        _ if error.kind() == ErrorKind::Parse => {
            format!("the answer is not that of a Redis server ({error})")
        }
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(_), None) | (None, _) => error.to_string(),
    };
    let text = [", with args", " script: "]
        .iter()
        .fold(text.as_str(), |text, end| text.split_once(end).map_or(text, |(text, _)| text));
    let mut line = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + c.len_utf8() > LONGEST {
            break;
        }
        line.push(c);
    }
    line
}
