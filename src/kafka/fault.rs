//! What the client says → what kind of trouble it is, in a sentence that names the thing and the remedy.

use std::fmt;

use krafka::error::{ErrorCode, KrafkaError};

use crate::id::{GroupId, Topic};
use crate::lag::{ReadError, ReadFault};

/// What could not be read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    Group(&'a GroupId),
    Topic(&'a Topic),
    Partition(&'a Topic, i32),
    Cluster,
}

/// The kind of trouble `error` is for `subject`, in words.
pub(super) fn translate(subject: Subject<'_>, error: &KrafkaError) -> ReadError {
    let (fault, words) = match error {
        KrafkaError::Broker { code, message } => broker(subject, *code, message),
        KrafkaError::UnknownTopic { .. } => (ReadFault::TopicMissing, TOPIC_MISSING.to_owned()),
        KrafkaError::Auth { message, .. } => (ReadFault::Unauthorized, authentication(message)),
        KrafkaError::Network(_) | KrafkaError::Timeout { .. } | KrafkaError::Protocol { .. } => {
            let text = error.to_string();
            (ReadFault::Unavailable, transport(&text).map_or_else(|| short(&text), str::to_owned))
        }
        other => (ReadFault::Other, other.to_string()),
    };
    ReadError { fault, detail: format!("{subject}: {words}") }
}

/// An answer of a broker.
fn broker(subject: Subject<'_>, code: ErrorCode, message: &str) -> (ReadFault, String) {
    use ErrorCode as E;
    let fixed = |fault, words: &str| (fault, words.to_owned());
    match code {
        E::GroupIdNotFound => fixed(ReadFault::GroupMissing, "does not exist; start its consumers, or check the name"),
        E::UnknownTopicOrPartition | E::UnknownTopicId => fixed(ReadFault::TopicMissing, TOPIC_MISSING),
        E::InvalidTopic => fixed(ReadFault::TopicMissing, "is not a legal topic name"),
        E::InvalidGroupId => fixed(ReadFault::GroupMissing, "is not a legal group name"),
        E::GroupAuthorizationFailed | E::TopicAuthorizationFailed | E::ClusterAuthorizationFailed => {
            (ReadFault::Unauthorized, missing_acl(subject, code))
        }
        E::SaslAuthenticationFailed => (ReadFault::Unauthorized, authentication(message)),
        E::IllegalSaslState => fixed(ReadFault::Unauthorized, NO_SASL),
        E::UnsupportedSaslMechanism => fixed(
            ReadFault::Unauthorized,
            "the broker does not offer this sasl.mechanism; ask which ones it has enabled",
        ),
        E::CoordinatorLoadInProgress | E::CoordinatorNotAvailable | E::NotCoordinator => {
            fixed(ReadFault::Unavailable, "its coordinator is starting or moving; trying again helps")
        }
        E::LeaderNotAvailable | E::NotLeaderForPartition | E::FencedLeaderEpoch | E::UnknownLeaderEpoch => {
            fixed(ReadFault::Unavailable, "has no leader at the moment, or it is moving; trying again helps")
        }
        E::OffsetNotAvailable => {
            fixed(ReadFault::Unavailable, "its new leader does not know the log end yet; trying again helps")
        }
        E::UnsupportedVersion => {
            fixed(ReadFault::Other, "the broker is too old for this request; Kafka 3.9 is the oldest")
        }
        code if code.is_retriable() => {
            (ReadFault::Unavailable, format!("the broker answered {code:?}; trying again helps"))
        }
        code => (ReadFault::Other, format!("the broker answered {code:?} ({message})")),
    }
}

/// Which ACL is missing, and the option of `kafka-acls.sh` that grants it.
fn missing_acl(subject: Subject<'_>, code: ErrorCode) -> String {
    match (code, subject) {
        (ErrorCode::GroupAuthorizationFailed, Subject::Group(group)) => {
            format!(
                "not authorised to describe it; grant DESCRIBE on GROUP {group} (--operation Describe --group {group})"
            )
        }
        (ErrorCode::TopicAuthorizationFailed, Subject::Topic(topic) | Subject::Partition(topic, _)) => {
            format!(
                "not authorised to describe it; grant DESCRIBE on TOPIC {topic} (--operation Describe --topic {topic})"
            )
        }
        (ErrorCode::TopicAuthorizationFailed, Subject::Group(_)) => {
            "not authorised to describe a topic it reads; grant DESCRIBE on that TOPIC".to_owned()
        }
        _ => "not authorised; grant DESCRIBE on CLUSTER (--operation Describe --cluster)".to_owned(),
    }
}

/// Failures of the connection that have one well-known cause.
fn transport(text: &str) -> Option<&'static str> {
    let has = |part: &str| text.contains(part);
    if said_size(text).is_some_and(|size| matches!(size >> 16, 0x1503 | 0x1603)) {
        return Some(TLS_EXPECTED); // the header of a TLS record, read as a length
    }
    if has("InvalidContentType") || has("corrupt message") || has("wrong version number") {
        return Some(PLAINTEXT_EXPECTED);
    }
    if has("sent and unanswered") {
        return Some("the broker was asked and did not answer in time; it is slow, or gone");
    }
    if has("Connection refused") {
        return Some("connection refused: no broker listens there, or it is still starting");
    }
    if has("failed to lookup address") || has("Name or service not known") || has("No address associated") {
        return Some("the host name is not known here; check it, or the broker's advertised.listeners");
    }
    if has("UnexpectedEof") || has("closed the connection") || has("Connection reset") || has("connection closed") {
        return Some(
            "the broker closed the connection; it is stopping, or this listener wants SASL (security.protocol)",
        );
    }
    None
}

