//! Gradient2: shrink while the delay is above its own long average.
//!
//! Netflix/concurrency-limits `Gradient2Limit.java`, with lag in seconds of measured consumption in place of the
//! round-trip time and a rate in place of the concurrency limit:
//!
//! ```text
//! gradient = clamp(1.5 · long average / delay, 0.5, 1)
//! rate ← rate + smoothing · (rate · gradient + growth − rate)
//! ```
//!
//! Tolerance 1.5, average over 600 samples, and its decay by 0.95 while it is more than twice the delay are Netflix's.
//! * Growth is 10 % of nominal capacity a second (there: 4 requests a sample), smoothing 0.1 (there: 0.2).
//! * Half a second is added to the delay: without lag the ratio would be 0/0.
//! * The average starts at the first sample (there: plain mean of the first 10).
//! * No rule against growth while the limit is not in use (there: none below half of it), so that it grows over an idle
//!   time. The baseline is learned from the signal under load: lag that grows slowly enough becomes normal.

use super::law::{Consumption, RateLaw, Reading};
use crate::sim::policy::Told;

/// Average delay and the consumption that lag is divided by.
#[derive(Clone, Debug)]
pub(super) struct Gradient {
    capacity: f64,
    poll_seconds: f64,
    consumption: Consumption,
    /// Long average of the delay, seconds.
    average: Option<f64>,
}

impl Gradient {
    pub(super) const fn new(told: &Told) -> Self {
        Self {
            capacity: told.nominal_capacity,
            poll_seconds: told.poll_seconds,
            consumption: Consumption::over(CONSUMPTION_WINDOW_SECONDS),
            average: None,
        }
    }

    /// Takes a delay into the long average and answers by what the rate is multiplied.
    fn gradient(&mut self, delay: f64) -> f64 {
        let mut average = self.average.map_or(delay, |average| average + (delay - average) * AVERAGE_WEIGHT);
        if average / delay > 2.0 {
            average *= RECOVERY;
        }
        self.average = Some(average);
        (TOLERANCE * average / delay).clamp(0.5, 1.0)
    }
}

impl RateLaw for Gradient {
    fn step(&mut self, seen: &Reading, last: f64) -> f64 {
        let Some(consumption) = self.consumption.rate(seen).filter(|rate| *rate > 0.0) else {
            return last;
        };
        let wanted = last * self.gradient(seen.lag / consumption + BASE_SECONDS)
            + GROWTH_PER_SECOND * self.capacity * self.poll_seconds;
        (last + SMOOTHING * (wanted - last)).clamp(FLOOR * self.capacity, CEILING * self.capacity)
    }

    fn before(&self) -> f64 {
        self.capacity
    }
}

/// By how much the delay may exceed the average.
const TOLERANCE: f64 = 1.5;

/// Weight of a sample in an average over 600.
const AVERAGE_WEIGHT: f64 = 2.0 / 601.0;

/// What an average that is far too high keeps a poll.
const RECOVERY: f64 = 0.95;

/// Share of a wanted change that is made.
const SMOOTHING: f64 = 0.1;

/// Growth before smoothing, as a share of nominal capacity.
const GROWTH_PER_SECOND: f64 = 0.1;

/// Delay of a group without lag, seconds.
const BASE_SECONDS: f64 = 0.5;

const CONSUMPTION_WINDOW_SECONDS: f64 = 10.0;

/// Lowest and highest rate, as shares of nominal capacity.
const FLOOR: f64 = 0.01;
const CEILING: f64 = 1e3;

#[cfg(test)]
mod tests {
    use super::super::law::{TOLD, reading};
    use super::*;

    #[test]
    fn the_gradient_is_the_tolerated_average_over_the_delay() {
        for (average, delay, expected, average_after, reason) in [
            (None, 3.0, 1.0, 3.0, "the first sample is the average"),
            (Some(3.0), 4.5, 1.0, 3.0 + 1.5 * 2.0 / 601.0, "tolerated"),
            (Some(3.01), 6.015, 1.5 * 3.02 / 6.015, 3.02, "3.01 + 3.005 · 2/601"),
            (Some(3.0), 300.0, 0.5, 3.0 + 297.0 * 2.0 / 601.0, "never less than half"),
            (Some(6.01), 1.5, 1.0, (6.01 - 4.51 * 2.0 / 601.0) * 0.95, "far too high an average is brought down"),
        ] {
            let mut law = Gradient { average, ..Gradient::new(&TOLD) };
            assert!((law.gradient(delay) - expected).abs() < 1e-12, "{reason}");
            assert!((law.average.expect("a sample") - average_after).abs() < 1e-12, "{reason}");
        }
    }

    #[test]
    fn a_tenth_of_the_wanted_change_is_made() {
        let mut law = Gradient::new(&TOLD);
        assert_eq!(law.step(&reading(0.0, 0.0, 0.0), 1_000.0), 1_000.0, "consumption is unknown");
        // Wanted: 1,000 · 1 + 100.
        let rate = law.step(&reading(1.0, 0.0, 1_000.0), 1_000.0);
        assert!((rate - 1_010.0).abs() < 1e-9, "{rate}");
        // Half of it: 1,010 · 0.5 + 100, from a delay of 100.5 s against an average below 1 s.
        let rate = law.step(&reading(2.0, 100_000.0, 2_000.0), rate);
        assert!((rate - (1_010.0 + 0.1 * (605.0 - 1_010.0))).abs() < 1e-9, "{rate}");
    }

    #[test]
    fn without_consumption_nothing_changes() {
        let mut law = Gradient::new(&TOLD);
        for second in 0..30 {
            assert_eq!(law.step(&reading(f64::from(second), 1e6, 500.0), 700.0), 700.0);
        }
    }
}
