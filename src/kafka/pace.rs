//! How long a call may take, learned from how long it took.
//!
//! The client asks again and again for whatever a broker refuses for the moment, and holds back what it has got until
//! its time is over. So a call gets a short time first, and a long one only where nothing was heard at all.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What was learned, by what calls are about.
#[derive(Debug)]
pub(super) struct Paces<K>(Mutex<HashMap<K, Pace>>);

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// Nothing was heard last time.
    silent: bool,
    /// How long a call took that got all it asked for.
    usual: Option<Duration>,
}

/// What a call has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    /// Nothing.
    Nothing,
    /// An answer, though not the one that was hoped for.
    Something,
    /// All it asked for, in this time.
    All(Duration),
}

impl<K: Eq + Hash> Paces<K> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// The time that the next call about `key` may take: `short`, or `long` when nothing was heard last time.
    pub(super) fn patience(&self, key: &K, short: Duration, long: Duration) -> Duration {
        if self.lock().get(key).is_some_and(|pace| pace.silent) { long.max(short) } else { short.min(long) }
    }

    /// How long a call about `key` usually takes; `None` until one got all it asked for.
    pub(super) fn usual(&self, key: &K) -> Option<Duration> {
        self.lock().get(key).and_then(|pace| pace.usual)
    }

    /// Learns from a call about `key`.
    pub(super) fn learn(&self, key: K, heard: Heard) {
        let mut paces = self.lock();
        let pace = paces.entry(key).or_default();
        pace.silent = heard == Heard::Nothing;
        if let Heard::All(took) = heard {
            pace.usual = Some(took);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_silence_buys_more_time() {
        let (paces, short, long) = (Paces::new(), Duration::from_secs(1), Duration::from_secs(5));
        let patience = || paces.patience(&"a", short, long);
        assert_eq!((patience(), paces.usual(&"a")), (short, None));
        paces.learn("a", Heard::All(Duration::from_millis(3)));
        paces.learn("a", Heard::Something);
        assert_eq!((patience(), paces.usual(&"a")), (short, Some(Duration::from_millis(3))));
        paces.learn("a", Heard::Nothing);
        assert_eq!(patience(), long);
        paces.learn("a", Heard::Something);
        assert_eq!(patience(), short);
    }
}
