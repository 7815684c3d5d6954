//! Connection settings, by librdkafka's names, for both client stacks: rdkafka (produce, consume) and krafka (observe).

use std::collections::BTreeMap;
use std::fmt;

use krafka::auth::{AuthConfig, TlsConfig};
use rdkafka::ClientConfig;

/// How to reach a cluster: addresses and librdkafka properties.
///
/// `Debug` hides the values of properties that hold secrets.
///
/// ```
/// use lagvalve::kafka::Connection;
/// let mut connection = Connection::new("kafka-1:9093, kafka-2:9093");
/// connection.set("security.protocol", "SASL_SSL").set("sasl.mechanism", "PLAIN");
/// connection.set("sasl.username", "billing").set("sasl.password", "s3cr3t");
/// assert_eq!(connection.bootstrap_servers, ["kafka-1:9093", "kafka-2:9093"]);
/// assert!(!format!("{connection:?}").contains("s3cr3t"));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// `host:port` of brokers to start from; any one that answers is enough.
    pub bootstrap_servers: Vec<String>,
    /// librdkafka properties. The ones about security and `client.id` are also used by the observer.
    pub properties: BTreeMap<String, String>,
}

/// A property that cannot be used, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// There is no `=` in it, or nothing before it.
    #[error("{given:?} is not a property: write key=value, for example security.protocol=SSL")]
    Syntax {
        /// What was written.
        given: String,
    },
    /// The value is not one of those that are possible.
    #[error("{key} = {value:?} is not possible: {allowed}")]
    Value {
        /// The property.
        key: String,
        /// Its value.
        value: String,
        /// What is possible.
        allowed: String,
    },
    /// Another property asks for this one.
    #[error("{key} is missing: {why}")]
    Missing {
        /// The property.
        key: String,
        /// Which other setting asks for it.
        why: String,
    },
    /// librdkafka does not take it.
    #[error("librdkafka refuses a property: {0}")]
    Refused(String),
}

impl Connection {
    /// A plaintext connection to `bootstrap_servers`: `host:port`, several separated by commas.
    #[must_use]
    pub fn new(bootstrap_servers: &str) -> Self {
        let bootstrap_servers =
            bootstrap_servers.split(',').map(str::trim).filter(|address| !address.is_empty()).map(String::from);
        Self { bootstrap_servers: bootstrap_servers.collect(), properties: BTreeMap::new() }
    }

