//! What a group's commits and the log say partition by partition: lag, age of the oldest unread record, runway. Pure.

use super::{GroupTrack, LogView, TickContext};
use crate::estimate::{Age, Runway, Unread};
use crate::lag::PartitionOffsets;

impl GroupTrack {
    /// Works out anew the lag of each partition that has one, and the ages of what is unread.
    pub(super) fn measure(&mut self, context: &TickContext<'_>, log: &LogView) {
        let mut lags = std::mem::take(&mut self.lags);
        lags.clear();
        let ends = self.ends(log);
        lags.extend((0..log.partitions.len()).filter(|place| log.is_present(*place)).filter_map(|place| {
            let committed = self.committed.get(place).copied().flatten();
            // A group that reads further than its isolation says has read all that it may.
            let end = ends[place].max(committed.filter(|at| Some(*at) <= log.high_watermarks[place]));
            let offsets = PartitionOffsets { committed, log_start: log.starts[place], end: ends[place].and(end) };
            offsets.lag().ok().map(|lag| (place, lag))
        }));
        let mut unread: Vec<Vec<(usize, f64)>> = vec![Vec::new(); log.topics.len()];
        for (place, lag) in lags.iter().filter(|(_, lag)| lag.messages > 0) {
            if let Some(end) = ends[*place] {
                unread[log.topic_of[*place]].push((*place, (end - lag.messages) as f64));
            }
        }
        self.ages = unread.iter_mut().map(|unread| log.ages.oldest(unread, context.now)).collect();
        self.lags = lags;
    }

    /// Age of the oldest record that is not committed, over all partitions: at most one commit interval above that of the
    /// oldest unread one. `None` where nothing is unread, or no lag is known.
    pub(super) fn age(&self) -> Option<Age> {
        self.ages.iter().copied().flatten().reduce(Age::max)
    }

    /// The shortest runway of all partitions whose retention is known.
    pub(super) fn look_ahead(&self, context: &TickContext<'_>, log: &LogView) -> Runway {
        let Some(seen) = self.assessment.as_ref().filter(|_| !log.retention.is_empty()) else {
            return Runway::default();
        };
        let retention: Vec<_> = log.topics.iter().map(|topic| log.retention.get(topic)).collect();
        let runways = self.lags.iter().filter_map(|(place, lag)| {
            let topic = log.topic_of[*place];
            let written = context.production.per_partition().get(*place).copied().unwrap_or(0.0);
            let unread = Unread {
                messages: lag.messages as f64,
                oldest: self.ages[topic],
                speed: self.estimator.capacity_of(*place).max(written),
            };
            Some(Runway::of(retention[topic]?, unread, seen.drain_seconds))
        });
        runways.reduce(Runway::min).unwrap_or_default()
    }
}
