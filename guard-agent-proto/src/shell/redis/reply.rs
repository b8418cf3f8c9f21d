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
    /// Where the next page begins; `None` if this one is empty.
    pub(super) next: Option<EntryId>,
}

/// The id of an entry of a Redis stream. Those of blocks have the second part 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryId(u64, u64);

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

/// The members of a set; what is no text is nobody's stream.
pub(super) fn names(value: Value) -> Result<Vec<String>, StoreError> {
    list(value)?
        .into_iter()
        .map(|name| Ok(String::from_utf8_lossy(&bytes(Some(name))?).into_owned()))
        .collect()
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

/// The entries of a log, of which only blocks are taken.
pub(super) fn page(entries: Option<Value>) -> Result<Page, StoreError> {
    let mut page = Page::default();
    // What has a place behind the last block is met again by whoever reads on from there.
    let mut since = 0;
    for entry in list(entries.ok_or_else(unexpected)?)? {
        let mut entry = list(entry)?.into_iter();
        let id = EntryId::parse(&bytes(entry.next())?).ok_or_else(unexpected)?;
        let content = match id {
            EntryId(_, 0) => content(entry.next())?,
            EntryId(..) => None,
        };
        match content {
            Some(content) => {
                page.blocks.push(Block { id: Seq(id.0), bytes: content.into() });
                page.skipped += core::mem::take(&mut since);
            }
            None if page.blocks.last().is_some_and(|last| last.id.0 == id.0) => page.skipped += 1,
            None => since += 1,
        }
        page.next = Some(id.next());
    }
    if page.blocks.is_empty() {
        page.skipped = since;
    }
    Ok(page)
}

/// The field `b` of an entry.
fn content(fields: Option<Value>) -> Result<Option<Vec<u8>>, StoreError> {
    let mut fields = list(fields.ok_or_else(unexpected)?)?.into_iter();
    while let Some(field) = fields.next() {
        let value = bytes(fields.next())?;
        if bytes(Some(field))? == b"b" {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

impl EntryId {
    /// The entry of that block.
    pub(super) const fn of(id: Seq) -> Self {
        Self(id.0, 0)
    }

    /// The lowest id above.
    const fn next(self) -> Self {
        match self.1.checked_add(1) {
            Some(part) => Self(self.0, part),
            None => Self(self.0.saturating_add(1), 0),
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let at = text.iter().position(|byte| *byte == b'-')?;
        Some(Self(parse(&text[..at])?, parse(&text[at + 1..])?))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
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
