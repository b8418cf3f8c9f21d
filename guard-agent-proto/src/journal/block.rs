//! Blocks: what of the records goes into a log.
//!
//! ```text
//! block   = content, in an envelope
//! content = count | first place | when it was accepted (µs) | record*
//! record  = (places since the last - 1) * 2 + attack | µs since the last | length | JSON
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::journal::codec::{Reader, push_number, push_signed};
use crate::journal::envelope::{Envelope, Place};
use crate::rng::Rng;
use crate::store::{Block, StreamId};
use crate::wire::ProjectKey;
use crate::{AgentConfig, ConfigError, Kind, Seq, Timestamp};

/// What a record adds to its JSON, about.
pub(super) const OVERHEAD: usize = 8;

/// A record as a journal holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Place in its log.
    pub seq: Seq,
    /// When the agent that wrote it accepted it, by that agent's clock.
    pub accepted_at: Timestamp,
    /// Whether it is an event of an attack class.
    pub attack: bool,
    /// The record as it is sent.
    pub json: Box<[u8]>,
}

impl fmt::Debug for StoredRecord {
    /// Sizes only: a record may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredRecord({}, {} bytes)", self.seq, self.json.len())
    }
}

/// A record to be written.
#[derive(Clone, Copy)]
pub(crate) struct Unwritten<'a> {
    pub(crate) seq: Seq,
    pub(crate) accepted_at: Timestamp,
    pub(crate) attack: bool,
    pub(crate) json: &'a [u8],
}

/// Reads the blocks of a journal, for those who look into one: the agent does so by itself.
///
/// ```
/// # use guard_agent_proto::store::{Block, BlockReader, Space, StreamId};
/// # use guard_agent_proto::{AgentConfig, Kind, Seq};
///
/// # fn main() -> Result<(), guard_agent_proto::ConfigError> {
/// let reader = BlockReader::new(&AgentConfig::builder("an-api-key").build()?)?;
/// let stream = StreamId::new(Space::new(0), 0xc0ffee);
/// let block = Block { id: Seq::from_u64(1), bytes: b"somebody else's"[..].into() };
/// assert_eq!(reader.read(stream, Kind::Event, &block), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BlockReader(Option<ProjectKey>);

impl BlockReader {
    /// Reads what agents with that configuration's encryption key wrote.
    ///
    /// # Errors
    ///
    /// That key is not one.
    pub fn new(config: &AgentConfig) -> Result<Self, ConfigError> {
        ProjectKey::from_config(config)
            .map(Self)
            .map_err(|problem| ConfigError { problems: alloc::vec![problem] })
    }

    /// The records of a block of that log, in ascending order of places; `None` if it is damaged, was moved, or
    /// belongs to somebody else. Some of them may have been delivered already.
    #[must_use]
    pub fn read(&self, stream: StreamId, kind: Kind, block: &Block) -> Option<Vec<StoredRecord>> {
        decode(&Envelope::new(self.0.as_ref(), stream), kind, block)
    }
}

