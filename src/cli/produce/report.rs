//! How a run shows itself: a bar on a terminal, a line every ten seconds elsewhere, objects for machines.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lagvalve::clock::Instant;
use serde::Serialize;

use super::progress::{Moment, Summary};
use crate::cli::exit::Failure;
use crate::cli::output::{Output, say, stderr_is_lively};

/// Where progress goes. What it says is made in `progress`.
pub(super) struct Reporter {
    form: Form,
    /// Standard output was closed by its reader: the records matter more, so the run goes on without it.
    closed: bool,
    next: Option<Instant>,
}

enum Form {
    Bar(ProgressBar),
    Lines,
    Objects(Output),
}

impl Reporter {
    /// Objects when `json`; else a bar where standard error is a terminal, with a length when the input `has_size`.
    pub(super) fn new(json: bool, has_size: bool) -> Self {
        let form = if json {
            Form::Objects(Output::new(true))
        } else if stderr_is_lively() {
            Form::Bar(bar(has_size))
        } else {
            Form::Lines
        };
        Self { form, closed: false, next: None }
    }

    /// Shows `moment`, where it is time to.
    pub(super) fn show(&mut self, now: Instant, moment: &Moment<'_>) {
        if let Form::Bar(bar) = &self.form {
            bar.set_position((moment.meter.fraction().unwrap_or(0.0) * STEPS as f64) as u64);
            bar.set_message(moment.sentence(false));
            bar.tick();
            return;
        }
        let every = if matches!(self.form, Form::Lines) { LINE_EVERY } else { OBJECT_EVERY };
        // The first one after its interval too: a short run needs no line but its summary.
        let due = *self.next.get_or_insert(now + every);
        if now < due {
            return;
        }
        self.next = Some(now + every);
        match self.form {
            Form::Lines => say(&moment.sentence(true)),
            Form::Objects(_) => self.object(&moment.object()),
            Form::Bar(_) => {}
        }
    }

    /// Says that the run waits, and for what.
    pub(super) fn waiting(&mut self, reason: &str, group: Option<&str>) {
        #[derive(Serialize)]
        struct Waiting<'a> {
            event: &'static str,
            reason: &'a str,
            group: Option<&'a str>,
        }
        match &self.form {
            Form::Objects(_) => self.object(&Waiting { event: "waiting", reason, group }),
            Form::Bar(_) | Form::Lines => self.note(reason),
        }
    }

    /// Says something to the person besides progress.
    pub(super) fn note(&self, text: &str) {
        match &self.form {
            Form::Bar(bar) => bar.suspend(|| say(text)),
            Form::Lines | Form::Objects(_) => say(text),
        }
    }

    /// The last word. Takes the bar away.
    pub(super) fn summary(&mut self, summary: &Summary) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
        match self.form {
            Form::Objects(_) => self.object(summary),
            Form::Bar(_) | Form::Lines => say(&summary.sentence()),
        }
    }

    fn object(&mut self, object: &impl Serialize) {
        let Form::Objects(output) = &self.form else { return };
        if self.closed {
            return;
        }
        if let Err(failure) = output.object(object) {
            self.closed = true;
            let why = match failure {
                Failure::ClosedPipe => "standard output was closed".to_owned(),
                other => format!("standard output takes no more ({other:?})"),
            };
            say(&format!("{why}: nothing more is reported there; the records go on"));
        }
    }
}

fn bar(has_size: bool) -> ProgressBar {
    let (length, template) = match has_size {
        true => (Some(STEPS), "{bar:24} {percent:>3} %  {wide_msg}"),
        false => (None, "{spinner} {wide_msg}"),
    };
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
    bar
}

const STEPS: u64 = 10_000;
const LINE_EVERY: Duration = Duration::from_secs(10);
const OBJECT_EVERY: Duration = Duration::from_secs(1);
