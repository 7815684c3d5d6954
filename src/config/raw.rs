//! The file as a tree of sections. A section hands out values by key, notes what is wrong with them and, in the end,
//! which of its keys nobody asked for: a key is known because some code reads it, there is no list beside the code.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, closest};

/// Gathers what is wrong while a file is read.
pub(super) struct Report<'i> {
    text: &'i str,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<String>>,
    options: RefCell<BTreeSet<String>>,
}

impl<'i> Report<'i> {
    pub(super) fn new(text: &'i str) -> Self {
        Self { text, problems: RefCell::default(), warnings: RefCell::default(), options: RefCell::default() }
    }

    pub(super) fn problem(&self, at: usize, path: impl Into<String>, message: impl Into<String>) {
        let line = self.text[..at.min(self.text.len())].matches('\n').count() + 1;
        self.problems.borrow_mut().push(Problem { line, path: path.into(), message: message.into() });
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    pub(super) fn warn(&self, text: String) {
        self.warnings.borrow_mut().push(text);
    }

    /// Problems in the order of the file, warnings, and every option that was asked for (`valves[].min_rate`).
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<String>, BTreeSet<String>) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        (problems, self.warnings.into_inner(), self.options.into_inner())
    }

    fn source(&self, span: Range<usize>) -> String {
        let text = self.text.get(span).unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ");
        if text.chars().count() > VALUE_SHOWN { text.chars().take(VALUE_SHOWN).chain(['…']).collect() } else { text }
    }
}

/// An allowed range of a number, with its unit.
#[derive(Clone, Copy)]
pub(super) struct Allowed {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) unit: &'static str,
}

/// One table of the file.
pub(super) struct Section<'a, 'i> {
    report: &'a Report<'i>,
    path: String,
    schema: String,
    at: usize,
    table: &'a DeTable<'i>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a, 'i> Section<'a, 'i> {
    pub(super) fn root(report: &'a Report<'i>, table: &'a DeTable<'i>) -> Self {
        Self::new(report, String::new(), String::new(), 0, table)
    }

    fn new(report: &'a Report<'i>, path: String, schema: String, at: usize, table: &'a DeTable<'i>) -> Self {
        Self { report, path, schema, at, table, asked: RefCell::default() }
    }

