use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine;
use base64::alphabet::URL_SAFE as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::{AgentConfig, ConfigProblem, Secret};

/// Pads what it writes; reads keys with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// AES-256-GCM under the project's key.
#[derive(Clone)]
pub(super) struct Cipher {
    cipher: Aes256Gcm,
    /// As configured.
    key: Secret,
}

impl Cipher {
    /// Bytes that encryption adds to a document.
    pub(super) const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

    /// Whether the configuration asks for encryption; a blank key does not.
    pub(super) fn is_configured(config: &AgentConfig) -> bool {
        key_text(config).is_some()
    }

    pub(super) fn from_config(config: &AgentConfig) -> Result<Option<Self>, ConfigProblem> {
        let Some(text) = key_text(config) else {
            return Ok(None);
        };
        let problem = || ConfigProblem {
            field: "project_encryption_key",
            value: String::from(super::SECRET),
            bound: alloc::format!("the URL-safe base64 of {KEY_LEN} bytes"),
        };
        // The reference takes the standard alphabet as well.
        let key = BASE64.decode(text.replace('+', "-").replace('/', "_")).map_err(|_| problem())?;
        let cipher = Aes256Gcm::new_from_slice(&key).map_err(|_| problem())?;
        Ok(Some(Self { cipher, key: Secret::new(text) }))
    }

    pub(super) const fn key(&self) -> &Secret {
        &self.key
    }

    /// Encrypts in place: the nonce and the document become nonce, ciphertext and tag.
    pub(super) fn seal(&self, mut document: Vec<u8>) -> Vec<u8> {
        let tag = document.split_first_chunk_mut::<NONCE_LEN>().and_then(|(nonce, text)| {
            self.cipher.encrypt_inout_detached(&Nonce::from(*nonce), b"", text.into()).ok()
        });
        match tag {
            Some(tag) => document.extend(tag),
            // Only a document of 64 GiB fails. Better nothing in its place than plaintext.
            None => document.clear(),
        }
        document
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

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher")
    }
}

fn key_text(config: &AgentConfig) -> Option<&str> {
    let key = config.project_encryption_key.as_ref()?.expose().trim();
    (!key.is_empty()).then_some(key)
}
