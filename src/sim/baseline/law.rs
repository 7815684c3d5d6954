//! What the laws of this folder share: what they look at, and that they keep their last rate while nothing is seen.

use std::collections::VecDeque;

use crate::sim::policy::{Observation, Policy};

/// What the laws look at: one observation, boiled down to the worst group. Times in seconds, counts in messages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    /// When the law is asked.
    pub(super) now: f64,
    /// When the commits were read.
    pub(super) commits_at: f64,
    /// When the log ends were read.
    pub(super) ends_at: f64,
    /// Committed lag of the group that has most of it: end − commit, summed over partitions.
    pub(super) lag: f64,
    /// Committed offsets of the group that has come least far, summed over partitions.
    pub(super) consumed: f64,
    /// Log ends, summed over partitions.
    pub(super) produced: f64,
}

impl Reading {
    /// A partition without a commit counts as not consumed at all: as if its group had committed offset 0.
    ///
    /// These laws know no isolation level: lag reaches to the log end, not to the last stable offset.
    fn of(now: f64, seen: &Observation<'_>) -> Self {
        let lag = |group: &Vec<Option<i64>>| -> f64 {
            seen.ends.iter().zip(group).map(|(end, commit)| end.saturating_sub(commit.unwrap_or(0)).max(0) as f64).sum()
        };
        let consumed =
            |group: &Vec<Option<i64>>| -> f64 { group.iter().map(|commit| commit.unwrap_or(0) as f64).sum() };
        Self {
            now,
            commits_at: seen.commits_at,
            ends_at: seen.ends_at,
            lag: seen.committed.iter().map(lag).fold(0.0, f64::max),
            consumed: seen.committed.iter().map(consumed).reduce(f64::min).unwrap_or(0.0),
            produced: seen.ends.iter().map(|&end| end as f64).sum(),
        }
    }
}

/// A law of this folder: a reading and its own last answer → a rate in messages/s, `+∞` for no limit.
pub(super) trait RateLaw {
    /// The rate from now on. `last` is the former answer, or [`RateLaw::before`] at the first reading.
    fn step(&mut self, seen: &Reading, last: f64) -> f64;

    /// What counts as the former answer at the first reading, and is answered while nothing was ever seen.
    fn before(&self) -> f64 {
        f64::INFINITY
    }
}

/// Makes a policy of a law: no observation, no change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding<L> {
    law: L,
    rate: f64,
}

impl<L: RateLaw> Holding<L> {
    pub(super) fn new(law: L) -> Self {
        Self { rate: law.before(), law }
    }
}

impl<L: RateLaw> Policy for Holding<L> {
    fn tick(&mut self, now: f64, seen: Option<&Observation<'_>>) -> f64 {
        if let Some(seen) = seen {
            self.rate = self.law.step(&Reading::of(now, seen), self.rate);
        }
        self.rate
    }
}

/// Consumption over a sliding window.
#[derive(Clone, Debug)]
pub(super) struct Consumption {
    window_seconds: f64,
    /// When commits were read, and what was consumed by then; at least the last two.
    readings: VecDeque<(f64, f64)>,
}

impl Consumption {
    pub(super) const fn over(window_seconds: f64) -> Self {
        Self { window_seconds, readings: VecDeque::new() }
    }

    /// Messages/s from the oldest reading in the window to this one; negative after a rewind. `None` before the second
    /// reading.
    pub(super) fn rate(&mut self, seen: &Reading) -> Option<f64> {
        self.readings.push_back((seen.commits_at, seen.consumed));
        while self.readings.len() > 2 && seen.now - self.readings[0].0 > self.window_seconds {
            self.readings.pop_front();
        }
        let (&(since, before), &(at, consumed)) = (self.readings.front()?, self.readings.back()?);
        (self.readings.len() >= 2).then(|| (consumed - before) / (at - since).max(SHORTEST_SECONDS))
    }
}

/// Times closer to each other than this count as this far apart: a read took no less.
pub(super) const SHORTEST_SECONDS: f64 = 1e-3;

/// A reading as the tests of the laws make them: commits and ends read at the same time.
#[cfg(test)]
pub(super) const fn reading(now: f64, lag: f64, consumed: f64) -> Reading {
    Reading { now, commits_at: now, ends_at: now, lag, consumed, produced: consumed + lag }
}

/// What the tests of the laws are told: 1,000/s, polled once a second.
#[cfg(test)]
pub(super) const TOLD: crate::sim::policy::Told =
    crate::sim::policy::Told { poll_seconds: 1.0, nominal_capacity: 1_000.0 };

#[cfg(test)]
mod tests {
    use super::*;

    fn observation<'a>(ends: &'a [i64], committed: &'a [Vec<Option<i64>>]) -> Observation<'a> {
        Observation {
            commits_at: 9.9,
            ends_at: 10.0,
            ends,
            last_stable: ends,
            committed,
            sent_total: 0,
            described: &[],
        }
    }

    #[test]
    fn lag_is_of_the_worst_group_and_consumption_of_the_slowest() {
        let committed = [vec![Some(90), Some(60)], vec![Some(120), Some(20)]];
        let seen = Reading::of(10.1, &observation(&[100, 50], &committed));
        // Group 0: 10 + 0 (a commit beyond the end is no negative lag). Group 1: 0 + 30.
        assert_eq!(seen.lag, 30.0);
        assert_eq!(seen.consumed, 140.0);
        assert_eq!(seen.produced, 150.0);
        assert_eq!((seen.now, seen.commits_at, seen.ends_at), (10.1, 9.9, 10.0));
    }

    #[test]
    fn no_commit_is_nothing_consumed() {
        let seen = Reading::of(10.0, &observation(&[100, 50], &[vec![None, Some(50)]]));
        assert_eq!((seen.lag, seen.consumed), (100.0, 50.0));
    }

    #[test]
    fn no_group_has_no_lag() {
        let seen = Reading::of(10.0, &observation(&[100], &[]));
        assert_eq!((seen.lag, seen.consumed), (0.0, 0.0));
    }

    #[test]
    fn a_window_reaches_from_its_oldest_reading_to_the_newest() {
        let mut consumption = Consumption::over(10.0);
        assert_eq!(consumption.rate(&reading(0.0, 0.0, 0.0)), None);
        assert_eq!(consumption.rate(&reading(4.0, 0.0, 400.0)), Some(100.0));
        assert_eq!(consumption.rate(&reading(10.0, 0.0, 2_000.0)), Some(200.0));
        // The reading at 0 s has left.
        assert_eq!(consumption.rate(&reading(12.0, 0.0, 2_000.0)), Some(200.0));
        // Two readings stay however old.
        assert_eq!(consumption.rate(&reading(112.0, 0.0, 3_000.0)), Some(10.0));
    }

    struct Counting(f64);

    impl RateLaw for Counting {
        fn step(&mut self, _: &Reading, last: f64) -> f64 {
            last + 1.0
        }

        fn before(&self) -> f64 {
            self.0
        }
    }

    #[test]
    fn a_missed_poll_changes_nothing() {
        let mut policy = Holding::new(Counting(5.0));
        let seen = observation(&[1], &[]);
        assert_eq!(policy.initial(), f64::INFINITY);
        assert_eq!(policy.tick(0.0, None), 5.0);
        assert_eq!(policy.tick(1.0, Some(&seen)), 6.0);
        assert_eq!(policy.tick(2.0, None), 6.0);
        assert_eq!(policy.tick(3.0, Some(&seen)), 7.0);
    }
}
