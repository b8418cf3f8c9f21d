use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guard_agent_proto::shell::{BoxFuture, Runtime};
use guard_agent_proto::{Instant, Now, Timestamp};

/// Longest sleep that is asked of tokio; what is later is asked for again.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 3_600);

/// Tokio's clock, counted from the start of the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    zero: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { zero: tokio::time::Instant::now() }
    }

    pub(crate) fn instant(self) -> Instant {
        Instant::ZERO + self.zero.elapsed()
    }
}

impl Runtime for Clock {
    fn now(&self) -> Now {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Now { instant: self.instant(), wall: Timestamp::from_unix_micros(wall) }
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let clock = *self;
        Box::pin(async move {
            loop {
                let left = deadline - clock.instant();
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
            }
        })
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let task = tokio::task::spawn_blocking(work);
        Box::pin(async move {
            // Whether it ran, the work itself tells.
            let _ = task.await;
        })
    }
}
