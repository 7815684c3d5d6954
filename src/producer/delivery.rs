//! From librdkafka's delivery reports to futures, counts and free slots.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedMessage};
use rdkafka::producer::ProducerContext;
use rdkafka::producer::future_producer::{Delivery, OwnedDeliveryResult};
use rdkafka::statistics::Statistics;

use super::queue::Queue;
use super::valve::Valve;

/// The delivery report to come of one record. Dropping it changes nothing: the record is on its way.
///
/// Resolves to where the record was written, or to the reason why not and the record.
#[derive(Debug)]
#[must_use = "a failed delivery is reported here and nowhere else"]
pub struct DeliveryFuture(Arc<Report>);

impl DeliveryFuture {
    /// Whether the report is there.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(*self.0.lock(), Stage::Done(_))
    }
}

impl Future for DeliveryFuture {
    type Output = OwnedDeliveryResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.0.lock();
        match &mut *stage {
            Stage::Pending(waker) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Stage::Done(result) => {
                let result = result.take().expect("a delivery future is not polled after it was ready");
                Poll::Ready(result.map_err(|failure| *failure))
            }
        }
    }
}

/// One record on the way: shared by librdkafka, which holds it as the record's opaque value, and the caller.
#[derive(Debug)]
pub(super) struct Report {
    /// What its slot weighs.
    bytes: u64,
    stage: Mutex<Stage>,
}

#[derive(Debug)]
enum Stage {
    Pending(Option<Waker>),
    /// `None` after it was taken. Failures are boxed, so that the many that succeed stay small.
    Done(Option<Result<Delivery, Box<(KafkaError, OwnedMessage)>>>),
}

impl Report {
    /// A record in a slot of `bytes`, and the future of its delivery.
    pub(super) fn pair(bytes: u64) -> (Arc<Self>, DeliveryFuture) {
        let report = Arc::new(Self { bytes, stage: Mutex::new(Stage::Pending(None)) });
        (Arc::clone(&report), DeliveryFuture(report))
    }

    fn finish(&self, result: Result<Delivery, Box<(KafkaError, OwnedMessage)>>) {
        let before = std::mem::replace(&mut *self.lock(), Stage::Done(Some(result)));
        if let Stage::Pending(Some(waker)) = before {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a producer, its clones, its sinks and its delivery reports share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) valve: Valve,
    pub(super) queue: Arc<Queue>,
    /// Records that wait for the valve.
    pub(super) throttled: AtomicUsize,
    pub(super) counts: Counts,
}

impl Shared {
    pub(super) fn new(valve: Valve, queue: Arc<Queue>) -> Self {
        Self { valve, queue, throttled: AtomicUsize::new(0), counts: Counts::default() }
    }
}

/// How records ended. On a cache line of its own: reports are counted on librdkafka's thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counts {
    /// Acknowledged.
    pub(super) delivered: AtomicU64,
    /// Given up by librdkafka.
    pub(super) failed: AtomicU64,
    /// Withdrawn when the producer was closed or dropped.
    pub(super) withdrawn: AtomicU64,
}

/// Receives delivery reports; passes everything else to the user's own context.
pub(super) struct ReportContext<C> {
    pub(super) user: C,
    pub(super) shared: Arc<Shared>,
}

impl<C: ClientContext + 'static> ProducerContext for ReportContext<C> {
    type DeliveryOpaque = Arc<Report>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Arc<Report>) {
        let Shared { valve, queue, counts: Counts { delivered, failed, withdrawn }, .. } = &*self.shared;
        let result = match result {
            Ok(message) => {
                delivered.fetch_add(1, Ordering::Relaxed);
                valve.report_sent(1);
                Ok(Delivery {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp: message.timestamp(),
                })
            }
            Err((error, message)) => {
                let count = if is_withdrawal(error) { withdrawn } else { failed };
                count.fetch_add(1, Ordering::Relaxed);
                Err(Box::new((error.clone(), message.detach())))
            }
        };
        // After the counts: who waits for an idle queue finds everything counted. Before the future: who waited for this
        // delivery finds its slot free.
        queue.release(report.bytes);
        report.finish(result);
    }
}

impl<C: ClientContext + 'static> ClientContext for ReportContext<C> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = C::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.user.log(level, fac, log_message);
    }

    fn stats(&self, statistics: Statistics) {
        self.user.stats(statistics);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.user.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.user.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.user.generate_oauth_token(config)
    }
}

/// Whether a delivery failed because we took the record back, not because of Kafka.
fn is_withdrawal(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight))
}
