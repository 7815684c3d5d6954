//! The `lagvalve` command. Its exit codes are decided here and nowhere else.

mod cli;

use std::process::ExitCode;

use cli::Failure;

fn main() -> ExitCode {
    let ended = cli::run();
    if let Err(failure) = &ended {
        failure.report();
    }
    ExitCode::from(match ended {
        // Who closed our output has what they wanted.
        Ok(()) | Err(Failure::ClosedPipe) => 0,
        Err(Failure::Failed(_)) => 1,
        Err(Failure::Usage(_)) => 2,
        Err(Failure::DeadlineWhileThrottled(_)) => 3,
        Err(Failure::Unreachable(_)) => 4,
        Err(Failure::Interrupted) => 130,
    })
}
