//! What a tick was given, as data, and back: the journal is enough to run a tick again. Pure.
//!
//! The rows of a record's groups have offsets already; here is the rest. A row shows the last value that was read, and
//! the loop holds it in the same way: handing it in again as if it had just been read changes nothing.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::log_view::LogView;
use super::record::{PartitionRecord, TickRecord};
use super::settings::ValveSettings;
use super::tick::TickInput;
use crate::clock::Instant;
use crate::id::{GroupId, Topic, TopicPartition};
use crate::lag::{
    GroupCommits, GroupDescription, GroupKind, GroupState, Isolation, PartitionEnds, ReadError, ReadFault, Retention,
    Snapshot, TopicEnds,
};

/// What a tick was given beside the rows of its groups. Times in nanoseconds on the agent's monotonic clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputRecord {
    /// When the tick was made.
    pub now_ns: u64,
    /// Messages that governed clients ever reported as acknowledged.
    pub sent_total: u64,
    /// When the log ends were read; absent when the poll failed, or no partition was ever read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at_ns: Option<u64>,
    /// Places in the rows of the partitions whose end this poll did not bring: what is shown there is older.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<usize>,
    /// Places in the rows of partitions that there are no more: their topic was made anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<usize>,
    /// One entry a protected group, in the order of `groups`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupInputRecord>,
    /// Ids of the topics, where the cluster tells them: a topic made anew under its name has another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<(Topic, TopicId)>,
    /// How long the topics keep their records, where it was told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retention: Vec<(Topic, Retention)>,
    /// The log, where no group's rows have its high watermarks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogRecord>,
}

/// What a tick was given of one group beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupInputRecord {
    /// When its commits were read, or refused; absent when the poll did not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at_ns: Option<u64>,
    /// Why they could not be read; the words are in `problem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<ReadFault>,
    /// Its newest description, where it was described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub described: Option<DescriptionRecord>,
}

/// What a coordinator said of a group: `[state, members, assigned partitions, protocol]`, or why nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DescriptionRecord {
    /// It was described.
    Known(GroupState, usize, usize, GroupKind),
    /// It could not be.
    Failed {
        /// The kind of trouble.
        fault: ReadFault,
        /// One sentence.
        detail: String,
    },
}

/// Both ends of one partition's log: `[topic, partition, high watermark, log start]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord(pub Topic, pub i32, pub Option<i64>, pub Option<i64>);

/// The id of a topic, as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TopicId(pub [u8; 16]);

impl From<TopicId> for String {
    fn from(id: TopicId) -> Self {
        format!("{:032x}", u128::from_be_bytes(id.0))
    }
}

impl TryFrom<String> for TopicId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(|id| Self(id.to_be_bytes()))
    }
}

impl InputRecord {
    /// What `input` has beside the rows of a valve's groups, whose log is `log` after the tick.
    pub(super) fn of(input: &TickInput<'_>, settings: &ValveSettings, log: &LogView) -> Self {
        let read = |topic: &&TopicEnds| settings.topics.contains(&topic.topic) && topic.partitions.is_ok();
        let topics: Vec<&TopicEnds> = input.snapshot.iter().flat_map(|seen| &seen.topics).filter(read).collect();
        let ends_at = topics.iter().map(|topic| topic.read_at).max().filter(|_| !log.partitions.is_empty());
        Self {
            now_ns: input.now.as_nanos(),
            sent_total: input.sent_total,
            ends_at_ns: ends_at.map(Instant::as_nanos),
            unread: if ends_at.is_some() { unread(&topics, log) } else { Vec::new() },
            gone: (0..log.partitions.len()).filter(|place| !log.is_present(*place)).collect(),
            groups: settings.protect.iter().map(|group| GroupInputRecord::of(input, &group.group, ends_at)).collect(),
            ids: ids(&topics),
            retention: settings
                .topics
                .iter()
                .filter_map(|name| Some((name.clone(), *log.retention.get(name)?)))
                .collect(),
            log: if place_of(settings, Isolation::ReadUncommitted).is_some() { Vec::new() } else { log_records(log) },
        }
    }
}

