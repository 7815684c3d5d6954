//! Ticks as a person reads them: lines of a table, and what it all came to.

use lagvalve::agent::{GroupRecord, GroupVerdict, TickRecord};
use lagvalve::control::BoundBy;
use lagvalve::id::GroupId;
use lagvalve::units::{HumanCount, RateLimit};
use serde::Serialize;

use super::as_if_held::AsIfHeld;

/// The heading of the table; `name_width` is that of the widest valve and group.
pub(crate) fn heading(name_width: usize) -> String {
    format!(
        "{:name_width$}  {:16} {:>11} {:>11} {:>8} {:>11} {:>11} {:>11}  {}",
        "VALVE/GROUP", "STATE", "LAG", "COMMITTED", "DRAIN", "CAN TAKE/S", "PRODUCED/S", "WOULD HOLD", "WHY"
    )
}

/// One line a protected group.
pub(crate) fn lines(record: &TickRecord, name_width: usize, colour: bool) -> Vec<String> {
    record.groups.iter().map(|group| line(record, group, name_width, colour)).collect()
}

/// The name in the first column.
pub(crate) fn name_of(valve: &str, group: &GroupId) -> String {
    format!("{valve}/{group}")
}

fn line(record: &TickRecord, group: &GroupRecord, name_width: usize, colour: bool) -> String {
    let cause = record.causes.iter().find(|cause| cause.group.as_ref() == Some(&group.group));
    let held = cause.map_or("-".to_owned(), |cause| match cause.rate {
        RateLimit::Unlimited => "no limit".to_owned(),
        limit => limit.to_string(),
    });
    let why = cause.map_or(BoundBy::Learning, |cause| cause.bound_by);
    let why = match &group.problem {
        Some(problem) => format!("{why}: {problem}"),
        None => why.to_string(),
    };
    let state = format!("{:16}", group.state.name());
    let state = if colour { format!("{}{state}\x1b[0m", colour_of(group.state)) } else { state };
    format!(
        "{:name_width$}  {state} {:>11} {:>11} {:>8} {:>11} {:>11} {held:>11}  {why}",
        name_of(record.valve.as_str(), &group.group),
        count(group.lag_messages),
        count(group.committed_lag.map(|lag| lag as f64)),
        group.drain_seconds.map_or("-".to_owned(), |drain| format!("{drain:.1} s")),
        count(group.capacity),
        count(record.production),
    )
}

/// A figure, or a dash for what is unknown: never a zero.
fn count(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| HumanCount(value).to_string())
}

const fn colour_of(state: GroupVerdict) -> &'static str {
    match state {
        GroupVerdict::Steady => "\x1b[32m",
        GroupVerdict::CatchingUp | GroupVerdict::Rebalancing | GroupVerdict::TransactionOpen => "\x1b[33m",
        GroupVerdict::FallingBehind
        | GroupVerdict::Stalled
        | GroupVerdict::Empty
        | GroupVerdict::Dead
        | GroupVerdict::Rewound
        | GroupVerdict::DataLost => "\x1b[31m",
        GroupVerdict::NeverCommitted | GroupVerdict::Unmeasured => "\x1b[2m",
    }
}

/// What watching one valve came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    summary: bool,
    valve: String,
    seconds: f64,
    ticks: u64,
    /// Ticks with at least one group whose lag was known.
    measured_ticks: u64,
    /// Time in which production was above what the valve would have allowed.
    held_seconds: f64,
    /// Means over that time, messages/s.
    produced_while_held: Option<f64>,
    held_to: Option<f64>,
    max_drain_seconds: Option<f64>,
    max_lag_messages: Option<f64>,
    /// The same if it had acted, about.
    max_drain_seconds_if_held: Option<f64>,
    max_lag_messages_if_held: Option<f64>,
    #[serde(skip)]
    as_if_held: AsIfHeld,
    /// The last reason of the group that rules.
    last_reason: Option<BoundBy>,
    #[serde(skip)]
    last_mono_ms: Option<u64>,
}

impl Summary {
    /// Nothing watched yet.
    pub(crate) fn new(valve: &str) -> Self {
        Self {
            summary: true,
            valve: valve.to_owned(),
            seconds: 0.0,
            ticks: 0,
            measured_ticks: 0,
            held_seconds: 0.0,
            produced_while_held: None,
            held_to: None,
            max_drain_seconds: None,
            max_lag_messages: None,
            max_drain_seconds_if_held: None,
            max_lag_messages_if_held: None,
            as_if_held: AsIfHeld::default(),
            last_reason: None,
            last_mono_ms: None,
        }
    }

