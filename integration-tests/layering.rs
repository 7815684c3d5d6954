//! The architecture as a test: who may import whom, and what a pure stage may not contain.
//!
//! Holds the modules in flow order and the table of docs/architecture.md against every path in `src/`. A finding names
//! the file, the line and the remedy. The last block checks the house rules that no lint knows.

#[path = "support/rust_paths.rs"]
mod rust_paths;

use std::fs;
use std::path::{Path, PathBuf};

use rust_paths::{Found, paths_of};

/// The modules of the library in flow order, each with the modules that it may import.
///
/// A stage imports the types of stages to its left. `kafka` stands first in the flow but implements traits of `lag`;
/// `agent` turns the loop, so it imports the stages; nothing imports `config`, `sim` or `cli` but what is named here.
const FLOW: &[(&str, &[&str])] = &[
    // vocabulary
    ("clock", &[]),
    ("id", &[]),
    ("units", &[]),
    // observe
    ("kafka", &["lag"]),
    ("lag", &[]),
    // estimate, decide, allocate
    ("estimate", &["lag"]),
    ("control", &["lag", "estimate"]),
    ("allocation", &["lag", "estimate", "control"]),
    ("coordination", &["kafka", "lag", "allocation", "limiter"]),
    // actuate
    ("limiter", &["control", "allocation"]),
    ("producer", &["kafka", "lag", "control", "allocation", "coordination", "limiter", "agent"]),
    (
        "sidecar",
        &["kafka", "lag", "control", "allocation", "coordination", "limiter", "producer", "telemetry", "agent"],
    ),
    // report
    ("telemetry", &["lag", "estimate", "control", "allocation", "limiter", "agent"]),
    // composition
    ("agent", &["kafka", "lag", "estimate", "control", "allocation", "coordination", "limiter", "telemetry"]),
    ("config", &["kafka", "lag", "control", "allocation", "agent"]),
    ("sim", &["lag", "estimate", "control", "allocation", "agent"]),
    (
        "cli",
        &[
            "kafka",
            "lag",
            "estimate",
            "control",
            "allocation",
            "coordination",
            "limiter",
            "producer",
            "sidecar",
            "telemetry",
            "agent",
            "config",
            "sim",
        ],
    ),
];

/// Files that put a running valve together, and what they may import besides: the loop of the agent ends in the handles
/// that users hold. Its pure files stay free of them.
const COMPOSING: &[(&[&str], &str)] = &[(&["agent/run.rs", "agent/builder.rs"], "producer")];

/// Every module may import these; they import nothing of ours, not even each other.
const VOCABULARY: &[&str] = &["clock", "id", "units"];

/// Files and folders that compute and nothing else; the exceptions below them act.
const PURE: &[&str] =
    &["lag", "estimate", "control", "allocation", "limiter", "kafka/wire", "agent", "units.rs", "id.rs"];

/// What acts inside a folder that is pure otherwise: the fronts of the limiter, the tasks of the agent.
const IMPURE: &[&str] =
    &["limiter/mod.rs", "limiter/front", "limiter/leased", "agent/mod.rs", "agent/run", "agent/builder"];

/// Of a pure stage, only these modules of ours may be imported: an impure one would bring its sockets along.
const PURE_MODULES: &[&str] = &["clock", "id", "units", "lag", "estimate", "control", "allocation", "limiter", "agent"];

