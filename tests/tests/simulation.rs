//! The agent's core through thousands of simulated outages. `SIM_SEEDS` sets how many, `SIM_FIRST` the
//! first one; `SIM_SEED` replays one with its whole trace.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::panic::catch_unwind;
use std::time::Duration;

use guard_agent_tests::sim::{
    Arrivals, Bug, Flood, Invariant, World, base, crash_after_each_effect, environment, measure,
    measure_flood, measure_outage, replay_line, run_many, run_one, run_visited,
};

#[test]
fn every_seed_holds_all_invariants_and_converges() {
    let count = environment("SIM_SEEDS").unwrap_or(1_000);
    let outcomes = run_many(environment("SIM_FIRST").unwrap_or(0), count);

    assert_eq!(outcomes.len() as u64, count);
    let made: u64 = outcomes.iter().map(|outcome| outcome.made).sum();
    let taken: u64 = outcomes.iter().map(|outcome| outcome.taken).sum();
    let runs: u64 = outcomes.iter().map(|outcome| u64::from(outcome.runs)).sum();
    let slowest = outcomes.iter().map(|outcome| outcome.converged_in).max();
    println!("{count} worlds, {runs} agents, {made} records made, {taken} taken, slowest peace {slowest:?}");
    assert!(count < 100 || taken > made / 2, "the worlds are too hostile to show anything");
}

/// He adds garbage and copies, deletes streams, and says that he adopted them. What is only in memory is sent or counted all
/// the same. `SIM_VISIT=seed` replays one.
#[test]
fn somebody_who_can_write_to_the_journal_makes_no_record_vanish_untold() {
    if let Some(seed) = environment("SIM_VISIT") {
        println!("{:?}", run_visited(seed, true));
        return;
    }
    let count = environment("SIM_VISITS").unwrap_or(40);
    let outcomes: Vec<_> = (0..count).filter_map(|seed| run_visited(seed, false)).collect();
    let made: u64 = outcomes.iter().map(|outcome| outcome.made).sum();
    let taken: u64 = outcomes.iter().map(|outcome| outcome.taken).sum();
    println!("{} worlds of {count}, {made} records made, {taken} taken", outcomes.len());
    assert!(outcomes.len() as u64 > count / 4 && taken > made / 2);
}

/// Where the crashes of other worlds come at random, those of these come everywhere.
#[test]
fn a_process_may_end_after_any_effect() {
    for seed in 0..environment("SIM_CRASHES").unwrap_or(4) {
        println!("world {seed}: {} effects", crash_after_each_effect(seed));
    }
}

/// `SIM_SEED=… cargo test -p guard-agent-tests --test simulation replay -- --nocapture`
#[test]
fn replay() {
    let seed = environment("SIM_SEED");
    println!("{:?}", run_one(seed.unwrap_or(1), None, seed.is_some()));
}

/// Which invariants fail how often, with the first seed of each: for work on the core.
#[test]
#[ignore = "a survey of failures, not a test"]
fn survey() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut failures: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let first = environment("SIM_FIRST").unwrap_or(0);
    for seed in first..first + environment("SIM_SEEDS").unwrap_or(300) {
        let Err(panic) = catch_unwind(|| World::new(seed, None, false).live()) else { continue };
        let message = panic.downcast_ref::<String>().map_or("?", String::as_str);
        let what = message.split_once(": ").map_or(message, |(_, what)| what);
        let what: String = what.lines().next().unwrap_or_default().chars().take(200).collect();
        let name = what.split(':').next().unwrap_or_default().to_owned();
        let entry = failures.entry(name).or_insert_with(|| {
            println!("seed {seed}: {what}");
            (0, seed)
        });
        entry.0 += 1;
    }
    println!("{failures:#?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..40 {
        assert_eq!(run_one(seed, None, false), run_one(seed, None, false), "seed {seed}");
    }
}

#[test]
fn different_seeds_give_different_traces() {
    let outcomes = run_many(0, 20);
    let mut digests: Vec<_> = outcomes.iter().map(|outcome| outcome.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), outcomes.len());
}

/// The canary: each invariant is the first to find a planted bug. `SIM_SABOTAGE=100` looks at as many worlds of each bug,
/// from `SIM_FIRST` on, and says who finds it how often.
#[test]
fn planted_bugs_are_found_by_each_invariant() {
    let mut proven = BTreeSet::new();
    for (bug, invariant, seed) in Bug::ALL {
        // A change of the agent may make another world of that seed.
        let finds = |seed: &u64| World::new(*seed, Some(*bug), false).first_violation() == Some(*invariant);
        let found = iter::once(*seed).chain(0..1_000).find(finds);
        let found = found.unwrap_or_else(|| panic!("{bug} is not found by `{invariant}`"));
        if found != *seed {
            println!("{bug} is found in world {found}, no longer in {seed}");
        }
        proven.insert(*invariant);
    }
    assert_eq!(proven.into_iter().collect::<Vec<_>>(), Invariant::ALL, "those that are shown to fire");

    let Some(worlds) = environment("SIM_SABOTAGE") else { return };
    let first = environment("SIM_FIRST").unwrap_or(10_000_000);
    let mut caught = 0;
    for (bug, ..) in Bug::ALL {
        let mut finders: BTreeMap<String, u64> = BTreeMap::new();
        for seed in first..first + worlds {
            if let Some(finder) = World::new(seed, Some(*bug), false).first_violation() {
                *finders.entry(finder.to_string()).or_default() += 1;
            }
        }
        caught += usize::from(!finders.is_empty());
        println!("{bug}: {finders:?} of {worlds}");
    }
    println!(
        "{} wrongs of the agent in {worlds} fresh worlds each, {caught} caught; all in known ones",
        Bug::ALL.len()
    );
}

