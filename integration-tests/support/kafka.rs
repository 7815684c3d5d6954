//! The broker that the tests of one binary share.

use std::time::Duration;

use lagvalve::kafka::Connection;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use testcontainers::ContainerAsync;
use tokio::time::{Instant, timeout};

use super::container::{self, KafkaImage};
use super::{Cluster, ClusterOptions, Jars, Stop, env, unique};

/// A running Kafka.
pub struct Kafka {
    bootstrap: String,
    place: Place,
    jars: Result<Jars, String>,
    admin: AdminClient<DefaultClientContext>,
}

/// Where it runs.
enum Place {
    Elsewhere,
    Container(Box<ContainerAsync<KafkaImage>>),
    Cluster(Box<Cluster>),
}

impl Kafka {
    /// The first that there is: an address given, a container, a cluster from jars.
    pub async fn find() -> Result<Self, String> {
        let only = env("LAGVALVE_KAFKA_FROM");
        let allowed = |way: &str| only.as_deref().is_none_or(|only| only == way);
        if let Some(bootstrap) = env("LAGVALVE_KAFKA").filter(|_| allowed("address")) {
            return Self::at(bootstrap, Place::Elsewhere, Jars::get());
        }
        let mut reasons = Vec::new();
        if allowed("docker") {
            match container::start().await {
                Ok((container, bootstrap)) => {
                    return Self::at(bootstrap, Place::Container(Box::new(container)), Jars::get());
                }
                Err(reason) => reasons.push(reason),
            }
        }
        if allowed("jars") {
            match Jars::get() {
                Ok(jars) => {
                    let cluster = Cluster::start(&jars, &ClusterOptions::default()).await?;
                    return Self::at(cluster.bootstrap(), Place::Cluster(Box::new(cluster)), Ok(jars));
                }
                Err(reason) => reasons.push(reason),
            }
        }
        Err(format!(
            "set LAGVALVE_KAFKA=host:port, or start Docker, or install Java and Maven ({})",
            reasons.join("; ")
        ))
    }

    fn at(bootstrap: String, place: Place, jars: Result<Jars, String>) -> Result<Self, String> {
        let admin = admin(&bootstrap).map_err(|error| error.to_string())?;
        Ok(Self { bootstrap, place, jars, admin })
    }

    /// Stops what was started.
    pub async fn stop(self) {
        if let Place::Container(container) = self.place {
            let _ = container.rm().await;
        }
    }

    /// `host:port`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A plaintext connection to it.
    pub fn connection(&self) -> Connection {
        Connection::new(&self.bootstrap)
    }

    /// A name that nobody else uses, beginning with `start`.
    pub fn name(&self, start: &str) -> String {
        format!("{start}-{}", unique())
    }

    /// Kafka's own command line, or the reason to ignore a test that needs it.
    pub fn jars(&self) -> Result<&Jars, Stop> {
        self.jars.as_ref().map_err(|reason| Stop::Ignored(format!("no Kafka command line: {reason}")))
    }

    /// A cluster for one test alone, to be stopped and killed.
    pub async fn own_cluster(&self, options: &ClusterOptions) -> Result<Cluster, Stop> {
        Cluster::start(self.jars()?, options).await.map_err(Stop::Failed)
    }

    /// Whether KIP-848 groups may be expected to work with librdkafka's consumer: Kafka 4.0 and newer.
    pub fn has_consumer_protocol(&self) -> bool {
        match (&self.place, &self.jars) {
            (Place::Cluster(cluster), _) => cluster.jars().at_least(4, 0),
            _ => !env("LAGVALVE_KAFKA_TAG").is_some_and(|tag| tag.starts_with("3.")),
        }
    }

