//! The writers: governed ones behind the valve, and live traffic beside it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lagvalve::clock::{Clock, SystemClock};
use lagvalve::producer::{DeliveryFuture, ThrottledProducer, TrySendError, Valve};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, FutureRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::payload::Stamp;
use super::story::Demand;
use super::truth::{Lane, PARTITIONS, Truth};
use crate::cli::exit::Failure;

/// Governed writers; each has a client and a sequence of its own.
pub(super) const GOVERNED_WRITERS: u32 = 2;
/// The live writer's number.
pub(super) const LIVE_PRODUCER: u32 = GOVERNED_WRITERS;
/// The number of who writes the few records before the clock starts.
pub(super) const PRIMER_PRODUCER: u32 = GOVERNED_WRITERS + 1;

/// Writers at work, until they are told to stop.
pub(super) struct Writers {
    truth: Arc<Truth>,
    topic: Arc<str>,
    record_bytes: usize,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Issued>>,
}

/// How many sequence numbers a writer gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Issued {
    /// Which writer.
    pub(super) producer: u32,
    /// Its numbers are below this.
    pub(super) below: u64,
}

impl Writers {
    /// Nobody writes yet.
    pub(super) fn new(truth: Arc<Truth>, topic: &str, record_bytes: usize) -> Self {
        Self { truth, topic: topic.into(), record_bytes, stop: watch::Sender::new(false), tasks: Vec::new() }
    }

    /// Writes one record to every partition and waits for the broker's word, so that the group has something to commit.
    pub(super) async fn prime(&mut self, config: &ClientConfig) -> Result<(), Failure> {
        let writer = LiveWriter::new(config, Lane::Primer, PRIMER_PRODUCER, self)?;
        let task = tokio::spawn(writer.write_once());
        let issued = task.await.map_err(Failure::failed)?;
        let acknowledged = self.truth.lane(Lane::Primer).acknowledged.load(Ordering::SeqCst);
        if acknowledged < issued.below {
            return Err(Failure::unreachable(format!(
                "the first records were not acknowledged ({acknowledged} of {})",
                issued.below
            )));
        }
        self.tasks.push(tokio::spawn(async move { issued }));
        Ok(())
    }

    /// Live traffic, `per_second` records, never limited.
    pub(super) fn start_live(&mut self, config: &ClientConfig, per_second: f64) -> Result<(), Failure> {
        let writer = LiveWriter::new(config, Lane::Live, LIVE_PRODUCER, self)?;
        self.tasks.push(tokio::spawn(writer.write_at(per_second, self.stop.subscribe())));
        Ok(())
    }

    /// Governed writers that want `demand` together, behind `valve`.
    pub(super) fn start_governed(
        &mut self,
        config: &ClientConfig,
        valve: &Valve,
        demand: Demand,
    ) -> Result<(), Failure> {
        for index in 0..GOVERNED_WRITERS {
            let writer = GovernedWriter::new(config, valve, index, self)?;
            let stop = self.stop.subscribe();
            self.tasks.push(match demand {
                Demand::Rate(rate) => tokio::spawn(writer.offer_at(rate / f64::from(GOVERNED_WRITERS), stop)),
                Demand::Everything => tokio::spawn(writer.write_all(stop)),
            });
        }
        Ok(())
    }

    /// Stops all, waits for their deliveries, and says what they gave out.
    pub(super) async fn stop(&mut self) -> Result<Vec<Issued>, Failure> {
        self.stop.send_replace(true);
        let mut issued = Vec::new();
        for task in self.tasks.drain(..) {
            issued.push(task.await.map_err(|error| Failure::failed(format!("a writer ended badly: {error}")))?);
        }
        Ok(issued)
    }
}

/// A record's value, stamped anew for each record.
struct Value {
    producer: u32,
    next: u64,
    bytes: Vec<u8>,
}

impl Value {
    fn new(producer: u32, record_bytes: usize) -> Self {
        Self { producer, next: 0, bytes: vec![b'.'; record_bytes] }
    }

    fn stamp(&mut self) -> &[u8] {
        Stamp { producer: self.producer, sequence: self.next, sent_at: SystemClock.now() }.write(&mut self.bytes);
        &self.bytes
    }

