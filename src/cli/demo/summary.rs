//! The last line: the figures of a run, and whether they keep what the project promises. Pure.

use lagvalve::agent::Start;
use serde::Serialize;

use super::args::Scenario;
use super::measure::{self, Bin, between};
use super::story::{StageKind, Story};
use super::truth::{AgeHistogram, Totals};
use super::verifier::Verdict;

/// The summary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    summary: bool,
    scenario: &'static str,
    settled_seconds: Option<f64>,
    peak_drain_seconds: Option<f64>,
    steady_drain_seconds: Option<f64>,
    rate_cov: Option<f64>,
    withheld_percent: Option<f64>,
    produced: u64,
    consumed: u64,
    lost: u64,
    duplicated: u64,
    /// Processed again after a restart: what at-least-once means.
    reread: u64,
    /// Whether the verifying reader reached the end.
    verified: bool,
    /// Whether it was ended before its time.
    interrupted: bool,
    kafka: &'static str,
    start: Start,
    set_point_seconds: f64,
    /// 99 of 100 live records were processed this soon, outside faults and 35 s after them.
    live_p99_seconds: Option<f64>,
    seconds: f64,
    stages: Vec<StageFigures>,
    /// Promises that were not kept.
    pub(super) missed: Vec<&'static str>,
}

/// The same by stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct StageFigures {
    stage: StageKind,
    from: f64,
    to: f64,
    capacity: f64,
    settled_seconds: Option<f64>,
    /// Counted from the first record that was processed in the stage.
    back_at_set_point_seconds: Option<f64>,
    peak_drain_seconds: Option<f64>,
    steady_drain_seconds: Option<f64>,
    rate_cov: Option<f64>,
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub(super) struct Outcome<'a> {
    pub(super) story: &'a Story,
    pub(super) bins: &'a [Bin],
    pub(super) totals: Totals,
    pub(super) verdict: Verdict,
    pub(super) live_ages: &'a AgeHistogram,
    pub(super) interrupted: bool,
    pub(super) embedded: bool,
    pub(super) start: Start,
    pub(super) set_point: f64,
}

/// One promise and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    /// Its name, as in the summary's `missed`.
    pub(super) name: &'static str,
    /// What is allowed: from, to.
    allowed: (f64, f64),
    measured: Option<f64>,
}

impl Bar {
    /// Whether the promise is kept. What could not be measured is missed.
    pub(super) fn met(&self) -> bool {
        self.measured.is_some_and(|measured| (self.allowed.0..=self.allowed.1).contains(&measured))
    }

    /// For a person.
    pub(super) fn line(&self) -> String {
        let verdict = if self.met() { "met   " } else { "MISSED" };
        let measured = self.measured.map_or_else(|| "not reached".to_owned(), |measured| format!("{measured:.2}"));
        let (least, most) = self.allowed;
        let allowed = if least > 0.0 { format!("{least} to {most}") } else { format!("at most {most}") };
        format!("{verdict}  {:<36} {measured:>12}   {allowed}", self.name)
    }
}

impl Summary {
    /// The figures of a run.
    pub(super) fn of(outcome: &Outcome<'_>) -> Self {
        let Outcome { story, bins, totals, verdict, .. } = *outcome;
        let governed = between_stage(story, bins, StageKind::Enforce);
        let offered = totals.offered_governed;
        let mut summary = Self {
            summary: true,
            scenario: story.scenario.name(),
            settled_seconds: measure::settled_seconds(governed),
            peak_drain_seconds: measure::peak_drain_seconds(bins).map(round),
            steady_drain_seconds: measure::steady_drain_seconds(governed).map(round),
            rate_cov: measure::rate_cov(governed).map(round),
            withheld_percent: (offered > 0).then(|| round(100.0 * totals.withheld as f64 / offered as f64)),
            produced: totals.produced,
            consumed: totals.consumed,
            lost: verdict.lost,
            duplicated: verdict.duplicated,
            reread: totals.reread,
            verified: verdict.complete,
            interrupted: outcome.interrupted,
            kafka: if outcome.embedded { "embedded" } else { "external" },
            start: outcome.start,
            set_point_seconds: outcome.set_point,
            live_p99_seconds: outcome.live_ages.quantile(0.99).map(round),
            seconds: bins.last().map_or(0.0, |bin| round(bin.t)),
            stages: stage_figures(story, bins, outcome.set_point),
            missed: Vec::new(),
        };
        summary.missed = summary.bars(story.scenario).iter().filter(|bar| !bar.met()).map(|bar| bar.name).collect();
        summary
    }

