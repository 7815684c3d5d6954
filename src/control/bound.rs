//! Why a rate is what it is: a closed list.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $sentence:literal;)*) => {
        /// The reason that rules a decision. Names are stable: journals, metrics and clients carry them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum BoundBy {
            $($(#[$doc])* #[serde(rename = $name)]
                $variant,)*
        }

        impl BoundBy {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name for machines.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, for a person, as a clause without a full stop.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

reasons! {
    /// Nothing limits.
    Unlimited = "unlimited", "no limit: no protected group is behind";
    /// The law holds lag at the set-point.
    SetPoint = "set_point", "held at what the slowest protected group consumes";
    /// The law works off lag above the set-point.
    Draining = "draining", "below what the group consumes, so that its backlog shrinks";
    /// The writers ask for less than they may have.
    Demand = "demand", "a limit stands ready, but the writers offer less";
    /// A batch writer's rate still grows.
    SlowStart = "slow_start", "growing step by step, each step proven by a commit";
    /// The operator's ceiling.
    MaxRate = "max_rate", "the configured maximum rate";
    /// The operator's ceiling in bytes.
    MaxBytes = "max_bytes", "the configured maximum of bytes per second";
    /// The operator's floor.
    MinRate = "min_rate", "the configured minimum rate: throttling alone is not enough";
    /// Lag is above the hard limit.
    MaxLag = "max_lag", "lag is above the hard limit";
    /// Retention comes too near.
    Runway = "runway", "retention would delete unread records too soon";
    /// The group stopped committing.
    GroupStalled = "group_stalled", "the group has unread records and has stopped committing";
    /// The group has no members.
    GroupEmpty = "group_empty", "the group has no members and its commits are overdue";
    /// The group does not exist.
    GroupMissing = "group_missing", "the group does not exist";
    /// The group has never committed here.
    NeverCommitted = "never_committed", "the group has never committed on these topics, so its lag is unknown";
    /// The group is rebalancing.
    Rebalancing = "rebalancing", "the group is rebalancing and its commits are overdue";
    /// The cluster cannot be observed.
    SignalLost = "signal_lost", "lag cannot be read";
    /// Two good samples are still to come.
    Learning = "learning", "watching the group before deciding";
    /// A person set the rate.
    Pinned = "pinned", "a person pinned the rate";
    /// A person paused the valve.
    Paused = "paused", "a person paused the valve";
    /// A person exempted the client.
    Exempt = "exempt", "a person exempted this client";
    /// The valve only watches.
    ObserveOnly = "observe_only", "the valve only observes";
    /// A client's lease ran out.
    LeaseExpired = "lease_expired", "the lease ran out";
    /// The agent cannot be reached.
    AgentLost = "agent_lost", "the agent cannot be reached";
}

impl fmt::Display for BoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
