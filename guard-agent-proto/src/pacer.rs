use alloc::collections::VecDeque;
use core::time::Duration;

use crate::{AgentConfig, Instant, Reason};

/// When requests may leave.
///
/// A hard limit holds whatever happens: an exact log of the last `rate_limit` departures. Inside it
/// each class of request has a pace of its own, so that none starves another; at the defaults the
/// paces add up to less than the limit. All of them scale with the configured limit.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    limit: usize,
    window: Duration,
    departures: VecDeque<Instant>,
    events: Bucket,
    metrics: Bucket,
    rules: Bucket,
    attack_until: Instant,
    slowdown: u32,
}

/// What a request is paced as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Events, retries and bisection.
    Events,
    /// Metrics: a share of their own, or any slot that events leave idle.
    Metrics,
    /// The rules.
    Rules,
    /// The status.
    Status,
    /// Part of a flush or a shutdown: only the hard limit holds.
    Urgent,
}

/// Full speed of [`Pacer::slowdown`], in quarters.
const FULL_SPEED: u32 = 4;
/// Slowest, in quarters: a sixteenth of full speed.
const SLOWEST: u32 = 16 * FULL_SPEED;
/// How long an attack-class event keeps the attack pace: until the last of the quick rules polls.
const ATTACK_LASTS: Duration = Duration::from_secs(16);

impl Pacer {
    pub(crate) fn new(config: &AgentConfig) -> Self {
        Self {
            limit: config.rate_limit,
            window: config.rate_window,
            departures: VecDeque::new(),
            events: Bucket::new(2),
            metrics: Bucket::new(1),
            rules: Bucket::new(2),
            attack_until: Instant::ZERO,
            slowdown: FULL_SPEED,
        }
    }

    /// When the next request of that class may leave, and what it would wait for.
    pub(crate) fn allowed_at(&self, class: Class, now: Instant) -> (Instant, Reason) {
        let hard = self.window_opens(self.reserve(class));
        let pace = match class {
            Class::Events => self.events.allowed_at(self.event_slot(now)),
            Class::Metrics => self.metrics.allowed_at(self.metric_slot()).min(self.events.full_at),
            Class::Rules => self.rules.allowed_at(self.rules_slot()),
            Class::Status | Class::Urgent => Instant::ZERO,
        };
        if pace > hard { (pace, Reason::Pace) } else { (hard, Reason::RateLimit) }
    }

    /// A request of that class leaves now.
    pub(crate) fn on_sent(&mut self, class: Class, now: Instant) {
        if self.departures.len() == self.limit {
            self.departures.pop_front();
        }
        self.departures.push_back(now);
        match class {
            Class::Events => self.events.take(now, self.event_slot(now)),
            Class::Metrics => {
                if self.metrics.allowed_at(self.metric_slot()) <= now {
                    self.metrics.take(now, self.metric_slot());
                } else {
                    self.events.take(now, self.event_slot(now));
                }
            }
            Class::Rules => self.rules.take(now, self.rules_slot()),
            Class::Status | Class::Urgent => {}
        }
    }

    /// An attack-class event is on its way: rules will be polled quickly, so events leave them room.
    pub(crate) fn on_attack(&mut self, now: Instant) {
        self.attack_until = now + ATTACK_LASTS;
    }

    /// The platform asked for less: half the pace.
    pub(crate) fn slow_down(&mut self) {
        self.slowdown = (self.slowdown * 2).min(SLOWEST);
    }

    /// The platform took a request: a little faster again.
    pub(crate) fn speed_up(&mut self) {
        self.slowdown = self.slowdown.saturating_sub(2).max(FULL_SPEED);
    }

    pub(crate) const fn is_slowed(&self) -> bool {
        self.slowdown > FULL_SPEED
    }

    /// When fewer than `limit - reserve` departures lie in the window.
    fn window_opens(&self, reserve: usize) -> Instant {
        let most = self.limit.saturating_sub(reserve).max(1);
        match self.departures.len().checked_sub(most) {
            // A departure leaves the closed window just after it is `window` old.
            Some(index) => self.departures[index] + self.window + Duration::from_micros(1),
            None => Instant::ZERO,
        }
    }

    /// Departures that this class leaves to the classes above it.
    const fn reserve(&self, class: Class) -> usize {
        match class {
            Class::Events => self.limit / 100,
            Class::Metrics => self.limit / 50,
            Class::Rules | Class::Status => 0,
            Class::Urgent => self.limit / 10,
        }
    }

    /// The share of one request in the window: 0.6 s at the defaults.
    fn unit(&self) -> Duration {
        self.window / u32::try_from(self.limit).unwrap_or(u32::MAX).max(1)
    }

