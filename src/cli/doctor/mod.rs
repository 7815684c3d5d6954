//! `lagvalve doctor`: connects as a valve would, and says what is missing.

mod finding;
mod judge;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use lagvalve::agent::{Mode, TickInput, TickRecord, ValveLoop, ValveSettings};
use lagvalve::clock::{Clock as _, SystemClock};
use lagvalve::id::{GroupId, Topic};
use lagvalve::kafka::Observer;
use lagvalve::lag::{
    GroupAdmin as _, GroupDescription, GroupState, GroupWatch, OffsetSource as _, ReadError, ReadFault, SourceError,
    Watch,
};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::connect::ConnectArgs;
use super::exit::Failure;
use super::output::{Output, say, stdout_is_lively};
use super::plan::{ClusterPlan, Plan};
use super::signals::StopSignals;
use finding::{Finding, Level};

/// Options of `doctor`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// Watch commits for so long, to learn how often they come; 0s: do not
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "15s")]
    watch: Duration,

    /// One JSON object a finding, then a summary
    #[arg(long)]
    json: bool,
}

/// Looks at every cluster of the plan. Exit 1 when something is missing.
pub(crate) async fn run(args: DoctorArgs) -> Result<(), Failure> {
    let plan = Plan::of(&args.connect, Mode::Observe)?;
    let mut signals = StopSignals::listen()?;
    tokio::select! {
        looked = look(&plan, &args) => looked,
        _ = signals.recv() => Err(Failure::Interrupted),
    }
}

async fn look(plan: &Plan, args: &DoctorArgs) -> Result<(), Failure> {
    let out = Output::new(args.json);
    let mut summary = Summary { summary: true, problems: 0, warnings: 0, notes: 0 };
    for cluster in &plan.clusters {
        let observer = Observer::connect(&cluster.connection).await.map_err(refused)?;
        let groups = groups_of(cluster);
        let described = describe(&observer, &groups).await;
        let mut found = examine(cluster, &observer, &groups, &described).await;
        let there = |seen: &Result<GroupDescription, ReadError>| {
            seen.as_ref().is_ok_and(|seen| !matches!(seen.state, GroupState::Missing | GroupState::Dead))
        };
        let descriptions: HashMap<GroupId, _> =
            groups.into_iter().zip(described).filter(|(_, seen)| there(seen)).collect();
        if !descriptions.is_empty() {
            if !args.watch.is_zero() {
                say(&format!("watching commits for {} (--watch) ...", humantime::format_duration(args.watch)));
            }
            found.extend(watch(cluster, &observer, &descriptions, args.watch).await);
        }
        summary.count(&found);
        show(out, &found)?;
    }
    if out.is_json() {
        out.object(&summary)?;
    } else {
        out.line(&summary.sentence())?;
    }
    if summary.problems == 0 {
        Ok(())
    } else {
        Err(Failure::Failed("a valve cannot work like this, see above".to_owned()))
    }
}

/// Who cannot be reached may be back later; who refuses us needs another setting.
fn refused(error: SourceError) -> Failure {
    match error {
        SourceError::Refused(error) => Failure::failed(error),
        error => Failure::unreachable(error),
    }
}

/// What can be told at once: brokers, topics, groups.
async fn examine(
    cluster: &ClusterPlan,
    observer: &Observer,
    groups: &[GroupId],
    described: &[Result<GroupDescription, ReadError>],
) -> Vec<Finding> {
    let mut found = judge::cluster(&cluster.connection.bootstrap(), observer.cluster_info().await.as_ref());
    let topics: BTreeSet<&Topic> = cluster.valves.iter().flat_map(|valve| &valve.topics).collect();
    let mut partitions: HashMap<&Topic, usize> = HashMap::new();
    for topic in topics {
        let info = observer.topic_info(topic).await;
        partitions.insert(topic, info.as_ref().map_or(0, |info| info.partitions));
        found.extend(judge::topic(&info, topic.as_str()));
    }
    for (group, description) in groups.iter().zip(described) {
        let protected = |valve: &&ValveSettings| valve.protect.iter().any(|protect| protect.group == *group);
        let read = cluster.valves.iter().filter(protected).flat_map(|valve| &valve.topics).collect::<BTreeSet<_>>();
        let partitions = read.into_iter().map(|topic| partitions.get(topic).copied().unwrap_or(0)).sum();
        found.extend(judge::group(description, group.as_str(), partitions));
    }
    found
}

