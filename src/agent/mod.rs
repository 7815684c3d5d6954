//! The agent: one turn of the loop as a pure function, and what runs it.

mod record;
mod settings;

pub use record::{Advice, Cause, GroupRecord, GroupVerdict, PartitionRecord, Quality, TickRecord};
pub use settings::{Mode, OnSignalLost, ProtectedGroup, Start, ValveSettings};
