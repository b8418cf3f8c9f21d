#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod damage;
mod disk;
mod frames;
mod places;
#[cfg(unix)]
mod trust;

use std::boxed::Box;
use std::format;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;
use std::vec::Vec;

use super::segment;
use super::{FileStore, Store};
use crate::store::{
    Block, LogWrite, Note, OwnerId, Space, StoreAnswer, StoreError, StoreOp, StoreRequest, StreamId, Write,
};
use crate::{ByKind, Kind, Seq, StoreOpId};

const STREAM: StreamId = StreamId::new(Space::new(0), 0x00c0_ffee);

/// A directory for one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("guard-agent-{:016x}", segment::random().unwrap()));
        let mut dir = fs::DirBuilder::new();
        // Whatever the mask of new files is here.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut dir, 0o700);
        dir.create(&path).unwrap();
        Self(path)
    }

    fn stream(&self) -> PathBuf {
        self.0.join(format!("{STREAM}"))
    }

    /// Bytes in the stream's files.
    fn size(&self) -> u64 {
        files(&self.stream()).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut files = files(&self.stream());
        files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        files
    }

    fn agent(&self, owner: u64) -> Agent {
        self.agent_with(owner, super::SEGMENT_BYTES)
    }

    fn agent_with(&self, owner: u64, segment_bytes: u64) -> Agent {
        let store = FileStore::with_segments(self.0.clone(), segment_bytes).unwrap();
        Agent { store, owner: OwnerId::from_u64(owner) }
    }

    /// One that owns the stream, once the last owner is gone.
    fn adopter(&self, owner: u64) -> Agent {
        self.adopter_with(owner, super::SEGMENT_BYTES)
    }

    fn adopter_with(&self, owner: u64, segment_bytes: u64) -> Agent {
        let adopter = self.agent_with(owner, segment_bytes);
        for _ in 0..10_000 {
            if adopter.adopt().is_ok() {
                return adopter;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("the stream stays locked");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

struct Agent {
    store: FileStore,
    owner: OwnerId,
}

impl Agent {
    fn execute(&self, op: StoreOp) -> Result<StoreAnswer, StoreError> {
        let id = StoreOpId::from_u64(1);
        let request = StoreRequest { id, owner: self.owner, op, timeout: Duration::from_secs(10) };
        block_on(self.store.execute(request))
    }

    fn write(&self, events: LogWrite) -> Result<StoreAnswer, StoreError> {
        self.write_with_notes(events, Vec::new())
    }

    fn write_with_notes(&self, events: LogWrite, notes: Vec<Note>) -> Result<StoreAnswer, StoreError> {
        let logs = ByKind { events, metrics: LogWrite::default() };
        let write = Write { stream: STREAM, register: true, lease: Duration::ZERO, logs, notes };
        self.execute(StoreOp::Write(write))
    }

    /// Appends an event.
    fn append(&self, id: u64, bytes: impl AsRef<[u8]>) {
        assert_eq!(self.write(append(id, bytes)), Ok(StoreAnswer::Done));
    }

    fn remove(&self, ids: impl IntoIterator<Item = u64>) {
        let remove = ids.into_iter().map(Seq).collect();
        assert_eq!(self.write(LogWrite { remove, ..LogWrite::default() }), Ok(StoreAnswer::Done));
    }

    fn adopt(&self) -> Result<Vec<Note>, StoreError> {
        match self.execute(StoreOp::Adopt { stream: STREAM, lease: Duration::ZERO })? {
            StoreAnswer::Adopted { notes, .. } => Ok(notes),
            answer => panic!("adopt: {answer:?}"),
        }
    }

    /// Events from an id on, and how many were skipped.
    fn page(&self, from: u64, limit: usize) -> (Vec<Block>, u64) {
        let (kind, lease) = (Kind::Event, Duration::ZERO);
        match self.execute(StoreOp::Read { stream: STREAM, kind, from: Seq(from), limit, lease }) {
            Ok(StoreAnswer::Blocks { blocks, skipped }) => (blocks, skipped),
            answer => panic!("read: {answer:?}"),
        }
    }

    /// All events, and how many were skipped.
    fn all(&self) -> (Vec<Block>, u64) {
        let (mut blocks, mut skipped) = self.page(0, usize::MAX);
        if let Some(last) = blocks.last() {
            let end = self.page(last.id.as_u64() + 1, usize::MAX);
            blocks.extend(end.0);
            skipped += end.1;
        }
        (blocks, skipped)
    }

    fn ids(&self) -> (Vec<u64>, u64) {
        let (blocks, skipped) = self.all();
        (blocks.iter().map(|block| block.id.as_u64()).collect(), skipped)
    }

    fn close(&self, keep: bool) {
        assert_eq!(self.execute(StoreOp::Close { stream: STREAM, keep }), Ok(StoreAnswer::Done));
    }

    /// Orphans, streams, foreign ones.
    fn list(&self) -> (usize, usize, usize) {
        match self.execute(StoreOp::List { space: STREAM.space() }) {
            Ok(StoreAnswer::Orphans { orphans, streams, foreign, complete: true }) => {
                (orphans.len(), streams, foreign)
            }
            answer => panic!("list: {answer:?}"),
        }
    }

    /// Orphans, and how many streams there are.
    #[cfg(unix)]
    fn orphans(&self) -> (Vec<StreamId>, usize) {
        match self.execute(StoreOp::List { space: STREAM.space() }) {
            Ok(StoreAnswer::Orphans { orphans, streams, .. }) => {
                (orphans.iter().map(|orphan| orphan.stream).collect(), streams)
            }
            answer => panic!("list: {answer:?}"),
        }
    }

    /// Operations are made one after another: when this one is, the one before has been tidied up after.
    fn settle(&self) {
        self.list();
    }
}

fn append(id: u64, bytes: impl AsRef<[u8]>) -> LogWrite {
    LogWrite { append: Vec::from([block(id, bytes)]), ..LogWrite::default() }
}

fn block(id: u64, bytes: impl AsRef<[u8]>) -> Block {
    Block { id: Seq(id), bytes: bytes.as_ref().into() }
}

fn note(name: &str, value: &str) -> Note {
    Note { name: name.into(), value: Some(value.as_bytes().into()) }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

const fn assert_usable_anywhere<T: Send + Sync + 'static>() {}
const _: () = assert_usable_anywhere::<FileStore>();
const _: () = assert_usable_anywhere::<Box<dyn Store>>();
