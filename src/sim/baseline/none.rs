//! No control at all: what lag and delivery are without a throttle.

use super::law::{RateLaw, Reading};

/// Never a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unlimited;

impl RateLaw for Unlimited {
    fn step(&mut self, _: &Reading, _: f64) -> f64 {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::super::law::reading;
    use super::*;

    #[test]
    fn no_lag_is_a_reason_for_a_limit() {
        assert_eq!(Unlimited.step(&reading(1.0, 1e12, 0.0), 1.0), f64::INFINITY);
    }
}
