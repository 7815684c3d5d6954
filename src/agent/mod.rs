//! The agent: one turn of the loop as a pure function ([`ValveLoop`]), and what turns it.

mod explain;
mod group;
mod record;
mod settings;
mod tick;

pub use explain::explain;
pub use record::{Advice, Cause, GroupRecord, GroupVerdict, PartitionRecord, Quality, TickRecord};
pub use settings::{Mode, OnSignalLost, ProtectedGroup, Start, ValveSettings};
pub use tick::{TickInput, ValveLoop};
