//! Replay: a recorded journal → what a law decides on it, by the very tick that runs in production.
//!
//! In: the lines of a journal ([`JournalLine`]), oldest first, and laws ([`ReplayLaw`]). Out: a decision a tick and law
//! ([`Replayed`]) and sums ([`ReplaySummary`]). Never: a plant. It is an open loop: recorded lag is what the recorded
//! decisions made of it, and stays that whatever another law decides here. With the settings that were in force the
//! shipped loop decides as it did, bit by bit.

mod law;
mod tally;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use self::law::Stepper;
pub use self::law::{CapacityNotTold, ReplayDecision, ReplayLaw};
pub use self::tally::{ReplayDifference, ReplayLawSummary, ReplaySummary, ReplayTally};
use crate::agent::{ConfigRecord, Given, JournalFault, JournalLine, TickRecord};
use crate::id::ValveName;

/// What is wrong with a journal, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct JournalError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub fault: JournalFault,
}

/// One tick, as it was and as each law has it.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The tick as recorded.
    pub record: TickRecord,
    /// What was decided then.
    pub recorded: ReplayDecision,
    /// What each law decides, in the order of the laws.
    pub decisions: Vec<ReplayDecision>,
}

/// Runs recorded ticks through laws; every valve by itself.
#[derive(Debug)]
pub struct Replay {
    laws: Vec<ReplayLaw>,
    only: Option<ValveName>,
    configs: HashMap<Arc<str>, Arc<ConfigRecord>>,
    valves: Vec<ValveReplay>,
    names: Vec<ValveName>,
    torn: Option<(u64, JournalFault)>,
    torn_total: u64,
}

impl Replay {
    /// Through `laws`, for all valves or for one.
    #[must_use]
    pub fn new(laws: Vec<ReplayLaw>, only: Option<ValveName>) -> Self {
        Self { laws, only, configs: HashMap::new(), valves: Vec::new(), names: Vec::new(), torn: None, torn_total: 0 }
    }

    /// Takes line `number` of a file, from 1, without its end. `None` when it is no tick, or one of another valve.
    ///
    /// A line that ends in the middle is left out when a start of the agent follows, or nothing: a crash tore it.
    ///
    /// # Errors
    /// [`JournalError`] for any other line that is not a journal's.
    pub fn line(&mut self, number: u64, line: &[u8]) -> Result<Option<Replayed>, JournalError> {
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let at = |fault| JournalError { line: number, fault };
        let parsed = match JournalLine::parse(line) {
            Err(fault @ JournalFault::Torn { .. }) if self.torn.is_none() => {
                self.torn = Some((number, fault));
                return Ok(None);
            }
            parsed => parsed,
        };
        match (self.torn.take(), &parsed) {
            (Some(_), Ok(JournalLine::Config(_))) => self.torn_total += 1,
            (Some((line, fault)), _) => return Err(JournalError { line, fault }),
            (None, _) => {}
        }
        match parsed.map_err(at)? {
            JournalLine::Config(config) => {
                self.configs.insert(Arc::clone(&config.config_id), Arc::new(*config));
                Ok(None)
            }
            JournalLine::Tick(record) => self.tick(*record).map_err(at),
        }
    }

    /// A file is over; another may follow.
    pub fn end_of_file(&mut self) {
        self.torn_total += u64::from(self.torn.take().is_some());
    }

    /// Lines that a crash tore.
    #[must_use]
    pub const fn torn(&self) -> u64 {
        self.torn_total
    }

    /// The valves that ticks were read of, replayed or not, in the order of their first.
    #[must_use]
    pub fn names(&self) -> &[ValveName] {
        &self.names
    }

    /// The sums so far, a valve each.
    #[must_use]
    pub fn summaries(&self) -> Vec<ReplaySummary> {
        self.valves.iter().map(ValveReplay::summary).collect()
    }

    /// Runs one tick through the laws; `None` when it is one of a valve that is left out.
    ///
    /// # Errors
    /// [`JournalFault`] when the tick lacks its input, or its settings were not read.
    pub fn tick(&mut self, record: TickRecord) -> Result<Option<Replayed>, JournalFault> {
        if !self.names.contains(&record.valve) {
            self.names.push(record.valve.clone());
        }
        if self.only.as_ref().is_some_and(|only| *only != record.valve) {
            return Ok(None);
        }
        let valve = || record.valve.to_string();
        if record.input.is_none() {
            return Err(JournalFault::NoInput { valve: valve() });
        }
        let config = record.config.as_ref().or_else(|| self.configs.get(record.config_id.as_ref()?));
        let config = Arc::clone(config.ok_or_else(|| JournalFault::NoConfig { valve: valve() })?);
        let given = Given::of(&record, &config.settings).ok_or_else(|| JournalFault::NoInput { valve: valve() })?;
        let place = match self.valves.iter().position(|seen| seen.summary.valve == record.valve) {
            Some(place) => place,
            None => {
                self.valves.push(ValveReplay::new(&record, &config, &self.laws));
                self.valves.len() - 1
            }
        };
        let (recorded, decisions) = self.valves[place].tick(&record, &config, &given, &self.laws);
        Ok(Some(Replayed { record, recorded, decisions }))
    }
}

