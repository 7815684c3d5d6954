//! Control: a group's estimate → the rate its writers may have, and why.
//!
//! In: an [`crate::estimate::Assessment`] a group, production, commands in force, `now`. Out: a [`GroupDecision`] each: a total rate
//! in messages/s (live traffic included), its [`BoundBy`] and [`Terms`]. Never: a clock, a poll, a limit of zero.
//!
//! Sign convention, once: error = set-point − drain time. More rate makes more lag, so the loop acts in reverse:
//! a positive error (too little lag) raises the rate. Corrections are relative to the capacity fed forward, so the same
//! gains serve 10/s and 1,000,000/s.

mod bound;
mod config;
mod doubt;
mod governor;
mod history;
mod law;
mod limits;
mod pid;
mod slow_start;
mod time_lag;

pub use bound::BoundBy;
pub use config::{ControlConfig, LawKind, PidGains, StartPolicy};
pub use governor::{GroupDecision, GroupGovernor, GroupInput};
pub use history::CommandHistory;
pub use law::{Correction, Law, LawInput, Terms};
pub use limits::{LimitPolicy, Limited, SignalLossPolicy};
pub use pid::PidLaw;
pub use time_lag::TimeLagLaw;
