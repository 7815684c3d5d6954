//! When a law acts for a group, when it steps aside, and how a limit begins and ends without a bump.

use super::doubt::{Doubt, Doubtful};
use super::slow_start::{Proof, SlowStart};
use super::{BoundBy, ControlConfig, Law, LawInput, LawKind, PidGains, PidLaw, StartPolicy, Terms, TimeLagLaw};
use crate::estimate::Assessment;

/// What one step sees of a group. Times in seconds on the agent's clock, rates in messages/s.
#[derive(Clone, Copy, Debug)]
pub struct GroupInput<'a> {
    /// Now.
    pub now: f64,
    /// Time since the previous step, above 0.
    pub step_seconds: f64,
    /// What is known of the group; `None` before it has shown any capacity.
    pub assessment: Option<&'a Assessment>,
    /// Whether watching began on a group without any commit, and it has shown no capacity since.
    pub never_committed: bool,
    /// Whether the group was seen in at least two polls.
    pub watched: bool,
    /// Instant of the newest commit, if this poll brought one.
    pub new_commit_at: Option<f64>,
    /// Commits are overdue, or cannot come.
    pub overdue: bool,
    /// The coordinator says that a group which had members has none: nobody reads until some come back.
    pub deserted: bool,
    /// The end of the last time in which nothing could be read, seconds; minus infinity if there was none.
    pub blind_until: f64,
    /// Time between commits; `None` before two gaps were seen.
    pub cadence_seconds: Option<f64>,
    /// How long a position is extrapolated past its commit.
    pub credit_seconds: f64,
    /// Growth of the log, all writers.
    pub production: f64,
    /// The total rate that writers obey now; `+∞`: none.
    pub in_force: f64,
    /// Rate for a start of which nothing is proven.
    pub first_rate: f64,
    /// This group's decision was the smallest at the previous step.
    pub rules: bool,
}

/// What one group asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupDecision {
    /// The total rate it can be given, live traffic included, messages/s; `+∞`: no limit. Never 0.
    pub rate: f64,
    /// Why.
    pub bound_by: BoundBy,
    /// How the law came to it, while it acts.
    pub terms: Option<Terms>,
    /// Set-point in force, seconds.
    pub set_point_seconds: f64,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Nothing proven yet: no limit.
    Open,
    /// Not begun yet.
    Watching,
    /// Growing by commits.
    Slow(SlowStart),
    /// The law acts.
    Acting,
}

/// Start, engagement and release of the limit for one group.
pub struct GroupGovernor {
    config: ControlConfig,
    start: StartPolicy,
    law: Box<dyn Law + Send + Sync>,
    phase: Phase,
    relaxation: f64,
    feed_forward_before: f64,
    lag_was_seen: bool,
    /// Since an outage the slowest partitions count, until then at the latest, seconds.
    level_until: Option<f64>,
    doubt: Doubt,
    /// What the group is believed to take until lag is proven: the operator's hint, or the rate of a slow start that a
    /// commit has proven; messages/s, 0 when there is none.
    believed: f64,
}

impl std::fmt::Debug for GroupGovernor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupGovernor").field("phase", &self.phase).field("relaxation", &self.relaxation).finish()
    }
}

impl GroupGovernor {
    /// A group of which nothing is known.
    #[must_use]
    pub fn new(config: ControlConfig, start: StartPolicy, law: LawKind, gains: PidGains) -> Self {
        let phase = match start {
            StartPolicy::Open => Phase::Open,
            StartPolicy::Hinted(_) => Phase::Acting,
            StartPolicy::Slow(_) => Phase::Watching,
        };
        let believed = if let StartPolicy::Hinted(rate) = start { rate } else { 0.0 };
        let law: Box<dyn Law + Send + Sync> = match law {
            LawKind::TimeLag => Box::new(TimeLagLaw::default()),
            LawKind::Pid => Box::new(PidLaw::new(gains)),
        };
        Self {
            config,
            start,
            law,
            phase,
            relaxation: 1.0,
            feed_forward_before: 0.0,
            lag_was_seen: false,
            level_until: None,
            doubt: Doubt::default(),
            believed,
        }
    }

    /// The constants in force.
    #[must_use]
    pub const fn config(&self) -> &ControlConfig {
        &self.config
    }

    /// Polls come at another interval from now on, seconds.
    pub fn set_poll_seconds(&mut self, seconds: f64) {
        self.config.poll_seconds = seconds;
    }

