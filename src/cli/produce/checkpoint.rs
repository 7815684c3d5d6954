//! How far the input is delivered, in a file that outlives the process.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::input::{Source, plain};

/// The file of `--checkpoint`: replaced as a whole, so that a kill leaves the old one or the new one.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    topic: String,
    inputs: Vec<String>,
}

/// What the file holds.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Settled lines: what the next run skips.
    lines: u64,
    topic: String,
    inputs: Vec<String>,
}

impl Checkpoint {
    /// For a run of `sources` into `topic`, kept at `path`.
    pub(super) fn new(path: &Path, topic: &str, sources: &[Source]) -> Self {
        let inputs = sources.iter().map(ToString::to_string).collect();
        Self { path: path.to_owned(), topic: topic.to_owned(), inputs }
    }

    /// How many lines an earlier run settled; 0 when there was none.
    ///
    /// # Errors
    /// When the file cannot be read or belongs to another topic or input: skipping its number of lines would lose records.
    pub(super) fn load(&self) -> Result<u64, CheckpointError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(self.fail("read", &plain(&error))),
        };
        let state: State = serde_json::from_str(&text)
            .map_err(|error| self.fail("read", &format!("it is no checkpoint ({error}); remove it to start over")))?;
        if state.topic != self.topic || state.inputs != self.inputs {
            let reason = format!(
                "it belongs to topic {} and input {}; name another file, or remove it to start over",
                state.topic,
                state.inputs.join(", ")
            );
            return Err(self.fail("use", &reason));
        }
        Ok(state.lines)
    }

    /// Keeps that `lines` lines are settled. Blocks until it is on the disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn save(&self, lines: u64) -> Result<(), CheckpointError> {
        let state = State { lines, topic: self.topic.clone(), inputs: self.inputs.clone() };
        let mut text = serde_json::to_vec(&state).expect("texts and a number are JSON");
        text.push(b'\n');
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let beside = self.path.with_file_name(name);
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(&text)?;
            // Renamed before its content is stored, it could be empty after a power failure.
            file.sync_data()
        });
        written.and_then(|()| fs::rename(&beside, &self.path)).map_err(|error| self.fail("write", &plain(&error)))
    }

    fn fail(&self, verb: &'static str, reason: &str) -> CheckpointError {
        CheckpointError { verb, path: self.path.clone(), reason: reason.to_owned() }
    }
}

/// The checkpoint is of no use.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} the checkpoint {}: {reason}", path.display())]
pub(super) struct CheckpointError {
    verb: &'static str,
    path: PathBuf,
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_where_the_last_one_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c");
        let checkpoint = Checkpoint::new(&path, "orders", &[Source::File("a".into())]);
        assert_eq!(checkpoint.load().unwrap(), 0);
        for lines in [7, 1200] {
            checkpoint.save(lines).unwrap();
            assert_eq!(checkpoint.load().unwrap(), lines);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn another_run_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c");
        Checkpoint::new(&path, "orders", &[Source::File("a".into())]).save(7).unwrap();
        let error = Checkpoint::new(&path, "orders", &[Source::Stdin]).load().unwrap_err().to_string();
        assert!(error.contains("belongs to topic orders and input a"), "{error}");
        fs::write(&path, "{}").unwrap();
        let error = Checkpoint::new(&path, "orders", &[Source::Stdin]).load().unwrap_err().to_string();
        assert!(error.contains("no checkpoint"), "{error}");
        let nowhere = Checkpoint::new(Path::new("/dev/null/c"), "orders", &[]);
        assert!(nowhere.save(1).unwrap_err().to_string().contains("cannot write the checkpoint /dev/null/c"));
    }
}
