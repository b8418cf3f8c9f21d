use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec;
use std::vec::Vec;

use ::redis::{Cmd, RedisResult, Value};

use super::error::store_error;
use super::keys::Keys;
use super::reply;
use crate::store::{Orphan, Space, StoreAnswer, StoreError, StoreErrorKind, StreamId};

/// Streams that are asked for their state at once.
const WIDTH: usize = 256;

/// Most streams that are asked for their state in one operation: others wait meanwhile. The rest has its turn in the next.
const MOST: usize = 4_096;

/// Most requests for names in one operation.
const MOST_REQUESTS: usize = 32;

/// From which name on streams are to be looked for: in a set of many, one operation looks at some.
///
/// One for all operations of a store.
#[derive(Clone, Debug, Default)]
pub struct SearchPlace(Arc<AtomicU64>);

/// Which of the known streams nobody owns.
#[derive(Debug)]
pub(super) struct Search {
    space: Space,
    place: SearchPlace,
    began_at: u64,
    requests: usize,
    /// How many names there are.
    known: usize,
    /// The names of the space; some may come twice.
    names: BTreeSet<StreamId>,
    /// All of them were looked at.
    complete: bool,
    /// In the order of the replies.
    asked: Vec<StreamId>,
    rest: Vec<StreamId>,
    orphans: Vec<Orphan>,
}

impl Search {
    pub(super) fn new(space: Space, place: &SearchPlace) -> Self {
        Self {
            space,
            began_at: place.0.load(Ordering::Relaxed),
            place: place.clone(),
            requests: 0,
            known: 0,
            names: BTreeSet::new(),
            complete: false,
            asked: Vec::new(),
            rest: Vec::new(),
            orphans: Vec::new(),
        }
    }

    /// The first request: how many names there are, and some of them.
    pub(super) fn begin(&self, keys: &Keys) -> Vec<Cmd> {
        vec![keys.count(), keys.names(self.began_at)]
    }

    /// Takes the number of names.
    pub(super) fn hear_count(&mut self, count: &Value) -> Result<(), StoreError> {
        self.known = usize::try_from(reply::number(count)?).unwrap_or_default();
        Ok(())
    }

    /// Takes some names, and says from where on to ask for more.
    pub(super) fn hear_names(&mut self, names: Value) -> Result<Option<u64>, StoreError> {
        let names = reply::names(names)?;
        let streams = names.names.iter().filter_map(|name| name.parse().ok());
        self.names.extend(streams.filter(|stream: &StreamId| stream.space() == self.space));
        self.requests += 1;
        let is_enough = self.requests >= MOST_REQUESTS || self.names.len() >= MOST;
        if names.next != 0 && !is_enough {
            return Ok(Some(names.next));
        }
        self.place.0.store(names.next, Ordering::Relaxed);
        self.complete = self.began_at == 0 && names.next == 0;
        self.rest = self.names.iter().copied().collect();
        Ok(None)
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
        let (streams, complete) = (self.names.len(), self.complete);
        let foreign = if complete { self.known.saturating_sub(streams) } else { 0 };
        StoreAnswer::Orphans { orphans: self.orphans, streams, foreign, complete }
    }
}