    /// Creates `topic` and waits until every partition has a leader.
    pub async fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), Stop> {
        create_topic(&self.admin, topic, partitions, &[]).await
    }

    /// Raises the number of partitions of `topic` to `partitions`.
    pub async fn add_partitions(&self, topic: &str, partitions: usize) -> Result<(), Stop> {
        let results = self.admin.create_partitions(&[NewPartitions::new(topic, partitions)], &options()).await?;
        results.into_iter().try_for_each(|result| result.map(drop)).map_err(|(name, code)| fail(&name, &code))
    }

    /// Deletes `topic`.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), Stop> {
        let results = self.admin.delete_topics(&[topic], &options()).await?;
        results.into_iter().try_for_each(|result| result.map(drop)).map_err(|(name, code)| fail(&name, &code))
    }

    /// Sends `count` small records to each of `partitions`.
    pub async fn produce(&self, topic: &str, partitions: std::ops::Range<i32>, count: usize) -> Result<(), Stop> {
        produce(&self.bootstrap, topic, partitions, count).await
    }

    /// Commits offsets without joining the group: `(partition, offset)`.
    pub async fn commit(&self, group: &str, topic: &str, offsets: &[(i32, i64)]) -> Result<(), Stop> {
        commit(&self.bootstrap, group, topic, offsets).await
    }

    /// Joins `group` by `protocol` (`classic` or `consumer`), reads `count` records of `topic`, commits and stays.
    pub async fn consume(
        &self,
        group: &str,
        topic: &str,
        count: usize,
        protocol: &str,
    ) -> Result<StreamConsumer, Stop> {
        let mut config = client(&self.bootstrap);
        config.set("group.id", group).set("group.protocol", protocol);
        config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        let consumer: StreamConsumer = config.create()?;
        consumer.subscribe(&[topic])?;
        for _ in 0..count {
            timeout(PATIENCE, consumer.recv()).await??;
        }
        let consumer =
            tokio::task::spawn_blocking(move || consumer.commit_consumer_state(CommitMode::Sync).map(|()| consumer));
        Ok(consumer.await??)
    }
}

/// librdkafka's settings for `bootstrap`.
pub fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

/// An admin client for `bootstrap`.
pub fn admin(bootstrap: &str) -> rdkafka::error::KafkaResult<AdminClient<DefaultClientContext>> {
    client(bootstrap).create()
}

/// Creates `topic` with settings and the default replication, and waits until every partition has a leader.
pub async fn create_topic(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) -> Result<(), Stop> {
    let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    for (key, value) in settings {
        wanted = wanted.set(key, value);
    }
    for result in admin.create_topics(&[wanted], &options()).await? {
        result.map_err(|(name, code)| fail(&name, &code))?;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let metadata = admin.inner().fetch_metadata(Some(topic), PATIENCE)?;
        let led = |topic: &rdkafka::metadata::MetadataTopic| {
            topic.partitions().len() == partitions as usize && topic.partitions().iter().all(|p| p.leader() >= 0)
        };
        if metadata.topics().first().is_some_and(led) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Stop::Failed(format!("{topic} has no leaders after {PATIENCE:?}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends `count` small records to each of `partitions` and waits for the acknowledgements.
pub async fn produce(bootstrap: &str, topic: &str, partitions: std::ops::Range<i32>, count: usize) -> Result<(), Stop> {
    let producer: FutureProducer = client(bootstrap).create()?;
    know_partitions(&producer, topic, partitions.end as usize).await?;
    let mut sent = Vec::new();
    for partition in partitions {
        for _ in 0..count {
            let record = FutureRecord::<(), str>::to(topic).partition(partition).payload("x");
            sent.push(producer.send_result(record).map_err(|(error, _)| error)?);
        }
    }
    for delivery in sent {
        delivery.await?.map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// Waits until `producer` is told of `wanted` partitions: one broker tells of a partition that was just added before
/// another does. Asks on a thread of its own, for what answers may run on the caller's (the embedded broker's proxy).
async fn know_partitions(producer: &FutureProducer, topic: &str, wanted: usize) -> Result<(), Stop> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (asking, named) = (producer.clone(), topic.to_string());
        let metadata =
            tokio::task::spawn_blocking(move || asking.client().fetch_metadata(Some(&named), PATIENCE)).await??;
        let known = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        if known >= wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Stop::Failed(format!("{topic} has {known} partitions, {wanted} are wanted")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Commits offsets of `group` on `topic` without joining the group.
pub async fn commit(bootstrap: &str, group: &str, topic: &str, offsets: &[(i32, i64)]) -> Result<(), Stop> {
    let mut config = client(bootstrap);
    config.set("group.id", group).set("enable.auto.commit", "false");
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    let committing = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create()?;
        let mut tries = 0;
        loop {
            match consumer.commit(&list, CommitMode::Sync) {
                // The first commit of a cluster makes the offsets topic, which takes a moment.
                Err(_) if tries < 20 => tries += 1,
                result => return result,
            }
            let _ = consumer.poll(Duration::from_millis(250));
        }
    });
    Ok(committing.await??)
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

fn fail(name: &str, code: &rdkafka::types::RDKafkaErrorCode) -> Stop {
    Stop::Failed(format!("{name}: {code}"))
}

/// How long anything may take that a healthy broker does in a second.
const PATIENCE: Duration = Duration::from_secs(30);
