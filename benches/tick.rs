//! What one tick costs: 10,000 partitions and three groups, every commit moving, beside the least that any implementation
//! must do with such a poll (copy it).
//!
//! `cargo bench --bench tick --no-default-features`

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use lagvalve::agent::{TickInput, ValveLoop};
use lagvalve::clock::{Clock, Instant, SystemClock};
use lagvalve::id::{GroupId, Topic, TopicPartition};
use lagvalve::lag::{GroupCommits, PartitionEnds, Snapshot, TopicEnds};
use lagvalve::{ProtectedGroup, ValveSettings};

const PARTITIONS: i32 = 10_000;
const GROUPS: [&str; 3] = ["billing", "search", "audit"];
const TICKS: usize = 200;

fn main() {
    let mut settings = ValveSettings::new("backfill", vec![Topic::new("orders")]);
    settings.protect = GROUPS.into_iter().map(ProtectedGroup::new).collect();
    let mut valve = ValveLoop::new(settings);
    let descriptions = HashMap::new();
    let (mut ticks, mut copies) = (Vec::new(), Vec::new());
    for second in 0..TICKS {
        let snapshot = poll(second as f64);
        let begin = SystemClock.now();
        black_box(snapshot.clone());
        copies.push(SystemClock.now().since(begin));
        let now = Instant::from_seconds(second as f64 + 0.01);
        let input =
            TickInput { now, unix_millis: 0, snapshot: Some(&snapshot), descriptions: &descriptions, sent_total: 0 };
        let begin = SystemClock.now();
        black_box(valve.tick(&input));
        ticks.push(SystemClock.now().since(begin));
    }
    let (tick, copy) = (middle(&mut ticks), middle(&mut copies));
    println!("{PARTITIONS} partitions x {} groups, {TICKS} polls, median and 99th of 100:", GROUPS.len());
    println!("  a tick            {:?}, {:?}", tick.0, tick.1);
    println!("  a copy of a poll  {:?}, {:?}", copy.0, copy.1);
    println!("  ratio of medians  {:.2}", tick.0.as_secs_f64() / copy.0.as_secs_f64());
}

/// Written at 10 messages/s a partition; each group commits every five seconds, a fifth of the partitions at a time, and is
/// two to four seconds behind.
fn poll(second: f64) -> Snapshot {
    let read_at = Instant::from_seconds(second);
    let end = |_: i32| (second * 10.0) as i64;
    let group = |(index, name): (usize, &&str)| {
        let commit = |partition: i32| {
            let since = (second as i64 + i64::from(partition)) % 5;
            (TopicPartition::new("orders", partition), (end(partition) - 10 * (since + 2 + index as i64)).max(0))
        };
        GroupCommits { group: GroupId::new(*name), read_at, commits: Ok((0..PARTITIONS).map(commit).collect()) }
    };
    let partition = |partition| PartitionEnds { partition, start: Some(0), end: Ok(end(partition)), last_stable: None };
    Snapshot {
        groups: GROUPS.iter().enumerate().map(group).collect(),
        topics: vec![TopicEnds {
            topic: Topic::new("orders"),
            id: None,
            read_at,
            partitions: Ok((0..PARTITIONS).map(partition).collect()),
            retention: None,
        }],
    }
}

fn middle(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
