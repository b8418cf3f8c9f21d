use std::future::pending;
use std::ops::Deref;
use std::time::Duration;

use guard_agent_proto::shell::{self, Handle, TrySendError, TrySendErrorKind, is_worker};
use guard_agent_proto::wire::Credentials;
use guard_agent_proto::{AgentConfig, ConfigError, Report, SecurityEvent, SecurityMetric};

use crate::block_on::block_on;
use crate::{AgentBuilder, Receipt, Threads};

/// A running agent: cheap to clone, usable from any thread, also from one that runs futures.
///
/// What never waits is in [`Handle`], to which the agent dereferences: `try_send_event`, `try_send_metric`, `stats`,
/// `status`, `health`, `pressure`, `rules`, `subscribe_rules`, `refresh_rules`, `take_dead_letters`.
///
/// Call [`shutdown`](Self::shutdown) before the process ends. An agent whose last clone is dropped
/// without it still delivers what it can within two seconds, in the background.
#[derive(Clone, Debug)]
pub struct Agent {
    agent: shell::Agent<Threads>,
    blocks: bool,
}

impl Agent {
    /// Starts to put an agent together.
    pub fn builder(config: AgentConfig) -> AgentBuilder {
        AgentBuilder::new(config)
    }

    /// Hands over an event. When memory is full the overflow policy says which record is given up, or, with
    /// `block`, that the call waits for room, for as long as it takes; an event that is not valid is counted and
    /// dropped; a disabled agent ignores it. In a processor or a hook it does not wait, since room may depend on their
    /// end: an event for which there is none is given up and counted there.
    #[inline]
    pub fn send_event(&self, event: SecurityEvent) {
        if !self.blocks || is_worker() {
            return self.agent.send_event(event);
        }
        if let Err(error) = block_on(self.handle().send_event_within(event, pending()))
            && error.kind == TrySendErrorKind::Closed
        {
            // There it is counted.
            self.agent.send_event(error.record);
        }
    }

    /// Hands over a metric; see [`send_event`](Self::send_event).
    #[inline]
    pub fn send_metric(&self, metric: SecurityMetric) {
        if !self.blocks || is_worker() {
            return self.agent.send_metric(metric);
        }
        if let Err(error) = block_on(self.handle().send_metric_within(metric, pending()))
            && error.kind == TrySendErrorKind::Closed
        {
            self.agent.send_metric(error.record);
        }
    }

    /// Delivers everything accepted before this call. Returns as soon as that is done, and at the end of
    /// `timeout` in any case, with what was delivered, what is left and what was given up.
    pub fn flush(&self, timeout: Duration) -> Report {
        block_on(self.agent.flush(timeout))
    }

    /// Makes everything accepted before this call durable. Returns as soon as it is in the journal or delivered, and
    /// at the end of `timeout` in any case: [`Report::is_secured`] tells. Without a journal it waits for
    /// delivery, without hurrying it.
    pub fn persist(&self, timeout: Duration) -> Report {
        block_on(self.agent.persist(timeout))
    }

    /// Accepts nothing from now on, delivers what it can, and stops the agent, for all its clones. Returns as
    /// soon as that is done, and at the end of `timeout` in any case. Done is also that the journal, if it is not known
    /// to be away, has noted what was delivered, so that the next run does not send it again.
    pub fn shutdown(&self, timeout: Duration) -> Report {
        block_on(self.agent.shutdown(timeout))
    }

    /// Like [`try_send_event`](Handle::try_send_event); the receipt tells what becomes of the event.
    ///
    /// # Errors
    ///
    /// The event was not taken and comes back, with the reason.
    #[expect(clippy::result_large_err, reason = "the record comes back as it went in")]
    pub fn try_send_event_with_receipt(
        &self,
        event: SecurityEvent,
    ) -> Result<Receipt, TrySendError<SecurityEvent>> {
        self.handle().try_send_event_with_receipt(event).map(Receipt::from)
    }

    /// Like [`try_send_metric`](Handle::try_send_metric); the receipt tells what becomes of the metric.
    ///
    /// # Errors
    ///
    /// The metric was not taken and comes back, with the reason.
    pub fn try_send_metric_with_receipt(
        &self,
        metric: SecurityMetric,
    ) -> Result<Receipt, TrySendError<SecurityMetric>> {
        self.handle().try_send_metric_with_receipt(metric).map(Receipt::from)
    }

    /// Hands over an event as soon as there is room, which it waits for at most for `timeout`. For callers
    /// that would rather wait than lose an event.
    ///
    /// # Errors
    ///
    /// The event was not taken and comes back, with the reason.
    #[expect(clippy::result_large_err, reason = "the record comes back as it went in")]
    pub fn send_event_within(
        &self,
        event: SecurityEvent,
        timeout: Duration,
    ) -> Result<(), TrySendError<SecurityEvent>> {
        block_on(self.agent.send_event_within(event, timeout))
    }

    /// Hands over a metric as soon as there is room; see [`send_event_within`](Self::send_event_within).
    ///
    /// # Errors
    ///
    /// The metric was not taken and comes back, with the reason.
    pub fn send_metric_within(
        &self,
        metric: SecurityMetric,
        timeout: Duration,
    ) -> Result<(), TrySendError<SecurityMetric>> {
        block_on(self.agent.send_metric_within(metric, timeout))
    }

    /// Like [`send_event_within`](Self::send_event_within); the receipt tells what becomes of the event.
    ///
    /// # Errors
    ///
    /// The event was not taken and comes back, with the reason.
    #[expect(clippy::result_large_err, reason = "the record comes back as it went in")]
    pub fn send_event_with_receipt_within(
        &self,
        event: SecurityEvent,
        timeout: Duration,
    ) -> Result<Receipt, TrySendError<SecurityEvent>> {
        block_on(self.agent.send_event_with_receipt_within(event, timeout)).map(Receipt::from)
    }

    /// Like [`send_metric_within`](Self::send_metric_within); the receipt tells what becomes of the metric.
    ///
    /// # Errors
    ///
    /// The metric was not taken and comes back, with the reason.
    pub fn send_metric_with_receipt_within(
        &self,
        metric: SecurityMetric,
        timeout: Duration,
    ) -> Result<Receipt, TrySendError<SecurityMetric>> {
        block_on(self.agent.send_metric_with_receipt_within(metric, timeout)).map(Receipt::from)
    }

    /// Uses these credentials from the next request on, and tries again at once what the platform refused
    /// because of the old ones. A transport of one's own has its credentials elsewhere: there, only the
    /// second half happens.
    ///
    /// # Errors
    ///
    /// A credential that cannot be used; the old ones stay.
    pub fn rotate_credentials(&self, credentials: Credentials) -> Result<(), ConfigError> {
        self.agent.rotate_credentials(credentials)
    }

    fn handle(&self) -> &Handle {
        &self.agent
    }
}

impl From<shell::Agent<Threads>> for Agent {
    fn from(agent: shell::Agent<Threads>) -> Self {
        let blocks = agent.waits_for_room();
        Self { agent, blocks }
    }
}

impl Deref for Agent {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.agent
    }
}
