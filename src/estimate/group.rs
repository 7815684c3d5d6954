//! One consumer group over all partitions of a valve.

use super::capacity::{CommitSeen, PartitionTrack, busy_gain};
use super::commit_delay::{DelayProof, Seen};
use super::ends::EndsHistory;
use super::{Cadence, EstimateConfig, Sample};

/// What one poll brought for a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupUpdate {
    /// At least one commit moved, or appeared.
    pub new_commit: bool,
    /// A commit went back.
    pub rewound: bool,
}

/// Estimator of one group: cadence, capacity and position of every partition.
#[derive(Clone, Debug)]
pub struct GroupEstimator {
    pub(super) config: EstimateConfig,
    pub(super) cadence: Cadence,
    pub(super) partitions: Vec<PartitionTrack>,
    ends: EndsHistory,
    /// Mean production a partition at the poll before, messages/s.
    production_before: Vec<f64>,
    delay_proof: DelayProof,
    last_read_at: Option<f64>,
    last_commit_seen_at: Option<f64>,
    /// The poll that ended the last time in which nothing could be read.
    pub(super) blind_until: f64,
    /// The group has no members: nothing is read past its commits.
    pub(super) deserted: bool,
}

impl GroupEstimator {
    /// Nothing known yet.
    #[must_use]
    pub fn new(config: EstimateConfig) -> Self {
        Self {
            config,
            cadence: Cadence::new(0),
            partitions: Vec::new(),
            ends: EndsHistory::new(),
            production_before: Vec::new(),
            delay_proof: DelayProof::default(),
            last_read_at: None,
            last_commit_seen_at: None,
            blind_until: f64::NEG_INFINITY,
            deserted: false,
        }
    }

    /// Takes one poll. Partitions may be added at the end; their order never changes.
    pub fn update(&mut self, sample: &Sample<'_>) -> GroupUpdate {
        let first_poll = self.last_read_at.is_none();
        let after = self.last_read_at.map_or(sample.commits_at, |last| last.min(sample.commits_at));
        self.last_read_at = Some(sample.commits_at);
        if sample.commits_at - after > self.config.blind_polls * self.config.poll_seconds {
            self.blind_until = sample.commits_at;
        }
        if self.partitions.len() < sample.ends.len() {
            self.partitions.resize_with(sample.ends.len(), || PartitionTrack::new(sample.commits_at));
            self.cadence.resize(self.partitions.len());
        }
        if first_poll {
            self.last_commit_seen_at = Some(sample.commits_at);
        }
        self.ends.push(sample.ends_at, sample.ends);
        let mut update = GroupUpdate::default();
        for index in 0..self.partitions.len() {
            self.update_partition(index, sample, after, first_poll, &mut update);
        }
        if update.new_commit {
            self.last_commit_seen_at = Some(sample.commits_at);
            self.cadence.settle();
            self.look_for_delay(sample, update.rewound);
        }
        self.production_before.clear();
        self.production_before.extend_from_slice(sample.production_mean);
        if first_poll {
            return update;
        }
        let gain = busy_gain(&self.config);
        for (track, end) in self.partitions.iter_mut().zip(sample.ends) {
            track.age_busy(gain);
            if let Some(end) = end {
                track.note_owed(&self.config, sample.commits_at, *end);
            }
        }
        update
    }

    /// The log of a partition was made anew at `now`, seconds: offsets that were known of it mean nothing any more. What
    /// the group can take is kept.
    pub fn forget(&mut self, partition: usize, now: f64) {
        if let Some(track) = self.partitions.get_mut(partition) {
            track.forget(now);
            self.ends.forget(partition);
            self.delay_proof.interrupt();
        }
        if let Some(production) = self.production_before.get_mut(partition) {
            *production = 0.0;
        }
    }

