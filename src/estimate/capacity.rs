//! One partition of one group: what each commit says of its capacity.

use std::collections::VecDeque;

use super::commit_delay::CommitDelay;
use super::{Cadence, EstimateConfig};

/// What is known of one partition.
#[derive(Clone, Debug)]
pub(super) struct PartitionTrack {
    /// First unread offset; `None` before the first commit was seen.
    pub(super) position: Option<f64>,
    /// Commits seen since the first.
    pub(super) commits: u32,
    /// Estimated instant of the last commit, seconds.
    pub(super) committed_at: f64,
    /// The poll that first showed it.
    pub(super) seen_at: f64,
    /// Estimated capacity, messages/s; 0 while unknown.
    pub(super) capacity: f64,
    /// Lag at the last commit: likely.
    pub(super) likely_lag: f64,
    /// Lag at the last commit: certain.
    pub(super) certain_lag: f64,
    /// Backlog at the last commit: likely.
    pub(super) busy: bool,
    /// Backlog at the last commit: certain.
    pub(super) sure: bool,
    /// Slow mean of `busy`.
    pub(super) busy_mean: f64,
    /// The last interval fell short of capacity for the first time, or came out of turn: no verdict on it.
    pub(super) odd: bool,
    /// How far its commits are behind the work.
    pub(super) delay: CommitDelay,
    /// Its commits went back since the last assessment was asked for.
    pub(super) rewound: bool,
    owed: bool,
    short: bool,
    /// The last interval was overdue.
    late: bool,
    fresh: bool,
    window: VecDeque<(f64, f64)>,
}

/// One commit, as a poll saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommitSeen {
    /// The new first unread offset.
    pub(super) position: f64,
    /// End of the log, as it was when what this commit stands for was read.
    pub(super) end: f64,
    /// Time since the first unread record was written, seconds; `None` when it is not known.
    pub(super) age: Option<f64>,
    /// Production of this partition since the previous poll and over the averaging window, messages/s.
    pub(super) production: f64,
    pub(super) production_mean: f64,
    /// The commit is younger than this poll…
    pub(super) after: f64,
    /// …and not younger than this one.
    pub(super) commits_at: f64,
    /// When the end was read.
    pub(super) ends_at: f64,
    /// The fastest that the group must have read lately to be here, messages/s; 0 when nothing is known.
    pub(super) least: f64,
    /// For a part of the interval since the last commit nothing could be read.
    pub(super) blind: bool,
}

/// The interval that a commit ends.
struct Interval {
    committed_at: f64,
    gap: f64,
    messages: f64,
    slope: f64,
    overdue: bool,
}

impl PartitionTrack {
    /// A partition that was first looked at at `now`.
    pub(super) fn new(now: f64) -> Self {
        Self {
            position: None,
            commits: 0,
            committed_at: now,
            seen_at: now,
            capacity: 0.0,
            likely_lag: 0.0,
            certain_lag: 0.0,
            busy: false,
            sure: false,
            busy_mean: 1.0,
            odd: false,
            delay: CommitDelay::default(),
            rewound: false,
            owed: false,
            short: false,
            late: false,
            fresh: true,
            window: VecDeque::new(),
        }
    }

    /// Where the group stood when it was first looked at, or after a jump that no commit of its own explains.
    pub(super) fn begin(&mut self, at: f64, position: f64) {
        self.position = Some(position);
        self.committed_at = at;
        self.seen_at = at;
        self.window.clear();
    }

    /// Its log was made anew at `now`: nothing is left but how fast the group is.
    pub(super) fn forget(&mut self, now: f64) {
        *self = Self { capacity: self.capacity, busy_mean: self.busy_mean, ..Self::new(now) };
    }

    /// The log now begins at `start`: what was before it is gone, and nobody has read it.
    pub(super) fn skip_to(&mut self, start: f64) {
        if self.position.is_some_and(|position| position < start) {
            self.position = Some(start);
            self.window.clear();
            self.window.push_back((self.committed_at, start));
        }
    }

    /// A partition owes a commit if it had backlog just after its last one.
    pub(super) fn note_owed(&mut self, config: &EstimateConfig, commits_at: f64, end: f64) {
        let Some(position) = self.position else { return };
        self.owed |= end > position + 0.5 && commits_at - self.seen_at <= 1.6 * config.poll_seconds;
    }

