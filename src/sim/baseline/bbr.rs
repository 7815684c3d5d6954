//! BBR, as far as it can be transplanted: the highest consumption lately, times a cycle of gains.
//!
//! torvalds/linux `net/ipv4/tcp_bbr.c` (version 1): bandwidth is the maximum over the last 10 rounds; pacing is 2.89 ×
//! it until three rounds bring less than 25 % more, then cycles through 1.25, 0.75 and six times 1.
//!
//! * A round is 3 s: there is no round-trip time to measure. A sample spans at least a round, two polls, and a commit.
//!   Gains change when *more* than a round has passed, every 4 s at polls of 1 s.
//! * The cap on data in flight is a cap on lag: beyond 1.6 rounds of bandwidth the gain is 0.1. There the window is
//!   2 × bandwidth × RTT, and a drain phase of gain 0.35 follows the start once.
//! * No app-limited rule (there a sample from a sender that idles counts only if it is larger): after 30 s of little
//!   production the estimate is what was produced. No PROBE_RTT, no pacing margin of 1 %, no early end of a phase, the
//!   cycle starts at a fixed place.

use std::collections::VecDeque;

use super::law::{RateLaw, Reading};
use crate::sim::policy::Told;

/// Samples, place in the cycle, progress of the start.
#[derive(Clone, Debug)]
pub(super) struct Bbr {
    poll_seconds: f64,
    /// When the last sample ended, and what was consumed by then.
    sample_before: Option<(f64, f64)>,
    /// When a sample was taken, and its messages/s.
    samples: VecDeque<(f64, f64)>,
    phase: usize,
    phase_since: f64,
    /// `None` once the start is over.
    start: Option<Start>,
}

/// Progress of the start: the best bandwidth that was 25 % above the one before, and how many samples were not.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    full_bandwidth: f64,
    rounds_without_growth: u32,
}

impl Bbr {
    pub(super) fn new(told: &Told) -> Self {
        Self {
            poll_seconds: told.poll_seconds,
            sample_before: None,
            samples: VecDeque::new(),
            phase: 0,
            phase_since: 0.0,
            start: Some(Start::default()),
        }
    }

    /// Highest sample in the window, messages/s.
    fn bandwidth(&self) -> Option<f64> {
        self.samples.iter().map(|&(_, rate)| rate).reduce(f64::max)
    }

    fn sample(&mut self, seen: &Reading, since: f64, before: f64) {
        let seconds = seen.commits_at - since;
        if seconds < ROUND_SECONDS.max(2.0 * self.poll_seconds) || seen.consumed <= before {
            return;
        }
        self.samples.push_back((seen.now, (seen.consumed - before) / seconds));
        self.sample_before = Some((seen.commits_at, seen.consumed));
        if let (Some(start), Some(bandwidth)) = (self.start, self.bandwidth()) {
            self.start = start.after(bandwidth);
        }
    }

    fn gain(&mut self, now: f64) -> f64 {
        if now - self.phase_since > ROUND_SECONDS {
            self.phase_since = now;
            self.phase = (self.phase + 1) % GAINS.len();
        }
        if self.start.is_some() { START_GAIN } else { GAINS[self.phase] }
    }
}

impl Start {
    fn after(self, bandwidth: f64) -> Option<Self> {
        if bandwidth > GROWTH * self.full_bandwidth {
            return Some(Self { full_bandwidth: bandwidth, rounds_without_growth: 0 });
        }
        let rounds_without_growth = self.rounds_without_growth + 1;
        (rounds_without_growth < FULL_ROUNDS).then_some(Self { rounds_without_growth, ..self })
    }
}

impl RateLaw for Bbr {
    fn step(&mut self, seen: &Reading, last: f64) -> f64 {
        let Some((since, before)) = self.sample_before else {
            self.sample_before = Some((seen.commits_at, seen.consumed));
            return f64::INFINITY;
        };
        self.sample(seen, since, before);
        self.samples.retain(|&(at, _)| seen.now - at <= WINDOW_ROUNDS * ROUND_SECONDS);
        let Some(bandwidth) = self.bandwidth() else {
            return last;
        };
        let mut gain = self.gain(seen.now);
        if seen.lag > IN_FLIGHT_ROUNDS * bandwidth * ROUND_SECONDS {
            gain = gain.min(DRAIN_GAIN);
        }
        gain * bandwidth
    }
}

