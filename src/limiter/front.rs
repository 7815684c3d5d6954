//! The async front: `acquire` waits its turn, `try_acquire` never waits.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::bucket::NotYet;
use super::budget::{ByteRate, Cost, RuledBy};
use super::leased::LeasedLimiter;
use super::queue::Standing;
use super::shared::{Refused, Shared};
use crate::clock::{Clock, Instant, SystemClock};
use crate::units::RateLimit;

/// A rate that many tasks share, fairly, and that may change at any time. Clones share it.
///
/// What it promises about the rate stands in the [module](super). Callers are served in order of arrival; a large request
/// is not overtaken. No task is spawned and no runtime is needed, except tokio's timer for an `acquire` that has to wait.
///
/// ```
/// use std::time::Duration;
/// use lagvalve::{limiter::{DEFAULT_BURST, Limiter}, units::RateLimit};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let limiter = Limiter::new(RateLimit::from_f64(1_000.0).unwrap(), DEFAULT_BURST);
/// limiter.acquire(3).await; // waits 2 ms: it starts with credit for one message
/// let refused = limiter.try_acquire(50).unwrap_err();
/// assert!(refused.retry_after <= Duration::from_millis(50));
/// limiter.set_limit(RateLimit::Unlimited);
/// assert!(limiter.try_acquire(50).is_ok());
/// # }
/// ```
#[derive(Clone)]
pub struct Limiter {
    shared: Arc<Shared>,
}

/// There is no permit now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("throttled: come back in {} ms", retry_after.as_millis().max(1))]
pub struct Throttled {
    /// When the same request would pass, if nothing changes; above zero. While paused nobody knows: one second.
    pub retry_after: Duration,
    /// The limit that has to be waited for longest.
    pub ruled_by: RuledBy,
}

impl Limiter {
    /// A limiter with credit for one message. `burst` is a time, see [`Bucket::new`](super::Bucket::new); take
    /// [`DEFAULT_BURST`](super::DEFAULT_BURST).
    #[must_use]
    pub fn new(limit: RateLimit, burst: Duration) -> Self {
        Self::with_clock(limit, burst, Arc::new(SystemClock))
    }

