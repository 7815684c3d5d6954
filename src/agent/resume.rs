//! A loop that goes on from what an earlier run of the agent saw: the tail of its journal, told again on this run's clock.
//! Pure.
//!
//! The time in which nobody ran is a time in which nothing could be read: the same rules hold for it as for a cluster that
//! cannot be reached. A restart opens no valve, and what was learned in minutes is not learned anew.

use std::collections::HashMap;
use std::time::Duration;

use super::input::Given;
use super::record::TickRecord;
use super::tick::{TickInput, ValveLoop};
use crate::clock::Instant;
use crate::id::GroupId;

/// What a loop took from an earlier run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resumed {
    /// Nothing: there is no earlier run, or the wall clock says that it is still to come.
    Nothing,
    /// Its whole history.
    History {
        /// Ticks that were told again.
        ticks: usize,
        /// Since the last of them, seconds.
        age_seconds: f64,
    },
    /// It was too long ago: only what the groups could take then, as the rate for a start.
    Capacity {
        /// Groups whose capacity is known.
        groups: usize,
        /// Since the last tick, seconds.
        age_seconds: f64,
    },
}

impl ValveLoop {
    /// Takes over from an earlier run of this valve: `past` are its ticks, oldest first, each with its settings. Must be
    /// called before the first tick. `now` and `unix_millis` are the present on this run's clocks.
    ///
    /// Ticks without their input or settings, and those of a run after which the wall clock was set back, are left out.
    pub fn resume(&mut self, past: &[TickRecord], now: Instant, unix_millis: u64) -> Resumed {
        let Some(last) = past.last() else { return Resumed::Nothing };
        let Some(age) = unix_millis.checked_sub(last.at).map(Duration::from_millis) else { return Resumed::Nothing };
        let age_seconds = age.as_secs_f64();
        if age > RESUME_WITHIN {
            return match self.expect(&capacities(past)) {
                0 => Resumed::Nothing,
                groups => Resumed::Capacity { groups, age_seconds },
            };
        }
        let told = retold(past, now, unix_millis);
        let mut sent_total = 0;
        for (place, given) in told.iter().enumerate() {
            if place > 0 {
                self.pass(told[place - 1].now, given.now, sent_total);
            }
            sent_total = given.sent_total;
            self.tick(&given.as_input());
        }
        let Some(latest) = told.last() else { return Resumed::Nothing };
        self.pass(latest.now, now, sent_total);
        self.begin_again(last.seq, sent_total);
        Resumed::History { ticks: told.len(), age_seconds }
    }

    /// Ticks through a time in which nobody ran, as if nothing could be read.
    fn pass(&mut self, from: Instant, to: Instant, sent_total: u64) {
        let poll = self.settings().poll_interval.max(SHORTEST_STEP);
        let mut at = from + poll;
        while to.since(at) > 2 * poll {
            let descriptions = HashMap::new();
            self.tick(&TickInput { now: at, unix_millis: 0, snapshot: None, descriptions: &descriptions, sent_total });
            at = at + poll;
        }
    }
}

/// The newest capacity of each group, messages/s.
fn capacities(past: &[TickRecord]) -> HashMap<GroupId, f64> {
    let groups = past.iter().flat_map(|tick| &tick.groups);
    groups.filter_map(|group| Some((group.group.clone(), group.capacity.filter(|rate| *rate > 0.0)?))).collect()
}

/// What the ticks of `past` were given, as if they had been made on a clock that shows `now`.
fn retold(past: &[TickRecord], now: Instant, unix_millis: u64) -> Vec<Given> {
    let whole: Vec<(&TickRecord, Given)> = past.iter().filter_map(given).collect();
    // A run of its own clock and its own count of what was sent begins where time goes back.
    let runs: Vec<&[(&TickRecord, Given)]> = whole.chunk_by(|(_, a), (_, b)| a.now < b.now).collect();
    let mut kept: Vec<Vec<Given>> = Vec::new();
    let mut before = now;
    for run in runs.iter().rev() {
        let (Some((_, first)), Some((last, end))) = (run.first(), run.last()) else { continue };
        let Some(age) = unix_millis.checked_sub(last.at) else { break };
        let shift = i128::from(now.as_nanos()) - i128::from(age) * NANOS_A_MILLI - i128::from(end.now.as_nanos());
        let (Some(begin), Some(end)) = (moved(first.now, shift), moved(end.now, shift)) else { break };
        if end > before {
            break;
        }
        before = begin;
        kept.push(run.iter().filter_map(|(_, given)| given.clone().moved_by(shift)).collect());
    }
    let mut sent_before = 0;
    let mut told = Vec::with_capacity(kept.iter().map(Vec::len).sum());
    for run in kept.into_iter().rev() {
        let base = sent_before;
        told.extend(run.into_iter().map(|given| Given { sent_total: base + given.sent_total, ..given }));
        sent_before = told.last().map_or(base, |given| given.sent_total);
    }
    told
}

fn given(record: &TickRecord) -> Option<(&TickRecord, Given)> {
    let config = record.config.as_ref()?;
    Some((record, Given::of(record, &config.settings)?))
}

impl Given {
    /// The same on a clock that is `nanos` ahead; `None` when that is before its origin.
    fn moved_by(mut self, nanos: i128) -> Option<Self> {
        self.now = moved(self.now, nanos)?;
        for group in self.snapshot.iter_mut().flat_map(|seen| &mut seen.groups) {
            group.read_at = moved(group.read_at, nanos)?;
        }
        for topic in self.snapshot.iter_mut().flat_map(|seen| &mut seen.topics) {
            topic.read_at = moved(topic.read_at, nanos)?;
        }
        Some(self)
    }
}

fn moved(instant: Instant, nanos: i128) -> Option<Instant> {
    u64::try_from(i128::from(instant.as_nanos()) + nanos).ok().map(Instant::from_nanos)
}

/// An older run than this is no history any more, but what its groups could take is still the best first rate (guessed: a
/// restart takes seconds, a deployment minutes, and consumers change their pace over hours).
const RESUME_WITHIN: Duration = Duration::from_secs(600);
const SHORTEST_STEP: Duration = Duration::from_millis(50);
const NANOS_A_MILLI: i128 = 1_000_000;
