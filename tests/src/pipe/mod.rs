//! The agent as a pipe: JSON lines on standard input go through an agent. What the tool of every runtime
//! shares; a runtime adds the start of its agent.
//!
//! ```text
#![doc = include_str!("usage.txt")]
//! ```

mod ack;
mod line;
mod options;
mod output;
mod report;
mod warnings;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use guard_agent_proto::shell::{Handle, TrySendError};
use guard_agent_proto::{ByKind, Kind, Stats, printable};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc;

use self::ack::{Acks, Printer};
use self::line::Line;
pub use self::options::Options;
use self::output::Output;

/// What `--help` prints.
const USAGE: &str = include_str!("usage.txt");
/// Lines that are read ahead of the agent.
const READ_AHEAD: usize = 64;
/// Time for the last words after the deadline of the shutdown, which may have used all of it.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Standard error, once a pipe runs.
static ERRORS: OnceLock<Output> = OnceLock::new();

/// Feeds standard input to the agent until it ends, or until SIGTERM or SIGINT, and prints what the options ask for.
/// `flush` is called for lines that ask for it. The caller then shuts the agent down and calls [`Report::finish`].
///
/// What has to wait does so in threads of its own, so that it runs on any executor.
pub async fn run(options: &Options, agent: &Handle, flush: impl Fn()) -> Report {
    let (lines, mut report) = open(options);
    if let Some(period) = options.stats_every {
        let (rejected, output, agent) = (report.rejected.clone(), report.output.clone(), agent.clone());
        thread::spawn(move || {
            loop {
                thread::sleep(period);
                output.print(rejected.line(&agent.stats()));
            }
        });
    }
    lines.feed(agent, flush, terminated()).await;
    report.deadline = Instant::now() + options.shutdown_timeout + LAST_WORDS;
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
    ERRORS.get_or_init(|| Output::open(io::stderr()));
    let output = Output::open(io::stdout());
    let acks = options.ack.then(|| ack::open(options.config.buffer_size, output.clone()));
    let (acks, printer) = acks.unzip();
    let config = &options.config;
    let enabled = ByKind {
        events: config.enabled && config.enable_events,
        metrics: config.enabled && config.enable_metrics,
    };
    let lines = Lines { receiver, acks, enabled, rejected: rejected.clone() };
    let report = Report { rejected: rejected.clone(), printer, output, deadline: Instant::now() };
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
    enabled: ByKind<bool>,
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
        let kind = line.kind();
        let taken = match (line, &self.acks) {
            (Line::Flush, _) => {
                flush();
                Ok(())
            }
            (line, acks) if kind.is_some_and(|kind| !self.enabled[kind]) => {
                self.rejected.disabled(number, kind);
                match acks {
                    Some(acks) => acks.disabled(number, &line, stop).await,
                    None => Ok(()),
                }
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
    output: Output,
    /// When to end, whether somebody reads or not.
    deadline: Instant,
}

#[derive(Clone, Debug, Default)]
struct Rejected(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    invalid: AtomicU64,
    not_taken: AtomicU64,
    /// Of a kind that the configuration turns off; nobody expects them to arrive.
    disabled: ByKind<AtomicU64>,
}

impl Rejected {
    fn invalid(&self, line: u64, reason: &str) {
        self.0.invalid.fetch_add(1, Ordering::Relaxed);
        tell(format_args!("line {line}: {reason}"));
    }

    /// Tells it once for each kind.
    fn disabled(&self, line: u64, kind: Option<Kind>) {
        let Some(kind) = kind else { return };
        if self.0.disabled[kind].fetch_add(1, Ordering::Relaxed) == 0 {
            let field = match kind {
                Kind::Event => "enable_events",
                Kind::Metric => "enable_metrics",
            };
            tell(format_args!(
                "line {line}: `{field}` is false, or `enabled`: such lines are counted as `disabled`"
            ));
        }
    }

    fn not_taken(&self, line: u64, reason: impl Display) {
        self.0.not_taken.fetch_add(1, Ordering::Relaxed);
        tell(format_args!("line {line} was not taken: {reason}"));
    }

    /// The statistics object.
    fn line(&self, stats: &Stats) -> String {
        let Counts { invalid, disabled, .. } = &*self.0;
        let [events, metrics] = [&disabled.events, &disabled.metrics].map(|n| n.load(Ordering::Relaxed));
        report::stats_line(stats, invalid.load(Ordering::Relaxed), ByKind { events, metrics })
    }
}

impl Report {
    /// Prints what is left to acknowledge and the last line, and decides the exit code. The agent has been
    /// shut down.
    #[must_use]
    pub fn finish(mut self, stats: &Stats) -> ExitCode {
        if let Some(printer) = self.printer.take() {
            printer.finish(self.deadline);
        }
        if !self.output.finish(Some(self.rejected.line(stats)), self.deadline) {
            tell("nobody read all of standard output in time");
        }
        let Counts { invalid, not_taken, .. } = &*self.rejected.0;
        let [invalid, not_taken] = [invalid, not_taken].map(|n| n.load(Ordering::Relaxed));
        let lost = report::lost(stats) + not_taken;
        if lost > 0 {
            tell(format_args!("not delivered: {lost}; see `dropped`, `pending` and what was told before"));
        }
        if let Some(errors) = ERRORS.get() {
            let left_out = Some(errors.left_out()).filter(|lines| *lines > 0);
            let last = left_out.map(|lines| format!("pipe: {lines} lines more were not read in time"));
            errors.finish(last, self.deadline.max(Instant::now() + LAST_WORDS));
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

/// Tells something on standard error, in one line as [`printable`] leaves it.
pub fn tell(what: impl Display) {
    let line = printable(format_args!("pipe: {what}"));
    match ERRORS.get() {
        Some(errors) => errors.offer(line),
        None => {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}
