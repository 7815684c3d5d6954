//! Recorded runs of the simulated cluster, awkward polls by chance, and tables of broken lines.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::agent::{GroupRecord, Mode, ProtectedGroup, TickInput, ValveLoop, ValveSettings};
use crate::clock::Instant;
use crate::control::LawKind;
use crate::id::{GroupId, Topic, TopicPartition};
use crate::lag::{
    GroupCommits, GroupDescription, GroupKind, GroupState, Isolation, PartitionEnds, ReadError, ReadFault, Retention,
    Snapshot, TopicEnds,
};
use crate::sim::policy::{Observation, Policy};
use crate::sim::{Baseline, Case, Scenario, Shipped, ShippedStart, catalogue};

fn story(id: &str) -> Scenario {
    catalogue().into_iter().find(|scenario| scenario.id == id).unwrap()
}

fn recorded(id: &str, start: ShippedStart) -> Vec<TickRecord> {
    let scenario = story(id);
    let mut shipped = Shipped::new(&scenario, start).recording();
    Case::new(&scenario, 1).run(&mut shipped);
    shipped.records().to_vec()
}

/// As the journal's file has them: the settings before the first tick that names them.
fn lines(records: &[TickRecord]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut before = None;
    for record in records {
        if before != record.config_id {
            before.clone_from(&record.config_id);
            lines.push(serde_json::to_string(record.config.as_ref().unwrap()).unwrap());
        }
        lines.push(serde_json::to_string(record).unwrap());
    }
    lines
}

fn replayed(replay: &mut Replay, lines: &[String]) -> Vec<Replayed> {
    let numbered = lines.iter().zip(1..);
    let ticks = numbered.filter_map(|(line, number)| replay.line(number, line.as_bytes()).unwrap()).collect();
    replay.end_of_file();
    ticks
}

fn as_recorded() -> Replay {
    Replay::new(vec![ReplayLaw::recorded("lagvalve")], None)
}

#[test]
fn what_was_recorded_is_decided_again_at_every_tick() {
    // Steps, an outage, blackouts, two groups, live traffic; each start.
    for id in ["S01", "S22", "S26", "S37", "S45"] {
        for start in [ShippedStart::Open, ShippedStart::Hinted, ShippedStart::Slow(None)] {
            let records = recorded(id, start);
            let mut replay = as_recorded();
            let ticks = replayed(&mut replay, &lines(&records));
            assert_eq!(ticks.len(), records.len(), "{id}");
            for (tick, record) in ticks.iter().zip(&records) {
                let decision = tick.decisions[0];
                let case = format!("{id} {start:?} tick {}", record.seq);
                assert_eq!(decision.rate_decided.as_f64().to_bits(), record.rate_decided.as_f64().to_bits(), "{case}");
                assert_eq!(decision.bound_by, Some(record.bound_by), "{case}");
            }
            let summary = replay.summaries().remove(0);
            assert_eq!((summary.whole_ticks, summary.gaps, summary.restarts), (records.len() as u64, 0, 0), "{id}");
            assert_eq!((summary.laws[0].as_recorded, summary.laws[0].differ), (true, 0), "{id}");
            assert_eq!(summary.laws[0].tally, summary.recorded, "{id}");
        }
    }
}

#[test]
fn another_set_point_another_start_and_the_textbook_law_are_other_decisions() {
    let records = recorded("S01", ShippedStart::Open);
    let laws = vec![
        ReplayLaw::retold("far", |settings| settings.protect[0].target_lag = Duration::from_secs(20)),
        ReplayLaw::retold("slow", |settings| settings.start = crate::agent::Start::Slow),
        ReplayLaw::retold("textbook", |settings| settings.law = LawKind::Pid),
    ];
    let mut replay = Replay::new(laws, None);
    let ticks = replayed(&mut replay, &lines(&records));
    for law in replay.summaries().remove(0).laws {
        assert!(!law.as_recorded && law.differ > 0, "{law:?}");
        assert_eq!(law.same + law.differ, ticks.len() as u64);
        let first = law.first_difference.unwrap();
        assert!(!first.replayed.is_same(&first.recorded), "{}", law.law);
    }
    // A slow start is limited before anything is known, an open one is not.
    assert!(!ticks[0].decisions[1].rate_decided.is_unlimited());
    assert!(ticks[0].recorded.rate_decided.is_unlimited());
}

