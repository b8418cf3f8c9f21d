use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use guard_agent_proto::Outcome;
use guard_agent_proto::shell;

use crate::alarm::Alarm;
use crate::block_on::{Sleep, block_on};

/// Tells what becomes of one record. Dropping it changes nothing for the record.
///
/// ```
/// use std::time::Duration;
///
/// use guard_agent_blocking::{Agent, Outcome, SecurityEvent};
///
/// fn store(agent: &Agent, event: SecurityEvent) -> bool {
///     let Ok(mut receipt) = agent.try_send_event_with_receipt(event) else { return false };
///     let outcome = receipt.secured_within(Duration::from_secs(1));
///     matches!(outcome, Some(Outcome::Durable | Outcome::Delivered))
/// }
/// ```
#[derive(Debug)]
#[must_use = "it is only there to be waited for"]
pub struct Receipt(shell::Receipt);

impl Receipt {
    /// Waits until the journal or the platform holds the record, or it was dropped.
    ///
    /// Without a journal this is the same as [`settled`](Self::settled). `None` when the agent ended before
    /// and it is not known what became of the record, and in a child that was forked, which has no agent.
    pub fn secured(&mut self) -> Option<Outcome> {
        block_on(self.0.secured())
    }

    /// Waits until the record was delivered or dropped.
    ///
    /// `None` when the agent ended before: the record may be in the journal, or lost, or the platform's
    /// answer was; and in a child that was forked.
    pub fn settled(&mut self) -> Option<Outcome> {
        block_on(self.0.settled())
    }

    /// Like [`secured`](Self::secured), but waits at most for `timeout`: then it is `None` too, and may be asked again.
    pub fn secured_within(&mut self, timeout: Duration) -> Option<Outcome> {
        within(timeout, self.0.secured())
    }

    /// Like [`settled`](Self::settled), but waits at most for `timeout`: then it is `None` too, and may be asked again.
    pub fn settled_within(&mut self, timeout: Duration) -> Option<Outcome> {
        within(timeout, self.0.settled())
    }
}

impl From<shell::Receipt> for Receipt {
    fn from(receipt: shell::Receipt) -> Self {
        Self(receipt)
    }
}

fn within(timeout: Duration, outcome: impl Future<Output = Option<Outcome>>) -> Option<Outcome> {
    let mut limit = Sleep::until(Instant::now().checked_add(timeout), Alarm::default());
    let mut outcome = pin!(outcome);
    block_on(poll_fn(|cx| match outcome.as_mut().poll(cx) {
        Poll::Pending => Pin::new(&mut limit).poll(cx).map(|()| None),
        told @ Poll::Ready(_) => told,
    }))
}
