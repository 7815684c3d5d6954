//! One turn of the whole loop for one valve: what a poll saw → what writers may send, and why. Pure: time is an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::config_record::ConfigRecord;
use super::explain::explain;
use super::group::{GroupTrack, TickContext};
use super::input::InputRecord;
use super::log_view::LogView;
use super::record::{RECORD_VERSION, TickRecord};
use super::settings::{Mode, OnSignalLost, ProtectedGroup, ValveSettings};
use crate::clock::Instant;
use crate::control::{BoundBy, CommandHistory, ControlConfig, LimitPolicy, Limited, SignalLossPolicy, Terms};
use crate::estimate::{EstimateConfig, LiveSplit, Production};
use crate::id::GroupId;
use crate::lag::{GroupDescription, ReadError, Snapshot};
use crate::units::{MessagesPerSecond, RateLimit};

/// What one tick is given.
#[derive(Clone, Copy, Debug)]
pub struct TickInput<'a> {
    /// Now, monotonic.
    pub now: Instant,
    /// Now, milliseconds since the Unix epoch: for the record alone.
    pub unix_millis: u64,
    /// What the poll saw; `None`: it failed, or came to nothing.
    pub snapshot: Option<&'a Snapshot>,
    /// Newest description of each group that was described.
    pub descriptions: &'a HashMap<GroupId, Result<GroupDescription, ReadError>>,
    /// Messages that governed clients ever reported as acknowledged, counted when the log ends were read.
    pub sent_total: u64,
}

/// The loop of one valve.
#[derive(Debug)]
pub struct ValveLoop {
    settings: ValveSettings,
    config: Arc<ConfigRecord>,
    limits: LimitPolicy,
    log: LogView,
    production: Production,
    estimate: EstimateConfig,
    groups: Vec<GroupTrack>,
    history: CommandHistory,
    sent: VecDeque<(f64, u64)>,
    /// What was sent in the runs that this one goes on from.
    sent_before: u64,
    /// Live production when it was last known, messages/s.
    live: f64,
    last_tick: Option<f64>,
    seq: u64,
}

impl ValveLoop {
    /// A valve of which nothing is known yet.
    #[must_use]
    pub fn new(settings: ValveSettings) -> Self {
        let estimate = EstimateConfig::for_poll(settings.poll_interval.as_secs_f64());
        Self::with_estimate(settings, estimate)
    }

    /// The same with other constants of the estimators; `estimate.poll_seconds` is the poll interval.
    #[must_use]
    pub fn with_estimate(settings: ValveSettings, estimate: EstimateConfig) -> Self {
        Self::with_constants(settings, estimate, ControlConfig::new)
    }

    /// The same with other constants of the laws too; `control` makes them from a set-point and a poll interval, seconds.
    #[must_use]
    pub fn with_constants(
        settings: ValveSettings,
        estimate: EstimateConfig,
        control: impl Fn(f64, f64) -> ControlConfig,
    ) -> Self {
        let safe_rate = settings.safe_rate.map(MessagesPerSecond::get);
        let signal_loss = match settings.on_signal_lost {
            OnSignalLost::Hold => SignalLossPolicy::Hold,
            OnSignalLost::Safe => SignalLossPolicy::Safe(safe_rate),
            OnSignalLost::Open => SignalLossPolicy::Open,
            OnSignalLost::Closed => SignalLossPolicy::Closed,
        };
        let track = |group: &ProtectedGroup| {
            let control = control(group.target_lag.as_secs_f64(), estimate.poll_seconds);
            GroupTrack::new(&settings, group.clone(), estimate, control, signal_loss)
        };
        let groups: Vec<GroupTrack> = settings.protect.iter().map(track).collect();
        Self {
            limits: LimitPolicy {
                min_rate: settings.min_rate.get(),
                max_rate: settings.max_rate.map_or(f64::INFINITY, MessagesPerSecond::get),
            },
            log: LogView::default(),
            production: Production::default(),
            estimate,
            groups,
            history: CommandHistory::default(),
            sent: VecDeque::new(),
            sent_before: 0,
            live: 0.0,
            last_tick: None,
            seq: 0,
            config: Arc::new(ConfigRecord::of(&settings)),
            settings,
        }
    }

