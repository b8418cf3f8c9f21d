use std::boxed::Box;
use std::collections::BTreeMap;
use std::string::String;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::vec::Vec;

use super::BoxFuture;
use super::Store;
use crate::store::{
    Block, LogWrite, Note, Orphan, OwnerId, Space, StoreAnswer, StoreError, StoreErrorKind, StoreOp,
    StoreRequest, StreamId, Write,
};
use crate::{ByKind, Instant, Kind, Seq};

/// A journal that lasts as long as the process: for tests, and as the plainest account of what a store does.
///
/// Agents of one process share it behind an `Arc`. Leases run by the clock of the process.
///
/// ```
/// use std::sync::Arc;
///
/// # use guard_agent_proto::shell::MemoryStore;
///
/// let store = Arc::new(MemoryStore::new());
/// assert_eq!((store.streams(), store.blocks()), (0, 0));
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    streams: Mutex<BTreeMap<StreamId, Stream>>,
    zero: std::time::Instant,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    /// `None` before anybody had it.
    owner: Option<OwnerId>,
    /// `None` once it is given up.
    lease: Option<Lease>,
    /// Then it outlives its content.
    adopted: bool,
    /// `None` before the first write and after the stream was deleted.
    content: Option<Content>,
}

#[derive(Clone, Debug)]
struct Lease {
    since: Instant,
    time: Duration,
}

#[derive(Clone, Debug, Default)]
struct Content {
    logs: ByKind<Log>,
    notes: BTreeMap<String, Arc<[u8]>>,
}

#[derive(Clone, Debug)]
struct Log {
    /// The highest id that was ever appended.
    last: Seq,
    blocks: BTreeMap<Seq, Arc<[u8]>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { streams: Mutex::default(), zero: std::time::Instant::now() }
    }

    /// How many streams have content, be it empty logs.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.contents(|_| 1)
    }

    /// How many blocks are kept, of all streams and both kinds.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.contents(|content| Kind::ALL.iter().map(|kind| content.logs[*kind].blocks.len()).sum())
    }

    /// Looks at every block, in ascending order of ids within a log, as it is: no lease is asked for.
    pub fn for_each_block(&self, mut look: impl FnMut(StreamId, Kind, Block)) {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, content) in
            streams.iter().filter_map(|(id, stream)| Some((id, stream.content.as_ref()?)))
        {
            for kind in Kind::ALL {
                for (id, bytes) in &content.logs[kind].blocks {
                    look(*stream, kind, Block { id: *id, bytes: bytes.clone() });
                }
            }
        }
    }

    fn contents(&self, count: impl FnMut(&Content) -> usize) -> usize {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.values().filter_map(|stream| stream.content.as_ref()).map(count).sum()
    }

    /// Makes one operation, at an instant of the caller's choice: for simulations on virtual time, which make
    /// no other.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Fenced`] and no other.
    pub fn execute_at(&self, request: StoreRequest, now: Instant) -> Result<StoreAnswer, StoreError> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = request.owner;
        match request.op {
            StoreOp::Write(write) => streams.entry(write.stream).or_default().write(owner, now, write),
            StoreOp::List { space } => Ok(list(&streams, space, now)),
            StoreOp::Adopt { stream, lease } => streams.entry(stream).or_default().adopt(owner, now, lease),
            StoreOp::Read { stream, kind, from, limit, lease } => {
                let stream = streams.entry(stream).or_default();
                stream.claim(owner, now, lease)?;
                Ok(StoreAnswer::Blocks { blocks: stream.read(kind, from, limit), skipped: 0 })
            }
            StoreOp::Close { stream: id, keep } => {
                let stream = streams.entry(id).or_default();
                stream.claim(owner, now, Duration::ZERO)?;
                stream.lease = None;
                if !keep {
                    stream.content = None;
                }
                if stream.content.is_none() && !stream.adopted {
                    streams.remove(&id);
                }
                Ok(StoreAnswer::Done)
            }
        }
    }
}

