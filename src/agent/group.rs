//! One protected group of one valve: its estimate, its decision, its verdict. Pure.

use super::record::{Advice, Cause, GroupRecord, GroupVerdict, PartitionRecord, Quality};
use super::settings::{ProtectedGroup, ValveSettings};
use crate::control::{BoundBy, ControlConfig, GroupDecision, GroupGovernor, GroupInput, SignalLossPolicy, StartPolicy};
use crate::estimate::{Assessment, EstimateConfig, GroupEstimator, GroupUpdate, Production, Sample};
use crate::id::TopicPartition;
use crate::lag::{GroupCommits, GroupDescription, GroupState, PartitionOffsets, ReadError, ReadFault};
use crate::units::RateLimit;

/// The log of a valve's topics, dense over its partitions, as the newest poll left it.
#[derive(Clone, Debug, Default)]
pub(super) struct LogView {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) starts: Vec<Option<i64>>,
    pub(super) high_watermarks: Vec<Option<i64>>,
    pub(super) last_stable: Vec<Option<i64>>,
    /// When the ends were read, seconds.
    pub(super) ends_at: f64,
    /// Partitions whose end could be read in the newest poll.
    pub(super) fresh: usize,
}

/// What a tick tells every group. Times in seconds, rates in messages/s.
#[derive(Clone, Copy, Debug)]
pub(super) struct TickContext<'a> {
    pub(super) now: f64,
    pub(super) step_seconds: f64,
    pub(super) production: &'a Production,
    pub(super) in_force: f64,
    pub(super) min_rate: f64,
}

/// One protected group.
#[derive(Debug)]
pub(super) struct GroupTrack {
    settings: ProtectedGroup,
    initial_rate: Option<f64>,
    signal_grace_seconds: f64,
    signal_loss: SignalLossPolicy,
    estimator: GroupEstimator,
    governor: GroupGovernor,
    committed: Vec<Option<i64>>,
    commits_at: f64,
    usable_polls: u32,
    began_uncommitted: bool,
    consumed_while_watching: f64,
    watching_since: f64,
    last_usable_at: Option<f64>,
    waiting_since: Option<f64>,
    rewound_at: Option<f64>,
    assessment: Option<Assessment>,
    description: Option<Result<GroupDescription, ReadError>>,
    had_members: bool,
    problem: Option<String>,
    decision: GroupDecision,
    /// This group's decision was the smallest at the previous tick.
    pub(super) rules: bool,
}

impl GroupTrack {
    pub(super) fn new(
        valve: &ValveSettings,
        settings: ProtectedGroup,
        estimate: EstimateConfig,
        config: ControlConfig,
        signal_loss: SignalLossPolicy,
    ) -> Self {
        let initial_rate = valve.initial_rate.map(crate::units::MessagesPerSecond::get);
        let start = match (valve.start, initial_rate) {
            (super::Start::Slow, rate) => StartPolicy::Slow(rate),
            (super::Start::Open, Some(rate)) => StartPolicy::Hinted(rate),
            (super::Start::Open, None) => StartPolicy::Open,
        };
        let (rate, bound_by) = match start {
            StartPolicy::Open => (f64::INFINITY, BoundBy::Unlimited),
            StartPolicy::Hinted(rate) | StartPolicy::Slow(Some(rate)) => (rate, BoundBy::Learning),
            StartPolicy::Slow(None) => (config.first_rate, BoundBy::Learning),
        };
        Self {
            initial_rate,
            signal_grace_seconds: valve.signal_grace.as_secs_f64(),
            signal_loss,
            estimator: GroupEstimator::new(estimate),
            governor: GroupGovernor::new(config, start, valve.law, valve.pid),
            committed: Vec::new(),
            commits_at: 0.0,
            usable_polls: 0,
            began_uncommitted: false,
            consumed_while_watching: 0.0,
            watching_since: 0.0,
            last_usable_at: None,
            waiting_since: None,
            rewound_at: None,
            assessment: None,
            description: None,
            had_members: false,
            problem: None,
            decision: GroupDecision {
                rate,
                bound_by,
                terms: None,
                set_point_seconds: settings.target_lag.as_secs_f64(),
            },
            rules: false,
            settings,
        }
    }

    pub(super) const fn settings(&self) -> &ProtectedGroup {
        &self.settings
    }

    pub(super) const fn decision(&self) -> &GroupDecision {
        &self.decision
    }

    pub(super) const fn assessment(&self) -> Option<&Assessment> {
        self.assessment.as_ref()
    }

