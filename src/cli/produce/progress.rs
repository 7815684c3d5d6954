//! What a run looks like from outside: rate, lag, time to go and the reason, as a sentence or as an object. Pure.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use lagvalve::agent::{GroupRecord, TickRecord};
use lagvalve::clock::Instant;
use lagvalve::control::BoundBy;
use lagvalve::units::{HumanCount, RateLimit};
use serde::Serialize;

use super::acks::Counts;

/// Turns counts over time into a rate and a time to go.
#[derive(Debug)]
pub(super) struct Meter {
    started: Instant,
    samples: VecDeque<Sample>,
    /// Stored bytes of the whole input, where known.
    total: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    delivered: u64,
    position: u64,
}

impl Meter {
    /// Begins at `now`; `total` is the size of the input as stored.
    pub(super) fn new(now: Instant, total: Option<u64>) -> Self {
        let first = Sample { at: now, delivered: 0, position: 0 };
        Self { started: now, samples: VecDeque::from([first]), total }
    }

    /// Takes note of the records delivered and the stored bytes they came from.
    pub(super) fn record(&mut self, now: Instant, delivered: u64, position: u64) {
        self.samples.push_back(Sample { at: now, delivered, position });
        while self.samples.len() > 2 && self.samples[1].at + WINDOW <= now {
            self.samples.pop_front();
        }
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.last().at.since(self.started)
    }

    /// Records delivered a second over the last 10 s; unknown in the first half second.
    pub(super) fn rate(&self) -> Option<f64> {
        let (first, last) = (self.samples[0], self.last());
        let seconds = last.at.seconds_since(first.at);
        (seconds >= 0.5).then(|| (last.delivered - first.delivered) as f64 / seconds)
    }

    /// Share of the input that is delivered, 0 to 1.
    pub(super) fn fraction(&self) -> Option<f64> {
        let total = self.total.filter(|total| *total > 0)?;
        Some((self.last().position as f64 / total as f64).min(1.0))
    }

    /// Time to go at the rate of the last 10 s.
    pub(super) fn eta(&self) -> Option<Duration> {
        let (first, last) = (self.samples[0], self.last());
        let seconds = last.at.seconds_since(first.at);
        let advanced = last.position.saturating_sub(first.position) as f64;
        let left = self.total?.saturating_sub(last.position) as f64;
        (seconds >= 0.5 && advanced > 0.0).then(|| left / advanced * seconds).and_then(|seconds| {
            // Beyond a year it is no estimate.
            (seconds < 3.2e7).then(|| Duration::from_secs_f64(seconds))
        })
    }

    fn last(&self) -> Sample {
        *self.samples.back().expect("the first sample is there from the start")
    }
}

/// The group that matters most in `record`: the one furthest above its set-point, else one whose lag is unknown.
pub(super) fn slowest(record: &TickRecord) -> Option<&GroupRecord> {
    let excess = |group: &GroupRecord| group.drain_seconds.map(|drain| drain / group.set_point_seconds.max(0.001));
    let measured = record.groups.iter().filter(|group| group.drain_seconds.is_some());
    let furthest = measured.max_by(|a, b| excess(a).partial_cmp(&excess(b)).unwrap_or(std::cmp::Ordering::Equal));
    furthest.or_else(|| record.groups.first())
}

/// One moment of a run.
#[derive(Debug)]
pub(super) struct Moment<'a> {
    /// What became of the lines.
    pub(super) counts: Counts,
    /// Rate and time to go.
    pub(super) meter: &'a Meter,
    /// The latest turn of the loop.
    pub(super) record: &'a TickRecord,
    /// The rate in force.
    pub(super) limit: RateLimit,
    /// What stands in the way besides the valve: a broker that does not answer, for example.
    pub(super) trouble: Option<&'a str>,
}

