//! Runway: how long until retention deletes the oldest unread record, and whether what is written now will be read in time.

use super::Age;
use crate::lag::Retention;

/// What retention leaves, seconds; `None`: unlimited, or not known. Negative: it is too late.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Runway {
    /// Until the oldest unread record is deleted. Throttling cannot change it: an alarm.
    pub of_oldest_seconds: Option<f64>,
    /// Between the reading of what is written now and its deletion. What a valve can keep.
    pub of_newest_seconds: Option<f64>,
}

/// One partition, as its retention sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unread {
    /// Records that are not read yet.
    pub messages: f64,
    /// Age of the oldest unread record of the topic; `None`: not known, or there is none.
    pub oldest: Option<Age>,
    /// What the partition's consumer can take, or what is written, whatever is more, messages/s.
    pub speed: f64,
}

impl Runway {
    /// Runway of one partition. `drain_seconds`: how long until the group reads what is written now.
    ///
    /// By time, the oldest record has `retention.ms` less its age (the upper bound of it), and what is written now
    /// `retention.ms` less the drain time. By size, a record goes when `retention.bytes` were written behind it: the
    /// oldest after (`retention.bytes` − unread bytes) ÷ byte rate, and the newest one drain time later than that is read.
    /// The byte rate is never below what the group can take: a rate that the valve holds down says nothing.
    #[must_use]
    pub fn of(retention: &Retention, unread: Unread, drain_seconds: f64) -> Self {
        let by_time = |age: Option<f64>| Some(retention.seconds? - age?);
        let by_size = retention.bytes.zip(retention.bytes_per_message).and_then(|(bytes, each)| {
            let rate = unread.speed * each;
            (rate > 0.0).then(|| (bytes - unread.messages * each) / rate)
        });
        let oldest_by_time = by_time(unread.oldest.and_then(|age| age.most));
        Self {
            of_oldest_seconds: least(oldest_by_time, by_size.filter(|_| unread.messages > 0.0)),
            of_newest_seconds: least(by_time(Some(drain_seconds)), by_size),
        }
    }

    /// The smaller of two, each figure by itself.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            of_oldest_seconds: least(self.of_oldest_seconds, other.of_oldest_seconds),
            of_newest_seconds: least(self.of_newest_seconds, other.of_newest_seconds),
        }
    }
}

fn least(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runway_is_what_retention_leaves() {
        let hour = Retention { seconds: Some(3600.0), ..Retention::default() };
        let sized = Retention { bytes: Some(1e6), bytes_per_message: Some(100.0), ..Retention::default() };
        let both = Retention { seconds: Some(50.0), ..sized };
        let age = |least, most| Some(Age { least, most });
        let unread = |messages, oldest, speed| Unread { messages, oldest, speed };
        let table = [
            ("no limit", Retention::default(), unread(1e6, age(9e9, Some(9e9)), 10.0), 100.0, None, None),
            ("by time", hour, unread(5e3, age(500.0, Some(600.0)), 10.0), 400.0, Some(3000.0), Some(3200.0)),
            ("too late", hour, unread(5e3, age(3600.0, Some(4000.0)), 10.0), 3900.0, Some(-400.0), Some(-300.0)),
            ("age not known", hour, unread(5e3, age(500.0, None), 10.0), 400.0, None, Some(3200.0)),
            ("nothing unread", hour, unread(0.0, None, 10.0), 0.0, None, Some(3600.0)),
            ("by size", sized, unread(4e3, age(1.0, None), 50.0), 80.0, Some(120.0), Some(120.0)),
            ("by size, caught up", sized, unread(0.0, None, 50.0), 0.0, None, Some(200.0)),
            ("by size, full", sized, unread(2e4, age(1.0, None), 50.0), 80.0, Some(-200.0), Some(-200.0)),
            (
                "size not told",
                Retention { bytes_per_message: None, ..sized },
                unread(4e3, None, 50.0),
                80.0,
                None,
                None,
            ),
            ("nothing moves", sized, unread(4e3, None, 0.0), 80.0, None, None),
            ("the tighter of both", both, unread(4e3, age(9.0, Some(10.0)), 50.0), 45.0, Some(40.0), Some(5.0)),
        ];
        for (case, retention, unread, drain, oldest, newest) in table {
            let runway = Runway::of(&retention, unread, drain);
            assert_eq!((runway.of_oldest_seconds, runway.of_newest_seconds), (oldest, newest), "{case}");
        }
    }
}
