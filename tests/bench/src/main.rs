//! Our figures beside those of others, from one run: every sample is a process of its own, the samples
//! of the sides take turns, and what is shown is the median of each side.
//!
//! `FILTER=name` runs the benchmarks whose name contains it.
#![forbid(unsafe_code)]
#![allow(clippy::expect_used, clippy::print_stderr, reason = "a benchmark that fails may end at once")]

mod backlog;
mod journal;
mod others;
mod ours;
mod peer;
mod process;
mod redis;
mod report;
mod request;
mod sample;
mod side;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::report::{Reach, Report};
use crate::sample::{
    BATCH, BATCHES, BURST, Figures, PAUSE, PREBUILT, Pace, STREAM_RATE, Sample, Task, WAITING,
};
use crate::side::{Journal, Mode, Name};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["collector", mode] => process::collect(serde_json::from_str(mode)?),
        ["sample", sample] => print_figures(&serde_json::from_str::<Sample>(sample)?.measure())?,
        [results] => run(Path::new(results))?,
        _ => return Err("which file are the results to be written to?".into()),
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "how a sample speaks to the process that started it")]
fn print_figures(figures: &Figures) -> Result<(), Error> {
    println!("{}", serde_json::to_string(figures)?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program for the terminal")]
fn run(results: &Path) -> Result<(), Error> {
    let mut bench = Bench { filter: std::env::var("FILTER").unwrap_or_default(), report: Report::default() };
    bench.send()?;
    bench.streaming()?;
    bench.construct()?;
    bench.cpu()?;
    bench.memory()?;
    bench.propagation()?;
    bench.overload()?;
    bench.journal()?;
    bench.report.write(results)?;
    println!("{}\n{}", machine(), bench.report.table());
    println!("{}", notes());
    Ok(())
}

struct Bench {
    filter: String,
    report: Report,
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter) || self.filter.starts_with(name)
    }

    fn send(&mut self) -> Result<(), Error> {
        for (name, pace) in [("idle", Pace::Idle), ("burst", Pace::Burst)] {
            for callers in [1, 2, 4, 8] {
                let name = format!("send_event/{name}/{callers}");
                if !self.wants(&name) {
                    continue;
                }
                let sides = [Name::Ours, Name::Peer, Name::BarePush];
                let medians = medians(&name, 5, &sides, &Task::Calls { callers, pace }, Mode::Gzip)?;
                let reach = match callers {
                    1 => Some(Reach::Ratio(0.1)),
                    8 => Some(Reach::Ratio(0.05)),
                    _ => None,
                };
                self.compare(&name, "mean", "ns", &medians, Name::Peer, reach);
                self.compare(&name, "p50", "ns", &medians, Name::Peer, None);
                self.compare(&name, "p99", "ns", &medians, Name::Peer, None);
                self.compare(&name, "mean", "ns", &medians, Name::BarePush, Some(Reach::Ratio(1.5)));
                self.compare(&name, "p50", "ns", &medians, Name::BarePush, Some(Reach::Ratio(1.5)));
            }
        }
        Ok(())
    }

    fn streaming(&mut self) -> Result<(), Error> {
        for callers in [1, 2, 4, 8] {
            let name = format!("send_event/streaming/{callers}");
            if !self.wants(&name) {
                continue;
            }
            let sides = [Name::Ours, Name::Peer];
            let medians = medians(&name, 3, &sides, &Task::Streaming { callers }, Mode::Gzip)?;
            for figure in ["mean", "p50", "p99"] {
                self.compare(&name, figure, "ns", &medians, Name::Peer, None);
            }
        }
        Ok(())
    }

    fn construct(&mut self) -> Result<(), Error> {
        for callers in [1, 8] {
            let name = format!("construct+send/{callers}");
            if !self.wants(&name) {
                continue;
            }
            let sides = [Name::Ours, Name::Peer, Name::OpenTelemetry, Name::Sentry];
            let medians =
                medians(&name, 5, &sides, &Task::Calls { callers, pace: Pace::Construct }, Mode::Gzip)?;
            self.compare(&name, "mean", "ns", &medians, Name::Peer, Some(Reach::Ratio(0.25)));
            self.compare(&name, "p99", "ns", &medians, Name::Peer, None);
            for other in [Name::OpenTelemetry, Name::Sentry] {
                self.compare(&name, "mean", "ns", &medians, other, Some(Reach::Ratio(1.0)));
            }
        }
        Ok(())
    }

    fn cpu(&mut self) -> Result<(), Error> {
        for mode in Mode::ALL {
            let name = format!("cpu/{}", mode.as_str());
            if !self.wants(&name) {
                continue;
            }
            let medians = medians(&name, 5, &[Name::Ours, Name::Peer], &Task::Cpu, mode)?;
            self.compare(&name, "cpu", "s/100k events", &medians, Name::Peer, Some(Reach::Ratio(0.2)));
        }
        Ok(())
    }

    fn memory(&mut self) -> Result<(), Error> {
        let name = "memory";
        if !self.wants(name) {
            return Ok(());
        }
        let medians = medians(name, 3, &[Name::Ours, Name::Peer], &Task::Memory, Mode::Gzip)?;
        self.compare(name, "rss", "B/event", &medians, Name::Peer, None);
        self.compare(name, "rss_over_json", "", &medians, Name::Peer, Some(Reach::Value(1.1)));
        let ours = &medians[&Name::Ours];
        let reach = Some(Reach::Value(1.1));
        self.report.alone(format!("{name}/counted_over_json"), "", ours["counted_over_json"], reach);
        self.report.alone(format!("{name}/json"), "B/event", ours["json"], None);
        Ok(())
    }

    fn propagation(&mut self) -> Result<(), Error> {
        let rates: Vec<_> =
            [1, 10, 100, 400].into_iter().filter(|rate| self.wants(&format!("propagation/{rate}"))).collect();
        for (rate, ours, peer) in steady(&rates, 60)? {
            let name = format!("propagation/{rate}");
            for figure in ["p50", "p99"] {
                let reach = (figure == "p99").then_some(Reach::Value(1_000.0));
                let name = format!("{name}/{figure}");
                self.report.compare(name, "ms", ours[figure], (Name::Peer.as_str(), peer[figure]), reach);
            }
            let (ours, peer) = (ours["lost"], peer["lost"]);
            self.report.compare(
                format!("{name}/lost"),
                "%",
                ours,
                (Name::Peer.as_str(), peer),
                Some(Reach::Value(0.0)),
            );
        }
        Ok(())
    }

    fn overload(&mut self) -> Result<(), Error> {
        let name = "overload/1000";
        if !self.wants(name) {
            return Ok(());
        }
        for (_, ours, peer) in steady(&[1_000], 60)? {
            for (figure, unit, reach) in
                [("lost", "%", Some(Reach::Value(0.0))), ("drain", "s", None), ("p99", "ms", None)]
            {
                let name = format!("{name}/{figure}");
                self.report.compare(name, unit, ours[figure], (Name::Peer.as_str(), peer[figure]), reach);
            }
        }
        Ok(())
    }

    fn compare(
        &mut self,
        name: &str,
        figure: &str,
        unit: &'static str,
        medians: &BTreeMap<Name, Figures>,
        beside: Name,
        reach: Option<Reach>,
    ) {
        let full = match beside {
            Name::Ours | Name::Peer => format!("{name}/{figure}"),
            Name::BarePush => format!("{name}/{figure}/bare_push"),
            Name::OpenTelemetry => format!("{name}/{figure}/opentelemetry"),
            Name::Sentry => format!("{name}/{figure}/sentry"),
        };
        let (ours, theirs) = (medians[&Name::Ours][figure], medians[&beside][figure]);
        self.report.compare(full, unit, ours, (beside.as_str(), theirs), reach);
    }
}

