//! Governed producers: a limit that arrives late → token bucket → linger → whole messages.

use super::STEP_SECONDS;
use super::retries::{NOTHING, Retries};
use super::world::{ProducerDraw, World};

/// All governed producers of a run.
#[derive(Clone, Debug)]
pub(super) struct Producers {
    lines: Vec<Line>,
    /// Limits on their way, a slot of the ring and producer.
    ring: Vec<f64>,
    slots: usize,
    limits: Vec<f64>,
    unequal: bool,
    burst_seconds: f64,
    gain: f64,
    carry_seconds: f64,
    valves: usize,
    /// Messages of this step, a producer.
    released: Vec<f64>,
    /// One a producer, or none at all.
    retries: Vec<Retries>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    draw: ProducerDraw,
    tokens: f64,
    batch: f64,
    held: f64,
}

impl Producers {
    /// One limit for all together, or one a valve.
    pub(super) fn new(world: &World<'_>, limits: &[f64]) -> Self {
        let load = &world.scenario.load;
        let count = world.producers.len();
        let slots = world.producers.iter().map(|draw| draw.delay_steps).max().unwrap_or(1) + 2;
        let valves = limits.len();
        let share = |line: usize| limits[line % valves] / lines_of(line % valves, valves, count).count() as f64;
        let limits: Vec<f64> = (0..count).map(share).collect();
        Self {
            lines: world
                .producers
                .iter()
                .map(|draw| Line { draw: *draw, tokens: 0.0, batch: 0.0, held: 0.0 })
                .collect(),
            ring: limits.iter().copied().cycle().take(slots * count).collect(),
            slots,
            limits,
            unequal: load.shares.is_some(),
            burst_seconds: load.burst_seconds,
            gain: load.limiter_gain,
            carry_seconds: load.carry_seconds,
            valves: world.scenario.valves(),
            released: vec![0.0; count],
            retries: load.retries.map_or_else(Vec::new, |plan| vec![Retries::new(plan); count]),
        }
    }

    /// A new limit for all together; `offered` is what they wanted a second ago, messages/s.
    pub(super) fn command(&mut self, limit: f64, offered: f64) {
        if limit.is_finite() && self.unequal {
            let demands: Vec<f64> = self.lines.iter().map(|line| offered * line.draw.share).collect();
            max_min(limit, &demands, &mut self.limits);
        } else {
            self.limits.fill(limit / self.lines.len() as f64);
        }
    }

    /// A new limit for the producers of `valve`; `offered` is what all wanted a second ago, messages/s.
    pub(super) fn command_valve(&mut self, valve: usize, limit: f64, offered: f64) {
        let lines: Vec<usize> = lines_of(valve, self.valves, self.lines.len()).collect();
        let mut granted = vec![limit / lines.len() as f64; lines.len()];
        if limit.is_finite() && self.unequal {
            let demands: Vec<f64> = lines.iter().map(|line| offered * self.lines[*line].draw.share).collect();
            max_min(limit, &demands, &mut granted);
        }
        for (line, rate) in lines.iter().zip(granted) {
            self.limits[*line] = rate;
        }
    }

    /// Messages of the last step, a producer.
    pub(super) fn released(&self) -> &[f64] {
        &self.released
    }

    /// Messages of the last step by the producers of `valve`.
    pub(super) fn released_of(&self, valve: usize) -> f64 {
        lines_of(valve, self.valves, self.lines.len()).map(|line| self.released[line]).sum()
    }

    /// One step: messages released to the log. `offered` is what they want together, messages/s.
    pub(super) fn step(&mut self, step: usize, offered: f64) -> f64 {
        let count = self.lines.len();
        self.ring[step % self.slots * count..][..count].copy_from_slice(&self.limits);
        let mut released = 0.0;
        for (index, line) in self.lines.iter_mut().enumerate() {
            let slot = (step + self.slots - line.draw.delay_steps) % self.slots;
            let rate = self.ring[slot * count + index] * self.gain;
            line.tokens = (line.tokens + rate * STEP_SECONDS).min((rate * self.burst_seconds).max(1.0));
            let demand = offered * line.draw.share;
            let mut want = demand * STEP_SECONDS + line.held;
            if let Some(retries) = self.retries.get_mut(index) {
                want += retries.come_back(step);
            }
            let sent = want.min(line.tokens);
            if let Some(retries) = self.retries.get_mut(index) {
                let refused = if want > NOTHING { 1.0 - sent / want } else { 0.0 };
                retries.refuse(step, demand * STEP_SECONDS, refused);
            }
            if self.carry_seconds > 0.0 {
                line.held = (want - sent).min(demand * self.carry_seconds);
            }
            line.tokens -= sent;
            line.batch += sent;
            self.released[index] = 0.0;
            if (step + line.draw.linger_phase).is_multiple_of(line.draw.linger_steps) {
                let whole = line.batch.floor();
                line.batch -= whole;
                released += whole;
                self.released[index] = whole;
            }
        }
        released
    }
}

/// Producers of `valve`.
fn lines_of(valve: usize, valves: usize, count: usize) -> impl Iterator<Item = usize> {
    (valve..count).step_by(valves)
}

/// Splits `budget` max-min fairly over `demands`; what nobody wants is shared equally.
fn max_min(budget: f64, demands: &[f64], granted: &mut [f64]) {
    let mut open: Vec<usize> = (0..demands.len()).collect();
    let mut left = budget;
    while !open.is_empty() {
        let level = left / open.len() as f64;
        let (full, short): (Vec<usize>, Vec<usize>) = open.iter().partition(|index| demands[**index] <= level);
        if full.is_empty() {
            short.iter().for_each(|index| granted[*index] = level);
            return;
        }
        for index in full {
            granted[index] = demands[index];
            left -= demands[index];
        }
        open = short;
    }
    let slack = left.max(0.0) / demands.len() as f64;
    granted.iter_mut().for_each(|rate| *rate += slack);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_demands_are_met_and_the_rest_is_shared() {
        let table = [
            (10.0, [1.0, 8.0, 8.0], [1.0, 4.5, 4.5]),
            (30.0, [1.0, 8.0, 9.0], [5.0, 12.0, 13.0]),
            (3.0, [4.0, 4.0, 4.0], [1.0, 1.0, 1.0]),
        ];
        for (budget, demands, fair) in table {
            let mut granted = [0.0; 3];
            max_min(budget, &demands, &mut granted);
            for (got, want) in granted.iter().zip(fair) {
                assert!((got - want).abs() < 1e-9, "{budget} over {demands:?}: {granted:?}");
            }
        }
    }
}
