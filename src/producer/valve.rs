//! The handle of a valve: one rate for a set of topics, and what is known about why.
//!
//! Two halves share one state: [`Valve`] is what writers hold, [`ValveDriver`] is what decides. The agent holds the
//! driver's half; [`Valve::manual`] gives it to anyone who decides otherwise.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::queue::Queue;
use crate::agent::{Mode, TickRecord};
use crate::clock::{Clock, SystemClock};
use crate::control::BoundBy;
use crate::id::ValveName;
use crate::limiter::{self, ByteRate, DEFAULT_BURST, Limiter, RuledBy};
use crate::units::RateLimit;

/// One rate for a set of topics, shared by everything that writes to them. Cheap to clone.
///
/// Anything can be throttled with [`Valve::acquire`]; records are best sent with a
/// [`ThrottledProducer`](super::ThrottledProducer), which counts what the brokers acknowledged.
/// The agent that drives a valve stops when the last handle is gone, or at [`Valve::close`].
#[derive(Clone)]
pub struct Valve {
    inner: Arc<Inner>,
    /// Stops the agent when the last handle goes. In the handle, not in the shared state: the agent holds that too.
    _keep_alive: Option<Arc<dyn Any + Send + Sync>>,
}

/// The other half of a valve: sets its limit and publishes what was decided. One for each valve.
///
/// Contract: whoever drives calls [`set_limit`](Self::set_limit) before [`publish`](Self::publish), so that a reader
/// of the record finds the limit in force; awaits [`closing`](Self::closing) beside its timers; and drops the driver
/// when it has stopped, which lets [`Valve::close`] return. After that the last limit stays in force.
#[derive(Debug)]
pub struct ValveDriver {
    inner: Arc<Inner>,
    latest: watch::Sender<Arc<TickRecord>>,
}

/// Refused for now: the valve's rate is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("throttled, try again in {} ms: {}", retry_after.as_millis(), reason.sentence())]
pub struct Throttled {
    /// When it is worth trying again.
    pub retry_after: Duration,
    /// What rules the rate.
    pub reason: BoundBy,
}

/// What writers want and got, as counts that only grow, and as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// Callers that wait for a permit or a slot.
    pub waiting: usize,
    /// Records of producers admitted and not yet reported on, those that wait for a permit included.
    pub on_the_way: u64,
    /// Permits granted since the start, in messages; what was given back is not subtracted.
    pub granted_total: u64,
    /// Messages acknowledged (producers) or granted ([`Valve::acquire`]) since the start.
    pub sent_total: u64,
}

struct Inner {
    name: ValveName,
    limiter: Limiter,
    latest: watch::Receiver<Arc<TickRecord>>,
    sent: SentTotal,
    /// Queues of the producers on this valve; their bounds follow its limit.
    queues: Mutex<Vec<Weak<Queue>>>,
    closing: AtomicBool,
    close_called: Notify,
}

/// On a cache line of its own: librdkafka's threads count here while writers read the limiter's address.
#[derive(Default)]
#[repr(align(128))]
struct SentTotal(AtomicU64);

impl Valve {
    /// A valve that no agent drives, limited to `limit` until its driver says otherwise: for tests, and for rates that
    /// are decided elsewhere.
    #[must_use]
    pub fn manual(name: impl Into<ValveName>, limit: RateLimit) -> (Self, ValveDriver) {
        Self::new(limit, DEFAULT_BURST, undecided(name.into(), limit))
    }

    /// A valve whose name is that of `first`, its record until the first decision, limited to `limit` from the
    /// start. `burst` is how much of the rate may be saved up while nobody writes, in time.
    pub(crate) fn new(limit: RateLimit, burst: Duration, first: TickRecord) -> (Self, ValveDriver) {
        let name = first.valve.clone();
        let (sender, latest) = watch::channel(Arc::new(first));
        let inner = Arc::new(Inner {
            name,
            limiter: Limiter::new(limit, burst),
            latest,
            sent: SentTotal::default(),
            queues: Mutex::new(Vec::new()),
            closing: AtomicBool::new(false),
            close_called: Notify::new(),
        });
        let valve = Self { inner: Arc::clone(&inner), _keep_alive: None };
        (valve, ValveDriver { inner, latest: sender })
    }

    /// The same valve, whose handles, from here on, keep `guard`: it is dropped with the last of them, and should
    /// then stop whatever drives the valve.
    #[must_use]
    pub fn with_keep_alive(mut self, guard: Arc<dyn Any + Send + Sync>) -> Self {
        self._keep_alive = Some(guard);
        self
    }

