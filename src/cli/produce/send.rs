//! Lines → records → the client, at the valve's rate, in order; and what comes back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lagvalve::producer::Valve;
use lagvalve::units::RateLimit;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::mpsc;

use super::acks::{Acks, Counts, Room, Unacknowledged};
use super::client::Client;
use super::input::{Batch, InputError, LINE_BYTES_MAX};
use super::records::{BadLine, Parser, Record};
use super::refusal::{self, Fault};
use super::rejects::{Reject, Rejects, RejectsError};

/// Why sending stopped before the end of the input.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// A line is no record, and there is no place for rejects.
    #[error("{input}, line {line}: {reason}. Mend it, or keep such lines aside with --rejects FILE")]
    BadLine { input: String, line: u64, reason: BadLine },
    /// Kafka refuses a record, and there is no place for rejects.
    #[error("{input}, line {line}: {reason}. Mend it, or keep such lines aside with --rejects FILE")]
    Refused { input: String, line: u64, reason: String },
    /// Kafka does not take this record, nor would it take another.
    #[error("{input}, line {line} was not written: {reason}")]
    Undelivered { input: String, line: u64, reason: String },
    /// The input cannot be read on.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The rejects cannot be kept.
    #[error(transparent)]
    Rejects(#[from] RejectsError),
}

/// Sends what a channel brings. One at a time.
pub(super) struct Sender {
    client: Arc<Client>,
    valve: Valve,
    acks: Arc<Acks>,
    parser: Parser,
    rejects: Option<Rejects>,
    topic: String,
    /// Batches with a line that is not settled: what a failed record is looked up in.
    open: VecDeque<Arc<Batch>>,
    open_bytes: usize,
    /// Timestamps below, in milliseconds since the Unix epoch, are older than the topic keeps.
    oldest_kept: Option<i64>,
}

impl Sender {
    /// With nothing sent yet.
    pub(super) fn new(
        client: Arc<Client>,
        valve: Valve,
        acks: Arc<Acks>,
        parser: Parser,
        rejects: Option<Rejects>,
        topic: &str,
    ) -> Self {
        Self {
            client,
            valve,
            acks,
            parser,
            rejects,
            topic: topic.to_owned(),
            open: VecDeque::new(),
            open_bytes: 0,
            oldest_kept: None,
        }
    }

    /// Counts records with timestamps below `oldest_kept`, milliseconds since the Unix epoch.
    pub(super) fn count_older_than(&mut self, oldest_kept: Option<i64>) {
        self.oldest_kept = oldest_kept;
    }

    /// Sends everything that `lines` brings and waits until all of it is settled.
    ///
    /// Cancel safe in so far as every record handed over is in the book.
    ///
    /// # Errors
    /// Why it stopped. Records before that place may still be on their way.
    pub(super) async fn run(&mut self, lines: &mut mpsc::Receiver<Result<Batch, InputError>>) -> Result<(), SendError> {
        while let Some(batch) = lines.recv().await {
            self.send_batch(Arc::new(batch?)).await?;
        }
        self.settle(Room::EMPTY).await
    }

    /// Waits until nothing is in flight any more. Looks after records that came back as [`Sender::run`] does.
    ///
    /// # Errors
    /// As [`Sender::run`].
    pub(super) async fn finish(&mut self) -> Result<(), SendError> {
        self.settle(Room::EMPTY).await
    }

    async fn send_batch(&mut self, batch: Arc<Batch>) -> Result<(), SendError> {
        self.acks.mark(batch.end(), batch.read);
        self.open_bytes += batch.bytes();
        self.open.push_back(Arc::clone(&batch));
        self.forget_settled();
        if self.open_bytes > OPEN_BYTES_MAX
            && let Some(oldest) = self.open.front()
        {
            // One partition without a leader must not keep the whole input in memory.
            let room = Room { in_flight: u64::MAX, settled: oldest.end() };
            self.settle(room).await?;
        }
        // A valve that is open never makes this task wait, and its neighbours must have their turn.
        tokio::task::yield_now().await;
        let mut index = 0;
        while index < batch.len() {
            let part = self.parse(&batch, index);
            if !part.records.is_empty() {
                self.valve.limiter().acquire_sized(part.records.len() as u64, part.bytes).await;
            }
            for (index, record) in &part.records {
                if let (Some(at), Some(oldest)) = (record.timestamp, self.oldest_kept)
                    && at < oldest
                {
                    self.acks.too_old();
                }
                self.send(batch.first + *index as u64, record).await?;
            }
            index = part.end;
            self.pass(&batch, &part.blank);
            if let Some((index, reason)) = part.bad {
                self.reject(&batch, index, &reason.to_string())
                    .map_err(|no_rejects| no_rejects.unwrap_or_else(|| bad_line(&batch, index, reason)))?;
            }
        }
        Ok(())
    }

