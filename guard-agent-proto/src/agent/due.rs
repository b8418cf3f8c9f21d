use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::stream::{Path, Sender, Stream};
use super::{Agent, Flight};
use crate::batch::Entry;
use crate::pacer::Class;
use crate::soonest::Soonest;
use crate::{
    AgentEvent, BreakerState, ByKind, DrainOrder, DropReason, Instant, Kind, Output, Payload, Reason,
    Request, RequestId, Seq, StoreEntry, TransportError, TransportErrorKind,
};

/// How much longer than its time limit a request may take to be answered by the runtime.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// Time limit of the last status push.
const LAST_STATUS_TIMEOUT: Duration = Duration::from_secs(2);

impl Agent {
    /// Does what is due; answers what comes next if that produced no output.
    pub(super) fn advance(&mut self) -> Soonest {
        let mut next = Soonest::NEVER;
        if self.shutdown.is_some() {
            self.breaker.shorten();
        }
        self.lose_overdue(&mut next);
        self.expire_records(&mut next);
        self.spill();
        self.expire_rules(&mut next);
        self.end_flushes(&mut next);
        self.send(&mut next);
        self.log(&mut next);
        self.close(&mut next);
        self.tell_losses(&mut next);
        self.tell_health();
        next
    }

    /// A runtime that forgot to answer must not stop a lane for ever.
    fn lose_overdue(&mut self, next: &mut Soonest) {
        let now = self.now.instant;
        let overdue: Vec<_> =
            self.in_flight.iter().filter(|(_, flight)| flight.deadline <= now).map(|(id, _)| *id).collect();
        for id in overdue {
            let error =
                TransportError::new(TransportErrorKind::Timeout, "the runtime did not answer in time");
            self.on_response(id, Err(error));
        }
        for flight in self.in_flight.values() {
            next.consider(Some((flight.deadline, Reason::RequestTimeout)));
        }
    }

    fn expire_records(&mut self, next: &mut Soonest) {
        let Some(age) = self.config.max_record_age else { return };
        let limit = Instant::ZERO + self.now.instant.since(Instant::ZERO + age);
        for kind in Kind::ALL {
            for path in Path::ALL {
                let lane = self.streams[kind].lane_mut(path);
                let expired: Vec<_> = core::iter::from_fn(|| lane.expire(limit)).collect();
                let oldest = lane.oldest();
                for entry in expired {
                    self.give_up(kind, entry.seq(), DropReason::Expired);
                }
                next.consider(oldest.map(|oldest| (oldest + age + Duration::from_micros(1), Reason::Expiry)));
            }
        }
    }

    /// What no longer fits the next live batch waits apart, so that new events do not wait behind it.
    fn spill(&mut self) {
        match self.config.drain {
            DrainOrder::LiveFirst => {
                for kind in Kind::ALL {
                    let Stream { live, backlog, .. } = &mut self.streams[kind];
                    live.spill_into(backlog);
                }
            }
            DrainOrder::Fifo => {}
        }
    }

    fn expire_rules(&mut self, next: &mut Soonest) {
        if self.rules.expire(self.now.wall) {
            self.outputs.push_back(Output::Event(AgentEvent::Rules(None)));
        }
        next.consider(self.rules.expires_at(self.now));
    }

    fn end_flushes(&mut self, next: &mut Soonest) {
        let streams = &self.streams;
        let ledgers = self.ledgers();
        let ended = self.flushes.end(self.now.instant, &ledgers, |kind, mark, with_parked| {
            Path::ALL.map(|path| streams[kind].lane(path).count_before(mark, with_parked) as u64).iter().sum()
        });
        self.outputs.extend(ended.into_iter().map(Output::Event));
        next.consider(self.flushes.deadline());
    }

