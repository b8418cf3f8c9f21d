use alloc::string::String;
use core::fmt::{self, Write};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Secret;

/// Signs bodies with HMAC-SHA256.
#[derive(Clone)]
pub(super) struct Signer(Hmac<Sha256>);

impl Signer {
    /// `None` without a secret, or with an empty one.
    pub(super) fn new(secret: Option<&Secret>) -> Option<Self> {
        let secret = secret.map(Secret::expose).filter(|secret| !secret.is_empty())?;
        // HMAC takes keys of any length.
        Hmac::new_from_slice(secret.as_bytes()).ok().map(Self)
    }

    /// Value of the signature header.
    pub(super) fn sign(&self, body: &[u8]) -> Secret {
        let digest = self.0.clone().chain_update(body).finalize().into_bytes();
        let mut value = String::with_capacity("v1=".len() + 2 * digest.len());
        value.push_str("v1=");
        for byte in digest {
            // Writing to a string cannot fail.
            let _ = write!(value, "{byte:02x}");
        }
        Secret::new(value)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}
