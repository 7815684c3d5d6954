//! A quantity over time, as a scenario file writes it.

use std::f64::consts::TAU;

use serde::Deserialize;

/// A rate over time, messages/s.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Always the same.
    Constant(f64),
    /// `[[from_seconds, value], …]`: each value holds from its second on, the first one before it too.
    Steps(Vec<(f64, f64)>),
    /// `[[at_seconds, value], …]`: straight lines between the points, level outside of them.
    Ramp(Vec<(f64, f64)>),
    /// A wave that begins at its mean and rises first.
    Sine {
        /// Middle.
        mean: f64,
        /// Half of the height.
        amplitude: f64,
        /// Time of one wave, seconds.
        period_seconds: f64,
    },
    /// `high` and `low` in turn; `low` before the start.
    OnOff {
        /// While on.
        high: f64,
        /// While off.
        low: f64,
        /// How long on, seconds.
        on_seconds: f64,
        /// How long off, seconds.
        off_seconds: f64,
        /// The first time on, seconds.
        #[serde(default)]
        start_seconds: f64,
    },
}

impl Shape {
    /// The value at `seconds` from the start of the run.
    #[must_use]
    pub fn at(&self, seconds: f64) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Steps(steps) => {
                let reached = steps.iter().rev().find(|(from, _)| *from <= seconds);
                reached.or(steps.first()).map_or(0.0, |(_, value)| *value)
            }
            Self::Ramp(points) => on_line(points, seconds),
            Self::Sine { mean, amplitude, period_seconds } => mean + amplitude * (TAU * seconds / period_seconds).sin(),
            Self::OnOff { high, low, on_seconds, off_seconds, start_seconds } => {
                let phase = (seconds - start_seconds).rem_euclid(on_seconds + off_seconds);
                if seconds >= *start_seconds && phase < *on_seconds { *high } else { *low }
            }
        }
    }

    /// What is wrong with it, in words.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let positive = |value: &f64| value.is_finite() && *value > 0.0;
        let rate = |value: &f64| value.is_finite() && *value >= 0.0;
        match self {
            Self::Constant(value) => (!rate(value)).then_some("must be a rate of 0 or more"),
            Self::Steps(points) | Self::Ramp(points) => {
                let rising = points.windows(2).all(|pair| pair[0].0 < pair[1].0);
                let good = points.iter().all(|(at, value)| rate(at) && rate(value));
                (points.is_empty() || !rising || !good).then_some("needs pairs [seconds, rate] in ascending order")
            }
            Self::Sine { mean, amplitude, period_seconds } => {
                let good = rate(mean) && rate(amplitude) && amplitude <= mean && positive(period_seconds);
                (!good).then_some("needs a mean not below its amplitude, and a period above 0")
            }
            Self::OnOff { high, low, on_seconds, off_seconds, start_seconds } => {
                let good = [high, low, start_seconds].into_iter().all(rate) && positive(on_seconds);
                (!good || !positive(off_seconds)).then_some("needs rates of 0 or more and times above 0")
            }
        }
    }
}

fn on_line(points: &[(f64, f64)], seconds: f64) -> f64 {
    let after = points.partition_point(|(at, _)| *at <= seconds);
    match (after.checked_sub(1).map(|before| points[before]), points.get(after)) {
        (Some((at, value)), Some((next_at, next))) => value + (next - value) * (seconds - at) / (next_at - at),
        (Some((_, value)), None) => value,
        (None, next) => next.map_or(0.0, |(_, value)| *value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_take_their_values() {
        let steps = Shape::Steps(vec![(0.0, 6.0), (120.0, 2.0)]);
        let ramp = Shape::Ramp(vec![(10.0, 0.0), (20.0, 10.0)]);
        let wave = Shape::Sine { mean: 5.0, amplitude: 3.0, period_seconds: 300.0 };
        let bursts = Shape::OnOff { high: 10.0, low: 1.0, on_seconds: 5.0, off_seconds: 35.0, start_seconds: 20.0 };
        let table = [
            ("before a step", &steps, 119.9, 6.0),
            ("at a step", &steps, 120.0, 2.0),
            ("before a ramp", &ramp, 0.0, 0.0),
            ("on a ramp", &ramp, 15.0, 5.0),
            ("after a ramp", &ramp, 99.0, 10.0),
            ("a wave begins at its mean", &wave, 0.0, 5.0),
            ("top of a wave", &wave, 75.0, 8.0),
            ("before the first burst", &bursts, 2.0, 1.0),
            ("in a burst", &bursts, 24.9, 10.0),
            ("between bursts", &bursts, 25.0, 1.0),
            ("in the next burst", &bursts, 60.0, 10.0),
        ];
        for (case, shape, seconds, value) in table {
            assert!((shape.at(seconds) - value).abs() < 1e-9, "{case}: {}", shape.at(seconds));
        }
    }

    #[test]
    fn impossible_shapes_have_a_fault() {
        for shape in [
            Shape::Constant(-1.0),
            Shape::Constant(f64::NAN),
            Shape::Steps(Vec::new()),
            Shape::Ramp(vec![(2.0, 1.0), (1.0, 1.0)]),
            Shape::Sine { mean: 1.0, amplitude: 2.0, period_seconds: 9.0 },
        ] {
            assert!(shape.fault().is_some(), "{shape:?}");
        }
    }
}
