//! The whole job on a real Kafka: a file with unlimited demand, a group with 5 s commits that must keep up, live traffic
//! beside it, and a broker restarted half-way.
//!
//! The story is told short by default. `LAGVALVE_STORY_LINES`, `LAGVALVE_STORY_RATE` (records/s the group can take),
//! `LAGVALVE_STORY_LIVE` (records/s beside the file) and `LAGVALVE_STORY_NODES` change it; 5,000,000 lines at 20,000/s
//! with a restart take about five minutes: `LAGVALVE_STORY_LINES=5000000 cargo test --release --test kafka story::`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::live::{LiveTraffic, age_of};
use super::produce::{ends, ensure, number};
use super::slow_group::SlowGroup;
use crate::program::{Launch, Output};
use crate::support::{Cluster, ClusterOptions, Kafka, Stop, Test, TestResult, admin, client, create_topic, env};

/// The tests of this module.
pub(crate) fn tests() -> Vec<Test> {
    crate::tests![a_file_goes_in_as_fast_as_its_group_can_take]
}

async fn a_file_goes_in_as_fast_as_its_group_can_take(kafka: &Kafka) -> TestResult {
    let story = Story::from_env();
    let options = ClusterOptions {
        nodes: story.nodes,
        properties: FAST_FAILOVER.map(str::to_owned).to_vec(),
        ..ClusterOptions::default()
    };
    let mut cluster = kafka.own_cluster(&options).await?;
    let bootstrap = cluster.bootstrap();
    create_topic(&admin(&bootstrap)?, TOPIC, 12, &[]).await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("backfill.ndjson");
    story.write(&path)?;
    let group = SlowGroup::start(&bootstrap, GROUP, TOPIC, story.rate)?;
    group.joined().await?;
    let live = LiveTraffic::start(&bootstrap, TOPIC, story.live)?;

    let started = Instant::now();
    let protect = format!("{GROUP}:{SET_POINT_SECONDS}s");
    let path = path.to_str().expect("a path in UTF-8");
    let arguments = ["-b", &bootstrap, "-t", TOPIC, "--protect", &protect, "--format", "ndjson", "--json", path];
    let watching = watch(&arguments, story.rate, Arc::clone(&group.processed), Arc::clone(&live.acknowledged));
    // Half-way, as far as can be known beforehand.
    sleep_until(started + Duration::from_secs_f64(story.lines as f64 / story.rate / 2.0 + 20.0)).await;
    let restarted = Instant::now();
    let leaderless = restart(&mut cluster, story.nodes).await?;
    let faults = [(started, started), (restarted, Instant::now())];
    let Watched { run, drains } = watching.await?;
    let ended = Instant::now();
    let live = live.stop().await?;
    group.caught_up(story.lines + live.acknowledged).await?;
    let ages = group.stop().await?;
    let run = Run { story, leaderless, peak: drains.iter().copied().fold(0.0, f64::max), summary: summary_of(&run) };
    run.print();
    println!("live: {live}; {}", ages.describe(&faults, ended));
    holds_each_once_in_order(&bootstrap, story.lines, live.acknowledged).await?;
    run.holds()?;
    live.was_never_throttled(story.live)?;
    ages.hold(&faults, ended, f64::from(SET_POINT_SECONDS) + 1.0)
}

/// The figures of a run.
struct Run {
    story: Story,
    leaderless: f64,
    peak: f64,
    summary: Value,
}

impl Run {
    fn took(&self) -> f64 {
        self.summary["seconds"].as_f64().expect("seconds")
    }

    fn print(&self) {
        let Story { lines, rate, .. } = self.story;
        println!(
            "{lines} lines at {rate}/s: in within {:.1} s = {:.3} x ideal ({:.1} s without a leader), peak drain {:.1} s \
             (reported {})",
            self.took(),
            (self.took() - self.leaderless) / self.story.ideal(),
            self.leaderless,
            self.peak,
            self.summary["peak_drain_seconds"],
        );
    }

    fn holds(&self) -> TestResult {
        ensure(self.summary["delivered"] == self.story.lines, || self.summary.to_string())?;
        ensure(self.peak <= 15.0, || format!("drain time reached {:.1} s", self.peak))?;
        let ideal = self.story.ideal();
        // A short file ends before the slow start has paid off.
        let allowed = if ideal >= 200.0 { 1.15 * ideal } else { 1.15 * ideal + SLOW_START_SECONDS };
        let (took, leaderless) = (self.took(), self.leaderless);
        ensure(took - leaderless <= allowed, || format!("took {took:.1} s, {leaderless:.1} s of it without a leader"))
    }
}

