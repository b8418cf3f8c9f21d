//! Tests of the composed agent, on virtual time.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test panics on what it does not expect")]

#[cfg(feature = "std")]
mod any_order;
mod blame;
mod delivery;
#[cfg(feature = "std")]
pub(crate) mod durability;
mod fairness;
#[cfg(feature = "std")]
mod intruders;
#[cfg(feature = "std")]
mod messages;
mod pace;
#[cfg(feature = "std")]
mod refusals;
mod reports;
mod rules_and_status;
mod weaknesses;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::store::StoreRequest;
use crate::{
    Agent, AgentConfig, AgentEvent, Batch, FlushId, Input, Instant, Kind, Now, Output, Payload, Reason,
    Record, Report, Request, Response, Timestamp, TransportError, TransportErrorKind,
};

/// An agent with a clock, and with what it asked for and said.
pub(crate) struct Bench {
    pub(crate) agent: Agent,
    pub(crate) now: Now,
    pub(crate) requests: Vec<Request>,
    pub(crate) stores: Vec<StoreRequest>,
    pub(crate) events: Vec<AgentEvent>,
    closed: Option<Report>,
    pub(crate) idle: (Instant, Reason),
    #[cfg(feature = "std")]
    store: crate::shell::MemoryStore,
}

impl Bench {
    pub(crate) fn new(adjust: impl FnOnce(&mut AgentConfig)) -> Self {
        Self::with_journal(false, adjust)
    }

    fn with_journal(journal: bool, adjust: impl FnOnce(&mut AgentConfig)) -> Self {
        Self::build(journal, [42; 32], adjust)
    }

    fn seeded(seed: [u8; 32], adjust: impl FnOnce(&mut AgentConfig)) -> Self {
        Self::build(false, seed, adjust)
    }

    fn build(journal: bool, seed: [u8; 32], adjust: impl FnOnce(&mut AgentConfig)) -> Self {
        let mut config = AgentConfig::builder("0123456789").build().unwrap();
        adjust(&mut config);
        let now = Now { instant: Instant::ZERO, wall: Timestamp::from_unix_micros(1_795_342_404_872_123) };
        let mut bench = Self {
            agent: Agent::new(&config, journal, seed, now).unwrap(),
            now,
            requests: Vec::new(),
            stores: Vec::new(),
            events: Vec::new(),
            closed: None,
            idle: (Instant::ZERO, Reason::Nothing),
            #[cfg(feature = "std")]
            store: crate::shell::MemoryStore::new(),
        };
        bench.input(Input::Timeout);
        bench
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.agent.handle_input(self.now, input);
        for outputs in 0.. {
            assert!(outputs < 10_000, "the agent does not come to rest");
            match self.agent.poll_output() {
                Output::Send(request) => self.requests.push(request),
                Output::Store(request) => self.stores.push(request),
                Output::Event(event) => self.events.push(event),
                Output::Closed(report) => assert!(self.closed.replace(report).is_none(), "closed twice"),
                Output::Idle { deadline, reason } => {
                    assert!(deadline > self.now.instant, "{reason:?} is due but not done");
                    self.idle = (deadline, reason);
                    break;
                }
            }
        }
        for kind in Kind::ALL {
            let ledger = self.agent.stats().records[kind];
            assert!(ledger.balances() && ledger.persisted <= ledger.pending, "{kind}: {ledger:?}");
        }
    }

    /// Lets time pass, stopping at each deadline on the way.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.idle.0 <= end {
            self.jump(self.idle.0.since(self.now.instant));
        }
        self.jump(end.since(self.now.instant));
    }

    /// Lets time pass in one step.
    fn jump(&mut self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap();
        let wall = Timestamp::from_unix_micros(self.now.wall.as_unix_micros() + micros);
        self.now = Now { instant: self.now.instant + time, wall };
        self.input(Input::Timeout);
    }

    pub(crate) fn send(&mut self, records: Vec<Record>) {
        self.input(Input::Records(records));
    }

    pub(crate) fn events(&mut self, count: usize) {
        self.send((0..count).map(event).collect());
    }

    /// The one request that is out.
    fn take_request(&mut self) -> Request {
        assert_eq!(self.requests.len(), 1, "{:?}", self.requests);
        self.requests.remove(0)
    }

    /// The one batch that is out, with its request.
    pub(crate) fn take_batch(&mut self) -> (Request, Arc<Batch>) {
        let request = self.take_request();
        let Payload::Batch(batch) = &request.payload else { panic!("{request:?}") };
        let batch = Arc::clone(batch);
        (request, batch)
    }

    fn answer(&mut self, request: &Request, status: u16) {
        self.answer_with(request, Response { status, ..Response::accepted() });
    }

    pub(crate) fn answer_with(&mut self, request: &Request, response: Response) {
        self.input(Input::Response { id: request.id, result: Ok(response) });
    }

    fn fail(&mut self, request: &Request) {
        self.fail_as(request, TransportErrorKind::Connect);
    }

    pub(crate) fn fail_as(&mut self, request: &Request, kind: TransportErrorKind) {
        let error = TransportError::new(kind, "refused");
        self.input(Input::Response { id: request.id, result: Err(error) });
    }

    fn flush(&mut self, secs: u64) -> FlushId {
        let id = FlushId::from_u64(7);
        self.input(Input::Flush { id, deadline: self.now.instant + Duration::from_secs(secs) });
        id
    }

    pub(crate) fn shutdown(&mut self, secs: u64) {
        self.input(Input::Shutdown { deadline: self.now.instant + Duration::from_secs(secs) });
    }
}

pub(crate) fn event(number: usize) -> Record {
    record(Kind::Event, number, false)
}

pub(crate) fn record(kind: Kind, number: usize, attack: bool) -> Record {
    let json = alloc::format!(r#"{{"idempotency_key":"{}","metadata":{{}}}}"#, key(number));
    Record::new(kind, attack, json.into_bytes().into())
}

/// The numbers of the records of a batch.
fn numbers(batch: &Batch) -> Vec<usize> {
    let number = |json: &[u8]| {
        let text = core::str::from_utf8(json).unwrap();
        text.split_once("-8000-").unwrap().1.split_once('"').unwrap().0.parse().unwrap()
    };
    batch.records().map(number).collect()
}

/// The idempotency key of that record.
fn key(number: usize) -> String {
    alloc::format!("00000000-0000-4000-8000-{number:012}")
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