    /// As many records as one permit is asked for, up to a line that is no record.
    fn parse<'a>(&self, batch: &'a Batch, start: usize) -> Part<'a> {
        let (most, most_bytes) =
            permit(self.valve.limiter().limit(), self.valve.limiter().byte_limit().map(|rate| rate.get()));
        let mut part = Part { records: Vec::with_capacity(most), blank: Vec::new(), bad: None, bytes: 0, end: start };
        while part.end < batch.len() && part.records.len() < most && part.bytes < most_bytes {
            let index = part.end;
            part.end += 1;
            let parsed = if batch.overlong {
                Err(BadLine::TooLong(LINE_BYTES_MAX))
            } else {
                self.parser.parse(batch.line(index))
            };
            match parsed {
                Ok(Some(record)) => {
                    part.bytes += record.size();
                    part.records.push((index, record));
                }
                Ok(None) => part.blank.push(index),
                Err(reason) => {
                    part.bad = Some((index, reason));
                    break;
                }
            }
        }
        part
    }

    async fn send(&mut self, line: u64, record: &Record<'_>) -> Result<(), SendError> {
        loop {
            let counts = self.acks.sent(line);
            match self.client.send(line, record) {
                Ok(()) => return self.keep_window(counts).await,
                Err(RDKafkaErrorCode::QueueFull) => {
                    self.acks.not_sent();
                    self.wait_for_queue(counts).await?;
                }
                Err(code) => {
                    self.acks.failed(line, code);
                    return self.look_after_failed().await;
                }
            }
        }
    }

    /// Waits while more than a second's worth is unacknowledged: a broker that is away must not find a burst.
    async fn keep_window(&mut self, counts: Counts) -> Result<(), SendError> {
        let window = match self.valve.limiter().limit() {
            RateLimit::Unlimited => u64::MAX,
            RateLimit::At(rate) => (rate.get() as u64).max(WINDOW_MIN),
        };
        if counts.failed > 0 || counts.in_flight >= window {
            return self.settle(Room { in_flight: window - 1, settled: 0 }).await;
        }
        Ok(())
    }

    /// librdkafka frees its slots a little after it reports, so the wait has an end of its own.
    async fn wait_for_queue(&mut self, counts: Counts) -> Result<(), SendError> {
        let room = Room { in_flight: counts.in_flight / 10 * 9, settled: 0 };
        let _ = tokio::time::timeout(QUEUE_PATIENCE, self.acks.until(room)).await;
        self.look_after_failed().await
    }

    /// Waits for room, looking after what came back meanwhile.
    async fn settle(&mut self, room: Room) -> Result<(), SendError> {
        loop {
            self.acks.until(room).await;
            if self.acks.counts().failed == 0 {
                return Ok(());
            }
            self.look_after_failed().await?;
        }
    }

    /// Records that came back: the cluster's fault ends the run. A refusal of one record falls on all of its request,
    /// so each of them is sent once more, alone and in order, and only what is refused then is at fault.
    async fn look_after_failed(&mut self) -> Result<(), SendError> {
        let mut failed = self.acks.take_failed();
        while !failed.is_empty() {
            self.stop_for_cluster(&failed)?;
            self.acks.until(Room::EMPTY).await;
            let more = self.acks.take_failed();
            if more.is_empty() {
                break;
            }
            failed.extend(more);
        }
        failed.sort_by_key(|one| one.line);
        for one in failed {
            self.send_alone(one).await?;
        }
        Ok(())
    }

    fn stop_for_cluster(&self, failed: &[Unacknowledged]) -> Result<(), SendError> {
        let Some(first) = failed.iter().find(|one| refusal::fault_of(one.code) == Fault::Cluster) else {
            return Ok(());
        };
        let (batch, index) = self.find(first.line);
        Err(SendError::Undelivered {
            input: batch.input.to_string(),
            line: batch.first_line + index as u64,
            reason: refusal::reason(self.client.cause_of(first.code), &self.topic),
        })
    }

    async fn send_alone(&mut self, one: Unacknowledged) -> Result<(), SendError> {
        let (batch, index) = self.find(one.line);
        let parsed = self.parser.parse(batch.line(index));
        let record = parsed.ok().flatten().expect("what was sent once is a record");
        self.acks.sent_again(one.line);
        let code = match self.client.send(one.line, &record) {
            Ok(()) => {
                self.acks.until(Room::EMPTY).await;
                match self.acks.take_failed().first() {
                    None => return Ok(()),
                    Some(again) => again.code,
                }
            }
            Err(code) => {
                self.acks.not_sent();
                code
            }
        };
        self.stop_for_cluster(&[Unacknowledged { line: one.line, code }])?;
        let reason = refusal::reason(code, &self.topic);
        self.reject(&batch, index, &reason).map_err(|no_rejects| {
            let line = batch.first_line + index as u64;
            no_rejects.unwrap_or_else(|| SendError::Refused { input: batch.input.to_string(), line, reason })
        })
    }

    /// Keeps a line aside. `Err(None)`: there is no place for it.
    fn reject(&mut self, batch: &Batch, index: usize, reason: &str) -> Result<(), Option<SendError>> {
        let Some(rejects) = &mut self.rejects else { return Err(None) };
        let line = batch.first_line + index as u64;
        rejects
            .write(Reject { input: &batch.input, line, reason, text: batch.line(index) })
            .and_then(|()| rejects.flush())
            .map_err(|error| Some(error.into()))?;
        self.acks.passed(batch.first + index as u64, true);
        Ok(())
    }

    fn pass(&self, batch: &Batch, blank: &[usize]) {
        for index in blank {
            self.acks.passed(batch.first + *index as u64, false);
        }
    }

    /// The batch of an unsettled line, and its index there.
    fn find(&self, line: u64) -> (Arc<Batch>, usize) {
        let batch = self.open.iter().find(|batch| (batch.first..batch.end()).contains(&line));
        let batch = Arc::clone(batch.expect("a batch is kept until all of its lines are settled"));
        let index = usize::try_from(line - batch.first).expect("an index of lines in memory");
        (batch, index)
    }

    fn forget_settled(&mut self) {
        let settled = self.acks.counts().settled;
        while let Some(batch) = self.open.pop_front_if(|batch| batch.end() <= settled) {
            self.open_bytes -= batch.bytes();
        }
    }
}

