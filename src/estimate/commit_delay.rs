//! How far commits are behind the work that they stand for.
//!
//! A group that commits what it had processed some seconds before (asynchronous commits of a pipeline, a bulk load that
//! commits at its end) always shows lag: production × that delay. Taken for a backlog it would be throttled, take less,
//! and show as many seconds of lag again, down to nothing. What tells the two apart is the age of the oldest unread
//! record once less is written: that of a backlog shrinks at once, that of a delay stays as it is.

use std::collections::VecDeque;

use super::EstimateConfig;

/// Looks for what no backlog can do: a group that has just shown a speed with which it would have read everything by
/// now, and is still as far behind in time.
#[derive(Clone, Debug, Default)]
pub(super) struct DelayProof {
    seen: VecDeque<Seen>,
}

/// Where a group stood after a commit, summed over its partitions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// When that was, seconds.
    pub(super) at: f64,
    /// The first unread offset.
    pub(super) position: f64,
    /// End of the log.
    pub(super) end: f64,
    /// Time since the first unread record was written, seconds.
    pub(super) age: f64,
}

impl DelayProof {
    /// Positions went back, or nothing could be read for a time: no comparison goes past that.
    pub(super) fn interrupt(&mut self) {
        self.seen.clear();
    }

    /// Whether a look at `at` would be a cadence after the last one.
    pub(super) fn is_due(&self, cadence_seconds: f64, at: f64) -> bool {
        self.seen.back().is_none_or(|last| at - last.at >= ONCE_A_CADENCE * cadence_seconds)
    }

    /// Takes where the group stands, once a cadence. Returns since when its age has been that of a delay, seconds, if that
    /// is proven.
    pub(super) fn observe(&mut self, config: &EstimateConfig, cadence_seconds: f64, seen: Seen) -> Option<f64> {
        if !self.is_due(cadence_seconds, seen.at) {
            return None;
        }
        let memory = 2.0 * cadence_seconds + seen.age + config.delay_memory_seconds;
        while self.seen.front().is_some_and(|first| seen.at - first.at > memory) {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
        self.forget_other_ages(config, seen.age);
        let oldest = self.seen.front()?;
        (seen.age > config.delay_least_polls * config.poll_seconds && self.would_be_empty(config, seen))
            .then_some(oldest.at)
    }

    /// Keeps the newest that agree in age.
    fn forget_other_ages(&mut self, config: &EstimateConfig, age: f64) {
        let tolerance = config.delay_tolerance_polls * config.poll_seconds + config.delay_tolerance_share * age;
        let (mut low, mut high) = (age, age);
        let agree = self.seen.iter().rev().take_while(|seen| {
            low = low.min(seen.age);
            high = high.max(seen.age);
            high - low <= tolerance
        });
        let agree = agree.count();
        self.seen.drain(..self.seen.len() - agree);
    }

    /// Whether a share of a speed shown shortly before would have been enough to read everything by now.
    fn would_be_empty(&self, config: &EstimateConfig, now: Seen) -> bool {
        let mut from = 0;
        for (index, shown) in self.seen.iter().enumerate() {
            while from + 1 < index && shown.at - self.seen[from + 1].at >= config.capacity_window_seconds {
                from += 1;
            }
            let span = shown.at - self.seen[from].at;
            let messages = shown.position - self.seen[from].position;
            let speed = config.delay_speed_share * (messages - 2.0 * messages.max(0.0).sqrt()) / span;
            if span >= config.capacity_window_seconds && speed * (now.at - shown.at) >= now.end - shown.position {
                return true;
            }
        }
        false
    }
}

/// The delay of one partition's commits.
#[derive(Clone, Debug, Default)]
pub(super) struct CommitDelay {
    seconds: f64,
    ages: VecDeque<(f64, f64)>,
}

impl CommitDelay {
    /// Seconds by which commits are behind the work; 0 while nothing is proven.
    pub(super) const fn seconds(&self) -> f64 {
        self.seconds
    }

    /// A commit at `at` left records of that age unread, seconds: the delay is no longer than that.
    pub(super) fn observe(&mut self, at: f64, age: f64) {
        self.seconds = self.seconds.min(age);
        if self.ages.len() >= AGES_KEPT {
            self.ages.pop_front();
        }
        self.ages.push_back((at, age));
    }

    /// The ages since `since` are those of a delay: the least of them is taken, a half poll shorter than it may look.
    pub(super) fn prove(&mut self, poll_seconds: f64, since: f64) {
        let least = self.ages.iter().filter(|(at, _)| *at >= since).map(|(_, age)| *age).reduce(f64::min);
        self.seconds = least.map_or(self.seconds, |least| if least < poll_seconds { 0.0 } else { least });
    }
}

/// Two samples are so many cadences apart at least.
const ONCE_A_CADENCE: f64 = 0.8;
/// Commits of one partition that are remembered.
const AGES_KEPT: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONFIG: EstimateConfig = EstimateConfig::for_poll(1.0);
    const CADENCE: f64 = 5.0;

    /// A group under production that changes every ten seconds: what it read by each commit, and how old the rest was.
    /// `delay` is that of its commits, `capacity(t)` what it takes.
    fn proofs(production: &[f64], delay: usize, capacity: impl Fn(usize) -> f64) -> Vec<usize> {
        let (mut ends, mut work) = (vec![0.0], vec![0.0]);
        for second in 0..10 * production.len() {
            let end = ends[second] + production[second / 10];
            work.push((work[second] + capacity(second)).min(end));
            ends.push(end);
        }
        let mut proof = DelayProof::default();
        let mut proven = Vec::new();
        for at in (delay.max(5)..ends.len()).step_by(CADENCE as usize) {
            let position: f64 = work[at - delay];
            let written = ends.iter().rposition(|end| *end <= position).unwrap_or(0);
            let seen = Seen { at: at as f64, position, end: ends[at], age: (at - written) as f64 };
            if proof.observe(&CONFIG, CADENCE, seen).is_some() {
                proven.push(at);
            }
        }
        proven
    }

    #[test]
    fn late_commits_are_proven_by_the_first_deep_cut() {
        let proven = proofs(&[1000.0, 1000.0, 1000.0, 200.0, 200.0, 200.0], 10, |_| 5000.0);
        assert!(proven.first().is_some_and(|at| (40..=55).contains(at)), "{proven:?}");
    }

    #[test]
    fn while_production_is_even_nothing_is_proven() {
        assert!(proofs(&[1000.0; 30], 10, |_| 5000.0).is_empty());
    }

    #[test]
    fn a_consumer_that_slows_down_is_not_late() {
        let halved = |second: usize| if second < 60 { 1000.0 } else { 500.0 };
        assert!(proofs(&[[1200.0; 6], [400.0; 6]].concat(), 0, halved).is_empty());
    }

    proptest! {
        /// A true backlog is never taken for late commits, whatever is written.
        #[test]
        fn a_backlog_is_never_proven(production in prop::collection::vec(50.0..3000.0_f64, 10..40)) {
            prop_assert!(proofs(&production, 0, |_| 1000.0).is_empty());
        }

        /// A delay is what the ages never fall below.
        #[test]
        fn the_delay_is_at_most_the_least_age_seen_since(ages in prop::collection::vec(0.0..30.0_f64, 1..60)) {
            let mut delay = CommitDelay::default();
            for (at, age) in ages.iter().enumerate() {
                delay.observe(at as f64, *age);
                if at % 7 == 6 {
                    delay.prove(1.0, at as f64 - 5.0);
                }
                prop_assert!(delay.seconds() <= *age);
            }
        }
    }
}
