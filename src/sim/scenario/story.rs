//! A scenario as its file writes it: plant, load, faults, expected ranges. Times in seconds, rates in messages/s.

use serde::Deserialize;

use super::{CommitView, Fault, GapPlan, RetryPlan, ScalerPlan, Shape, TransactionPlan, ValvePlan};
use crate::lag::Isolation;

/// One scenario.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its id, `S01` say; the number in it is mixed into every seed.
    pub id: String,
    /// What happens, in a few words.
    pub title: String,
    /// How long it lasts.
    pub duration_seconds: f64,
    /// Partitions of the topic.
    #[serde(default = "six")]
    pub partitions: usize,
    /// Share of the traffic a partition, in any unit; all alike when absent.
    pub weights: Option<Vec<f64>>,
    /// Backlog at the start, in seconds of each group's own work.
    #[serde(default)]
    pub backlog_seconds: f64,
    /// Instants from which settling counts; steadiness is judged over the last 40 % before the next one.
    #[serde(default = "from_the_start")]
    pub marks_seconds: Vec<f64>,
    /// Times `[from, to]` in which nothing needs to be withheld.
    #[serde(default)]
    pub harm_seconds: Vec<(f64, f64)>,
    /// What lost throughput is measured against.
    #[serde(default)]
    pub yardstick: Yardstick,
    /// What writers do.
    pub load: Load,
    /// The groups that protect the topic.
    pub groups: Vec<GroupPlan>,
    /// How the cluster is observed.
    #[serde(default)]
    pub observation: ObservationPlan,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What the shipped law must reach.
    #[serde(default)]
    pub expect: Expectation,
}

/// What lost throughput is measured against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Yardstick {
    /// The same story without control.
    #[default]
    Unlimited,
    /// The same story under the oracle: where no control would pile up what can never be read in time.
    Oracle,
}

/// What writers do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// What governed writers would write, all together.
    pub demand: Shape,
    /// Standard deviation of the demand, relative.
    #[serde(default = "demand_noise")]
    pub noise: f64,
    /// Governed producers.
    #[serde(default = "three")]
    pub producers: usize,
    /// Share of the demand a producer, in any unit; all alike when absent. Unequal ones are granted their rates by
    /// max-min over demands that are a second old.
    pub shares: Option<Vec<f64>>,
    /// Range of the time from a decision to its effect, drawn for each producer.
    #[serde(default = "delay")]
    pub delay_seconds: (f64, f64),
    /// Range of the time that a producer collects a batch, drawn for each.
    #[serde(default = "linger")]
    pub linger_seconds: (f64, f64),
    /// Depth of the token bucket, seconds of its rate, above 0.
    #[serde(default = "burst")]
    pub burst_seconds: f64,
    /// What a producer lets through, relative to its limit.
    #[serde(default = "one")]
    pub limiter_gain: f64,
    /// Refused demand that is kept for later, seconds of demand; the rest is lost.
    #[serde(default)]
    pub carry_seconds: f64,
    /// Production that no limit reaches.
    #[serde(default)]
    pub live: f64,
    /// Writes are transactional.
    pub transactions: Option<TransactionPlan>,
    /// Some offsets hold no record.
    pub gaps: Option<GapPlan>,
    /// Refused messages are tried again.
    pub retries: Option<RetryPlan>,
    /// More than one valve acts.
    pub valves: Option<ValvePlan>,
}

/// One consumer group.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPlan {
    /// What it can take, all members together.
    pub capacity: Shape,
    /// Members; each owns a run of partitions.
    #[serde(default = "members")]
    pub members: usize,
    /// Time between commits.
    #[serde(default = "commit")]
    pub commit_seconds: f64,
    /// Largest deviation of a commit interval, relative.
    #[serde(default = "commit_jitter")]
    pub commit_jitter: f64,
    /// The members' commit intervals are spread evenly, also when they come back from a crash. Otherwise their beginnings
    /// are drawn, and after a crash all that are overdue commit at once.
    #[serde(default)]
    pub commits_spread: bool,
    /// `[at_seconds, interval]`: another time between commits from then on.
    pub commit_change: Option<(f64, f64)>,
    /// Records a batch; the commit timer is looked at between batches.
    #[serde(default = "batch")]
    pub max_poll_records: f64,
    /// Standard deviation of the capacity, relative.
    #[serde(default = "capacity_noise")]
    pub noise: f64,
    /// Correlation time of that noise.
    #[serde(default = "capacity_noise_seconds")]
    pub noise_seconds: f64,
    /// Pauses of a member, as of a garbage collector.
    pub pauses: Option<Pauses>,
    /// Share of the capacity that is lost on an empty queue.
    #[serde(default)]
    pub warm_up_loss: f64,
    /// Up to where it reads.
    #[serde(default)]
    pub isolation: Isolation,
    /// Up to where the valve is told that it reads, where that is wrong.
    pub told_isolation: Option<Isolation>,
    /// It commits what it had processed so long ago: asynchronous processing whose confirmations come late.
    #[serde(default)]
    pub commit_behind_seconds: f64,
    /// Something adds and removes members; `capacity` is what `members` of them take.
    pub scaler: Option<ScalerPlan>,
}

