//! A textbook PID on lag in messages, tuned once.
//!
//! Positional form in parallel gains, integral by backward difference and clamped (Åström & Hägglund, *Advanced PID
//! Control*, ch. 3), as anybody would write it first. Set-point and gains are absolute (from a grid search at about
//! 2,000 messages/s), so that a topic ten times as fast or as slow has the wrong loop gain. It is told no capacity.

use super::law::{RateLaw, Reading};

/// Integral and what the last step saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pid {
    /// Messages/s.
    integral: f64,
    /// When the last step was, and its error in messages.
    before: Option<(f64, f64)>,
}

impl Pid {
    pub(super) const fn new() -> Self {
        Self { integral: FIRST_INTEGRAL, before: None }
    }
}

impl RateLaw for Pid {
    fn step(&mut self, seen: &Reading, _: f64) -> f64 {
        let error = SET_POINT_MESSAGES - seen.lag;
        let mut slope = 0.0;
        if let Some((at, before)) = self.before {
            let seconds = seen.now - at;
            if seconds > 0.0 {
                self.integral = (self.integral + KI * error * seconds).clamp(INTEGRAL_MIN, INTEGRAL_MAX);
                slope = (error - before) / seconds;
            }
        }
        self.before = Some((seen.now, error));
        (KP * error + self.integral + KD * slope).clamp(RATE_MIN, RATE_MAX)
    }
}

/// Lag to hold, messages: 6 s at 2,000/s.
const SET_POINT_MESSAGES: f64 = 12_000.0;

/// Gains in 1/s, 1/s² and 1.
const KP: f64 = 0.15;
const KI: f64 = 0.003;
const KD: f64 = 0.0;

/// Where the integral starts, messages/s: the rate it was tuned for.
const FIRST_INTEGRAL: f64 = 2_000.0;

/// Clamp of the integral, messages/s.
const INTEGRAL_MIN: f64 = -1e4;
const INTEGRAL_MAX: f64 = 1e5;

/// Clamp of the answer, messages/s.
const RATE_MIN: f64 = 1.0;
const RATE_MAX: f64 = 1e7;

#[cfg(test)]
mod tests {
    use super::super::law::reading;
    use super::*;

    #[test]
    fn adds_its_terms() {
        let mut law = Pid::new();
        for (now, lag, expected, reason) in [
            (0.0, 12_000.0, 2_000.0, "on the set-point: the integral alone"),
            (1.0, 10_000.0, 2_306.0, "0.15 · 2,000 + (2,000 + 0.003 · 2,000 · 1)"),
            (3.0, 14_000.0, 1_694.0, "−0.15 · 2,000 + (2,006 − 0.003 · 2,000 · 2)"),
            (3.0, 14_000.0, 1_694.0, "no time, no integral"),
            (4.0, 1e6, 1.0, "never below 1/s"),
        ] {
            let rate = law.step(&reading(now, lag, 0.0), f64::INFINITY);
            assert!((rate - expected).abs() < 1e-9, "{rate} at {now} s: {reason}");
        }
    }

    #[test]
    fn the_clamp_is_all_that_holds_the_integral() {
        let mut law = Pid::new();
        for second in 0..1_000 {
            law.step(&reading(f64::from(second), 1e5, 0.0), 1.0);
        }
        assert_eq!(law.integral, INTEGRAL_MIN);
        // Wound up: without any lag the answer stays at its floor.
        assert_eq!(law.step(&reading(1_000.0, 0.0, 0.0), 1.0), 1.0);
    }
}
