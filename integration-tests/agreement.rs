//! The simulator agrees with the reference simulator: the same scenarios under the same laws cost the same, within what
//! chance does to either.
//!
//! `agreement.csv` holds the reference's cost J of every scenario and law, mean and standard deviation of its seeds 1 to 24.
//! Both draw their noise from different generators, so that a run of one is no run of the other.

use lagvalve::control::ControlConfig;
use lagvalve::estimate::EstimateConfig;
use lagvalve::sim::{Baseline, Case, Policy, Scenario, Shipped, ShippedStart, catalogue};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=6;
const REFERENCE_SEEDS: f64 = 24.0;
/// So many standard errors of the difference are chance: of 754 comparisons two would be further apart by it.
const STANDARD_ERRORS: f64 = 3.0;
/// So far apart may the means of two simulators be beside what chance explains: the rounding of steps and polls.
const SLACK: f64 = 0.3;
const RELATIVE_SLACK: f64 = 0.05;

/// What is not the same by design. A group whose members are gone is known here by its state, which the reference does not see.
const DIFFERENT: [(&str, &str); 1] = [("S54", "lagvalve")];

struct Reference {
    scenario: String,
    law: String,
    mean: f64,
    deviation: f64,
}

#[test]
fn every_law_costs_what_it_costs_in_the_reference() {
    let reference = reference();
    let mut misses = Vec::new();
    let mut compared = 0;
    for scenario in catalogue() {
        let differs = |row: &Reference| DIFFERENT.contains(&(row.scenario.as_str(), row.law.as_str()));
        let rows = reference.iter().filter(|row| row.scenario == scenario.id && !differs(row));
        let cases: Vec<Case<'_>> = SEEDS.map(|seed| Case::new(&scenario, seed)).collect();
        for row in rows {
            let costs: Vec<f64> = cases.iter().map(|case| cost(case, &row.law)).collect();
            let (mean, deviation) = mean_and_deviation(&costs);
            let error = row.deviation.powi(2) / REFERENCE_SEEDS + deviation.powi(2) / SEEDS.count() as f64;
            let chance = STANDARD_ERRORS * error.sqrt();
            let allowed = chance + SLACK + RELATIVE_SLACK * row.mean;
            compared += 1;
            if (mean - row.mean).abs() > allowed {
                misses.push(format!(
                    "{} {}: {mean:.2} ± {deviation:.2}, the reference {:.2} ± {:.2}",
                    row.scenario, row.law, row.mean, row.deviation
                ));
            }
        }
    }
    println!("{compared} pairs of scenario and law compared");
    assert_eq!(compared, 58 * 13 - DIFFERENT.len());
    assert!(misses.is_empty(), "{} of {compared} differ:\n  {}", misses.len(), misses.join("\n  "));
}

fn cost(case: &Case<'_>, law: &str) -> f64 {
    let policy = |scenario: &Scenario| -> Box<dyn Policy> {
        match law {
            "lagvalve" => Box::new(Shipped::with_constants(
                scenario,
                Shipped::settings(scenario, ShippedStart::Open),
                EstimateConfig::reference(scenario.observation.poll_seconds),
                ControlConfig::reference,
            )),
            _ => law.parse::<Baseline>().expect("a law that we have").start(&scenario.told()),
        }
    };
    match law {
        "oracle" => case.oracle().score.j,
        _ => case.run_valves(policy).score.j,
    }
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}

fn reference() -> Vec<Reference> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let [scenario, law, mean, deviation] = fields[..] else { panic!("{line}") };
        Reference {
            scenario: scenario.to_owned(),
            law: law.to_owned(),
            mean: mean.parse().expect("a number"),
            deviation: deviation.parse().expect("a number"),
        }
    };
    include_str!("agreement.csv").lines().skip(1).map(row).collect()
}
