use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Index, IndexMut};

use crate::store::StoreErrorKind;
use crate::{DropReason, Endpoint, Kind, Record, StatusLevel, Timestamp};

/// One value per kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByKind<T> {
    /// For events.
    pub events: T,
    /// For metrics.
    pub metrics: T,
}

impl<T> Index<Kind> for ByKind<T> {
    type Output = T;

    fn index(&self, kind: Kind) -> &T {
        match kind {
            Kind::Event => &self.events,
            Kind::Metric => &self.metrics,
        }
    }
}

impl<T> IndexMut<Kind> for ByKind<T> {
    fn index_mut(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Event => &mut self.events,
            Kind::Metric => &mut self.metrics,
        }
    }
}

/// Records given up, by reason.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct DropCounts([u64; DropReason::COUNT]);

impl DropCounts {
    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason with its count, zero included.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason, self[reason]))
    }
}

impl Index<DropReason> for DropCounts {
    type Output = u64;

    fn index(&self, reason: DropReason) -> &u64 {
        &self.0[reason.index()]
    }
}

impl IndexMut<DropReason> for DropCounts {
    fn index_mut(&mut self, reason: DropReason) -> &mut u64 {
        &mut self.0[reason.index()]
    }
}

impl fmt::Debug for DropCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().filter(|(_, count)| *count > 0).map(|(r, n)| (r.as_str(), n)))
            .finish()
    }
}

/// Where the records of one kind went, over the life of the agent.
///
/// At every instant `accepted + recovered = delivered + pending + handed_over + aggregated + dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Taken from the application.
    pub accepted: u64,
    /// Taken from a journal, at start or by adoption.
    pub recovered: u64,
    /// Confirmed by the platform.
    pub delivered: u64,
    /// Still to be delivered, in memory or in the journal.
    pub pending: u64,
    /// The part of `pending` that is in memory.
    pub in_memory: u64,
    /// Memory of those, in bytes: their JSON and what goes with it.
    pub memory_bytes: u64,
    /// Left to the worker that adopted our journal.
    pub handed_over: u64,
    /// Metrics folded into another one; nothing does so yet.
    pub aggregated: u64,
    /// Given up, by reason.
    pub dropped: DropCounts,
    /// The part of `pending` that a journal holds too.
    pub persisted: u64,
    /// Never accepted because not valid: outside the identity.
    pub invalid: u64,
    /// Never accepted because the agent had stopped: outside the identity.
    pub refused: u64,
}

impl Ledger {
    /// Whether every record is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.accepted + self.recovered
            == self.delivered + self.pending + self.handed_over + self.aggregated + self.dropped.total()
    }
}

/// State of the circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Requests flow.
    #[default]
    Closed,
    /// None are made.
    Open,
    /// One probe decides.
    HalfOpen,
}

impl BreakerState {
    /// Name in statistics, for example `half_open`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What the agent says about itself in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The accounting, per kind.
    pub records: ByKind<Ledger>,
    /// Memory of the pending records of both kinds, in bytes.
    pub memory_bytes: u64,
    /// Requests made, whatever came of them.
    pub requests_sent: u64,
    /// Requests that got no answer or an answer that is not a success.
    pub requests_failed: u64,
    /// Body bytes handed to the network, as compressed, every attempt counted.
    pub bytes_sent: u64,
    /// Rules documents taken over.
    pub rules_fetched: u64,
    /// Polls for rules that failed.
    pub rules_failed: u64,
    /// Status pushes that failed.
    pub status_failed: u64,
    /// Answers and replies that belonged to nothing: late, repeated or unknown.
    pub stray_replies: u64,
    /// Events that the platform reported as dropped for their timestamp although it accepted the batch.
    pub invalid_timestamps: u64,
    /// Journal entries that could not be understood at recovery, and logs of dead agents that the store lost.
    pub corrupt_entries: u64,
    /// Journals of other agents that were taken over with something in them.
    pub adopted_journals: u64,
    /// Journals of agents that died, whose leases have run out and that are adopted soon.
    pub orphaned_journals: u64,
    /// Journals whose leases have not run out: of agents that run, and of ones that died a moment ago.
    pub leased_journals: u64,
    /// State of the circuit breaker.
    pub breaker: BreakerState,
    /// The health.
    pub health: Health,
    /// When the platform last confirmed a batch.
    pub last_flush: Option<Timestamp>,
}

/// How a flush or a shutdown ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Confirmed by the platform since the call.
    pub delivered: ByKind<u64>,
    /// Still here at the end.
    pub pending: ByKind<u64>,
    /// The part of `pending` that a journal holds.
    pub persisted: ByKind<u64>,
    /// Given up since the call; by an agent that had ended before, since it lost what it held then.
    pub dropped: ByKind<DropCounts>,
}

impl Report {
    /// Whether everything was delivered, but what was filtered out: nothing is left and nothing was given up.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let lost = |dropped: &DropCounts| dropped.total() - dropped[DropReason::Filtered];
        self.pending == ByKind::default() && lost(&self.dropped.events) + lost(&self.dropped.metrics) == 0
    }

    /// Whether nothing depends on this process any more: everything was delivered or is in the journal, but
    /// what was filtered out, and nothing was given up.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        Self { pending: ByKind::default(), ..*self }.is_complete() && self.pending == self.persisted
    }
}