/// What a pure stage may not contain, and where it comes from instead.
const FORBIDDEN: &[(Forbidden, &str)] = &[
    (Forbidden::Crate("tokio"), "no async runtime: the caller awaits"),
    (Forbidden::Crate("futures"), "no async runtime: the caller awaits"),
    (Forbidden::Crate("rdkafka"), "Kafka is read through lag::OffsetSource"),
    (Forbidden::Crate("krafka"), "Kafka is read through lag::OffsetSource"),
    (Forbidden::Crate("axum"), "stages return, the sidecar serves"),
    (Forbidden::Crate("prometheus"), "stages return, telemetry reports"),
    (Forbidden::Crate("tracing"), "stages return, telemetry reports"),
    (Forbidden::Crate("log"), "stages return, telemetry reports"),
    (Forbidden::Crate("rand"), "chance is an argument: a seeded generator"),
    (Forbidden::Path(&["std", "net"]), "no sockets in a pure stage"),
    (Forbidden::Path(&["std", "fs"]), "no files in a pure stage"),
    (Forbidden::Path(&["std", "io"]), "no files in a pure stage"),
    (Forbidden::Path(&["std", "env"]), "configuration reads the environment, in config and cli alone"),
    (Forbidden::Path(&["std", "process"]), "no processes in a pure stage"),
    (Forbidden::Path(&["std", "thread"]), "no threads in a pure stage"),
    (Forbidden::Path(&["std", "time", "Instant"]), "take `now: clock::Instant` as an argument"),
    (Forbidden::Path(&["Instant", "now"]), "take `now: clock::Instant` as an argument"),
    (Forbidden::Path(&["SystemTime"]), "take the time as an argument"),
    (Forbidden::Path(&["SystemClock"]), "take `now: clock::Instant` as an argument"),
    (Forbidden::Macro("println"), "stages return, telemetry reports"),
    (Forbidden::Macro("print"), "stages return, telemetry reports"),
    (Forbidden::Macro("eprintln"), "stages return, telemetry reports"),
    (Forbidden::Macro("eprint"), "stages return, telemetry reports"),
    (Forbidden::Macro("dbg"), "stages return, telemetry reports"),
];

/// Client crates of Kafka and the folders that may name them.
const KAFKA_CRATES: &[(&str, &[&str])] =
    &[("krafka", &["kafka/", "cli/demo"]), ("rdkafka", &["kafka/", "producer/", "cli/"])];

