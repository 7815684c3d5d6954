//! lagvalve: a lag-aware throttle for Kafka producers.
//!
//! ```text
//!            commits, log ends            drain time, capacity            rate, reason
//!  ┌───────┐      ┌─────┐      ┌──────────┐       ┌─────────┐      ┌────────────┐
//!  │ kafka │ ───▶ │ lag │ ───▶ │ estimate │ ────▶ │ control │ ───▶ │ allocation │
//!  └───────┘      └─────┘      └──────────┘       └─────────┘      └────────────┘
//!      ▲                                                                  │ leases
//!      │ records        ┌────────────────────┐      ┌─────────┐           ▼
//!      └─────────────── │ producer | sidecar │ ◀─── │ limiter │ ◀──────────
//!                       └────────────────────┘      └─────────┘
//!  telemetry reads what every stage returned; agent turns the loop once a second.
//! ```
//!
//! Production converges on what the slowest protected consumer group takes: its consumption is measured from commit
//! to commit and fed forward, its lag (in seconds of its own work) trims the rate.

// ---- vocabulary: any stage may import it; it imports nothing of ours
pub mod clock;
pub mod id;
pub mod units;

// ---- observe
#[cfg(feature = "producer")]
pub mod kafka;
pub mod lag;

// ---- estimate
pub mod estimate;

// ---- control
pub mod control;

// ---- actuate
pub mod limiter;
#[cfg(feature = "producer")]
pub mod producer;
#[cfg(feature = "sidecar")]
pub mod sidecar;

// ---- report
#[cfg(feature = "sidecar")]
pub mod telemetry;

// ---- composition
pub mod agent;
#[cfg(feature = "sidecar")]
pub mod config;

// ---- simulate
#[cfg(feature = "sim")]
pub mod sim;

#[cfg(feature = "producer")]
pub use agent::Agent;
pub use agent::{Mode, ProtectedGroup, Start, TickRecord, ValveSettings};
pub use control::BoundBy;
#[cfg(feature = "producer")]
pub use producer::{Throttled, ThrottledProducer, TrySendError, Valve};

/// The code in the README compiles.
#[cfg(all(doctest, feature = "producer"))]
#[doc = include_str!("../README.md")]
struct Readme;
