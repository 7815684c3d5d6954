//! What turns the loop: timers, tasks, shutdown. No decision is made here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::dither::poll_delay;
use super::record::{GroupVerdict, TickRecord};
use super::resume::Resumed;
use super::settings::{Mode, ValveSettings};
use super::tick::{TickInput, ValveLoop};
use crate::clock::{Clock, SystemClock};
use crate::id::{GroupId, Topic, ValveName};
use crate::kafka::{Connection, Observer, PollCost};
use crate::lag::{GroupAdmin, GroupDescription, GroupWatch, OffsetSource, ReadError, Snapshot, Watch};
use crate::producer::{Valve, ValveDriver};

/// Several valves on one cluster that share one poll. Stops when it and the last handle of its valves are gone, or at
/// [`Agent::close`].
#[derive(Debug)]
pub struct Agent {
    valves: Vec<Valve>,
    observer: Arc<Mutex<Option<Observer>>>,
    task: Option<JoinHandle<()>>,
}

/// Ends the agent's task when the last handle of its valves is dropped.
struct StopOnDrop(Option<oneshot::Sender<()>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            // The task may have ended by itself: then nobody listens.
            let _ = stop.send(());
        }
    }
}

impl Agent {
    /// Starts the valves. Never fails: while the cluster cannot be reached it keeps trying, and each valve follows its
    /// start and its policy for a lost signal. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(connection: Connection, settings: Vec<ValveSettings>) -> Self {
        Self::spawn(connection, settings, None, &HashMap::new())
    }

    /// The same, going on from an earlier run: `past` are the last ticks of each valve, oldest first, with their settings,
    /// as a journal has them. A valve without any begins anew. See [`ValveLoop::resume`].
    #[must_use]
    pub fn resume(
        connection: Connection,
        settings: Vec<ValveSettings>,
        past: &HashMap<ValveName, Vec<TickRecord>>,
    ) -> Self {
        Self::spawn(connection, settings, None, past)
    }

    /// The same over a connection that stands.
    pub(super) fn spawn(
        connection: Connection,
        mut settings: Vec<ValveSettings>,
        observer: Option<Observer>,
        past: &HashMap<ValveName, Vec<TickRecord>>,
    ) -> Self {
        let poll = settings.iter().map(|valve| valve.poll_interval).min().unwrap_or(Duration::from_secs(1));
        settings.iter_mut().for_each(|valve| valve.poll_interval = poll);
        let (stop, stopped) = oneshot::channel();
        let guard = Arc::new(StopOnDrop(Some(stop)));
        let mut valves = Vec::new();
        let mut driven = Vec::new();
        for settings in settings {
            let past = past.get(&settings.name).map_or(&[][..], Vec::as_slice);
            let (valve, driven_valve) = Driven::new(settings, past);
            valves.push(valve.with_keep_alive(Arc::clone(&guard) as _));
            driven.push(driven_valve);
        }
        let shared = Arc::new(Mutex::new(observer.clone()));
        let cluster = Cluster {
            connection,
            observer,
            shared: Arc::clone(&shared),
            poll,
            watch: watch(&driven),
            describer: Describer::default(),
        };
        let task = tokio::spawn(cluster.run(driven, stopped));
        Self { valves, observer: shared, task: Some(task) }
    }

    /// The valves, in the order of their settings.
    #[must_use]
    pub fn valves(&self) -> &[Valve] {
        &self.valves
    }

    /// What observing has cost; `None` before the first connection.
    #[must_use]
    pub fn poll_cost(&self) -> Option<PollCost> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Observer::cost)
    }

    /// Stops the loop of every valve and waits for it. The last limits stay in force.
    pub async fn close(mut self) {
        for valve in &self.valves {
            valve.close().await;
        }
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the agent's task did not end well");
        }
    }
}

/// One valve: its loop and the half of it that sets limits.
struct Driven {
    turn: ValveLoop,
    driver: ValveDriver,
}

