//! Pull: a sink whose readiness is the valve's demand.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Sink;
use rdkafka::ClientContext;
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{Message, OwnedMessage};

use super::admission::{Admission, is_queue_full};
use super::delivery::{DeliveryFuture, Shared};
use super::queue::QueueClosed;
use super::record::{OwnedRecord, to_message, weight};
use super::throttled::ThrottledProducer;

/// A sink of records behind a valve: `stream.forward(producer.sink())`.
///
/// `poll_ready` takes one permit and one slot, `start_send` uses them, `poll_flush` waits for every delivery report.
/// Nothing is buffered but what is on the way. A byte limit charges each record with the next permit, since a record's size is
/// known only after readiness. Each failed delivery comes out as one error of the next call; the sink can be
/// used after it. Closing the sink flushes it and leaves the producer open. Dropping it gives an unused permit back; records
/// on the way are sent, their failures are counted by the producer.
#[must_use = "a sink sends what is fed to it"]
pub struct ThrottledSink<C: ClientContext + 'static = DefaultClientContext> {
    producer: ThrottledProducer<C>,
    stage: Stage,
    /// Deliveries to come, in the order of sending.
    on_the_way: VecDeque<DeliveryFuture>,
    /// Length at which reports are taken from behind the oldest too: it may be late while others come and go.
    sweep_at: usize,
    /// Failures found by a sweep, to come out one by one.
    failures: VecDeque<SinkError>,
    /// Bytes of records sent, not yet charged to the valve.
    owed: u64,
}

/// What a sink could not do.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
    /// A record was not delivered.
    #[error("a record for topic {} was not delivered: {error}", message.topic())]
    NotDelivered {
        /// Why.
        #[source]
        error: KafkaError,
        /// The record.
        message: Box<OwnedMessage>,
    },
}

type Admitting = Pin<Box<dyn Future<Output = Result<Admission<Arc<Shared>>, QueueClosed>> + Send>>;
type Entering = Pin<Box<dyn Future<Output = Result<DeliveryFuture, SinkError>> + Send>>;

enum Stage {
    Idle,
    /// Waits for a permit and a slot.
    Admitting(Admitting),
    /// Holds them.
    Ready(Admission<Arc<Shared>>),
    /// Waits for librdkafka's own queue.
    Entering(Entering),
}

impl<C: ClientContext + 'static> ThrottledSink<C> {
    pub(super) fn new(producer: ThrottledProducer<C>) -> Self {
        Self {
            producer,
            stage: Stage::Idle,
            on_the_way: VecDeque::new(),
            sweep_at: SWEEP_LEAST,
            failures: VecDeque::new(),
            owed: 0,
        }
    }

    /// Lets the record that waits for librdkafka's queue, if there is one, enter it.
    fn poll_entered(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        if let Stage::Entering(entering) = &mut self.stage {
            let delivery = ready!(entering.as_mut().poll(cx));
            self.stage = Stage::Idle;
            self.on_the_way.push_back(delivery?);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the oldest delivery report; `None` when there is none to come.
    fn poll_oldest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(), SinkError>>> {
        let Some(oldest) = self.on_the_way.front_mut() else { return Poll::Ready(None) };
        let result = ready!(Pin::new(oldest).poll(cx));
        self.on_the_way.pop_front();
        Poll::Ready(Some(result.map(drop).map_err(|(error, message)| SinkError::not_delivered(error, message))))
    }

    /// Takes the reports that are there.
    fn take_reports(&mut self, cx: &mut Context<'_>) -> Result<(), SinkError> {
        if self.on_the_way.len() >= self.sweep_at {
            self.sweep(cx);
        }
        self.failures.pop_front().map_or(Ok(()), Err)?;
        while self.on_the_way.front().is_some_and(DeliveryFuture::is_ready) {
            if let Poll::Ready(Some(result)) = self.poll_oldest(cx) {
                result?;
            }
        }
        Ok(())
    }

    /// Keeps only deliveries that are still to come: there are no more of those than the queue has slots.
    fn sweep(&mut self, cx: &mut Context<'_>) {
        let Self { on_the_way, failures, .. } = self;
        on_the_way.retain_mut(|delivery| {
            if !delivery.is_ready() {
                return true;
            }
            if let Poll::Ready(Err((error, message))) = Pin::new(delivery).poll(cx) {
                failures.push_back(SinkError::not_delivered(error, message));
            }
            false
        });
        self.sweep_at = SWEEP_LEAST.max(2 * self.on_the_way.len());
    }
}

impl<C: ClientContext + 'static> Sink<OwnedRecord> for ThrottledSink<C> {
    type Error = SinkError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        let this = self.get_mut();
        this.take_reports(cx)?;
        ready!(this.poll_entered(cx))?;
        loop {
            match &mut this.stage {
                Stage::Ready(_) => return Poll::Ready(Ok(())),
                Stage::Admitting(admitting) => {
                    let admitted = ready!(admitting.as_mut().poll(cx));
                    this.stage = Stage::Idle;
                    this.stage = Stage::Ready(admitted.map_err(|QueueClosed| SinkError::Closed)?.settled());
                }
                Stage::Idle | Stage::Entering(_) => {
                    let shared = Arc::clone(&this.producer.inner().shared);
                    let charged = std::mem::take(&mut this.owed);
                    this.stage = match Admission::try_now(Arc::clone(&shared), 0, charged) {
                        Ok(admission) => Stage::Ready(admission.settled()),
                        Err(_) => Stage::Admitting(Box::pin(Admission::wait(shared, 0, charged))),
                    };
                }
            }
        }
    }

    fn start_send(self: Pin<&mut Self>, record: OwnedRecord) -> Result<(), SinkError> {
        let this = self.get_mut();
        let Stage::Ready(mut admission) = std::mem::replace(&mut this.stage, Stage::Idle) else {
            panic!("start_send is called after poll_ready was ready");
        };
        let borrowed = record.as_record();
        let bytes = weight(&borrowed);
        admission.weigh(bytes);
        match admission.produce(this.producer.inner().producer(), borrowed) {
            Ok(delivery) => {
                this.owed += bytes;
                this.on_the_way.push_back(delivery);
            }
            Err((error, _, admission)) if is_queue_full(&error) => {
                this.owed += bytes;
                let producer = this.producer.clone();
                this.stage = Stage::Entering(Box::pin(async move {
                    let entered = admission.produce_when_free(producer.inner().producer(), record.as_record()).await;
                    entered.map_err(|(error, record)| SinkError::not_delivered(error, to_message(record)))
                }));
            }
            Err((error, record, _given_back)) => return Err(SinkError::not_delivered(error, to_message(record))),
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        let this = self.get_mut();
        ready!(this.poll_entered(cx))?;
        this.failures.pop_front().map_or(Ok(()), Err)?;
        while let Some(result) = ready!(this.poll_oldest(cx)) {
            result?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        self.poll_flush(cx)
    }
}

impl SinkError {
    fn not_delivered(error: KafkaError, message: OwnedMessage) -> Self {
        Self::NotDelivered { error, message: Box::new(message) }
    }
}

/// Deliveries among which no sweep is worth its time (guessed).
const SWEEP_LEAST: usize = 1_024;
