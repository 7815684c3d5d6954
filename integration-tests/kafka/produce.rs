//! `lagvalve produce` on a real Kafka: the backfill of a whole file past a consumer group that must keep up, and what
//! only a real broker refuses.
//!
//! The story is told short by default. `LAGVALVE_STORY_LINES`, `LAGVALVE_STORY_RATE` (records/s the group can take) and
//! `LAGVALVE_STORY_NODES` change it; 5,000,000 lines at 20,000/s with a restart take about five minutes:
//! `LAGVALVE_STORY_LINES=5000000 cargo test --test kafka produce::a_file_goes_in`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::program::{Launch, Output};
use crate::support::{Cluster, ClusterOptions, Kafka, Stop, Test, TestResult, admin, client, create_topic, env};

/// The tests of this module.
pub(crate) fn tests() -> Vec<Test> {
    crate::tests![
        a_file_goes_in_as_fast_as_its_group_can_take,
        a_group_that_appears_later_is_waited_for,
        a_group_that_never_committed_gets_the_first_rate_and_no_more,
        an_unknown_topic_is_not_created,
        a_record_too_large_for_the_topic_is_refused_alone,
        a_missing_acl_is_named_with_its_remedy,
        tls_to_a_plaintext_port_is_said,
    ]
}

/// The whole story: a file with unlimited demand, a group with 5 s commits, a broker restarted half-way.
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
    let group = SlowGroup::start(&bootstrap, story.rate)?;
    group.joined().await?;

    let started = Instant::now();
    let arguments = [
        "-b",
        &bootstrap,
        "-t",
        TOPIC,
        "--protect",
        &format!("{GROUP}:2s"),
        "--format",
        "ndjson",
        "--json",
        path.to_str().expect("a path in UTF-8"),
    ];
    let watching = watch(&arguments, story.rate, Arc::clone(&group.processed));
    // Half-way, as far as can be known beforehand.
    sleep_until(started + Duration::from_secs_f64(story.lines as f64 / story.rate / 2.0 + 20.0)).await;
    let leaderless = restart(&mut cluster, story.nodes).await?;
    let Watched { run, drains } = watching.await?;
    run.exits(0);
    let summary = run.summary();
    let took = summary["seconds"].as_f64().expect("seconds");
    let peak = drains.iter().copied().fold(0.0, f64::max);
    let ideal = story.lines as f64 / story.rate;
    println!(
        "{} lines at {}/s: in within {took:.1} s = {:.3} × ideal ({:.1} s without a leader), peak drain {peak:.1} s \
         (reported {}), restart {leaderless:.1} s",
        story.lines,
        story.rate,
        (took - leaderless) / ideal,
        leaderless,
        summary["peak_drain_seconds"],
    );
    group.stop().await?;
    holds_each_once_in_order(&bootstrap, story.lines).await?;
    ensure(summary["delivered"] == story.lines, || format!("{summary}"))?;
    ensure(peak <= 15.0, || format!("drain time reached {peak:.1} s"))?;
    // A short file ends before the slow start has paid off.
    let allowed = if ideal >= 200.0 { 1.15 * ideal } else { 1.15 * ideal + SLOW_START_SECONDS };
    ensure(took - leaderless <= allowed, || format!("took {took:.1} s, {leaderless:.1} s of it without a leader"))
}

async fn a_group_that_appears_later_is_waited_for(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("late"), kafka.name("late"));
    kafka.create_topic(&topic, 1).await?;
    let arguments = ["-b", kafka.bootstrap(), "-t", &topic, "--protect", &group, "--json", "-"];
    let launch = Launch::new(&arguments);
    let waiting = tokio::task::spawn_blocking(move || {
        let mut running = launch.start();
        running.write("one\ntwo\n");
        running.line_with("\"event\":\"waiting\"");
        running
    });
    let running = waiting.await?;
    ensure(ends(kafka.bootstrap(), &topic)? == 0, || "something was sent before the group was there".to_owned())?;
    kafka.commit(&group, &topic, &[(0, 0)]).await?;
    let run = tokio::task::spawn_blocking(move || running.ends()).await?;
    run.exits(0);
    ensure(ends(kafka.bootstrap(), &topic)? == 2, || format!("{run:?}"))
}

async fn a_group_that_never_committed_gets_the_first_rate_and_no_more(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("silent"), kafka.name("silent"));
    kafka.create_topic(&topic, 1).await?;
    let mut config = client(kafka.bootstrap());
    config.set("group.id", &group).set("enable.auto.commit", "false");
    let consumer: StreamConsumer = config.create()?;
    consumer.subscribe(&[&topic])?;
    // Joins while it waits for a record that does not come.
    let _ = timeout(Duration::from_secs(6), consumer.recv()).await;
    let arguments = [
        "-b",
        kafka.bootstrap(),
        "-t",
        &topic,
        "--protect",
        &group,
        "--json",
        "--initial-rate",
        "200",
        "--deadline",
        "14s",
    ];
    let launch = Launch::new(&arguments);
    let reading = tokio::spawn(async move { while consumer.recv().await.is_ok() {} });
    let run = tokio::task::spawn_blocking(move || launch.fed("line\n".repeat(100_000))).await?;
    reading.abort();
    run.exits(3);
    let summary = run.summary();
    let (delivered, seconds) = (number(&summary["delivered"]), number(&summary["seconds"]));
    println!("{delivered} records in {seconds:.1} s at a first rate of 200/s");
    ensure(delivered <= 200.0 * seconds * 1.1, || format!("more than the first rate: {summary}"))?;
    ensure(delivered >= 200.0 * seconds * 0.7, || format!("less than the first rate: {summary}"))?;
    ensure(summary["peak_drain_seconds"].is_null(), || format!("an unknown lag has a number: {summary}"))
}