impl Moment<'_> {
    /// The sentence for a person; `percent` is left out where a bar shows it.
    pub(super) fn sentence(&self, with_percent: bool) -> String {
        let mut text = format!("{} records", HumanCount(self.counts.delivered as f64));
        if let (true, Some(fraction)) = (with_percent, self.meter.fraction()) {
            let _ = write!(text, ", {:.0} %", (fraction * 100.0).floor());
        }
        if let Some(rate) = self.meter.rate() {
            let _ = write!(text, ", {}/s", HumanCount(rate));
        }
        if let Some(group) = slowest(self.record) {
            let _ = write!(text, ", {}", lag_of(group));
        }
        if let Some(eta) = self.meter.eta() {
            let _ = write!(text, ", {} to go", clock(eta));
        }
        if self.counts.rejected > 0 {
            let _ = write!(text, ", {} rejected", HumanCount(self.counts.rejected as f64));
        }
        let _ = match self.trouble {
            Some(trouble) => write!(text, "; {trouble}"),
            None => write!(text, "; {}", self.record.bound_by.sentence()),
        };
        text
    }

    /// The object for a machine.
    pub(super) fn object(&self) -> ProgressObject<'_> {
        let group = slowest(self.record);
        ProgressObject {
            event: "progress",
            elapsed_seconds: self.meter.elapsed().as_secs_f64(),
            delivered: self.counts.delivered,
            in_flight: self.counts.in_flight,
            rejected: self.counts.rejected,
            settled_lines: self.counts.settled,
            rate: self.meter.rate(),
            rate_limit: self.limit,
            fraction: self.meter.fraction(),
            eta_seconds: self.meter.eta().map(|eta| eta.as_secs_f64()),
            group: group.map(|group| group.group.as_str()),
            drain_seconds: group.and_then(|group| group.drain_seconds),
            set_point_seconds: group.map(|group| group.set_point_seconds),
            lag_messages: group.and_then(|group| group.lag_messages),
            bound_by: self.record.bound_by,
            trouble: self.trouble,
        }
    }
}

/// A line of `--json` while the run goes on. Rates are messages/s; `null` is unknown.
#[derive(Debug, Serialize)]
pub(super) struct ProgressObject<'a> {
    event: &'static str,
    elapsed_seconds: f64,
    delivered: u64,
    in_flight: u64,
    rejected: u64,
    settled_lines: u64,
    rate: Option<f64>,
    rate_limit: RateLimit,
    fraction: Option<f64>,
    eta_seconds: Option<f64>,
    group: Option<&'a str>,
    drain_seconds: Option<f64>,
    set_point_seconds: Option<f64>,
    lag_messages: Option<f64>,
    bound_by: BoundBy,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'a str>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// The whole input is delivered or rejected.
    Done,
    /// A line, a record, the input or Kafka stopped it.
    Failed,
    /// A person or a supervisor stopped it.
    Interrupted,
    /// The time allowed was over.
    DeadlinePassed,
}

/// The whole run in figures. As JSON the last line of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    event: &'static str,
    outcome: Outcome,
    delivered: u64,
    rejected: u64,
    /// Records that were sent and neither acknowledged nor refused.
    in_doubt: u64,
    skipped_lines: u64,
    /// Lines settled without a hole: what to skip next time.
    resume_skip_lines: u64,
    /// Records delivered behind the first hole: a resumed run writes them again.
    delivered_again_on_resume: u64,
    seconds: f64,
    mean_rate: f64,
    /// Largest drain time of a protected group that was seen; `null` when none was known.
    peak_drain_seconds: Option<f64>,
}

