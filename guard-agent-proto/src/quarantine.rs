use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::batch::Entry;
use crate::rng::Rng;
use crate::{Instant, Seq};

/// Records that were refused alone.
///
/// They are tried again: at once after the next success of others, and without one by one in growing intervals. A record
/// becomes a dead letter only where others pass and it does not. A status about content says so after one success
/// of others. Every other refusal could be due to the account or the server, so a witness has to show that it is
/// not: different content that passes right after the record was refused, five or seven times in a row.
#[derive(Clone, Debug)]
pub(crate) struct Quarantine {
    waiting: Vec<Entry>,
    /// Of the records that wait, and of those that were released for a trial.
    trials: BTreeMap<Seq, Trial>,
    /// Trials of the last [`MOST_REMEMBERED`] records that left memory for the journal: those come back, and are tried again then.
    remembered: VecDeque<(Seq, Trial)>,
    /// Records without a success of others that make the endpoint suspect of refusing everything.
    limit: usize,
    /// When the endpoint seemed to refuse everything last.
    acquitted_at: Instant,
    /// Successes of this endpoint with other records.
    successes: u64,
    /// When a record is tried although nothing passed since it was refused.
    next_attempt: Instant,
    /// Attempts of that kind since the last success.
    attempts: u32,
}

/// Why a record was refused, and what its trials showed.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    /// The status is about the content, whatever else is refused.
    pub(crate) is_of_content: bool,
}

#[derive(Clone, Debug)]
struct Trial {
    refusal: Refusal,
    /// Refusals of the record alone.
    refusals: u32,
    /// Successes of others when it was refused last.
    successes: u64,
    /// Refusals in a row between two successes of others.
    proofs: u8,
    /// Until when a success of others shows that the refusal was not about everything.
    witness_by: Option<Instant>,
    /// When it is tried again once others passed.
    not_before: Instant,
}

/// Starts at this many, and doubles whenever everything seemed to be refused, so that no run of bad records blocks a
/// lane for ever, whatever passes beside it.
const LIMIT: usize = 16;
/// How long the limit stays doubled.
const LIMIT_TIME: Duration = Duration::from_secs(3_600);
const LIMIT_MAX: usize = 4_096;
const MOST_REMEMBERED: usize = 1_024;
/// Witnesses that a refusal needs which is not about content by its status, and one of a server that may fail at random.
const PROOFS: u8 = 5;
const SERVER_PROOFS: u8 = 7;
/// How long after a refusal other content still witnesses: much less than quotas take to open.
const WITNESS_TIME: Duration = Duration::from_secs(5);
const TRIAL_BASE: Duration = Duration::from_secs(10);
const TRIAL_CAP: Duration = Duration::from_secs(300);

