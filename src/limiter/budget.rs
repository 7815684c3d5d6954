//! Messages and bytes: two buckets, charged together; the emptier one rules.

use std::time::Duration;

use super::bucket::{Bucket, NotYet};
use crate::clock::Instant;
use crate::units::{MessagesPerSecond, RateLimit};

/// A rate in bytes per second: finite and above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct ByteRate(f64);

impl ByteRate {
    /// `None` when `value` is zero, negative, infinite or not a number.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (value.is_finite() && value > 0.0).then_some(Self(value))
    }

    /// The bare number, in bytes per second.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// What a request costs. A part that is zero is never waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Messages.
    pub messages: u64,
    /// Bytes; 0 when not known, then no byte limit applies.
    pub bytes: u64,
}

impl Cost {
    /// Sum modulo 2⁶⁴: exact again after as many subtractions.
    pub(super) const fn wrapping_add(self, other: Self) -> Self {
        Self { messages: self.messages.wrapping_add(other.messages), bytes: self.bytes.wrapping_add(other.bytes) }
    }

    pub(super) const fn wrapping_sub(self, other: Self) -> Self {
        Self { messages: self.messages.wrapping_sub(other.messages), bytes: self.bytes.wrapping_sub(other.bytes) }
    }
}

/// Which limit a refused request has to wait for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuledBy {
    /// The rate in messages.
    Messages,
    /// The rate in bytes.
    Bytes,
    /// The rate in messages is zero.
    Pause,
}

/// A request that does not pass yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When it would.
    pub ready: NotYet,
    /// Which limit says so.
    pub ruled_by: RuledBy,
}

/// A rate in messages and a rate in bytes: a request passes when both allow it, and is charged to both.
#[derive(Clone, Debug)]
pub struct Budget {
    messages: Bucket,
    bytes: Bucket,
}

impl Budget {
    /// Without a limit in bytes. `burst` as in [`Bucket::new`].
    #[must_use]
    pub fn new(now: Instant, limit: RateLimit, burst: Duration) -> Self {
        Self { messages: Bucket::new(now, limit, burst), bytes: Bucket::new(now, RateLimit::Unlimited, burst) }
    }

    /// The rate in messages.
    #[must_use]
    pub const fn limit(&self) -> RateLimit {
        self.messages.limit()
    }

    /// The rate in bytes, if there is one.
    #[must_use]
    pub fn byte_limit(&self) -> Option<ByteRate> {
        ByteRate::new(self.bytes.limit().as_f64())
    }

    /// Whether nothing limits.
    #[must_use]
    pub const fn is_unlimited(&self) -> bool {
        self.messages.limit().is_unlimited() && self.bytes.limit().is_unlimited()
    }

    /// Changes the rate in messages: [`Bucket::set_limit`].
    pub fn set_limit(&mut self, now: Instant, limit: RateLimit) {
        self.messages.set_limit(now, limit);
    }

    /// Changes the rate in bytes; `None` lifts it.
    pub fn set_byte_limit(&mut self, now: Instant, limit: Option<ByteRate>) {
        let limit = limit.and_then(|rate| MessagesPerSecond::new(rate.get()));
        self.bytes.set_limit(now, limit.map_or(RateLimit::Unlimited, RateLimit::At));
    }

    /// Whether `cost` would pass at `now`.
    #[must_use]
    pub fn allows(&self, now: Instant, cost: Cost) -> bool {
        self.messages.allows(now, cost.messages) && self.bytes.allows(now, cost.bytes)
    }

    /// Whether `cost` may have been refused only because loans take room: [`Bucket::needs_loans_back`].
    #[must_use]
    pub fn needs_loans_back(&self, cost: Cost) -> bool {
        self.messages.needs_loans_back(cost.messages)
    }

    /// Takes `cost` from both, or nothing.
    ///
    /// # Errors
    /// When it would pass, and which limit rules: the one that is ready later.
    pub fn try_take(&mut self, now: Instant, cost: Cost) -> Result<(), Refusal> {
        if !self.allows(now, cost) {
            return Err(self.next_ready_behind(now, Cost::default(), cost));
        }
        let taken = self.messages.try_take(now, cost.messages).and(self.bytes.try_take(now, cost.bytes));
        debug_assert!(taken.is_ok(), "both buckets allowed {cost:?} at {now:?}");
        Ok(())
    }

    /// When `cost` would pass after `ahead` has passed, and which limit rules.
    #[must_use]
    pub fn next_ready_behind(&self, now: Instant, ahead: Cost, cost: Cost) -> Refusal {
        let messages = self.messages.next_ready_behind(now, ahead.messages, cost.messages);
        let bytes = self.bytes.next_ready_behind(now, ahead.bytes, cost.bytes);
        if messages == NotYet::Paused {
            Refusal { ready: messages, ruled_by: RuledBy::Pause }
        } else if bytes > messages {
            Refusal { ready: bytes, ruled_by: RuledBy::Bytes }
        } else {
            Refusal { ready: messages, ruled_by: RuledBy::Messages }
        }
    }

    /// Saves credit for `cost`: [`Bucket::save_for`].
    pub fn save_for(&mut self, now: Instant, cost: Cost) {
        self.messages.save_for(now, cost.messages);
        self.bytes.save_for(now, cost.bytes);
    }

    /// Takes back what was not used: [`Bucket::give_back`].
    pub fn give_back(&mut self, now: Instant, cost: Cost) {
        self.messages.give_back(now, cost.messages);
        self.bytes.give_back(now, cost.bytes);
    }

    /// Lends messages: [`Bucket::lend`]. Bytes are never lent.
    pub fn lend(&mut self, now: Instant, most: u64) -> u64 {
        self.messages.lend(now, most)
    }

    /// Ends a loan: [`Bucket::settle_loan`].
    pub fn settle_loan(&mut self, now: Instant, lent: u64, unused: u64) {
        self.messages.settle_loan(now, lent, unused);
    }
}