    /// Whether every promise is kept.
    pub(super) fn kept(&self) -> bool {
        self.missed.is_empty()
    }

    /// What the project promises for `scenario`, against this run.
    pub(super) fn bars(&self, scenario: Scenario) -> Vec<Bar> {
        let at_most = |name, most, measured| Bar { name, allowed: (0.0, most), measured };
        let mut bars = vec![
            at_most("lost", 0.0, self.verified.then_some(self.lost as f64)),
            at_most("duplicated", 0.0, self.verified.then_some(self.duplicated as f64)),
            at_most("produced_not_consumed", 0.0, Some(self.produced as f64 - self.consumed as f64)),
        ];
        if scenario == Scenario::ToSpare {
            bars.push(at_most("withheld_percent", 1.0, self.withheld_percent));
            return bars;
        }
        let slow = self.start == Start::Slow;
        let (settled, open_peak) = match scenario {
            Scenario::HundredToTen => (60.0, 45.0),
            _ => (30.0, 20.0),
        };
        let peak = if scenario == Scenario::Backfill {
            // Faults may push it higher; their own bars follow.
            self.stage(StageKind::Enforce).and_then(|stage| stage.peak_drain_seconds)
        } else {
            self.peak_drain_seconds
        };
        bars.push(at_most("settled_seconds", settled, self.settled_seconds));
        bars.push(at_most("peak_drain_seconds", if slow { 10.0 } else { open_peak }, peak));
        let steady = (self.set_point_seconds - 0.5, self.set_point_seconds + 0.5);
        bars.push(Bar { name: "steady_drain_seconds", allowed: steady, measured: self.steady_drain_seconds });
        bars.push(at_most("rate_cov", 0.10, self.rate_cov));
        if scenario == Scenario::Backfill {
            let back = |kind| self.stage(kind).and_then(|stage| stage.back_at_set_point_seconds);
            bars.push(at_most("halved: back at set-point", 35.0, back(StageKind::ConsumerHalved)));
            bars.push(at_most("restarted: back at set-point", 35.0, back(StageKind::ConsumerRestarted)));
            let doubled = self.stage(StageKind::ConsumerDoubled).and_then(|stage| stage.settled_seconds);
            bars.push(at_most("doubled: production follows", 35.0, doubled));
            bars.push(at_most("live_p99_seconds", self.set_point_seconds + 1.0, self.live_p99_seconds));
        }
        bars
    }

    /// The figures for a person, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let seconds = |value: Option<f64>| value.map_or_else(|| "never".to_owned(), |value| format!("{value:.1} s"));
        let mut lines = vec![
            format!("{} on the {} broker, {:.0} s", self.scenario, self.kafka, self.seconds),
            format!("  settled after        {}", seconds(self.settled_seconds)),
            format!("  highest drain time   {}", seconds(self.peak_drain_seconds)),
            format!(
                "  steady drain time    {}  (set-point {} s)",
                seconds(self.steady_drain_seconds),
                self.set_point_seconds
            ),
        ];
        if let Some(cov) = self.rate_cov {
            lines.push(format!("  rate varies by       {:.1} %", 100.0 * cov));
        }
        if let Some(withheld) = self.withheld_percent {
            lines.push(format!("  withheld             {withheld:.1} % of what was offered"));
        }
        if let Some(live) = self.live_p99_seconds {
            lines.push(format!("  live records         99 of 100 processed within {live:.1} s, outside faults"));
        }
        for stage in self.stages.iter().filter(|stage| stage.is_a_return()) {
            let back = seconds(stage.back_at_set_point_seconds);
            lines.push(format!("  {:<20} back at set-point after {back}", stage.stage.name().replace('_', " ")));
        }
        let human = |count: u64| lagvalve::units::HumanCount(count as f64).to_string();
        lines.push(format!("  produced             {}", human(self.produced)));
        lines.push(format!("  consumed             {}  ({} read again)", human(self.consumed), human(self.reread)));
        let unsure = if self.verified { "" } else { "  (the topic could not be read to its end)" };
        lines.push(format!("  lost, duplicated     {}, {}{unsure}", self.lost, self.duplicated));
        lines
    }

    fn stage(&self, kind: StageKind) -> Option<&StageFigures> {
        self.stages.iter().find(|stage| stage.stage == kind)
    }
}

impl StageFigures {
    fn is_a_return(&self) -> bool {
        matches!(self.stage, StageKind::ConsumerHalved | StageKind::ConsumerRestarted | StageKind::ConsumerDoubled)
    }
}

