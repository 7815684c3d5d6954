//! How long topics keep their records: settings and sizes, asked for on a slow timer. Both need permissions that watching
//! does not (DESCRIBE_CONFIGS on the topic, DESCRIBE on the cluster): what may not be read is not told, and nothing fails.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use krafka::admin::{
    AdminClient, ConfigResource, DescribeConfigsOptions, DescribeLogDirsOptions, TopicPartition as Partition,
};

use super::topics::{Described, NO_LEADER, setting};
use crate::id::Topic;

/// What a topic's settings say of retention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// `retention.ms`; `None`: no limit, or compaction alone.
    pub(super) milliseconds: Option<i64>,
    /// `retention.bytes` of one partition; `None`: no limit, or compaction alone.
    pub(super) bytes: Option<i64>,
}

/// What was said of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// `None`: not told.
    pub(super) limits: Option<Limits>,
    /// Size of the log of each partition at its leader, bytes, where it was asked for and told.
    pub(super) sizes: HashMap<i32, i64>,
}

/// Asks for the retention of `topics`; sizes only where one limits them. And how many requests that took.
pub(super) async fn ask(
    admin: &AdminClient,
    topics: Vec<(Topic, Described)>,
    timeout: Duration,
) -> (Vec<(Topic, Said)>, usize) {
    let resources: Vec<ConfigResource> =
        topics.iter().map(|(topic, _)| ConfigResource::topic(topic.as_str())).collect();
    let options = DescribeConfigsOptions::default().timeout(timeout);
    let mut settings = admin.describe_configs(resources.iter().cloned(), options).await.unwrap_or_default();
    let limits: Vec<Option<Limits>> = resources
        .iter()
        .map(|resource| settings.remove(resource)?.ok().map(|entries| limits(|name| setting(&entries, name))))
        .collect();
    let limited = |limits: &Option<Limits>| limits.is_some_and(|limits| limits.bytes.is_some());
    let sized = topics.iter().zip(&limits).filter(|(_, limits)| limited(limits)).map(|(topic, _)| topic);
    let (mut sizes, requests) = sizes(admin, sized, timeout).await;
    let said = |((topic, _), limits): ((Topic, Described), Option<Limits>)| {
        let sizes = sizes.remove(&topic).unwrap_or_default();
        (topic, Said { limits, sizes })
    };
    (topics.into_iter().zip(limits).map(said).collect(), 1 + requests)
}

fn limits<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Limits {
    if value("cleanup.policy").is_some_and(|policy| !policy.contains("delete")) {
        return Limits::default();
    }
    let limit = |name: &str| value(name)?.parse().ok().filter(|limit: &i64| *limit >= 0);
    Limits { milliseconds: limit("retention.ms"), bytes: limit("retention.bytes") }
}

async fn sizes(
    admin: &AdminClient,
    topics: impl Iterator<Item = &(Topic, Described)>,
    timeout: Duration,
) -> (HashMap<Topic, HashMap<i32, i64>>, usize) {
    let mut leaders: BTreeMap<i32, Vec<Partition>> = BTreeMap::new();
    for (topic, described) in topics {
        for (partition, leader) in described.leaders.iter().filter(|(_, leader)| *leader != NO_LEADER) {
            leaders.entry(*leader).or_default().push(Partition::new(topic.as_str(), *partition));
        }
    }
    let requests = leaders.len();
    let mut sizes: HashMap<Topic, HashMap<i32, i64>> = HashMap::new();
    for (leader, partitions) in leaders {
        let options = DescribeLogDirsOptions::default().timeout(timeout).partitions(partitions);
        let Ok(mut answers) = admin.describe_log_dirs([leader], options).await else { continue };
        let Some(Ok(folders)) = answers.remove(&leader) else { continue };
        for (partition, replica) in folders.into_values().filter_map(Result::ok).flat_map(|folder| folder.replicas) {
            if !replica.is_future {
                let topic = Topic::from(partition.topic.as_str());
                sizes.entry(topic).or_default().insert(partition.partition, replica.size);
            }
        }
    }
    (sizes, requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_what_deletes() {
        let table = [
            (
                &[("cleanup.policy", "delete"), ("retention.ms", "604800000"), ("retention.bytes", "-1")][..],
                (Some(604_800_000), None),
            ),
            (
                &[("cleanup.policy", "compact,delete"), ("retention.ms", "-1"), ("retention.bytes", "1073741824")],
                (None, Some(1 << 30)),
            ),
            (&[("cleanup.policy", "compact"), ("retention.ms", "604800000"), ("retention.bytes", "1")], (None, None)),
            (&[("retention.ms", "60000")], (Some(60_000), None)),
            (&[], (None, None)),
        ];
        for (settings, (milliseconds, bytes)) in table {
            let value = |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            assert_eq!(limits(value), Limits { milliseconds, bytes }, "{settings:?}");
        }
    }
}
