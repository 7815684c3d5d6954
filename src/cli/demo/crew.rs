//! The clients of a run: brought up before the clock starts, changed at every stage, taken down at the end.

use std::sync::Arc;
use std::time::Duration;

use lagvalve::agent::{Mode, ProtectedGroup, Start, ValveSettings};
use lagvalve::id::Topic;
use lagvalve::producer::Valve;
use tokio::sync::{mpsc, watch};

use super::args::DemoArgs;
use super::cluster::Cluster;
use super::consumer::{Group, GroupSize};
use super::story::{Stage, StageKind, Story};
use super::truth::{PARTITIONS, Truth};
use super::verifier::{Verdict, Verifier};
use super::writers::{Issued, Writers};
use crate::cli::exit::Failure;

/// All clients.
pub(super) struct Crew {
    cluster: Arc<Cluster>,
    truth: Arc<Truth>,
    story: Story,
    start: Start,
    target_lag: Duration,
    group: Group,
    writers: Writers,
    verifier: Verifier,
    mode: Mode,
    issued: Vec<Issued>,
    board: watch::Sender<Board>,
}

/// What the crew shows of itself.
#[derive(Clone, Default)]
pub(super) struct Board {
    /// The valve in use.
    pub(super) valve: Option<Valve>,
    /// Writers have stopped and everything they sent is reported on.
    pub(super) writers_are_done: bool,
}

impl Crew {
    /// Starts the group, the verifying reader and the valve; the group has committed when this returns.
    pub(super) async fn assemble(
        cluster: Arc<Cluster>,
        truth: Arc<Truth>,
        story: Story,
        args: &DemoArgs,
    ) -> Result<Self, Failure> {
        let config = cluster.client_config("lagvalve-demo");
        let size =
            GroupSize { members: args.members, in_one_client: cluster.is_embedded(), protocol: args.group_protocol };
        let mut group = Group::new(
            config.clone(),
            (cluster.topic(), cluster.group()),
            size,
            args.commit_interval,
            (Arc::clone(&truth), story.capacity),
        );
        group.start()?;
        let verifier = Verifier::start(config.clone(), cluster.topic(), Arc::clone(&truth))?;
        group.assigned(JOIN_PATIENCE).await?;
        let mut writers = Writers::new(Arc::clone(&truth), cluster.topic(), args.record_bytes as usize);
        writers.prime(&config).await?;
        first_commit(&group, &truth).await?;
        let mut crew = Self {
            cluster,
            truth,
            start: args.start(),
            target_lag: args.target_lag,
            group,
            writers,
            verifier,
            mode: Mode::Off,
            issued: Vec::new(),
            board: watch::Sender::new(Board::default()),
            story,
        };
        let watches_first = crew.story.stages[0].kind == StageKind::Observe;
        crew.use_valve(if watches_first { Mode::Observe } else { Mode::Enforce }).await?;
        Ok(crew)
    }

    /// What it shows of itself.
    pub(super) fn board(&self) -> watch::Receiver<Board> {
        self.board.subscribe()
    }

    /// Plays the stages that come, until no more will; then takes everything down and compares.
    pub(super) async fn play(mut self, mut stages: mpsc::UnboundedReceiver<Stage>) -> Result<Verdict, Failure> {
        while let Some(stage) = stages.recv().await {
            self.enter(stage).await?;
        }
        self.stop_writers().await?;
        self.group.stop().await;
        let valve = self.board.borrow().valve.clone();
        if let Some(valve) = valve {
            valve.close().await;
        }
        let (verifier, issued, truth) = (self.verifier, self.issued, self.truth);
        let compare = move || verifier.finish(&issued, &truth.failed(), &truth, VERIFY_PATIENCE);
        tokio::task::spawn_blocking(compare).await.map_err(Failure::failed)
    }

    async fn enter(&mut self, stage: Stage) -> Result<(), Failure> {
        self.group.set_capacity(stage.capacity);
        let config = self.cluster.client_config("lagvalve-demo");
        if stage.from == 0.0 && self.story.live > 0.0 {
            self.writers.start_live(&config, self.story.live)?;
        }
        match stage.kind {
            StageKind::Enforce => {
                self.use_valve(Mode::Enforce).await?;
                let valve = self.board.borrow().valve.clone();
                if let Some(valve) = valve {
                    self.writers.start_governed(&config, &valve, self.story.demand)?;
                }
            }
            StageKind::ConsumerKilled => self.group.crash().await,
            StageKind::ConsumerRestarted => self.group.start()?,
            StageKind::CaughtUp => {
                // Ended while the group was dead: someone must read the rest.
                if !self.group.is_running() {
                    self.group.start()?;
                }
                self.stop_writers().await?;
            }
            StageKind::Observe | StageKind::ConsumerHalved | StageKind::ConsumerDoubled => {}
        }
        Ok(())
    }

    /// Makes sure that the valve in use is one in `mode`.
    async fn use_valve(&mut self, mode: Mode) -> Result<(), Failure> {
        if self.mode == mode {
            return Ok(());
        }
        let before = self.board.borrow().valve.clone();
        if let Some(valve) = before {
            valve.close().await;
        }
        let mut settings = ValveSettings::new("lagvalve-demo", vec![Topic::new(self.cluster.topic())]);
        settings.protect = vec![ProtectedGroup::new(self.cluster.group()).target_lag(self.target_lag)];
        settings.mode = mode;
        settings.start = self.start;
        let connection = self.cluster.connection().clone();
        let valve = Valve::builder().connection(connection).settings(settings).start().await;
        let valve = valve.map_err(|error| Failure::failed(format!("the valve cannot start: {error}")))?;
        self.board.send_modify(|board| board.valve = Some(valve));
        self.mode = mode;
        Ok(())
    }

    async fn stop_writers(&mut self) -> Result<(), Failure> {
        self.issued.extend(self.writers.stop().await?);
        self.board.send_modify(|board| board.writers_are_done = true);
        Ok(())
    }
}

/// Without a commit a group's lag is unknown, and an open start would not be open.
async fn first_commit(group: &Group, truth: &Truth) -> Result<(), Failure> {
    let mut timer = tokio::time::interval(COMMIT_RETRY);
    let committed = async {
        while truth.committed_partitions() < PARTITIONS as usize {
            timer.tick().await;
            group.commit_now();
        }
    };
    tokio::time::timeout(JOIN_PATIENCE, committed).await.map_err(|_| {
        Failure::failed("the group did not commit the first records in 60 s; is the cluster healthy?".to_owned())
    })
}

/// A broker's first group takes some seconds.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);
const COMMIT_RETRY: Duration = Duration::from_millis(100);
const VERIFY_PATIENCE: Duration = Duration::from_secs(30);
