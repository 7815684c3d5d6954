//! PIE: a PI on queue delay moves the fraction of traffic that is refused.
//!
//! RFC 8033 §4.2 and §5, and torvalds/linux `net/sched/sch_pie.c`: with q the delay (backlog / drain rate), every
//! T_UPDATE
//!
//! ```text
//! p ← p + α·(q − reference) + β·(q − q before)
//! ```
//!
//! where the step shrinks with p, is at most 0.02 once p ≥ 0.1, and 0.02 is added while q is very large. The shape was
//! transplanted, the numbers were not: a queue of seconds that is polled needs others than one of milliseconds.
//!
//! * α and β from a grid search. Of the scaling, only the first rung (½ below p = 0.1; the RFC goes on to 1/2048).
//! * A step is at most 0.05 at any p; the addition of 0.02 is for delays above 30 s (there: 250 ms).
//! * No decay of p while the queue is empty (there: × 0.98), but p < 0.01 is dropped after two delays below half of the
//!   reference. No burst allowance (there: 150 ms).
//! * The drain rate is the slope of the commits over 10 s whenever it is positive, averaged with weight ⅛; the RFC
//!   measures while the queue holds 16 KB or more. An idle group therefore looks slow here as well.
//! * Nothing can be refused at random: the limit is (1 − p) × the highest production lately, less 0.1 % a poll.

use super::law::{Consumption, RateLaw, Reading, SHORTEST_SECONDS};
use crate::sim::policy::Told;

/// Refused fraction and the three measurements it needs.
#[derive(Clone, Debug)]
pub(super) struct Pie {
    poll_seconds: f64,
    /// p: which share of production is refused, 0 to [`REFUSED_MAX`].
    refused: f64,
    /// Queue delay of the last step, seconds.
    delay_before: f64,
    consumption: Consumption,
    /// Averaged drain rate, messages/s.
    drain: Option<f64>,
    /// When the log ends were last read, and their sum.
    ends_before: Option<(f64, f64)>,
    /// Highest production lately, messages/s: what the link would be.
    line: f64,
}

impl Pie {
    pub(super) const fn new(told: &Told) -> Self {
        Self {
            poll_seconds: told.poll_seconds,
            refused: 0.0,
            delay_before: 0.0,
            consumption: Consumption::over(DRAIN_WINDOW_SECONDS),
            drain: None,
            ends_before: None,
            line: 0.0,
        }
    }

    /// Moves p by what this queue delay asks for.
    fn refuse(&mut self, delay: f64) {
        let mut step = ALPHA * self.poll_seconds * (delay - REFERENCE_SECONDS) + BETA * (delay - self.delay_before);
        if self.refused < SMALL {
            step *= 0.5;
        }
        step = step.min(STEP_MAX);
        if delay > ALARM_SECONDS {
            step += ALARM_STEP;
        }
        self.refused = (self.refused + step).clamp(0.0, REFUSED_MAX);
        let quiet = 0.5 * REFERENCE_SECONDS;
        if delay < quiet && self.delay_before < quiet && self.refused < NEGLIGIBLE {
            self.refused = 0.0;
        }
        self.delay_before = delay;
    }
}

impl RateLaw for Pie {
    fn step(&mut self, seen: &Reading, _: f64) -> f64 {
        let slope = self.consumption.rate(seen);
        let ends_before = self.ends_before.replace((seen.ends_at, seen.produced));
        let (Some(slope), Some((since, ends))) = (slope, ends_before) else {
            return f64::INFINITY;
        };
        if slope > 0.0 {
            self.drain = Some(self.drain.map_or(slope, |drain| drain + DRAIN_WEIGHT * (slope - drain)));
        }
        let production = (seen.produced - ends) / (seen.ends_at - since).max(SHORTEST_SECONDS);
        self.line = (self.line * LINE_MEMORY).max(production);
        let Some(drain) = self.drain else {
            return f64::INFINITY;
        };
        self.refuse(seen.lag / drain.max(1e-6));
        if self.refused == 0.0 { f64::INFINITY } else { (1.0 - self.refused) * self.line }
    }
}

