//! Where the application's threads and the driver meet: one short lock around two queues.
//!
//! The wake-ups are those of a network card's interrupts: the driver takes everything at once, and as
//! long as it finds something it comes back by timer with the wake-up disarmed; only when it found
//! nothing is the next record to wake it. A busy caller therefore never pays for a wake-up, and an idle
//! agent has no timer.

use std::mem;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::vec::Vec;

use futures_channel::oneshot;

use super::handle::Snapshot;
use super::item::{Item, TrySendError, TrySendErrorKind, by_kind};
use super::receipt::{Backlog, Promise, Receipt};
use crate::{
    AgentConfig, ByKind, DropReason, HealthReason, Instant, Kind, Outcome, OverflowPolicy, Report,
    SecurityEvent, SecurityMetric, Stats, StatusLevel,
};

/// Records beyond the capacity that may wait for the driver under [`OverflowPolicy::Drop`]: the core is
/// the one that gives up the oldest, but only once it has been handed the newest.
const HANDOVER_RECORDS: usize = 1_024;
/// The same in bytes.
const HANDOVER_BYTES: usize = 1 << 20;
/// Once the callers pause, a queue keeps room for that many records; a burst does not occupy memory for
/// ever. While they are busy it keeps what it has, since growing under the lock is what costs them most.
const KEPT_CAPACITY: usize = 4_096;

pub(crate) struct Inbox {
    capacity: Weight,
    /// Records per kind in memory and journal together, where there is a journal.
    quota: Option<u64>,
    policy: OverflowPolicy,
    enabled: ByKind<bool>,
    state: Mutex<State>,
    /// The process in which the driver is.
    process: u32,
    /// Stands in, in a child that was forked, for a state that is locked by a thread that it does not have.
    orphaned: OnceLock<Mutex<State>>,
}

pub(crate) struct State {
    pub(crate) events: Queue<SecurityEvent>,
    pub(crate) metrics: Queue<SecurityMetric>,
    phase: Phase,
    driver: Option<Waker>,
    /// Length of a queue that wakes the driver.
    wake_at: usize,
    controls: Vec<Control>,
    /// Callers that wait for room.
    waiting: Vec<Waker>,
    snapshot: Arc<Snapshot>,
}

/// One kind's waiting records and their accounting. The length of the queue is the count.
pub(crate) struct Queue<T> {
    backlog: Backlog<T>,
    gauge: Gauge,
}

#[derive(Clone, Copy, Debug, Default)]
struct Gauge {
    /// Approximate bytes of the queue.
    bytes: usize,
    /// What the queue may hold before the agent is full.
    room: Weight,
    /// Taken by the driver, not yet by the core.
    transit: Weight,
    losses: Losses,
    /// The part of `losses` that the core's statistics include.
    told: Losses,
    /// Lost with the driver.
    closed: u64,
    /// Offered after the end.
    refused: u64,
}

/// Records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// What the inbox gave up or refused so far, for the core to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    pub(crate) overflow: u64,
    pub(crate) invalid: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// A shutdown was asked for; the driver is still there.
    Closing,
    /// The driver ended as it was told to.
    Closed,
    /// The driver is gone without a shutdown.
    Gone,
}

/// What the handle asks of the driver, beside taking records.
pub(crate) enum Control {
    Flush {
        deadline: Instant,
        reply: oneshot::Sender<Report>,
    },
    Persist {
        deadline: Instant,
        reply: oneshot::Sender<Report>,
    },
    Shutdown {
        deadline: Instant,
        reply: oneshot::Sender<Report>,
    },
    RefreshRules,
    CredentialsChanged,
    /// The last handle is gone.
    Abandon,
}

/// What the driver took. Given back empty, it lends its memory to the queues.
#[derive(Default)]
pub(crate) struct Intake {
    pub(crate) events: Backlog<SecurityEvent>,
    pub(crate) metrics: Backlog<SecurityMetric>,
    /// Cumulative.
    pub(crate) losses: ByKind<Losses>,
    bytes: ByKind<usize>,
    /// The last drain found nothing.
    paused: bool,
}

impl Intake {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.metrics.is_empty()
    }

    /// Approximate bytes of what was drained last, of which a part may have been taken since.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.events.saturating_add(self.bytes.metrics)
    }

    /// Lends the memory of the last drain to the queues, unless the callers have paused.
    fn recycle(&mut self) {
        if self.paused {
            self.events.shrink_to(KEPT_CAPACITY);
            self.metrics.shrink_to(KEPT_CAPACITY);
        }
    }
}