fn stage_figures(story: &Story, bins: &[Bin], set_point: f64) -> Vec<StageFigures> {
    let played = bins.last().map_or(0.0, |bin| bin.t);
    let begun = story.stages.iter().filter(|stage| stage.from < played);
    begun
        .map(|stage| {
            let within = between(bins, stage.from, stage.to);
            let first = within.iter().position(|bin| bin.consumption > 0.0).unwrap_or(within.len());
            StageFigures {
                stage: stage.kind,
                from: stage.from,
                to: round(stage.to.min(played)),
                capacity: stage.capacity,
                settled_seconds: measure::settled_seconds(within),
                back_at_set_point_seconds: measure::back_at_set_point_seconds(&within[first..], set_point),
                peak_drain_seconds: measure::peak_drain_seconds(within).map(round),
                steady_drain_seconds: measure::steady_drain_seconds(within).map(round),
                rate_cov: measure::rate_cov(within).map(round),
            }
        })
        .collect()
}

fn between_stage<'a>(story: &Story, bins: &'a [Bin], kind: StageKind) -> &'a [Bin] {
    let found = story.stages.iter().find(|stage| stage.kind == kind);
    found.map_or(&[], |stage| between(bins, stage.from, stage.to))
}

/// To a thousandth: what was measured is no finer.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady_run(story: &Story, drain: f64) -> Vec<Bin> {
        let seconds = story.stages.last().unwrap().from as usize;
        let bin = |t: usize| Bin {
            t: t as f64,
            offered: Some(10_000.0),
            production: 2_000.0,
            applied: 2_000.0,
            consumption: 2_000.0,
            capacity: 2_000.0,
            drain,
            drain_peak: drain,
            live_p99: None,
        };
        (1..=seconds).map(bin).collect()
    }

    fn summary(drain: f64, verdict: Verdict) -> Summary {
        let story = Story::new(Scenario::TenToTwo, 120.0);
        let bins = steady_run(&story, drain);
        Summary::of(&Outcome {
            story: &story,
            bins: &bins,
            totals: Totals { offered_governed: 1000, withheld: 800, produced: 200, consumed: 200, ..Totals::default() },
            verdict,
            live_ages: &AgeHistogram::default(),
            interrupted: false,
            embedded: true,
            start: Start::Open,
            set_point: 2.0,
        })
    }

    const CLEAN: Verdict = Verdict { lost: 0, duplicated: 0, complete: true };

    #[test]
    fn a_run_at_the_set_point_keeps_every_promise() {
        let summary = summary(2.2, CLEAN);
        assert!(summary.kept(), "{:?}", summary.missed);
        assert_eq!(
            (summary.settled_seconds, summary.rate_cov, summary.withheld_percent),
            (Some(0.0), Some(0.0), Some(80.0))
        );
    }

    #[test]
    fn what_is_off_or_unknown_is_missed() {
        assert_eq!(summary(2.7, CLEAN).missed, ["steady_drain_seconds"]);
        assert_eq!(summary(1.2, CLEAN).missed, ["steady_drain_seconds"]);
        assert_eq!(summary(2.0, Verdict { lost: 1, ..CLEAN }).missed, ["lost"]);
        assert_eq!(summary(2.0, Verdict { complete: false, ..CLEAN }).missed, ["lost", "duplicated"]);
    }

    #[test]
    fn the_line_for_machines_has_the_documented_fields() {
        let line = serde_json::to_value(summary(2.0, CLEAN)).unwrap();
        for field in [
            "summary",
            "scenario",
            "settled_seconds",
            "peak_drain_seconds",
            "steady_drain_seconds",
            "rate_cov",
            "produced",
            "consumed",
            "lost",
            "duplicated",
        ] {
            assert!(line.get(field).is_some(), "{field}");
        }
        assert_eq!(line["summary"], true);
        assert_eq!(line["scenario"], "ten-to-two");
    }

    #[test]
    fn bars_say_what_is_allowed_and_what_was_measured() {
        let bar = Bar { name: "rate_cov", allowed: (0.0, 0.1), measured: Some(0.034) };
        assert!(bar.line().contains("met") && bar.line().contains("0.03") && bar.line().contains("at most 0.1"));
        let bar = Bar { name: "settled_seconds", allowed: (0.0, 30.0), measured: None };
        assert!(bar.line().contains("MISSED") && bar.line().contains("not reached"));
    }
}
