use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use guard_agent_proto::wire::Wire;
use guard_agent_proto::{
    AgentEvent, ByKind, DropReason, Input, Instant, Kind, Outcome as Delivery, Output, Payload, Reason,
    ReceiptId, Report, Request, RequestId, Stats,
};

use super::narration::status_of;
use super::{Event, Worker, World};
use crate::sim::invariant::Invariant;
use crate::sim::model::{Checked, Fate, MAX_OUTPUTS, Step, require};
use crate::sim::network::{Answer, Back, Meaning, Route, Twist};
use crate::sim::platform::{self, Read};
use crate::sim::scenario::API_KEY;
use crate::sim::subject::Subject;

impl World {
    pub(super) fn start(&mut self, w: usize) -> Checked {
        if self.workers[w].subject.is_some() {
            return Ok(());
        }
        self.runs += 1;
        self.trace.line(self.now, format_args!("[{w}] start {}", self.runs));
        let config = &self.scenario.config;
        let subject =
            Subject::new(config, self.scenario.journal, self.nemesis.bytes(), self.clocks(), self.bug);
        let wire = Wire::new(config, "simulated");
        match (subject, wire) {
            (Ok(subject), Ok(wire)) => {
                self.workers[w] = Worker {
                    subject: Some(subject),
                    wire: Some(wire),
                    kept: core::mem::take(&mut self.workers[w].kept),
                    deadline: self.now,
                    ..Worker::new(self.runs, config)
                };
            }
            (subject, wire) => {
                panic!("the configuration is valid: {:?} {:?}", subject.err(), wire.err());
            }
        }
        self.feed(w, Input::Timeout)
    }

    pub(super) fn make(&mut self, w: usize) -> Checked {
        if !self.faulty {
            return Ok(());
        }
        let (gap, count) = self.application.next(self.scenario.arrivals);
        self.schedule.at(self.now + gap, Event::Make { worker: w });
        let count = count.min(self.scenario.records.saturating_sub(self.made));
        self.give(w, count)
    }

    pub(super) fn give(&mut self, w: usize, count: u64) -> Checked {
        if count == 0 || self.workers[w].subject.is_none() {
            return Ok(());
        }
        let mut records = Vec::new();
        for number in self.made..self.made + count {
            let (record, made) = self.application.make(number);
            if made.poison {
                self.platform.poison.insert(number);
            }
            self.workers[w].model.accepts(made.kind, 1);
            self.workers[w].model.holds(made.bytes);
            self.history.records.push(Fate::new(made, self.workers[w].run, self.now));
            let receipts = self.scenario.receipts;
            records.push(if receipts { record.with_receipt(ReceiptId::from_u64(number)) } else { record });
        }
        self.made += count;
        self.feed(w, Input::Records(records))
    }

    /// One input, all outputs, all checks.
    pub(super) fn feed(&mut self, w: usize, input: Input) -> Checked {
        let Some(mut subject) = self.workers[w].subject.take() else { return Ok(()) };
        let timeout = matches!(input, Input::Timeout);
        // Whoever was suspended has something to say of that at once.
        let due = self.workers[w].deadline <= self.now || self.workers[w].paused == self.now;
        let mut came: ByKind<(u64, u64)> = ByKind::default();
        if let Input::Records(records) = &input {
            for record in records {
                came[record.kind()].0 += 1;
                came[record.kind()].1 += record.json().len() as u64;
            }
        }
        let may_overflow = matches!(input, Input::StoreReply { .. } | Input::Lost { .. });
        self.workers[w].model.comes(&came);
        self.trace_input(w, &input);
        subject.handle_input(self.clocks(), input);

        self.workers[w].model.lose_overdue(self.now, &mut self.history.records);
        let (mut outputs, mut sends) = (0, 0);
        let mut closed = None;
        loop {
            let output = subject.poll_output();
            match output {
                Output::Idle { deadline, reason } => {
                    self.idle(w, deadline, reason);
                    break;
                }
                Output::Send(request) => {
                    sends += 1;
                    self.send(w, &mut subject, &request)?;
                }
                Output::Store(request) => {
                    self.workers[w].model.asks_store(&request.op, self.now);
                    self.store_operation(w, request);
                }
                Output::Event(AgentEvent::Receipt { id, outcome }) => {
                    // One per record: not counted among the outputs, which are few.
                    self.receipt(w, id, outcome)?;
                    if self.dies_now(w) {
                        return self.die_midway(w, &subject);
                    }
                    continue;
                }
                Output::Event(event) => self.news(w, event)?,
                Output::Closed(report) => closed = Some(report),
                output => panic!("the simulator does not know {output:?}"),
            }
            outputs += 1;
            require(outputs <= MAX_OUTPUTS, Invariant::EndlessOutputs, || format!("{outputs} to one input"))?;
            if closed.is_none() && self.dies_now(w) {
                return self.die_midway(w, &subject);
            }
        }

        let step = Step {
            now: self.now,
            timeout,
            due,
            outputs,
            sends,
            deadline: self.workers[w].deadline,
            came,
            may_overflow,
        };
        let (now, paused) = (self.now, self.workers[w].paused);
        let receipts = self.scenario.receipts;
        self.disturb(&subject.stats());
        let model = &mut self.workers[w].model;
        model.check(&step, subject.stats(), subject.health().level)?;
        if receipts {
            model.check_receipts()?;
        }
        model.check_rules(subject.rules_version())?;
        model.check_closed(now, paused, closed.is_some())?;
        require(closed.is_some() == subject.is_closed(), Invariant::Closed, || format!("{closed:?}"))?;
        match closed {
            Some(report) => self.closed(w, subject, &report),
            None => {
                self.workers[w].subject = Some(subject);
                Ok(())
            }
        }
    }

