//! The file journal among real processes and on real file systems.
//!
//! The children are this test binary, told by an environment variable to be one.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::env;
use std::io::{BufRead, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use guard_agent_proto::shell::{FileStore, Store};
use guard_agent_proto::store::{
    Block, LogWrite, Orphan, OwnerId, Space, StoreAnswer, StoreError, StoreErrorKind, StoreOp, StoreRequest,
    StreamId, Write,
};
use guard_agent_proto::{ByKind, Kind, Seq, StoreOpId};
use guard_agent_tests::scratch::Scratch;

const SPACE: Space = Space::new(0);
const STREAM: StreamId = StreamId::new(SPACE, 1);
/// Names the directory to a child.
const DIR: &str = "GUARD_AGENT_TEST_JOURNAL";
/// Blocks that the child of the kill test leaves behind the newest one.
const KEPT: u64 = 5;
const HANG_GUARD: Duration = Duration::from_secs(60);

struct Agent {
    store: FileStore,
    owner: OwnerId,
}

impl Agent {
    fn new(dir: &Path, owner: u64) -> Self {
        Self { store: FileStore::open(dir).unwrap(), owner: OwnerId::from_u64(owner) }
    }

    async fn execute(&self, op: StoreOp) -> Result<StoreAnswer, StoreError> {
        let (id, timeout) = (StoreOpId::from_u64(1), HANG_GUARD);
        self.store.execute(StoreRequest { id, owner: self.owner, op, timeout }).await
    }

    async fn write(&self, append: Option<Block>, remove: Vec<u64>) -> Result<StoreAnswer, StoreError> {
        let remove = remove.into_iter().map(Seq::from_u64).collect();
        let events = LogWrite { expected: None, append: append.into_iter().collect(), remove };
        let logs = ByKind { events, metrics: LogWrite::default() };
        let (register, lease) = (true, Duration::ZERO);
        self.execute(StoreOp::Write(Write { stream: STREAM, register, lease, logs, notes: vec![] })).await
    }

    async fn adopt(&self) -> Result<StoreAnswer, StoreError> {
        self.execute(StoreOp::Adopt { stream: STREAM, lease: Duration::ZERO }).await
    }

    async fn is_orphan(&self) -> bool {
        match self.execute(StoreOp::List { space: SPACE }).await {
            Ok(StoreAnswer::Orphans { orphans, streams: 1, foreign: 0, complete: true }) => {
                orphans == [Orphan { stream: STREAM, released: true }]
            }
            answer => panic!("list: {answer:?}"),
        }
    }

    /// Ids of all events; each must hold what was written.
    async fn ids(&self) -> Vec<u64> {
        let (kind, from, lease) = (Kind::Event, Seq::from_u64(1), Duration::ZERO);
        match self.execute(StoreOp::Read { stream: STREAM, kind, from, limit: usize::MAX, lease }).await {
            Ok(StoreAnswer::Blocks { blocks, .. }) => {
                assert!(blocks.iter().all(|read| *read == block(read.id.as_u64(), read.bytes.len())));
                blocks.iter().map(|block| block.id.as_u64()).collect()
            }
            answer => panic!("read: {answer:?}"),
        }
    }
}

fn block(id: u64, length: usize) -> Block {
    Block { id: Seq::from_u64(id), bytes: vec![id as u8; length].into() }
}

/// This binary, once more, with that test alone.
fn child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(DIR, dir);
    command
}

fn is_child() -> Option<Agent> {
    env::var_os(DIR).map(|dir| Agent::new(dir.as_ref(), u64::from(std::process::id())))
}

/// Appends and removes until it is killed, and says what was acknowledged.
async fn append_for_ever(agent: Agent) {
    for id in 1.. {
        let length = 37 * (id as usize % 1500);
        let answer =
            agent.write(Some(block(id, length)), (1..=id.saturating_sub(KEPT)).rev().take(1).collect());
        assert_eq!(answer.await, Ok(StoreAnswer::Done));
        let mut stdout = std::io::stdout();
        writeln!(stdout, "\nacknowledged {id}").and_then(|()| stdout.flush()).unwrap();
    }
}

struct Acknowledged(Lines<BufReader<ChildStdout>>);

impl Acknowledged {
    fn of(child: &mut Child) -> Self {
        Self(BufReader::new(child.stdout.take().unwrap()).lines())
    }
}

impl Iterator for Acknowledged {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let prefix = "acknowledged ";
        self.0.find_map(|line| line.ok()?.strip_prefix(prefix)?.parse().ok())
    }
}