    /// The same on another clock, which should run as fast as the timer of the runtime: see [`TokioClock`].
    #[must_use]
    pub fn with_clock(limit: RateLimit, burst: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::new(Shared::new(limit, burst, clock)) }
    }

    /// Changes the rate, without burst or pause. Waiters that may go now are woken before it returns.
    pub fn set_limit(&self, limit: RateLimit) {
        self.shared.change(|queue, now| queue.budget.set_limit(now, limit));
    }

    /// The rate in force.
    #[must_use]
    pub fn limit(&self) -> RateLimit {
        self.shared.limit()
    }

    /// Changes the second limit; `None` lifts it. Only requests that say their size are charged.
    pub fn set_byte_limit(&self, limit: Option<ByteRate>) {
        self.shared.change(|queue, now| queue.budget.set_byte_limit(now, limit));
    }

    /// The second limit.
    #[must_use]
    pub fn byte_limit(&self) -> Option<ByteRate> {
        self.shared.byte_limit()
    }

    /// Waits for `n` messages. Zero are granted at once.
    ///
    /// Cancel-safe: a future that is dropped leaves the queue, the others keep their places, and what was granted but not
    /// yet returned to the caller is given back.
    ///
    /// # Panics
    /// When it has to wait and there is no tokio runtime with a timer.
    #[inline]
    pub async fn acquire(&self, n: u64) {
        self.acquire_sized(n, 0).await;
    }

    /// Waits for `n` messages of together `bytes`. As [`Limiter::acquire`].
    ///
    /// # Panics
    /// As [`Limiter::acquire`].
    #[inline]
    pub async fn acquire_sized(&self, n: u64, bytes: u64) {
        if self.shared.is_open() {
            self.shared.count_open(n);
            return;
        }
        // A task that never has to wait yields now and then, so that the others get their share.
        tokio::task::coop::consume_budget().await;
        if bytes == 0 && self.shared.take_pooled(n) {
            return;
        }
        self.wait(Cost { messages: n, bytes }).await;
    }

    /// Takes `n` messages now, or none. Does not overtake those who wait.
    ///
    /// # Errors
    /// [`Throttled`]: when to ask again.
    #[inline]
    pub fn try_acquire(&self, n: u64) -> Result<(), Throttled> {
        self.try_acquire_sized(n, 0)
    }

    /// Takes `n` messages of together `bytes` now, or none.
    ///
    /// # Errors
    /// As [`Limiter::try_acquire`].
    #[inline]
    pub fn try_acquire_sized(&self, n: u64, bytes: u64) -> Result<(), Throttled> {
        if self.shared.is_open() {
            self.shared.count_open(n);
            return Ok(());
        }
        if bytes == 0 && self.shared.take_pooled(n) {
            return Ok(());
        }
        self.shared.try_take(Cost { messages: n, bytes }, None).map_err(Throttled::from)
    }

    /// Gives back what was granted and not used, up to a full burst. Not subtracted from [`Limiter::granted_total`].
    pub fn give_back(&self, n: u64, bytes: u64) {
        self.shared.give_back(Cost { messages: n, bytes });
    }

    /// A handle for one thread, which takes permits in small blocks: a grant costs a few nanoseconds.
    #[must_use]
    pub fn leased(&self) -> LeasedLimiter {
        LeasedLimiter::new(Arc::clone(&self.shared))
    }

    /// How many callers wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting()
    }

    /// Messages granted since the start, also without a limit; never falls.
    #[must_use]
    pub fn granted_total(&self) -> u64 {
        self.shared.granted()
    }

    /// Seconds during which at least one caller waited, since the start; never falls. Its growth per second is the share
    /// of time throttled. Refusals of `try_acquire` do not count.
    #[must_use]
    pub fn throttled_seconds(&self) -> f64 {
        self.shared.throttled().as_secs_f64()
    }

    #[cold]
    async fn wait(&self, cost: Cost) {
        let mut ticket = self.shared.ticket(cost, None);
        // The first look comes before the timer, which needs a runtime.
        let first = poll_fn(|cx| Poll::Ready(ticket.poll(cx.waker()))).await;
        if matches!(first, Standing::Granted) {
            return;
        }
        let mut standing = Some(first);
        let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
        poll_fn(|cx| {
            loop {
                match standing.take().unwrap_or_else(|| ticket.poll(cx.waker())) {
                    Standing::Granted => return Poll::Ready(()),
                    Standing::UntilWoken => return Poll::Pending,
                    Standing::For(time) => sleep.as_mut().reset(tokio::time::Instant::now() + time),
                }
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("limit", &self.limit())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl From<Refused> for Throttled {
    fn from(refused: Refused) -> Self {
        let retry_after = match refused.refusal.ready {
            NotYet::Until(at) => at.since(refused.now).max(Duration::from_nanos(1)),
            NotYet::Paused => RETRY_WHILE_PAUSED,
        };
        Self { retry_after, ruled_by: refused.refusal.ruled_by }
    }
}

/// The clock of the tokio runtime, which stands still and jumps under `tokio::time::pause`.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that starts at one hour, now. Instants of different `TokioClock`s must not be compared.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant::from_seconds(3600.0) + tokio::time::Instant::now().duration_since(self.origin)
    }

    fn unix_millis(&self) -> u64 {
        SystemClock.unix_millis()
    }
}

/// A pause ends when a person ends it; once a second is soon enough to see it.
const RETRY_WHILE_PAUSED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Waker};

    use futures::FutureExt as _;
    use tokio::time::{advance, sleep};

    use super::super::DEFAULT_BURST;
    use super::*;

    fn at(rate: f64) -> RateLimit {
        RateLimit::from_f64(rate).unwrap()
    }

    /// On paused tokio time; the credit of the start is spent.
    fn busy(rate: f64) -> Limiter {
        let limiter = Limiter::with_clock(at(rate), DEFAULT_BURST, Arc::new(TokioClock::start()));
        let _ = limiter.try_acquire(1);
        limiter
    }

    fn poll_once<F: Future<Output = ()>>(future: Pin<&mut F>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Runs `tasks` that only acquire, for `time`; returns what was granted in it.
    async fn granted_by(limiter: &Limiter, tasks: usize, time: Duration) -> u64 {
        let before = limiter.granted_total();
        let work: Vec<_> = (0..tasks)
            .map(|_| {
                let limiter = limiter.clone();
                tokio::spawn(async move {
                    loop {
                        limiter.acquire(1).await;
                    }
                })
            })
            .collect();
        sleep(time).await;
        work.iter().for_each(tokio::task::JoinHandle::abort);
        limiter.granted_total() - before
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_held_from_a_tenth_to_a_million_per_second() {
        for (rate, tasks) in
            [(0.1, 1), (0.1, 8), (1.0, 3), (7.5, 1), (400.0, 1), (1_000.0, 64), (12_345.6, 5), (1e6, 1), (1e6, 64)]
        {
            let limiter = busy(rate);
            let seconds = (100.0 / rate).max(1.0);
            let granted = granted_by(&limiter, tasks, Duration::from_secs_f64(seconds)).await as f64;
            // At the end one message, or what the next tick would have fetched, is still to come.
            let slack = 1.0 + rate * 0.004;
            let expected = rate * seconds;
            assert!((granted - expected).abs() <= 0.005 * expected + slack, "{rate}/s × {tasks}: {granted}");
            assert!(granted <= expected + rate * 0.02 + 1.0, "{rate}/s × {tasks}: {granted}");
            sleep(Duration::from_millis(1)).await;
            assert_eq!(limiter.waiting(), 0, "aborted tasks have left");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_share_fairly() {
        let limiter = busy(1_000.0);
        let counts = Arc::new(Mutex::new([0u32; 8]));
        for task in 0..8 {
            let (limiter, counts) = (limiter.clone(), Arc::clone(&counts));
            tokio::spawn(async move {
                loop {
                    limiter.acquire(1).await;
                    counts.lock().unwrap()[task] += 1;
                }
            });
        }
        sleep(Duration::from_secs(10)).await;
        let counts = *counts.lock().unwrap();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= most / 20, "{counts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_served_in_order_of_arrival_whatever_their_size() {
        let limiter = busy(100.0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let sizes = [1, 50, 1, 300, 2, 1];
        let work: Vec<_> = sizes
            .into_iter()
            .enumerate()
            .map(|(place, n)| {
                let (limiter, order) = (limiter.clone(), Arc::clone(&order));
                tokio::spawn(async move {
                    limiter.acquire(n).await;
                    order.lock().unwrap().push(place);
                })
            })
            .collect();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(limiter.waiting(), sizes.len());
        assert!(limiter.try_acquire(1).unwrap_err().retry_after > Duration::from_secs(3), "behind all who wait");
        let start = tokio::time::Instant::now();
        futures::future::join_all(work).await;
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
        let took = start.elapsed().as_secs_f64();
        assert!((3.5..3.6).contains(&took), "355 messages at 100/s in virtual time: {took}");
        assert!((limiter.throttled_seconds() - took).abs() < 0.01);
    }

    #[tokio::test(start_paused = true)]
    async fn a_raise_wakes_those_who_wait_for_an_old_deadline() {
        let limiter = busy(0.1);
        let waiter = tokio::spawn({
            let limiter = limiter.clone();
            async move { limiter.acquire(5).await }
        });
        sleep(Duration::from_secs(1)).await;
        let raised = tokio::time::Instant::now();
        limiter.set_limit(at(1_000.0));
        waiter.await.unwrap();
        assert!(raised.elapsed() < Duration::from_millis(20), "virtual time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_all_and_its_end_lets_them_go_on_without_a_burst() {
        let limiter = busy(1_000.0);
        limiter.set_limit(RateLimit::PAUSED);
        let refused = limiter.try_acquire(1).unwrap_err();
        assert_eq!((refused.ruled_by, refused.retry_after), (RuledBy::Pause, Duration::from_secs(1)));
        assert_eq!(granted_by(&limiter, 4, Duration::from_secs(86_400)).await, 0);
        tokio::task::yield_now().await;
        limiter.set_limit(at(1_000.0));
        let granted = granted_by(&limiter, 4, Duration::from_secs(1)).await;
        assert!((990..=1_001).contains(&granted), "{granted}");
        limiter.set_limit(RateLimit::PAUSED);
        let waiter = tokio::spawn({
            let limiter = limiter.clone();
            async move { limiter.acquire(1_000_000).await }
        });
        sleep(Duration::from_secs(1)).await;
        limiter.set_limit(RateLimit::Unlimited);
        waiter.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_does_not_cost_the_others_their_turn() {
        let limiter = busy(10.0);
        let mut head = Box::pin(limiter.acquire(1));
        let mut second = Box::pin(limiter.acquire(1));
        let third = tokio::spawn({
            let limiter = limiter.clone();
            async move { limiter.acquire(1).await }
        });
        assert!(!poll_once(head.as_mut()));
        assert!(!poll_once(second.as_mut()));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(limiter.waiting(), 3);
        drop(second);
        drop(head);
        assert_eq!(limiter.waiting(), 1);
        let start = tokio::time::Instant::now();
        third.await.unwrap();
        assert!(start.elapsed() <= Duration::from_millis(102), "virtual time: {:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_request_that_gives_up_leaves_no_burst() {
        let limiter = busy(1_000.0);
        let mut large = Box::pin(limiter.acquire(10_000));
        assert!(!poll_once(large.as_mut()));
        advance(Duration::from_secs(9)).await;
        assert!(!poll_once(large.as_mut()));
        drop(large);
        let at_once = (0..).take_while(|_| limiter.try_acquire(1).is_ok()).count();
        assert!(at_once <= 21, "{at_once}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_grant_that_is_not_collected_is_given_back() {
        let limiter = busy(10.0);
        let mut first = Box::pin(limiter.acquire(1));
        let mut second = Box::pin(limiter.acquire(1));
        assert!(!poll_once(first.as_mut()));
        assert!(!poll_once(second.as_mut()));
        advance(Duration::from_millis(110)).await;
        assert!(!poll_once(second.as_mut()), "serves the first");
        assert_eq!(limiter.waiting(), 1);
        drop(first);
        assert!(poll_once(second.as_mut()), "has what the first gave back");
        assert_eq!(limiter.granted_total(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_is_not_polled_holds_up_nobody() {
        let limiter = busy(10.0);
        let mut kept_aside = Box::pin(limiter.acquire(1));
        assert!(!poll_once(kept_aside.as_mut()));
        let start = tokio::time::Instant::now();
        for _ in 0..10 {
            limiter.acquire(1).await;
        }
        let took = start.elapsed();
        assert!(took < Duration::from_millis(1_300), "11 messages at 10/s in virtual time: {took:?}");
        kept_aside.await;
        assert_eq!(limiter.granted_total(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_a_second_limit() {
        let limiter = busy(1_000.0);
        limiter.set_byte_limit(ByteRate::new(10_000.0));
        let start = tokio::time::Instant::now();
        for _ in 0..100 {
            limiter.acquire_sized(1, 1_000).await;
        }
        let took = start.elapsed().as_secs_f64();
        assert!((9.9..10.1).contains(&took), "100,000 bytes at 10,000/s in virtual time: {took}");
        assert_eq!(limiter.try_acquire_sized(1, 1_000).unwrap_err().ruled_by, RuledBy::Bytes);
        assert!(limiter.try_acquire(1).is_ok(), "no size, no charge");
        limiter.set_limit(RateLimit::Unlimited);
        assert!(limiter.try_acquire_sized(1, 1_000).is_err(), "the other limit still holds");
        limiter.set_byte_limit(None);
        assert!(limiter.try_acquire_sized(1_000, 1_000_000).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_goes_to_those_who_wait() {
        let limiter = busy(0.1);
        let mut waiter = Box::pin(limiter.acquire(1));
        assert!(!poll_once(waiter.as_mut()));
        limiter.give_back(1, 0);
        assert!(poll_once(waiter.as_mut()));
    }

    #[test]
    fn no_runtime_is_needed_unless_somebody_has_to_wait() {
        let limiter = Limiter::new(at(1.0), DEFAULT_BURST);
        assert_eq!(limiter.acquire(1).now_or_never(), Some(()));
        assert!(limiter.try_acquire(1).is_err());
        limiter.set_limit(RateLimit::Unlimited);
        assert_eq!(limiter.acquire(1_000).now_or_never(), Some(()));
        assert_eq!(limiter.try_acquire(10), Ok(()));
        assert_eq!(limiter.granted_total(), 1_011);
        assert_eq!(limiter.limit(), RateLimit::Unlimited);
    }
}
