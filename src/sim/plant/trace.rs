//! What happened in a run, sampled four times a second.

use super::STEP_SECONDS;
use super::log::{Ledger, Plant};
use super::world::World;

/// A run, sampled every [`Trace::SECONDS`]; the first sample is one such time after the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Groups.
    pub groups: usize,
    /// Written to the log since the start, all writers; messages.
    pub produced: Vec<f64>,
    /// The same without live traffic.
    pub governed: Vec<f64>,
    /// The limit in force, messages/s; `+∞`: none.
    pub limit: Vec<f64>,
    /// Unread and not stuck, a sample and group; messages.
    pub lag: Vec<f64>,
    /// Log end less commit, a sample and group; messages.
    pub committed_lag: Vec<f64>,
    /// Read for the first time since the start, a sample and group; messages.
    pub delivered: Vec<f64>,
    /// Members, a sample and group.
    pub members: Vec<usize>,
    /// Written since the start, a sample and valve; messages.
    pub sent: Vec<f64>,
    /// What was moved in the end.
    pub ledger: Ledger,
}

impl Trace {
    /// Time between two samples, seconds.
    pub const SECONDS: f64 = SAMPLE_SECONDS;

    pub(super) fn new(world: &World<'_>, plant: &Plant<'_>) -> Self {
        let samples = world.steps / SAMPLE_STEPS;
        let groups = plant.readers.len();
        Self {
            groups,
            produced: Vec::with_capacity(samples),
            governed: Vec::with_capacity(samples),
            limit: Vec::with_capacity(samples),
            lag: Vec::with_capacity(samples * groups),
            committed_lag: Vec::with_capacity(samples * groups),
            delivered: Vec::with_capacity(samples * groups),
            members: Vec::with_capacity(samples * groups),
            sent: Vec::with_capacity(samples * plant.sent.len()),
            ledger: plant.ledger(),
        }
    }

    /// Samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.limit.len()
    }

    /// Whether nothing was sampled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limit.is_empty()
    }

    /// When sample `index` was taken, seconds.
    #[must_use]
    pub fn seconds(index: usize) -> f64 {
        (index + 1) as f64 * SAMPLE_SECONDS
    }

    /// The step after which sample `index` was taken.
    #[must_use]
    pub const fn step(index: usize) -> usize {
        (index + 1) * SAMPLE_STEPS - 1
    }

    pub(super) fn sample(&mut self, world: &World<'_>, plant: &Plant<'_>, step: usize, limit: f64, started: &[f64]) {
        self.produced.push(plant.governed + plant.live);
        self.governed.push(plant.governed);
        self.limit.push(limit);
        self.sent.extend(&plant.sent);
        let all = 0..world.scenario.partitions;
        for (group, readers) in plant.readers.iter().enumerate() {
            let stuck = all.clone().filter(|partition| world.is_stuck(step, group, *partition));
            let hidden: f64 = stuck.map(|partition| plant.unread(group, partition..partition + 1)).sum();
            self.members.push(readers.staff.at(step).0);
            self.lag.push(plant.unread(group, all.clone()) - hidden);
            let ends: f64 = plant.ends.iter().sum();
            self.committed_lag.push(ends - readers.committed.iter().sum::<f64>());
            self.delivered.push(readers.reached.iter().sum::<f64>() - started[group]);
        }
    }
}

/// Steps from one sample to the next.
pub(super) const SAMPLE_STEPS: usize = 5;
/// The same in seconds.
const SAMPLE_SECONDS: f64 = SAMPLE_STEPS as f64 * STEP_SECONDS;
