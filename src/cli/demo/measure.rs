//! Figures of a run, from one-second bins of what the clients counted. Pure; times are seconds since the run began.

use lagvalve::sim::{centred_mean, coefficient_of_variation, first_lasting};
use serde::Serialize;

/// One second of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Bin {
    /// End of the second.
    pub(super) t: f64,
    /// Wanted by all writers, records/s; `None` where a writer takes whatever it gets.
    pub(super) offered: Option<f64>,
    /// Acknowledged, all writers, records/s.
    pub(super) production: f64,
    /// Sent by governed writers, records/s: what the valve let through, before the broker's word jitters it.
    pub(super) applied: f64,
    /// Processed by the group, each offset once, records/s.
    pub(super) consumption: f64,
    /// What the group was set to take, records/s, also while it is dead.
    pub(super) capacity: f64,
    /// True drain time at the end of the second: unread ÷ capacity.
    pub(super) drain: f64,
    /// The highest true drain time within the second, sampled ten times.
    pub(super) drain_peak: f64,
    /// 99 of 100 live records that were processed in this second were this old at most, seconds; `None` without any.
    pub(super) live_p99: Option<f64>,
}

impl Bin {
    /// The production that would be right: what is offered, or what the group takes where that is less.
    fn wanted_production(&self) -> f64 {
        self.offered.map_or(self.capacity, |offered| offered.min(self.capacity))
    }
}

/// The bins that end within `from < t ≤ to`.
pub(super) fn between(bins: &[Bin], from: f64, to: f64) -> &[Bin] {
    let start = bins.partition_point(|bin| bin.t <= from + HALF_BIN);
    let end = bins.partition_point(|bin| bin.t <= to + HALF_BIN);
    &bins[start..end.max(start)]
}

/// Start of the first span from which the 10 s mean of production is within 10 % of min(offered, configured capacity)
/// for 90 % of the rest, seconds after the first bin begins; `None` when there is none that leaves 15 % of the bins,
/// at least 10, to prove it.
///
/// Judged as the simulator judges its runs.
pub(super) fn settled_seconds(bins: &[Bin]) -> Option<f64> {
    let mean_of = |rate: fn(&Bin) -> f64| centred_mean(&bins.iter().map(rate).collect::<Vec<_>>(), MEAN_BINS);
    let production = mean_of(|bin| bin.production);
    let wanted = mean_of(Bin::wanted_production);
    lasting_from(production.iter().zip(&wanted).map(|(got, want)| (got - want).abs() <= 0.10 * want))
}

/// Start of the first span from which drain time is at most `set_point` + 0.5 s for 90 % of the rest, seconds after the
/// first bin begins; `None` as in [`settled_seconds`].
pub(super) fn back_at_set_point_seconds(bins: &[Bin], set_point: f64) -> Option<f64> {
    lasting_from(bins.iter().map(|bin| bin.drain <= set_point + 0.5))
}

/// The highest drain time, seconds; `None` without bins.
pub(super) fn peak_drain_seconds(bins: &[Bin]) -> Option<f64> {
    bins.iter().map(|bin| bin.drain_peak).reduce(f64::max)
}

/// Mean drain time over the last 40 % of the bins, seconds.
pub(super) fn steady_drain_seconds(bins: &[Bin]) -> Option<f64> {
    mean(&last_two_fifths(bins).iter().map(|bin| bin.drain).collect::<Vec<_>>())
}

