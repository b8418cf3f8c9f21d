use std::time::Duration;

use guard_agent_proto::store::{StoreErrorKind, StoreOp};

use crate::sim::rng::Rng;

/// What can go wrong with a store operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreFault {
    /// It is not carried out, and the store says why.
    Refused,
    /// There is no room: what appends is not carried out.
    Full,
    /// What it is asked for is spoilt: no stream can be adopted or read.
    Spoilt,
    /// It is carried out, and then the connection breaks.
    LostReply,
    /// Nothing happens, and nobody says so.
    Hang,
    /// It takes nearly all the time there is.
    Slow,
    /// It is carried out long after the agent gave up waiting.
    Late,
}

/// What can happen to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// All operations meet the same fault for a while.
    Outage,
    /// It restarts with all its data.
    Restart,
    /// It restarts, or another one takes over, without what was acknowledged last.
    GoesBack,
    /// It comes back empty.
    Wiped,
    /// Its clock is set.
    ClockSet,
}

/// How the store is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreWeather {
    Fair,
    /// Every operation meets the same fault.
    Outage(StoreFault),
}

/// The way of one operation; times are from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreRoute {
    /// When it is carried out, if it is.
    pub(crate) executed: Option<Duration>,
    /// When the answer is there.
    pub(crate) answered: Duration,
    /// What the agent is told instead of what came of it.
    pub(crate) error: Option<StoreErrorKind>,
}

impl StoreFault {
    pub(crate) const ALL: [Self; 7] =
        [Self::Refused, Self::Full, Self::Spoilt, Self::LostReply, Self::Hang, Self::Slow, Self::Late];

    /// Whether the operation meets it.
    pub(crate) fn concerns(self, op: &StoreOp) -> bool {
        match (self, op) {
            (Self::Full, StoreOp::Write(write)) => write.appends(),
            (Self::Full, _) => false,
            (Self::Spoilt, op) => matches!(op, StoreOp::Adopt { .. } | StoreOp::Read { .. }),
            (Self::Refused | Self::LostReply | Self::Hang | Self::Slow | Self::Late, _) => true,
        }
    }

    /// The way of an operation that must be over after `timeout`, with a store that needs up to `slowest` there
    /// and as much back.
    pub(crate) fn route(
        fault: Option<Self>,
        slowest: Duration,
        timeout: Duration,
        rng: &mut Rng,
    ) -> StoreRoute {
        let mut way = || rng.duration(Duration::from_micros(100), slowest);
        let (there, back) = (way(), way());
        let executed = Some(there);
        let answered = there + back;
        let route = match fault {
            None => StoreRoute { executed, answered, error: None },
            Some(Self::Refused) => {
                let error = rng.pick(&[
                    StoreErrorKind::Unreachable,
                    StoreErrorKind::Loading,
                    StoreErrorKind::Full,
                    StoreErrorKind::ReadOnly,
                    StoreErrorKind::Denied,
                    StoreErrorKind::WrongType,
                    StoreErrorKind::Moved,
                    StoreErrorKind::Other,
                ]);
                StoreRoute { executed: None, answered, error: Some(error) }
            }
            Some(Self::Full) => StoreRoute { executed: None, answered, error: Some(StoreErrorKind::Full) },
            Some(Self::Spoilt) => {
                StoreRoute { executed: None, answered, error: Some(StoreErrorKind::WrongType) }
            }
            Some(Self::LostReply) => {
                StoreRoute { executed, answered, error: Some(StoreErrorKind::Unreachable) }
            }
            Some(Self::Hang) => {
                StoreRoute { executed: None, answered: timeout, error: Some(StoreErrorKind::TimedOut) }
            }
            Some(Self::Slow) => {
                StoreRoute { executed, answered: timeout.mul_f64(0.9).max(there), error: None }
            }
            Some(Self::Late) => {
                let late = timeout + rng.duration(Duration::ZERO, timeout * 10);
                StoreRoute { executed: Some(late), answered: late, error: None }
            }
        };
        if route.answered < timeout {
            return route;
        }
        StoreRoute { answered: timeout, error: Some(StoreErrorKind::TimedOut), ..route }
    }
}

impl Trouble {
    pub(crate) const ALL: [Self; 5] =
        [Self::Outage, Self::Restart, Self::GoesBack, Self::Wiped, Self::ClockSet];

    /// Whether what was acknowledged may be gone.
    pub(crate) const fn loses(self) -> bool {
        matches!(self, Self::GoesBack | Self::Wiped)
    }
}
