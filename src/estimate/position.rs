//! Where a group stands between its commits, and which partitions count.

use super::GroupEstimator;
use super::capacity::{FEW_MESSAGES, PartitionTrack, busy_threshold};

/// What is known of a group now. Sums run over the partitions that count; all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// Capacity of the partitions that count, messages/s, above 0.
    pub capacity: f64,
    /// Share of the traffic that goes to them, above 0 to 1.
    pub share: f64,
    /// Drain time: their estimated lag ÷ their capacity, seconds. The controlled variable.
    pub drain_seconds: f64,
    /// The same from certain evidence alone, at the last commits.
    pub certain_drain_seconds: f64,
    /// Drain time that nine tenths of their traffic stay below, seconds, at least `drain_seconds` where it is unequal.
    pub slowest_drain_seconds: f64,
    /// How far commits are behind the work they stand for, seconds; 0 where nothing of that kind is proven.
    pub commit_delay_seconds: f64,
    /// No certain backlog anywhere: what the group takes says nothing of what it could take.
    pub starved: bool,
    /// Estimated lag of all measured partitions, messages.
    pub lag_messages: f64,
    /// Capacity of all partitions, messages/s.
    pub capacity_total: f64,
    /// Partitions left out because they are stuck while their peers move, by index.
    pub excluded: Vec<usize>,
    /// Share of the traffic on partitions that have no commit although one is overdue, 0 to 1.
    pub uncommitted_share: f64,
}

impl Assessment {
    /// The rate of the whole topic that keeps these partitions at their capacity, messages/s.
    #[must_use]
    pub fn feed_forward(&self) -> f64 {
        self.capacity / self.share
    }
}

impl GroupEstimator {
    /// What is known of the group at `now`, with log ends extrapolated to `now` and the traffic's shares.
    ///
    /// `None` before any partition has shown a capacity. Partitions without an end or without a commit are left out.
    #[must_use]
    pub fn assess(&self, now: f64, ends: &[Option<f64>], share: &[f64]) -> Option<Assessment> {
        let share = |index: usize| share.get(index).copied().unwrap_or(0.0);
        let lag: Vec<f64> = self
            .partitions
            .iter()
            .zip(ends)
            .map(|(track, end)| end.and_then(|end| self.lag_now(track, now, end)).unwrap_or(f64::NAN))
            .collect();
        let known = |index: usize| !lag[index].is_nan();
        let active = |index: usize| share(index) > active_share(lag.len());
        let excluded = self.stuck(now, ends, &share);
        let mut left_out = vec![false; lag.len()];
        excluded.iter().for_each(|index| left_out[*index] = true);
        let counted: Vec<usize> = (0..lag.len())
            .filter(|index| known(*index) && active(*index) && !left_out[*index])
            .filter(|index| self.partitions[*index].capacity > 0.0)
            .collect();
        if counted.is_empty() {
            return None;
        }
        let threshold = busy_threshold(&self.config, &self.cadence);
        let backlog: f64 = counted
            .iter()
            .filter(|index| {
                self.partitions[**index].sure && lag[**index] > threshold * self.partitions[**index].capacity
            })
            .map(|index| share(*index))
            .sum();
        let bottleneck = self.bottleneck(&counted, &share);
        let capacity: f64 = bottleneck.iter().map(|index| self.partitions[*index].capacity).sum();
        Some(Assessment {
            capacity,
            share: bottleneck.iter().map(|index| share(*index)).sum::<f64>().max(1e-6),
            drain_seconds: bottleneck.iter().map(|index| lag[*index]).sum::<f64>() / capacity,
            commit_delay_seconds: bottleneck
                .iter()
                .map(|index| self.partitions[*index].delay.seconds() * self.partitions[*index].capacity)
                .sum::<f64>()
                / capacity,
            slowest_drain_seconds: self.slowest_drain(&bottleneck, &lag, &share),
            certain_drain_seconds: self.certain_drain(&counted, threshold, &share),
            starved: backlog < NEGLIGIBLE_SHARE,
            lag_messages: lag.iter().filter(|lag| !lag.is_nan()).sum(),
            capacity_total: self.capacity(),
            uncommitted_share: self.uncommitted_share(now, &share),
            excluded,
        })
    }

    /// Estimated lag of one partition now, messages; `None` without a commit.
    ///
    /// Credit for work since the commit runs at capacity and stops when the next commit is due: from then on lag grows
    /// by itself, which is the stall detector. A partition without certain backlog is presumed to keep pace as long, but not
    /// with more than a few seconds of work beyond what its capacity explains: nobody has seen that it can.
    fn lag_now(&self, track: &PartitionTrack, now: f64, end: f64) -> Option<f64> {
        let committed = track.position?;
        if self.deserted {
            return Some((end - committed).max(0.0));
        }
        let age = now - track.committed_at;
        let credit = self.cadence.credit_seconds(&self.config);
        let mut position = (committed + track.capacity * (age.min(credit) + track.delay.seconds())).min(end);
        if !track.sure && age < credit && track.commits > 0 {
            let unproven = self.config.unproven_seconds.max(self.config.unproven_cadences * self.cadence.or_default());
            let most = committed + track.capacity * (age + unproven + track.delay.seconds());
            position = position.max((end - track.likely_lag).min(most));
        }
        Some((end - position).max(0.0))
    }

