use alloc::sync::Arc;
use core::time::Duration;

use crate::batch::Entry;
use crate::buffer::Buffer;
use crate::rng::Rng;
use crate::{AgentConfig, Batch, BatchId, Instant, Kind, Reason, Seq, Timestamp};

/// Decides when waiting records become a batch, and seals it.
#[derive(Clone, Debug)]
pub(crate) struct Batcher {
    kind: Kind,
    /// Longest wait of the oldest record.
    patience: (Duration, Reason),
    most: usize,
    /// Fill level from which records do not wait.
    watermark: Room,
    /// Bytes of records a batch may hold, as configured.
    ceiling: usize,
    /// The same, as the platform taught us by refusing larger ones.
    budget: usize,
    /// Batches delivered since the budget last changed.
    delivered: u32,
}

/// How much of something there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) records: usize,
    /// Of JSON with separators.
    pub(crate) bytes: usize,
}

impl Room {
    pub(crate) const UNLIMITED: Self = Self { records: usize::MAX, bytes: usize::MAX };

    /// A fourth of it.
    pub(crate) const fn quarter(self) -> Self {
        Self { records: self.records.div_ceil(4), bytes: self.bytes / 4 }
    }

    /// The part of it that these records leave.
    pub(crate) fn beside(self, entries: &[Entry]) -> Self {
        let bytes: usize = entries.iter().map(|entry| entry.json.len() + 1).sum();
        Self { records: self.records.saturating_sub(entries.len()), bytes: self.bytes.saturating_sub(bytes) }
    }
}

/// Deliveries after which a budget lowered by the platform doubles again.
const PROBATION: u32 = 100;

impl Batcher {
    pub(crate) fn new(kind: Kind, config: &AgentConfig) -> Self {
        let ceiling = crate::wire::record_budget(config);
        let (patience, reason) = match kind {
            Kind::Event => (config.event_linger, Reason::Linger),
            Kind::Metric => (config.flush_interval, Reason::FlushInterval),
        };
        // Nothing waits for company until it is too old to be sent.
        let patience = config.max_record_age.map_or(patience, |age| patience.min(age / 2));
        Self {
            kind,
            patience: (patience, reason),
            most: config.batch_max_records,
            watermark: watermark(config),
            ceiling,
            budget: ceiling,
            delivered: 0,
        }
    }

