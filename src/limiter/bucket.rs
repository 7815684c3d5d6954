//! One token bucket: credit earned at a rate that may change at any time.
//!
//! The unit is whatever the caller counts: messages in the docs below, bytes in [`Budget`](super::Budget).
//! Burst as a tolerance in time: ITU-T I.371 annex A (generic cell rate algorithm), with credit instead of a theoretical
//! arrival time, because credit survives a change of rate as it is.

use std::time::Duration;

use crate::clock::Instant;
use crate::units::RateLimit;

/// When a request that was refused may pass, if nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotYet {
    /// At this instant.
    Until(Instant),
    /// The rate is zero: not before it is changed.
    Paused,
}

/// Credit in messages, earned with time, spent by takes. Pure: `now` is an argument and may repeat, but does not go back
/// (an earlier `now` counts as the latest one seen).
#[derive(Clone, Debug)]
pub struct Bucket {
    limit: RateLimit,
    burst_seconds: f64,
    /// Messages that may pass now; below zero after a take that was larger than the bucket.
    credit: f64,
    /// Up to when credit is settled.
    settled_at: Instant,
    /// Size of the request that credit is saved for; 0 when nobody waits.
    goal: u64,
    /// Messages out on loan ([`Bucket::lend`]).
    lent: u64,
}

impl Bucket {
    /// A bucket with credit for one message, not for a burst: a start is no reason for one.
    ///
    /// `burst` is the time for which unused rate is kept. Larger: forgives later wake-ups of the caller and lets larger
    /// clusters of messages through. Smaller than the caller's timer is late (1–2 ms): the rate is not reached.
    #[must_use]
    pub fn new(now: Instant, limit: RateLimit, burst: Duration) -> Self {
        let credit = if limit.is_unlimited() { 0.0 } else { 1.0 };
        Self { limit, burst_seconds: burst.as_secs_f64(), credit, settled_at: now, goal: 0, lent: 0 }
    }

    /// The rate in force.
    #[must_use]
    pub const fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Changes the rate from `now` on.
    ///
    /// What was earned so far is settled at the old rate. Credit and debt, in messages, carry over; credit above the new
    /// burst is lost. From or to no limit at all, credit starts at zero: the next message is due one interval later.
    /// Loans must be settled before ([`Bucket::settle_loan`]), or they go on counting against the new burst.
    pub fn set_limit(&mut self, now: Instant, limit: RateLimit) {
        self.settle(now);
        if self.limit.is_unlimited() != limit.is_unlimited() {
            self.credit = 0.0;
        }
        self.limit = limit;
        self.credit = self.credit.min(self.ceiling());
    }

    /// Takes `n` messages, all or none.
    ///
    /// Up to the size of the bucket (`rate × burst + 1`, or the size that is [saved for](Bucket::save_for)) they pass when
    /// credit covers them. A larger request passes when the bucket is full, and leaves a debt that is paid at the rate.
    ///
    /// # Errors
    /// When it would pass, or that the rate is zero.
    pub fn try_take(&mut self, now: Instant, n: u64) -> Result<(), NotYet> {
        if n == 0 || self.limit.is_unlimited() {
            return Ok(());
        }
        self.settle(now);
        if self.limit != RateLimit::PAUSED && self.covers(n) {
            self.credit -= n as f64;
            return Ok(());
        }
        Err(self.next_ready(now, n))
    }

    /// Whether `n` would pass at `now`.
    #[must_use]
    pub fn allows(&self, now: Instant, n: u64) -> bool {
        n == 0
            || self.limit.is_unlimited()
            || (self.limit != RateLimit::PAUSED && self.credit_at(now) + GRAIN >= self.threshold(n))
    }

    /// When `n` would pass if nothing else is taken: `now` when it does already.
    #[must_use]
    pub fn next_ready(&self, now: Instant, n: u64) -> NotYet {
        self.next_ready_behind(now, 0, n)
    }

    /// When `n` would pass after `ahead` messages of others have passed.
    #[must_use]
    pub fn next_ready_behind(&self, now: Instant, ahead: u64, n: u64) -> NotYet {
        let RateLimit::At(rate) = self.limit else {
            return NotYet::Until(now);
        };
        if n == 0 {
            return NotYet::Until(now);
        }
        if self.limit == RateLimit::PAUSED {
            return NotYet::Paused;
        }
        let missing = ahead as f64 + self.threshold(n) - self.credit_at(now);
        if missing <= GRAIN {
            return NotYet::Until(now);
        }
        // Rounded up, so that the request does pass then. The cast saturates: a rate of 1e-300/s waits for ever.
        let nanos = (missing / rate.get() * 1e9).ceil() as u64;
        NotYet::Until(now.max(self.settled_at) + Duration::from_nanos(nanos.max(1)))
    }

