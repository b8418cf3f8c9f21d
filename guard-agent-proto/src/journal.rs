use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use crate::backoff::Backoff;
use crate::rng::Rng;
use crate::{
    ByKind, Instant, Kind, Reason, Seq, StoreAnswer, StoreEntry, StoreError, StoreErrorKind, StoreOp,
    StoreOpId, StoreRequest, StreamId,
};

/// Write-ahead log of what waits: append, wait for the acknowledgement, remove once settled.
///
/// One operation is outstanding at a time, so that the store sees them in order. Records of earlier
/// runs are adopted and read when there is room for them. A store that fails never stops delivery:
/// records stay in memory, and what is still undelivered is appended when the store is back.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    stream: StreamId,
    next_op: u64,
    outstanding: Option<(StoreOpId, Outstanding)>,
    /// Everything before this was acknowledged.
    acknowledged: Seq,
    /// Everything before this may be in the store, acknowledged or not.
    attempted: Seq,
    /// Records accepted since the last append was made up: how many bytes, and since when.
    waiting: Option<(usize, Instant)>,
    /// No append starts before that (group commit).
    next_append: Instant,
    /// Settled records that are still in the store, by stream.
    removable: BTreeMap<StreamId, Vec<Seq>>,
    /// Where recovered records are in the store.
    recovered: BTreeMap<Seq, (StreamId, Seq)>,
    recovery: Recovery,
    gate: Option<Instant>,
    backoff: Backoff,
    /// Pending records that no store holds for certain.
    volatile: ByKind<u64>,
}

#[derive(Clone, Debug)]
enum Outstanding {
    Append {
        /// What follows the last record of the append.
        end: Seq,
        /// Records of it that are still pending.
        pending: ByKind<u64>,
    },
    Remove {
        stream: StreamId,
        seqs: Vec<Seq>,
    },
    List,
    Adopt(StreamId),
    Read {
        stream: StreamId,
        after: Option<Seq>,
    },
}

#[derive(Clone, Debug)]
enum Recovery {
    /// Other streams are looked for then, because the lease of a dead run outlives it.
    List {
        at: Instant,
    },
    Streams {
        orphans: VecDeque<StreamId>,
        reading: Option<(StreamId, Option<Seq>)>,
    },
}

/// What a reply brought.
#[derive(Debug, Default)]
pub(crate) struct JournalNews {
    /// Our own records that became durable.
    pub(crate) durable: Option<Range<Seq>>,
    /// Records of an earlier run.
    pub(crate) page: Option<Page>,
    /// Entries that could not be understood.
    pub(crate) corrupt: u64,
    /// Why the operation failed.
    pub(crate) error: Option<StoreError>,
}

/// Recovered records, in order.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) stream: StreamId,
    /// What they were read after.
    pub(crate) after: Option<Seq>,
    pub(crate) entries: Vec<StoreEntry>,
}

/// The next append starts at least that long after the last one...
const GROUP_COMMIT: Duration = Duration::from_millis(50);
/// ... unless that many bytes wait.
const GROUP_BYTES: usize = 64 << 10;
/// Most bytes in one append.
const APPEND_BYTES: usize = 256 << 10;
/// Longest time between two looks for streams without an owner.
const LIST_EVERY: Duration = Duration::from_secs(60);
/// Most entries in one read or removal.
const PAGE: usize = 512;

