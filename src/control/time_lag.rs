//! The recommended law: a small scale-free PI on drain time around measured capacity, which probes while a group is starved.
//!
//! Plant: with x the drain time and v the relative correction, dx/dt = v + disturbance, behind a dead time of about
//! actuation + half a poll + linger. Tuned by SIMC for an integrator with dead time, at about two thirds of its gain
//! (gain margin ≈ 5, phase margin ≈ 70°); derivation in `docs/control.md`.

use super::{ControlConfig, Correction, Law, LawInput, Terms};

/// State of the recommended law for one group.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeLagLaw {
    integral: f64,
    probe: f64,
}

impl Law for TimeLagLaw {
    fn correct(&mut self, config: &ControlConfig, input: &LawInput) -> Correction {
        let gain = 1.0 / (config.gain_seconds + config.gain_cadences * input.cadence_seconds);
        let error = input.set_point_seconds - input.drain_seconds;
        let mut terms =
            Terms { error_seconds: error, proportional: gain * error, integral: self.integral, ..Terms::default() };
        let mut wanted = terms.proportional + terms.integral;
        let starved = input.starved && !input.silent;
        if starved {
            // Never cut without certain backlog; look for more, slowly where there may be some.
            let idle = input.drain_seconds < 0.5 * input.set_point_seconds;
            wanted = wanted.max(if idle { gain * input.set_point_seconds } else { 0.0 });
            self.advance_probe(config, input, if idle { config.probe } else { config.creep });
            wanted += self.probe;
        } else {
            self.probe = 0.0;
        }
        terms.probe = self.probe;
        let relative = wanted.clamp(config.floor - 1.0, config.excess_max);
        self.integrate(config, input, gain, error, starved, relative == wanted);
        Correction { relative, terms }
    }

    fn engage(&mut self) {
        *self = Self::default();
    }
}

impl TimeLagLaw {
    fn advance_probe(&mut self, config: &ControlConfig, input: &LawInput, per_delay: f64) {
        if input.binding {
            let delay = 0.5 * input.cadence_seconds + config.poll_seconds + config.actuation_seconds;
            self.probe = (self.probe + per_delay * input.step_seconds / delay).min(config.excess_max);
        }
    }

    /// Conditional integration: only while the limit binds, evidence is certain, the output is not clipped and this
    /// group rules. Otherwise a limit that does not bind forgets over 20 s.
    fn integrate(
        &mut self,
        config: &ControlConfig,
        input: &LawInput,
        gain: f64,
        error: f64,
        starved: bool,
        within: bool,
    ) {
        if input.binding && !input.silent && !starved {
            if within && input.rules {
                self.integral += gain * gain / config.integral_time_ratio * error * input.step_seconds;
            }
            self.integral = self.integral.clamp(-config.integral_max, config.integral_max);
        } else if !input.binding {
            self.integral *= (-input.step_seconds / FORGET_SECONDS).exp();
        }
    }
}

/// Memory of the integral while the limit does not bind, seconds (guessed; ±50 % makes no difference).
const FORGET_SECONDS: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> LawInput {
        LawInput {
            step_seconds: 1.0,
            set_point_seconds: 2.0,
            drain_seconds: 2.0,
            cadence_seconds: 5.0,
            starved: false,
            silent: false,
            binding: true,
            rules: true,
        }
    }

    const CONFIG: ControlConfig = ControlConfig::new(2.0, 1.0);

    #[test]
    fn on_the_set_point_nothing_is_corrected() {
        assert_eq!(TimeLagLaw::default().correct(&CONFIG, &input()).relative, 0.0);
    }

    #[test]
    fn more_lag_never_raises_the_rate() {
        let mut last = f64::INFINITY;
        for tenths in 0..400 {
            let seen = LawInput { drain_seconds: f64::from(tenths) / 10.0, ..input() };
            let relative = TimeLagLaw::default().correct(&CONFIG, &seen).relative;
            assert!(relative <= last, "at {} s", seen.drain_seconds);
            assert!((-0.9..=1.0).contains(&relative));
            last = relative;
        }
        assert_eq!(last, -0.9);
    }

    #[test]
    fn a_starved_group_is_never_cut_and_is_probed() {
        let mut law = TimeLagLaw::default();
        let seen = LawInput { drain_seconds: 30.0, starved: true, ..input() };
        let first = law.correct(&CONFIG, &seen).relative;
        assert!(first > 0.0);
        assert!(law.correct(&CONFIG, &seen).relative > first);
        let busy = LawInput { starved: false, ..seen };
        assert_eq!(law.correct(&CONFIG, &busy).terms.probe, 0.0);
    }

    #[test]
    fn a_clipped_output_does_not_wind_the_integral_up() {
        let mut law = TimeLagLaw::default();
        let behind = LawInput { drain_seconds: 100.0, ..input() };
        for _ in 0..1000 {
            law.correct(&CONFIG, &behind);
        }
        assert_eq!(law.correct(&CONFIG, &input()).relative, 0.0);
    }

    #[test]
    fn another_ruling_group_freezes_the_integral() {
        let mut law = TimeLagLaw::default();
        let waiting = LawInput { drain_seconds: 1.0, rules: false, ..input() };
        for _ in 0..100 {
            law.correct(&CONFIG, &waiting);
        }
        assert_eq!(law.correct(&CONFIG, &input()).terms.integral, 0.0);
    }

    #[test]
    fn the_integral_is_bounded() {
        let mut law = TimeLagLaw::default();
        let low = LawInput { drain_seconds: 1.5, ..input() };
        for _ in 0..100_000 {
            law.correct(&CONFIG, &low);
        }
        assert_eq!(law.correct(&CONFIG, &low).terms.integral, 0.15);
    }
}
