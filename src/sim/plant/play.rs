//! One run: the plant step by step, a decision at every answer of the observer.

use std::ops::Range;

use super::log::Plant;
use super::observer::Observer;
use super::trace::{SAMPLE_STEPS, Trace};
use super::world::World;
use crate::sim::policy::{Observation, Policy};

/// What really happened so far: for an oracle alone.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Truth<'a> {
    /// The story.
    pub(in crate::sim) world: &'a World<'a>,
    /// Growth of the log a step, messages.
    pub(in crate::sim) grown: &'a [f64],
    /// Unread messages, a step and member.
    unread: &'a [f64],
}

impl Truth<'_> {
    /// Members of `group`: slot, partitions, share of the traffic.
    pub(in crate::sim) fn members_of(&self, group: usize) -> impl Iterator<Item = (usize, Range<usize>, f64)> + '_ {
        let members = self.world.members.iter().enumerate().filter(move |(_, member)| member.group == group);
        members.map(|(slot, member)| (slot, member.partitions.clone(), self.world.weight(member)))
    }

    /// Unread messages of the member in `slot` after `step`.
    pub(in crate::sim) fn unread_of(&self, step: usize, slot: usize) -> f64 {
        self.unread[step * self.world.members.len() + slot]
    }
}

/// Decides about a limit at every answer of the observer.
pub(in crate::sim) trait Decider {
    /// The limit before the first answer, messages/s.
    fn initial(&self) -> f64;
    /// The limit from now on, messages/s; `+∞`: none.
    fn decide(&mut self, now: f64, seen: Option<&Observation<'_>>, truth: &Truth<'_>) -> f64;
}

/// A policy, which is not shown the truth.
pub(in crate::sim) struct Blind<'p>(pub(in crate::sim) &'p mut dyn Policy);

impl Decider for Blind<'_> {
    fn initial(&self) -> f64 {
        self.0.initial()
    }

    fn decide(&mut self, now: f64, seen: Option<&Observation<'_>>, _truth: &Truth<'_>) -> f64 {
        self.0.tick(now, seen)
    }
}

/// Plays `world` under `decider`.
pub(in crate::sim) fn play(world: &World<'_>, decider: &mut dyn Decider) -> Trace {
    let mut limit = decider.initial();
    let mut plant = Plant::new(world, limit);
    let mut observer = Observer::new(world);
    let mut trace = Trace::new(world, &plant);
    let started: Vec<f64> = plant.readers.iter().map(|group| group.reached.iter().sum()).collect();
    let mut grown = Vec::with_capacity(world.steps);
    let mut unread = Vec::with_capacity(world.steps * world.members.len());
    for step in 0..world.steps {
        grown.push(plant.step(step));
        unread.extend(world.members.iter().map(|member| plant.unread(member.group, member.partitions.clone())));
        if let Some(index) = observer.look(world, &plant, step) {
            let poll = &world.polls[index];
            let seen = observer.seen(poll);
            let truth = Truth { world, grown: &grown, unread: &unread };
            let decided = decider.decide(poll.answered_at, poll.succeeded.then_some(&seen), &truth);
            assert!(!decided.is_nan(), "a policy decided for no number at {} s", poll.answered_at);
            limit = decided.max(SMALLEST_LIMIT);
            plant.command(step, limit);
        }
        if (step + 1) % SAMPLE_STEPS == 0 {
            trace.sample(world, &plant, step, limit, &started);
        }
    }
    trace.ledger = plant.ledger();
    trace
}

/// A limit of 0 would never be left again, messages/s.
const SMALLEST_LIMIT: f64 = 1e-3;