/// The shipped loop decides; another law is asked beside it and not heard.
struct Beside {
    shipped: Shipped,
    other: Box<dyn Policy>,
    said: Vec<f64>,
}

impl Policy for Beside {
    fn tick(&mut self, now: f64, seen: Option<&Observation<'_>>) -> f64 {
        self.said.push(self.other.tick(now, seen));
        self.shipped.tick(now, seen)
    }
}

#[test]
fn another_law_decides_on_a_journal_as_it_does_on_the_cluster() {
    for id in ["S01", "S26", "S37"] {
        for law in [Baseline::None, Baseline::Spark, Baseline::Pid, Baseline::OnOff, Baseline::Gradient] {
            let scenario = story(id);
            let shipped = Shipped::new(&scenario, ShippedStart::Open).recording();
            let mut policy = Beside { shipped, other: law.start(&scenario.told()), said: Vec::new() };
            Case::new(&scenario, 1).run(&mut policy);
            let law = ReplayLaw::baseline(law, Some(scenario.nominal_capacity())).unwrap();
            let ticks = replayed(&mut Replay::new(vec![law], None), &lines(policy.shipped.records()));
            assert_eq!(ticks.len(), policy.said.len());
            for (tick, said) in ticks.iter().zip(&policy.said) {
                let rate = tick.decisions[0].rate_decided.as_f64();
                // Its clocks begin elsewhere, so the last bits differ.
                let near = rate == *said || (rate / said - 1.0).abs() < 1e-6;
                assert!(near, "{id} tick {}: {rate} on the journal, {said} on the cluster", tick.record.seq);
            }
        }
    }
}

#[test]
fn a_law_that_is_told_the_capacity_asks_for_it() {
    for &law in Baseline::ALL {
        assert_eq!(ReplayLaw::baseline(law, None).is_err(), law.is_told_the_capacity(), "{law}");
        assert!(ReplayLaw::baseline(law, Some(2000.0)).is_ok());
        assert_eq!(ReplayLaw::baseline(law, Some(f64::NAN)).is_err(), law.is_told_the_capacity(), "{law}");
    }
}

#[test]
fn gaps_late_beginnings_and_restarts_are_counted_and_told_apart() {
    let records = recorded("S22", ShippedStart::Open);
    let total = records.len() as u64;
    let all = lines(&records);
    let counts = |lines: &[String]| {
        let mut replay = as_recorded();
        replayed(&mut replay, lines);
        let seen = replay.summaries().remove(0);
        assert_eq!(seen.laws[0].differ_whole, 0);
        (seen.ticks, seen.whole_ticks, seen.gaps, seen.missing, seen.restarts, seen.begun_late)
    };
    assert_eq!(counts(&all), (total, total, 0, 0, 0, 0));
    // Line 0 has the settings: ticks 100 to 102 are missing.
    let gap: Vec<String> = [&all[..100], &all[103..]].concat();
    assert_eq!(counts(&gap), (total - 3, 99, 1, 3, 0, 0));
    let late: Vec<String> = [&all[..1], &all[50..]].concat();
    assert_eq!(counts(&late), (total - 49, 0, 0, 0, 0, 1));
    let twice: Vec<String> = [&all[..80], &all[..]].concat();
    assert_eq!(counts(&twice), (79 + total, 79 + total, 0, 0, 1, 0));
    // The file turned over: the next one has the settings again, and nothing else has changed.
    let turned: Vec<String> = [&all[..200], &all[..1], &all[200..]].concat();
    assert_eq!(counts(&turned), (total, total, 0, 0, 0, 0));
}

#[test]
fn each_valve_is_replayed_by_itself() {
    let one = recorded("S01", ShippedStart::Open);
    let other: Vec<TickRecord> = recorded("S26", ShippedStart::Slow(None))
        .into_iter()
        .map(|record| {
            let mut config = record.config.as_deref().cloned().unwrap();
            (config.valve, config.settings.name, config.config_id) = ("b".into(), "b".into(), "b".into());
            TickRecord { valve: "b".into(), config_id: Some("b".into()), config: Some(Arc::new(config)), ..record }
        })
        .collect();
    let (a, b) = (lines(&one), lines(&other));
    let pairs = a.iter().zip(&b).flat_map(|(a, b)| [a.clone(), b.clone()]);
    let mixed: Vec<String> =
        pairs.chain(a.iter().skip(b.len()).cloned()).chain(b.iter().skip(a.len()).cloned()).collect();
    let mut both = as_recorded();
    replayed(&mut both, &mixed);
    let counts: Vec<_> = both.summaries().iter().map(|seen| (seen.ticks, seen.laws[0].differ)).collect();
    assert_eq!(counts, [(one.len() as u64, 0), (other.len() as u64, 0)]);
    let mut chosen = Replay::new(vec![ReplayLaw::recorded("lagvalve")], Some("b".into()));
    assert_eq!(replayed(&mut chosen, &mixed).len(), other.len());
    assert_eq!(chosen.names().len(), 2);
}

