//! Random stories: a plant and what happens in it, drawn from a seed, to find what the catalogue does not have.

use std::fmt::Write;

use super::chance::{Chance, Purpose};
use super::policy::{Observation, Policy};
use super::scenario::Scenario;

/// Story number `seed` as the text of a scenario file: what is found can be kept.
///
/// At least as wide as the reference design's: capacity from 30 to 300,000 messages/s that steps, demand from half to ten
/// times of it, one to five members with up to three partitions each, commits every 0.1 to 15 s, polls every 0.5 to 2 s,
/// rebalances, crashes, dead members, stuck partitions, rewinds, pauses, slow and wrong limiters, missed polls, wrong
/// clocks, live traffic. The same text for the same seed on every machine.
#[must_use]
pub fn story_text(seed: u64) -> String {
    let mut dice = Dice(Chance::new(seed, STORY, Purpose::Story));
    let capacity = 10_f64.powf(dice.between(1.5, 5.5));
    let (capacities, demands) = steps(&mut dice, capacity);
    let members = 1 + dice.below(5);
    let partitions = members * (1 + dice.below(3));
    let mut text = format!(
        "id = \"F{seed}\"\ntitle = \"random story {seed}\"\nduration_seconds = {DURATION_SECONDS}\npartitions = {partitions}\n\
         marks_seconds = []\nyardstick = \"oracle\"\n"
    );
    if dice.one_in(0.3) && partitions > 1 {
        let weights: Vec<String> = (0..partitions).map(|_| format!("{:.3}", dice.between(0.3, 1.7))).collect();
        text += &format!("weights = [{}]\n", weights.join(", "));
    }
    load(&mut dice, &mut text, capacity, &demands);
    group(&mut dice, &mut text, members, &capacities);
    let poll = dice.pick(&[0.5, 1.0, 1.0, 2.0]);
    let miss = dice.pick(&[0.0, 0.0, 0.1]);
    let noise = dice.pick(&[0.02, 0.02, 0.2]);
    let _ = write!(
        text,
        "\n[observation]\npoll_seconds = {poll:.1}\nmiss_probability = {miss:.1}\ntimestamp_noise_seconds = {noise:.2}\n"
    );
    faults(&mut dice, &mut text, members, partitions);
    text
}

/// Story number `seed`.
///
/// # Panics
/// Never: a test draws thousands and reads each back.
#[must_use]
pub fn story(seed: u64) -> Scenario {
    let text = story_text(seed);
    Scenario::parse(&text).unwrap_or_else(|error| panic!("story {seed} is no scenario: {error}\n{text}"))
}

/// A policy whose every command is looked at: a number above 0, and not beyond any reason.
#[derive(Debug)]
pub struct Checked<P> {
    policy: P,
    most: f64,
    wrong: Option<(f64, f64)>,
}

impl<P: Policy> Checked<P> {
    /// Watches `policy` in `scenario`: a limit a thousand times above all that is offered and taken is none.
    pub fn new(policy: P, scenario: &Scenario) -> Self {
        let seconds = || (0..scenario.duration_seconds as u32).map(f64::from);
        let offered = seconds().map(|second| scenario.load.demand.at(second)).fold(0.0, f64::max);
        let taken = scenario.groups.iter().flat_map(|group| seconds().map(|second| group.capacity.at(second)));
        Self { policy, most: BEYOND_REASON * taken.fold(offered, f64::max), wrong: None }
    }

    /// The first command that was wrong: when, in seconds, and what, in messages/s.
    #[must_use]
    pub const fn wrong(&self) -> Option<(f64, f64)> {
        self.wrong
    }
}

impl<P: Policy> Policy for Checked<P> {
    fn tick(&mut self, now: f64, seen: Option<&Observation<'_>>) -> f64 {
        let limit = self.policy.tick(now, seen);
        let good = limit == f64::INFINITY || (limit > 0.0 && limit <= self.most);
        if !good && self.wrong.is_none() {
            self.wrong = Some((now, limit));
        }
        limit
    }

    fn initial(&self) -> f64 {
        self.policy.initial()
    }
}

/// Values of a shape that steps: `[from_seconds, messages/s]`.
type Steps = Vec<(f64, f64)>;

/// Capacity and demand, each changing now and then.
fn steps(dice: &mut Dice, capacity: f64) -> (Steps, Steps) {
    let mut capacities = vec![(0.0, capacity)];
    let mut demands = vec![(0.0, capacity * 10_f64.powf(dice.between(-0.3, 1.0)))];
    let mut at = dice.between(60.0, 160.0);
    while at <= DURATION_SECONDS - 80.0 {
        if dice.one_in(0.6) {
            capacities.push((at, capacity * 10_f64.powf(dice.between(-0.5, 0.5))));
        } else {
            demands.push((at, capacity * 10_f64.powf(dice.between(-0.5, 1.0))));
        }
        at += dice.between(60.0, 160.0);
    }
    (capacities, demands)
}

