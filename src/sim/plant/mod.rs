//! The plant: writers, a log, readers who commit in steps, and somebody who looks at it now and then.

mod behind;
mod coordinator;
mod gaps;
mod log;
mod observer;
mod offsets;
mod play;
mod producers;
mod readers;
mod retries;
mod scaler;
mod tail;
mod trace;
mod transactions;
mod world;

pub use log::{Ledger, Plant};
pub use trace::Trace;
pub use world::{Poll, World};

pub(super) use play::{Blind, Decider, Truth, play};

/// One step of the plant, seconds.
pub const STEP_SECONDS: f64 = 0.05;

/// Steps of the plant that have begun before `seconds`.
pub(super) fn steps_in(seconds: f64) -> usize {
    (seconds / STEP_SECONDS) as usize
}
