//! What the chart and the lines show of one moment.

use std::sync::Arc;

use lagvalve::agent::TickRecord;
use serde::Serialize;

use super::measure::Bin;
use super::story::{Stage, Story};
use super::truth::Totals;

/// One moment of a run.
pub(super) struct View<'a> {
    /// The story.
    pub(super) story: &'a Story,
    /// Which of its stages, from 0.
    pub(super) stage: usize,
    /// Where it plays.
    pub(super) cluster: &'a str,
    /// Seconds since it began.
    pub(super) t: f64,
    /// Every second so far.
    pub(super) bins: &'a [Bin],
    /// Totals now.
    pub(super) totals: Totals,
    /// The set-point, seconds.
    pub(super) set_point: f64,
    /// The valve's latest turn of the loop, once there is a valve.
    pub(super) record: Option<Arc<TickRecord>>,
}

impl View<'_> {
    /// The stage.
    pub(super) fn stage(&self) -> Stage {
        self.story.stages[self.stage]
    }

    /// When the story ends at the latest, seconds.
    pub(super) fn end(&self) -> f64 {
        self.story.stages.last().map_or(0.0, |stage| stage.to)
    }

    /// True drain time now, seconds.
    pub(super) fn drain(&self) -> f64 {
        self.totals.unread() as f64 / self.stage().capacity
    }

    /// Share of what governed writers offered in the last second that was not written, percent; `None` where they take
    /// whatever they get.
    pub(super) fn withheld_percent(&self) -> Option<f64> {
        let bin = self.bins.last()?;
        let offered = bin.offered.filter(|offered| *offered > 0.0)?;
        Some((100.0 * (1.0 - bin.production / offered)).clamp(0.0, 100.0))
    }

    /// The reason, in words.
    pub(super) fn reason(&self) -> String {
        self.record.as_ref().map_or_else(|| "the valve starts".to_owned(), |record| record.explain.clone())
    }
}

/// The `--json` line of one second.
#[derive(Serialize)]
pub(super) struct TickLine<'a> {
    event: &'static str,
    t: f64,
    stage: &'static str,
    offered: Option<f64>,
    production: Option<f64>,
    applied: Option<f64>,
    consumption: Option<f64>,
    capacity: f64,
    drain_seconds: f64,
    drain_peak_seconds: Option<f64>,
    live_p99_seconds: Option<f64>,
    set_point_seconds: f64,
    /// What the valve believes.
    valve: Option<ValveLine<'a>>,
}

#[derive(Serialize)]
struct ValveLine<'a> {
    mode: lagvalve::agent::Mode,
    rate_decided: lagvalve::units::RateLimit,
    bound_by: &'static str,
    state: Option<&'static str>,
    drain_seconds: Option<f64>,
    capacity: Option<f64>,
    committed_lag: Option<i64>,
    explain: &'a str,
}

impl<'a> TickLine<'a> {
    /// Of `view`.
    pub(super) fn of(view: &'a View<'_>) -> Self {
        let bin = view.bins.last();
        let whole = |value: f64| value.round();
        let fine = |value: f64| (value * 1000.0).round() / 1000.0;
        Self {
            event: "tick",
            t: fine(view.t),
            stage: view.stage().kind.name(),
            offered: bin.and_then(|bin| bin.offered).map(whole),
            production: bin.map(|bin| whole(bin.production)),
            applied: bin.map(|bin| whole(bin.applied)),
            consumption: bin.map(|bin| whole(bin.consumption)),
            capacity: view.stage().capacity,
            drain_seconds: fine(view.drain()),
            drain_peak_seconds: bin.map(|bin| fine(bin.drain_peak)),
            live_p99_seconds: bin.and_then(|bin| bin.live_p99).map(fine),
            set_point_seconds: view.set_point,
            valve: view.record.as_deref().map(ValveLine::of),
        }
    }
}

impl<'a> ValveLine<'a> {
    fn of(record: &'a TickRecord) -> Self {
        let group = record.groups.first();
        Self {
            mode: record.mode,
            rate_decided: record.rate_decided,
            bound_by: record.bound_by.name(),
            state: group.map(|group| group.state.name()),
            drain_seconds: group.and_then(|group| group.drain_seconds),
            capacity: group.and_then(|group| group.capacity),
            committed_lag: group.and_then(|group| group.committed_lag),
            explain: &record.explain,
        }
    }
}

/// The `--json` line of a new stage.
#[derive(Serialize)]
pub(super) struct StageLine<'a> {
    pub(super) event: &'static str,
    pub(super) t: f64,
    pub(super) stage: &'static str,
    pub(super) capacity: f64,
    pub(super) text: &'a str,
}
