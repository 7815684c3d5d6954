//! A yardstick: a law that is told capacity and lag exactly, only as late as a commit could tell them.

use std::collections::VecDeque;

use super::plant::{Decider, STEP_SECONDS, Truth};
use super::policy::Observation;

/// Knows capacity and lag, half a commit interval and 0.1 s late and only at polls, and its own limits on their way.
///
/// Proportional, 1.5 s. It is no bound: where its knowledge is stale at the wrong moment, a law that stands aside does
/// better.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// Limits given, oldest first: seconds and messages/s.
    given: VecDeque<(f64, f64)>,
}

impl Oracle {
    /// An oracle that has not decided yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Messages that limits of the last `delay` seconds will still bring, at `recent` messages/s of production.
    fn on_the_way(&mut self, now: f64, delay: f64, recent: f64) -> f64 {
        let since = now - delay;
        while self.given.get(1).is_some_and(|(at, _)| *at < since) {
            self.given.pop_front();
        }
        let until = self.given.iter().skip(1).map(|(at, _)| *at).chain([now]);
        let spans = self.given.iter().zip(until).filter(|(_, until)| *until > since);
        spans.map(|((at, limit), until)| limit.min(3.0 * recent + 1.0) * (until - at.max(since))).sum()
    }
}

impl Decider for Oracle {
    fn initial(&self) -> f64 {
        f64::INFINITY
    }

    fn decide(&mut self, now: f64, _seen: Option<&Observation<'_>>, truth: &Truth<'_>) -> f64 {
        let scenario = truth.world.scenario();
        let (load, poll) = (&scenario.load, scenario.observation.poll_seconds);
        let delay = middle(load.delay_seconds) + middle(load.linger_seconds);
        let horizon_seconds = (0.8 * poll).max(SHORTEST_HORIZON_SECONDS);
        let step = (now / STEP_SECONDS) as usize;
        let mut best = f64::INFINITY;
        for (group, plan) in scenario.groups.iter().enumerate() {
            let age = 0.5 * plan.commit_seconds + FETCH_SECONDS;
            let then = step.saturating_sub((age / STEP_SECONDS) as usize);
            let elapsed = (step - then) as f64 * STEP_SECONDS;
            let grown: f64 = truth.grown[then..step].iter().sum();
            let coming = self.on_the_way(now, delay, grown / elapsed.max(STEP_SECONDS));
            for part in parts(truth, group, then) {
                let lag = (part.unread + grown * part.weight - part.capacity * elapsed).max(0.0);
                let lag = (lag + coming * part.weight - part.capacity * delay).max(0.0);
                let wanted = part.capacity + (SET_POINT_SECONDS * part.capacity - lag) / horizon_seconds;
                best = best.min(wanted.max(0.0) / part.weight);
            }
        }
        self.given.push_back((now, best));
        best
    }
}

/// Members that are seen as one: capacity in messages/s, unread messages, share of the traffic.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    capacity: f64,
    unread: f64,
    weight: f64,
}

/// All members together where their shares are alike, else one by one; members with a stuck partition do not count.
fn parts(truth: &Truth<'_>, group: usize, step: usize) -> Vec<Part> {
    let world = truth.world;
    let plan = &world.scenario().groups[group];
    let capacity = if truth.is_out(step, group) { 0.0 } else { world.nominal(step, group) / plan.members as f64 };
    let mine = truth.members_of(step, group).filter(|(_, partitions, weight)| {
        *weight > 0.0 && !partitions.clone().any(|partition| world.is_stuck(step, group, partition))
    });
    let single = |(slot, _, weight)| Part { capacity, unread: truth.unread_of(step, slot), weight };
    let parts: Vec<Part> = mine.map(single).collect();
    let alike = parts.windows(2).all(|pair| (pair[0].weight - pair[1].weight).abs() < 1e-9);
    if !alike || parts.is_empty() {
        return parts;
    }
    let sum = parts.iter().fold(Part::default(), |sum, part| Part {
        capacity: sum.capacity + part.capacity,
        unread: sum.unread + part.unread,
        weight: sum.weight + part.weight,
    });
    vec![sum]
}

fn middle(range: (f64, f64)) -> f64 {
    0.5 * (range.0 + range.1)
}

/// The lag it aims at, seconds: the default of the laws.
const SET_POINT_SECONDS: f64 = 2.0;
/// Time between a commit and its reading, seconds.
const FETCH_SECONDS: f64 = 0.1;
/// An error in lag is worked off in this time, seconds.
const SHORTEST_HORIZON_SECONDS: f64 = 1.5;
