use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use heapless::Deque;

use crate::backoff::Backoff;
use crate::rng::Rng;
use crate::wire::{Named, RulesAnswer};
use crate::{AgentConfig, DynamicRules, Instant, Now, Reason, RequestId, RulesDocument, Timestamp};

/// The rules in force, and when to ask for news of them.
///
/// The last good document stays in force whatever goes wrong, until its `expires_at`. Only what is no step back replaces it:
/// see [`Rules::refusal`].
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Only with a project is there anything to ask for.
    enabled: bool,
    accepts_any: bool,
    interval: Duration,
    current: Option<Arc<RulesDocument>>,
    /// Whether its lists are those of an earlier one.
    keeps_lists: bool,
    /// The next regular poll.
    due: Instant,
    /// Polls out of turn, soonest first: after an attack, and one that was asked for.
    quick: Deque<Instant, { QUICK_POLLS.len() + 1 }>,
    in_flight: Option<RequestId>,
    /// After a failure nothing is asked before that.
    gate: Option<(Instant, Reason)>,
    backoff: Backoff,
    failures: u32,
    /// By how many microseconds the platform's clock is ahead of ours.
    ahead: i64,
}

/// When rules are polled after an attack-class event was delivered.
const QUICK_POLLS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(1_000),
    Duration::from_millis(2_500),
    Duration::from_secs(6),
    Duration::from_secs(15),
];
/// A `ttl` makes polls no more frequent than this.
const MIN_TTL: Duration = Duration::from_secs(30);
const NO_LIST: &str = "rules came that name no list; the last good ones stay, for lists are emptied by name \
    (`accept_any_rules` is false)";
/// Failures in a row from which the agent calls itself degraded.
const FAILING: u32 = 3;

/// What an answer changed.
#[derive(Debug, PartialEq)]
pub(crate) enum Update {
    /// Nothing.
    Unchanged,
    /// A document took effect (or repeated the one in force: `changed` is false).
    Taken { changed: bool },
    /// The poll failed.
    Failed { message: String },
}

impl Rules {
    pub(crate) fn new(config: &AgentConfig, now: Instant) -> Self {
        Self {
            enabled: config.project_id.is_some(),
            accepts_any: config.accept_any_rules,
            interval: config.dynamic_rule_interval,
            current: None,
            keeps_lists: false,
            due: now,
            quick: Deque::new(),
            in_flight: None,
            gate: None,
            backoff: Backoff::new(config.backoff_factor, Duration::from_secs(60)),
            failures: 0,
            ahead: 0,
        }
    }

    /// When the next poll is due; `None` while one is out.
    pub(crate) fn due_at(&self) -> Option<(Instant, Reason)> {
        if !self.enabled || self.in_flight.is_some() {
            return None;
        }
        let due = (self.quick.front().copied().unwrap_or(self.due).min(self.due), Reason::RulesPoll);
        Some(self.gate.map_or(due, |gate| gate.max(due)))
    }

    /// A poll leaves; answers the entity tag it is conditional on.
    pub(crate) fn depart(&mut self, id: RequestId, now: Instant) -> Option<Arc<str>> {
        self.in_flight = Some(id);
        while self.quick.front().is_some_and(|at| *at <= now) {
            self.quick.pop_front();
        }
        self.due = self.due.max(now + self.interval);
        self.current.as_ref()?.etag.clone()
    }

    /// An answer came that was sent at `theirs` by the platform's clock, which `expires_at` is about.
    pub(crate) const fn set_clock(&mut self, theirs: Timestamp, ours: Timestamp) {
        self.ahead = theirs.as_unix_micros().saturating_sub(ours.as_unix_micros());
    }

