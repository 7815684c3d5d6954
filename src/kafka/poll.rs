//! One poll: commits first, ends second, so that no lag is ever read too small.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use krafka::admin::{
    AdminClient, GroupOffset, ListConsumerGroupOffsetsOptions, ListOffsetsOptions, ListedOffset, OffsetSpec,
    TopicPartition as Partition,
};
use krafka::error::{ErrorCode, KrafkaError};
use tokio::time::Instant as Deadline;

use super::fault::{Subject, translate};
use super::flight::{Call, Outcome, hedged};
use super::observer::{Inner, Observer, ObserverOptions};
use super::pace::Heard;
use super::retention;
use super::topics::{self, Described, NO_LEADER};
use crate::clock::{Clock as _, Instant, SystemClock};
use crate::id::{GroupId, Topic, TopicPartition};
use crate::lag::{
    GroupCommits, Isolation, PartitionEnds, ReadError, ReadFault, Snapshot, SourceError, TopicEnds, Watch,
};

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Partitions of topics.
    Topics,
    /// How long topics keep their records.
    Retention,
    /// Commits of one group.
    Group(GroupId),
    /// Log ends at one leader.
    Ends(i32, End),
}

/// Which end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum End {
    Start,
    HighWatermark,
    LastStable,
}

/// What the client answers: a result as a whole and one a partition.
type Answer<T> = Result<HashMap<Partition, Result<T, KrafkaError>>, KrafkaError>;

/// What a call of the first phase answers.
enum Said {
    Topics(Vec<(Topic, Result<Described, ReadError>)>),
    Retention((Vec<(Topic, retention::Said)>, usize)),
    Commits(GroupCommits, Heard),
}

/// What a call of the second phase answers, and when.
type Ends = (Answer<ListedOffset>, Instant, Heard);

/// One watched topic while its ends come in.
struct Gathering {
    topic: Topic,
    described: Result<Described, ReadError>,
    ends: HashMap<i32, Result<i64, ReadError>>,
    last_stable: HashMap<i32, Result<i64, ReadError>>,
    /// When the leader that answered for most partitions was asked, and for how many.
    read_at: Option<(Instant, usize)>,
}

pub(super) async fn poll(observer: &Observer, watch: &Watch) -> Result<Snapshot, SourceError> {
    if watch.topics.is_empty() && watch.groups.is_empty() {
        return Ok(Snapshot::default());
    }
    let deadline = Deadline::now() + observer.inner.options.poll_timeout;
    let groups = commits(observer, watch, deadline).await;
    // However long the commits took, the leaders get their grace too.
    let deadline = deadline.max(Deadline::now() + observer.inner.options.straggler_grace);
    let topics = ends(observer, watch, deadline).await;
    nothing_read(observer, &groups, &topics).map_or_else(|| Ok(Snapshot { groups, topics }), Err)
}

