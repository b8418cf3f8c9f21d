mod answers;
mod books;
mod due;
mod memory;
mod reporter;
mod stream;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use self::books::Episode;
use self::reporter::Reporter;
use crate::batcher::permille;
use crate::breaker::Breaker;
use crate::flush::{Flush, Flushes, Goal};
use crate::health::Decided;
use crate::journal::Journal;
use crate::lane::{HoldCause, Lane};
use crate::message::{printable, printable_within};
use crate::pacer::Pacer;
use crate::rng::Rng;
use crate::rules::Rules;
use crate::status::StatusPush;
use crate::{
    AgentConfig, AgentStatus, BreakerState, ByKind, ConfigError, DeadLetter, DropReason, Endpoint,
    ErrorStage, Health, HealthReason, Input, Instant, Kind, Ledger, Now, Output, Pressure, Reason, RequestId,
    RulesDocument, Seq, Stats, StatusLevel,
};
use stream::{Sender, Stream, endpoint};

/// Attempts that deliver nothing for so long count against the health.
const FRUITLESS: Duration = Duration::from_secs(10);

/// The agent: one state machine made of small ones, which this module only wires.
///
/// See the [crate] page for how to drive it.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    started: Instant,
    now: Now,
    rng: Rng,
    streams: ByKind<Stream>,
    next_request: u64,
    /// Requests before this one were made with credentials that have changed since.
    credentials_since: u64,
    in_flight: BTreeMap<RequestId, Flight>,
    pacer: Pacer,
    breaker: Breaker,
    /// Who sent the last probe.
    probed: Option<Sender>,
    rules: Rules,
    status: StatusPush,
    journal: Option<Journal>,
    /// Where the journal's store is, for messages.
    store: Option<Arc<str>>,
    /// The wall clock when the monotonic one was zero, in microseconds: records are dated by it, so that a
    /// clock that is set does not change their age.
    epoch: i64,
    flushes: Flushes,
    shutdown: Option<Flush>,
    /// When a shutdown leaves what is pending to the journal at the latest, so that others have it at once.
    hand_over_at: Instant,
    closed: bool,
    decided: Decided,
    dead_letters: VecDeque<DeadLetter>,
    /// Failures that were told last.
    episodes: BTreeMap<(ErrorStage, Endpoint), Episode>,
    leased_reported: bool,
    /// A request whose failure was told under [`ErrorStage::TransportSend`], so that nobody hears of it twice.
    reported: Option<RequestId>,
    reporter: Reporter,
    /// Since when attempts deliver nothing.
    fruitless: ByKind<Option<Instant>>,
    last_health: Health,
    counters: Stats,
    outputs: VecDeque<Output>,
}

/// A request that is out.
#[derive(Clone, Copy, Debug)]
struct Flight {
    sender: Sender,
    /// When a runtime that still has not answered is taken to have lost it.
    deadline: Instant,
}

