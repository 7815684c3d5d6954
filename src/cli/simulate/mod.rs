//! `lagvalve simulate`: scenarios through the shipped loop, and other laws beside it.

mod args;
mod report;

use std::fs;
use std::path::{Path, PathBuf};

use lagvalve::clock::{Clock, SystemClock};
use lagvalve::sim::{Case, Scenario, Score, Shipped, catalogue};

use args::LawChoice;
pub(crate) use args::SimulateArgs;
use report::{Report, RunLine};

use super::exit::Failure;
use super::output::Output;

/// Runs every scenario with every seed under every law.
pub(crate) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let output = Output::new(args.json);
    if args.list {
        return list(output);
    }
    let scenarios = scenarios(&args.scenarios)?;
    let began = SystemClock.now();
    let mut report = Report::new(&args.laws, scenarios.len());
    for scenario in &scenarios {
        for seed in args.seeds.iter() {
            let case = Case::new(scenario, seed);
            for (place, law) in args.laws.iter().enumerate() {
                let score = play(&case, scenario, *law);
                if output.is_json() {
                    output.object(&RunLine::of(scenario, seed, law.name(), &score, &case.oracle().score))?;
                }
                report.add(place, scenario, seed, score, case.oracle().score);
            }
        }
        if !output.is_json() {
            report.rows_of(scenario).iter().try_for_each(|row| output.line(row))?;
        }
    }
    report.end(output, SystemClock.now().seconds_since(began))?;
    match report.missed() {
        missed if args.strict && missed > 0 => {
            Err(Failure::failed(format!("{missed} of the expected ranges were missed")))
        }
        _ => Ok(()),
    }
}

fn play(case: &Case<'_>, scenario: &Scenario, law: LawChoice) -> Score {
    match law {
        LawChoice::Oracle => case.oracle().score,
        LawChoice::Shipped(start) => case.run_valves(|scenario| Box::new(Shipped::new(scenario, start))).score,
        LawChoice::Baseline(baseline) => case.run_valves(|scenario| baseline.start(&scenario.told())).score,
    }
}

fn list(output: Output) -> Result<(), Failure> {
    for scenario in catalogue() {
        if output.is_json() {
            output.object(&serde_json::json!({ "scenario": scenario.id, "title": scenario.title }))?;
        } else {
            output.line(&format!("{:<5} {}", scenario.id, scenario.title))?;
        }
    }
    Ok(())
}

/// What was asked for: ids of the catalogue, files and folders; all of the catalogue when nothing is.
fn scenarios(wanted: &[String]) -> Result<Vec<Scenario>, Failure> {
    let built_in = catalogue();
    if wanted.is_empty() {
        return Ok(built_in);
    }
    let mut found = Vec::new();
    for name in wanted {
        if let Some(scenario) = built_in.iter().find(|scenario| scenario.id.eq_ignore_ascii_case(name)) {
            found.push(scenario.clone());
            continue;
        }
        let files = files_of(Path::new(name)).map_err(|error| {
            Failure::usage(format!("{name} is neither a scenario of the catalogue (--list) nor a file: {error}"))
        })?;
        if files.is_empty() {
            return Err(Failure::usage(format!("{name} holds no .toml file; name a folder of scenarios, or a file")));
        }
        for file in files {
            let named = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", file.display()));
            let text = fs::read_to_string(&file).map_err(|error| named(&error))?;
            found.push(Scenario::parse(&text).map_err(|error| named(&error))?);
        }
    }
    Ok(found)
}

/// The file itself, or every `.toml` in a folder in the order of names.
fn files_of(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return fs::metadata(path).map(|_| vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
