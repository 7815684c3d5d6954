//! Somebody who looks at the plant now and then: commits first, log ends a little later, the answer later still.

use super::STEP_SECONDS;
use super::coordinator;
use super::log::Plant;
use super::tail::Tail;
use super::world::{Poll, World};
use crate::sim::policy::{Described, Observation};
use crate::sim::scenario::CommitView;

/// What is due after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Commits,
    Ends,
    Answer(usize),
}

/// What an answer says of itself. Times in seconds on the observer's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) answered_at: f64,
    pub(super) succeeded: bool,
    commits_at: f64,
    ends_at: f64,
}

/// Reads the plant when its polls are due.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    agenda: Vec<(usize, Due)>,
    next: usize,
    valve: Option<usize>,
    partitions: Vec<usize>,
    polls: Vec<Poll>,
    tail: Option<Tail>,
    ends: Vec<i64>,
    last_stable: Vec<i64>,
    committed: Vec<Vec<Option<i64>>>,
    sent_total: u64,
    described: Vec<Option<Described>>,
}

impl Observer {
    /// Of one of several valves; `None`: of everything.
    pub(super) fn new(world: &World<'_>, plant: &Plant<'_>, valve: Option<usize>) -> Self {
        let due = |(index, poll): (usize, &Poll)| {
            [(poll.commits_step, Due::Commits), (poll.ends_step, Due::Ends), (poll.answer_step, Due::Answer(index))]
        };
        let scenario = world.scenario;
        let polls = world.polls_of(valve.unwrap_or(0)).to_vec();
        let mut agenda: Vec<(usize, Due)> = polls.iter().enumerate().flat_map(due).collect();
        agenda.sort_by_key(|(step, _)| *step);
        let partitions: Vec<usize> =
            valve.map_or_else(|| (0..scenario.partitions).collect(), |valve| scenario.partitions_of(valve).collect());
        let mut observer = Self {
            agenda,
            next: 0,
            valve,
            polls,
            tail: None,
            ends: vec![0; partitions.len()],
            last_stable: vec![0; partitions.len()],
            committed: vec![vec![None; partitions.len()]; scenario.groups.len()],
            partitions,
            sent_total: 0,
            described: vec![None; scenario.groups.len()],
        };
        if scenario.observation.commits == CommitView::Tail {
            observer.committed = commits(plant, &observer.partitions);
            observer.tail = Some(Tail::new(scenario.observation.tail_seconds, observer.committed.clone()));
        }
        observer
    }

    /// Does what is due after `step`; an answer, if one is there.
    pub(super) fn look(&mut self, world: &World<'_>, plant: &Plant<'_>, step: usize) -> Option<Answer> {
        let followed = self.follow(world, plant, step);
        while let Some((_, due)) = self.agenda.get(self.next).filter(|(at, _)| *at <= step) {
            self.next += 1;
            match *due {
                Due::Commits if self.tail.is_none() => self.committed = commits(plant, &self.partitions),
                Due::Commits => {}
                Due::Ends => self.read_ends(plant),
                Due::Answer(index) => {
                    let poll = self.polls[index];
                    self.describe(world, plant, poll.answered_at);
                    let known = self.tail.as_ref().map(|tail| tail.known_until(step) as f64 * STEP_SECONDS);
                    return Some(Answer {
                        answered_at: poll.answered_at,
                        succeeded: poll.succeeded,
                        commits_at: known.unwrap_or(poll.commits_at),
                        ends_at: poll.ends_at,
                    });
                }
            }
        }
        followed
    }

    /// A commit that a tail shows is an answer of its own, for which the log ends are read at once.
    fn follow(&mut self, world: &World<'_>, plant: &Plant<'_>, step: usize) -> Option<Answer> {
        let partitions = &self.partitions;
        let (at, committed) = self.tail.as_mut()?.step(plant, step, |plant| commits(plant, partitions))?;
        self.committed = committed;
        self.read_ends(plant);
        let now = step as f64 * STEP_SECONDS;
        self.describe(world, plant, now);
        let succeeded = !world.scenario.observation.is_dark(now);
        Some(Answer { answered_at: now, succeeded, commits_at: at as f64 * STEP_SECONDS, ends_at: now })
    }

    fn read_ends(&mut self, plant: &Plant<'_>) {
        for ((end, stable), partition) in self.ends.iter_mut().zip(&mut self.last_stable).zip(&self.partitions) {
            *end = plant.end_offset(*partition);
            *stable = plant.stable_offset(*partition);
        }
        self.sent_total = self.valve.map_or(plant.governed, |valve| plant.sent[valve]) as u64;
    }

    fn describe(&mut self, world: &World<'_>, plant: &Plant<'_>, at: f64) {
        for (group, seen) in self.described.iter_mut().enumerate() {
            *seen = coordinator::newest(world, &plant.readers[group].staff, group, at);
        }
    }

    /// What `answer` saw.
    pub(super) fn seen(&self, answer: &Answer) -> Observation<'_> {
        Observation {
            commits_at: answer.commits_at,
            ends_at: answer.ends_at,
            ends: &self.ends,
            last_stable: &self.last_stable,
            committed: &self.committed,
            sent_total: self.sent_total,
            described: &self.described,
        }
    }
}

fn commits(plant: &Plant<'_>, partitions: &[usize]) -> Vec<Vec<Option<i64>>> {
    let of = |group| partitions.iter().map(|partition| Some(plant.committed_offset(group, *partition))).collect();
    (0..plant.readers.len()).map(of).collect()
}
