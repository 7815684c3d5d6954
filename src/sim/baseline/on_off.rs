//! Bang-bang: stop above one lag, go below another.
//!
//! Two-point control with hysteresis, as in a thermostat; backlog quotas with `producer_request_hold` (Apache Pulsar)
//! and blocked connections (RabbitMQ) work like that. Thresholds in seconds of nominal capacity, from a grid search.

use super::law::{RateLaw, Reading};
use crate::sim::policy::Told;

/// The two thresholds and the rate of a stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnOff {
    capacity: f64,
}

impl OnOff {
    pub(super) const fn new(told: &Told) -> Self {
        Self { capacity: told.nominal_capacity }
    }
}

impl RateLaw for OnOff {
    fn step(&mut self, seen: &Reading, last: f64) -> f64 {
        if seen.lag > STOP_SECONDS * self.capacity {
            TRICKLE * self.capacity
        } else if seen.lag < GO_SECONDS * self.capacity {
            f64::INFINITY
        } else {
            last
        }
    }
}

/// Lag above which producers stop, seconds of nominal capacity. Larger: fewer stops, more lag.
const STOP_SECONDS: f64 = 8.0;

/// Lag below which they go, seconds of nominal capacity. Closer to the other: shorter cycles.
const GO_SECONDS: f64 = 6.0;

/// What passes during a stop, as a share of nominal capacity: not zero, so that a stop is seen to end.
const TRICKLE: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use super::super::law::{TOLD, reading};
    use super::*;

    #[test]
    fn stops_above_eight_seconds_and_goes_below_six() {
        let mut law = OnOff::new(&TOLD);
        let mut rate = law.before();
        for (lag, expected, reason) in [
            (8_000.0, f64::INFINITY, "on the threshold is not above it"),
            (8_001.0, 1.0, "above: a thousandth of 1,000/s"),
            (7_000.0, 1.0, "between: as before"),
            (6_000.0, 1.0, "on the lower threshold is not below it"),
            (5_999.0, f64::INFINITY, "below: no limit"),
            (7_000.0, f64::INFINITY, "between: as before"),
        ] {
            rate = law.step(&reading(0.0, lag, 0.0), rate);
            assert_eq!(rate, expected, "{reason}");
        }
    }
}
