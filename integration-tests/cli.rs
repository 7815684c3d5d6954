//! Drives the built command: helps, mistakes, exit codes, output for machines, closed pipes, signals. No Kafka here.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn lagvalve(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lagvalve"));
    command.args(args).stdin(Stdio::null()).env_remove("LAGVALVE_LOG").env_remove("NO_COLOR");
    command
}

/// Exit code, standard output, standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = lagvalve(args).output().expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    (status.code().expect("no signal ended it"), text(stdout), text(stderr))
}

fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).to_string_lossy().into_owned()
}

/// An address where nobody listens.
fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

const COMMANDS: &[&str] = &["run", "observe", "doctor", "simulate", "check", "completions"];

#[test]
fn every_command_has_help_with_an_example_and_no_colour_in_a_pipe() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for words in ["Exit codes:", "4  Kafka could not be reached", "LAGVALVE_LOG", "NO_COLOR"] {
        assert!(help.contains(words), "{words}: {help}");
    }
    for command in COMMANDS {
        assert!(help.contains(command), "{command}: {help}");
        let (code, text, _) = run(&[command, "--help"]);
        assert_eq!(code, 0, "{command}");
        assert!(text.contains("Example") && text.contains(&format!("lagvalve {command}")), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 130), "{text}");
    }
    assert_eq!(run(&["--version"]).1.trim(), format!("lagvalve {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn mistakes_on_the_command_line_end_with_2_and_say_what_to_write() {
    let table: &[(&[&str], &str)] = &[
        (&[], "Usage: lagvalve"),
        (&["observ"], "'observe'"),
        (&["observe", "--protct", "billing"], "--protect"),
        (&["observe"], "-b HOST:PORT and -t TOPIC and --protect GROUP needed (or --config FILE)"),
        (&["observe", "-b", "localhost:9092", "-t", "orders"], "--protect GROUP needed"),
        (&["observe", "--protect", "billing:fast"], "billing:2s"),
        (&["observe", "--protect", "billing:2d"], "outside 100ms..1h"),
        (&["observe", "-t", "bad topic"], "a topic is 1 to 249 of letters"),
        (&["observe", "-X", "novalue"], "write key=value"),
        (&["observe", "--for", "ten"], "--for"),
        (&["observe", "-b", "a:1", "-t", "t", "--protect", "g", "-X", "no.such.property=1"], "no.such.property"),
        (&["observe", "--config", "/nonexistent/agent.toml"], "/nonexistent/agent.toml"),
        (&["run", "--listen", "5248"], "--listen"),
        (&["completions", "tcl"], "bash"),
    ];
    for (args, words) in table {
        let (code, _, error) = run(args);
        assert_eq!(code, 2, "{args:?}: {error}");
        assert!(error.contains(words), "{args:?}: {error}");
    }
    let agent = repository("config/agent.toml");
    let (code, _, error) = run(&["observe", "--config", &agent, "-t", "orders"]);
    assert!(code == 2 && error.contains("leave them out"), "{error}");
    let mut command = lagvalve(&["observe"]);
    let Output { status, stderr, .. } = command.env("LAGVALVE_LOG", "lagvalve=[").output().unwrap();
    assert_eq!(status.code(), Some(2));
    assert!(String::from_utf8_lossy(&stderr).contains("LAGVALVE_LOG"));
}

#[test]
fn a_secret_on_the_command_line_is_not_repeated() {
    let connection = ["-b", "a:1", "-t", "t", "--protect", "g", "-X", "security.protocol=SASL_SSL"];
    let wrong = ["-X", "sasl.mechanism=GSSAPI", "-X", "sasl.password=hush-hush"];
    let misspelt = ["-X", "security.protocol=PLAINTEXT", "-X", "sasl.pasword=hush-hush"];
    for secret in [wrong, misspelt] {
        let (code, out, error) = run(&[&["observe"][..], &connection, &secret].concat());
        assert_eq!(code, 2, "{error}");
        assert!(!error.contains("hush-hush") && out.is_empty(), "{error}");
    }
}

#[test]
fn check_tells_what_it_understood_or_everything_that_is_wrong() {
    let agent = repository("config/agent.toml");
    let (code, out, error) = run(&["check", &agent]);
    assert_eq!((code, error.as_str()), (0, ""));
    for words in ["cluster main: localhost:9092", "valve orders-backfill on main", "group billing", "is fine."] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (code, out, _) = run(&["check", "--json", &agent]);
    let understood: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &understood["ok"], &understood["listen"]), (0, &true.into(), &"127.0.0.1:5248".into()));

    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.toml");
    fs::write(&bad, "[clusters.main]\nbootstrap_servers = []\n[[valves]]\nname = \"v\"\nmin_rat = 1\n").unwrap();
    let bad = bad.to_string_lossy();
    let (code, out, error) = run(&["check", &bad]);
    assert_eq!((code, out.as_str()), (2, ""));
    for words in [&*bad, "4 problems", "line 2: clusters.main", "did you mean min_rate?", "topics: is needed"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let (code, out, _) = run(&["check", "--json", &bad]);
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len(), &lines[4]["problems"]), (2, 5, &4.into()), "{out}");
    assert_eq!(lines[0]["line"], 2);
}

