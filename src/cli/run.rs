//! `lagvalve run`: the agent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lagvalve::agent::{Mode, TickRecord};
use lagvalve::control::BoundBy;
use lagvalve::id::ValveName;
use lagvalve::sidecar::http::{Server, ServerOptions};
use lagvalve::telemetry::{Journal, JournalFile, JournalTail};
use serde_json::json;

use super::connect::ConnectArgs;
use super::engine::Engine;
use super::exit::Failure;
use super::output::Output;
use super::plan::Plan;
use super::signals::{StopRequest, StopSignals};

/// Options of `run`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// Listen here instead of at [http] listen [default: 127.0.0.1:5248]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,

    /// Append every tick to this file, one JSON object a line with all offsets
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,

    /// Say where it listens as a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs until it is asked to stop. Kafka may come and go meanwhile.
pub(crate) async fn run(args: RunArgs) -> Result<(), Failure> {
    let plan = Plan::of(&args.connect, Mode::Enforce)?;
    // Before the file is opened: what it ends with is where this run goes on.
    let past = past(&args, &plan)?;
    let file = match (&args.journal, &plan.state_dir) {
        (Some(path), _) => Some(JournalFile::open(path).map_err(Failure::failed)?),
        (None, Some(dir)) => Some(JournalFile::open_in(dir).map_err(Failure::failed)?),
        (None, None) => None,
    };
    let journal = Arc::new(Journal::new(file));
    let mut signals = StopSignals::listen()?;
    past.values().for_each(|ticks| journal.remember(ticks));
    let mut engine = Engine::start(plan.clusters, &past);
    drop(past);
    // Before anything is awaited: the journal begins with the first tick.
    let mut ticks = engine.ticks(&journal);
    let options = ServerOptions {
        listen: args.listen.unwrap_or(plan.http.listen),
        token: plan.http.control_token,
        open_reads: plan.http.open_reads,
    };
    let server = Server::bind(options, engine.readings(), Arc::clone(&journal)).await.map_err(Failure::failed)?;
    announce(Output::new(args.json), server.local_addr())?;
    let mut reasons = HashMap::new();
    let stop = loop {
        tokio::select! {
            Some(record) = ticks.recv() => note(&record, &mut reasons),
            request = signals.recv() => break request,
        }
    };
    signals.second_request_exits();
    tracing::info!("stopping");
    server.shutdown(SHUTDOWN_PATIENCE).await;
    engine.close().await;
    match stop {
        StopRequest::Terminate => Ok(()),
        StopRequest::Interrupt => Err(Failure::Interrupted),
    }
}

/// What the journal ends with.
fn past(args: &RunArgs, plan: &Plan) -> Result<HashMap<ValveName, Vec<TickRecord>>, Failure> {
    let tail = match (&args.journal, &plan.state_dir) {
        (Some(path), _) => JournalTail::read(path),
        (None, Some(dir)) => JournalTail::read_in(dir),
        (None, None) => return Ok(HashMap::new()),
    };
    let tail = tail.map_err(Failure::failed)?;
    if tail.unusable() > 0 {
        tracing::warn!("{} lines at the end of the journal are no whole ticks; they are left out", tail.unusable());
    }
    Ok(tail.into_ticks())
}

fn announce(out: Output, address: SocketAddr) -> Result<(), Failure> {
    let said = if out.is_json() {
        out.object(&json!({ "listening": format!("http://{address}") }))
    } else {
        out.line(&format!("listening at http://{address} (/metrics /healthz /readyz /v1/valves)"))
    };
    // A service whose standard output is closed is a service all the same.
    match said {
        Err(Failure::ClosedPipe) => Ok(()),
        said => said,
    }
}

/// Logs a valve's sentence when its reason, or that of one of its groups, is another than before.
fn note(record: &TickRecord, reasons: &mut HashMap<ValveName, Vec<BoundBy>>) {
    let now: Vec<BoundBy> =
        [record.bound_by].into_iter().chain(record.causes.iter().map(|cause| cause.bound_by)).collect();
    if reasons.get(&record.valve) != Some(&now) {
        tracing::info!(valve = %record.valve, reason = %record.bound_by, "{}", record.explain);
        reasons.insert(record.valve.clone(), now);
    }
}

const EXAMPLES: &str = "\
Ends cleanly at SIGTERM (exit 0) and Ctrl-C (exit 130); never because Kafka is away: /healthz
answers 200 as long as it runs, /readyz 503 until lag is read and while it cannot be. It logs to
standard error.

Examples:
  lagvalve run --config config/agent.toml
  lagvalve run -b localhost:9092 -t orders --protect billing:2s --listen 127.0.0.1:8080
  curl -s localhost:5248/v1/valves/orders/explain";

const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);
