//! The run of `lagvalve produce`: from the flags to the exit code.

use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use lagvalve::agent::TickRecord;
use lagvalve::clock::{Clock, Instant, SystemClock};
use lagvalve::kafka::TopicInfo;
use lagvalve::producer::Valve;
use lagvalve::units::RateLimit;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::acks::{Acks, Counts, Room};
use super::args::{Plan, ProduceArgs, Target};
use super::checkpoint::{Checkpoint, CheckpointError};
use super::client::Client;
use super::progress::{Meter, Moment, Outcome, Summary, clock};
use super::records::Parser;
use super::rejects::Rejects;
use super::report::Reporter;
use super::send::{SendError, Sender};
use super::{dry_run, input, session};
use crate::cli::exit::Failure;
use crate::cli::signals::StopSignals;

/// Runs `produce` to its end.
///
/// # Errors
/// Each way to end other than well, with its exit code.
pub(crate) async fn run(args: ProduceArgs) -> Result<(), Failure> {
    let plan = args.plan()?;
    let Some(target) = &plan.target else { return dry_run::run(&plan).await };
    let total = input::total_size(&plan.sources).map_err(Failure::usage)?;
    let rejects = plan.rejects.as_deref().map(Rejects::open).transpose().map_err(Failure::failed)?;
    let checkpoint = plan.checkpoint.as_deref().map(|path| Checkpoint::new(path, &target.topic, &plan.sources));
    let skip = match &checkpoint {
        Some(checkpoint) => checkpoint.load().map_err(Failure::usage)?,
        None => plan.skip_lines,
    };
    let mut signals = StopSignals::listen()?;
    let mut deadline = pin!(after(plan.deadline));
    let mut reporter = Reporter::new(plan.json, total.is_some());
    let opened = tokio::select! {
        opened = open(target, &plan, &mut reporter) => opened?,
        _ = signals.recv() => {
            reporter.note("interrupted before anything was sent");
            return Err(Failure::Interrupted);
        }
        () = &mut deadline => {
            let text = "the time allowed (--deadline) was over before anything was sent";
            return Err(Failure::DeadlineWhileThrottled(text.to_owned()));
        }
    };
    let acks = Arc::new(Acks::new(skip));
    let client = Arc::new(Client::new(target, Arc::clone(&acks), opened.valve.clone())?);
    let parser = Parser::new(plan.format, plan.key_field.as_deref());
    let mut sender =
        Sender::new(Arc::clone(&client), opened.valve.clone(), Arc::clone(&acks), parser, rejects, &target.topic);
    sender.count_older_than(session::oldest_kept(&opened.topic, SystemClock.unix_millis()));
    let mut watch = Watch {
        valve: opened.valve,
        acks,
        client,
        meter: Meter::new(SystemClock.now(), total),
        reporter,
        checkpoint: checkpoint.map(Saver::new),
        peak: None,
        topic: opened.topic,
        warned: Warned::default(),
        skip,
    };
    let ended = watch.send(&plan, &mut sender, &mut signals, deadline).await?;
    let ended = watch.flush(ended, &mut sender, &mut signals).await;
    watch.close(ended, &plan).await
}

/// What is there before the first record.
struct Opened {
    valve: Valve,
    topic: TopicInfo,
}

async fn open(target: &Target, plan: &Plan, reporter: &mut Reporter) -> Result<Opened, Failure> {
    let observer = session::connect(target).await?;
    let topic = session::topic(&observer, &target.topic).await?;
    session::wait_for_groups(&observer, target, plan.wait, reporter).await?;
    let valve = session::open_valve(target).await?;
    Ok(Opened { valve, topic })
}

/// Why sending is over.
enum Ended {
    Done,
    Interrupted,
    Deadline,
    Failed(SendError),
    Checkpoint(CheckpointError),
}

/// Everything around the sender: shows, warns, keeps the checkpoint, ends.
struct Watch {
    valve: Valve,
    acks: Arc<Acks>,
    client: Arc<Client>,
    meter: Meter,
    reporter: Reporter,
    checkpoint: Option<Saver>,
    /// Largest drain time seen.
    peak: Option<f64>,
    topic: TopicInfo,
    warned: Warned,
    skip: u64,
}

