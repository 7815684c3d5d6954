//! The law against traces of the reference simulator: the same observations must give the same rates, tick by tick.
//!
//! Each file in `traces/` is one scenario as the reference implementation of the law saw and answered it
//! (`docs/control.md`): a header line, then `[now, [commits_at, ends_at, [end…], [[committed…]…]] | null, rate | null]`
//! per poll; times in seconds, `null` instead of an observation is a missed poll, instead of a rate no limit.

use std::collections::HashMap;
use std::time::Duration;

use lagvalve::agent::{OnSignalLost, ProtectedGroup, Start, TickInput, ValveLoop, ValveSettings};
use lagvalve::clock::Instant;
use lagvalve::control::ControlConfig;
use lagvalve::estimate::EstimateConfig;
use lagvalve::id::{GroupId, Topic, TopicPartition};
use lagvalve::lag::{GroupCommits, PartitionEnds, Snapshot, TopicEnds};
use lagvalve::units::MessagesPerSecond;
use serde::Deserialize;

#[derive(Deserialize)]
struct Header {
    scenario: String,
    title: String,
    poll_seconds: f64,
    start: Start,
    initial_rate: Option<f64>,
    groups: usize,
}

#[derive(Deserialize)]
struct Seen(f64, f64, Vec<i64>, Vec<Vec<i64>>);

#[derive(Deserialize)]
struct Tick(f64, Option<Seen>, Option<f64>);

const TRACES: &[&str] = &[
    include_str!("traces/S01.jsonl"),
    include_str!("traces/S01h.jsonl"),
    include_str!("traces/S14.jsonl"),
    include_str!("traces/S20.jsonl"),
    include_str!("traces/S23.jsonl"),
    include_str!("traces/S25.jsonl"),
    include_str!("traces/S26.jsonl"),
    include_str!("traces/S37.jsonl"),
    include_str!("traces/S53.jsonl"),
    include_str!("traces/S91.jsonl"),
];

/// The traces begin at 0, some of their clocks a little before.
const ORIGIN: f64 = 1_000.0;

fn instant(seconds: f64) -> Instant {
    Instant::from_seconds(ORIGIN + seconds)
}

fn settings(header: &Header) -> ValveSettings {
    let mut settings = ValveSettings::new("trace", vec![Topic::new("t")]);
    settings.protect = (0..header.groups).map(|index| ProtectedGroup::new(format!("g{index}"))).collect();
    settings.start = header.start;
    settings.initial_rate = header.initial_rate.and_then(MessagesPerSecond::new);
    // The reference holds through a blackout unless its command is above capacity, which none of these are.
    settings.on_signal_lost = OnSignalLost::Hold;
    settings.min_rate = MessagesPerSecond::new(1e-3).unwrap();
    settings.poll_interval = Duration::from_secs_f64(header.poll_seconds);
    settings
}

fn snapshot(seen: &Seen) -> Snapshot {
    let partition = |index: usize| TopicPartition::new("t", i32::try_from(index).unwrap());
    let commits = |offsets: &Vec<i64>| {
        Ok(offsets.iter().enumerate().map(|(index, offset)| (partition(index), *offset)).collect::<HashMap<_, _>>())
    };
    let ends = seen.2.iter().enumerate().map(|(index, end)| PartitionEnds {
        partition: i32::try_from(index).unwrap(),
        start: None,
        end: Ok(*end),
        last_stable: None,
    });
    Snapshot {
        groups: seen
            .3
            .iter()
            .enumerate()
            .map(|(index, offsets)| GroupCommits {
                group: GroupId::new(format!("g{index}")),
                read_at: instant(seen.0),
                commits: commits(offsets),
            })
            .collect(),
        topics: vec![TopicEnds {
            topic: Topic::new("t"),
            id: None,
            read_at: instant(seen.1),
            partitions: Ok(ends.collect()),
            retention: None,
        }],
    }
}

#[test]
fn the_law_answers_as_the_reference_does() {
    let mut misses = Vec::new();
    for text in TRACES {
        let mut lines = text.lines();
        let header: Header = serde_json::from_str(lines.next().unwrap()).unwrap();
        let mut valve = ValveLoop::with_constants(
            settings(&header),
            EstimateConfig::reference(header.poll_seconds),
            ControlConfig::reference,
        );
        let nobody = HashMap::new();
        let mut compared = 0;
        for line in lines {
            let Tick(now, seen, expected) = serde_json::from_str(line).unwrap();
            let snapshot = seen.as_ref().map(snapshot);
            // All production is governed, so that nothing is subtracted as live.
            let sent_total = seen.map_or(0, |seen| seen.2.iter().sum::<i64>()).unsigned_abs();
            let record = valve.tick(&TickInput {
                now: instant(now),
                unix_millis: 0,
                snapshot: snapshot.as_ref(),
                descriptions: &nobody,
                sent_total,
            });
            let rate = record.rate_decided.as_f64();
            let expected = expected.unwrap_or(f64::INFINITY);
            compared += 1;
            if !(rate == expected || (rate / expected - 1.0).abs() < 1e-4) {
                misses.push(format!(
                    "{} ({}) at {now} s: {rate} instead of {expected}, {}",
                    header.scenario, header.title, record.explain
                ));
                break;
            }
        }
        assert!(compared > 100 || !misses.is_empty(), "{} was hardly compared", header.scenario);
    }
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}
