//! How fast the log grows, on which partitions, and by whom.

use std::collections::VecDeque;

use super::EstimateConfig;

/// Growth of a valve's log.
#[derive(Clone, Debug, Default)]
pub struct Production {
    window: VecDeque<(f64, Vec<Option<f64>>)>,
    last: Option<(f64, Vec<Option<f64>>)>,
    per_partition: Vec<f64>,
    share: Vec<f64>,
    mean: f64,
    share_known: bool,
}

/// Start and end of the averaging window, seconds on the agent's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProductionWindow {
    /// When the first end of the window was read.
    pub from: f64,
    /// When the last end of the window was read.
    pub to: f64,
}

impl Production {
    /// Takes the log ends of one poll. A partition begins to count when its end is first read: its past is no growth.
    pub fn update(&mut self, config: &EstimateConfig, ends_at: f64, ends: &[Option<f64>]) {
        let Some((last_at, last)) = &mut self.last else {
            self.share = vec![1.0 / ends.len().max(1) as f64; ends.len()];
            self.per_partition = vec![0.0; ends.len()];
            self.last = Some((ends_at, ends.to_vec()));
            self.window.push_back((ends_at, ends.to_vec()));
            return;
        };
        begin(last, ends);
        self.per_partition.resize(ends.len(), 0.0);
        self.share.resize(ends.len(), 0.0);
        for (_, seen) in &mut self.window {
            begin(seen, ends);
        }
        self.window.push_back((ends_at, ends.to_vec()));
        while self.window.len() > 2 && ends_at - self.window[1].0 >= config.production_window_seconds {
            self.window.pop_front();
        }
        let (first_at, first) = &self.window[0];
        let span = (ends_at - first_at).max(0.5 * config.poll_seconds * (self.window.len() - 1) as f64);
        self.mean = growth(first, ends).sum::<f64>() / span;

        let elapsed = (ends_at - *last_at).max(0.5 * config.poll_seconds);
        let growth: Vec<f64> = growth(last, ends).collect();
        let total: f64 = growth.iter().sum();
        if total > 0.0 {
            let gain = if self.share_known { (config.poll_seconds / SHARE_MEMORY_SECONDS).min(1.0) } else { 1.0 };
            for (share, grown) in self.share.iter_mut().zip(&growth) {
                *share += gain * (grown / total - *share);
            }
        }
        self.share_known = total > 0.0;
        for (rate, grown) in self.per_partition.iter_mut().zip(&growth) {
            *rate = grown / elapsed;
        }
        self.last = Some((ends_at, ends.to_vec()));
    }

    /// The log of a partition was made anew: its growth is counted from the next end that is read.
    pub fn forget(&mut self, partition: usize) {
        let rows = self.window.iter_mut().chain(self.last.as_mut());
        for (_, ends) in rows {
            if let Some(end) = ends.get_mut(partition) {
                *end = None;
            }
        }
        if let Some(rate) = self.per_partition.get_mut(partition) {
            *rate = 0.0;
        }
    }

    /// Mean growth of all partitions over the last ≥ 2 s, messages/s; `None` before two polls.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.window.len() > 1).then_some(self.mean)
    }

    /// The window of [`Production::mean`]; `None` before two polls.
    #[must_use]
    pub fn window(&self) -> Option<ProductionWindow> {
        let (first, last) = (self.window.front()?, self.window.back()?);
        (self.window.len() > 1).then_some(ProductionWindow { from: first.0, to: last.0 })
    }

    /// Growth a partition since the previous poll, messages/s.
    #[must_use]
    pub fn per_partition(&self) -> &[f64] {
        &self.per_partition
    }

    /// Share of the traffic a partition, memory 30 s; sums to 1.
    #[must_use]
    pub fn share(&self) -> &[f64] {
        &self.share
    }
}

fn begin(seen: &mut Vec<Option<f64>>, ends: &[Option<f64>]) {
    seen.resize(ends.len(), None);
    for (start, end) in seen.iter_mut().zip(ends) {
        *start = start.or(*end);
    }
}