    /// Whether a limit stands because lag was proven.
    #[must_use]
    pub const fn is_acting(&self) -> bool {
        matches!(self.phase, Phase::Acting)
    }

    /// Nothing can be read: a slow start goes back to the rate that a commit has proven, messages/s. `None` where there is
    /// no slow start.
    pub fn step_back(&mut self, now: f64) -> Option<f64> {
        let Phase::Slow(start) = &mut self.phase else { return None };
        start.step_back(now);
        Some(start.rate())
    }

    /// One step.
    pub fn step(&mut self, input: &GroupInput<'_>) -> GroupDecision {
        let cadence = input.cadence_seconds.unwrap_or(DEFAULT_CADENCE_SECONDS);
        let set_point = self.config.set_point(cadence);
        let plain =
            |rate: f64, bound_by: BoundBy| GroupDecision { rate, bound_by, terms: None, set_point_seconds: set_point };
        if matches!(self.phase, Phase::Watching) {
            if !input.watched {
                return plain(input.first_rate, BoundBy::Learning);
            }
            self.phase = Phase::Slow(SlowStart::new(input.first_rate, input.now));
        }
        let Some(assessment) = input.assessment else {
            return match &self.phase {
                Phase::Slow(start) if !input.never_committed => plain(start.rate(), BoundBy::SlowStart),
                Phase::Open if !input.never_committed => plain(f64::INFINITY, BoundBy::Unlimited),
                _ => plain(input.first_rate, BoundBy::NeverCommitted),
            };
        };
        let silent = input.overdue && assessment.drain_seconds > set_point;
        if !self.is_acting() {
            if !self.lag_is_proven(input, assessment, set_point) {
                return self.step_aside(input, assessment, plain, set_point);
            }
            self.believed = self.believed();
            self.phase = Phase::Acting;
            self.relaxation = 1.0;
            self.law.engage();
        }
        self.act(input, assessment, cadence, set_point, silent)
    }

    /// What the group is believed to take beyond its estimate, messages/s; 0 once lag was proven.
    fn believed(&self) -> f64 {
        match &self.phase {
            _ if self.lag_was_seen => 0.0,
            Phase::Slow(start) => start.proven(),
            _ => self.believed,
        }
    }

    /// A new commit shows certain lag, or the group is silent for longer than patience allows.
    ///
    /// Patience is counted in seconds of lag at the known throughput: less when production runs ahead of it, none when
    /// nobody is there to commit; never below what a member that is restarted leaves unread.
    fn lag_is_proven(&self, input: &GroupInput<'_>, seen: &Assessment, set_point: f64) -> bool {
        let by_commit = input.new_commit_at.is_some() && seen.certain_drain_seconds > set_point;
        let patience = if input.deserted { 0.0 } else { self.config.patience_seconds - input.credit_seconds };
        // A batch writer can wait for proof; not where the lag is that of a time in which nothing could be read.
        let estimate = seen.feed_forward();
        let believed_drain = seen.drain_seconds * estimate / estimate.max(self.believed());
        let likely = matches!(self.phase, Phase::Slow(_))
            && believed_drain > set_point
            && input.now - input.blind_until > input.credit_seconds;
        by_commit || likely || (input.overdue && seen.drain_seconds > patience.max(2.0 * set_point))
    }

    fn step_aside(
        &mut self,
        input: &GroupInput<'_>,
        seen: &Assessment,
        plain: impl Fn(f64, BoundBy) -> GroupDecision,
        set_point: f64,
    ) -> GroupDecision {
        let Phase::Slow(start) = &mut self.phase else { return plain(f64::INFINITY, BoundBy::Unlimited) };
        // Production is a mean over two seconds, and follows a growing rate by one.
        let asked = start.rate_at(input.now - self.config.actuation_seconds - 1.0).min(input.in_force);
        let binding = input.production > self.config.binding_share * asked;
        start.step(
            &self.config,
            Proof {
                now: input.now,
                step_seconds: input.step_seconds,
                commit_at: input.new_commit_at,
                cadence_seconds: input.cadence_seconds.unwrap_or(DEFAULT_CADENCE_SECONDS),
                blind_until: input.blind_until,
                drain_seconds: seen.drain_seconds,
                set_point_seconds: set_point,
                binding,
            },
        );
        plain(start.rate(), if binding { BoundBy::SlowStart } else { BoundBy::Demand })
    }

