//! The collector as a program of its own, for agents in other processes.
//!
//! ```text
//! collector [--port PORT] [--api-key KEY] [--signing-secret SECRET] [--encryption-key KEY]
//! ```
//!
//! Prints its URL on the first line, counts what arrives and tells it on `GET /stats`. Ends with its input.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::io::Read as _;
use std::process::ExitCode;

use guard_agent_tests::collector::Collector;

fn main() -> ExitCode {
    let mut builder = Collector::builder().count_only();
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let Some(value) = args.next() else {
            eprintln!("collector: {flag} needs a value");
            return ExitCode::from(2);
        };
        builder = match (flag.as_str(), value.parse::<u16>()) {
            ("--port", Ok(port)) => builder.port(port),
            ("--api-key", _) => builder.api_key(value),
            ("--signing-secret", _) => builder.signing_secret(value),
            ("--encryption-key", _) => builder.encryption_key(value),
            _ => {
                eprintln!("collector: {flag} {value} is not understood");
                return ExitCode::from(2);
            }
        };
    }
    let collector = builder.start();
    println!("{}", collector.url());
    // Whoever started it holds the other end, so that it does not outlive them.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    println!("{}", collector.read(|received| received.summary()));
    ExitCode::SUCCESS
}
