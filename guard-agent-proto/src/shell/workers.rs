use std::boxed::Box;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::format;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::thread_local;
use std::time::Duration;
use std::vec;

use futures_channel::oneshot;

use super::BoxFuture;

/// How long a thread waits for the next job before it ends.
const IDLE: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// Threads for calls that block: as many as there are such calls, and none for long after.
///
/// The pools of runtimes do not fail when the system has no thread for them: tokio's panics, that of smol asks for one
/// again and again, and either may be full of calls of the application's that never return.
#[derive(Clone, Default)]
pub struct Workers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    jobs: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    idle: usize,
    /// The system refused the last thread that it was asked for.
    scarce: bool,
}

impl Workers {
    /// Runs the job on a thread that has nothing to do, or on a new one.
    ///
    /// # Errors
    ///
    /// There is no thread; the job is dropped.
    pub fn run(&self, job: Job) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.idle > state.queue.len() {
            state.queue.push_back(job);
            self.0.jobs.notify_one();
            return Ok(());
        }
        drop(state);
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new().name("guard-agent-io".into());
        let spawned = thread.spawn(move || shared.work(job));
        self.0.lock().scarce = spawned.is_err();
        spawned.map(drop)
    }

    /// Runs the job as [`Runtime::offload`](super::Runtime::offload) asks for.
    #[must_use]
    pub fn offload(&self, job: Job) -> BoxFuture<'static, ()> {
        let call = self.call(job);
        Box::pin(async move {
            // Whether it ran, the job itself tells.
            let _ = call.await;
        })
    }

    /// Makes a call, which begins at once.
    ///
    /// # Errors
    ///
    /// There is no thread for it, or it panicked.
    pub fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, io::Result<T>> {
        let (give, take) = oneshot::channel();
        let run = self.run(Box::new(move || {
            // Whoever waited may have gone meanwhile.
            let _ = give.send(call());
        }));
        Box::pin(async move {
            run.map_err(|error| io::Error::new(error.kind(), format!("no thread: {error}")))?;
            take.await.map_err(|oneshot::Canceled| io::Error::other("a blocking call panicked"))
        })
    }

    /// Looks up the addresses of a host.
    ///
    /// # Errors
    ///
    /// It has none, or there is no thread to look for them.
    pub fn resolve(
        &self,
        host: String,
        port: u16,
    ) -> BoxFuture<'static, io::Result<vec::IntoIter<SocketAddr>>> {
        let call = self.call(move || (host.as_str(), port).to_socket_addrs());
        Box::pin(async move { call.await? })
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is one of [`Workers`].
#[must_use]
pub fn is_worker() -> bool {
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
            next = self.next();
        }
    }

    /// Waits for the next job; `None` if there is none for a while. A thread that could not be had again stays.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        state.idle += 1;
        loop {
            let waited = self.jobs.wait_timeout_while(state, IDLE, |state| state.queue.is_empty());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !state.queue.is_empty() || !state.scarce {
                break;
            }
        }
        state.idle -= 1;
        state.queue.pop_front()
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