    /// Reads the answer to the poll.
    pub(crate) fn on_answer(
        &mut self,
        answer: RulesAnswer,
        etag: Option<String>,
        now: Now,
        rng: &mut Rng,
    ) -> Update {
        self.in_flight = None;
        let (retry_after, message) = match answer {
            RulesAnswer::Rules { mut rules, named } => {
                if let Some(why) = self.refusal(&rules, named, now.wall) {
                    self.on_failure(None, now.instant, rng);
                    return Update::Failed { message: String::from(why) };
                }
                let kept = self.defended(now.wall).filter(|_| named == Named::Emergency);
                let keeps_lists = kept.is_some_and(has_lists);
                if let Some(kept) = kept {
                    rules.take_lists(kept);
                }
                self.keeps_lists = keeps_lists;
                self.on_success(now, &rules);
                let changed = self.current.as_ref().is_none_or(|current| !same(&current.rules, &rules));
                self.current = Some(Arc::new(RulesDocument { rules: *rules, etag: etag.map(Arc::from) }));
                return Update::Taken { changed };
            }
            RulesAnswer::NotModified => {
                if let Some(current) = self.current.clone() {
                    self.on_success(now, &current.rules);
                }
                return Update::Unchanged;
            }
            RulesAnswer::NotRules { message }
            | RulesAnswer::Invalid { message }
            | RulesAnswer::Hold { message } => (None, message),
            RulesAnswer::SlowDown { retry_after } => (retry_after, String::from("asked to slow down")),
            RulesAnswer::Failed { retry_after } => (retry_after, String::from("the platform failed")),
        };
        self.on_failure(retry_after, now.instant, rng);
        Update::Failed { message }
    }

    /// Why a document must not replace the one in force, if it must not.
    ///
    /// A document is compared with the one in force alone: at the start, after the end of the last one and under another
    /// `rule_id` every version counts, and so does an equal version that says something else, since not every platform
    /// counts. One that names no list leaves none empty; if all it does is to begin or end an emergency, the lists stay.
    /// The reasons are constant, so that they are told no more often than once a minute.
    pub(crate) fn refusal(
        &self,
        rules: &DynamicRules,
        named: Named,
        wall: Timestamp,
    ) -> Option<&'static str> {
        if expired(rules, self.theirs(wall)) {
            return Some("the rules had expired when they came; the last good ones stay");
        }
        let current = self.defended(wall)?;
        if rules.rule_id == current.rule_id && rules.version < current.version {
            return Some(
                "an older version of the rules in force came; they stay (`accept_any_rules` is false)",
            );
        }
        match named {
            Named::Nothing => names_a_rule(current).then_some(
                "rules came with nothing but an id; the last good ones stay, for lists are emptied by name \
                 (`accept_any_rules` is false)",
            ),
            Named::Settings => (has_lists(current) || current.emergency_mode).then_some(NO_LIST),
            Named::Emergency => {
                let switches = rules.emergency_mode || current.emergency_mode;
                (!switches && has_lists(current) && !self.repeats(rules, current)).then_some(NO_LIST)
            }
            Named::Lists => None,
        }
    }

    /// The document that must not go back, if there is one.
    fn defended(&self, wall: Timestamp) -> Option<&DynamicRules> {
        let current = self.current.as_ref().filter(|_| !self.accepts_any)?;
        Some(&current.rules).filter(|rules| !expired(rules, self.theirs(wall)))
    }

    /// Whether the document is the one in force, which got its lists from an earlier one.
    fn repeats(&self, rules: &DynamicRules, current: &DynamicRules) -> bool {
        let mut completed = rules.clone();
        completed.take_lists(current);
        self.keeps_lists && same(current, &completed)
    }

    /// The poll got no answer.
    pub(crate) fn on_no_answer(&mut self, now: Instant, rng: &mut Rng) {
        self.in_flight = None;
        self.on_failure(None, now, rng);
    }

    /// An attack-class event was delivered: the platform may make a rule of it any moment.
    pub(crate) fn on_attack_delivered(&mut self, now: Instant) {
        self.quick.clear();
        for offset in QUICK_POLLS {
            // There is a place for each.
            let _ = self.quick.push_back(now + offset);
        }
    }

    /// Somebody else decides when the next attempt is due: the breaker.
    pub(crate) fn clear_backoff(&mut self) {
        if matches!(self.gate, Some((_, Reason::Backoff))) {
            self.gate = None;
        }
    }

    /// The application wants them now, or the credentials changed.
    pub(crate) fn refresh(&mut self, now: Instant) {
        self.gate = None;
        // Not `due`, which the answer to a poll that is already out would put off.
        if self.quick.front().is_none_or(|at| *at > now) {
            // At most `QUICK_POLLS` lie ahead.
            let _ = self.quick.push_front(now);
        }
    }

    /// Ends the rules in force if their hard end passed; answers whether it did.
    pub(crate) fn expire(&mut self, wall: Timestamp) -> bool {
        let expired = self.current.as_ref().is_some_and(|current| expired(&current.rules, self.theirs(wall)));
        if expired {
            self.current = None;
        }
        expired
    }

    /// When the rules in force end.
    pub(crate) fn expires_at(&self, now: Now) -> Option<(Instant, Reason)> {
        let left = remaining(&self.current.as_ref()?.rules, self.theirs(now.wall))?;
        Some((now.instant + left, Reason::RulesExpiry))
    }

    pub(crate) const fn current(&self) -> Option<&Arc<RulesDocument>> {
        self.current.as_ref()
    }

    pub(crate) const fn is_failing(&self) -> bool {
        self.failures >= FAILING
    }

    /// The time by the platform's clock.
    const fn theirs(&self, ours: Timestamp) -> Timestamp {
        Timestamp::from_unix_micros(ours.as_unix_micros().saturating_add(self.ahead))
    }

    fn on_success(&mut self, now: Now, rules: &DynamicRules) {
        self.gate = None;
        self.backoff.reset();
        self.failures = 0;
        let fresh = u64::try_from(rules.ttl).ok().filter(|ttl| *ttl > 0).map(Duration::from_secs);
        let wait = fresh.map_or(self.interval, |ttl| ttl.max(MIN_TTL).min(self.interval));
        let wait = remaining(rules, self.theirs(now.wall)).map_or(wait, |left| wait.min(left.max(MIN_TTL)));
        self.due = now.instant + wait;
    }

    fn on_failure(&mut self, retry_after: Option<Duration>, now: Instant, rng: &mut Rng) {
        self.failures = self.failures.saturating_add(1);
        let backoff = self.backoff.next(rng);
        self.gate = Some(match retry_after {
            Some(wait) => (now + wait.max(Backoff::FLOOR), Reason::RetryAfter),
            None => (now + backoff, Reason::Backoff),
        });
        self.due = now;
    }
}