    /// 0.70 s when calm and 0.95 s under attack, at the defaults and full speed.
    fn event_slot(&self, now: Instant) -> Duration {
        let slot = if now < self.attack_until { self.unit() * 19 / 12 } else { self.unit() * 7 / 6 };
        slot * self.slowdown / FULL_SPEED
    }

    /// 20 s at the defaults and full speed.
    fn metric_slot(&self) -> Duration {
        self.unit() * 100 / 3 * self.slowdown / FULL_SPEED
    }

    /// 2 s at the defaults.
    fn rules_slot(&self) -> Duration {
        self.unit() * 10 / 3
    }
}

/// Token bucket in its virtual-scheduling form (GCRA): one instant instead of a count and a refill.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When the bucket will be full again.
    full_at: Instant,
    burst: u32,
}

impl Bucket {
    const fn new(burst: u32) -> Self {
        Self { full_at: Instant::ZERO, burst }
    }

    fn allowed_at(&self, interval: Duration) -> Instant {
        let ahead = interval.saturating_mul(self.burst - 1);
        Instant::ZERO + self.full_at.since(Instant::ZERO).saturating_sub(ahead)
    }

    fn take(&mut self, now: Instant, interval: Duration) {
        self.full_at = self.full_at.max(now) + interval;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use proptest::prelude::*;

    fn pacer() -> Pacer {
        Pacer::new(&AgentConfig::builder("0123456789").build().unwrap())
    }

    /// Departures of one class that leaves whenever it may, for `secs`.
    fn greedy(pacer: &mut Pacer, class: Class, secs: u64) -> Vec<Instant> {
        let mut now = Instant::ZERO;
        let mut departures = Vec::new();
        while now < Instant::ZERO + Duration::from_secs(secs) {
            pacer.on_sent(class, now);
            departures.push(now);
            now = now.max(pacer.allowed_at(class, now).0);
        }
        departures
    }

    #[test]
    fn events_keep_their_slots() {
        let mut calm = pacer();
        assert_eq!(greedy(&mut calm, Class::Events, 60).len(), 60_000 / 700 + 2);
        let mut attacked = pacer();
        attacked.attack_until = Instant::FAR_FUTURE;
        assert_eq!(greedy(&mut attacked, Class::Events, 60).len(), 60_000 / 950 + 2);
    }

    #[test]
    fn slowing_is_multiplicative_and_recovery_additive() {
        let mut pacer = pacer();
        let full = pacer.event_slot(Instant::ZERO);
        pacer.slow_down();
        assert_eq!(pacer.event_slot(Instant::ZERO), full * 2);
        for _ in 0..10 {
            pacer.slow_down();
        }
        assert_eq!(pacer.event_slot(Instant::ZERO), full * 16);
        assert!(pacer.is_slowed());
        let steps = core::iter::from_fn(|| {
            pacer.speed_up();
            pacer.is_slowed().then_some(())
        });
        assert_eq!(steps.count(), 29);
        assert_eq!(pacer.event_slot(Instant::ZERO), full);
    }

    #[test]
    fn metrics_use_slots_that_events_leave_idle() {
        let mut pacer = pacer();
        let departures = greedy(&mut pacer, Class::Metrics, 60);
        assert!(departures.len() > 40, "{}", departures.len());
    }

    #[test]
    fn flushing_leaves_room_for_rules_and_status() {
        let mut pacer = pacer();
        let now = Instant::ZERO;
        while pacer.allowed_at(Class::Urgent, now).0 <= now {
            pacer.on_sent(Class::Urgent, now);
        }
        assert_eq!(pacer.departures.len(), 90);
        assert!(pacer.allowed_at(Class::Rules, now).0 <= now);
        assert!(pacer.allowed_at(Class::Status, now).0 <= now);
    }

    fn class() -> impl Strategy<Value = Class> {
        prop_oneof![
            Just(Class::Events),
            Just(Class::Metrics),
            Just(Class::Rules),
            Just(Class::Status),
            Just(Class::Urgent)
        ]
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_the_limit(
            steps in prop::collection::vec((class(), 0u64..2_000), 1..600),
            limit in 10usize..120,
        ) {
            let mut config = AgentConfig::builder("0123456789").build().unwrap();
            config.rate_limit = limit;
            let mut pacer = Pacer::new(&config);
            let mut now = Instant::ZERO;
            let mut departures = Vec::new();
            for (class, pause) in steps {
                now = now + Duration::from_millis(pause);
                if pacer.allowed_at(class, now).0 <= now {
                    pacer.on_sent(class, now);
                    departures.push(now);
                }
            }
            for (i, start) in departures.iter().enumerate() {
                let within = departures[i..].iter().filter(|d| d.since(*start) <= config.rate_window).count();
                prop_assert!(within <= limit, "{within} in the window from {start:?}");
            }
        }
    }
}
