//! One word for how a group is, and one sentence where something is wrong. Pure.

use super::{GroupTrack, LogView, TickContext};
use crate::agent::record::GroupVerdict;
use crate::id::TopicPartition;
use crate::lag::{GroupState, Isolation};
use crate::units::HumanCount;

impl GroupTrack {
    pub(super) fn verdict(&self, context: &TickContext<'_>, log: &LogView) -> GroupVerdict {
        let state = self.coordinator_state();
        if self.last_usable_at.is_none() {
            return GroupVerdict::Unmeasured;
        }
        if self.estimator.never_committed() {
            return match state {
                Some(GroupState::Missing | GroupState::Dead) => GroupVerdict::Dead,
                _ => GroupVerdict::NeverCommitted,
            };
        }
        if self.lags.iter().any(|(_, lag)| lag.lost > 0) {
            return GroupVerdict::DataLost;
        }
        let Some(seen) = &self.assessment else { return GroupVerdict::Unmeasured };
        if self.last_usable_at.is_some_and(|at| self.estimator.overdue(at))
            && seen.drain_seconds > self.decision.set_point_seconds
        {
            return match state {
                Some(GroupState::Empty) => GroupVerdict::Empty,
                Some(GroupState::Missing | GroupState::Dead) => GroupVerdict::Dead,
                Some(GroupState::Rebalancing) => GroupVerdict::Rebalancing,
                _ => GroupVerdict::Stalled,
            };
        }
        if self.rewound_at.is_some_and(|at| context.now - at < REWOUND_SECONDS) {
            return GroupVerdict::Rewound;
        }
        if state == Some(GroupState::Rebalancing) {
            return GroupVerdict::Rebalancing;
        }
        if self.held_back(context, log).is_some() {
            return GroupVerdict::TransactionOpen;
        }
        if seen.drain_seconds <= BEHIND_FACTOR * self.decision.set_point_seconds {
            return GroupVerdict::Steady;
        }
        let inflow = context.production.mean().unwrap_or(0.0);
        if inflow > seen.feed_forward() { GroupVerdict::FallingBehind } else { GroupVerdict::CatchingUp }
    }

    /// Why the group, or part of it, could not be read, or what is wrong with what was read.
    pub(super) fn problem(&self, context: &TickContext<'_>, log: &LogView) -> Option<String> {
        let described = || self.description.as_ref().and_then(|seen| seen.as_ref().err()).map(ToString::to_string);
        let unreadable = self.problem.clone().or_else(described);
        let problem = unreadable.or_else(|| self.beyond_the_end(log)).or_else(|| self.lost(log)).or_else(|| {
            let (place, seconds, waiting) = self.held_back(context, log)?;
            Some(format!(
                "a transaction on {} has been open for {} s and {} offsets wait behind it: its producer must end it \
                 (kafka-transactions.sh find-hanging shows it)",
                log.partitions[place],
                HumanCount(seconds),
                HumanCount(waiting as f64)
            ))
        });
        problem.or_else(|| self.short_of_runway()).or_else(|| self.untold_retention(log))
    }

    /// A shortest runway was asked for that nobody can see.
    fn untold_retention(&self, log: &LogView) -> Option<String> {
        self.settings.min_runway.filter(|_| self.usable_polls >= PATIENT_POLLS)?;
        let untold = |partition: &&TopicPartition| !log.retention.contains_key(&partition.topic);
        let topic = &log.partitions.iter().find(untold)?.topic;
        Some(format!(
            "min_runway has no effect on topic {topic}, whose retention may not be read: grant DESCRIBE_CONFIGS on TOPIC \
             {topic} (--operation DescribeConfigs --topic {topic})"
        ))
    }

    /// Unread records that retention deletes sooner than the operator wants, throttled or not.
    fn short_of_runway(&self) -> Option<String> {
        let left = self.runway.of_oldest_seconds?;
        if left >= self.settings.min_runway?.as_secs_f64() {
            return None;
        }
        Some(match left {
            left if left <= 0.0 => "retention may be deleting records that it has not read".to_owned(),
            left => format!("retention deletes its oldest unread records in about {} s", HumanCount(left)),
        })
    }

    fn beyond_the_end(&self, log: &LogView) -> Option<String> {
        let beyond = self.beyond.iter().enumerate().filter(|(_, polls)| **polls >= BEYOND_POLLS);
        let places: Vec<usize> = beyond.map(|(place, _)| place).collect();
        let names = names(log, &places)?;
        Some(format!(
            "its commits on {names} are beyond the end of the log, which was cut or made anew: its lag there is unknown \
             until it commits again"
        ))
    }

    fn lost(&self, log: &LogView) -> Option<String> {
        let lost: Vec<(usize, i64)> =
            self.lags.iter().filter(|(_, lag)| lag.lost > 0).map(|(place, lag)| (*place, lag.lost)).collect();
        let sum: i64 = lost.iter().map(|(_, lost)| lost).sum();
        let places: Vec<usize> = lost.iter().map(|(place, _)| *place).collect();
        let names = names(log, &places)?;
        Some(format!("retention deleted {} messages of {names} before it had read them", HumanCount(sum as f64)))
    }

    /// Where an open transaction holds back the most from a group that has read all it may: place, seconds, offsets.
    fn held_back(&self, context: &TickContext<'_>, log: &LogView) -> Option<(usize, f64, i64)> {
        if self.settings.isolation != Isolation::ReadCommitted {
            return None;
        }
        let waiting = (0..log.partitions.len()).filter_map(|place| {
            let (seconds, waiting) = log.held_back(place, context.now)?;
            // The marker of the transaction before counts as one offset.
            let has_read_it = self.committed.get(place).copied().flatten()? + 1 >= log.last_stable[place]?;
            (seconds >= OPEN_SECONDS && has_read_it).then_some((place, seconds, waiting))
        });
        waiting.max_by_key(|(_, _, waiting)| *waiting)
    }
}

/// The first of some partitions, and how many more; `None` for none.
fn names(log: &LogView, places: &[usize]) -> Option<String> {
    let first = &log.partitions[*places.first()?];
    Some(match places.len() {
        1 => first.to_string(),
        2 => format!("{first} and 1 more partition"),
        many => format!("{first} and {} more partitions", many - 1),
    })
}

/// A rewind is named for so long, seconds (wording only).
const REWOUND_SECONDS: f64 = 10.0;
/// Drain time above so many set-points is called behind (wording only).
const BEHIND_FACTOR: f64 = 1.5;
/// A commit beyond the end of the log is named when it was so in that many polls: an end may be read in the middle of a
/// leader's move.
const BEYOND_POLLS: u32 = 2;
/// Retention is asked for beside the first poll; that it was not told is said after so many.
const PATIENT_POLLS: u32 = 10;
/// A transaction that stays open for longer is named, seconds: above the commit interval of Kafka Streams with
/// exactly-once (0.1 s) and of usual sinks, below `transaction.timeout.ms` (60 s); guessed.
const OPEN_SECONDS: f64 = 10.0;
