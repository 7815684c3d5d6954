//! A run → the lines of a chart: few points, and no high or low lost. Pure.

use super::plant::{Trace, World};
use super::scenario::{Fault, FaultKind, Scenario};
use super::score::{drain_of_the_worst, growth};
use super::{centred_mean, plant::STEP_SECONDS};

/// How a value reads between two points of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// It holds until the next point.
    Steps,
    /// It moves straight to the next point.
    Straight,
}

/// A line over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// When, seconds from the start, ascending.
    pub seconds: Vec<f64>,
    /// What, in the unit of the line; `None`: there is nothing to draw from here on (no limit).
    pub values: Vec<Option<f64>>,
}

/// What one law did.
#[derive(Clone, Debug, PartialEq)]
pub struct RunCurves {
    /// The limit in force for governed writers, messages/s; steps.
    pub limit: Curve,
    /// What all writers wrote, messages/s, mean over 1 s.
    pub production: Curve,
    /// Lag ÷ capacity of the group that is worst off, seconds of its work: what the peak and the excess are taken from.
    pub drain: Curve,
}

/// What the story prescribes, whatever the law.
#[derive(Clone, Debug, PartialEq)]
pub struct StoryCurves {
    /// What the slowest group can follow, messages/s: without noise, its fullest member rules, 0 while nobody reads.
    pub capacity: Curve,
    /// What all writers want, live ones too, messages/s; without noise.
    pub demand: Curve,
}

/// A part of the story that a chart marks; an instant when both ends are the same.
#[derive(Clone, Debug, PartialEq)]
pub struct StoryEvent {
    /// When it begins, seconds.
    pub from_seconds: f64,
    /// When it is over, seconds; not after the end of the run.
    pub to_seconds: f64,
    /// What it is, in a few words.
    pub label: String,
}

impl Curve {
    /// The line through `samples`, which lie [`Trace::SECONDS`] apart, with at most `points` points (see [`kept`]).
    #[must_use]
    pub fn of(samples: &[Option<f64>], drawn: Drawn, points: usize) -> Self {
        let kept = kept(samples, drawn, points);
        Self {
            seconds: kept.iter().map(|index| Trace::seconds(*index)).collect(),
            values: kept.iter().map(|index| samples[*index]).collect(),
        }
    }
}

impl RunCurves {
    /// What happened in `trace`, at most `points` points a line.
    #[must_use]
    pub fn of(world: &World<'_>, trace: &Trace, points: usize) -> Self {
        let known = |values: Vec<f64>| values.into_iter().map(finite).collect::<Vec<_>>();
        let limit: Vec<Option<f64>> = trace.limit.iter().copied().map(finite).collect();
        let production = known(centred_mean(&growth(trace), PRODUCTION_SAMPLES));
        let drain = known(drain_of_the_worst(world, trace));
        Self {
            limit: Curve::of(&limit, Drawn::Steps, points),
            production: Curve::of(&production, Drawn::Straight, points),
            drain: Curve::of(&drain, Drawn::Straight, points),
        }
    }
}

impl StoryCurves {
    /// What `world` prescribes, at most `points` points a line.
    #[must_use]
    pub fn of(world: &World<'_>, points: usize) -> Self {
        let scenario = world.scenario();
        let steps = || (0..).map(Trace::step).take_while(|step| *step < world.steps());
        let slowest = |step| {
            let groups = (0..scenario.groups.len()).map(|group| world.achievable(step, group));
            finite(groups.fold(f64::INFINITY, f64::min))
        };
        let wanted = |step: usize| Some(scenario.load.demand.at(step as f64 * STEP_SECONDS) + scenario.load.live);
        Self {
            capacity: Curve::of(&steps().map(slowest).collect::<Vec<_>>(), Drawn::Straight, points),
            demand: Curve::of(&steps().map(wanted).collect::<Vec<_>>(), Drawn::Straight, points),
        }
    }
}