    /// Sends everything that may leave now.
    fn send(&mut self, next: &mut Soonest) {
        loop {
            let mut sent = false;
            let mut waiting = Soonest::NEVER;
            for sender in self.senders() {
                match self.allowed_at(sender) {
                    Some((at, _, class)) if at <= self.now.instant => {
                        self.depart(sender, class);
                        sent = true;
                        break;
                    }
                    other => waiting.consider(other.map(|(at, reason, _)| (at, reason))),
                }
            }
            if !sent {
                next.consider(Some((waiting.at, waiting.reason)));
                return;
            }
        }
    }

    /// Everybody who sends, in order of preference. Probes take turns: an endpoint that alone fails must
    /// not use up all of them.
    fn senders(&self) -> [Sender; 6] {
        let [events, metrics] = Kind::ALL.map(|kind| {
            let paths = if self.streams[kind].backlog_next { [Path::Backlog, Path::Live] } else { Path::ALL };
            paths.map(|path| Sender::Lane(kind, path))
        });
        let mut senders = [events[0], events[1], Sender::Rules, Sender::Status, metrics[0], metrics[1]];
        let last = senders.iter().position(|sender| self.probed == Some(*sender));
        if let (Some(last), BreakerState::Open, None) = (last, self.breaker.state(), &self.shutdown) {
            senders.rotate_left(last + 1);
        }
        senders
    }

    /// When that sender may send, what it waits for until then, and what it is paced as.
    fn allowed_at(&self, sender: Sender) -> Option<(Instant, Reason, Class)> {
        let now = self.now.instant;
        let (ready, class) = match sender {
            Sender::Lane(kind, path) => {
                let stream = &self.streams[kind];
                let behind = self.config.drain == DrainOrder::Fifo && path == Path::Live;
                if behind && stream.backlog.sendable() > 0
                    || self.lanes_in_flight() >= self.config.max_concurrent_flushes
                {
                    return None;
                }
                let urgent =
                    self.shutdown.as_ref().map_or_else(|| self.flushes.mark(), |shutdown| shutdown.mark);
                let mut ready = stream.lane(path).ready_at(urgent)?;
                if let Some(at) = stream.retry_after {
                    ready = ready.max((at, Reason::RetryAfter));
                }
                (ready, self.class(kind, path, urgent))
            }
            Sender::Rules if self.shutdown.is_none() => (self.rules.due_at()?, Class::Rules),
            Sender::Status => (self.status.due_at()?, Class::Status),
            Sender::Rules => return None,
        };
        let probe = self.breaker.allowed_at();
        if probe == Instant::FAR_FUTURE {
            return None;
        }
        let (at, reason) = ready.max((probe, Reason::BreakerProbe)).max(self.pacer.allowed_at(class, now));
        Some((at, reason, class))
    }

    /// A flush may use requests that the pace would keep for later.
    fn class(&self, kind: Kind, path: Path, urgent: Seq) -> Class {
        let paced = match kind {
            Kind::Event => Class::Events,
            Kind::Metric => Class::Metrics,
        };
        let now = self.now.instant;
        let hurried = self.streams[kind].lane(path).count_before(urgent, false) > 0
            && self.pacer.allowed_at(Class::Urgent, now) < self.pacer.allowed_at(paced, now);
        if hurried { Class::Urgent } else { paced }
    }

    fn depart(&mut self, sender: Sender, class: Class) {
        let now = self.now.instant;
        let id = RequestId::from_u64(self.next_request);
        let mut timeout = self.config.timeout;
        let payload = match sender {
            Sender::Lane(kind, path) => {
                let stream = &mut self.streams[kind];
                stream.backlog_next = path == Path::Live;
                let Some(batch) = stream.lane_mut(path).depart(id, self.now, &mut self.rng) else { return };
                Payload::Batch(batch)
            }
            Sender::Rules => Payload::Rules { etag: self.rules.depart(id, now) },
            Sender::Status => {
                // An agent without traffic does not stay degraded for ever.
                self.decided.halve(now);
                self.status.depart(id, now);
                if self.shutdown.is_some() {
                    timeout = timeout.min(LAST_STATUS_TIMEOUT);
                }
                Payload::Status(Arc::new(self.status()))
            }
        };
        self.next_request += 1;
        if self.breaker.state() == BreakerState::Open {
            self.probed = Some(sender);
        }
        self.breaker.on_sent(id);
        self.pacer.on_sent(class, now);
        self.counters.requests_sent += 1;
        self.in_flight.insert(id, Flight { sender, deadline: now + timeout + ANSWER_GRACE });
        self.outputs.push_back(Output::Send(Request { id, payload, timeout }));
    }

