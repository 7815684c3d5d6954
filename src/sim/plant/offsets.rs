//! Offsets are not records: where a log holds offsets that nobody reads.

/// Empty offsets of every partition, in the order of the log.
#[derive(Clone, Debug)]
pub(super) struct Offsets {
    /// Position in records, and empty offsets up to and including it; ascending.
    empty: Vec<Vec<(f64, f64)>>,
}

impl Offsets {
    /// Each offset holds a record.
    pub(super) fn new(partitions: usize) -> Self {
        Self { empty: vec![Vec::new(); partitions] }
    }

    /// After `records` records come `count` offsets without one; never before those that were added already.
    pub(super) fn add(&mut self, partition: usize, records: f64, count: f64) {
        let before = self.empty[partition].last().map_or(0.0, |(_, sum)| *sum);
        self.empty[partition].push((records, before + count));
    }

    /// The offset that follows `records` records and all that is empty behind them: a log end.
    pub(super) fn end(&self, partition: usize, records: f64) -> i64 {
        let whole = (records + ROUNDING).floor();
        (whole + self.until(partition, |at| at <= records + ROUNDING)) as i64
    }

    /// The offset after the last of `records` records: what a group commits that has read no further.
    pub(super) fn after(&self, partition: usize, records: f64) -> i64 {
        (records + self.until(partition, |at| at < records - FRACTION)) as i64
    }

    fn until(&self, partition: usize, passed: impl Fn(f64) -> bool) -> f64 {
        let empty = &self.empty[partition];
        let count = empty.partition_point(|(at, _)| passed(*at));
        count.checked_sub(1).map_or(0.0, |last| empty[last].1)
    }
}

/// Sums of fractions are off by less.
const ROUNDING: f64 = 1e-6;
/// A whole number of records that is written as a sum of fractions is nearer to it than this.
const FRACTION: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_stops_short_of_what_is_empty_behind_it() {
        let mut offsets = Offsets::new(1);
        offsets.add(0, 10.0, 1.0);
        offsets.add(0, 20.0, 2.0);
        let table = [
            ("before", 9.0, 9, 9),
            ("at a marker", 10.0, 11, 10),
            ("behind it", 11.0, 12, 12),
            ("at the next", 20.0, 23, 21),
            ("behind all", 30.0, 33, 33),
        ];
        for (case, records, end, after) in table {
            assert_eq!((offsets.end(0, records), offsets.after(0, records)), (end, after), "{case}");
        }
    }
}
