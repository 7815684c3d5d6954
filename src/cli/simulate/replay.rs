//! `lagvalve simulate --replay`: a recorded journal through the shipped loop, and other laws beside it.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use lagvalve::agent::{Start, ValveSettings};
use lagvalve::control::LawKind;
use lagvalve::sim::{Replay, ReplayLaw, ReplaySummary, ShippedStart};
use lagvalve::units::MessagesPerSecond;

use super::args::{LawChoice, SimulateArgs};
use super::replay_report::{TickLine, show};
use crate::cli::exit::Failure;
use crate::cli::output::Output;

/// Replays `journal` under every law.
pub(super) fn run(args: &SimulateArgs, journal: &Path) -> Result<(), Failure> {
    let output = Output::new(args.json);
    let laws = args.laws.iter().map(|law| law_of(args, *law)).collect::<Result<Vec<_>, _>>()?;
    let mut replay = Replay::new(laws, args.valve.as_deref().map(Into::into));
    for source in sources(journal)? {
        read(&source, &mut replay, args, output)?;
    }
    let summaries = replay.summaries();
    if summaries.is_empty() {
        return Err(nothing_read(args, journal, &replay));
    }
    summaries.iter().try_for_each(|summary| show(summary, replay.torn(), output))?;
    if args.strict { hold_to_record(&summaries) } else { Ok(()) }
}

fn law_of(args: &SimulateArgs, law: LawChoice) -> Result<ReplayLaw, Failure> {
    if args.target_lag.is_some_and(|target| target.is_zero()) {
        return Err(Failure::usage("--target-lag is 0; write for example --target-lag 2s"));
    }
    let target = args.target_lag;
    let aim = move |settings: &mut ValveSettings| {
        for group in &mut settings.protect {
            group.target_lag = target.unwrap_or(group.target_lag);
        }
    };
    Ok(match law {
        LawChoice::Shipped(ShippedStart::Open) => ReplayLaw::retold(law.name(), aim),
        LawChoice::Shipped(ShippedStart::Hinted) => {
            let told = args.capacity.and_then(MessagesPerSecond::new).filter(|rate| rate.get() > 0.0);
            let hint = told.ok_or_else(|| capacity_needed(&format!("{} is told the capacity", law.name())))?;
            ReplayLaw::retold(law.name(), move |settings| {
                aim(settings);
                (settings.start, settings.initial_rate) = (Start::Open, Some(hint));
            })
        }
        LawChoice::Shipped(ShippedStart::Slow(_)) => ReplayLaw::retold(law.name(), move |settings| {
            aim(settings);
            (settings.start, settings.initial_rate) = (Start::Slow, None);
        }),
        LawChoice::Textbook => ReplayLaw::retold(law.name(), move |settings| {
            aim(settings);
            settings.law = LawKind::Pid;
        }),
        LawChoice::Baseline(baseline) => {
            ReplayLaw::baseline(baseline, args.capacity).map_err(|error| capacity_needed(&error.to_string()))?
        }
        LawChoice::Oracle => {
            return Err(Failure::usage(
                "oracle knows what the group really takes, and a journal does not: leave it out",
            ));
        }
    })
}

fn capacity_needed(why: &str) -> Failure {
    Failure::usage(format!("{why}: write for example --capacity 2000"))
}

/// Where lines come from, and what to call it.
enum Source {
    File(PathBuf),
    Stdin,
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    fn open(&self) -> io::Result<Box<dyn BufRead>> {
        Ok(match self {
            Self::File(path) => Box::new(BufReader::with_capacity(READ_BYTES, File::open(path)?)),
            Self::Stdin => Box::new(BufReader::with_capacity(READ_BYTES, io::stdin())),
        })
    }
}

/// The file itself, standard input, or both files of a folder, the older one first.
fn sources(journal: &Path) -> Result<Vec<Source>, Failure> {
    if journal.as_os_str() == "-" {
        return Ok(vec![Source::Stdin]);
    }
    if !journal.is_dir() {
        return Ok(vec![Source::File(journal.to_owned())]);
    }
    let files = FILES.iter().map(|name| journal.join(name)).filter(|path| path.is_file());
    let sources: Vec<Source> = files.map(Source::File).collect();
    if sources.is_empty() {
        let journal = journal.display();
        return Err(Failure::usage(format!("{journal} holds no journal.ndjson; name [state] dir, or a file")));
    }
    Ok(sources)
}

/// Line by line: a journal may be larger than memory.
fn read(source: &Source, replay: &mut Replay, args: &SimulateArgs, output: Output) -> Result<(), Failure> {
    let named = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", source.name()));
    let mut lines = source.open().map_err(|error| named(&error))?;
    let (mut number, mut line) = (0, Vec::new());
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).map_err(|error| named(&error))? == 0 {
            break;
        }
        number += 1;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let Some(tick) = replay.line(number, text).map_err(|error| named(&error))? else { continue };
        if output.is_json() {
            for (law, decision) in args.laws.iter().zip(&tick.decisions) {
                output.object(&TickLine::of(&tick, law.name(), decision))?;
            }
        }
    }
    replay.end_of_file();
    Ok(())
}

fn nothing_read(args: &SimulateArgs, journal: &Path, replay: &Replay) -> Failure {
    let journal = journal.display();
    let names: Vec<&str> = replay.names().iter().map(lagvalve::id::ValveName::as_str).collect();
    match &args.valve {
        Some(valve) if !names.is_empty() => {
            Failure::usage(format!("{journal} has no tick of a valve {valve:?}; it has: {}", names.join(", ")))
        }
        _ => Failure::usage(format!("{journal} has no tick; run and observe write one a second with --journal FILE")),
    }
}

/// `--strict`: the shipped law, told what was recorded, must decide what was recorded.
fn hold_to_record(summaries: &[ReplaySummary]) -> Result<(), Failure> {
    let mut held = 0;
    for summary in summaries {
        for law in summary.laws.iter().filter(|law| law.as_recorded) {
            if law.differ_whole > 0 {
                let (law, differ, valve) = (&law.law, law.differ_whole, &summary.valve);
                return Err(Failure::failed(format!(
                    "{law} decides otherwise than recorded at {differ} ticks of {valve}"
                )));
            }
            held += summary.whole_ticks;
        }
    }
    match held {
        0 if summaries.iter().any(|summary| summary.laws.iter().any(|law| law.as_recorded)) => Err(Failure::failed(
            "no tick can be held to its record: every run begins in the middle; replay the file from its beginning, or \
             the folder with both files",
        )),
        0 => Err(Failure::usage(
            "--strict holds lagvalve with the recorded settings to the record: add --law lagvalve \
                                 and leave --target-lag out",
        )),
        _ => Ok(()),
    }
}

/// The journal of `[state] dir`, oldest first.
const FILES: [&str; 2] = ["journal.1.ndjson", "journal.ndjson"];
/// Lines with ten thousand partitions are 600 kB.
const READ_BYTES: usize = 1 << 18;
