use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::reporter::Topic;
use super::stream::{Path, Sender, endpoint};
use super::{Agent, Flight};
use crate::backoff::Backoff;
use crate::batch::Entry;
use crate::flush::Flush;
use crate::journal::{LeftBecause, LeftStream, SealedBatch};
use crate::lane::Settled;
use crate::rules::Update;
use crate::store::{StoreAnswer, StoreError};
use crate::wire::{self, Verdict};
use crate::{
    AgentEvent, BreakerState, ByKind, DropReason, Endpoint, ErrorStage, Instant, Kind, Outcome, Output,
    Record, RequestId, Response, StoreOpId, TransportError,
};

/// First wait of a kind whose quota is used up, and the longest.
const QUOTA_BASE: Duration = Duration::from_secs(30);
const QUOTA_CAP: Duration = Duration::from_secs(300);
/// How long before its deadline a shutdown leaves the rest to the journal.
const HAND_OVER_MARGIN: Duration = Duration::from_millis(500);

impl Agent {
    pub(super) fn on_records(&mut self, records: Vec<Record>) {
        for record in records {
            let kind = record.kind();
            self.streams[kind].ledger.accepted += 1;
            let seq = self.take_seq(kind);
            if let Some(receipt) = record.receipt() {
                self.streams[kind].receipts.insert(seq, receipt);
            }
            if self.closed {
                self.give_up(kind, seq, DropReason::Closed);
                continue;
            }
            if record.is_attack() {
                self.pacer.on_attack(self.now.instant);
            }
            if let Some(journal) = &mut self.journal {
                journal.on_accepted(record.json().len(), self.now.instant);
            }
            self.streams[kind].live.push(Entry::new(seq, self.now.instant, record));
            self.make_room(kind);
        }
    }

    pub(super) fn on_response(&mut self, id: RequestId, result: Result<Response, TransportError>) {
        let Some(Flight { sender, .. }) = self.in_flight.remove(&id) else {
            self.counters.stray_replies += 1;
            return;
        };
        match sender {
            Sender::Lane(kind, path) => self.on_batch_answered(id, kind, path, result),
            Sender::Rules => self.on_rules_answered(id, result),
            Sender::Status => self.on_status_answered(id, result),
        }
    }

