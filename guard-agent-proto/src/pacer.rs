use alloc::collections::VecDeque;
use core::time::Duration;

use crate::{AgentConfig, Instant, Reason};

/// When requests may leave.
///
/// A hard limit holds whatever happens: an exact log of the last `rate_limit` departures. Inside it
/// each class of request has a pace of its own, so that none starves another; at the defaults the
/// paces add up to less than the limit. All of them scale with the configured limit.
///
/// The same log says which requests of the window are free: see [`Pacer::commitments`]. Free ones go at
/// once to what catches up.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    limit: usize,
    window: Duration,
    departures: VecDeque<Instant>,
    events: Bucket,
    /// When a request last used a slot of the events.
    last_event: Instant,
    metrics: Bucket,
    rules: Bucket,
    /// When the first attack-class event of the current attack came.
    attack_since: Instant,
    attack_until: Instant,
    slowdown: u32,
}

/// What a request is paced as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// New events.
    Events,
    /// Metrics: a share of their own, or any slot that events leave idle.
    Metrics,
    /// A backlog, a retry, a part of a search, a burst: any request of the window that is free.
    CatchUp,
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
/// Most steps in which the departures of a window are looked at: one by one at the default limit.
const MOST_STEPS: usize = 128;

impl Pacer {
    pub(crate) fn new(config: &AgentConfig) -> Self {
        Self {
            limit: config.rate_limit,
            window: config.rate_window,
            departures: VecDeque::new(),
            events: Bucket::new(2),
            last_event: Instant::ZERO,
            metrics: Bucket::new(1),
            rules: Bucket::new(2),
            attack_since: Instant::ZERO,
            attack_until: Instant::ZERO,
            slowdown: FULL_SPEED,
        }
    }

    /// When the next request of that class may leave, and what it would wait for. Nothing but another request, or an
    /// answer, lets it leave sooner.
    pub(crate) fn allowed_at(&self, class: Class, now: Instant) -> (Instant, Reason) {
        let hard = self.window_opens(self.reserve(class));
        let pace = match class {
            Class::Events => self.events.allowed_at(self.event_slot(now)).max(self.evenly_at(now)),
            Class::Metrics => {
                let idle = self.events.full_at.max(self.evenly_at(now));
                self.metrics.allowed_at(self.metric_slot()).min(idle)
            }
            Class::CatchUp => self.free_at(now),
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
            Class::Events => self.take_event_slot(now),
            Class::Metrics => {
                if self.metrics.allowed_at(self.metric_slot()) <= now {
                    self.metrics.take(now, self.metric_slot());
                } else {
                    self.take_event_slot(now);
                }
            }
            Class::Rules => self.rules.take(now, self.rules_slot()),
            Class::CatchUp | Class::Status | Class::Urgent => {}
        }
    }

