use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::Seq;
use crate::journal::block::StoredRecord;
use crate::journal::spans::Spans;

/// One log of a stream, as far as records of it are here.
///
/// A record of it is *here* (in memory, and in the store), *stored* (in the store alone), or *settled*
/// (delivered or given up, and about to be removed).
#[derive(Clone, Debug)]
pub(super) struct Log {
    /// Blocks with records that are here, or with some that are settled while others are not.
    blocks: BTreeMap<Seq, Block>,
    here: u64,
    /// What is stored, as far as it is known.
    stored: Spans,
    stored_bytes: u64,
    /// What of it is to be read after the rest.
    aside: Spans,
    /// Records before this place are known to us; those from it on are met when they are read.
    known: Seq,
    /// Blocks before this place hold nothing that is stored and was not set aside.
    next: Seq,
    /// Blocks of which everything is settled, and whether the store was told so of a part before.
    removable: BTreeMap<Seq, bool>,
    /// Blocks of which more is settled than the store was told.
    changed: BTreeSet<Seq>,
}

/// Which records of a block are here and which are settled; the rest is stored.
#[derive(Clone, Debug)]
enum Block {
    /// All from this place to the end are here.
    Whole(Seq),
    Part(Box<Part>),
}

#[derive(Clone, Debug, Default)]
struct Part {
    total: u64,
    here: Spans,
    settled: Spans,
    /// The store was told of some that are settled.
    noted: bool,
}

/// How many records a block has that was noted, and not read yet.
const UNMET: u64 = u64::MAX;

impl Log {
    /// The log of a stream of our own: we know every record of it.
    pub(super) const fn own() -> Self {
        Self::new(Seq::from_u64(u64::MAX))
    }

    /// The log of an adopted stream.
    pub(super) const fn adopted() -> Self {
        Self::new(Seq::from_u64(0))
    }

