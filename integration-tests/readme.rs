//! The tables of the README are made from what was measured: `docs/measured/`, written by `.ci/measure`.
//!
//! `LAGVALVE_UPDATE_README=1 cargo test --test readme` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[test]
fn the_readme_shows_what_was_measured() {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let expected = filled(&filled(&readme, "results", &results()), "versions", &versions());
    if std::env::var_os("LAGVALVE_UPDATE_README").is_some() {
        fs::write(&path, &expected).unwrap();
        return;
    }
    assert!(
        readme == expected,
        "README.md is older than docs/measured; run LAGVALVE_UPDATE_README=1 cargo test --test readme"
    );
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
fn filled(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- measured: {name} -->\n"), "<!-- end -->".to_owned());
    let from = text.find(&begin).unwrap_or_else(|| panic!("README.md has no {begin}")) + begin.len();
    let to = from + text[from..].find(&end).expect("README.md has no end mark");
    format!("{}{table}{}", &text[..from], &text[to..])
}

fn results() -> String {
    let mut rows = Vec::new();
    for path in measured("demo-", ".jsonl") {
        let text = fs::read_to_string(path).unwrap();
        rows.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
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
