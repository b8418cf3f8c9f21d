//! What is measured, each behind the same few calls.

use std::future::{Future, ready};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::request::Request;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Name {
    Ours,
    Peer,
    BarePush,
    OpenTelemetry,
    Sentry,
}

impl Name {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "guard-agent-tokio",
            Self::Peer => "guard-agent-rs 3.2.4",
            Self::BarePush => "Mutex<VecDeque>",
            Self::OpenTelemetry => "opentelemetry_sdk 0.33",
            Self::Sentry => "sentry 0.49",
        }
    }
}

/// How bodies travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    Plain,
    Gzip,
    /// Signed, encrypted and compressed.
    Sealed,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Plain, Self::Gzip, Self::Sealed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Sealed => "hmac+aes+gzip",
        }
    }
}

/// How an agent is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// Nothing but the endpoint and the key.
    Defaults,
    /// Room for everything that a round sends.
    Hold,
    /// 5,000 events a second go through. The peer's default capacity of 100 would drop most of them, so
    /// that it gets one for which it drops none.
    Stream,
    /// The defaults without the request limit, as far as it can be lifted.
    Unlimited,
}

/// Where events are kept until they are delivered, beside memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Journal {
    Absent,
    Redis {
        url: String,
    },
    /// A Redis that stops answering once the agent has used it.
    StoppedRedis {
        url: String,
        pid: i32,
    },
    Files {
        dir: PathBuf,
    },
}

impl Journal {
    pub const fn stops(&self) -> bool {
        matches!(self, Self::StoppedRedis { .. })
    }
}

/// Where to and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub endpoint: String,
    pub mode: Mode,
    pub load: Load,
    pub journal: Journal,
}

pub const API_KEY: &str = "key-of-the-benchmark";
pub const INSTALL_ID: &str = "6f0a2880-1a2b-4c3d-9e4f-aabbccddeeff";
pub const SIGNING_SECRET: &str = "secret-of-the-benchmark";
pub const ENCRYPTION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Capacity under [`Load::Hold`].
pub const HOLD: usize = 262_144;

/// One of those that are measured.
pub trait Side: Clone + Send + Sync + 'static {
    type Event: Send + 'static;

    fn event(&self, request: &Request<'_>) -> Self::Event;

    fn start(setup: &Setup) -> impl Future<Output = Self>;

    /// What a caller does with an event: at once where that needs no waiting.
    fn send(&self, event: Self::Event) -> impl Future<Output = ()> + Send;

    /// Gets rid of what waits, in the way that is quickest.
    fn reset(&self) -> impl Future<Output = ()>;

    /// Delivers what waits.
    fn flush(&self) -> impl Future<Output = ()>;

    /// Makes what waits durable.
    fn persist(&self) -> impl Future<Output = ()> {
        ready(())
    }

    /// How many events were delivered.
    fn delivered(&self) -> impl Future<Output = u64> {
        ready(0)
    }

    /// Bytes of each change that it made in a journal in files.
    fn groups(&self) -> Vec<usize> {
        Vec::new()
    }

    /// How many events were given up.
    fn dropped(&self) -> impl Future<Output = u64>;

    /// Bytes of events in memory as the agent itself counts them.
    fn memory_bytes(&self) -> Option<u64> {
        None
    }
}
