//! What a scenario and chance decide before a run, whatever the policy: the same for all of them.

use std::ops::Range;

use super::{STEP_SECONDS, steps_in};
use crate::lag::Isolation;
use crate::sim::chance::{Chance, Purpose, Wander};
use crate::sim::scenario::{Fault, FaultKind, GroupPlan, Scenario, shares};

/// One scenario with one seed, drawn.
#[derive(Clone, Debug)]
pub struct World<'s> {
    pub(super) scenario: &'s Scenario,
    pub(super) steps: usize,
    pub(super) weights: Vec<f64>,
    pub(super) producers: Vec<ProducerDraw>,
    pub(super) members: Vec<Member>,
    /// Wanted by governed writers, a step; messages/s.
    pub(super) offered: Vec<f64>,
    /// Factor on the commit interval less 1 at full jitter, a step.
    pub(super) jitter: Vec<f64>,
    pub(super) polls: Vec<Poll>,
    /// Polls of a second valve and further ones.
    pub(super) more_polls: Vec<Vec<Poll>>,
    /// Steps by which a writer's transactions end earlier than those of one that began with the run.
    pub(super) transaction_phase: Vec<usize>,
    /// Where gaps are, a partition.
    pub(super) gaps: Vec<Chance>,
    pub(super) first_description: f64,
    /// What groups take without noise and faults, a step and group; messages/s.
    nominal: Vec<f64>,
    /// What members take, a step and member; messages/s.
    speed: Vec<f64>,
    faults: Vec<(Range<usize>, Fault)>,
}

/// What chance gave one producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProducerDraw {
    pub(super) share: f64,
    pub(super) delay_steps: usize,
    pub(super) linger_steps: usize,
    pub(super) linger_phase: usize,
}

/// One member of one group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) group: usize,
    pub(super) partitions: Range<usize>,
    pub(super) first_commit: f64,
}

/// One poll of the observer.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    /// Step after which the commits are read.
    pub commits_step: usize,
    /// Step after which the log ends are read.
    pub ends_step: usize,
    /// Step after which the answer is there.
    pub answer_step: usize,
    /// When the answer is there, seconds.
    pub answered_at: f64,
    /// When the observer believes that the commits were read.
    pub commits_at: f64,
    /// When the observer believes that the ends were read.
    pub ends_at: f64,
    /// Whether it brought anything.
    pub succeeded: bool,
}

impl<'s> World<'s> {
    /// Draws everything that chance decides in `scenario` with `seed`.
    #[must_use]
    pub fn draw(scenario: &'s Scenario, seed: u64) -> Self {
        let chance = |purpose| Chance::new(seed, scenario.number(), purpose);
        let nth = |purpose, index: usize| Chance::nth(seed, scenario.number(), purpose, index as u64);
        let steps = (scenario.duration_seconds / STEP_SECONDS).round() as usize;
        let seconds = |step: usize| step as f64 * STEP_SECONDS;
        let nominal: Vec<f64> = (0..steps)
            .flat_map(|step| scenario.groups.iter().map(move |group| group.capacity.at(seconds(step))))
            .collect();
        let span =
            |fault: &Fault| steps_in(fault.at_seconds)..steps_in(fault.ends_seconds()).max(steps_in(fault.at_seconds));
        let mut commits = chance(Purpose::Commits);
        let mut demand = chance(Purpose::Demand);
        let mut offer = Wander::new(&mut demand, scenario.load.noise, DEMAND_NOISE_SECONDS, STEP_SECONDS);
        let offered = (0..steps).map(|step| {
            let noise = 1.0 + offer.step(&mut demand);
            scenario.load.demand.at(seconds(step)) * noise.clamp(0.5, 1.5)
        });
        let mut observation = chance(Purpose::Observation);
        let mut world = Self {
            scenario,
            steps,
            weights: scenario.weights(),
            producers: producers(scenario, &mut chance(Purpose::Producers)),
            members: members(scenario, &mut commits),
            offered: offered.collect(),
            jitter: (0..steps).map(|_| commits.uniform(-1.0, 1.0)).collect(),
            first_description: observation.uniform(0.0, super::coordinator::DESCRIBE_SECONDS),
            polls: polls(scenario, &mut observation),
            more_polls: (1..scenario.valves()).map(|valve| polls(scenario, &mut nth(Purpose::Valves, valve))).collect(),
            transaction_phase: transaction_phases(scenario, &mut chance(Purpose::Transactions)),
            gaps: (0..scenario.partitions).map(|partition| nth(Purpose::Gaps, partition)).collect(),
            nominal,
            speed: Vec::new(),
            faults: scenario.faults.iter().map(|fault| (span(fault), *fault)).collect(),
        };
        world.draw_speed(&mut chance(Purpose::Capacity), &mut chance(Purpose::Pauses));
        world
    }