    const fn new(known: Seq) -> Self {
        Self {
            blocks: BTreeMap::new(),
            here: 0,
            stored: Spans::EMPTY,
            stored_bytes: 0,
            aside: Spans::EMPTY,
            known,
            next: Seq::from_u64(0),
            removable: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// A block was appended, of records that are here.
    pub(super) fn on_appended(&mut self, id: Seq, records: Spans) {
        let total = records.len();
        let block = match records.first() {
            Some(first) if id.as_u64() - first.as_u64() + 1 == total => Block::Whole(first),
            _ => Block::Part(Box::new(Part { total, here: records, ..Part::default() })),
        };
        self.here += total;
        self.blocks.insert(id, block);
    }

    /// The store told which records of a block are settled.
    pub(super) fn on_noted(&mut self, id: Seq, settled: Spans) {
        let part = Part { total: UNMET, here: Spans::default(), settled, noted: true };
        self.blocks.insert(id, Block::Part(Box::new(part)));
    }

    /// Blocks of which the store told something.
    #[cfg(test)]
    pub(super) fn noted(&self) -> usize {
        self.blocks.len()
    }

    /// A block was read for the first time. What was noted of it counts as far as it is true.
    pub(super) fn on_met(&mut self, id: Seq, records: &[StoredRecord]) {
        if let Some(Block::Part(part)) = self.blocks.get_mut(&id)
            && part.total == UNMET
        {
            let noted = core::mem::take(&mut part.settled);
            for record in records.iter().filter(|record| noted.contains(record.seq)) {
                part.settled.insert(record.seq);
            }
            part.total = records.len() as u64;
        }
    }

    /// A record that was here was delivered or given up.
    pub(super) fn settle(&mut self, seq: Seq) {
        let Some((id, part)) = self.part_with(seq) else { return };
        part.here.remove(seq);
        part.settled.insert(seq);
        let complete = part.settled.len() == part.total;
        let noted = part.noted;
        self.here -= 1;
        if complete {
            self.blocks.remove(&id);
            self.changed.remove(&id);
            self.removable.insert(id, noted);
        } else {
            self.changed.insert(id);
        }
    }

    /// A record that was here is left to the store alone, and is the next to be read.
    pub(super) fn release(&mut self, seq: Seq, bytes: usize) {
        let next = if self.has_ahead() { self.next.min(seq) } else { seq };
        if self.leave(seq, bytes) {
            self.next = next;
        }
    }

    /// The same, but it is read after the rest.
    pub(super) fn set_aside(&mut self, seq: Seq, bytes: usize) {
        if self.leave(seq, bytes) {
            self.aside.insert(seq);
        }
    }

    /// Whether the store has it.
    fn leave(&mut self, seq: Seq, bytes: usize) -> bool {
        let Some((id, part)) = self.part_with(seq) else { return false };
        part.here.remove(seq);
        let forgotten = part.here.is_empty() && part.settled.is_empty();
        if forgotten {
            self.blocks.remove(&id);
        }
        self.here -= 1;
        self.stored.insert(seq);
        self.stored_bytes += bytes as u64;
        true
    }

    /// Whether a record that is here is in the store too.
    pub(super) fn has(&self, seq: Seq) -> bool {
        self.blocks.range(seq..).any(|(_, block)| block.has(seq))
    }

    /// Whether a record is stored.
    pub(super) fn stores(&self, seq: Seq) -> bool {
        self.stored.contains(seq)
    }

    /// Whether a record that was read is stored. What was settled long ago may be there again: a store that went
    /// back in time has what was removed since.
    pub(super) fn is_stored(&self, id: Seq, seq: Seq) -> bool {
        if seq < self.known {
            return self.stored.contains(seq);
        }
        match self.blocks.get(&id) {
            None => true,
            Some(Block::Whole(_)) => false,
            Some(Block::Part(part)) => !part.settled.contains(seq),
        }
    }

    /// Whether every record of the block, which has `total`, is settled.
    pub(super) fn is_spent(&self, id: Seq, total: u64) -> bool {
        match self.blocks.get(&id) {
            Some(Block::Part(part)) => part.settled.len() >= total,
            Some(Block::Whole(_)) => false,
            // Nothing of it is here or stored.
            None => true,
        }
    }

    /// A stored record of a block of `total` comes here. True if it is met for the first time.
    pub(super) fn take(&mut self, id: Seq, total: u64, seq: Seq, bytes: usize) -> bool {
        let block = self.blocks.entry(id).or_insert_with(|| Block::Part(Box::default()));
        if let Block::Part(part) = block {
            part.total = total;
            part.here.insert(seq);
        }
        self.here += 1;
        if seq >= self.known {
            self.known = seq.next();
            return true;
        }
        self.stored.remove(seq);
        self.aside.remove(seq);
        self.stored_bytes =
            if self.stored.is_empty() { 0 } else { self.stored_bytes.saturating_sub(bytes as u64) };
        false
    }

    /// What was read up to the block of that id, itself included, was looked at.
    pub(super) fn read_on_after(&mut self, id: Seq) {
        self.next = id.next();
    }

    /// What was read from `seq` on is to be read again.
    pub(super) fn read_again(&mut self, seq: Seq) {
        self.next = self.next.min(seq);
    }

    /// A block cannot be read, or nothing of it is left to do.
    pub(super) fn discard(&mut self, id: Seq) {
        if let Some(block) = self.blocks.remove(&id) {
            self.here -= block.here(id);
        }
        self.changed.remove(&id);
        self.removable.insert(id, true);
    }

    /// The store is to be told of these, unless it is told more.
    pub(super) fn change_again(&mut self, ids: &[Seq]) {
        self.changed.extend(ids.iter().filter(|id| self.blocks.contains_key(id)));
    }

    /// Blocks are to be removed that were about to be.
    pub(super) fn remove_again(&mut self, ids: &[Seq]) {
        self.removable.extend(ids.iter().map(|id| (*id, true)));
    }

    /// The store lost what it had behind `last`. What is here stays; it is no longer in the store.
    pub(super) fn on_lost_after(&mut self, last: Seq) {
        let lost = self.blocks.split_off(&last.next());
        for (id, block) in lost {
            self.here -= block.here(id);
        }
        self.removable.split_off(&last.next());
        self.changed.split_off(&last.next());
    }

    /// There is nothing behind what was read: what was stored there is lost, and of the blocks only what is here is
    /// left. How many records are lost.
    pub(super) fn end(&mut self) -> u64 {
        let lost = self.stored.len() - self.aside.len();
        self.stored.clone_from(&self.aside);
        if !self.stored.is_empty() {
            return lost;
        }
        self.stored_bytes = 0;
        let gone = |id: &Seq, block: &Block| block.here(*id) == 0;
        let gone: Vec<_> =
            self.blocks.iter().filter(|(id, block)| gone(id, block)).map(|(id, _)| *id).collect();
        for id in gone {
            self.discard(id);
        }
        for block in self.blocks.values_mut() {
            if let Block::Part(part) = block {
                part.total = part.here.len() + part.settled.len();
            }
        }
        lost
    }

    /// What was set aside is next.
    pub(super) fn rewind(&mut self) {
        self.next = self.stored.first().unwrap_or(self.next);
        self.aside = Spans::EMPTY;
    }

    /// Whether nothing was ever read of it.
    pub(super) fn is_unmet(&self) -> bool {
        self.next == Seq::from_u64(0)
    }

    /// Where to read on.
    pub(super) const fn next(&self) -> Seq {
        self.next
    }

    pub(super) const fn here(&self) -> u64 {
        self.here
    }

    pub(super) const fn stored(&self) -> u64 {
        self.stored.len()
    }

    pub(super) const fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// How many stored records came before `mark`.
    pub(super) fn stored_before(&self, mark: Seq) -> u64 {
        self.stored.count_before(mark)
    }

    /// Whether known records are stored that were not set aside.
    pub(super) const fn has_ahead(&self) -> bool {
        self.stored.len() > self.aside.len()
    }

    /// Whether known records are stored.
    pub(super) const fn has_unread(&self) -> bool {
        !self.stored.is_empty()
    }

    /// Blocks to remove, at most `limit`, and whether the store has a note of each.
    pub(super) fn take_removable(&mut self, limit: usize) -> Vec<(Seq, bool)> {
        core::iter::from_fn(|| self.removable.pop_first()).take(limit).collect()
    }

    /// Blocks of which more is settled than the store was told, with all that is settled of them.
    pub(super) fn take_changed(&mut self, limit: usize) -> Vec<(Seq, Spans)> {
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(id) = self.changed.pop_first()
        {
            if let Some(Block::Part(part)) = self.blocks.get_mut(&id) {
                part.noted = true;
                taken.push((id, part.settled.clone()));
            }
        }
        taken
    }

    /// Whether the store has to be told something.
    pub(super) fn has_changes(&self) -> bool {
        !self.removable.is_empty() || !self.changed.is_empty()
    }

    /// Whether nothing of it is here or stored, as far as it is known.
    pub(super) fn holds_nothing(&self) -> bool {
        self.here == 0 && self.stored.is_empty()
    }

    /// Whether nothing of it is here, stored or about to be removed, as far as it is known.
    pub(super) fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.blocks.is_empty() && self.removable.is_empty()
    }

    /// The block that has that record here, in parts. It is the first one of a higher id, but for notes of blocks
    /// that the store lost.
    fn part_with(&mut self, seq: Seq) -> Option<(Seq, &mut Part)> {
        let (id, block) = self.blocks.range_mut(seq..).find(|(_, block)| block.has(seq))?;
        if let Block::Whole(first) = block {
            let here = Spans::from_ends(*first, *id);
            *block = Block::Part(Box::new(Part { total: here.len(), here, ..Part::default() }));
        }
        match block {
            Block::Part(part) => Some((*id, part)),
            Block::Whole(_) => None,
        }
    }
}

impl Block {
    /// Whether that record, which may not come after it, is here.
    fn has(&self, seq: Seq) -> bool {
        match self {
            Self::Whole(first) => *first <= seq,
            Self::Part(part) => part.here.contains(seq),
        }
    }

