//! `[clusters.NAME]`: addresses, TLS and SASL → librdkafka's property names, which both client stacks take.

use std::collections::BTreeMap;
use std::fmt;

use super::load::Surroundings;
use super::raw::Section;
use crate::id::ClusterName;
use crate::kafka::Connection;

/// One cluster.
#[derive(Clone, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// How to reach it; at least one address.
    pub connection: Connection,
    /// Properties of producers alone, by librdkafka's names; may hold secrets.
    pub producer: BTreeMap<String, String>,
}

impl Cluster {
    /// The connection of producers: the cluster's, and their own properties on top.
    #[must_use]
    pub fn producer_connection(&self) -> Connection {
        let mut connection = self.connection.clone();
        connection.properties.extend(self.producer.clone());
        connection
    }
}

/// Hides the values of the producers' properties.
impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.name)
            .field("connection", &self.connection)
            .field("producer", &self.producer.keys())
            .finish()
    }
}

/// Reads one `[clusters.NAME]`.
pub(super) fn read(name: &str, section: &Section<'_, '_>, surroundings: &Surroundings<'_>) -> Cluster {
    let bootstrap_servers = section.texts("bootstrap_servers").unwrap_or_else(|| {
        if !section.has("bootstrap_servers") {
            section.bad("bootstrap_servers", "is needed: a list of \"host:port\"");
        }
        Vec::new()
    });
    if section.has("bootstrap_servers") {
        check_addresses(section, &bootstrap_servers);
    }
    let mut properties = section.properties("properties");
    refuse_owned(section, "properties", &properties, &["bootstrap.servers", "metadata.broker.list"]);
    let producer = section.properties("producer");
    refuse_owned(section, "producer", &producer, &["bootstrap.servers", "metadata.broker.list"]);

    let tls = section.section("tls").map(|tls| read_tls(&tls, surroundings, &mut properties)).is_some();
    let sasl = section.section("sasl").map(|sasl| read_sasl(&sasl, surroundings, &mut properties));
    if tls || sasl.is_some() {
        let protocol = match (tls, sasl.is_some()) {
            (true, true) => "SASL_SSL",
            (true, false) => "SSL",
            (false, _) => "SASL_PLAINTEXT",
        };
        if properties.insert("security.protocol".to_owned(), protocol.to_owned()).is_some() {
            section.bad_secret("properties", "security.protocol follows from tls and sasl: leave it out here");
        }
    }
    if sasl == Some(true) && !tls {
        section.report().warn(format!("clusters.{name}: sasl PLAIN without tls sends the password in clear"));
    }
    section.finish();
    let connection = Connection { bootstrap_servers, properties };
    let cluster = Cluster { name: ClusterName::new(name), connection, producer };
    check_properties(section, &cluster);
    cluster
}

/// Asks both client stacks; only once the rest is right, so that nothing is told twice.
fn check_properties(section: &Section<'_, '_>, cluster: &Cluster) {
    if section.report().has_problems() {
        return;
    }
    if let Err(error) = cluster.connection.check() {
        section.bad_section(&error.to_string());
    } else if let Err(error) = cluster.producer_connection().check() {
        section.bad_secret("producer", &error.to_string());
    }
}

fn check_addresses(section: &Section<'_, '_>, addresses: &[String]) {
    if addresses.is_empty() {
        section.bad("bootstrap_servers", "needs at least one \"host:port\"");
    }
    for address in addresses {
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            section
                .bad("bootstrap_servers", &format!("\"{address}\" is not host:port, for example \"localhost:9092\""));
        }
    }
}

fn refuse_owned(section: &Section<'_, '_>, key: &str, found: &BTreeMap<String, String>, owned: &[&str]) {
    for name in owned.iter().filter(|name| found.contains_key(**name)) {
        section.bad_secret(key, &format!("{name} is set by bootstrap_servers: leave it out here"));
    }
}

fn read_tls(tls: &Section<'_, '_>, surroundings: &Surroundings<'_>, into: &mut BTreeMap<String, String>) {
    for (key, property) in
        [("ca_file", "ssl.ca.location"), ("cert_file", "ssl.certificate.location"), ("key_file", "ssl.key.location")]
    {
        let Some(file) = tls.text(key) else { continue };
        let path = surroundings.dir.join(&file);
        if let Err(error) = std::fs::File::open(&path) {
            tls.bad(key, &format!("cannot be read ({error})"));
        }
        into.insert(property.to_owned(), path.to_string_lossy().into_owned());
    }
    if tls.has("cert_file") != tls.has("key_file") {
        tls.bad_section("cert_file and key_file go together");
    }
    tls.finish();
}

/// Returns whether the password would travel as it is.
fn read_sasl(sasl: &Section<'_, '_>, surroundings: &Surroundings<'_>, into: &mut BTreeMap<String, String>) -> bool {
    let mechanism = sasl.choice("mechanism", MECHANISMS);
    if !sasl.has("mechanism") {
        sasl.bad("mechanism", "is needed: \"PLAIN\", \"SCRAM-SHA-256\" or \"SCRAM-SHA-512\"");
    }
    match sasl.text("username") {
        Some(username) => {
            into.insert("sasl.username".to_owned(), username);
        }
        None if sasl.has("username") => {}
        None => sasl.bad("username", "is needed"),
    }
    let password = surroundings.secret(sasl, "password_file", "password_env");
    if password.is_none() && !sasl.has("password_file") && !sasl.has("password_env") {
        sasl.bad_section("needs password_file or password_env");
    }
    if let Some(password) = password {
        into.insert("sasl.password".to_owned(), password);
    }
    if let Some(mechanism) = mechanism {
        into.insert("sasl.mechanism".to_owned(), mechanism.to_owned());
    }
    sasl.finish();
    mechanism == Some("PLAIN")
}

/// OAUTHBEARER is not among them: no token source is built in.
const MECHANISMS: &[(&str, &str)] =
    &[("PLAIN", "PLAIN"), ("SCRAM-SHA-256", "SCRAM-SHA-256"), ("SCRAM-SHA-512", "SCRAM-SHA-512")];