    /// The scenario that was drawn.
    #[must_use]
    pub const fn scenario(&self) -> &'s Scenario {
        self.scenario
    }

    /// Steps of the whole run.
    #[must_use]
    pub const fn steps(&self) -> usize {
        self.steps
    }

    /// Polls of the whole run.
    #[must_use]
    pub fn polls(&self) -> &[Poll] {
        &self.polls
    }

    /// Polls of `valve`.
    pub(super) fn polls_of(&self, valve: usize) -> &[Poll] {
        valve.checked_sub(1).map_or(&self.polls, |further| &self.more_polls[further])
    }

    /// What `group` takes at `step` without noise and faults, messages/s.
    #[must_use]
    pub fn nominal(&self, step: usize, group: usize) -> f64 {
        self.nominal[step * self.scenario.groups.len() + group]
    }

    /// Whether nobody in `group` reads at `step`.
    #[must_use]
    pub fn is_out(&self, step: usize, group: usize) -> bool {
        self.faults.iter().any(|(span, fault)| fault.group == group && fault.is_outage() && span.contains(&step))
    }

    /// Whether `group` can read nothing new at `step` because a transaction hangs on all partitions.
    #[must_use]
    pub fn is_pinned(&self, step: usize, group: usize) -> bool {
        let here = |fault: &Fault| fault.kind == FaultKind::HangingTransaction(None);
        self.reads_committed(group) && self.faults.iter().any(|(span, fault)| here(fault) && span.contains(&step))
    }

    fn reads_committed(&self, group: usize) -> bool {
        self.scenario.groups[group].isolation == Isolation::ReadCommitted
    }

    /// Whether `partition` is stuck for `group` at `step`: it fails on it, or a transaction hangs there alone.
    #[must_use]
    pub fn is_stuck(&self, step: usize, group: usize, partition: usize) -> bool {
        let here = |fault: &Fault| match fault.kind {
            FaultKind::Stuck(stuck) => fault.group == group && stuck == partition,
            FaultKind::HangingTransaction(Some(pinned)) => pinned == partition && self.reads_committed(group),
            _ => false,
        };
        self.faults.iter().any(|(span, fault)| here(fault) && span.contains(&step))
    }

    /// The total rate that `group` can follow at `step` with this skew of traffic, messages/s: its fullest member rules.
    #[must_use]
    pub fn achievable(&self, step: usize, group: usize) -> f64 {
        self.achievable_by(step, group, self.scenario.groups[group].members)
    }

    /// The same for another number of members, each as fast as before.
    pub(in crate::sim) fn achievable_by(&self, step: usize, group: usize, members: usize) -> f64 {
        if self.is_out(step, group) || self.is_pinned(step, group) {
            return 0.0;
        }
        let share = self.nominal(step, group) / self.scenario.groups[group].members as f64;
        let parts = (0..members).map(|member| split(self.scenario.partitions, members, member));
        let follow = parts.map(|part| share / self.weight(part)).filter(|rate| rate.is_finite());
        follow.fold(f64::INFINITY, f64::min)
    }

    /// Share of the traffic that goes to `partitions`.
    pub(super) fn weight(&self, partitions: Range<usize>) -> f64 {
        self.weights[partitions].iter().sum()
    }

    /// What the members take at `step`, messages/s.
    pub(super) fn speeds(&self, step: usize) -> &[f64] {
        &self.speed[step * self.members.len()..][..self.members.len()]
    }

    /// Faults with the steps in which they last.
    pub(super) fn faults(&self) -> &[(Range<usize>, Fault)] {
        &self.faults
    }

    fn draw_speed(&mut self, chance: &mut Chance, pauses: &mut Chance) {
        let count = self.members.len();
        self.speed = vec![0.0; self.steps * count];
        let mut first = 0;
        for (group, plan) in self.scenario.groups.iter().enumerate() {
            let slots = slots(plan);
            for slot in first..first + slots {
                self.draw_member(slot, group, plan, chance, pauses);
            }
            first += slots;
        }
    }

    fn draw_member(&mut self, slot: usize, group: usize, plan: &GroupPlan, chance: &mut Chance, pauses: &mut Chance) {
        let (count, members) = (self.members.len(), plan.members as f64);
        // Members wander on their own; so much each gives about the group's deviation in the sum.
        let spread = members.sqrt() * MEMBER_NOISE_SHARE;
        let mut wander = Wander::new(chance, plan.noise, plan.noise_seconds, STEP_SECONDS);
        for step in 0..self.steps {
            let noise = (1.0 + wander.step(chance) * spread).clamp(0.2, 1.8);
            self.speed[step * count + slot] = noise * self.nominal(step, group) / members;
        }
        let mut still = Vec::new();
        if let Some(plan) = plan.pauses {
            let mut at = pauses.exponential(plan.gap_seconds);
            while at < self.scenario.duration_seconds {
                let length = pauses.uniform(plan.length_seconds.0, plan.length_seconds.1);
                still.push(steps_in(at)..steps_in(at + length));
                at += length + pauses.exponential(plan.gap_seconds);
            }
        }
        let member = slot - self.members.iter().take_while(|member| member.group != group).count();
        let stops =
            |fault: &Fault| fault.group == group && (fault.is_outage() || fault.kind == FaultKind::MemberDeath(member));
        still.extend(self.faults.iter().filter(|(_, fault)| stops(fault)).map(|(span, _)| span.clone()));
        for step in still.into_iter().flatten().filter(|step| *step < self.steps) {
            self.speed[step * count + slot] = 0.0;
        }
    }
}

