use std::time::Duration;

use guard_agent_proto::{AgentConfig, DrainOrder, OverflowPolicy, Secret};

use super::application::{Arrivals, Mix, Sizes};
use super::front::{Front, Naming, Quota};
use super::network::Fault;
use super::platform::BODY_LIMIT;
use super::rng::Rng;
use super::store::{StoreFault, Trouble};

/// One run of the world, as drawn from its seed: swarm testing, so that what is rare in most runs
/// dominates in some, and what hides others is absent in some.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The configuration of the agent.
    pub config: AgentConfig,
    /// Whether there is a store for the journal.
    pub journal: bool,
    /// How many workers share the platform and the store.
    pub workers: usize,
    /// How long the faults last.
    pub faulty: Duration,
    /// How many records the application makes at most while they last.
    pub records: u64,
    /// When the application makes them.
    pub arrivals: Arrivals,
    /// What they are.
    pub mix: Mix,
    /// Slowest round trip in fair weather.
    pub slowest: Duration,
    pub(crate) faults: Vec<(Fault, u32)>,
    pub(crate) weather_every: Duration,
    pub(crate) nemesis: Vec<(Act, u32)>,
    pub(crate) nemesis_every: Duration,
    /// Chance that a store operation meets a fault, in permille, and which.
    pub(crate) store_permille: u64,
    pub(crate) store_faults: Vec<(StoreFault, u32)>,
    /// How long an operation takes at most there, and back.
    pub(crate) store_slowest: Duration,
    /// What happens to the store now and then.
    pub(crate) troubles: Vec<(Trouble, u32)>,
    pub(crate) trouble_every: Option<Duration>,
    /// How fast its clock runs, in permille.
    pub(crate) store_clock: u32,
    pub(crate) body_limit: usize,
    pub(crate) tags: bool,
    pub(crate) timer_first: bool,
    /// A firewall before the platform, and whether it still stands there when everything else is well.
    pub(crate) front: Option<Front>,
    pub(crate) front_stays: bool,
    /// How the platform names what it refuses.
    pub(crate) naming: Naming,
    /// What the account may send while the faults last.
    pub(crate) quota: Option<Quota>,
    /// Whether the platform makes new rules of every attack.
    pub(crate) rules_on_attack: bool,
    /// Whether every record asks for a receipt.
    pub(crate) receipts: bool,
}

/// What is done to the agent from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Flush,
    RefreshRules,
    CredentialsChanged,
    /// A wake-up before its time.
    Nudge,
    /// The same instant several times over.
    Stutter,
    /// The whole process stands still for a while.
    Suspend,
    /// The wall clock is set.
    SetClock,
    /// An answer to a request that never was.
    StrayAnswer,
    /// Records that were given up before they were encoded, and such that never were accepted.
    LostBefore,
    /// Other rules.
    ChangeRules,
    /// Shutdown with a deadline, and a new start.
    Restart,
    /// The process is gone, and comes back.
    Crash,
    /// The same, in the midst of what it does.
    CrashMidway,
    /// The application waits until everything is durable.
    Persist,
}

impl Act {
    const ALL: [Self; 14] = [
        Self::Flush,
        Self::RefreshRules,
        Self::CredentialsChanged,
        Self::Nudge,
        Self::Stutter,
        Self::Suspend,
        Self::SetClock,
        Self::StrayAnswer,
        Self::LostBefore,
        Self::ChangeRules,
        Self::Restart,
        Self::Crash,
        Self::CrashMidway,
        Self::Persist,
    ];
}

impl Scenario {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let faulty = rng.weighted(&[
            (Duration::from_secs(60), 3),
            (Duration::from_secs(600), 5),
            (Duration::from_secs(3_600), 2),
            (Duration::from_secs(86_400), 1),
        ]);
        let records = rng.weighted(&[(20, 2), (300, 5), (1_500, 2), (6_000, 1)]);
        let gap = faulty / u32::try_from(records).unwrap_or(1);
        let arrivals = match rng.below(3) {
            0 => Arrivals::Steady(gap),
            1 => Arrivals::Poisson(gap),
            _ => {
                let size = rng.between(2, records.max(2) / 2 + 2);
                Arrivals::Bursts { every: gap * u32::try_from(size / 2 + 1).unwrap_or(1), size }
            }
        };
        let sizes = rng.weighted(&[(Sizes::Typical, 3), (Sizes::Mixed, 5), (Sizes::Wild, 2)]);
        let poison = rng.weighted(&[(0, 4), (3, 3), (30, 2), (500, 1)]);
        let mut config = config(rng);
        let journal = rng.chance(500);
        if journal {
            let bad = records * poison / 1_000;
            configure_journal(&mut config, faulty, bad, rng);
        }
        let body_limit = if rng.chance(850) { BODY_LIMIT } else { rng.pick(&[2_000, 20_000, 100_000]) };
        Self {
            journal,
            workers: if journal { rng.weighted(&[(1, 5), (2, 3), (3, 2)]) } else { 1 },
            faulty,
            records,
            arrivals,
            mix: Mix {
                metrics: rng.pick(&[0, 200, 500, 1_000]),
                attacks: rng.pick(&[0, 20, 500, 1_000]),
                poison,
                sizes,
                flood: None,
            },
            slowest: rng.pick(&[
                Duration::from_millis(20),
                Duration::from_millis(250),
                Duration::from_secs(3),
            ]),
            faults: swarm(rng, &Fault::ALL),
            weather_every: faulty / u32::try_from(rng.between(1, 12)).unwrap_or(1),
            nemesis: swarm(rng, &Act::ALL),
            nemesis_every: faulty / u32::try_from(rng.pick(&[1_u64, 5, 30, 200])).unwrap_or(1),
            store_permille: rng.pick(&[0, 0, 50, 500, 950]),
            store_faults: swarm(rng, &StoreFault::ALL),
            troubles: swarm(rng, &Trouble::ALL),
            trouble_every: rng.chance(500).then(|| faulty / rng.pick(&[1, 3, 20])),
            store_clock: rng.pick(&[1_000, 1_000, 1_000, 990, 1_010, 900, 1_100]),
            store_slowest: rng.pick(&[
                Duration::from_millis(2),
                Duration::from_millis(500),
                Duration::from_secs(20),
            ]),
            body_limit,
            tags: rng.chance(500),
            timer_first: rng.chance(500),
            rules_on_attack: rng.chance(300),
            receipts: rng.chance(300),
            // It cannot read what is encrypted.
            front: (rng.chance(250) && config.project_encryption_key.is_none()).then(|| Front::draw(rng)),
            front_stays: rng.chance(500),
            naming: rng.pick(&Naming::ALL),
            quota: rng.chance(50).then(|| Quota::new(5, Duration::from_secs(20))),
            config,
        }
    }

    /// Whether the store may lose what it acknowledged.
    pub(crate) fn may_lose(&self) -> bool {
        self.journal
            && self.trouble_every.is_some()
            && self.troubles.iter().any(|(trouble, weight)| *weight > 0 && trouble.loses())
    }

    /// Share of the records that somebody refuses, in permille.
    pub(crate) fn refused(&self) -> u64 {
        self.mix.poison + self.front.map_or(0, |front| front.permille)
    }

    /// Whether a record may be given up as refused although the platform would take it.
    pub(crate) fn may_blame_content(&self) -> bool {
        self.faults.iter().any(|(fault, weight)| *weight > 0 && fault.blames_content())
            || self.body_limit < BODY_LIMIT
    }
}

