use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use uuid::{Builder, Uuid};

/// All randomness of the core: jitter, ids and nonces from one seed, so that a run can be repeated.
#[derive(Clone, Debug)]
pub(crate) struct Rng(ChaCha8Rng);

impl Rng {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// Mixes fresh randomness in. Copies of a generator go apart from here on, if they are given different ones.
    pub(crate) fn reseed(&mut self, entropy: [u8; 32]) {
        // What is mixed in may be poor: it must not make worse what is there.
        let mut seed = entropy;
        let mut own = [0; 32];
        self.0.fill_bytes(&mut own);
        seed.iter_mut().zip(own).for_each(|(byte, own)| *byte ^= own);
        self.0 = ChaCha8Rng::from_seed(seed);
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A nonce of AES-GCM.
    pub(crate) fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = [0; 12];
        self.0.fill_bytes(&mut nonce);
        nonce
    }

    /// A random (version 4) UUID.
    pub(crate) fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        Builder::from_random_bytes(bytes).into_uuid()
    }

    /// Uniform in `low..=high`, to the microsecond.
    pub(crate) fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        let low = micros(low);
        let span = micros(high).saturating_sub(low).saturating_add(1);
        // The high half of a 128-bit product: unbiased to one part in 2^64 / span, without division.
        let offset = (u128::from(self.next_u64()) * u128::from(span)) >> 64;
        Duration::from_micros(low.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX)))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    proptest! {
        #[test]
        fn durations_stay_in_range(seed: u64, low in 0u64..1 << 40, span in 0u64..1 << 40) {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            let (low, high) = (Duration::from_micros(low), Duration::from_micros(low + span));
            let drawn = Rng::new(bytes).duration(low, high);
            prop_assert!(low <= drawn && drawn <= high);
        }
    }

    #[test]
    fn copies_go_apart_with_what_is_mixed_in_and_never_back() {
        let mut rng = Rng::new([7; 32]);
        let [mut same, mut other] = [rng.clone(), rng.clone()];
        rng.reseed([1; 32]);
        same.reseed([1; 32]);
        other.reseed([2; 32]);
        assert_eq!(rng.nonce(), same.nonce());
        assert_ne!(rng.nonce(), other.nonce());
        let mut of_another_seed = Rng::new([8; 32]);
        of_another_seed.reseed([1; 32]);
        assert_ne!(same.nonce(), of_another_seed.nonce());
    }

    #[test]
    fn durations_fill_the_range() {
        let mut rng = Rng::new([7; 32]);
        let second = Duration::from_secs(1);
        let drawn: alloc::vec::Vec<_> = (0..1_000).map(|_| rng.duration(Duration::ZERO, second)).collect();
        assert!(drawn.iter().any(|d| *d < second / 20));
        assert!(drawn.iter().any(|d| *d > second * 19 / 20));
    }
}
