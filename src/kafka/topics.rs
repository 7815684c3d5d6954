//! What is known of the watched topics: partitions, leaders, ids, log starts. Asked anew on a timer, and at once after
//! an error, so that partitions added, topics recreated and leaders moved are found.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use krafka::admin::{
    AdminClient, ConfigEntry, ConfigResource, DescribeConfigsOptions, DescribeTopicsOptions, TopicDescription,
};
use krafka::error::{ErrorCode, KrafkaError};

use super::fault::{Subject, translate};
use super::retention::Said;
use crate::clock::Instant;
use crate::id::Topic;
use crate::lag::{ReadError, ReadFault, Retention};

/// What a cluster says of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// The topic.
    pub topic: Topic,
    /// Its id, where the cluster tells it: a topic recreated under its old name has another.
    pub id: Option<[u8; 16]>,
    /// How many partitions it has.
    pub partitions: usize,
    /// `retention.ms`, −1 for no limit. `None`: not told, see `settings_error`.
    pub retention_ms: Option<i64>,
    /// `retention.bytes` of one partition, −1 for no limit. `None`: not told.
    pub retention_bytes: Option<i64>,
    /// Whether `cleanup.policy` has `compact`: offsets then count more than messages. `None`: not told.
    pub compacted: Option<bool>,
    /// Why the settings are unknown, usually a missing DESCRIBE_CONFIGS.
    pub settings_error: Option<ReadError>,
}

/// One topic, as it was described last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) id: Option<[u8; 16]>,
    /// Partition → leader, ascending; −1 for none.
    pub(super) leaders: Vec<(i32, i32)>,
}

/// The topics that are watched.
#[derive(Debug, Default)]
pub(super) struct Topics(Mutex<HashMap<Topic, Known>>);

#[derive(Debug)]
struct Known {
    described: Result<Described, ReadError>,
    at: Instant,
    /// Something about it failed since: ask again now.
    suspect: bool,
    /// Log ends, as they were read last.
    ends: HashMap<i32, i64>,
    /// Log starts, and when they were asked for.
    starts: HashMap<i32, i64>,
    starts_at: Option<Instant>,
    /// How long records are kept, and when that was asked for.
    retention: Said,
    retention_at: Option<Instant>,
}

impl Known {
    fn new(described: Result<Described, ReadError>, at: Instant) -> Self {
        Self {
            described,
            at,
            suspect: false,
            ends: HashMap::new(),
            starts: HashMap::new(),
            starts_at: None,
            retention: Said::default(),
            retention_at: None,
        }
    }
}

impl Known {
    /// Mean size of a record on disk, over the partitions of which everything is known.
    fn bytes_per_message(&self) -> Option<f64> {
        let sized = self.retention.sizes.iter().filter_map(|(partition, size)| {
            Some((*size as f64, (self.ends.get(partition)? - self.starts.get(partition)?) as f64))
        });
        let (bytes, messages) = sized.fold((0.0, 0.0), |sum, (bytes, messages)| (sum.0 + bytes, sum.1 + messages));
        (messages > 0.0).then(|| bytes / messages)
    }
}

impl Topics {
    /// Which of `topics` have to be asked about.
    pub(super) fn due(&self, topics: &[Topic], now: Instant, every: Duration) -> Vec<Topic> {
        let known = self.lock();
        let stale = |topic: &&Topic| {
            known.get(*topic).is_none_or(|k| k.suspect || k.described.is_err() || now.since(k.at) >= every)
        };
        topics.iter().filter(stale).cloned().collect()
    }

    /// Takes in what was said. A cluster that does not answer takes nothing away that was known before.
    pub(super) fn learn(&self, answers: Vec<(Topic, Result<Described, ReadError>)>, now: Instant) {
        let mut known = self.lock();
        for (topic, described) in answers {
            let old = known.remove(&topic);
            let unavailable = matches!(&described, Err(error) if error.fault == ReadFault::Unavailable);
            let next = match old {
                Some(old) if unavailable && old.described.is_ok() => Known { suspect: true, ..old },
                Some(old) if same_topic(&old.described, &described) => {
                    Known { described, at: now, suspect: false, ..old }
                }
                _ => Known::new(described, now),
            };
            known.insert(topic, next);
        }
    }