/// Pauses of members.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pauses {
    /// Mean time between two pauses of a member.
    pub gap_seconds: f64,
    /// Range of their length.
    pub length_seconds: (f64, f64),
}

/// How the cluster is observed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObservationPlan {
    /// Time between polls.
    pub poll_seconds: f64,
    /// Probability that a poll brings nothing.
    pub miss_probability: f64,
    /// Times `[from, to]` in which no poll brings anything.
    pub blackouts: Vec<(f64, f64)>,
    /// Standard deviation of the time stamps.
    pub timestamp_noise_seconds: f64,
    /// How commits become known.
    pub commits: CommitView,
    /// Time from a commit until a tail has shown it.
    pub tail_seconds: f64,
}

impl ObservationPlan {
    /// Whether nothing can be read at `seconds`.
    #[must_use]
    pub fn is_dark(&self, seconds: f64) -> bool {
        self.blackouts.iter().any(|(from, to)| *from <= seconds && seconds < *to)
    }
}

impl Default for ObservationPlan {
    fn default() -> Self {
        Self {
            poll_seconds: 1.0,
            miss_probability: 0.0,
            blackouts: Vec::new(),
            timestamp_noise_seconds: 0.02,
            commits: CommitView::Polled,
            tail_seconds: 0.2,
        }
    }
}

/// Ranges that a run of the shipped law must keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expectation {
    /// Total cost.
    pub j: Range,
    /// Lost throughput, percent.
    pub lost_percent: Range,
    /// Mean lag above 2 s.
    pub excess_seconds: Range,
    /// Coefficient of variation of the limit.
    pub cov: Range,
    /// Time until production is where it belongs.
    pub settled_seconds: Range,
    /// Highest lag, seconds of work.
    pub peak_drain_seconds: Range,
    /// Lag once it is steady, seconds of work.
    pub steady_drain_seconds: Range,
    /// Production withheld while none was needed, percent.
    pub harm_percent: Range,
    /// Members in the last third of the run, mean; where something scales them.
    pub members: Range,
    /// The largest number of members in the last third of the run less the smallest.
    pub members_swing: Range,
}

impl Expectation {
    /// Every range with its name, in the order of the report.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, Range); 10] {
        [
            ("j", self.j),
            ("lost_percent", self.lost_percent),
            ("excess_seconds", self.excess_seconds),
            ("cov", self.cov),
            ("settled_seconds", self.settled_seconds),
            ("peak_drain_seconds", self.peak_drain_seconds),
            ("steady_drain_seconds", self.steady_drain_seconds),
            ("harm_percent", self.harm_percent),
            ("members", self.members),
            ("members_swing", self.members_swing),
        ]
    }
}

/// From `min` to `max`; an absent end is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Range {
    /// Not below.
    pub min: Option<f64>,
    /// Not above.
    pub max: Option<f64>,
}

impl Range {
    /// Whether it asks for anything.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.min.is_none() && self.max.is_none()
    }

    /// Whether `value` lies in it; a number that is none does not.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        !value.is_nan() && self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

const fn six() -> usize {
    6
}
const fn three() -> usize {
    3
}
const fn members() -> usize {
    3
}
const fn one() -> f64 {
    1.0
}
const fn demand_noise() -> f64 {
    0.02
}
const fn delay() -> (f64, f64) {
    (0.2, 1.0)
}
const fn linger() -> (f64, f64) {
    (0.05, 0.1)
}
const fn burst() -> f64 {
    0.1
}
const fn commit() -> f64 {
    5.0
}
const fn commit_jitter() -> f64 {
    0.02
}
const fn batch() -> f64 {
    500.0
}
const fn capacity_noise() -> f64 {
    0.03
}
const fn capacity_noise_seconds() -> f64 {
    10.0
}
fn from_the_start() -> Vec<f64> {
    vec![0.0]
}
