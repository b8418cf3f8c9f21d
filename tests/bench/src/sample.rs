//! One measurement of one side, in a process of its own: nothing of one side warms or burdens another.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::sync::Barrier;
use tokio::time::MissedTickBehavior;

use crate::backlog;
use crate::others::{BarePush, OpenTelemetry, Sentry};
use crate::ours::Ours;
use crate::peer::Peer;
use crate::request::Requests;
use crate::side::{Journal, Load, Mode, Name, Setup, Side};

/// Calls timed together, so that reading the clock adds a nanosecond or two to each.
pub const BURST: usize = 16;
/// Events that a caller makes before it sends them: no more than its cache holds, as an application sends
/// what it has just made.
pub const PREBUILT: usize = 64;
/// From one such portion to the next, of every caller at the same time.
pub const PAUSE: Duration = Duration::from_millis(5);
/// Calls of one caller in a round.
const CALLS: usize = 8_192;
/// Measured rounds of one process, after one to warm up.
const ROUNDS: usize = 3;
/// Events a second, all callers together, that are sent while the agent flushes.
pub const STREAM_RATE: u32 = 5_000;
/// Seconds of that.
const STREAM_SECONDS: u32 = 3;
/// Events in a batch while CPU time is measured: what fits into the platform's limit in every mode.
pub const BATCH: usize = 300;
/// Batches of one process: the peer's request limit, which cannot be changed, is 100 in a minute.
pub const BATCHES: usize = 80;
/// Events that wait while memory is measured.
pub const WAITING: usize = 100_000;

/// What one process measures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Cost of calls.
    Calls { callers: usize, pace: Pace },
    /// The same at a steady rate, while batches leave for the collector.
    Streaming { callers: usize },
    /// CPU time of the process per event delivered.
    Cpu,
    /// Memory of the process per event that waits.
    Memory,
    /// Sends at a steady rate; what arrives when, the collector knows.
    Steady { rate: u32, seconds: u32 },
    /// Puts events into the journal while nothing can be delivered, and leaves them there.
    Journal { events: usize },
    /// Delivers what another process left in the journal.
    Recover { events: usize },
}

/// What is a call, and how they follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// `send_event` with events that exist already, a few at a time, with pauses.
    Idle,
    /// The same without pauses.
    Burst,
    /// Making an event and sending it, without pauses.
    Construct,
}

/// A task, for whom, and where to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub side: Name,
    pub task: Task,
    pub mode: Mode,
    pub journal: Journal,
    pub endpoint: String,
}

/// Figures by name.
pub type Figures = BTreeMap<String, f64>;

impl Sample {
    /// Measures, in this process.
    pub fn measure(&self) -> Figures {
        match self.side {
            Name::Ours => self.with::<Ours>(),
            Name::Peer => self.with::<Peer>(),
            Name::BarePush => self.with::<BarePush>(),
            Name::OpenTelemetry => self.with::<OpenTelemetry>(),
            Name::Sentry => self.with::<Sentry>(),
        }
    }

