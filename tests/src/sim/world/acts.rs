use std::time::Duration;

use guard_agent_proto::{DropReason, FlushId, Input, Kind, RequestId, Response};

use super::{Event, World};
use crate::sim::model::Checked;
use crate::sim::network::{Answer, Meaning};
use crate::sim::scenario::Act;

impl World {
    pub(super) fn act(&mut self, w: usize, act: Act) -> Checked {
        if self.workers[w].subject.is_none() {
            return Ok(());
        }
        self.trace.line(self.now, format_args!("[{w}] act {act:?}"));
        match act {
            Act::Flush => {
                self.flushes += 1;
                let id = FlushId::from_u64(self.flushes);
                let deadline = self.now + Duration::from_millis(self.nemesis.pick(&[0, 1, 1_000, 30_000]));
                self.workers[w].model.flush(id, deadline);
                self.feed(w, Input::Flush { id, deadline })
            }
            Act::RefreshRules => {
                self.workers[w].model.refresh();
                self.feed(w, Input::RefreshRules)
            }
            Act::CredentialsChanged => {
                self.workers[w].model.refresh();
                self.workers[w].model.credentials_changed();
                self.feed(w, Input::CredentialsChanged)
            }
            Act::Nudge => self.feed(w, Input::Timeout),
            Act::Stutter => {
                for _ in 0..3 {
                    self.feed(w, Input::Timeout)?;
                }
                Ok(())
            }
            Act::Suspend => {
                let pause = self.nemesis.pick(&[1, 40, 400, 90_000]);
                self.workers[w].paused = self.now + Duration::from_secs(pause);
                self.schedule.at(self.workers[w].paused, Event::Resume { worker: w });
                Ok(())
            }
            Act::SetClock => {
                let jump = self.nemesis.pick(&[-400_000_000_i64, -3_600, -1, 1, 3_600, 400_000_000]);
                self.wall_offset += jump * 1_000_000;
                Ok(())
            }
            Act::StrayAnswer => {
                let id = RequestId::from_u64(self.nemesis.pick(&[0, 1, 1 << 40, u64::MAX]));
                let answer = Answer {
                    result: Ok(Response::accepted()),
                    meaning: Meaning::Taken { records: Vec::new(), named: false },
                };
                if self.workers[w].model.waits_for(id) {
                    return Ok(());
                }
                self.workers[w].model.answer(self.now, id, &answer, &mut self.history.records);
                self.feed(w, Input::Response { id, result: answer.result })
            }
            Act::LostBefore => {
                let kind = self.nemesis.pick(&Kind::ALL);
                let count = self.nemesis.between(1, 50);
                let reason =
                    self.nemesis.pick(&[DropReason::Filtered, DropReason::Processor, DropReason::TooLarge]);
                self.workers[w].model.accepts(kind, count);
                self.feed(w, Input::Lost { kind, reason, count })?;
                self.workers[w].model.refuses(kind, count);
                self.feed(w, Input::Invalid { kind, count })
            }
            Act::ChangeRules => {
                self.platform.rules_version += 1;
                Ok(())
            }
            Act::Restart => {
                let deadline = self.nemesis.pick(&[0, 1, 5, 60]);
                self.shutdown(w, Duration::from_secs(deadline))
            }
            Act::Crash => {
                self.crash(w);
                Ok(())
            }
            Act::CrashMidway => {
                self.workers[w].dies_after = Some(self.nemesis.between(1, 20));
                Ok(())
            }
            Act::Persist => {
                self.flushes += 1;
                let id = FlushId::from_u64(self.flushes);
                let deadline = self.now + Duration::from_millis(self.nemesis.pick(&[0, 1, 1_000, 30_000]));
                self.workers[w].model.flush(id, deadline);
                self.feed(w, Input::Persist { id, deadline })
            }
        }
    }

    pub(super) fn shutdown(&mut self, w: usize, timeout: Duration) -> Checked {
        let deadline = self.now + timeout;
        self.trace.line(self.now, format_args!("[{w}] shutdown until {deadline:?}"));
        self.workers[w].model.shutdown(deadline);
        self.feed(w, Input::Shutdown { deadline })
    }

    /// The process is gone, with what only it knew.
    pub(super) fn crash(&mut self, w: usize) {
        self.trace.line(self.now, format_args!("[{w}] crash"));
        self.reckon(w);
        let run = self.workers[w].run;
        for record in &mut self.history.records {
            record.died |= record.run == run && record.taken_at.is_none() && !record.journaled;
        }
        self.end_process(w);
    }

    /// Takes down what this run gave up.
    pub(super) fn reckon(&mut self, w: usize) {
        for kind in Kind::ALL {
            let ledger = self.workers[w].model.stats.records[kind];
            let dropped = ledger.dropped;
            self.handed_over += ledger.handed_over;
            self.dropped += dropped.total();
            self.dead_letters += dropped[DropReason::DeadLetter];
        }
    }

    /// The process is gone; it comes back, unless this is the end of the world.
    pub(super) fn end_process(&mut self, w: usize) {
        let worker = &mut self.workers[w];
        worker.subject = None;
        worker.wire = None;
        worker.dies_after = None;
        worker.attacks.clear();
        if !self.ending {
            let pause = Duration::from_millis(self.nemesis.between(0, 30_000));
            self.schedule.at(self.now + pause, Event::Start { worker: w });
        }
    }
}
