use std::panic::{AssertUnwindSafe, catch_unwind};
use std::vec::Vec;

use super::drive::entropy;
use super::hooks::Processors;
use super::inbox::Intake;
use super::item::Item;
use super::receipt::{Backlog, Promise};
use crate::{
    ByKind, DropCounts, DropReason, EncodeError, Encoder, Kind, Outcome, ReceiptId, Record, SecurityEvent,
    SecurityMetric,
};

/// Records encoded in one go: well under a millisecond, after which the executor's other tasks may run.
const CHUNK: usize = 128;

/// The same in bytes. A single record may be larger, and takes longer.
const CHUNK_BYTES: usize = 256 << 10;

/// Turns the application's records into the core's.
pub(super) struct Workbench {
    encoder: Encoder,
    processors: Processors,
    receipts: u64,
}

/// The next few records, each kind in the order of acceptance.
pub(super) struct Chunk {
    events: Backlog<SecurityEvent>,
    metrics: Backlog<SecurityMetric>,
    /// A record of it takes long.
    is_long: bool,
}

impl Chunk {
    pub(super) fn take(intake: &mut Intake) -> Self {
        let mut bytes = CHUNK_BYTES;
        let is_small = intake.bytes() <= CHUNK_BYTES;
        let events = if is_small { CHUNK } else { fitting(&intake.events, CHUNK, &mut bytes).max(1) };
        let events = intake.events.take(events);
        let left = CHUNK - events.len();
        let metrics = if is_small { left } else { fitting(&intake.metrics, left, &mut bytes) };
        // One is taken at least, however large.
        let metrics = intake.metrics.take(metrics.max(usize::from(events.is_empty())));
        let is_long = |size: usize| size > CHUNK_BYTES;
        let is_long = !is_small
            && (events.records().any(|event| is_long(event.approximate_size()))
                || metrics.records().any(|metric| is_long(metric.approximate_size())));
        Self { events, metrics, is_long }
    }

    /// Whether it takes longer than the executor's other tasks should wait.
    pub(super) const fn is_long(&self) -> bool {
        self.is_long
    }

    pub(super) fn len(&self) -> ByKind<usize> {
        ByKind { events: self.events.len(), metrics: self.metrics.len() }
    }
}

/// How many of the oldest, at most `limit`, are at most `bytes` together, of which theirs are taken.
fn fitting<T: Item>(records: &Backlog<T>, limit: usize, bytes: &mut usize) -> usize {
    let fits = |record: &&T| match bytes.checked_sub(record.approximate_size()) {
        Some(left) => {
            *bytes = left;
            true
        }
        None => false,
    };
    records.records().take(limit).take_while(fits).count()
}

/// What became of a chunk.
#[derive(Default)]
pub(super) struct Encoded {
    pub(super) records: Vec<Record>,
    pub(super) lost: ByKind<DropCounts>,
    /// To be kept when the core or `news` tells the outcome.
    pub(super) promises: Vec<(ReceiptId, Promise)>,
    /// Of records that somebody waits for and that were lost here.
    pub(super) news: Vec<(ReceiptId, Outcome)>,
}

impl Workbench {
    pub(super) const fn new(encoder: Encoder, processors: Processors) -> Self {
        Self { encoder, processors, receipts: 0 }
    }

    pub(super) fn has_processors(&self) -> bool {
        !self.processors.is_empty()
    }

    pub(super) fn encode(&mut self, mut chunk: Chunk) -> Encoded {
        let Self { encoder, processors, receipts } = self;
        // The records are known: a clone of the machine gives the same ones the same keys, and others to all that come.
        if let Some(entropy) = entropy() {
            encoder.reseed(entropy);
        }
        let mut encoded = Encoded::default();
        while let Some((event, promise)) = chunk.events.pop() {
            let receipt = promise.map(|promise| encoded.promise(receipts, promise));
            let result = pass(event, &processors.events, |event| encoder.event(event));
            encoded.add(Kind::Event, result, receipt);
        }
        while let Some((metric, promise)) = chunk.metrics.pop() {
            let receipt = promise.map(|promise| encoded.promise(receipts, promise));
            let result = pass(metric, &processors.metrics, |metric| encoder.metric(metric));
            encoded.add(Kind::Metric, result, receipt);
        }
        encoded
    }
}

impl Encoded {
    fn promise(&mut self, receipts: &mut u64, promise: Promise) -> ReceiptId {
        let id = ReceiptId::from_u64(*receipts);
        *receipts += 1;
        self.promises.push((id, promise));
        id
    }

    fn add(&mut self, kind: Kind, result: Result<Record, DropReason>, receipt: Option<ReceiptId>) {
        match result {
            Ok(record) => self.records.push(match receipt {
                Some(id) => record.with_receipt(id),
                None => record,
            }),
            Err(reason) => {
                self.lost[kind][reason] += 1;
                self.news.extend(receipt.map(|id| (id, Outcome::Dropped(reason))));
            }
        }
    }
}

