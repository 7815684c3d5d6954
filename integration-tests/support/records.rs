//! Ticks made by hand, for tests of what shows them.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::sync::Arc;
use std::time::Duration;

use lagvalve::agent::{Advice, Cause, GroupRecord, GroupVerdict, Mode, PartitionRecord, Quality, TickRecord};
use lagvalve::control::BoundBy;
use lagvalve::telemetry::{LimiterReading, PollReading, Readings, ValveReading};
use lagvalve::units::RateLimit;

/// Readings that do not change.
pub(crate) struct Fixed {
    valves: Vec<ValveReading>,
    polls: Vec<PollReading>,
}

impl Fixed {
    /// These ticks on one cluster, with a grace of 15 s.
    pub(crate) fn fresh(records: Vec<TickRecord>) -> Self {
        let reading = |record| ValveReading {
            cluster: "main".to_owned(),
            record: Arc::new(record),
            limiter: LimiterReading { waiting: 3, granted_total: 12_000, throttled_seconds_total: 4.5 },
            fresh_within: Duration::from_secs(15),
        };
        Self { valves: records.into_iter().map(reading).collect(), polls: Vec::new() }
    }

    /// One valve of which everything is known.
    pub(crate) fn full() -> Self {
        let mut fixed = Self::fresh(vec![full_record()]);
        let cluster = "main".to_owned();
        fixed.polls.push(PollReading { cluster, polls_total: 900, requests_total: 2700 });
        fixed
    }
}

impl Readings for Fixed {
    fn valves(&self) -> Vec<ValveReading> {
        self.valves.clone()
    }

    fn polls(&self) -> Vec<PollReading> {
        self.polls.clone()
    }
}

/// A valve that has just started: nothing is known.
pub(crate) fn record(valve: &str) -> TickRecord {
    TickRecord {
        v: 1,
        seq: 1,
        at: 1_800_000_000_000,
        mono_ms: 3_600_000,
        valve: valve.into(),
        mode: Mode::Enforce,
        config_id: None,
        groups: Vec::new(),
        production: None,
        live: None,
        terms: None,
        rate_unbounded: RateLimit::Unlimited,
        rate_decided: RateLimit::Unlimited,
        rate_allocated: RateLimit::Unlimited,
        rate_applied: None,
        bound_by: BoundBy::Learning,
        causes: Vec::new(),
        advice: None,
        eta_seconds: None,
        signal_age_seconds: None,
        explain: "orders: watching the group before deciding".to_owned(),
        input: None,
        config: None,
    }
}

fn full_record() -> TickRecord {
    let rate = RateLimit::from_f64(1090.0).unwrap();
    TickRecord {
        seq: 900,
        groups: vec![GroupRecord {
            group: "billing".into(),
            state: GroupVerdict::CatchingUp,
            quality: Quality::Fresh,
            coverage: 1.0,
            cadence_seconds: Some(5.0),
            lag_messages: Some(9240.5),
            committed_lag: Some(11_000),
            lost_messages: Some(0),
            age_least_seconds: Some(4.5),
            age_most_seconds: Some(5.5),
            runway_seconds: Some(604_794.5),
            drain_seconds: Some(4.0),
            capacity: Some(2310.0),
            set_point_seconds: 2.0,
            members: Some(3),
            excluded_partitions: Vec::new(),
            problem: None,
            partitions: vec![PartitionRecord("orders".into(), 0, Some(5), 1, Some(9), 2, Some(0))],
        }],
        production: Some(1390.0),
        live: Some(300.0),
        rate_unbounded: rate,
        rate_decided: rate,
        rate_allocated: rate,
        rate_applied: Some(1080.0),
        bound_by: BoundBy::Draining,
        causes: vec![Cause { group: Some("billing".into()), bound_by: BoundBy::Draining, rate }],
        advice: Some(Advice::ScaleConsumers),
        eta_seconds: Some(12.0),
        signal_age_seconds: Some(0.4),
        ..record("orders")
    }
}
