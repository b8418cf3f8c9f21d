use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::vec::Vec;

use super::hooks::Processors;
use super::inbox::Intake;
use super::item::Item;
use crate::{
    ByKind, DropCounts, DropReason, EncodeError, Encoder, Kind, Record, SecurityEvent, SecurityMetric,
};

/// Records encoded in one go: well under a millisecond, after which the executor's other tasks may run.
const CHUNK: usize = 128;

/// Turns the application's records into the core's.
pub(super) struct Workbench {
    encoder: Encoder,
    processors: Processors,
}

/// The next few records, each kind in the order of acceptance.
pub(super) struct Chunk {
    events: Vec<SecurityEvent>,
    metrics: Vec<SecurityMetric>,
}

impl Chunk {
    pub(super) fn take(intake: &mut Intake) -> Self {
        fn front<T>(records: &mut VecDeque<T>, limit: usize) -> Vec<T> {
            records.drain(..records.len().min(limit)).collect()
        }
        let events = front(&mut intake.events, CHUNK);
        let metrics = front(&mut intake.metrics, CHUNK - events.len());
        Self { events, metrics }
    }

    pub(super) fn len(&self) -> ByKind<usize> {
        ByKind { events: self.events.len(), metrics: self.metrics.len() }
    }
}

/// What became of a chunk.
#[derive(Default)]
pub(super) struct Encoded {
    pub(super) records: Vec<Record>,
    pub(super) lost: ByKind<DropCounts>,
}

impl Workbench {
    pub(super) const fn new(encoder: Encoder, processors: Processors) -> Self {
        Self { encoder, processors }
    }

    pub(super) fn has_processors(&self) -> bool {
        !self.processors.is_empty()
    }

    pub(super) fn encode(&mut self, chunk: Chunk) -> Encoded {
        let Self { encoder, processors } = self;
        let mut encoded = Encoded::default();
        for event in chunk.events {
            let result = pass(event, &processors.events, |event| encoder.event(event));
            encoded.add(Kind::Event, result);
        }
        for metric in chunk.metrics {
            let result = pass(metric, &processors.metrics, |metric| encoder.metric(metric));
            encoded.add(Kind::Metric, result);
        }
        encoded
    }
}

impl Encoded {
    fn add(&mut self, kind: Kind, result: Result<Record, DropReason>) {
        match result {
            Ok(record) => self.records.push(record),
            Err(reason) => self.lost[kind][reason] += 1,
        }
    }
}

/// A processor that makes a record invalid fails like one that panics.
fn pass<T: Item>(
    record: T,
    processors: &[impl Fn(T) -> Option<T>],
    encode: impl FnOnce(&T) -> Result<Record, EncodeError>,
) -> Result<Record, DropReason> {
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let processed = processors.iter().try_fold(record, |record, process| process(record));
        let processed = processed.ok_or(DropReason::Filtered)?;
        processed.validate().map_err(|_| DropReason::Processor)?;
        encode(&processed).map_err(|error| error.reason())
    }));
    attempt.unwrap_or(Err(DropReason::Processor))
}
