//! Lag: offsets → lag with states.
//!
//! In: what one poll of the cluster saw ([`Snapshot`]: commits first, then log ends, both time-stamped, through
//! [`OffsetSource`]). Out: per partition a lag or the reason why there is none. Never: a decision, a network call,
//! a lag of zero for something that could not be read.

mod offsets;
mod snapshot;
mod source;

pub use offsets::{PartitionLag, PartitionOffsets, Unmeasured};
pub use snapshot::{
    GroupCommits, GroupDescription, GroupKind, GroupState, PartitionEnds, ReadError, ReadFault, Retention, Snapshot,
    TopicEnds,
};
pub use source::{GroupAdmin, GroupWatch, Isolation, OffsetSource, SourceError, Watch};
