//! One sentence that a colleague understands. Pure.

use super::record::{Advice, GroupRecord, TickRecord};
use crate::control::BoundBy;
use crate::units::{HumanCount, RateLimit};

/// The sentence for a tick, from the figures that the record carries.
#[must_use]
pub fn explain(record: &TickRecord) -> String {
    let mut text = format!("{}: ", record.valve);
    // The reason says it already.
    if record.bound_by != BoundBy::Unlimited {
        text.push_str(&match record.rate_decided {
            RateLimit::Unlimited => "no limit".to_owned(),
            limit => limit.to_string(),
        });
    }
    let ruling = record.causes.first();
    let reason = if record.bound_by == BoundBy::ObserveOnly {
        ruling.map_or(record.bound_by, |cause| cause.bound_by)
    } else {
        record.bound_by
    };
    let group = ruling
        .and_then(|cause| cause.group.as_ref())
        .and_then(|name| record.groups.iter().find(|group| group.group == *name));
    match group {
        Some(group) if names_the_group(reason) => text.push_str(&about_group(record, group, reason)),
        _ if record.bound_by == BoundBy::Unlimited => text.push_str(reason.sentence()),
        _ => text.push_str(&format!(", {}", reason.sentence())),
    }
    text.push('.');
    if let Some(eta) = record.eta_seconds {
        text.push_str(&format!(" Back at target in about {} s.", HumanCount(eta.max(1.0))));
    }
    if let (Some(advice), Some(group)) = (record.advice, group) {
        text.push_str(&advise(advice, group));
    }
    if record.bound_by == BoundBy::ObserveOnly {
        text.push_str(" Only observing: nothing is limited.");
    }
    text
}

const fn names_the_group(reason: BoundBy) -> bool {
    !matches!(reason, BoundBy::Unlimited | BoundBy::MaxRate | BoundBy::MaxBytes | BoundBy::Paused | BoundBy::Pinned)
}

fn about_group(record: &TickRecord, group: &GroupRecord, reason: BoundBy) -> String {
    let mut text = format!(". Group {}: {}", group.group, reason.sentence());
    if let Some(problem) = &group.problem {
        text.push_str(&format!(" ({problem})"));
    }
    if let Some(drain) = group.drain_seconds {
        text.push_str(&format!(". Lag {drain:.1} s, target {:.1} s", group.set_point_seconds));
    }
    if let Some(capacity) = group.capacity {
        text.push_str(&format!("; it can take {}/s", HumanCount(capacity)));
        if let Some(production) = record.production {
            text.push_str(&format!(" and is given {}/s", HumanCount(production)));
        }
        if let Some(live) = record.live.filter(|live| *live > 0.0) {
            text.push_str(&format!(", {}/s of it live traffic (untouched)", HumanCount(live)));
        }
    }
    text
}

fn advise(advice: Advice, group: &GroupRecord) -> String {
    let members = match group.members {
        None => "members unknown".to_owned(),
        Some(1) => "1 member".to_owned(),
        Some(members) => format!("{members} members"),
    };
    match advice {
        Advice::ScaleConsumers => format!(" Adding consumers would help: it has {members}."),
        Advice::AddPartitions => format!(" It has {members}, all busy: more consumers need more partitions."),
        Advice::FixPartition => {
            format!(" Stuck while its peers move: {}.", group.excluded_partitions.join(", "))
        }
        Advice::SlowProducer => String::new(),
    }
}
