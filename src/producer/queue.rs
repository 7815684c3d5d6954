//! How many records, and how many bytes, may be on the way at once. First come, first served; nothing is dropped.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rdkafka::ClientConfig;
use tokio::sync::{Mutex, Notify};

use crate::units::RateLimit;

/// What is on the way, or may be: records and their bytes (keys, values, headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// Records.
    pub(super) messages: u64,
    /// Bytes.
    pub(super) bytes: u64,
}

/// The queue refuses records for good: its producer was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueClosed;

/// Counts the records between admission and delivery report, and holds back those that would be too many.
///
/// While the valve is limited at most [`unacknowledged_bound`] records are on the way, so that a broker outage stores
/// no burst. While it is open librdkafka's own bounds hold, less a slack: librdkafka frees its slots a little later
/// than it reports delivery.
#[derive(Debug)]
pub(super) struct Queue {
    /// Packed [`Load`] on the way: one word, so that both bounds are checked and taken in one step.
    load: AtomicU64,
    /// Packed bounds in force.
    bounds: AtomicU64,
    /// Bounds of an open valve.
    open_bounds: Load,
    /// Callers inside [`Queue::admit`] or [`Queue::idle`]: whoever frees a slot need not wake anyone while it is 0.
    watchers: AtomicUsize,
    /// Callers that wait for a slot.
    waiting: AtomicUsize,
    /// The line: who holds it is next.
    line: Mutex<()>,
    /// A slot came free, the bounds moved or the queue was closed.
    changed: Notify,
    closed: AtomicBool,
}

