use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::{AgentStatus, Batch, DynamicRules, RequestId};

/// One request that the runtime is to make. Answer it with [`Input::Response`](crate::Input).
#[derive(Clone, Debug)]
pub struct Request {
    /// Carried back by the answer.
    pub id: RequestId,
    /// What to send.
    pub payload: Payload,
    /// Total time it may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
}

/// What a request carries. [`wire`](crate::wire) turns it into an HTTP request.
#[derive(Clone, Debug)]
pub enum Payload {
    /// `POST` events or metrics.
    Batch(Arc<Batch>),
    /// `POST` the status.
    Status(Arc<AgentStatus>),
    /// `GET` the rules, conditional on the entity tag that came with the last ones.
    Rules {
        /// Value for `If-None-Match`, exactly as the server spelled it.
        etag: Option<Arc<str>>,
    },
}

impl Payload {
    /// Where it goes.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        match self {
            Self::Batch(batch) => match batch.kind() {
                crate::Kind::Event => Endpoint::Events,
                crate::Kind::Metric => Endpoint::Metrics,
            },
            Self::Status(_) => Endpoint::Status,
            Self::Rules { .. } => Endpoint::Rules,
        }
    }
}

/// The four endpoints of the platform (encrypted metrics share a path with encrypted events).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `/api/v1/events`
    Events,
    /// `/api/v1/metrics`
    Metrics,
    /// `/api/v1/status`
    Status,
    /// `/api/v1/rules`
    Rules,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Events => "events",
            Self::Metrics => "metrics",
            Self::Status => "status",
            Self::Rules => "rules",
        })
    }
}

/// An HTTP answer, as far as the core reads it. The runtime caps `body` at
/// [`Response::MAX_BODY`] bytes and may cut off the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Retry-After`, if it came and is readable text.
    pub retry_after: Option<String>,
    /// `ETag`, if it came and is readable text.
    pub etag: Option<String>,
    /// `Date`, if it came and is readable text: the dates in the answer are relative to it.
    pub date: Option<String>,
    /// The side that answered, for messages: scheme, host and port, and those of the proxy; never credentials.
    pub peer: Option<Arc<str>>,
    /// The body, at most [`Response::MAX_BODY`] bytes of it.
    pub body: Vec<u8>,
    /// No message may quote the body, because it repeats a secret of ours, as
    /// [`Wire::repeats_secret`](crate::wire::Wire::repeats_secret) tells, or may do so.
    pub confidential: bool,
}

impl Response {
    /// Longest body that is read, in bytes: 1 MiB.
    pub const MAX_BODY: usize = 1 << 20;

    /// The answer of a custom transport that delivered what it was given.
    #[must_use]
    pub fn accepted() -> Self {
        Self { status: 200, body: br#"{"success":true}"#.to_vec(), ..Self::default() }
    }

    /// The answer of a custom transport that has rules.
    #[must_use]
    pub fn rules(rules: &DynamicRules) -> Self {
        Self { body: serde_json::to_vec(rules).unwrap_or_default(), ..Self::accepted() }
    }
}

/// A rules document and what came with it.
#[derive(Clone, Debug, PartialEq)]
pub struct RulesDocument {
    /// The rules.
    pub rules: DynamicRules,
    /// Entity tag of the answer that brought them.
    pub etag: Option<Arc<str>>,
}

/// A request that got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// What went wrong, as far as the core cares.
    pub kind: TransportErrorKind,
    /// One line for people. It holds no secret and no URL query.
    pub message: Cow<'static, str>,
}

impl TransportError {
    /// An error of that kind.
    pub fn new(kind: TransportErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl core::error::Error for TransportError {}

/// Kinds of transport failure.
///
/// With all but [`Connect`](Self::Connect) and [`Tls`](Self::Tls) it may be the content that is to blame: a batch that
/// fails so again and again is compared with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// No connection was made, so nothing was sent.
    Connect,
    /// A time limit passed; whether the platform took it is unknown.
    Timeout,
    /// The connection broke; whether the platform took it is unknown.
    Connection,
    /// TLS refused the peer or was refused by it.
    Tls,
    /// The answer was not HTTP or was cut off.
    Protocol,
    /// The transport panicked.
    Panicked,
    /// Anything else.
    Other,
}

impl TransportErrorKind {
    /// Whether nothing was sent, so that the content played no part.
    pub(crate) const fn is_unsent(self) -> bool {
        match self {
            Self::Connect | Self::Tls => true,
            Self::Timeout | Self::Connection | Self::Protocol | Self::Panicked | Self::Other => false,
        }
    }
}

impl fmt::Display for TransportErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect failed",
            Self::Timeout => "timed out",
            Self::Connection => "connection lost",
            Self::Tls => "TLS failed",
            Self::Protocol => "not HTTP",
            Self::Panicked => "transport panicked",
            Self::Other => "failed",
        })
    }
}
