//! One scenario, one seed, one policy → a trace and its score, beside the same story without control and under an oracle.

use super::oracle::Oracle;
use super::plant::{Blind, Decider, Trace, World, play};
use super::policy::{Observation, Policy, Told};
use super::scenario::{Scenario, Yardstick};
use super::score::{Beside, Score};
use super::total::ScenarioResult;

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What happened.
    pub trace: Trace,
    /// What it cost.
    pub score: Score,
}

/// A scenario with a seed: everything that chance decides, and the two runs that every policy is compared with.
#[derive(Clone, Debug)]
pub struct Case<'s> {
    world: World<'s>,
    seed: u64,
    unlimited: Trace,
    oracle: Outcome,
}

impl<'s> Case<'s> {
    /// Draws `scenario` with `seed`; plays it without control and under the oracle.
    #[must_use]
    pub fn new(scenario: &'s Scenario, seed: u64) -> Self {
        let world = World::draw(scenario, seed);
        let unlimited = play(&world, &mut [&mut Blind(&mut Unlimited)]);
        let trace = play(&world, &mut [&mut Oracle::new()]);
        let score = Score::of(&world, &trace, beside(scenario, &unlimited, &trace));
        Self { world, seed, unlimited, oracle: Outcome { trace, score } }
    }

    /// Plays it under `policy`, which decides for all writers. It sees the same random numbers as any other.
    pub fn run(&self, policy: &mut dyn Policy) -> Outcome {
        self.score(play(&self.world, &mut [&mut Blind(policy)]))
    }

    /// Plays it with one policy a valve, each of which sees its own topic and decides for its own writers.
    pub fn run_valves(&self, mut policy: impl FnMut(&Scenario) -> Box<dyn Policy>) -> Outcome {
        let scenario = self.world.scenario();
        let mut policies: Vec<Box<dyn Policy>> = (0..scenario.valves()).map(|_| policy(scenario)).collect();
        let mut blind: Vec<Blind<'_>> = policies.iter_mut().map(|policy| Blind(policy.as_mut())).collect();
        let mut deciders: Vec<&mut dyn Decider> = blind.iter_mut().map(|blind| blind as &mut dyn Decider).collect();
        self.score(play(&self.world, &mut deciders))
    }

    /// What was drawn.
    #[must_use]
    pub const fn world(&self) -> &World<'s> {
        &self.world
    }

    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The run without control.
    #[must_use]
    pub fn unlimited(&self) -> Outcome {
        self.score(self.unlimited.clone())
    }

    /// The run under the oracle.
    #[must_use]
    pub const fn oracle(&self) -> &Outcome {
        &self.oracle
    }

    fn score(&self, trace: Trace) -> Outcome {
        let beside = beside(self.world.scenario(), &self.unlimited, &self.oracle.trace);
        let score = Score::of(&self.world, &trace, beside);
        Outcome { trace, score }
    }
}

/// Runs `scenario` once a seed under policies that `policy` makes anew for each seed and valve.
pub fn run_scenario(
    scenario: &Scenario,
    seeds: impl IntoIterator<Item = u64>,
    mut policy: impl FnMut(&Scenario) -> Box<dyn Policy>,
) -> ScenarioResult {
    let mut result = ScenarioResult::new(scenario);
    for seed in seeds {
        let case = Case::new(scenario, seed);
        let outcome = case.run_valves(&mut policy);
        result.push(seed, outcome.score, case.oracle().score);
    }
    result
}

impl Scenario {
    /// What an operator would tell a law about it.
    #[must_use]
    pub fn told(&self) -> Told {
        Told { poll_seconds: self.observation.poll_seconds, nominal_capacity: self.nominal_capacity() }
    }
}

fn beside<'a>(scenario: &Scenario, unlimited: &'a Trace, oracle: &'a Trace) -> Beside<'a> {
    let yardstick = match scenario.yardstick {
        Yardstick::Unlimited => unlimited,
        Yardstick::Oracle => oracle,
    };
    Beside { unlimited, yardstick }
}

/// No control.
struct Unlimited;

