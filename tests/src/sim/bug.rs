use std::fmt;

use super::invariant::Invariant;

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident $invariant:ident $seed:literal,)*) => {
        /// A bug, planted to prove that the invariants see it: for each invariant there is one that it is the first to find.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$doc])* $bug,)*
        }

        impl Bug {
            /// Every bug, with the invariant that must be the first to find it, and the seed of a world where it is.
            /// In other worlds a consequence of it may show first, or nothing.
            pub const ALL: &'static [(Self, Invariant, u64)] = &[$((Self::$bug, Invariant::$invariant, $seed),)*];
        }
    };
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

bugs! {
    /// A record vanishes on its way in.
    LosesARecord Accepted 1,
    /// One record is taken twice.
    DoublesARecord Accepted 0,
    /// The statistics count a delivery that never was.
    CountsTooMuch Balance 0,
    /// Answers are not looked at.
    IgnoresAnswers Delivered 0,
    /// Invalid records are not counted.
    ForgetsWhatIsInvalid Invalid 16,
    /// Blocks are not appended, and taken for appended.
    ForgetsToAppend Persisted 14,
    /// The statistics count a request that never was.
    CountsTooManyRequests Requests 0,
    /// Answers that nobody waits for are not counted.
    CountsNoStrays Strays 1,
    /// What a journal holds is taken for damaged, and removed.
    MisreadsBlocks Loss 7,
    /// Records that were filtered are counted as refused by the platform.
    CallsTheFilteredDeadLetters DeadLetters 113,

    /// It takes twice as many records as it may.
    TakesTooMuch Memory 9,
    /// It takes half as many records as it may.
    TakesTooLittle Overflow 3,

    /// Every request is made twice, under one id.
    SendsTwice RequestId 0,
    /// The window holds more requests than configured.
    SendsTooSoon RateLimit 8,
    /// It waits half of what the platform asks for.
    HalvesRetryAfter RetryAfter 28,
    /// It takes a used-up quota for a failure.
    MistakesTheQuota Quota 0,
    /// It asks for the rules again before it has them.
    AsksForRulesTwice OnePerLane 4,
    /// More batches at once than configured.
    SendsTooManyAtOnce Concurrency 0,
    /// Requests have more time than configured.
    WaitsTooLong Timeout 1,
    /// It takes more failures than configured for an outage.
    TriesTooOften Breaker 21,
    /// Requests go to a path that the platform does not know.
    CallsAnotherPath Contract 0,

    /// Batches of more records than configured.
    BatchesTooMany BatchSize 0,
    /// Batches of more bytes than configured.
    BatchesTooLarge BatchBytes 43,
    /// A record that nobody made is among those that are sent.
    ForgesARecord MadeByUs 0,
    /// Every batch is sent a second time before the answer is there.
    Hedges SentOnce 2,
    /// Every batch is sent a second time after it arrived.
    SendsAgainWhatArrived SentAfterConfirmation 0,
    /// A retry has another batch id.
    RetriesUnderAnotherId StableBatch 0,
    /// A retry has other bytes.
    RetriesOtherBytes RetryBytes 0,
    /// What a journal says of the batches of another run is not looked at.
    ForgetsSeals SealedBatch 22,
    /// The newest event of a batch comes first.
    Reorders Order 0,
    /// It goes on as the owner of what another has adopted.
    IgnoresFences Exclusive 55,
    /// Its leases end as they begin.
    HoldsNoLease AdoptedAlive 22,
    /// What is settled is not removed from the journal.
    ForgetsRemovals Removed 15,
    /// What an adopted journal holds is not looked at.
    SkipsBlocks Removed 7,

    /// It asks to be woken at once, for ever.
    DoesNotWait DeadlinePassed 0,
    /// It sleeps through its deadlines.
    Oversleeps LateDeadline 6,
    /// It asks to be woken every millisecond.
    WakesForNothing BusyLoop 0,
    /// It says everything a hundred times.
    RepeatsItself EndlessOutputs 0,
    /// It does not get healthy again.
    StaysDegraded Convergence 0,

    /// A flush is answered twice.
    AnswersFlushesTwice FlushedOnce 1,
    /// A flush is answered a minute late.
    FlushesLate FlushesInTime 3,
    /// A receipt says delivered of what is durable, or lost.
    ForgesReceipts Receipt 2,
    /// Nobody hears of its health.
    KeepsItsHealthToItself HealthAnnounced 1,
    /// Messages have a secret in them.
    TellsTheKey Message 1,
    /// New rules do not come into force.
    KeepsTheFirstRules Rules 8,

    /// A shutdown takes a minute more.
    ClosesLate ClosesInTime 6,
    /// It does not know that it is closed.
    IsNeverClosed Closed 1,
    /// The last report speaks of a record too many.
    ReportsTooMuch Report 0,
    /// It asks to be woken after the end.
    GoesOnAfterTheEnd QuietAfterClose 0,
    /// A shutdown sends nothing more.
    GivesUpAtShutdown CleanShutdown 0,
}