/// What one permit is asked for.
struct Part<'a> {
    /// Index in the batch, and the record.
    records: Vec<(usize, Record<'a>)>,
    blank: Vec<usize>,
    /// The line after the records.
    bad: Option<(usize, BadLine)>,
    bytes: u64,
    /// Index of the line after this part.
    end: usize,
}

/// Most records and bytes of one permit: 10 ms of the rate, so that they go out evenly.
fn permit(limit: RateLimit, bytes: Option<f64>) -> (usize, u64) {
    let records = match limit {
        RateLimit::Unlimited => PERMIT_MAX,
        RateLimit::At(rate) => ((rate.get() * PERMIT_SECONDS) as usize).clamp(1, PERMIT_MAX),
    };
    let bytes = bytes.map_or(u64::MAX, |rate| ((rate * PERMIT_SECONDS) as u64).max(1));
    (records, bytes)
}

/// The error for a line that is no record.
pub(super) fn bad_line(batch: &Batch, index: usize, reason: BadLine) -> SendError {
    SendError::BadLine { input: batch.input.to_string(), line: batch.first_line + index as u64, reason }
}

/// Guessed: a tenth of the interval at which the rate moves, many times a wake-up.
const PERMIT_SECONDS: f64 = 0.01;
/// Measured: larger permits gain nothing.
const PERMIT_MAX: usize = 1000;
/// Unacknowledged records that are always allowed (the contract of all governed writers).
const WINDOW_MIN: u64 = 1000;
/// Text of unsettled lines that is kept: half a minute at 20,000 lines of 400 bytes a second.
const OPEN_BYTES_MAX: usize = 256 << 20;
/// librdkafka frees its slots within a millisecond of its report; guessed with a wide margin.
const QUEUE_PATIENCE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_ten_milliseconds_of_the_rate() {
        let at = |rate: f64| permit(RateLimit::from_f64(rate).unwrap(), None).0;
        assert_eq!((at(0.5), at(99.0), at(20_000.0), at(1e9)), (1, 1, 200, PERMIT_MAX));
        assert_eq!(permit(RateLimit::Unlimited, None), (PERMIT_MAX, u64::MAX));
    }
}
