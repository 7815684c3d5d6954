//! The observer: one poll reads the commits of all groups, then the ends of all logs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use krafka::Kafka;
use krafka::admin::{
    AdminClient, ConsumerGroupDescription, DescribeClusterOptions, DescribeConsumerGroupsOptions, GroupType,
};
use krafka::error::{ErrorCode, KrafkaError};
use tokio::time::timeout;

use super::connection::Connection;
use super::diagnose;
use super::fault::{Subject, translate};
use super::flight::Flights;
use super::pace::Paces;
use super::poll::{self, Key};
use super::topics::{self, TopicInfo, Topics};
use crate::id::{GroupId, Topic};
use crate::lag::{
    GroupAdmin, GroupDescription, GroupKind, GroupState, OffsetSource, ReadError, ReadFault, Snapshot, SourceError,
    Watch,
};

/// How patient an observer is, and how often it asks what seldom changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserverOptions {
    /// Longest time a poll or a description may take. Default 5 s (guessed: five poll intervals).
    pub poll_timeout: Duration,
    /// How long a poll waits for brokers that are slower than the first. Default 1 s (guessed: one poll interval).
    pub straggler_grace: Duration,
    /// How often topics are asked for their partitions when nothing is wrong. Default 30 s.
    pub topics_every: Duration,
    /// How often topics are asked how long they keep their records. Default 5 min: somebody has to change it.
    pub retention_every: Duration,
    /// How often log starts are read. Default 60 s; retention moves in minutes.
    pub log_start_every: Duration,
}

impl Default for ObserverOptions {
    fn default() -> Self {
        Self {
            poll_timeout: Duration::from_secs(5),
            straggler_grace: Duration::from_secs(1),
            topics_every: Duration::from_secs(30),
            retention_every: Duration::from_secs(300),
            log_start_every: Duration::from_secs(60),
        }
    }
}

/// What observing has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollCost {
    /// Polls begun.
    pub polls: u64,
    /// Requests made by them, retries inside the client not counted: two a group (coordinator, offsets), one a leader
    /// and kind of log end, one for topics that were asked about, one for their retention (and one a leader where it is a size).
    pub requests: u64,
}

/// Sees a cluster through one connection. Cheap to clone; clones share connection and caches.
#[derive(Clone)]
pub struct Observer {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) bootstrap: String,
    pub(super) admin: Arc<AdminClient>,
    pub(super) options: ObserverOptions,
    pub(super) topics: Topics,
    pub(super) flights: Flights<Key>,
    pub(super) paces: Paces<Key>,
    polls: AtomicU64,
    requests: AtomicU64,
}

impl Observer {
    /// Connects with the default options. Takes 10 s at most.
    ///
    /// # Errors
    /// [`SourceError::Unreachable`] naming each address that was tried, and what is wrong with it;
    /// [`SourceError::Refused`] for settings or credentials that cannot work.
    pub async fn connect(connection: &Connection) -> Result<Self, SourceError> {
        Self::connect_with(connection, ObserverOptions::default()).await
    }

    /// Connects. Takes 10 s at most.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(connection: &Connection, options: ObserverOptions) -> Result<Self, SourceError> {
        let refused = |detail: String| SourceError::Refused(ReadError { fault: ReadFault::Other, detail });
        if connection.bootstrap_servers.is_empty() {
            return Err(refused("no address to connect to: give host:port of a broker".to_owned()));
        }
        let auth = connection.auth().map_err(|error| refused(error.to_string()))?;
        let connecting = Kafka::builder(connection.bootstrap())
            .client_id(connection.client_id())
            .security(auth)
            .connect_timeout(CONNECT_TIMEOUT)
            .request_timeout(options.poll_timeout.max(CONNECT_TIMEOUT))
            .metadata_recovery_rebootstrap_trigger(REBOOTSTRAP_AFTER)
            .connect();
        let kafka = match timeout(CONNECT_PATIENCE, connecting).await {
            Ok(Ok(kafka)) => kafka,
            Ok(Err(error)) => return Err(refusal(connection, &error).await),
            Err(_) => return Err(refusal(connection, &KrafkaError::timeout("no answer")).await),
        };
        let admin = Arc::new(kafka.admin());
        advertised(connection, &admin).await?;
        let inner = Inner {
            bootstrap: connection.bootstrap(),
            admin,
            options,
            topics: Topics::default(),
            flights: Flights::new(),
            paces: Paces::new(),
            polls: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the cluster says of `topic`; never creates it.
    ///
    /// # Errors
    /// [`ReadError`] when the topic does not exist, may not be described or no broker answers. Settings that may not
    /// be read are no error: see [`TopicInfo::settings_error`].
    pub async fn topic_info(&self, topic: &Topic) -> Result<TopicInfo, ReadError> {
        self.count(2);
        topics::info(&self.inner.admin, topic, self.inner.options.poll_timeout).await
    }

    /// What observing has cost since the connection was made, over all clones.
    #[must_use]
    pub fn cost(&self) -> PollCost {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PollCost { polls: read(&self.inner.polls), requests: read(&self.inner.requests) }
    }

    pub(super) fn count(&self, requests: usize) {
        self.inner.requests.fetch_add(requests as u64, Ordering::Relaxed);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("bootstrap", &self.inner.bootstrap).finish_non_exhaustive()
    }
}

impl OffsetSource for Observer {
    async fn poll(&self, watch: &Watch) -> Result<Snapshot, SourceError> {
        self.inner.polls.fetch_add(1, Ordering::Relaxed);
        poll::poll(self, watch).await
    }
}

impl GroupAdmin for Observer {
    async fn describe(&self, groups: &[GroupId]) -> Result<Vec<Result<GroupDescription, ReadError>>, SourceError> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        self.count(groups.len());
        let options = DescribeConsumerGroupsOptions::default().timeout(self.inner.options.poll_timeout);
        let asked = self.inner.admin.describe_consumer_groups(groups.iter().map(GroupId::as_str), options).await;
        let mut answers = asked.map_err(|error| SourceError::Refused(translate(Subject::Cluster, &error)))?;
        let describe = |group: &GroupId| match answers.remove(group.as_str()) {
            Some(answer) => description(group, answer),
            None => Err(translate(Subject::Group(group), &KrafkaError::timeout("DescribeGroups"))),
        };
        let descriptions: Vec<_> = groups.iter().map(describe).collect();
        let mut errors = descriptions.iter().map(|described| described.as_ref().err());
        if errors.all(|error| error.is_some_and(|error| error.fault == ReadFault::Unavailable)) {
            let detail = descriptions.into_iter().find_map(Result::err).map(|error| error.detail).unwrap_or_default();
            return Err(SourceError::Unreachable { bootstrap: self.inner.bootstrap.clone(), detail });
        }
        Ok(descriptions)
    }
}

