//! In transition: becomes `Store`.

use crate::store::{StoreAnswer, StoreError, StoreRequest};

use super::BoxFuture;
pub use super::file_store::{FileStore, FileStoreError};
pub use super::memory_store::MemoryStore;

/// A journal's store: Redis, files, or memory.
///
/// It decides nothing: the core asks for one operation at a time and copes with any error. The agent limits the
/// time of each call by dropping it, and a panic counts as a failed operation.
pub trait Store: Send + Sync + 'static {
    /// Makes one operation. It may be repeated, and dropped before it ends.
    fn execute(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>>;
}
