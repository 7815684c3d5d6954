//! The journal: every turn of the loop, none sampled. A compact ring in memory for pages and charts, and one JSON line
//! a tick in a file for everything else, with the settings of each valve before its first tick.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::agent::{GroupRecord, TickRecord};
use crate::control::BoundBy;
use crate::id::ValveName;
use crate::units::RateLimit;

/// One tick as a chart needs it: at most 96 bytes. Of several groups, the figures of the one that rules.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// Growth of the log, messages/s.
    pub production: Option<f32>,
    /// The part of it that is not governed, messages/s.
    pub live: Option<f32>,
    /// What governed writers may send, messages/s.
    pub rate_decided: RateLimit,
    /// What they sent, messages/s.
    pub rate_applied: Option<f32>,
    /// Estimated lag, messages.
    pub lag_messages: Option<f32>,
    /// Estimated lag ÷ capacity, seconds.
    pub drain_seconds: Option<f32>,
    /// What the group could take, messages/s.
    pub capacity: Option<f32>,
    /// The reason that rules.
    pub bound_by: BoundBy,
}

impl From<&TickRecord> for Point {
    fn from(record: &TickRecord) -> Self {
        let ruling = record.causes.iter().find_map(|cause| cause.group.as_ref());
        let group = record.groups.iter().find(|group| Some(&group.group) == ruling).or(record.groups.first());
        let short = |value: f64| value as f32;
        Self {
            at: record.at,
            production: record.production.map(short),
            live: record.live.map(short),
            rate_decided: record.rate_decided,
            rate_applied: record.rate_applied.map(short),
            lag_messages: group.and_then(|group| group.lag_messages).map(short),
            drain_seconds: group.and_then(|group| group.drain_seconds).map(short),
            capacity: group.and_then(|group| group.capacity).map(short),
            bound_by: record.bound_by,
        }
    }
}

/// The last ticks of one valve, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    points: VecDeque<Point>,
}

impl History {
    /// Adds a tick and forgets the oldest beyond `capacity`.
    pub fn push(&mut self, point: Point, capacity: usize) {
        while self.points.len() >= capacity.max(1) {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// The ticks that are kept, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.points.iter()
    }
}

/// Keeps what happened: always in memory, and in a file where one is given.
#[derive(Debug)]
pub struct Journal {
    rings: Mutex<HashMap<ValveName, History>>,
    file: Option<JournalFile>,
    capacity: usize,
}

impl Journal {
    /// A journal in memory that keeps ten minutes of ticks a second, and all of them in `file`.
    #[must_use]
    pub fn new(file: Option<JournalFile>) -> Self {
        Self { rings: Mutex::default(), file, capacity: RING_TICKS }
    }

    /// Notes one tick.
    ///
    /// # Errors
    /// When the file cannot be written; memory has the tick all the same.
    pub fn record(&self, record: &TickRecord) -> io::Result<()> {
        {
            let mut rings = self.rings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            rings.entry(record.valve.clone()).or_default().push(record.into(), self.capacity);
        }
        self.file.as_ref().map_or(Ok(()), |file| file.append(record))
    }

    /// Takes what an earlier run noted, oldest first: it is in its file already.
    pub fn remember(&self, past: &[TickRecord]) {
        let mut rings = self.rings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for record in past {
            rings.entry(record.valve.clone()).or_default().push(record.into(), self.capacity);
        }
    }

    /// The last ticks of `valve`; empty when there are none yet.
    #[must_use]
    pub fn history(&self, valve: &ValveName) -> History {
        let rings = self.rings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        rings.get(valve).cloned().unwrap_or_default()
    }
}

/// A file with one JSON object a tick. Lines are whole: each is written at once. Every file can be read by itself: it
/// has the settings that its ticks name (`"kind":"config"`), written once a start and again when they change.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    writing: Mutex<Writing>,
    rotate_at: Option<u64>,
}

#[derive(Debug)]
struct Writing {
    writer: BufWriter<File>,
    bytes: u64,
    /// The settings that the file has of each valve.
    configs: HashMap<ValveName, Arc<str>>,
}

impl JournalFile {
    /// Appends to `path`, which is created where it does not exist. It grows without bound.
    ///
    /// # Errors
    /// When it cannot be opened for writing; the error names it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, None)
    }

    /// Appends to `journal.ndjson` in `dir`, which is created where it does not exist. At 64 MiB the file becomes
    /// `journal.1.ndjson` in place of the one before: two files at most.
    ///
    /// # Errors
    /// When the folder or the file cannot be made; the error names it.
    pub fn open_in(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir).map_err(|error| named(dir, &error))?;
        Self::open_with(&super::tail::journal_in(dir), Some(ROTATE_BYTES))
    }

    fn open_with(path: &Path, rotate_at: Option<u64>) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), writing: Mutex::new(Writing::open(path)?), rotate_at })
    }

    /// Writes one line, and the settings before it where the file does not have them yet.
    ///
    /// # Errors
    /// When the file cannot be written; the error names it.
    pub fn append(&self, record: &TickRecord) -> io::Result<()> {
        let tick = serde_json::to_vec(record)?;
        let mut writing = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        writing.write(record, &tick).map_err(|error| named(&self.path, &error))?;
        if self.rotate_at.is_some_and(|limit| writing.bytes >= limit) {
            let older = super::tail::older_than(&self.path);
            std::fs::rename(&self.path, &older).map_err(|error| named(&older, &error))?;
            *writing = Writing::open(&self.path)?;
        }
        Ok(())
    }
}

