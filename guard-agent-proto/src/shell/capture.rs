use std::boxed::Box;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use super::{Attempt, BoxFuture, Transport};
use crate::{
    AgentStatus, Batch, DynamicRules, Endpoint, Kind, Payload, Response, SecurityEvent, SecurityMetric,
};

/// A transport for the tests of applications: it keeps what would be sent, and answers as told.
///
/// Clones share what they keep. Without a script it accepts everything and has no new rules.
#[derive(Clone, Debug, Default)]
pub struct CaptureTransport(Arc<Mutex<Captured>>);

#[derive(Debug, Default)]
struct Captured {
    batches: Vec<Arc<Batch>>,
    statuses: Vec<Arc<AgentStatus>>,
    attempts: BTreeMap<Endpoint, usize>,
    answers: BTreeMap<Endpoint, VecDeque<Attempt>>,
    rules: Option<Response>,
}

impl CaptureTransport {
    /// Keeps nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `answer` to the next request to `endpoint` that has no answer yet.
    pub fn push_answer(&self, endpoint: Endpoint, answer: Attempt) {
        self.lock().answers.entry(endpoint).or_default().push_back(answer);
    }

    /// Serves these rules from now on.
    pub fn set_rules(&self, rules: &DynamicRules) {
        self.lock().rules = Some(Response::rules(rules));
    }

    /// The events that were delivered, in order: those of requests that were answered with a success.
    #[must_use]
    pub fn events(&self) -> Vec<SecurityEvent> {
        self.delivered(Kind::Event)
    }

    /// The metrics that were delivered, in order.
    #[must_use]
    pub fn metrics(&self) -> Vec<SecurityMetric> {
        self.delivered(Kind::Metric)
    }

    /// The batches that were delivered, in order.
    #[must_use]
    pub fn batches(&self) -> Vec<Arc<Batch>> {
        self.lock().batches.clone()
    }

    /// The statuses that were delivered, in order.
    #[must_use]
    pub fn statuses(&self) -> Vec<Arc<AgentStatus>> {
        self.lock().statuses.clone()
    }

    /// Requests to `endpoint` so far, whatever was answered.
    #[must_use]
    pub fn attempts(&self, endpoint: Endpoint) -> usize {
        self.lock().attempts.get(&endpoint).copied().unwrap_or(0)
    }

    fn delivered<T: serde::de::DeserializeOwned>(&self, kind: Kind) -> Vec<T> {
        let batches = self.batches();
        let records = batches.iter().filter(|batch| batch.kind() == kind).flat_map(|batch| batch.records());
        // What the agent encoded, its own models read.
        records.filter_map(|json| serde_json::from_slice(json).ok()).collect()
    }

    fn answer(&self, payload: &Payload) -> Attempt {
        let mut captured = self.lock();
        let endpoint = payload.endpoint();
        *captured.attempts.entry(endpoint).or_default() += 1;
        let scripted = captured.answers.get_mut(&endpoint).and_then(VecDeque::pop_front);
        let answer = scripted.unwrap_or_else(|| match (payload, &captured.rules) {
            (Payload::Rules { .. }, Some(rules)) => Ok(rules.clone()),
            (Payload::Rules { .. }, None) => Ok(Response { status: 304, ..Response::default() }),
            (Payload::Batch(_) | Payload::Status(_), _) => Ok(Response::accepted()),
        });
        if answer.as_ref().is_ok_and(|response| (200..300).contains(&response.status)) {
            match payload {
                Payload::Batch(batch) => captured.batches.push(Arc::clone(batch)),
                Payload::Status(status) => captured.statuses.push(Arc::clone(status)),
                Payload::Rules { .. } => {}
            }
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Captured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for CaptureTransport {
    fn send_events(&self, batch: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        self.send(Payload::Batch(batch))
    }

    fn send_metrics(&self, batch: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        self.send(Payload::Batch(batch))
    }

    fn send_status(&self, status: Arc<AgentStatus>) -> BoxFuture<'_, Attempt> {
        self.send(Payload::Status(status))
    }

    fn fetch_rules(&self, etag: Option<Arc<str>>) -> BoxFuture<'_, Attempt> {
        self.send(Payload::Rules { etag })
    }

    fn send(&self, payload: Payload) -> BoxFuture<'_, Attempt> {
        Box::pin(std::future::ready(self.answer(&payload)))
    }
}
