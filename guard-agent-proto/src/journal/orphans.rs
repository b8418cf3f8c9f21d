use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::Instant;
use crate::journal::Lease;
use crate::rng::Rng;
use crate::store::{Orphan, StreamId};

/// Looks for streams whose owner is gone, and decides when to adopt them.
///
/// A stream that its owner gave up is adopted at once. One whose lease ran out is left alone a while longer:
/// after an outage of the store every lease has run out, and its owner may just be about to come back.
#[derive(Clone, Debug)]
pub(super) struct Orphans {
    lease: Lease,
    list_at: Instant,
    found: BTreeMap<StreamId, Found>,
    foreign: usize,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    /// When it may be adopted.
    at: Instant,
    /// It could not be adopted before.
    put_off: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    List,
    Adopt(StreamId),
}

/// Renewals of a lease after which it is tried again to adopt what could not be adopted.
const PUT_OFF: u32 = 8;
/// Streams from which on they are looked for less often by each, for they are looked for by many.
const CROWD: usize = 8;

impl Orphans {
    pub(super) const fn new(lease: Lease, now: Instant) -> Self {
        Self { lease, list_at: now, found: BTreeMap::new(), foreign: 0 }
    }

    /// The next thing to do, and when.
    pub(super) fn due(&self) -> (Instant, Search) {
        let adopt = self.found.iter().map(|(stream, found)| (found.at, *stream)).min();
        match adopt {
            Some((at, stream)) if at <= self.list_at => (at, Search::Adopt(stream)),
            _ => (self.list_at, Search::List),
        }
    }

