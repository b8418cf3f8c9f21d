//! Work for threads that a runtime may not have.

use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::FutureExt as _;

use super::{BoxFuture, Runtime};

/// How long to wait for a thread before asking again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

type Work = Box<dyn FnOnce() + Send>;

/// Has `lend` run the work on another thread. Ends with the work, or gives it back where it was not begun.
pub(super) fn offload<W: FnOnce() + Send + 'static>(
    lend: impl FnOnce(Work) -> BoxFuture<'static, ()>,
    work: W,
) -> BoxFuture<'static, Result<(), W>> {
    let place = Arc::new(Mutex::new(Some(work)));
    let lent = Arc::clone(&place);
    let job = Box::new(move || {
        if let Some(work) = take(&lent) {
            work();
        }
    });
    // Runtimes panic where the system has no thread for them.
    let ended = catch_unwind(AssertUnwindSafe(|| lend(job)));
    Box::pin(async move {
        if let Ok(ended) = ended {
            // Whether the work was begun, its place tells.
            let _ = AssertUnwindSafe(ended).catch_unwind().await;
        }
        take(&place).map_or(Ok(()), Err)
    })
}

fn take<W>(place: &Mutex<Option<W>>) -> Option<W> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Work that waits for a thread: how many pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Shortage(Arc<AtomicUsize>);

impl Shortage {
    /// Whether any does.
    pub(super) fn is_felt(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Has the runtime run the work, as soon as it has a thread for it. Ends with the work; without it only if the
    /// runtime has no timer any more either.
    pub(super) fn insist<R: Runtime>(
        &self,
        runtime: &Arc<R>,
        work: impl FnOnce() + Send + 'static,
    ) -> BoxFuture<'static, ()> {
        let (shortage, runtime) = (self.clone(), Arc::clone(runtime));
        let mut attempt = offload(|job| runtime.offload(job), work);
        Box::pin(async move {
            let mut felt = None;
            let mut pause = FIRST_PAUSE;
            while let Err(work) = attempt.await {
                felt.get_or_insert_with(|| Felt::new(&shortage));
                let until = runtime.now().instant + pause;
                let slept = AssertUnwindSafe(async { runtime.sleep_until(until).await }).catch_unwind();
                if slept.await.is_err() {
                    return;
                }
                pause = LONGEST_PAUSE.min(pause * 2);
                attempt = offload(|job| runtime.offload(job), work);
            }
        })
    }
}

/// A piece of work that waits, until it is dropped.
struct Felt(Shortage);

impl Felt {
    fn new(shortage: &Shortage) -> Self {
        shortage.0.fetch_add(1, Ordering::Relaxed);
        Self(shortage.clone())
    }
}

impl Drop for Felt {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
