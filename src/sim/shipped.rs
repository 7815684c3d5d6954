//! The shipped law as a policy: the very [`ValveLoop`] of production, fed with what the simulated cluster showed.

use std::collections::HashMap;
use std::time::Duration;

use super::policy::{Described, Observation, Policy};
use super::scenario::{CommitView, GroupPlan, Scenario};
use crate::agent::{ProtectedGroup, Start, TickInput, TickRecord, ValveLoop, ValveSettings};
use crate::clock::Instant;
use crate::control::ControlConfig;
use crate::estimate::EstimateConfig;
use crate::id::{GroupId, Topic, TopicPartition};
use crate::lag::{GroupCommits, GroupDescription, GroupKind, PartitionEnds, ReadError, Snapshot, TopicEnds};
use crate::units::MessagesPerSecond;

/// How the valve begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ShippedStart {
    /// No limit until a commit proves lag.
    Open,
    /// Limited at what the operator takes for the capacity.
    Hinted,
    /// Grows from a first rate, messages/s; `None`: what is learned.
    Slow(Option<f64>),
}

/// The shipped law.
#[derive(Debug)]
pub struct Shipped {
    valve: ValveLoop,
    initial: f64,
    partitions: Vec<TopicPartition>,
    snapshot: Snapshot,
    descriptions: HashMap<GroupId, Result<GroupDescription, ReadError>>,
    sent_total: u64,
    /// Commits come with their exact times.
    exact: bool,
    read: bool,
    records: Option<Vec<TickRecord>>,
}

impl Shipped {
    /// A valve for the topic and groups of `scenario`, with the documented defaults; one of them where it has several.
    #[must_use]
    pub fn new(scenario: &Scenario, start: ShippedStart) -> Self {
        let settings = settings(scenario, start);
        let estimate = EstimateConfig::for_poll(settings.poll_interval.as_secs_f64());
        Self::with(scenario, settings, estimate)
    }

    /// What a valve for `scenario` is told.
    #[must_use]
    pub fn settings(scenario: &Scenario, start: ShippedStart) -> ValveSettings {
        settings(scenario, start)
    }

    /// The same with settings and estimators of the caller's own.
    #[must_use]
    pub fn with(scenario: &Scenario, settings: ValveSettings, estimate: EstimateConfig) -> Self {
        Self::with_constants(scenario, settings, estimate, ControlConfig::new)
    }

    /// The same with laws of the caller's own; `control` makes their constants from a set-point and a poll interval, seconds.
    #[must_use]
    pub fn with_constants(
        scenario: &Scenario,
        settings: ValveSettings,
        estimate: EstimateConfig,
        control: impl Fn(f64, f64) -> ControlConfig,
    ) -> Self {
        let partitions: Vec<TopicPartition> =
            (0..scenario.partitions_of(0).count()).map(|index| TopicPartition::new(TOPIC, index as i32)).collect();
        let initial = match (settings.start, settings.initial_rate) {
            (_, Some(rate)) => rate.get(),
            (Start::Open, None) => f64::INFINITY,
            (Start::Slow, None) => control(0.0, estimate.poll_seconds).first_rate,
        };
        Self {
            snapshot: empty_snapshot(&partitions, &settings),
            valve: ValveLoop::with_constants(settings, estimate, control),
            initial,
            partitions,
            descriptions: HashMap::new(),
            sent_total: 0,
            exact: scenario.observation.commits == CommitView::Tail,
            read: false,
            records: None,
        }
    }

    /// Keeps every tick from now on.
    #[must_use]
    pub fn recording(mut self) -> Self {
        self.records = Some(Vec::new());
        self
    }

    /// The ticks that were kept.
    #[must_use]
    pub fn records(&self) -> &[TickRecord] {
        self.records.as_deref().unwrap_or(&[])
    }

    fn take(&mut self, seen: &Observation<'_>) {
        for (group, committed) in self.snapshot.groups.iter_mut().zip(seen.committed) {
            group.read_at = instant(seen.commits_at);
            let Ok(commits) = &mut group.commits else { continue };
            for (partition, offset) in self.partitions.iter().zip(committed) {
                match offset {
                    Some(offset) => commits.insert(partition.clone(), *offset),
                    None => commits.remove(partition),
                };
            }
        }
        for topic in &mut self.snapshot.topics {
            topic.read_at = instant(seen.ends_at);
            let Ok(partitions) = &mut topic.partitions else { continue };
            for ((partition, end), stable) in partitions.iter_mut().zip(seen.ends).zip(seen.last_stable) {
                partition.end = Ok(*end);
                partition.last_stable = Some(Ok(*stable));
            }
        }
        for (index, described) in seen.described.iter().enumerate() {
            if let Some(described) = described {
                self.descriptions.insert(group_id(index), Ok(self.describe(index, *described)));
            }
        }
        self.sent_total = seen.sent_total;
    }

