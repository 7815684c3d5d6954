//! What tests ask of a snapshot.

use std::time::Duration;

use lagvalve::id::{GroupId, Topic, TopicPartition};
use lagvalve::kafka::{Observer, ObserverOptions};
use lagvalve::lag::{
    GroupWatch, Isolation, OffsetSource as _, PartitionEnds, PartitionOffsets, ReadError, Snapshot, Unmeasured, Watch,
};
use tokio::time::{Instant, sleep};

use super::Stop;

/// Options that notice changes at once.
pub fn eager() -> ObserverOptions {
    let soon = Duration::from_millis(100);
    ObserverOptions { topics_every: soon, log_start_every: soon, ..ObserverOptions::default() }
}

/// Watches `topics` and `groups`, all read uncommitted.
pub fn watch(topics: &[&str], groups: &[&str]) -> Watch {
    let group = |name: &&str| GroupWatch { group: GroupId::from(*name), isolation: Isolation::ReadUncommitted };
    Watch { topics: topics.iter().map(|name| Topic::from(*name)).collect(), groups: groups.iter().map(group).collect() }
}

/// The partitions of `topic`.
pub fn partitions<'a>(snapshot: &'a Snapshot, topic: &str) -> Result<&'a [PartitionEnds], ReadError> {
    let found = snapshot.topics.iter().find(|entry| entry.topic.as_str() == topic).expect("a watched topic");
    found.partitions.as_deref().map_err(Clone::clone)
}

/// The log ends of `topic`, partition by partition.
pub fn ends(snapshot: &Snapshot, topic: &str) -> Result<Vec<i64>, ReadError> {
    partitions(snapshot, topic)?.iter().map(|partition| partition.end.clone()).collect()
}

/// The lag of `group` on each partition of `topic`, in messages.
pub fn lags(snapshot: &Snapshot, group: &str, topic: &str) -> Result<Vec<Result<i64, Unmeasured>>, ReadError> {
    let found = snapshot.groups.iter().find(|entry| entry.group.as_str() == group).expect("a watched group");
    let commits = found.commits.as_ref().map_err(Clone::clone)?;
    let lag = |ends: &PartitionEnds| {
        let committed = commits.get(&TopicPartition::new(topic, ends.partition)).copied();
        let offsets = PartitionOffsets { committed, log_start: ends.start, end: ends.end.clone().ok() };
        offsets.lag().map(|lag| lag.messages)
    };
    Ok(partitions(snapshot, topic)?.iter().map(lag).collect())
}

/// Polls until `good`, for `patience` at most; the last snapshot or error says why not.
pub async fn poll_until(
    observer: &Observer,
    watch: &Watch,
    patience: Duration,
    good: impl Fn(&Snapshot) -> bool,
) -> Result<Snapshot, Stop> {
    let deadline = Instant::now() + patience;
    loop {
        let polled = observer.poll(watch).await;
        match polled {
            Ok(snapshot) if good(&snapshot) => return Ok(snapshot),
            last if Instant::now() > deadline => return Err(Stop::Failed(format!("after {patience:?}: {last:?}"))),
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
}
