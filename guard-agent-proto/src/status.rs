use core::time::Duration;

use crate::{AgentConfig, Instant, Reason, RequestId};

/// When the status is pushed: every interval, first after one, and once at shutdown. A push that fails
/// is not repeated; the next one says more anyway.
#[derive(Clone, Debug)]
pub(crate) struct StatusPush {
    interval: Duration,
    due: Instant,
    /// The platform asked for quiet until then.
    quiet: Instant,
    in_flight: Option<RequestId>,
    last: Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    No,
    Wanted,
    Done,
}

impl StatusPush {
    pub(crate) fn new(config: &AgentConfig, now: Instant) -> Self {
        Self {
            interval: config.status_interval,
            due: now + config.status_interval,
            quiet: Instant::ZERO,
            in_flight: None,
            last: Last::No,
        }
    }

    /// When the next push is due; `None` while one is out or after the last one.
    pub(crate) fn due_at(&self) -> Option<(Instant, Reason)> {
        if self.in_flight.is_some() {
            return None;
        }
        match self.last {
            Last::No => Some((self.due.max(self.quiet), Reason::StatusPush)),
            Last::Wanted => Some((self.quiet, Reason::StatusPush)),
            Last::Done => None,
        }
    }

    pub(crate) fn depart(&mut self, id: RequestId, now: Instant) {
        self.in_flight = Some(id);
        // From the time it was due, so that slow answers do not shift the rhythm; missed ones are skipped.
        self.due = self.due + self.interval;
        if self.due <= now {
            self.due = now + self.interval;
        }
        if self.last == Last::Wanted {
            self.last = Last::Done;
        }
    }

    pub(crate) const fn on_answer(&mut self) {
        self.in_flight = None;
    }

    /// The platform asked to wait.
    pub(crate) fn wait_until(&mut self, at: Instant) {
        self.quiet = self.quiet.max(at);
    }

    /// The agent stops: one last push, as soon as the records are through.
    pub(crate) const fn want_last(&mut self) {
        if matches!(self.last, Last::No) {
            self.last = Last::Wanted;
        }
    }

    /// There is no point in a last push.
    pub(crate) const fn skip_last(&mut self) {
        self.last = Last::Done;
    }

    /// Whether the last push is behind us.
    pub(crate) fn is_done(&self) -> bool {
        self.in_flight.is_none() && self.last == Last::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RequestId = RequestId(1);

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn push() -> StatusPush {
        StatusPush::new(&AgentConfig::builder("0123456789").build().unwrap(), Instant::ZERO)
    }

    #[test]
    fn first_after_one_interval_then_each() {
        let mut push = push();
        assert_eq!(push.due_at(), Some((at(300), Reason::StatusPush)));
        push.depart(ID, at(303));
        assert_eq!(push.due_at(), None);
        push.on_answer();
        assert_eq!(push.due_at(), Some((at(600), Reason::StatusPush)));
    }

    #[test]
    fn hours_of_sleep_are_made_up_by_one_push() {
        let mut push = push();
        push.depart(ID, at(36_000));
        push.on_answer();
        assert_eq!(push.due_at(), Some((at(36_300), Reason::StatusPush)));
    }

    #[test]
    fn a_platform_that_asks_for_quiet_gets_it() {
        let mut push = push();
        push.depart(ID, at(300));
        push.on_answer();
        push.wait_until(at(900));
        assert_eq!(push.due_at(), Some((at(900), Reason::StatusPush)));
        push.wait_until(at(310));
        assert_eq!(push.due_at(), Some((at(900), Reason::StatusPush)));
    }

    #[test]
    fn the_last_push_is_no_exception() {
        let mut push = push();
        push.wait_until(at(5));
        push.want_last();
        assert_eq!(push.due_at(), Some((at(5), Reason::StatusPush)));
    }

    #[test]
    fn one_last_push() {
        let mut push = push();
        push.want_last();
        assert_eq!(push.due_at(), Some((Instant::ZERO, Reason::StatusPush)));
        push.depart(ID, at(5));
        assert!(!push.is_done());
        push.on_answer();
        push.want_last();
        assert!(push.is_done());
        assert_eq!(push.due_at(), None);
    }
}
