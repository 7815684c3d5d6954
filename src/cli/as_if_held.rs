//! What lag would have been if the valve had acted. Estimated: nobody can see it.

use std::collections::HashMap;

use lagvalve::agent::{GroupRecord, TickRecord};
use lagvalve::id::GroupId;
use lagvalve::units::RateLimit;

/// The largest lag that the groups of an observing valve would have had, tick by tick.
///
/// While the valve would have acted, a group's lag changes as it was seen to change, less what a valve at that lag would
/// have withheld; it never falls below nothing. Decisions made on the lag that was really there would close much further
/// than needed: they saw what happens without a valve.
#[derive(Clone, Debug, Default)]
pub(super) struct AsIfHeld {
    groups: HashMap<GroupId, Kept>,
    largest: Option<Lag>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Lag that was there, messages.
    seen: f64,
    /// Lag that would have been there, messages.
    held: f64,
}

/// A lag, in messages and in seconds of the group's own work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lag {
    pub(super) messages: f64,
    pub(super) seconds: f64,
}

impl AsIfHeld {
    /// Takes one more tick, `step` seconds after the one before.
    pub(super) fn add(&mut self, record: &TickRecord, step: f64) {
        for group in &record.groups {
            let (Some(seen), Some(capacity)) = (group.lag_messages, group.capacity.filter(|capacity| *capacity > 0.0))
            else {
                continue;
            };
            let before = self.groups.get(&group.group).copied().unwrap_or(Kept { seen, held: seen });
            let withheld = if is_acting(record, group) { withheld(record, group, capacity, before.held) } else { 0.0 };
            let held = (before.held + seen - before.seen - withheld * step).clamp(0.0, seen);
            self.groups.insert(group.group.clone(), Kept { seen, held });
            let lag = Lag { messages: held, seconds: held / capacity };
            if self.largest.is_none_or(|largest| lag.messages > largest.messages) {
                self.largest = Some(lag);
            }
        }
    }

    /// The largest so far; `None` where no lag was ever known.
    pub(super) const fn largest(&self) -> Option<Lag> {
        self.largest
    }
}

fn is_acting(record: &TickRecord, group: &GroupRecord) -> bool {
    let cause = record.causes.iter().find(|cause| cause.group.as_ref() == Some(&group.group));
    cause.is_some_and(|cause| cause.rate != RateLimit::Unlimited)
}

/// What a valve at a lag of `held` messages would keep back of what was written, messages/s.
fn withheld(record: &TickRecord, group: &GroupRecord, capacity: f64, held: f64) -> f64 {
    let off = group.set_point_seconds - held / capacity;
    let allowed = capacity * (1.0 + off / SECONDS_TO_SET_POINT).max(0.0);
    record.production.map_or(0.0, |written| (written - allowed).max(0.0))
}

/// In about so many seconds the law brings lag to the set-point: 1/Kc at 5 s commits (docs/control.md).
const SECONDS_TO_SET_POINT: f64 = 5.0;

#[cfg(test)]
mod tests {
    use lagvalve::control::BoundBy;

    use super::super::watching::tests::record;
    use super::*;

    /// 5,000/s into a group that takes 2,000/s: without a valve lag grows by 3,000/s.
    #[test]
    fn an_overload_would_have_ended_at_the_set_point() {
        let mut held = AsIfHeld::default();
        let tick = |second: u64, acting: bool| {
            let limit = if acting { RateLimit::from_f64(2000.0).unwrap() } else { RateLimit::Unlimited };
            let mut record = record(second, Some(5000.0), limit);
            record.groups[0].lag_messages = Some(3000.0 * second as f64);
            record.groups[0].capacity = Some(2000.0);
            record
        };
        assert_eq!(held.largest(), None);
        (0..=4).for_each(|second| held.add(&tick(second, false), 1.0));
        assert_eq!(held.largest(), Some(Lag { messages: 12_000.0, seconds: 6.0 }), "before anything is proven");
        (5..=120).for_each(|second| held.add(&tick(second, true), 1.0));
        let last = held.groups.values().next().unwrap();
        assert_eq!(last.seen, 360_000.0);
        assert!((last.held / 2000.0 - 2.0).abs() < 0.1, "{}", last.held);
        assert_eq!(held.largest().unwrap().messages, 12_000.0, "from then on it would only have fallen");
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let mut held = AsIfHeld::default();
        let mut unknown = record(1, None, RateLimit::Unlimited);
        unknown.causes[0].bound_by = BoundBy::Learning;
        held.add(&unknown, 1.0);
        assert_eq!(held.largest(), None);
    }
}
