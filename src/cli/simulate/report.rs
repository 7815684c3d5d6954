//! What a simulation shows: a row a scenario and law, a line a run for machines, a summary a law.

use lagvalve::sim::{Scenario, ScenarioResult, Score, Summary};
use serde::Serialize;

use super::args::LawChoice;
use crate::cli::exit::Failure;
use crate::cli::output::Output;

/// One run, for machines.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RunLine<'a> {
    scenario: &'a str,
    seed: u64,
    law: &'static str,
    j: f64,
    oracle_j: f64,
    lost_percent: f64,
    excess_seconds: f64,
    cov: Option<f64>,
    settled_seconds: Option<f64>,
    peak_drain_seconds: f64,
    steady_drain_seconds: Option<f64>,
    harm_percent: Option<f64>,
    /// Ranges of the scenario that this run missed, in words.
    missed: Vec<String>,
}

impl<'a> RunLine<'a> {
    /// The figures of a run.
    pub(super) fn of(scenario: &'a Scenario, seed: u64, law: &'static str, score: &Score, oracle: &Score) -> Self {
        Self {
            scenario: &scenario.id,
            seed,
            law,
            j: round(score.j),
            oracle_j: round(oracle.j),
            lost_percent: round(score.lost_percent),
            excess_seconds: round(score.excess_seconds),
            cov: score.cov.map(round),
            settled_seconds: score.settled.seconds().map(round),
            peak_drain_seconds: round(score.peak_drain_seconds),
            steady_drain_seconds: score.steady_drain_seconds.map(round),
            harm_percent: score.harm_percent.map(round),
            missed: score.misses(&scenario.expect),
        }
    }
}

#[derive(Serialize)]
struct SummaryLine {
    summary: bool,
    law: &'static str,
    geo_j: f64,
    geo_j_less_half: f64,
    lost_percent: f64,
    excess_seconds: f64,
    cov: f64,
    worst_harm_percent: f64,
    worst_j_above_oracle: f64,
    runs: usize,
    missed: usize,
    wall_seconds: f64,
}

/// Results so far, by law.
pub(super) struct Report {
    laws: Vec<LawChoice>,
    results: Vec<Vec<ScenarioResult>>,
    /// Width of the first column.
    id_width: usize,
    begun: bool,
}

impl Report {
    /// Nothing was run yet.
    pub(super) fn new(laws: &[LawChoice], scenarios: &[Scenario]) -> Self {
        let none = || Vec::with_capacity(scenarios.len());
        let id_width = scenarios.iter().map(|scenario| scenario.id.len()).fold(4, usize::max);
        Self { laws: laws.to_vec(), results: laws.iter().map(|_| none()).collect(), id_width, begun: false }
    }

    /// Takes one run of law number `place`.
    pub(super) fn add(&mut self, place: usize, scenario: &Scenario, seed: u64, score: Score, oracle: Score) {
        let results = &mut self.results[place];
        if results.last().is_none_or(|last| last.id != scenario.id) {
            results.push(ScenarioResult::new(scenario));
        }
        results.last_mut().expect("one was pushed").push(seed, score, oracle);
    }

    /// Ranges that were missed, by any law.
    pub(super) fn missed(&self) -> usize {
        self.results.iter().map(|results| missed_in(results).count()).sum()
    }

    /// The rows of `scenario` if it was run last, a head before the first of all; none where no seed of it was run.
    pub(super) fn rows_of(&mut self, scenario: &Scenario) -> Vec<String> {
        let mut rows = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            rows.push(format!("{:<1$} {HEAD}", "id", self.id_width));
        }
        for (place, (law, results)) in self.laws.iter().zip(&self.results).enumerate() {
            let Some(result) = results.last().filter(|result| result.id == scenario.id) else { continue };
            let title = if place == 0 { scenario.title.as_str() } else { "" };
            rows.push(format!("{:<1$} {2}", scenario.id, self.id_width, row(title, law.name(), result)));
        }
        rows
    }

    /// The summary of each law.
    pub(super) fn end(&self, output: Output, wall_seconds: f64) -> Result<(), Failure> {
        if !output.is_json() {
            output.line("")?;
        }
        for (law, results) in self.laws.iter().zip(&self.results) {
            let total = Summary::of(results);
            let missed = missed_in(results).count();
            if output.is_json() {
                output.object(&SummaryLine {
                    summary: true,
                    law: law.name(),
                    geo_j: round(total.geo_j),
                    geo_j_less_half: round(total.geo_j - 0.5),
                    lost_percent: round(total.lost_percent),
                    excess_seconds: round(total.excess_seconds),
                    cov: round(total.cov),
                    worst_harm_percent: round(total.worst_harm_percent),
                    worst_j_above_oracle: round(total.worst_j_above_oracle),
                    runs: total.runs,
                    missed,
                    wall_seconds: round(wall_seconds),
                })?;
                continue;
            }
            output.line(&format!(
                "{:<13} geometric mean of J + 0.5: {:.2}   lost {:.2} %   above 2 s {:.2} s   varies {:.3}   harm {:.2} %   \
                 {} runs, {missed} ranges missed",
                law.name(),
                total.geo_j,
                total.lost_percent,
                total.excess_seconds,
                total.cov,
                total.worst_harm_percent,
                total.runs,
            ))?;
        }
        if !output.is_json() {
            for (law, results) in self.laws.iter().zip(&self.results) {
                missed_in(results).try_for_each(|miss| output.line(&format!("missed  {}: {miss}", law.name())))?;
            }
            output.line(&format!("in {wall_seconds:.1} s"))?;
        }
        Ok(())
    }
}

/// Every range that was missed, with scenario and seed.
fn missed_in(results: &[ScenarioResult]) -> impl Iterator<Item = String> + '_ {
    results.iter().flat_map(ScenarioResult::misses)
}

fn row(title: &str, law: &str, result: &ScenarioResult) -> String {
    let (total, oracle) = (result.total(), result.oracle_total());
    let or_dash =
        |value: Option<f64>, digits: usize| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"));
    format!(
        "{:<34.34} {law:<13} {:>7.2} {:>7.2} {:>7.2} {:>8.2} {:>6} {:>6} {:>7.1} {:>6} {:>6}",
        title,
        total.j,
        oracle.j,
        total.lost_percent,
        total.excess_seconds,
        or_dash(total.cov, 3),
        or_dash(total.settled.seconds(), 0),
        total.peak_drain_seconds,
        or_dash(total.steady_drain_seconds, 2),
        or_dash(total.harm_percent, 2),
    )
}

/// To a ten-thousandth: what chance decides is no finer.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

const HEAD: &str = "scenario                           law                 J  oracle  lost % excess s    CoV settle  peak s  lag s harm %";
