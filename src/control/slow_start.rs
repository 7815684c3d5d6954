//! The slow start of a batch writer, whose demand has no end.
//!
//! "No limit until a commit proves lag" would let a file write (demand ÷ capacity) × (commit + poll + actuation) seconds
//! of lag before the first commit. So it starts at a first rate, which grows by commits that prove it was no trouble.

use super::ControlConfig;

/// State of a slow start.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowStart {
    rate: f64,
    raised_at: f64,
}

/// What decides about the next raise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof {
    pub(super) now: f64,
    /// Instant of the newest commit, if this poll brought one.
    pub(super) commit_at: Option<f64>,
    /// Until then nothing could be read: perhaps there was nothing to commit either.
    pub(super) blind_until: f64,
    pub(super) drain_seconds: f64,
    pub(super) set_point_seconds: f64,
    pub(super) binding: bool,
}

impl SlowStart {
    /// From `first_rate` messages/s.
    pub(super) const fn new(first_rate: f64) -> Self {
        Self { rate: first_rate, raised_at: f64::NEG_INFINITY }
    }

    /// The rate now, messages/s.
    pub(super) const fn rate(&self) -> f64 {
        self.rate
    }

    /// A commit that was made after the last raise took effect, with little lag, at a rate that binds, allows the next.
    pub(super) fn step(&mut self, config: &ControlConfig, proof: Proof) {
        let effective_at = self.raised_at.max(proof.blind_until) + config.actuation_seconds + SETTLE_SECONDS;
        let proven = proof.commit_at.is_some_and(|at| at > effective_at);
        if proven && proof.binding && proof.drain_seconds < 0.5 * proof.set_point_seconds {
            self.rate *= config.slow_start_growth;
            self.raised_at = proof.now;
        }
    }
}

/// A commit this much younger than a raise cannot have seen it yet, seconds (reference design §3.11).
const SETTLE_SECONDS: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: ControlConfig = ControlConfig::new(2.0, 1.0);

    #[test]
    fn only_a_proven_binding_commit_raises_the_rate() {
        let good = Proof {
            now: 10.0,
            commit_at: Some(9.5),
            blind_until: f64::NEG_INFINITY,
            drain_seconds: 0.2,
            set_point_seconds: 2.0,
            binding: true,
        };
        let table = [
            ("proven", good, 300.0),
            ("right after a blackout", Proof { blind_until: 9.0, ..good }, 100.0),
            ("no commit", Proof { commit_at: None, ..good }, 100.0),
            ("lag", Proof { drain_seconds: 1.0, ..good }, 100.0),
            ("demand does not bind", Proof { binding: false, ..good }, 100.0),
        ];
        for (case, proof, rate) in table {
            let mut start = SlowStart::new(100.0);
            start.step(&CONFIG, proof);
            assert_eq!(start.rate(), rate, "{case}");
        }
    }

    #[test]
    fn a_commit_older_than_the_last_raise_proves_nothing() {
        let mut start = SlowStart::new(100.0);
        let proof = Proof {
            now: 10.0,
            commit_at: Some(9.5),
            blind_until: f64::NEG_INFINITY,
            drain_seconds: 0.0,
            set_point_seconds: 2.0,
            binding: true,
        };
        start.step(&CONFIG, proof);
        start.step(&CONFIG, Proof { now: 11.0, commit_at: Some(11.4), ..proof });
        assert_eq!(start.rate(), 300.0);
        start.step(&CONFIG, Proof { now: 12.0, commit_at: Some(11.6), ..proof });
        assert_eq!(start.rate(), 900.0);
    }
}
