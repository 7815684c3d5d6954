//! Zeebe's write throttle: measured consumption, scaled by how far the backlog is from an acceptable one.
//!
//! camunda/camunda `zeebe/logstreams/…/flowcontrol/RateLimitThrottle.java`, where it keeps the writers of a partition
//! from running away from its exporters:
//!
//! ```text
//! factor = acceptable backlog / backlog
//! rate   = no limit                                if factor > 2
//!          max(factor × measured rate, minimum)    else
//! ```
//!
//! once every `resolution`. Parameters here: 10 s and 8 s of nominal capacity, the best of a grid search; Zeebe's own
//! resolution is 15 s (and scores worse), its acceptable backlog a number of records.
//!
//! * Consumption is measured over the same 10 s; Zeebe looks back over 5 min at steps of 10 s, which is smoother and
//!   follows a change of capacity more slowly.
//! * The minimum is 1 % of nominal capacity (there: 100 records/s); there is no upper limit but none at all.

use super::law::{Consumption, RateLaw, Reading};
use crate::sim::policy::Told;

/// Consumption and when the rate was last set.
#[derive(Clone, Debug)]
pub(super) struct Zeebe {
    capacity: f64,
    consumption: Consumption,
    set_at: f64,
}

impl Zeebe {
    pub(super) fn new(told: &Told) -> Self {
        Self {
            capacity: told.nominal_capacity,
            consumption: Consumption::over(RESOLUTION_SECONDS.max(2.0 * told.poll_seconds)),
            set_at: f64::NEG_INFINITY,
        }
    }
}

impl RateLaw for Zeebe {
    fn step(&mut self, seen: &Reading, last: f64) -> f64 {
        let consumption = self.consumption.rate(seen);
        let due = seen.now - self.set_at >= RESOLUTION_SECONDS;
        let Some(consumption) = consumption.filter(|_| due) else {
            return last;
        };
        self.set_at = seen.now;
        let acceptable = ACCEPTABLE_SECONDS * self.capacity;
        if seen.lag < acceptable / 2.0 {
            return f64::INFINITY;
        }
        (acceptable / seen.lag * consumption).max(FLOOR * self.capacity)
    }
}

/// Time between changes of the rate, and window of the consumption, seconds. Zeebe's default is 15 s.
const RESOLUTION_SECONDS: f64 = 10.0;

/// Acceptable backlog, seconds of nominal capacity. Larger: more lag, fewer cuts.
const ACCEPTABLE_SECONDS: f64 = 8.0;

/// Lowest rate, as a share of nominal capacity.
const FLOOR: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::super::law::{TOLD, reading};
    use super::*;

    /// The rate that a group gets that consumed `per_second` and then has this lag.
    fn rate(lag: f64, per_second: f64) -> f64 {
        let mut law = Zeebe::new(&TOLD);
        law.step(&reading(0.0, 0.0, 0.0), f64::INFINITY);
        law.step(&reading(1.0, lag, per_second), f64::INFINITY)
    }

    #[test]
    fn the_rate_is_consumption_times_acceptable_over_backlog() {
        for (lag, per_second, expected, reason) in [
            (0.0, 900.0, f64::INFINITY, "no backlog"),
            (3_999.0, 900.0, f64::INFINITY, "below half of 8,000"),
            (4_000.0, 900.0, 1_800.0, "half: factor 2"),
            (8_000.0, 900.0, 900.0, "acceptable: what is consumed"),
            (16_000.0, 900.0, 450.0, "twice: half of it"),
            (16_000.0, 0.0, 10.0, "the minimum: 1 % of 1,000/s"),
            (16_000.0, -50.0, 10.0, "a rewind"),
        ] {
            assert_eq!(rate(lag, per_second), expected, "{reason}");
        }
    }

    #[test]
    fn the_rate_changes_every_ten_seconds_only() {
        let mut law = Zeebe::new(&TOLD);
        law.step(&reading(0.0, 0.0, 0.0), f64::INFINITY);
        let mut rate = law.step(&reading(1.0, 8_000.0, 900.0), f64::INFINITY);
        for now in (2..11).map(f64::from) {
            rate = law.step(&reading(now, 1e6, 900.0 * now), rate);
            assert_eq!(rate, 900.0, "at {now} s");
        }
        rate = law.step(&reading(11.0, 16_000.0, 9_900.0), rate);
        assert_eq!(rate, 450.0);
    }
}