    fn issued(&self) -> Issued {
        Issued { producer: self.producer, below: self.next }
    }
}

/// Behind the valve, with the library's own producer.
struct GovernedWriter {
    producer: ThrottledProducer,
    topic: Arc<str>,
    truth: Arc<Truth>,
    value: Value,
    deliveries: mpsc::UnboundedSender<(u64, DeliveryFuture)>,
    collector: JoinHandle<()>,
}

impl GovernedWriter {
    fn new(config: &ClientConfig, valve: &Valve, index: u32, writers: &Writers) -> Result<Self, Failure> {
        let producer = ThrottledProducer::new(&tuned(config, index), valve.clone()).map_err(cannot_produce)?;
        // Bounded by what the producer lets out at once.
        let (deliveries, reports) = mpsc::unbounded_channel();
        let collector = tokio::spawn(collect(Arc::clone(&writers.truth), index, reports));
        Ok(Self {
            producer,
            topic: Arc::clone(&writers.topic),
            truth: Arc::clone(&writers.truth),
            value: Value::new(index, writers.record_bytes),
            deliveries,
            collector,
        })
    }

    /// Offers `per_second` records; what is refused is dropped.
    async fn offer_at(mut self, per_second: f64, mut stop: watch::Receiver<bool>) -> Issued {
        let mut due = Due::new(per_second);
        while let Some(count) = due.next(&mut stop).await {
            let withheld = self.offer(count);
            let lane = self.truth.lane(Lane::Governed);
            lane.offered.fetch_add(count, Ordering::Relaxed);
            lane.withheld.fetch_add(withheld, Ordering::Relaxed);
        }
        self.finish().await
    }

    /// Offers `count` records at once and returns how many were refused.
    fn offer(&mut self, count: u64) -> u64 {
        for index in 0..count {
            let record = FutureRecord::<(), _>::to(&self.topic).payload(self.value.stamp());
            match self.producer.try_send(record) {
                Ok(delivery) => {
                    let _ = self.deliveries.send((self.value.next, delivery));
                    self.value.next += 1;
                    self.truth.lane(Lane::Governed).sent.fetch_add(1, Ordering::Relaxed);
                }
                // The rest of this moment would be refused as well.
                Err(TrySendError::Throttled { .. } | TrySendError::QueueFull(_)) => return count - index,
                Err(TrySendError::Refused { error, .. }) => {
                    tracing::warn!(%error, "the demo's producer refuses a record");
                    return count - index;
                }
            }
        }
        0
    }

    /// Writes without end, as fast as the valve allows.
    async fn write_all(mut self, mut stop: watch::Receiver<bool>) -> Issued {
        loop {
            let record = FutureRecord::<(), _>::to(&self.topic).payload(self.value.stamp());
            let enqueued = tokio::select! {
                enqueued = self.producer.enqueue(record) => enqueued.map_err(|(error, _)| error),
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match enqueued {
                Ok(delivery) => {
                    let _ = self.deliveries.send((self.value.next, delivery));
                    self.value.next += 1;
                    let lane = self.truth.lane(Lane::Governed);
                    lane.offered.fetch_add(1, Ordering::Relaxed);
                    lane.sent.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::warn!(%error, "the demo's producer refuses a record");
                    break;
                }
            }
        }
        self.finish().await
    }

    async fn finish(self) -> Issued {
        let closed = self.producer.close(FLUSH_PATIENCE).await;
        if closed.undelivered > 0 {
            tracing::warn!(records = closed.undelivered, "records of the demo were not delivered in time");
        }
        drop(self.deliveries);
        let _ = self.collector.await;
        self.value.issued()
    }
}

/// Counts the deliveries of one governed writer, in the order in which they were sent.
async fn collect(truth: Arc<Truth>, producer: u32, mut reports: mpsc::UnboundedReceiver<(u64, DeliveryFuture)>) {
    while let Some((sequence, delivery)) = reports.recv().await {
        let acknowledged = delivery.await.is_ok();
        truth.delivered(Lane::Governed, producer, sequence, acknowledged);
    }
}

/// Beside the valve: bare rdkafka.
struct LiveWriter {
    producer: ThreadedProducer<Reports>,
    lane: Lane,
    topic: Arc<str>,
    truth: Arc<Truth>,
    value: Value,
}

impl LiveWriter {
    fn new(config: &ClientConfig, lane: Lane, number: u32, writers: &Writers) -> Result<Self, Failure> {
        let mut config = tuned(config, number);
        config.set("enable.idempotence", "true");
        let reports = Reports { truth: Arc::clone(&writers.truth), lane, producer: number };
        Ok(Self {
            producer: ThreadedProducer::from_config_and_context(&config, reports).map_err(cannot_produce)?,
            lane,
            topic: Arc::clone(&writers.topic),
            truth: Arc::clone(&writers.truth),
            value: Value::new(number, writers.record_bytes),
        })
    }

