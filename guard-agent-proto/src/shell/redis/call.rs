use core::fmt;
use std::string::{String, ToString};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use ::redis::{Cmd, Script, cmd};

use super::keys::Keys;
use super::reply::EntryId;
use crate::store::{LogWrite, OwnerId, StreamId, Write};
use crate::{Kind, Seq};

/// How long an adoption is remembered: longer than any owner sleeps.
const MARK: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Most notes of a stream, most bytes of one and of all of them. A block has one at most, and so has a batch.
const MOST_NOTES: usize = 1 << 16;
const LARGEST_NOTE: usize = 256 << 10;
const NOTES: usize = 16 << 20;

/// Most bytes of a block, and how many bytes of them are enough for one reply.
const LARGEST_BLOCK: usize = 8 << 20;
const ENOUGH: usize = 8 << 20;

/// What notes are called among the fields of a hash that holds fields of our own too.
pub(super) const NOTE_PREFIX: &str = "note:";

/// A script with its keys and arguments.
pub(super) struct Call {
    program: &'static Program,
    keys: Vec<String>,
    args: Vec<Arg>,
}

enum Arg {
    Text(String),
    Bytes(Arc<[u8]>),
}

/// A script, and the name by which a server knows it.
pub(super) struct Program {
    pub(super) code: &'static str,
    hash: LazyLock<String>,
}

macro_rules! program {
    ($file:literal) => {{
        const CODE: &str = concat!(include_str!("scripts/lease.lua"), "\n", include_str!($file));
        Program { code: CODE, hash: LazyLock::new(|| Script::new(CODE).get_hash().to_string()) }
    }};
}

pub(super) static WRITE: Program = program!("scripts/write.lua");
pub(super) static ADOPT: Program = program!("scripts/adopt.lua");
pub(super) static READ: Program = program!("scripts/read.lua");
pub(super) static CLOSE: Program = program!("scripts/close.lua");

impl Call {
    pub(super) fn write(keys: &Keys, owner: OwnerId, write: Write) -> Self {
        let mut call = Self::on_both_logs(&WRITE, keys, write.stream, owner, write.lease);
        for log in [write.logs.events, write.logs.metrics] {
            call.log(log);
        }
        let (set, deleted): (Vec<_>, Vec<_>) = write.notes.into_iter().partition(|note| note.value.is_some());
        call.text(set.len());
        for note in set {
            call.text(format_args!("{NOTE_PREFIX}{}", note.name));
            call.args.extend(note.value.map(Arg::Bytes));
        }
        call.text(deleted.len());
        for note in deleted {
            call.text(format_args!("{NOTE_PREFIX}{}", note.name));
        }
        call
    }

    pub(super) fn adopt(keys: &Keys, owner: OwnerId, stream: StreamId, lease: Duration) -> Self {
        let mut call = Self::on_both_logs(&ADOPT, keys, stream, owner, lease);
        call.text(MARK.as_millis());
        for bound in [MOST_NOTES, LARGEST_NOTE, NOTES] {
            call.text(bound);
        }
        call
    }

    pub(super) fn read(
        keys: &Keys,
        owner: OwnerId,
        stream: StreamId,
        kind: Kind,
        from: Seq,
        limit: usize,
        lease: Duration,
    ) -> Self {
        let mut call = Self::on(&READ, keys, stream, &[kind], owner, lease);
        call.text(EntryId::of(from));
        for bound in [limit.max(1), LARGEST_BLOCK, ENOUGH] {
            call.text(bound);
        }
        call
    }

    pub(super) fn close(keys: &Keys, owner: OwnerId, stream: StreamId, keep: bool) -> Self {
        let mut call = Self::on_both_logs(&CLOSE, keys, stream, owner, Duration::ZERO);
        call.text(MARK.as_millis());
        call.text(if keep { "keep" } else { "delete" });
        call
    }

    /// The same reading, from a later entry on.
    pub(super) fn read_from(mut self, from: String) -> Self {
        const FROM: usize = 2;
        if let Some(arg) = self.args.get_mut(FROM) {
            *arg = Arg::Text(from);
        }
        self
    }

    /// By name if the server is expected to know it, otherwise in full.
    pub(super) fn command(&self, known: bool) -> Cmd {
        let mut command = if known {
            cmd("EVALSHA").arg(self.program.hash.as_str()).take()
        } else {
            cmd("EVAL").arg(self.program.code).take()
        };
        command.arg(self.keys.len()).arg(&self.keys);
        for arg in &self.args {
            match arg {
                Arg::Text(text) => command.arg(text),
                Arg::Bytes(bytes) => command.arg(&**bytes),
            };
        }
        command
    }

    fn on_both_logs(
        program: &'static Program,
        keys: &Keys,
        stream: StreamId,
        owner: OwnerId,
        lease: Duration,
    ) -> Self {
        Self::on(program, keys, stream, &Kind::ALL, owner, lease)
    }

    fn on(
        program: &'static Program,
        keys: &Keys,
        stream: StreamId,
        kinds: &[Kind],
        owner: OwnerId,
        lease: Duration,
    ) -> Self {
        let mut names = vec![keys.lease(stream), keys.mark(stream), keys.notes(stream)];
        names.extend(kinds.iter().map(|kind| keys.log(stream, *kind)));
        let mut call = Self { program, keys: names, args: Vec::new() };
        call.text(owner);
        // Redis takes no lease of nothing.
        call.text(lease.as_millis().max(1));
        call
    }

    fn log(&mut self, log: LogWrite) {
        self.text(log.expected.map(|seq| seq.to_string()).unwrap_or_default());
        self.text(log.append.len());
        for block in log.append {
            self.text(block.id);
            self.args.push(Arg::Bytes(block.bytes));
        }
        self.text(log.remove.len());
        for seq in log.remove {
            self.text(EntryId::of(seq));
        }
    }

    fn text(&mut self, arg: impl ToString) {
        self.args.push(Arg::Text(arg.to_string()));
    }
}

impl fmt::Debug for Call {
    /// Sizes only: a record may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({:?}, {} arguments)", self.keys, self.args.len())
    }
}
