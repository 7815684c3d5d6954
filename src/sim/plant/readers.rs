//! One consumer group: members that work as fast as they may, and commit between two batches.

use std::ops::Range;

use super::STEP_SECONDS;
use super::behind::Behind;
use super::scaler::Staff;
use super::world::{World, phase, split};
use crate::sim::scenario::FaultKind;

/// One group of a run. Positions in messages, a partition each.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    group: usize,
    pub(super) first_slot: usize,
    pub(super) position: Vec<f64>,
    pub(super) committed: Vec<f64>,
    /// The furthest that was ever read: re-reading delivers nothing new.
    pub(super) reached: Vec<f64>,
    pub(super) staff: Staff,
    /// Partitions of each member; empty for those that are not there.
    pub(super) assigned: Vec<Range<usize>>,
    members: Vec<MemberState>,
    behind: Option<Behind>,
    /// The last step in which somebody committed.
    pub(super) committed_at: Option<usize>,
    unread: Vec<f64>,
    disturbed: bool,
}

#[derive(Clone, Copy, Debug)]
struct MemberState {
    next_commit: f64,
    done: f64,
    batch: f64,
}

impl Readers {
    pub(super) fn new(world: &World<'_>, group: usize, ends: &[f64]) -> Self {
        let backlog = world.scenario.backlog_seconds * world.nominal(0, group);
        let position: Vec<f64> = ends.iter().zip(&world.weights).map(|(end, weight)| end - backlog * weight).collect();
        let plan = &world.scenario.groups[group];
        let mine = || world.members.iter().filter(|member| member.group == group);
        let start =
            |member: &super::world::Member| MemberState { next_commit: member.first_commit, done: 0.0, batch: 0.0 };
        Self {
            group,
            first_slot: world.members.iter().take_while(|member| member.group != group).count(),
            committed: position.iter().map(|at| at.floor()).collect(),
            reached: position.clone(),
            unread: vec![0.0; position.len()],
            staff: Staff::new(plan),
            committed_at: None,
            assigned: mine().map(|member| member.partitions.clone()).collect(),
            members: mine().map(start).collect(),
            behind: (plan.commit_behind_seconds > 0.0).then(|| Behind::new(plan.commit_behind_seconds, &position)),
            disturbed: world.faults().iter().any(|(_, fault)| fault.group == group),
            position,
        }
    }

    /// What begins or ends with this step: commits before a rebalance, work lost in a crash, offsets set back.
    pub(super) fn strike(&mut self, world: &World<'_>, step: usize) {
        if !self.disturbed {
            return;
        }
        let group = self.group;
        for (span, fault) in world.faults().iter().filter(|(_, fault)| fault.group == group) {
            match fault.kind {
                FaultKind::Rebalance if span.start == step => self.commit_all(),
                FaultKind::Crash(_) if span.start == step => self.position.clone_from(&self.committed),
                FaultKind::Crash(_) if span.end == step && world.scenario.groups[group].commits_spread => {
                    self.restart(world, step);
                }
                FaultKind::MemberDeath(_) if span.end == step => self.position.clone_from(&self.committed),
                FaultKind::Rewind(work_seconds) if span.start == step => {
                    let back = work_seconds * world.nominal(step, group);
                    for (at, weight) in self.position.iter_mut().zip(&world.weights) {
                        *at = (*at - back * weight).floor();
                    }
                    self.committed.clone_from(&self.position);
                }
                _ => continue,
            }
            if let (true, Some(behind)) = (span.start == step || span.end == step, &mut self.behind) {
                behind.reset(&self.position);
            }
        }
    }

    /// Members come and go; everybody commits before.
    pub(super) fn scale(&mut self, world: &World<'_>, step: usize, lag: impl FnOnce(&[f64]) -> f64) {
        let Some(count) = self.staff.step(step, || lag(&self.committed)) else { return };
        self.commit_all();
        let plan = &world.scenario.groups[self.group];
        let now = step as f64 * STEP_SECONDS;
        for (member, state) in self.members.iter_mut().enumerate() {
            self.assigned[member] = split(world.scenario.partitions, count, member);
            *state = MemberState { next_commit: now + plan.commit_seconds, done: 0.0, batch: 0.0 };
        }
    }

