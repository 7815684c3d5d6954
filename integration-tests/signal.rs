//! What must hold for any answers of a cluster: unknown is never zero, the order of answers does not matter, and the wall
//! clock is nobody's business.

use std::collections::{BTreeMap, HashMap};

use lagvalve::agent::{TickInput, ValveLoop};
use lagvalve::clock::Instant;
use lagvalve::id::{GroupId, Topic, TopicPartition};
use lagvalve::lag::{GroupCommits, PartitionEnds, ReadError, ReadFault, Snapshot, TopicEnds};
use lagvalve::{ProtectedGroup, TickRecord, ValveSettings};
use proptest::prelude::*;
use proptest::sample::Index;

const TOPICS: [&str; 2] = ["orders", "payments"];
const GROUPS: [&str; 2] = ["billing", "search"];
const PARTITIONS: usize = 3;
const UNREADABLE: ReadError = ReadError { fault: ReadFault::Unavailable, detail: String::new() };

/// Of one partition: how many records came since the last poll, and whether its end can be read.
#[derive(Clone, Copy, Debug)]
struct Grown {
    records: i64,
    readable: bool,
}

/// Of one group and partition: how many records it took, and whether it ever committed before the story.
#[derive(Clone, Copy, Debug)]
struct Taken {
    records: i64,
    commits: bool,
}

/// One poll, of every partition of every topic.
#[derive(Clone, Debug)]
struct Poll {
    grown: Vec<Grown>,
    taken: Vec<Vec<Taken>>,
    /// Whether the commits of each group can be read.
    answers: Vec<bool>,
    fails: bool,
}

fn polls() -> impl Strategy<Value = Vec<Poll>> {
    let places = TOPICS.len() * PARTITIONS;
    let grown = (0..3000_i64, prop::bool::weighted(0.9)).prop_map(|(records, readable)| Grown { records, readable });
    let taken = (0..3000_i64, prop::bool::weighted(0.7)).prop_map(|(records, commits)| Taken { records, commits });
    let poll = (
        prop::collection::vec(grown, places),
        prop::collection::vec(prop::collection::vec(taken, places), GROUPS.len()),
        prop::collection::vec(prop::bool::weighted(0.9), GROUPS.len()),
        prop::bool::weighted(0.05),
    );
    let poll = poll.prop_map(|(grown, taken, answers, fails)| Poll { grown, taken, answers, fails });
    prop::collection::vec(poll, 1..40)
}

/// Ends and commits of every place after each poll; what the group has not taken is at least 0.
struct Cluster {
    ends: Vec<i64>,
    commits: Vec<Vec<Option<i64>>>,
}

impl Cluster {
    fn new() -> Self {
        let places = TOPICS.len() * PARTITIONS;
        Self { ends: vec![1000; places], commits: vec![vec![None; places]; GROUPS.len()] }
    }

    fn follow(&mut self, poll: &Poll) {
        for (place, grown) in poll.grown.iter().enumerate() {
            self.ends[place] += grown.records;
            for (commits, taken) in self.commits.iter_mut().zip(&poll.taken) {
                if taken[place].commits {
                    let position = commits[place].unwrap_or(0) + taken[place].records;
                    commits[place] = Some(position.min(self.ends[place]));
                }
            }
        }
    }

    /// What a poll at `now` sees, its answers in the order that `keys` give.
    fn seen(&self, poll: &Poll, now: Instant, keys: &[Index]) -> Snapshot {
        let topics = TOPICS.iter().enumerate().map(|(number, topic)| {
            let ends = (0..PARTITIONS).map(|partition| {
                let place = number * PARTITIONS + partition;
                let end = if poll.grown[place].readable { Ok(self.ends[place]) } else { Err(UNREADABLE) };
                PartitionEnds { partition: partition as i32, start: Some(0), end, last_stable: None }
            });
            let partitions = Ok(shuffled(ends.collect(), keys));
            TopicEnds { topic: Topic::new(*topic), id: None, read_at: now, partitions, retention: None }
        });
        let groups = GROUPS.iter().enumerate().map(|(number, group)| {
            let commits = self.commits[number].iter().enumerate().filter_map(|(place, commit)| {
                let topic = TOPICS[place / PARTITIONS];
                Some((TopicPartition::new(topic, (place % PARTITIONS) as i32), (*commit)?))
            });
            let commits = if poll.answers[number] { Ok(commits.collect()) } else { Err(UNREADABLE) };
            GroupCommits { group: GroupId::new(*group), read_at: now, commits }
        });
        Snapshot { groups: shuffled(groups.collect(), keys), topics: shuffled(topics.collect(), keys) }
    }
}

fn shuffled<T>(mut answers: Vec<T>, keys: &[Index]) -> Vec<T> {
    for (place, key) in (1..answers.len()).zip(keys) {
        answers.swap(place, key.index(place + 1));
    }
    answers
}