fn producers(scenario: &Scenario, chance: &mut Chance) -> Vec<ProducerDraw> {
    let load = &scenario.load;
    let whole = |seconds: f64| (seconds / STEP_SECONDS).round().max(1.0) as usize;
    let draw = |share| ProducerDraw {
        share,
        delay_steps: whole(chance.uniform(load.delay_seconds.0, load.delay_seconds.1)),
        linger_steps: whole(chance.uniform(load.linger_seconds.0, load.linger_seconds.1)),
        linger_phase: chance.uniform(0.0, 1000.0) as usize,
    };
    shares(load.shares.as_deref(), load.producers).into_iter().map(draw).collect()
}

fn members(scenario: &Scenario, chance: &mut Chance) -> Vec<Member> {
    let mut members = Vec::new();
    for (group, plan) in scenario.groups.iter().enumerate() {
        for member in 0..slots(plan) {
            let drawn = chance.uniform(0.05, 1.0);
            let share = if plan.commits_spread { phase(member, plan) } else { drawn };
            let first_commit = share * plan.commit_seconds;
            members.push(Member { group, partitions: split(scenario.partitions, plan.members, member), first_commit });
        }
    }
    members
}

/// Where in its interval the first commit of a member falls when they are spread, above 0 to 1.
pub(super) fn phase(member: usize, plan: &GroupPlan) -> f64 {
    (member + 1) as f64 / plan.members as f64
}

/// Most members that a group ever has.
fn slots(plan: &GroupPlan) -> usize {
    plan.scaler.map_or(plan.members, |scaler| scaler.most)
}

/// Partitions of `member` when `members` share `partitions` in runs; none for one beyond them.
pub(super) fn split(partitions: usize, members: usize, member: usize) -> Range<usize> {
    let from = |member: usize| (member.min(members) * partitions).div_ceil(members);
    from(member)..from(member + 1)
}

fn transaction_phases(scenario: &Scenario, chance: &mut Chance) -> Vec<usize> {
    let steps = scenario.load.transactions.map_or(0, |plan| steps_in(plan.seconds).max(1));
    (0..scenario.load.producers).map(|_| chance.uniform(0.0, steps as f64) as usize).collect()
}

fn polls(scenario: &Scenario, chance: &mut Chance) -> Vec<Poll> {
    let plan = &scenario.observation;
    let mut polls = Vec::new();
    let mut at = chance.uniform(0.0, plan.poll_seconds);
    while at < scenario.duration_seconds - 1.0 {
        let commits = at + chance.uniform(0.005, 0.06);
        let ends = at + chance.uniform(0.005, 0.20);
        let answered_at = commits.max(ends) + chance.uniform(0.005, 0.05);
        let missed = chance.uniform(0.0, 1.0) < plan.miss_probability;
        polls.push(Poll {
            commits_step: steps_in(commits),
            ends_step: steps_in(ends),
            answer_step: steps_in(answered_at) + 1,
            answered_at,
            commits_at: commits + chance.normal(plan.timestamp_noise_seconds),
            ends_at: ends + chance.normal(plan.timestamp_noise_seconds),
            succeeded: !missed && !plan.is_dark(at),
        });
        at += plan.poll_seconds * (1.0 + chance.uniform(-0.03, 0.03));
    }
    polls
}

/// Correlation time of what writers offer, seconds.
const DEMAND_NOISE_SECONDS: f64 = 5.0;
/// Of a member's wandering, relative to the square root of their number.
const MEMBER_NOISE_SHARE: f64 = 0.8;
