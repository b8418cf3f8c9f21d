use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::pin;
use std::string::ToString;
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::Vec;

use futures_channel::oneshot;
use futures_util::future::{Either, poll_fn, select};

use super::hooks::{RulesSubscription, Subscribers};
use super::inbox::{Control, Inbox};
use super::item::{Item, TrySendError, TrySendErrorKind};
use super::receipt::Receipt;
use crate::{
    AgentConfig, AgentStatus, ByKind, DeadLetter, DropCounts, DropReason, Health, HealthReason, Instant,
    Kind, Ledger, Pressure, Report, RulesDocument, SecurityEvent, SecurityMetric, Stats, StatusLevel,
    Timestamp,
};

/// The application's end of an agent: cheap to clone, usable from any thread, inside a runtime or not.
///
/// [`send_event`](Self::send_event) and [`send_metric`](Self::send_metric) move the record into a queue
/// and return; they never wait, never fail, and do no I/O. When the last clone is gone the agent delivers
/// what it can within two seconds, in the background, and ends;
/// a shutdown with a deadline of one's own is the way to know what became of the records.
#[derive(Clone)]
pub struct Handle(Arc<Owner>);

/// What is left when all handles are gone is not theirs.
struct Owner(Arc<Shared>);

/// What handles and driver share.
pub(super) struct Shared {
    pub(super) inbox: Inbox,
    pub(super) subscribers: Subscribers,
    dead_letters: Mutex<VecDeque<DeadLetter>>,
    dead_letter_capacity: usize,
}

/// What the driver publishes after each step.
pub(crate) struct Snapshot {
    pub(crate) stats: Stats,
    pub(crate) status: AgentStatus,
    pub(crate) pressure: Pressure,
    pub(crate) rules: Option<Arc<RulesDocument>>,
}

impl Snapshot {
    pub(super) fn empty() -> Self {
        Self {
            stats: Stats::default(),
            status: AgentStatus {
                timestamp: Timestamp::default(),
                status: StatusLevel::Healthy,
                uptime: 0.0,
                events_sent: 0,
                events_failed: 0,
                buffer_size: 0,
                last_flush: None,
                errors: Vec::new(),
            },
            pressure: Pressure::default(),
            rules: None,
        }
    }
}

