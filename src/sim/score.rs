//! A trace → what it cost.

use super::judge::{centred_mean, coefficient_of_variation, first_lasting};
use super::plant::{Trace, World};
use super::scenario::{Expectation, Fault, Scenario};

/// What one run cost, or the mean of several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Total cost: lost % + excess seconds + 5 × coefficient of variation.
    pub j: f64,
    /// Lost throughput, percent; in a scenario with harm windows what was withheld in them.
    pub lost_percent: f64,
    /// Mean lag above the set-point of 2 s, seconds of work.
    pub excess_seconds: f64,
    /// Coefficient of variation of the limit over the last 40 % of each segment; `None` where nothing should be steady.
    pub cov: Option<f64>,
    /// Time until production is within 10 % of what can be had; the longest of all segments.
    pub settled: Settled,
    /// Highest lag after the first 2 s, seconds of work.
    pub peak_drain_seconds: f64,
    /// Highest lag, messages.
    pub peak_messages: f64,
    /// Mean lag of the slowest group over the last 40 % of each segment, seconds of work.
    pub steady_drain_seconds: Option<f64>,
    /// Root mean square of its distance from 2 s.
    pub steady_rms_seconds: Option<f64>,
    /// Production withheld while none was needed, percent; the worst of several runs.
    pub harm_percent: Option<f64>,
    /// Delivered to the slowest group, relative to the yardstick.
    pub utilisation: f64,
    /// Mean number of members over the last third of the run, where something scales them.
    pub members: Option<f64>,
    /// The largest number less the smallest over the last third; the widest of several runs.
    pub members_swing: Option<f64>,
}

/// When production came to where it belongs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Settled {
    /// The scenario asks for nothing to settle.
    NotAsked,
    /// It did not.
    Never,
    /// After so many seconds.
    After(f64),
}

impl Settled {
    /// Seconds, where it was asked for and reached.
    #[must_use]
    pub const fn seconds(self) -> Option<f64> {
        match self {
            Self::After(seconds) => Some(seconds),
            Self::NotAsked | Self::Never => None,
        }
    }

    /// For ranges and medians: never is later than anything.
    const fn or_infinity(self) -> Option<f64> {
        match self {
            Self::NotAsked => None,
            Self::Never => Some(f64::INFINITY),
            Self::After(seconds) => Some(seconds),
        }
    }
}

/// What a run is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    /// The same story without control.
    pub(super) unlimited: &'a Trace,
    /// The story whose deliveries count as 100 %.
    pub(super) yardstick: &'a Trace,
}

impl Score {
    /// What `trace` cost.
    pub(super) fn of(world: &World<'_>, trace: &Trace, beside: Beside<'_>) -> Self {
        let view = View::new(world, trace);
        let drain = drain_of_the_worst(world, trace);
        let steady = view.steady();
        let delivered = |trace: &Trace| trace.delivered[(trace.len() - 1) * trace.groups + view.slowest];
        let mut score = Self {
            j: 0.0,
            lost_percent: 0.0,
            excess_seconds: drain.iter().map(|drain| (drain - SET_POINT_SECONDS).max(0.0)).sum::<f64>()
                / drain.len() as f64,
            cov: mean(steady.iter().map(|steady| Some(steady.cov))),
            settled: view.settled(),
            peak_drain_seconds: drain[samples(2.0)..].iter().copied().fold(0.0, f64::max),
            peak_messages: trace.lag.iter().copied().fold(0.0, f64::max),
            steady_drain_seconds: mean(steady.iter().map(|steady| Some(steady.drain))),
            steady_rms_seconds: mean(steady.iter().map(|steady| Some(steady.rms))),
            harm_percent: view.harm(beside.unlimited),
            utilisation: delivered(trace) / delivered(beside.yardstick).max(1.0),
            members: view.members().map(|(mean, _)| mean),
            members_swing: view.members().map(|(_, swing)| swing),
        };
        score.add_up();
        score
    }

    /// The mean of several runs of one scenario: the worst harm, the median settling.
    ///
    /// # Panics
    /// On none at all.
    #[must_use]
    pub fn mean(runs: &[Self]) -> Self {
        assert!(!runs.is_empty(), "a mean needs a run");
        let plain = |value: fn(&Self) -> f64| runs.iter().map(value).sum::<f64>() / runs.len() as f64;
        let known = |value: fn(&Self) -> Option<f64>| mean(runs.iter().map(value));
        let settled: Option<Vec<f64>> = runs.iter().map(|run| run.settled.or_infinity()).collect();
        let mut score = Self {
            j: 0.0,
            lost_percent: 0.0,
            excess_seconds: plain(|run| run.excess_seconds),
            cov: known(|run| run.cov),
            settled: settled.map_or(Settled::NotAsked, |times| match median(times) {
                f64::INFINITY => Settled::Never,
                seconds => Settled::After(seconds),
            }),
            peak_drain_seconds: plain(|run| run.peak_drain_seconds),
            peak_messages: plain(|run| run.peak_messages),
            steady_drain_seconds: known(|run| run.steady_drain_seconds),
            steady_rms_seconds: known(|run| run.steady_rms_seconds),
            harm_percent: runs.iter().filter_map(|run| run.harm_percent).reduce(f64::max),
            utilisation: plain(|run| run.utilisation),
            members: known(|run| run.members),
            members_swing: runs.iter().filter_map(|run| run.members_swing).reduce(f64::max),
        };
        score.add_up();
        score
    }