impl Agent {
    /// An agent that has not sent anything yet. `journal` says whether the runtime answers
    /// [`Output::Store`]. `seed` must come from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// Every problem of the configuration, should it have changed since it was built.
    pub fn new(config: &AgentConfig, journal: bool, seed: [u8; 32], now: Now) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut rng = Rng::new(seed);
        let stream = |kind| Stream {
            live: Lane::new(kind, config),
            backlog: Lane::of_backlog(kind, config),
            retry_after: None,
            quota_refusals: 0,
            quota_until: None,
            live_turns: 0,
            overflows: false,
            ledger: Ledger::default(),
            next_seq: Seq::from_u64(1),
            receipts: BTreeMap::new(),
            told_durable: Seq::from_u64(0),
            partial: Vec::new(),
        };
        let journal = if journal { Some(Journal::new(config, now, &mut rng)?) } else { None };
        Ok(Self {
            started: now.instant,
            now,
            streams: ByKind { events: stream(Kind::Event), metrics: stream(Kind::Metric) },
            next_request: 1,
            credentials_since: 1,
            in_flight: BTreeMap::new(),
            pacer: Pacer::new(config),
            breaker: Breaker::new(config),
            probed: None,
            rules: Rules::new(config, now.instant),
            status: StatusPush::new(config, now.instant),
            journal,
            store: None,
            epoch: now.wall.as_unix_micros().saturating_sub_unsigned(now.instant.as_micros()),
            flushes: Flushes::default(),
            shutdown: None,
            hand_over_at: Instant::FAR_FUTURE,
            closed: false,
            decided: Decided::new(now.instant),
            dead_letters: VecDeque::new(),
            episodes: BTreeMap::new(),
            leased_reported: false,
            reported: None,
            reporter: Reporter::default(),
            fruitless: ByKind::default(),
            last_health: Health::default(),
            counters: Stats::default(),
            outputs: VecDeque::new(),
            rng,
            config: config.clone(),
        })
    }

    /// Names the place of the journal's store, without credentials: every message about the journal says it from now
    /// on, except what is sent to the platform.
    pub fn name_store(&mut self, place: impl Into<Arc<str>>) {
        // It is a part of longer messages.
        const LONGEST: usize = 256;
        self.store = Some(printable_within(LONGEST, place.into()).into());
    }

    /// Mixes fresh randomness from the operating system in: 32 bytes, best before each input, once the input and its time
    /// are known.
    ///
    /// Random values that the agent draws between two inputs (nonces, ids, waits) follow from the inputs alone. Two agents
    /// on clones of a machine, or on one that was set back to a snapshot, would draw the same for different records, and
    /// a nonce that comes twice breaks the encryption. With fresh randomness they part before their inputs do. Runs
    /// that have to repeat, as in simulations, go without it or give the same.
    pub fn reseed(&mut self, entropy: [u8; 32]) {
        self.rng.reseed(entropy);
    }

    /// The next number that its generator draws.
    #[cfg(all(test, feature = "std"))]
    pub(crate) fn next_random(&self) -> u64 {
        self.rng.clone().next_u64()
    }

    /// Takes in what happened at `now`.
    ///
    /// Call [`Agent::poll_output`] until it answers [`Output::Idle`] before the next input. A clock that
    /// stands still or went back is read as standing still.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.now = Now { instant: self.now.instant.max(now.instant), wall: now.wall };
        self.journal.iter_mut().for_each(|journal| journal.on_time(self.now));
        match input {
            Input::Timeout => {}
            Input::Records(records) => self.on_records(records),
            Input::Lost { kind, reason, count } => {
                self.streams[kind].ledger.accepted += count;
                self.count_drops(kind, reason, count);
            }
            Input::Invalid { kind, count } => self.count_invalid(kind, count),
            Input::Response { id, result } => self.on_response(id, result),
            Input::StoreReply { id, result } => self.on_store_reply(id, result),
            Input::Flush { id, deadline } => {
                self.hurry();
                self.flushes.push(Flush::new(id, Goal::Delivered, self.marks(), deadline, &self.ledgers()));
            }
            Input::Persist { id, deadline } => {
                self.journal.iter_mut().for_each(Journal::hurry);
                self.flushes.push(Flush::new(id, Goal::Durable, self.marks(), deadline, &self.ledgers()));
            }
            Input::RefreshRules => self.rules.refresh(self.now.instant),
            Input::CredentialsChanged => {
                self.credentials_since = self.next_request;
                for kind in Kind::ALL {
                    self.streams[kind].forget_quota();
                }
                self.hurry();
                self.rules.refresh(self.now.instant);
            }
            Input::Shutdown { deadline } => self.on_shutdown(deadline),
        }
        self.tell_health();
    }

    /// What to do next; call until it answers [`Output::Idle`].
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            if self.closed {
                return Output::Idle { deadline: Instant::FAR_FUTURE, reason: Reason::Nothing };
            }
            let next = self.advance();
            if self.outputs.is_empty() {
                return Output::Idle { deadline: next.at, reason: next.reason };
            }
        }
    }

    /// The statistics as of the last input.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let records = self.ledgers();
        Stats {
            records,
            memory_bytes: records.events.memory_bytes + records.metrics.memory_bytes,
            breaker: self.breaker.state(),
            health: self.health(),
            ..self.counters.clone()
        }
    }

    /// The health as of the last input.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health_naming(self.store.as_ref())
    }

    fn health_naming(&self, store: Option<&Arc<str>>) -> Health {
        let mut level = StatusLevel::Healthy;
        let mut reasons = Vec::new();
        if self.breaker.state() != BreakerState::Closed {
            reasons.push(HealthReason::BreakerOpen);
        }
        let nearly_full = permille(self.config.high_watermark_ratio);
        if Kind::ALL.iter().any(|kind| self.fill_permille(*kind) >= nearly_full) {
            reasons.push(HealthReason::BufferNearlyFull);
        }
        if let Some(permille) = self.decided.failing_permille() {
            reasons.push(HealthReason::HighFailureRate { permille });
        }
        if self.pacer.is_slowed() {
            reasons.push(HealthReason::Slowed);
        }
        for kind in Kind::ALL {
            let endpoint = endpoint(kind);
            let Stream { live, backlog, .. } = &self.streams[kind];
            let unresolved = live.unresolved().or_else(|| backlog.unresolved());
            reasons.extend(unresolved.map(|status| HealthReason::RefusesRecord { endpoint, status }));
            if self.fruitless_until(kind).is_some_and(|until| until <= self.now.instant) {
                reasons.push(HealthReason::NothingDelivered { endpoint });
            }
            let Some(hold) = live.held().or_else(|| backlog.held()) else { continue };
            let status = hold.status;
            if hold.cause == HoldCause::Everything || matches!(status, 401 | 403 | 404) {
                level = StatusLevel::Failed;
            }
            reasons.push(match hold.cause {
                HoldCause::Everything => HealthReason::RefusesEverything { endpoint, status },
                HoldCause::Refusal => HealthReason::Held { endpoint, status },
                HoldCause::Quota => HealthReason::QuotaUsedUp { endpoint, status },
            });
        }
        if self.rules.is_failing() {
            reasons.push(HealthReason::RulesFailing);
        }
        if let Some(journal) = &self.journal {
            let store = || store.map(Arc::clone);
            let down = journal.down().map(|why| HealthReason::JournalDown { why, store: store() });
            let impaired =
                || journal.impaired().map(|why| HealthReason::JournalImpaired { why, store: store() });
            reasons.extend(down.or_else(impaired));
        }
        if !reasons.is_empty() {
            level = level.max(StatusLevel::Degraded);
        }
        Health { level, reasons }
    }

    /// When attempts that deliver nothing count against the health, as long as there is something to deliver.
    fn fruitless_until(&self, kind: Kind) -> Option<Instant> {
        let since = self.fruitless[kind].filter(|_| self.ledgers()[kind].pending > 0)?;
        Some(since + FRUITLESS)
    }

    /// The status as it would be pushed.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        // Names of our servers and folders are not the platform's affair.
        let health = self.health_naming(None);
        let ledgers = self.ledgers();
        let dropped = ledgers.events.dropped;
        AgentStatus {
            timestamp: self.now.wall,
            status: health.level,
            uptime: self.now.instant.since(self.started).as_secs_f64(),
            events_sent: ledgers.events.delivered,
            events_failed: dropped.total() - dropped[DropReason::Filtered],
            buffer_size: ledgers.events.pending + ledgers.metrics.pending,
            last_flush: self.counters.last_flush,
            errors: health.reasons.iter().map(printable).collect(),
        }
    }

    /// Fill level and pace as of the last input.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let fill = Kind::ALL.map(|kind| self.fill_permille(kind)).into_iter().max().unwrap_or(0);
        Pressure {
            fill_permille: u16::try_from(fill).unwrap_or(u16::MAX),
            slowed: self.pacer.is_slowed(),
            breaker: self.breaker.state(),
        }
    }

    /// The rules in force.
    #[must_use]
    pub const fn rules(&self) -> Option<&Arc<RulesDocument>> {
        self.rules.current()
    }

    /// Takes the dead letters out, oldest first: the last ones that were refused or too large, at most
    /// `dead_letter_capacity`.
    pub fn take_dead_letters(&mut self) -> Vec<DeadLetter> {
        core::mem::take(&mut self.dead_letters).into()
    }

    /// Whether [`Output::Closed`] was given out.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }
}
