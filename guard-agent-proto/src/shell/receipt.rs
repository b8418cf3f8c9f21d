use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::{DropReason, Outcome};

/// Tells what becomes of one record. It belongs to no runtime; dropping it changes nothing for the record.
///
/// ```
/// # use guard_agent_proto::{Outcome, SecurityEvent};
/// # use guard_agent_proto::shell::Handle;
/// # async fn store(agent: &Handle, event: SecurityEvent) -> bool {
/// let Ok(mut receipt) = agent.try_send_event_with_receipt(event) else { return false };
/// matches!(receipt.secured().await, Some(Outcome::Durable | Outcome::Delivered))
/// # }
/// ```
#[must_use = "it is only there to be waited for"]
pub struct Receipt {
    news: Arc<Mutex<News>>,
    /// Where the agent is.
    process: u32,
}

/// The agent's end of a receipt. Dropped without a final outcome, it tells that there will be none.
pub(crate) struct Promise(Arc<Mutex<News>>);

#[derive(Default)]
struct News {
    latest: Option<Outcome>,
    /// There will be no other outcome.
    ended: bool,
    waiting: Option<Waker>,
}

impl Receipt {
    /// Waits until the journal or the platform holds the record, or it was dropped.
    ///
    /// Without a journal this is the same as [`settled`](Self::settled). `None` when the agent ended before
    /// and it is not known what became of the record, and in a child that was forked, which has no agent. The
    /// future can be dropped and made again.
    pub async fn secured(&mut self) -> Option<Outcome> {
        poll_fn(|cx| self.poll(cx, |_| true)).await
    }

    /// Waits until the record was delivered or dropped.
    ///
    /// `None` when the agent ended before: the record may be in the journal, or lost, or the platform's
    /// answer was; and in a child that was forked. The future can be dropped and made again.
    pub async fn settled(&mut self) -> Option<Outcome> {
        poll_fn(|cx| self.poll(cx, is_final)).await
    }

    fn poll(&self, cx: &Context<'_>, enough: impl Fn(Outcome) -> bool) -> Poll<Option<Outcome>> {
        // In a child that was forked nobody tells, and the lock may be held by a thread that it does not have.
        if process::id() != self.process {
            return Poll::Ready(None);
        }
        let mut news = lock(&self.news);
        let told = news.latest.filter(|outcome| enough(*outcome));
        if told.is_some() || news.ended {
            return Poll::Ready(told);
        }
        if !news.waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            news.waiting = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").finish_non_exhaustive()
    }
}

impl Promise {
    /// With its receipt, which is good in that process.
    pub(crate) fn new(process: u32) -> (Self, Receipt) {
        let news = Arc::default();
        (Self(Arc::clone(&news)), Receipt { news, process })
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    pub(crate) fn tell(&self, outcome: Outcome) {
        let mut news = lock(&self.0);
        news.latest = Some(outcome);
        let waiting = news.waiting.take();
        drop(news);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut news = lock(&self.0);
        news.ended = true;
        let waiting = news.waiting.take();
        drop(news);
        waiting.into_iter().for_each(Waker::wake);
    }
}

pub(crate) const fn is_final(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Durable => false,
        Outcome::Delivered | Outcome::Dropped(_) | Outcome::HandedOver => true,
    }
}

fn lock(news: &Mutex<News>) -> MutexGuard<'_, News> {
    news.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records on their way to the core, first in, first out.
///
/// What was promised stands beside them, so that a record that nobody waits for pays nothing.
pub(crate) struct Backlog<T> {
    records: VecDeque<T>,
    /// Records that left at the front. A record's ordinal is this plus its place.
    left: u64,
    /// With the ordinals of their records, ascending.
    promises: VecDeque<(u64, Promise)>,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self { records: VecDeque::new(), left: 0, promises: VecDeque::new() }
    }
}

impl<T> Backlog<T> {
    #[inline]
    pub(crate) fn push(&mut self, record: T) {
        self.records.push_back(record);
    }

    /// Promises what becomes of the newest record.
    pub(crate) fn promise(&mut self, promise: Promise) {
        let newest = self.left + (self.records.len() as u64).saturating_sub(1);
        self.promises.push_back((newest, promise));
    }

    pub(crate) fn pop(&mut self) -> Option<(T, Option<Promise>)> {
        let record = self.records.pop_front()?;
        let promised = self.promises.front().is_some_and(|(ordinal, _)| *ordinal == self.left);
        self.left += 1;
        let promise = if promised { self.promises.pop_front() } else { None };
        Some((record, promise.map(|(_, promise)| promise)))
    }

    /// The records, oldest first.
    pub(crate) fn records(&self) -> impl Iterator<Item = &T> {
        self.records.iter()
    }