fn load(dice: &mut Dice, text: &mut String, capacity: f64, demands: &Steps) {
    let producers = dice.pick(&[1.0, 3.0, 10.0]);
    let delay = dice.between(0.3, 3.0);
    let linger = dice.pick(&[0.1, 0.1, 1.0]);
    let gain = dice.pick(&[1.0, 1.0, 0.9, 1.1]);
    let _ = write!(
        text,
        "\n[load]\ndemand = {}\nproducers = {producers}\ndelay_seconds = [0.1, {delay:.2}]\nlinger_seconds = [0.01, {linger:.1}]\n\
         limiter_gain = {gain:.1}\n",
        shape(demands)
    );
    if dice.one_in(0.2) {
        let _ = writeln!(text, "live = {:.1}", capacity * dice.between(0.05, 0.4));
    }
}

fn group(dice: &mut Dice, text: &mut String, members: usize, capacities: &Steps) {
    let commit = dice.pick(&[0.1, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0, 10.0, 15.0]);
    let jitter = dice.pick(&[0.02, 0.2, 0.5]);
    let batch = dice.pick(&[50.0, 500.0, 5000.0]);
    let (noise, seconds) = (dice.between(0.01, 0.1), dice.between(3.0, 30.0));
    let _ = write!(
        text,
        "\n[[groups]]\ncapacity = {}\nmembers = {members}\ncommit_seconds = {commit:.1}\ncommit_jitter = {jitter:.2}\n\
         max_poll_records = {batch}\nnoise = {noise:.3}\nnoise_seconds = {seconds:.1}\n",
        shape(capacities)
    );
    if dice.one_in(0.3) {
        *text += "pauses = { gap_seconds = 30, length_seconds = [0.2, 2] }\n";
    }
}

fn faults(dice: &mut Dice, text: &mut String, members: usize, partitions: usize) {
    let mut fault = |kind: &str, at: f64, more: &str| {
        let _ = write!(text, "\n[[faults]]\nkind = \"{kind}\"\nat_seconds = {at:.1}\n{more}\n");
    };
    if dice.one_in(0.5) {
        let (at, seconds) = (dice.between(60.0, 250.0), dice.between(2.0, 45.0));
        if dice.one_in(0.6) {
            fault("rebalance", at, &format!("seconds = {seconds:.1}"));
        } else {
            let leaves = if dice.one_in(0.5) { "at_once" } else { "session_timeout" };
            fault("crash", at, &format!("seconds = {seconds:.1}\nleaves = \"{leaves}\""));
        }
    }
    if dice.one_in(0.15) {
        let (at, work) = (dice.between(60.0, 250.0), dice.between(5.0, 40.0));
        fault("rewind", at, &format!("work_seconds = {work:.1}"));
    }
    if dice.one_in(0.1) {
        let (at, seconds, member) = (dice.between(60.0, 250.0), dice.between(5.0, 45.0), dice.below(members));
        fault("member_death", at, &format!("seconds = {seconds:.1}\nmember = {member}"));
    }
    if dice.one_in(0.1) && partitions > 4 {
        let (at, seconds, partition) = (dice.between(60.0, 250.0), dice.between(20.0, 90.0), dice.below(partitions));
        fault("stuck", at, &format!("seconds = {seconds:.1}\npartition = {partition}"));
    }
}

fn shape(steps: &Steps) -> String {
    let steps: Vec<String> = steps.iter().map(|(at, value)| format!("[{at:.1}, {value:.2}]")).collect();
    format!("{{ steps = [{}] }}", steps.join(", "))
}

struct Dice(Chance);

impl Dice {
    fn between(&mut self, from: f64, to: f64) -> f64 {
        self.0.uniform(from, to)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.0.uniform(0.0, count as f64) as usize).min(count - 1)
    }

    fn pick(&mut self, values: &[f64]) -> f64 {
        values[self.below(values.len())]
    }

    fn one_in(&mut self, share: f64) -> bool {
        self.0.uniform(0.0, 1.0) < share
    }
}

/// Stands for the number of a scenario where the story itself is drawn.
const STORY: u64 = u64::MAX;
const DURATION_SECONDS: f64 = 420.0;
/// A limit so many times above what is offered and taken is a mistake.
const BEYOND_REASON: f64 = 1e3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_story_is_a_scenario_and_repeats() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..2_000 {
            let scenario = story(seed);
            assert_eq!(scenario, story(seed));
            kinds.extend(
                scenario.faults.iter().map(|fault| std::mem::discriminant(&fault.kind)).map(|kind| format!("{kind:?}")),
            );
        }
        assert_eq!(kinds.len(), 5, "every kind of fault is drawn");
        assert_ne!(story_text(1), story_text(2));
    }

    #[test]
    fn a_wrong_command_is_noticed() {
        struct Fixed(f64);
        impl Policy for Fixed {
            fn tick(&mut self, _now: f64, _seen: Option<&Observation<'_>>) -> f64 {
                self.0
            }
        }
        let scenario = story(1);
        for (limit, wrong) in
            [(f64::NAN, true), (0.0, true), (-1.0, true), (1e12, true), (1.0, false), (f64::INFINITY, false)]
        {
            let mut checked = Checked::new(Fixed(limit), &scenario);
            checked.tick(1.0, None);
            assert_eq!(checked.wrong().is_some(), wrong, "{limit}");
        }
    }
}
