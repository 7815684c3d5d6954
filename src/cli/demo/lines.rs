//! The demo without a chart: a line every few seconds for people, one every second for machines.

use lagvalve::units::HumanCount;

use super::view::{StageLine, TickLine, View};
use crate::cli::exit::Failure;
use crate::cli::output::Output;

/// Prints what happens.
pub(super) struct Lines {
    output: Output,
    printed_at: f64,
}

impl Lines {
    /// To standard output; JSON when `json`.
    pub(super) fn new(json: bool) -> Self {
        Self { output: Output::new(json), printed_at: 0.0 }
    }

    /// A stage begins.
    pub(super) fn stage(&self, view: &View<'_>) -> Result<(), Failure> {
        let stage = view.stage();
        let text = view.story.text(stage, view.set_point);
        if self.output.is_json() {
            let t = view.t.round();
            let kind = stage.kind.name();
            return self.output.object(&StageLine {
                event: "stage",
                t,
                stage: kind,
                capacity: stage.capacity,
                text: &text,
            });
        }
        self.output.line(&format!("{:>4.0} s  {}: {text}", view.t, stage.kind.title()))
    }

    /// A second is over.
    pub(super) fn second(&mut self, view: &View<'_>) -> Result<(), Failure> {
        if self.output.is_json() {
            return self.output.object(&TickLine::of(view));
        }
        if view.t - self.printed_at < PLAIN_INTERVAL_SECONDS {
            return Ok(());
        }
        self.printed_at = view.t.floor();
        self.output.line(&plain(view))
    }
}

fn plain(view: &View<'_>) -> String {
    let bin = view.bins.last().copied().unwrap_or_default();
    let rate = |value: f64| format!("{:>8}/s", HumanCount(value).to_string());
    let offered = bin.offered.map_or_else(|| "as allowed".to_owned(), rate);
    let (decided, reason) = view.record.as_ref().map_or_else(
        || ("?".to_owned(), "starting"),
        |record| (record.rate_decided.to_string(), record.bound_by.name()),
    );
    format!(
        "{:>4.0} s  offered {offered}  decided {decided:>10}  production {}  consumption {}  drain {:>5.1} s  {reason}",
        view.t,
        rate(bin.production),
        rate(bin.consumption),
        view.drain(),
    )
}

const PLAIN_INTERVAL_SECONDS: f64 = 4.95;
