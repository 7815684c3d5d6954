//! A consumer group that is too slow.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::BorrowedMessage;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::live::{Ages, age_of};
use crate::support::{Stop, client};

/// A member that takes so many records a second and commits every five seconds; alone it is a whole group.
pub(crate) struct SlowGroup {
    /// Records that it has read, none twice.
    pub(crate) processed: Arc<AtomicU64>,
    joined: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Ages, Stop>>,
}

impl SlowGroup {
    /// A member of `group` on `topic` that takes `rate` records a second.
    pub(crate) fn start(bootstrap: &str, group: &str, topic: &str, rate: f64) -> Result<Self, Stop> {
        let mut config = client(bootstrap);
        config.set("group.id", group).set("auto.offset.reset", "earliest");
        config.set("auto.commit.interval.ms", "5000").set("enable.auto.offset.store", "false");
        let consumer: StreamConsumer = config.create()?;
        consumer.subscribe(&[topic])?;
        let (processed, joined, stop) = (Arc::default(), Arc::default(), Arc::default());
        let working = work(consumer, rate, Arc::clone(&processed), Arc::clone(&joined), Arc::clone(&stop));
        Ok(Self { processed, joined, stop, task: tokio::spawn(working) })
    }

    /// Waits until it owns partitions.
    pub(crate) async fn joined(&self) -> Result<(), Stop> {
        until(|| self.joined.load(Ordering::SeqCst)).await
    }

    /// Waits until it has processed `records`.
    pub(crate) async fn caught_up(&self, records: u64) -> Result<(), Stop> {
        until(|| self.processed.load(Ordering::SeqCst) >= records).await
    }

    /// Ends it; how old live records were when it processed them.
    pub(crate) async fn stop(self) -> Result<Ages, Stop> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await?
    }
}

/// Waits for what a group does on its own.
async fn until(done: impl Fn() -> bool) -> Result<(), Stop> {
    let waiting = async {
        while !done() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    Ok(timeout(PATIENCE, waiting).await?)
}

/// Takes records one by one; a token bucket of 50 ms keeps it to `rate`.
async fn work(
    consumer: StreamConsumer,
    rate: f64,
    processed: Arc<AtomicU64>,
    joined: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> Result<Ages, Stop> {
    let mut reading = Reading::default();
    let burst = Duration::from_millis(50);
    let each = Duration::from_secs_f64(1.0 / rate);
    let mut next = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        if consumer.assignment()?.count() > 0 {
            joined.store(true, Ordering::SeqCst);
        }
        let Ok(received) = timeout(Duration::from_millis(200), consumer.recv()).await else { continue };
        // A broker that is away comes back: librdkafka says so, and goes on.
        let Ok(message) = received else { continue };
        reading.take(&consumer, &message, &processed);
        // Many at a time without a wait, or the timer's millisecond would be the rate.
        next = next.max(Instant::now() - burst) + each;
        let mut now = Instant::now();
        while next <= now {
            let Ok(Ok(message)) = timeout(Duration::from_millis(5), consumer.recv()).await else { break };
            reading.take(&consumer, &message, &processed);
            next += each;
            now = Instant::now();
        }
        sleep_until(next).await;
    }
    let closing = tokio::task::spawn_blocking(move || drop(consumer));
    closing.await?;
    Ok(reading.ages)
}

/// What the group has read.
#[derive(Default)]
struct Reading {
    /// First offset that was never read, a partition: what is read again after a rebalance is no progress.
    next: HashMap<i32, i64>,
    ages: Ages,
}

impl Reading {
    fn take(&mut self, consumer: &StreamConsumer, message: &BorrowedMessage<'_>, processed: &AtomicU64) {
        let next = self.next.entry(message.partition()).or_default();
        if message.offset() >= *next {
            *next = message.offset() + 1;
            processed.fetch_add(1, Ordering::SeqCst);
            if let Some(age) = age_of(message) {
                self.ages.add(age);
            }
        }
        // Not assigned any more: the next owner takes it again.
        let _ = consumer.store_offset_from_message(message);
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
