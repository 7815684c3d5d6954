//! What every law takes and gives.

use serde::{Deserialize, Serialize};

use super::ControlConfig;

/// What a law sees of one group. Times in seconds, rates in messages/s.
#[derive(Clone, Copy, Debug)]
pub struct LawInput {
    /// Time since the previous step, above 0.
    pub step_seconds: f64,
    /// Set-point in force.
    pub set_point_seconds: f64,
    /// The controlled variable.
    pub drain_seconds: f64,
    /// Time between the group's commits.
    pub cadence_seconds: f64,
    /// No certain backlog.
    pub starved: bool,
    /// Commits are overdue and there is backlog.
    pub silent: bool,
    /// Production follows the limit.
    pub binding: bool,
    /// This group's decision was the smallest at the previous step.
    pub rules: bool,
}

/// What a law wants: a correction relative to capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correction {
    /// `rate = capacity × (1 + relative)`, already within the law's bounds.
    pub relative: f64,
    /// How it came about.
    pub terms: Terms,
}

/// A feedback law on drain time.
pub trait Law {
    /// The correction for this step.
    fn correct(&mut self, config: &ControlConfig, input: &LawInput) -> Correction;

    /// Control begins now: forget what was integrated before (bumpless).
    fn engage(&mut self);
}

/// The inner terms of one decision, for the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Set-point minus measured drain time, seconds.
    pub error_seconds: f64,
    /// Capacity fed forward, messages/s.
    pub feed_forward: f64,
    /// Relative correction by the proportional part.
    pub proportional: f64,
    /// Relative correction by the integral part.
    pub integral: f64,
    /// Relative correction by the derivative part.
    pub derivative: f64,
    /// Relative correction by probing.
    pub probe: f64,
    /// Factor by which a limit that does not bind has been relaxed.
    pub relaxation: f64,
}
