//! `lagvalve check FILE`: what a configuration means, or everything that is wrong with it.

use std::path::PathBuf;

use lagvalve::agent::{Mode, OnSignalLost, Start, ValveSettings};
use lagvalve::config::{Cluster, Config};
use lagvalve::units::{HumanCount, MessagesPerSecond};
use serde_json::{Value, json};

use super::exit::Failure;
use super::output::Output;

/// Options of `check`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  lagvalve check config/agent.toml && systemctl restart lagvalve")]
pub(crate) struct CheckArgs {
    /// The configuration file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// One JSON object a line: each problem, then a summary
    #[arg(long)]
    json: bool,
}

/// Checks the file; connects nowhere.
pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let out = Output::new(args.json);
    let file = args.file.display();
    match Config::load(&args.file) {
        Ok(config) if out.is_json() => out.object(&understood(&args.file.to_string_lossy(), &config)),
        Ok(config) => describe(&config).iter().try_for_each(|line| out.line(line)).and_then(|()| {
            config.warnings.iter().try_for_each(|warning| out.line(&format!("warning: {warning}")))?;
            out.line(&format!("{file} is fine."))
        }),
        Err(error) => {
            if out.is_json() {
                for problem in error.problems() {
                    let (line, path, message) = (problem.line, &problem.path, &problem.message);
                    out.object(&json!({ "problem": true, "line": line, "path": path, "message": message }))?;
                }
                out.object(&json!({ "file": args.file, "ok": false, "problems": error.problems().len() }))?;
            }
            Err(Failure::usage(format!("{file}: {error}")))
        }
    }
}

fn describe(config: &Config) -> Vec<String> {
    let mut lines: Vec<String> = config.clusters.iter().map(describe_cluster).collect();
    for valve in &config.valves {
        lines.extend(describe_valve(valve.cluster.as_str(), &valve.settings));
    }
    let http = &config.http;
    let readers = match (http.open_reads, &http.control_token) {
        (true, _) => "read by all machines",
        (false, Some(_)) => "read by this machine, and by others with the token",
        (false, None) => "read by this machine alone",
    };
    lines.push(format!("http: {}, {readers}", http.listen));
    lines.push(match &config.state.dir {
        Some(dir) => format!("state: the journal is kept in {}", dir.display()),
        None => "state: nothing is written to disk".to_owned(),
    });
    lines
}

fn describe_cluster(cluster: &Cluster) -> String {
    let connection = &cluster.connection;
    let protocol = connection.properties.get("security.protocol").map_or("PLAINTEXT", String::as_str);
    let user = connection.properties.get("sasl.username").map_or(String::new(), |user| format!(" as {user}"));
    format!("cluster {}: {}, {protocol}{user}", cluster.name, connection.bootstrap())
}

fn describe_valve(cluster: &str, valve: &ValveSettings) -> Vec<String> {
    let topics = valve.topics.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mode = match valve.mode {
        Mode::Off => "off",
        Mode::Observe => "only observes",
        Mode::Enforce => "enforces",
    };
    let start = match (valve.initial_rate, valve.start) {
        (Some(rate), _) => format!("starts at {}", per_second(rate)),
        (None, Start::Open) => "starts open, until a commit proves lag".to_owned(),
        (None, Start::Slow) => "starts slowly".to_owned(),
    };
    let mut lines = vec![format!("valve {} on {cluster}: {topics}; {mode}; {start}", valve.name)];
    for group in &valve.protect {
        let target = humantime::format_duration(group.target_lag);
        let time = humantime::format_duration;
        let limits = [
            group.max_lag.map(|max| format!("above {}", time(max))),
            group
                .min_runway
                .map(|least| format!("with less than {} until retention deletes what it reads", time(least))),
        ];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        let hard =
            if limits.is_empty() { String::new() } else { format!("; {} the minimum rate", limits.join(" or ")) };
        lines.push(format!("  group {}: held at a lag of {target}{hard}", group.group));
    }
    let ceiling = valve.max_rate.map_or("no ceiling".to_owned(), |max| format!("{} at most", per_second(max)));
    let bytes =
        valve.max_bytes_per_second.map_or(String::new(), |max| format!(", {} bytes/s at most", HumanCount(max)));
    lines.push(format!("  {} at least, {ceiling}{bytes}", per_second(valve.min_rate)));
    let lost = match (valve.on_signal_lost, valve.safe_rate) {
        (OnSignalLost::Hold, _) => "the last rate stays".to_owned(),
        (OnSignalLost::Safe, Some(rate)) => format!("{} at most", per_second(rate)),
        (OnSignalLost::Safe, None) => "half of the measured capacity at most".to_owned(),
        (OnSignalLost::Open, _) => "no limit".to_owned(),
        (OnSignalLost::Closed, _) => "the minimum rate".to_owned(),
    };
    lines.push(format!("  lag unreadable for {}: {lost}", humantime::format_duration(valve.signal_grace)));
    lines
}

fn per_second(rate: MessagesPerSecond) -> String {
    format!("{}/s", HumanCount(rate.get()))
}

fn understood(file: &str, config: &Config) -> Value {
    let valves: Vec<Value> = config
        .valves
        .iter()
        .map(|valve| {
            let settings = &valve.settings;
            let groups: Vec<Value> = settings
                .protect
                .iter()
                .map(|group| {
                    json!({
                        "group": group.group, "target_lag_seconds": group.target_lag.as_secs_f64(),
                    })
                })
                .collect();
            json!({
                "name": settings.name, "cluster": valve.cluster, "topics": settings.topics, "mode": settings.mode,
                "protect": groups,
            })
        })
        .collect();
    let clusters: Vec<Value> = config
        .clusters
        .iter()
        .map(|cluster| {
            json!({
                "name": cluster.name, "bootstrap_servers": cluster.connection.bootstrap_servers,
            })
        })
        .collect();
    json!({
        "file": file, "ok": true, "clusters": clusters, "valves": valves, "listen": config.http.listen,
        "warnings": config.warnings,
    })
}
