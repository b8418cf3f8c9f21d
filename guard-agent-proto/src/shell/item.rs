use std::fmt;

use super::inbox::{Queue, State};
use crate::{ByKind, InvalidRecord, Kind, SecurityEvent, SecurityMetric};

/// What the inbox takes: an event or a metric.
pub(crate) trait Item: Sized + Send {
    const KIND: Kind;

    fn validate(&self) -> Result<(), InvalidRecord>;

    /// About how many bytes its JSON takes.
    fn approximate_size(&self) -> usize;

    fn queue(state: &mut State) -> &mut Queue<Self>;
}

impl Item for SecurityEvent {
    const KIND: Kind = Kind::Event;

    /// Whatever it holds can be sent.
    #[inline]
    fn validate(&self) -> Result<(), InvalidRecord> {
        Ok(())
    }

    fn approximate_size(&self) -> usize {
        Self::approximate_size(self)
    }

    fn queue(state: &mut State) -> &mut Queue<Self> {
        &mut state.events
    }
}

impl Item for SecurityMetric {
    const KIND: Kind = Kind::Metric;

    fn validate(&self) -> Result<(), InvalidRecord> {
        Self::validate(self)
    }

    fn approximate_size(&self) -> usize {
        Self::approximate_size(self)
    }

    fn queue(state: &mut State) -> &mut Queue<Self> {
        &mut state.metrics
    }
}

/// A record that was not taken, handed back with the reason.
#[derive(Clone, Debug, PartialEq)]
pub struct TrySendError<T> {
    /// Why it was not taken.
    pub kind: TrySendErrorKind,
    /// The record, unchanged.
    pub record: T,
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrySendErrorKind {
    /// Memory is full, by records or by bytes.
    Full,
    /// The agent has stopped.
    Closed,
    /// The record cannot be accepted as it is.
    Invalid(InvalidRecord),
    /// The configuration turns the agent, or records of this kind, off.
    Disabled,
}

impl fmt::Display for TrySendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the agent's memory is full"),
            Self::Closed => f.write_str("the agent has stopped"),
            Self::Invalid(error) => error.fmt(f),
            Self::Disabled => f.write_str("the agent is disabled by configuration"),
        }
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl<T: fmt::Debug> std::error::Error for TrySendError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            TrySendErrorKind::Invalid(error) => Some(error),
            TrySendErrorKind::Full | TrySendErrorKind::Closed | TrySendErrorKind::Disabled => None,
        }
    }
}

/// One value per kind, made by a function of the kind.
pub(crate) fn by_kind<T>(mut value: impl FnMut(Kind) -> T) -> ByKind<T> {
    ByKind { events: value(Kind::Event), metrics: value(Kind::Metric) }
}
