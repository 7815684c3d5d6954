//! `lagvalve simulate`: scenarios through the shipped loop, and other laws beside it.

mod args;
mod fuzz;
mod plot;
mod replay;
mod replay_report;
mod report;

use std::fs;
use std::path::{Path, PathBuf};

use lagvalve::clock::{Clock, SystemClock};
use lagvalve::control::LawKind;
use lagvalve::estimate::EstimateConfig;
use lagvalve::sim::{Case, Scenario, Score, Shipped, ShippedStart, catalogue};

use args::LawChoice;
pub(crate) use args::SimulateArgs;
use plot::Plot;
use report::{Report, RunLine};

use super::exit::Failure;
use super::output::{Output, say};

/// Runs every scenario with every seed under every law.
pub(crate) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let output = Output::new(args.json);
    if args.list {
        return list(output);
    }
    if let Some(journal) = &args.replay {
        return replay::run(args, journal);
    }
    if let Some(count) = args.fuzz {
        return fuzz::run(args, count);
    }
    let scenarios = scenarios(&args.scenarios)?;
    let pairs = args.seeds.count().saturating_mul(scenarios.len() as u64);
    let mut plot = args.plot.as_deref().map(|file| Plot::begin(file, &args.laws, pairs)).transpose()?;
    let began = SystemClock.now();
    let mut report = Report::new(&args.laws, &scenarios);
    let mut runs = 0;
    let mut spent = false;
    for scenario in &scenarios {
        for seed in args.seeds.iter() {
            spent = fuzz::is_spent(args.budget, began);
            if spent {
                break;
            }
            runs += 1;
            let case = Case::new(scenario, seed);
            if let Some(plot) = &mut plot {
                plot.section(&case);
            }
            for (place, law) in args.laws.iter().enumerate() {
                let score = play(&case, *law, plot.as_mut());
                if output.is_json() {
                    output.object(&RunLine::of(scenario, seed, law.name(), &score, &case.oracle().score))?;
                }
                report.add(place, scenario, seed, score, case.oracle().score);
            }
        }
        if !output.is_json() {
            report.rows_of(scenario).iter().try_for_each(|row| output.line(row))?;
        }
        if spent {
            say(&format!("the budget is spent: {runs} of {pairs} pairs of scenario and seed were run"));
            break;
        }
    }
    report.end(output, SystemClock.now().seconds_since(began))?;
    if let Some(plot) = plot {
        plot.write()?;
    }
    match report.missed() {
        missed if args.strict && missed > 0 => {
            Err(Failure::failed(format!("{missed} of the expected ranges were missed")))
        }
        _ => Ok(()),
    }
}

fn play(case: &Case<'_>, law: LawChoice, plot: Option<&mut Plot>) -> Score {
    match law {
        LawChoice::Oracle => {
            if let Some(plot) = plot {
                plot.add(case, law, case.oracle(), &[]);
            }
            case.oracle().score
        }
        LawChoice::Shipped(start) => play_shipped(case, law, |scenario| Shipped::new(scenario, start), plot),
        LawChoice::Textbook => play_shipped(case, law, textbook, plot),
        LawChoice::Baseline(baseline) => {
            let outcome = case.run_valves(|scenario| baseline.start(&scenario.told()));
            if let Some(plot) = plot {
                plot.add(case, law, &outcome, &[]);
            }
            outcome.score
        }
    }
}

/// The shipped loop with the law of those who want their own gains.
fn textbook(scenario: &Scenario) -> Shipped {
    let mut settings = Shipped::settings(scenario, ShippedStart::Open);
    settings.law = LawKind::Pid;
    let estimate = EstimateConfig::for_poll(settings.poll_interval.as_secs_f64());
    Shipped::with(scenario, settings, estimate)
}

/// The shipped loop, one a valve; the ticks of a single one are kept for a page alone.
fn play_shipped(
    case: &Case<'_>,
    law: LawChoice,
    make: impl Fn(&Scenario) -> Shipped,
    plot: Option<&mut Plot>,
) -> Score {
    let scenario = case.world().scenario();
    let Some(plot) = plot else { return case.run_valves(|scenario| Box::new(make(scenario))).score };
    if scenario.valves() > 1 {
        let outcome = case.run_valves(|scenario| Box::new(make(scenario)));
        plot.add(case, law, &outcome, &[]);
        return outcome.score;
    }
    let mut shipped = make(scenario).recording();
    let outcome = case.run(&mut shipped);
    plot.add(case, law, &outcome, shipped.records());
    outcome.score
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
