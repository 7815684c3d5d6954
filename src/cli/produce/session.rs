//! Before the first record: the cluster is there, the topic exists, every protected group exists.

use std::time::Duration;

use lagvalve::agent::StartError;
use lagvalve::clock::{Clock, Instant, SystemClock};
use lagvalve::id::{GroupId, Topic};
use lagvalve::kafka::{Observer, TopicInfo};
use lagvalve::lag::{GroupAdmin, GroupState, ReadError, ReadFault, SourceError};
use lagvalve::producer::Valve;
use lagvalve::units::HumanCount;

use super::args::Target;
use super::progress::clock;
use super::report::Reporter;
use crate::cli::exit::Failure;

/// Connects for questions.
///
/// # Errors
/// Exit 4 within 10 s when nothing answers, each address named; 2 for settings that cannot work; 1 for a refusal.
pub(super) async fn connect(target: &Target) -> Result<Observer, Failure> {
    target.connection.check().map_err(Failure::usage)?;
    Observer::connect(&target.connection).await.map_err(failure_of)
}

/// What the cluster says of the topic. Never creates it.
///
/// # Errors
/// When it does not exist, or may not be described.
pub(super) async fn topic(observer: &Observer, name: &str) -> Result<TopicInfo, Failure> {
    observer.topic_info(&Topic::from(name)).await.map_err(|error| match error.fault {
        ReadFault::TopicMissing => Failure::failed(format!(
            "topic {name} does not exist; create it first: kafka-topics.sh --create --topic {name} --partitions …"
        )),
        ReadFault::Unavailable => Failure::unreachable(error),
        _ => Failure::failed(error),
    })
}

/// Starts the loop, which watches the groups for two polls first.
///
/// # Errors
/// As [`connect`].
pub(super) async fn open_valve(target: &Target) -> Result<Valve, Failure> {
    let builder = Valve::builder().connection(target.connection.clone()).settings(target.settings.clone());
    builder.start().await.map_err(|error| match error {
        StartError::Cluster(error) => failure_of(error),
        StartError::Settings { what } => Failure::usage(what),
        error => Failure::failed(error),
    })
}

/// Waits until every protected group exists, for `patience` at most; says every ten seconds what it waits for.
///
/// # Errors
/// Exit 4 after `patience`, with the groups that are missing; 1 when a group may not be described.
pub(super) async fn wait_for_groups(
    observer: &Observer,
    target: &Target,
    patience: Option<Duration>,
    reporter: &mut Reporter,
) -> Result<(), Failure> {
    let groups: Vec<GroupId> = target.settings.protect.iter().map(|protected| protected.group.clone()).collect();
    let started = SystemClock.now();
    let mut next_word = started;
    let mut ticks = tokio::time::interval(ASK_EVERY);
    while !groups.is_empty() {
        ticks.tick().await;
        let missing = match missing(observer, &groups).await? {
            Some(missing) if missing.is_empty() => return Ok(()),
            Some(missing) => missing,
            None => continue,
        };
        let now = SystemClock.now();
        if patience.is_some_and(|patience| now.since(started) >= patience) {
            return Err(Failure::unreachable(never_came(&missing, now.since(started))));
        }
        if now >= next_word {
            next_word = now + SAY_EVERY;
            let name = missing.first().map(GroupId::as_str);
            reporter.waiting(&waiting_for(&missing, patience, started, now), name);
        }
    }
    Ok(())
}

/// The groups that do not exist; `None` when the cluster did not answer this time.
async fn missing(observer: &Observer, groups: &[GroupId]) -> Result<Option<Vec<GroupId>>, Failure> {
    let descriptions = match observer.describe(groups).await {
        Ok(descriptions) => descriptions,
        Err(SourceError::Refused(error)) => return Err(Failure::failed(error)),
        Err(error) => {
            tracing::debug!("cannot describe groups: {error}");
            return Ok(None);
        }
    };
    let mut missing = Vec::new();
    for (group, described) in groups.iter().zip(descriptions) {
        match described {
            Ok(described) if matches!(described.state, GroupState::Missing | GroupState::Dead) => {
                missing.push(group.clone());
            }
            Ok(_) => {}
            Err(ReadError { fault: ReadFault::GroupMissing, .. }) => missing.push(group.clone()),
            Err(ReadError { fault: ReadFault::Unavailable, .. }) => return Ok(None),
            Err(error) => return Err(Failure::failed(error)),
        }
    }
    Ok(Some(missing))
}

/// A sentence where old timestamps make the topic lose records, with the oldest time that it keeps.
pub(super) fn oldest_kept(info: &TopicInfo, now_unix_millis: u64) -> Option<i64> {
    let retention = info.retention_ms.filter(|retention| *retention >= 0)?;
    Some(i64::try_from(now_unix_millis).ok()?.saturating_sub(retention))
}

/// Said once, when `count` records were older than the topic keeps.
pub(super) fn too_old(info: &TopicInfo, count: u64) -> String {
    let retention = Duration::from_millis(info.retention_ms.unwrap_or(0).unsigned_abs());
    format!(
        "warning: {} records carry timestamps older than retention.ms of topic {} ({}): the broker may delete them \
         before they are read; raise retention.ms for the time of the backfill",
        HumanCount(count as f64),
        info.topic,
        clock(retention),
    )
}

fn waiting_for(missing: &[GroupId], patience: Option<Duration>, started: Instant, now: Instant) -> String {
    let left = match patience {
        Some(patience) => format!("{} more (--wait)", clock(patience.saturating_sub(now.since(started)))),
        None => "until it appears (--wait sets an end)".to_owned(),
    };
    format!("waiting for {}, which does not exist yet: nothing is sent; {left}", names(missing))
}

fn never_came(missing: &[GroupId], after: Duration) -> String {
    format!(
        "{} did not appear within {} (--wait); nothing was sent. Start its consumers, or check the name: \
         kafka-consumer-groups.sh --list",
        names(missing),
        clock(after)
    )
}

fn names(groups: &[GroupId]) -> String {
    let list: Vec<&str> = groups.iter().map(GroupId::as_str).collect();
    format!("group{} {}", if list.len() == 1 { "" } else { "s" }, list.join(", "))
}

/// The exit code that fits what the observer says.
pub(super) fn failure_of(error: SourceError) -> Failure {
    match error {
        SourceError::Refused(error) => Failure::failed(error),
        other => Failure::unreachable(other),
    }
}

const ASK_EVERY: Duration = Duration::from_secs(1);
const SAY_EVERY: Duration = Duration::from_secs(10);
