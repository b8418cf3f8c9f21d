//! The simulated world: the agent's core on virtual time, in bad weather.
//!
//! One [`World`] holds an application that makes records, the agent, a platform that reads the real
//! bytes, a network and a journal store between them, and a nemesis that flushes, suspends, crashes and
//! restarts. Everything happens in the order of one event heap, and every choice comes from generators
//! that one seed seeds: the same seed gives the same trace, byte for byte.
//!
//! A run has two phases. First the faults are on, and the `model::Model` checks after every
//! step what must hold at every instant. Then the faults end, and the agent must converge within a
//! bounded virtual time: nothing pending, breaker closed, healthy, journal empty.

mod application;
mod bug;
mod crashes;
mod front;
mod invariant;
mod model;
mod network;
mod platform;
mod propagation;
mod rng;
mod runner;
mod scenario;
mod schedule;
mod store;
mod subject;
mod trace;
mod world;

pub use application::{Arrivals, Flood, Mix, Sizes};
pub use bug::Bug;
pub use crashes::crash_after_each_effect;
pub use invariant::Invariant;
pub use propagation::{Crowd, Propagation, Recovery, base, measure, measure_flood, measure_outage};
pub use runner::{environment, replay_line, run_many, run_one, run_visited};
pub use scenario::Scenario;
pub use subject::Subject;
pub use world::{Outcome, World};
