//! The Kafka client that writes: its settings, and what its thread reports.

use std::sync::{Arc, Mutex, PoisonError};

use lagvalve::producer::Valve;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::acks::Acks;
use super::args::Target;
use super::records::Record;
use crate::cli::exit::Failure;

/// Writes records of one topic; each is known by the number of its line.
pub(super) struct Client {
    producer: ThreadedProducer<Reports>,
    trouble: Arc<Trouble>,
    topic: String,
}

impl Client {
    /// Makes the client; connects in the background.
    ///
    /// # Errors
    /// When librdkafka does not take the settings.
    pub(super) fn new(target: &Target, acks: Arc<Acks>, valve: Valve) -> Result<Self, Failure> {
        let trouble = Arc::new(Trouble::default());
        let reports = Reports { acks, valve, trouble: Arc::clone(&trouble) };
        let producer = config(target)
            .create_with_context(reports)
            .map_err(|error| Failure::usage(format!("the client refuses its settings (-X): {error}")))?;
        Ok(Self { producer, trouble, topic: target.topic.clone() })
    }

    /// Hands one record over. The report comes to [`Acks`] by `line`.
    ///
    /// # Errors
    /// When the client does not take it: its queue is full, or the record cannot be sent.
    pub(super) fn send(&self, line: u64, record: &Record<'_>) -> Result<(), RDKafkaErrorCode> {
        let opaque = usize::try_from(line).expect("this program runs on 64 bits");
        let base = BaseRecord::<[u8], [u8], usize> {
            topic: &self.topic,
            partition: record.partition,
            payload: record.value.as_deref(),
            key: record.key.as_deref(),
            timestamp: record.timestamp,
            headers: headers(record),
            delivery_opaque: opaque,
        };
        self.producer.send(base).map_err(|(error, _)| match error {
            KafkaError::MessageProduction(code) => code,
            _ => RDKafkaErrorCode::Fail,
        })
    }

    /// What is behind `code`: after a fatal error the client withdraws everything, and each record only says so.
    pub(super) fn cause_of(&self, code: RDKafkaErrorCode) -> RDKafkaErrorCode {
        use RDKafkaErrorCode::{Fatal, PurgeInflight, PurgeQueue};
        match self.producer.client().fatal_error() {
            Some((fatal, _)) if matches!(code, Fatal | PurgeInflight | PurgeQueue) => fatal,
            _ => code,
        }
    }

    /// Takes back what has not been sent. What is on the wire stays in doubt.
    pub(super) fn withdraw_unsent(&self) {
        self.producer.purge(PurgeConfig::default().queue());
    }

    /// What the client complained of last, until something is delivered again.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }
}

/// What the client said last of its connections.
#[derive(Debug, Default)]
struct Trouble(Mutex<Option<String>>);

impl Trouble {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reports {
    acks: Arc<Acks>,
    valve: Valve,
    trouble: Arc<Trouble>,
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, line: usize) {
        match result {
            Ok(_) => {
                self.valve.report_sent(1);
                if self.acks.delivered(line as u64) {
                    *self.trouble.lock() = None;
                }
            }
            Err((error, _)) => {
                self.acks.failed(line as u64, error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
            }
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.acks.expect_recovery();
            *self.trouble.lock() = Some("no broker answers; waiting for one".to_owned());
        }
    }
}

/// The target's own settings over ours.
fn config(target: &Target) -> ClientConfig {
    let mut config = target.connection.client_config();
    let given = |keys: &[&str]| keys.iter().any(|key| target.connection.properties.contains_key(*key));
    let mut default = |keys: &[&str], value: &str| {
        if !given(keys) {
            config.set(keys[0], value);
        }
    };
    default(&["enable.idempotence"], if target.idempotent { "true" } else { "false" });
    default(&["delivery.timeout.ms", "message.timeout.ms"], DELIVERY_TIMEOUT_MS);
    default(&["queue.buffering.max.kbytes"], QUEUE_KBYTES);
    default(&["client.id"], "lagvalve-produce");
    config
}

fn headers(record: &Record<'_>) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(record.headers.len());
    let with = |headers: OwnedHeaders, (name, value): &(String, Option<Vec<u8>>)| {
        headers.insert(Header { key: name, value: value.as_ref() })
    };
    Some(record.headers.iter().fold(empty, with))
}

/// Ten minutes: the restart of a broker, or of a whole cluster, changes nothing but the time it takes.
const DELIVERY_TIMEOUT_MS: &str = "600000";
/// 128 MiB instead of librdkafka's 1 GiB: with records of 1 KiB still its 100,000 messages.
const QUEUE_KBYTES: &str = "131072";