/// Never negative: a log that shrank was truncated or made anew.
fn growth<'a>(starts: &'a [Option<f64>], ends: &'a [Option<f64>]) -> impl Iterator<Item = f64> + 'a {
    ends.iter().zip(starts).map(|(end, start)| match (end, start) {
        (Some(end), Some(start)) => (end - start).max(0.0),
        _ => 0.0,
    })
}

/// Production split by who made it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveSplit {
    /// What governed clients report, messages/s.
    pub governed: f64,
    /// The rest; 0 when it is noise.
    pub live: f64,
}

impl LiveSplit {
    /// `live = max(0, production − governed)`, both over the same window.
    ///
    /// Below 2 % of production or 2 messages/s it is taken for noise: transaction markers and compaction gaps count as
    /// offsets too (guessed bounds, above what one marker a partition a second makes).
    #[must_use]
    pub fn of(production: f64, governed: f64) -> Self {
        let rest = (production - governed).max(0.0);
        let noise = rest < (0.02 * production).max(2.0);
        Self { governed, live: if noise { 0.0 } else { rest } }
    }
}

/// Memory of the traffic shares, seconds (measured: 10–60 s make no difference).
const SHARE_MEMORY_SECONDS: f64 = 30.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_the_slope_over_two_seconds() {
        let config = EstimateConfig::for_poll(1.0);
        let mut production = Production::default();
        assert_eq!(production.mean(), None);
        for second in 0..5 {
            let made = f64::from(second) * 100.0;
            production.update(&config, f64::from(second), &[Some(made), Some(3.0 * made)]);
        }
        assert_eq!(production.mean(), Some(400.0));
        assert_eq!(production.window(), Some(ProductionWindow { from: 2.0, to: 4.0 }));
        assert_eq!(production.per_partition(), [100.0, 300.0]);
        assert_eq!(production.share(), [0.25, 0.75]);
    }

    #[test]
    fn two_polls_at_nearly_the_same_time_make_no_infinite_rate() {
        let config = EstimateConfig::for_poll(1.0);
        let mut production = Production::default();
        production.update(&config, 1.0, &[Some(0.0)]);
        production.update(&config, 1.0, &[Some(100.0)]);
        assert_eq!(production.mean(), Some(200.0));
        assert_eq!(production.per_partition(), [200.0]);
    }

    #[test]
    fn an_added_partition_does_not_count_its_past_as_growth() {
        let config = EstimateConfig::for_poll(1.0);
        let mut production = Production::default();
        production.update(&config, 0.0, &[Some(0.0)]);
        production.update(&config, 1.0, &[Some(100.0), None]);
        production.update(&config, 1.0, &[Some(100.0), Some(5000.0)]);
        assert_eq!(production.mean(), Some(100.0));
        production.update(&config, 2.0, &[Some(200.0), Some(5100.0)]);
        assert_eq!(production.mean(), Some(150.0));
    }

    #[test]
    fn a_log_made_anew_does_not_grow_by_its_length() {
        let config = EstimateConfig::for_poll(1.0);
        let mut production = Production::default();
        for second in 0..4 {
            production.update(&config, f64::from(second), &[Some(1000.0 + 100.0 * f64::from(second))]);
        }
        production.forget(0);
        production.update(&config, 4.0, &[Some(7000.0)]);
        assert_eq!((production.mean(), production.per_partition()), (Some(0.0), &[0.0][..]));
        production.update(&config, 5.0, &[Some(7100.0)]);
        assert_eq!(production.per_partition(), [100.0]);
    }

    #[test]
    fn noise_is_not_live_traffic() {
        for (production, governed, live) in
            [(1000.0, 990.0, 0.0), (1000.0, 700.0, 300.0), (3.0, 2.0, 0.0), (100.0, 130.0, 0.0), (5.0, 0.0, 5.0)]
        {
            assert_eq!(LiveSplit::of(production, governed).live, live, "{production} {governed}");
        }
    }
}
