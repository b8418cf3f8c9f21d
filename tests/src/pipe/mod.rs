//! The agent as a pipe: JSON lines on standard input go through an agent. What the tool of every runtime
//! shares; a runtime adds the start of its agent.
//!
//! ```text
#![doc = include_str!("usage.txt")]
//! ```

mod ack;
mod line;
mod options;
mod report;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use futures_channel::oneshot;
use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use guard_agent_proto::Stats;
use guard_agent_proto::shell::{Handle, TrySendError};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc;

use self::ack::{Acks, Printer};
use self::line::Line;
pub use self::options::Options;

/// What `--help` prints.
const USAGE: &str = include_str!("usage.txt");
/// Lines that are read ahead of the agent.
const READ_AHEAD: usize = 64;

/// Feeds standard input to the agent until it ends, or until SIGTERM or SIGINT, and prints what the options ask for.
/// `flush` is called for lines that ask for it. The caller then shuts the agent down and calls [`Report::finish`].
///
/// What has to wait does so in threads of its own, so that it runs on any executor.
pub async fn run(options: &Options, agent: &Handle, flush: impl Fn()) -> Report {
    let (lines, report) = open(options);
    if let Some(period) = options.stats_every {
        let (report, agent) = (report.rejected.clone(), agent.clone());
        thread::spawn(move || {
            loop {
                thread::sleep(period);
                report.print(&agent.stats());
            }
        });
    }
    lines.feed(agent, flush, terminated()).await;
    report
}

/// Ends at SIGTERM or SIGINT, on any executor.
pub async fn terminated() {
    let (give, take) = oneshot::channel();
    let signals = Signals::new([SIGINT, SIGTERM]);
    thread::spawn(move || {
        if let Ok(mut signals) = signals {
            signals.forever().next();
            // The pipe may have ended by itself.
            let _ = give.send(());
        } else {
            thread::park();
        }
    });
    let _ = take.await;
}

/// Begins to read standard input.
fn open(options: &Options) -> (Lines, Report) {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let rejected = Rejected::default();
    let (acks, printer) = options.ack.then(|| ack::open(options.config.buffer_size)).unzip();
    let lines = Lines { receiver, acks, rejected: rejected.clone() };
    let report = Report { rejected: rejected.clone(), printer };
    thread::spawn(move || {
        line::read(io::stdin().lock(), |number, line| match line {
            Ok(line) => sender.blocking_send((number, line)).is_ok(),
            Err(reason) => {
                rejected.invalid(number, &reason);
                true
            }
        });
    });
    (lines, report)
}

/// The valid lines of the input.
struct Lines {
    receiver: mpsc::Receiver<(u64, Line)>,
    acks: Option<Acks>,
    rejected: Rejected,
}

impl Lines {
    /// Hands line after line to the agent until the input or `stop` ends. While the agent is full it
    /// waits, and with it, by and by, whoever writes to the pipe. `flush` is called for lines that ask
    /// for it.
    async fn feed(mut self, agent: &Handle, flush: impl Fn(), stop: impl Future<Output = ()> + Send) {
        let stop = stop.shared();
        loop {
            // `stop` comes first, or input that never pauses would keep it from being seen.
            let line = match select(stop.clone(), pin!(self.receiver.recv())).await {
                Either::Left(_) => break,
                Either::Right((Some(line), _)) => line,
                Either::Right((None, _)) => return,
            };
            self.hand_over(line, agent, &flush, stop.clone()).await;
        }
        // What was read before the end is still offered, without waiting.
        self.receiver.close();
        while let Some(line) = self.receiver.recv().await {
            self.hand_over(line, agent, &flush, stop.clone()).await;
        }
    }

    async fn hand_over(
        &self,
        (number, line): (u64, Line),
        agent: &Handle,
        flush: &impl Fn(),
        stop: impl Future<Output = ()> + Send + Clone,
    ) {
        let taken = match (line, &self.acks) {
            (Line::Flush, _) => {
                flush();
                Ok(())
            }
            (Line::Event(event), None) => agent.send_event_within(*event, stop).await.map_err(reason),
            (Line::Metric(metric), None) => agent.send_metric_within(metric, stop).await.map_err(reason),
            (Line::Event(event), Some(acks)) => acks.event(number, *event, agent, stop).await,
            (Line::Metric(metric), Some(acks)) => acks.metric(number, metric, agent, stop).await,
        };
        if let Err(reason) = taken {
            self.rejected.not_taken(number, reason);
        }
    }
}

fn reason<T>(error: TrySendError<T>) -> String {
    error.kind.to_string()
}

/// Tells what became of the lines.
#[derive(Debug)]
pub struct Report {
    rejected: Rejected,
    printer: Option<Printer>,
}

#[derive(Clone, Debug, Default)]
struct Rejected(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    invalid: AtomicU64,
    not_taken: AtomicU64,
}

impl Rejected {
    fn invalid(&self, line: u64, reason: &str) {
        self.0.invalid.fetch_add(1, Ordering::Relaxed);
        tell(format_args!("line {line}: {reason}"));
    }

    fn not_taken(&self, line: u64, reason: impl Display) {
        self.0.not_taken.fetch_add(1, Ordering::Relaxed);
        tell(format_args!("line {line} was not taken: {reason}"));
    }

    /// Prints the statistics object.
    fn print(&self, stats: &Stats) {
        let line = report::stats_line(stats, self.0.invalid.load(Ordering::Relaxed));
        // There is nobody left to tell that standard output is closed.
        let _ = writeln!(io::stdout(), "{line}");
    }
}

impl Report {
    /// Prints what is left to acknowledge and the last line, and decides the exit code. The agent has been
    /// shut down.
    #[must_use]
    pub fn finish(mut self, stats: &Stats) -> ExitCode {
        if let Some(printer) = self.printer.take() {
            printer.finish();
        }
        self.rejected.print(stats);
        let Counts { invalid, not_taken } = &*self.rejected.0;
        let [invalid, not_taken] = [invalid, not_taken].map(|n| n.load(Ordering::Relaxed));
        let lost = report::lost(stats) + not_taken;
        if lost > 0 {
            tell(format_args!("not delivered: {lost}; see `dropped`, `pending` and what was told before"));
        }
        ExitCode::from(report::exit_code(stats, invalid, not_taken))
    }
}

/// Tells what keeps the pipe from starting.
#[must_use]
pub fn refuse(error: impl Display) -> ExitCode {
    tell(error);
    ExitCode::from(2)
}

/// Tells something on standard error, in one line.
pub fn tell(what: impl Display) {
    let _ = writeln!(io::stderr(), "pipe: {what}");
}
