//! Every metric, once: the exporter, the documentation and the dashboards' test read this list.

/// What kind of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// One of a closed list is 1, all others are 0.
    StateSet,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its full name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit; empty for a count or a state.
    pub unit: &'static str,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// One sentence, without a full stop.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($id:ident = $name:literal, $kind:ident, $unit:literal, [$($label:literal),*], $help:literal;)*) => {
        $(pub(super) const $id: Metric = Metric {
            name: $name, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help,
        };)*

        /// Every metric, by subject.
        pub const CATALOGUE: &[Metric] = &[$($id,)*];
    };
}

catalogue! {
    BUILD_INFO = "lagvalve_build_info", Gauge, "", ["version"],
        "Always 1; the version that runs";
    VALVE_MODE = "lagvalve_valve_mode", StateSet, "", ["valve", "mode"],
        "1 for the mode of the valve (off, observe, enforce), 0 for the others";
    BOUND_BY = "lagvalve_bound_by", StateSet, "", ["valve", "reason"],
        "1 for the reason that rules the rate, 0 for the others";
    ADVICE = "lagvalve_advice", StateSet, "", ["valve", "advice"],
        "1 for what would help, 0 for the rest; no sample when nothing needs help";
    TICKS = "lagvalve_ticks_total", Counter, "", ["valve"],
        "Turns of the loop";
    LAST_TICK = "lagvalve_last_tick_timestamp_seconds", Gauge, "seconds", ["valve"],
        "When the loop last turned, in seconds since the Unix epoch";
    SIGNAL_AGE = "lagvalve_signal_age_seconds", Gauge, "seconds", ["valve"],
        "Age of the newest usable reading of lag at the last turn; no sample before the first";
    ETA = "lagvalve_eta_seconds", Gauge, "seconds", ["valve"],
        "Seconds until lag is back at the set-point; no sample when it is not above it";

    RATE_UNBOUNDED = "lagvalve_rate_unbounded_messages_per_second", Gauge, "messages per second", ["valve"],
        "What the law wants, live traffic included; +Inf for no limit";
    RATE_DECIDED = "lagvalve_rate_decided_messages_per_second", Gauge, "messages per second", ["valve"],
        "What governed writers may send together, after limits and failure policy; +Inf for no limit";
    RATE_ALLOCATED = "lagvalve_rate_allocated_messages_per_second", Gauge, "messages per second", ["valve"],
        "What clients were granted; +Inf for no limit";
    RATE_APPLIED = "lagvalve_rate_applied_messages_per_second", Gauge, "messages per second", ["valve"],
        "What governed writers sent over the last two seconds";
    PRODUCTION = "lagvalve_production_messages_per_second", Gauge, "messages per second", ["valve", "source"],
        "Growth of the log over the last two seconds: by governed writers, and by all others (live)";

    GROUP_STATE = "lagvalve_group_state", StateSet, "", ["valve", "group", "state"],
        "1 for the state of the protected group, 0 for the others";
    GROUP_LAG = "lagvalve_group_lag_messages", Gauge, "messages", ["valve", "group"],
        "Estimated lag now: work done since the last commit is taken off";
    GROUP_COMMITTED_LAG = "lagvalve_group_committed_lag_messages", Gauge, "messages", ["valve", "group"],
        "Log end minus committed offset, as kafka-consumer-groups shows it";
    GROUP_LOST = "lagvalve_group_lost_messages", Gauge, "messages", ["valve", "group"],
        "Messages between the commits and the log starts: retention deleted them before the group read them";
    GROUP_AGE_LEAST = "lagvalve_group_age_least_seconds", Gauge, "seconds", ["valve", "group"],
        "The oldest record that is not committed is at least so old";
    GROUP_AGE_MOST = "lagvalve_group_age_most_seconds", Gauge, "seconds", ["valve", "group"],
        "And at most so old; no sample where it was written before the agent began to watch";
    GROUP_RUNWAY = "lagvalve_group_runway_seconds", Gauge, "seconds", ["valve", "group"],
        "Seconds until retention deletes the oldest unread record; no sample where nothing limits it or it is not known";
    GROUP_DRAIN = "lagvalve_group_drain_seconds", Gauge, "seconds", ["valve", "group"],
        "Estimated lag divided by capacity: what the valve controls";
    GROUP_SET_POINT = "lagvalve_group_set_point_seconds", Gauge, "seconds", ["valve", "group"],
        "The drain time that is aimed at";
    GROUP_CAPACITY = "lagvalve_group_capacity_messages_per_second", Gauge, "messages per second", ["valve", "group"],
        "What the group could take";
    GROUP_CADENCE = "lagvalve_group_cadence_seconds", Gauge, "seconds", ["valve", "group"],
        "Mean time between commits";
    GROUP_COVERAGE = "lagvalve_group_coverage_ratio", Gauge, "ratio", ["valve", "group"],
        "Share of the watched partitions whose lag is known, 0 to 1";
    GROUP_MEMBERS = "lagvalve_group_members", Gauge, "", ["valve", "group"],
        "Members of the group";
    GROUP_EXCLUDED = "lagvalve_group_excluded_partitions", Gauge, "", ["valve", "group"],
        "Partitions left out because they are stuck while their peers move";

    LIMITER_WAITING = "lagvalve_limiter_waiting", Gauge, "", ["valve"],
        "Callers that wait for the valve";
    LIMITER_GRANTED = "lagvalve_limiter_granted_messages_total", Counter, "messages", ["valve"],
        "Messages let through";
    LIMITER_THROTTLED = "lagvalve_limiter_throttled_seconds_total", Counter, "seconds", ["valve"],
        "Time in which callers waited for the valve";

    POLLS = "lagvalve_polls_total", Counter, "", ["cluster"],
        "Polls of the cluster";
    POLL_REQUESTS = "lagvalve_poll_requests_total", Counter, "", ["cluster"],
        "Requests that the polls of the cluster made";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_and_follow_the_rules_of_prometheus() {
        for (index, metric) in CATALOGUE.iter().enumerate() {
            let Metric { name, kind, unit, help, .. } = metric;
            assert!(CATALOGUE[..index].iter().all(|other| other.name != *name), "{name} stands twice");
            assert!(name.starts_with("lagvalve_"), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}: counters end in _total, they alone");
            assert!(!help.is_empty() && !help.ends_with('.'), "{name}");
            let stem = name.trim_end_matches("_total");
            assert!(stem.ends_with(&unit.replace(' ', "_")), "{name}: the unit {unit} comes last");
        }
    }
}
