//! The example `pipe-tokio` as a process of its own, against a collector.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use guard_agent_tests::collector::Collector;
use serde_json::{Value, json};

/// Far beyond what any test needs: only a hang gets there.
const HANG: Duration = Duration::from_secs(60);

#[test]
fn every_line_arrives_once() {
    let collector = Collector::start();
    let mut input = String::new();
    for n in 0..1_000 {
        if n % 4 == 0 {
            writeln!(input, r#"{{"kind":"metric","metric_type":"response_time","value":{n}}}"#).unwrap();
        } else {
            writeln!(input, r#"{{"kind":"event","event_type":"ip_banned","metadata":{{"n":{n}}}}}"#).unwrap();
        }
    }
    input.push_str("{\"kind\":\"flush\"}\n");

    let ended = Pipe::start(&collector.url(), &[]).run(&input);

    assert_eq!(ended.code, 0, "{ended:?}");
    let stats = ended.stats();
    assert_eq!(stats["accepted"], json!({"events": 750, "metrics": 250}));
    assert_eq!(stats["delivered"], stats["accepted"]);
    assert_eq!(stats["pending"], json!({"events": 0, "metrics": 0}));
    assert_eq!(stats["invalid"], 0);
    assert_eq!((&stats["breaker"], &stats["health"]), (&json!("closed"), &json!("healthy")));
    collector.read(|received| {
        let numbers: BTreeSet<_> =
            received.events.iter().map(|event| event.value()["metadata"]["n"].as_u64().unwrap()).collect();
        assert_eq!((received.events.len(), numbers.len(), received.metrics.len()), (750, 750, 250));
        assert_eq!(stats["bytes_sent"], received.bytes);
    });
    assert_eq!(collector.violations(), [""; 0]);
}

#[test]
fn an_invalid_line_is_told_and_the_rest_goes_on() {
    let collector = Collector::start();
    let event = r#"{"kind":"event","event_type":"ip_banned"}"#;
    let null = r#"{"kind":"event","event_type":"ip_banned","ip_address":null}"#;
    let unknown = r#"{"kind":"metric","metric_type":"mood","value":1}"#;
    let input =
        format!("{event}\nnonsense\n\n{{\"kind\":\"event\",\"event_type\":7}}\n{null}\n{unknown}\n{event}");

    let ended = Pipe::start(&collector.url(), &[]).run(&input);

    assert_eq!(ended.code, 4, "{ended:?}");
    assert_eq!(ended.stats()["invalid"], 4);
    assert_eq!(ended.stats()["delivered"]["events"], 2);
    let told: Vec<_> = ended.errors.lines().filter(|line| line.contains("line ")).collect();
    assert_eq!(told.len(), 4, "{}", ended.errors);
    assert!(told[0].contains("line 2: expected"), "{}", told[0]);
    assert!(told[1].contains("line 4: `event_type`"), "{}", told[1]);
    assert!(told[2].contains("line 5: `ip_address`"), "{}", told[2]);
    assert!(told[3].contains("line 6: `metric_type`"), "{}", told[3]);
}

#[test]
fn nothing_but_invalid_lines_is_told_by_the_exit_code() {
    let collector = Collector::start();
    let ended = Pipe::start(&collector.url(), &[]).run("a\nb\n");
    assert_eq!((ended.code, &ended.stats()["invalid"]), (4, &json!(2)), "{ended:?}");
}

#[test]
fn unusable_flags_are_told_before_anything_is_read() {
    let cases: [(&[&str], &str); 5] = [
        (&["--colour"], "--colour"),
        (&["--set", "buffer_size=0"], "buffer_size"),
        (&["--redis", "redis://127.0.0.1", "--journal", "/tmp/journal"], "journal_dir"),
        (&["--redis", "http://user:hunter2@127.0.0.1"], "redis_url"),
        (&["--journal", "/dev/null/journal"], "journal_dir"),
    ];
    for (flags, told) in cases {
        let ended = Pipe::start("http://127.0.0.1:9", flags).wait();
        assert_eq!((ended.code, ended.output.as_str()), (2, ""), "{ended:?}");
        assert!(ended.errors.contains(told), "{ended:?}");
    }
}

#[test]
fn what_could_not_be_delivered_in_time_is_told_by_the_exit_code() {
    let collector = Collector::start();
    collector.down();
    let start = Instant::now();

    let ended = Pipe::start(&collector.url(), &["--shutdown-timeout", "0.5"]).run(&events(3));

    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(ended.code, 3, "{ended:?}");
    let stats = ended.stats();
    assert_eq!((&stats["accepted"]["events"], &stats["delivered"]["events"]), (&json!(3), &json!(0)));
    let dropped: u64 =
        stats["dropped"]["events"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(stats["pending"]["events"].as_u64().unwrap() + dropped, 3);
}

#[test]
fn a_signal_ends_it_like_the_end_of_the_input() {
    for signal in ["TERM", "INT"] {
        let collector = Collector::start();
        let mut pipe = Pipe::start(&collector.url(), &[]);
        pipe.write(&events(5));
        collector.wait_for(|received| received.events.len() == 5, HANG);
        pipe.write(&events(5));
        let start = Instant::now();
        pipe.signal(signal);

        let ended = pipe.wait();

        assert!(start.elapsed() < Duration::from_secs(20), "its deadline is 10 s");
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ended.stats()["pending"]["events"], 0);
        assert_eq!(ended.stats()["delivered"]["events"], collector.read(|received| received.event_count));
    }
}

#[test]
fn it_stops_reading_while_the_agent_is_full() {
    let collector = Collector::start();
    collector.down();
    let flags = ["--set", "buffer_size=100", "--set", "breaker_recovery=1", "--stats-every", "0.1"];
    let mut pipe = Pipe::start(&collector.url(), &flags);

    pipe.write(&events(400));
    let full = pipe.stats_until(|stats| stats["accepted"]["events"] == 100);
    assert_eq!(full["pending"]["events"], 100);
    let later = pipe.stats_until(|_| true);
    assert_eq!(later["accepted"]["events"], 100);
    collector.up();
    pipe.input = None;
    let ended = pipe.wait();

    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.stats()["delivered"]["events"], 400);
    assert_eq!(collector.read(|received| received.events.len()), 400);
}

#[test]
fn each_record_is_acknowledged_once_with_its_key_and_line() {
    const RECORDS: u64 = 2_000;
    let collector = Collector::start();
    let mut input = String::new();
    let given = |line: u64| format!("3b241101-e2bb-4255-8caf-{line:012x}");
    for line in 1..=RECORDS {
        match line % 4 {
            0 => writeln!(input, r#"{{"kind":"metric","metric_type":"response_time","value":{line}}}"#),
            1 => writeln!(
                input,
                r#"{{"kind":"event","event_type":"a","metadata":{{"line":{line}}},"idempotency_key":"{}"}}"#,
                given(line)
            ),
            _ => writeln!(input, r#"{{"kind":"event","event_type":"a","metadata":{{"line":{line}}}}}"#),
        }
        .unwrap();
    }

    // More than a pipe holds is written before anything is read.
    let ended = Pipe::start(&collector.url(), &["--ack"]).run(&input);

    assert_eq!(ended.code, 0, "{ended:?}");
    let mut expected: Vec<_> = collector.read(|received| {
        let events = received.events.iter().map(|event| {
            let event = event.value();
            json!({"ack": event["idempotency_key"], "line": event["metadata"]["line"]})
        });
        events.collect()
    });
    expected.extend((4..=RECORDS).step_by(4).map(|line| json!({"line": line})));
    let mut answers = ended.answers();
    answers.sort_by_key(|answer| answer["line"].as_u64());
    expected.sort_by_key(|answer| answer["line"].as_u64());
    assert_eq!(answers.len() as u64, RECORDS);
    assert_eq!(answers, expected);
    assert_eq!(answers[0]["ack"], given(1));
}

#[test]
fn a_record_that_is_lost_is_answered_with_the_reason() {
    let collector = Collector::start();
    let key = "3b241101-e2bb-4255-8caf-4136c566a962";
    let mut input =
        format!("{{\"kind\":\"event\",\"event_type\":\"muted\",\"idempotency_key\":\"{key}\"}}\n");
    let large = "x".repeat(2_000);
    writeln!(input, r#"{{"kind":"event","event_type":"a","reason":"{large}","idempotency_key":"{key}"}}"#)
        .unwrap();
    writeln!(input, r#"{{"kind":"metric","metric_type":"error_rate","value":1,"tags":{{"a":"{large}"}}}}"#)
        .unwrap();
    writeln!(input, r#"{{"kind":"event","event_type":"a","idempotency_key":"{key}"}}"#).unwrap();
    let flags = ["muted_event_types=muted", "batch_max_bytes=1024", "max_payload_size=4096"];
    let mut flags: Vec<_> = flags.into_iter().flat_map(|field| ["--set", field]).collect();
    flags.push("--ack");

    let ended = Pipe::start(&collector.url(), &flags).run(&input);

    assert_eq!(ended.code, 3, "{ended:?}");
    let mut answers = ended.answers();
    answers.sort_by_key(|answer| answer["line"].as_u64());
    let expected = [
        json!({"nack": key, "line": 1, "reason": "filtered"}),
        json!({"nack": key, "line": 2, "reason": "too_large"}),
        json!({"line": 3, "reason": "too_large"}),
        json!({"ack": key, "line": 4}),
    ];
    assert_eq!(answers, expected);
}

#[test]
fn what_may_still_arrive_is_not_answered() {
    let collector = Collector::start();
    collector.down();
    let flags = ["--ack", "--shutdown-timeout", "0.5", "--set", "buffer_size=3", "--stats-every", "0.1"];
    let mut pipe = Pipe::start(&collector.url(), &flags);
    pipe.write(&events(5));
    pipe.stats_until(|stats| stats["pending"]["events"] == 3);
    pipe.signal("TERM");

    let ended = pipe.wait();

    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(ended.stats()["pending"]["events"], 3);
    // The agent never had the last two.
    let answers = ended.answers();
    assert!(answers.len() <= 2, "{answers:?}");
    for answer in &answers {
        assert!(answer["line"].as_u64() > Some(3) && answer["nack"].is_string(), "{answer}");
        assert_eq!(answer["reason"], "the agent's memory is full");
    }
    assert_eq!(ended.errors.matches("was not taken").count(), answers.len(), "{}", ended.errors);
}

fn events(count: usize) -> String {
    "{\"kind\":\"event\",\"event_type\":\"ip_banned\"}\n".repeat(count)
}

/// The process. It is killed when dropped, so that a failed test leaves none behind, and when it hangs.
struct Pipe {
    child: Child,
    _alive: mpsc::Sender<()>,
    input: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
}

#[derive(Debug)]
struct Ended {
    code: i32,
    output: String,
    errors: String,
}

impl Pipe {
    fn start(endpoint: &str, flags: &[&str]) -> Self {
        let mut program = std::env::current_exe().unwrap();
        program.pop();
        program.pop();
        program.push("examples/pipe-tokio");
        assert!(program.exists(), "build it first: cargo build -p guard-agent-tokio --example pipe-tokio");
        let mut child = Command::new(program)
            .args(["--endpoint", endpoint, "--api-key", "0123456789"])
            .args(flags)
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (alive, dropped) = mpsc::channel();
        let id = child.id().to_string();
        thread::spawn(move || {
            if dropped.recv_timeout(HANG) == Err(mpsc::RecvTimeoutError::Timeout) {
                Command::new("kill").args(["-s", "KILL", &id]).status().unwrap();
            }
        });
        Self { child, _alive: alive, input, output }
    }

    fn run(mut self, input: &str) -> Ended {
        self.write(input);
        self.input = None;
        self.wait()
    }

    fn write(&mut self, input: &str) {
        self.input.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// Reads statistics lines until one that fits.
    fn stats_until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + HANG;
        while Instant::now() < deadline {
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            let stats = serde_json::from_str(&line).unwrap();
            if fits(&stats) {
                return stats;
            }
        }
        panic!("no such statistics");
    }

    /// Ends the input, unless a signal is what ends the process.
    fn wait(mut self) -> Ended {
        let mut ended = Ended { code: -1, output: String::new(), errors: String::new() };
        let input = self.input.take();
        self.output.read_to_string(&mut ended.output).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut ended.errors).unwrap();
        ended.code = self.child.wait().unwrap().code().expect("it hangs, or was killed");
        drop(input);
        ended
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The last line.
    fn stats(&self) -> Value {
        let last: Value = serde_json::from_str(self.output.lines().last().unwrap()).unwrap();
        assert!(last["accepted"].is_object(), "{last}");
        last
    }

    /// The acknowledgements, positive and negative.
    fn answers(&self) -> Vec<Value> {
        let lines = self.output.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["line"].is_u64()).collect()
    }
}
