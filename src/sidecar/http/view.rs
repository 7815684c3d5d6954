//! Bodies of answers.

use serde::Serialize;
use serde_json::{Value, json};

use crate::agent::{Cause, GroupRecord, TickRecord};
use crate::telemetry::{History, ValveReading};

/// A tick without its partitions, and whether its signal is fresh.
pub(super) fn valve(reading: &ValveReading) -> Value {
    let record = slim(&reading.record);
    let mut body = serde_json::to_value(record).unwrap_or_default();
    if let Value::Object(members) = &mut body {
        members.insert("cluster".to_owned(), reading.cluster.as_str().into());
        members.insert("fresh".to_owned(), reading.is_fresh().into());
        members.insert("waiting".to_owned(), reading.limiter.waiting.into());
    }
    body
}

/// The sentence and everything it rests on.
pub(super) fn explain(reading: &ValveReading) -> Value {
    #[derive(Serialize)]
    struct Explanation<'a> {
        valve: &'a str,
        explain: &'a str,
        bound_by: &'a str,
        bound_by_means: &'a str,
        causes: &'a [Cause],
        advice: Option<&'static str>,
    }
    let record = &reading.record;
    json!(Explanation {
        valve: record.valve.as_str(),
        explain: &record.explain,
        bound_by: record.bound_by.name(),
        bound_by_means: record.bound_by.sentence(),
        causes: &record.causes,
        advice: record.advice.map(crate::agent::Advice::name),
    })
}

/// The last ticks, oldest first.
pub(super) fn journal(name: &str, history: &History) -> Value {
    json!({ "valve": name, "points": history.iter().collect::<Vec<_>>() })
}

/// Copies all but the partitions, which may be ten thousand.
fn slim(record: &TickRecord) -> TickRecord {
    let groups = record.groups.iter().map(slim_group).collect();
    let TickRecord { valve, terms, causes, explain, .. } = record;
    TickRecord {
        v: record.v,
        seq: record.seq,
        at: record.at,
        mono_ms: record.mono_ms,
        valve: valve.clone(),
        mode: record.mode,
        groups,
        production: record.production,
        live: record.live,
        terms: *terms,
        rate_unbounded: record.rate_unbounded,
        rate_decided: record.rate_decided,
        rate_allocated: record.rate_allocated,
        rate_applied: record.rate_applied,
        bound_by: record.bound_by,
        causes: causes.clone(),
        advice: record.advice,
        eta_seconds: record.eta_seconds,
        signal_age_seconds: record.signal_age_seconds,
        explain: explain.clone(),
    }
}

fn slim_group(group: &GroupRecord) -> GroupRecord {
    GroupRecord {
        group: group.group.clone(),
        state: group.state,
        quality: group.quality,
        coverage: group.coverage,
        cadence_seconds: group.cadence_seconds,
        lag_messages: group.lag_messages,
        committed_lag: group.committed_lag,
        drain_seconds: group.drain_seconds,
        capacity: group.capacity,
        set_point_seconds: group.set_point_seconds,
        members: group.members,
        excluded_partitions: group.excluded_partitions.clone(),
        problem: group.problem.clone(),
        partitions: Vec::new(),
    }
}