/// First phase: the commits of all groups, and beside them the partitions of topics that are due.
async fn commits(observer: &Observer, watch: &Watch, deadline: Deadline) -> Vec<GroupCommits> {
    let inner = &observer.inner;
    inner.topics.retain(&watch.topics);
    let due = inner.topics.due(&watch.topics, SystemClock.now(), inner.options.topics_every);
    let mut calls: Vec<Call<Key, Said>> = Vec::with_capacity(watch.groups.len() + 1);
    if !due.is_empty() {
        observer.count(1);
        let (admin, patience) = (Arc::clone(&inner.admin), inner.options.poll_timeout);
        calls.push((Key::Topics, Box::pin(async move { Said::Topics(topics::describe(&admin, due, patience).await) })));
    }
    let due = inner.topics.retention_due(&watch.topics, SystemClock.now(), inner.options.retention_every);
    if !due.is_empty() {
        let (admin, patience) = (Arc::clone(&inner.admin), inner.options.poll_timeout);
        let call = async move { Said::Retention(retention::ask(&admin, due, patience).await) };
        calls.push((Key::Retention, Box::pin(call)));
    }
    let mut sorted = watch.topics.clone();
    sorted.sort_unstable();
    let sorted: Arc<[Topic]> = sorted.into();
    for group in watch.groups.iter().map(|watched| &watched.group) {
        observer.count(2);
        let key = Key::Group(group.clone());
        let call = fetch_commits(Arc::clone(&inner.admin), group.clone(), Arc::clone(&sorted), patience(inner, &key));
        calls.push((key, Box::pin(call)));
    }
    let grace = inner.options.straggler_grace;
    let mut groups: HashMap<GroupId, GroupCommits> = HashMap::with_capacity(watch.groups.len());
    for (key, outcome) in inner.flights.gather(calls, deadline, grace, |key| matches!(key, Key::Group(_))).await {
        match (key, outcome) {
            (_, Outcome::Answered(Said::Topics(described))) => inner.topics.learn(described, SystemClock.now()),
            (_, Outcome::Answered(Said::Retention((said, requests)))) => {
                observer.count(requests);
                inner.topics.learn_retention(said);
            }
            (key, Outcome::Answered(Said::Commits(read, heard))) => {
                inner.paces.learn(key, heard);
                groups.insert(read.group.clone(), read);
            }
            (Key::Group(group), Outcome::Late(by)) => {
                inner.paces.learn(Key::Group(group.clone()), Heard::Nothing);
                groups.insert(group.clone(), late(group, by));
            }
            (_, Outcome::Late(_)) => {}
        }
    }
    let read = |group: &GroupId| groups.remove(group).unwrap_or_else(|| late(group.clone(), Duration::ZERO));
    watch.groups.iter().map(|watched| &watched.group).map(read).collect()
}

/// Asks for every partition that the group has committed: naming a thousand partitions to each of a hundred groups
/// costs as much as the answers (measured). Topics that may not be described are left out of such an answer in
/// silence; their own entry says so, and without an end there is no lag.
async fn fetch_commits(admin: Arc<AdminClient>, group: GroupId, sorted: Arc<[Topic]>, patience: Duration) -> Said {
    let options = ListConsumerGroupOffsetsOptions::default().timeout(patience);
    let (answer, asked) = hedged(ATTEMPTS, patience / ATTEMPTS as u32, || async {
        let asked = SystemClock.now();
        (admin.list_consumer_group_offsets(group.as_str(), options.clone()).await, asked)
    })
    .await;
    let took = SystemClock.now().since(asked);
    let heard = match &answer {
        Ok(_) => Heard::All(took),
        Err(error) => heard(error),
    };
    let commits = answer.map_err(|error| translate(Subject::Group(&group), &error));
    let commits = commits.and_then(|offsets| committed(&group, offsets, &sorted));
    Said::Commits(GroupCommits { group, read_at: asked + took / 2, commits }, heard)
}

/// Commits on watched topics. One partition that may not be read spoils the group: its absence would mean "no commit".
fn committed(
    group: &GroupId,
    offsets: HashMap<Partition, Result<GroupOffset, KrafkaError>>,
    sorted: &[Topic],
) -> Result<HashMap<TopicPartition, i64>, ReadError> {
    let mut commits = HashMap::with_capacity(offsets.len());
    for (partition, answer) in offsets {
        let Ok(place) = sorted.binary_search_by(|topic| topic.as_str().cmp(&partition.topic)) else { continue };
        match answer {
            Ok(GroupOffset { offset: Some(offset), .. }) => {
                commits.insert(TopicPartition { topic: sorted[place].clone(), partition: partition.partition }, offset);
            }
            // The topic's own entry says that it is gone.
            Ok(_) | Err(KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. }) => {}
            Err(error) => return Err(translate(Subject::Group(group), &error)),
        }
    }
    Ok(commits)
}