    /// Sets one property, replacing an earlier value.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.properties.insert(key.into(), value.into());
        self
    }

    /// The addresses as one text, separated by commas.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.bootstrap_servers.join(",")
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        matches!(self.protocol(), Ok(Protocol { tls: true, .. }))
    }

    /// Whether the connection is authenticated by SASL.
    #[must_use]
    pub fn uses_sasl(&self) -> bool {
        matches!(self.protocol(), Ok(Protocol { sasl: true, .. }))
    }

    /// Checks everything that can be checked without a network: the observer's security settings, and that librdkafka
    /// knows every property and takes its value.
    ///
    /// # Errors
    /// [`PropertyError`] for the first property that cannot be used.
    pub fn check(&self) -> Result<(), PropertyError> {
        if self.bootstrap_servers.is_empty() {
            let why = "there is no address to connect to".to_owned();
            return Err(PropertyError::Missing { key: "bootstrap.servers".to_owned(), why });
        }
        self.auth()?;
        self.client_config().create_native_config().map(drop).map_err(|error| PropertyError::Refused(error.to_string()))
    }

    /// The configuration of a librdkafka client: every property as it is, plus the addresses.
    ///
    /// An OpenSSL that is compiled in does not know where this machine keeps its CA certificates, so a TLS connection
    /// that names none gets `ssl.ca.location=probe`.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        let names_ca = CA_PROPERTIES.iter().any(|key| self.properties.contains_key(*key));
        if cfg!(feature = "tls-vendored") && self.uses_tls() && !names_ca {
            config.set("ssl.ca.location", "probe");
        }
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
    }

    /// The client id of both stacks: `client.id`, else `lagvalve`.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.get("client.id").unwrap_or("lagvalve")
    }

    /// The same security settings for the observing client.
    pub(super) fn auth(&self) -> Result<AuthConfig, PropertyError> {
        let protocol = self.protocol()?;
        let auth = if protocol.sasl { self.sasl()? } else { AuthConfig::plaintext() };
        if protocol.tls { Ok(auth.with_tls(self.tls()?)) } else { Ok(auth) }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    fn require(&self, key: &str, why: &str) -> Result<&str, PropertyError> {
        let missing = || PropertyError::Missing { key: key.to_owned(), why: why.to_owned() };
        self.get(key).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    fn refuse(&self, key: &str, allowed: &str) -> PropertyError {
        let value = if is_secret(key) { HIDDEN } else { self.get(key).unwrap_or_default() };
        PropertyError::Value { key: key.to_owned(), value: value.to_owned(), allowed: allowed.to_owned() }
    }

    fn protocol(&self) -> Result<Protocol, PropertyError> {
        let (tls, sasl) = match self.get("security.protocol").map(str::to_ascii_uppercase).as_deref() {
            None | Some("PLAINTEXT") => (false, false),
            Some("SSL") => (true, false),
            Some("SASL_PLAINTEXT") => (false, true),
            Some("SASL_SSL") => (true, true),
            Some(_) => return Err(self.refuse("security.protocol", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")),
        };
        Ok(Protocol { tls, sasl })
    }

    fn sasl(&self) -> Result<AuthConfig, PropertyError> {
        let key = if self.get("sasl.mechanism").is_some() { "sasl.mechanism" } else { "sasl.mechanisms" };
        let mechanism = self.require(key, "security.protocol asks for SASL; PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")?;
        let make: fn(String, String) -> AuthConfig = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => AuthConfig::sasl_plain,
            "SCRAM-SHA-256" => AuthConfig::sasl_scram_sha256,
            "SCRAM-SHA-512" => AuthConfig::sasl_scram_sha512,
            _ => return Err(self.refuse(key, "the observer speaks PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512")),
        };
        let why = format!("{key}={mechanism} asks for it");
        let username = self.require("sasl.username", &why)?;
        let password = self.require("sasl.password", &why)?;
        Ok(make(username.to_owned(), password.to_owned()))
    }

    fn tls(&self) -> Result<TlsConfig, PropertyError> {
        let verify = match self.get("enable.ssl.certificate.verification") {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(self.refuse("enable.ssl.certificate.verification", "true or false")),
        };
        if !matches!(self.get("ssl.endpoint.identification.algorithm"), None | Some("https")) {
            let allowed = "the observer always compares host names; give the certificate the broker's name";
            return Err(self.refuse("ssl.endpoint.identification.algorithm", allowed));
        }
        if self.get("ssl.key.password").is_some() {
            let allowed = "the observer cannot open an encrypted key; decrypt it: openssl pkcs8 -in KEY -out KEY.plain";
            return Err(self.refuse("ssl.key.password", allowed));
        }
        let mut tls = if verify { TlsConfig::new() } else { TlsConfig::insecure() };
        if let Some(pem) = self.get("ssl.ca.pem") {
            tls = tls.with_ca_cert_pem(pem);
        } else if let Some(path) = self.get("ssl.ca.location").filter(|path| *path != "probe") {
            tls = tls.with_ca_cert(path);
        }
        if let Some(certificate) = self.get("ssl.certificate.pem") {
            let key = self.require("ssl.key.pem", "ssl.certificate.pem needs its key")?;
            return Ok(tls.with_client_cert_pem(certificate, key.as_bytes().to_vec()));
        }
        if let Some(certificate) = self.get("ssl.certificate.location") {
            let key = self.require("ssl.key.location", "ssl.certificate.location needs its key")?;
            tls = tls.with_client_cert(certificate, key);
        }
        Ok(tls)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: BTreeMap<&str, &str> = self
            .properties
            .iter()
            .map(|(key, value)| (key.as_str(), if is_secret(key) { HIDDEN } else { value.as_str() }))
            .collect();
        f.debug_struct("Connection")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("properties", &shown)
            .finish()
    }
}

/// Splits `key=value`, as `-X` takes it. Spaces around the key go, the value stays as it is.
///
/// # Errors
/// [`PropertyError::Syntax`] without a key or a `=`; [`PropertyError::Value`] for the addresses, which have a place of
/// their own.
pub fn parse_property(text: &str) -> Result<(String, String), PropertyError> {
    let Some((key, value)) =
        text.split_once('=').map(|(key, value)| (key.trim(), value)).filter(|(key, _)| !key.is_empty())
    else {
        // What stands before the first `=` may be shown; a value may be a secret.
        return Err(PropertyError::Syntax { given: text.split('=').next().unwrap_or_default().to_owned() });
    };
    if matches!(key, "bootstrap.servers" | "metadata.broker.list") {
        let allowed = "addresses are given with --bootstrap-servers".to_owned();
        return Err(PropertyError::Value { key: key.to_owned(), value: value.to_owned(), allowed });
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// What `security.protocol` says.
struct Protocol {
    tls: bool,
    sasl: bool,
}

fn is_secret(key: &str) -> bool {
    SECRET_PARTS.iter().any(|part| key.contains(part))
}

/// Parts of names of properties whose values are secrets; too many rather than too few.
const SECRET_PARTS: [&str; 7] =
    ["password", "secret", "token", "key.pem", "keytab", "sasl.oauthbearer.config", "sasl.jaas"];
const CA_PROPERTIES: [&str; 3] = ["ssl.ca.location", "ssl.ca.pem", "ssl.ca.certificate.stores"];
const HIDDEN: &str = "(hidden)";

#[cfg(test)]
mod tests {
    use super::*;

    fn with(properties: &[(&str, &str)]) -> Connection {
        let mut connection = Connection::new("a:1,b:2");
        for (key, value) in properties {
            connection.set(*key, *value);
        }
        connection
    }

    #[test]
    fn every_protocol_and_mechanism_reaches_the_observer() {
        let table: [(&[(&str, &str)], &str); 6] = [
            (&[], "PLAINTEXT"),
            (&[("security.protocol", "plaintext")], "PLAINTEXT"),
            (&[("security.protocol", "ssl"), ("ssl.ca.location", "/ca.pem")], "SSL"),
            (&[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")], "SASL_PLAINTEXT"),
            (&[("security.protocol", "sasl_ssl"), ("sasl.mechanisms", "scram-sha-512")], "SASL_SSL"),
            (&[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "SCRAM-SHA-256")], "SASL_SSL"),
        ];
        for (properties, protocol) in table {
            let mut connection = with(properties);
            connection.set("sasl.username", "u").set("sasl.password", "p");
            let auth = connection.auth().unwrap();
            assert_eq!(auth.security_protocol().to_string(), protocol, "{properties:?}");
            assert_eq!(auth.requires_tls(), connection.uses_tls());
            assert_eq!(auth.requires_sasl(), connection.uses_sasl());
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_remedy() {
        let table: [(&[(&str, &str)], &str); 8] = [
            (&[("security.protocol", "TLS")], "security.protocol = \"TLS\" is not possible: PLAINTEXT, SSL"),
            (&[("security.protocol", "SASL_SSL")], "sasl.mechanisms is missing: security.protocol asks for SASL"),
            (&[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "GSSAPI")], "the observer speaks PLAIN"),
            (&[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN")], "sasl.username is missing"),
            (&[("security.protocol", "SSL"), ("ssl.key.password", "hush")], "ssl.key.password = \"(hidden)\""),
            (&[("security.protocol", "SSL"), ("ssl.certificate.location", "c")], "ssl.key.location is missing"),
            (&[("security.protocol", "SSL"), ("ssl.endpoint.identification.algorithm", "none")], "host names"),
            (&[("no.such.property", "1")], "no.such.property"),
        ];
        for (properties, words) in table {
            let message = with(properties).check().unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        assert!(Connection::new(" , ").check().unwrap_err().to_string().contains("bootstrap.servers"));
    }

    #[test]
    fn librdkafka_gets_every_property_and_the_addresses() {
        let connection = with(&[("linger.ms", "50"), ("security.protocol", "SSL")]);
        connection.check().unwrap();
        let config = connection.client_config();
        assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
        assert_eq!(config.get("linger.ms"), Some("50"));
        assert_eq!(config.get("ssl.ca.location"), cfg!(feature = "tls-vendored").then_some("probe"));
        let config = with(&[("security.protocol", "SSL"), ("ssl.ca.location", "/ca.pem")]).client_config();
        assert_eq!(config.get("ssl.ca.location"), Some("/ca.pem"));
        assert_eq!(with(&[]).client_config().get("ssl.ca.location"), None);
    }

    #[test]
    fn secrets_are_not_printed() {
        let keys = ["sasl.password", "ssl.key.pem", "ssl.keystore.password", "sasl.oauthbearer.client.secret"];
        let connection = with(&keys.map(|key| (key, "hush")));
        let shown = format!("{connection:?}");
        assert!(!shown.contains("hush") && shown.contains("sasl.password"), "{shown}");
    }

    #[test]
    fn a_property_is_key_and_value() {
        assert_eq!(parse_property("acks=all").unwrap(), ("acks".to_owned(), "all".to_owned()));
        assert_eq!(parse_property("sasl.password= a=b ").unwrap().1, " a=b ");
        for bad in ["acks", "=all", " = all", ""] {
            assert!(parse_property(bad).unwrap_err().to_string().contains("key=value"), "{bad}");
        }
        assert!(parse_property("bootstrap.servers=x:1").unwrap_err().to_string().contains("--bootstrap-servers"));
    }
}
