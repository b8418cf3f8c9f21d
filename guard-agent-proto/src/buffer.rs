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
    use alloc::collections::BTreeMap;
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

    #[test]
    fn takes_from_one_journal_at_a_time() {
        let [own, adopted] = [0, 1].map(|origin| Seq::from_u64(5).at_origin(origin).as_u64());
        let mut both = Buffer::default();
        for seq in [own, own + 1, adopted, adopted + 1] {
            both.push(entry(seq, 10));
        }
        assert_eq!([both.take(9, 99).len(), both.take(9, 99).len()], [2, 2]);
    }

    #[test]
    fn takes_little_more_memory_than_what_it_holds() {
        let mut growing = Buffer::default();
        for seq in 0..20_000 {
            growing.push(entry(seq, 1));
            assert!(growing.entries.capacity() <= 64 + growing.len() * 9 / 8, "{}", growing.len());
        }
        while growing.pop().is_some() {}
        assert!(growing.entries.capacity() <= 1_024);
    }

    /// Operations on a buffer.
    #[derive(Clone, Debug)]
    enum Step {
        Push(u64, usize),
        Merge(Vec<u64>),
        Extract(u64),
        Pop,
        PopNewest,
        TakeBefore(u64, u64),
        Take(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u64..60, 1usize..9).prop_map(|(seq, len)| Step::Push(seq, len)),
            2 => prop::collection::btree_set(0u64..60, 0..9).prop_map(|seqs| Step::Merge(seqs.into_iter().collect())),
            1 => (2u64..5).prop_map(Step::Extract),
            1 => Just(Step::Pop),
            1 => Just(Step::PopNewest),
            2 => (0u64..60, 1u64..5).prop_map(|(mark, of)| Step::TakeBefore(mark, of)),
            1 => (0usize..5, 0usize..40).prop_map(|(most, budget)| Step::Take(most, budget)),
        ]
    }

    proptest! {
        /// The model is a map: every sequence number is there once.
        #[test]
        fn it_is_a_map_with_a_sum(steps in prop::collection::vec(step(), 0..60)) {
            let (mut buffer, mut model) = (Buffer::default(), BTreeMap::<u64, usize>::new());
            for step in steps {
                let (gone, expected): (Vec<Entry>, Vec<u64>) = match step {
                    Step::Push(seq, len) => {
                        if model.insert(seq, len).is_none() {
                            buffer.push(entry(seq, len));
                        } else {
                            model.insert(seq, buffer.from(Seq::from_u64(seq)).next().unwrap().json.len());
                        }
                        (vec![], vec![])
                    }
                    Step::Merge(mut seqs) => {
                        seqs.retain(|seq| !model.contains_key(seq));
                        model.extend(seqs.iter().map(|seq| (*seq, 3)));
                        let mut other: Buffer = seqs.into_iter().map(|seq| entry(seq, 3)).collect();
                        buffer.merge(&mut other);
                        prop_assert!(other.is_empty() && other.json_bytes() == 0);
                        (vec![], vec![])
                    }
                    Step::Extract(of) => (
                        buffer.extract(|entry| entry.seq().as_u64().is_multiple_of(of)),
                        model.keys().copied().filter(|seq| seq.is_multiple_of(of)).collect(),
                    ),
                    Step::Pop => {
                        (buffer.pop().into_iter().collect(), model.keys().next().copied().into_iter().collect())
                    }
                    Step::PopNewest => (
                        buffer.pop_newest().into_iter().collect(),
                        model.keys().next_back().copied().into_iter().collect(),
                    ),
                    Step::TakeBefore(mark, of) => (
                        buffer
                            .take_before(Seq::from_u64(mark), |seq| seq.as_u64().is_multiple_of(of))
                            .into_iter()
                            .collect(),
                        model.range(..mark).rev().map(|(seq, _)| *seq).find(|seq| seq.is_multiple_of(of)).into_iter().collect(),
                    ),
                    Step::Take(most, budget) => {
                        let taken = buffer.take(most, budget);
                        prop_assert!(taken.len() <= most.max(1));
                        let expected = model.keys().copied().take(taken.len()).collect();
                        (taken, expected)
                    }
                };
                prop_assert_eq!(gone.iter().map(|entry| entry.seq().as_u64()).collect::<Vec<_>>(), &*expected);
                for seq in expected {
                    model.remove(&seq);
                }
                let held = |(seq, len): (&u64, &usize)| (*seq, *len);
                let mark = Seq::from_u64(30);
                prop_assert!(buffer.from(Seq::from_u64(0)).map(|e| (e.seq().as_u64(), e.json.len())).eq(model.iter().map(held)));
                prop_assert!(buffer.from(mark).map(|e| (e.seq().as_u64(), e.json.len())).eq(model.range(30..).map(held)));
                prop_assert_eq!(buffer.count_before(mark), model.range(..30).count());
                prop_assert_eq!((buffer.len(), buffer.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(buffer.json_bytes(), model.values().sum::<usize>());
                let ends = [buffer.first(), buffer.last()].map(|end| end.map(|entry| entry.seq().as_u64()));
                prop_assert_eq!(ends, [model.keys().next().copied(), model.keys().next_back().copied()]);
                prop_assert_eq!(buffer.oldest(), model.keys().next().map(|seq| Instant::from_micros(*seq)));
            }
        }
    }
}
