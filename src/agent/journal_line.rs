//! One line of a journal → settings or a tick, or what is wrong with it and what to do about it.

use serde::Deserialize;

use super::config_record::ConfigRecord;
use super::record::{RECORD_VERSION, TickRecord};

/// A line of a journal.
#[derive(Clone, Debug)]
pub enum JournalLine {
    /// The settings of the ticks that name them.
    Config(Box<ConfigRecord>),
    /// One turn of the loop.
    Tick(Box<TickRecord>),
}

/// Why a line of a journal cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalFault {
    /// It ends in the middle, and what follows is not a start of the agent.
    #[error("the line ends in the middle ({detail}); if it is the rest of a crash, take it out and run this again")]
    Torn {
        /// What the parser missed.
        detail: String,
    },
    /// It is no line of a journal.
    #[error("no line of a journal: {detail}; take the line out, or name a file that run or observe --journal wrote")]
    Garbage {
        /// What the parser said.
        detail: String,
    },
    /// A newer version wrote it.
    #[error(
        "written in version {v} of the format, this program reads up to {RECORD_VERSION}: replay it with the \
             version of lagvalve that wrote it, or a newer one"
    )]
    Newer {
        /// The version of its format.
        v: u64,
    },
    /// The tick lacks what it was made from.
    #[error(
        "this tick of {valve} has no offsets, as observe --json and the HTTP answers have none: replay a file that \
             run or observe --journal wrote"
    )]
    NoInput {
        /// The valve.
        valve: String,
    },
    /// The settings of the tick did not come before it.
    #[error(
        "the settings of this tick of {valve} are not in what was read: journals have them on lines with \
             \"kind\":\"config\"; put those first when you cut a piece out"
    )]
    NoConfig {
        /// The valve.
        valve: String,
    },
    /// The settings cannot work.
    #[error("the settings of {valve} cannot work: {what}")]
    BadConfig {
        /// The valve.
        valve: String,
        /// What is wrong.
        what: &'static str,
    },
}

impl JournalLine {
    /// Reads one line, its end not included.
    ///
    /// # Errors
    /// [`JournalFault`]: no journal's line, a torn one, one of a newer version.
    pub fn parse(line: &[u8]) -> Result<Self, JournalFault> {
        let head: Head = serde_json::from_slice(line).map_err(|error| fault(&error))?;
        match head.v {
            None => return Err(JournalFault::Garbage { detail: "it has no version \"v\"".to_owned() }),
            Some(v) if v > u64::from(RECORD_VERSION) => return Err(JournalFault::Newer { v }),
            Some(_) => {}
        }
        if head.kind.is_some() {
            return Self::config(line);
        }
        serde_json::from_slice(line).map(|tick| Self::Tick(Box::new(tick))).map_err(|error| fault(&error))
    }

    fn config(line: &[u8]) -> Result<Self, JournalFault> {
        let config: ConfigRecord = serde_json::from_slice(line).map_err(|error| fault(&error))?;
        let settings = &config.settings;
        let what = if settings.poll_interval.is_zero() {
            "poll_interval_seconds is 0"
        } else if settings.min_rate.get() <= 0.0 {
            "min_rate is 0"
        } else if settings.protect.iter().any(|group| group.target_lag.is_zero()) {
            "a target_lag_seconds is 0"
        } else {
            return Ok(Self::Config(Box::new(config)));
        };
        Err(JournalFault::BadConfig { valve: config.valve.to_string(), what })
    }
}

/// What every line has, whatever its version.
#[derive(Deserialize)]
struct Head {
    v: Option<u64>,
    kind: Option<String>,
}

fn fault(error: &serde_json::Error) -> JournalFault {
    let detail = error.to_string();
    if error.is_eof() { JournalFault::Torn { detail } } else { JournalFault::Garbage { detail } }
}
