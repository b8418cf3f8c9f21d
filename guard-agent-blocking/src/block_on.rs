//! Futures on plain threads: a thread runs one to its end, and sleeps while there is nothing to do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

/// Runs the future on this thread. A [`Sleep`] in it ends in time.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        match TIMERS.with_borrow_mut(Timers::fire) {
            Some(next) => thread::park_timeout(next.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static TIMERS: RefCell<Timers> = const { RefCell::new(Timers { waiting: BTreeMap::new(), next: 0 }) };
}

/// Whom to wake when, on this thread.
struct Timers {
    waiting: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

impl Timers {
    fn add(&mut self, at: Instant, waker: Waker) -> u64 {
        self.next += 1;
        self.waiting.insert((at, self.next), waker);
        self.next
    }

    /// Wakes those whose time has come. When the next one's comes.
    fn fire(&mut self) -> Option<Instant> {
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 > Instant::now() {
                return Some(first.key().0);
            }
            first.remove().wake();
        }
        None
    }
}

/// Ends at a time; only under [`block_on`].
#[derive(Debug)]
pub(crate) struct Sleep {
    /// `None`: never.
    until: Option<Instant>,
    timer: Option<u64>,
}

impl Sleep {
    pub(crate) const fn until(until: Option<Instant>) -> Self {
        Self { until, timer: None }
    }

    fn cancel(&mut self) {
        if let (Some(until), Some(timer)) = (self.until, self.timer.take()) {
            // At the end of a thread there are no timers any more.
            let _ = TIMERS.try_with(|timers| timers.borrow_mut().waiting.remove(&(until, timer)));
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.until else { return Poll::Pending };
        self.cancel();
        if until <= Instant::now() {
            return Poll::Ready(());
        }
        self.timer = Some(TIMERS.with_borrow_mut(|timers| timers.add(until, cx.waker().clone())));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    fn in_millis(millis: u64) -> Sleep {
        Sleep::until(Some(Instant::now() + Duration::from_millis(millis)))
    }

    fn waiting() -> usize {
        TIMERS.with_borrow(|timers| timers.waiting.len())
    }

    #[test]
    fn a_sleep_ends_in_time_and_leaves_nothing_behind() {
        let start = Instant::now();
        block_on(in_millis(5));
        assert!(start.elapsed() >= Duration::from_millis(5));
        block_on(in_millis(0));
        assert_eq!(waiting(), 0);
    }

    #[test]
    fn the_earlier_of_two_ends_first_and_the_other_is_cancelled() {
        let mut sleeps = [in_millis(60_000), in_millis(1)];
        let first = block_on(poll_fn(|cx| {
            let ended = sleeps.iter_mut().position(|sleep| Pin::new(sleep).poll(cx).is_ready());
            ended.map_or(Poll::Pending, Poll::Ready)
        }));
        assert_eq!((first, waiting()), (1, 1));
        drop(sleeps);
        assert_eq!(waiting(), 0);
    }

    #[test]
    fn another_thread_wakes_it() {
        let mut woken = false;
        block_on(poll_fn(|cx| {
            if woken {
                return Poll::Ready(());
            }
            woken = true;
            let waker = cx.waker().clone();
            thread::spawn(move || waker.wake());
            Poll::Pending
        }));
    }
}
