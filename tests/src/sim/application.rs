use std::time::Duration;

use guard_agent_proto::{Kind, Record, event_type};

use super::rng::Rng;

/// When the application makes records.
#[derive(Clone, Copy, Debug)]
pub enum Arrivals {
    /// One by one, evenly.
    Steady(Duration),
    /// One by one, at random with that mean gap.
    Poisson(Duration),
    /// Many at once, at random with that mean gap.
    Bursts {
        /// Mean gap between bursts.
        every: Duration,
        /// Most records of a burst.
        size: u64,
    },
}

/// What the records are.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Share of metrics, in permille.
    pub metrics: u64,
    /// Share of events of an attack class, in permille.
    pub attacks: u64,
    /// Share of records that the platform will not take, in permille.
    pub poison: u64,
    /// How large they are.
    pub sizes: Sizes,
    /// Attacks of a few types, whatever the shares say.
    pub flood: Option<Flood>,
}

/// Attacks of a few types, and among them now and then one of another.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// Types of the flood, at most 254: `rate_limited`, and others beside it.
    pub types: u64,
    /// One in as many records is a `penetration_attempt`.
    pub rare: u64,
    /// How large its records are, in bytes.
    pub bytes: usize,
}

impl Flood {
    /// Whether the record with that number is the rare one.
    pub(crate) const fn is_rare(self, number: u64) -> bool {
        number % self.rare == self.rare - 1
    }

    /// Which of its types a record is of: 0 is the rare one.
    fn event_type(self, number: u64) -> u8 {
        if self.is_rare(number) { 0 } else { u8::try_from(1 + number % self.types).unwrap_or(u8::MAX) }
    }
}

/// How large the records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// As a web service makes them: 585 bytes.
    Typical,
    /// From the least to a few kilobytes.
    Mixed,
    /// Mixed, and now and then one as large as a whole batch, or larger.
    Wild,
}

/// What the world knows of a record that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) kind: Kind,
    pub(crate) attack: bool,
    pub(crate) poison: bool,
    pub(crate) bytes: usize,
    /// Which of its types it is of.
    pub(crate) event_type: u8,
}

/// Makes records, each with a number that its encoding carries.
#[derive(Debug)]
pub(crate) struct Application {
    rng: Rng,
    pub(crate) mix: Mix,
    padding: String,
}

impl Application {
    pub(crate) fn new(rng: Rng, mix: Mix) -> Self {
        Self { rng, mix, padding: "x".repeat(300_000) }
    }

    /// Time to the next records, and how many.
    pub(crate) fn next(&mut self, arrivals: Arrivals) -> (Duration, u64) {
        match arrivals {
            Arrivals::Steady(gap) => (gap, 1),
            Arrivals::Poisson(mean) => (self.rng.exponential(mean), 1),
            Arrivals::Bursts { every, size } => (self.rng.exponential(every), self.rng.between(1, size)),
        }
    }

    /// The record with that number.
    pub(crate) fn make(&mut self, number: u64) -> (Record, Made) {
        if let Some(flood) = self.mix.flood {
            let event_type = flood.event_type(number);
            let name = match event_type {
                0 => String::from(event_type::PENETRATION_ATTEMPT),
                1 => String::from(event_type::RATE_LIMITED),
                other => format!("custom_{other}"),
            };
            let json = self.event(number, &name, flood.bytes);
            let made = Made { kind: Kind::Event, attack: true, poison: false, bytes: json.len(), event_type };
            return (Record::new(Kind::Event, true, json.into_bytes().into_boxed_slice()), made);
        }
        let kind = if self.rng.chance(self.mix.metrics) { Kind::Metric } else { Kind::Event };
        let poison = self.rng.chance(self.mix.poison);
        let attack = kind == Kind::Event && self.rng.chance(self.mix.attacks);
        let bytes = self.size();
        let json = match kind {
            Kind::Event => {
                let event_type =
                    if attack { event_type::PENETRATION_ATTEMPT } else { event_type::PATH_EXCLUDED };
                self.event(number, event_type, bytes)
            }
            Kind::Metric => self.pad(
                format!("{{\"metric_type\":\"request_count\",\"value\":{number}.0,\"endpoint\":\""),
                "\"}",
                bytes,
            ),
        };
        let made = Made { kind, attack, poison, bytes: json.len(), event_type: attack.into() };
        (Record::new(kind, attack, json.into_bytes().into_boxed_slice()), made)
    }

    fn event(&self, number: u64, event_type: &str, bytes: usize) -> String {
        self.pad(
            format!(
                "{{\"idempotency_key\":\"00000000-0000-4000-8000-{number:012x}\",\
                 \"event_type\":\"{event_type}\",\"reason\":\""
            ),
            "\"}",
            bytes,
        )
    }

    fn size(&mut self) -> usize {
        let bytes = match self.mix.sizes {
            Sizes::Typical => 585,
            Sizes::Mixed => self.rng.weighted(&[(100, 4), (585, 4), (4_000, 1)]),
            Sizes::Wild => self.rng.weighted(&[
                (100, 400),
                (585, 400),
                (4_000, 100),
                (60_000, 4),
                (200_000, 2),
                (261_500, 1),
                (262_144, 1),
                (290_000, 1),
            ]),
        };
        if self.mix.sizes == Sizes::Typical { bytes } else { bytes - self.rng.index(bytes / 4) }
    }

    fn pad(&self, head: String, tail: &str, bytes: usize) -> String {
        let padding = bytes.saturating_sub(head.len() + tail.len()).min(self.padding.len());
        let mut json = head;
        json.push_str(&self.padding[..padding]);
        json.push_str(tail);
        json
    }
}
