//! The speed of a group: a schedule that its members share. Pure: time is an argument.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lagvalve::clock::Instant;

/// What all members may take together: a schedule on which each reserves the time that its batch takes. A member that
/// has nothing to do leaves its time to the others.
pub(super) struct Pacer(Mutex<Schedule>);

struct Schedule {
    per_second: f64,
    free_at: Instant,
}

impl Pacer {
    /// A group that takes `per_second` records/s.
    pub(super) fn new(per_second: f64) -> Self {
        Self(Mutex::new(Schedule { per_second, free_at: Instant::default() }))
    }

    /// From the next batch on it takes `per_second` records/s.
    pub(super) fn set(&self, per_second: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).per_second = per_second;
    }

    /// Records of one batch: 50 ms of work, at most 500 as real clients poll by default.
    pub(super) fn batch(&self) -> u64 {
        let per_second = self.0.lock().unwrap_or_else(PoisonError::into_inner).per_second;
        ((per_second * BATCH_SECONDS) as u64).clamp(1, MAX_BATCH)
    }

    /// When `records` more are done. Time in which there was nothing to do is lost; being woken late is made up for.
    pub(super) fn reserve(&self, records: u64, starved: bool, now: Instant) -> Instant {
        let mut schedule = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = if starved { now } else { now - LATENESS_MADE_UP };
        let takes = Duration::from_secs_f64(records as f64 / schedule.per_second);
        schedule.free_at = schedule.free_at.max(earliest) + takes;
        schedule.free_at
    }
}

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
