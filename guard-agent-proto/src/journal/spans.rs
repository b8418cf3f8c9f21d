use alloc::vec::Vec;

use crate::Seq;

/// A set of places in a log, as the spans that it consists of: ascending, apart from each other.
///
/// What it is for comes in order, so that there are few of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans {
    spans: Vec<(Seq, Seq)>,
    len: u64,
}

impl Spans {
    pub(super) const EMPTY: Self = Self { spans: Vec::new(), len: 0 };

    /// One span; both ends belong to it.
    pub(super) fn from_ends(first: Seq, last: Seq) -> Self {
        let len = last.as_u64() - first.as_u64() + 1;
        Self { spans: alloc::vec![(first, last)], len }
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        let after = self.after(seq);
        after > 0 && self.spans[after - 1].1 >= seq
    }

    /// Whether a place is in both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let ends_behind = |(first, last)| {
            let before = self.after(last);
            before > 0 && self.spans[before - 1].1 >= first
        };
        other.iter().any(ends_behind)
    }

    /// How many places it has.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// How many of them are before `mark`.
    pub(super) fn count_before(&self, mark: Seq) -> u64 {
        let before = self.spans.iter().take_while(|(first, _)| *first < mark);
        before.map(|(first, last)| last.next().min(mark).as_u64() - first.as_u64()).sum()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub(super) fn first(&self) -> Option<Seq> {
        self.spans.first().map(|(first, _)| *first)
    }

    pub(super) fn last(&self) -> Option<Seq> {
        self.spans.last().map(|(_, last)| *last)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        self.spans.iter().copied()
    }

    /// Adds a span that begins behind all others.
    pub(super) fn push(&mut self, first: Seq, last: Seq) {
        self.len += last.as_u64() - first.as_u64() + 1;
        match self.spans.last_mut() {
            Some((_, end)) if end.next() == first => *end = last,
            _ => self.spans.push((first, last)),
        }
    }

    /// Whether it was not there.
    pub(super) fn insert(&mut self, seq: Seq) -> bool {
        if self.contains(seq) {
            return false;
        }
        self.len += 1;
        let after = self.after(seq);
        let joins_left = after > 0 && self.spans[after - 1].1.next() == seq;
        let joins_right = self.spans.get(after).is_some_and(|(first, _)| seq.next() == *first);
        match (joins_left, joins_right) {
            (true, true) => {
                self.spans[after - 1].1 = self.spans[after].1;
                self.spans.remove(after);
            }
            (true, false) => self.spans[after - 1].1 = seq,
            (false, true) => self.spans[after].0 = seq,
            (false, false) => self.spans.insert(after, (seq, seq)),
        }
        true
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, seq: Seq) -> bool {
        if !self.contains(seq) {
            return false;
        }
        self.len -= 1;
        let place = self.after(seq) - 1;
        let (first, last) = self.spans[place];
        match (first == seq, last == seq) {
            (true, true) => drop(self.spans.remove(place)),
            (true, false) => self.spans[place].0 = seq.next(),
            (false, true) => self.spans[place].1 = seq.previous(),
            (false, false) => {
                self.spans[place].1 = seq.previous();
                self.spans.insert(place + 1, (seq.next(), last));
            }
        }
        true
    }

    /// How many spans begin at `seq` or before.
    fn after(&self, seq: Seq) -> usize {
        self.spans.partition_point(|(first, _)| *first <= seq)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::journal::codec::{Reader, push_spans};

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..40), 0..200)) {
            let (mut spans, mut set) = (Spans::default(), BTreeSet::new());
            for (add, seq) in steps {
                let changed = if add { set.insert(seq) } else { set.remove(&seq) };
                let seq = Seq::from_u64(seq);
                prop_assert_eq!(if add { spans.insert(seq) } else { spans.remove(seq) }, changed);
                prop_assert_eq!(spans.len(), set.len() as u64);
                prop_assert_eq!(spans.count_before(seq), set.range(..seq.as_u64()).count() as u64);
                for seq in 0..40 {
                    prop_assert_eq!(spans.contains(Seq::from_u64(seq)), set.contains(&seq));
                }
                prop_assert!(spans.spans.windows(2).all(|pair| pair[0].1.next() < pair[1].0));
                prop_assert_eq!(spans.first(), set.first().copied().map(Seq::from_u64));
                prop_assert_eq!(spans.last(), set.last().copied().map(Seq::from_u64));
            }
            let mut bytes = alloc::vec::Vec::new();
            push_spans(&spans, &mut bytes);
            let mut reader = Reader(&bytes);
            prop_assert_eq!(reader.spans(), Some(spans.clone()));
            prop_assert!(reader.is_empty());
            // In ascending order it can be put together more cheaply, of spans or of single places.
            let (mut of_spans, mut of_places) = (Spans::default(), Spans::default());
            spans.iter().for_each(|(first, last)| of_spans.push(first, last));
            set.iter().map(|seq| Seq::from_u64(*seq)).for_each(|seq| of_places.push(seq, seq));
            prop_assert_eq!([&of_spans, &of_places], [&spans; 2]);
            prop_assert_eq!(spans.is_empty(), set.is_empty());
        }

        #[test]
        fn two_overlap_where_a_place_is_in_both(
            [a, b] in prop::array::uniform2(prop::collection::btree_set(0u64..40, 0..12)),
            [first, more] in [0u64..40, 0u64..5],
        ) {
            let spans = |set: &BTreeSet<u64>| {
                let mut spans = Spans::default();
                set.iter().for_each(|seq| spans.push(Seq::from_u64(*seq), Seq::from_u64(*seq)));
                spans
            };
            prop_assert_eq!(spans(&a).overlaps(&spans(&b)), !a.is_disjoint(&b));
            let span = Spans::from_ends(Seq::from_u64(first), Seq::from_u64(first + more));
            prop_assert_eq!(&span, &spans(&(first..=first + more).collect()));
            prop_assert_eq!(spans(&a).overlaps(&span), a.range(first..=first + more).next().is_some());
        }
    }
}
