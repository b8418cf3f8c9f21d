use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::string::ToString;
use std::vec::Vec;

use super::error::{failed, fenced};
use super::lock::{self, Lock};
use super::stream::Stream;
use crate::shell::private_files::{Links, Listed, Owner, PrivateDir, is_untrusted};
use crate::store::{Orphan, OwnerId, Space, StoreAnswer, StoreError, StoreOp, StoreRequest, StreamId};

/// The streams of a directory, and those among them that are ours.
pub(super) struct Streams {
    dir: PathBuf,
    segment_bytes: u64,
    ours: BTreeMap<StreamId, Stream>,
    /// The last one that the last listing looked at.
    looked_at: Option<StreamId>,
}

/// More names than there are in the directory of a journal.
const MOST_ENTRIES: usize = 1 << 17;

/// Most streams that are looked at in one operation: others wait meanwhile.
const MOST_LOOKS: usize = 1_024;

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
        Self { dir, segment_bytes, ours: BTreeMap::new(), looked_at: None }
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
                        let deleted = ours.delete().and_then(|()| self.root()?.sync());
                        deleted.map_err(|error| failed("delete a journal", &error))?;
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
                let taken = take(&self.dir, id, owner, claim);
                let taken = taken.map_err(|error| failed("lock a journal", &error))?;
                let Some((dir, lock)) = taken else { return Err(fenced()) };
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
        match fs::symlink_metadata(self.dir.join(id.to_string())) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("find a journal", &error)),
        }
    }

    fn root(&self) -> io::Result<PrivateDir> {
        PrivateDir::open(&self.dir, Owner::Us, Links::Followed)
    }

    fn list(&mut self, space: Space) -> io::Result<StoreAnswer> {
        let root = self.root()?;
        let (mut strange, mut ours, mut foreign) = (BTreeSet::new(), 0, 0);
        let mut entries = 0;
        root.entries(|Listed { name, may_be_dir }| {
            entries += 1;
            match name.parse::<StreamId>() {
                _ if !may_be_dir => {}
                Ok(stream) if stream.space() == space && self.ours.contains_key(&stream) => ours += 1,
                Ok(stream) if stream.space() == space => {
                    strange.insert(stream);
                }
                Ok(_) => foreign += 1,
                Err(_) if is_of_another_version(&name) => foreign += 1,
                Err(_) => {}
            }
            entries < MOST_ENTRIES
        })?;
        let (next, complete) = self.next_of(&strange);
        let complete = complete && entries < MOST_ENTRIES;
        let (mut orphans, mut streams) = (Vec::new(), ours);
        let mut is_told = false;
        for stream in next {
            streams += 1;
            match root.open_dir(&stream.to_string()).and_then(|dir| lock::is_orphaned(&dir)) {
                // Whoever tries to adopt it hears, and tells, what is wrong with it. One stands for all.
                Err(error) if is_untrusted(&error) => {
                    if core::mem::replace(&mut is_told, true) {
                        streams -= 1;
                    } else {
                        orphans.push(Orphan { stream, released: true });
                    }
                }
                // What cannot be locked cannot be adopted either.
                Ok(false) | Err(_) => {}
                Ok(true) => orphans.push(Orphan { stream, released: true }),
            }
        }
        Ok(StoreAnswer::Orphans { orphans, streams, foreign, complete })
    }

    /// The streams to be looked at now, and whether these are all.
    fn next_of(&mut self, strange: &BTreeSet<StreamId>) -> (Vec<StreamId>, bool) {
        if strange.len() <= MOST_LOOKS {
            self.looked_at = None;
            return (strange.iter().copied().collect(), true);
        }
        let after = self.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = strange.range((after, Bound::Unbounded));
        let next: Vec<_> = behind.chain(strange).take(MOST_LOOKS).copied().collect();
        self.looked_at = next.last().copied();
        (next, false)
    }
}

/// Locks a stream, unless it is another's.
fn take(root: &Path, id: StreamId, owner: OwnerId, claim: Claim) -> io::Result<Option<(PrivateDir, Lock)>> {
    let root = PrivateDir::create(root, Links::Followed)?;
    let name = id.to_string();
    let dir = match root.open_dir(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            root.create_dir(&name)?;
            root.open_dir(&name)?
        }
        opened => opened?,
    };
    let Some(mut lock) = Lock::take(&dir)? else { return Ok(None) };
    if claim == Claim::Own && lock.was_of_another(owner) {
        return Ok(None);
    }
    lock.set_owner(owner)?;
    Ok(Some((dir, lock)))
}

/// Whether it is the name of a stream of some version of the agent.
fn is_of_another_version(name: &str) -> bool {
    let version = name.strip_prefix('v').and_then(|rest| rest.split_once('-')).map(|(version, _)| version);
    version.is_some_and(|version| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()))
}
