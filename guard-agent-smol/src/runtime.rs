#[cfg(feature = "redis")]
use std::sync::Arc;
use std::thread;

#[cfg(feature = "redis")]
use guard_agent_proto::shell::Store;
use guard_agent_proto::shell::{Backend, BoxFuture, MonotonicClock, Runtime, StartError, Workers};
use guard_agent_proto::{Instant, Now};
use smol::Timer;

use crate::{Agent, HyperClient};
#[cfg(feature = "redis")]
use crate::{ConfigError, RedisOptions, RedisStore};

/// smol: its global executor and its timers. What blocks has threads of the agent's own.
#[derive(Clone, Debug)]
pub struct Smol {
    clock: MonotonicClock,
    workers: Workers,
}

impl Runtime for Smol {
    fn now(&self) -> Now {
        self.clock.now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let timer = self.clock.at(deadline).map_or_else(Timer::never, Timer::at);
        Box::pin(async move {
            timer.await;
        })
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.workers.offload(work)
    }
}

impl Backend for Smol {
    type Client = HyperClient;
    type Agent = Agent;

    fn current() -> Result<Self, StartError> {
        // The executor and the timers panic where there is no thread for them.
        match thread::Builder::new().spawn(|| ()) {
            Ok(thread) => drop(thread.join()),
            Err(error) => return Err(StartError::NoThread(error.to_string())),
        }
        Ok(Self { clock: MonotonicClock::start(), workers: Workers::default() })
    }

    fn spawn(&self, driver: BoxFuture<'static, ()>) -> Result<(), StartError> {
        smol::spawn(driver).detach();
        Ok(())
    }

    #[cfg(feature = "redis")]
    fn redis(options: &RedisOptions) -> Result<Arc<dyn Store>, ConfigError> {
        Ok(Arc::new(RedisStore::new(options)?))
    }
}

/// async-std's executor; all else is as on smol.
#[cfg(feature = "async-std")]
#[derive(Clone, Debug)]
pub struct AsyncStd(Smol);

#[cfg(feature = "async-std")]
impl Runtime for AsyncStd {
    fn now(&self) -> Now {
        self.0.now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.0.sleep_until(deadline)
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.0.offload(work)
    }
}

#[cfg(feature = "async-std")]
impl Backend for AsyncStd {
    type Client = HyperClient;
    type Agent = crate::async_std::Agent;

    fn current() -> Result<Self, StartError> {
        Smol::current().map(Self)
    }

    fn spawn(&self, driver: BoxFuture<'static, ()>) -> Result<(), StartError> {
        async_std::task::spawn(driver);
        Ok(())
    }

    #[cfg(feature = "redis")]
    fn redis(options: &RedisOptions) -> Result<Arc<dyn Store>, ConfigError> {
        Smol::redis(options)
    }
}