impl Summary {
    /// Of a run that skipped `skipped` lines and took `elapsed`.
    pub(super) fn new(
        outcome: Outcome,
        counts: Counts,
        skipped: u64,
        elapsed: Duration,
        peak_drain_seconds: Option<f64>,
    ) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self {
            event: "summary",
            outcome,
            delivered: counts.delivered,
            rejected: counts.rejected,
            in_doubt: counts.in_flight,
            skipped_lines: skipped,
            resume_skip_lines: counts.settled,
            delivered_again_on_resume: counts.delivered_beyond,
            seconds,
            mean_rate: counts.delivered as f64 / seconds.max(0.001),
            peak_drain_seconds,
        }
    }

    /// One line for a person.
    pub(super) fn sentence(&self) -> String {
        let mut text = format!(
            "{} records delivered in {}, {}/s",
            HumanCount(self.delivered as f64),
            clock(Duration::from_secs_f64(self.seconds)),
            HumanCount(self.mean_rate),
        );
        if let Some(peak) = self.peak_drain_seconds {
            let _ = write!(text, ", peak lag {peak:.1} s");
        }
        let _ = write!(text, ", {} rejected", HumanCount(self.rejected as f64));
        if self.in_doubt > 0 {
            let _ = write!(text, ", {} in doubt", HumanCount(self.in_doubt as f64));
        }
        text
    }

    /// How to go on after anything but [`Outcome::Done`].
    pub(super) fn resume_sentence(&self) -> String {
        let mut text = format!("resume with --skip-lines {} and the same input", self.resume_skip_lines);
        let again = self.delivered_again_on_resume + self.in_doubt;
        if again > 0 {
            let _ = write!(text, " (up to {} records are then written a second time)", HumanCount(again as f64));
        }
        text
    }
}

/// "lag 1.8 s of 2 s (billing)", "lag unknown (billing)".
fn lag_of(group: &GroupRecord) -> String {
    match group.drain_seconds {
        Some(drain) => format!("lag {drain:.1} s of {} s ({})", HumanCount(group.set_point_seconds), group.group),
        None => format!("lag unknown ({})", group.group),
    }
}

