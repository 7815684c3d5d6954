//! Options of `lagvalve demo`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lagvalve::agent::Start;

use super::payload;
use crate::cli::connect::Property;
use crate::cli::exit::Failure;

/// Options of `demo`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DemoArgs {
    /// What is played
    #[arg(long, value_enum, default_value_t = Scenario::Backfill)]
    pub(crate) scenario: Scenario,

    /// A real cluster instead of the embedded broker: host:port, separated by commas. A topic is made there, and deleted
    /// at the end
    #[arg(short, long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub(crate) bootstrap_servers: Vec<String>,

    /// A connection setting by librdkafka's name, with --bootstrap-servers; repeatable
    #[arg(short = 'X', value_name = "KEY=VALUE", requires = "bootstrap_servers")]
    pub(crate) properties: Vec<Property>,

    /// Name of that topic; it must not exist yet [default: lagvalve-demo-…]
    #[arg(short, long, requires = "bootstrap_servers")]
    pub(crate) topic: Option<String>,

    /// Name of the consumer group [default: the topic's and -billing]
    #[arg(short, long, requires = "bootstrap_servers")]
    pub(crate) group: Option<String>,

    /// How the group's members find each other, with --bootstrap-servers: by the classic protocol or the new one
    /// (KIP-848)
    #[arg(long, value_enum, default_value_t = GroupProtocol::Classic, requires = "bootstrap_servers", value_name = "PROTOCOL")]
    pub(crate) group_protocol: GroupProtocol,

    /// Serve /metrics and /v1/valves of the demo's valve here while it plays
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,

    /// Lines instead of the chart; what a demo does anyway when standard output is not a terminal
    #[arg(long)]
    pub(crate) headless: bool,

    /// One JSON object a line, the summary last; implies --headless
    #[arg(long)]
    pub(crate) json: bool,

    /// Exit with 1 when the figures miss what the project promises for this scenario, and print each promise with what
    /// was measured
    #[arg(long)]
    pub(crate) strict: bool,

    /// How long it plays before the group works off the rest [default: 240s for backfill, 120s otherwise]
    #[arg(long, value_parser = duration_between(12, 3600), value_name = "DURATION")]
    pub(crate) duration: Option<Duration>,

    /// How the valve starts: open (no limit until a commit proves lag) or slow (from a first rate, growing by commits)
    /// [default: slow for backfill, open otherwise]
    #[arg(long, value_enum)]
    pub(crate) start: Option<StartChoice>,

    /// Time between the group's commits, looked at between batches as real clients do
    #[arg(long, default_value = "5s", value_parser = duration_between(0, 120), value_name = "DURATION")]
    pub(crate) commit_interval: Duration,

    /// Set-point: the lag to hold, in seconds of the group's own work
    #[arg(long, default_value = "2s", value_parser = duration_between(0, 600), value_name = "DURATION")]
    pub(crate) target_lag: Duration,

    /// Members of the group. The embedded broker keeps groups of one: there one client stands for all, and each share
    /// of its partitions is committed when its member would
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=6))]
    pub(crate) members: u32,

    /// Size of a record's value in bytes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(payload::MIN_BYTES as i64..=65_536))]
    pub(crate) record_bytes: u32,
}

/// The stories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// A backfill beside 300/s of live traffic into a group that takes 3,000/s; the group is halved, killed for 20 s,
    /// restarted, doubled
    Backfill,
    /// 10,000/s offered to a group that takes 2,000/s
    TenToTwo,
    /// 100,000/s offered to a group that takes 10,000/s
    HundredToTen,
    /// 1,400/s offered to a group that takes 2,000/s: nothing may be withheld
    ToSpare,
}

impl Scenario {
    /// The name on the command line and in the summary.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::TenToTwo => "ten-to-two",
            Self::HundredToTen => "hundred-to-ten",
            Self::ToSpare => "to-spare",
        }
    }
}

/// `--group-protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupProtocol {
    /// Members rejoin together, and are given everything anew
    Classic,
    /// The broker gives and takes single partitions; Kafka 4 and up
    Consumer,
}

/// `--start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StartChoice {
    /// No limit until a commit proves lag
    Open,
    /// From a first rate, growing by commits
    Slow,
}

impl DemoArgs {
    /// What clap cannot check by itself.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        for (name, value) in [("--commit-interval", self.commit_interval), ("--target-lag", self.target_lag)] {
            if value < Duration::from_millis(100) {
                return Err(Failure::usage(format!("{name} below 100ms; write for example {name} 2s")));
            }
        }
        Ok(())
    }

    /// Whether there is a chart.
    pub(crate) fn draws(&self) -> bool {
        !self.headless && !self.json && std::io::stdout().is_terminal()
    }

    /// How the valve starts, by choice or by scenario.
    pub(crate) fn start(&self) -> Start {
        match (self.start, self.scenario) {
            (Some(StartChoice::Slow), _) | (None, Scenario::Backfill) => Start::Slow,
            (Some(StartChoice::Open), _) | (None, _) => Start::Open,
        }
    }

    /// How long the writers write, seconds.
    pub(crate) fn seconds(&self) -> f64 {
        let default = if self.scenario == Scenario::Backfill { 240 } else { 120 };
        self.duration.unwrap_or(Duration::from_secs(default)).as_secs_f64()
    }
}

fn duration_between(least: u64, most: u64) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    move |text| {
        let found = humantime::parse_duration(text).map_err(|error| format!("{error}; write for example 90s or 2m"))?;
        if found < Duration::from_secs(least) || found > Duration::from_secs(most) {
            return Err(format!("outside {least}s..{most}s"));
        }
        Ok(found)
    }
}

const AFTER_HELP: &str = "\
Examples:
  lagvalve demo
  lagvalve demo --scenario hundred-to-ten
  lagvalve demo --bootstrap-servers localhost:9092 --headless --json --strict

The embedded broker runs inside this process and is reached over TCP by real clients. It keeps unread records in memory:
this process stays below about 100 MB, and below about 300 MB in hundred-to-ten with an open
start, where the flood before the first commit is up to half a million records.

Everything is counted by the clients: what writers offered and the broker acknowledged, what the
group processed; every record has a sequence number, and a reader of its own counts lost and
duplicated ones on the topic. True drain time is (acknowledged - processed) / the rate the group
is set to take.

The summary, the last line with --json:
  settled_seconds       start of the first span from which the 10 s mean of production is within
                        10 % of min(offered, what the group takes) for 90 % of the rest, or null
  peak_drain_seconds    over the whole run
  steady_drain_seconds  mean over the last 40 %
  rate_cov              coefficient of variation of the rate at which governed writers sent, in
                        bins of 1 s, last 40 %
  withheld_percent      share of what was offered that the valve refused
  stages                the same by stage; for backfill settled, steady and rate_cov are those of
                        its stage \"enforce\"";
