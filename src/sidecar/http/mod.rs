//! HTTP: state, history and metrics of running valves.
//!
//! In: [`Readings`](crate::telemetry::Readings) and the journal, asked at each request. Out: JSON, Prometheus text and
//! RFC 9457 problem documents. Never: a request that waits, a body that is read, more than a fixed number of
//! connections, a header that trickles in for ever.

mod guard;
mod problem;
mod routes;
mod server;
mod view;

pub use server::{BindError, Server, ServerOptions};
