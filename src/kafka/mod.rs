//! Kafka: the only folder that names a Kafka client crate.
//!
//! In: a [`Connection`] (addresses and librdkafka's property names, for both client stacks) and a
//! [`Watch`](crate::lag::Watch). Out: snapshots and group descriptions through the traits of [`crate::lag`]. Never: a
//! decision, a topic created by looking at it, a lag of zero for something that could not be read.

mod cluster;
mod connection;
mod diagnose;
mod fault;
mod flight;
mod observer;
mod pace;
mod poll;
mod retention;
mod topics;

pub use cluster::ClusterInfo;
pub use connection::{Connection, PropertyError, parse_property};
pub use observer::{Observer, ObserverOptions, PollCost};
pub use topics::TopicInfo;