    /// From now on the bucket is large enough to save credit for a request of `n`, above what a burst needs.
    ///
    /// For the request at the head of a queue: it is then paid in advance and in full, and loses nothing when its caller
    /// wakes up late. 0 when nobody waits. Credit that only the former goal allowed is lost: it must not become a burst.
    pub fn save_for(&mut self, now: Instant, n: u64) {
        if n != self.goal {
            self.settle(now);
            self.goal = n;
            self.credit = self.credit.min(self.ceiling());
        }
    }

    /// Takes back `n` messages that were taken and not used, up to a full bucket.
    pub fn give_back(&mut self, now: Instant, n: u64) {
        if !self.limit.is_unlimited() {
            self.settle(now);
            self.credit = (self.credit + n as f64).min(self.ceiling());
        }
    }

    /// Hands out up to `most` whole messages that the borrower may use at any time until it settles. Returns how many.
    ///
    /// All loans together are at most half of the burst. What is lent takes room in the bucket until it is settled, as if
    /// it were used at the last moment: so the bound of the module holds for the *uses*, whenever they happen.
    pub fn lend(&mut self, now: Instant, most: u64) -> u64 {
        let RateLimit::At(rate) = self.limit else { return 0 };
        self.settle(now);
        let room = rate.get() * self.burst_seconds / 2.0 - self.lent as f64;
        // Casts saturate: below zero is none.
        let granted = most.min(room as u64).min(self.credit as u64);
        self.credit -= granted as f64;
        self.lent += granted;
        granted
    }

    /// Whether a request of `n` does not fit beside what is on loan. Then loans have to be settled before it can pass.
    #[must_use]
    pub fn needs_loans_back(&self, n: u64) -> bool {
        self.lent > 0 && self.threshold(n) > self.ceiling()
    }

    /// Ends a loan of `lent` messages of which `unused` come back.
    pub fn settle_loan(&mut self, now: Instant, lent: u64, unused: u64) {
        self.settle(now);
        self.lent = self.lent.saturating_sub(lent);
        self.credit += unused.min(lent) as f64;
    }

    /// Credit at `now` in messages; negative is debt. Meaningless without a limit.
    #[must_use]
    pub fn credit_at(&self, now: Instant) -> f64 {
        match self.limit {
            RateLimit::Unlimited => self.credit,
            RateLimit::At(rate) => {
                let earned = rate.get() * now.since(self.settled_at).as_secs_f64();
                (self.credit + earned).min(self.ceiling())
            }
        }
    }

    /// Largest request that passes without debt, in messages: `rate × burst + 1`. `None` without a limit.
    #[must_use]
    pub fn size(&self) -> Option<f64> {
        match self.limit {
            RateLimit::Unlimited => None,
            RateLimit::At(rate) => Some(rate.get() * self.burst_seconds + 1.0),
        }
    }

    fn settle(&mut self, now: Instant) {
        if now > self.settled_at {
            self.credit = self.credit_at(now);
            self.settled_at = now;
        }
    }

    /// What credit may rise to.
    fn ceiling(&self) -> f64 {
        match self.limit {
            RateLimit::Unlimited => f64::INFINITY,
            RateLimit::At(rate) => rate.get() * self.burst_seconds + self.goal.max(1) as f64 - self.lent as f64,
        }
    }

    /// Credit from which a request of `n` passes: all of it, or a bucket that is full with nothing on loan.
    fn threshold(&self, n: u64) -> f64 {
        (n as f64).min(self.ceiling() + self.lent as f64)
    }

    fn covers(&self, n: u64) -> bool {
        self.credit + GRAIN >= self.threshold(n)
    }
}

/// The burst unless another is asked for. Twenty milliseconds forgive a timer that is late (tokio's is, by 1–2 ms; a
/// busy machine by ten), and are far below any set-point of lag.
pub const DEFAULT_BURST: Duration = Duration::from_millis(20);

/// Messages by which credit may fall short: rounding of f64 at 10⁹ messages is 10⁻⁷. What is granted too early is owed.
const GRAIN: f64 = 1e-6;
