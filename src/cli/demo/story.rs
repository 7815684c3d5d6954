//! The stories: who writes how much, what the group takes, and what happens to it when. Pure.

use serde::Serialize;

use super::args::Scenario;

/// One scenario, played over a given time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Story {
    /// Which.
    pub(super) scenario: Scenario,
    /// What governed writers want.
    pub(super) demand: Demand,
    /// Live traffic beside them, records/s.
    pub(super) live: f64,
    /// What the group takes at first, records/s.
    pub(super) capacity: f64,
    /// In order; the first begins at 0.
    pub(super) stages: Vec<Stage>,
}

/// What governed writers want.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Demand {
    /// So many records/s; what the valve refuses is dropped, as by a service that sheds load.
    Rate(f64),
    /// As much as the valve allows; they wait for it, as a file does.
    Everything,
}

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stage {
    /// Which.
    pub(super) kind: StageKind,
    /// When it begins, seconds.
    pub(super) from: f64,
    /// When it ends, seconds. The last one may end sooner: when everything is consumed.
    pub(super) to: f64,
    /// What the group takes in it, records/s.
    pub(super) capacity: f64,
}

/// The kinds of stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StageKind {
    /// Live traffic only; the valve watches.
    Observe,
    /// The valve limits governed writers.
    Enforce,
    /// The group takes half.
    ConsumerHalved,
    /// The group is dead.
    ConsumerKilled,
    /// The group is back, at half.
    ConsumerRestarted,
    /// The group takes twice as much again.
    ConsumerDoubled,
    /// Writers are done; the group works off the rest.
    CaughtUp,
}

impl StageKind {
    /// The name for machines.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
            Self::ConsumerHalved => "consumer_halved",
            Self::ConsumerKilled => "consumer_killed",
            Self::ConsumerRestarted => "consumer_restarted",
            Self::ConsumerDoubled => "consumer_doubled",
            Self::CaughtUp => "caught_up",
        }
    }

    /// The name for the banner.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Observe => "OBSERVE",
            Self::Enforce => "ENFORCE",
            Self::ConsumerHalved => "CONSUMER HALVED",
            Self::ConsumerKilled => "CONSUMER KILLED",
            Self::ConsumerRestarted => "CONSUMER RESTARTED",
            Self::ConsumerDoubled => "CONSUMER DOUBLED",
            Self::CaughtUp => "CATCH UP",
        }
    }
}

impl Story {
    /// `scenario` over `seconds` of writing.
    pub(super) fn new(scenario: Scenario, seconds: f64) -> Self {
        let steady = |demand, capacity| Self {
            scenario,
            demand: Demand::Rate(demand),
            live: 0.0,
            capacity,
            stages: stages(&[(StageKind::Enforce, 1.0, 1.0)], seconds, capacity),
        };
        match scenario {
            Scenario::TenToTwo => steady(10_000.0, 2_000.0),
            Scenario::HundredToTen => steady(100_000.0, 10_000.0),
            Scenario::ToSpare => steady(1_400.0, 2_000.0),
            Scenario::Backfill => Self {
                scenario,
                demand: Demand::Everything,
                live: 300.0,
                capacity: 3_000.0,
                stages: stages(BACKFILL, seconds, 3_000.0),
            },
        }
    }

    /// Ends the writing at `t` seconds, whatever was still to come.
    pub(super) fn cut_short(&mut self, t: f64) {
        self.stages.retain(|stage| stage.from < t && stage.kind != StageKind::CaughtUp);
        let capacity = self.stages.last().map_or(self.capacity, |stage| stage.capacity);
        if let Some(stage) = self.stages.last_mut() {
            stage.to = t;
        }
        self.stages.push(Stage { kind: StageKind::CaughtUp, from: t, to: t + CATCH_UP_SECONDS, capacity });
    }