    async fn write_at(mut self, per_second: f64, mut stop: watch::Receiver<bool>) -> Issued {
        let mut due = Due::new(per_second);
        while let Some(count) = due.next(&mut stop).await {
            let refused = (0..count).filter(|_| !self.write(None)).count() as u64;
            let lane = self.truth.lane(self.lane);
            lane.offered.fetch_add(count, Ordering::Relaxed);
            lane.sent.fetch_add(count - refused, Ordering::Relaxed);
        }
        self.flush().await
    }

    async fn write_once(mut self) -> Issued {
        for partition in 0..PARTITIONS {
            if self.write(Some(partition)) {
                let lane = self.truth.lane(self.lane);
                lane.offered.fetch_add(1, Ordering::Relaxed);
                lane.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.flush().await
    }

    /// Whether the client took it.
    fn write(&mut self, partition: Option<i32>) -> bool {
        let sequence = self.value.next;
        let opaque = usize::try_from(sequence).unwrap_or(usize::MAX);
        let mut record = BaseRecord::<(), _, usize>::with_opaque_to(&self.topic, opaque).payload(self.value.stamp());
        record.partition = partition;
        let taken = self.producer.send(record).is_ok();
        self.value.next += u64::from(taken);
        taken
    }

    async fn flush(self) -> Issued {
        let issued = self.value.issued();
        let producer = self.producer;
        // Flushing blocks its thread, and so does dropping the client.
        let flushed = tokio::task::spawn_blocking(move || producer.flush(FLUSH_PATIENCE));
        if !matches!(flushed.await, Ok(Ok(()))) {
            tracing::warn!("live records of the demo were not delivered in time");
        }
        issued
    }
}

/// Counts delivery reports of a live writer.
struct Reports {
    truth: Arc<Truth>,
    lane: Lane,
    producer: u32,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sequence: usize) {
        self.truth.delivered(self.lane, self.producer, sequence as u64, result.is_ok());
    }
}

/// How many records are due, from a rate and the time that passed: being late is made up for.
struct Due {
    timer: tokio::time::Interval,
    started_at: lagvalve::clock::Instant,
    per_second: f64,
    given: u64,
}

impl Due {
    fn new(per_second: f64) -> Self {
        let mut timer = tokio::time::interval(OFFER_INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { timer, started_at: SystemClock.now(), per_second, given: 0 }
    }

    /// Waits for the next moment; `None` when it is time to stop.
    async fn next(&mut self, stop: &mut watch::Receiver<bool>) -> Option<u64> {
        tokio::select! {
            _ = self.timer.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return None,
        }
        let total = (SystemClock.now().seconds_since(self.started_at) * self.per_second) as u64;
        let count = total - self.given;
        self.given = total;
        Some(count)
    }
}

/// Settings of every producer of the demo.
fn tuned(config: &ClientConfig, number: u32) -> ClientConfig {
    let mut config = config.clone();
    config
        .set("client.id", format!("lagvalve-demo-writer-{number}"))
        .set("linger.ms", "5")
        // Every record on its own, as keys would spread them: whole moments that go to one partition add up to members
        // that differ by seconds.
        .set("sticky.partitioning.linger.ms", "0")
        .set("queue.buffering.max.messages", "500000");
    config
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn cannot_produce(error: KafkaError) -> Failure {
    Failure::usage(format!("rdkafka refuses the producer's settings: {error}"))
}

const OFFER_INTERVAL: Duration = Duration::from_millis(5);
const FLUSH_PATIENCE: Duration = Duration::from_secs(15);
