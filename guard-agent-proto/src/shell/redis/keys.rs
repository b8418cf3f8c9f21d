use std::format;
use std::string::{String, ToString as _};

use ::redis::{Cmd, RedisError, cmd};

use super::error::store_error;
use crate::Kind;
use crate::store::{StoreError, StoreErrorKind, StreamId};

/// What names of streams look like to Redis.
const SHAPE: &str = "v2-????????-????????????????";

/// Names that are looked at in one request, about: half a millisecond of the server.
const NAMES: usize = 2_048;

/// The names of all keys, and the commands that need no more than a name.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_string() }
    }

    pub(super) fn lease(&self, stream: StreamId) -> String {
        self.name(stream, "l")
    }

    pub(super) fn mark(&self, stream: StreamId) -> String {
        self.name(stream, "a")
    }

    pub(super) fn notes(&self, stream: StreamId) -> String {
        self.name(stream, "n")
    }

    pub(super) fn log(&self, stream: StreamId, kind: Kind) -> String {
        match kind {
            Kind::Event => self.name(stream, "e"),
            Kind::Metric => self.name(stream, "m"),
        }
    }

    fn name(&self, stream: StreamId, part: &str) -> String {
        format!("{{{}:{stream}}}:{part}", self.prefix)
    }

    fn streams(&self) -> String {
        format!("{}:streams", self.prefix)
    }

    /// Some of the names, from a place on. The server leaves out what does not look like one: another program may have put
    /// there what fits no memory.
    pub(super) fn names(&self, from: u64) -> Cmd {
        let mut command = cmd("SSCAN").arg(self.streams()).arg(from).take();
        command.arg("MATCH").arg(SHAPE).arg("COUNT").arg(NAMES).take()
    }

    /// How many there are, of any shape.
    pub(super) fn count(&self) -> Cmd {
        cmd("SCARD").arg(self.streams()).take()
    }

    pub(super) fn register(&self, stream: StreamId) -> Cmd {
        cmd("SADD").arg(self.streams()).arg(stream.to_string()).take()
    }

    pub(super) fn forget(&self, stream: StreamId) -> Cmd {
        cmd("SREM").arg(self.streams()).arg(stream.to_string()).take()
    }

    /// What went wrong with the set of all streams.
    pub(super) fn error_of_streams(&self, error: &RedisError) -> StoreError {
        let error = store_error(error);
        if error.kind == StoreErrorKind::WrongType {
            return StoreError::new(error.kind, format!("WRONGTYPE {} is not a set", self.streams()));
        }
        error
    }

    /// How long a lease runs: negative if it does not.
    pub(super) fn time_of_lease(&self, stream: StreamId) -> Cmd {
        cmd("PTTL").arg(self.lease(stream)).take()
    }

    pub(super) fn is_released(&self, stream: StreamId) -> Cmd {
        cmd("HEXISTS").arg(self.notes(stream)).arg("released").take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Space;

    #[test]
    fn names_have_the_shape_that_is_asked_for() {
        for stream in [StreamId::new(Space::new(0), 0), StreamId::new(Space::new(u32::MAX), u64::MAX)] {
            let name = stream.to_string();
            assert_eq!(name.len(), SHAPE.len());
            assert!(name.bytes().zip(SHAPE.bytes()).all(|(byte, shape)| shape == b'?' || byte == shape));
        }
    }
}
