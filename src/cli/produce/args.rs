//! The flags of `lagvalve produce`, and what they mean together.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use lagvalve::agent::{Mode, Start, ValveSettings};
use lagvalve::kafka::Connection;
use lagvalve::units::MessagesPerSecond;

use super::input::Source;
use super::records::Format;
use crate::cli::connect::ConnectArgs;
use crate::cli::exit::Failure;
use crate::cli::plan::Plan as Wiring;

/// Options of `produce`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ProduceArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// Files to read in this order, plain, gzip or zstd; - is standard input, and so is none at all
    #[arg(value_name = "FILE", help_heading = "Input")]
    files: Vec<PathBuf>,

    /// What a line is
    #[arg(long, value_enum, default_value_t, help_heading = "Input")]
    format: Format,

    /// Take the key from this field of the value, which is a JSON object; dots descend (customer.id)
    #[arg(long, value_name = "FIELD", help_heading = "Input")]
    key_field: Option<String>,

    /// Write lines that are no records, and records that Kafka refuses, here with the reason instead of stopping
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    rejects: Option<PathBuf>,

    /// Leave out the first lines of the input: the number that an interrupted run gave
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "checkpoint", help_heading = "Input")]
    skip_lines: u64,

    /// Keep here how far the input is delivered, and go on from there when the file exists
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    checkpoint: Option<PathBuf>,

    /// Read and check the whole input without Kafka
    #[arg(long, help_heading = "Input")]
    dry_run: bool,

    /// Never faster, records/s
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Rate")]
    max_rate: Option<MessagesPerSecond>,

    /// Never slower, records/s [default: 1]
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Rate")]
    min_rate: Option<MessagesPerSecond>,

    /// First rate, records/s; it grows by what the groups' commits prove [default: what they are seen to take]
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Rate")]
    initial_rate: Option<MessagesPerSecond>,

    /// Second limit, bytes/s of keys, values and headers
    #[arg(long, value_name = "BYTES", value_parser = bytes_rate, help_heading = "Rate")]
    max_bytes_per_second: Option<f64>,

    /// Let no consumer group govern: only --max-rate holds, if it is given
    #[arg(long, conflicts_with = "protect", help_heading = "Rate")]
    unprotected: bool,

    /// How long to wait for a protected group that does not exist; then exit with 4 [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Ending")]
    wait: Option<Duration>,

    /// Stop after this time with exit code 3, and say where to resume
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Ending")]
    deadline: Option<Duration>,

    /// Write each record once even when a request is repeated
    #[arg(
        long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 0..=1,
        default_missing_value = "true", require_equals = true, help_heading = "Connection"
    )]
    idempotent: bool,

    /// One JSON object a line on standard output: waiting, progress, and a summary last
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// The flags, checked together.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) sources: Vec<Source>,
    pub(super) format: Format,
    pub(super) key_field: Option<String>,
    pub(super) rejects: Option<PathBuf>,
    pub(super) skip_lines: u64,
    pub(super) checkpoint: Option<PathBuf>,
    pub(super) wait: Option<Duration>,
    pub(super) deadline: Option<Duration>,
    pub(super) json: bool,
    /// `None`: a dry run.
    pub(super) target: Option<Target>,
}

/// Where the records go, and how fast.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) connection: Connection,
    pub(super) topic: String,
    pub(super) settings: ValveSettings,
    pub(super) idempotent: bool,
}

impl ProduceArgs {
    /// What is to be done.
    ///
    /// # Errors
    /// Everything that is wrong or missing, in one sentence.
    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        let sources = Source::all(&self.files);
        if sources.iter().filter(|source| **source == Source::Stdin).count() > 1 {
            return Err(Failure::usage("standard input (-) is named twice; it can be read once"));
        }
        let target = if self.dry_run { None } else { Some(self.target()?) };
        Ok(Plan {
            sources,
            format: self.format,
            key_field: self.key_field.clone(),
            rejects: self.rejects.clone(),
            skip_lines: self.skip_lines,
            checkpoint: self.checkpoint.clone(),
            wait: self.wait,
            deadline: self.deadline,
            json: self.json,
            target,
        })
    }

    fn target(&self) -> Result<Target, Failure> {
        let (connection, mut settings) = match &self.connect.config {
            Some(_) => self.valve_of_file()?,
            None => self.valve_of_flags()?,
        };
        // Without a group there is nothing to watch before the start.
        settings.start = if settings.protect.is_empty() { Start::Open } else { Start::Slow };
        settings.initial_rate = self.initial_rate.or(settings.initial_rate);
        settings.min_rate = self.min_rate.unwrap_or(settings.min_rate);
        settings.max_rate = self.max_rate.or(settings.max_rate);
        settings.max_bytes_per_second = self.max_bytes_per_second.or(settings.max_bytes_per_second);
        check_rates(&settings)?;
        let topic = settings.topics[0].to_string();
        Ok(Target { connection, topic, settings, idempotent: self.idempotent })
    }

    fn valve_of_flags(&self) -> Result<(Connection, ValveSettings), Failure> {
        let ConnectArgs { bootstrap_servers, topics, protect, .. } = &self.connect;
        let mut wrong = Vec::new();
        if bootstrap_servers.is_empty() {
            wrong.push("-b HOST:PORT is missing: the cluster".to_owned());
        }
        match topics.len() {
            0 => wrong.push("-t TOPIC is missing: where the records go".to_owned()),
            1 => {}
            count => wrong.push(format!("-t is given {count} times: produce writes to one topic")),
        }
        if protect.is_empty() && !self.unprotected {
            let text =
                "--protect GROUP is missing: the consumer group that must keep up (or --unprotected: none governs)";
            wrong.push(text.to_owned());
        }
        if !wrong.is_empty() {
            return Err(Failure::usage(wrong.join("; ")));
        }
        let mut connection = Connection::new(&bootstrap_servers.join(","));
        connection.properties = self.connect.property_map();
        let topic = topics[0].as_str();
        let mut settings = ValveSettings::new(format!("produce-{topic}"), vec![topic.into()]);
        settings.protect = self.connect.protected_groups();
        Ok((connection, settings))
    }

    /// The one valve of the file: its groups and limits hold here too.
    fn valve_of_file(&self) -> Result<(Connection, ValveSettings), Failure> {
        let mut clusters = Wiring::of(&self.connect, Mode::Enforce)?.clusters;
        let (Some(mut cluster), true) = (clusters.pop(), clusters.is_empty()) else {
            return Err(Failure::usage("--config: produce needs a file with one cluster"));
        };
        let (Some(mut settings), true) = (cluster.valves.pop(), cluster.valves.is_empty()) else {
            return Err(Failure::usage("--config: produce needs a file with one valve; or leave it out and use flags"));
        };
        if settings.topics.len() != 1 {
            let text = format!(
                "--config: valve {} has {} topics; produce writes to one",
                settings.name,
                settings.topics.len()
            );
            return Err(Failure::usage(text));
        }
        settings.mode = Mode::Enforce;
        if self.unprotected {
            settings.protect.clear();
        }
        Ok((cluster.connection, settings))
    }
}

