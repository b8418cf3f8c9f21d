use std::fmt;
#[cfg(feature = "redis")]
use std::sync::Arc;
use std::thread;

#[cfg(feature = "redis")]
use guard_agent_proto::shell::Store;
use guard_agent_proto::shell::{Backend, BoxFuture, MonotonicClock, Runtime, StartError, Workers};
use guard_agent_proto::{Instant, Now};

use crate::alarm::Alarm;
use crate::block_on::{Sleep, block_on};
use crate::{Agent, UreqClient};
#[cfg(feature = "redis")]
use crate::{ConfigError, RedisOptions, RedisStore};

/// Plain threads: one that drives the agent, and others while calls block.
#[derive(Clone)]
pub struct Threads {
    clock: MonotonicClock,
    workers: Workers,
    alarm: Alarm,
}

impl Runtime for Threads {
    const MAY_BLOCK: bool = true;

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(Sleep::until(self.clock.at(deadline), self.alarm.clone()))
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.workers.offload(work)
    }
}

impl Backend for Threads {
    type Client = UreqClient;
    type Agent = Agent;

    fn current() -> Result<Self, StartError> {
        Ok(Self { clock: MonotonicClock::start(), workers: Workers::default(), alarm: Alarm::default() })
    }

    fn spawn(&self, driver: BoxFuture<'static, ()>) -> Result<(), StartError> {
        let thread = thread::Builder::new().name("guard-agent".into());
        let spawned = thread.spawn(move || block_on(driver));
        spawned.map(drop).map_err(|error| StartError::NoThread(error.to_string()))
    }

    #[cfg(feature = "redis")]
    fn redis(options: &RedisOptions) -> Result<Arc<dyn Store>, ConfigError> {
        Ok(Arc::new(RedisStore::new(options)?))
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}
