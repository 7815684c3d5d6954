//! What `/metrics` renders parses, each name in it stands in the catalogue, and the server answers as it says.

#[path = "support/records.rs"]
mod records;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lagvalve::control::BoundBy;
use lagvalve::sidecar::http::{Server, ServerOptions};
use lagvalve::telemetry::{CATALOGUE, Journal, JournalFile, Kind, render};
use records::{Fixed, record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One sample of the text format: name, labels as they stand, value.
fn samples(text: &str) -> Vec<(String, String, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            assert!(labels.ends_with('}'), "{line}");
            let value = if value == "+Inf" { f64::INFINITY } else { value.parse().unwrap() };
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{line}");
            (name.to_owned(), labels.trim_end_matches('}').to_owned(), value)
        })
        .collect()
}

fn value(text: &str, name: &str, label: &str) -> Option<f64> {
    samples(text).into_iter().find(|(found, labels, _)| found == name && labels.contains(label)).map(|found| found.2)
}

#[test]
fn every_name_that_is_rendered_stands_in_the_catalogue_and_the_other_way_round() {
    let text = render(&Fixed::full());
    let rendered: BTreeSet<String> = samples(&text).into_iter().map(|(name, _, _)| name).collect();
    let known: BTreeSet<String> = CATALOGUE.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(rendered, known);
    for metric in CATALOGUE {
        let kind = if metric.kind == Kind::Counter { "counter" } else { "gauge" };
        assert!(text.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{}", metric.name);
        assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}", metric.name);
        for (_, labels, _) in samples(&text).iter().filter(|(name, _, _)| name == metric.name) {
            let names: BTreeSet<&str> = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
            assert_eq!(names, metric.labels.iter().copied().collect(), "{}", metric.name);
        }
    }
}

#[test]
fn no_limit_is_infinite_and_what_is_unknown_has_no_sample() {
    let text = render(&Fixed::fresh(Vec::new()));
    assert_eq!(samples(&text).len(), 1, "an agent without valves tells its version: {text}");

    let text = render(&Fixed::fresh(vec![record("starting")]));
    assert_eq!(value(&text, "lagvalve_rate_decided_messages_per_second", "starting"), Some(f64::INFINITY));
    for unknown in ["lagvalve_rate_applied", "lagvalve_production", "lagvalve_signal_age", "lagvalve_group_lag"] {
        assert!(!text.lines().any(|line| line.starts_with(unknown)), "{unknown}: {text}");
    }
    assert_eq!(value(&text, "lagvalve_bound_by", "reason=\"learning\""), Some(1.0));
    let reasons = samples(&text).iter().filter(|(name, _, _)| name == "lagvalve_bound_by").count();
    assert_eq!(reasons, BoundBy::ALL.len(), "a state set has all its states");
}

#[test]
fn the_journal_has_a_line_a_tick_and_turns_over_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ticks.ndjson");
    let journal = Journal::new(Some(JournalFile::open(&path).unwrap()));
    for seq in 0..700 {
        let mut tick = record("orders");
        tick.seq = seq;
        tick.at = 1_800_000_000_000 + seq * 1000;
        journal.record(&tick).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let seqs = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64());
    assert!(seqs.eq((0..700).map(Some)), "every tick, in order");
    let history = journal.history(&"orders".into());
    assert_eq!(history.iter().len(), 600);
    assert_eq!(history.iter().next().unwrap().at, 1_800_000_100_000);
    assert_eq!(journal.history(&"none".into()).iter().len(), 0);
    let error = JournalFile::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains(&*folder.path().to_string_lossy()), "{error}");
}

/// Status line with headers, and body.
async fn ask(server: &Server, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a header");
    (head.to_owned(), body.to_owned())
}

async fn serve(readings: Fixed) -> Server {
    let options = ServerOptions::new("127.0.0.1:0".parse().unwrap());
    Server::bind(options, Arc::new(readings), Arc::new(Journal::new(None))).await.unwrap()
}

#[tokio::test]
async fn the_server_answers_every_path() {
    let server = serve(Fixed::full()).await;
    let (head, body) = ask(&server, "GET", "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("lagvalve_rate_decided_messages_per_second{valve=\"orders\"} 1090"), "{body}");
    let (head, body) = ask(&server, "HEAD", "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head}");

    let (_, body) = ask(&server, "GET", "/v1/valves/orders").await;
    let valve: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(valve["rate_decided"], 1090.0);
    assert_eq!(valve["groups"][0]["state"], "catching_up");
    assert!(valve["groups"][0].get("partitions").is_none(), "{valve}");
    let (_, body) = ask(&server, "GET", "/v1/valves").await;
    let all: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(all["valves"][0]["valve"], "orders");
    assert_eq!(all["valves"][0], valve);
    let (_, body) = ask(&server, "GET", "/v1/valves/orders/explain").await;
    assert!(body.contains("below what the group consumes"), "{body}");
    let (_, body) = ask(&server, "GET", "/v1/valves/orders/journal").await;
    assert!(body.contains("\"points\":[]"), "{body}");

    let (head, body) = ask(&server, "GET", "/v1/valves/order").await;
    assert!(head.starts_with("HTTP/1.1 404") && head.contains("application/problem+json"), "{head}");
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&problem["status"], &problem["valves"][0]), (&404.into(), &"orders".into()));
    let (head, body) = ask(&server, "GET", "/nope").await;
    assert!(head.starts_with("HTTP/1.1 404") && body.contains("/v1/valves"), "{head}{body}");
    let (head, body) = ask(&server, "POST", "/v1/valves").await;
    assert!(head.starts_with("HTTP/1.1 405") && head.to_lowercase().contains("allow: get,head"), "{head}");
    assert!(body.contains("GET or HEAD"), "{body}");
}

#[tokio::test]
async fn ready_means_that_every_cluster_is_read() {
    let server = serve(Fixed::fresh(vec![record("starting")])).await;
    let (head, body) = ask(&server, "GET", "/readyz").await;
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("retry-after: 1"), "{head}");
    assert!(body.contains("starting") && body.contains("keeps trying"), "{body}");
    assert!(ask(&server, "GET", "/healthz").await.0.starts_with("HTTP/1.1 200"));

    let mut read = record("read");
    read.signal_age_seconds = Some(0.4);
    let server = serve(Fixed::fresh(vec![record("starting"), read.clone()])).await;
    let (head, body) = ask(&server, "GET", "/readyz").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("[\"starting\"]"), "{head}{body}");

    read.signal_age_seconds = Some(16.0);
    let server = serve(Fixed::fresh(vec![read])).await;
    assert!(ask(&server, "GET", "/readyz").await.0.starts_with("HTTP/1.1 503"), "old data is not fresh");
}

#[tokio::test]
async fn an_address_in_use_is_told_and_a_shutdown_frees_it() {
    let server = serve(Fixed::full()).await;
    let listen = server.local_addr();
    let again = || Server::bind(ServerOptions::new(listen), Arc::new(Fixed::full()), Arc::new(Journal::new(None)));
    let error = again().await.unwrap_err().to_string();
    assert!(error.contains(&listen.to_string()) && error.contains("in use"), "{error}");

    // A kept-alive connection that is idle does not hold the end up.
    let idle = TcpStream::connect(listen).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), server.shutdown(Duration::from_secs(10))).await.expect("ends at once");
    drop(idle);
    assert!(TcpStream::connect(listen).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_header_beyond_all_measure_is_refused() {
    let server = serve(Fixed::full()).await;
    let (head, _) = ask(&server, "GET", &format!("/{}", "x".repeat(40_000))).await;
    assert!(head.starts_with("HTTP/1.1 4"), "{head}");
}
