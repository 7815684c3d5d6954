//! rdkafka's `FutureProducer` behind a valve.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::KafkaError;
use rdkafka::message::ToBytes;
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{FutureRecord, Producer, PurgeConfig, ThreadedProducer};

use super::admission::{Admission, Refusal, is_queue_full};
use super::delivery::{DeliveryFuture, ReportContext, Shared};
use super::queue::Queue;
use super::record::{to_message, weight};
use super::sink::ThrottledSink;
use super::valve::{Throttled, Valve};
use crate::control::BoundBy;
use crate::units::RateLimit;

/// A producer that waits for its valve: rdkafka's `FutureProducer` in all else. Cheap to clone.
///
/// * **Nothing is dropped, nothing is buffered without bound.** While the valve limits, at most
///   max(1,000, one second of the rate) records are on the way; while it is open, nine tenths of librdkafka's
///   `queue.buffering.max.messages` and `…kbytes`. Who comes later waits, first come, first served.
/// * **Throttled is not failed.** A record enters librdkafka only when it is admitted, so time spent waiting never counts
///   against `delivery.timeout.ms`; [`state`](Self::state) says `Throttled` meanwhile, for watchdogs.
/// * **Order.** Records that one task sends one after another ([`enqueue`](Self::enqueue), [`try_send`](Self::try_send),
///   a sink, or `send` awaited in turn) enter librdkafka in that order, and with idempotence they stay in order within
///   a partition, retries included. Between tasks no order is promised.
/// * **`enable.idempotence` is on** unless the configuration sets it, or sets what does not go with it (`acks` other than
///   all, no retries, more than 5 requests in flight, `queuing.strategy=lifo`). All other defaults are librdkafka's.
/// * **Close it** with [`close`](Self::close). When the last clone is dropped without, records still on the way are
///   withdrawn: their futures say so, and their number is logged as a warning.
///
/// It needs a tokio runtime with time enabled.
pub struct ThrottledProducer<C: ClientContext + 'static = DefaultClientContext> {
    inner: Arc<Inner<C>>,
}

/// A record that was not taken at once. It always comes back.
#[derive(thiserror::Error)]
pub enum TrySendError<R> {
    /// The valve's rate is used up, or others wait for it.
    #[error("throttled, try again in {} ms: {}", retry_after.as_millis(), reason.sentence())]
    Throttled {
        /// The record.
        record: R,
        /// When it is worth trying again.
        retry_after: Duration,
        /// What rules the rate.
        reason: BoundBy,
    },
    /// As many records, or bytes, as may be are on the way: wait for a delivery.
    #[error(
        "the queue is full: wait for a delivery, or raise queue.buffering.max.messages or queue.buffering.max.kbytes"
    )]
    QueueFull(R),
    /// It can never be sent like this (too large, no such topic or partition), or the producer is closed
    /// ([`KafkaError::Canceled`]).
    #[error("refused: {error}")]
    Refused {
        /// The record.
        record: R,
        /// Why.
        #[source]
        error: KafkaError,
    },
}

impl<R> TrySendError<R> {
    /// The record.
    pub fn into_record(self) -> R {
        match self {
            Self::Throttled { record, .. } | Self::QueueFull(record) | Self::Refused { record, .. } => record,
        }
    }
}

impl<R> fmt::Debug for TrySendError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled { retry_after, reason, .. } => f
                .debug_struct("Throttled")
                .field("retry_after", retry_after)
                .field("reason", reason)
                .finish_non_exhaustive(),
            Self::QueueFull(_) => f.write_str("QueueFull(..)"),
            Self::Refused { error, .. } => f.debug_struct("Refused").field("error", error).finish_non_exhaustive(),
        }
    }
}

/// How [`ThrottledProducer::close`] ended. The three add up to every record that ever entered librdkafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "undelivered records are reported here"]
pub struct Closed {
    /// Acknowledged by the brokers.
    pub delivered: u64,
    /// Given up by librdkafka (`delivery.timeout.ms`, errors); each one's future said so.
    pub failed: u64,
    /// Neither by the deadline, and withdrawn: each one's future says so. Those that were already on the wire may have been
    /// written all the same.
    pub undelivered: u64,
}

/// What a producer does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// Nobody waits.
    Flowing,
    /// Records wait for the valve: not a failure.
    Throttled,
    /// Records wait for deliveries: brokers are slow or away.
    QueueFull,
    /// It was closed.
    Closed,
}

/// A producer's state, for watchdogs and metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProducerState {
    /// What it does now.
    pub sending: Sending,
    /// What rules its valve.
    pub reason: BoundBy,
    /// The limit in force.
    pub limit: RateLimit,
    /// Records that wait for the valve.
    pub waiting_for_valve: usize,
    /// Records that wait for a slot.
    pub waiting_for_slot: usize,
    /// Records admitted and not yet reported on, those that wait for the valve included.
    pub on_the_way: u64,
    /// Their bytes: keys, values, headers.
    pub on_the_way_bytes: u64,
    /// Records acknowledged since the start.
    pub delivered: u64,
    /// Records given up by librdkafka since the start.
    pub failed: u64,
}

