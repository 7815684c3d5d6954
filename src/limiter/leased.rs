//! The sync front: a handle for one thread.

use std::fmt;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread, ThreadId};

use super::budget::Cost;
use super::front::Throttled;
use super::loan::Block;
use super::queue::Standing;
use super::shared::Shared;

/// A limiter's handle for one thread, made by [`Limiter::leased`](super::Limiter::leased).
///
/// It borrows up to one millisecond of the rate at a time, so that most grants are one atomic operation on memory of its
/// own; below 2,000/s it borrows nothing. What it borrowed and has not used is taken back on every change of the rate, and
/// on drop. All handles together hold at most half of the burst, inside the bound that the [module](super) promises.
///
/// ```
/// use lagvalve::{limiter::{DEFAULT_BURST, Limiter}, units::RateLimit};
///
/// let limiter = Limiter::new(RateLimit::from_f64(50_000.0).unwrap(), DEFAULT_BURST);
/// let mut handle = limiter.leased();
/// for _ in 0..100 {
///     handle.acquire(1); // blocks this thread for 2 ms in all
/// }
/// assert_eq!(limiter.granted_total(), 100);
/// ```
pub struct LeasedLimiter {
    shared: Arc<Shared>,
    block: Arc<Block>,
    /// Unparks the thread that waited last; kept, so that a wait allocates nothing.
    waker: Option<(ThreadId, Waker)>,
}

impl LeasedLimiter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let block = shared.lend_block();
        Self { shared, block, waker: None }
    }

    /// Takes `n` messages now, or none. Does not overtake those who wait, except out of what it has borrowed before.
    ///
    /// # Errors
    /// [`Throttled`]: when to ask again.
    #[inline]
    pub fn try_acquire(&mut self, n: u64) -> Result<(), Throttled> {
        self.try_acquire_sized(n, 0)
    }

    /// Takes `n` messages of together `bytes` now, or none.
    ///
    /// # Errors
    /// As [`LeasedLimiter::try_acquire`].
    #[inline]
    pub fn try_acquire_sized(&mut self, n: u64, bytes: u64) -> Result<(), Throttled> {
        if self.take_at_once(n, bytes) {
            return Ok(());
        }
        self.shared.try_take(Cost { messages: n, bytes }, Some(&self.block)).map_err(Throttled::from)
    }

    /// Blocks this thread until `n` messages are granted, in order of arrival among all who wait.
    ///
    /// Not to be called in an async task: it parks the thread. It does not spin.
    #[inline]
    pub fn acquire(&mut self, n: u64) {
        self.acquire_sized(n, 0);
    }

    /// Blocks this thread until `n` messages of together `bytes` are granted.
    #[inline]
    pub fn acquire_sized(&mut self, n: u64, bytes: u64) {
        if !self.take_at_once(n, bytes) {
            self.park_until_granted(Cost { messages: n, bytes });
        }
    }

    #[inline]
    fn take_at_once(&self, n: u64, bytes: u64) -> bool {
        if bytes == 0 && self.block.take(n) {
            return true;
        }
        let open = self.shared.is_open();
        if open {
            self.block.count_open(n);
        }
        open
    }

    #[cold]
    fn park_until_granted(&mut self, cost: Cost) {
        let thread = thread::current();
        let kept = self.waker.take().filter(|(id, _)| *id == thread.id());
        let (_, waker) =
            self.waker.insert(kept.unwrap_or_else(|| (thread.id(), Waker::from(Arc::new(Unparker(thread))))));
        let mut ticket = self.shared.ticket(cost, Some(&self.block));
        loop {
            match ticket.poll(waker) {
                Standing::Granted => return,
                Standing::For(time) => thread::park_timeout(time),
                Standing::UntilWoken => thread::park(),
            }
        }
    }
}

impl Drop for LeasedLimiter {
    fn drop(&mut self) {
        self.shared.end_block(&self.block);
    }
}

impl fmt::Debug for LeasedLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedLimiter").field("limit", &self.shared.limit()).finish_non_exhaustive()
    }
}

