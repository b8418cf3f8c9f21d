use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use guard_agent_proto::shell::Store;
use guard_agent_proto::store::{
    Block, LogWrite, Note, Orphan, OwnerId, Space, StoreAnswer, StoreError, StoreErrorKind, StoreOp,
    StoreRequest, StreamId, Write,
};
use guard_agent_proto::{ByKind, Kind, Seq, StoreOpId};

use super::{LeaseEnd, Subject};

pub(super) const SPACE: Space = Space::new(0x0c0f_fee0);
pub(super) const STREAM: StreamId = StreamId::new(SPACE, 1);

/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_secs(300);
/// A lease that is to end.
pub(super) const SHORT: Duration = Duration::from_millis(30);
/// Hang guard.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) type Answer = Result<StoreAnswer, StoreError>;

/// The storage, and agents that share it.
pub(super) struct World<'a> {
    subject: &'a dyn Subject,
}

/// One run of an agent, with a handle of its own.
pub(super) struct Agent {
    store: Arc<dyn Store>,
    owner: OwnerId,
}

impl<'a> World<'a> {
    pub(super) fn new(subject: &'a dyn Subject) -> Self {
        Self { subject }
    }

    pub(super) fn agent(&self, owner: u64) -> Agent {
        Agent { store: self.subject.open(), owner: OwnerId::from_u64(owner) }
    }

    pub(super) fn lease_end(&self) -> LeaseEnd {
        self.subject.lease_end()
    }

    /// Brings the agent's lease on the stream to its end, and the agent back after that.
    pub(super) async fn lapse(&self, agent: Agent, stream: StreamId) -> Agent {
        let agent = match self.lease_end() {
            LeaseEnd::Time => {
                agent.done(Draft::new(stream).lease(SHORT)).await;
                agent
            }
            LeaseEnd::OwnerGone => {
                let owner = agent.owner;
                drop(agent);
                Agent { store: self.subject.open(), owner }
            }
        };
        let released = self.lease_end() == LeaseEnd::OwnerGone;
        assert_eq!(self.orphaned(stream).await, Orphan { stream, released });
        agent
    }

    /// Waits until the stream is an orphan.
    pub(super) async fn orphaned(&self, stream: StreamId) -> Orphan {
        let observer = self.agent(0xffff);
        let start = Instant::now();
        loop {
            let (orphans, ..) = observer.list(stream.space()).await;
            if let Some(orphan) = orphans.into_iter().find(|orphan| orphan.stream == stream) {
                return orphan;
            }
            assert!(start.elapsed() < PATIENCE, "the lease does not end");
            sleep(Duration::from_millis(2));
        }
    }
}

impl Agent {
    pub(super) async fn execute(&self, op: StoreOp) -> Answer {
        self.store.execute(self.request(op)).await
    }

    fn request(&self, op: StoreOp) -> StoreRequest {
        StoreRequest { id: StoreOpId::from_u64(1), owner: self.owner, op, timeout: PATIENCE }
    }

