//! The way of a record into librdkafka: a slot, a permit, then the queue.

use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseRecord, FutureRecord, ThreadedProducer};

use super::delivery::{DeliveryFuture, Report, ReportContext, Shared};
use super::queue::{Counted, QueueClosed};
use super::valve::Throttled;

/// A slot in the queue and the valve's permission for one record. Dropped unused, it gives both back.
pub(super) struct Admission<S: Deref<Target = Shared>> {
    shared: S,
    /// Bytes of the slot.
    bytes: u64,
    /// Bytes that the limiter charged.
    charged: u64,
    /// What is to be given back.
    holds: Holds,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Slot,
    SlotAndPermit,
    Nothing,
}

/// Why a record was not admitted at once.
pub(super) enum Refusal {
    Throttled(Throttled),
    QueueFull,
    Closed,
}

/// A record that librdkafka did not take, with what it was admitted for.
pub(super) type Untaken<R, S> = (KafkaError, R, Admission<S>);

impl<S: Deref<Target = Shared>> Admission<S> {
    /// Waits for a slot of `bytes`, then for the valve, which charges `charged` bytes.
    ///
    /// The slot comes first: while brokers are away all slots are taken, so nobody uses permits up that would come
    /// back as a burst.
    pub(super) async fn wait(shared: S, bytes: u64, charged: u64) -> Result<Self, QueueClosed> {
        if !shared.queue.try_admit(bytes) {
            shared.queue.admit(bytes).await?;
        }
        let mut admission = Self { shared, bytes, charged, holds: Holds::Slot };
        admission.pass_valve().await?;
        Ok(admission)
    }

    /// Like [`Admission::wait`], at once or not at all.
    pub(super) fn try_now(shared: S, bytes: u64, charged: u64) -> Result<Self, Refusal> {
        if shared.queue.is_closed() {
            return Err(Refusal::Closed);
        }
        if shared.queue.try_admit(bytes) {
            let mut admission = Self { shared, bytes, charged, holds: Holds::Slot };
            if let Err(refused) = admission.shared.valve.limiter().try_acquire_sized(1, charged) {
                return Err(Refusal::Throttled(admission.shared.valve.throttled(refused)));
            }
            admission.holds = Holds::SlotAndPermit;
            return Ok(admission);
        }
        // When records that wait for the valve hold the slots, the valve is the reason, and knows when to come back.
        if shared.throttled.load(Ordering::SeqCst) > 0 {
            let limiter = shared.valve.limiter();
            if let Err(refused) = limiter.try_acquire_sized(1, charged) {
                return Err(Refusal::Throttled(shared.valve.throttled(refused)));
            }
            limiter.give_back(1, charged);
        }
        Err(Refusal::QueueFull)
    }

    /// Hands `record` to librdkafka; on success the delivery report frees the slot.
    #[expect(clippy::result_large_err, reason = "the record comes back, not a box of it")]
    pub(super) fn produce<'a, K, P, C>(
        mut self,
        producer: &ThreadedProducer<ReportContext<C>>,
        record: FutureRecord<'a, K, P>,
    ) -> Result<DeliveryFuture, Untaken<FutureRecord<'a, K, P>, S>>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
        C: ClientContext + 'static,
    {
        let (report, delivery) = Report::pair(self.bytes);
        let FutureRecord { topic, partition, payload, key, timestamp, headers } = record;
        let record = BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque: report };
        match producer.send(record) {
            Ok(()) => {
                self.holds = Holds::Nothing;
                Ok(delivery)
            }
            Err((error, record)) => {
                let BaseRecord { topic, partition, payload, key, timestamp, headers, .. } = record;
                Err((error, FutureRecord { topic, partition, payload, key, timestamp, headers }, self))
            }
        }
    }

    /// Like [`Admission::produce`], waiting out librdkafka's own full queue.
    pub(super) async fn produce_when_free<'a, K, P, C>(
        mut self,
        producer: &ThreadedProducer<ReportContext<C>>,
        mut record: FutureRecord<'a, K, P>,
    ) -> Result<DeliveryFuture, (KafkaError, FutureRecord<'a, K, P>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
        C: ClientContext + 'static,
    {
        loop {
            match self.produce(producer, record) {
                Ok(delivery) => return Ok(delivery),
                Err((error, back, admission)) if is_queue_full(&error) => (record, self) = (back, admission),
                Err((error, back, _given_back)) => return Err((error, back)),
            }
            if self.shared.queue.is_closed() {
                return Err((KafkaError::Canceled, record));
            }
            // Reports free librdkafka's slots a moment after they are served, and the last one is followed by none.
            let _ = tokio::time::timeout(SLOT_LATENESS, self.shared.queue.change()).await;
        }
    }

    /// Charges the slot with the size of its record, where it was taken before that was known.
    pub(super) fn weigh(&mut self, bytes: u64) {
        self.shared.queue.grow(bytes);
        self.bytes += bytes;
    }

    /// The same, where the bytes charged were those of an earlier record: they are never given back.
    pub(super) fn settled(mut self) -> Self {
        self.charged = 0;
        self
    }

    async fn pass_valve(&mut self) -> Result<(), QueueClosed> {
        // After the slot was taken: `close` either sees the slot or is seen here.
        if self.shared.queue.is_closed() {
            return Err(QueueClosed);
        }
        let limiter = self.shared.valve.limiter();
        if limiter.try_acquire_sized(1, self.charged).is_err() {
            let _throttled = Counted::new(&self.shared.throttled);
            tokio::select! {
                biased;
                () = limiter.acquire_sized(1, self.charged) => {}
                () = self.shared.queue.closed() => return Err(QueueClosed),
            }
        }
        self.holds = Holds::SlotAndPermit;
        Ok(())
    }
}

impl<S: Deref<Target = Shared>> Drop for Admission<S> {
    fn drop(&mut self) {
        if self.holds == Holds::SlotAndPermit {
            self.shared.valve.limiter().give_back(1, self.charged);
        }
        if self.holds != Holds::Nothing {
            self.shared.queue.release(self.bytes);
        }
    }
}

/// Whether librdkafka's own queue is full.
pub(super) fn is_queue_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

/// How much later than a delivery report librdkafka frees its slot (measured: below 1 ms).
const SLOT_LATENESS: Duration = Duration::from_millis(1);
