use hmac::digest::KeyInit as _;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

/// Derives keys from one key: HKDF-SHA-256 (RFC 5869) without a salt, of which the first block is all that a key takes.
#[derive(Clone)]
pub(super) struct Derivation(Hmac<Sha256>);

impl Derivation {
    pub(super) fn new(key: &[u8]) -> Self {
        let mut extracted = keyed(&[]).chain_update(key).finalize().into_bytes();
        let derivation = Self(keyed(&extracted));
        extracted.as_mut_slice().zeroize();
        derivation
    }

    /// The key of that name.
    pub(super) fn key(&self, name: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.clone().chain_update(name).chain_update([1]).finalize().into_bytes().into())
    }
}

/// HMAC under a key that is not longer than a block, of which there is no wrong length.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block.iter_mut().zip(key).for_each(|(byte, key)| *byte = *key);
    let hmac = Hmac::new(&block);
    block.as_mut_slice().zeroize();
    hmac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_standard() {
        // RFC 5869, A.3, as far as a key goes.
        let expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d";
        let key = Derivation::new(&[0x0b; 22]).key(b"");
        let hex: alloc::string::String = key.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
        assert_ne!(Derivation::new(&[0x0b; 22]).key(b"a"), key);
    }
}