/// The number after "message size".
fn said_size(text: &str) -> Option<u32> {
    let rest = text.split_once("message size ")?.1;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Refused credentials or certificates.
fn authentication(message: &str) -> String {
    let has = |part: &str| message.contains(part);
    if has("UnknownIssuer") || has("self-signed") || has("self signed") {
        return format!(
            "the broker's certificate is not signed by a known CA; set ssl.ca.location ({})",
            short(message)
        );
    }
    if has("NotValidForName") {
        return format!("the broker's certificate is for another host name; connect by that name ({})", short(message));
    }
    if has("CertificateRequired") || has("HandshakeFailure") || has("BadCertificate") {
        let remedy = "set ssl.certificate.location and ssl.key.location";
        return format!("the broker wants a client certificate that it trusts; {remedy} ({})", short(message));
    }
    if has("InvalidContentType") || has("corrupt message") {
        return PLAINTEXT_EXPECTED.to_owned();
    }
    if has("IllegalSaslState") {
        return NO_SASL.to_owned();
    }
    if has("UnsupportedSaslMechanism") {
        return format!("the broker does not offer this sasl.mechanism ({})", short(message));
    }
    format!("authentication failed; check sasl.username, sasl.password and sasl.mechanism ({})", short(message))
}

/// The first 300 characters: errors of errors of errors are not sentences.
fn short(text: &str) -> String {
    let mut cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(group) => write!(f, "group {group}"),
            Self::Topic(topic) => write!(f, "topic {topic}"),
            Self::Partition(topic, partition) => write!(f, "{topic}[{partition}]"),
            Self::Cluster => f.write_str("cluster"),
        }
    }
}

pub(super) const TLS_EXPECTED: &str =
    "the port speaks TLS and was spoken to in plaintext; set security.protocol to SSL or SASL_SSL";
pub(super) const PLAINTEXT_EXPECTED: &str =
    "the port speaks plaintext and was spoken to in TLS; set security.protocol to PLAINTEXT or SASL_PLAINTEXT";
const NO_SASL: &str =
    "this listener takes no SASL; set security.protocol to PLAINTEXT or SSL, or use the SASL listener's port";
