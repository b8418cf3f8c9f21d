//! The sans-IO core of the Guard telemetry agent: every decision, no clock, no I/O.
//!
//! Applications use a runtime crate (`guard-agent-tokio`, ...). This crate is for those who write one,
//! who simulate outages, or who want to know what the agent does.
//!
//! # The run loop
//!
//! 1. Encode what the application hands over with an [`Encoder`]: sampled, redacted, truncated, JSON.
//! 2. Tell the [`Agent`] what happened: [`Agent::handle_input`], with the time.
//! 3. Ask it what to do: [`Agent::poll_output`], until it answers [`Output::Idle`].
//! 4. Do that: [`Output::Send`] is a request ([`wire::Wire`] makes HTTP of it), [`Output::Store`] an
//!    operation on the journal, [`Output::Event`] news for the application.
//! 5. Wait until the deadline of [`Output::Idle`], an answer, or a new record; go to 2.
//!
//! Each input is followed by polling until idle (the single-mutation rule). Nothing in any other order
//! panics or loses a record, but deadlines are only exact when the rule is kept. Answers carry the id of
//! their request; late, repeated and unknown ones are counted and ignored.
//!
//! ```
//! use core::time::Duration;
//! use guard_agent_proto::{
//!     Agent, AgentConfig, Encoder, Input, Instant, Kind, Now, Output, Response, SecurityEvent, Timestamp,
//! };
//!
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! let config = AgentConfig::builder("an-api-key").build()?;
//! let at = |millis: u64| Now {
//!     instant: Instant::from_micros(millis * 1_000),
//!     wall: Timestamp::from_unix_micros(1_795_342_404_000_000 + millis as i64 * 1_000),
//! };
//! // Seeds come from the operating system's randomness; in a simulation, from the seed of the run.
//! // Runtimes mix more of it in later, by `reseed`.
//! let mut encoder = Encoder::new(&config, [1; 32])?;
//! let mut agent = Agent::new(&config, false, [2; 32], at(0))?;
//!
//! let event = SecurityEvent::new("penetration_attempt", at(0).wall).ip_address("192.0.2.7");
//! agent.handle_input(at(0), Input::Records(vec![encoder.event(&event)?]));
//! let Output::Idle { deadline, .. } = agent.poll_output() else { panic!("events linger for company") };
//! assert_eq!(deadline, at(50).instant);
//!
//! agent.handle_input(at(50), Input::Timeout);
//! let Output::Send(request) = agent.poll_output() else { panic!("now it leaves") };
//! agent.handle_input(at(90), Input::Response { id: request.id, result: Ok(Response::accepted()) });
//! assert_eq!(agent.stats().records[Kind::Event].delivered, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Notions of time
//!
//! * [`Instant`]: monotonic, from a zero that the runtime chooses. Decides everything.
//! * [`Timestamp`]: the wall clock. Dates batches and status, ends rules, reads `Retry-After` dates. It may
//!   jump; nothing but those depends on it.
//!
//! # Accounting
//!
//! After every input and for each kind, [`Ledger::balances`], and every drop has a [`DropReason`]:
//!
//! ```text
//! accepted + recovered = delivered + pending + handed_over + aggregated + dropped
//! ```
//!
//! # Features
//!
//! Without features the crate is `no_std + alloc`. `std` adds `shell`, what the runtime crates share; `redis`
//! adds to it what they share about a journal in Redis.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod agent;
mod backoff;
mod batch;
mod batcher;
mod breaker;
mod buffer;
mod config;
mod encode;
mod fair;
mod flush;
mod health;
mod ids;
mod io;
mod journal;
mod lane;
mod message;
mod model;
mod pacer;
mod quarantine;
mod record;
mod request;
mod rng;
mod rules;
mod soonest;
mod stats;
mod status;
#[doc = include_str!("../MIGRATING.md")]
pub mod migrating {}
pub mod store;
#[cfg(test)]
mod tests;
mod text;
mod time;
pub mod wire;

#[cfg(feature = "std")]
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the shell reads clocks for the core")]
pub mod shell;

pub use agent::Agent;
pub use batch::Batch;
pub use config::{
    AgentConfig, AgentConfigBuilder, ConfigError, ConfigProblem, ConfigWarning, CredentialRule, DrainOrder,
    IpPrivacy, OverflowPolicy, Secret,
};
pub use encode::{EncodeError, Encoder};
pub use ids::{BatchId, FlushId, ReceiptId, RequestId, Seq, StoreOpId};
pub use io::{AgentEvent, ErrorStage, Input, Outcome, Output, Reason};
pub use message::printable;
pub use model::{
    AgentStatus, DynamicRules, InvalidRecord, IpAddress, Metadata, MetricType, RateLimit, ReadJsonError,
    SecurityEvent, SecurityMetric, StatusLevel, Tags, Timestamp, TimestampError, event_type, read_json,
};
pub use record::{DropReason, Kind, Record};
pub use request::{Endpoint, Payload, Request, Response, RulesDocument, TransportError, TransportErrorKind};
pub use stats::{
    BreakerState, ByKind, DeadLetter, DropCounts, Health, HealthReason, Ledger, Pressure, Report, Stats,
};
pub use time::{Instant, Now};