    fn on_batch_answered(
        &mut self,
        id: RequestId,
        kind: Kind,
        path: Path,
        result: Result<Response, TransportError>,
    ) {
        let source = source(&result);
        let status = match &result {
            Ok(response) => Some(response.status),
            Err(error) => (!error.kind.is_unsent()).then_some(0),
        };
        let expected = self.breaker.state() == BreakerState::Closed
            && status.is_some_and(|status| self.streams[kind].lane(path).expects(status));
        let (verdict, status) = self.read_answer(id, endpoint(kind), result, expected);
        let is_outdated = id.as_u64() < self.credentials_since;
        let retry_after = match &verdict {
            Verdict::SlowDown { retry_after } | Verdict::Failed { retry_after } => *retry_after,
            Verdict::Delivered { invalid_timestamps } => {
                self.counters.invalid_timestamps += invalid_timestamps;
                self.streams[kind].quota_refusals = 0;
                None
            }
            // It was refused to other credentials.
            Verdict::Quota { .. } if is_outdated => None,
            Verdict::Quota { .. } => {
                let refusals = &mut self.streams[kind].quota_refusals;
                let wait = QUOTA_BASE.saturating_mul(1 << (*refusals).min(8)).min(QUOTA_CAP);
                *refusals += 1;
                Some(wait)
            }
            Verdict::Partly { .. }
            | Verdict::Unsure { .. }
            | Verdict::TooLarge
            | Verdict::Refused { .. }
            | Verdict::Unsent
            | Verdict::Unanswered { .. }
            | Verdict::Hold { .. } => None,
        };
        let trouble = trouble(&verdict, status);
        let is_quota = matches!(verdict, Verdict::Quota { .. });
        let is_outdated = is_outdated && (is_quota || matches!(verdict, Verdict::Hold { .. }));
        let alive = matches!(verdict, Verdict::Delivered { .. });
        let partly = matches!(verdict, Verdict::Partly { .. });
        let stream = &mut self.streams[kind];
        let lost = self.journal.as_ref().filter(|journal| {
            !alive && stream.lane(path).flying().iter().any(|entry| journal.is_lost(kind, entry.seq()))
        });
        let settled = stream.lane_mut(path).on_verdict(verdict, status, self.now, &mut self.rng);
        if let Some(journal) = lost {
            // In flight when another agent adopted its journal: theirs, now that it did not arrive.
            let gone = stream.lane_mut(path).hand_over(|entry| journal.is_lost(kind, entry.seq()));
            stream.ledger.handed_over += gone.len() as u64;
            let told = gone.iter().filter_map(|entry| stream.receipts.remove(&entry.seq()));
            let told = told.map(|id| AgentEvent::Receipt { id, outcome: Outcome::HandedOver });
            self.outputs.extend(told.map(Output::Event));
        }
        let others = if alive || partly {
            stream.lane_mut(path.other()).on_endpoint_alive(self.now)
        } else {
            Settled::default()
        };
        if let Some(wait) = retry_after {
            // A little later each, so that a fleet does not come back in step.
            let wait = wait.max(Backoff::FLOOR) + self.rng.duration(Duration::ZERO, wait / 10);
            let until = if is_quota { &mut stream.quota_until } else { &mut stream.retry_after };
            *until = (*until).max(Some(self.now.instant + wait));
            stream.lane_mut(path).clear_backoff();
        }
        if self.breaker.state() != BreakerState::Closed {
            stream.lane_mut(path).clear_backoff();
        }
        if is_outdated {
            stream.lane_mut(path).hurry(self.now, &mut self.rng);
        }
        let lane = stream.lane(path);
        let lasting =
            partly || settled.quarantined || !expected && (lane.is_exhausted() || lane.held().is_some());
        let since = self.fruitless[kind].or(Some(self.now.instant));
        self.fruitless[kind] = since.filter(|_| !alive && !partly);
        if alive {
            self.counters.last_flush = Some(self.now.wall);
        } else if let (true, Some(message)) = (lasting, trouble) {
            self.tell(flush_stage(kind), endpoint(kind), message + &source);
        }
        self.settle(kind, settled);
        self.settle(kind, others);
    }

    fn on_rules_answered(&mut self, id: RequestId, result: Result<Response, TransportError>) {
        let source = source(&result);
        let update = match result {
            Ok(response) => {
                let sent_at = wire::sent_at(&response, self.now.wall);
                self.rules.set_clock(sent_at, self.now.wall);
                let answer = wire::parse_rules(&response, sent_at);
                let (ok, failed) = match &answer {
                    wire::RulesAnswer::Rules { rules, named } => {
                        (self.rules.refusal(rules, *named, self.now.wall).is_none(), false)
                    }
                    wire::RulesAnswer::NotModified => (true, false),
                    wire::RulesAnswer::Failed { .. } => (false, true),
                    wire::RulesAnswer::NotRules { .. }
                    | wire::RulesAnswer::Invalid { .. }
                    | wire::RulesAnswer::SlowDown { .. }
                    | wire::RulesAnswer::Hold { .. } => (false, false),
                };
                self.on_answered(id, Endpoint::Rules, &response, ok, failed);
                let refused = matches!(answer, wire::RulesAnswer::Hold { .. });
                let update = self.rules.on_answer(answer, response.etag, self.now, &mut self.rng);
                if refused && id.as_u64() < self.credentials_since {
                    self.rules.refresh(self.now.instant);
                }
                update
            }
            Err(error) => {
                self.on_unanswered(id, Endpoint::Rules, &error);
                self.rules.on_no_answer(self.now.instant, &mut self.rng);
                Update::Failed { message: String::from("no answer") }
            }
        };
        if self.breaker.state() != BreakerState::Closed {
            self.rules.clear_backoff();
        }
        match update {
            Update::Unchanged => self.end_episodes(Endpoint::Rules),
            Update::Taken { changed } => {
                self.end_episodes(Endpoint::Rules);
                self.counters.rules_fetched += 1;
                if changed {
                    self.outputs.push_back(Output::Event(AgentEvent::Rules(self.rules.current().cloned())));
                }
            }
            Update::Failed { message } => {
                self.counters.rules_failed += 1;
                if self.reported != Some(id) {
                    self.tell(ErrorStage::Rules, Endpoint::Rules, message + &source);
                }
            }
        }
    }

