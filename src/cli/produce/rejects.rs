//! Lines that are no records, and records that the broker refuses, with the reason: nothing is lost silently.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::input::plain;

/// One rejected line, as the file holds it: a JSON object a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reject<'a> {
    /// The source.
    pub(super) input: &'a str,
    /// Number of the line in its source, from 1.
    pub(super) line: u64,
    /// Why.
    pub(super) reason: &'a str,
    /// The line without its line end.
    pub(super) text: &'a [u8],
}

/// The file behind `--rejects`: appended to, so that a resumed run keeps what the first one wrote.
#[derive(Debug)]
pub(super) struct Rejects {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Rejects {
    /// Opens or creates `path`.
    ///
    /// # Errors
    /// When that fails; the message names the file.
    pub(super) fn open(path: &Path) -> Result<Self, RejectsError> {
        let file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|error| RejectsError { path: path.to_owned(), reason: plain(&error) })?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// Adds one line. It is safe only after [`Rejects::flush`].
    ///
    /// # Errors
    /// When the file takes no more, a full disk for example.
    pub(super) fn write(&mut self, reject: Reject<'_>) -> Result<(), RejectsError> {
        let written = write_line(&mut self.file, reject);
        written.map_err(|error| self.fail(&error))
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// As [`Rejects::write`].
    pub(super) fn flush(&mut self) -> Result<(), RejectsError> {
        let flushed = self.file.flush();
        flushed.map_err(|error| self.fail(&error))
    }

    fn fail(&self, error: &io::Error) -> RejectsError {
        RejectsError { path: self.path.clone(), reason: plain(error) }
    }
}

impl Drop for Rejects {
    fn drop(&mut self) {
        // `BufWriter` tries again on its own and hides the outcome; every outcome that counts was asked for by `flush`.
        let _ = self.file.flush();
    }
}

/// The rejects cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot write rejected lines to {}: {reason}; make room or name another file with --rejects", path.display())]
pub(super) struct RejectsError {
    path: PathBuf,
    reason: String,
}

fn write_line(out: &mut impl Write, reject: Reject<'_>) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        file: &'a str,
        line: u64,
        reason: &'a str,
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        hex: Option<String>,
    }
    let text = String::from_utf8_lossy(reject.text);
    // The text of bytes that are no text is for reading only: the bytes themselves stand beside it.
    let hex = matches!(text, std::borrow::Cow::Owned(_))
        .then(|| reject.text.iter().map(|byte| format!("{byte:02x}")).collect());
    let line = Line { file: reject.input, line: reject.line, reason: reject.reason, text: &text, hex };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reject_holds_the_place_the_reason_and_the_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rejects");
        for text in [&b"say \"hi\""[..], b"\xff!"] {
            let mut rejects = Rejects::open(&path).unwrap();
            rejects.write(Reject { input: "orders.ndjson", line: 7, reason: "no value", text }).unwrap();
            rejects.flush().unwrap();
        }
        let content = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            lines[0],
            serde_json::json!({"file": "orders.ndjson", "line": 7, "reason": "no value", "text": "say \"hi\""})
        );
        assert_eq!(lines[1]["hex"], "ff21");
    }

    #[test]
    fn a_full_disk_is_an_error_with_a_remedy() {
        let mut rejects = Rejects::open(Path::new("/dev/full")).unwrap();
        rejects.write(Reject { input: "a", line: 1, reason: "b", text: b"c" }).unwrap();
        let error = rejects.flush().unwrap_err().to_string();
        assert!(error.contains("/dev/full: No space left on device; make room"), "{error}");
    }
}
