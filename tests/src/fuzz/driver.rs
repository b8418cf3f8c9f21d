use std::collections::VecDeque;
use std::time::Duration;

use guard_agent_proto::store::StoreRequest;
use guard_agent_proto::{
    Agent, AgentConfig, Endpoint, Input, Instant, Kind, Ledger, Now, Output, Record, RequestId, Timestamp,
};

/// Outputs in one step, and steps until an agent that was told to stop has stopped: far more than there can be.
const ENOUGH: usize = 10_000;

/// Drives an agent and checks after every input what must always hold.
pub(super) struct Driver {
    pub(super) agent: Agent,
    pub(super) now: Now,
    /// Requests without an answer.
    pub(super) requests: Vec<(RequestId, Endpoint)>,
    /// Store operations without an answer.
    pub(super) operations: Vec<StoreRequest>,
    /// When requests were sent, as far as the limit of requests looks back.
    sent: VecDeque<Instant>,
    rate_limit: usize,
    rate_window: Duration,
    closed: bool,
}

impl Driver {
    pub(super) fn new(config: &AgentConfig, journal: bool) -> Self {
        let now = Now {
            instant: Instant::from_micros(1),
            wall: Timestamp::from_unix_micros(1_800_000_000_000_000),
        };
        let mut driver = Self {
            agent: Agent::new(config, journal, [7; 32], now).unwrap(),
            now,
            requests: Vec::new(),
            operations: Vec::new(),
            sent: VecDeque::new(),
            rate_limit: config.rate_limit,
            rate_window: config.rate_window,
            closed: false,
        };
        driver.settle();
        driver
    }

    pub(super) fn input(&mut self, input: Input) {
        self.agent.handle_input(self.now, input);
        self.settle();
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now.instant = self.now.instant + time;
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let wall = self.now.wall.as_unix_micros().saturating_add(micros);
        self.now.wall = Timestamp::from_unix_micros(wall);
        self.input(Input::Timeout);
    }

    /// Shuts down without another answer: it must end by its deadline, with every record accounted for.
    pub(super) fn finish(mut self) {
        let deadline = self.now.instant + Duration::from_secs(30);
        self.input(Input::Shutdown { deadline });
        self.advance(Duration::from_secs(30));
        assert!(self.closed, "still open after the deadline of the shutdown");
        let before = self.agent.stats();
        self.input(Input::Records(vec![record(Kind::Event, false, 10)]));
        let after = self.agent.stats();
        assert_eq!(after.records.events.pending, before.records.events.pending);
        assert_eq!(after.records.events.dropped.total(), before.records.events.dropped.total() + 1);
    }

    fn settle(&mut self) {
        for _ in 0..ENOUGH {
            match self.agent.poll_output() {
                Output::Send(request) => {
                    assert!(!self.closed, "a request after the end");
                    self.count_request();
                    self.requests.push((request.id, request.payload.endpoint()));
                }
                Output::Store(request) => {
                    assert!(!self.closed, "a store operation after the end");
                    self.operations.push(request);
                }
                Output::Event(_) => {}
                Output::Closed(_) => {
                    assert!(!self.closed, "closed twice");
                    self.closed = true;
                }
                Output::Idle { deadline, reason } => {
                    assert!(deadline > self.now.instant, "a deadline that has passed, for {reason:?}");
                    let stats = self.agent.stats();
                    check(&stats.records.events);
                    check(&stats.records.metrics);
                    return;
                }
                output => panic!("unknown output {output:?}"),
            }
        }
        panic!("no end of outputs");
    }

    fn count_request(&mut self) {
        let now = self.now.instant;
        while self.sent.front().is_some_and(|sent| now - *sent >= self.rate_window) {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
        assert!(self.sent.len() <= self.rate_limit, "{} requests in a window", self.sent.len());
    }
}

/// A record of about that many bytes.
pub(super) fn record(kind: Kind, attack: bool, size: usize) -> Record {
    Record::new(kind, attack, format!("{{\"x\":\"{}\"}}", "y".repeat(size)).into_bytes().into())
}

fn check(ledger: &Ledger) {
    assert!(ledger.balances(), "{ledger:?}");
    assert!(ledger.persisted <= ledger.pending, "{ledger:?}");
}