    /// What the valve was told.
    #[must_use]
    pub const fn settings(&self) -> &ValveSettings {
        &self.settings
    }

    /// One turn. Never fails: what cannot be read holds the last decision, then the policy for a lost signal.
    pub fn tick(&mut self, input: &TickInput<'_>) -> TickRecord {
        let now = input.now.as_seconds();
        let poll = self.estimate.poll_seconds;
        let step_seconds = self.last_tick.map_or(poll, |last| (now - last).max(1e-3));
        self.last_tick = Some(now);
        let usable = input.snapshot.is_some_and(|snapshot| self.read_ends(snapshot));
        if usable {
            self.read_production(self.sent_before + input.sent_total);
        }
        let production = std::mem::take(&mut self.production);
        let context = TickContext {
            now,
            step_seconds,
            production: &production,
            in_force: self.history.in_force(now, self.estimate.actuation_seconds),
            min_rate: self.limits.min_rate,
        };
        for group in &mut self.groups {
            if let Some(description) = input.descriptions.get(&group.settings().group) {
                group.describe(description);
            }
            let name = &group.settings().group;
            let commits = input.snapshot.and_then(|snapshot| snapshot.groups.iter().find(|seen| seen.group == *name));
            group.tick(&context, &self.log, commits.filter(|_| usable));
        }
        let total = self.smallest();
        let split = self.split(&production);
        let decided = self.decide(now, total, split);
        let record = self.record(input, &context, total, decided, split);
        self.production = production;
        record
    }

    /// Takes the log ends; `false` when not one could be read.
    fn read_ends(&mut self, snapshot: &Snapshot) -> bool {
        let usable = self.log.read(&self.settings.topics, snapshot);
        for place in &self.log.renewed {
            self.production.forget(*place);
        }
        if !self.log.renewed.is_empty() {
            self.groups.iter_mut().for_each(|group| group.forget(&self.log));
        }
        usable
    }

    fn read_production(&mut self, sent_total: u64) {
        let ends: Vec<Option<f64>> = self.log.high_watermarks.iter().map(|end| end.map(|end| end as f64)).collect();
        self.production.update(&self.estimate, self.log.ends_at, &ends);
        self.sent.push_back((self.log.ends_at, sent_total));
        let from = self.production.window().map_or(f64::NEG_INFINITY, |window| window.from);
        while self.sent.front().is_some_and(|(at, _)| *at < from) {
            self.sent.pop_front();
        }
    }

    /// After an earlier run was told again, of which tick `seq` was the last: what was sent since then is not known.
    pub(super) fn begin_again(&mut self, seq: u64, sent_before: u64) {
        self.seq = seq;
        self.sent_before = sent_before;
        self.sent.clear();
    }

    /// What groups could take long ago, messages/s, is the rate for a start of which nothing else is known. Returns for how
    /// many it is.
    pub(super) fn expect(&mut self, capacities: &HashMap<GroupId, f64>) -> usize {
        let known = self.groups.iter_mut().filter_map(|group| {
            let capacity = *capacities.get(&group.settings().group)?;
            group.expect(capacity);
            Some(())
        });
        known.count()
    }

    /// Production split into governed and live over the averaging window; `None` before two polls, and while it reaches back
    /// into a time of which nobody knows what was sent.
    fn split(&self, production: &Production) -> Option<LiveSplit> {
        let (mean, window) = (production.mean()?, production.window()?);
        let (first, last) = (self.sent.front()?, self.sent.back()?);
        if first.0 > window.from {
            return None;
        }
        let governed = last.1.saturating_sub(first.1) as f64 / (window.to - window.from).max(1e-3);
        Some(LiveSplit::of(mean, governed))
    }

    /// The slowest group rules; without any group nothing limits but the operator.
    fn smallest(&mut self) -> Limited {
        let smallest = self.groups.iter().map(|group| group.decision().rate).fold(f64::INFINITY, f64::min);
        let mut bound_by = BoundBy::Unlimited;
        for (index, group) in self.groups.iter_mut().enumerate().rev() {
            let rate = group.decision().rate;
            group.rules = if smallest.is_finite() { rate <= smallest } else { index == 0 };
            if group.rules {
                bound_by = group.decision().bound_by;
            }
        }
        Limited { rate: smallest, bound_by }
    }

