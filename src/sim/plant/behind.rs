//! Commits that say where a group was a while ago.

use super::steps_in;

/// What a group had processed, a step, for as long as its commits stay behind.
#[derive(Clone, Debug)]
pub(super) struct Behind {
    ring: Vec<Vec<f64>>,
    next: usize,
}

impl Behind {
    /// Commits stay `seconds` behind, above 0.
    pub(super) fn new(seconds: f64, position: &[f64]) -> Self {
        Self { ring: vec![position.to_vec(); steps_in(seconds).max(1)], next: 0 }
    }

    /// One step later.
    pub(super) fn push(&mut self, position: &[f64]) {
        self.ring[self.next].copy_from_slice(position);
        self.next = (self.next + 1) % self.ring.len();
    }

    /// Nothing is being processed: the group begins anew at `position`.
    pub(super) fn reset(&mut self, position: &[f64]) {
        self.ring.iter_mut().for_each(|kept| kept.copy_from_slice(position));
    }

    /// What is confirmed of `partition`.
    pub(super) fn confirmed(&self, partition: usize) -> f64 {
        self.ring[self.next][partition]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_confirmed_is_as_old_as_was_said() {
        let mut behind = Behind::new(3.0, &[0.0]);
        for step in 1..200 {
            behind.push(&[f64::from(step)]);
            assert_eq!(behind.confirmed(0), f64::from((step - 59).max(0)), "at step {step}");
        }
        behind.reset(&[7.0]);
        assert_eq!(behind.confirmed(0), 7.0);
    }
}
