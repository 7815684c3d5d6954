//! What decides in a replay: the shipped loop, told what was recorded or something else, or another law.

use std::collections::HashMap;
use std::fmt;

use crate::agent::{Given, TickRecord, ValveLoop, ValveSettings};
use crate::control::BoundBy;
use crate::id::TopicPartition;
use crate::lag::{ReadFault, Snapshot};
use crate::sim::baseline::Baseline;
use crate::sim::policy::{Described, Observation, Policy, Told};
use crate::units::RateLimit;

/// A law for a replay, by name.
pub struct ReplayLaw {
    name: String,
    kind: Kind,
}

enum Kind {
    Shipped(Box<dyn Fn(&mut ValveSettings)>),
    Baseline(Baseline, f64),
}

/// A law needs a capacity that nobody told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is told what the slowest group can take, in messages/s above 0, and a journal does not say")]
pub struct CapacityNotTold(pub Baseline);

impl ReplayLaw {
    /// The shipped loop with the settings that were in force.
    #[must_use]
    pub fn recorded(name: impl Into<String>) -> Self {
        Self::retold(name, |_| {})
    }

    /// The shipped loop with the settings that were in force, changed by `retell`.
    #[must_use]
    pub fn retold(name: impl Into<String>, retell: impl Fn(&mut ValveSettings) + 'static) -> Self {
        Self { name: name.into(), kind: Kind::Shipped(Box::new(retell)) }
    }

    /// Another law; `nominal_capacity` in messages/s, above 0, for those that are told it.
    ///
    /// # Errors
    /// [`CapacityNotTold`] when the law needs it and there is none above 0.
    pub fn baseline(law: Baseline, nominal_capacity: Option<f64>) -> Result<Self, CapacityNotTold> {
        let told = nominal_capacity.filter(|capacity| capacity.is_finite() && *capacity > 0.0);
        if told.is_none() && law.is_told_the_capacity() {
            return Err(CapacityNotTold(law));
        }
        Ok(Self { name: law.name().to_owned(), kind: Kind::Baseline(law, told.unwrap_or(NOT_LOOKED_AT)) })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The law at the start of a run, and whether it is the shipped one with what was recorded.
    pub(super) fn start(&self, recorded: &ValveSettings) -> (Stepper, bool) {
        match &self.kind {
            Kind::Shipped(retell) => {
                let mut settings = recorded.clone();
                retell(&mut settings);
                let same = settings == *recorded;
                (Stepper::Shipped(Box::new(ValveLoop::new(settings))), same)
            }
            Kind::Baseline(law, nominal_capacity) => {
                let poll_seconds = recorded.poll_interval.as_secs_f64();
                let policy = law.start(&Told { poll_seconds, nominal_capacity: *nominal_capacity });
                (Stepper::Policy { policy, seen: Seen::default() }, false)
            }
        }
    }
}

impl fmt::Debug for ReplayLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayLaw").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a law decided at one tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplayDecision {
    /// What governed writers may send, together.
    pub rate_decided: RateLimit,
    /// The reason that rules; a law that is not the shipped one names none.
    pub bound_by: Option<BoundBy>,
    /// The same, and for a valve that only observes the reason of the group that rules.
    pub cause: Option<BoundBy>,
}

impl ReplayDecision {
    /// What `record` says was decided.
    #[must_use]
    pub fn of(record: &TickRecord) -> Self {
        let ruling = record.causes.first().filter(|_| record.bound_by == BoundBy::ObserveOnly);
        Self {
            rate_decided: record.rate_decided,
            bound_by: Some(record.bound_by),
            cause: Some(ruling.map_or(record.bound_by, |cause| cause.bound_by)),
        }
    }

    /// Whether both decided the same, to the last bit; reasons count where both name one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let rates = [self.rate_decided, other.rate_decided].map(|rate| rate.as_f64().to_bits());
        let named_apart = self.bound_by.zip(other.bound_by).is_some_and(|(ours, theirs)| ours != theirs);
        rates[0] == rates[1] && !named_apart
    }
}

/// A law in the middle of a run.
pub(super) enum Stepper {
    Shipped(Box<ValveLoop>),
    Policy { policy: Box<dyn Policy>, seen: Seen },
}

