//! What the runtime crates share: for authors of runtimes, **not covered by semver**.

mod gzip;
mod transport;

pub use gzip::gzip;
pub use transport::{Attempt, BoxFuture, Transport};