#[test]
fn time_counts_until_the_next_decision() {
    let records = recorded("S01", ShippedStart::Open);
    let mut replay = as_recorded();
    replayed(&mut replay, &lines(&records));
    let tally = replay.summaries().remove(0).recorded;
    let from_to = records[records.len() - 1].input.as_ref().unwrap().now_ns - records[0].input.as_ref().unwrap().now_ns;
    assert!((tally.seconds() - from_to as f64 / 1e9 - 1.0).abs() < 1e-6, "{}", tally.seconds());
    let shares: f64 = tally.reasons().iter().map(|(_, share)| share).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    let (limited, mean) = (tally.limited_share().unwrap(), tally.mean_rate().unwrap());
    assert!((0.5..1.0).contains(&limited) && (1_000.0..10_000.0).contains(&mean), "{limited} {mean}");
    assert_eq!((ReplayTally::default().limited_share(), ReplayTally::default().mean_rate()), (None, None));
}

#[test]
fn the_reason_of_a_valve_that_observes_is_that_of_its_group() {
    let mut record = recorded("S01", ShippedStart::Open).pop().unwrap();
    record.causes[0].bound_by = crate::control::BoundBy::Draining;
    record.bound_by = crate::control::BoundBy::ObserveOnly;
    let decision = ReplayDecision::of(&record);
    assert_eq!(decision.bound_by, Some(crate::control::BoundBy::ObserveOnly));
    assert_eq!(decision.cause, Some(crate::control::BoundBy::Draining));
}