impl GroupInputRecord {
    /// Without any log end nobody looks at commits.
    fn of(input: &TickInput<'_>, group: &GroupId, ends_at: Option<Instant>) -> Self {
        let seen =
            ends_at.and(input.snapshot).and_then(|seen| seen.groups.iter().find(|commits| commits.group == *group));
        Self {
            read_at_ns: seen.map(|seen| seen.read_at.as_nanos()),
            fault: seen.and_then(|seen| seen.commits.as_ref().err()).map(|error| error.fault),
            described: input.descriptions.get(group).map(DescriptionRecord::of),
        }
    }
}

impl DescriptionRecord {
    fn of(described: &Result<GroupDescription, ReadError>) -> Self {
        match described {
            Ok(seen) => Self::Known(seen.state, seen.members, seen.assigned_partitions, seen.kind),
            Err(error) => Self::Failed { fault: error.fault, detail: error.detail.clone() },
        }
    }

    fn given(&self, group: &GroupId) -> Result<GroupDescription, ReadError> {
        match self {
            Self::Known(state, members, assigned_partitions, kind) => Ok(GroupDescription {
                group: group.clone(),
                state: *state,
                members: *members,
                assigned_partitions: *assigned_partitions,
                kind: *kind,
            }),
            Self::Failed { fault, detail } => Err(ReadError { fault: *fault, detail: detail.clone() }),
        }
    }
}

/// What a tick was given, rebuilt from its record: the loop decides the same on it.
#[derive(Clone, Debug)]
pub struct Given {
    /// Now, monotonic.
    pub now: Instant,
    /// Now, milliseconds since the Unix epoch.
    pub unix_millis: u64,
    /// What the poll saw, as far as the valve looks at it; held values where it brought none.
    pub snapshot: Option<Snapshot>,
    /// Newest description of each group that was described.
    pub descriptions: HashMap<GroupId, Result<GroupDescription, ReadError>>,
    /// Messages that governed clients ever reported as acknowledged.
    pub sent_total: u64,
}

impl Given {
    /// Rebuilds what `record` was made from under `settings`; `None` when it does not say.
    #[must_use]
    pub fn of(record: &TickRecord, settings: &ValveSettings) -> Option<Self> {
        let input = record.input.as_ref()?;
        let described = settings.protect.iter().zip(&input.groups).filter_map(|(group, seen)| {
            let described = seen.described.as_ref()?;
            Some((group.group.clone(), described.given(&group.group)))
        });
        Some(Self {
            now: Instant::from_nanos(input.now_ns),
            unix_millis: record.at,
            snapshot: input.ends_at_ns.map(|ends_at| snapshot(record, input, settings, Instant::from_nanos(ends_at))),
            descriptions: described.collect(),
            sent_total: input.sent_total,
        })
    }

    /// The same for [`ValveLoop::tick`](super::ValveLoop::tick).
    #[must_use]
    pub fn as_input(&self) -> TickInput<'_> {
        TickInput {
            now: self.now,
            unix_millis: self.unix_millis,
            snapshot: self.snapshot.as_ref(),
            descriptions: &self.descriptions,
            sent_total: self.sent_total,
        }
    }
}

/// Ids of those of `topics` that have partitions, by name.
fn ids(topics: &[&TopicEnds]) -> Vec<(Topic, TopicId)> {
    let has_partitions = |seen: &&&TopicEnds| seen.partitions.as_ref().is_ok_and(|partitions| !partitions.is_empty());
    let known = topics.iter().filter(has_partitions).filter_map(|seen| Some((seen.topic.clone(), TopicId(seen.id?))));
    let mut ids: Vec<(Topic, TopicId)> = known.collect();
    ids.sort_by(|a, b| a.0.cmp(&b.0));
    // A record played again has a topic in several runs of its partitions.
    ids.dedup();
    ids
}

/// Places of the partitions whose high watermark is in none of `topics`.
fn unread(topics: &[&TopicEnds], log: &LogView) -> Vec<usize> {
    if log.fresh == log.partitions.len() {
        return Vec::new();
    }
    let read: HashSet<(&Topic, i32)> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().flatten().map(|ends| (&topic.topic, ends)))
        .filter(|(_, ends)| ends.end.is_ok())
        .map(|(topic, ends)| (topic, ends.partition))
        .collect();
    let is_unread = |partition: &TopicPartition| !read.contains(&(&partition.topic, partition.partition));
    (0..log.partitions.len()).filter(|place| is_unread(&log.partitions[*place])).collect()
}

