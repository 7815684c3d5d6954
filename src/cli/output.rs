//! Standard output: lines for people, or one JSON object a line. A closed pipe is an error value, never a panic.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::exit::Failure;

/// Where a command's results go. Progress and warnings go to standard error instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Lines for people, or for machines when `json`.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether machines read it.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// One line for people.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// One JSON object on a line of its own.
    pub(crate) fn object(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(value).map_err(Failure::failed)?;
        line.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&line)?;
        Ok(out.flush()?)
    }
}

/// Whether colour, bars and moving text are wanted on standard output: a terminal, and no `NO_COLOR`.
pub(crate) fn stdout_is_lively() -> bool {
    io::stdout().is_terminal() && colour_allowed()
}

/// The same for standard error.
pub(crate) fn stderr_is_lively() -> bool {
    io::stderr().is_terminal() && colour_allowed()
}

/// <https://no-color.org>: any value that is not empty forbids colour.
fn colour_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Says something to the person, apart from the results. Lost when standard error is closed.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