impl Stepper {
    pub(super) fn step(&mut self, given: &Given, recorded: &ValveSettings) -> ReplayDecision {
        match self {
            Self::Shipped(valve) => ReplayDecision::of(&valve.tick(&given.as_input())),
            Self::Policy { policy, seen } => {
                let fresh = given.snapshot.as_ref().is_some_and(|snapshot| seen.take(snapshot, recorded));
                let rate = seen.show(fresh, given, recorded, |now, seen| policy.tick(now, seen));
                let rate_decided = RateLimit::from_f64(rate).unwrap_or(RateLimit::Unlimited);
                ReplayDecision { rate_decided, bound_by: None, cause: None }
            }
        }
    }
}

/// What the polls of a run have shown so far: the last value of each partition.
#[derive(Debug, Default)]
pub(super) struct Seen {
    places: HashMap<TopicPartition, usize>,
    ends: Vec<Option<i64>>,
    last_stable: Vec<Option<i64>>,
    committed: Vec<Vec<Option<i64>>>,
    commits_at: f64,
    ends_at: f64,
}

impl Seen {
    /// Takes a poll; `false` when it brought no log end, or not the commits of every group.
    fn take(&mut self, snapshot: &Snapshot, settings: &ValveSettings) -> bool {
        let mut any = false;
        for topic in &snapshot.topics {
            for ends in topic.partitions.iter().flatten() {
                let place = self.place(&TopicPartition::new(topic.topic.clone(), ends.partition));
                if let Ok(end) = ends.end {
                    self.ends[place] = Some(end);
                    self.ends_at = topic.read_at.as_seconds();
                    any = true;
                }
                if let Some(Ok(stable)) = ends.last_stable {
                    self.last_stable[place] = Some(stable);
                }
            }
        }
        self.committed.resize(settings.protect.len(), Vec::new());
        let mut all = true;
        for (group, known) in settings.protect.iter().zip(&mut self.committed) {
            known.resize(self.ends.len(), None);
            let Some(commits) = snapshot.groups.iter().find(|seen| seen.group == group.group) else {
                all = false;
                continue;
            };
            match &commits.commits {
                Ok(offsets) => {
                    for (partition, place) in &self.places {
                        known[*place] = offsets.get(partition).copied().or(known[*place]);
                    }
                }
                // No such group: it has committed nothing, and that is known.
                Err(error) => all &= error.fault == ReadFault::GroupMissing,
            }
            self.commits_at = commits.read_at.as_seconds();
        }
        any && all
    }

    fn place(&mut self, partition: &TopicPartition) -> usize {
        if let Some(place) = self.places.get(partition) {
            return *place;
        }
        self.places.insert(partition.clone(), self.ends.len());
        self.ends.push(None);
        self.last_stable.push(None);
        self.ends.len() - 1
    }

    /// Shows the partitions whose end is known to `tick`, or nothing when the poll brought nothing.
    fn show(
        &self,
        fresh: bool,
        given: &Given,
        settings: &ValveSettings,
        tick: impl FnOnce(f64, Option<&Observation<'_>>) -> f64,
    ) -> f64 {
        let now = given.now.as_seconds();
        if !fresh {
            return tick(now, None);
        }
        let known = |values: &[Option<i64>]| -> Vec<Option<i64>> {
            self.ends.iter().zip(values).filter(|(end, _)| end.is_some()).map(|(_, value)| *value).collect()
        };
        let ends: Vec<i64> = self.ends.iter().flatten().copied().collect();
        let stable: Vec<i64> =
            known(&self.last_stable).iter().zip(&ends).map(|(stable, end)| stable.unwrap_or(*end)).collect();
        let committed: Vec<Vec<Option<i64>>> = self.committed.iter().map(|group| known(group)).collect();
        let described = settings.protect.iter().map(|group| {
            let seen = given.descriptions.get(&group.group)?.as_ref().ok()?;
            Some(Described { state: seen.state, members: seen.members })
        });
        tick(
            now,
            Some(&Observation {
                commits_at: self.commits_at,
                ends_at: self.ends_at,
                ends: &ends,
                last_stable: &stable,
                committed: &committed,
                sent_total: given.sent_total,
                described: &described.collect::<Vec<_>>(),
            }),
        )
    }
}

/// In place of a capacity where a law does not look at it.
const NOT_LOOKED_AT: f64 = 1.0;
