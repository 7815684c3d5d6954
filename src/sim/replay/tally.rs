//! Sums over a replay, by valve and law.

use std::sync::Arc;

use super::law::ReplayDecision;
use crate::agent::TickRecord;
use crate::control::BoundBy;
use crate::id::ValveName;

/// What a series of decisions came to. A decision counts for the time until the next one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplayTally {
    seconds: f64,
    limited_seconds: f64,
    messages: f64,
    reasons: Vec<(BoundBy, f64)>,
    in_force: Option<ReplayDecision>,
}

impl ReplayTally {
    /// Time that decisions were in force, seconds.
    #[must_use]
    pub const fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Share of that time in which a limit was in force, 0 to 1; `None` before any.
    #[must_use]
    pub fn limited_share(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.limited_seconds / self.seconds)
    }

    /// Mean of the limit while there was one, messages/s.
    #[must_use]
    pub fn mean_rate(&self) -> Option<f64> {
        (self.limited_seconds > 0.0).then(|| self.messages / self.limited_seconds)
    }

    /// Share of the time under each reason, the largest first. Of a valve that observes, the reason of the group that
    /// rules.
    #[must_use]
    pub fn reasons(&self) -> Vec<(BoundBy, f64)> {
        let mut shares: Vec<_> =
            self.reasons.iter().map(|(reason, seconds)| (*reason, seconds / self.seconds)).collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        shares
    }

    /// The decision in force was in force for `seconds` more.
    pub(super) fn pass(&mut self, seconds: f64) {
        let Some(decision) = self.in_force else { return };
        self.seconds += seconds;
        if !decision.rate_decided.is_unlimited() {
            self.limited_seconds += seconds;
            self.messages += decision.rate_decided.as_f64() * seconds;
        }
        let Some(cause) = decision.cause else { return };
        match self.reasons.iter_mut().find(|(reason, _)| *reason == cause) {
            Some((_, sum)) => *sum += seconds,
            None => self.reasons.push((cause, seconds)),
        }
    }

    pub(super) const fn decide(&mut self, decision: ReplayDecision) {
        self.in_force = Some(decision);
    }
}

/// A tick at which a law decided otherwise than was recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplayDifference {
    /// The tick.
    pub seq: u64,
    /// When it was, milliseconds since the Unix epoch.
    pub at: u64,
    /// What was recorded.
    pub recorded: ReplayDecision,
    /// What the law decides.
    pub replayed: ReplayDecision,
}

/// One law on the ticks of one valve.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayLawSummary {
    /// The law.
    pub law: String,
    /// It is the shipped loop with the settings that were in force: it must decide as recorded.
    pub as_recorded: bool,
    /// Ticks at which it decided as recorded.
    pub same: u64,
    /// Ticks at which it did not.
    pub differ: u64,
    /// Of those, the ones of runs that were recorded from their start on, without a gap before them.
    pub differ_whole: u64,
    /// The first tick of all at which it did not.
    pub first_difference: Option<ReplayDifference>,
    /// What it came to.
    pub tally: ReplayTally,
}

impl ReplayLawSummary {
    pub(super) fn note(
        &mut self,
        record: &TickRecord,
        recorded: ReplayDecision,
        replayed: ReplayDecision,
        whole: bool,
    ) {
        self.tally.decide(replayed);
        if replayed.is_same(&recorded) {
            self.same += 1;
            return;
        }
        self.differ += 1;
        self.differ_whole += u64::from(whole);
        let (seq, at) = (record.seq, record.at);
        self.first_difference.get_or_insert(ReplayDifference { seq, at, recorded, replayed });
    }
}

/// The ticks of one valve.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplaySummary {
    /// The valve.
    pub valve: ValveName,
    /// Ticks that were read.
    pub ticks: u64,
    /// Of those, the ones of runs that were recorded from their start on, without a gap before them: what the loop
    /// knew then is known here.
    pub whole_ticks: u64,
    /// Places where ticks are missing inside a run.
    pub gaps: u64,
    /// Ticks that are missing there.
    pub missing: u64,
    /// Times that the agent started anew, or was told other settings.
    pub restarts: u64,
    /// Runs that begin in the middle: their first ticks were not read.
    pub begun_late: u64,
    /// When the first and the last tick were, milliseconds since the Unix epoch.
    pub span: (u64, u64),
    /// Other versions of the program than this one that recorded.
    pub other_versions: Vec<String>,
    /// The settings that were in force, newest last.
    pub config_ids: Vec<Arc<str>>,
    /// What was recorded.
    pub recorded: ReplayTally,
    /// What each law makes of it.
    pub laws: Vec<ReplayLawSummary>,
}
