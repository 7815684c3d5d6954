//! A broker in a container: the image `apache/kafka`, KRaft, one node.

use std::borrow::Cow;

use testcontainers::core::{ContainerPort, IntoContainerPort as _, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, Image, ImageExt as _};

use super::jars::NEWEST;
use super::{env, free_ports};

/// The image and the port at which it is reached from here.
#[derive(Clone, Debug)]
pub struct KafkaImage {
    name: String,
    tag: String,
    /// Inside and outside alike, because the broker tells its clients the address at which they find it.
    port: [ContainerPort; 1],
    advertised: String,
}

/// Starts one and returns it with its address. Fails at once when no Docker engine answers.
pub async fn start() -> Result<(ContainerAsync<KafkaImage>, String), String> {
    let port = free_ports(1)[0];
    let advertised = format!("{}:{port}", docker_host());
    let image = KafkaImage {
        name: env("LAGVALVE_KAFKA_IMAGE").unwrap_or_else(|| "apache/kafka".to_owned()),
        tag: env("LAGVALVE_KAFKA_TAG").unwrap_or_else(|| NEWEST.to_owned()),
        port: [port.tcp()],
        advertised: advertised.clone(),
    };
    let (name, tag) = (image.name.clone(), image.tag.clone());
    let started = image.with_mapped_port(port, port.tcp()).start().await;
    let container = started.map_err(|error| format!("Docker could not start {name}:{tag}: {error}"))?;
    Ok((container, advertised))
}

impl Image for KafkaImage {
    fn name(&self) -> &str {
        &self.name
    }

    fn tag(&self) -> &str {
        &self.tag
    }

    fn ready_conditions(&self) -> Vec<WaitFor> {
        vec![WaitFor::message_on_stdout("Kafka Server started")]
    }

    fn expose_ports(&self) -> &[ContainerPort] {
        &self.port
    }

    fn env_vars(&self) -> impl IntoIterator<Item = (impl Into<Cow<'_, str>>, impl Into<Cow<'_, str>>)> {
        let [port] = self.port;
        let fixed = SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let listeners = format!("PLAINTEXT://:{},CONTROLLER://:19999", port.as_u16());
        fixed.chain([
            ("KAFKA_LISTENERS".to_owned(), listeners),
            ("KAFKA_ADVERTISED_LISTENERS".to_owned(), format!("PLAINTEXT://{}", self.advertised)),
        ])
    }
}

/// Where mapped ports are found: this machine, or the one that `DOCKER_HOST` names.
fn docker_host() -> String {
    let remote = env("DOCKER_HOST").and_then(|url| {
        let host = url.strip_prefix("tcp://")?.split([':', '/']).next()?.to_owned();
        Some(host)
    });
    remote.unwrap_or_else(|| "127.0.0.1".to_owned())
}

const SETTINGS: [(&str, &str); 12] = [
    ("KAFKA_NODE_ID", "1"),
    ("KAFKA_PROCESS_ROLES", "broker,controller"),
    ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:19999"),
    ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
    ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
    ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
    // Without these two, transactions on one node time out.
    ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
    ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
    ("KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR", "1"),
    ("KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR", "1"),
    ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
    ("KAFKA_NUM_PARTITIONS", "4"),
];
