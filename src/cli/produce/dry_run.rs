//! `--dry-run`: the whole input is read and checked as a real run would, without Kafka.

use serde::Serialize;
use tokio::sync::mpsc;

use super::args::Plan;
use super::input::{self, Batch, InputError, LINE_BYTES_MAX};
use super::records::{BadLine, Parser};
use super::rejects::{Reject, Rejects};
use crate::cli::exit::Failure;
use crate::cli::output::{Output, say};
use lagvalve::units::HumanCount;

/// Reads everything that `plan` names.
///
/// # Errors
/// The first line that is no record where there is no place for rejects, or what cannot be read or written.
pub(super) async fn run(plan: &Plan) -> Result<(), Failure> {
    input::total_size(&plan.sources).map_err(Failure::usage)?;
    let mut rejects = plan.rejects.as_deref().map(Rejects::open).transpose().map_err(Failure::failed)?;
    let parser = Parser::new(plan.format, plan.key_field.as_deref());
    let mut lines = input::spawn(plan.sources.clone(), plan.skip_lines)?;
    let checked = check(&mut lines, &parser, rejects.as_mut()).await?;
    if plan.json {
        return Output::new(true).object(&checked);
    }
    say(&checked.sentence());
    Ok(())
}

/// What was found. As JSON the one line of `--dry-run --json`.
#[derive(Debug, Default, Serialize)]
struct Checked {
    event: &'static str,
    dry_run: bool,
    records: u64,
    rejected: u64,
    blank: u64,
    /// Keys, values and headers.
    bytes: u64,
}

impl Checked {
    fn sentence(&self) -> String {
        format!(
            "dry run, nothing was sent: {} records ({} bytes), {} rejected, {} blank lines",
            HumanCount(self.records as f64),
            HumanCount(self.bytes as f64),
            HumanCount(self.rejected as f64),
            HumanCount(self.blank as f64),
        )
    }
}

async fn check(
    lines: &mut mpsc::Receiver<Result<Batch, InputError>>,
    parser: &Parser,
    mut rejects: Option<&mut Rejects>,
) -> Result<Checked, Failure> {
    let mut checked = Checked { event: "summary", dry_run: true, ..Checked::default() };
    while let Some(batch) = lines.recv().await {
        let batch = batch.map_err(Failure::failed)?;
        for index in 0..batch.len() {
            let text = batch.line(index);
            let parsed = if batch.overlong { Err(BadLine::TooLong(LINE_BYTES_MAX)) } else { parser.parse(text) };
            match parsed {
                Ok(Some(record)) => {
                    checked.records += 1;
                    checked.bytes += record.size();
                }
                Ok(None) => checked.blank += 1,
                Err(reason) => {
                    let line = batch.first_line + index as u64;
                    let Some(rejects) = &mut rejects else {
                        return Err(Failure::failed(super::send::bad_line(&batch, index, reason)));
                    };
                    let reason = reason.to_string();
                    let reject = Reject { input: &batch.input, line, reason: &reason, text };
                    rejects.write(reject).map_err(Failure::failed)?;
                    checked.rejected += 1;
                }
            }
        }
    }
    if let Some(rejects) = rejects {
        rejects.flush().map_err(Failure::failed)?;
    }
    Ok(checked)
}