/// Second phase: both ends of every log, one call a leader and kind.
async fn ends(observer: &Observer, watch: &Watch, deadline: Deadline) -> Vec<TopicEnds> {
    let inner = &observer.inner;
    let read_committed = watch.groups.iter().any(|group| group.isolation == Isolation::ReadCommitted);
    let mut wanted: BTreeMap<(i32, End), Vec<Partition>> = BTreeMap::new();
    let mut gathering = Vec::with_capacity(watch.topics.len());
    for topic in &watch.topics {
        let described = inner.topics.described(topic);
        let starts = inner.topics.starts_due(topic, SystemClock.now(), inner.options.log_start_every);
        for (partition, leader) in described.iter().flat_map(|described| &described.leaders) {
            let mut want =
                |end| wanted.entry((*leader, end)).or_default().push(Partition::new(topic.as_str(), *partition));
            want(End::HighWatermark);
            if read_committed {
                want(End::LastStable);
            }
            if starts {
                want(End::Start);
            }
        }
        let (ends, last_stable) = (HashMap::new(), HashMap::new());
        gathering.push(Gathering { topic: topic.clone(), described, ends, last_stable, read_at: None });
    }
    observer.count(wanted.len());
    let mut calls: Vec<Call<Key, Ends>> = Vec::with_capacity(wanted.len());
    for ((leader, end), partitions) in &wanted {
        let key = Key::Ends(*leader, *end);
        let (patience, usual) = (patience(inner, &key), inner.paces.usual(&key));
        calls.push((key, Box::pin(list_ends(Arc::clone(&inner.admin), partitions.clone(), *end, patience, usual))));
    }
    let needed = |key: &Key| !matches!(key, Key::Ends(_, End::Start));
    for (key, outcome) in inner.flights.gather(calls, deadline, inner.options.straggler_grace, needed).await {
        let Key::Ends(leader, end) = key else { continue };
        let asked = wanted.remove(&(leader, end)).unwrap_or_default();
        take_ends(observer, &mut gathering, asked, (leader, end), outcome);
    }
    gathering.into_iter().map(|topic| topic_ends(observer, topic, read_committed)).collect()
}

async fn list_ends(
    admin: Arc<AdminClient>,
    partitions: Vec<Partition>,
    end: End,
    patience: Duration,
    usual: Option<Duration>,
) -> Ends {
    let spec = if end == End::Start { OffsetSpec::Earliest } else { OffsetSpec::Latest };
    let options = ListOffsetsOptions::default().timeout(patience).read_committed(end == End::LastStable);
    let asked = SystemClock.now();
    let answer = admin.list_offsets(partitions.into_iter().map(|partition| (partition, spec)), options).await;
    let took = SystemClock.now().since(asked);
    let heard = match &answer {
        Ok(answers) if answers.values().all(Result::is_ok) => Heard::All(took),
        Ok(answers) => answers
            .values()
            .map(|answer| answer.as_ref().map_or_else(heard, |_| Heard::Something))
            .max()
            .unwrap_or(Heard::Something),
        Err(error) => heard(error),
    };
    // Where something was refused, the client went on asking; what it got came at the usual time.
    let read = if matches!(heard, Heard::All(_)) { took } else { usual.map_or(took, |usual| usual.min(took)) };
    (answer, asked + read / 2, heard)
}

/// The time that a call may take: long enough that its partial answer is there before the poll ends.
fn patience(inner: &Inner, key: &Key) -> Duration {
    let ObserverOptions { poll_timeout, straggler_grace, .. } = inner.options;
    inner.paces.patience(key, straggler_grace, poll_timeout) * 9 / 10
}

/// Whether a broker said so, or nobody said anything.
fn heard(error: &KrafkaError) -> Heard {
    if matches!(error, KrafkaError::Broker { .. }) { Heard::Something } else { Heard::Nothing }
}

fn take_ends(
    observer: &Observer,
    gathering: &mut [Gathering],
    asked: Vec<Partition>,
    (leader, end): (i32, End),
    outcome: Outcome<Ends>,
) {
    let (mut answers, read_at, missing) = match outcome {
        Outcome::Answered((answer, read_at, heard)) => {
            observer.inner.paces.learn(Key::Ends(leader, end), heard);
            match answer {
                Ok(answers) => (answers, read_at, KrafkaError::timeout("ListOffsets")),
                Err(error) => (HashMap::new(), read_at, error),
            }
        }
        Outcome::Late(by) => {
            observer.inner.paces.learn(Key::Ends(leader, end), Heard::Nothing);
            let words = format!("no answer for {} ms", by.as_millis());
            (HashMap::new(), SystemClock.now(), KrafkaError::timeout(words))
        }
    };
    let mut answered: HashMap<usize, usize> = HashMap::new();
    let places: HashMap<String, usize> =
        gathering.iter().enumerate().map(|(place, topic)| (topic.topic.to_string(), place)).collect();
    for partition in asked {
        let Some(&place) = places.get(&partition.topic) else { continue };
        let topic = &mut gathering[place];
        let answer = answers.remove(&partition).unwrap_or_else(|| Err(missing.clone()));
        match (end, answer) {
            (End::Start, Ok(listed)) => {
                observer.inner.topics.learn_start(&partition.topic, partition.partition, listed.offset);
            }
            (End::Start, Err(_)) => {} // an older one, or none, will do
            (_, answer) => {
                *answered.entry(place).or_default() += usize::from(answer.is_ok());
                let subject = Subject::Partition(&topic.topic, partition.partition);
                let read =
                    answer.map(|listed| listed.offset).map_err(|error| with_leader(translate(subject, &error), leader));
                let ends = if end == End::LastStable { &mut topic.last_stable } else { &mut topic.ends };
                ends.insert(partition.partition, read);
            }
        }
    }
    for (place, count) in answered {
        let topic = &mut gathering[place];
        if end == End::HighWatermark && count > topic.read_at.map_or(0, |(_, most)| most) {
            topic.read_at = Some((read_at, count));
        }
    }
}

