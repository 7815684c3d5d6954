//! `lagvalve observe`: the same loop, enforcing nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lagvalve::agent::{Mode, TickRecord};
use lagvalve::id::ValveName;
use lagvalve::telemetry::{Journal, JournalFile, without_partitions};

use super::connect::ConnectArgs;
use super::engine::Engine;
use super::exit::Failure;
use super::output::{Output, say, stdout_is_lively};
use super::plan::Plan;
use super::preflight::preflight;
use super::signals::StopSignals;
use super::watching::{Summary, heading, lines, name_of};

/// Options of `observe`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ObserveArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// End after this long, for example 10m; else at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    for_time: Option<Duration>,

    /// At most one line a group in this time; decisions are made every poll (1s) all the same
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1s")]
    every: Duration,

    /// Append every tick to this file, one JSON object a line with all offsets
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,

    /// One JSON object a line: every tick, then a summary of each valve
    #[arg(long)]
    json: bool,
}

/// Watches until the time is over or someone asks to stop, then says what it came to.
pub(crate) async fn run(args: ObserveArgs) -> Result<(), Failure> {
    let mut plan = Plan::of(&args.connect, Mode::Observe)?;
    plan.valves_mut().for_each(|valve| valve.mode = Mode::Observe);
    let journal = args.journal.as_deref().map(JournalFile::open).transpose().map_err(Failure::failed)?;
    let journal = Arc::new(Journal::new(journal));
    let mut signals = StopSignals::listen()?;
    tokio::select! {
        looked = look(&plan) => looked?,
        _ = signals.recv() => return Err(Failure::Interrupted),
    }
    let mut view = View::new(&args, &plan);
    let mut engine = Engine::start(plan.clusters, &HashMap::new());
    let mut ticks = engine.ticks(&journal);
    let mut deadline = std::pin::pin!(async {
        match args.for_time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    });
    let ended = loop {
        tokio::select! {
            Some(record) = ticks.recv() => {
                if let Err(failure) = view.show(&record) {
                    break Err(failure);
                }
            }
            () = &mut deadline => break Ok(()),
            _ = signals.recv() => break Err(Failure::Interrupted),
        }
    };
    engine.close().await;
    if !matches!(ended, Err(Failure::ClosedPipe)) {
        view.finish()?;
    }
    ended
}

async fn look(plan: &Plan) -> Result<(), Failure> {
    for cluster in &plan.clusters {
        preflight(cluster).await?;
    }
    Ok(())
}

/// What is shown, and what has been.
struct View {
    out: Output,
    every_ms: u64,
    lively: bool,
    name_width: usize,
    lines_since_heading: Option<usize>,
    shown_at_ms: HashMap<ValveName, u64>,
    summaries: Vec<(ValveName, Summary)>,
}

impl View {
    fn new(args: &ObserveArgs, plan: &Plan) -> Self {
        let valves = || plan.clusters.iter().flat_map(|cluster| &cluster.valves);
        let names = valves().flat_map(|valve| {
            valve.protect.iter().map(|protect| name_of(valve.name.as_str(), &protect.group).chars().count())
        });
        Self {
            out: Output::new(args.json),
            every_ms: u64::try_from(args.every.as_millis()).unwrap_or(u64::MAX),
            lively: stdout_is_lively(),
            name_width: names.max().unwrap_or(0).max("VALVE/GROUP".len()),
            lines_since_heading: None,
            shown_at_ms: HashMap::new(),
            summaries: valves().map(|valve| (valve.name.clone(), Summary::new(valve.name.as_str()))).collect(),
        }
    }

    fn show(&mut self, record: &TickRecord) -> Result<(), Failure> {
        if let Some((_, summary)) = self.summaries.iter_mut().find(|(name, _)| *name == record.valve) {
            summary.add(record);
        }
        if self.out.is_json() {
            return self.out.object(&without_partitions(record));
        }
        // A tick may come a little early against the clock of the one before.
        let due = |last: &u64| record.mono_ms + TICK_SLACK_MS >= last + self.every_ms;
        if !self.shown_at_ms.get(&record.valve).is_none_or(due) {
            return Ok(());
        }
        self.shown_at_ms.insert(record.valve.clone(), record.mono_ms);
        for line in lines(record, self.name_width, self.lively) {
            let again = self.lively && self.lines_since_heading.is_some_and(|lines| lines >= HEADING_EVERY);
            if again || self.lines_since_heading.is_none() {
                self.out.line(&heading(self.name_width))?;
                self.lines_since_heading = Some(0);
            }
            self.out.line(&line)?;
            self.lines_since_heading = self.lines_since_heading.map(|lines| lines + 1);
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Failure> {
        for (_, summary) in &self.summaries {
            if self.out.is_json() {
                self.out.object(summary)?;
            } else {
                say(&summary.sentence());
            }
        }
        Ok(())
    }
}

const EXAMPLES: &str = "\
Columns: LAG is the estimate now; COMMITTED is what kafka-consumer-groups shows, up to one
commit interval of work more. DRAIN is LAG divided by what the group can take. A dash is
unknown, never zero.

Examples:
  lagvalve observe -b localhost:9092 -t orders --protect billing:2s --for 10m
  lagvalve observe --config config/agent.toml --json > ticks.ndjson";

const HEADING_EVERY: usize = 20;
const TICK_SLACK_MS: u64 = 100;
