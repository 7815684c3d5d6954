//! The log between writers and readers, and one step of everything.

use super::STEP_SECONDS;
use super::gaps::Gaps;
use super::offsets::Offsets;
use super::producers::Producers;
use super::readers::Readers;
use super::transactions::{Grown, Transactions};
use super::world::World;
use crate::lag::Isolation;

/// A running plant.
#[derive(Clone, Debug)]
pub struct Plant<'w> {
    world: &'w World<'w>,
    pub(super) producers: Producers,
    pub(super) readers: Vec<Readers>,
    pub(super) ends: Vec<f64>,
    pub(super) governed: f64,
    pub(super) live: f64,
    /// The governed part, a valve.
    pub(super) sent: Vec<f64>,
    transactions: Option<Transactions>,
    gaps: Option<Gaps>,
    offsets: Offsets,
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
        Self::with_limits(world, &[limit])
    }

    /// The same with one limit for all, or one a valve.
    pub(super) fn with_limits(world: &'w World<'w>, limits: &[f64]) -> Self {
        let load = &world.scenario.load;
        let ends = vec![FIRST_END; world.scenario.partitions];
        let groups = 0..world.scenario.groups.len();
        let readers: Vec<Readers> = groups.map(|group| Readers::new(world, group, &ends)).collect();
        let mut offsets = Offsets::new(ends.len());
        let first = |partition: usize| readers.iter().map(|group| group.position[partition]).fold(FIRST_END, f64::min);
        let from: Vec<f64> = (0..ends.len()).map(first).collect();
        Self {
            world,
            producers: Producers::new(world, limits),
            sent: vec![0.0; world.scenario.valves()],
            gaps: load.gaps.map(|plan| Gaps::new(plan, world, &from, &ends, &mut offsets)),
            transactions: load.transactions.map(|plan| Transactions::new(plan, load.producers, &ends)),
            offsets,
            readers,
            ends,
            governed: 0.0,
            live: 0.0,
        }
    }

    /// A new limit for all governed producers, messages/s, given after `step`.
    pub fn command(&mut self, step: usize, limit: f64) {
        self.producers.command(limit, self.world.offered[step.saturating_sub(REPORT_STEPS)]);
    }

    /// A new limit for the governed producers of `valve`, messages/s, given after `step`.
    pub(super) fn command_valve(&mut self, valve: usize, step: usize, limit: f64) {
        self.producers.command_valve(valve, limit, self.world.offered[step.saturating_sub(REPORT_STEPS)]);
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
        let valves = self.sent.len();
        for (valve, sent) in self.sent.iter_mut().enumerate() {
            *sent += if valves == 1 { governed } else { self.producers.released_of(valve) };
        }
        let before = self.transactions.is_some().then(|| self.ends.clone());
        self.write(governed, live);
        if let Some(gaps) = &mut self.gaps {
            gaps.grow(&self.ends, &mut self.offsets);
        }
        if let (Some(transactions), Some(before)) = (&mut self.transactions, &before) {
            let grown = Grown { before, ends: &self.ends, released: self.producers.released() };
            transactions.step(world, step, &grown, &mut self.offsets);
        }
        self.read(step);
        governed + live
    }

    fn write(&mut self, governed: f64, live: f64) {
        let world = self.world;
        if !world.scenario.has_own_topics() {
            for (end, weight) in self.ends.iter_mut().zip(&world.weights) {
                *end += (governed + live) * weight;
            }
            return;
        }
        for valve in 0..self.sent.len() {
            let whole: f64 = world.scenario.partitions_of(valve).map(|partition| world.weights[partition]).sum();
            let released = self.producers.released_of(valve) / whole;
            for partition in world.scenario.partitions_of(valve) {
                self.ends[partition] += (released + live) * world.weights[partition];
            }
        }
    }

    fn read(&mut self, step: usize) {
        let world = self.world;
        let readable: Option<Vec<f64>> = self
            .transactions
            .as_ref()
            .map(|open| (0..self.ends.len()).map(|partition| open.readable(partition)).collect());
        for (group, readers) in self.readers.iter_mut().enumerate() {
            let committed = world.scenario.groups[group].isolation == Isolation::ReadCommitted;
            let ends = readable.as_ref().filter(|_| committed).unwrap_or(&self.ends);
            readers.work(world, step, ends);
            let (offsets, ends) = (&self.offsets, &self.ends);
            readers.scale(world, step, |committed| {
                let lag = |(partition, (end, at)): (usize, (&f64, &f64))| {
                    (offsets.end(partition, *end) - offsets.after(partition, *at)) as f64
                };
                ends.iter().zip(committed).enumerate().map(lag).sum()
            });
        }
    }

    /// Log end of `partition`, as a broker tells it.
    pub(super) fn end_offset(&self, partition: usize) -> i64 {
        self.offsets.end(partition, self.ends[partition])
    }

    /// Last stable offset of `partition`, as a broker tells it.
    pub(super) fn stable_offset(&self, partition: usize) -> i64 {
        self.transactions.as_ref().map_or_else(|| self.end_offset(partition), |open| open.stable_offset(partition))
    }

    /// Committed offset of `group` on `partition`, as a coordinator tells it.
    pub(super) fn committed_offset(&self, group: usize, partition: usize) -> i64 {
        self.offsets.after(partition, self.readers[group].committed[partition])
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

    /// Unread messages of `group` in `partitions`; what lies in a transaction that still may end in time is not owed
    /// to a `read_committed` group, what lies behind a hanging one is.
    pub(super) fn unread(&self, group: usize, partitions: std::ops::Range<usize>) -> f64 {
        let positions = &self.readers[group].position[partitions.clone()];
        if let Some(open) = &self.transactions
            && self.world.scenario.groups[group].isolation == Isolation::ReadCommitted
        {
            return partitions.zip(positions).map(|(partition, at)| open.in_time(partition) - at).sum();
        }
        self.ends[partitions].iter().zip(positions).map(|(end, at)| end - at).sum()
    }
}

/// Log end of each partition at the start: far from 0, so that nothing looks like a sentinel.
const FIRST_END: f64 = 1e9;
/// Age of the demand that an allocation knows, steps.
const REPORT_STEPS: usize = 20;

#[cfg(test)]
impl Plant<'_> {
    /// The log end that `partition` had after so many records.
    pub(super) fn offset_of(&self, partition: usize, records: f64) -> i64 {
        self.offsets.end(partition, records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::catalogue;

    #[test]
    fn nothing_appears_and_nothing_vanishes() {
        let stories = [
            "S01", "S14", "S22", "S23", "S25", "S37", "S45", "S46", "S59", "S62", "S67", "S70", "S72", "S75", "S76",
            "S77",
        ];
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