/// What the driver tells after each step.
pub(crate) struct Progress {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Records taken from the inbox that the core does not know yet.
    pub(crate) transit: ByKind<usize>,
    /// Losses that the core was told of.
    pub(crate) told: ByKind<Losses>,
}

impl Inbox {
    pub(crate) fn new(config: &AgentConfig, journal: bool, snapshot: Snapshot) -> Self {
        let capacity = Weight { records: config.buffer_size, bytes: config.buffer_bytes };
        Self {
            capacity,
            quota: journal.then_some(config.journal_records.max(config.buffer_size as u64)),
            policy: config.buffer_overflow_policy,
            enabled: ByKind {
                events: config.enabled && config.enable_events,
                metrics: config.enabled && config.enable_metrics,
            },
            state: Mutex::new(State::new(
                capacity,
                if config.enabled { Phase::Open } else { Phase::Closed },
                snapshot,
            )),
            process: process::id(),
            orphaned: OnceLock::new(),
        }
    }

    pub(crate) fn waits_for_room(&self) -> bool {
        self.policy == OverflowPolicy::Block
    }

    /// Takes the record, or gives up what the policy says.
    #[inline]
    pub(crate) fn send<T: Item>(&self, item: T) {
        if !self.enabled[T::KIND] {
            return;
        }
        if item.validate().is_err() {
            T::queue(&mut self.lock()).gauge.losses.invalid += 1;
            return;
        }
        let bytes = item.approximate_size();
        let slack = match self.policy {
            OverflowPolicy::Drop => Weight { records: HANDOVER_RECORDS, bytes: HANDOVER_BYTES },
            OverflowPolicy::Raise | OverflowPolicy::Block => Weight::default(),
        };
        loop {
            let mut state = self.lock();
            let open = state.phase == Phase::Open;
            let queue = T::queue(&mut state);
            if !open {
                queue.gauge.refused += 1;
                return;
            }
            if queue.fits(bytes, slack) || (self.policy == OverflowPolicy::Drop && queue.backlog.is_empty()) {
                let waker = state.push(item, bytes);
                if waker.is_some() && self.is_forked() {
                    mem::forget(waker);
                    return state.orphan();
                }
                drop(state);
                return wake(waker);
            }
            queue.gauge.losses.overflow += 1;
            match self.policy {
                OverflowPolicy::Raise | OverflowPolicy::Block => return,
                OverflowPolicy::Drop => {
                    let oldest = queue.pop();
                    drop(state);
                    // Freeing a record takes longer than all the rest here.
                    if let Some((_, Some(promise))) = oldest {
                        promise.tell(Outcome::Dropped(DropReason::Overflow));
                    }
                }
            }
        }
    }

    /// Takes the record if there is room; gives up nothing.
    #[inline]
    pub(crate) fn try_send<T: Item>(&self, record: T) -> Result<(), TrySendError<T>> {
        self.admit(record, None)
    }

    /// The same, with news of what becomes of the record.
    pub(crate) fn try_send_with_receipt<T: Item>(&self, record: T) -> Result<Receipt, TrySendError<T>> {
        let (promise, receipt) = Promise::new(self.process);
        self.admit(record, Some(promise)).map(|()| receipt)
    }

    #[inline]
    fn admit<T: Item>(&self, record: T, promise: Option<Promise>) -> Result<(), TrySendError<T>> {
        if !self.enabled[T::KIND] {
            return Err(TrySendError { kind: TrySendErrorKind::Disabled, record });
        }
        if let Err(error) = record.validate() {
            T::queue(&mut self.lock()).gauge.losses.invalid += 1;
            return Err(TrySendError { kind: TrySendErrorKind::Invalid(error), record });
        }
        let bytes = record.approximate_size();
        let mut state = self.lock_here();
        if state.phase != Phase::Open {
            drop(state);
            return Err(TrySendError { kind: TrySendErrorKind::Closed, record });
        }
        if !T::queue(&mut state).fits(bytes, Weight::default()) {
            drop(state);
            return Err(TrySendError { kind: TrySendErrorKind::Full, record });
        }
        let waker = state.push(record, bytes);
        if let Some(promise) = promise {
            T::queue(&mut state).backlog.promise(promise);
        }
        drop(state);
        wake(waker);
        Ok(())
    }

