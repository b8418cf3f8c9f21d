//! What the runtime crates share: for authors of runtimes, **not covered by semver**.
//!
//! A runtime crate brings a clock ([`Runtime`]), HTTP ([`Transport`]) and a journal ([`Store`]), calls
//! [`launch`], and spawns the future it gets; the application keeps the [`Handle`].

mod capture;
mod drive;
mod file_store;
mod gzip;
mod handle;
mod hooks;
mod inbox;
mod install_id;
mod item;
mod log;
mod memory_store;
mod private_files;
mod receipt;
#[cfg(feature = "redis")]
pub mod redis;
mod store;
mod transport;
mod workbench;

pub use capture::CaptureTransport;
pub use drive::{LaunchError, Runtime, launch};
pub use file_store::{FileStore, FileStoreError};
pub use gzip::gzip;
pub use handle::Handle;
pub use hooks::{AgentError, Hooks, RulesSubscription};
pub use install_id::install_id;
pub use item::{TrySendError, TrySendErrorKind};
pub use memory_store::MemoryStore;
pub use receipt::Receipt;
pub use store::Store;
pub use transport::{Attempt, BoxFuture, Transport};