/// One group's description in our words. A group that does not exist is an answer, not an error.
fn description(
    group: &GroupId,
    answer: Result<ConsumerGroupDescription, KrafkaError>,
) -> Result<GroupDescription, ReadError> {
    let missing = GroupDescription {
        group: group.clone(),
        state: GroupState::Missing,
        members: 0,
        assigned_partitions: 0,
        kind: GroupKind::Unknown,
    };
    let said = match answer {
        Ok(said) => said,
        Err(KrafkaError::Broker { code: ErrorCode::GroupIdNotFound, .. }) => return Ok(missing),
        Err(error) => return Err(translate(Subject::Group(group), &error)),
    };
    let kind = match &said.group_type {
        GroupType::Classic => GroupKind::Classic,
        GroupType::Consumer => GroupKind::Consumer,
        _ => GroupKind::Unknown,
    };
    let state = state(&said.state);
    // Kafka 3.9 and older say of a group that they never heard of that it is dead.
    if state == GroupState::Dead && said.members.is_empty() && kind != GroupKind::Consumer {
        return Ok(missing);
    }
    let assigned = said.members.iter().flat_map(|member| member.assignment.iter().flatten());
    let assigned_partitions = assigned.map(|topic| topic.partitions.len()).sum();
    Ok(GroupDescription { group: group.clone(), state, members: said.members.len(), assigned_partitions, kind })
}

fn state(name: &str) -> GroupState {
    match name {
        "Stable" => GroupState::Stable,
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => GroupState::Rebalancing,
        "Empty" => GroupState::Empty,
        "Dead" => GroupState::Dead,
        _ => GroupState::Unknown,
    }
}

/// Why connecting failed, address by address.
fn refusal<'a>(connection: &'a Connection, error: &'a KrafkaError) -> BoxFuture<'a, SourceError> {
    Box::pin(async move {
        let said = translate(Subject::Cluster, error);
        let mut detail = diagnose::diagnose(connection, &said.detail).await;
        if detail.is_empty() {
            detail.clone_from(&said.detail);
        }
        let credentials = matches!(error, KrafkaError::Auth { .. }) || said.fault == ReadFault::Unauthorized;
        if credentials && detail.contains(&said.detail) {
            return SourceError::Refused(ReadError { fault: ReadFault::Unauthorized, detail });
        }
        SourceError::Unreachable { bootstrap: connection.bootstrap(), detail }
    })
}

/// The addresses that brokers give themselves are not the ones we were given: at least one must answer too.
async fn advertised(connection: &Connection, admin: &AdminClient) -> Result<(), SourceError> {
    let options = DescribeClusterOptions::default().timeout(ADVERTISED_PATIENCE);
    let Err(error @ (KrafkaError::Network(_) | KrafkaError::Timeout { .. })) = admin.describe_cluster(options).await
    else {
        return Ok(());
    };
    let said = translate(Subject::Cluster, &error).detail;
    let detail = format!(
        "{} answered, but the brokers' own addresses (advertised.listeners) do not: {said}",
        connection.bootstrap()
    );
    Err(SourceError::Unreachable { bootstrap: connection.bootstrap(), detail })
}

/// The three patiences and that of the probes (2 s) keep a failure to connect below 10 s.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ADVERTISED_PATIENCE: Duration = Duration::from_secs(3);
/// How long every known broker may be away before the bootstrap addresses are resolved anew (guessed).
const REBOOTSTRAP_AFTER: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_both_protocols_are_known() {
        let table = [
            ("Stable", GroupState::Stable),
            ("PreparingRebalance", GroupState::Rebalancing),
            ("CompletingRebalance", GroupState::Rebalancing),
            ("Assigning", GroupState::Rebalancing),
            ("Reconciling", GroupState::Rebalancing),
            ("Empty", GroupState::Empty),
            ("Dead", GroupState::Dead),
            ("NotInvented", GroupState::Unknown),
        ];
        for (name, expected) in table {
            assert_eq!(state(name), expected, "{name}");
        }
    }

    #[test]
    fn an_unknown_group_is_an_answer_and_a_refusal_an_error() {
        let group = GroupId::new("billing");
        let unknown = description(&group, Err(KrafkaError::broker(ErrorCode::GroupIdNotFound, "")));
        assert_eq!(unknown.unwrap().state, GroupState::Missing);
        let denied = description(&group, Err(KrafkaError::broker(ErrorCode::GroupAuthorizationFailed, "")));
        assert_eq!(denied.unwrap_err().fault, ReadFault::Unauthorized);
    }
}
