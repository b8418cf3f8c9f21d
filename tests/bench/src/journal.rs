//! What a journal costs, and what it saves.

use std::fs;
use std::path::Path;

use guard_agent_tests::scratch::Scratch;

use crate::redis::Redis;
use crate::report::Reach;
use crate::request::Requests;
use crate::sample::{BATCH, BATCHES, Figures, Pace, Task};
use crate::side::{Journal, Mode, Name};
use crate::{Bench, Error, Samples, expect_events, process};

/// Events that are journaled as fast as may be.
const EVENTS: usize = 200_000;
/// Events that a restarted agent finds.
const BACKLOG: usize = 1_000_000;
/// Seconds at a thousand events a second.
const SECONDS: u32 = 20;
/// The lowest share of what the store itself does.
const SHARE: Reach = Reach::RatioAtLeast(0.5);
/// What else does what it measures.
const REDIS_BENCHMARK: &str = "redis-benchmark -t set";
const PLAIN: &str = "write + fdatasync";
const ABSENT: &str = "guard-agent-tokio, no Redis";

impl Bench {
    pub(crate) fn journal(&mut self) -> Result<(), Error> {
        self.redis_throughput()?;
        self.redis_cpu()?;
        self.redis_callers()?;
        self.redis_commands()?;
        self.file_throughput()?;
        for events in [BACKLOG / 10, BACKLOG] {
            self.recovery("redis", events)?;
            self.recovery("files", events)?;
        }
        Ok(())
    }

    fn redis_throughput(&mut self) -> Result<(), Error> {
        let (rate, memory) = ("journal/redis/events_per_s", "journal/redis/memory_over_json");
        if !self.wants(rate) && !self.wants(memory) {
            return Ok(());
        }
        let redis = Redis::start()?;
        let json = crate::ours::mean_json_len(&Requests::new());
        let (mut ours, mut peer, mut sets) = (Samples::default(), Samples::default(), Samples::default());
        for repetition in 1..=5 {
            eprintln!("{rate}: {repetition} of 5");
            for (side, samples) in [(Name::Ours, &mut ours), (Name::Peer, &mut peer)] {
                redis.clear();
                let before = redis.used_memory()?;
                let task = Task::Journal { events: EVENTS };
                let mut figures = sample(side, &task, &redis.journal())?;
                let used = redis.used_memory()? - before;
                figures.insert("memory".into(), used / EVENTS as f64 / json);
                samples.add(figures);
            }
            redis.clear();
            sets.add(Figures::from([("rate".into(), redis.sets_per_s(EVENTS * 5)?)]));
        }
        let (ours, peer, sets) = (ours.medians(), peer.medians(), sets.medians());
        let (events, theirs) = (ours["events_per_s"], peer["events_per_s"]);
        let peer_name = Name::Peer.as_str();
        let report = &mut self.report;
        report.compare(rate.into(), "1/s", events, (peer_name, theirs), Some(Reach::RatioAtLeast(3.0)));
        report.compare(format!("{rate}/sets"), "1/s", events, (REDIS_BENCHMARK, sets["rate"]), Some(SHARE));
        let reach = Some(Reach::Value(1.2));
        report.compare(memory.into(), "", ours["memory"], (peer_name, peer["memory"]), reach);
        Ok(())
    }

    fn redis_cpu(&mut self) -> Result<(), Error> {
        let name = "journal/redis/cpu";
        if !self.wants(name) {
            return Ok(());
        }
        let redis = Redis::start()?;
        let (mut ours, mut peer) = (Samples::default(), Samples::default());
        for repetition in 1..=5 {
            eprintln!("{name}: {repetition} of 5");
            for (side, samples) in [(Name::Ours, &mut ours), (Name::Peer, &mut peer)] {
                redis.clear();
                let running = process::start(side, &Task::Cpu, Mode::Gzip, &redis.journal())?;
                let (figures, received) = running.finish()?;
                expect_events(&received, BATCH * (BATCHES + 1))?;
                samples.add(figures);
            }
        }
        let beside = (Name::Peer.as_str(), peer.medians()["cpu"]);
        let reach = Some(Reach::Ratio(0.125));
        self.report.compare(name.into(), "s/100k events", ours.medians()["cpu"], beside, reach);
        Ok(())
    }