impl Driven {
    fn new(settings: ValveSettings, past: &[TickRecord]) -> (Valve, Self) {
        let byte_limit = settings.max_bytes_per_second.filter(|_| settings.mode == Mode::Enforce);
        let mut turn = ValveLoop::new(settings);
        let resumed = turn.resume(past, SystemClock.now(), SystemClock.unix_millis());
        say_resumed(&turn.settings().name, resumed);
        let first = turn.tick(&TickInput {
            now: SystemClock.now(),
            unix_millis: SystemClock.unix_millis(),
            snapshot: None,
            descriptions: &HashMap::new(),
            sent_total: 0,
        });
        let (valve, driver) = Valve::new(first.rate_allocated, BURST, first);
        driver.set_byte_limit(byte_limit);
        (valve, Self { turn, driver })
    }

    fn tick(&mut self, snapshot: Option<&Snapshot>, descriptions: &Descriptions) -> Arc<TickRecord> {
        let record = self.turn.tick(&TickInput {
            now: SystemClock.now(),
            unix_millis: SystemClock.unix_millis(),
            snapshot,
            descriptions,
            sent_total: self.driver.sent_total(),
        });
        self.driver.set_limit(record.rate_allocated);
        self.driver.publish(record);
        self.driver.valve().state()
    }
}

type Descriptions = HashMap<GroupId, Result<GroupDescription, ReadError>>;

/// The task's own state.
struct Cluster {
    connection: Connection,
    observer: Option<Observer>,
    shared: Arc<Mutex<Option<Observer>>>,
    poll: Duration,
    watch: Watch,
    describer: Describer,
}

impl Cluster {
    async fn run(mut self, mut driven: Vec<Driven>, stopped: oneshot::Receiver<()>) {
        tokio::pin!(stopped);
        let (mut polls, mut next) = (0, Instant::now());
        let mut reported = None;
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                () = drop_closed(&mut driven) => if driven.is_empty() { break },
                () = sleep_until(next) => {
                    polls += 1;
                    next += Duration::from_secs_f64(poll_delay(self.poll.as_secs_f64(), polls));
                    let snapshot = tokio::select! {
                        biased;
                        _ = &mut stopped => break,
                        () = drop_closed(&mut driven) => if driven.is_empty() { break } else { continue },
                        snapshot = self.poll() => snapshot,
                    };
                    // A poll that took longer than the interval is not made up for.
                    next = next.max(Instant::now());
                    report(&mut reported, snapshot.as_ref().err());
                    self.turn(&mut driven, snapshot.ok().as_ref());
                }
            }
        }
    }

    /// One poll; connects first where there is no connection.
    async fn poll(&mut self) -> Result<Snapshot, String> {
        if self.watch.topics.is_empty() {
            return Ok(Snapshot::default());
        }
        if self.observer.is_none() {
            let observer = Observer::connect(&self.connection).await.map_err(|error| error.to_string())?;
            tracing::info!(bootstrap = self.connection.bootstrap(), "connected");
            *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(observer.clone());
            self.observer = Some(observer);
        }
        let Some(observer) = &self.observer else { return Err("not connected".to_owned()) };
        self.describer.start(observer, &self.watch);
        observer.poll(&self.watch).await.map_err(|error| error.to_string())
    }

    fn turn(&self, driven: &mut [Driven], snapshot: Option<&Snapshot>) {
        let descriptions = self.describer.latest();
        let mut anomaly = false;
        for valve in driven.iter_mut().filter(|valve| valve.turn.settings().mode != Mode::Off) {
            let record = valve.tick(snapshot, &descriptions);
            anomaly |= record.groups.iter().any(|group| !is_usual(group.state));
        }
        if anomaly {
            self.describer.hurry();
        }
    }
}

