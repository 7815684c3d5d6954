//! What a valve says and does where the signal is odd: logs cut or made anew, records deleted unread, open transactions.
//! Ten polls a story at least, all partitions alike; a poll a second.

use std::collections::HashMap;
use std::time::Duration;

use lagvalve::agent::{GroupVerdict, Quality, TickInput, ValveLoop};
use lagvalve::clock::Instant;
use lagvalve::id::{GroupId, Topic, TopicPartition};
use lagvalve::lag::{GroupCommits, Isolation, PartitionEnds, Retention, Snapshot, TopicEnds};
use lagvalve::{BoundBy, ProtectedGroup, TickRecord, ValveSettings};

const PARTITIONS: i32 = 4;

/// What a poll sees of every partition.
#[derive(Clone, Copy)]
struct Seen {
    id: u8,
    start: i64,
    stable: Option<i64>,
    end: i64,
    committed: Option<i64>,
    retention: Option<Retention>,
}

/// A log that grows by 500/s a partition, and a group that commits every 5 s what was there a second before.
fn usual(second: i64) -> Seen {
    let commit = second / 5 * 5;
    Seen {
        id: 1,
        start: 0,
        stable: None,
        end: second * 500,
        committed: Some((commit * 500 - 500).max(0)),
        retention: None,
    }
}

struct Story {
    valve: ValveLoop,
    second: i64,
}

impl Story {
    fn new(isolation: Isolation) -> Self {
        let mut settings = ValveSettings::new("backfill", vec![Topic::new("orders")]);
        settings.protect = vec![ProtectedGroup::new("billing").isolation(isolation)];
        Self { valve: ValveLoop::new(settings), second: 0 }
    }

    /// The usual load for `seconds`.
    fn with_a_past(seconds: i64) -> Self {
        let mut story = Self::new(Isolation::ReadUncommitted);
        (0..seconds).for_each(|_| drop(story.poll(usual)));
        story
    }

    fn poll(&mut self, seen: impl Fn(i64) -> Seen) -> TickRecord {
        let Seen { id, start, stable, end, committed, retention } = seen(self.second);
        let now = Instant::from_seconds(10.0 + self.second as f64);
        self.second += 1;
        let partitions = (0..PARTITIONS).map(|partition| PartitionEnds {
            partition,
            start: Some(start),
            end: Ok(end),
            last_stable: stable.map(Ok),
        });
        let commits =
            (0..PARTITIONS).filter_map(|partition| Some((TopicPartition::new("orders", partition), committed?)));
        let snapshot = Snapshot {
            groups: vec![GroupCommits { group: GroupId::new("billing"), read_at: now, commits: Ok(commits.collect()) }],
            topics: vec![TopicEnds {
                topic: Topic::new("orders"),
                id: Some([id; 16]),
                read_at: now,
                partitions: Ok(partitions.collect()),
                retention,
            }],
        };
        let descriptions = HashMap::new();
        self.valve.tick(&TickInput {
            now,
            unix_millis: 0,
            snapshot: Some(&snapshot),
            descriptions: &descriptions,
            sent_total: 0,
        })
    }
}

#[test]
fn a_topic_made_anew_is_no_group_that_has_caught_up() {
    let mut story = Story::with_a_past(60);
    let began = story.second;
    let anew = |second: i64, committed| Seen { id: 2, end: (second - began) * 500, committed, ..usual(0) };
    for passed in 0..12 {
        let record = story.poll(|second| anew(second, None));
        let group = &record.groups[0];
        assert_eq!((group.state, group.quality), (GroupVerdict::NeverCommitted, Quality::Held), "after {passed} s");
        assert_eq!((group.committed_lag, group.lag_messages), (None, None), "after {passed} s");
        assert!(record.production.is_some_and(|rate| rate <= 2_001.0), "after {passed} s: {:?}", record.production);
    }
    // Nobody knows any more whether the group follows: after the grace period the policy for a lost signal rules.
    let record = (0..5).map(|_| story.poll(|second| anew(second, None))).last().unwrap();
    assert_eq!(record.causes[0].bound_by, BoundBy::SignalLost, "{}", record.explain);
    assert!((1_000.0..=2_600.0).contains(&record.rate_unbounded.as_f64()), "{}", record.explain);
    // It commits on the new topic: what it can take was not forgotten.
    let record = (0..6)
        .map(|_| story.poll(|second| anew(second, Some((second / 5 * 5 - began - 1).max(0) * 500))))
        .last()
        .unwrap();
    let group = &record.groups[0];
    assert_eq!(group.quality, Quality::Fresh, "{}", record.explain);
    assert!(group.capacity.is_some_and(|capacity| capacity > 1_500.0), "{:?}", group.capacity);
    assert!(group.committed_lag.is_some_and(|lag| lag > 0));
}

#[test]
fn commits_beyond_the_end_are_no_lag_of_zero() {
    let mut story = Story::with_a_past(60);
    let open = story.poll(usual);
    assert_eq!(open.groups[0].problem, None);
    // An unclean leader: the log is 20,000 offsets shorter, the commits are not.
    let cut = |second: i64| Seen { end: usual(second).end - 20_000, committed: Some(29_500), ..usual(second) };
    let first = story.poll(cut);
    assert_eq!(first.groups[0].committed_lag, None);
    assert_eq!(first.groups[0].coverage, 0.0);
    let second = story.poll(cut);
    assert_eq!(second.groups[0].state, GroupVerdict::Unmeasured);
    assert!(second.explain.contains("beyond the end") || second.groups[0].problem.is_some(), "{}", second.explain);
    assert_eq!(second.rate_unbounded.as_f64(), first.rate_unbounded.as_f64(), "the decision is held");
    // The group finds its place again, below where it stood.
    let found = story.poll(|second| Seen { committed: Some(usual(second).end - 21_000), ..cut(second) });
    assert_eq!((found.groups[0].state, found.groups[0].coverage), (GroupVerdict::Rewound, 1.0));
    assert_eq!(found.groups[0].committed_lag, Some(4 * 1_000));
}

