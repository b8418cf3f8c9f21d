//! Sends JSON lines from standard input through the agent: see `guard_agent_tests::pipe` for the flags.
//!
//! ```text
//! echo '{"kind":"event","event_type":"ip_banned"}' |
//!     pipe-tokio --endpoint https://guard.example --api-key-file /run/secrets/guard
//! ```

use std::process::ExitCode;

use guard_agent_tests::pipe::{self, Options};
use guard_agent_tokio::Agent;

fn main() -> ExitCode {
    let options = match Options::from_env(&[]) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(options)),
        Err(error) => pipe::refuse(error),
    }
}

async fn run(options: Options) -> ExitCode {
    let agent = options.start(|config| Agent::builder(config).on_error(|error| pipe::tell(error)).start());
    let agent = match agent {
        Ok(agent) => agent,
        Err(code) => return code,
    };
    let flush = || drop(tokio::spawn(agent.flush(options.shutdown_timeout)));
    let report = pipe::run(&options, &agent, flush).await;
    agent.shutdown(options.shutdown_timeout).await;
    report.finish(&agent.stats())
}
