use std::fmt;

use guard_agent_proto::{
    Agent, AgentConfig, ConfigError, Health, Input, Instant, Now, Output, Reason, RulesDocument, Stats,
};

/// What the world drives: the agent, or the agent with a bug that the invariants must find.
#[derive(Debug)]
pub struct Subject {
    agent: Agent,
    bug: Option<Bug>,
    held: Option<Output>,
    steps: u64,
}

/// A bug, planted to prove that the invariants see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A record vanishes on its way in.
    LosesARecord,
    /// One record is taken twice.
    DoublesARecord,
    /// It asks to be woken at once, for ever.
    BusyLoop,
    /// It sleeps through its deadlines.
    Oversleeps,
    /// Every request is made twice.
    SendsTwice,
    /// Answers are not looked at.
    IgnoresAnswers,
    /// The statistics count a delivery that never was.
    CountsTooMuch,
}

impl Bug {
    /// Every bug, with the invariants that may find it.
    pub const ALL: [(Self, &'static [&'static str]); 7] = [
        (Self::LosesARecord, &["accepted"]),
        (Self::DoublesARecord, &["accepted"]),
        (Self::BusyLoop, &["deadline-passed", "busy-loop"]),
        (Self::Oversleeps, &["late-deadline", "convergence", "closes-in-time", "flushes-in-time"]),
        (Self::SendsTwice, &["request-id"]),
        (Self::IgnoresAnswers, &["delivered", "convergence", "strays", "breaker"]),
        (Self::CountsTooMuch, &["balance"]),
    ];
}

impl Subject {
    pub(crate) fn new(
        config: &AgentConfig,
        journal: bool,
        seed: [u8; 32],
        now: Now,
        bug: Option<Bug>,
    ) -> Result<Self, ConfigError> {
        Ok(Self { agent: Agent::new(config, journal, seed, now)?, bug, held: None, steps: 0 })
    }

    pub(crate) fn handle_input(&mut self, now: Now, mut input: Input) {
        self.steps += 1;
        if let Input::Records(records) = &mut input
            && self.steps > 20
        {
            if self.bug == Some(Bug::LosesARecord) {
                records.pop();
            } else if self.bug == Some(Bug::DoublesARecord) {
                records.extend(records.last().cloned());
            }
        }
        if self.bug == Some(Bug::IgnoresAnswers) && matches!(input, Input::Response { .. }) {
            input = Input::Timeout;
        }
        self.agent.handle_input(now, input);
    }

    pub(crate) fn poll_output(&mut self) -> Output {
        if let Some(output) = self.held.take() {
            return output;
        }
        let output = self.agent.poll_output();
        match (self.bug, output) {
            (Some(Bug::SendsTwice), Output::Send(request)) => {
                self.held = Some(Output::Send(request.clone()));
                Output::Send(request)
            }
            (Some(Bug::BusyLoop), Output::Idle { .. }) if self.steps > 20 => {
                Output::Idle { deadline: Instant::ZERO, reason: Reason::Nothing }
            }
            (Some(Bug::Oversleeps), Output::Idle { .. }) => {
                Output::Idle { deadline: Instant::FAR_FUTURE, reason: Reason::Nothing }
            }
            (_, output) => output,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.agent.stats();
        if self.bug == Some(Bug::CountsTooMuch) && self.steps > 20 {
            stats.records.events.delivered += 1;
        }
        stats
    }

    pub(crate) fn health(&self) -> Health {
        self.agent.health()
    }

    pub(crate) fn rules_version(&self) -> Option<i64> {
        self.agent.rules().map(|document: &std::sync::Arc<RulesDocument>| document.rules.version)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.agent.is_closed()
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
