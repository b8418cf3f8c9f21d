mod faults;
mod visits;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use guard_agent_proto::shell::MemoryStore;
use guard_agent_proto::store::{
    Block, BlockReader, OwnerId, StoreAnswer, StoreError, StoreOp, StoreRequest, StreamId,
};
use guard_agent_proto::{AgentConfig, Instant, Kind};

pub(crate) use self::faults::{StoreFault, StoreRoute, StoreWeather, Trouble};
pub(crate) use self::visits::Visit;
use super::platform;

/// The journal's store: it survives crashes of the agents that share it, and has crashes of its own.
#[derive(Debug)]
pub(crate) struct Store {
    shelf: Shelf,
    /// What it was now and then, to be lost back to; empty unless that may happen.
    snapshots: VecDeque<(Instant, Shelf)>,
    keeps_snapshots: bool,
    /// Its clock: that much ahead, and that many permille as fast.
    ahead: Duration,
    rate: u32,
    /// How often it went back in time.
    pub(crate) losses: u32,
    reader: BlockReader,
    /// What was read of blocks, and the bytes that it was read of.
    read: BTreeMap<(StreamId, Kind, u64), Content>,
}

/// The bytes of a block, and the numbers of the records in it.
type Content = (Arc<[u8]>, Arc<[u64]>);

#[derive(Clone, Debug)]
struct Shelf {
    inner: MemoryStore,
    /// Which run of the agent wrote or adopted each stream last.
    owners: BTreeMap<StreamId, u32>,
    /// Under which name.
    names: BTreeMap<StreamId, OwnerId>,
}

/// What an operation did to the ownership of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adoption {
    pub(crate) stream: StreamId,
    /// The run whose it was.
    pub(crate) from: Option<u32>,
}

/// Where the clock of the store begins, so that it can be set back.
const BEGINNING: Duration = Duration::from_secs(100_000_000);
const SNAPSHOT_EVERY: Duration = Duration::from_secs(1);
const MOST_SNAPSHOTS: usize = 5;

impl Shelf {
    fn new() -> Self {
        Self { inner: MemoryStore::new(), owners: BTreeMap::new(), names: BTreeMap::new() }
    }
}

impl Store {
    pub(crate) fn new(config: &AgentConfig, rate: u32, keeps_snapshots: bool) -> Self {
        let reader = BlockReader::new(config);
        let reader = reader.unwrap_or_else(|error| panic!("the configuration is valid: {error}"));
        Self {
            shelf: Shelf::new(),
            snapshots: VecDeque::new(),
            keeps_snapshots,
            ahead: BEGINNING,
            rate,
            losses: 0,
            reader,
            read: BTreeMap::new(),
        }
    }

    /// Carries out what that run of an agent asks for, or asked for long ago: then it counts on nothing any more.
    /// Of an adoption it knows only if it has `heard`.
    pub(crate) fn execute(
        &mut self,
        run: u32,
        request: StoreRequest,
        late: bool,
        heard: bool,
        now: Instant,
    ) -> (Result<StoreAnswer, StoreError>, Option<Adoption>) {
        self.snapshot(now);
        let (stream, claims, adopts) = match &request.op {
            StoreOp::Write(write) => (Some(write.stream), true, false),
            StoreOp::Adopt { stream, .. } => (Some(*stream), heard, true),
            StoreOp::Read { stream, .. } | StoreOp::Close { stream, .. } => (Some(*stream), false, false),
            StoreOp::List { .. } => (None, false, false),
        };
        let name = request.owner;
        let result = self.shelf.inner.execute_at(request, self.clock(now));
        if let Some(stream) = stream.filter(|_| result.is_ok()) {
            self.shelf.names.insert(stream, name);
        }
        let Some(stream) = stream.filter(|_| !late) else { return (result, None) };
        if result.is_err() && heard {
            // Another has it, perhaps one that died before it heard of that.
            self.give_up(run, stream);
        }
        if result.is_err() || !claims {
            return (result, None);
        }
        let from = self.shelf.owners.insert(stream, run).filter(|from| *from != run);
        (result, adopts.then_some(Adoption { stream, from }))
    }

    /// That run does not want that stream any more, if it is its own.
    pub(crate) fn give_up(&mut self, run: u32, stream: StreamId) {
        if self.owner(stream) == Some(run) {
            self.shelf.owners.remove(&stream);
        }
    }

    fn clock(&self, now: Instant) -> Instant {
        let elapsed = now.since(Instant::ZERO);
        Instant::ZERO + self.ahead + elapsed / 1_000 * self.rate
    }

    fn snapshot(&mut self, now: Instant) {
        let recent = |(at, _): &(Instant, Shelf)| now.since(*at) < SNAPSHOT_EVERY;
        if !self.keeps_snapshots || self.snapshots.back().is_some_and(recent) {
            return;
        }
        self.snapshots.push_back((now, self.shelf.clone()));
        if self.snapshots.len() > MOST_SNAPSHOTS {
            self.snapshots.pop_front();
        }
    }

    /// Its clock is set.
    pub(crate) fn set_clock(&mut self, forward: bool, by: Duration) {
        self.ahead = if forward { self.ahead + by } else { self.ahead.saturating_sub(by) };
    }

    /// Its clock is right from now on.
    pub(crate) fn repair(&mut self, now: Instant) {
        // Were it set back, leases would run for as long.
        let fast = now.since(Instant::ZERO) / 1_000 * self.rate.saturating_sub(1_000);
        self.ahead = self.ahead.max(BEGINNING) + fast;
        self.rate = 1_000;
        self.keeps_snapshots = false;
    }