    /// The members are new ones, and begin their commit intervals one after the other.
    fn restart(&mut self, world: &World<'_>, step: usize) {
        let plan = &world.scenario.groups[self.group];
        let now = step as f64 * STEP_SECONDS;
        for (member, state) in self.members.iter_mut().enumerate() {
            let next_commit = now + phase(member, plan) * plan.commit_seconds;
            *state = MemberState { next_commit, done: 0.0, batch: 0.0 };
        }
    }

    fn commit_all(&mut self) {
        for (committed, at) in self.committed.iter_mut().zip(&self.position) {
            *committed = at.floor();
        }
    }

    /// One step of work on a log that ends at `ends`.
    pub(super) fn work(&mut self, world: &World<'_>, step: usize, ends: &[f64]) {
        if self.staff.at(step).1 {
            return;
        }
        let plan = &world.scenario.groups[self.group];
        for (unread, (end, at)) in self.unread.iter_mut().zip(ends.iter().zip(&self.position)) {
            *unread = end - at;
        }
        if self.disturbed {
            for (partition, unread) in self.unread.iter_mut().enumerate() {
                if world.is_stuck(step, self.group, partition) {
                    *unread = 0.0;
                }
            }
        }
        let warmth = if plan.warm_up_loss > 0.0 {
            let queue_seconds = self.unread.iter().sum::<f64>() / world.nominal(step, self.group);
            1.0 - plan.warm_up_loss * (-queue_seconds).exp()
        } else {
            1.0
        };
        let out = self.disturbed && world.is_out(step, self.group);
        for member in 0..self.members.len() {
            let slot = self.first_slot + member;
            let budget = world.speeds(step)[slot] * warmth * STEP_SECONDS;
            let partitions = self.assigned[member].clone();
            let (taken, left) = self.read(partitions.clone(), budget);
            self.members[member].done += taken;
            let down = out || (self.disturbed && self.is_down(world, step, member));
            if !down {
                self.end_of_batch(world, step, member, partitions, left);
            }
        }
        if let Some(behind) = &mut self.behind {
            behind.push(&self.position);
        }
    }

    /// Takes up to `budget` messages, first an equal share of each partition, then what is left of it anywhere.
    /// Returns what was taken and what remains.
    fn read(&mut self, partitions: std::ops::Range<usize>, budget: f64) -> (f64, f64) {
        let unread = &self.unread[partitions.clone()];
        let waiting = unread.iter().filter(|unread| **unread > 1e-9).count().max(1);
        let share = budget / waiting as f64;
        let first: f64 = unread.iter().map(|unread| unread.min(share)).sum();
        let all: f64 = unread.iter().sum();
        let more = ((budget - first) / (all - first).max(1e-12)).min(1.0);
        let mut taken = 0.0;
        for partition in partitions {
            let unread = self.unread[partition];
            let fair = unread.min(share);
            let take = fair + (unread - fair) * more;
            self.position[partition] += take;
            self.reached[partition] = self.reached[partition].max(self.position[partition]);
            taken += take;
        }
        (taken, all - taken)
    }

    fn is_down(&self, world: &World<'_>, step: usize, member: usize) -> bool {
        let mine = |kind: FaultKind| kind == FaultKind::MemberDeath(member);
        world.faults().iter().any(|(span, fault)| fault.group == self.group && mine(fault.kind) && span.contains(&step))
    }

    /// Between two batches a member looks at its commit timer, then fetches anew.
    fn end_of_batch(
        &mut self,
        world: &World<'_>,
        step: usize,
        member: usize,
        partitions: std::ops::Range<usize>,
        left: f64,
    ) {
        let plan = &world.scenario.groups[self.group];
        let state = &mut self.members[member];
        if state.done < state.batch - 1e-6 && left >= 1.0 {
            return;
        }
        let now = step as f64 * STEP_SECONDS;
        if state.next_commit <= now {
            self.committed_at = Some(step);
            for partition in partitions {
                self.committed[partition] = match &self.behind {
                    None => (self.position[partition] + 1e-6).floor(),
                    Some(behind) => (behind.confirmed(partition) + 1e-6).floor().max(self.committed[partition]),
                };
            }
            let interval =
                plan.commit_change.filter(|(from, _)| now >= *from).map_or(plan.commit_seconds, |(_, to)| to);
            state.next_commit = now + interval * (1.0 + world.jitter[step] * plan.commit_jitter);
        }
        state.batch = left.min(plan.max_poll_records);
        state.done = 0.0;
    }
}
