//! Live traffic beside a backfill: never throttled, and how old its records are when the group processes them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};

use super::produce::ensure;
use crate::support::{Stop, TestResult, client};

/// A bare producer at a steady rate, which knows nothing of any valve.
pub(crate) struct LiveTraffic {
    /// Records that the broker confirmed.
    pub(crate) acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Sent, Stop>>,
}

/// What it did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    offered: u64,
    /// Records that the broker confirmed.
    pub(crate) acknowledged: u64,
    seconds: f64,
}

impl LiveTraffic {
    /// Begins to write `per_second` records to `topic`.
    pub(crate) fn start(bootstrap: &str, topic: &str, per_second: f64) -> Result<Self, Stop> {
        let mut config = client(bootstrap);
        config.set("enable.idempotence", "true").set("linger.ms", "5");
        let (acknowledged, stop) = (Arc::default(), Arc::default());
        let writing =
            write(config.create()?, topic.to_owned(), per_second, Arc::clone(&acknowledged), Arc::clone(&stop));
        Ok(Self { acknowledged, stop, task: tokio::spawn(writing) })
    }

    /// Ends it, after every delivery.
    pub(crate) async fn stop(self) -> Result<Sent, Stop> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await?
    }
}

impl Sent {
    /// What was offered was taken at once and confirmed.
    pub(crate) fn was_never_throttled(&self, per_second: f64) -> TestResult {
        ensure(self.acknowledged == self.offered, || {
            format!("of {} live records {}", self.offered, self.acknowledged)
        })?;
        let expected = per_second * self.seconds;
        ensure((self.offered as f64 - expected).abs() <= 0.02 * expected, || format!("{self}, not {expected:.0}"))
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} offered in {:.1} s, {} acknowledged", self.offered, self.seconds, self.acknowledged)
    }
}

async fn write(
    producer: FutureProducer,
    topic: String,
    per_second: f64,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<Sent, Stop> {
    let started = Instant::now();
    let mut timer = interval(Duration::from_millis(10));
    let mut offered = 0;
    while !stop.load(Ordering::SeqCst) {
        timer.tick().await;
        while (offered as f64) < per_second * started.elapsed().as_secs_f64() {
            let value = format!("{MARK}{}", micros());
            let record = FutureRecord::<(), _>::to(&topic).payload(&value);
            let delivery = producer.send_result(record).map_err(|(error, _)| error)?;
            let acknowledged = Arc::clone(&acknowledged);
            tokio::spawn(async move {
                if matches!(delivery.await, Ok(Ok(_))) {
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
            offered += 1;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(30))).await??;
    // The last reports are on their way to their tasks.
    while acknowledged.load(Ordering::SeqCst) < offered && started.elapsed().as_secs_f64() < seconds + 10.0 {
        timer.tick().await;
    }
    Ok(Sent { offered, acknowledged: acknowledged.load(Ordering::SeqCst), seconds })
}

/// How old a live record is, seconds; `None` for every other record.
pub(crate) fn age_of(message: &BorrowedMessage<'_>) -> Option<f64> {
    let text = std::str::from_utf8(message.payload()?).ok()?;
    let sent: u64 = text.strip_prefix(MARK)?.parse().ok()?;
    Some(micros().saturating_sub(sent) as f64 / 1e6)
}

/// Ages of live records at the moment when the group processed them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ages(Vec<(Instant, f64)>);

impl Ages {
    /// A record of this age was processed now.
    pub(crate) fn add(&mut self, age: f64) {
        self.0.push((Instant::now(), age));
    }

    /// 99 of 100 are at most `seconds` old outside `faults` and what follows them.
    pub(crate) fn hold(&self, faults: &[(Instant, Instant)], until: Instant, seconds: f64) -> TestResult {
        let calm = self.calm(faults, until);
        if calm.is_empty() {
            println!("the story was too short for a calm time: no age of live records is judged");
            return Ok(());
        }
        let p99 = quantile(&calm, 0.99);
        ensure(p99 <= seconds, || format!("99 of 100 live records were processed within {p99:.2} s, not {seconds} s"))
    }

    /// For a person.
    pub(crate) fn describe(&self, faults: &[(Instant, Instant)], until: Instant) -> String {
        let all: Vec<f64> = self.0.iter().map(|(_, age)| *age).collect();
        let calm = self.calm(faults, until);
        let figures = |ages: &[f64]| match ages.len() {
            0 => "none".to_owned(),
            count => format!("{count}: median {:.2} s, p99 {:.2} s", quantile(ages, 0.5), quantile(ages, 0.99)),
        };
        format!("ages of all {}; of those in calm times {}", figures(&all), figures(&calm))
    }

    fn calm(&self, faults: &[(Instant, Instant)], until: Instant) -> Vec<f64> {
        let disturbed = |at: Instant| faults.iter().any(|(from, to)| at >= *from && at <= *to + FAULT_SHADOW);
        let began = faults.first().map(|(from, _)| *from);
        let calm = |at: Instant| began.is_none_or(|began| at >= began) && at <= until && !disturbed(at);
        self.0.iter().filter(|(at, _)| calm(*at)).map(|(_, age)| *age).collect()
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[expect(clippy::disallowed_methods, reason = "records carry the time of day")]
fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// How every live value begins.
const MARK: &str = "live ";
/// How long a fault may be felt (the bar of an outage).
const FAULT_SHADOW: Duration = Duration::from_secs(35);
