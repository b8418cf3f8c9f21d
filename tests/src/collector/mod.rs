//! The platform's ingestion API on loopback: it verifies, stores what arrives and fails on demand.
//!
//! It serves on a thread of its own, so that agents of every runtime, and none, can be tested against it.
//!
//! ```
//! use std::time::Duration;
//! use guard_agent_tests::collector::{Answer, Collector};
//!
//! let collector = Collector::start();
//! collector.events().answer_next(3, Answer::status(503).header("retry-after", "1"));
//! // … an agent with the endpoint `collector.url()` sends …
//! # if false {
//! collector.wait_for(|received| received.events.len() >= 10, Duration::from_secs(10));
//! # }
//! assert_eq!(collector.violations(), [""; 0]);
//! ```

mod answer;
mod http;
mod platform;
mod received;
mod server;
mod wire;

pub use answer::Answer;
pub use guard_agent_proto::Endpoint;
pub use http::PlainAnswer;
pub use platform::Keys;
pub use received::{Arrival, Exchange, Received};
pub use wire::{Delivered, Wire};

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::server::{Command, Shared};

/// A running collector; it stops when dropped.
#[derive(Debug)]
pub struct Collector {
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// `None` without a server.
    commands: Option<tokio::sync::mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// Chooses what a [`Collector`] verifies.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    keys: Keys,
    port: u16,
    count_only: bool,
}

/// What one endpoint answers.
#[derive(Debug)]
pub struct Script<'a> {
    shared: &'a Shared,
    endpoint: Endpoint,
}

impl Collector {
    /// A collector that accepts every API key, no signature and no encryption.
    ///
    /// # Panics
    ///
    /// See [`Builder::start`].
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Starts from a collector that accepts every API key, no signature and no encryption.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Base URL for the agent's configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What `POST events` answers (encrypted too).
    #[must_use]
    pub fn events(&self) -> Script<'_> {
        self.endpoint(Endpoint::Events)
    }

    /// What `POST metrics` answers (encrypted too).
    #[must_use]
    pub fn metrics(&self) -> Script<'_> {
        self.endpoint(Endpoint::Metrics)
    }

    /// What `POST status` answers.
    #[must_use]
    pub fn status(&self) -> Script<'_> {
        self.endpoint(Endpoint::Status)
    }

    /// What `GET rules` answers.
    #[must_use]
    pub fn rules(&self) -> Script<'_> {
        self.endpoint(Endpoint::Rules)
    }

    /// What that endpoint answers.
    #[must_use]
    pub fn endpoint(&self, endpoint: Endpoint) -> Script<'_> {
        Script { shared: &self.shared, endpoint }
    }

    /// Serves this rules document from now on, under a new entity tag.
    ///
    /// # Panics
    ///
    /// When it cannot be serialized.
    pub fn set_rules(&self, rules: &impl Serialize) {
        #[expect(clippy::unwrap_used, reason = "a test that serves nonsense is wrong")]
        let rules = serde_json::to_value(rules).unwrap();
        self.shared.platform().set_rules(rules);
    }

    /// Sends entity tags with rules, or not. It does unless told otherwise.
    pub fn send_etags(&self, send: bool) {
        self.shared.platform().send_etags = send;
    }

    /// Accepts these credentials from now on.
    pub fn set_keys(&self, keys: Keys) {
        self.shared.platform().keys = keys;
    }

    /// Refuses connections and breaks open ones, until [`Collector::up`]. The port stays reserved.
    pub fn down(&self) {
        self.shared.set_down(true);
        self.command(Command::Down);
    }

    /// Listens again on the same port.
    pub fn up(&self) {
        self.shared.set_down(false);
        self.command(Command::Up);
    }

    /// A way to it without sockets.
    #[must_use]
    pub fn wire(&self) -> Wire {
        Wire::new(Arc::clone(&self.shared))
    }

    /// Looks at what was received.
    pub fn read<T>(&self, read: impl FnOnce(&Received) -> T) -> T {
        read(&self.shared.platform().received)
    }

    /// What agents did against the contract, in order; a test ends with this list empty.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.read(|received| received.violations.clone())
    }

    /// Blocks the thread until `condition` holds for what was received.
    ///
    /// # Panics
    ///
    /// When it does not within `limit`.
    #[track_caller]
    pub fn wait_for(&self, mut condition: impl FnMut(&Received) -> bool, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut platform = self.shared.platform();
        while !condition(&platform.received) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing came of it in {limit:?}: {:#?}", platform.received);
            platform = self.shared.wait(platform, left);
        }
    }

    /// Waits until `condition` holds for what was received, on any executor.
    ///
    /// # Panics
    ///
    /// When it does not within `limit`.
    pub async fn until(&self, mut condition: impl FnMut(&Received) -> bool, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut changes = self.shared.changes();
        loop {
            let summary = self.read(|received| (!condition(received)).then(|| format!("{received:#?}")));
            let Some(summary) = summary else { return };
            assert!(Instant::now() < deadline, "nothing came of it in {limit:?}: {summary}");
            // The server also reports the passing of time, so that this ends. An error means that it stopped.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn command(&self, command: fn(std::sync::mpsc::Sender<()>) -> Command) {
        let Some(commands) = &self.commands else { return };
        let (done, wait) = std::sync::mpsc::channel();
        if commands.send(command(done)).is_ok() {
            // An error means that the server stopped, and then it is down for good.
            let _ = wait.recv();
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // An error means that it stopped already.
        let _ = self.commands.as_ref().map(|commands| commands.send(Command::Stop));
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            let _ = thread.join();
        }
    }
}

impl Builder {
    /// Answers 401 to any other API key.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.keys.api_key = Some(key.into());
        self
    }

    /// Answers 401 to bodies that are not signed with this secret.
    #[must_use]
    pub fn signing_secret(mut self, secret: impl Into<String>) -> Self {
        self.keys.signing_secret = Some(secret.into());
        self
    }

    /// Expects batches encrypted with this key, in URL-safe base64; answers 400 to others.
    #[must_use]
    pub fn encryption_key(mut self, key: impl Into<String>) -> Self {
        self.keys.encryption_key = Some(key.into());
        self
    }

    /// Listens there instead of on a port that is free.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Counts what arrives and does not keep it: for long runs.
    #[must_use]
    pub const fn count_only(mut self) -> Self {
        self.count_only = true;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it cannot listen, or a key cannot be used.
    #[must_use]
    pub fn start(self) -> Collector {
        server::start(self)
    }

    /// Starts it without a server: it is reached by [`Collector::wire`] alone. The port only names it.
    #[must_use]
    pub fn unconnected(self) -> Collector {
        Collector {
            addr: SocketAddr::from(([127, 0, 0, 1], self.port.max(1))),
            shared: Arc::new(Shared::new(&self)),
            commands: None,
            thread: None,
        }
    }
}

impl Script<'_> {
    /// Answers the next `count` requests so, after those that were scripted before.
    pub fn answer_next(&self, count: usize, answer: Answer) -> &Self {
        self.shared.platform().script(self.endpoint).next.extend(std::iter::repeat_n(answer, count));
        self
    }

    /// Answers so whenever nothing else is scripted.
    pub fn answer_always(&self, answer: Answer) -> &Self {
        self.shared.platform().script(self.endpoint).otherwise = answer;
        self
    }

    /// Forgets what was scripted and answers as the platform does.
    pub fn answer_normally(&self) -> &Self {
        *self.shared.platform().script(self.endpoint) = platform::Answers::default();
        self
    }

    /// How many scripted answers are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.shared.platform().script(self.endpoint).next.len()
    }
}
