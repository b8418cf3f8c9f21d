use std::fmt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use crate::block_on::{TimerId, Timers};

/// Wakes futures that other executors than ours run. Its thread begins with the first of them, and ends with the last
/// copy of it.
#[derive(Clone, Default)]
pub(crate) struct Alarm(Arc<Mutex<Option<Sender<Order>>>>);

enum Order {
    Set(TimerId, Waker),
    Cancel(TimerId),
}

/// How long an executor is held up at most where no thread can be had to wake it.
const BREATH: Duration = Duration::from_millis(10);

impl Alarm {
    pub(crate) fn set(&self, timer: TimerId, waker: &Waker) {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.is_none() {
            let (sender, receiver) = mpsc::channel();
            let thread = thread::Builder::new().name("guard-agent-timer".into());
            *orders = thread.spawn(move || run(&receiver)).is_ok().then_some(sender);
        }
        let is_set =
            orders.as_ref().is_some_and(|orders| orders.send(Order::Set(timer, waker.clone())).is_ok());
        // An executor may poll at once, and come back here.
        drop(orders);
        if !is_set {
            thread::sleep(BREATH.min(timer.0.saturating_duration_since(Instant::now())));
            waker.wake_by_ref();
        }
    }

    pub(crate) fn cancel(&self, timer: TimerId) {
        if let Some(orders) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Without its thread there is nothing to cancel.
            let _ = orders.send(Order::Cancel(timer));
        }
    }
}

fn run(orders: &Receiver<Order>) {
    let mut timers = Timers::default();
    loop {
        let order = match timers.fire() {
            Some(next) => orders.recv_timeout(next.saturating_duration_since(Instant::now())),
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match order {
            Ok(Order::Set(timer, waker)) => timers.set(timer, waker),
            Ok(Order::Cancel(timer)) => timers.cancel(timer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").finish_non_exhaustive()
    }
}
