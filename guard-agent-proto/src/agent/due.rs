use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::reporter::Topic;
use super::stream::{LIVE_TURNS, Path, Sender, Stream};
use super::{Agent, Flight};
use crate::batch::Batch;
use crate::flush::Which;
use crate::journal::{Journal, JournalRoom, Unwritten};
use crate::lane::{Departure, Others, Share, Source};
use crate::pacer::Class;
use crate::soonest::Soonest;
use crate::store::StoreErrorKind;
use crate::{
    AgentEvent, BreakerState, ByKind, DrainOrder, DropReason, Instant, Kind, Output, Payload, Reason,
    Request, RequestId, Seq, Timestamp, TransportError, TransportErrorKind,
};

/// How much longer than its time limit a request may take to be answered by the runtime.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// Our own wait between two attempts at the end of a shutdown.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(1);
/// Time limit of the last status push.
const LAST_STATUS_TIMEOUT: Duration = Duration::from_secs(2);

impl Agent {
    /// Does what is due; answers what comes next if that produced no output.
    pub(super) fn advance(&mut self) -> Soonest {
        let mut next = Soonest::NEVER;
        self.hurry_shutdown();
        self.lose_overdue(&mut next);
        self.expire_records(&mut next);
        self.read_back();
        self.spill();
        self.expire_rules(&mut next);
        self.end_flushes(&mut next);
        self.send(&mut next);
        self.log(&mut next);
        self.close(&mut next);
        self.tell_what_is_due(&mut next);
        for kind in Kind::ALL {
            if self.ledgers()[kind].pending == 0 {
                self.fruitless[kind] = None;
            }
            let until = self.fruitless_until(kind).filter(|until| *until > self.now.instant);
            next.consider(until.map(|until| (until, Reason::Health)));
        }
        self.tell_health();
        next
    }