    /// Partitions that are silent with backlog while the rest of the group commits, if together they carry little.
    fn stuck(&self, now: f64, ends: &[Option<f64>], share: &impl Fn(usize) -> f64) -> Vec<usize> {
        let overdue = self.cadence.overdue_after(&self.config);
        let recent = 1.5 * self.cadence.or_default() + 2.0 * self.config.poll_seconds;
        let mut late = Vec::new();
        let (mut late_share, mut live_share) = (0.0, 0.0);
        let least = active_share(self.partitions.len());
        for (index, track) in self.partitions.iter().enumerate().filter(|(index, _)| share(*index) > least) {
            let silence = now - track.seen_at.max(self.blind_until);
            let unread = match (ends.get(index).copied().flatten(), track.position) {
                (Some(end), Some(position)) => end > position + 1.0,
                _ => false,
            };
            if silence > overdue && unread {
                late_share += share(index);
                late.push(index);
            }
            if silence <= recent {
                live_share += share(index);
            }
        }
        if late_share <= self.config.stuck_share_max && live_share >= 0.5 { late } else { Vec::new() }
    }

    /// Drops partitions that are usually idle beside a hot one.
    fn bottleneck(&self, counted: &[usize], share: &impl Fn(usize) -> f64) -> Vec<usize> {
        let busiest = counted.iter().map(|index| self.partitions[*index].busy_mean).fold(0.0, f64::max);
        let usual: Vec<usize> = counted
            .iter()
            .copied()
            .filter(|index| self.partitions[*index].busy_mean > self.config.bottleneck_share * busiest)
            .collect();
        let carried: f64 = usual.iter().map(|index| share(*index)).sum();
        if !usual.is_empty() && carried >= NEGLIGIBLE_SHARE { usual } else { counted.to_vec() }
    }

    fn certain_drain(&self, counted: &[usize], threshold: f64, share: &impl Fn(usize) -> f64) -> f64 {
        let (mut lag, mut capacity, mut carried) = (0.0, 0.0, 0.0);
        for index in counted {
            let track = &self.partitions[*index];
            if track.certain_lag > (threshold * track.capacity).max(FEW_MESSAGES)
                && (!track.odd || track.certain_lag > self.config.odd_lag_seconds * track.capacity)
            {
                lag += track.certain_lag;
                capacity += track.capacity;
                carried += share(*index);
            }
        }
        if capacity > 0.0 && carried >= NEGLIGIBLE_SHARE { lag / capacity } else { 0.0 }
    }

    fn slowest_drain(&self, counted: &[usize], lag: &[f64], share: &impl Fn(usize) -> f64) -> f64 {
        let mut drains: Vec<(f64, f64)> =
            counted.iter().map(|index| (lag[*index] / self.partitions[*index].capacity, share(*index))).collect();
        drains.sort_by(|a, b| b.0.total_cmp(&a.0));
        let tenth = 0.1 * drains.iter().map(|(_, share)| share).sum::<f64>();
        let mut carried = 0.0;
        for (drain, share) in &drains {
            carried += share;
            if carried >= tenth {
                return *drain;
            }
        }
        0.0
    }

    fn uncommitted_share(&self, now: f64, share: &impl Fn(usize) -> f64) -> f64 {
        let overdue = self.config.patience_seconds;
        let missing = |track: &PartitionTrack| track.position.is_none() && now - track.seen_at > overdue;
        self.partitions.iter().enumerate().filter(|(_, track)| missing(track)).map(|(index, _)| share(index)).sum()
    }
}

/// Below this share of the traffic a partition is idle.
fn active_share(partitions: usize) -> f64 {
    ACTIVE_SHARE.min(ACTIVE_PART / partitions as f64)
}

/// A ten thousandth of the traffic…
const ACTIVE_SHARE: f64 = 1e-4;
/// …or this part of an even share, where there are so many partitions that an even share is no more than that (guessed).
const ACTIVE_PART: f64 = 0.01;
/// Below this share of the traffic partitions decide nothing.
const NEGLIGIBLE_SHARE: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::super::{EstimateConfig, Sample};
    use super::*;

    /// An even share of 10,000 partitions is a ten thousandth of the traffic: that is not idle.
    #[test]
    fn partitions_are_not_idle_because_there_are_many() {
        const PARTITIONS: usize = 20_000;
        let mut group = GroupEstimator::new(EstimateConfig::for_poll(1.0));
        let production = vec![10.0; PARTITIONS];
        let mut last = Vec::new();
        for second in 0..20 {
            let at = f64::from(second);
            let committed = vec![Some(10.0 * f64::from(second / 5 * 5)); PARTITIONS];
            last = vec![Some(10.0 * at + 100.0); PARTITIONS];
            let sample = Sample {
                commits_at: at,
                ends_at: at,
                committed: &committed,
                ends: &last,
                production: &production,
                production_mean: &production,
            };
            group.update(&sample);
        }
        let share = vec![1.0 / PARTITIONS as f64; PARTITIONS];
        let assessment = group.assess(20.0, &last, &share).expect("every partition commits");
        assert!((assessment.share - 1.0).abs() < 1e-6, "share {}", assessment.share);
        assert!(assessment.lag_messages > 0.0);
    }
}
