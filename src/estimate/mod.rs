//! Estimate: offsets over time → cadence, capacity, position between commits, production.
//!
//! In: what one poll saw of a valve's partitions, dense ([`Sample`]), and `now` as an argument. Out: an [`Assessment`]
//! of each group (capacity in messages/s, lag in seconds of work) and the [`Production`] of the topic. Never: a
//! decision, a clock, a lag of zero for something unknown.
//!
//! Source: the commit-aware time-lag design of `docs/control.md`. One idea carries it: *uncertain evidence may only
//! raise an estimate of capacity*, because from outside an idle consumer looks like a slow one.

mod ages;
mod cadence;
mod capacity;
mod commit_delay;
mod ends;
mod group;
mod position;
mod production;
mod runway;

pub use ages::{Age, Ages};
pub use cadence::Cadence;
pub use group::{GroupEstimator, GroupUpdate};
pub use position::Assessment;
pub use production::{LiveSplit, Production, ProductionWindow};
pub use runway::{Runway, Unread};

/// What one poll saw of a valve, dense over the valve's partitions. Times are seconds on the agent's monotonic clock.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// When the commits were read.
    pub commits_at: f64,
    /// When the log ends were read.
    pub ends_at: f64,
    /// First unread offset of the group a partition: `max(committed, log start)`. `None`: no commit, or not read.
    pub committed: &'a [Option<f64>],
    /// End of the log a partition, as far as the group may read. `None`: never read.
    pub ends: &'a [Option<f64>],
    /// Production a partition since the previous sample, messages/s.
    pub production: &'a [f64],
    /// Production a partition over the averaging window, messages/s: its share of the total.
    pub production_mean: &'a [f64],
}

/// Constants of the estimators. The defaults are those of the reference design ([`EstimateConfig::reference`]) but for
/// what was measured to be better on its 58 scenarios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EstimateConfig {
    /// Time between polls, seconds.
    pub poll_seconds: f64,
    /// Assumed delay between a decision and its effect on the log, seconds.
    pub actuation_seconds: f64,
    /// Gain of the capacity average for a full window.
    pub capacity_gain: f64,
    /// Relative innovation that counts as a step and is taken whole.
    pub capacity_step: f64,
    /// Shortest window of a capacity sample, seconds.
    pub capacity_window_seconds: f64,
    /// A capacity moves at most down by this factor a commit.
    pub capacity_fall_max: f64,
    /// A capacity moves at most up by this factor a commit.
    pub capacity_rise_max: f64,
    /// A lower bound, what the group took in a whole interval, may raise it by this factor: above the growth of a slow
    /// start, or the estimate would trail behind what was seen.
    pub capacity_bound_rise_max: f64,
    /// Nothing was read for longer than so many poll intervals: what happened meanwhile is unknown.
    pub blind_polls: f64,
    /// A position is extrapolated at most this many cadences past its commit.
    pub extrapolate_cadences: f64,
    /// A group without certain backlog is presumed to keep pace with at most so many seconds of work beyond its
    /// capacity…
    pub unproven_seconds: f64,
    /// …or so many cadences, where those are more.
    pub unproven_cadences: f64,
    /// One odd interval is no proof of lag, unless it leaves so many seconds of work.
    pub odd_lag_seconds: f64,
    /// Two late intervals in a row are a slower cadence, whatever they brought.
    pub learns_from_two_late: bool,
    /// A group that keeps pace is known to do so with what was written before its commit, not since.
    pub pace_before_commit: bool,
    /// The commit before the first look is presumed to be this many polls older than the look.
    pub first_look_polls: f64,
    /// Over an interval this long, seconds, not its mean tells the capacity but the fastest part of it.
    pub long_interval_seconds: f64,
    /// Silence tolerated while the cadence is unknown, seconds: the default auto-commit interval of consumers, seven times.
    pub patience_seconds: f64,
    /// Backlog at a commit counts as busy above this many seconds of work…
    pub busy_seconds: f64,
    /// …plus this share of the smaller of poll interval and cadence.
    pub busy_share: f64,
    /// Silent partitions are left out while they carry at most this share of the traffic.
    pub stuck_share_max: f64,
    /// A partition that is busy less than this share of the busiest one is no bottleneck.
    pub bottleneck_share: f64,
    /// Memory of that test, seconds.
    pub bottleneck_memory_seconds: f64,
    /// Ages of unread records that differ by no more than so many polls…
    pub delay_tolerance_polls: f64,
    /// …and this share of the age are the same age.
    pub delay_tolerance_share: f64,
    /// Commits that are behind by fewer polls than this count as up to date.
    pub delay_least_polls: f64,
    /// A group that stays behind although this share of the speed it has shown would have been enough commits late; 0 never
    /// believes so.
    pub delay_speed_share: f64,
    /// A speed is remembered for that purpose for two cadences, the age, and so many seconds.
    pub delay_memory_seconds: f64,
    /// Averaging window of the production rate, seconds.
    pub production_window_seconds: f64,
}

impl EstimateConfig {
    /// The constants of the reference design, without what was added to it.
    #[must_use]
    pub const fn reference(poll_seconds: f64) -> Self {
        let config = Self::for_poll(poll_seconds);
        Self {
            capacity_gain: 0.4,
            capacity_bound_rise_max: config.capacity_rise_max,
            blind_polls: f64::INFINITY,
            unproven_seconds: f64::INFINITY,
            odd_lag_seconds: f64::INFINITY,
            learns_from_two_late: false,
            pace_before_commit: false,
            first_look_polls: 0.0,
            long_interval_seconds: f64::INFINITY,
            delay_speed_share: 0.0,
            ..config
        }
    }

    /// The defaults for polls every `poll_seconds`.
    #[must_use]
    pub const fn for_poll(poll_seconds: f64) -> Self {
        Self {
            poll_seconds,
            actuation_seconds: 1.0,
            capacity_gain: 0.3,
            capacity_step: 0.30,
            capacity_window_seconds: 4.0,
            capacity_fall_max: 0.5,
            capacity_rise_max: 2.5,
            capacity_bound_rise_max: 4.0,
            blind_polls: 3.5,
            extrapolate_cadences: 1.25,
            unproven_seconds: 8.0,
            unproven_cadences: 0.5,
            odd_lag_seconds: 10.0,
            learns_from_two_late: true,
            pace_before_commit: true,
            first_look_polls: 0.5,
            long_interval_seconds: 10.0,
            patience_seconds: 35.0,
            busy_seconds: 0.15,
            busy_share: 0.15,
            stuck_share_max: 0.25,
            bottleneck_share: 0.10,
            bottleneck_memory_seconds: 30.0,
            delay_tolerance_polls: 1.0,
            delay_tolerance_share: 0.2,
            delay_least_polls: 3.0,
            delay_speed_share: 0.8,
            delay_memory_seconds: 10.0,
            production_window_seconds: 2.0,
        }
    }
}
