use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine;
use base64::alphabet::URL_SAFE as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::aes::Aes;
use super::derive::Derivation;
use crate::{AgentConfig, ConfigProblem, Secret};

/// Pads what it writes; reads keys with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// The project's encryption key. The wire uses it as it is; each stream of a journal has a key of its own that is
/// derived from it, so that none of them can be made to encrypt, or to decrypt, what is another's.
#[derive(Clone)]
pub(crate) struct ProjectKey {
    /// As configured.
    text: Secret,
    wire: Cipher,
    journal: Derivation,
    fingerprint: u32,
}

/// AES-256-GCM under one key, which has one place in memory: what is moved leaves a copy that nothing overwrites.
#[derive(Clone)]
pub(crate) struct Cipher(Arc<Aes>);

impl ProjectKey {
    /// Whether the configuration asks for encryption, with a key that can be used or not.
    pub(super) fn is_configured(config: &AgentConfig) -> bool {
        key_text(config).is_some()
    }

    pub(crate) fn from_config(config: &AgentConfig) -> Result<Option<Self>, ConfigProblem> {
        let Some(text) = key_text(config) else {
            return Ok(None);
        };
        let problem = || ConfigProblem {
            field: "project_encryption_key",
            value: String::from(if text.is_empty() { super::BLANK } else { super::SECRET }),
            bound: String::from(Aes::WANTED),
        };
        // The reference takes the standard alphabet as well.
        let url_safe: Zeroizing<String> = Zeroizing::new(text.chars().map(to_url_safe).collect());
        let key = Zeroizing::new(BASE64.decode(url_safe.as_bytes()).map_err(|_| problem())?);
        let wire = Aes::new(&key).map(Cipher).ok_or_else(problem)?;
        let journal = Derivation::new(&key);
        let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(key.as_slice()).into();
        // Zero is for none.
        let fingerprint = u32::from_be_bytes([a, b, c, d]).max(1);
        Ok(Some(Self { text: Secret::new(text), wire, journal, fingerprint }))
    }

    pub(super) const fn text(&self) -> &Secret {
        &self.text
    }

    /// For what is sent.
    pub(crate) const fn wire(&self) -> &Cipher {
        &self.wire
    }

    /// For the stream of a journal of that name.
    pub(crate) fn journal(&self, stream: &str) -> Cipher {
        let name = ["guard-agent journal ", stream].concat();
        Cipher(self.wire.0.under(&self.journal.key(name.as_bytes())))
    }

    /// Tells keys apart without telling them.
    pub(crate) const fn fingerprint(&self) -> u32 {
        self.fingerprint
    }
}

impl Cipher {
    /// Bytes that encryption adds to a document.
    pub(crate) const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

    /// Encrypts in place what follows the first `start` bytes: nonce and document become nonce, ciphertext
    /// and tag. It can be opened in the same context alone.
    pub(crate) fn seal(&self, context: &[u8], document: &mut Vec<u8>, start: usize) {
        let plain = document.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut::<NONCE_LEN>);
        let tag = plain.and_then(|(nonce, text)| self.0.encrypt(*nonce, context, text));
        match tag {
            Some(tag) => document.extend(tag),
            // Only a document of 64 GiB fails. Better nothing in its place than plaintext.
            None => document.truncate(start),
        }
    }

    /// Decrypts nonce, ciphertext and tag; `None` under another key, in another context, or if anything was changed.
    pub(crate) fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let (text, tag) = rest.split_last_chunk::<TAG_LEN>()?;
        let mut text = text.to_vec();
        self.0.decrypt(*nonce, context, &mut text, *tag).then_some(text)
    }

    /// Appends `sealed` as base64.
    pub(super) fn push_text(sealed: &[u8], out: &mut String) {
        BASE64.encode_string(sealed, out);
    }

    /// Length of the base64 of that many bytes.
    pub(super) const fn text_len(sealed_len: usize) -> usize {
        sealed_len.div_ceil(3) * 4
    }

    /// Most bytes whose base64 is at most that long.
    pub(super) const fn document_len(text_len: usize) -> usize {
        text_len / 4 * 3
    }
}

impl fmt::Debug for ProjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProjectKey")
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher")
    }
}

const fn to_url_safe(c: char) -> char {
    match c {
        '+' => '-',
        '/' => '_',
        c => c,
    }
}

/// The key without space around it. Only an empty one is none; one that is blank is a key that cannot be used.
fn key_text(config: &AgentConfig) -> Option<&str> {
    let key = config.project_encryption_key.as_ref()?.expose();
    (!key.is_empty()).then(|| key.trim())
}
