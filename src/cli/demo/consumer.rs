//! The consumer group that governs: real rdkafka members on threads of their own, slowed to a set rate.
//!
//! Like a real consumer it reads a batch, works on it, and looks between batches whether a commit is due.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lagvalve::clock::{Clock, Instant, SystemClock};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;

use super::payload::Stamp;
use super::truth::{PARTITIONS, Truth};
use super::writers::LIVE_PRODUCER;
use crate::cli::exit::Failure;

/// After this long without a heartbeat the coordinator gives a member up.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// The group: what its members share.
pub(super) struct Group {
    config: ClientConfig,
    topic: String,
    name: String,
    members: u32,
    commit_interval: Duration,
    shared: Arc<Shared>,
    running: Vec<Running>,
}

struct Running {
    command: Sender<Command>,
    thread: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    /// Commit now, whatever the interval says.
    Commit,
    /// Commit and leave.
    Stop,
    /// Go without a commit and without a word to the coordinator.
    Crash,
}

struct Shared {
    truth: Arc<Truth>,
    pacer: Pacer,
    assigned: AtomicUsize,
    assignment_changed: Notify,
}

impl Group {
    /// A group of `members` that takes `capacity` records/s together. `config` is that of any client on the cluster.
    pub(super) fn new(
        config: ClientConfig,
        (topic, name): (&str, &str),
        members: u32,
        commit_interval: Duration,
        (truth, capacity): (Arc<Truth>, f64),
    ) -> Self {
        let shared = Shared {
            truth,
            pacer: Pacer::new(capacity),
            assigned: AtomicUsize::new(0),
            assignment_changed: Notify::new(),
        };
        Self {
            config,
            topic: topic.to_owned(),
            name: name.to_owned(),
            members,
            commit_interval,
            shared: Arc::new(shared),
            running: Vec::new(),
        }
    }

    /// Starts the members.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("cannot start the consumer group: {error}"));
        for index in 0..self.members {
            let (command, commands) = mpsc::channel();
            let consumer = self.member(index).map_err(|error| failed(&error))?;
            let member = Member {
                consumer,
                shared: Arc::clone(&self.shared),
                commands,
                topic: self.topic.clone(),
                commit_interval: self.commit_interval,
                positions: BTreeMap::new(),
                committed_at: SystemClock.now(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("demo-member-{index}"))
                .spawn(move || member.run())
                .map_err(|error| failed(&error))?;
            self.running.push(Running { command, thread });
        }
        Ok(())
    }

