//! The slow start of a batch writer, whose demand has no end.
//!
//! "No limit until a commit proves lag" would let a file write (demand ÷ capacity) × (commit + poll + actuation) seconds
//! of lag before the first commit. So it starts at a first rate, which grows by commits that prove it was no trouble.
//!
//! It grows along a ramp, never above the growth factor times a rate that a commit has proven, and holds while lag is
//! more than half the set-point. A step would put that factor's whole overload on the group at once.

use std::collections::VecDeque;

use super::ControlConfig;

/// State of a slow start. Rates in messages/s, times in seconds.
#[derive(Clone, Debug)]
pub(super) struct SlowStart {
    rate: f64,
    /// The largest rate that a commit has proven; `None` before the first.
    proven: Option<f64>,
    /// Rates with the times from which they hold, oldest first: what a commit was made under.
    given: VecDeque<(f64, f64)>,
    began_at: f64,
}

/// What decides about growing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof {
    pub(super) now: f64,
    pub(super) step_seconds: f64,
    /// Instant of the newest commit, if this poll brought one.
    pub(super) commit_at: Option<f64>,
    /// Time between two commits of a member, known or assumed.
    pub(super) cadence_seconds: f64,
    /// Until then nothing could be read: perhaps there was nothing to commit either.
    pub(super) blind_until: f64,
    pub(super) drain_seconds: f64,
    pub(super) set_point_seconds: f64,
    pub(super) binding: bool,
}

impl SlowStart {
    /// From `first_rate` messages/s at `now`.
    pub(super) fn new(first_rate: f64, now: f64) -> Self {
        Self { rate: first_rate, proven: None, given: VecDeque::from([(now, first_rate)]), began_at: now }
    }

    /// The rate now, messages/s.
    pub(super) const fn rate(&self) -> f64 {
        self.rate
    }

    /// The largest rate that a commit has proven, messages/s; 0 before the first.
    pub(super) fn proven(&self) -> f64 {
        self.proven.unwrap_or(0.0)
    }

    /// Back to what is proven: in the dark nobody sees where the rest leads.
    pub(super) fn step_back(&mut self, now: f64) {
        if let Some(proven) = self.proven.filter(|proven| *proven < self.rate) {
            self.rate = proven;
            self.given.push_back((now, proven));
        }
    }

    /// Grows while commits show little lag at a rate that binds, up to the growth factor above what was proven.
    pub(super) fn step(&mut self, config: &ControlConfig, proof: Proof) {
        let easy = proof.binding && proof.drain_seconds < 0.5 * proof.set_point_seconds;
        if let Some(commit_at) = proof.commit_at.filter(|_| easy) {
            let seen = commit_at - config.actuation_seconds - SETTLE_SECONDS;
            if seen >= self.began_at.max(proof.blind_until) {
                self.forget_before(seen);
                self.proven = Some(self.proven.unwrap_or(0.0).max(self.rate_at(seen)));
            }
        }
        let Some(proven) = self.proven.filter(|_| easy) else { return };
        let ramp_seconds =
            (config.slow_start_ramp_cadences * proof.cadence_seconds).clamp(RAMP_SECONDS.0, RAMP_SECONDS.1);
        let grown = self.rate * config.slow_start_growth.powf(proof.step_seconds / ramp_seconds);
        let rate = grown.min(config.slow_start_growth * proven);
        if rate > self.rate {
            self.rate = rate;
            self.given.push_back((proof.now, rate));
        }
    }

    /// The rate that was given at `at`, messages/s; the first one before it began.
    pub(super) fn rate_at(&self, at: f64) -> f64 {
        let held = self.given.iter().take_while(|(from, _)| *from <= at).last();
        held.or(self.given.front()).map_or(self.rate, |(_, rate)| *rate)
    }

    fn forget_before(&mut self, at: f64) {
        while self.given.get(1).is_some_and(|(from, _)| *from <= at) {
            self.given.pop_front();
        }
    }
}

/// A commit this much younger than a raise cannot have seen it yet, seconds (reference design §3.11).
const SETTLE_SECONDS: f64 = 0.5;
/// Bounds of the time in which the rate grows by one factor, seconds: shorter than a poll shows nothing (guessed).
const RAMP_SECONDS: (f64, f64) = (1.2, 4.0);

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: ControlConfig = ControlConfig::new(2.0, 1.0);
    /// 5 s commits: the factor of three takes two seconds.
    const GOOD: Proof = Proof {
        now: 10.0,
        step_seconds: 1.0,
        commit_at: Some(9.5),
        cadence_seconds: 5.0,
        blind_until: f64::NEG_INFINITY,
        drain_seconds: 0.2,
        set_point_seconds: 2.0,
        binding: true,
    };

    #[test]
    fn only_a_proven_binding_commit_lets_the_rate_grow() {
        let table = [
            ("proven", GOOD, true),
            ("made before it began", Proof { commit_at: Some(1.0), ..GOOD }, false),
            ("right after a blackout", Proof { blind_until: 9.0, ..GOOD }, false),
            ("no commit", Proof { commit_at: None, ..GOOD }, false),
            ("lag", Proof { drain_seconds: 1.0, ..GOOD }, false),
            ("demand does not bind", Proof { binding: false, ..GOOD }, false),
        ];
        for (case, proof, grows) in table {
            let mut start = SlowStart::new(100.0, 0.0);
            start.step(&CONFIG, proof);
            assert_eq!(start.rate() > 100.0, grows, "{case}: {}", start.rate());
        }
    }

    #[test]
    fn one_commit_proves_one_factor_and_no_more() {
        let mut start = SlowStart::new(100.0, 0.0);
        start.step(&CONFIG, GOOD);
        let silent = |now: f64| Proof { now, commit_at: None, ..GOOD };
        assert!((start.rate() - 100.0 * 3.0_f64.sqrt()).abs() < 1e-9, "half of the ramp: {}", start.rate());
        for second in 11..60 {
            start.step(&CONFIG, silent(f64::from(second)));
        }
        assert!((start.rate() - 300.0).abs() < 1e-9, "{}", start.rate());
        start.step(&CONFIG, Proof { now: 60.0, commit_at: Some(59.0), ..GOOD });
        assert!(start.rate() > 300.0);
    }

    #[test]
    fn a_commit_proves_the_rate_it_was_made_under() {
        let mut start = SlowStart::new(100.0, 0.0);
        start.step(&CONFIG, GOOD);
        start.step(&CONFIG, Proof { now: 11.0, commit_at: None, ..GOOD });
        start.step(&CONFIG, Proof { now: 12.0, commit_at: Some(11.0), ..GOOD });
        assert!((start.rate() - 300.0).abs() < 1e-9, "made under 100/s still: {}", start.rate());
    }

    #[test]
    fn it_never_falls_and_never_passes_what_is_proven() {
        let mut start = SlowStart::new(100.0, 0.0);
        let mut before = start.rate();
        for second in 2..200 {
            let now = f64::from(second);
            let commit_at = (second % 5 == 0).then_some(now - 0.5);
            let drain_seconds = f64::from(second % 7) / 5.0;
            let under = start.rate_at(now - 2.0);
            start.step(&CONFIG, Proof { now, commit_at, drain_seconds, ..GOOD });
            assert!(start.rate() >= before, "at {now} s");
            assert!(commit_at.is_none() || start.rate() <= before.max(3.0 * under) + 1e-6, "at {now} s");
            before = start.rate();
        }
    }
}
