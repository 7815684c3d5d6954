//! Requests to end, from the person or from the supervisor.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Failure;

/// Which request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopRequest {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, as supervisors send it.
    Terminate,
}

/// Both requests to end. From its making on neither ends the process by itself: the command finishes cleanly.
/// A second request while it does so ends the process at once with 130.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Starts listening.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let open = |kind| signal(kind).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")));
        Ok(Self { interrupt: open(SignalKind::interrupt())?, terminate: open(SignalKind::terminate())? })
    }

    /// The next request. Cancel safe.
    pub(crate) async fn recv(&mut self) -> StopRequest {
        tokio::select! {
            _ = self.interrupt.recv() => StopRequest::Interrupt,
            _ = self.terminate.recv() => StopRequest::Terminate,
        }
    }

    /// From now on the next request ends the process at once: for a shutdown that has begun.
    pub(crate) fn second_request_exits(mut self) {
        tokio::spawn(async move {
            self.recv().await;
            std::process::exit(130);
        });
    }
}
