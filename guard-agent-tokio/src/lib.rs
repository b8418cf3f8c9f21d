//! The Guard agent for tokio services: it delivers security events and metrics to the Guard platform
//! and brings back dynamic security rules.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use guard_agent_tokio::{Agent, AgentConfig, SecurityEvent};
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
//! use guard_agent_tokio::{Agent, AgentConfig, HttpOptions, RulesDocument};
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
//! [`Agent::send_event`](Agent#method.send_event) only moves the event into a queue. Everything else
//! happens in one task that [`AgentBuilder::start`] spawns on the current runtime, which needs its timer
//! (`enable_time`) and, for HTTP, its I/O (`enable_io`) turned on; `enable_all` does both. Work that takes
//! longer than an async worker should be kept is done on a thread of the agent's own, which starts with the first of it.
//!
//! The agent belongs to the runtime it was started on. When that runtime is shut down, the agent stops,
//! and says so in its [health](Agent#method.health); sending to it stays harmless.
//!
//! # The journal
//!
//! Without a journal, what waits is in memory and goes with the process. With one it is durable a few milliseconds after
//! it was accepted, may grow beyond memory while the platform is away, and is delivered by the next run, or by
//! another agent, if this one dies:
//!
//! ```no_run
//! # use std::time::Duration;
//! # use guard_agent_tokio::{Agent, AgentConfig, Outcome, SecurityEvent};
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = AgentConfig::builder("your-api-key").redis_url("redis://127.0.0.1").build()?;
//! let agent = Agent::builder(config).start()?;
//!
//! // An audit event: wait until it is safe, but not for ever.
//! let mut receipt = agent.try_send_event_with_receipt(SecurityEvent::now("authentication_failed"))?;
//! let outcome = tokio::time::timeout(Duration::from_secs(1), receipt.secured()).await;
//! let safe = matches!(outcome, Ok(Some(Outcome::Durable | Outcome::Delivered)));
//!
//! // Or for everything so far.
//! let report = agent.persist(Duration::from_secs(1)).await;
//! println!("{safe} {}", report.is_secured());
//! # Ok(())
//! # }
//! ```
//!
//! `redis_url` names Redis (see `RedisOptions` for clusters, sentinels and TLS), `journal_dir` a directory for
//! [`FileStore`]; [`AgentBuilder::store`] takes any other [`Store`]. A store that fails costs durability alone: delivery
//! goes on from memory, the [health](Agent#method.health) says why, and what is still undelivered is journaled when the
//! store is back. Duplicates are possible only where an answer was lost or an agent slept past its lease, and carry
//! the same idempotency keys.
//!
//! # Logs
//!
//! The agent logs through `tracing` under the target `guard_agent`, rarely, and never per record. If
//! log records are themselves turned into events, leave out that target and those of the HTTP client:
//! `hyper`, `hyper_util`, `redis`, `reqwest`, `rustls`.
//!
//! # Features
//!
//! `encryption`, on by default: `project_encryption_key`. `redis`, on by default: `RedisStore`, a journal in Redis.
#![cfg_attr(doctest, doc = include_str!("../README.md"))]
#![forbid(unsafe_code)]

mod http;
mod runtime;

pub use guard_agent_proto::shell::{
    AgentError, Attempt, BoxFuture, CaptureTransport, FileStore, FileStoreError, HttpError, HttpOptions,
    MemoryStore, Receipt, RedisOptions, RulesSubscription, StartError, Store, Transport, TrySendError,
    TrySendErrorKind,
};
pub use guard_agent_proto::wire::Credentials;
pub use guard_agent_proto::*;
pub use http::ReqwestClient;
pub use runtime::Tokio;

/// A running agent on tokio: see [`shell::Agent`].
pub type Agent = shell::Agent<Tokio>;
/// Puts an agent together that runs on tokio: see [`shell::AgentBuilder`].
pub type AgentBuilder = shell::AgentBuilder<Tokio>;
/// Delivers over HTTP/1.1, by reqwest and rustls.
pub type HttpTransport = shell::http::HttpTransport<ReqwestClient>;
/// A journal in Redis on tokio: see [`shell::redis::RedisStore`].
#[cfg(feature = "redis")]
pub type RedisStore = shell::redis::RedisStore<shell::redis::AsyncRedis>;
