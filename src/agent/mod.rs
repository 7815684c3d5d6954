//! The agent: one turn of the loop as a pure function ([`ValveLoop`]), and what turns it.

#[cfg(feature = "producer")]
mod builder;
mod config_record;
mod dither;
mod explain;
mod group;
mod input;
mod journal_line;
mod log_view;
mod record;
mod resume;
#[cfg(feature = "producer")]
mod run;
mod settings;
mod tick;

#[cfg(feature = "producer")]
pub use builder::{StartError, ValveBuilder};
pub use config_record::{ConfigKind, ConfigRecord};
pub use dither::poll_delay;
pub use explain::explain;
pub use input::{DescriptionRecord, Given, GroupInputRecord, InputRecord, LogRecord, TopicId};
pub use journal_line::{JournalFault, JournalLine};
pub use record::{Advice, Cause, GroupRecord, GroupVerdict, PartitionRecord, Quality, RECORD_VERSION, TickRecord};
pub use resume::Resumed;
#[cfg(feature = "producer")]
pub use run::Agent;
pub use settings::{Mode, OnSignalLost, ProtectedGroup, Start, ValveSettings};
pub use tick::{TickInput, ValveLoop};
