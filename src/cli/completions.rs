//! `lagvalve completions SHELL`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::exit::Failure;

/// Options of `completions`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  lagvalve completions bash > /etc/bash_completion.d/lagvalve")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    // Into memory first: the generator panics on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lagvalve", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}
