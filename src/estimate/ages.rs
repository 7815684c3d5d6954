//! How old the records of a log are, by when its end was seen where: no record is read, and no clock but the observer's.

use std::collections::VecDeque;

/// Log ends seen at instants that lie the further apart the older they are: a fraction of their age.
#[derive(Clone, Debug, Default)]
pub struct Ages {
    /// Oldest first. One end a partition, NaN where it is not known.
    rows: VecDeque<Row>,
    /// The buffer of the row that was dropped last.
    spare: Vec<f64>,
}

#[derive(Clone, Debug)]
struct Row {
    read_at: f64,
    ends: Vec<f64>,
}

/// How old a record is, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Age {
    /// It is at least so old.
    pub least: f64,
    /// It is at most so old; `None`: it was written before anybody looked.
    pub most: Option<f64>,
}

impl Age {
    /// The older of two.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: self.most.zip(other.most).map(|(a, b)| a.max(b)) }
    }
}

impl Ages {
    /// Takes the log ends of one poll, for those that were not read the last ones. Partitions may be added at the end.
    pub fn push(&mut self, read_at: f64, ends: impl Iterator<Item = Option<f64>>) {
        let mut row = std::mem::take(&mut self.spare);
        row.clear();
        row.extend(ends.map(|end| end.unwrap_or(f64::NAN)));
        if let Some(last) = self.rows.back() {
            let cut: Vec<usize> = (0..last.ends.len().min(row.len())).filter(|p| row[*p] < last.ends[*p]).collect();
            cut.into_iter().for_each(|partition| self.forget(partition));
        }
        self.rows.push_back(Row { read_at, ends: row });
        self.thin();
    }

    /// The log of a partition was made anew, or cut: what was seen of it before is of no use.
    pub fn forget(&mut self, partition: usize) {
        for row in &mut self.rows {
            if let Some(end) = row.ends.get_mut(partition) {
                *end = f64::NAN;
            }
        }
    }

    /// Age at `now` of the oldest of some records, given as (partition, offset); `None` where none of them is written yet, or
    /// nothing is known of their partitions. Takes what it is given.
    ///
    /// Newest row first and all records side by side: most are young, and a row lies together in memory.
    #[must_use]
    pub fn oldest(&self, records: &mut Vec<(usize, f64)>, now: f64) -> Option<Age> {
        let (mut least, mut unknown) = (None, false);
        for row in self.rows.iter().rev() {
            let age = (now - row.read_at).max(0.0);
            records.retain(|(partition, offset)| {
                let end = row.ends.get(*partition).copied().unwrap_or(f64::NAN);
                // It was there at the next row, and what was before that nobody saw.
                unknown |= end.is_nan() && least.is_some();
                end > *offset
            });
            if records.is_empty() {
                return least.map(|least| Age { least, most: (!unknown).then_some(age) });
            }
            least = Some(age);
        }
        least.map(|least| Age { least, most: None })
    }

    /// Drops one row at most: that whose neighbours are near enough to each other for their age.
    fn thin(&mut self) {
        let newest = self.rows.back().map_or(0.0, |row| row.read_at);
        let is_near = |place: usize| {
            let after = self.rows[place + 1].read_at;
            after - self.rows[place - 1].read_at <= SPACING * (newest - after)
        };
        let near = (1..self.rows.len().saturating_sub(1)).find(|place| is_near(*place));
        let dropped = near.or((self.rows.len() > ROWS_MAX).then_some(0));
        if let Some(row) = dropped.and_then(|place| self.rows.remove(place)) {
            self.spare = row.ends;
        }
    }
}

/// Neighbours are so far apart at most, as a share of their age: an age is known to this share.
const SPACING: f64 = 0.25;
/// Weeks of polls a second fit into less.
const ROWS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(ages: &Ages, partition: usize, offset: f64, now: f64) -> Option<Age> {
        ages.oldest(&mut vec![(partition, offset)], now)
    }

    #[test]
    fn an_age_is_known_to_a_quarter_and_no_better_than_a_poll() {
        let mut ages = Ages::default();
        for second in 0..100_000 {
            ages.push(f64::from(second), [Some(f64::from(second) * 10.0)].into_iter());
        }
        let now = 100_000.0;
        assert!(ages.rows.len() < 80, "{} rows", ages.rows.len());
        for written in [0.5, 10.0, 50_000.5, 90_000.5, 99_000.5, 99_990.5, 99_998.5] {
            let age = of(&ages, 0, written * 10.0, now).unwrap();
            let (least, most) = (age.least, age.most.unwrap());
            assert!(least <= now - written && now - written <= most, "{written}: {least} to {most}");
            assert!(most - least <= 1.0 + 0.3 * most, "{written}: {least} to {most}");
        }
        assert_eq!(of(&ages, 0, 999_990.0, now), None, "not written yet");
    }

    #[test]
    fn what_nobody_saw_being_written_has_no_upper_bound() {
        let mut ages = Ages::default();
        ages.push(10.0, [Some(500.0), None].into_iter());
        ages.push(11.0, [Some(600.0), None].into_iter());
        assert_eq!(of(&ages, 0, 400.0, 20.0), Some(Age { least: 10.0, most: None }));
        assert_eq!(of(&ages, 0, 500.0, 20.0), Some(Age { least: 9.0, most: Some(10.0) }));
        assert_eq!(of(&ages, 1, 0.0, 20.0), None, "never read");
        assert_eq!(of(&ages, 7, 0.0, 20.0), None, "no such partition");
        ages.push(12.0, [Some(50.0), Some(3.0)].into_iter());
        assert_eq!(
            of(&ages, 0, 20.0, 20.0),
            Some(Age { least: 8.0, most: None }),
            "it was cut: what was seen is forgotten"
        );
    }

    proptest! {
        /// All at once is the oldest of each by itself.
        #[test]
        fn the_oldest_of_many_is_the_oldest_of_each(
            growth in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.9, 0..50_i32), 3), 1..60),
            records in prop::collection::vec((0..3_usize, 0..1_500_i32), 0..8),
            cut in prop::option::of(0..3_usize),
        ) {
            let (mut ages, mut ends) = (Ages::default(), [None; 3]);
            for (second, grown) in growth.iter().enumerate() {
                for (end, grown) in ends.iter_mut().zip(grown) {
                    *end = grown.map_or(*end, |grown| Some(end.unwrap_or(0.0) + f64::from(grown)));
                }
                ages.push(second as f64, ends.into_iter());
                if second == growth.len() / 2 {
                    cut.into_iter().for_each(|partition| ages.forget(partition));
                }
            }
            let now = growth.len() as f64;
            let records: Vec<(usize, f64)> = records.into_iter().map(|(partition, at)| (partition, f64::from(at))).collect();
            let each = records.iter().filter_map(|(partition, offset)| of(&ages, *partition, *offset, now));
            prop_assert_eq!(ages.oldest(&mut records.clone(), now), each.reduce(Age::max));
        }
    }
}
