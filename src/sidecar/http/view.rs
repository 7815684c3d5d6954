//! Bodies of answers.

use serde::Serialize;
use serde_json::{Value, json};

use crate::agent::Cause;
use crate::clock::{Clock, SystemClock};
use crate::telemetry::{History, ValveReading, without_partitions};

/// A tick without its partitions, and whether its signal is fresh.
pub(super) fn valve(reading: &ValveReading) -> Value {
    let record = without_partitions(&reading.record);
    let mut body = serde_json::to_value(record).unwrap_or_default();
    if let Value::Object(members) = &mut body {
        members.insert("cluster".to_owned(), reading.cluster.as_str().into());
        members.insert("fresh".to_owned(), reading.is_fresh(SystemClock.now()).into());
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
