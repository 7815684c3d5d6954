//! Spark Streaming's rate estimator with its default gains, seen from outside.
//!
//! apache/spark `streaming/…/scheduler/rate/PIDRateEstimator.scala`, defaults of `spark.streaming.backpressure.pid.*`:
//! with p the processing rate of the last batch and s the time it waited for its turn,
//!
//! ```text
//! e = rate − p
//! rate ← max(rate − 1·e − 0.2·(s·p / batch interval) − 0·de/dt, 100/s)
//! ```
//!
//! The first batch only sets `rate = p`; a batch without elements or without a processing time changes nothing.
//!
//! Outside of Spark, a batch is one advance of the committed offset, and what Spark is told must be guessed:
//! * *processing delay*: the wall time between advances. Spark knows the busy time; here a group that idles looks slow.
//!   With a proportional gain of 1 the answer is `p − 0.2·(…)`, at most what was consumed: it can only ratchet down.
//! * *scheduling delay*: the lag beyond one batch, at rate p.
//! * *batch interval*: the time between advances again, where Spark has a configured constant.

use super::law::{RateLaw, Reading};

/// What the estimator remembers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spark {
    /// When an advance was last seen, and how far it had come.
    batch_before: Option<(f64, f64)>,
    /// Last rate and error; `None` before the first batch.
    estimate: Option<Estimate>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    rate: f64,
    error: f64,
}

impl RateLaw for Spark {
    fn step(&mut self, seen: &Reading, last: f64) -> f64 {
        let Some((since, before)) = self.batch_before else {
            self.batch_before = Some((seen.commits_at, seen.consumed));
            return f64::INFINITY;
        };
        let (batch, seconds) = (seen.consumed - before, seen.commits_at - since);
        if batch <= 0.0 || seconds <= 0.0 {
            return last;
        }
        self.batch_before = Some((seen.commits_at, seen.consumed));
        let processing = batch / seconds;
        let Some(estimate) = self.estimate else {
            self.estimate = Some(Estimate { rate: processing, error: 0.0 });
            return f64::INFINITY;
        };
        let scheduling_delay = (seen.lag - batch).max(0.0) / processing;
        let error = estimate.rate - processing;
        let historical = scheduling_delay * processing / seconds;
        let slope = (error - estimate.error) / seconds;
        let rate =
            (estimate.rate - PROPORTIONAL * error - INTEGRAL * historical - DERIVATIVE * slope).max(MINIMUM_RATE);
        self.estimate = Some(Estimate { rate, error });
        rate
    }
}

/// Gains and floor: the defaults of Spark's configuration. The floor, messages/s, is above what slow topics carry.
const PROPORTIONAL: f64 = 1.0;
const INTEGRAL: f64 = 0.2;
const DERIVATIVE: f64 = 0.0;
const MINIMUM_RATE: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::super::law::reading;
    use super::*;

    #[test]
    fn follows_the_formula_of_the_source() {
        let mut law = Spark::default();
        let mut rate = law.before();
        for (now, lag, consumed, expected, reason) in [
            (0.0, 0.0, 0.0, f64::INFINITY, "an advance needs two readings"),
            (5.0, 0.0, 5_000.0, f64::INFINITY, "first batch: remembered as 1,000/s, nothing published"),
            (6.0, 9_000.0, 5_000.0, f64::INFINITY, "no elements: skipped"),
            // compute(numElements 4,000, processingDelay 5,000 ms, schedulingDelay 7,500 ms), interval 5 s:
            // 1,000 − 1·200 − 0.2·(7.5·800/5 = 1,200)
            (10.0, 10_000.0, 9_000.0, 560.0, "slower, and 6,000 beyond the batch"),
            // 560 − (560 − 600) − 0.2·0
            (15.0, 3_000.0, 12_000.0, 600.0, "lag within one batch is no waiting"),
            (17.0, 50_000.0, 12_000.0, 600.0, "no elements: the rate stays"),
            // 600 − (600 − 200) − 0.2·(99,000/5 = 19,800) < 100
            (20.0, 100_000.0, 13_000.0, 100.0, "never below the minimum"),
        ] {
            rate = law.step(&reading(now, lag, consumed), rate);
            assert!(rate == expected || (rate - expected).abs() < 1e-9, "{rate} at {now} s: {reason}");
        }
    }

    #[test]
    fn starved_it_can_only_confirm_what_was_produced() {
        let mut law = Spark::default();
        let mut rate = law.before();
        // A group that could take 10,000/s is given 300/s.
        for second in 0..60 {
            rate = law.step(&reading(f64::from(second), 0.0, 300.0 * f64::from(second)), rate);
        }
        assert!((rate - 300.0).abs() < 1e-9);
    }

    #[test]
    fn a_rewind_is_waited_out() {
        let mut law = Spark::default();
        law.step(&reading(0.0, 0.0, 0.0), f64::INFINITY);
        law.step(&reading(5.0, 0.0, 5_000.0), f64::INFINITY);
        assert_eq!(law.step(&reading(10.0, 9_000.0, 1_000.0), f64::INFINITY), f64::INFINITY);
        // 2,000 more than ever before, over the 15 s since then.
        let rate = law.step(&reading(20.0, 0.0, 7_000.0), f64::INFINITY);
        assert!((rate - 2_000.0 / 15.0).abs() < 1e-9);
    }
}
