use std::time::Duration;

use guard_agent_proto::{AgentConfig, Endpoint, Instant, Kind};

use super::application::{Arrivals, Flood, Mix, Sizes};
use super::front::Naming;
use super::model::Fate;
use super::network::{Fault, Weather};
use super::platform::BODY_LIMIT;
use super::rng::Rng;
use super::scenario::{Act, Scenario, base_config};
use super::store::{StoreFault, Trouble};
use super::world::World;

/// How fast events arrive with the default configuration: in fair weather, or once an outage is over.
#[derive(Clone, Copy, Debug)]
pub struct Propagation {
    /// Events that were accepted in the time that is looked at.
    pub events: usize,
    /// From acceptance to arrival, median.
    pub p50: Duration,
    /// From acceptance to arrival, of 99 in 100.
    pub p99: Duration,
    /// From acceptance to arrival, the slowest.
    pub max: Duration,
    /// Most requests in any window of 60 seconds, both ends included.
    pub busiest_minute: usize,
    /// From the acceptance of an attack to the rule against it, of 99 in 100; zero without attacks.
    pub reaction_p99: Duration,
    /// The same, the slowest.
    pub reaction_max: Duration,
    /// How much longer than a minute the rules were not polled at most.
    pub rules_late: Duration,
    /// How much longer than a minute the status was not pushed at most.
    pub status_late: Duration,
}

/// How an agent comes out of an outage.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    /// From the end of the outage to the arrival of the first event.
    pub noticed: Duration,
    /// From then until everything that had been accepted by then has arrived or was given up.
    pub drained: Duration,
    /// Events that had been accepted and not arrived when the first did.
    pub backlog: usize,
    /// The events that were accepted after the first arrival.
    pub live: Propagation,
}

/// How reports of a rare type come through a flood of others.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Those of the rare type that had to arrive.
    pub rare: usize,
    /// How many of them did not.
    pub missing: usize,
    /// From acceptance to arrival of the rare ones, median.
    pub p50: Duration,
    /// The same, of 99 in 100.
    pub p99: Duration,
    /// The same, the slowest.
    pub max: Duration,
    /// Records of the flood that arrived.
    pub others: usize,
    /// Records that were given up.
    pub dropped: u64,
    /// Most requests in any window of 60 seconds, both ends included.
    pub busiest_minute: usize,
}

/// Interval of status and rules.
const MINUTE: Duration = Duration::from_secs(60);
/// What came in the last seconds may still be on its way.
const MARGIN: Duration = Duration::from_secs(5);

/// Measures events that come like that for that long, with a share of attacks (in permille) and metrics
/// beside them; the platform answers within 250 ms and makes a rule of every attack.
#[must_use]
pub fn measure(arrivals: Arrivals, attacks: u64, duration: Duration) -> Propagation {
    let mut world = world(base_config(), arrivals, mix(attacks), false);
    world.run_for(duration, Weather::Fair);
    figures(&world, Instant::ZERO, Instant::ZERO + duration.saturating_sub(MARGIN))
}

/// Measures the same around an outage in which connections are refused: fair weather for a little more than a
/// minute before it, and for `after` following it. Rules and status have an interval of a minute.
///
/// # Panics
///
/// If no event arrives after the outage.
#[must_use]
pub fn measure_outage(arrivals: Arrivals, attacks: u64, outage: Duration, after: Duration) -> Recovery {
    let mut config = base_config();
    config.status_interval = MINUTE;
    config.dynamic_rule_interval = MINUTE;
    let mut world = world(config, arrivals, mix(attacks), false);
    world.run_for(MINUTE + MARGIN, Weather::Fair);
    world.run_for(outage, Weather::Outage(Fault::Refused));
    let over = Instant::ZERO + MINUTE + MARGIN + outage;
    world.run_for(after, Weather::Fair);

    let events = || world.history.records.iter().filter(|record| record.made.kind == Kind::Event);
    let arrivals = || events().filter_map(|record| Some((record.accepted_at, record.taken_at?)));
    let first = arrivals().map(|(_, taken_at)| taken_at).filter(|at| *at >= over).min();
    let first = first.unwrap_or_else(|| panic!("nothing arrives after {outage:?}"));
    let late = arrivals().filter(|(accepted_at, taken_at)| *accepted_at < first && *taken_at > first);
    Recovery {
        noticed: first.since(over),
        drained: late.clone().map(|(_, at)| at).max().unwrap_or(first).since(first),
        backlog: late.count(),
        live: figures(&world, first, over + after.saturating_sub(MARGIN)),
    }
}

