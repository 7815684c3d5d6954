//! Readings → Prometheus text. Every scrape is made afresh from the latest records: what is gone leaves no stale
//! sample behind, and what is unknown has none.

use std::collections::HashMap;

use ::prometheus::core::Collector;
use ::prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};

use super::catalogue::{self, CATALOGUE, Kind, Metric};
use super::readings::{Readings, ValveReading};
use crate::agent::{Advice, GroupRecord, GroupVerdict, Mode};
use crate::control::BoundBy;

/// The content type of what [`render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is known now, in the text format. No limit is `+Inf`; what is unknown has no sample.
#[must_use]
pub fn render(readings: &dyn Readings) -> String {
    let mut page = Page::new();
    page.set(&catalogue::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    for reading in readings.valves() {
        page.valve(&reading);
    }
    for poll in readings.polls() {
        let cluster = [poll.cluster.as_str()];
        page.set(&catalogue::POLLS, &cluster, poll.polls_total as f64);
        page.set(&catalogue::POLL_REQUESTS, &cluster, poll.requests_total as f64);
    }
    page.encode()
}

enum Family {
    Gauge(GaugeVec),
    Counter(CounterVec),
}

struct Page {
    registry: Registry,
    families: HashMap<&'static str, Family>,
}

impl Page {
    fn new() -> Self {
        let registry = Registry::new();
        let mut families = HashMap::with_capacity(CATALOGUE.len());
        for metric in CATALOGUE {
            let opts = Opts::new(metric.name, metric.help);
            let sound = "a test holds the catalogue to the rules";
            let (family, collector): (Family, Box<dyn Collector>) = match metric.kind {
                Kind::Gauge | Kind::StateSet => {
                    let gauges = GaugeVec::new(opts, metric.labels).expect(sound);
                    (Family::Gauge(gauges.clone()), Box::new(gauges))
                }
                Kind::Counter => {
                    let counters = CounterVec::new(opts, metric.labels).expect(sound);
                    (Family::Counter(counters.clone()), Box::new(counters))
                }
            };
            registry.register(collector).expect(sound);
            families.insert(metric.name, family);
        }
        Self { registry, families }
    }

    fn set(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        match &self.families[metric.name] {
            Family::Gauge(gauges) => gauges.with_label_values(labels).set(value),
            Family::Counter(counters) => {
                let counter = counters.with_label_values(labels);
                counter.inc_by((value - counter.get()).max(0.0));
            }
        }
    }

    fn set_known(&mut self, metric: &Metric, labels: &[&str], value: Option<f64>) {
        if let Some(value) = value {
            self.set(metric, labels, value);
        }
    }

    /// `labels` and then each of `all`: 1 for `current`, else 0.
    fn set_state(&mut self, metric: &Metric, labels: &[&str], all: impl Iterator<Item = &'static str>, current: &str) {
        for name in all {
            let labels: Vec<&str> = labels.iter().copied().chain([name]).collect();
            self.set(metric, &labels, f64::from(u8::from(name == current)));
        }
    }

    fn valve(&mut self, reading: &ValveReading) {
        let record = &reading.record;
        let name = record.valve.as_str();
        let valve = [name];
        let modes = [Mode::Off, Mode::Observe, Mode::Enforce].into_iter().map(mode_name);
        self.set_state(&catalogue::VALVE_MODE, &valve, modes, mode_name(record.mode));
        let reasons = BoundBy::ALL.iter().map(|reason| reason.name());
        self.set_state(&catalogue::BOUND_BY, &valve, reasons, record.bound_by.name());
        if let Some(advice) = record.advice {
            let all =
                [Advice::ScaleConsumers, Advice::AddPartitions, Advice::FixPartition, Advice::SlowProducer].into_iter();
            self.set_state(&catalogue::ADVICE, &valve, all.map(Advice::name), advice.name());
        }
        self.set(&catalogue::TICKS, &valve, record.seq as f64);
        self.set(&catalogue::LAST_TICK, &valve, record.at as f64 / 1e3);
        self.set_known(&catalogue::SIGNAL_AGE, &valve, record.signal_age_seconds);
        self.set_known(&catalogue::ETA, &valve, record.eta_seconds);
        self.set(&catalogue::RATE_UNBOUNDED, &valve, record.rate_unbounded.as_f64());
        self.set(&catalogue::RATE_DECIDED, &valve, record.rate_decided.as_f64());
        self.set(&catalogue::RATE_ALLOCATED, &valve, record.rate_allocated.as_f64());
        self.set_known(&catalogue::RATE_APPLIED, &valve, record.rate_applied);
        self.set_known(&catalogue::PRODUCTION, &[name, "live"], record.live);
        let governed = record.production.zip(record.live).map(|(all, live)| (all - live).max(0.0));
        self.set_known(&catalogue::PRODUCTION, &[name, "governed"], governed);
        for group in &record.groups {
            self.group(name, group);
        }
        self.set(&catalogue::LIMITER_WAITING, &valve, reading.limiter.waiting as f64);
        self.set(&catalogue::LIMITER_GRANTED, &valve, reading.limiter.granted_total as f64);
        self.set(&catalogue::LIMITER_THROTTLED, &valve, reading.limiter.throttled_seconds_total);
    }

    fn group(&mut self, valve: &str, group: &GroupRecord) {
        let labels = [valve, group.group.as_str()];
        let states = GroupVerdict::ALL.iter().map(|state| state.name());
        self.set_state(&catalogue::GROUP_STATE, &labels, states, group.state.name());
        self.set_known(&catalogue::GROUP_LAG, &labels, group.lag_messages);
        self.set_known(&catalogue::GROUP_COMMITTED_LAG, &labels, group.committed_lag.map(|lag| lag as f64));
        self.set_known(&catalogue::GROUP_AGE_LEAST, &labels, group.age_least_seconds);
        self.set_known(&catalogue::GROUP_AGE_MOST, &labels, group.age_most_seconds);
        self.set_known(&catalogue::GROUP_RUNWAY, &labels, group.runway_seconds);
        self.set_known(&catalogue::GROUP_LOST, &labels, group.lost_messages.map(|lost| lost as f64));
        self.set_known(&catalogue::GROUP_DRAIN, &labels, group.drain_seconds);
        self.set(&catalogue::GROUP_SET_POINT, &labels, group.set_point_seconds);
        self.set_known(&catalogue::GROUP_CAPACITY, &labels, group.capacity);
        self.set_known(&catalogue::GROUP_CADENCE, &labels, group.cadence_seconds);
        self.set(&catalogue::GROUP_COVERAGE, &labels, group.coverage);
        self.set_known(&catalogue::GROUP_MEMBERS, &labels, group.members.map(|members| members as f64));
        self.set(&catalogue::GROUP_EXCLUDED, &labels, group.excluded_partitions.len() as f64);
    }

    fn encode(&self) -> String {
        let families = self.registry.gather();
        let text = TextEncoder::new().encode_to_string(&families).expect("gauges and counters encode into memory");
        // The crate writes Rust's "inf"; the format's own word is +Inf.
        let mut fixed = String::with_capacity(text.len() + 64);
        for line in text.lines() {
            match line.strip_suffix(" inf").filter(|_| !line.starts_with('#')) {
                Some(sample) => fixed.extend([sample, " +Inf"]),
                None => fixed.push_str(line),
            }
            fixed.push('\n');
        }
        fixed
    }
}

const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Off => "off",
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}
