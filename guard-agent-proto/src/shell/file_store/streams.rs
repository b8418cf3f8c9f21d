use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::string::ToString;
use std::vec::Vec;

use super::error::{failed, fenced};
use super::lock::{self, Lock};
use super::stream::Stream;
use crate::shell::private_files::{create_dir, sync_dir};
use crate::store::{Orphan, OwnerId, Space, StoreAnswer, StoreError, StoreOp, StoreRequest, StreamId};

/// The streams of a directory, and those among them that are ours.
pub(super) struct Streams {
    dir: PathBuf,
    segment_bytes: u64,
    ours: BTreeMap<StreamId, Stream>,
}

/// How an owner comes to a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// It is new or was the owner's.
    Own,
    /// It may have been another's.
    Adopt,
}

impl Streams {
    pub(super) const fn new(dir: PathBuf, segment_bytes: u64) -> Self {
        Self { dir, segment_bytes, ours: BTreeMap::new() }
    }

    pub(super) fn execute(&mut self, request: StoreRequest) -> Result<StoreAnswer, StoreError> {
        let owner = request.owner;
        match request.op {
            StoreOp::Write(write) => {
                let stream = self.claim(write.stream, owner, Claim::Own)?;
                stream.write(&write).map_err(|error| failed("write to a journal", &error))
            }
            StoreOp::List { space } => self.list(space).map_err(|error| failed("list journals", &error)),
            StoreOp::Adopt { stream, lease: _ } => {
                let stream = self.claim(stream, owner, Claim::Adopt)?;
                Ok(StoreAnswer::Adopted { notes: stream.notes(), lost_logs: 0 })
            }
            StoreOp::Read { stream, kind, from, limit, lease: _ } => {
                if !self.is_there(stream)? {
                    return Ok(StoreAnswer::Blocks { blocks: Vec::new(), skipped: 0 });
                }
                let stream = self.claim(stream, owner, Claim::Own)?;
                stream.read(kind, from, limit).map_err(|error| failed("read a journal", &error))
            }
            StoreOp::Close { stream, keep } => {
                if self.is_there(stream)? {
                    let ours = self.claim(stream, owner, Claim::Own)?;
                    if !keep {
                        ours.delete().map_err(|error| failed("delete a journal", &error))?;
                    }
                }
                self.ours.remove(&stream);
                Ok(StoreAnswer::Done)
            }
        }
    }

    /// What can wait until the caller has its answer.
    pub(super) fn tidy(&mut self) {
        self.ours.values_mut().for_each(Stream::tidy);
    }

    /// The stream, which is made if it is not there; fenced if it is another's.
    fn claim(&mut self, id: StreamId, owner: OwnerId, claim: Claim) -> Result<&mut Stream, StoreError> {
        let is_lost = self.ours.get(&id).is_some_and(Stream::is_gone);
        if is_lost {
            self.ours.remove(&id);
        }
        let stream = match self.ours.entry(id) {
            Entry::Occupied(ours) => ours.into_mut(),
            Entry::Vacant(place) => {
                let dir = self.dir.join(id.to_string());
                let lock = take(&dir, owner, claim).map_err(|error| failed("lock a journal", &error))?;
                let Some(lock) = lock else { return Err(fenced()) };
                let stream = Stream::load(dir, lock, self.segment_bytes);
                let mut stream = stream.map_err(|error| failed("load a journal", &error))?;
                if is_lost {
                    stream.replaces_a_lost_one();
                }
                place.insert(stream)
            }
        };
        if stream.is_owned_by(owner) { Ok(stream) } else { Err(fenced()) }
    }

    fn is_there(&self, id: StreamId) -> Result<bool, StoreError> {
        fs::exists(self.dir.join(id.to_string())).map_err(|error| failed("find a journal", &error))
    }

    fn list(&self, space: Space) -> io::Result<StoreAnswer> {
        let (mut orphans, mut streams, mut foreign) = (Vec::new(), 0, 0);
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let (true, Some(name)) = (entry.file_type()?.is_dir(), name.to_str()) else { continue };
            match name.parse::<StreamId>() {
                Ok(stream) if stream.space() == space => {
                    streams += 1;
                    // What cannot be locked cannot be adopted either.
                    if !self.ours.contains_key(&stream) && lock::is_orphaned(&entry.path()).unwrap_or(false) {
                        orphans.push(Orphan { stream, released: true });
                    }
                }
                Ok(_) => foreign += 1,
                Err(_) if is_of_another_version(name) => foreign += 1,
                Err(_) => {}
            }
        }
        Ok(StoreAnswer::Orphans { orphans, streams, foreign })
    }
}

/// Locks the stream in that directory, unless it is another's.
fn take(dir: &Path, owner: OwnerId, claim: Claim) -> io::Result<Option<Lock>> {
    if !fs::exists(dir)? {
        create_dir(dir)?;
        dir.parent().map_or(Ok(()), sync_dir)?;
    }
    let Some(mut lock) = Lock::take(dir)? else { return Ok(None) };
    if claim == Claim::Own && lock.was_of_another(owner) {
        return Ok(None);
    }
    lock.set_owner(owner)?;
    Ok(Some(lock))
}

/// Whether it is the name of a stream of some version of the agent.
fn is_of_another_version(name: &str) -> bool {
    let version = name.strip_prefix('v').and_then(|rest| rest.split_once('-')).map(|(version, _)| version);
    version.is_some_and(|version| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()))
}
