//! The log ends of the last polls, side by side for each partition.

/// Log ends with the times of their reading; NaN where one was never read.
///
/// One partition's ends lie together in memory: most questions are about one partition and all polls.
#[derive(Clone, Debug)]
pub(super) struct EndsHistory {
    times: [f64; POLLS_KEPT],
    /// A row of [`POLLS_KEPT`] places a partition.
    ends: Vec<f64>,
    /// Place of the next poll: the oldest one, when all places are taken.
    next: usize,
    /// Places taken.
    len: usize,
}

impl EndsHistory {
    /// Nothing read yet.
    pub(super) const fn new() -> Self {
        Self { times: [0.0; POLLS_KEPT], ends: Vec::new(), next: 0, len: 0 }
    }

    /// Takes the ends of one poll, in the place of the oldest. Partitions may be added at the end.
    pub(super) fn push(&mut self, read_at: f64, ends: &[Option<f64>]) {
        self.ends.resize(ends.len() * POLLS_KEPT, f64::NAN);
        self.times[self.next] = read_at;
        let last = (self.next + POLLS_KEPT - 1) % POLLS_KEPT;
        for (row, end) in self.ends.chunks_exact_mut(POLLS_KEPT).zip(ends) {
            let end = end.unwrap_or(f64::NAN);
            if end < row[last] {
                // The log was cut: offsets before mean other records.
                row.fill(f64::NAN);
            }
            row[self.next] = end;
        }
        self.next = (self.next + 1) % POLLS_KEPT;
        self.len = (self.len + 1).min(POLLS_KEPT);
    }

    /// The log of a partition was made anew, or cut: what was read of it before is of no use.
    pub(super) fn forget(&mut self, partition: usize) {
        if let Some(row) = self.ends.chunks_exact_mut(POLLS_KEPT).nth(partition) {
            row.fill(f64::NAN);
        }
    }

    /// `(read at, end)` of one partition, oldest first.
    pub(super) fn of(&self, partition: usize) -> impl DoubleEndedIterator<Item = (f64, f64)> + '_ {
        self.in_order(&self.ends[partition * POLLS_KEPT..][..POLLS_KEPT])
    }

    /// `(read at, sum of the ends)` of some partitions, oldest first.
    pub(super) fn total(&self, partitions: &[usize]) -> Vec<(f64, f64)> {
        let mut sums = [0.0; POLLS_KEPT];
        for partition in partitions {
            let row = &self.ends[partition * POLLS_KEPT..][..POLLS_KEPT];
            sums.iter_mut().zip(row).for_each(|(sum, end)| *sum += end);
        }
        self.in_order(&sums).collect()
    }

    fn in_order<'a>(&'a self, row: &'a [f64]) -> impl DoubleEndedIterator<Item = (f64, f64)> + 'a {
        let part = |from: usize, to: usize| self.times[from..to].iter().copied().zip(row[from..to].iter().copied());
        part(self.next.min(self.len), self.len).chain(part(0, self.next))
    }
}

/// Polls that are remembered: a minute of them, twice the slowest common commit interval.
const POLLS_KEPT: usize = 61;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_log_that_was_cut_begins_anew() {
        let mut history = EndsHistory::new();
        for (second, end) in [(0.0, 100.0), (1.0, 200.0), (2.0, 150.0), (3.0, 160.0)] {
            history.push(second, &[Some(end), Some(second)]);
        }
        let known: Vec<_> = history.of(0).filter(|(_, end)| !end.is_nan()).collect();
        assert_eq!(known, [(2.0, 150.0), (3.0, 160.0)]);
        assert_eq!(history.of(1).filter(|(_, end)| !end.is_nan()).count(), 4);
    }

    proptest! {
        /// The last 61 polls come back in order, whenever partitions were added.
        #[test]
        fn what_was_pushed_comes_back_oldest_first(added in prop::collection::vec(0..3_usize, 1..200)) {
            let mut history = EndsHistory::new();
            let mut rows: Vec<(f64, Vec<Option<f64>>)> = Vec::new();
            let mut partitions = 1;
            for (poll, more) in added.iter().enumerate() {
                partitions += usize::from(*more == 2);
                let end = |partition: usize| (partition != poll % 7).then_some((poll * 1000 + partition) as f64);
                let ends: Vec<Option<f64>> = (0..partitions).map(end).collect();
                history.push(poll as f64, &ends);
                rows.push((poll as f64, ends));
            }
            let kept = &rows[rows.len().saturating_sub(POLLS_KEPT)..];
            for partition in 0..partitions {
                let expected: Vec<_> = kept.iter().map(|(at, row)| (*at, row.get(partition).copied().flatten())).collect();
                let seen: Vec<_> = history.of(partition).map(|(at, end)| (at, (!end.is_nan()).then_some(end))).collect();
                prop_assert_eq!(&seen, &expected);
                let backwards: Vec<_> = history.of(partition).rev().map(|(at, _)| at).collect();
                prop_assert_eq!(backwards, expected.iter().rev().map(|(at, _)| *at).collect::<Vec<_>>());
            }
            let total = history.total(&[0]);
            prop_assert_eq!(total.len(), kept.len());
        }
    }
}