    fn decide(&mut self, now: f64, total: Limited, split: Option<LiveSplit>) -> Limited {
        let first_rate = self.groups.iter().map(GroupTrack::first_rate).fold(f64::INFINITY, f64::min);
        self.live = split.map_or(self.live, |split| split.live);
        let live = self.live;
        let granted = self.limits.grant(total, live, first_rate);
        let capped = granted.bound_by != total.bound_by;
        if capped {
            // What the operator limits is no verdict on the group: its integral and its slow start wait.
            self.groups.iter_mut().for_each(|group| group.rules = false);
        }
        let in_force = if capped { granted.rate + live } else { total.rate };
        let kept = self.history.push(now, in_force, self.estimate.actuation_seconds);
        if capped || kept == in_force {
            return granted;
        }
        self.limits.grant(Limited { rate: kept, ..total }, live, first_rate)
    }

    fn record(
        &mut self,
        input: &TickInput<'_>,
        context: &TickContext<'_>,
        total: Limited,
        decided: Limited,
        split: Option<LiveSplit>,
    ) -> TickRecord {
        self.seq += 1;
        let observing = self.settings.mode != Mode::Enforce;
        let rate_decided = limit(decided.rate);
        let ruling = self.groups.iter().min_by(|a, b| a.decision().rate.total_cmp(&b.decision().rate));
        let mut causes: Vec<_> = self.groups.iter().map(GroupTrack::cause).collect();
        causes.sort_by(|a, b| a.rate.as_f64().total_cmp(&b.rate.as_f64()));
        let oldest = self.groups.iter().map(GroupTrack::last_usable_at).reduce(|a, b| Some(a?.min(b?))).flatten();
        let mut record = TickRecord {
            v: RECORD_VERSION,
            seq: self.seq,
            at: input.unix_millis,
            mono_ms: input.now.as_millis(),
            valve: self.settings.name.clone(),
            mode: self.settings.mode,
            config_id: Some(Arc::clone(&self.config.config_id)),
            groups: self.groups.iter().map(|group| group.record(context, &self.log)).collect(),
            production: context.production.mean(),
            live: split.map(|split| split.live),
            terms: ruling.and_then(|group| group.decision().terms),
            rate_unbounded: limit(total.rate),
            rate_decided,
            rate_allocated: if observing { RateLimit::Unlimited } else { rate_decided },
            rate_applied: split.map(|split| split.governed),
            bound_by: if observing { BoundBy::ObserveOnly } else { decided.bound_by },
            causes,
            advice: ruling.and_then(|group| group.advice(self.log.partitions.len())),
            eta_seconds: ruling.and_then(|group| eta(group, total)),
            signal_age_seconds: oldest.map(|at| context.now - at),
            explain: String::new(),
            input: Some(InputRecord::of(input, &self.settings, &self.log)),
            config: Some(Arc::clone(&self.config)),
        };
        record.explain = explain(&record);
        record
    }
}

/// Seconds until drain time is back at the set-point at the decided rate, `dx/dt = rate ÷ feed-forward − 1`.
fn eta(group: &GroupTrack, total: Limited) -> Option<f64> {
    let seen = group.assessment()?;
    let above = seen.drain_seconds - group.decision().set_point_seconds;
    let falling = 1.0 - total.rate / seen.feed_forward();
    let terms: Option<Terms> = group.decision().terms;
    (terms.is_some() && above > ETA_FROM_SECONDS && falling > ETA_SLOPE_MIN).then(|| above / falling)
}

fn limit(rate: f64) -> RateLimit {
    RateLimit::from_f64(rate).expect("laws and limits give rates that are numbers and not negative")
}

/// Nearer than this to the set-point there is nothing to wait for, seconds.
const ETA_FROM_SECONDS: f64 = 0.5;
/// A slower approach than this gives no useful figure.
const ETA_SLOPE_MIN: f64 = 0.01;
