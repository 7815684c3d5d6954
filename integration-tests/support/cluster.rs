//! A cluster of our own, from jars: one process a node, broker and controller in one (KRaft).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::jars::Jars;
use super::tls::{self, Certificates};
use super::{free_ports, unique};

/// What a cluster shall be.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// How many nodes; 0 counts as 1.
    pub nodes: usize,
    /// More broker properties, a line each.
    pub properties: Vec<String>,
    /// Users (name, password) of a SASL_PLAINTEXT listener with PLAIN. With any, an authorizer refuses everything that
    /// no ACL allows; the plaintext listener is the super user's.
    pub users: Vec<(String, String)>,
    /// Whether there is a TLS listener too.
    pub tls: bool,
}

/// Running nodes. Dropping it kills them and removes their data.
#[derive(Debug)]
pub struct Cluster {
    jars: Jars,
    nodes: Vec<Node>,
    certificates: Option<Certificates>,
    directory: tempfile::TempDir,
}

#[derive(Debug)]
struct Node {
    directory: PathBuf,
    port: u16,
    controller: u16,
    sasl: u16,
    tls: u16,
    running: Option<Running>,
}

/// A broker and the shell that watches it: when our end of its input closes (we end, however), it kills the broker.
#[derive(Debug)]
struct Running {
    shell: Child,
    input: Option<ChildStdin>,
}

impl Cluster {
    /// Formats, starts and waits until every node serves (2–6 s, measured).
    pub async fn start(jars: &Jars, options: &ClusterOptions) -> Result<Self, String> {
        let directory =
            tempfile::Builder::new().prefix("lagvalve-kafka-").tempdir().map_err(|error| error.to_string())?;
        let count = options.nodes.max(1);
        let ports = free_ports(count * 4);
        let node = |(number, ports): (usize, &[u16])| {
            let directory = directory.path().join(format!("node-{}", number + 1));
            Node { directory, port: ports[0], controller: ports[1], sasl: ports[2], tls: ports[3], running: None }
        };
        let nodes = ports.chunks(4).enumerate().map(node).collect();
        let certificates = if options.tls { Some(tls::make(&directory.path().join("tls"))?) } else { None };
        let mut cluster = Self { jars: jars.clone(), nodes, certificates, directory };
        cluster.format(options)?;
        for number in 0..count {
            cluster.spawn(number)?;
        }
        for number in 0..count {
            cluster.ready(number).await?;
        }
        Ok(cluster)
    }

    /// Addresses of the plaintext listeners.
    pub fn bootstrap(&self) -> String {
        self.addresses(|node| node.port)
    }

    /// Addresses of the SASL listeners.
    pub fn sasl_bootstrap(&self) -> String {
        self.addresses(|node| node.sasl)
    }

    /// Addresses of the TLS listeners.
    pub fn tls_bootstrap(&self) -> String {
        self.addresses(|node| node.tls)
    }

    /// Certificates of the TLS listeners.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// The command line of the same version.
    pub fn jars(&self) -> &Jars {
        &self.jars
    }

    /// The broker id of node `number`, counted from 0.
    pub fn broker_id(number: usize) -> i32 {
        number as i32 + 1
    }

    /// Kills node `number` as a power failure does.
    pub fn kill_node(&mut self, number: usize) {
        self.nodes[number].running = None;
    }