#[test]
fn simulate_plays_scenarios_and_says_what_they_cost() {
    let (code, text, _) = run(&["simulate", "S01", "--seeds", "1", "--law", "lagvalve", "--law", "spark", "--json"]);
    assert_eq!(code, 0, "{text}");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "two runs and two summaries: {text}");
    let (ours, spark) = (&lines[0], &lines[1]);
    assert_eq!((&ours["scenario"], &ours["law"]), (&"S01".into(), &"lagvalve".into()));
    assert!(ours["j"].as_f64() < spark["j"].as_f64(), "{text}");
    assert_eq!(lines[3]["summary"], true);
    assert_eq!(run(&["simulate", "S01", "--seeds", "1", "--strict"]).0, 0);
    assert_eq!(run(&["simulate", "S01", "--seeds", "1", "--strict", "--law", "none"]).0, 1);
    let (code, _, said) = run(&["simulate", "S99"]);
    assert_eq!(code, 2);
    assert!(said.contains("S99 is neither a scenario of the catalogue (--list) nor a file"), "{said}");
    let (code, _, said) = run(&["simulate", &repository("docs/images")]);
    assert_eq!(code, 2, "nothing to run is no success");
    assert!(said.contains("holds no .toml file"), "{said}");
    let (code, _, said) = run(&["simulate", "S01", "--law", "adim"]);
    assert_eq!(code, 2);
    assert!(said.contains("aimd") && said.contains("lagvalve-slow"), "{said}");
}

#[test]
fn simulate_draws_a_page_that_needs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let file = page.to_string_lossy().into_owned();
    let (code, _, said) =
        run(&["simulate", "S01", "--seeds", "1", "--law", "lagvalve", "--law", "aimd", "--plot", &file]);
    assert!(code == 0 && said.contains(&file), "{said}");
    let html = fs::read_to_string(&page).unwrap();
    for held in ["S01", "\"lagvalve\"", "\"aimd\"", "set_point"] {
        assert!(html.contains(held), "{held} is not in the page");
    }
    assert!(!html.contains("http://") && !html.contains("https://"), "the page asks the network for something");
    let (code, _, said) = run(&["simulate", "S01", "--plot", &folder.path().join("no/page.html").to_string_lossy()]);
    assert!(code == 2 && said.contains("no/page.html"), "{said}");
    let (code, _, said) = run(&["simulate", "--plot", &file]);
    assert!(code == 2 && said.contains("60"), "too many runs for a page: {said}");
}

#[test]
fn simulate_draws_random_stories_and_keeps_to_a_budget() {
    let (code, text, _) = run(&["simulate", "--fuzz", "3", "--seeds", "7", "--json"]);
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len(), &lines[0]["seed"], &lines[3]["stories"]), (0, 4, &7.into(), &3.into()), "{text}");
    let (code, story, _) = run(&["simulate", "--fuzz", "1", "--seeds", "7", "--show"]);
    assert!(code == 0 && story.contains("id = \"F7\""), "{story}");
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    fs::write(file.path(), story).unwrap();
    let (code, again, _) = run(&["simulate", &file.path().to_string_lossy(), "--seeds", "7", "--json"]);
    let kept: serde_json::Value = serde_json::from_str(again.lines().next().unwrap()).unwrap();
    assert_eq!((code, &kept["j"]), (0, &lines[0]["j"]), "a story that is kept as a file is the same story");
    let (code, _, said) = run(&["simulate", "--fuzz"]);
    assert!(code == 2 && said.contains("--budget"), "{said}");
    let (code, _, said) = run(&["simulate", "--budget", "0s"]);
    assert!(code == 0 && said.contains("0 of 4"), "{said}");
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, _) = run(&["completions", shell]);
        assert!(code == 0 && script.contains("observe") && script.contains("protect"), "{shell}");
    }
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let agent = repository("config/agent.toml");
    for args in [&["completions", "bash"][..], &["check", &agent], &["--help"]] {
        let mut child = lagvalve(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&stderr).into_owned();
        assert!(status.success() && error.is_empty(), "{args:?}: {status} {error}");
    }
}

