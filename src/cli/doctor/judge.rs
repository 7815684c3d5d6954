//! Facts → findings. No cluster is asked here.

use lagvalve::agent::{GroupRecord, GroupVerdict, ProtectedGroup};
use lagvalve::kafka::{ClusterInfo, TopicInfo};
use lagvalve::lag::{GroupDescription, GroupKind, GroupState, ReadError, ReadFault};
use lagvalve::units::HumanCount;

use super::finding::{Finding, Level};

/// What the brokers say of themselves.
pub(super) fn cluster(addresses: &str, info: Result<&ClusterInfo, &ReadError>) -> Vec<Finding> {
    let finding = |level, detail: String| Finding::new(level, "cluster", addresses, detail);
    let info = match info {
        Ok(info) => info,
        Err(error) => return vec![finding(Level::Warning, format!("answers, but does not say who it is: {error}"))],
    };
    let many = if info.brokers == 1 { "1 broker".to_owned() } else { format!("{} brokers", info.brokers) };
    let kinds = match info.kip848 {
        Some(true) => "; groups of both protocols",
        Some(false) => "; classic groups only (KIP-848 is off)",
        None => "",
    };
    let mut found = vec![finding(Level::Ok, format!("{many}{kinds}"))];
    if info.fenced > 0 {
        found.push(finding(
            Level::Warning,
            format!("{} of them fenced: partitions they lead are not served", info.fenced),
        ));
    }
    found
}

/// What is known of a topic that a valve writes to.
pub(super) fn topic(info: &Result<TopicInfo, ReadError>, name: &str) -> Vec<Finding> {
    let subject = format!("topic {name}");
    let finding = |level, check, detail: String| Finding::new(level, check, &subject, detail);
    let info = match info {
        Ok(info) => info,
        Err(error) => return vec![finding(level_of(error), "topic", without_subject(error, &subject))],
    };
    let count = if info.partitions == 1 { "1 partition".to_owned() } else { format!("{} partitions", info.partitions) };
    let mut found = vec![finding(Level::Ok, "topic", format!("{count}{}", kept(info)))];
    if info.compacted == Some(true) {
        let detail =
            "is compacted: offsets count more than there are messages, and lag looks larger than it is".to_owned();
        found.push(finding(Level::Warning, "compaction", detail).remedy("set target_lag with room for it"));
    }
    if let Some(error) = &info.settings_error {
        let detail = without_subject(error, &subject);
        let detail = format!("{detail}; without it min_runway and warnings about retention have no effect");
        found.push(finding(Level::Note, "retention", detail));
    }
    found
}

fn kept(info: &TopicInfo) -> String {
    let days = |ms: i64| format!("{} h", HumanCount(ms as f64 / 3.6e6));
    match (info.retention_ms, info.retention_bytes) {
        _ if info.settings_error.is_some() => String::new(),
        (Some(ms), Some(bytes)) if ms >= 0 && bytes >= 0 => {
            format!("; keeps records for {}, and {} bytes a partition", days(ms), HumanCount(bytes as f64))
        }
        (Some(ms), _) if ms >= 0 => format!("; keeps records for {}", days(ms)),
        (_, Some(bytes)) if bytes >= 0 => format!("; keeps {} bytes a partition", HumanCount(bytes as f64)),
        _ => "; keeps records for ever".to_owned(),
    }
}

/// What a coordinator says of a protected group.
pub(super) fn group(description: &Result<GroupDescription, ReadError>, name: &str, partitions: usize) -> Vec<Finding> {
    let subject = format!("group {name}");
    let finding = |level, check, detail: String| Finding::new(level, check, &subject, detail);
    let seen = match description {
        Ok(seen) => seen,
        Err(error) => return vec![finding(level_of(error), "group", without_subject(error, &subject))],
    };
    let kind = match seen.kind {
        GroupKind::Classic => "classic group",
        GroupKind::Consumer => "KIP-848 group",
        GroupKind::Unknown => "group",
    };
    match seen.state {
        GroupState::Missing | GroupState::Dead => vec![
            finding(Level::Problem, "group", "does not exist".to_owned())
                .remedy("start its consumers, or check the name; until then a valve gives the first rate and no more"),
        ],
        GroupState::Empty => vec![finding(Level::Warning, "members", format!("{kind} without members")).remedy(
            "normal for consumers that assign partitions by hand (Flink, some Connect sinks); else start them",
        )],
        state => {
            let members = if seen.members == 1 { "1 member".to_owned() } else { format!("{} members", seen.members) };
            let state = if state == GroupState::Rebalancing { ", rebalancing" } else { "" };
            let mut found = vec![finding(Level::Ok, "members", format!("{kind}, {members}{state}"))];
            if partitions > 0 && seen.members > partitions {
                let detail = format!(
                    "{} of its members have nothing to do: there are {partitions} partitions",
                    seen.members - partitions
                );
                found.push(finding(Level::Note, "members", detail));
            }
            found
        }
    }
}

