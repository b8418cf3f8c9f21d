use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use crate::journal::LeftBecause;
use crate::message::printable_within;
use crate::soonest::Soonest;
use crate::store::StoreErrorKind;
use crate::{AgentEvent, DropReason, Endpoint, ErrorStage, Instant, Reason};

/// Subject of a message. People are told of each at once, and what follows is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// An endpoint does not do what it is asked for.
    Failure(ErrorStage, Endpoint),
    /// Records that were given up.
    Dropped(DropReason),
    /// Records that were refused at the door.
    Invalid,
    /// Entries of a journal that could not be understood.
    Skipped,
    /// The store does not do what it is asked for.
    Store(StoreErrorKind),
    /// A log of an adopted journal is gone.
    LostLog,
    /// A journal of ours, or an adopted one, is not ours any more.
    Left(LeftBecause),
    /// Journals of other versions, or with other keys.
    Foreign,
    /// Journals that wait to be adopted.
    Orphaned,
    /// Journals that may have to be adopted.
    Leased,
    Adopted,
    /// The journal was not closed in time.
    Unclosed,
}

/// Most bytes of a message that is told with a number.
const LONGEST: usize = 960;

/// Says of each topic how often it may be told, and sums up what is not told yet.
#[derive(Debug, Default)]
pub(super) struct Reporter(BTreeMap<Topic, Told>);

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    /// How much there is to tell since then.
    untold: u64,
    /// The last message about it.
    message: String,
}

impl Topic {
    /// It is told at most that often.
    const fn interval(self) -> Duration {
        // Another failure is news.
        Duration::from_secs(if matches!(self, Self::Failure(..)) { 10 } else { 60 })
    }

    /// Whether what is told is how many there were.
    const fn is_sum(self) -> bool {
        matches!(self, Self::Dropped(_) | Self::Invalid | Self::Skipped)
    }

    /// Says that of `untold`, of which `message` was the last.
    fn event(self, untold: u64, message: String) -> AgentEvent {
        let message = match self {
            Self::Dropped(reason) => format!("{untold} records given up: {}", reason.as_str()),
            Self::Invalid => format!(
                "{untold} records were not valid and not taken: the value of a metric must be a finite number"
            ),
            Self::Skipped => format!("{untold} damaged or foreign entries were skipped{message}"),
            Self::Failure(..)
            | Self::Store(_)
            | Self::LostLog
            | Self::Left(_)
            | Self::Foreign
            | Self::Orphaned
            | Self::Leased
            | Self::Adopted
            | Self::Unclosed => match untold - 1 {
                0 => message,
                more => {
                    let message = printable_within(LONGEST, message);
                    format!("{message} [and {more} more like it since the last]")
                }
            },
        };
        match self {
            Self::Failure(stage, _) => AgentEvent::error(stage, message),
            Self::Dropped(_) | Self::Invalid => AgentEvent::error(ErrorStage::Drop, message),
            Self::Orphaned | Self::Leased | Self::Adopted => AgentEvent::notice(message),
            Self::Skipped
            | Self::Store(_)
            | Self::LostLog
            | Self::Left(_)
            | Self::Foreign
            | Self::Unclosed => AgentEvent::error(ErrorStage::Journal, message),
        }
    }
}

impl Reporter {
    /// There is something to tell, `count` times. The message, if it is time for one.
    pub(super) fn note(
        &mut self,
        topic: Topic,
        count: u64,
        message: String,
        now: Instant,
    ) -> Option<AgentEvent> {
        let told = self.0.entry(topic).or_default();
        told.untold = told.untold.saturating_add(count);
        told.message = message;
        let is_due = told.untold > 0 && told.at.is_none_or(|at| at + topic.interval() <= now);
        is_due.then(|| told.tell(topic, now))
    }

    /// A sum that is to be told now, and when the next is. At the end all are. What has no sum is told with the next of its
    /// kind, should there be one.
    pub(super) fn take(&mut self, now: Instant, ends: bool, next: &mut Soonest) -> Option<AgentEvent> {
        for (topic, told) in self.0.iter_mut().filter(|(topic, told)| topic.is_sum() && told.untold > 0) {
            let due = told.at.map_or(now, |at| at + topic.interval());
            if due <= now || ends {
                return Some(told.tell(*topic, now));
            }
            next.consider(Some((due, Reason::LossSummary)));
        }
        None
    }

    #[cfg(all(test, feature = "std"))]
    pub(super) fn topics(&self) -> usize {
        self.0.len()
    }
}

impl Told {
    fn tell(&mut self, topic: Topic, now: Instant) -> AgentEvent {
        let Self { untold, message, .. } =
            core::mem::replace(self, Self { at: Some(now), ..Self::default() });
        topic.event(untold, message)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    /// The lines about what happens every tenth of a second for two minutes, each with its second.
    fn lines(topic: impl Fn(u64) -> Topic) -> Vec<(u64, String)> {
        let mut reporter = Reporter::default();
        let mut lines = Vec::new();
        for turn in 0..1_200 {
            let now = at(turn * 100);
            let mut next = Soonest::NEVER;
            let told = reporter.note(topic(turn), 1, format!("number {turn}"), now);
            for event in told.into_iter().chain(reporter.take(now, false, &mut next)) {
                let (AgentEvent::Error { message, .. } | AgentEvent::Notice(message)) = event else {
                    panic!("{event:?}")
                };
                lines.push((turn / 10, message));
            }
        }
        lines
    }

    #[test]
    fn what_happens_again_and_again_is_told_at_once_and_then_summed_up() {
        let failures = lines(|_| Topic::Failure(ErrorStage::Rules, Endpoint::Rules));
        assert_eq!(failures.len(), 12);
        assert_eq!(failures[0], (0, String::from("number 0")));
        assert_eq!(failures[1], (10, String::from("number 100 [and 99 more like it since the last]")));
        let skipped = lines(|_| Topic::Skipped);
        assert_eq!(skipped.len(), 2);
        assert!(skipped[1].1.starts_with("600 damaged or foreign entries were skipped"), "{skipped:?}");
    }

    #[test]
    fn one_topic_holds_up_no_other() {
        let both = lines(|turn| match turn % 2 {
            0 => Topic::Left(LeftBecause::Stolen),
            _ => Topic::Left(LeftBecause::Intruded),
        });
        assert_eq!(both.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [0, 0, 60, 60]);
    }

    #[test]
    fn at_the_end_no_sum_is_held_back() {
        let mut reporter = Reporter::default();
        let mut next = Soonest::NEVER;
        for topic in [Topic::Skipped, Topic::Adopted] {
            let mut note = || reporter.note(topic, 3, String::from("adopted"), at(5));
            assert!(note().is_some() && note().is_none(), "{topic:?}");
        }
        assert!(reporter.take(at(6), false, &mut next).is_none());
        assert_eq!((next.at, next.reason), (at(60_005), Reason::LossSummary));
        let Some(AgentEvent::Error { message, .. }) = reporter.take(at(6), true, &mut next) else {
            panic!("nothing is told")
        };
        assert_eq!(message, "3 damaged or foreign entries were skippedadopted");
        assert!(reporter.take(at(6), true, &mut next).is_none());
    }
}
