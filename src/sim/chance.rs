//! Chance as an argument: one stream a purpose, so that no draw of one kind moves the draws of another.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Exp1, StandardNormal, StandardUniform};

/// What random numbers are for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Speed of the members.
    Capacity,
    /// Pauses of the members.
    Pauses,
    /// What writers offer.
    Demand,
    /// Delay and linger of each producer.
    Producers,
    /// Commit timers.
    Commits,
    /// When polls happen, what they miss, how wrong their clocks are.
    Observation,
    /// A random story as a whole.
    Story,
    /// When each writer's first transaction ends.
    Transactions,
    /// Where offsets hold no record: a stream a partition.
    Gaps,
    /// Polls of a second valve and further ones: a stream each.
    Valves,
}

/// Seeded random numbers; the stream is the same on every machine.
#[derive(Clone, Debug)]
pub(super) struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream of `purpose` for a run of scenario number `scenario` with `seed`.
    pub(super) fn new(seed: u64, scenario: u64, purpose: Purpose) -> Self {
        Self::nth(seed, scenario, purpose, 0)
    }

    /// Stream number `index` of `purpose`, for a purpose that has many.
    pub(super) fn nth(seed: u64, scenario: u64, purpose: Purpose, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&scenario.to_le_bytes());
        key[16] = purpose as u8;
        key[17..25].copy_from_slice(&index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `from..to`; `from` where both are the same.
    pub(super) fn uniform(&mut self, from: f64, to: f64) -> f64 {
        let part: f64 = StandardUniform.sample(&mut self.0);
        from + (to - from) * part
    }

    /// Normal around 0.
    pub(super) fn normal(&mut self, deviation: f64) -> f64 {
        let drawn: f64 = StandardNormal.sample(&mut self.0);
        deviation * drawn
    }

    /// Exponential.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        let drawn: f64 = Exp1.sample(&mut self.0);
        mean * drawn
    }
}

/// An Ornstein–Uhlenbeck process around 0, sampled every `step_seconds`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wander {
    value: f64,
    keep: f64,
    kick: f64,
}

impl Wander {
    /// Stationary from the start, with this standard deviation and correlation time.
    pub(super) fn new(chance: &mut Chance, deviation: f64, seconds: f64, step_seconds: f64) -> Self {
        let keep = (-step_seconds / seconds).exp();
        Self { value: chance.normal(deviation), keep, kick: deviation * (1.0 - keep * keep).sqrt() }
    }

    /// The next value.
    pub(super) fn step(&mut self, chance: &mut Chance) -> f64 {
        self.value = self.keep * self.value + chance.normal(self.kick);
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_purpose() {
        let draw = |purpose| Chance::new(7, 1, purpose).uniform(0.0, 1.0);
        assert_eq!(draw(Purpose::Capacity).to_bits(), draw(Purpose::Capacity).to_bits());
        assert_ne!(draw(Purpose::Capacity).to_bits(), draw(Purpose::Demand).to_bits());
    }

    #[test]
    fn wandering_keeps_its_deviation() {
        let mut chance = Chance::new(1, 1, Purpose::Capacity);
        let mut wander = Wander::new(&mut chance, 0.1, 2.0, 0.05);
        let values: Vec<f64> = (0..100_000).map(|_| wander.step(&mut chance)).collect();
        let deviation = (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt();
        assert!((deviation - 0.1).abs() < 0.01, "{deviation}");
    }
}
