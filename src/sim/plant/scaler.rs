//! Members that come and go: something scales a group by its lag.

use std::collections::VecDeque;

use super::steps_in;
use crate::sim::scenario::{GroupPlan, ScalerPlan};

/// How many members a group has, and what decides about it.
#[derive(Clone, Debug)]
pub(super) struct Staff {
    plan: Option<ScalerPlan>,
    /// From which step on how many members; ascending, never empty.
    changes: Vec<(usize, usize)>,
    next_look: usize,
    /// When how many were wanted, oldest first.
    wanted: VecDeque<(usize, usize)>,
    /// A decision on its way: from which step on how many.
    coming: Option<(usize, usize)>,
}

impl Staff {
    pub(super) fn new(plan: &GroupPlan) -> Self {
        Self {
            plan: plan.scaler,
            changes: vec![(0, plan.members)],
            next_look: 0,
            wanted: VecDeque::new(),
            coming: None,
        }
    }

    /// Members at `step`, and whether they are only being assigned their partitions.
    pub(super) fn at(&self, step: usize) -> (usize, bool) {
        let Some(plan) = self.plan else { return (self.changes[0].1, false) };
        let after = self.changes.partition_point(|(from, _)| *from <= step).max(1);
        let (from, members) = self.changes[after - 1];
        (members, after > 1 && step < from + steps_in(plan.rebalance_seconds))
    }

    /// Decides at its looks, by what `lag` says then; the new number of members, at the step in which it changes.
    pub(super) fn step(&mut self, step: usize, lag: impl FnOnce() -> f64) -> Option<usize> {
        let plan = self.plan?;
        let now = self.changes[self.changes.len() - 1].1;
        if step >= self.next_look {
            self.next_look = step + steps_in(plan.poll_seconds);
            let target = self.look(&plan, step, now, lag());
            if target != now && self.coming.is_none() {
                let delay = if target > now { plan.start_seconds } else { 0.0 };
                self.coming = Some((step + steps_in(delay), target));
            }
        }
        let (_, members) = self.coming.take_if(|(from, _)| *from <= step)?;
        self.changes.push((step, members));
        Some(members)
    }

    fn look(&mut self, plan: &ScalerPlan, step: usize, now: usize, lag: f64) -> usize {
        let ratio = lag / plan.lag_threshold;
        let near = (ratio / now as f64 - 1.0).abs() <= TOLERANCE;
        let wanted = if near { now } else { (ratio.ceil() as usize).clamp(plan.least, plan.most) };
        self.wanted.push_back((step, wanted));
        let since = step.saturating_sub(steps_in(plan.scale_in_seconds));
        while self.wanted.front().is_some_and(|(at, _)| *at < since) {
            self.wanted.pop_front();
        }
        if wanted > now {
            return wanted.min((2 * now).max(now + 4));
        }
        // The window must be full: an autoscaler that has just begun removes nobody either.
        let watched = step >= steps_in(plan.scale_in_seconds);
        let most = self.wanted.iter().map(|(_, wanted)| *wanted).max().unwrap_or(now);
        if watched { most.min(now) } else { now }
    }
}

/// Nearer to what is wanted than this nothing changes (`--horizontal-pod-autoscaler-tolerance`, default 0.1).
const TOLERANCE: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Scenario;

    fn staff() -> Staff {
        let text = "id = \"S01\"\ntitle = \"x\"\nduration_seconds = 60\n[load]\ndemand = { constant = 10 }\n[[groups]]\n\
                    capacity = { constant = 2 }\nscaler = { lag_threshold = 100, least = 1, most = 6 }\n";
        Staff::new(&Scenario::parse(text).unwrap().groups[0])
    }

    #[test]
    fn members_come_at_once_and_leave_after_the_window() {
        let mut staff = staff();
        let second = steps_in(1.0);
        let mut seen = Vec::new();
        for step in 0..900 * second {
            let lag = if step < 100 * second { 550.0 } else { 120.0 };
            seen.extend(staff.step(step, || lag).map(|members| (step / second, members)));
        }
        assert_eq!(
            seen,
            [(10, 6), (420, 2)],
            "out when a container has started, in at the first look more than 300 s after the last wish"
        );
        assert_eq!(staff.at(11 * second), (6, true));
        assert_eq!(staff.at(20 * second), (6, false));
    }

    #[test]
    fn within_a_tenth_nothing_changes() {
        let mut staff = staff();
        assert!((0..10_000).all(|step| staff.step(step, || 320.0).is_none()));
    }
}