impl Handle {
    /// The handle of an agent that does nothing: `enabled` is false.
    #[must_use]
    pub fn disabled(config: &AgentConfig) -> Self {
        let config = AgentConfig { enabled: false, ..config.clone() };
        Self::new(Arc::new(Shared::new(&config, false, Snapshot::empty())))
    }

    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Owner(shared)))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// Hands over an event. When memory is full the overflow policy says which record is given up; an
    /// event that is not valid is counted and dropped; a disabled agent ignores it.
    #[inline]
    pub fn send_event(&self, event: SecurityEvent) {
        self.0.0.inbox.send(event);
    }

    /// Hands over a metric; see [`send_event`](Self::send_event).
    #[inline]
    pub fn send_metric(&self, metric: SecurityMetric) {
        self.0.0.inbox.send(metric);
    }

    /// Hands over an event if there is room; nothing is given up for it.
    ///
    /// # Errors
    ///
    /// The event was not taken and comes back, with the reason.
    #[inline]
    #[expect(clippy::result_large_err, reason = "the record comes back as it went in")]
    pub fn try_send_event(&self, event: SecurityEvent) -> Result<(), TrySendError<SecurityEvent>> {
        self.0.0.inbox.try_send(event)
    }

    /// Hands over a metric if there is room; see [`try_send_event`](Self::try_send_event).
    ///
    /// # Errors
    ///
    /// The metric was not taken and comes back, with the reason.
    #[inline]
    pub fn try_send_metric(&self, metric: SecurityMetric) -> Result<(), TrySendError<SecurityMetric>> {
        self.0.0.inbox.try_send(metric)
    }

    /// Like [`try_send_event`](Self::try_send_event); the receipt tells what becomes of the event.
    ///
    /// # Errors
    ///
    /// The event was not taken and comes back, with the reason.
    #[expect(clippy::result_large_err, reason = "the record comes back as it went in")]
    pub fn try_send_event_with_receipt(
        &self,
        event: SecurityEvent,
    ) -> Result<Receipt, TrySendError<SecurityEvent>> {
        self.0.0.inbox.try_send_with_receipt(event)
    }

    /// Like [`try_send_metric`](Self::try_send_metric); the receipt tells what becomes of the metric.
    ///
    /// # Errors
    ///
    /// The metric was not taken and comes back, with the reason.
    pub fn try_send_metric_with_receipt(
        &self,
        metric: SecurityMetric,
    ) -> Result<Receipt, TrySendError<SecurityMetric>> {
        self.0.0.inbox.try_send_with_receipt(metric)
    }

    /// Hands over an event as soon as there is room, unless `timeout` ends first.
    ///
    /// # Errors
    ///
    /// The event was not taken and comes back, with the reason.
    pub async fn send_event_within(
        &self,
        event: SecurityEvent,
        timeout: impl Future<Output = ()> + Send,
    ) -> Result<(), TrySendError<SecurityEvent>> {
        self.send_within(event, Inbox::try_send, timeout).await
    }

    /// Hands over a metric as soon as there is room; see [`send_event_within`](Self::send_event_within).
    ///
    /// # Errors
    ///
    /// The metric was not taken and comes back, with the reason.
    pub async fn send_metric_within(
        &self,
        metric: SecurityMetric,
        timeout: impl Future<Output = ()> + Send,
    ) -> Result<(), TrySendError<SecurityMetric>> {
        self.send_within(metric, Inbox::try_send, timeout).await
    }

    /// Like [`send_event_within`](Self::send_event_within); the receipt tells what becomes of the event.
    ///
    /// # Errors
    ///
    /// The event was not taken and comes back, with the reason.
    pub async fn send_event_with_receipt_within(
        &self,
        event: SecurityEvent,
        timeout: impl Future<Output = ()> + Send,
    ) -> Result<Receipt, TrySendError<SecurityEvent>> {
        self.send_within(event, Inbox::try_send_with_receipt, timeout).await
    }

    /// Like [`send_metric_within`](Self::send_metric_within); the receipt tells what becomes of the metric.
    ///
    /// # Errors
    ///
    /// The metric was not taken and comes back, with the reason.
    pub async fn send_metric_with_receipt_within(
        &self,
        metric: SecurityMetric,
        timeout: impl Future<Output = ()> + Send,
    ) -> Result<Receipt, TrySendError<SecurityMetric>> {
        self.send_within(metric, Inbox::try_send_with_receipt, timeout).await
    }

    async fn send_within<T: Item, R>(
        &self,
        mut record: T,
        try_send: fn(&Inbox, T) -> Result<R, TrySendError<T>>,
        timeout: impl Future<Output = ()>,
    ) -> Result<R, TrySendError<T>> {
        let inbox = &self.shared().inbox;
        let mut timeout = pin!(timeout);
        loop {
            record = match try_send(inbox, record) {
                Err(TrySendError { kind: TrySendErrorKind::Full, record }) => record,
                other => return other,
            };
            let room = pin!(poll_fn(|cx| inbox.poll_room(&record, cx)));
            if let Either::Right(_) = select(room, timeout.as_mut()).await {
                return Err(TrySendError { kind: TrySendErrorKind::Full, record });
            }
        }
    }

    /// Delivers everything accepted before this call, and tells where it stands at `deadline` at the
    /// latest. `guard` ends the wait should the driver be stuck; it is to end shortly after `deadline`.
    ///
    /// The flush begins with the call, not with the first poll.
    pub fn flush<G: Future<Output = ()> + Send>(
        &self,
        deadline: Instant,
        guard: G,
    ) -> impl Future<Output = Report> + Send + use<G> {
        let (reply, answer) = oneshot::channel();
        self.ask(Control::Flush { deadline, reply }, answer, guard)
    }

    /// Makes everything accepted before this call durable, and tells where it stands at `deadline` at the
    /// latest: [`Report::is_secured`]. What is delivered meanwhile is as good. Without a journal it waits for
    /// delivery, without hurrying it. `guard` is as in [`flush`](Self::flush).
    pub fn persist<G: Future<Output = ()> + Send>(
        &self,
        deadline: Instant,
        guard: G,
    ) -> impl Future<Output = Report> + Send + use<G> {
        let (reply, answer) = oneshot::channel();
        self.ask(Control::Persist { deadline, reply }, answer, guard)
    }

    /// Accepts nothing from now on, delivers what can be delivered until `deadline`, and ends the agent.
    /// `guard` is as in [`flush`](Self::flush). A second shutdown joins the first.
    pub fn shutdown<G: Future<Output = ()> + Send>(
        &self,
        deadline: Instant,
        guard: G,
    ) -> impl Future<Output = Report> + Send + use<G> {
        let (reply, answer) = oneshot::channel();
        self.ask(Control::Shutdown { deadline, reply }, answer, guard)
    }

    fn ask<G: Future<Output = ()> + Send>(
        &self,
        control: Control,
        answer: oneshot::Receiver<Report>,
        guard: G,
    ) -> impl Future<Output = Report> + Send + use<G> {
        let shared = Arc::clone(self.shared());
        let mut before = shared.inbox.stats();
        if !shared.inbox.control(control) {
            // There is nobody to ask any more: what was lost at the end is part of the answer.
            for kind in Kind::ALL {
                before.records[kind].dropped[DropReason::Closed] = 0;
            }
        }
        async move {
            let answer = match select(answer, pin!(guard)).await {
                Either::Left((answer, _)) => answer.ok(),
                Either::Right(_) => None,
            };
            // Counted from the call on, which is earlier than the moment the core heard of it; and without
            // a driver, or with a stuck one, the accounting knows all the same.
            let since = report_since(&before, &shared.inbox.stats());
            match answer {
                Some(Report { pending, persisted, .. }) => Report { pending, persisted, ..since },
                None => since,
            }
        }
    }

    /// Whether callers are to wait for room: `buffer_overflow_policy` is `block`.
    #[must_use]
    pub fn waits_for_room(&self) -> bool {
        self.shared().inbox.waits_for_room()
    }

    /// Fetches the rules now.
    pub fn refresh_rules(&self) {
        self.shared().inbox.control(Control::RefreshRules);
    }

    /// Tries again what the platform refused because of the old credentials.
    pub fn credentials_changed(&self) {
        self.shared().inbox.control(Control::CredentialsChanged);
    }

    /// The statistics of this moment, records still in the queue included.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared().inbox.stats()
    }

    /// The health as of the driver's last step. An agent that was shut down has failed, for
    /// [`HealthReason::Stopped`]; its statistics keep the health that it ended with.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut health = self.stats().health;
        if self.shared().inbox.is_stopped() {
            health.level = StatusLevel::Failed;
            health.reasons.push(HealthReason::Stopped);
        }
        health
    }

    /// The status as of the driver's last step.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        let mut status = self.shared().inbox.snapshot().status.clone();
        let health = self.stats().health;
        if health.reasons.contains(&HealthReason::DriverGone) {
            status.status = health.level;
            status.errors.push(HealthReason::DriverGone.to_string());
        }
        status
    }

    /// How full memory is, and whether the platform asked to slow down.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let inbox = &self.shared().inbox;
        let known = inbox.snapshot().pressure;
        Pressure { fill_permille: known.fill_permille.max(inbox.fill_permille()), ..known }
    }

    /// The rules in force, if any.
    #[must_use]
    pub fn rules(&self) -> Option<Arc<RulesDocument>> {
        self.shared().inbox.snapshot().rules.clone()
    }

    /// Calls `hook` with the new rules whenever they change, and with `None` when they expire, until the
    /// subscription is dropped. What is in force now, [`rules`](Self::rules) tells.
    pub fn subscribe_rules(
        &self,
        hook: impl Fn(Option<&Arc<RulesDocument>>) + Send + Sync + 'static,
    ) -> RulesSubscription {
        self.shared().subscribers.add(hook)
    }

    /// Takes the records that the platform refused, oldest first. At most `dead_letter_capacity` are
    /// kept for this call; older ones make way.
    #[must_use]
    pub fn take_dead_letters(&self) -> Vec<DeadLetter> {
        if self.shared().inbox.is_forked() {
            return Vec::new();
        }
        mem::take(&mut *self.shared().dead_letters.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl fmt::Debug for Handle {
    /// Nothing of the records: they may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.inbox.control(Control::Abandon);
    }
}

impl Shared {
    pub(super) fn new(config: &AgentConfig, journal: bool, snapshot: Snapshot) -> Self {
        Self {
            inbox: Inbox::new(config, journal, snapshot),
            subscribers: Subscribers::default(),
            dead_letters: Mutex::default(),
            dead_letter_capacity: config.dead_letter_capacity,
        }
    }

    pub(super) fn keep_dead_letters(&self, letters: Vec<DeadLetter>) {
        if letters.is_empty() {
            return;
        }
        let mut kept = self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(letters);
        let surplus = kept.len().saturating_sub(self.dead_letter_capacity);
        kept.drain(..surplus);
    }
}

fn report_since(before: &Stats, after: &Stats) -> Report {
    let each = |count: fn(&Ledger) -> u64| -> ByKind<u64> {
        super::item::by_kind(|kind| count(&after.records[kind]).saturating_sub(count(&before.records[kind])))
    };
    let dropped = |kind: Kind| {
        let mut counts = DropCounts::default();
        for reason in DropReason::ALL {
            counts[reason] =
                after.records[kind].dropped[reason].saturating_sub(before.records[kind].dropped[reason]);
        }
        counts
    };
    Report {
        delivered: each(|ledger| ledger.delivered),
        pending: super::item::by_kind(|kind| after.records[kind].pending),
        persisted: super::item::by_kind(|kind| after.records[kind].persisted),
        dropped: super::item::by_kind(dropped),
    }
}
