use std::time::Duration;

use guard_agent_proto::{Instant, Kind, TransportErrorKind};

use super::network::{Answer, Meaning};
use super::rng::Rng;

/// A firewall before the platform that refuses every request with certain records, whatever else is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front {
    /// Zero where it breaks the connection.
    status: u16,
    /// Share of the records that it refuses, in permille.
    pub(crate) permille: u64,
    /// Whether it comes and goes with the weather.
    pub(crate) shifts: bool,
    pub(crate) is_on: bool,
    /// It learned to let those pass that come from there on.
    pub(crate) until: u64,
}

impl Front {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        Self {
            status: rng.pick(&[403, 403, 406, 500, 0, 0]),
            permille: rng.pick(&[2, 10, 30]),
            shifts: rng.chance(300),
            is_on: true,
            until: u64::MAX,
        }
    }

    pub(crate) fn refuses_any(&self, records: &[u64]) -> bool {
        self.is_on && records.iter().any(|record| self.dislikes(*record))
    }

    /// Whether it refuses that record while it is on.
    pub(crate) const fn dislikes(&self, record: u64) -> bool {
        // Evenly, and without a draw.
        record < self.until && (record.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 1_000 < self.permille
    }

    pub(crate) fn answer(&self) -> Answer {
        if self.status == 0 {
            return Answer::error(TransportErrorKind::Connection);
        }
        let meaning = if self.status >= 500 { Meaning::Failure } else { Meaning::Hold };
        Answer::status(self.status, "<html><body>Request blocked</body></html>", meaning)
    }
}

/// How a platform names the records that it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Nothing,
    /// As FastAPI does, with a number.
    Place,
    /// With the number as text.
    Text,
    /// `errors` instead of `detail`, and status 400.
    Errors,
    /// The first one alone.
    First,
    /// By idempotency key where records have one.
    Key,
    /// Places that are not there.
    Beyond,
}

impl Naming {
    pub(crate) const ALL: [Self; 7] =
        [Self::Nothing, Self::Place, Self::Text, Self::Errors, Self::First, Self::Key, Self::Beyond];

    /// The answer to a request with `records`, of which those at `bad` cannot be taken.
    pub(crate) fn answer(self, kind: Kind, bad: &[usize], records: &[u64]) -> Answer {
        let log = match kind {
            Kind::Event => "events",
            Kind::Metric => "metrics",
        };
        let located = |place: String| {
            format!(
                "{{\"type\":\"value_error\",\"loc\":[\"body\",\"{log}\",{place},\"reason\"],\"msg\":\"bad\"}}"
            )
        };
        let entry = |at: usize| match self {
            Self::Nothing => String::from("{\"msg\":\"bad record\"}"),
            Self::Place | Self::First => located(at.to_string()),
            Self::Text => located(format!("\"{at}\"")),
            Self::Beyond => located((at + records.len()).to_string()),
            Self::Key if kind == Kind::Event => {
                format!("{{\"idempotency_key\":\"00000000-0000-4000-8000-{:012x}\"}}", records[at])
            }
            Self::Errors | Self::Key => format!("{{\"index\":{at}}}"),
        };
        let most = if matches!(self, Self::First | Self::Nothing) { 1 } else { bad.len() };
        let entries: Vec<_> = bad[..most].iter().map(|at| entry(*at)).collect();
        let (status, name) = if self == Self::Errors { (400, "errors") } else { (422, "detail") };
        Answer::status(status, &format!("{{\"{name}\":[{}]}}", entries.join(",")), Meaning::Content)
    }
}

/// An account that may send a few records now and then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    records: usize,
    every: Duration,
    left: usize,
    opens_at: Instant,
}

impl Quota {
    pub(crate) const fn new(records: usize, every: Duration) -> Self {
        Self { records, every, left: records, opens_at: Instant::ZERO }
    }

    fn is_open(&mut self, now: Instant) -> bool {
        if self.opens_at <= now {
            (self.left, self.opens_at) = (self.records, now + self.every);
        }
        self.left > 0
    }

    /// Takes all of them, or none.
    pub(crate) fn grants(&mut self, now: Instant, records: usize) -> bool {
        let grants = self.is_open(now) && records <= self.left;
        self.left -= if grants { records } else { 0 };
        grants
    }
}
