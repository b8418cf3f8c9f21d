use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::Instant;
use crate::journal::Lease;
use crate::rng::Rng;
use crate::store::{Orphan, StreamId};

/// Looks for streams whose owner is gone, and decides when to adopt them.
///
/// A stream that its owner gave up is adopted at once. One whose lease ran out is left alone a while longer:
/// after an outage of the store every lease has run out, and its owner may just be about to come back.
///
/// Others may be able to write where streams are made known, any number of names. So the number of streams that are
/// remembered is bounded, and so is the number of those that are adopted from one list to the next.
#[derive(Clone, Debug)]
pub(super) struct Orphans {
    lease: Lease,
    list_at: Instant,
    found: BTreeMap<StreamId, Found>,
    /// The same by time: those that may be adopted, and those that could not be.
    fresh: BTreeSet<(Instant, StreamId)>,
    put_off: BTreeSet<(Instant, StreamId)>,
    /// How many may be tried before the next list.
    tries: usize,
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
/// Owners from which on orphans are looked for less often by each, for they are looked for by many.
const CROWD: usize = 8;
/// Most streams that are remembered.
const MOST_FOUND: usize = 1_024;
/// Most that are tried from one list to the next.
const MOST_TRIES: usize = 256;

impl Orphans {
    pub(super) const fn new(lease: Lease, now: Instant) -> Self {
        Self {
            lease,
            list_at: now,
            found: BTreeMap::new(),
            fresh: BTreeSet::new(),
            put_off: BTreeSet::new(),
            tries: MOST_TRIES,
            foreign: 0,
        }
    }

    /// The next thing to do, and when.
    pub(super) fn due(&self) -> (Instant, Search) {
        let adopt = self.fresh.first().into_iter().chain(self.put_off.first()).min();
        match adopt {
            Some((at, stream)) if *at <= self.list_at && self.tries > 0 => (*at, Search::Adopt(*stream)),
            Some(_) | None => (self.list_at, Search::List),
        }
    }

