use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::mem;

use crate::batch::Entry;
use crate::batcher::Room;
use crate::fair::Flow;
use crate::{Instant, Seq};

/// Records that wait to be sealed, with their memory counted: in ascending order of sequence number within each flow.
///
/// Where they do not all fit, flows have equal shares of the bytes that leave (start-time fair queueing): next is the
/// oldest record of the flow that got least. What a flow has no use for is the others'; one that comes back begins
/// where the others are, so that nobody saves up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer {
    /// Queues that hold records, ordered by flow.
    queues: Vec<Queue>,
    /// Flows without records that got more than the one whose turn it was last: they are not the next.
    ahead: BTreeMap<Flow, u64>,
    /// Memory of a queue that emptied.
    spare: VecDeque<Entry>,
    len: usize,
    json_bytes: usize,
    /// Bytes that the flow had got whose turn it was last.
    served: u64,
    /// The order of all records counts: they are one flow.
    is_one_flow: bool,
}

/// The records of one flow.
#[derive(Clone, Debug)]
struct Queue {
    flow: Flow,
    entries: VecDeque<Entry>,
    json_bytes: usize,
    /// Bytes that it got, and those that it missed while it held nothing.
    served: u64,
}

impl Buffer {
    /// One in which the order of all records counts, whatever their types.
    pub(crate) fn in_order() -> Self {
        Self { is_one_flow: true, ..Self::default() }
    }

    /// Adds a record, which is the last one but for those of other streams.
    pub(crate) fn push(&mut self, entry: Entry) {
        let flow = if self.is_one_flow { Flow::ONE } else { Flow::of(&entry.json) };
        self.len += 1;
        self.json_bytes += entry.json.len();
        self.queue(flow).push(entry);
    }

    /// Takes over all of `other`, keeping the order of sequence numbers.
    pub(crate) fn merge(&mut self, other: &mut Self) {
        let mut other = other.take_all();
        if other.is_one_flow && !self.is_one_flow {
            let mut by_flow = Self::default();
            other.queues.into_iter().flat_map(|queue| queue.entries).for_each(|entry| by_flow.push(entry));
            other = by_flow;
        }
        self.len += other.len;
        self.json_bytes += other.json_bytes;
        for queue in other.queues {
            let flow = if self.is_one_flow { Flow::ONE } else { queue.flow };
            self.queue(flow).append(queue);
        }
    }

    fn take_all(&mut self) -> Self {
        let empty = Self { is_one_flow: self.is_one_flow, ..Self::default() };
        mem::replace(self, empty)
    }

    /// Takes out those that `gone` says, in order.
    pub(crate) fn extract(&mut self, gone: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut out = Vec::new();
        let mut kept = Self { is_one_flow: self.is_one_flow, ..Self::default() };
        for queue in self.take_all().queues {
            for entry in queue.entries {
                if gone(&entry) {
                    out.push(entry);
                } else {
                    kept.len += 1;
                    kept.json_bytes += entry.json.len();
                    kept.queue(queue.flow).push(entry);
                }
            }
        }
        *self = kept;
        out.sort_unstable_by_key(Entry::seq);
        out
    }