/// Measures how fast the rare events of a flood arrive at a platform that answers within 250 ms, with that
/// configuration, with a journal or without.
#[must_use]
pub fn measure_flood(
    config: AgentConfig,
    arrivals: Arrivals,
    flood: Flood,
    journal: bool,
    duration: Duration,
) -> Crowd {
    let mut world = world(config, arrivals, Mix { flood: Some(flood), ..mix(1_000) }, journal);
    world.run_for(duration, Weather::Fair);
    let end = Instant::ZERO + duration.saturating_sub(MARGIN);
    let records = || world.history.records.iter().zip(0..);
    let rare = records().filter(|(record, number)| flood.is_rare(*number) && record.accepted_at <= end);
    let delay = |record: &Fate| Some(record.taken_at?.since(record.accepted_at));
    let delays: Vec<_> = rare.map(|(record, _)| delay(record)).collect();
    let missing = delays.iter().filter(|delay| delay.is_none()).count();
    let mut delays: Vec<_> = delays.into_iter().map(|delay| delay.unwrap_or(Duration::MAX)).collect();
    delays.sort_unstable();
    let others = records().filter(|(record, number)| !flood.is_rare(*number) && record.taken_at.is_some());
    Crowd {
        rare: delays.len(),
        missing,
        p50: quantile(&delays, 500),
        p99: quantile(&delays, 990),
        max: quantile(&delays, 1_000),
        others: others.count(),
        dropped: world.workers[0].dropped(),
        busiest_minute: busiest(&world.workers[0].requests, MINUTE),
    }
}

/// The default configuration.
#[must_use]
pub fn base() -> AgentConfig {
    base_config()
}

fn mix(attacks: u64) -> Mix {
    Mix { metrics: 100, attacks, poison: 0, sizes: Sizes::Typical, flood: None }
}

fn world(mut config: AgentConfig, arrivals: Arrivals, mix: Mix, journal: bool) -> World {
    config.project_id = Some(String::from("simulated"));
    config.compression_enabled = false;
    let scenario = Scenario {
        config,
        journal,
        workers: 1,
        faulty: Duration::MAX,
        records: u64::MAX,
        arrivals,
        mix,
        slowest: Duration::from_millis(250),
        faults: vec![(Fault::Slow, 1)],
        weather_every: Duration::MAX,
        nemesis: vec![(Act::Nudge, 1)],
        nemesis_every: Duration::MAX,
        store_permille: 0,
        store_faults: vec![(StoreFault::Slow, 1)],
        troubles: vec![(Trouble::Restart, 1)],
        trouble_every: None,
        store_clock: 1_000,
        store_slowest: Duration::from_millis(2),
        body_limit: BODY_LIMIT,
        tags: true,
        timer_first: false,
        front: None,
        front_stays: false,
        naming: Naming::Nothing,
        quota: None,
        rules_on_attack: true,
        receipts: false,
    };
    World::with(scenario, Rng::new(1), None, false)
}

/// The events that were accepted between `from` and `end`, and everybody's requests since `from`.
fn figures(world: &World, from: Instant, end: Instant) -> Propagation {
    let counts = |at: Instant| from <= at && at <= end;
    let mut delays: Vec<Duration> = world
        .history
        .records
        .iter()
        .filter(|record| record.made.kind == Kind::Event && counts(record.accepted_at))
        .map(|record| record.taken_at.unwrap_or(Instant::FAR_FUTURE).since(record.accepted_at))
        .collect();
    delays.sort_unstable();
    let reactions = world.reactions.iter().filter(|(at, _)| counts(*at));
    let mut reactions: Vec<Duration> = reactions.map(|(_, time)| *time).collect();
    reactions.sort_unstable();
    let requests = &world.workers[0].requests;
    let late = |endpoint| {
        let calls = requests.iter().filter(|(at, to)| *to == endpoint && from <= *at).map(|(at, _)| *at);
        let gaps = calls.clone().zip(calls.skip(1)).map(|(before, after)| after.since(before));
        gaps.max().unwrap_or_default().saturating_sub(MINUTE)
    };
    Propagation {
        events: delays.len(),
        p50: quantile(&delays, 500),
        p99: quantile(&delays, 990),
        max: quantile(&delays, 1_000),
        busiest_minute: busiest(requests, MINUTE),
        reaction_p99: quantile(&reactions, 990),
        reaction_max: quantile(&reactions, 1_000),
        rules_late: late(Endpoint::Rules),
        status_late: late(Endpoint::Status),
    }
}

/// Zero if there is none.
fn quantile(sorted: &[Duration], permille: usize) -> Duration {
    let index = (sorted.len() * permille / 1_000).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

fn busiest(requests: &[(Instant, Endpoint)], window: Duration) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, (at, _)) in requests.iter().enumerate() {
        while at.since(requests[first].0) > window {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}
