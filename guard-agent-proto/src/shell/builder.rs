use std::fmt;
use std::string::String;
use std::sync::Arc;

use super::http::{HttpError, HttpOptions, HttpTransport};
use super::{
    Agent, AgentError, Backend, BoxFuture, FileStore, Handle, Hooks, LaunchError, RedisOptions, Store,
    Transport, install_id, launch, log,
};
use crate::{AgentConfig, ConfigError, SecurityEvent, SecurityMetric};

/// Puts an agent together: made by [`Agent::builder`], ended by [`start`](Self::start).
#[must_use = "an agent runs only once it is started"]
pub struct AgentBuilder<B> {
    config: AgentConfig,
    hooks: Hooks,
    http: HttpOptions,
    transport: Option<Arc<dyn Transport>>,
    redis: Option<RedisOptions>,
    store: Option<Arc<dyn Store>>,
    backend: core::marker::PhantomData<fn() -> B>,
}

impl<B: Backend> AgentBuilder<B> {
    /// A builder with the defaults of everything but the configuration.
    pub fn new(config: AgentConfig) -> Self {
        Self {
            config,
            hooks: Hooks::new(),
            http: HttpOptions::new(),
            transport: None,
            redis: None,
            store: None,
            backend: core::marker::PhantomData,
        }
    }

    /// Calls `hook` when something fails, at most once per episode and stage; replaces an earlier hook.
    ///
    /// It runs on a thread for blocking work, one call at a time: it may block (later calls wait), it may
    /// panic, and it may use the agent.
    pub fn on_error(mut self, hook: impl Fn(&AgentError) + Send + Sync + 'static) -> Self {
        self.hooks.on_error(hook);
        self
    }

    /// Passes every event through `process` before it is redacted and encoded: it may change the event,
    /// or return `None` to filter it out. Several processors run in the order they were added.
    ///
    /// It runs on a thread for blocking work, never on the one that sends. A panic costs the event, which
    /// is counted under [`DropReason::Processor`](crate::DropReason::Processor).
    ///
    /// ```
    /// # use guard_agent_proto::{AgentConfig, shell::{AgentBuilder, Backend}};
    /// # fn build<B: Backend>(builder: AgentBuilder<B>) {
    /// let builder = builder
    ///     .event_processor(|event| (event.endpoint.as_deref() != Some("/health")).then_some(event))
    ///     .event_processor(|event| Some(event.metadata("region", "eu-west-1")));
    /// # }
    /// ```
    pub fn event_processor(
        mut self,
        process: impl Fn(SecurityEvent) -> Option<SecurityEvent> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.event_processor(process);
        self
    }

    /// Passes every metric through `process`; see [`event_processor`](Self::event_processor).
    pub fn metric_processor(
        mut self,
        process: impl Fn(SecurityMetric) -> Option<SecurityMetric> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.metric_processor(process);
        self
    }

    /// Reaches the platform with these options; without effect on a transport of one's own.
    pub fn http(mut self, options: HttpOptions) -> Self {
        self.http = options;
        self
    }

    /// Delivers through `transport` instead of HTTP.
    ///
    /// The agent limits the time of each call, and a panic counts as a failed attempt. A call must not
    /// block its thread.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Journals to Redis with these options, instead of those of the configuration.
    pub fn redis(mut self, options: RedisOptions) -> Self {
        self.redis = Some(options);
        self
    }

    /// Journals to `store`, whatever the configuration says: to a [`MemoryStore`](super::MemoryStore) in tests,
    /// or to one of your own.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Starts the agent, on the runtime of the caller where there is more than one.
    ///
    /// With `enabled = false` it starts nothing, needs no runtime, and gives an agent that ignores what
    /// it is sent.
    ///
    /// # Errors
    ///
    /// There is no runtime, it lacks something, or the configuration cannot be used: see [`StartError`].
    pub fn start(self) -> Result<B::Agent, StartError> {
        self.launch(B::spawn)
    }

    /// Starts the agent with its driver on an executor of your own: `spawn` is to run the future to its end. Timers,
    /// HTTP and blocking work stay where [`start`](Self::start) has them.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(self, spawn: impl FnOnce(BoxFuture<'static, ()>)) -> Result<B::Agent, StartError> {
        self.launch(|_, driver| {
            spawn(driver);
            Ok(())
        })
    }

    fn launch(
        self,
        spawn: impl FnOnce(&B, BoxFuture<'static, ()>) -> Result<(), StartError>,
    ) -> Result<B::Agent, StartError> {
        if !self.config.enabled {
            return Ok(Agent::disabled(Handle::disabled(&self.config)).into());
        }
        log::started(&self.config);
        let runtime = B::current()?;
        let (transport, http): (Arc<dyn Transport>, _) = match self.transport {
            Some(transport) => (transport, None),
            None => {
                let install_id = install_id(self.config.install_id.as_deref());
                let http = HttpTransport::<B::Client>::new(&self.config, &install_id, &self.http)?;
                let http = Arc::new(http);
                (Arc::<HttpTransport<B::Client>>::clone(&http), Some(http))
            }
        };
        let store = match self.store {
            Some(store) => Some(store),
            None => journal::<B>(&self.config, self.redis)?,
        };
        let (handle, driver) = launch(&self.config, runtime.clone(), transport, store, self.hooks)?;
        spawn(&runtime, std::boxed::Box::pin(driver))?;
        Ok(Agent::running(handle, runtime, http).into())
    }
}

/// The journal that options or configuration ask for.
fn journal<B: Backend>(
    config: &AgentConfig,
    redis: Option<RedisOptions>,
) -> Result<Option<Arc<dyn Store>>, ConfigError> {
    match redis.or_else(|| config.redis_url.as_ref().map(|_| RedisOptions::new(config))) {
        Some(options) => B::redis(&options).map(Some),
        None => FileStore::configured(config),
    }
    .map_err(|mut error| {
        config.name_variables(&mut error.problems);
        error
    })
}

impl<B> fmt::Debug for AgentBuilder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentBuilder")
            .field("config", &self.config)
            .field("hooks", &self.hooks)
            .field("http", &self.http)
            .field("transport", &self.transport.is_some())
            .finish_non_exhaustive()
    }
}

/// Why an agent did not start.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// `start` was called outside a runtime, of which there must be one.
    NoRuntime,
    /// The runtime has no timer.
    NoTimer,
    /// The operating system gave no thread.
    NoThread(String),
    /// The configuration cannot be used: every problem with the name of its field.
    Config(ConfigError),
    /// HTTP cannot be set up.
    Http(HttpError),
    /// The operating system gave no randomness.
    Randomness(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRuntime => f.write_str(
                "there is no tokio runtime here: start the agent inside one, or enter it with `Handle::enter`",
            ),
            Self::NoTimer => f.write_str("the tokio runtime has no timer: build it with `enable_time`"),
            Self::NoThread(error) => write!(f, "no thread from the operating system: {error}"),
            Self::Config(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
            Self::Randomness(error) => write!(f, "no randomness from the operating system: {error}"),
        }
    }
}

/// As `Display`: `?` in `main` shows this.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Http(error) => Some(error),
            Self::NoRuntime | Self::NoTimer | Self::NoThread(_) | Self::Randomness(_) => None,
        }
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<HttpError> for StartError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Config(error) => Self::Config(error),
            HttpError::Tls(_) => Self::Http(error),
        }
    }
}

impl From<LaunchError> for StartError {
    fn from(error: LaunchError) -> Self {
        match error {
            LaunchError::Config(error) => Self::Config(error),
            LaunchError::Randomness(error) => Self::Randomness(error),
        }
    }
}
