use core::time::Duration;

use crate::Instant;
use crate::backoff::Backoff;
use crate::rng::Rng;
use crate::store::StoreErrorKind;

/// What a journal does, divided by what a store may refuse while it does the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Writing new records.
    Append,
    /// Removing, notes, and the renewal of leases.
    Change,
    Read,
    /// Looking for streams without an owner.
    Search,
    /// Giving streams up.
    Close,
}

/// Which operations fail, and what that holds up.
///
/// A store that cannot be asked holds everything up, until it answers. One that refuses what it was asked for holds up
/// that part alone: when it is full, it still removes, reads, and keeps leases.
#[derive(Clone, Debug)]
pub(super) struct Troubles {
    store: Trouble,
    /// By part.
    parts: [Trouble; 5],
}

/// When a journal that somebody else writes into begins another stream: at once, and later each time as long as that goes
/// on.
#[derive(Clone, Debug)]
pub(super) struct Evasion {
    backoff: Backoff,
    /// It is over that long after the last time.
    calm: Duration,
    last: Option<Instant>,
    goes_on: bool,
    until: Instant,
}

#[derive(Clone, Debug)]
struct Trouble {
    why: Option<StoreErrorKind>,
    /// Nothing that it holds up starts before that.
    until: Instant,
    backoff: Backoff,
}

impl Troubles {
    /// None. Nothing is held up for longer than `cap` at a time.
    pub(super) fn new(cap: Duration) -> Self {
        let backoff = Backoff::new(Duration::from_millis(500), cap);
        let store = Trouble { why: None, until: Instant::ZERO, backoff };
        Self { parts: core::array::from_fn(|_| store.clone()), store }
    }

    /// An operation was carried out.
    pub(super) fn on_done(&mut self, part: Part) {
        self.store.end();
        self.parts[part as usize].end();
        if part == Part::Append {
            // It changes as well.
            self.parts[Part::Change as usize].end();
        }
    }

    /// It took too long to be of use.
    pub(super) const fn on_slow(&mut self) {
        self.store.why = Some(StoreErrorKind::TimedOut);
    }

    /// An operation failed. True if that, or its reason, is news.
    pub(super) fn on_failed(&mut self, part: Part, why: StoreErrorKind, now: Instant, rng: &mut Rng) -> bool {
        let trouble = if why.is_of_everything() {
            &mut self.store
        } else {
            self.store.end();
            &mut self.parts[part as usize]
        };
        trouble.until = now + trouble.backoff.next(rng);
        trouble.why.replace(why) != Some(why)
    }

    /// Nothing of that part is left to do.
    pub(super) fn on_idle(&mut self, part: Part) {
        self.parts[part as usize].end();
    }

    /// Whatever it was, it was long ago.
    pub(super) fn forget(&mut self) {
        self.store.end();
        self.parts.iter_mut().for_each(Trouble::end);
    }

    /// When the next operation of that part may start.
    pub(super) fn gate(&self, part: Part) -> Instant {
        self.parts[part as usize].until.max(self.store.until)
    }

    /// Why that part fails, if it does.
    pub(super) fn why(&self, part: Part) -> Option<StoreErrorKind> {
        self.store.why.or_else(|| self.parts[part as usize].why)
    }
}

impl Evasion {
    /// None. It never takes longer than `cap` to begin the next stream.
    pub(super) const fn new(cap: Duration, calm: Duration) -> Self {
        let backoff = Backoff::new(Duration::from_millis(500), cap);
        Self { backoff, calm, last: None, goes_on: false, until: Instant::ZERO }
    }

    /// Somebody wrote into a stream of ours.
    pub(super) fn on_intruded(&mut self, now: Instant, rng: &mut Rng) {
        self.goes_on = self.last.is_some_and(|last| now.since(last) < self.calm);
        if self.goes_on {
            self.until = now + self.backoff.next(rng);
        } else {
            self.backoff.reset();
        }
        self.last = Some(now);
    }

    /// When the next stream may be written to.
    pub(super) const fn gate(&self) -> Instant {
        self.until
    }

    /// Whether it happened more than once, a moment ago.
    pub(super) fn is_under_way(&self, now: Instant) -> bool {
        self.ends_at().is_some_and(|at| now < at)
    }

