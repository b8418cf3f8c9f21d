use core::time::Duration;

use crate::rng::Rng;
use crate::{AgentConfig, BreakerState, Instant, RequestId};

/// Circuit breaker over transport failures and server errors.
///
/// It opens after `threshold` consecutive failures. While open nothing is sent until a single probe is
/// let through; its answer decides. The wait for the next probe is uniform between a fifth of a bound
/// and the bound, which starts at `recovery` and follows the age of the outage (a twelfth of it) up to
/// `recovery_max`: what a recovery costs in delay stays below 8 % of the outage that it ends.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    threshold: u32,
    recovery: Duration,
    recovery_max: Duration,
    state: State,
    /// When the first of the current run of failures happened.
    failing_since: Instant,
    last_failure: Instant,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { probe_at: Instant },
    HalfOpen { probe: RequestId },
}

impl Breaker {
    pub(crate) const fn new(config: &AgentConfig) -> Self {
        Self {
            threshold: config.breaker_threshold,
            recovery: config.breaker_recovery,
            recovery_max: config.breaker_recovery_max,
            state: State::Closed { failures: 0 },
            failing_since: Instant::ZERO,
            last_failure: Instant::ZERO,
        }
    }

    /// When the next request may be made: [`Instant::ZERO`] when closed, [`Instant::FAR_FUTURE`] while
    /// a probe is out.
    pub(crate) const fn allowed_at(&self) -> Instant {
        match self.state {
            State::Closed { .. } => Instant::ZERO,
            State::Open { probe_at } => probe_at,
            State::HalfOpen { .. } => Instant::FAR_FUTURE,
        }
    }

    /// A request left. In an open breaker it is the probe.
    pub(crate) const fn on_sent(&mut self, id: RequestId) {
        if let State::Open { .. } = self.state {
            self.state = State::HalfOpen { probe: id };
        }
    }

    /// The platform answered without a server error: it is alive, whatever it said.
    pub(crate) const fn on_alive(&mut self, success: bool) {
        if success || !matches!(self.state, State::Closed { .. }) {
            self.state = State::Closed { failures: 0 };
        }
    }

    /// A request got no answer or a server error.
    pub(crate) fn on_failure(&mut self, now: Instant, id: RequestId, rng: &mut Rng) {
        self.last_failure = now;
        match self.state {
            State::Closed { failures } => {
                if failures == 0 {
                    self.failing_since = now;
                }
                let failures = failures + 1;
                self.state = if failures >= self.threshold {
                    State::Open { probe_at: now + self.wait(now, rng) }
                } else {
                    State::Closed { failures }
                };
            }
            State::HalfOpen { probe } if probe == id => {
                self.state = State::Open { probe_at: now + self.wait(now, rng) };
            }
            // The late end of a request that left before the breaker opened says nothing new.
            State::HalfOpen { .. } | State::Open { .. } => {}
        }
    }

