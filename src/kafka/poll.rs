//! One poll: commits first, ends second, so that no lag is ever read too small.

use std::collections::{BTreeMap, HashMap};
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
use super::observer::{Observer, ObserverOptions};
use super::topics::{self, Described};
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
    Commits(GroupCommits),
}

/// What a call of the second phase answers.
type Ends = (Answer<ListedOffset>, Instant);

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
    let mut sorted = watch.topics.clone();
    sorted.sort_unstable();
    let sorted: Arc<[Topic]> = sorted.into();
    for group in watch.groups.iter().map(|watched| &watched.group) {
        observer.count(2);
        let call = fetch_commits(Arc::clone(&inner.admin), group.clone(), Arc::clone(&sorted), inner.options);
        calls.push((Key::Group(group.clone()), Box::pin(call)));
    }
    let grace = inner.options.straggler_grace;
    let mut groups: HashMap<GroupId, GroupCommits> = HashMap::with_capacity(watch.groups.len());
    for (key, outcome) in inner.flights.gather(calls, deadline, grace, |key| *key != Key::Topics).await {
        match (key, outcome) {
            (_, Outcome::Answered(Said::Topics(described))) => inner.topics.learn(described, SystemClock.now()),
            (_, Outcome::Answered(Said::Commits(read))) => drop(groups.insert(read.group.clone(), read)),
            (Key::Group(group), Outcome::Late(by)) => drop(groups.insert(group.clone(), late(group, by))),
            (_, Outcome::Late(_)) => {}
        }
    }
    let read = |group: &GroupId| groups.remove(group).unwrap_or_else(|| late(group.clone(), Duration::ZERO));
    watch.groups.iter().map(|watched| &watched.group).map(read).collect()
}

/// Asks for every partition that the group has committed: naming a thousand partitions to each of a hundred groups
/// costs as much as the answers (measured). Topics that may not be described are left out of such an answer in
/// silence; their own entry says so, and without an end there is no lag.
async fn fetch_commits(
    admin: Arc<AdminClient>,
    group: GroupId,
    sorted: Arc<[Topic]>,
    patience: ObserverOptions,
) -> Said {
    let options = ListConsumerGroupOffsetsOptions::default().timeout(patience.poll_timeout);
    let (answer, read_at) = hedged(ATTEMPTS, patience.straggler_grace / ATTEMPTS as u32, || async {
        let asked = SystemClock.now();
        let answer = admin.list_consumer_group_offsets(group.as_str(), options.clone()).await;
        (answer, middle(asked))
    })
    .await;
    let commits = answer.map_err(|error| translate(Subject::Group(&group), &error));
    let commits = commits.and_then(|offsets| committed(&group, offsets, &sorted));
    Said::Commits(GroupCommits { group, read_at, commits })
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
        let call = list_ends(Arc::clone(&inner.admin), partitions.clone(), *end, inner.options.poll_timeout);
        calls.push((Key::Ends(*leader, *end), Box::pin(call)));
    }
    let needed = |key: &Key| !matches!(key, Key::Ends(_, End::Start));
    for (key, outcome) in inner.flights.gather(calls, deadline, inner.options.straggler_grace, needed).await {
        let Key::Ends(leader, end) = key else { continue };
        let asked = wanted.remove(&(leader, end)).unwrap_or_default();
        take_ends(observer, &mut gathering, asked, (leader, end), outcome);
    }
    gathering.into_iter().map(|topic| topic_ends(observer, topic, read_committed)).collect()
}

async fn list_ends(admin: Arc<AdminClient>, partitions: Vec<Partition>, end: End, timeout: Duration) -> Ends {
    let spec = if end == End::Start { OffsetSpec::Earliest } else { OffsetSpec::Latest };
    let options = ListOffsetsOptions::default().timeout(timeout).read_committed(end == End::LastStable);
    let asked = SystemClock.now();
    let answer = admin.list_offsets(partitions.into_iter().map(|partition| (partition, spec)), options).await;
    (answer, middle(asked))
}

fn take_ends(
    observer: &Observer,
    gathering: &mut [Gathering],
    asked: Vec<Partition>,
    (leader, end): (i32, End),
    outcome: Outcome<Ends>,
) {
    let (mut answers, read_at, missing) = match outcome {
        Outcome::Answered((Ok(answers), read_at)) => (answers, read_at, KrafkaError::timeout("ListOffsets")),
        Outcome::Answered((Err(error), read_at)) => (HashMap::new(), read_at, error),
        Outcome::Late(by) => {
            let words = format!("broker {leader}, its leader, has not answered for {} ms", by.as_millis());
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
                let read = answer.map(|listed| listed.offset).map_err(|error| translate(subject, &error));
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

fn topic_ends(observer: &Observer, mut gathered: Gathering, read_committed: bool) -> TopicEnds {
    let topic = gathered.topic;
    let read_at = gathered.read_at.map_or_else(|| SystemClock.now(), |(at, _)| at);
    let described = match gathered.described {
        Ok(described) => described,
        Err(error) => return TopicEnds { topic, id: None, read_at, partitions: Err(error) },
    };
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
    TopicEnds { topic, id: described.id, read_at, partitions: Ok(partitions) }
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
    let detail =
        format!("group {group}: its coordinator has not answered for {} ms; trying again helps", by.as_millis());
    let error = ReadError { fault: ReadFault::Unavailable, detail };
    GroupCommits { group, read_at: SystemClock.now(), commits: Err(error) }
}

/// The middle of a request that began at `asked` and ends now: the best guess of when its answer was made.
fn middle(asked: Instant) -> Instant {
    asked + SystemClock.now().since(asked) / 2
}

/// How many brokers are asked in turn for a group's coordinator, within the grace (guessed: two dead ones are rare).
const ATTEMPTS: usize = 3;
