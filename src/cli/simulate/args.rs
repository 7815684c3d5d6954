//! Options of `lagvalve simulate`.

use std::str::FromStr;

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
    /// lagvalve-hint, with a slow start as lagvalve-slow; oracle knows everything; the others are named below
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

    /// Print the catalogue and end
    #[arg(long)]
    pub(super) list: bool,
}

/// A law by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LawChoice {
    /// The shipped loop.
    Shipped(ShippedStart),
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
            "oracle" => Ok(Self::Oracle),
            name => name.parse().map(Self::Baseline).map_err(|error: UnknownBaseline| {
                format!("{error}; and lagvalve, lagvalve-hint, lagvalve-slow, oracle")
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

Laws to compare with: none, static, on-off, aimd, spark, pid, pie, alinea, bbr, gradient, zeebe.
static, on-off, aimd, alinea and gradient are told the capacity; the shipped law is told nothing.

J = lost throughput in % + mean lag above 2 s in seconds + 5 x coefficient of variation of the
limit. Same scenario, seed and law: the same figures, bit by bit.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_number_or_a_range() {
        assert_eq!("1..6".parse::<Seeds>().unwrap().iter().count(), 6);
        assert_eq!("7".parse::<Seeds>().unwrap().iter().collect::<Vec<_>>(), [7]);
        for bad in ["", "6..1", "a", "1..", "-1"] {
            assert!(bad.parse::<Seeds>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_law_is_found_by_its_name() {
        for name in ["lagvalve", "lagvalve-hint", "lagvalve-slow", "oracle", "aimd", "spark", "zeebe"] {
            assert_eq!(name.parse::<LawChoice>().unwrap().name(), name);
        }
        assert!("adim".parse::<LawChoice>().unwrap_err().contains("aimd"));
        for law in Baseline::ALL {
            assert!(AFTER_HELP.contains(law.name()), "{law} is not in the help");
        }
    }
}
