use std::fmt;
use std::panic::catch_unwind;
#[cfg(feature = "redis")]
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "redis")]
use guard_agent_proto::shell::Store;
use guard_agent_proto::shell::{Backend, BoxFuture, Runtime, StartError, Workers, wall_clock};
use guard_agent_proto::{Instant, Now};
use tokio::runtime::Handle;
use tokio::time::Sleep;

use crate::{Agent, ReqwestClient};
#[cfg(feature = "redis")]
use crate::{ConfigError, RedisOptions, RedisStore};

/// Longest sleep that is asked of tokio; what is later is asked for again.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 3_600);

/// A tokio runtime and its clock, counted from the start of the agent.
///
/// The runtime is known to have a timer; sleeps belong to it, wherever the caller is.
#[derive(Clone)]
pub struct Tokio {
    handle: Handle,
    zero: tokio::time::Instant,
    workers: Workers,
}

impl Tokio {
    fn instant(&self) -> Instant {
        let _entered = self.handle.enter();
        Instant::ZERO + self.zero.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let _entered = self.handle.enter();
        tokio::time::sleep(duration)
    }
}

impl Runtime for Tokio {
    fn now(&self) -> Now {
        Now { instant: self.instant(), wall: wall_clock() }
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let tokio = self.clone();
        Box::pin(async move {
            loop {
                let left = deadline - tokio.instant();
                if left.is_zero() {
                    return;
                }
                tokio.sleep(left.min(LONGEST_SLEEP)).await;
            }
        })
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let entered = self.handle.enter();
        if is_paused() {
            // While a blocking task of its own runs, the time of a runtime stands still.
            let task = self.handle.spawn_blocking(work);
            return Box::pin(async move {
                // Whether it ran, the work itself tells.
                let _ = task.await;
            });
        }
        drop(entered);
        let handle = self.handle.clone();
        self.workers.offload(Box::new(move || {
            // What runs there may use the runtime.
            let _entered = handle.enter();
            work();
        }))
    }
}

/// Whether the time of the runtime that the caller is in passes only when everybody waits, as in tests that pause it.
fn is_paused() -> bool {
    let (ours, real) = (tokio::time::Instant::now(), std::time::Instant::now());
    while std::time::Instant::now() == real {}
    tokio::time::Instant::now() == ours
}

impl Backend for Tokio {
    type Client = ReqwestClient;
    type Agent = Agent;

    fn current() -> Result<Self, StartError> {
        let handle = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        // There is no other way to ask.
        catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).map_err(|_| StartError::NoTimer)?;
        Ok(Self { handle, zero: tokio::time::Instant::now(), workers: Workers::default() })
    }

    fn spawn(&self, driver: BoxFuture<'static, ()>) -> Result<(), StartError> {
        self.handle.spawn(driver);
        Ok(())
    }

    #[cfg(feature = "redis")]
    fn redis(options: &RedisOptions) -> Result<Arc<dyn Store>, ConfigError> {
        Ok(Arc::new(RedisStore::new(options)?))
    }
}

impl fmt::Debug for Tokio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokio").finish_non_exhaustive()
    }
}
