//! Sends JSON lines from standard input through the agent: see `guard_agent_tests::pipe` for the flags, to which it adds
//! `--executor smol|async-std`.
//!
//! ```text
//! echo '{"kind":"event","event_type":"ip_banned"}' |
//!     pipe-smol --endpoint https://guard.example --api-key-file /run/secrets/guard
//! ```

use std::process::ExitCode;

use guard_agent_smol::shell::{self, Backend};
use guard_agent_smol::{BoxFuture, Smol};
use guard_agent_tests::pipe::{self, Options};

fn main() -> ExitCode {
    let options = match Options::from_env(&["smol", "async-std"]) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match options.executor.as_deref() {
        None | Some("smol") => smol::block_on(run::<Smol>(options, |task| smol::spawn(task).detach())),
        #[cfg(feature = "async-std")]
        Some("async-std") => {
            use guard_agent_smol::async_std::AsyncStd;

            async_std::task::block_on(run::<AsyncStd>(options, |task| drop(async_std::task::spawn(task))))
        }
        Some(_) => pipe::refuse("--executor: not without the feature of that name"),
    }
}

async fn run<B>(options: Options, spawn: fn(BoxFuture<'static, ()>)) -> ExitCode
where
    B: Backend<Agent = shell::Agent<B>>,
{
    let builder = shell::Agent::<B>::builder;
    let agent = options.start(|config| builder(config).on_error(|error| pipe::tell(error)).start());
    let agent = match agent {
        Ok(agent) => agent,
        Err(code) => return code,
    };
    let flush = || {
        let report = agent.flush(options.shutdown_timeout);
        spawn(Box::pin(async {
            report.await;
        }));
    };
    let report = pipe::run(&options, &agent, flush).await;
    agent.shutdown(options.shutdown_timeout).await;
    report.finish(&agent.stats())
}
