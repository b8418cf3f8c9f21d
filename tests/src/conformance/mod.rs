//! One list of scenarios for every runtime: what an agent must do, whatever it runs on.
//!
//! A [`Scenario`] is data: a configuration, what the platform and the journal do, what the application does, and what
//! must be observed. A runtime is anything that starts agents ([`Runtime`]); one of them is the
//! [`Simulated`] one, whose time is virtual. [`run`] plays the list on each and prints a matrix. [`sabotage`] plays it
//! with agents that are wrong on purpose, and prints which scenario saw which.

mod play;
mod runtimes;
mod sabotage;
mod scenarios;
mod simulated;
mod wrongs;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use guard_agent_proto::{DropReason, Endpoint, SecurityEvent, StatusLevel};

pub use self::runtimes::{Launch, OnRuntime, Runtime, Subject};
pub use self::sabotage::sabotage;
pub use self::scenarios::SCENARIOS;
pub use self::simulated::Simulated;
use self::wrongs::Wrong;
use crate::collector::Answer;

/// What an agent must do in one situation.
#[derive(Debug)]
pub struct Scenario {
    /// What must be true, in words.
    pub name: &'static str,
    /// Which rows of the contract, known weaknesses (W) and users' asks (UA) it shows.
    pub shows: &'static str,
    /// Fields of the configuration, beside those that make everything ten times as fast.
    pub fields: &'static [(&'static str, &'static str)],
    /// What of the agent is not as usual.
    pub with: With,
    /// What happens, and what must be seen, in that order.
    pub steps: &'static [Step],
}

/// What of an agent is not as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// Nothing: it delivers over HTTP and has no journal.
    Nothing,
    /// A journal in Redis, or in the store that stands for it on virtual time.
    Redis,
    /// A journal in files.
    Files,
    /// A store of the application's own.
    OwnStore,
    /// A transport that panics the first times.
    PanickingTransport,
    /// A processor that panics at every second event, and an error hook that always does.
    PanickingHooks,
    /// A processor that blocks until the end.
    BlockingProcessor,
    /// A key for encryption and a secret for signatures, both of which the platform insists on.
    Keys,
}

