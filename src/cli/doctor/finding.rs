//! What the doctor found, as a line for people and as an object for machines.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// A valve works, but less well than it could.
    Warning,
    /// A valve cannot work.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What was looked at, in one word.
    pub(super) check: &'static str,
    /// The thing: a cluster's addresses, a topic, a group.
    pub(super) subject: String,
    /// What was found.
    pub(super) detail: String,
    /// What helps; where the detail says it already, none.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn new(level: Level, check: &'static str, subject: &str, detail: impl Into<String>) -> Self {
        Self { level, check, subject: subject.to_owned(), detail: detail.into(), remedy: None }
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The line for people, with a second one for the remedy; `width` is that of the widest subject.
    pub(super) fn lines(&self, width: usize, colour: bool) -> String {
        let (word, code) = match self.level {
            Level::Ok => ("ok     ", "32"),
            Level::Note => ("note   ", "36"),
            Level::Warning => ("WARNING", "33"),
            Level::Problem => ("PROBLEM", "31"),
        };
        let word = if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        let remedy =
            self.remedy.as_ref().map_or(String::new(), |remedy| format!("\n{:w$}-> {remedy}", "", w = width + 11));
        format!("{word}  {:width$}  {}{remedy}", self.subject, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_without_colour() {
        let finding =
            Finding::new(Level::Warning, "cadence", "group billing", "commits every 30 s").remedy("commit more often");
        let plain = finding.lines(15, false);
        assert_eq!(
            plain,
            "WARNING  group billing    commits every 30 s\n                          -> commit more often"
        );
        assert!(finding.lines(15, true).starts_with("\x1b[33mWARNING\x1b[0m"));
    }
}
