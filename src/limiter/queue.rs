//! Those who wait, in order of arrival, and the budget that they wait for. All of it lives under one lock.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::bucket::NotYet;
use super::budget::{Budget, Cost, Refusal};
use super::loan::Block;
use crate::clock::Instant;
use crate::units::RateLimit;

/// The budget, its queue and its loans.
pub(super) struct Queue {
    pub(super) budget: Budget,
    waiters: VecDeque<Waiter>,
    next_id: u64,
    /// Sum over the waiters, modulo 2⁶⁴: for estimates.
    queued: Cost,
    /// Blocks of the leased fronts.
    blocks: Vec<Arc<Block>>,
    /// The most seconds of rate that one block may hold, were it the only one.
    loan_seconds: f64,
    /// Granted, without loans that are running and grants without a limit.
    granted: u64,
    /// When somebody who waited was granted something last.
    served: Option<Instant>,
    /// Time during which somebody waited, up to `since`.
    throttled: Duration,
    /// From when on there has always been somebody.
    since: Option<Instant>,
}

struct Waiter {
    id: u64,
    cost: Cost,
    waker: Option<Waker>,
}

/// How a waiter stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing {
    /// It has what it asked for.
    Granted,
    /// To look again after this time, or when woken.
    For(Duration),
    /// To look again when woken: the rate is zero.
    UntilWoken,
}

