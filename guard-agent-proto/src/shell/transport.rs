use std::boxed::Box;
use std::future::Future;
use std::pin::Pin;

use crate::{Request, Response, TransportError};

/// A boxed future, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Delivers requests: over HTTP, or in a way of your own.
///
/// Every decision (retry, pace, size, order) is taken by the core; a transport makes one attempt per
/// call and says how it ended. A call may be dropped before it ends (time limit, shutdown).
pub trait Transport: Send + Sync + 'static {
    /// Makes one attempt.
    ///
    /// # Errors
    ///
    /// When there was no answer.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>>;
}
