use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::message::printable;
use crate::store::{StoreAnswer, StoreError, StoreRequest};
use crate::{
    DropReason, FlushId, Health, Instant, Kind, ReceiptId, Record, Report, Request, RequestId, Response,
    RulesDocument, StoreOpId, TransportError,
};

/// What happened in the world.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// Only time passed.
    Timeout,
    /// The application's records, encoded, in the order of acceptance.
    Records(Vec<Record>),
    /// Records that were accepted and given up before they could be encoded.
    Lost {
        /// Their kind.
        kind: Kind,
        /// Why.
        reason: DropReason,
        /// How many.
        count: u64,
    },
    /// Records that were never accepted, because they are not valid.
    Invalid {
        /// Their kind.
        kind: Kind,
        /// How many.
        count: u64,
    },
    /// A request ended.
    Response {
        /// From [`Request::id`].
        id: RequestId,
        /// The answer, or why there is none.
        result: Result<Response, TransportError>,
    },
    /// A store operation ended.
    StoreReply {
        /// From [`StoreRequest::id`].
        id: StoreOpId,
        /// The answer, or why there is none.
        result: Result<StoreAnswer, StoreError>,
    },
    /// Deliver all that was accepted so far, now; answered by [`AgentEvent::Flushed`] at `deadline`
    /// at the latest.
    Flush {
        /// Carried back by the answer.
        id: FlushId,
        /// When to give up waiting.
        deadline: Instant,
    },
    /// Make all that was accepted so far durable, now, or deliver it; answered by [`AgentEvent::Flushed`] at
    /// `deadline` at the latest. Without a journal only delivery counts, which is not hurried.
    Persist {
        /// Carried back by the answer.
        id: FlushId,
        /// When to give up waiting.
        deadline: Instant,
    },
    /// Fetch the rules now.
    RefreshRules,
    /// The credentials changed: what was held because of the old ones is tried again.
    CredentialsChanged,
    /// Deliver what can be delivered until `deadline`, then stop; answered by [`Output::Closed`].
    Shutdown {
        /// When to give up.
        deadline: Instant,
    },
}

/// What the runtime is to do next.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Output {
    /// Make this request.
    Send(Request),
    /// Make this store operation.
    Store(StoreRequest),
    /// Tell the application.
    Event(AgentEvent),
    /// The agent has stopped. From now on it answers [`Output::Idle`] for ever.
    Closed(Report),
    /// Nothing to do until `deadline`, or until something happens.
    Idle {
        /// When to call with [`Input::Timeout`]; [`Instant::FAR_FUTURE`] when it waits for nothing.
        deadline: Instant,
        /// What that deadline is for.
        reason: Reason,
    },
}

/// What the next deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No deadline.
    Nothing,
    /// More events may still join the batch.
    Linger,
    /// Metrics are due at the flush interval.
    FlushInterval,
    /// The pace allows the next request then.
    Pace,
    /// The hard limit of requests allows the next one then.
    RateLimit,
    /// A retry is due.
    Backoff,
    /// The platform asked to wait.
    RetryAfter,
    /// A refused endpoint is tried again.
    Held,
    /// The circuit breaker lets a probe through.
    BreakerProbe,
    /// Rules are due.
    RulesPoll,
    /// The rules expire.
    RulesExpiry,
    /// The status is due.
    StatusPush,
    /// The journal appends, removes or retries.
    Journal,
    /// A record gets too old.
    Expiry,
    /// Losses since the last message are summed up.
    LossSummary,
    /// Attempts that deliver nothing will have lasted long enough to count against the health.
    Health,
    /// A request is taken for lost.
    RequestTimeout,
    /// A flush gives up.
    FlushDeadline,
    /// The shutdown gives up.
    ShutdownDeadline,
}

/// News for the application.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AgentEvent {
    /// The rules changed; `None` when they expired.
    Rules(Option<Arc<RulesDocument>>),
    /// The health changed.
    Health(Health),
    /// Something failed. At most one per episode and stage.
    Error {
        /// Where.
        stage: ErrorStage,
        /// What, in one line without secrets, as [`printable`](crate::printable) leaves it.
        message: String,
    },
    /// Something that is no failure and that a person may wait for, in one line without secrets.
    Notice(String),
    /// News of a record that asked for it: [`Outcome::Durable`] at most once, then one of the others, unless
    /// the agent stops before.
    Receipt {
        /// From [`Record::with_receipt`].
        id: ReceiptId,
        /// What became of it.
        outcome: Outcome,
    },
    /// A flush ended.
    Flushed {
        /// Which one.
        id: FlushId,
        /// Where the records stand. `report.pending` counts only what the flush was asked for.
        report: Report,
    },
}

impl AgentEvent {
    pub(crate) fn error(stage: ErrorStage, message: impl fmt::Display) -> Self {
        Self::Error { stage, message: printable(message) }
    }

    pub(crate) fn notice(message: impl fmt::Display) -> Self {
        Self::Notice(printable(message))
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The journal holds it; it is still to be delivered.
    Durable,
    /// The platform confirmed it.
    Delivered,
    /// It was given up.
    Dropped(DropReason),
    /// Another agent has it, with our journal, and delivers it: we were suspended for longer than the lease.
    HandedOver,
}

/// Where an error arose. The first three names are those of the reference agent's hook;
/// encryption cannot fail here once the agent is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorStage {
    /// A request failed or was refused.
    TransportSend,
    /// Events are not getting through.
    FlushEvents,
    /// Metrics are not getting through.
    FlushMetrics,
    /// Rules could not be fetched or understood.
    Rules,
    /// The status could not be pushed.
    Status,
    /// The journal's store failed.
    Journal,
    /// A record was given up.
    Drop,
    /// The agent's runtime: it lacks threads, or the driver failed.
    Runtime,
}

impl ErrorStage {
    /// Name for logs, for example `transport_send`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TransportSend => "transport_send",
            Self::FlushEvents => "flush_events",
            Self::FlushMetrics => "flush_metrics",
            Self::Rules => "rules",
            Self::Status => "status",
            Self::Journal => "journal",
            Self::Drop => "drop",
            Self::Runtime => "runtime",
        }
    }
}

impl fmt::Display for ErrorStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
