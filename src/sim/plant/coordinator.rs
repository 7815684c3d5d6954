//! What the coordinator would say of a group: classic protocol, asked now and then.

use super::scaler::Staff;
use super::steps_in;
use super::world::World;
use crate::lag::GroupState;
use crate::sim::policy::Described;
use crate::sim::scenario::FaultKind;

/// The newest description at `now` of a group that is described every [`DESCRIBE_SECONDS`]; asking fails in a blackout.
pub(super) fn newest(world: &World<'_>, staff: &Staff, group: usize, now: f64) -> Option<Described> {
    let observation = &world.scenario.observation;
    let since_first = ((now - world.first_description) / DESCRIBE_SECONDS).floor();
    let mut asked = world.first_description + since_first * DESCRIBE_SECONDS;
    while asked > 0.0 && observation.is_dark(asked) {
        asked -= DESCRIBE_SECONDS;
    }
    let asked = asked.max(0.0);
    (!observation.is_dark(asked)).then(|| describe(world, staff, group, asked))
}

fn describe(world: &World<'_>, staff: &Staff, group: usize, at: f64) -> Described {
    let (mut members, joining) = staff.at(steps_in(at));
    let mut state = if joining { GroupState::Rebalancing } else { GroupState::Stable };
    for fault in world.scenario.faults.iter().filter(|fault| fault.group == group) {
        match fault.kind {
            FaultKind::Rebalance if fault.lasts_at(at) => state = GroupState::Rebalancing,
            FaultKind::Crash(unnoticed) if fault.lasts_at(at) && at >= fault.at_seconds + unnoticed => {
                (state, members) = (GroupState::Empty, 0);
            }
            FaultKind::MemberDeath(_) if at >= fault.ends_seconds() => members = members.saturating_sub(1),
            _ => {}
        }
    }
    Described { state, members }
}

/// Time between two descriptions, seconds.
pub(super) const DESCRIBE_SECONDS: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::catalogue;

    #[test]
    fn a_group_shows_what_its_coordinator_knows() {
        let table = [
            ("S20", 126.0, GroupState::Rebalancing, "a rebalance shows"),
            ("S20", 160.0, GroupState::Stable, "and ends"),
            ("S54", 126.0, GroupState::Empty, "a shutdown shows within five seconds"),
            ("S22", 160.0, GroupState::Stable, "a kill does not before the session timeout"),
            ("S22", 171.0, GroupState::Empty, "but after it"),
            ("S22", 186.0, GroupState::Stable, "the group is back"),
        ];
        let scenarios = catalogue();
        for (id, now, state, case) in table {
            let scenario = scenarios.iter().find(|scenario| scenario.id == id).unwrap();
            let world = World::draw(scenario, 3);
            let staff = Staff::new(&scenario.groups[0]);
            assert_eq!(newest(&world, &staff, 0, now).map(|seen| seen.state), Some(state), "{case}");
        }
    }
}