/// One valve.
struct ValveReplay {
    config: Arc<ConfigRecord>,
    steppers: Vec<Stepper>,
    /// Number and time of the last tick, seconds.
    last: Option<(u64, f64)>,
    /// Nothing of this run is missing so far.
    whole: bool,
    summary: ReplaySummary,
}

impl ValveReplay {
    fn new(record: &TickRecord, config: &Arc<ConfigRecord>, laws: &[ReplayLaw]) -> Self {
        let law = |law: &ReplayLaw| ReplayLawSummary {
            law: law.name().to_owned(),
            as_recorded: true,
            same: 0,
            differ: 0,
            differ_whole: 0,
            first_difference: None,
            tally: ReplayTally::default(),
        };
        Self {
            config: Arc::clone(config),
            steppers: Vec::new(),
            last: None,
            whole: false,
            summary: ReplaySummary {
                valve: record.valve.clone(),
                ticks: 0,
                whole_ticks: 0,
                gaps: 0,
                missing: 0,
                restarts: 0,
                begun_late: 0,
                span: (record.at, record.at),
                other_versions: Vec::new(),
                config_ids: Vec::new(),
                recorded: ReplayTally::default(),
                laws: laws.iter().map(law).collect(),
            },
        }
    }

    fn tick(
        &mut self,
        record: &TickRecord,
        config: &Arc<ConfigRecord>,
        given: &Given,
        laws: &[ReplayLaw],
    ) -> (ReplayDecision, Vec<ReplayDecision>) {
        self.follow(record, config, given.now.as_seconds(), laws);
        let recorded = ReplayDecision::of(record);
        let settings = &self.config.settings;
        let decisions: Vec<_> = self.steppers.iter_mut().map(|law| law.step(given, settings)).collect();
        self.summary.ticks += 1;
        self.summary.whole_ticks += u64::from(self.whole);
        self.summary.span.1 = record.at;
        self.summary.recorded.decide(recorded);
        for (law, replayed) in self.summary.laws.iter_mut().zip(&decisions) {
            law.note(record, recorded, *replayed, self.whole);
        }
        (recorded, decisions)
    }

    /// Goes on from the tick before: the same run, a gap in it, or another run.
    fn follow(&mut self, record: &TickRecord, config: &Arc<ConfigRecord>, now: f64, laws: &[ReplayLaw]) {
        let poll = self.config.settings.poll_interval.as_secs_f64();
        match self.last {
            Some((seq, at)) if record.seq > seq && now >= at && self.config.config_id == config.config_id => {
                let missing = record.seq - seq - 1;
                if missing > 0 {
                    self.summary.gaps += 1;
                    self.summary.missing += missing;
                    self.whole = false;
                }
                // What was in force in a gap is not known.
                self.pass(if missing > 0 { poll } else { now - at });
            }
            last => {
                self.summary.restarts += u64::from(last.is_some());
                self.pass(poll);
                self.begin(record, config, laws);
            }
        }
        self.last = Some((record.seq, now));
    }

    /// The decisions in force were so for this long.
    fn pass(&mut self, seconds: f64) {
        let tallies = self.summary.laws.iter_mut().map(|law| &mut law.tally);
        tallies.chain([&mut self.summary.recorded]).for_each(|tally| tally.pass(seconds));
    }

    fn begin(&mut self, record: &TickRecord, config: &Arc<ConfigRecord>, laws: &[ReplayLaw]) {
        self.config = Arc::clone(config);
        self.whole = record.seq == 1;
        self.steppers.clear();
        for (law, summary) in laws.iter().zip(&mut self.summary.laws) {
            let (stepper, as_recorded) = law.start(&config.settings);
            self.steppers.push(stepper);
            summary.as_recorded &= as_recorded;
        }
        let summary = &mut self.summary;
        summary.begun_late += u64::from(!self.whole);
        if config.lagvalve != env!("CARGO_PKG_VERSION") && !summary.other_versions.contains(&config.lagvalve) {
            summary.other_versions.push(config.lagvalve.clone());
        }
        if summary.config_ids.last() != Some(&config.config_id) {
            summary.config_ids.push(Arc::clone(&config.config_id));
        }
    }

    /// The last decision counts for one poll interval.
    fn summary(&self) -> ReplaySummary {
        let mut summary = self.summary.clone();
        let poll = self.config.settings.poll_interval.as_secs_f64();
        summary.recorded.pass(poll);
        summary.laws.iter_mut().for_each(|law| law.tally.pass(poll));
        summary
    }
}

impl fmt::Debug for ValveReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValveReplay").field("summary", &self.summary).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