/// Which broker it was, where that helps to find out what is wrong.
fn with_leader(mut error: ReadError, leader: i32) -> ReadError {
    if error.fault == ReadFault::Unavailable && leader != NO_LEADER {
        let _ = write!(error.detail, " (leader: broker {leader})");
    }
    error
}

fn topic_ends(observer: &Observer, mut gathered: Gathering, read_committed: bool) -> TopicEnds {
    let topic = gathered.topic;
    let read_at = gathered.read_at.map_or_else(|| SystemClock.now(), |(at, _)| at);
    let described = match gathered.described {
        Ok(described) => described,
        Err(error) => return TopicEnds { topic, id: None, read_at, partitions: Err(error), retention: None },
    };
    observer.inner.topics.learn_ends(&topic, &gathered.ends);
    let starts = observer.inner.topics.starts(&topic);
    let mut failed = false;
    let mut read = |ends: &mut HashMap<i32, Result<i64, ReadError>>, partition: i32| {
        let subject = Subject::Partition(&topic, partition);
        let end =
            ends.remove(&partition).unwrap_or_else(|| Err(translate(subject, &KrafkaError::timeout("ListOffsets"))));
        failed |= end.is_err();
        end
    };
    let partitions = described.leaders.iter().map(|&(partition, _)| PartitionEnds {
        partition,
        start: starts.get(&partition).copied(),
        end: read(&mut gathered.ends, partition),
        last_stable: read_committed.then(|| read(&mut gathered.last_stable, partition)),
    });
    let partitions: Vec<PartitionEnds> = partitions.collect();
    if failed {
        observer.inner.topics.suspect(&topic);
    }
    let retention = observer.inner.topics.retention(&topic);
    TopicEnds { topic, id: described.id, read_at, partitions: Ok(partitions), retention }
}

/// The error of a poll in which no broker answered at all.
fn nothing_read(observer: &Observer, groups: &[GroupCommits], topics: &[TopicEnds]) -> Option<SourceError> {
    let mut first = None;
    let mut silent = |error: &ReadError| {
        first.get_or_insert_with(|| error.detail.clone());
        error.fault == ReadFault::Unavailable
    };
    let groups = groups.iter().all(|group| group.commits.as_ref().is_err_and(&mut silent));
    let topics = topics.iter().all(|topic| match &topic.partitions {
        Ok(partitions) => partitions.iter().all(|partition| partition.end.as_ref().is_err_and(&mut silent)),
        Err(error) => silent(error),
    });
    let detail = first.filter(|_| groups && topics)?;
    Some(SourceError::Unreachable { bootstrap: observer.inner.bootstrap.clone(), detail })
}

/// A group whose coordinator is silent.
fn late(group: GroupId, by: Duration) -> GroupCommits {
    let detail = format!(
        "group {group}: its coordinator has not answered for {} ms; it is down, slow or moving",
        by.as_millis()
    );
    let error = ReadError { fault: ReadFault::Unavailable, detail };
    GroupCommits { group, read_at: SystemClock.now(), commits: Err(error) }
}

/// How many brokers are asked in turn for a group's coordinator, within the grace (guessed: two dead ones are rare).
const ATTEMPTS: usize = 3;
