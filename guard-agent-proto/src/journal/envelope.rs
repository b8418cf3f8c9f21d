//! What keeps the content of blocks and notes where it belongs, and to itself.
//!
//! ```text
//! with a key    = version (1) | nonce (12) | AES-256-GCM of content | tag (16)
//! without a key = version (1) | checksum (4, CRC-32 of place and content) | content
//! place         = stream | `b` | kind | id of a block, or stream | `n` | name of a note: not written
//! ```
//!
//! The key is that of the stream, derived from the project's key, and the place is associated data. So whoever can
//! write to the store and has not the key can make up nothing, nor change anything, nor move it: to another stream, kind
//! or id, from one note to another, or from a note to a block. What does not open is skipped and counted as damaged.
//!
//! The nonce is random and never read to be used again. As each stream has a key of its own, no key protects more than
//! one run of an agent writes.
//!
//! Not prevented is what a store can always do: forget, and go back in time. A block or note that was there may be put
//! back in its place. What that brings:
//!
//! * a block that was removed: its records are sent again, under the keys that they had;
//! * an old note of settled records, or none: it named fewer of them, so the others are sent again;
//! * an old note of a batch: records that were sent in others since are sent in that one again. It names no nonce;
//! * a block that was deleted: its records are lost. Their owner counts them; who adopts the stream cannot know.
//!
//! Without a key there is only a checksum, which is against accidents: whoever can write there can make up records.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::rng::Rng;
use crate::store::StreamId;
use crate::wire::{Cipher, ProjectKey};
use crate::{Kind, Seq};

const VERSION: u8 = 2;
const CHECKSUM: usize = size_of::<u32>();

/// Where something is in a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Block(Kind, Seq),
    Note(&'a str),
}

/// Protects what is in one stream.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    stream: String,
    /// `None` without a key.
    cipher: Option<Cipher>,
}

impl Envelope {
    pub(super) fn new(key: Option<&ProjectKey>, stream: StreamId) -> Self {
        let stream = stream.to_string();
        let cipher = key.map(|key| key.journal(&stream));
        Self { stream, cipher }
    }

    /// What content of about that many bytes is appended to.
    pub(super) fn open_new(&self, content: usize, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + Cipher::OVERHEAD + content);
        bytes.push(VERSION);
        match &self.cipher {
            Some(_) => bytes.extend(rng.nonce()),
            None => bytes.extend([0; CHECKSUM]),
        }
        bytes
    }

    /// Protects what was appended.
    pub(super) fn seal(&self, place: Place<'_>, mut bytes: Vec<u8>) -> Arc<[u8]> {
        let context = self.context(place);
        match &self.cipher {
            Some(cipher) => cipher.seal(&context, &mut bytes, 1),
            None => {
                if let Some((checksum, content)) = bytes[1..].split_first_chunk_mut::<CHECKSUM>() {
                    *checksum = self::checksum(&context, content).to_le_bytes();
                }
            }
        }
        bytes.into()
    }

    /// The content; `None` if it is damaged, was moved, or is somebody else's.
    pub(super) fn open<'a>(&self, place: Place<'_>, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let (version, body) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let context = self.context(place);
        match &self.cipher {
            Some(cipher) => cipher.open(&context, body).map(Cow::Owned),
            None => {
                let (checksum, content) = body.split_first_chunk()?;
                let is_intact = u32::from_le_bytes(*checksum) == self::checksum(&context, content);
                is_intact.then_some(Cow::Borrowed(content))
            }
        }
    }

    /// Two places have never the same: the stream's name is as long as every other's.
    fn context(&self, place: Place<'_>) -> Vec<u8> {
        let mut context = Vec::with_capacity(self.stream.len() + 64);
        context.extend(self.stream.as_bytes());
        match place {
            Place::Block(kind, id) => {
                context.extend([b'b', kind as u8]);
                context.extend(id.as_u64().to_le_bytes());
            }
            Place::Note(name) => {
                context.push(b'n');
                context.extend(name.as_bytes());
            }
        }
        context
    }
}