fn log_records(log: &LogView) -> Vec<LogRecord> {
    let record = |(place, partition): (usize, &TopicPartition)| {
        LogRecord(partition.topic.clone(), partition.partition, log.high_watermarks[place], log.starts[place])
    };
    log.partitions.iter().enumerate().map(record).collect()
}

/// The first group whose rows show this end of the log.
fn place_of(settings: &ValveSettings, isolation: Isolation) -> Option<usize> {
    settings.protect.iter().position(|group| group.isolation == isolation)
}

fn snapshot(record: &TickRecord, input: &InputRecord, settings: &ValveSettings, ends_at: Instant) -> Snapshot {
    let groups = settings.protect.iter().zip(&input.groups).enumerate().filter_map(|(place, (group, seen))| {
        let recorded = record.groups.get(place)?;
        let commits = match seen.fault {
            Some(fault) => Err(ReadError { fault, detail: recorded.problem.clone().unwrap_or_default() }),
            None => Ok(commits(&recorded.partitions)),
        };
        let read_at = Instant::from_nanos(seen.read_at_ns?);
        Some(GroupCommits { group: group.group.clone(), read_at, commits })
    });
    Snapshot { groups: groups.collect(), topics: topics(record, input, settings, ends_at) }
}

fn commits(rows: &[PartitionRecord]) -> HashMap<TopicPartition, i64> {
    let committed = rows.iter().filter_map(|PartitionRecord(topic, partition, committed, ..)| {
        Some((TopicPartition { topic: topic.clone(), partition: *partition }, (*committed)?))
    });
    committed.collect()
}

/// The log in the order in which the loop first saw its partitions: one entry a run of one topic.
fn topics(record: &TickRecord, input: &InputRecord, settings: &ValveSettings, read_at: Instant) -> Vec<TopicEnds> {
    let rows = |isolation| {
        let group = place_of(settings, isolation).and_then(|place| record.groups.get(place));
        group.map_or(&[][..], |group| &group.partitions)
    };
    let from_rows: Vec<LogRecord>;
    let log = if input.log.is_empty() {
        let log_of = |row: &PartitionRecord| LogRecord(row.0.clone(), row.1, row.4, row.6);
        from_rows = rows(Isolation::ReadUncommitted).iter().map(log_of).collect();
        &from_rows
    } else {
        &input.log
    };
    let stable = rows(Isolation::ReadCommitted);
    let unread: HashSet<usize> = input.unread.iter().copied().collect();
    let retention = |topic: &Topic| input.retention.iter().find(|known| known.0 == *topic).map(|known| known.1);
    let id = |topic: &Topic| input.ids.iter().find(|known| known.0 == *topic).map(|known| known.1.0);
    let mut topics: Vec<TopicEnds> = Vec::new();
    let present = log.iter().enumerate().filter(|(place, _)| !input.gone.contains(place));
    for (place, LogRecord(topic, partition, end, start)) in present {
        let ends = PartitionEnds {
            partition: *partition,
            start: *start,
            end: end.filter(|_| !unread.contains(&place)).ok_or(NOT_READ),
            last_stable: stable.get(place).and_then(|row| row.4).map(Ok),
        };
        match topics.last_mut() {
            Some(TopicEnds { topic: last, partitions: Ok(partitions), .. }) if last == topic => partitions.push(ends),
            _ => {
                topics.push(TopicEnds {
                    topic: topic.clone(),
                    id: id(topic),
                    read_at,
                    partitions: Ok(vec![ends]),
                    retention: retention(topic),
                });
            }
        }
    }
    if topics.is_empty() {
        // Read, and nothing was there.
        topics.extend(settings.topics.first().map(|topic| TopicEnds {
            topic: topic.clone(),
            id: None,
            read_at,
            partitions: Ok(Vec::new()),
            retention: None,
        }));
    }
    topics
}

/// The loop does not look at why one end is missing.
const NOT_READ: ReadError = ReadError { fault: ReadFault::Unavailable, detail: String::new() };
