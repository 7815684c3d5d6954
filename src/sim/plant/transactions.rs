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