    /// A list of all streams came. Answers how many streams of other spaces there are, if that changed.
    pub(super) fn on_listed(
        &mut self,
        orphans: &[Orphan],
        streams: usize,
        foreign: usize,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<usize> {
        let listed: BTreeSet<_> = orphans.iter().map(|orphan| orphan.stream).collect();
        // Their owners came back, or others adopted them.
        let gone: BTreeSet<_> = self.found.keys().copied().collect();
        gone.difference(&listed).for_each(|stream| self.forget(*stream));
        self.on_listed_in_part(orphans, streams, now, rng);
        let changed = core::mem::replace(&mut self.foreign, foreign) != foreign;
        changed.then_some(foreign)
    }

    /// A list of some of the streams came.
    pub(super) fn on_listed_in_part(
        &mut self,
        orphans: &[Orphan],
        streams: usize,
        now: Instant,
        rng: &mut Rng,
    ) {
        // Where there are too many, all have the same chance to be among those that are remembered.
        let first = if orphans.len() > MOST_FOUND { rng.next_u64() as usize % orphans.len() } else { 0 };
        let (behind, ahead) = orphans.split_at(first);
        for Orphan { stream, released } in ahead.iter().chain(behind) {
            let patience = if *released {
                Duration::ZERO
            } else {
                self.lease.grace + rng.duration(Duration::ZERO, self.lease.grace / 4)
            };
            let earliest = now + patience;
            match self.found.get(stream).copied() {
                Some(known) if known.put_off => {}
                Some(known) => self.remember(*stream, Found { at: known.at.min(earliest), put_off: false }),
                None if self.has_room() => self.remember(*stream, Found { at: earliest, put_off: false }),
                None => {}
            }
        }
        self.tries = MOST_TRIES;
        // Those look for orphans, too.
        let owners = streams.saturating_sub(orphans.len());
        let crowd = u32::try_from(owners.div_ceil(CROWD).max(1)).unwrap_or(u32::MAX);
        let interval = self.lease.renewal.saturating_mul(crowd);
        self.list_at = now + rng.duration(interval / 4 * 3, interval / 4 * 5);
    }

    /// It is ours now, or somebody else's.
    pub(super) fn on_taken(&mut self, stream: StreamId) {
        self.forget(stream);
        self.tries = self.tries.saturating_sub(1);
    }

    /// The store did not answer. Should that be because of this one, the others come first.
    pub(super) fn on_unanswered(&mut self, stream: StreamId, now: Instant) {
        let put_off = self.is_put_off(stream);
        self.remember(stream, Found { at: now + self.lease.renewal, put_off });
        self.tries = self.tries.saturating_sub(1);
    }

    /// It could not be adopted: the others must not wait for that. True if that is news.
    pub(super) fn put_off(&mut self, stream: StreamId, now: Instant) -> bool {
        let was_put_off = self.is_put_off(stream);
        self.remember(stream, Found { at: now + self.lease.renewal * PUT_OFF, put_off: true });
        self.tries = self.tries.saturating_sub(1);
        !was_put_off
    }

    fn is_put_off(&self, stream: StreamId) -> bool {
        self.found.get(&stream).is_some_and(|found| found.put_off)
    }

    /// Whether one more can be remembered, be it in place of one that could not be adopted.
    fn has_room(&mut self) -> bool {
        if self.found.len() < MOST_FOUND {
            return true;
        }
        let given_up = self.put_off.last().map(|(_, stream)| *stream);
        given_up.into_iter().for_each(|stream| self.forget(stream));
        given_up.is_some()
    }

    fn remember(&mut self, stream: StreamId, found: Found) {
        self.forget(stream);
        self.found.insert(stream, found);
        let order = if found.put_off { &mut self.put_off } else { &mut self.fresh };
        order.insert((found.at, stream));
    }

    fn forget(&mut self, stream: StreamId) {
        if let Some(found) = self.found.remove(&stream) {
            let order = if found.put_off { &mut self.put_off } else { &mut self.fresh };
            order.remove(&(found.at, stream));
        }
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

    #[test]
    fn what_was_not_looked_at_is_not_forgotten() {
        let mut rng = Rng::new([3; 32]);
        let mut orphans = Orphans::new(Lease::new(Duration::from_secs(32)), at(0));
        let late = Orphan { stream: stream(1), released: false };
        orphans.on_listed_in_part(&[late], 2, at(0), &mut rng);
        orphans.on_listed_in_part(&[], 2, at(4_000), &mut rng);
        orphans.on_listed_in_part(&[], 2, at(8_000), &mut rng);
        assert_eq!(orphans.due().1, Search::Adopt(stream(1)));
    }

    /// Names that somebody planted.
    #[test]
    fn of_very_many_some_are_remembered_and_fewer_are_tried_before_the_next_list() {
        let mut rng = Rng::new([3; 32]);
        let mut orphans = Orphans::new(Lease::new(Duration::from_secs(32)), at(0));
        let planted: alloc::vec::Vec<_> =
            (0..100_000).map(|id| Orphan { stream: stream(id), released: true }).collect();
        let mut met = BTreeSet::new();
        let (mut now, mut lists) = (at(0), 0);
        while lists < 20 {
            match orphans.due() {
                (due, Search::List) => {
                    now = now.max(due);
                    lists += 1;
                    orphans.on_listed(&planted, planted.len(), 0, now, &mut rng);
                    assert!(orphans.found.len() <= MOST_FOUND);
                    assert!(orphans.due().0 <= now + Duration::from_secs(5), "they have no owners that look");
                }
                (due, Search::Adopt(stream)) => {
                    now = now.max(due);
                    met.insert(stream);
                    orphans.on_taken(stream);
                }
            }
        }
        assert!(met.len() > 15 * MOST_TRIES && met.len() <= 20 * MOST_TRIES, "{}", met.len());
    }

    #[test]
    fn those_that_cannot_be_adopted_keep_no_other_out() {
        let mut rng = Rng::new([3; 32]);
        let mut orphans = Orphans::new(Lease::new(Duration::from_secs(32)), at(0));
        let mut now = at(0);
        for id in 0..5_000 {
            orphans.on_listed_in_part(&[Orphan { stream: stream(id), released: true }], 1, now, &mut rng);
            assert_eq!(orphans.due(), (now, Search::Adopt(stream(id))));
            assert!(orphans.put_off(stream(id), now));
            now = now + Duration::from_millis(1);
        }
        assert_eq!((orphans.found.len(), orphans.put_off.len()), (MOST_FOUND, MOST_FOUND));
    }
}
