//! One protected group of one valve: its estimate and its decision. Pure.

mod measure;
mod report;
mod verdict;

use super::log_view::LogView;
use super::settings::{ProtectedGroup, ValveSettings};
use crate::control::{BoundBy, ControlConfig, GroupDecision, GroupGovernor, GroupInput, SignalLossPolicy, StartPolicy};
use crate::estimate::{Age, Assessment, EstimateConfig, GroupEstimator, GroupUpdate, Production, Runway, Sample};
use crate::lag::{GroupCommits, GroupDescription, GroupState, PartitionLag, ReadError, ReadFault};

/// What a tick tells every group. Times in seconds, rates in messages/s.
#[derive(Clone, Copy, Debug)]
pub(in crate::agent) struct TickContext<'a> {
    pub(in crate::agent) now: f64,
    pub(in crate::agent) step_seconds: f64,
    pub(in crate::agent) production: &'a Production,
    pub(in crate::agent) in_force: f64,
    pub(in crate::agent) min_rate: f64,
}

/// One protected group.
#[derive(Debug)]
pub(in crate::agent) struct GroupTrack {
    settings: ProtectedGroup,
    initial_rate: Option<f64>,
    /// What it could take in a run long ago, messages/s.
    expected: Option<f64>,
    signal_grace_seconds: f64,
    signal_loss: SignalLossPolicy,
    estimator: GroupEstimator,
    governor: GroupGovernor,
    committed: Vec<Option<i64>>,
    /// Polls in a row in which the commit was beyond the end of the log, by place.
    beyond: Vec<u32>,
    commits_at: f64,
    usable_polls: u32,
    began_uncommitted: bool,
    consumed_while_watching: f64,
    watching_since: f64,
    last_usable_at: Option<f64>,
    waiting_since: Option<f64>,
    rewound_at: Option<f64>,
    assessment: Option<Assessment>,
    /// The lag of each partition that has one, by place.
    lags: Vec<(usize, PartitionLag)>,
    /// Age of the oldest record of each topic that is not committed, by the topic's place in the log.
    ages: Vec<Option<Age>>,
    runway: Runway,
    description: Option<Result<GroupDescription, ReadError>>,
    had_members: bool,
    problem: Option<String>,
    decision: GroupDecision,
    /// This group's decision was the smallest at the previous tick.
    pub(in crate::agent) rules: bool,
}

