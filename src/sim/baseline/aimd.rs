//! Additive increase, multiplicative decrease, on a threshold of lag.
//!
//! Chiu & Jain, *Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks*, 1989;
//! the threshold on a delay as in Netflix/concurrency-limits `AIMDLimit.java` (there: back off by 0.9 when a request
//! is dropped or late, else +1 while at least half of the limit is in use). Parameters from a grid search. Nothing
//! looks at whether the limit is in use, so it grows over an idle time, to 1,000 × capacity.

use super::law::{RateLaw, Reading};
use crate::sim::policy::Told;

/// The growth and when the last back-off was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aimd {
    capacity: f64,
    poll_seconds: f64,
    decreased_at: f64,
}

impl Aimd {
    pub(super) const fn new(told: &Told) -> Self {
        Self { capacity: told.nominal_capacity, poll_seconds: told.poll_seconds, decreased_at: f64::NEG_INFINITY }
    }
}

impl RateLaw for Aimd {
    fn step(&mut self, seen: &Reading, last: f64) -> f64 {
        if seen.lag <= THRESHOLD_SECONDS * self.capacity {
            return (last + INCREASE_PER_SECOND * self.capacity * self.poll_seconds).min(CEILING * self.capacity);
        }
        if seen.now - self.decreased_at < HOLD_SECONDS {
            return last;
        }
        self.decreased_at = seen.now;
        (last * DECREASE).max(FLOOR * self.capacity)
    }

    fn before(&self) -> f64 {
        self.capacity
    }
}

/// Lag that is too much, seconds of nominal capacity.
const THRESHOLD_SECONDS: f64 = 8.0;

/// Growth a second, as a share of nominal capacity.
const INCREASE_PER_SECOND: f64 = 0.02;

/// Factor of a back-off.
const DECREASE: f64 = 0.7;

/// No second back-off sooner: the effect of the first must show.
const HOLD_SECONDS: f64 = 3.0;

/// Lowest and highest rate, as shares of nominal capacity.
const FLOOR: f64 = 0.01;
const CEILING: f64 = 1e3;

#[cfg(test)]
mod tests {
    use super::super::law::{TOLD, reading};
    use super::*;

    #[test]
    fn grows_by_two_percent_of_capacity_a_second_and_backs_off_once_in_three() {
        let mut law = Aimd::new(&TOLD);
        let mut rate = law.before();
        assert_eq!(rate, 1_000.0);
        for (now, lag, expected, reason) in [
            (0.0, 0.0, 1_020.0, "+2 % of 1,000/s"),
            (1.0, 8_000.0, 1_040.0, "on the threshold is not above it"),
            (2.0, 8_001.0, 728.0, "× 0.7"),
            (3.0, 9_000.0, 728.0, "1 s after the back-off"),
            (4.9, 9_000.0, 728.0, "2.9 s after it"),
            (5.0, 9_000.0, 509.6, "3 s after it: × 0.7 again"),
            (6.0, 7_000.0, 529.6, "growth does not wait"),
        ] {
            rate = law.step(&reading(now, lag, 0.0), rate);
            assert!((rate - expected).abs() < 1e-9, "{rate} at {now} s: {reason}");
        }
    }

    #[test]
    fn stays_within_its_bounds() {
        let mut law = Aimd::new(&TOLD);
        assert_eq!(law.step(&reading(0.0, 1e9, 0.0), 11.0), 10.0);
        assert_eq!(law.step(&reading(1.0, 0.0, 0.0), 999_999.0), 1e6);
    }

    #[test]
    fn slower_polls_grow_by_as_much_a_second() {
        let mut law = Aimd::new(&Told { poll_seconds: 10.0, ..TOLD });
        assert_eq!(law.step(&reading(0.0, 0.0, 0.0), 1_000.0), 1_200.0);
    }
}
