#[cfg(feature = "encryption")]
pub(super) use with::Aes;
#[cfg(not(feature = "encryption"))]
pub(super) use without::Aes;

#[cfg(feature = "encryption")]
mod with {
    use alloc::sync::Arc;

    use aes_gcm::aead::AeadInOut;
    use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};

    /// AES-256-GCM under a key.
    #[derive(Clone)]
    pub(in crate::wire) struct Aes(Aes256Gcm);

    impl Aes {
        /// What a key must be.
        pub(in crate::wire) const WANTED: &str = "the URL-safe base64 of 32 bytes";

        /// `None` if the key is not 32 bytes.
        pub(in crate::wire) fn new(key: &[u8]) -> Option<Arc<Self>> {
            Aes256Gcm::new_from_slice(key).ok().map(|aes| Arc::new(Self(aes)))
        }

        /// The same under another key.
        pub(in crate::wire) fn under(&self, key: &[u8; 32]) -> Arc<Self> {
            Arc::new(Self(Aes256Gcm::new(key.into())))
        }

        /// Encrypts in place; the tag, which covers `context` as well.
        pub(in crate::wire) fn encrypt(
            &self,
            nonce: [u8; 12],
            context: &[u8],
            text: &mut [u8],
        ) -> Option<[u8; 16]> {
            let tag = self.0.encrypt_inout_detached(&Nonce::from(nonce), context, text.into());
            tag.ok().map(Into::into)
        }

        /// Decrypts in place; false under another key, in another context, or if anything was changed.
        pub(in crate::wire) fn decrypt(
            &self,
            nonce: [u8; 12],
            context: &[u8],
            text: &mut [u8],
            tag: [u8; 16],
        ) -> bool {
            let (nonce, tag) = (Nonce::from(nonce), Tag::from(tag));
            self.0.decrypt_inout_detached(&nonce, context, text.into(), &tag).is_ok()
        }
    }
}

#[cfg(not(feature = "encryption"))]
mod without {
    use alloc::sync::Arc;

    /// There is none.
    #[derive(Clone)]
    pub(in crate::wire) enum Aes {}

    impl Aes {
        pub(in crate::wire) const WANTED: &str =
            "absent: this program was built without the feature `encryption`";

        pub(in crate::wire) const fn new(_key: &[u8]) -> Option<Arc<Self>> {
            None
        }

        pub(in crate::wire) const fn under(&self, _key: &[u8; 32]) -> Arc<Self> {
            match *self {}
        }

        pub(in crate::wire) const fn encrypt(
            &self,
            _nonce: [u8; 12],
            _context: &[u8],
            _text: &mut [u8],
        ) -> Option<[u8; 16]> {
            match *self {}
        }

        pub(in crate::wire) const fn decrypt(
            &self,
            _nonce: [u8; 12],
            _context: &[u8],
            _text: &mut [u8],
            _tag: [u8; 16],
        ) -> bool {
            match *self {}
        }
    }
}
