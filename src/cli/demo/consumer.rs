//! The consumer group that governs: real rdkafka members on threads of their own, slowed to a set rate.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lagvalve::clock::{Clock, SystemClock};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use tokio::sync::Notify;

use super::member::{Command, CommitClock, Mail, Member};
use super::pacer::Pacer;
use super::truth::{PARTITIONS, Truth};
use crate::cli::exit::Failure;

/// After this long without a heartbeat the coordinator gives a member up.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// How many members a group has, and how many clients do their work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupSize {
    /// Members.
    pub(super) members: u32,
    /// One client, a member to the broker, stands for all of them.
    pub(super) in_one_client: bool,
}

impl GroupSize {
    const fn clients(self) -> u32 {
        if self.in_one_client { 1 } else { self.members }
    }
}

/// The group: what its members share.
pub(super) struct Group {
    config: ClientConfig,
    topic: String,
    name: String,
    size: GroupSize,
    commit_interval: Duration,
    shared: Arc<Shared>,
    running: Vec<Running>,
}

struct Running {
    command: Sender<Command>,
    thread: JoinHandle<()>,
}

/// What the members of a group share.
pub(super) struct Shared {
    pub(super) truth: Arc<Truth>,
    pub(super) pacer: Pacer,
    /// Partitions owned, a client.
    assigned: Mutex<Vec<usize>>,
    assignment_changed: Notify,
}

impl Shared {
    /// Changes what client `index` owns, and tells who waits for it.
    fn assign(&self, index: u32, change: impl FnOnce(usize) -> usize) {
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owned) = assigned.get_mut(index as usize) {
            *owned = change(*owned);
        }
        drop(assigned);
        self.assignment_changed.notify_waiters();
    }

    /// Partitions with an owner, and whether every client owns some: a group that still gathers will rebalance.
    fn assigned(&self) -> (usize, bool) {
        let assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        (assigned.iter().sum(), assigned.iter().all(|owned| *owned > 0))
    }
}

impl Group {
    /// A group that takes `capacity` records/s together. `config` is that of any client on the cluster.
    pub(super) fn new(
        config: ClientConfig,
        (topic, name): (&str, &str),
        size: GroupSize,
        commit_interval: Duration,
        (truth, capacity): (Arc<Truth>, f64),
    ) -> Self {
        let shared = Shared {
            truth,
            pacer: Pacer::new(capacity),
            assigned: Mutex::new(vec![0; size.clients() as usize]),
            assignment_changed: Notify::new(),
        };
        Self {
            config,
            topic: topic.to_owned(),
            name: name.to_owned(),
            size,
            commit_interval,
            shared: Arc::new(shared),
            running: Vec::new(),
        }
    }

    /// Starts the members.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::failed(format!("cannot start the consumer group: {error}"));
        let GroupSize { members, in_one_client } = self.size;
        let clock = |index| CommitClock::of_member(index, members, self.commit_interval, SystemClock.now());
        for index in 0..self.size.clients() {
            let clocks = if in_one_client { (0..members).map(clock).collect() } else { vec![clock(index)] };
            let (command, commands) = mpsc::channel();
            let consumer = self.member(index).map_err(|error| failed(&error))?;
            let mail = Mail { commands, wake: command.clone() };
            let member = Member::new(consumer, mail, self.topic.clone(), (self.commit_interval, clocks));
            let thread = std::thread::Builder::new()
                .name(format!("demo-member-{index}"))
                .spawn(move || member.run())
                .map_err(|error| failed(&error))?;
            self.running.push(Running { command, thread });
        }
        Ok(())
    }

    /// Waits until every partition has an owner and every member has a partition.
    pub(super) async fn assigned(&self, patience: Duration) -> Result<(), Failure> {
        let all = async {
            loop {
                let changed = self.shared.assignment_changed.notified();
                if self.shared.assigned() == (PARTITIONS as usize, true) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, all).await.map_err(|_| {
            Failure::unreachable(format!(
                "group {} did not gather in {} s ({} of {PARTITIONS} partitions have an owner); is the cluster healthy, and may it read group {}?",
                self.name,
                patience.as_secs(),
                self.shared.assigned().0,
                self.name
            ))
        })
    }

    /// What the members take together from now on, records/s.
    pub(super) fn set_capacity(&self, per_second: f64) {
        self.shared.pacer.set(per_second);
    }

    /// Every member commits what it has processed, and counts the partitions that the broker accepted.
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
        (0..self.size.clients()).for_each(|index| self.shared.assign(index, |_| 0));
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
        let consumer = config.create_with_context(Membership::new(index, Arc::clone(&self.shared)))?;
        Consumer::subscribe(&consumer, &[&self.topic])?;
        Ok(consumer)
    }
}

/// Keeps which partitions a member owns, and counts those that have an owner.
pub(super) struct Membership {
    index: u32,
    pub(super) shared: Arc<Shared>,
    /// The partitions owned, when that has changed since they were last taken.
    changed: Mutex<Option<Vec<i32>>>,
}

impl Membership {
    fn new(index: u32, shared: Arc<Shared>) -> Self {
        Self { index, shared, changed: Mutex::new(None) }
    }

    /// The partitions owned, if that has changed since the last call.
    pub(super) fn take_change(&self) -> Option<Vec<i32>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Membership {}

impl ConsumerContext for Membership {
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let owned = match rebalance {
            Rebalance::Assign(partitions) => {
                self.shared.assign(self.index, |owned| owned + partitions.count());
                partitions.elements().iter().map(TopicPartitionListElem::partition).collect()
            }
            Rebalance::Revoke(partitions) => {
                self.shared.assign(self.index, |owned| owned.saturating_sub(partitions.count()));
                Vec::new()
            }
            Rebalance::Error(_) => return,
        };
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(owned);
    }
}