    /// How many records of the block, which has that id, are here.
    fn here(&self, id: Seq) -> u64 {
        match self {
            Self::Whole(first) => id.as_u64() - first.as_u64() + 1,
            Self::Part(part) => part.here.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_set_aside_is_read_after_the_rest() {
        let [one, two, three] = [1, 2, 3].map(Seq::from_u64);
        let mut log = Log::own();
        log.on_appended(three, Spans::from_ends(one, three));
        log.set_aside(one, 10);
        log.release(two, 10);
        assert_eq!((log.next(), log.stored()), (two, 2));
        log.read_on_after(three);
        assert!(!log.take(three, 3, two, 10));
        assert!(log.has_unread() && !log.has_ahead());
        assert_eq!(log.end(), 0);
        log.rewind();
        assert_eq!(log.next(), one);
        assert!(!log.take(three, 3, one, 10));
        assert_eq!((log.end(), log.here(), log.stored()), (0, 3, 0));
    }

    #[test]
    fn a_note_of_a_block_that_was_lost_hides_no_other() {
        let [one, two, three] = [1, 2, 3].map(Seq::from_u64);
        let mut log = Log::adopted();
        log.on_noted(two, Spans::from_ends(one, one));
        assert!(log.take(three, 1, two, 10));
        assert!(log.has(two));
        log.settle(two);
        assert_eq!((log.here(), log.end()), (0, 0));
        assert_eq!(log.take_removable(9).len(), 2);
        assert!(log.is_empty());
    }

    #[test]
    fn a_block_of_which_the_rest_is_lost_is_removed() {
        let [one, two, three] = [1, 2, 3].map(Seq::from_u64);
        for settled_before in [false, true] {
            let mut log = Log::adopted();
            for seq in [one, two, three] {
                assert!(log.take(three, 3, seq, 10));
            }
            log.settle(one);
            log.release(three, 10);
            if settled_before {
                log.settle(two);
            }
            assert_eq!(log.end(), 1);
            if !settled_before {
                log.settle(two);
            }
            assert_eq!(log.take_removable(9).first().map(|(id, _)| *id), Some(three));
            assert!(log.is_empty());
        }
    }

    #[test]
    fn what_the_store_was_not_told_of_a_block_is_due_again_as_long_as_there_is_one() {
        let [one, two, three] = [1, 2, 3].map(Seq::from_u64);
        let mut log = Log::own();
        log.on_appended(three, Spans::from_ends(one, three));
        log.settle(one);
        assert_eq!(log.take_changed(9), [(three, Spans::from_ends(one, one))]);
        assert!(!log.has_changes());
        log.change_again(&[three]);
        assert_eq!(log.take_changed(9), [(three, Spans::from_ends(one, one))]);
        log.settle(two);
        log.settle(three);
        assert_eq!(log.take_removable(9), [(three, true)]);
        log.change_again(&[three]);
        assert!(!log.has_changes());
    }

    /// Where a record of the model is.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Place {
        Here,
        Stored { aside: bool },
        Settled,
    }

    /// Everything that a log has to know: the blocks of the store, and where their records are.
    #[derive(Default)]
    struct Model {
        blocks: BTreeMap<u64, BTreeMap<u64, Place>>,
        last: u64,
    }

    impl Model {
        fn records(&self, is: impl Fn(Place) -> bool) -> Vec<u64> {
            let records = self.blocks.values().flatten().filter(|(_, place)| is(**place));
            records.map(|(seq, _)| *seq).collect()
        }

        fn put(&mut self, seq: u64, place: Place) {
            self.blocks.values_mut().filter_map(|block| block.get_mut(&seq)).for_each(|it| *it = place);
        }

        fn settled(&self, id: Seq) -> Spans {
            let mut settled = Spans::default();
            for (seq, _) in self.blocks[&id.as_u64()].iter().filter(|(_, place)| **place == Place::Settled) {
                settled.insert(Seq::from_u64(*seq));
            }
            settled
        }

        fn append(&mut self, log: &mut Log, count: u64, gap: u64) {
            let seqs: Vec<_> = (0..count).map(|place| self.last + 1 + place * (1 + gap)).collect();
            let mut spans = Spans::default();
            seqs.iter().for_each(|seq| spans.push(Seq::from_u64(*seq), Seq::from_u64(*seq)));
            self.last = seqs[seqs.len() - 1];
            self.blocks.insert(self.last, seqs.into_iter().map(|seq| (seq, Place::Here)).collect());
            log.on_appended(Seq::from_u64(self.last), spans);
        }

        /// One block comes back, as a journal reads it.
        fn read(&mut self, log: &mut Log) {
            if !log.has_unread() {
                return;
            }
            if !log.has_ahead() {
                log.rewind();
                let aside = self.records(|place| place == Place::Stored { aside: true });
                aside.into_iter().for_each(|seq| self.put(seq, Place::Stored { aside: false }));
            }
            let (id, block) =
                self.blocks.range(log.next().as_u64()..).next().expect("there is something ahead");
            let (id, block) = (Seq::from_u64(*id), block.clone());
            let total = block.len() as u64;
            for (seq, place) in block {
                let is_stored = log.is_stored(id, Seq::from_u64(seq));
                assert_eq!(is_stored, matches!(place, Place::Stored { .. }));
                if is_stored {
                    assert!(!log.take(id, total, Seq::from_u64(seq), 10), "it is known");
                    self.put(seq, Place::Here);
                }
            }
            assert_eq!(log.is_spent(id, total), self.settled(id).len() == total);
            log.read_on_after(id);
            if !log.has_ahead() {
                assert_eq!(log.end(), 0);
            }
        }

        /// The store hears of changes, and removes blocks.
        fn hear(&mut self, log: &mut Log, limit: usize) {
            for (id, settled) in log.take_changed(limit) {
                assert_eq!(settled, self.settled(id));
                assert!(!settled.is_empty());
            }
            for (id, _) in log.take_removable(limit) {
                assert!(
                    self.blocks.remove(&id.as_u64()).unwrap().values().all(|place| *place == Place::Settled)
                );
            }
        }

        fn check(&self, log: &Log) {
            let here = self.records(|place| place == Place::Here);
            let stored = self.records(|place| matches!(place, Place::Stored { .. }));
            let ahead = self.records(|place| place == Place::Stored { aside: false });
            assert_eq!((log.here(), log.stored()), (here.len() as u64, stored.len() as u64));
            assert_eq!(log.stored_bytes(), 10 * stored.len() as u64);
            assert_eq!((log.has_unread(), log.has_ahead()), (!stored.is_empty(), !ahead.is_empty()));
            assert_eq!(log.holds_nothing(), here.is_empty() && stored.is_empty());
            assert_eq!(log.is_empty(), self.blocks.is_empty());
            for seq in self.records(|_| true) {
                assert_eq!(log.has(Seq::from_u64(seq)), here.contains(&seq));
                assert_eq!(log.stores(Seq::from_u64(seq)), stored.contains(&seq));
                let before = stored.iter().filter(|stored| **stored < seq).count();
                assert_eq!(log.stored_before(Seq::from_u64(seq)), before as u64);
            }
        }
    }

    proptest! {
        #[test]
        fn it_knows_where_each_record_is(
            steps in prop::collection::vec((0u8..7, any::<prop::sample::Index>()), 0..80),
        ) {
            let (mut log, mut model) = (Log::own(), Model::default());
            for (step, which) in steps {
                let here = model.records(|place| place == Place::Here);
                let record = || here[which.index(here.len())];
                match step {
                    0 => model.append(&mut log, 1 + which.index(5) as u64, which.index(2) as u64),
                    1 => model.read(&mut log),
                    2 => model.hear(&mut log, 1 + which.index(3)),
                    _ if here.is_empty() => {}
                    3 | 4 => {
                        log.settle(Seq::from_u64(record()));
                        model.put(record(), Place::Settled);
                    }
                    5 => {
                        log.release(Seq::from_u64(record()), 10);
                        model.put(record(), Place::Stored { aside: false });
                    }
                    _ => {
                        log.set_aside(Seq::from_u64(record()), 10);
                        model.put(record(), Place::Stored { aside: true });
                    }
                }
                model.check(&log);
            }
            while log.has_unread() {
                model.read(&mut log);
            }
            for seq in model.records(|place| place == Place::Here) {
                log.settle(Seq::from_u64(seq));
                model.put(seq, Place::Settled);
            }
            model.hear(&mut log, usize::MAX);
            model.check(&log);
            prop_assert!(log.is_empty() && !log.has_changes());
        }
    }
}