    fn act(
        &mut self,
        input: &GroupInput<'_>,
        seen: &Assessment,
        cadence: f64,
        set_point: f64,
        silent: bool,
    ) -> GroupDecision {
        self.lag_was_seen |= self.lag_is_proven(input, seen, set_point);
        let feed_forward = seen.feed_forward().max(self.believed());
        let drain_seconds = match self.start {
            StartPolicy::Slow(_) => seen.drain_seconds * seen.feed_forward() / feed_forward,
            _ => seen.drain_seconds,
        };
        let drain_seconds = self.level(input, seen, drain_seconds, set_point, silent);
        let binding = input.production > self.config.binding_share * input.in_force;
        let correction = self.law.correct(
            &self.config,
            &LawInput {
                step_seconds: input.step_seconds,
                set_point_seconds: set_point,
                drain_seconds,
                cadence_seconds: cadence,
                starved: seen.starved,
                silent,
                binding,
                rules: input.rules,
            },
        );
        self.relax(input.step_seconds, feed_forward, drain_seconds > set_point, binding);
        let mut terms = correction.terms;
        terms.feed_forward = feed_forward;
        terms.relaxation = self.relaxation;
        if self.relaxation > self.config.release_factor {
            self.phase = Phase::Open;
            return GroupDecision {
                rate: f64::INFINITY,
                bound_by: BoundBy::Unlimited,
                terms: Some(terms),
                set_point_seconds: set_point,
            };
        }
        let relative = if self.doubt.step(
            &self.config,
            Doubtful {
                now: input.now,
                step_seconds: input.step_seconds,
                drain_seconds,
                set_point_seconds: set_point,
                cadence_seconds: cadence,
                capacity: feed_forward,
                rules: binding && input.rules,
                silent,
                drain_at_commit: input.new_commit_at.map(|_| drain_seconds),
            },
        ) {
            correction.relative.min(self.config.doubt_share - 1.0)
        } else {
            correction.relative
        };
        let rate = (feed_forward * (1.0 + relative) * self.relaxation).max(SMALLEST_RATE);
        let bound_by = if silent {
            BoundBy::GroupStalled
        } else if !binding && self.relaxation > 1.0 {
            BoundBy::Demand
        } else if drain_seconds > set_point + DRAINING_SECONDS {
            BoundBy::Draining
        } else {
            BoundBy::SetPoint
        };
        GroupDecision { rate, bound_by, terms: Some(terms), set_point_seconds: set_point }
    }

    /// The drain time to act on, seconds: after an outage, whose members come back one by one, that of the slowest tenth,
    /// until the partitions are level. The mean alone would leave them unequally behind for good.
    fn level(&mut self, input: &GroupInput<'_>, seen: &Assessment, drain: f64, set_point: f64, silent: bool) -> f64 {
        let slowest = drain.max(seen.slowest_drain_seconds - self.config.level_margin_seconds);
        if silent {
            self.level_until = Some(input.now + self.config.level_seconds);
        } else if slowest <= set_point || self.level_until.is_some_and(|until| input.now >= until) {
            self.level_until = None;
        }
        if self.level_until.is_some() { slowest } else { drain }
    }

    /// Relaxes a limit that does not bind; hands over without a bump when it does. A batch writer's limit is never
    /// dropped, and relaxes only by one step of its start: its next burst has no end either.
    fn relax(&mut self, step_seconds: f64, feed_forward: f64, behind: bool, binding: bool) {
        if behind {
            self.relaxation = 1.0;
        } else {
            if self.feed_forward_before > 0.0 {
                self.relaxation *= (self.feed_forward_before / feed_forward).min(1.0);
            }
            if !binding {
                let seconds = self.config.release_seconds / if self.lag_was_seen { 1.0 } else { HINT_RELEASE_SPEED };
                self.relaxation *= (step_seconds / seconds).exp();
            }
            self.relaxation = self.relaxation.max(1.0);
            if matches!(self.start, StartPolicy::Slow(_)) {
                self.relaxation = self.relaxation.min(self.config.slow_start_growth);
            }
        }
        self.feed_forward_before = feed_forward;
    }
}

/// Stands in for an unknown cadence, seconds: `auto.commit.interval.ms` of Kafka's own consumer.
const DEFAULT_CADENCE_SECONDS: f64 = 5.0;
/// A decision is never 0, messages/s: the operator's floor is applied later.
const SMALLEST_RATE: f64 = 1e-3;
/// A hint that never met lag relaxes this much faster (reference design §3.8).
const HINT_RELEASE_SPEED: f64 = 6.0;
/// Above the set-point by this many seconds a backlog is being worked off (wording only).
const DRAINING_SECONDS: f64 = 1.0;