    /// Takes one more tick. It stands for the time since the one before.
    pub(crate) fn add(&mut self, record: &TickRecord) {
        let since = self.last_mono_ms.replace(record.mono_ms);
        let step = since.map_or(0.0, |since| record.mono_ms.saturating_sub(since) as f64 / 1e3);
        self.seconds += step;
        self.ticks += 1;
        self.last_reason = record.causes.first().map(|cause| cause.bound_by);
        self.measured_ticks += u64::from(record.groups.iter().any(|group| group.lag_messages.is_some()));
        for group in &record.groups {
            self.max_drain_seconds = larger(self.max_drain_seconds, group.drain_seconds);
            self.max_lag_messages = larger(self.max_lag_messages, group.lag_messages);
        }
        self.as_if_held.add(record, step);
        let held = self.as_if_held.largest();
        self.max_drain_seconds_if_held = held.map(|lag| lag.seconds);
        self.max_lag_messages_if_held = held.map(|lag| lag.messages);
        // Nobody reports to a valve that only observes: what it would have held is production as a whole.
        let (Some(production), RateLimit::At(limit)) = (record.production, record.rate_unbounded) else { return };
        if production > limit.get() && step > 0.0 {
            let weight = step / (self.held_seconds + step);
            let mean = |old: Option<f64>, new: f64| Some(old.map_or(new, |old| old + (new - old) * weight));
            self.produced_while_held = mean(self.produced_while_held, production);
            self.held_to = mean(self.held_to, limit.get());
            self.held_seconds += step;
        }
    }

    /// The sentence at the end.
    pub(crate) fn sentence(&self) -> String {
        let Self { valve, seconds, .. } = self;
        if self.measured_ticks == 0 {
            let reason = self.last_reason.map_or("lag could not be read", BoundBy::sentence);
            return format!("{valve}: watched for {seconds:.0} s; nothing can be said: {reason}.");
        }
        let mut text = match (self.produced_while_held, self.held_to) {
            (Some(produced), Some(held)) => format!(
                "{valve}: would have held {}/s to {}/s for {:.0} s of {seconds:.0} s.",
                HumanCount(produced),
                HumanCount(held),
                self.held_seconds,
            ),
            _ => format!("{valve}: watched for {seconds:.0} s; would have held nothing back."),
        };
        if let Some(lag) = self.max_lag_messages {
            let drain = self.max_drain_seconds.map_or(String::new(), |drain| format!(", {drain:.1} s of work"));
            text.push_str(&format!(" Largest lag: {} messages{drain}.", HumanCount(lag)));
        }
        if let (true, Some(lag)) = (self.held_seconds > 0.0, self.as_if_held.largest()) {
            text.push_str(&format!(
                " Held, it would have stayed under about {} messages, {:.1} s of work.",
                HumanCount(lag.messages),
                lag.seconds
            ));
        }
        text
    }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use lagvalve::agent::{Cause, Mode, Quality};

    use super::*;

    pub(in crate::cli) fn record(second: u64, production: Option<f64>, limit: RateLimit) -> TickRecord {
        TickRecord {
            v: 1,
            seq: second,
            at: 0,
            mono_ms: second * 1000,
            valve: "orders".into(),
            mode: Mode::Observe,
            config_id: None,
            groups: vec![GroupRecord {
                group: "billing".into(),
                state: GroupVerdict::FallingBehind,
                quality: Quality::Fresh,
                coverage: 1.0,
                cadence_seconds: None,
                lag_messages: production.map(|rate| rate * 2.0),
                committed_lag: production.map(|_| 12_000),
                lost_messages: None,
                age_least_seconds: None,
                age_most_seconds: None,
                runway_seconds: None,
                drain_seconds: None,
                capacity: None,
                set_point_seconds: 2.0,
                members: None,
                excluded_partitions: Vec::new(),
                problem: None,
                partitions: Vec::new(),
            }],
            production,
            live: production,
            terms: None,
            rate_unbounded: limit,
            rate_decided: limit,
            rate_allocated: RateLimit::Unlimited,
            rate_applied: None,
            bound_by: BoundBy::ObserveOnly,
            causes: vec![Cause { group: Some("billing".into()), bound_by: BoundBy::Draining, rate: limit }],
            advice: None,
            eta_seconds: None,
            signal_age_seconds: None,
            explain: String::new(),
            input: None,
            config: None,
        }
    }

    #[test]
    fn a_line_shows_a_dash_for_what_is_unknown() {
        let tick = record(1, Some(5000.0), RateLimit::from_f64(2000.0).unwrap());
        let line = lines(&tick, 14, false).remove(0);
        assert_eq!(
            line,
            "orders/billing  falling_behind        10,000      12,000        -           -       5,000     2,000/s  draining"
        );
        assert_eq!(heading(14).find("WHY"), line.find("draining"));
        assert!(!line.contains('\x1b') && lines(&tick, 14, true)[0].contains("\x1b[31mfalling_behind"));
    }

    #[test]
    fn the_summary_counts_only_time_in_which_production_was_above_the_limit() {
        let limit = RateLimit::from_f64(2000.0).unwrap();
        let mut summary = Summary::new("orders");
        assert!(summary.sentence().contains("nothing can be said: lag could not be read"));
        summary.add(&record(0, None, RateLimit::Unlimited));
        for second in 1..=10 {
            summary.add(&record(second, Some(1000.0), limit));
        }
        assert!(summary.sentence().contains("would have held nothing back"), "{}", summary.sentence());
        for second in 11..=40 {
            summary.add(&record(second, Some(5000.0), limit));
        }
        assert_eq!(
            summary.sentence(),
            "orders: would have held 5,000/s to 2,000/s for 30 s of 40 s. Largest lag: 10,000 messages."
        );
    }
}
