//! `[[valves]]` → [`ValveSettings`].

use std::time::Duration;

use super::raw::{Allowed, Section};
use crate::agent::{Mode, OnSignalLost, ProtectedGroup, Start, ValveSettings};
use crate::control::{LawKind, PidGains};
use crate::id::{Topic, ValveName};
use crate::lag::Isolation;
use crate::units::MessagesPerSecond;

/// Reads one `[[valves]]`. What is wrong has a stand-in in the result, which is then never used.
pub(super) fn read(section: &Section<'_, '_>) -> ValveSettings {
    let mut valve = ValveSettings::new(read_name(section), read_topics(section));
    valve.mode = section.choice("mode", MODES).unwrap_or_default();
    valve.start = section.choice("start", STARTS).unwrap_or_default();
    valve.on_signal_lost = section.choice("on_signal_lost", POLICIES).unwrap_or_default();
    read_rates(section, &mut valve);
    if let Some(grace) = section.duration("signal_grace", Duration::from_secs(1), HOUR) {
        valve.signal_grace = grace;
    }
    if let Some(interval) = section.duration("poll_interval", Duration::from_millis(100), Duration::from_secs(30)) {
        valve.poll_interval = interval;
    }
    if valve.signal_grace < valve.poll_interval * 2 {
        section.bad("signal_grace", "must be at least two poll intervals: one slow poll is no lost signal");
    }
    read_law(section, &mut valve);
    valve.protect = read_groups(section, valve.poll_interval);
    if valve.protect.is_empty() && valve.mode != Mode::Off && !section.has("protect") {
        section
            .bad_section("nothing governs this valve: add [[valves.protect]] with the group that must not fall behind");
    }
    section.finish();
    valve
}

/// Whether a cluster would take `name` for a topic: the rule of `org.apache.kafka.common.internals.Topic`.
#[must_use]
pub fn is_topic_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=249).contains(&name.len()) && name.chars().all(legal) && name != "." && name != ".."
}

/// What [`is_topic_name`] asks for, in words.
pub const TOPIC_NAME_RULE: &str = "1 to 249 of letters, digits, dot, dash and underscore";

