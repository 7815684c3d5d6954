//! A group's part of a tick's record. Pure.

use super::{GroupTrack, LogView, TickContext};
use crate::agent::record::{Advice, Cause, GroupRecord, PartitionRecord, Quality};
use crate::control::BoundBy;
use crate::id::TopicPartition;
use crate::lag::PartitionLag;
use crate::units::RateLimit;

impl GroupTrack {
    pub(in crate::agent) fn cause(&self) -> Cause {
        Cause {
            group: Some(self.settings.group.clone()),
            bound_by: self.decision.bound_by,
            rate: RateLimit::from_f64(self.decision.rate).unwrap_or(RateLimit::Unlimited),
        }
    }

    pub(in crate::agent) fn advice(&self, partitions: usize) -> Option<Advice> {
        let seen = self.assessment.as_ref()?;
        if !seen.excluded.is_empty() {
            return Some(Advice::FixPartition);
        }
        if !self.governor.is_acting() || self.decision.bound_by == BoundBy::Demand {
            return None;
        }
        Some(match self.members() {
            Some(members) if members > 0 && members < partitions => Advice::ScaleConsumers,
            Some(members) if members >= partitions => Advice::AddPartitions,
            _ => Advice::SlowProducer,
        })
    }

    pub(in crate::agent) fn record(&self, context: &TickContext<'_>, log: &LogView) -> GroupRecord {
        let sum = |of: fn(&PartitionLag) -> i64| self.lags.iter().map(|(_, lag)| of(lag)).sum();
        let known = |sum: i64| (!self.lags.is_empty()).then_some(sum);
        let age = self.age();
        let seen = self.assessment.as_ref();
        GroupRecord {
            group: self.settings.group.clone(),
            state: self.verdict(context, log),
            quality: self.quality(context, log),
            coverage: if log.present == 0 { 0.0 } else { self.lags.len() as f64 / log.present as f64 },
            cadence_seconds: self.estimator.cadence().seconds(),
            lag_messages: seen.map(|seen| seen.lag_messages),
            committed_lag: known(sum(|lag| lag.messages)),
            lost_messages: known(sum(|lag| lag.lost)),
            age_least_seconds: age.map(|age| age.least),
            age_most_seconds: age.and_then(|age| age.most),
            runway_seconds: self.runway.of_oldest_seconds,
            drain_seconds: seen.map(|seen| seen.drain_seconds),
            capacity: seen.map(|seen| seen.capacity_total),
            set_point_seconds: self.decision.set_point_seconds,
            members: self.members(),
            excluded_partitions: seen.map_or_else(Vec::new, |seen| {
                seen.excluded.iter().map(|index| log.partitions[*index].to_string()).collect()
            }),
            problem: self.problem(context, log),
            partitions: self.partition_records(log),
        }
    }

    fn partition_records(&self, log: &LogView) -> Vec<PartitionRecord> {
        let ends = self.ends(log);
        let record = |(index, partition): (usize, &TopicPartition)| {
            PartitionRecord(
                partition.topic.clone(),
                partition.partition,
                self.committed.get(index).copied().flatten(),
                (self.commits_at * 1e3) as u64,
                ends[index],
                (log.ends_at * 1e3) as u64,
                log.starts[index],
            )
        };
        log.partitions.iter().enumerate().map(record).collect()
    }

    fn quality(&self, context: &TickContext<'_>, log: &LogView) -> Quality {
        match self.last_usable_at {
            None => Quality::Unknown,
            Some(at) if at < context.now => Quality::Held,
            Some(_) if log.fresh < log.present || self.beyond.iter().any(|polls| *polls > 0) => Quality::Degraded,
            Some(_) => Quality::Fresh,
        }
    }
}