/// Whether two documents say the same; a new time stamp alone is no news.
fn same(a: &DynamicRules, b: &DynamicRules) -> bool {
    *a == DynamicRules { timestamp: a.timestamp, ..b.clone() }
}

/// Whether a document says anything but what it is, from when and for how long.
fn names_a_rule(rules: &DynamicRules) -> bool {
    let DynamicRules { rule_id, version, timestamp, expires_at, ttl, message, .. } = rules.clone();
    *rules
        != DynamicRules { rule_id, version, timestamp, expires_at, ttl, message, ..DynamicRules::default() }
}

/// Whether a list of the document holds anything.
fn has_lists(rules: &DynamicRules) -> bool {
    let mut lists = DynamicRules::default();
    lists.take_lists(rules);
    lists != DynamicRules::default()
}

fn expired(rules: &DynamicRules, wall: Timestamp) -> bool {
    rules.expires_at.is_some_and(|end| end <= wall)
}

fn remaining(rules: &DynamicRules, wall: Timestamp) -> Option<Duration> {
    let micros = rules.expires_at?.as_unix_micros().saturating_sub(wall.as_unix_micros());
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::string::ToString as _;

    use serde_json::json;

    use super::*;
    use crate::Response;
    use crate::wire::parse_rules;

    const ID: RequestId = RequestId(1);

    fn rules() -> Rules {
        let config = AgentConfig::builder("0123456789").project_id("p").build().unwrap();
        Rules::new(&config, Instant::ZERO)
    }

    fn at(secs: u64) -> Now {
        let wall =
            Timestamp::from_unix_micros(1_000_000_000_000_000 + i64::try_from(secs).unwrap() * 1_000_000);
        Now { instant: Instant::ZERO + Duration::from_secs(secs), wall }
    }

    fn document(change: impl FnOnce(&mut DynamicRules)) -> RulesAnswer {
        let mut rules = DynamicRules::default();
        change(&mut rules);
        RulesAnswer::Rules { rules: Box::new(rules), named: Named::Lists }
    }

    fn poll(rules: &mut Rules, now: Now, answer: RulesAnswer) -> Update {
        rules.depart(ID, now.instant);
        rules.on_answer(answer, None, now, &mut Rng::new([9; 32]))
    }

    #[test]
    fn one_poll_at_a_time() {
        let mut rules = rules();
        assert_eq!(rules.due_at(), Some((Instant::ZERO, Reason::RulesPoll)));
        rules.depart(ID, Instant::ZERO);
        assert_eq!(rules.due_at(), None);
        rules.on_no_answer(Instant::ZERO, &mut Rng::new([9; 32]));
        assert!(rules.due_at().is_some_and(|(at, reason)| at > Instant::ZERO && reason == Reason::Backoff));
    }

    #[test]
    fn who_asks_while_a_poll_is_out_gets_another() {
        let mut rules = rules();
        rules.depart(ID, at(0).instant);
        rules.refresh(at(0).instant);
        rules.refresh(at(0).instant);
        rules.on_answer(document(|_| {}), None, at(1), &mut Rng::new([9; 32]));
        assert_eq!(rules.due_at(), Some((at(0).instant, Reason::RulesPoll)));
        poll(&mut rules, at(1), document(|_| {}));
        assert!(rules.due_at().is_some_and(|(due, _)| due > at(1).instant));
    }

    #[test]
    fn an_attack_is_followed_by_polls_further_and_further_apart() {
        let mut rules = rules();
        poll(&mut rules, at(0), document(|_| {}));
        rules.on_attack_delivered(at(10).instant);
        rules.on_attack_delivered(at(20).instant);
        let mut polls = alloc::vec::Vec::new();
        while let Some((due, Reason::RulesPoll)) = rules.due_at().filter(|(due, _)| *due < at(300).instant) {
            polls.push(due.since(at(20).instant).as_millis());
            let now = Now { instant: due, ..at(20) };
            poll(&mut rules, now, RulesAnswer::NotModified);
        }
        assert_eq!(polls, [0, 1_000, 2_500, 6_000, 15_000]);
        assert_eq!(rules.due_at(), Some((at(35 + 300).instant, Reason::RulesPoll)));
    }

    #[test]
    fn only_a_change_is_news() {
        let mut rules = rules();
        assert_eq!(poll(&mut rules, at(0), document(|_| {})), Update::Taken { changed: true });
        let touched = document(|rules| rules.timestamp = Timestamp::from_unix_micros(5));
        assert_eq!(poll(&mut rules, at(1), touched), Update::Taken { changed: false });
        assert_eq!(
            poll(&mut rules, at(2), document(|rules| rules.version = 2)),
            Update::Taken { changed: true }
        );
        assert_eq!(poll(&mut rules, at(3), RulesAnswer::NotModified), Update::Unchanged);
    }

    fn version(version: i64) -> RulesAnswer {
        document(|rules| {
            rules.version = version;
            rules.ip_blacklist.push(alloc::format!("192.0.2.{version}"));
        })
    }

    fn bare(id: &str, version: i64) -> RulesAnswer {
        let rules = DynamicRules { rule_id: id.into(), version, ..DynamicRules::default() };
        RulesAnswer::Rules { rules: Box::new(rules), named: Named::Nothing }
    }

    /// The answer with that document.
    fn answered(document: serde_json::Value) -> RulesAnswer {
        let body = document.to_string().into_bytes();
        parse_rules(&Response { body, ..Response::accepted() }, at(0).wall)
    }

    fn banned(rules: &Rules) -> Option<&str> {
        rules.current().and_then(|current| current.rules.ip_blacklist.first()).map(String::as_str)
    }

    #[test]
    fn an_older_version_does_not_replace_a_newer_one() {
        let mut rules = rules();
        let answered = |rules: &mut Rules, secs, number, tag: &str| {
            let asked = rules.depart(ID, at(secs).instant);
            let update = rules.on_answer(version(number), Some(tag.into()), at(secs), &mut Rng::new([9; 32]));
            (asked, update)
        };
        let (_, update) = answered(&mut rules, 0, 5, "newer");
        assert_eq!(update, Update::Taken { changed: true }, "any at the start");
        let (_, update) = answered(&mut rules, 1, 4, "older");
        assert!(
            matches!(&update, Update::Failed { message } if message.contains("older version")),
            "{update:?}"
        );
        assert_eq!(banned(&rules), Some("192.0.2.5"));
        let (asked, _) = answered(&mut rules, 2, 4, "older");
        assert_eq!(asked.as_deref(), Some("newer"), "nothing is asked for by the tag of what was refused");

        // One that is not numbered is the first version.
        assert!(matches!(poll(&mut rules, at(3), version(1)), Update::Failed { .. }));
        let edited = document(|rules| (rules.version, rules.ip_blacklist) = (5, alloc::vec!["a".into()]));
        assert_eq!(
            poll(&mut rules, at(4), edited),
            Update::Taken { changed: true },
            "equal versions may differ"
        );
        assert_eq!(poll(&mut rules, at(5), version(6)), Update::Taken { changed: true });
        let other = document(|rules| rules.rule_id = "other".into());
        assert_eq!(poll(&mut rules, at(6), other), Update::Taken { changed: true }, "versions are of one id");
        assert_eq!(poll(&mut rules, at(7), version(2)), Update::Taken { changed: true });
    }

    #[test]
    fn an_older_version_is_taken_once_the_newer_one_has_ended() {
        let mut rules = rules();
        let ends = |version, end: Now| {
            document(|rules| (rules.version, rules.expires_at) = (version, Some(end.wall)))
        };
        poll(&mut rules, at(0), ends(5, at(10)));
        assert!(matches!(poll(&mut rules, at(9), ends(4, at(90))), Update::Failed { .. }));
        assert_eq!(poll(&mut rules, at(10), ends(4, at(90))), Update::Taken { changed: true });
    }

    #[test]
    fn nothing_but_an_id_empties_no_list() {
        let mut rules = rules();
        assert_eq!(
            poll(&mut rules, at(0), bare("a", 1)),
            Update::Taken { changed: true },
            "there is nothing yet"
        );
        assert_eq!(poll(&mut rules, at(1), bare("a", 2)), Update::Taken { changed: true }, "nor now");
        poll(&mut rules, at(2), version(5));
        for id in ["default-rule", "another"] {
            for version in [5, 6, i64::MAX] {
                let update = poll(&mut rules, at(3), bare(id, version));
                let refused =
                    matches!(&update, Update::Failed { message } if message.contains("nothing but an id"));
                assert!(refused, "{update:?}");
                assert_eq!(banned(&rules), Some("192.0.2.5"));
            }
        }
        // Whoever names a list means it.
        assert_eq!(
            poll(&mut rules, at(4), document(|rules| rules.version = 6)),
            Update::Taken { changed: true }
        );
        assert_eq!(banned(&rules), None);
    }

    #[test]
    fn an_id_and_settings_empty_no_list() {
        let lists = json!({
            "ip_blacklist": ["192.0.2.7"], "ip_whitelist": ["192.0.2.8"], "blocked_countries": ["XX"],
            "whitelist_countries": ["XX"], "blocked_cloud_providers": ["AWS"], "blocked_user_agents": ["x"],
            "suspicious_patterns": ["x"], "endpoint_rate_limits": {"/a": [1, 1]}, "emergency_whitelist": ["x"],
        });
        for (name, list) in lists.as_object().unwrap() {
            for settings in [
                json!({"emergency_mode": false}),
                json!({"global_rate_limit": 5, "enable_ip_banning": true}),
                json!({"emergency_mode": false, "emergency_whitelist_only": true, "ip_ban_duration": 1}),
            ] {
                for (id, version) in [("r", 4), ("r", 5), ("other", 1)] {
                    let mut rules = rules();
                    poll(&mut rules, at(0), answered(json!({"rule_id": "r", "version": 4, name: list})));
                    let before = rules.current().cloned().unwrap();
                    let mut document = settings.clone();
                    document["rule_id"] = json!(id);
                    document["version"] = json!(version);
                    for secs in 1..3 {
                        let update = poll(&mut rules, at(secs), answered(document.clone()));
                        let refused =
                            matches!(&update, Update::Failed { message } if message.contains("name no list"));
                        assert!(refused, "{name} {document}: {update:?}");
                        assert_eq!(rules.current(), Some(&before), "{name} {document}");
                    }
                }
            }
        }
        // Where there is no list, settings replace each other.
        let mut rules = rules();
        for limit in [5, 6] {
            let update = poll(&mut rules, at(0), answered(json!({"global_rate_limit": limit})));
            assert_eq!(update, Update::Taken { changed: true });
        }
    }

    #[test]
    fn an_emergency_begins_and_ends_without_a_list_and_all_lists_stay() {
        let mut rules = rules();
        let mut answer = |secs, document| {
            let update = poll(&mut rules, at(secs), answered(document));
            let current = rules.current().unwrap();
            (update, current.rules.emergency_mode, banned(&rules).map(String::from))
        };
        let ban = Some(String::from("192.0.2.7"));
        let changed = || Update::Taken { changed: true };
        let unchanged = || Update::Taken { changed: false };
        answer(0, json!({"rule_id": "r", "version": 4, "ip_blacklist": ["192.0.2.7"]}));
        let begins = json!({"rule_id": "r", "version": 5, "emergency_mode": true});
        assert_eq!(answer(1, begins.clone()), (changed(), true, ban.clone()));
        assert_eq!(answer(2, begins), (unchanged(), true, ban.clone()));
        for unclear in [json!({"rule_id": "r", "version": 6}), json!({"global_rate_limit": 5})] {
            let (update, emergency, banned) = answer(3, unclear);
            assert!(matches!(update, Update::Failed { .. }), "{update:?}");
            assert!(emergency && banned == ban, "an emergency ends by name");
        }
        let ends = json!({"rule_id": "r", "version": 6, "emergency_mode": false});
        assert_eq!(answer(4, ends.clone()), (changed(), false, ban.clone()));
        assert_eq!(answer(5, ends), (unchanged(), false, ban.clone()), "and may be repeated");
        let (update, ..) = answer(6, json!({"rule_id": "r", "version": 7, "emergency_mode": false}));
        assert!(matches!(update, Update::Failed { .. }), "{update:?}");
        let named = json!({"rule_id": "r", "version": 7, "emergency_mode": true, "ip_whitelist": []});
        assert_eq!(answer(7, named), (changed(), true, None), "who names a list means all");
    }

    #[test]
    fn lists_do_not_outlive_their_document_into_an_emergency() {
        let mut rules = rules();
        let until = |secs| at(secs).wall.to_string();
        poll(&mut rules, at(0), answered(json!({"ip_blacklist": ["192.0.2.7"], "expires_at": until(10)})));
        let update = poll(&mut rules, at(10), answered(json!({"emergency_mode": true})));
        assert_eq!((update, banned(&rules)), (Update::Taken { changed: true }, None));
    }

    #[test]
    fn a_platform_may_be_allowed_to_go_back() {
        let config =
            AgentConfig::builder("0123456789").project_id("p").accept_any_rules(true).build().unwrap();
        let mut rules = Rules::new(&config, Instant::ZERO);
        for answer in [version(5), version(4), bare("default-rule", 1)] {
            assert_eq!(poll(&mut rules, at(0), answer), Update::Taken { changed: true });
        }
        assert_eq!(banned(&rules), None);
        for mode in [true, false] {
            poll(&mut rules, at(0), version(5));
            poll(&mut rules, at(0), answered(json!({"emergency_mode": mode})));
            assert_eq!(banned(&rules), None, "literally");
        }
        let ended = document(|rules| rules.expires_at = Some(at(0).wall));
        assert!(matches!(poll(&mut rules, at(0), ended), Update::Failed { .. }));
    }

    #[test]
    fn a_failure_keeps_the_document_and_retries_after_what_the_platform_asks() {
        let mut rules = rules();
        poll(&mut rules, at(0), document(|_| {}));
        let wait = Some(Duration::from_secs(77));
        for answer in [RulesAnswer::SlowDown { retry_after: wait }, RulesAnswer::Failed { retry_after: wait }]
        {
            assert!(matches!(poll(&mut rules, at(10), answer), Update::Failed { .. }));
            assert_eq!(rules.due_at(), Some((at(87).instant, Reason::RetryAfter)));
            assert!(rules.current().is_some());
        }
    }

    #[test]
    fn failing_from_the_third_failure_on_until_a_success() {
        let mut rules = rules();
        for failures in 1..=4 {
            rules.on_no_answer(at(failures).instant, &mut Rng::new([9; 32]));
            assert_eq!(rules.is_failing(), failures >= 3);
        }
        poll(&mut rules, at(9), document(|_| {}));
        assert!(!rules.is_failing());
    }

    #[test]
    fn the_hard_end_is_polled_for_and_kept() {
        let mut rules = rules();
        let end = at(100).wall;
        poll(&mut rules, at(0), document(|rules| rules.expires_at = Some(end)));
        assert_eq!(rules.due_at(), Some((at(100).instant, Reason::RulesPoll)));
        assert_eq!(rules.expires_at(at(40)), Some((at(100).instant, Reason::RulesExpiry)));
        assert!(!rules.expire(at(99).wall));
        assert!(rules.expire(at(100).wall));
        assert!(rules.current().is_none());
        let late = document(|rules| rules.expires_at = Some(end));
        assert!(matches!(poll(&mut rules, at(101), late), Update::Failed { .. }));
        assert!(rules.current().is_none());
    }

    #[test]
    fn the_hard_end_is_by_the_platforms_clock() {
        let ours = at(100_000);
        for theirs in [at(96_400), at(100_000), at(103_600)] {
            let mut rules = rules();
            let end = Timestamp::from_unix_micros(theirs.wall.as_unix_micros() + 60_000_000);
            rules.set_clock(theirs.wall, ours.wall);
            let taken = poll(&mut rules, ours, document(|rules| rules.expires_at = Some(end)));
            assert_eq!(taken, Update::Taken { changed: true });
            assert_eq!(rules.expires_at(ours), Some((at(100_060).instant, Reason::RulesExpiry)));
            assert!(!rules.expire(at(100_059).wall));
            assert!(rules.expire(at(100_060).wall));
        }
    }

    #[test]
    fn the_breaker_ends_our_own_waiting_and_not_what_the_platform_asked_for() {
        let wait = Some(Duration::from_secs(77));
        for (retry_after, reason) in [(None, Reason::RulesPoll), (wait, Reason::RetryAfter)] {
            let mut rules = rules();
            poll(&mut rules, at(10), RulesAnswer::Failed { retry_after });
            rules.clear_backoff();
            assert_eq!(rules.due_at().map(|(_, reason)| reason), Some(reason));
        }
    }

    #[test]
    fn who_asks_between_two_quick_polls_waits_for_neither() {
        let mut rules = rules();
        poll(&mut rules, at(0), document(|_| {}));
        rules.on_attack_delivered(at(10).instant);
        poll(&mut rules, at(20), document(|_| {}));
        assert!(rules.due_at().is_some_and(|(due, _)| due > at(20).instant));
        rules.refresh(at(20).instant);
        assert_eq!(rules.due_at(), Some((at(20).instant, Reason::RulesPoll)));
    }
}
