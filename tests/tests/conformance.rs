//! Every scenario on every runtime: see `guard_agent_tests::conformance`. A part of a name chooses scenarios.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use guard_agent_proto::shell::{Backend, Handle, StartError, TrySendErrorKind};
use guard_agent_proto::wire::Credentials;
use guard_agent_proto::{ConfigError, Report, SecurityEvent, shell};
use guard_agent_smol::Smol;
use guard_agent_smol::async_std::AsyncStd;
use guard_agent_tests::conformance::{self, Launch, OnRuntime, Runtime, Simulated, Subject};
use guard_agent_tokio::Tokio;

fn main() -> ExitCode {
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    #[expect(clippy::expect_used, reason = "without a runtime there is nothing to show")]
    let multi = multi.expect("a runtime");
    let multi = OnTokio { name: "tokio, multi_thread", handle: || multi.handle().clone() };
    let current = OnTokio { name: "tokio, current_thread", handle: current_thread };
    let smol = Anywhere::<Smol> { name: "smol", backend: std::marker::PhantomData };
    let async_std = Anywhere::<AsyncStd> { name: "async-std", backend: std::marker::PhantomData };
    conformance::run(&[&current, &multi, &smol, &async_std, &OnThreads, &Simulated])
}

/// A runtime on a thread that runs nothing else.
#[expect(clippy::expect_used, reason = "without a runtime there is nothing to show")]
fn current_thread() -> tokio::runtime::Handle {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
}

struct OnTokio<F> {
    name: &'static str,
    /// The runtime of the next agent.
    handle: F,
}

impl<F: Fn() -> tokio::runtime::Handle> Runtime for OnTokio<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start(&self, launch: Launch) -> Result<Box<dyn Subject>, StartError> {
        let handle = (self.handle)();
        let _entered = handle.enter();
        launch.builder::<Tokio>().start().map(OnRuntime::boxed)
    }
}

/// A runtime that is found from anywhere.
struct Anywhere<B> {
    name: &'static str,
    backend: std::marker::PhantomData<fn() -> B>,
}

impl<B: Backend<Agent = shell::Agent<B>>> Runtime for Anywhere<B> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start(&self, launch: Launch) -> Result<Box<dyn Subject>, StartError> {
        launch.builder::<B>().start().map(OnRuntime::boxed)
    }
}

struct OnThreads;

impl Runtime for OnThreads {
    fn name(&self) -> &'static str {
        "blocking"
    }

    fn start(&self, launch: Launch) -> Result<Box<dyn Subject>, StartError> {
        let agent = launch.builder::<guard_agent_blocking::Threads>().start()?;
        Ok(Box::new(Blocking { agent, started: Instant::now() }))
    }
}

struct Blocking {
    agent: guard_agent_blocking::Agent,
    started: Instant,
}

impl Subject for Blocking {
    fn handle(&self) -> &Handle {
        &self.agent
    }

    fn flush(&self, timeout: Duration) -> Report {
        self.agent.flush(timeout)
    }

    fn persist(&self, timeout: Duration) -> Report {
        self.agent.persist(timeout)
    }

    fn shutdown(&self, timeout: Duration) -> Report {
        self.agent.shutdown(timeout)
    }

    fn send_event_within(&self, event: SecurityEvent, timeout: Duration) -> Result<(), TrySendErrorKind> {
        self.agent.send_event_within(event, timeout).map_err(|error| error.kind)
    }

    fn rotate(&self, credentials: Credentials) -> Result<(), ConfigError> {
        self.agent.rotate_credentials(credentials)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