    fn redis_callers(&mut self) -> Result<(), Error> {
        for callers in [1, 8] {
            let name = format!("journal/redis/send_event/idle/{callers}");
            if !self.wants(&name) {
                continue;
            }
            let redis = Redis::start()?;
            let states = [
                ("absent", Journal::Absent),
                ("on", redis.journal()),
                ("stopped", redis.stopping_journal()?),
            ];
            let mut samples: [[Samples; 2]; 3] = Default::default();
            for repetition in 1..=3 {
                eprintln!("{name}: {repetition} of 3");
                for ((_, journal), samples) in states.iter().zip(&mut samples) {
                    for (side, samples) in [Name::Ours, Name::Peer].into_iter().zip(samples) {
                        redis.clear();
                        let task = Task::Calls { callers, pace: Pace::Idle };
                        let figures = sample(side, &task, journal);
                        redis.resume();
                        samples.add(figures?);
                    }
                }
            }
            let medians = samples.map(|sides| sides.map(Samples::medians));
            for ((state, _), [ours, peer]) in states.iter().zip(&medians) {
                for figure in ["mean", "p50", "p99"] {
                    let name = format!("{name}/{state}/{figure}");
                    let beside = (Name::Peer.as_str(), peer[figure]);
                    self.report.compare(name.clone(), "ns", ours[figure], beside, None);
                    if *state != "absent" {
                        let beside = (ABSENT, medians[0][0][figure]);
                        let reach = (figure != "p99").then_some(Reach::Ratio(1.5));
                        self.report.compare(format!("{name}/absent"), "ns", ours[figure], beside, reach);
                    }
                }
            }
        }
        Ok(())
    }

    fn redis_commands(&mut self) -> Result<(), Error> {
        let name = "journal/redis/commands/1000";
        if !self.wants(name) {
            return Ok(());
        }
        let redis = Redis::start()?;
        let count = |side| {
            eprintln!("{name}: {side:?}");
            redis.clear();
            let commands = redis.count_commands()?;
            sample(side, &Task::Steady { rate: 1_000, seconds: SECONDS }, &redis.journal())?;
            commands.stop()
        };
        let (ours, peer) = (count(Name::Ours)?, count(Name::Peer)?);
        let per_event = |count: u64| count as f64 / f64::from(1_000 * SECONDS);
        let beside = (Name::Peer.as_str(), per_event(peer.clients));
        let reach = Some(Reach::Value(0.05));
        self.report.compare(format!("{name}/clients"), "1/event", per_event(ours.clients), beside, reach);
        let beside = (Name::Peer.as_str(), per_event(peer.scripts));
        self.report.compare(format!("{name}/scripts"), "1/event", per_event(ours.scripts), beside, None);
        Ok(())
    }

    fn file_throughput(&mut self) -> Result<(), Error> {
        let name = "journal/files/events_per_s";
        if !self.wants(name) {
            return Ok(());
        }
        let mut samples = Samples::default();
        for repetition in 1..=5 {
            eprintln!("{name}: {repetition} of 5");
            let scratch = Scratch::new()?;
            samples.add(sample(Name::Ours, &Task::Journal { events: EVENTS }, &files(scratch.path()))?);
        }
        let medians = samples.medians();
        let beside = (PLAIN, medians["events_per_s_plain"]);
        self.report.compare(name.into(), "1/s", medians["events_per_s"], beside, Some(SHARE));
        self.report.alone("journal/files/events_per_group".into(), "", medians["events_per_group"], None);
        Ok(())
    }

    fn recovery(&mut self, store: &str, events: usize) -> Result<(), Error> {
        let name = format!("journal/{store}/recovery/{events}");
        if !self.wants(&name) {
            return Ok(());
        }
        eprintln!("{name}");
        let (redis, scratch);
        let journal = match store {
            "redis" => {
                redis = Redis::start()?;
                redis.journal()
            }
            _ => {
                scratch = Scratch::new()?;
                files(scratch.path())
            }
        };
        sample(Name::Ours, &Task::Journal { events }, &journal)?;
        // What it writes for comparison is no journal's.
        if let Journal::Files { dir } = &journal {
            fs::remove_file(dir.join("plain"))?;
        }
        let running = process::start(Name::Ours, &Task::Recover { events }, Mode::Gzip, &journal)?;
        let (figures, received) = running.finish()?;
        expect_events(&received, events)?;
        for (figure, unit) in [("taken_over", "s"), ("delivered", "s"), ("peak_rss", "MiB")] {
            self.report.alone(format!("{name}/{figure}"), unit, figures[figure], None);
        }
        Ok(())
    }
}

fn sample(side: Name, task: &Task, journal: &Journal) -> Result<Figures, Error> {
    Ok(process::start(side, task, Mode::Gzip, journal)?.finish()?.0)
}

fn files(dir: &Path) -> Journal {
    Journal::Files { dir: dir.to_owned() }
}
