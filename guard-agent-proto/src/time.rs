use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

use crate::Timestamp;

/// A point on the monotonic clock: microseconds since a zero that the runtime chose.
///
/// All decisions of the core use this clock. Arithmetic saturates, so that no clock and no header
/// from outside can overflow it.
///
/// ```
/// use core::time::Duration;
/// # use guard_agent_proto::Instant;
///
/// let start = Instant::ZERO;
/// assert_eq!(start + Duration::from_millis(1), Instant::from_micros(1_000));
/// assert_eq!((start - Instant::from_micros(5)), Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The zero of the clock.
    pub const ZERO: Self = Self(0);
    /// Later than anything that will happen: the deadline of an agent that waits for nothing.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The instant that many microseconds after [`Instant::ZERO`].
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since [`Instant::ZERO`].
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, zero if that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::FAR_FUTURE {
            return f.write_str("never");
        }
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The two clocks as the runtime read them for one step.
///
/// `instant` decides; `wall` only dates things (batches, status, `expires_at`, `Retry-After` dates)
/// and may jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub instant: Instant,
    /// The wall clock.
    pub wall: Timestamp,
}