/// What was said once already.
#[derive(Debug, Default)]
struct Warned {
    too_old: bool,
    live: bool,
}

impl Watch {
    async fn send(
        &mut self,
        plan: &Plan,
        sender: &mut Sender,
        signals: &mut StopSignals,
        mut deadline: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Ended, Failure> {
        let mut lines = input::spawn(plan.sources.clone(), self.skip)?;
        let mut sending = pin!(sender.run(&mut lines));
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                _ = signals.recv() => return Ok(Ended::Interrupted),
                () = &mut deadline => return Ok(Ended::Deadline),
                _ = ticks.tick() => {
                    if let Err(error) = self.look() {
                        return Ok(Ended::Checkpoint(error));
                    }
                }
                sent = &mut sending => return Ok(sent.map_or_else(Ended::Failed, |()| Ended::Done)),
            }
        }
    }

    /// Waits for what is on its way: without limit behind a bad line, for ten seconds after a stop. A second request to
    /// stop ends it at once.
    async fn flush(&mut self, ended: Ended, sender: &mut Sender, signals: &mut StopSignals) -> Ended {
        let patience = match &ended {
            Ended::Done => return ended,
            Ended::Failed(
                SendError::BadLine { .. } | SendError::Refused { .. } | SendError::Input(_) | SendError::Rejects(_),
            ) => None,
            Ended::Failed(SendError::Undelivered { .. }) => Some(FLUSH_PATIENCE),
            Ended::Interrupted | Ended::Deadline | Ended::Checkpoint(_) => {
                let on_its_way = self.acks.counts().in_flight;
                if on_its_way > 0 {
                    self.reporter
                        .note(&format!("stopping: {on_its_way} records are on their way; again to end at once"));
                }
                Some(FLUSH_PATIENCE)
            }
        };
        tokio::select! {
            biased;
            _ = signals.recv() => return ended,
            // What else fails now is behind the place that will be named, and is sent again from there.
            _ = sender.finish() => {}
            () = after(patience) => {}
        }
        self.client.withdraw_unsent();
        let _ = tokio::time::timeout(WITHDRAW_PATIENCE, async {
            while self.acks.counts().in_flight > 0 {
                self.acks.until(Room::EMPTY).await;
                self.acks.take_failed();
            }
        })
        .await;
        ended
    }

    async fn close(mut self, ended: Ended, plan: &Plan) -> Result<(), Failure> {
        self.take_note(SystemClock.now());
        let counts = self.acks.counts();
        let kept = match self.checkpoint.take() {
            Some(saver) => saver.finish(counts.settled).await,
            None => Ok(()),
        };
        let ended = match (ended, kept) {
            (Ended::Done, Err(error)) => Ended::Checkpoint(error),
            (ended, _) => ended,
        };
        let outcome = match &ended {
            Ended::Done => Outcome::Done,
            Ended::Interrupted => Outcome::Interrupted,
            Ended::Deadline => Outcome::DeadlinePassed,
            Ended::Failed(_) | Ended::Checkpoint(_) => Outcome::Failed,
        };
        let summary = Summary::new(outcome, counts, self.skip, self.meter.elapsed(), self.peak);
        self.reporter.summary(&summary);
        let resume = match &plan.checkpoint {
            Some(path) => format!("run the same command again: {} keeps the place", path.display()),
            None => summary.resume_sentence(),
        };
        if counts.sent_again > 0 {
            self.reporter.note(&format!(
                "{} records were sent a second time because Kafka refused something in their request; among them and \
                 their neighbours the order of a key may have changed",
                counts.sent_again
            ));
        }
        self.valve.close().await;
        match ended {
            Ended::Done => Ok(()),
            Ended::Interrupted => {
                self.reporter.note(&format!("interrupted; {resume}"));
                Err(Failure::Interrupted)
            }
            Ended::Deadline => {
                let reason = self.valve.state().bound_by.sentence();
                let allowed = clock(plan.deadline.unwrap_or_default());
                let text = format!("the time allowed (--deadline {allowed}) is over; the rate was: {reason}; {resume}");
                Err(Failure::DeadlineWhileThrottled(text))
            }
            Ended::Failed(error) => Err(Failure::failed(format!("{error}; {resume}"))),
            Ended::Checkpoint(error) => Err(Failure::failed(format!("{error}; {}", summary.resume_sentence()))),
        }
    }

    /// One look: figures, warnings, checkpoint.
    fn look(&mut self) -> Result<(), CheckpointError> {
        let now = SystemClock.now();
        let counts = self.take_note(now);
        let record = self.valve.state();
        self.warn(&record, counts);
        let trouble = self.client.trouble();
        let moment = Moment {
            counts,
            meter: &self.meter,
            record: &record,
            limit: self.valve.limiter().limit(),
            trouble: trouble.as_deref(),
        };
        self.reporter.show(now, &moment);
        match &mut self.checkpoint {
            Some(saver) => saver.step(now, counts.settled),
            None => Ok(()),
        }
    }

    fn take_note(&mut self, now: Instant) -> Counts {
        let counts = self.acks.counts();
        self.meter.record(now, counts.delivered, self.acks.position());
        let drains = self.valve.state();
        let highest = drains.groups.iter().filter_map(|group| group.drain_seconds).fold(None, larger);
        self.peak = highest.map_or(self.peak, |highest| larger(self.peak, highest));
        counts
    }

    fn warn(&mut self, record: &TickRecord, counts: Counts) {
        if counts.too_old > 0 && !self.warned.too_old {
            self.warned.too_old = true;
            self.reporter.note(&session::too_old(&self.topic, counts.too_old));
        }
        let (Some(live), Some(production)) = (record.live, record.production) else { return };
        if !self.warned.live && self.meter.elapsed() > LIVE_AFTER && live > 0.5 * production {
            self.warned.live = true;
            self.reporter.note(&format!(
                "warning: other writers make {} of the {} written to topic {}; they are left alone, and this run gets \
                 what remains. Where one of them is throttled as well, let both take leases from one agent",
                rate(live),
                rate(production),
                self.topic.topic,
            ));
        }
    }
}

