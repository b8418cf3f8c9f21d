use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::bug::Bug;
use super::world::{Outcome, World};

/// The one line that repeats the run of a seed.
#[must_use]
pub fn replay_line(seed: u64) -> String {
    format!("SIM_SEED={seed} cargo test -p guard-agent-tests --test simulation replay -- --nocapture")
}

/// A number from the environment.
///
/// # Panics
///
/// If it is there and is not a number.
#[must_use]
pub fn environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a decimal number, not `{value}`")))
}

/// One world, from its seed alone.
///
/// # Panics
///
/// When an invariant does not hold; the line that repeats it is printed first.
pub fn run_one(seed: u64, bug: Option<Bug>, print: bool) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| World::new(seed, bug, print).live())) {
        Ok(outcome) => outcome,
        Err(panic) => {
            report(seed);
            resume_unwind(panic)
        }
    }
}

/// The world of that seed, with somebody who can write to the store; `None` if it has none.
///
/// # Panics
///
/// As [`run_one`], with the seed.
pub fn run_visited(seed: u64, print: bool) -> Option<Outcome> {
    let world = World::new(seed, None, print).visited(seed);
    if !world.has_journal() {
        return None;
    }
    match catch_unwind(AssertUnwindSafe(|| world.live())) {
        Ok(outcome) => Some(outcome),
        Err(panic) => {
            report(seed);
            resume_unwind(panic)
        }
    }
}

/// That many worlds, on all processors. Stops at the first failure.
///
/// # Panics
///
/// As [`run_one`].
#[must_use]
pub fn run_many(first: u64, count: u64) -> Vec<Outcome> {
    let next = AtomicU64::new(first);
    let outcomes = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return Ok(());
                }
                match catch_unwind(|| World::new(seed, None, false).live()) {
                    Ok(outcome) => {
                        if let Ok(mut outcomes) = outcomes.lock() {
                            outcomes.push(outcome);
                        }
                    }
                    Err(panic) => {
                        // The others finish their seed and stop.
                        next.store(first + count, Ordering::Relaxed);
                        return Err((seed, panic));
                    }
                }
            }
        };
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut failure = None;
        for handle in handles {
            if let Ok(Err(failed)) = handle.join() {
                failure = Some(failed);
            }
        }
        if let Some((seed, panic)) = failure {
            report(seed);
            resume_unwind(panic);
        }
    });
    outcomes.into_inner().unwrap_or_default()
}

#[expect(clippy::print_stderr, reason = "the line that repeats a failure")]
fn report(seed: u64) {
    eprintln!("{}", replay_line(seed));
}