    /// Slow mean of `busy`, one poll further; `gain` is [`busy_gain`].
    pub(super) fn age_busy(&mut self, gain: f64) {
        self.busy_mean += gain * (f64::from(u8::from(self.busy)) - self.busy_mean);
    }

    /// Takes a commit that moved the position.
    pub(super) fn commit(&mut self, config: &EstimateConfig, cadence: &mut Cadence, seen: CommitSeen) {
        let before = self.position.unwrap_or(seen.position);
        if seen.position < before {
            self.rewind(seen);
            return;
        }
        let mut interval = self.interval(config, cadence, &seen, before);
        if seen.blind {
            // The group may have had nothing to read, or nobody to commit to: only a lower bound, and no rhythm.
            interval.overdue = self.commits > 0;
            self.odd = true;
        } else {
            self.judge_cadence(config, cadence, &mut interval);
            self.judge_shortfall(config, cadence, &interval);
        }

        let reference = interval.slope.max(self.capacity);
        let busy = self.likely_lag > (busy_threshold(config, cadence) * reference).max(FEW_MESSAGES);
        let sure = busy && self.certain_lag > (CERTAIN_SECONDS * reference).max(FEW_MESSAGES);
        let capacity_before = self.capacity;
        let bound = interval.overdue || !(self.busy && busy);
        if bound {
            self.raise_bound(config, &interval, &seen, busy);
        } else {
            self.sample(config, &interval, &seen, sure);
        }
        if self.commits > 1 && capacity_before > 0.0 {
            // One odd reading (a restart commits three messages, a poll comes late) must not run away with it.
            let rise = if bound && !self.odd { config.capacity_bound_rise_max } else { config.capacity_rise_max };
            self.capacity = self.capacity.clamp(config.capacity_fall_max * capacity_before, rise * capacity_before);
        }
        self.busy = busy;
        self.sure = sure;
        if let Some(age) = seen.age.filter(|_| !seen.blind) {
            self.delay.observe(seen.commits_at, (age - (seen.commits_at - interval.committed_at)).max(0.0));
        }
        self.position = Some(seen.position);
        self.committed_at = interval.committed_at;
        self.seen_at = seen.commits_at;
        self.commits += 1;
        self.owed = false;
    }

    /// Offsets went back: capacity is kept, the backlog is real.
    fn rewind(&mut self, seen: CommitSeen) {
        self.position = Some(seen.position);
        self.committed_at = seen.commits_at;
        self.seen_at = seen.commits_at;
        self.fresh = true;
        self.busy = true;
        self.sure = true;
        self.owed = false;
        self.rewound = true;
        self.likely_lag = (seen.end - seen.position).max(0.0);
        self.certain_lag = self.likely_lag;
        self.window.clear();
        self.window.push_back((seen.commits_at, seen.position));
    }

    /// Dates the commit by the group's own clock and takes the lag at that instant.
    fn interval(&mut self, config: &EstimateConfig, cadence: &Cadence, seen: &CommitSeen, before: f64) -> Interval {
        let gap = (seen.commits_at - self.seen_at).max(0.25 * config.poll_seconds);
        let committed_at = match cadence.seconds() {
            Some(period) if self.commits > 0 => {
                let expected = self.committed_at + period * (gap / period).round_ties_even().max(1.0);
                expected.max(seen.after).min(seen.commits_at)
            }
            _ => seen.commits_at,
        };
        let messages = seen.position - before;
        let before_first_look = if self.commits == 0 { config.first_look_polls * config.poll_seconds } else { 0.0 };
        let slope = messages
            / (committed_at - self.committed_at + before_first_look).max(0.25 * config.poll_seconds).max(SHORT_SECONDS);
        self.likely_lag = (seen.end - seen.production * (seen.ends_at - committed_at) - seen.position).max(0.0);
        self.certain_lag = (seen.end - seen.production * (seen.ends_at - seen.after) - seen.position).max(0.0);
        let overdue = self.commits > 0 && gap > cadence.overdue_after(config);
        Interval { committed_at, gap, messages, slope, overdue }
    }