impl Writing {
    fn open(path: &Path) -> io::Result<Self> {
        let torn = ends_torn(path).map_err(|error| named(path, &error))?;
        let mut file = append_to(path)?;
        if torn {
            // A crash tore the last line: ours must not be glued to it.
            file.write_all(b"\n").map_err(|error| named(path, &error))?;
        }
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Self { writer: BufWriter::new(file), bytes, configs: HashMap::new() })
    }

    fn write(&mut self, record: &TickRecord, tick: &[u8]) -> io::Result<()> {
        let known = self.configs.get(&record.valve);
        let config = record.config.as_ref().filter(|config| known != Some(&config.config_id));
        let mut lines = Vec::with_capacity(tick.len() + 1);
        if let Some(config) = config {
            serde_json::to_writer(&mut lines, config)?;
            lines.push(b'\n');
        }
        lines.extend_from_slice(tick);
        lines.push(b'\n');
        self.writer.write_all(&lines)?;
        self.writer.flush()?;
        self.bytes += lines.len() as u64;
        if let Some(config) = config {
            self.configs.insert(record.valve.clone(), Arc::clone(&config.config_id));
        }
        Ok(())
    }
}

/// Whether there is a file whose last line has no end.
fn ends_torn(path: &Path) -> io::Result<bool> {
    // A pipe or a device has no end to look at; what is not there yet has none either.
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// A copy without the raw offsets and the rest of what the tick was given: for everything but the journal's file.
#[must_use]
pub fn without_partitions(record: &TickRecord) -> TickRecord {
    let groups = record.groups.iter().map(slim_group).collect();
    let TickRecord { valve, terms, causes, explain, .. } = record;
    TickRecord {
        v: record.v,
        seq: record.seq,
        at: record.at,
        mono_ms: record.mono_ms,
        valve: valve.clone(),
        mode: record.mode,
        config_id: record.config_id.clone(),
        groups,
        production: record.production,
        live: record.live,
        terms: *terms,
        rate_unbounded: record.rate_unbounded,
        rate_decided: record.rate_decided,
        rate_allocated: record.rate_allocated,
        rate_applied: record.rate_applied,
        bound_by: record.bound_by,
        causes: causes.clone(),
        advice: record.advice,
        eta_seconds: record.eta_seconds,
        signal_age_seconds: record.signal_age_seconds,
        explain: explain.clone(),
        input: None,
        config: record.config.clone(),
    }
}

fn slim_group(group: &GroupRecord) -> GroupRecord {
    GroupRecord {
        group: group.group.clone(),
        state: group.state,
        quality: group.quality,
        coverage: group.coverage,
        cadence_seconds: group.cadence_seconds,
        lag_messages: group.lag_messages,
        committed_lag: group.committed_lag,
        lost_messages: group.lost_messages,
        age_least_seconds: group.age_least_seconds,
        age_most_seconds: group.age_most_seconds,
        runway_seconds: group.runway_seconds,
        drain_seconds: group.drain_seconds,
        capacity: group.capacity,
        set_point_seconds: group.set_point_seconds,
        members: group.members,
        excluded_partitions: group.excluded_partitions.clone(),
        problem: group.problem.clone(),
        partitions: Vec::new(),
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|error| named(path, &error))
}

pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Ten minutes at one tick a second: 100 valves fit into 6 MB.
const RING_TICKS: usize = 600;
const ROTATE_BYTES: u64 = 64 << 20;

const _: () = assert!(size_of::<Point>() <= 96);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::agent::{TickInput, ValveLoop, ValveSettings};
    use crate::clock::Instant;

    fn ticks(valve: &str, count: u64) -> Vec<TickRecord> {
        let mut turn = ValveLoop::new(ValveSettings::new(valve, vec!["orders".into()]));
        let descriptions = HashMap::new();
        let tick = |second: u64| {
            let now = Instant::from_seconds(second as f64);
            turn.tick(&TickInput { now, unix_millis: 0, snapshot: None, descriptions: &descriptions, sent_total: 0 })
        };
        (1..=count).map(tick).collect()
    }

    /// Of every line `config` or the number of the tick, with its valve.
    fn kinds(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let kind = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", line["valve"].as_str().unwrap(), line.get("kind").unwrap_or(&line["seq"]))
        };
        text.lines().map(kind).collect()
    }

    #[test]
    fn every_file_has_the_settings_of_each_valve_before_its_first_tick() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.ndjson");
        let older = path.with_extension("1.ndjson");
        let (a, b) = (ticks("a", 99), ticks("b", 99));
        let file = JournalFile::open_with(&path, Some(10_000)).unwrap();
        let mut left = a.iter().zip(&b);
        let mut append = |ticks: usize| {
            for (a, b) in left.by_ref().take(ticks) {
                file.append(a).unwrap();
                file.append(b).unwrap();
            }
        };
        while !older.exists() {
            append(1);
        }
        append(2);
        let (older, newer) = (kinds(&older), kinds(&path));
        for kinds in [&older, &newer] {
            for valve in ["a", "b"] {
                let of_valve: Vec<_> = kinds.iter().filter_map(|kind| kind.strip_prefix(valve)).collect();
                let configs = of_valve.iter().filter(|kind| kind.contains("config")).count();
                assert_eq!((of_valve[0], configs), (" \"config\"", 1), "{kinds:?}");
            }
        }
    }

    #[test]
    fn a_line_that_a_crash_tore_is_not_glued_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ticks.ndjson");
        std::fs::write(&path, "{\"v\":1,\"se").unwrap();
        JournalFile::open(&path).unwrap().append(&ticks("a", 1)[0]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some("{\"v\":1,\"se"));
        assert_eq!(text.lines().count(), 3, "{text}");
        // A whole end stays as it is.
        JournalFile::open(&path).unwrap().append(&ticks("a", 1)[0]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 5);
    }
}