#[test]
fn records_that_retention_deleted_unread_are_counted_and_named() {
    let mut story = Story::with_a_past(60);
    let record = story.poll(|second| Seen { start: 29_800, ..usual(second) });
    let group = &record.groups[0];
    assert_eq!(group.state, GroupVerdict::DataLost);
    assert_eq!(group.lost_messages, Some(4 * (29_800 - 29_500)));
    let problem = group.problem.as_deref().unwrap();
    assert!(problem.contains("deleted 1,200 messages of orders[0] and 3 more partitions"), "{problem}");
    assert_eq!(group.committed_lag, Some(4 * (30_000 - 29_800)), "what is gone is no lag");
}

#[test]
fn what_retention_deletes_is_no_work_of_a_group() {
    let mut story = Story::with_a_past(60);
    let began = story.second;
    let before = story.poll(usual).groups[0].capacity.unwrap();
    // The group is down, and the log start follows the end by a minute.
    let down =
        |second: i64| Seen { start: ((second - 60) * 500).max(0), committed: usual(began).committed, ..usual(second) };
    let record = (0..120).map(|_| story.poll(down)).last().unwrap();
    let group = &record.groups[0];
    assert_eq!(group.state, GroupVerdict::DataLost);
    assert!(group.capacity.is_some_and(|capacity| capacity <= before), "{before} {:?}", group.capacity);
    assert_eq!(record.causes[0].bound_by, BoundBy::GroupStalled, "{}", record.explain);
    assert!(record.rate_unbounded.as_f64() < 0.2 * before, "{}", record.explain);
}

#[test]
fn an_open_transaction_is_not_a_slow_group() {
    let mut story = Story::new(Isolation::ReadCommitted);
    let flowing = |second: i64| Seen { stable: Some(second * 500), ..usual(second) };
    (0..60).for_each(|_| drop(story.poll(flowing)));
    let began = story.second;
    let held = |second: i64| {
        let committed = if second >= began + 5 { began * 500 } else { usual(second).committed.unwrap() };
        Seen { stable: Some(began * 500), committed: Some(committed), ..usual(second) }
    };
    let record = (0..20).map(|_| story.poll(held)).last().unwrap();
    let group = &record.groups[0];
    assert_eq!(group.state, GroupVerdict::TransactionOpen, "{}", record.explain);
    let problem = group.problem.as_deref().unwrap();
    assert!(problem.contains("transaction on orders[") && problem.contains("18 s"), "{problem}");
    // It ends: what waited is a backlog like any other.
    let record = story.poll(|second| Seen { stable: Some(second * 500), ..held(second) });
    assert_eq!(record.groups[0].problem, None);
    assert_ne!(record.groups[0].state, GroupVerdict::TransactionOpen);
}

#[test]
fn retention_that_comes_too_near_closes_the_valve_before_records_are_lost() {
    let mut settings = ValveSettings::new("backfill", vec![Topic::new("orders")]);
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    settings.protect = vec![ProtectedGroup::new("billing").min_runway(hours(1))];
    let mut story = Story { valve: ValveLoop::new(settings), second: 0 };
    let kept = |seconds| Some(Retention { seconds: Some(seconds), ..Retention::default() });
    let record =
        (0..60).map(|_| story.poll(|second| Seen { retention: kept(7200.0), ..usual(second) })).last().unwrap();
    assert_eq!(record.causes[0].bound_by, BoundBy::Unlimited, "{}", record.explain);
    let group = &record.groups[0];
    let (least, most) = (group.age_least_seconds.unwrap(), group.age_most_seconds.unwrap());
    assert!((4.0..=6.0).contains(&least) && most <= least + 1.5, "{least} to {most}");
    assert_eq!(group.runway_seconds, Some(7200.0 - most));

    // Somebody shortens retention: what is written now would be deleted less than an hour after it is read.
    let record = story.poll(|second| Seen { retention: kept(3600.0), ..usual(second) });
    assert_eq!(record.causes[0].bound_by, BoundBy::Runway, "{}", record.explain);
    assert_eq!(record.rate_decided.as_f64(), 1.0);
    let problem = record.groups[0].problem.clone().unwrap();
    assert!(problem.contains("deletes its oldest unread records in about 3,59"), "{problem}");
    // A valve that may not read it says so, rather than that all is well.
    let mut blind = Story::new(Isolation::ReadUncommitted);
    let mut settings = blind.valve.settings().clone();
    settings.protect = vec![ProtectedGroup::new("billing").min_runway(hours(1))];
    blind.valve = ValveLoop::new(settings);
    let record = (0..20).map(|_| blind.poll(usual)).last().unwrap();
    let problem = record.groups[0].problem.clone().unwrap();
    assert!(problem.contains("DESCRIBE_CONFIGS on TOPIC orders"), "{problem}");
    // Not told again, as when a permission was withdrawn: what was known stands.
    assert_eq!(story.poll(usual).causes[0].bound_by, BoundBy::Runway);
}