/// `8.4s`, `3m 20s`, `2h 05m`, `3d 04h`.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Long enough for consumers that commit every 5 s, short enough to follow a change. Guessed.
const WINDOW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use lagvalve::agent::{GroupVerdict, Mode, Quality};

    use super::*;

    fn group(name: &str, drain: Option<f64>, set_point: f64) -> GroupRecord {
        GroupRecord {
            group: name.into(),
            state: GroupVerdict::Steady,
            quality: Quality::Fresh,
            coverage: 1.0,
            cadence_seconds: None,
            lag_messages: drain.map(|drain| drain * 1000.0),
            committed_lag: None,
            lost_messages: None,
            age_least_seconds: None,
            age_most_seconds: None,
            runway_seconds: None,
            drain_seconds: drain,
            capacity: None,
            set_point_seconds: set_point,
            members: None,
            excluded_partitions: Vec::new(),
            problem: None,
            partitions: Vec::new(),
        }
    }

    fn record(groups: Vec<GroupRecord>, bound_by: BoundBy) -> TickRecord {
        TickRecord {
            v: 1,
            seq: 0,
            at: 0,
            mono_ms: 0,
            valve: "v".into(),
            mode: Mode::Enforce,
            config_id: None,
            groups,
            production: None,
            live: None,
            terms: None,
            rate_unbounded: RateLimit::Unlimited,
            rate_decided: RateLimit::Unlimited,
            rate_allocated: RateLimit::Unlimited,
            rate_applied: None,
            bound_by,
            causes: Vec::new(),
            advice: None,
            eta_seconds: None,
            signal_age_seconds: None,
            explain: String::new(),
            input: None,
            config: None,
        }
    }

    fn at(seconds: f64) -> Instant {
        Instant::from_seconds(100.0 + seconds)
    }

    #[test]
    fn rate_and_time_to_go_follow_the_last_ten_seconds() {
        let mut meter = Meter::new(at(0.0), Some(1_000_000));
        assert_eq!((meter.rate(), meter.eta()), (None, None));
        for second in 1_u32..=20 {
            meter.record(at(f64::from(second)), u64::from(second.min(10)) * 1000, u64::from(second.min(10)) * 50_000);
        }
        assert_eq!(meter.rate(), Some(0.0), "nothing came in the last ten seconds");
        assert_eq!((meter.eta(), meter.fraction()), (None, Some(0.5)));
        meter.record(at(30.0), 20_000, 750_000);
        assert_eq!(meter.rate(), Some(1000.0));
        assert_eq!(meter.eta(), Some(Duration::from_secs(10)));
        assert_eq!(meter.elapsed(), Duration::from_secs(30));
    }

    #[test]
    fn an_input_of_unknown_size_has_a_rate_but_no_end() {
        let mut meter = Meter::new(at(0.0), None);
        meter.record(at(2.0), 100, 5000);
        assert_eq!((meter.rate(), meter.fraction(), meter.eta()), (Some(50.0), None, None));
    }

    #[test]
    fn the_slowest_group_is_the_one_furthest_above_its_own_set_point() {
        let groups = vec![group("a", Some(3.0), 10.0), group("b", Some(1.5), 1.0), group("c", None, 2.0)];
        assert_eq!(slowest(&record(groups, BoundBy::SetPoint)).unwrap().group.as_str(), "b");
        let unknown = vec![group("c", None, 2.0)];
        assert_eq!(slowest(&record(unknown, BoundBy::NeverCommitted)).unwrap().group.as_str(), "c");
        assert!(slowest(&record(Vec::new(), BoundBy::Unlimited)).is_none());
    }

    #[test]
    fn a_sentence_says_rate_lag_time_to_go_and_reason() {
        let mut meter = Meter::new(at(0.0), Some(1_000_000));
        meter.record(at(10.0), 200_000, 420_000);
        let record = record(vec![group("billing", Some(1.83), 2.0)], BoundBy::SetPoint);
        let counts = Counts { delivered: 200_000, rejected: 3, ..Counts::default() };
        let limit = RateLimit::from_f64(20_000.0).unwrap();
        let mut moment = Moment { counts, meter: &meter, record: &record, limit, trouble: None };
        assert_eq!(
            moment.sentence(true),
            "200,000 records, 42 %, 20,000/s, lag 1.8 s of 2 s (billing), 13s to go, 3 rejected; \
             held at what the slowest protected group consumes"
        );
        moment.trouble = Some("no broker answers");
        assert!(moment.sentence(false).ends_with("; no broker answers"));
        assert!(!moment.sentence(false).contains('%'));
        let object = serde_json::to_value(moment.object()).unwrap();
        assert_eq!(object["event"], "progress");
        assert_eq!(object["rate_limit"], 20_000.0);
        assert_eq!(object["bound_by"], "set_point");
        assert_eq!(object["group"], "billing");
    }

    #[test]
    fn an_unknown_lag_is_said_to_be_unknown() {
        let meter = Meter::new(at(0.0), None);
        let record = record(vec![group("billing", None, 2.0)], BoundBy::NeverCommitted);
        let limit = RateLimit::from_f64(100.0).unwrap();
        let moment = Moment { counts: Counts::default(), meter: &meter, record: &record, limit, trouble: None };
        assert!(moment.sentence(true).starts_with("0 records, lag unknown (billing); the group has never committed"));
        assert!(serde_json::to_value(moment.object()).unwrap()["drain_seconds"].is_null());
    }

    #[test]
    fn the_summary_says_where_to_go_on() {
        let counts = Counts {
            settled: 500,
            delivered: 510,
            delivered_beyond: 10,
            rejected: 0,
            in_flight: 5,
            ..Counts::default()
        };
        let summary = Summary::new(Outcome::Interrupted, counts, 0, Duration::from_secs(75), Some(4.26));
        assert_eq!(
            summary.sentence(),
            "510 records delivered in 1m 15s, 6.8/s, peak lag 4.3 s, 0 rejected, 5 in doubt"
        );
        assert_eq!(
            summary.resume_sentence(),
            "resume with --skip-lines 500 and the same input (up to 15 records are then written a second time)"
        );
        assert_eq!(serde_json::to_value(&summary).unwrap()["outcome"], "interrupted");
    }

    #[test]
    fn times_are_as_long_as_they_need_to_be() {
        for (seconds, text) in [
            (0.04, "0.0s"),
            (8.44, "8.4s"),
            (59.9, "59s"),
            (200.0, "3m 20s"),
            (7500.0, "2h 05m"),
            (273_600.0, "3d 04h"),
        ] {
            assert_eq!(clock(Duration::from_secs_f64(seconds)), text);
        }
    }
}
