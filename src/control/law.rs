//! What every law takes and gives.

use serde::{Deserialize, Serialize};

/// The inner terms of one decision, for the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Set-point minus measured drain time, seconds.
    pub error_seconds: f64,
    /// Capacity fed forward, messages/s.
    pub feed_forward: f64,
    /// Relative correction by the proportional part.
    pub proportional: f64,
    /// Relative correction by the integral part.
    pub integral: f64,
    /// Relative correction by the derivative part.
    pub derivative: f64,
    /// Relative correction by probing.
    pub probe: f64,
    /// Factor by which a limit that does not bind has been relaxed.
    pub relaxation: f64,
}
