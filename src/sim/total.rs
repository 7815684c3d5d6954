//! Scores of many runs → what a law costs over a catalogue.

use super::scenario::{Expectation, Scenario};
use super::score::Score;

/// A scenario under one law, all seeds.
#[derive(Clone, Debug)]
pub struct ScenarioResult {
    /// The scenario's id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What it expects.
    pub expect: Expectation,
    /// The seeds, in the order of the runs.
    pub seeds: Vec<u64>,
    /// The law's runs.
    pub scores: Vec<Score>,
    /// The oracle's runs.
    pub oracle: Vec<Score>,
}

/// What a law costs over a catalogue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Geometric mean over scenarios of J + 0.5: a scenario of cost 0 would rule it otherwise.
    pub geo_j: f64,
    /// Arithmetic mean of J.
    pub mean_j: f64,
    /// Mean lost throughput, percent.
    pub lost_percent: f64,
    /// Mean excess lag, seconds.
    pub excess_seconds: f64,
    /// Mean coefficient of variation, where one is asked for.
    pub cov: f64,
    /// Worst harm of all runs, percent.
    pub worst_harm_percent: f64,
    /// Largest difference in J to the oracle.
    pub worst_j_above_oracle: f64,
    /// Runs.
    pub runs: usize,
}

impl ScenarioResult {
    /// No run yet.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            id: scenario.id.clone(),
            title: scenario.title.clone(),
            expect: scenario.expect,
            seeds: Vec::new(),
            scores: Vec::new(),
            oracle: Vec::new(),
        }
    }

    /// Takes one run and the oracle's beside it.
    pub fn push(&mut self, seed: u64, score: Score, oracle: Score) {
        self.seeds.push(seed);
        self.scores.push(score);
        self.oracle.push(oracle);
    }

    /// The law, all seeds.
    ///
    /// # Panics
    /// Before the first run.
    #[must_use]
    pub fn total(&self) -> Score {
        Score::mean(&self.scores)
    }

    /// The oracle, all seeds.
    ///
    /// # Panics
    /// Before the first run.
    #[must_use]
    pub fn oracle_total(&self) -> Score {
        Score::mean(&self.oracle)
    }

    /// Every range that a run missed, with scenario and seed.
    #[must_use]
    pub fn misses(&self) -> Vec<String> {
        let runs = self.seeds.iter().zip(&self.scores);
        let named = |(seed, score): (&u64, &Score)| {
            let missed = score.misses(&self.expect).into_iter();
            missed.map(|miss| format!("{} ({}), seed {seed}: {miss}", self.id, self.title)).collect::<Vec<_>>()
        };
        runs.flat_map(named).collect()
    }
}

impl Summary {
    /// Over all of `results`, each counting once.
    #[must_use]
    pub fn of(results: &[ScenarioResult]) -> Self {
        let totals: Vec<Score> = results.iter().map(ScenarioResult::total).collect();
        let mean = |value: fn(&Score) -> f64| totals.iter().map(value).sum::<f64>() / totals.len().max(1) as f64;
        let covs: Vec<f64> = totals.iter().filter_map(|total| total.cov).collect();
        let above = results.iter().zip(&totals).map(|(result, total)| total.j - result.oracle_total().j);
        Self {
            geo_j: geometric_mean(totals.iter().map(|total| total.j)),
            mean_j: mean(|total| total.j),
            lost_percent: mean(|total| total.lost_percent),
            excess_seconds: mean(|total| total.excess_seconds),
            cov: covs.iter().fold(0.0, |sum, cov| sum + cov) / covs.len().max(1) as f64,
            worst_harm_percent: totals.iter().filter_map(|total| total.harm_percent).fold(0.0, f64::max),
            worst_j_above_oracle: above.fold(f64::NEG_INFINITY, f64::max),
            runs: results.iter().map(|result| result.scores.len()).sum(),
        }
    }
}

/// Geometric mean of `costs` + 0.5.
#[must_use]
pub fn geometric_mean(costs: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = costs.into_iter().fold((0.0, 0), |(sum, count), cost| (sum + (cost + OFFSET).ln(), count + 1));
    (sum / f64::from(count.max(1))).exp()
}

/// Half a percent of throughput, half a second of lag: less is noise.
const OFFSET: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometric_mean_carries_its_offset() {
        assert!((geometric_mean([0.0, 0.0]) - 0.5).abs() < 1e-12);
        assert!((geometric_mean([1.5, 7.5]) - 4.0).abs() < 1e-12);
    }
}
