//! What the runtime crates share: for authors of runtimes, **not covered by semver**.
//!
//! A runtime crate brings a clock ([`Runtime`]), a client for HTTP ([`http::HttpClient`]), one for Redis
//! (`redis::RedisClient`) and the means to run a future ([`Backend`]). Its users see [`Agent`] and
//! [`AgentBuilder`] with that backend.

mod agent;
mod builder;
mod capture;
mod clock;
mod drive;
mod file_store;
mod gzip;
mod handle;
mod hooks;
pub mod http;
mod inbox;
mod install_id;
mod item;
mod log;
mod memory_store;
mod offload;
mod private_files;
mod protocol;
mod receipt;
#[cfg(feature = "redis")]
pub mod redis;
mod redis_options;
mod store;
mod transport;
mod workbench;
mod workers;

pub use agent::{Agent, Backend};
pub use builder::{AgentBuilder, StartError};
pub use capture::CaptureTransport;
pub use clock::{MonotonicClock, wall_clock};
pub use drive::{LaunchError, Runtime, launch};
pub use file_store::{FileStore, FileStoreError};
pub use gzip::gzip;
pub use handle::Handle;
pub use hooks::{AgentError, Hooks, RulesSubscription};
pub use http::{HttpError, HttpOptions};
pub use install_id::install_id;
pub use item::{TrySendError, TrySendErrorKind};
pub use memory_store::MemoryStore;
pub use receipt::Receipt;
pub use redis_options::RedisOptions;
pub use store::Store;
pub use transport::{Attempt, BoxFuture, Transport};
pub use workers::{Workers, is_worker};
