use std::collections::BTreeMap;

use guard_agent_proto::Instant;

/// What is going to happen, in order of time, and in order of scheduling at the same time.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    events: BTreeMap<(Instant, u64), T>,
    scheduled: u64,
}

impl<T> Schedule<T> {
    pub(crate) const fn new() -> Self {
        Self { events: BTreeMap::new(), scheduled: 0 }
    }

    pub(crate) fn at(&mut self, time: Instant, event: T) {
        self.events.insert((time, self.scheduled), event);
        self.scheduled += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<(Instant, T)> {
        self.events.pop_first().map(|((time, _), event)| (time, event))
    }

    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.events.first_key_value().map(|((time, _), _)| *time)
    }
}
