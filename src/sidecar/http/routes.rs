//! Which address answers what.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::guard::guard;
use super::problem::Problem;
use super::server::ServerOptions;
use super::view;
use crate::clock::{Clock, SystemClock};
use crate::id::ValveName;
use crate::telemetry::{self, Journal, Readings, ValveReading};

/// What every handler needs.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) readings: Arc<dyn Readings>,
    pub(super) journal: Arc<Journal>,
}

/// All routes. Health is open to everyone: probes come from other machines and learn nothing.
pub(super) fn router(shared: Shared, options: Arc<ServerOptions>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/valves", get(valves))
        .route("/v1/valves/{valve}", get(valve))
        .route("/v1/valves/{valve}/explain", get(explain))
        .route("/v1/valves/{valve}/journal", get(journal))
        .layer(middleware::from_fn_with_state(options, guard));
    Router::new()
        .route("/healthz", get(async || json_answer(StatusCode::OK, &json!({ "status": "alive" }))))
        .route("/readyz", get(readyz))
        .merge(guarded)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let text = telemetry::render(shared.readings.as_ref());
    ([(header::CONTENT_TYPE, HeaderValue::from_static(telemetry::CONTENT_TYPE))], text).into_response()
}

/// 200 while every cluster is being read. A valve whose group or topic does not exist is named, and takes nobody
/// else's valve out of service.
async fn readyz(State(shared): State<Shared>) -> Response {
    let now = SystemClock.now();
    let readings = shared.readings.valves();
    let stale: Vec<&ValveReading> = readings.iter().filter(|reading| !reading.is_fresh(now)).collect();
    let read = |cluster: &str| readings.iter().any(|other| other.cluster == cluster && other.is_fresh(now));
    let names: Vec<&str> = stale.iter().map(|reading| reading.record.valve.as_str()).collect();
    if !readings.is_empty() && readings.iter().all(|reading| read(&reading.cluster)) {
        return json_answer(StatusCode::OK, &json!({ "status": "ready", "without_fresh_data": names }));
    }
    let detail = "lag has not been read yet, or not for longer than signal_grace; the agent keeps trying";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "No fresh data", detail);
    let retry = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
    (retry, problem.with("without_fresh_data", names)).into_response()
}

async fn valves(State(shared): State<Shared>) -> Response {
    let all: Vec<Value> = shared.readings.valves().iter().map(view::valve).collect();
    json_answer(StatusCode::OK, &json!({ "valves": all }))
}

async fn valve(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Response, Problem> {
    Ok(json_answer(StatusCode::OK, &view::valve(&find(&shared, &name)?)))
}

async fn explain(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Response, Problem> {
    Ok(json_answer(StatusCode::OK, &view::explain(&find(&shared, &name)?)))
}

async fn journal(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Response, Problem> {
    find(&shared, &name)?;
    let history = shared.journal.history(&ValveName::from(name.as_str()));
    Ok(json_answer(StatusCode::OK, &view::journal(&name, &history)))
}

fn find(shared: &Shared, name: &str) -> Result<ValveReading, Problem> {
    let all = shared.readings.valves();
    let known: Vec<String> = all.iter().map(|reading| reading.record.valve.to_string()).collect();
    all.into_iter().find(|reading| reading.record.valve.as_str() == name).ok_or_else(|| {
        let detail = format!("there is no valve \"{name}\"; there are: {}", known.join(", "));
        Problem::new(StatusCode::NOT_FOUND, "Unknown valve", detail).with("valves", known)
    })
}

async fn unknown_path(uri: Uri) -> Problem {
    let detail = format!("nothing stands at {}; see \"paths\"", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "Unknown path", detail).with("paths", PATHS)
}

async fn wrong_method(uri: Uri) -> Problem {
    let detail = format!("{} is read with GET or HEAD", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Wrong method", detail)
}

fn json_answer(status: StatusCode, body: &Value) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response()
}

const PATHS: &[&str] = &[
    "/healthz",
    "/metrics",
    "/readyz",
    "/v1/valves",
    "/v1/valves/{valve}",
    "/v1/valves/{valve}/explain",
    "/v1/valves/{valve}/journal",
];