impl Journal {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            stream: StreamId::from_u64(rng.next_u64()),
            next_op: 0,
            outstanding: None,
            acknowledged: Seq::from_u64(0),
            attempted: Seq::from_u64(0),
            waiting: None,
            next_append: Instant::ZERO,
            removable: BTreeMap::new(),
            recovered: BTreeMap::new(),
            recovery: Recovery::List { at: Instant::ZERO },
            gate: None,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(15)),
            volatile: ByKind::default(),
        }
    }

    /// A record was accepted.
    pub(crate) fn on_accepted(&mut self, kind: Kind, bytes: usize, now: Instant) {
        self.volatile[kind] += 1;
        let (waiting, since) = self.waiting.unwrap_or((0, now));
        self.waiting = Some((waiting + bytes, since));
    }

    /// A record came out of an adopted stream and got a place of its own here.
    pub(crate) fn on_recovered(&mut self, seq: Seq, stream: StreamId, there: Seq) {
        self.recovered.insert(seq, (stream, there));
    }

    /// There was no room for what follows `after` in a recovered page: it is read again later.
    pub(crate) fn read_again(&mut self, stream: StreamId, after: Option<Seq>) {
        let orphans = match &mut self.recovery {
            Recovery::Streams { orphans, .. } => core::mem::take(orphans),
            Recovery::List { .. } => VecDeque::new(),
        };
        self.recovery = Recovery::Streams { orphans, reading: Some((stream, after)) };
    }

    /// A record was delivered or given up.
    pub(crate) fn on_settled(&mut self, kind: Kind, seq: Seq) {
        if let Some((stream, there)) = self.recovered.remove(&seq) {
            self.removable.entry(stream).or_default().push(there);
            return;
        }
        if seq < self.attempted {
            self.removable.entry(self.stream).or_default().push(seq);
        }
        if seq >= self.acknowledged {
            self.volatile[kind] -= 1;
            if let Some((_, Outstanding::Append { end, pending })) = &mut self.outstanding
                && seq < *end
            {
                pending[kind] -= 1;
            }
        }
    }

    /// When the next operation is due; `None` while one is outstanding or there is nothing to do.
    pub(crate) fn due_at(&self, room: bool) -> Option<(Instant, Reason)> {
        if self.outstanding.is_some() {
            return None;
        }
        let append = self.waiting.map(
            |(bytes, since)| {
                if bytes >= GROUP_BYTES { since } else { self.next_append.max(since) }
            },
        );
        let remove = (!self.removable.is_empty()).then_some(self.next_append);
        let recover = room.then_some(self.recovery.due());
        let due = append.into_iter().chain(remove).chain(recover).min()?;
        Some((self.gate.map_or(due, |gate| gate.max(due)), Reason::Journal))
    }

    /// The next operation. `unwritten(from, bytes)` answers the pending records from that place on, in
    /// ascending order, about that many bytes of them.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        room: bool,
        unwritten: impl FnOnce(Seq, usize) -> Vec<StoreEntry>,
    ) -> Option<StoreRequest> {
        if self.due_at(room)?.0 > now {
            return None;
        }
        self.gate = None;
        if self.waiting.is_some() {
            let entries = unwritten(self.acknowledged, APPEND_BYTES);
            if let Some(last) = entries.last() {
                return Some(self.append(last.seq, entries, now));
            }
            self.waiting = None;
        }
        if let Some(mut removable) = self.removable.first_entry() {
            let stream = *removable.key();
            let seqs = removable.get_mut();
            seqs.sort_unstable();
            let rest = seqs.split_off(seqs.len().min(PAGE));
            let seqs = core::mem::replace(seqs, rest);
            if removable.get().is_empty() {
                removable.remove();
            }
            self.next_append = self.next_append.max(now + GROUP_COMMIT);
            return Some(self.start(
                StoreOp::Remove { stream, seqs: seqs.clone() },
                Outstanding::Remove { stream, seqs },
            ));
        }
        if !room {
            return None;
        }
        match &mut self.recovery {
            Recovery::List { at } if *at > now => None,
            Recovery::List { .. } => Some(self.start(StoreOp::ListOrphans, Outstanding::List)),
            Recovery::Streams { reading: Some((stream, after)), .. } => {
                let (stream, after) = (*stream, *after);
                Some(
                    self.start(
                        StoreOp::Read { stream, after, limit: PAGE },
                        Outstanding::Read { stream, after },
                    ),
                )
            }
            Recovery::Streams { orphans, reading: None } => {
                let stream = orphans.pop_front()?;
                Some(self.start(StoreOp::Adopt { stream }, Outstanding::Adopt(stream)))
            }
        }
    }

    /// An operation ended. `None` if it is not the outstanding one.
    pub(crate) fn on_reply(
        &mut self,
        id: StoreOpId,
        result: Result<StoreAnswer, StoreError>,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<JournalNews> {
        let (_, done) = self.outstanding.take_if(|(outstanding, _)| *outstanding == id)?;
        let mut news = JournalNews::default();
        match result {
            Ok(answer) => {
                self.backoff.reset();
                self.on_done(done, answer, &mut news);
            }
            Err(error) => {
                self.on_error(done, error.kind);
                self.gate = Some(now + self.backoff.next(rng));
                news.error = Some(error);
            }
        }
        if self.recovery.is_done() {
            self.recovery = Recovery::List { at: now + rng.duration(LIST_EVERY / 2, LIST_EVERY) };
        }
        Some(news)
    }

    /// Pending records that no store holds for certain.
    pub(crate) const fn volatile(&self) -> ByKind<u64> {
        self.volatile
    }

    /// Whether the last operation failed.
    pub(crate) const fn is_down(&self) -> bool {
        self.backoff.attempts() > 0
    }

    /// Whether the store still has something to do for what is settled or pending.
    pub(crate) fn is_settled(&self) -> bool {
        self.outstanding.is_none() && self.waiting.is_none() && self.removable.is_empty()
    }

    fn append(&mut self, last: Seq, entries: Vec<StoreEntry>, now: Instant) -> StoreRequest {
        let end = Seq::from_u64(last.as_u64() + 1);
        let mut pending = ByKind::default();
        for entry in &entries {
            pending[entry.kind] += 1;
        }
        self.attempted = self.attempted.max(end);
        self.next_append = now + GROUP_COMMIT;
        self.start(StoreOp::Append { stream: self.stream, entries }, Outstanding::Append { end, pending })
    }

    fn start(&mut self, op: StoreOp, outstanding: Outstanding) -> StoreRequest {
        let id = StoreOpId::from_u64(self.next_op);
        self.next_op += 1;
        self.outstanding = Some((id, outstanding));
        StoreRequest { id, op }
    }

    fn on_done(&mut self, done: Outstanding, answer: StoreAnswer, news: &mut JournalNews) {
        match (done, answer) {
            (Outstanding::Append { end, pending }, _) => {
                news.durable = Some(self.acknowledged..end);
                self.acknowledged = end;
                for kind in Kind::ALL {
                    self.volatile[kind] -= pending[kind];
                }
            }
            (Outstanding::List, StoreAnswer::Orphans(orphans)) => {
                let ours = self.stream;
                let orphans = orphans.into_iter().filter(|stream| *stream != ours).collect();
                self.recovery = Recovery::Streams { orphans, reading: None };
            }
            (Outstanding::Adopt(stream), _) => self.reading(Some((stream, None))),
            (Outstanding::Read { stream, after }, StoreAnswer::Entries { entries, last, skipped }) => {
                news.corrupt = skipped;
                self.reading(last.map(|last| (stream, Some(last))));
                news.page = Some(Page { stream, after, entries });
            }
            (Outstanding::Read { .. }, StoreAnswer::Done | StoreAnswer::Orphans(_)) => self.reading(None),
            (Outstanding::List, StoreAnswer::Done | StoreAnswer::Entries { .. }) => {
                self.recovery = Recovery::Streams { orphans: VecDeque::new(), reading: None };
            }
            (Outstanding::Remove { .. }, _) => {}
        }
    }

    fn on_error(&mut self, failed: Outstanding, kind: StoreErrorKind) {
        match failed {
            // What is still pending is appended again: `acknowledged` did not move.
            Outstanding::Append { .. } => self.waiting = Some((0, Instant::ZERO)),
            Outstanding::Remove { stream, seqs } => self.removable.entry(stream).or_default().extend(seqs),
            Outstanding::Adopt(stream) => {
                if let (Recovery::Streams { orphans, .. }, StoreErrorKind::Unavailable) =
                    (&mut self.recovery, kind)
                {
                    orphans.push_back(stream);
                }
            }
            Outstanding::Read { .. } if kind == StoreErrorKind::Fenced => self.reading(None),
            Outstanding::Read { .. } | Outstanding::List => {}
        }
    }

    fn reading(&mut self, next: Option<(StreamId, Option<Seq>)>) {
        if let Recovery::Streams { reading, .. } = &mut self.recovery {
            *reading = next;
        }
    }
}