/// Health with the reasons for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Healthy, degraded or failed.
    pub level: StatusLevel,
    /// Why it is not healthy; empty when it is.
    pub reasons: Vec<HealthReason>,
}

/// Why the agent is not healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthReason {
    /// The platform cannot be reached.
    BreakerOpen,
    /// Memory is filled to the high watermark.
    BufferNearlyFull,
    /// More than a tenth of what was recently decided was given up.
    HighFailureRate {
        /// In tenths of a percent.
        permille: u16,
    },
    /// The platform asked for a slower pace.
    Slowed,
    /// An endpoint refuses; its records are held and tried again slowly.
    Held {
        /// Which one.
        endpoint: Endpoint,
        /// The status code, zero where a success was not one.
        status: u16,
    },
    /// The endpoint refuses every record.
    RefusesEverything {
        /// Which one.
        endpoint: Endpoint,
        /// The status code, zero where no answer came.
        status: u16,
    },
    /// The platform says that the account's quota is used up; records are held.
    QuotaUsedUp {
        /// Which one.
        endpoint: Endpoint,
        /// The status code.
        status: u16,
    },
    /// A record was refused alone, and nothing passed since. It is quarantined and tried again.
    RefusesRecord {
        /// Which one.
        endpoint: Endpoint,
        /// The status code, zero where no answer came.
        status: u16,
    },
    /// Nothing was delivered there for ten seconds or more, although it was tried.
    NothingDelivered {
        /// Which one.
        endpoint: Endpoint,
    },
    /// Rules could not be fetched.
    RulesFailing,
    /// The journal takes no new records, or its store takes longer than two fifths of `journal_lease`, so that no lease
    /// can be kept. Meanwhile new records are held in memory alone.
    JournalDown {
        /// In what way its store fails.
        why: StoreErrorKind,
        /// Where the store is, if it said so.
        store: Option<Arc<str>>,
    },
    /// The journal takes new records, but cannot do all the rest: read or remove what it holds, or give it up.
    JournalImpaired {
        /// In what way its store fails.
        why: StoreErrorKind,
        /// Where the store is, if it said so.
        store: Option<Arc<str>>,
    },
    /// The runtime that drove the agent is gone without a shutdown: nothing is delivered any more.
    DriverGone,
    /// The agent was shut down: nothing is delivered any more.
    Stopped,
}

impl fmt::Display for HealthReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BreakerOpen => f.write_str("Transport circuit breaker is open"),
            Self::BufferNearlyFull => f.write_str("Buffer nearly full"),
            Self::HighFailureRate { permille } => {
                write!(f, "High failure rate: {}.{}%", permille / 10, permille % 10)
            }
            Self::Slowed => f.write_str("Slowed down at the platform's request"),
            Self::Held { endpoint, status: 0 } => {
                write!(f, "The {endpoint} endpoint does not answer like the platform; records are held")
            }
            Self::Held { endpoint, status: status @ 200..=299 } => {
                write!(
                    f,
                    "The {endpoint} endpoint answers {status} without an acknowledgement; records are held"
                )
            }
            Self::Held { endpoint, status } => {
                write!(f, "The {endpoint} endpoint answers {status}; records are held")
            }
            Self::RefusesEverything { endpoint, status: 0 } => {
                write!(f, "The {endpoint} endpoint answers to no record; records are held")
            }
            Self::RefusesEverything { endpoint, status } => {
                write!(f, "The {endpoint} endpoint refuses everything with {status}; records are held")
            }
            Self::QuotaUsedUp { endpoint, status } => {
                write!(f, "The {endpoint} endpoint answers {status}: the quota is used up; records are held")
            }
            Self::RefusesRecord { endpoint, status: 0 } => {
                write!(f, "The {endpoint} endpoint does not answer to a record; it is quarantined")
            }
            Self::RefusesRecord { endpoint, status } => {
                write!(f, "The {endpoint} endpoint refused a record with {status}; it is quarantined")
            }
            Self::NothingDelivered { endpoint } => {
                write!(
                    f,
                    "Nothing was delivered to the {endpoint} endpoint for 10 s or more, although it was tried"
                )
            }
            Self::RulesFailing => f.write_str("Rules cannot be fetched"),
            Self::JournalDown { why, store } => {
                f.write_str("The journal")?;
                store.iter().try_for_each(|store| write!(f, " in {store}"))?;
                write!(f, " is not available ({why}); new records are held in memory alone")
            }
            Self::JournalImpaired { why, store } => {
                f.write_str("The journal")?;
                store.iter().try_for_each(|store| write!(f, " in {store}"))?;
                write!(f, " is impaired ({why}): what it holds cannot all be read or removed")
            }
            Self::DriverGone => f.write_str("The runtime went away; nothing is delivered any more"),
            Self::Stopped => f.write_str("The agent was shut down"),
        }
    }
}

/// Backpressure, for applications that want to slow down or thin out by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pressure {
    /// Fill level of memory by records or bytes, whichever is higher, in permille.
    pub fill_permille: u16,
    /// The platform asked for a slower pace.
    pub slowed: bool,
    /// State of the circuit breaker.
    pub breaker: BreakerState,
}

/// A record that was set aside because the platform refuses it or no batch can hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The record as it was sent.
    pub record: Record,
    /// Why.
    pub reason: DropReason,
    /// Status code of the refusal, zero where no answer came.
    pub status: u16,
    /// Start of the answer's body, or why there was no answer; one line.
    pub message: String,
}
