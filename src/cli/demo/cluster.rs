//! Where the demo plays: krafka's in-process broker, or a topic of its own on a real cluster.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use krafka::testing::{ApiKey, ClassicGroupState, ClusterState, FakeBroker, PartitionState};
use lagvalve::clock::{Clock, Instant, SystemClock};
use lagvalve::kafka::Connection;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::args::DemoArgs;
use super::consumer::SESSION_TIMEOUT;
use super::truth::{PARTITIONS, Truth};
use crate::cli::exit::Failure;

/// The cluster, and the demo's own topic on it.
pub(super) struct Cluster {
    connection: Connection,
    topic: String,
    group: String,
    embedded: Option<Embedded>,
}

impl Cluster {
    /// Starts the embedded broker, or makes a topic on the cluster that `args` names.
    pub(super) async fn open(args: &DemoArgs, truth: &Arc<Truth>) -> Result<Self, Failure> {
        if args.bootstrap_servers.is_empty() {
            let topic = "lagvalve-demo".to_owned();
            let embedded = Embedded::start(&topic, Arc::clone(truth))?;
            let connection = Connection::new(&embedded.address);
            let group = group_of(&topic);
            return Ok(Self { connection, topic, group, embedded: Some(embedded) });
        }
        let mut connection = Connection::new(&args.bootstrap_servers.join(","));
        for property in &args.properties {
            connection.set(&property.key, &property.value);
        }
        connection.check().map_err(Failure::usage)?;
        let unique = || format!("lagvalve-demo-{:x}", SystemClock.unix_millis());
        let topic = args.topic.clone().unwrap_or_else(unique);
        let group = args.group.clone().unwrap_or_else(|| group_of(&topic));
        let cluster = Self { connection, topic, group, embedded: None };
        cluster.create_topic().await?;
        Ok(cluster)
    }

    /// The demo's topic.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// The group's name.
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// How to reach it.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether it is the broker inside this process.
    pub(super) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// For the chart: what this runs on.
    pub(super) fn describe(&self) -> String {
        if self.is_embedded() { "embedded broker".to_owned() } else { self.connection.bootstrap() }
    }

    /// Configuration of an rdkafka client on this cluster.
    pub(super) fn client_config(&self, client_id: &str) -> ClientConfig {
        let mut config = self.connection.client_config();
        config.set("client.id", client_id);
        if self.is_embedded() {
            // It answers a fetch with everything from the offset on, however much was asked for.
            config.set("receive.message.max.bytes", "1000000000");
            config.set("broker.address.family", "v4");
        }
        config
    }

    /// Deletes the topic, or stops the embedded broker. The group's offsets go with the topic.
    pub(super) async fn close(&self) -> Result<(), Failure> {
        if self.embedded.is_some() {
            return Ok(());
        }
        let outcome = self.admin()?.delete_topics(&[&self.topic], &admin_options()).await;
        let problem = match outcome.map(|mut results| results.pop()) {
            Ok(Some(Ok(_)) | None) => return Ok(()),
            Ok(Some(Err((_, code)))) => code.to_string(),
            Err(error) => error.to_string(),
        };
        Err(Failure::failed(format!("cannot delete the demo's topic {}: {problem}; delete it by hand", self.topic)))
    }