#[test]
fn the_line_that_replays_a_seed() {
    assert_eq!(
        replay_line(1234),
        "SIM_SEED=1234 cargo test -p guard-agent-tests --test simulation replay -- --nocapture"
    );
}

/// From 1 event per minute to 400 per second, within 100 requests in any minute: p99 under 1 s when calm
/// (0.79 s measured) and hardly more under attack (1.03 s measured, where rules take their share of the
/// requests); from attack to rule in under 3 s for 99 in 100 (the slowest measured: 3.19 s).
#[test]
fn events_arrive_in_about_a_second_at_any_rate() {
    let per_second = [1.0 / 60.0, 0.1, 0.5, 1.0, 1.4, 2.0, 5.0, 20.0, 100.0, 400.0];
    let gaps = per_second.into_iter().map(|rate| Duration::from_secs_f64(1.0 / rate));
    let mut broken = Vec::new();
    for gap in gaps {
        for attacks in [0, 50, 1_000] {
            for arrivals in [Arrivals::Steady(gap), Arrivals::Poisson(gap)] {
                let events = 2_000;
                let duration = (gap * events).clamp(Duration::from_secs(180), Duration::from_secs(36_000));
                let figures = measure(arrivals, attacks, duration);
                println!("{arrivals:?}, {attacks} permille attacks: {figures:?}");
                let promised = Duration::from_millis(if attacks == 0 { 1_000 } else { 1_060 });
                if figures.p99 >= promised
                    || figures.busiest_minute > 100
                    || attacks == 1_000 && figures.reaction_p99 >= Duration::from_secs(3)
                    || figures.reaction_max >= Duration::from_millis(3_300)
                {
                    broken.push((arrivals, attacks, figures));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What the platform did not get during an outage does not delay what is new, and nobody pays for it: of the events
/// that are accepted after the first arrival, 99 in 100 arrive within a second, and all that had been accepted before
/// is there within three seconds after an outage of twenty. Under an attack that lasts, events and rules need the whole
/// window, so that a few requests at the wrong time show (1.20 s measured) and a backlog leaves at the pace.
/// `SIM_OUTAGES=1` measures all outages from 5 s to 10 min at all rates from 1 to 400 a second; there, 400 a second after
/// minutes without a platform need more than the window has (1.37 s measured, under attack 2.4 s).
#[test]
fn new_events_arrive_in_a_second_while_a_backlog_drains() {
    let grid = [5, 20, 60, 180, 600].map(|outage| [1, 5, 20, 100, 250, 400].map(|rate| (outage, rate)));
    let all = environment("SIM_OUTAGES").is_some();
    let cases = if all { grid.concat() } else { vec![(5, 20), (20, 250), (60, 1), (60, 100)] };
    let after = Duration::from_secs(if all { 180 } else { 90 });
    let mut broken = Vec::new();
    for (outage, rate) in cases {
        let (outage, gap) = (Duration::from_secs(outage), Duration::from_secs(1) / rate);
        for attacks in [0, 50] {
            for arrivals in [Arrivals::Steady(gap), Arrivals::Poisson(gap)] {
                let figures = measure_outage(arrivals, attacks, outage, after);
                println!("{outage:?}, {arrivals:?}, {attacks} permille attacks: {figures:?}");
                let live = figures.live;
                let promised = Duration::from_millis(if attacks == 0 { 1_000 } else { 1_300 });
                let backlog = attacks == 0 && outage <= Duration::from_secs(20) && rate <= 250;
                if live.p99 >= promised
                    || live.busiest_minute > 100
                    || live.rules_late + live.status_late > Duration::from_secs(2)
                    || live.reaction_max > Duration::from_secs(5)
                    || backlog && figures.drained > Duration::from_secs(3)
                {
                    broken.push((outage, arrivals, attacks, figures));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// A flood of ten times what the platform takes, of one type or of many, delays no other type: of the reports that
/// come every three seconds among 2,000 events a second, 99 in 100 arrive within two seconds (the slowest measured:
/// 1.52 s), and none is given up, with a journal or without, in a small memory or the default one. `SIM_FLOOD=1`
/// measures five minutes of each instead of half of one of some.
#[test]
fn a_flood_of_other_types_delays_no_report() {
    let all = environment("SIM_FLOOD").is_some();
    let duration = Duration::from_secs(if all { 300 } else { 30 });
    let grid = [1, 40]
        .map(|types| [65_536, 1_000, 100].map(|size| [false, true].map(|journal| (types, size, journal))));
    let cases = if all {
        grid.concat().concat()
    } else {
        vec![(1, 65_536, false), (1, 1_000, true), (1, 100, false), (40, 65_536, true)]
    };
    let mut broken = Vec::new();
    for (types, buffer_size, journal) in cases {
        let mut config = base();
        config.buffer_size = buffer_size;
        let flood = Flood { types, rare: 6_000, bytes: 1_300 };
        let arrivals = Arrivals::Steady(Duration::from_micros(500));
        let figures = measure_flood(config, arrivals, flood, journal, duration);
        println!("{types} types, {buffer_size} in memory, journal {journal}: {figures:?}");
        if figures.missing > 0 || figures.p99 >= Duration::from_secs(2) || figures.busiest_minute > 100 {
            broken.push((types, buffer_size, journal, figures));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
