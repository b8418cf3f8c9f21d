use std::time::Duration;

use guard_agent_proto::store::{StoreAnswer, StoreError, StoreErrorKind, StoreOp, StoreRequest};
use guard_agent_proto::{Input, Instant, Kind};

use super::narration::brief;
use super::{Event, World};
use crate::sim::invariant::Invariant;
use crate::sim::model::{Checked, Fate, require};
use crate::sim::store::{Adoption, StoreFault, StoreRoute, StoreWeather, Trouble, Visit};

/// Latency of a store in peace, one way.
const QUICK: Duration = Duration::from_millis(2);

impl World {
    pub(super) fn store_operation(&mut self, w: usize, request: StoreRequest) {
        let fault = match self.store_weather {
            _ if !self.faulty => None,
            StoreWeather::Outage(fault) => Some(fault),
            StoreWeather::Fair if self.nemesis.chance(self.scenario.store_permille) => {
                Some(self.nemesis.weighted(&self.scenario.store_faults))
            }
            StoreWeather::Fair => None,
        };
        let fault = fault.filter(|fault| fault.concerns(&request.op));
        let slowest = if self.faulty { self.scenario.store_slowest } else { QUICK };
        let route = StoreFault::route(fault, slowest, request.timeout, &mut self.nemesis);
        if fault.is_some()
            || route.error.is_some()
            || route.answered > self.scenario.config.journal_lease / 16
        {
            self.store_trouble_at = self.store_trouble_at.max(Some(self.now + route.answered));
        }
        self.trace
            .line(self.now, format_args!("  [{w}] store {} {}, {fault:?}", request.id, brief(&request.op)));
        if let StoreOp::Close { stream, .. } = &request.op {
            self.store.give_up(self.workers[w].run, *stream);
        }
        let StoreRoute { executed, answered, error } = route;
        let (run, id) = (self.workers[w].run, request.id);
        let error = error.map(|kind| StoreError::new(kind, "simulated"));
        let at = self.now + answered;
        let late = executed.is_some_and(|executed| executed > answered);
        if let Some(error) = error.clone() {
            let reply =
                Event::StoreReply { worker: w, run, id, appended: Vec::new(), losses: 0, result: Err(error) };
            self.schedule.at(at, reply);
        }
        if let Some(executed) = executed {
            self.belated += u32::from(late);
            let reply_at = error.is_none().then_some(at);
            self.schedule
                .at(self.now + executed, Event::StoreRun { worker: w, run, request, late, reply_at });
        }
    }

    pub(super) fn store_run(
        &mut self,
        w: usize,
        run: u32,
        request: StoreRequest,
        late: bool,
        reply_at: Option<Instant>,
    ) -> Checked {
        self.belated -= u32::from(late);
        let id = request.id;
        let op = request.op.clone();
        let blocks =
            if let StoreOp::Close { stream, keep: false } = op { self.store.blocks_of(stream) } else { 0 };
        let before = if late { self.store.blocks() } else { 0 };
        let (result, adoption) = self.store.execute(run, request, late, reply_at.is_some(), self.now);
        self.trace.line(self.now, format_args!("  [{w}] store ran {id} of run {run}, late: {late}"));
        // What a late change brought back, or a store that went back in time, the agent does not know of. Who shuts down
        // deletes what it may have appended, once all of it is settled.
        self.store_was_late |= late;
        // A late change that removes such a block is unknown to the agent, too.
        self.workers[w].model.bereft |= self.store.blocks() < before;
        let stopping = self.workers[w].run != run || self.workers[w].model.is_stopping();
        let excused = self.store_was_late || self.store.losses > 0 || result.is_err() || stopping;
        require(blocks == 0 || excused, Invariant::Removed, || format!("{blocks} blocks go with {op:?}"))?;
        let mut appended = Vec::new();
        if let (StoreOp::Write(write), Ok(StoreAnswer::Done)) = (&op, &result) {
            appended = self.store.appended(&op);
            for number in &appended {
                let Some(record) = self.history.record(*number) else { continue };
                if late {
                    record.resurrected = true;
                } else if !record.streams.contains(&write.stream) {
                    record.streams.push(write.stream);
                }
            }
            for note in write.notes.iter().filter(|_| !late) {
                self.history.note(write.stream, note);
            }
        }
        if let Some(at) = reply_at {
            let losses = self.store.losses;
            self.schedule.at(at, Event::StoreReply { worker: w, run, id, appended, losses, result });
        }
        match adoption {
            Some(adoption) => self.adopted(w, run, adoption),
            None => Ok(()),
        }
    }