pub(super) struct Inner<C: ClientContext + 'static> {
    /// `None` only while it is dropped.
    producer: Option<ThreadedProducer<ReportContext<C>>>,
    pub(super) shared: Arc<Shared>,
}

impl ThrottledProducer {
    /// A producer with `config` behind `valve`.
    ///
    /// # Errors
    /// librdkafka's, when it refuses the configuration.
    pub fn new(config: &ClientConfig, valve: Valve) -> Result<Self, KafkaError> {
        Self::with_context(config, DefaultClientContext, valve)
    }
}

impl<C: ClientContext + 'static> ThrottledProducer<C> {
    /// Like [`ThrottledProducer::new`] with a context of the caller's own: OAuth tokens, statistics, logs.
    ///
    /// # Errors
    /// librdkafka's, when it refuses the configuration.
    pub fn with_context(config: &ClientConfig, context: C, valve: Valve) -> Result<Self, KafkaError> {
        let mut config = config.clone();
        if wants_idempotence(&config) {
            config.set("enable.idempotence", "true");
        }
        let queue = Arc::new(Queue::new(&config, valve.limiter().limit()));
        valve.attach(&queue);
        let shared = Arc::new(Shared::new(valve, queue));
        let context = ReportContext { user: context, shared: Arc::clone(&shared) };
        let producer = ThreadedProducer::from_config_and_context(&config, context)?;
        Ok(Self { inner: Arc::new(Inner { producer: Some(producer), shared }) })
    }

    /// Waits for the valve, then for the delivery report: where the record was written, or why not and the record.
    ///
    /// Dropping the future before the record entered librdkafka gives slot and permit back; after that the record is sent.
    ///
    /// # Errors
    /// As `FutureProducer::send`; [`KafkaError::Canceled`] when the producer was closed.
    pub async fn send<K, P>(&self, record: FutureRecord<'_, K, P>) -> OwnedDeliveryResult
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        match self.enqueue(record).await {
            Ok(delivery) => delivery.await,
            Err((error, record)) => Err((error, to_message(record))),
        }
    }

    /// Waits for the valve and a slot; returns when the record is in librdkafka. For high throughput: keep the futures,
    /// await them in bulk.
    ///
    /// Dropping the future before it is ready gives slot and permit back.
    ///
    /// # Errors
    /// With the record, when it can never be sent like this, or when the producer was closed ([`KafkaError::Canceled`]).
    pub async fn enqueue<'a, K, P>(
        &self,
        record: FutureRecord<'a, K, P>,
    ) -> Result<DeliveryFuture, (KafkaError, FutureRecord<'a, K, P>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let bytes = weight(&record);
        let Ok(admission) = Admission::wait(&*self.inner.shared, bytes, bytes).await else {
            return Err((KafkaError::Canceled, record));
        };
        match admission.produce(self.inner.producer(), record) {
            Ok(delivery) => Ok(delivery),
            Err((error, record, admission)) if is_queue_full(&error) => {
                admission.produce_when_free(self.inner.producer(), record).await
            }
            Err((error, record, _given_back)) => Err((error, record)),
        }
    }

    /// Sends at once or not at all. The record always comes back.
    ///
    /// # Errors
    /// [`TrySendError`]: throttled, queue full, or refused.
    #[expect(clippy::result_large_err, reason = "the record comes back, not a box of it: an allocation a refusal")]
    pub fn try_send<'a, K, P>(
        &self,
        record: FutureRecord<'a, K, P>,
    ) -> Result<DeliveryFuture, TrySendError<FutureRecord<'a, K, P>>>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let bytes = weight(&record);
        let admission = match Admission::try_now(&*self.inner.shared, bytes, bytes) {
            Ok(admission) => admission,
            Err(Refusal::Throttled(Throttled { retry_after, reason })) => {
                return Err(TrySendError::Throttled { record, retry_after, reason });
            }
            Err(Refusal::QueueFull) => return Err(TrySendError::QueueFull(record)),
            Err(Refusal::Closed) => return Err(TrySendError::Refused { record, error: KafkaError::Canceled }),
        };
        admission.produce(self.inner.producer(), record).map_err(|(error, record, _given_back)| {
            if is_queue_full(&error) {
                TrySendError::QueueFull(record)
            } else {
                TrySendError::Refused { record, error }
            }
        })
    }

    /// A sink of records: it is ready when the valve and the queue have room for one, so a stream is pulled as fast as
    /// the valve admits.
    pub fn sink(&self) -> ThrottledSink<C> {
        ThrottledSink::new(self.clone())
    }

    /// The valve.
    #[must_use]
    pub fn valve(&self) -> &Valve {
        &self.inner.shared.valve
    }

    /// What the producer does now.
    #[must_use]
    pub fn state(&self) -> ProducerState {
        let Shared { valve, queue, throttled, counts, .. } = &*self.inner.shared;
        let (waiting_for_valve, waiting_for_slot) = (throttled.load(Ordering::SeqCst), queue.waiting());
        let sending = if queue.is_closed() {
            Sending::Closed
        } else if waiting_for_valve > 0 {
            Sending::Throttled
        } else if waiting_for_slot > 0 {
            Sending::QueueFull
        } else {
            Sending::Flowing
        };
        let load = queue.load();
        ProducerState {
            sending,
            reason: valve.state().bound_by,
            limit: valve.limiter().limit(),
            waiting_for_valve,
            waiting_for_slot,
            on_the_way: load.messages,
            on_the_way_bytes: load.bytes,
            delivered: counts.delivered.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
        }
    }

    /// Refuses new records, for all clones, and gives back those that still wait for the valve or a slot; then waits
    /// until every record on the way is reported on, at most until `deadline` from now, and withdraws the rest.
    ///
    /// Returns as soon as nothing is on the way. `linger.ms` is not cut short. Called again, it says the same.
    pub async fn close(&self, deadline: Duration) -> Closed {
        let Shared { queue, counts, .. } = &*self.inner.shared;
        queue.close();
        if tokio::time::timeout(deadline, queue.idle()).await.is_err() {
            let inner = Arc::clone(&self.inner);
            // Purging may wait for broker threads.
            let purge = move || inner.producer().purge(PurgeConfig::default().queue().inflight());
            if tokio::task::spawn_blocking(purge).await.is_err() {
                tracing::warn!("records on the way could not be withdrawn");
            }
            let _ = tokio::time::timeout(PURGE_PATIENCE, queue.idle()).await;
        }
        Closed {
            undelivered: counts.withdrawn.load(Ordering::Relaxed) + queue.load().messages,
            failed: counts.failed.load(Ordering::Relaxed),
            delivered: counts.delivered.load(Ordering::Relaxed),
        }
    }

    pub(super) fn inner(&self) -> &Arc<Inner<C>> {
        &self.inner
    }
}

