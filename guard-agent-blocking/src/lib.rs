//! The Guard agent for synchronous services: it delivers security events and metrics to the Guard platform and brings back
//! dynamic security rules, with plain threads and no async runtime.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use guard_agent_blocking::{Agent, AgentConfig, SecurityEvent};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = AgentConfig::builder("your-api-key").build()?;
//! let agent = Agent::builder(config).start()?;
//!
//! // From any thread, in a few tens of nanoseconds:
//! agent.send_event(SecurityEvent::now("suspicious_request").ip_address("203.0.113.9"));
//!
//! let report = agent.shutdown(Duration::from_secs(10));
//! println!("everything delivered: {}", report.is_complete());
//! # Ok(())
//! # }
//! ```
//!
//! # Sending
//!
//! | call | when memory is full |
//! |---|---|
//! | `send_event` | gives up what `buffer_overflow_policy` says, counted; with the policy `block` it waits |
//! | `try_send_event` | the event comes back, with the reason |
//! | `send_event_within(event, timeout)` | waits for room |
//! | `try_send_event_with_receipt`, `send_event_with_receipt_within` | the same two, with a [`Receipt`] that tells what becomes of the event |
//!
//! There is the same for metrics. `pressure` tells early that memory fills, `stats` where every record is,
//! [`flush`](Agent::flush) delivers now what waits.
//!
//! # Rules, and code of yours
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use guard_agent_blocking::{Agent, AgentConfig, HttpOptions, RulesDocument};
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
//! [`Agent::send_event`] only moves the event into a queue. Everything else happens on one background thread, `guard-agent`,
//! which sleeps while there is nothing to do. A call that blocks (a request to the platform, an operation on the journal,
//! a processor or hook of yours) gets a thread of its own, `guard-agent-io`, so that deadlines hold whatever it waits
//! for; such threads are used again, and end five seconds after the last use. Where
//! [`start_with`](AgentBuilder::start_with) puts the work on an executor of yours, `guard-agent-timer` wakes it in time.
//!
//! The agent may be made, used and dropped anywhere, also inside an async runtime, whose threads
//! [`flush`](Agent::flush), [`persist`](Agent::persist), [`shutdown`](Agent::shutdown) and the calls that wait for room
//! would block.
//!
//! # After a fork
//!
//! A child that is forked has no threads but one. An agent of the parent is closed there: what it is sent is refused
//! with [`TrySendErrorKind::Closed`], and its [health](Agent#method.health) says that the driver is gone. The parent goes
//! on undisturbed. Start a new agent in the child. A journal in files stays the parent's as long as the child has
//! its files open: should the parent die, others adopt it once the child has ended or executed another program.
//!
//! # The journal
//!
//! Without a journal, what waits is in memory and goes with the process. With one it is durable a few milliseconds after
//! it was accepted, may grow beyond memory while the platform is away, and is delivered by the next run, or by another
//! agent, if this one dies: `redis_url` names Redis (see [`RedisOptions`] for clusters, sentinels and TLS), `journal_dir` a
//! directory for [`FileStore`]; [`AgentBuilder::store`](shell::AgentBuilder::store) takes any other [`Store`].
//!
//! # Logs
//!
//! The agent logs through `tracing` under the target `guard_agent`, rarely, and never per record. If log records are
//! themselves turned into events, leave out that target and those of the HTTP client: `ureq`, `ureq_proto`, `rustls`.
//!
//! # Features
//!
//! `encryption`, on by default: `project_encryption_key`. `redis`, on by default: `RedisStore`, a journal in Redis.
#![cfg_attr(doctest, doc = include_str!("../README.md"))]
#![forbid(unsafe_code)]

mod agent;
mod alarm;
mod block_on;
mod heads;
mod http;
mod receipt;
#[cfg(feature = "redis")]
mod redis;
mod runtime;

pub use agent::Agent;
pub use guard_agent_proto::shell::{
    AgentError, Attempt, BoxFuture, CaptureTransport, FileStore, FileStoreError, HttpError, HttpOptions,
    MemoryStore, RedisOptions, RulesSubscription, StartError, Store, Transport, TrySendError,
    TrySendErrorKind,
};
pub use guard_agent_proto::wire::Credentials;
pub use guard_agent_proto::*;
pub use http::UreqClient;
pub use receipt::Receipt;
#[cfg(feature = "redis")]
pub use redis::RedisStore;
pub use runtime::Threads;

/// Puts an agent together that runs on plain threads: see [`shell::AgentBuilder`].
pub type AgentBuilder = shell::AgentBuilder<Threads>;
/// Delivers over HTTP/1.1, by ureq and rustls.
pub type HttpTransport = shell::http::HttpTransport<UreqClient>;
