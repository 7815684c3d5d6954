//! One member of the demo's group: reads a batch, works on it at the group's speed, and looks between batches whether a
//! commit is due, as real clients do. Of its partitions it takes the one whose next record is the oldest, as Kafka Streams
//! does, so that none of them falls behind the others.
//!
//! Members of a real group started at different moments, so their commits fall at different moments too. Where one client
//! has to stand for several members (the embedded broker keeps groups of one), each share of its partitions has a
//! [`CommitClock`] of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use lagvalve::clock::{Clock, Instant, SystemClock};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::{Change, Membership, Shared};
use super::payload::Stamp;
use super::writers::LIVE_PRODUCER;

/// What a member is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// There is something to read.
    Wake,
    /// Commit now, whatever the interval says, and wait for the broker's word.
    Commit,
    /// Commit and leave.
    Stop,
    /// Go without a commit and without a word to the coordinator.
    Crash,
}

/// A member's letter box, and the slot to it for its own queues.
pub(super) struct Mail {
    pub(super) commands: Receiver<Command>,
    pub(super) wake: Sender<Command>,
}

/// One member.
pub(super) struct Member {
    /// Before the consumer: each holds a handle of it.
    lanes: Vec<Lane>,
    consumer: Arc<BaseConsumer<Membership>>,
    shared: Arc<Shared>,
    mail: Mail,
    topic: String,
    commit_interval: Duration,
    clocks: Vec<CommitClock>,
    /// Nothing was there to read the last time.
    idle: bool,
}

/// A partition of a member.
struct Lane {
    partition: i32,
    queue: PartitionQueue<Membership>,
    /// The next record, once it was looked at.
    head: Option<Head>,
}

/// When a share of the partitions is committed, and what of it.
pub(super) struct CommitClock {
    /// What was processed: the next offset by partition.
    positions: BTreeMap<i32, i64>,
    /// Some of it is not committed.
    owes: bool,
    due_from: Instant,
}

impl CommitClock {
    /// The clock of member `index` of `members`: their first commits are spread evenly over one interval.
    pub(super) fn of_member(index: u32, members: u32, interval: Duration, now: Instant) -> Self {
        let phase = interval.mul_f64(f64::from(index + 1) / f64::from(members));
        Self { positions: BTreeMap::new(), owes: false, due_from: now + phase }
    }
}

/// A record that is next in its partition.
#[derive(Clone, Copy)]
struct Head {
    partition: i32,
    offset: i64,
    /// Milliseconds since 1970; the smallest number where the broker gave none.
    timestamp: i64,
    /// When it was sent, if it is live traffic.
    live_sent_at: Option<Instant>,
}

/// What one batch held.
#[derive(Default)]
struct Batch {
    records: u64,
    /// By partition: the offset after the last record, and how many there were.
    partitions: BTreeMap<i32, (i64, u64)>,
    live_sent_at: Vec<Instant>,
}

impl Member {
    /// A member that reads with `consumer`, which has subscribed to `topic`.
    pub(super) fn new(
        consumer: BaseConsumer<Membership>,
        mail: Mail,
        topic: String,
        (commit_interval, clocks): (Duration, Vec<CommitClock>),
    ) -> Self {
        Self {
            lanes: Vec::new(),
            shared: Arc::clone(&consumer.context().shared),
            consumer: Arc::new(consumer),
            mail,
            topic,
            commit_interval,
            clocks,
            idle: true,
        }
    }

    /// Works until it is told to go.
    pub(super) fn run(mut self) {
        loop {
            let batch = self.read();
            let now = SystemClock.now();
            let until = if batch.records == 0 {
                now + POLL_PATIENCE
            } else {
                self.shared.pacer.reserve(batch.records, self.idle, now)
            };
            self.idle = batch.records == 0;
            match self.wait(until) {
                Some(Command::Crash) => return,
                Some(Command::Stop) => {
                    self.commit_all();
                    return;
                }
                _ => {}
            }
            self.count(&batch);
            self.commit_what_is_due();
        }
    }

    /// Up to a batch of what is there, from every partition in turn.
    fn read(&mut self) -> Batch {
        let most = self.shared.pacer.batch();
        let mut batch = Batch::default();
        // Rebalances are served here; records only before their partition has a queue of its own.
        while let Some(message) = self.consumer.poll(Duration::ZERO) {
            if let Some(record) = Head::of(message) {
                batch.add(record);
            }
        }
        if let Some(change) = self.consumer.context().take_change() {
            self.split(&change);
        }
        while batch.records < most {
            for lane in self.lanes.iter_mut().filter(|lane| lane.head.is_none()) {
                lane.head = lane.queue.poll(Duration::ZERO).and_then(Head::of);
            }
            let heads = self.lanes.iter_mut().map(|lane| &mut lane.head).filter(|head| head.is_some());
            let oldest = heads.min_by_key(|head| head.map(|h| h.timestamp));
            let Some(head) = oldest.and_then(Option::take) else { break };
            batch.add(head);
        }
        batch
    }

