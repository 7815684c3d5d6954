//! The valves of all clusters of a plan, running.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lagvalve::agent::{TickInput, TickRecord, ValveLoop, ValveSettings};
use lagvalve::clock::{Clock, SystemClock};
use lagvalve::id::GroupId;
use lagvalve::kafka::Observer;
use lagvalve::lag::{GroupAdmin, GroupDescription, GroupWatch, OffsetSource, ReadError, Watch};
use lagvalve::telemetry::{Journal, LimiterReading, PollReading, Readings, ValveReading};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::plan::ClusterPlan;

/// All valves, each turning once a poll. What cannot be reached is tried for ever.
pub(crate) struct Engine {
    valves: Vec<Running>,
    tasks: JoinSet<()>,
}

struct Running {
    cluster: String,
    latest: watch::Receiver<Arc<TickRecord>>,
    fresh_within: Duration,
}

impl Engine {
    /// Starts everything; connecting goes on in the background.
    pub(crate) fn start(clusters: Vec<ClusterPlan>) -> Self {
        let mut engine = Self { valves: Vec::new(), tasks: JoinSet::new() };
        for cluster in clusters {
            let mut loops = Vec::new();
            for settings in &cluster.valves {
                let mut turning = ValveLoop::new(settings.clone());
                let (sender, latest) = watch::channel(Arc::new(turn(&mut turning, None, &HashMap::new())));
                let fresh_within = settings.signal_grace;
                engine.valves.push(Running { cluster: cluster.name.clone(), latest, fresh_within });
                loops.push((turning, sender));
            }
            engine.tasks.spawn(drive(cluster, loops));
        }
        engine
    }

    /// Every tick of every valve from now on, noted in `journal` on the way.
    pub(crate) fn ticks(&mut self, journal: &Arc<Journal>) -> mpsc::Receiver<Arc<TickRecord>> {
        let (sender, ticks) = mpsc::channel(TICKS_WAITING);
        for valve in &self.valves {
            self.tasks.spawn(forward(valve.latest.clone(), sender.clone(), Arc::clone(journal)));
        }
        ticks
    }

    /// Stops everything.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
    }

    /// What telemetry reads; stays valid after the engine is closed.
    pub(crate) fn readings(&self) -> Arc<dyn Readings> {
        let valves = self.valves.iter().map(|valve| Running {
            cluster: valve.cluster.clone(),
            latest: valve.latest.clone(),
            fresh_within: valve.fresh_within,
        });
        Arc::new(Latest { valves: valves.collect() })
    }
}

struct Latest {
    valves: Vec<Running>,
}

impl Readings for Latest {
    fn valves(&self) -> Vec<ValveReading> {
        let read = |valve: &Running| ValveReading {
            cluster: valve.cluster.clone(),
            record: valve.latest.borrow().clone(),
            limiter: LimiterReading::default(),
            fresh_within: valve.fresh_within,
        };
        self.valves.iter().map(read).collect()
    }

    fn polls(&self) -> Vec<PollReading> {
        Vec::new()
    }
}

/// Passes ticks on until nobody wants them.
async fn forward(
    mut latest: watch::Receiver<Arc<TickRecord>>,
    ticks: mpsc::Sender<Arc<TickRecord>>,
    journal: Arc<Journal>,
) {
    let mut failing = false;
    while latest.changed().await.is_ok() {
        let record = Arc::clone(&latest.borrow_and_update());
        let written = journal.record(&record);
        if let (Err(error), false) = (&written, failing) {
            tracing::error!(%error, "the journal cannot be written; ticks are lost until it can");
        }
        failing = written.is_err();
        if ticks.send(record).await.is_err() {
            break;
        }
    }
}

type Loops = Vec<(ValveLoop, watch::Sender<Arc<TickRecord>>)>;

async fn drive(cluster: ClusterPlan, mut loops: Loops) {
    let watch = watched(&cluster.valves);
    let groups: Vec<GroupId> = watch.groups.iter().map(|watched| watched.group.clone()).collect();
    let interval = cluster.valves.iter().map(|valve| valve.poll_interval).min().unwrap_or(Duration::from_secs(1));
    let mut timer = tokio::time::interval(interval);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut observer: Option<Observer> = None;
    let mut descriptions = HashMap::new();
    let mut described_at = None;
    let mut said = String::new();
    loop {
        timer.tick().await;
        if observer.is_none() {
            match Observer::connect(&cluster.connection).await {
                Ok(connected) => {
                    said.clear();
                    tracing::info!(cluster = %cluster.name, "connected");
                    observer = Some(connected);
                }
                Err(error) => complain(&cluster.name, &error.to_string(), &mut said),
            }
        }
        let now = SystemClock.now();
        let due = described_at.is_none_or(|at| now.since(at) >= DESCRIBE_EVERY);
        let mut snapshot = None;
        if let Some(observer) = &observer {
            if due && let Ok(found) = observer.describe(&groups).await {
                descriptions = groups.iter().cloned().zip(found).collect();
                described_at = Some(now);
            }
            match observer.poll(&watch).await {
                Ok(found) => {
                    said.clear();
                    snapshot = Some(found);
                }
                Err(error) => complain(&cluster.name, &error.to_string(), &mut said),
            }
        }
        for (turning, sender) in &mut loops {
            sender.send_replace(Arc::new(turn(turning, snapshot.as_ref(), &descriptions)));
        }
    }
}

fn turn(
    turning: &mut ValveLoop,
    snapshot: Option<&lagvalve::lag::Snapshot>,
    descriptions: &HashMap<GroupId, Result<GroupDescription, ReadError>>,
) -> TickRecord {
    turning.tick(&TickInput {
        now: SystemClock.now(),
        unix_millis: SystemClock.unix_millis(),
        snapshot,
        descriptions,
        sent_total: 0,
    })
}

fn watched(valves: &[ValveSettings]) -> Watch {
    let mut watch = Watch::default();
    for valve in valves {
        for topic in &valve.topics {
            if !watch.topics.contains(topic) {
                watch.topics.push(topic.clone());
            }
        }
        for protect in &valve.protect {
            let group = GroupWatch { group: protect.group.clone(), isolation: protect.isolation };
            if !watch.groups.contains(&group) {
                watch.groups.push(group);
            }
        }
    }
    watch
}

fn complain(cluster: &str, error: &str, said: &mut String) {
    if said != error {
        tracing::warn!(%cluster, %error, "lag cannot be read; trying again");
        error.clone_into(said);
    }
}

const DESCRIBE_EVERY: Duration = Duration::from_secs(5);
/// Ticks that wait for a slow reader of our output; then the journal waits as well.
const TICKS_WAITING: usize = 64;
