//! What a command at a terminal asks a cluster first, so that a wrong address, topic or group is one clear sentence
//! instead of a table of dashes. A service does not ask: it keeps trying.

use std::collections::BTreeSet;

use lagvalve::id::{GroupId, Topic};
use lagvalve::kafka::Observer;
use lagvalve::lag::{GroupAdmin, GroupState, ReadFault, SourceError};

use super::exit::Failure;
use super::output::say;
use super::plan::ClusterPlan;

/// Connects (10 s at most) and looks at every topic and group. A group that does not exist is announced and waited
/// for; a topic that does not exist, or anything that may not be read, ends the command.
pub(crate) async fn preflight(cluster: &ClusterPlan) -> Result<Observer, Failure> {
    let observer = Observer::connect(&cluster.connection).await.map_err(refused)?;
    let mut wrong = Vec::new();
    let topics: BTreeSet<&Topic> = cluster.valves.iter().flat_map(|valve| &valve.topics).collect();
    for topic in topics {
        if let Err(error) = observer.topic_info(topic).await {
            wrong.push(error);
        }
    }
    let groups: BTreeSet<&GroupId> =
        cluster.valves.iter().flat_map(|valve| &valve.protect).map(|protect| &protect.group).collect();
    let groups: Vec<GroupId> = groups.into_iter().cloned().collect();
    for (group, described) in groups.iter().zip(observer.describe(&groups).await.map_err(refused)?) {
        match described {
            Ok(described) if described.state == GroupState::Missing => {
                let at = cluster.connection.bootstrap_servers.join(",");
                say(&format!("group {group} does not exist on {at} yet; waiting for it (is the name right?)"));
            }
            Ok(_) => {}
            // A coordinator that moves is back in a moment.
            Err(error) if error.fault == ReadFault::Unavailable => say(&format!("warning: {error}")),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() {
        return Ok(observer);
    }
    let sentences = wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nlagvalve: ");
    let away = wrong.iter().all(|error| error.fault == ReadFault::Unavailable);
    Err(if away { Failure::Unreachable(sentences) } else { Failure::Failed(sentences) })
}

/// Who cannot be reached may be back later; who refuses us needs another setting.
fn refused(error: SourceError) -> Failure {
    match error {
        SourceError::Refused(error) => Failure::failed(error),
        error => Failure::unreachable(error),
    }
}