    /// Takes the oldest record out.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        self.pop_front(self.oldest_place()?)
    }

    /// The oldest record.
    pub(crate) fn first(&self) -> Option<&Entry> {
        self.queues[self.oldest_place()?].entries.front()
    }

    /// Takes the newest record out.
    pub(crate) fn pop_newest(&mut self) -> Option<Entry> {
        let places = 0..self.queues.len();
        let newest = places.max_by_key(|place| self.queues[*place].entries.back().map(Entry::seq))?;
        let end = self.queues[newest].entries.len().checked_sub(1)?;
        self.remove(newest, end)
    }

    /// The flow that takes most memory.
    pub(crate) fn largest(&self) -> Option<Flow> {
        self.queues.iter().rev().max_by_key(|queue| queue.cost()).map(|queue| queue.flow)
    }

    /// The largest flow for which that `holds`.
    pub(crate) fn largest_of(&self, holds: impl Fn(Flow) -> bool) -> Option<Flow> {
        let largest = self.largest().filter(|flow| holds(*flow));
        largest.or_else(|| self.largest_first().into_iter().map(|queue| queue.flow).find(|flow| holds(*flow)))
    }

    fn largest_first(&self) -> Vec<&Queue> {
        let mut queues: Vec<_> = self.queues.iter().collect();
        queues.sort_by_key(|queue| Reverse(queue.cost()));
        queues
    }

    /// Flows with records.
    pub(crate) fn flows(&self) -> impl ExactSizeIterator<Item = Flow> {
        self.queues.iter().map(|queue| queue.flow)
    }

    /// Memory that the records of that flow take, in bytes.
    pub(crate) fn cost_of(&self, flow: Flow) -> usize {
        self.of(flow).map_or(0, Queue::cost)
    }

    /// The largest flows, without which the rest fits into `room`.
    pub(crate) fn surplus(&self, room: Room) -> Vec<Flow> {
        let (mut len, mut json_bytes) = (self.len, self.json_bytes);
        let surplus = self.largest_first().into_iter().take_while(|queue| {
            let fits = len <= room.records && json_bytes + len <= room.bytes;
            len -= queue.entries.len();
            json_bytes -= queue.json_bytes;
            !fits
        });
        surplus.map(|queue| queue.flow).collect()
    }

    /// Takes all records of these flows out.
    pub(crate) fn split_off(&mut self, flows: &[Flow]) -> Self {
        let mut out = Self { is_one_flow: self.is_one_flow, ..Self::default() };
        out.queues = self.queues.extract_if(.., |queue| flows.contains(&queue.flow)).collect();
        for queue in &out.queues {
            self.ahead.insert(queue.flow, queue.served);
            out.len += queue.entries.len();
            out.json_bytes += queue.json_bytes;
        }
        self.len -= out.len;
        self.json_bytes -= out.json_bytes;
        out
    }

    /// The oldest record of that flow.
    pub(crate) fn first_of(&self, flow: Flow) -> Option<&Entry> {
        self.of(flow)?.entries.front()
    }

    /// Takes it out.
    pub(crate) fn pop_of(&mut self, flow: Flow) -> Option<Entry> {
        self.pop_front(self.place(flow).ok()?)
    }

    /// The newest record of that flow.
    pub(crate) fn last_of(&self, flow: Flow) -> Option<&Entry> {
        self.of(flow)?.entries.back()
    }

    /// Takes it out.
    pub(crate) fn pop_newest_of(&mut self, flow: Flow) -> Option<Entry> {
        let place = self.place(flow).ok()?;
        self.remove(place, self.queues[place].entries.len() - 1)
    }

    /// Takes the newest record before `mark` out that `may_go`, of the largest flow that has one.
    pub(crate) fn take_before(&mut self, mark: Seq, may_go: impl Fn(Seq) -> bool) -> Option<Entry> {
        let found = self.largest_first().into_iter().find_map(|queue| {
            let older = queue.entries.range(..queue.count_before(mark));
            let behind = older.rev().position(|entry| may_go(entry.seq()))?;
            Some((queue.flow, queue.count_before(mark) - 1 - behind))
        });
        let (flow, index) = found?;
        self.remove(self.place(flow).ok()?, index)
    }

    /// Takes out records that fit `budget` bytes of JSON with separators, at most `most`, and at least one. See
    /// [`Buffer::take_fitting`].
    pub(crate) fn take(&mut self, most: usize, budget: usize) -> Vec<Entry> {
        self.take_fairly(most.max(1), budget, true)
    }

    /// Takes out records that fit `budget` bytes of JSON with separators, at most `most`: the oldest of each flow, in
    /// equal shares. All of them come from one journal, that of the oldest: only then can a note there say how they
    /// were sent.
    pub(crate) fn take_fitting(&mut self, most: usize, budget: usize) -> Vec<Entry> {
        self.take_fairly(most, budget, false)
    }

    fn take_fairly(&mut self, most: usize, budget: usize, at_least_one: bool) -> Vec<Entry> {
        let Some(origin) = self.first().map(|first| first.seq().origin()) else { return Vec::new() };
        let mut out = Vec::new();
        let mut bytes = 0;
        let mut places: Vec<_> = (0..self.queues.len()).collect();
        while out.len() < most {
            let least = (0..places.len()).min_by_key(|which| {
                let queue = &self.queues[places[*which]];
                (queue.served, queue.cost())
            });
            let Some(least) = least else { break };
            let queue = &mut self.queues[places[least]];
            let is_first = at_least_one && out.is_empty();
            let more = |entry: &Entry| bytes + entry.json.len() + usize::from(!out.is_empty());
            let fits = |entry: &Entry| entry.seq().origin() == origin && (is_first || more(entry) <= budget);
            if !queue.entries.front().is_some_and(fits) {
                places.swap_remove(least);
                continue;
            }
            let Some(entry) = queue.entries.pop_front() else { break };
            bytes = more(&entry);
            self.served = queue.served;
            queue.served = queue.served.saturating_add(entry.cost() as u64);
            queue.json_bytes -= entry.json.len();
            self.len -= 1;
            self.json_bytes -= entry.json.len();
            out.push(entry);
        }
        (0..self.queues.len()).rev().for_each(|place| self.tidy(place));
        self.ahead.retain(|_, served| *served > self.served);
        out.sort_unstable_by_key(Entry::seq);
        out
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of JSON, without separators.
    pub(crate) const fn json_bytes(&self) -> usize {
        self.json_bytes
    }

    /// Memory that the records take, in bytes.
    pub(crate) const fn cost(&self) -> usize {
        self.json_bytes + self.len * Entry::OVERHEAD
    }

    /// When the oldest record was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.first().map(|entry| entry.accepted_at)
    }

    /// How many records came before `mark`.
    pub(crate) fn count_before(&self, mark: Seq) -> usize {
        self.queues.iter().map(|queue| queue.count_before(mark)).sum()
    }

    /// The records from `mark` on, flow by flow.
    pub(crate) fn from(&self, mark: Seq) -> impl Iterator<Item = &Entry> {
        self.queues.iter().flat_map(move |queue| queue.entries.range(queue.count_before(mark)..))
    }

    /// The queue with the oldest record.
    fn oldest_place(&self) -> Option<usize> {
        (0..self.queues.len()).min_by_key(|place| self.queues[*place].entries.front().map(Entry::seq))
    }

    fn place(&self, flow: Flow) -> Result<usize, usize> {
        self.queues.binary_search_by_key(&flow, |queue| queue.flow)
    }

    fn of(&self, flow: Flow) -> Option<&Queue> {
        self.queues.get(self.place(flow).ok()?)
    }

    /// That of a flow that is about to have a record.
    fn queue(&mut self, flow: Flow) -> &mut Queue {
        let place = self.place(flow).unwrap_or_else(|place| {
            let entries = mem::take(&mut self.spare);
            let served = self.ahead.remove(&flow).unwrap_or(0).max(self.served);
            self.queues.insert(place, Queue { flow, entries, json_bytes: 0, served });
            place
        });
        &mut self.queues[place]
    }

    fn pop_front(&mut self, place: usize) -> Option<Entry> {
        self.remove(place, 0)
    }

    fn remove(&mut self, place: usize, index: usize) -> Option<Entry> {
        let queue = self.queues.get_mut(place)?;
        let entry = queue.entries.remove(index)?;
        queue.json_bytes -= entry.json.len();
        self.len -= 1;
        self.json_bytes -= entry.json.len();
        self.tidy(place);
        Some(entry)
    }

    /// Forgets the queue there if it is empty.
    fn tidy(&mut self, place: usize) {
        if !self.queues[place].entries.is_empty() {
            return;
        }
        let Queue { flow, mut entries, served, .. } = self.queues.remove(place);
        self.ahead.insert(flow, served);
        if self.queues.is_empty() {
            self.served = 0;
            self.ahead.clear();
        }
        if entries.capacity() > self.spare.capacity() {
            entries.shrink_to(1_024);
            self.spare = entries;
        }
    }
}