/// What the commits of a protected group say after it was watched for `watched` seconds.
pub(super) fn commits(settings: &ProtectedGroup, record: &GroupRecord, watched: f64) -> Vec<Finding> {
    let subject = format!("group {}", settings.group);
    let finding = |level, check, detail: String| Finding::new(level, check, &subject, detail);
    let mut found = Vec::new();
    match record.state {
        GroupVerdict::NeverCommitted => {
            let detail = "has never committed on these topics: its lag is unknown, and unknown is not zero".to_owned();
            let remedy = "consumers that keep offsets elsewhere (Spark, by hand) cannot be protected; else wait for its first commit";
            return vec![finding(Level::Problem, "commits", detail).remedy(remedy)];
        }
        GroupVerdict::Unmeasured | GroupVerdict::Dead if record.committed_lag.is_none() => {
            let detail = record.problem.clone().unwrap_or_else(|| "its lag could not be read".to_owned());
            return vec![finding(Level::Problem, "commits", detail)];
        }
        _ => {}
    }
    if let Some(lag) = record.committed_lag {
        let work = record.drain_seconds.map_or(String::new(), |drain| format!(", about {drain:.1} s of work"));
        found.push(finding(
            Level::Ok,
            "lag",
            format!("{} messages behind by its commits{work}", HumanCount(lag as f64)),
        ));
    }
    if record.coverage < 1.0 {
        let share = 100.0 * (1.0 - record.coverage);
        let detail = format!("has no usable commit on {share:.0} % of the partitions: their lag is unknown");
        found.push(finding(Level::Warning, "commits", detail));
    }
    if let Some(problem) = &record.problem {
        found.push(finding(Level::Warning, "signal", problem.clone()));
    }
    found.extend(cadence(settings, record, watched, finding));
    found
}