    /// A stream has another owner now.
    fn adopted(&mut self, w: usize, run: u32, adoption: Adoption) -> Checked {
        let Adoption { stream, from } = adoption;
        if self.workers[w].run == run {
            self.workers[w].model.adopted.insert(stream);
        }
        let Some(from) = from else { return Ok(()) };
        let lease = self.scenario.config.journal_lease;
        let recently = |at: Instant| at > Instant::ZERO && at + lease >= self.now;
        let excused = self.store_trouble_at.is_some_and(recently) || self.store.losses > 0;
        for other in self.workers.iter_mut().filter(|other| other.run == from && other.subject.is_some()) {
            other.model.dispossessed = true;
            let stored = self.history.records.iter_mut().filter(|record| record.streams.contains(&stream));
            stored.for_each(|record| record.copies += 1);
            require(excused || recently(other.paused), Invariant::AdoptedAlive, || {
                format!("run {run} adopted {stream} of run {from}, which is alive and reaches the store")
            })?;
        }
        Ok(())
    }

    pub(super) fn store_reply(
        &mut self,
        w: usize,
        run: u32,
        id: guard_agent_proto::StoreOpId,
        appended: &[u64],
        losses: u32,
        result: Result<StoreAnswer, StoreError>,
    ) -> Checked {
        if run != self.workers[w].run || self.workers[w].subject.is_none() {
            return Ok(());
        }
        for number in appended {
            let Some(record) = self.history.record(*number) else { continue };
            // What was lost since then the agent believes to be there.
            if losses == self.store.losses || !record.lost {
                record.journaled = true;
                record.lost = false;
            }
        }
        let fenced = matches!(&result, Err(error) if error.kind == StoreErrorKind::Fenced);
        let worker = &mut self.workers[w];
        worker.model.fenced |= fenced;
        worker.model.store_answered(result.is_ok() || fenced, self.now, worker.paused);
        self.feed(w, Input::StoreReply { id, result })?;
        self.check_persisted(w)
    }

    fn check_persisted(&mut self, w: usize) -> Checked {
        let worker = &self.workers[w];
        let (run, model) = (worker.run, &worker.model);
        // It cannot know what it was not told yet.
        if worker.subject.is_none() || model.bereft || model.dispossessed || model.is_stopping() {
            return Ok(());
        }
        for kind in Kind::ALL {
            let persisted = self.workers[w].model.stats.records[kind].persisted;
            if persisted > 0 && self.nemesis.chance(200) {
                let held = self.store.held(kind, Some(run));
                require(persisted <= held, Invariant::Persisted, || {
                    format!("{persisted} {kind}s are said to be in the journal, which holds {held}")
                })?;
            }
        }
        Ok(())
    }