impl Queue {
    fn push(&mut self, entry: Entry) {
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

    fn append(&mut self, mut other: Self) {
        let is_sorted = match (self.entries.back(), other.entries.front()) {
            (Some(last), Some(first)) => last.seq() < first.seq(),
            _ => true,
        };
        self.json_bytes += other.json_bytes;
        self.entries.append(&mut other.entries);
        if !is_sorted {
            self.entries.make_contiguous().sort_by_key(Entry::seq);
        }
    }

    fn count_before(&self, mark: Seq) -> usize {
        self.entries.partition_point(|entry| entry.seq() < mark)
    }

    fn cost(&self) -> usize {
        self.json_bytes + self.entries.len() * Entry::OVERHEAD
    }
}

impl FromIterator<Entry> for Buffer {
    /// They must be in ascending order. It counts.
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut buffer = Self::in_order();
        entries.into_iter().for_each(|entry| buffer.push(entry));
        buffer
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::{BTreeMap, BTreeSet};
    use alloc::format;
    use alloc::vec;

    use super::*;
    use crate::{Kind, Record};
    use proptest::prelude::*;

    fn entry(seq: u64, len: usize) -> Entry {
        let record = Record::new(Kind::Event, false, vec![b'x'; len].into());
        Entry::new(Seq::from_u64(seq), Instant::from_micros(seq), record)
    }

