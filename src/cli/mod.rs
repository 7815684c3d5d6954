//! The command line: one file a sub-command. Results go to standard output, everything else to standard error.

mod completions;
mod connect;
// mod demo;
mod exit;
mod output;
// mod produce;
mod signals;

use clap::{Parser, Subcommand};

pub(crate) use exit::Failure;

/// Runs backfills and replays into Kafka as fast as the slowest protected consumer group can take, and no faster.
#[derive(Parser, Debug)]
#[command(name = "lagvalve", version, about, after_help = EXIT_CODES, max_term_width = 100)]
#[command(propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    // Demo(demo::DemoArgs),
    // Produce(produce::ProduceArgs),
}

/// Reads the command line and does what it says.
///
/// Wrong options end the process with 2 and help with 0, by clap itself.
pub(crate) fn run() -> Result<(), Failure> {
    match Cli::parse().command {
        Command::Completions(args) => completions::run(&args),
        // Command::Demo(args) => block_on(demo::run(args)),
        // Command::Produce(args) => block_on(produce::run(args)),
    }
}

/// Runs an asynchronous command to its end.
#[allow(dead_code)]
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
