//! Offsets without a record: where compaction or aborted transactions left runs of them.

use super::offsets::Offsets;
use super::world::World;
use crate::sim::chance::Chance;
use crate::sim::scenario::GapPlan;

/// Where the next gap of each partition begins.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    plan: GapPlan,
    next: Vec<f64>,
    chance: Vec<Chance>,
}

impl Gaps {
    /// Gaps of the backlog, which lies between `from` and `ends`; those at the head follow.
    pub(super) fn new(plan: GapPlan, world: &World<'_>, from: &[f64], ends: &[f64], offsets: &mut Offsets) -> Self {
        let mut gaps = Self { plan, next: from.to_vec(), chance: world.gaps.clone() };
        gaps.spread(plan.backlog_share, ends, offsets);
        gaps.next.copy_from_slice(ends);
        for partition in 0..ends.len() {
            gaps.go_on(partition, plan.head_share);
        }
        gaps
    }

    /// The log has grown to `ends`.
    pub(super) fn grow(&mut self, ends: &[f64], offsets: &mut Offsets) {
        self.spread(self.plan.head_share, ends, offsets);
    }

    fn spread(&mut self, share: f64, ends: &[f64], offsets: &mut Offsets) {
        for (partition, end) in ends.iter().enumerate() {
            while share > 0.0 && self.next[partition] <= *end {
                let run = self.chance[partition].exponential(self.plan.run).ceil();
                offsets.add(partition, self.next[partition], run);
                self.go_on(partition, share);
            }
        }
    }

    /// Between two gaps lie so many records that gaps have their share of the offsets.
    fn go_on(&mut self, partition: usize, share: f64) {
        if share > 0.0 {
            self.next[partition] += self.chance[partition].exponential(self.plan.run * (1.0 - share) / share).ceil();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Plant, World};
    use crate::sim::catalogue;

    #[test]
    fn gaps_have_their_share_of_the_offsets_and_policies_meet_the_same_ones() {
        let scenario = catalogue().into_iter().find(|scenario| scenario.id == "S76").unwrap();
        let world = World::draw(&scenario, 1);
        let mut plants = [Plant::new(&world, 2000.0), Plant::new(&world, 1000.0)];
        for step in 0..world.steps() {
            plants.iter_mut().for_each(|plant| {
                plant.step(step);
            });
        }
        let [fast, slow] = plants;
        let records: f64 = fast.ends.iter().map(|end| end - 1e9).sum();
        let offsets: f64 = (0..6).map(|partition| fast.end_offset(partition) as f64 - 1e9).sum();
        assert!((1.0 - records / offsets - 0.3).abs() < 0.03, "{records} records, {offsets} offsets");
        for partition in 0..6 {
            assert_eq!(slow.end_offset(partition), fast.offset_of(partition, slow.ends[partition]));
        }
    }
}
