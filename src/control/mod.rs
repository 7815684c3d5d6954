//! Control: a group's estimate → the rate its writers may have.

mod bound;
mod config;
mod law;

pub use bound::BoundBy;
pub use config::{LawKind, PidGains};
pub use law::Terms;