    /// Lets a probe through now, unless the last failure is younger than a second.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if let State::Open { probe_at } = self.state {
            self.state =
                State::Open { probe_at: probe_at.min((self.last_failure + Duration::from_secs(1)).max(now)) };
        }
    }

    /// Waits for the next probe until then at most, and no longer than early in an outage.
    pub(crate) fn shorten(&mut self, until: Instant) {
        if let State::Open { probe_at } = self.state {
            let early = self.last_failure + self.recovery;
            self.state = State::Open { probe_at: probe_at.min(early).min(until) };
        }
    }

    pub(crate) const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn wait(&self, now: Instant, rng: &mut Rng) -> Duration {
        let bound = (now.since(self.failing_since) / 12).clamp(self.recovery, self.recovery_max);
        rng.duration(bound / 5, bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RequestId = RequestId(1);

    fn breaker() -> (Breaker, Rng) {
        let config = AgentConfig::builder("0123456789").build().unwrap();
        (Breaker::new(&config), Rng::new([1; 32]))
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn opened() -> (Breaker, Rng) {
        let (mut breaker, mut rng) = breaker();
        for _ in 0..5 {
            breaker.on_failure(at(10), ID, &mut rng);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        (breaker, rng)
    }

    #[test]
    fn opens_at_the_threshold_and_not_before() {
        let (mut breaker, mut rng) = breaker();
        for _ in 0..4 {
            breaker.on_failure(at(1), ID, &mut rng);
            assert_eq!(breaker.state(), BreakerState::Closed);
            assert_eq!(breaker.allowed_at(), Instant::ZERO);
        }
        breaker.on_failure(at(1), ID, &mut rng);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn a_success_starts_the_count_over_and_a_neutral_answer_does_not() {
        for (success, open) in [(true, false), (false, true)] {
            let (mut breaker, mut rng) = breaker();
            for _ in 0..4 {
                breaker.on_failure(at(1), ID, &mut rng);
            }
            breaker.on_alive(success);
            breaker.on_failure(at(1), ID, &mut rng);
            assert_eq!(breaker.state() == BreakerState::Open, open);
        }
    }

    #[test]
    fn the_first_probe_comes_within_one_to_five_seconds() {
        let (breaker, _) = opened();
        assert!(breaker.allowed_at() >= at(11) && breaker.allowed_at() <= at(15));
    }

    #[test]
    fn half_open_lets_one_probe_through_and_any_answer_closes_it() {
        for success in [true, false] {
            let (mut breaker, _) = opened();
            breaker.on_sent(RequestId(7));
            assert_eq!(breaker.state(), BreakerState::HalfOpen);
            assert_eq!(breaker.allowed_at(), Instant::FAR_FUTURE);
            breaker.on_alive(success);
            assert_eq!(breaker.state(), BreakerState::Closed);
        }
    }

    #[test]
    fn only_the_probe_reopens_it() {
        let (mut breaker, mut rng) = opened();
        breaker.on_sent(RequestId(7));
        breaker.on_failure(at(16), RequestId(3), &mut rng);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.on_failure(at(16), RequestId(7), &mut rng);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn the_wait_grows_with_the_outage_and_is_capped() {
        for (age, low, high) in [(60, 1, 5), (240, 4, 20), (3_600, 12, 60)] {
            let (mut breaker, mut rng) = opened();
            breaker.on_sent(ID);
            breaker.on_failure(at(10 + age), ID, &mut rng);
            let wait = breaker.allowed_at() - at(10 + age);
            assert!(wait >= Duration::from_secs(low) && wait <= Duration::from_secs(high), "{age}: {wait:?}");
        }
    }

    #[test]
    fn hurrying_never_probes_within_a_second_of_a_failure() {
        let (mut breaker, _) = opened();
        breaker.hurry(at(10));
        assert_eq!(breaker.allowed_at(), at(11));
        let (mut breaker, _) = opened();
        breaker.hurry(at(14));
        assert!(breaker.allowed_at() <= at(14));
    }

    #[test]
    fn a_success_ends_the_outage_that_waits_grow_with() {
        let (mut breaker, mut rng) = opened();
        breaker.on_sent(ID);
        breaker.on_alive(true);
        for _ in 0..5 {
            breaker.on_failure(at(3_600), ID, &mut rng);
        }
        assert!(breaker.allowed_at() <= at(3_605), "{:?}", breaker.allowed_at());
    }

    #[test]
    fn who_has_little_time_waits_as_early_in_an_outage_at_most() {
        let long = || {
            let (mut breaker, mut rng) = opened();
            breaker.on_sent(ID);
            breaker.on_failure(at(3_600), ID, &mut rng);
            breaker
        };
        assert!(long().allowed_at() > at(3_605));
        for (until, allowed_at) in [(3_603, 3_603), (9_999, 3_605)] {
            let mut breaker = long();
            breaker.shorten(at(until));
            assert_eq!(breaker.allowed_at(), at(allowed_at));
        }
        let (mut closed, _) = breaker();
        closed.shorten(at(1));
        assert_eq!(closed.state(), BreakerState::Closed);
    }

    #[test]
    fn the_first_outage_of_an_old_agent_is_probed_as_early_as_any() {
        for threshold in [1, 5] {
            let (mut breaker, mut rng) = breaker();
            breaker.threshold = threshold;
            for _ in 0..threshold {
                breaker.on_failure(at(86_400), ID, &mut rng);
            }
            assert!(breaker.allowed_at() <= at(86_405), "{threshold}: {:?}", breaker.allowed_at());
        }
    }
}