struct Unparker(Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Duration;

    use super::super::{DEFAULT_BURST, Limiter};
    use super::*;
    use crate::clock::{Instant, ManualClock};
    use crate::units::RateLimit;

    fn at(rate: f64) -> RateLimit {
        RateLimit::from_f64(rate).unwrap()
    }

    /// A limiter whose bucket is full, on a clock that stands.
    fn full(rate: f64) -> (Limiter, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Instant::from_seconds(3600.0)));
        let limiter = Limiter::with_clock(at(rate), DEFAULT_BURST, clock.clone());
        clock.advance(Duration::from_secs(100));
        (limiter, clock)
    }

    fn drain(handle: &mut LeasedLimiter) -> u64 {
        (0..).take_while(|_| handle.try_acquire(1).is_ok()).count() as u64
    }

    #[test]
    fn handles_together_get_what_the_bucket_holds_and_no_more() {
        let (limiter, _clock) = full(1_000_000.0);
        let (mut a, mut b) = (limiter.leased(), limiter.leased());
        assert!(b.try_acquire(1).is_ok(), "b now holds a block");
        let from_a = drain(&mut a);
        assert!(from_a < 20_000);
        assert_eq!(limiter.granted_total(), from_a + 1);
        drop(b);
        assert_eq!(from_a + 1 + drain(&mut a), 20_001);
    }

    #[test]
    fn a_cut_takes_back_what_is_on_loan() {
        let (limiter, _clock) = full(1_000_000.0);
        let mut handle = limiter.leased();
        assert!(handle.try_acquire(1).is_ok());
        limiter.set_limit(at(100.0));
        assert!(drain(&mut handle) <= 3);
        limiter.set_limit(RateLimit::PAUSED);
        assert!(handle.try_acquire(1).is_err());
        limiter.set_limit(RateLimit::Unlimited);
        assert_eq!(handle.try_acquire(1_000_000), Ok(()));
    }

    #[test]
    fn an_idle_handle_does_not_raise_the_burst() {
        let (limiter, clock) = full(1_000_000.0);
        let (mut idle, mut busy) = (limiter.leased(), limiter.leased());
        assert!(idle.try_acquire(1).is_ok());
        clock.advance(Duration::from_secs(100));
        assert!(drain(&mut busy) + drain(&mut idle) <= 20_001);
    }

    #[test]
    fn at_low_rates_every_message_is_weighed() {
        let (limiter, clock) = full(0.1);
        let mut handle = limiter.leased();
        drain(&mut handle);
        let mut granted = 0;
        for _ in 0..10_000 {
            clock.advance(Duration::from_millis(100));
            granted += drain(&mut handle);
        }
        assert_eq!(granted, 100);
    }

    #[test]
    fn a_request_larger_than_the_burst_passes_though_others_hold_loans() {
        let (limiter, _clock) = full(10_000.0);
        let (mut a, mut b) = (limiter.leased(), limiter.leased());
        assert!(a.try_acquire(1).is_ok());
        assert!(limiter.try_acquire(1).is_ok());
        limiter.give_back(2, 0);
        assert_eq!(b.try_acquire(100_000), Ok(()));
        assert!(limiter.try_acquire(1).is_err(), "a debt");
    }

    #[test]
    fn nothing_is_lost_or_made_up_between_threads() {
        let (limiter, _clock) = full(1_000_000.0);
        let (stop, granted) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut handle = limiter.leased();
                    while !stop.load(Ordering::Relaxed) {
                        granted.fetch_add(drain(&mut handle), Ordering::Relaxed);
                        if handle.try_acquire(3).is_ok() {
                            granted.fetch_add(3, Ordering::Relaxed);
                        }
                        if limiter.try_acquire(1).is_ok() {
                            granted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            for _ in 0..2_000 {
                // The same rate: takes all loans back, and no credit is clamped.
                limiter.set_limit(at(1_000_000.0));
            }
            stop.store(true, Ordering::Relaxed);
        });
        granted.fetch_add(drain(&mut limiter.leased()), Ordering::Relaxed);
        assert_eq!(granted.load(Ordering::Relaxed), 20_001, "the clock stands: one bucket full");
        assert_eq!(limiter.granted_total(), 20_001);
    }

    #[test]
    fn a_blocked_thread_goes_on_when_its_turn_comes_or_the_rate_changes() {
        let limiter = Limiter::new(RateLimit::PAUSED, DEFAULT_BURST);
        thread::scope(|scope| {
            let blocked = scope.spawn(|| limiter.leased().acquire(500));
            while limiter.waiting() == 0 {
                thread::yield_now();
            }
            limiter.set_limit(at(10_000.0));
            blocked.join().unwrap();
            let blocked = scope.spawn(|| {
                let mut handle = limiter.leased();
                (0..300).for_each(|_| handle.acquire(1));
            });
            blocked.join().unwrap();
        });
        assert_eq!(limiter.granted_total(), 800);
        assert_eq!(limiter.waiting(), 0);
    }
}
