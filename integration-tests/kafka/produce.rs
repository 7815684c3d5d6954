//! `lagvalve produce` on a real Kafka: groups that are not there yet, and what only a real broker refuses.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::program::Launch;
use crate::support::{ClusterOptions, Kafka, Stop, Test, TestResult, admin, client, create_topic};

/// The tests of this module.
pub(crate) fn tests() -> Vec<Test> {
    crate::tests![
        a_group_that_appears_later_is_waited_for,
        a_group_that_never_committed_gets_the_first_rate_and_no_more,
        an_unknown_topic_is_not_created,
        a_record_too_large_for_the_topic_is_refused_alone,
        a_missing_acl_is_named_with_its_remedy,
        tls_to_a_plaintext_port_is_said,
    ]
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
    let class = cluster.jars().acl_command()?;
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

/// Records on `topic`, all partitions.
pub(crate) fn ends(bootstrap: &str, topic: &str) -> Result<i64, Stop> {
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

/// A number, or NaN where there is none.
pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// Fails with a text.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> TestResult {
    if holds { Ok(()) } else { Err(Stop::Failed(otherwise())) }
}

const TOPIC: &str = "orders";
const PATIENCE: Duration = Duration::from_secs(60);
