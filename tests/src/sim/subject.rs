use std::collections::BTreeSet;
use std::time::Duration;

use guard_agent_proto::store::{StoreAnswer, StoreError, StoreErrorKind, StoreOp};
use guard_agent_proto::wire::HttpRequest;
use guard_agent_proto::{
    Agent, AgentConfig, AgentEvent, BatchId, ConfigError, DropReason, Health, HealthReason, Input, Instant,
    Kind, Now, Outcome, Output, Payload, Request, RequestId, RulesDocument, Stats,
};

use super::bug::Bug;
use super::platform::BODY_LIMIT;
use super::scenario::API_KEY;

/// What the world drives: the agent, or the agent with a bug that the invariants must find.
#[derive(Debug)]
pub struct Subject {
    agent: Agent,
    bug: Option<Bug>,
    /// Given out before anything else of the agent's.
    held: Vec<Output>,
    steps: u64,
    now: Instant,
    /// Batches that were sent, and the last request with one.
    batches: BTreeSet<BatchId>,
    last_batch: Option<Request>,
    highest_request: u64,
    first_rules: Option<i64>,
}

/// Steps that go right before some bugs show.
const WARM_UP: u64 = 20;
/// More outputs to one input than any agent needs.
const MANY: usize = 100;

impl Subject {
    pub(crate) fn new(
        config: &AgentConfig,
        journal: bool,
        seed: [u8; 32],
        now: Now,
        bug: Option<Bug>,
    ) -> Result<Self, ConfigError> {
        let mut config = config.clone();
        misconfigure(&mut config, bug);
        Ok(Self {
            agent: Agent::new(&config, journal, seed, now)?,
            bug,
            held: Vec::new(),
            steps: 0,
            now: now.instant,
            batches: BTreeSet::new(),
            last_batch: None,
            highest_request: 0,
            first_rules: None,
        })
    }

    pub(crate) fn handle_input(&mut self, now: Now, mut input: Input) {
        self.steps += 1;
        self.now = now.instant;
        if self.bug.is_some() {
            self.mistake(&mut input);
        }
        self.agent.handle_input(now, input);
        self.first_rules = self.first_rules.or_else(|| self.version());
    }

    /// Makes something else of an input.
    fn mistake(&mut self, input: &mut Input) {
        match (self.bug, &mut *input) {
            (Some(Bug::LosesARecord), Input::Records(records)) if self.steps > WARM_UP => {
                records.pop();
            }
            (Some(Bug::DoublesARecord), Input::Records(records)) if self.steps > WARM_UP => {
                records.extend(records.last().cloned());
            }
            (Some(Bug::ForgetsWhatIsInvalid), Input::Invalid { count, .. }) => *count = 0,
            (Some(Bug::CallsTheFilteredDeadLetters), Input::Lost { reason, .. }) => {
                *reason = DropReason::DeadLetter;
            }
            (Some(Bug::IgnoresAnswers), Input::Response { .. }) => *input = Input::Timeout,
            (Some(Bug::HalvesRetryAfter), Input::Response { result: Ok(response), .. }) => {
                let seconds = response.retry_after.as_ref().and_then(|text| text.trim().parse::<u64>().ok());
                response.retry_after = seconds.map(|seconds| (seconds / 2).to_string());
            }
            (Some(Bug::MistakesTheQuota), Input::Response { result: Ok(response), .. })
                if response.body.windows(5).any(|word| word == b"quota") =>
            {
                response.body = b"{\"success\":false}".to_vec();
            }
            (Some(Bug::SendsAgainWhatArrived), Input::Response { id, result: Ok(response) }) => {
                let all = response.body.ends_with(b"\"errors\":null}");
                let sent = self.last_batch.take_if(|request| all && request.id == *id);
                self.held.extend(sent.map(|request| Output::Send(renumbered(request, self.highest_request))));
            }
            (Some(Bug::FlushesLate), Input::Flush { deadline, .. })
            | (Some(Bug::ClosesLate), Input::Shutdown { deadline }) => {
                *deadline = *deadline + Duration::from_secs(60);
            }
            (Some(Bug::GivesUpAtShutdown), Input::Shutdown { deadline }) => *deadline = self.now,
            (
                Some(Bug::ForgetsSeals),
                Input::StoreReply { result: Ok(StoreAnswer::Adopted { notes, .. }), .. },
            ) => {
                notes.retain(|note| !note.name.starts_with("s-"));
            }
            (
                Some(Bug::SkipsBlocks),
                Input::StoreReply { result: Ok(StoreAnswer::Blocks { blocks, .. }), .. },
            ) => {
                blocks.clear();
            }
            (
                Some(Bug::MisreadsBlocks),
                Input::StoreReply { result: Ok(StoreAnswer::Blocks { blocks, .. }), .. },
            ) => {
                blocks.iter_mut().for_each(|block| block.bytes = [].into());
            }
            (Some(Bug::IgnoresFences), Input::StoreReply { result: Err(error), .. })
                if error.kind == StoreErrorKind::Fenced =>
            {
                *error = StoreError::new(StoreErrorKind::Unreachable, "as it seems");
            }
            _ => {}
        }
    }