impl Scenario {
    /// Faults, blackouts, a change of the commit interval and the marks after the start, in the order of their begin.
    #[must_use]
    pub fn events(&self) -> Vec<StoryEvent> {
        let of_group = |group: usize, words: String| {
            if self.groups.len() > 1 { format!("group {group}: {words}") } else { words }
        };
        let fault =
            |fault: &Fault| (fault.at_seconds, fault.ends_seconds(), of_group(fault.group, words_for(fault.kind)));
        let changed = self.groups.iter().enumerate().filter_map(|(group, plan)| {
            let (at, seconds) = plan.commit_change?;
            Some((at, at, of_group(group, format!("commits every {seconds} s"))))
        });
        let dark =
            self.observation.blackouts.iter().map(|(from, to)| (*from, *to, "cluster not observable".to_owned()));
        let marks = self.marks_seconds.iter().filter(|at| **at > 0.0).map(|at| (*at, *at, "mark".to_owned()));
        let all = self.faults.iter().map(fault).chain(dark).chain(changed).chain(marks);
        let mut events: Vec<StoryEvent> = all
            .filter(|(from, ..)| *from < self.duration_seconds)
            .map(|(from_seconds, to, label)| StoryEvent {
                from_seconds,
                to_seconds: to.min(self.duration_seconds),
                label,
            })
            .collect();
        events.sort_by(|a, b| a.from_seconds.total_cmp(&b.from_seconds));
        events
    }
}

/// No limit, and a lag of which nobody takes anything, are no points of a line.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn words_for(kind: FaultKind) -> String {
    match kind {
        FaultKind::Rebalance => "rebalance".to_owned(),
        FaultKind::Crash(_) => "all members down".to_owned(),
        FaultKind::MemberDeath(member) => format!("member {member} down"),
        FaultKind::Stuck(partition) => format!("partition {partition} stuck"),
        FaultKind::HangingTransaction(None) => "a transaction hangs".to_owned(),
        FaultKind::HangingTransaction(Some(partition)) => format!("a transaction hangs on partition {partition}"),
        FaultKind::Rewind(seconds) => format!("commits set back by {seconds} s of work"),
    }
}

/// Which of `samples` a line needs: at most `points` of them (8 at least), ascending, the first and the last among them.
///
/// What lies within a level stretch goes first; that costs nothing. Of what is still too much, each of equally long
/// stretches leaves its lowest, its highest and its first unknown sample, so that no peak and no gap is lost. A line that
/// shows a held value in between may lag behind it by one such stretch.
#[must_use]
pub fn kept(samples: &[Option<f64>], drawn: Drawn, points: usize) -> Vec<usize> {
    let Some(last) = samples.len().checked_sub(1) else { return Vec::new() };
    let bends = |index: usize| {
        let leaves = drawn == Drawn::Straight && index < last && samples[index] != samples[index + 1];
        index == 0 || index == last || samples[index] != samples[index - 1] || leaves
    };
    let bent: Vec<usize> = (0..=last).filter(|index| bends(*index)).collect();
    let points = points.max(POINTS_MIN);
    if bent.len() <= points {
        return bent;
    }
    let inner = &bent[1..bent.len() - 1];
    let stretch = inner.len().div_ceil((points - 2) / 3);
    let mut kept = vec![0];
    for part in inner.chunks(stretch) {
        let known = || part.iter().copied().filter_map(|index| Some((index, samples[index]?)));
        let lowest = known().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index);
        let highest = known().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index);
        let unknown = part.iter().copied().find(|index| samples[*index].is_none());
        let mut chosen: Vec<usize> = [lowest, highest, unknown].into_iter().flatten().collect();
        chosen.sort_unstable();
        chosen.dedup();
        kept.extend(chosen);
    }
    kept.push(last);
    kept
}