/// Coefficient of variation of the applied rate (standard deviation ÷ mean) over the last 40 % of the bins.
pub(super) fn rate_cov(bins: &[Bin]) -> Option<f64> {
    coefficient_of_variation(&last_two_fifths(bins).iter().map(|bin| bin.applied).collect::<Vec<_>>())
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn last_two_fifths(bins: &[Bin]) -> &[Bin] {
    &bins[bins.len() * 3 / 5..]
}

/// [`first_lasting`] of one-second bins, seconds.
fn lasting_from(holds: impl Iterator<Item = bool>) -> Option<f64> {
    let holds: Vec<bool> = holds.collect();
    let proof = (holds.len() * 15 / 100).max(MIN_PROOF_BINS);
    first_lasting(&holds, proof).map(|index| index as f64)
}

const HALF_BIN: f64 = 0.5;
const MEAN_BINS: usize = 10;
const MIN_PROOF_BINS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(production: &[(usize, f64)], capacity: f64, offered: Option<f64>) -> Vec<Bin> {
        let rates = production.iter().flat_map(|(seconds, rate)| std::iter::repeat_n(*rate, *seconds));
        rates
            .enumerate()
            .map(|(index, rate)| Bin {
                t: (index + 1) as f64,
                offered,
                production: rate,
                applied: rate,
                capacity,
                ..Bin::default()
            })
            .collect()
    }

    #[test]
    fn settled_is_the_start_of_the_first_lasting_span() {
        for (name, production, capacity, offered, settled) in [
            ("at once", vec![(60, 2000.0)], 2000.0, Some(10_000.0), Some(0.0)),
            ("demand below capacity is what counts", vec![(60, 1400.0)], 2000.0, Some(1400.0), Some(0.0)),
            (
                "after a flood of 8 s and a drain",
                vec![(8, 10_000.0), (12, 200.0), (60, 2000.0)],
                2000.0,
                None,
                Some(25.0),
            ),
            ("within 10 %", vec![(60, 2190.0)], 2000.0, None, Some(0.0)),
            ("never: 12 % off", vec![(60, 2240.0)], 2000.0, None, None),
            ("too late to prove it", vec![(52, 500.0), (8, 2000.0)], 2000.0, None, None),
            (
                "a short dip of 5 % of the rest is allowed",
                vec![(40, 2000.0), (2, 0.0), (58, 2000.0)],
                2000.0,
                None,
                Some(0.0),
            ),
            ("nothing measured", vec![], 2000.0, None, None),
        ] {
            let found = settled_seconds(&run(&production, capacity, offered));
            match (found, settled) {
                (Some(found), Some(settled)) => {
                    assert!((found - settled).abs() <= 3.0, "{name}: {found} instead of {settled}");
                }
                _ => assert_eq!(found, settled, "{name}"),
            }
        }
    }

    #[test]
    fn the_coefficient_of_variation_of_known_series() {
        for (values, expected) in [
            (vec![], None),
            (vec![5.0], None),
            (vec![0.0, 0.0], None),
            (vec![10.0, 10.0, 10.0], Some(0.0)),
            (vec![90.0, 110.0], Some(0.1)),
            (vec![0.0, 20.0], Some(1.0)),
        ] {
            assert_eq!(coefficient_of_variation(&values), expected, "{values:?}");
        }
    }

    #[test]
    fn the_last_two_fifths_alone_count_as_steady() {
        let mut bins = run(&[(60, 9000.0), (40, 2000.0)], 2000.0, None);
        bins.iter_mut().for_each(|bin| bin.drain = if bin.t <= 60.0 { 30.0 } else { 2.1 });
        assert_eq!(rate_cov(&bins), Some(0.0));
        assert!((steady_drain_seconds(&bins).unwrap() - 2.1).abs() < 1e-9);
        assert_eq!(steady_drain_seconds(&[]), None);
    }

    #[test]
    fn back_at_the_set_point_is_when_it_stays_there() {
        let mut bins = run(&[(50, 1000.0)], 1000.0, None);
        for bin in &mut bins {
            bin.drain = match bin.t as u32 {
                1..=20 => 12.0,
                30 => 2.9, // one second above is within the 10 %
                _ => 2.2,
            };
        }
        assert_eq!(back_at_set_point_seconds(&bins, 2.0), Some(20.0));
        bins.iter_mut().for_each(|bin| bin.drain = 4.0);
        assert_eq!(back_at_set_point_seconds(&bins, 2.0), None);
    }

    #[test]
    fn a_span_holds_the_bins_that_end_in_it() {
        let bins = run(&[(10, 1.0)], 1.0, None);
        let span = between(&bins, 3.0, 6.0);
        assert_eq!(span.iter().map(|bin| bin.t).collect::<Vec<_>>(), [4.0, 5.0, 6.0]);
        assert!(between(&bins, 20.0, 10.0).is_empty());
    }

    #[test]
    fn the_peak_is_of_samples_not_of_bins() {
        let mut bins = run(&[(5, 1.0)], 1.0, None);
        bins[2].drain_peak = 14.5;
        assert_eq!(peak_drain_seconds(&bins), Some(14.5));
        assert_eq!(peak_drain_seconds(&[]), None);
    }
}
