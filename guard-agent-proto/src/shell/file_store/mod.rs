//! A journal in files, for those without Redis.
//!
//! # Layout
//!
//! ```text
//! DIR/v2-00000000-00c0ffee00c0ffee/    one per stream
//!         lock                         locked by the owner; holds its id
//!         00000001-5f0c3d21.log        segments: number, mark of its frames
//!         00000002-9a44e1b7.log
//!         reserve                      room for removals on a full disk
//! ```
//!
//! A write is one frame (see [`frame`]), appended to the newest segment by one `write` and one `fdatasync`. Its
//! checksum makes it atomic. A segment begins with a frame that repeats all notes and the highest ids, so that
//! older segments hold nothing but blocks; they are deleted oldest first, for a removal must not be
//! forgotten before what it removed. When more than half of the files is dead, the live blocks of the oldest
//! segment move to the newest one: a single block that waits for days does not keep what was appended after it.
//! In memory there is an index of what waits, about 40 bytes a block. The first segments stay open, so one that somebody
//! deletes or renames is written again.
//!
//! # Leases
//!
//! The lease is the lock of the operating system on `lock`. It has no time: it ends when the owner closes the
//! stream or its process is gone, by whatever death, and only then. So an orphan's owner is known to be gone,
//! and nobody who wakes late can have been robbed. The owner's id in the file fences off those that come
//! back after an adoption all the same; it goes with the stream, since no first owner can outlive that.
//!
//! # Why not a library
//!
//! A stream loses blocks in the middle, has a second log and notes beside it, and must be left to others with a
//! lock. `okaywal` calls its format unstable and gives space back by checkpoints of the whole log, `commitlog` cuts
//! off at the end only, and `raft-engine` wants consecutive ids; none locks. What they would save is the frames.

mod error;
mod frame;
mod index;
mod lock;
mod segment;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

use std::boxed::Box;
use std::format;
use std::io;
use std::path::{Path, PathBuf, absolute};
use std::string::String;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::vec;

use futures_channel::oneshot;

pub use error::FileStoreError;

use super::BoxFuture;
use super::Store;
use super::private_files::{Links, PrivateDir};
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreRequest};
use crate::{AgentConfig, ConfigError, ConfigProblem};
use streams::Streams;

/// Where a segment ends and the next one begins, in bytes.
const SEGMENT_BYTES: u64 = 8 << 20;

/// Operations that may wait while the disk hangs.
const WAITING: usize = 64;

/// A journal in files: durable without a server, for agents on the same machine.
///
/// A directory may serve any number of processes, and must be on a file system of this machine whose locks work
/// between them. What waits in it is adopted by the next agent that opens it when its own is gone; before that
/// nobody can, for a lease lasts as long as the store that holds it. Give each agent of a process a store
/// of its own.
///
/// The directory has to be of the user whose process this is, and nobody else may be able to write to it, its group
/// included (`chmod go-w`): what others put there would be delivered under our key. Its parents are not looked at; whoever
/// can rename one of them decides where the journal is. In a volume or a folder that several share, name a directory of
/// its own in it, which the store then makes (`0700`, files `0600`). The path may lead through links, and be one to a
/// directory that is there: what counts is where it ends. What is in it is opened in the very directory that
/// was checked, and not through links; a stream with a folder or a file of somebody else, or with a file that has a second
/// name (a hard link), is left alone, with a message. All of that is not checked on Windows.
///
/// All file operations happen on one thread of its own. It starts with the first operation, and ends after the
/// store is dropped; the locks go with it. A child that is forked, and executes nothing, shares them.
///
/// ```no_run
/// # use guard_agent_proto::shell::FileStore;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = FileStore::open("/var/lib/my-service/guard")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FileStore {
    dir: PathBuf,
    segment_bytes: u64,
    worker: Mutex<Option<Worker>>,
}

#[derive(Debug)]
struct Worker {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

struct Job {
    request: StoreRequest,
    reply: oneshot::Sender<Result<StoreAnswer, StoreError>>,
}

impl FileStore {
    /// A store in that directory, which is created unless it is there. Blocks for some file operations.
    ///
    /// # Errors
    ///
    /// If it is no directory, cannot be created, belongs to another user, can be written to by others, or files in it cannot
    /// be written or locked.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, FileStoreError> {
        Self::with_segments(dir.into(), SEGMENT_BYTES)
    }

    /// The store that `journal_dir` of a configuration asks for, if it does.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), with the name of the field.
    pub fn configured(config: &AgentConfig) -> Result<Option<Arc<dyn Store>>, ConfigError> {
        let Some(dir) = &config.journal_dir else { return Ok(None) };
        match Self::open(dir) {
            Ok(store) => Ok(Some(Arc::new(store))),
            Err(error) => {
                let bound = format!("a directory of ours for files that can be written and locked ({error})");
                let problem = ConfigProblem { field: "journal_dir", value: dir.clone(), bound };
                Err(ConfigError { problems: vec![problem] })
            }
        }
    }

    fn with_segments(dir: PathBuf, segment_bytes: u64) -> Result<Self, FileStoreError> {
        // The journal must not move when the process changes its working directory.
        let checked = absolute(&dir).and_then(|dir| {
            lock::try_out(&PrivateDir::create(&dir, Links::Followed)?)?;
            Ok(dir)
        });
        match checked {
            Ok(dir) => Ok(Self { dir, segment_bytes, worker: Mutex::new(None) }),
            Err(reason) => Err(FileStoreError::new(dir, reason)),
        }
    }

    /// The directory, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = worker.take().filter(|worker| !worker.thread.is_finished());
        let worker = match alive {
            Some(alive) => worker.insert(alive),
            None => worker.insert(self.start().map_err(|error| no_thread(&error))?),
        };
        worker.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::new(StoreErrorKind::TimedOut, "the disk hangs"),
            TrySendError::Disconnected(_) => thread_gone(),
        })
    }

    fn start(&self) -> io::Result<Worker> {
        let (jobs, queue) = sync_channel(WAITING);
        let streams = Streams::new(self.dir.clone(), self.segment_bytes);
        let thread = thread::Builder::new().name(String::from("guard-agent-journal"));
        Ok(Worker { jobs, thread: thread.spawn(move || work(streams, &queue))? })
    }
}

impl Store for FileStore {
    fn execute(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.send(Job { request, reply })?;
            answer.await.unwrap_or_else(|oneshot::Canceled| Err(thread_gone()))
        })
    }

    fn place(&self) -> Option<String> {
        Some(format!("{}", self.dir.display()))
    }
}

fn work(mut streams: Streams, queue: &Receiver<Job>) {
    for Job { request, reply } in queue {
        // Nobody waits for it any more, and it is going to be repeated if it matters.
        if reply.is_canceled() {
            continue;
        }
        let answer = streams.execute(request);
        // The caller may have gone meanwhile.
        let _ = reply.send(answer);
        streams.tidy();
    }
}

/// Without a thread no operation can be made, whichever it is.
fn no_thread(error: &io::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Unreachable, format!("no thread: {error}"))
}

fn thread_gone() -> StoreError {
    StoreError::new(StoreErrorKind::Other, "the journal's thread has ended")
}