fn cadence(
    settings: &ProtectedGroup,
    record: &GroupRecord,
    watched: f64,
    finding: impl Fn(Level, &'static str, String) -> Finding,
) -> Option<Finding> {
    let asked = settings.target_lag.as_secs_f64();
    let Some(cadence) = record.cadence_seconds else {
        let waiting = record.committed_lag.is_some_and(|lag| lag > 0);
        return (watched > 0.0).then(|| {
            if waiting {
                finding(
                    Level::Warning,
                    "cadence",
                    format!("did not commit twice in {watched:.0} s, although records wait"),
                )
                .remedy("watch longer (--watch 60s) if it commits seldom; else look at its consumers")
            } else {
                finding(
                    Level::Note,
                    "cadence",
                    format!("had nothing to read in {watched:.0} s: how often it commits is unknown"),
                )
            }
        });
    };
    let least = record.set_point_seconds;
    Some(if least > asked + 0.05 {
        let detail =
            format!("commits every {cadence:.1} s: lag cannot be held at {asked} s, {least:.1} s is the least");
        finding(Level::Warning, "cadence", detail)
            .remedy(format!("ask for {:.0}s or more, or commit more often (auto.commit.interval.ms)", least.ceil()))
    } else {
        finding(Level::Ok, "cadence", format!("commits every {cadence:.1} s"))
    })
}

const fn level_of(error: &ReadError) -> Level {
    if matches!(error.fault, ReadFault::Unavailable) { Level::Warning } else { Level::Problem }
}

/// The sentence without the name that stands before it already.
fn without_subject(error: &ReadError, subject: &str) -> String {
    error
        .detail
        .strip_prefix(subject)
        .map_or(error.detail.as_str(), |rest| rest.trim_start_matches([':', ' ']))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::watching::tests::record;
    use super::*;
    use lagvalve::id::{GroupId, Topic};
    use lagvalve::units::RateLimit;

    fn one(found: &[Finding], level: Level, words: &str) {
        let good = |finding: &&Finding| {
            finding.level == level
                && format!("{} {}", finding.detail, finding.remedy.clone().unwrap_or_default()).contains(words)
        };
        assert_eq!(found.iter().filter(good).count(), 1, "one {level:?} with {words:?}: {found:#?}");
    }

    fn error(fault: ReadFault, detail: &str) -> ReadError {
        ReadError { fault, detail: detail.to_owned() }
    }

    #[test]
    fn a_cluster_says_what_it_is() {
        let info = |brokers, fenced, kip848| ClusterInfo { brokers, fenced, kip848 };
        one(&cluster("a:1", Ok(&info(1, 0, Some(true)))), Level::Ok, "1 broker; groups of both protocols");
        one(&cluster("a:1", Ok(&info(3, 0, Some(false)))), Level::Ok, "3 brokers; classic groups only");
        one(&cluster("a:1", Ok(&info(3, 1, None))), Level::Warning, "1 of them fenced");
        one(&cluster("a:1", Err(&error(ReadFault::Unavailable, "no answer"))), Level::Warning, "no answer");
    }

    #[test]
    fn a_topic_is_there_or_not_and_keeps_records_for_so_long() {
        let info = |retention_ms, retention_bytes, compacted| TopicInfo {
            topic: Topic::new("orders"),
            id: None,
            partitions: 6,
            retention_ms,
            retention_bytes,
            compacted,
            settings_error: None,
        };
        let table = [
            (info(Some(604_800_000), Some(-1), Some(false)), "6 partitions; keeps records for 168 h"),
            (info(Some(3_600_000), Some(1_000_000), None), "keeps records for 1 h, and 1,000,000 bytes a partition"),
            (info(Some(-1), Some(5_000), None), "keeps 5,000 bytes a partition"),
            (info(Some(-1), Some(-1), None), "for ever"),
        ];
        for (info, words) in table {
            let found = topic(&Ok(info), "orders");
            one(&found, Level::Ok, words);
            assert_eq!(found.len(), 1);
        }
        one(&topic(&Ok(info(Some(1), None, Some(true))), "orders"), Level::Warning, "is compacted");
        let denied = error(ReadFault::Unauthorized, "topic orders: not authorised to read its retention; grant it");
        let blind = TopicInfo { settings_error: Some(denied), ..info(None, None, None) };
        let found = topic(&Ok(blind), "orders");
        one(&found, Level::Note, "not authorised to read its retention");
        one(&found, Level::Ok, "6 partitions");
        let missing = error(ReadFault::TopicMissing, "topic orders: does not exist; create it");
        assert_eq!(topic(&Err(missing), "orders")[0].detail, "does not exist; create it");
        one(&topic(&Err(error(ReadFault::Unavailable, "no leader")), "orders"), Level::Warning, "no leader");
    }

    #[test]
    fn a_group_is_there_or_not() {
        let seen = |state, members, kind| {
            Ok(GroupDescription { group: GroupId::new("billing"), state, members, assigned_partitions: 6, kind })
        };
        let table = [
            (seen(GroupState::Stable, 3, GroupKind::Consumer), Level::Ok, "KIP-848 group, 3 members"),
            (seen(GroupState::Rebalancing, 1, GroupKind::Classic), Level::Ok, "classic group, 1 member, rebalancing"),
            (seen(GroupState::Stable, 9, GroupKind::Classic), Level::Note, "3 of its members have nothing to do"),
            (seen(GroupState::Empty, 0, GroupKind::Classic), Level::Warning, "without members"),
            (seen(GroupState::Missing, 0, GroupKind::Unknown), Level::Problem, "does not exist"),
            (Err(error(ReadFault::Unauthorized, "group billing: grant DESCRIBE")), Level::Problem, "grant DESCRIBE"),
            (Err(error(ReadFault::Unavailable, "moving")), Level::Warning, "moving"),
        ];
        for (description, level, words) in table {
            one(&group(&description, "billing", 6), level, words);
        }
    }

    #[test]
    fn commits_say_what_can_be_held() {
        let settings = ProtectedGroup::new("billing").target_lag(Duration::from_secs(1));
        let seen = |state, cadence, set_point, lag| {
            let mut seen = record(1, Some(100.0), RateLimit::Unlimited).groups.remove(0);
            (seen.state, seen.cadence_seconds, seen.set_point_seconds) = (state, cadence, set_point);
            seen.committed_lag = lag;
            seen
        };
        let steady = GroupVerdict::Steady;
        let table = [
            (seen(steady, Some(5.0), 1.0, Some(10)), Level::Ok, "commits every 5.0 s"),
            (seen(steady, Some(30.0), 3.2, Some(10)), Level::Warning, "held at 1 s, 3.2 s is the least ask for 4s"),
            (seen(steady, None, 1.0, Some(10)), Level::Warning, "did not commit twice in 15 s"),
            (seen(steady, None, 1.0, Some(0)), Level::Note, "had nothing to read"),
            (seen(GroupVerdict::NeverCommitted, None, 1.0, None), Level::Problem, "has never committed"),
            (seen(GroupVerdict::Unmeasured, None, 1.0, None), Level::Problem, "could not be read"),
        ];
        for (record, level, words) in table {
            one(&commits(&settings, &record, 15.0), level, words);
        }
        let mut partly = seen(steady, Some(5.0), 1.0, Some(10));
        (partly.coverage, partly.problem) = (0.75, Some("retention deleted 5 messages".to_owned()));
        let found = commits(&settings, &partly, 15.0);
        one(&found, Level::Warning, "no usable commit on 25 % of the partitions");
        one(&found, Level::Warning, "retention deleted 5 messages");
    }
}