async fn describe(observer: &Observer, groups: &[GroupId]) -> Vec<Result<GroupDescription, ReadError>> {
    match observer.describe(groups).await {
        Ok(described) => described,
        Err(error) => {
            let error = ReadError { fault: ReadFault::Unavailable, detail: error.to_string() };
            groups.iter().map(|_| Err(error.clone())).collect()
        }
    }
}

fn groups_of(cluster: &ClusterPlan) -> Vec<GroupId> {
    let groups = cluster.valves.iter().flat_map(|valve| &valve.protect).map(|protect| protect.group.clone());
    groups.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What shows with time of the groups that there are: a valve's own loop, for `time`, limiting nothing.
async fn watch(
    cluster: &ClusterPlan,
    observer: &Observer,
    descriptions: &HashMap<GroupId, Result<GroupDescription, ReadError>>,
    time: Duration,
) -> Vec<Finding> {
    let mut valves: Vec<(ValveLoop, Option<TickRecord>)> =
        cluster.valves.iter().map(|valve| (ValveLoop::new(observing(valve)), None)).collect();
    let watch = watch_of(cluster);
    let poll = cluster.valves.iter().map(|valve| valve.poll_interval).min().unwrap_or(Duration::from_secs(1));
    let ends = Instant::now() + time;
    let mut polls = interval(poll);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for polled in 1_u32.. {
        polls.tick().await;
        let snapshot = observer.poll(&watch).await.ok();
        for (valve, last) in &mut valves {
            *last = Some(valve.tick(&TickInput {
                now: SystemClock.now(),
                unix_millis: SystemClock.unix_millis(),
                snapshot: snapshot.as_ref(),
                descriptions,
                sent_total: 0,
            }));
        }
        if polled >= POLLS_AT_LEAST && Instant::now() >= ends {
            break;
        }
    }
    let mut found = Vec::new();
    for (valve, last) in valves {
        for (protect, record) in valve.settings().protect.iter().zip(last.iter().flat_map(|record| &record.groups)) {
            if descriptions.contains_key(&protect.group) {
                found.extend(judge::commits(protect, record, time.as_secs_f64()));
            }
        }
    }
    found
}

fn observing(valve: &ValveSettings) -> ValveSettings {
    ValveSettings { mode: Mode::Observe, ..valve.clone() }
}

fn watch_of(cluster: &ClusterPlan) -> Watch {
    let topics: BTreeSet<Topic> = cluster.valves.iter().flat_map(|valve| &valve.topics).cloned().collect();
    let mut groups: Vec<GroupWatch> = Vec::new();
    for protect in cluster.valves.iter().flat_map(|valve| &valve.protect) {
        let watched = GroupWatch { group: protect.group.clone(), isolation: protect.isolation };
        if !groups.contains(&watched) {
            groups.push(watched);
        }
    }
    Watch { topics: topics.into_iter().collect(), groups }
}

fn show(out: Output, found: &[Finding]) -> Result<(), Failure> {
    if out.is_json() {
        return found.iter().try_for_each(|finding| out.object(finding));
    }
    let width = found.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
    found.iter().try_for_each(|finding| out.line(&finding.lines(width, stdout_is_lively())))
}

/// What it came to.
#[derive(Clone, Copy, Debug, Serialize)]
struct Summary {
    summary: bool,
    problems: usize,
    warnings: usize,
    notes: usize,
}

impl Summary {
    fn count(&mut self, found: &[Finding]) {
        let of = |level| found.iter().filter(|finding| finding.level == level).count();
        self.problems += of(Level::Problem);
        self.warnings += of(Level::Warning);
        self.notes += of(Level::Note);
    }

    fn sentence(self) -> String {
        let many = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        if self.problems + self.warnings == 0 {
            return "nothing is missing".to_owned();
        }
        format!("{}, {}", many(self.problems, "problem"), many(self.warnings, "warning"))
    }
}

/// Retention and log starts are asked for beside the first poll and known after it.
const POLLS_AT_LEAST: u32 = 3;

const EXAMPLES: &str = "\
Examples:
  lagvalve doctor -b localhost:9092 -t orders --protect billing:2s
  lagvalve doctor --config agent.toml --watch 60s --json

Exit codes: 0 nothing is missing (there may be warnings), 1 something is,
2 wrong command line or configuration, 4 Kafka could not be reached.";