impl<C: ClientContext + 'static> Inner<C> {
    pub(super) fn producer(&self) -> &ThreadedProducer<ReportContext<C>> {
        self.producer.as_ref().expect("taken only by drop")
    }
}

impl<C: ClientContext + 'static> Drop for Inner<C> {
    fn drop(&mut self) {
        let on_the_way = self.shared.queue.load().messages;
        self.shared.queue.close();
        if on_the_way > 0 {
            tracing::warn!(
                valve = %self.shared.valve.name(),
                records = on_the_way,
                "a throttled producer was dropped without close(): records on the way are withdrawn"
            );
        }
        let producer = self.producer.take();
        // Stopping the polling thread and purging take up to 0.6 s: not on an async worker.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(producer))),
            Err(_) => drop(producer),
        }
    }
}

impl<C: ClientContext + 'static> Clone for ThrottledProducer<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<C: ClientContext + 'static> fmt::Debug for ThrottledProducer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottledProducer").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Whether idempotence is ours to choose, and goes with the rest.
fn wants_idempotence(config: &ClientConfig) -> bool {
    let is = |names: &[&str], fits: fn(&str) -> bool| {
        names.iter().filter_map(|name| config.get(name)).all(|value| fits(value.trim()))
    };
    let at_most_5 = |value: &str| value.parse().is_ok_and(|value: u32| value <= 5);
    config.get("enable.idempotence").is_none()
        && is(&["acks", "request.required.acks"], |value| matches!(value, "all" | "-1"))
        && is(&["retries", "message.send.max.retries"], |value| value != "0")
        && is(&["max.in.flight", "max.in.flight.requests.per.connection"], at_most_5)
        && is(&["queuing.strategy"], |value| value == "fifo")
}

/// Purged records are reported at once; rdkafka's own drop waits as long.
const PURGE_PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotence_is_on_unless_the_configuration_speaks_against_it() {
        let wants = |pairs: &[(&str, &str)]| {
            let mut config = ClientConfig::new();
            for (key, value) in pairs {
                config.set(*key, *value);
            }
            wants_idempotence(&config)
        };
        assert!(wants(&[]));
        assert!(wants(&[("acks", "all"), ("retries", "3"), ("max.in.flight", "5"), ("queuing.strategy", "fifo")]));
        for against in [
            ("enable.idempotence", "false"),
            ("enable.idempotence", "true"),
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("message.send.max.retries", "0"),
            ("max.in.flight.requests.per.connection", "100"),
            ("queuing.strategy", "lifo"),
        ] {
            assert!(!wants(&[against]), "{against:?}");
        }
    }
}
