//! The consumer group that governs: real rdkafka members on threads of their own, slowed to a set rate.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lagvalve::clock::{Clock, SystemClock};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};
use tokio::sync::Notify;

use super::args::GroupProtocol;
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
    /// How they find each other.
    pub(super) protocol: GroupProtocol,
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
    /// Client `index` owns `count` partitions now: tells who waits for it.
    fn assign(&self, index: u32, count: usize) {
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owned) = assigned.get_mut(index as usize) {
            *owned = count;
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
        let GroupSize { members, in_one_client, .. } = self.size;
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
        (0..self.size.clients()).for_each(|index| self.shared.assign(index, 0));
    }

    fn member(&self, index: u32) -> KafkaResult<BaseConsumer<Membership>> {
        let id = format!("{}-{index}", self.name);
        let mut config = self.config.clone();
        config
            .set("client.id", &id)
            .set("group.id", &self.name)
            // A static member says no goodbye when it is dropped: the way to crash without ending this process.
            .set("group.instance.id", &id)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "50")
            // The backlog belongs on the broker, not in this process.
            .set("queued.min.messages", "5000")
            .set("queued.max.messages.kbytes", "16384");
        match self.size.protocol {
            GroupProtocol::Classic => config
                .set("session.timeout.ms", SESSION_TIMEOUT.as_millis().to_string())
                .set("heartbeat.interval.ms", "1000"),
            // Both are the broker's to say there.
            GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        };
        let consumer = config.create_with_context(Membership::new(index, Arc::clone(&self.shared)))?;
        Consumer::subscribe(&consumer, &[&self.topic])?;
        Ok(consumer)
    }
}

/// Keeps which partitions a member owns, and counts those that have an owner.
pub(super) struct Membership {
    index: u32,
    pub(super) shared: Arc<Shared>,
    owned: Mutex<Owned>,
}

/// What a member owns, and what of it it has not yet been told.
#[derive(Default)]
struct Owned {
    partitions: Vec<i32>,
    new: Vec<i32>,
    changed: bool,
}

/// What has changed since it was last asked.
pub(super) struct Change {
    /// All partitions owned now.
    pub(super) owned: Vec<i32>,
    /// Those of them that came, or went and came back.
    pub(super) new: Vec<i32>,
}

impl Change {
    /// Whether `partition` was owned before and has been without a break.
    pub(super) fn keeps(&self, partition: i32) -> bool {
        self.owned.contains(&partition) && !self.new.contains(&partition)
    }
}

impl Owned {
    /// A group of the consumer protocol gives and takes single partitions; a classic one takes all and gives anew.
    fn give(&mut self, partitions: &[i32]) {
        self.partitions.extend(partitions);
        self.new.extend(partitions);
        self.changed = true;
    }

    fn take(&mut self, partitions: &[i32]) {
        self.partitions.retain(|partition| !partitions.contains(partition));
        self.new.retain(|partition| !partitions.contains(partition));
        self.changed = true;
    }

    fn change(&mut self) -> Option<Change> {
        let new = std::mem::take(&mut self.new);
        std::mem::take(&mut self.changed).then(|| Change { owned: self.partitions.clone(), new })
    }
}

impl Membership {
    fn new(index: u32, shared: Arc<Shared>) -> Self {
        Self { index, shared, owned: Mutex::default() }
    }

    /// What has changed since the last call, if anything has.
    pub(super) fn take_change(&self) -> Option<Change> {
        self.owned().change()
    }

    fn owned(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Membership {}

impl ConsumerContext for Membership {
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let numbers = |list: &TopicPartitionList| -> Vec<i32> {
            list.elements().iter().map(TopicPartitionListElem::partition).collect()
        };
        match rebalance {
            Rebalance::Assign(partitions) => self.owned().give(&numbers(partitions)),
            Rebalance::Revoke(partitions) => self.owned().take(&numbers(partitions)),
            Rebalance::Error(_) => return,
        }
        let count = self.owned().partitions.len();
        self.shared.assign(self.index, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_went_and_came_back_is_new() {
        let mut owned = Owned::default();
        owned.give(&[0, 1]);
        let change = owned.change().unwrap();
        assert_eq!((change.owned, change.new), (vec![0, 1], vec![0, 1]));
        assert!(owned.change().is_none());

        // A classic group: everything goes, and some comes back.
        owned.take(&[0, 1]);
        owned.give(&[1, 2]);
        let change = owned.change().unwrap();
        assert!(!change.keeps(0) && !change.keeps(1) && !change.keeps(2));

        // A group of the consumer protocol: one goes, one comes, the rest stays.
        owned.take(&[2]);
        owned.give(&[3]);
        let change = owned.change().unwrap();
        assert_eq!((change.keeps(1), change.owned, change.new), (true, vec![1, 3], vec![3]));
    }
}