enum Forbidden {
    /// An external crate, by its first segment.
    Crate(&'static str),
    /// These segments, one after the other, anywhere in a path.
    Path(&'static [&'static str]),
    /// A macro called by this name.
    Macro(&'static str),
}

impl Forbidden {
    fn hits(&self, found: &Found) -> bool {
        match self {
            Self::Crate(name) => found.segments[0] == *name && (found.imported || found.segments.len() > 1),
            Self::Path(wanted) => found.segments.windows(wanted.len()).any(|part| part == *wanted),
            Self::Macro(name) => found.called_as_macro && found.segments.last().is_some_and(|last| last == name),
        }
    }
}

#[test]
fn modules_import_only_what_stands_to_their_left() {
    report(&each_source_file(layering_findings));
}

#[test]
fn pure_stages_contain_no_runtime_socket_clock_or_log() {
    report(&each_source_file(purity_findings));
}

#[test]
fn only_their_own_folders_name_a_kafka_client_crate() {
    report(&each_source_file(client_crate_findings));
}

#[test]
fn lib_rs_declares_known_modules_in_flow_order() {
    let text = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs is there");
    report(&order_findings(&text));
}

#[test]
fn no_source_file_is_too_long() {
    let findings = each_source_file(|file, text| {
        let lines = text.lines().count();
        if lines > LINES_ADVISED {
            eprintln!("note: src/{file} has {lines} lines, {LINES_ADVISED} are advised");
        }
        if lines > LINES_ALLOWED {
            return vec![format!(
                "src/{file}: {lines} lines, {LINES_ALLOWED} are allowed: split it where the meaning splits"
            )];
        }
        Vec::new()
    });
    report(&findings);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let mut findings = Vec::new();
    for file in files_below(&root()) {
        let Ok(text) = fs::read_to_string(root().join(&file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(path) = MACHINE_PATHS.iter().find(|path| line.contains(**path)) {
                findings.push(format!(
                    "{}:{}: names {path}: use a relative path or an option",
                    file.display(),
                    number + 1
                ));
            }
        }
    }
    report(&findings);
}

// ---- the checks, each on one text, so that they can be tried on a text that breaks them

fn layering_findings(file: &str, text: &str) -> Vec<String> {
    let module = top_module(file);
    if module == "lib" || module == "main" {
        return Vec::new();
    }
    let Some((_, allowed)) = FLOW.iter().find(|(name, _)| *name == module) else {
        return vec![format!("src/{file}: module `{module}` is not in FLOW: give it a place and a list of imports")];
    };
    let mut findings = Vec::new();
    for found in paths_of(text) {
        let Some(target) = crate_module(file, &found.segments) else { continue };
        let known = FLOW.iter().any(|(name, _)| *name == target);
        if target == module || !known {
            continue;
        }
        let vocabulary = VOCABULARY.contains(&target.as_str()) && !VOCABULARY.contains(&module.as_str());
        let composes = COMPOSING.iter().any(|(files, extra)| files.contains(&file) && *extra == target);
        if !vocabulary && !composes && !allowed.contains(&target.as_str()) {
            findings.push(format!(
                "src/{file}:{}: `{module}` may not import `{target}` (allowed: vocabulary, {}): move the type to the left, or hand the value over as an argument",
                found.line,
                allowed.join(", "),
            ));
        }
    }
    findings
}

fn purity_findings(file: &str, text: &str) -> Vec<String> {
    if !is_pure(file) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for found in paths_of(text) {
        let path = found.segments.join("::");
        for (_, remedy) in FORBIDDEN.iter().filter(|(forbidden, _)| forbidden.hits(&found)) {
            findings.push(format!("src/{file}:{}: `{path}` in a pure stage: {remedy}", found.line));
        }
        let ours = crate_module(file, &found.segments).filter(|target| FLOW.iter().any(|(name, _)| name == target));
        if let Some(target) = ours.filter(|target| !PURE_MODULES.contains(&target.as_str())) {
            findings.push(format!("src/{file}:{}: a pure stage imports `{target}`, which acts", found.line));
        }
    }
    findings
}

fn client_crate_findings(file: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for found in paths_of(text) {
        for (name, folders) in KAFKA_CRATES {
            if Forbidden::Crate(name).hits(&found) && !folders.iter().any(|folder| file.starts_with(folder)) {
                findings.push(format!(
                    "src/{file}:{}: `{}`: only {} may name `{name}`: ask `kafka` for it",
                    found.line,
                    found.segments.join("::"),
                    folders.join(", "),
                ));
            }
        }
    }
    findings
}

fn order_findings(lib: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut last = (0, "");
    for name in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
        let Some(place) = FLOW.iter().position(|(module, _)| *module == name) else {
            findings.push(format!("src/lib.rs: `{name}` is not in FLOW: give it a place and a list of imports"));
            continue;
        };
        if place < last.0 {
            findings.push(format!("src/lib.rs: `{name}` stands after `{}`: keep the order of the flow", last.1));
        }
        last = (place, name);
    }
    findings
}

// ---- helpers

/// `lag/offsets.rs` → `lag`, `clock.rs` → `clock`.
fn top_module(file: &str) -> String {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs").to_owned()
}

/// The module of ours that a path leads to, seen from `file`: `crate::lag::X` → `lag`; `super::super::lag` likewise.
fn crate_module(file: &str, segments: &[String]) -> Option<String> {
    let first = segments.first()?;
    if first == "crate" || first == "lagvalve" {
        return segments.get(1).cloned();
    }
    let ups = segments.iter().take_while(|segment| *segment == "super").count();
    let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = stem.split('/').count();
    (ups > 0 && ups == depth).then(|| segments.get(ups).cloned()).flatten()
}

fn is_pure(file: &str) -> bool {
    let below = |prefix: &&str| file == *prefix || file.starts_with(&format!("{prefix}/"));
    PURE.iter().any(below) && !IMPURE.iter().any(|prefix| file.starts_with(prefix))
}

fn each_source_file(check: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    let src = root().join("src");
    let mut files = files_below(&src);
    files.retain(|file| file.extension().is_some_and(|kind| kind == "rs"));
    assert!(files.len() > 5, "no sources below {}", src.display());
    let mut findings = Vec::new();
    for file in files {
        let text = fs::read_to_string(src.join(&file)).expect("a source file is UTF-8");
        findings.extend(check(&file.to_string_lossy(), &text));
    }
    findings
}

/// Every file below `top`, relative to it, without what no person wrote.
fn files_below(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![top.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project can be read") {
            let path = entry.expect("a folder of the project can be read").path();
            if path.file_name().is_some_and(|name| NOT_WRITTEN.iter().any(|skipped| name == *skipped)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(top).expect("below the top").to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn report(findings: &[String]) {
    assert!(findings.is_empty(), "{} finding(s):\n  {}", findings.len(), findings.join("\n  "));
}

const NOT_WRITTEN: &[&str] = &["target", ".git", "node_modules", "Cargo.lock"];
const LINES_ADVISED: usize = 500;
const LINES_ALLOWED: usize = 700;

/// Put together here, so that this file does not contain what it looks for.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/tmp/", "wt"),
    concat!("/tmp/", "target"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
];

mod the_checks_themselves {
    use super::*;

    #[test]
    fn a_forbidden_import_is_caught() {
        let text = "//! doc\nuse crate::control::BoundBy;\nuse crate::{id::Topic, sidecar::http};\n";
        let findings = layering_findings("estimate/rate.rs", text);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("src/estimate/rate.rs:2: `estimate` may not import `control`"), "{findings:?}");
        assert!(findings[1].contains(":3: `estimate` may not import `sidecar`"), "{findings:?}");
    }

    #[test]
    fn imports_to_the_left_and_of_the_vocabulary_pass() {
        let text = "use crate::clock::Instant;\nuse crate::lag::Snapshot;\nuse super::Cadence;\n";
        assert!(layering_findings("estimate/rate.rs", text).is_empty());
    }

    #[test]
    fn a_path_without_a_use_is_caught() {
        let findings = layering_findings("lag/offsets.rs", "fn f() -> crate::control::BoundBy { todo() }");
        assert_eq!(findings.len(), 1, "{findings:?}");
    }

    #[test]
    fn climbing_out_of_a_module_is_caught() {
        assert_eq!(layering_findings("lag/offsets.rs", "use super::super::control::Terms;").len(), 1);
        assert_eq!(layering_findings("lag/mod.rs", "use super::control::Terms;").len(), 1);
        assert!(layering_findings("lag/offsets.rs", "use super::control;").is_empty(), "lag's own child");
    }

    #[test]
    fn a_module_without_a_place_is_caught() {
        assert_eq!(layering_findings("helpers/mod.rs", "").len(), 1);
        assert_eq!(order_findings("pub mod helpers;\n").len(), 1);
    }

    #[test]
    fn vocabulary_imports_nothing_of_ours() {
        assert_eq!(layering_findings("units.rs", "use crate::clock::Instant;").len(), 1);
    }

    #[test]
    fn every_forbidden_thing_is_caught_in_a_pure_stage() {
        for text in [
            "use tokio::sync::watch;",
            "fn f() { tokio::spawn(x); }",
            "use std::{collections::BTreeMap, net::TcpStream};",
            "use std::fs;",
            "fn f() { let x = std::env::var(\"X\"); }",
            "fn f() { let t = Instant::now(); }",
            "use std::time::{Duration, Instant};",
            "use std::time::SystemTime;",
            "fn f() { rand::random() }",
            "use tracing::warn;",
            "fn f() { println!(\"x\"); }",
            "use prometheus::Counter;",
            "use rdkafka::ClientConfig;",
            "use krafka::admin::AdminClient;",
            "use crate::clock::SystemClock;",
            "use crate::kafka::Connection;",
        ] {
            let findings = purity_findings("control/law.rs", text);
            assert_eq!(findings.len(), 1, "{text}: {findings:?}");
        }
    }

    #[test]
    fn words_in_comments_strings_and_tests_are_no_imports() {
        let text = "// use tokio::sync\n/* tokio::spawn /* nested */ tokio::x */\nconst A: &str = \"tokio::spawn\";\n\
                    const B: &str = r#\"use tokio::\"#;\nfn f<'a>(x: &'a str, c: char) -> bool { c == '\"' && x == \"tokio::\" }\n\
                    #[cfg(test)]\nmod tests {\n use tokio::test;\n}\n";
        assert_eq!(purity_findings("control/law.rs", text), Vec::<String>::new());
        assert_eq!(
            purity_findings("control/law.rs", &format!("{text}\nuse tokio::x;")).len(),
            1,
            "code after the tests counts"
        );
    }

    #[test]
    fn what_acts_may_act() {
        assert!(purity_findings("agent/run.rs", "use tokio::sync::watch;").is_empty());
        assert_eq!(purity_findings("agent/tick.rs", "use tokio::sync::watch;").len(), 1);
        assert_eq!(purity_findings("limiter/bucket.rs", "use tokio::sync::watch;").len(), 1);
    }

    #[test]
    fn a_client_crate_outside_its_folder_is_caught() {
        assert_eq!(client_crate_findings("sidecar/http/mod.rs", "use rdkafka::ClientConfig;").len(), 1);
        assert!(client_crate_findings("kafka/mod.rs", "use krafka::admin::AdminClient;").is_empty());
    }

    #[test]
    fn modules_out_of_order_are_caught() {
        assert_eq!(order_findings("pub mod control;\npub mod lag;\n").len(), 1);
        assert!(order_findings("pub mod lag;\npub mod control;\n").is_empty());
    }
}
