//! Threads for calls that block: as many as there are such calls, and none for long after.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a thread waits for the next job before it ends.
const IDLE: Duration = Duration::from_secs(5);

pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Clone, Default)]
pub(crate) struct Workers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    jobs: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    idle: usize,
}

impl Workers {
    /// Runs the job on a thread that has nothing to do, or on a new one.
    ///
    /// # Errors
    ///
    /// There is no thread; the job is dropped.
    pub(crate) fn run(&self, job: Job) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.idle > state.queue.len() {
            state.queue.push_back(job);
            self.0.jobs.notify_one();
            return Ok(());
        }
        drop(state);
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new().name("guard-agent-io".into());
        thread.spawn(move || shared.work(job)).map(drop)
    }
}

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs such jobs.
pub(crate) fn is_ours() -> bool {
    OURS.get()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, first: Job) {
        OURS.set(true);
        let mut next = Some(first);
        while let Some(job) = next {
            // Whoever waits for it learns of a panic by being waited for no more.
            let _ = catch_unwind(AssertUnwindSafe(job));
            let mut state = self.lock();
            state.idle += 1;
            let waited = self.jobs.wait_timeout_while(state, IDLE, |state| state.queue.is_empty());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            next = state.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_run_beside_each_other_and_threads_are_used_again() {
        let workers = Workers::default();
        let (sender, receiver) = mpsc::channel();
        let (first, second) = (sender.clone(), sender);
        let (go, wait) = mpsc::channel();
        workers
            .run(Box::new(move || {
                wait.recv().unwrap();
                first.send(thread::current().id()).unwrap();
            }))
            .unwrap();
        workers.run(Box::new(move || go.send(()).unwrap())).unwrap();
        let thread = receiver.recv().unwrap();
        while workers.0.lock().idle < 2 {
            thread::yield_now();
        }
        workers.run(Box::new(|| panic!("as told"))).unwrap();
        workers.run(Box::new(move || second.send(thread::current().id()).unwrap())).unwrap();
        receiver.recv().unwrap();
        while workers.0.lock().idle < 2 {
            thread::yield_now();
        }
        assert_ne!(thread, thread::current().id());
    }
}