    /// Ready when a record of that size may find room, or when there will never be any.
    pub(crate) fn poll_room<T: Item>(&self, record: &T, cx: &Context<'_>) -> Poll<()> {
        let bytes = record.approximate_size();
        let mut state = self.lock_here();
        if state.phase != Phase::Open || T::queue(&mut state).fits(bytes, Weight::default()) {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Asks the driver, past all records. False when there is no driver to ask.
    pub(crate) fn control(&self, control: Control) -> bool {
        let mut state = self.lock_here();
        match (&control, state.phase) {
            (_, Phase::Closed | Phase::Gone) => return false,
            (Control::Shutdown { .. } | Control::Abandon, Phase::Open) => state.phase = Phase::Closing,
            _ => {}
        }
        state.controls.push(control);
        let driver = state.driver.take();
        let waiting = if state.phase == Phase::Open { Vec::new() } else { mem::take(&mut state.waiting) };
        drop(state);
        wake(driver);
        waiting.into_iter().for_each(Waker::wake);
        true
    }

    /// For the driver: ready when a control waits, or records to the number of `wake_at` do.
    pub(crate) fn poll_ready(&self, wake_at: usize, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.controls.is_empty() || state.events.len().max(state.metrics.len()) >= wake_at {
            return Poll::Ready(());
        }
        state.wake_at = wake_at;
        if !state.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.driver = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// For the driver: what was asked so far.
    pub(crate) fn take_controls(&self) -> Vec<Control> {
        mem::take(&mut self.lock().controls)
    }

    /// For the driver: everything that waits, in exchange for an empty `intake`.
    pub(crate) fn drain(&self, intake: &mut Intake) {
        debug_assert!(intake.is_empty(), "what was taken before goes first");
        intake.recycle();
        let mut state = self.lock();
        state.wake_at = usize::MAX;
        mem::swap(&mut state.events.backlog, &mut intake.events);
        mem::swap(&mut state.metrics.backlog, &mut intake.metrics);
        for (kind, records) in [(Kind::Event, intake.events.len()), (Kind::Metric, intake.metrics.len())] {
            let gauge = state.gauge_mut(kind);
            intake.losses[kind] = gauge.losses;
            intake.bytes[kind] = mem::take(&mut gauge.bytes);
            gauge.transit = Weight { records, bytes: intake.bytes[kind] };
            gauge.room = gauge.room.minus(gauge.transit);
        }
        intake.paused = intake.is_empty();
    }

    /// For the driver: where everything stands after a step.
    pub(crate) fn publish(&self, progress: Progress, intake: &Intake) {
        let Progress { snapshot, transit, told } = progress;
        let mut state = self.lock();
        for kind in Kind::ALL {
            let ledger = &snapshot.stats.records[kind];
            let mut held =
                Weight { records: saturating(ledger.in_memory), bytes: saturating(ledger.memory_bytes) };
            // What only the journal holds may be read back before the next record is taken, up to there.
            if ledger.pending > ledger.in_memory {
                let Weight { records, bytes } = self.capacity;
                held.records = held.records.max(records - records.div_ceil(4));
                held.bytes = held.bytes.max(bytes - bytes.div_ceil(4));
            }
            // In full until the last of them is encoded: an upper bound is all that is needed.
            let bytes = if transit[kind] == 0 { 0 } else { intake.bytes[kind] };
            let gauge = state.gauge_mut(kind);
            gauge.transit = Weight { records: transit[kind], bytes };
            gauge.told = told[kind];
            let pending = snapshot.stats.records[kind].pending;
            let quota = self.quota.map_or(usize::MAX, |quota| saturating(quota.saturating_sub(pending)));
            let room = self.capacity.minus(held);
            gauge.room = Weight { records: room.records.min(quota), ..room }.minus(gauge.transit);
        }
        let old = mem::replace(&mut state.snapshot, snapshot);
        let waiting = if state.events.has_room() || state.metrics.has_room() {
            mem::take(&mut state.waiting)
        } else {
            Vec::new()
        };
        drop(state);
        drop(old);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// For the driver: its end, `orderly` after a shutdown. What nobody will take any more is counted and
    /// answered. False if it had ended before.
    pub(crate) fn close(&self, orderly: bool) -> bool {
        let mut left = Intake::default();
        let mut state = self.lock();
        if matches!(state.phase, Phase::Closed | Phase::Gone) {
            return false;
        }
        state.phase = if orderly { Phase::Closed } else { Phase::Gone };
        mem::swap(&mut state.events.backlog, &mut left.events);
        mem::swap(&mut state.metrics.backlog, &mut left.metrics);
        for (kind, records) in [(Kind::Event, left.events.len()), (Kind::Metric, left.metrics.len())] {
            let gauge = state.gauge_mut(kind);
            gauge.closed += (records + gauge.transit.records) as u64;
            gauge.transit = Weight::default();
            gauge.bytes = 0;
        }
        let controls = mem::take(&mut state.controls);
        let waiting = mem::take(&mut state.waiting);
        let driver = state.driver.take();
        drop(state);
        drop((left, controls, driver));
        waiting.into_iter().for_each(Waker::wake);
        true
    }

    /// Whether the driver ended as it was told to.
    pub(crate) fn is_stopped(&self) -> bool {
        // One that the configuration turns off never ran.
        (self.enabled.events || self.enabled.metrics) && self.lock_here().phase == Phase::Closed
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.lock_here().snapshot)
    }

    /// Whether this is the child of a fork, where there is no driver.
    pub(crate) fn is_forked(&self) -> bool {
        process::id() != self.process
    }

    /// The statistics of this very moment: the core's, and what it does not know yet.
    pub(crate) fn stats(&self) -> Stats {
        let state = self.lock_here();
        let snapshot = Arc::clone(&state.snapshot);
        let gauges = by_kind(|kind| (state.len(kind), *state.gauge(kind)));
        let gone = state.phase == Phase::Gone;
        drop(state);

        let mut stats = snapshot.stats.clone();
        for kind in Kind::ALL {
            let (waiting, gauge) = gauges[kind];
            let pending = (waiting + gauge.transit.records) as u64;
            let overflow = gauge.losses.overflow - gauge.told.overflow;
            let ledger = &mut stats.records[kind];
            ledger.accepted += pending + overflow + gauge.closed;
            ledger.pending += pending;
            ledger.in_memory += pending;
            ledger.dropped[DropReason::Overflow] += overflow;
            ledger.dropped[DropReason::Closed] += gauge.closed;
            ledger.invalid += gauge.losses.invalid - gauge.told.invalid;
            ledger.refused += gauge.refused;
            if gone {
                // Nobody delivers what the driver had in memory alone.
                let lost = ledger.pending - ledger.persisted;
                ledger.dropped[DropReason::Closed] += lost;
                (ledger.pending, ledger.in_memory, ledger.memory_bytes) = (ledger.persisted, 0, 0);
            }
        }
        if gone {
            stats.health.level = StatusLevel::Failed;
            stats.health.reasons.push(HealthReason::DriverGone);
        }
        stats
    }

    /// Fill level, records or bytes of either kind, whichever is highest, in permille of the capacity.
    pub(crate) fn fill_permille(&self) -> u16 {
        let state = self.lock_here();
        let used = by_kind(|kind| (state.len(kind), state.gauge(kind).bytes, state.gauge(kind).room));
        drop(state);
        let permille = |used: usize, room: usize, capacity: usize| {
            let taken = capacity.saturating_sub(room).saturating_add(used).min(capacity);
            u16::try_from(taken.saturating_mul(1_000) / capacity.max(1)).unwrap_or(1_000)
        };
        let fill = |kind| {
            let (records, bytes, room): (usize, usize, Weight) = used[kind];
            permille(records, room.records, self.capacity.records).max(permille(
                bytes,
                room.bytes,
                self.capacity.bytes,
            ))
        };
        fill(Kind::Event).max(fill(Kind::Metric))
    }

    /// Nothing that runs under the lock can panic; if it did, the counters are still the best there is.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State> {
        match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => self.wait_for_lock(),
        }
    }

    #[cold]
    fn wait_for_lock(&self) -> MutexGuard<'_, State> {
        let state = if self.is_forked() {
            self.orphaned
                .get_or_init(|| Mutex::new(State::new(Weight::default(), Phase::Gone, Snapshot::empty())))
        } else {
            &self.state
        };
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, off the fast path: a fork is noticed.
    fn lock_here(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Open | Phase::Closing) && self.is_forked() {
            state.orphan();
        }
        state
    }
}