    /// Who shuts down has no time to lose: our own waiting takes a part of what is left of it.
    fn hurry_shutdown(&mut self) {
        let (now, Some(shutdown)) = (self.now.instant, &self.shutdown) else { return };
        let until = now + (shutdown.deadline.since(now) / 4).max(SHUTDOWN_WAIT);
        self.breaker.shorten(until);
        for kind in Kind::ALL {
            for path in Path::ALL {
                self.streams[kind].lane_mut(path).shorten_backoff(until);
            }
        }
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

    fn expire_rules(&mut self, next: &mut Soonest) {
        if self.rules.expire(self.now.wall) {
            self.outputs.push_back(Output::Event(AgentEvent::Rules(None)));
        }
        next.consider(self.rules.expires_at(self.now));
    }

    fn end_flushes(&mut self, next: &mut Soonest) {
        let streams = &self.streams;
        let ledgers = self.ledgers();
        let journal = self.journal.as_ref();
        let ended = self.flushes.end(self.now.instant, &ledgers, |kind, mark, which| {
            let count = |mark, with_parked| -> u64 {
                let counts =
                    Path::ALL.map(|path| streams[kind].lane(path).count_before(mark, with_parked) as u64);
                counts.iter().sum()
            };
            let stored = journal.map_or(0, |journal| journal.stored_before(kind, mark));
            match which {
                Which::All => count(mark, true) + stored,
                Which::Sendable => count(mark, false) + stored,
                Which::Volatile => {
                    let durable = journal.map_or(Seq::from_u64(0), |journal| journal.acknowledged(kind));
                    count(mark, true).saturating_sub(count(durable, true))
                }
            }
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
            let backlog_first = self.streams[kind].live_turns >= LIVE_TURNS && !self.shares_turn(kind);
            let paths = if backlog_first { [Path::Backlog, Path::Live] } else { Path::ALL };
            paths.map(|path| Sender::Lane(kind, path))
        });
        let mut senders = [events[0], events[1], Sender::Rules, Sender::Status, metrics[0], metrics[1]];
        let last = senders.iter().position(|sender| self.probed == Some(*sender));
        if let (Some(last), BreakerState::Open, None) = (last, self.breaker.state(), &self.shutdown) {
            senders.rotate_left(last + 1);
        }
        senders
    }

    /// Whether the backlog's turn is a live batch that takes its records along: where more events of several types have
    /// come than one batch can hold, none of these types waits for another slot.
    fn shares_turn(&self, kind: Kind) -> bool {
        let Stream { live, backlog, live_turns, .. } = &self.streams[kind];
        kind == Kind::Event
            && *live_turns >= LIVE_TURNS
            && live.is_contended(self.batch_room(kind))
            && backlog.may_lend()
            && self.config.drain == DrainOrder::LiveFirst
    }

    /// When that sender may send, what it waits for until then, and what it is paced as.
    fn allowed_at(&self, sender: Sender) -> Option<(Instant, Reason, Class)> {
        let now = self.now.instant;
        let (ready, class) = match sender {
            Sender::Lane(kind, path) => {
                let stream = &self.streams[kind];
                if self.journal.as_ref().is_some_and(|journal| journal.is_in_doubt(now))
                    || !self.may_go_first(kind, path)
                    || self.lanes_in_flight() >= self.config.max_concurrent_flushes
                {
                    return None;
                }
                let urgent = self.urgent(kind);
                let (mut ready, _, class) = self.next_batch(kind, path, urgent)?;
                if let Some(at) = stream.quiet_until() {
                    ready = ready.max((at, Reason::RetryAfter));
                }
                (ready, class)
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

    /// Records before this are wanted at once, by a flush or a shutdown.
    fn urgent(&self, kind: Kind) -> Seq {
        let shutdown = self.shutdown.as_ref().map(|shutdown| shutdown.mark[kind]);
        shutdown.unwrap_or_else(|| self.flushes.mark(kind))
    }

    /// The batch of that lane that may leave first, as far as the lane and the pace of its class are concerned.
    fn next_batch(&self, kind: Kind, path: Path, urgent: Seq) -> Option<((Instant, Reason), Source, Class)> {
        let now = self.now.instant;
        let lane = self.streams[kind].lane(path);
        let mut sources = [Source::Sealed, Source::Queue, Source::Suspects];
        if lane.owes_suspects() {
            sources.rotate_right(1);
        }
        let is_committed = self.is_committed(kind);
        let batches = sources.into_iter().filter(|source| *source != Source::Queue || !is_committed);
        let batches = batches.filter_map(|source| {
            let ready = lane.ready_at(source, urgent)?;
            Some((ready, source, self.class(kind, path, source, urgent)))
        });
        batches.min_by_key(|((at, _), _, class)| (*at).max(self.pacer.allowed_at(*class, now).0).max(now))
    }

    /// Whether the other lane has nothing that must go before.
    pub(super) fn may_go_first(&self, kind: Kind, path: Path) -> bool {
        let Stream { live, backlog, .. } = &self.streams[kind];
        match (self.config.drain, path) {
            (DrainOrder::LiveFirst, Path::Live) => true,
            (DrainOrder::LiveFirst, Path::Backlog) => !live.has_borrowed(),
            // What was sealed here is older than what waits there. A journal that is down holds nothing up.
            (DrainOrder::Fifo, Path::Live) => {
                let stored = self
                    .journal
                    .as_ref()
                    .is_some_and(|journal| journal.is_readable() && journal.stored(kind) > 0);
                live.has_sealed() || backlog.sendable() == 0 && !stored
            }
            (DrainOrder::Fifo, Path::Backlog) => !live.has_sealed(),
        }
    }

    /// Class of the next batch of that lane: that of new records of its kind if they may leave now, else whichever lets
    /// it leave first. What catches up may use free requests, and a flush those that the pace would keep for later.
    fn class(&self, kind: Kind, path: Path, source: Source, urgent: Seq) -> Class {
        let now = self.now.instant;
        let paced = match kind {
            Kind::Event => Class::Events,
            Kind::Metric => Class::Metrics,
        };
        let is_wanted = self.streams[kind].lane(path).count_before(urgent, false) > 0;
        let others = [
            self.catches_up(kind, path, source).then_some(Class::CatchUp),
            is_wanted.then_some(Class::Urgent),
        ];
        let classes = [paced].into_iter().chain(others.into_iter().flatten());
        classes.min_by_key(|class| self.pacer.allowed_at(*class, now).0.max(now)).unwrap_or(paced)
    }

    /// Whether the next batch of that lane is more than what has just come: a retry, a part of a search, one of
    /// several full ones, or of a backlog. One that is still being read back fills its batches first: there are
    /// fewer free requests than blocks.
    fn catches_up(&self, kind: Kind, path: Path, source: Source) -> bool {
        let lane = self.streams[kind].lane(path);
        let reads_back = || self.journal.as_ref().is_some_and(|journal| journal.stored(kind) > 0);
        source != Source::Queue || lane.holds_several_batches() || path == Path::Backlog && !reads_back()
    }

    fn depart(&mut self, sender: Sender, class: Class) {
        let now = self.now.instant;
        let id = RequestId::from_u64(self.next_request);
        let mut timeout = self.config.timeout;
        let payload = match sender {
            Sender::Lane(kind, path) => {
                let Some(batch) = self.depart_batch(kind, path) else { return };
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

    /// The next batch of that lane. Records without a key of their own can only be recognised by that of their
    /// batch: with a journal, it first notes there what the batch consists of, and the batch waits for that.
    fn depart_batch(&mut self, kind: Kind, path: Path) -> Option<Arc<Batch>> {
        let room = self.batch_room(kind);
        let is_their_turn = self.shares_turn(kind);
        let (_, source, _) = self.next_batch(kind, path, self.urgent(kind))?;
        let (now, rng) = (self.now, &mut self.rng);
        let stream = &mut self.streams[kind];
        let mut source = source;
        if let (Kind::Metric, Source::Queue, Some(journal)) =
            (kind, source, self.journal.as_mut().filter(|journal| journal.takes_seals()))
            && let Some(batch) = stream.lane_mut(path).seal_ahead(room, now, rng)
        {
            if journal.on_sealed(&batch, true) {
                return None;
            }
            stream.lane_mut(path).on_seal_durable(batch.id());
            source = Source::Sealed;
        }
        let Stream { live, backlog, .. } = stream;
        let departure = match path {
            Path::Live => {
                let share = kind == Kind::Event && self.config.drain == DrainOrder::LiveFirst;
                let others = share.then_some(Others { lane: backlog, is_their_turn });
                live.depart(source, room, others, now, rng)
            }
            Path::Backlog => backlog.depart(source, room, None, now, rng),
        };
        let Departure { batch, share } = departure?;
        stream.overflows = false;
        stream.live_turns = match (path, share) {
            (Path::Live, Share::NoRecords) => LIVE_TURNS,
            (Path::Live, Share::NoRoom) => (stream.live_turns + 1).min(LIVE_TURNS),
            (Path::Live, Share::Rest) | (Path::Backlog, _) => 0,
        };
        if let Some(journal) = &mut self.journal {
            journal.on_sealed(&batch, false);
        }
        self.fruitless[kind].get_or_insert(now.instant);
        Some(batch)
    }

    fn log(&mut self, next: &mut Soonest) {
        let room = self.journal_room();
        let (streams, epoch) = (&self.streams, self.epoch);
        let Some(journal) = &mut self.journal else { return };
        let request = journal.poll(self.now.instant, room, &mut self.rng, |kind, from, bytes| {
            unwritten(&streams[kind], epoch, from, bytes)
        });
        next.consider(journal.due_at(room));
        next.consider(journal.calm_at().map(|at| (at, Reason::Health)));
        self.outputs.extend(request.map(Output::Store));
    }

    /// What the journal may bring: nothing while there is no room for it, since it must not push out what is
    /// already here.
    fn journal_room(&self) -> JournalRoom {
        let closing = self.shutdown.is_some() && self.is_handing_over();
        let room = |kind| !closing && (self.has_room_behind(kind, 0, 1) || self.has_surplus(kind));
        JournalRoom {
            read: ByKind { events: room(Kind::Event), metrics: room(Kind::Metric) },
            others: self.shutdown.is_none(),
        }
    }

    /// Whether a shutdown leaves what is pending to other agents: the journal has it, or can have it, and there
    /// is nothing to be won by waiting.
    pub(super) fn is_handing_over(&self) -> bool {
        let outage = self.breaker.state() != BreakerState::Closed && self.lanes_in_flight() == 0;
        let journal = self.journal.as_ref().is_some_and(|journal| !journal.is_down());
        journal && (outage || self.hand_over_at <= self.now.instant)
    }

    /// Ends the shutdown when nothing more can be done for it.
    fn close(&mut self, next: &mut Soonest) {
        let Some(shutdown) = &self.shutdown else { return };
        let deadline = shutdown.deadline;
        if self.now.instant < deadline {
            next.consider(Some((deadline, Reason::ShutdownDeadline)));
            if !self.is_handing_over() && !self.journal.as_ref().is_some_and(Journal::is_closing) {
                // A journal that is down by then may still come back.
                let hand_over = Some((self.hand_over_at, Reason::ShutdownDeadline));
                next.consider(hand_over.filter(|(at, _)| self.journal.is_some() && *at > self.now.instant));
                // What is in the store alone has to be read, and whose it is may have to be asked.
                let unread = self.journal.as_ref().is_some_and(|journal| {
                    let stored = Kind::ALL.iter().any(|kind| journal.stored(*kind) > 0);
                    journal.is_readable() && stored || journal.has_lapsed(self.now.instant)
                });
                if self.lanes_in_flight() > 0 || unread || self.may_still_send(deadline) {
                    return;
                }
            }
            self.status.want_last();
            match self.allowed_at(Sender::Status) {
                Some((at, _, class)) if at <= self.now.instant => self.depart(Sender::Status, class),
                Some(_) => self.status.skip_last(),
                None if self.breaker.state() != BreakerState::Closed => self.status.skip_last(),
                None => {}
            }
            if !self.status.is_done() {
                return;
            }
            self.journal.iter_mut().for_each(Journal::close);
            self.log(next);
            if self.journal.as_ref().is_some_and(|journal| !journal.is_closed()) {
                return;
            }
        } else if let Some(journal) = self.journal.as_ref().filter(|journal| journal.owes_news()) {
            let why = journal.down().or_else(|| journal.impaired()).map_or("busy", StoreErrorKind::as_str);
            let message = format!(
                "the journal was not closed in time ({why}): another agent may send again what was delivered"
            );
            self.tell_of_journal(Topic::Unclosed, message);
        }
        // Nothing comes after the end.
        self.tell_health();
        let ledgers = self.ledgers();
        let Some(shutdown) = self.shutdown.take() else { return };
        let reports = self.flushes.end_all(&ledgers);
        self.outputs.extend(reports.into_iter().map(Output::Event));
        let pending = ByKind { events: ledgers.events.pending, metrics: ledgers.metrics.pending };
        self.closed = true;
        let mut never = Soonest::NEVER;
        self.tell_what_is_due(&mut never);
        self.outputs.push_back(Output::Closed(shutdown.report(pending, &ledgers)));
    }

    /// Whether some record may still get an attempt before `deadline`.
    fn may_still_send(&self, deadline: Instant) -> bool {
        Kind::ALL.iter().any(|kind| {
            Path::ALL.iter().any(|path| {
                let lane = self.streams[*kind].lane(*path);
                let allowed = || self.allowed_at(Sender::Lane(*kind, *path));
                !lane.is_refused()
                    && lane.sendable() > 0
                    && (lane.awaits_seal() || allowed().is_some_and(|(at, ..)| at < deadline))
            })
        })
    }
}

/// Pending records of our own that came after `from`, ascending, about `bytes` of them.
fn unwritten(stream: &Stream, epoch: i64, from: Seq, bytes: usize) -> Vec<Unwritten<'_>> {
    let own = Path::ALL.into_iter().flat_map(|path| stream.lane(path).from(from));
    let mut entries: Vec<_> = own.filter(|entry| entry.seq().origin() == 0).collect();
    entries.sort_unstable_by_key(|entry| entry.seq());
    let mut taken = 0;
    let fitting = entries.into_iter().take_while(|entry| {
        let fits = taken < bytes;
        taken += entry.json.len();
        fits
    });
    let written = fitting.map(|entry| Unwritten {
        seq: entry.seq(),
        accepted_at: Timestamp::from_unix_micros(
            epoch.saturating_add_unsigned(entry.accepted_at.as_micros()),
        ),
        attack: entry.is_attack(),
        json: &entry.json,
    });
    written.collect()
}
