use std::boxed::Box;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::{AgentStatus, Batch, Payload, Response, TransportError};

/// A boxed future, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The end of one attempt: an answer, or why there is none.
pub type Attempt = Result<Response, TransportError>;

/// Delivers what the agent has: over HTTP, or in a way of your own.
///
/// Every decision (retry, pace, size, order) is taken by the core; a transport makes one attempt per
/// call and says how it ended. A call may be dropped before it ends (time limit, shutdown).
pub trait Transport: Send + Sync + 'static {
    /// Delivers a batch of events.
    fn send_events(&self, batch: Arc<Batch>) -> BoxFuture<'_, Attempt>;

    /// Delivers a batch of metrics.
    fn send_metrics(&self, batch: Arc<Batch>) -> BoxFuture<'_, Attempt>;

    /// Delivers the status.
    fn send_status(&self, status: Arc<AgentStatus>) -> BoxFuture<'_, Attempt>;

    /// Fetches the rules, if they changed since the answer that carried this entity tag: see
    /// [`Response::rules`], and status 304 when they did not.
    fn fetch_rules(&self, etag: Option<Arc<str>>) -> BoxFuture<'_, Attempt>;

    /// Bytes of request bodies, as compressed, handed to the network so far, every attempt counted; zero
    /// if the transport does not count.
    fn bytes_sent(&self) -> u64 {
        0
    }

    /// The server that requests go to, as messages name it, without credentials: `https://host:443`. `None` by default.
    fn peer(&self) -> Option<Arc<str>> {
        None
    }

    /// Makes the attempt that the core asks for.
    fn send(&self, payload: Payload) -> BoxFuture<'_, Attempt> {
        match payload {
            Payload::Batch(batch) => match batch.kind() {
                crate::Kind::Event => self.send_events(batch),
                crate::Kind::Metric => self.send_metrics(batch),
            },
            Payload::Status(status) => self.send_status(status),
            Payload::Rules { etag } => self.fetch_rules(etag),
        }
    }
}