impl Quarantine {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: Vec::new(),
            trials: BTreeMap::new(),
            remembered: VecDeque::new(),
            limit: LIMIT,
            acquitted_at: Instant::ZERO,
            successes: 0,
            next_attempt: Instant::ZERO,
            attempts: 0,
        }
    }

    /// Takes in a record that was refused alone, or gives it back as proven to be what is wrong.
    pub(crate) fn refuse(
        &mut self,
        entry: Entry,
        refusal: Refusal,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<(), (Entry, Refusal)> {
        let successes = self.successes;
        self.recall(entry.seq());
        let trial = self.trials.entry(entry.seq()).or_insert_with(|| Trial::new(refusal.clone(), successes));
        let others_passed = trial.successes < successes;
        if others_passed && (refusal.is_of_content || trial.is_proven()) {
            self.trials.remove(&entry.seq());
            return Err((entry, refusal));
        }
        if trial.refusal.status != refusal.status {
            trial.proofs = 0;
        }
        trial.refusal = refusal;
        trial.refusals = trial.refusals.saturating_add(1);
        trial.successes = successes;
        trial.witness_by = others_passed.then_some(now + WITNESS_TIME);
        let in_vain = trial.refusals > 1 && !others_passed;
        trial.not_before = match trial.refusals {
            1 => Instant::ZERO,
            _ if trial.refusal.is_of_content => Instant::ZERO,
            refusals => now + wait(refusals - 2, rng),
        };
        if in_vain {
            self.attempts = self.attempts.saturating_add(1);
        }
        self.next_attempt = now + wait(self.attempts, rng);
        self.waiting.push(entry);
        Ok(())
    }

    /// Notes that other records passed. Answers those that are proven to be what is wrong.
    pub(crate) fn on_success(&mut self, now: Instant) -> Vec<(Entry, Refusal)> {
        self.successes += 1;
        self.attempts = 0;
        let mut proven = false;
        let remembered = self.remembered.iter_mut().map(|(_, trial)| trial);
        for trial in self.trials.values_mut().chain(remembered) {
            if trial.witness_by.take().is_some_and(|by| now <= by) {
                trial.proofs += 1;
                proven |= trial.is_proven();
            }
        }
        if !proven {
            return Vec::new();
        }
        let trials = &mut self.trials;
        let is_proven = |entry: &mut Entry| trials.get(&entry.seq()).is_some_and(Trial::is_proven);
        let dead: Vec<_> = self.waiting.extract_if(.., is_proven).collect();
        let dead = dead.into_iter().filter_map(|entry| {
            let trial = self.trials.remove(&entry.seq())?;
            Some((entry, trial.refusal))
        });
        dead.collect()
    }

    /// Notes that other records were refused, too: no refusal just before it proves anything.
    pub(crate) fn on_refusal(&mut self) {
        let remembered = self.remembered.iter_mut().map(|(_, trial)| trial);
        for trial in self.trials.values_mut().chain(remembered) {
            if trial.witness_by.take().is_some() {
                trial.proofs = 0;
            }
        }
    }

    /// When the next trial is due; [`Instant::ZERO`] for at once.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.iter().map(|entry| self.due_at(entry.seq())).min()
    }

    /// Takes out the records whose trial is due: all of them once others passed, else one at a time.
    pub(crate) fn release(&mut self, now: Instant) -> Vec<Entry> {
        let mut waiting = core::mem::take(&mut self.waiting);
        let is_due = |entry: &mut Entry| !self.is_unresolved(entry.seq()) && self.due_at(entry.seq()) <= now;
        let mut released: Vec<_> = waiting.extract_if(.., is_due).collect();
        if released.is_empty() && self.next_attempt <= now {
            let refusals = |entry: &Entry| self.trials.get(&entry.seq()).map(|trial| trial.refusals);
            let next =
                (0..waiting.len()).min_by_key(|index| (refusals(&waiting[*index]), waiting[*index].seq()));
            released.extend(next.map(|index| waiting.swap_remove(index)));
        }
        self.waiting = waiting;
        released.sort_by_key(Entry::seq);
        released
    }

    /// Takes everything out for a trial.
    pub(crate) fn release_all(&mut self) -> Vec<Entry> {
        self.waiting.sort_by_key(Entry::seq);
        core::mem::take(&mut self.waiting)
    }

    /// Whether so many were refused without a success that the endpoint seems to refuse everything: records alone, or
    /// `batches` on the way to them.
    pub(crate) fn is_full(&self, batches: usize, now: Instant) -> bool {
        let limit = self.limit(now);
        let unresolved = self.waiting.iter().filter(|entry| self.is_unresolved(entry.seq())).count();
        unresolved >= limit || batches >= 2 * limit
    }

    fn limit(&self, now: Instant) -> usize {
        if now < self.acquitted_at + LIMIT_TIME { self.limit } else { LIMIT }
    }

    /// Takes everything out: it was not about the records. What is remembered of others stays, for they come back.
    pub(crate) fn acquit(&mut self, now: Instant) -> Vec<Entry> {
        (self.limit, self.acquitted_at) = ((self.limit(now) * 2).min(LIMIT_MAX), now);
        self.trials.clear();
        core::mem::take(&mut self.waiting)
    }

    /// Forgets a record that left the agent, or went back in line.
    pub(crate) fn forget(&mut self, seq: Seq) {
        self.trials.remove(&seq);
    }

    /// Takes out the records that `matches`.
    pub(crate) fn extract(&mut self, matches: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        self.waiting.extract_if(.., |entry| matches(entry)).collect()
    }

    /// Takes out the records that `may_go` where they are kept for later, and remembers what their trials showed: in
    /// little memory, bad records would come back as unknown ones again and again.
    pub(crate) fn set_aside(&mut self, may_go: impl Fn(Seq) -> bool) -> Vec<Entry> {
        let entries = self.extract(|entry| may_go(entry.seq()));
        for entry in &entries {
            if let Some(trial) = self.trials.remove(&entry.seq()) {
                self.remembered.push_back((entry.seq(), trial));
            }
        }
        while self.remembered.len() > MOST_REMEMBERED {
            self.remembered.pop_front();
        }
        entries
    }

    /// Goes on with the trial of a record that came back.
    fn recall(&mut self, seq: Seq) {
        if let Some(place) = self.remembered.iter().position(|(of, _)| *of == seq) {
            self.trials.extend(self.remembered.remove(place));
        }
    }

    /// Takes out the oldest record.
    pub(crate) fn evict(&mut self) -> Option<Entry> {
        let oldest = (0..self.waiting.len()).min_by_key(|index| self.waiting[*index].seq())?;
        Some(self.waiting.swap_remove(oldest))
    }

    /// The status that a record on trial was refused with before.
    pub(crate) fn status(&self, seq: Seq) -> Option<u16> {
        let remembered = || self.remembered.iter().find(|(of, _)| *of == seq).map(|(_, trial)| trial);
        self.trials.get(&seq).or_else(remembered).map(|trial| trial.refusal.status)
    }

    /// The status of a refusal since which nothing passed.
    pub(crate) fn unresolved(&self) -> Option<u16> {
        self.waiting
            .iter()
            .find(|entry| self.is_unresolved(entry.seq()))
            .and_then(|entry| self.status(entry.seq()))
    }

    fn is_unresolved(&self, seq: Seq) -> bool {
        self.trials.get(&seq).is_some_and(|trial| trial.successes == self.successes)
    }

    pub(crate) fn records(&self) -> &[Entry] {
        &self.waiting
    }

    fn due_at(&self, seq: Seq) -> Instant {
        match self.trials.get(&seq) {
            Some(trial) if trial.successes < self.successes => trial.not_before,
            Some(_) | None => self.next_attempt,
        }
    }
}