    pub(super) const fn last_usable_at(&self) -> Option<f64> {
        self.last_usable_at
    }

    /// A group that had members has none. One that never had any assigns its partitions by hand: its state says nothing.
    fn is_deserted(&self) -> bool {
        let gone = |state| matches!(state, GroupState::Empty | GroupState::Dead | GroupState::Missing);
        self.had_members && self.coordinator_state().is_some_and(gone)
    }

    pub(super) fn members(&self) -> Option<usize> {
        self.description.as_ref().and_then(|seen| seen.as_ref().ok()).map(|seen| seen.members)
    }

    pub(super) fn describe(&mut self, description: &Result<GroupDescription, ReadError>) {
        self.had_members |= description.as_ref().is_ok_and(|seen| seen.members > 0);
        self.description = Some(description.clone());
    }

    /// The rate for a start of which nothing is proven: the operator's, else what the group was seen to consume while
    /// it was watched (a lower bound: never over less than one commit interval), else 100/s.
    pub(super) fn first_rate(&self) -> f64 {
        let default = self.governor.config().first_rate;
        self.initial_rate.unwrap_or_else(|| {
            let elapsed = (self.commits_at - self.watching_since).max(self.estimator.cadence().or_default());
            default.max(self.consumed_while_watching / elapsed)
        })
    }

    /// Takes what the newest poll read of this group and decides anew; holds where nothing usable was read.
    pub(super) fn tick(&mut self, context: &TickContext<'_>, log: &LogView, commits: Option<&GroupCommits>) {
        let update = commits.and_then(|commits| self.observe(context, log, commits));
        match update {
            Some(update) => {
                let ends = self.ends_now(context, log);
                self.estimator.set_deserted(self.is_deserted());
                self.assessment = self.estimator.assess(context.now, &ends, context.production.share());
                self.decide(context, update);
            }
            // The assessment is held too: nobody knows whether anything was written or read meanwhile.
            None => self.hold(context),
        }
    }