    /// Gives every new partition a queue of its own, which says so when there is something to read.
    fn split(&mut self, change: &Change) {
        // What was looked at in a partition that went and came back comes again: it begins at what was committed.
        self.lanes.retain(|lane| change.keeps(lane.partition));
        for partition in &change.new {
            let Some(mut queue) = self.consumer.split_partition_queue(&self.topic, *partition) else { continue };
            let wake = self.mail.wake.clone();
            queue.set_nonempty_callback(move || {
                // Fails only when the member has gone.
                let _ = wake.send(Command::Wake);
            });
            self.lanes.push(Lane { partition: *partition, queue, head: None });
        }
        // What belongs to others now is theirs to commit.
        for clock in &mut self.clocks {
            clock.positions.retain(|partition, _| change.owned.contains(partition));
        }
    }

    /// Waits as long as the work takes, for something to read while there is none, or for a command that ends it.
    fn wait(&mut self, until: Instant) -> Option<Command> {
        loop {
            match self.mail.commands.recv_timeout(until.since(SystemClock.now())) {
                Ok(Command::Wake) if self.idle => return None,
                Ok(Command::Wake) => {}
                Ok(Command::Commit) => self.commit_all(),
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(Command::Stop),
            }
        }
    }

    fn count(&mut self, batch: &Batch) {
        for (partition, (next, records)) in &batch.partitions {
            self.shared.truth.processed(*partition, *next, *records);
            let place = usize::try_from(*partition).unwrap_or(0) % self.clocks.len();
            self.clocks[place].positions.insert(*partition, *next);
            self.clocks[place].owes = true;
        }
        let now = SystemClock.now();
        let ages: Vec<f64> = batch.live_sent_at.iter().map(|sent_at| now.seconds_since(*sent_at)).collect();
        self.shared.truth.live_ages(&ages);
    }

    fn commit_what_is_due(&mut self) {
        let now = SystemClock.now();
        for place in 0..self.clocks.len() {
            if now >= self.clocks[place].due_from {
                self.clocks[place].due_from = now + self.commit_interval;
                self.commit(place, CommitMode::Async);
            }
        }
    }

    /// Out of turn: the clocks go on as they were.
    fn commit_all(&mut self) {
        for place in 0..self.clocks.len() {
            self.commit(place, CommitMode::Sync);
        }
    }

    /// A commit that fails is made up for by the next one: it carries a later position. One for which the broker's word
    /// is wanted carries everything, whether it was committed before or not.
    fn commit(&mut self, place: usize, mode: CommitMode) {
        let waits = matches!(mode, CommitMode::Sync);
        let clock = &mut self.clocks[place];
        if !clock.owes && !waits {
            return;
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, next) in &clock.positions {
            // Fails only for a partition number that cannot be.
            let _ = offsets.add_partition_offset(&self.topic, *partition, Offset::Offset(*next));
        }
        if offsets.count() == 0 {
            return;
        }
        match self.consumer.commit(&offsets, mode) {
            Ok(()) => {
                clock.owes = false;
                if waits {
                    self.shared.truth.committed(clock.positions.keys().copied());
                }
            }
            Err(error) => tracing::warn!(%error, "a commit of the demo's group failed"),
        }
    }
}

impl Batch {
    fn add(&mut self, record: Head) {
        self.records += 1;
        let (next, count) = self.partitions.entry(record.partition).or_default();
        *next = record.offset + 1;
        *count += 1;
        self.live_sent_at.extend(record.live_sent_at);
    }
}

impl Head {
    fn of(message: KafkaResult<BorrowedMessage<'_>>) -> Option<Self> {
        let message = message.inspect_err(|error| tracing::warn!(%error, "a member of the demo's group cannot read"));
        let message = message.ok()?;
        let stamp = message.payload().and_then(Stamp::read).filter(|stamp| stamp.producer == LIVE_PRODUCER);
        Some(Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or(i64::MIN),
            live_sent_at: stamp.map(|stamp| stamp.sent_at),
        })
    }
}

/// Rebalances are looked for at least this often.
const POLL_PATIENCE: Duration = Duration::from_millis(50);
