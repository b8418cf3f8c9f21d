//! Notes beside the logs: which batches were sealed of what is in them, and which records of a block are
//! settled while others are not.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::journal::codec::{self, Reader, push_number, push_signed, push_spans};
use crate::journal::envelope::{Envelope, Place};
use crate::journal::spans::Spans;
use crate::rng::Rng;
use crate::store::Note;
use crate::{BatchId, Kind, Seq, Timestamp};

/// A batch that may have been sent: whoever takes its records over sends them together again, under the same id. Its
/// nonce is not noted: no nonce may come from where others can write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) kind: Kind,
    pub(super) id: BatchId,
    pub(super) created_at: Timestamp,
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

impl Content {
    /// What it takes in memory, about.
    pub(super) fn memory(&self) -> usize {
        let (Self::Seal(Seal { records, .. }) | Self::Settled { records, .. }) = self;
        size_of::<Self>() + records.iter().count() * size_of::<(Seq, Seq)>()
    }
}

impl Seal {
    /// What names its note.
    pub(super) fn name(kind: Kind, id: BatchId) -> String {
        format!("s-{}-{id}", letter(kind))
    }

    pub(super) fn note(&self, envelope: &Envelope, rng: &mut Rng) -> Note {
        let mut bytes = envelope.open_new(32, rng);
        push_number(self.id.millis(), &mut bytes);
        push_number(u64::from(self.id.random()), &mut bytes);
        push_signed(self.created_at.as_unix_micros(), &mut bytes);
        push_spans(&self.records, &mut bytes);
        finish(Self::name(self.kind, self.id), bytes, envelope)
    }
}

/// What names the note of the settled records of a block.
pub(super) fn settled_name(kind: Kind, block: Seq) -> String {
    format!("d-{}-{block}", letter(kind))
}

pub(super) fn settled_note(
    kind: Kind,
    block: Seq,
    records: &Spans,
    envelope: &Envelope,
    rng: &mut Rng,
) -> Note {
    let mut bytes = envelope.open_new(32, rng);
    push_spans(records, &mut bytes);
    finish(settled_name(kind, block), bytes, envelope)
}

fn finish(name: String, bytes: Vec<u8>, envelope: &Envelope) -> Note {
    let value = Some(envelope.seal(Place::Note(&name), bytes));
    Note { name, value }
}

/// Reads a note; `None` if it is damaged or somebody else's.
pub(super) fn read(note: &Note, envelope: &Envelope) -> Option<Content> {
    let content = envelope.open(Place::Note(&note.name), note.value.as_deref()?)?;
    let mut reader = Reader(&content);
    let (what, rest) = note.name.split_once('-')?;
    let (letter, name) = rest.split_once('-')?;
    let kind = Kind::ALL.into_iter().find(|kind| self::letter(*kind) == letter)?;
    let content = match what {
        "s" => Content::Seal(Seal {
            kind,
            id: BatchId::new(reader.number()?, u32::try_from(reader.number()?).ok()?),
            created_at: Timestamp::from_unix_micros(reader.signed()?),
            records: reader.spans()?,
        }),
        "d" => Content::Settled { kind, block: codec::place(name.parse().ok()?)?, records: reader.spans()? },
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::codec::tests::number;
    use crate::journal::envelope::tests::{STREAM, envelopes};
    use crate::rng::Rng;

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
        ) {
            let records = spans(&places.iter().map(|place| u64::from(*place)).collect::<Vec<_>>());
            let mut rng = Rng::new([1; 32]);
            for envelope in envelopes(STREAM) {
                for kind in Kind::ALL {
                    let seal = Seal {
                        kind,
                        id: BatchId::new(millis, random),
                        created_at: Timestamp::from_unix_micros(-5),
                        records: records.clone(),
                    };
                    let block = Seq::from_u64(millis);
                    for (note, content) in [
                        (seal.note(&envelope, &mut rng), Content::Seal(seal)),
                        (
                            settled_note(kind, block, &records, &envelope, &mut rng),
                            Content::Settled { kind, block, records: records.clone() },
                        ),
                    ] {
                        prop_assert!(note.name.len() <= 64);
                        prop_assert_eq!(read(&note, &envelope), Some(content));
                        let moved = Note { name: note.name.replacen("-e-", "-m-", 1), ..note.clone() };
                        prop_assert_eq!(read(&moved, &envelope).is_some(), moved == note);
                    }
                }
            }
        }

        #[test]
        fn no_numbers_panic(kind in "[sd]", id in number(), numbers in prop::collection::vec(number(), 0..9)) {
            for envelope in envelopes(STREAM) {
                let mut bytes = envelope.open_new(0, &mut Rng::new([1; 32]));
                numbers.iter().for_each(|number| push_number(*number, &mut bytes));
                let note = finish(format!("{kind}-e-{id}"), bytes, &envelope);
                let records = match read(&note, &envelope) {
                    Some(Content::Seal(seal)) => seal.records,
                    Some(Content::Settled { records, .. }) => records,
                    None => continue,
                };
                let places = records.iter().map(|(first, last)| last.as_u64() - first.as_u64() + 1);
                prop_assert_eq!(records.len(), places.sum::<u64>());
                prop_assert_eq!(records.count_before(Seq::from_u64(u64::MAX)), records.len());
            }
        }

        #[test]
        fn no_bytes_panic(name in "[sd]-[emx]-[0-9]{1,3}|.{0,9}", body in prop::collection::vec(any::<u8>(), 0..60)) {
            for envelope in envelopes(STREAM) {
                let mut bytes = envelope.open_new(0, &mut Rng::new([1; 32]));
                bytes.extend(&body);
                let _ = read(&finish(name.clone(), bytes, &envelope), &envelope);
            }
        }
    }
}