    fn with<S: Side>(&self) -> Figures {
        // The callers occupy a worker each; one more is left for the agent.
        let workers = match self.task {
            Task::Calls { callers, .. } | Task::Streaming { callers } => callers + 1,
            Task::Cpu | Task::Memory | Task::Steady { .. } | Task::Journal { .. } | Task::Recover { .. } => 2,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build()
            .expect("a runtime");
        let figures = runtime.block_on(self.run::<S>());
        runtime.shutdown_background();
        figures
    }

    async fn run<S: Side>(&self) -> Figures {
        let load = match self.task {
            Task::Calls { .. } | Task::Cpu | Task::Memory | Task::Journal { .. } => Load::Hold,
            Task::Streaming { .. } => Load::Stream,
            Task::Steady { .. } if self.journal == Journal::Absent => Load::Defaults,
            // With the peer's default capacity this would be about what it drops.
            Task::Steady { .. } => Load::Stream,
            Task::Recover { .. } => Load::Unlimited,
        };
        let (mode, journal) = (self.mode, self.journal.clone());
        let mut setup = Setup { endpoint: self.endpoint.clone(), mode, load, journal };
        if let Task::Memory | Task::Journal { .. } = self.task {
            setup.endpoint = refusing_endpoint();
        }
        let side = S::start(&setup).await;
        let requests = Arc::new(Requests::new());
        if let Journal::StoppedRedis { pid, .. } = self.journal {
            for request in requests.cycle().take(1) {
                side.send(side.event(&request)).await;
            }
            side.persist().await;
            let pid = Pid::from_raw(pid).expect("the id of a process");
            kill_process(pid, Signal::STOP).expect("a process of ours");
        }
        let figures = match self.task {
            Task::Calls { callers, pace } => calls(&side, &requests, callers, pace).await,
            Task::Streaming { callers } => stream(&side, &requests, callers).await,
            Task::Cpu => cpu(&side, &requests, self.journal != Journal::Absent).await,
            Task::Memory => memory(&side, &requests).await,
            Task::Steady { rate, seconds } => steady(&side, &requests, rate, seconds).await,
            Task::Journal { events } => backlog::journal(&side, &requests, events, &self.journal).await,
            Task::Recover { events } => backlog::recover(&side, events).await,
        };
        if !matches!(self.task, Task::Steady { .. }) {
            assert_eq!(
                side.dropped().await,
                0,
                "{:?} dropped events, which is cheaper than to keep them",
                self
            );
        }
        if let Task::Journal { .. } = self.task {
            // As if it were killed: an agent that is dropped would give up its journal in order.
            std::mem::forget(side);
        }
        figures
    }
}

/// Times the calls of that many tasks, which start together, round by round.
async fn calls<S: Side>(side: &S, requests: &Arc<Requests>, callers: usize, pace: Pace) -> Figures {
    let mut samples = Vec::new();
    for round in 0..=ROUNDS {
        let start = Arc::new(Barrier::new(callers));
        let tasks = (0..callers).map(|_| {
            let (side, requests, start) = (side.clone(), Arc::clone(requests), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                match pace {
                    Pace::Idle => send(&side, &requests, Some(PAUSE)).await,
                    Pace::Burst => send(&side, &requests, None).await,
                    Pace::Construct => construct(&side, &requests).await,
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            let times = task.await.expect("a caller");
            if round > 0 {
                samples.extend(times);
            }
        }
        side.reset().await;
    }
    summarize(samples)
}

async fn send<S: Side>(side: &S, requests: &Requests, pause: Option<Duration>) -> Vec<f64> {
    let mut clock = pause.map(tokio::time::interval);
    let mut requests = requests.cycle();
    let mut samples = Vec::with_capacity(CALLS / BURST);
    let mut events = Vec::with_capacity(PREBUILT);
    for _ in 0..CALLS / PREBUILT {
        if let Some(clock) = &mut clock {
            clock.tick().await;
        }
        events.extend(requests.by_ref().take(PREBUILT).map(|request| side.event(&request)));
        let mut events = events.drain(..);
        for _ in 0..PREBUILT / BURST {
            samples.push(time_calls(side, events.by_ref().take(BURST)).await);
        }
    }
    samples
}

async fn construct<S: Side>(side: &S, requests: &Requests) -> Vec<f64> {
    let mut events = requests.cycle().map(|request| side.event(&request));
    let mut samples = Vec::with_capacity(CALLS / BURST);
    for _ in 0..CALLS / BURST {
        samples.push(time_calls(side, events.by_ref().take(BURST)).await);
    }
    samples
}

/// Nanoseconds per call.
async fn time_calls<S: Side>(side: &S, events: impl Iterator<Item = S::Event> + Send) -> f64 {
    let mut calls = 0_u32;
    let start = Instant::now();
    for event in events {
        side.send(event).await;
        calls += 1;
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

async fn stream<S: Side>(side: &S, requests: &Arc<Requests>, callers: usize) -> Figures {
    /// A millisecond's worth.
    const BURST: usize = STREAM_RATE as usize / 1_000;
    let tasks = (0..callers).map(|_| {
        let (side, requests) = (side.clone(), Arc::clone(requests));
        tokio::spawn(async move {
            let bursts = STREAM_SECONDS as usize * 1_000 / callers;
            let mut clock = tokio::time::interval(Duration::from_millis(callers as u64));
            clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut requests = requests.cycle();
            let mut samples = Vec::with_capacity(bursts);
            for _ in 0..bursts {
                clock.tick().await;
                let events: Vec<_> =
                    requests.by_ref().take(BURST).map(|request| side.event(&request)).collect();
                samples.push(time_calls(&side, events.into_iter()).await);
            }
            samples
        })
    });
    let mut samples = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        samples.extend(task.await.expect("a caller"));
    }
    side.flush().await;
    summarize(samples)
}

async fn cpu<S: Side>(side: &S, requests: &Arc<Requests>, durable: bool) -> Figures {
    let mut requests = requests.cycle();
    let mut used = Duration::ZERO;
    for batch in 0..=BATCHES {
        let events: Vec<_> = requests.by_ref().take(BATCH).map(|request| side.event(&request)).collect();
        let before = cpu_time();
        for event in events {
            side.send(event).await;
        }
        if durable {
            side.persist().await;
        }
        side.flush().await;
        // The first one connects.
        if batch > 0 {
            used += cpu_time() - before;
        }
    }
    let delivered = (BATCH * BATCHES) as f64;
    Figures::from([("cpu".into(), used.as_secs_f64() / delivered * 1e5)])
}

async fn memory<S: Side>(side: &S, requests: &Arc<Requests>) -> Figures {
    let json = crate::ours::mean_json_len(requests);
    // What an agent holds before the first few events, and its spare room, are no part of an event's cost.
    fill(side, requests, WAITING / 5).await;
    let (resident_before, counted_before) = (resident(), side.memory_bytes());
    fill(side, requests, WAITING).await;
    let per_event = |bytes: f64| bytes / WAITING as f64;
    let rss = per_event(resident() - resident_before);
    let mut figures =
        Figures::from([("rss".into(), rss), ("rss_over_json".into(), rss / json), ("json".into(), json)]);
    if let (Some(before), Some(after)) = (counted_before, side.memory_bytes()) {
        figures.insert("counted_over_json".into(), per_event((after - before) as f64) / json);
    }
    figures
}

/// At 100,000 events a second.
async fn fill<S: Side>(side: &S, requests: &Requests, events: usize) {
    const STEP: usize = 500;
    let mut requests = requests.cycle();
    for _ in 0..events / STEP {
        for request in requests.by_ref().take(STEP) {
            side.send(side.event(&request)).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
}

async fn steady<S: Side>(side: &S, requests: &Arc<Requests>, rate: u32, seconds: u32) -> Figures {
    let mut clock = tokio::time::interval(Duration::from_secs(1) / rate);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for request in requests.cycle().take((rate * seconds) as usize) {
        clock.tick().await;
        side.send(side.event(&request)).await;
    }
    let end = Instant::now();
    side.flush().await;
    Figures::from([("sent".into(), f64::from(rate * seconds)), ("drain".into(), end.elapsed().as_secs_f64())])
}

fn summarize(mut samples: Vec<f64>) -> Figures {
    samples.sort_by(f64::total_cmp);
    let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize];
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    Figures::from([("mean".into(), mean), ("p50".into(), at(0.5)), ("p99".into(), at(0.99))])
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Bytes of this process in memory.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * rustix::param::page_size() as f64
}

/// A port where nobody listens.
fn refusing_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}