#[tokio::test]
async fn what_was_acknowledged_before_a_kill_is_adopted() {
    if let Some(agent) = is_child() {
        return append_for_ever(agent).await;
    }
    let scratch = Scratch::new().unwrap();
    let mut last = 0;
    for (round, acknowledged) in [1, 2, 17, 150, 400, 900].into_iter().enumerate() {
        let dir = scratch.path().join(round.to_string());
        let adopter = Agent::new(&dir, 1);
        let mut child = child("what_was_acknowledged_before_a_kill_is_adopted", &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledgements = Acknowledged::of(&mut child);
        for expected in 1..=acknowledged {
            assert_eq!(acknowledgements.next(), Some(expected));
        }
        assert!(!adopter.is_orphan().await, "its owner lives");
        assert_eq!(adopter.adopt().await.unwrap_err().kind, StoreErrorKind::Fenced);
        child.kill().unwrap();
        child.wait().unwrap();

        let acknowledged = acknowledgements.last().unwrap_or(acknowledged);
        assert!(adopter.is_orphan().await);
        assert_eq!(adopter.adopt().await, Ok(StoreAnswer::Adopted { notes: vec![], lost_logs: 0 }));
        let ids = adopter.ids().await;
        let expected = |last: u64| -> Vec<u64> { (last.saturating_sub(KEPT) + 1..=last).collect() };
        // The operation that was under way took effect, or it did not.
        assert!(
            ids == expected(acknowledged) || ids == expected(acknowledged + 1),
            "{acknowledged}: {ids:?}"
        );
        last = last.max(acknowledged);
    }
    assert!(last >= 900);
}

const LENGTH: usize = 40_000;

/// Appends blocks until the store has no room.
async fn fill(agent: &Agent, mut id: u64) -> u64 {
    loop {
        match agent.write(Some(block(id, LENGTH)), vec![]).await {
            Ok(StoreAnswer::Done) => id += 1,
            Err(error) if error.kind == StoreErrorKind::Full => return id,
            answer => panic!("write: {answer:?}"),
        }
        assert!(id < 1000, "it is never full");
    }
}

/// To be run where there are 2 MiB.
async fn fill_a_disk(agent: Agent) {
    let dir = agent.store.path().to_path_buf();
    std::fs::write(dir.join("ballast"), vec![0; 300_000]).unwrap();
    let first = fill(&agent, 1).await;
    assert!(first > 20, "{first} blocks fit");
    assert_eq!(agent.ids().await, (1..first).collect::<Vec<_>>(), "what was acknowledged can be read");
    assert_eq!(fill(&agent, first).await, first, "it stays full");

    std::fs::remove_file(dir.join("ballast")).unwrap();
    let second = fill(&agent, first).await;
    assert!(second > first + 3, "there was room for {}", second - first);
    assert_eq!(agent.ids().await, (1..second).collect::<Vec<_>>());

    // Removals find room where not a byte is left, one by one, and make some.
    let mut crumbs = std::fs::File::create(dir.join("crumbs")).unwrap();
    while crumbs.write_all(&[0; 512]).is_ok() {}
    for id in 1..second {
        assert_eq!(agent.write(None, vec![id]).await, Ok(StoreAnswer::Done));
    }
    std::fs::remove_file(dir.join("crumbs")).unwrap();
    let third = fill(&agent, second).await;
    assert!(third - second > 20, "there was room for {}", third - second);

    // The disk being full does not hinder the next one either.
    drop(agent);
    let adopter = Agent::new(&dir, 2);
    let start = Instant::now();
    while adopter.adopt().await.is_err() {
        assert!(start.elapsed() < HANG_GUARD);
        sleep(Duration::from_millis(1));
    }
    assert_eq!(adopter.ids().await, (second..third).collect::<Vec<_>>());
    assert_eq!(adopter.write(None, (second..third).collect()).await, Ok(StoreAnswer::Done));
    assert_eq!(adopter.execute(StoreOp::Close { stream: STREAM, keep: false }).await, Ok(StoreAnswer::Done));
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
}

/// Needs the right to mount: that of an administrator, or of a user in a name space of its own. Where there is
/// neither, the test below is what remains.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_reported_and_survived() {
    if let Some(agent) = is_child() {
        return fill_a_disk(agent).await;
    }
    const NO_MOUNT: i32 = 77;
    let scratch = Scratch::new().unwrap();
    let script =
        format!("mount -t tmpfs -o size=2m,mode=700 tmpfs \"${DIR}\" || exit {NO_MOUNT}; exec \"$@\"");
    let test = child("a_full_disk_is_reported_and_survived", scratch.path());
    let mut isolated = Command::new("unshare");
    isolated.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]);
    isolated.arg(test.get_program()).args(test.get_args()).env(DIR, scratch.path());
    let status = isolated.status().unwrap();
    if [Some(1), Some(NO_MOUNT)].contains(&status.code()) {
        eprintln!("cannot mount a small disk: only a limit on files was tested");
    } else {
        assert!(status.success(), "{status}");
    }
}

/// To be run where a file may have 256 KiB.
async fn fill_files(agent: Agent) {
    let mut id = 1;
    for _ in 0..5 {
        let full = fill(&agent, id).await;
        assert_eq!(agent.ids().await, (1..full).collect::<Vec<_>>());
        assert!(full >= id + 5, "{} blocks fit", full - id);
        id = full;
    }
    assert_eq!(agent.write(None, (1..id).collect()).await, Ok(StoreAnswer::Done));
    assert!(agent.ids().await.is_empty());
}

#[tokio::test]
async fn a_file_that_may_not_grow_is_reported_and_survived() {
    if let Some(agent) = is_child() {
        return fill_files(agent).await;
    }
    let scratch = Scratch::new().unwrap();
    let test = child("a_file_that_may_not_grow_is_reported_and_survived", scratch.path());
    let mut limited = Command::new("sh");
    // The unit is 512 bytes, or 1,024 in some shells; the signal would kill.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$@\"", "sh"]);
    limited.arg(test.get_program()).args(test.get_args()).env(DIR, scratch.path());
    let status = limited.status().unwrap();
    assert!(status.success(), "{status}");
}