/// A processor that makes a record invalid fails like one that panics.
fn pass<T: Item>(
    record: T,
    processors: &[impl Fn(T) -> Option<T>],
    encode: impl FnOnce(&T) -> Result<Record, EncodeError>,
) -> Result<Record, DropReason> {
    if processors.is_empty() {
        let attempt = catch_unwind(AssertUnwindSafe(|| encode(&record)));
        return attempt.map_or(Err(DropReason::Processor), |result| result.map_err(|error| error.reason()));
    }
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let processed = processors.iter().try_fold(record, |record, process| process(record));
        let processed = processed.ok_or(DropReason::Filtered)?;
        processed.validate().map_err(|_| DropReason::Processor)?;
        encode(&processed).map_err(|error| error.reason())
    }));
    attempt.unwrap_or(Err(DropReason::Processor))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Hooks;
    use super::super::handle::Snapshot;
    use super::super::inbox::Inbox;
    use super::*;
    use crate::{AgentConfig, MetricType, Timestamp};

    #[test]
    fn a_receipt_goes_with_its_record_or_tells_why_there_is_none() {
        let event = |event_type| SecurityEvent::new(event_type, Timestamp::default());
        let metric = SecurityMetric::new(MetricType::ErrorRate, 0.5, Timestamp::default());
        let mut config = AgentConfig::builder("key-of-the-tests").build().unwrap();
        config.muted_event_types = std::vec!["muted".into()];
        config.max_payload_size = usize::MAX;
        let mut hooks = Hooks::new();
        hooks.event_processor(|event| match &*event.event_type {
            "removed" => None,
            "broken" => panic!("as told"),
            _ => Some(event),
        });
        hooks.metric_processor(|metric| {
            let value = if metric.value < 0.0 { f64::NAN } else { metric.value };
            Some(SecurityMetric::new(metric.metric_type, value, metric.timestamp))
        });
        let mut workbench = Workbench::new(Encoder::new(&config, [0; 32]).unwrap(), hooks.processors);

        let mut intake = Intake::default();
        let mut receipts = Vec::new();
        let large = event("large").reason("x".repeat(300_000));
        for event in [event("first"), event("muted"), event("removed"), event("broken"), large, event("last")]
        {
            intake.events.push(event);
            let (promise, receipt) = Promise::new(std::process::id());
            intake.events.promise(promise);
            receipts.push(receipt);
            intake.events.push(SecurityEvent::new("unasked", Timestamp::default()));
        }
        let spoilt = SecurityMetric::new(MetricType::ErrorRate, -0.5, Timestamp::default());
        for metric in [metric, spoilt] {
            intake.metrics.push(metric);
            let (promise, receipt) = Promise::new(std::process::id());
            intake.metrics.promise(promise);
            receipts.push(receipt);
        }

        let encoded = workbench.encode(Chunk::take(&mut intake));

        let carried: Vec<_> = encoded.records.iter().filter_map(Record::receipt).collect();
        let lost: Vec<_> = encoded.news.clone();
        let id = ReceiptId::from_u64;
        assert_eq!(carried, [id(0), id(4), id(5), id(6)]);
        let dropped = |n, reason| (id(n), Outcome::Dropped(reason));
        assert_eq!(
            lost,
            [
                dropped(1, DropReason::Filtered),
                dropped(2, DropReason::Filtered),
                dropped(3, DropReason::Processor),
                dropped(7, DropReason::Processor),
            ]
        );
        assert_eq!(encoded.records.len(), 10);
        let ids: Vec<_> = encoded.promises.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, (0..8).map(id).collect::<Vec<_>>());
    }

    /// As on clones of a machine.
    #[test]
    fn each_chunk_comes_with_fresh_randomness() {
        let config = AgentConfig::builder("key-of-the-tests").build().unwrap();
        let encode = || {
            let encoder = Encoder::new(&config, [7; 32]).unwrap();
            let mut intake = Intake::default();
            intake.events.push(SecurityEvent::new("same", Timestamp::default()));
            let mut workbench = Workbench::new(encoder, Hooks::new().processors);
            let encoded = workbench.encode(Chunk::take(&mut intake));
            encoded.records[0].json().to_vec()
        };
        assert_ne!(encode(), encode(), "they have other keys");
    }

    #[test]
    fn a_chunk_is_bounded_in_bytes_and_a_larger_record_goes_where_long_work_goes() {
        let config = AgentConfig::builder("key-of-the-tests").build().unwrap();
        let inbox = Inbox::new(&config, false, Snapshot::empty());
        let event = |size: usize| SecurityEvent::new("large", Timestamp::default()).reason("x".repeat(size));
        let chunks = |sizes: &[usize]| {
            for size in sizes {
                inbox.try_send(event(*size)).unwrap();
            }
            let mut intake = Intake::default();
            inbox.drain(&mut intake);
            let mut chunks = Vec::new();
            while !intake.is_empty() {
                let chunk = Chunk::take(&mut intake);
                chunks.push((chunk.len().events, chunk.is_long()));
            }
            chunks
        };
        assert_eq!(chunks(&[100; 300]), [(CHUNK, false), (CHUNK, false), (300 - 2 * CHUNK, false)]);
        assert_eq!(chunks(&[100_000; 5]), [(2, false), (2, false), (1, false)]);
        assert_eq!(chunks(&[10, CHUNK_BYTES, 10]), [(1, false), (1, true), (1, false)]);
    }
}
