//! The listener: bounded connections, bounded headers, graceful end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::routes::{Shared, router};
use crate::telemetry::{Journal, Readings};

/// Where to listen and who may read. Its debug form hides the token.
#[derive(Clone)]
pub struct ServerOptions {
    /// Address and port; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Bearer token that lets other machines read.
    pub token: Option<String>,
    /// Whether other machines may read without a token.
    pub open_reads: bool,
}

impl ServerOptions {
    /// Listens at `listen`; answers this machine alone.
    #[must_use]
    pub const fn new(listen: SocketAddr) -> Self {
        Self { listen, token: None, open_reads: false }
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("listen", &self.listen)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("open_reads", &self.open_reads)
            .finish()
    }
}

/// The server cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process has the address.
    #[error(
        "{listen} is in use by another process (lagvalve twice?): stop it, or choose another with --listen or [http] listen"
    )]
    InUse {
        /// The address.
        listen: SocketAddr,
    },
    /// The system refuses it.
    #[error("cannot listen at {listen}: {source}")]
    Refused {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A server that runs, until it is dropped or [shut down](Self::shutdown).
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Who called, for the guard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Server {
    /// Listens and answers from now on.
    ///
    /// # Errors
    /// [`BindError`] when the address cannot be had.
    pub async fn bind(
        options: ServerOptions,
        readings: Arc<dyn Readings>,
        journal: Arc<Journal>,
    ) -> Result<Self, BindError> {
        let listen = options.listen;
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { listen },
            _ => BindError::Refused { listen, source },
        };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let local_addr = listener.local_addr().map_err(refused)?;
        let router = router(Shared { readings, journal }, Arc::new(options));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, router, stopped));
        Ok(Self { local_addr, stop, task })
    }

    /// Where it really listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no new connection, lets running requests end, and cuts what is left after `deadline`.
    pub async fn shutdown(self, deadline: Duration) {
        self.stop.send_replace(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(deadline, self.task).await.is_err() {
            abort.abort();
        }
    }
}

async fn accept(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // With all places taken new connections wait in the system's queue.
        let place = Arc::clone(&places).acquire_owned();
        let next = async { (place.await, listener.accept().await) };
        let (place, accepted) = tokio::select! {
            () = asked_to_stop(&mut stopped) => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, stopped) = (router.clone(), stopped.clone());
                connections.spawn(async move {
                    serve(stream, peer, router, stopped).await;
                    drop(place);
                });
            }
            Err(error) => {
                // No file handle left, or the caller went away: neither may end the server.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, mut stopped: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router.layer(Extension(Peer(peer))));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = asked_to_stop(&mut stopped) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

async fn asked_to_stop(stopped: &mut watch::Receiver<bool>) {
    // A server that was dropped stops too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Guessed: a Prometheus, a page or two and the probes need ten.
const CONNECTIONS_MAX: usize = 256;
/// Also ends idle kept-alive connections: hyper waits for the next request's header that long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const HEADER_BYTES_MAX: usize = 16 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