    /// Waits until every partition has an owner.
    pub(super) async fn assigned(&self, patience: Duration) -> Result<(), Failure> {
        let all = async {
            loop {
                let changed = self.shared.assignment_changed.notified();
                if self.shared.assigned.load(Ordering::SeqCst) >= PARTITIONS as usize {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, all).await.map_err(|_| {
            Failure::unreachable(format!(
                "group {} got only {} of {PARTITIONS} partitions in {} s; is the cluster healthy, and may it read group {}?",
                self.name,
                self.shared.assigned.load(Ordering::SeqCst),
                patience.as_secs(),
                self.name
            ))
        })
    }

    /// What the members take together from now on, records/s.
    pub(super) fn set_capacity(&self, per_second: f64) {
        self.shared.pacer.set(per_second);
    }

    /// Every member commits what it has processed.
    pub(super) fn commit_now(&self) {
        for member in &self.running {
            let _ = member.command.send(Command::Commit);
        }
    }

    /// Whether there are members.
    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Every member goes without a commit; the coordinator learns of it by silence.
    pub(super) async fn crash(&mut self) {
        self.end(Command::Crash).await;
    }

    /// Every member commits and goes.
    pub(super) async fn stop(&mut self) {
        self.end(Command::Stop).await;
    }

    async fn end(&mut self, command: Command) {
        for member in &self.running {
            let _ = member.command.send(command);
        }
        let threads: Vec<_> = self.running.drain(..).map(|member| member.thread).collect();
        // A member that cannot reach its broker takes a while to go.
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        let _ = joined.await;
        self.shared.assigned.store(0, Ordering::SeqCst);
    }

    fn member(&self, index: u32) -> KafkaResult<BaseConsumer<Membership>> {
        let id = format!("{}-{index}", self.name);
        let mut config = self.config.clone();
        config
            .set("client.id", &id)
            .set("group.id", &self.name)
            // A static member says no goodbye when it is dropped: the way to crash without ending this process.
            .set("group.instance.id", &id)
            .set("session.timeout.ms", SESSION_TIMEOUT.as_millis().to_string())
            .set("heartbeat.interval.ms", "1000")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "50")
            // The backlog belongs on the broker, not in this process.
            .set("queued.min.messages", "5000")
            .set("queued.max.messages.kbytes", "16384");
        let consumer = config.create_with_context(Membership(Arc::clone(&self.shared)))?;
        Consumer::subscribe(&consumer, &[&self.topic])?;
        Ok(consumer)
    }
}

/// Counts the partitions that have an owner.
struct Membership(Arc<Shared>);

impl ClientContext for Membership {}

impl ConsumerContext for Membership {
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                self.0.assigned.fetch_add(partitions.count(), Ordering::SeqCst);
            }
            Rebalance::Revoke(partitions) => {
                let fewer = |assigned: usize| Some(assigned.saturating_sub(partitions.count()));
                let _ = self.0.assigned.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer);
            }
            Rebalance::Error(_) => {}
        }
        self.0.assignment_changed.notify_waiters();
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if result.is_ok() {
            for element in offsets.elements() {
                if let Offset::Offset(next) = element.offset() {
                    self.0.truth.committed(element.partition(), next);
                }
            }
        }
    }
}

struct Member {
    consumer: BaseConsumer<Membership>,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    topic: String,
    commit_interval: Duration,
    /// What was processed and is not committed: the next offset by partition.
    positions: BTreeMap<i32, i64>,
    committed_at: Instant,
}

/// What one batch held.
#[derive(Default)]
struct Batch {
    records: u64,
    /// By partition: the offset after the last record, and how many there were.
    partitions: BTreeMap<i32, (i64, u64)>,
    live_sent_at: Vec<Instant>,
    /// The member had to wait for it.
    starved: bool,
}

impl Member {
    fn run(mut self) {
        loop {
            let batch = self.read();
            let now = SystemClock.now();
            let idle = batch.records == 0;
            let done_at = if idle { now } else { self.shared.pacer.reserve(batch.records, batch.starved, now) };
            match self.work_until(done_at) {
                Some(Command::Crash) => return,
                Some(Command::Stop) => {
                    self.commit(CommitMode::Sync);
                    return;
                }
                _ => {}
            }
            self.count(&batch);
            if SystemClock.now().since(self.committed_at) >= self.commit_interval {
                self.commit(CommitMode::Async);
            }
        }
    }

    /// Up to a batch, without waiting longer than [`POLL_PATIENCE`].
    fn read(&self) -> Batch {
        let most = self.shared.pacer.batch();
        let mut batch = Batch::default();
        while batch.records < most {
            let patience = if batch.records == 0 { POLL_PATIENCE } else { Duration::ZERO };
            let asked = SystemClock.now();
            match self.consumer.poll(patience) {
                Some(Ok(message)) => {
                    batch.starved |= batch.records == 0 && SystemClock.now().since(asked) > STARVED;
                    batch.records += 1;
                    let (next, count) = batch.partitions.entry(message.partition()).or_default();
                    *next = message.offset() + 1;
                    *count += 1;
                    let stamp = message.payload().and_then(Stamp::read);
                    batch.live_sent_at.extend(stamp.filter(|stamp| stamp.producer == LIVE_PRODUCER).map(|s| s.sent_at));
                }
                Some(Err(error)) => report(&error),
                None => break,
            }
        }
        batch
    }

    /// Waits as long as the work takes, or for a command that ends it.
    fn work_until(&mut self, done_at: Instant) -> Option<Command> {
        loop {
            match self.commands.recv_timeout(done_at.since(SystemClock.now())) {
                Ok(Command::Commit) => self.commit(CommitMode::Async),
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(Command::Stop),
            }
        }
    }