    /// The valve's name.
    #[must_use]
    pub fn name(&self) -> &ValveName {
        &self.inner.name
    }

    /// Waits until `n` messages may be written, and counts them as sent. First come, first served.
    ///
    /// Dropping the future before it is ready takes nothing. While a person has paused the valve, it waits.
    pub async fn acquire(&self, n: u64) {
        self.inner.limiter.acquire(n).await;
        self.report_sent(n);
    }

    /// Takes permission for `n` messages and counts them as sent, or says when to come back.
    ///
    /// # Errors
    /// [`Throttled`] when the rate is used up or others wait; nothing is taken then.
    pub fn try_acquire(&self, n: u64) -> Result<(), Throttled> {
        self.inner.limiter.try_acquire(n).map_err(|refused| self.throttled(refused))?;
        self.report_sent(n);
        Ok(())
    }

    /// The latest turn of the loop: rates, groups, and the reason that rules.
    #[must_use]
    pub fn state(&self) -> Arc<TickRecord> {
        self.inner.latest.borrow().clone()
    }

    /// Every turn of the loop from now on. Ends when whatever drives the valve has stopped.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<TickRecord>> {
        self.inner.latest.clone()
    }

    /// The limiter. What is taken from it directly is not counted as sent: see [`Valve::report_sent`].
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.inner.limiter
    }

    /// Counts `n` messages as written: for writers that take permits from [`Valve::limiter`] and learn later
    /// what was acknowledged. What is not reported is taken for live traffic.
    #[inline]
    pub fn report_sent(&self, n: u64) {
        self.inner.sent.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Whether something drives the valve. If not, its last limit stays in force.
    #[must_use]
    pub fn is_driven(&self) -> bool {
        self.inner.latest.has_changed().is_ok()
    }

    /// Stops whatever drives the valve, for all its handles, and waits until it has stopped (at most 5 s).
    /// The last limit stays in force. Producers on the valve are closed on their own, and first.
    pub async fn close(&self) {
        self.inner.closing.store(true, Ordering::SeqCst);
        self.inner.close_called.notify_waiters();
        let mut latest = self.subscribe();
        let stopped = async { while latest.changed().await.is_ok() {} };
        if tokio::time::timeout(CLOSE_PATIENCE, stopped).await.is_err() {
            tracing::warn!(valve = %self.inner.name, "whatever drives the valve did not stop in 5 s");
        }
    }

    /// The limiter's refusal, with the reason that rules now.
    pub(super) fn throttled(&self, refused: limiter::Throttled) -> Throttled {
        let reason = match refused.ruled_by {
            RuledBy::Bytes => BoundBy::MaxBytes,
            RuledBy::Messages | RuledBy::Pause => self.inner.latest.borrow().bound_by,
        };
        Throttled { retry_after: refused.retry_after, reason }
    }

    /// From now on the bounds of `queue` follow the valve's limit.
    pub(super) fn attach(&self, queue: &Arc<Queue>) {
        let mut queues = self.inner.queues();
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(queue));
        queue.set_limit(self.inner.limiter.limit());
    }
}

impl ValveDriver {
    /// A handle of the valve that does not keep its driver alive.
    #[must_use]
    pub fn valve(&self) -> Valve {
        Valve { inner: Arc::clone(&self.inner), _keep_alive: None }
    }

    /// Puts a limit in force, in messages/s, for permits and for the records that producers may have on the way.
    pub fn set_limit(&self, limit: RateLimit) {
        let queues = self.inner.queues();
        self.inner.limiter.set_limit(limit);
        for queue in queues.iter().filter_map(Weak::upgrade) {
            queue.set_limit(limit);
        }
    }

    /// Puts a second limit in force, in bytes/s of keys, values and headers; `None`, or what is no rate, for none.
    pub fn set_byte_limit(&self, limit: Option<f64>) {
        self.inner.limiter.set_byte_limit(limit.and_then(ByteRate::new));
    }

    /// Makes `record` the valve's state.
    pub fn publish(&self, record: TickRecord) {
        self.latest.send_replace(Arc::new(record));
    }

    /// Messages acknowledged to producers, granted by [`Valve::acquire`] and reported, since the start. Never falls.
    #[must_use]
    pub fn sent_total(&self) -> u64 {
        self.inner.sent.0.load(Ordering::Relaxed)
    }

