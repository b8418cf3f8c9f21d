use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::http::{HttpClient, HttpTransport};
use super::{
    AgentBuilder, BoxFuture, Handle, Receipt, RedisOptions, Runtime, StartError, Store, TrySendError,
};
use crate::wire::Credentials;
use crate::{AgentConfig, ConfigError, ConfigProblem, Instant, Report, SecurityEvent, SecurityMetric};

/// How long after its deadline a flush or a shutdown gives up on a driver that does not answer, for
/// example because a processor of the application blocks the runtime.
const GUARD: Duration = Duration::from_millis(100);

/// What a runtime crate brings to run agents.
pub trait Backend: Runtime + Clone {
    /// Its HTTP.
    type Client: HttpClient;
    /// The agent as its users see it.
    type Agent: From<Agent<Self>>;

    /// The runtime that the caller is in, or one of its own.
    ///
    /// # Errors
    ///
    /// There is none, or it lacks something.
    fn current() -> Result<Self, StartError>;

    /// Runs an agent's driver to its end.
    ///
    /// # Errors
    ///
    /// There are no means to.
    fn spawn(&self, driver: BoxFuture<'static, ()>) -> Result<(), StartError>;

    /// A journal in Redis.
    ///
    /// # Errors
    ///
    /// Every option that cannot be used, by name, together; or that there is none.
    fn redis(options: &RedisOptions) -> Result<Arc<dyn Store>, ConfigError> {
        let _ = options;
        let problem = ConfigProblem {
            field: "redis_url",
            value: "[secret]".into(),
            bound: "absent: this program was built without the feature `redis`".into(),
        };
        Err(ConfigError { problems: std::vec![problem] })
    }
}

/// A running agent: cheap to clone, usable from any thread.
///
/// What needs no clock is in [`Handle`], to which the agent dereferences: `send_event`, `send_metric`,
/// `try_send_event`, `try_send_event_with_receipt`, `stats`, `status`, `health`, `pressure`, `rules`,
/// `subscribe_rules`, `refresh_rules`, `take_dead_letters`.
///
/// Call [`shutdown`](Self::shutdown) before the process ends. An agent whose last clone is dropped
/// without it still delivers what it can within two seconds, if its runtime lives that long.
#[derive(Clone)]
pub struct Agent<B: Backend> {
    handle: Handle,
    running: Option<Arc<Running<B>>>,
}

struct Running<B: Backend> {
    runtime: B,
    http: Option<Arc<HttpTransport<B::Client>>>,
}

impl<B: Backend> Agent<B> {
    /// Starts to put an agent together.
    pub fn builder(config: AgentConfig) -> AgentBuilder<B> {
        AgentBuilder::new(config)
    }

    pub(super) const fn disabled(handle: Handle) -> Self {
        Self { handle, running: None }
    }

    pub(super) fn running(handle: Handle, runtime: B, http: Option<Arc<HttpTransport<B::Client>>>) -> Self {
        Self { handle, running: Some(Arc::new(Running { runtime, http })) }
    }

    /// Delivers everything accepted before this call. Ends as soon as that is done, and at the end of
    /// `timeout` in any case, with what was delivered, what is left and what was given up.
    ///
    /// It begins with the call, and goes on if the future is dropped.
    pub fn flush(&self, timeout: Duration) -> impl Future<Output = Report> + Send + use<B> {
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
    pub fn persist(&self, timeout: Duration) -> impl Future<Output = Report> + Send + use<B> {
        let report = self.running.as_ref().map(|running| {
            let (deadline, guard) = running.limits(timeout);
            self.handle.persist(deadline, guard)
        });
        report_of(report)
    }

    /// Accepts nothing from now on, delivers what it can, and stops the agent, for all its clones. Ends as
    /// soon as that is done, and at the end of `timeout` in any case. Done is also that the journal, if it is not known
    /// to be away, has noted what was delivered, so that the next run does not send it again.
    ///
    /// It begins with the call, and goes on if the future is dropped.
    pub fn shutdown(&self, timeout: Duration) -> impl Future<Output = Report> + Send + use<B> {
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

impl<B: Backend> Deref for Agent<B> {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl<B: Backend> fmt::Debug for Agent<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("running", &self.running.is_some()).finish_non_exhaustive()
    }
}

impl<B: Backend> Running<B> {
    fn limits(&self, timeout: Duration) -> (Instant, BoxFuture<'static, ()>) {
        let now = self.runtime.now().instant;
        (now + timeout, self.runtime.sleep_until(now + timeout.saturating_add(GUARD)))
    }

    fn sleep(&self, timeout: Duration) -> BoxFuture<'static, ()> {
        self.runtime.sleep_until(self.runtime.now().instant + timeout)
    }
}
