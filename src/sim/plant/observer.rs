//! Somebody who looks at the plant now and then: commits first, log ends a little later, the answer later still.

use super::coordinator;
use super::log::Plant;
use super::world::{Poll, World};
use crate::sim::policy::{Described, Observation};

/// What is due after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Commits,
    Ends,
    Answer(usize),
}

/// Reads the plant when its polls are due.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    agenda: Vec<(usize, Due)>,
    next: usize,
    ends: Vec<i64>,
    committed: Vec<Vec<Option<i64>>>,
    sent_total: u64,
    described: Vec<Option<Described>>,
}

impl Observer {
    pub(super) fn new(world: &World<'_>) -> Self {
        let due = |(index, poll): (usize, &Poll)| {
            [(poll.commits_step, Due::Commits), (poll.ends_step, Due::Ends), (poll.answer_step, Due::Answer(index))]
        };
        let mut agenda: Vec<(usize, Due)> = world.polls.iter().enumerate().flat_map(due).collect();
        agenda.sort_by_key(|(step, _)| *step);
        let partitions = world.scenario.partitions;
        Self {
            agenda,
            next: 0,
            ends: vec![0; partitions],
            committed: vec![vec![None; partitions]; world.scenario.groups.len()],
            sent_total: 0,
            described: vec![None; world.scenario.groups.len()],
        }
    }

    /// Does what is due after `step`; the number of the poll whose answer is there, if one is.
    pub(super) fn look(&mut self, world: &World<'_>, plant: &Plant<'_>, step: usize) -> Option<usize> {
        while let Some((_, due)) = self.agenda.get(self.next).filter(|(at, _)| *at <= step) {
            self.next += 1;
            match *due {
                Due::Commits => self.read_commits(plant),
                Due::Ends => {
                    for (seen, end) in self.ends.iter_mut().zip(&plant.ends) {
                        *seen = (end + 1e-6).floor() as i64;
                    }
                    self.sent_total = plant.governed as u64;
                }
                Due::Answer(index) => {
                    let at = world.polls[index].answered_at;
                    for (group, seen) in self.described.iter_mut().enumerate() {
                        *seen = coordinator::newest(world, group, at);
                    }
                    return Some(index);
                }
            }
        }
        None
    }

    fn read_commits(&mut self, plant: &Plant<'_>) {
        for (seen, group) in self.committed.iter_mut().zip(&plant.readers) {
            for (seen, committed) in seen.iter_mut().zip(&group.committed) {
                *seen = Some(*committed as i64);
            }
        }
    }

    /// What `poll` saw, once its answer is there.
    pub(super) fn seen(&self, poll: &Poll) -> Observation<'_> {
        Observation {
            commits_at: poll.commits_at,
            ends_at: poll.ends_at,
            ends: &self.ends,
            last_stable: &self.ends,
            committed: &self.committed,
            sent_total: self.sent_total,
            described: &self.described,
        }
    }
}
