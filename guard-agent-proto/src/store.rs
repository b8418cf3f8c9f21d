//! What a journal store is asked to do, and what it answers.
//!
//! A store keeps *streams*. A stream belongs to one run of an agent, its *owner*, as long as the owner renews
//! the stream's *lease*; afterwards another agent may adopt it, which fences the first one off for ever. A
//! stream holds two *logs*, one for events and one for metrics, each a sequence of immutable [`Block`]s with
//! ascending ids, and a few small *notes* by name. What is in a block or a note is the core's affair; to a
//! store they are bytes.
//!
//! Each operation is atomic and may be repeated without harm: a reply that got lost costs nothing but the
//! repetition. The core makes one operation at a time.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

pub use crate::journal::{BlockReader, StoredRecord};
use crate::{ByKind, Kind, Seq, StoreOpId};

/// One operation. Answer it with [`Input::StoreReply`](crate::Input).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRequest {
    /// Carried back by the answer.
    pub id: StoreOpId,
    /// Who asks: the same for every operation of this run of the agent, random.
    pub owner: OwnerId,
    /// What to do.
    pub op: StoreOp,
    /// Total time; when it is over, answer with [`StoreErrorKind::TimedOut`].
    pub timeout: Duration,
}

/// What a journal store must do. Everything but [`List`](Self::List) and [`Adopt`](Self::Adopt) is refused
/// with [`StoreErrorKind::Fenced`] when the stream is not the owner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOp {
    /// Changes a stream: all of it, durably, or nothing.
    Write(Write),
    /// Finds streams that nobody owns. Answered by [`StoreAnswer::Orphans`].
    List {
        /// The space to look in; other spaces are counted alone.
        space: Space,
    },
    /// Becomes the owner of a stream that nobody owns, and sees its notes. Answered by
    /// [`StoreAnswer::Adopted`], also if the stream turns out not to exist or is ours already, and by
    /// [`StoreErrorKind::Fenced`] if another owner's lease is running.
    ///
    /// From now on the store remembers, for longer than any suspended owner may sleep, that the stream was
    /// adopted: its first owner is fenced off even when the lease runs out and the stream is gone.
    Adopt {
        /// The orphan.
        stream: StreamId,
        /// How long the lease runs from now on.
        lease: Duration,
    },
    /// Reads blocks of a log, in ascending order. Renews the lease. Answered by [`StoreAnswer::Blocks`].
    Read {
        /// Our own stream or an adopted one.
        stream: StreamId,
        /// Which of its logs.
        kind: Kind,
        /// The lowest id wanted.
        from: Seq,
        /// Most blocks wanted, at least 1.
        limit: usize,
        /// How long the lease runs from now on.
        lease: Duration,
    },
    /// Gives a stream up. Answered by [`StoreAnswer::Done`], also if it does not exist.
    Close {
        /// Our own stream or an adopted one.
        stream: StreamId,
        /// Whether its content stays: then it is an orphan at once, marked as released, and made known. Otherwise it is
        /// deleted with all that belongs to it, except for the mark of an adoption.
        keep: bool,
    },
}

/// Changes to a stream, made together or not at all.
///
/// In this order:
/// 1. If the stream is another owner's, be the lease running or not: [`StoreErrorKind::Fenced`], and nothing is
///    changed. Only an adoption makes it somebody else's; whoever writes to a new one first owns it.
/// 2. If the lease has run out and nobody adopted the stream, it is the owner's again.
/// 3. If a log is not where [`LogWrite::expected`] says: [`StoreAnswer::Diverged`], and nothing is changed but
///    the lease.
/// 4. The lease is renewed, blocks are appended and removed, notes are set and deleted; [`StoreAnswer::Done`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Our own stream or an adopted one.
    pub stream: StreamId,
    /// The stream may be unknown to those that look for orphans: make it known first. Without harm if it is
    /// known. When the write is then refused, the name may stay known until somebody adopts and closes the
    /// empty stream.
    pub register: bool,
    /// How long the lease runs from now on, by the store's clock.
    pub lease: Duration,
    /// What happens to the logs.
    pub logs: ByKind<LogWrite>,
    /// Notes to set or to delete.
    pub notes: Vec<Note>,
}

