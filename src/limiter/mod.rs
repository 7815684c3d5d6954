//! Limiter: the decided rate → permits, one message at a time.
//!
//! In: a [`RateLimit`](crate::units::RateLimit) that changes once a second, optionally a [`ByteRate`], and requests
//! for permits. Out: a permit, or when to come back. Never: a decision about the rate, a metric, a log line.
//!
//! ```text
//!  set_limit ──▶ ┌────────┐   grants, in order of arrival   ┌─────────────────┐
//!                │ Budget │ ──────────────────────────────▶ │ Limiter (async) │
//!                │ 2 × of │                                 └─────────────────┘
//!                │ Bucket │   small blocks on loan          ┌──────────────────────┐
//!                │ (pure) │ ◀─────────────────────────────▶ │ LeasedLimiter (sync) │
//!                └────────┘                                 └──────────────────────┘
//! ```
//!
//! [`Bucket`] and [`Budget`] are pure: time is an argument. The fronts exist with the feature `producer`.
//!
//! # What holds
//!
//! Over **any** window of time, whatever was asked, changed or given back in between:
//!
//! > granted ≤ ∫ rate dt + rate × burst + 1,
//!
//! where the burst is a time (20 ms by default) and its rate the one in force when the window opens. That is the bound
//! of the generic cell rate algorithm (ITU-T I.371): one message, and a tolerance in time. It holds exactly for requests
//! of up to `rate × burst + 1` messages. A larger request that *waits* is paid in advance, so that after any start
//! `granted ≤ ∫ rate dt + rate × burst + 1` still holds, and a window that contains its grant sees at most its size
//! more. A larger request that does *not wait* (`try_acquire`) is granted when the bucket is full and paid off
//! afterwards: also at most its size more. Nothing is refused for ever.
//!
//! A change of rate settles what was earned at the old rate first. It gives no burst (credit never grows by a change) and
//! no pause (what was earned or is owed, in messages, stays, up to the new burst).

mod bucket;
mod budget;
#[cfg(feature = "producer")]
mod front;
#[cfg(feature = "producer")]
mod leased;
#[cfg(feature = "producer")]
mod loan;
#[cfg(test)]
mod properties;
#[cfg(feature = "producer")]
mod queue;
#[cfg(feature = "producer")]
mod shared;

pub use bucket::{Bucket, DEFAULT_BURST, NotYet};
pub use budget::{Budget, ByteRate, Cost, Refusal, RuledBy};
#[cfg(feature = "producer")]
pub use front::{Limiter, Throttled, TokioClock};
#[cfg(feature = "producer")]
pub use leased::LeasedLimiter;
