//! A Redis server for a benchmark, and what it tells of itself.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use guard_agent_tests::redis_server::RedisServer;

use crate::side::Journal;

type Error = Box<dyn std::error::Error>;

/// Bytes of a value that `redis-benchmark` sets.
const VALUE: usize = 600;
/// Commands that it sends together.
const PIPELINE: usize = 100;

/// A server of its own on a free port.
pub struct Redis(RedisServer);

impl Redis {
    pub fn start() -> Result<Self, Error> {
        for program in ["redis-server", "redis-cli", "redis-benchmark"] {
            if Command::new(program).arg("--version").stdout(Stdio::null()).status().is_err() {
                return Err(format!(
                    "{program} is missing: sudo apt-get install -y redis-server redis-tools (or leave the journal out \
                     with FILTER)"
                )
                .into());
            }
        }
        Ok(Self(RedisServer::start(&[])))
    }

    /// The journal that it is.
    pub fn journal(&self) -> Journal {
        Journal::Redis { url: self.0.url() }
    }

    /// The same, stopped as soon as it has been used.
    pub fn stopping_journal(&self) -> Result<Journal, Error> {
        Ok(Journal::StoppedRedis { url: self.0.url(), pid: self.info("process_id")? as i32 })
    }

    /// Lets a stopped one go on.
    pub fn resume(&self) {
        self.0.resume();
    }

    pub fn clear(&self) {
        self.0.cli(&["FLUSHALL", "SYNC"]);
    }

    /// Bytes of its data and of what it needs for them.
    pub fn used_memory(&self) -> Result<f64, Error> {
        self.info("used_memory")
    }

    fn info(&self, field: &str) -> Result<f64, Error> {
        let info = self.0.cli(&["INFO"]);
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(name, _)| *name == field).ok_or("no such line of INFO")?;
        Ok(value.trim().parse()?)
    }

    /// Pipelined SETs a second.
    pub fn sets_per_s(&self, count: usize) -> Result<f64, Error> {
        let output = Command::new("redis-benchmark")
            .args(["-p", &self.0.port().to_string(), "-t", "set", "-c", "1", "--csv"])
            .args(["-P", &PIPELINE.to_string(), "-d", &VALUE.to_string(), "-n", &count.to_string()])
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let line = text.lines().find(|line| line.starts_with("\"SET\"")).ok_or("no SET in its output")?;
        let rate = line.split(',').nth(1).ok_or("no rate in its output")?;
        Ok(rate.trim_matches('"').parse()?)
    }

    /// Counts commands from now on.
    pub fn count_commands(&self) -> Result<Commands, Error> {
        let mut monitor = Command::new("redis-cli")
            .args(["-p", &self.0.port().to_string(), "MONITOR"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(monitor.stdout.take().ok_or("no output")?);
        let mut line = Vec::new();
        output.read_until(b'\n', &mut line)?;
        let count = std::thread::spawn(move || {
            let mut counts = Counts::default();
            loop {
                line.clear();
                match output.read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => return counts,
                    Ok(_) => counts.add(&line),
                }
            }
        });
        Ok(Commands { monitor, count })
    }
}

/// Commands being counted.
pub struct Commands {
    monitor: Child,
    count: JoinHandle<Counts>,
}

impl Commands {
    pub fn stop(mut self) -> Result<Counts, Error> {
        self.monitor.kill()?;
        self.monitor.wait()?;
        self.count.join().map_err(|_| "the count panicked".into())
    }
}

/// How many commands a server was sent, and how many its scripts made.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub clients: u64,
    pub scripts: u64,
}

impl Counts {
    /// A line of MONITOR: `time [database address] "COMMAND" ...`, where the address of scripts is `lua`.
    fn add(&mut self, line: &[u8]) {
        let head = line.split(|byte| *byte == b'"').next().unwrap_or_default();
        match head.ends_with(b" lua] ") {
            true => self.scripts += 1,
            false => self.clients += 1,
        }
    }
}
