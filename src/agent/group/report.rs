//! A group's part of a tick's record. Pure.

use super::{GroupTrack, LogView, TickContext};
use crate::agent::record::{Advice, Cause, GroupRecord, PartitionRecord, Quality};
use crate::control::BoundBy;
use crate::id::TopicPartition;
use crate::lag::{PartitionLag, PartitionOffsets};
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
        let (mut measured, mut committed_lag, mut lost) = (0, 0, 0);
        for (_, lag) in self.lags(log) {
            measured += 1;
            committed_lag += lag.messages;
            lost += lag.lost;
        }
        let seen = self.assessment.as_ref();
        GroupRecord {
            group: self.settings.group.clone(),
            state: self.verdict(context, log),
            quality: self.quality(context, log),
            coverage: if log.present == 0 { 0.0 } else { f64::from(measured) / log.present as f64 },
            cadence_seconds: self.estimator.cadence().seconds(),
            lag_messages: seen.map(|seen| seen.lag_messages),
            committed_lag: (measured > 0).then_some(committed_lag),
            lost_messages: (measured > 0).then_some(lost),
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

    /// The lag of each partition that has one, by place.
    pub(super) fn lags(&self, log: &LogView) -> impl Iterator<Item = (usize, PartitionLag)> {
        let ends = self.ends(log);
        let lag = move |place: usize| {
            let committed = self.committed.get(place).copied().flatten();
            // A group that reads further than its isolation says has read all that it may.
            let end = ends[place].max(committed.filter(|at| Some(*at) <= log.high_watermarks[place]));
            let offsets = PartitionOffsets { committed, log_start: log.starts[place], end: ends[place].and(end) };
            offsets.lag().ok().map(|lag| (place, lag))
        };
        (0..log.partitions.len()).filter(|place| log.is_present(*place)).filter_map(lag)
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