async fn an_unknown_topic_is_not_created(kafka: &Kafka) -> TestResult {
    let topic = kafka.name("unknown");
    let arguments = ["-b", kafka.bootstrap(), "-t", &topic, "--unprotected"];
    let launch = Launch::new(&arguments);
    let run = tokio::task::spawn_blocking(move || launch.fed("a\n")).await?;
    run.exits(1).says(&format!("topic {topic} does not exist"));
    let metadata = admin(kafka.bootstrap())?.inner().fetch_metadata(None, PATIENCE)?;
    ensure(metadata.topics().iter().all(|known| known.name() != topic), || "it was created".to_owned())
}

async fn a_record_too_large_for_the_topic_is_refused_alone(kafka: &Kafka) -> TestResult {
    let topic = kafka.name("small");
    create_topic(&admin(kafka.bootstrap())?, &topic, 1, &[("max.message.bytes", "2000")]).await?;
    let folder = tempfile::tempdir()?;
    let rejects = folder.path().join("rejects");
    let lines: Vec<String> = (0..50).map(|n| if n == 20 { "x".repeat(3_000) } else { n.to_string() }).collect();
    let arguments =
        ["-b", kafka.bootstrap(), "-t", &topic, "--unprotected", "--rejects", rejects.to_str().expect("UTF-8")];
    let launch = Launch::new(&arguments);
    let run = tokio::task::spawn_blocking(move || launch.fed(lines.join("\n"))).await?;
    run.exits(0).says("49 records delivered").says("1 rejected");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&rejects)?)?;
    ensure(kept["line"] == 21, || format!("{kept}"))?;
    ensure(ends(kafka.bootstrap(), &topic)? == 49, || "each once".to_owned())
}

async fn a_missing_acl_is_named_with_its_remedy(kafka: &Kafka) -> TestResult {
    let users = vec![("app".to_owned(), "app-secret".to_owned())];
    let cluster = kafka.own_cluster(&ClusterOptions { users, ..ClusterOptions::default() }).await?;
    create_topic(&admin(&cluster.bootstrap())?, TOPIC, 1, &[]).await?;
    let class =
        if cluster.jars().at_least(4, 2) { "org.apache.kafka.tools.AclCommand" } else { "kafka.admin.AclCommand" };
    let grant = |operation: &str| {
        let server = cluster.bootstrap();
        let flags = ["--bootstrap-server", &server, "--add", "--allow-principal", "User:app", "--topic", TOPIC];
        let flags = flags.into_iter().chain(["--operation", operation]);
        cluster.jars().output(class, flags).map_err(Stop::Failed)
    };
    let login =
        ["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN", "sasl.username=app", "sasl.password=app-secret"];
    let server = cluster.sasl_bootstrap();
    let mut arguments = vec!["-b", &server, "-t", TOPIC, "--unprotected"];
    arguments.extend(login.iter().flat_map(|property| ["-X", property]));
    let produce = || {
        let launch = Launch::new(&arguments);
        tokio::task::spawn_blocking(move || launch.fed("one\ntwo\n"))
    };
    produce().await?.exits(1).says(TOPIC);
    grant("Describe")?;
    produce().await?.exits(1).says("is not allowed").says("--operation Write --topic orders").says("--skip-lines 0");
    grant("Write")?;
    produce().await?.exits(0).says("2 records delivered");
    ensure(ends(&cluster.bootstrap(), TOPIC)? == 2, || "each once".to_owned())
}

async fn tls_to_a_plaintext_port_is_said(kafka: &Kafka) -> TestResult {
    let arguments = ["-b", kafka.bootstrap(), "-t", TOPIC, "--unprotected", "-X", "security.protocol=SSL"];
    let launch = Launch::new(&arguments);
    let before = Instant::now();
    let run = tokio::task::spawn_blocking(move || launch.fed("a\n")).await?;
    run.exits(4).says(kafka.bootstrap()).says("plaintext");
    ensure(before.elapsed() < Duration::from_secs(10), || "it took longer than ten seconds".to_owned())
}

/// What is told, and how large.
#[derive(Clone, Copy, Debug)]
struct Story {
    lines: u64,
    rate: f64,
    nodes: usize,
}

impl Story {
    fn from_env() -> Self {
        let number = |name: &str, default: u64| env(name).map_or(default, |text| text.parse().expect("a number"));
        Self {
            lines: number("LAGVALVE_STORY_LINES", 300_000),
            rate: number("LAGVALVE_STORY_RATE", 20_000) as f64,
            nodes: number("LAGVALVE_STORY_NODES", 1) as usize,
        }
    }

