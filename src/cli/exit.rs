//! How a command ends other than well. `main.rs` turns each way into its exit code.

use std::fmt::Display;
use std::io;

/// Why a command did not end well. Texts are whole sentences that name the thing and the remedy.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not do what it was asked for: exit 1.
    Failed(String),
    /// The command line or the configuration is wrong: exit 2.
    Usage(String),
    /// The time allowed was over while the valve held records back: exit 3.
    #[allow(dead_code, reason = "only commands that write records end this way")]
    DeadlineWhileThrottled(String),
    /// No broker could be reached: exit 4.
    Unreachable(String),
    /// Ctrl-C, or a request to end; everything was flushed and said: exit 130.
    Interrupted,
    /// Whoever read our standard output closed it: nothing to say, exit 0.
    ClosedPipe,
}

impl Failure {
    /// Failed, with `error` and its whole chain of causes.
    pub(crate) fn failed(error: impl Display) -> Self {
        Self::Failed(format!("{error:#}"))
    }

    /// Wrong command line or configuration.
    pub(crate) fn usage(error: impl Display) -> Self {
        Self::Usage(format!("{error:#}"))
    }

    /// No broker could be reached.
    pub(crate) fn unreachable(error: impl Display) -> Self {
        Self::Unreachable(format!("{error:#}"))
    }

    /// Tells the person on standard error, where there is something to tell.
    pub(crate) fn report(&self) {
        match self {
            Self::Failed(text) | Self::Usage(text) | Self::DeadlineWhileThrottled(text) | Self::Unreachable(text) => {
                // Standard error may be closed too; there is nowhere left to say so.
                let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("lagvalve: {text}\n"));
            }
            Self::Interrupted | Self::ClosedPipe => {}
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<io::Error>() {
            Ok(error) => error.into(),
            Err(error) => Self::failed(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::ClosedPipe } else { Self::failed(error) }
    }
}