impl Queue {
    /// Bounds from a producer's own configuration, for a valve that is limited to `limit` at first.
    pub(super) fn new(config: &ClientConfig, limit: RateLimit) -> Self {
        let open_bounds = open_bounds(config);
        Self {
            load: AtomicU64::new(0),
            bounds: AtomicU64::new(pack(bounds_at(limit, open_bounds))),
            open_bounds,
            watchers: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            line: Mutex::new(()),
            changed: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Takes a slot for a record of `bytes` if there is one and nobody waits for it.
    #[inline]
    pub(super) fn try_admit(&self, bytes: u64) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.take(bytes)
    }

    /// Waits for a slot for a record of `bytes`. A caller that goes away while it waits takes nothing.
    pub(super) async fn admit(&self, bytes: u64) -> Result<(), QueueClosed> {
        let _waiting = Counted::new(&self.waiting);
        let _watching = Counted::new(&self.watchers);
        let _head = self.line.lock().await;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_closed() {
                return Err(QueueClosed);
            }
            if self.take(bytes) {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Charges `bytes` more to a slot that was taken before its record was known. May exceed the bound by that record.
    pub(super) fn grow(&self, bytes: u64) {
        self.load.fetch_add(bytes.min(MOST_BYTES_EACH), Ordering::SeqCst);
    }

    /// Gives a slot back.
    #[inline]
    pub(super) fn release(&self, bytes: u64) {
        self.load.fetch_sub(ONE_MESSAGE + bytes.min(MOST_BYTES_EACH), Ordering::SeqCst);
        if self.watchers.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Ready once something changed after the call that made this future was first polled: a slot, a bound, the end.
    pub(super) async fn change(&self) {
        let _watching = Counted::new(&self.watchers);
        self.changed.notified().await;
    }

    /// Ready once nothing is on the way.
    pub(super) async fn idle(&self) {
        self.when(|| self.load().messages == 0).await;
    }

    /// Ready once the queue is closed.
    pub(super) async fn closed(&self) {
        self.when(|| self.is_closed()).await;
    }

    /// Moves the bounds to those of a valve that is limited to `limit`.
    pub(super) fn set_limit(&self, limit: RateLimit) {
        self.bounds.store(pack(bounds_at(limit, self.open_bounds)), Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Refuses every record from now on, those that wait included.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether [`Queue::close`] was called.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// What is on the way.
    pub(super) fn load(&self) -> Load {
        unpack(self.load.load(Ordering::SeqCst))
    }

    /// Callers that wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    fn take(&self, bytes: u64) -> bool {
        let bytes = bytes.min(MOST_BYTES_EACH);
        let bounds = unpack(self.bounds.load(Ordering::SeqCst));
        let fits = |load: u64| {
            let Load { messages, bytes: taken } = unpack(load);
            // A record larger than the bound goes alone: it could never go otherwise.
            let enough_bytes = taken + bytes <= bounds.bytes || messages == 0;
            (messages < bounds.messages && enough_bytes).then(|| load + ONE_MESSAGE + bytes)
        };
        self.load.fetch_update(Ordering::SeqCst, Ordering::Relaxed, fits).is_ok()
    }

    async fn when(&self, reached: impl Fn() -> bool) {
        let _watching = Counted::new(&self.watchers);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if reached() {
                return;
            }
            changed.await;
        }
    }
}

/// Most records on the way while limited to `limit`: one second of the rate in force, at least 1,000.
pub(super) fn unacknowledged_bound(limit: RateLimit) -> u64 {
    (limit.as_f64().min(MOST_MESSAGES as f64) as u64).max(LEAST_UNACKNOWLEDGED)
}

/// One more in a count for as long as it lives.
pub(super) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn open_bounds(config: &ClientConfig) -> Load {
    // A value that is not a number is refused by librdkafka, by name, when the producer is made.
    let number = |name, default| config.get(name).and_then(|text| text.trim().parse().ok()).unwrap_or(default);
    let messages = match number("queue.buffering.max.messages", DEFAULT_MAX_MESSAGES) {
        // librdkafka's word for no bound.
        0 => MOST_MESSAGES,
        bound => bound,
    };
    let bytes = number("queue.buffering.max.kbytes", DEFAULT_MAX_KBYTES).saturating_mul(1024);
    let slack = |bound: u64, most: u64| ((bound as f64 * SLACK) as u64).clamp(1, most);
    Load { messages: slack(messages, MOST_MESSAGES), bytes: slack(bytes, MOST_BYTES) }
}

fn bounds_at(limit: RateLimit, open: Load) -> Load {
    if limit.is_unlimited() {
        return open;
    }
    Load { messages: unacknowledged_bound(limit).min(open.messages), bytes: open.bytes }
}

const fn pack(load: Load) -> u64 {
    load.messages << BYTE_BITS | load.bytes
}

const fn unpack(packed: u64) -> Load {
    Load { messages: packed >> BYTE_BITS, bytes: packed & ((1 << BYTE_BITS) - 1) }
}

/// Bits of the packed word that count bytes; the other 24 count records.
const BYTE_BITS: u32 = 40;
const ONE_MESSAGE: u64 = 1 << BYTE_BITS;
/// A quarter of what the word can count, so that sinks that learn a record's size late cannot overflow it.
const MOST_BYTES: u64 = 1 << (BYTE_BITS - 2);
/// No record is larger: librdkafka counts a message's size in 31 bits.
const MOST_BYTES_EACH: u64 = 1 << 31;
const MOST_MESSAGES: u64 = (1 << 23) - 1;
/// CONTRACTS: a broker outage stores no burst.
const LEAST_UNACKNOWLEDGED: u64 = 1_000;
/// Part of librdkafka's queue that is used. Its slots come free a batch of delivery reports (at most
/// 10,000 records) later than the reports themselves; measured: 0.9 of the default 100,000 is enough.
const SLACK: f64 = 0.9;
/// Defaults of librdkafka 2.12.
const DEFAULT_MAX_MESSAGES: u64 = 100_000;
const DEFAULT_MAX_KBYTES: u64 = 1_048_576;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[test]
    fn both_bounds_hold_and_a_giant_goes_alone() {
        let queue = queue(4, 1, RateLimit::Unlimited);
        assert_eq!(queue.open_bounds, Load { messages: 3, bytes: 921 });
        assert!(queue.try_admit(900));
        assert!(!queue.try_admit(22), "bytes");
        assert!(queue.try_admit(21));
        assert!(queue.try_admit(0));
        assert!(!queue.try_admit(0), "messages");
        for bytes in [900, 21, 0] {
            queue.release(bytes);
        }
        assert_eq!(queue.load(), Load { messages: 0, bytes: 0 });
        assert!(queue.try_admit(5_000));
        assert!(!queue.try_admit(0));
    }

    #[test]
    fn a_limited_valve_keeps_a_second_of_its_rate_on_the_way() {
        for (rate, messages) in [(0.0, 1_000), (999.0, 1_000), (25_000.0, 25_000), (1e9, 90_000)] {
            let queue = queue(100_000, 1_024, RateLimit::from_f64(rate).unwrap());
            assert_eq!(unpack(queue.bounds.load(Ordering::SeqCst)).messages, messages, "{rate}");
        }
        let queue = queue(0, 1_024, RateLimit::Unlimited);
        assert_eq!(queue.open_bounds.messages, (MOST_MESSAGES as f64 * SLACK) as u64);
    }

    #[tokio::test]
    async fn who_waits_first_goes_first_and_who_leaves_takes_nothing() {
        let queue = queue(2, 1, RateLimit::Unlimited);
        assert!(queue.try_admit(10));
        let (mut first, mut second, mut third) =
            (Box::pin(queue.admit(1)), Box::pin(queue.admit(2)), Box::pin(queue.admit(3)));
        for waiter in [&mut first, &mut second, &mut third] {
            assert!(waiter.now_or_never().is_none());
        }
        assert_eq!(queue.waiting(), 3);
        drop(first);
        queue.release(10);
        assert!(!queue.try_admit(0), "not past the line");
        assert!(third.as_mut().now_or_never().is_none());
        assert_eq!(second.await, Ok(()));
        assert_eq!(queue.load(), Load { messages: 1, bytes: 2 });
        queue.release(2);
        assert_eq!(third.await, Ok(()));
        assert_eq!(queue.waiting(), 0);
    }

    #[tokio::test]
    async fn closing_and_opening_wake_those_who_wait() {
        let queue = queue(2_000, 1_024, RateLimit::PAUSED);
        (0..1_000).for_each(|_| assert!(queue.try_admit(0)));
        let mut waiter = Box::pin(queue.admit(0));
        assert!(waiter.as_mut().now_or_never().is_none());
        queue.set_limit(RateLimit::Unlimited);
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), waiter).await, Ok(Ok(())));

        queue.set_limit(RateLimit::PAUSED);
        let mut waiter = Box::pin(queue.admit(0));
        assert!(waiter.as_mut().now_or_never().is_none());
        queue.close();
        assert_eq!(waiter.await, Err(QueueClosed));
        queue.closed().await;
    }

    fn queue(messages: u64, kbytes: u64, limit: RateLimit) -> Queue {
        let mut config = ClientConfig::new();
        config.set("queue.buffering.max.messages", messages.to_string());
        config.set("queue.buffering.max.kbytes", kbytes.to_string());
        Queue::new(&config, limit)
    }
}