    async fn create_topic(&self) -> Result<(), Failure> {
        let admin = self.admin()?;
        // −1: the broker's default replication.
        let topic = NewTopic::new(&self.topic, PARTITIONS, TopicReplication::Fixed(-1));
        let servers = self.connection.bootstrap();
        let results = admin.create_topics([&topic], &admin_options()).await.map_err(|error| {
            Failure::unreachable(format!("cannot reach a broker at {servers}: {error}; check -b and -X"))
        })?;
        for result in results {
            result.map_err(|(name, code)| match code {
                RDKafkaErrorCode::TopicAlreadyExists => Failure::failed(format!(
                    "topic {name} exists: the demo makes a topic of its own and deletes it; choose another name"
                )),
                _ => Failure::failed(format!(
                    "cannot create topic {name}: {code}; the demo needs CREATE and DELETE on it"
                )),
            })?;
        }
        Ok(())
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, Failure> {
        self.client_config("lagvalve-demo-admin")
            .create()
            .map_err(|error| Failure::usage(format!("rdkafka refuses the connection settings: {error}")))
    }
}

/// Named after the topic, so that two demos on one cluster do not share one.
fn group_of(topic: &str) -> String {
    format!("{topic}-billing")
}

/// krafka's broker on threads of its own, so that its work does not delay the clients' timers.
struct Embedded {
    address: String,
    keeper: JoinHandle<()>,
    /// Taken at the end: a runtime must not be dropped inside another.
    runtime: Option<Runtime>,
}

impl Embedded {
    fn start(topic: &str, truth: Arc<Truth>) -> Result<Self, Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::failed(format!("cannot start the embedded broker: {error}"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("demo-broker")
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        // Not `block_on`: we are inside a runtime already.
        let (sender, receiver) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let _ = sender.send(FakeBroker::start().await);
        });
        let broker = receiver.recv().map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        broker.create_topic(topic, PARTITIONS);
        let address = broker.bootstrap_servers();
        let keeper = runtime.spawn(keep(broker, topic.to_owned(), truth));
        Ok(Self { address, keeper, runtime: Some(runtime) })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.keeper.abort();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a broker does by itself and this one does not: retention, and giving up members that fell silent.
async fn keep(broker: FakeBroker, topic: String, truth: Arc<Truth>) {
    let mut timer = tokio::time::interval(KEEPER_INTERVAL);
    let mut heard = HashMap::new();
    loop {
        timer.tick().await;
        note_members(&broker, &mut heard);
        // Its list of requests is searched at every request, and grows for ever.
        broker.clear_requests();
        broker.with_state(|state| {
            state.list_offsets_lookups.clear();
            state.leave_group_members.clear();
            expire_members(state, &heard);
            for partition in 0..PARTITIONS {
                let needed_from = committed(state, &topic, partition).min(truth.verified_to(partition));
                if let Some(log) = state.partition_mut(&topic, partition) {
                    trim(log, needed_from);
                }
            }
        });
    }
}

/// When each client was last heard by the group's coordinator.
fn note_members(broker: &FakeBroker, heard: &mut HashMap<String, Instant>) {
    let now = SystemClock.now();
    for request in broker.requests() {
        if matches!(request.api_key, ApiKey::JoinGroup | ApiKey::SyncGroup | ApiKey::Heartbeat) {
            heard.insert(request.client_id.unwrap_or_default(), now);
        }
    }
}

fn expire_members(state: &mut ClusterState, heard: &HashMap<String, Instant>) {
    let now = SystemClock.now();
    for group in state.groups.values_mut().filter(|group| !group.members.is_empty()) {
        group.members.retain(|member| {
            heard.get(&member.client_id).is_none_or(|at| now.since(*at) < SESSION_TIMEOUT + KEEPER_INTERVAL)
        });
        if group.members.is_empty() {
            group.assignments.clear();
            group.state = ClassicGroupState::Empty;
        }
    }
}

/// The lowest commit of any group on a partition; 0 when there is none.
fn committed(state: &ClusterState, topic: &str, partition: i32) -> i64 {
    let of = (topic.to_owned(), partition);
    state.groups.values().map(|group| group.offsets.get(&of).map_or(0, |commit| commit.offset)).min().unwrap_or(0)
}

/// Drops whole batches below `needed_from`. The broker searches its batches one by one, so few is also fast.
fn trim(log: &mut PartitionState, needed_from: i64) {
    let mut starts = log.log.iter().skip(1).map_while(|batch| base_offset(batch));
    let mut dropped = 0;
    let mut start = log.log_start_offset;
    // A batch goes when the one after it begins at or below what is needed.
    while let Some(next) = starts.next().filter(|next| *next <= needed_from) {
        dropped += 1;
        start = next;
    }
    drop(starts);
    log.log.drain(..dropped);
    log.log_start_offset = start;
}

/// The first eight bytes of a record batch.
fn base_offset(batch: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(batch.get(..8)?.try_into().ok()?))
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT)).operation_timeout(Some(ADMIN_TIMEOUT))
}

const KEEPER_INTERVAL: Duration = Duration::from_millis(500);
/// Every command says within 10 s that nothing can be reached.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(9);
