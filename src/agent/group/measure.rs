//! What a group's commits and the log say partition by partition: lag, age of the oldest unread record, runway. Pure.

use super::{GroupTrack, LogView, TickContext};
use crate::estimate::{Age, Runway, Unread};
use crate::lag::PartitionOffsets;

impl GroupTrack {
    /// Works out the lag of each partition anew; those that have none are not in it.
    pub(super) fn measure(&mut self, log: &LogView) {
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
        self.lags = lags;
    }

    /// Age of the oldest record that is not committed, over all partitions: at most one commit interval above that of the
    /// oldest unread one. `None` where nothing is unread, or no lag is known.
    pub(super) fn age(&self, context: &TickContext<'_>, log: &LogView) -> Option<Age> {
        let ages = self.lags.iter().filter(|(_, lag)| lag.messages > 0);
        let ages = ages.filter_map(|(place, lag)| self.age_of(context, log, *place, lag.messages));
        ages.reduce(|a, b| Age { least: a.least.max(b.least), most: a.most.zip(b.most).map(|(a, b)| a.max(b)) })
    }

    fn age_of(&self, context: &TickContext<'_>, log: &LogView, place: usize, unread: i64) -> Option<Age> {
        let oldest = self.ends(log)[place]? - unread;
        log.ages.of(place, oldest as f64, context.now)
    }

    /// The shortest runway of all partitions whose retention is known.
    pub(super) fn look_ahead(&self, context: &TickContext<'_>, log: &LogView) -> Runway {
        let Some(seen) = self.assessment.as_ref().filter(|_| !log.retention.is_empty()) else {
            return Runway::default();
        };
        let runways = self.lags.iter().filter_map(|(place, lag)| {
            let retention = log.retention.get(&log.partitions[*place].topic)?;
            let written = context.production.per_partition().get(*place).copied().unwrap_or(0.0);
            let unread = Unread {
                messages: lag.messages as f64,
                oldest: if lag.messages > 0 { self.age_of(context, log, *place, lag.messages) } else { None },
                speed: self.estimator.capacity_of(*place).max(written),
            };
            Some(Runway::of(retention, unread, seen.drain_seconds))
        });
        runways.reduce(Runway::min).unwrap_or_default()
    }
}
