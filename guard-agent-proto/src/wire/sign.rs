use alloc::string::String;
use core::fmt::{self, Write};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Secret;

/// Signs bodies with HMAC-SHA256.
#[derive(Clone)]
pub(super) struct Signer {
    keyed: Hmac<Sha256>,
    secret: Secret,
}

impl Signer {
    /// `None` without a secret, or with an empty one.
    pub(super) fn new(secret: Option<&Secret>) -> Option<Self> {
        let secret = secret.filter(|secret| !secret.expose().is_empty())?;
        // HMAC takes keys of any length.
        let keyed = Hmac::new_from_slice(secret.expose().as_bytes()).ok()?;
        Some(Self { keyed, secret: secret.clone() })
    }

    pub(super) const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Value of the signature header.
    pub(super) fn sign(&self, body: &[u8]) -> Secret {
        let digest = self.keyed.clone().chain_update(body).finalize().into_bytes();
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
