//! From totals that clients counted, read ten times a second, to one-second bins. Pure.

use super::measure::Bin;
use super::truth::Totals;

/// Collects the bins of a run.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    bins: Vec<Bin>,
    began: (f64, Totals),
    peak: f64,
    offered_is_known: bool,
}

impl Recorder {
    /// Begins with `totals` at time 0. `offered_is_known` when writers want a rate, not whatever they get.
    pub(super) fn new(totals: Totals, offered_is_known: bool) -> Self {
        Self { bins: Vec::new(), began: (0.0, totals), peak: 0.0, offered_is_known }
    }

    /// Notes how old live records of the last bin were, seconds at 99 of 100.
    pub(super) fn note_live_p99(&mut self, seconds: Option<f64>) {
        if let Some(bin) = self.bins.last_mut() {
            bin.live_p99 = seconds;
        }
    }

    /// Takes one sample at `t` seconds while the group is set to take `capacity`; true when it closed a bin.
    pub(super) fn sample(&mut self, t: f64, totals: Totals, capacity: f64) -> bool {
        let drain = totals.unread() as f64 / capacity;
        self.peak = self.peak.max(drain);
        let (from, before) = self.began;
        // Samples come a little late, never early: half a sample short of a second is a second.
        if t - from < 0.95 {
            return false;
        }
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / (t - from);
        self.bins.push(Bin {
            t,
            offered: self.offered_is_known.then(|| rate(totals.offered, before.offered)),
            production: rate(totals.produced, before.produced),
            applied: rate(totals.sent_governed, before.sent_governed),
            consumption: rate(totals.consumed, before.consumed),
            capacity,
            drain,
            drain_peak: self.peak,
            live_p99: None,
        });
        self.began = (t, totals);
        self.peak = drain;
        true
    }

    /// Every bin so far.
    pub(super) fn bins(&self) -> &[Bin] {
        &self.bins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second_however_long_the_bin_was() {
        let mut recorder = Recorder::new(Totals::default(), true);
        let flood = Totals { offered: 500, produced: 500, sent_governed: 400, consumed: 100, ..Totals::default() };
        assert!(!recorder.sample(0.5, flood, 100.0));
        let after = Totals { offered: 1250, produced: 500, sent_governed: 400, consumed: 250, ..Totals::default() };
        assert!(recorder.sample(1.25, after, 100.0));
        let bin = recorder.bins()[0];
        assert_eq!((bin.offered, bin.production, bin.applied, bin.consumption), (Some(1000.0), 400.0, 320.0, 200.0));
        assert_eq!((bin.drain, bin.drain_peak), (2.5, 4.0));
    }

    #[test]
    fn writers_that_take_everything_offer_no_rate() {
        let mut recorder = Recorder::new(Totals::default(), false);
        recorder.sample(1.0, Totals::default(), 100.0);
        assert_eq!(recorder.bins()[0].offered, None);
    }
}
