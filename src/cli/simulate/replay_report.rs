//! What a replay shows: a line a tick and law for machines, sums by valve.

use std::time::{Duration, UNIX_EPOCH};

use lagvalve::control::BoundBy;
use lagvalve::sim::{ReplayDecision, ReplayDifference, ReplayLawSummary, ReplaySummary, ReplayTally, Replayed};
use lagvalve::units::{HumanCount, RateLimit};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cli::exit::Failure;
use crate::cli::output::Output;

/// One tick under one law, for machines.
#[derive(Serialize)]
pub(super) struct TickLine<'a> {
    seq: u64,
    at: u64,
    valve: &'a str,
    law: &'a str,
    rate_decided: RateLimit,
    bound_by: Option<BoundBy>,
    recorded_rate_decided: RateLimit,
    recorded_bound_by: BoundBy,
}

impl<'a> TickLine<'a> {
    /// What `law` decides at `tick`.
    pub(super) fn of(tick: &'a Replayed, law: &'a str, decision: &ReplayDecision) -> Self {
        Self {
            seq: tick.record.seq,
            at: tick.record.at,
            valve: tick.record.valve.as_str(),
            law,
            rate_decided: decision.rate_decided,
            bound_by: decision.bound_by,
            recorded_rate_decided: tick.record.rate_decided,
            recorded_bound_by: tick.record.bound_by,
        }
    }
}

/// The sums of a valve. `torn` lines were left out of the whole journal.
pub(super) fn show(summary: &ReplaySummary, torn: u64, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        return summary.laws.iter().try_for_each(|law| output.object(&summary_of(summary, law, torn)));
    }
    lines(summary, torn).iter().try_for_each(|line| output.line(line))
}

fn summary_of(summary: &ReplaySummary, law: &ReplayLawSummary, torn: u64) -> Value {
    json!({
        "summary": true,
        "valve": summary.valve,
        "law": law.law,
        "as_recorded": law.as_recorded,
        "open_loop": true,
        "ticks": summary.ticks,
        "whole_ticks": summary.whole_ticks,
        "same": law.same,
        "differ": law.differ,
        "differ_whole": law.differ_whole,
        "gaps": summary.gaps,
        "missing": summary.missing,
        "restarts": summary.restarts,
        "begun_late": summary.begun_late,
        "torn": torn,
        "other_versions": summary.other_versions,
        "first_difference": law.first_difference.as_ref().map(|first| json!({
            "seq": first.seq,
            "at": first.at,
            "rate_decided": first.replayed.rate_decided,
            "bound_by": first.replayed.bound_by,
            "recorded_rate_decided": first.recorded.rate_decided,
            "recorded_bound_by": first.recorded.bound_by,
        })),
        "decided": tally(&law.tally),
        "recorded": tally(&summary.recorded),
    })
}

fn tally(tally: &ReplayTally) -> Value {
    let reasons: Map<String, Value> =
        tally.reasons().into_iter().map(|(reason, share)| (reason.name().to_owned(), share.into())).collect();
    json!({
        "seconds": tally.seconds(),
        "limited_share": tally.limited_share(),
        "mean_rate": tally.mean_rate(),
        "reasons": reasons,
    })
}

fn lines(summary: &ReplaySummary, torn: u64) -> Vec<String> {
    let (from, to) = (time(summary.span.0), time(summary.span.1));
    let mut lines =
        vec![format!("valve {}: {}, {from} to {to}", summary.valve, counted(summary.ticks, "tick", "ticks"))];
    lines.extend(remarks(summary, torn).into_iter().map(|remark| format!("  {remark}")));
    lines.push(HEAD.to_owned());
    lines.push(row("recorded", None, &summary.recorded));
    lines.extend(summary.laws.iter().map(|law| row(&law.law, Some((law.same, law.differ)), &law.tally)));
    for law in &summary.laws {
        if let Some(first) = &law.first_difference {
            lines.push(format!("first otherwise under {}: {}", law.law, difference(first)));
        }
        if law.as_recorded && law.differ == 0 {
            lines.push(format!("{} with the recorded settings decides as recorded at every tick", law.law));
        }
    }
    lines.push(OPEN_LOOP.to_owned());
    lines.push(String::new());
    lines
}

/// What keeps the replay from being the whole story.
fn remarks(summary: &ReplaySummary, torn: u64) -> Vec<String> {
    let mut remarks = Vec::new();
    if summary.restarts > 0 {
        remarks.push(counted(summary.restarts, "restart or change of settings", "restarts or changes of settings"));
    }
    if summary.gaps > 0 {
        let missing = counted(summary.missing, "tick", "ticks");
        remarks.push(format!(
            "{} with {missing} missing: what the loop learned there is not known here",
            counted(summary.gaps, "gap", "gaps")
        ));
    }
    if summary.begun_late > 0 {
        let runs = counted(summary.begun_late, "run begins", "runs begin");
        remarks.push(format!("{runs} in the middle: what the loop had learned before is not known here"));
    }
    if torn > 0 {
        remarks.push(format!(
            "{} in the journal, left out",
            counted(torn, "line torn by a crash", "lines torn by a crash")
        ));
    }
    if !summary.other_versions.is_empty() {
        let (ours, theirs) = (env!("CARGO_PKG_VERSION"), summary.other_versions.join(", "));
        remarks.push(format!("recorded by lagvalve {theirs}, replayed by {ours}, which may decide otherwise"));
    }
    remarks
}

fn row(law: &str, counts: Option<(u64, u64)>, tally: &ReplayTally) -> String {
    let (same, differ) = counts
        .map_or_else(|| ("-".to_owned(), "-".to_owned()), |(same, differ)| (same.to_string(), differ.to_string()));
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let reasons: Vec<String> =
        tally.reasons().into_iter().map(|(reason, share)| format!("{reason} {}", percent(share))).collect();
    let line = format!(
        "{law:<14} {same:>11} {differ:>9} {:>12} {:>8}  {}",
        or_dash(tally.mean_rate().map(|rate| format!("{}/s", HumanCount(rate)))),
        or_dash(tally.limited_share().map(percent)),
        reasons.join(", "),
    );
    line.trim_end().to_owned()
}

fn difference(first: &ReplayDifference) -> String {
    let decision = |decision: &ReplayDecision| match decision.bound_by {
        Some(reason) => format!("{} ({reason})", decision.rate_decided),
        None => decision.rate_decided.to_string(),
    };
    let (recorded, replayed) = (decision(&first.recorded), decision(&first.replayed));
    format!("tick {} at {}: recorded {recorded}, here {replayed}", first.seq, time(first.at))
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(count as f64), if count == 1 { one } else { many })
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn time(unix_millis: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(unix_millis));
    // Beyond what a calendar has: the number says as much.
    at.filter(|_| unix_millis < YEAR_10000_MILLIS)
        .map_or_else(|| unix_millis.to_string(), |at| humantime::format_rfc3339_millis(at).to_string())
}

const HEAD: &str = "law            as recorded otherwise    mean rate  limited  reasons, share of time";
const OPEN_LOOP: &str = "open loop: recorded lag is what the recorded decisions made of it; what another law decides here does not change it";
/// The calendar of humantime ends here.
const YEAR_10000_MILLIS: u64 = 253_402_300_800_000;