fn valve() -> ValveLoop {
    let mut settings = ValveSettings::new("backfill", TOPICS.iter().map(|topic| Topic::new(*topic)).collect());
    settings.protect = GROUPS.iter().map(|group| ProtectedGroup::new(*group)).collect();
    ValveLoop::new(settings)
}

/// Every tick of a valve that sees `polls`, a second each, with wall clocks from `unix`, its answers ordered by `keys`.
fn ticks(polls: &[Poll], unix: &[u64], keys: &[Index]) -> Vec<TickRecord> {
    let (mut cluster, mut valve, descriptions) = (Cluster::new(), valve(), HashMap::new());
    let turn = polls.iter().enumerate().map(|(second, poll)| {
        cluster.follow(poll);
        let now = Instant::from_seconds(10.0 + second as f64);
        let seen = cluster.seen(poll, now, keys);
        let unix_millis = unix.get(second).copied().unwrap_or(0);
        let snapshot = Some(&seen).filter(|_| !poll.fails);
        valve.tick(&TickInput { now, unix_millis, snapshot, descriptions: &descriptions, sent_total: 0 })
    });
    turn.collect()
}

/// Group, topic and partition.
type Place = (String, String, i32);
/// Commit and end.
type Offsets = (Option<i64>, Option<i64>);

/// Commit and end of each partition of each group, in no order of its own.
fn rows(record: &TickRecord) -> BTreeMap<Place, Offsets> {
    let rows = record.groups.iter().flat_map(|group| group.partitions.iter().map(move |row| (group, row)));
    rows.map(|(group, row)| ((group.group.to_string(), row.0.to_string(), row.1), (row.2, row.4))).collect()
}

fn near(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1.0),
        (a, b) => a == b,
    }
}

proptest! {
    #[test]
    fn unknown_is_never_zero(polls in polls()) {
        let mut cluster = Cluster::new();
        let mut ever_read = vec![false; TOPICS.len() * PARTITIONS];
        let mut ever_answered = vec![vec![false; TOPICS.len() * PARTITIONS]; GROUPS.len()];
        for (poll, tick) in polls.iter().zip(ticks(&polls, &[], &[])) {
            cluster.follow(poll);
            for (number, group) in tick.groups.iter().enumerate() {
                let mut known = 0;
                for place in 0..ever_read.len() {
                    ever_read[place] |= !poll.fails && poll.grown[place].readable;
                    let answered = !poll.fails && poll.answers[number] && cluster.commits[number][place].is_some();
                    ever_answered[number][place] |= answered;
                    known += usize::from(ever_read[place] && ever_answered[number][place]);
                }
                if known == 0 {
                    prop_assert_eq!(group.committed_lag, None, "{}", tick.explain);
                    prop_assert_eq!(group.lag_messages, None, "{}", tick.explain);
                    prop_assert_eq!(group.drain_seconds, None, "{}", tick.explain);
                }
                prop_assert!(group.committed_lag.is_none_or(|lag| lag >= 0));
                prop_assert!(group.lag_messages.is_none_or(|lag| lag.is_finite() && lag >= 0.0));
                prop_assert!(group.drain_seconds.is_none_or(|drain| drain.is_finite() && drain >= 0.0));
                prop_assert!((0.0..=1.0).contains(&group.coverage));
            }
            prop_assert!(tick.rate_decided.as_f64() > 0.0, "{}", tick.explain);
        }
    }

    #[test]
    fn the_order_of_answers_does_not_matter(polls in polls(), keys in prop::collection::vec(any::<Index>(), 8)) {
        for (plain, shuffled) in ticks(&polls, &[], &[]).iter().zip(ticks(&polls, &[], &keys)) {
            prop_assert_eq!(rows(plain), rows(&shuffled));
            prop_assert_eq!(plain.bound_by, shuffled.bound_by);
            let (rate, other) = (plain.rate_decided.as_f64(), shuffled.rate_decided.as_f64());
            prop_assert!(rate == other || near(Some(rate), Some(other)), "{}\n{}", plain.explain, shuffled.explain);
            for (group, other) in plain.groups.iter().zip(&shuffled.groups) {
                prop_assert_eq!((&group.group, group.state, group.quality), (&other.group, other.state, other.quality));
                prop_assert_eq!(group.committed_lag, other.committed_lag);
                prop_assert!(near(group.drain_seconds, other.drain_seconds), "{:?} {:?}", group, other);
                prop_assert!(near(group.age_most_seconds, other.age_most_seconds), "{:?} {:?}", group, other);
            }
        }
    }

    #[test]
    fn steps_of_the_wall_clock_change_nothing(polls in polls(), unix in prop::collection::vec(any::<u64>(), 40)) {
        for (plain, mut stepped) in ticks(&polls, &[], &[]).into_iter().zip(ticks(&polls, &unix, &[])) {
            stepped.at = plain.at;
            let text = |record: &TickRecord| serde_json::to_string(record).unwrap();
            prop_assert_eq!(text(&plain), text(&stepped));
        }
    }
}
