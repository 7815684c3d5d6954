//! Commits read as they are written: what an observer knows that follows them.

use std::collections::VecDeque;

use super::log::Plant;
use super::steps_in;

/// Commits on their way to the observer.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    delay_steps: usize,
    newest: Vec<Vec<Option<i64>>>,
    coming: VecDeque<(usize, Vec<Vec<Option<i64>>>)>,
}

impl Tail {
    /// Commits are known `seconds` after they were made; those at the start from the start.
    pub(super) fn new(seconds: f64, committed: Vec<Vec<Option<i64>>>) -> Self {
        Self { delay_steps: steps_in(seconds), newest: committed, coming: VecDeque::new() }
    }

    /// After `step`: takes what was committed in it; the step whose commits have become known now, and they.
    pub(super) fn step(
        &mut self,
        plant: &Plant<'_>,
        step: usize,
        read: impl Fn(&Plant<'_>) -> Vec<Vec<Option<i64>>>,
    ) -> Option<(usize, Vec<Vec<Option<i64>>>)> {
        if plant.readers.iter().any(|group| group.committed_at == Some(step)) {
            let committed = read(plant);
            if committed != self.newest {
                self.newest.clone_from(&committed);
                self.coming.push_back((step, committed));
            }
        }
        let due = self.coming.front().is_some_and(|(at, _)| at + self.delay_steps <= step);
        due.then(|| self.coming.pop_front()).flatten()
    }

    /// The last step of which everything is known after `step`.
    pub(super) fn known_until(&self, step: usize) -> usize {
        step.saturating_sub(self.delay_steps)
    }
}
