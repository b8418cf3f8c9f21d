//! The Guard agent for smol and async-std applications: it delivers security events and metrics to the Guard platform
//! and brings back dynamic security rules.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use guard_agent_smol::{Agent, AgentConfig, SecurityEvent};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = AgentConfig::builder("your-api-key").build()?;
//! let agent = Agent::builder(config).start()?;
//!
//! // From any thread, in a few tens of nanoseconds:
//! agent.send_event(SecurityEvent::now("suspicious_request").ip_address("203.0.113.9"));
//!
//! let report = agent.shutdown(Duration::from_secs(10)).await;
//! println!("everything delivered: {}", report.is_complete());
//! # Ok(())
//! # }
//! ```
//!
//! # Sending
//!
//! | call | when memory is full |
//! |---|---|
//! | `send_event` | gives up what `buffer_overflow_policy` says, counted; it never waits |
//! | `try_send_event` | the event comes back, with the reason |
//! | `send_event_within(event, timeout)` | waits for room |
//! | `try_send_event_with_receipt`, `send_event_with_receipt_within` | the same two, with a [`Receipt`] that tells what becomes of the event |
//!
//! There is the same for metrics. `pressure` tells early that memory fills, `stats` where every record is,
//! [`flush`](Agent#method.flush) delivers now what waits.
//!
//! # Rules, and code of yours
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use guard_agent_smol::{Agent, AgentConfig, HttpOptions, RulesDocument};
//!
//! # fn run() -> Result<(), Box<dyn std::error::Error>> {
//! // GUARD_AGENT_API_KEY, GUARD_AGENT_ENDPOINT and so on.
//! let agent = Agent::builder(AgentConfig::from_env()?)
//!     .http(HttpOptions::new().proxy("http://proxy.example:3128"))
//!     .event_processor(|event| (event.endpoint.as_deref() != Some("/health")).then_some(event))
//!     .on_error(|error| eprintln!("{error}"))
//!     .start()?;
//!
//! // The rules in force; or hear of every change.
//! let emergency = agent.rules().is_some_and(|rules| rules.rules.emergency_mode);
//! println!("emergency: {emergency}");
//! let subscription = agent.subscribe_rules(|rules: Option<&Arc<RulesDocument>>| {
//!     println!("{} addresses are banned", rules.map_or(0, |rules| rules.rules.ip_blacklist.len()));
//! });
//! # drop(subscription);
//! # Ok(())
//! # }
//! ```
//!
//! Such code runs beside the delivery, never on a thread that sends; it may block and may panic: see
//! [`AgentBuilder`]. [`AgentBuilder::transport`](shell::AgentBuilder::transport) takes a [`Transport`] in place of HTTP, such as the
//! [`CaptureTransport`] for tests.
//!
//! # Where things run
//!
//! [`Agent::send_event`](Agent#method.send_event) only moves the event into a queue. Everything else happens in one task.
//! [`AgentBuilder::start`](shell::AgentBuilder::start) spawns it on smol's global executor, which `smol::spawn` uses too:
//! a thread of its own starts with the first task (`SMOL_THREADS` sets how many). On any other executor, global, local
//! or single-threaded, [`start_with`](shell::AgentBuilder::start_with) puts it where you say:
//!
//! ```no_run
//! # fn run(config: guard_agent_smol::AgentConfig) -> Result<(), guard_agent_smol::StartError> {
//! let executor = smol::LocalExecutor::new();
//! let agent = guard_agent_smol::Agent::builder(config)
//!     .start_with(|driver| executor.spawn(driver).detach())?;
//! # Ok(())
//! # }
//! ```
//!
//! The futures of [`Agent`] may be awaited anywhere. Beside the executor there are, from the first use on:
//!
//! * one thread for timers and sockets (`async-io`, which smol starts for the whole process);
//! * threads of the agent's own for work that blocks (names are looked up there), which end when there is none.
//!
//! # What it links
//!
//! hyper, and rustls with aws-lc (a C compiler is needed). With the feature `redis`, the client of
//! Redis for smol, which runs its connection on smol's global executor wherever the agent runs, and links tokio's
//! `sync` module and codec for it; no tokio runtime is ever started. In a process where `guard-agent-tokio` is linked
//! too, a connection belongs to tokio if it is made inside a tokio runtime.
//!
//! # The journal
//!
//! As in `guard-agent-tokio`: `redis_url` names Redis (see [`RedisOptions`] for clusters, sentinels and TLS), `journal_dir` a
//! directory for [`FileStore`]; [`AgentBuilder::store`](shell::AgentBuilder::store) takes any other [`Store`]. What was
//! acknowledged is delivered by the next run, or by another agent, if this one dies.
//!
//! # async-std
//!
//! async-std is discontinued (RUSTSEC-2025-0052). For applications that are still on it, the feature `async-std` adds the
//! module `async_std`, whose agent runs its driver on async-std; all else is the same.
//!
//! # Logs
//!
//! The agent logs through `tracing` under the target `guard_agent`, rarely, and never per record. If log records are
//! themselves turned into events, leave out that target and those of the HTTP client: `hyper`, `rustls`.
//!
//! # Features
//!
//! `encryption`, on by default: `project_encryption_key`. `redis`, on by default: `RedisStore`, a journal in Redis. `isahc`,
//! off by default: `IsahcTransport`. `async-std`, off by default.
#![cfg_attr(doctest, doc = include_str!("../README.md"))]
#![forbid(unsafe_code)]

mod http;
#[cfg(feature = "isahc")]
mod isahc;
mod runtime;

#[cfg(feature = "isahc")]
pub use self::isahc::IsahcClient;
pub use guard_agent_proto::shell::{
    AgentError, Attempt, BoxFuture, CaptureTransport, FileStore, FileStoreError, HttpError, HttpOptions,
    MemoryStore, Receipt, RedisOptions, RulesSubscription, StartError, Store, Transport, TrySendError,
    TrySendErrorKind,
};
pub use guard_agent_proto::wire::Credentials;
pub use guard_agent_proto::*;
pub use http::HyperClient;
pub use runtime::Smol;

/// A running agent on smol: see [`shell::Agent`].
pub type Agent = shell::Agent<Smol>;
/// Puts an agent together that runs on smol: see [`shell::AgentBuilder`].
pub type AgentBuilder = shell::AgentBuilder<Smol>;
/// Delivers over HTTP/1.1, by hyper and rustls.
pub type HttpTransport = shell::http::HttpTransport<HyperClient>;
/// Delivers over HTTP/1.1, by isahc and libcurl; given to [`AgentBuilder::transport`](shell::AgentBuilder::transport).
#[cfg(feature = "isahc")]
pub type IsahcTransport = shell::http::HttpTransport<IsahcClient>;
/// A journal in Redis on smol: see [`shell::redis::RedisStore`].
#[cfg(feature = "redis")]
pub type RedisStore = shell::redis::RedisStore<shell::redis::AsyncRedis>;

/// Agents whose driver runs on async-std.
#[cfg(feature = "async-std")]
pub mod async_std {
    pub use crate::runtime::AsyncStd;

    /// A running agent on async-std: see [`shell::Agent`](crate::shell::Agent).
    pub type Agent = crate::shell::Agent<AsyncStd>;
    /// Puts an agent together that runs on async-std: see [`shell::AgentBuilder`](crate::shell::AgentBuilder).
    pub type AgentBuilder = crate::shell::AgentBuilder<AsyncStd>;
}