/// Median figures of each side; the sides take turns.
fn medians(
    name: &str,
    repetitions: usize,
    sides: &[Name],
    task: &Task,
    mode: Mode,
) -> Result<BTreeMap<Name, Figures>, Error> {
    let mut samples: BTreeMap<Name, Samples> = BTreeMap::new();
    for repetition in 1..=repetitions {
        eprintln!("{name}: {repetition} of {repetitions}");
        for &side in sides {
            let (figures, received) = process::start(side, task, mode, &Journal::Absent)?.finish()?;
            if let Task::Cpu = task {
                expect_events(&received, BATCH * (BATCHES + 1))?;
            }
            samples.entry(side).or_default().add(figures);
        }
    }
    Ok(samples.into_iter().map(|(side, samples)| (side, samples.medians())).collect())
}

/// Fewer are cheaper to deliver.
fn expect_events(received: &Value, expected: usize) -> Result<(), Error> {
    if received["events"] == expected as u64 {
        Ok(())
    } else {
        Err(format!("{} of {expected} events arrived", received["events"]).into())
    }
}

/// Figures of one side, sample by sample.
#[derive(Default)]
struct Samples(BTreeMap<String, Vec<f64>>);

impl Samples {
    fn add(&mut self, figures: Figures) {
        for (figure, value) in figures {
            self.0.entry(figure).or_default().push(value);
        }
    }