    fn count(&mut self, batch: &Batch) {
        for (partition, (next, records)) in &batch.partitions {
            self.shared.truth.processed(*partition, *next, *records);
            self.positions.insert(*partition, *next);
        }
        let now = SystemClock.now();
        let ages: Vec<f64> = batch.live_sent_at.iter().map(|sent_at| now.seconds_since(*sent_at)).collect();
        self.shared.truth.live_ages(&ages);
    }

    fn commit(&mut self, mode: CommitMode) {
        self.committed_at = SystemClock.now();
        let mut offsets = TopicPartitionList::new();
        for (partition, next) in std::mem::take(&mut self.positions) {
            // Fails only for a partition number that cannot be.
            let _ = offsets.add_partition_offset(&self.topic, partition, Offset::Offset(next));
        }
        // A commit that fails is made up for by the next one: it carries a later position.
        if offsets.count() > 0 && self.consumer.commit(&offsets, mode).is_err() {
            tracing::warn!(topic = self.topic, "a commit of the demo's group failed");
        }
    }
}

/// What all members may take together: a schedule on which each reserves the time that its batch takes. A member that
/// has nothing to do leaves its time to the others.
struct Pacer(Mutex<Schedule>);

struct Schedule {
    per_second: f64,
    free_at: Instant,
}

impl Pacer {
    fn new(per_second: f64) -> Self {
        Self(Mutex::new(Schedule { per_second, free_at: Instant::default() }))
    }

    fn set(&self, per_second: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).per_second = per_second;
    }

    /// Records of one batch: 50 ms of work, at most 500 as real clients poll by default.
    fn batch(&self) -> u64 {
        let per_second = self.0.lock().unwrap_or_else(PoisonError::into_inner).per_second;
        ((per_second * BATCH_SECONDS) as u64).clamp(1, MAX_BATCH)
    }

    /// When `records` more are done. Time in which there was nothing to do is lost; being woken late is made up for.
    fn reserve(&self, records: u64, starved: bool, now: Instant) -> Instant {
        let mut schedule = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = if starved { now } else { now - LATENESS_MADE_UP };
        let takes = Duration::from_secs_f64(records as f64 / schedule.per_second);
        schedule.free_at = schedule.free_at.max(earliest) + takes;
        schedule.free_at
    }
}

fn report(error: &KafkaError) {
    tracing::warn!(%error, "a member of the demo's group cannot read");
}

const POLL_PATIENCE: Duration = Duration::from_millis(20);
/// A poll that takes longer had to wait for records.
const STARVED: Duration = Duration::from_millis(1);
const BATCH_SECONDS: f64 = 0.05;
const MAX_BATCH: u64 = 500;
const LATENESS_MADE_UP: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Instant {
        Instant::from_seconds(seconds)
    }

    #[test]
    fn a_busy_group_is_on_schedule_though_woken_late() {
        let pacer = Pacer::new(1000.0);
        assert_eq!(pacer.reserve(100, true, at(10.0)), at(10.1));
        assert_eq!(pacer.reserve(100, false, at(10.15)), at(10.2));
        // Two members share one capacity.
        assert_eq!(pacer.reserve(100, false, at(10.15)), at(10.3));
    }

    #[test]
    fn idle_time_is_lost() {
        let pacer = Pacer::new(1000.0);
        pacer.reserve(100, true, at(10.0));
        assert_eq!(pacer.reserve(100, true, at(20.0)), at(20.1));
        assert_eq!(pacer.reserve(100, false, at(30.0)), at(29.6), "a busy member makes up for half a second at most");
    }

    #[test]
    fn batches_are_fifty_milliseconds_of_work() {
        for (per_second, records) in [(1.0, 1), (1000.0, 50), (10_000.0, 500), (1_000_000.0, 500)] {
            assert_eq!(Pacer::new(per_second).batch(), records);
        }
    }
}
