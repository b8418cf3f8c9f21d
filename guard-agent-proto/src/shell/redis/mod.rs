//! The journal in Redis: what to send, and what the replies mean. A [`RedisClient`] brings the connections.
//!
//! A stream `S` under the prefix `P` is five keys with one hash tag, so that a cluster keeps them together:
//!
//! * `{P:S}:e` and `{P:S}:m`, the logs of events and metrics: Redis streams; entry `<id>-0` holds a block in
//!   its field `b`.
//! * `{P:S}:l`, the lease: its owner, with an expiry.
//! * `{P:S}:n`, a hash: notes, the stream's owner, the highest id ever appended to each log, and whether the
//!   stream is released.
//! * `{P:S}:a`, the mark of an adoption: the last adopter, for 30 days.
//!
//! The set `P:streams` names the streams. It is only a hint, and in a cluster in a place of its own.
//!
//! Others may write there too, so nothing is asked for whose size is not bounded by the question: names come in pieces and
//! by their shape, and a script sends neither an entry nor a note that is larger than any of ours. A listing looks at some
//! thousand streams, and the next one goes on from there.
//!
//! Changes to a stream are scripts, which Redis runs as a whole. Every command and option exists in Redis 6.0
//! and in Redis Cluster.

use core::fmt;
use std::vec;
use std::vec::Vec;

use ::redis::{Cmd, RedisResult, Value};

use self::call::Call;
use self::keys::Keys;
use self::reply::Verdict;
use self::search::Search;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreOp, StoreRequest, StreamId};

mod address;
#[cfg(any(feature = "redis-smol", feature = "redis-tokio"))]
mod asynchronous;
mod call;
mod error;
mod keys;
mod reply;
mod search;
mod store;
mod target;
#[cfg(test)]
mod tests;

pub use address::{Address, Sentinels};
#[cfg(any(feature = "redis-smol", feature = "redis-tokio"))]
pub use asynchronous::AsyncRedis;
pub use error::store_error;
pub use search::SearchPlace;
pub use store::{RedisClient, RedisStore};
pub use target::Target;

/// One store operation, as far as it has come.
///
/// ```
/// use core::time::Duration;
///
/// # use guard_agent_proto::StoreOpId;
/// # use guard_agent_proto::shell::redis::{Conversation, SearchPlace, Turn};
/// # use guard_agent_proto::store::{OwnerId, Space, StoreAnswer, StoreOp, StoreRequest};
/// use redis::Value;
///
/// let op = StoreOp::List { space: Space::new(0) };
/// let (id, owner) = (StoreOpId::from_u64(1), OwnerId::from_u64(7));
/// let request = StoreRequest { id, owner, op, timeout: Duration::from_secs(5) };
///
/// let place = SearchPlace::default();
/// let Turn::Send(commands, conversation) = Conversation::open("guard:agent", &place, request) else { panic!() };
/// assert_eq!(commands[0].get_packed_command(), b"*2\r\n$5\r\nSCARD\r\n$19\r\nguard:agent:streams\r\n");
/// let names = Value::Array(vec![Value::BulkString(b"0".to_vec()), Value::Array(vec![])]);
/// let Turn::End(answer) = conversation.hear(vec![Ok(Value::Int(0)), Ok(names)]) else { panic!() };
/// assert_eq!(answer, Ok(StoreAnswer::Orphans { orphans: vec![], streams: 0, foreign: 0, complete: true }));
/// ```
#[derive(Debug)]
pub struct Conversation {
    keys: Keys,
    waiting: Waiting,
}

/// What comes next.
#[must_use]
pub enum Turn {
    /// Send these, together and in this order, or each to the server of a cluster that is in charge of its key.
    /// [`hear`](Conversation::hear) takes the replies.
    Send(Vec<Cmd>, Conversation),
    /// The operation is over.
    End(Result<StoreAnswer, StoreError>),
}

impl fmt::Debug for Turn {
    /// Commands by their number alone: a record may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(commands, conversation) => write!(f, "Send({}, {conversation:?})", commands.len()),
            Self::End(result) => f.debug_tuple("End").field(result).finish(),
        }
    }
}

/// Whose replies are awaited.
#[derive(Debug)]
enum Waiting {
    /// The stream's name is being made known; then comes the script, and whether it needs memory.
    Registered(Call, bool),
    Script(Script),
    /// How many streams there are, and names of some, are being read.
    FirstNames(Search),
    /// Names of some more.
    Names(Search),
    /// The states of some streams are being read.
    States(Search),
    /// The name of a stream that is given up is being forgotten, or made known again.
    Named {
        keep: bool,
    },
}

/// A script that runs.
#[derive(Debug)]
struct Script {
    call: Call,
    /// The server was expected to know it.
    known: bool,
    then: Then,
}

#[derive(Debug)]
enum Then {
    Written,
    Adopted,
    /// So many entries were skipped before.
    Read {
        skipped: u64,
    },
    Closed {
        stream: StreamId,
        keep: bool,
    },
}