#[test]
fn nothing_reachable_is_4_within_ten_seconds_and_names_every_address() {
    for command in ["observe", "doctor"] {
        let (one, other) = (closed_port(), closed_port());
        let start = now();
        let (code, out, error) =
            run(&[command, "-b", &format!("{one},{other}"), "-t", "orders", "--protect", "billing"]);
        assert_eq!((code, out.as_str()), (4, ""), "{error}");
        assert!(start.elapsed() < Duration::from_secs(11));
        assert!(error.contains(&format!("{one}: ")) && error.contains(&format!("{other}: ")), "{error}");
        assert_eq!(error.lines().count(), 1, "one sentence: {error}");
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a process takes")]
fn now() -> Instant {
    Instant::now()
}

/// A process that is ended with the test, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `run` against a cluster that is away, and where it listens.
fn service(extra: &[&str]) -> (Running, String) {
    let cluster = closed_port();
    let args = ["run", "-b", &cluster, "-t", "orders", "--protect", "billing", "--listen", "127.0.0.1:0", "--json"];
    let mut command = lagvalve(&[&args[..], extra].concat());
    let mut child = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).expect("it says where it listens");
    let address = said["listening"].as_str().unwrap().trim_start_matches("http://").to_owned();
    (child, address)
}

fn status_of(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

fn send(signal: &str, child: &Running) {
    let pid = child.0.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

#[test]
fn a_service_lives_without_kafka_and_ends_cleanly() {
    for (signal, code) in [("-TERM", 0), ("-INT", 130)] {
        let (mut child, address) = service(&[]);
        assert_eq!(status_of(&address, "/healthz"), "HTTP/1.1 200 OK");
        assert_eq!(status_of(&address, "/readyz"), "HTTP/1.1 503 Service Unavailable");
        assert_eq!(status_of(&address, "/metrics"), "HTTP/1.1 200 OK");
        assert_eq!(status_of(&address, "/v1/valves/orders"), "HTTP/1.1 200 OK");
        assert_eq!(child.0.try_wait().unwrap(), None);
        send(signal, &child);
        assert_eq!(child.0.wait().unwrap().code(), Some(code), "{signal}");
        let mut log = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(log.contains("stopping") && !log.contains('\x1b'), "{log}");
    }
}

#[test]
fn a_second_service_at_the_same_address_is_told_so() {
    let (_first, address) = service(&[]);
    let (code, _, error) = run(&["run", "-b", &closed_port(), "-t", "t", "--protect", "g", "--listen", &address]);
    assert_eq!(code, 1);
    assert!(error.contains(&format!("{address} is in use")), "{error}");
}

#[test]
fn the_log_can_be_json_and_the_journal_has_a_line_a_tick() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("ticks.ndjson");
    let (mut child, _) = service(&["--log-format", "json", "--journal", &journal.to_string_lossy()]);
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let logged: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
    assert!(logged["level"].is_string() && logged["message"].is_string(), "{line}");
    let start = now();
    while fs::read_to_string(&journal).unwrap().lines().count() < 2 {
        assert!(start.elapsed() < Duration::from_secs(20), "two ticks take two seconds");
        assert_eq!(child.0.try_wait().unwrap(), None, "the service ended");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let ticks = fs::read_to_string(&journal).unwrap();
    let first: serde_json::Value = serde_json::from_str(ticks.lines().next().unwrap()).unwrap();
    assert_eq!((&first["valve"], &first["v"]), (&"orders".into(), &1.into()));
}