    /// The end this group reads to.
    fn ends<'a>(&self, log: &'a LogView) -> &'a [Option<i64>] {
        match self.settings.isolation {
            crate::lag::Isolation::ReadUncommitted => &log.high_watermarks,
            crate::lag::Isolation::ReadCommitted => &log.last_stable,
        }
    }

    fn ends_now(&self, context: &TickContext<'_>, log: &LogView) -> Vec<Option<f64>> {
        let ahead = (context.now - log.ends_at).max(0.0);
        let growth = context.production.per_partition();
        let grown = |index: usize| growth.get(index).copied().unwrap_or(0.0) * ahead;
        self.ends(log).iter().enumerate().map(|(index, end)| end.map(|end| end as f64 + grown(index))).collect()
    }

    /// `None` when the poll brought nothing usable for this group.
    fn observe(&mut self, context: &TickContext<'_>, log: &LogView, seen: &GroupCommits) -> Option<GroupUpdate> {
        let commits = match &seen.commits {
            Ok(commits) => commits,
            Err(error) => {
                self.problem = Some(error.to_string());
                if error.fault != ReadFault::GroupMissing {
                    return None;
                }
                &std::collections::HashMap::new()
            }
        };
        if log.fresh == 0 {
            return None;
        }
        if seen.commits.is_ok() {
            self.problem = None;
        }
        self.commits_at = seen.read_at.as_seconds();
        self.committed.resize(log.partitions.len(), None);
        for (known, partition) in self.committed.iter_mut().zip(&log.partitions) {
            *known = commits.get(partition).copied().or(*known);
        }
        let committed: Vec<Option<f64>> = self
            .committed
            .iter()
            .zip(&log.starts)
            .map(|(committed, start)| committed.map(|at| at.max(start.unwrap_or(at)) as f64))
            .collect();
        let ends: Vec<Option<f64>> = self.ends(log).iter().map(|end| end.map(|end| end as f64)).collect();
        let mean = context.production.mean().unwrap_or(0.0);
        let expected: Vec<f64> = context.production.share().iter().map(|share| mean * share).collect();
        let before = self.consumed();
        let update = self.estimator.update(&Sample {
            commits_at: self.commits_at,
            ends_at: log.ends_at,
            committed: &committed,
            ends: &ends,
            production: context.production.per_partition(),
            production_mean: &expected,
        });
        self.count(context, before, update);
        Some(update)
    }

    fn consumed(&self) -> f64 {
        self.estimator.positions().flatten().sum()
    }

    fn count(&mut self, context: &TickContext<'_>, before: f64, update: GroupUpdate) {
        if self.usable_polls == 0 {
            self.watching_since = self.commits_at;
            self.began_uncommitted = self.estimator.never_committed();
        } else if self.usable_polls < WATCHED_POLLS {
            self.consumed_while_watching += (self.consumed() - before).max(0.0);
        }
        self.usable_polls = self.usable_polls.saturating_add(1);
        self.last_usable_at = Some(context.now);
        if update.rewound {
            self.rewound_at = Some(context.now);
        }
    }

    fn decide(&mut self, context: &TickContext<'_>, update: GroupUpdate) {
        let cadence = self.estimator.cadence();
        let input = GroupInput {
            now: context.now,
            step_seconds: context.step_seconds,
            assessment: self.assessment.as_ref(),
            never_committed: self.began_uncommitted && self.assessment.is_none(),
            watched: self.usable_polls >= WATCHED_POLLS,
            new_commit_at: update.new_commit.then(|| self.estimator.last_commit_at().unwrap_or(f64::NEG_INFINITY)),
            overdue: self.estimator.overdue(context.now),
            deserted: self.is_deserted(),
            blind_until: self.estimator.blind_until(),
            cadence_seconds: cadence.seconds(),
            credit_seconds: cadence.credit_seconds(self.estimator.config()),
            production: context.production.mean().unwrap_or(0.0),
            in_force: context.in_force,
            first_rate: self.first_rate(),
            rules: self.rules,
        };
        self.decision = self.governor.step(&input);
        self.decision.bound_by = self.name_the_cause(self.decision.bound_by);
        if let (Some(limit), Some(seen)) = (self.settings.max_lag, &self.assessment)
            && seen.drain_seconds > limit.as_secs_f64()
        {
            self.decision.rate = self.decision.rate.min(context.min_rate);
            self.decision.bound_by = BoundBy::MaxLag;
        }
    }

    /// Nothing usable was read: the last decision stands through the grace period, then the policy.
    fn hold(&mut self, context: &TickContext<'_>) {
        let since = *self.waiting_since.get_or_insert(context.now);
        let silence = context.now - self.last_usable_at.unwrap_or(since);
        let config = self.estimator.config();
        if silence > config.blind_polls * config.poll_seconds
            && let Some(rate) = self.governor.step_back(context.now)
        {
            self.decision.rate = self.decision.rate.min(rate);
        }
        if silence <= self.signal_grace_seconds || self.decision.bound_by == BoundBy::SignalLost {
            return;
        }
        let capacity = self.assessment.as_ref().map(|seen| seen.capacity_total);
        self.decision.rate = self.signal_loss.rate(self.decision.rate, capacity, self.first_rate(), context.min_rate);
        self.decision.bound_by = BoundBy::SignalLost;
        self.decision.terms = None;
    }

    /// A stall has a better name where the coordinator knows one.
    fn name_the_cause(&self, bound_by: BoundBy) -> BoundBy {
        match (bound_by, self.coordinator_state()) {
            (BoundBy::GroupStalled, Some(GroupState::Empty)) => BoundBy::GroupEmpty,
            (BoundBy::GroupStalled, Some(GroupState::Rebalancing)) => BoundBy::Rebalancing,
            (BoundBy::NeverCommitted | BoundBy::Learning, Some(GroupState::Missing | GroupState::Dead)) => {
                BoundBy::GroupMissing
            }
            (bound_by, _) => bound_by,
        }
    }

    fn coordinator_state(&self) -> Option<GroupState> {
        self.description.as_ref().and_then(|seen| seen.as_ref().ok()).map(|seen| seen.state)
    }

    pub(super) fn cause(&self) -> Cause {
        Cause {
            group: Some(self.settings.group.clone()),
            bound_by: self.decision.bound_by,
            rate: RateLimit::from_f64(self.decision.rate).unwrap_or(RateLimit::Unlimited),
        }
    }

    pub(super) fn advice(&self, partitions: usize) -> Option<Advice> {
        let seen = self.assessment.as_ref()?;
        if !seen.excluded.is_empty() {
            return Some(Advice::FixPartition);
        }
        if !self.governor.is_acting() || self.decision.bound_by == BoundBy::Demand {
            return None;
        }
        Some(match self.members() {
            Some(members) if members > 0 && members < partitions => Advice::ScaleConsumers,
            Some(members) if members >= partitions => Advice::AddPartitions,
            _ => Advice::SlowProducer,
        })
    }

    pub(super) fn record(&self, context: &TickContext<'_>, log: &LogView) -> GroupRecord {
        let (measured, lag) = self.committed_lag(log);
        let seen = self.assessment.as_ref();
        let described = self.description.as_ref().and_then(|seen| seen.as_ref().err());
        let all = log.partitions.len();
        GroupRecord {
            group: self.settings.group.clone(),
            state: self.verdict(context),
            quality: self.quality(context, log),
            coverage: if all == 0 { 0.0 } else { measured as f64 / all as f64 },
            cadence_seconds: self.estimator.cadence().seconds(),
            lag_messages: seen.map(|seen| seen.lag_messages),
            committed_lag: (measured > 0).then_some(lag),
            drain_seconds: seen.map(|seen| seen.drain_seconds),
            capacity: seen.map(|seen| seen.capacity_total),
            set_point_seconds: self.decision.set_point_seconds,
            members: self.members(),
            excluded_partitions: seen.map_or_else(Vec::new, |seen| {
                seen.excluded.iter().map(|index| log.partitions[*index].to_string()).collect()
            }),
            problem: self.problem.clone().or_else(|| described.map(ToString::to_string)),
            partitions: self.partition_records(log),
        }
    }

    fn committed_lag(&self, log: &LogView) -> (usize, i64) {
        let ends = self.ends(log);
        let lags = (0..log.partitions.len()).filter_map(|index| {
            let offsets = PartitionOffsets {
                committed: self.committed.get(index).copied().flatten(),
                log_start: log.starts[index],
                end: ends[index],
            };
            offsets.lag().ok()
        });
        lags.fold((0, 0), |(count, sum), lag| (count + 1, sum + lag.messages))
    }

    fn partition_records(&self, log: &LogView) -> Vec<PartitionRecord> {
        let ends = self.ends(log);
        let record = |(index, partition): (usize, &TopicPartition)| {
            PartitionRecord(
                partition.topic.clone(),
                partition.partition,
                self.committed.get(index).copied().flatten(),
                (self.commits_at * 1e3) as u64,
                ends[index],
                (log.ends_at * 1e3) as u64,
                log.starts[index],
            )
        };
        log.partitions.iter().enumerate().map(record).collect()
    }

    fn quality(&self, context: &TickContext<'_>, log: &LogView) -> Quality {
        match self.last_usable_at {
            None => Quality::Unknown,
            Some(at) if at < context.now => Quality::Held,
            Some(_) if log.fresh < log.partitions.len() => Quality::Degraded,
            Some(_) => Quality::Fresh,
        }
    }

    fn verdict(&self, context: &TickContext<'_>) -> GroupVerdict {
        let state = self.coordinator_state();
        if self.last_usable_at.is_none() {
            return GroupVerdict::Unmeasured;
        }
        if self.estimator.never_committed() {
            return match state {
                Some(GroupState::Missing | GroupState::Dead) => GroupVerdict::Dead,
                _ => GroupVerdict::NeverCommitted,
            };
        }
        let Some(seen) = &self.assessment else { return GroupVerdict::Unmeasured };
        if self.last_usable_at.is_some_and(|at| self.estimator.overdue(at))
            && seen.drain_seconds > self.decision.set_point_seconds
        {
            return match state {
                Some(GroupState::Empty) => GroupVerdict::Empty,
                Some(GroupState::Missing | GroupState::Dead) => GroupVerdict::Dead,
                Some(GroupState::Rebalancing) => GroupVerdict::Rebalancing,
                _ => GroupVerdict::Stalled,
            };
        }
        if self.rewound_at.is_some_and(|at| context.now - at < REWOUND_SECONDS) {
            return GroupVerdict::Rewound;
        }
        if state == Some(GroupState::Rebalancing) {
            return GroupVerdict::Rebalancing;
        }
        if seen.drain_seconds <= BEHIND_FACTOR * self.decision.set_point_seconds {
            return GroupVerdict::Steady;
        }
        let inflow = context.production.mean().unwrap_or(0.0);
        if inflow > seen.feed_forward() { GroupVerdict::FallingBehind } else { GroupVerdict::CatchingUp }
    }
}

/// A batch writer watches the group for two polls before it starts (`docs/control.md`, slow start).
const WATCHED_POLLS: u32 = 2;
/// A rewind is named for so long, seconds (wording only).
const REWOUND_SECONDS: f64 = 10.0;
/// Drain time above so many set-points is called behind (wording only).
const BEHIND_FACTOR: f64 = 1.5;
