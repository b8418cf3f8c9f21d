use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) u64);

        impl $name {
            /// The id with that number: for tests and for transports that keep ids elsewhere.
            #[must_use]
            pub const fn from_u64(id: u64) -> Self {
                Self(id)
            }

            /// The number behind the id.
            #[must_use]
            pub const fn as_u64(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// Names one request; its answer carries it back.
    RequestId
);
id!(
    /// Names one store operation; its answer carries it back.
    StoreOpId
);
id!(
    /// Names one flush, chosen by the caller.
    FlushId
);
id!(
    /// Names a record whose outcome somebody waits for; chosen by the runtime.
    ReceiptId
);
id!(
    /// Place of a record in the order of acceptance, across both kinds.
    Seq
);
id!(
    /// A journal stream: one per run of an agent, random, never reused.
    StreamId
);

/// Identity of a sealed batch: `<unix milliseconds>-<8 hex digits>` on the wire.
///
/// The same in every retry; halves of a split batch get ids of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId {
    millis: u64,
    random: u32,
}

impl BatchId {
    /// The id of a batch sealed at that wall-clock time.
    #[must_use]
    pub const fn new(millis: u64, random: u32) -> Self {
        Self { millis, random }
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.millis, self.random)
    }
}
