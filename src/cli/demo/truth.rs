//! What the clients really did, counted by themselves: the only source of the demo's figures.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Partitions of the demo's topic.
pub(super) const PARTITIONS: i32 = 6;

/// Which way a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Through the valve.
    Governed,
    /// Beside the valve, never limited.
    Live,
    /// A few records before the clock starts, so that the group has something to commit.
    Primer,
}

/// Totals of one lane, records.
#[derive(Debug, Default)]
pub(super) struct LaneCounts {
    /// The writer wanted to send them.
    pub(super) offered: AtomicU64,
    /// The valve said no and the writer dropped them: never sent, never issued a sequence number.
    pub(super) withheld: AtomicU64,
    /// Handed to the client.
    pub(super) sent: AtomicU64,
    /// Confirmed by the broker.
    pub(super) acknowledged: AtomicU64,
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Truth {
    lanes: [LaneCounts; 3],
    failed: Mutex<HashSet<(u32, u64)>>,
    processed_to: Vec<AtomicI64>,
    committed: Mutex<HashSet<i32>>,
    verified_to: Vec<AtomicI64>,
    processed: AtomicU64,
    reread: AtomicU64,
    live_ages: Mutex<AgeHistogram>,
}

/// Totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Wanted by all writers.
    pub(super) offered: u64,
    /// Wanted by governed writers.
    pub(super) offered_governed: u64,
    /// Refused by the valve.
    pub(super) withheld: u64,
    /// Let through by the valve and handed to the client, governed writers.
    pub(super) sent_governed: u64,
    /// Acknowledged, all writers.
    pub(super) produced: u64,
    /// Processed by the group, each offset once.
    pub(super) consumed: u64,
    /// Processed again after a restart.
    pub(super) reread: u64,
}

impl Totals {
    /// Records on the topic that the group has not processed.
    pub(super) const fn unread(&self) -> u64 {
        self.produced.saturating_sub(self.consumed)
    }
}

impl Truth {
    /// Nothing counted yet.
    pub(super) fn new() -> Self {
        let offsets = || (0..PARTITIONS).map(|_| AtomicI64::new(0)).collect();
        Self {
            lanes: Default::default(),
            failed: Mutex::default(),
            processed_to: offsets(),
            committed: Mutex::default(),
            verified_to: offsets(),
            processed: AtomicU64::new(0),
            reread: AtomicU64::new(0),
            live_ages: Mutex::default(),
        }
    }

    /// The counters of `lane`.
    pub(super) fn lane(&self, lane: Lane) -> &LaneCounts {
        &self.lanes[lane as usize]
    }

    /// The broker confirmed record `sequence` of `producer`, or the client gave it up.
    pub(super) fn delivered(&self, lane: Lane, producer: u32, sequence: u64, acknowledged: bool) {
        if acknowledged {
            self.lane(lane).acknowledged.fetch_add(1, Ordering::Relaxed);
        } else {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert((producer, sequence));
        }
    }

    /// Records that the client gave up, `(producer, sequence)`.
    pub(super) fn failed(&self) -> HashSet<(u32, u64)> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The group processed `records` of `partition`, up to but not including offset `next`.
    pub(super) fn processed(&self, partition: i32, next: i64, records: u64) {
        let Some(high_water) = slot(&self.processed_to, partition) else { return };
        let before = high_water.fetch_max(next, Ordering::AcqRel);
        let fresh = u64::try_from(next - before).unwrap_or(0).min(records);
        self.processed.fetch_add(fresh, Ordering::Relaxed);
        self.reread.fetch_add(records - fresh, Ordering::Relaxed);
    }

