//! Tasks about events that wait in a journal.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::request::Requests;
use crate::sample::Figures;
use crate::side::{Journal, Side};

/// Events sent before waiting until they are durable: memory has room for them.
pub const PORTION: usize = 50_000;

/// Makes that many events durable, a multiple of [`PORTION`], as fast as the journal takes them.
pub async fn journal<S: Side>(
    side: &S,
    requests: &Arc<Requests>,
    events: usize,
    journal: &Journal,
) -> Figures {
    let mut requests = requests.cycle();
    let mut took = Duration::ZERO;
    for _ in 0..events / PORTION {
        let portion: Vec<_> = requests.by_ref().take(PORTION).map(|request| side.event(&request)).collect();
        let start = Instant::now();
        for event in portion {
            side.send(event).await;
        }
        side.persist().await;
        took += start.elapsed();
    }
    let per_s = |took: Duration| events as f64 / took.as_secs_f64();
    let mut figures = Figures::from([("events_per_s".into(), per_s(took))]);
    if let Journal::Files { dir } = journal {
        let groups = side.groups();
        figures.insert("events_per_s_plain".into(), per_s(write_plainly(dir, &groups)));
        figures.insert("events_per_group".into(), events as f64 / groups.len() as f64);
    }
    figures
}

/// How long it takes to append groups of so many bytes to one file, each made durable before the next.
fn write_plainly(dir: &Path, groups: &[usize]) -> Duration {
    let mut file = File::create(dir.join("plain")).expect("a file");
    let bytes = vec![b'x'; groups.iter().copied().max().unwrap_or(0)];
    let start = Instant::now();
    for group in groups {
        file.write_all(&bytes[..*group]).expect("room on the disk");
        file.sync_data().expect("a disk that works");
    }
    start.elapsed()
}

/// Delivers what another process left in the journal.
pub async fn recover<S: Side>(side: &S, events: usize) -> Figures {
    let start = Instant::now();
    let mut first = None;
    loop {
        let delivered = side.delivered().await;
        if delivered > 0 {
            first.get_or_insert_with(Instant::now);
        }
        if let (Some(first), true) = (first, delivered >= events as u64) {
            return Figures::from([
                ("taken_over".into(), (first - start).as_secs_f64()),
                ("delivered".into(), first.elapsed().as_secs_f64()),
                ("peak_rss".into(), peak_resident() / f64::from(1 << 20)),
            ]);
        }
        assert!(
            start.elapsed() < Duration::from_secs(1_800),
            "{delivered} of {events} events in half an hour"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Most bytes that this process had in memory so far.
fn peak_resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1_024.0
}
