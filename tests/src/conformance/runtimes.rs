use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use guard_agent_proto::shell::{
    self, AgentBuilder, Backend, Handle, StartError, Store, Transport, TrySendErrorKind,
};
use guard_agent_proto::wire::Credentials;
use guard_agent_proto::{
    AgentConfig, ConfigError, DeadLetter, Health, Report, SecurityEvent, SecurityMetric, Stats,
};

use super::PATIENCE;
use super::simulated::Network;

/// Starts agents.
pub trait Runtime {
    /// What its column is called.
    fn name(&self) -> &'static str;

    /// Whether its time is virtual: then nothing real may be waited for.
    fn is_simulated(&self) -> bool {
        false
    }

    /// Starts an agent.
    ///
    /// # Errors
    ///
    /// As the agent's.
    fn start(&self, launch: Launch) -> Result<Box<dyn Subject>, StartError>;
}

/// A running agent, for a caller that may be blocked.
pub trait Subject {
    /// What needs no waiting.
    fn handle(&self) -> &Handle;

    /// `send_event`
    fn send_event(&self, event: SecurityEvent) {
        self.handle().send_event(event);
    }

    /// `send_metric`
    fn send_metric(&self, metric: SecurityMetric) {
        self.handle().send_metric(metric);
    }

    /// `refresh_rules`
    fn refresh_rules(&self) {
        self.handle().refresh_rules();
    }

    /// `stats`
    fn stats(&self) -> Stats {
        self.handle().stats()
    }

    /// `health`
    fn health(&self) -> Health {
        self.handle().health()
    }

    /// `take_dead_letters`
    fn take_dead_letters(&self) -> Vec<DeadLetter> {
        self.handle().take_dead_letters()
    }

    /// How much longer than it should a call may take: the machine may be busy.
    fn slack(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// `flush`
    fn flush(&self, timeout: Duration) -> Report;
    /// `persist`
    fn persist(&self, timeout: Duration) -> Report;
    /// `shutdown`
    fn shutdown(&self, timeout: Duration) -> Report;
    /// `send_event_within`
    ///
    /// # Errors
    ///
    /// The event was not taken.
    fn send_event_within(&self, event: SecurityEvent, timeout: Duration) -> Result<(), TrySendErrorKind>;
    /// `rotate_credentials`
    ///
    /// # Errors
    ///
    /// They cannot be used.
    fn rotate(&self, credentials: Credentials) -> Result<(), ConfigError>;

    /// Waits until that is so, and says whether it came to that.
    fn until(&self, is_so: &mut dyn FnMut() -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if is_so() {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            self.pause(Duration::from_millis(2));
        }
    }

    /// Lets time pass.
    fn pause(&self, time: Duration) {
        thread::sleep(time);
    }

    /// The time that it goes by.
    fn now(&self) -> Duration;
}

/// An agent to be started.
#[derive(Clone)]
pub struct Launch {
    pub(super) config: AgentConfig,
    pub(super) transport: Option<Arc<dyn Transport>>,
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) processor: Option<Processor>,
    pub(super) panicking_hook: bool,
    /// On virtual time.
    pub(super) network: Option<Network>,
}

type Processor = Arc<dyn Fn(SecurityEvent) -> Option<SecurityEvent> + Send + Sync>;

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Launch {
    /// The builder of that agent.
    pub fn builder<B: Backend>(self) -> AgentBuilder<B> {
        let mut builder = AgentBuilder::new(self.config);
        if let Some(transport) = self.transport {
            builder = builder.transport(transport);
        }
        if let Some(store) = self.store {
            builder = builder.store(store);
        }
        if let Some(process) = self.processor {
            builder = builder.event_processor(move |event| process(event));
        }
        if self.panicking_hook {
            builder = builder.on_error(|error| panic!("planted in the error hook: {error}"));
        }
        builder
    }
}

/// An agent of an async runtime, whose driver runs on threads of that runtime.
pub struct OnRuntime<B: Backend> {
    agent: shell::Agent<B>,
    started: Instant,
}

impl<B: Backend> OnRuntime<B> {
    /// Of that agent.
    #[must_use]
    pub fn boxed(agent: shell::Agent<B>) -> Box<dyn Subject> {
        Box::new(Self { agent, started: Instant::now() })
    }
}

impl<B: Backend> fmt::Debug for OnRuntime<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.agent.fmt(f)
    }
}

impl<B: Backend> Subject for OnRuntime<B> {
    fn handle(&self) -> &Handle {
        &self.agent
    }

    fn flush(&self, timeout: Duration) -> Report {
        block_on(self.agent.flush(timeout))
    }

    fn persist(&self, timeout: Duration) -> Report {
        block_on(self.agent.persist(timeout))
    }

    fn shutdown(&self, timeout: Duration) -> Report {
        block_on(self.agent.shutdown(timeout))
    }

    fn send_event_within(&self, event: SecurityEvent, timeout: Duration) -> Result<(), TrySendErrorKind> {
        block_on(self.agent.send_event_within(event, timeout)).map_err(|error| error.kind)
    }

    fn rotate(&self, credentials: Credentials) -> Result<(), ConfigError> {
        self.agent.rotate_credentials(credentials)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