/// Something that happens, or that must be seen.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The platform answers the next requests to the endpoint like that.
    Answers(Endpoint, usize, fn() -> Answer),
    /// It answers like that from now on.
    Always(Endpoint, fn() -> Answer),
    /// It answers as usual again.
    Normally(Endpoint),
    /// It answers the next request with that status code and the address of another platform.
    Redirects(Endpoint, u16),
    /// It refuses connections.
    Down,
    /// It is back.
    Up,
    /// It expects this API key.
    Expects(&'static str),
    /// It has other rules: a JSON document.
    Rules(&'static str),
    /// The journal's store does not answer.
    StoreDown,
    /// It is back, with its data.
    StoreUp,

    /// The application sends events, with the next numbers.
    Events(u64),
    /// It sends events of an attack.
    Attacks(u64),
    /// It sends metrics.
    Metrics(u64),
    /// It sends that event.
    Event(fn() -> SecurityEvent),
    /// It sends an event that is not valid.
    Invalid,
    /// It flushes: must everything be delivered, and within how much time must the call return.
    Flush(Complete, Duration),
    /// It waits until everything is durable.
    Persist(Complete, Duration),
    /// It asks for the rules.
    Refresh,
    /// It changes the API key; is that accepted.
    Rotate(&'static str, bool),
    /// It waits for room for an event; is it taken.
    Within(Duration, bool),
    /// It shuts the agent down.
    Shutdown(Complete, Duration),
    /// It starts the agent again.
    Start,
    /// It does nothing for that long.
    Pause(Duration),

    /// Before long, so many events have arrived in all.
    Arrived(u64),
    /// Before long, so many metrics have.
    MetricsArrived(u64),
    /// Before long, there were at least so many requests to that endpoint.
    Requested(Endpoint, usize),
    /// Before long, all scripted answers of the endpoint were given.
    Answered(Endpoint),
    /// Before long, so many answers were given that nobody asked for.
    AnsweredUnasked(u64),
    /// Before long, the health is that.
    Health(StatusLevel),
    /// Before long, a reason of the health has these words.
    Reason(&'static str),
    /// Before long, the rules of that id are in force.
    InForce(&'static str),
    /// Before long, the rules that came into force since the first ones have had those ids, one after another.
    RulesWere(&'static [&'static str]),
    /// Before long, so many events are durable.
    Persisted(u64),
    /// Before long, the store of the application's own holds so many blocks.
    Blocks(usize),

    /// Before long, so many events wait, no more and no less.
    Pending(u64),
    /// Before long, just so many events were delivered.
    Delivered(u64),
    /// Before long, just so many metrics were delivered.
    MetricsDelivered(u64),
    /// Before long, just so many events were recovered from a journal.
    Recovered(u64),
    /// Before long, just so many events were given up for that reason.
    Dropped(DropReason, u64),
    /// Before long, just so many were not valid.
    CountedInvalid(u64),

    /// So many arrived twice.
    Duplicates(u64),
    /// In some event that arrived there is that text, or in none.
    Text(&'static str, bool),
    /// The events arrived in the order in which they were sent.
    InOrder,
    /// Just the events with the numbers from the first one up to the second one arrived.
    Just(u64, u64),
    /// The application's own transport got so many events.
    Captured(u64),
    /// An event that was sent more than once came in the same batch each time: the same id, the same bytes.
    SameBatch,
    /// At most so many requests went to that endpoint.
    AtMost(Endpoint, usize),
    /// So many requests went to the platform whose address the redirects have.
    Elsewhere(usize),
    /// The first so many requests to that endpoint came at least that long after one another.
    Apart(Endpoint, usize, Duration),
    /// No window of that time saw more requests to that endpoint, as far as the runtime's time tells.
    Spread(Endpoint, usize, Duration),
    /// The request to that endpoint with that number, counted from 1, did not come sooner after the start.
    NotBefore(Endpoint, usize, Duration),
    /// The last call that may wait took at least that long.
    Lasted(Duration),
    /// It took no longer than that, as far as the runtime's time tells: a machine may be busy.
    Prompt(Duration),
    /// Of answers without end, at most so many bytes could be sent.
    Flooded(usize),
    /// The last request to that endpoint had that header, or had none of that name.
    Header(Endpoint, &'static str, Option<&'static str>),
    /// So many status documents arrived, and the last one says that.
    Statuses(usize, &'static str),
    /// There are so many dead letters.
    DeadLetters(usize),
    /// Nothing that the agent sent was against the contract, except for so many requests.
    Violations(usize),
}

/// Whether a call must have done all that it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complete {
    /// All of it.
    Yes,
    /// Not all of it.
    No,
}

/// Scenarios that run beside each other: they wait more than they work.
const BESIDE: usize = 32;
/// The slowest real scenario ends far sooner, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Plays the list on every runtime and prints what came of it. Arguments choose scenarios by a part of their name, and
/// `on:NAME` runtimes.
#[must_use]
pub fn run(runtimes: &[&(dyn Runtime + Sync)]) -> ExitCode {
    let args = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let (on, wanted): (Vec<String>, Vec<String>) = args.partition(|arg| arg.starts_with("on:"));
    let is_on = |name: &str| on.is_empty() || on.iter().any(|arg| name.contains(&arg[3..]));
    let runtimes: Vec<_> = runtimes.iter().copied().filter(|runtime| is_on(runtime.name())).collect();
    let chosen: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|scenario| {
            wanted.is_empty() || wanted.iter().any(|part| scenario.name.contains(part.as_str()))
        })
        .collect();
    let jobs: Vec<_> = chosen
        .iter()
        .flat_map(|scenario| runtimes.iter().map(move |runtime| (*scenario, *runtime)))
        .collect();
    let failures = beside_each_other(&jobs, |(scenario, runtime)| failure(scenario, *runtime, None));
    let failures: Vec<_> = failures.chunks(runtimes.len().max(1)).map(<[_]>::to_vec).collect();
    // There is nobody to tell that standard output is closed.
    let _ = print(&runtimes, &chosen, &failures);
    let failed = failures.iter().flatten().any(Option::is_some);
    if failed || chosen.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Does the jobs on some threads; the results are in the order of the jobs.
fn beside_each_other<J: Sync, R: Send>(jobs: &[J], work: impl Fn(&J) -> R + Sync) -> Vec<R> {
    silence_planted_panics();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(place) else { return };
                    let result = work(job);
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(place, result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn silence_planted_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let words = payload.downcast_ref::<&str>().copied();
        let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        if !words.is_some_and(|words| words.starts_with("planted")) {
            report(info);
        }
    }));
}

/// What went wrong, if anything did.
fn failure(
    scenario: &Scenario,
    runtime: &(dyn Runtime + Sync),
    wrong: Option<&'static Wrong>,
) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| play::play(scenario, runtime, wrong))) {
        Ok(result) => result.err(),
        Err(panic) => Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| {
            String::from(*panic.downcast_ref::<&str>().unwrap_or(&"a panic without words"))
        })),
    }
}

fn print(
    runtimes: &[&(dyn Runtime + Sync)],
    scenarios: &[&Scenario],
    failures: &[Vec<Option<String>>],
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let names: Vec<_> = runtimes.iter().map(|runtime| runtime.name()).collect();
    writeln!(
        out,
        "\n| scenario | shows | {} |\n| --- | --- |{}",
        names.join(" | "),
        " --- |".repeat(names.len())
    )?;
    for (scenario, row) in scenarios.iter().zip(failures) {
        let marks: Vec<_> =
            row.iter().map(|failure| if failure.is_none() { "ok" } else { "FAILED" }).collect();
        writeln!(out, "| {} | {} | {} |", scenario.name, scenario.shows, marks.join(" | "))?;
    }
    for (scenario, row) in scenarios.iter().zip(failures) {
        for (name, failure) in names.iter().zip(row) {
            if let Some(failure) = failure {
                writeln!(out, "\n{} on {name}: {failure}", scenario.name)?;
            }
        }
    }
    let failed = failures.iter().flatten().filter(|failure| failure.is_some()).count();
    writeln!(out, "\n{} scenarios on {} runtimes, {failed} failed", scenarios.len(), runtimes.len())
}
