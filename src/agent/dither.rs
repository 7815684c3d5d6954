//! When to poll next.

/// Seconds until the poll after poll number `n`, for polls every `poll_seconds`: 2 to 4 % sooner than that.
///
/// A commit is only known to lie between two polls. In lock step with a group that commits every 5 s that would never
/// get better: the estimated instant could stay wrong by a whole interval, and lag with it. A poll that comes a little
/// early moves through the group's rhythm like a vernier scale, by 0.15 of an interval a commit, so that after seven
/// commits the bounds have closed in; the two per cent beside it keep any other rhythm from locking.
#[must_use]
pub fn poll_delay(poll_seconds: f64, n: u32) -> f64 {
    // Multiples of the golden ratio modulo 1 are spread evenly and never repeat (Weyl).
    let offset = (f64::from(n) * GOLDEN_RATIO).fract() - 0.5;
    poll_seconds * (0.97 + 0.02 * offset)
}

/// (√5 − 1) / 2.
const GOLDEN_RATIO: f64 = 0.618_033_988_749_894_9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_come_two_to_four_percent_early() {
        assert!((0..1000).map(|n| poll_delay(2.0, n)).all(|delay| (1.92..=1.96).contains(&delay)));
    }

    #[test]
    fn no_usual_commit_interval_stays_in_step_with_the_polls() {
        for commit_seconds in [1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 30.0, 60.0] {
            let mut seen = [false; 10];
            let (mut at, mut before) = (0.0_f64, 0.0_f64);
            for n in 0..400 {
                at += poll_delay(1.0, n);
                if (at / commit_seconds).floor() > (before / commit_seconds).floor() {
                    seen[((at % commit_seconds) * 10.0).min(9.0) as usize] = true;
                }
                before = at;
            }
            let phases = seen.iter().filter(|seen| **seen).count();
            assert!(phases >= 6, "{commit_seconds} s: only {phases} of 10 phases");
        }
    }
}