/// PROBE_BW: look for more, let the queue of that drain, cruise.
const GAINS: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];

/// STARTUP: 2/ln 2, the smallest gain that doubles every round.
const START_GAIN: f64 = 2.89;

/// The start is over after this many samples…
const FULL_ROUNDS: u32 = 3;
/// …that were not this much above the best one.
const GROWTH: f64 = 1.25;

/// What stands for the round-trip time, seconds (grid search). Larger: slower, and more lag is allowed.
const ROUND_SECONDS: f64 = 3.0;

/// Window of the maximum, rounds: a cycle and two, as in Linux.
const WINDOW_ROUNDS: f64 = 10.0;

/// Lag that may be in flight, rounds of bandwidth, and the gain beyond it.
const IN_FLIGHT_ROUNDS: f64 = 1.6;
const DRAIN_GAIN: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::super::law::{TOLD, reading};
    use super::*;

    /// A group that consumes 1,000/s and is polled once a second.
    fn steady(law: &mut Bbr, seconds: std::ops::Range<u32>) -> Vec<f64> {
        let mut rates = Vec::new();
        for now in seconds.map(f64::from) {
            let last = rates.last().copied().unwrap_or(f64::INFINITY);
            rates.push(law.step(&reading(now, 0.0, 1_000.0 * now), last));
        }
        rates
    }

    #[test]
    fn starts_at_the_high_gain_until_three_samples_bring_no_more() {
        let rates = steady(&mut Bbr::new(&TOLD), 0..13);
        assert_eq!(rates[..3], [f64::INFINITY; 3], "no sample yet");
        // Samples at 3 s (the best), 6, 9 and 12 s (no better).
        assert_eq!(rates[3..12], [2_890.0; 9]);
        assert!(rates[12] < 2_890.0);
    }

    #[test]
    fn growth_prolongs_the_start() {
        let start = Start::default().after(1_000.0).and_then(|start| start.after(1_200.0));
        let start = start.expect("one round without growth");
        assert_eq!((start.full_bandwidth, start.rounds_without_growth), (1_000.0, 1));
        let start = start.after(1_300.0).expect("30 % more");
        assert_eq!((start.full_bandwidth, start.rounds_without_growth), (1_300.0, 0));
    }

    #[test]
    fn one_cycle_probes_drains_and_cruises() {
        let mut law = Bbr::new(&TOLD);
        steady(&mut law, 0..13);
        let rates = steady(&mut law, 13..77);
        let first = rates.windows(2).position(|pair| pair[0] < 1_250.0 && pair[1] == 1_250.0).expect("a probe") + 1;
        let cycle: Vec<f64> = rates[first..first + 32].chunks(4).map(|phase| phase[0]).collect();
        assert_eq!(cycle, [1_250.0, 750.0, 1_000.0, 1_000.0, 1_000.0, 1_000.0, 1_000.0, 1_000.0]);
        assert!(rates[first..first + 32].chunks(4).all(|phase| phase.iter().all(|rate| *rate == phase[0])));
    }

    #[test]
    fn too_much_in_flight_is_drained() {
        let mut law = Bbr::new(&TOLD);
        steady(&mut law, 0..13);
        assert!(law.step(&reading(13.0, 4_800.0, 13_000.0), 0.0) >= 750.0, "1.6 × 3 s × 1,000/s is allowed");
        assert_eq!(law.step(&reading(14.0, 4_801.0, 14_000.0), 0.0), 100.0);
    }

    #[test]
    fn the_maximum_is_forgotten_after_ten_rounds() {
        let mut law = Bbr::new(&TOLD);
        steady(&mut law, 0..13);
        // 100/s from now on. The last sample of 1,000/s was taken at 12 s.
        let mut rate = 0.0;
        for now in (13..=42).map(f64::from) {
            rate = law.step(&reading(now, 0.0, 12_000.0 + 100.0 * (now - 12.0)), rate);
        }
        assert!(rate >= 750.0);
        rate = law.step(&reading(43.0, 0.0, 12_000.0 + 3_100.0), rate);
        assert!(rate <= 125.0);
    }

    #[test]
    fn without_any_sample_left_the_rate_stays() {
        let mut law = Bbr::new(&TOLD);
        steady(&mut law, 0..13);
        assert_eq!(law.step(&reading(200.0, 1e6, 12_000.0), 123.0), 123.0);
    }
}
