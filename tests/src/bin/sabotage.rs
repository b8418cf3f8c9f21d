//! `make sabotage`: see `guard_agent_tests::conformance::sabotage`.

use std::process::ExitCode;

fn main() -> ExitCode {
    guard_agent_tests::conformance::sabotage()
}