    fn on_status_answered(&mut self, id: RequestId, result: Result<Response, TransportError>) {
        self.status.on_answer();
        let source = source(&result);
        let (verdict, status) = self.read_answer(id, Endpoint::Status, result, false);
        if let Verdict::SlowDown { retry_after: Some(wait) } | Verdict::Failed { retry_after: Some(wait) } =
            &verdict
        {
            self.status.wait_until(self.now.instant + *wait);
        }
        if let Some(message) = trouble(&verdict, status) {
            self.counters.status_failed += 1;
            if self.reported != Some(id) {
                self.tell(ErrorStage::Status, Endpoint::Status, message + &source);
            }
        }
    }

    /// What an answer to a POST means, with its effects on breaker and pace.
    fn read_answer(
        &mut self,
        id: RequestId,
        endpoint: Endpoint,
        result: Result<Response, TransportError>,
        is_expected: bool,
    ) -> (Verdict, u16) {
        match result {
            Ok(response) => {
                let sent_at = wire::sent_at(&response, self.now.wall);
                let verdict = wire::judge(&response, sent_at, self.config.accept_any_success);
                let ok = matches!(verdict, Verdict::Delivered { .. } | Verdict::Partly { .. });
                let failed = matches!(verdict, Verdict::Failed { .. }) && !is_expected;
                self.on_answered(id, endpoint, &response, ok, failed);
                if matches!(verdict, Verdict::Delivered { .. }) {
                    self.end_episodes(endpoint);
                }
                (verdict, response.status)
            }
            Err(error) => {
                if is_expected {
                    self.counters.requests_failed += 1;
                } else {
                    self.on_unanswered(id, endpoint, &error);
                }
                let verdict = if error.kind.is_unsent() {
                    Verdict::Unsent
                } else {
                    Verdict::Unanswered { message: error.to_string() }
                };
                (verdict, 0)
            }
        }
    }

    fn on_answered(
        &mut self,
        id: RequestId,
        endpoint: Endpoint,
        response: &Response,
        ok: bool,
        failed: bool,
    ) {
        let status = response.status;
        if failed {
            self.breaker.on_failure(self.now.instant, id, &mut self.rng);
        } else {
            self.breaker.on_alive(ok);
        }
        if matches!(status, 429 | 503) {
            self.pacer.slow_down();
        }
        if ok {
            self.pacer.speed_up();
        } else if status != 304 {
            self.counters.requests_failed += 1;
            if failed {
                let message = format!("the {endpoint} endpoint answered {status}{}", peer(response));
                self.reported = Some(id);
                self.tell(ErrorStage::TransportSend, endpoint, message);
            }
        }
    }

    fn on_unanswered(&mut self, id: RequestId, endpoint: Endpoint, error: &TransportError) {
        self.counters.requests_failed += 1;
        self.reported = Some(id);
        self.breaker.on_failure(self.now.instant, id, &mut self.rng);
        self.tell(
            ErrorStage::TransportSend,
            endpoint,
            format!("request to the {endpoint} endpoint: {error}"),
        );
    }

