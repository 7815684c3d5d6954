//! `lagvalve simulate --fuzz`: random stories, the seed of each miss, and how far the laws stay from the oracle.

use std::num::NonZero;
use std::time::Duration;

use lagvalve::clock::{Clock, Instant, SystemClock};
use lagvalve::sim::{Case, Checked, Policy, Scenario, Score, Shipped, story, story_text};
use serde::Serialize;

use super::args::{LawChoice, SimulateArgs};
use super::report::RunLine;
use super::textbook;
use crate::cli::exit::Failure;
use crate::cli::output::{Output, say, stderr_is_lively};

/// One story under one law.
struct Played {
    score: Score,
    /// The first command that was no rate: when, in seconds, and what, in messages/s.
    wrong: Option<(f64, f64)>,
}

/// One story under every law.
struct Told {
    seed: u64,
    scenario: Scenario,
    oracle: Score,
    played: Vec<Played>,
}

/// What a law did in all stories.
#[derive(Default)]
struct Tally {
    /// J above the oracle's, and the seed.
    above: Vec<(f64, u64)>,
    worst_harm: f64,
    wrong: usize,
}

/// Draws stories until there are enough, or the time is spent.
pub(super) fn run(args: &SimulateArgs, count: u64) -> Result<(), Failure> {
    let output = Output::new(args.json);
    let first = args.seeds.first();
    if args.show {
        let last = first.saturating_add(count.max(1));
        return (first..last).try_for_each(|seed| output.line(&story_text(seed)));
    }
    if count == 0 && args.budget.is_none() {
        return Err(Failure::usage("--fuzz without a number needs --budget: how many stories, or for how long?"));
    }
    let began = SystemClock.now();
    let mut tallies: Vec<Tally> = args.laws.iter().map(|_| Tally::default()).collect();
    let (mut seed, mut left) = (first, if count == 0 { u64::MAX } else { count });
    while left > 0 && !is_spent(args.budget, began) {
        let batch = left.min(BATCH);
        for told in tell(seed, batch, &args.laws) {
            note(output, args, &told, &mut tallies)?;
        }
        (seed, left) = (seed + batch, left - batch);
        progress(seed - first, count);
    }
    end(output, args, &mut tallies, SystemClock.now().seconds_since(began))
}

/// Stories `first` and the `count - 1` after it, in their order, on all processors.
fn tell(first: u64, count: u64, laws: &[LawChoice]) -> Vec<Told> {
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let share = |worker: u64| (first + worker..first + count).step_by(workers as usize);
    let mut told: Vec<Told> = std::thread::scope(|scope| {
        let start = |worker| scope.spawn(move || share(worker).map(|seed| tell_one(seed, laws)).collect::<Vec<_>>());
        let handles: Vec<_> = (0..workers).map(start).collect();
        let join = |handle: std::thread::ScopedJoinHandle<'_, Vec<Told>>| {
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        handles.into_iter().flat_map(join).collect()
    });
    told.sort_by_key(|told| told.seed);
    told
}

fn tell_one(seed: u64, laws: &[LawChoice]) -> Told {
    let scenario = story(seed);
    let case = Case::new(&scenario, seed);
    let (oracle, played) = (case.oracle().score, laws.iter().map(|law| play(&case, *law)).collect());
    Told { seed, oracle, played, scenario }
}

fn play(case: &Case<'_>, law: LawChoice) -> Played {
    let scenario = case.world().scenario();
    match law {
        LawChoice::Oracle => Played { score: case.oracle().score, wrong: None },
        LawChoice::Shipped(start) => check(case, Shipped::new(scenario, start)),
        LawChoice::Textbook => check(case, textbook(scenario)),
        LawChoice::Baseline(baseline) => check(case, baseline.start(&scenario.told())),
    }
}

fn check(case: &Case<'_>, policy: impl Policy) -> Played {
    let mut checked = Checked::new(policy, case.world().scenario());
    let score = case.run(&mut checked).score;
    Played { score, wrong: checked.wrong() }
}

