//! The log between writers and readers, and one step of everything.

use super::STEP_SECONDS;
use super::producers::Producers;
use super::readers::Readers;
use super::world::World;

/// A running plant.
#[derive(Clone, Debug)]
pub struct Plant<'w> {
    world: &'w World<'w>,
    pub(super) producers: Producers,
    pub(super) readers: Vec<Readers>,
    pub(super) ends: Vec<f64>,
    pub(super) governed: f64,
    pub(super) live: f64,
}

/// What a run has moved, in messages: nothing appears and nothing vanishes.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// Log end a partition at the start.
    pub start: f64,
    /// Log end a partition.
    pub ends: Vec<f64>,
    /// Read position, a group and partition.
    pub positions: Vec<Vec<f64>>,
    /// Committed offset, a group and partition.
    pub committed: Vec<Vec<f64>>,
    /// Written by governed producers.
    pub governed: f64,
    /// Written by others.
    pub live: f64,
}

impl<'w> Plant<'w> {
    /// At rest, with `limit` messages/s in force for all governed producers; `+∞`: none.
    #[must_use]
    pub fn new(world: &'w World<'w>, limit: f64) -> Self {
        let ends = vec![FIRST_END; world.scenario.partitions];
        let readers = (0..world.scenario.groups.len()).map(|group| Readers::new(world, group, &ends)).collect();
        Self { world, producers: Producers::new(world, limit), readers, ends, governed: 0.0, live: 0.0 }
    }

    /// A new limit for all governed producers, messages/s, given after `step`.
    pub fn command(&mut self, step: usize, limit: f64) {
        self.producers.command(limit, self.world.offered[step.saturating_sub(REPORT_STEPS)]);
    }

    /// One step; returns what the log grew by, messages.
    pub fn step(&mut self, step: usize) -> f64 {
        let world = self.world;
        for group in &mut self.readers {
            group.strike(world, step);
        }
        let governed = self.producers.step(step, world.offered[step]);
        let live = world.scenario.load.live * STEP_SECONDS;
        self.governed += governed;
        self.live += live;
        for (end, weight) in self.ends.iter_mut().zip(&world.weights) {
            *end += (governed + live) * weight;
        }
        for group in &mut self.readers {
            group.work(world, step, &self.ends);
        }
        governed + live
    }

    /// What was moved so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger {
            start: FIRST_END,
            ends: self.ends.clone(),
            positions: self.readers.iter().map(|group| group.position.clone()).collect(),
            committed: self.readers.iter().map(|group| group.committed.clone()).collect(),
            governed: self.governed,
            live: self.live,
        }
    }

    /// Unread messages of `group` in `partitions`.
    pub(super) fn unread(&self, group: usize, partitions: std::ops::Range<usize>) -> f64 {
        let positions = &self.readers[group].position[partitions.clone()];
        self.ends[partitions].iter().zip(positions).map(|(end, at)| end - at).sum()
    }
}

/// Log end of each partition at the start: far from 0, so that nothing looks like a sentinel.
const FIRST_END: f64 = 1e9;
/// Age of the demand that an allocation knows, steps.
const REPORT_STEPS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::catalogue;

    #[test]
    fn nothing_appears_and_nothing_vanishes() {
        let stories = ["S01", "S14", "S22", "S23", "S25", "S37", "S45", "S46"];
        for scenario in catalogue().iter().filter(|scenario| stories.contains(&scenario.id.as_str())) {
            let world = World::draw(scenario, 1);
            let mut plant = Plant::new(&world, scenario.nominal_capacity());
            for step in 0..world.steps() {
                plant.step(step);
                if step % 200 == 0 {
                    conserved(&plant.ledger(), &scenario.id);
                }
            }
            conserved(&plant.ledger(), &scenario.id);
        }
    }

    fn conserved(ledger: &Ledger, story: &str) {
        let grown = ledger.ends.iter().map(|end| end - ledger.start).sum::<f64>();
        let written = ledger.governed + ledger.live;
        assert!((grown - written).abs() < 1e-3, "{story}: the log grew by {grown}, {written} were written");
        for (positions, committed) in ledger.positions.iter().zip(&ledger.committed) {
            for ((end, at), commit) in ledger.ends.iter().zip(positions).zip(committed) {
                assert!(at <= &(end + 1e-3) && commit <= &(at + 1e-3), "{story}: {commit} ≤ {at} ≤ {end}");
            }
        }
    }
}
