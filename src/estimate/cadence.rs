//! How often a group commits.

use std::collections::VecDeque;

use super::EstimateConfig;

/// Time between commits of one group, learned from the polls that showed a change.
///
/// The mean of the last gaps that are at most 2.2 × their median: a commit that one poll missed shows up as a double
/// gap and must not count as a slower cadence.
#[derive(Clone, Debug)]
pub struct Cadence {
    gaps: VecDeque<f64>,
    capacity: usize,
    seconds: Option<f64>,
}

impl Cadence {
    /// Nothing known; remembers `max(12, 4 × partitions)` gaps.
    #[must_use]
    pub fn new(partitions: usize) -> Self {
        Self { gaps: VecDeque::new(), capacity: memory(partitions), seconds: None }
    }

    /// The number of partitions grew.
    pub fn resize(&mut self, partitions: usize) {
        self.capacity = memory(partitions);
    }

    /// Mean time between commits, seconds; `None` before two gaps were seen.
    #[must_use]
    pub const fn seconds(&self) -> Option<f64> {
        self.seconds
    }

    /// The same, or the default auto-commit interval of Kafka's consumers (5 s) while unknown.
    #[must_use]
    pub fn or_default(&self) -> f64 {
        self.seconds.unwrap_or(DEFAULT_AUTO_COMMIT_SECONDS)
    }

    /// Age in seconds beyond which a missing commit is overdue.
    #[must_use]
    pub fn overdue_after(&self, config: &EstimateConfig) -> f64 {
        self.seconds.map_or(config.patience_seconds, |cadence| 1.8 * cadence + 2.0 * config.poll_seconds)
    }

    /// Age in seconds up to which a position is extrapolated past its commit.
    #[must_use]
    pub fn credit_seconds(&self, config: &EstimateConfig) -> f64 {
        self.seconds
            .map_or(config.patience_seconds, |cadence| config.extrapolate_cadences * cadence + config.poll_seconds)
    }

    /// Takes one gap, seconds.
    pub(super) fn push(&mut self, gap: f64) {
        while self.gaps.len() >= self.capacity {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
    }

    /// Takes a gap that turned out to be a slower cadence: when it is far longer than any known, the others are history.
    pub(super) fn push_slower(&mut self, gap: f64) {
        // The newest first: where many partitions slow down together, the answer is there.
        if !self.gaps.iter().rev().any(|known| gap <= 1.5 * known) {
            self.gaps.clear();
        }
        self.push(gap);
    }

    /// Works the mean out anew.
    pub(super) fn settle(&mut self) {
        if self.gaps.len() < 2 {
            return;
        }
        let median = median(self.gaps.iter().copied().collect());
        let (mut sum, mut count) = (0.0, 0.0);
        for gap in self.gaps.iter().filter(|gap| **gap <= 2.2 * median) {
            sum += gap;
            count += 1.0;
        }
        self.seconds = Some((sum / count).max(SHORTEST_SECONDS));
    }
}

/// The middle of at least one value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    let even = values.len().is_multiple_of(2);
    let middle = values.len() / 2;
    let (lower, above, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if even { (lower.iter().copied().fold(f64::NEG_INFINITY, f64::max) + *above) / 2.0 } else { *above }
}

fn memory(partitions: usize) -> usize {
    (4 * partitions).max(12)
}

/// `auto.commit.interval.ms` of Kafka's own consumer (`ConsumerConfig.java`).
pub(super) const DEFAULT_AUTO_COMMIT_SECONDS: f64 = 5.0;
/// Below any poll interval that makes sense; keeps divisions finite.
const SHORTEST_SECONDS: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_gaps_make_a_cadence_and_a_double_gap_does_not_count() {
        let mut cadence = Cadence::new(1);
        cadence.push(5.0);
        cadence.settle();
        assert_eq!(cadence.seconds(), None);
        for gap in [5.0, 5.0, 5.0, 12.0] {
            cadence.push(gap);
        }
        cadence.settle();
        assert_eq!(cadence.seconds(), Some(5.0));
    }

    #[test]
    fn a_slower_cadence_replaces_the_old_one() {
        let mut cadence = Cadence::new(1);
        for _ in 0..6 {
            cadence.push(5.0);
        }
        cadence.push_slower(30.0);
        cadence.push_slower(30.0);
        cadence.settle();
        assert_eq!(cadence.seconds(), Some(30.0));
    }

    #[test]
    fn silence_is_judged_against_the_cadence() {
        let config = EstimateConfig::for_poll(1.0);
        let mut cadence = Cadence::new(1);
        assert_eq!(cadence.overdue_after(&config), 35.0);
        cadence.push(5.0);
        cadence.push(5.0);
        cadence.settle();
        assert_eq!(cadence.overdue_after(&config), 11.0);
        assert_eq!(cadence.credit_seconds(&config), 7.25);
    }
}
