//! Messages on loan: what a borrower may take by one atomic operation, without lock or clock.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A block of messages on loan to one borrower (a leased front, or all async callers together).
///
/// Orderings are relaxed throughout: the numbers guard no other memory, and every change of `lent` is under the lock.
#[derive(Default)]
#[repr(align(128))] // two cache lines: processors fetch the neighbour too
pub(super) struct Block {
    left: AtomicU64,
    /// How many were lent; changed under the limiter's lock only.
    lent: AtomicU64,
    /// Granted while there was no limit. One writer: the borrower.
    open_grants: AtomicU64,
}

impl Block {
    /// Takes `n` if they are here.
    #[inline]
    pub(super) fn take(&self, n: u64) -> bool {
        let mut left = self.left.load(Ordering::Relaxed);
        while left >= n && left != OPEN {
            match self.left.compare_exchange_weak(left, left - n, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => left = now,
            }
        }
        false
    }

    /// Whether there is no limit.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.left.load(Ordering::Relaxed) == OPEN
    }

    /// No limit from now on. Nothing may be on loan.
    pub(super) fn open(&self) {
        self.left.store(OPEN, Ordering::Relaxed);
    }

    /// Fills an empty block.
    pub(super) fn fill(&self, lent: u64) {
        self.lent.store(lent, Ordering::Relaxed);
        self.left.store(lent, Ordering::Relaxed);
    }

    /// Empties the block, ends its being open. Returns what was lent and what of it is unused.
    pub(super) fn reclaim(&self) -> Loan {
        let left = self.left.swap(0, Ordering::Relaxed);
        let lent = self.lent.swap(0, Ordering::Relaxed);
        Loan { lent, unused: if left == OPEN { 0 } else { left } }
    }

    /// Counts a grant without a limit. Only the borrower may call it, so that a load and a store are enough.
    #[inline]
    pub(super) fn count_open(&self, n: u64) {
        self.open_grants.store(self.open_grants.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Granted without a limit, since the start.
    pub(super) fn open_grants(&self) -> u64 {
        self.open_grants.load(Ordering::Relaxed)
    }

    /// Granted of the loan that is running.
    pub(super) fn used(&self) -> u64 {
        let left = self.left.load(Ordering::Relaxed);
        if left == OPEN { 0 } else { self.lent.load(Ordering::Relaxed).saturating_sub(left) }
    }
}

/// A loan that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loan {
    pub(super) lent: u64,
    pub(super) unused: u64,
}

/// A counter that many threads add to without sharing a cache line, as long as there are few of them.
#[derive(Default)]
pub(super) struct StripedCounter([Stripe; STRIPES]);

#[derive(Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

impl StripedCounter {
    #[inline]
    pub(super) fn add(&self, n: u64) {
        let own = OWN_STRIPE.get();
        let own = if own < STRIPES { own } else { assign_stripe() };
        self.0[own].0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, stripe| sum.wrapping_add(stripe.0.load(Ordering::Relaxed)))
    }
}

#[cold]
fn assign_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let own = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    OWN_STRIPE.set(own);
    own
}

thread_local! {
    static OWN_STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// What `left` says when there is no limit.
const OPEN: u64 = u64::MAX;

/// Guessed: as many threads as produce at full speed in one process; more of them share.
const STRIPES: usize = 16;
