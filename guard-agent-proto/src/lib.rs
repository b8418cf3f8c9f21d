//! The sans-IO core of the Guard telemetry agent.
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
mod flush;
mod health;
mod ids;
mod io;
mod journal;
mod lane;
mod model;
mod pacer;
mod record;
mod request;
mod rng;
mod rules;
mod soonest;
mod stats;
mod status;
mod store;
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
    AgentConfig, AgentConfigBuilder, ConfigError, ConfigProblem, DrainOrder, IpPrivacy, OverflowPolicy,
    Secret,
};
pub use encode::{EncodeError, Encoder};
pub use ids::{BatchId, FlushId, RequestId, Seq, StoreOpId, StreamId};
pub use io::{AgentEvent, ErrorStage, Input, Output, Reason};
pub use model::{
    AgentStatus, DynamicRules, InvalidRecord, IpAddress, Metadata, MetricType, RateLimit, SecurityEvent,
    SecurityMetric, StatusLevel, Tags, Timestamp, TimestampError, event_type,
};
pub use record::{DropReason, Kind, Record};
pub use request::{Endpoint, Payload, Request, Response, RulesDocument, TransportError, TransportErrorKind};
pub use stats::{
    BreakerState, ByKind, DeadLetter, DropCounts, Health, HealthReason, Ledger, Pressure, Report, Stats,
};
pub use store::{StoreAnswer, StoreEntry, StoreError, StoreErrorKind, StoreOp, StoreRequest};
pub use time::{Instant, Now};
