use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Response, Timestamp};

/// What an answer to a POST means for the batch (or status) that it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Any 2xx without sign of failure. `invalid_timestamps` from the acknowledgement body.
    Delivered { invalid_timestamps: u64 },
    /// A success that names records it did not take (by index in the batch, or by idempotency key):
    /// the others are delivered.
    Partly { failed: Vec<ItemRef>, message: String },
    /// A success whose body reports failure without naming records.
    Unsure { message: String },
    /// 413.
    TooLarge,
    /// 400, 422: about the content.
    Refused { message: String },
    /// 429.
    SlowDown { retry_after: Option<Duration> },
    /// 408, 5xx: counts for the breaker.
    Failed { retry_after: Option<Duration> },
    /// 401, 403, 404, 3xx, every other status, and a 2xx that is not the platform's (HTML, not JSON).
    Hold { message: String },
}

/// A record named by an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ItemRef {
    /// Zero-based place in the batch.
    Index(usize),
    /// Idempotency key, as text.
    Key(String),
}

/// Reads an answer to a POST.
pub(crate) fn judge(_response: &Response, _wall: Timestamp) -> Verdict {
    Verdict::TooLarge
}

/// Reads a `Retry-After` value: seconds or an HTTP date, capped at 300 s; `None` when unreadable, not
/// finite, negative or in the past.
pub(crate) fn parse_retry_after(_value: &str, _wall: Timestamp) -> Option<Duration> {
    None
}