const TOPIC_MISSING: &str = "does not exist; create it, or check the name";
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broker_code_names_the_thing_and_the_remedy() {
        use ReadFault as F;
        let (group, topic) = (GroupId::new("billing"), Topic::new("orders"));
        let (g, t, p) = (Subject::Group(&group), Subject::Topic(&topic), Subject::Partition(&topic, 3));
        let table = [
            (g, ErrorCode::GroupIdNotFound, F::GroupMissing, "group billing: does not exist"),
            (g, ErrorCode::GroupAuthorizationFailed, F::Unauthorized, "grant DESCRIBE on GROUP billing"),
            (g, ErrorCode::TopicAuthorizationFailed, F::Unauthorized, "grant DESCRIBE on that TOPIC"),
            (g, ErrorCode::CoordinatorLoadInProgress, F::Unavailable, "group billing: its coordinator"),
            (g, ErrorCode::NotCoordinator, F::Unavailable, "its coordinator"),
            (t, ErrorCode::UnknownTopicOrPartition, F::TopicMissing, "topic orders: does not exist; create it"),
            (t, ErrorCode::TopicAuthorizationFailed, F::Unauthorized, "grant DESCRIBE on TOPIC orders"),
            (p, ErrorCode::TopicAuthorizationFailed, F::Unauthorized, "grant DESCRIBE on TOPIC orders"),
            (p, ErrorCode::NotLeaderForPartition, F::Unavailable, "orders[3]: has no leader"),
            (p, ErrorCode::OffsetNotAvailable, F::Unavailable, "orders[3]: its new leader"),
            (p, ErrorCode::KafkaStorageException, F::Unavailable, "trying again"),
            (Subject::Cluster, ErrorCode::ClusterAuthorizationFailed, F::Unauthorized, "DESCRIBE on CLUSTER"),
            (Subject::Cluster, ErrorCode::SaslAuthenticationFailed, F::Unauthorized, "sasl.password"),
            (Subject::Cluster, ErrorCode::IllegalSaslState, F::Unauthorized, "takes no SASL"),
            (g, ErrorCode::PolicyViolation, F::Other, "PolicyViolation"),
        ];
        for (subject, code, fault, words) in table {
            let read = translate(subject, &KrafkaError::broker(code, "said the broker"));
            assert_eq!(read.fault, fault, "{code:?}");
            assert!(read.detail.contains(words), "{}", read.detail);
        }
    }

    #[test]
    fn failures_of_the_connection_are_said_in_words() {
        let table = [
            ("message size 352518912 exceeds maximum 104857600", TLS_EXPECTED),
            ("message size 369296128 exceeds maximum 104857600", TLS_EXPECTED),
            ("received corrupt message of type InvalidContentType", PLAINTEXT_EXPECTED),
            ("Connection refused (os error 111)", "no broker listens there"),
            ("failed to lookup address information", "host name is not known"),
            ("something else", "something else"),
        ];
        for (text, words) in table {
            let read = translate(Subject::Cluster, &KrafkaError::network(std::io::Error::other(text)));
            assert_eq!(read.fault, ReadFault::Unavailable);
            assert!(read.detail.contains(words), "{}", read.detail);
        }
        let auth = [
            ("invalid peer certificate: UnknownIssuer", "ssl.ca.location"),
            ("invalid peer certificate: certificate not valid for name \"x\"; NotValidForName", "another host name"),
            ("received fatal alert: CertificateRequired", "ssl.certificate.location"),
            ("SASL handshake failed: IllegalSaslState. Broker supports: []", "takes no SASL"),
            ("Authentication failed: Invalid username or password", "sasl.password"),
        ];
        for (text, words) in auth {
            let read = translate(Subject::Cluster, &KrafkaError::auth(text));
            assert_eq!(read.fault, ReadFault::Unauthorized);
            assert!(read.detail.contains(words), "{}", read.detail);
        }
    }

    #[test]
    fn long_errors_are_cut_at_characters() {
        let long = "ä".repeat(400);
        assert_eq!(short(&long).chars().count(), LONGEST + 1);
        assert_eq!(short("kurz"), "kurz");
    }
}
