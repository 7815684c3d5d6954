//! What a valve is told: checked values, whatever they came from (file, command line, builder).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::{LawKind, PidGains};
use crate::id::{GroupId, Topic, ValveName};
use crate::lag::Isolation;
use crate::units::MessagesPerSecond;

/// Whether a valve acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Neither watches nor limits.
    Off,
    /// Decides and reports, limits nothing.
    Observe,
    /// Limits.
    #[default]
    Enforce,
}

/// How a valve begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// No limit until a commit proves lag: for services.
    #[default]
    Open,
    /// From a first rate, growing by commits: for files and other unlimited demand.
    Slow,
}

/// What happens when the cluster cannot be observed any more and the grace period is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSignalLost {
    /// Keep the last decision.
    Hold,
    /// The safe rate.
    #[default]
    Safe,
    /// No limit.
    Open,
    /// The minimum rate.
    Closed,
}

/// One consumer group that governs a valve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProtectedGroup {
    /// The consumer group.
    pub group: GroupId,
    /// Set-point: the lag to hold, in seconds of the group's own work. Larger: steadier and a little faster, but older data.
    #[serde(rename = "target_lag_seconds", with = "seconds")]
    pub target_lag: Duration,
    /// Hard limit in seconds of work: above it, alarm and the minimum rate.
    #[serde(rename = "max_lag_seconds", with = "seconds_or_none")]
    pub max_lag: Option<Duration>,
    /// Shortest runway: when retention would delete what is written now sooner than this after its reading, the minimum rate.
    #[serde(rename = "min_runway_seconds", with = "seconds_or_none", default, skip_serializing_if = "Option::is_none")]
    pub min_runway: Option<Duration>,
    /// Which log end counts.
    pub isolation: Isolation,
}

impl ProtectedGroup {
    /// `group` with a set-point of 2 s, reading uncommitted, without a hard limit.
    #[must_use]
    pub fn new(group: impl Into<GroupId>) -> Self {
        Self {
            group: group.into(),
            target_lag: Duration::from_secs(2),
            max_lag: None,
            min_runway: None,
            isolation: Isolation::ReadUncommitted,
        }
    }

    /// Set-point: the lag to hold, in seconds of the group's own work.
    #[must_use]
    pub fn target_lag(mut self, target: Duration) -> Self {
        self.target_lag = target;
        self
    }

    /// Hard limit in seconds of work.
    #[must_use]
    pub fn max_lag(mut self, limit: Duration) -> Self {
        self.max_lag = Some(limit);
        self
    }

    /// Shortest time between the reading of a record and its deletion by retention.
    #[must_use]
    pub fn min_runway(mut self, least: Duration) -> Self {
        self.min_runway = Some(least);
        self
    }

    /// Which log end counts.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }
}

/// Everything a valve is told. In JSON times are seconds and rates messages/s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValveSettings {
    /// Its name.
    pub name: ValveName,
    /// Topics that share its rate.
    pub topics: Vec<Topic>,
    /// Groups that govern it.
    pub protect: Vec<ProtectedGroup>,
    /// Whether it acts.
    pub mode: Mode,
    /// How it begins.
    pub start: Start,
    /// Start limited here instead of at what is learned.
    pub initial_rate: Option<MessagesPerSecond>,
    /// Never below, messages/s, above 0: a closed valve cannot see recovery.
    pub min_rate: MessagesPerSecond,
    /// Never above.
    pub max_rate: Option<MessagesPerSecond>,
    /// Second limit, bytes/s.
    pub max_bytes_per_second: Option<f64>,
    /// Rate without a signal; default: half of the measured capacity.
    pub safe_rate: Option<MessagesPerSecond>,
    /// What happens without a signal.
    pub on_signal_lost: OnSignalLost,
    /// How long the last decision is kept without a signal.
    #[serde(rename = "signal_grace_seconds", with = "seconds")]
    pub signal_grace: Duration,
    /// Time between polls while acting.
    #[serde(rename = "poll_interval_seconds", with = "seconds")]
    pub poll_interval: Duration,
    /// Which law decides.
    pub law: LawKind,
    /// Gains of the textbook law.
    pub pid: PidGains,
}

impl ValveSettings {
    /// A valve on `topics` that nothing governs yet, with the documented defaults.
    #[must_use]
    pub fn new(name: impl Into<ValveName>, topics: Vec<Topic>) -> Self {
        Self {
            name: name.into(),
            topics,
            protect: Vec::new(),
            mode: Mode::Enforce,
            start: Start::Open,
            initial_rate: None,
            min_rate: MessagesPerSecond::new(1.0).expect("1 is a rate"),
            max_rate: None,
            max_bytes_per_second: None,
            safe_rate: None,
            on_signal_lost: OnSignalLost::Safe,
            signal_grace: Duration::from_secs(15),
            poll_interval: Duration::from_secs(1),
            law: LawKind::TimeLag,
            pid: PidGains::default(),
        }
    }
}

/// A time as a number of seconds: exact to the nanosecond up to 100 days.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The same where there may be none.
mod seconds_or_none {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs_f64()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(deserializer)?;
        seconds.map(Duration::try_from_secs_f64).transpose().map_err(D::Error::custom)
    }
}