/// Some choices off, some likely, some dominating; never all off.
pub(crate) fn swarm<T: Copy>(rng: &mut Rng, all: &[T]) -> Vec<(T, u32)> {
    let mut weights: Vec<_> = all.iter().map(|choice| (*choice, rng.pick(&[0, 0, 0, 1, 1, 3, 30]))).collect();
    if weights.iter().all(|(_, weight)| *weight == 0) {
        let index = rng.index(weights.len());
        weights[index].1 = 1;
    }
    weights
}

fn config(rng: &mut Rng) -> AgentConfig {
    let mut config = base_config();
    config.project_id = rng.chance(700).then(|| String::from("simulated"));
    // The bytes are read by a platform that does not inflate.
    config.compression_enabled = false;
    if rng.chance(400) {
        return config;
    }
    config.buffer_size = rng.pick(&[50, 500, 5_000, 32_768]);
    config.buffer_bytes = rng.pick(&[600_000, 4_000_000, 64 << 20]);
    config.buffer_overflow_policy = rng.pick(&[OverflowPolicy::Drop, OverflowPolicy::Raise]);
    config.flush_interval = Duration::from_secs(rng.pick(&[1, 30, 300]));
    config.event_linger = Duration::from_millis(rng.pick(&[0, 50, 2_000]));
    config.batch_max_records = rng.pick(&[1, 10, 200, 2_000]);
    config.batch_max_bytes = rng.pick(&[20_000, 100_000, BODY_LIMIT]);
    config.drain = rng.pick(&[DrainOrder::LiveFirst, DrainOrder::Fifo]);
    config.max_concurrent_flushes = rng.pick(&[1, 2, 4]);
    config.rate_limit = rng.pick(&[10, 30, 100]);
    config.rate_window = Duration::from_secs(rng.pick(&[10, 60]));
    config.retry_attempts = rng.pick(&[0, 1, 3, 10]);
    config.backoff_factor =
        rng.pick(&[Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(10)]);
    config.breaker_threshold = rng.pick(&[1, 3, 5, 20]);
    config.timeout = Duration::from_secs(rng.pick(&[5, 30]));
    config.connect_timeout = config.connect_timeout.min(config.timeout);
    config.status_interval = Duration::from_secs(rng.pick(&[60, 300]));
    config.dynamic_rule_interval = Duration::from_secs(rng.pick(&[60, 300]));
    if rng.chance(200) {
        config.max_record_age = Some(Duration::from_secs(rng.pick(&[60, 3_600])));
    }
    if rng.chance(50) {
        config.project_encryption_key = Some(Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="));
    }
    config
}

/// Little memory and long outages for some, short leases and small quotas for others.
fn configure_journal(config: &mut AgentConfig, faulty: Duration, bad: u64, rng: &mut Rng) {
    if rng.chance(500) {
        config.buffer_size = rng.pick(&[8, 50, 500]);
    }
    if rng.chance(300) {
        // One of the short ones makes an idle agent look around several times a second, and renew each stream that it
        // adopted as often: a world where that takes hours, or where thousands of bad records take hours to be found, does
        // not come to an end.
        let is_long = faulty > Duration::from_secs(600) || bad > 100;
        let leases: &[u64] = if is_long { &[10, 30, 300] } else { &[1, 5, 30, 300] };
        config.journal_lease = Duration::from_secs(rng.pick(leases));
    }
    if rng.chance(200) {
        config.journal_records = rng.pick(&[1, 3, 10]) * config.buffer_size as u64;
    }
    config.journal_timeout = Duration::from_millis(rng.pick(&[500, 5_000]));
}

/// The defaults, and a key that must not show anywhere.
pub(crate) fn base_config() -> AgentConfig {
    let built = AgentConfig::builder(API_KEY).build();
    built.unwrap_or_else(|error| panic!("the defaults are valid: {error}"))
}

pub(crate) const API_KEY: &str = "simulated-api-key";