impl State {
    fn new(capacity: Weight, phase: Phase, snapshot: Snapshot) -> Self {
        Self {
            events: Queue::new(capacity),
            metrics: Queue::new(capacity),
            phase,
            driver: None,
            wake_at: usize::MAX,
            controls: Vec::new(),
            waiting: Vec::new(),
            snapshot: Arc::new(snapshot),
        }
    }

    /// The driver is gone, and all that waits is the parent's: nobody here may be told, for whoever would be woken
    /// may hold locks of threads that do not exist.
    fn orphan(&mut self) {
        self.phase = Phase::Gone;
        mem::forget((mem::take(&mut self.controls), mem::take(&mut self.waiting), self.driver.take()));
        for kind in Kind::ALL {
            let waiting = self.len(kind);
            let gauge = self.gauge_mut(kind);
            gauge.closed += (waiting + gauge.transit.records) as u64;
            gauge.transit = Weight::default();
            gauge.bytes = 0;
        }
        mem::forget((mem::take(&mut self.events.backlog), mem::take(&mut self.metrics.backlog)));
    }

    #[inline]
    fn push<T: Item>(&mut self, item: T, bytes: usize) -> Option<Waker> {
        let queue = T::queue(self);
        queue.backlog.push(item);
        queue.gauge.bytes += bytes;
        if queue.backlog.len() < self.wake_at {
            return None;
        }
        self.wake_at = usize::MAX;
        self.driver.take()
    }

    fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Event => self.events.len(),
            Kind::Metric => self.metrics.len(),
        }
    }

    fn gauge(&self, kind: Kind) -> &Gauge {
        match kind {
            Kind::Event => &self.events.gauge,
            Kind::Metric => &self.metrics.gauge,
        }
    }

    fn gauge_mut(&mut self, kind: Kind) -> &mut Gauge {
        match kind {
            Kind::Event => &mut self.events.gauge,
            Kind::Metric => &mut self.metrics.gauge,
        }
    }
}

impl<T> Queue<T> {
    fn new(room: Weight) -> Self {
        Self { backlog: Backlog::default(), gauge: Gauge { room, ..Gauge::default() } }
    }

    fn len(&self) -> usize {
        self.backlog.len()
    }

    fn fits(&self, bytes: usize, slack: Weight) -> bool {
        self.backlog.len() < self.gauge.room.records + slack.records
            && self.gauge.bytes + bytes <= self.gauge.room.bytes + slack.bytes
    }

    fn has_room(&self) -> bool {
        self.fits(0, Weight::default())
    }
}

impl<T: Item> Queue<T> {
    fn pop(&mut self) -> Option<(T, Option<Promise>)> {
        let oldest = self.backlog.pop()?;
        self.gauge.bytes = self.gauge.bytes.saturating_sub(oldest.0.approximate_size());
        Some(oldest)
    }
}