impl Store for MemoryStore {
    fn execute(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>> {
        Box::pin(async move { self.execute_at(request, Instant::ZERO + self.zero.elapsed()) })
    }
}

impl Clone for MemoryStore {
    /// A snapshot, which goes its own way from now on.
    fn clone(&self) -> Self {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        Self { streams: Mutex::new(streams.clone()), zero: self.zero }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

fn list(streams: &BTreeMap<StreamId, Stream>, space: Space, now: Instant) -> StoreAnswer {
    let known = || streams.iter().filter(|(_, stream)| stream.content.is_some());
    let ours = || known().filter(|(id, _)| id.space() == space);
    let orphan = |(id, stream): (&StreamId, &Stream)| match &stream.lease {
        Some(lease) if lease.runs(now) => None,
        lease => Some(Orphan { stream: *id, released: lease.is_none() }),
    };
    StoreAnswer::Orphans {
        orphans: ours().filter_map(orphan).collect(),
        streams: ours().count(),
        foreign: known().count() - ours().count(),
        complete: true,
    }
}

impl Stream {
    /// Renews the lease, or takes it up again.
    fn claim(&mut self, owner: OwnerId, now: Instant, time: Duration) -> Result<(), StoreError> {
        if *self.owner.get_or_insert(owner) != owner {
            return Err(fenced());
        }
        self.lease = Some(Lease { since: now, time });
        Ok(())
    }

    fn adopt(&mut self, owner: OwnerId, now: Instant, time: Duration) -> Result<StoreAnswer, StoreError> {
        let is_leased = self.lease.as_ref().is_some_and(|lease| lease.runs(now));
        if is_leased && self.owner != Some(owner) {
            return Err(fenced());
        }
        self.owner = Some(owner);
        self.lease = Some(Lease { since: now, time });
        self.adopted = true;
        let notes = self.content.iter().flat_map(|content| &content.notes);
        let notes = notes.map(|(name, value)| Note { name: name.clone(), value: Some(value.clone()) });
        Ok(StoreAnswer::Adopted { notes: notes.collect(), lost_logs: 0 })
    }

    fn write(&mut self, owner: OwnerId, now: Instant, write: Write) -> Result<StoreAnswer, StoreError> {
        self.claim(owner, now, write.lease)?;
        let content = self.content.get_or_insert_default();
        let logs = &mut content.logs;
        if Kind::ALL.iter().any(|kind| !logs[*kind].is_where_expected(&write.logs[*kind])) {
            return Ok(StoreAnswer::Diverged {
                last: ByKind { events: logs.events.last, metrics: logs.metrics.last },
            });
        }
        logs.events.write(write.logs.events);
        logs.metrics.write(write.logs.metrics);
        for Note { name, value } in write.notes {
            match value {
                Some(value) => content.notes.insert(name, value),
                None => content.notes.remove(&name),
            };
        }
        Ok(StoreAnswer::Done)
    }

    fn read(&self, kind: Kind, from: Seq, limit: usize) -> Vec<Block> {
        let blocks = self.content.iter().flat_map(|content| content.logs[kind].blocks.range(from..));
        blocks.take(limit).map(|(id, bytes)| Block { id: *id, bytes: bytes.clone() }).collect()
    }
}

impl Lease {
    fn runs(&self, now: Instant) -> bool {
        now.since(self.since) < self.time
    }
}

impl Log {
    fn is_where_expected(&self, write: &LogWrite) -> bool {
        let repeated = write.append.last().is_some_and(|block| block.id == self.last);
        repeated || write.expected.is_none_or(|expected| expected == self.last)
    }

    fn write(&mut self, write: LogWrite) {
        // In a repetition there are none.
        for block in write.append {
            if block.id > self.last {
                self.last = block.id;
                self.blocks.insert(block.id, block.bytes);
            }
        }
        for id in write.remove {
            self.blocks.remove(&id);
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { last: Seq(0), blocks: BTreeMap::new() }
    }
}

fn fenced() -> StoreError {
    StoreError::new(StoreErrorKind::Fenced, "the stream belongs to another agent")
}
