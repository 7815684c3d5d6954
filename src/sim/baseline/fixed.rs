//! A static limit at the nominal capacity: what a produce quota does (KIP-13, Apache Kafka 0.9).
//!
//! Right by construction until capacity is no longer what the operator was told.

use super::law::{RateLaw, Reading};
use crate::sim::policy::Told;

/// The nominal capacity, always.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixed(f64);

impl Fixed {
    pub(super) const fn new(told: &Told) -> Self {
        Self(told.nominal_capacity)
    }
}

impl RateLaw for Fixed {
    fn step(&mut self, _: &Reading, _: f64) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::law::{TOLD, reading};
    use super::*;

    #[test]
    fn neither_lag_nor_its_absence_moves_it() {
        let mut law = Fixed::new(&TOLD);
        assert_eq!(law.before(), f64::INFINITY);
        assert_eq!(law.step(&reading(1.0, 0.0, 0.0), f64::INFINITY), 1_000.0);
        assert_eq!(law.step(&reading(2.0, 1e9, 0.0), 1_000.0), 1_000.0);
    }
}
