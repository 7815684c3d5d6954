//! An experiment where lag may not be what it looks like.
//!
//! A group whose commits are a few seconds behind its work drifts down with its limit: it takes what it is given, and that
//! is taken for all it can take. So when capacity has only fallen while the limit could not bring lag to the set-point,
//! the limit is cut once, hard and short: a backlog is gone within seconds, the lag of late commits is not
//! (`estimate/commit_delay.rs` draws the conclusion).

use super::ControlConfig;

/// What is watched; seconds and messages/s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubtful {
    pub(super) now: f64,
    pub(super) step_seconds: f64,
    pub(super) drain_seconds: f64,
    pub(super) set_point_seconds: f64,
    pub(super) cadence_seconds: f64,
    pub(super) capacity: f64,
    /// Production follows this group's limit.
    pub(super) rules: bool,
    /// Commits are overdue and there is backlog.
    pub(super) silent: bool,
    /// Drain time, when a commit is new.
    pub(super) drain_at_commit: Option<f64>,
}

/// Where lag began to stay.
#[derive(Clone, Copy, Debug)]
struct Staying {
    since: f64,
    drain_seconds: f64,
    capacity: f64,
}

/// State of the experiment for one group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    /// Slow mean of the drain time above the set-point, seconds.
    above: f64,
    staying: Option<Staying>,
    /// The experiment ends, and the next may begin.
    until: f64,
    not_before: f64,
}

impl Doubt {
    /// One step; whether to cut.
    pub(super) fn step(&mut self, config: &ControlConfig, seen: Doubtful) -> bool {
        if seen.now < self.until {
            let drained = seen.drain_at_commit.is_some_and(|drain| drain < DRAINED * seen.set_point_seconds);
            if drained || seen.silent {
                self.until = seen.now;
            }
            return seen.now < self.until;
        }
        if !self.lag_stays(seen) {
            return false;
        }
        let staying = self.staying.get_or_insert(Staying {
            since: seen.now,
            drain_seconds: seen.drain_seconds,
            capacity: seen.capacity,
        });
        let long = seen.now - staying.since >= config.doubt_seconds;
        if !long || seen.capacity > FELL * staying.capacity {
            return false;
        }
        // Once to be seen by a commit, once to let a true backlog of that size go.
        let seconds = 2.0 * (seen.drain_seconds.min(LONGEST_DRAIN_SECONDS) + seen.cadence_seconds);
        self.staying = None;
        self.until = seen.now + seconds + config.actuation_seconds;
        self.not_before = self.until + AGAIN_SECONDS;
        true
    }

    /// Lag stays above the set-point under a limit that binds, and capacity does not rise.
    fn lag_stays(&mut self, seen: Doubtful) -> bool {
        let above = seen.drain_seconds - seen.set_point_seconds;
        self.above += (seen.step_seconds / MEAN_SECONDS).min(1.0) * (above - self.above);
        let short = seen.cadence_seconds <= LONGEST_CADENCE_SECONDS;
        let acts = short && seen.rules && !seen.silent && seen.now >= self.not_before;
        if !acts || self.above < LEAST_ABOVE * seen.set_point_seconds {
            self.staying = None;
            return false;
        }
        let moves = |staying: &Staying| {
            seen.drain_seconds < STAYED * staying.drain_seconds
                || seen.capacity > staying.capacity
                || seen.now - staying.since > LONGEST_SECONDS
        };
        if self.staying.as_ref().is_some_and(moves) {
            self.staying = None;
        }
        true
    }
}

/// Memory of the mean, seconds: several cadences (guessed).
const MEAN_SECONDS: f64 = 20.0;
/// Lag stays while that mean is above this share of the set-point (0.1 … 0.15 measured on the catalogue).
const LEAST_ABOVE: f64 = 0.15;
/// Below this share of where it began it is being worked off (guessed).
const STAYED: f64 = 0.6;
/// Capacity has fallen below this share (0.7 … 0.85 measured: the lowest costs true drifts least).
const FELL: f64 = 0.7;
/// What takes longer is a drift of its own, seconds (guessed).
const LONGEST_SECONDS: f64 = 150.0;
/// Lag of more than this needs no experiment to be called a backlog, seconds (guessed).
const LONGEST_DRAIN_SECONDS: f64 = 30.0;
/// With slower commits an experiment would cost more than it tells, seconds (30 s: + 1.2 % lost, measured).
const LONGEST_CADENCE_SECONDS: f64 = 12.0;
/// A commit that shows less than this share of the set-point ends the experiment: it was a backlog (0.15 … 0.4 measured).
const DRAINED: f64 = 0.15;
/// Between two experiments, seconds: each costs some seconds of production (guessed).
const AGAIN_SECONDS: f64 = 600.0;

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: ControlConfig = ControlConfig::new(2.0, 1.0);

    fn seen(now: u32, drain_seconds: f64, capacity: f64) -> Doubtful {
        Doubtful {
            now: f64::from(now),
            step_seconds: 1.0,
            drain_seconds,
            set_point_seconds: 2.0,
            cadence_seconds: 5.0,
            capacity,
            rules: true,
            silent: false,
            drain_at_commit: None,
        }
    }

    /// Seconds of cutting in ten minutes.
    fn cut(story: impl Fn(u32) -> Doubtful) -> u32 {
        let mut doubt = Doubt::default();
        (0..600).map(|now| u32::from(doubt.step(&CONFIG, story(now)))).sum()
    }

    #[test]
    fn only_lag_that_stays_while_capacity_falls_is_doubted() {
        let falling = |now: u32| 1000.0 * 0.99_f64.powi(now as i32);
        let table = [
            ("falls with the limit", cut(|now| seen(now, 3.0, falling(now))) > 0, true),
            ("capacity stays", cut(|now| seen(now, 3.0, 1000.0)) > 0, false),
            ("lag is at the set-point", cut(|now| seen(now, 2.0, falling(now))) > 0, false),
            ("lag is worked off", cut(|now| seen(now, 60.0 * 0.98_f64.powi(now as i32), falling(now))) > 0, false),
            ("silent", cut(|now| Doubtful { silent: true, ..seen(now, 3.0, falling(now)) }) > 0, false),
            ("another rules", cut(|now| Doubtful { rules: false, ..seen(now, 3.0, falling(now)) }) > 0, false),
        ];
        for (case, doubted, expected) in table {
            assert_eq!(doubted, expected, "{case}");
        }
    }

    #[test]
    fn the_experiment_is_short_rare_and_ends_with_a_commit_that_shows_no_lag() {
        let story = |now: u32| seen(now, 3.0, 1000.0 * 0.99_f64.powi(now as i32));
        assert_eq!(cut(story), 17, "twice drain time and cadence, and the actuation");
        let drained = |now: u32| Doubtful { drain_at_commit: now.is_multiple_of(5).then_some(0.1), ..story(now) };
        assert!((1..=5).contains(&cut(drained)), "{}", cut(drained));
    }
}