    /// What happens in `stage`, for a person.
    pub(super) fn text(&self, stage: Stage, set_point: f64) -> String {
        let takes = thousands(stage.capacity);
        let live = thousands(self.live);
        match (stage.kind, self.demand) {
            (StageKind::Observe, _) => format!(
                "Live traffic only, {live}/s, into a group that could take {takes}/s. The valve watches and limits nothing."
            ),
            (StageKind::Enforce, Demand::Everything) => format!(
                "A backfill begins, as fast as the valve lets it. The group takes {takes}/s; lag is to stay at {set_point} s \
                 of its work. Live traffic is never limited."
            ),
            (StageKind::Enforce, Demand::Rate(rate)) => format!(
                "Writers offer {}/s. The group takes {takes}/s. Nobody told the valve: it finds out from the commits.",
                thousands(rate)
            ),
            (StageKind::ConsumerHalved, _) => {
                format!("The group has become slower: {takes}/s. Nobody told the valve.")
            }
            (StageKind::ConsumerKilled, _) => {
                "The consumer crashed: no commit, no goodbye. Its commits become overdue, \
                and the valve closes to a trickle."
                    .to_owned()
            }
            (StageKind::ConsumerRestarted, _) => {
                format!("The consumer is back, still at {takes}/s, from its last commit. The backlog goes first.")
            }
            (StageKind::ConsumerDoubled, _) => {
                format!("The group takes {takes}/s again. The valve opens as commits prove it.")
            }
            (StageKind::CaughtUp, _) => {
                "Writers are done. The group reads the rest, and every record is accounted for.".to_owned()
            }
        }
    }
}

/// Shares of the writing time and of the capacity. Killed is 20 s of the default 240 s.
const BACKFILL: &[(StageKind, f64, f64)] = &[
    (StageKind::Observe, 12.0 / 240.0, 1.0),
    (StageKind::Enforce, 62.0 / 240.0, 1.0),
    (StageKind::ConsumerHalved, 46.0 / 240.0, 0.5),
    (StageKind::ConsumerKilled, 20.0 / 240.0, 0.5),
    (StageKind::ConsumerRestarted, 56.0 / 240.0, 0.5),
    (StageKind::ConsumerDoubled, 44.0 / 240.0, 1.0),
];

fn stages(shares: &[(StageKind, f64, f64)], seconds: f64, capacity: f64) -> Vec<Stage> {
    let mut from = 0.0;
    let mut stages = Vec::with_capacity(shares.len() + 1);
    for &(kind, share, of_capacity) in shares {
        // Whole seconds, so that bins of one second belong to one stage.
        let to = (from + share * seconds).round();
        stages.push(Stage { kind, from, to, capacity: of_capacity * capacity });
        from = to;
    }
    let last = stages.last().map_or(capacity, |stage| stage.capacity);
    stages.push(Stage { kind: StageKind::CaughtUp, from, to: from + CATCH_UP_SECONDS, capacity: last });
    stages
}

fn thousands(value: f64) -> String {
    lagvalve::units::HumanCount(value).to_string()
}

/// The longest the group is given to read what is left.
const CATCH_UP_SECONDS: f64 = 50.0;

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn stages_follow_each_other_without_a_gap_and_end_within_the_promise() {
        for scenario in Scenario::value_variants() {
            let story = Story::new(*scenario, if *scenario == Scenario::Backfill { 240.0 } else { 120.0 });
            assert_eq!(story.stages[0].from, 0.0);
            for pair in story.stages.windows(2) {
                assert_eq!(pair[0].to, pair[1].from, "{scenario:?}");
            }
            let last = story.stages.last().unwrap();
            assert_eq!(last.kind, StageKind::CaughtUp);
            assert!(last.to <= if *scenario == Scenario::Backfill { 300.0 } else { 180.0 });
        }
    }

    #[test]
    fn a_story_can_be_cut_short_at_any_time() {
        let mut story = Story::new(Scenario::Backfill, 240.0);
        story.cut_short(100.0);
        let kinds: Vec<_> = story.stages.iter().map(|stage| stage.kind).collect();
        assert_eq!(kinds, [StageKind::Observe, StageKind::Enforce, StageKind::ConsumerHalved, StageKind::CaughtUp]);
        assert_eq!((story.stages[2].to, story.stages[3].from, story.stages[3].capacity), (100.0, 100.0, 1500.0));
    }

    #[test]
    fn the_backfill_kills_its_group_for_twenty_seconds() {
        let story = Story::new(Scenario::Backfill, 240.0);
        let killed = story.stages.iter().find(|stage| stage.kind == StageKind::ConsumerKilled).unwrap();
        assert_eq!(killed.to - killed.from, 20.0);
        assert!(story.stages.iter().all(|stage| !story.text(*stage, 2.0).is_empty()));
    }
}
