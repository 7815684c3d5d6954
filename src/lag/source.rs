//! The traits by which the loop sees a cluster. `kafka::observer` implements them; so may a simulator.

use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::snapshot::{GroupDescription, ReadError, Snapshot};
use crate::id::{GroupId, Topic};

/// Up to where a group reads a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// To the high watermark.
    #[default]
    ReadUncommitted,
    /// To the last stable offset: an open transaction holds the reader back.
    ReadCommitted,
}

/// A group to be watched, and up to where it reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupWatch {
    /// The consumer group.
    pub group: GroupId,
    /// Which log end its lag is measured against.
    pub isolation: Isolation,
}

/// What one poll reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Topics whose log ends are read, each once.
    pub topics: Vec<Topic>,
    /// Groups whose committed offsets are read, each once.
    pub groups: Vec<GroupWatch>,
}

/// Nothing at all could be read in this poll.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No broker answered.
    #[error("no broker of {bootstrap} could be reached: {detail}")]
    Unreachable {
        /// The addresses tried.
        bootstrap: String,
        /// What the client said last.
        detail: String,
    },
    /// The poll took longer than it may.
    #[error("the cluster did not answer within {} ms", after.as_millis())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The cluster refused this client as a whole (credentials, protocol version).
    #[error("{0}")]
    Refused(ReadError),
}

/// Reads offsets: one call is one poll.
pub trait OffsetSource: Send + Sync {
    /// Reads the commits of all groups first, then the ends of all topics, each with the instant of its reading.
    ///
    /// Costs a handful of requests however many groups and topics are watched. What could not be read is an error
    /// in its place in the snapshot; `Err` only when nothing could be read.
    fn poll(&self, watch: &Watch) -> impl Future<Output = Result<Snapshot, SourceError>> + Send;
}

/// Describes consumer groups: state and members. On a slower timer than offsets.
pub trait GroupAdmin: Send + Sync {
    /// One description a group, in the order asked. A group that does not exist is [`super::GroupState::Missing`].
    fn describe(
        &self,
        groups: &[GroupId],
    ) -> impl Future<Output = Result<Vec<Result<GroupDescription, ReadError>>, SourceError>> + Send;
}
