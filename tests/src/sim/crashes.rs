use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use guard_agent_proto::DrainOrder;

use super::application::{Arrivals, Mix, Sizes};
use super::front::Naming;
use super::network::Fault;
use super::platform::BODY_LIMIT;
use super::rng::Rng;
use super::scenario::{Act, Scenario, base_config};
use super::store::{StoreFault, Trouble};
use super::world::World;

/// Lives a small world once for each of its effects, and ends the process after that one. How many there are.
///
/// Two workers share a journal and have memory for a few records each. The platform is away, refuses and loses
/// answers, the store loses answers, and now and then a worker shuts down: so a process ends before and after
/// every append, seal, send, removal, adoption and hand-over.
///
/// # Panics
///
/// When an invariant does not hold, with the effect and the end of the trace.
#[must_use]
pub fn crash_after_each_effect(seed: u64) -> u64 {
    let effects = World::with(scenario(seed), Rng::new(seed), None, false).live().effects;
    let next = AtomicU64::new(1);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let effect = next.fetch_add(1, Ordering::Relaxed);
                    if effect > effects {
                        return;
                    }
                    World::with(scenario(seed), Rng::new(seed), None, false).crash_after(effect).live();
                }
            });
        }
    });
    effects
}

fn scenario(seed: u64) -> Scenario {
    let mut config = base_config();
    config.compression_enabled = false;
    config.buffer_size = 8;
    config.batch_max_records = 4;
    config.flush_interval = Duration::from_secs(1);
    config.journal_lease = Duration::from_secs(5);
    config.drain = if seed.is_multiple_of(2) { DrainOrder::LiveFirst } else { DrainOrder::Fifo };
    let faulty = Duration::from_secs(60);
    Scenario {
        config,
        journal: true,
        workers: 2,
        faulty,
        records: 40,
        arrivals: Arrivals::Bursts { every: Duration::from_secs(3), size: 6 },
        mix: Mix { metrics: 300, attacks: 100, poison: 30, sizes: Sizes::Mixed, flood: None },
        slowest: Duration::from_millis(250),
        faults: vec![(Fault::Refused, 3), (Fault::LostToTimeout, 1), (Fault::Refusal, 1), (Fault::Slow, 1)],
        weather_every: faulty / 5,
        nemesis: vec![(Act::Restart, 2), (Act::Flush, 1), (Act::Persist, 1)],
        nemesis_every: faulty / 6,
        store_permille: 100,
        store_faults: vec![(StoreFault::LostReply, 1), (StoreFault::Refused, 1)],
        troubles: vec![(Trouble::Restart, 1)],
        trouble_every: None,
        store_clock: 1_000,
        store_slowest: Duration::from_millis(50),
        body_limit: BODY_LIMIT,
        tags: true,
        timer_first: false,
        front: None,
        front_stays: false,
        naming: Naming::Nothing,
        quota: None,
        rules_on_attack: false,
        receipts: true,
    }
}
