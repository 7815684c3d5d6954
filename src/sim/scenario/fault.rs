//! What goes wrong in a scenario.

use serde::Deserialize;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Fault {
    /// When it begins.
    pub at_seconds: f64,
    /// How long it lasts; 0 for a rewind.
    pub seconds: f64,
    /// The group it strikes, from 0.
    pub group: usize,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// The group commits, then nobody reads until it is over.
    Rebalance,
    /// Every member goes down and begins again at its commit; the group is seen to be empty so many seconds later.
    Crash(f64),
    /// The member of this number goes down; its partitions wait until the group notices.
    MemberDeath(usize),
    /// The partition of this number is not read, its peers are.
    Stuck(usize),
    /// Commits are set back by so many seconds of the group's work.
    Rewind(f64),
    /// A transaction stays open and pins the last stable offset of this partition, or of all, until it is aborted:
    /// after `transaction.timeout.ms`, 60 s by default. It strikes every `read_committed` group.
    HangingTransaction(Option<usize>),
}

impl Fault {
    /// When it is over.
    #[must_use]
    pub fn ends_seconds(&self) -> f64 {
        self.at_seconds + self.seconds
    }

    /// Whether it lasts at `seconds`.
    #[must_use]
    pub fn lasts_at(&self, seconds: f64) -> bool {
        seconds >= self.at_seconds && seconds < self.ends_seconds()
    }

    /// Whether production cannot settle while it lasts.
    #[must_use]
    pub const fn spoils_settling(&self) -> bool {
        self.is_outage() || matches!(self.kind, FaultKind::HangingTransaction(None))
    }

    /// Whether nobody in the group reads while it lasts.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self.kind, FaultKind::Rebalance | FaultKind::Crash(_))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Name,
    at_seconds: f64,
    seconds: Option<f64>,
    #[serde(default)]
    group: usize,
    leaves: Option<Leaves>,
    session_timeout_seconds: Option<f64>,
    member: Option<usize>,
    partition: Option<usize>,
    work_seconds: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    Rebalance,
    Crash,
    MemberDeath,
    Stuck,
    Rewind,
    HangingTransaction,
}

/// How a group that goes down looks from outside.
#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Leaves {
    /// Shut down: its members say so and the group is empty at once.
    AtOnce,
    /// Killed: the group looks stable until the session timeout.
    #[default]
    SessionTimeout,
}

/// `session.timeout.ms` of Kafka's own consumer and `group.consumer.session.timeout.ms` of its brokers: so long a killed
/// member counts as alive, seconds.
const SESSION_SECONDS: f64 = 45.0;

impl Written {
    /// How long after a crash the group is seen to be empty, seconds.
    fn unnoticed_seconds(&self) -> Result<f64, &'static str> {
        match (self.leaves.unwrap_or_default(), self.session_timeout_seconds) {
            (Leaves::AtOnce, None) => Ok(0.0),
            (Leaves::AtOnce, Some(_)) => Err("who leaves `at_once` is not timed out: no `session_timeout_seconds`"),
            (Leaves::SessionTimeout, seconds) => Ok(seconds.unwrap_or(SESSION_SECONDS)),
        }
    }
}

impl TryFrom<Written> for Fault {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let unnoticed = written.unnoticed_seconds()?;
        let Written { kind: name, at_seconds, seconds, group, member, partition, work_seconds, .. } = written;
        let kind = match name {
            Name::Rebalance => FaultKind::Rebalance,
            Name::Crash => FaultKind::Crash(unnoticed),
            Name::MemberDeath => FaultKind::MemberDeath(member.ok_or("a member_death names its `member`")?),
            Name::Stuck => FaultKind::Stuck(partition.ok_or("a stuck partition needs its `partition`")?),
            Name::Rewind => FaultKind::Rewind(work_seconds.ok_or("a rewind needs `work_seconds`")?),
            Name::HangingTransaction => FaultKind::HangingTransaction(partition),
        };
        let belongs = [
            (written.leaves.is_some(), Name::Crash, "`leaves` belongs to a crash"),
            (written.session_timeout_seconds.is_some(), Name::Crash, "`session_timeout_seconds` belongs to a crash"),
            (member.is_some(), Name::MemberDeath, "`member` belongs to a member_death"),
            (work_seconds.is_some(), Name::Rewind, "`work_seconds` belongs to a rewind"),
        ];
        if let Some((.., reason)) = belongs.iter().find(|(given, owner, _)| *given && *owner != name) {
            return Err(reason);
        }
        if partition.is_some() && !matches!(name, Name::Stuck | Name::HangingTransaction) {
            return Err("`partition` belongs to a stuck partition or a hanging transaction");
        }
        let seconds = match (name, seconds) {
            (Name::Rewind, None) => 0.0,
            (Name::Rewind, Some(_)) => return Err("a rewind happens at an instant: no `seconds`"),
            (_, seconds) => seconds.ok_or("needs `seconds`: how long it lasts")?,
        };
        Ok(Self { at_seconds, seconds, group, kind })
    }
}
