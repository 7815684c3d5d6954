//! Telemetry: what the stages returned → metrics, journal, log.
//!
//! In: the latest [`TickRecord`](crate::agent::TickRecord) of every valve and what its limiter counts, through
//! [`Readings`]. Out: Prometheus text, a journal line a tick, log lines. Never: a counter inside a stage, a sample for
//! something that is not known.

mod catalogue;
mod journal;
#[cfg(feature = "cli")]
mod log;
mod prometheus;
mod readings;
mod tail;

pub use catalogue::{CATALOGUE, Kind, Metric};
pub use journal::{History, Journal, JournalFile, Point, without_partitions};
#[cfg(feature = "cli")]
pub use log::{LogFormat, init as init_log};
pub use prometheus::{CONTENT_TYPE, render};
pub use readings::{LimiterReading, PollReading, Readings, ValveReading};
pub use tail::JournalTail;
