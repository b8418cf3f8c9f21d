//! Processes: a collector, and a sample.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use guard_agent_tests::collector;
use serde_json::Value;

use crate::sample::{Figures, Sample, Task};
use crate::side::{API_KEY, ENCRYPTION_KEY, Journal, Mode, Name, SIGNING_SECRET};

type Error = Box<dyn std::error::Error>;

/// A collector in another process; it ends with its input.
struct Collector {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    url: String,
}

impl Collector {
    fn start(mode: Mode) -> Result<Self, Error> {
        let mut child = this_program(&["collector", &serde_json::to_string(&mode)?])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut url = String::new();
        output.read_line(&mut url)?;
        Ok(Self { child, input, output, url: url.trim().to_owned() })
    }

    /// What it received.
    fn stop(mut self) -> Result<Value, Error> {
        drop(self.input);
        let mut summary = String::new();
        self.output.read_to_string(&mut summary)?;
        self.child.wait()?;
        let summary: Value = serde_json::from_str(&summary)?;
        if summary["violations"].as_array().is_none_or(|violations| !violations.is_empty()) {
            return Err(format!("the collector complains: {}", summary["violations"]).into());
        }
        Ok(summary)
    }
}

/// A sample under way, with a collector of its own.
pub struct Running {
    collector: Collector,
    child: Child,
}

/// Starts a sample.
pub fn start(side: Name, task: &Task, mode: Mode, journal: &Journal) -> Result<Running, Error> {
    let collector = Collector::start(mode)?;
    let (task, journal) = (task.clone(), journal.clone());
    let sample = Sample { side, task, mode, journal, endpoint: collector.url.clone() };
    let child =
        this_program(&["sample", &serde_json::to_string(&sample)?])?.stdout(Stdio::piped()).spawn()?;
    Ok(Running { collector, child })
}

impl Running {
    /// Its figures, and what the collector received.
    pub fn finish(self) -> Result<(Figures, Value), Error> {
        let output = self.child.wait_with_output()?;
        let summary = self.collector.stop();
        if !output.status.success() {
            return Err(format!("a sample ended with {}", output.status).into());
        }
        Ok((serde_json::from_slice(&output.stdout)?, summary?))
    }
}

/// The collector's side of [`Collector`].
#[expect(clippy::print_stdout, reason = "how it speaks to the process that started it")]
pub fn collect(mode: Mode) {
    let mut builder = collector::Collector::builder().count_only().api_key(API_KEY);
    if mode == Mode::Sealed {
        builder = builder.signing_secret(SIGNING_SECRET).encryption_key(ENCRYPTION_KEY);
    }
    let collector = builder.start();
    println!("{}", collector.url());
    // An error is an end as well.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    println!("{}", collector.read(|received| received.summary()));
}

fn this_program(args: &[&str]) -> Result<Command, Error> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args);
    Ok(command)
}
