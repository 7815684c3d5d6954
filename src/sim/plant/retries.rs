//! Refused messages that come back, each time after twice as long.

use super::{STEP_SECONDS, steps_in};
use crate::sim::scenario::RetryPlan;

/// Messages of one writer that wait to be tried again.
#[derive(Clone, Debug)]
pub(super) struct Retries {
    copies: f64,
    /// Waiting, a number of earlier attempts and slot of a ring as long as its back-off.
    waiting: Vec<Vec<f64>>,
    /// What came back in this step, a number of earlier attempts.
    back: Vec<f64>,
}

impl Retries {
    pub(super) fn new(plan: RetryPlan) -> Self {
        let slots = |attempt: usize| steps_in(plan.backoff_seconds * f64::from(1 << attempt)).max(1);
        let waiting: Vec<Vec<f64>> = (0..plan.times).map(|attempt| vec![0.0; slots(attempt)]).collect();
        Self { copies: plan.copies, back: vec![0.0; plan.times], waiting }
    }

    /// Messages that are tried again in this step.
    pub(super) fn come_back(&mut self, step: usize) -> f64 {
        for (back, ring) in self.back.iter_mut().zip(&mut self.waiting) {
            let slot = step % ring.len();
            *back = std::mem::take(&mut ring[slot]);
        }
        self.back.iter().sum()
    }

    /// Of `fresh` messages and of those that came back this share was refused; who was tried often enough gives up.
    pub(super) fn refuse(&mut self, step: usize, fresh: f64, share: f64) {
        let mut tried = fresh;
        for (back, ring) in self.back.iter().zip(&mut self.waiting) {
            let slot = step % ring.len();
            ring[slot] = tried * share * self.copies;
            tried = *back;
        }
    }
}

/// Below this nothing is wanted, messages a step.
pub(super) const NOTHING: f64 = 1e-9 * STEP_SECONDS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_always_refused_is_tried_four_times() {
        let mut retries = Retries::new(RetryPlan { times: 3, backoff_seconds: 1.0, copies: 1.0 });
        let mut tried = Vec::new();
        for step in 0..steps_in(20.0) {
            let fresh = if step == 0 { 1.0 } else { 0.0 };
            let back = retries.come_back(step);
            if fresh + back > 0.0 {
                tried.push((step as f64 * STEP_SECONDS, fresh + back));
            }
            retries.refuse(step, fresh, 1.0);
        }
        assert_eq!(tried, [(0.0, 1.0), (1.0, 1.0), (3.0, 1.0), (7.0, 1.0)]);
    }
}
