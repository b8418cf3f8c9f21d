//! What the runtime crates share: for authors of runtimes, **not covered by semver**.

mod transport;

pub use transport::{Attempt, BoxFuture, Transport};