    /// One of a type, of exactly that many bytes of JSON, or as few as its type takes.
    fn typed(seq: u64, event_type: u64, len: usize) -> Entry {
        let mut json = format!(r#"{{"idempotency_key":"","event_type":"custom_{event_type}""#).into_bytes();
        json.resize(len.max(json.len()), b'x');
        let record = Record::new(Kind::Event, false, json.into());
        Entry::new(Seq::from_u64(seq), Instant::from_micros(seq), record)
    }

    fn buffer(lens: &[usize]) -> Buffer {
        let mut buffer = Buffer::default();
        for (seq, len) in lens.iter().enumerate() {
            buffer.push(entry(seq as u64, *len));
        }
        buffer
    }

    fn seqs(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.seq().as_u64()).collect()
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
    fn takes_nothing_that_does_not_fit_unless_it_must() {
        for (lens, most, budget, taken) in
            [(&[10, 10][..], 0, 99, 0), (&[10, 10], 9, 9, 0), (&[10, 10], 9, 10, 1), (&[50, 10], 9, 20, 0)]
        {
            assert_eq!(buffer(lens).take_fitting(most, budget).len(), taken, "{lens:?} {most} {budget}");
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
        for (seq, event_type) in [(own, 1), (own + 1, 2), (adopted, 2), (adopted + 1, 3)] {
            both.push(typed(seq, event_type, 10));
        }
        let taken = [both.take(9, 999), both.take(9, 999)].map(|taken| seqs(&taken));
        assert_eq!(taken, [[own, own + 1], [adopted, adopted + 1]]);
    }

    #[test]
    fn takes_little_more_memory_than_what_it_holds() {
        let mut growing = Buffer::default();
        for seq in 0..20_000 {
            growing.push(entry(seq, 1));
            let capacity = growing.queues[0].entries.capacity();
            assert!(capacity <= 64 + growing.len() * 9 / 8, "{}", growing.len());
        }
        while growing.pop().is_some() {}
        assert!(growing.queues.is_empty() && growing.spare.capacity() <= 1_024);
        growing.push(entry(0, 1));
        assert_eq!((growing.spare.capacity(), growing.queues[0].entries.capacity() >= 512), (0, true));
    }

    /// A buffer in which these flows have that many records of 100 bytes each; the older come first.
    fn crowd(counts: &[u64]) -> Buffer {
        let mut buffer = Buffer::default();
        let mut seq = 0;
        for (event_type, count) in (0..).zip(counts) {
            for _ in 0..*count {
                buffer.push(typed(seq, event_type, 100));
                seq += 1;
            }
        }
        buffer
    }

    #[test]
    fn flows_have_equal_shares_and_leave_what_they_do_not_need() {
        // Four batches of twelve records each.
        for (counts, shares) in [
            (&[100, 100, 100][..], &[16, 16, 16][..]),
            (&[100, 4, 100], &[22, 4, 22]),
            (&[100, 1], &[47, 1]),
            (&[100], &[48]),
            (&[2, 3, 4], &[2, 3, 4]),
        ] {
            let mut buffer = crowd(counts);
            let mut got = vec![0; counts.len()];
            let firsts: Vec<u64> = (0..counts.len()).map(|flow| counts[..flow].iter().sum()).collect();
            for _ in 0..4 {
                let taken = buffer.take(99, 12 * 101 - 1);
                for seq in seqs(&taken) {
                    let flow = firsts.partition_point(|first| *first <= seq) - 1;
                    // The oldest of its flow.
                    assert_eq!(seq, firsts[flow] + got[flow]);
                    got[flow] += 1;
                }
            }
            assert_eq!(got, shares, "{counts:?}");
        }
    }

    #[test]
    fn what_comes_anew_is_in_the_next_batch_however_much_waits() {
        let mut buffer = crowd(&[500; 40]);
        buffer.take(20, usize::MAX);
        buffer.push(typed(1_000_000, 99, 100));
        assert!(seqs(&buffer.take(20, usize::MAX)).contains(&1_000_000));
    }

    #[test]
    fn a_flow_that_had_nothing_to_send_does_not_catch_up() {
        let mut buffer = crowd(&[100, 1]);
        for _ in 0..10 {
            buffer.take(5, usize::MAX);
        }
        for seq in 1_000..1_100 {
            buffer.push(typed(seq, 1, 100));
        }
        let taken = buffer.take(20, usize::MAX);
        let late = taken.iter().filter(|entry| entry.seq().as_u64() >= 1_000).count();
        assert!((9..=11).contains(&late), "{late}");
    }

    #[test]
    fn those_that_come_and_go_keep_none_waiting() {
        let mut buffer = crowd(&[3]);
        let mut seq = 100;
        let mut waited = 0;
        while buffer.first().is_some_and(|first| first.seq().as_u64() < 3) {
            for event_type in 1..=4 {
                buffer.push(typed(seq, event_type, 100));
                seq += 1;
            }
            assert_eq!(buffer.take(4, usize::MAX).len(), 4);
            waited += 1;
        }
        assert!(waited <= 12, "{waited}");
    }

    #[test]
    fn a_record_that_does_not_fit_beside_others_is_the_next_ones_first() {
        let mut buffer = crowd(&[20, 20]);
        buffer.push(typed(1_000, 9, 900));
        let sizes: Vec<_> = (0..3).map(|_| seqs(&buffer.take(99, 1_000)).contains(&1_000)).collect();
        assert!(sizes.contains(&true), "{sizes:?}");
        assert!(buffer.take_fitting(99, 1_000).len() == 9);
    }

    #[test]
    fn only_the_largest_flows_are_surplus() {
        let room = |records, bytes| Room { records, bytes };
        for (counts, room, surplus) in [
            (&[30, 1, 2][..], room(99, 33 * 101), 0),
            (&[30, 1, 2], room(99, 33 * 101 - 1), 1),
            (&[30, 1, 2], room(3, usize::MAX), 1),
            (&[30, 1, 2], room(2, usize::MAX), 2),
            (&[30, 29, 28], room(30, usize::MAX), 2),
            (&[30], room(29, usize::MAX), 1),
        ] {
            let mut buffer = crowd(counts);
            let flows = buffer.surplus(room);
            let split = buffer.split_off(&flows);
            assert_eq!(flows.len(), surplus, "{counts:?} {room:?}");
            assert_eq!(split.len() + buffer.len(), counts.iter().sum::<u64>() as usize);
            assert!(buffer.len() <= room.records && buffer.json_bytes() + buffer.len() <= room.bytes);
            assert_eq!(split.from(Seq::from_u64(0)).count(), split.len());
        }
    }

    /// Operations on a buffer.
    #[derive(Clone, Debug)]
    enum Step {
        Push(u64, usize),
        Merge(Vec<u64>, bool),
        Extract(u64),
        Pop,
        PopNewest,
        PopLargest,
        PopNewestOfLargest,
        TakeBefore(u64, u64),
        Take(usize, usize),
        TakeFitting(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let seqs = || prop::collection::btree_set(0u64..60, 0..9);
        prop_oneof![
            4 => (0u64..60, 1usize..90).prop_map(|(seq, len)| Step::Push(seq, len)),
            2 => (seqs(), any::<bool>()).prop_map(|(seqs, in_order)| Step::Merge(seqs.into_iter().collect(), in_order)),
            1 => (2u64..5).prop_map(Step::Extract),
            1 => Just(Step::Pop),
            1 => Just(Step::PopNewest),
            1 => Just(Step::PopLargest),
            1 => Just(Step::PopNewestOfLargest),
            2 => (0u64..60, 1u64..5).prop_map(|(mark, of)| Step::TakeBefore(mark, of)),
            1 => (0usize..5, 0usize..400).prop_map(|(most, budget)| Step::Take(most, budget)),
            1 => (0usize..5, 0usize..400).prop_map(|(most, budget)| Step::TakeFitting(most, budget)),
        ]
    }

    /// Content of a buffer: bytes by flow and sequence number.
    type Model = BTreeMap<(u64, u64), usize>;

    /// The flows of the model, the largest first, as `cost` says.
    fn by_cost(model: &Model) -> Vec<u64> {
        let cost = |flow: u64| -> usize {
            model.iter().filter(|((of, _), _)| *of == flow).map(|(_, len)| len + Entry::OVERHEAD).sum()
        };
        let flows: BTreeSet<_> = model.keys().map(|(flow, _)| *flow).collect();
        let mut flows: Vec<_> = flows.into_iter().collect();
        flows.sort_by_key(|flow| core::cmp::Reverse(cost(*flow)));
        flows
    }

    proptest! {
        /// The model is a map: every sequence number is there once. Its records leave in order, flow by flow.
        #[test]
        fn it_is_a_map_with_a_sum(steps in prop::collection::vec(step(), 0..60), in_order: bool) {
            let mut buffer = if in_order { Buffer::in_order() } else { Buffer::default() };
            let mut model = Model::new();
            // In the order of the flows behind the names.
            let mut types = [0, 1, 2];
            types.sort_by_key(|event_type| Flow::of(&typed(0, *event_type, 0).json));
            let of = |seq: u64| types[usize::try_from(seq % 3).unwrap()];
            let flow = |seq: u64| if in_order { 0 } else { seq % 3 };
            for step in steps {
                let all: BTreeSet<u64> = model.keys().map(|(_, seq)| *seq).collect();
                let of_flow = |which: u64| model.keys().filter(move |(flow, _)| *flow == which).map(|(_, seq)| *seq);
                let largest = by_cost(&model).into_iter().next();
                let (gone, expected): (Vec<Entry>, Vec<u64>) = match step {
                    Step::Push(seq, len) => {
                        if !all.contains(&seq) {
                            let entry = typed(seq, of(seq), len);
                            model.insert((flow(seq), seq), entry.json.len());
                            buffer.push(entry);
                        }
                        (vec![], vec![])
                    }
                    Step::Merge(mut seqs, other_in_order) => {
                        seqs.retain(|seq| !all.contains(seq));
                        let entries = || seqs.iter().map(|seq| typed(*seq, of(*seq), 3));
                        model.extend(entries().map(|entry| {
                            let seq = entry.seq().as_u64();
                            ((flow(seq), seq), entry.json.len())
                        }));
                        let mut other = if other_in_order { Buffer::in_order() } else { Buffer::default() };
                        entries().for_each(|entry| other.push(entry));
                        buffer.merge(&mut other);
                        prop_assert!(other.is_empty() && other.json_bytes() == 0);
                        prop_assert_eq!(other.is_one_flow, other_in_order);
                        (vec![], vec![])
                    }
                    Step::Extract(of) => (
                        buffer.extract(|entry| entry.seq().as_u64().is_multiple_of(of)),
                        all.iter().copied().filter(|seq| seq.is_multiple_of(of)).collect(),
                    ),
                    Step::Pop => (buffer.pop().into_iter().collect(), all.first().copied().into_iter().collect()),
                    Step::PopNewest => {
                        (buffer.pop_newest().into_iter().collect(), all.last().copied().into_iter().collect())
                    }
                    Step::PopLargest => {
                        let flow = buffer.largest();
                        let entry = flow.and_then(|flow| buffer.pop_of(flow));
                        (entry.into_iter().collect(), largest.and_then(|flow| of_flow(flow).min()).into_iter().collect())
                    }
                    Step::PopNewestOfLargest => {
                        let flow = buffer.largest();
                        let entry = flow.and_then(|flow| buffer.pop_newest_of(flow));
                        (entry.into_iter().collect(), largest.and_then(|flow| of_flow(flow).max()).into_iter().collect())
                    }
                    Step::TakeBefore(mark, of) => {
                        let newest = |flow| {
                            of_flow(flow).filter(|seq| *seq < mark && seq.is_multiple_of(of)).max()
                        };
                        (
                            buffer
                                .take_before(Seq::from_u64(mark), |seq| seq.as_u64().is_multiple_of(of))
                                .into_iter()
                                .collect(),
                            by_cost(&model).into_iter().find_map(newest).into_iter().collect(),
                        )
                    }
                    Step::Take(most, budget) | Step::TakeFitting(most, budget) => {
                        let at_least_one = matches!(step, Step::Take(..));
                        let most = if at_least_one { most.max(1) } else { most };
                        let taken =
                            if at_least_one { buffer.take(most, budget) } else { buffer.take_fitting(most, budget) };
                        prop_assert!(taken.len() <= most);
                        prop_assert!(!at_least_one || !taken.is_empty() || all.is_empty());
                        let bytes = taken.iter().map(|entry| entry.json.len() + 1).sum::<usize>().saturating_sub(1);
                        prop_assert!(bytes <= budget || at_least_one && taken.len() == 1);
                        // Of each flow the oldest, and as many as fit.
                        let mut expected = vec![];
                        for which in 0..3 {
                            let count = taken.iter().filter(|entry| flow(entry.seq().as_u64()) == which).count();
                            expected.extend(of_flow(which).take(count));
                            let next = of_flow(which).nth(count).map(|seq| model[&(which, seq)]);
                            let fits = next.is_some_and(|next| bytes + usize::from(!taken.is_empty()) + next <= budget);
                            prop_assert!(!fits || taken.len() == most);
                        }
                        expected.sort_unstable();
                        (taken, expected)
                    }
                };
                prop_assert_eq!(seqs(&gone), &*expected);
                for seq in expected {
                    model.remove(&(flow(seq), seq));
                }
                let held = |((_, seq), len): (&(u64, u64), &usize)| (*seq, *len);
                let mark = Seq::from_u64(30);
                let all: BTreeSet<u64> = model.keys().map(|(_, seq)| *seq).collect();
                let found = |mark| buffer.from(mark).map(|e| (e.seq().as_u64(), e.json.len()));
                prop_assert!(found(Seq::from_u64(0)).eq(model.iter().map(held)));
                prop_assert!(found(mark).eq(model.iter().map(held).filter(|(seq, _)| *seq >= 30)));
                prop_assert_eq!(buffer.count_before(mark), all.range(..30).count());
                prop_assert_eq!((buffer.len(), buffer.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(buffer.json_bytes(), model.values().sum::<usize>());
                prop_assert_eq!(buffer.first().map(|entry| entry.seq().as_u64()), all.first().copied());
                prop_assert_eq!(buffer.oldest(), all.first().map(|seq| Instant::from_micros(*seq)));
                let flows = by_cost(&model);
                prop_assert_eq!(buffer.flows().len(), flows.len());
                let costs: usize = buffer.flows().map(|flow| buffer.cost_of(flow)).sum();
                prop_assert_eq!(costs, buffer.json_bytes() + buffer.len() * Entry::OVERHEAD);
                let ends = |flow| (buffer.first_of(flow), buffer.last_of(flow));
                for flow in buffer.flows() {
                    let (Some(first), Some(last)) = ends(flow) else { panic!("a flow without records") };
                    prop_assert!(first.seq() <= last.seq());
                }
            }
        }
    }
}