/// Queue delay to hold, seconds.
const REFERENCE_SECONDS: f64 = 5.0;

/// α: 1/s a second between polls. β: 1/s.
const ALPHA: f64 = 0.008;
const BETA: f64 = 0.03;

/// Below this p a step is halved: RFC 8033 §4.2, first rung.
const SMALL: f64 = 0.1;

/// Largest step up, before the alarm.
const STEP_MAX: f64 = 0.05;

/// Queue delay above which p grows by [`ALARM_STEP`] in addition, seconds.
const ALARM_SECONDS: f64 = 30.0;
const ALARM_STEP: f64 = 0.02;

/// Something always passes, or nothing would be seen any more.
const REFUSED_MAX: f64 = 0.999;

/// Below this p a quiet queue ends control.
const NEGLIGIBLE: f64 = 0.01;

const DRAIN_WINDOW_SECONDS: f64 = 10.0;
/// Weight of a new drain rate: as in the RFC and in Linux.
const DRAIN_WEIGHT: f64 = 0.125;
/// What the highest production keeps a poll.
const LINE_MEMORY: f64 = 0.999;

#[cfg(test)]
mod tests {
    use super::super::law::{TOLD, reading};
    use super::*;

    #[test]
    fn steps_are_proportional_then_halved_capped_and_hurried() {
        for (refused, delay_before, delay, expected, reason) in [
            (0.2, 5.0, 5.0, 0.2, "on the reference and still: no step"),
            (0.2, 5.0, 6.0, 0.238, "+ 0.008·1·(6 − 5) + 0.03·(6 − 5)"),
            (0.2, 6.0, 6.0, 0.208, "+ 0.008: the integral alone"),
            (0.0, 5.0, 6.0, 0.019, "halved below p = 0.1"),
            (0.2, 5.0, 15.0, 0.25, "0.38 is capped to 0.05"),
            (0.0, 5.0, 15.0, 0.05, "0.19 after halving is capped to 0.05 too"),
            (0.2, 31.0, 31.0, 0.27, "0.208 is capped to 0.05, + 0.02 above 30 s"),
            (0.9, 15.0, 5.0, 0.6, "no cap on the way down"),
            (0.99, 0.0, 40.0, 0.999, "something always passes"),
            (0.009, 2.0, 2.4, 0.0, "quiet twice and p small: off"),
            (0.2, 2.4, 2.4, 0.1792, "quiet twice with a large p: − 0.008·2.6"),
        ] {
            let mut law = Pie { refused, delay_before, ..Pie::new(&TOLD) };
            law.refuse(delay);
            assert!((law.refused - expected).abs() < 1e-12, "{}: {reason}", law.refused);
            assert_eq!(law.delay_before, delay);
        }
    }

    #[test]
    fn the_limit_is_what_is_not_refused_of_the_highest_production() {
        let mut law = Pie::new(&TOLD);
        assert_eq!(law.step(&reading(0.0, 4_000.0, 0.0), f64::INFINITY), f64::INFINITY);
        // Drain 1,000/s, lag 6,000, so q = 6 s, from 0; 3,000/s produced. ½·(0.008·1 + 0.03·6) = 0.094, capped to 0.05.
        let rate = law.step(&reading(1.0, 6_000.0, 1_000.0), f64::INFINITY);
        assert!((rate - 2_850.0).abs() < 1e-9, "{rate}");
    }

    #[test]
    fn without_lag_there_is_no_limit() {
        let mut law = Pie::new(&TOLD);
        for second in 0..100 {
            let seen = reading(f64::from(second), 500.0, 1_000.0 * f64::from(second));
            assert_eq!(law.step(&seen, f64::INFINITY), f64::INFINITY);
        }
    }

    #[test]
    fn a_group_that_never_committed_is_not_limited() {
        let mut law = Pie::new(&TOLD);
        for second in 0..100 {
            let seen = reading(f64::from(second), 1_000.0 * f64::from(second), 0.0);
            assert_eq!(law.step(&seen, f64::INFINITY), f64::INFINITY, "its drain rate is unknown");
        }
    }
}
