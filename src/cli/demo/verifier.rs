//! A reader outside the group that reads the whole topic, and finds what is lost or there twice.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lagvalve::clock::{Clock, SystemClock};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::payload::Stamp;
use super::truth::{PARTITIONS, Truth};
use super::writers::Issued;
use crate::cli::exit::Failure;

/// The reader, on a thread of its own.
pub(super) struct Verifier {
    seen: Arc<Mutex<Seen>>,
    consumer: Arc<BaseConsumer>,
    topic: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What the topic holds, against what writers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Acknowledged and not on the topic.
    pub(super) lost: u64,
    /// On the topic more than once (each further copy counts).
    pub(super) duplicated: u64,
    /// The reader reached the end of every partition. If not, `lost` is an upper bound.
    pub(super) complete: bool,
}

impl Verifier {
    /// Starts reading every partition from its beginning. `config` is that of any client on the cluster.
    pub(super) fn start(mut config: ClientConfig, topic: &str, truth: Arc<Truth>) -> Result<Self, Failure> {
        config
            .set("client.id", "lagvalve-demo-verifier")
            // librdkafka assigns nothing without a group, though this one is never joined and never commits.
            .set("group.id", format!("{topic}-verifier"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("fetch.wait.max.ms", "50")
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "32768");
        let failed =
            |error: &dyn std::fmt::Display| Failure::failed(format!("cannot start the verifying reader: {error}"));
        let consumer = Arc::new(assigned(&config, topic).map_err(|error| failed(&error))?);
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let reader =
            Reader { seen: Arc::clone(&seen), consumer: Arc::clone(&consumer), truth, stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new()
            .name("demo-verifier".to_owned())
            .spawn(move || reader.run())
            .map_err(|error| failed(&error))?;
        Ok(Self { seen, consumer, topic: topic.to_owned(), stop, thread })
    }

    /// Waits until the reader is at the end of the topic, at most `patience`, and compares. Blocks its thread.
    pub(super) fn finish(
        self,
        issued: &[Issued],
        failed: &HashSet<(u32, u64)>,
        truth: &Truth,
        patience: Duration,
    ) -> Verdict {
        let until = SystemClock.now() + patience;
        let mut complete = false;
        while !complete && SystemClock.now() < until {
            complete = self.at_the_end(truth);
            if !complete {
                std::thread::park_timeout(FINISH_INTERVAL);
            }
        }
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.join();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Verdict { complete, ..seen.compare(issued, failed) }
    }

    fn at_the_end(&self, truth: &Truth) -> bool {
        (0..PARTITIONS).all(|partition| {
            self.consumer
                .fetch_watermarks(&self.topic, partition, WATERMARK_TIMEOUT)
                .is_ok_and(|(_, end)| truth.verified_to(partition) >= end)
        })
    }
}

struct Reader {
    seen: Arc<Mutex<Seen>>,
    consumer: Arc<BaseConsumer>,
    truth: Arc<Truth>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn run(self) {
        while !self.stop.load(Ordering::SeqCst) {
            let Some(read) = self.consumer.poll(POLL_PATIENCE) else { continue };
            match read {
                Ok(message) => {
                    if let Some(stamp) = message.payload().and_then(Stamp::read) {
                        self.seen.lock().unwrap_or_else(PoisonError::into_inner).add(stamp.producer, stamp.sequence);
                    }
                    self.truth.verified(message.partition(), message.offset() + 1);
                }
                Err(error) => tracing::warn!(%error, "the demo's verifying reader cannot read"),
            }
        }
    }
}

/// One bit a record, by producer.
#[derive(Debug, Default)]
struct Seen {
    producers: Vec<Bits>,
}

#[derive(Clone, Debug, Default)]
struct Bits {
    words: Vec<u64>,
    set: u64,
    again: u64,
}

impl Seen {
    fn add(&mut self, producer: u32, sequence: u64) {
        let index = producer as usize;
        if index >= MAX_PRODUCERS || sequence >= MAX_SEQUENCE {
            return;
        }
        if index >= self.producers.len() {
            self.producers.resize(index + 1, Bits::default());
        }
        self.producers[index].add(sequence);
    }

    fn compare(&self, issued: &[Issued], failed: &HashSet<(u32, u64)>) -> Verdict {
        let none = Bits::default();
        let mut verdict = Verdict::default();
        for Issued { producer, below } in issued {
            let bits = self.producers.get(*producer as usize).unwrap_or(&none);
            // A record that the client gave up may be on the topic all the same: neither lost nor expected.
            let given_up: Vec<u64> =
                failed.iter().filter(|(of, _)| of == producer).map(|(_, number)| *number).collect();
            let there = given_up.iter().filter(|number| bits.has(**number)).count() as u64;
            let expected = below - given_up.len() as u64;
            verdict.lost += expected.saturating_sub(bits.set - there);
            verdict.duplicated += bits.again;
        }
        verdict
    }
}

impl Bits {
    fn add(&mut self, number: u64) {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if self.words[word] & bit == 0 {
            self.words[word] |= bit;
            self.set += 1;
        } else {
            self.again += 1;
        }
    }

    fn has(&self, number: u64) -> bool {
        self.words.get((number / 64) as usize).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

fn assigned(config: &ClientConfig, topic: &str) -> KafkaResult<BaseConsumer> {
    let consumer: BaseConsumer = config.create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

const POLL_PATIENCE: Duration = Duration::from_millis(100);
const FINISH_INTERVAL: Duration = Duration::from_millis(50);
const WATERMARK_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_PRODUCERS: usize = 64;
/// Bounds the bits at 64 MiB a producer, should a foreign record look like ours.
const MAX_SEQUENCE: u64 = 1 << 29;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_and_duplicated_are_counted_by_sequence_number() {
        let mut seen = Seen::default();
        for number in [0, 1, 2, 4, 4, 4, 5] {
            seen.add(0, number);
        }
        seen.add(2, 0);
        let issued =
            [Issued { producer: 0, below: 6 }, Issued { producer: 1, below: 2 }, Issued { producer: 2, below: 1 }];
        let failed = HashSet::from([(0, 5), (1, 0)]);
        // Producer 0: 3 is missing, 5 was given up and is there all the same. Producer 1: 1 is missing.
        let verdict = seen.compare(&issued, &failed);
        assert_eq!((verdict.lost, verdict.duplicated), (1 + 1, 2));
    }
}