    /// When it is over, unless it happens again.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.last.filter(|_| self.goes_on).map(|last| last + self.calm)
    }
}

impl Trouble {
    const fn end(&mut self) {
        self.why = None;
        self.until = Instant::ZERO;
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_holds_up_its_part_and_silence_everything() {
        let mut rng = Rng::new([7; 32]);
        let now = Instant::from_micros(1_000_000);
        let mut troubles = Troubles::new(Duration::from_secs(15));
        assert!(troubles.on_failed(Part::Append, StoreErrorKind::Full, now, &mut rng));
        assert!(!troubles.on_failed(Part::Append, StoreErrorKind::Full, now, &mut rng), "told once");
        assert!(troubles.gate(Part::Append) > now && troubles.gate(Part::Change) <= now);
        troubles.on_done(Part::Change);
        assert_eq!(troubles.why(Part::Append), Some(StoreErrorKind::Full));
        assert!(troubles.on_failed(Part::Read, StoreErrorKind::Unreachable, now, &mut rng));
        assert!(troubles.gate(Part::Change) > now && troubles.gate(Part::Search) > now);
        assert!(troubles.on_failed(Part::Read, StoreErrorKind::Denied, now, &mut rng), "another reason");
        troubles.on_done(Part::Append);
        for part in [Part::Append, Part::Change, Part::Read, Part::Search, Part::Close] {
            assert_eq!(troubles.why(part), None);
            assert!(troubles.gate(part) <= now);
        }
    }

    #[test]
    fn an_append_that_works_shows_that_changes_do() {
        let mut rng = Rng::new([7; 32]);
        for part in [Part::Append, Part::Read, Part::Search, Part::Close] {
            let mut troubles = Troubles::new(Duration::from_secs(15));
            troubles.on_failed(Part::Change, StoreErrorKind::Full, Instant::ZERO, &mut rng);
            troubles.on_done(part);
            assert_eq!(troubles.why(Part::Change).is_none(), part == Part::Append, "{part:?}");
        }
    }

    #[test]
    fn who_is_intruded_upon_again_and_again_waits_longer_each_time_until_it_is_over() {
        let mut rng = Rng::new([7; 32]);
        let at = |millis: u64| Instant::from_micros(millis * 1_000);
        let (cap, calm) = (Duration::from_secs(4), Duration::from_secs(30));
        let mut evasion = Evasion::new(cap, calm);
        for round in 0..2 {
            let mut now = at(100_000 * (round + 1));
            evasion.on_intruded(now, &mut rng);
            assert!(evasion.gate() <= now && !evasion.is_under_way(now), "it may be the only time");
            let mut streams = 0;
            while now < at(100_000 * (round + 1) + 60_000) {
                now = now + Duration::from_millis(50);
                if evasion.gate() <= now {
                    evasion.on_intruded(now, &mut rng);
                    streams += 1;
                    assert!(evasion.gate() > now && evasion.gate() <= now + cap);
                    assert!(evasion.is_under_way(now));
                }
            }
            assert!((15..60).contains(&streams), "{streams}");
            assert!(!evasion.is_under_way(now + calm));
        }
    }

    #[test]
    fn a_part_with_nothing_to_do_is_in_no_trouble_and_neither_is_anything_after_a_sleep() {
        let mut rng = Rng::new([7; 32]);
        let now = Instant::from_micros(1_000_000);
        let mut troubles = Troubles::new(Duration::from_secs(15));
        troubles.on_failed(Part::Append, StoreErrorKind::Full, now, &mut rng);
        troubles.on_failed(Part::Search, StoreErrorKind::WrongType, now, &mut rng);
        troubles.on_idle(Part::Append);
        assert_eq!((troubles.why(Part::Append), troubles.gate(Part::Append) <= now), (None, true));
        assert_eq!(troubles.why(Part::Search), Some(StoreErrorKind::WrongType));
        troubles.on_slow();
        assert_eq!(troubles.why(Part::Append), Some(StoreErrorKind::TimedOut));
        troubles.forget();
        for part in [Part::Append, Part::Search] {
            assert_eq!((troubles.why(part), troubles.gate(part) <= now), (None, true));
        }
    }
}
