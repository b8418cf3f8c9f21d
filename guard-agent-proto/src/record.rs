use alloc::boxed::Box;
use core::fmt;

use crate::ReceiptId;

/// Which of the two streams a record belongs to. They never share a batch, a buffer or a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A [`SecurityEvent`](crate::SecurityEvent).
    Event,
    /// A [`SecurityMetric`](crate::SecurityMetric).
    Metric,
}

impl Kind {
    /// Both kinds, events first.
    pub const ALL: [Self; 2] = [Self::Event, Self::Metric];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Event => "event",
            Self::Metric => "metric",
        })
    }
}

/// Why an accepted record was given up. There is no way to discard one without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// Memory was full and the overflow policy gave it up.
    Overflow,
    /// Muted, sampled out, or removed by a processor.
    Filtered,
    /// A processor panicked on it.
    Processor,
    /// Larger than any batch may be.
    TooLarge,
    /// The platform refused this record and accepted others: it is in the dead-letter list.
    DeadLetter,
    /// Older than the configured maximum age.
    Expired,
    /// The journal's store lost it while it was no longer in memory, or has something in its place that is no record.
    StoreLost,
    /// The agent had stopped before it was taken over, or its runtime went away before it was delivered or durable.
    Closed,
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
    /// Every reason, in the order of [`DropReason::index`].
    pub const ALL: [Self; 8] = [
        Self::Overflow,
        Self::Filtered,
        Self::Processor,
        Self::TooLarge,
        Self::DeadLetter,
        Self::Expired,
        Self::StoreLost,
        Self::Closed,
    ];

    /// Dense index, for tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name used in statistics, for example `overflow`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Filtered => "filtered",
            Self::Processor => "processor",
            Self::TooLarge => "too_large",
            Self::DeadLetter => "dead_letter",
            Self::Expired => "expired",
            Self::StoreLost => "store_lost",
            Self::Closed => "closed",
        }
    }
}

/// A record as the core keeps it: redacted, truncated, encoded once.
///
/// The bytes are one JSON object without surrounding white space; they serve plain bodies, the
/// encrypted document and the journal alike.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    kind: Kind,
    attack: bool,
    receipt: Option<ReceiptId>,
    json: Box<[u8]>,
}

impl Record {
    /// A record of encoded bytes: one JSON object of at most 256 KiB and not more than 256 values deep, without white space
    /// around it, since what is none is not taken back from a journal. `attack` marks an event after whose delivery the rules are polled
    /// quickly. [`Encoder`](crate::Encoder) is what makes records; a journal brings them back.
    #[must_use]
    pub const fn new(kind: Kind, attack: bool, json: Box<[u8]>) -> Self {
        Self { kind, attack, receipt: None, json }
    }

    /// Event or metric.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether rules are polled quickly once it was delivered.
    #[must_use]
    pub const fn is_attack(&self) -> bool {
        self.attack
    }

    /// Asks for news of the record: see [`AgentEvent::Receipt`](crate::AgentEvent::Receipt).
    #[must_use]
    pub const fn with_receipt(mut self, id: ReceiptId) -> Self {
        self.receipt = Some(id);
        self
    }

    pub(crate) const fn receipt(&self) -> Option<ReceiptId> {
        self.receipt
    }

    /// The encoded JSON object.
    #[must_use]
    pub const fn json(&self) -> &[u8] {
        &self.json
    }

    pub(crate) fn into_json(self) -> Box<[u8]> {
        self.json
    }
}

impl fmt::Debug for Record {
    /// Sizes only: a record may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind)
            .field("bytes", &self.json.len())
            .finish_non_exhaustive()
    }
}
