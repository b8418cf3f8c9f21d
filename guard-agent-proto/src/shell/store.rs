use std::string::String;

use crate::store::{StoreAnswer, StoreError, StoreRequest};

use super::BoxFuture;

/// A journal's store: Redis, files, or memory.
///
/// It decides nothing: the core asks for one operation at a time and copes with any error. The agent limits the
/// time of each call by dropping it, and a panic counts as a failed operation.
pub trait Store: Send + Sync + 'static {
    /// Makes one operation. It may be repeated, and dropped before it ends.
    fn execute(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>>;

    /// Where it is, in one line for messages and without credentials: `redis://host:port/0`, or a folder. Asked for
    /// once; `None`, the default, is not said.
    fn place(&self) -> Option<String> {
        None
    }
}
