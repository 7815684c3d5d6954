//! A textbook PID on drain time, for those who want gains of their own.
//!
//! Ideal form in parallel gains, integral by backward difference with conditional integration, derivative on the
//! measurement behind a first-order filter (Åström & Hägglund, *Advanced PID Control*, ch. 3). Capacity is its scale,
//! so gains do not depend on the rate.

use super::{ControlConfig, Correction, Law, LawInput, PidGains, Terms};

/// State of the textbook law for one group.
#[derive(Clone, Copy, Debug)]
pub struct PidLaw {
    gains: PidGains,
    integral: f64,
    slope: f64,
    drain_before: Option<f64>,
}

impl PidLaw {
    /// With these gains.
    #[must_use]
    pub const fn new(gains: PidGains) -> Self {
        Self { gains, integral: 0.0, slope: 0.0, drain_before: None }
    }
}

impl Law for PidLaw {
    fn correct(&mut self, config: &ControlConfig, input: &LawInput) -> Correction {
        let error = input.set_point_seconds - input.drain_seconds;
        if let Some(before) = self.drain_before {
            let raw = (input.drain_seconds - before) / input.step_seconds;
            self.slope += (raw - self.slope) * (1.0 - (-input.step_seconds / FILTER_SECONDS).exp());
        }
        self.drain_before = Some(input.drain_seconds);
        let increment = self.gains.ki * error * input.step_seconds;
        let terms = Terms {
            error_seconds: error,
            proportional: self.gains.kp * error,
            integral: self.integral + increment,
            derivative: -self.gains.kd * self.slope,
            ..Terms::default()
        };
        let wanted = terms.proportional + terms.integral + terms.derivative;
        let relative = wanted.clamp(config.floor - 1.0, config.excess_max);
        // Conditional integration: no step that would drive a clipped output further, none while the limit does not bind.
        if input.binding && input.rules && (relative == wanted || (wanted - relative) * increment < 0.0) {
            self.integral += increment;
        }
        Correction { relative, terms }
    }

    fn engage(&mut self) {
        *self = Self::new(self.gains);
    }
}

/// Filter of the derivative, seconds: twice the usual poll interval.
const FILTER_SECONDS: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: ControlConfig = ControlConfig::new(2.0, 1.0);

    fn input(drain_seconds: f64) -> LawInput {
        LawInput {
            step_seconds: 1.0,
            set_point_seconds: 2.0,
            drain_seconds,
            cadence_seconds: 5.0,
            starved: false,
            silent: false,
            binding: true,
            rules: true,
        }
    }

    #[test]
    fn each_gain_acts_in_its_direction() {
        let mut p = PidLaw::new(PidGains { kp: 0.1, ki: 0.0, kd: 0.0 });
        assert_eq!(p.correct(&CONFIG, &input(4.0)).relative, -0.2);
        let mut i = PidLaw::new(PidGains { kp: 0.0, ki: 0.01, kd: 0.0 });
        i.correct(&CONFIG, &input(4.0));
        assert!((i.correct(&CONFIG, &input(4.0)).relative + 0.04).abs() < 1e-12);
        let mut d = PidLaw::new(PidGains { kp: 0.0, ki: 0.0, kd: 0.5 });
        d.correct(&CONFIG, &input(2.0));
        assert!(d.correct(&CONFIG, &input(3.0)).relative < 0.0);
    }

    #[test]
    fn a_long_drain_does_not_wind_the_integral_up() {
        let mut law = PidLaw::new(PidGains::default());
        for _ in 0..500 {
            assert_eq!(law.correct(&CONFIG, &input(60.0)).relative, -0.9);
        }
        assert!(law.correct(&CONFIG, &input(2.0)).relative.abs() < 0.05);
    }
}