impl Policy for Unlimited {
    fn tick(&mut self, _now: f64, _seen: Option<&Observation<'_>>) -> f64 {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Shipped, ShippedStart, catalogue};

    fn story(id: &str) -> Scenario {
        catalogue().into_iter().find(|scenario| scenario.id == id).unwrap()
    }

    #[test]
    fn a_run_repeats_bit_by_bit() {
        for id in ["S26", "S38"] {
            let scenario = story(id);
            let run = || Case::new(&scenario, 3).run(&mut Shipped::new(&scenario, ShippedStart::Open));
            let (first, second) = (run(), run());
            assert_eq!(first, second, "{id}");
            assert!(first.trace.produced.iter().zip(&second.trace.produced).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }

    #[test]
    fn another_seed_is_another_run() {
        let scenario = story("S01");
        let run = |seed| Case::new(&scenario, seed).run(&mut Shipped::new(&scenario, ShippedStart::Open));
        assert_ne!(run(1).trace, run(2).trace);
    }

    #[test]
    fn without_control_nothing_is_lost_and_lag_grows_without_end() {
        let scenario = story("S01");
        let score = Case::new(&scenario, 1).unlimited().score;
        assert_eq!(score.lost_percent, 0.0);
        assert!(score.excess_seconds > 500.0, "{score:?}");
    }

    /// Takes down what it is shown, and never limits.
    #[derive(Default)]
    struct Witness(std::rc::Rc<std::cell::RefCell<Vec<Seen>>>);

    #[derive(Clone, PartialEq)]
    struct Seen {
        now: f64,
        commits_at: f64,
        committed: Vec<Vec<Option<i64>>>,
        sent_total: u64,
    }

    impl Policy for Witness {
        fn tick(&mut self, now: f64, seen: Option<&Observation<'_>>) -> f64 {
            let seen = seen.unwrap();
            self.0.borrow_mut().push(Seen {
                now,
                commits_at: seen.commits_at,
                committed: seen.committed.to_vec(),
                sent_total: seen.sent_total,
            });
            f64::INFINITY
        }
    }

    #[test]
    fn a_tail_shows_each_commit_at_its_own_time_and_soon() {
        let mut scenario = story("S79");
        scenario.load.demand = crate::sim::Shape::Constant(1000.0);
        let witness = Witness::default();
        let seen = witness.0.clone();
        Case::new(&scenario, 1).run(&mut { witness });
        let seen = seen.borrow();
        let commits: Vec<&Seen> =
            seen.windows(2).filter(|pair| pair[0].committed != pair[1].committed).map(|pair| &pair[1]).collect();
        assert!(commits.len() > 120, "3 members over 360 s, a commit in 2 to 8 s each: {}", commits.len());
        assert!(commits.iter().all(|seen| seen.now - seen.commits_at < 0.26));
        assert!(seen.windows(2).all(|pair| pair[0].commits_at <= pair[1].commits_at && pair[0].now <= pair[1].now));
    }

    #[test]
    fn a_valve_sees_its_own_topic_and_its_own_writers() {
        for (id, partitions) in [("S69", 6), ("S70", 3)] {
            let scenario = story(id);
            let mut all = Vec::new();
            let outcome = Case::new(&scenario, 1).run_valves(|_| {
                let witness = Witness::default();
                all.push(witness.0.clone());
                Box::new(witness)
            });
            let last: Vec<Seen> = all.iter().map(|seen| seen.borrow().last().unwrap().clone()).collect();
            assert!(last.iter().all(|seen| seen.committed[0].len() == partitions), "{id}");
            let sent = last.iter().map(|seen| seen.sent_total).sum::<u64>() as f64;
            let governed = outcome.trace.ledger.governed;
            assert!(sent <= governed && sent > 0.99 * governed, "{id}: {sent} of {governed}");
        }
    }

    #[test]
    fn ticks_are_kept_on_demand() {
        let scenario = story("S01");
        let mut shipped = Shipped::new(&scenario, ShippedStart::Open).recording();
        let case = Case::new(&scenario, 1);
        case.run(&mut shipped);
        assert_eq!(shipped.records().len(), case.world().polls().len());
    }
}
