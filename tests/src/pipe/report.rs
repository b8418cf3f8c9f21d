use std::collections::BTreeMap;

use guard_agent_proto::{ByKind, DropReason, Kind, Ledger, Stats, StatusLevel};
use serde::Serialize;

/// The statistics object, in the order of its documentation.
#[derive(Serialize)]
struct StatsLine {
    accepted: PerKind<u64>,
    recovered: PerKind<u64>,
    delivered: PerKind<u64>,
    pending: PerKind<u64>,
    handed_over: PerKind<u64>,
    aggregated: PerKind<u64>,
    persisted: PerKind<u64>,
    dropped: PerKind<BTreeMap<&'static str, u64>>,
    invalid: u64,
    disabled: PerKind<u64>,
    requests: Requests,
    bytes_sent: u64,
    breaker: &'static str,
    health: StatusLevel,
    reasons: Vec<String>,
    adopted_journals: u64,
    corrupt_entries: u64,
    in_memory: PerKind<u64>,
}

#[derive(Serialize)]
struct PerKind<T> {
    events: T,
    metrics: T,
}

#[derive(Serialize)]
struct Requests {
    sent: u64,
    failed: u64,
}

/// The statistics in one line. `invalid` lines never reached the agent, nor did `disabled` ones.
pub(super) fn stats_line(stats: &Stats, invalid: u64, disabled: ByKind<u64>) -> String {
    let records = &stats.records;
    let line = StatsLine {
        accepted: each(records, |ledger| ledger.accepted),
        recovered: each(records, |ledger| ledger.recovered),
        delivered: each(records, |ledger| ledger.delivered),
        pending: each(records, |ledger| ledger.pending),
        handed_over: each(records, |ledger| ledger.handed_over),
        aggregated: each(records, |ledger| ledger.aggregated),
        persisted: each(records, |ledger| ledger.persisted),
        dropped: each(records, |ledger| ledger.dropped.iter().map(|(r, n)| (r.as_str(), n)).collect()),
        invalid: invalid + sum(records, |ledger| ledger.invalid),
        disabled: PerKind { events: disabled.events, metrics: disabled.metrics },
        requests: Requests { sent: stats.requests_sent, failed: stats.requests_failed },
        bytes_sent: stats.bytes_sent,
        breaker: stats.breaker.as_str(),
        health: stats.health.level,
        reasons: stats.health.reasons.iter().map(ToString::to_string).collect(),
        adopted_journals: stats.adopted_journals,
        corrupt_entries: stats.corrupt_entries,
        in_memory: each(records, |ledger| ledger.in_memory),
    };
    serde_json::to_string(&line).unwrap_or_default()
}

/// What the process ends with.
pub(super) fn exit_code(stats: &Stats, invalid: u64, not_taken: u64) -> u8 {
    if lost(stats) + not_taken > 0 {
        3
    } else if invalid + sum(&stats.records, |ledger| ledger.invalid) > 0 {
        4
    } else {
        0
    }
}

/// Records that were given up, or that nobody holds once this process is gone.
pub(super) fn lost(stats: &Stats) -> u64 {
    sum(&stats.records, |ledger| {
        let dropped = ledger.dropped.total() - ledger.dropped[DropReason::Filtered];
        dropped + ledger.pending.saturating_sub(ledger.persisted)
    })
}

fn each<T>(records: &ByKind<Ledger>, value: fn(&Ledger) -> T) -> PerKind<T> {
    PerKind { events: value(&records.events), metrics: value(&records.metrics) }
}

fn sum(records: &ByKind<Ledger>, count: fn(&Ledger) -> u64) -> u64 {
    Kind::ALL.into_iter().map(|kind| count(&records[kind])).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Map, Value, json};

    use super::*;

    #[test]
    fn the_line_has_the_documented_shape() {
        let mut stats = Stats::default();
        stats.records.events.accepted = 5;
        stats.records.metrics.dropped[DropReason::Overflow] = 2;
        stats.records.metrics.invalid = 1;
        stats.bytes_sent = 7;
        let line: Value =
            serde_json::from_str(&stats_line(&stats, 3, ByKind { events: 2, metrics: 0 })).unwrap();
        let none = json!({"events": 0, "metrics": 0});
        let drops = |overflow| {
            let mut drops: Map<_, _> =
                DropReason::ALL.map(|reason| (reason.as_str().into(), 0.into())).into_iter().collect();
            drops["overflow"] = json!(overflow);
            drops
        };
        assert_eq!(
            line,
            json!({
                "accepted": {"events": 5, "metrics": 0}, "recovered": none, "delivered": none, "pending": none,
                "handed_over": none, "aggregated": none, "persisted": none,
                "dropped": {"events": drops(0), "metrics": drops(2)},
                "invalid": 4, "disabled": {"events": 2, "metrics": 0}, "requests": {"sent": 0, "failed": 0}, "bytes_sent": 7,
                "breaker": "closed", "health": "healthy", "reasons": [], "adopted_journals": 0,
                "corrupt_entries": 0, "in_memory": none,
            })
        );
    }

    #[test]
    fn loss_outweighs_invalid_lines() {
        let with = |change: fn(&mut Ledger)| {
            let mut stats = Stats::default();
            change(&mut stats.records.events);
            stats
        };
        let fine = with(|ledger| ledger.delivered = 9);
        let filtered = with(|ledger| ledger.dropped[DropReason::Filtered] = 1);
        let persisted = with(|ledger| (ledger.pending, ledger.persisted) = (2, 2));
        for harmless in [&fine, &filtered, &persisted] {
            assert_eq!(exit_code(harmless, 0, 0), 0);
            assert_eq!(exit_code(harmless, 1, 0), 4);
            assert_eq!(exit_code(harmless, 1, 1), 3);
        }
        assert_eq!(exit_code(&with(|ledger| ledger.invalid = 1), 0, 0), 4);
        assert_eq!(exit_code(&with(|ledger| (ledger.pending, ledger.persisted) = (2, 1)), 1, 0), 3);
        for reason in DropReason::ALL {
            let mut stats = Stats::default();
            stats.records.metrics.dropped[reason] = 1;
            assert_eq!(exit_code(&stats, 0, 0), if reason == DropReason::Filtered { 0 } else { 3 });
        }
    }
}