    /// Takes the oldest out, at most `limit` of them.
    pub(crate) fn take(&mut self, limit: usize) -> Self {
        let records: VecDeque<_> = self.records.drain(..self.records.len().min(limit)).collect();
        let end = self.left + records.len() as u64;
        let promised = self.promises.partition_point(|(ordinal, _)| *ordinal < end);
        let promises = self.promises.drain(..promised).collect();
        Self { records, left: std::mem::replace(&mut self.left, end), promises }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Frees the memory of a burst: keeps room for at most `limit` records.
    pub(crate) fn shrink_to(&mut self, limit: usize) {
        self.records.shrink_to(limit);
        self.promises.shrink_to(limit);
    }
}

impl<T> Drop for Backlog<T> {
    /// Nobody takes these records any more.
    fn drop(&mut self) {
        for (_, promise) in self.promises.drain(..) {
            promise.tell(Outcome::Dropped(DropReason::Closed));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::vec::Vec;

    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    const DELIVERED: Outcome = Outcome::Delivered;
    const CLOSED: Outcome = Outcome::Dropped(DropReason::Closed);

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn durable_is_enough_for_one_question_and_not_for_the_other() {
        let (promise, mut receipt) = Promise::new(process::id());
        assert_eq!(receipt.secured().now_or_never(), None);
        promise.tell(Outcome::Durable);
        assert_eq!(receipt.secured().now_or_never(), Some(Some(Outcome::Durable)));
        assert_eq!(receipt.settled().now_or_never(), None);
        promise.tell(DELIVERED);
        drop(promise);
        assert_eq!(receipt.secured().now_or_never(), Some(Some(DELIVERED)));
        assert_eq!(receipt.settled().now_or_never(), Some(Some(DELIVERED)));
    }

    #[test]
    fn a_promise_that_is_not_kept_ends_the_wait() {
        let (promise, mut receipt) = Promise::new(process::id());
        drop(promise);
        assert_eq!(receipt.secured().now_or_never(), Some(None));

        let (promise, mut receipt) = Promise::new(process::id());
        promise.tell(Outcome::Durable);
        drop(promise);
        assert_eq!(receipt.secured().now_or_never(), Some(Some(Outcome::Durable)));
        assert_eq!(receipt.settled().now_or_never(), Some(None));
    }

    #[test]
    fn each_piece_of_news_wakes() {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = Context::from_waker(&waker);
        let (promise, receipt) = Promise::new(process::id());
        assert!(receipt.poll(&cx, is_final).is_pending());
        promise.tell(Outcome::Durable);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert!(receipt.poll(&cx, is_final).is_pending());
        drop(promise);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push { awaited: bool },
        Pop,
        Take(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => any::<bool>().prop_map(|awaited| Step::Push { awaited }),
            1 => Just(Step::Pop),
            1 => (0..6usize).prop_map(Step::Take),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn a_promise_stays_with_its_record(steps in steps()) {
            let mut backlog = Backlog::default();
            let mut receipts = Vec::new();
            let mut popped = Vec::new();
            let mut sent = 0_usize;
            let mut pop_all = |mut backlog: Backlog<usize>, count: usize| {
                for _ in 0..count {
                    let Some((record, promise)) = backlog.pop() else { break };
                    promise.iter().for_each(|promise| promise.tell(DELIVERED));
                    popped.push((record, promise.is_some()));
                }
                backlog
            };
            for step in steps {
                match step {
                    Step::Push { awaited } => {
                        backlog.push(sent);
                        if awaited {
                            let (promise, receipt) = Promise::new(process::id());
                            backlog.promise(promise);
                            receipts.push((sent, receipt));
                        }
                        sent += 1;
                    }
                    Step::Pop => backlog = pop_all(backlog, 1),
                    Step::Take(limit) => {
                        let taken = backlog.take(limit);
                        prop_assert!(taken.len() <= limit);
                        prop_assert!(pop_all(taken, usize::MAX).is_empty());
                    }
                }
            }
            prop_assert_eq!(popped.len() + backlog.len(), sent);
            drop(backlog);
            let awaited: Vec<_> = receipts.iter().map(|(record, _)| *record).collect();
            for (place, (record, promised)) in popped.iter().enumerate() {
                prop_assert_eq!(place, *record);
                prop_assert_eq!(awaited.binary_search(record).is_ok(), *promised);
            }
            for (record, mut receipt) in receipts {
                let expected = if record < popped.len() { DELIVERED } else { CLOSED };
                prop_assert_eq!(receipt.settled().now_or_never(), Some(Some(expected)));
            }
        }
    }
}
