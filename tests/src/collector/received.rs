use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guard_agent_proto::{Endpoint, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

/// What a collector received, in order of arrival.
#[derive(Default)]
pub struct Received {
    /// Events that were taken, each one once.
    pub events: Vec<Arrival>,
    /// Metrics that were taken.
    pub metrics: Vec<Arrival>,
    /// Status documents that were taken.
    pub statuses: Vec<Value>,
    /// Every request that was understood as one.
    pub exchanges: Vec<Exchange>,
    /// Against the contract, in words.
    pub violations: Vec<String>,
    /// Events that were taken: also where they are not kept.
    pub event_count: u64,
    /// Metrics that were taken: also where they are not kept.
    pub metric_count: u64,
    /// Events that were taken although they had been taken before.
    pub duplicates: u64,
    /// Answers that were sent once more, unasked, as far as the client still listened.
    pub unasked: u64,
    /// Bytes of answers without end that a client let be sent.
    pub flooded: usize,
    /// Requests, by endpoint.
    pub requests: BTreeMap<Endpoint, u64>,
    /// Body bytes as they came over the network.
    pub bytes: u64,
    /// When the first and the last event arrived.
    pub event_span: Option<(Instant, Instant)>,
    pub(super) keys: HashSet<Uuid>,
    /// By batch id: the hash of the body before compression.
    pub(super) batches: HashMap<String, [u8; 32]>,
    /// From an event's timestamp to its arrival, in microseconds.
    pub(super) propagation: Vec<u32>,
}

/// A record that was taken.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its idempotency key; metrics have none.
    pub key: Option<Uuid>,
    /// When it says that it happened.
    pub timestamp: Option<Timestamp>,
    /// The record exactly as it was sent (or encrypted).
    pub json: Box<str>,
    /// The batch that brought it.
    pub batch_id: Arc<str>,
    /// When it arrived.
    pub at: Instant,
    /// When it arrived.
    pub wall: Timestamp,
}

/// A request and how it was answered.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When it had arrived in full.
    pub at: Instant,
    /// The same on the collector's clock, which is virtual on a [`Wire`](super::Wire).
    pub time: Duration,
    /// Which endpoint it was for.
    pub endpoint: Endpoint,
    /// Path as sent.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Of a batch.
    pub batch_id: Option<String>,
    /// SHA-256 of the body before compression.
    pub body_hash: [u8; 32],
    /// Bytes of the body as sent.
    pub body_len: usize,
    /// Idempotency keys of the events in it, in order.
    pub keys: Vec<Uuid>,
    /// Metrics in it.
    pub metrics: usize,
    /// Whether its records, except named ones, were taken.
    pub taken: bool,
}

impl Received {
    /// The keys of the events, in order of arrival.
    #[must_use]
    pub fn event_keys(&self) -> Vec<Uuid> {
        self.events.iter().filter_map(|event| event.key).collect()
    }

    /// The requests to an endpoint.
    pub fn to(&self, endpoint: Endpoint) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter().filter(move |exchange| exchange.endpoint == endpoint)
    }

    /// The most requests that arrived in any window of that length.
    #[must_use]
    pub fn busiest_window(&self, window: Duration) -> usize {
        let times: Vec<_> = self.exchanges.iter().map(|exchange| exchange.at).collect();
        let mut start = 0;
        let mut most = 0;
        for (end, at) in times.iter().enumerate() {
            while *at - times[start] >= window {
                start += 1;
            }
            most = most.max(end + 1 - start);
        }
        most
    }

    /// The time from event to arrival that `permille` of the events stayed within.
    #[must_use]
    pub fn propagation(&self, permille: u16) -> Option<Duration> {
        let mut sorted = self.propagation.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let index = (last * usize::from(permille)).div_ceil(1000);
        Some(Duration::from_micros(u64::from(sorted[index.min(last)])))
    }

    /// The numbers, as the `collector` program tells them.
    #[must_use]
    pub fn summary(&self) -> Value {
        let requests: BTreeMap<_, _> = self.requests.iter().map(|(e, n)| (e.to_string(), n)).collect();
        let ms = |permille| self.propagation(permille).map(|time| time.as_secs_f64() * 1e3);
        json!({
            "events": self.event_count,
            "metrics": self.metric_count,
            "duplicates": self.duplicates,
            "statuses": self.statuses.len(),
            "requests": requests,
            "bytes": self.bytes,
            "seconds": self.event_span.map(|(first, last)| (last - first).as_secs_f64()),
            "propagation_ms": {"p50": ms(500), "p99": ms(990), "max": ms(1000)},
            "violations": self.violations,
        })
    }
}

impl fmt::Debug for Received {
    /// The numbers: the rest may be long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.summary())
    }
}

impl Arrival {
    /// The record.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }

    /// The time from event to arrival; zero where clocks disagree.
    #[must_use]
    pub fn propagation(&self) -> Option<Duration> {
        let micros = self.wall.as_unix_micros() - self.timestamp?.as_unix_micros();
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }
}
