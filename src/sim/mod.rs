//! Simulate: scenarios → scores, by the very tick that runs in production.
//!
//! In: a [`Scenario`] (plant, load, faults, expected ranges), a seed, a [`Policy`]. Out: a [`Trace`] of what happened
//! and a [`Score`] of it, beside the same story without control and under an [`Oracle`]. Never: a real clock, a
//! thread's own randomness, a difference in the drawn numbers between two policies, a look at the truth by a policy.
//!
//! The plant is a fluid model with whole releases, in steps of 50 ms: partitions, producers behind delay, token bucket
//! and linger, group members that work as fast as they may and look at their commit timer only between two batches,
//! and an observer that reads commits and log ends at different instants. Same seed, same run, bit by bit.

mod baseline;
mod chance;
mod chart;
mod fuzz;
mod judge;
mod oracle;
mod plant;
mod policy;
mod replay;
mod run;
mod scenario;
mod score;
mod shipped;
mod total;

pub use baseline::{Baseline, UnknownBaseline};
pub use chart::{Curve, Drawn, RunCurves, StoryCurves, StoryEvent, kept};
pub use fuzz::{Checked, story, story_text};
pub use judge::{centred_mean, coefficient_of_variation, first_lasting};
pub use oracle::Oracle;
pub use plant::{Ledger, Plant, Poll, STEP_SECONDS, Trace, World};
pub use policy::{Described, Observation, Policy, Told};
pub use replay::{
    CapacityNotTold, JournalError, Replay, ReplayDecision, ReplayDifference, ReplayLaw, ReplayLawSummary,
    ReplaySummary, ReplayTally, Replayed,
};
pub use run::{Case, Outcome, run_scenario};
pub use scenario::{
    CommitView, Expectation, Fault, FaultKind, GapPlan, GroupPlan, Load, ObservationPlan, Pauses, Range, RetryPlan,
    ScalerPlan, Scenario, ScenarioError, Shape, TransactionPlan, ValvePlan, ValveTopics, Yardstick, catalogue,
};
pub use score::{SET_POINT_SECONDS, Score, Settled};
pub use shipped::{Shipped, ShippedStart};
pub use total::{ScenarioResult, Summary, geometric_mean};