fn wait(attempts: u32, rng: &mut Rng) -> Duration {
    let wait = TRIAL_BASE.saturating_mul(1 << attempts.min(8)).min(TRIAL_CAP);
    wait + rng.duration(Duration::ZERO, wait / 10)
}

impl Trial {
    const fn new(refusal: Refusal, successes: u64) -> Self {
        Self { refusal, refusals: 0, successes, proofs: 0, witness_by: None, not_before: Instant::ZERO }
    }

    /// Whether so many witnesses blame the record.
    const fn is_proven(&self) -> bool {
        self.proofs >= if is_of_server(self.refusal.status) { SERVER_PROOFS } else { PROOFS }
    }
}

/// Whether a refusal may be a server's that fails at random, or a network's.
pub(crate) const fn is_of_server(status: u16) -> bool {
    status == 0 || status >= 500
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Record};

    fn entry(seq: u64) -> Entry {
        let record = Record::new(Kind::Event, false, alloc::vec![b'x'].into());
        Entry::new(Seq::from_u64(seq), Instant::ZERO, record)
    }

    fn refusal(is_of_content: bool) -> Refusal {
        let status = if is_of_content { 422 } else { 403 };
        Refusal { status, message: String::from("no"), is_of_content }
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    struct Bench(Quarantine, Rng);

    impl Bench {
        fn refuse(&mut self, secs: u64, is_of_content: bool) -> bool {
            self.0.refuse(entry(1), refusal(is_of_content), at(secs), &mut self.1).is_err()
        }

        fn release(&mut self, secs: u64) -> usize {
            self.0.release(at(secs)).len()
        }
    }

    fn bench() -> Bench {
        Bench(Quarantine::new(), Rng::new([3; 32]))
    }

    #[test]
    fn a_refusal_of_content_is_final_once_others_passed() {
        let mut bench = bench();
        assert!(!bench.refuse(0, true));
        assert_eq!(bench.release(1), 0, "nothing passed yet");
        bench.0.on_success(at(1));
        assert_eq!(bench.release(1), 1);
        assert!(bench.refuse(2, true));
        assert!(bench.0.trials.is_empty());
    }

    #[test]
    fn without_a_success_of_others_trials_go_on_in_growing_intervals() {
        let mut bench = bench();
        let mut now = 0;
        for wait in [10, 20, 40, 80, 160, 300, 300, 300, 300] {
            assert!(!bench.refuse(now, true));
            assert_eq!(bench.release(now + wait - 1), 0, "{wait}");
            now += wait + wait / 10;
            assert_eq!(bench.release(now), 1, "{wait}");
        }
        bench.0.on_success(at(now));
        assert!(bench.0.refuse(entry(2), refusal(true), at(now), &mut bench.1).is_ok());
        assert!(bench.0.due() <= Some(at(now + 11)), "a success starts the intervals over");
    }

    #[test]
    fn other_refusals_are_final_after_five_witnesses() {
        let mut bench = bench();
        assert!(!bench.refuse(0, false));
        for round in 1..=5 {
            let now = round * 400;
            assert!(bench.0.on_success(at(now)).is_empty());
            assert_eq!(bench.release(now), 1);
            assert!(!bench.refuse(now, false));
            let dead = bench.0.on_success(at(now + 5));
            assert_eq!(dead.len(), usize::from(round == 5), "round {round}");
        }
        assert!(bench.0.trials.is_empty() && bench.0.records().is_empty());
    }

    #[test]
    fn nothing_is_proven_by_a_late_witness_or_when_others_are_refused_too() {
        for (late, refused) in [(true, false), (false, true)] {
            let mut bench = bench();
            assert!(!bench.refuse(0, false));
            for round in 1..=10 {
                let now = round * 400;
                bench.0.on_success(at(now));
                assert_eq!(bench.release(now), 1);
                assert!(!bench.refuse(now, false));
                if refused {
                    bench.0.on_refusal();
                }
                assert!(bench.0.on_success(at(now + if late { 6 } else { 1 })).is_empty());
            }
        }
    }

    #[test]
    fn only_a_refusal_of_content_is_tried_again_at_once_when_others_pass() {
        for (is_of_content, released) in [(true, 1), (false, 0)] {
            let mut bench = bench();
            assert!(!bench.refuse(0, is_of_content));
            assert_eq!(bench.release(20), 1);
            assert!(!bench.refuse(20, is_of_content));
            bench.0.on_success(at(21));
            assert_eq!(bench.release(21), released);
        }
    }

    #[test]
    fn a_record_that_left_is_not_remembered() {
        let mut bench = bench();
        assert!(!bench.refuse(0, true));
        bench.0.on_success(at(1));
        assert_eq!(bench.release(1), 1);
        bench.0.forget(Seq::from_u64(1));
        assert_eq!(bench.0.status(Seq::from_u64(1)), None);
        assert!(!bench.refuse(2, true), "it is its first refusal");
    }

    #[test]
    fn many_without_a_success_are_acquitted_and_the_limit_doubles() {
        let mut bench = bench();
        // A success of others meanwhile does not lower the limit; an hour does.
        for (secs, limit) in [(0, 16), (300, 32), (3_899, 64), (7_499, 16)] {
            bench.0.on_success(at(secs));
            for seq in 0..limit {
                assert!(!bench.0.is_full(0, at(secs)));
                assert!(bench.0.refuse(entry(seq), refusal(true), at(secs), &mut bench.1).is_ok());
            }
            assert!(bench.0.is_full(0, at(secs)));
            assert_eq!(bench.0.acquit(at(secs)).len() as u64, limit);
        }
    }

    #[test]
    fn one_witness_proves_several_records_bad() {
        let mut bench = bench();
        let refuse = |bench: &mut Bench, secs| {
            for seq in [1, 2] {
                assert!(bench.0.refuse(entry(seq), refusal(false), at(secs), &mut bench.1).is_ok());
            }
        };
        refuse(&mut bench, 0);
        for round in 1..=5 {
            let now = round * 400;
            bench.0.on_success(at(now));
            assert_eq!(bench.release(now), 2);
            refuse(&mut bench, now);
            let dead = bench.0.on_success(at(now));
            assert_eq!(dead.len(), if round == 5 { 2 } else { 0 });
        }
    }

    #[test]
    fn what_is_remembered_of_records_elsewhere_is_bounded() {
        let mut bench = bench();
        for seq in 0..3_000 {
            assert!(bench.0.refuse(entry(seq), refusal(true), at(0), &mut bench.1).is_ok());
            if seq % 50 == 49 {
                assert_eq!(bench.0.set_aside(|_| true).len(), 50);
            }
        }
        assert_eq!(bench.0.remembered.len(), MOST_REMEMBERED);
        assert_eq!(bench.0.status(Seq::from_u64(2_999)), Some(422), "the newest");
        assert_eq!(bench.0.status(Seq::from_u64(0)), None);
    }

    #[test]
    fn a_front_that_refuses_a_record_again_is_asked_in_growing_intervals() {
        let mut bench = bench();
        assert!(!bench.refuse(0, false));
        let mut now = 0;
        for wait in [0, 10, 20, 40, 80, 160, 300, 300] {
            bench.0.on_success(at(now));
            let due = bench.0.due().unwrap();
            let latest = now + wait + wait / 10;
            assert!(wait == 0 || at(now + wait) <= due && due <= at(latest), "{wait}: {due:?}");
            now = latest;
            assert_eq!(bench.release(now), 1, "{wait}");
            assert!(!bench.refuse(now, false));
            bench.0.on_refusal();
        }
    }
}
