use std::collections::BTreeMap;
use std::string::ToString;
use std::time::Duration;
use std::vec::Vec;

use super::AgentError;
use crate::{
    AgentConfig, ByKind, DropCounts, DropReason, Health, Instant, Kind, RulesDocument, Stats, StatusLevel,
    printable,
};

/// A message of one kind is logged at most that often. What is suppressed is counted in the next one.
///
/// Nothing is ever logged per record or per request that went well, so that a subscriber that turns
/// log records into events comes to rest.
const INTERVAL: Duration = Duration::from_secs(10);

/// The agent's own messages, all under the target `guard_agent`. What is not ours alone in them is cleaned here, where they
/// leave, whatever was done before.
#[derive(Debug, Default)]
pub(super) struct Log(BTreeMap<&'static str, Gate>);

#[derive(Debug, Default)]
struct Gate {
    last: Option<Instant>,
    suppressed: u64,
}

/// Says once what is to be known of the configuration of an agent that starts.
pub(super) fn started(config: &AgentConfig) {
    for warning in &config.warnings {
        tracing::warn!(target: "guard_agent", "{}", printable(warning));
    }
    if config.project_id.is_none() {
        tracing::info!(target: "guard_agent", "no rules are fetched, for there is no `project_id`");
    }
}

/// Says that each start of the agent has another install id.
pub(super) fn id_not_kept(error: &std::io::Error) {
    tracing::warn!(target: "guard_agent", "{}", printable(format_args!("the install id is not kept: {error}")));
}

/// Says what becomes of records in the end: what was lost over the life of an agent, and what it leaves behind.
pub(super) fn ended(stats: &Stats) {
    let mut lost = DropCounts::default();
    let (mut left, mut delivered) = (ByKind::<u64>::default(), 0);
    for kind in Kind::ALL {
        let ledger = &stats.records[kind];
        delivered += ledger.delivered;
        left[kind] = ledger.pending.saturating_sub(ledger.persisted);
        for (reason, count) in ledger.dropped.iter().filter(|(reason, _)| *reason != DropReason::Filtered) {
            lost[reason] += count;
        }
    }
    if lost.total() > 0 {
        tracing::warn!(target: "guard_agent", delivered, "records lost since the start: {lost:?}");
    }
    let ByKind { events, metrics } = left;
    if events + metrics > 0 {
        tracing::warn!(
            target: "guard_agent", events, metrics,
            "the agent ends with records that are neither delivered nor in a journal"
        );
    }
}

/// Says each change of the rules: no more often than they are asked for.
pub(super) fn rules(rules: Option<&RulesDocument>) {
    match rules {
        Some(RulesDocument { rules, .. }) => {
            // Texts of the document are the platform's and not for the log.
            let version = rules.version;
            tracing::info!(target: "guard_agent", version, "rules changed");
        }
        None => tracing::warn!(target: "guard_agent", "rules expired"),
    }
}

/// Says something that a person may wait for; the core says it once.
pub(super) fn notice(message: &str) {
    tracing::info!(target: "guard_agent", "{}", printable(message));
}

impl Log {
    pub(super) fn error(&mut self, now: Instant, error: &AgentError) {
        if let Some(suppressed) = self.admit(error.stage.as_str(), now) {
            let stage = error.stage.as_str();
            tracing::warn!(target: "guard_agent", stage, suppressed, "{}", error.message);
        }
    }

    pub(super) fn health(&mut self, now: Instant, health: &Health) {
        let Some(suppressed) = self.admit("health", now) else { return };
        let reasons =
            || printable(health.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        match health.level {
            StatusLevel::Healthy => tracing::info!(target: "guard_agent", suppressed, "healthy"),
            StatusLevel::Degraded => {
                tracing::warn!(target: "guard_agent", suppressed, "degraded: {}", reasons());
            }
            StatusLevel::Failed => {
                tracing::error!(target: "guard_agent", suppressed, "failed: {}", reasons())
            }
        }
    }

    /// How many messages of that kind were suppressed since the last one, if this one may be logged.
    fn admit(&mut self, kind: &'static str, now: Instant) -> Option<u64> {
        let gate = self.0.entry(kind).or_default();
        if gate.last.is_some_and(|last| now.since(last) < INTERVAL) {
            gate.suppressed += 1;
            return None;
        }
        gate.last = Some(now);
        Some(std::mem::take(&mut gate.suppressed))
    }
}