    pub(crate) fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.held.pop() {
                return output;
            }
            let mut output = self.agent.poll_output();
            if let Output::Send(request) = &output {
                self.highest_request = request.id.as_u64();
                self.last_batch = matches!(request.payload, Payload::Batch(_)).then(|| request.clone());
            }
            if self.bug != Some(Bug::KeepsItsHealthToItself)
                || !matches!(output, Output::Event(AgentEvent::Health(_)))
            {
                self.misstate(&mut output);
                return output;
            }
        }
    }

    /// Makes something else of an output.
    fn misstate(&mut self, output: &mut Output) {
        match (self.bug, &mut *output) {
            (Some(Bug::SendsTwice), Output::Send(request)) => self.held.push(Output::Send(request.clone())),
            (Some(Bug::Hedges), Output::Send(request)) if matches!(request.payload, Payload::Batch(_)) => {
                self.held.push(Output::Send(renumbered(request.clone(), self.highest_request)));
            }
            (Some(Bug::AsksForRulesTwice), Output::Send(request))
                if matches!(request.payload, Payload::Rules { .. }) =>
            {
                self.held.push(Output::Send(renumbered(request.clone(), self.highest_request)));
            }
            (Some(Bug::HoldsNoLease), Output::Store(request)) => match &mut request.op {
                StoreOp::Write(write) => write.lease = Duration::from_millis(1),
                StoreOp::Adopt { lease, .. } | StoreOp::Read { lease, .. } => {
                    *lease = Duration::from_millis(1)
                }
                StoreOp::List { .. } | StoreOp::Close { .. } => {}
            },
            (Some(Bug::ForgetsRemovals), Output::Store(request)) => {
                if let StoreOp::Write(write) = &mut request.op {
                    Kind::ALL.iter().for_each(|kind| write.logs[*kind].remove.clear());
                }
            }
            (Some(Bug::ForgetsToAppend), Output::Store(request)) => {
                if let StoreOp::Write(write) = &mut request.op {
                    Kind::ALL.iter().for_each(|kind| write.logs[*kind].append.clear());
                }
            }
            (Some(Bug::DoesNotWait), Output::Idle { deadline, .. }) if self.steps > WARM_UP => {
                *deadline = Instant::ZERO;
            }
            (Some(Bug::WakesForNothing), Output::Idle { deadline, .. }) => {
                *deadline = (*deadline).min(self.now + Duration::from_millis(1));
            }
            (Some(Bug::Oversleeps), Output::Idle { deadline, .. }) => *deadline = Instant::FAR_FUTURE,
            (Some(Bug::GoesOnAfterTheEnd), Output::Idle { deadline, .. }) if self.agent.is_closed() => {
                *deadline = self.now + Duration::from_secs(1);
            }
            (Some(Bug::RepeatsItself), Output::Event(event)) => {
                self.held.extend(std::iter::repeat_n(Output::Event(event.clone()), MANY));
            }
            (Some(Bug::AnswersFlushesTwice), Output::Event(event)) => {
                if matches!(event, AgentEvent::Flushed { .. }) {
                    self.held.push(Output::Event(event.clone()));
                }
            }
            (Some(Bug::ForgesReceipts), Output::Event(AgentEvent::Receipt { outcome, .. })) => {
                *outcome = Outcome::Delivered;
            }
            (Some(Bug::TellsTheKey), Output::Event(AgentEvent::Error { message, .. })) => {
                message.push_str(API_KEY);
            }
            (Some(Bug::ReportsTooMuch), Output::Closed(report)) => report.pending.events += 1,
            _ => {}
        }
    }

    /// Makes something else of what goes over the wire.
    pub(crate) fn spoil(&mut self, request: &Request, http: &mut HttpRequest) {
        let Some(bug) = self.bug else { return };
        if bug == Bug::CallsAnotherPath {
            http.url.push('/');
        }
        let Payload::Batch(batch) = &request.payload else { return };
        let again = !self.batches.insert(batch.id());
        match (bug, again) {
            (Bug::RetriesOtherBytes, true) => http.body.push(b' '),
            (Bug::RetriesUnderAnotherId, true) => replace_after(&mut http.body, b"\"batch_id\":\"1", b"9"),
            (Bug::ForgesARecord, _) => replace_after(&mut http.body, b"-4000-8000-", b"ffffffffffff"),
            (Bug::Reorders, _) => reverse(&mut http.body),
            _ => {}
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.agent.stats();
        match self.bug {
            Some(Bug::CountsTooMuch) if self.steps > WARM_UP => stats.records.events.delivered += 1,
            Some(Bug::CountsNoStrays) => stats.stray_replies = 0,
            Some(Bug::CountsTooManyRequests) => stats.requests_sent += 1,
            Some(_) | None => {}
        }
        stats
    }

    pub(crate) fn health(&self) -> Health {
        let mut health = self.agent.health();
        if self.bug == Some(Bug::StaysDegraded) {
            health.reasons.push(HealthReason::BreakerOpen);
        }
        health
    }

    pub(crate) fn rules_version(&self) -> Option<i64> {
        if self.bug == Some(Bug::KeepsTheFirstRules) { self.first_rules } else { self.version() }
    }

    fn version(&self) -> Option<i64> {
        self.agent.rules().map(|document: &std::sync::Arc<RulesDocument>| document.rules.version)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.agent.is_closed() && self.bug != Some(Bug::IsNeverClosed)
    }
}

