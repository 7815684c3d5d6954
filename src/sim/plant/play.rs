//! One run: the plant step by step, a decision at every answer of the observer.

use std::ops::Range;

use super::log::Plant;
use super::observer::Observer;
use super::readers::Readers;
use super::trace::{SAMPLE_STEPS, Trace};
use super::world::{World, split};
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
    readers: &'a [Readers],
}

impl Truth<'_> {
    /// Members of `group` at `step`: slot, partitions, share of the traffic.
    pub(in crate::sim) fn members_of(
        &self,
        step: usize,
        group: usize,
    ) -> impl Iterator<Item = (usize, Range<usize>, f64)> + '_ {
        let partitions = self.world.scenario.partitions;
        let (members, _) = self.readers[group].staff.at(step);
        let first = self.readers[group].first_slot;
        let part = move |member| (first + member, split(partitions, members, member));
        (0..members).map(part).map(|(slot, part)| (slot, part.clone(), self.world.weight(part)))
    }

    /// Whether nobody in `group` reads anything new at `step`.
    pub(in crate::sim) fn is_out(&self, step: usize, group: usize) -> bool {
        let pinned = self.world.is_pinned(step, group);
        pinned || self.world.is_out(step, group) || self.readers[group].staff.at(step).1
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

/// Plays `world` under one decider for all writers, or one a valve.
pub(in crate::sim) fn play(world: &World<'_>, deciders: &mut [&mut dyn Decider]) -> Trace {
    let several = deciders.len() > 1;
    let mut limits: Vec<f64> = deciders.iter().map(|decider| decider.initial()).collect();
    let mut plant = Plant::with_limits(world, &limits);
    let mut observers: Vec<Observer> =
        (0..deciders.len()).map(|valve| Observer::new(world, &plant, several.then_some(valve))).collect();
    let mut trace = Trace::new(world, &plant);
    let started: Vec<f64> = plant.readers.iter().map(|group| group.reached.iter().sum()).collect();
    let mut grown = Vec::with_capacity(world.steps);
    let mut unread = Vec::with_capacity(world.steps * world.members.len());
    for step in 0..world.steps {
        grown.push(plant.step(step));
        for (group, readers) in plant.readers.iter().enumerate() {
            unread.extend(readers.assigned.iter().map(|partitions| plant.unread(group, partitions.clone())));
        }
        for (valve, (decider, observer)) in deciders.iter_mut().zip(&mut observers).enumerate() {
            let Some(answer) = observer.look(world, &plant, step) else { continue };
            let seen = observer.seen(&answer);
            let truth = Truth { world, grown: &grown, unread: &unread, readers: &plant.readers };
            let decided = decider.decide(answer.answered_at, answer.succeeded.then_some(&seen), &truth);
            assert!(!decided.is_nan(), "a policy decided for no number at {} s", answer.answered_at);
            limits[valve] = decided.max(SMALLEST_LIMIT);
            if several {
                plant.command_valve(valve, step, limits[valve]);
            } else {
                plant.command(step, limits[valve]);
            }
        }
        if (step + 1) % SAMPLE_STEPS == 0 {
            trace.sample(world, &plant, step, limits.iter().sum(), &started);
        }
    }
    trace.ledger = plant.ledger();
    trace
}

/// A limit of 0 would never be left again, messages/s.
const SMALLEST_LIMIT: f64 = 1e-3;
