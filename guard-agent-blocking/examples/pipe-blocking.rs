//! Sends JSON lines from standard input through the agent: see `guard_agent_tests::pipe` for the flags.
//!
//! ```text
//! echo '{"kind":"event","event_type":"ip_banned"}' |
//!     pipe-blocking --endpoint https://guard.example --api-key-file /run/secrets/guard
//! ```

use std::process::ExitCode;
use std::thread;

use futures_executor::block_on;
use guard_agent_blocking::Agent;
use guard_agent_tests::pipe::{self, Options};

fn main() -> ExitCode {
    let options = match Options::from_env(&[]) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let agent = options.start(|config| Agent::builder(config).on_error(|error| pipe::tell(error)).start());
    let agent = match agent {
        Ok(agent) => agent,
        Err(code) => return code,
    };
    let flush = || {
        let agent = agent.clone();
        thread::spawn(move || agent.flush(options.shutdown_timeout));
    };
    let report = block_on(pipe::run(&options, &agent, flush));
    agent.shutdown(options.shutdown_timeout);
    report.finish(&agent.stats())
}
