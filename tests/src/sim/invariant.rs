use std::fmt;

macro_rules! invariants {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// Something that must hold in every world. For each there is a [`Bug`](super::Bug) that it is the first to find.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Invariant {
            $($(#[$doc])* $variant,)*
        }

        impl Invariant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

invariants! {
    // Accounting.
    /// What was given is counted as accepted.
    Accepted "accepted",
    /// The accounting identity.
    Balance "balance",
    /// What the platform confirmed, and nothing else, is counted as delivered.
    Delivered "delivered",
    /// What was no record is counted.
    Invalid "invalid",
    /// No more is called persisted than is pending, or than the store holds.
    Persisted "persisted",
    /// Requests are counted.
    Requests "requests",
    /// Answers that nobody waits for are counted.
    Strays "strays",
    /// What never arrived is counted under a reason.
    Loss "loss",
    /// No record is refused for good that the platform would have taken.
    DeadLetters "dead-letters",

    // Memory.
    /// Memory stays within its bounds and is counted right.
    Memory "memory",
    /// Nothing overflows while there is room.
    Overflow "overflow",

    // Requests.
    /// Ids of requests ascend.
    RequestId "request-id",
    /// No window holds more requests than allowed.
    RateLimit "rate-limit",
    /// What the platform asks for is kept.
    RetryAfter "retry-after",
    /// A quota that is used up is waited for.
    Quota "quota",
    /// One request for each lane.
    OnePerLane "one-per-lane",
    /// No more batches are out than allowed.
    Concurrency "concurrency",
    /// A request has no more time than configured.
    Timeout "timeout",
    /// The breaker opens in time, and nothing leaves while it is open.
    Breaker "breaker",
    /// The platform can read every request.
    Contract "contract",

    // Batches.
    /// No more records than allowed.
    BatchSize "batch-size",
    /// No more bytes than allowed.
    BatchBytes "batch-bytes",
    /// Every record is one of ours.
    MadeByUs "made-by-us",
    /// No record is in two batches that are out.
    SentOnce "sent-once",
    /// What arrived is not sent again.
    SentAfterConfirmation "sent-after-confirmation",
    /// What was not refused is tried again in the same batch.
    StableBatch "stable-batch",
    /// The same batch has the same bytes, and if it is encrypted others in another run.
    RetryBytes "retry-bytes",
    /// So it is with a batch of another run, as its journal says.
    SealedBatch "sealed-batch",
    /// Records leave in order.
    Order "order",
    /// A record is sent by who has its journal.
    Exclusive "exclusive",
    /// Who lives and reaches the store keeps its journal.
    AdoptedAlive "adopted-alive",
    /// A stream is not deleted before all that is in it was removed.
    Removed "removed",

    // Time.
    /// The next deadline lies in the future.
    DeadlinePassed "deadline-passed",
    /// Nothing is due before its deadline.
    LateDeadline "late-deadline",
    /// It is not woken again and again for nothing.
    BusyLoop "busy-loop",
    /// An input does not lead to outputs without end.
    EndlessOutputs "endless-outputs",
    /// Once the faults end everything is delivered, and the journal empty.
    Convergence "convergence",

    // What it says.
    /// A flush is answered once.
    FlushedOnce "flushed-once",
    /// A flush is answered by its deadline.
    FlushesInTime "flushes-in-time",
    /// Receipts are true, and each comes once.
    Receipt "receipt",
    /// Every change of health is told.
    HealthAnnounced "health-announced",
    /// Messages are one line, and without secrets.
    Message "message",
    /// The rules that came last are in force.
    Rules "rules",

    // The end.
    /// A shutdown ends by its deadline.
    ClosesInTime "closes-in-time",
    /// It is closed when it says so.
    Closed "closed",
    /// The last report says what the statistics say.
    Report "report",
    /// Nothing happens after that.
    QuietAfterClose "quiet-after-close",
    /// A shutdown in peace delivers everything and leaves nothing behind.
    CleanShutdown "clean-shutdown",
}