fn checksum(context: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(context);
    hasher.update(content);
    hasher.finalize()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;
    use crate::store::Space;

    pub(in crate::journal) const STREAM: StreamId = StreamId::new(Space::new(0), 7);

    pub(in crate::journal) fn key(text: &str) -> Option<ProjectKey> {
        let config = crate::AgentConfig::builder("0123456789").project_encryption_key(text).build().unwrap();
        ProjectKey::from_config(&config).unwrap()
    }

    /// Of a stream, without a key and with one.
    pub(in crate::journal) fn envelopes(stream: StreamId) -> [Envelope; 2] {
        let key = key("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        [None, key].map(|key| Envelope::new(key.as_ref(), stream))
    }

    fn rng() -> Rng {
        Rng::new([1; 32])
    }

    fn sealed(envelope: &Envelope, place: Place<'_>, content: &[u8]) -> Arc<[u8]> {
        let mut bytes = envelope.open_new(content.len(), &mut rng());
        bytes.extend(content);
        envelope.seal(place, bytes)
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_as_it_is_and_where_it_is_alone(
            content in prop::collection::vec(any::<u8>(), 0..60),
            places in prop::sample::subsequence(alloc::vec![0_usize, 1, 2, 3, 4, 5], 2),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let all = [
                Place::Block(Kind::Event, Seq::from_u64(1)),
                Place::Block(Kind::Metric, Seq::from_u64(1)),
                Place::Block(Kind::Event, Seq::from_u64(2)),
                Place::Note("s-e-1"),
                Place::Note("s-m-1"),
                Place::Note("d-e-1"),
            ];
            let (here, elsewhere) = (all[places[0]], all[places[1]]);
            let others = envelopes(StreamId::new(Space::new(0), 8));
            for (envelope, other) in envelopes(STREAM).into_iter().zip(others) {
                let bytes = sealed(&envelope, here, &content);
                prop_assert_eq!(envelope.open(here, &bytes), Some(Cow::Borrowed(&*content)));
                prop_assert_eq!(envelope.open(elsewhere, &bytes), None);
                prop_assert_eq!(other.open(here, &bytes), None);
                let mut changed = bytes.to_vec();
                let at = at.index(changed.len());
                changed[at] ^= 1u8 << bit;
                prop_assert_eq!(envelope.open(here, &changed), None);
                prop_assert_eq!(envelope.open(here, &bytes[..at]), None);
            }
        }
    }

    #[test]
    fn with_a_key_nothing_opens_that_was_made_without_it() {
        let place = Place::Note("s-e-1");
        let [plain, keyed] = envelopes(STREAM);
        let other = key("BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        let other = Envelope::new(other.as_ref(), STREAM);
        assert_eq!(keyed.open(place, &sealed(&plain, place, b"forged")), None);
        assert_eq!(keyed.open(place, &sealed(&other, place, b"forged")), None);
        assert_eq!(plain.open(place, &sealed(&keyed, place, b"forged")), None);
    }

    #[test]
    fn neither_the_keys_of_the_wire_nor_those_of_another_stream_are_its_own() {
        let place = Place::Block(Kind::Event, Seq::from_u64(1));
        let ciphertext = |stream| {
            let [_, keyed] = envelopes(stream);
            sealed(&keyed, place, &[0; 32])[13..45].to_vec()
        };
        let mut of_the_wire = rng().nonce().to_vec();
        of_the_wire.extend([0; 32]);
        let key = key("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        key.wire().seal(b"", &mut of_the_wire, 0);
        let of_another = ciphertext(StreamId::new(Space::new(0), 8));
        assert_ne!(ciphertext(STREAM), of_the_wire[12..44]);
        assert_ne!(ciphertext(STREAM), of_another);
    }
}
