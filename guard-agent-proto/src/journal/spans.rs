use alloc::vec::Vec;

use crate::Seq;

/// A set of places in a log, as the spans that it consists of: ascending, apart from each other.
///
/// What it is for comes in order, so that there are few of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<(Seq, Seq)>);

impl Spans {
    /// One span; both ends belong to it.
    pub(super) fn from_ends(first: Seq, last: Seq) -> Self {
        Self(alloc::vec![(first, last)])
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        let after = self.after(seq);
        after > 0 && self.0[after - 1].1 >= seq
    }

    /// How many places it has.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|(first, last)| last.as_u64() - first.as_u64() + 1).sum()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<Seq> {
        self.0.first().map(|(first, _)| *first)
    }

    pub(super) fn last(&self) -> Option<Seq> {
        self.0.last().map(|(_, last)| *last)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        self.0.iter().copied()
    }

    /// Adds a span that begins behind all others.
    pub(super) fn push(&mut self, first: Seq, last: Seq) {
        match self.0.last_mut() {
            Some((_, end)) if end.next() == first => *end = last,
            _ => self.0.push((first, last)),
        }
    }

    /// Whether it was not there.
    pub(super) fn insert(&mut self, seq: Seq) -> bool {
        if self.contains(seq) {
            return false;
        }
        let after = self.after(seq);
        let joins_left = after > 0 && self.0[after - 1].1.next() == seq;
        let joins_right = self.0.get(after).is_some_and(|(first, _)| seq.next() == *first);
        match (joins_left, joins_right) {
            (true, true) => {
                self.0[after - 1].1 = self.0[after].1;
                self.0.remove(after);
            }
            (true, false) => self.0[after - 1].1 = seq,
            (false, true) => self.0[after].0 = seq,
            (false, false) => self.0.insert(after, (seq, seq)),
        }
        true
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, seq: Seq) -> bool {
        if !self.contains(seq) {
            return false;
        }
        let place = self.after(seq) - 1;
        let (first, last) = self.0[place];
        match (first == seq, last == seq) {
            (true, true) => drop(self.0.remove(place)),
            (true, false) => self.0[place].0 = seq.next(),
            (false, true) => self.0[place].1 = seq.previous(),
            (false, false) => {
                self.0[place].1 = seq.previous();
                self.0.insert(place + 1, (seq.next(), last));
            }
        }
        true
    }

    /// How many spans begin at `seq` or before.
    fn after(&self, seq: Seq) -> usize {
        self.0.partition_point(|(first, _)| *first <= seq)
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
                for seq in 0..40 {
                    prop_assert_eq!(spans.contains(Seq::from_u64(seq)), set.contains(&seq));
                }
                prop_assert!(spans.0.windows(2).all(|pair| pair[0].1.next() < pair[1].0));
                prop_assert_eq!(spans.first(), set.first().copied().map(Seq::from_u64));
                prop_assert_eq!(spans.last(), set.last().copied().map(Seq::from_u64));
            }
            let mut bytes = alloc::vec::Vec::new();
            push_spans(&spans, &mut bytes);
            let mut reader = Reader(&bytes);
            prop_assert_eq!(reader.spans(), Some(spans));
            prop_assert!(reader.is_empty());
        }
    }
}
