//! The tables of the README and of docs/control.md are made from what was measured: `docs/measured/`, written by `.ci/measure`.
//!
//! `LAGVALVE_UPDATE_README=1 cargo test --test readme` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[test]
fn the_documents_show_what_was_measured() {
    let tables = [
        ("README.md", "results", results()),
        ("README.md", "versions", versions()),
        ("docs/control.md", "beside", beside()),
    ];
    for (document, name, table) in tables {
        let path = root().join(document);
        let text = fs::read_to_string(&path).unwrap();
        let expected = filled(document, &text, name, &table);
        if std::env::var_os("LAGVALVE_UPDATE_README").is_some() {
            fs::write(&path, &expected).unwrap();
        } else {
            assert!(
                text == expected,
                "{document} is older than docs/measured; run LAGVALVE_UPDATE_README=1 cargo test --test readme"
            );
        }
    }
}

#[test]
fn pictures_and_pages_that_the_documents_show_are_there() {
    let documents = ["README.md", "docs/architecture.md", "docs/control.md", "docs/safety.md"];
    for document in documents {
        let path = root().join(document);
        let text = fs::read_to_string(&path).unwrap();
        for target in links(&text) {
            let place = path.parent().unwrap().join(target);
            assert!(place.exists(), "{document} points to {target}, which is not there");
        }
    }
}

/// Relative targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' '))
}

/// `text` with `table` between the marks of `name`.
fn filled(document: &str, text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- measured: {name} -->\n"), "<!-- end -->".to_owned());
    let from = text.find(&begin).unwrap_or_else(|| panic!("{document} has no {begin}")) + begin.len();
    let to = from + text[from..].find(&end).unwrap_or_else(|| panic!("{document} has no end mark"));
    format!("{}{table}{}", &text[..from], &text[to..])
}

fn results() -> String {
    let mut rows: Vec<Value> = measured("demo-", ".jsonl").iter().flat_map(|path| lines(path)).collect();
    let order = ["ten-to-two", "hundred-to-ten", "to-spare", "backfill"];
    rows.sort_by_key(|row| {
        let scenario = order.iter().position(|name| row["scenario"] == *name).expect("a scenario");
        (scenario, row["start"].to_string(), row["broker"] != "embedded")
    });
    let mut table = String::from(
        "| scenario | start | broker | settled | highest drain time | steady drain time | rate varies by | withheld | lost, duplicated |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &rows {
        table += &format!("{}\n", result_row(row));
    }
    table
}

fn result_row(row: &Value) -> String {
    let spare = row["scenario"] == "to-spare";
    let number = |field: &str, digits: usize, unit: &str| match row[field].as_f64() {
        Some(value) => format!("{value:.digits$}{unit}"),
        None => "–".to_owned(),
    };
    let unless_spare = |text: String| if spare { "–".to_owned() } else { text };
    let cov = row["rate_cov"].as_f64().map_or_else(|| "–".to_owned(), |cov| format!("{:.1} %", 100.0 * cov));
    let withheld = if spare { number("withheld_percent", 2, " %") } else { "–".to_owned() };
    assert_eq!(row["verified"], true, "{row}");
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {withheld} | {}, {} |",
        row["scenario"].as_str().unwrap(),
        row["start"].as_str().unwrap(),
        row["broker"].as_str().unwrap(),
        unless_spare(number("settled_seconds", 0, " s")),
        number("peak_drain_seconds", 1, " s"),
        unless_spare(number("steady_drain_seconds", 2, " s")),
        unless_spare(cov),
        row["lost"],
        row["duplicated"],
    )
}

/// The same stories simulated and on Kafka, by commit interval.
fn beside() -> String {
    let simulated = lines(&root().join("docs/measured/beside-simulated.jsonl"));
    let on_kafka: Vec<Value> = measured("beside-kafka-", ".jsonl").iter().flat_map(|path| lines(path)).collect();
    let mut table = String::from(
        "| story | commits | where | settled | highest drain time | steady drain time | rate varies by | withheld |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for story in ["ten-to-two", "backfill", "to-spare"] {
        for commits in [1, 5, 30] {
            let id = format!("{story}-{commits}");
            let runs: Vec<&Value> = simulated.iter().filter(|run| run["scenario"] == id.as_str()).collect();
            table += &beside_row(story, commits, "simulated", &runs);
            for protocol in ["classic", "consumer"] {
                let same = |run: &&Value| {
                    run["scenario"] == story && run["commit_seconds"] == commits && run["protocol"] == protocol
                };
                let runs: Vec<&Value> = on_kafka.iter().filter(same).collect();
                let label = runs.first().and_then(|run| run["broker"].as_str()).expect("it was measured");
                table += &beside_row(story, commits, &format!("{label}, {protocol}"), &runs);
            }
        }
    }
    table
}

