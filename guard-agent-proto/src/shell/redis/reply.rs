use core::fmt;
use std::string::{String, ToString as _};
use std::vec::Vec;

use ::redis::{ErrorKind, RedisError, Value};

use super::call::NOTE_PREFIX;
use crate::store::{Block, Note, StoreAnswer, StoreError, StoreErrorKind};
use crate::{ByKind, Seq};

/// What a script says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is done; what follows depends on the script.
    Done(Option<Value>),
    /// The highest id ever appended, per log.
    Diverged(ByKind<Seq>),
    Fenced,
}

/// Some entries of a log.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) blocks: Vec<Block>,
    pub(super) skipped: u64,
    /// Where the next page begins; `None` if this is the last one.
    pub(super) next: Option<String>,
}

/// The id of the entry of a Redis stream that holds a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryId(Seq);

/// Some members of a set.
#[derive(Debug)]
pub(super) struct Names {
    /// From where to go on; 0 at the end.
    pub(super) next: u64,
    pub(super) names: Vec<String>,
}

pub(super) fn verdict(value: Value) -> Result<Verdict, StoreError> {
    let mut values = list(value)?.into_iter();
    let word = bytes(values.next())?;
    match word.as_slice() {
        b"done" => Ok(Verdict::Done(values.next())),
        b"diverged" => {
            let mut seq = || parse(&bytes(values.next())?).map(Seq).ok_or_else(unexpected);
            Ok(Verdict::Diverged(ByKind { events: seq()?, metrics: seq()? }))
        }
        b"fenced" => Ok(Verdict::Fenced),
        _ => Err(unexpected()),
    }
}

/// Some members of a set; what is no text is nobody's stream.
pub(super) fn names(value: Value) -> Result<Names, StoreError> {
    let mut values = list(value)?.into_iter();
    let next = parse(&bytes(values.next())?).ok_or_else(unexpected)?;
    let names = list(values.next().ok_or_else(unexpected)?)?;
    let name = |name| Ok(String::from_utf8_lossy(&bytes(Some(name))?).into_owned());
    Ok(Names { next, names: names.into_iter().map(name).collect::<Result<_, _>>()? })
}

/// How many logs are lost, and the fields of a hash, of which some are notes.
pub(super) fn adopted(fields: Option<Value>) -> Result<StoreAnswer, StoreError> {
    let mut fields = list(fields.ok_or_else(unexpected)?)?.into_iter();
    let lost_logs = parse(&bytes(fields.next())?).ok_or_else(unexpected)?;
    let mut notes = Vec::new();
    while let Some(field) = fields.next() {
        let field = bytes(Some(field))?;
        let value = bytes(fields.next())?;
        let name = core::str::from_utf8(&field).ok().and_then(|field| field.strip_prefix(NOTE_PREFIX));
        notes.extend(name.map(|name| Note { name: name.to_string(), value: Some(value.into()) }));
    }
    Ok(StoreAnswer::Adopted { notes, lost_logs })
}

/// Some blocks of a log.
pub(super) fn page(page: Option<Value>) -> Result<Page, StoreError> {
    let mut values = list(page.ok_or_else(unexpected)?)?.into_iter();
    let next = String::from_utf8(bytes(values.next())?).map_err(|_| unexpected())?;
    let skipped = parse(&bytes(values.next())?).ok_or_else(unexpected)?;
    let mut blocks = Vec::new();
    let mut parts = list(values.next().ok_or_else(unexpected)?)?.into_iter();
    while let Some(id) = parts.next() {
        let id = Seq(parse(&bytes(Some(id))?).ok_or_else(unexpected)?);
        blocks.push(Block { id, bytes: bytes(parts.next())?.into() });
    }
    Ok(Page { blocks, skipped, next: (!next.is_empty()).then_some(next) })
}

impl EntryId {
    /// The entry of that block.
    pub(super) const fn of(id: Seq) -> Self {
        Self(id)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-0", self.0.as_u64())
    }
}

fn list(value: Value) -> Result<Vec<Value>, StoreError> {
    if let Value::Array(values) | Value::Set(values) = value { Ok(values) } else { Err(unexpected()) }
}

fn bytes(value: Option<Value>) -> Result<Vec<u8>, StoreError> {
    if let Some(Value::BulkString(bytes)) = value { Ok(bytes) } else { Err(unexpected()) }
}

pub(super) fn number(value: &Value) -> Result<i64, StoreError> {
    if let Value::Int(number) = value { Ok(*number) } else { Err(unexpected()) }
}

fn parse(text: &[u8]) -> Option<u64> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

fn unexpected() -> StoreError {
    StoreError::new(StoreErrorKind::Other, "an answer that is none of Redis")
}

/// In place of a reply that did not come.
pub(super) fn missing() -> RedisError {
    (ErrorKind::Io, "no reply").into()
}
