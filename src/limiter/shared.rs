//! One limiter behind its fronts: the lock, the clock, and the two ways past the lock.
//!
//! Nobody is spawned. Every waiter sleeps to a deadline of its own and, whenever it wakes, serves everybody whose turn has
//! come. In the normal case the head of the queue does that for all; the deadlines of the others stand a little behind,
//! so that a head that is not polled (a future kept aside) holds nobody up for long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::budget::{ByteRate, Cost, Refusal};
use super::loan::{Block, StripedCounter};
use super::queue::{Queue, Standing, Wakes};
use crate::clock::{Clock, Instant};
use crate::units::RateLimit;

pub(super) struct Shared {
    /// On loan to all async callers together, or open. Empty while somebody waits.
    pool: Block,
    /// Granted without a limit to callers without a block.
    open_grants: StripedCounter,
    clock: Arc<dyn Clock>,
    /// How long the head of the queue sleeps at least, so that at high rates one wake-up serves many.
    tick: Duration,
    queue: Mutex<Queue>,
}

impl Shared {
    pub(super) fn new(limit: RateLimit, burst: Duration, clock: Arc<dyn Clock>) -> Self {
        let shared = Self {
            pool: Block::default(),
            open_grants: StripedCounter::default(),
            tick: (burst / 4).min(TICK_MAX),
            queue: Mutex::new(Queue::new(clock.now(), limit, burst)),
            clock,
        };
        shared.change(|_, _| {});
        shared
    }

    /// Whether there is no limit at all: one atomic load.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.pool.is_open()
    }

    /// Counts a grant without a limit, for callers without a block.
    #[inline]
    pub(super) fn count_open(&self, messages: u64) {
        self.open_grants.add(messages);
    }

    /// Takes messages that are on loan to all, without lock or clock.
    #[inline]
    pub(super) fn take_pooled(&self, messages: u64) -> bool {
        self.pool.take(messages)
    }

    /// Takes under the lock, behind those who wait, and fills `block` (without one: the pool) with the next ones.
    pub(super) fn try_take(&self, cost: Cost, block: Option<&Block>) -> Result<(), Refused> {
        let now = self.clock.now();
        let taken = self.lock().take(now, cost, block.unwrap_or(&self.pool), &self.pool);
        taken.map_err(|refusal| Refused { now, refusal })
    }

    /// Waits for `cost`. `block` as in [`Shared::try_take`].
    pub(super) fn ticket<'a>(&'a self, cost: Cost, block: Option<&'a Block>) -> Ticket<'a> {
        Ticket { shared: self, cost, block: block.unwrap_or(&self.pool), id: None }
    }

    /// Changes a limit. All that is on loan comes back first; all who wait look again, for their deadlines are old.
    pub(super) fn change(&self, change: impl FnOnce(&mut Queue, Instant)) {
        let now = self.clock.now();
        let mut wakes = Wakes::default();
        let (more, waiting) = {
            let mut queue = self.lock();
            queue.reclaim(now, &self.pool);
            queue.reclaim_blocks(now);
            change(&mut queue, now);
            let more = self.serve(&mut queue, now, &mut wakes);
            (more, queue.wakers())
        };
        self.finish(wakes, more);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Takes back what was not used.
    pub(super) fn give_back(&self, cost: Cost) {
        self.update(|queue, now, _| queue.budget.give_back(now, cost));
    }

    pub(super) fn lend_block(&self) -> Arc<Block> {
        let block = Arc::new(Block::default());
        self.lock().add_block(Arc::clone(&block));
        block
    }

    pub(super) fn end_block(&self, block: &Arc<Block>) {
        self.update(|queue, now, _| queue.remove_block(now, block));
    }

    pub(super) fn limit(&self) -> RateLimit {
        self.lock().budget.limit()
    }

    pub(super) fn byte_limit(&self) -> Option<ByteRate> {
        self.lock().budget.byte_limit()
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn granted(&self) -> u64 {
        let queue = self.lock();
        queue.granted().wrapping_add(self.pool.used()).wrapping_add(self.open_grants.sum())
    }

    pub(super) fn throttled(&self) -> Duration {
        let now = self.clock.now();
        self.lock().throttled(now)
    }

    /// Something came back or somebody left: then others can be served.
    fn update(&self, update: impl FnOnce(&mut Queue, Instant, &mut Wakes)) {
        let now = self.clock.now();
        let mut wakes = Wakes::default();
        let more = {
            let mut queue = self.lock();
            update(&mut queue, now, &mut wakes);
            self.serve(&mut queue, now, &mut wakes)
        };
        self.finish(wakes, more);
    }

    fn serve(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) -> bool {
        let more = queue.serve(now, wakes);
        if queue.is_open() {
            self.pool.open();
        }
        more
    }

    /// Wakes outside the lock, and goes on serving while there is more than one batch.
    fn finish(&self, mut wakes: Wakes, mut more: bool) {
        loop {
            wakes.fire();
            if !more {
                return;
            }
            let now = self.clock.now();
            more = self.serve(&mut self.lock(), now, &mut wakes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing below panics half way through a change, so what a poisoned lock guards is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refusal and when it was given.
pub(super) struct Refused {
    pub(super) now: Instant,
    pub(super) refusal: Refusal,
}

/// A place in the queue. Dropping it gives the place up, or gives back what was granted and not yet collected.
pub(super) struct Ticket<'a> {
    shared: &'a Shared,
    cost: Cost,
    block: &'a Block,
    /// `None` before the first poll and after the grant.
    id: Option<u64>,
}

impl Ticket<'_> {
    /// The first time takes or joins the queue, later serves everybody whose turn has come; says how this one stands.
    pub(super) fn poll(&mut self, waker: &Waker) -> Standing {
        let shared = self.shared;
        let now = shared.clock.now();
        let mut wakes = Wakes::default();
        let mut more = false;
        let standing = {
            let mut queue = shared.lock();
            if self.id.is_some() {
                if queue.is_due(now, shared.tick) {
                    more = shared.serve(&mut queue, now, &mut wakes);
                }
            } else {
                self.id = queue.take_or_join(now, self.cost, self.block, &shared.pool);
            }
            let Some(id) = self.id else { return Standing::Granted };
            queue.standing(now, id, self.cost, waker, shared.tick)
        };
        if matches!(standing, Standing::Granted) {
            self.id = None;
        }
        shared.finish(wakes, more);
        standing
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.update(|queue, now, wakes| queue.leave(now, id, self.cost, wakes));
        }
    }
}

/// Measured at 1 M/s with 64 waiting tasks on two shared cores: 1 ms takes 10 % of a core, 2 ms 7 %, 5 ms 5 %. The longer
/// it is, the less lateness of the timer the burst forgives.
const TICK_MAX: Duration = Duration::from_millis(2);