    fn closed(&mut self, w: usize, mut subject: Subject, report: &Report) -> Checked {
        self.trace.line(self.now, format_args!("[{w}] closed {report:?}"));
        let stats = subject.stats();
        self.workers[w].model.check_report(report, &stats)?;
        for kind in Kind::ALL {
            self.abandoned += report.pending[kind] - report.persisted[kind];
        }
        self.reckon(w);
        // The agent may not have heard of a loss yet.
        let run = self.workers[w].run;
        for record in &mut self.history.records {
            record.died |= record.run == run && record.lost && record.taken_at.is_none();
        }
        for input in [Input::Timeout, Input::RefreshRules, Input::CredentialsChanged] {
            subject.handle_input(self.clocks(), input);
            let output = subject.poll_output();
            require(
                matches!(output, Output::Idle { deadline: Instant::FAR_FUTURE, .. }),
                Invariant::QuietAfterClose,
                || format!("{output:?}"),
            )?;
        }
        self.end_process(w);
        Ok(())
    }

    fn idle(&mut self, w: usize, deadline: Instant, reason: Reason) {
        self.workers[w].deadline = deadline;
        self.trace.line(self.now, format_args!("  idle until {deadline:?} for {reason:?}"));
    }

    fn send(&mut self, w: usize, subject: &mut Subject, request: &Request) -> Checked {
        let endpoint = request.payload.endpoint();
        require(request.timeout <= self.scenario.config.timeout, Invariant::Timeout, || {
            format!("{:?}", request.timeout)
        })?;
        let Some(wire) = &self.workers[w].wire else { return Ok(()) };
        let mut http = wire.encode(&request.payload, |body, _| body.to_vec());
        subject.spoil(request, &mut http);
        let hash = hash(&http.body);
        let read = match &request.payload {
            Payload::Batch(batch) => self.reads.get(&(batch.id().to_string(), hash)).cloned(),
            Payload::Status(_) | Payload::Rules { .. } => None,
        };
        let encrypted = self.scenario.config.project_encryption_key.is_some();
        let read = match read {
            Some(read) => read,
            None => match platform::read(&request.payload, &http, encrypted) {
                Ok(read) => Arc::new(read),
                Err(problem) => {
                    return require(false, Invariant::Contract, || format!("{endpoint}: {problem}"));
                }
            },
        };
        let batch = match &*read {
            Read::Batch { id, records, bytes, .. } => {
                // One record alone may be larger, if a journal brings it from another configuration.
                let fits = *bytes <= self.scenario.config.batch_max_bytes;
                require(fits || records.len() == 1, Invariant::BatchBytes, || {
                    format!("{bytes} bytes in batch {id}")
                })?;
                self.reads.insert((id.clone(), hash), Arc::clone(&read));
                Some((id.as_str(), hash, records.as_slice()))
            }
            Read::Status | Read::Rules { .. } => None,
        };
        if let Some((name, _, records)) = batch {
            self.check_owner(w, name, records)?;
        }
        let worker = &mut self.workers[w];
        worker.requests.push((self.now, endpoint));
        worker.model.send(self.now, request.id, endpoint, batch, request.timeout, &mut self.history)?;

        let (fault, route) = self.network.route(self.weather, request.timeout);
        self.trace_send(request, endpoint, &read, hash, fault);
        self.dispatch(w, request, read, route);
        Ok(())
    }