    fn log(&mut self, next: &mut Soonest) {
        let Some(journal) = &mut self.journal else { return };
        let streams = &self.streams;
        // A recovered page must not push out what is already here.
        let room = Kind::ALL.iter().all(|kind| {
            streams[*kind].len() < self.config.buffer_size.div_ceil(2)
                && streams[*kind].cost() < self.config.buffer_bytes / 2
        });
        let request = journal.poll(self.now.instant, room && self.shutdown.is_none(), |from, bytes| {
            unwritten(streams, from, bytes)
        });
        next.consider(journal.due_at(room && self.shutdown.is_none()));
        self.outputs.extend(request.map(Output::Store));
    }

    /// Ends the shutdown when nothing more can be done for it.
    fn close(&mut self, next: &mut Soonest) {
        let Some(shutdown) = &self.shutdown else { return };
        let deadline = shutdown.deadline;
        if self.now.instant < deadline {
            next.consider(Some((deadline, Reason::ShutdownDeadline)));
            if self.lanes_in_flight() > 0 || self.may_still_send(deadline) {
                return;
            }
            self.status.want_last();
            match self.allowed_at(Sender::Status) {
                Some((at, _, class)) if at <= self.now.instant => self.depart(Sender::Status, class),
                Some(_) => self.status.skip_last(),
                None if self.breaker.state() != BreakerState::Closed => self.status.skip_last(),
                None => {}
            }
            let logged =
                self.journal.as_ref().is_none_or(|journal| journal.is_settled() || journal.is_down());
            if !self.status.is_done() || !logged {
                return;
            }
        }
        let ledgers = self.ledgers();
        let Some(shutdown) = self.shutdown.take() else { return };
        let reports = self.flushes.end_all(&ledgers);
        self.outputs.extend(reports.into_iter().map(Output::Event));
        let pending = ByKind { events: ledgers.events.pending, metrics: ledgers.metrics.pending };
        self.outputs.push_back(Output::Closed(shutdown.report(pending, &ledgers)));
        self.closed = true;
    }

    /// Whether some record may still get an attempt before `deadline`.
    fn may_still_send(&self, deadline: Instant) -> bool {
        Kind::ALL.iter().any(|kind| {
            Path::ALL.iter().any(|path| {
                !self.streams[*kind].lane(*path).is_refused()
                    && self.allowed_at(Sender::Lane(*kind, *path)).is_some_and(|(at, ..)| at < deadline)
            })
        })
    }
}

/// Pending records that came after `from` and are in no store, ascending, about `bytes` of them.
fn unwritten(streams: &ByKind<Stream>, from: Seq, bytes: usize) -> Vec<StoreEntry> {
    let mut entries: Vec<(Kind, &Entry)> = Vec::new();
    for kind in Kind::ALL {
        for path in Path::ALL {
            let pending = streams[kind].lane(path).from(from).filter(|entry| !entry.is_recovered());
            entries.extend(pending.map(|entry| (kind, entry)));
        }
    }
    entries.sort_unstable_by_key(|(_, entry)| entry.seq());
    let mut taken = 0;
    let fitting = entries.into_iter().take_while(|(_, entry)| {
        let fits = taken < bytes;
        taken += entry.json.len();
        fits
    });
    let written = |(kind, entry): (Kind, &Entry)| StoreEntry {
        seq: entry.seq(),
        kind,
        attack: entry.is_attack(),
        json: entry.json.clone(),
    };
    fitting.map(written).collect()
}