impl Write {
    /// Whether it appends anything. A store without room must carry out what does not.
    #[must_use]
    pub fn appends(&self) -> bool {
        Kind::ALL.iter().any(|kind| !self.logs[*kind].append.is_empty())
    }
}

/// Changes to a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogWrite {
    /// The highest id that was ever appended to it, 0 for none; `None` if that does not matter. A log that
    /// holds the last block of `append` as its highest id already has had this very operation: its blocks
    /// are not appended again, and that is no divergence.
    pub expected: Option<Seq>,
    /// In ascending order of ids, each higher than `expected`.
    pub append: Vec<Block>,
    /// Ids of blocks to remove, ascending; absent ones are no error.
    pub remove: Vec<Seq>,
}

/// Records of one kind, encoded by the core.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// Its place in the log: that of its last record.
    pub id: Seq,
    /// Opaque to the store, at most about 256 KiB unless a single record is larger.
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for Block {
    /// Sizes only: a record may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({}, {} bytes)", self.id, self.bytes.len())
    }
}

/// A small value by name, beside the logs of a stream.
#[derive(Clone, PartialEq, Eq)]
pub struct Note {
    /// Up to 64 printable ASCII characters.
    pub name: String,
    /// Opaque to the store; `None` deletes it.
    pub value: Option<Arc<[u8]>>,
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Note({}, {:?} bytes)", self.name, self.value.as_ref().map(|value| value.len()))
    }
}

/// The answer to a store operation that worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAnswer {
    /// It is done, and durable.
    Done,
    /// A log is not where it was expected: the store lost writes that it had acknowledged, or another one
    /// wrote. Nothing was changed.
    Diverged {
        /// The highest id that was ever appended, per log; 0 for none.
        last: ByKind<Seq>,
    },
    /// What [`StoreOp::List`] found.
    Orphans {
        /// Streams of the space that nobody owns.
        orphans: Vec<Orphan>,
        /// All known streams of the space that were looked at, those with an owner included.
        streams: usize,
        /// Known streams of other spaces: of other versions of the agent, or with another encryption key.
        foreign: usize,
        /// Whether all streams were looked at. A store that knows very many looks at some in each operation, at the next
        /// ones in the next, so that nothing waits long for it; then `foreign` says nothing.
        complete: bool,
    },
    /// The stream is ours now.
    Adopted {
        /// All its notes.
        notes: Vec<Note>,
        /// How many of its logs are gone, with all that was appended to them and not removed, as far as the
        /// store can tell.
        lost_logs: u64,
    },
    /// What was read.
    Blocks {
        /// In ascending order of ids; none at the end of the log.
        blocks: Vec<Block>,
        /// Entries in between that have not the shape of a block: somebody else wrote them.
        skipped: u64,
    },
}

/// A stream without an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Which one.
    pub stream: StreamId,
    /// The owner gave it up or is known to be gone; otherwise its lease ran out, and it may only be late.
    pub released: bool,
}

/// A store operation that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// What went wrong, as far as the core cares.
    pub kind: StoreErrorKind,
    /// One line for people, without secrets.
    pub message: Cow<'static, str>,
}