/// Production is averaged over so many samples, 1 s: shorter, and the releases of single batches are all one sees.
const PRODUCTION_SAMPLES: usize = (1.0 / Trace::SECONDS) as usize;
/// Both ends, and two stretches of three.
const POINTS_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sim::{Case, Shipped, ShippedStart, catalogue};

    fn story(id: &str) -> Scenario {
        catalogue().into_iter().find(|scenario| scenario.id == id).unwrap()
    }

    fn sample() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![2 => (0..6).prop_map(|value| Some(f64::from(value))), 3 => (0.0..1e6).prop_map(Some), 1 => Just(None)]
    }

    fn extremes(values: &[Option<f64>]) -> (Option<f64>, Option<f64>, bool) {
        let known = || values.iter().copied().flatten();
        (known().reduce(f64::min), known().reduce(f64::max), values.iter().any(Option::is_none))
    }

    proptest! {
        #[test]
        fn thinning_keeps_extremes_gaps_and_both_ends(
            samples in proptest::collection::vec(sample(), 1..900),
            points in 8_usize..700,
            steps: bool,
        ) {
            let kept = kept(&samples, if steps { Drawn::Steps } else { Drawn::Straight }, points);
            prop_assert!(kept.len() <= points, "{} points", kept.len());
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "{kept:?}");
            prop_assert_eq!((kept[0], kept[kept.len() - 1]), (0, samples.len() - 1));
            let left: Vec<Option<f64>> = kept.iter().map(|index| samples[*index]).collect();
            prop_assert_eq!(extremes(&left), extremes(&samples));
        }

        #[test]
        fn a_line_that_is_not_cut_short_reads_as_before(samples in proptest::collection::vec(sample(), 1..60)) {
            let kept = kept(&samples, Drawn::Steps, samples.len());
            for (index, sample) in samples.iter().enumerate() {
                let holds = kept.iter().rev().find(|kept| **kept <= index).unwrap();
                prop_assert_eq!(samples[*holds], *sample);
            }
        }
    }

    #[test]
    fn a_level_line_needs_its_ends_and_a_step_both_of_its_sides() {
        let samples: Vec<Option<f64>> = (0..100).map(|index| Some(if index < 50 { 1.0 } else { 2.0 })).collect();
        assert_eq!(kept(&samples, Drawn::Steps, 600), [0, 50, 99]);
        assert_eq!(kept(&samples, Drawn::Straight, 600), [0, 49, 50, 99]);
        assert!(kept(&[], Drawn::Steps, 600).is_empty());
    }

    #[test]
    fn an_open_valve_draws_no_limit_and_its_highest_lag_is_the_scores_peak() {
        let scenario = story("S01");
        let case = Case::new(&scenario, 1);
        let outcome = case.run(&mut Shipped::new(&scenario, ShippedStart::Open));
        let curves = RunCurves::of(case.world(), &outcome.trace, 600);
        assert_eq!((curves.limit.seconds[0], curves.limit.values[0]), (0.25, None));
        assert!(curves.limit.values.last().unwrap().is_some());
        let late = curves.drain.seconds.iter().zip(&curves.drain.values).filter(|(at, _)| **at > 2.0);
        let peak = late.filter_map(|(_, value)| *value).fold(0.0, f64::max);
        assert_eq!(peak, outcome.score.peak_drain_seconds);
        assert!(curves.production.seconds.len() <= 600);
    }

    #[test]
    fn capacity_is_zero_while_nobody_reads_and_demand_includes_what_no_limit_reaches() {
        let rebalance = story("S20");
        let curves = StoryCurves::of(Case::new(&rebalance, 1).world(), 600);
        assert_eq!(curves.capacity.values, [3000.0, 3000.0, 0.0, 0.0, 2000.0, 2000.0].map(Some));
        let live = story("S45");
        let demand = StoryCurves::of(Case::new(&live, 1).world(), 600).demand;
        assert_eq!(demand.values[0], Some(live.load.demand.at(0.0) + live.load.live));
    }

    #[test]
    fn events_are_named_and_end_with_the_run() {
        let words = |id: &str| story(id).events().into_iter().map(|event| event.label).collect::<Vec<_>>();
        assert_eq!(words("S20"), ["rebalance", "mark"]);
        assert!(words("S26").contains(&"cluster not observable".to_owned()));
        assert!(words("S53").contains(&"commits every 30 s".to_owned()), "{:?}", words("S53"));
        for scenario in catalogue() {
            for event in scenario.events() {
                assert!(event.from_seconds <= event.to_seconds, "{event:?}");
                assert!(event.to_seconds <= scenario.duration_seconds, "{event:?}");
            }
        }
    }
}