    fn has_new_commits(&self, seen: &Observation<'_>) -> bool {
        self.snapshot.groups.iter().zip(seen.committed).any(|(group, committed)| {
            let known = |partition| group.commits.as_ref().ok().and_then(|commits| commits.get(partition).copied());
            self.partitions.iter().zip(committed).any(|(partition, offset)| known(partition) != *offset)
        })
    }

    fn turn(&mut self, now: f64, fresh: bool) -> f64 {
        let record = self.valve.tick(&TickInput {
            now: instant(now),
            unix_millis: (now * 1e3) as u64,
            snapshot: fresh.then_some(&self.snapshot),
            descriptions: &self.descriptions,
            sent_total: self.sent_total,
        });
        let rate = record.rate_decided.as_f64();
        if let Some(records) = &mut self.records {
            records.push(record);
        }
        rate
    }

    fn describe(&self, index: usize, seen: Described) -> GroupDescription {
        GroupDescription {
            group: group_id(index),
            state: seen.state,
            members: seen.members,
            assigned_partitions: if seen.members > 0 { self.partitions.len() } else { 0 },
            kind: GroupKind::Classic,
        }
    }
}

impl Policy for Shipped {
    fn tick(&mut self, now: f64, seen: Option<&Observation<'_>>) -> f64 {
        if let Some(seen) = seen {
            if self.exact && self.read && self.has_new_commits(seen) {
                // The loop places a commit between two readings: so its exact time is the end of a very short one.
                let before = instant(seen.commits_at - EXACT_SECONDS);
                self.snapshot.groups.iter_mut().for_each(|group| group.read_at = before);
                self.turn(now - EXACT_SECONDS, true);
            }
            self.take(seen);
            self.read = true;
        }
        self.turn(now, seen.is_some())
    }

    fn initial(&self) -> f64 {
        self.initial
    }
}

/// What a valve for `scenario` is told.
fn settings(scenario: &Scenario, start: ShippedStart) -> ValveSettings {
    let mut settings = ValveSettings::new("simulated", vec![Topic::new(TOPIC)]);
    let protect = |(index, plan): (usize, &GroupPlan)| {
        ProtectedGroup::new(group_id(index)).isolation(plan.told_isolation.unwrap_or(plan.isolation))
    };
    settings.protect = scenario.groups.iter().enumerate().map(protect).collect();
    settings.poll_interval = Duration::from_secs_f64(scenario.observation.poll_seconds);
    settings.min_rate = MessagesPerSecond::new(SMALLEST_RATE).expect("a small positive number is a rate");
    let rate = match start {
        ShippedStart::Open => None,
        ShippedStart::Hinted => Some(scenario.nominal_capacity()),
        ShippedStart::Slow(rate) => rate,
    };
    settings.initial_rate = rate.and_then(MessagesPerSecond::new);
    settings.start = if matches!(start, ShippedStart::Slow(_)) { Start::Slow } else { Start::Open };
    settings
}

fn empty_snapshot(partitions: &[TopicPartition], settings: &ValveSettings) -> Snapshot {
    let commits = |group: &ProtectedGroup| GroupCommits {
        group: group.group.clone(),
        read_at: instant(0.0),
        commits: Ok(HashMap::with_capacity(partitions.len())),
    };
    let ends = |partition: &TopicPartition| PartitionEnds {
        partition: partition.partition,
        start: None,
        end: Ok(0),
        last_stable: None,
    };
    Snapshot {
        groups: settings.protect.iter().map(commits).collect(),
        topics: vec![TopicEnds {
            topic: Topic::new(TOPIC),
            id: None,
            read_at: instant(0.0),
            partitions: Ok(partitions.iter().map(ends).collect()),
            retention: None,
        }],
    }
}

fn group_id(index: usize) -> GroupId {
    GroupId::new(format!("g{index}"))
}

/// Simulated time begins at 0, some of its clocks a little before.
fn instant(seconds: f64) -> Instant {
    Instant::from_seconds(ORIGIN_SECONDS + seconds)
}

/// Between the two readings that enclose a commit whose time is known, seconds.
const EXACT_SECONDS: f64 = 1e-3;
const TOPIC: &str = "t";
const ORIGIN_SECONDS: f64 = 3600.0;
/// Far below every scenario: the law alone decides, messages/s.
const SMALLEST_RATE: f64 = 1e-3;