    /// The log of a partition now begins at `start`: what retention deleted is no work of the group, and no sign of life.
    pub fn skip_to(&mut self, partition: usize, start: f64) {
        if let Some(track) = self.partitions.get_mut(partition) {
            track.skip_to(start);
        }
    }

    /// What one partition could take, messages/s; 0 while unknown.
    #[must_use]
    pub fn capacity_of(&self, partition: usize) -> f64 {
        self.partitions.get(partition).map_or(0.0, |track| track.capacity)
    }

    /// What all partitions together could take, messages/s; 0 while unknown.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        self.partitions.iter().map(|track| track.capacity).sum()
    }

    /// What was written to a partition up to its commit, messages/s: a surge after it proves nothing.
    fn pace(&self, partition: usize, sample: &Sample<'_>) -> f64 {
        let now = sample.production_mean.get(partition).copied().unwrap_or(0.0);
        let before = self.production_before.get(partition).copied();
        if self.config.pace_before_commit { before.map_or(now, |before| before.min(now)) } else { now }
    }

    /// The fastest that a group must have read lately to have committed `position` by `at`, messages/s; 0 when nothing is
    /// known.
    ///
    /// At each earlier reading it stood at the log end at most: capacity ≥ (position − end) ÷ (time since), whatever it
    /// did in between. Over a long interval in which production grew this says more than the mean of the interval.
    fn least_speed(&self, partition: usize, position: f64, at: f64) -> f64 {
        let shortest = self.config.capacity_window_seconds.max(LEAST_POLLS * self.config.poll_seconds);
        let since = self.ends.of(partition).take_while(|(read_at, _)| at - read_at >= shortest);
        since
            .map(|(read_at, end)| (position - end) / (at - read_at))
            .filter(|speed| speed.is_finite())
            .fold(0.0, f64::max)
    }

    /// Whether commits are behind the work, by what the whole group shows.
    fn look_for_delay(&mut self, sample: &Sample<'_>, rewound: bool) {
        if rewound || self.blind_until >= sample.commits_at {
            self.delay_proof.interrupt();
            return;
        }
        let cadence = self.cadence.or_default();
        if !self.delay_proof.is_due(cadence, sample.commits_at) {
            return;
        }
        let known = |index: &usize| self.partitions[*index].position.is_some() && sample.ends[*index].is_some();
        let known: Vec<usize> = (0..self.partitions.len()).filter(known).collect();
        let position = known.iter().filter_map(|index| self.partitions[*index].position).sum();
        let end = known.iter().filter_map(|index| sample.ends[*index]).sum();
        let ends = self.ends.total(&known);
        let Some(age) = age(position, sample.commits_at, ends.into_iter().rev()) else { return };
        let seen = Seen { at: sample.commits_at, position, end, age };
        if let Some(since) = self.delay_proof.observe(&self.config, cadence, seen) {
            for track in &mut self.partitions {
                track.delay.prove(self.config.poll_seconds, since);
            }
        }
    }

    /// End of the log `delay` seconds before the last reading, and production then, messages/s.
    fn log_at(&self, partition: usize, sample: &Sample<'_>, end: f64, delay: f64) -> (f64, f64) {
        let production = sample.production.get(partition).copied().unwrap_or(0.0);
        if delay <= 0.0 {
            return (end, production);
        }
        let at = sample.ends_at - delay;
        let mut later = (sample.ends_at, end);
        for (read_at, here) in self.ends.of(partition).rev().skip(1) {
            if here.is_nan() {
                break;
            }
            let slope = (later.1 - here) / (later.0 - read_at).max(1e-3);
            if read_at <= at {
                return (here + slope * (at - read_at), slope);
            }
            later = (read_at, here);
        }
        (later.1, production)
    }

    fn update_partition(
        &mut self,
        index: usize,
        sample: &Sample<'_>,
        after: f64,
        first_poll: bool,
        update: &mut GroupUpdate,
    ) {
        let (Some(position), Some(end)) = (sample.committed[index], sample.ends[index]) else { return };
        let track = &mut self.partitions[index];
        let Some(before) = track.position else {
            track.begin(sample.commits_at, position);
            update.new_commit |= !first_poll;
            return;
        };
        if position == before {
            return;
        }
        let (delay, blind) = (track.delay.seconds(), track.seen_at < self.blind_until);
        let (end_then, production) = self.log_at(index, sample, end, delay);
        let seen = CommitSeen {
            position,
            end: end_then,
            age: age(position, sample.commits_at, self.ends.of(index).rev()),
            production,
            production_mean: if delay > 0.0 { production } else { self.pace(index, sample) },
            after,
            commits_at: sample.commits_at,
            ends_at: sample.ends_at,
            least: self.least_speed(index, position, sample.commits_at - delay),
            blind,
        };
        self.partitions[index].commit(&self.config, &mut self.cadence, seen);
        update.new_commit = true;
        update.rewound |= position < before;
    }

    /// The group's rhythm.
    #[must_use]
    pub const fn cadence(&self) -> &Cadence {
        &self.cadence
    }

    /// The constants in force.
    #[must_use]
    pub const fn config(&self) -> &EstimateConfig {
        &self.config
    }

    /// Polls come at another interval from now on, seconds.
    pub fn set_poll_seconds(&mut self, seconds: f64) {
        self.config.poll_seconds = seconds;
    }

    /// Whether the group has no members: what it has not committed is then unread, or will be read again.
    pub fn set_deserted(&mut self, deserted: bool) {
        self.deserted = deserted;
    }

    /// When a poll last showed a commit, or when watching began; `None` before the first poll.
    #[must_use]
    pub const fn last_commit_seen_at(&self) -> Option<f64> {
        self.last_commit_seen_at
    }

    /// Estimated instant of the newest commit, seconds; `None` before a commit moved.
    #[must_use]
    pub fn last_commit_at(&self) -> Option<f64> {
        self.partitions.iter().filter(|track| track.commits > 0).map(|track| track.committed_at).reduce(f64::max)
    }

    /// Whether no partition ever had a commit.
    #[must_use]
    pub fn never_committed(&self) -> bool {
        self.partitions.iter().all(|track| track.position.is_none())
    }

    /// Partitions with a commit, and all.
    #[must_use]
    pub fn coverage(&self) -> (usize, usize) {
        (self.partitions.iter().filter(|track| track.position.is_some()).count(), self.partitions.len())
    }

    /// First unread offset a partition; `None` without a commit.
    pub fn positions(&self) -> impl Iterator<Item = Option<f64>> + '_ {
        self.partitions.iter().map(|track| track.position)
    }

    /// The poll that ended the last time in which nothing could be read, seconds; minus infinity if there was none.
    #[must_use]
    pub const fn blind_until(&self) -> f64 {
        self.blind_until
    }

    /// Whether commits are overdue at `now`: silence counts from where it could be heard, and a group without members
    /// cannot commit at all.
    #[must_use]
    pub fn overdue(&self, now: f64) -> bool {
        let heard = self.last_commit_seen_at.map(|seen| seen.max(self.blind_until));
        self.deserted || heard.is_some_and(|heard| now - heard > self.cadence.overdue_after(&self.config))
    }
}

/// Time since the record at `position` was written, at `at`, seconds, by `ends`, newest first; `None` where it is not there
/// yet, or older than what is remembered.
fn age(position: f64, at: f64, ends: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let mut later: Option<(f64, f64)> = None;
    for (read_at, here) in ends {
        if here.is_nan() {
            return None;
        }
        if here <= position {
            let (after, above) = later?;
            let written = read_at + (after - read_at) * (position - here) / (above - here);
            return Some((at - written).max(0.0));
        }
        later = Some((read_at, here));
    }
    None
}

/// Shortest time over which the least speed is taken, polls: the commit may be one poll older than it looks.
const LEAST_POLLS: f64 = 3.0;
