use std::time::Duration;

use guard_agent_proto::Instant;

use super::application::{Arrivals, Mix, Sizes};
use super::network::Fault;
use super::platform::BODY_LIMIT;
use super::rng::Rng;
use super::scenario::{Act, Scenario, base_config};
use super::store::{StoreFault, Trouble};
use super::world::World;

/// How fast events arrive in fair weather, with the default configuration.
#[derive(Clone, Copy, Debug)]
pub struct Propagation {
    /// Events that arrived.
    pub events: usize,
    /// From acceptance to arrival, median.
    pub p50: Duration,
    /// From acceptance to arrival, of 99 in 100.
    pub p99: Duration,
    /// From acceptance to arrival, the slowest.
    pub max: Duration,
    /// Most requests in any window of 60 seconds.
    pub busiest_minute: usize,
    /// From the acceptance of an attack to the rule against it, of 99 in 100; zero without attacks.
    pub reaction_p99: Duration,
    /// The same, the slowest.
    pub reaction_max: Duration,
}

/// Measures events that come like that for that long, with a share of attacks (in permille) and metrics
/// beside them; the platform answers within 250 ms and makes a rule of every attack.
#[must_use]
pub fn measure(arrivals: Arrivals, attacks: u64, duration: Duration) -> Propagation {
    let mut config = base_config();
    config.project_id = Some(String::from("simulated"));
    config.compression_enabled = false;
    let scenario = Scenario {
        config,
        journal: false,
        workers: 1,
        faulty: duration,
        records: u64::MAX,
        arrivals,
        mix: Mix { metrics: 100, attacks, poison: 0, sizes: Sizes::Typical },
        slowest: Duration::from_millis(250),
        faults: vec![(Fault::Slow, 1)],
        weather_every: duration,
        nemesis: vec![(Act::Nudge, 1)],
        nemesis_every: duration,
        store_permille: 0,
        store_faults: vec![(StoreFault::Slow, 1)],
        troubles: vec![(Trouble::Restart, 1)],
        trouble_every: None,
        store_clock: 1_000,
        store_slowest: Duration::from_millis(2),
        body_limit: BODY_LIMIT,
        tags: true,
        timer_first: false,
        rules_on_attack: true,
        receipts: false,
    };
    let mut world = World::with(scenario, Rng::new(1), None, false);
    world.run_for(duration);

    // What came in the last seconds may still be on its way.
    let end = Instant::ZERO + duration.saturating_sub(Duration::from_secs(5));
    let mut delays: Vec<Duration> = world
        .history
        .records
        .iter()
        .filter(|record| record.made.kind == guard_agent_proto::Kind::Event && record.accepted_at <= end)
        .map(|record| record.taken_at.unwrap_or(Instant::FAR_FUTURE).since(record.accepted_at))
        .collect();
    delays.sort_unstable();
    world.reactions.sort_unstable();
    Propagation {
        events: delays.len(),
        p50: quantile(&delays, 500),
        p99: quantile(&delays, 990),
        max: quantile(&delays, 1_000),
        busiest_minute: busiest(&world.workers[0].requests, Duration::from_secs(60)),
        reaction_p99: quantile(&world.reactions, 990),
        reaction_max: quantile(&world.reactions, 1_000),
    }
}

/// Zero if there is none.
fn quantile(sorted: &[Duration], permille: usize) -> Duration {
    let index = (sorted.len() * permille / 1_000).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

fn busiest(requests: &[Instant], window: Duration) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, at) in requests.iter().enumerate() {
        while at.since(requests[first]) >= window {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}