    fn add_up(&mut self) {
        self.lost_percent = self.harm_percent.unwrap_or(100.0 * (1.0 - self.utilisation)).max(0.0);
        self.j = self.lost_percent + self.excess_seconds + COV_WEIGHT * self.cov.unwrap_or(0.0);
    }

    /// Every range that this run misses, in words; empty when it keeps them all.
    #[must_use]
    pub fn misses(&self, expected: &Expectation) -> Vec<String> {
        let reached = [
            Some(self.j),
            Some(self.lost_percent),
            Some(self.excess_seconds),
            self.cov,
            self.settled.or_infinity(),
            Some(self.peak_drain_seconds),
            self.steady_drain_seconds,
            self.harm_percent,
            self.members,
            self.members_swing,
        ];
        let ranges = expected.named().into_iter().zip(reached).filter(|((_, range), _)| !range.is_open());
        let missed = ranges.filter(|((_, range), value)| !range.contains(value.unwrap_or(f64::NAN)));
        let words = |((name, range), value): ((&str, super::scenario::Range), Option<f64>)| {
            let end = |end: Option<f64>| end.map_or_else(|| "any".to_owned(), |end| end.to_string());
            let value = value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.3}"));
            format!("{name} = {value}, expected {} to {}", end(range.min), end(range.max))
        };
        missed.map(words).collect()
    }
}

/// A trace with what its scenario asks of it.
struct View<'a> {
    world: &'a World<'a>,
    trace: &'a Trace,
    /// Growth of the log a sample, messages/s.
    rate: Vec<f64>,
    /// The group with the smallest mean capacity.
    slowest: usize,
}

struct Steady {
    cov: f64,
    drain: f64,
    rms: f64,
}

impl<'a> View<'a> {
    fn new(world: &'a World<'a>, trace: &'a Trace) -> Self {
        let total = |group: usize| (0..trace.len()).map(|index| world.nominal(Trace::step(index), group)).sum::<f64>();
        let slowest = (0..trace.groups).min_by(|a, b| total(*a).total_cmp(&total(*b))).unwrap_or(0);
        Self { world, trace, rate: growth(trace), slowest }
    }