fn say_resumed(valve: &ValveName, resumed: Resumed) {
    match resumed {
        Resumed::Nothing => {}
        Resumed::History { ticks, age_seconds } => {
            tracing::info!(%valve, "goes on from the journal: {ticks} ticks, the last {age_seconds:.1} s ago");
        }
        Resumed::Capacity { groups, age_seconds } => {
            tracing::info!(
                %valve,
                "the journal ends {age_seconds:.0} s ago: what {groups} groups could take then is the first rate"
            );
        }
    }
}

const fn is_usual(verdict: GroupVerdict) -> bool {
    use GroupVerdict::{CatchingUp, DataLost, FallingBehind, Steady, TransactionOpen};
    // The last two may last for hours, and the coordinator knows nothing of them.
    matches!(verdict, Steady | CatchingUp | FallingBehind | DataLost | TransactionOpen)
}

/// Ready when a valve was closed; its driver is dropped then.
async fn drop_closed(driven: &mut Vec<Driven>) {
    let closing: Vec<_> = driven.iter().map(|valve| Box::pin(valve.driver.closing())).collect();
    if closing.is_empty() {
        return;
    }
    let ((), index, rest) = futures::future::select_all(closing).await;
    drop(rest);
    driven.remove(index);
}

/// Says once that polling fails, and once that it works again.
fn report(reported: &mut Option<String>, failure: Option<&String>) {
    match failure {
        Some(failure) if reported.as_ref() != Some(failure) => {
            tracing::warn!("lag cannot be read: {failure}");
            *reported = Some(failure.clone());
        }
        None if reported.take().is_some() => tracing::info!("lag can be read again"),
        _ => {}
    }
}

/// Describes groups on a timer of its own, so that a slow coordinator delays no poll.
#[derive(Default)]
struct Describer {
    latest: Arc<Mutex<Descriptions>>,
    hurry: Arc<Notify>,
    task: Option<JoinHandle<()>>,
}

impl Describer {
    fn start(&mut self, observer: &Observer, watch: &Watch) {
        if self.task.is_some() || watch.groups.is_empty() {
            return;
        }
        let (latest, hurry, observer) = (Arc::clone(&self.latest), Arc::clone(&self.hurry), observer.clone());
        let groups: Vec<GroupId> = watch.groups.iter().map(|watched| watched.group.clone()).collect();
        self.task = Some(tokio::spawn(async move {
            let mut at_most = interval(DESCRIBE_AT_MOST_EVERY);
            at_most.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                at_most.tick().await;
                match observer.describe(&groups).await {
                    Ok(answers) => {
                        let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
                        latest.extend(groups.iter().cloned().zip(answers));
                    }
                    Err(error) => tracing::debug!(%error, "groups cannot be described"),
                }
                // Elapsed: the usual case. Notified: something is odd.
                let _ = timeout(DESCRIBE_EVERY, hurry.notified()).await;
            }
        }));
    }

    fn latest(&self) -> Descriptions {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hurry(&self) {
        self.hurry.notify_one();
    }
}

impl Drop for Describer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Every topic and every group once.
fn watch(driven: &[Driven]) -> Watch {
    let mut topics: Vec<Topic> = Vec::new();
    let mut groups: Vec<GroupWatch> = Vec::new();
    for settings in driven.iter().map(|valve| valve.turn.settings()).filter(|valve| valve.mode != Mode::Off) {
        topics.extend(settings.topics.iter().cloned());
        groups.extend(
            settings.protect.iter().map(|group| GroupWatch { group: group.group.clone(), isolation: group.isolation }),
        );
    }
    topics.sort();
    topics.dedup();
    groups.sort_by(|a, b| a.group.cmp(&b.group).then((a.isolation as u8).cmp(&(b.isolation as u8))));
    groups.dedup();
    Watch { topics, groups }
}

/// Bursts of the limiter, as a time: short against the loop, long against timers.
const BURST: Duration = Duration::from_millis(20);
/// Groups are described this often, and at once when something is odd…
const DESCRIBE_EVERY: Duration = Duration::from_secs(5);
/// …but not more often than this.
const DESCRIBE_AT_MOST_EVERY: Duration = Duration::from_secs(1);
