//! One turn of the loop, as data: the line of the journal, the body of the HTTP answers, what a library user reads.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config_record::ConfigRecord;
use super::input::InputRecord;
use super::settings::Mode;
use crate::control::{BoundBy, Terms};
use crate::id::{GroupId, Topic, ValveName};
use crate::units::RateLimit;

/// Version of the journal's lines; a reader that knows a smaller one must refuse.
pub const RECORD_VERSION: u32 = 1;

/// One turn of the loop for one valve. Rates are messages/s; `null` is unknown, `"unlimited"` is no limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TickRecord {
    /// Version of this format: [`RECORD_VERSION`].
    pub v: u32,
    /// Counts the ticks of this valve since the agent started, or since the first of the runs that it goes on from.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// Milliseconds on the agent's monotonic clock.
    pub mono_ms: u64,
    /// The valve.
    pub valve: ValveName,
    /// Whether it acts.
    pub mode: Mode,
    /// Which settings are in force: see [`ConfigRecord`]. Absent where nothing but a person decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_id: Option<Arc<str>>,
    /// What is known of each protected group.
    pub groups: Vec<GroupRecord>,
    /// Growth of the log over the last 2 s, all writers.
    pub production: Option<f64>,
    /// The part of it that no governed client reports; 0 when it is noise.
    pub live: Option<f64>,
    /// The inner terms of the law of the group that rules.
    pub terms: Option<Terms>,
    /// What the law wants, live traffic included.
    pub rate_unbounded: RateLimit,
    /// After limits, overrides and failure policy: what governed writers may send, together.
    pub rate_decided: RateLimit,
    /// What clients were granted.
    pub rate_allocated: RateLimit,
    /// What governed clients really sent over the last 2 s.
    pub rate_applied: Option<f64>,
    /// The reason that rules.
    pub bound_by: BoundBy,
    /// Every group's own decision and reason, the ruling one first.
    pub causes: Vec<Cause>,
    /// What would help.
    pub advice: Option<Advice>,
    /// Seconds until lag is back at the set-point, where it is above it.
    pub eta_seconds: Option<f64>,
    /// Age of the newest usable sample, seconds; `null` before the first.
    pub signal_age_seconds: Option<f64>,
    /// One sentence for a person.
    pub explain: String,
    /// What the tick was given beside the rows of `partitions`; only in the journal's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputRecord>,
    /// The settings in force, which the journal's file has on lines of their own.
    #[serde(skip)]
    pub config: Option<Arc<ConfigRecord>>,
}

/// What is known of one group in one tick.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The group.
    pub group: GroupId,
    /// Its state (`steady`, `never_committed`, …).
    pub state: GroupVerdict,
    /// How far the figures can be trusted.
    pub quality: Quality,
    /// Share of the watched partitions whose lag is known, 0 to 1.
    pub coverage: f64,
    /// Mean time between commits; unknown before two gaps were seen.
    pub cadence_seconds: Option<f64>,
    /// Estimated lag now, all partitions.
    pub lag_messages: Option<f64>,
    /// End minus commit, all measured partitions: what `kafka-consumer-groups` shows.
    pub committed_lag: Option<i64>,
    /// Messages that retention deleted before the group read them, as far as its newest commits say; unknown where no lag is.
    #[serde(default)]
    pub lost_messages: Option<i64>,
    /// The oldest record that is not committed is at least so old, seconds, by the agent's clock; absent where there is none.
    #[serde(default)]
    pub age_least_seconds: Option<f64>,
    /// And at most so old; unknown where it was written before the agent began to watch.
    #[serde(default)]
    pub age_most_seconds: Option<f64>,
    /// Seconds until retention deletes the oldest unread record; unknown where retention or age is, or nothing is limited.
    #[serde(default)]
    pub runway_seconds: Option<f64>,
    /// Estimated lag now ÷ capacity, seconds; the controlled variable.
    pub drain_seconds: Option<f64>,
    /// What the group could take, messages/s.
    pub capacity: Option<f64>,
    /// The set-point in force, seconds.
    pub set_point_seconds: f64,
    /// Members, where the coordinator tells.
    pub members: Option<usize>,
    /// Partitions left out because they are stuck while their peers move.
    pub excluded_partitions: Vec<String>,
    /// Why the group, or part of it, could not be read.
    pub problem: Option<String>,
    /// Raw offsets a partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<PartitionRecord>,
}

/// Raw offsets of one partition: `[topic, partition, committed, committed_at_ms, end, end_at_ms, start]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartitionRecord(pub Topic, pub i32, pub Option<i64>, pub u64, pub Option<i64>, pub u64, pub Option<i64>);

/// What one group asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cause {
    /// The group; absent for limits that come from the operator.
    pub group: Option<GroupId>,
    /// Its reason.
    pub bound_by: BoundBy,
    /// The total rate it can be given, live traffic included.
    pub rate: RateLimit,
}

/// The state of a group, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupVerdict {
    /// Lag is near the set-point or below.
    Steady,
    /// Lag is above the set-point and falls.
    CatchingUp,
    /// Lag is above the set-point and rises.
    FallingBehind,
    /// The coordinator moves partitions.
    Rebalancing,
    /// Unread records, commits overdue.
    Stalled,
    /// No members and commits overdue.
    Empty,
    /// The coordinator says dead, or there is no such group.
    Dead,
    /// No commit on any watched partition.
    NeverCommitted,
    /// Its commits went back.
    Rewound,
    /// Retention deleted records that it had not read.
    DataLost,
    /// It has read all that it may: an open transaction holds back the rest.
    TransactionOpen,
    /// It could not be read, or not for long enough.
    Unmeasured,
}

impl GroupVerdict {
    /// Every verdict, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::Steady,
        Self::CatchingUp,
        Self::FallingBehind,
        Self::Rebalancing,
        Self::Stalled,
        Self::Empty,
        Self::Dead,
        Self::NeverCommitted,
        Self::Rewound,
        Self::DataLost,
        Self::TransactionOpen,
        Self::Unmeasured,
    ];

    /// The name for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::CatchingUp => "catching_up",
            Self::FallingBehind => "falling_behind",
            Self::Rebalancing => "rebalancing",
            Self::Stalled => "stalled",
            Self::Empty => "empty",
            Self::Dead => "dead",
            Self::NeverCommitted => "never_committed",
            Self::Rewound => "rewound",
            Self::DataLost => "data_lost",
            Self::TransactionOpen => "transaction_open",
            Self::Unmeasured => "unmeasured",
        }
    }
}

/// How far a figure can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Read in this poll.
    Fresh,
    /// Some partitions are older, or missing.
    Degraded,
    /// The last values, from an earlier poll.
    Held,
    /// Nothing is known.
    Unknown,
}

/// What would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Fewer members than partitions: more members would help.
    ScaleConsumers,
    /// Members idle for want of partitions.
    AddPartitions,
    /// One partition is stuck while its peers move.
    FixPartition,
    /// Nothing but the writers' rate can help.
    SlowProducer,
}

impl Advice {
    /// The name for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScaleConsumers => "scale_consumers",
            Self::AddPartitions => "add_partitions",
            Self::FixPartition => "fix_partition",
            Self::SlowProducer => "slow_producer",
        }
    }
}