impl Conversation {
    /// Begins an operation on streams whose names begin with `prefix`.
    pub fn open(prefix: &str, place: &SearchPlace, request: StoreRequest) -> Turn {
        let keys = Keys::new(prefix);
        let owner = request.owner;
        match request.op {
            StoreOp::Write(write) => {
                let register = write.register.then(|| keys.register(write.stream));
                let appends = write.appends();
                let call = Call::write(&keys, owner, write);
                match register {
                    Some(command) => keys.send(vec![command], Waiting::Registered(call, appends)),
                    None => keys.run(call, Then::Written),
                }
            }
            StoreOp::List { space } => {
                let search = Search::new(space, place);
                let commands = search.begin(&keys);
                keys.send(commands, Waiting::FirstNames(search))
            }
            StoreOp::Adopt { stream, lease } => {
                let call = Call::adopt(&keys, owner, stream, lease);
                keys.run(call, Then::Adopted)
            }
            StoreOp::Read { stream, kind, from, limit, lease } => {
                let call = Call::read(&keys, owner, stream, kind, from, limit, lease);
                keys.run(call, Then::Read { skipped: 0 })
            }
            StoreOp::Close { stream, keep } => {
                let call = Call::close(&keys, owner, stream, keep);
                keys.run(call, Then::Closed { stream, keep })
            }
        }
    }

    /// Takes one reply for each command, in their order. After one that could not be had, the rest may be left
    /// out.
    pub fn hear(self, replies: Vec<RedisResult<Value>>) -> Turn {
        self.go_on(replies).unwrap_or_else(|error| Turn::End(Err(error)))
    }

    fn go_on(self, replies: Vec<RedisResult<Value>>) -> Result<Turn, StoreError> {
        let Self { keys, waiting } = self;
        // Errors of the server come as values where commands were sent together.
        let mut replies = replies.into_iter().map(|reply| reply.and_then(Value::extract_error));
        let mut reply = || replies.next().unwrap_or_else(|| Err(reply::missing()));
        match waiting {
            Waiting::Registered(call, appends) => {
                match reply().map_err(|error| keys.error_of_streams(&error)) {
                    // What frees memory must not need any. A stream that has something to remove is known.
                    Err(error) if appends || error.kind != StoreErrorKind::Full => Err(error),
                    Ok(_) | Err(_) => Ok(keys.run(call, Then::Written)),
                }
            }
            Waiting::Script(script) => match reply() {
                Ok(value) => script.conclude(keys, value),
                Err(error) if script.known && error::is_unknown_script(&error) => {
                    Ok(keys.send_script(Script { known: false, ..script }))
                }
                Err(error) => Err(store_error(&error)),
            },
            Waiting::FirstNames(mut search) => {
                search.hear_count(&reply().map_err(|error| keys.error_of_streams(&error))?)?;
                keys.hear_names(search, reply())
            }
            Waiting::Names(search) => keys.hear_names(search, reply()),
            Waiting::States(mut search) => {
                search.hear(reply)?;
                Ok(keys.search(search))
            }
            Waiting::Named { keep } => match reply().map_err(|error| keys.error_of_streams(&error)) {
                // A server without memory refuses what it knows already, too.
                Err(error) if !keep || error.kind != StoreErrorKind::Full => Err(error),
                Ok(_) | Err(_) => Ok(Turn::End(Ok(StoreAnswer::Done))),
            },
        }
    }
}

impl Keys {
    fn send(self, commands: Vec<Cmd>, waiting: Waiting) -> Turn {
        Turn::Send(commands, Conversation { keys: self, waiting })
    }

    fn run(self, call: Call, then: Then) -> Turn {
        self.send_script(Script { call, known: true, then })
    }

    fn send_script(self, script: Script) -> Turn {
        self.send(vec![script.call.command(script.known)], Waiting::Script(script))
    }

    fn hear_names(self, mut search: Search, names: RedisResult<Value>) -> Result<Turn, StoreError> {
        let names = names.map_err(|error| self.error_of_streams(&error))?;
        Ok(match search.hear_names(names)? {
            Some(next) => {
                let command = self.names(next);
                self.send(vec![command], Waiting::Names(search))
            }
            None => self.search(search),
        })
    }

    fn search(self, mut search: Search) -> Turn {
        match search.ask(&self) {
            Some(commands) => self.send(commands, Waiting::States(search)),
            None => Turn::End(Ok(search.answer())),
        }
    }
}

impl Script {
    fn conclude(self, keys: Keys, value: Value) -> Result<Turn, StoreError> {
        let verdict = reply::verdict(value)?;
        let done = match verdict {
            Verdict::Done(values) => values,
            Verdict::Diverged(last) => return Ok(Turn::End(Ok(StoreAnswer::Diverged { last }))),
            Verdict::Fenced => {
                return Err(StoreError::new(
                    StoreErrorKind::Fenced,
                    "somebody else holds or adopted the stream",
                ));
            }
        };
        let answer = match self.then {
            Then::Written => StoreAnswer::Done,
            Then::Closed { stream, keep } => {
                let command = if keep { keys.register(stream) } else { keys.forget(stream) };
                return Ok(keys.send(vec![command], Waiting::Named { keep }));
            }
            Then::Adopted => reply::adopted(done)?,
            Then::Read { skipped } => {
                let page = reply::page(done)?;
                let skipped = skipped + page.skipped;
                match page.next {
                    // Not the end: an empty answer would say so.
                    Some(next) if page.blocks.is_empty() => {
                        return Ok(keys.run(self.call.read_from(next), Then::Read { skipped }));
                    }
                    Some(_) | None => StoreAnswer::Blocks { blocks: page.blocks, skipped },
                }
            }
        };
        Ok(Turn::End(Ok(answer)))
    }
}