    pub(super) fn on_store_reply(&mut self, id: StoreOpId, result: Result<StoreAnswer, StoreError>) {
        let now = self.now.instant;
        let news = self.journal.as_mut().and_then(|journal| journal.on_reply(id, result, now, &mut self.rng));
        let Some(news) = news else {
            self.counters.stray_replies += 1;
            return;
        };
        let damage = news.corrupt.saturating_add(news.lost_logs);
        self.counters.corrupt_entries = self.counters.corrupt_entries.saturating_add(damage);
        self.counters.adopted_journals += u64::from(news.adopted);
        if let Some((orphaned, leased)) = news.others {
            self.report_others(orphaned, leased);
        }
        if news.adopted {
            let message = "adopted the journal of an agent that is gone: what it held is delivered now";
            self.tell_of_journal(Topic::Adopted, String::from(message));
        }
        if let Some(error) = news.error {
            self.tell_of_journal(Topic::Store(error.kind), error.to_string());
        }
        if news.lost_logs > 0 {
            let message = "the store lost a log of an adopted journal; what it held is lost, and nobody can tell how much that was";
            self.tell_of_journal(Topic::LostLog, String::from(message));
        }
        if news.corrupt > 0 {
            let place = self.with_store(String::new());
            self.report(Topic::Skipped, news.corrupt, place);
        }
        if let Some(foreign) = news.foreign.filter(|foreign| *foreign > 0) {
            let message = format!(
                "{foreign} journals of other versions of the agent, or with another encryption key, were left alone"
            );
            self.tell_of_journal(Topic::Foreign, message);
        }
        for (kind, id) in news.sealed {
            self.streams[kind].live.on_seal_durable(id);
            self.streams[kind].backlog.on_seal_durable(id);
        }
        for kind in Kind::ALL {
            if let Some(durable) = news.durable[kind].clone() {
                let stream = &mut self.streams[kind];
                // What the store lost is appended again.
                let untold = durable.start.max(stream.told_durable)..durable.end;
                if !untold.is_empty() {
                    stream.told_durable = untold.end;
                    let told = stream.receipts.range(untold).map(|(_, id)| *id);
                    let told = told.map(|id| AgentEvent::Receipt { id, outcome: Outcome::Durable });
                    self.outputs.extend(told.map(Output::Event));
                }
            }
            if news.lost[kind] > 0 {
                self.count_drops(kind, DropReason::StoreLost, news.lost[kind]);
                self.settle_absent(kind, Outcome::Dropped(DropReason::StoreLost));
            }
            // A spilled record is as old as those that are durable now.
            self.make_room(kind);
        }
        if let Some(left) = news.left {
            self.on_left(left);
        }
    }

    /// Our journal, or one that we had adopted, is not ours any more.
    fn on_left(&mut self, left: LeftStream) {
        let message = match left.why {
            LeftBecause::Intruded if left.origin == 0 => {
                let ByKind { events, metrics } = self.leave_stored(left);
                format!(
                    "somebody else wrote into the journal: {events} events and {metrics} metrics that were there alone are left to whoever adopts it, those in memory are sent"
                )
            }
            LeftBecause::Intruded => {
                let ByKind { events, metrics } = self.hand_over(left);
                format!(
                    "somebody else wrote into an adopted journal: it is left, with {events} events and {metrics} metrics, to whoever adopts it"
                )
            }
            LeftBecause::Adopted => {
                let ByKind { events, metrics } = self.hand_over(left);
                format!(
                    "another agent adopted the journal while this one was away: {events} events and {metrics} metrics are its own now"
                )
            }
            LeftBecause::Claimed => {
                let ByKind { events, metrics } = self.hand_over(left);
                format!(
                    "the store failed for a while and says now that another agent adopted the journal: {events} events and {metrics} metrics are its own, or lost if that is not true; events in memory are sent all the same"
                )
            }
            LeftBecause::Stolen => {
                let ByKind { events, metrics } = left.stored;
                self.lose_stored(left);
                format!(
                    "the store says that the journal is another's, who cannot have adopted it: {events} events and {metrics} metrics that were there alone are lost, those in memory are sent"
                )
            }
        };
        self.tell_of_journal(Topic::Left(left.why), message);
    }

    /// Counts all records of a journal as handed over, and says how many. A batch in flight cannot be called back, and is
    /// theirs if it does not arrive.
    fn hand_over(&mut self, LeftStream { origin, stored, .. }: LeftStream) -> ByKind<u64> {
        let mut handed_over = stored;
        for kind in Kind::ALL {
            let Some(journal) = &self.journal else { continue };
            let theirs = |entry: &Entry| journal.is_lost(kind, entry.seq());
            let stream = &mut self.streams[kind];
            let mut gone = stream.live.hand_over(theirs);
            gone.extend(stream.backlog.hand_over(theirs));
            let is_theirs =
                |sealed: &SealedBatch| sealed.last.origin() == origin && journal.is_lost(kind, sealed.last);
            for (_, entries) in stream.partial.extract_if(.., |(sealed, _)| is_theirs(sealed)) {
                gone.extend(entries);
            }
            handed_over[kind] += gone.len() as u64;
            stream.ledger.handed_over += handed_over[kind];
            if origin == 0 {
                self.settle_absent(kind, Outcome::HandedOver);
            }
        }
        handed_over
    }

