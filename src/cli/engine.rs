//! The valves of all clusters of a plan, running: one agent a cluster.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lagvalve::agent::{Agent, TickRecord};
use lagvalve::id::ValveName;
use lagvalve::producer::Valve;
use lagvalve::telemetry::{Journal, LimiterReading, PollReading, Readings, ValveReading};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::plan::ClusterPlan;

/// All valves. What cannot be reached is tried for ever.
pub(crate) struct Engine {
    agents: Arc<Agents>,
    forwarding: JoinSet<()>,
}

impl Engine {
    /// Starts everything, going on from `past`, the last ticks of each valve; connecting goes on in the background.
    pub(crate) fn start(clusters: Vec<ClusterPlan>, past: &HashMap<ValveName, Vec<TickRecord>>) -> Self {
        let run = |cluster: ClusterPlan| Running {
            graces: cluster.valves.iter().map(|valve| valve.signal_grace).collect(),
            name: cluster.name,
            agent: Agent::resume(cluster.connection, cluster.valves, past),
        };
        Self { agents: Arc::new(Agents(clusters.into_iter().map(run).collect())), forwarding: JoinSet::new() }
    }

    /// Every tick of every valve from now on, noted in `journal` on the way.
    pub(crate) fn ticks(&mut self, journal: &Arc<Journal>) -> mpsc::Receiver<Arc<TickRecord>> {
        let (sender, ticks) = mpsc::channel(TICKS_WAITING);
        for (_, valve, _) in self.agents.valves() {
            self.forwarding.spawn(keep(valve.subscribe(), Arc::clone(journal)));
            self.forwarding.spawn(forward(valve.subscribe(), sender.clone()));
        }
        ticks
    }

    /// What telemetry reads; stays valid after the engine is closed.
    pub(crate) fn readings(&self) -> Arc<dyn Readings> {
        Arc::clone(&self.agents) as _
    }

    /// Stops everything. The last limits stay in force.
    pub(crate) async fn close(mut self) {
        self.forwarding.shutdown().await;
        for (_, valve, _) in self.agents.valves() {
            valve.close().await;
        }
    }
}

struct Agents(Vec<Running>);

struct Running {
    name: String,
    agent: Agent,
    graces: Vec<Duration>,
}

impl Agents {
    /// Cluster, valve and how long its signal counts as fresh.
    fn valves(&self) -> impl Iterator<Item = (&str, &Valve, Duration)> {
        self.0.iter().flat_map(|cluster| {
            let graced = cluster.agent.valves().iter().zip(&cluster.graces);
            graced.map(|(valve, grace)| (cluster.name.as_str(), valve, *grace))
        })
    }
}

impl Readings for Agents {
    fn valves(&self) -> Vec<ValveReading> {
        Agents::valves(self).map(|(cluster, valve, fresh_within)| reading(cluster, valve, fresh_within)).collect()
    }

    fn polls(&self) -> Vec<PollReading> {
        let read = |cluster: &Running| {
            let cost = cluster.agent.poll_cost()?;
            let cluster = cluster.name.clone();
            Some(PollReading { cluster, polls_total: cost.polls, requests_total: cost.requests })
        };
        self.0.iter().filter_map(read).collect()
    }
}

/// The latest of `valve`, for telemetry.
pub(crate) fn reading(cluster: &str, valve: &Valve, fresh_within: Duration) -> ValveReading {
    let limiter = valve.limiter();
    ValveReading {
        cluster: cluster.to_owned(),
        record: valve.state(),
        limiter: LimiterReading {
            waiting: limiter.waiting(),
            granted_total: limiter.granted_total(),
            throttled_seconds_total: limiter.throttled_seconds(),
        },
        fresh_within,
    }
}

/// Notes every tick, the one before the first poll included. Apart from what is shown: a terminal that stands still may
/// miss ticks, the journal may not.
async fn keep(mut latest: watch::Receiver<Arc<TickRecord>>, journal: Arc<Journal>) {
    let mut failing = false;
    loop {
        let record = Arc::clone(&latest.borrow_and_update());
        let written = journal.record(&record);
        if let (Err(error), false) = (&written, failing) {
            tracing::error!(%error, "the journal cannot be written; ticks are lost until it can");
        }
        failing = written.is_err();
        if latest.changed().await.is_err() {
            break;
        }
    }
}

/// Passes ticks on until nobody wants them.
async fn forward(mut latest: watch::Receiver<Arc<TickRecord>>, ticks: mpsc::Sender<Arc<TickRecord>>) {
    while latest.changed().await.is_ok() {
        let record = Arc::clone(&latest.borrow_and_update());
        if ticks.send(record).await.is_err() {
            break;
        }
    }
}

/// Ticks that wait for a slow reader of our output.
const TICKS_WAITING: usize = 64;