impl Queue {
    pub(super) fn new(now: Instant, limit: RateLimit, burst: Duration) -> Self {
        Self {
            budget: Budget::new(now, limit, burst),
            waiters: VecDeque::new(),
            next_id: 0,
            queued: Cost::default(),
            blocks: Vec::new(),
            loan_seconds: burst.as_secs_f64() / 2.0,
            granted: 0,
            served: None,
            throttled: Duration::ZERO,
            since: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether a newcomer passes at once and unmeasured.
    pub(super) fn is_open(&self) -> bool {
        self.waiters.is_empty() && self.budget.is_unlimited()
    }

    /// Takes `cost` unless somebody waits before it, and fills `block` with the next ones, on loan. `pool` is the block of
    /// all async callers, or the same one.
    pub(super) fn take(&mut self, now: Instant, cost: Cost, block: &Block, pool: &Block) -> Result<(), Refusal> {
        if !self.waiters.is_empty() {
            return Err(self.budget.next_ready_behind(now, self.queued, cost));
        }
        if !self.budget.is_unlimited() {
            self.reclaim(now, block);
        }
        let mut taken = self.budget.try_take(now, cost);
        if taken.is_err() && self.budget.needs_loans_back(cost) {
            self.reclaim(now, pool);
            self.reclaim_blocks(now);
            taken = self.budget.try_take(now, cost);
        }
        taken?;
        self.granted = self.granted.wrapping_add(cost.messages);
        self.lend(now, block);
        Ok(())
    }

    /// For a caller that is ready to wait: takes `cost` when a batch is left after it, else joins at the end and returns an
    /// id. Whoever would fetch messages one by one as they are earned pays for lock and clock each time.
    pub(super) fn take_or_join(&mut self, now: Instant, cost: Cost, block: &Block, pool: &Block) -> Option<u64> {
        if self.waiters.is_empty() && !self.budget.is_unlimited() {
            self.reclaim(now, block);
        }
        let batch = match self.budget.limit() {
            RateLimit::Unlimited => 0,
            RateLimit::At(rate) => (rate.get() * BATCH_SECONDS) as u64,
        };
        let with_batch = Cost { messages: cost.messages.saturating_add(batch), ..cost };
        if self.budget.allows(now, with_batch) && self.take(now, cost, block, pool).is_ok() {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        if self.waiters.is_empty() {
            // Empty while somebody waits, so that nobody is overtaken.
            self.reclaim(now, pool);
            self.since = Some(now);
            self.budget.save_for(now, cost);
        }
        self.queued = self.queued.wrapping_add(cost);
        self.waiters.push_back(Waiter { id, cost, waker: None });
        Some(id)
    }

    /// Leaves without a grant, or gives back a grant that was not collected.
    pub(super) fn leave(&mut self, now: Instant, id: u64, cost: Cost, wakes: &mut Wakes) {
        let Ok(index) = self.position(id) else {
            self.budget.give_back(now, cost);
            return;
        };
        self.waiters.remove(index);
        self.queued = self.queued.wrapping_sub(cost);
        if index == 0 {
            self.wake_head(wakes);
        }
        self.after_change(now);
    }

    /// Grants to the head as long as the budget allows. `true`: `wakes` is full and the next one can be served too.
    pub(super) fn serve(&mut self, now: Instant, wakes: &mut Wakes) -> bool {
        let mut served = false;
        let mut more = false;
        while let Some(head) = self.waiters.front() {
            let cost = head.cost;
            self.budget.save_for(now, cost);
            if wakes.is_full() {
                more = self.budget.allows(now, cost);
                break;
            }
            if self.budget.try_take(now, cost).is_err() {
                break;
            }
            self.queued = self.queued.wrapping_sub(cost);
            wakes.add(self.waiters.pop_front().and_then(|granted| granted.waker));
            served = true;
        }
        if served {
            self.served = Some(now);
            self.wake_head(wakes);
            self.after_change(now);
        }
        more
    }

    /// Whether a waiter that has been woken should serve the others: not within a tick of the last time. Otherwise each one
    /// that is granted would grant what was earned in the meantime to the next, and at high rates nobody would ever sleep.
    pub(super) fn is_due(&self, now: Instant, tick: Duration) -> bool {
        self.served.is_none_or(|served| now.since(served) >= tick)
    }

    /// How waiter `id` stands; `waker` is woken on its grant, on its coming to the head, and on a change of a limit.
    pub(super) fn standing(&mut self, now: Instant, id: u64, cost: Cost, waker: &Waker, tick: Duration) -> Standing {
        let Ok(index) = self.position(id) else {
            self.granted = self.granted.wrapping_add(cost.messages);
            return Standing::Granted;
        };
        let slot = &mut self.waiters[index].waker;
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
        let ahead = if index == 0 { Cost::default() } else { self.queued.wrapping_sub(cost) };
        match self.budget.next_ready_behind(now, ahead, cost).ready {
            NotYet::Paused => Standing::UntilWoken,
            NotYet::Until(at) if index == 0 => Standing::For(at.since(now).clamp(tick, LONGEST_SLEEP)),
            NotYet::Until(at) => Standing::For((at.since(now).min(LONGEST_SLEEP)) + GRACE),
        }
    }

    /// Wakers of all who wait.
    pub(super) fn wakers(&self) -> Vec<Waker> {
        self.waiters.iter().filter_map(|waiter| waiter.waker.clone()).collect()
    }

    pub(super) fn add_block(&mut self, block: Arc<Block>) {
        self.blocks.push(block);
    }

    pub(super) fn remove_block(&mut self, now: Instant, block: &Arc<Block>) {
        self.reclaim(now, block);
        self.granted = self.granted.wrapping_add(block.open_grants());
        self.blocks.retain(|other| !Arc::ptr_eq(other, block));
    }

    /// Takes back all that is on loan to leased fronts.
    pub(super) fn reclaim_blocks(&mut self, now: Instant) {
        let blocks = mem::take(&mut self.blocks);
        blocks.iter().for_each(|block| self.reclaim(now, block));
        self.blocks = blocks;
    }

    /// Takes back what is left in `block`.
    pub(super) fn reclaim(&mut self, now: Instant, block: &Block) {
        let loan = block.reclaim();
        if loan.lent > 0 {
            self.granted = self.granted.wrapping_add(loan.lent - loan.unused);
            self.budget.settle_loan(now, loan.lent, loan.unused);
        }
    }

    /// Granted so far, loans that are running included.
    pub(super) fn granted(&self) -> u64 {
        let on_loan = |sum: u64, block: &Arc<Block>| sum.wrapping_add(block.used()).wrapping_add(block.open_grants());
        self.blocks.iter().fold(self.granted, on_loan)
    }

    /// For how long somebody has waited.
    pub(super) fn throttled(&self, now: Instant) -> Duration {
        self.throttled + self.since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Nothing is lent without a limit, nor below one message in [`LOAN_SECONDS`].
    fn lend(&mut self, now: Instant, block: &Block) {
        if let RateLimit::At(rate) = self.budget.limit() {
            let seconds = LOAN_SECONDS.min(self.loan_seconds / (self.blocks.len() + 1) as f64);
            let lent = self.budget.lend(now, (rate.get() * seconds) as u64);
            if lent > 0 {
                block.fill(lent);
            }
        }
    }

    /// The new head looks after the clock from now on.
    fn wake_head(&self, wakes: &mut Wakes) {
        wakes.add(self.waiters.front().and_then(|head| head.waker.clone()));
    }

    fn after_change(&mut self, now: Instant) {
        if self.waiters.is_empty() {
            self.budget.save_for(now, Cost::default());
            if let Some(since) = self.since.take() {
                self.throttled += now.since(since);
            }
        }
    }

    /// Ids are in order. An id that is not there has been granted: only its owner removes it otherwise.
    fn position(&self, id: u64) -> Result<usize, usize> {
        self.waiters.binary_search_by_key(&id, |waiter| waiter.id)
    }
}

impl Cost {
    /// Sum modulo 2⁶⁴: exact again after as many subtractions.
    const fn wrapping_add(self, other: Self) -> Self {
        Self { messages: self.messages.wrapping_add(other.messages), bytes: self.bytes.wrapping_add(other.bytes) }
    }

    const fn wrapping_sub(self, other: Self) -> Self {
        Self { messages: self.messages.wrapping_sub(other.messages), bytes: self.bytes.wrapping_sub(other.bytes) }
    }
}

/// Wakers to be called after the lock is released. Up to [`WAKES`] cost no allocation.
#[derive(Default)]
pub(super) struct Wakes {
    first: [Option<Waker>; WAKES],
    rest: Vec<Waker>,
    len: usize,
}

impl Wakes {
    fn add(&mut self, waker: Option<Waker>) {
        let Some(waker) = waker else { return };
        match self.first.get_mut(self.len) {
            Some(slot) => *slot = Some(waker),
            None => self.rest.push(waker),
        }
        self.len += 1;
    }

    /// Two places stay free for the head of the queue, after somebody left and after a grant.
    fn is_full(&self) -> bool {
        self.len + 2 >= WAKES_UNDER_ONE_LOCK
    }

    pub(super) fn fire(&mut self) {
        self.first.iter_mut().take(self.len).filter_map(Option::take).for_each(Waker::wake);
        self.rest.drain(..).for_each(Waker::wake);
        self.len = 0;
    }
}

/// By how much the deadlines of all but the head stand behind their turn. Guessed: well above the lateness of timers.
const GRACE: Duration = Duration::from_millis(50);

/// Waiters look again after an hour at the latest, whatever a rate near zero says.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// A block is so many seconds of rate: at 1 M/s the lock and the clock are asked once in a thousand messages.
const LOAN_SECONDS: f64 = 1e-3;

/// Below so many seconds of rate it is better to wait for more. Measured: two threads at 1 M/s took 50 % of a core
/// without it.
const BATCH_SECONDS: f64 = 0.25e-3;

/// As tokio's own list of wakers.
const WAKES: usize = 32;

/// So many are served before any of them is woken. If fewer than all who wait were, the first would be back in the queue
/// before the last has left it, and would be served again instead of drawing on the pool.
const WAKES_UNDER_ONE_LOCK: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::super::DEFAULT_BURST;
    use super::*;

    /// Served in parts, those of the first part were back before the last had left, and the pool was never used: at
    /// 1 M/s every message cost a wake-up.
    #[test]
    fn all_whose_turn_has_come_leave_before_any_of_them_is_woken() {
        let start = Instant::from_seconds(3600.0);
        let mut queue = Queue::new(start, RateLimit::from_f64(1e6).unwrap(), DEFAULT_BURST);
        let (block, pool) = (Block::default(), Block::default());
        for _ in 0..500 {
            let id = queue.take_or_join(start, Cost { messages: 1, bytes: 0 }, &block, &pool).expect("no batch yet");
            let _ = queue.standing(start, id, Cost::default(), Waker::noop(), Duration::ZERO);
        }
        let mut wakes = Wakes::default();
        let more = queue.serve(start + Duration::from_millis(2), &mut wakes);
        assert_eq!((queue.len(), wakes.len, more), (0, 500, false));
        wakes.fire();
        assert_eq!(wakes.len, 0);
    }

    /// 64 tasks waiting at 1 M/s kept two cores busy: each that was woken granted the next what was earned meanwhile.
    #[test]
    fn who_is_woken_serves_the_others_once_a_tick() {
        let (start, tick) = (Instant::from_seconds(3600.0), Duration::from_millis(2));
        let mut queue = Queue::new(start, RateLimit::from_f64(1e6).unwrap(), DEFAULT_BURST);
        assert!(queue.is_due(start, tick), "nobody has been served");
        let (block, pool) = (Block::default(), Block::default());
        let id = queue.take_or_join(start, Cost { messages: 1, bytes: 0 }, &block, &pool).expect("no batch yet");
        let _ = queue.standing(start, id, Cost::default(), Waker::noop(), tick);
        let granted = start + tick;
        queue.serve(granted, &mut Wakes::default());
        assert_eq!(queue.len(), 0);
        assert!(!queue.is_due(granted + tick / 2, tick));
        assert!(queue.is_due(granted + tick, tick));
    }
}
