use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use guard_agent_proto::{Kind, Seq, StoreAnswer, StoreEntry, StoreError, StoreErrorKind, StoreOp, StreamId};

/// The journal's store: it survives crashes of the agent, and knows who owns what.
#[derive(Debug, Default)]
pub(crate) struct Store {
    streams: BTreeMap<StreamId, Stream>,
    /// Runs whose lease ended: what they still do comes too late.
    ended: BTreeSet<u32>,
}

#[derive(Debug)]
struct Stream {
    /// Which run of the agent; `None` once it is gone.
    owner: Option<u32>,
    entries: BTreeMap<Seq, StoreEntry>,
}

impl Store {
    /// Carries out `op` for that run of the agent.
    pub(crate) fn execute(&mut self, run: u32, op: &StoreOp) -> Result<StoreAnswer, StoreError> {
        if self.ended.contains(&run) {
            return Err(fenced());
        }
        match op {
            StoreOp::Append { stream, entries } => {
                let stream = self
                    .streams
                    .entry(*stream)
                    .or_insert_with(|| Stream { owner: Some(run), entries: BTreeMap::new() });
                stream.owned_by(run)?;
                stream.entries.extend(entries.iter().map(|entry| (entry.seq, entry.clone())));
                Ok(StoreAnswer::Done)
            }
            StoreOp::Remove { stream, seqs } => {
                if let Some(stream) = self.streams.get_mut(stream) {
                    stream.owned_by(run)?;
                    for seq in seqs {
                        stream.entries.remove(seq);
                    }
                }
                Ok(StoreAnswer::Done)
            }
            StoreOp::ListOrphans => Ok(StoreAnswer::Orphans(
                self.streams
                    .iter()
                    .filter(|(_, stream)| stream.owner.is_none() && !stream.entries.is_empty())
                    .map(|(id, _)| *id)
                    .collect(),
            )),
            StoreOp::Adopt { stream } => {
                if let Some(stream) = self.streams.get_mut(stream) {
                    if stream.owner.is_some() {
                        stream.owned_by(run)?;
                    }
                    stream.owner = Some(run);
                }
                Ok(StoreAnswer::Done)
            }
            StoreOp::Read { stream, after, limit } => {
                let mut entries = Vec::new();
                if let Some(stream) = self.streams.get(stream) {
                    stream.owned_by(run)?;
                    let unread = stream.entries.values().filter(|e| after.is_none_or(|after| e.seq > after));
                    entries.extend(unread.take(*limit).cloned());
                }
                let last = entries.last().map(|entry| entry.seq);
                Ok(StoreAnswer::Entries { entries, last, skipped: 0 })
            }
        }
    }

    /// The lease of that run ended.
    pub(crate) fn orphan(&mut self, run: u32) {
        self.ended.insert(run);
        for stream in self.streams.values_mut().filter(|stream| stream.owner == Some(run)) {
            stream.owner = None;
        }
    }

    /// Entries of streams that this run owns.
    pub(crate) fn held_by(&self, run: u32, kind: Kind) -> u64 {
        self.streams
            .values()
            .filter(|stream| stream.owner == Some(run))
            .flat_map(|stream| stream.entries.values())
            .filter(|entry| entry.kind == kind)
            .count() as u64
    }

    pub(crate) fn entries(&self) -> usize {
        self.streams.values().map(|stream| stream.entries.len()).sum()
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the journal holds")?;
        for (id, stream) in self.streams.iter().filter(|(_, stream)| !stream.entries.is_empty()) {
            write!(f, " {} in {id} of run {:?}", stream.entries.len(), stream.owner)?;
        }
        Ok(())
    }
}

impl Stream {
    fn owned_by(&self, run: u32) -> Result<(), StoreError> {
        if self.owner == Some(run) {
            return Ok(());
        }
        Err(fenced())
    }
}

fn fenced() -> StoreError {
    StoreError { kind: StoreErrorKind::Fenced, message: "another owner".into() }
}

pub(crate) fn unavailable() -> StoreError {
    StoreError { kind: StoreErrorKind::Unavailable, message: "simulated".into() }
}
