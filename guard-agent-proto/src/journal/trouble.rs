use alloc::collections::BTreeMap;
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
    /// What was told, and when last.
    told: BTreeMap<StoreErrorKind, Instant>,
}

#[derive(Clone, Debug)]
struct Trouble {
    why: Option<StoreErrorKind>,
    /// Nothing that it holds up starts before that.
    until: Instant,
    backoff: Backoff,
}

/// How often a trouble that comes and goes is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

impl Troubles {
    /// None. Nothing is held up for longer than `cap` at a time.
    pub(super) fn new(cap: Duration) -> Self {
        let backoff = Backoff::new(Duration::from_millis(500), cap);
        let store = Trouble { why: None, until: Instant::ZERO, backoff };
        Self { parts: core::array::from_fn(|_| store.clone()), store, told: BTreeMap::new() }
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

    /// An operation failed. True if that, or its reason, is news: what others met too, or what comes and goes, is told
    /// now and then.
    pub(super) fn on_failed(&mut self, part: Part, why: StoreErrorKind, now: Instant, rng: &mut Rng) -> bool {
        let trouble = if why.is_of_everything() {
            &mut self.store
        } else {
            self.store.end();
            &mut self.parts[part as usize]
        };
        trouble.until = now + trouble.backoff.next(rng);
        let is_told = self.told.get(&why).is_some_and(|at| now.since(*at) < TELL_EVERY);
        let is_news = trouble.why.replace(why) != Some(why) && !is_told;
        if is_news {
            self.told.insert(why, now);
        }
        is_news
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
        troubles.on_done(Part::Append);
        assert!(
            !troubles.on_failed(Part::Append, StoreErrorKind::Full, now, &mut rng),
            "and not at every turn"
        );
        assert!(troubles.gate(Part::Append) > now && troubles.gate(Part::Change) <= now);
        troubles.on_done(Part::Change);
        assert_eq!(troubles.why(Part::Append), Some(StoreErrorKind::Full));
        assert!(troubles.on_failed(Part::Read, StoreErrorKind::Unreachable, now, &mut rng));
        assert!(troubles.gate(Part::Change) > now && troubles.gate(Part::Search) > now);
        assert!(troubles.on_failed(Part::Read, StoreErrorKind::Denied, now, &mut rng), "another reason");
        assert!(!troubles.on_failed(Part::Read, StoreErrorKind::Unreachable, now, &mut rng), "it is known");
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
    fn what_comes_and_goes_is_reported_once_a_minute() {
        let mut rng = Rng::new([7; 32]);
        let mut troubles = Troubles::new(Duration::from_secs(15));
        let reported: alloc::vec::Vec<_> = (0..=120)
            .filter(|second| {
                let now = Instant::from_micros(second * 1_000_000);
                let is_news = troubles.on_failed(Part::Append, StoreErrorKind::Full, now, &mut rng);
                troubles.on_done(Part::Append);
                is_news
            })
            .collect();
        assert_eq!(reported, [0, 60, 120]);
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
