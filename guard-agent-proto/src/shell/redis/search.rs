use std::string::String;
use std::vec::Vec;

use ::redis::{Cmd, RedisResult, Value};

use super::error::store_error;
use super::keys::Keys;
use super::reply;
use crate::store::{Orphan, Space, StoreAnswer, StoreError, StoreErrorKind, StreamId};

/// Streams that are asked for their state at once.
const WIDTH: usize = 256;

/// Which of the known streams nobody owns.
#[derive(Debug)]
pub(super) struct Search {
    /// In the order of the replies.
    asked: Vec<StreamId>,
    rest: Vec<StreamId>,
    orphans: Vec<Orphan>,
    streams: usize,
    foreign: usize,
}

impl Search {
    /// A search among the streams of these names.
    pub(super) fn among(names: &[String], space: Space) -> Self {
        let ours = |name: &String| name.parse().ok().filter(|stream: &StreamId| stream.space() == space);
        let rest: Vec<_> = names.iter().filter_map(ours).collect();
        let (streams, foreign) = (rest.len(), names.len() - rest.len());
        Self { asked: Vec::new(), rest, orphans: Vec::new(), streams, foreign }
    }

    /// The next questions: two for each stream.
    pub(super) fn ask(&mut self, keys: &Keys) -> Option<Vec<Cmd>> {
        let at = self.rest.len().saturating_sub(WIDTH);
        self.asked = self.rest.split_off(at);
        let questions =
            self.asked.iter().flat_map(|stream| [keys.time_of_lease(*stream), keys.is_released(*stream)]);
        (!self.asked.is_empty()).then(|| questions.collect())
    }

    /// Takes the answers to them.
    pub(super) fn hear(&mut self, mut reply: impl FnMut() -> RedisResult<Value>) -> Result<(), StoreError> {
        for stream in core::mem::take(&mut self.asked) {
            // Every lease runs out some day. A key that does not is nobody's, and may be of another type.
            let is_held = reply::number(&reply().map_err(|error| store_error(&error))?)? >= 0;
            let is_released = reply().map_err(|error| store_error(&error));
            let released = match is_released.and_then(|value| reply::number(&value)) {
                Ok(number) => number != 0,
                // Whoever adopts it hears, and tells, which key is not ours.
                Err(error) if error.kind == StoreErrorKind::WrongType => false,
                Err(error) => return Err(error),
            };
            if !is_held {
                self.orphans.push(Orphan { stream, released });
            }
        }
        Ok(())
    }

    pub(super) fn answer(self) -> StoreAnswer {
        StoreAnswer::Orphans { orphans: self.orphans, streams: self.streams, foreign: self.foreign }
    }
}