impl StoreError {
    /// An error of that kind.
    pub fn new(kind: StoreErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl core::error::Error for StoreError {}

/// Kinds of store failure. All but [`Fenced`](Self::Fenced) mean: try again later.
///
/// After [`Unreachable`](Self::Unreachable), [`TimedOut`](Self::TimedOut), [`Denied`](Self::Denied) and
/// [`Other`](Self::Other) nobody knows whether the operation took effect. Any other kind says that it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The stream belongs to somebody else, who adopted it. An agent that held the lease a moment ago, when nobody adopts
    /// anything, does not believe that: it goes on with another stream, and what is in its memory.
    Fenced,
    /// It cannot be reached, or the connection was lost.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// It is still loading its data.
    Loading,
    /// It has no memory or no space left for what a write appends. All else it must do: that makes room.
    Full,
    /// It takes no writes: a replica, or a cluster without a quorum.
    ReadOnly,
    /// Credentials are missing, wrong, or not enough.
    Denied,
    /// A key of ours holds another program's data.
    WrongType,
    /// Another server of the cluster is in charge and could not be found.
    Moved,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// Whether the store did nothing of what it was asked for.
    pub(crate) const fn is_refusal(self) -> bool {
        match self {
            Self::Fenced | Self::Loading | Self::Full | Self::ReadOnly | Self::WrongType | Self::Moved => {
                true
            }
            // A script of Redis that may not use a command ends there, after what came before.
            Self::Unreachable | Self::TimedOut | Self::Denied | Self::Other => false,
        }
    }

    /// Whether any other operation is likely to meet the same.
    pub(crate) const fn is_of_everything(self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut | Self::Loading | Self::Denied | Self::Moved => true,
            Self::Fenced | Self::Full | Self::ReadOnly | Self::WrongType | Self::Other => false,
        }
    }

    /// Whether the same operation may well succeed with another stream.
    pub(crate) const fn may_be_of_one_stream(self) -> bool {
        match self {
            // Permissions may be those of a name, or of a directory.
            Self::Denied | Self::WrongType | Self::Other => true,
            Self::Fenced
            | Self::Unreachable
            | Self::TimedOut
            | Self::Loading
            | Self::Full
            | Self::ReadOnly
            | Self::Moved => false,
        }
    }

    /// In a few words, for status and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Loading => "loading its data",
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Denied => "access denied",
            Self::WrongType => "a key holds another program's data",
            Self::Moved => "moved to another server",
            Self::Other => "failing",
        }
    }
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Identity of one run of an agent, as the holder of leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(u64);

impl OwnerId {
    /// The id with that number.
    #[must_use]
    pub const fn from_u64(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Streams that can be read by the same agents: those of one format, with one encryption key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space {
    /// Fingerprint of the encryption key; 0 without one.
    key: u32,
}

impl Space {
    /// Version of the format of blocks and notes.
    const FORMAT: &'static str = "v2";

    /// The space of that key's fingerprint.
    #[must_use]
    pub const fn new(key: u32) -> Self {
        Self { key }
    }
}

/// Identity of a stream: one per run of an agent, random, never reused.
///
/// Its text form, for example `v2-00000000-00c0ffee00c0ffee`, is made for names of keys and folders; it begins
/// with that of its [`Space`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    space: Space,
    id: u64,
}

impl StreamId {
    /// The stream with that number in that space.
    #[must_use]
    pub const fn new(space: Space, id: u64) -> Self {
        Self { space, id }
    }

    /// The space it belongs to.
    #[must_use]
    pub const fn space(self) -> Space {
        self.space
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}-{:016x}", Space::FORMAT, self.space.key, self.id)
    }
}

impl FromStr for StreamId {
    type Err = ForeignStream;

    fn from_str(name: &str) -> Result<Self, ForeignStream> {
        let parse = || {
            let (key, id) = name.strip_prefix(Space::FORMAT)?.strip_prefix('-')?.split_once('-')?;
            let key = u32::from_str_radix(key, 16).ok()?;
            Some(Self::new(Space::new(key), u64::from_str_radix(id, 16).ok()?))
        };
        // What is written in another way than ours is somebody else's.
        parse().filter(|stream| *stream.to_boxed_str() == *name).ok_or(ForeignStream)
    }
}

impl StreamId {
    fn to_boxed_str(self) -> Box<str> {
        alloc::format!("{self}").into_boxed_str()
    }
}

/// The name is not that of a stream of this version of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignStream;

impl fmt::Display for ForeignStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a stream of this version of the agent")
    }
}

impl core::error::Error for ForeignStream {}
