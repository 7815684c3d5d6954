//! The flags of every command that connects, and the protected group as people write it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use lagvalve::agent::ProtectedGroup;

use super::exit::Failure;

/// Where the cluster is and what governs the topics.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectArgs {
    /// Addresses of the cluster, host:port, separated by commas
    #[arg(short = 'b', long = "bootstrap-servers", value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub(crate) bootstrap_servers: Vec<String>,

    /// Topic that the rate is for; repeat for several that share it
    #[arg(short, long = "topic", value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,

    /// Consumer group that governs, and the lag to hold in seconds of its own work [default: 2s]; repeatable
    #[arg(long, value_name = "GROUP[:LAG]")]
    pub(crate) protect: Vec<Protect>,

    /// A connection setting by librdkafka's name, for example -X security.protocol=SSL; repeatable
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    pub(crate) properties: Vec<Property>,

    /// Configuration file with clusters and valves; flags above go before it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl ConnectArgs {
    /// The `-X` settings as a map; the last of several with one name rules.
    pub(crate) fn property_map(&self) -> BTreeMap<String, String> {
        self.properties.iter().map(|Property { key, value }| (key.clone(), value.clone())).collect()
    }

    /// The `--protect` flags as settings.
    pub(crate) fn protected_groups(&self) -> Vec<ProtectedGroup> {
        self.protect.iter().map(|protect| protect.0.clone()).collect()
    }

    /// What a command without `--config` cannot do without.
    pub(crate) fn require_flags(&self) -> Result<(), Failure> {
        let mut missing = Vec::new();
        if self.bootstrap_servers.is_empty() {
            missing.push("-b HOST:PORT");
        }
        if self.topics.is_empty() {
            missing.push("-t TOPIC");
        }
        if self.protect.is_empty() {
            missing.push("--protect GROUP");
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(format!("{} needed (or --config FILE)", missing.join(" and "))))
    }
}

/// `GROUP` or `GROUP:LAG`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Protect(pub(crate) ProtectedGroup);

impl FromStr for Protect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A group's name may hold colons itself: only what follows the last one can be a duration.
        let (group, lag) = match text.rsplit_once(':') {
            Some((group, lag)) => (group, Some(lag)),
            None => (text, None),
        };
        if group.is_empty() {
            return Err("the group's name is empty; write GROUP or GROUP:LAG, for example billing:2s".to_owned());
        }
        let protected = ProtectedGroup::new(group);
        let Some(lag) = lag else { return Ok(Self(protected)) };
        let lag = humantime::parse_duration(lag).map_err(|error| {
            format!(
                "\"{lag}\" after the last colon is not a duration ({error}); write GROUP:LAG, for example {group}:2s \
                 or {group}:500ms (a group with a colon in its name needs the lag: {text}:2s)"
            )
        })?;
        if lag < TARGET_LAG_MIN || lag > TARGET_LAG_MAX {
            return Err(format!(
                "a lag of {} is outside {}..{}",
                humantime::format_duration(lag),
                humantime::format_duration(TARGET_LAG_MIN),
                humantime::format_duration(TARGET_LAG_MAX),
            ));
        }
        Ok(Self(protected.target_lag(lag)))
    }
}

/// `KEY=VALUE`. Shown by its key alone: values may be secret.
#[derive(Clone, PartialEq)]
pub(crate) struct Property {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl std::fmt::Debug for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.key)
    }
}

impl FromStr for Property {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_owned(), value: value.to_owned() })
            }
            _ => Err("write KEY=VALUE, for example -X security.protocol=SASL_SSL".to_owned()),
        }
    }
}

const TARGET_LAG_MIN: Duration = Duration::from_millis(100);
const TARGET_LAG_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protect_takes_a_group_with_or_without_a_lag() {
        let plain: Protect = "billing".parse().unwrap();
        assert_eq!(plain.0, ProtectedGroup::new("billing"));
        let half: Protect = "billing:500ms".parse().unwrap();
        assert_eq!(half.0.target_lag, Duration::from_millis(500));
        let colon: Protect = "team:billing:5s".parse().unwrap();
        assert_eq!((colon.0.group.as_str(), colon.0.target_lag), ("team:billing", Duration::from_secs(5)));
    }

    #[test]
    fn protect_says_what_to_write_instead() {
        for (text, part) in
            [("", "empty"), (":2s", "empty"), ("billing:fast", "billing:2s"), ("billing:2d", "outside 100ms..1h")]
        {
            let error = text.parse::<Protect>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_property_keeps_equal_signs_in_its_value_and_hides_it() {
        let property: Property = "sasl.password=a=b".parse().unwrap();
        assert_eq!((property.key.as_str(), property.value.as_str()), ("sasl.password", "a=b"));
        assert_eq!(format!("{property:?}"), "sasl.password=…");
        assert!("novalue".parse::<Property>().is_err());
    }
}
