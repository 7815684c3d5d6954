//! ALINEA: pure integral control, from ramp metering, on lag in seconds of nominal capacity.
//!
//! Papageorgiou, Hadj-Salem & Blosseville, *ALINEA: A local feedback control law for on-ramp metering*, Transportation
//! Research Record 1320, 1991: `r(k) = r(k−1) + K_R·(ô − o(k−1))`, inflow r and occupancy o downstream. There the
//! bottleneck is near and occupancy follows inflow; lag *integrates* inflow, so that two integrators stand in a row and
//! the loop swings. A step starts from the clipped answer of the one before, so that nothing winds up. K_R from a grid
//! search.

use super::law::{RateLaw, Reading};
use crate::sim::policy::Told;

/// What scales lag and rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alinea {
    capacity: f64,
    poll_seconds: f64,
}

impl Alinea {
    pub(super) const fn new(told: &Told) -> Self {
        Self { capacity: told.nominal_capacity, poll_seconds: told.poll_seconds }
    }
}

impl RateLaw for Alinea {
    fn step(&mut self, seen: &Reading, last: f64) -> f64 {
        let error = REFERENCE_SECONDS - seen.lag / self.capacity;
        (last + GAIN * self.capacity * self.poll_seconds * error).clamp(FLOOR * self.capacity, CEILING * self.capacity)
    }

    fn before(&self) -> f64 {
        self.capacity
    }
}

/// Lag to hold, seconds of nominal capacity.
const REFERENCE_SECONDS: f64 = 5.0;

/// K_R: change of the rate a second and second of error, as a share of nominal capacity.
const GAIN: f64 = 0.01;

/// Lowest and highest rate, as shares of nominal capacity.
const FLOOR: f64 = 0.02;
const CEILING: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::super::law::{TOLD, reading};
    use super::*;

    #[test]
    fn moves_by_one_percent_of_capacity_a_second_of_error() {
        let mut law = Alinea::new(&TOLD);
        let mut rate = law.before();
        for (lag, expected, reason) in [
            (5_000.0, 1_000.0, "on the reference"),
            (0.0, 1_050.0, "5 s below: + 5 %"),
            (7_000.0, 1_030.0, "2 s above: − 2 %"),
            (200_000.0, 20.0, "not below 2 %"),
            (4_000.0, 30.0, "up from the floor, not from what was clipped"),
        ] {
            rate = law.step(&reading(0.0, lag, 0.0), rate);
            assert!((rate - expected).abs() < 1e-9, "{rate}: {reason}");
        }
    }

    #[test]
    fn has_a_ceiling() {
        assert_eq!(Alinea::new(&TOLD).step(&reading(0.0, 0.0, 0.0), 99_990.0), 100_000.0);
    }
}