impl Recovery {
    const fn due(&self) -> Instant {
        match self {
            Self::List { at } => *at,
            Self::Streams { .. } => Instant::ZERO,
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::List { .. } => false,
            Self::Streams { orphans, reading } => orphans.is_empty() && reading.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    /// A journal with a store that does as it is told, and the records that are pending.
    struct Bench {
        journal: Journal,
        rng: Rng,
        now: Instant,
        next: u64,
        pending: BTreeSet<u64>,
        stored: BTreeMap<u64, ()>,
    }

    impl Bench {
        fn new() -> Self {
            let mut rng = Rng::new([8; 32]);
            let journal = Journal::new(&mut rng);
            let mut bench = Self {
                journal,
                rng,
                now: Instant::ZERO,
                next: 1,
                pending: BTreeSet::new(),
                stored: BTreeMap::new(),
            };
            bench.operate(Fault::None);
            bench
        }

        fn accept(&mut self, count: u64) {
            for _ in 0..count {
                self.journal.on_accepted(Kind::Event, 10, self.now);
                self.pending.insert(self.next);
                self.next += 1;
            }
        }

        fn settle(&mut self, count: usize) {
            for seq in self.pending.iter().copied().take(count).collect::<Vec<_>>() {
                self.pending.remove(&seq);
                self.journal.on_settled(Kind::Event, Seq::from_u64(seq));
            }
        }

        /// Carries the next operation out, if one is due.
        fn operate(&mut self, fault: Fault) -> Option<StoreOp> {
            let (at, _) = self.journal.due_at(true)?;
            self.now = self.now.max(at);
            let pending = &self.pending;
            let request = self.journal.poll(self.now, true, |from, _| {
                let entries = pending.range(from.as_u64()..).take(5);
                let entry = |seq: &u64| StoreEntry {
                    seq: Seq::from_u64(*seq),
                    kind: Kind::Event,
                    attack: false,
                    json: b"{}"[..].into(),
                };
                entries.map(entry).collect()
            })?;
            assert!(self.journal.due_at(true).is_none(), "one operation at a time");
            if fault != Fault::Refused {
                match &request.op {
                    StoreOp::Append { entries, .. } => {
                        self.stored.extend(entries.iter().map(|entry| (entry.seq.as_u64(), ())));
                    }
                    StoreOp::Remove { seqs, .. } => {
                        self.stored.retain(|seq, ()| !seqs.contains(&Seq::from_u64(*seq)))
                    }
                    StoreOp::ListOrphans | StoreOp::Adopt { .. } | StoreOp::Read { .. } => {}
                }
            }
            let answer = match &request.op {
                StoreOp::ListOrphans => StoreAnswer::Orphans(Vec::new()),
                StoreOp::Append { .. }
                | StoreOp::Remove { .. }
                | StoreOp::Adopt { .. }
                | StoreOp::Read { .. } => StoreAnswer::Done,
            };
            let error = StoreError { kind: StoreErrorKind::Unavailable, message: "down".into() };
            let result = if fault == Fault::None { Ok(answer) } else { Err(error) };
            let news = self.journal.on_reply(request.id, result, self.now, &mut self.rng);
            assert_eq!(news.is_some_and(|news| news.error.is_some()), fault != Fault::None);
            Some(request.op)
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        None,
        /// Nothing was done.
        Refused,
        /// It was done, and the answer was lost.
        AnswerLost,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Accept(u64),
        Settle(usize),
        Operate(Fault),
    }

    fn step() -> impl Strategy<Value = Step> {
        let fault =
            prop::sample::select(alloc::vec![Fault::None, Fault::None, Fault::Refused, Fault::AnswerLost]);
        prop_oneof![
            (1u64..8).prop_map(Step::Accept),
            (1usize..8).prop_map(Step::Settle),
            fault.prop_map(Step::Operate),
        ]
    }

    proptest! {
        /// Whatever fails: what is told to be durable is stored, and in the end the store holds what is
        /// pending and nothing else.
        #[test]
        fn the_store_ends_up_with_what_is_pending(steps in prop::collection::vec(step(), 1..60)) {
            let mut bench = Bench::new();
            for step in steps {
                match step {
                    Step::Accept(count) => bench.accept(count),
                    Step::Settle(count) => bench.settle(count),
                    Step::Operate(fault) => drop(bench.operate(fault)),
                }
                let durable = bench.pending.len() as u64 - bench.journal.volatile().events;
                let stored = bench.pending.iter().filter(|seq| bench.stored.contains_key(seq)).count() as u64;
                prop_assert!(durable <= stored, "{durable} of {stored}");
            }
            for _ in 0..100 {
                bench.operate(Fault::None);
            }
            prop_assert!(bench.stored.keys().eq(bench.pending.iter()));
            prop_assert_eq!(bench.journal.volatile().events, 0);
            prop_assert!(bench.journal.is_settled() && !bench.journal.is_down());
        }
    }

    #[test]
    fn a_failure_backs_off_and_a_success_ends_it() {
        let mut bench = Bench::new();
        bench.accept(1);
        bench.operate(Fault::Refused);
        assert!(bench.journal.is_down());
        assert!(bench.journal.due_at(true).is_some_and(|(at, _)| at > bench.now));
        bench.operate(Fault::None);
        assert!(!bench.journal.is_down());
    }

    #[test]
    fn what_was_never_appended_is_never_removed() {
        let mut bench = Bench::new();
        bench.accept(3);
        bench.settle(3);
        assert!(!matches!(bench.operate(Fault::None), Some(StoreOp::Append { .. } | StoreOp::Remove { .. })));
        assert!(bench.stored.is_empty());
    }

    #[test]
    fn the_reply_to_another_operation_changes_nothing() {
        let mut bench = Bench::new();
        let id = StoreOpId::from_u64(77);
        assert!(bench.journal.on_reply(id, Ok(StoreAnswer::Done), Instant::ZERO, &mut bench.rng).is_none());
    }
}
