use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::{
    AgentConfig, AgentStatus, ConfigError, DeadLetter, Health, Input, Instant, Now, Output, Pressure, Reason,
    RulesDocument, Stats,
};

/// The agent: one state machine made of small ones, which this file only wires.
#[derive(Debug)]
pub struct Agent {}

impl Agent {
    /// An agent that has not sent anything yet. `journal` says whether the runtime answers
    /// [`Output::Store`]. `seed` must come from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// Every problem of the configuration that only shows here, such as a bad encryption key.
    pub fn new(
        _config: &AgentConfig,
        _journal: bool,
        _seed: [u8; 32],
        _now: Now,
    ) -> Result<Self, ConfigError> {
        Ok(Self {})
    }

    /// Takes in what happened at `now`.
    pub fn handle_input(&mut self, _now: Now, _input: Input) {}

    /// What to do next; call until it answers [`Output::Idle`].
    pub fn poll_output(&mut self) -> Output {
        Output::Idle { deadline: Instant::FAR_FUTURE, reason: Reason::Nothing }
    }

    /// The statistics as of the last input.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// The health as of the last input.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::default()
    }

    /// The status as it would be pushed.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        unreachable!()
    }

    /// Fill level and pace as of the last input.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        Pressure::default()
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Option<&Arc<RulesDocument>> {
        None
    }

    /// Takes the dead letters out, oldest first.
    pub fn take_dead_letters(&mut self) -> Vec<DeadLetter> {
        Vec::new()
    }

    /// Whether [`Output::Closed`] was given out.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        false
    }
}
