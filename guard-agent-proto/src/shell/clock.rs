use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Instant, Now, Timestamp};

/// The wall clock of the operating system.
#[must_use]
pub fn wall_clock() -> Timestamp {
    let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    };
    Timestamp::from_unix_micros(micros)
}

/// The monotonic clock of the operating system, counted from when this was made.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    zero: std::time::Instant,
}

impl MonotonicClock {
    /// Begins at zero.
    #[must_use]
    pub fn start() -> Self {
        Self { zero: std::time::Instant::now() }
    }

    /// Both clocks of this moment.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { instant: Instant::ZERO + self.zero.elapsed(), wall: wall_clock() }
    }

    /// When that will be, by the clock of the operating system; `None` if it cannot tell.
    #[must_use]
    pub fn at(&self, instant: Instant) -> Option<std::time::Instant> {
        self.zero.checked_add(instant - Instant::ZERO)
    }
}
