//! The settings of a valve, as data: a line of its own in the journal. Pure.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record::RECORD_VERSION;
use super::settings::ValveSettings;
use crate::id::ValveName;

/// What a valve was told. The journal has it before the first tick that it holds for, in every file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigRecord {
    /// Version of this format: [`RECORD_VERSION`].
    pub v: u32,
    /// Tells these lines from ticks, which have no kind.
    pub kind: ConfigKind,
    /// The valve.
    pub valve: ValveName,
    /// What its ticks call these settings: the same settings have the same id.
    pub config_id: Arc<str>,
    /// Version of the program that decides. Another version may decide otherwise.
    pub lagvalve: String,
    /// The settings.
    pub settings: ValveSettings,
}

/// The kind of a [`ConfigRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigKind {
    /// Settings.
    Config,
}

impl ConfigRecord {
    /// The line for `settings` under this version of the program.
    #[must_use]
    pub fn of(settings: &ValveSettings) -> Self {
        Self {
            v: RECORD_VERSION,
            kind: ConfigKind::Config,
            valve: settings.name.clone(),
            config_id: id_of(settings),
            lagvalve: env!("CARGO_PKG_VERSION").to_owned(),
            settings: settings.clone(),
        }
    }
}

/// FNV-1a, 64 bits, of the settings as JSON: the same on every machine, and no secret is in it.
fn id_of(settings: &ValveSettings) -> Arc<str> {
    let text = serde_json::to_vec(settings).expect("settings are names and numbers");
    let hash = text.iter().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
    let mut id = String::with_capacity(16);
    write!(id, "{hash:016x}").expect("text can be written to");
    id.into()
}

/// <http://www.isthe.com/chongo/tech/comp/fnv/>.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::settings::ProtectedGroup;
    use super::*;

    fn settings() -> ValveSettings {
        let mut settings = ValveSettings::new("orders", vec!["orders".into()]);
        settings.protect = vec![
            ProtectedGroup::new("billing").target_lag(Duration::from_nanos(2_100_000_001)),
            ProtectedGroup::new("search").max_lag(Duration::from_millis(33_300)),
        ];
        settings
    }

    #[test]
    fn settings_survive_their_line() {
        let config = ConfigRecord::of(&settings());
        let line = serde_json::to_string(&config).unwrap();
        assert!(line.contains(r#""target_lag_seconds":2.100000001"#), "{line}");
        assert_eq!(serde_json::from_str::<ConfigRecord>(&line).unwrap(), config);
    }

    #[test]
    fn the_same_settings_have_the_same_id_and_others_another() {
        let (config, mut other) = (ConfigRecord::of(&settings()), settings());
        assert_eq!(ConfigRecord::of(&settings()).config_id, config.config_id);
        other.protect[0].target_lag += Duration::from_nanos(1);
        assert_ne!(ConfigRecord::of(&other).config_id, config.config_id);
    }
}