impl GroupTrack {
    pub(in crate::agent) fn new(
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
            expected: None,
            signal_grace_seconds: valve.signal_grace.as_secs_f64(),
            signal_loss,
            estimator: GroupEstimator::new(estimate),
            governor: GroupGovernor::new(config, start, valve.law, valve.pid),
            committed: Vec::new(),
            beyond: Vec::new(),
            commits_at: 0.0,
            usable_polls: 0,
            began_uncommitted: false,
            consumed_while_watching: 0.0,
            watching_since: 0.0,
            last_usable_at: None,
            waiting_since: None,
            rewound_at: None,
            assessment: None,
            lags: Vec::new(),
            ages: Vec::new(),
            runway: Runway::default(),
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

    pub(in crate::agent) const fn settings(&self) -> &ProtectedGroup {
        &self.settings
    }

    pub(in crate::agent) const fn decision(&self) -> &GroupDecision {
        &self.decision
    }

    pub(in crate::agent) const fn assessment(&self) -> Option<&Assessment> {
        self.assessment.as_ref()
    }

    pub(in crate::agent) const fn last_usable_at(&self) -> Option<f64> {
        self.last_usable_at
    }

    /// A group that had members has none. One that never had any assigns its partitions by hand: its state says nothing.
    fn is_deserted(&self) -> bool {
        let gone = |state| matches!(state, GroupState::Empty | GroupState::Dead | GroupState::Missing);
        self.had_members && self.coordinator_state().is_some_and(gone)
    }

    pub(in crate::agent) fn members(&self) -> Option<usize> {
        self.description.as_ref().and_then(|seen| seen.as_ref().ok()).map(|seen| seen.members)
    }

    pub(in crate::agent) fn describe(&mut self, description: &Result<GroupDescription, ReadError>) {
        self.had_members |= description.as_ref().is_ok_and(|seen| seen.members > 0);
        self.description = Some(description.clone());
    }

    /// The rate for a start of which nothing is proven: the operator's, else what the group could take in an earlier run,
    /// else what it was seen to consume while it was watched (a lower bound: never over less than one commit interval),
    /// else 100/s.
    pub(in crate::agent) fn first_rate(&self) -> f64 {
        let default = self.governor.config().first_rate;
        self.initial_rate.or(self.expected).unwrap_or_else(|| {
            let elapsed = (self.commits_at - self.watching_since).max(self.estimator.cadence().or_default());
            default.max(self.consumed_while_watching / elapsed)
        })
    }

    /// What it could take long ago, messages/s.
    pub(in crate::agent) fn expect(&mut self, capacity: f64) {
        self.expected = Some(capacity);
        if self.decision.rate.is_finite() && self.initial_rate.is_none() {
            self.decision.rate = self.first_rate();
        }
    }

    /// Takes what the newest poll read of this group and decides anew; holds where nothing usable was read.
    pub(in crate::agent) fn tick(&mut self, context: &TickContext<'_>, log: &LogView, commits: Option<&GroupCommits>) {
        let update = commits.and_then(|commits| self.observe(context, log, commits));
        self.measure(context, log);
        match update {
            Some(update) => {
                let ends = self.ends_now(context, log);
                self.estimator.set_deserted(self.is_deserted());
                self.assessment = self.estimator.assess(context.now, &ends, context.production.share());
                self.runway = self.look_ahead(context, log);
                if self.has_lost_its_place() { self.hold(context) } else { self.decide(context, update) }
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
        let here = |(index, end): (usize, &Option<i64>)| {
            end.filter(|_| self.beyond[index] == 0).map(|end| end as f64 + grown(index))
        };
        self.ends(log).iter().enumerate().map(here).collect()
    }

    /// The topics in `log.renewed` were made anew: commits that were known of them mean nothing any more.
    pub(in crate::agent) fn forget(&mut self, log: &LogView) {
        for place in &log.renewed {
            self.estimator.forget(*place, log.ends_at);
            if let Some(committed) = self.committed.get_mut(*place) {
                *committed = None;
            }
        }
    }

    /// Where the group stood was known, and is nowhere any more: its topics were made anew, or its commits are beyond the
    /// ends of their logs. Then its lag is as unknown as if it could not be read.
    fn has_lost_its_place(&self) -> bool {
        let mut places = self.estimator.positions().zip(&self.beyond);
        !self.began_uncommitted && !places.any(|(position, beyond)| position.is_some() && *beyond == 0)
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
        self.beyond.resize(log.partitions.len(), 0);
        for (place, partition) in log.partitions.iter().enumerate() {
            self.committed[place] = commits.get(partition).copied().or(self.committed[place]);
            if log.is_fresh(place) {
                // Commits are read before ends, so that this is no race.
                let is_beyond = self.committed[place] > log.high_watermarks[place];
                self.beyond[place] = if is_beyond { self.beyond[place].saturating_add(1) } else { 0 };
            }
        }
        let committed = self.first_unread(log);
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

    /// The first unread offset of each partition that is still there; `None` without a commit that belongs to the log.
    fn first_unread(&mut self, log: &LogView) -> Vec<Option<f64>> {
        let places = self.committed.iter().zip(&self.beyond).zip(&log.starts).enumerate();
        let first = places.map(|(place, ((committed, beyond), start))| {
            let committed = committed.filter(|_| *beyond == 0)?;
            let Some(start) = start.filter(|start| *start > committed) else { return Some(committed as f64) };
            self.estimator.skip_to(place, start as f64);
            Some(start as f64)
        });
        first.collect()
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
        if !self.has_lost_its_place() {
            self.last_usable_at = Some(context.now);
        }
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
        if let (Some(least), Some(left)) = (self.settings.min_runway, self.runway.of_newest_seconds)
            && left < least.as_secs_f64()
        {
            self.decision.rate = self.decision.rate.min(context.min_rate);
            self.decision.bound_by = BoundBy::Runway;
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
        let capacity = Some(self.estimator.capacity());
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
}

/// A batch writer watches the group for two polls before it starts (`docs/control.md`, slow start).
const WATCHED_POLLS: u32 = 2;