    /// What is known of `topic`.
    pub(super) fn described(&self, topic: &Topic) -> Result<Described, ReadError> {
        let unknown = || ReadError {
            fault: ReadFault::Unavailable,
            detail: format!("topic {topic}: the cluster has not described it yet; trying again helps"),
        };
        self.lock().get(topic).map_or_else(|| Err(unknown()), |known| known.described.clone())
    }

    /// Forgets topics that are not watched any more.
    pub(super) fn retain(&self, topics: &[Topic]) {
        let mut known = self.lock();
        if known.len() > topics.len() {
            let watched: HashSet<&Topic> = topics.iter().collect();
            known.retain(|topic, _| watched.contains(topic));
        }
    }

    /// Something about `topic` failed: it is asked about in the next poll.
    pub(super) fn suspect(&self, topic: &Topic) {
        if let Some(known) = self.lock().get_mut(topic) {
            known.suspect = true;
        }
    }

    /// Takes in log ends. One that went back means that the log was cut, or the topic made anew: it is asked about in the
    /// next poll.
    pub(super) fn learn_ends(&self, topic: &Topic, ends: &HashMap<i32, Result<i64, ReadError>>) {
        if let Some(known) = self.lock().get_mut(topic) {
            for (partition, end) in ends.iter().filter_map(|(partition, end)| Some((partition, end.as_ref().ok()?))) {
                known.suspect |= known.ends.insert(*partition, *end).is_some_and(|before| before > *end);
            }
        }
    }

    /// Whether the log starts of `topic` are to be asked for now; if so, they count as asked for.
    pub(super) fn starts_due(&self, topic: &Topic, now: Instant, every: Duration) -> bool {
        let mut known = self.lock();
        let Some(known) = known.get_mut(topic) else { return false };
        let partitions = known.described.as_ref().map_or(0, |described| described.leaders.len());
        let due = known.starts_at.is_none_or(|at| now.since(at) >= every) || known.starts.len() < partitions;
        if due {
            known.starts_at = Some(now);
        }
        due
    }

    /// Takes in one log start.
    pub(super) fn learn_start(&self, topic: &str, partition: i32, offset: i64) {
        if let Some(known) = self.lock().get_mut(&Topic::from(topic)) {
            known.starts.insert(partition, offset);
        }
    }

    /// The log starts of `topic`, as far as known.
    pub(super) fn starts(&self, topic: &Topic) -> HashMap<i32, i64> {
        self.lock().get(topic).map(|known| known.starts.clone()).unwrap_or_default()
    }

    /// The topics whose retention is to be asked for now; they count as asked for.
    pub(super) fn retention_due(&self, topics: &[Topic], now: Instant, every: Duration) -> Vec<(Topic, Described)> {
        let mut all = self.lock();
        let mut due = Vec::new();
        for topic in topics {
            let Some(known) = all.get_mut(topic) else { continue };
            let Ok(described) = &known.described else { continue };
            if known.retention_at.is_none_or(|at| now.since(at) >= every) {
                due.push((topic.clone(), described.clone()));
                known.retention_at = Some(now);
            }
        }
        due
    }

    /// Takes in what was said of retention. What is not told any more stays as it was.
    pub(super) fn learn_retention(&self, said: Vec<(Topic, Said)>) {
        let mut all = self.lock();
        for (topic, said) in said {
            if let Some(known) = all.get_mut(&topic).filter(|_| said.limits.is_some()) {
                known.retention = said;
            }
        }
    }