    /// Leaves records that were in a journal alone to whoever adopts it, and says how many. Those in memory stay ours, and
    /// may be sent twice, under the same keys.
    fn leave_stored(&mut self, LeftStream { stored, .. }: LeftStream) -> ByKind<u64> {
        for kind in Kind::ALL {
            self.streams[kind].ledger.handed_over += stored[kind];
            self.settle_absent(kind, Outcome::HandedOver);
        }
        stored
    }

    /// Counts records that were in a journal alone as lost, since nobody is known to deliver them. Those in memory stay
    /// ours.
    fn lose_stored(&mut self, LeftStream { origin, stored, .. }: LeftStream) {
        for kind in Kind::ALL {
            self.count_drops(kind, DropReason::StoreLost, stored[kind]);
            if origin == 0 {
                self.settle_absent(kind, Outcome::Dropped(DropReason::StoreLost));
            }
        }
    }

    pub(super) fn tell_of_journal(&mut self, topic: Topic, message: String) {
        let message = self.with_store(message);
        self.report(topic, 1, message);
    }

    fn with_store(&self, message: String) -> String {
        match &self.store {
            Some(store) => format!("{message} ({store})"),
            None => message,
        }
    }

    pub(super) fn on_shutdown(&mut self, deadline: Instant) {
        if self.closed {
            return;
        }
        let time = deadline.since(self.now.instant);
        let margin = (time / 4).min(HAND_OVER_MARGIN);
        self.hand_over_at = self.hand_over_at.min(self.now.instant + (time - margin));
        match &mut self.shutdown {
            Some(shutdown) => shutdown.deadline = shutdown.deadline.min(deadline),
            None => {
                self.hurry();
                self.shutdown = Some(Flush::shutdown(deadline, &self.ledgers()));
            }
        }
    }

    /// Ends our own waiting, but not what the platform asked for.
    pub(super) fn hurry(&mut self) {
        for kind in Kind::ALL {
            for path in Path::ALL {
                self.streams[kind].lane_mut(path).hurry(self.now, &mut self.rng);
            }
            self.streams[kind].quota_until = None;
        }
        self.breaker.hurry(self.now.instant);
    }
}

const fn flush_stage(kind: Kind) -> ErrorStage {
    match kind {
        Kind::Event => ErrorStage::FlushEvents,
        Kind::Metric => ErrorStage::FlushMetrics,
    }
}

/// End of a message about an answer: the side that gave it, or why there is none.
fn source(result: &Result<Response, TransportError>) -> String {
    match result {
        Ok(response) => peer(response),
        Err(error) => format!(": {error}"),
    }
}

fn peer(response: &Response) -> String {
    response.peer.as_ref().map_or_else(String::new, |peer| format!(" ({peer})"))
}

/// Message about an answer that is no success.
fn trouble(verdict: &Verdict, status: u16) -> Option<String> {
    match verdict {
        Verdict::Delivered { .. } => None,
        Verdict::Partly { message, .. } | Verdict::Unsure { message } => {
            Some(format!("answered {status} and reports errors: {message}"))
        }
        Verdict::TooLarge => Some(format!("answered {status}: too large")),
        Verdict::Refused { message, .. } | Verdict::Quota { message } | Verdict::Hold { message } => {
            Some(format!("answered {status}: {message}"))
        }
        Verdict::SlowDown { .. } => Some(format!("answered {status}: asks to slow down")),
        Verdict::Failed { .. } => Some(format!("answered {status}")),
        Verdict::Unsent | Verdict::Unanswered { .. } => Some(String::from("no answer")),
    }
}
