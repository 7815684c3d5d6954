//! The command line: one file a sub-command. Results go to standard output, everything else to standard error.

mod as_if_held;
mod check;
mod completions;
mod connect;
mod demo;
mod doctor;
mod engine;
mod exit;
mod observe;
mod output;
mod plan;
mod preflight;
mod produce;
mod run;
mod signals;
mod simulate;
mod watching;

use clap::{Parser, Subcommand};
use lagvalve::telemetry::{self, LogFormat};

pub(crate) use exit::Failure;

/// Runs backfills and replays into Kafka as fast as the slowest protected consumer group can take, and no faster.
#[derive(Parser, Debug)]
#[command(name = "lagvalve", version, about, after_help = EXIT_CODES, max_term_width = 100)]
#[command(propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    /// How lines of the log look
    #[arg(long, global = true, value_enum, default_value_t, hide_possible_values = true, value_name = "text|json")]
    log_format: LogStyle,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum LogStyle {
    #[default]
    Text,
    Json,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Write lines of files or of standard input to a topic, as fast as its protected groups can take
    Produce(Box<produce::ProduceArgs>),
    /// Run the agent: observe, decide, and serve state and metrics over HTTP
    Run(run::RunArgs),
    /// Watch topics and groups and say what a valve would have done; limits nothing
    Observe(observe::ObserveArgs),
    /// Play a backfill into a group that is too slow, with a live chart; needs no Kafka
    Demo(demo::DemoArgs),
    /// Play scenarios through the shipped law and through others, and score them; needs no Kafka and no time
    Simulate(simulate::SimulateArgs),
    /// Look at a live cluster as a valve would, and say what is missing: permissions, topics, groups, commits
    Doctor(doctor::DoctorArgs),
    /// Check a configuration file without connecting anywhere
    Check(check::CheckArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// Reads the command line and does what it says.
///
/// Wrong options end the process with 2 and help with 0, by clap itself.
pub(crate) fn run() -> Result<(), Failure> {
    let Cli { command, log_format } = Cli::parse();
    start_log(&command, log_format)?;
    match command {
        Command::Produce(args) => block_on(produce::run(*args)),
        Command::Run(args) => block_on(run::run(args)),
        Command::Observe(args) => block_on(observe::run(args)),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Simulate(args) => simulate::run(&args),
        Command::Doctor(args) => block_on(doctor::run(args)),
        Command::Check(args) => check::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}

/// A service tells what it does; a command at a terminal only what is wrong. What the observing client logs comes
/// again as our own message, which says what to change.
fn start_log(command: &Command, style: LogStyle) -> Result<(), Failure> {
    let default = match command {
        Command::Run(_) => "warn,krafka=off,lagvalve=info",
        // A line of log would tear the chart.
        Command::Demo(args) if args.draws() => "off",
        _ => "off,lagvalve=warn",
    };
    let filter = std::env::var_os("LAGVALVE_LOG").filter(|filter| !filter.is_empty());
    let filter = filter.map_or_else(|| default.to_owned(), |filter| filter.to_string_lossy().into_owned());
    let format = match style {
        LogStyle::Text => LogFormat::Text,
        LogStyle::Json => LogFormat::Json,
    };
    telemetry::init_log(&filter, format, output::stderr_is_lively())
        .map_err(|error| Failure::usage(format!("LAGVALVE_LOG: {error}")))
}

/// Runs an asynchronous command to its end.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("cannot start the asynchronous runtime: {error}")))?;
    let ended = runtime.block_on(command);
    // A blocked read of standard input must not keep the process alive.
    runtime.shutdown_background();
    ended
}

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  failed
    2  wrong command line or configuration
    3  the time allowed was over while the valve held records back
    4  Kafka could not be reached
  130  interrupted; what was done and where to go on is said

LAGVALVE_LOG sets what is logged to standard error (error, warn, info, debug, or module=level,…).
NO_COLOR turns colour off.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
