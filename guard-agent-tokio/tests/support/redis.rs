//! Agents' side of a journal in Redis, operation by operation.
#![allow(dead_code, unreachable_pub, reason = "shared by several tests")]

use std::time::Duration;

use guard_agent_proto::shell::Store as _;
use guard_agent_tokio::store::{
    Block, LogWrite, Note, OwnerId, Space, StoreAnswer, StoreError, StoreErrorKind, StoreOp, StoreRequest,
    StreamId, Write,
};
use guard_agent_tokio::{AgentConfig, ByKind, Kind, RedisOptions, RedisStore, Seq, StoreOpId};

pub type Answer = Result<StoreAnswer, StoreError>;

pub const SPACE: Space = Space::new(0);
pub const STREAM: StreamId = StreamId::new(SPACE, 1);
pub const LONG: Duration = Duration::from_secs(600);
/// Lapses while a test waits for it.
pub const SHORT: Duration = Duration::from_millis(30);
/// What operations are given; only a guard against hanging.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One run of an agent.
pub struct Agent {
    pub store: RedisStore,
    pub owner: OwnerId,
    pub lease: Duration,
}

impl Agent {
    pub fn new(url: &str, owner: u64) -> Self {
        let config = AgentConfig::builder("key-of-the-project").redis_url(url).build().unwrap();
        Self::with(&RedisOptions::new(&config), owner)
    }

    pub fn with(options: &RedisOptions, owner: u64) -> Self {
        let store = RedisStore::new(options).unwrap();
        Self { store, owner: OwnerId::from_u64(owner), lease: LONG }
    }

    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    pub async fn ask(&self, op: StoreOp) -> Answer {
        self.ask_within(PATIENCE, op).await
    }

    /// As the driver does: the call is dropped when its time is over.
    pub async fn ask_within(&self, timeout: Duration, op: StoreOp) -> Answer {
        let request = StoreRequest { id: StoreOpId::from_u64(1), owner: self.owner, op, timeout };
        tokio::time::timeout(timeout, self.store.execute(request))
            .await
            .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::TimedOut, "dropped")))
    }

    pub async fn write(&self, write: Write) -> Answer {
        self.ask(StoreOp::Write(write)).await
    }

    pub fn new_write(&self) -> Write {
        Write {
            stream: STREAM,
            register: false,
            lease: self.lease,
            logs: ByKind::default(),
            notes: Vec::new(),
        }
    }

    /// Appends events.
    pub async fn append(&self, expected: u64, ids: &[u64]) -> Answer {
        self.write(self.new_append(expected, ids)).await
    }

    pub fn new_append(&self, expected: u64, ids: &[u64]) -> Write {
        let mut write = self.new_write();
        write.logs.events = LogWrite { expected: seq(expected), append: blocks(ids), remove: Vec::new() };
        write
    }

    /// Renews the lease, and is told if the stream is another's.
    pub async fn renew(&self) -> Answer {
        self.write(self.new_write()).await
    }

    pub async fn adopt(&self) -> Answer {
        self.ask(StoreOp::Adopt { stream: STREAM, lease: self.lease }).await
    }

    pub async fn close(&self, keep: bool) -> Answer {
        self.ask(StoreOp::Close { stream: STREAM, keep }).await
    }

    pub async fn list(&self) -> Answer {
        self.ask(StoreOp::List { space: SPACE }).await
    }

    pub async fn read(&self, kind: Kind, from: u64, limit: usize) -> Answer {
        let from = Seq::from_u64(from);
        self.ask(StoreOp::Read { stream: STREAM, kind, from, limit, lease: self.lease }).await
    }

    /// The ids of all events.
    pub async fn events(&self) -> Vec<u64> {
        let answer = self.read(Kind::Event, 0, 1_000).await;
        let Ok(StoreAnswer::Blocks { blocks, .. }) = answer else { panic!("{answer:?}") };
        assert!(blocks.iter().all(|block| *block.bytes == *content(block.id.as_u64())));
        blocks.iter().map(|block| block.id.as_u64()).collect()
    }
}

pub fn seq(id: u64) -> Option<Seq> {
    Some(Seq::from_u64(id))
}

pub fn seqs(ids: &[u64]) -> Vec<Seq> {
    ids.iter().copied().map(Seq::from_u64).collect()
}

pub fn blocks(ids: &[u64]) -> Vec<Block> {
    ids.iter().map(|id| Block { id: Seq::from_u64(*id), bytes: content(*id).into() }).collect()
}

/// Bytes that are no text, and differ by id.
pub fn content(id: u64) -> Vec<u8> {
    let mut bytes = b"\0\r\n$-1\xff\xfe".to_vec();
    bytes.extend(id.to_be_bytes());
    bytes
}

pub fn note(name: &str, value: &[u8]) -> Note {
    Note { name: name.to_owned(), value: Some(value.into()) }
}

pub fn no_note(name: &str) -> Note {
    Note { name: name.to_owned(), value: None }
}

pub fn diverged(events: u64, metrics: u64) -> Answer {
    let last = ByKind { events: Seq::from_u64(events), metrics: Seq::from_u64(metrics) };
    Ok(StoreAnswer::Diverged { last })
}

pub const DONE: Answer = Ok(StoreAnswer::Done);

#[track_caller]
pub fn assert_failed(answer: &Answer, kind: StoreErrorKind) {
    match answer {
        Err(error) if error.kind == kind => {
            assert!(error.message.len() <= 200 && !error.message.contains(char::is_control), "{error}");
        }
        Ok(_) | Err(_) => panic!("expected: {kind}, but: {answer:?}"),
    }
}

/// The name of a key of the stream.
pub fn key(part: &str) -> String {
    format!("{{guard:agent:{STREAM}}}:{part}")
}
