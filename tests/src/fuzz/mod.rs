//! Bodies of the fuzz targets, as ordinary code: stable builds check them, and unit tests run each one over a few
//! hundred pseudo-random inputs.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is what a fuzzer looks for")]

mod core;
mod driver;
mod journal;
mod records;
mod redact;
mod responses;

pub use self::core::core;
pub use journal::journal;
pub use records::records;
pub use redact::redact;
pub use responses::responses;

#[cfg(test)]
fn pseudo_random_inputs() -> impl Iterator<Item = Vec<u8>> {
    (0_u64..400).map(|seed| {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let length = 16 + (seed * 37 % 2000);
        (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect()
    })
}
