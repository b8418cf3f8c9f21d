use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use guard_agent_proto::shell::{Handle, Receipt, TrySendError};
use guard_agent_proto::wire::Credentials;
use guard_agent_proto::{AgentConfig, ConfigError, Instant, Report, SecurityEvent, SecurityMetric};
use tokio::time::Sleep;

use crate::runtime::Clock;
use crate::{AgentBuilder, HttpTransport};

/// How long after its deadline a flush or a shutdown gives up on a driver that does not answer, for
/// example because a processor of the application blocks the runtime.
const GUARD: Duration = Duration::from_millis(100);

/// A running agent: cheap to clone, usable from any thread.
///
/// What does not depend on tokio is in [`Handle`], to which the agent dereferences: `send_event`,
/// `send_metric`, `try_send_event`, `try_send_event_with_receipt`, `stats`, `status`, `health`, `pressure`, `rules`, `subscribe_rules`,
/// `refresh_rules`, `take_dead_letters`.
///
/// Call [`shutdown`](Self::shutdown) before the process ends. An agent whose last clone is dropped
/// without it still delivers what it can within two seconds, if its runtime lives that long.
#[derive(Clone, Debug)]
pub struct Agent {
    handle: Handle,
    running: Option<Running>,
}

#[derive(Clone, Debug)]
struct Running {
    clock: Clock,
    tokio: tokio::runtime::Handle,
    http: Option<Arc<HttpTransport>>,
}

impl Agent {
    /// Starts to put an agent together.
    pub fn builder(config: AgentConfig) -> AgentBuilder {
        AgentBuilder::new(config)
    }

    pub(crate) const fn disabled(handle: Handle) -> Self {
        Self { handle, running: None }
    }

    pub(crate) const fn running(
        handle: Handle,
        clock: Clock,
        http: Option<Arc<HttpTransport>>,
        tokio: tokio::runtime::Handle,
    ) -> Self {
        Self { handle, running: Some(Running { clock, tokio, http }) }
    }

    /// Delivers everything accepted before this call. Ends as soon as that is done, and at the end of
    /// `timeout` in any case, with what was delivered, what is left and what was given up.
    ///
    /// It begins with the call, and goes on if the future is dropped.
    pub fn flush(&self, timeout: Duration) -> impl Future<Output = Report> + Send + use<> {
        let report = self.running.as_ref().map(|running| {
            let (deadline, guard) = running.limits(timeout);
            self.handle.flush(deadline, guard)
        });
        report_of(report)
    }

    /// Makes everything accepted before this call durable. Ends as soon as it is in the journal or delivered, and
    /// at the end of `timeout` in any case: [`Report::is_secured`] tells. Without a journal it waits for
    /// delivery, without hurrying it.
    ///
    /// It begins with the call, and goes on if the future is dropped.
    pub fn persist(&self, timeout: Duration) -> impl Future<Output = Report> + Send + use<> {
        let report = self.running.as_ref().map(|running| {
            let (deadline, guard) = running.limits(timeout);
            self.handle.persist(deadline, guard)
        });
        report_of(report)
    }

    /// Accepts nothing from now on, delivers what it can, and stops the agent, for all its clones. Ends as
    /// soon as that is done, and at the end of `timeout` in any case.
    ///
    /// It begins with the call, and goes on if the future is dropped.
    pub fn shutdown(&self, timeout: Duration) -> impl Future<Output = Report> + Send + use<> {
        let report = self.running.as_ref().map(|running| {
            let (deadline, guard) = running.limits(timeout);
            self.handle.shutdown(deadline, guard)
        });
        report_of(report)
    }

    /// Hands over an event as soon as there is room, which it waits for at most for `timeout`. For callers
    /// that would rather wait than lose an event; [`send_event`](Handle::send_event) never waits.
    ///
    /// # Errors
    ///
    /// The event was not taken and comes back, with the reason.
    pub async fn send_event_within(
        &self,
        event: SecurityEvent,
        timeout: Duration,
    ) -> Result<(), TrySendError<SecurityEvent>> {
        match &self.running {
            Some(running) => self.handle.send_event_within(event, running.sleep(timeout)).await,
            None => self.handle.try_send_event(event),
        }
    }

    /// Hands over a metric as soon as there is room; see [`send_event_within`](Self::send_event_within).
    ///
    /// # Errors
    ///
    /// The metric was not taken and comes back, with the reason.
    pub async fn send_metric_within(
        &self,
        metric: SecurityMetric,
        timeout: Duration,
    ) -> Result<(), TrySendError<SecurityMetric>> {
        match &self.running {
            Some(running) => self.handle.send_metric_within(metric, running.sleep(timeout)).await,
            None => self.handle.try_send_metric(metric),
        }
    }

    /// Like [`send_event_within`](Self::send_event_within); the receipt tells what becomes of the event.
    ///
    /// # Errors
    ///
    /// The event was not taken and comes back, with the reason.
    pub async fn send_event_with_receipt_within(
        &self,
        event: SecurityEvent,
        timeout: Duration,
    ) -> Result<Receipt, TrySendError<SecurityEvent>> {
        match &self.running {
            Some(running) => self.handle.send_event_with_receipt_within(event, running.sleep(timeout)).await,
            None => self.handle.try_send_event_with_receipt(event),
        }
    }

    /// Like [`send_metric_within`](Self::send_metric_within); the receipt tells what becomes of the metric.
    ///
    /// # Errors
    ///
    /// The metric was not taken and comes back, with the reason.
    pub async fn send_metric_with_receipt_within(
        &self,
        metric: SecurityMetric,
        timeout: Duration,
    ) -> Result<Receipt, TrySendError<SecurityMetric>> {
        match &self.running {
            Some(running) => {
                self.handle.send_metric_with_receipt_within(metric, running.sleep(timeout)).await
            }
            None => self.handle.try_send_metric_with_receipt(metric),
        }
    }

    /// Uses these credentials from the next request on, and tries again at once what the platform refused
    /// because of the old ones. A transport of one's own has its credentials elsewhere: there, only the
    /// second half happens.
    ///
    /// # Errors
    ///
    /// A credential that cannot be used; the old ones stay.
    pub fn rotate_credentials(&self, credentials: Credentials) -> Result<(), ConfigError> {
        if let Some(http) = self.running.as_ref().and_then(|running| running.http.as_ref()) {
            http.set_credentials(credentials)?;
        }
        self.handle.credentials_changed();
        Ok(())
    }
}

/// Of an agent that does nothing there is nothing to report.
async fn report_of(report: Option<impl Future<Output = Report>>) -> Report {
    match report {
        Some(report) => report.await,
        None => Report::default(),
    }
}

impl Deref for Agent {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Running {
    fn limits(&self, timeout: Duration) -> (Instant, Sleep) {
        let entered = self.tokio.enter();
        let deadline = self.clock.instant() + timeout;
        drop(entered);
        (deadline, self.sleep(timeout.saturating_add(GUARD)))
    }

    /// On the agent's own runtime, which is known to have a timer, wherever the caller is.
    fn sleep(&self, duration: Duration) -> Sleep {
        let _entered = self.tokio.enter();
        tokio::time::sleep(duration)
    }
}