    /// Asks node `number` to stop and waits until it has: leaders move before it goes.
    pub async fn stop_node(&mut self, number: usize) -> Result<(), String> {
        let Some(mut running) = self.nodes[number].running.take() else { return Ok(()) };
        let pid = fs::read_to_string(self.nodes[number].directory.join("pid")).map_err(|error| error.to_string())?;
        let _ = Command::new("kill").args(["-TERM", pid.trim()]).status();
        let deadline = Instant::now() + STOP_PATIENCE;
        while running.shell.try_wait().map_err(|error| error.to_string())?.is_none() {
            if Instant::now() > deadline {
                return Err(format!("node {} did not stop in {STOP_PATIENCE:?}", number + 1));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Starts node `number` again and waits until it serves.
    pub async fn restart_node(&mut self, number: usize) -> Result<(), String> {
        self.nodes[number].running = None;
        self.spawn(number)?;
        self.ready(number).await
    }

    fn addresses(&self, port: impl Fn(&Node) -> u16) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", port(node))).collect::<Vec<_>>().join(",")
    }

    fn format(&self, options: &ClusterOptions) -> Result<(), String> {
        let cluster_id = cluster_id();
        let mut formatting = Vec::new();
        for number in 0..self.nodes.len() {
            let directory = &self.nodes[number].directory;
            fs::create_dir_all(directory).map_err(|error| error.to_string())?;
            let properties = directory.join("server.properties");
            fs::write(&properties, self.properties(number, options)).map_err(|error| error.to_string())?;
            let mut command = self.jars.tool("kafka.tools.StorageTool", ["format", "-t", &cluster_id, "-c"]);
            let log = File::create(directory.join("format.log")).map_err(|error| error.to_string())?;
            command.arg(&properties).stdin(Stdio::null()).stderr(Stdio::null()).stdout(log);
            formatting.push(command.spawn().map_err(|error| format!("java: {error}"))?);
        }
        for (mut child, node) in formatting.into_iter().zip(&self.nodes) {
            if !child.wait().map_err(|error| error.to_string())?.success() {
                let said = fs::read_to_string(node.directory.join("format.log")).unwrap_or_default();
                return Err(format!("the storage of {} could not be formatted: {said}", node.directory.display()));
            }
        }
        Ok(())
    }

    fn properties(&self, number: usize, options: &ClusterOptions) -> String {
        let node = &self.nodes[number];
        let replicas = self.nodes.len().min(3);
        let in_sync = if replicas == 3 { 2 } else { 1 };
        let voter = |(number, node): (usize, &Node)| format!("{}@127.0.0.1:{}", number + 1, node.controller);
        let voters = self.nodes.iter().enumerate().map(voter).collect::<Vec<_>>().join(",");
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{}", node.port);
        let mut more = String::new();
        if !options.users.is_empty() {
            let _ = write!(listeners, ",SASL_PLAINTEXT://127.0.0.1:{}", node.sasl);
            let users: String =
                options.users.iter().map(|(name, password)| format!(" user_{name}=\"{password}\"")).collect();
            let _ = write!(more, "{SASL}{users};\n{AUTHORIZER}");
        }
        if let Some(certificates) = &self.certificates {
            let _ = write!(listeners, ",SSL://127.0.0.1:{}", node.tls);
            let pem = |kind: &str, file: &Path| {
                let prefix = format!("listener.name.ssl.ssl.{kind}");
                format!("{prefix}.type=PEM\n{prefix}.location={}\n", file.display())
            };
            more += &(pem("keystore", &certificates.server) + &pem("truststore", &certificates.ca));
        }
        for line in &options.properties {
            more += &format!("{line}\n");
        }
        if !self.jars.at_least(4, 0) {
            more += "group.coordinator.rebalance.protocols=classic,consumer\n";
        }
        format!(
            "process.roles=broker,controller\nnode.id={id}\ncontroller.quorum.voters={voters}\n\
             controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
             listeners={listeners},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={listeners}\n\
             listener.security.protocol.map={PROTOCOLS}\nlog.dirs={data}\n\
             default.replication.factor={replicas}\nmin.insync.replicas={in_sync}\n\
             offsets.topic.replication.factor={replicas}\ntransaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr={in_sync}\nshare.coordinator.state.topic.replication.factor={replicas}\n\
             share.coordinator.state.topic.min.isr={in_sync}\n{SMALL}{more}",
            id = Self::broker_id(number),
            controller = node.controller,
            data = node.directory.join("data").display(),
        )
    }

    fn spawn(&mut self, number: usize) -> Result<(), String> {
        let node = &mut self.nodes[number];
        let log = File::create(node.directory.join("log")).map_err(|error| error.to_string())?;
        let broker = self.jars.broker(&node.directory.join("server.properties"));
        let mut shell = Command::new("sh")
            .args(["-c", WATCH])
            .arg(node.directory.join("pid"))
            .arg(broker.get_program())
            .args(broker.get_args())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("sh: {error}"))?;
        let input = shell.stdin.take();
        node.running = Some(Running { shell, input });
        Ok(())
    }

    async fn ready(&mut self, number: usize) -> Result<(), String> {
        let node = &mut self.nodes[number];
        let log = node.directory.join("log");
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.contains("Kafka Server started") && TcpStream::connect(("127.0.0.1", node.port)).is_ok() {
                return Ok(());
            }
            let ended = node.running.as_mut().is_none_or(|running| !matches!(running.shell.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                let wrong =
                    |line: &&str| ["ERROR", "FATAL", "Caused by", "Exception"].iter().any(|word| line.contains(word));
                let lines: Vec<&str> = said.lines().filter(wrong).take(5).collect();
                let what = if ended { "ended" } else { "did not start in time" };
                return Err(format!("Kafka node {} {what}: {}", number + 1, lines.join(" | ")));
            }
            sleep(POLL).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.shell.wait();
    }
}

/// Sixteen bytes in base64 without padding that do not begin with a dash; another one for each cluster.
fn cluster_id() -> String {
    let digits: String = unique().chars().filter(char::is_ascii_digit).collect();
    format!("lagvalve{digits:A>13.13}A")
}

/// `$0`: file for the broker's pid; the rest: the broker. Kills the broker when standard input ends, and ends with it.
const WATCH: &str = r#"exec 3<&0; "$@" </dev/null & broker=$!; echo $broker > "$0"
{ read -r _ <&3; kill -9 $broker; } 2>/dev/null & reader=$!
wait $broker; code=$?; kill $reader 2>/dev/null; exit $code"#;
const PROTOCOLS: &str = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL";
const SASL: &str = "listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN\n\
    listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required";
const AUTHORIZER: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
    allow.everyone.if.no.acl.found=false\nsuper.users=User:ANONYMOUS\n";
/// Small and quick: a test cluster's topics are small, and nobody waits for late members.
const SMALL: &str = "num.partitions=4\nauto.create.topics.enable=true\noffsets.topic.num.partitions=5\n\
    transaction.state.log.num.partitions=3\nshare.coordinator.state.topic.num.partitions=3\n\
    group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=1000\n\
    group.consumer.min.session.timeout.ms=1000\nnum.network.threads=2\nnum.io.threads=4\n\
    log.cleaner.dedupe.buffer.size=8388608\nlog.index.size.max.bytes=1048576\n\
    broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n";
const POLL: Duration = Duration::from_millis(50);
const START_PATIENCE: Duration = Duration::from_secs(90);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
