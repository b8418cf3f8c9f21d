use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::batch::Entry;
use crate::{Instant, Seq};

/// Records that wait to be sealed, in ascending order of sequence number, with their memory counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer {
    entries: VecDeque<Entry>,
    json_bytes: usize,
}

impl Buffer {
    /// Adds a record, which is the last one but for those of other streams.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.json_bytes += entry.json.len();
        if self.entries.len() == self.entries.capacity() {
            // Growing by an eighth keeps a full buffer close to the size of what it holds.
            self.entries.reserve_exact(64.max(self.entries.len() / 8));
        }
        match self.entries.back() {
            Some(last) if last.seq() > entry.seq() => {
                self.entries.insert(self.count_before(entry.seq()), entry);
            }
            Some(_) | None => self.entries.push_back(entry),
        }
    }

    /// Takes over all of `other`, keeping the order of sequence numbers.
    pub(crate) fn merge(&mut self, other: &mut Self) {
        let sorted = match (self.entries.back(), other.entries.front()) {
            (Some(last), Some(first)) => last.seq() < first.seq(),
            _ => true,
        };
        self.json_bytes += core::mem::take(&mut other.json_bytes);
        self.entries.append(&mut other.entries);
        if !sorted {
            self.entries.make_contiguous().sort_by_key(Entry::seq);
        }
    }

    /// Takes out those that `gone` says, in order.
    pub(crate) fn extract(&mut self, gone: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut out = Vec::new();
        let mut kept = VecDeque::with_capacity(self.entries.len());
        for entry in self.entries.drain(..) {
            if gone(&entry) {
                self.json_bytes -= entry.json.len();
                out.push(entry);
            } else {
                kept.push_back(entry);
            }
        }
        self.entries = kept;
        out
    }

    /// Takes the oldest record out.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.json_bytes -= entry.json.len();
        if self.entries.is_empty() {
            self.entries.shrink_to(1_024);
        }
        Some(entry)
    }

    /// The oldest record.
    pub(crate) fn first(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// Takes the newest record out.
    pub(crate) fn pop_newest(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_back()?;
        self.json_bytes -= entry.json.len();
        Some(entry)
    }

    /// The newest record.
    pub(crate) fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// Takes the newest record before `mark` out that `may_go`.
    pub(crate) fn take_before(&mut self, mark: Seq, may_go: impl Fn(Seq) -> bool) -> Option<Entry> {
        let older = self.entries.range(..self.count_before(mark));
        let place = older.rev().position(|entry| may_go(entry.seq()))?;
        let entry = self.entries.remove(self.count_before(mark) - 1 - place)?;
        self.json_bytes -= entry.json.len();
        Some(entry)
    }

    /// Takes out the oldest records that fit `budget` bytes of JSON with separators, at most `most`, and at
    /// least one. All of them come from one journal: only then can a note there say how they were sent.
    pub(crate) fn take(&mut self, most: usize, budget: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let origin = self.entries.front().map(|entry| entry.seq().origin());
        let count = self.entries.iter().take(most.max(1)).enumerate().take_while(|(i, entry)| {
            bytes += entry.json.len() + usize::from(*i > 0);
            *i == 0 || bytes <= budget && Some(entry.seq().origin()) == origin
        });
        let count = count.count();
        (0..count).filter_map(|_| self.pop()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of JSON, without separators.
    pub(crate) const fn json_bytes(&self) -> usize {
        self.json_bytes
    }

    /// When the oldest record was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.accepted_at)
    }

    /// How many records came before `mark`.
    pub(crate) fn count_before(&self, mark: Seq) -> usize {
        self.entries.partition_point(|entry| entry.seq() < mark)
    }

    /// The records from `mark` on.
    pub(crate) fn from(&self, mark: Seq) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.count_before(mark)..)
    }
}

impl FromIterator<Entry> for Buffer {
    /// They must be in ascending order.
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let entries: VecDeque<_> = entries.into_iter().collect();
        let json_bytes = entries.iter().map(|entry| entry.json.len()).sum();
        Self { entries, json_bytes }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{Kind, Record};
    use proptest::prelude::*;

    fn entry(seq: u64, len: usize) -> Entry {
        let record = Record::new(Kind::Event, false, vec![b'x'; len].into());
        Entry::new(Seq::from_u64(seq), Instant::from_micros(seq), record)
    }

    fn buffer(lens: &[usize]) -> Buffer {
        let mut buffer = Buffer::default();
        for (seq, len) in lens.iter().enumerate() {
            buffer.push(entry(seq as u64, *len));
        }
        buffer
    }

    #[test]
    fn takes_what_fits_with_separators() {
        for (lens, most, budget, taken) in [
            (&[10, 10, 10][..], 9, 32, 3),
            (&[10, 10, 10], 9, 31, 2),
            (&[10, 10, 10], 2, 99, 2),
            (&[10, 10, 10], 0, 99, 1),
            (&[50, 10], 9, 20, 1),
            (&[], 9, 20, 0),
        ] {
            assert_eq!(buffer(lens).take(most, budget).len(), taken, "{lens:?} {most} {budget}");
        }
    }

    proptest! {
        #[test]
        fn bytes_and_order_are_kept(
            lens in prop::collection::vec(1usize..100, 0..50),
            other in prop::collection::vec(1usize..100, 0..50),
            most in 0usize..20,
            budget in 0usize..500,
        ) {
            let mut all = buffer(&lens);
            let mut older = Buffer::default();
            for (i, len) in other.iter().enumerate() {
                older.push(entry(i as u64 * 3, *len));
            }
            all.merge(&mut older);
            prop_assert!(older.is_empty() && older.json_bytes() == 0);
            let taken = all.take(most, budget);
            prop_assert!(taken.is_sorted_by_key(Entry::seq));
            let left: usize = all.entries.iter().map(|e| e.json.len()).sum();
            prop_assert_eq!(left, all.json_bytes());
            all.merge(&mut taken.into_iter().collect());
            all.push(entry(45, 7));
            prop_assert!(all.entries.iter().is_sorted_by_key(Entry::seq));
            prop_assert_eq!(all.json_bytes(), lens.iter().chain(&other).sum::<usize>() + 7);
            prop_assert_eq!(all.len(), lens.len() + other.len() + 1);
        }
    }
}