    fn dispatch(&mut self, w: usize, request: &Request, read: Arc<Read>, route: Route) {
        let (run, id, sent) = (self.workers[w].run, request.id, self.now);
        match route {
            Route::Nowhere(after, answer) => {
                self.schedule
                    .at(sent + after.min(request.timeout), Event::Answer { worker: w, run, id, answer });
            }
            Route::There { after, again, back, twist } => {
                if let Back::Lost(at, kind) | Back::Late(at, kind, _) = back {
                    let answer = Answer::error(kind);
                    self.schedule.at(sent + at, Event::Answer { worker: w, run, id, answer });
                }
                if let Some(again) = again {
                    let read = Arc::clone(&read);
                    self.schedule.at(
                        sent + again,
                        Event::Arrive { worker: w, run, id, read, twist, sent, back: None },
                    );
                }
                self.schedule.at(
                    sent + after,
                    Event::Arrive { worker: w, run, id, read, twist, sent, back: Some(back) },
                );
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one event")]
    pub(super) fn arrive(
        &mut self,
        w: usize,
        run: u32,
        id: RequestId,
        read: &Read,
        twist: Twist,
        sent: Instant,
        back: Option<Back>,
    ) {
        let answer = self.platform.answer(self.now, read, twist);
        if let Meaning::Taken { records, .. } = &answer.meaning {
            let now = self.now;
            for number in records {
                let rules_on_attack = self.scenario.rules_on_attack;
                let Some(record) = self.history.record(*number) else { continue };
                if record.taken_at.is_some() {
                    continue;
                }
                record.taken_at = Some(now);
                let accepted_at = record.accepted_at;
                if record.made.attack && rules_on_attack {
                    self.platform.rules_version += 1;
                    let awaited = (accepted_at, self.platform.rules_version);
                    self.workers.iter_mut().for_each(|worker| worker.attacks.push(awaited));
                }
            }
        }
        self.trace.line(self.now, format_args!("platform answers {id} with {}", status_of(&answer)));
        let event = |answer| Event::Answer { worker: w, run, id, answer };
        match back {
            Some(Back::After(after)) => self.schedule.at(self.now + after, event(answer)),
            Some(Back::Twice(first, second)) => {
                self.schedule.at(self.now + first, event(answer.clone()));
                self.schedule.at(self.now + first + second, event(answer));
            }
            Some(Back::Late(_, _, at)) => self.schedule.at(sent + at, event(answer)),
            Some(Back::Lost(..)) | None => {}
        }
    }

    /// Whether the process ends after this effect.
    fn dies_now(&mut self, w: usize) -> bool {
        self.effects += 1;
        if self.crash_after == Some(self.effects) {
            return true;
        }
        let Some(left) = &mut self.workers[w].dies_after else { return false };
        *left -= 1;
        *left == 0
    }

    fn die_midway(&mut self, w: usize, subject: &Subject) -> Checked {
        self.workers[w].model.stats = subject.stats();
        self.crash(w);
        Ok(())
    }

    /// Records that were given up without an answer to them: batches with them are not sent again as they were.
    fn disturb(&mut self, stats: &Stats) {
        let gone = [DropReason::Overflow, DropReason::Expired, DropReason::StoreLost];
        let dropped = |kind: Kind| gone.iter().any(|reason| stats.records[kind].dropped[*reason] > 0);
        self.history.disturbed |= Kind::ALL.into_iter().any(dropped);
    }

    fn news(&mut self, w: usize, event: AgentEvent) -> Checked {
        self.trace.line(self.now, format_args!("  [{w}] news {event:?}"));
        match event {
            AgentEvent::Rules(document) => {
                if let Some(document) = document {
                    let version = document.rules.version;
                    let now = self.now;
                    let reactions = &mut self.reactions;
                    self.workers[w].attacks.retain(|(accepted_at, awaited)| {
                        let reacted = *awaited <= version;
                        if reacted {
                            reactions.push((*accepted_at, now.since(*accepted_at)));
                        }
                        !reacted
                    });
                }
                Ok(())
            }
            AgentEvent::Health(health) => {
                self.workers[w].model.announce(health.level);
                Ok(())
            }
            AgentEvent::Error { message, .. } | AgentEvent::Notice(message) => {
                self.told += 1;
                require(!message.contains(API_KEY) && !message.contains('\n'), Invariant::Message, || {
                    message.clone()
                })
            }
            AgentEvent::Flushed { id, .. } => {
                let (now, worker) = (self.now, &mut self.workers[w]);
                worker.model.flushed(id, now, worker.paused)
            }
            event @ (AgentEvent::Receipt { .. } | _) => panic!("the simulator does not know {event:?}"),
        }
    }

    fn receipt(&mut self, w: usize, id: ReceiptId, outcome: Delivery) -> Checked {
        self.trace.line(self.now, format_args!("  [{w}] receipt {} {outcome:?}", id.as_u64()));
        let record = self.history.record(id.as_u64());
        match record {
            Some(record) if self.scenario.receipts => self.workers[w].model.receipt(outcome, record),
            Some(_) | None => require(false, Invariant::Receipt, || format!("{id:?} was not asked for")),
        }
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
