//! Vocabulary: time as an argument. The one file that reads the system clock.

use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A point on a monotonic clock, in nanoseconds from an origin of the clock's own.
///
/// Instants of different clocks must not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// `nanos` nanoseconds after the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `seconds` after the clock's origin; negative or not finite counts as the origin itself.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1e9) as u64)
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds since the clock's origin, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Seconds since the clock's origin.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Time since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Seconds since `other`; negative when `other` is later.
    #[must_use]
    pub fn seconds_since(self, other: Self) -> f64 {
        if self.0 >= other.0 { (self.0 - other.0) as f64 / 1e9 } else { -((other.0 - self.0) as f64 / 1e9) }
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of the clock (584 years).
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at the clock's origin.
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Where the present comes from.
pub trait Clock: Send + Sync {
    /// The present, monotonic.
    fn now(&self) -> Instant;
    /// The present in milliseconds since the Unix epoch: for records that people read, never for control.
    fn unix_millis(&self) -> u64;
}

/// The machine's clocks. All copies share one origin: one hour before the first use in this process,
/// so that `now - d` stays exact for the durations the loop looks back on.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    fn now(&self) -> Instant {
        static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
        let elapsed = ORIGIN.get_or_init(std::time::Instant::now).elapsed();
        Instant(HOUR_NANOS.saturating_add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn unix_millis(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub const fn new(start: Instant) -> Self {
        Self(AtomicU64::new(start.0))
    }

    /// Moves on by `step`.
    pub fn advance(&self, step: Duration) {
        self.0.fetch_add(u64::try_from(step.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant(self.0.load(Ordering::SeqCst))
    }

    fn unix_millis(&self) -> u64 {
        self.0.load(Ordering::SeqCst) / 1_000_000
    }
}

const HOUR_NANOS: u64 = 3_600_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_signed_and_saturate() {
        let a = Instant::from_seconds(2.0);
        let b = Instant::from_seconds(3.5);
        assert_eq!(b.seconds_since(a), 1.5);
        assert_eq!(a.seconds_since(b), -1.5);
        assert_eq!(a.since(b), Duration::ZERO);
        assert_eq!(Instant::from_seconds(-1.0), Instant::default());
        assert_eq!(a - Duration::from_secs(5), Instant::default());
    }

    #[test]
    fn the_system_clock_does_not_go_back() {
        let first = SystemClock.now();
        assert!(SystemClock.now() >= first);
        assert!(first.as_nanos() >= HOUR_NANOS);
        assert!(SystemClock.unix_millis() > 1_700_000_000_000);
    }
}
