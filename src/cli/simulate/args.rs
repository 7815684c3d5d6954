//! Options of `lagvalve simulate`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use lagvalve::sim::{Baseline, ShippedStart, UnknownBaseline};

/// Options of `simulate`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SimulateArgs {
    /// Scenarios: ids of the catalogue (S01), files, or folders of files [default: the whole catalogue]
    #[arg(value_name = "SCENARIO")]
    pub(super) scenarios: Vec<String>,

    /// The law that decides; repeatable, for laws side by side. The shipped one as lagvalve, with the capacity told as
    /// lagvalve-hint, with a slow start as lagvalve-slow, with law = "pid" as lagvalve-pid; oracle knows everything; the
    /// others are named below
    #[arg(long = "law", value_name = "LAW", default_value = "lagvalve")]
    pub(super) laws: Vec<LawChoice>,

    /// Seeds: one number, or from..to, both included
    #[arg(long, value_name = "FROM..TO", default_value = "1..6")]
    pub(super) seeds: Seeds,

    /// One JSON object a run, and one a law at the end
    #[arg(long)]
    pub(super) json: bool,

    /// Exit with 1 when a run misses a range that its scenario expects
    #[arg(long)]
    pub(super) strict: bool,

    /// Write one HTML page of every run: rates, drain time and reasons over time, laws side by side, scores. It needs no
    /// network. At most 60 pairs of scenario and seed
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub(super) plot: Option<PathBuf>,

    /// Print the catalogue and end
    #[arg(long)]
    pub(super) list: bool,

    /// Draw so many random stories instead, from the first of --seeds on, and print the seed of each miss. Without a
    /// number: until --budget is spent
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "0",
          conflicts_with_all = ["scenarios", "list", "plot", "replay"])]
    pub(super) fuzz: Option<u64>,

    /// With --fuzz: print the stories as scenario files and run nothing
    #[arg(long, requires = "fuzz")]
    pub(super) show: bool,

    /// Begin nothing new after this time
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with_all = ["list", "replay"])]
    pub(super) budget: Option<Duration>,

    /// Run what a journal recorded through the laws instead of scenarios: a file, the folder of [state] dir, or - for
    /// standard input. lagvalve is then told what was recorded, and decides the same; --strict exits with 1 if it does not
    #[arg(long, value_name = "JOURNAL", conflicts_with_all = ["scenarios", "seeds", "list", "plot"])]
    pub(super) replay: Option<PathBuf>,

    /// With --replay: this valve alone
    #[arg(long, value_name = "NAME", requires = "replay")]
    pub(super) valve: Option<String>,

    /// With --replay: tell the shipped law this set-point for every group instead of the recorded one
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "replay")]
    pub(super) target_lag: Option<Duration>,

    /// With --replay: what the slowest group can take, messages/s, for the laws that are told it
    #[arg(long, value_name = "RATE", requires = "replay")]
    pub(super) capacity: Option<f64>,
}

/// A law by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LawChoice {
    /// The shipped loop.
    Shipped(ShippedStart),
    /// The shipped loop with the textbook law of `law = "pid"`.
    Textbook,
    /// Somebody else's.
    Baseline(Baseline),
    /// The yardstick.
    Oracle,
}

impl LawChoice {
    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Shipped(ShippedStart::Open) => "lagvalve",
            Self::Shipped(ShippedStart::Hinted) => "lagvalve-hint",
            Self::Shipped(ShippedStart::Slow(_)) => "lagvalve-slow",
            Self::Textbook => "lagvalve-pid",
            Self::Baseline(baseline) => baseline.name(),
            Self::Oracle => "oracle",
        }
    }
}

impl FromStr for LawChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "lagvalve" => Ok(Self::Shipped(ShippedStart::Open)),
            "lagvalve-hint" => Ok(Self::Shipped(ShippedStart::Hinted)),
            "lagvalve-slow" => Ok(Self::Shipped(ShippedStart::Slow(None))),
            "lagvalve-pid" => Ok(Self::Textbook),
            "oracle" => Ok(Self::Oracle),
            name => name.parse().map(Self::Baseline).map_err(|error: UnknownBaseline| {
                format!("{error}; and lagvalve, lagvalve-hint, lagvalve-slow, lagvalve-pid, oracle")
            }),
        }
    }
}

/// Seeds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seeds {
    from: u64,
    to: u64,
}

impl Seeds {
    /// One after the other.
    pub(super) fn iter(self) -> impl Iterator<Item = u64> {
        self.from..=self.to
    }

    /// The first one.
    pub(super) const fn first(self) -> u64 {
        self.from
    }

    /// How many.
    pub(super) fn count(self) -> u64 {
        (self.to - self.from).saturating_add(1)
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number =
            |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no seed; write for example 1..6"));
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let seeds = Self { from: number(from)?, to: number(to.trim_start_matches('='))? };
        if seeds.from > seeds.to {
            return Err(format!("{text} holds no seed; write for example 1..6"));
        }
        Ok(seeds)
    }
}

const AFTER_HELP: &str = "\
Examples:
  lagvalve simulate                                  the catalogue under the shipped law, seeds 1 to 6
  lagvalve simulate S01 S22 --law lagvalve --law aimd --law spark
  lagvalve simulate my-stories/ --seeds 1..20 --strict --json
  lagvalve simulate S03 S20 --seeds 1 --law lagvalve --law aimd --plot compare.html
  lagvalve simulate --fuzz 10000 --law lagvalve --law lagvalve-hint
  lagvalve observe -b localhost:9092 -t orders --protect billing:2s --journal night.ndjson
  lagvalve simulate --replay night.ndjson            what was decided last night, and why
  lagvalve simulate --replay night.ndjson --law lagvalve-slow --law spark --target-lag 5s

Laws to compare with: none, static, on-off, aimd, spark, pid, pie, alinea, bbr, gradient, zeebe.
static, on-off, aimd, alinea, gradient and zeebe are told the capacity; the shipped law is told nothing.

A replay is an open loop: recorded lag does not change with what another law decides.

J = lost throughput in % + mean lag above 2 s in seconds + 5 x coefficient of variation of the
limit. Same scenario, seed and law: the same figures, bit by bit.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_number_or_a_range() {
        assert_eq!("1..6".parse::<Seeds>().unwrap().iter().count(), 6);
        assert_eq!("7".parse::<Seeds>().unwrap().iter().collect::<Vec<_>>(), [7]);
        assert_eq!("1..6".parse::<Seeds>().unwrap().count(), 6);
        for bad in ["", "6..1", "a", "1..", "-1"] {
            assert!(bad.parse::<Seeds>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_law_is_found_by_its_name() {
        for name in ["lagvalve", "lagvalve-hint", "lagvalve-slow", "lagvalve-pid", "oracle", "aimd", "spark", "zeebe"] {
            assert_eq!(name.parse::<LawChoice>().unwrap().name(), name);
        }
        assert!("adim".parse::<LawChoice>().unwrap_err().contains("aimd"));
        for law in Baseline::ALL {
            assert!(AFTER_HELP.contains(law.name()), "{law} is not in the help");
        }
    }
}