/// Prints what a story came to, where it is a miss or machines read it.
fn note(output: Output, args: &SimulateArgs, told: &Told, tallies: &mut [Tally]) -> Result<(), Failure> {
    for ((law, played), tally) in args.laws.iter().zip(&told.played).zip(tallies) {
        let above = played.score.j - told.oracle.j;
        tally.above.push((above, told.seed));
        tally.worst_harm = tally.worst_harm.max(played.score.harm_percent.unwrap_or(0.0));
        tally.wrong += usize::from(played.wrong.is_some());
        if output.is_json() {
            output.object(&RunLine::of(&told.scenario, told.seed, law.name(), &played.score, &told.oracle))?;
            continue;
        }
        let seed = told.seed;
        if let Some((at, limit)) = played.wrong {
            output.line(&format!("missed  {}: story {seed}: a limit of {limit}/s at {at:.1} s is none", law.name()))?;
        }
        if is_miss(above) {
            output.line(&format!(
                "missed  {}: story {seed}: J {:.1}, the oracle's {:.1}   (lost {:.1} %, above 2 s {:.1} s)",
                law.name(),
                played.score.j,
                told.oracle.j,
                played.score.lost_percent,
                played.score.excess_seconds,
            ))?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct SummaryLine {
    summary: bool,
    law: &'static str,
    stories: usize,
    median_above_oracle: f64,
    p90_above_oracle: f64,
    p99_above_oracle: f64,
    worst_above_oracle: f64,
    worst_seeds: Vec<u64>,
    wrong_commands: usize,
    missed: usize,
    wall_seconds: f64,
}

fn end(output: Output, args: &SimulateArgs, tallies: &mut [Tally], wall_seconds: f64) -> Result<(), Failure> {
    let mut missed_by_all = 0;
    for (law, tally) in args.laws.iter().zip(tallies) {
        tally.above.sort_by(|a, b| a.0.total_cmp(&b.0));
        let missed = tally.above.iter().filter(|(above, _)| is_miss(*above)).count() + tally.wrong;
        missed_by_all += missed;
        let at = |share: f64| {
            let place = (tally.above.len() as f64 * share) as usize;
            tally.above.get(place.min(tally.above.len().saturating_sub(1))).map_or(f64::NAN, |(above, _)| *above)
        };
        let worst_seeds: Vec<u64> = tally.above.iter().rev().take(10).map(|(_, seed)| *seed).collect();
        let line = SummaryLine {
            summary: true,
            law: law.name(),
            stories: tally.above.len(),
            median_above_oracle: at(0.5),
            p90_above_oracle: at(0.9),
            p99_above_oracle: at(0.99),
            worst_above_oracle: at(1.0),
            worst_seeds,
            wrong_commands: tally.wrong,
            missed,
            wall_seconds,
        };
        if output.is_json() {
            output.object(&line)?;
            continue;
        }
        let seeds: Vec<String> = line.worst_seeds.iter().map(u64::to_string).collect();
        output.line(&format!(
            "{:<13} {} stories   J above the oracle's: median {:.2}, 9 of 10 below {:.1}, 99 of 100 below {:.1}, worst {:.1}   \
             {missed} missed\n{:<13} worst: {}",
            line.law,
            line.stories,
            line.median_above_oracle,
            line.p90_above_oracle,
            line.p99_above_oracle,
            line.worst_above_oracle,
            "",
            seeds.join(" "),
        ))?;
    }
    if !output.is_json() {
        output.line(&format!(
            "in {wall_seconds:.1} s; one again: lagvalve simulate --fuzz 1 --seeds SEED, its file: … --show"
        ))?;
    }
    if args.strict && missed_by_all > 0 {
        return Err(Failure::failed(format!("{missed_by_all} misses in random stories")));
    }
    Ok(())
}

/// Whether J is further above the oracle's than can be put down to the story; not a number is.
fn is_miss(above: f64) -> bool {
    above.is_nan() || above > MISS_ABOVE
}

/// Whether no time is left.
pub(super) fn is_spent(budget: Option<Duration>, began: Instant) -> bool {
    budget.is_some_and(|budget| SystemClock.now().since(began) >= budget)
}

fn progress(done: u64, count: u64) {
    if stderr_is_lively() && done.is_multiple_of(BATCH * 16) {
        let of = if count == 0 { String::new() } else { format!(" of {count}") };
        say(&format!("{done}{of} stories"));
    }
}

/// Stories between two looks at the clock.
const BATCH: u64 = 64;
/// Reference design: no story more than 40 above the oracle.
const MISS_ABOVE: f64 = 40.0;
