//! Notes beside the logs: which batches were sealed of what is in them, and which records of a block are
//! settled while others are not.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::journal::codec::{Reader, push_number, push_signed, push_spans};
use crate::journal::spans::Spans;
use crate::store::Note;
use crate::{BatchId, Kind, Seq, Timestamp};

/// A batch that may have been sent: whoever takes its records over sends the very same one again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) kind: Kind,
    pub(super) id: BatchId,
    pub(super) created_at: Timestamp,
    pub(super) nonce: [u8; 12],
    /// Places of its records.
    pub(super) records: Spans,
}

/// What a note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Seal(Seal),
    /// Records of the block of that id that are settled.
    Settled {
        kind: Kind,
        block: Seq,
        records: Spans,
    },
}

const VERSION: u8 = 1;

impl Seal {
    /// What names its note.
    pub(super) fn name(kind: Kind, id: BatchId) -> String {
        format!("s-{}-{id}", letter(kind))
    }

    pub(super) fn note(&self) -> Note {
        let mut bytes = Vec::new();
        push_number(self.id.millis(), &mut bytes);
        push_number(u64::from(self.id.random()), &mut bytes);
        push_signed(self.created_at.as_unix_micros(), &mut bytes);
        bytes.extend(self.nonce);
        push_spans(&self.records, &mut bytes);
        Note { name: Self::name(self.kind, self.id), value: Some(finish(bytes)) }
    }
}

/// What names the note of the settled records of a block.
pub(super) fn settled_name(kind: Kind, block: Seq) -> String {
    format!("d-{}-{block}", letter(kind))
}

pub(super) fn settled_note(kind: Kind, block: Seq, records: &Spans) -> Note {
    let mut bytes = Vec::new();
    push_spans(records, &mut bytes);
    Note { name: settled_name(kind, block), value: Some(finish(bytes)) }
}

/// Reads a note; `None` if it is damaged or somebody else's.
pub(super) fn read(note: &Note) -> Option<Content> {
    let mut reader = Reader(note.value.as_deref()?);
    let [version] = reader.array()?;
    if version != VERSION || u32::from_le_bytes(reader.array()?) != crc32fast::hash(reader.0) {
        return None;
    }
    let (what, rest) = note.name.split_once('-')?;
    let (letter, name) = rest.split_once('-')?;
    let kind = Kind::ALL.into_iter().find(|kind| self::letter(*kind) == letter)?;
    let content = match what {
        "s" => Content::Seal(Seal {
            kind,
            id: BatchId::new(reader.number()?, u32::try_from(reader.number()?).ok()?),
            created_at: Timestamp::from_unix_micros(reader.signed()?),
            nonce: reader.array()?,
            records: reader.spans()?,
        }),
        "d" => Content::Settled { kind, block: Seq::from_u64(name.parse().ok()?), records: reader.spans()? },
        _ => return None,
    };
    reader.is_empty().then_some(content)
}

const fn letter(kind: Kind) -> &'static str {
    match kind {
        Kind::Event => "e",
        Kind::Metric => "m",
    }
}

fn finish(body: Vec<u8>) -> Arc<[u8]> {
    let mut bytes = alloc::vec![VERSION];
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(body);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans(places: &[u64]) -> Spans {
        let mut spans = Spans::default();
        for place in places {
            spans.insert(Seq::from_u64(*place));
        }
        spans
    }

    proptest! {
        #[test]
        fn what_is_noted_is_read(
            places in prop::collection::vec(any::<u32>(), 1..50),
            millis in 0u64..1 << 45,
            random: u32,
            nonce: [u8; 12],
            bit in 0usize..64,
        ) {
            let records = spans(&places.iter().map(|place| u64::from(*place)).collect::<Vec<_>>());
            for kind in Kind::ALL {
                let seal = Seal {
                    kind,
                    id: BatchId::new(millis, random),
                    created_at: Timestamp::from_unix_micros(-5),
                    nonce,
                    records: records.clone(),
                };
                let block = Seq::from_u64(millis);
                for (note, content) in [
                    (seal.note(), Content::Seal(seal)),
                    (
                        settled_note(kind, block, &records),
                        Content::Settled { kind, block, records: records.clone() },
                    ),
                ] {
                    prop_assert!(note.name.len() <= 64);
                    prop_assert_eq!(read(&note), Some(content));
                    let mut value = note.value.as_deref().unwrap().to_vec();
                    value[bit / 8] ^= 1 << (bit % 8);
                    prop_assert_eq!(read(&Note { value: Some(value.into()), ..note.clone() }), None);
                }
            }
        }

        #[test]
        fn no_bytes_panic(name in "[sd]-[emx]-[0-9]{1,3}|.{0,9}", body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&Note { name, value: Some(finish(body)) });
        }
    }
}
