//! The shipped law in the loop with the simulated plant: every scenario keeps the ranges that its file expects.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use lagvalve::sim::{
    Baseline, Policy, Scenario, ScenarioResult, Shipped, ShippedStart, Summary, catalogue, run_scenario,
};

#[test]
fn the_whole_catalogue_keeps_its_ranges() {
    let all = catalogue();
    // The bars are for the stories of the reference design; later ones keep their own ranges.
    let (reference, later) = all.split_at(all.partition_point(|scenario| scenario.number() <= 58));
    let mut missed = Vec::new();
    for (name, start, bar) in [("open", ShippedStart::Open, 1.9), ("hinted", ShippedStart::Hinted, 1.75)] {
        let results = run(reference, 1..=6, start);
        let summary = Summary::of(&results);
        println!("{name}: {summary:?}");
        if start == ShippedStart::Open {
            let later = run(later, 1..=6, start);
            missed.extend(results.iter().chain(&later).flat_map(ScenarioResult::misses));
        }
        if summary.geo_j > bar {
            missed
                .push(format!("{name}: geometric mean of J + 0.5 is {:.3}, at most {bar} is expected", summary.geo_j));
        }
    }
    report(&missed);
}

/// Ranges that any law keeps would prove nothing.
#[test]
fn other_laws_miss_the_ranges() {
    let all = catalogue();
    for law in [Baseline::None, Baseline::Static, Baseline::Aimd, Baseline::Spark] {
        let start = |scenario: &Scenario| law.start(&scenario.told());
        let overload = all.iter().filter(|scenario| ["S03", "S04", "S20"].contains(&scenario.id.as_str()));
        for result in overload.map(|scenario| run_scenario(scenario, 1..=1, start)) {
            assert!(!result.misses().is_empty(), "{law} keeps every range of {}: {:?}", result.id, result.total());
        }
    }
}

#[test]
fn the_catalogue_and_its_folder_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration-tests/scenarios");
    let files = fs::read_dir(folder).expect("the folder of the scenarios is there");
    let mut ids = BTreeSet::new();
    for file in files {
        let path = file.expect("the folder of the scenarios can be read").path();
        let text = fs::read_to_string(&path).expect("a scenario is UTF-8");
        let scenario = Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        ids.insert(scenario.id);
    }
    let built_in: BTreeSet<String> = catalogue().into_iter().map(|scenario| scenario.id).collect();
    assert_eq!(ids, built_in);
}

fn run<'s>(
    scenarios: impl IntoIterator<Item = &'s Scenario>,
    seeds: RangeInclusive<u64>,
    start: ShippedStart,
) -> Vec<ScenarioResult> {
    let shipped = |scenario: &Scenario| -> Box<dyn Policy> { Box::new(Shipped::new(scenario, start)) };
    scenarios.into_iter().map(|scenario| run_scenario(scenario, seeds.clone(), shipped)).collect()
}

fn report(missed: &[String]) {
    assert!(missed.is_empty(), "{} missed:\n  {}", missed.len(), missed.join("\n  "));
}