    fn write(self, path: &Path) -> Result<(), Stop> {
        let mut file = BufWriter::new(File::create(path)?);
        for number in 0..self.lines {
            writeln!(file, "{{\"key\":\"k{}\",\"value\":\"{number}\"}}", number % KEYS)?;
        }
        Ok(file.flush()?)
    }
}

/// A consumer group of one member that takes so many records a second, and commits every five seconds.
struct SlowGroup {
    processed: Arc<AtomicU64>,
    joined: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<(), Stop>>,
}

impl SlowGroup {
    fn start(bootstrap: &str, rate: f64) -> Result<Self, Stop> {
        let mut config = client(bootstrap);
        config.set("group.id", GROUP).set("auto.offset.reset", "earliest");
        config.set("auto.commit.interval.ms", "5000").set("enable.auto.offset.store", "false");
        let consumer: StreamConsumer = config.create()?;
        consumer.subscribe(&[TOPIC])?;
        let (processed, joined, stop) = (Arc::default(), Arc::default(), Arc::default());
        let working = work(consumer, rate, Arc::clone(&processed), Arc::clone(&joined), Arc::clone(&stop));
        Ok(Self { processed, joined, stop, task: tokio::spawn(working) })
    }

    async fn joined(&self) -> Result<(), Stop> {
        let joining = async {
            while !self.joined.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        Ok(timeout(PATIENCE, joining).await?)
    }

    async fn stop(self) -> Result<(), Stop> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await?
    }
}

/// Takes records one by one; a token bucket of 50 ms keeps it to `rate`.
async fn work(
    consumer: StreamConsumer,
    rate: f64,
    processed: Arc<AtomicU64>,
    joined: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> Result<(), Stop> {
    let burst = Duration::from_millis(50);
    let each = Duration::from_secs_f64(1.0 / rate);
    let mut next = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        if consumer.assignment()?.count() > 0 {
            joined.store(true, Ordering::SeqCst);
        }
        let Ok(received) = timeout(Duration::from_millis(200), consumer.recv()).await else { continue };
        // A broker that is away comes back: librdkafka says so, and goes on.
        let Ok(message) = received else { continue };
        take(&consumer, &message, &processed)?;
        // Many at a time without a wait, or the timer's millisecond would be the rate.
        next = next.max(Instant::now() - burst) + each;
        let mut now = Instant::now();
        while next <= now {
            let Ok(Ok(message)) = timeout(Duration::from_millis(5), consumer.recv()).await else { break };
            take(&consumer, &message, &processed)?;
            next += each;
            now = Instant::now();
        }
        sleep_until(next).await;
    }
    let closing = tokio::task::spawn_blocking(move || drop(consumer));
    Ok(closing.await?)
}

fn take(consumer: &StreamConsumer, message: &BorrowedMessage<'_>, processed: &AtomicU64) -> Result<(), Stop> {
    processed.fetch_add(1, Ordering::SeqCst);
    // Not assigned any more: the next owner takes it again.
    let _ = consumer.store_offset_from_message(message);
    Ok(())
}

/// A run, and its true drain time once a second.
struct Watched {
    run: Output,
    drains: Vec<f64>,
}

/// Runs `produce` and compares what it says is acknowledged with what the group has processed.
fn watch(arguments: &[&str], rate: f64, processed: Arc<AtomicU64>) -> JoinHandle<Watched> {
    let launch = Launch::new(arguments);
    tokio::task::spawn_blocking(move || {
        let mut running = launch.start();
        let mut drains = Vec::new();
        while let Some(line) = running.next_line() {
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            let behind = number(&event["delivered"]) - processed.load(Ordering::SeqCst) as f64;
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

/// Reads the whole topic: every number once, and rising for each key.
async fn holds_each_once_in_order(bootstrap: &str, lines: u64) -> TestResult {
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
        ensure(total == lines as i64, || format!("{total} records on the topic, not {lines}"))?;
        let mut seen = vec![false; lines as usize];
        let mut last: HashMap<Vec<u8>, usize> = HashMap::new();
        for _ in 0..total {
            let message = consumer.poll(PATIENCE).ok_or_else(|| Stop::Failed("the topic ends early".to_owned()))??;
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

/// Records on `topic`, all partitions.
fn ends(bootstrap: &str, topic: &str) -> Result<i64, Stop> {
    let mut config = client(bootstrap);
    config.set("group.id", "ends");
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let partitions = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
    let mut total = 0;
    for partition in partitions {
        let (start, end) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE)?;
        total += end - start;
    }
    Ok(total)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> TestResult {
    if holds { Ok(()) } else { Err(Stop::Failed(otherwise())) }
}

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const KEYS: u64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// The slow start of 200,000 lines at 20,000/s with 5 s commits, twice as long as measured.
const SLOW_START_SECONDS: f64 = 60.0;
/// A restarted broker is taken back after 3 s instead of 9 s.
const FAST_FAILOVER: [&str; 2] = ["broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500"];