impl Weight {
    fn minus(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_sub(other.records),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

fn saturating(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[inline]
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::VecDeque;
    use std::string::{String, ToString};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::thread;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::Timestamp;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Wakes {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn inbox(policy: OverflowPolicy, records: usize, bytes: usize) -> Inbox {
        let mut config = AgentConfig::builder("key-of-the-tests").build().unwrap();
        (config.buffer_overflow_policy, config.buffer_size, config.buffer_bytes) = (policy, records, bytes);
        Inbox::new(&config, false, Snapshot::empty())
    }

    fn event(n: usize) -> SecurityEvent {
        SecurityEvent::new("ip_banned", Timestamp::default()).reason(n.to_string())
    }

    /// As the driver does after a step in which the core took over all of `intake`.
    fn hand_over(inbox: &Inbox, intake: &mut Intake) {
        let mut stats = inbox.snapshot().stats.clone();
        for (kind, records) in [(Kind::Event, intake.events.len()), (Kind::Metric, intake.metrics.len())] {
            stats.records[kind].accepted += records as u64;
            stats.records[kind].delivered += records as u64;
            stats.records[kind].accepted += intake.losses[kind].overflow;
            stats.records[kind].accepted -= stats.records[kind].dropped[DropReason::Overflow];
            stats.records[kind].dropped[DropReason::Overflow] = intake.losses[kind].overflow;
        }
        drop((intake.events.take(usize::MAX), intake.metrics.take(usize::MAX)));
        let snapshot = Arc::new(Snapshot { stats, ..Snapshot::empty() });
        let progress = Progress { snapshot, transit: ByKind::default(), told: intake.losses };
        inbox.publish(progress, intake);
    }

    #[test]
    fn only_an_armed_inbox_wakes_and_only_once() {
        let inbox = inbox(OverflowPolicy::Drop, 1_000, 1 << 20);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = Context::from_waker(&waker);
        let mut intake = Intake::default();

        inbox.send(event(0));
        assert_eq!(wakes.count(), 0, "not armed yet");
        assert!(inbox.poll_ready(1, &cx).is_ready(), "it came before");

        inbox.drain(&mut intake);
        hand_over(&inbox, &mut intake);
        // Disarmed, but for a burst.
        assert!(inbox.poll_ready(10, &cx).is_pending());
        (0..9).for_each(|n| inbox.send(event(n)));
        assert_eq!(wakes.count(), 0);
        (0..9).for_each(|n| inbox.send(event(n)));
        assert_eq!(wakes.count(), 1);

        inbox.drain(&mut intake);
        hand_over(&inbox, &mut intake);
        assert!(inbox.poll_ready(1, &cx).is_pending());
        (0..9).for_each(|n| inbox.send(event(n)));
        assert_eq!(wakes.count(), 2);

        inbox.drain(&mut intake);
        hand_over(&inbox, &mut intake);
        assert!(inbox.poll_ready(usize::MAX, &cx).is_pending());
        assert!(inbox.control(Control::RefreshRules));
        assert_eq!(wakes.count(), 3, "a control always wakes");
        assert!(inbox.poll_ready(usize::MAX, &cx).is_ready());
    }

    #[test]
    fn the_oldest_makes_way_once_the_handover_is_full() {
        let inbox = inbox(OverflowPolicy::Drop, 10, 1 << 30);
        (0..10 + HANDOVER_RECORDS + 5).for_each(|n| inbox.send(event(n)));
        let ledger = inbox.stats().records.events;
        assert_eq!(ledger.dropped[DropReason::Overflow], 5);
        assert!(ledger.balances());
        let mut intake = Intake::default();
        inbox.drain(&mut intake);
        assert_eq!(intake.events.len(), 10 + HANDOVER_RECORDS);
        assert_eq!(intake.events.pop().unwrap().0.reason, "5");
        assert_eq!(intake.losses.events.overflow, 5);
    }

    #[test]
    fn a_receipt_tells_of_losses_in_the_inbox() {
        let inbox = inbox(OverflowPolicy::Drop, 3, 1 << 30);
        inbox.send(event(0));
        let mut evicted = inbox.try_send_with_receipt(event(1)).unwrap();
        let mut taken = inbox.try_send_with_receipt(event(2)).unwrap();
        assert_eq!(inbox.try_send_with_receipt(event(3)).unwrap_err().kind, TrySendErrorKind::Full);
        (0..HANDOVER_RECORDS + 1).for_each(|n| inbox.send(event(n)));
        assert_eq!(evicted.secured().now_or_never(), None, "only the very first made way");
        inbox.send(event(3));
        let overflow = Outcome::Dropped(DropReason::Overflow);
        assert_eq!(evicted.settled().now_or_never(), Some(Some(overflow)));

        let mut intake = Intake::default();
        inbox.drain(&mut intake);
        assert_eq!(taken.secured().now_or_never(), None);
        let (first, promise) = intake.events.pop().unwrap();
        assert_eq!(first.reason, "2");
        promise.unwrap().tell(Outcome::Delivered);
        assert_eq!(taken.settled().now_or_never(), Some(Some(Outcome::Delivered)));
        assert!(intake.events.pop().unwrap().1.is_none());

        hand_over(&inbox, &mut intake);
        let mut late = inbox.try_send_with_receipt(event(4)).unwrap();
        inbox.close(true);
        let closed = Outcome::Dropped(DropReason::Closed);
        assert_eq!(late.settled().now_or_never(), Some(Some(closed)));
        assert_eq!(inbox.try_send_with_receipt(event(5)).unwrap_err().kind, TrySendErrorKind::Closed);
    }

    #[test]
    fn bytes_are_a_limit_too() {
        let size = event(0).approximate_size();
        let raising = inbox(OverflowPolicy::Raise, 1_000, 3 * size);
        (0..5).for_each(|n| raising.send(event(n)));
        assert_eq!(raising.stats().records.events.dropped[DropReason::Overflow], 2);
        assert_eq!(raising.try_send(event(5)).unwrap_err().kind, TrySendErrorKind::Full);
        assert_eq!(raising.fill_permille(), 1_000);

        let dropping = inbox(OverflowPolicy::Drop, 1_000_000, size);
        let large = |n| event(n).user_agent(std::iter::repeat_n('x', HANDOVER_BYTES / 2).collect::<String>());
        (0..5).for_each(|n| dropping.send(large(n)));
        // Larger than all there is: it has the inbox for itself.
        dropping.send(event(5).user_agent("x".repeat(3 * HANDOVER_BYTES)));
        let mut intake = Intake::default();
        dropping.drain(&mut intake);
        assert_eq!(intake.events.len(), 1);
        assert_eq!(intake.losses.events.overflow, 5);
        assert!(dropping.stats().records.events.balances());
    }

    #[test]
    fn accounting_is_exact_at_every_moment() {
        const THREADS: usize = 4;
        const EACH: usize = 3_000;
        let inbox = inbox(OverflowPolicy::Drop, 64, 1 << 20);
        let inbox = &inbox;
        thread::scope(|scope| {
            let senders: std::vec::Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(move || (0..EACH).for_each(|n| inbox.send(event(n)))))
                .collect();
            let mut intake = Intake::default();
            let mut last = 0;
            loop {
                let finished = senders.iter().all(thread::ScopedJoinHandle::is_finished);
                inbox.drain(&mut intake);
                let ledger = inbox.stats().records.events;
                assert!(ledger.balances() && ledger.accepted >= last, "{ledger:?} after {last}");
                last = ledger.accepted;
                hand_over(inbox, &mut intake);
                if finished {
                    break;
                }
            }
        });
        let ledger = inbox.stats().records.events;
        assert_eq!(ledger.accepted, (THREADS * EACH) as u64);
        assert_eq!(ledger.pending, 0);
        assert!(ledger.balances());
    }

    #[test]
    fn what_nobody_takes_any_more_is_counted() {
        let inbox = inbox(OverflowPolicy::Drop, 100, 1 << 20);
        let mut intake = Intake::default();
        inbox.send(event(0));
        inbox.drain(&mut intake);
        inbox.send(event(1));
        assert!(inbox.close(false));
        assert!(!inbox.close(true), "it ends once");
        inbox.send(event(2));
        let ledger = inbox.stats().records.events;
        assert_eq!((ledger.accepted, ledger.dropped[DropReason::Closed], ledger.refused), (2, 2, 1));
        assert!(!inbox.control(Control::RefreshRules));
        assert_eq!(inbox.stats().health.reasons, [HealthReason::DriverGone]);
    }

    /// Prints what a record costs its sender, beside a bare push of the same struct.
    #[test]
    #[ignore = "a measurement"]
    fn cost_of_sending() {
        const RECORDS: usize = 1_000;
        const ROUNDS: usize = 2_000;
        let typical = || {
            event(0)
                .ip_address("203.0.113.9")
                .country("NL")
                .user_agent("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36")
                .action_taken("request_blocked")
                .endpoint("/api/v1/orders?page=2")
                .method("POST")
                .status_code(403)
                .response_time(0.012)
                .rule_type("ip_ban")
                .metadata("region", "eu-west-1")
                .metadata("attempt", 3)
        };
        let bare = Mutex::new(VecDeque::new());
        let inbox = inbox(OverflowPolicy::Drop, 1 << 20, 1 << 30);
        let mut intake = Intake::default();
        let (mut pushing, mut sending) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
        for _ in 0..ROUNDS {
            let records: std::vec::Vec<_> = (0..RECORDS).map(|_| typical()).collect();
            let start = std::time::Instant::now();
            for record in records {
                bare.lock().unwrap().push_back(record);
            }
            pushing += start.elapsed();
            bare.lock().unwrap().clear();

            let records: std::vec::Vec<_> = (0..RECORDS).map(|_| typical()).collect();
            let start = std::time::Instant::now();
            for record in records {
                inbox.send(record);
            }
            sending += start.elapsed();
            inbox.drain(&mut intake);
            hand_over(&inbox, &mut intake);
        }
        let each = |total: std::time::Duration| total.as_nanos() as f64 / (RECORDS * ROUNDS) as f64;
        std::println!(
            "{} bytes: bare push {:.1} ns, send_event {:.1} ns",
            size_of::<SecurityEvent>(),
            each(pushing),
            each(sending)
        );
    }
}
