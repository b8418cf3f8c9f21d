use core::time::Duration;

use crate::Instant;

/// What was recently decided about records: delivered or given up.
///
/// Counts halve every minute, so that an old loss does not colour the health for ever.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    delivered: u64,
    dropped: u64,
    halved_at: Instant,
}

const HALF_LIFE: Duration = Duration::from_secs(60);
/// Above a tenth the agent calls itself degraded.
const TOLERATED_PERMILLE: u64 = 100;

impl Decided {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { delivered: 0, dropped: 0, halved_at: now }
    }

    pub(crate) fn on_delivered(&mut self, count: u64, now: Instant) {
        self.halve(now);
        self.delivered += count;
    }

    pub(crate) fn on_dropped(&mut self, count: u64, now: Instant) {
        self.halve(now);
        self.dropped += count;
    }

    /// The share of what was given up, if it is too high.
    pub(crate) fn failing_permille(&self) -> Option<u16> {
        let share = (self.dropped * 1_000).checked_div(self.delivered + self.dropped)?;
        (share > TOLERATED_PERMILLE).then(|| u16::try_from(share).unwrap_or(1_000))
    }

    /// Forgets what is not recent any more.
    pub(crate) fn halve(&mut self, now: Instant) {
        let half_lives = now.since(self.halved_at).as_secs() / HALF_LIFE.as_secs();
        if half_lives > 0 {
            let shift = u32::try_from(half_lives).unwrap_or(u32::MAX);
            self.delivered = self.delivered.checked_shr(shift).unwrap_or(0);
            self.dropped = self.dropped.checked_shr(shift).unwrap_or(0);
            self.halved_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_above_a_tenth_and_forgotten() {
        let start = Instant::ZERO;
        for (delivered, dropped, told) in
            [(0, 0, None), (9, 1, None), (8, 2, Some(200)), (0, 1, Some(1_000)), (899, 101, Some(101))]
        {
            let mut decided = Decided::new(start);
            decided.on_delivered(delivered, start);
            decided.on_dropped(dropped, start);
            assert_eq!(decided.failing_permille(), told, "{delivered} {dropped}");
            // Also when nothing else happens.
            decided.halve(start + Duration::from_secs(3_600));
            assert_eq!(decided.failing_permille(), None);
        }
    }
}
