//! Mechanisms that most scenarios leave out. Times in seconds, rates in messages/s.

use serde::Deserialize;

/// Governed writers write in transactions: a `read_committed` group reads only to the last stable offset.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionPlan {
    /// How long a transaction stays open: 0.1 for Kafka Streams with `exactly_once_v2` (`commit.interval.ms`), the
    /// checkpoint interval for Flink. Each ends with one marker a partition, which takes an offset.
    pub seconds: f64,
}

/// Offsets that hold no record: what compaction removed, or what an aborted transaction wrote.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GapPlan {
    /// Share of the offsets of the backlog at the start that hold nothing.
    #[serde(default)]
    pub backlog_share: f64,
    /// Share of the offsets of what is written during the run that hold nothing.
    #[serde(default)]
    pub head_share: f64,
    /// Mean length of a run of such offsets; gaps come in bursts. Both lengths and distances are exponential.
    #[serde(default = "run_of_offsets")]
    pub run: f64,
}

/// Refused messages are tried again, so that demand grows when it is throttled.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPlan {
    /// How often a message is tried again before it is given up.
    #[serde(default = "retries")]
    pub times: usize,
    /// Time to the first retry; each further one waits twice as long.
    #[serde(default = "back_off")]
    pub backoff_seconds: f64,
    /// Copies that a refused message comes back as: more than 1 where a caller and a proxy both retry.
    #[serde(default = "one")]
    pub copies: f64,
}

/// Several valves protect the same groups, each with its own loop; writer `w` belongs to valve `w % count`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValvePlan {
    /// Valves, 2 or more.
    pub count: usize,
    /// Where they write.
    #[serde(default)]
    pub topics: ValveTopics,
}

/// Where several valves write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValveTopics {
    /// All to one topic: each sees the others' writers as live traffic.
    #[default]
    Shared,
    /// Each to a topic of its own: partition `p` belongs to valve `p % count`, and the groups read them all.
    Own,
}

/// Something adds and removes members by lag: KEDA's Kafka scaler over a horizontal pod autoscaler.
///
/// Members wanted = ⌈committed lag ÷ `lag_threshold`⌉. Out at once, at most to twice as many or four more (whatever is
/// more); in to the most that was wanted within `scale_in_seconds`; no change within 10 % (the autoscaler's defaults).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScalerPlan {
    /// Committed lag that one member is good for, messages (KEDA: `lagThreshold`, default 10).
    pub lag_threshold: f64,
    /// Never fewer members (KEDA: `minReplicaCount`).
    #[serde(default = "one_member")]
    pub least: usize,
    /// Never more members; idle ones beyond the partitions are not started (KEDA: `allowIdleConsumers = false`).
    pub most: usize,
    /// Time between two looks (KEDA: `pollingInterval`, default 30 s).
    #[serde(default = "scaler_poll")]
    pub poll_seconds: f64,
    /// Members leave when so long fewer were wanted (autoscaler: `stabilizationWindowSeconds`, default 300 s; KEDA's
    /// `cooldownPeriod` has the same default and counts only for the last step to 0).
    #[serde(default = "scale_in")]
    pub scale_in_seconds: f64,
    /// Time from the decision until a new member joins (guessed: a container that starts).
    #[serde(default = "member_start")]
    pub start_seconds: f64,
    /// At every change nobody reads for so long (guessed: an eager rebalance of a small group).
    #[serde(default = "rebalance")]
    pub rebalance_seconds: f64,
}

/// How commits become known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitView {
    /// By asking at every poll: a commit lies somewhere between two of them.
    #[default]
    Polled,
    /// By reading them as they are written: each with its exact time, a fixed time later, and at once decided on.
    Tail,
}

const fn run_of_offsets() -> f64 {
    500.0
}
const fn retries() -> usize {
    3
}
const fn back_off() -> f64 {
    1.0
}
const fn one() -> f64 {
    1.0
}
const fn one_member() -> usize {
    1
}
const fn scaler_poll() -> f64 {
    30.0
}
const fn scale_in() -> f64 {
    300.0
}
const fn member_start() -> f64 {
    10.0
}
const fn rebalance() -> f64 {
    3.0
}
