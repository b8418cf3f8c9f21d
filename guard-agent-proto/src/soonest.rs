use crate::{Instant, Reason};

/// The earliest of several deadlines, with its reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Soonest {
    pub(crate) at: Instant,
    pub(crate) reason: Reason,
}

impl Soonest {
    pub(crate) const NEVER: Self = Self { at: Instant::FAR_FUTURE, reason: Reason::Nothing };

    pub(crate) fn consider(&mut self, deadline: Option<(Instant, Reason)>) {
        if let Some((at, reason)) = deadline.filter(|(at, _)| *at < self.at) {
            *self = Self { at, reason };
        }
    }
}