    /// For records that have waited before, in memory or in a journal: they do not wait for an interval again.
    pub(crate) fn of_backlog(kind: Kind, config: &AgentConfig) -> Self {
        let batcher = Self::new(kind, config);
        let patience = (config.event_linger.min(batcher.patience.0), Reason::Linger);
        Self { patience, ..batcher }
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// When the waiting records make a batch; `None` without records. Records before `urgent` do not
    /// wait for others.
    pub(crate) fn ready_at(&self, queue: &Buffer, urgent: Seq) -> Option<(Instant, Reason)> {
        let oldest = queue.oldest()?;
        let (patience, reason) = self.patience;
        if self.is_full(queue) || queue.count_before(urgent) > 0 {
            return Some((oldest, reason));
        }
        Some((oldest + patience, reason))
    }

    /// Whether one batch cannot hold all that waits.
    pub(crate) fn overflows(&self, queue: &Buffer, room: Room) -> bool {
        let Room { records, bytes } = self.within(room);
        queue.len() > records || queue.json_bytes() + queue.len() > bytes
    }

    /// What a batch may hold, where there is that much room for it.
    pub(crate) fn within(&self, room: Room) -> Room {
        Room { records: self.most.min(room.records), bytes: self.budget.min(room.bytes) }
    }

    /// Whether the platform would find that batch too large, and it could be split.
    pub(crate) fn is_too_large(&self, batch: &Batch) -> bool {
        batch.len() > 1 && batch.json_len() > self.budget
    }

    /// Seals the oldest records; `queue` must not be empty.
    pub(crate) fn seal(&self, queue: &mut Buffer, room: Room, wall: Timestamp, rng: &mut Rng) -> Arc<Batch> {
        let Room { records, bytes } = self.within(room);
        self.batch(queue.take(records, bytes), wall, rng)
    }

    /// A batch of these records, under an id of its own. They stand in the order in which a journal has them, so
    /// that it can be put together again.
    pub(crate) fn batch(
        &self,
        mut entries: alloc::vec::Vec<Entry>,
        wall: Timestamp,
        rng: &mut Rng,
    ) -> Arc<Batch> {
        entries.sort_by_key(Entry::seq);
        let millis = u64::try_from(wall.as_unix_micros() / 1_000).unwrap_or(0);
        Arc::new(Batch {
            id: BatchId::new(millis, rng.next_u32()),
            kind: self.kind,
            created_at: wall,
            nonce: rng.nonce(),
            entries,
        })
    }

    /// The platform found a batch of `json_len` bytes too large: make no more of that size.
    pub(crate) fn on_too_large(&mut self, json_len: usize) {
        self.budget = self.budget.min(json_len / 2).max(1);
        self.delivered = 0;
    }

    /// The platform took a batch.
    pub(crate) fn on_delivered(&mut self) {
        self.delivered = self.delivered.saturating_add(1);
        if self.delivered >= PROBATION {
            self.budget = (self.budget * 2).min(self.ceiling);
            self.delivered = 0;
        }
    }

    /// Whether another batch would be full beside the next one.
    pub(crate) fn holds_several(&self, queue: &Buffer) -> bool {
        queue.len() / 2 >= self.most || (queue.json_bytes() + queue.len()) / 2 >= self.budget
    }

    fn is_full(&self, queue: &Buffer) -> bool {
        // A record in a full memory would wait for company for ever, if new ones push out those that waited longest.
        queue.len() >= self.most.min(self.watermark.records)
            || queue.json_bytes() + queue.len() >= self.budget
            || queue.cost() >= self.watermark.bytes
    }
}

/// Records of a kind, and bytes, in memory from which the agent is nearly full.
pub(crate) fn watermark(config: &AgentConfig) -> Room {
    let permille = permille(config.high_watermark_ratio);
    let share = |most: usize| (most.saturating_mul(permille) / 1_000).max(1);
    Room { records: share(config.buffer_size), bytes: share(config.buffer_bytes) }
}

/// A ratio in whole permille: the core does no float arithmetic beyond this.
pub(crate) fn permille(ratio: f64) -> usize {
    // A cast from float saturates, so that no configuration can do harm here.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    {
        (ratio * 1_000.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::Record;

    fn queue(count: u64, len: usize) -> Buffer {
        let mut queue = Buffer::default();
        for seq in 0..count {
            let record = Record::new(Kind::Event, false, vec![b'x'; len].into());
            queue.push(Entry::new(Seq::from_u64(seq), Instant::from_micros(1_000 + seq), record));
        }
        queue
    }

    fn batcher(kind: Kind) -> Batcher {
        let mut config = AgentConfig::builder("0123456789").build().unwrap();
        config.batch_max_records = 100;
        config.buffer_size = 100;
        Batcher::new(kind, &config)
    }

    #[test]
    fn ready_when_lingered_full_or_urgent() {
        let none = Seq::from_u64(0);
        let base = Instant::from_micros(1_000);
        let linger = base + Duration::from_millis(50);
        let interval = base + Duration::from_secs(30);
        for (kind, count, urgent, ready) in [
            (Kind::Event, 0, none, None),
            (Kind::Event, 1, none, Some((linger, Reason::Linger))),
            (Kind::Event, 100, none, Some((base, Reason::Linger))),
            (Kind::Event, 1, Seq::from_u64(1), Some((base, Reason::Linger))),
            (Kind::Metric, 1, none, Some((interval, Reason::FlushInterval))),
            (Kind::Metric, 79, none, Some((interval, Reason::FlushInterval))),
            (Kind::Metric, 80, none, Some((base, Reason::FlushInterval))),
        ] {
            assert_eq!(batcher(kind).ready_at(&queue(count, 10), urgent), ready, "{kind} {count}");
        }
    }

    #[test]
    fn ready_when_the_records_fill_a_batch_by_their_bytes() {
        let mut batcher = batcher(Kind::Event);
        batcher.budget = 33;
        let ready = |len| batcher.ready_at(&queue(3, len), Seq::from_u64(0)).map(|(at, _)| at);
        assert_eq!(ready(9), Some(Instant::from_micros(1_000) + Duration::from_millis(50)));
        assert_eq!(ready(10), Some(Instant::from_micros(1_000)));
    }

    #[test]
    fn a_queue_overflows_what_one_batch_can_hold() {
        let room = |records, bytes| Room { records, bytes };
        let batcher = batcher(Kind::Event);
        for (waiting, room, overflows) in [
            (100, Room::UNLIMITED, false),
            (101, Room::UNLIMITED, true),
            (3, room(3, usize::MAX), false),
            (3, room(2, usize::MAX), true),
            (3, room(9, 33), false),
            (3, room(9, 31), true),
        ] {
            assert_eq!(batcher.overflows(&queue(waiting, 10), room), overflows, "{waiting} {room:?}");
        }
    }

    #[test]
    fn a_queue_that_fills_two_batches_holds_several() {
        let mut batcher = batcher(Kind::Event);
        for (waiting, several) in [(0, false), (199, false), (200, true)] {
            assert_eq!(batcher.holds_several(&queue(waiting, 10)), several, "{waiting}");
        }
        batcher.budget = 33;
        assert_eq!([5, 6].map(|waiting| batcher.holds_several(&queue(waiting, 10))), [false, true]);
    }

    #[test]
    fn only_a_batch_that_can_be_split_is_too_large() {
        let mut batcher = batcher(Kind::Event);
        let mut rng = Rng::new([1; 32]);
        let [one, two] = [1, 2].map(|count| {
            let wall = Timestamp::from_unix_micros(0);
            batcher.seal(&mut queue(count, 40), Room::UNLIMITED, wall, &mut rng)
        });
        for (budget, is_too_large) in [(79, true), (80, false), (81, false)] {
            batcher.budget = budget;
            assert_eq!(batcher.is_too_large(&two), is_too_large, "{budget}");
        }
        batcher.budget = 1;
        assert!(!batcher.is_too_large(&one));
    }

    #[test]
    fn what_has_waited_before_does_not_wait_for_an_interval_again() {
        let config = AgentConfig::builder("0123456789").build().unwrap();
        for kind in Kind::ALL {
            let ready = Batcher::of_backlog(kind, &config).ready_at(&queue(1, 10), Seq::from_u64(0));
            let linger = Instant::from_micros(1_000) + Duration::from_millis(50);
            assert_eq!(ready, Some((linger, Reason::Linger)), "{kind}");
        }
    }

    #[test]
    fn nobody_waits_for_company_until_it_expires() {
        let mut config = AgentConfig::builder("0123456789").build().unwrap();
        config.max_record_age = Some(Duration::from_secs(10));
        let ready = Batcher::new(Kind::Metric, &config).ready_at(&queue(1, 10), Seq::from_u64(0));
        assert_eq!(ready.map(|(at, _)| at), Some(Instant::from_micros(1_000) + Duration::from_secs(5)));
    }

    #[test]
    fn ids_differ_and_carry_the_time() {
        let mut rng = Rng::new([1; 32]);
        let wall = Timestamp::from_unix_micros(1_795_342_404_872_123);
        let batcher = batcher(Kind::Event);
        let mut queue = queue(200, 10);
        let first = batcher.seal(&mut queue, Room::UNLIMITED, wall, &mut rng);
        let second = batcher.seal(&mut queue, Room::UNLIMITED, wall, &mut rng);
        assert_eq!((first.len(), second.len()), (100, 100));
        assert!(first.id() != second.id() && first.nonce() != second.nonce());
        assert!(alloc::format!("{}", first.id()).starts_with("1795342404872-"));
    }

    #[test]
    fn a_size_that_was_refused_is_remembered_and_probed_later() {
        let mut batcher = batcher(Kind::Event);
        batcher.on_too_large(1_000);
        assert_eq!(batcher.budget, 500);
        for _ in 0..PROBATION - 1 {
            batcher.on_delivered();
        }
        assert_eq!(batcher.budget, 500);
        batcher.on_delivered();
        assert_eq!(batcher.budget, 1_000);
        // It began at the ceiling, and does not grow beyond it.
        for _ in 0..20 * PROBATION {
            batcher.on_delivered();
        }
        assert_eq!(batcher.budget, batcher.ceiling);
        batcher.on_too_large(1);
        assert_eq!(batcher.budget, 1);
    }

    #[test]
    fn the_high_watermark_is_a_share_of_the_buffer() {
        let mut config = AgentConfig::builder("0123456789").build().unwrap();
        for (size, ratio, records) in
            [(1_000, 0.8, 800), (10, 0.05, 1), (usize::MAX, 1.0, usize::MAX / 1_000)]
        {
            (config.buffer_size, config.high_watermark_ratio) = (size, ratio);
            assert_eq!(watermark(&config).records, records);
        }
    }
}