    /// A commit of these partitions, for which the group waited, was accepted.
    pub(super) fn committed(&self, partitions: impl Iterator<Item = i32>) {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).extend(partitions);
    }

    /// Partitions with a commit for which the group waited.
    pub(super) fn committed_partitions(&self) -> usize {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The verifying reader has read `partition` up to but not including `next`.
    pub(super) fn verified(&self, partition: i32, next: i64) {
        if let Some(verified) = slot(&self.verified_to, partition) {
            verified.fetch_max(next, Ordering::AcqRel);
        }
    }

    /// Up to where the verifying reader has read `partition`.
    pub(super) fn verified_to(&self, partition: i32) -> i64 {
        slot(&self.verified_to, partition).map_or(0, |verified| verified.load(Ordering::Acquire))
    }

    /// Live records were processed `ages` seconds after they had been handed to the client.
    pub(super) fn live_ages(&self, ages: &[f64]) {
        if !ages.is_empty() {
            let mut histogram = self.live_ages.lock().unwrap_or_else(PoisonError::into_inner);
            ages.iter().for_each(|age| histogram.add(*age));
        }
    }

    /// Takes the ages of live records since the last call.
    pub(super) fn take_live_ages(&self) -> AgeHistogram {
        std::mem::take(&mut *self.live_ages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All totals now. Consumption is read before production, so that unread records are never undercounted.
    pub(super) fn totals(&self) -> Totals {
        let consumed = self.processed.load(Ordering::Acquire);
        let sum = |pick: fn(&LaneCounts) -> &AtomicU64| {
            self.lanes.iter().map(|lane| pick(lane).load(Ordering::Acquire)).sum::<u64>()
        };
        let governed = self.lane(Lane::Governed);
        Totals {
            offered: sum(|lane| &lane.offered),
            offered_governed: governed.offered.load(Ordering::Acquire),
            withheld: sum(|lane| &lane.withheld),
            sent_governed: governed.sent.load(Ordering::Acquire),
            produced: sum(|lane| &lane.acknowledged),
            consumed,
            reread: self.reread.load(Ordering::Relaxed),
        }
    }
}

/// Ages in bins of 50 ms up to a minute; older ones share the last bin.
#[derive(Clone, Debug)]
pub(super) struct AgeHistogram {
    bins: Vec<u64>,
}

impl Default for AgeHistogram {
    fn default() -> Self {
        Self { bins: vec![0; AGE_BINS] }
    }
}

impl AgeHistogram {
    /// Counts one age in seconds.
    pub(super) fn add(&mut self, age: f64) {
        let bin = ((age.max(0.0) / AGE_BIN_SECONDS) as usize).min(AGE_BINS - 1);
        self.bins[bin] += 1;
    }

    /// Adds all of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        self.bins.iter_mut().zip(&other.bins).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// The age that `share` (0 to 1) of the records do not exceed, seconds, rounded up to 50 ms; `None` when empty.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.bins.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        self.bins
            .iter()
            .position(|count| {
                seen += count;
                total > 0 && seen >= wanted
            })
            .map(|bin| (bin + 1) as f64 * AGE_BIN_SECONDS)
    }
}

fn slot(offsets: &[AtomicI64], partition: i32) -> Option<&AtomicI64> {
    offsets.get(usize::try_from(partition).ok()?)
}

const AGE_BIN_SECONDS: f64 = 0.05;
const AGE_BINS: usize = 1200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reread_is_not_consumption() {
        let truth = Truth::new();
        truth.processed(0, 10, 10);
        truth.processed(1, 5, 5);
        truth.processed(0, 10, 4); // back to 6 after a crash, the same four again
        truth.processed(0, 12, 2);
        let totals = truth.totals();
        assert_eq!((totals.consumed, totals.reread), (17, 4));
    }

    #[test]
    fn unread_is_what_was_acknowledged_and_not_processed() {
        let truth = Truth::new();
        for sequence in 0..8 {
            truth.delivered(Lane::Governed, 0, sequence, sequence != 3);
        }
        truth.delivered(Lane::Live, 1, 0, true);
        truth.processed(0, 5, 5);
        let totals = truth.totals();
        assert_eq!((totals.produced, totals.unread()), (8, 3));
        assert!(truth.failed().contains(&(0, 3)));
    }

    #[test]
    fn quantiles_are_upper_edges() {
        let mut ages = AgeHistogram::default();
        assert_eq!(ages.quantile(0.99), None);
        (0..99).for_each(|_| ages.add(0.12));
        ages.add(500.0);
        assert!((ages.quantile(0.99).unwrap() - 0.15).abs() < 1e-9);
        assert!((ages.quantile(1.0).unwrap() - 60.0).abs() < 1e-9);
    }
}
