//! Futures on plain threads: a thread runs one to its end, and sleeps while there is nothing to do.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::alarm::Alarm;

/// Runs the future on this thread. A [`Sleep`] in it ends in time.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let _running = Running::new();
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
    static TIMERS: RefCell<Timers> = const { RefCell::new(Timers { waiting: BTreeMap::new() }) };
    /// How many [`block_on`] run on this thread, one within the other.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// While it lives, the timers of this thread are looked at.
struct Running;

impl Running {
    fn new() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// When somebody is to be woken, and which time of all it is.
pub(crate) type TimerId = (Instant, u64);

/// Whom to wake when.
#[derive(Default)]
pub(crate) struct Timers {
    waiting: BTreeMap<TimerId, Waker>,
}

impl Timers {
    pub(crate) fn set(&mut self, timer: TimerId, waker: Waker) {
        self.waiting.insert(timer, waker);
    }

    pub(crate) fn cancel(&mut self, timer: TimerId) {
        self.waiting.remove(&timer);
    }

    /// Wakes those whose time has come. When the next one's comes.
    pub(crate) fn fire(&mut self) -> Option<Instant> {
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 > Instant::now() {
                return Some(first.key().0);
            }
            first.remove().wake();
        }
        None
    }
}

/// Ends at a time.
#[derive(Debug)]
pub(crate) struct Sleep {
    /// `None`: never.
    until: Option<Instant>,
    /// Who wakes it where no [`block_on`] does.
    alarm: Alarm,
    timer: Option<(TimerId, Place)>,
}

/// Who knows of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Thread,
    Alarm,
}

impl Sleep {
    pub(crate) const fn until(until: Option<Instant>, alarm: Alarm) -> Self {
        Self { until, alarm, timer: None }
    }

    fn cancel(&mut self) {
        match self.timer.take() {
            // At the end of a thread there are no timers any more.
            Some((timer, Place::Thread)) => {
                let _ = TIMERS.try_with(|timers| timers.borrow_mut().cancel(timer));
            }
            Some((timer, Place::Alarm)) => self.alarm.cancel(timer),
            None => {}
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(until) = self.until else { return Poll::Pending };
        self.cancel();
        if until <= Instant::now() {
            return Poll::Ready(());
        }
        let timer = (until, NEXT.fetch_add(1, Ordering::Relaxed));
        let place = if DEPTH.get() > 0 { Place::Thread } else { Place::Alarm };
        match place {
            Place::Thread => TIMERS.with_borrow_mut(|timers| timers.set(timer, cx.waker().clone())),
            Place::Alarm => self.alarm.set(timer, cx.waker()),
        }
        self.timer = Some((timer, place));
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
        Sleep::until(Some(Instant::now() + Duration::from_millis(millis)), Alarm::default())
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
