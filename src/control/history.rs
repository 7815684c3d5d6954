//! Which command was in force when.

use std::collections::VecDeque;

/// The total rates that were decided, with their times: what a law needs to know whether its limit binds.
#[derive(Clone, Debug, Default)]
pub struct CommandHistory {
    commands: VecDeque<(f64, f64)>,
}

impl CommandHistory {
    /// Takes a command of `rate` messages/s (`+∞`: none) given at `now`; returns the one that is kept: changes below
    /// 1 % are not worth a write to every client.
    pub fn push(&mut self, now: f64, rate: f64, actuation_seconds: f64) -> f64 {
        let rate = match self.last() {
            Some(last) if rate.is_finite() && last.is_finite() && (rate - last).abs() <= DEAD_BAND * last => last,
            _ => rate,
        };
        self.commands.push_back((now, rate));
        while self.commands.len() > 2 && self.commands[1].0 < now - 4.0 * actuation_seconds - 2.0 {
            self.commands.pop_front();
        }
        rate
    }

    /// The last command, messages/s.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.commands.back().map(|(_, rate)| *rate)
    }

    /// The command that writers obeyed at `now`, given the assumed actuation delay; `+∞` before the first.
    #[must_use]
    pub fn in_force(&self, now: f64, actuation_seconds: f64) -> f64 {
        self.commands
            .iter()
            .take_while(|(at, _)| *at <= now - actuation_seconds)
            .last()
            .map_or(f64::INFINITY, |(_, rate)| *rate)
    }
}

/// Relative changes below this are ignored (reference design: 1 %).
const DEAD_BAND: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_counts_after_the_actuation_delay() {
        let mut history = CommandHistory::default();
        assert_eq!(history.in_force(5.0, 1.0), f64::INFINITY);
        history.push(1.0, 100.0, 1.0);
        history.push(2.0, 50.0, 1.0);
        assert_eq!(history.in_force(1.5, 1.0), f64::INFINITY);
        assert_eq!(history.in_force(2.5, 1.0), 100.0);
        assert_eq!(history.in_force(3.0, 1.0), 50.0);
    }

    #[test]
    fn small_changes_are_ignored_but_do_not_add_up_to_a_drift() {
        let mut history = CommandHistory::default();
        history.push(0.0, 100.0, 1.0);
        assert_eq!(history.push(1.0, 100.9, 1.0), 100.0);
        assert_eq!(history.push(2.0, 101.8, 1.0), 101.8);
        assert_eq!(history.push(3.0, f64::INFINITY, 1.0), f64::INFINITY);
        assert_eq!(history.push(4.0, 100.0, 1.0), 100.0);
    }
}