    /// How many streams of other spaces there are, if that changed.
    pub(super) fn on_listed(
        &mut self,
        orphans: &[Orphan],
        streams: usize,
        foreign: usize,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<usize> {
        let mut found = BTreeMap::new();
        for Orphan { stream, released } in orphans {
            let patience = if *released {
                Duration::ZERO
            } else {
                self.lease.grace + rng.duration(Duration::ZERO, self.lease.grace / 4)
            };
            let earliest = now + patience;
            let known = self.found.get(stream).copied().unwrap_or(Found { at: earliest, put_off: false });
            let at = if known.put_off { known.at } else { known.at.min(earliest) };
            found.insert(*stream, Found { at, ..known });
        }
        self.found = found;
        let crowd = u32::try_from(streams.div_ceil(CROWD).max(1)).unwrap_or(u32::MAX);
        let interval = self.lease.renewal.saturating_mul(crowd);
        self.list_at = now + rng.duration(interval / 4 * 3, interval / 4 * 5);
        let changed = core::mem::replace(&mut self.foreign, foreign) != foreign;
        changed.then_some(foreign)
    }

    /// It is ours now, or somebody else's.
    pub(super) fn on_taken(&mut self, stream: StreamId) {
        self.found.remove(&stream);
    }

    /// The store did not answer. Should that be because of this one, the others come first.
    pub(super) fn on_unanswered(&mut self, stream: StreamId, now: Instant) {
        let put_off = self.is_put_off(stream);
        self.found.insert(stream, Found { at: now + self.lease.renewal, put_off });
    }

    /// It could not be adopted: the others must not wait for that. True if that is news.
    pub(super) fn put_off(&mut self, stream: StreamId, now: Instant) -> bool {
        let is_news = !self.is_put_off(stream);
        self.found.insert(stream, Found { at: now + self.lease.renewal * PUT_OFF, put_off: true });
        is_news
    }

    fn is_put_off(&self, stream: StreamId) -> bool {
        self.found.get(&stream).is_some_and(|found| found.put_off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Space;

    fn stream(id: u64) -> StreamId {
        StreamId::new(Space::new(0), id)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn the_released_are_adopted_at_once_and_the_late_after_a_while() {
        let lease = Lease::new(Duration::from_secs(32));
        let mut rng = Rng::new([3; 32]);
        let mut orphans = Orphans::new(lease, at(0));
        assert_eq!(orphans.due(), (at(0), Search::List));
        let late = Orphan { stream: stream(1), released: false };
        let released = Orphan { stream: stream(2), released: true };
        assert_eq!(orphans.on_listed(&[late, released], 2, 0, at(0), &mut rng), None);
        assert_eq!(orphans.due(), (at(0), Search::Adopt(stream(2))));
        orphans.on_taken(stream(2));
        assert_eq!(orphans.due().1, Search::List);
        let due = orphans.due().0;
        assert!((at(3_000)..=at(5_000)).contains(&due), "{due:?}");
        orphans.on_listed(&[late], 1, 3, due, &mut rng);
        orphans.on_listed(&[late], 1, 3, at(7_999), &mut rng);
        let (adopt_at, search) = orphans.due();
        assert_eq!(search, Search::Adopt(stream(1)));
        assert!((at(8_000)..=at(10_000)).contains(&adopt_at), "{adopt_at:?}");
        // Its owner came back.
        orphans.on_listed(&[], 1, 3, at(8_001), &mut rng);
        assert_eq!(orphans.due().1, Search::List);
    }

    #[test]
    fn one_that_cannot_be_adopted_holds_up_no_other() {
        let lease = Lease::new(Duration::from_secs(32));
        let mut rng = Rng::new([3; 32]);
        let mut orphans = Orphans::new(lease, at(0));
        let found = [1, 2].map(|id| Orphan { stream: stream(id), released: true });
        orphans.on_listed(&found, 2, 0, at(0), &mut rng);
        assert!(orphans.put_off(stream(1), at(0)));
        assert_eq!(orphans.due(), (at(0), Search::Adopt(stream(2))));
        orphans.on_taken(stream(2));
        orphans.on_listed(&found[..1], 1, 0, at(3_000), &mut rng);
        assert_eq!(orphans.due().1, Search::List);
        orphans.on_listed(&found[..1], 1, 0, at(31_000), &mut rng);
        assert_eq!(orphans.due(), (at(32_000), Search::Adopt(stream(1))));
        assert!(!orphans.put_off(stream(1), at(32_000)), "it is told once");
        // Somebody else adopted it: when it comes back, that is another story.
        orphans.on_listed(&[], 0, 0, at(40_000), &mut rng);
        assert!(orphans.put_off(stream(1), at(99_000)));
    }

    #[test]
    fn one_about_which_the_store_does_not_answer_comes_after_the_others() {
        let mut rng = Rng::new([3; 32]);
        let mut orphans = Orphans::new(Lease::new(Duration::from_secs(32)), at(0));
        orphans.on_listed(
            &[1, 2].map(|id| Orphan { stream: stream(id), released: true }),
            2,
            0,
            at(0),
            &mut rng,
        );
        orphans.on_unanswered(stream(1), at(0));
        assert_eq!(orphans.due(), (at(0), Search::Adopt(stream(2))));
        assert!(orphans.put_off(stream(1), at(0)), "that alone does not put it off");
        orphans.on_unanswered(stream(1), at(1));
        assert!(!orphans.put_off(stream(1), at(1)), "nor does it forget that it was");
    }

    #[test]
    fn other_spaces_are_told_once() {
        let mut rng = Rng::new([3; 32]);
        let mut orphans = Orphans::new(Lease::new(Duration::from_secs(32)), at(0));
        let told: alloc::vec::Vec<_> =
            [0, 2, 2, 0].map(|foreign| orphans.on_listed(&[], 0, foreign, at(1), &mut rng)).into();
        assert_eq!(told, [None, Some(2), None, Some(0)]);
    }

    #[test]
    fn many_look_less_often_each() {
        let mut rng = Rng::new([3; 32]);
        let mut orphans = Orphans::new(Lease::new(Duration::from_secs(32)), at(0));
        orphans.on_listed(&[], 80, 0, at(0), &mut rng);
        assert!(orphans.due().0 >= at(30_000));
    }
}