#[test]
fn broken_lines_are_named_with_the_remedy() {
    let records = recorded("S01", ShippedStart::Open);
    let all = lines(&records[..3]);
    let (config, tick, next) = (all[0].as_str(), all[1].as_str(), all[2].as_str());
    let slim = serde_json::to_string(&TickRecord { input: None, ..records[0].clone() }).unwrap();
    let newer = tick.replacen("\"v\":1", "\"v\":2", 1);
    let idle = config.replacen("\"poll_interval_seconds\":1.0", "\"poll_interval_seconds\":0.0", 1);
    let negative = config.replacen("\"min_rate\":0.001", "\"min_rate\":-1", 1);
    let half = &tick[..tick.len() / 2];
    let table: &[(&str, &[&str], u64, &str)] = &[
        ("garbage in the middle", &[config, tick, "\u{0}\u{0}\u{0}", next], 3, "take the line out"),
        ("a log line", &[config, "INFO connected"], 2, "no line of a journal"),
        ("another program's object", &[r#"{"level":"INFO"}"#], 1, "no version"),
        ("a newer version", &[config, &newer], 2, "version 2 of the format"),
        ("a newer version that looks otherwise", &[r#"{"v":7,"what":"?"}"#], 1, "version 7 of the format"),
        ("a kind of a later day", &[r#"{"v":1,"kind":"lease"}"#], 1, "no line of a journal"),
        ("a tick without offsets", &[config, &slim], 2, "observe --journal wrote"),
        ("a tick before its settings", &[tick], 1, "\"kind\":\"config\""),
        ("a torn line before a tick", &[config, half, next], 2, "ends in the middle"),
        ("two torn lines", &[config, half, half], 2, "ends in the middle"),
        ("a torn line and garbage", &[config, half, "x"], 2, "ends in the middle"),
        ("no poll interval", &[&idle], 1, "poll_interval_seconds is 0"),
        ("a negative rate", &[&negative], 1, "a rate is a number"),
        (
            "a number that is text",
            &[config, &tick.replacen("\"seq\":1", "\"seq\":\"1\"", 1)],
            2,
            "no line of a journal",
        ),
    ];
    for (case, lines, at, words) in table {
        let mut replay = as_recorded();
        let error = lines.iter().zip(1..).find_map(|(line, number)| replay.line(number, line.as_bytes()).err());
        let error = error.unwrap_or_else(|| panic!("{case}: taken for good"));
        assert_eq!(error.line, *at, "{case}: {error}");
        assert!(error.to_string().contains(words), "{case}: {error}");
    }
}

#[test]
fn what_a_crash_tore_is_left_out_and_counted() {
    let all = lines(&recorded("S01", ShippedStart::Open)[..40]);
    let text = all.join("\n");
    // The agent was killed while it wrote: anywhere in the last line.
    let last = all[40].len();
    for kept in [1, 2, last / 3, last / 2, last - 1] {
        let cut = &text[..text.len() - last + kept];
        let mut replay = as_recorded();
        let cut: Vec<String> = cut.lines().map(str::to_owned).collect();
        assert_eq!(replayed(&mut replay, &cut).len(), 39, "{kept}");
        assert_eq!(replay.torn(), 1, "{kept}");
        // Started again, it begins a new line with its settings.
        let again: Vec<String> = cut.iter().chain(&all).cloned().collect();
        let mut replay = as_recorded();
        assert_eq!(replayed(&mut replay, &again).len(), 79, "{kept}");
        let seen = replay.summaries().remove(0);
        assert_eq!((replay.torn(), seen.restarts, seen.laws[0].differ), (1, 1, 0), "{kept}");
    }
    // A file that ends whole, with an empty line or without.
    let mut replay = as_recorded();
    assert_eq!(replayed(&mut replay, &[all, vec![String::new()]].concat()).len(), 40);
    assert_eq!(replay.torn(), 0);
}

// ---- awkward polls by chance

/// What a coordinator says of a group: its state and members.
type Said = Result<(GroupState, usize), ReadFault>;

#[derive(Clone, Debug)]
struct Poll {
    seconds: f64,
    /// One a topic: `None`: it could not be read; else one a partition.
    topics: Vec<Option<Vec<Ends>>>,
    /// One a topic: another one than before means that the topic was made anew.
    ids: Vec<Option<u8>>,
    retention: Option<Retention>,
    /// One a group.
    groups: Vec<Commits>,
    described: Vec<Option<Said>>,
    failed: bool,
    sent: u64,
}

#[derive(Clone, Debug)]
struct Ends {
    end: Option<i64>,
    stable: Option<Option<i64>>,
    start: Option<i64>,
}

#[derive(Clone, Debug)]
enum Commits {
    NotAsked,
    Refused(ReadFault),
    Read(Vec<Option<i64>>),
}

fn fault() -> impl Strategy<Value = ReadFault> {
    prop_oneof![Just(ReadFault::GroupMissing), Just(ReadFault::Unavailable), Just(ReadFault::Unauthorized)]
}

fn offset() -> impl Strategy<Value = i64> {
    0..60_000_i64
}

fn ends() -> impl Strategy<Value = Ends> {
    let stable = proptest::option::of(proptest::option::weighted(0.8, offset()));
    (proptest::option::weighted(0.85, offset()), stable, proptest::option::of(0..100_i64))
        .prop_map(|(end, stable, start)| Ends { end, stable, start })
}

fn retention() -> impl Strategy<Value = Retention> {
    let limit = || proptest::option::of(10.0..1e6_f64);
    (limit(), limit(), limit()).prop_map(|(seconds, bytes, bytes_per_message)| Retention {
        seconds,
        bytes,
        bytes_per_message,
    })
}

fn poll() -> impl Strategy<Value = Poll> {
    let topic = proptest::option::weighted(0.9, proptest::collection::vec(ends(), 0..4));
    let commits = prop_oneof![
        1 => Just(Commits::NotAsked),
        1 => fault().prop_map(Commits::Refused),
        6 => proptest::collection::vec(proptest::option::weighted(0.8, offset()), 8).prop_map(Commits::Read),
    ];
    let state = prop_oneof![Just(GroupState::Stable), Just(GroupState::Empty), Just(GroupState::Missing)];
    let described = proptest::option::of(prop_oneof![
        3 => (state, 0..4_usize).prop_map(Ok),
        1 => fault().prop_map(Err),
    ]);
    let id = prop_oneof![9 => Just(1), 1 => Just(2_u8)];
    let seconds = prop_oneof![6 => 0.9..1.1_f64, 1 => 0.0..30.0_f64];
    (
        seconds,
        (
            proptest::collection::vec(topic, 3),
            proptest::collection::vec(proptest::option::weighted(0.9, id), 3),
            proptest::option::of(retention()),
        ),
        proptest::collection::vec(commits, 2),
        proptest::collection::vec(described, 2),
        proptest::bool::weighted(0.15),
        0..1_000_u64,
    )
        .prop_map(|(seconds, (topics, ids, retention), groups, described, failed, sent)| Poll {
            seconds,
            topics,
            ids,
            retention,
            groups,
            described,
            failed,
            sent,
        })
}

fn settings() -> impl Strategy<Value = ValveSettings> {
    let isolation = prop_oneof![Just(Isolation::ReadUncommitted), Just(Isolation::ReadCommitted)];
    let mode = prop_oneof![Just(Mode::Enforce), Just(Mode::Observe)];
    let rate = || proptest::option::of(1.0..5_000.0_f64);
    (proptest::collection::vec(isolation, 0..3), mode, rate(), rate(), any::<bool>(), any::<bool>()).prop_map(
        |(isolations, mode, max_rate, initial_rate, slow, textbook)| {
            // The third topic is another valve's.
            let mut settings = ValveSettings::new("v", vec![topic(0), topic(1)]);
            let group = |(place, isolation): (usize, Isolation)| ProtectedGroup::new(group(place)).isolation(isolation);
            settings.protect = isolations.into_iter().enumerate().map(group).collect();
            if let Some(first) = settings.protect.first_mut() {
                first.max_lag = Some(Duration::from_millis(12_345));
            }
            settings.mode = mode;
            let rate = |value: f64| crate::units::MessagesPerSecond::new(value);
            (settings.max_rate, settings.initial_rate) = (max_rate.and_then(rate), initial_rate.and_then(rate));
            settings.start = if slow { crate::agent::Start::Slow } else { crate::agent::Start::Open };
            settings.law = if textbook { LawKind::Pid } else { LawKind::TimeLag };
            settings
        },
    )
}

fn topic(place: usize) -> Topic {
    Topic::new(format!("t{place}"))
}

fn group(place: usize) -> GroupId {
    GroupId::new(format!("g{place}"))
}

fn error(fault: ReadFault, what: &str) -> ReadError {
    ReadError { fault, detail: format!("{what}: {fault:?}") }
}

/// What the poll shows at `now`; offsets grow by 1,000 a second, so that there is something to decide.
fn snapshot(poll: &Poll, now: f64) -> Snapshot {
    let grown = (now * 1_000.0) as i64;
    let read = |value: Option<i64>| value.map(|value| value + grown).ok_or(error(ReadFault::Unavailable, "no leader"));
    let topics = poll.topics.iter().enumerate().map(|(place, partitions)| {
        let partitions = partitions.as_ref().map(|partitions| {
            let ends = partitions.iter().enumerate().map(|(index, ends)| PartitionEnds {
                partition: index as i32,
                start: ends.start,
                end: read(ends.end),
                last_stable: ends.stable.map(read),
            });
            ends.collect()
        });
        TopicEnds {
            topic: topic(place),
            id: poll.ids.get(place).copied().flatten().map(|id| [id; 16]),
            read_at: Instant::from_seconds(now - 0.01 * (place as f64 + 1.0) / 3.0),
            partitions: partitions.ok_or(error(ReadFault::TopicMissing, "topic")),
            retention: poll.retention,
        }
    });
    let groups = poll.groups.iter().enumerate().filter_map(|(place, commits)| {
        let commits = match commits {
            Commits::NotAsked => return None,
            Commits::Refused(fault) => Err(error(*fault, "group")),
            Commits::Read(offsets) => Ok(offsets
                .iter()
                .enumerate()
                .filter_map(|(index, offset)| {
                    let partition = TopicPartition::new(topic(index / 4), (index % 4) as i32);
                    Some((partition, offset.as_ref()? + grown - 5_000))
                })
                .collect()),
        };
        Some(GroupCommits { group: group(place), read_at: Instant::from_seconds(now - 0.0377), commits })
    });
    Snapshot { groups: groups.collect(), topics: topics.collect() }
}

fn descriptions(poll: &Poll) -> HashMap<GroupId, Result<GroupDescription, ReadError>> {
    let describe = |(place, seen): (usize, &Option<Said>)| {
        let described = match seen.as_ref()? {
            Ok((state, members)) => Ok(GroupDescription {
                group: group(place),
                state: *state,
                members: *members,
                assigned_partitions: 2 * members,
                kind: GroupKind::Consumer,
            }),
            Err(fault) => Err(error(*fault, "coordinator")),
        };
        Some((group(place), described))
    };
    poll.described.iter().enumerate().filter_map(describe).collect()
}

/// Runs `polls` through a valve, and the lines of its ticks through another one: the first line that differs, twice.
fn first_line_apart(settings: &ValveSettings, polls: &[Poll]) -> Option<(String, String)> {
    let [mut valve, mut again] = [ValveLoop::new(settings.clone()), ValveLoop::new(settings.clone())];
    let (mut now, mut sent_total) = (100.123_456_789, 0);
    polls.iter().find_map(|poll| {
        now += poll.seconds;
        sent_total += poll.sent;
        let (seen, descriptions) = (snapshot(poll, now), descriptions(poll));
        let record = valve.tick(&TickInput {
            now: Instant::from_seconds(now),
            unix_millis: (now * 1e3) as u64,
            snapshot: (!poll.failed).then_some(&seen),
            descriptions: &descriptions,
            sent_total,
        });
        let line = serde_json::to_string(&record).unwrap();
        let Ok(JournalLine::Tick(read)) = JournalLine::parse(line.as_bytes()) else { panic!("no tick: {line}") };
        let given = Given::of(&read, settings).unwrap();
        // The whole line, not the decision alone: states, quality, problems, the sentence, the input itself.
        let same = serde_json::to_string(&again.tick(&given.as_input())).unwrap();
        (same != line).then_some((line, same))
    })
}

proptest! {
    #[test]
    fn a_tick_is_rebuilt_from_its_line_whatever_the_poll_brought(
        settings in settings(),
        polls in proptest::collection::vec(poll(), 1..40),
    ) {
        prop_assert_eq!(first_line_apart(&settings, &polls), None);
    }
}

#[test]
fn a_topic_without_a_partition_is_rebuilt_like_any_other() {
    let poll = |topics| Poll {
        seconds: 1.0,
        topics,
        ids: Vec::new(),
        retention: None,
        groups: vec![Commits::NotAsked; 2],
        described: vec![None, None],
        failed: false,
        sent: 0,
    };
    let ends = Ends { end: Some(5), stable: None, start: None };
    let polls = [vec![Some(Vec::new())], vec![None], vec![Some(Vec::new()), Some(vec![ends])], vec![Some(Vec::new())]];
    let settings = ValveSettings::new("v", vec![topic(0), topic(1)]);
    assert_eq!(first_line_apart(&settings, &polls.map(poll)), None);
}

#[test]
fn a_line_grows_little_by_what_it_needs_to_be_run_again() {
    for (partitions, at_most) in [(6, 400), (1000, 400)] {
        let mut valve = ValveLoop::new(ValveSettings {
            protect: vec![ProtectedGroup::new("billing")],
            ..ValveSettings::new("orders", vec![topic(0)])
        });
        let ends = vec![Ends { end: Some(12_345_678), stable: None, start: Some(12_000_000) }; partitions];
        let poll = Poll {
            seconds: 1.0,
            topics: vec![Some(ends)],
            ids: vec![Some(1)],
            retention: None,
            groups: Vec::new(),
            described: vec![Some(Ok((GroupState::Stable, 3)))],
            failed: false,
            sent: 0,
        };
        let mut seen = snapshot(&poll, 1.0);
        let commits = (0..partitions).map(|index| (TopicPartition::new(topic(0), index as i32), 12_340_000)).collect();
        let group = GroupId::new("billing");
        seen.groups.push(GroupCommits {
            group: group.clone(),
            read_at: Instant::from_seconds(1.0),
            commits: Ok(commits),
        });
        let described = HashMap::from([(
            group.clone(),
            Ok(GroupDescription {
                group,
                state: GroupState::Stable,
                members: 3,
                assigned_partitions: partitions,
                kind: GroupKind::Classic,
            }),
        )]);
        let record = valve.tick(&TickInput {
            now: Instant::from_seconds(3_700.123_456_789),
            unix_millis: 1_800_000_000_000,
            snapshot: Some(&seen),
            descriptions: &described,
            sent_total: 12_345_678,
        });
        let groups: Vec<GroupRecord> = record.groups.clone();
        let whole = serde_json::to_string(&record).unwrap().len();
        let bare = serde_json::to_string(&TickRecord { input: None, config_id: None, groups, ..record }).unwrap().len();
        assert!(whole - bare <= at_most, "{partitions} partitions: {bare} bytes before, {whole} with the input");
    }
}