    /// How long `topic` keeps its records; `None`: not told.
    pub(super) fn retention(&self, topic: &Topic) -> Option<Retention> {
        let all = self.lock();
        let known = all.get(topic)?;
        let limits = known.retention.limits?;
        Some(Retention {
            seconds: limits.milliseconds.map(|milliseconds| milliseconds as f64 / 1e3),
            bytes: limits.bytes.map(|bytes| bytes as f64),
            bytes_per_message: known.bytes_per_message(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A topic recreated under its old name is another topic.
fn same_topic(old: &Result<Described, ReadError>, new: &Result<Described, ReadError>) -> bool {
    matches!((old, new), (Ok(old), Ok(new)) if old.id == new.id && old.leaders.len() <= new.leaders.len())
}

/// Asks for the partitions of `topics`. Creates none of them.
pub(super) async fn describe(
    admin: &AdminClient,
    topics: Vec<Topic>,
    timeout: Duration,
) -> Vec<(Topic, Result<Described, ReadError>)> {
    // One illegal name would fail the whole call.
    let legal = topics.iter().map(Topic::as_str).filter(|name| is_legal(name));
    let options = DescribeTopicsOptions::default().timeout(timeout);
    let mut answers = admin.describe_topics(legal, options).await;
    let describe = |topic: Topic| {
        let answer = match &mut answers {
            _ if !is_legal(topic.as_str()) => Err(KrafkaError::broker(ErrorCode::InvalidTopic, "")),
            Ok(answers) => {
                answers.remove(topic.as_str()).unwrap_or_else(|| Err(KrafkaError::timeout("DescribeTopics")))
            }
            Err(error) => Err(error.clone()),
        };
        let described = answer.map(|said| described(&said)).map_err(|error| translate(Subject::Topic(&topic), &error));
        (topic, described)
    };
    topics.into_iter().map(describe).collect()
}

/// Kafka's rule for topic names.
fn is_legal(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && name.chars().all(allowed) && name != "." && name != ".."
}

/// Asks for everything there is to say of one topic.
pub(super) async fn info(admin: &AdminClient, topic: &Topic, timeout: Duration) -> Result<TopicInfo, ReadError> {
    let mut answers = describe(admin, vec![topic.clone()], timeout).await;
    let described = answers.remove(0).1?;
    let resource = ConfigResource::topic(topic.as_str());
    let options = DescribeConfigsOptions::default().timeout(timeout);
    let settings = match admin.describe_configs([resource.clone()], options).await {
        Ok(mut answers) => answers.remove(&resource).unwrap_or_else(|| Ok(Vec::new())),
        Err(error) => Err(error),
    };
    let (settings, settings_error) = match settings {
        Ok(settings) => (settings, None),
        Err(error) => (Vec::new(), Some(settings_refusal(topic, &error))),
    };
    let value = |name: &str| setting(&settings, name);
    Ok(TopicInfo {
        topic: topic.clone(),
        id: described.id,
        partitions: described.leaders.len(),
        retention_ms: value("retention.ms").and_then(|text| text.parse().ok()),
        retention_bytes: value("retention.bytes").and_then(|text| text.parse().ok()),
        compacted: value("cleanup.policy").map(|text| text.contains("compact")),
        settings_error,
    })
}

pub(super) fn setting<'a>(settings: &'a [ConfigEntry], name: &str) -> Option<&'a str> {
    settings.iter().find(|entry| entry.name == name)?.value.as_deref()
}

fn settings_refusal(topic: &Topic, error: &KrafkaError) -> ReadError {
    let mut read = translate(Subject::Topic(topic), error);
    if read.fault == ReadFault::Unauthorized {
        let remedy = format!("grant DESCRIBE_CONFIGS on TOPIC {topic} (--operation DescribeConfigs --topic {topic})");
        read.detail = format!("topic {topic}: not authorised to read its retention; {remedy}");
    }
    read
}

fn described(said: &TopicDescription) -> Described {
    let leaders = said.partitions.iter().map(|partition| (partition.partition, partition.leader.unwrap_or(NO_LEADER)));
    Described { id: (said.topic_id != [0; 16]).then_some(said.topic_id), leaders: leaders.collect() }
}

pub(super) const NO_LEADER: i32 = -1;

#[cfg(test)]
mod tests {
    use super::super::retention::Limits;
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn described(id: u8, partitions: i32) -> Result<Described, ReadError> {
        Ok(Described { id: Some([id; 16]), leaders: (0..partitions).map(|p| (p, 1)).collect() })
    }

    fn failed(fault: ReadFault) -> Result<Described, ReadError> {
        Err(ReadError { fault, detail: String::new() })
    }

    #[test]
    fn topics_are_asked_about_on_a_timer_and_at_once_after_trouble() {
        let (topics, orders, at) = (Topics::default(), Topic::new("orders"), Instant::from_seconds);
        let watched = [orders.clone()];
        let due = |seconds| topics.due(&watched, at(seconds), EVERY).len();
        assert_eq!(due(0.0), 1, "nothing is known yet");
        topics.learn(vec![(orders.clone(), described(1, 2))], at(0.0));
        assert_eq!((due(29.0), due(30.0)), (0, 1));
        topics.suspect(&orders);
        assert_eq!(due(1.0), 1);
        topics.learn(vec![(orders.clone(), failed(ReadFault::Unavailable))], at(1.0));
        assert_eq!(topics.described(&orders), described(1, 2), "silence takes nothing away");
        assert_eq!(due(1.1), 1);
        topics.learn(vec![(orders.clone(), failed(ReadFault::TopicMissing))], at(2.0));
        assert_eq!(topics.described(&orders), failed(ReadFault::TopicMissing));
        assert_eq!(due(2.1), 1, "a missing topic may appear any time");
    }

    #[test]
    fn a_log_that_went_back_is_asked_about_at_once() {
        let (topics, orders, at) = (Topics::default(), Topic::new("orders"), Instant::from_seconds);
        let due = |seconds| topics.due(std::slice::from_ref(&orders), at(seconds), EVERY).len();
        topics.learn(vec![(orders.clone(), described(1, 2))], at(0.0));
        topics.learn_ends(&orders, &HashMap::from([(0, Ok(900)), (1, Ok(50))]));
        topics.learn_ends(&orders, &HashMap::from([(0, Ok(901)), (1, failed(ReadFault::Unavailable).map(|_| 0))]));
        assert_eq!(due(1.0), 0);
        topics.learn_ends(&orders, &HashMap::from([(0, Ok(7)), (1, Ok(51))]));
        assert_eq!(due(2.0), 1);
        topics.learn(vec![(orders.clone(), described(2, 2))], at(2.0));
        topics.learn_ends(&orders, &HashMap::from([(0, Ok(3))]));
        assert_eq!(due(3.0), 0, "the ends of the old topic are forgotten");
    }

    #[test]
    fn topic_names_are_checked_as_kafka_does() {
        assert!(is_legal("a.b_c-9") && is_legal(&"x".repeat(249)));
        assert!(["", ".", "..", "a/b", "ä"].iter().all(|name| !is_legal(name)) && !is_legal(&"x".repeat(250)));
    }

    #[test]
    fn log_starts_are_kept_until_the_topic_is_another_one() {
        let (topics, orders, at) = (Topics::default(), Topic::new("orders"), Instant::from_seconds);
        topics.learn(vec![(orders.clone(), described(1, 2))], at(0.0));
        assert!(topics.starts_due(&orders, at(0.0), EVERY));
        topics.learn_start("orders", 0, 7);
        topics.learn_start("orders", 1, 8);
        assert!(!topics.starts_due(&orders, at(1.0), EVERY));
        topics.learn(vec![(orders.clone(), described(1, 3))], at(2.0));
        assert_eq!(topics.starts(&orders).len(), 2);
        assert!(topics.starts_due(&orders, at(2.0), EVERY), "a partition was added");
        topics.learn(vec![(orders.clone(), described(2, 3))], at(3.0));
        assert_eq!(topics.starts(&orders).len(), 0);
        topics.retain(&[]);
        assert!(topics.described(&orders).is_err());
    }

    #[test]
    fn retention_is_asked_for_seldom_and_a_refusal_takes_nothing_away() {
        let (topics, orders, at) = (Topics::default(), Topic::new("orders"), Instant::from_seconds);
        let due = |seconds| topics.retention_due(std::slice::from_ref(&orders), at(seconds), EVERY).len();
        assert_eq!(due(0.0), 0, "nothing is known of the topic yet");
        topics.learn(vec![(orders.clone(), described(1, 2))], at(0.0));
        assert_eq!((due(0.0), due(29.0), due(30.0)), (1, 0, 1));
        assert_eq!(topics.retention(&orders), None, "not told");
        let limits = Some(Limits { milliseconds: Some(60_000), bytes: Some(1_000_000) });
        let sizes = HashMap::from([(0, 9_000), (1, 1_000)]);
        topics.learn_retention(vec![(orders.clone(), Said { limits, sizes })]);
        let told = |bytes_per_message| Retention { seconds: Some(60.0), bytes: Some(1e6), bytes_per_message };
        assert_eq!(topics.retention(&orders), Some(told(None)), "no log has been read yet");
        topics.learn_ends(&orders, &HashMap::from([(0, Ok(190)), (1, Ok(10))]));
        topics.learn_start("orders", 0, 100);
        topics.learn_start("orders", 1, 0);
        assert_eq!(topics.retention(&orders), Some(told(Some(100.0))));
        topics.learn_retention(vec![(orders.clone(), Said::default())]);
        assert_eq!(topics.retention(&orders), Some(told(Some(100.0))));
    }
}