/// Writes the checkpoint beside the run, one at a time.
struct Saver {
    checkpoint: Checkpoint,
    saving: Option<JoinHandle<Result<(), CheckpointError>>>,
    next: Option<Instant>,
}

impl Saver {
    fn new(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, saving: None, next: None }
    }

    fn step(&mut self, now: Instant, settled: u64) -> Result<(), CheckpointError> {
        if self.next.is_some_and(|next| now < next) || self.saving.as_ref().is_some_and(|saving| !saving.is_finished())
        {
            return Ok(());
        }
        self.next = Some(now + SAVE_EVERY);
        let checkpoint = self.checkpoint.clone();
        let saving = tokio::task::spawn_blocking(move || checkpoint.save(settled));
        match self.saving.replace(saving).map(futures::FutureExt::now_or_never) {
            Some(Some(Ok(saved))) => saved,
            _ => Ok(()),
        }
    }

    async fn finish(mut self, settled: u64) -> Result<(), CheckpointError> {
        if let Some(saving) = self.saving.take() {
            let _ = saving.await;
        }
        self.checkpoint.save(settled)
    }
}

fn larger(a: Option<f64>, b: f64) -> Option<f64> {
    Some(a.map_or(b, |a| a.max(b)))
}

fn rate(value: f64) -> String {
    RateLimit::from_f64(value).map_or_else(|| "?".to_owned(), |rate| rate.to_string())
}

/// After `time`; never, without one.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}

/// Five times a second: a bar that moves.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// As the help says.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);
/// The client hands withdrawn records back within its next poll (100 ms).
const WITHDRAW_PATIENCE: Duration = Duration::from_millis(500);
/// The split of production needs a few commits to settle; guessed.
const LIVE_AFTER: Duration = Duration::from_secs(15);
