//! Transactional writers: what a `read_committed` group may read ends where the oldest open transaction began.

use super::offsets::Offsets;
use super::steps_in;
use super::world::World;
use crate::sim::scenario::{FaultKind, TransactionPlan};

/// A place in the log of a partition.
#[derive(Clone, Copy, Debug)]
struct Mark {
    records: f64,
    offset: i64,
}

/// Open transactions of every writer.
#[derive(Clone, Debug)]
pub(super) struct Transactions {
    steps: usize,
    /// Where each writer's open transaction began, a partition; empty while it has written nothing.
    open: Vec<Vec<Mark>>,
    /// Where a hanging transaction began, a partition.
    hanging: Vec<Option<Mark>>,
    /// Last stable offset a partition.
    stable: Vec<Mark>,
    /// The same in records, without what hangs: what could be read if every transaction ended in time.
    in_time: Vec<f64>,
}

/// One step of the log.
pub(super) struct Grown<'a> {
    /// Log ends before it, records a partition.
    pub(super) before: &'a [f64],
    /// Log ends after it.
    pub(super) ends: &'a [f64],
    /// What each writer wrote.
    pub(super) released: &'a [f64],
}

impl Transactions {
    pub(super) fn new(plan: TransactionPlan, writers: usize, ends: &[f64]) -> Self {
        Self {
            steps: steps_in(plan.seconds).max(1),
            open: vec![Vec::new(); writers],
            hanging: vec![None; ends.len()],
            stable: ends.iter().map(|end| Mark { records: *end, offset: *end as i64 }).collect(),
            in_time: ends.to_vec(),
        }
    }

    /// Transactions begin with their first record and end in their own rhythm, each with a marker a partition.
    pub(super) fn step(&mut self, world: &World<'_>, step: usize, grown: &Grown<'_>, offsets: &mut Offsets) {
        let begin = |offsets: &Offsets| -> Vec<Mark> {
            let mark = |(partition, records): (usize, &f64)| Mark {
                records: *records,
                offset: offsets.end(partition, *records),
            };
            grown.before.iter().enumerate().map(mark).collect()
        };
        self.hang(world, step, grown, &begin(offsets), offsets);
        for (writer, released) in grown.released.iter().enumerate() {
            if *released > 0.0 && self.open[writer].is_empty() {
                self.open[writer] = begin(offsets);
            }
            let ends = (step + world.transaction_phase[writer]).is_multiple_of(self.steps);
            if ends && !self.open[writer].is_empty() {
                self.open[writer].clear();
                for partition in world.scenario.partitions_of(writer % world.scenario.valves()) {
                    offsets.add(partition, grown.ends[partition], 1.0);
                }
            }
        }
        self.settle(grown.ends, offsets);
    }

    fn hang(&mut self, world: &World<'_>, step: usize, grown: &Grown<'_>, begin: &[Mark], offsets: &mut Offsets) {
        for (span, fault) in world.faults() {
            let FaultKind::HangingTransaction(partition) = fault.kind else { continue };
            let struck = partition.map_or(0..begin.len(), |partition| partition..partition + 1);
            for partition in struck {
                if span.start == step {
                    self.hanging[partition] = Some(begin[partition]);
                } else if span.end == step && self.hanging[partition].take().is_some() {
                    offsets.add(partition, grown.ends[partition], 1.0);
                }
            }
        }
    }

    fn settle(&mut self, ends: &[f64], offsets: &Offsets) {
        for (partition, end) in ends.iter().enumerate() {
            let open = self.open.iter().filter_map(|marks| marks.get(partition)).copied();
            let first = |a: Mark, b: Mark| if b.offset < a.offset { b } else { a };
            let last = open.reduce(first).unwrap_or(Mark { records: *end, offset: offsets.end(partition, *end) });
            self.in_time[partition] = last.records;
            self.stable[partition] = self.hanging[partition].map_or(last, |hanging| first(last, hanging));
        }
    }

    /// Last stable offset of `partition`.
    pub(super) fn stable_offset(&self, partition: usize) -> i64 {
        self.stable[partition].offset
    }

    /// Records of `partition` up to its last stable offset.
    pub(super) fn readable(&self, partition: usize) -> f64 {
        self.stable[partition].records
    }

    /// The same if no transaction hung.
    pub(super) fn in_time(&self, partition: usize) -> f64 {
        self.in_time[partition]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Plant;
    use super::*;
    use crate::sim::{Scenario, catalogue};

    fn story(id: &str) -> Scenario {
        catalogue().into_iter().find(|scenario| scenario.id == id).unwrap()
    }

    #[test]
    fn committed_last_stable_and_end_keep_their_order_and_never_fall() {
        for id in ["S59", "S60", "S62", "S64"] {
            let scenario = story(id);
            let world = World::draw(&scenario, 1);
            let mut plant = Plant::new(&world, scenario.nominal_capacity());
            let mut before = (0, 0);
            for step in 0..world.steps() {
                plant.step(step);
                let (stable, end) = (plant.stable_offset(0), plant.end_offset(0));
                assert!(plant.committed_offset(0, 0) <= stable && stable <= end, "{id} at step {step}");
                assert!(before.0 <= stable && before.1 <= end, "{id} at step {step}");
                before = (stable, end);
            }
        }
    }

    #[test]
    fn a_hanging_transaction_pins_the_last_stable_offset_until_it_is_aborted() {
        let scenario = story("S62");
        let world = World::draw(&scenario, 1);
        let mut plant = Plant::new(&world, scenario.nominal_capacity());
        let mut stable = Vec::new();
        for step in 0..world.steps() {
            plant.step(step);
            stable.push((plant.stable_offset(0), plant.end_offset(0) - plant.stable_offset(0)));
        }
        let at = |seconds: f64| stable[steps_in(seconds)];
        assert_eq!(at(121.5).0, at(139.5).0);
        assert!(at(139.5).1 > 15 * 2000 / 6, "{:?}", at(139.5));
        assert!(at(142.0).0 > at(139.5).0 && at(142.0).1 < 3 * 2000 / 6, "{:?}", at(142.0));
    }

    #[test]
    fn markers_keep_a_group_that_has_read_everything_short_of_the_end() {
        let mut scenario = story("S64");
        scenario.load.demand = crate::sim::Shape::Steps(vec![(0.0, 6.0), (100.0, 0.0)]);
        let world = World::draw(&scenario, 1);
        let mut plant = Plant::new(&world, f64::INFINITY);
        (0..world.steps()).for_each(|step| {
            plant.step(step);
        });
        assert!(plant.unread(0, 0..6) < 1.0);
        let lag: i64 = (0..6).map(|partition| plant.end_offset(partition) - plant.committed_offset(0, partition)).sum();
        assert!((1..=6 * 3 * 2).contains(&lag), "{lag}");
    }
}