    fn scenario(&self) -> &'a Scenario {
        self.world.scenario()
    }

    fn drain(&self, index: usize, group: usize) -> f64 {
        drain(self.world, self.trace, index, group)
    }

    /// Mean and range of the number of members over the last third, of the first group that something scales.
    fn members(&self) -> Option<(f64, f64)> {
        let group = self.scenario().groups.iter().position(|plan| plan.scaler.is_some())?;
        let last = self.trace.len() * 2 / 3..self.trace.len();
        let counts: Vec<f64> = last.map(|index| self.trace.members[index * self.trace.groups + group] as f64).collect();
        let (least, most) =
            counts.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), count| (least.min(*count), most.max(*count)));
        Some((counts.iter().sum::<f64>() / counts.len().max(1) as f64, most - least))
    }

    /// From each mark to the next, without what an outage spoils; in samples.
    fn segments(&self) -> Vec<(usize, usize)> {
        let marks = &self.scenario().marks_seconds;
        let until = marks.iter().skip(1).copied().chain([self.scenario().duration_seconds]);
        let last = self.trace.len() - samples(TAIL_SECONDS);
        let cut = |(from, to): (f64, f64)| {
            let spoils = |fault: &&Fault| fault.spoils_settling() && from < fault.at_seconds && fault.at_seconds < to;
            let to = self.scenario().faults.iter().filter(spoils).map(|fault| fault.at_seconds).fold(to, f64::min);
            (samples(from), last.min(samples(to).saturating_sub(samples(TAIL_SECONDS))))
        };
        let segments = marks.iter().copied().zip(until).map(cut);
        segments.filter(|(from, to)| *to >= from + SEGMENT_SAMPLES_MIN).collect()
    }

    /// What governed writers want at a sample, without noise; messages/s.
    fn offered(&self, index: usize) -> f64 {
        self.scenario().load.demand.at(Trace::step(index) as f64 * super::STEP_SECONDS)
    }

    fn settled(&self) -> Settled {
        let achievable = |index| {
            let reach = |group: usize| {
                let members = self.trace.members[index * self.trace.groups + group];
                self.world.achievable_by(Trace::step(index), group, members)
            };
            let groups = (0..self.trace.groups).map(reach);
            groups.fold(f64::INFINITY, f64::min).min(self.offered(index))
        };
        let reached = centred_mean(&self.rate, samples(MEAN_SECONDS));
        let wanted = centred_mean(&(0..self.trace.len()).map(achievable).collect::<Vec<f64>>(), samples(MEAN_SECONDS));
        let mut latest = Settled::NotAsked;
        for (from, to) in self.segments() {
            let near = |index: usize| (reached[index] - wanted[index]).abs() <= BAND * wanted[index].max(1e-9);
            let good: Vec<bool> = (from..to).map(near).collect();
            let proof = samples(PROOF_SECONDS).max((0.15 * good.len() as f64) as usize);
            let Some(settled) = first_lasting(&good, proof) else { return Settled::Never };
            let seconds = settled as f64 * Trace::SECONDS;
            latest = Settled::After(latest.seconds().unwrap_or(0.0).max(seconds));
        }
        latest
    }

    /// Each segment's last 40 %.
    fn steady(&self) -> Vec<Steady> {
        let last = |(from, to): (usize, usize)| from + (0.6 * (to - from) as f64) as usize..to;
        self.segments().into_iter().map(last).map(|span| self.steady_in(span)).collect()
    }

    fn steady_in(&self, span: std::ops::Range<usize>) -> Steady {
        let count = span.len() as f64;
        let limits: Vec<f64> = span.clone().map(|index| self.trace.limit[index].min(self.offered(index))).collect();
        let drains: Vec<f64> = span.map(|index| self.drain(index, self.slowest)).collect();
        let square: f64 = drains.iter().map(|drain| (drain - SET_POINT_SECONDS).powi(2)).sum();
        Steady {
            cov: coefficient_of_variation(&limits).unwrap_or(0.0),
            drain: drains.iter().sum::<f64>() / count,
            rms: (square / count).sqrt(),
        }
    }

    fn harm(&self, unlimited: &Trace) -> Option<f64> {
        let windows = &self.scenario().harm_seconds;
        let harmed = |index: usize| {
            let at = Trace::seconds(index);
            windows.iter().any(|(from, to)| at >= *from && at <= *to)
        };
        let sum = |rate: &[f64]| (0..rate.len()).filter(|index| harmed(*index)).map(|index| rate[index]).sum::<f64>();
        (!windows.is_empty()).then(|| 100.0 * (1.0 - sum(&self.rate) / sum(&growth(unlimited)).max(1e-9)))
    }
}

/// Lag of the group that is worst off, a sample; seconds of its work.
pub(super) fn drain_of_the_worst(world: &World<'_>, trace: &Trace) -> Vec<f64> {
    let worst = |index| (0..trace.groups).map(|group| drain(world, trace, index, group)).fold(0.0, f64::max);
    (0..trace.len()).map(worst).collect()
}

fn drain(world: &World<'_>, trace: &Trace, index: usize, group: usize) -> f64 {
    let place = index * trace.groups + group;
    let staff = trace.members[place] as f64 / world.scenario().groups[group].members as f64;
    trace.lag[place] / (world.nominal(Trace::step(index), group) * staff)
}

/// Growth of the log, all writers, a sample; messages/s.
pub(super) fn growth(trace: &Trace) -> Vec<f64> {
    let before = [0.0].iter().chain(&trace.produced);
    trace.produced.iter().zip(before).map(|(now, before)| (now - before) / Trace::SECONDS).collect()
}

/// Mean of known values; `None` when one is unknown or there is none.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let known: Vec<f64> = values.collect::<Option<_>>()?;
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) { 0.5 * (values[half - 1] + values[half]) } else { values[half] }
}

fn samples(seconds: f64) -> usize {
    (seconds / Trace::SECONDS) as usize
}

/// The lag that is free, seconds: the default set-point.
pub const SET_POINT_SECONDS: f64 = 2.0;
/// A coefficient of variation of 0.2 costs as much as 1 % of throughput or a second of lag.
const COV_WEIGHT: f64 = 5.0;
/// Production is where it belongs within this part of it.
const BAND: f64 = 0.10;
/// Production is averaged over this time, seconds.
const MEAN_SECONDS: f64 = 10.0;
/// The end of a segment is not judged: what comes next shows in the averages, seconds.
const TAIL_SECONDS: f64 = 6.0;
/// So much of a segment must be left after settling, seconds, or 15 % of it.
const PROOF_SECONDS: f64 = 20.0;
/// A shorter segment tells nothing.
const SEGMENT_SAMPLES_MIN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_median_lies_between() {
        assert_eq!(median(vec![3.0, 1.0, 2.0, f64::INFINITY]), 2.5);
        assert_eq!(median(vec![f64::INFINITY, f64::INFINITY]), f64::INFINITY);
    }
}
