//! The demo's valve over HTTP, so that a dashboard can watch the story.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lagvalve::agent::ValveSettings;
use lagvalve::sidecar::http::{Server, ServerOptions};
use lagvalve::telemetry::{Journal, PollReading, Readings, ValveReading};
use tokio::sync::watch;

use super::crew::Board;
use crate::cli::engine::reading;
use crate::cli::exit::Failure;

/// Serves what stands on `board` at `listen`, to whoever can reach that address.
pub(super) async fn serve(listen: SocketAddr, board: watch::Receiver<Board>) -> Result<Server, Failure> {
    let options = ServerOptions { open_reads: true, ..ServerOptions::new(listen) };
    let fresh_within = ValveSettings::new("", Vec::new()).signal_grace;
    let readings = Arc::new(BoardReadings { board, fresh_within });
    Server::bind(options, readings, Arc::new(Journal::new(None))).await.map_err(Failure::failed)
}

struct BoardReadings {
    board: watch::Receiver<Board>,
    fresh_within: Duration,
}

impl Readings for BoardReadings {
    fn valves(&self) -> Vec<ValveReading> {
        self.board.borrow().valve.iter().map(|valve| reading(CLUSTER, valve, self.fresh_within)).collect()
    }

    /// The valve shares its poll with nobody; what it costs is told by `lagvalve run`.
    fn polls(&self) -> Vec<PollReading> {
        Vec::new()
    }
}

const CLUSTER: &str = "demo";