    /// A late commit that brings all the work of its gap, or leaves no backlog, was a slower cadence, not an outage. So was
    /// the second of two: what was taken for capacity may be wrong.
    fn judge_cadence(&mut self, config: &EstimateConfig, cadence: &mut Cadence, interval: &mut Interval) {
        let reference = interval.slope.max(self.capacity);
        let again = std::mem::replace(&mut self.late, interval.overdue) && config.learns_from_two_late;
        let kept_up = again
            || interval.messages >= SHORTFALL * self.capacity * interval.gap
            || self.likely_lag <= busy_threshold(config, cadence) * reference;
        if interval.overdue && self.capacity > 0.0 && kept_up {
            interval.overdue = false;
            if self.owed {
                cadence.push_slower(interval.gap);
            }
        } else if self.commits > 0 && !interval.overdue && self.owed {
            cadence.push(interval.gap);
        }
    }

    /// A first shortfall may be a pause or a rebalance; a second one is real. A commit out of turn (on revoke) says nothing.
    fn judge_shortfall(&mut self, config: &EstimateConfig, cadence: &Cadence, interval: &Interval) {
        if cadence.seconds().is_some_and(|period| interval.gap < 0.6 * period) {
            self.odd = true;
            return;
        }
        let late = cadence.seconds().is_some_and(|period| interval.gap > 1.4 * period + config.poll_seconds);
        let short = interval.slope < SHORTFALL * self.capacity || late;
        self.odd = short && !self.short;
        self.short = short;
    }

    /// The partition was idle at one end of the interval: what it took is only a lower bound of what it can take.
    ///
    /// One message less a poll: without that the maximum over whole messages is biased upwards.
    fn raise_bound(&mut self, config: &EstimateConfig, interval: &Interval, seen: &CommitSeen, busy: bool) {
        self.window.clear();
        self.window.push_back((interval.committed_at, seen.position));
        let one_message = 1.0 / (interval.committed_at - self.committed_at).max(0.25 * config.poll_seconds);
        if self.commits == 0 {
            self.capacity = self.capacity.max(interval.slope);
        } else {
            let keeps_pace = if interval.overdue || busy { 0.0 } else { seen.production_mean - 2.0 * one_message };
            let least = if interval.overdue || interval.gap < config.long_interval_seconds {
                0.0
            } else {
                seen.least - one_message
            };
            self.capacity = self.capacity.max(interval.slope - one_message).max(keeps_pace).max(least);
        }
        self.fresh |= interval.overdue;
    }

    /// The partition was busy at both ends: the slope over the shortest run of busy commits ≥ 4 s is its capacity.
    fn sample(&mut self, config: &EstimateConfig, interval: &Interval, seen: &CommitSeen, sure: bool) {
        let shortest = config.capacity_window_seconds;
        self.window.push_back((interval.committed_at, seen.position));
        while self.window.len() > 2 && interval.committed_at - self.window[1].0 >= shortest {
            self.window.pop_front();
        }
        let (from, position) = self.window[0];
        let span = (interval.committed_at - from).max(0.25 * config.poll_seconds).max(SHORT_SECONDS);
        let messages = seen.position - position;
        let slope = messages / span;
        let full = span >= 0.6 * shortest;
        let certain = self.sure && sure;
        if (self.fresh && (certain || slope > self.capacity)) || self.capacity <= 0.0 {
            self.capacity = slope;
            self.fresh = !full;
            return;
        }
        let innovation = slope / self.capacity - 1.0;
        let step = full && innovation.abs() > config.capacity_step + 2.0 / messages.max(1.0);
        let gain = if innovation < 0.0 && !certain {
            0.0
        } else if step {
            1.0
        } else {
            config.capacity_gain * ((interval.committed_at - self.committed_at) / shortest).min(1.0)
        };
        self.capacity *= 1.0 + gain * innovation;
    }
}

/// Backlog at a commit counts as busy above this many seconds of work.
pub(super) fn busy_threshold(config: &EstimateConfig, cadence: &Cadence) -> f64 {
    config.busy_seconds + config.busy_share * config.poll_seconds.min(cadence.or_default())
}

/// Weight of one poll in the slow mean of `busy`, 0 to 1.
pub(super) fn busy_gain(config: &EstimateConfig) -> f64 {
    1.0 - (-config.poll_seconds / config.bottleneck_memory_seconds).exp()
}

/// Fewer messages than this are noise whatever the rate (measured at 5–10 messages/s).
pub(super) const FEW_MESSAGES: f64 = 1.5;
/// Backlog counts as certain above this many seconds of work.
const CERTAIN_SECONDS: f64 = 0.1;
/// Below this share of capacity an interval fell short.
const SHORTFALL: f64 = 0.7;
/// Keeps slopes finite.
const SHORT_SECONDS: f64 = 1e-3;
