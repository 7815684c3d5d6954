//! What a law is told.

use serde::{Deserialize, Serialize};

/// Which law decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LawKind {
    /// Measured consumption fed forward, drain time as the trim: the recommended law.
    #[default]
    TimeLag,
    /// Textbook PID on drain time, with gains of the operator's own.
    Pid,
}

/// Gains of the textbook law on the error in drain time, relative to capacity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PidGains {
    /// Proportional gain, 1/s. Larger: faster, less damped.
    pub kp: f64,
    /// Integral gain, 1/s².
    pub ki: f64,
    /// Derivative gain, dimensionless.
    pub kd: f64,
}

impl Default for PidGains {
    fn default() -> Self {
        Self { kp: 0.2, ki: 0.0025, kd: 0.0 }
    }
}