    /// It comes back as it was at least `ago` before. The numbers of the records that are gone, with the run
    /// whose they were.
    pub(crate) fn go_back(&mut self, ago: Duration, now: Instant) -> Vec<(u64, Option<u32>)> {
        let before = now.since(Instant::ZERO + ago);
        while self.snapshots.len() > 1
            && self.snapshots.back().is_some_and(|(at, _)| at.since(Instant::ZERO) > before)
        {
            self.snapshots.pop_back();
        }
        match self.snapshots.back().cloned() {
            Some((_, shelf)) => self.become_that(shelf),
            None => Vec::new(),
        }
    }

    /// It comes back empty.
    pub(crate) fn wipe(&mut self) -> Vec<(u64, Option<u32>)> {
        self.snapshots.clear();
        self.become_that(Shelf::new())
    }

    fn become_that(&mut self, shelf: Shelf) -> Vec<(u64, Option<u32>)> {
        let before = self.contents();
        let owners = core::mem::replace(&mut self.shelf, shelf).owners;
        self.gone(before, &owners)
    }

    /// What was there before and is not any more, with the run whose it was. It counts as a loss.
    fn gone(
        &mut self,
        before: Vec<(StreamId, u64)>,
        owners: &BTreeMap<StreamId, u32>,
    ) -> Vec<(u64, Option<u32>)> {
        let after: BTreeSet<u64> = self.contents().into_iter().map(|(_, number)| number).collect();
        self.losses += 1;
        let lost = before.into_iter().filter(|(_, number)| !after.contains(number));
        lost.map(|(stream, number)| (number, owners.get(&stream).copied())).collect()
    }

    /// Every record that it holds.
    fn contents(&mut self) -> Vec<(StreamId, u64)> {
        let Self { shelf, reader, read, .. } = self;
        let mut contents = Vec::new();
        shelf.inner.for_each_block(|stream, kind, block| {
            let numbers = numbers(reader, read, stream, kind, &block);
            contents.extend(numbers.iter().map(|number| (stream, *number)));
        });
        contents
    }

    /// The numbers of the records in what a change appends.
    pub(crate) fn appended(&mut self, op: &StoreOp) -> Vec<u64> {
        let StoreOp::Write(write) = op else { return Vec::new() };
        let mut appended = Vec::new();
        for kind in Kind::ALL {
            for block in &write.logs[kind].append {
                let numbers = numbers(&self.reader, &mut self.read, write.stream, kind, block);
                appended.extend(numbers.iter());
            }
        }
        appended
    }

    /// Whose that stream is.
    pub(crate) fn owner(&self, stream: StreamId) -> Option<u32> {
        self.shelf.owners.get(&stream).copied()
    }

    /// Whether every block is in a stream of somebody whom that holds for.
    pub(crate) fn is_owned(&self, by: impl Fn(u32) -> bool) -> bool {
        let mut is_owned = true;
        self.shelf.inner.for_each_block(|stream, _, _| {
            is_owned &= self.shelf.owners.get(&stream).is_some_and(|run| by(*run));
        });
        is_owned
    }

    /// How many records of that kind are in streams of that run, or in all of them.
    pub(crate) fn held(&mut self, kind: Kind, run: Option<u32>) -> u64 {
        let Self { shelf: Shelf { inner, owners, .. }, reader, read, .. } = self;
        let mut held = 0;
        inner.for_each_block(|stream, of, block| {
            if of == kind && (run.is_none() || owners.get(&stream).copied() == run) {
                held += numbers(reader, read, stream, kind, &block).len() as u64;
            }
        });
        held
    }

    pub(crate) fn blocks_of(&self, stream: StreamId) -> usize {
        let mut blocks = 0;
        self.shelf.inner.for_each_block(|of, _, _| blocks += usize::from(of == stream));
        blocks
    }

    pub(crate) fn blocks(&self) -> usize {
        self.shelf.inner.blocks()
    }

    pub(crate) fn streams(&self) -> usize {
        self.shelf.inner.streams()
    }
}

fn numbers(
    reader: &BlockReader,
    read: &mut BTreeMap<(StreamId, Kind, u64), Content>,
    stream: StreamId,
    kind: Kind,
    block: &Block,
) -> Arc<[u64]> {
    let place = (stream, kind, block.id.as_u64());
    if let Some((_, numbers)) = read.get(&place).filter(|(bytes, _)| Arc::ptr_eq(bytes, &block.bytes)) {
        return Arc::clone(numbers);
    }
    let records = reader.read(stream, kind, block).unwrap_or_default();
    let numbers: Arc<[u64]> =
        records.iter().filter_map(|record| platform::number(kind, &record.json).ok()).collect();
    read.insert(place, (Arc::clone(&block.bytes), Arc::clone(&numbers)));
    numbers
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shelf { inner, owners, .. } = &self.shelf;
        write!(f, "the journal holds {} streams, {} blocks:", inner.streams(), inner.blocks())?;
        let mut blocks: BTreeMap<StreamId, usize> = BTreeMap::new();
        inner.for_each_block(|stream, _, _| *blocks.entry(stream).or_default() += 1);
        for (stream, count) in blocks {
            write!(f, " {count} in {stream} of run {:?}", owners.get(&stream))?;
        }
        Ok(())
    }
}
