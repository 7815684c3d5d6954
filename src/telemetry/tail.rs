//! The end of a journal, read back: what an agent that starts again goes on from.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::agent::{ConfigRecord, JournalLine, TickRecord};
use crate::id::ValveName;

/// The last ticks of every valve in a journal, oldest first, each with its settings.
#[derive(Clone, Debug, Default)]
pub struct JournalTail {
    ticks: HashMap<ValveName, Vec<TickRecord>>,
    unusable: usize,
}

impl JournalTail {
    /// The ten minutes before the last tick of each valve in `path`, at most 32 MiB of lines. Empty where there is no such
    /// file. Lines that are no whole ticks are counted, not used: a crash tears the last.
    ///
    /// # Errors
    /// When a file that is there cannot be read; the error names it.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::read_all(&[path.to_owned()])
    }

    /// The same of both files of the journal that `JournalFile::open_in` keeps in `dir`.
    ///
    /// # Errors
    /// When a file that is there cannot be read; the error names it.
    pub fn read_in(dir: &Path) -> io::Result<Self> {
        let path = journal_in(dir);
        Self::read_all(&[older_than(&path), path])
    }

    fn read_all(paths: &[PathBuf]) -> io::Result<Self> {
        let mut reading = Reading::default();
        for path in paths {
            reading.file(path).map_err(|error| super::journal::named(path, &error))?;
        }
        Ok(reading.tail())
    }

    /// Lines that could not be used.
    #[must_use]
    pub const fn unusable(&self) -> usize {
        self.unusable
    }

    /// The ticks of each valve.
    #[must_use]
    pub fn into_ticks(self) -> HashMap<ValveName, Vec<TickRecord>> {
        self.ticks
    }
}

/// The file of the journal in `dir`.
pub(super) fn journal_in(dir: &Path) -> PathBuf {
    dir.join("journal.ndjson")
}

/// What the file at `path` becomes when it is full.
pub(super) fn older_than(path: &Path) -> PathBuf {
    path.with_extension("1.ndjson")
}

/// The newest lines so far, and all settings.
#[derive(Default)]
struct Reading {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    configs: HashMap<Arc<str>, Arc<ConfigRecord>>,
    unusable: usize,
}

impl Reading {
    fn file(&mut self, path: &Path) -> io::Result<()> {
        // A pipe or a device has no past.
        if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            return Ok(());
        }
        let mut reader = BufReader::new(File::open(path)?);
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            self.line(line);
        }
    }

    fn line(&mut self, line: Vec<u8>) {
        if is_config(&line) {
            match JournalLine::parse(line.trim_ascii_end()) {
                Ok(JournalLine::Config(config)) => {
                    self.configs.insert(Arc::clone(&config.config_id), Arc::new(*config));
                }
                _ => self.unusable += 1,
            }
            return;
        }
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > AT_MOST_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    fn tail(mut self) -> JournalTail {
        let mut ticks: HashMap<ValveName, Vec<TickRecord>> = HashMap::new();
        for line in self.lines {
            let Ok(JournalLine::Tick(mut record)) = JournalLine::parse(line.trim_ascii_end()) else {
                self.unusable += 1;
                continue;
            };
            record.config = record.config_id.as_ref().and_then(|id| self.configs.get(id)).cloned();
            ticks.entry(record.valve.clone()).or_default().push(*record);
        }
        for ticks in ticks.values_mut() {
            let last = ticks.last().map_or(0, |tick| tick.at);
            let from = ticks.partition_point(|tick| tick.at + SPAN_MILLIS < last);
            ticks.drain(..from);
        }
        JournalTail { ticks, unusable: self.unusable }
    }
}

/// Without parsing it: most lines of a long file are neither settings nor near its end.
fn is_config(line: &[u8]) -> bool {
    let head = &line[..line.len().min(HEAD_BYTES)];
    head.windows(CONFIG_KIND.len()).any(|part| part == CONFIG_KIND)
}

/// As [`ConfigRecord`] is written: second, after the version.
const CONFIG_KIND: &[u8] = br#""kind":"config""#;
const HEAD_BYTES: usize = 64;
const AT_MOST_BYTES: usize = 32 << 20;
const SPAN_MILLIS: u64 = 600_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{TickInput, ValveLoop, ValveSettings};
    use crate::clock::Instant;

    /// Ticks of `valve`, one a second from `first` on, on both clocks.
    fn ticks(valve: &str, seconds: std::ops::Range<u64>) -> Vec<TickRecord> {
        let mut turn = ValveLoop::new(ValveSettings::new(valve, vec!["orders".into()]));
        let descriptions = HashMap::new();
        let tick = |second: u64| {
            let (now, unix_millis) = (Instant::from_seconds(second as f64), second * 1000);
            turn.tick(&TickInput { now, unix_millis, snapshot: None, descriptions: &descriptions, sent_total: 0 })
        };
        seconds.map(tick).collect()
    }

    fn text(records: &[TickRecord]) -> String {
        let config = records[0].config.as_ref().unwrap();
        let mut lines = vec![serde_json::to_string(config).unwrap()];
        lines.extend(records.iter().map(|record| serde_json::to_string(record).unwrap()));
        lines.join("\n") + "\n"
    }

    #[test]
    fn ten_minutes_of_each_valve_from_both_files_with_their_settings() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (ticks("a", 1000..2000), ticks("b", 1000..1100));
        let torn = "{\"v\":1,\"seq\":17,\"val";
        std::fs::write(folder.path().join("journal.1.ndjson"), text(&b) + &text(&a[..700])).unwrap();
        std::fs::write(folder.path().join("journal.ndjson"), text(&a[700..]) + torn).unwrap();
        let tail = JournalTail::read_in(folder.path()).unwrap();
        assert_eq!(tail.unusable(), 1);
        let ticks = tail.into_ticks();
        let span = |valve: &str| ticks[&ValveName::from(valve)].iter().map(|tick| tick.at / 1000).collect::<Vec<_>>();
        assert_eq!(span("a"), (1399..2000).collect::<Vec<_>>());
        assert_eq!(span("b"), (1000..1100).collect::<Vec<_>>(), "it ended earlier, and has its own ten minutes");
        assert!(ticks.values().flatten().all(|tick| tick.config.as_ref().unwrap().valve == tick.valve));
    }

    #[test]
    fn no_journal_is_an_empty_one_and_another_file_has_no_ticks() {
        let folder = tempfile::tempdir().unwrap();
        assert!(JournalTail::read_in(folder.path()).unwrap().into_ticks().is_empty());
        std::fs::write(folder.path().join("journal.ndjson"), "what is this\n").unwrap();
        let tail = JournalTail::read_in(folder.path()).unwrap();
        assert_eq!((tail.unusable(), tail.into_ticks().len()), (1, 0));
    }

    #[test]
    fn a_long_journal_costs_a_bounded_part_of_it() {
        let mut reading = Reading::default();
        for _ in 0..10 {
            reading.line(vec![b'x'; AT_MOST_BYTES / 4]);
        }
        assert_eq!((reading.lines.len(), reading.bytes), (4, AT_MOST_BYTES));
    }
}