fn read_name(section: &Section<'_, '_>) -> ValveName {
    let Some(name) = section.text("name") else {
        if !section.has("name") {
            section.bad("name", "is needed: it stands in addresses and metrics");
        }
        return ValveName::new("");
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(legal) {
        section.bad("name", &format!("must be 1 to {NAME_MAX} of letters, digits, dot, dash and underscore"));
    }
    ValveName::new(name)
}

fn read_topics(section: &Section<'_, '_>) -> Vec<Topic> {
    let Some(topics) = section.texts("topics") else {
        if !section.has("topics") {
            section.bad("topics", "is needed: a list of topics that share the rate");
        }
        return Vec::new();
    };
    if topics.is_empty() {
        section.bad("topics", "needs at least one topic");
    }
    for (index, topic) in topics.iter().enumerate() {
        if !is_topic_name(topic) {
            section.bad("topics", &format!("\"{topic}\" cannot be a topic: {TOPIC_NAME_RULE}"));
        }
        if topics[..index].contains(topic) {
            section.bad("topics", &format!("\"{topic}\" stands twice"));
        }
    }
    topics.into_iter().map(Topic::from).collect()
}

fn read_rates(section: &Section<'_, '_>, valve: &mut ValveSettings) {
    let rate = |key| section.number(key, RATE).and_then(MessagesPerSecond::new);
    if let Some(min_rate) = rate("min_rate") {
        valve.min_rate = min_rate;
    }
    valve.max_rate = rate("max_rate");
    valve.initial_rate = rate("initial_rate");
    valve.safe_rate = rate("safe_rate");
    let bytes = section.number("max_bytes_per_second", Allowed { min: 0.0, max: 1e12, unit: "bytes/s (0: no limit)" });
    valve.max_bytes_per_second = bytes.filter(|bytes| *bytes > 0.0);

    let min = valve.min_rate.get();
    for (key, rate) in
        [("max_rate", valve.max_rate), ("initial_rate", valve.initial_rate), ("safe_rate", valve.safe_rate)]
    {
        let Some(rate) = rate.map(MessagesPerSecond::get) else { continue };
        if rate < min {
            section.bad(key, &format!("is below min_rate = {min}"));
        }
        if let Some(max) = valve.max_rate.map(MessagesPerSecond::get).filter(|max| rate > *max) {
            section.bad(key, &format!("is above max_rate = {max}"));
        }
    }
}

fn read_law(section: &Section<'_, '_>, valve: &mut ValveSettings) {
    valve.law = section.choice("law", LAWS).unwrap_or_default();
    let Some(pid) = section.section("pid") else { return };
    if valve.law != LawKind::Pid {
        pid.bad_section("gains have an effect only with law = \"pid\"");
    }
    let default = PidGains::default();
    let gain = |key, max, unit| pid.number(key, Allowed { min: 0.0, max, unit });
    valve.pid = PidGains {
        kp: gain("kp", 10.0, "1/s").unwrap_or(default.kp),
        ki: gain("ki", 1.0, "1/s²").unwrap_or(default.ki),
        kd: gain("kd", 10.0, "").unwrap_or(default.kd),
    };
    pid.finish();
}

fn read_groups(section: &Section<'_, '_>, poll_interval: Duration) -> Vec<ProtectedGroup> {
    let mut groups: Vec<ProtectedGroup> = Vec::new();
    for protect in section.sections("protect", "group") {
        let name = protect.text("group").unwrap_or_default();
        if name.is_empty() {
            protect.bad("group", "is needed: the consumer group that must not fall behind");
        }
        let mut group = ProtectedGroup::new(name);
        if groups.iter().any(|other| other.group == group.group) {
            protect.bad("group", "stands twice in this valve");
        }
        if let Some(target) = protect.duration("target_lag", TARGET_LAG_MIN, HOUR) {
            group.target_lag = target;
        }
        // The law holds no less than 0.8 poll intervals: it could not see it.
        if group.target_lag.as_secs_f64() < 0.8 * poll_interval.as_secs_f64() {
            protect.bad(
                "target_lag",
                "is below 0.8 poll intervals, which is the least that can be held; lower poll_interval",
            );
        }
        group.max_lag = protect.duration("max_lag", TARGET_LAG_MIN, DAY * 30);
        if group.max_lag.is_some_and(|max| max <= group.target_lag) {
            protect.bad("max_lag", "must be above target_lag");
        }
        group.isolation = protect.choice("isolation", ISOLATIONS).unwrap_or_default();
        group.min_runway = protect.duration("min_runway", MINUTE, DAY * 30);
        protect.finish();
        groups.push(group);
    }
    groups
}

const MODES: &[(&str, Mode)] = &[("off", Mode::Off), ("observe", Mode::Observe), ("enforce", Mode::Enforce)];
const STARTS: &[(&str, Start)] = &[("open", Start::Open), ("slow", Start::Slow)];
const LAWS: &[(&str, LawKind)] = &[("time_lag", LawKind::TimeLag), ("pid", LawKind::Pid)];
const POLICIES: &[(&str, OnSignalLost)] = &[
    ("hold", OnSignalLost::Hold),
    ("safe", OnSignalLost::Safe),
    ("open", OnSignalLost::Open),
    ("closed", OnSignalLost::Closed),
];
const ISOLATIONS: &[(&str, Isolation)] =
    &[("read_uncommitted", Isolation::ReadUncommitted), ("read_committed", Isolation::ReadCommitted)];

/// A valve is never closed altogether: it could not see the group recover.
const RATE: Allowed = Allowed { min: 0.001, max: 1e9, unit: "messages/s" };
const TARGET_LAG_MIN: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const NAME_MAX: usize = 100;
