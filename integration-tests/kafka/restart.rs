//! The service killed and started again beside a group that is behind: it goes on from its journal.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::produce::ensure;
use super::slow_group::SlowGroup;
use crate::program::{Launch, PATIENCE};
use crate::support::{Kafka, Stop, Test, TestResult, produce};

pub(crate) fn tests() -> Vec<Test> {
    crate::tests![a_killed_service_goes_on_from_its_journal]
}

async fn a_killed_service_goes_on_from_its_journal(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("restart"), kafka.name("restart"));
    kafka.create_topic(&topic, 2).await?;
    produce(kafka.bootstrap(), &topic, 0..2, 30_000).await?;
    let reading = SlowGroup::start(kafka.bootstrap(), &group, &topic, 500.0)?;
    reading.joined().await?;
    let folder = tempfile::tempdir()?;
    let journal = folder.path().join("ticks.ndjson");
    let file = journal.to_string_lossy().into_owned();
    let arguments = ["-b", kafka.bootstrap(), "-t", &topic, "--protect", &group, "--listen", "127.0.0.1:0"];
    let arguments: Vec<String> = arguments.iter().chain(&["--journal", &file]).map(|&text| text.to_owned()).collect();

    // Its lag is far above the set-point, and its pace becomes known: the open valve closes.
    let is_held = |tick: &Value| tick["rate_decided"].is_number() && tick["groups"][0]["capacity"].is_number();
    let launch = |arguments: &[String]| Launch::of("run", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let (first, file) = (launch(&arguments), journal.clone());
    let limited = tokio::task::spawn_blocking(move || {
        let running = first.start();
        until(&file, |ticks| ticks.iter().rev().take(3).filter(|tick| is_held(tick)).count() == 3);
        running.signal("-KILL");
        running.ends();
    });
    limited.await?;
    let before = ticks(&journal)?;
    let last = before.last().expect("three at least").clone();

    let (second, file, known) = (launch(&arguments), journal.clone(), before.len());
    let resumed = tokio::task::spawn_blocking(move || {
        let mut running = second.start();
        running.error_line_with("goes on from the journal");
        until(&file, |ticks| ticks.len() >= known + 5);
        running.signal("-TERM");
        running.ends().exits(0);
    });
    resumed.await?;
    reading.stop().await?;
    let after = ticks(&journal)?.split_off(before.len());
    for (tick, seq) in after.iter().zip(last["seq"].as_u64().unwrap_or_default() + 1..) {
        ensure(tick["seq"] == seq, || format!("it counts on from {seq}: {tick}"))?;
        let rate = tick["rate_decided"].as_f64().unwrap_or(f64::INFINITY);
        ensure(rate <= 600.0, || format!("no tick opens it, for a group that takes 500/s: {tick}"))?;
    }
    Ok(())
}

/// Waits for what a service writes to its journal.
fn until(path: &Path, seen: impl Fn(&[Value]) -> bool) {
    let begin = Instant::now();
    while !ticks(path).is_ok_and(|ticks| seen(&ticks)) {
        assert!(
            begin.elapsed() < PATIENCE,
            "the journal does not get there: {:?}",
            ticks(path).map(|ticks| ticks.len())
        );
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// The ticks in a journal, without the settings; the line that the kill tore is no tick.
fn ticks(path: &Path) -> Result<Vec<Value>, Stop> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines.filter(|line| line.get("kind").is_none()).collect())
}
