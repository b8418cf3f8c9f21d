use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use guard_agent_proto::shell::MemoryStore;
use guard_agent_proto::store::{
    Block, BlockReader, StoreAnswer, StoreError, StoreErrorKind, StoreOp, StoreRequest, StreamId,
};
use guard_agent_proto::{AgentConfig, Instant, Kind};

use super::platform;

/// The journal's store: it survives crashes of the agents that share it.
#[derive(Debug)]
pub(crate) struct Store {
    inner: MemoryStore,
    reader: BlockReader,
    /// What was read of blocks.
    read: BTreeMap<(StreamId, Kind, u64), Arc<[u64]>>,
}

impl Store {
    pub(crate) fn new(config: &AgentConfig) -> Self {
        let reader = BlockReader::new(config);
        let reader = reader.unwrap_or_else(|error| panic!("the configuration is valid: {error}"));
        Self { inner: MemoryStore::new(), reader, read: BTreeMap::new() }
    }

    pub(crate) fn execute(&self, request: StoreRequest, now: Instant) -> Result<StoreAnswer, StoreError> {
        self.inner.execute_at(request, now)
    }

    /// Numbers of the records in a block that the agent made.
    pub(crate) fn numbers(&mut self, stream: StreamId, kind: Kind, block: &Block) -> Arc<[u64]> {
        let Self { reader, read, .. } = self;
        let numbers = read.entry((stream, kind, block.id.as_u64())).or_insert_with(|| {
            let records = reader.read(stream, kind, block).unwrap_or_default();
            records.iter().filter_map(|record| platform::number(kind, &record.json).ok()).collect()
        });
        Arc::clone(numbers)
    }

    /// Numbers of the records in what a change appends.
    pub(crate) fn appended(&mut self, op: &StoreOp) -> Vec<u64> {
        let StoreOp::Write(write) = op else { return Vec::new() };
        let mut numbers = Vec::new();
        for kind in Kind::ALL {
            for block in &write.logs[kind].append {
                numbers.extend(self.numbers(write.stream, kind, block).iter());
            }
        }
        numbers
    }

    /// How many records of that kind it holds.
    pub(crate) fn held(&mut self, kind: Kind) -> u64 {
        let mut blocks = Vec::new();
        self.inner.for_each_block(|stream, of, block| {
            if of == kind {
                blocks.push((stream, block));
            }
        });
        blocks.iter().map(|(stream, block)| self.numbers(*stream, kind, block).len() as u64).sum()
    }

    pub(crate) fn blocks(&self) -> usize {
        self.inner.blocks()
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the journal holds {} streams, {} blocks", self.inner.streams(), self.inner.blocks())
    }
}

pub(crate) fn unavailable() -> StoreError {
    StoreError::new(StoreErrorKind::Unreachable, "simulated")
}