fn beside_row(story: &str, commits: i32, place: &str, runs: &[&Value]) -> String {
    assert!(!runs.is_empty(), "{story} with commits every {commits} s was not measured: {place}");
    let figures = match story {
        "to-spare" => [String::from("–"), String::from("–"), String::from("–"), String::from("–")],
        _ => [
            range(runs, settled, 0, " s"),
            range(runs, |run| run["peak_drain_seconds"].as_f64(), 1, " s"),
            range(runs, |run| mean(run, "steady_drain_seconds", "steady_drain_seconds"), 2, " s"),
            range(runs, |run| mean(run, "rate_cov", "cov").map(|cov| 100.0 * cov), 1, " %"),
        ],
    };
    let withheld = match story {
        "to-spare" => range(runs, |run| run["harm_percent"].as_f64().or(run["withheld_percent"].as_f64()), 2, " %"),
        _ => "–".to_owned(),
    };
    format!("| {story} | {commits} s | {place} | {} | {withheld} |\n", figures.join(" | "))
}

/// Stages of a run on Kafka in which something must settle; the simulator's figures are of the same.
fn stages(run: &Value) -> Vec<&Value> {
    let asked = ["enforce", "consumer_halved", "consumer_restarted", "consumer_doubled"];
    let stages = run["stages"].as_array().map(Vec::as_slice).unwrap_or_default();
    stages.iter().filter(|stage| asked.iter().any(|kind| stage["stage"] == *kind)).collect()
}

/// The longest time to settle of all stages.
fn settled(run: &Value) -> Option<f64> {
    if run["stages"].is_null() {
        return run["settled_seconds"].as_f64();
    }
    let seconds = |stage: &&Value| stage["settled_seconds"].as_f64();
    stages(run).iter().try_fold(0.0, |longest: f64, stage| seconds(stage).map(|seconds| longest.max(seconds)))
}

/// The mean of a figure over all stages; of the run where it has none, under `simulated`.
fn mean(run: &Value, figure: &str, simulated: &str) -> Option<f64> {
    let values: Vec<f64> = stages(run).iter().filter_map(|stage| stage[figure].as_f64()).collect();
    if values.is_empty() { run[simulated].as_f64() } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

/// The least and the most of a figure; "never" where a run has none.
fn range(runs: &[&Value], figure: impl Fn(&Value) -> Option<f64>, digits: usize, unit: &str) -> String {
    let known: Vec<f64> = runs.iter().filter_map(|run| figure(run)).collect();
    let never = runs.len() - known.len();
    let (least, most) =
        known.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), value| (a.min(*value), b.max(*value)));
    let (least, most) = (format!("{least:.digits$}"), format!("{most:.digits$}"));
    match (known.len(), never) {
        (0, _) => "never".to_owned(),
        (_, 0) if least == most => format!("{most}{unit}"),
        (_, 0) => format!("{least} to {most}{unit}"),
        _ => format!("{least} to {most}{unit}, never in {never} of {}", runs.len()),
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn versions() -> String {
    let mut rows: Vec<(Vec<u32>, Value)> = measured("kafka-", ".json")
        .into_iter()
        .map(|path| {
            let row: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
            let version = row["kafka"].as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
            (version, row)
        })
        .collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let mut table = String::from("| Apache Kafka | tests passed | failed | not possible there |\n|---|---|---|---|\n");
    for (_, row) in &rows {
        let kafka = row["kafka"].as_str().unwrap();
        table += &format!("| {kafka} | {} | {} | {} |\n", row["passed"], row["failed"], row["ignored"]);
    }
    table
}

fn measured(start: &str, end: &str) -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("docs/measured")).unwrap();
    let mut found: Vec<PathBuf> = folder
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(start) && name.ends_with(end)
        })
        .collect();
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
