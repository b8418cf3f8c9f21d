#[cfg(feature = "redis")]
use std::sync::Arc;

#[cfg(feature = "redis")]
use guard_agent_proto::shell::Store;
use guard_agent_proto::shell::{Backend, BoxFuture, MonotonicClock, Runtime, StartError};
use guard_agent_proto::{Instant, Now};
use smol::Timer;

use crate::{Agent, HyperClient};
#[cfg(feature = "redis")]
use crate::{ConfigError, RedisOptions, RedisStore};

/// smol: its global executor, its timers and its threads for blocking work.
#[derive(Clone, Copy, Debug)]
pub struct Smol(MonotonicClock);

impl Runtime for Smol {
    fn now(&self) -> Now {
        self.0.now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let timer = self.0.at(deadline).map_or_else(Timer::never, Timer::at);
        Box::pin(async move {
            timer.await;
        })
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        Box::pin(smol::unblock(work))
    }
}

impl Backend for Smol {
    type Client = HyperClient;
    type Agent = Agent;

    fn current() -> Result<Self, StartError> {
        Ok(Self(MonotonicClock::start()))
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

/// async-std's executor; timers and threads are smol's.
#[cfg(feature = "async-std")]
#[derive(Clone, Copy, Debug)]
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
