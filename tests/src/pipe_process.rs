//! The pipe of any runtime as a process of its own, for tests of its crate.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far beyond what any test needs: only a hang gets there.
pub const HANG: Duration = Duration::from_secs(60);
/// Most that a process lives.
const LIFE: Duration = Duration::from_secs(600);

/// Which pipe: an example of the crate whose test this is, and flags that it always has.
#[derive(Clone, Copy, Debug)]
pub struct Pipe {
    /// Name of the example.
    pub name: &'static str,
    /// Flags.
    pub flags: &'static [&'static str],
}

impl Pipe {
    /// Starts it, with an install id: the home directory here may be of any kind.
    ///
    /// # Panics
    ///
    /// If it was not built or does not start.
    #[must_use]
    pub fn start(self, endpoint: &str, flags: &[&str]) -> PipeProcess {
        self.start_with_env(endpoint, flags, &[("GUARD_AGENT_INSTALL_ID", "test")])
    }

    /// Starts it with these environment variables.
    ///
    /// # Panics
    ///
    /// If it was not built or does not start.
    #[must_use]
    pub fn start_with_env(self, endpoint: &str, flags: &[&str], vars: &[(&str, &str)]) -> PipeProcess {
        let mut program = Command::new(example(self.name));
        program.envs(vars.iter().copied());
        PipeProcess::start(program, endpoint, self.flags.iter().chain(flags))
    }

    /// Starts it where `/etc/hosts` is that file, which may change. `None` where nothing can be mounted: that takes an
    /// administrator, or a user in a name space of its own.
    ///
    /// # Panics
    ///
    /// If it was not built or does not start.
    #[must_use]
    pub fn start_with_hosts(self, hosts: &Path, endpoint: &str, flags: &[&str]) -> Option<PipeProcess> {
        let mounted = |then: &str| {
            let mut program = Command::new("unshare");
            program.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
            program.arg(format!("mount --bind \"$0\" /etc/hosts && {then}")).arg(hosts);
            program
        };
        if !mounted("true").status().is_ok_and(|status| status.success()) {
            return None;
        }
        let mut program = mounted("NO_PROXY='*' exec \"$@\"");
        program.arg(example(self.name));
        Some(PipeProcess::start(program, endpoint, self.flags.iter().chain(flags)))
    }
}

/// The process. It is killed when dropped, so that a failed test leaves none behind, and when it hangs.
#[derive(Debug)]
pub struct PipeProcess {
    child: Child,
    _alive: Sender<()>,
    input: Option<ChildStdin>,
    output: Output,
    errors: Option<JoinHandle<String>>,
}