/// What the agent believes to be its configuration.
fn misconfigure(config: &mut AgentConfig, bug: Option<Bug>) {
    match bug {
        Some(Bug::TakesTooMuch) => {
            config.buffer_size *= 2;
            config.journal_records = config.journal_records.max(config.buffer_size as u64);
        }
        Some(Bug::TakesTooLittle) => config.buffer_size = config.buffer_size.div_ceil(2),
        Some(Bug::SendsTooSoon) => config.rate_limit = 100,
        Some(Bug::SendsTooManyAtOnce) => config.max_concurrent_flushes = 4,
        Some(Bug::WaitsTooLong) => config.timeout = Duration::from_secs(30),
        Some(Bug::TriesTooOften) => config.breaker_threshold = 20,
        Some(Bug::BatchesTooMany) => config.batch_max_records = 2_000,
        Some(Bug::BatchesTooLarge) => config.batch_max_bytes = BODY_LIMIT,
        Some(_) | None => {}
    }
}

fn renumbered(request: Request, highest: u64) -> Request {
    Request { id: RequestId::from_u64(highest + 1), ..request }
}

/// Overwrites what follows the first `mark`.
fn replace_after(body: &mut [u8], mark: &[u8], text: &[u8]) {
    let place = body.windows(mark.len()).position(|window| window == mark);
    let place = place.map(|place| place + mark.len());
    if let Some(after) = place.and_then(|place| body.get_mut(place..place + text.len())) {
        after.copy_from_slice(text);
    }
}

/// Turns the order of the events round.
fn reverse(body: &mut Vec<u8>) {
    let Ok(mut document) = serde_json::from_slice::<serde_json::Value>(body) else { return };
    if let Some(events) = document.get_mut("events").and_then(|events| events.as_array_mut()) {
        events.reverse();
    }
    *body = document.to_string().into_bytes();
}
