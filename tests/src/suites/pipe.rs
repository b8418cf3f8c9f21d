//! What the pipe of every runtime must do, as a process of its own, against a collector.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::collector::{Answer, Collector};
use crate::pipe_process::{HANG, Pipe, PipeProcess};
use crate::scratch::Scratch;

pub fn every_line_arrives_once(pipe: Pipe) {
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

    let ended = pipe.start(&collector.url(), &[]).run(&input);

    assert_eq!(ended.code, Some(0), "{ended:?}");
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

pub fn an_invalid_line_is_told_and_the_rest_goes_on(pipe: Pipe) {
    let collector = Collector::start();
    let event = r#"{"kind":"event","event_type":"ip_banned"}"#;
    let no_number = r#"{"kind":"metric","metric_type":"error_rate","value":NaN}"#;
    let unknown = r#"{"kind":"metric","metric_type":"mood","value":1}"#;
    let input = format!(
        "{event}\nnonsense\n\n{{\"kind\":\"event\",\"event_type\":7}}\n{no_number}\n{unknown}\n{event}"
    );

    let ended = pipe.start(&collector.url(), &[]).run(&input);

    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert_eq!(ended.stats()["invalid"], 4);
    assert_eq!(ended.stats()["delivered"]["events"], 2);
    let told: Vec<_> = ended.errors.lines().filter(|line| line.contains("line ")).collect();
    assert_eq!(told.len(), 4, "{}", ended.errors);
    assert!(told[0].contains("line 2: expected"), "{}", told[0]);
    assert!(told[1].contains("line 4: `event_type`"), "{}", told[1]);
    assert!(told[2].contains("line 5: `value`"), "{}", told[2]);
    assert!(told[3].contains("line 6: `metric_type`"), "{}", told[3]);
}

/// Lines as Python writes them, or another sidecar's program, of requests whose sender wants them not to be reported.
pub fn whatever_an_attacker_writes_the_event_arrives(pipe: Pipe) {
    let collector = Collector::start();
    let huge = "7".repeat(400);
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_objects = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let long = "x".repeat(3 << 20);
    let members: Vec<_> = [
        r#""user_agent":"\ud800","metadata":{"\udfff":"\udc00\ud800"}"#,
        r#""reason":"\x41\q","metadata":{"a":1,"a":2}"#,
        r#""response_time":NaN,"metadata":{"a":-Infinity}"#,
        r#""response_time":1e400,"status_code":1e400,"metadata":{"a":1e400}"#,
        r#""status_code":-5"#,
        r#""status_code":70000"#,
        r#""status_code":"403","ip_address":null,"country":7,"user_agent":["a","b"],"endpoint":{"a":[]}"#,
        r#""idempotency_key":"of the request","metadata":[1],"timestamp":"soon""#,
    ]
    .map(String::from)
    .into_iter()
    .chain([
        format!(r#""status_code":{huge},"timestamp":{huge},"metadata":{{"a":{huge}}}"#),
        format!(r#""metadata":{{"a":{deep}}}"#),
        format!(r#""metadata":{deep_objects},"own":{deep}"#),
        format!(r#""user_agent":"{long}","metadata":{{"a":"{long}"}}"#),
        format!(
            r#""metadata":{{{}"last":1}}"#,
            format!(r#""{}":"{}","#, &long[..999], &long[..999]).repeat(9)
        ),
        format!(
            r#""metadata":{{{}"last":1}}"#,
            (0..300).map(|n| format!(r#""{n}{}":1,"#, &long[..999])).collect::<String>()
        ),
    ])
    .collect();
    let mut input = Vec::new();
    for member in &members {
        input.extend_from_slice(format!("{{\"kind\":\"event\",\"event_type\":\"a\",{member}}}\n").as_bytes());
    }
    input.extend_from_slice(b"{\"kind\":\"event\",\"event_type\":\"a\",\"user_agent\":\"\xff\xfe\x01\"}\n");

    let ended = pipe.start(&collector.url(), &[]).run_bytes(&input);

    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stats()["invalid"], 0);
    assert_eq!(ended.stats()["delivered"]["events"], members.len() + 1);
    assert_eq!(collector.read(|received| received.events.len()), members.len() + 1);
    assert_eq!(collector.violations(), [""; 0]);
}

pub fn a_kind_that_is_turned_off_is_no_loss(pipe: Pipe) {
    let collector = Collector::start();
    let key = "3b241101-e2bb-4255-8caf-4136c566a962";
    let metric = r#"{"kind":"metric","metric_type":"error_rate","value":1}"#;
    let event = format!(r#"{{"kind":"event","event_type":"a","idempotency_key":"{key}"}}"#);
    let input = format!("{event}\n{event}\n{metric}\n");
    let flags = ["--set", "enable_events=false", "--ack"];

    let ended = pipe.start(&collector.url(), &flags).run(&input);

    assert_eq!(ended.code, Some(0), "{ended:?}");
    let stats = ended.stats();
    assert_eq!(stats["disabled"], json!({"events": 2, "metrics": 0}));
    assert_eq!(
        (&stats["accepted"], &stats["delivered"]),
        (&json!({"events": 0, "metrics": 1}), &stats["accepted"])
    );
    let mut answers = ended.answers();
    answers.sort_by_key(|answer| answer["line"].as_u64());
    let refused = |line| json!({"nack": key, "line": line, "reason": "disabled"});
    assert_eq!(answers, [refused(1), refused(2), json!({"line": 3})]);
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    assert!(ended.errors.contains("line 1: `enable_events` is false"), "{}", ended.errors);

    let ended = pipe.start(&collector.url(), &["--set", "enabled=false"]).run(&input);
    assert_eq!(
        (ended.code, &ended.stats()["disabled"]),
        (Some(0), &json!({"events": 2, "metrics": 1})),
        "{ended:?}"
    );
}

pub fn nothing_but_invalid_lines_is_told_by_the_exit_code(pipe: Pipe) {
    let collector = Collector::start();
    let ended = pipe.start(&collector.url(), &[]).run("a\nb\n");
    assert_eq!((ended.code, &ended.stats()["invalid"]), (Some(4), &json!(2)), "{ended:?}");
}

pub fn unusable_flags_are_told_before_anything_is_read(pipe: Pipe) {
    let cases: [(&[&str], &str); 5] = [
        (&["--colour"], "is no flag of the pipe"),
        (&["--set", "buffer_size=0"], "buffer_size"),
        (&["--redis", "redis://127.0.0.1", "--journal", "/tmp/journal"], "journal_dir"),
        (&["--redis", "http://user:hunter2@127.0.0.1"], "redis_url"),
        (&["--journal", "/dev/null/journal"], "journal_dir"),
    ];
    for (flags, told) in cases {
        let ended = pipe.start("http://127.0.0.1:9", flags).wait();
        assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.errors.contains(told), "{ended:?}");
    }
}

pub fn what_could_not_be_delivered_in_time_is_told_by_the_exit_code(pipe: Pipe) {
    let collector = Collector::start();
    collector.down();
    let begun = Instant::now();

    let ended = pipe.start(&collector.url(), &["--shutdown-timeout", "0.5"]).run(&events(3));

    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let stats = ended.stats();
    assert_eq!((&stats["accepted"]["events"], &stats["delivered"]["events"]), (&json!(3), &json!(0)));
    let dropped: u64 =
        stats["dropped"]["events"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(stats["pending"]["events"].as_u64().unwrap() + dropped, 3);
}

pub fn a_signal_ends_it_like_the_end_of_the_input(pipe: Pipe) {
    for signal in ["TERM", "INT"] {
        let collector = Collector::start();
        let mut process = pipe.start(&collector.url(), &[]);
        process.write(&events(5));
        collector.wait_for(|received| received.events.len() == 5, HANG);
        process.write(&events(5));
        let begun = Instant::now();
        process.signal(signal);

        let ended = process.wait();

        assert!(begun.elapsed() < Duration::from_secs(20), "its deadline is 10 s");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stats()["pending"]["events"], 0);
        assert_eq!(ended.stats()["delivered"]["events"], collector.read(|received| received.event_count));
    }
}

pub fn it_stops_reading_while_the_agent_is_full(pipe: Pipe) {
    let collector = Collector::start();
    collector.down();
    let flags = ["--set", "buffer_size=100", "--set", "breaker_recovery=1", "--stats-every", "0.1"];
    let mut process = pipe.start(&collector.url(), &flags);

    process.write(&events(400));
    let full = process.stats_until(|stats| stats["accepted"]["events"] == 100);
    assert_eq!(full["pending"]["events"], 100);
    let later = process.stats_until(|_| true);
    assert_eq!(later["accepted"]["events"], 100);
    collector.up();
    process.end_input();
    let ended = process.wait();

    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stats()["delivered"]["events"], 400);
    assert_eq!(collector.read(|received| received.events.len()), 400);
}

pub fn each_record_is_acknowledged_once_with_its_key_and_line(pipe: Pipe) {
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
    let ended = pipe.start(&collector.url(), &["--ack"]).run(&input);

    assert_eq!(ended.code, Some(0), "{ended:?}");
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

pub fn a_record_that_is_lost_is_answered_with_the_reason(pipe: Pipe) {
    let collector = Collector::start();
    let key = "3b241101-e2bb-4255-8caf-4136c566a962";
    let mut input =
        format!("{{\"kind\":\"event\",\"event_type\":\"muted\",\"idempotency_key\":\"{key}\"}}\n");
    collector.events().answer_always(Answer::status(413).if_it_has("poison"));
    collector.metrics().answer_always(Answer::status(413).if_it_has("poison"));
    writeln!(input, r#"{{"kind":"event","event_type":"a","reason":"poison","idempotency_key":"{key}"}}"#)
        .unwrap();
    writeln!(input, r#"{{"kind":"metric","metric_type":"error_rate","value":1,"tags":{{"a":"poison"}}}}"#)
        .unwrap();
    writeln!(input, r#"{{"kind":"event","event_type":"a","idempotency_key":"{key}"}}"#).unwrap();
    let flags = ["--set", "muted_event_types=muted", "--ack"];

    let ended = pipe.start(&collector.url(), &flags).run(&input);

    assert_eq!(ended.code, Some(3), "{ended:?}");
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

pub fn what_may_still_arrive_is_not_answered(pipe: Pipe) {
    let collector = Collector::start();
    collector.down();
    let flags = ["--ack", "--shutdown-timeout", "0.5", "--set", "buffer_size=3", "--stats-every", "0.1"];
    let mut process = pipe.start(&collector.url(), &flags);
    process.write(&events(5));
    process.stats_until(|stats| stats["pending"]["events"] == 3);
    process.signal("TERM");

    let ended = process.wait();

    assert_eq!(ended.code, Some(3), "{ended:?}");
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

pub fn it_ends_in_time_although_nobody_reads_its_output(pipe: Pipe) {
    // More answers than a pipe holds.
    const RECORDS: usize = 5_000;
    for signal in [None, Some("TERM")] {
        let collector = Collector::start();
        let flags = ["--ack", "--stats-every", "0.01", "--shutdown-timeout", "3"];
        let mut process = pipe.start(&collector.url(), &flags);
        process.write(&events(RECORDS));
        collector.wait_for(|received| received.events.len() == RECORDS, HANG);
        let begun = Instant::now();
        match signal {
            Some(signal) => process.signal(signal),
            None => process.end_input(),
        }

        assert_eq!(process.wait_unread(), Some(0), "{signal:?}");
        assert!(begun.elapsed() < Duration::from_secs(30), "its deadline is 3 s");
    }
}

fn events(count: usize) -> String {
    "{\"kind\":\"event\",\"event_type\":\"ip_banned\"}\n".repeat(count)
}

/// After a failure, whether the name was unknown or led elsewhere: whoever keeps names for a minute keeps an outage for
/// a minute longer.
pub fn names_are_looked_up_again(pipe: Pipe) {
    let scratch = Scratch::new().unwrap();
    let hosts = scratch.path().join("hosts");
    // In place: the file is mounted.
    let lead_to = |address: &str| fs::write(&hosts, format!("{address} platform.invalid\n")).unwrap();
    fs::write(&hosts, "").unwrap();
    let collector = Collector::start();
    let endpoint = collector.url().replace("127.0.0.1", "platform.invalid");
    // Far below the minute for which some libraries keep names.
    let soon = ["--stats-every", "0.1", "--set", "breaker_recovery=0.2", "--set", "backoff_factor=0.1"];
    let Some(mut process) = pipe.start_with_hosts(&hosts, &endpoint, &soon) else {
        eprintln!("nothing can be mounted here: it was not seen that names are looked up again");
        return;
    };
    let event = "{\"kind\":\"event\",\"event_type\":\"ip_banned\"}\n";
    let fails_more = |process: &mut PipeProcess| {
        let failed = |stats: &Value| stats["requests"]["failed"].as_u64().unwrap();
        let before = failed(&process.stats_until(|_| true));
        process.stats_until(|stats| failed(stats) > before + 1);
    };
    process.write(event);
    fails_more(&mut process);
    lead_to("127.0.0.9");
    fails_more(&mut process);
    let moved = Instant::now();
    lead_to("127.0.0.1");
    collector.wait_for(|received| received.event_count == 1, HANG);
    assert!(moved.elapsed() < Duration::from_secs(30), "{:?} after the move", moved.elapsed());

    // The same while it works: the connection ends, and the next one goes where the name leads now.
    collector.down();
    process.write(event);
    fails_more(&mut process);
    lead_to("127.0.0.9");
    collector.up();
    fails_more(&mut process);
    lead_to("127.0.0.1");
    collector.wait_for(|received| received.event_count == 2, HANG);
    process.end_input();
    assert_eq!(process.wait().code, Some(0));
}

pub fn secrets_come_from_the_environment(pipe: Pipe) {
    let collector = Collector::builder().signing_secret("topsecret").start();
    let signed = [("GUARD_AGENT_PAYLOAD_SIGNING_SECRET", "topsecret")];
    let ended = pipe.start_with_env(&collector.url(), &[], &signed).run(&events(1));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(collector.violations(), [""; 0]);

    let key = "GUARD_AGENT_PROJECT_ENCRYPTION_KEY";
    let blank = pipe.start_with_env(&collector.url(), &[], &[(key, " \n")]).wait();
    assert_eq!(blank.code, Some(2), "{blank:?}");
    assert!(blank.errors.contains(key), "{blank:?}");
    let empty = pipe.start_with_env(&collector.url(), &[], &[signed[0], (key, "")]).run("");
    assert!(empty.code == Some(0) && empty.errors.contains("records are not encrypted"), "{empty:?}");
}

pub fn every_warning_of_the_start_is_told_once(pipe: Pipe) {
    let home = Scratch::new().unwrap();
    // The install id would have to be there.
    fs::write(home.path().join(".guard-agent"), "").unwrap();
    let told = [
        "the install id is not kept",
        "`payload_signing_secret` has white space around it",
        "`project_encryption_key` is empty (from GUARD_AGENT_PROJECT_ENCRYPTION_KEY): records are not encrypted",
        "no field `GUARD_AGENT_BUFER_SIZE`",
        "`retry_attempts` is 5000: 1000 is used",
    ];
    let vars = [
        ("HOME", home.path().to_str().unwrap()),
        ("GUARD_AGENT_PAYLOAD_SIGNING_SECRET", "topsecret\n"),
        ("GUARD_AGENT_PROJECT_ENCRYPTION_KEY", ""),
        ("GUARD_AGENT_BUFER_SIZE", "1"),
    ];
    let flags = ["--set", "retry_attempts=5000"];
    let collector = Collector::builder().signing_secret("topsecret").start();
    let ended = pipe.start_with_env(&collector.url(), &flags, &vars).run(&events(1));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(collector.violations(), [""; 0]);
    for line in told {
        assert_eq!(ended.errors.matches(line).count(), 1, "{line}: {}", ended.errors);
    }
    assert_eq!(ended.errors.lines().count(), told.len(), "{}", ended.errors);
    assert!(ended.errors.lines().all(|line| line.starts_with("pipe: ")), "{}", ended.errors);

    let flags = ["--set", "retry_attempts=5000", "--set", "enabled=false"];
    let ended = pipe.start_with_env(&collector.url(), &flags, &vars).run("");
    assert_eq!((ended.code, ended.errors.lines().count()), (Some(0), told.len() - 1), "{ended:?}");
}

/// Each answer to a batch, to the status or for rules is a flood of another kind.
pub fn memory_stays_small_whatever_the_platform_answers(pipe: Pipe) {
    // A debug build alone takes some 20 MB.
    const MOST_KB: u64 = 40 << 10;
    let floods: Vec<_> = super::http::floods().into_iter().map(|(_, bytes)| bytes).collect();
    let rounds = floods.len();
    let platform = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", platform.local_addr().unwrap());
    let (served, all_served) = mpsc::channel();
    thread::spawn(move || {
        for (number, stream) in platform.incoming().enumerate() {
            let Ok(mut stream) = stream else { continue };
            let mut head = [0; 1 << 14];
            // Requests are small.
            if !stream.read(&mut head).is_ok_and(|length| length > 0) {
                continue;
            }
            // Whoever hangs up had enough.
            let _ = stream.write_all(&floods[number % floods.len()]);
            let _ = stream.shutdown(Shutdown::Both);
            if number > rounds && served.send(()).is_err() {
                return;
            }
        }
    });
    let flags = [
        "project_id=shop",
        "rate_limit=100000",
        "backoff_factor=0.01",
        "breaker_recovery=0.05",
        "breaker_recovery_max=0.05",
        "retry_attempts=0",
        "timeout=1",
        "batch_max_records=1",
    ];
    let mut flags: Vec<_> = flags.into_iter().flat_map(|field| ["--set", field]).collect();
    flags.extend(["--shutdown-timeout", "0.1"]);
    let mut process = pipe.start(&endpoint, &flags);
    process.write(&events(50));
    process.write(&"{\"kind\":\"metric\",\"metric_type\":\"error_rate\",\"value\":1}\n".repeat(50));

    all_served.recv_timeout(HANG).unwrap();

    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")?.trim().parse().ok());
    if cfg!(target_os = "linux") {
        let peak: u64 = peak.unwrap();
        eprintln!("{}: at most {peak} kB", pipe.name);
        assert!(peak < MOST_KB, "{peak} kB");
    }
    process.signal("TERM");
    let ended = process.wait();
    assert!(ended.errors.lines().all(|line| line.len() <= 1_024), "{}", ended.errors);
}
