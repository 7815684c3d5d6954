//! The clock of a run: says when a stage begins, samples what the clients counted, and shows it.

use std::sync::Arc;
use std::time::Duration;

use lagvalve::clock::{Clock, Instant, SystemClock};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::args::DemoArgs;
use super::crew::{Board, Crew};
use super::lines::Lines;
use super::measure::Bin;
use super::record::Recorder;
use super::screen::{Screen, Wish};
use super::story::{Demand, Stage, StageKind, Story};
use super::truth::{AgeHistogram, Truth};
use super::verifier::Verdict;
use super::view::View;
use crate::cli::exit::Failure;
use crate::cli::signals::StopSignals;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// At its end.
    Played,
    /// Before, by `q`.
    Quit,
    /// Before, by Ctrl-C or a request to terminate.
    Interrupted,
}

/// The clock, the samples and what shows them.
pub(super) struct Director {
    story: Story,
    stage: usize,
    truth: Arc<Truth>,
    recorder: Recorder,
    live_ages: AgeHistogram,
    cluster: String,
    set_point: f64,
    began: Instant,
    show: Option<Show>,
    ending: Ending,
}

enum Show {
    Screen(Screen),
    Lines(Lines),
}

impl Director {
    /// Before the clock starts. Takes the terminal over when there is a chart.
    pub(super) fn new(story: Story, truth: Arc<Truth>, args: &DemoArgs, cluster: String) -> Result<Self, Failure> {
        let show = if args.draws() { Show::Screen(Screen::open()?) } else { Show::Lines(Lines::new(args.json)) };
        let offered_is_known = matches!(story.demand, Demand::Rate(_));
        Ok(Self {
            recorder: Recorder::new(truth.totals(), offered_is_known),
            story,
            stage: 0,
            truth,
            live_ages: AgeHistogram::default(),
            cluster,
            set_point: args.target_lag.as_secs_f64(),
            began: SystemClock.now(),
            show: Some(show),
            ending: Ending::Played,
        })
    }

    /// Plays the story with `crew`. The terminal is given back when this returns.
    pub(super) async fn direct(
        mut self,
        crew: Crew,
        signals: &mut StopSignals,
    ) -> Result<(Played, Verdict, Ending), Failure> {
        let board = crew.board();
        let (stages, to_play) = mpsc::unbounded_channel();
        let mut crew = tokio::spawn(crew.play(to_play));
        let clocked = self.run_clock(&stages, &mut crew, &board, signals).await;
        // The crew takes everything down once no stage can come, also after a failure.
        drop(stages);
        let ended = match clocked? {
            Some(ended) => ended,
            None => crew.await,
        };
        let verdict = ended.map_err(|error| Failure::failed(format!("the demo's clients ended badly: {error}")))??;
        let Self { story, recorder, live_ages, ending, .. } = self;
        Ok((Played { story, recorder, live_ages }, verdict, ending))
    }

    /// Until the story is over, or the crew has ended before its time: that is then returned.
    async fn run_clock(
        &mut self,
        stages: &mpsc::UnboundedSender<Stage>,
        crew: &mut JoinHandle<Result<Verdict, Failure>>,
        board: &watch::Receiver<Board>,
        signals: &mut StopSignals,
    ) -> Result<Option<CrewEnd>, Failure> {
        let mut timer = tokio::time::interval(SAMPLE_INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.began = SystemClock.now();
        self.enter(0, stages, board)?;
        loop {
            tokio::select! {
                _ = timer.tick() => {}
                _ = signals.recv() => self.end_early(Ending::Interrupted, stages, board)?,
                ended = &mut *crew => return Ok(Some(ended)),
            }
            self.sample(board)?;
            if let Some(Show::Screen(screen)) = &self.show {
                match screen.wish()? {
                    Some(Wish::Quit) => self.end_early(Ending::Quit, stages, board)?,
                    Some(Wish::Interrupt) => self.end_early(Ending::Interrupted, stages, board)?,
                    None => {}
                }
            }
            let stage = self.story.stages[self.stage];
            let last = self.stage + 1 == self.story.stages.len();
            let over = self.t() >= stage.to;
            let caught_up = board.borrow().writers_are_done && self.truth.totals().unread() == 0;
            if last && (over || caught_up) {
                return Ok(None);
            }
            if over && !last {
                self.enter(self.stage + 1, stages, board)?;
            }
        }
    }

    fn enter(
        &mut self,
        index: usize,
        stages: &mpsc::UnboundedSender<Stage>,
        board: &watch::Receiver<Board>,
    ) -> Result<(), Failure> {
        self.stage = index;
        // Fails only when the crew has ended; the clock notices.
        let _ = stages.send(self.story.stages[index]);
        if let Some(Show::Lines(lines)) = &self.show {
            lines.stage(&self.view(board))?;
        }
        Ok(())
    }

    /// On to the last stage; when it is on already, out of it.
    fn end_early(
        &mut self,
        ending: Ending,
        stages: &mpsc::UnboundedSender<Stage>,
        board: &watch::Receiver<Board>,
    ) -> Result<(), Failure> {
        self.ending = ending;
        let now = self.t();
        if self.story.stages[self.stage].kind == StageKind::CaughtUp {
            self.story.stages[self.stage].to = now;
            return Ok(());
        }
        self.story.cut_short(now);
        self.enter(self.story.stages.len() - 1, stages, board)
    }

    fn sample(&mut self, board: &watch::Receiver<Board>) -> Result<(), Failure> {
        let stage = self.story.stages[self.stage];
        let second = self.recorder.sample(self.t(), self.truth.totals(), stage.capacity);
        if second {
            let ages = self.truth.take_live_ages();
            self.recorder.note_live_p99(ages.quantile(0.99));
            // The start of the backfill is a disturbance too: the promise is for the time when the rate has settled.
            if stage.kind == StageKind::Observe || self.t() - stage.from >= FAULT_SHADOW_SECONDS {
                self.live_ages.merge(&ages);
            }
        }
        // Taken out while it is shown to: the view borrows the rest.
        let Some(mut show) = self.show.take() else { return Ok(()) };
        let view = self.view(board);
        let shown = match &mut show {
            Show::Screen(screen) => screen.draw(&view),
            Show::Lines(lines) if second => lines.second(&view),
            Show::Lines(_) => Ok(()),
        };
        self.show = Some(show);
        shown
    }

    fn view(&self, board: &watch::Receiver<Board>) -> View<'_> {
        View {
            story: &self.story,
            stage: self.stage,
            cluster: &self.cluster,
            t: self.t(),
            bins: self.recorder.bins(),
            totals: self.truth.totals(),
            set_point: self.set_point,
            record: board.borrow().valve.as_ref().map(lagvalve::producer::Valve::state),
        }
    }

    fn t(&self) -> f64 {
        SystemClock.now().seconds_since(self.began)
    }
}

type CrewEnd = Result<Result<Verdict, Failure>, tokio::task::JoinError>;

/// What a run leaves behind.
pub(super) struct Played {
    /// The story as it was played.
    pub(super) story: Story,
    /// Its seconds.
    recorder: Recorder,
    /// Ages of live records, outside faults.
    pub(super) live_ages: AgeHistogram,
}

impl Played {
    /// Every second.
    pub(super) fn bins(&self) -> &[Bin] {
        self.recorder.bins()
    }
}

const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// How long after a fault lag may still be high: the promise of a return.
const FAULT_SHADOW_SECONDS: f64 = 35.0;