    /// A record is sent by whoever has its journal, but for what was in flight when another adopted that.
    pub(super) fn check_owner(&self, w: usize, batch: &str, numbers: &[u64]) -> Checked {
        let worker = &self.workers[w];
        let alive = |run: u32| self.workers.iter().any(|of| of.run == run && of.subject.is_some());
        for number in numbers.iter().filter(|number| **number >= self.history.disputed) {
            let record = usize::try_from(*number).ok().and_then(|index| self.history.records.get(index));
            // A write that came late may have put it into a stream that its agent had to give up without knowing.
            // An append whose answer was lost may have done so, too: its agent cannot know that the record is there.
            let is_known = |record: &&Fate| record.run != worker.run || record.journaled;
            let Some(record) = record.filter(|record| !record.resurrected).filter(is_known) else { continue };
            let mut owners = record.streams.iter().filter_map(|stream| self.store.owner(*stream));
            let mine = owners.clone().any(|owner| owner == worker.run);
            let other = owners.find(|owner| *owner != worker.run && alive(*owner));
            // Who cannot tell an adoption from a theft sends the events in its memory all the same, under the same keys.
            let is_claimed = record.made.kind == Kind::Event && worker.model.may_be_robbed();
            let retries = worker.model.has_sent(batch) || is_claimed;
            require(
                mine || other.is_none() || retries || worker.model.journal_failed(),
                Invariant::Exclusive,
                || {
                    format!(
                        "record {number} goes out in batch {batch} of run {}, but is run {other:?}'s",
                        worker.run
                    )
                },
            )?;
        }
        Ok(())
    }

    /// Something happens to the store.
    pub(super) fn trouble(&mut self) {
        let trouble = self.nemesis.weighted(&self.scenario.troubles);
        self.trace.line(self.now, format_args!("trouble {trouble:?}"));
        self.store_trouble_at = self.store_trouble_at.max(Some(self.now));
        match trouble {
            Trouble::Outage => {
                let fault = self.nemesis.weighted(&self.scenario.store_faults);
                self.break_off(fault, self.scenario.config.journal_lease * 4);
            }
            Trouble::Restart => self.break_off(StoreFault::Refused, Duration::from_secs(20)),
            Trouble::GoesBack => {
                let ago = Duration::from_secs(self.nemesis.between(1, 5));
                let lost = self.store.go_back(ago, self.now);
                self.bereave(&lost);
                self.break_off(StoreFault::Refused, Duration::from_secs(5));
            }
            Trouble::Wiped => {
                let lost = self.store.wipe();
                self.bereave(&lost);
            }
            Trouble::ClockSet => {
                let by = Duration::from_secs(self.nemesis.pick(&[1, 20, 600]));
                let forward = self.nemesis.chance(500);
                self.store.set_clock(forward, by);
                self.history.disputed = self.made;
            }
        }
    }

    /// Somebody who can write to the store does so.
    pub(super) fn visit(&mut self, visit: Visit) {
        let lease = self.scenario.config.journal_lease / 5 * 2;
        let lost = self.store.visit(visit, lease, self.now, &mut self.visitor);
        self.trace.line(self.now, format_args!("visit {visit:?}"));
        self.store_trouble_at = self.store_trouble_at.max(Some(self.now));
        self.bereave(&lost);
    }

    fn break_off(&mut self, fault: StoreFault, longest: Duration) {
        self.store_weather = StoreWeather::Outage(fault);
        let end = self.nemesis.duration(Duration::ZERO, longest);
        self.store_trouble_at = self.store_trouble_at.max(Some(self.now + end));
        self.schedule.at(self.now + end, Event::StoreHeals);
    }

    /// The store lost records, with the run whose each was.
    fn bereave(&mut self, lost: &[(u64, Option<u32>)]) {
        self.trace.line(self.now, format_args!("the store lost {} records", lost.len()));
        self.history.disputed = self.made;
        self.history.disturbed = true;
        for worker in &mut self.workers {
            worker.model.bereft = true;
        }
        for (number, owner) in lost {
            let alive = self.workers.iter().any(|of| Some(of.run) == *owner && of.subject.is_some());
            let Some(record) = self.history.record(*number) else { continue };
            record.lost = true;
            record.journaled = false;
            // Whoever accepted it does not look after it any more.
            record.died |= record.taken_at.is_none() && !(alive && *owner == Some(record.run));
        }
    }
}