fn check_rates(settings: &ValveSettings) -> Result<(), Failure> {
    let min = settings.min_rate;
    let Some(max) = settings.max_rate else { return Ok(()) };
    if max < min {
        return Err(Failure::usage(format!("--max-rate {} is below --min-rate {}", max.get(), min.get())));
    }
    match settings.initial_rate.filter(|first| *first > max) {
        Some(first) => Err(Failure::usage(format!("--initial-rate {} is above --max-rate {}", first.get(), max.get()))),
        None => Ok(()),
    }
}

/// A rate above zero; `_` may group its digits.
fn rate(text: &str) -> Result<MessagesPerSecond, String> {
    text.replace('_', "")
        .parse()
        .ok()
        .and_then(MessagesPerSecond::new)
        .filter(|rate| rate.get() > 0.0)
        .ok_or_else(|| "a rate is a number of records per second above 0, for example 2000 or 0.5".to_owned())
}

/// Bytes a second above zero, also `500k`, `20M`, `1G` (powers of 1,000).
fn bytes_rate(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    let bytes: Option<f64> = digits.replace('_', "").parse().ok();
    bytes
        .map(|bytes| bytes * factor)
        .filter(|bytes| bytes.is_finite() && *bytes > 0.0)
        .ok_or_else(|| "a number of bytes per second above 0, for example 500000, 500k or 20M".to_owned())
}

const EXAMPLES: &str = "\
Examples:
  lagvalve produce -b localhost:9092 -t orders --protect billing < backfill.ndjson
  zcat day1.gz | lagvalve produce -b localhost:9092 -t orders --format ndjson \\
      --protect billing:2s --protect search:10s --rejects bad.ndjson
  lagvalve produce -b localhost:9092 -t orders --protect billing --key-field customer.id \\
      --max-rate 20000 --checkpoint orders.checkpoint day1.ndjson.gz day2.ndjson.zst

Lines: with --format lines each line is a value, byte for byte, without its line end (LF or
CRLF); an empty line is an empty value. With --format ndjson each line is {\"key\", \"value\",
\"headers\", \"partition\", \"timestamp\"}; \"value\" is needed, null is a tombstone, text stays
text, and any other JSON is written as it stands; blank lines are skipped.

A line that is no record stops the run with its file, line and reason, after everything before
it was delivered, or goes to --rejects. Ctrl-C delivers what is on its way and says where to
resume; a second one ends at once.";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ProduceArgs,
    }

    fn plan(words: &str) -> Result<Plan, Failure> {
        Line::try_parse_from(std::iter::once("produce").chain(words.split_whitespace())).unwrap().args.plan()
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let Err(Failure::Usage(text)) = plan("-t a -t b") else { panic!() };
        for part in ["-b HOST:PORT", "-t is given 2 times", "--protect GROUP"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let Err(Failure::Usage(text)) = plan("-b a:1 -t a --unprotected --min-rate 10 --max-rate 5") else { panic!() };
        assert_eq!(text, "--max-rate 5 is below --min-rate 10");
    }

    #[test]
    fn a_group_governs_unless_none_is_wanted() {
        let governed = plan("-b a:1 -t orders --protect billing:3s").unwrap().target.unwrap();
        assert_eq!((governed.settings.start, governed.settings.protect.len()), (Start::Slow, 1));
        assert!(governed.idempotent);
        let free = plan("-b a:1 -t orders --unprotected --idempotent=false").unwrap().target.unwrap();
        assert!(free.settings.protect.is_empty() && !free.idempotent);
        assert!(Line::try_parse_from(["produce", "--unprotected", "--protect", "g"]).is_err());
    }

    #[test]
    fn a_dry_run_needs_no_cluster() {
        let plan = plan("--dry-run a.ndjson -").unwrap();
        assert!(plan.target.is_none());
        assert_eq!(plan.sources, [Source::File("a.ndjson".into()), Source::Stdin]);
        assert!(matches!(super::tests::plan("--dry-run - -"), Err(Failure::Usage(_))));
    }

    #[test]
    fn rates_are_above_zero() {
        assert_eq!(rate("20_000").unwrap().get(), 20_000.0);
        assert_eq!(bytes_rate("1.5M").unwrap(), 1_500_000.0);
        for bad in ["0", "-1", "inf", "NaN", "fast", ""] {
            assert!(rate(bad).is_err() && bytes_rate(bad).is_err(), "{bad}");
        }
    }
}
