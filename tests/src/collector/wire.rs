use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use guard_agent_proto::TransportErrorKind;
use guard_agent_proto::wire::HttpRequest;

use super::answer::Reply;
use super::http::{ENDLESS, PlainAnswer, RawRequest};
use super::server::Shared;

/// A way to a collector without sockets, for those whose time is not real.
#[derive(Clone)]
pub struct Wire(Arc<Shared>);

/// What came of a request.
#[derive(Clone, Debug)]
pub enum Delivered {
    /// There was no connection.
    Refused,
    /// The answer was cut off or no HTTP.
    Broken(TransportErrorKind),
    /// There is no answer.
    Silence,
    /// A 200 whose body does not end, or headers that do not: see [`Wire::read_on`].
    Endless {
        /// The body begins.
        headers_end: bool,
    },
    /// An answer.
    Answered {
        /// As it is on the wire.
        answer: PlainAnswer,
        /// How long it takes.
        after: Duration,
    },
}

impl Wire {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Takes a request to the platform, at a time of the caller's clock.
    #[must_use]
    pub fn deliver(&self, request: &HttpRequest, time: Duration) -> Delivered {
        if self.0.is_down() {
            return Delivered::Refused;
        }
        let path = request.url.splitn(4, '/').nth(3).unwrap_or_default();
        let headers = request.headers.iter();
        let raw = RawRequest {
            method: request.method.to_owned(),
            path: format!("/{path}"),
            headers: headers.map(|(name, value)| ((*name).to_owned(), value.expose().to_owned())).collect(),
            body: request.body.clone(),
        };
        let mut taken = self.0.platform();
        let (answer, platform) = taken.take_at(raw, time);
        // Here every answer belongs to a request.
        taken.received.unasked += u64::from(answer.again.is_some());
        drop(taken);
        let plain = match answer.reply {
            Reply::Platform => platform,
            Reply::Http { status, headers, body } => PlainAnswer { status, headers, body },
            Reply::EndlessBody => return Delivered::Endless { headers_end: true },
            Reply::EndlessHeaders => return Delivered::Endless { headers_end: false },
            Reply::Hang => return Delivered::Silence,
            Reply::Reset => return Delivered::Broken(TransportErrorKind::Connection),
            Reply::Cut | Reply::Garbage => return Delivered::Broken(TransportErrorKind::Protocol),
        };
        let bytes = u32::try_from(plain.body.len()).unwrap_or(u32::MAX);
        let after = answer.delay + answer.trickle.unwrap_or_default() * bytes;
        Delivered::Answered { answer: plain, after }
    }

    /// Reads so many bytes of an answer without end, and no more than there are.
    pub fn read_on(&self, bytes: usize) {
        self.0.platform().received.flooded += bytes.min(ENDLESS);
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}
