//! What telemetry reads: the seam between a running agent and everything that shows it.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::{Mode, TickRecord};
use crate::clock::Instant;

/// Something that has valves to show. Cheap to ask: it returns what is in memory.
pub trait Readings: Send + Sync {
    /// The latest of every valve, in a steady order.
    fn valves(&self) -> Vec<ValveReading>;

    /// What observing costs, one entry a cluster.
    fn polls(&self) -> Vec<PollReading>;
}

/// The latest of one valve.
#[derive(Clone, Debug)]
pub struct ValveReading {
    /// The cluster, as the configuration calls it.
    pub cluster: String,
    /// The last turn of the loop.
    pub record: Arc<TickRecord>,
    /// What the valve's limiter counts.
    pub limiter: LimiterReading,
    /// Up to which age the signal counts as fresh.
    pub fresh_within: Duration,
}

impl ValveReading {
    /// Whether lag was read recently, `now` on the agent's clock. A valve that is off needs no signal; a loop that
    /// does not turn any more has none.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        let since_tick = now.as_millis().saturating_sub(self.record.mono_ms) as f64 / 1e3;
        let age = self.record.signal_age_seconds.map(|age| age + since_tick);
        self.record.mode == Mode::Off || age.is_some_and(|age| age <= self.fresh_within.as_secs_f64())
    }
}

/// What a limiter counts, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LimiterReading {
    /// Callers waiting now.
    pub waiting: usize,
    /// Messages let through.
    pub granted_total: u64,
    /// Seconds in which at least one caller waited.
    pub throttled_seconds_total: f64,
}

/// What observing one cluster costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollReading {
    /// The cluster, as the configuration calls it.
    pub cluster: String,
    /// Polls begun.
    pub polls_total: u64,
    /// Requests made by them.
    pub requests_total: u64,
}