/// A block of these records, which are not empty and in ascending order.
pub(super) fn encode(
    envelope: &Envelope,
    kind: Kind,
    records: &[Unwritten<'_>],
    rng: &mut Rng,
) -> Option<Block> {
    let (first, last) = (records.first()?, records.last()?);
    let json: usize = records.iter().map(|record| record.json.len()).sum();
    let mut bytes = envelope.open_new(json + OVERHEAD * records.len() + 32, rng);
    push_number(records.len() as u64, &mut bytes);
    push_number(first.seq.as_u64(), &mut bytes);
    push_signed(first.accepted_at.as_unix_micros(), &mut bytes);
    let (mut place, mut accepted_at) = (first.seq, first.accepted_at.as_unix_micros());
    for record in records {
        let step = record.seq.as_u64().saturating_sub(place.as_u64());
        push_number(step << 1 | u64::from(record.attack), &mut bytes);
        push_signed(record.accepted_at.as_unix_micros().wrapping_sub(accepted_at), &mut bytes);
        push_number(record.json.len() as u64, &mut bytes);
        bytes.extend_from_slice(record.json);
        (place, accepted_at) = (record.seq.next(), record.accepted_at.as_unix_micros());
    }
    Some(Block { id: last.seq, bytes: envelope.seal(Place::Block(kind, last.seq), bytes) })
}

/// Largest block of several records that is read, in bytes: twice what an agent writes.
const LARGEST: usize = 256 << 10;

/// The records of a block; `None` if it is damaged or somebody else's.
pub(super) fn decode(envelope: &Envelope, kind: Kind, block: &Block) -> Option<Vec<StoredRecord>> {
    // No agent gets that far.
    if block.id.origin() > 0 {
        return None;
    }
    let content = envelope.open(Place::Block(kind, block.id), &block.bytes)?;
    let mut reader = Reader(&content);
    let count = reader.length()?;
    // Somebody may have planted millions of tiny records: only one that is large by itself makes a block so large.
    if block.bytes.len() > LARGEST && count > 1 {
        return None;
    }
    let mut place = reader.number()?;
    let mut accepted_at = reader.signed()?;
    // What is said of the length is not believed before it is there.
    let mut records = Vec::with_capacity(count.min(reader.0.len() / 4));
    for _ in 0..count {
        let step = reader.number()?;
        place = place.checked_add(step >> 1)?;
        accepted_at = accepted_at.wrapping_add(reader.signed()?);
        let length = reader.length()?;
        records.push(StoredRecord {
            seq: Seq::from_u64(place),
            accepted_at: Timestamp::from_unix_micros(accepted_at),
            attack: step & 1 == 1,
            json: reader.bytes(length)?.into(),
        });
        place = place.checked_add(1)?;
    }
    let whole = reader.is_empty() && records.last().is_some_and(|record| record.seq == block.id);
    whole.then_some(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::codec::tests::number;
    use crate::journal::envelope::tests::{STREAM, envelopes, key};
    use crate::rng::Rng;
    use crate::store::Space;

    fn records() -> impl Strategy<Value = Vec<StoredRecord>> {
        let record = (1u64..1_000, any::<i64>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..50));
        prop::collection::vec(record, 1..20).prop_map(|records| {
            let mut place = 0;
            let stored = |(step, accepted_at, attack, json): (u64, i64, bool, Vec<u8>)| {
                place += step;
                StoredRecord {
                    seq: Seq::from_u64(place),
                    accepted_at: Timestamp::from_unix_micros(accepted_at),
                    attack,
                    json: json.into(),
                }
            };
            records.into_iter().map(stored).collect()
        })
    }

    fn encode(envelope: &Envelope, records: &[StoredRecord]) -> Block {
        let unwritten: Vec<_> = records
            .iter()
            .map(|StoredRecord { seq, accepted_at, attack, json }| Unwritten {
                seq: *seq,
                accepted_at: *accepted_at,
                attack: *attack,
                json,
            })
            .collect();
        super::encode(envelope, Kind::Event, &unwritten, &mut Rng::new([1; 32])).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in records()) {
            let readers = [None, key("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")].map(BlockReader);
            for (envelope, reader) in envelopes(STREAM).into_iter().zip(readers) {
                let block = encode(&envelope, &records);
                prop_assert_eq!(block.id, records.last().unwrap().seq);
                prop_assert_eq!(decode(&envelope, Kind::Event, &block), Some(records.clone()));
                prop_assert_eq!(reader.read(STREAM, Kind::Event, &block), Some(records.clone()));
                let elsewhere = StreamId::new(Space::new(0), 8);
                prop_assert_eq!(reader.read(elsewhere, Kind::Event, &block), None);
                prop_assert_eq!(reader.read(STREAM, Kind::Metric, &block), None);
                let moved = Block { id: block.id.next(), bytes: block.bytes.clone() };
                prop_assert_eq!(reader.read(STREAM, Kind::Event, &moved), None);
            }
        }

        #[test]
        fn no_content_panics(content in prop::collection::vec(any::<u8>(), 0..80), id: u64) {
            let id = Seq::from_u64(id);
            for envelope in envelopes(STREAM) {
                let mut bytes = envelope.open_new(0, &mut Rng::new([1; 32]));
                bytes.extend(&content);
                let bytes = envelope.seal(Place::Block(Kind::Event, id), bytes);
                let _ = decode(&envelope, Kind::Event, &Block { id, bytes });
            }
        }

        #[test]
        fn no_numbers_panic(
            numbers in prop::collection::vec(number(), 0..9),
            records in prop::collection::vec((number(), number()), 0..4),
            id in number(),
        ) {
            for envelope in envelopes(STREAM) {
                let mut bytes = envelope.open_new(0, &mut Rng::new([1; 32]));
                push_number(records.len() as u64, &mut bytes);
                numbers.iter().for_each(|number| push_number(*number, &mut bytes));
                for (step, accepted_at) in &records {
                    [*step, *accepted_at, 0].into_iter().for_each(|number| push_number(number, &mut bytes));
                }
                let id = Seq::from_u64(id);
                let bytes = envelope.seal(Place::Block(Kind::Event, id), bytes);
                let records = decode(&envelope, Kind::Event, &Block { id, bytes }).unwrap_or_default();
                prop_assert!(records.is_sorted_by(|one, next| one.seq < next.seq));
                prop_assert!(records.iter().all(|record| record.seq.origin() == 0));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), id: u64) {
            for envelope in envelopes(STREAM) {
                let block = Block { id: Seq::from_u64(id), bytes: bytes.clone().into() };
                let _ = decode(&envelope, Kind::Event, &block);
            }
        }
    }

    #[test]
    fn only_a_single_record_makes_a_block_that_is_larger_than_any_of_ours() {
        let record = |place, len| StoredRecord {
            seq: Seq::from_u64(place),
            accepted_at: Timestamp::from_unix_micros(0),
            attack: false,
            json: alloc::vec![b'x'; len].into(),
        };
        for envelope in envelopes(STREAM) {
            let of = |records: &[StoredRecord]| {
                let block = encode(&envelope, records);
                decode(&envelope, Kind::Event, &block).map(|records| records.len())
            };
            assert_eq!(of(&[record(1, 2 * LARGEST)]), Some(1));
            assert_eq!(of(&[record(1, LARGEST / 2), record(2, LARGEST / 3)]), Some(2));
            assert_eq!(of(&[record(1, LARGEST / 2), record(2, LARGEST / 2)]), None);
        }
    }

    #[test]
    fn a_block_behind_all_places_is_nobodys() {
        let seq = Seq::from_u64(1).at_origin(1);
        let record = StoredRecord {
            seq,
            accepted_at: Timestamp::from_unix_micros(0),
            attack: false,
            json: b"{}"[..].into(),
        };
        for envelope in envelopes(STREAM) {
            let block = encode(&envelope, core::slice::from_ref(&record));
            assert_eq!(decode(&envelope, Kind::Event, &block), None);
        }
    }

    #[test]
    fn an_encrypted_block_does_not_show_its_records() {
        let [plain, encrypted] = envelopes(STREAM);
        let record = StoredRecord {
            seq: Seq::from_u64(1),
            accepted_at: Timestamp::from_unix_micros(0),
            attack: false,
            json: b"secret"[..].into(),
        };
        let shows = |block: &Block| block.bytes.windows(6).any(|window| window == b"secret");
        assert!(shows(&encode(&plain, core::slice::from_ref(&record))));
        assert!(!shows(&encode(&encrypted, &[record])));
    }
}
