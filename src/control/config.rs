//! What the laws are told.

use serde::{Deserialize, Serialize};

/// Which law decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LawKind {
    /// Measured consumption fed forward, drain time as the trim: the recommended law.
    #[default]
    TimeLag,
    /// Textbook PID on drain time, with gains of the operator's own.
    Pid,
}

/// Gains of the textbook law on the error in drain time, relative to capacity.
///
/// `rate = ĉ · (1 + kp·e + ki·∫e dt − kd·dx/dt)` with e and x in seconds of the group's own work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PidGains {
    /// Proportional gain, 1/s. Larger: faster, less damped; above 0.3 the dead time of polls makes it ring.
    pub kp: f64,
    /// Integral gain, 1/s². Removes what the actuator gets wrong; larger: overshoots after long drains.
    pub ki: f64,
    /// Derivative gain, dimensionless, on the measurement filtered over 2 s. Larger: noisier.
    pub kd: f64,
}

impl Default for PidGains {
    /// `kp` and `ki = kp²/16` of the recommended law at 5 s commits; no derivative, which did not help (measured).
    fn default() -> Self {
        Self { kp: 0.2, ki: 0.0025, kd: 0.0 }
    }
}

/// How a group's limit begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StartPolicy {
    /// No limit until a commit proves lag.
    Open,
    /// Limited at this rate of the operator's, messages/s, which also stands in for a capacity until lag was seen.
    Hinted(f64),
    /// Grows from a first rate; the operator's, messages/s, or what is learned.
    Slow(Option<f64>),
}

/// Constants of the laws. The defaults are those of the reference design ([`ControlConfig::reference`]) but for what was
/// measured to be better on its 58 scenarios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ControlConfig {
    /// Set-point, seconds of the group's own work.
    pub set_point_seconds: f64,
    /// Time between polls, seconds.
    pub poll_seconds: f64,
    /// Assumed delay between a decision and its effect on the log, seconds.
    pub actuation_seconds: f64,
    /// The set-point is never below this share of the loop's dead time (cadence + poll + actuation)…
    pub set_point_dead_time_share: f64,
    /// …nor below this share of the poll interval: lag cannot be known better.
    pub set_point_poll_share: f64,
    /// Proportional gain is `1 / (gain_seconds + gain_cadences × cadence)`.
    pub gain_seconds: f64,
    /// See `gain_seconds`.
    pub gain_cadences: f64,
    /// Integral time as a multiple of 1 / proportional gain.
    pub integral_time_ratio: f64,
    /// Largest integral correction, relative to capacity.
    pub integral_max: f64,
    /// Lowest rate while acting, relative to capacity.
    pub floor: f64,
    /// Highest excess over capacity while acting.
    pub excess_max: f64,
    /// Probing per loop delay without any backlog.
    pub probe: f64,
    /// Probing per loop delay where there may be some backlog.
    pub creep: f64,
    /// Relaxation time of a limit that does not bind, seconds.
    pub release_seconds: f64,
    /// A limit relaxed by this factor is dropped.
    pub release_factor: f64,
    /// Silence tolerated while unlimited, in seconds of production at the known throughput.
    pub patience_seconds: f64,
    /// A limit binds while production is above this share of it.
    pub binding_share: f64,
    /// Growth of a slow start a proven commit.
    pub slow_start_growth: f64,
    /// A slow start takes so many cadences to grow by that factor: a ramp, not a step.
    pub slow_start_ramp_cadences: f64,
    /// After an outage not the mean over the partitions is brought to the set-point but the slowest tenth of them, for at
    /// most so many seconds…
    pub level_seconds: f64,
    /// …to no more than this above it, seconds.
    pub level_margin_seconds: f64,
    /// Lag that stays for so many seconds, while capacity falls with the limit, calls for an experiment…
    pub doubt_seconds: f64,
    /// …in which the rate is this share of capacity.
    pub doubt_share: f64,
    /// First rate when nothing at all is known, messages/s.
    pub first_rate: f64,
}

impl ControlConfig {
    /// The constants of the reference design; of the slow start there is only ours.
    #[must_use]
    pub const fn reference(set_point_seconds: f64, poll_seconds: f64) -> Self {
        let config = Self::new(set_point_seconds, poll_seconds);
        Self {
            set_point_dead_time_share: 0.10,
            release_seconds: 60.0,
            level_margin_seconds: f64::INFINITY,
            doubt_seconds: f64::INFINITY,
            ..config
        }
    }

    /// The defaults for a set-point and a poll interval, both in seconds.
    #[must_use]
    pub const fn new(set_point_seconds: f64, poll_seconds: f64) -> Self {
        Self {
            set_point_seconds,
            poll_seconds,
            actuation_seconds: 1.0,
            set_point_dead_time_share: 0.08,
            set_point_poll_share: 0.8,
            gain_seconds: 3.0,
            gain_cadences: 0.40,
            integral_time_ratio: 16.0,
            integral_max: 0.15,
            floor: 0.10,
            excess_max: 1.0,
            probe: 0.5,
            creep: 0.1,
            release_seconds: 55.0,
            release_factor: 20.0,
            patience_seconds: 35.0,
            binding_share: 0.8,
            slow_start_growth: 3.0,
            slow_start_ramp_cadences: 0.4,
            level_seconds: 30.0,
            level_margin_seconds: 0.5,
            doubt_seconds: 40.0,
            doubt_share: 0.4,
            first_rate: 100.0,
        }
    }

    /// The set-point in force, seconds: the wanted one, raised to what the loop's own delays allow.
    #[must_use]
    pub fn set_point(&self, cadence_seconds: f64) -> f64 {
        let dead_time = cadence_seconds + self.poll_seconds + self.actuation_seconds;
        self.set_point_seconds
            .max(self.set_point_dead_time_share * dead_time)
            .max(self.set_point_poll_share * self.poll_seconds)
    }
}