    pub(super) fn report(&self) -> &'a Report<'i> {
        self.report
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Says what is wrong with `key`, showing its value.
    pub(super) fn bad(&self, key: &str, message: &str) {
        match self.table.get(key) {
            Some(value) => {
                let shown = self.report.source(value.span());
                self.report.problem(value.span().start, self.join(key), format!("= {shown}: {message}"));
            }
            None => self.report.problem(self.at, self.join(key), message),
        }
    }

    /// Says what is wrong with `key` without showing its value.
    pub(super) fn bad_secret(&self, key: &str, message: &str) {
        let at = self.table.get(key).map_or(self.at, |value| value.span().start);
        self.report.problem(at, self.join(key), message);
    }

    /// Says what is wrong with the section as a whole.
    pub(super) fn bad_section(&self, message: &str) {
        self.report.problem(self.at, self.path.clone(), message);
    }

    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        let value = self.get(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.bad(key, "must be a text in quotes");
        }
        text.map(str::to_owned)
    }

    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let value = self.get(key)?;
        let texts: Option<Vec<String>> = value
            .get_ref()
            .as_array()
            .and_then(|items| items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect());
        if texts.is_none() {
            self.bad(key, "must be a list of texts, for example [\"a\", \"b\"]");
        }
        texts
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.bad(key, "must be true or false");
        }
        flag
    }

    pub(super) fn number(&self, key: &'static str, allowed: Allowed) -> Option<f64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(|n| n as f64),
            DeValue::Float(digits) => digits.as_str().parse().ok(),
            _ => None,
        };
        let Allowed { min, max, unit } = allowed;
        let found = number.filter(|number| (min..=max).contains(number));
        if found.is_none() {
            self.bad(
                key,
                &format!("must be a number from {min} to {max}{}{unit}", if unit.is_empty() { "" } else { " " }),
            );
        }
        found
    }

    pub(super) fn duration(&self, key: &'static str, min: Duration, max: Duration) -> Option<Duration> {
        let value = self.get(key)?;
        let range = format!("from {} to {}", humantime::format_duration(min), humantime::format_duration(max));
        let Some(text) = value.get_ref().as_str() else {
            self.bad(key, &format!("must be a duration in quotes with its unit, for example \"2s\", {range}"));
            return None;
        };
        let found = humantime::parse_duration(text).ok().filter(|duration| (min..=max).contains(duration));
        if found.is_none() {
            self.bad(key, &format!("must be a duration, for example \"2s\", \"500ms\" or \"1h\", {range}"));
        }
        found
    }

    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.get(key)?;
        let word = value.get_ref().as_str();
        let found = choices.iter().find(|(name, _)| Some(*name) == word);
        if found.is_none() {
            let names = choices.iter().map(|(name, _)| *name);
            let listed = names.clone().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
            let meant = word.and_then(|word| closest(word, names));
            let meant = meant.map_or(String::new(), |name| format!(" (did you mean \"{name}\"?)"));
            self.bad(key, &format!("must be one of {listed}{meant}"));
        }
        found.map(|(_, value)| *value)
    }

    /// A table of free keys: texts, numbers and flags, as their text. Values are never shown.
    pub(super) fn properties(&self, key: &'static str) -> BTreeMap<String, String> {
        let Some(value) = self.get(key) else { return BTreeMap::new() };
        let Some(table) = value.get_ref().as_table() else {
            self.bad_secret(key, "must be a table of properties");
            return BTreeMap::new();
        };
        let mut found = BTreeMap::new();
        for (name, value) in table {
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(digits) => digits.to_string(),
                DeValue::Float(digits) => digits.to_string(),
                DeValue::Boolean(flag) => flag.to_string(),
                DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                    let path = format!("{}.\"{}\"", self.join(key), name.get_ref());
                    let message =
                        "must be a text, a number or a flag; quote names with dots, for example \"linger.ms\" = 5";
                    self.report.problem(value.span().start, path, message);
                    continue;
                }
            };
            found.insert(name.get_ref().to_string(), text);
        }
        found
    }

    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a, 'i>> {
        let value = self.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.bad_secret(key, &format!("must be a section: [{}]", self.join(key)));
        }
        Some(Section::new(self.report, self.join(key), self.join_schema(key), value.span().start, table?))
    }

    /// `[key.NAME]` sections by name.
    pub(super) fn named_sections(&self, key: &'static str) -> Vec<(String, Section<'a, 'i>)> {
        let Some(parent) = self.section(key) else { return Vec::new() };
        let mut found = Vec::new();
        for (name, value) in parent.table {
            let path = format!("{}.{}", parent.path, name.get_ref());
            let schema = format!("{}.NAME", parent.schema);
            match value.get_ref().as_table() {
                Some(table) => {
                    let section = Section::new(self.report, path, schema, value.span().start, table);
                    found.push((name.get_ref().to_string(), section));
                }
                None => self.report.problem(value.span().start, path.clone(), format!("must be a section: [{path}]")),
            }
        }
        found
    }

    /// `[[key]]` sections in the order of the file. `label` names the key whose text identifies one in messages.
    pub(super) fn sections(&self, key: &'static str, label: &str) -> Vec<Section<'a, 'i>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.bad_secret(key, &format!("must be a list of sections: [[{key}]]"));
            return Vec::new();
        };
        let schema = format!("{}[]", self.join_schema(key));
        let mut found = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Some(table) = item.get_ref().as_table() else {
                self.bad_secret(key, &format!("must be a list of sections: [[{key}]]"));
                continue;
            };
            let name = table.get(label).and_then(|name| name.get_ref().as_str());
            let path = match name {
                Some(name) => format!("{}[\"{name}\"]", self.join(key)),
                None => format!("{}[{index}]", self.join(key)),
            };
            found.push(Section::new(self.report, path, schema.clone(), item.span().start, table));
        }
        found
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if asked.contains(name) {
                continue;
            }
            let hint = if SECRET_KEYS.contains(&name) {
                format!("; secrets do not stand in the file: use {name}_file or {name}_env")
            } else if let Some(meant) = closest(name, asked.iter().copied()) {
                format!("; did you mean {meant}?")
            } else {
                let known = asked.iter().copied().collect::<Vec<_>>().join(", ");
                format!("; known here: {known}")
            };
            self.report.problem(key.span().start, self.join(name), format!("is not an option{hint}"));
        }
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.asked.borrow_mut().insert(key);
        self.report.options.borrow_mut().insert(self.join_schema(key));
        self.table.get(key)
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn join_schema(&self, key: &str) -> String {
        if self.schema.is_empty() { key.to_owned() } else { format!("{}.{key}", self.schema) }
    }
}

/// Keys under which people try to write a secret into the file.
const SECRET_KEYS: &[&str] = &["password", "control_token"];

/// How much of a value a message shows, in characters.
const VALUE_SHOWN: usize = 60;