    fn medians(self) -> Figures {
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        self.0.into_iter().map(|(figure, values)| (figure, median(values))).collect()
    }
}

/// Both sides at all of those rates, all at once: it is little work, and much waiting.
fn steady(rates: &[u32], seconds: u32) -> Result<Vec<(u32, Figures, Figures)>, Error> {
    let mut running = Vec::new();
    for &rate in rates {
        eprintln!("{rate} events a second for {seconds} s");
        let task = Task::Steady { rate, seconds };
        running.push((
            rate,
            process::start(Name::Ours, &task, Mode::Gzip, &Journal::Absent)?,
            process::start(Name::Peer, &task, Mode::Gzip, &Journal::Absent)?,
        ));
    }
    running
        .into_iter()
        .map(|(rate, ours, peer)| Ok((rate, arrivals(ours.finish()?), arrivals(peer.finish()?))))
        .collect()
}

fn arrivals((sample, received): (Figures, Value)) -> Figures {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let lost = 1.0 - number(&received["events"]) / sample["sent"];
    Figures::from([
        ("lost".into(), lost * 100.0),
        ("drain".into(), sample["drain"]),
        ("p50".into(), number(&received["propagation_ms"]["p50"])),
        ("p99".into(), number(&received["propagation_ms"]["p99"])),
    ])
}

fn machine() -> String {
    let read = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or_else(|| "?".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = read("/proc/cpuinfo", "model name");
    let memory = read("/proc/meminfo", "MemTotal");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().nth(1).unwrap_or("?");
    format!("{cores} cores ({model}), memory {memory}, load average of the last five minutes {load}\n")
}

fn notes() -> String {
    format!(
        "Each sample is a process of its own with a collector in another process; the sides take turns, and a \
         figure is the median of their samples. The event has 12 fields and 2 members of metadata.\n\
         - send_event, construct+send: as many callers as the number says, each a task on a thread of its own. \
         The clock is read around every {BURST} calls (5 while streaming): p50 and p99 are those of the means of \
         such bursts. Everybody has room for all events.\n\
         - idle: every caller sends {PREBUILT} events that it has just made, every {} ms. burst, construct+send: \
         without pauses; our driver encodes and delivers meanwhile, the peer delivers nothing.\n\
         - streaming: {STREAM_RATE} events a second, delivered meanwhile. The peer has a capacity of 1,000 and a \
         watermark of 0.3, with which it drops nothing; ours has its defaults.\n\
         - cpu: {BATCHES} batches of {BATCH} events, each sent and flushed; more would run into the peer's fixed \
         limit of 100 requests a minute. Scaled to 100,000 events.\n\
         - memory: {WAITING} events while connections are refused; the growth of the resident set.\n\
         - propagation, overload: default configurations for 60 s; both sides at once, with a collector each.",
        PAUSE.as_millis()
    )
}
