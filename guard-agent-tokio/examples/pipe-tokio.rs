//! Sends JSON lines from standard input through the agent: see `guard_agent_tests::pipe` for the flags.
//!
//! ```text
//! echo '{"kind":"event","event_type":"ip_banned"}' |
//!     pipe-tokio --endpoint https://guard.example --api-key KEY
//! ```

use std::process::ExitCode;
use std::time::Duration;

use guard_agent_tests::pipe::{self, Options, Report};
use guard_agent_tokio::Agent;

fn main() -> ExitCode {
    let options = match Options::from_env() {
        Ok(options) => options,
        Err(error) => return pipe::refuse(error),
    };
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(options)),
        Err(error) => pipe::refuse(error),
    }
}

async fn run(options: Options) -> ExitCode {
    let agent = match Agent::builder(options.config.clone()).on_error(|error| pipe::tell(error)).start() {
        Ok(agent) => agent,
        Err(error) => return pipe::refuse(error),
    };
    let flush = || {
        let agent = agent.clone();
        tokio::spawn(async move { agent.flush(options.shutdown_timeout).await });
    };
    let (lines, report) = pipe::open(&options);
    tokio::select! {
        () = lines.feed(&agent, flush, terminated()) => {}
        () = print_every(options.stats_every, &agent, &report) => {}
    }
    agent.shutdown(options.shutdown_timeout).await;
    report.finish(&agent.stats())
}

async fn print_every(period: Option<Duration>, agent: &Agent, report: &Report) {
    let Some(period) = period else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        report.print(&agent.stats());
    }
}

/// Ends at SIGTERM or SIGINT (elsewhere than on Unix: at Ctrl-C).
async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