    /// What writers want and got.
    #[must_use]
    pub fn demand(&self) -> Demand {
        let queues: Vec<_> = self.inner.queues().iter().filter_map(Weak::upgrade).collect();
        Demand {
            waiting: self.inner.limiter.waiting() + queues.iter().map(|queue| queue.waiting()).sum::<usize>(),
            on_the_way: queues.iter().map(|queue| queue.load().messages).sum(),
            granted_total: self.inner.limiter.granted_total(),
            sent_total: self.sent_total(),
        }
    }

    /// Ready once [`Valve::close`] was called.
    pub async fn closing(&self) {
        let called = self.inner.close_called.notified();
        tokio::pin!(called);
        called.as_mut().enable();
        if !self.inner.closing.load(Ordering::SeqCst) {
            called.await;
        }
    }
}

impl Inner {
    fn queues(&self) -> MutexGuard<'_, Vec<Weak<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Valve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Valve")
            .field("name", &self.name)
            .field("limit", &self.limiter.limit())
            .field("sent", &self.sent.0)
            .finish_non_exhaustive()
    }
}

/// The record of a valve for which nothing was decided yet.
fn undecided(valve: ValveName, limit: RateLimit) -> TickRecord {
    TickRecord {
        v: 1,
        seq: 0,
        at: SystemClock.unix_millis(),
        mono_ms: SystemClock.now().as_millis(),
        valve,
        mode: Mode::Enforce,
        config_id: None,
        groups: Vec::new(),
        production: None,
        live: None,
        terms: None,
        rate_unbounded: limit,
        rate_decided: limit,
        rate_allocated: limit,
        rate_applied: None,
        bound_by: if limit.is_unlimited() { BoundBy::Unlimited } else { BoundBy::Pinned },
        causes: Vec::new(),
        advice: None,
        eta_seconds: None,
        signal_age_seconds: None,
        explain: format!("limited to {limit} by hand"),
        input: None,
        config: None,
    }
}

/// Polls give up sooner than this (guessed).
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_is_acquired_counts_as_sent_and_what_is_refused_does_not() {
        let (valve, driver) = Valve::manual("orders", RateLimit::Unlimited);
        valve.acquire(3).await;
        valve.try_acquire(4).unwrap();
        valve.report_sent(5);
        assert_eq!(driver.sent_total(), 12);
        assert_eq!(driver.demand().granted_total, 7);

        driver.set_limit(RateLimit::PAUSED);
        driver.publish(TickRecord { bound_by: BoundBy::Paused, ..undecided("orders".into(), RateLimit::PAUSED) });
        let mut waiting = Box::pin(valve.acquire(1));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(driver.demand().waiting, 1);
        let refused = valve.try_acquire(1).unwrap_err();
        assert_eq!(refused.reason, BoundBy::Paused);
        assert!(refused.to_string().ends_with("a person paused the valve"), "{refused}");
        drop(waiting);
        assert_eq!((driver.demand().waiting, driver.sent_total()), (0, 12));
    }

    #[tokio::test]
    async fn readers_see_what_was_published_until_the_driver_is_gone() {
        let (valve, driver) = Valve::manual("orders", RateLimit::Unlimited);
        let mut records = valve.subscribe();
        driver.publish(TickRecord { seq: 7, ..undecided("orders".into(), RateLimit::Unlimited) });
        records.changed().await.unwrap();
        assert_eq!((records.borrow().seq, valve.state().seq, valve.name().as_str()), (7, 7, "orders"));
        drop(driver);
        assert!(records.changed().await.is_err());
        assert!(!valve.is_driven());
        assert_eq!(valve.state().seq, 7);
    }

    #[tokio::test]
    async fn the_last_handle_and_close_stop_what_drives() {
        let guard = Arc::new(());
        let (valve, driver) = Valve::manual("orders", RateLimit::Unlimited);
        let valve = valve.with_keep_alive(Arc::clone(&guard) as _);
        let (other, unguarded) = (valve.clone(), driver.valve());
        drop(valve);
        assert_eq!(Arc::strong_count(&guard), 2);
        let agent = tokio::spawn(async move { driver.closing().await });
        other.close().await;
        agent.await.unwrap();
        drop(other);
        assert_eq!(Arc::strong_count(&guard), 1);
        assert_eq!(unguarded.try_acquire(1), Ok(()));
    }
}