    /// Begins an operation, drops it at its first wait, and another one before it began.
    pub(super) async fn drop_operation(&self, op: StoreOp) {
        drop(self.store.execute(self.request(op.clone())));
        let mut operation = self.store.execute(self.request(op));
        std::future::poll_fn(|context| {
            let _ = operation.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    }

    pub(super) async fn write(&self, draft: Draft) -> Answer {
        self.execute(StoreOp::Write(draft.0)).await
    }

    pub(super) async fn done(&self, draft: Draft) {
        assert_eq!(self.write(draft).await, Ok(StoreAnswer::Done));
    }

    pub(super) async fn adopt(&self, stream: StreamId) -> Answer {
        let mut answer = self.execute(StoreOp::Adopt { stream, lease: LONG }).await;
        if let Ok(StoreAnswer::Adopted { notes, .. }) = &mut answer {
            notes.sort_by(|a, b| a.name.cmp(&b.name));
        }
        answer
    }

    pub(super) async fn try_read(&self, stream: StreamId, kind: Kind, from: u64, limit: usize) -> Answer {
        self.execute(StoreOp::Read { stream, kind, from: Seq::from_u64(from), limit, lease: LONG }).await
    }

    /// Blocks of a log, read whole.
    pub(super) async fn read(&self, stream: StreamId, kind: Kind) -> Vec<Block> {
        match self.try_read(stream, kind, 1, usize::MAX).await {
            Ok(StoreAnswer::Blocks { blocks, skipped: 0 }) => blocks,
            answer => panic!("read: {answer:?}"),
        }
    }

    pub(super) async fn ids(&self, stream: StreamId, kind: Kind) -> Vec<u64> {
        ids(&self.read(stream, kind).await)
    }

    pub(super) async fn close(&self, stream: StreamId, keep: bool) -> Answer {
        self.execute(StoreOp::Close { stream, keep }).await
    }

    /// Orphans by id, the number of streams, and that of foreign ones.
    pub(super) async fn list(&self, space: Space) -> (Vec<Orphan>, usize, usize) {
        match self.execute(StoreOp::List { space }).await {
            Ok(StoreAnswer::Orphans { mut orphans, streams, foreign, complete: true }) => {
                orphans.sort_by_key(|orphan| orphan.stream);
                (orphans, streams, foreign)
            }
            answer => panic!("list: {answer:?}"),
        }
    }
}

/// A write in the making: registers, with a long lease.
#[derive(Clone)]
pub(super) struct Draft(pub(super) Write);

impl Draft {
    pub(super) fn new(stream: StreamId) -> Self {
        Self(Write { stream, register: true, lease: LONG, logs: ByKind::default(), notes: Vec::new() })
    }

    pub(super) fn unregistered(mut self) -> Self {
        self.0.register = false;
        self
    }

    pub(super) fn lease(mut self, lease: Duration) -> Self {
        self.0.lease = lease;
        self
    }

    pub(super) fn expect(mut self, kind: Kind, last: u64) -> Self {
        self.log(kind).expected = Some(Seq::from_u64(last));
        self
    }

    /// Appends blocks that tell their id and kind.
    pub(super) fn append(mut self, kind: Kind, ids: impl IntoIterator<Item = u64>) -> Self {
        self.log(kind).append.extend(ids.into_iter().map(|id| block(kind, id)));
        self
    }

    pub(super) fn append_bytes(mut self, kind: Kind, id: u64, bytes: &[u8]) -> Self {
        self.log(kind).append.push(Block { id: Seq::from_u64(id), bytes: bytes.into() });
        self
    }

    pub(super) fn remove(mut self, kind: Kind, ids: impl IntoIterator<Item = u64>) -> Self {
        self.log(kind).remove.extend(ids.into_iter().map(Seq::from_u64));
        self
    }

    pub(super) fn note(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.notes.push(note(name, value));
        self
    }

    pub(super) fn forget(mut self, name: &str) -> Self {
        self.0.notes.push(Note { name: name.into(), value: None });
        self
    }

    fn log(&mut self, kind: Kind) -> &mut LogWrite {
        &mut self.0.logs[kind]
    }
}

pub(super) fn block(kind: Kind, id: u64) -> Block {
    Block { id: Seq::from_u64(id), bytes: format!("{kind} {id}").into_bytes().into() }
}

pub(super) fn ids(blocks: &[Block]) -> Vec<u64> {
    blocks.iter().map(|block| block.id.as_u64()).collect()
}

pub(super) fn note(name: &str, value: impl AsRef<[u8]>) -> Note {
    Note { name: name.into(), value: Some(value.as_ref().into()) }
}

pub(super) fn adopted(notes: impl IntoIterator<Item = Note>) -> Answer {
    Ok(StoreAnswer::Adopted { notes: notes.into_iter().collect(), lost_logs: 0 })
}

pub(super) fn diverged(events: u64, metrics: u64) -> Answer {
    let last = ByKind { events: Seq::from_u64(events), metrics: Seq::from_u64(metrics) };
    Ok(StoreAnswer::Diverged { last })
}

#[track_caller]
pub(super) fn assert_fenced(answer: Answer) {
    match answer {
        Err(StoreError { kind: StoreErrorKind::Fenced, .. }) => {}
        other => panic!("not fenced: {other:?}"),
    }
}
