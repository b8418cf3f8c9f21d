use core::time::Duration;

use crate::rng::Rng;

/// Exponential backoff with full jitter.
///
/// The n-th delay is uniform between [`Backoff::FLOOR`] and `base * 2^n`, capped. Full jitter spreads
/// a fleet that failed together; the floor keeps an unlucky draw from retrying at once.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) const FLOOR: Duration = Duration::from_millis(100);

    pub(crate) const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempts: 0 }
    }

    /// The delay before the next attempt.
    pub(crate) fn next(&mut self, rng: &mut Rng) -> Duration {
        let high = self.base.saturating_mul(1 << self.attempts.min(20)).min(self.cap).max(Self::FLOOR);
        self.attempts = self.attempts.saturating_add(1);
        rng.duration(Self::FLOOR, high)
    }

    pub(crate) const fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    proptest! {
        #[test]
        fn delays_stay_between_floor_and_cap(seed: [u8; 32], base_ms in 1u64..100_000, cap_ms in 1u64..10_000_000) {
            let cap = Duration::from_millis(cap_ms);
            let mut backoff = Backoff::new(Duration::from_millis(base_ms), cap);
            let mut rng = Rng::new(seed);
            for attempt in 0..40u32 {
                let bound = Duration::from_millis(base_ms).saturating_mul(1 << attempt.min(20)).min(cap);
                let delay = backoff.next(&mut rng);
                prop_assert!(delay >= Backoff::FLOOR);
                prop_assert!(delay <= bound.max(Backoff::FLOOR));
            }
        }
    }

    #[test]
    fn delays_differ_between_agents() {
        let first = |seed| {
            Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).next(&mut Rng::new([seed; 32]))
        };
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn a_success_starts_over() {
        let mut rng = Rng::new([3; 32]);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..10 {
            backoff.next(&mut rng);
        }
        backoff.reset();
        assert_eq!(backoff.attempts, 0);
        assert!(backoff.next(&mut rng) <= Duration::from_secs(1));
    }

    #[test]
    fn no_number_of_attempts_overflows() {
        let mut rng = Rng::new([3; 32]);
        let mut backoff = Backoff::new(Duration::MAX, Duration::from_secs(60));
        backoff.attempts = u32::MAX;
        assert!(backoff.next(&mut rng) <= Duration::from_secs(60));
    }
}
