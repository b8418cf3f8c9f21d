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
    /// Place of a record in the order of acceptance, among those of its kind.
    Seq
);

impl Seq {
    /// How many bits tell the place; those above tell the origin.
    const PLACE_BITS: u32 = 48;

    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    pub(crate) const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How a record is called here that has the place `self` in the journal that we adopted as number
    /// `origin`. Origin 0 is this run of the agent itself.
    pub(crate) const fn at_origin(self, origin: u16) -> Self {
        Self(self.place().0 | (origin as u64) << Self::PLACE_BITS)
    }

    /// Which adopted journal the record came from; 0 for none.
    pub(crate) const fn origin(self) -> u16 {
        (self.0 >> Self::PLACE_BITS) as u16
    }

    /// Its place there.
    pub(crate) const fn place(self) -> Self {
        Self(self.0 & ((1 << Self::PLACE_BITS) - 1))
    }
}

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

    pub(crate) const fn millis(self) -> u64 {
        self.millis
    }

    pub(crate) const fn random(self) -> u32 {
        self.random
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.millis, self.random)
    }
}