/// Nothing is read before somebody asks for it.
#[derive(Debug)]
enum Output {
    Unread(Option<ChildStdout>),
    Read { coming: Receiver<String>, so_far: String },
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` if it was killed.
    pub code: Option<i32>,
    /// All of standard output.
    pub output: String,
    /// All of standard error.
    pub errors: String,
}

impl PipeProcess {
    fn start<'a>(mut program: Command, endpoint: &str, flags: impl Iterator<Item = &'a &'a str>) -> Self {
        let mut child = program
            .args(["--endpoint", endpoint, "--api-key", "0123456789"])
            .args(flags)
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Output::Unread(child.stdout.take());
        let errors = child.stderr.take().unwrap();
        let errors = Some(thread::spawn(|| read_all(errors)));
        let (alive, dropped) = mpsc::channel();
        let id = child.id().to_string();
        thread::spawn(move || {
            if dropped.recv_timeout(LIFE) == Err(mpsc::RecvTimeoutError::Timeout) {
                Command::new("kill").args(["-s", "KILL", &id]).status().unwrap();
            }
        });
        Self { input: child.stdin.take(), child, _alive: alive, output, errors }
    }

    /// Writes all of the input, ends it, and waits for the end of the process.
    #[must_use]
    pub fn run(mut self, input: &str) -> Ended {
        self.write(input);
        self.end_input();
        self.wait()
    }

    /// The same of any bytes.
    #[must_use]
    pub fn run_bytes(mut self, input: &[u8]) -> Ended {
        self.input.as_mut().unwrap().write_all(input).unwrap();
        self.end_input();
        self.wait()
    }

    /// Writes to standard input.
    ///
    /// # Panics
    ///
    /// If the process is gone.
    pub fn write(&mut self, input: &str) {
        self.input.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
    }

    /// Closes standard input.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it that signal, such as `TERM`.
    ///
    /// # Panics
    ///
    /// If the process is gone.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// Kills it, and reads what it had said by then.
    #[must_use]
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.wait()
    }

    /// Reads on until a line that fits.
    ///
    /// # Panics
    ///
    /// If there is none within a minute.
    pub fn line_until(&mut self, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + HANG;
        loop {
            let line = self.next_line(deadline.saturating_duration_since(Instant::now()));
            let value = line.map(|line| serde_json::from_str(&line).unwrap());
            match value {
                Some(value) if fits(&value) => return value,
                Some(_) => {}
                None => panic!("no such line, but: {}", self.last_stats()),
            }
        }
    }

    /// Reads on until statistics that fit. There are some only with `--stats-every`.
    ///
    /// # Panics
    ///
    /// If there are none within a minute.
    pub fn stats_until(&mut self, mut fits: impl FnMut(&Value) -> bool) -> Value {
        self.line_until(|line| line["accepted"].is_object() && fits(line))
    }

    /// Reads on until it has answered so many records, of which it was asked with `--ack`, and `--stats-every`.
    ///
    /// # Panics
    ///
    /// If it has not within a minute.
    pub fn answers_until(&mut self, count: usize) {
        let deadline = Instant::now() + HANG;
        while self.so_far().lines().filter(|line| line.contains("\"line\":")).count() < count {
            assert!(Instant::now() < deadline, "too few answers: {}", self.last_stats());
            self.stats_until(|_| true);
        }
    }

    /// Waits for the end; closes the input only then, so that a signal can be what ends the process.
    ///
    /// # Panics
    ///
    /// If it does not end within a minute.
    #[must_use]
    pub fn wait(mut self) -> Ended {
        while self.next_line(HANG).is_some() {}
        let Output::Read { so_far, .. } = &mut self.output else { unreachable!("it was read") };
        let output = std::mem::take(so_far);
        let code = self.child.wait().unwrap().code();
        let errors = self.errors.take().unwrap().join().unwrap();
        Ended { code, output, errors }
    }

    /// Waits for the end without reading what it says; its exit code.
    ///
    /// # Panics
    ///
    /// If it does not end within a minute.
    #[must_use]
    pub fn wait_unread(&mut self) -> Option<i32> {
        let deadline = Instant::now() + HANG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end: {self:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The last statistics that were read.
    fn last_stats(&self) -> &str {
        self.so_far().lines().rfind(|line| line.contains("\"accepted\"")).unwrap_or_default()
    }

    /// What was read.
    fn so_far(&self) -> &str {
        match &self.output {
            Output::Unread(_) => "",
            Output::Read { so_far, .. } => so_far,
        }
    }

    /// `None` at the end of the output.
    fn next_line(&mut self, limit: Duration) -> Option<String> {
        if let Output::Unread(output) = &mut self.output {
            let (sender, coming) = mpsc::channel();
            let output = BufReader::new(output.take().unwrap());
            thread::spawn(move || output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
            self.output = Output::Read { coming, so_far: String::new() };
        }
        let Output::Read { coming, so_far } = &mut self.output else { unreachable!("it is read") };
        match coming.recv_timeout(limit) {
            Ok(line) => {
                so_far.push_str(&line);
                so_far.push('\n');
                Some(line)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("nothing was said in {limit:?}: {self:?}"),
        }
    }
}

impl Drop for PipeProcess {
    fn drop(&mut self) {
        // Errors mean that it is dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The last line.
    ///
    /// # Panics
    ///
    /// If that is not the statistics.
    #[must_use]
    pub fn stats(&self) -> Value {
        let last: Value = serde_json::from_str(self.output.lines().last().unwrap()).unwrap();
        assert!(last["accepted"].is_object(), "{last}");
        last
    }

    /// The acknowledgements, positive and negative. What a kill cut short is none.
    #[must_use]
    pub fn answers(&self) -> Vec<Value> {
        let lines = self.output.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &Value| line["line"].is_u64()).collect()
    }
}

/// The program of an example of the crate whose test this is.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut program = std::env::current_exe().unwrap();
    program.pop();
    program.pop();
    program.push("examples");
    program.push(name);
    assert!(program.exists(), "build it first: cargo build --example {name}");
    program
}

fn read_all(mut stream: ChildStderr) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}