fn summary_of(run: &Output) -> Value {
    run.exits(0);
    run.summary()
}

/// What is told, and how large.
#[derive(Clone, Copy, Debug)]
struct Story {
    lines: u64,
    rate: f64,
    live: f64,
    nodes: usize,
}

impl Story {
    fn from_env() -> Self {
        let number = |name: &str, default: u64| env(name).map_or(default, |text| text.parse().expect("a number"));
        Self {
            lines: number("LAGVALVE_STORY_LINES", 300_000),
            rate: number("LAGVALVE_STORY_RATE", 20_000) as f64,
            live: number("LAGVALVE_STORY_LIVE", 300) as f64,
            nodes: number("LAGVALVE_STORY_NODES", 1) as usize,
        }
    }

    /// Lines over what the group takes, seconds: as if there were no live traffic.
    fn ideal(&self) -> f64 {
        self.lines as f64 / self.rate
    }

    fn write(self, path: &Path) -> Result<(), Stop> {
        let mut file = BufWriter::new(File::create(path)?);
        for number in 0..self.lines {
            writeln!(file, "{{\"key\":\"k{}\",\"value\":\"{number}\"}}", number % KEYS)?;
        }
        Ok(file.flush()?)
    }
}

/// A run, and its true drain time once a second.
struct Watched {
    run: Output,
    drains: Vec<f64>,
}

/// Runs `produce` and compares what it and the live writer say is acknowledged with what the group has processed.
fn watch(arguments: &[&str], rate: f64, processed: Arc<AtomicU64>, live: Arc<AtomicU64>) -> JoinHandle<Watched> {
    let launch = Launch::new(arguments);
    tokio::task::spawn_blocking(move || {
        let mut running = launch.start();
        let mut drains = Vec::new();
        while let Some(line) = running.next_line() {
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            let written = number(&event["delivered"]) + live.load(Ordering::SeqCst) as f64;
            let behind = written - processed.load(Ordering::SeqCst) as f64;
            drains.push(behind.max(0.0) / rate);
            if env("LAGVALVE_STORY_TRACE").is_some() {
                println!("{:.1} {line}", drains[drains.len() - 1]);
            }
        }
        Watched { run: running.ends(), drains }
    })
}

/// Stops one node in order and starts it again; the seconds in which partitions had no leader: all of it where it is
/// the only one, none that can be seen from outside where others take over.
async fn restart(cluster: &mut Cluster, nodes: usize) -> Result<f64, Stop> {
    let before = Instant::now();
    cluster.stop_node(0).await.map_err(Stop::Failed)?;
    cluster.restart_node(0).await.map_err(Stop::Failed)?;
    Ok(if nodes == 1 { before.elapsed().as_secs_f64() } else { 0.0 })
}

/// Reads the whole topic: every number once, and rising for each key, beside `live` records.
async fn holds_each_once_in_order(bootstrap: &str, lines: u64, live: u64) -> TestResult {
    let config = client(bootstrap);
    let bootstrap = bootstrap.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let mut config = config;
        config.set("group.id", "checker").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        (0..12).try_for_each(|partition| list.add_partition_offset(TOPIC, partition, Offset::Beginning))?;
        consumer.assign(&list)?;
        let total = ends(&bootstrap, TOPIC)?;
        ensure(total == (lines + live) as i64, || format!("{total} records on the topic, not {lines} and {live}"))?;
        let mut seen = vec![false; lines as usize];
        let mut last: HashMap<Vec<u8>, usize> = HashMap::new();
        for _ in 0..total {
            let message = consumer.poll(PATIENCE).ok_or_else(|| Stop::Failed("the topic ends early".to_owned()))??;
            if age_of(&message).is_some() {
                continue;
            }
            let text = std::str::from_utf8(message.payload().unwrap_or_default())?;
            let number: usize = text.parse()?;
            ensure(!std::mem::replace(&mut seen[number], true), || format!("{number} twice"))?;
            let before = last.insert(message.key().unwrap_or_default().to_vec(), number);
            ensure(before.is_none_or(|before| before < number), || format!("{number} behind {before:?}"))?;
        }
        Ok(())
    });
    reading.await?
}

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const KEYS: u64 = 1_000;
const SET_POINT_SECONDS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(60);
/// The slow start of 200,000 lines at 20,000/s with 5 s commits, twice as long as measured.
const SLOW_START_SECONDS: f64 = 60.0;
/// A restarted broker is taken back after 3 s instead of 9 s.
pub(crate) const FAST_FAILOVER: [&str; 2] = ["broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500"];