    /// An attack-class event is on its way: rules will be polled quickly, so events leave them room.
    pub(crate) fn on_attack(&mut self, now: Instant) {
        if self.attack_until <= now {
            self.attack_since = now;
        }
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

    fn take_event_slot(&mut self, now: Instant) {
        self.events.take(now, self.event_slot(now));
        self.last_event = now;
    }

    /// When fewer than `limit - reserve` departures lie in the window.
    fn window_opens(&self, reserve: usize) -> Instant {
        let most = self.limit.saturating_sub(reserve).max(1);
        match self.departures.len().checked_sub(most) {
            Some(index) => self.leaves_at(index),
            None => Instant::ZERO,
        }
    }

    /// When a departure leaves the closed window: just after it is `window` old.
    fn leaves_at(&self, departure: usize) -> Instant {
        self.departures[departure] + self.window + Duration::from_micros(1)
    }

    /// When a request beyond the pace may leave: when, until it has left the window itself, new events will
    /// still get a slot in time whenever they come.
    fn free_at(&self, now: Instant) -> Instant {
        if self.is_slowed() {
            return Instant::FAR_FUTURE;
        }
        let slot = micros(self.longest_slot(now));
        // Whoever needs a request at intervals may need one sooner than counted from the last departure.
        let kept = self.reserve(Class::Metrics);
        let slots_start = |Commitment { until, free }: Commitment| {
            let start = until.as_micros().saturating_sub(slot.saturating_mul(free));
            // Without a slot until that departure is out of the window, just after.
            Instant::from_micros(start.saturating_add(u64::from(free == 0)))
        };
        let leaving = self.leaving(now).map(|(until, count)| (until, count + 1));
        let free_at = self.commitments(leaving, kept, now).map(slots_start).max().unwrap_or_default();
        let since = self.last_departure(now);
        let mut itself = self.commitments(core::iter::once((since + self.window, 1)), kept, now);
        let at = if itself.any(|window| slots_start(window) > since) { Instant::FAR_FUTURE } else { free_at };
        self.or_after_the_attack(at, now)
    }

    /// When the next new events may leave, where the window is too short of requests for their pace: then what
    /// is left is spread evenly, for else they would wait at the end for what left at the beginning. They wait two
    /// slots at most: what is shorter still was used up by a flush, and few events may come.
    fn evenly_at(&self, now: Instant) -> Instant {
        let pace = micros(self.event_slot(now));
        let commitments = self.commitments(self.leaving(now), self.reserve(Class::Events), now);
        let slots = commitments.filter_map(|Commitment { until, free }| {
            let (time, slots) = (until.as_micros().saturating_sub(self.last_event.as_micros()), free + 1);
            (time > pace.saturating_mul(slots)).then(|| time / slots)
        });
        let Some(slot) = slots.max() else { return Instant::ZERO };
        self.or_after_the_attack(self.last_event + Duration::from_micros(slot.min(pace * 2)), now)
    }

    /// At the end of an attack all is reckoned anew.
    fn or_after_the_attack(&self, at: Instant, now: Instant) -> Instant {
        if now < self.attack_until { at.min(self.attack_until) } else { at }
    }

    fn last_departure(&self, now: Instant) -> Instant {
        self.departures.back().copied().unwrap_or(now)
    }

    /// How many departures are still in the window just before one of them leaves it, ascending: the instant
    /// and the count. Many departures are looked at in groups, as if each group left with its last.
    fn leaving(&self, now: Instant) -> impl Iterator<Item = (Instant, usize)> {
        let len = self.departures.len();
        let step = len.div_ceil(MOST_STEPS).max(1);
        let left = self.departures.partition_point(|at| *at + self.window < now);
        // A group stays the same until all of it has left.
        (left - left % step..len).step_by(step).map(move |index| {
            let last = (index + step).min(len) - 1;
            (self.departures[last] + self.window, len - index)
        })
    }

    /// How many new events may leave from the last departure until each of the instants, ascending, at which so many
    /// requests are still in the window. Counted from the last departure, it changes with the next one and not with
    /// time.
    ///
    /// Metrics, status and the regular polls of the rules need a request each 12 s at the defaults. During an
    /// attack, rules are polled at their quickest pace. An attack is expected to last as long again as it has
    /// lasted: a burst is over soon, and one of an hour goes on for longer than a window.
    fn commitments(
        &self,
        counts: impl Iterator<Item = (Instant, usize)>,
        kept: usize,
        now: Instant,
    ) -> impl Iterator<Item = Commitment> {
        let since = self.last_departure(now);
        let attack_ends = if now < self.attack_until {
            self.attack_until + self.attack_until.since(self.attack_since + ATTACK_LASTS)
        } else {
            since
        };
        let (rest, rules) = (micros(self.unit() * 20).max(1), micros(self.rules_slot()).max(1));
        let times =
            move |interval, until: Instant| until.as_micros().saturating_sub(since.as_micros()) / interval;
        let limit = (self.limit - kept) as u64;
        counts.map(move |(until, count)| {
            let needed = times(rest, until) + times(rules, until.min(attack_ends));
            Commitment { until, free: limit.saturating_sub(needed + count as u64) }
        })
    }

    /// Departures that this class leaves to the classes above it.
    const fn reserve(&self, class: Class) -> usize {
        match class {
            Class::Events | Class::CatchUp => self.limit / 100,
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
        let slot = if now < self.attack_until { self.attack_slot() } else { self.unit() * 7 / 6 };
        slot * self.slowdown / FULL_SPEED
    }

    /// The longest wait for a slot that keeps new events below a second: 0.85 s when calm, at the defaults.
    fn longest_slot(&self, now: Instant) -> Duration {
        if now < self.attack_until { self.attack_slot() } else { self.unit() * 17 / 12 }
    }

    fn attack_slot(&self) -> Duration {
        self.unit() * 19 / 12
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

/// Requests that the log leaves to new events until a departure leaves the window.
#[derive(Clone, Copy, Debug)]
struct Commitment {
    until: Instant,
    /// The requests of the limit that no departure uses, nobody else needs until then, and are not kept back.
    free: u64,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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
    use alloc::vec;
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
    fn metrics_use_a_slot_of_their_own_before_one_of_the_events() {
        let mut pacer = pacer();
        let now = Instant::ZERO + Duration::from_secs(100);
        pacer.on_sent(Class::Metrics, now);
        pacer.on_sent(Class::Events, now);
        assert!(pacer.allowed_at(Class::Events, now).0 <= now, "both of the burst are left to events");
        pacer.on_sent(Class::Metrics, now);
        assert!(pacer.allowed_at(Class::Events, now).0 > now, "that was a slot of theirs");
    }

    #[test]
    fn what_catches_up_is_reckoned_anew_when_a_long_attack_ends() {
        let mut pacer = pacer();
        let now = Instant::ZERO + Duration::from_secs(1_000);
        let ends = now + ATTACK_LASTS;
        (pacer.attack_since, pacer.attack_until) = (Instant::ZERO, ends);
        pacer.on_sent(Class::CatchUp, now);
        assert_eq!(pacer.allowed_at(Class::CatchUp, now), (ends, Reason::Pace), "nothing is free until then");
        let mut free = 0;
        while pacer.allowed_at(Class::CatchUp, ends).0 <= ends {
            pacer.on_sent(Class::CatchUp, ends);
            free += 1;
            assert!(free < 30, "new events still get their slots");
        }
        assert!(free > 15, "{free}");
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

    #[test]
    fn free_requests_go_at_once_up_to_what_the_next_window_needs() {
        let mut calm = pacer();
        let (mut fresh, mut lasting) = (calm.clone(), calm.clone());
        fresh.on_attack(Instant::ZERO);
        lasting.attack_until = Instant::FAR_FUTURE;
        for (pacer, free) in [(&mut calm, 22), (&mut fresh, 22), (&mut lasting, 0)] {
            let now = Instant::ZERO + Duration::from_secs(1);
            while pacer.allowed_at(Class::CatchUp, now).0 <= now {
                pacer.on_sent(Class::CatchUp, now);
            }
            assert_eq!(pacer.departures.len(), free);
        }
    }

    #[test]
    fn every_slot_is_a_share_of_the_window() {
        let mut pacer = pacer();
        let millis = Duration::from_millis;
        let later = Instant::ZERO + Duration::from_secs(100);
        for slowed in 1..3 {
            assert_eq!(pacer.event_slot(later), millis(700 * slowed));
            assert_eq!(pacer.metric_slot(), millis(20_000 * slowed));
            assert_eq!((pacer.rules_slot(), pacer.longest_slot(later)), (millis(2_000), millis(850)));
            assert_eq!(pacer.is_slowed(), slowed > 1);
            pacer.slow_down();
        }
        let kept =
            [Class::Events, Class::CatchUp, Class::Metrics, Class::Rules, Class::Status, Class::Urgent];
        assert_eq!(kept.map(|class| pacer.reserve(class)), [1, 1, 2, 0, 0, 10]);
        assert_eq!(pacer.allowed_at(Class::Status, later), (Instant::ZERO, Reason::RateLimit));
    }

    #[test]
    fn an_attack_slows_new_events_until_nothing_more_came_for_sixteen_seconds() {
        let mut pacer = pacer();
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let slots = |pacer: &Pacer, now| (pacer.event_slot(now), pacer.longest_slot(now));
        let attacked = (Duration::from_millis(950), Duration::from_millis(950));
        pacer.on_attack(at(100));
        pacer.on_attack(at(110));
        assert_eq!((pacer.attack_since, pacer.attack_until), (at(100), at(126)));
        assert_eq!(slots(&pacer, at(125)), attacked);
        assert_eq!(slots(&pacer, at(126)), (Duration::from_millis(700), Duration::from_millis(850)));
        pacer.on_attack(at(126));
        assert_eq!((pacer.attack_since, pacer.attack_until), (at(126), at(142)), "another one");
    }

    #[test]
    fn departures_are_looked_at_in_at_most_so_many_steps() {
        let at = |tenths| Instant::from_micros(tenths * 100_000);
        for (limit, now, expected) in [
            // One by one: the first three are out of the window.
            (10, 603, (3..10).map(|index| (600 + index, 10 - index)).collect::<Vec<_>>()),
            // In threes: the group of the hundredth has not left as a whole.
            (300, 700, (33..100).map(|group| (600 + 3 * group + 2, 300 - 3 * group)).collect()),
            (302, 1_000, vec![]),
        ] {
            let mut config = AgentConfig::builder("0123456789").build().unwrap();
            config.rate_limit = limit;
            let mut pacer = Pacer::new(&config);
            let count = if expected.is_empty() { 0 } else { limit as u64 };
            (0..count).for_each(|tenths| pacer.on_sent(Class::Urgent, at(tenths)));
            let leaving = pacer.leaving(at(now)).map(|(until, count)| (until, count as u64));
            assert_eq!(
                leaving.collect::<Vec<_>>(),
                expected.into_iter().map(|(until, count)| (at(until), count)).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn what_others_need_of_a_window_is_not_free() {
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let free = |pacer: &Pacer, now: u64| {
            let counts = core::iter::once((at(now + 60), 3));
            pacer.commitments(counts, 2, at(now)).map(|window| window.free).collect::<Vec<_>>()
        };
        let mut pacer = pacer();
        // The limit of 100, less 2 that are kept, 3 that are out, and 5 for metrics, status and rules.
        assert_eq!(free(&pacer, 100), [90]);
        pacer.on_attack(at(100));
        assert_eq!(free(&pacer, 100), [82], "eight quick polls");
        pacer.on_attack(at(110));
        assert_eq!(free(&pacer, 110), [77], "and as long again");
        assert_eq!(free(&pacer, 126), [90]);
        pacer.on_sent(Class::Urgent, at(150));
        assert_eq!(free(&pacer, 162), [89], "counted from the last departure");
    }

    #[test]
    fn what_is_left_of_a_short_window_is_spread_evenly() {
        let start = Instant::ZERO + Duration::from_secs(100);
        for (sent, spread) in [(90, 1_400_000), (35, 1_000_000), (10, 705_882), (9, 0), (0, 0)] {
            let mut pacer = pacer();
            pacer.last_event = start;
            (0..sent).for_each(|_| pacer.on_sent(Class::Urgent, start));
            let expected = if spread > 0 { start + Duration::from_micros(spread) } else { Instant::ZERO };
            assert_eq!(pacer.evenly_at(start), expected, "after {sent}");
        }
    }

    #[test]
    fn nothing_catches_up_while_the_platform_asks_for_less() {
        let mut pacer = pacer();
        assert_eq!(pacer.allowed_at(Class::CatchUp, Instant::ZERO).0, Instant::ZERO);
        pacer.slow_down();
        assert_eq!(pacer.allowed_at(Class::CatchUp, Instant::ZERO).0, Instant::FAR_FUTURE);
    }

    /// When the attack outlasts what was expected of it.
    #[test]
    fn a_shortage_is_spread_over_the_window() {
        let mut pacer = pacer();
        let start = Instant::ZERO + Duration::from_secs(100);
        for _ in 0..25 {
            pacer.on_sent(Class::Urgent, start);
        }
        (pacer.attack_since, pacer.attack_until) = (Instant::ZERO, Instant::FAR_FUTURE);
        let (mut now, mut gaps) = (start, Vec::new());
        while now < start + Duration::from_secs(55) {
            let next = pacer.allowed_at(Class::Events, now).0.max(now);
            if pacer.allowed_at(Class::Rules, now).0 <= now {
                pacer.on_sent(Class::Rules, now);
            } else if next <= now {
                gaps.push(now.since(pacer.last_event));
                pacer.on_sent(Class::Events, now);
            }
            now = now + Duration::from_millis(10);
        }
        let longest = gaps[1..].iter().max().unwrap();
        assert!(*longest < Duration::from_millis(1_800), "{gaps:?}");
    }

    fn class() -> impl Strategy<Value = Class> {
        prop_oneof![
            Just(Class::CatchUp),
            Just(Class::Events),
            Just(Class::Metrics),
            Just(Class::Rules),
            Just(Class::Status),
            Just(Class::Urgent)
        ]
    }

    proptest! {
        /// Free requests are taken greedily for a while, and then as many new events come as there are slots.
        #[test]
        fn what_catches_up_takes_no_slot_of_new_events(
            steps in prop::collection::vec((class(), 0u64..3_000), 0..150),
            greedy in prop::collection::vec(0u64..5_000, 1..20),
        ) {
            let mut pacer = pacer();
            let mut now = Instant::ZERO;
            let paced = |class| !matches!(class, Class::Urgent | Class::Rules | Class::Status);
            for (class, pause) in steps.into_iter().filter(|(class, _)| paced(*class)) {
                now = now + Duration::from_millis(pause);
                if pacer.allowed_at(class, now).0 <= now {
                    pacer.on_sent(class, now);
                }
            }
            for pause in greedy {
                now = now + Duration::from_millis(pause);
                let mut next = pacer.allowed_at(Class::CatchUp, now).0;
                while next <= now {
                    pacer.on_sent(Class::CatchUp, now);
                    next = pacer.allowed_at(Class::CatchUp, now).0;
                }
            }
            let slot = pacer.longest_slot(now);
            for _ in 0..150 {
                now = now.max(pacer.last_event + slot);
                let (at, reason) = pacer.allowed_at(Class::Events, now);
                prop_assert!(at <= now, "{at:?} instead of {now:?} for {reason:?}");
                pacer.on_sent(Class::Events, now);
            }
        }

        /// An early wake-up finds nothing to do.
        #[test]
        fn nothing_may_leave_before_it_was_said(
            steps in prop::collection::vec((class(), 0u64..2_000, 0u32..1_000, any::<bool>()), 1..300),
            limit in 10usize..120,
        ) {
            let mut config = AgentConfig::builder("0123456789").build().unwrap();
            config.rate_limit = limit;
            let mut pacer = Pacer::new(&config);
            let mut now = Instant::ZERO;
            for (class, pause, early, attack) in steps {
                now = now + Duration::from_millis(pause);
                if attack && class == Class::Events {
                    pacer.on_attack(now);
                }
                let (at, _) = pacer.allowed_at(class, now);
                if at <= now {
                    pacer.on_sent(class, now);
                } else {
                    let earlier = now + at.since(now).min(Duration::from_secs(120)) * early / 1_000;
                    prop_assert!(earlier >= at || pacer.allowed_at(class, earlier).0 > earlier, "{class:?}");
                    now = earlier;
                }
            }
        }

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
