//! What one poll saw: plain data.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::id::{GroupId, Topic, TopicPartition};

/// One poll of a cluster. Coverage is what is `Ok` in it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Committed offsets, one entry a watched group.
    pub groups: Vec<GroupCommits>,
    /// Log ends, one entry a watched topic; read after the commits.
    pub topics: Vec<TopicEnds>,
}

/// The committed offsets of one group.
#[derive(Clone, Debug)]
pub struct GroupCommits {
    /// The group.
    pub group: GroupId,
    /// When the answer was made, as well as the reader can tell (the middle of the request).
    pub read_at: Instant,
    /// Committed offsets by partition; a partition that is absent has no commit.
    pub commits: Result<HashMap<TopicPartition, i64>, ReadError>,
}

/// The log ends of one topic.
#[derive(Clone, Debug)]
pub struct TopicEnds {
    /// The topic.
    pub topic: Topic,
    /// The topic's id, where the cluster tells it: a topic recreated under its old name has another.
    pub id: Option<[u8; 16]>,
    /// When the answer was made, as well as the reader can tell (the middle of the request).
    pub read_at: Instant,
    /// One entry a partition in ascending order; `Err` when the topic as a whole could not be read.
    pub partitions: Result<Vec<PartitionEnds>, ReadError>,
    /// How long it keeps its records; `None`: not told.
    pub retention: Option<Retention>,
}

/// How long a topic keeps its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// `retention.ms`, in seconds; `None`: no limit.
    pub seconds: Option<f64>,
    /// `retention.bytes` of one partition; `None`: no limit.
    pub bytes: Option<f64>,
    /// Mean size of a record on disk, bytes; `None`: not told.
    pub bytes_per_message: Option<f64>,
}

/// Both ends of one partition's log.
#[derive(Clone, Debug)]
pub struct PartitionEnds {
    /// The partition's number.
    pub partition: i32,
    /// Log start offset; may be older than the rest, `None` while it was never read.
    pub start: Option<i64>,
    /// High watermark.
    pub end: Result<i64, ReadError>,
    /// Last stable offset; `None` when nobody watches it.
    pub last_stable: Option<Result<i64, ReadError>>,
}

/// What kind of trouble kept a value from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReadFault {
    /// The group does not exist.
    GroupMissing,
    /// The topic does not exist.
    TopicMissing,
    /// The principal lacks an ACL.
    Unauthorized,
    /// Its broker did not answer, or moved; trying again helps.
    Unavailable,
    /// Anything else.
    Other,
}

/// A value that could not be read, and why, in words that name the thing and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// The kind.
    pub fault: ReadFault,
    /// One sentence.
    pub detail: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for ReadError {}

/// What a coordinator says of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// The group.
    pub group: GroupId,
    /// Its state.
    pub state: GroupState,
    /// Members, where the state can have any.
    pub members: usize,
    /// Partitions assigned to members, over all topics.
    pub assigned_partitions: usize,
    /// Which rebalance protocol it uses.
    pub kind: GroupKind,
}

/// The state of a group, both protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// Members own their partitions.
    Stable,
    /// Classic: PreparingRebalance or CompletingRebalance. KIP-848: Assigning or Reconciling.
    Rebalancing,
    /// No members; normal for consumers that assign by hand.
    Empty,
    /// Being deleted, or deleted.
    Dead,
    /// There is no such group.
    Missing,
    /// A state this version does not know.
    Unknown,
}

/// Which rebalance protocol a group uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupKind {
    /// The classic protocol.
    Classic,
    /// KIP-848.
    Consumer,
    /// Not told.
    Unknown,
}
