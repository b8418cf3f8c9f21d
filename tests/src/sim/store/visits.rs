use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use guard_agent_proto::store::{
    Block, LogWrite, OwnerId, StoreAnswer, StoreOp, StoreRequest, StreamId, Write,
};
use guard_agent_proto::{ByKind, Instant, Kind, Seq, StoreOpId};

use super::Store;
use crate::sim::rng::Rng;

/// What somebody does who can write where the journal is, to each stream or to some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// Puts garbage behind the last block.
    Writes,
    /// Puts the last block there once more.
    Copies,
    /// Deletes what is in a stream.
    Deletes,
    /// Says that he adopted a stream, and leaves it.
    Steals,
    /// Says so, and deletes it.
    Robs,
}

impl Visit {
    pub(crate) const ALL: [Self; 5] = [Self::Writes, Self::Copies, Self::Deletes, Self::Steals, Self::Robs];
}

/// Under which name he adopts.
const STRANGER: OwnerId = OwnerId::from_u64(u64::MAX);

impl Store {
    /// Somebody visits about every other stream. The numbers of the records that are gone, with the run whose they were.
    pub(crate) fn visit(
        &mut self,
        visit: Visit,
        lease: Duration,
        now: Instant,
        rng: &mut Rng,
    ) -> Vec<(u64, Option<u32>)> {
        let before = self.contents();
        let owners = self.shelf.owners.clone();
        let mut last = BTreeMap::<(StreamId, Kind), Block>::new();
        self.shelf.inner.for_each_block(|stream, kind, block| {
            last.insert((stream, kind), block);
        });
        let streams: BTreeSet<_> = last.keys().map(|(stream, _)| *stream).collect();
        for stream in streams {
            let Some(name) = self.shelf.names.get(&stream).copied().filter(|_| rng.chance(500)) else {
                continue;
            };
            let close = |keep| StoreOp::Close { stream, keep };
            match visit {
                Visit::Writes | Visit::Copies => {
                    let is_released = self.is_released(stream, now);
                    let mut logs = ByKind::<LogWrite>::default();
                    for kind in Kind::ALL {
                        let Some(block) = last.get(&(stream, kind)) else { continue };
                        let bytes = match visit {
                            Visit::Copies => block.bytes.clone(),
                            Visit::Writes | Visit::Deletes | Visit::Steals | Visit::Robs => b"x"[..].into(),
                        };
                        let id = Seq::from_u64(block.id.as_u64().max(999_999) + 1);
                        logs[kind].append.push(Block { id, bytes });
                    }
                    let write = Write { stream, register: true, lease, logs, notes: Vec::new() };
                    self.act_as(name, StoreOp::Write(write), now);
                    if is_released {
                        self.act_as(name, close(true), now);
                    }
                }
                Visit::Deletes => self.act_as(name, close(false), now),
                Visit::Steals | Visit::Robs => {
                    self.act_as(name, close(true), now);
                    self.act_as(STRANGER, StoreOp::Adopt { stream, lease }, now);
                    self.shelf.owners.remove(&stream);
                    self.shelf.names.insert(stream, STRANGER);
                    if visit == Visit::Robs {
                        self.act_as(STRANGER, close(false), now);
                    }
                }
            }
        }
        self.gone(before, &owners)
    }

    fn is_released(&self, stream: StreamId, now: Instant) -> bool {
        match self
            .shelf
            .inner
            .execute_at(request(STRANGER, StoreOp::List { space: stream.space() }), self.clock(now))
        {
            Ok(StoreAnswer::Orphans { orphans, .. }) => {
                orphans.iter().any(|orphan| orphan.stream == stream && orphan.released)
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Whoever can write there can do so under any name. It may be refused where an agent was quicker.
    fn act_as(&self, name: OwnerId, op: StoreOp, now: Instant) {
        let _ = self.shelf.inner.execute_at(request(name, op), self.clock(now));
    }
}

fn request(owner: OwnerId, op: StoreOp) -> StoreRequest {
    StoreRequest { id: StoreOpId::from_u64(0), owner, op, timeout: Duration::from_secs(1) }
}
